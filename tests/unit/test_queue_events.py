"""What the queue hears of a cluster's changes, and what it need not hear.

Rules: pkg/scheduler/eventhandlers.go (v1.34.1).
"""

from __future__ import annotations

import pytest

from sim.events import Action, Kind
from sim.podspec import Taint
from sim.queue import Place, SchedulingQueue
from sim.queue_events import EventSource
from sim.recorder import Reason
from sim.tables import UNBOUND, Phase
from sim.testing import a_cluster, a_node, a_pod, put_node, put_pod

EVERYTHING = Action.ADD | Action.DELETE | Action.UPDATE


class Ear:
    """Hears everything of pods, nodes and claims, and never thinks that it helps."""

    listens = tuple((kind, EVERYTHING) for kind in (Kind.POD, Kind.NODE, Kind.PVC))

    def __init__(self):
        self.heard = []

    def hint(self, event, pod, cluster, *, own):
        self.heard.append(event)
        return False


class World:
    """A cluster with two nodes, whose queue holds a pod that waits for any event."""

    def __init__(self, *, waiting=True):
        self.cluster = a_cluster([a_node(), a_node()])
        self.ear, self.told, self.nominated = Ear(), 0, {}
        plugins = {"default-scheduler": {"Ear": self.ear}}
        self.queue = SchedulingQueue(self.cluster, plugins)
        self.source = EventSource(self.cluster, self.queue, self.nominated, plugins, self.note)
        if waiting:
            self.waiting = self.pod()
            self.queue.failed(self.queue.pop(0), ["Ear"], 0)

    def note(self):
        self.told += 1

    def pod(self, **fields):
        return put_pod(self.cluster, a_pod(**fields))

    def bound(self, node=0, **fields):
        pod = self.pod(**fields)
        self.cluster.bind(pod, node)
        self.ear.heard.clear()
        return pod

    def heard(self):
        """(kind, action) of what came since the last time, and whose it was."""
        found = [
            (e.kind.value, e.action.name, getattr(e.after or e.before, "pod", None))
            for e in self.ear.heard
        ]
        self.ear.heard.clear()
        return found


def test_pods_without_a_node_are_queued():
    world = World(waiting=False)
    pod = world.pod()
    assert world.queue.entries[pod].place == Place.ACTIVE
    assert world.told == 1


def test_pods_of_other_schedulers_are_not():
    world = World(waiting=False)
    world.pod(scheduler_name="another")
    assert len(world.queue) == 0


def test_a_pod_that_names_its_node_is_bound_there():
    world = World()
    pod = world.pod(node_name="node-1")
    assert world.cluster.pods.node[pod] == 1
    assert world.heard() == [("Pod", "ADD", pod)]
    assert pod not in world.queue.entries


def test_a_bound_pod_leaves_the_queue_and_is_news_to_others():
    world = World()
    pod = world.pod()
    world.cluster.bind(pod, 0)
    assert world.heard() == [("Pod", "ADD", pod)]
    assert set(world.queue.entries) == {world.waiting}


def test_a_pod_that_ends_is_gone_to_the_scheduler_once():
    world = World()
    pod = world.bound()
    world.cluster.end_pod(pod, Phase.SUCCEEDED, Reason.COMPLETED)
    assert world.heard() == [("Pod", "DELETE", pod)]
    world.cluster.remove_pod(pod)
    assert world.heard() == []


def test_a_deleted_pod_is_gone_when_its_object_is():
    world = World()
    pod = world.bound()
    world.cluster.delete_pod(pod)
    assert world.heard() == []
    world.cluster.remove_pod(pod)
    assert world.heard() == [("Pod", "DELETE", pod)]


def test_an_event_about_a_pod_says_where_it_was():
    world = World()
    pod = world.bound(1)
    world.cluster.remove_pod(pod)
    (event,) = world.ear.heard
    assert (event.before.node, event.after) == (1, None)


def test_a_pod_without_a_node_goes_unheard():
    world = World()
    world.cluster.delete_pod(world.pod())
    assert world.heard() == []
    assert set(world.queue.entries) == {world.waiting}


@pytest.mark.parametrize(("priority", "heard"), [(-1, False), (0, True), (1, True)])
def test_a_nominated_pod_that_goes_is_news_to_pods_of_its_priority_or_lower(priority, heard):
    """The pod that waits has priority 0."""
    world = World()
    pod = world.pod(priority=priority)
    world.nominated[pod] = 1
    world.cluster.delete_pod(pod)
    assert [(e.action, e.before.nominated, e.before.node) for e in world.ear.heard] == (
        [(Action.DELETE, 1, UNBOUND)] if heard else []
    )


def test_a_lost_nomination_is_like_a_deleted_pod():
    world = World()
    pod = world.pod(priority=5)
    world.source.renominated(pod, 0)
    assert [(e.action, e.before.nominated) for e in world.ear.heard] == [(Action.DELETE, 0)]


def test_a_pod_that_is_not_bound_after_all_has_left_its_node():
    world = World()
    pod = world.pod(priority=-5)
    world.source.unassumed(pod, 1)
    assert [(e.action, e.before.node) for e in world.ear.heard] == [(Action.DELETE, 1)]


def test_updates_of_bound_pods_come_part_by_part():
    world = World()
    pod = world.bound(labels={"app": "web"}, cpu_m=500)
    world.cluster.update_pod(pod, world.cluster.template(a_pod(labels={"app": "api"}, cpu_m=400)))
    assert world.heard() == [("Pod", "POD_LABEL", pod), ("Pod", "POD_SCALE_DOWN", pod)]


def test_an_update_of_a_pod_without_a_node_is_its_own_matter():
    world = World()
    other = world.pod()
    label = world.cluster.template(a_pod(labels={"app": "web"}))
    world.cluster.update_pod(other, label)
    assert world.heard() == []
    assert world.queue.entries[other].template is label
    world.cluster.update_pod(world.waiting, label)
    assert world.heard() == [("Pod", "POD_LABEL", world.waiting)]


def test_nodes_come_change_and_go():
    world = World()
    put_node(world.cluster, a_node("new"))
    assert world.heard() == [("Node", "ADD", None)]
    world.cluster.set_taints(0, (Taint("t", "NoSchedule"),))
    assert world.heard() == [("Node", "NODE_TAINT", None)]
    world.cluster.set_unschedulable(0, True)
    assert world.heard() == []  # cordoning helps nobody
    world.cluster.set_unschedulable(0, False)
    assert world.heard() == [("Node", "NODE_TAINT", None)]
    world.cluster.remove_node(1)
    assert world.heard() == [("Node", "DELETE", None)]


def test_storage_objects_come_change_and_go():
    world, key = World(), ("default", "claim")
    for value in ("new", "changed"):
        world.cluster.put_storage(Kind.PVC, key, value)
    world.cluster.remove_storage(Kind.PVC, key)
    assert [(e.action, e.before, e.after) for e in world.ear.heard] == [
        (Action.ADD, None, "new"),
        (Action.OTHER, "new", "changed"),
        (Action.DELETE, "changed", None),
    ]


def test_nothing_is_told_while_nobody_waits():
    world = World(waiting=False)
    put_node(world.cluster, a_node("new"))
    world.cluster.set_taints(0, (Taint("t", "NoSchedule"),))
    world.cluster.put_storage(Kind.PVC, ("default", "claim"), "new")
    assert world.told == 0
