"""What one run shows after a moment: who was refused a node, who fell short, and until when.

It watches a simulation without any effect on it. A pod counts as healthy while it is Ready, not
being deleted and its containers run, as in `sim.availability`: what is on a dead node does not
count, though the API still shows it Ready for most of a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from sim.availability import RELEVANT, minimum
from sim.cluster import Change
from sim.recorder import Reason
from sim.scheduler import DRA_SAYS
from sim.tables import NEVER
from sim.workloads import PodDisruptionBudget, Service

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.engine import Simulation
    from sim.expectations import Verdict
    from sim.result import Result
    from sim.workloads import Deployment, ReplicaSet


ANY = 1 << 62  # pods: more than there are


@dataclass(frozen=True, slots=True)
class Refused:
    """Pods of a workload that waited because the scheduler had refused them.

    `most` at once, `at_end` of the run; `reason` is the scheduler's last word on most of those
    that waited to the end, or on most of all when none did.
    """

    workload: str  # 'shop/Deployment/web'
    most: int
    at_end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """A budget with fewer healthy pods than it wants, or a Service without a ready endpoint.

    `services` are those whose pods a budget protects.
    """

    kind: str  # 'PodDisruptionBudget' or 'Service'
    name: str  # 'shop/web'
    services: tuple[str, ...]
    wanted: int
    lowest: int
    short_ms: int


@dataclass(frozen=True, slots=True)
class Staffing:
    """How many healthy pods a Deployment or ReplicaSet wanted and had, as it changed."""

    workload: str
    wanted: int
    levels: tuple[tuple[int, int], ...]  # (from when in ms, healthy pods)

    def short(self, target: int) -> list[tuple[float, float]]:
        """From when to when (in ms) it had fewer than `target` pods; the end may be infinite."""
        until_ms = [at_ms for at_ms, _ in self.levels[1:]] + [inf]
        spans: list[tuple[float, float]] = []
        for (at_ms, healthy), end_ms in zip(self.levels, until_ms, strict=True):
            if healthy >= target:
                continue
            if spans and spans[-1][1] == at_ms:
                spans[-1] = spans[-1][0], end_ms
            else:
                spans.append((at_ms, end_ms))
        return spans


@dataclass(frozen=True, slots=True)
class Aftermath:
    """All that is looked at in one run, from a moment to its end."""

    refused: tuple[Refused, ...]
    shortages: tuple[Shortage, ...]
    staffing: tuple[Staffing, ...]
    failed: tuple[tuple[str, float], ...]  # requests by Service, over the whole run
    verdicts: tuple[Verdict, ...]


class Observer:
    """Watches a simulation that has not begun; `aftermath` says what came after `since_ms`."""

    def __init__(self, simulation: Simulation, since_ms: int) -> None:
        self._simulation = simulation
        self._cluster = simulation.cluster
        self._since_ms = since_ms
        self._guards = [_Guard(rule, since_ms) for rule in self._cluster.budgets.values()]
        self._guards += [_Guard(rule, since_ms) for rule in self._cluster.services.values()]
        self._guards_of: dict[int, list[_Guard]] = {}  # template -> those that pick its pods
        self._healthy: set[int] = set()
        self._levels: dict[int, list[tuple[int, int]]] = {}  # workload -> its levels
        self._cluster.watch(self._on_change, [*RELEVANT, Change.OBJECT])

    def aftermath(self, result: Result) -> Aftermath:
        """What the run showed, when it is over."""
        cluster, end_ms = self._cluster, self._simulation.end_ms
        for guard in self._guards:
            guard.settle(end_ms)
        flows = self._simulation.traffic.flows.values()
        return Aftermath(
            refused=tuple(_refused(cluster, self._since_ms, end_ms)),
            shortages=tuple(g.shortage(cluster) for g in self._guards if g.short_ms),
            staffing=tuple(self._staffing()),
            failed=tuple((flow.name, flow.failed_ever) for flow in flows),
            verdicts=tuple(result.verdicts),
        )

    def _on_change(self, change: Change, object_id: int) -> None:
        if change == Change.OBJECT:
            for guard in self._guards:
                guard.settle(self._cluster.clock.now_ms)
                guard.want(self._cluster)
            return
        pods, pod = self._cluster.pods, object_id
        healthy = bool(pods.ready[pod] and pods.alive[pod] and pods.deleting_ms[pod] == NEVER)
        if healthy != (pod in self._healthy):
            (self._healthy.add if healthy else self._healthy.discard)(pod)
            self._count(pod, 1 if healthy else -1)

    def _count(self, pod: int, step: int) -> None:
        now_ms = self._cluster.clock.now_ms
        for guard in self._guards_with(pod):
            guard.settle(now_ms)
            guard.move(step)
        workload = self._cluster.owners[self._cluster.pods.owner[pod]].workload
        levels = self._levels.setdefault(workload, [(0, 0)])
        level = (now_ms, levels[-1][1] + step)
        if now_ms < self._since_ms or levels[-1][0] == now_ms:
            levels[-1] = level  # what was before does not matter, nor what lasted no time
        else:
            levels.append(level)

    def _guards_with(self, pod: int) -> list[_Guard]:
        template = self._cluster.pod_template(pod)
        found = self._guards_of.get(template.id)
        if found is None:
            found = [guard for guard in self._guards if guard.rule.picks(template.pod)]
            self._guards_of[template.id] = found
        return found

    def _staffing(self) -> Iterator[Staffing]:
        for workload, record in self._simulation.availability.records.items():
            levels = self._levels.get(workload, [(0, 0)])
            yield Staffing(workload_name(self._cluster, workload), record.wanted, tuple(levels))


def workload_name(cluster: Cluster, workload: int) -> str:
    """'shop/Deployment/web'."""
    row = cluster.workloads[workload]
    return f"{row.namespace}/{row}"


# Budgets and Services


class _Guard:
    """A budget or a Service, and how long it has had too few healthy pods after a moment."""

    def __init__(self, rule: PodDisruptionBudget | Service, begin_ms: int) -> None:
        self.rule = rule
        self.short_ms = 0
        self._settled_ms = begin_ms
        self._wanted = 0
        self._healthy = 0
        self._lowest = ANY

    def settle(self, now_ms: int) -> None:
        """Count the time since the last change."""
        passed_ms = now_ms - self._settled_ms
        if passed_ms > 0:
            self._settled_ms = now_ms
            self._lowest = min(self._healthy, self._lowest)
            self.short_ms += passed_ms if self._healthy < self._wanted else 0

    def move(self, step: int) -> None:
        """One healthy pod more or less; a Service should have one from its first one on."""
        self._healthy += step
        if isinstance(self.rule, Service):
            self._wanted = 1

    def want(self, cluster: Cluster) -> None:
        """How many healthy pods a budget wants now; replicas may have changed."""
        if isinstance(self.rule, PodDisruptionBudget):
            self._wanted = desired(self.rule, _replicated(cluster))

    def shortage(self, cluster: Cluster) -> Shortage:
        rule, services = self.rule, []
        if isinstance(rule, PodDisruptionBudget):
            mine = [template.pod for template in cluster.templates if rule.picks(template.pod)]
            services = [
                f"{service.namespace}/{service.name}"
                for service in cluster.services.values()
                if any(map(service.picks, mine))
            ]
        return Shortage(
            kind=type(rule).__name__,
            name=f"{rule.namespace}/{rule.name}",
            services=tuple(services),
            wanted=self._wanted,
            lowest=self._lowest,
            short_ms=self.short_ms,
        )


def desired(budget: PodDisruptionBudget, scaled: Iterable[Deployment | ReplicaSet]) -> int:
    """How many pods must stay healthy (getExpectedPodCount in pkg/controller/disruption, v1.34.1):
    a number as it is, anything else by the replicas of what the budget picks."""
    if isinstance(budget.min_available, int) and budget.max_unavailable is None:
        return budget.min_available
    return minimum(budget, sum(each.replicas for each in scaled if budget.picks(each.template)))


def _replicated(cluster: Cluster) -> Iterator[Deployment | ReplicaSet]:
    """Deployments, and the ReplicaSets that none of them owns."""
    yield from cluster.deployments.values()
    for replicaset in cluster.replicasets.values():
        if (replicaset.namespace, replicaset.owner) not in cluster.deployments:
            yield replicaset


# Refusals


@dataclass(frozen=True, slots=True)
class _Wait:
    """A pod's time between its first refusal (or the moment, if later) and its node."""

    from_ms: int
    until_ms: int
    reason: str


