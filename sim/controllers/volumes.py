"""What becomes of claims in a run, beside what the scheduler binds for a pod that it places.

Follows the admission plugin DefaultStorageClass, pkg/controller/volume/persistentvolume and
pkg/controller/volume/ephemeral (v1.34.1), which here take no time. What no manifest gives (a class,
a claim that pods name, the volume of a bound claim) is taken as there and usable on every node:
`prepare` says so in its notes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim.cluster import Change, Cluster
from sim.events import Kind
from sim.podspec import NodeSelectorTerm, PodTemplate, Volume
from sim.storage import (
    Key,
    PersistentVolume,
    PersistentVolumeClaim,
    Storage,
    StorageClass,
    StorageObject,
    bind,
    provision,
    provisioned_name,
)

if TYPE_CHECKING:
    from sim.manifests import Manifests

NO_CLAIM = "no claim"
NO_CLASS = "no class"
NO_VOLUME = "no volume"
TOO_EARLY = "too early"
SENTENCES = {  # what was assumed, for `claims` with names
    NO_CLAIM: "{claims} that pods name and no manifest gives: taken as bound, usable on every node",
    NO_CLASS: "{claims} of a StorageClass that no manifest gives: taken as bound, usable on every"
    " node",
    NO_VOLUME: "{claims} bound to a PersistentVolume that no manifest gives: taken as usable on"
    " every node",
    TOO_EARLY: "{claims} provisioned before a pod is placed (volumeBindingMode Immediate): usable"
    " wherever the class allows",
}
SHOWN = 3  # names in a note


@dataclass(frozen=True, slots=True)
class Prepared:
    """The storage objects that a run starts with, and what was assumed about them."""

    objects: tuple[StorageObject, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A claim, and the volume that it got, if any; `why` is the assumption that this rests on."""

    claim: PersistentVolumeClaim
    volume: PersistentVolume | None = None
    why: str = ""


def prepare(objects: Iterable[StorageObject], templates: Iterable[PodTemplate]) -> Prepared:
    """The storage objects of manifests as they are once everybody but the scheduler is done."""
    known, pods = Storage(), tuple(templates)
    _put(known, objects)
    settled = [_assumed(claim, NO_CLAIM) for claim in missing(pods, known)]
    for claim in list(known.of(Kind.PVC).values()):
        settled.append(settle(claim, known))
        _put(known, _objects(settled[-1]))
    for assumed in settled:
        _put(known, _objects(assumed))
    notes = [_note(why, [_name(s.claim) for s in settled if s.why == why]) for why in SENTENCES]
    notes.append(_ephemeral_note(pods, known))
    kept = (value for by_key in known.objects.values() for value in by_key.values())
    return Prepared(tuple(kept), tuple(filter(None, notes)))


def templates_of(manifests: Manifests) -> list[PodTemplate]:
    """The pod templates of everything in the manifests that makes pods."""
    return [
        *(deployment.template for deployment in manifests.deployments),
        *(replicaset.template for replicaset in manifests.replica_sets),
        *(job.template for job in manifests.jobs),
        *(pod.template for pod in manifests.pods),
    ]


def missing(templates: Iterable[PodTemplate], known: Storage) -> list[PersistentVolumeClaim]:
    """The claims that pods name and that do not exist, each once."""
    named = {
        (template.namespace, volume.claim): None
        for template in templates
        for volume in template.spec.volumes
        if volume.claim and not volume.ephemeral
    }
    return [PersistentVolumeClaim(*key) for key in named if known.claim(*key) is None]


def settle(claim: PersistentVolumeClaim, known: Storage) -> Settled:
    """The claim as admission, the PV controller and the provisioner leave it."""
    claim = _with_class(claim, known)
    if claim.phase == "Lost" or claim.deleting:
        return Settled(claim)
    if claim.volume:
        return _with_named_volume(claim, known)
    storage_class, open_to = known.storage_class(claim.storage_class), known.takeable(claim)
    waits = storage_class is not None and storage_class.waits
    if open_to and (not waits or open_to[0].is_for(claim)):
        return _bound(open_to[0], claim)
    if storage_class is None:
        return Settled(claim) if claim.storage_class == "" else _assumed(claim, NO_CLASS)
    if waits or not storage_class.provisions:
        return Settled(claim)
    made = provision(claim, storage_class, _allowed(storage_class))
    return _bound(made, claim, TOO_EARLY)


