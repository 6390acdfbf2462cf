"""Faults of a scenario as timed actions: which nodes fail when, and when they work again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sim.actions import FailNodes, RecoverNodes, Timed

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.scenario import Fault


def timed_faults(faults: Iterable[Fault], cluster: Cluster) -> list[Timed]:
    """One failure, and one recovery unless it is for good, per entry."""
    timed = []
    for fault in faults:
        nodes = nodes_of(fault, cluster)
        timed.append(Timed(fault.at_ms, FailNodes(nodes, fault.mode)))
        if fault.down_ms is not None:
            timed.append(Timed(fault.at_ms + fault.down_ms, RecoverNodes(nodes)))
    return timed


def nodes_of(fault: Fault, cluster: Cluster) -> tuple[int, ...]:
    """The nodes that a fault is about."""
    table = cluster.nodes
    if fault.zone is not None:
        return tuple(n for n in table.ids().tolist() if table.zones[table.zone[n]] == fault.zone)
    if fault.pool is not None:
        return tuple(n for n in table.ids().tolist() if table.pools[table.pool[n]] == fault.pool)
    names = (fault.node,) if fault.node is not None else fault.nodes or ()
    return tuple(table[name] for name in names if name is not None)
