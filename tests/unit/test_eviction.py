"""Evictions by kubelets: rules that no table of Kubernetes has, and stories to the millisecond."""

from __future__ import annotations

import pytest

from sim import eviction
from sim.behaviour import Constant, MemoryUse
from sim.clock import Lane
from sim.cluster import Cluster
from sim.controllers.node_lifecycle import LifecycleSettings, NodeLifecycle
from sim.errors import SimError
from sim.eviction import Grid, Observation, Settings, State, Threshold
from sim.evictionrank import PodUse
from sim.evictions import Evictions
from sim.kubelet import Kubelet, PodTimes
from sim.nodes import shape
from sim.podspec import CPU, MEMORY, Container, PodSpec, PodTemplate, Toleration
from sim.podtimes import ContainerTimes
from sim.recorder import WORDS, Of, Reason
from sim.rng import Streams
from sim.tables import Phase

HARD = Threshold(eviction.MEMORY_AVAILABLE, 100)
SOFT = Threshold(eviction.MEMORY_AVAILABLE, 300, grace_ms=60_000)


# --- settings


def test_a_share_is_of_what_the_signal_can_have():
    assert Threshold(eviction.NODEFS, 0.1, min_reclaim=5).needed(999) == 99
    assert Threshold(eviction.NODEFS, 0.1, min_reclaim=5).needed(999, reclaim=True) == 104


def test_only_hard_thresholds_of_memory_hold_for_the_cgroup_of_all_pods():
    disk = Threshold(eviction.NODEFS, 0.1)
    copy = Threshold(eviction.ALLOCATABLE_MEMORY, 100)
    assert eviction.with_allocatable([HARD, SOFT, disk]) == (HARD, SOFT, disk, copy)


@pytest.mark.parametrize(
    ("dedicated", "split", "of"),
    [(False, False, "nodefs"), (True, False, "imagefs"), (True, True, "nodefs")],
)
def test_writable_layers_have_the_thresholds_of_their_disk(dedicated, split, of):
    given = tuple(Threshold(f"{disk}.available", 1 + i) for i, disk in enumerate(DISKS))
    settings = Settings(given, dedicated_imagefs=dedicated, split_imagefs=split)
    copy = Threshold("containerfs.available", 1 + DISKS.index(of))
    assert eviction.with_containerfs(settings).thresholds == (*given, copy)


DISKS = ("nodefs", "imagefs")


def test_soft_threshold_needs_a_grace_period():
    with pytest.raises(SimError, match=r"memory.available has no grace period"):
        eviction.thresholds({}, {eviction.MEMORY_AVAILABLE: 100}, {}, {})


@pytest.mark.parametrize(
    ("threshold", "pod_grace_ms", "grace_ms"),
    [(HARD, 30_000, 1_000), (SOFT, 30_000, 20_000), (SOFT, 5_000, 5_000)],
)
def test_a_victim_has_a_second_or_at_a_soft_threshold_the_smaller_grace(
    threshold, pod_grace_ms, grace_ms
):
    pod = PodUse("p", grace_ms=pod_grace_ms)
    assert eviction.grace_ms(Settings(max_grace_ms=20_000), threshold, pod) == grace_ms


MEMORY_TAINT = eviction.MEMORY_PRESSURE_TAINT.key


@pytest.mark.parametrize(
    ("conditions", "qos", "key", "critical", "admitted"),
    [
        (["MemoryPressure"], "BestEffort", None, False, False),
        (["MemoryPressure"], "BestEffort", None, True, True),
        (["MemoryPressure"], "BestEffort", MEMORY_TAINT, False, True),
        (["MemoryPressure"], "Burstable", None, False, True),
        (["PIDPressure"], "Guaranteed", MEMORY_TAINT, False, False),
        (["MemoryPressure", "DiskPressure"], "BestEffort", MEMORY_TAINT, False, False),
    ],
)
def test_kubelet_under_pressure_admits(conditions, qos, key, critical, admitted):
    tolerations = [Toleration(key, "Exists", effect="NoSchedule")] if key else []
    assert eviction.admits(conditions, qos, tolerations, critical=critical) == admitted


# --- which passes matter


