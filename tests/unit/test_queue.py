"""The scheduling queue: whose turn it is, how long a pod waits, what wakes it.

Rules: pkg/scheduler/backend/queue (v1.34.1). Times are written in ms; back-offs are whole seconds.
"""

from __future__ import annotations

import pytest

from sim.events import Action, Event, Kind, NodeFacts, PodFacts
from sim.plugins.scheduling_gates import SchedulingGates
from sim.queue import Place, SchedulingQueue
from sim.tables import UNBOUND
from sim.testing import a_cluster, a_pod

CLUSTER = a_cluster()
NODE = NodeFacts("node", {}, (), False, {})
NODE_ADDED = Event(Kind.NODE, Action.ADD, None, NODE)
NODE_LABELLED = Event(Kind.NODE, Action.NODE_LABEL, NODE, NODE)
NODE_TAINTED = Event(Kind.NODE, Action.NODE_TAINT, NODE, NODE)
CLAIM_ADDED = Event(Kind.PVC, Action.ADD, None, "a claim")


class Listener:
    """Wants what it listens to when `says` is True; counts how often it is asked."""

    def __init__(self, *listens, says=True):
        self.listens = listens
        self.says = says
        self.asked = []

    def hint(self, event, pod, cluster, *, own):
        self.asked.append((event, pod, own))
        return self.says


class Silent:
    """A plugin that does not say what it listens to."""


def a_queue(**plugins):
    plugins = plugins or {"Nodes": Listener((Kind.NODE, Action.ADD))}
    gates = {"SchedulingGates": SchedulingGates()}
    return SchedulingQueue(CLUSTER, {"default-scheduler": {**gates, **plugins}})


def template(**fields):
    return CLUSTER.template(a_pod(**fields))


def add(queue, pod, now_ms=0, **fields):
    queue.add(pod, template(**fields), now_ms)
    return queue.entries[pod]


def fail(queue, pod, now_ms=0, plugins=("Nodes",), **options):
    """A new pod that is taken and refused at once."""
    entry = add(queue, pod, now_ms)
    assert queue.pop(now_ms) is entry
    queue.failed(entry, plugins, now_ms, **options)
    return entry


def fail_times(queue, times, now_ms):
    """A pod that has been refused so many times, the last time now."""
    entry = fail(queue, 0, now_ms)
    for _ in range(times - 1):
        queue.move(NODE_ADDED, now_ms)
        assert queue.pop(now_ms) is entry
        queue.failed(entry, ["Nodes"], now_ms)
    return entry


def popped(queue, now_ms=0):
    """Pods in the order in which they are taken."""
    order = []
    while (entry := queue.pop(now_ms)) is not None:
        order.append(entry.pod)
    return order


def facts(pod, of, nominated=UNBOUND):
    return PodFacts(pod, f"pod-{pod}", of, UNBOUND, nominated)


# Order


def test_higher_priority_first_then_the_earlier():
    queue = a_queue()
    for pod, priority, added_ms in [(0, 0, 5), (1, 10, 9), (2, 0, 3), (3, 10, 7)]:
        add(queue, pod, added_ms, priority=priority)
    assert popped(queue) == [3, 1, 2, 0]


def test_equal_pods_keep_the_order_of_arrival():
    queue = a_queue()
    for pod in reversed(range(20)):
        add(queue, pod)
    assert popped(queue) == list(reversed(range(20)))


def test_a_failure_puts_a_pod_behind_those_that_came_before_it():
    queue = a_queue()
    entry = fail(queue, 0, 0)
    add(queue, 1, 4_000)
    queue.move(NODE_ADDED, 5_000)  # its timestamp is still that of the failure
    assert popped(queue) == [0, 1]
    assert entry.timestamp_ms == 0
    queue.failed(entry, ["Nodes"], 6_000)
    assert entry.timestamp_ms == 6_000


def test_a_removed_pod_is_not_taken():
    queue = a_queue()
    for pod in range(3):
        add(queue, pod)
    queue.remove(1)
    assert popped(queue) == [0, 2]


