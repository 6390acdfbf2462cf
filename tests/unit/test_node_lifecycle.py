"""Stories of nodes that fail, to the millisecond, against hand arithmetic.

Unless a test says otherwise passes are at 5,005 ms × k (later by what earlier ones took), ticks of
the taint queues at 100 ms × k, and leases are renewed at 3,000 ms + 10 s × k.
"""

from __future__ import annotations

import pytest

from sim.clock import Lane
from sim.cluster import Change
from sim.controllers.monitor import PassGrid, last_renewal_ms
from sim.controllers.node_health import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    noexecute_taints,
)
from sim.controllers.node_lifecycle import LifecycleSettings, NodeLifecycle
from sim.controllers.taint_eviction import TaintEviction
from sim.controllers.zones import ZoneQueue, zone_key_of
from sim.podspec import Taint, Toleration
from sim.recorder import Of, Reason
from sim.rng import Streams
from sim.tables import NEVER, NodeReady
from sim.testing import a_cluster, a_node, a_pod, put_node

CRASH_MS = 60_000
# Last renewal 53,000; seen by the pass at 11 × 5,005 = 55,055; more than 50 s later is the pass at
# 21 × 5,005 = 105,105; the write takes 30 ms.
UNKNOWN_MS = 105_135
NOSCHEDULE_MS = UNKNOWN_MS + 50
NOEXECUTE_MS = 105_200 + 50  # the next tick, and the write

NO_SCHEDULE = Taint(UNREACHABLE, "NoSchedule")
NO_EXECUTE = Taint(UNREACHABLE, "NoExecute")


class Story:
    """A cluster with the controllers on it; what they did to nodes and pods is kept."""

    def __init__(self, zones="a", *, lease_ms=3_000, tick_ms=0, evicts=False, **settings):
        self.cluster = a_cluster()
        lease = lease_ms.__getitem__ if isinstance(lease_ms, list) else lambda node: lease_ms
        self.lifecycle = NodeLifecycle(
            self.cluster,
            Streams(1),
            LifecycleSettings(**settings),
            lease_phase_ms=lease,
            monitor_phase_ms=0,
            tick_phase_ms=tick_ms,
        )
        if evicts:
            TaintEviction(self.cluster)
        for zone in zones:
            put_node(self.cluster, a_node(zone=zone))
        self.unready = {}
        self.cluster.watch(self.note, [Change.POD_READY])

    def note(self, _change, pod):
        if not self.cluster.pods.ready[pod]:
            self.unready[pod] = self.cluster.clock.now_ms

    def at(self, ms, verb, *args):
        self.cluster.clock.at(ms, Lane.FAULTS, getattr(self.cluster, verb), *args)

    def crash(self, *nodes, at=CRASH_MS):
        for node in nodes:
            self.at(at, "fail_node", node)

    def recover(self, *nodes, at):
        for node in nodes:
            self.at(at, "recover_node", node)

    def pod(self, node, **spec):
        """A ready pod on a node."""
        cluster = self.cluster
        owner = cluster.owner("ReplicaSet", "default", "web")
        pod = cluster.create_pod(cluster.template(a_pod(**spec)), owner)
        cluster.bind(pod, node)
        cluster.run_pod(pod)
        cluster.set_ready(pod, True)
        return pod

    def run(self, until_ms):
        self.cluster.clock.run(until_ms)
        self.cluster.check()
        return self

    def times(self, reason, node=None, text=None):
        """When something happened to a node."""
        recorder = self.cluster.recorder
        return [
            recorder.at_ms[i]
            for i in range(len(recorder))
            if recorder.reason[i] == reason
            and (node is None or (recorder.kind[i], recorder.object[i]) == (Of.NODE, node))
            and (text is None or recorder.texts[recorder.arg[i]] == text)
        ]

    def unknown(self, node=0):
        return self.times(Reason.NODE_NOT_READY, node)

    def tainted(self, node=None, effect="NoExecute"):
        return self.times(Reason.TAINTED, node, f"{UNREACHABLE}:{effect}")

    def untainted(self, node=None, effect="NoExecute"):
        return self.times(Reason.UNTAINTED, node, f"{UNREACHABLE}:{effect}")


