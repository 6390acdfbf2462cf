"""Graceful shutdown of nodes: pods are stopped group by group, then the machine goes down.

Groups and graces are those of `sim.termination`; who stops pods is told which and for how long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.clock import Lane
from sim.recorder import Reason
from sim.tables import NEVER, NodeReady
from sim.termination import shutdown_grace_ms, shutdown_order

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.termination import ShutdownGroup

Groups = tuple["ShutdownGroup", ...]  # in the order of stopping; none: no graceful shutdown


@dataclass(slots=True)
class _Shutdown:
    """One node on its way down."""

    left: list[tuple[ShutdownGroup, list[int]]]  # groups whose turn has not come, and their pods
    waits_for: dict[int, None] = field(default_factory=dict)  # pods of the group being stopped
    step: int = 0
    comes_back: bool = False  # it is to start again at once


class Shutdowns:
    """The shutdowns of all nodes that are under way.

    `stop(pod, reason, grace_ms)` stops a pod; afterwards `pod_over` has to be called.
    """

    def __init__(
        self,
        cluster: Cluster,
        stop: Callable[[int, Reason, int], None],
        groups: Callable[[int], Groups],
    ) -> None:
        self._cluster = cluster
        self._stop = stop
        self._groups = groups
        self._under_way: dict[int, _Shutdown] = {}

    def __contains__(self, node: int) -> bool:
        return node in self._under_way

    def __bool__(self) -> bool:
        """Whether any is under way."""
        return bool(self._under_way)

    def begin(self, node: int) -> None:
        """Shut the node down: with its groups' grace, or without any if it has no groups."""
        if node in self._under_way:
            return
        groups, cluster = self._groups(node), self._cluster
        if not groups or not cluster.nodes.up[node]:
            cluster.fail_node(node)
            return
        pods = list(cluster.nodes.pods[node])
        priorities = [cluster.pod_template(pod).pod.spec.priority for pod in pods]
        order = shutdown_order(groups, priorities)
        left = [(group, [pods[place] for place in places]) for group, places in order]
        self._under_way[node] = _Shutdown(left)
        if not cluster.nodes.cut_off[node]:
            cluster.set_node_ready(node, NodeReady.FALSE)
        self._next_group(node)

    def recover(self, node: int) -> bool:
        """Have a node that is on its way down come back at once; False if it is not."""
        shutdown = self._under_way.get(node)
        if shutdown is None:
            return False
        shutdown.comes_back = True
        return True

    def pod_over(self, pod: int) -> None:
        """A pod has ended."""
        if not self._under_way:
            return
        node = self._cluster.pods.node.item(pod)
        shutdown = self._under_way.get(node)
        if shutdown and pod in shutdown.waits_for:
            del shutdown.waits_for[pod]
            if not shutdown.waits_for:
                clock = self._cluster.clock
                clock.after(0, Lane.KUBELET, self._group_over, node, shutdown.step)

    def node_down(self, node: int) -> None:
        """The machine has stopped for another reason: nothing is left to wait for."""
        if node in self._under_way:
            self._go_down_soon(node)

    def _next_group(self, node: int) -> None:
        shutdown, cluster = self._under_way[node], self._cluster
        while shutdown.left:
            group, pods = shutdown.left.pop(0)
            running = [pod for pod in pods if cluster.pods.ended_ms[pod] == NEVER]
            shutdown.waits_for = dict.fromkeys(running)
            shutdown.step += 1
            for pod in running:
                own_ms = cluster.pod_template(pod).pod.spec.termination_grace_ms
                self._stop(pod, Reason.NODE_SHUTDOWN_END, shutdown_grace_ms(group, own_ms))
            if running:
                args = (node, shutdown.step)
                cluster.clock.after(group.grace_ms, Lane.KUBELET, self._group_over, *args)
                return
        self._go_down_soon(node)

    def _group_over(self, node: int, step: int) -> None:
        """Its pods have ended, or its time is over."""
        shutdown = self._under_way.get(node)
        if shutdown and shutdown.step == step:
            self._next_group(node)

    def _go_down_soon(self, node: int) -> None:
        self._under_way[node].step += 1
        self._cluster.clock.after(0, Lane.FAULTS, self._go_down, node)

    def _go_down(self, node: int) -> None:
        shutdown = self._under_way.pop(node, None)
        if shutdown is None:
            return
        self._cluster.fail_node(node)
        if shutdown.comes_back:
            self._cluster.recover_node(node)