def test_every_take_is_an_attempt():
    assert fail_times(a_queue(), 3, 0).attempts == 3


# Back-off


@pytest.mark.parametrize(
    ("failures", "failed_ms", "until_s"),
    [
        (1, 2_750, 3),  # 2.75 + 1 = 3.75
        (2, 2_750, 4),  # + 2 = 4.75
        (3, 2_750, 6),  # + 4 = 6.75
        (4, 2_750, 10),  # + 8 = 10.75
        (5, 2_750, 12),  # 16 is cut to 10: 12.75
        (80, 0, 10),
    ],
)
def test_backoff_doubles_to_ten_seconds_in_whole_seconds(failures, failed_ms, until_s):
    assert fail_times(a_queue(), failures, failed_ms).backoff_until_s == until_s


def test_a_pod_that_never_failed_does_not_back_off():
    entry = add(a_queue(), 0)
    assert entry.backoff_until_s == -1
    assert not entry.backs_off(0)


@pytest.mark.parametrize(("woken_ms", "place"), [(3_999, Place.BACKOFF), (4_000, Place.ACTIVE)])
def test_backoff_is_over_only_after_its_second(woken_ms, place):
    """Failed at 2.75 s: until 3, which floor(3.999) does not exceed and floor(4.0) does."""
    queue = a_queue()
    entry = fail(queue, 0, 2_750)
    queue.move(NODE_ADDED, woken_ms)
    assert entry.place == place


@pytest.mark.parametrize(("now_ms", "place"), [(3_000, Place.BACKOFF), (4_000, Place.ACTIVE)])
def test_the_flush_moves_those_whose_backoff_is_over(now_ms, place):
    queue = a_queue()
    entry = fail(queue, 0, 2_750)
    queue.move(NODE_ADDED, 2_800)
    queue.flush_backoff(now_ms)
    assert entry.place == place


def test_pods_in_backoff_are_taken_after_all_active_ones():
    queue = a_queue()
    fail(queue, 0)
    queue.move(NODE_ADDED, 500)
    add(queue, 1, 600, priority=-5)
    assert popped(queue, 700) == [1, 0]


def test_backoff_queue_is_in_order_of_expiry_then_of_priority():
    queue = a_queue()
    late = add(queue, 0, priority=100)
    soon = [add(queue, pod, priority=pod) for pod in (1, 2)]
    entries = [queue.pop(0) for _ in range(3)]
    assert entries[0] is late
    for entry in (late, late, *soon):  # until 2 for the one that failed twice, else 1
        queue.failed(entry, ["Nodes"], 0)
        queue.move(NODE_ADDED, 0)
        if entry is late and late.attempts == 1:
            assert queue.pop(0) is late
    assert popped(queue) == [2, 1, 0]


# Errors


def test_pods_that_failed_with_an_error_wait_out_their_backoff():
    queue = a_queue()
    entry = add(queue, 0)
    queue.pop(0)
    queue.error(entry, 0)
    assert (entry.place, entry.error_count, entry.unschedulable_count) == (
        Place.ERROR_BACKOFF,
        1,
        0,
    )
    assert queue.pop(500) is None
    assert (queue.has_ready, queue.has_backoff) == (False, True)
    queue.flush_backoff(2_000)
    assert queue.pop(2_000) is entry


def test_errors_in_a_row_count_until_a_plugin_refuses_the_pod():
    queue = a_queue()
    entry = add(queue, 0)
    counts = []
    for plugins in ([], [], ["Nodes"], []):
        queue.flush_backoff(1_000_000)
        queue.move(NODE_ADDED, 1_000_000)
        assert queue.pop(1_000_000) is entry
        queue.failed(entry, plugins, 0)
        counts.append((entry.error_count, entry.unschedulable_count))
    assert counts == [(1, 0), (2, 0), (0, 1), (1, 1)]


# Waiting for an event


def test_unschedulable_pods_wait_for_an_event_that_may_help():
    queue = a_queue()
    entry = fail(queue, 0)
    assert queue.pop(0) is None
    queue.move(NODE_LABELLED, 100)
    assert entry.place == Place.UNSCHEDULABLE
    queue.move(NODE_ADDED, 200)
    assert queue.pop(200) is entry
    assert entry.plugins == frozenset()


