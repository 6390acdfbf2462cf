"""The shapes of work that the scheduler is measured with, and where their pods should end.

Most follow kubernetes' test/integration/scheduler_perf: performance-config.yaml of misc (commit
008b3652959c), affinity (1bd6a8f3c425) and topology_spreading (05377107b088), with templates/. Nodes
have 4 cores, 32 Gi and 110 pods, pods ask for 100 m and 500 Mi. `pods` and `init` are the numbers
at 5,000 nodes, `floor` is the threshold there: the least rate, in pods per second, that the project
accepts of the real scheduler with API server and etcd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sim.cluster import Cluster
from sim.labels import Labels, Selector
from sim.podspec import (
    Container,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    PodTemplate,
    SpreadConstraint,
    WeightedPodAffinityTerm,
)
from sim.tables import Ints

MIB = 1024**2
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
THREE_ZONES = ("moon-1", "moon-2", "moon-3")
ONE_ZONE = ("zone1",)
INIT, MEASURED = "sched-0", "sched-1"  # the namespaces of pods before and while it is measured
SIZES_ARE_FOR = 5000  # nodes
CPU_OF_NODE_M, CPU_OF_POD_M = 4000, 100
ROOM = CPU_OF_NODE_M // CPU_OF_POD_M  # pods of 100 m on a node
TICK_MS, PODS_PER_TICK = 200, 120  # where pods arrive over time: 600 a second, near the floors
MAX_SKEW = 5


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the pods of a run are: node ids of those before, those measured, those among them."""

    cluster: Cluster
    every_node: bool  # was looked at for each pod
    init: Ints
    measured: Ints
    among: Ints


Check = Callable[[Placed], None]


def pod(
    cpu_m: int = CPU_OF_POD_M,
    labels: Labels | None = None,
    namespace: str = MEASURED,
    affinity: PodAffinity | None = None,
    spread: tuple[SpreadConstraint, ...] = (),
    priority: int = 0,
) -> PodTemplate:
    """A pod with one container whose limits are its requests."""
    amounts = {"cpu": cpu_m, "memory": 500 * MIB}
    container = Container("pause", requests=amounts, limits=amounts)
    spec = PodSpec((container,), pod_affinity=affinity, spread=spread, priority=priority)
    return PodTemplate(namespace, labels or {}, spec)


def term(color: str, topology_key: str) -> PodAffinityTerm:
    """Pods of this colour, before and while it is measured."""
    return PodAffinityTerm(topology_key, Selector.of({"color": color}), (INIT, MEASURED))


def zone_spread(when_unsatisfiable: str) -> tuple[SpreadConstraint, ...]:
    blue = Selector.of({"color": "blue"})
    return (SpreadConstraint(ZONE, MAX_SKEW, when_unsatisfiable, blue),)  # type: ignore[arg-type]


# Where pods should end


def all_bound(placed: Placed) -> None:
    """Every pod has its node."""
    for nodes in (placed.init, placed.measured, placed.among):
        assert (nodes >= 0).all(), f"{int(np.sum(nodes < 0))} of {len(nodes)} pods have no node"


def within_skew(placed: Placed) -> None:
    """No zone has over maxSkew measured pods more than another."""
    all_bound(placed)
    zones = placed.cluster.nodes.zone[placed.measured]
    counts = np.bincount(zones, minlength=len(placed.cluster.nodes.zones))
    skew = int(np.ptp(counts))
    assert skew <= MAX_SKEW, f"zones have {counts.tolist()} pods"


def one_per_node(placed: Placed) -> None:
    """No node has two pods of the kind."""
    all_bound(placed)
    most = int(per_node(placed).max())
    assert most == 1, f"a node has {most} pods"