@pytest.mark.parametrize(
    ("lease_ms", "crash_ms", "settings", "unknown_ms"),
    [
        pytest.param(3_000, CRASH_MS, {}, UNKNOWN_MS, id="usual"),
        # 55,055 + 40,000 is passed by 19 × 5,005 = 95,095
        pytest.param(3_000, CRASH_MS, {"monitor_grace_ms": 40_000}, 95_125, id="before 1.32"),
        # renewed at 50,000, seen at 50,050; the pass after 100,050 is that at 100,100
        pytest.param(0, 60_000, {}, 100_130, id="renewal at the moment of the crash is lost"),
        # renewed at 60,000, seen at 60,060
        pytest.param(0, 60_001, {}, 110_140, id="renewal before the crash counts"),
        # seen at 55,000; 105,000 is not later than 105,000, 110,000 is
        pytest.param(3_000, CRASH_MS, {"pass_ms": 0}, 110_030, id="the comparison is strict"),
        pytest.param(3_000, CRASH_MS, {"ideal": True}, 105_105, id="ideal: no latency"),
    ],
)
def test_dead_node_is_found(lease_ms, crash_ms, settings, unknown_ms):
    story = Story("aa", lease_ms=lease_ms, **settings)
    story.crash(0, at=crash_ms)
    assert story.run(120_000).unknown() == [unknown_ms]


def test_cut_off_node_is_found_like_a_dead_one():
    story = Story("aa")
    story.cluster.clock.at(
        CRASH_MS, Lane.FAULTS, lambda: story.cluster.fail_node(0, containers_die=False)
    )
    assert story.run(120_000).unknown() == [UNKNOWN_MS]


def test_node_that_dies_while_it_is_cut_off_has_been_silent_since_the_cut():
    story = Story("aa")
    story.cluster.clock.at(
        CRASH_MS, Lane.FAULTS, lambda: story.cluster.fail_node(0, containers_die=False)
    )
    story.crash(0, at=75_000)
    assert story.run(200_000).unknown() == [UNKNOWN_MS]


def test_short_outage_goes_unnoticed():
    story = Story("aa")
    story.crash(0)
    story.recover(0, at=105_104)  # a millisecond before the pass
    assert story.run(300_000).unknown() == []
    assert story.tainted(effect="NoSchedule") == []


def test_node_that_comes_back_while_its_status_is_written_stays_ready():
    story = Story("aa")
    story.crash(0)
    story.recover(0, at=105_110)
    assert story.run(300_000).unknown() == []


def test_second_failure_counts_from_the_return():
    story = Story("aa")
    story.crash(0)
    story.recover(0, at=100_000)
    # back at 100,000, which the pass at 20 × 5,005 = 100,100 sees; found by that at 150,150
    story.crash(0, at=100_001)
    assert story.run(200_000).unknown() == [150_180]


def test_node_that_joins_and_dies_has_its_grace_from_its_first_pass():
    story = Story("aa")
    story.cluster.clock.at(61_000, Lane.FAULTS, put_node, story.cluster, a_node(zone="a"))
    story.crash(2, at=61_500)  # first pass at 13 × 5,005 = 65,065
    assert story.run(200_000).unknown(2) == [115_145]


def test_removed_node_is_left_alone():
    story = Story("aa")
    story.crash(0)
    story.at(90_000, "remove_node", 0)
    story.run(300_000)
    assert story.unknown() == []
    assert story.tainted() == []


def test_taints_follow_and_pods_lose_ready_one_after_the_other():
    story = Story("aaa")
    pods = [story.pod(0) for _ in range(3)]
    other = story.pod(1)
    story.crash(0)
    story.run(120_000)
    assert story.tainted(0, "NoSchedule") == [NOSCHEDULE_MS]
    assert story.tainted(0) == [NOEXECUTE_MS]
    assert [story.unready[pod] - UNKNOWN_MS for pod in pods] == [30, 60, 90]
    assert other not in story.unready


