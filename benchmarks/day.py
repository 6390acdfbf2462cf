"""A day of a large cluster: what it costs, and where the time goes.

    python -m benchmarks.day --nodes 5000 --pods 150000 --hours 24

Deployments of equal size with readiness and liveness probes, CPU and memory that follow the time of
day (every fourth leaks too, up to a plateau), sampled every 15 s; 20 nodes fail for 30 minutes each
and one zone of three for 15. Prints one JSON line; with `--ratio` also runs half of the nodes and
pods and prints how many times longer the whole took.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.calibration import peak_mib, simpy_timeouts_per_s
from sim import clock as clocks
from sim.engine import Simulation
from sim.scenario import Scenario

DEPLOYMENTS, ZONES, FAILURES = 200, "abc", 20
SAMPLE_MS = 15_000
PEAKS = ("09:00", "12:00", "15:00", "20:00")
POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app-{i}, labels: {{app: app-{i}, kind: kind-{kind}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: app-{i}}}}}
  template:
    metadata: {{labels: {{app: app-{i}, kind: kind-{kind}}}}}
    spec:
      containers:
        - name: app
          image: app:{i}
          readinessProbe: {{httpGet: {{path: /ready, port: 80}}, periodSeconds: 5}}
          livenessProbe: {{httpGet: {{path: /live, port: 80}}, periodSeconds: 10}}
          resources:
            requests: {{cpu: 200m, memory: 512Mi}}
            limits: {{memory: 1Gi}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--pods", type=int, default=150_000)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ratio", action="store_true", help="run half the size as well")
    parser.add_argument("--profile", action="store_true", help="list what takes most of the time")
    asked = parser.parse_args()
    if asked.profile:
        profile(asked.nodes, asked.pods, asked.hours, asked.seed)
        return
    figures = measure(asked.nodes, asked.pods, asked.hours, asked.seed)
    print(json.dumps(figures), flush=True)
    if asked.ratio:
        half = measure(asked.nodes // 2, asked.pods // 2, asked.hours, asked.seed)
        ratio = round(float(figures["wall_s"]) / float(half["wall_s"]), 2)
        print(json.dumps({"case": "day/half", "wall_s": half["wall_s"], "ratio": ratio}))


def measure(nodes: int, pods: int, hours: int, seed: int) -> dict[str, Any]:
    """The figures of one run."""
    begin = time.perf_counter()
    simulation = Simulation(scenario(nodes, pods, hours), seed=seed)
    built_s = time.perf_counter() - begin
    lanes: Counter[str] = Counter()
    plain = clocks._fire
    clocks_fire(lanes)
    gc.collect()
    gc.freeze()
    begin = time.perf_counter()
    simulation.clock.run(simulation.end_ms)
    wall_s = time.perf_counter() - begin
    clocks._FIRE = (plain,)
    table = simulation.cluster.pods
    ready = int(table.ready[: len(table)].sum())
    return {
        "case": "day",
        "nodes": nodes,
        "pods": pods,
        "hours": hours,
        "wall_s": round(wall_s, 1),
        "build_s": round(built_s, 1),
        "peak_mib": peak_mib(),
        "events": simulation.clock.calls,
        "samples": simulation.end_ms // SAMPLE_MS,
        "pods_made": len(table),
        "ready_at_end": ready,
        "share": {name: round(s / wall_s, 3) for name, s in lanes.most_common()},
        "simpy_timeouts_per_s": simpy_timeouts_per_s(),
    }


def clocks_fire(lanes: Counter[str]) -> None:
    """Add up the time of every callback under the part of the simulator that it belongs to."""

    def fire(call: Any) -> None:
        begin = time.perf_counter()
        call.fn(*call.args)
        owner = getattr(call.fn, "__self__", None)
        lanes[type(owner).__name__] += time.perf_counter() - begin

    clocks._FIRE = (fire,)


def profile(nodes: int, pods: int, hours: int, seed: int) -> None:
    """The functions that take most of the time themselves."""
    import cProfile
    import pstats

    simulation = Simulation(scenario(nodes, pods, hours), seed=seed)
    gc.freeze()
    profiler = cProfile.Profile()
    profiler.runcall(simulation.clock.run, simulation.end_ms)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def scenario(nodes: int, pods: int, hours: int) -> Scenario:
    """A day with failures spread over it."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        replicas = pods // DEPLOYMENTS
        manifests = [
            POD.format(i=i, kind=i % len(PEAKS), replicas=replicas) for i in range(DEPLOYMENTS)
        ]
        (base / "apps.yaml").write_text("---".join(manifests), encoding="utf-8")
        return Scenario.from_dict(
            {
                "apiVersion": "sim/v1",
                "kind": "Scenario",
                "metadata": {"name": "day"},
                "run": {"duration": f"{hours}h", "sample": "15s", "start": "2025-10-01T00:00:00Z"},
                "nodes": [
                    {
                        "pool": "n",
                        "count": nodes,
                        "capacity": {"cpu": 16, "memory": "64Gi"},
                        "zones": list(ZONES),
                    }
                ],
                "manifests": ["apps.yaml"],
                "behaviour": [_behaviour(kind) for kind in range(len(PEAKS))],
                "faults": list(_faults(nodes, hours)),
            },
            base=base,
        )


def _behaviour(kind: int) -> dict[str, Any]:
    memory: dict[str, Any] = {
        "base": "400Mi",
        "diurnal": {"amplitude": "100Mi", "peak": PEAKS[kind]},
    }
    if kind == 0:
        memory |= {"growth": "20Mi/h", "plateau": "700Mi"}
    cpu = {"base": "200m", "diurnal": {"amplitude": "150m", "peak": PEAKS[kind]}}
    return {"match": {"kind": f"kind-{kind}"}, "cpu": cpu, "memory": memory}


def _faults(nodes: int, hours: int) -> list[dict[str, Any]]:
    minutes = hours * 60
    faults: list[dict[str, Any]] = [
        {
            "at": f"{minutes * (i + 1) // (FAILURES + 1)}m",
            "node": f"n-{i * nodes // FAILURES}",
            "down": "30m",
        }
        for i in range(FAILURES)
    ]
    return [*faults, {"at": f"{minutes // 2}m", "zone": ZONES[-1], "down": "15m"}]


if __name__ == "__main__":
    main()
