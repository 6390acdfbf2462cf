"""Faults that strike their whole target at once: at a moment, or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.actions import FailNodes, RecoverNodes, RemoveNodes, TaintNodes
from sim.clock import Lane
from sim.faults.targets import chosen, draw_ms, nodes_in, nodes_of, zones_of
from sim.podspec import Taint

if TYPE_CHECKING:
    import numpy as np

    from sim.faults.machines import Machines
    from sim.scenario import Fault

OUT_OF_SERVICE = Taint("node.kubernetes.io/out-of-service", "NoExecute", "nodeshutdown")


class Outages:
    """One fault at work. Its zones are dark as a whole unless only a share of them fails."""

    def __init__(
        self, fault: Fault, machines: Machines, rng: np.random.Generator, zone: str | None = None
    ) -> None:
        """`zone`: the zone that is meant where the fault names no target."""
        self._fault = fault
        self._machines = machines
        self._clock = machines.clock
        self._rng = rng
        self._zone = zone or fault.zone
        self._left = fault.flap.times if fault.flap else 1
        if fault.at_ms is not None:
            self._clock.at(fault.at_ms, Lane.FAULTS, self._strike)
        else:
            self._wait()

    def _wait(self) -> None:
        """Until it happens again."""
        assert self._fault.every is not None
        self._clock.after(draw_ms(self._fault.every, self._rng), Lane.FAULTS, self._strike)

    def _strike(self) -> None:
        if self._fault.is_over(self._clock.now_ms):
            return
        zones = self._zones()
        nodes = self._nodes(zones)
        self._left -= 1
        if self._fault.slow is not None or self._fault.fill_disk is not None:
            self._degrade(nodes)
        else:
            self._fail(nodes, zones)

    def _zones(self) -> list[str]:
        """The zone that fails and those that it takes with it."""
        if self._zone is None:
            return []
        rho, rng = self._fault.correlated, self._rng
        others = [zone for zone in zones_of(self._machines.cluster) if zone != self._zone]
        return [self._zone, *(zone for zone in others if rho and rng.random() < rho)]

    def _nodes(self, zones: list[str]) -> list[int]:
        """Those that fail: the same share of each zone."""
        cluster, share = self._machines.cluster, self._fault.share
        groups = [nodes_in(zone, cluster) for zone in zones] or [nodes_of(self._fault, cluster)]
        return [
            node
            for nodes in groups
            for node in (nodes if share is None else chosen(nodes, share, self._rng))
        ]

    def _down_ms(self) -> int | None:
        fault = self._fault
        if fault.flap is not None:
            return fault.flap.down_ms
        return None if fault.down is None else draw_ms(fault.down, self._rng)

    def _fail(self, nodes: list[int], zones: list[str]) -> None:
        fault, machines, down_ms = self._fault, self._machines, self._down_ms()
        dark = zones if fault.share is None else []
        for zone in dark:
            machines.darken(zone)
        lost = chosen(nodes, fault.lost, self._rng) if fault.lost else []
        machines.do(FailNodes(tuple(nodes), fault.mode))
        self._by_hand(nodes)
        if down_ms is not None:
            self._clock.after(down_ms, Lane.FAULTS, self._end, nodes, lost, dark)

    def _by_hand(self, nodes: list[int]) -> None:
        """What an operator does about them after a while."""
        fault = self._fault
        if fault.out_of_service_ms is not None:
            after_ms = fault.out_of_service_ms
            self._clock.after(after_ms, Lane.FAULTS, self._taint, nodes)
        if fault.deleted_ms is not None:
            self._clock.after(fault.deleted_ms, Lane.FAULTS, self._delete, nodes)

    def _taint(self, nodes: list[int]) -> None:
        down = [node for node in nodes if self._machines.cluster.nodes.faults[node]]
        self._machines.do(TaintNodes(tuple(down), OUT_OF_SERVICE))

    def _delete(self, nodes: list[int]) -> None:
        table = self._machines.cluster.nodes
        down = [node for node in nodes if table.faults[node] and table.exists[node]]
        self._machines.do(RemoveNodes(tuple(down)))

    def _end(self, nodes: list[int], lost: list[int], dark: list[str]) -> None:
        machines, exists = self._machines, self._machines.cluster.nodes.exists
        for zone in dark:
            machines.light(zone)
        for node in lost:
            machines.lose(node, machines.boot_ms(node))
        for node in nodes:  # a machine whose Node object was deleted comes back as a new node
            if not exists[node] and node not in machines.gone:
                machines.gone.add(node)
                machines.replace(node)
        machines.do(RecoverNodes(tuple(node for node in nodes if exists[node])))
        if self._fault.out_of_service_ms is not None:
            machines.do(TaintNodes(tuple(nodes), OUT_OF_SERVICE, remove=True))
        self._go_on()

    def _go_on(self) -> None:
        if self._fault.every is not None:
            self._wait()
        elif self._fault.flap is not None and self._left:
            self._clock.after(self._fault.flap.up_ms, Lane.FAULTS, self._strike)

    def _degrade(self, nodes: list[int]) -> None:
        """They work on, but slowly or with a full disk."""
        degraded, slow, fill = self._machines.degraded, self._fault.slow, self._fault.fill_disk
        if slow is not None:
            degraded.slow(nodes, slow)
        elif fill is not None:
            degraded.fill(nodes, fill)
        down_ms = self._down_ms()
        if down_ms is not None:
            self._clock.after(down_ms, Lane.FAULTS, self._mend, nodes)

    def _mend(self, nodes: list[int]) -> None:
        degraded, slow, fill = self._machines.degraded, self._fault.slow, self._fault.fill_disk
        if slow is not None:
            degraded.hasten(nodes, slow)
        elif fill is not None:
            degraded.empty(nodes, fill)
        self._go_on()
