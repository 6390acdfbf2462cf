"""The story of one pod: out of the queue, past the filters, to the best score, bound to a node.

Follows pkg/scheduler/schedule_one.go (v1.34.1). Ties between the best nodes are broken at random
from the scheduler's own stream (`random`, as the real one does) or for the first node (`first`).
A decision takes no virtual time; a pod is seen `latency_ms` after it appears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.clock import Lane
from sim.cluster import Change, Cluster, Template
from sim.evaluation import INFEASIBLE, Answer, Evaluation, Profile, answer
from sim.queue import FLUSH_INTERVAL_MS, Entry, SchedulingQueue
from sim.recorder import Of, Reason
from sim.tables import UNBOUND, Ints32

if TYPE_CHECKING:
    from sim.rng import Uniforms

TieBreak = Literal["random", "first"]
WAKING = (
    Change.POD_ENDED,
    Change.POD_REMOVED,
    Change.NODE_ADDED,
    Change.NODE_TAINTS,
    Change.NODE_SCHEDULABLE,
)


@dataclass(frozen=True, slots=True)
class Bind:
    """A pod has found its node."""

    pod: int
    node: int
    score: int
    ties: int
    feasible: int


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node takes the pod; `message` counts the reasons over the nodes."""

    pod: int
    message: str
    apart: bool = False  # some node refused it because of pods on other nodes


@dataclass(slots=True)
class Decisions:
    """Scheduling attempts as columns, filled when the scenario asks for them."""

    at_ms: list[int]
    pod: list[int]
    node: list[int]
    feasible: list[int]
    ties: list[int]
    score: list[int]


