"""Storage objects of recorded cases: put into a cluster, and bound as the recording bound them."""

from __future__ import annotations

from sim.manifests import parse_object
from sim.plugins.volume_binding import bindings
from sim.storage import STORAGE_TYPES, bind

KINDS = frozenset(value.__name__ for value in STORAGE_TYPES)


def put_object(cluster, raw):
    """Put a storage object as it stands in a manifest, or replace it."""
    value = parse_object(raw)
    cluster.put_storage(value.kind, value.key, value)


def follow(cluster, volumes):
    """Bind and provision as an entry says, in its order."""
    for pair in volumes["bind"]:
        give(cluster, key_of(pair["pvc"]), pair["pv"])
    for made in volumes["provision"]:
        put_object(cluster, made["pv"])
        give(cluster, key_of(made["pvc"]), made["pv"]["metadata"]["name"])


def give(cluster, key, volume):
    """Bind a volume to a claim."""
    for value in bind(cluster.storage.volume(volume), cluster.storage.claim(*key)):
        cluster.put_storage(value.kind, value.key, value)


def recorded(volumes):
    """(bind, provision) of an entry, without the volumes that were made."""
    bound = [(key_of(pair["pvc"]), pair["pv"]) for pair in volumes.get("bind", ())]
    return bound, [key_of(made["pvc"]) for made in volumes.get("provision", ())]


def decided(cluster, template, node):
    """What we would bind and provision for a node, in the same form."""
    found = bindings(template, cluster, node)
    return None if found is None else (list(found.bind), list(found.provision))


def key_of(name):
    """(namespace, name) of "namespace/name"."""
    namespace, _, own = name.partition("/")
    return namespace, own
