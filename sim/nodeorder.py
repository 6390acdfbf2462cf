"""The order in which the scheduler looks at nodes: one of each zone in turn.

Follows pkg/scheduler/backend/cache/node_tree.go and component-helpers node/topology GetZoneKey
(v1.34.1): zones in order of first appearance, the nodes of a zone in the order in which they came.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from sim.cluster import Change

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.extend import NodeIds
    from sim.labels import Labels

REGION = ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region")
ZONE = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone")


class NodeOrder:
    """The nodes of a cluster in the scheduler's order, kept up to date."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._zone_of: dict[int, tuple[str, str]] = {}
        self._zones: dict[tuple[str, str], dict[int, None]] = {}
        self._order: NodeIds | None = None
        for node in cluster.nodes.ids().tolist():
            self._add(node)
        cluster.watch(self._on_change, [Change.NODE_ADDED, Change.NODE_REMOVED, Change.NODE_TAINTS])

    def ids(self) -> NodeIds:
        """Ids of all nodes that exist, in the order in which they are looked at."""
        if self._order is None:
            rounds = zip_longest(*self._zones.values())
            nodes = [node for node in chain.from_iterable(rounds) if node is not None]
            self._order = np.array(nodes, np.int64)
        return self._order

    def _on_change(self, change: Change, node: int) -> None:
        if change == Change.NODE_REMOVED:
            self._remove(node)
        elif change == Change.NODE_ADDED:
            self._add(node)
        elif self._zone_of.get(node) != zone_key(self._cluster.nodes.labels[node]):
            self._remove(node)
            self._add(node)

    def _add(self, node: int) -> None:
        zone = self._zone_of[node] = zone_key(self._cluster.nodes.labels[node])
        self._zones.setdefault(zone, {})[node] = None
        self._order = None

    def _remove(self, node: int) -> None:
        zone = self._zone_of.pop(node)
        del self._zones[zone][node]
        if not self._zones[zone]:
            del self._zones[zone]
        self._order = None


class AddedOrder:
    """The nodes in the order in which they were added, whatever their zones."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen = -1
        self._order: NodeIds = np.empty(0, np.int64)

    def ids(self) -> NodeIds:
        """Ids of all nodes that exist, ascending."""
        if self._seen != len(self._cluster.nodes_log):
            self._seen = len(self._cluster.nodes_log)
            self._order = self._cluster.nodes.ids()
        return self._order


def zone_key(labels: Labels) -> tuple[str, str]:
    """Region and zone; the older labels win, a node without either is of the zone ("", "")."""
    return _first(labels, REGION), _first(labels, ZONE)


def _first(labels: Labels, keys: tuple[str, str]) -> str:
    return next((labels[key] for key in keys if key in labels), "")
