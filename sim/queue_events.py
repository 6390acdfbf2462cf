"""What the cluster tells the scheduling queue: every change that may help a pod that waits.

Follows pkg/scheduler/eventhandlers.go (v1.34.1): what its informers hear and pass on.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sim.cluster import Change, Cluster
from sim.events import Action, Event, Kind, PodFacts, node_updates, pod_updates
from sim.tables import UNBOUND, Phase

if TYPE_CHECKING:
    from sim.queue import SchedulingQueue


def _nothing() -> None:
    pass


class EventSource:
    """Keeps a queue up to date with the cluster.

    `schedulers` are the names that pods may ask for, `nominated` maps pods to the nodes that they
    are nominated to (whoever changes it says so, see `renominated`), `told` is called after each
    change that the queue has heard of. Pods that name their node are bound to it.
    """

    def __init__(
        self,
        cluster: Cluster,
        queue: SchedulingQueue,
        nominated: Mapping[int, int],
        schedulers: Container[str],
        told: Callable[[], None] = _nothing,
    ) -> None:
        self._cluster = cluster
        self._queue = queue
        self._nominated = nominated
        self._schedulers = schedulers
        self._told = told
        self._on = {
            Change.POD_CREATED: self._created,
            Change.POD_BOUND: self._bound,
            Change.POD_ENDED: self._ended,
            Change.POD_REMOVED: self._removed,
            Change.NODE_ADDED: self._node_added,
            Change.NODE_REMOVED: self._node_removed,
        }
        cluster.watch(self._changed, self._on)
        cluster.watch_updates(self._updated)

    def renominated(self, pod: int, before: int) -> None:
        """The nomination of a pod without a node has gone, or moved away from node `before`.

        For pods of its priority or lower this is as if the pod had left that node.
        """
        self._unnominated(self._cluster.pod_facts(pod, before))

    def unassumed(self, pod: int, node: int) -> None:
        """A pod that was to be bound to the node is not: to all others it has left it
        (schedule_one.go handleBindingCycleError)."""
        if self._queue.wants(Kind.POD, Action.DELETE):
            facts = replace(self._cluster.pod_facts(pod), node=node)
            self._move(Event(Kind.POD, Action.DELETE, facts, None))

    def _changed(self, change: Change, object_id: int) -> None:
        self._on[change](object_id)

    # Pods

    def _created(self, pod: int) -> None:
        spec = self._cluster.pod_template(pod).pod.spec
        node = self._cluster.nodes.by_name.get(spec.node_name)
        if node is not None:
            self._cluster.bind(pod, node)
        elif spec.scheduler_name in self._schedulers:
            self._queue.add(pod, self._cluster.pod_template(pod), self._now_ms)
            self._told()

    def _bound(self, pod: int) -> None:
        self._queue.done(pod)
        if self._queue.wants(Kind.POD, Action.ADD):
            self._move(Event(Kind.POD, Action.ADD, None, self._cluster.pod_facts(pod)))

    def _ended(self, pod: int) -> None:
        """A pod that has ended is gone to the scheduler, which asks for others only."""
        if self._cluster.pods.node[pod] != UNBOUND:
            self._left(pod)
        else:
            self._withdrawn(pod)

    def _removed(self, pod: int) -> None:
        if self._cluster.pods.phase[pod] < Phase.SUCCEEDED:
            self._ended(pod)

    def _left(self, pod: int) -> None:
        """A pod has left its node."""
        if self._queue.wants(Kind.POD, Action.DELETE):
            self._move(Event(Kind.POD, Action.DELETE, self._cluster.pod_facts(pod), None))

    def _withdrawn(self, pod: int) -> None:
        """A pod without a node is gone, with the nomination that it may have had."""
        self._queue.remove(pod)
        node = self._nominated.get(pod, UNBOUND)
        if node != UNBOUND:
            self._unnominated(self._cluster.pod_facts(pod, node))

    def _unnominated(self, facts: PodFacts) -> None:
        if self._queue.wants(Kind.POD, Action.DELETE):
            priority = facts.template.pod.spec.priority
            event = Event(Kind.POD, Action.DELETE, facts, None)
            self._queue.move(event, self._now_ms, at_most_priority=priority)
            self._told()

    def _pod_updated(self, before: PodFacts, after: PodFacts) -> None:
        if after.node == UNBOUND:
            node = self._nominated.get(after.pod, UNBOUND)
            before, after = (replace(facts, nominated=node) for facts in (before, after))
            self._queue.update(before, after, self._now_ms)
            self._told()
        elif self._queue.has_waiting_or_in_flight:
            for event in pod_updates(before, after):
                self._move(event)

    # Nodes and storage

    def _node_added(self, node: int) -> None:
        if self._queue.wants(Kind.NODE, Action.ADD):
            self._move(Event(Kind.NODE, Action.ADD, None, self._cluster.node_facts(node)))

    def _node_removed(self, node: int) -> None:
        if self._queue.wants(Kind.NODE, Action.DELETE):
            self._move(Event(Kind.NODE, Action.DELETE, self._cluster.node_facts(node), None))

    def _updated(self, kind: Kind, before: Any, after: Any) -> None:
        if kind is Kind.POD:
            self._pod_updated(before, after)
        elif not self._queue.has_waiting_or_in_flight:
            return
        elif kind is Kind.NODE:
            for event in node_updates(before, after):
                self._move(event)
        else:
            self._move(Event(kind, _action(before, after), before, after))

    def _move(self, event: Event) -> None:
        self._queue.move(event, self._now_ms)
        self._told()

    @property
    def _now_ms(self) -> int:
        return self._cluster.clock.now_ms


def _action(before: Any, after: Any) -> Action:
    """Of a storage object: whether it came, went or changed."""
    if before is None:
        return Action.ADD
    return Action.DELETE if after is None else Action.OTHER
