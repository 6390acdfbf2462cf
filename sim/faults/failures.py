"""Nodes that fail each on their own: a renewal process per node, one pending event each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sim.actions import FailNodes, RecoverNodes
from sim.clock import Lane
from sim.cluster import Change
from sim.faults.targets import concerns, draw_ms

if TYPE_CHECKING:
    import numpy as np

    from sim.faults.machines import Machines
    from sim.scenario import Fault


class NodeFailures:
    """One fault with `mtbf` at work. A node is as good as new after its repair, and at first."""

    def __init__(
        self, fault: Fault, machines: Machines, stream_of: Callable[[str], np.random.Generator]
    ) -> None:
        """`stream_of(name)`: the random numbers of a node, independent of all others."""
        self._fault = fault
        self._machines = machines
        self._clock = machines.clock
        self._stream_of = stream_of
        for node in machines.cluster.nodes.ids().tolist():
            self._node_added(Change.NODE_ADDED, node)
        machines.cluster.watch(self._node_added, [Change.NODE_ADDED])

    def _node_added(self, _change: Change, node: int) -> None:
        if concerns(self._fault, node, self._machines.cluster):
            self._wait(node, self._stream_of(self._machines.cluster.nodes.names[node]))

    def _wait(self, node: int, rng: np.random.Generator) -> None:
        assert self._fault.mtbf is not None
        self._clock.after(draw_ms(self._fault.mtbf, rng), Lane.FAULTS, self._fail, node, rng)

    def _fail(self, node: int, rng: np.random.Generator) -> None:
        machines, mttr = self._machines, self._fault.mttr
        gone = not machines.cluster.nodes.exists[node] or node in machines.gone
        if gone or self._fault.is_over(self._clock.now_ms):
            return
        repair_ms = machines.boot_ms(node) if mttr is None else draw_ms(mttr, rng)
        if self._fault.repair == "replace":
            machines.lose(node, repair_ms)
        else:
            machines.do(FailNodes((node,), self._fault.mode))
            self._clock.after(repair_ms, Lane.FAULTS, self._repaired, node, rng)

    def _repaired(self, node: int, rng: np.random.Generator) -> None:
        self._machines.do(RecoverNodes((node,)))
        self._wait(node, rng)
