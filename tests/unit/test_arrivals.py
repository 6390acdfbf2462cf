"""Streams: when pods and Jobs arrive, how many, and how long they run."""

from __future__ import annotations

import pytest

from sim.arrivals import STREAM_ANNOTATION, Stream
from sim.clock import Lane
from sim.rng import Streams
from sim.testing import a_cluster, a_node
from tests.inline import a_bare_pod, a_job, a_scenario

JOB = a_job("render", cpu="1")
POD = a_bare_pod("render", cpu="1")


def a_stream(template=POD, *, cluster=None, seed=1, until_ms=600_000, **arrival):
    """The cluster after a stream has been at work."""
    given = {"name": "s", "every": "10s", "runtime": "1m", "template": "t.json", **arrival}
    scenario = a_scenario(files={"t.json": template}, arrivals=[given])
    cluster = cluster or a_cluster([a_node()])
    stream = Stream(scenario.arrivals[0], cluster, Streams(seed)("arrivals/s"))
    cluster.clock.run(until_ms)
    return cluster, stream


def created_s(cluster):
    return (cluster.pods.created_ms[: len(cluster.pods)] / 1000).tolist()


@pytest.mark.parametrize(
    ("arrival", "times_s"),
    [
        pytest.param({"count": 3}, [10, 20, 30], id="the first after one interval, three in all"),
        pytest.param({"start": "1m", "count": 2}, [70, 80], id="counted from its start"),
        pytest.param({"until": "30s"}, [10, 20], id="nothing arrives at its end"),
        pytest.param({"count": 0}, [], id="none at all"),
        pytest.param({"every": "0s", "count": 3}, [0, 0, 0], id="all at one instant"),
    ],
)
def test_pods_arrive(arrival, times_s):
    cluster, stream = a_stream(**arrival)
    assert created_s(cluster) == times_s
    assert stream.arrived == len(times_s)


def test_what_arrives_is_random_by_its_own_stream_only():
    every = {"exponential": "10s"}
    one, other, again = (a_stream(every=every, seed=seed)[0] for seed in (1, 2, 1))
    assert created_s(one) == created_s(again) != created_s(other)


def test_only_one_arrival_waits_at_a_time():
    cluster, stream = a_stream(every="1s", until_ms=1_500)
    assert stream.arrived == 1
    waiting = [lane for _, lane, *_ in cluster.clock.env._queue if isinstance(lane, Lane)]
    assert waiting == [Lane.API]


def test_jobs_arrive_under_names_of_their_own_and_report_as_one_workload():
    cluster, _ = a_stream(JOB, count=3)
    assert [name for _, name in cluster.jobs] == ["s-1", "s-2", "s-3"]
    assert [str(workload) for workload in cluster.workloads] == ["Stream/s"]
    assert len(cluster.pods) == 0, "making the pods is the Job controller's business"


@pytest.mark.parametrize("template", [JOB, POD], ids=["Job", "Pod"])
def test_pods_carry_the_name_of_their_stream(template):
    cluster, _ = a_stream(template, count=1)
    made = next(iter(cluster.jobs.values())).template if cluster.jobs else cluster.templates[0].pod
    assert made.annotations[STREAM_ANNOTATION] == "s"


@pytest.mark.parametrize(
    ("policy", "kept"), [("Always", "Never"), ("OnFailure", "OnFailure"), ("Never", "Never")]
)
def test_a_pod_with_an_end_is_not_started_again(policy, kept):
    cluster, _ = a_stream(a_bare_pod("render", restartPolicy=policy), count=1)
    assert cluster.pod_template(0).pod.spec.restart_policy == kept