@pytest.mark.parametrize(
    ("ms", "at_or_after", "before"),
    [(0, 5, None), (5, 5, None), (6, 15, 5), (15, 15, 5), (16, 25, 15)],
)
def test_grid_of_passes(ms, at_or_after, before):
    grid = Grid(5, 10)
    assert (grid.at_or_after(ms), grid.before(ms)) == (at_or_after, before)


def next_pass(state, available, turn_ms, now_ms=1_000):
    """The next pass where the only turn of memory.available foreseen is at `turn_ms`."""
    asked = []

    def foresee(signal, amount, below):
        asked.append((signal, amount, below))
        return turn_ms

    found = eviction.next_pass_ms(
        Settings((SOFT,)),
        state,
        Grid(5_000, 10_000),
        now_ms,
        {SOFT.signal: Observation(available, 1_000)},
        foresee,
    )
    return found, asked


def test_enough_memory_for_ever_needs_no_pass():
    assert next_pass(State(), 500, None) == (None, [(SOFT.signal, 300, True)])


def test_next_pass_is_the_first_that_can_see_a_threshold_met():
    assert next_pass(State(), 500, 15_001) == (25_000, [(SOFT.signal, 300, True)])


def test_or_one_that_can_see_it_no_longer_met_before_its_grace_is_over():
    # met since 0, grace 60 s: the pass after 60 000; but at 22 222 it is no longer met
    state = State(first_ms={SOFT: 0}, conditions=("MemoryPressure",))
    assert next_pass(state, 299, None)[0] == 65_000
    assert next_pass(state, 299, 22_222) == (25_000, [(SOFT.signal, 300, False)])


def test_or_one_that_ends_a_condition():
    state = State(last_ms={"MemoryPressure": 2_000}, conditions=("MemoryPressure",))
    assert next_pass(state, 300, None)[0] == 305_000  # 302 000 on the grid


def test_skipped_passes_have_seen_what_was_met_all_the_time():
    before = State(first_ms={SOFT: 0}, last_ms={"MemoryPressure": 0})
    assert eviction.caught_up(before, 40_000).last_ms == {"MemoryPressure": 40_000}
    assert eviction.caught_up(State(last_ms={"MemoryPressure": 0}), 40_000).last_ms == {
        "MemoryPressure": 0
    }


# --- in a run

NODE = {CPU: 4_000, MEMORY: 1_000}  # bytes in such small numbers can be added in the head
PASSES = Grid(0, 10_020)  # 10 s after a pass of 20 ms
STATUS_PHASE_MS = 4_000  # the node's status is written at 4 s, 14 s, ...
START_MS = 1_000
SETTINGS = Settings(eviction.with_allocatable([HARD]))


@pytest.fixture(autouse=True)
def _known_phases(monkeypatch):
    monkeypatch.setattr(Evictions, "_phases", lambda self, node: (PASSES, STATUS_PHASE_MS))


class Story:
    """One node and what happens on it."""

    def __init__(self, settings=SETTINGS):
        self.cluster = Cluster()
        self.times = {}
        self.kubelet = Kubelet(
            self.cluster,
            Streams(1),
            lambda template: self.times[template.id],
            eviction=lambda node: settings,
        )
        NodeLifecycle(self.cluster, Streams(1), LifecycleSettings(ideal=True))
        self.cluster.add_node("node", shape(NODE))

    def pod(self, base_b, growth_b=0, request_b=0, *, limit_b=None, shutdown_ms=500, **spec):
        """A pod that is bound now and runs after a second; `growth_b` more bytes each second."""
        limits = {} if limit_b is None else {MEMORY: limit_b}
        requests = {MEMORY: request_b} if request_b else {}
        container = Container("main", requests=requests, limits=limits)
        labels = {"nr": str(len(self.times))}
        template = self.cluster.template(
            PodTemplate("shop", labels, PodSpec(containers=(container,), **spec))
        )
        use = ContainerTimes(memory=MemoryUse(base_b, growth_b, 1_000))
        self.times[template.id] = PodTimes(
            start=Constant(START_MS), shutdown=Constant(shutdown_ms), containers={"main": use}
        )
        owner = self.cluster.owner("ReplicaSet", "shop", labels["nr"])
        pod = self.cluster.create_pod(template, owner)
        self.cluster.bind(pod, 0)
        return pod

    def at(self, ms, verb, *args, **kwargs):
        self.cluster.clock.at(ms, Lane.FAULTS, lambda: verb(*args, **kwargs))

    def run(self, until_ms):
        self.cluster.clock.run(until_ms + 1)
        self.cluster.check()
        return self

    def events(self, *reasons, kind=Of.NODE, of=0):
        """Times and names of recorded events."""
        log = self.cluster.recorder
        return [
            (ms, WORDS[Reason(reason)][1])
            for ms, reason, k, o in zip(log.at_ms, log.reason, log.kind, log.object, strict=True)
            if (k, o) == (kind, of) and reason in reasons
        ]

    def evictions(self):
        """(time, pod) of all evictions."""
        log = self.cluster.recorder
        rows = zip(log.at_ms, log.reason, log.object, strict=True)
        return [(ms, pod) for ms, reason, pod in rows if reason == Reason.EVICTED]

    def ended(self, pod):
        pods = self.cluster.pods
        return int(pods.ended_ms[pod]), Phase(pods.phase[pod]), Reason(pods.reason[pod])


