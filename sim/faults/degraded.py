"""Machines that work, but worse: at a share of their CPU speed, or with a full disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

from sim.actions import FillDisk, SetSpeed
from sim.cluster import Change

if TYPE_CHECKING:
    import numpy as np

    from sim.actions import OutsideAction
    from sim.cluster import Cluster
    from sim.scenario import CpuSpeed

SLOWEST = 0.05  # no machine that is sold is slower than a twentieth of the others


class Degraded:
    """How fast each machine is, and how full its disk; what overlaps adds up."""

    def __init__(
        self,
        cluster: Cluster,
        do: Callable[[OutsideAction], None],
        speeds: Mapping[str, CpuSpeed],
        stream_of: Callable[[str], np.random.Generator],
    ) -> None:
        """`speeds`: by pool; the speed of each of its nodes is drawn from `stream_of(name)`."""
        self._cluster = cluster
        self._do = do
        self._speeds = speeds
        self._stream_of = stream_of
        self._factors: dict[int, list[float]] = {}  # of a machine: its own speed, what slows it
        self._fills: dict[int, list[float]] = {}
        if speeds:
            for node in cluster.nodes.ids().tolist():
                self._node_added(Change.NODE_ADDED, node)
            cluster.watch(self._node_added, [Change.NODE_ADDED])

    def _node_added(self, _change: Change, node: int) -> None:
        table = self._cluster.nodes
        speed = self._speeds.get(table.pools[table.pool[node]])
        if speed is not None:
            drawn = float(self._stream_of(table.names[node]).normal(speed.mean, speed.sd))
            self.slow([node], max(SLOWEST, drawn))

    def slow(self, nodes: list[int], factor: float) -> None:
        """They run at this share of the speed that they had."""
        for node in nodes:
            self._factors.setdefault(node, []).append(factor)
            self._set_speed(node)

    def hasten(self, nodes: list[int], factor: float) -> None:
        """What slowed them is over."""
        for node in nodes:
            self._factors[node].remove(factor)
            self._set_speed(node)

    def _set_speed(self, node: int) -> None:
        self._do(SetSpeed((node,), prod(self._factors[node])))

    def fill(self, nodes: list[int], share: float) -> None:
        """So much of their disk is in use, by what no pod wrote."""
        for node in nodes:
            self._fills.setdefault(node, []).append(share)
            self._do(FillDisk((node,), max(self._fills[node])))

    def empty(self, nodes: list[int], share: float) -> None:
        """What filled it is gone."""
        for node in nodes:
            self._fills[node].remove(share)
            self._do(FillDisk((node,), max(self._fills[node], default=None)))
