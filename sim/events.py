"""What happened to an object, as the scheduling queue's hints see it.

A change of the cluster becomes one or more events: an update of a node that moves its labels and
its taints is two. Each plugin says which events may help a pod that it has refused.

Upstream: pkg/scheduler/framework/{types,events}.go (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import TYPE_CHECKING, Any

from sim.labels import Labels
from sim.podspec import Resources, Taint

if TYPE_CHECKING:
    from sim.templates import Template


class Kind(Enum):
    """Whose event it is."""

    POD = "Pod"
    NODE = "Node"
    PV = "PersistentVolume"
    PVC = "PersistentVolumeClaim"
    STORAGE_CLASS = "StorageClass"
    CSI_NODE = "CSINode"
    CSI_DRIVER = "CSIDriver"
    CSI_CAPACITY = "CSIStorageCapacity"
    VOLUME_ATTACHMENT = "VolumeAttachment"
    ANY = "*"


class Action(IntFlag):
    """What happened to it; an update of a pod or node says which part of it moved."""

    ADD = 1
    DELETE = 2
    NODE_ALLOCATABLE = 4
    NODE_LABEL = 8
    NODE_TAINT = 16
    NODE_CONDITION = 32
    NODE_ANNOTATION = 64
    POD_LABEL = 128
    POD_SCALE_DOWN = 256
    POD_TOLERATION = 512
    POD_GATES_ELIMINATED = 1024
    OTHER = 2048  # an update that no other bit names
    UPDATE = (
        NODE_ALLOCATABLE
        | NODE_LABEL
        | NODE_TAINT
        | NODE_CONDITION
        | NODE_ANNOTATION
        | POD_LABEL
        | POD_SCALE_DOWN
        | POD_TOLERATION
        | POD_GATES_ELIMINATED
        | OTHER
    )


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node at one moment, as far as a hint can look."""

    name: str
    labels: Labels
    taints: tuple[Taint, ...]
    unschedulable: bool
    allocatable: Mapping[str, int]  # resource -> amount, "pods" among them


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod at one moment. `pod` is its id, which stays; node and nominated are ids or UNBOUND."""

    pod: int
    name: str
    template: Template
    node: int
    nominated: int


@dataclass(frozen=True, slots=True)
class Event:
    """`before` is None for an addition, `after` for a deletion.

    They are NodeFacts, PodFacts or a value of `sim.storage`, by `kind`.
    """

    kind: Kind
    action: Action
    before: Any = None
    after: Any = None


def node_updates(before: NodeFacts, after: NodeFacts) -> list[Event]:
    """The events of one update of a node, in upstream's order; cordoning alone is none."""
    moved = [
        (before.unschedulable and not after.unschedulable, Action.NODE_TAINT),
        (before.allocatable != after.allocatable, Action.NODE_ALLOCATABLE),
        (before.labels != after.labels, Action.NODE_LABEL),
        (before.taints != after.taints, Action.NODE_TAINT),
    ]
    return [Event(Kind.NODE, action, before, after) for changed, action in moved if changed]


def pod_updates(before: PodFacts, after: PodFacts) -> list[Event]:
    """The events of one update of a pod, in upstream's order."""
    old, new = before.template.pod, after.template.pod
    gated, ungated = bool(old.spec.scheduling_gates), not new.spec.scheduling_gates
    moved = [
        (old.labels != new.labels, Action.POD_LABEL),
        (_scaled_down(old.spec.requests, new.spec.requests), Action.POD_SCALE_DOWN),
        (gated and ungated, Action.POD_GATES_ELIMINATED),
        (len(old.spec.tolerations) != len(new.spec.tolerations), Action.POD_TOLERATION),
    ]
    found = [Event(Kind.POD, action, before, after) for changed, action in moved if changed]
    return found or [Event(Kind.POD, Action.OTHER, before, after)]


def _scaled_down(before: Resources, after: Resources) -> bool:
    return any(after.get(name, 0) < amount or name not in after for name, amount in before.items())
