"""How pods end: grace periods, who is told to stop when, and the groups of a node's shutdown.

Follows pkg/kubelet: pod_workers.go (calculateEffectiveGracePeriod), kuberuntime_container.go
(setTerminationGracePeriod, killContainer), kuberuntime_termination_order.go and
nodeshutdown/nodeshutdown_manager.go (v1.34). Times are milliseconds; where the kubelet counts whole
seconds, so does this: it cuts what a hook or a turn took down to seconds, in the pod's favour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sim.podspec import Container

MIN_POD_GRACE_MS = 1_000  # pod_workers.go: no pod gets less
MIN_STOP_MS = 2_000  # kuberuntime_container.go minimumGracePeriodInSeconds: TERM to KILL
CRITICAL_PRIORITY = 2_000_000_000  # scheduling.SystemCriticalPriority

KillReason = Literal["", "LivenessProbe", "StartupProbe", "Unknown"]


# Grace


@dataclass(frozen=True, slots=True)
class PodGrace:
    grace_ms: int
    shortened: bool = False  # a grace period that was running already has become shorter


def pod_grace(
    pod_ms: int | None,
    *,
    before_ms: int = 0,
    deletion_ms: int | None = None,
    override_ms: int | None = None,
) -> PodGrace:
    """The grace of a pod whose end is asked for (again): requests can only shorten it.

    `pod_ms` is its terminationGracePeriodSeconds, `before_ms` the grace that an earlier request has
    fixed (0: none), `deletion_ms` that of its deletion, `override_ms` that of an eviction or of a
    node's shutdown. At least one second comes out.
    """
    grace_ms, requested = before_ms, False
    for request_ms in (deletion_ms, override_ms):
        if request_ms is not None and (grace_ms == 0 or request_ms < grace_ms):
            grace_ms, requested = request_ms, True
    if grace_ms == 0 and not requested and pod_ms is not None:
        grace_ms = pod_ms
    grace_ms = max(grace_ms, MIN_POD_GRACE_MS)
    return PodGrace(grace_ms, shortened=before_ms not in (0, grace_ms))


def container_grace_ms(
    container: Container,
    pod_ms: int | None,
    reason: KillReason = "",
    *,
    deletion_ms: int | None = None,
) -> int:
    """The grace with which one container is killed for `reason`.

    That of the pod's deletion if it is being deleted; else, for a failed liveness or startup probe,
    the probe's own, which may be longer than the pod's; else the pod's; two seconds without any.
    """
    if deletion_ms is not None:
        return deletion_ms
    if pod_ms is None:
        return MIN_STOP_MS
    probe = {"LivenessProbe": container.liveness, "StartupProbe": container.startup}.get(reason)
    own_ms = probe.termination_grace_ms if probe else None
    return pod_ms if own_ms is None else own_ms


# The end of a pod's containers


@dataclass(frozen=True, slots=True)
class Stopping:
    """A running container that is to end.

    `pre_stop_ms` is what its preStop hook takes (None: it has none), `shutdown_ms` the time from
    TERM to its own exit.
    """

    sidecar: bool = False
    pre_stop_ms: int | None = None
    shutdown_ms: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """Times since the kubelet began to stop the pod."""

    term_ms: int  # TERM is sent
    kill_ms: int  # KILL is sent if it still runs
    end_ms: int  # it has ended
    killed: bool = False  # by KILL: its grace was not enough


def stop_schedule(containers: Sequence[Stopping], grace_ms: int) -> tuple[Stop, ...]:
    """When each container is told to stop, would be killed, and ends.

    `containers` are those that run: sidecars in the order of initContainers, plain ones (init
    containers too) anywhere. Hooks of all begin at once. Plain containers get TERM after their
    hook; a sidecar after its hook, when all plain ones and the sidecar after it have ended, or when
    its grace is used up by waiting: then two seconds are left to it.
    """
    ordered = any(container.sidecar for container in containers)
    stops = {i: stop(c, grace_ms) for i, c in enumerate(containers) if not c.sidecar}
    turn_ms = max((found.end_ms for found in stops.values()), default=0)
    for place in reversed(range(len(containers))):
        if ordered and containers[place].sidecar:
            stops[place] = stop(containers[place], grace_ms, turn_ms)
            turn_ms = max(turn_ms, stops[place].end_ms)
    return tuple(stops[place] for place in range(len(containers)))


def stop(container: Stopping, grace_ms: int, turn_ms: int = 0) -> Stop:
    """The end of one container whose turn (to get TERM) comes at `turn_ms`."""
    told_ms, left_ms = after_pre_stop(container.pre_stop_ms, grace_ms)
    wait_ms = min(max(0, turn_ms - told_ms), max(0, left_ms))
    term_ms = told_ms + wait_ms
    left_ms = max(left_ms - _whole_seconds(wait_ms), MIN_STOP_MS)
    end_ms = term_ms + min(container.shutdown_ms, left_ms)
    return Stop(term_ms, term_ms + left_ms, end_ms, container.shutdown_ms > left_ms)


def after_pre_stop(pre_stop_ms: int | None, grace_ms: int) -> tuple[int, int]:
    """When a preStop hook is over, at the latest with the grace, and the grace left then."""
    if pre_stop_ms is None or grace_ms <= 0:
        return 0, grace_ms
    ran_ms = min(pre_stop_ms, grace_ms)
    return ran_ms, grace_ms - _whole_seconds(ran_ms)


def _whole_seconds(duration_ms: int) -> int:
    return duration_ms // 1000 * 1000


# Shutdown of a node


@dataclass(frozen=True, slots=True)
class ShutdownGroup:
    """Pods from this priority on (up to the next group's) have this long to end."""

    priority: int
    grace_ms: int


def shutdown_groups(shutdown_ms: int, critical_ms: int) -> tuple[ShutdownGroup, ...]:
    """Groups of shutdownGracePeriod and shutdownGracePeriodCriticalPods, in the order of stopping.

    None at all, so no graceful shutdown, without a period or when critical pods get more than all.
    """
    if shutdown_ms <= 0 or critical_ms > shutdown_ms:
        return ()
    return (
        ShutdownGroup(0, shutdown_ms - critical_ms),
        ShutdownGroup(CRITICAL_PRIORITY, critical_ms),
    )


def shutdown_group(groups: Sequence[ShutdownGroup], priority: int) -> int:
    """The place of a pod's group: the highest priority up to its own, else the lowest group."""
    return max(0, sum(group.priority <= priority for group in groups) - 1)


def shutdown_order(
    groups: Iterable[ShutdownGroup], priorities: Iterable[int]
) -> tuple[tuple[ShutdownGroup, tuple[int, ...]], ...]:
    """The groups in the order of stopping, each with the places of its pods in `priorities`.

    A group ends when its pods are gone and their volumes unmounted, or with its time; one without
    pods takes no time.
    """
    ordered = sorted(groups, key=lambda group: group.priority)
    members: list[list[int]] = [[] for _ in ordered]
    for place, priority in enumerate(priorities):
        members[shutdown_group(ordered, priority)].append(place)
    return tuple((group, tuple(pods)) for group, pods in zip(ordered, members, strict=True))


def shutdown_grace_ms(group: ShutdownGroup, pod_ms: int | None) -> int:
    """The grace of a pod in a shutdown: its own, at most its group's."""
    return group.grace_ms if pod_ms is None else min(pod_ms, group.grace_ms)


def shutdown_inhibits_ms(groups: Iterable[ShutdownGroup]) -> int:
    """How long the kubelet holds the shutdown of its machine back, at most."""
    return sum(group.grace_ms for group in groups)


@dataclass(frozen=True, slots=True)
class ShutdownEnd:
    phase: Literal["Succeeded", "Failed"]
    reason: str


def shutdown_end(phase: str) -> ShutdownEnd:
    """How a pod ends that a shutdown has stopped: what had succeeded stays so."""
    return ShutdownEnd("Succeeded" if phase == "Succeeded" else "Failed", "Terminated")
