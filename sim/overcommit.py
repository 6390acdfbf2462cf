"""What happens when the containers of a node want more than it has.

CPU is shared: nobody dies, work takes longer (`sim.cpu`, re-exported here). Memory is not: a
container above its own limit dies, and when the node has none left the kernel kills by badness.
A killed container restarts on the same node; eviction, which moves pods, is the kubelet's and
looks at what the kernel has left.

Pod cgroups follow pkg/kubelet/cm/helpers_linux.go, scores pkg/kubelet/qos/policy.go (v1.36.2), the
order of victims mm/oom_kill.c. Not modelled: swap, page cache, MemoryQoS (alpha), and kills by
the memory limit of a pod's own cgroup: its containers' limits act first, except where the pod sets
a limit of its own (spec.resources) that several containers share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sim.cpu import (
    PERIOD_US,
    Group,
    PodCpu,
    allocate,
    answer_ms,
    cpu_quota,
    cpu_shares,
    fair_share,
    headroom,
    pod_weight,
    share_cpu,
    slowdown,
)
from sim.errors import SimError
from sim.podspec import CPU, MEMORY, Container, PodSpec, QosClass

__all__ = [
    "VICTIM_POLICIES",
    "ContainerMemory",
    "Group",
    "OomEvent",
    "Overcommit",
    "PodCgroup",
    "PodCpu",
    "allocate",
    "answer_ms",
    "badness",
    "container_oom_score_adj",
    "fair_share",
    "first_above_ms",
    "first_at_most_ms",
    "headroom",
    "kernel",
    "largest_request",
    "next_oom",
    "oom_score_adj",
    "overcommit",
    "pod_cgroup",
    "pod_cpu",
    "share_cpu",
    "slowdown",
    "total_b",
]

MS_PER_HOUR = 3_600_000
NODE_CRITICAL = "system-node-critical"
GUARANTEED_ADJ = -997  # also node-critical pods
BEST_EFFORT_ADJ = 1000
LOWEST_BURSTABLE_ADJ = 3  # 1000 + GUARANTEED_ADJ
EXEMPT_ADJ = -1000  # the kernel never kills it
EXEMPT_POINTS = -(2**63)  # LONG_MIN

Cause = Literal["container limit", "node"]


# --- Memory in use, and the kills it leads to ---


@dataclass(frozen=True, slots=True)
class ContainerMemory:
    """The memory of one running container: a straight line that may end in a plateau.

    At `at_ms` it uses `value_b`; from there (ask for no earlier time) it gains `growth_b` every
    `growth_per_ms`, in whole bytes, and from `until_ms` on (None = never) it stays. A shrinking
    line must end before it falls below 0.
    """

    value_b: int
    at_ms: int = 0
    growth_b: int = 0
    growth_per_ms: int = MS_PER_HOUR
    until_ms: int | None = None
    limit_b: int = 0  # 0 = none
    adj: int = 0  # oom_score_adj
    request_b: int = 0

    def __post_init__(self) -> None:
        if self.until_ms is not None and self.until_ms < self.at_ms:
            raise SimError(f"memory ends to change at {self.until_ms} ms, before {self.at_ms} ms")
        if self.growth_b < 0 and (self.until_ms is None or self.value_at(self.until_ms) < 0):
            raise SimError(
                f"memory of {self.value_b} bytes, {self.growth_b} every {self.growth_per_ms} ms, "
                f"falls below 0; expected until_ms at or before that, got {self.until_ms}"
            )

    def value_at(self, ms: int) -> int:
        """Bytes in use at `ms`, rounded down."""
        return self.parts_at(ms, self.growth_per_ms) // self.growth_per_ms

    def parts_at(self, ms: int, parts: int) -> int:
        """Exact use at `ms`, counted in `parts` to the byte: a multiple of `growth_per_ms`."""
        grown_ms = (ms if self.until_ms is None else min(ms, self.until_ms)) - self.at_ms
        return self.value_b * parts + self.slope(parts) * grown_ms

    def slope(self, parts: int) -> int:
        """What it gains per ms until `until_ms`, in the same parts of a byte."""
        return self.growth_b * (parts // self.growth_per_ms)


def total_b(containers: Iterable[ContainerMemory], ms: int) -> int:
    """Bytes in use by all together at `ms`; fractions are added before rounding down."""
    containers = list(containers)
    parts = _common_parts(containers)
    return sum(use.parts_at(ms, parts) for use in containers) // parts


def _common_parts(containers: Iterable[ContainerMemory]) -> int:
    """Parts of a byte in which every container's growth per ms is a whole number."""
    return math.lcm(*{use.growth_per_ms for use in containers})