def test_only_plugins_that_refused_the_pod_are_asked():
    other = Listener((Kind.NODE, Action.ADD))
    queue = a_queue(Nodes=Listener((Kind.NODE, Action.ADD), says=False), Other=other)
    entry = fail(queue, 0)
    queue.move(NODE_ADDED, 5_000)
    assert entry.place == Place.UNSCHEDULABLE
    assert other.asked == []


def test_pods_of_one_shape_are_asked_for_once():
    nodes = Listener((Kind.NODE, Action.ADD))
    queue = a_queue(Nodes=nodes)
    for pod in range(10):
        add(queue, pod)
    for entry in [queue.pop(0) for _ in range(10)]:
        queue.failed(entry, ["Nodes"], 0)
    queue.move(NODE_ADDED, 5_000)
    assert len(nodes.asked) == 1
    assert popped(queue, 5_000) == list(range(10))


@pytest.mark.parametrize(
    ("listens", "moved"),
    [
        ([(Kind.NODE, Action.ADD)], True),  # hears of new nodes, has not asked for taints
        ([(Kind.NODE, Action.NODE_LABEL)], False),  # not of new nodes
        ([(Kind.NODE, Action.ADD | Action.NODE_TAINT)], False),  # decides for itself: it says no
        ([], False),
    ],
)
def test_changes_of_taints_wake_whatever_a_plugin_that_only_hears_of_new_nodes_refused(
    listens, moved
):
    queue = a_queue(Nodes=Listener(*listens, says=False))
    entry = fail(queue, 0)
    queue.move(NODE_TAINTED, 5_000)
    assert (entry.place == Place.ACTIVE) == moved


def test_a_plugin_that_does_not_say_what_it_listens_to_is_helped_by_everything():
    queue = a_queue(Silent=Silent())
    entry = fail(queue, 0, plugins=["Silent"])
    queue.move(CLAIM_ADDED, 5_000)
    assert entry.place == Place.ACTIVE


def test_a_plugin_that_is_not_there_is_helped_by_nothing():
    queue = a_queue()
    entry = fail(queue, 0, plugins=["Elsewhere"])
    for event in (NODE_ADDED, NODE_TAINTED, CLAIM_ADDED):
        queue.move(event, 5_000)
    assert entry.place == Place.UNSCHEDULABLE


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (NODE_ADDED, Place.BACKOFF),  # Any alone
        (CLAIM_ADDED, Place.ACTIVE),  # both of them
        (NODE_LABELLED, Place.UNSCHEDULABLE),  # neither
    ],
)
def test_what_a_pending_plugin_waits_for_ends_the_backoff(event, place):
    queue = a_queue(
        Any=Listener((Kind.NODE, Action.ADD), (Kind.PVC, Action.ADD)),
        Claims=Listener((Kind.PVC, Action.ADD)),
    )
    entry = fail(queue, 0, plugins=["Any"], pending=["Claims"])
    queue.move(event, 100)
    assert entry.place == place


@pytest.mark.parametrize(("limit", "woken"), [(None, [2, 1, 0]), (1, [1, 0]), (-1, [])])
def test_some_events_are_for_pods_up_to_a_priority(limit, woken):
    queue = a_queue()
    for pod in range(3):
        add(queue, pod, priority=pod)
    for entry in [queue.pop(0) for _ in range(3)]:
        queue.failed(entry, ["Nodes"], 0)
    queue.move(NODE_ADDED, 5_000, at_most_priority=limit)
    assert popped(queue, 5_000) == woken


@pytest.mark.parametrize(("now_ms", "moved"), [(300_000, False), (300_001, True)])
def test_five_minutes_are_the_longest_wait(now_ms, moved):
    queue = a_queue()
    entry = fail(queue, 0)
    queue.flush_unschedulable(now_ms)
    assert (entry.place == Place.ACTIVE) == moved
    assert queue.has_unschedulable != moved


