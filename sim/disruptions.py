"""How many disruptions a PodDisruptionBudget allows now.

Follows pkg/controller/disruption/disruption.go (v1.34.1), without its lag: a budget's numbers are
those of this moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.cluster import Change
from sim.events import Kind
from sim.tables import NEVER

if TYPE_CHECKING:
    from sim.cluster import Cluster, Owner
    from sim.workloads import IntOrPercent, PodDisruptionBudget

MOVES_PODS = (Change.POD_CREATED, Change.POD_REMOVED)
MOVES_HEALTH = (Change.POD_READY, Change.POD_DELETING, Change.POD_ENDED)
UNMANAGED = ("Pod", "Stream")  # owners that are no controllers: their pods count healthy only


@dataclass(slots=True)
class _Known:
    """A budget with the pods that it picks; `allowed` is None after one of them has changed."""

    budget: PodDisruptionBudget
    members: set[int]
    allowed: int | None = None


class Disruptions:
    """The budgets of a cluster; what a budget allows is kept until one of its pods changes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[tuple[str, str], _Known] = {}
        self._picked_by: dict[int, list[_Known]] = {}  # template -> known budgets
        cluster.watch(self._on_change, [*MOVES_PODS, *MOVES_HEALTH, Change.OBJECT])
        cluster.watch_updates(self._on_update)

    def allowed(self, budget: PodDisruptionBudget) -> int:
        """How many of its pods may be disrupted (updatePdbStatus)."""
        known = self._known.get((budget.namespace, budget.name))
        if known is None or known.budget is not budget:
            known = self._get_to_know(budget)
        if known.allowed is None:
            known.allowed = self._allowed(budget, known.members)
        return known.allowed

    def _allowed(self, budget: PodDisruptionBudget, members: set[int]) -> int:
        desired = self._desired(budget, members)
        if desired is None:
            return 0
        return max(0, self._healthy(members, budget) - desired)

    def _desired(self, budget: PodDisruptionBudget, members: set[int]) -> int | None:
        """How many pods must stay healthy; None where nothing is allowed (getExpectedPodCount)."""
        if isinstance(budget.min_available, int) and budget.max_unavailable is None:
            return budget.min_available if members else None
        expected = self._scale(members)
        if not expected:
            return None
        if budget.max_unavailable is not None:
            return max(0, expected - scaled_up(budget.max_unavailable, expected))
        if budget.min_available is not None:
            return scaled_up(budget.min_available, expected)
        return None

    def _scale(self, members: set[int]) -> int | None:
        """Sum of the replicas of the pods' controllers; None if one of them has no scale."""
        pods, owners = self._cluster.pods, self._cluster.owners
        scales = {}
        every = np.fromiter(members, np.int64, len(members))
        for owner in np.unique(pods.owner[every]).tolist():
            if owners[owner].kind in UNMANAGED:
                continue
            scale = self._scale_of(owners[owner])
            if scale is None:
                return None
            scales[scale[0]] = scale[1]
        return sum(scales.values())

    def _scale_of(self, owner: Owner) -> tuple[tuple[str, str, str], int] | None:
        """Who is scaled and to how many: the Deployment above a ReplicaSet. Jobs have no scale."""
        cluster = self._cluster
        replicaset = cluster.replicasets.get((owner.namespace, owner.name))
        if owner.kind != "ReplicaSet" or replicaset is None:
            return None
        deployment = cluster.deployments.get((owner.namespace, replicaset.owner))
        if deployment is not None:
            return ("Deployment", owner.namespace, deployment.name), deployment.replicas
        return ("ReplicaSet", owner.namespace, owner.name), replicaset.replicas

    def _healthy(self, members: set[int], budget: PodDisruptionBudget) -> int:
        """How many of the pods are ready and stay (countHealthyPods)."""
        pods = self._cluster.pods
        every = np.fromiter(members, np.int64, len(members))
        ready = every[pods.ready[every] & (pods.deleting_ms[every] == NEVER)]
        names = budget.disrupted_pods
        if not names:
            return len(ready)
        return sum(self._cluster.pod_name(pod) not in names for pod in ready.tolist())

    # Which pods are whose

    def _get_to_know(self, budget: PodDisruptionBudget) -> _Known:
        """Its pods of now; from here on they are kept up to date."""
        pods, templates = self._cluster.pods, self._cluster.templates
        rows = len(pods)
        picked = np.array([budget.picks(template.pod) for template in templates], np.bool_)
        mine = pods.exists[:rows] & (picked[pods.template[:rows]] if rows else False)
        members = set(np.flatnonzero(mine).tolist())
        known = self._known[budget.namespace, budget.name] = _Known(budget, members)
        self._picked_by.clear()
        return known

    def _picking(self, pod: int) -> list[_Known]:
        template = self._cluster.pod_template(pod)
        found = self._picked_by.get(template.id)
        if found is None:
            found = [known for known in self._known.values() if known.budget.picks(template.pod)]
            self._picked_by[template.id] = found
        return found

    def _on_change(self, change: Change, object_id: int) -> None:
        if change == Change.OBJECT:
            for known in self._known.values():
                known.allowed = None
            return
        for known in self._picking(object_id):
            known.allowed = None
            if change == Change.POD_CREATED:
                known.members.add(object_id)
            elif change == Change.POD_REMOVED:
                known.members.discard(object_id)

    def _on_update(self, kind: Kind, before: object, after: object) -> None:
        """A pod may be another budget's after its labels have changed."""
        if kind is Kind.POD:
            self._known.clear()
            self._picked_by.clear()


def scaled_up(value: IntOrPercent, total: int) -> int:
    """A number as it is, or a percentage of `total` rounded up (apimachinery util/intstr)."""
    if isinstance(value, int):
        return value
    return -(-int(value.rstrip("%")) * total // 100)
