"""Why a pod is where it is, or what keeps it from being anywhere: one decision, taken apart.

Every node is asked by all filters, not only by the first that refuses it, and every score is shown
in its parts. `sim.replay` finds the decision in question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sim.evaluation import normalized
from sim.extend import SKIP, Code, Explains, OnlyNodes, Rejection, Shortfall
from sim.plugins.volume_binding import bindings
from sim.preemption import RANKING, Candidate, NoPreemption, Preemption
from sim.queue import Place
from sim.scheduler import NO_NODES_AVAILABLE, Attempt, Bind, Scheduler, refusal_message
from sim.tables import UNBOUND

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.evaluation import Evaluation
    from sim.extend import FilterPlugin, NodeIds, Refusal, Whys
    from sim.search import Answer
    from sim.templates import Template

NodeVerdict = Literal["fits", "unschedulable", "unresolvable", "left out", "not looked at"]
Format = Literal["text", "md", "json"]

VERDICTS: dict[Code, NodeVerdict] = {
    Code.FITS: "fits",
    Code.UNSCHEDULABLE: "unschedulable",
    Code.UNRESOLVABLE: "unresolvable",
}
CRITERIA = (  # of sim.preemption.RANKING, in words
    "breaks the fewest disruption budgets",
    "its most important victim matters the least",
    "its victims have the smallest sum of priorities",
    "it has the fewest victims",
    "its most important victims started last",
)


@dataclass(frozen=True, slots=True)
class Refused:
    """One filter's no, and what would have to change for a yes."""

    plugin: str
    verdict: NodeVerdict
    reasons: tuple[str, ...]
    change: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One plugin's score of a node; it adds `weight` times `normalized` to the total."""

    plugin: str
    raw: int
    normalized: int
    weight: int

    @property
    def weighted(self) -> int:
        """What counts."""
        return self.weight * self.normalized


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What one node says; `refusals` are those of all filters, the first one decides.

    `share` is how much is missing, as a part of what the node has, summed over the refusals.
    """

    node: str
    verdict: NodeVerdict
    refusals: tuple[Refused, ...] = ()
    share: float = 0.0
    scores: tuple[Scored, ...] = ()
    total: int | None = None

    @property
    def change(self) -> str:
        """All that would have to change for the node to take the pod."""
        return "; ".join(refusal.change for refusal in self.refusals)


@dataclass(frozen=True, slots=True)
class Looked:
    """How far the search went: from `start` in the node order, until `wanted` nodes were found."""

    nodes: int
    examined: int
    wanted: int
    start: int
    alone: bool  # only the node that the pod is nominated to was asked


@dataclass(frozen=True, slots=True)
class Choice:
    """Why the node won: `tied` shared its score, `lead` is per plugin what it has on the next."""

    score: int
    tied: tuple[str, ...]
    tie_break: str
    runner_up: str
    lead: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Eviction:
    """The node that preemption frees, who has to go (with priorities), and why that node."""

    node: str
    victims: tuple[tuple[str, int], ...]
    candidates: int
    because: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One attempt to place the pod, in short."""

    at_ms: int
    placed: bool
    evicted: tuple[str, ...]  # pods that went for it
    evicted_from: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision about one pod. `asked_afresh`: nobody tried the pod then, this is what would be.

    `nodes` begin with the chosen one; those that take the pod come first, the best one ahead, then
    those that refuse it, the one that needs the smallest change ahead.
    """

    pod: str
    at_ms: int
    created_ms: int
    profile: str
    attempts: int
    asked_afresh: bool
    node: str  # "" when none takes the pod
    message: str  # what the event of a failed attempt says, "" for a success
    nodes: tuple[NodeAnswer, ...]
    looked: Looked
    choice: Choice | None = None
    eviction: Eviction | None = None
    volumes: tuple[str, ...] = ()
    before: tuple[Turn, ...] = ()  # earlier attempts
    gates: tuple[str, ...] = ()  # what keeps the pod out of the queue, so that it is not tried

    @property
    def feasible(self) -> tuple[NodeAnswer, ...]:
        """The nodes that take the pod."""
        return tuple(node for node in self.nodes if node.verdict == "fits")

    @property
    def closest(self) -> NodeAnswer | None:
        """Of the nodes that refuse the pod the one that needs the smallest change."""
        return next((node for node in self.nodes if node.refusals), None)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, times in seconds, for JSON."""
        values = asdict(self)
        values["at_s"] = values.pop("at_ms") / 1000
        values["created_s"] = values.pop("created_ms") / 1000
        for turn in values["before"]:
            turn["at_s"] = turn.pop("at_ms") / 1000
        closest = self.closest
        nearest = None if closest is None else {"node": closest.node, "change": closest.change}
        for answer, node in zip(values["nodes"], self.nodes, strict=True):
            answer["change"] = node.change
            for score, scored in zip(answer["scores"], node.scores, strict=True):
                score["weighted"] = scored.weighted
        return {"pod": values.pop("pod"), "closest": nearest, **values}

    def report(self, format: Format = "text", *, all_nodes: bool = False) -> str:
        """For people, with the most interesting nodes unless `all_nodes`; 'json' has all."""
        from sim.report import explanation

        return explanation.render(self, format, all_nodes=all_nodes)

    def __str__(self) -> str:
        return self.report()


