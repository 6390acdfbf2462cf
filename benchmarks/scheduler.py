"""How many pods a second find their node, every node considered.

    python -m benchmarks.scheduler --nodes 5000 --pods 10000

Pods go through the real queue, filters, scores and bind on the simulation's clock. Nodes have
4 cores and 32 Gi in three zones, as in kubernetes' scheduler_perf SchedulingBasic; pods ask for
100 m and 500 Mi. `shapes100` mixes 100 shapes at random, so that each is asked again after about
100 other pods have moved. What is measured is the time from the first pod's turn to the last bind.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from benchmarks.calibration import peak_mib, simpy_timeouts_per_s
from sim.catalog import default_profile
from sim.cluster import Cluster
from sim.nodes import NodeShape
from sim.podspec import Container, PodSpec, PodTemplate
from sim.rng import Streams, Uniforms
from sim.scheduler import Scheduler

MIB = 1024**2
GIB = 1024**3
SIZES = {"cpu": 4000, "memory": 32 * GIB, "ephemeral-storage": 100 * GIB}
ZONES = ("a", "b", "c")
CASES = {"basic": 1, "shapes100": 100}  # name -> number of pod shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for case in asked.case or CASES:
        row = measure(case, asked.nodes, asked.pods, asked.seed)
        print(json.dumps(row), flush=True)


def measure(case: str, nodes: int, pods: int, seed: int) -> dict[str, object]:
    """One case as a row of figures."""
    cluster = a_full_cluster(nodes)
    streams = Streams(seed)
    Scheduler(cluster, {"default-scheduler": default_profile()}, Uniforms(streams("scheduler")))
    shapes = streams("shapes").integers(CASES[case], size=pods).tolist()
    arrive(cluster, shapes)
    begin = time.perf_counter()
    cluster.clock.run(until_ms=1)
    seconds = time.perf_counter() - begin
    bound = int(np.sum(cluster.pods.node[:pods] >= 0))
    assert bound == pods, f"{pods - bound} pods found no node"
    cluster.check()
    return {
        "case": case,
        "nodes": nodes,
        "pods": pods,
        "percentage": 100,
        "pods_per_s": round(pods / seconds),
        "simpy_timeouts_per_s": simpy_timeouts_per_s(),
        "peak_mib": peak_mib(),
    }


def a_full_cluster(nodes: int) -> Cluster:
    """Nodes of one size, dealt out over the zones."""
    cluster = Cluster()
    shape = NodeShape(capacity=SIZES, allocatable=SIZES, kubepods=SIZES)
    for number in range(nodes):
        name, zone = f"node-{number}", ZONES[number % len(ZONES)]
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
        cluster.add_node(name, shape, zone=zone, labels=labels)
    return cluster


def arrive(cluster: Cluster, shapes: list[int]) -> None:
    """One pending pod per entry; shape n asks for 100 + n millicores."""
    templates = [cluster.template(a_template(shape)) for shape in range(max(shapes) + 1)]
    owners = [
        cluster.owner("ReplicationController", "default", f"app-{n}") for n in range(len(templates))
    ]
    for shape in shapes:
        cluster.create_pod(templates[shape], owners[shape])


def a_template(shape: int) -> PodTemplate:
    requests = {"cpu": 100 + shape, "memory": 500 * MIB}
    spec = PodSpec(containers=(Container("app", requests=requests),))
    return PodTemplate("default", {"app": f"app-{shape}"}, spec)


if __name__ == "__main__":
    main()