@dataclass(frozen=True, slots=True)
class OomEvent:
    """Kills at one instant; `victims` are positions in the sequence asked about, first out first.

    "container limit": every container above its own limit. "node": those killed, one by one,
    until the rest fits. Take the victims out and ask again from `at_ms`: at one instant the node
    may still be short after containers died of their own limits.
    """

    at_ms: int
    victims: tuple[int, ...]
    cause: Cause


def next_oom(
    containers: Sequence[ContainerMemory],
    now_ms: int,
    kubepods_limit_b: int,
    capacity_b: int,
    system_used_b: int = 0,
    policy: VictimPolicy | None = None,
) -> OomEvent | None:
    """The first kills at or after `now_ms`, or None if the laws as they are never lead to one.

    The first whole ms at which a container uses more than its limit, or all together more than
    `kubepods_limit_b`, or all and the system more than `capacity_b`. `policy` ranks the victims
    of the node (default `kernel`); a container with oom_score_adj -1000 never dies.
    """
    mortal = [i for i, use in enumerate(containers) if use.adj != EXEMPT_ADJ]
    if not mortal:
        return None
    own_ms = _first_own_ms([containers[i] for i in mortal], now_ms)
    room_b = min(kubepods_limit_b, capacity_b - system_used_b)
    node_ms = first_above_ms(containers, room_b, now_ms)
    if own_ms is not None and (node_ms is None or own_ms <= node_ms):
        over = (i for i in mortal if 0 < containers[i].limit_b < containers[i].value_at(own_ms))
        return OomEvent(own_ms, tuple(over), "container limit")
    if node_ms is None:
        return None
    ask = _NodeShort(containers, node_ms, kubepods_limit_b, capacity_b, system_used_b)
    return OomEvent(node_ms, tuple(ask.victims(mortal, policy or kernel)), "node")


def _first_own_ms(uses: Iterable[ContainerMemory], now_ms: int) -> int | None:
    """First ms at or after `now_ms` at which one of them uses more than its limit."""
    times = [first_above_ms([use], use.limit_b, now_ms) for use in uses if use.limit_b]
    return min((ms for ms in times if ms is not None), default=None)


def first_above_ms(uses: Sequence[ContainerMemory], level_b: int, now_ms: int) -> int | None:
    """First ms at or after `now_ms` at which `total_b` is above `level_b`; exact."""
    # In whole bytes "more" is "at least one byte more".
    return _first_reaching_ms(uses, level_b + 1, now_ms, sign=1)


def first_at_most_ms(uses: Sequence[ContainerMemory], level_b: int, now_ms: int) -> int | None:
    """First ms at or after `now_ms` at which `total_b` is not above `level_b`; exact."""
    return _first_reaching_ms(uses, level_b + 1, now_ms, sign=-1)


