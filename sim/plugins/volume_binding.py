"""VolumeBinding: the claims of a pod have volumes, or can get them, where the pod goes.

Follows pkg/scheduler/framework/plugins/volumebinding/{volume_binding,binder}.go and
component-helpers storage/volume/pv_helpers.go (v1.34.1), without the translation of in-tree volumes
to CSI. Scores need the gate StorageCapacityScoring, which is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim import storage
from sim.events import Action, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Rejection, Shortfall, Verdict, Whys
from sim.labels import Requirement, Selector
from sim.plugins.node_affinity import holds
from sim.podspec import NodeSelectorTerm
from sim.storage import Key, PersistentVolume, PersistentVolumeClaim, StorageClass
from sim.tables import ABSENT, Bools, Ints
from sim.units import format_bytes

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.events import Event
    from sim.podspec import Volume
    from sim.templates import Template

ELSEWHERE, NO_VOLUME, NO_SPACE, NO_SUCH_VOLUME = 1, 2, 4, 8  # bits: several may hold
REASONS = {  # sorted as text
    NO_SPACE: "node(s) did not have enough free storage",
    NO_VOLUME: "node(s) didn't find available persistent volumes to bind",
    ELSEWHERE: "node(s) didn't match PersistentVolume's node affinity",
    NO_SUCH_VOLUME: "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
}
UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"
NONE = -1  # no volume matches


@dataclass(frozen=True, slots=True)
class Claims:
    """What a pod's claims need: volumes that they have (None: it is gone), and those to be found.

    `selected` are to be provisioned on a node that was chosen before, `waiting` are open, the
    smallest first, each with the volumes that it may take.
    """

    bound: tuple[PersistentVolume | None, ...] = ()
    selected: tuple[PersistentVolumeClaim, ...] = ()
    waiting: tuple[tuple[PersistentVolumeClaim, tuple[PersistentVolume, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Bindings:
    """What is to be done when the pod goes to a node, in this order; keys and names."""

    bind: tuple[tuple[Key, str], ...] = ()
    provision: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeBinding:
    name: ClassVar[str] = "VolumeBinding"
    reads: ClassVar[Reads] = Reads.NODE | Reads.PODS_ANYWHERE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.STORAGE_CLASS, Action.ADD | Action.UPDATE),
        (Kind.PVC, Action.ADD | Action.UPDATE),
        (Kind.PV, Action.ADD | Action.UPDATE),
        (Kind.NODE, Action.ADD | Action.NODE_LABEL),
        (Kind.CSI_NODE, Action.ADD | Action.UPDATE),
        (Kind.CSI_DRIVER, Action.UPDATE),
        (Kind.CSI_CAPACITY, Action.ADD | Action.UPDATE),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The pod's claims by what is to be done for them, or why no node can take it."""
        if not any(map(_has_claim, pod.pod.spec.volumes)):
            return SKIP
        claims = []
        for volume in filter(_has_claim, pod.pod.spec.volumes):
            claim = cluster.storage.claim(pod.pod.namespace, volume.claim)
            if claim is None or (amiss := _amiss(volume, claim)):
                reason = _missing(volume) if claim is None else amiss
                return Rejection(Verdict(Code.UNRESOLVABLE, (reason,)))
            claims.append(claim)
        return sorted_out(claims, cluster.storage)

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """The bits of what is wrong with each node."""
        return find(state, cluster, nodes)[0]

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Removing pods does not help."""
        reasons = tuple(reason for bit, reason in REASONS.items() if why & bit)
        return Verdict(Code.UNRESOLVABLE, reasons)

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The volumes that are elsewhere, and the claims for which there is none."""
        asked = np.array([node])
        parts = [_elsewhere(v) for v in state.bound if v is None or not _near(v, cluster, asked)[0]]
        parts += [
            f"is not {claim.selected_node}, where claim {claim.name} gets a volume"
            for claim in state.selected
            if claim.selected_node != cluster.nodes.names[node]
        ]
        chosen = _matched(state, cluster, asked)
        for (claim, _), column in zip(state.waiting, chosen, strict=True):
            why = _unprovisionable(claim, cluster, asked)[0] if column[0] == NONE else 0
            if why:
                room = "has no room" if why == NO_SPACE else "has no volume, and gets none,"
                size = format_bytes(claim.request_b)
                of_class = f" of class {claim.storage_class}" if claim.storage_class else ""
                parts.append(f"{room} for claim {claim.name}: {size}{of_class}")
        return Shortfall("; ".join(parts), len(parts))

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether the pod has claims."""
        return bool(pod.pod.spec.volumes)

    def stamp(self, pod: Template, cluster: Cluster) -> Any:
        """Moves with the storage objects."""
        return cluster.storage.version

    def reserve(self, pod: int, node: int, cluster: Cluster) -> None:
        """Bind and provision for the node that was chosen.

        A modelling choice: what the PV controller and the provisioner do takes no time, and a new
        volume can be used in the node's zone (anywhere, when the node has no zone).
        """
        template = cluster.pod_template(pod)
        found = bindings(template, cluster, node)
        if found is None:
            return
        for key, name in found.bind:
            volume = cluster.storage.volume(name)
            assert volume is not None, f"a volume {name} was found but does not exist"
            give(volume, key, cluster)
        for key in found.provision:
            provision(key, storage.in_zone(cluster.nodes.labels[node]), cluster)

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Anything about volumes, classes and nodes may help; claims only when the pod's own."""
        before, after = event.before, event.after
        if event.kind == Kind.PVC:
            mine = after.namespace == pod.pod.namespace
            return mine and any(v.claim == after.name for v in pod.pod.spec.volumes)
        if event.kind == Kind.CSI_DRIVER:
            inline = any(v.csi_driver == after.name for v in pod.pod.spec.volumes)
            return inline and before.storage_capacity and not after.storage_capacity
        if before is None or event.kind not in _MOVES:
            return True
        return _MOVES[event.kind](before, after)


