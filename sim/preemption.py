"""Which pods go so that a more important one finds a node, where no node takes it as things are.

Follows pkg/scheduler/framework/preemption/preemption.go and
plugins/defaultpreemption/default_preemption.go (v1.34.1), with one worker: nodes are tried in order
from an offset until enough candidates are found. A pod's start is its binding, as its kubelet sets
`status.startTime` when it sees the pod.

Where only the sums of a node decide (NodeResourcesFit, and no filter that looks at pods elsewhere),
victims are found in plain integers and kept per node until its pods, the nominations to it or the
budgets of its pods change. Anything else goes through `Evaluation.dry_run`, with the same outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from sim.events import Kind
from sim.extend import SKIP, Code, Reads
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.recorder import Reason
from sim.tables import NEVER, Ints, Ints8
from sim.victims import (
    CLEAN,
    NONE,
    PRIORITY_SHIFT,
    RANKING,
    UNKNOWN,
    VIOLATING,
    Candidate,
    DryRoom,
    Fact,
    Kept,
    Lower,
    Reasons,
    SummedRoom,
)

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.evaluation import Evaluation
    from sim.extend import NodeIds, Whys
    from sim.plugins.default_preemption import DefaultPreemption
    from sim.templates import Template
    from sim.workloads import PodDisruptionBudget

__all__ = ["RANKING", "Candidate", "NoPreemption", "Preemption", "Preemptor"]

NEVER_PREEMPTS = "not eligible due to preemptionPolicy=Never."
VICTIMS_TERMINATE = "not eligible due to a terminating pod on the nominated node."
NO_NODES = "no nodes available"
NO_VICTIMS = ("No preemption victims found for incoming pod",)
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NOBODY = ("expected at least one victim pod",)

FEW = 16  # nodes tried at once beyond those that must be
MOST_SHAPES = 64  # pod shapes for which findings are kept
NODE_BITS = 32  # a nomination is written node << 32 | pod

Allowed = Callable[["PodDisruptionBudget"], int]


@dataclass(frozen=True, slots=True)
class Preemption:
    """The pod gets `node` when the victims are gone; `best` are the nodes that were as good.

    `unnominated` lose their nomination to the node, `potential` is the number of nodes where
    preemption might have helped, `wanted` how many candidates were enough.
    """

    node: int
    victims: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    best: tuple[int, ...]
    unnominated: tuple[int, ...]
    potential: int
    wanted: int


@dataclass(frozen=True, slots=True)
class NoPreemption:
    """Why nobody is preempted, as the event says it after `preemption: `.

    `clears_nomination`: the pod loses the nomination that it may have. `counts` are the reasons
    over the nodes.
    """

    why: str
    clears_nomination: bool
    counts: Mapping[str, int]


class Preemptor:
    """PostFilter of one profile. `allowed` says how many disruptions a budget allows now."""

    def __init__(self, cluster: Cluster, plugin: DefaultPreemption, allowed: Allowed) -> None:
        self._cluster = cluster
        self._plugin = plugin
        self._allowed = allowed
        self._budgets: tuple[PodDisruptionBudget, ...] = ()
        self._kept: dict[int, Kept] = {}  # by shape
        self._failures: dict[int, tuple[object, Mapping[int, int], NoPreemption]] = {}  # by shape
        self._priorities = NONE  # by template
        cluster.watch_updates(self._on_update)

    def preempt(
        self,
        pod: int,
        evaluation: Evaluation,
        codes: Ints8,
        nominated: Mapping[int, int],
        order: NodeIds,
        offset: Callable[[int], int],
        pick: Callable[[int], int],
    ) -> Preemption | NoPreemption:
        """Who goes, and from where, or why nobody does.

        `codes` says per node what the filters said (beside nominated pods), `nominated` pod -> node
        of all nominations, `order` lists the nodes in the scheduler's order. `offset(n)` and
        `pick(n)` draw from [0, n): where the search begins, and which of the best nodes it is.
        """
        ineligible = self._ineligible(pod, codes, nominated)
        if ineligible:
            return NoPreemption(ineligible, False, {})
        if not len(order):
            return NoPreemption(NO_NODES, False, {})
        kept = self._kept_for(pod, evaluation)
        moment = self._moment(evaluation)
        known = self._failures.get(kept.shape)
        if known and known[0] == moment and known[1] == nominated:
            return known[2]
        potential = order[codes[order] == Code.UNSCHEDULABLE]
        search = _Search(self, pod, evaluation, kept, nominated, potential)
        begin = offset(len(potential)) if len(potential) else 0
        turned = np.concatenate([potential[begin:], potential[:begin]])
        wanted = self._plugin.candidates_wanted(len(potential))
        candidates = search.candidates(turned, wanted)
        if not len(candidates):
            failure = _failure(kept, potential, len(order))
            if pod not in nominated:
                self._failures[kept.shape] = moment, dict(nominated), failure
            return failure
        best = kept.best(candidates)
        node = int(best[pick(len(best)) if len(best) > 1 else 0])
        listed = tuple(c for n in candidates.tolist() if isinstance(c := kept.found[n], Candidate))
        chosen = kept.found[node]
        assert isinstance(chosen, Candidate)
        return Preemption(
            node=node,
            victims=chosen.victims,
            candidates=listed,
            best=tuple(best.tolist()),
            unnominated=search.nominations.of_less_important(node),
            potential=len(potential),
            wanted=wanted,
        )

    def _ineligible(self, pod: int, codes: Ints8, nominated: Mapping[int, int]) -> str:
        """Why the pod may not preempt (PodEligibleToPreemptOthers); '' if it may."""
        spec = self._cluster.pod_template(pod).pod.spec
        if spec.preemption_policy == "Never":
            return NEVER_PREEMPTS
        node, nodes = nominated.get(pod), self._cluster.nodes
        if node is None or not nodes.exists[node] or codes[node] == Code.UNRESOLVABLE:
            return ""
        going = any(self._was_preempted(p, spec.priority) for p in nodes.pods[node])
        return VICTIMS_TERMINATE if going else ""

    def _was_preempted(self, victim: int, priority: int) -> bool:
        pods = self._cluster.pods
        return bool(
            pods.deleting_ms[victim] != NEVER
            and pods.reason[victim] == Reason.PREEMPTED
            and self._cluster.pod_template(victim).pod.spec.priority < priority
        )

    def _moment(self, evaluation: Evaluation) -> object:
        cluster = self._cluster
        stamps = len(cluster.pods_log), len(cluster.nodes_log), evaluation.changes
        return id(evaluation), *stamps

    # What is kept

    def _on_update(self, kind: Kind, before: object, after: object) -> None:
        """A pod that changes may be one that is nominated, of which no log tells."""
        if kind is Kind.POD:
            self._kept.clear()
            self._failures.clear()

    def _kept_for(self, pod: int, evaluation: Evaluation) -> Kept:
        """The findings for the pod's shape, without those that are out of date."""
        self._follow_budgets()
        template = self._cluster.pod_template(pod)
        kept, size = self._kept.get(template.shape), len(self._cluster.nodes)
        if kept is None or len(kept.state) < size:
            if len(self._kept) >= MOST_SHAPES:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._failures.pop(oldest, None)
            kept = self._kept[template.shape] = self._new(template, evaluation, size)
        return kept

    def _new(self, template: Template, evaluation: Evaluation, size: int) -> Kept:
        fit = _fit(evaluation)
        needs = fit.prefilter(template, self._cluster) if fit is not None else []
        return Kept(
            template.shape,
            template.pod.spec.priority,
            needs,
            np.full(size, UNKNOWN, np.int8),
            np.zeros((len(RANKING), size), np.int64),
            [None] * size,
        )

    def _follow_budgets(self) -> None:
        budgets = tuple(self._cluster.budgets.values())
        if budgets != self._budgets:
            self._budgets = budgets
            self._kept.clear()

    def update(self, kept: Kept) -> None:
        """Forget what is out of date of findings that rest on sums."""
        cluster = self._cluster
        if not kept.lasts:
            kept.forget_all()
            kept.lasts = True
        for nodes in (cluster.pods_log[kept.pods_seen :], cluster.nodes_log[kept.nodes_seen :]):
            kept.forget(nodes)
        kept.forget(kept.unstarted)
        kept.unstarted.clear()
        kept.pods_seen, kept.nodes_seen = len(cluster.pods_log), len(cluster.nodes_log)
        for budget, (allowed, protecting) in list(kept.by_budget.items()):
            if self._allowed(self._budgets[budget]) != allowed:
                kept.forget(list(protecting))
                del kept.by_budget[budget]

    # One node

    def fact(self, kept: Kept, template_id: int) -> Fact:
        """What matters of a template to pods of this shape."""
        fact = kept.facts.get(template_id)
        if fact is None:
            template = self._cluster.templates[template_id]
            requests = template.requests
            amounts = (int(requests[r]) if r < len(requests) else 0 for r, _ in kept.needs)
            fact = Fact(template.pod.spec.priority, tuple(amounts), self._protectors(template))
            kept.facts[template_id] = fact
        return fact

    def _protectors(self, template: Template) -> tuple[int, ...]:
        """The budgets that pick pods of the template; here empty selectors pick nothing."""
        if not template.pod.labels:
            return ()
        return tuple(
            place
            for place, budget in enumerate(self._budgets)
            if budget.selector is not None
            and budget.selector.requirements
            and budget.picks(template.pod)
        )

    def lower(self, kept: Kept, node: int) -> list[Lower]:
        """The pods on the node that are less important than the new one."""
        pods, found = self._cluster.pods, []
        template, bound_ms = pods.template.item, pods.bound_ms.item
        for place, pod in enumerate(self._cluster.nodes.pods[node]):
            fact = kept.facts.get(template(pod)) or self.fact(kept, template(pod))
            if fact.priority < kept.priority:
                start_ms = bound_ms(pod)
                if start_ms == NEVER:  # about to be bound: it starts now (GetPodStartTime)
                    start_ms = self._cluster.clock.now_ms
                    kept.unstarted.append(node)
                found.append(Lower(-fact.priority, start_ms, place, pod, fact))
        return found

    def split(self, kept: Kept, node: int, pods: list[Lower]) -> tuple[list[Lower], list[Lower]]:
        """Those whose eviction would break a budget, and the others (filterPodsWithPDBViolation).

        The pods come most important first, and each takes from what its budgets allow.
        """
        left: dict[int, int] = {}
        violating: list[Lower] = []
        others: list[Lower] = []
        for pod in pods:
            broken = False
            for budget in pod.fact.budgets:
                if budget not in left:
                    left[budget] = self._allowed_at(kept, node, budget)
                names = self._budgets[budget].disrupted_pods
                if names and self._cluster.pod_name(pod.pod) in names:
                    continue
                left[budget] -= 1
                broken |= left[budget] < 0
            (violating if broken else others).append(pod)
        return violating, others

    def _allowed_at(self, kept: Kept, node: int, budget: int) -> int:
        known = kept.by_budget.get(budget)
        if known is None:
            known = kept.by_budget[budget] = self._allowed(self._budgets[budget]), set()
        known[1].add(node)
        return known[0]

    def priorities(self) -> Ints:
        """The priority of every template."""
        templates, known = self._cluster.templates, len(self._priorities)
        if known < len(templates):
            more = [template.pod.spec.priority for template in templates[known:]]
            self._priorities = np.concatenate([self._priorities, np.array(more, np.int64)])
        return self._priorities