class Scheduler:
    """One kube-scheduler with its profiles."""

    def __init__(
        self,
        cluster: Cluster,
        profiles: Mapping[str, Profile],
        draw: Uniforms,
        *,
        tie_break: TieBreak = "random",
        latency_ms: int = 0,
        record: bool = False,
    ) -> None:
        self.cluster = cluster
        self.profiles = profiles
        self.queue = SchedulingQueue()
        self.decisions = Decisions([], [], [], [], [], []) if record else None
        self._draw = draw
        self._tie_break = tie_break
        self._latency_ms = latency_ms
        self._awake = False
        self._flush_due = False
        self._changed = False  # something that may have made room, since the last look
        self._evaluations: dict[tuple[str, int], Evaluation] = {}
        self._last_message: dict[int, str] = {}
        self._nominated: dict[int, int] = {}  # pod -> the node that others were evicted from for it
        cluster.watch(self.on_change, [Change.POD_CREATED, Change.POD_BOUND, *WAKING])

    def on_change(self, change: Change, object_id: int) -> None:
        """Take in new pods; look for room for the waiting ones when some may have come."""
        if change == Change.POD_CREATED:
            self._take_in(object_id)
        elif change == Change.POD_BOUND:
            self._forget(object_id)
            if self.queue.apart:
                self._wake()
        elif change == Change.POD_REMOVED and self.cluster.pods.node[object_id] == UNBOUND:
            self._forget(object_id)
        elif self.queue.unschedulable:
            self._changed = True
            self._wake()

    def _take_in(self, pod: int) -> None:
        """A pod that names its node has it; others wait here, unless they are gated."""
        template = self.cluster.pod_template(pod)
        spec = template.pod.spec
        node = self.cluster.nodes.by_name.get(spec.node_name)
        if node is not None:
            self.cluster.bind(pod, node)
        elif spec.scheduler_name in self.profiles and not spec.scheduling_gates:
            shape = (spec.scheduler_name, template.shape)
            self.queue.add(pod, shape, spec.priority, self.cluster.clock.now_ms)
            self._wake()

    def schedule_one(self, entry: Entry) -> Bind | Unschedulable:
        """Where the pod goes, or why nowhere."""
        template = self.cluster.pod_template(entry.pod)
        found = self.ask(entry.pod, template)
        node, score, ties = self._select(found.total)
        if node == UNBOUND:
            apart = True
            return Unschedulable(entry.pod, self._message(found), apart)
        feasible = len(found.feasible()) if self.decisions else 0
        return Bind(entry.pod, node, score, ties, feasible)

    def ask(self, pod: int, template: Template) -> Answer:
        """What all nodes say to the pod, now, beside the pods that are nominated to them."""
        evaluation = self.evaluate(template)
        if not self._nominated:
            return Answer(evaluation, evaluation.total, {})
        nominated: dict[int, list[int]] = {}
        for other, node in self._nominated.items():
            priority = self.cluster.pod_template(other).pod.spec.priority
            if other != pod and priority >= template.pod.spec.priority:
                nominated.setdefault(node, []).append(other)
        return answer(evaluation, nominated, self._nominated.get(pod))

    def evaluate(self, template: Template) -> Evaluation:
        """The answer of all nodes to this pod, as of now."""
        name = template.pod.spec.scheduler_name
        key = (name, template.shape)
        evaluation = self._evaluations.get(key)
        if evaluation is None:
            evaluation = Evaluation(template, self.cluster, self.profiles[name])
            self._evaluations[key] = evaluation
        evaluation.refresh()
        return evaluation

    def nominate(self, pod: int, node: int) -> None:
        """Keep room on the node for the pod, against pods of its priority or lower."""
        self._nominated[pod] = node

    def withdraw(self, pod: int) -> None:
        """The pod is no longer nominated to a node."""
        self._nominated.pop(pod, None)

    # The cycle

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self.cluster.clock.after(self._latency_ms, Lane.SCHEDULER, self._run)

    def _run(self) -> None:
        """Try pods until none can be taken."""
        self._awake = False
        self._look_for_room()
        while (entry := self.queue.pop()) is not None:
            outcome = self.schedule_one(entry)
            if isinstance(outcome, Bind):
                self._bind(outcome)
                self.queue.wake(entry.shape, self.cluster.clock.now_ms)
            else:
                self._wait(entry, outcome)

    def _look_for_room(self) -> None:
        """Wake the shapes that some node takes now.

        Upstream tries every waiting pod after most changes. Where no node takes its shape that
        ends as it began, so those are left alone.
        """
        shapes = list(self.queue.unschedulable if self._changed else self.queue.apart)
        self._changed = False
        for shape in shapes:
            pod = next(iter(self.queue.unschedulable[shape]))
            if (self.ask(pod, self.cluster.pod_template(pod)).total != INFEASIBLE).any():
                self.queue.wake(shape, self.cluster.clock.now_ms)

    def _bind(self, outcome: Bind) -> None:
        self._note(outcome.pod, outcome.node, outcome.feasible, outcome.ties, outcome.score)
        self.cluster.bind(outcome.pod, outcome.node)

    def _wait(self, entry: Entry, outcome: Unschedulable) -> None:
        now_ms = self.cluster.clock.now_ms
        self.queue.failed(entry, now_ms, apart=outcome.apart)
        if self._last_message.get(entry.pod) != outcome.message:
            self._last_message[entry.pod] = outcome.message
            recorder = self.cluster.recorder
            text = recorder.text(outcome.message)
            recorder.event(now_ms, Reason.FAILED_SCHEDULING, Of.POD, entry.pod, text)
        self._note(entry.pod, UNBOUND, 0, 0, INFEASIBLE)
        if not self._flush_due:
            self._flush_due = True
            next_flush_ms = (now_ms // FLUSH_INTERVAL_MS + 1) * FLUSH_INTERVAL_MS
            self.cluster.clock.at(next_flush_ms, Lane.SCHEDULER, self._flush)

    def _flush(self) -> None:
        """Every 30 s: pods that have been unschedulable for five minutes are tried again."""
        self._flush_due = False
        now_ms = self.cluster.clock.now_ms
        if self.queue.flush_unschedulable(now_ms):
            self._wake()
        if self.queue.unschedulable:
            self._flush_due = True
            self.cluster.clock.at(now_ms + FLUSH_INTERVAL_MS, Lane.SCHEDULER, self._flush)

    def _forget(self, pod: int) -> None:
        self.queue.remove(pod)
        self._nominated.pop(pod, None)
        self._last_message.pop(pod, None)

    def _select(self, total: Ints32) -> tuple[int, int, int]:
        """The node among the best, its score, and how many shared it."""
        if not len(total):
            return UNBOUND, INFEASIBLE, 0
        if self._tie_break == "first":
            node = int(total.argmax())
            score = int(total[node])
            ties = int((total == score).sum()) if self.decisions else 1
            return (node, score, ties) if score != INFEASIBLE else (UNBOUND, INFEASIBLE, 0)
        score = int(total.max())
        if score == INFEASIBLE:
            return UNBOUND, INFEASIBLE, 0
        best = np.flatnonzero(total == score)
        node = int(best[self._draw.below(len(best))] if len(best) > 1 else best[0])
        return node, score, len(best)

    def _message(self, found: Answer) -> str:
        """kube-scheduler's words: reasons counted over nodes, sorted as text."""
        nodes = len(self.cluster.nodes.ids())
        if nodes == 0:
            return "no nodes available to schedule pods"
        counts = found.reasons()
        reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
        return f"0/{nodes} nodes are available: {reasons}."

    def _note(self, pod: int, node: int, feasible: int, ties: int, score: int) -> None:
        if self.decisions is not None:
            self.decisions.at_ms.append(self.cluster.clock.now_ms)
            self.decisions.pod.append(pod)
            self.decisions.node.append(node)
            self.decisions.feasible.append(feasible)
            self.decisions.ties.append(ties)
            self.decisions.score.append(score)
