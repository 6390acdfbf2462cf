"""NodeVolumeLimits: a node attaches no more volumes than its CSI drivers allow.

Follows pkg/scheduler/framework/plugins/nodevolumelimits/csi.go (v1.34.1), without the translation
of in-tree volumes to CSI: such volumes are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Shortfall, Verdict, Whys
from sim.tables import UNBOUND

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.events import Event
    from sim.podspec import Volume
    from sim.storage import PersistentVolumeClaim, Storage
    from sim.templates import Template

TOO_MANY = 1
MIGRATABLE = (  # disks named inline that CSI drivers take over (csi-translation-lib)
    *("gcePersistentDisk", "awsElasticBlockStore", "azureDisk", "azureFile", "cinder"),
    *("vsphereVolume", "portworxVolume"),
)
Attached = tuple[str, str]  # a volume by driver and handle


@dataclass(frozen=True, slots=True)
class NodeVolumeLimits:
    name: ClassVar[str] = "NodeVolumeLimits"
    reads: ClassVar[Reads] = Reads.PODS_ON_NODE | Reads.PODS_ANYWHERE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.CSI_NODE, Action.ADD | Action.UPDATE),
        (Kind.POD, Action.DELETE),
        (Kind.PVC, Action.ADD),
        (Kind.VOLUME_ATTACHMENT, Action.DELETE),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The volumes of the pod that CSI drivers attach."""
        if not any(map(_counts, pod.pod.spec.volumes)):
            return SKIP
        return frozenset(attachable(pod, cluster.storage))

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """TOO_MANY where a driver would have to attach more than it can."""
        limits = limits_of({driver for driver, _ in state}, cluster)
        whys = np.zeros(len(nodes), np.int32)
        if limits:
            attached = attachments(cluster.storage)
            for place, node in enumerate(nodes.tolist()):
                name = cluster.nodes.names[node]
                allowed, others = limits.get(name), attached.get(name, set())
                if allowed and _exceeds(state, node, allowed, others, cluster):
                    whys[place] = TOO_MANY
        return whys

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Removing pods helps."""
        return Verdict(Code.UNSCHEDULABLE, ("node(s) exceed max volume count",))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """Per driver how many volumes there would be, and how many there may be."""
        name, parts, share = cluster.nodes.names[node], [], 0.0
        limits = limits_of({driver for driver, _ in state}, cluster)[name]
        others = attachments(cluster.storage).get(name, set())
        totals = _totals(state, _users(node, cluster), others, cluster)
        for driver, total in sorted(totals.items()):
            if driver in limits and total > limits[driver]:
                parts.append(f"attaches at most {limits[driver]} volumes of {driver}, not {total}")
                share += (total - limits[driver]) / max(limits[driver], 1)
        return Shortfall("; ".join(parts), share)

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether the pod has volumes that may be attached."""
        return bool(pod.pod.spec.volumes)

    def stamp(self, pod: Template, cluster: Cluster) -> Any:
        """Moves with the storage objects, and with the pods where drivers have limits."""
        limited = cluster.storage.of(Kind.CSI_NODE)
        return cluster.storage.version, len(cluster.pods_log) if limited else 0

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """More may be attached, a volume may have been detached, or a claim has come."""
        if event.kind == Kind.CSI_NODE:
            return event.before is None or _grew(event.before.limits, event.after.limits)
        if event.kind == Kind.PVC:
            return _names(pod, event.after)
        if event.kind == Kind.VOLUME_ATTACHMENT:
            return any(v.claim and not v.ephemeral for v in pod.pod.spec.volumes)
        gone = event.before
        placed = gone.node != UNBOUND or gone.nominated != UNBOUND
        return placed and any(map(_counts, gone.template.pod.spec.volumes))


def attachable(pod: Template, storage: Storage) -> Iterable[Attached]:
    """Driver and handle of each volume of the pod that a CSI driver attaches."""
    for volume in pod.pod.spec.volumes:
        claim = storage.claim(pod.pod.namespace, volume.claim) if volume.claim else None
        found = _attached_as(claim, storage) if claim else None
        if found:
            yield found


def limits_of(drivers: set[str], cluster: Cluster) -> dict[str, dict[str, int]]:
    """Per node how many volumes each of the drivers attaches; only nodes with such limits."""
    found = {}
    for csi_node in cluster.storage.of(Kind.CSI_NODE).values():
        limits = {driver: csi_node.limits[driver] for driver in drivers & csi_node.limits.keys()}
        if limits:
            found[csi_node.name] = limits
    return found


def _attached_as(claim: PersistentVolumeClaim, storage: Storage) -> Attached | None:
    """What is attached for the claim; before it has a volume, one of its own by its class."""
    volume = storage.volume(claim.volume) if claim.volume else None
    if volume is not None:
        handle = volume.csi_handle
        return (volume.csi_driver, handle) if volume.csi_driver and handle else None
    storage_class = storage.storage_class(claim.storage_class)
    if storage_class is None:
        return None
    return storage_class.provisioner, f"claim {claim.namespace}/{claim.name}"


def attachments(storage: Storage) -> dict[str, set[Attached]]:
    """What is attached to each node by the word of the attach/detach controller."""
    found: dict[str, set[Attached]] = {}
    for attachment in storage.of(Kind.VOLUME_ATTACHMENT).values():
        volume = storage.volume(attachment.volume)
        if volume is not None and volume.csi_handle:
            attached = (attachment.attacher, volume.csi_handle)
            found.setdefault(attachment.node, set()).add(attached)
    return found


def _exceeds(
    wanted: frozenset[Attached],
    node: int,
    limits: Mapping[str, int],
    others: set[Attached],
    cluster: Cluster,
) -> bool:
    """Volumes of pods on the node, others attached to it, and the new ones: more than allowed?"""
    users = _users(node, cluster)
    most = sum(len(template.pod.spec.volumes) for template in users) + len(others) + len(wanted)
    if most <= min(limits.values()):
        return False
    totals = _totals(wanted, users, others, cluster)
    return any(d in limits and total > limits[d] for d, total in totals.items())


def _users(node: int, cluster: Cluster) -> list[Template]:
    """The templates of the pods on the node that have volumes."""
    templates, of_pod = cluster.templates, cluster.pods.template
    on_node = [templates[of_pod[pod]] for pod in cluster.nodes.pods[node]]
    return [template for template in on_node if template.pod.spec.volumes]


def _totals(
    wanted: frozenset[Attached], users: list[Template], others: set[Attached], cluster: Cluster
) -> dict[str, int]:
    """How many volumes there would be of each driver that is to attach a new one."""
    held = {volume for template in users for volume in attachable(template, cluster.storage)}
    current = Counter(driver for driver, _ in held | others)
    new = Counter(driver for driver, _ in wanted - held)
    return {driver: current[driver] + more for driver, more in new.items()}


def _grew(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    return any(count > before.get(driver, 0) for driver, count in after.items())


def _names(pod: Template, claim: PersistentVolumeClaim) -> bool:
    mine = claim.namespace == pod.pod.namespace
    return mine and any(volume.claim == claim.name for volume in pod.pod.spec.volumes)


def _counts(volume: Volume) -> bool:
    return bool(volume.claim or volume.ephemeral or (volume.disk and volume.disk[0] in MIGRATABLE))