PRESSURE = (Reason.MEMORY_PRESSURE, Reason.NO_MEMORY_PRESSURE, Reason.TAINTED, Reason.UNTAINTED)


def test_a_leak_is_evicted_by_the_first_pass_that_sees_less_than_the_threshold():
    # More than 900 of 1000 bytes 901 / 10 s after the start, at 91 100: pass 10 at 100 200.
    story = Story()
    pod = story.pod(0, 10)
    story.run(600_000)
    assert story.evictions() == [(100_200, pod)]
    assert story.ended(pod) == (100_700, Phase.FAILED, Reason.EVICTED)
    # The condition is written with the next status and lasts 300 s after it was last seen: passes
    # go on at 101 200 (a whole second after the last one, by when the pod is gone), 10 020 ms
    # apart: the first at or after 400 200 is 101 200 + 30 * 10 020 = 401 800.
    assert story.events(*PRESSURE) == [
        (104_000, "NodeHasInsufficientMemory"),
        (104_000, "Tainted"),
        (404_000, "NodeHasSufficientMemory"),
        (404_000, "Untainted"),
    ]
    assert story.cluster.nodes.memory_pressure_ms[0] == 300_000
    assert story.cluster.nodes.evictions[0] == 1


def test_victims_follow_each_other_as_soon_as_they_are_gone():
    # 950 in use: 320 + 310 + 320, at 10 020 the pod that is most beyond its request goes; the
    # second threshold wants 900 available, so that the others follow. It has TERM, ends after
    # 1700 ms (the grace of the soft threshold is 20 s), and the next pass is at a whole second.
    low = Threshold(eviction.MEMORY_AVAILABLE, 900, grace_ms=1)
    story = Story(Settings((low,), max_grace_ms=20_000))
    first = story.pod(320, request_b=200, shutdown_ms=1_700)  # 120 beyond
    second = story.pod(310, request_b=210, shutdown_ms=2_000)  # 100 beyond
    third = story.pod(320, request_b=320, shutdown_ms=0)
    story.run(60_000)
    # first observed at 10 020, grace of 1 ms over by the pass after it
    assert story.evictions() == [(20_040, first), (22_040, second), (24_040, third)]
    assert story.ended(second)[0] == 24_040


def test_a_pod_that_does_not_stop_holds_the_next_pass_up_for_30_seconds_at_most():
    low = Threshold(eviction.MEMORY_AVAILABLE, 900, grace_ms=1)
    story = Story(Settings((low,), max_grace_ms=60_000))
    slow = {"shutdown_ms": 50_000, "termination_grace_ms": 60_000}
    first, second = story.pod(300, **slow), story.pod(200, request_b=10, **slow)
    story.run(200_000)
    # The first is still there 30 s later and still the worst: it is tried again, and is gone 50 s
    # after its TERM. The second has to wait for that.
    tries = [(20_040, first), (50_040, first), (70_040, second), (100_040, second)]
    assert story.evictions() == tries
    assert (story.ended(first)[0], story.ended(second)[0]) == (70_040, 120_040)
    assert story.cluster.nodes.evictions[0] == 2


