"""VolumeRestrictions: a disk, or a claim for one pod only, is not used by two pods.

Follows pkg/scheduler/framework/plugins/volumerestrictions/volume_restrictions.go (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Rejection, Shortfall, Verdict, Whys
from sim.podspec import Volume
from sim.storage import READ_WRITE_ONCE_POD

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.events import Event
    from sim.templates import Template

DISK, CLAIM = 1, 2
REASONS = {
    DISK: "node(s) had no available disk",
    CLAIM: "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode"
    " already in-use by another pod",
}
EXCLUSIVE = ("gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd")


@dataclass(frozen=True, slots=True)
class Taken:
    """The pod's claims for one pod only, and how many of them other pods hold."""

    claims: frozenset[str]
    holders: int


@dataclass(frozen=True, slots=True)
class VolumeRestrictions:
    name: ClassVar[str] = "VolumeRestrictions"
    reads: ClassVar[Reads] = Reads.PODS_ON_NODE | Reads.PODS_ANYWHERE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.POD, Action.DELETE),
        (Kind.NODE, Action.ADD),
        (Kind.PVC, Action.ADD),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """Refused while a claim does not exist; nothing to say while nothing is in use."""
        claims, namespace = claim_names(pod), pod.pod.namespace
        found = {name: cluster.storage.claim(namespace, name) for name in claims}
        for name, claim in found.items():
            if claim is None:
                reason = f'persistentvolumeclaim "{name}" not found'
                return Rejection(Verdict(Code.UNRESOLVABLE, (reason,)))
        alone = {name for name, c in found.items() if c and READ_WRITE_ONCE_POD in c.access_modes}
        holders = sum(in_use(name, namespace, cluster) for name in alone)
        if not holders and not disks(pod):
            return SKIP
        return Taken(frozenset(alone), holders)

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """DISK where a pod on the node has the disk, CLAIM everywhere while a claim is in use."""
        whys = np.full(len(nodes), CLAIM if state.holders > 0 else 0, np.int32)
        if wanted := disks(pod):
            for place, node in enumerate(nodes.tolist()):
                on_node = map(cluster.pod_template, cluster.nodes.pods[node])
                if any(conflict(wanted, other.pod.spec.volumes) for other in on_node):
                    whys[place] = DISK
        return whys

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Removing the other pod helps."""
        return Verdict(Code.UNSCHEDULABLE, (REASONS[why],))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The disks and claims that are taken, and by whom."""
        parts = [
            f"disk {'/'.join(disk.disk)} is in use by {cluster.pod_key(other)}"
            for disk in disks(pod)
            for other in cluster.nodes.pods[node]
            if conflict([disk], cluster.pod_template(other).pod.spec.volumes)
        ]
        parts += [
            f"claim {name}, for one pod only, is in use by {cluster.pod_key(holder)}"
            for name in sorted(state.claims)
            for holder in holders_of(name, pod.pod.namespace, cluster)
        ]
        return Shortfall("; ".join(parts), len(parts))

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether the pod has claims or disks."""
        return bool(pod.pod.spec.volumes)

    def stamp(self, pod: Template, cluster: Cluster) -> Any:
        """Moves with claims and, when the pod must have something to itself, with the pods."""
        storage, namespace = cluster.storage, pod.pod.namespace
        claims = (storage.claim(namespace, name) for name in claim_names(pod))
        alone = any(c is not None and READ_WRITE_ONCE_POD in c.access_modes for c in claims)
        return storage.version, len(cluster.pods_log) if alone or disks(pod) else 0

    def assume(
        self, state: Any, pod: Template, cluster: Cluster, other: int, node: int, sign: int
    ) -> Any:
        """The count with the claims of `other`; those of another namespace count too, upstream."""
        held = [v.claim for v in cluster.pod_template(other).pod.spec.volumes if not v.ephemeral]
        return replace(state, holders=state.holders + sign * sum(c in state.claims for c in held))

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """A pod with the same disk or claim went, a claim of the pod came, or any node."""
        if event.kind == Kind.NODE:
            return True
        if event.kind == Kind.PVC:
            claim = event.after
            return claim.namespace == pod.pod.namespace and claim.name in claim_names(pod)
        gone = event.before.template
        if gone.pod.namespace != pod.pod.namespace:
            return False
        shared = set(claim_names(pod)) & set(claim_names(gone))
        return bool(shared) or conflict(disks(pod), gone.pod.spec.volumes)


def claim_names(pod: Template) -> list[str]:
    """Claims that the pod's volumes name; those made for it are not among them."""
    return [v.claim for v in pod.pod.spec.volumes if v.claim and not v.ephemeral]


def disks(pod: Template) -> list[Volume]:
    """Disks named in the pod itself that two pods cannot both write to."""
    return [v for v in pod.pod.spec.volumes if v.disk and v.disk[0] in EXCLUSIVE]


def in_use(name: str, namespace: str, cluster: Cluster) -> bool:
    """Whether any pod on any node names the claim."""
    return next(holders_of(name, namespace, cluster), None) is not None


def holders_of(name: str, namespace: str, cluster: Cluster) -> Iterator[int]:
    """The pods that name the claim, on nodes that exist: upstream's snapshot has no others."""
    templates = {
        template.id
        for template in cluster.templates
        if template.pod.spec.volumes
        and template.pod.namespace == namespace
        and name in claim_names(template)
    }
    if templates:
        template, lists = cluster.pods.template.item, cluster.nodes.pods
        for node in cluster.nodes.ids().tolist():
            yield from (pod for pod in lists[node] if template(pod) in templates)


def conflict(wanted: Iterable[Volume], taken: Iterable[Volume]) -> bool:
    """Whether two pods cannot be on one node because of a disk of both."""
    return any(_same_disk(a, b) and _excludes(a, b) for a in wanted for b in taken)


def _same_disk(a: Volume, b: Volume) -> bool:
    if not a.disk or a.disk != b.disk:
        return False
    return a.disk[0] != "rbd" or bool(set(a.monitors) & set(b.monitors))


def _excludes(a: Volume, b: Volume) -> bool:
    """Both only reading is fine, but not for AWS, whose disks are never shared."""
    return a.disk[0] == "awsElasticBlockStore" or not (a.read_only and b.read_only)
