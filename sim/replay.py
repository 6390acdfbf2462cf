"""Finds a decision in a run: which pod is meant, which attempt, at which moment.

The scenario is run again, which gives the same decisions, up to the one in question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from sim.errors import SimError, did_you_mean
from sim.explain import Explanation, Turn, explain_attempt, explain_now
from sim.preemption import Preemption
from sim.scheduler import Attempt, Bind, Scheduler
from sim.tables import NEVER, UNBOUND
from sim.units import duration_ms, format_duration_ms

if TYPE_CHECKING:
    from sim.clock import Clock
    from sim.cluster import Cluster

KINDS = ("Deployment", "ReplicaSet", "Job", "Pod", "Stream")  # as reports write a workload
MOST_MATCHES = 8  # pods that a message names


class Run(Protocol):
    """What is needed of a simulation that has not begun."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def clock(self) -> Clock: ...

    scheduler: Scheduler
    end_ms: int


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
        raise SimError(
            f"at: got {format_duration_ms(at_ms)}; expected at most {end}, the run's end"
        )
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
    pod = _find_or_none(cluster, name, that_exist=True)
    if pod is None:
        if run.clock.now_ms < run.end_ms:
            run.clock.run(run.end_ms)
        raise _absent(cluster, _find(cluster, name), at_ms, known)
    number, turns = tried.placed(pod), tried.of(pod)
    if not number and turns and turns[-1].at_ms == at_ms:
        number = len(turns)
    if number:
        return _attempt(again, pod, number, tried)
    return _unasked(run, pod, at_ms, tried)


def _absent(cluster: Cluster, pod: int, at_ms: int, known: int) -> SimError:
    """When the pod exists, as it does not at this moment."""
    pods, key = cluster.pods, cluster.pod_key(pod)
    moment, since = format_duration_ms(at_ms), format_duration_ms(int(pods.created_ms[pod]))
    if pod >= known:
        return SimError(f"{key} does not exist yet at {moment}; it is created at {since}")
    ended_ms = max(int(pods.ended_ms[pod]), int(pods.deleting_ms[pod]))
    until = f" to {format_duration_ms(ended_ms)}" if ended_ms != NEVER else ""
    return SimError(f"{key} no longer exists at {moment}; it was there from {since}{until}")


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


def _find_or_none(cluster: Cluster, name: str, *, that_exist: bool = False) -> int | None:
    """The one pod that is meant, of all or of those that exist now; None without any."""
    *before, last = name.split("/")
    space = "/".join(part for part in before if part not in KINDS)
    exact: dict[str, int] = {}
    near: dict[str, int] = {}
    for pod in range(len(cluster.pods)):
        owner = cluster.owners[cluster.pods.owner[pod]]
        if (space and owner.namespace != space) or (that_exist and not cluster.pods.exists[pod]):
            continue
        own = cluster.pod_name(pod)
        workload = cluster.workloads[owner.workload].name
        if own == last:
            exact[cluster.pod_key(pod)] = pod
        elif last and (last in (workload, owner.name) or own.startswith(last)):
            near[cluster.pod_key(pod)] = pod
    found = exact or near
    if len(found) > 1:
        raise SimError(f"{name!r} may be one of {len(found):,} pods: {_listed(found, cluster)}")
    return next(iter(found.values()), None)


def _listed(found: Mapping[str, int], cluster: Cluster) -> str:
    """The first few pods by name, those that wait before the others."""
    pods = cluster.pods
    waiting = [key for key, pod in found.items() if pods.exists[pod] and pods.node[pod] == UNBOUND]
    others = [key for key in found if key not in set(waiting)]
    named = [*(f"{key} (waits)" for key in waiting), *others]
    more = len(named) - MOST_MATCHES
    return ", ".join(named[:MOST_MATCHES]) + (f" and {more:,} more" if more > 0 else "")