def bindings(pod: Template, cluster: Cluster, node: int) -> Bindings | None:
    """What placing the pod on the node would bind and provision; None where it cannot go there."""
    state = VolumeBinding().prefilter(pod, cluster)
    if state is SKIP:
        return Bindings()
    if isinstance(state, Rejection):
        return None
    whys, chosen = find(state, cluster, np.array([node]))
    if whys[0]:
        return None
    bind, open_ = [], []
    for (claim, volumes), column in zip(state.waiting, chosen, strict=True):
        if column[0] == NONE:
            open_.append(claim.key)
        else:
            bind.append((claim.key, volumes[column[0]].name))
    return Bindings(tuple(bind), (*(claim.key for claim in state.selected), *open_))


def give(volume: PersistentVolume, key: Key, cluster: Cluster) -> None:
    """Bind an existing volume to a claim."""
    claim = cluster.storage.claim(*key)
    assert claim is not None, f"a claim {key} was to be bound but does not exist"
    volume, claim = storage.bind(volume, claim)
    cluster.put_storage(Kind.PV, volume.key, volume)
    cluster.put_storage(Kind.PVC, claim.key, claim)


def provision(
    key: Key, node_affinity: tuple[NodeSelectorTerm, ...] | None, cluster: Cluster
) -> None:
    """Make a volume for a claim, and bind it."""
    claim = cluster.storage.claim(*key)
    assert claim is not None, f"a claim {key} was to be provisioned but does not exist"
    storage_class = cluster.storage.storage_class(claim.storage_class)
    assert storage_class is not None, f"claim {key} has no class to provision from"
    give(storage.provision(claim, storage_class, node_affinity), key, cluster)