def test_node_that_reports_itself_not_ready_keeps_its_pods_ready():
    story = Story("aa")
    pod = story.pod(0)
    story.at(30_000, "set_node_ready", 0, NodeReady.FALSE)
    story.run(60_000)
    assert story.unready == {}
    assert story.cluster.pods.ready[pod]
    assert story.times(Reason.TAINTED, 0, f"{NOT_READY}:NoSchedule") == [30_050]
    # queued by the pass at 6 × 5,005 = 30,030, tick at 30,100
    assert story.times(Reason.TAINTED, 0, f"{NOT_READY}:NoExecute") == [30_150]


def test_taint_of_a_node_that_was_not_ready_is_exchanged_when_it_dies():
    story = Story("aa")
    story.at(30_000, "set_node_ready", 0, NodeReady.FALSE)
    story.crash(0)
    story.run(UNKNOWN_MS + 1_000)
    keys = {(taint.key, taint.effect) for taint in story.cluster.nodes.taints(0)}
    assert keys == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}


def test_client_limit_stretches_a_pass():
    story = Story("aaa", qps=1, burst=1)
    story.crash(0, 1)
    story.run(200_000)
    # One token is there, the next comes a second later; each write takes 30 ms.
    assert sorted(story.unknown(0) + story.unknown(1)) == [105_135, 106_135]


def test_nodes_of_a_zone_are_tainted_ten_seconds_apart():
    story = Story("aaaaaaaa" + "b")
    story.crash(0, 1, 2)  # 3 of 8 are 37 %: the zone stays normal
    story.run(200_000)
    assert sorted(story.tainted()) == [NOEXECUTE_MS + 10_000 * k for k in range(3)]


def test_each_zone_has_its_own_rate():
    story = Story("aaabbb" + "c")
    story.crash(0, 3)
    assert story.run(120_000).tainted() == [NOEXECUTE_MS, NOEXECUTE_MS]


def test_partly_dead_zone_is_not_tainted():
    story = Story("aaaa" + "b")
    story.crash(0, 1, 2)  # 3 of 4 are 75 %
    story.run(400_000)
    # The state is set when the pass ends, at 105,135, before the tick at 105,200.
    assert story.tainted() == []
    assert story.times(Reason.ZONE_STATE) == [UNKNOWN_MS]


def test_large_partly_dead_zone_is_tainted_slowly():
    story = Story("aaaa" + "b", large_cluster_threshold=3)
    story.crash(0, 1, 2)
    story.run(400_000)
    # 0.01 a second; the bucket starts full, since the old one had its token
    assert sorted(story.tainted()) == [NOEXECUTE_MS + 100_000 * k for k in range(3)]


def test_dead_zone_among_live_ones_is_tainted_at_the_usual_rate():
    story = Story("aaa" + "b")
    story.crash(0, 1, 2)
    story.run(200_000)
    assert sorted(story.tainted()) == [NOEXECUTE_MS + 10_000 * k for k in range(3)]


def test_recovery_of_part_of_a_zone_starts_with_an_empty_bucket():
    story = Story("aaaa" + "b")
    story.crash(0, 1, 2)
    story.recover(0, at=200_000)
    story.run(300_000)
    # 2 of 4 at the pass of 105,135 + 19 × 5,005 = 200,230: Normal again, first token 10 s later,
    # first tick after that at 210,300
    assert sorted(story.tainted()) == [210_350, 220_350]


def test_clearing_of_taints_is_part_of_its_pass():
    story = Story("aa")
    story.at(15_000, "set_node_ready", 0, NodeReady.FALSE)  # queued at 15,015, tick at 15,100
    story.at(20_011, "set_node_ready", 1, NodeReady.FALSE)
    story.at(21_000, "set_node_ready", 0, NodeReady.TRUE)
    story.run(60_000)
    text = f"{NOT_READY}:NoExecute"
    assert story.times(Reason.TAINTED, 0, text) == [15_150]
    # The pass at 20,020 finds all dead and ends with the write; the next is 5,005 ms later.
    assert story.times(Reason.UNTAINTED, 0, text) == [20_070]
    assert story.times(Reason.ZONE_STATE) == [20_020, 25_075]


