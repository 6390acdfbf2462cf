"""The volumes of a pod, as far as the scheduler looks at them.

Field names: core/v1 Volume (v1.34); defaults: pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.manifests.value import Value
from sim.podspec import Volume
from sim.units import amount

ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")


def parse_volumes(value: Value) -> tuple[Volume, ...]:
    """Claims and disks among the volumes; others (emptyDir, configMap, ...) have no say."""
    found = []
    for item in value.items():
        item.mapping()
        name = item.get("name").required_text()
        for source, parse in SOURCES.items():
            if item.get(source):
                item.get(source).mapping()
                found.append(parse(name, item.get(source)))
    return tuple(found)


def storage_request_b(resources: Value) -> int:
    """requests.storage of a claim, in bytes."""
    resources.mapping()
    size = resources.get("requests", "storage")
    if not size:
        size.wrong("a size such as '10Gi'")
        return 0
    return size_b(size)


def size_b(value: Value) -> int:
    """A quantity of storage in bytes; shared file systems say that they have exbibytes."""
    try:
        return amount(value.raw)
    except ValueError as error:
        value.problem(str(error))
        return 0


def access_modes(value: Value) -> tuple[str, ...]:
    """The access modes of a claim or volume."""
    return tuple(item.one_of(ACCESS_MODES) for item in value.items())


def _claim(name: str, value: Value) -> Volume:
    claim = value.get("claimName").required_text()
    return Volume(name, claim=claim, read_only=value.get("readOnly").boolean())


def _ephemeral(name: str, value: Value) -> Volume:
    template = value.get("volumeClaimTemplate")
    template.mapping()
    spec = template.get("spec")
    if not spec:
        spec.wrong("the specification of a claim")
        return Volume(name, ephemeral=True)
    spec.mapping()
    named = spec.get("storageClassName")
    return Volume(
        name,
        ephemeral=True,
        ephemeral_request_b=storage_request_b(spec.get("resources")),
        ephemeral_class=named.text() if named else None,
        ephemeral_access_modes=access_modes(spec.get("accessModes")),
    )


def _disk(field: str, kind: str) -> Callable[[str, Value], Volume]:
    def parse(name: str, value: Value) -> Volume:
        disk = (kind, value.get(field).required_text())
        return Volume(name, disk=disk, read_only=value.get("readOnly").boolean())

    return parse


def _rbd(name: str, value: Value) -> Volume:
    pool, image = value.get("pool").text() or "rbd", value.get("image").required_text()
    return Volume(
        name,
        disk=("rbd", pool, image),
        monitors=value.get("monitors").texts(),
        read_only=value.get("readOnly").boolean(),
    )


def _csi(name: str, value: Value) -> Volume:
    return Volume(name, csi_driver=value.get("driver").required_text())


SOURCES: dict[str, Callable[[str, Value], Volume]] = {
    "persistentVolumeClaim": _claim,
    "ephemeral": _ephemeral,
    "gcePersistentDisk": _disk("pdName", "gcePersistentDisk"),
    "awsElasticBlockStore": _disk("volumeID", "awsElasticBlockStore"),
    "iscsi": _disk("iqn", "iscsi"),
    "rbd": _rbd,
    "csi": _csi,
    "azureDisk": _disk("diskName", "azureDisk"),
    "azureFile": _disk("shareName", "azureFile"),
    "cinder": _disk("volumeID", "cinder"),
    "vsphereVolume": _disk("volumePath", "vsphereVolume"),
    "portworxVolume": _disk("volumeID", "portworxVolume"),
}
