"""The timeline: what the cluster looks like, at equal intervals.

One row per time, scope, name and metric. What cannot have changed is not worked out again: stranded
resources only after a pod has come or gone or a node has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Lane
from sim.cluster import Change
from sim.stranded import stranded
from sim.tables import (
    CPU_ROW,
    MEMORY_ROW,
    NEVER,
    UNBOUND,
    Floats,
    Ints,
    Ints32,
    NodeReady,
    Phase,
)
from sim.workloads import NO_SCHEDULER

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.traffic import Traffic

POD_CHANGES = tuple(change for change in Change if change.name.startswith("POD_"))
ZONE_METRICS = (
    "cpu_m",
    "memory_b",
    "cpu_requested_m",
    "memory_requested_b",
    "cpu_used_m",
    "memory_used_b",
    "stranded_cpu_m",
    "stranded_memory_b",
    "nodes_ready",
    "pods",
)


class Sampler:
    """Fills the timeline's columns and sums up stranded resources per node."""

    def __init__(self, cluster: Cluster, traffic: Traffic, every_ms: int, warm_up_ms: int) -> None:
        self._cluster = cluster
        self._traffic = traffic
        self._every_ms = every_ms
        self._warm_up_ms = warm_up_ms
        self.columns: dict[str, list[object]] = {
            name: [] for name in ("t_s", "scope", "name", "metric", "value")
        }
        self.stranded_cpu_m = np.zeros(0)  # sums over the samples after the warm-up, per node
        self.stranded_memory_b = np.zeros(0)
        self.held_ms = np.zeros(0)  # time after the warm-up that they cover, per node
        self.last: tuple[Floats, Floats, Floats] = (np.zeros(0), np.zeros(0), np.zeros(0))
        self._seen = (-1, -1)
        self._looked_ms = 0
        self._found_mix = False
        self._sent: dict[str, tuple[int, float, float]] = {}
        self.cpu = UseStatistics()
        self.memory = UseStatistics()
        self.series: NodeSeries | None = None
        self._phases: dict[str, int] = {}  # nothing: pods have changed since the last count
        cluster.watch(self._pods_changed, POD_CHANGES)
        cluster.clock.at(0, Lane.SAMPLES, self._sample)

    def keep_nodes(self, until_ms: int) -> NodeSeries:
        """Keep every sample of every node too; asked for before the run, it costs memory."""
        self.series = NodeSeries(until_ms // self._every_ms + 2, len(self._cluster.nodes))
        return self.series

    def _sample(self) -> None:
        self.take()
        self._cluster.clock.after(self._every_ms, Lane.SAMPLES, self._sample)

    def take(self) -> None:
        """One sample, now."""
        self._strand()
        self._by_zone()
        self._by_phase()
        self._by_service()

    def _put(self, scope: str, name: str, metric: str, value: float) -> None:
        row = (self._cluster.clock.now_ms / 1000, scope, name, metric, float(value))
        for column, cell in zip(self.columns.values(), row, strict=True):
            column.append(cell)

    # Nodes

    def _by_zone(self) -> None:
        nodes, now_ms = self._cluster.nodes, self._cluster.clock.now_ms
        live = nodes.ids()
        values = self._node_values(live)
        for scope, codes, names in (
            ("zone", nodes.zone[live], nodes.zones),
            ("pool", nodes.pool[live], nodes.pools),
        ):
            if scope == "zone" or len(names) > 1:
                self._put_groups(scope, codes, names, values)
        for metric in ZONE_METRICS:
            self._put("cluster", "", metric, values[metric].sum())
        if now_ms >= self._warm_up_ms:
            capacity = nodes.capacity
            self.cpu.count(live, values["cpu_used_m"], capacity[CPU_ROW, live])
            self.memory.count(live, values["memory_used_b"], capacity[MEMORY_ROW, live])
        if self.series is not None:
            self.series.add(now_ms, live, values["cpu_used_m"], values["memory_used_b"])

    def _put_groups(
        self, scope: str, codes: Ints32, names: list[str], values: dict[str, Ints | Floats]
    ) -> None:
        sizes = np.bincount(codes, minlength=len(names))
        sums = {
            metric: np.bincount(codes, values[metric], len(names)).tolist()
            for metric in ZONE_METRICS
        }
        for code in np.flatnonzero(sizes).tolist():
            for metric in ZONE_METRICS:
                self._put(scope, names[code], metric, sums[metric][code])

    def _node_values(self, live: Ints) -> dict[str, Ints | Floats]:
        cluster, nodes = self._cluster, self._cluster.nodes
        now_ms = cluster.clock.now_ms
        cpu_m = _of_nodes(cluster.cpu_use.values(now_ms), live)
        # Between the moment at which demands come to be too much and the next look.
        cpu_m = np.minimum(cpu_m, nodes.capacity[CPU_ROW, live])
        return {
            "cpu_m": nodes.allocatable[CPU_ROW, live],
            "memory_b": nodes.allocatable[MEMORY_ROW, live],
            "cpu_requested_m": nodes.requested[CPU_ROW, live],
            "memory_requested_b": nodes.requested[MEMORY_ROW, live],
            "cpu_used_m": cpu_m.round(3),
            "memory_used_b": _of_nodes(cluster.memory_use.values(now_ms), live).round(),
            "stranded_cpu_m": self.last[0][live],
            "stranded_memory_b": self.last[1][live],
            "nodes_ready": (nodes.ready[live] == NodeReady.TRUE).astype(np.int64),
            "pods": nodes.pod_count[live],
        }

    def _strand(self) -> None:
        """Hold what was stranded for the time since the last sample, then look again."""
        cluster, now_ms = self._cluster, self._cluster.clock.now_ms
        held_ms = now_ms - max(self._looked_ms, self._warm_up_ms)
        if held_ms > 0 and self._found_mix:
            self.stranded_cpu_m = _added(self.stranded_cpu_m, self.last[0] * held_ms)
            self.stranded_memory_b = _added(self.stranded_memory_b, self.last[1] * held_ms)
            here = (cluster.nodes.exists[: len(cluster.nodes)] * held_ms).astype(np.float64)
            self.held_ms = _added(self.held_ms, here)
        self._looked_ms = now_ms
        seen = (len(cluster.pods_log), len(cluster.nodes_log))
        if seen != self._seen:
            self._seen = seen
            mix = mix_of(cluster)
            self._found_mix = bool(mix)
            self.last = stranded_now(cluster, mix)

    # Pods and requests

    def _pods_changed(self, change: Change, object_id: int) -> None:
        self._phases = {}

    def _by_phase(self) -> None:
        self._phases = self._phases or self._phase_counts()
        for name, count in self._phases.items():
            self._put("phase", name, "pods", count)

    def _phase_counts(self) -> dict[str, int]:
        pods = self._cluster.pods
        exists = pods.exists[: len(pods)]
        phase, node = pods.phase[: len(pods)], pods.node[: len(pods)]
        deleting = pods.deleting_ms[: len(pods)] != NEVER
        pending = exists & (phase == Phase.PENDING) & ~deleting
        counts = {
            "unscheduled": pending & (node == UNBOUND),
            "starting": pending & (node != UNBOUND),
            "ready": exists & (phase == Phase.RUNNING) & pods.ready[: len(pods)] & ~deleting,
            "not ready": exists & (phase == Phase.RUNNING) & ~pods.ready[: len(pods)] & ~deleting,
            "terminating": exists & deleting,
        }
        return {name: int(mask.sum()) for name, mask in counts.items()}

    def _by_service(self) -> None:
        now_ms = self._cluster.clock.now_ms
        for flow in self._traffic.flows.values():
            flow.settle(now_ms)
            at_ms, sent, failed = self._sent.get(flow.name, (0, 0.0, 0.0))
            seconds = max(now_ms - at_ms, 1) / 1000
            self._sent[flow.name] = (now_ms, flow.sent_ever, flow.failed_ever)
            self._put("service", flow.name, "sent_rps", (flow.sent_ever - sent) / seconds)
            self._put("service", flow.name, "failed_rps", (flow.failed_ever - failed) / seconds)
            self._put("service", flow.name, "ready", len(flow.endpoints))


class UseStatistics:
    """Mean, most and 95th percentile of an amount in use per node, over the samples.

    Percentiles come from a histogram of use / capacity in steps of 1 %: the answer is the upper
    edge of the step that the percentile falls in, at most 1 % of the capacity too high. Use above
    the capacity counts as 100 %. 404 bytes a node, however many samples are taken.
    """

    STEPS = 100

    def __init__(self) -> None:
        self._counts = np.zeros((0, self.STEPS + 1), np.uint32)
        self._sums = np.zeros(0)
        self._most = np.zeros(0)

    def count(self, nodes: Ints, used: Ints | Floats, capacity: Ints) -> None:
        """One sample of these nodes."""
        if len(nodes) and nodes[-1] >= len(self._sums):
            self._grow(int(nodes[-1]) + 1)
        share = used / np.maximum(capacity, 1)
        step = np.minimum(np.ceil(share * self.STEPS - 1e-9), self.STEPS).astype(np.intp)
        self._counts[nodes, np.maximum(step, 0)] += 1
        self._sums[nodes] += share
        self._most[nodes] = np.maximum(self._most[nodes], share)

    def _grow(self, size: int) -> None:
        more = size - len(self._sums)
        self._counts = np.vstack([self._counts, np.zeros((more, self.STEPS + 1), np.uint32)])
        self._sums = np.concatenate([self._sums, np.zeros(more)])
        self._most = np.concatenate([self._most, np.zeros(more)])

    @property
    def mean(self) -> Floats:
        """Average of use / capacity, per node; 0 without samples."""
        mean: Floats = self._sums / np.maximum(self._counts.sum(axis=1), 1)
        return mean

    @property
    def most(self) -> Floats:
        """Highest sample of use / capacity."""
        return self._most

    def percentile(self, share: float = 0.95) -> Floats:
        """Use / capacity that this share of a node's samples does not exceed, in steps of 1 %."""
        below = self._counts.cumsum(axis=1)
        needed = np.ceil(share * below[:, -1:])
        edges: Floats = (below < needed).sum(axis=1) / self.STEPS
        return edges


class NodeSeries:
    """Every sample of every node, in arrays made beforehand: 8 bytes a sample and node.

    5,760 samples (a day, each 15 s) of 5,000 nodes take 220 MiB. Nodes that join later are left
    out.
    """

    def __init__(self, samples: int, nodes: int) -> None:
        self.taken = 0
        self.t_ms = np.zeros(samples, np.int64)
        self.cpu_used_m = np.zeros((samples, nodes), np.float32)
        self.memory_used_b = np.zeros((samples, nodes), np.float32)

    def add(self, now_ms: int, live: Ints, cpu_m: Ints | Floats, memory_b: Ints | Floats) -> None:
        """One more sample; none once the arrays are full."""
        row, nodes = self.taken, self.cpu_used_m.shape[1]
        if row == len(self.t_ms):
            return
        known = live < nodes
        self.t_ms[row] = now_ms
        self.cpu_used_m[row, live[known]] = cpu_m[known]
        self.memory_used_b[row, live[known]] = memory_b[known]
        self.taken += 1


Mix = dict[tuple[int, int], int]  # (cpu_m, memory_b) of a pod -> bound pods of that size


def mix_of(cluster: Cluster) -> Mix:
    """The bound pods by size; one that requests nothing says nothing about room and is left out."""
    pods = cluster.pods
    bound = (pods.node[: len(pods)] != UNBOUND) & (pods.ended_ms[: len(pods)] == NEVER)
    templates, counts = np.unique(pods.template[: len(pods)][bound], return_counts=True)
    mix: Mix = {}
    for template_id, count in zip(templates.tolist(), counts.tolist(), strict=True):
        template = cluster.templates[template_id]
        if template.pod.spec.scheduler_name == NO_SCHEDULER:  # what every node runs anyway
            continue
        size = (template.cpu_m, template.memory_b)
        if any(size):
            mix[size] = mix.get(size, 0) + count
    return mix


def stranded_now(cluster: Cluster, mix: Mix) -> tuple[Floats, Floats, Floats]:
    """Stranded CPU, memory and how many more pods of the mix fit, per node; 0 without a mix."""
    nodes = cluster.nodes
    size = len(nodes)
    free = nodes.allocatable[:, :size] - nodes.requested[:, :size]
    if not mix:
        nothing = np.zeros(size)
        return nothing, nothing, nothing
    return stranded(
        free[CPU_ROW],
        free[MEMORY_ROW],
        nodes.max_pods[:size] - nodes.pod_count[:size],
        np.array([cpu for cpu, _ in mix]),
        np.array([memory for _, memory in mix]),
        np.array(list(mix.values())),
    )


def _of_nodes(values: Floats, live: Ints) -> Floats:
    """The values of `live`; 0 for nodes on which nothing has run yet."""
    if len(live) and live[-1] >= len(values):
        values = np.concatenate([values, np.zeros(int(live[-1]) + 1 - len(values))])
    of_nodes: Floats = values[live]
    return of_nodes


def _added(sums: Floats, values: Floats) -> Floats:
    """`sums` + `values`, where nodes have joined since."""
    if len(sums) < len(values):
        sums = np.concatenate([sums, np.zeros(len(values) - len(sums))])
    sums[: len(values)] += values
    return sums
