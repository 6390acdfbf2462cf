"""TaintToleration: pods keep off nodes whose taints they do not tolerate.

Follows pkg/scheduler/framework/plugins/tainttoleration/taint_toleration.go (v1.34.1). Nodes share
few sets of taints, so the answer is worked out once per set and looked up per node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Event, Kind
from sim.extend import MAX_SCORE, Code, NodeIds, Reads, Scores, Shortfall, Verdict, Whys
from sim.podspec import Taint, Toleration

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

HARD_EFFECTS = ("NoSchedule", "NoExecute")
MAX_TAINTS = 1 << 12  # taints of one node that a reason can name


@dataclass(frozen=True, slots=True)
class TaintToleration:
    name: ClassVar[str] = "TaintToleration"
    reads: ClassVar[Reads] = Reads.NODE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.NODE, Action.ADD | Action.NODE_TAINT),
        (Kind.POD, Action.POD_TOLERATION),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """No state: the pod's tolerations are all it needs."""
        return None

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """Which taint of which set stops the pod."""
        return taint_places(pod, cluster, nodes)

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Names the first untolerated taint."""
        index, place = divmod(why - 1, MAX_TAINTS)
        taint = cluster.nodes.taint_sets[index][place]
        reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
        return Verdict(Code.UNRESOLVABLE, (reason,))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """Every taint that would have to be tolerated, not only the first."""
        tolerations = pod.pod.spec.tolerations
        hard = [t for t in cluster.nodes.taints(node) if t.effect in HARD_EFFECTS]
        wrong = ", ".join(str(t) for t in hard if not _tolerated(t, tolerations))
        return Shortfall(f"has untolerated taint {wrong}")

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """The tolerations that count for PreferNoSchedule."""
        return tuple(t for t in pod.pod.spec.tolerations if t.effect in ("", "PreferNoSchedule"))

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """Number of PreferNoSchedule taints that the pod does not tolerate."""
        sets = cluster.nodes.taint_set[nodes]
        counts = np.zeros(len(cluster.nodes.taint_sets), np.int64)
        for index in _distinct(sets):
            counts[index] = sum(
                taint.effect == "PreferNoSchedule" and not _tolerated(taint, state)
                for taint in cluster.nodes.taint_sets[index]
            )
        return counts[sets]

    def normalize(self, scores: Scores) -> Scores:
        """Fewest taints best: 100 - 100 * n / max, 100 everywhere when max is 0."""
        most = int(scores.max(initial=0))
        if most == 0:
            return np.full_like(scores, MAX_SCORE)
        return MAX_SCORE - MAX_SCORE * scores // most

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """A node has come to take the pod, or the pod's own tolerations have changed."""
        if event.kind is Kind.POD:
            return own
        tolerations = pod.pod.spec.tolerations
        before, after = event.before, event.after
        stopped = before is None or first_untolerated(before.taints, tolerations) is not None
        return stopped and first_untolerated(after.taints, tolerations) is None


def taint_places(pod: Template, cluster: Cluster, nodes: NodeIds) -> Whys:
    """Per node 0 or, for the first hard taint that the pod does not tolerate, 1 + its place.

    The place is that of the node's set of taints * MAX_TAINTS + that within the set.
    """
    tolerations = pod.pod.spec.tolerations
    sets = cluster.nodes.taint_set[nodes]
    answers = np.zeros(len(cluster.nodes.taint_sets), np.int32)
    for index in _distinct(sets):
        place = first_untolerated(cluster.nodes.taint_sets[index], tolerations)
        if place is not None:
            answers[index] = 1 + index * MAX_TAINTS + place
    return answers[sets]


def first_untolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration]) -> int | None:
    """Place of the first NoSchedule or NoExecute taint that nothing tolerates."""
    for place, taint in enumerate(taints):
        if taint.effect in HARD_EFFECTS and not _tolerated(taint, tolerations):
            return place
    return None


def _tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    return any(toleration.tolerates(taint) for toleration in tolerations)


def _distinct(sets: Any) -> list[int]:
    return [int(sets[0])] if len(sets) == 1 else [int(i) for i in np.unique(sets)]
