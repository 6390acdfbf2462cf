"""NodeAffinity: nodeSelector, required and preferred node affinity, and the profile's own.

Follows pkg/scheduler/framework/plugins/nodeaffinity/node_affinity.go and component-helpers
scheduling/corev1/nodeaffinity (v1.34.1). Requirements are answered for all asked nodes at once,
from one column of value ids per label key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Event, Kind, NodeFacts
from sim.extend import (
    MAX_SCORE,
    SKIP,
    Code,
    NodeIds,
    OnlyNodes,
    Reads,
    Rejection,
    Scores,
    Shortfall,
    Verdict,
    Whys,
)
from sim.labels import Labels, Requirement
from sim.podspec import NodeSelectorTerm, PreferredTerm
from sim.tables import ABSENT, Bools

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

ENFORCED, OWN = 1, 2
REASONS = {
    ENFORCED: "node(s) didn't match scheduler-enforced node affinity",
    OWN: "node(s) didn't match Pod's node affinity/selector",
}


@dataclass(frozen=True, slots=True)
class NodeAffinity:
    """`added_*` is the profile's addedAffinity, which every pod of the profile obeys."""

    added_required: tuple[NodeSelectorTerm, ...] | None = None
    added_preferred: tuple[PreferredTerm, ...] = ()

    name: ClassVar[str] = "NodeAffinity"
    reads: ClassVar[Reads] = Reads.NODE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.NODE, Action.ADD | Action.NODE_LABEL),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """Nothing to ask without rules; names of nodes in every term leave only those nodes."""
        spec = pod.pod.spec
        required = spec.required_affinity
        if not spec.node_selector and required is None and self.added_required is None:
            return SKIP
        names = named_nodes(required)
        if names is None:
            return None
        if not names:
            return Rejection(Verdict(Code.UNRESOLVABLE, ("pod affinity terms conflict",)))
        ids = sorted(cluster.nodes.by_name[n] for n in names if n in cluster.nodes.by_name)
        return OnlyNodes(np.array(ids, np.int64))

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """ENFORCED or OWN where a rule is not met."""
        whys = np.where(meets_own_rules(pod, cluster, nodes), 0, OWN).astype(np.int32)
        if self.added_required is not None:
            whys[~any_term(self.added_required, cluster, nodes)] = ENFORCED
        return whys

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Whose rule it was."""
        return Verdict(Code.UNRESOLVABLE, (REASONS[why],))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The labels that are not met; of several terms the one with the fewest."""
        spec, labels, name = pod.pod.spec, cluster.nodes.labels[node], cluster.nodes.names[node]
        wrong = [r for r in map(_equal, spec.node_selector.items()) if not r.matches(labels)]
        for terms in (spec.required_affinity, self.added_required):
            if terms is not None and not any(t.matches(labels, name) for t in terms):
                unmet = sorted((_unmet(term, labels, name) for term in terms), key=len)
                wrong += unmet[0] if unmet else []
        if not wrong:
            return Shortfall("meets no term of the node affinity, which has none that can be met")
        said = "; ".join(f"{r} (it has {_value(r.key, labels, name)})" for r in wrong)
        return Shortfall(f"does not meet {said}", len(wrong))

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """The preferred terms; without any there is nothing to score."""
        return pod.pod.spec.preferred_affinity + self.added_preferred or SKIP

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """Sum of the weights of the preferred terms that a node meets."""
        scores = np.zeros(len(nodes), np.int64)
        for preferred in state:
            scores += preferred.weight * matches_term(preferred.term, cluster, nodes)
        return scores

    def normalize(self, scores: Scores) -> Scores:
        """100 * n / max; all 0 when max is 0."""
        most = int(scores.max(initial=0))
        return scores if most == 0 else MAX_SCORE * scores // most

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """A node has come to meet the pod's own rules, and meets those of the profile."""
        before, after = event.before, event.after
        if self.added_required is not None and not _any_term_meets(self.added_required, after):
            return False
        return _meets(pod, after) and (before is None or not _meets(pod, before))


def _meets(pod: Template, node: NodeFacts) -> bool:
    """Whether the node, as it is or was, meets the pod's nodeSelector and required affinity."""
    spec = pod.pod.spec
    selected = all(node.labels.get(key) == value for key, value in spec.node_selector.items())
    terms = spec.required_affinity
    return selected and (terms is None or _any_term_meets(terms, node))


def _any_term_meets(terms: tuple[NodeSelectorTerm, ...], node: NodeFacts) -> bool:
    return any(term.matches(node.labels, node.name) for term in terms)


def meets_own_rules(pod: Template, cluster: Cluster, nodes: NodeIds) -> Bools:
    """Whether each node meets the pod's nodeSelector and required node affinity."""
    spec = pod.pod.spec
    met = np.ones(len(nodes), np.bool_)
    for key, value in spec.node_selector.items():
        met &= holds(Requirement(key, "In", (value,)), cluster, nodes)
    if spec.required_affinity is not None:
        met &= any_term(spec.required_affinity, cluster, nodes)
    return met


def _equal(item: tuple[str, str]) -> Requirement:
    return Requirement(item[0], "In", (item[1],))


def _unmet(term: NodeSelectorTerm, labels: Labels, name: str) -> list[Requirement]:
    fields = [r for r in term.fields if not r.matches({"metadata.name": name})]
    return [*(r for r in term.expressions if not r.matches(labels)), *fields]


def _value(key: str, labels: Labels, name: str) -> str:
    value = name if key == "metadata.name" else labels.get(key)
    return "none" if value is None else repr(value)


def named_nodes(terms: tuple[NodeSelectorTerm, ...] | None) -> set[str] | None:
    """The only nodes that can be meant, when each term pins metadata.name with `In`."""
    if not terms:
        return None
    names: set[str] = set()
    for term in terms:
        pinned = [set(f.values) for f in term.fields if f.operator == "In"]
        if not pinned:
            return None
        names |= set.intersection(*pinned)
    return names


def any_term(terms: tuple[NodeSelectorTerm, ...], cluster: Cluster, nodes: NodeIds) -> Bools:
    """Terms are ORed; none at all matches nothing."""
    met = np.zeros(len(nodes), np.bool_)
    for term in terms:
        met |= matches_term(term, cluster, nodes)
    return met


def matches_term(term: NodeSelectorTerm, cluster: Cluster, nodes: NodeIds) -> Bools:
    """All expressions and fields of a term; an empty term matches nothing."""
    if not term.expressions and not term.fields:
        return np.zeros(len(nodes), np.bool_)
    met = np.ones(len(nodes), np.bool_)
    for requirement in term.expressions:
        met &= holds(requirement, cluster, nodes)
    for requirement in term.fields:
        names = [cluster.nodes.names[node] for node in nodes.tolist()]
        met &= [requirement.matches({"metadata.name": name}) for name in names]
    return met


def holds(requirement: Requirement, cluster: Cluster, nodes: NodeIds) -> Bools:
    """Whether the labels of each node meet one requirement."""
    column = cluster.nodes.label_column(requirement.key)
    ids = column[nodes]
    met = np.array(
        [requirement.matches({requirement.key: value}) for value in column.values]
        + [requirement.matches({})],
        np.bool_,
    )
    assert ABSENT == -1  # so that an absent key reads the last entry
    answer: Bools = met[ids]
    return answer