def packed(placed: Placed) -> None:
    """One node is filled after the other, where every node is looked at."""
    all_bound(placed)
    counts = per_node(placed)
    used, needed = int(np.sum(counts > 0)), -(-int(counts.sum()) // ROOM)
    assert used < len(counts), "a pod is on every node"
    assert used == needed or not placed.every_node, f"{used} nodes, {needed} were enough"


def level(placed: Placed) -> None:
    """All nodes have the same number of pods, but for one, where every node is looked at."""
    all_bound(placed)
    counts = per_node(placed)
    assert np.ptp(counts) <= 1 or not placed.every_node, f"between {counts.min()}, {counts.max()}"


def three_evicted(placed: Placed) -> None:
    """Each 3-core pod took the place of three pods of 900 m on a node of its own."""
    assert (placed.measured >= 0).all(), f"{int(np.sum(placed.measured < 0))} pods have no node"
    counts = placed.cluster.nodes.pod_count[placed.measured]
    assert len(np.unique(placed.measured)) == len(placed.measured), "two of them share a node"
    assert (counts == 2).all(), f"nodes have {np.unique(counts)} pods, not one of each kind"


def high_pods_too(placed: Placed) -> None:
    """Both the small pods and the 3-core pods among them have their nodes."""
    assert (placed.measured >= 0).all(), f"{int(np.sum(placed.measured < 0))} pods have no node"
    assert (placed.among >= 0).all(), f"{int(np.sum(placed.among < 0))} large pods have no node"


def large_ones_wait(placed: Placed) -> None:
    """The small pods have their nodes, the 9-core pods have none."""
    assert (placed.measured >= 0).all(), f"{int(np.sum(placed.measured < 0))} pods have no node"
    assert len(placed.among), "no large pod arrived"
    assert (placed.among < 0).all(), "a pod of 9 cores is on a node of 4"


def per_node(placed: Placed) -> Ints:
    """How many pods each node has got, before and while it was measured."""
    nodes = np.concatenate([placed.init, placed.measured])
    return np.bincount(nodes, minlength=len(placed.cluster.nodes))


# The cases


@dataclass(frozen=True, slots=True)
class Case:
    """Pods of a template (drawn at random from several) arrive on a cluster that has some already.

    `room` bounds how many of them a node has to take, where there are few nodes. `before` are the
    pods that are there already, None: of the same kind. `among` arrives once a tick between the
    measured ones; without it these arrive at one instant.
    """

    templates: tuple[PodTemplate, ...]
    pods: int
    init: int
    room: float = ROOM / 2
    before: PodTemplate | None = None
    among: PodTemplate | None = None
    check: Check = all_bound
    zones: tuple[str, ...] = THREE_ZONES
    replicaset: bool = False  # the measured pods are those of a ReplicaSet and a Service
    floor: int | None = None

    def pods_at(self, nodes: int) -> int:
        """How many pods are measured at this many nodes."""
        return min(self.pods, int(self.room * nodes))

    def init_at(self, nodes: int) -> int:
        """How many pods are there before."""
        return self.init * nodes // SIZES_ARE_FOR

    @property
    def first(self) -> PodTemplate:
        """The pods that are there before."""
        return self.before or replace(self.templates[0], namespace=INIT)


DEFAULT = pod(namespace=INIT)
LOW = pod(900, namespace=INIT)
HIGH = pod(3000, priority=10)
LARGE = pod(9000, priority=10)
BLUE = {"color": "blue"}
SHAPES = tuple(pod(100 + number, {"app": f"app-{number}"}) for number in range(100))


def spread(when_unsatisfiable: str) -> tuple[PodTemplate]:
    return (pod(labels=BLUE, spread=zone_spread(when_unsatisfiable)),)


def affine(color: str, affinity: PodAffinity) -> tuple[PodTemplate]:
    return (pod(labels={"color": color}, affinity=affinity),)


REQUIRED = affine("blue", PodAffinity(required=(term("blue", ZONE),)))
APART = affine("green", PodAffinity(anti_required=(term("green", HOSTNAME),)))
LIKED = affine("red", PodAffinity(preferred=(WeightedPodAffinityTerm(1, term("red", HOSTNAME)),)))
DISLIKED = affine(
    "yellow", PodAffinity(anti_preferred=(WeightedPodAffinityTerm(1, term("yellow", HOSTNAME)),))
)

CASES: dict[str, Case] = {
    # SchedulingBasic
    "basic": Case((pod(),), 10_000, 1000, before=DEFAULT, floor=680),
    # not upstream's: each of 100 shapes is asked again after about 100 other pods have moved
    "shapes100": Case(SHAPES, 10_000, 1000, before=DEFAULT),
    # TopologySpreading
    "spread-hard": Case(
        spread("DoNotSchedule"), 5000, 5000, before=DEFAULT, check=within_skew, floor=460
    ),
    # PreferredTopologySpreading
    "spread-soft": Case(
        spread("ScheduleAnyway"), 5000, 5000, before=DEFAULT, check=within_skew, floor=340
    ),
    # DefaultTopologySpreading, where the threshold is that of 50,000 pods
    "spread-default": Case(
        (pod(labels={"app": "scheduler-perf"}, namespace="service-ns"),),
        10_000,
        5000,
        before=DEFAULT,
        replicaset=True,
        check=within_skew,
        floor=160,
    ),
    # SchedulingPodAntiAffinity; at 500 nodes each gets a pod
    "anti-affinity": Case(APART, 2000, 1000, room=0.8, check=one_per_node, floor=60),
    # SchedulingPodAffinity
    "affinity": Case(REQUIRED, 5000, 5000, zones=ONE_ZONE, floor=35),
    # SchedulingPreferredPodAffinity
    "preferred-affinity": Case(LIKED, 5000, 5000, check=packed, floor=90),
    # SchedulingPreferredPodAntiAffinity
    "preferred-anti-affinity": Case(DISLIKED, 5000, 5000, check=level, floor=90),
    # PreemptionBasic, which has no threshold
    "preemption": Case((HIGH,), 1000, 20_000, room=1, before=LOW, check=three_evicted),
    # PreemptionAsync
    "preemption-among": Case(
        (pod(),), 5000, 20_000, room=1, before=LOW, among=HIGH, check=high_pods_too, floor=570
    ),
    # Unschedulable, 5kNodes/100Init/10kPods
    "unschedulable": Case(
        (pod(),), 10_000, 100, before=DEFAULT, among=LARGE, check=large_ones_wait, floor=590
    ),
}

# What the real scheduling code of v1.34.1 does in a loop on one core (queue, snapshot, filters,
# scores, a bind that returns at once; no API server), measured once: (case, nodes, percentage of
# nodes to score) -> pods per second.
KUBE_SCHEDULER: dict[tuple[str, int, int], int] = {
    ("basic", 500, 0): 1093,
    ("basic", 500, 100): 711,
    ("basic", 1000, 0): 826,
    ("basic", 1000, 100): 358,
    ("basic", 5000, 0): 616,
    ("basic", 5000, 100): 75,
    ("spread-hard", 1000, 0): 405,
    ("spread-hard", 1000, 100): 297,
    ("spread-hard", 5000, 0): 304,
}