class _Nominations:
    """The nominations of other pods, split by whether they hold against the new pod."""

    def __init__(
        self, cluster: Cluster, pod: int, priority: int, priorities: Ints, every: Mapping[int, int]
    ) -> None:
        self._pods = self._nodes = self.keys = NONE
        self._less = np.empty(0, np.bool_)
        if not every:
            return
        self._pods = np.fromiter(every.keys(), np.int64, len(every))
        self._nodes = np.fromiter(every.values(), np.int64, len(every))
        self._less = priorities[cluster.pods.template[self._pods]] < priority
        holds = ~self._less & (self._pods != pod)
        self.keys = np.sort(self._nodes[holds] << NODE_BITS | self._pods[holds])

    def beside(self, node: int) -> list[int]:
        """The pods nominated to the node that hold against the new pod."""
        if not len(self.keys):
            return []
        first, end = np.searchsorted(self.keys, [node << NODE_BITS, (node + 1) << NODE_BITS])
        return [key & (1 << NODE_BITS) - 1 for key in self.keys[first:end].tolist()]

    def of_less_important(self, node: int) -> tuple[int, ...]:
        """The less important pods nominated to the node (getLowerPriorityNominatedPods)."""
        if not len(self._pods):
            return ()
        return tuple(self._pods[self._less & (self._nodes == node)].tolist())


