"""How many pods a second find their node.

    python -m benchmarks.scheduler --case basic --nodes 5000 --percentage 0
    python -m benchmarks.scheduler --growth

Pods go through the real queue, filters, scores and bind on the simulation's clock; what they look
like and where they should end is in `benchmarks.cases`. With percentage 0 a search ends when enough
nodes are found, as in kube-scheduler by default, with 100 every node is looked at. The time is that
from the first measured pod's turn to the last bind; pods that are there before are not measured.
Each case runs in a process of its own, so that `peak_mib` is its own.

Beside `pods_per_s` stand `upstream_floor` (threshold of kubernetes' scheduler_perf at 5,000 nodes,
with API server and etcd) and `kube_scheduler_pods_per_s` (the real scheduling code alone on one
core); null where there is none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.calibration import peak_mib, simpy_timeouts_per_s
from benchmarks.cases import (
    CASES,
    HOSTNAME,
    KUBE_SCHEDULER,
    PODS_PER_TICK,
    SIZES_ARE_FOR,
    TICK_MS,
    ZONE,
    Case,
    Placed,
)
from sim.catalog import default_profile
from sim.clock import Lane
from sim.cluster import Change, Cluster
from sim.labels import Selector
from sim.nodes import NodeShape
from sim.podspec import PodTemplate
from sim.rng import Streams, Uniforms
from sim.scheduler import Scheduler
from sim.tables import Ints
from sim.workloads import ReplicaSet, Service

GIB = 1024**3
SIZES = {"cpu": 4000, "memory": 32 * GIB, "ephemeral-storage": 100 * GIB}
SETTLE_MS = 30_000  # longer than any back-off, so that the last pod gets another turn
GROWTH_NODES = (1000, 10_000, 100_000)
WARM_UP, ROUNDS, PODS_PER_ROUND = 200, 3, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append", help="all of them by default")
    parser.add_argument("--nodes", type=int, action="append", help="5000 by default")
    parser.add_argument(
        "--percentage", type=int, action="append", help="of nodes to score: 0 adapts (default), 100"
    )
    parser.add_argument("--pods", type=int, help="how many, instead of the case's own number")
    parser.add_argument("--growth", action="store_true", help="basic at 1,000 to 100,000 nodes")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.growth:
        show(alone(growth, GROWTH_NODES, asked.seed))
        return
    for case in asked.case or CASES:
        for nodes in asked.nodes or [SIZES_ARE_FOR]:
            for percentage in asked.percentage or [0]:
                show(alone(measure, case, nodes, percentage, asked.seed, asked.pods))


def show(row: dict[str, object]) -> None:
    print(json.dumps(row), flush=True)


def alone(function, *arguments):
    """What the function returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(
    name: str, nodes: int, percentage: int, seed: int = 1, pods: int | None = None
) -> dict[str, object]:
    """One case as a row of figures."""
    case = CASES[name]
    run = Run(case, nodes, percentage, seed)
    run.warm_up()
    seconds = run.arrive(pods or case.pods_at(nodes))
    case.check(run.placed())
    run.cluster.check()
    done = len(run.measured)
    return {
        "case": name,
        "nodes": nodes,
        "pods": done,
        "percentage": percentage,
        "pods_per_s": round(done / seconds),
        "upstream_floor": case.floor if nodes == SIZES_ARE_FOR else None,
        "kube_scheduler_pods_per_s": KUBE_SCHEDULER.get((name, nodes, percentage)),
        "simpy_timeouts_per_s": simpy_timeouts_per_s(),
        "peak_mib": peak_mib(),
    }


def growth(sizes: Sequence[int], seed: int = 1) -> dict[str, object]:
    """What one more pod of a known shape costs as the cluster grows; every node is looked at."""
    us_per_pod = {nodes: us_of_known_shape(nodes, seed) for nodes in sizes}
    return {
        "case": "growth",
        "pods": ROUNDS * PODS_PER_ROUND,
        "percentage": 100,
        "us_per_pod": {nodes: round(us, 1) for nodes, us in us_per_pod.items()},
        "growth": round(us_per_pod[sizes[-1]] / us_per_pod[sizes[0]], 2),
        "simpy_timeouts_per_s": simpy_timeouts_per_s(),
        "peak_mib": peak_mib(),
    }