class EphemeralClaims:
    """Makes the claims of ephemeral volumes when their pod appears, and deletes them with it.

    It has to watch the cluster before the scheduler does.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.watch(self.on_change, (Change.POD_CREATED, Change.POD_REMOVED))

    def on_change(self, change: Change, pod: int) -> None:
        """Make or delete the claims of the pod."""
        template = self.cluster.pod_template(pod).pod
        for volume in template.spec.volumes:
            if volume.ephemeral and change == Change.POD_CREATED:
                self._make(template.namespace, volume)
            elif volume.ephemeral:
                self._delete((template.namespace, volume.claim))

    def _make(self, namespace: str, volume: Volume) -> None:
        if self.cluster.storage.claim(namespace, volume.claim) is None:
            settled = settle(claim_for(namespace, volume), self.cluster.storage)
            for value in _objects(settled):
                self.cluster.put_storage(value.kind, value.key, value)

    def _delete(self, key: Key) -> None:
        """With the claim goes a volume made for it; one that was there before is released."""
        storage = self.cluster.storage
        claim = storage.claim(*key)
        if claim is None:
            return
        self.cluster.remove_storage(Kind.PVC, key)
        volume = storage.volume(claim.volume)
        if volume is None or not volume.is_for(claim):
            return
        if volume.name == provisioned_name(claim):
            self.cluster.remove_storage(Kind.PV, volume.key)
        else:
            self.cluster.put_storage(Kind.PV, volume.key, replace(volume, phase="Released"))


def claim_for(namespace: str, volume: Volume) -> PersistentVolumeClaim:
    """The claim of an ephemeral volume, whose name tells the pod's."""
    return PersistentVolumeClaim(
        namespace,
        volume.claim,
        request_b=volume.ephemeral_request_b,
        access_modes=volume.ephemeral_access_modes,
        storage_class=volume.ephemeral_class,
        owner=volume.claim.removesuffix(f"-{volume.name}"),
    )


def default_class(known: Storage) -> StorageClass | None:
    """The newest of the classes marked as default; of equally old ones the first by name."""
    defaults = [c for c in known.of(Kind.STORAGE_CLASS).values() if c.default]
    newest = max((c.created for c in defaults), default="")
    return min((c for c in defaults if c.created == newest), key=lambda c: c.name, default=None)


def _with_class(claim: PersistentVolumeClaim, known: Storage) -> PersistentVolumeClaim:
    if claim.storage_class is not None or claim.volume:
        return claim
    found = default_class(known)
    return replace(claim, storage_class=found.name) if found else claim


def _with_named_volume(claim: PersistentVolumeClaim, known: Storage) -> Settled:
    volume = known.volume(claim.volume)
    if volume is None:
        return _assumed(claim, NO_VOLUME)
    if claim.bound or not (volume.claim is None or volume.is_for(claim)):
        return Settled(claim)
    return _bound(volume, claim)


def _bound(volume: PersistentVolume, claim: PersistentVolumeClaim, why: str = "") -> Settled:
    volume, claim = bind(volume, claim)
    return Settled(claim, volume, why)


def _assumed(claim: PersistentVolumeClaim, why: str) -> Settled:
    """With a volume that is just right, without a driver that would count it."""
    volume = PersistentVolume(
        claim.volume or provisioned_name(claim),
        capacity_b=claim.request_b,
        access_modes=claim.access_modes,
        storage_class=claim.storage_class or "",
        volume_mode=claim.volume_mode,
    )
    return _bound(volume, claim, why)


def _allowed(storage_class: StorageClass) -> tuple[NodeSelectorTerm, ...] | None:
    terms = tuple(NodeSelectorTerm(term) for term in storage_class.allowed_topologies)
    return terms or None


def _put(known: Storage, objects: Iterable[StorageObject]) -> None:
    for value in objects:
        known.put(value.kind, value.key, value)


def _name(claim: PersistentVolumeClaim) -> str:
    return f"{claim.namespace}/{claim.name}"


def _objects(settled: Settled) -> tuple[StorageObject, ...]:
    return (settled.claim,) if settled.volume is None else (settled.volume, settled.claim)


def _note(why: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    claims = f"{len(names)} claim{'s' if len(names) > 1 else ''} ({shown})"
    return SENTENCES[why].format(claims=claims) + "."


def _ephemeral_note(templates: Iterable[PodTemplate], known: Storage) -> str:
    """Ephemeral volumes whose class is not there, which their pods get all the same."""
    names = {
        f"{template.namespace}/{volume.name}": None
        for template in templates
        for volume in template.spec.volumes
        if volume.ephemeral and settle(claim_for(template.namespace, volume), known).why == NO_CLASS
    }
    if not names:
        return ""
    return _note(NO_CLASS, list(names)).replace("claim", "ephemeral volume", 1)