class _Search:
    """The search for candidates for one pod at one moment (DryRunPreemption)."""

    def __init__(
        self,
        preemptor: Preemptor,
        pod: int,
        evaluation: Evaluation,
        kept: Kept,
        nominated: Mapping[int, int],
        potential: NodeIds,
    ) -> None:
        self._preemptor, self._evaluation, self._kept = preemptor, evaluation, kept
        self._cluster = evaluation.cluster
        self.nominations = _Nominations(
            self._cluster, pod, kept.priority, preemptor.priorities(), nominated
        )
        self._nobody_lower = bool((preemptor.priorities() >= kept.priority).all())
        self._fit = _fit(evaluation)
        self._by_sums = self._fit is not None and _only_sums_decide(evaluation, potential)
        if not self._by_sums:
            kept.forget_all()
            kept.lasts = False
        else:
            preemptor.update(kept)
            moved = np.setxor1d(self.nominations.keys, kept.nominations, assume_unique=True)
            kept.forget(moved >> NODE_BITS)
            kept.nominations = self.nominations.keys

    def candidates(self, nodes: NodeIds, wanted: int) -> NodeIds:
        """Nodes, in the order found, those first where no budget is broken.

        Where none is wanted (a small share of few nodes, and 0 at least), upstream looks at all of
        them and keeps none (newCandidateList).
        """
        state, place, found = self._kept.state, 0, 0
        while place < len(nodes):
            more = max(wanted - found, FEW, place if self._by_sums else 0)
            for node in self._kept.unknown(nodes[place : place + more]):
                self._kept.put(node, self._look(node))
            place += more
            states = state[nodes[:place]]
            clean = np.cumsum(states == CLEAN)
            every = clean + np.cumsum(states == VIOLATING)
            enough = (clean > 0) & (every >= wanted)
            if enough[-1] and wanted:
                nodes = nodes[: int(enough.argmax()) + 1]
                break
            found = int(every[-1])
        states = state[nodes]
        clean, violating = nodes[states == CLEAN], nodes[states == VIOLATING]
        return np.concatenate([clean[:wanted], violating[:wanted]])

    def _look(self, node: int) -> Candidate | Reasons:
        """Who must go from the node, or why that does not help (SelectVictimsOnNode)."""
        lower = [] if self._nobody_lower else self._preemptor.lower(self._kept, node)
        if not lower:
            return NO_VICTIMS
        beside = self.nominations.beside(node)
        summed = self._summed_room(node, lower, beside) if self._fit else None
        if self._fit and summed and self._by_sums:
            if why := summed.why():
                return self._fit.verdict(why, self._cluster).reasons
            return self._victims(node, lower, summed.keeps)
        with self._evaluation.dry_run(node) as supposed:
            dry = DryRoom(supposed, lower, beside, summed)
            return dry.refusal() or self._victims(node, lower, dry.keeps)

    def _summed_room(self, node: int, lower: list[Lower], beside: list[int]) -> SummedRoom:
        template, fact = self._cluster.pods.template.item, self._preemptor.fact
        facts = [fact(self._kept, template(pod)) for pod in beside]
        return SummedRoom(self._cluster, self._kept, node, lower, facts)

    def _victims(
        self, node: int, lower: list[Lower], keeps: Callable[[Lower], bool]
    ) -> Candidate | Reasons:
        """Reprieve as many as possible, those first whose eviction would break a budget."""
        lower.sort()
        violating, others = self._preemptor.split(self._kept, node, lower)
        broken = [pod for pod in violating if not keeps(pod)]
        victims = broken + [pod for pod in others if not keeps(pod)]
        if not victims:
            return NOBODY
        if broken:
            victims.sort()
        return Candidate(
            node,
            tuple(victim.pod for victim in victims),
            len(broken),
            -victims[0].less_important,
            sum(PRIORITY_SHIFT - victim.less_important for victim in victims),
            victims[0].start_ms,
        )


