"""The taint eviction controller: deletes pods that do not tolerate a NoExecute taint for longer.

It mirrors pkg/controller/tainteviction of Kubernetes v1.36: deletions are neither rate-limited nor
subject to PodDisruptionBudgets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.clock import Lane
from sim.cluster import Change
from sim.recorder import Of, Reason
from sim.tables import NEVER

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import Taint, Toleration

LATENCY_MS = 40  # from a timer or taint until the deletion; median measured 42

RELEVANT = (
    Change.POD_BOUND,
    Change.POD_DELETING,
    Change.POD_ENDED,
    Change.POD_REMOVED,
    Change.NODE_TAINTS,
)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Whether a pod tolerates all taints, and for how many seconds (None: for ever)."""

    tolerated: bool
    seconds: int | None


def tolerance(tolerations: Sequence[Toleration], taints: Iterable[Taint]) -> Tolerance:
    """How long a pod with these tolerations stays under these NoExecute taints."""
    used = []
    for taint in taints:
        match = next((t for t in tolerations if t.tolerates(taint)), None)
        if match is None:
            return Tolerance(False, 0)
        used.append(match.seconds)
    return Tolerance(True, shortest_s(used))


def shortest_s(seconds: Sequence[int | None]) -> int | None:
    """The shortest of the tolerationSeconds in use, None for ever (getMinTolerationTime)."""
    if not seconds:
        return 0
    limited = [max(0, limit) for limit in seconds if limit is not None]
    return min(limited) if limited else None


def deadline_ms(now_ms: int, found: Tolerance, planned_ms: int | None) -> int | None:
    """When a pod goes, None for never; `planned_ms` is what was decided before.

    A planned time stands against longer and shorter tolerations; a taint that is not tolerated ends
    it, and so does a toleration for ever.
    """
    if not found.tolerated:
        return now_ms if planned_ms is None else min(now_ms, planned_ms)
    if found.seconds is None:
        return None
    return now_ms + found.seconds * 1000 if planned_ms is None else planned_ms


class TaintEviction:
    """The controller of one run; one timed event per node and deadline."""

    def __init__(
        self, cluster: Cluster, *, latency_ms: int = LATENCY_MS, ideal: bool = False
    ) -> None:
        self.cluster = cluster
        self._clock = cluster.clock
        self._latency_ms = 0 if ideal else latency_ms
        self._planned: dict[int, dict[int, int]] = {}  # node -> its pods' deadlines
        self._due: dict[tuple[int, int], list[int]] = {}  # (node, deadline) -> pods
        self._taints: dict[int, tuple[Taint, ...]] = {}  # by taint set: those that evict
        self._tolerances: dict[tuple[int, int], Tolerance] = {}  # by template and taint set
        cluster.watch(self.on_change, RELEVANT)

    def on_change(self, change: Change, object_id: int) -> None:
        """Take note of taints, and of pods that come and go."""
        if change == Change.POD_BOUND:
            node = self.cluster.pods.node.item(object_id)
            if self._evicting(node):
                self._look(object_id, node)
        elif change == Change.NODE_TAINTS:
            self._node_changed(object_id)
        elif self._planned:
            planned = self._planned.get(self.cluster.pods.node.item(object_id))
            if planned is not None:
                planned.pop(object_id, None)

    def _evicting(self, node: int) -> tuple[Taint, ...]:
        """NoExecute taints of a node."""
        table = self.cluster.nodes
        taint_set = table.taint_set.item(node)
        if taint_set not in self._taints:
            taints = table.taint_sets[taint_set]
            self._taints[taint_set] = tuple(t for t in taints if t.effect == "NoExecute")
        return self._taints[taint_set]

    def _node_changed(self, node: int) -> None:
        if self._evicting(node):
            for pod in list(self.cluster.nodes.pods[node]):
                self._look(pod, node)
        else:
            for pod in self._planned.pop(node, {}):
                self._cancelled(pod)

    def _look(self, pod: int, node: int) -> None:
        if self.cluster.pods.deleting_ms[pod] != NEVER:
            return
        planned = self._planned.setdefault(node, {})
        before_ms = planned.get(pod)
        now_ms = self._clock.now_ms + self._latency_ms
        at_ms = deadline_ms(now_ms, self._tolerance(pod, node), before_ms)
        if at_ms == before_ms:
            return
        if at_ms is None:
            del planned[pod]
            self._cancelled(pod)
        else:
            planned[pod] = at_ms
            self._plan(node, at_ms, pod)

    def _tolerance(self, pod: int, node: int) -> Tolerance:
        template = self.cluster.pod_template(pod)
        key = (template.id, self.cluster.nodes.taint_set.item(node))
        if key not in self._tolerances:
            tolerations = template.pod.spec.tolerations
            self._tolerances[key] = tolerance(tolerations, self._evicting(node))
        return self._tolerances[key]

    def _plan(self, node: int, at_ms: int, pod: int) -> None:
        pods = self._due.get((node, at_ms))
        if pods is None:
            self._due[node, at_ms] = [pod]
            self._clock.at(at_ms, Lane.LIFECYCLE, self._evict, node, at_ms)
        else:
            pods.append(pod)

    def _evict(self, node: int, at_ms: int) -> None:
        planned = self._planned.get(node, {})
        for pod in self._due.pop((node, at_ms)):
            if planned.get(pod) == at_ms:
                del planned[pod]
                self.cluster.delete_pod(pod, Reason.TAINT_EVICTION)

    def _cancelled(self, pod: int) -> None:
        now_ms = self._clock.now_ms
        self.cluster.recorder.event(now_ms, Reason.CANCEL_EVICTION, Of.POD, pod)
