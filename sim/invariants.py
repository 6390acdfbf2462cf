"""What must hold of a cluster at every moment, derived again from its pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sim.tables import NEVER, UNBOUND

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.tables import Ints

SUMS = ("requested", "limits", "nonzero_cpu_m", "nonzero_memory_b", "pod_count")


def check_cluster(cluster: Cluster, assumed: Mapping[int, int], pending: int) -> None:
    """AssertionError names the first thing that does not hold.

    `assumed` are pods that hold a place on a node before they are bound there, `pending` is how
    many pods are thought to have no node.
    """
    table, pods = cluster.nodes, cluster.pods
    held = range(len(pods))
    bound = [pod for pod in held if pods.node[pod] != UNBOUND and pods.ended_ms[pod] == NEVER]
    node_of = {**{pod: int(pods.node[pod]) for pod in bound}, **assumed}
    _check_sums(cluster, node_of)
    _check_use(cluster)
    cluster.pod_counts.check()
    cluster.affinity_counts.check()
    on_nodes = sorted(pod for node in range(len(table)) for pod in table.pods[node])
    assert on_nodes == sorted(node_of), f"on nodes {on_nodes}, should be {sorted(node_of)}"
    for pod in held:
        _check_pod(cluster, pod)
    waiting = int(np.sum(pods.exists[: len(pods)] & (pods.node[: len(pods)] == UNBOUND)))
    assert waiting == pending, f"{pending} pending, {waiting} counted"


def _check_pod(cluster: Cluster, pod: int) -> None:
    table, pods = cluster.nodes, cluster.pods
    node = int(pods.node[pod])
    if pods.alive[pod]:
        assert node != UNBOUND, f"pod {pod} runs without a node"
        assert table.up[node], f"pod {pod} runs on node {node}, which is down"
        assert pods.ended_ms[pod] == NEVER, f"pod {pod} runs after its end"
    owned = pod in cluster.owners[pods.owner[pod]].pods
    assert owned == pods.exists[pod], f"pod {pod}: in its owner's list {owned}"


def _check_use(cluster: Cluster) -> None:
    now_ms, pods = cluster.clock.now_ms, cluster.pods
    on = pods.node[: len(pods)]
    for use in (cluster.cpu_use, cluster.memory_use):
        found = use.values(now_ms)
        expected = np.zeros(len(found) + 1)
        for pod in np.flatnonzero(on != UNBOUND).tolist():
            expected[min(on[pod], len(found))] += use.of(pod, now_ms)
        differ = np.abs(expected[:-1] - found) > 1e-6 * (1 + expected[:-1])
        assert not differ.any(), f"use of nodes {np.flatnonzero(differ)}: {found[differ]}"


def _check_sums(cluster: Cluster, node_of: Mapping[int, int]) -> None:
    table = cluster.nodes
    expected: dict[str, Ints] = {name: np.zeros_like(getattr(table, name)) for name in SUMS}
    for pod, node in node_of.items():
        template = cluster.pod_template(pod)
        rows = len(template.requests)
        expected["requested"][:rows, node] += template.requests
        expected["limits"][:rows, node] += template.limits
        expected["nonzero_cpu_m"][node] += template.nonzero_cpu_m
        expected["nonzero_memory_b"][node] += template.nonzero_memory_b
        expected["pod_count"][node] += 1
    for name, values in expected.items():
        found = getattr(table, name)
        assert np.array_equal(found, values), f"{name}: kept {found}, derived {values}"
