"""Zones of a cluster: how bad an outage is, and how fast its nodes get NoExecute taints.

Pure functions and the rate-limited queue, after pkg/controller/nodelifecycle
(node_lifecycle_controller.go, scheduler/rate_limited_queue.go), Kubernetes v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from sim.clock import TokenBucket
from sim.labels import Labels

if TYPE_CHECKING:
    from sim.tables import Bools, Ints

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
EXCLUDE_LABEL = "node.kubernetes.io/exclude-disruption"


@dataclass(frozen=True, slots=True)
class LifecycleSettings:
    """Flags of kube-controller-manager with their upstream values, and measured latencies."""

    monitor_period_ms: int = 5_000  # --node-monitor-period, from the end of the last pass
    monitor_grace_ms: int = 50_000  # --node-monitor-grace-period; 40 s before 1.32
    eviction_rate_per_s: float = 0.1  # --node-eviction-rate
    secondary_eviction_rate_per_s: float = 0.01  # --secondary-node-eviction-rate
    large_cluster_threshold: int = 50  # --large-cluster-size-threshold, of a zone
    unhealthy_zone_threshold: float = 0.55  # --unhealthy-zone-threshold
    qps: float = 20.0  # --kube-api-qps: this controller's own client
    burst: int = 30  # --kube-api-burst
    pass_ms: int = 5  # how long a pass takes that writes nothing (a modelling choice)
    write_ms: int = 30  # a status write; measured 25 to 60 ms per pod
    taint_latency_ms: int = 50  # from a change until the taint; measured 10 to 60 ms
    ideal: bool = False  # no latencies and no limit of the client


class ZoneState(Enum):
    """How bad it is; a zone is INITIAL until its first pass is over."""

    INITIAL = "Initial"
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def zone_key(region: str, zone: str) -> str:
    """What names a zone; nodes without both labels share the zone ''."""
    return f"{region}:/:{zone}" if region or zone else ""


def zone_key_of(labels: Labels, zone: str = "") -> str:
    """The zone of a node by its labels, `zone` where it has no zone label."""
    return zone_key(labels.get(REGION_LABEL, ""), labels.get(ZONE_LABEL, zone))


def counts_for_disruption(labels: Labels) -> bool:
    """Whether a node counts in the state of its zone."""
    return EXCLUDE_LABEL not in labels


def zone_counts(names: list[str], zones: Ints, ready: Bools) -> dict[str, tuple[int, int]]:
    """Ready and not-ready nodes per zone; `zones` and `ready` have one entry per node.

    `zones` are places in `names`. Zones without nodes are left out.
    """
    total = np.bincount(zones, minlength=len(names)).tolist()
    good = np.bincount(zones[ready], minlength=len(names)).tolist()
    return {names[z]: (good[z], total[z] - good[z]) for z in range(len(names)) if total[z]}


def zone_state(ready: int, not_ready: int, threshold: float) -> ZoneState:
    """The state of a zone (ComputeZoneState)."""
    if ready == 0 and not_ready > 0:
        return ZoneState.FULL
    if not_ready > 2 and not_ready / (ready + not_ready) >= threshold:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def taint_rate(state: ZoneState, size: int, settings: LifecycleSettings) -> float:
    """Nodes per second that get NoExecute taints in a zone of `size` nodes in this state."""
    if state is not ZoneState.PARTIAL:
        return settings.eviction_rate_per_s
    if size > settings.large_cluster_threshold:
        return settings.secondary_eviction_rate_per_s
    return 0.0


@dataclass(frozen=True, slots=True)
class Disruption:
    """What a monitor pass concludes about all zones."""

    states: dict[str, ZoneState]
    rates: dict[str, float]  # of the zones whose rate is set anew
    all_dead_begins: bool = False  # NoExecute taints are taken off all nodes
    all_dead_ends: bool = False  # every node gets a fresh grace


def disruption(
    before: Mapping[str, ZoneState],
    counts: Mapping[str, tuple[int, int]],
    settings: LifecycleSettings,
) -> Disruption:
    """The zones' new states and rates from their (ready, not ready) counts (handleDisruption).

    With all zones dead the controller takes itself for cut off and evicts nothing.
    """
    states = {
        zone: zone_state(ready, not_ready, settings.unhealthy_zone_threshold)
        for zone, (ready, not_ready) in counts.items()
    }
    known = {zone: before.get(zone, ZoneState.INITIAL) for zone in counts}
    all_dead = _all_full(states)
    were_dead = _all_full(known)
    if all_dead and were_dead:
        return Disruption(states, {})
    if all_dead:
        return Disruption(states, dict.fromkeys(counts, 0.0), all_dead_begins=True)
    rates = {
        zone: taint_rate(states[zone], sum(counts[zone]), settings)
        for zone in counts
        if were_dead or states[zone] is not known[zone]
    }
    return Disruption(states, rates, all_dead_ends=were_dead)


def _all_full(states: Mapping[str, ZoneState]) -> bool:
    return all(state is ZoneState.FULL for state in states.values())


class ZoneQueue:
    """Nodes of a zone that wait for their NoExecute taint, first come first served.

    A node stays known after its turn, so that it is not queued again, until it is removed.
    """

    def __init__(self, rate_per_s: float, now_ms: int) -> None:
        self.rate_per_s = rate_per_s
        self._bucket = TokenBucket(rate_per_s, 1, now_ms) if rate_per_s > 0 else None
        self._waiting: dict[int, None] = {}
        self._known: set[int] = set()

    def __contains__(self, node: int) -> bool:
        return node in self._known

    def add(self, node: int) -> None:
        """Queue a node, unless it is known."""
        if node not in self._known:
            self._known.add(node)
            self._waiting[node] = None

    def remove(self, node: int) -> None:
        """Forget a node."""
        self._known.discard(node)
        self._waiting.pop(node, None)

    def next_ms(self, now_ms: int) -> int | None:
        """When the next node can have its turn; None if none waits, or the rate is zero."""
        return self._bucket.next_ms(now_ms) if self._waiting and self._bucket else None

    def take(self, now_ms: int) -> int | None:
        """The node whose turn it is now; it costs a token."""
        if self._bucket is None or self.next_ms(now_ms) != now_ms:
            return None
        self._bucket.reserve(now_ms)
        node = next(iter(self._waiting))
        del self._waiting[node]
        return node

    def swap(self, rate_per_s: float, now_ms: int) -> None:
        """Set another rate. The new bucket starts empty if the old one had no token."""
        if rate_per_s == self.rate_per_s:
            return
        full = self._bucket is not None and self._bucket.has_token(now_ms)
        self.rate_per_s = rate_per_s
        self._bucket = TokenBucket(rate_per_s, 1, now_ms, full=full) if rate_per_s > 0 else None
