"""How a node's CPU is divided: cgroup weights and quotas, and the fair share they lead to.

Weights and quotas follow pkg/kubelet/cm/helpers_linux.go, cgroup_manager_linux.go and
qos_container_manager_linux.go (v1.36.2) and the opencontainers/cgroups library. The division is
what the kernel's scheduler tends to over an interval of constant demands: a work-conserving
weighted max-min with caps, level by level down the cgroup tree. All amounts are integer millicores.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from sim.podspec import QosClass

MIN_SHARES = 2
MAX_SHARES = 262_144
SHARES_PER_CPU = 1024
MAX_WEIGHT = 10_000  # cgroup v2 weights go from 1 to 10000
PERIOD_US = 100_000
MIN_QUOTA_US = 1_000
MIN_QUOTA_M = 10  # the smallest quota in the default period: 1 ms of 100 ms
# What a cgroup v2 weighs when nobody writes cpu.weight (the kernel's cgroup-v2.rst). The kubelet
# enforces only the pods' cgroup by default, so the system's own slices keep it.
DEFAULT_WEIGHT = 100


def cpu_shares(milli: int) -> int:
    """cgroup v1 cpu.shares of a request (MilliCPUToShares)."""
    return min(max(milli * SHARES_PER_CPU // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota(milli: int, period_us: int = PERIOD_US) -> int:
    """CFS quota of a limit in microseconds a period, 0 = none (MilliCPUToQuota)."""
    return max(MIN_QUOTA_US, milli * period_us // 1000) if milli else 0


def linear_weight(shares: int) -> int:
    """cgroup v2 cpu.weight as the kubelet and older runtimes write it (1 CPU is 39)."""
    shares = min(max(shares, MIN_SHARES), MAX_SHARES)
    return 1 + (shares - MIN_SHARES) * (MAX_WEIGHT - 1) // (MAX_SHARES - MIN_SHARES)


def runtime_weight(shares: int) -> int:
    """cgroup v2 cpu.weight of a container from runc 1.3.2 or crun 1.23 on (1 CPU is 100)."""
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def pod_weight(request_m: int) -> int:
    """Weight of a pod's (or slice's) cgroup among its siblings."""
    return linear_weight(cpu_shares(request_m))


def container_weight(request_m: int | None, limit_m: int = 0, *, new_runtime: bool = True) -> int:
    """Weight of a container inside its pod; without a request its limit counts."""
    shares = cpu_shares(limit_m if request_m is None else request_m)
    return runtime_weight(shares) if new_runtime else linear_weight(shares)


@dataclass(frozen=True, slots=True)
class PodCpu:
    """A pod as the node's CPU sees it; `limit_m` is the quota of the pod's cgroup, 0 = none."""

    demand_m: int
    request_m: int = 0
    limit_m: int = 0
    qos: QosClass = "Burstable"

    @property
    def cap_m(self) -> int:
        """The most it may use, 0 = no quota: a quota is never less than 10 m."""
        return max(self.limit_m, MIN_QUOTA_M) if self.limit_m else 0

    @property
    def need_m(self) -> int:
        """What it would use if nobody else wanted any."""
        return min(self.demand_m, self.cap_m) if self.limit_m else self.demand_m


def share_cpu(
    pods: Sequence[PodCpu],
    capacity_m: int,
    kubepods_m: int,
    *,
    system_m: int = 0,
    kube_m: int = 0,
) -> list[int]:
    """What each pod uses, in the order given.

    `kubepods_m` is capacity less the system and kube reservations: it sets what the pods together
    weigh, it is no cap. `system_m` and `kube_m` are what those two slices want to use.
    """
    needs = [pod.need_m for pod in pods]
    if sum(needs) + system_m + kube_m <= capacity_m:
        return needs
    tree = node_tree(pods, kubepods_m, system_m=system_m, kube_m=kube_m)
    return _in_order_of(pods, allocate(tree, capacity_m))


def headroom(
    pods: Sequence[PodCpu],
    capacity_m: int,
    kubepods_m: int,
    *,
    system_m: int = 0,
    kube_m: int = 0,
) -> list[int]:
    """The most each pod could use if it alone asked for all it may have and the others stayed.

    Rounded down on every level, so it may be a few millicores short of `share_cpu`'s answer.
    """
    tree = node_tree(pods, kubepods_m, system_m=system_m, kube_m=kube_m)
    return _in_order_of(pods, ceilings(tree, capacity_m))


def slowdown(demand_m: int, available_m: int) -> float:
    """How many times longer work takes than on an idle core: 1 / (1 - demand / available).

    A modelling choice: the mean of an M/G/1 queue under processor sharing, where `available_m` is
    what the container could get (`headroom`). Infinite when the demand takes all of it.
    """
    return math.inf if demand_m >= available_m else available_m / (available_m - demand_m)


def answer_ms(service_ms: float, demand_m: int, available_m: int) -> float:
    """Mean time to answer a request that needs `service_ms` of CPU; see `slowdown`."""
    return service_ms * slowdown(demand_m, available_m)


@dataclass(frozen=True, slots=True)
class Group:
    """A cgroup: a leaf that demands, or (`children` not None) a group that passes on.

    `weight` is at least 1 and counts among siblings; `cap_m` 0 = none.
    """

    weight: int
    cap_m: int = 0
    demand_m: int = 0
    children: tuple[Group, ...] | None = None

    @property
    def need_m(self) -> int:
        """What it would use of an empty machine."""
        need_m = self.demand_m
        if self.children is not None:
            need_m = sum(child.need_m for child in self.children)
        return min(need_m, self.cap_m) if self.cap_m else need_m


def node_tree(
    pods: Sequence[PodCpu], kubepods_m: int, *, system_m: int = 0, kube_m: int = 0
) -> Group:
    """The cgroups of a node: root {system, kube, kubepods {guaranteed..., burstable, besteffort}}.

    The burstable slice weighs the sum of its pods' requests. The kubelet refreshes that every
    60 s and whenever it makes a pod's cgroup; here it is always fresh.
    """
    guaranteed = [_pod_group(pod) for pod in pods if pod.qos == "Guaranteed"]
    burstable = [pod for pod in pods if pod.qos == "Burstable"]
    besteffort = [_pod_group(pod) for pod in pods if pod.qos == "BestEffort"]
    burstable_weight = pod_weight(sum(pod.request_m for pod in burstable))
    slices = (
        *guaranteed,
        Group(burstable_weight, children=tuple(_pod_group(pod) for pod in burstable)),
        Group(pod_weight(0), children=tuple(besteffort)),
    )
    system = Group(DEFAULT_WEIGHT, demand_m=system_m)
    kube = Group(DEFAULT_WEIGHT, demand_m=kube_m)
    kubepods = Group(pod_weight(kubepods_m), children=slices)
    return Group(weight=1, children=(system, kube, kubepods))


def allocate(tree: Group, capacity_m: int) -> list[int]:
    """What each leaf uses when the tree may use `capacity_m`, depth first."""
    granted_m = min(tree.need_m, capacity_m)
    if tree.children is None:
        return [granted_m]
    needs = [child.need_m for child in tree.children]
    shares = _water_fill(needs, [child.weight for child in tree.children], granted_m)
    parts = zip(tree.children, shares, strict=True)
    return [used_m for child, share_m in parts for used_m in allocate(child, share_m)]


def ceilings(tree: Group, capacity_m: int) -> list[int]:
    """What each leaf would use if it alone asked for everything, depth first, rounded down."""
    # A group that asks for n gets min(n, what it gets for asking everything), on every level;
    # so the levels can be answered one by one from the top.
    most_m = min(capacity_m, tree.cap_m) if tree.cap_m else capacity_m
    if tree.children is None:
        return [most_m]
    needs = [child.need_m for child in tree.children]
    alone = _each_alone(needs, [child.weight for child in tree.children], most_m)
    parts = zip(tree.children, alone, strict=True)
    return [leaf_m for child, child_m in parts for leaf_m in ceilings(child, child_m)]


def fair_share(
    demands_m: Sequence[int], weights: Sequence[int], caps_m: Sequence[int], capacity_m: int
) -> list[int]:
    """Divide `capacity_m` among siblings: nobody above demand or cap (0 = none), nothing wasted.

    Those whose need is not met all get the same per weight, more than anybody else gets. Whole
    millicores: units left by rounding go to the largest fractions, the first of equal ones.
    """
    pairs = zip(demands_m, caps_m, strict=True)
    needs = [min(demand_m, cap_m) if cap_m else demand_m for demand_m, cap_m in pairs]
    return _water_fill(needs, weights, capacity_m)


def _water_fill(needs: Sequence[int], weights: Sequence[int], capacity_m: int) -> list[int]:
    if sum(needs) <= capacity_m:
        return list(needs)
    shares = list(needs)
    order = _thirst_order(needs, weights)
    left_m, weight = capacity_m, sum(weights)
    for position, i in enumerate(order):
        if needs[i] * weight > weights[i] * left_m:  # it and all after it stay unmet
            _split(shares, order[position:], weights, left_m, weight)
            break
        left_m -= needs[i]
        weight -= weights[i]
    return shares


def _split(
    shares: list[int], unmet: Sequence[int], weights: Sequence[int], left_m: int, weight: int
) -> None:
    """Write `left_m` in proportion to the weights; `weight` is the sum of those of `unmet`."""
    for i in unmet:
        shares[i] = weights[i] * left_m // weight
    spare_m = left_m - sum(shares[i] for i in unmet)
    # An unmet need is above its exact share, so one more unit never exceeds it.
    by_fraction = sorted(unmet, key=lambda i: (-(weights[i] * left_m % weight), i))
    for i in by_fraction[:spare_m]:
        shares[i] += 1


def _each_alone(needs: Sequence[int], weights: Sequence[int], capacity_m: int) -> list[int]:
    """For each sibling its share, rounded down, if its need were endless and the others' not."""
    order = _thirst_order(needs, weights)
    filling = _Filling(needs, weights, capacity_m, order)
    alone = [0] * len(needs)
    for position, i in enumerate(order):
        alone[i] = filling.alone(position)
    return alone


