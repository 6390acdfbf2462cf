"""How many pods a second live a whole life: arrive, find a node, start, run, finish.

    python -m benchmarks.lifecycle --nodes 1000 --pods 100000

The whole simulator at work, as a scenario builds it: a Poisson stream of one-pod arrivals on equal
nodes that are about 70 % full, with the default start-up delays. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.calibration import peak_mib, simpy_timeouts_per_s
from sim.engine import Simulation
from sim.scenario import Scenario
from sim.tables import Phase

POD = """
apiVersion: v1
kind: Pod
metadata: {name: work, labels: {app: work}}
spec:
  restartPolicy: Never
  containers:
    - name: work
      image: work:1
      resources:
        requests: {cpu: 500m, memory: 1Gi}
        limits: {cpu: 500m, memory: 1Gi}
"""
CPU_OF_NODE, PODS_PER_NODE, RUNTIME_S = 8, 16, 300
FILL = 0.7  # share of the room that is in use on average (Little's law)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(json.dumps(measure(asked.nodes, asked.pods, asked.seed)), flush=True)


def measure(nodes: int, pods: int, seed: int) -> dict[str, object]:
    """The figures of one run."""
    simulation = Simulation(scenario(nodes, pods), seed=seed)
    begin = time.perf_counter()
    simulation.clock.run(simulation.end_ms)
    seconds = time.perf_counter() - begin
    table = simulation.cluster.pods
    done = int((table.phase[: len(table)] == Phase.SUCCEEDED).sum())
    assert done == pods, f"{done} of {pods} pods have finished"
    return {
        "case": "lifecycle",
        "nodes": nodes,
        "pods": pods,
        "pods_per_s": round(pods / seconds),
        "events_per_pod": round(simulation.clock.calls / pods, 2),
        "peak_mib": peak_mib(),
        "simpy_timeouts_per_s": simpy_timeouts_per_s(),
    }


def scenario(nodes: int, pods: int) -> Scenario:
    """A stream that keeps `nodes` nodes about 70 % full and ends when all pods have run."""
    gap_ms = RUNTIME_S * 1000 / (nodes * PODS_PER_NODE * FILL)
    whole_s = int(pods * gap_ms / 1000 * 1.1) + 20 * RUNTIME_S
    with tempfile.TemporaryDirectory() as directory:
        template = Path(directory) / "pod.yaml"
        template.write_text(POD, encoding="utf-8")
        return Scenario.from_dict(
            {
                "apiVersion": "sim/v1",
                "kind": "Scenario",
                "metadata": {"name": "lifecycle"},
                "run": {"duration": f"{whole_s}s"},
                "nodes": [
                    {
                        "pool": "n",
                        "count": nodes,
                        "capacity": {"cpu": CPU_OF_NODE, "memory": "32Gi"},
                    }
                ],
                "arrivals": [
                    {
                        "name": "work",
                        "every": {"exponential": f"{gap_ms:.0f}ms"},
                        "template": "pod.yaml",
                        "runtime": {"exponential": f"{RUNTIME_S}s"},
                        "count": pods,
                    }
                ],
            },
            base=Path(directory),
        )


if __name__ == "__main__":
    main()