def test_nothing_is_evicted_when_all_zones_are_dead():
    story = Story("ab", tick_ms=0)
    story.crash(0, 1)
    story.run(1_000_000)
    assert story.unknown(0) == story.unknown(1) == [UNKNOWN_MS]
    assert story.tainted() == []
    assert len(story.tainted(effect="NoSchedule")) == 2


def test_taint_given_before_all_zones_were_dead_is_taken_back():
    # Node 1 renews at 9,000 + 10 s × k, last at 59,000, seen at 60,060. The pass that finds node 0
    # ends at 105,135, so that the next one is at 110,140.
    story = Story("ab", lease_ms=[3_000, 9_000])
    story.crash(0, 1)
    story.run(1_000_000)
    assert story.unknown(1) == [110_170]
    assert story.tainted(0) == [NOEXECUTE_MS]
    assert story.untainted(0) == [110_220]  # at the end of that pass
    assert story.tainted(1) == []


def test_node_tainted_during_the_pass_that_finds_all_dead_keeps_its_taint():
    # Its four pods make the pass last 30 + 4 × 30 ms, from 105,105 to 105,255, beyond the tick.
    story = Story("ab")
    for _ in range(4):
        story.pod(0)
    story.crash(0, 1)
    story.run(1_000_000)
    assert story.tainted(0) == [NOEXECUTE_MS]
    assert story.untainted(0) == []


def test_eviction_goes_on_when_one_of_all_dead_zones_is_back():
    story = Story("ab")
    story.crash(0, 1)
    story.recover(1, at=400_000)
    story.run(500_000)
    # The pass of 105,135 + 59 × 5,005 = 400,430 sets the rate; its bucket starts empty, and the
    # first tick after 10 s is at 410,500.
    assert story.tainted(0) == [410_550]


def test_noschedule_goes_at_once_and_noexecute_with_the_next_pass():
    story = Story("aa")
    story.crash(0)
    story.recover(0, at=201_000)
    story.run(300_000)
    assert story.times(Reason.NODE_READY, 0) == [201_000]
    assert story.untainted(0, "NoSchedule") == [201_050]
    assert story.untainted(0) == [205_285]  # 105,135 + 20 × 5,005 = 205,235


def test_node_that_returns_before_its_turn_is_not_tainted():
    story = Story("aaaaaaaa" + "b")
    story.crash(0, 1)
    story.recover(0, 1, at=UNKNOWN_MS + 5_000)
    story.run(300_000)
    assert len(story.tainted()) == 1


def test_pods_are_deleted_and_deletions_are_cancelled_when_the_node_returns():
    def tolerating(seconds):
        return (Toleration(UNREACHABLE, "Exists", effect="NoExecute", seconds=seconds),)

    story = Story("aa", evicts=True)
    short = story.pod(0, tolerations=tolerating(20))
    long = story.pod(0, tolerations=tolerating(300))
    story.crash(0)
    story.recover(0, at=201_000)
    story.run(1_000_000)
    deleting_ms = story.cluster.pods.deleting_ms
    assert deleting_ms[short] == NOEXECUTE_MS + 20_000 + 40
    assert deleting_ms[long] == NEVER
    # The pass that found the node ended with its second pod at 105,195: the grid is at 205,295.
    assert story.times(Reason.CANCEL_EVICTION) == [205_345]


def test_cordon_taints():
    story = Story("aa")
    story.at(10_000, "set_unschedulable", 0, True)
    story.at(20_000, "set_unschedulable", 0, False)
    story.run(30_000)
    assert story.times(Reason.TAINTED, 0, f"{UNSCHEDULABLE}:NoSchedule") == [10_050]
    assert story.times(Reason.UNTAINTED, 0, f"{UNSCHEDULABLE}:NoSchedule") == [20_050]


def test_lease_phases_are_drawn_from_a_stream_per_node():
    def found(names):
        cluster = a_cluster()
        NodeLifecycle(cluster, Streams(7), LifecycleSettings(), monitor_phase_ms=0)
        for name in names:
            put_node(cluster, a_node(name))
        cluster.clock.at(CRASH_MS, Lane.FAULTS, cluster.fail_node, cluster.nodes["x"])
        cluster.clock.run(200_000)
        events = zip(cluster.recorder.reason, cluster.recorder.at_ms, strict=True)
        return [at_ms for reason, at_ms in events if reason == Reason.NODE_NOT_READY]

    assert found(["x", "y"]) == found(["y", "z", "x"]) != []


