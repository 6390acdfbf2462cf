"""Your own SimPy process beside the simulation: somebody who scales the shop front by the clock.

A process is a generator function of the Simulation. It waits with SimPy (`env`, in whole
milliseconds), reads the cluster, and acts with `do`. It may wait for other SimPy events too.
"""

from pathlib import Path

import sim
from sim.actions import ScaleDeployment

MINUTE = 60_000
SHOP = Path(__file__).parents[1] / "scenarios" / "zone-failure.yaml"


def rush_hour(simulation):
    """Twelve front ends from minute 20 to minute 60, six before and after."""
    yield simulation.env.timeout(20 * MINUTE)
    simulation.do(ScaleDeployment("shop", "frontend", 12))
    yield simulation.env.timeout(40 * MINUTE)
    simulation.do(ScaleDeployment("shop", "frontend", 6))


def count_pods(simulation):
    """Every 15 minutes, how many pods really run."""
    while True:
        yield simulation.env.timeout(15 * MINUTE)
        alive = int(simulation.cluster.pods.alive.sum())
        print(f"{simulation.env.now // MINUTE:>3} min: {alive} pods run")


if __name__ == "__main__":
    result = sim.run(sim.load(SHOP), processes=[rush_hour, count_pods])
    front = result.workloads.set_index("workload").loc["Deployment/frontend"]
    print(f"front ends wanted at the end: {front['wanted']}, made in all: {front['pods']}")
