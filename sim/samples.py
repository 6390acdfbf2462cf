"""The timeline: what the cluster looks like, at equal intervals.

One row per time, scope, name and metric. What cannot have changed is not worked out again: stranded
resources only after a pod has come or gone or a node has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Lane
from sim.stranded import stranded
from sim.tables import (
    CPU_ROW,
    MEMORY_ROW,
    NEVER,
    UNBOUND,
    Floats,
    Ints,
    NodeReady,
    Phase,
)
from sim.workloads import STATIC

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.traffic import Traffic

MS_PER_H = 3_600_000
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
        cluster.clock.at(0, Lane.SAMPLES, self._sample)

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
        nodes = self._cluster.nodes
        live = nodes.ids()
        values = self._node_values(live)
        zones = nodes.zone[live]
        for zone in np.unique(zones).tolist():
            mask = zones == zone
            for metric in ZONE_METRICS:
                self._put("zone", nodes.zones[zone], metric, values[metric][mask].sum())
        for metric in ZONE_METRICS:
            self._put("cluster", "", metric, values[metric].sum())

    def _node_values(self, live: Ints) -> dict[str, Ints | Floats]:
        nodes, pods = self._cluster.nodes, self._cluster.pods
        running = np.flatnonzero(pods.alive[: len(pods)])
        on = pods.node[running]
        size = len(nodes)
        passed_ms = self._cluster.clock.now_ms - pods.cpu_since_ms[running]
        memory_b = pods.memory_b[running] + pods.memory_b_per_h[running] * (passed_ms / MS_PER_H)
        return {
            "cpu_m": nodes.allocatable[CPU_ROW, live],
            "memory_b": nodes.allocatable[MEMORY_ROW, live],
            "cpu_requested_m": nodes.requested[CPU_ROW, live],
            "memory_requested_b": nodes.requested[MEMORY_ROW, live],
            "cpu_used_m": np.bincount(on, weights=pods.cpu_m[running], minlength=size)[live],
            "memory_used_b": np.bincount(on, weights=memory_b, minlength=size)[live],
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

    def _by_phase(self) -> None:
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
        for name, mask in counts.items():
            self._put("phase", name, "pods", mask.sum())

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


Mix = dict[tuple[int, int], int]  # (cpu_m, memory_b) of a pod -> bound pods of that size


def mix_of(cluster: Cluster) -> Mix:
    """The bound pods by size; one that requests nothing says nothing about room and is left out."""
    pods = cluster.pods
    bound = (pods.node[: len(pods)] != UNBOUND) & (pods.ended_ms[: len(pods)] == NEVER)
    static = [owner.kind == STATIC for owner in cluster.owners]
    if any(static):  # what every node runs anyway is no room that more of the same could take
        bound &= ~np.array(static)[pods.owner[: len(pods)]]
    templates, counts = np.unique(pods.template[: len(pods)][bound], return_counts=True)
    mix: Mix = {}
    for template_id, count in zip(templates.tolist(), counts.tolist(), strict=True):
        template = cluster.templates[template_id]
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


def _added(sums: Floats, values: Floats) -> Floats:
    """`sums` + `values`, where nodes have joined since."""
    if len(sums) < len(values):
        sums = np.concatenate([sums, np.zeros(len(values) - len(sums))])
    sums[: len(values)] += values
    return sums
