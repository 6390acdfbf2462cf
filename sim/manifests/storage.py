"""Storage objects from manifests: volumes, claims, classes, and what CSI drivers publish.

Field names: core/v1 and storage.k8s.io/v1 (v1.34); defaults: pkg/apis/core/v1/defaults.go and
pkg/apis/storage/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.labels import Requirement
from sim.manifests.value import Value
from sim.manifests.volumes import access_modes, size_b, storage_request_b
from sim.podspec import NodeSelectorTerm
from sim.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    Key,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    StorageObject,
    Topology,
    VolumeAttachment,
)

OLD_CLASS = "volume.beta.kubernetes.io/storage-class"  # where it is set, it wins over the field
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
MIGRATED_PLUGINS = "storage.alpha.kubernetes.io/migrated-plugins"
MODES = ("Filesystem", "Block")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")


def _volume(value: Value) -> PersistentVolume:
    """A volume; one without a status is Available."""
    spec, labels = value.get("spec"), value.get("metadata", "labels").labels()
    csi, claim = spec.get("csi"), _reference(spec.get("claimRef"))
    csi.mapping()
    spec.get("capacity").mapping()
    capacity = spec.get("capacity", "storage")
    if not capacity:
        capacity.wrong("a size such as '10Gi'")
    return PersistentVolume(
        name=_name(value),
        capacity_b=size_b(capacity) if capacity else 0,
        access_modes=access_modes(spec.get("accessModes")),
        storage_class=_old_class(value) or spec.get("storageClassName").text(),
        volume_mode=spec.get("volumeMode").one_of(MODES, MODES[0]),
        node_affinity=_node_affinity(spec.get("nodeAffinity")),
        labels=labels,
        claim=claim,
        claim_uid=spec.get("claimRef", "uid").text(),
        phase=value.get("status", "phase").text() or "Available",
        deleting=bool(value.get("metadata", "deletionTimestamp")),
        csi_driver=csi.get("driver").required_text() if csi else "",
        csi_handle=csi.get("volumeHandle").required_text() if csi else "",
    )


def _reference(value: Value) -> Key | None:
    if not value:
        return None
    value.mapping()
    return value.get("namespace").text() or "default", value.get("name").required_text()


def _node_affinity(value: Value) -> tuple[NodeSelectorTerm, ...] | None:
    value.mapping()
    required = value.get("required")
    if not required:
        return None
    required.mapping()
    terms = required.get("nodeSelectorTerms").items()
    if not terms:
        required.get("nodeSelectorTerms").wrong("at least one term")
    return tuple(map(_term, terms))


def _term(value: Value) -> NodeSelectorTerm:
    value.mapping()
    return NodeSelectorTerm(
        tuple(item.requirement() for item in value.get("matchExpressions").items()),
        tuple(item.requirement(("In", "NotIn")) for item in value.get("matchFields").items()),
    )


def _claim(value: Value) -> PersistentVolumeClaim:
    spec, metadata = value.get("spec"), value.get("metadata")
    annotations, named = metadata.get("annotations").text_map(), spec.get("storageClassName")
    return PersistentVolumeClaim(
        namespace=_namespace(value),
        name=_name(value),
        request_b=storage_request_b(spec.get("resources")),
        access_modes=access_modes(spec.get("accessModes")),
        storage_class=_old_class(value) or (named.text() if named else None),
        volume_mode=spec.get("volumeMode").one_of(MODES, MODES[0]),
        selector=spec.get("selector").selector(),
        volume=spec.get("volumeName").text(),
        bind_completed=BIND_COMPLETED in annotations,
        selected_node=annotations.get(SELECTED_NODE, ""),
        phase=value.get("status", "phase").text() or "Pending",
        deleting=bool(metadata.get("deletionTimestamp")),
        uid=metadata.get("uid").text(),
        owner=_owning_pod(metadata.get("ownerReferences")),
    )


def _owning_pod(references: Value) -> str:
    """The pod for which an ephemeral volume's claim was made."""
    for item in references.items():
        item.mapping()
        if item.get("controller").boolean() and item.get("kind").text() == "Pod":
            return item.get("name").text()
    return ""


def _storage_class(value: Value) -> StorageClass:
    annotations = value.get("metadata", "annotations").text_map()
    mode = value.get("volumeBindingMode").one_of(BINDING_MODES, BINDING_MODES[0])
    return StorageClass(
        name=_name(value),
        provisioner=value.get("provisioner").required_text(),
        binding_mode=mode,  # type: ignore[arg-type]
        allowed_topologies=tuple(map(_topology, value.get("allowedTopologies").items())),
        default=any(annotations.get(key) == "true" for key in DEFAULT_CLASS),
        created=value.get("metadata", "creationTimestamp").text(),
    )


def _topology(value: Value) -> Topology:
    value.mapping()
    found = []
    for item in value.get("matchLabelExpressions").items():
        item.mapping()
        values = item.get("values").texts()
        if not values:
            item.get("values").wrong("at least one value")
        found.append(Requirement(item.get("key").required_text(), "In", values))
    return tuple(found)


def _csi_node(value: Value) -> CSINode:
    annotations = value.get("metadata", "annotations").text_map()
    limits = {}
    for item in value.get("spec", "drivers").items():
        item.mapping()
        item.get("allocatable").mapping()
        name, count = item.get("name").required_text(), item.get("allocatable", "count")
        if count:
            limits[name] = count.integer()
    return CSINode(_name(value), limits, annotations.get(MIGRATED_PLUGINS, ""))


def _csi_driver(value: Value) -> CSIDriver:
    return CSIDriver(_name(value), value.get("spec", "storageCapacity").boolean())


def _csi_capacity(value: Value) -> CSIStorageCapacity:
    capacity, most = value.get("capacity"), value.get("maximumVolumeSize")
    return CSIStorageCapacity(
        namespace=_namespace(value),
        name=_name(value),
        storage_class=value.get("storageClassName").required_text(),
        capacity_b=size_b(capacity) if capacity else None,
        maximum_volume_b=size_b(most) if most else None,
        node_topology=value.get("nodeTopology").selector(),
    )


def _attachment(value: Value) -> VolumeAttachment:
    spec = value.get("spec")
    spec.get("source").mapping()
    return VolumeAttachment(
        name=_name(value),
        attacher=spec.get("attacher").required_text(),
        node=spec.get("nodeName").required_text(),
        volume=spec.get("source", "persistentVolumeName").text(),
    )


def _name(value: Value) -> str:
    return value.get("metadata", "name").name()


def _namespace(value: Value) -> str:
    return value.get("metadata", "namespace").text() or "default"


def _old_class(value: Value) -> str:
    return value.get("metadata", "annotations").text_map().get(OLD_CLASS, "")


def _parser(parse: Callable[[Value], StorageObject]) -> Callable[[Value, Any], StorageObject]:
    return lambda value, _admission: parse(value)


PARSERS: dict[tuple[str, str], Callable[[Value, Any], StorageObject]] = {
    ("", "PersistentVolume"): _parser(_volume),
    ("", "PersistentVolumeClaim"): _parser(_claim),
    ("storage.k8s.io", "StorageClass"): _parser(_storage_class),
    ("storage.k8s.io", "CSINode"): _parser(_csi_node),
    ("storage.k8s.io", "CSIDriver"): _parser(_csi_driver),
    ("storage.k8s.io", "CSIStorageCapacity"): _parser(_csi_capacity),
    ("storage.k8s.io", "VolumeAttachment"): _parser(_attachment),
}
