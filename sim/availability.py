"""How long each workload had enough pods that were ready and really ran.

Counted is a pod that is Ready, not being deleted, and whose containers run: a pod on a dead node
does not count, though the API still shows it Ready for most of a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.cluster import Change
from sim.disruptions import scaled_up
from sim.tables import NEVER

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import PodTemplate
    from sim.workloads import PodDisruptionBudget

RELEVANT = (
    Change.POD_READY,
    Change.POD_ALIVE,
    Change.POD_DELETING,
    Change.POD_ENDED,
    Change.POD_REMOVED,
)


@dataclass(slots=True)
class Record:
    """One workload's time with enough pods and without."""

    wanted: int = 0
    minimum: int = 0
    available: int = 0
    since_ms: int = 0
    short_ms: int = 0
    watched_ms: int = 0

    def settle(self, now_ms: int) -> None:
        """Count the time since the last change."""
        passed_ms = now_ms - self.since_ms
        self.since_ms = now_ms
        self.watched_ms += passed_ms
        if self.available < self.minimum:
            self.short_ms += passed_ms


class Availability:
    """Watches Deployments and ReplicaSets of their own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.records: dict[int, Record] = {}  # workload -> record
        self._counted: set[int] = set()
        cluster.watch(self.on_change, [*RELEVANT, Change.OBJECT])

    def on_change(self, change: Change, object_id: int) -> None:
        """Follow pods and wanted replicas."""
        if change != Change.OBJECT:
            self._count(object_id)
            return
        kind, key = self._cluster.changed_objects[object_id]
        if kind in ("Deployment", "ReplicaSet"):
            self._want(kind, key)

    def restart(self) -> None:
        """Begin to count anew (end of the warm-up)."""
        for record in self.records.values():
            record.since_ms = self._cluster.clock.now_ms
            record.short_ms = record.watched_ms = 0

    def settle(self) -> None:
        """Bring every record up to the present."""
        for record in self.records.values():
            record.settle(self._cluster.clock.now_ms)

    def _count(self, pod: int) -> None:
        pods = self._cluster.pods
        workload = self._cluster.owners[pods.owner[pod]].workload
        record = self.records.get(workload)
        if record is None:
            return
        counts = bool(pods.ready[pod] and pods.alive[pod] and pods.deleting_ms[pod] == NEVER)
        if counts == (pod in self._counted):
            return
        record.settle(self._cluster.clock.now_ms)
        record.available += 1 if counts else -1
        (self._counted.add if counts else self._counted.discard)(pod)

    def _want(self, kind: str, key: tuple[str, str]) -> None:
        cluster = self._cluster
        if kind == "ReplicaSet" and cluster.replicasets[key].owner:
            return
        objects = cluster.deployments if kind == "Deployment" else cluster.replicasets
        wanted = objects[key]
        workload = cluster.workload(kind, *key)
        record = self.records.setdefault(workload, Record(since_ms=cluster.clock.now_ms))
        record.settle(cluster.clock.now_ms)
        record.wanted = wanted.replicas
        budget = self._budget(wanted.template)
        record.minimum = wanted.replicas if budget is None else minimum(budget, wanted.replicas)

    def _budget(self, template: PodTemplate) -> PodDisruptionBudget | None:
        budgets = self._cluster.budgets.values()
        return next((budget for budget in budgets if budget.picks(template)), None)


def minimum(budget: PodDisruptionBudget, replicas: int) -> int:
    """Fewest pods that a budget wants; percentages round up (pkg/controller/disruption)."""
    if budget.min_available is not None:
        return min(scaled_up(budget.min_available, replicas), replicas)
    if budget.max_unavailable is not None:
        return max(replicas - scaled_up(budget.max_unavailable, replicas), 0)
    return replicas