def _first_reaching_ms(
    uses: Sequence[ContainerMemory], level_b: int, now_ms: int, *, sign: int
) -> int | None:
    """First ms at which all together use at least (with -1: less than) `level_b`."""
    parts = _common_parts(uses)
    target = sign * level_b * parts + (sign < 0)
    level = sign * sum(use.parts_at(now_ms, parts) for use in uses)
    if level >= target:
        return now_ms
    ends = [(use.until_ms, sign * use.slope(parts)) for use in uses if use.until_ms is not None]
    slope = sign * sum(use.slope(parts) for use in uses)
    slope -= sum(gained for end_ms, gained in ends if end_ms <= now_ms)
    for end_ms, gained in sorted(end for end in ends if end[0] > now_ms):
        reached = level + slope * (end_ms - now_ms)
        if reached >= target:
            break
        level, now_ms = reached, end_ms
        slope -= gained
    return now_ms - (level - target) // slope if slope > 0 else None  # rounded up


@dataclass(frozen=True, slots=True)
class _NodeShort:
    """A node at the moment its pods have outgrown it."""

    containers: Sequence[ContainerMemory]
    at_ms: int
    kubepods_limit_b: int
    capacity_b: int
    system_used_b: int

    def victims(self, alive: Iterable[int], policy: VictimPolicy) -> list[int]:
        """Who dies, in order, until the rest fits or none is left."""
        alive = list(alive)
        killed: list[int] = []
        parts = _common_parts(self.containers)
        used = sum(use.parts_at(self.at_ms, parts) for use in self.containers)
        while alive and (memory_b := self._exceeded_b(used // parts)) is not None:
            # Among equals the kernel takes the one it looks at last, the youngest.
            victim = max(alive, key=lambda i: (self._points(i, memory_b, policy), i))
            alive.remove(victim)
            killed.append(victim)
            used -= self.containers[victim].parts_at(self.at_ms, parts)
        return killed

    def _points(self, i: int, memory_b: int, policy: VictimPolicy) -> int:
        return policy(self.containers[i], self.containers[i].value_at(self.at_ms), memory_b)

    def _exceeded_b(self, used_b: int) -> int | None:
        """The limit that `used_b` breaks: of the pods' cgroup, else of the machine; else None."""
        if used_b > self.kubepods_limit_b:
            return self.kubepods_limit_b
        return self.capacity_b if used_b + self.system_used_b > self.capacity_b else None


# --- Who dies ---

# (container, bytes in use, bytes of the memory that ran out) -> points; the highest dies.
VictimPolicy = Callable[[ContainerMemory, int, int], int]


def kernel(use: ContainerMemory, used_b: int, memory_b: int) -> int:
    """The kernel's own order: highest badness dies."""
    return badness(used_b, use.adj, memory_b)


def largest_request(use: ContainerMemory, used_b: int, memory_b: int) -> int:
    """A rule of thumb found in books: who requested most dies. Linux does not work like this."""
    return use.request_b


VICTIM_POLICIES: Mapping[str, VictimPolicy] = {
    "kernel": kernel,
    "largest-request": largest_request,
}


def badness(usage_b: int, adj: int, memory_b: int) -> int:
    """The kernel's points for a process (oom_badness), in bytes where the kernel counts pages.

    `memory_b` is the memory that ran out: the machine's, or the limit of the cgroup.
    """
    return EXEMPT_POINTS if adj == EXEMPT_ADJ else usage_b + adj * memory_b // 1000


def oom_score_adj(
    qos: QosClass,
    memory_request_b: int,
    node_memory_b: int,
    *,
    node_critical: bool = False,
    smallest_regular_b: int | None = None,
) -> int:
    """oom_score_adj of a container (GetContainerOOMScoreAdjust).

    `memory_request_b` is the container's own, `node_memory_b` the machine's capacity. For a
    sidecar `smallest_regular_b` is the smallest request of the pod's regular containers: it does
    not die before all of them. With pod-level requests both contain the container's part of what
    the pod requests beyond its containers.
    """
    if node_critical or qos == "Guaranteed":
        return GUARANTEED_ADJ
    if qos == "BestEffort":
        return BEST_EFFORT_ADJ
    counted_b = max(memory_request_b, smallest_regular_b or 0)
    adj = 1000 - 1000 * counted_b // node_memory_b
    # Above every Guaranteed container, below every BestEffort one.
    return min(max(adj, LOWEST_BURSTABLE_ADJ), BEST_EFFORT_ADJ - 1)


def container_oom_score_adj(spec: PodSpec, container: Container, node_memory_b: int) -> int:
    """oom_score_adj of one container of a pod, pod-level requests and sidecars included."""
    extra_b = _unassigned_request_b(spec)
    smallest_b = min((c.requests.get(MEMORY, 0) for c in spec.containers), default=0) + extra_b
    return oom_score_adj(
        spec.qos,
        container.requests.get(MEMORY, 0) + extra_b,
        node_memory_b,
        node_critical=spec.priority_class == NODE_CRITICAL,
        smallest_regular_b=smallest_b if container.sidecar else None,
    )


def _unassigned_request_b(spec: PodSpec) -> int:
    """Each container's part of the memory that the pod requests beyond its containers."""
    pod_b = spec.pod_requests.get(MEMORY, 0)
    if not pod_b:
        return 0
    containers = replace(spec, pod_requests={}, overhead={})
    count = len(spec.containers) + len(spec.init_containers)
    return (pod_b - containers.requests.get(MEMORY, 0)) // count


# --- What the kubelet writes for a pod ---


@dataclass(frozen=True, slots=True)
class PodCgroup:
    """Values of a pod's own cgroup; None = not written, quota -1 = unlimited."""

    cpu_shares: int
    cpu_weight: int
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    memory_limit_b: int | None = None


def pod_cgroup(
    spec: PodSpec, *, enforce_cpu_limits: bool = True, period_us: int = PERIOD_US
) -> PodCgroup:
    """What the kubelet writes for a pod (ResourceConfigForPod).

    A Guaranteed pod has every limit; a Burstable one those that all its containers or the pod
    itself declare; a BestEffort one none.
    """
    request_m = spec.requests.get(CPU, 0)
    quota_us = cpu_quota(spec.limits.get(CPU, 0), period_us) if enforce_cpu_limits else -1
    cpu_limited = _is_limited(spec, CPU)
    return PodCgroup(
        cpu_shares=cpu_shares(request_m),
        cpu_weight=pod_weight(request_m),
        cpu_quota_us=quota_us if cpu_limited else None,
        cpu_period_us=period_us if cpu_limited else None,
        memory_limit_b=spec.limits.get(MEMORY, 0) if _is_limited(spec, MEMORY) else None,
    )


def pod_cpu(spec: PodSpec, demand_m: int = 0) -> PodCpu:
    """A pod for `share_cpu`: its request, the quota of its cgroup, its class."""
    limit_m = spec.limits.get(CPU, 0) if _is_limited(spec, CPU) else 0
    return PodCpu(demand_m, spec.requests.get(CPU, 0), limit_m, spec.qos)


def _is_limited(spec: PodSpec, resource: str) -> bool:
    """Whether the pod's cgroup has a limit: only if no container may go beyond it."""
    containers = spec.containers + spec.init_containers
    declared = all(container.limits.get(resource) for container in containers)
    return declared or bool(spec.pod_limits.get(resource))


# --- How far limits go beyond what is there ---


@dataclass(frozen=True, slots=True)
class Overcommit:
    """`ratio` is the sum of limits / allocatable (above 1: overcommitted); `unlimited` counts
    the containers without a limit, which the ratio cannot show."""

    ratio: float
    unlimited: int


def overcommit(limits: Iterable[int], allocatable: int) -> Overcommit:
    """How far the containers' limits of one resource (0 = none) exceed what a node has."""
    amounts = list(limits)
    total = sum(amounts)
    unbounded = math.inf if total else 0.0
    return Overcommit(total / allocatable if allocatable else unbounded, amounts.count(0))