def _failure(kept: Kept, potential: NodeIds, nodes: int) -> NoPreemption:
    """No node helps: why, summed up as in the event of an unschedulable pod (FitError)."""
    found = [kept.found[node] for node in potential.tolist()]
    told = [reasons for reasons in found if isinstance(reasons, tuple)]
    counts = Counter(chain.from_iterable(told))
    if nodes > len(told):
        counts[NOT_HELPFUL] += nodes - len(told)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    return NoPreemption(f"0/{nodes} nodes are available: {listed}.", True, counts)


def _only_sums_decide(evaluation: Evaluation, potential: NodeIds) -> bool:
    """Whether NodeResourcesFit alone can change its mind about a node when pods leave it."""
    if evaluation.rejection is not None or not evaluation.stands_alone():
        return False
    return all(
        isinstance(row.plugin, NodeResourcesFit)
        or not (row.plugin.reads & Reads.PODS_ON_NODE or _refuses(row.whys, potential))
        for row in evaluation.filters
        if row.state is not SKIP
    )


def _refuses(whys: Whys, nodes: NodeIds) -> bool:
    return bool(whys.any() and whys[nodes].any())


def _fit(evaluation: Evaluation) -> NodeResourcesFit | None:
    plugins: Iterable[object] = evaluation.profile.filters
    return next((plugin for plugin in plugins if isinstance(plugin, NodeResourcesFit)), None)
