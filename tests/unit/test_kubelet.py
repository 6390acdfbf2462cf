"""Stories of pods on their nodes, to the millisecond, against hand arithmetic."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from sim.behaviour import (
    Behaviour,
    Constant,
    Ending,
    Exponential,
    MemoryUse,
    ProbeBehaviour,
    Uniform,
)
from sim.clock import Lane
from sim.cluster import Change, Cluster
from sim.kubelet import Kubelet, PodTimes, phase_of, pod_times
from sim.nodes import shape
from sim.overcommit import largest_request
from sim.podspec import CPU, MEMORY, Container, PodSpec, PodTemplate, Probe
from sim.podtimes import ContainerTimes
from sim.recorder import Of, Reason
from sim.rng import Streams
from sim.tables import Phase

NODE = {CPU: 4000, MEMORY: 1000}  # bytes in such small numbers can be added in the head
START_MS = 1000  # watch 100 ms, image 0, start 900 ms
TIMES = PodTimes(watch_delay=Constant(100), start=Constant(900), shutdown=Constant(500))


def a_pod(*containers, **spec):
    return PodSpec(containers=containers or (Container("main"),), **spec)


class Story:
    """A cluster of `nodes` nodes on which things happen at given times; what changed is kept."""

    def __init__(self, times=TIMES, *, nodes=1, node=NODE, seed=1, **options):
        self.cluster = Cluster()
        self.times = times
        self.kubelet = Kubelet(self.cluster, Streams(seed), self.times_of, **options)
        for index in range(nodes):
            self.cluster.add_node(f"node-{index}", shape(node))
        self.changes = []
        self.cluster.watch(self.note)

    def times_of(self, template):
        return (
            self.times.get(template.pod.labels["app"])
            if isinstance(self.times, dict)
            else (self.times)
        )

    def note(self, change, object_id):
        pods = self.cluster.pods
        value = {
            Change.POD_ALIVE: pods.alive,
            Change.POD_READY: pods.ready,
            Change.POD_ANSWERS: pods.answers,
        }.get(change)
        if value is not None:
            self.changes.append((self.cluster.clock.now_ms, change, object_id, value[object_id]))
        elif change < Change.NODE_ADDED:
            self.changes.append((self.cluster.clock.now_ms, change, object_id, True))

    def pod(self, spec=None, *, node=0, app="main"):
        """A pod that is bound to a node now."""
        template = self.cluster.template(PodTemplate("shop", {"app": app}, spec or a_pod()))
        owner = self.cluster.owner("ReplicaSet", "shop", app)
        pod = self.cluster.create_pod(template, owner)
        self.cluster.bind(pod, node)
        return pod

    def at(self, ms, verb, *args, **kwargs):
        self.cluster.clock.at(ms, Lane.FAULTS, lambda: verb(*args, **kwargs))
        return self

    def run(self, until_ms):
        """Let time pass, including `until_ms` itself."""
        self.cluster.clock.run(until_ms + 1)
        self.cluster.check()
        return self

    def when(self, pod, change, value=True):
        """The times at which something became so."""
        return [ms for ms, what, of, now in self.changes if (what, of, now) == (change, pod, value)]

    def starts(self, pod):
        """When its containers began to run."""
        return self.when(pod, Change.POD_ALIVE)

    def events(self, pod, *reasons):
        """Times of the recorded events of a pod."""
        log = self.cluster.recorder
        rows = zip(log.at_ms, log.reason, log.kind, log.object, strict=True)
        return [
            ms for ms, reason, kind, of in rows if (kind, of) == (Of.POD, pod) and reason in reasons
        ]

    def restarts(self, pod):
        return int(self.cluster.pods.restarts[pod])


def one_pod(spec=None, times=TIMES, *, until_ms=10_000, **options):
    """A story of one pod, bound at 0."""
    story = Story(times, **options)
    pod = story.pod(spec)
    return story.run(until_ms), pod


# --- starting


def test_pod_runs_after_watch_image_and_start():
    # 100 + 2000 + 900
    story, pod = one_pod(times=replace(TIMES, image_pull=Constant(2000)))
    assert story.starts(pod) == [3000]
    assert story.cluster.pods.started_ms[pod] == 3000
    assert story.cluster.pods.phase[pod] == Phase.RUNNING


def test_images_of_a_pod_are_pulled_one_after_the_other():
    # The first starts at 100 + 900 + 2000, the second after its own 300; then both are seen.
    times = replace(
        TIMES,
        image_pull=Constant(2000),
        containers={"second": ContainerTimes(image_pull=Constant(300))},
    )
    story, pod = one_pod(a_pod(Container("first"), Container("second")), times)
    assert story.starts(pod) == [3000]
    assert story.when(pod, Change.POD_READY) == [3300]


def test_pod_without_readiness_probe_is_ready_at_once_though_its_application_is_not_up():
    story, pod = one_pod(times=replace(TIMES, startup=Constant(4000)))
    assert story.when(pod, Change.POD_READY) == [START_MS]
    assert story.when(pod, Change.POD_ANSWERS) == [START_MS + 4000]


@pytest.mark.parametrize(
    ("probe", "startup_ms", "ready_ms"),
    [
        # The first sync that sees it running probes at once.
        pytest.param(Probe(), 0, 1_000, id="at once when it answers at once"),
        # Probes at 1, 11 and 21 s; it answers from 16 s on.
        pytest.param(Probe(), 15_000, 21_000, id="with the second period after 15 s of start-up"),
        # It answers at 11 s, and what happens at an instant comes before the probe of it.
        pytest.param(Probe(), 10_000, 11_000, id="with the probe of the instant it comes up"),
        # No probe before 1 + 5 s; the ticker ticks at 1, 11, ...
        pytest.param(Probe(initial_delay_ms=5_000), 0, 11_000, id="after its initial delay"),
        # Successes at 1 and 4 s.
        pytest.param(
            Probe(period_ms=3_000, success_threshold=2), 0, 4_000, id="after two successes"
        ),
    ],
)
def test_pod_is_ready(probe, startup_ms, ready_ms):
    spec = a_pod(Container("main", readiness=probe))
    story, pod = one_pod(spec, replace(TIMES, startup=Constant(startup_ms)), until_ms=60_000)
    assert story.when(pod, Change.POD_READY) == [ready_ms]


def test_startup_probe_holds_the_others_back_until_it_succeeds():
    # Its ticks are at 0.1 s (when the kubelet first saw the pod) + 10 k: the application, up at
    # 13 s, is found at 20.1 s, and readiness is probed at that instant.
    main = Container("main", startup=Probe(), readiness=Probe(period_ms=1_000))
    times = replace(TIMES, startup=Constant(12_000))
    story, pod = one_pod(a_pod(main), times, until_ms=60_000)
    assert story.when(pod, Change.POD_READY) == [20_100]


def test_pod_is_ready_when_all_its_containers_are():
    # main 1 s; slow is up at 5 s, probed at 1, 11, ...
    spec = a_pod(Container("main"), Container("slow", readiness=Probe()))
    times = replace(TIMES, containers={"slow": ContainerTimes(startup=Constant(4_000))})
    story, pod = one_pod(spec, times, until_ms=60_000)
    assert story.when(pod, Change.POD_READY) == [11_000]
    assert story.when(pod, Change.POD_ANSWERS) == [5_000]


# --- ending and restarting


@pytest.mark.parametrize(
    ("policy", "code", "phase", "starts"),
    [
        pytest.param("Never", 0, Phase.SUCCEEDED, [1_000], id="Never and 0: Succeeded"),
        pytest.param("Never", 3, Phase.FAILED, [1_000], id="Never and 3: Failed"),
        pytest.param("OnFailure", 0, Phase.SUCCEEDED, [1_000], id="OnFailure and 0: Succeeded"),
        # The first restart comes at once, the second after 10 s: 1, 1+2, 3+2+10.
        pytest.param("OnFailure", 3, Phase.RUNNING, [900, 2_900, 14_900], id="OnFailure and 3"),
        pytest.param("Always", 0, Phase.RUNNING, [900, 2_900, 14_900], id="Always, even after 0"),
    ],
)
def test_restart_policy_decides_what_an_exit_means(policy, code, phase, starts):
    times = replace(TIMES, run=Constant(2_000), exit_code=code)
    ideal = len(starts) > 1  # without the delays of relists and looks, and of the watch
    spec = a_pod(restart_policy=policy)
    story, pod = one_pod(spec, times, until_ms=16_000, ideal=ideal)
    assert story.starts(pod) == starts
    assert story.cluster.pods.phase[pod] == phase
    assert story.restarts(pod) == len(starts) - 1


def test_api_learns_of_an_exit_with_the_nodes_next_relist():
    times = replace(TIMES, run=Constant(1_234))
    story, pod = one_pod(a_pod(restart_policy="Never"), times)
    assert story.when(pod, Change.POD_ALIVE, False) == [2_234]
    [ended_ms] = story.when(pod, Change.POD_ENDED)
    assert 2_234 <= ended_ms < 3_234
    assert ended_ms % 1_000 == phase_of(1, "node-0")


def test_restarted_container_is_ready_again_when_the_next_relist_sees_it():
    times = replace(TIMES, run=Constant(20_000), exit_code=1)
    story, pod = one_pod(times=times, until_ms=30_000)
    seen_ms = 21_000 + phase_of(1, "node-0")
    assert story.starts(pod) == [START_MS, seen_ms]
    assert story.when(pod, Change.POD_READY, False) == [seen_ms]
    assert story.when(pod, Change.POD_READY) == [START_MS, seen_ms + 1_000]


@pytest.mark.parametrize("probes", [{}, {"liveness": Probe()}], ids=["plain", "probed"])
def test_container_that_ends_between_two_relists_is_never_seen_to_be_ready(probes):
    # Each instance lives 300 ms; the first start is seen by definition, no later one is.
    times = replace(TIMES, run=Constant(300), exit_code=1)
    story, pod = one_pod(a_pod(Container("main", **probes)), times, until_ms=60_000)
    assert len(story.starts(pod)) >= 4
    assert story.when(pod, Change.POD_READY) == [START_MS]


def test_crash_loop_waits_0_10_20_40_80_seconds():
    # Each instance lives 1 s: 0.9; 1.9 + 0; 2.9 + 10; 13.9 + 20; 34.9 + 40; 75.9 + 80
    times = replace(TIMES, run=Constant(1_000), exit_code=1)
    story, pod = one_pod(times=times, until_ms=156_000, ideal=True)
    assert story.starts(pod) == [900, 1_900, 12_900, 33_900, 74_900, 155_900]
    assert story.when(pod, Change.POD_READY, False) == [2_900, 13_900, 34_900, 75_900]
    assert story.events(pod, Reason.BACK_OFF) == [2_900, 13_900, 34_900, 75_900]


@pytest.mark.parametrize(
    ("run_ms", "starts"),
    [
        # 700 s since the last start are more than 600: the series begins again, at once.
        pytest.param(700_000, [900, 700_900, 1_400_900, 2_100_900], id="700 s: always at once"),
        # 500 s are not: the second crash waits 10 s, the third (at 1510.9) 20 s.
        pytest.param(500_000, [900, 500_900, 1_010_900, 1_530_900], id="500 s: back-off goes on"),
    ],
)
def test_long_run_ends_the_back_off_only_after_ten_minutes(run_ms, starts):
    times = replace(TIMES, run=Constant(run_ms), exit_code=1)
    story, pod = one_pod(times=times, until_ms=2_101_000, ideal=True)
    assert story.starts(pod)[:4] == starts


@pytest.mark.parametrize("seed", range(20))
def test_worker_looks_after_a_crash_up_to_half_the_wait_too_late(seed):
    # Crash at 3 s at the latest seen one relist later; the end of the wait is 10 s after the
    # crash. The worker sleeps 10 s * U(1, 1.5) (less what the relist took), and its node's ticker
    # rounds up to the next second.
    times = replace(TIMES, run=Constant(1_000), exit_code=1)
    story, pod = one_pod(times=times, until_ms=25_000, seed=seed)
    second, third = story.starts(pod)[1:3]
    phase_ms = phase_of(seed, "node-0")
    assert second == 2_000 + (phase_ms - 2_000) % 1_000
    crashed_ms = second + 1_000
    assert crashed_ms + 10_000 <= third <= crashed_ms + 10_000 + 5_000 + 1_000
    assert third % 1_000 == phase_ms


def test_back_off_is_forgotten_ten_minutes_after_the_last_start_even_while_it_lasts():
    # Lives of 500 s and waits of 0, 10, 20, 40, 80, 160 s. Then the last start lies 660 s back,
    # so that the next crash counts as the first of a new series: 10 s instead of 300.
    times = replace(TIMES, run=Constant(500_000), exit_code=1)
    story, pod = one_pod(times=times, until_ms=4_400_000, ideal=True)
    gaps = [after - before for before, after in pairwise(story.starts(pod))]
    assert gaps[:7] == [500_000, 510_000, 520_000, 540_000, 580_000, 660_000, 510_000]


@pytest.mark.parametrize("seed", range(8))
def test_container_is_probed_until_its_exit_is_seen_but_not_killed_again(seed):
    # Probes each second from 100 ms (liveness) and from 1000 ms (readiness) on. It exits at 3050:
    # unready at 4000 unless the relist comes first; liveness would fail at 3100.
    probe = Probe(period_ms=1_000, failure_threshold=1)
    spec = a_pod(Container("main", readiness=probe, liveness=probe))
    times = replace(TIMES, run=Constant(2_050), exit_code=1)
    story, pod = one_pod(spec, times, until_ms=5_049, seed=seed)
    seen_ms = 3_050 + (phase_of(seed, "node-0") - 3_050) % 1_000
    assert story.events(pod, Reason.KILLING_LIVENESS) == []
    assert story.when(pod, Change.POD_READY, False)[0] == min(4_000, seen_ms)
    assert story.starts(pod) == [START_MS, seen_ms]
    # The relist after that sees the new instance run, which is then probed at once.
    assert story.when(pod, Change.POD_READY) == [START_MS, seen_ms + 1_000]


def test_crash_after_a_probe_kill_waits_from_its_own_end():
    # Starved from the start, it is killed at 30 s; from 31 s on it is well and ends after 50 s
    # each time. 30.5: no back-off. 80.5: its own end, no entry yet: at once. 130.5: waits 10 s.
    spec = a_pod(Container("main", limits={CPU: 500}, liveness=Probe()))
    times = replace(TIMES, run=Constant(50_000), containers={"main": ContainerTimes(cpu_m=0)})
    story = Story(times, ideal=True)
    pod = story.pod(spec)
    story.at(1_000, story.kubelet.set_load, pod, 1_000)
    story.at(31_000, story.kubelet.set_load, pod, 0).run(141_000)
    assert story.starts(pod) == [900, 30_500, 80_500, 140_500]


def test_application_of_a_killed_instance_never_comes_up():
    # It would answer after 35 s, but each instance is killed after about 30.
    spec = a_pod(Container("main", liveness=Probe()))
    story, pod = one_pod(spec, replace(TIMES, startup=Constant(35_000)), until_ms=150_000)
    assert story.when(pod, Change.POD_ANSWERS) == []


def test_crashes_of_one_container_leave_the_other_running():
    spec = a_pod(Container("main"), Container("flaky"))
    crash = Ending(Constant(2_000), 1)
    times = replace(TIMES, containers={"flaky": ContainerTimes(crash=crash)})
    # flaky: 0.9; 2.9; crash at 4.9, 14.9
    story, pod = one_pod(spec, times, until_ms=15_000, ideal=True)
    assert story.starts(pod) == [900]
    assert story.when(pod, Change.POD_READY, True) == [900, 14_900]
    assert story.when(pod, Change.POD_READY, False) == [4_900]
    assert story.restarts(pod) == 2


def test_pod_of_two_containers_ends_with_the_later_one_and_fails_if_one_failed():
    spec = a_pod(Container("main"), Container("helper"), restart_policy="Never")
    times = replace(
        TIMES, run=Constant(3_000), containers={"helper": ContainerTimes(run=_end(1_000, 7))}
    )
    story, pod = one_pod(spec, times, ideal=True)
    assert story.when(pod, Change.POD_ENDED) == [3_900]
    assert story.cluster.pods.phase[pod] == Phase.FAILED
    assert story.events(pod, Reason.CONTAINER_FAILED) == [3_900]


def test_sidecar_does_not_keep_a_finished_pod():
    spec = PodSpec(
        containers=(Container("main"),),
        init_containers=(Container("proxy", sidecar=True),),
        restart_policy="Never",
    )
    # proxy 0.9 s, main beside it, to 3.9 s; then proxy is told to stop and takes 0.5 s
    story, pod = one_pod(spec, replace(TIMES, run=Constant(3_000)), ideal=True)
    assert story.when(pod, Change.POD_ENDED) == [4_400]
    assert story.cluster.pods.phase[pod] == Phase.SUCCEEDED


def test_init_containers_run_before_the_others():
    spec = PodSpec(containers=(Container("main"),), init_containers=(Container("migrate"),))
    times = replace(TIMES, containers={"migrate": ContainerTimes(run=_end(5_000, 0))})
    # migrate runs from 1 to 6 s; the next relist sees that, and the one after it that main runs
    story, pod = one_pod(spec, times)
    seen_ms = START_MS + 5_000 + phase_of(1, "node-0")
    assert story.starts(pod) == [START_MS, seen_ms]
    assert story.when(pod, Change.POD_RUNNING) == [seen_ms + 1_000]
    assert story.when(pod, Change.POD_READY) == [seen_ms + 1_000]


def _end(after_ms, code):
    return Ending(Constant(after_ms), code)


# --- probes that kill


STUCK = replace(TIMES, startup=Constant(10**9))  # it never answers


def test_liveness_kills_restart_at_once_until_the_back_off_is_longer_than_a_life():
    # Ticks at 10 k s; three failures a life of 30 s, killed at its end, down 0.5 s later.
    # 30.5: nothing ended before, no back-off. 60.5: ended at 30.5, new entry 10 s.
    # 90.5: 30 s since 60.5 > 10, entry 20. 120.5: 30 > 20, entry 40.
    # 150.5: 30 < 40, so it waits 40 s from its own end: 190.5.
    spec = a_pod(Container("main", liveness=Probe()))
    story, pod = one_pod(spec, STUCK, until_ms=191_000, ideal=True)
    assert story.starts(pod) == [900, 30_500, 60_500, 90_500, 120_500, 190_500]
    assert story.events(pod, Reason.KILLING_LIVENESS) == [30_000, 60_000, 90_000, 120_000, 150_000]


def test_ticks_of_liveness_probes_count_from_the_first_sight_of_the_pod():
    spec = a_pod(Container("main", liveness=Probe(period_ms=5_000, failure_threshold=2)))
    story, pod = one_pod(spec, replace(STUCK, watch_delay=Constant(300)), until_ms=11_000)
    # seen at 300, runs from 1200: failures at 5300 and 10300; down 500 later
    assert story.events(pod, Reason.KILLING_LIVENESS) == [10_300]
    assert story.starts(pod) == [1_200, 10_800]


def test_startup_probe_kills_after_its_failures():
    # period 4 s, three failures: 4, 8, 12 s
    spec = a_pod(Container("main", startup=Probe(period_ms=4_000), liveness=Probe()))
    story, pod = one_pod(spec, STUCK, until_ms=13_000, ideal=True)
    assert story.events(pod, Reason.KILLING_STARTUP) == [12_000]
    assert story.starts(pod) == [900, 12_500]


@pytest.mark.parametrize(
    ("own_ms", "restart_ms"),
    [
        # It would need 60 s to shut down; killed at 30 s.
        pytest.param(None, 60_000, id="the pod's 30 s"),
        pytest.param(5_000, 35_000, id="the probe's own 5 s"),
    ],
)
def test_killed_container_has_a_grace_period(own_ms, restart_ms):
    probe = Probe(termination_grace_ms=own_ms)
    times = replace(STUCK, shutdown=Constant(60_000))
    story, pod = one_pod(a_pod(Container("main", liveness=probe)), times, until_ms=61_000, ideal=1)
    assert story.starts(pod) == [900, restart_ms]


def test_container_killed_by_a_probe_ends_a_pod_that_never_restarts():
    spec = a_pod(Container("main", liveness=Probe()), restart_policy="Never")
    story, pod = one_pod(spec, STUCK, until_ms=31_000, ideal=True)
    assert story.when(pod, Change.POD_ENDED) == [30_500]
    assert story.cluster.pods.phase[pod] == Phase.FAILED


def test_probes_that_always_fail_kill_a_healthy_container():
    said = ContainerTimes(probes=ProbeBehaviour(liveness_failure_rate=1.0))
    spec = a_pod(Container("main", liveness=Probe()))
    times = replace(TIMES, containers={"main": said})
    story, pod = one_pod(spec, times, until_ms=31_000, ideal=True)
    assert story.when(pod, Change.POD_ANSWERS) == [900, 30_500]
    assert story.restarts(pod) == 1


def test_healthy_probes_cost_no_events():
    spec = a_pod(Container("main", readiness=Probe(), liveness=Probe(), startup=Probe()))
    story, pod = one_pod(spec, until_ms=24 * 3_600_000)
    # start, startup success; readiness follows in the same event
    assert story.cluster.clock.calls <= 4
    assert story.cluster.pods.ready[pod]


# --- memory


LEAK = MemoryUse(base_b=100, growth_b=10, growth_per_ms=1_000)


def leaking(**limits):
    return Container("main", limits=limits)


def test_leak_ends_at_the_limit_and_begins_again_from_its_base():
    # 201 B are more than 200: 101 B later, 10.1 s after each start.
    # 0.9 + 10.1; restart at once; 21.1, waits 10 s; 31.1 + 10.1
    times = replace(TIMES, containers={"main": ContainerTimes(memory=LEAK)})
    story, pod = one_pod(a_pod(leaking(memory=200)), times, until_ms=42_000, ideal=True)
    assert story.events(pod, Reason.OOM_KILLING) == [11_000, 21_100, 41_200]
    assert story.starts(pod) == [900, 11_000, 31_100]
    assert story.cluster.pods.oom_kills[pod] == story.cluster.nodes.oom_kills[0] == 3


def test_killed_container_does_not_end_later():
    # Killed at 11.0 and 21.1; the second instance, of 11.0, would have ended well at 23.0.
    said = ContainerTimes(memory=LEAK)
    times = replace(TIMES, run=Constant(12_000), containers={"main": said})
    spec = a_pod(leaking(memory=200), restart_policy="OnFailure")
    story, pod = one_pod(spec, times, until_ms=32_000, ideal=True)
    assert story.starts(pod) == [900, 11_000, 31_100]
    assert story.cluster.pods.phase[pod] == Phase.RUNNING


def test_plain_pod_killed_for_its_node_runs_its_whole_time_again():
    # The Guaranteed leak passes 1000 - 300 at 0.9 + 70.1 s and takes the BestEffort pod with it,
    # which would have ended at 80.9 s; anew from 71.0 s (at once, as a first restart) it ends at
    # 151 s, unless it is killed again: the leak has stopped at its limit before.
    times = {
        "leak": replace(TIMES, containers={"main": ContainerTimes(memory=MemoryUse(0, 10, 1_000))}),
        "plain": replace(
            TIMES, run=Constant(80_000), containers={"main": ContainerTimes(memory=MemoryUse(300))}
        ),
    }
    sure = {CPU: 100, MEMORY: 900}
    story = Story(times, ideal=True)
    leak = story.pod(
        a_pod(Container("main", requests=sure, limits=sure), termination_grace_ms=0), app="leak"
    )
    plain = story.pod(a_pod(restart_policy="OnFailure"), app="plain")
    story.at(71_500, story.cluster.delete_pod, leak).run(200_000)
    assert set(story.events(plain, Reason.NODE_OOM)) == {71_000}
    # killed twice at 71.0 (the restart does not fit either), so up again 10 s later
    assert story.starts(plain)[-1] == 81_000
    assert story.when(plain, Change.POD_ENDED) == [161_000]


def test_memory_column_holds_the_leak():
    times = replace(TIMES, containers={"main": ContainerTimes(memory=LEAK)})
    story, pod = one_pod(a_pod(leaking(memory=500)), times, until_ms=20_900, ideal=True)
    story.cluster.settle_use(pod)
    assert story.cluster.pods.memory_b[pod] == 100 + 10 * 20  # 20 s after its start


def test_container_above_its_limit_from_the_start_dies_at_once():
    times = replace(TIMES, containers={"main": ContainerTimes(memory=MemoryUse(300))})
    spec = a_pod(leaking(memory=200), restart_policy="Never")
    story, pod = one_pod(spec, times, ideal=True)
    assert story.events(pod, Reason.OOM_KILLING) == [900]
    assert story.events(pod, Reason.CONTAINER_FAILED) == [900]


@pytest.mark.parametrize(
    ("policy", "victim"),
    [
        # oom_score_adj 1000 of a BestEffort pod against -997 of a Guaranteed one.
        pytest.param(None, "besteffort", id="the kernel takes the BestEffort pod"),
        pytest.param(largest_request, "guaranteed", id="by another rule who requested most"),
    ],
)
def test_node_without_memory_kills_by_badness(policy, victim):
    times = {
        "guaranteed": TIMES,
        "besteffort": replace(
            TIMES, containers={"main": ContainerTimes(memory=MemoryUse(0, 10, 1_000))}
        ),
    }
    story = Story(times, victim_policy=policy, ideal=True)
    sure = {CPU: 100, MEMORY: 600}
    pods = {
        "guaranteed": story.pod(
            a_pod(Container("main", requests=sure, limits=sure)), app="guaranteed"
        ),
        "besteffort": story.pod(app="besteffort"),
    }
    # 600 + 401 > 1000 after 40.1 s, from 0.9 s on
    story.run(41_500)
    # (A Guaranteed victim restarts at that instant, does not fit again, and then has to wait.)
    assert set(story.events(pods[victim], Reason.NODE_OOM)) == {41_000}
    other = pods["guaranteed" if victim == "besteffort" else "besteffort"]
    assert story.events(other, Reason.NODE_OOM) == []
    assert story.restarts(other) == 0


def test_constant_memory_within_the_limits_plans_nothing():
    sure = {CPU: 100, MEMORY: 500}
    story = Story()
    for _ in range(2):  # together exactly what the node has
        story.pod(a_pod(Container("main", requests=sure, limits=sure)))
    story.run(1_000_000)
    assert story.cluster.clock.calls == 2  # the two starts


def test_neighbour_that_starts_brings_the_kill_forward():
    times = {
        "leak": replace(TIMES, containers={"main": ContainerTimes(memory=MemoryUse(0, 10, 1_000))}),
        "big": replace(TIMES, containers={"main": ContainerTimes(memory=MemoryUse(500))}),
    }
    story = Story(times, ideal=True)
    leak = story.pod(app="leak")
    story.at(20_100, story.pod, app="big")
    # alone 1001 B would take 100.1 s; with 500 B from 21 s on 501 B: 0.9 + 50.1.
    # Both are BestEffort; the leak has grown larger by then (501 > 500).
    story.run(60_000)
    assert story.events(leak, Reason.NODE_OOM) == [51_000]


# --- deletion


@pytest.mark.parametrize(
    ("shutdown_ms", "grace_ms", "removed_ms"),
    [
        pytest.param(2_000, 30_000, 7_100, id="after its shutdown: 5000 + 100 + 2000"),
        pytest.param(60_000, 30_000, 35_100, id="killed after the grace: 5000 + 100 + 30000"),
        pytest.param(2_000, 0, 5_000, id="at once without grace"),
    ],
)
@pytest.mark.parametrize("probes", [{}, {"liveness": Probe()}], ids=["plain", "probed"])
def test_deleted_pod_goes(shutdown_ms, grace_ms, removed_ms, probes):
    story = Story(replace(TIMES, shutdown=Constant(shutdown_ms)))
    pod = story.pod(a_pod(Container("main", **probes), termination_grace_ms=grace_ms))
    story.at(5_000, story.cluster.delete_pod, pod).run(40_000)
    assert story.when(pod, Change.POD_ALIVE, False) == [removed_ms]
    assert story.when(pod, Change.POD_READY, False) == [removed_ms]
    assert story.when(pod, Change.POD_REMOVED) == [removed_ms]


def test_pod_deleted_before_it_runs_never_runs():
    story = Story()
    pod = story.pod()
    story.at(500, story.cluster.delete_pod, pod).run(10_000)
    assert story.when(pod, Change.POD_REMOVED) == [600]
    assert story.starts(pod) == []


def test_pod_that_starts_before_its_deletion_is_seen_has_to_stop():
    story = Story()
    pod = story.pod()
    story.at(950, story.cluster.delete_pod, pod).run(10_000)
    assert story.starts(pod) == [1_000]
    assert story.when(pod, Change.POD_REMOVED) == [950 + 100 + 500]


def test_container_that_crashed_before_a_deletion_is_not_restarted_in_it():
    # flaky ends at 3.0; TERM comes at 3.001, before the relist; main takes 5 s to stop.
    spec = a_pod(Container("main"), Container("flaky"))
    said = {
        "main": ContainerTimes(shutdown=Constant(5_000)),
        "flaky": ContainerTimes(crash=_end(2_000, 1)),
    }
    story = Story(replace(TIMES, containers=said))
    assert phase_of(1, "node-0") > 1
    pod = story.pod(spec)
    story.at(2_901, story.cluster.delete_pod, pod).run(10_000)
    assert story.restarts(pod) == 0
    assert story.when(pod, Change.POD_REMOVED) == [8_001]


def test_pod_deleted_in_back_off_goes_at_once():
    story = Story(replace(TIMES, run=Constant(1_000), exit_code=1), ideal=True)
    pod = story.pod()  # down from 2.9 to 12.9 s
    story.at(5_000, story.cluster.delete_pod, pod).run(20_000)
    assert story.when(pod, Change.POD_REMOVED) == [5_000]
    assert story.starts(pod) == [900, 1_900]


def test_pod_killed_for_memory_while_it_is_being_deleted_is_gone():
    # The leak passes 1000 - 300 at 0.9 + 70.1 s; the plain pod has been stopping since 60 s.
    times = {
        "leak": replace(TIMES, containers={"main": ContainerTimes(memory=MemoryUse(0, 10, 1_000))}),
        "plain": replace(
            TIMES,
            shutdown=Constant(25_000),
            containers={"main": ContainerTimes(memory=MemoryUse(300))},
        ),
    }
    sure = {CPU: 100, MEMORY: 900}
    story = Story(times, ideal=True)
    story.pod(a_pod(Container("main", requests=sure, limits=sure)), app="leak")
    plain = story.pod(app="plain")
    story.at(60_000, story.cluster.delete_pod, plain).run(80_000)
    assert story.events(plain, Reason.NODE_OOM) == [71_000]
    assert story.when(plain, Change.POD_REMOVED) == [71_000]
    assert story.restarts(plain) == 0


def test_container_that_is_being_deleted_is_not_killed_by_liveness():
    story = Story(replace(STUCK, shutdown=Constant(25_000)), ideal=True)
    pod = story.pod(a_pod(Container("main", liveness=Probe())))
    story.at(20_000, story.cluster.delete_pod, pod).run(60_000)
    assert story.events(pod, Reason.KILLING_LIVENESS) == []
    assert story.when(pod, Change.POD_REMOVED) == [45_000]


def test_pod_that_ends_while_being_deleted_is_removed():
    story = Story(replace(TIMES, run=Constant(4_050)), ideal=False)
    pod = story.pod(a_pod(restart_policy="Never"))  # ends at 5.05 s; TERM comes at 5.1 s
    story.at(5_000, story.cluster.delete_pod, pod).run(10_000)
    [removed_ms] = story.when(pod, Change.POD_REMOVED)
    assert removed_ms <= 6_100


# --- nodes that crash


def test_pod_of_a_crashed_node_starts_again_without_its_image_when_the_node_is_back():
    story = Story(replace(TIMES, image_pull=Constant(3_000)))
    pod = story.pod()  # runs from 4 s
    story.at(6_000, story.cluster.fail_node, 0)
    story.at(9_000, story.cluster.recover_node, 0).run(20_000)
    assert story.when(pod, Change.POD_ALIVE, False) == [6_000]
    assert story.when(pod, Change.POD_READY, False) == [9_000]  # nobody wrote it before
    assert story.starts(pod) == [4_000, 9_900]
    assert story.restarts(pod) == 1


def test_pod_whose_start_was_cut_short_by_a_crash_starts_from_the_beginning():
    story = Story(replace(TIMES, image_pull=Constant(3_000)))
    pod = story.pod()
    story.at(2_000, story.cluster.fail_node, 0)
    story.at(9_000, story.cluster.recover_node, 0).run(20_000)
    assert story.starts(pod) == [12_900]  # 9.0 + 3.0 + 0.9
    assert story.restarts(pod) == 0


def test_pod_bound_to_a_dead_node_starts_when_it_is_back():
    story = Story()
    story.cluster.fail_node(0)
    pod = story.pod()
    story.at(9_000, story.cluster.recover_node, 0).run(20_000)
    assert story.starts(pod) == [9_900]


def test_pod_that_never_restarts_fails_when_its_crashed_node_is_back():
    story = Story(replace(TIMES, run=Constant(60_000)))
    pod = story.pod(a_pod(restart_policy="Never"))
    story.at(6_000, story.cluster.fail_node, 0)
    story.at(9_000, story.cluster.recover_node, 0).run(100_000)
    assert story.when(pod, Change.POD_ENDED) == [9_000]
    assert story.cluster.pods.phase[pod] == Phase.FAILED


@pytest.mark.parametrize("deleted_ms", [5_000, 7_000], ids=["before TERM was seen", "while down"])
def test_pod_deleted_around_a_crash_is_gone_with_the_return(deleted_ms):
    story = Story()
    pod = story.pod()
    story.at(deleted_ms, story.cluster.delete_pod, pod)
    story.at(5_050, story.cluster.fail_node, 0)
    story.at(9_000, story.cluster.recover_node, 0).run(20_000)
    assert story.when(pod, Change.POD_REMOVED) == [9_000]


def test_crash_forgets_the_back_off():
    story = Story(replace(TIMES, run=Constant(1_000), exit_code=1), ideal=True)
    pod = story.pod()  # 0.9, 1.9; down from 2.9
    story.at(5_000, story.cluster.fail_node, 0)
    story.at(6_000, story.cluster.recover_node, 0).run(19_000)
    # 6.9 runs 1 s, restarts at once, then waits 10 s from 8.9
    assert story.starts(pod) == [900, 1_900, 6_900, 7_900, 18_900]


def test_young_kubelet_spreads_its_first_probes():
    ready = set()
    for seed in range(8):
        spec = a_pod(Container("main", startup=Probe()))
        story = Story(ideal=True, seed=seed)
        pod = story.pod(spec)
        story.at(5_000, story.cluster.fail_node, 0)
        story.at(9_000, story.cluster.recover_node, 0).run(40_000)
        back_ms = story.when(pod, Change.POD_READY)[-1]
        assert 9_900 <= back_ms < 9_900 + 10_000  # one period
        ready.add(back_ms)
    assert len(ready) > 1


# --- nodes that are cut off


def cut_off(story, from_ms, until_ms):
    story.at(from_ms, story.cluster.fail_node, 0, containers_die=False)
    return story.at(until_ms, story.cluster.recover_node, 0)


def test_containers_of_a_cut_off_node_run_on():
    story = Story()
    pod = story.pod()
    cut_off(story, 5_000, 90_000).run(100_000)
    assert story.starts(pod) == [START_MS]
    assert story.when(pod, Change.POD_ALIVE, False) == []
    assert story.restarts(pod) == 0


def test_pod_deleted_while_cut_off_has_its_grace_when_the_node_is_back():
    story = Story()
    pod = story.pod()
    story.at(7_000, story.cluster.delete_pod, pod)
    cut_off(story, 5_000, 9_000).run(20_000)
    assert story.when(pod, Change.POD_REMOVED) == [9_500]


def test_pod_that_got_its_term_before_the_cut_stops_in_time_and_goes_with_the_return():
    story = Story()
    pod = story.pod()
    story.at(5_000, story.cluster.delete_pod, pod)
    cut_off(story, 5_200, 9_000).run(20_000)
    assert story.when(pod, Change.POD_ALIVE, False) == [5_600]
    assert story.when(pod, Change.POD_REMOVED) == [9_000]


def test_what_happened_while_cut_off_is_written_with_the_return():
    # Ready at 16 s + next probe of 1, 11, 21 s; known at 50 s.
    story = Story(replace(TIMES, startup=Constant(15_000)))
    pod = story.pod(a_pod(Container("main", readiness=Probe())))
    cut_off(story, 5_000, 50_000).run(60_000)
    assert story.when(pod, Change.POD_ANSWERS) == [16_000]
    assert story.when(pod, Change.POD_READY) == [50_000]


def test_pod_that_ends_while_cut_off_is_known_to_with_the_return():
    story = Story(replace(TIMES, run=Constant(10_000)))
    pod = story.pod(a_pod(restart_policy="Never"))
    cut_off(story, 5_000, 50_000).run(60_000)
    assert story.when(pod, Change.POD_ALIVE, False) == [11_000]
    assert story.when(pod, Change.POD_ENDED) == [50_000]
    assert story.cluster.pods.phase[pod] == Phase.SUCCEEDED


def test_pod_with_a_sidecar_that_ends_while_cut_off_and_deleted_is_gone_with_the_return():
    spec = PodSpec(
        containers=(Container("main"),),
        init_containers=(Container("proxy", sidecar=True),),
        restart_policy="Never",
    )
    story = Story(replace(TIMES, run=Constant(10_000)))
    pod = story.pod(spec)
    story.at(20_000, story.cluster.delete_pod, pod)
    cut_off(story, 5_000, 50_000).run(60_000)
    assert story.when(pod, Change.POD_REMOVED) == [50_000]


@pytest.mark.parametrize(
    ("cut_ms", "alive_ms", "running_ms"),
    [
        # The watch takes 100 ms, the start 900 ms.
        pytest.param(50, 9_900, 9_900, id="unseen: starts with the return"),
        pytest.param(500, 1_000, 9_000, id="seen: starts, and says so with the return"),
    ],
)
def test_pod_bound_just_before_the_cut(cut_ms, alive_ms, running_ms):
    story = Story()
    pod = story.pod()
    cut_off(story, cut_ms, 9_000).run(20_000)
    assert story.starts(pod) == [alive_ms]
    assert story.when(pod, Change.POD_RUNNING) == [running_ms]
    assert story.when(pod, Change.POD_READY) == [running_ms]


# --- CPU


def wanting(cpu_m, **resources):
    """A container that uses `cpu_m`, and times that say so."""
    times = replace(TIMES, containers={"main": ContainerTimes(cpu_m=cpu_m)})
    return a_pod(Container("main", **resources)), times


def test_pod_uses_what_it_requests_unless_told_otherwise():
    story, pod = one_pod(a_pod(Container("main", requests={CPU: 250, MEMORY: 64})))
    assert (story.cluster.pods.cpu_m[pod], story.cluster.pods.memory_b[pod]) == (250, 64)


def test_equal_pods_share_a_node_that_is_too_small_equally():
    spec, times = wanting(3_000, requests={CPU: 1_000})
    story = Story(times)
    pods = [story.pod(spec) for _ in range(2)]
    story.run(5_000)
    assert story.cluster.pods.cpu_m[pods].tolist() == [2_000, 2_000]  # 4000 / 2


def test_neighbours_get_what_a_stopped_pod_leaves():
    spec, times = wanting(3_000, requests={CPU: 1_000})
    story = Story(times)
    pods = [story.pod(spec) for _ in range(2)]
    story.at(5_000, story.cluster.delete_pod, pods[0]).run(10_000)
    assert story.cluster.pods.cpu_m[pods].tolist() == [0, 3_000]


@pytest.mark.parametrize(
    ("limit_m", "load_m", "used_m", "served"),
    [
        pytest.param(0, 1_500, 1_500, 1.0, id="all where there is enough"),
        # 500 of 1000
        pytest.param(500, 1_000, 500, 0.5, id="half under a limit of half of it"),
        # 4000 of 6000 = 0.6666, told in steps of 1/1000, rounded down
        pytest.param(0, 6_000, 4_000, 0.666, id="two thirds of more than the node has"),
    ],
)
def test_pod_serves_as_many_of_its_requests_as_it_gets_cpu_for(limit_m, load_m, used_m, served):
    spec, times = wanting(0, limits={CPU: limit_m} if limit_m else {})
    story = Story(times)
    pod = story.pod(spec)
    story.at(5_000, story.kubelet.set_load, pod, load_m).run(6_000)
    assert story.cluster.pods.cpu_m[pod] == used_m
    assert story.cluster.pods.served[pod] == served


def test_load_counts_while_the_pod_answers():
    spec, times = wanting(50)
    story = Story(replace(times, startup=Constant(5_000)))
    pod = story.pod(spec)  # runs from 1 s, answers from 6 s
    used = []
    story.at(500, story.kubelet.set_load, pod, 700)
    for ms in (2_000, 7_000, 9_000):
        story.at(ms, lambda: used.append(int(story.cluster.pods.cpu_m[pod])))
    story.at(8_000, story.kubelet.set_load, pod, 0)
    story.run(10_000)
    assert used == [50, 750, 50]


def test_saturated_pod_fails_its_liveness_probe():
    # It wants twice its limit, so that no probe is ever answered: 40, 50, 60 s.
    spec, times = wanting(0, limits={CPU: 500}, liveness=Probe())
    story = Story(times, ideal=True)
    pod = story.pod(spec)
    story.at(35_000, story.kubelet.set_load, pod, 1_000).run(61_000)
    assert story.events(pod, Reason.KILLING_LIVENESS) == [60_000]


def test_load_that_goes_before_the_third_failure_kills_nobody():
    spec, times = wanting(0, limits={CPU: 500}, liveness=Probe())
    story = Story(times, ideal=True)
    pod = story.pod(spec)
    story.at(35_000, story.kubelet.set_load, pod, 1_000)
    story.at(55_000, story.kubelet.set_load, pod, 0).run(600_000)
    assert story.restarts(pod) == 0


def test_neighbours_saturate_a_node_for_the_probes_of_all():
    # The greedy pod takes all it can; the probed one wants its full half and more.
    spec, times = wanting(3_000, requests={CPU: 1_000})
    story = Story(times, ideal=True)
    probed = story.pod(a_pod(Container("main", requests={CPU: 1_000}, liveness=Probe())))
    story.at(32_000, story.pod, spec).run(61_000)
    # alone: 3000 of 4000 wanted, probes 1 ms * 4; together: 2000 for 3000, none is answered
    assert story.events(probed, Reason.KILLING_LIVENESS) == [60_000]


def test_share_served_moves_without_detours_when_load_grows():
    spec, times = wanting(0)
    story = Story(times)
    pod = story.pod(spec)
    shares = []

    def note(change, _):
        if change == Change.POD_ANSWERS:
            shares.append(float(story.cluster.pods.served[pod]))

    story.cluster.watch(note)
    story.at(5_000, story.kubelet.set_load, pod, 5_000)
    story.at(6_000, story.kubelet.set_load, pod, 8_000).run(7_000)
    assert shares == [1.0, 0.8, 0.5]  # 4000 of 5000, of 8000


def test_restarted_container_does_not_inherit_the_hardship_of_the_one_before():
    # Starved from 35 s on it is killed at 60 s; its load goes while the next one starts up.
    spec, times = wanting(0, limits={CPU: 500}, liveness=Probe())
    story = Story(replace(times, startup=Constant(5_000)), ideal=True)
    pod = story.pod(spec)
    story.at(35_000, story.kubelet.set_load, pod, 1_000)
    story.at(62_000, story.kubelet.set_load, pod, 0).run(600_000)
    assert story.restarts(pod) == 1
    assert story.cluster.pods.served[pod] == 1.0


@pytest.mark.parametrize(
    ("neighbour_m", "killed"),
    [
        # 2040 for 2000: 51 times slower, 4 ms * 51 = 204 ms; exp(-1000/204) = 0.7 % a probe
        pytest.param(1_960, True, id="a neighbour that leaves it 2 % more than it needs"),
        # 3000 for 2000: 3 times slower, 12 ms; exp(-83) is never
        pytest.param(1_000, False, id="not one that leaves it half as much again"),
    ],
)
def test_queueing_makes_probes_late_before_cpu_runs_out(neighbour_m, killed):
    said = ContainerTimes(cpu_m=2_000, probes=ProbeBehaviour(latency_ms=4))
    times = {
        "probed": replace(TIMES, containers={"main": said}),
        "neighbour": replace(TIMES, containers={"main": ContainerTimes(cpu_m=neighbour_m)}),
    }
    story = Story(times, ideal=True)
    probe = Probe(period_ms=1_000, failure_threshold=1)
    pod = story.pod(a_pod(Container("main", liveness=probe)), app="probed")
    story.pod(app="neighbour")
    story.run(3_000_000)  # P(no failure in 3000 probes) = exp(-22)
    assert (story.restarts(pod) > 0) == killed


def test_slow_probes_fail_with_the_tail_of_an_exponential():
    # S = 250 ms, timeout 1 s, idle node: each probe fails with exp(-4) = 0.0183; a pod with
    # threshold 1 and 1 s between probes is killed within 1000 probes almost surely
    # (0.9817^1000 = 1e-8), and on average after 54.6.
    kills = 0
    for seed in range(40):
        said = ContainerTimes(probes=ProbeBehaviour(latency_ms=250))
        times = replace(TIMES, containers={"main": said})
        probe = Probe(period_ms=1_000, failure_threshold=1)
        story = Story(times, ideal=True, seed=seed)
        pod = story.pod(a_pod(Container("main", liveness=probe), restart_policy="Never"))
        story.run(54_600)
        kills += bool(story.events(pod, Reason.KILLING_LIVENESS))
    # P(killed within 53 or 54 probes) = 1 - 0.9817^53.. = 0.63; 40 * 0.63 = 25 +- 3.05
    assert 25 - 4 * 3.05 <= kills <= 25 + 4 * 3.05


# --- cost


def test_plain_pod_costs_three_events_and_leaves_nothing():
    story = Story(replace(TIMES, run=Constant(2_000)))
    for _ in range(50):
        story.pod(a_pod(restart_policy="Never"))
    story.run(10_000)
    assert story.cluster.clock.calls == 150  # start, exit, the relist that sees it
    kept = [*vars(story.kubelet).items(), *vars(story.kubelet._pressure).items()]
    sizes = {name: len(value) for name, value in kept if isinstance(value, dict)}
    by_template_or_node = {"_plans", "_claims", "_sums", "_adjs"}
    growing = {name for name, size in sizes.items() if size} - {"_handlers"}
    assert growing <= by_template_or_node
    assert all(sizes[name] == 1 for name in growing)


def test_same_seed_same_story():
    def story():
        random = PodTimes(Uniform(0, 100), Exponential(500), Exponential(900), Exponential(3_000))
        random = replace(random, run=Exponential(20_000), shutdown=Exponential(900), exit_code=1)
        it = Story(random, nodes=3, seed=5)
        for node in range(3):
            it.pod(a_pod(Container("main", readiness=Probe(), liveness=Probe())), node=node)
        it.at(50_000, it.cluster.fail_node, 1).at(80_000, it.cluster.recover_node, 1)
        return it.run(300_000).cluster.recorder.hash([])

    assert story() == story()


# --- what a scenario says


def said(labels, *behaviours, serves_requests=False, requests=None):
    cluster = Cluster()
    main = Container("main", requests=requests or {CPU: 300, MEMORY: 70})
    template = cluster.template(PodTemplate("shop", labels, PodSpec(containers=(main,))))
    times = pod_times(template, behaviours, _Defaults(), serves_requests=serves_requests)
    story = Story(times)
    story.times = times
    pod = story.pod(template.pod.spec)
    story.run(20_000)
    return times, story, pod


class _Defaults:
    watch_delay = Constant(100)
    image_pull = Constant(1_000)
    startup = Constant(900)
    shutdown = Constant(500)


def test_defaults_of_the_scenario_hold_where_no_behaviour_speaks():
    times, story, pod = said({"app": "web"})
    assert (times.start, times.shutdown) == (Constant(900), Constant(500))
    assert story.starts(pod) == [2_000]
    assert story.cluster.pods.cpu_m[pod] == 300


def test_pod_that_serves_requests_uses_no_cpu_without_them():
    _, story, pod = said({"app": "web"}, serves_requests=True)
    assert story.cluster.pods.cpu_m[pod] == 0
    assert story.cluster.pods.memory_b[pod] == 70


def test_later_matching_behaviour_wins():
    first = Behaviour({}, startup=Constant(1_000), cpu_m=10)
    second = Behaviour({"app": "web"}, startup=Constant(3_000), image_pull=Constant(0))
    other = Behaviour({"app": "db"}, startup=Constant(9_000))
    _, story, pod = said({"app": "web"}, first, second, other)
    assert story.when(pod, Change.POD_ANSWERS) == [1_000 + 3_000]
    assert story.cluster.pods.cpu_m[pod] == 10