def sorted_out(claims: Iterable[PersistentVolumeClaim], known: storage.Storage) -> Any:
    """The claims by what is to be done for them; refused while one is left to the PV controller."""
    bound, selected, waiting = [], [], []
    for claim in claims:
        storage_class = known.storage_class(claim.storage_class)
        if claim.bound:
            bound.append(known.volume(claim.volume))
        elif claim.volume or storage_class is None or not storage_class.waits:
            return Rejection(Verdict(Code.UNRESOLVABLE, (UNBOUND_IMMEDIATE,)))
        elif claim.selected_node:
            selected.append(claim)
        else:
            waiting.append(claim)
    waiting.sort(key=lambda claim: claim.request_b)
    choices = tuple((claim, tuple(known.takeable(claim))) for claim in waiting)
    return Claims(tuple(bound), tuple(selected), choices)


def find(claims: Claims, cluster: Cluster, nodes: NodeIds) -> tuple[Whys, list[Ints]]:
    """Per node the bits of what is wrong, and per waiting claim the place of the volume it takes.

    All nodes at once (binder.go FindPodVolumes): the first bound volume that is elsewhere decides,
    and so does the first claim that cannot be provisioned.
    """
    whys = _checked(claims.bound, cluster, nodes)
    open_ = np.ones(len(nodes), np.bool_)
    for claim in claims.selected:
        open_ &= nodes == cluster.nodes.by_name.get(claim.selected_node, NONE)
    whys[~open_] |= NO_VOLUME
    chosen = _matched(claims, cluster, nodes)
    for claim in claims.selected:
        open_ &= _note(claim, open_, whys, cluster, nodes)
    for (claim, _), column in zip(claims.waiting, chosen, strict=True):
        open_ &= _note(claim, open_ & (column == NONE), whys, cluster, nodes)
    return whys, chosen


def _checked(bound: Iterable[PersistentVolume | None], cluster: Cluster, nodes: NodeIds) -> Whys:
    """Per node what the first volume that cannot be used there says."""
    whys = np.zeros(len(nodes), np.int32)
    for volume in bound:
        if volume is None:
            whys[whys == 0] = NO_SUCH_VOLUME
        else:
            whys[(whys == 0) & ~_near(volume, cluster, nodes)] = ELSEWHERE
    return whys


def _note(
    claim: PersistentVolumeClaim, needed: Bools, whys: Whys, cluster: Cluster, nodes: NodeIds
) -> Bools:
    """Note where the claim would have to be provisioned but cannot; the nodes that stay open."""
    if not needed.any():
        return np.ones(len(nodes), np.bool_)
    wrong = np.where(needed, _unprovisionable(claim, cluster, nodes), 0)
    whys |= wrong
    open_: Bools = wrong == 0
    return open_


def _matched(claims: Claims, cluster: Cluster, nodes: NodeIds) -> list[Ints]:
    """Per claim the place of the first volume that fits each node and no earlier claim took."""
    taken: dict[str, Bools] = {}
    columns = []
    for _, volumes in claims.waiting:
        column = np.full(len(nodes), NONE, np.int64)
        for place, volume in enumerate(volumes):
            free = (column == NONE) & _near(volume, cluster, nodes)
            if volume.name in taken:
                free &= ~taken[volume.name]
            if free.any():
                column[free] = place
                taken[volume.name] = taken.get(volume.name, False) | free
            if not (column == NONE).any():
                break
        columns.append(column)
    return columns


def _unprovisionable(claim: PersistentVolumeClaim, cluster: Cluster, nodes: NodeIds) -> Whys:
    """Per node what keeps a new volume from being made for the claim, 0 for nothing."""
    storage_class = cluster.storage.storage_class(claim.storage_class)
    if storage_class is None or not storage_class.provisions:
        return np.full(len(nodes), NO_VOLUME, np.int32)
    whys = np.where(_allowed(storage_class, cluster, nodes), 0, NO_VOLUME).astype(np.int32)
    room = cluster.storage.has_room(claim, storage_class)
    if room is not None:
        near = np.zeros(len(nodes), np.bool_)
        for selector in room:
            near |= _picked(selector, cluster, nodes)
        whys[(whys == 0) & ~near] = NO_SPACE
    return whys