def us_of_known_shape(nodes: int, seed: int) -> float:
    """Microseconds per pod in the best of some rounds: other work on the machine only adds."""
    run = Run(CASES["basic"], nodes, 100, seed)
    run.arrive(WARM_UP)
    seconds = min(run.arrive(PODS_PER_ROUND) for _ in range(ROUNDS))
    CASES["basic"].check(run.placed())
    run.cluster.check()
    return seconds / PODS_PER_ROUND * 1e6


class Run:
    """A cluster with a scheduler, and the pods of a case as they come."""

    def __init__(self, case: Case, nodes: int, percentage: int, seed: int) -> None:
        streams = Streams(seed)
        self.case = case
        self.every_node = percentage == 100
        self.cluster = cluster = a_cluster(nodes, case.zones)
        self.init: list[int] = []
        self.measured: list[int] = []
        self.among: list[int] = []
        self._draw = streams("shapes")
        if case.replicaset:
            put_service(cluster, case.templates[0])
        draw = Uniforms(streams("scheduler"))
        profiles = {"default-scheduler": default_profile()}
        Scheduler(cluster, profiles, draw, percentage=percentage)
        cluster.watch(self._remove, [Change.POD_DELETING])

    def _remove(self, change: Change, pod: int) -> None:
        """A pod that is evicted is gone at once: it has no grace period, and nothing to do."""
        self.cluster.remove_pod(pod)

    def warm_up(self) -> None:
        """The pods that are there before."""
        count = self.case.init_at(len(self.cluster.nodes))
        self.init += self._create([self.case.first], count)
        self._pass(1)

    def arrive(self, pods: int) -> float:
        """Let pods come and find their nodes; the seconds it took."""
        if self.case.among is None:
            self._come(pods)
        else:
            self.cluster.clock.after(0, Lane.API, self._tick, pods)
        begin = time.perf_counter()
        self._pass(1 + pods // PODS_PER_TICK * TICK_MS + SETTLE_MS)
        return time.perf_counter() - begin

    def placed(self) -> Placed:
        """Where all pods are."""
        node = self.cluster.pods.node
        groups: Iterator[Ints] = (node[pods] for pods in (self.init, self.measured, self.among))
        return Placed(self.cluster, self.every_node, *groups)

    def _tick(self, left: int) -> None:
        """Some pods, with another between them; again after a while, until all have come."""
        now = min(left, PODS_PER_TICK)
        self._come(now // 2)
        self.among += self._create([self.case.among], 1)
        self._come(now - now // 2)
        if left > now:
            self.cluster.clock.after(TICK_MS, Lane.API, self._tick, left - now)

    def _come(self, pods: int) -> None:
        self.measured += self._create(self.case.templates, pods)

    def _create(self, templates: Sequence[PodTemplate], pods: int) -> list[int]:
        """Pending pods, each of a template drawn at random."""
        cluster = self.cluster
        known = [(cluster.template(template), self._owner(template)) for template in templates]
        drawn = self._draw.integers(len(known), size=pods).tolist()
        return [cluster.create_pod(*known[place]) for place in drawn]

    def _owner(self, template: PodTemplate) -> int:
        owned = self.case.replicaset and template in self.case.templates
        kind = "ReplicaSet" if owned else "ReplicationController"
        return self.cluster.owner(kind, template.namespace, template.labels.get("app", "pods"))

    def _pass(self, duration_ms: int) -> None:
        clock = self.cluster.clock
        clock.run(until_ms=clock.now_ms + duration_ms)


def a_cluster(nodes: int, zones: tuple[str, ...]) -> Cluster:
    """Nodes of one size, dealt out over the zones."""
    cluster = Cluster()
    shape = NodeShape(capacity=SIZES, allocatable=SIZES, kubepods=SIZES)
    for number in range(nodes):
        name, zone = f"node-{number}", zones[number % len(zones)]
        cluster.add_node(name, shape, zone=zone, labels={HOSTNAME: name, ZONE: zone})
    return cluster


def put_service(cluster: Cluster, template: PodTemplate) -> None:
    """A Service and a ReplicaSet that select the pods of the template."""
    namespace, name = template.namespace, template.labels["app"]
    selector = Selector.of(template.labels)
    cluster.services[namespace, name] = Service(namespace, name, selector)
    cluster.put_replicaset(ReplicaSet(namespace, name, 0, selector, template))


if __name__ == "__main__":
    main()