@pytest.mark.parametrize(
    ("late", "place"),
    [
        ({}, Place.BACKOFF),
        ({"scheduling_gates": ("a",)}, Place.BACKOFF),
        (None, Place.UNSCHEDULABLE),
    ],
    ids=["a pod that is moved", "a gated pod that stays", "nobody"],
)
def test_a_pod_being_tried_hears_that_others_have_waited_too_long(late, place):
    """Upstream keeps the flush for pods in flight like any other event, gated pods or not."""
    queue = a_queue()
    if late is not None:
        fail(queue, 1) if not late else add(queue, 1, **late)
    entry = add(queue, 0, 300_000)
    assert queue.pop(300_000) is entry
    queue.flush_unschedulable(330_000)
    queue.failed(entry, ["Elsewhere"], 330_100)
    assert entry.place == place


# In flight


def test_what_happens_while_a_pod_is_tried_counts_when_it_fails():
    queue = a_queue()
    entry = add(queue, 0)
    queue.move(NODE_ADDED, 0)  # before its turn
    queue.pop(0)
    queue.failed(entry, ["Nodes"], 0)
    assert entry.place == Place.UNSCHEDULABLE
    queue.move(NODE_ADDED, 5_000)
    queue.pop(5_000)
    queue.move(NODE_ADDED, 5_100)
    queue.failed(entry, ["Nodes"], 5_200)
    assert entry.place == Place.BACKOFF


def test_each_pod_in_flight_has_its_own_past():
    """The first hears of the node, the second was taken after it had come."""
    queue = a_queue()
    first, second = add(queue, 0), add(queue, 1)
    queue.pop(0)
    queue.move(NODE_ADDED, 0)
    queue.pop(0)
    queue.failed(first, ["Nodes"], 0)
    queue.failed(second, ["Nodes"], 0)
    assert (first.place, second.place) == (Place.BACKOFF, Place.UNSCHEDULABLE)


def test_events_are_kept_only_while_somebody_is_in_flight():
    queue = a_queue()
    for pod in range(2):
        add(queue, pod)
    entries = [queue.pop(0) for _ in range(2)]
    for _ in range(10):
        queue.move(NODE_ADDED, 0)
    queue.done(0)
    assert len(queue._events) == 10
    queue.failed(entries[1], ["Elsewhere"], 0)
    assert queue._events == []


def test_events_of_low_priority_are_kept_for_every_pod_in_flight():
    queue = a_queue()
    entry = add(queue, 0, priority=7)
    queue.pop(0)
    queue.move(NODE_ADDED, 0, at_most_priority=1)
    queue.failed(entry, ["Nodes"], 0)
    assert entry.place == Place.BACKOFF


def test_a_pod_deleted_in_flight_is_dropped_when_its_turn_ends():
    queue = a_queue()
    entry = add(queue, 0)
    queue.pop(0)
    queue.remove(0)
    assert 0 in queue.entries
    queue.failed(entry, ["Nodes"], 0)
    assert len(queue) == 0
    assert not queue.has_waiting_or_in_flight


def test_a_pod_that_found_its_node_leaves():
    queue = a_queue()
    add(queue, 0)
    queue.pop(0)
    queue.done(0)
    assert (len(queue), queue.has_waiting_or_in_flight) == (0, False)


def test_a_pod_that_somebody_else_bound_leaves_too():
    queue = a_queue()
    add(queue, 0)
    queue.done(0)
    assert (len(queue), queue.pop(0)) == (0, None)


# Updates and gates


def test_gated_pods_wait_until_their_gates_are_gone():
    queue = a_queue()
    gated = template(scheduling_gates=("a", "b"))
    queue.add(0, gated, 0)
    entry = queue.entries[0]
    assert (entry.place, entry.plugins) == (Place.GATED, {"SchedulingGates"})
    one_gate = template(scheduling_gates=("b",))
    queue.update(facts(0, gated), facts(0, one_gate), 5_000)
    queue.move(NODE_ADDED, 5_000)
    queue.flush_unschedulable(1_000_000)
    assert entry.place == Place.GATED
    queue.update(facts(0, one_gate), facts(0, template()), 6_000)
    assert (entry.place, entry.timestamp_ms) == (Place.ACTIVE, 0)
    assert queue.pop(6_000) is entry