# One decision


def explain_attempt(scheduler: Scheduler, attempt: Attempt) -> Explanation:
    """Take an attempt apart; to be called before anything comes of it (`on_attempt`)."""
    entry, outcome = attempt.entry, attempt.outcome
    answer = outcome.answer or scheduler.ask(entry.pod, entry.template)
    node = outcome.node if isinstance(outcome, Bind) else UNBOUND
    return _explanation(
        scheduler, entry.pod, answer, node, attempt.helped, attempts=entry.attempts, afresh=False
    )


def explain_now(scheduler: Scheduler, pod: int, attempts: int = 0) -> Explanation:
    """What would come of it if a pod that waits were tried now."""
    answer = scheduler.ask(pod, scheduler.cluster.pod_template(pod))
    node, helped = UNBOUND, None
    if len(answer.kept):
        node = int(answer.kept[answer.totals.argmax()])
    elif (entry := scheduler.queue.entries.get(pod)) is not None and len(scheduler.order.ids()):
        helped = scheduler.look_for_victims(entry, answer)
    found = _explanation(scheduler, pod, answer, node, helped, attempts=attempts, afresh=True)
    return replace(found, gates=_gates(scheduler, pod))


def _gates(scheduler: Scheduler, pod: int) -> tuple[str, ...]:
    """The gates of a pod that is kept out of the queue."""
    entry = scheduler.queue.entries.get(pod)
    if entry is None or entry.place != Place.GATED:
        return ()
    return entry.template.pod.spec.scheduling_gates or ("a plugin",)


def _explanation(
    scheduler: Scheduler,
    pod: int,
    answer: Answer,
    node: int,
    helped: Preemption | NoPreemption | None,
    *,
    attempts: int,
    afresh: bool,
) -> Explanation:
    cluster, template = scheduler.cluster, answer.evaluation.pod
    order = scheduler.order.ids()
    nodes = _answers(scheduler, pod, answer, order, node)
    return Explanation(
        pod=cluster.pod_key(pod),
        at_ms=cluster.clock.now_ms,
        created_ms=int(cluster.pods.created_ms[pod]),
        profile=template.pod.spec.scheduler_name,
        attempts=attempts,
        asked_afresh=afresh,
        node="" if node == UNBOUND else cluster.nodes.names[node],
        message="" if node != UNBOUND else _message(answer, len(order), helped),
        nodes=nodes,
        looked=Looked(len(order), answer.examined, answer.to_find, answer.start, answer.alone),
        choice=None if node == UNBOUND else _choice(scheduler, nodes),
        eviction=_eviction(scheduler, helped) if isinstance(helped, Preemption) else None,
        volumes=() if node == UNBOUND else _volumes(template, cluster, node),
    )


