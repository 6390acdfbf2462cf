"""ReplicaSet controller: keep the wanted number of live pods, no more and no fewer.

Level-triggered: it compares what is wanted with what exists and never asks what happened.
Follows syncReplicaSet in pkg/controller/replicaset/replica_set.go and the order of deletion in
pkg/controller/controller_utils.go ActivePodsWithRanks (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key, partial
from typing import TYPE_CHECKING, NamedTuple

from sim.actions import Action, CreatePods, DeletePods
from sim.tables import NEVER, UNBOUND, Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster

BURST_REPLICAS = 500  # most pods that one sync creates or deletes
MS_TO_NS = 1_000_000
S_TO_NS = 1_000_000_000
UIDS = 2**32
UID_STEP = 2_654_435_761  # odd, so that different pods get different numbers

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


class Candidate(NamedTuple):
    """What decides how soon a pod is deleted; the first five fields go before all others."""

    bound: bool
    running: bool
    ready: bool
    deletion_cost: int
    alone_on_node: int  # minus the pods of its Deployment that share its node
    ready_s: int = NEVER  # the API keeps whole seconds
    restarts: int = 0
    created_s: int = NEVER
    uid: int = 0


def deletion_order(active: list[int], view: Cluster, now_ms: int) -> list[int]:
    """`active`, the least useful first.

    Unbound, then pending, then not ready, cheaper to delete, doubled up on a node, ready for the
    shorter time, restarted more often, younger. Restarts are those of all containers together,
    where upstream takes the container with most of them.
    """
    per_node = _siblings_per_node(active, view)
    found = {pod: _candidate(pod, view, per_node) for pod in active}
    in_order = cmp_to_key(partial(compare, now_ms=now_ms))
    return sorted(active, key=lambda pod: in_order(found[pod]))


def compare(a: Candidate, b: Candidate, now_ms: int) -> int:
    """Negative when `a` is deleted before `b`, positive when after, 0 when they are alike.

    Times that differ are compared as ages on a logarithmic scale, and within a step of it at
    random: by the UID, not by what comes next.
    """
    if a[:5] != b[:5]:
        return -1 if a[:5] < b[:5] else 1
    if a.ready and a.ready_s != b.ready_s:
        return _younger_first((a.ready_s, a.uid), (b.ready_s, b.uid), now_ms)
    if a.restarts != b.restarts:
        return b.restarts - a.restarts
    if a.created_s != b.created_s:
        return _younger_first((a.created_s, a.uid), (b.created_s, b.uid), now_ms)
    return 0


def _younger_first(a: tuple[int, int], b: tuple[int, int], now_ms: int) -> int:
    age_a, age_b = log_age(now_ms, a[0]), log_age(now_ms, b[0])
    return age_a - age_b or a[1] - b[1]


def _candidate(pod: int, view: Cluster, per_node: dict[int, int]) -> Candidate:
    pods = view.pods
    ready = bool(pods.ready[pod])
    return Candidate(
        bound=bool(pods.node[pod] != UNBOUND),
        running=bool(pods.phase[pod] == Phase.RUNNING),
        ready=ready,
        deletion_cost=_deletion_cost(view.pod_template(pod).pod.annotations),
        alone_on_node=-per_node[int(pods.node[pod])],
        ready_s=int(pods.ready_since_ms[pod]) // 1000 if ready else NEVER,
        restarts=int(pods.restarts[pod]),
        created_s=int(pods.created_ms[pod]) // 1000,
        uid=_uid(pod),
    )


def _uid(pod: int) -> int:
    """A number that tells nothing of the pod's age, as the random UID upstream does not."""
    return (pod + 1) * UID_STEP % UIDS


def log_age(now_ms: int, since_s: int) -> int:
    """log2 of the age in nanoseconds, truncated; -1 for no age at all."""
    age_ns = now_ms * MS_TO_NS - since_s * S_TO_NS
    return age_ns.bit_length() - 1 if since_s != NEVER and age_ns > 0 else -1


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