@pytest.mark.parametrize(("growth_b", "evicted"), [(9, True), (40, False)])
def test_a_leak_faster_than_the_threshold_in_a_period_is_killed_by_the_kernel(growth_b, evicted):
    # 100 bytes in 10.02 s are 9.98 bytes a second. At 40 a second, 900 is passed 901/40 s after the
    # start at 23 525 and 1000 at 26 025: between the passes at 20 040 and 30 060.
    story = Story()
    pod = story.pod(0, growth_b)
    story.run(120_000 if evicted else 30_000)
    assert story.cluster.pods.oom_kills[pod] == (not evicted)
    assert bool(story.evictions()) == evicted


def test_soft_threshold_evicts_when_it_was_met_for_its_grace_period():
    # 710 of 1000 in use from 1000 on; seen at 10 020, so that 60 s are over at 70 020: 70 140.
    story = Story(Settings((SOFT,), max_grace_ms=300))
    pod = story.pod(710)
    story.run(100_000)
    assert story.evictions() == [(70_140, pod)]


def test_memory_pressure_keeps_best_effort_pods_out_and_lets_others_in():
    story = Story()
    story.pod(905, request_b=905)  # nobody uses more than requested: it goes for all that
    late = []
    for request_b in (0, 10):
        story.at(15_000, lambda r=request_b: late.append(story.pod(1, request_b=r)))
    story.run(30_000)
    assert story.ended(late[0]) == (15_000, Phase.FAILED, Reason.EVICTED)
    assert story.cluster.pods.phase[late[1]] == Phase.RUNNING


def test_a_full_disk_evicts_all_but_critical_pods_and_lets_nobody_in():
    settings = Settings((Threshold(eviction.NODEFS, 0.1),))
    story = Story(settings)
    story.cluster.nodes.capacity[2, 0] = 1_000  # ephemeral-storage
    pods = [story.pod(1, request_b=1, priority=priority) for priority in (5, 0, 2_000_000_000)]
    story.at(5_000, story.kubelet.evictions.set_signal, 0, eviction.NODEFS, 99)
    story.at(40_000, lambda: pods.append(story.pod(1, request_b=1)))
    story.run(60_000)
    assert story.evictions() == [(10_020, pods[1]), (11_020, pods[0]), (40_000, pods[3])]
    assert story.cluster.pods.alive[pods[2]]
    assert story.cluster.nodes.conditions[0] == {"DiskPressure"}
    story.at(70_000, story.kubelet.evictions.set_signal, 0, eviction.NODEFS, 100)
    story.run(400_000)
    assert story.cluster.nodes.conditions[0] == set()


def test_a_node_that_was_cut_off_tells_of_its_evictions_when_it_is_back():
    story = Story()
    pod = story.pod(905)
    story.at(5_000, story.cluster.fail_node, 0, containers_die=False)
    story.at(100_000, story.cluster.recover_node, 0)
    story.run(99_999)
    assert not story.cluster.pods.alive[pod]
    assert story.cluster.pods.phase[pod] == Phase.RUNNING
    assert 0 not in story.cluster.nodes.conditions
    story.run(110_000)
    assert story.ended(pod) == (100_000, Phase.FAILED, Reason.EVICTED)
    assert story.cluster.nodes.conditions[0] == {"MemoryPressure"}


def test_a_restarted_machine_is_under_no_pressure():
    story = Story()
    story.pod(905)
    story.at(30_000, story.cluster.fail_node, 0)
    story.at(50_000, story.cluster.recover_node, 0)
    story.run(49_999)
    assert story.cluster.nodes.conditions[0] == {"MemoryPressure"}
    story.run(50_001)
    assert story.cluster.nodes.conditions[0] == set()


def test_a_pod_that_is_evicted_while_it_is_deleted_is_removed():
    # It would have 30 s from 9 000 on; the eviction at 10 020 leaves it one second.
    story = Story()
    pod = story.pod(905, shutdown_ms=40_000)
    story.at(9_000, story.cluster.delete_pod, pod)
    story.run(20_000)
    assert story.evictions() == [(10_020, pod)]
    assert story.ended(pod) == (11_020, Phase.FAILED, Reason.EVICTED)
    assert not story.cluster.pods.exists[pod]


def test_a_node_with_enough_memory_costs_no_event():
    calls = []
    for settings in (SETTINGS, Settings()):
        story = Story(settings)
        story.pod(500, request_b=100)
        story.pod(400)
        story.run(3_600_000)
        calls.append(story.cluster.clock.calls)
    assert calls[0] == calls[1]
