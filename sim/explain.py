"""Why a pod is where it is, or what keeps it from being anywhere: one decision, taken apart.

The scenario is run again, which gives the same decisions, up to the one in question. There every
node is asked by all filters, not only by the first that refuses it, and every score is taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from sim.errors import SimError, did_you_mean
from sim.evaluation import normalized
from sim.extend import SKIP, Code, Explains, OnlyNodes, Rejection, Shortfall
from sim.plugins.volume_binding import bindings
from sim.preemption import RANKING, Candidate, NoPreemption, Preemption
from sim.scheduler import DRA_SAYS, Attempt, Bind, Scheduler, counted
from sim.tables import NEVER, UNBOUND
from sim.units import duration_ms, format_duration_ms

if TYPE_CHECKING:
    from sim.clock import Clock
    from sim.cluster import Cluster, Template
    from sim.evaluation import Evaluation, Refusal
    from sim.extend import FilterPlugin, NodeIds, Whys
    from sim.search import Answer

NodeVerdict = Literal["fits", "unschedulable", "unresolvable", "left out", "not looked at"]
Format = Literal["text", "md", "json"]

MOST_MATCHES = 8  # pods that a message names
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


class Run(Protocol):
    """What is needed of a simulation that has not begun."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def clock(self) -> Clock: ...

    scheduler: Scheduler
    end_ms: int


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


# Which decision


def explain(again: Callable[[], Run], name: str, at: str | None = None) -> Explanation:
    """The decision about a pod that is in force at a moment, or the last one about it.

    `again` builds the simulation anew, `at` is a duration from the start, such as '30m'. SimError
    when there is no such pod, or it does not exist then.
    """
    at_ms = None if at is None else _moment(at)
    first = again()
    tried = _Tried(first.cluster)
    first.scheduler.on_attempt = tried.note
    if at_ms is None:
        first.clock.run(first.end_ms)
        return _last(again, first, _find(first.cluster, name), tried)
    if at_ms > first.end_ms:
        end = format_duration_ms(first.end_ms)
        raise SimError(f"got {format_duration_ms(at_ms)}; the run ends at {end}")
    first.clock.run(min(at_ms + 1, first.end_ms))  # with what happens at that instant
    return _at(again, first, name, at_ms, tried)


