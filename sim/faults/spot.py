"""Spot machines: interruptions with a notice, one by one or many of a pool and zone at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sim.actions import ShutdownNodes
from sim.clock import Lane
from sim.faults.draining import delete_pods
from sim.faults.targets import draw_ms
from sim.recorder import Of, Reason

if TYPE_CHECKING:
    import numpy as np

    from sim.faults.machines import Machines
    from sim.scenario import Spot

MONTH_MS = 30 * 86_400_000
SHARES = (0.1, 1.0)  # what an event that strikes many takes: uniform between these shares


def rate_per_ms(monthly: float) -> float:
    """Interruptions of one node per millisecond, if this share of nodes meets one in a month."""
    return -math.log1p(-monthly) / MONTH_MS


class SpotGroup:
    """The spot nodes of one pool in one zone.

    Events come as a Poisson process. One that is not correlated takes one of the nodes; one that
    is takes each with a probability that is drawn for the event. Their rate is such that a node is
    interrupted as often as the scenario says, whatever the correlation.
    """

    def __init__(
        self,
        spot: Spot,
        place: tuple[str, str],
        size: int,
        machines: Machines,
        rng: np.random.Generator,
    ) -> None:
        """`place`: pool and zone; `size`: how many nodes it has when none is missing."""
        self._spot = spot
        self._pool, self._zone = place
        self._size = size
        self._machines = machines
        self._clock = machines.clock
        self._rng = rng
        self._noticed: set[int] = set()
        struck = (1 - spot.correlated) / size + spot.correlated * sum(SHARES) / 2
        rate = rate_per_ms(spot.monthly_interruptions) / struck
        self._mean_ms = 1 / rate if rate else math.inf
        self._wait()

    def _wait(self) -> None:
        if math.isfinite(self._mean_ms):
            gap_ms = round(self._rng.exponential(self._mean_ms))
            self._clock.after(gap_ms, Lane.FAULTS, self._strike)

    def _strike(self) -> None:
        for node in self._struck():
            self._notice(node)
        self._wait()

    def _struck(self) -> list[int]:
        nodes, rng = self._nodes(), self._rng
        if rng.random() < self._spot.correlated:
            share = rng.uniform(*SHARES)
            return [node for node in nodes if rng.random() < share]
        place = int(rng.integers(self._size))  # a place whose node is missing is not struck
        return nodes[place : place + 1]

    def _nodes(self) -> list[int]:
        table, machines = self._machines.cluster.nodes, self._machines
        return [
            node
            for node in table.ids().tolist()
            if table.pools[table.pool[node]] == self._pool
            and table.zones[table.zone[node]] == self._zone
            and node not in self._noticed
            and node not in machines.gone
        ]

    def _notice(self, node: int) -> None:
        cluster = self._machines.cluster
        self._noticed.add(node)
        cluster.recorder.event(self._clock.now_ms, Reason.SPOT_NOTICE, Of.NODE, node)
        if self._spot.handling == "drain":
            delete_pods(node, self._machines)
        elif self._spot.handling == "shutdown":
            self._machines.do(ShutdownNodes((node,)))
        self._clock.after(self._spot.notice_ms, Lane.FAULTS, self._take, node)

    def _take(self, node: int) -> None:
        machines = self._machines
        self._noticed.discard(node)
        wait_ms = draw_ms(self._spot.reclaim, self._rng) + machines.boot_ms(node)
        machines.lose(node, wait_ms)