def test_an_update_of_a_waiting_pod_is_asked_of_the_plugins_that_refused_it():
    labels = Listener((Kind.POD, Action.POD_LABEL))
    queue = a_queue(Labels=labels)
    entries = [fail(queue, pod, plugins=["Labels"]) for pod in range(2)]
    new = template(labels={"app": "web"})
    queue.update(facts(0, template()), facts(0, new), 5_000)
    assert [entry.place for entry in entries] == [Place.ACTIVE, Place.UNSCHEDULABLE]
    assert [(pod, own) for _, pod, own in labels.asked] == [(new, True)]


def test_an_update_that_does_not_help_changes_what_is_asked_from_then_on():
    nodes = Listener((Kind.NODE, Action.ADD))
    queue = a_queue(Nodes=nodes)
    entry = fail(queue, 0)
    new = template(labels={"app": "web"})
    queue.update(facts(0, template()), facts(0, new), 5_000)
    assert entry.place == Place.UNSCHEDULABLE
    queue.move(NODE_ADDED, 5_000)
    assert [pod for _, pod, _ in nodes.asked] == [new]
    assert entry.place == Place.ACTIVE


def test_an_update_of_a_pod_in_flight_is_asked_when_it_fails():
    queue = a_queue(Labels=Listener((Kind.POD, Action.POD_LABEL)))
    entry = add(queue, 0)
    queue.pop(0)
    queue.update(facts(0, template()), facts(0, template(labels={"app": "web"})), 10)
    queue.failed(entry, ["Labels"], 20)
    assert entry.place == Place.BACKOFF


def test_an_active_pod_keeps_its_place_when_it_is_updated():
    queue = a_queue()
    for pod in range(3):
        add(queue, pod)
    queue.update(facts(0, template()), facts(0, template(labels={"app": "web"})), 10)
    assert popped(queue) == [0, 1, 2]


def test_in_an_event_about_a_waiting_pod_it_is_asked_as_its_own():
    deletes = Listener((Kind.POD, Action.DELETE))
    queue = a_queue(Deletes=deletes)
    for pod in range(2):
        fail(queue, pod, plugins=["Deletes"])
    queue.move(Event(Kind.POD, Action.DELETE, facts(1, template(), nominated=0), None), 5_000)
    assert sorted(own for _, _, own in deletes.asked) == [False, True]


def test_a_pod_is_activated_from_wherever_it_waits():
    queue = a_queue()
    entry = fail(queue, 0)
    queue.activate(0, 10)
    assert entry.place == Place.ACTIVE
    queue.pop(10)
    queue.activate(0, 10)
    queue.failed(entry, ["Nodes"], 20)
    assert entry.place == Place.BACKOFF


# What is there


def test_the_queue_says_what_it_has_to_do():
    queue = a_queue()
    entry = fail(queue, 0)
    assert (queue.has_ready, queue.has_backoff, queue.has_unschedulable) == (False, False, True)
    queue.move(NODE_ADDED, 500)
    assert (queue.has_ready, queue.has_backoff, queue.has_unschedulable) == (True, True, False)
    queue.flush_backoff(2_000)
    assert (queue.has_ready, queue.has_backoff, queue.has_unschedulable) == (True, False, False)
    assert not queue.has_waiting_or_in_flight
    assert queue.pop(2_000) is entry
    assert queue.has_waiting_or_in_flight


def test_events_that_nobody_would_hear_need_not_be_told():
    queue = a_queue()
    assert not queue.wants(Kind.NODE, Action.ADD)
    fail(queue, 0)
    assert queue.wants(Kind.NODE, Action.ADD)
    assert queue.wants(Kind.NODE, Action.NODE_TAINT)
    assert not queue.wants(Kind.POD, Action.ADD)
    add(queue, 1)
    queue.pop(0)
    assert queue.wants(Kind.POD, Action.ADD)