class _Tried:
    """The attempts so far, by pod."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turns: dict[int, list[Turn]] = {}

    def note(self, attempt: Attempt) -> None:
        cluster, helped = self._cluster, attempt.helped
        victims: tuple[str, ...] = ()
        node = ""
        if isinstance(helped, Preemption):
            victims = tuple(map(cluster.pod_key, helped.victims))
            node = cluster.nodes.names[helped.node]
        placed = isinstance(attempt.outcome, Bind)
        turn = Turn(cluster.clock.now_ms, placed, victims, node)
        self._turns.setdefault(attempt.entry.pod, []).append(turn)

    def of(self, pod: int) -> list[Turn]:
        """Those of one pod, in order."""
        return self._turns.get(pod, [])

    def placed(self, pod: int) -> int:
        """Which attempt of the pod, counted from 1, was the last to find a node; 0: none did."""
        turns = self.of(pod)
        return next((n for n in range(len(turns), 0, -1) if turns[n - 1].placed), 0)


class _Found(BaseException):
    """The run has come to the attempt in question."""

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation


def _last(again: Callable[[], Run], run: Run, pod: int, tried: _Tried) -> Explanation:
    number = tried.placed(pod) or len(tried.of(pod))
    if number:
        return _attempt(again, pod, number, tried)
    return _unasked(run, pod, run.end_ms, tried)


def _at(again: Callable[[], Run], run: Run, name: str, at_ms: int, tried: _Tried) -> Explanation:
    """What was known of the pod at `at_ms`, where the run stands."""
    cluster, known = run.cluster, len(run.cluster.pods)
    pod = _find_or_none(cluster, name)
    if pod is None or not cluster.pods.exists[pod]:
        if run.clock.now_ms < run.end_ms:
            run.clock.run(run.end_ms)
        _say_when(cluster, _find(cluster, name), at_ms, known)
    assert pod is not None
    number, turns = tried.placed(pod), tried.of(pod)
    if not number and turns and turns[-1].at_ms == at_ms:
        number = len(turns)
    if number:
        return _attempt(again, pod, number, tried)
    return _unasked(run, pod, at_ms, tried)


def _say_when(cluster: Cluster, pod: int, at_ms: int, known: int) -> None:
    """SimError: the pod does not exist at this moment."""
    pods, key = cluster.pods, cluster.pod_key(pod)
    moment, since = format_duration_ms(at_ms), format_duration_ms(int(pods.created_ms[pod]))
    if pod >= known:
        raise SimError(f"{key} does not exist yet at {moment}; it is created at {since}")
    ended_ms = max(int(pods.ended_ms[pod]), int(pods.deleting_ms[pod]))
    until = f" to {format_duration_ms(ended_ms)}" if ended_ms != NEVER else ""
    raise SimError(f"{key} no longer exists at {moment}; it was there from {since}{until}")


def _attempt(again: Callable[[], Run], pod: int, number: int, tried: _Tried) -> Explanation:
    """Run once more, up to this attempt of the pod."""
    run, seen = again(), 0

    def stop(attempt: Attempt) -> None:
        nonlocal seen
        seen += attempt.entry.pod == pod
        if attempt.entry.pod == pod and seen == number:
            raise _Found(explain_attempt(run.scheduler, attempt))

    run.scheduler.on_attempt = stop
    try:
        run.clock.run(run.end_ms)
    except _Found as found:
        return replace(found.explanation, before=tuple(tried.of(pod)[: number - 1]))
    raise SimError(
        "the run went another way the second time; a process of your own must do the same each time"
    )


def _unasked(run: Run, pod: int, at_ms: int, tried: _Tried) -> Explanation:
    """Ask about a pod that no attempt placed."""
    cluster = run.cluster
    key, node = cluster.pod_key(pod), int(cluster.pods.node[pod])
    if node != UNBOUND:
        name = cluster.nodes.names[node]
        raise SimError(f"{key} named its node itself, {name}; the scheduler was not asked")
    if not cluster.pods.exists[pod]:
        raise SimError(f"{key} was deleted before the scheduler tried it")
    scheduler_name = cluster.pod_template(pod).pod.spec.scheduler_name
    if scheduler_name not in run.scheduler.profiles:
        names = ", ".join(run.scheduler.profiles)
        raise SimError(f"{key} asks for the scheduler {scheduler_name!r}; there is only {names}")
    turns = tuple(tried.of(pod))
    return replace(explain_now(run.scheduler, pod, len(turns)), at_ms=at_ms, before=turns)


def _moment(at: str) -> int:
    try:
        return duration_ms(at)
    except ValueError as error:
        raise SimError(f"at: {error}") from None


# Which pod


def _find(cluster: Cluster, name: str) -> int:
    """The pod of this name, prefix or workload; SimError names those that are near."""
    pod = _find_or_none(cluster, name)
    if pod is not None:
        return pod
    names = [cluster.pod_name(pod) for pod in range(len(cluster.pods))]
    workloads = [workload.name for workload in cluster.workloads]
    last = name.rpartition("/")[2]
    hint = did_you_mean(last, [*workloads, *names]) or (
        f"There are pods of {', '.join(dict.fromkeys(workloads))}."
        if 0 < len(workloads) <= MOST_MATCHES
        else ""
    )
    raise SimError(f"no pod {name!r} in this run. {hint}".rstrip())


def _find_or_none(cluster: Cluster, name: str) -> int | None:
    space, _, last = name.rpartition("/")
    if space in ("Deployment", "ReplicaSet", "Job", "Pod"):
        space = ""
    exact: dict[str, int] = {}
    near: dict[str, int] = {}
    for pod in range(len(cluster.pods)):
        owner = cluster.owners[cluster.pods.owner[pod]]
        if space and owner.namespace != space:
            continue
        own = cluster.pod_name(pod)
        workload = cluster.workloads[owner.workload].name
        if own == last:
            exact[cluster.pod_key(pod)] = pod
        elif last and (last in (workload, owner.name) or own.startswith(last)):
            near[cluster.pod_key(pod)] = pod
    found = exact or near
    if len(found) > 1:
        named = ", ".join(list(found)[:MOST_MATCHES])
        more = len(found) - MOST_MATCHES
        rest = f" and {more} more" if more > 0 else ""
        raise SimError(f"{name!r} may be one of {len(found)} pods: {named}{rest}")
    return next(iter(found.values()), None)


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
    return _explanation(scheduler, pod, answer, node, helped, attempts=attempts, afresh=True)


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
        eviction=_eviction(cluster, helped) if isinstance(helped, Preemption) else None,
        volumes=() if node == UNBOUND else _volumes(template, cluster, node),
    )


def _message(answer: Answer, nodes: int, helped: Preemption | NoPreemption | None) -> str:
    """The text of the event FailedScheduling."""
    if not nodes:
        return "no nodes available to schedule pods"
    message = f"0/{nodes} nodes are available: {counted(answer.diagnosis().reasons)}."
    if isinstance(helped, NoPreemption):
        message += f" {DRA_SAYS}, preemption: {helped.why}"
    return message


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


def _eviction(cluster: Cluster, found: Preemption) -> Eviction:
    victims = tuple(
        (cluster.pod_key(victim), cluster.pod_template(victim).pod.spec.priority)
        for victim in found.victims
    )
    name = cluster.nodes.names[found.node]
    return Eviction(name, victims, len(found.candidates), _because(found))


def _because(found: Preemption) -> str:
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
    as_good = f"one of {len(left)} that are as good, picked at random"
    return f"{because}; {as_good}" if because else as_good


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
