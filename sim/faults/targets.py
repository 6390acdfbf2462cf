"""Which nodes a fault is about, looked up at the moment when it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from sim.behaviour import Distribution
    from sim.cluster import Cluster


class Target(Protocol):
    """At most one of these is given; without any, all nodes are meant."""

    @property
    def zone(self) -> str | None: ...
    @property
    def pool(self) -> str | None: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...


def nodes_of(target: Target, cluster: Cluster) -> list[int]:
    """The nodes that a fault is about, of those that exist now."""
    table = cluster.nodes
    if target.names is not None:
        return [table.by_name[name] for name in target.names if name in table.by_name]
    return [node for node in table.ids().tolist() if concerns(target, node, cluster)]


def concerns(target: Target, node: int, cluster: Cluster) -> bool:
    """Whether a fault is about this node."""
    table = cluster.nodes
    if target.zone is not None:
        return table.zones[int(table.zone[node])] == target.zone
    if target.pool is not None:
        return table.pools[int(table.pool[node])] == target.pool
    return target.names is None or table.names[node] in target.names


def nodes_in(zone: str, cluster: Cluster) -> list[int]:
    """The nodes of a zone."""
    table = cluster.nodes
    return [node for node in table.ids().tolist() if table.zones[table.zone[node]] == zone]


def zones_of(cluster: Cluster) -> list[str]:
    """Zones that have nodes, by name."""
    table = cluster.nodes
    return sorted({table.zones[zone] for zone in table.zone[table.ids()].tolist()} - {""})


def chosen(nodes: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """A share of the nodes, drawn without replacement; a half is rounded up."""
    count = int(len(nodes) * share + 0.5)
    if count >= len(nodes):
        return list(nodes)
    places = sorted(rng.permutation(len(nodes))[:count].tolist())
    return [nodes[place] for place in places]


def draw_ms(distribution: Distribution, rng: np.random.Generator) -> int:
    """One draw."""
    return int(distribution.sample_ms(rng, 1)[0])
