"""PodTopologySpread: spread the pods a selector picks evenly over zones, nodes, racks.

Follows pkg/scheduler/framework/plugins/podtopologyspread/{filtering,scoring,common,plugin}.go and
plugins/helper/spread.go (v1.34.1). A pod without constraints of its own gets those of the profile,
over the pods of its Services and of its ReplicaSet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sim.events import Action as EventAction
from sim.events import Event, Kind, NodeFacts, PodFacts
from sim.extend import MAX_SCORE, SKIP, Code, NodeIds, Reads, Scores, Shortfall, Verdict, Whys
from sim.labels import Labels, Requirement, Selector
from sim.plugins.node_affinity import meets_own_rules
from sim.plugins.taint_toleration import taint_places
from sim.podcounts import Tally
from sim.podspec import SpreadConstraint
from sim.tables import ABSENT, UNBOUND, Bools, Floats, Ints, Ints32

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podcounts import Counts
    from sim.podspec import PodTemplate
    from sim.templates import Template

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
SYSTEM_DEFAULTS = (
    SpreadConstraint(HOSTNAME, 3, "ScheduleAnyway", None),
    SpreadConstraint(ZONE, 5, "ScheduleAnyway", None),
)
TOO_SKEWED, NO_KEY = 1, 2
WRONG = "node(s) didn't match pod topology spread constraints"
VERDICTS = {
    TOO_SKEWED: Verdict(Code.UNSCHEDULABLE, (WRONG,)),
    NO_KEY: Verdict(Code.UNRESOLVABLE, (f"{WRONG} (missing required label)",)),
}
NO_SECOND = 2**31 - 1  # MaxInt32: there is one value only
IGNORED = -1  # the raw score of a node that lacks a key; others are >= 0
Action = Literal["DoNotSchedule", "ScheduleAnyway"]


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """A constraint with what it means for every node, as long as no node changes.

    `slot` is 0 where the node lacks the key, else 1 + the id of its value. A node is `counted` when
    the policies let its pods count. `pods` is None for the empty selector, which counts nothing.
    """

    rule: SpreadConstraint
    slot: Ints32
    empty_slot: int  # of the value "", 0 when no node has it
    slots: int
    counted: Bools
    pods: Counts | None
    picks_itself: bool
    selector: Selector | None

    def per_node(self) -> Ints32:
        """How many pods the selector picks on each node."""
        if self.pods is None:
            return np.zeros(len(self.slot), np.int32)
        return self.pods.per_node[: len(self.slot)]

    def tally(self, slot: Ints32, among: Bools) -> Tally | None:
        """How many pods it picks under each value, over the counted nodes `among`; None: nowhere
        any."""
        among = among & self.counted
        return None if self.pods is None else Tally(self.pods, slot, self.slots, among)


@dataclass(frozen=True, slots=True, eq=False)
class Skew:
    """A hard constraint at one moment: how many pods there are under each value.

    A dry run moves pods of one node only, so of one value: `moved` by `delta`. The fewest pods of
    all values follow from the two lowest counts, which upstream keeps as its critical paths.
    """

    constraint: Constraint
    among: Bools  # the nodes whose pods count
    totals: Ints
    known: Bools
    by_slot: Whys  # as long as nothing has moved
    lowest: tuple[int, int, int]  # a value with the fewest pods, how many, and the second fewest
    moved: int = 0
    delta: int = 0

    def whys(self, nodes: NodeIds) -> Whys:
        """Per node whether a further pod would skew the spread too much."""
        slots = self.constraint.slot[nodes]
        if self.delta == 0:
            return self.by_slot[slots]
        totals = self.totals[slots] + self.delta * (slots == self.moved)
        return whys_of(self.constraint, slots, totals, self.least())

    def least(self) -> int:
        """How many pods there are under the value with the fewest."""
        if not enough_domains(self.constraint, self.known):
            return 0
        fewest, least, second = self.lowest
        others = second if fewest == self.moved else least
        return min(int(self.totals[self.moved]) + self.delta, others)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The constraints of one kind of a pod, and the nodes that carry all their keys.

    Per constraint: the slots as they are summed, the sums, and which values some counted node has.
    """

    plugin: PodTopologySpread
    stamp: tuple[int, int]
    constraints: tuple[Constraint, ...]
    has_keys: Bools
    ranked: Bools  # the nodes whose pods count for scores
    slots: tuple[Ints32, ...]
    tallies: tuple[Tally | None, ...]
    known: tuple[Bools, ...]

    def sums(self, place: int) -> Ints:
        """How many pods there are under each value of a constraint's key."""
        tally = self.tallies[place]
        return np.zeros(self.constraints[place].slots, np.int64) if tally is None else tally.sums()