def _allowed(storage_class: StorageClass, cluster: Cluster, nodes: NodeIds) -> Bools:
    """Nodes in the allowed topologies; an empty term among them allows none."""
    if not storage_class.allowed_topologies:
        return np.ones(len(nodes), np.bool_)
    terms = tuple(NodeSelectorTerm(term) for term in storage_class.allowed_topologies)
    return _any_term(terms, cluster, nodes)


def _near(volume: PersistentVolume, cluster: Cluster, nodes: NodeIds) -> Bools:
    """Nodes that can use the volume."""
    if volume.node_affinity is None:
        return np.ones(len(nodes), np.bool_)
    return _any_term(volume.node_affinity, cluster, nodes)


def _any_term(terms: tuple[NodeSelectorTerm, ...], cluster: Cluster, nodes: NodeIds) -> Bools:
    """Labels only: the name of a node is not shown to volumes, and fields of a node without a name
    are not asked (component-helpers nodeaffinity.go nodeSelectorTerm.match)."""
    met = np.zeros(len(nodes), np.bool_)
    for term in terms:
        if term.expressions or term.fields:
            met |= _picked(Selector(term.expressions), cluster, nodes)
    return met


def _picked(selector: Selector, cluster: Cluster, nodes: NodeIds) -> Bools:
    met = np.ones(len(nodes), np.bool_)
    for requirement in selector.requirements:
        met &= _holds(requirement, cluster, nodes)
    return met


def _holds(requirement: Requirement, cluster: Cluster, nodes: NodeIds) -> Bools:
    """As `holds`, but quick where a volume names one of thousands of hosts."""
    if requirement.operator != "In":
        return holds(requirement, cluster, nodes)
    column = cluster.nodes.label_column(requirement.key)
    met, ids = np.zeros(len(nodes), np.bool_), column[nodes]
    for value in requirement.values:
        if (wanted := column.id_of(value)) != ABSENT:
            met |= ids == wanted
    return met


def _elsewhere(volume: PersistentVolume | None) -> str:
    if volume is None:
        return "is refused because the volume of a claim is gone"
    terms = volume.node_affinity or ()
    said = " or ".join(str(Selector(term.expressions)) for term in terms)
    return f"cannot use volume {volume.name}, which is for nodes with {said or 'nothing'}"


def _has_claim(volume: Volume) -> bool:
    return bool(volume.claim or volume.ephemeral)


def _missing(volume: Volume) -> str:
    if volume.ephemeral:
        waiting = "waiting for ephemeral volume controller to create the persistentvolumeclaim"
        return f'{waiting} "{volume.claim}"'
    return f'persistentvolumeclaim "{volume.claim}" not found'


def _amiss(volume: Volume, claim: PersistentVolumeClaim) -> str:
    """Why the claim cannot be used, "" when it can."""
    if claim.phase == "Lost":
        gone = f'bound to non-existent persistentvolume "{claim.volume}"'
        return f'persistentvolumeclaim "{claim.name}" {gone}'
    if claim.deleting:
        return f'persistentvolumeclaim "{claim.name}" is being deleted'
    pod = volume.claim.removesuffix(f"-{volume.name}")
    if volume.ephemeral and claim.owner != pod:
        space = claim.namespace
        return f"PVC {space}/{claim.name} was not created for pod {space}/{pod} (pod is not owner)"
    return ""


def _grew(before: int | None, after: int | None) -> bool:
    return after is not None and (before is None or after > before)


_MOVES: dict[Kind, Callable[[Any, Any], bool]] = {  # whether an update of such an object may help
    Kind.STORAGE_CLASS: lambda old, new: old.allowed_topologies != new.allowed_topologies,
    Kind.CSI_NODE: lambda old, new: old.migrated_plugins != new.migrated_plugins,
    Kind.CSI_CAPACITY: lambda old, new: _grew(old.limit_b, new.limit_b),
}
