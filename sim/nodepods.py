"""What runs on every node beside the workloads: log shippers, proxies, monitoring agents.

They stand for DaemonSets and static pods: bound to their node from its start on, without the
scheduler, and run by its kubelet like any pod; they take room and pod slots. No workload counts
them as its own, no taint drives them away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sim.cluster import Change
from sim.workloads import NODE_PODS_NAMESPACE, STATIC

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.workloads import NodePod


class NodePods:
    """Puts them on every node of its pool that joins."""

    def __init__(self, cluster: Cluster, of_pools: Mapping[str, tuple[NodePod, ...]]) -> None:
        self._cluster = cluster
        self._of_pools = of_pools
        if any(of_pools.values()):
            cluster.watch(self.on_change, [Change.NODE_ADDED])

    def on_change(self, change: Change, node: int) -> None:
        """A node has joined: its kubelet starts what it always runs."""
        table, cluster = self._cluster.nodes, self._cluster
        for kind in self._of_pools.get(table.pools[table.pool.item(node)], ()):
            owner = cluster.owner(STATIC, NODE_PODS_NAMESPACE, kind.name)
            template = cluster.template(kind.template)
            for number in range(kind.count):
                suffix = f"-{number}" if kind.count > 1 else ""
                name = f"{kind.name}-{table.names[node]}{suffix}"
                cluster.bind(cluster.create_pod(template, owner, name), node)