@dataclass(frozen=True)
class PodTopologySpread:
    """`defaults` are for pods without constraints; those of the system are laxer about labels."""

    defaults: tuple[SpreadConstraint, ...] = SYSTEM_DEFAULTS
    system_defaulted: bool = True

    name: ClassVar[str] = "PodTopologySpread"
    reads: ClassVar[Reads] = (
        Reads.NODE | Reads.PODS_ON_NODE | Reads.PODS_ANYWHERE | Reads.FEASIBLE_SET
    )
    listens: ClassVar[tuple[tuple[Kind, EventAction], ...]] = (
        (
            Kind.POD,
            EventAction.ADD
            | EventAction.DELETE
            | EventAction.POD_LABEL
            | EventAction.POD_TOLERATION,
        ),
        (
            Kind.NODE,
            EventAction.ADD | EventAction.DELETE | EventAction.NODE_LABEL | EventAction.NODE_TAINT,
        ),
    )

    # Filter

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The skew of each hard constraint, computed from the counts of all nodes."""
        resolved = self._resolved(pod, cluster, "DoNotSchedule")
        if not resolved.constraints:
            return SKIP
        return [skew_of(resolved, place) for place in range(len(resolved.constraints))]

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """What the first constraint that is not met says."""
        whys = np.zeros(len(nodes), np.int32)
        for skew in reversed(state):
            answer = skew.whys(nodes)
            whys = np.where(answer != 0, answer, whys)
        return whys

    def moved(self, before: Any, after: Any) -> NodeIds | None:
        """The nodes under values that a further pod now skews, or no longer does."""
        moved = np.zeros(len(after[0].constraint.slot), np.bool_)
        for old, new in zip(before, after, strict=True):
            if old.constraint is not new.constraint:
                return None
            slots = old.by_slot != new.by_slot
            if slots.any():
                moved |= slots[new.constraint.slot]
        return np.flatnonzero(moved)

    def assume(
        self, state: Any, pod: Template, cluster: Cluster, other: int, node: int, sign: int
    ) -> Any:
        """The skews with one pod more or less (updateWithPod); it counts even while it is being
        deleted, and for an empty selector too, unlike when the pods were counted."""
        template = cluster.pod_template(other).pod
        if template.namespace != pod.pod.namespace:
            return state
        return [_moved(skew, template, node, sign) for skew in state]

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Skew can be helped by removing pods, a missing label cannot."""
        return VERDICTS[why]

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The constraints that are not met, each with its counts."""
        wrong = [skew for skew in state if skew.whys(np.array([node]))[0]]
        labels = cluster.nodes.labels[node]
        parts = [_over(skew, cluster, labels, node) for skew in wrong]
        return Shortfall("; ".join(text for text, _ in parts), sum(share for _, share in parts))

    # Both

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether the pod has constraints, its own or by default."""
        return any(self._rules(pod, cluster))

    def concerns_scores(self, pod: Template, cluster: Cluster) -> bool:
        """Whether one of them is soft."""
        return bool(self._resolved(pod, cluster, "ScheduleAnyway").constraints)

    def stamp(self, pod: Template, cluster: Cluster) -> Any:
        """Moves when one of the counted pods does."""
        soft = self._resolved(pod, cluster, "ScheduleAnyway").constraints
        hard = self._resolved(pod, cluster, "DoNotSchedule").constraints
        return tuple(len(c.pods.log) if c.pods else 0 for c in (*hard, *soft))

    # Score

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """Per soft constraint: slots, counts, weight; and which nodes are ignored."""
        resolved = self._resolved(pod, cluster, "ScheduleAnyway")
        if not resolved.constraints or not len(nodes):
            return SKIP
        ranked = resolved.ranked
        kept = nodes[ranked[nodes]]
        terms = [_term(resolved, place, kept) for place in range(len(resolved.constraints))]
        return ranked, terms

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """Sum of count * weight + maxSkew - 1, rounded half away from zero; fewer is better."""
        ranked, terms = state
        total = np.zeros(len(nodes))
        for constraint, counts, weight in terms:
            slot = constraint.slot[nodes]
            count = counts[nodes] if constraint.rule.topology_key == HOSTNAME else counts[slot]
            share = count * weight + float(constraint.rule.max_skew - 1)
            total += np.where(slot > 0, share, 0.0)
        return np.where(ranked[nodes], round_half_away(total), IGNORED)

    def normalize(self, scores: Scores) -> Scores:
        """100 * (max + min - s) / max; 100 everywhere when max is 0, 0 where ignored."""
        ranked = scores != IGNORED
        most = int(scores.max(initial=0, where=ranked))
        if most == 0:
            return np.where(ranked, MAX_SCORE, 0).astype(np.int64)
        least = int(scores.min(initial=most, where=ranked))
        return np.where(ranked, MAX_SCORE * (most + least - scores) // most, 0)

    # Queueing hint

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Whether the counts, or the nodes that count, may have changed for a hard constraint."""
        rules = [
            (rule, selector)
            for rule, selector in self._rules(pod, cluster)
            if rule.when_unsatisfiable == "DoNotSchedule"
        ]
        if event.kind is Kind.NODE:
            keys = [rule.topology_key for rule, _ in rules]
            return _moves_domains(keys, event.before, event.after)
        if not own and not all(_counts_beside(pod, p) for p in _given(event)):
            return False
        selectors = [selector for _, selector in rules if selector is not None]
        if event.before is None or event.after is None:
            (other,) = _given(event)
            return any(selector.matches(other.template.pod.labels) for selector in selectors)
        old, new = event.before.template.pod, event.after.template.pod
        tolerates_anew = own and old.spec.tolerations != new.spec.tolerations
        if tolerates_anew and any(rule.node_taints_policy == "Honor" for rule, _ in rules):
            return True
        return any(s.matches(old.labels) != s.matches(new.labels) for s in selectors)

    # Constraints

    def _needs_keys(self, pod: Template) -> bool:
        return bool(pod.pod.spec.spread) or not self.system_defaulted

    def _resolved(self, pod: Template, cluster: Cluster, action: Action) -> Resolved:
        """The pod's constraints with this action; kept until a node or a Service changes."""
        stamp = (len(cluster.nodes_log), cluster.services.version)
        known: Resolved | None = pod.memo.get(action)
        if known is None or known.stamp != stamp or known.plugin is not self:
            known = pod.memo[action] = self._resolve(pod, cluster, action, stamp)
        return known

    def _resolve(
        self, pod: Template, cluster: Cluster, action: Action, stamp: tuple[int, int]
    ) -> Resolved:
        rules = [(r, s) for r, s in self._rules(pod, cluster) if r.when_unsatisfiable == action]
        every = cluster.nodes.exists[: len(cluster.nodes)].copy()
        has_keys = every.copy()
        for rule, _ in rules:
            has_keys &= cluster.nodes.label_column(rule.topology_key)[: len(every)] != ABSENT
        constraints = tuple(_constraint(pod, cluster, r, s, every) for r, s in rules)
        hard = action == "DoNotSchedule"
        ranked = has_keys if hard or self._needs_keys(pod) else every
        slots = tuple(c.slot if hard else _with_empty(c) for c in constraints)
        return Resolved(
            plugin=self,
            stamp=stamp,
            constraints=constraints,
            has_keys=has_keys,
            ranked=ranked,
            slots=slots,
            tallies=tuple(c.tally(s, ranked) for c, s in zip(constraints, slots, strict=True)),
            known=tuple(_known(c, ranked) for c in constraints),
        )

    def _rules(
        self, pod: Template, cluster: Cluster
    ) -> Iterator[tuple[SpreadConstraint, Selector | None]]:
        """Own constraints, else the defaults if something selects the pod."""
        if pod.pod.spec.spread:
            for rule in pod.pod.spec.spread:
                yield rule, with_label_keys(rule, pod.pod)
        elif self.defaults:
            selector = default_selector(pod, cluster)
            if selector.requirements:
                for rule in self.defaults:
                    yield rule, selector


def _over(skew: Skew, cluster: Cluster, labels: Labels, node: int) -> tuple[str, float]:
    """What one constraint says of a node with these labels, and how far off it is."""
    constraint, key = skew.constraint, skew.constraint.rule.topology_key
    value = labels.get(key)
    if value is None:
        return f"has no label {key}, which a spread constraint needs", 1.0
    slot = constraint.slot[node]
    there = int(skew.totals[slot]) + (skew.delta if slot == skew.moved else 0)
    least, most = skew.least(), constraint.rule.max_skew
    over = there + int(constraint.picks_itself) - least - most
    pods = "1 pod" if there == 1 else f"{there} pods"
    emptiest = "domains that are missing"
    if enough_domains(constraint, skew.known):
        emptiest = f"{key}={cluster.nodes.label_column(key).values[skew.lowest[0] - 1]}"
    counts = f"{pods} of {constraint.selector} in {key}={value}, {least} in {emptiest}"
    return f"would be {over} over maxSkew {most}: {counts}", over / max(there, 1)


def _given(event: Event) -> list[PodFacts]:
    """The pod of an event, before and after."""
    return [facts for facts in (event.before, event.after) if facts is not None]


def _counts_beside(pod: Template, other: PodFacts) -> bool:
    """Whether another pod can count for this one: it has a node, and is of its namespace."""
    return other.node != UNBOUND and other.template.pod.namespace == pod.pod.namespace


def _moves_domains(keys: Sequence[str], before: NodeFacts | None, after: NodeFacts | None) -> bool:
    """Whether a change of a node adds or takes a value of the keys, or a node that counts."""
    had = before is not None and all(key in before.labels for key in keys)
    has = after is not None and all(key in after.labels for key in keys)
    if before is None or after is None or had != has:
        return had or has
    moved = any(before.labels.get(key) != after.labels.get(key) for key in keys)
    return has and (moved or before.taints != after.taints)


def with_label_keys(rule: SpreadConstraint, pod: PodTemplate) -> Selector | None:
    """The constraint's selector, narrowed to the pod's own values of `matchLabelKeys`."""
    if rule.selector is None:
        return None
    extra = [
        Requirement(k, "In", (pod.labels[k],)) for k in rule.match_label_keys if k in pod.labels
    ]
    return replace(rule.selector, requirements=(*rule.selector.requirements, *extra))


def default_selector(pod: Template, cluster: Cluster) -> Selector:
    """All requirements of the Services that pick the pod and of its ReplicaSet; kept until a
    Service changes, as each of them has to be asked."""
    version = cluster.services.version
    known: tuple[int, Selector] | None = pod.memo.get("default selector")
    if known is None or known[0] != version:
        known = pod.memo["default selector"] = version, _default_selector(pod, cluster)
    return known[1]


def _default_selector(pod: Template, cluster: Cluster) -> Selector:
    found: dict[Requirement, None] = {}
    for key in sorted(key for key, s in cluster.services.items() if s.picks(pod.pod)):
        selector = cluster.services[key].selector
        if selector is not None:
            found.update(dict.fromkeys(selector.requirements))
    if pod.owner_selector is not None:
        found.update(dict.fromkeys(pod.owner_selector.requirements))
    return Selector(tuple(found))


def skew_of(resolved: Resolved, place: int) -> Skew:
    """The counts by value, and per slot whether a further pod would skew the spread too much."""
    constraint, known = resolved.constraints[place], resolved.known[place]
    among = resolved.has_keys & constraint.counted
    totals = resolved.sums(place).copy()
    lowest = _lowest(totals, known)
    least = lowest[1] if enough_domains(constraint, known) else 0
    by_slot = whys_of(constraint, np.arange(constraint.slots), totals, least)
    return Skew(constraint, among, totals, known, by_slot, lowest)


def enough_domains(constraint: Constraint, known: Bools) -> bool:
    """Whether there are `minDomains` values; else the fewest pods count as 0."""
    return int(known.sum()) >= (constraint.rule.min_domains or 1)


def whys_of(constraint: Constraint, slots: Any, totals: Ints, least: int) -> Whys:
    """What is wrong with the values `slots`, which have so many pods."""
    skew = totals + int(constraint.picks_itself) - least
    whys = np.where(skew > constraint.rule.max_skew, TOO_SKEWED, 0).astype(np.int32)
    return np.where(slots == 0, np.int32(NO_KEY), whys)


def _lowest(totals: Ints, known: Bools) -> tuple[int, int, int]:
    slots = np.flatnonzero(known)
    if not len(slots):
        return 0, 0, 0
    counts = totals[slots]
    place = int(counts.argmin())
    others = np.delete(counts, place)
    second = int(others.min()) if len(others) else NO_SECOND
    return int(slots[place]), int(counts[place]), second


def _moved(skew: Skew, template: PodTemplate, node: int, sign: int) -> Skew:
    constraint = skew.constraint
    picks = constraint.selector is not None and constraint.selector.matches(template.labels)
    if not picks or not skew.among[node]:
        return skew
    return replace(skew, moved=int(constraint.slot[node]), delta=skew.delta + sign)


def _known(constraint: Constraint, ranked: Bools) -> Bools:
    """Which values the counted nodes have."""
    among = constraint.slot[ranked & constraint.counted]
    return np.bincount(among, minlength=constraint.slots) > 0


def _with_empty(constraint: Constraint) -> Ints32:
    """The slots as scores see them: a node without the key has the value "", as in Go, where a
    missing label reads as "" when values are collected."""
    slot = constraint.slot
    if not constraint.empty_slot:
        return slot
    return np.where(slot == 0, np.int32(constraint.empty_slot), slot)


def _term(resolved: Resolved, place: int, kept: NodeIds) -> tuple[Constraint, Any, float]:
    """The constraint, its counts (per node for the host name, else per slot) and its weight."""
    constraint = resolved.constraints[place]
    if constraint.rule.topology_key == HOSTNAME:
        return constraint, constraint.per_node(), _weight(len(kept))
    values = np.bincount(resolved.slots[place][kept], minlength=constraint.slots)
    return constraint, resolved.sums(place), _weight(int(np.count_nonzero(values)))


def _weight(size: int) -> float:
    """topologyNormalizingWeight: many values must not drown few."""
    return math.log(size + 2)


def _constraint(
    pod: Template,
    cluster: Cluster,
    rule: SpreadConstraint,
    selector: Selector | None,
    every: Bools,
) -> Constraint:
    column = cluster.nodes.label_column(rule.topology_key)
    nodes = np.arange(len(every))
    counted = every.copy()
    if rule.node_affinity_policy == "Honor":
        counted &= meets_own_rules(pod, cluster, nodes)
    if rule.node_taints_policy == "Honor":
        counted &= taint_places(pod, cluster, nodes) == 0
    empty = selector is None or not selector.requirements
    return Constraint(
        rule=rule,
        slot=column[: len(every)] - np.int32(ABSENT),
        empty_slot=column.id_of("") - ABSENT,
        slots=len(column.values) + 1,
        counted=counted,
        pods=None
        if empty or selector is None
        else cluster.pod_counts.of(pod.pod.namespace, selector),
        picks_itself=selector is not None and selector.matches(pod.pod.labels),
        selector=selector,
    )


def round_half_away(values: Floats) -> Scores:
    """Go's math.Round for values >= 0."""
    whole = np.trunc(values)
    return (whole + (values - whole >= 0.5)).astype(np.int64)
