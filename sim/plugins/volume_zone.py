"""VolumeZone: a volume with zone labels is used in its zones only.

Follows pkg/scheduler/framework/plugins/volumezone/volume_zone.go (v1.34.1). It looks at the labels
of bound volumes; their node affinity is VolumeBinding's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Rejection, Shortfall, Verdict, Whys
from sim.tables import ABSENT, Bools

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.events import Event
    from sim.storage import PersistentVolume, Storage
    from sim.templates import Template

OTHER_ZONE = 1
# The labels that are read, each with the one that a node may carry in its place.
KEYS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}
Zones = tuple[str, frozenset[str]]  # a label and the values that it may have


@dataclass(frozen=True, slots=True)
class VolumeZone:
    name: ClassVar[str] = "VolumeZone"
    reads: ClassVar[Reads] = Reads.NODE | Reads.PODS_ANYWHERE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.STORAGE_CLASS, Action.ADD),
        (Kind.NODE, Action.ADD | Action.NODE_LABEL),
        (Kind.PVC, Action.ADD | Action.UPDATE),
        (Kind.PV, Action.ADD | Action.UPDATE),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The zones of the pod's bound volumes, or the first claim that is not in order."""
        zones: list[Zones] = []
        for volume in pod.pod.spec.volumes:
            if volume.claim and not volume.ephemeral:
                found = _volume_of(pod.pod.namespace, volume.claim, cluster.storage)
                if isinstance(found, str):
                    return Rejection(Verdict(Code.UNRESOLVABLE, (found,)))
                zones += zones_of(found) if found else []
        return zones or SKIP

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """OTHER_ZONE where a label of the node is not among the volume's; none at all is fine."""
        columns = {key: cluster.nodes.label_column(key) for key in KEYS}
        labelled = np.zeros(len(nodes), np.bool_)
        for column in columns.values():
            labelled |= column[nodes] != ABSENT
        met = np.ones(len(nodes), np.bool_)
        for key, values in state:
            own, current = columns[key], columns[KEYS[key]]
            met &= np.where(
                own[nodes] != ABSENT, _among(own, nodes, values), _among(current, nodes, values)
            )
        return np.where(labelled & ~met, OTHER_ZONE, 0).astype(np.int32)

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Zones do not change when pods go."""
        return Verdict(Code.UNRESOLVABLE, ("node(s) had no available volume zone",))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """Where the volumes are, and where the node is."""
        labels, parts = cluster.nodes.labels[node], []
        for key, values in state:
            own = labels.get(key, labels.get(KEYS[key], ""))
            if own not in values:
                there = " or ".join(sorted(values))
                parts.append(f"is in {key}={own or 'none'}, a volume of the pod is in {there}")
        return Shortfall("; ".join(parts), len(parts))

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether the pod has claims."""
        return bool(pod.pod.spec.volumes)

    def stamp(self, pod: Template, cluster: Cluster) -> Any:
        """Moves with the storage objects."""
        return cluster.storage.version

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """A node or a volume came or changed its zone, or one of the pod's claims changed."""
        if event.kind == Kind.STORAGE_CLASS:
            return bool(event.after.waits)
        if event.kind == Kind.PVC:
            claim, volumes = event.after, pod.pod.spec.volumes
            named = any(v.claim == claim.name and not v.ephemeral for v in volumes)
            return named and claim.namespace == pod.pod.namespace
        if event.kind == Kind.PV and event.before is not None:
            return zones_of(event.before) != zones_of(event.after)
        return True


def zones_of(volume: PersistentVolume) -> list[Zones]:
    """What the labels of a volume ask of a node; a label with an empty part asks nothing."""
    found = []
    for key in KEYS:
        parts = [part.strip() for part in volume.labels.get(key, "").split("__")]
        if all(parts):
            found.append((key, frozenset(parts)))
    return found


def _volume_of(namespace: str, name: str, storage: Storage) -> PersistentVolume | str | None:
    """The claim's volume; None while it waits for its first pod; a reason when it is amiss."""
    claim = storage.claim(namespace, name)
    if claim is None:
        return f'persistentvolumeclaim "{name}" not found'
    if claim.volume:
        return storage.volume(claim.volume) or f'persistentvolume "{claim.volume}" not found'
    if not claim.storage_class:
        return "PersistentVolumeClaim had no pv name and storageClass name"
    storage_class = storage.storage_class(claim.storage_class)
    if storage_class is None:
        return f'storageclass.storage.k8s.io "{claim.storage_class}" not found'
    return None if storage_class.waits else "PersistentVolume had no name"


def _among(column: Any, nodes: NodeIds, values: frozenset[str]) -> Bools:
    ids = [i for i in map(column.id_of, values) if i != ABSENT]
    answer: Bools = np.isin(column[nodes], ids)
    return answer