# --- parts


@pytest.mark.parametrize(
    ("time_ms", "pass_ms"),
    [
        pytest.param(-6_000, -4_905, id="before the run"),
        pytest.param(-4_905, -4_905, id="on a pass before the run"),
        pytest.param(100, 100, id="the first pass"),
        pytest.param(101, 5_105, id="after the first pass"),
        pytest.param(10_110, 10_110, id="the pass that took two seconds"),
        pytest.param(10_111, 17_115, id="during it: 5,005 ms after its end at 12,110"),
        pytest.param(17_116, 22_120, id="the grid has moved"),
    ],
)
def test_passes_are_counted_from_the_end_of_the_last(time_ms, pass_ms):
    grid = PassGrid(100, 5_005)
    grid.began(10_110)
    grid.ended(12_110)
    assert grid.at_or_after(time_ms) == pass_ms


@pytest.mark.parametrize(
    ("now_ms", "since_ms", "renewed_ms"),
    [
        pytest.param(53_000, None, 53_000, id="now"),
        pytest.param(52_999, None, 43_000, id="ten seconds ago"),
        pytest.param(1_000, None, -7_000, id="before the run"),
        pytest.param(52_999, 50_000, 50_000, id="when it came to life"),
        pytest.param(59_000, 50_000, 53_000, id="since it came to life"),
    ],
)
def test_lease_was_last_renewed(now_ms, since_ms, renewed_ms):
    assert last_renewal_ms(now_ms, 3_000, since_ms) == renewed_ms


def test_queue_gives_one_turn_per_token():
    queue = ZoneQueue(0.1, 0)
    for node in (7, 8, 7):
        queue.add(node)
    assert [queue.take(0), queue.take(0), queue.take(9_999), queue.take(10_000)] == [
        7,
        None,
        None,
        8,
    ]
    assert queue.next_ms(10_000) is None  # nobody waits


def test_queue_knows_a_node_after_its_turn_until_it_is_removed():
    queue = ZoneQueue(0.1, 0)
    queue.add(7)
    queue.take(0)
    queue.add(7)
    assert queue.next_ms(0) is None
    queue.remove(7)
    queue.add(7)
    assert queue.next_ms(0) == 10_000


@pytest.mark.parametrize(
    ("rates", "next_ms"),
    [
        pytest.param([0.1], 100_000, id="same rate: nothing changes"),
        pytest.param([0.0], None, id="rate zero: never"),
        pytest.param([0.01], 100_000, id="a token was there: the new bucket is full"),
        pytest.param([0.0, 0.1], 110_000, id="no token at rate zero: the new bucket is empty"),
    ],
)
def test_rate_is_swapped(rates, next_ms):
    queue = ZoneQueue(0.1, 0)
    queue.add(7)
    for rate in rates:
        queue.swap(rate, 100_000)
    assert queue.next_ms(100_000) == next_ms


def test_noexecute_taints_exclude_each_other_and_leave_others_alone():
    other = Taint("dedicated", "NoExecute", "db")
    assert noexecute_taints("Unknown", (other,)) == (other, NO_EXECUTE)
    assert noexecute_taints("False", (NO_EXECUTE, other)) == (other, Taint(NOT_READY, "NoExecute"))
    assert noexecute_taints("True", (NO_SCHEDULE, NO_EXECUTE)) == (NO_SCHEDULE,)


@pytest.mark.parametrize(
    ("labels", "zone", "key"),
    [
        ({}, "", ""),
        ({}, "a", ":/:a"),
        ({"topology.kubernetes.io/zone": "b"}, "a", ":/:b"),
        (
            {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "b"},
            "",
            "r:/:b",
        ),
    ],
)
def test_zone_is_named_by_region_and_zone(labels, zone, key):
    assert zone_key_of(labels, zone) == key
