"""Emptying nodes: by deletion, or by eviction as `kubectl drain` does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sim.actions import CordonNodes, DeletePod
from sim.clock import Lane
from sim.recorder import Reason
from sim.tables import NEVER, Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.disruptions import Disruptions
    from sim.faults.machines import Machines

POLL_MS = 1_000  # how often kubectl looks whether the pods are gone
RETRY_MS = 5_000  # and how long it waits after a refused eviction


def pods_to_move(node: int, cluster: Cluster) -> list[int]:
    """The pods of a node that have not ended, but for those of DaemonSets."""
    pods, owners = cluster.pods, cluster.owners
    return [pod for pod in cluster.nodes.pods[node] if owners[pods.owner[pod]].kind != "DaemonSet"]


def delete_pods(node: int, machines: Machines) -> None:
    """Cordon a node and delete its pods with their grace, whatever budgets say."""
    machines.do(CordonNodes((node,)))
    for pod in pods_to_move(node, machines.cluster):
        machines.do(DeletePod(pod, Reason.NODE_DRAINED))


class Drain:
    """Cordons one node and evicts its pods, as far as PodDisruptionBudgets let it."""

    def __init__(
        self,
        node: int,
        deadline_ms: int,
        machines: Machines,
        budgets: Disruptions,
        done: Callable[[], None],
    ) -> None:
        """`done` is called when the node is empty, at the latest at `deadline_ms`."""
        self._node = node
        self._deadline_ms = deadline_ms
        self._machines = machines
        self._budgets = budgets
        self._done = done
        self._retry_ms = 0
        machines.do(CordonNodes((node,)))
        self._look()

    def _look(self) -> None:
        cluster, now_ms = self._machines.cluster, self._machines.clock.now_ms
        left = pods_to_move(self._node, cluster)
        if not left or now_ms >= self._deadline_ms:
            self._done()
            return
        if now_ms >= self._retry_ms:
            self._retry_ms = now_ms + RETRY_MS
            for pod in left:
                self._evict(pod)
        next_ms = min(now_ms + POLL_MS, self._deadline_ms)
        self._machines.clock.at(next_ms, Lane.FAULTS, self._look)

    def _evict(self, pod: int) -> None:
        """Unless it is going, or a budget allows no disruption (pods that wait have none)."""
        cluster = self._machines.cluster
        if cluster.pods.deleting_ms[pod] != NEVER:
            return
        template = cluster.pod_template(pod).pod
        budgets = [budget for budget in cluster.budgets.values() if budget.picks(template)]
        running = cluster.pods.phase[pod] == Phase.RUNNING
        if running and any(self._budgets.allowed(budget) < 1 for budget in budgets):
            return
        self._machines.do(DeletePod(pod, Reason.NODE_DRAINED))
