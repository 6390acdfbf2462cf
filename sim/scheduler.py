"""The story of one pod: out of the queue, past the filters, to the best score, bound to a node.

Follows pkg/scheduler/schedule_one.go (v1.34.1). Ties between the best nodes are broken at random
from the scheduler's own stream (`random`, as the real one does) or for the node that was looked at
first (`first`). A decision takes no virtual time; a pod is seen `latency_ms` after it appears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from sim.clock import Lane, TokenBucket
from sim.cluster import Change, Cluster
from sim.disruptions import Disruptions
from sim.evaluation import INFEASIBLE, Diagnosis, Evaluation, Profile
from sim.events import Kind
from sim.extend import Reserves
from sim.nodeorder import NodeOrder
from sim.preemption import NoPreemption, Preemption, Preemptor
from sim.queue import INITIAL_BACKOFF_S, MAX_BACKOFF_S, Entry, SchedulingQueue
from sim.queue_events import EventSource
from sim.recorder import Of, Reason
from sim.search import Answer, Nominated, nodes_to_find, place_of, search
from sim.tables import UNBOUND, Ints
from sim.templates import Template

if TYPE_CHECKING:
    from sim.extend import NodeIds
    from sim.rng import Uniforms
    from sim.workloads import PodDisruptionBudget

TieBreak = Literal["random", "first"]
BACKOFF_FLUSH_MS = 1_000  # backend/queue: backoffQ at each whole second
UNSCHEDULABLE_FLUSH_MS = 30_000  # and the unschedulable pods every 30 s
KEPT_ANSWERS = 5_000_000  # nodes times shapes; some 100 bytes each
LEAST_NODES = 200  # what a shape costs beside that, in nodes: some 20 kB
NO_NODES_AVAILABLE = "no nodes available to schedule pods"
DRA_SAYS = "no new claims to deallocate"  # dynamicresources PostFilter, for a pod without claims


class Order(Protocol):
    """In which order nodes are looked at."""

    def ids(self) -> NodeIds: ...


@dataclass(frozen=True, slots=True)
class Binding:
    """How long the call that binds a pod takes; by default no time at all, without limits.

    Upstream's client may call 50 times a second, 100 in a burst (clientConnection in
    apis/config/v1/defaults.go), while decisions go on.
    """

    latency_ms: int = 0
    qps: float | None = None
    burst: int = 100


@dataclass(frozen=True, slots=True)
class Bind:
    """A pod has found its node."""

    pod: int
    node: int
    score: int
    ties: int
    feasible: int
    answer: Answer | None = None  # None: every node was looked at, and only the totals


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node takes the pod; `diagnosis` is None when there is no node at all."""

    pod: int
    answer: Answer
    diagnosis: Diagnosis | None


@dataclass(frozen=True, slots=True)
class _Failure:
    """What came of trying a shape, as long as neither the answers nor the nominations move."""

    evaluation: Evaluation
    changes: int
    nominations: int
    outcome: Unschedulable
    helped: NoPreemption | None
    message: str


