"""What the node lifecycle controller thinks of one node: its health, and the taints that follow.

Pure functions after pkg/controller/nodelifecycle/node_lifecycle_controller.go, Kubernetes v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sim.podspec import Effect, Taint

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

# condition type -> its status -> the key of the taint that goes with it
CONDITION_TAINTS: dict[str, dict[str, str]] = {
    "Ready": {FALSE: NOT_READY, UNKNOWN: UNREACHABLE},
    "MemoryPressure": {TRUE: "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {TRUE: "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {TRUE: "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {TRUE: "node.kubernetes.io/pid-pressure"},
}
MANAGED_KEYS = {key for keys in CONDITION_TAINTS.values() for key in keys.values()} | {
    UNSCHEDULABLE
}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the API shows of a node in one monitor pass; times in any unit, on one scale.

    `ready` and `heartbeat` are of its Ready condition, None before the first one was posted.
    """

    created: int
    ready: str | None = TRUE
    heartbeat: int | None = None
    renewed: int | None = None  # its lease, None without one


@dataclass(frozen=True, slots=True)
class Seen:
    """What the controller keeps of a node from pass to pass."""

    probe: int  # when it last saw a sign of life
    ready: str | None
    heartbeat: int | None
    renewed: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """The outcome of one pass for one node."""

    seen: Seen
    grace: int
    ready: str | None  # after the pass
    reason: str = ""  # of the Unknown that is written, '' when nothing is
    unready_pods: bool = False  # its pods lose their Ready condition

    @property
    def written(self) -> bool:
        """Whether the controller writes the node's status."""
        return bool(self.reason)


def node_health(
    now: int, node: NodeStatus, before: Seen | None, grace: int, startup_grace: int
) -> Health:
    """Whether a node has been silent for longer than its grace (tryUpdateNodeHealth).

    A node that never posted a status has the longer start-up grace, from its creation on.
    """
    seen = _seen(now, node, before)
    if node.ready is None:
        grace = startup_grace
    if now <= seen.probe + grace or node.ready == UNKNOWN:
        return Health(seen, grace, node.ready)
    reason = "NodeStatusNeverUpdated" if node.ready is None else "NodeStatusUnknown"
    return Health(seen, grace, UNKNOWN, reason, unready_pods=node.ready == TRUE)


def _seen(now: int, node: NodeStatus, before: Seen | None) -> Seen:
    if before is None:
        born = node.created if node.ready is None else now
        before = Seen(born, node.ready, node.heartbeat, None)
    appeared = (before.ready is None) != (node.ready is None)
    alive = appeared or before.heartbeat != node.heartbeat
    if node.renewed is not None and (before.renewed is None or before.renewed < node.renewed):
        alive = True
    seen = Seen(before.probe, node.ready, node.heartbeat, node.renewed)
    return replace(seen, probe=now) if alive else seen


def noschedule_taints(
    conditions: Mapping[str, str], unschedulable: bool, taints: tuple[Taint, ...]
) -> tuple[Taint, ...]:
    """The taints of a node once its NoSchedule ones follow its conditions; others stay.

    As doNoScheduleTaintingPass.
    """
    keys = [
        CONDITION_TAINTS[kind][status]
        for kind, status in conditions.items()
        if status in CONDITION_TAINTS.get(kind, {})
    ]
    if unschedulable:
        keys.append(UNSCHEDULABLE)
    wanted = [Taint(key, "NoSchedule") for key in keys]
    kept = [taint for taint in taints if not _managed(taint) or _in(taint, wanted)]
    return (*kept, *(taint for taint in wanted if not _in(taint, kept)))


def noexecute_taints(ready: str, taints: tuple[Taint, ...]) -> tuple[Taint, ...]:
    """The taints of a node with the NoExecute one that goes with its Ready condition."""
    key = CONDITION_TAINTS["Ready"].get(ready)
    kept = tuple(t for t in taints if not is_lifecycle_noexecute(t) or t.key == key)
    if key is None or any(is_lifecycle_noexecute(taint) for taint in kept):
        return kept
    return (*kept, Taint(key, "NoExecute"))


def is_lifecycle_noexecute(taint: Taint) -> bool:
    """Whether it is one of the two NoExecute taints that the controller gives and takes."""
    return taint.effect == "NoExecute" and taint.key in (NOT_READY, UNREACHABLE)


def _managed(taint: Taint) -> bool:
    effect: Effect = "NoSchedule"
    return taint.effect == effect and taint.key in MANAGED_KEYS


def _in(taint: Taint, taints: list[Taint]) -> bool:
    return any(t.key == taint.key and t.effect == taint.effect for t in taints)
