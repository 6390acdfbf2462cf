"""ReplicaSet controller: keep the wanted number of live pods, no more and no fewer.

Level-triggered: it compares what is wanted with what exists and never asks what happened.
Follows syncReplicaSet in pkg/controller/replicaset/replica_set.go and the order of deletion in
pkg/controller/controller_utils.go ActivePodsWithRanks (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from sim.actions import Action, CreatePods, DeletePods
from sim.tables import NEVER, UNBOUND, Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster

BURST_REPLICAS = 500  # most pods that one sync creates or deletes
MS_TO_NS = 1_000_000

Key = tuple[str, str]  # namespace, name


def reconcile(key: Key, view: Cluster, now_ms: int) -> list[Action]:
    """The actions that bring a ReplicaSet to its replicas; none when it is there or gone."""
    replicaset = view.replicasets.get(key)
    if replicaset is None:
        return []
    owner = view.owner("ReplicaSet", *key)
    active = view.active_pods(owner)
    missing = replicaset.replicas - len(active)
    if missing > 0:
        return [CreatePods(owner, replicaset.template, min(missing, BURST_REPLICAS))]
    if missing < 0:
        doomed = deletion_order(active, view, now_ms)[: min(-missing, BURST_REPLICAS)]
        return [DeletePods(tuple(doomed))]
    return []


class Rank(NamedTuple):
    """Sort key of a pod that may be deleted: the smallest goes first."""

    bound: bool
    running: bool
    ready: bool
    deletion_cost: int
    alone_on_node: int
    ready_age: int
    restarts: int
    age: int
    uid: int


def deletion_order(active: list[int], view: Cluster, now_ms: int) -> list[int]:
    """`active`, the least useful first.

    Unbound, then pending, then not ready, cheaper to delete, doubled up on a node, ready for the
    shorter time, restarted more often, younger. Ages compare on a logarithmic scale; in a tie the
    pod's serial number stands in for the random UID that upstream compares.
    """
    per_node = _siblings_per_node(active, view)
    return sorted(active, key=lambda pod: _rank(pod, view, now_ms, per_node))


def _rank(pod: int, view: Cluster, now_ms: int, per_node: dict[int, int]) -> Rank:
    pods = view.pods
    ready = bool(pods.ready[pod])
    return Rank(
        bound=bool(pods.node[pod] != UNBOUND),
        running=bool(pods.phase[pod] == Phase.RUNNING),
        ready=ready,
        deletion_cost=_deletion_cost(view.pod_template(pod).pod.annotations),
        alone_on_node=-per_node[int(pods.node[pod])],
        ready_age=log_age(now_ms, int(pods.ready_since_ms[pod])) if ready else 0,
        restarts=-int(pods.restarts[pod]),
        age=log_age(now_ms, int(pods.created_ms[pod])),
        uid=pod,
    )


def log_age(now_ms: int, since_ms: int) -> int:
    """log2 of the age in nanoseconds, truncated; -1 for no age at all."""
    age_ns = (now_ms - since_ms) * MS_TO_NS
    return age_ns.bit_length() - 1 if since_ms != NEVER and age_ns > 0 else -1


def _deletion_cost(annotations: object) -> int:
    """Annotation controller.kubernetes.io/pod-deletion-cost, 0 when absent or not an int32."""
    assert hasattr(annotations, "get")
    text = annotations.get("controller.kubernetes.io/pod-deletion-cost", "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def _siblings_per_node(active: Iterable[int], view: Cluster) -> dict[int, int]:
    """Active pods of all ReplicaSets of the same Deployment, per node."""
    active = list(active)
    workload = view.owners[view.pods.owner[active[0]]].workload if active else -1
    counts: dict[int, int] = {}
    for owner_id, owner in enumerate(view.owners):
        if owner.workload == workload:
            for pod in view.active_pods(owner_id):
                node = int(view.pods.node[pod])
                counts[node] = counts.get(node, 0) + 1
    return counts
