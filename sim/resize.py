"""Resources of a running container that are no longer those it was given: update, or restart.

Follows computePodResizeAction (pkg/kubelet/kuberuntime/kuberuntime_manager.go, v1.36.2): wanted are
the allocated resources of the pod's specification, actuated those last applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sim.podspec import CPU, MEMORY, Container, PodSpec, Resources

Change = Literal["NotRequired", "RestartContainer"]
ResizePolicy = Mapping[str, Change]  # by resource; a missing one is NotRequired

# Smaller CPU requests and limits all come to the same cgroup values (pkg/kubelet/cm
# helpers_linux.go: MinShares, MinMilliCPULimit).
MIN_REQUEST_M = 2
MIN_LIMIT_M = 10


@dataclass(frozen=True, slots=True)
class Given:
    """Requests and limits of a container, or of a pod as a whole; 0 is none."""

    cpu_request_m: int = 0
    cpu_limit_m: int = 0
    memory_request_b: int = 0
    memory_limit_b: int = 0

    @classmethod
    def of(cls, requests: Resources, limits: Resources) -> Given:
        """What these resources say of CPU and memory."""
        return cls(
            requests.get(CPU, 0), limits.get(CPU, 0), requests.get(MEMORY, 0), limits.get(MEMORY, 0)
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """How a container's wanted resources differ: growth of each, and whether it must restart."""

    cpu_growth: int = 0  # by limit, or by request where limits are equal; 0: no update
    memory_growth: int = 0
    restarts: bool = False


def wanted_of(spec: PodSpec, container: Container, *, pod_level: bool = False) -> Given:
    """What a container should have.

    With `pod_level` (gate InPlacePodLevelResourcesVerticalScaling) a container without a limit has
    that of its pod.
    """
    limits = dict(container.limits)
    if pod_level:
        limits = {**spec.pod_limits, **limits}
    return Given.of(container.requests, limits)


def difference(wanted: Given, actuated: Given, policy: ResizePolicy) -> Difference:
    """What has to be done about one running container."""
    cpu = _growth(
        _cpu(wanted.cpu_limit_m, actuated.cpu_limit_m, MIN_LIMIT_M),
        _cpu(wanted.cpu_request_m, actuated.cpu_request_m, MIN_REQUEST_M),
    )
    memory = _growth(
        wanted.memory_limit_b - actuated.memory_limit_b,
        wanted.memory_request_b - actuated.memory_request_b,
    )
    restarts = (cpu != 0 and policy.get(CPU) == "RestartContainer") or (
        memory != 0 and policy.get(MEMORY) == "RestartContainer"
    )
    return Difference(cpu, memory, restarts)


def update_order(growths: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Names in the order in which their cgroups are written: what shrinks first, last named first.

    Those without growth are left out.
    """
    changed = [(name, growth) for name, growth in growths if growth]
    shrinking = [name for name, growth in changed if growth < 0]
    return (*reversed(shrinking), *(name for name, growth in changed if growth > 0))


def _growth(limit: int, request: int) -> int:
    return limit or request


def _cpu(wanted_m: int, actuated_m: int, least_m: int) -> int:
    return 0 if max(wanted_m, actuated_m) <= least_m else wanted_m - actuated_m