@dataclass(slots=True)
class Decisions:
    """Scheduling attempts as columns, filled when the scenario asks for them."""

    at_ms: list[int]
    pod: list[int]
    node: list[int]
    feasible: list[int]
    ties: list[int]
    score: list[int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pod's turn: what came of it, and what preemption could do where no node took it."""

    entry: Entry
    outcome: Bind | Unschedulable
    helped: Preemption | NoPreemption | None


class Scheduler:
    """One kube-scheduler with its profiles.

    `paused`: it takes in events and keeps its queue, but tries no pod by itself. `on_attempt` is
    called with each attempt before anything comes of it.
    """

    def __init__(
        self,
        cluster: Cluster,
        profiles: Mapping[str, Profile],
        draw: Uniforms,
        *,
        tie_break: TieBreak = "random",
        percentage: int = 0,
        latency_ms: int = 0,
        binding: Binding | None = None,
        backoff_s: tuple[int, int] = (INITIAL_BACKOFF_S, MAX_BACKOFF_S),
        order: Order | None = None,
        allowed: Callable[[PodDisruptionBudget], int] | None = None,
        record: bool = False,
        paused: bool = False,
    ) -> None:
        self.cluster = cluster
        self.profiles = profiles
        self.nominated: dict[int, int] = {}  # pod -> the node that others were evicted from for it
        self._nominated_by_priority: dict[int, dict[int, tuple[int, ...]]] = {}
        plugins = {name: _plugins(profile) for name, profile in profiles.items()}
        self.queue = SchedulingQueue(cluster, plugins, backoff_s)
        self.order = order or NodeOrder(cluster)
        self.start = 0  # position in the node order from which the next search begins
        self.decisions = Decisions([], [], [], [], [], []) if record else None
        self.on_attempt: Callable[[Attempt], None] | None = None
        self._draw = draw
        self.tie_break = tie_break
        self._percentage = percentage
        self._latency_ms = latency_ms
        self._binding = binding
        self._calls = None if binding is None or not binding.qps else _bucket(binding, cluster)
        self._paused = paused
        self._awake = False
        self._flushes_due: set[int] = set()
        self._evaluations: dict[tuple[str, int], Evaluation] = {}
        self._last_message: dict[int, str] = {}
        self._failures: dict[tuple[str, int], _Failure] = {}
        self._nominations = 0  # moves whenever a nomination does
        self._rank: tuple[NodeIds, Ints] | None = None
        allowed = allowed or Disruptions(cluster).allowed
        self._preemptors = {
            name: Preemptor(cluster, profile.preemption, allowed)
            for name, profile in profiles.items()
            if profile.preemption is not None
        }
        self._reserving = {
            name: [plugin for plugin in profile.filters if isinstance(plugin, Reserves)]
            for name, profile in profiles.items()
        }
        self._events = EventSource(
            cluster, self.queue, self.nominated, profiles, self._wake_if_ready
        )
        cluster.watch(self._settle, [Change.POD_BOUND, Change.POD_REMOVED])
        cluster.watch_updates(self._on_update)
        if paused:
            self._arm(BACKOFF_FLUSH_MS, self._flush_backoff)
            self._arm(UNSCHEDULABLE_FLUSH_MS, self._flush_unschedulable)

    # One pod

    def schedule_one(self, entry: Entry) -> Bind | Unschedulable:
        """Where the pod goes, or why nowhere."""
        pod, template = entry.pod, entry.template
        if not self.nominated and self.on_attempt is None:
            evaluation = self.evaluate(template)
            if self._looks_at_all(evaluation) and (best := self._best_of_all(pod, evaluation)):
                self.start %= len(self.order.ids())  # as once around it, however many there were
                return best
        found = self.ask(pod, template)
        self.start = found.next_start
        if not len(found.kept):
            nodes = len(self.order.ids())
            return Unschedulable(pod, found, found.diagnosis() if nodes else None)
        return self._best_of(pod, found)

    def ask(self, pod: int, template: Template) -> Answer:
        """What the nodes say to the pod, now, beside the pods that are nominated to them."""
        evaluation = self.evaluate(template)
        nominated = self._nominated_beside(pod, template.pod.spec.priority)
        own = self.nominated.get(pod)
        percentage = self.percentage_of(template)
        return search(evaluation, self.order.ids(), self.start, percentage, nominated, own)

    def _nominated_beside(self, pod: int, priority: int) -> Nominated:
        """Per node the other pods nominated to it that are as important as this one."""
        if not self.nominated:
            return {}
        known = self._nominated_by_priority.get(priority)
        if known is None:
            known = self._nominated_by_priority[priority] = self._nominated_from(priority)
        own = self.nominated.get(pod)
        if own is None or pod not in known.get(own, ()):
            return known
        others = tuple(other for other in known[own] if other != pod)
        left = {node: pods for node, pods in known.items() if node != own}
        return {**left, own: others} if others else left

    def _nominated_from(self, priority: int) -> dict[int, tuple[int, ...]]:
        by_node: dict[int, tuple[int, ...]] = {}
        for pod, node in self.nominated.items():
            if self.cluster.pod_template(pod).pod.spec.priority >= priority:
                by_node[node] = (*by_node.get(node, ()), pod)
        return by_node

    def percentage_of(self, template: Template) -> int:
        """percentageOfNodesToScore of the pod's profile; 0 adapts to the number of nodes."""
        own = self.profiles[template.pod.spec.scheduler_name].percentage
        return self._percentage if own is None else own

    def evaluate(self, template: Template) -> Evaluation:
        """The answer of all nodes to this pod, as of now."""
        name = template.pod.spec.scheduler_name
        key = (name, template.shape)
        evaluation = self._evaluations.get(key)
        if evaluation is None:
            self._make_room()
            evaluation = Evaluation(template, self.cluster, self.profiles[name])
            self._evaluations[key] = evaluation
        evaluation.refresh()
        return evaluation

    def _make_room(self) -> None:
        """Forget the older half of the answers when they grow too many; they can be asked again."""
        nodes = len(self.cluster.nodes) + LEAST_NODES
        if len(self._evaluations) * nodes > KEPT_ANSWERS:
            for key in list(self._evaluations)[: len(self._evaluations) // 2]:
                self._evaluations.pop(key).pod.memo.clear()
                self._failures.pop(key, None)

    def nominate(self, pod: int, node: int) -> None:
        """Keep room on the node for the pod, against pods of its priority or lower."""
        before = self.nominated.get(pod, node)
        self.nominated[pod] = node
        self._nominations_moved()
        if before != node:
            self._events.renominated(pod, before)

    def withdraw(self, pod: int) -> None:
        """The pod is no longer nominated to a node."""
        before = self.nominated.pop(pod, None)
        if before is not None:
            self._nominations_moved()
            self._events.renominated(pod, before)

    def _settle(self, change: Change, pod: int) -> None:
        """A pod that is bound or gone needs no nomination, and nothing is said of it again."""
        self._last_message.pop(pod, None)
        if self.nominated.pop(pod, None) is not None:
            self._nominations_moved()

    def _on_update(self, kind: Kind, before: object, after: object) -> None:
        if kind is Kind.POD:  # a nominated one may keep another place free now
            self._nominations_moved()

    def _nominations_moved(self) -> None:
        self._nominations += 1
        self._nominated_by_priority.clear()

    # The best node

    def _looks_at_all(self, evaluation: Evaluation) -> bool:
        """Whether nothing but the scores of all nodes decides."""
        if evaluation.allowed is not None or evaluation.without_scores:
            return False
        nodes = len(self.order.ids())
        return nodes_to_find(nodes, self.percentage_of(evaluation.pod)) >= nodes

    def _best_of_all(self, pod: int, evaluation: Evaluation) -> Bind | None:
        """The choice among all nodes, from the totals that are kept up; None without any."""
        total = evaluation.total
        score = int(total.max(initial=INFEASIBLE))
        if score == INFEASIBLE:
            return None
        best = total == score
        ties = int(np.count_nonzero(best))
        if self.tie_break == "random" or ties == 1:
            node = place_of(best, self._draw.below(ties) if ties > 1 else 0)
        else:
            tied = np.flatnonzero(best)
            node = int(tied[np.argmin(self._ranks()[tied])])
        feasible = int(evaluation.mask.sum()) if self.decisions else 0
        return Bind(pod, node, score, ties, feasible)

    def _ranks(self) -> Ints:
        """Per node id how late it is looked at."""
        order = self.order.ids()
        if self._rank is None or self._rank[0] is not order:
            rank = np.zeros(len(self.cluster.nodes), np.int64)
            rank[order] = np.arange(len(order))
            self._rank = order, rank
        return (self._rank[1] - self.start) % max(len(order), 1)

    def _best_of(self, pod: int, found: Answer) -> Bind:
        score = int(found.totals.max())
        best = found.kept[found.totals == score]
        node = int(best[0])
        if self.tie_break == "random" and len(best) > 1:  # by id, as among all nodes
            node = int(np.sort(best)[self._draw.below(len(best))])
        return Bind(pod, node, score, len(best), len(found.kept), found)

    # The cycle

    def _wake_if_ready(self) -> None:
        if not self._awake and not self._paused and self.queue.has_ready:
            self._awake = True
            self.cluster.clock.after(self._latency_ms, Lane.SCHEDULER, self._run)

    def _run(self) -> None:
        """Try pods until none can be taken."""
        self._awake = True
        while (entry := self.queue.pop(self.cluster.clock.now_ms)) is not None:
            self.attempt(entry)
        self._awake = False
        self._arm_flushes()

    def attempt(self, entry: Entry) -> Bind | Unschedulable:
        """Try one pod that was popped: bind it, or preempt and put it back."""
        failure = self._failed_alike(entry)
        if failure is not None:
            return self._fail_again(entry, failure)
        outcome = self.schedule_one(entry)
        helped = None
        if isinstance(outcome, Unschedulable) and outcome.diagnosis is not None:
            helped = self.look_for_victims(entry, outcome.answer)
        if self.on_attempt is not None:
            self.on_attempt(Attempt(entry, outcome, helped))
        if isinstance(outcome, Bind):
            self._note(outcome.pod, outcome.node, outcome.feasible, outcome.ties, outcome.score)
            self.queue.done(entry.pod)
            self._reserve(entry, outcome.node)
            self._bind(outcome.pod, outcome.node)
        else:
            self._fail(entry, outcome, helped)
        return outcome

    def _reserve(self, entry: Entry, node: int) -> None:
        if entry.template.pod.spec.volumes:
            for plugin in self._reserving[entry.scheduler_name]:
                plugin.reserve(entry.pod, node, self.cluster)

    def _bind(self, pod: int, node: int) -> None:
        cluster, binding = self.cluster, self._binding
        if binding is None:
            cluster.bind(pod, node)
            return
        now_ms = cluster.clock.now_ms
        called_ms = self._calls.reserve(now_ms) if self._calls else now_ms
        cluster.assume(pod, node)
        cluster.clock.at(called_ms + binding.latency_ms, Lane.API, self._bound, pod, node)

    def _bound(self, pod: int, node: int) -> None:
        """The call has come through; it fails when the pod or the node has gone meanwhile."""
        cluster = self.cluster
        if cluster.is_assumed(pod) and cluster.nodes.exists[node]:
            cluster.bind(pod, node)
            return
        if cluster.is_assumed(pod):
            cluster.forget(pod)
            self.queue.add(pod, cluster.pod_template(pod), cluster.clock.now_ms)
        self._events.unassumed(pod, node)
        self._wake_if_ready()

    def _fail(
        self, entry: Entry, outcome: Unschedulable, helped: Preemption | NoPreemption | None
    ) -> None:
        now_ms, diagnosis = self.cluster.clock.now_ms, outcome.diagnosis
        self._note(entry.pod, UNBOUND, 0, 0, INFEASIBLE)
        if diagnosis is None:
            self._say(entry.pod, NO_NODES_AVAILABLE)
            self.queue.error(entry, now_ms)
            self.withdraw(entry.pod)
            return
        message = refusal_message(len(self.order.ids()), diagnosis, helped)
        self._say(entry.pod, message)
        self.queue.failed(entry, diagnosis.plugins, now_ms)
        if isinstance(helped, Preemption):
            self._preempt(entry, helped)
            return
        self._remember(entry, outcome, helped, message)
        if helped is not None and helped.clears_nomination:
            self.withdraw(entry.pod)

    # Thousands of pods may wait that are all alike, and are all tried again after most events.

    def _failed_alike(self, entry: Entry) -> _Failure | None:
        """The failure of the last pod of its shape, if it would fail in the same way now."""
        if entry.pod in self.nominated or self.on_attempt is not None:
            return None
        known = self._failures.get((entry.scheduler_name, entry.template.shape))
        if known is None or known.nominations != self._nominations:
            return None
        known.evaluation.refresh()
        return known if known.changes == known.evaluation.changes else None

    def _remember(
        self, entry: Entry, outcome: Unschedulable, helped: NoPreemption | None, message: str
    ) -> None:
        evaluation = outcome.answer.evaluation
        if entry.pod not in self.nominated and evaluation.allowed is None:
            self._failures[entry.scheduler_name, entry.template.shape] = _Failure(
                evaluation, evaluation.changes, self._nominations, outcome, helped, message
            )

    def _fail_again(self, entry: Entry, failure: _Failure) -> Unschedulable:
        assert failure.outcome.diagnosis is not None
        self._note(entry.pod, UNBOUND, 0, 0, INFEASIBLE)
        self._say(entry.pod, failure.message)
        now_ms = self.cluster.clock.now_ms
        self.queue.failed(entry, failure.outcome.diagnosis.plugins, now_ms)
        return failure.outcome

    # Preemption

    def look_for_victims(self, entry: Entry, found: Answer) -> Preemption | NoPreemption | None:
        """What preemption would do; None where the profile has none."""
        preemptor = self._preemptors.get(entry.scheduler_name)
        if preemptor is None:
            return None
        codes = found.evaluation.codes()
        for node, (_, verdict) in found.refused.items():
            codes[node] = verdict.code
        drawn: list[float] = []

        def below(bound: int) -> int:
            if self.tie_break == "first":
                return 0
            drawn.append(self._draw())
            return int(drawn[-1] * bound)

        helped = preemptor.preempt(
            entry.pod, found.evaluation, codes, self.nominated, self.order.ids(), below, below
        )
        if isinstance(helped, NoPreemption):  # as if it had not been tried: it may not be next time
            for draw in reversed(drawn):
                self._draw.give_back(draw)
        return helped

    def _preempt(self, entry: Entry, found: Preemption) -> None:
        """Evict the victims, and keep their room for the pod."""
        for other in found.unnominated:
            self.withdraw(other)
        self.nominate(entry.pod, found.node)
        cluster = self.cluster
        cause = f"{cluster.pod_key(entry.pod)} on node {cluster.nodes.names[found.node]}"
        text = cluster.recorder.text(cause)
        for victim in found.victims:
            cluster.evict(victim, Reason.PREEMPTED, text)

    # Flushes

    def _arm_flushes(self) -> None:
        if self.queue.has_backoff:
            self._arm(BACKOFF_FLUSH_MS, self._flush_backoff)
        if self.queue.has_unschedulable:
            self._arm(UNSCHEDULABLE_FLUSH_MS, self._flush_unschedulable)

    def _arm(self, period_ms: int, flush: Callable[[], None]) -> None:
        if period_ms not in self._flushes_due:
            self._flushes_due.add(period_ms)
            due_ms = (self.cluster.clock.now_ms // period_ms + 1) * period_ms
            self.cluster.clock.at(due_ms, Lane.SCHEDULER, flush)

    def _flush_backoff(self) -> None:
        self._flushes_due.discard(BACKOFF_FLUSH_MS)
        self.queue.flush_backoff(self.cluster.clock.now_ms)
        self._after_flush(BACKOFF_FLUSH_MS, self._flush_backoff)

    def _flush_unschedulable(self) -> None:
        self._flushes_due.discard(UNSCHEDULABLE_FLUSH_MS)
        self.queue.flush_unschedulable(self.cluster.clock.now_ms)
        self._after_flush(UNSCHEDULABLE_FLUSH_MS, self._flush_unschedulable)

    def _after_flush(self, period_ms: int, flush: Callable[[], None]) -> None:
        if self._paused:
            self._arm(period_ms, flush)
        else:
            self._wake_if_ready()
            self._arm_flushes()

    # Words

    def _say(self, pod: int, message: str) -> None:
        """Record the event of a failed attempt, unless it says what the last one said."""
        if self._last_message.get(pod) != message:
            self._last_message[pod] = message
            recorder = self.cluster.recorder
            text = recorder.text(message)
            now_ms = self.cluster.clock.now_ms
            recorder.event(now_ms, Reason.FAILED_SCHEDULING, Of.POD, pod, text)

    def _note(self, pod: int, node: int, feasible: int, ties: int, score: int) -> None:
        if self.decisions is not None:
            self.decisions.at_ms.append(self.cluster.clock.now_ms)
            self.decisions.pod.append(pod)
            self.decisions.node.append(node)
            self.decisions.feasible.append(feasible)
            self.decisions.ties.append(ties)
            self.decisions.score.append(score)


def _plugins(profile: Profile) -> dict[str, object]:
    """The plugins of a profile that may listen to events or gate pods, by name."""
    others = [*profile.gates, *([profile.preemption] if profile.preemption else [])]
    scores = [plugin for plugin, _ in profile.scores]
    return {plugin.name: plugin for plugin in (*scores, *profile.filters, *others)}  # type: ignore[attr-defined]


def _bucket(binding: Binding, cluster: Cluster) -> TokenBucket:
    assert binding.qps is not None
    return TokenBucket(binding.qps, binding.burst, cluster.clock.now_ms)


def refusal_message(
    nodes: int, diagnosis: Diagnosis, helped: Preemption | NoPreemption | None
) -> str:
    """kube-scheduler's words when none of `nodes` takes a pod (types.go FitError): the reasons
    counted over nodes, and why preemption does not help."""
    message = f"0/{nodes} nodes are available: {counted(diagnosis.reasons)}."
    if isinstance(helped, NoPreemption):
        message += f" {DRA_SAYS}, preemption: {helped.why}"
    return message


def counted(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, in the order of the text, as upstream sorts them."""
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