def _message(answer: Answer, nodes: int, helped: Preemption | NoPreemption | None) -> str:
    """The text of the event FailedScheduling."""
    return refusal_message(nodes, answer.diagnosis(), helped) if nodes else NO_NODES_AVAILABLE


# Nodes


def _answers(
    scheduler: Scheduler, pod: int, answer: Answer, order: NodeIds, chosen: int
) -> tuple[NodeAnswer, ...]:
    """What each node says, the most interesting first."""
    seen = _seen(answer, order)
    kept = _kept(answer)
    filters = list(_filters(answer.evaluation))
    found = [
        (kept[node], int(node != chosen))
        if node in kept
        else (_refusing(scheduler, pod, answer, filters, node, node in seen), 1)
        for node in order.tolist()
    ]
    return tuple(node for node, _ in sorted(found, key=lambda row: (row[1], *_rank(row[0]))))


def _rank(answer: NodeAnswer) -> tuple[float, ...]:
    """Best totals first, then the smallest changes: few filters to satisfy, then little missing."""
    if answer.verdict == "fits":
        return 0, -(answer.total or 0)
    if not answer.refusals:
        return 2, 0
    return 1, len(answer.refusals), answer.share


def _seen(answer: Answer, order: NodeIds) -> set[int]:
    """The nodes that the search came to."""
    if answer.alone:
        return set(answer.kept.tolist())
    allowed = answer.evaluation.allowed
    listed = order if allowed is None else order[allowed[order]]
    if not len(listed) or answer.evaluation.rejection is not None:
        return set()
    start = answer.start % len(listed)
    return set(np.concatenate([listed[start:], listed[:start]])[: answer.examined].tolist())


def _kept(answer: Answer) -> dict[int, NodeAnswer]:
    """The nodes that take the pod, with their scores."""
    evaluation, kept = answer.evaluation, answer.kept
    scores: list[list[Scored]] = [[] for _ in kept]
    for plugin, weight in evaluation.profile.scores if len(kept) else ():
        raw = evaluation.raw_scores(plugin, kept)
        if raw is not None:
            for row, value, own in zip(scores, normalized(plugin, raw), raw, strict=True):
                row.append(Scored(plugin.name, int(own), int(value), weight))
    names, totals = evaluation.cluster.nodes.names, answer.totals.tolist()
    return {
        node: NodeAnswer(names[node], "fits", scores=tuple(row), total=total)
        for node, row, total in zip(kept.tolist(), scores, totals, strict=True)
    }


def _filters(evaluation: Evaluation) -> Iterator[tuple[FilterPlugin, Any, Whys | None]]:
    """Every filter with something to say: its state, or Rejection, and its answer per node.

    Unlike the scheduler this goes on after a pre-filter that rejects the pod for all nodes.
    """
    pod, cluster = evaluation.pod, evaluation.cluster
    every = np.arange(len(cluster.nodes))
    for plugin in evaluation.profile.filters:
        state = plugin.prefilter(pod, cluster)
        if isinstance(state, OnlyNodes):
            state = state.state
        if isinstance(state, Rejection):
            yield plugin, state, None
        elif state is not SKIP:
            yield plugin, state, plugin.filter(pod, cluster, every, state)


def _refusing(
    scheduler: Scheduler,
    pod: int,
    answer: Answer,
    filters: Sequence[tuple[FilterPlugin, Any, Whys | None]],
    node: int,
    seen: bool,
) -> NodeAnswer:
    evaluation = answer.evaluation
    name = evaluation.cluster.nodes.names[node]
    if node in answer.refused:
        return NodeAnswer(name, *_beside_nominated(scheduler, pod, answer.refused[node], node))
    left_out = evaluation.allowed is not None and not evaluation.allowed[node]
    if not seen and not left_out and evaluation.rejection is None:
        return NodeAnswer(name, "not looked at")
    refusals, share = [], 0.0
    for plugin, state, whys in filters:
        if whys is not None and not whys[node]:
            continue
        refused, missing = _refused(plugin, evaluation, node, state, whys)
        refusals.append(refused)
        share += missing
    verdict: NodeVerdict = "left out" if left_out else refusals[0].verdict
    return NodeAnswer(name, verdict, tuple(refusals), share)