class _Filling:
    """The siblings in the order of filling, with sums over the first k of them."""

    def __init__(
        self, needs: Sequence[int], weights: Sequence[int], capacity_m: int, order: Sequence[int]
    ) -> None:
        self.needs = [needs[i] for i in order]
        self.weights = [weights[i] for i in order]
        self.left_m = [capacity_m, *(capacity_m - met_m for met_m in accumulate(self.needs))]
        total = sum(weights)
        self.left_weight = [total, *(total - met for met in accumulate(self.weights))]

    def alone(self, position: int) -> int:
        """Share of the sibling at `position` if its need were endless: it is filled last.

        Once one of the others is not met, none after it is, so bisection finds the first such.
        """
        others = range(len(self.needs) - 1)
        met = bisect_left(others, True, key=lambda k: self._unmet(k, position))
        left_m, weight = self._left(met, position)
        return self.weights[position] * left_m // weight

    def _unmet(self, k: int, last: int) -> bool:
        """Whether number `k` of the others (all but `last`) is not met."""
        left_m, weight = self._left(k, last)
        other = k if k < last else k + 1
        return self.needs[other] * weight > self.weights[other] * left_m

    def _left(self, k: int, last: int) -> tuple[int, int]:
        """Capacity and weight left when the first `k` of the others are met."""
        if k <= last:
            return self.left_m[k], self.left_weight[k]
        return (
            self.left_m[k + 1] + self.needs[last],
            self.left_weight[k + 1] + self.weights[last],
        )


def _thirst_order(needs: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Positions by need per weight, ascending; exact, without fractions.

    Two different ratios differ by at least 1 / (the product of their weights), so scaled by the
    largest weight squared they stay apart when rounded down.
    """
    scale = max(weights, default=1) ** 2
    return sorted(range(len(needs)), key=lambda i: needs[i] * scale // weights[i])


def _pod_group(pod: PodCpu) -> Group:
    # A BestEffort pod requests 0 and so gets the smallest weight.
    return Group(pod_weight(pod.request_m), pod.cap_m, pod.demand_m)


def _in_order_of(pods: Sequence[PodCpu], leaves: Sequence[int]) -> list[int]:
    """Turn the leaves of `node_tree` (system, kube, then pods by class) into the pods' order."""
    ranks: dict[QosClass, int] = {"Guaranteed": 0, "Burstable": 1, "BestEffort": 2}
    by_class = sorted(range(len(pods)), key=lambda i: ranks[pods[i].qos])
    answer = [0] * len(pods)
    for i, leaf in zip(by_class, leaves[2:], strict=True):
        answer[i] = leaf
    return answer
