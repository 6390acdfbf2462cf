"""Storage objects: volumes, claims, classes and what CSI drivers say about nodes and capacity.

Field names follow the core/v1 and storage.k8s.io/v1 APIs (v1.34) in snake case; sizes are bytes.
What a claim may take, and what binding makes of the two, follows component-helpers
storage/volume/pv_helpers.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from sim.events import Kind
from sim.labels import Labels, Requirement, Selector
from sim.podspec import NodeSelectorTerm

Key = tuple[str, str]  # namespace ("" for what belongs to the cluster) and name
Topology = tuple[Requirement, ...]  # one term of allowedTopologies, all `In`

READ_WRITE_ONCE_POD = "ReadWriteOncePod"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class PersistentVolume:
    """`claim` is the claim that the volume is bound to, or kept for (spec.claimRef)."""

    kind: ClassVar[Kind] = Kind.PV

    name: str
    capacity_b: int = 0
    access_modes: tuple[str, ...] = ()
    storage_class: str = ""
    volume_mode: str = "Filesystem"
    node_affinity: tuple[NodeSelectorTerm, ...] | None = None  # terms are ORed
    labels: Labels = field(default_factory=dict)
    claim: Key | None = None
    claim_uid: str = ""
    phase: str = "Available"
    deleting: bool = False
    csi_driver: str = ""
    csi_handle: str = ""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return "", self.name

    def is_for(self, claim: PersistentVolumeClaim) -> bool:
        """Whether claimRef names this very claim (IsVolumeBoundToClaim)."""
        return self.claim == claim.key and self.claim_uid in ("", claim.uid)


@dataclass(frozen=True, slots=True)
class PersistentVolumeClaim:
    """`storage_class` None asks for the default class; `owner` is the pod it was made for."""

    kind: ClassVar[Kind] = Kind.PVC

    namespace: str
    name: str
    request_b: int = 0
    access_modes: tuple[str, ...] = ()
    storage_class: str | None = None
    volume_mode: str = "Filesystem"
    selector: Selector | None = None
    volume: str = ""
    bind_completed: bool = False
    selected_node: str = ""
    phase: str = "Pending"
    deleting: bool = False
    uid: str = ""
    owner: str = ""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def bound(self) -> bool:
        """Fully bound: it names its volume, and the PV controller has confirmed that."""
        return bool(self.volume) and self.bind_completed


@dataclass(frozen=True, slots=True)
class StorageClass:
    kind: ClassVar[Kind] = Kind.STORAGE_CLASS

    name: str
    provisioner: str = NO_PROVISIONER
    binding_mode: Literal["Immediate", "WaitForFirstConsumer"] = "Immediate"
    allowed_topologies: tuple[Topology, ...] = ()
    default: bool = False
    created: str = ""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return "", self.name

    @property
    def waits(self) -> bool:
        """Whether its claims are bound only when a pod that uses them is placed."""
        return self.binding_mode == "WaitForFirstConsumer"

    @property
    def provisions(self) -> bool:
        """Whether volumes can be made on demand."""
        return self.provisioner not in ("", NO_PROVISIONER)


@dataclass(frozen=True, slots=True)
class CSINode:
    """What the CSI drivers of a node say: `limits` are the volumes that each can attach."""

    kind: ClassVar[Kind] = Kind.CSI_NODE

    name: str
    limits: Mapping[str, int] = field(default_factory=dict)
    migrated_plugins: str = ""  # the annotation, as it stands

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return "", self.name


@dataclass(frozen=True, slots=True)
class CSIDriver:
    kind: ClassVar[Kind] = Kind.CSI_DRIVER

    name: str
    storage_capacity: bool = False

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return "", self.name


@dataclass(frozen=True, slots=True)
class CSIStorageCapacity:
    """How much a class can still provide to the nodes that `node_topology` picks."""

    kind: ClassVar[Kind] = Kind.CSI_CAPACITY

    namespace: str
    name: str
    storage_class: str
    capacity_b: int | None = None
    maximum_volume_b: int | None = None
    node_topology: Selector | None = None  # None picks no node

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def limit_b(self) -> int | None:
        """The largest volume, None when nothing is said."""
        return self.capacity_b if self.maximum_volume_b is None else self.maximum_volume_b


@dataclass(frozen=True, slots=True)
class VolumeAttachment:
    kind: ClassVar[Kind] = Kind.VOLUME_ATTACHMENT

    name: str
    attacher: str
    node: str
    volume: str  # name of the PersistentVolume

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return "", self.name


StorageObject = (
    PersistentVolume
    | PersistentVolumeClaim
    | StorageClass
    | CSINode
    | CSIDriver
    | CSIStorageCapacity
    | VolumeAttachment
)
STORAGE_TYPES: tuple[type[StorageObject], ...] = (
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    CSINode,
    CSIDriver,
    CSIStorageCapacity,
    VolumeAttachment,
)


class Storage:
    """The storage objects of a cluster; `version` moves with every change. Cluster writes it."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[Kind, dict[Key, Any]] = {kind: {} for kind in Kind}
        self._unclaimed: dict[str, dict[str, PersistentVolume]] = {}  # by class
        self._claimed: dict[Key, dict[str, PersistentVolume]] = {}  # by claim

    def of(self, kind: Kind) -> dict[Key, Any]:
        """The objects of a kind by namespace and name, in the order in which they came."""
        return self.objects[kind]

    def put(self, kind: Kind, key: Key, value: Any) -> Any:
        """Keep an object; the one that was there before, None if it is new."""
        before = self.of(kind).get(key)
        self.of(kind)[key] = value
        if kind == Kind.PV:
            self._place(before, value)
        self.version += 1
        return before

    def remove(self, kind: Kind, key: Key) -> Any:
        """Forget an object; what it was, None if there was none."""
        before = self.of(kind).pop(key, None)
        if kind == Kind.PV:
            self._place(before, None)
        self.version += before is not None
        return before

    def _place(self, before: PersistentVolume | None, after: PersistentVolume | None) -> None:
        """Keep the volumes by who may take them; one that stays in its place keeps its turn."""
        if before and not (after and self._home(before) is self._home(after)):
            del self._home(before)[before.name]
        if after:
            self._home(after)[after.name] = after

    def _home(self, volume: PersistentVolume) -> dict[str, PersistentVolume]:
        if volume.claim is None:
            return self._unclaimed.setdefault(volume.storage_class, {})
        return self._claimed.setdefault(volume.claim, {})

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        """A claim by its name."""
        found: PersistentVolumeClaim | None = self.of(Kind.PVC).get((namespace, name))
        return found

    def volume(self, name: str) -> PersistentVolume | None:
        """A volume by its name."""
        found: PersistentVolume | None = self.of(Kind.PV).get(("", name))
        return found

    def storage_class(self, name: str | None) -> StorageClass | None:
        """A class by its name; there is none of the name None or ""."""
        found: StorageClass | None = self.of(Kind.STORAGE_CLASS).get(("", name or ""))
        return found

    def csi_node(self, name: str) -> CSINode | None:
        """What the CSI drivers say about a node."""
        found: CSINode | None = self.of(Kind.CSI_NODE).get(("", name))
        return found

    def csi_driver(self, name: str) -> CSIDriver | None:
        """A CSI driver by its name."""
        found: CSIDriver | None = self.of(Kind.CSI_DRIVER).get(("", name))
        return found

    def takeable(self, claim: PersistentVolumeClaim) -> list[PersistentVolume]:
        """Volumes of its class that the claim may take on some node.

        The one kept for it alone when there is one, else the smallest first (the order of equal
        ones is that in which they came; upstream's is random).
        """
        kept = [v for v in self._claimed.get(claim.key, {}).values() if v.is_for(claim)]
        kept = [v for v in kept if v.storage_class == (claim.storage_class or "")]
        if kept := [v for v in kept if _large_enough(v, claim)]:
            return kept[:1]
        free = self._unclaimed.get(claim.storage_class or "", {}).values()
        found = [v for v in free if _large_enough(v, claim) and _suits(v, claim)]
        return sorted(found, key=lambda volume: volume.capacity_b)

    def has_room(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Any:
        """The selectors of the nodes on which the driver has room for a new volume of the claim.

        None where the driver does not say how much it has (binder.go hasEnoughCapacity).
        """
        driver = self.csi_driver(storage_class.provisioner)
        if not claim.request_b or driver is None or not driver.storage_capacity:
            return None
        return [
            capacity.node_topology
            for capacity in self.of(Kind.CSI_CAPACITY).values()
            if capacity.storage_class == storage_class.name
            and capacity.node_topology is not None
            and (capacity.limit_b or 0) >= claim.request_b
        ]


def _large_enough(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Tests that hold for a volume which is kept for the claim, too."""
    return (
        volume.capacity_b >= claim.request_b
        and volume.volume_mode == claim.volume_mode
        and not volume.deleting
    )


def _suits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Tests of a volume that is nobody's."""
    return (
        volume.phase == "Available"
        and (claim.selector is None or claim.selector.matches(volume.labels))
        and set(claim.access_modes) <= set(volume.access_modes)
    )


def bind(
    volume: PersistentVolume, claim: PersistentVolumeClaim
) -> tuple[PersistentVolume, PersistentVolumeClaim]:
    """Both as they are once bound to each other."""
    return (
        replace(volume, claim=claim.key, claim_uid=claim.uid, phase="Bound"),
        replace(claim, volume=volume.name, bind_completed=True, phase="Bound"),
    )


def provision(
    claim: PersistentVolumeClaim,
    storage_class: StorageClass,
    node_affinity: tuple[NodeSelectorTerm, ...] | None,
) -> PersistentVolume:
    """A new volume that is exactly what the claim asks for."""
    name = provisioned_name(claim)
    return PersistentVolume(
        name,
        capacity_b=claim.request_b,
        access_modes=claim.access_modes,
        storage_class=storage_class.name,
        volume_mode=claim.volume_mode,
        node_affinity=node_affinity,
        claim=claim.key,
        claim_uid=claim.uid,
        phase="Bound",
        csi_driver=storage_class.provisioner,
        csi_handle=name,
    )


def provisioned_name(claim: PersistentVolumeClaim) -> str:
    """What a volume made for the claim is called; upstream has the claim's uid in it."""
    return f"pvc-{claim.namespace}-{claim.name}"


def in_zone(labels: Labels) -> tuple[NodeSelectorTerm, ...] | None:
    """The node affinity of a volume made for a node with these labels: the node's zone."""
    if ZONE not in labels:
        return None
    return (NodeSelectorTerm((Requirement(ZONE, "In", (labels[ZONE],)),)),)
