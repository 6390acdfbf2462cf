"""Sets everything to work that breaks in a scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sim.disruptions import Disruptions
from sim.faults.degraded import Degraded
from sim.faults.failures import NodeFailures
from sim.faults.machines import Machines
from sim.faults.outages import Outages
from sim.faults.spot import SpotGroup
from sim.faults.targets import zones_of
from sim.faults.windows import Window

if TYPE_CHECKING:
    import numpy as np

    from sim.actions import OutsideAction
    from sim.cluster import Cluster
    from sim.rng import Streams
    from sim.scenario import Fault, Pool, Scenario


def start_faults(
    scenario: Scenario, cluster: Cluster, streams: Streams, do: Callable[[OutsideAction], None]
) -> None:
    """Faults, spot interruptions and maintenance, each with random numbers of its own.

    `do` carries out what they decide.
    """
    spot = [pool for pool in scenario.nodes if pool.spot]
    speeds = {pool.name: pool.cpu_speed for pool in scenario.nodes if pool.cpu_speed}
    if not (scenario.faults or spot or scenario.maintenance or speeds):
        return
    degraded = Degraded(cluster, do, speeds, partial(_stream, streams, "cpu-speed"))
    boots = {pool.name: pool.boot for pool in scenario.nodes}
    machines = Machines(cluster, do, boots, degraded, streams("machines"))
    for number, fault in enumerate(scenario.faults):
        _start(fault, machines, partial(_stream, streams, f"faults/{number}"))
    for pool in spot:
        _start_spot(pool, machines, partial(_stream, streams, f"spot/{pool.name}"))
    if scenario.maintenance:
        budgets = Disruptions(cluster)
        for said in scenario.maintenance:
            Window(said, machines, budgets)


def _start_spot(
    pool: Pool, machines: Machines, stream_of: Callable[[str], np.random.Generator]
) -> None:
    assert pool.spot is not None
    zones = Counter(pool.zone_of(index) for index in range(pool.count))
    for zone, size in zones.items():
        SpotGroup(pool.spot, (pool.name, zone), size, machines, stream_of(zone))


def _stream(streams: Streams, fault: str, of: str = "") -> np.random.Generator:
    return streams(f"{fault}/{of}")


def _start(
    fault: Fault, machines: Machines, stream_of: Callable[[str], np.random.Generator]
) -> None:
    if fault.mtbf is not None:
        NodeFailures(fault, machines, stream_of)
    elif fault.every is not None and not _has_target(fault):
        for zone in zones_of(machines.cluster):
            Outages(fault, machines, stream_of(zone), zone)
    else:
        Outages(fault, machines, stream_of(""))


def _has_target(fault: Fault) -> bool:
    return any(t is not None for t in (fault.zone, fault.node, fault.nodes, fault.pool))
