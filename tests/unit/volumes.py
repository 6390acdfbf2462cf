"""Volumes, claims and pods with them, in a line each, for the tests of storage."""

from __future__ import annotations

import numpy as np

from sim.extend import SKIP, Rejection
from sim.labels import Requirement
from sim.podspec import NodeSelectorTerm, Volume
from sim.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from sim.testing import HOSTNAME, a_cluster, a_node, a_pod

GI = 2**30
DRIVER = "ebs.csi"
LATE = StorageClass("late", DRIVER, "WaitForFirstConsumer")
LOCAL = StorageClass("local", binding_mode="WaitForFirstConsumer")
NOW = StorageClass("now", DRIVER)
ONCE = ("ReadWriteOnce",)


def on(key, *values):
    """The node affinity that asks for one of these values of a label."""
    return (NodeSelectorTerm((Requirement(key, "In", values),)),)


def a_claim(name="data", size_gi=1, storage_class="late", namespace="default", **more):
    more = {"access_modes": ONCE, **more}
    return PersistentVolumeClaim(
        namespace, name, request_b=size_gi * GI, storage_class=storage_class, **more
    )


def a_bound_claim(name="data", volume="pv", **more):
    more = {"bind_completed": True, "phase": "Bound", **more}
    return a_claim(name, volume=volume, **more)


def a_volume(name="pv", size_gi=1, storage_class="late", **more):
    more = {"access_modes": ONCE, **more}
    return PersistentVolume(name, size_gi * GI, storage_class=storage_class, **more)


def csi(name, **more):
    """A volume that the driver attaches."""
    return a_volume(name, csi_driver=DRIVER, csi_handle=name, **more)


def a_pod_with(*claims, volumes=(), **more):
    """A pod whose volumes are these claims, and others."""
    named = tuple(Volume(f"v{place}", claim=claim) for place, claim in enumerate(claims))
    return a_pod(volumes=(*named, *volumes), **more)


def a_world(*objects, nodes=2, pods=()):
    """So many nodes, in the zones a, b, c, ... and these storage objects."""
    nodes = [a_node(zone=zone) for zone in "abcdefgh"[:nodes]] if isinstance(nodes, int) else nodes
    return put(a_cluster(nodes, pods), *objects)


def put(cluster, *objects):
    for value in objects:
        cluster.put_storage(value.kind, value.key, value)
    return cluster


def host(number):
    """The affinity of a local disk of a node."""
    return on(HOSTNAME, f"node-{number}")


def refusals(plugin, cluster, pod):
    """Per node (code, reasons) or None; SKIP, or one verdict for all, as pre-filters give them."""
    template, nodes = cluster.template(pod), np.arange(len(cluster.nodes))
    state = plugin.prefilter(template, cluster)
    if isinstance(state, Rejection):
        return state.verdict.code, *state.verdict.reasons
    if state is SKIP:
        return SKIP
    whys = plugin.filter(template, cluster, nodes, state).tolist()
    verdicts = [plugin.verdict(why, cluster) if why else None for why in whys]
    return [verdict and (verdict.code, *verdict.reasons) for verdict in verdicts]