def _refused(cluster: Cluster, since_ms: int, end_ms: int) -> Iterator[Refused]:
    """Workloads with pods that waited after their refusal, in order of their first refusal."""
    waits: dict[int, list[_Wait]] = {}
    for pod, (first_ms, reason) in _refusals(cluster).items():
        wait = _Wait(max(first_ms, since_ms), _until_ms(cluster, pod, end_ms), reason)
        if wait.until_ms > wait.from_ms:
            workload = cluster.owners[cluster.pods.owner[pod]].workload
            waits.setdefault(workload, []).append(wait)
    for workload, mine in waits.items():
        to_the_end = [wait for wait in mine if wait.until_ms > end_ms]
        reasons = Counter(wait.reason for wait in to_the_end or mine)
        reason = min(reasons, key=lambda text: (-reasons[text], text))
        name = workload_name(cluster, workload)
        yield Refused(name, _most_at_once(mine), len(to_the_end), reason)


def _refusals(cluster: Cluster) -> dict[int, tuple[int, str]]:
    """Pod -> when the scheduler first refused it, and what it said last."""
    recorder = cluster.recorder
    rows = np.flatnonzero(np.frombuffer(recorder.reason, np.int8) == Reason.FAILED_SCHEDULING)
    found: dict[int, tuple[int, str]] = {}
    for row in rows.tolist():
        pod = recorder.object[row]
        reason = recorder.texts[recorder.arg[row]].partition(f" {DRA_SAYS},")[0]
        first_ms = found[pod][0] if pod in found else recorder.at_ms[row]
        found[pod] = first_ms, reason
    return found


def _until_ms(cluster: Cluster, pod: int, end_ms: int) -> int:
    """When a pod got its node or was gone; after the end for one that still waits."""
    for times_ms in (cluster.pods.bound_ms, cluster.pods.ended_ms):
        if times_ms[pod] != NEVER:
            return int(times_ms[pod])
    return end_ms + 1


def _most_at_once(waits: Sequence[_Wait]) -> int:
    steps = [(w.from_ms, 1) for w in waits] + [(w.until_ms, -1) for w in waits]
    now = most = 0
    for _, step in sorted(steps):  # leaving before coming at one instant
        now += step
        most = max(most, now)
    return most