def _refused(
    plugin: FilterPlugin, evaluation: Evaluation, node: int, state: Any, whys: Whys | None
) -> tuple[Refused, float]:
    if whys is None:
        verdict = state.verdict
        missing = Shortfall(", ".join(verdict.reasons))
    else:
        verdict = plugin.verdict(int(whys[node]), evaluation.cluster)
        missing = Shortfall(", ".join(verdict.reasons))
        if isinstance(plugin, Explains):
            missing = plugin.shortfall(evaluation.pod, evaluation.cluster, node, state)
    refused = Refused(plugin.name, VERDICTS[verdict.code], verdict.reasons, missing.text)
    return refused, missing.share


def _beside_nominated(
    scheduler: Scheduler, pod: int, refusal: Refusal, node: int
) -> tuple[NodeVerdict, tuple[Refused, ...], float]:
    """A node that only the pods nominated to it keep from taking the pod."""
    plugin, verdict = refusal
    cluster = scheduler.cluster
    others = [p for p, n in scheduler.nominated.items() if n == node and p != pod]
    named = ", ".join(map(cluster.pod_key, others))
    change = f"keeps room for {named}: {', '.join(verdict.reasons)}"
    answer = VERDICTS[verdict.code]
    return answer, (Refused(plugin, answer, verdict.reasons, change),), 1.0


# Why that node


def _choice(scheduler: Scheduler, nodes: Sequence[NodeAnswer]) -> Choice:
    best, *others = (node for node in nodes if node.verdict == "fits")
    tied = tuple(node.node for node in others if node.total == best.total)
    behind = next((node for node in others if node.total != best.total), None)
    lead: list[tuple[str, int]] = []
    if behind is not None:
        pairs = zip(best.scores, behind.scores, strict=True)
        leads = [(own.plugin, own.weighted - other.weighted) for own, other in pairs]
        lead = sorted((row for row in leads if row[1]), key=lambda row: -row[1])
    runner_up = behind.node if behind else ""
    return Choice(best.total or 0, tied, scheduler.tie_break, runner_up, tuple(lead))


def _eviction(scheduler: Scheduler, found: Preemption) -> Eviction:
    cluster = scheduler.cluster
    victims = tuple(
        (cluster.pod_key(victim), cluster.pod_template(victim).pod.spec.priority)
        for victim in found.victims
    )
    name = cluster.nodes.names[found.node]
    return Eviction(name, victims, len(found.candidates), _because(found, scheduler.tie_break))


def _because(found: Preemption, tie_break: str) -> str:
    """The criterion that told the node from the last of the other candidates."""
    left: list[Candidate] = list(found.candidates)
    because = ""
    if len(left) == 1:
        return "no other node helps"
    for criterion, words in zip(RANKING, CRITERIA, strict=True):
        least = min(map(criterion, left))
        kept = [candidate for candidate in left if criterion(candidate) == least]
        if len(kept) < len(left):
            left, because = kept, words
    if len(left) == 1:
        return because
    drawn = "comes first" if tie_break == "first" else "was picked at random"
    if not because:
        return f"all are as good, and it {drawn}"
    return f"{because}; {len(left)} are as good in that, and it {drawn}"


def _volumes(template: Template, cluster: Cluster, node: int) -> tuple[str, ...]:
    """What placing the pod there binds and provisions."""
    if not template.pod.spec.volumes:
        return ()
    found = bindings(template, cluster, node)
    if found is None:
        return ()
    bound = [f"claim {'/'.join(key)} is bound to volume {name}" for key, name in found.bind]
    made = [f"claim {'/'.join(key)} gets a new volume" for key in found.provision]
    return (*bound, *made)
