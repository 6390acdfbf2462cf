"""The timeline and what is summed up on the way."""

from __future__ import annotations

import pytest

from sim.samples import Sampler, mix_of, stranded_now
from sim.tables import Phase
from sim.testing import GIB, a_cluster, a_node, a_pod, bound, put_node
from sim.traffic import Traffic

POD = a_pod(cpu_m=1500, memory_b=4 * GIB)


def a_sampler(cluster, *, every_ms=1_000, warm_up_ms=0):
    traffic = Traffic(cluster, lambda pod, cpu_m: None)
    return Sampler(cluster, traffic, every_ms, warm_up_ms), traffic


def values(sampler, metric, scope="cluster", name=""):
    """(time, value) of one line of the timeline."""
    columns = sampler.columns
    rows = zip(*columns.values(), strict=True)
    return [(t, v) for t, s, n, m, v in rows if (s, n, m) == (scope, name, metric)]


def test_samples_are_taken_at_equal_intervals_from_the_start():
    cluster = a_cluster([a_node()])
    sampler, _ = a_sampler(cluster, every_ms=2_500)
    cluster.clock.run(6_000)
    assert [t for t, _ in values(sampler, "pods")] == [0, 2.5, 5]


def test_zones_add_up_to_the_cluster():
    nodes = [a_node(zone="a"), a_node(zone="b", cpu_m=8000), a_node(zone="a")]
    cluster = a_cluster(nodes, [bound(POD, 0), bound(POD, 1), bound(POD, 1)])
    sampler, _ = a_sampler(cluster)
    sampler.take()
    assert values(sampler, "cpu_m") == [(0, 16_000)]
    assert values(sampler, "cpu_m", "zone", "a") == [(0, 8_000)]
    assert values(sampler, "cpu_requested_m", "zone", "b") == [(0, 3_000)]
    assert values(sampler, "pods", "zone", "b") == [(0, 2)]
    assert values(sampler, "nodes_ready") == [(0, 3)]


def test_use_is_that_of_running_pods_with_memory_as_grown():
    cluster = a_cluster([a_node()], [bound(POD, 0)])
    sampler, _ = a_sampler(cluster)
    cluster.set_alive(0, True)
    cluster.use(0, 700, GIB, 2 * GIB)  # a leak of 2 GiB an hour
    cluster.clock.run(1_800_000)
    sampler.take()
    assert values(sampler, "cpu_used_m")[-1] == (1_800, 700)
    assert values(sampler, "memory_used_b")[-1] == (1_800, 2 * GIB)
    cluster.fail_node(0)
    sampler.take()
    assert values(sampler, "cpu_used_m")[-1] == (1_800, 0)


def test_each_pod_is_in_one_phase():
    cluster = a_cluster([a_node(max_pods=9)], [POD, *[bound(a_pod(), 0)] * 5])
    cluster.set_alive(2, True)
    for pod in (2, 3, 4):
        cluster.run_pod(pod)
    cluster.set_ready(2, True)
    cluster.delete_pod(4)
    cluster.end_pod(5, Phase.SUCCEEDED, 13)
    sampler, _ = a_sampler(cluster)
    sampler.take()
    names = ["unscheduled", "starting", "ready", "not ready", "terminating"]
    assert [values(sampler, "pods", "phase", n)[0][1] for n in names] == [1, 1, 1, 1, 1]


def test_rates_of_requests_are_means_since_the_sample_before():
    cluster = a_cluster([a_node()], [bound(a_pod(), 0)])
    sampler, traffic = a_sampler(cluster, every_ms=10_000)
    key = ("default", "web")
    traffic.add(key, 20, 0)
    cluster.set_alive(0, True)
    cluster.set_answers(0, True)
    traffic.publish(key, (0,))
    cluster.clock.run(14_000)
    cluster.set_alive(0, False)  # 6 of the next 10 s fail
    cluster.clock.run(20_001)
    assert values(sampler, "sent_rps", "service", "default/web")[1:] == [(10, 20), (20, 20)]
    failed = values(sampler, "failed_rps", "service", "default/web")[1:]
    assert failed == [(10, 0), (20, pytest.approx(12))]


def test_warm_up_is_in_the_timeline_but_not_in_the_averages():
    cluster = a_cluster([a_node()], [bound(POD, 0)])
    sampler, _ = a_sampler(cluster, warm_up_ms=2_000)
    cluster.clock.run(4_001)
    assert len(values(sampler, "pods")) == 5  # 0 to 4 s
    assert sampler.held_ms.tolist()[0] == 2_000  # from 2 s to the sample at 4 s


def test_a_node_that_joins_is_averaged_over_its_own_time():
    cluster = a_cluster([a_node()], [bound(POD, 0)])
    sampler, _ = a_sampler(cluster)
    cluster.clock.run(2_500)
    put_node(cluster, a_node())
    cluster.clock.run(4_500)
    assert sampler.held_ms.tolist() == [4_000, 2_000]  # found by the samples at 3 and 4 s


def test_stranded_is_worked_out_again_when_a_pod_comes():
    cluster = a_cluster([a_node(cpu_m=4000)], [bound(POD, 0)])
    sampler, _ = a_sampler(cluster)
    sampler.take()
    # 2,500 m free: one more of 1,500 m fits, 1,000 m are left
    assert values(sampler, "stranded_cpu_m") == [(0, 1_000)]
    cluster.remove_pod(0)
    cluster.create_pod(cluster.template(POD), 0)
    cluster.bind(1, 0)
    pod = cluster.create_pod(cluster.template(a_pod(cpu_m=1000)), 0)
    cluster.bind(pod, 0)
    sampler.take()
    # 1,500 m free; half the mix leaves 0, half of it (1,000 m) leaves 500: 250 on average
    assert values(sampler, "stranded_cpu_m")[-1] == (0, 250)


def test_the_mix_is_that_of_bound_pods_that_have_not_ended_and_ask_for_something():
    small, nothing = a_pod(cpu_m=100), a_pod()
    cluster = a_cluster([a_node()], [bound(POD, 0), bound(small, 0), bound(nothing, 0), small])
    cluster.end_pod(1, Phase.SUCCEEDED, 13)
    cpu_m, _, fits = stranded_now(cluster, mix_of(cluster))
    # Only pods of 1,500 m: 2,500 m are free, one fits.
    assert (cpu_m.tolist(), fits.tolist()) == ([1_000], [1])


def test_an_empty_cluster_strands_nothing():
    for cluster in (a_cluster(), a_cluster([a_node()])):
        sampler, _ = a_sampler(cluster)
        sampler.take()
        assert values(sampler, "stranded_cpu_m") == [(0, 0)]
