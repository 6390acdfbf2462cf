"""InterPodAffinity: near or far from pods that a term picks, and from pods whose terms pick this.

Follows pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring,plugin}.go (v1.34.1).
The numbers are kept by `sim.podaffinity`; here they become verdicts and scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Event, Kind, NodeFacts
from sim.extend import MAX_SCORE, SKIP, Code, NodeIds, Reads, Scores, Shortfall, Verdict, Whys
from sim.podaffinity import Key, Near, Side, Tally, Term, meets_all, terms_of
from sim.tables import Bools, Ints, Ints32

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import PodTemplate
    from sim.templates import Template

NAMED = 3  # pods that an explanation names
AFFINITY, ANTI_AFFINITY, EXISTING_ANTI_AFFINITY = 1, 2, 3
VERDICTS = {
    AFFINITY: Verdict(Code.UNRESOLVABLE, ("node(s) didn't match pod affinity rules",)),
    ANTI_AFFINITY: Verdict(Code.UNSCHEDULABLE, ("node(s) didn't match pod anti-affinity rules",)),
    EXISTING_ANTI_AFFINITY: Verdict(
        Code.UNSCHEDULABLE, ("node(s) didn't satisfy existing pods anti-affinity rules",)
    ),
}


@dataclass(frozen=True, slots=True)
class State:
    """The tallies that matter, and by how much a dry run supposes them to differ, by slot."""

    near: Near
    supposed: Mapping[tuple[Tally, int], int]

    def at(self, tally: Tally, nodes: NodeIds) -> Ints32:
        """The amount under the value of each node."""
        found = tally.at(nodes)
        for (moved, slot), amount in self.supposed.items():
            if moved is tally:
                found[tally.key.slot[nodes] == slot] += amount
        return found

    def nobody_meets_all(self) -> bool:
        """Whether no pod anywhere meets all required terms."""
        mine = self.near.required
        moved = sum(amount for (tally, _), amount in self.supposed.items() if tally in mine)
        return sum(tally.total for tally in dict.fromkeys(mine)) + moved == 0


@dataclass(frozen=True)
class InterPodAffinity:
    """`hard_weight` is what a required term of another pod that picks this one adds to a score."""

    hard_weight: int = 1
    ignore_preferred_of_others: bool = False  # for pods without preferred terms of their own

    name: ClassVar[str] = "InterPodAffinity"
    reads: ClassVar[Reads] = Reads.NODE | Reads.PODS_ON_NODE | Reads.PODS_ANYWHERE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.POD, Action.ADD | Action.POD_LABEL | Action.DELETE),
        (Kind.NODE, Action.ADD | Action.NODE_LABEL),
    )

    # Filter

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The tallies; SKIP without required terms while no pod has anti-affinity to this one."""
        near = cluster.affinity_counts.of(pod)
        if near.required or near.anti_required or _somewhere(near.towards[Side.ANTI_REQUIRED]):
            return State(near, {})
        return SKIP

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """The first of the three rules that is broken: affinity, anti-affinity, that of others."""
        near: Near = state.near
        whys = np.zeros(len(nodes), np.int32)
        for tally in near.towards[Side.ANTI_REQUIRED]:
            whys[state.at(tally, nodes) > 0] = EXISTING_ANTI_AFFINITY
        for tally in near.anti_required:
            whys[state.at(tally, nodes) > 0] = ANTI_AFFINITY
        if near.required:
            whys[~_near_required(state, nodes)] = AFFINITY
        return whys

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Anti-affinity can be helped by removing pods, affinity cannot."""
        return VERDICTS[why]

    def assume(
        self, state: State, pod: Template, cluster: Cluster, other: int, node: int, sign: int
    ) -> State:
        """As upstream's AddPod and RemovePod: all three counts follow the pod."""
        template = int(cluster.pods.template[other])
        near, supposed = cluster.affinity_counts.of(pod), dict(state.supposed)
        asked = (*near.required, *near.anti_required, *near.towards[Side.ANTI_REQUIRED])
        for tally in dict.fromkeys(asked):
            amount, slot = tally.amounts.get(template, 0), int(tally.key.slot[node])
            if amount and slot:
                supposed[tally, slot] = supposed.get((tally, slot), 0) + sign * amount
        return State(near, supposed)

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The terms that are in the way, with pods that they mean."""
        near, asked, parts, told = state.near, np.array([node]), [], set()
        for term, tally in zip(near.terms.anti_required, near.anti_required, strict=True):
            if state.at(tally, asked)[0] > 0:
                where, who = _under(term, cluster, node), _some(tally, cluster, node)
                told.add((where, who))
                parts.append(
                    f"{where} has {who}, which its anti-affinity to {term.selector} avoids"
                )
        for tally in near.towards[Side.ANTI_REQUIRED]:
            if state.at(tally, asked)[0] > 0:
                where, who = _under(tally.terms[0], cluster, node), _some(tally, cluster, node)
                if (where, who) not in told:  # the same pods keep each other away
                    parts.append(f"{where} has {who}, with anti-affinity to such pods")
        if near.required and not _near_required(state, asked)[0]:
            for term, tally in zip(near.terms.required, near.required, strict=True):
                if term.key not in cluster.nodes.labels[node]:
                    parts.append(f"has no label {term.key}, which its affinity needs")
                elif state.at(tally, asked)[0] <= 0:
                    parts.append(f"{_under(term, cluster, node)} has no pod of {term.selector}")
        return Shortfall("; ".join(parts), len(parts))

    # Both

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether the pod has terms, or some known template has one that speaks of it."""
        return bool(pod.pod.spec.pod_affinity or cluster.affinity_counts.spoken_of(pod))

    def stamp(self, pod: Template, cluster: Cluster) -> int:
        """Moves when a pod does that the pod's terms pick, or whose terms pick the pod."""
        return cluster.affinity_counts.of(pod).version()

    # Score

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """Per topology key the sums by value; SKIP when no term of either side finds a pod."""
        near = cluster.affinity_counts.of(pod)
        if not len(nodes) or (self.ignore_preferred_of_others and not near.preferred):
            return SKIP
        sums: dict[Key, Ints] = {}
        for tally, weight in self._weighted(near):
            if weight and tally.total:
                amounts = tally.by_slot()[: tally.key.slots] * np.int64(weight)
                known = sums.get(tally.key)
                sums[tally.key] = amounts if known is None else known + amounts
        return sums or SKIP

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """Sum over the keys of what lies under the node's value."""
        total = np.zeros(len(nodes), np.int64)
        for key, sums in state.items():
            total += sums.take(key.slot.take(nodes))
        return total

    def normalize(self, scores: Scores) -> Scores:
        """From 0 for the least to 100 for the greatest; 0 everywhere when they are equal."""
        if not len(scores) or (least := int(scores.min())) == (most := int(scores.max())):
            return np.zeros(len(scores), np.int64)
        return (MAX_SCORE * ((scores - least) / (most - least))).astype(np.int64)

    def _weighted(self, near: Near) -> Iterator[tuple[Tally, int]]:
        """Tallies with what one in them is worth; preferred terms of others carry their weight."""
        yield from near.preferred
        for side, weight in (
            (Side.REQUIRED, self.hard_weight),
            (Side.PREFERRED, 1),
            (Side.ANTI_PREFERRED, -1),
        ):
            yield from ((tally, weight) for tally in near.towards[side])

    # Queueing hints

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Whether what the pod itself requires has moved; terms of other pods are not looked at."""
        terms = terms_of(pod)
        if event.kind is Kind.NODE:
            return any(
                _may_help(term.key, event.before, event.after) for term in terms.required
            ) or any(
                _may_clear(term.key, event.before, event.after) for term in terms.anti_required
            )
        facts = [facts for facts in (event.before, event.after) if facts is not None]
        if any(facts.node < 0 for facts in facts):
            return False
        before = event.before and event.before.template.pod
        after = event.after and event.after.template.pod
        came = _meets(after, terms.required) and not _meets(before, terms.required)
        return came or (
            _meets(before, terms.anti_required) and not _meets(after, terms.anti_required)
        )


def _somewhere(tallies: list[Tally]) -> bool:
    return any(tally.total for tally in tallies)


def _near_required(state: State, nodes: NodeIds) -> Bools:
    """Which nodes have, for each required term, a pod that meets them all.

    The first pod of a group that wants its own kind may go to any node with the keys.
    """
    near = state.near
    first = near.meets_itself and state.nobody_meets_all()
    met = np.ones(len(nodes), np.bool_)
    for tally in near.required:
        met &= tally.key.slot.take(nodes) > 0 if first else state.at(tally, nodes) > 0
    return met


def _under(term: Term, cluster: Cluster, node: int) -> str:
    return f"{term.key}={cluster.nodes.labels[node][term.key]}"


def _some(tally: Tally, cluster: Cluster, node: int) -> str:
    """The first pods that the tally counts under the value of the node."""
    nodes = np.flatnonzero(tally.key.slot == tally.key.slot[node]).tolist()
    pods = (pod for other in nodes for pod in cluster.nodes.pods[other])
    counted = (pod for pod in pods if tally.amounts.get(int(cluster.pods.template[pod])))
    named = [cluster.pod_key(pod) for pod in islice(counted, NAMED + 1)]
    return ", ".join([*named[:NAMED], "others"] if len(named) > NAMED else named)


def _meets(pod: PodTemplate | None, terms: tuple[Term, ...]) -> bool:
    """The hints know no labels of namespaces."""
    return pod is not None and meets_all(pod, terms, {})


def _may_help(key: str, before: NodeFacts | None, after: NodeFacts) -> bool:
    """Whether the node has come to lie under a value of a key that affinity asks for."""
    value = after.labels.get(key)
    return value is not None and (before is None or before.labels.get(key) != value)


def _may_clear(key: str, before: NodeFacts | None, after: NodeFacts) -> bool:
    """Whether the node is new, or no longer lies under the value that anti-affinity looked at."""
    if before is None:
        return True
    value = before.labels.get(key)
    return value is not None and after.labels.get(key) != value
