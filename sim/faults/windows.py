"""Maintenance windows: nodes are emptied, taken down and brought back, some at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sim.actions import CordonNodes, FailNodes, RecoverNodes
from sim.clock import Lane
from sim.faults.draining import Drain
from sim.faults.targets import nodes_of

if TYPE_CHECKING:
    from sim.disruptions import Disruptions
    from sim.faults.machines import Machines
    from sim.scenario import Maintenance


class Window:
    """One entry of `maintenance` at work."""

    def __init__(self, said: Maintenance, machines: Machines, budgets: Disruptions) -> None:
        self._said = said
        self._machines = machines
        self._clock = machines.clock
        self._budgets = budgets
        self._left: list[int] = []
        self._busy = 0
        self._next_ms = said.at_ms if said.at_ms is not None else said.every_ms or 0
        self._clock.at(self._next_ms, Lane.FAULTS, self._open)

    def _open(self) -> None:
        """Begin with the first nodes; a window whose predecessor is still open is left out."""
        said = self._said
        if said.every_ms is not None:
            self._next_ms += said.every_ms
            self._clock.at(self._next_ms, Lane.FAULTS, self._open)
        if self._left or self._busy:
            return
        self._left = nodes_of(said, self._machines.cluster)[::-1]
        for _ in range(min(said.at_once, len(self._left))):
            self._begin()

    def _begin(self) -> None:
        """The next node that exists is emptied."""
        table = self._machines.cluster.nodes
        while self._left:
            node = self._left.pop()
            if not table.exists[node]:
                continue
            self._busy += 1
            cordoned = bool(table.unschedulable[node])
            deadline_ms = self._clock.now_ms + self._said.notice_ms
            down = partial(self._down, node, cordoned)
            Drain(node, deadline_ms, self._machines, self._budgets, down)
            return

    def _down(self, node: int, cordoned: bool) -> None:
        self._machines.do(FailNodes((node,)))
        self._clock.after(self._said.duration_ms, Lane.FAULTS, self._back, node, cordoned)

    def _back(self, node: int, cordoned: bool) -> None:
        """It works again, takes pods unless it did not before, and the next one follows."""
        self._machines.do(RecoverNodes((node,)))
        if not cordoned:
            self._machines.do(CordonNodes((node,), unschedulable=False))
        self._busy -= 1
        self._begin()
