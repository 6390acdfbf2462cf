"""From the state at the end of a run to the columns of the result's tables.

Averages over time come from each pod's own times: what a node was asked for is the sum over its
pods of request times the time they held it, so nothing is added up while the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.recorder import WORDS, Of, Reason
from sim.tables import (
    CPU_ROW,
    MEMORY_ROW,
    NEVER,
    UNBOUND,
    Floats,
    Ints,
    NodeReady,
    Phase,
    names_of,
)
from sim.workloads import STATIC

if TYPE_CHECKING:
    from sim.availability import Availability
    from sim.cluster import Cluster
    from sim.samples import Sampler, UseStatistics
    from sim.scheduler import Decisions
    from sim.traffic import Traffic

Columns = dict[str, Any]  # column name -> one value per row
PHASES = {phase: phase.name.capitalize() for phase in Phase}


@dataclass(slots=True)
class Outcome:
    """Everything the tables are made of."""

    cluster: Cluster
    traffic: Traffic
    availability: Availability
    sampler: Sampler
    decisions: Decisions | None
    end_ms: int
    warm_up_ms: int
    waits_for: Callable[[int], str] = lambda pod: ""  # why a pod on a node does not work
    _pod_keys: dict[int, str] = field(default_factory=dict)  # that events have named

    def tables(self) -> dict[str, Columns]:
        """All tables of `sim.schema`, as columns."""
        return {
            "pods": self._pods(),
            "nodes": self._nodes(),
            "workloads": self._workloads(),
            "services": self._services(),
            "events": self._events(),
            "timeline": dict(self.sampler.columns),
            "decisions": self._decisions(),
        }

    # Pods

    def _pods(self) -> Columns:
        cluster, pods = self.cluster, self.cluster.pods
        rows = range(len(pods))
        owners = [cluster.owners[i] for i in pods.owner[: len(pods)].tolist()]
        nodes = pods.node[: len(pods)]
        zones = np.where(nodes >= 0, cluster.nodes.zone[nodes], -1)
        pools = np.where(nodes >= 0, cluster.nodes.pool[nodes], -1)
        used_ms = np.maximum(pods.used_ms[: len(pods)], 1)
        bound_ms = pods.bound_ms[: len(pods)]
        over_ms = np.where(
            pods.ended_ms[: len(pods)] != NEVER, pods.ended_ms[: len(pods)], self.end_ms
        )
        wait_ms = np.where(bound_ms != NEVER, bound_ms, over_ms) - pods.created_ms[: len(pods)]
        return {
            "namespace": [owner.namespace for owner in owners],
            "pod": [cluster.pod_name(pod) for pod in rows],
            "workload": [str(cluster.workloads[owner.workload]) for owner in owners],
            "node": names_of(cluster.nodes.names, nodes),
            "zone": names_of(cluster.nodes.zones, zones),
            "pool": names_of(cluster.nodes.pools, pools),
            "phase": [PHASES[Phase(p)] for p in pods.phase[: len(pods)].tolist()],
            "reason": [self._reason(pod) for pod in rows],
            **self._template_columns(),
            "created_s": self._seconds(pods.created_ms),
            "scheduled_s": self._seconds(pods.bound_ms),
            "started_s": self._seconds(pods.started_ms),
            "ready_s": self._seconds(pods.ready_ms),
            "deleted_s": self._seconds(pods.deleting_ms),
            "finished_s": self._seconds(pods.ended_ms),
            "wait_s": np.where([o.kind == STATIC for o in owners], np.nan, wait_ms / 1000),
            "restarts": pods.restarts[: len(pods)],
            "oom_kills": pods.oom_kills[: len(pods)],
            "cpu_used_m": pods.cpu_m_ms[: len(pods)] / used_ms,
            "memory_used_b": pods.memory_b_s[: len(pods)] * 1000 / used_ms,
        }

    def _template_columns(self) -> Columns:
        templates = self.cluster.templates
        of_pod = self.cluster.pods.template[: len(self.cluster.pods)]

        def column(values: list[Any]) -> NDArray[Any]:
            return np.array(values)[of_pod] if len(of_pod) else np.array([])

        return {
            "qos": column([t.qos for t in templates]),
            "priority": column([t.pod.spec.priority for t in templates]),
            "cpu_request_m": column([t.cpu_m for t in templates]),
            "memory_request_b": column([t.memory_b for t in templates]),
            "cpu_limit_m": column([t.cpu_limit_m for t in templates]),
            "memory_limit_b": column([t.memory_limit_b for t in templates]),
        }

    def _reason(self, pod: int) -> str:
        pods = self.cluster.pods
        if pods.reason[pod]:
            return WORDS[Reason(int(pods.reason[pod]))][1]
        if pods.node[pod] == UNBOUND and pods.exists[pod]:
            gated = self.cluster.pod_template(pod).pod.spec.scheduling_gates
            return "SchedulingGated" if gated else "Unschedulable"
        works = pods.ended_ms[pod] != NEVER or (pods.alive[pod] and pods.ready[pod])
        return "" if works else self.waits_for(pod)

    def _seconds(self, times_ms: Ints) -> Floats:
        times_ms = times_ms[: len(self.cluster.pods)]
        return np.where(times_ms == NEVER, np.nan, times_ms / 1000)

    # Nodes

    def _nodes(self) -> Columns:
        nodes, size = self.cluster.nodes, len(self.cluster.nodes)
        lived_ms = self._overlap_ms(nodes.created_ms[:size], nodes.removed_ms[:size])
        whole_ms = (
            np.where(nodes.removed_ms[:size] == NEVER, self.end_ms, nodes.removed_ms[:size])
            - nodes.created_ms[:size]
        )
        down_ms = self._still_on(nodes.down_ms[:size], nodes.down_since_ms[:size])
        cpu_m, memory_b = nodes.allocatable[CPU_ROW, :size], nodes.allocatable[MEMORY_ROW, :size]
        shares = self._shares(lived_ms)
        price = nodes.price_usd_per_hour[:size]
        return {
            "node": nodes.names,
            "pool": names_of(nodes.pools, nodes.pool[:size]),
            "zone": names_of(nodes.zones, nodes.zone[:size]),
            "instance_type": nodes.instance_types,
            "cpu_capacity_m": nodes.capacity[CPU_ROW, :size],
            "memory_capacity_b": nodes.capacity[MEMORY_ROW, :size],
            "cpu_m": cpu_m,
            "memory_b": memory_b,
            "max_pods": nodes.max_pods[:size],
            "price_usd_per_hour": price,
            "cost_usd": price * whole_ms / 3_600_000,
            "ready": (nodes.ready[:size] == NodeReady.TRUE) & nodes.exists[:size],
            "down_s": down_ms / 1000,
            "pods": nodes.pod_count[:size],
            "cpu_requested_m": nodes.requested[CPU_ROW, :size],
            "memory_requested_b": nodes.requested[MEMORY_ROW, :size],
            "cpu_limit_m": nodes.limits[CPU_ROW, :size],
            "memory_limit_b": nodes.limits[MEMORY_ROW, :size],
            "unlimited_pods": self._unlimited(),
            **shares,
            **self._stranded(cpu_m, memory_b),
            "oom_kills": nodes.oom_kills[:size],
            "evictions": nodes.evictions[:size],
            "memory_pressure_s": self._still_on(
                nodes.memory_pressure_ms[:size], nodes.memory_pressure_since_ms[:size]
            )
            / 1000,
        }

    def _still_on(self, counted_ms: Ints, since_ms: Ints) -> Ints:
        """Time counted so far and, where something still lasts, since it began."""
        return counted_ms + np.where(since_ms == NEVER, 0, self.end_ms - since_ms)

    def _overlap_ms(self, from_ms: Ints, to_ms: Ints) -> Ints:
        """How much of each span lies between the warm-up and the end; NEVER is an open end."""
        until_ms = np.where(to_ms == NEVER, self.end_ms, to_ms)
        span: Ints = np.maximum(until_ms - np.maximum(from_ms, self.warm_up_ms), 0)
        return span

    def _shares(self, lived_ms: Ints) -> Columns:
        """Time averages of used and requested over allocatable, per node."""
        nodes, pods = self.cluster.nodes, self.cluster.pods
        size = len(nodes)
        bound = np.flatnonzero(pods.node[: len(pods)] != UNBOUND)
        on = pods.node[bound]
        held_ms = self._overlap_ms(pods.bound_ms[bound], pods.ended_ms[bound])
        requests = {
            "cpu": np.array([t.cpu_m for t in self.cluster.templates], np.int64),
            "memory": np.array([t.memory_b for t in self.cluster.templates], np.int64),
        }
        used = {"cpu": pods.cpu_m_ms[bound] * 1.0, "memory": pods.memory_b_s[bound] * 1000.0}
        shares: dict[str, Any] = {}
        for name, row in (("cpu", CPU_ROW), ("memory", MEMORY_ROW)):
            room = np.maximum(nodes.allocatable[row, :size] * lived_ms.astype(np.float64), 1.0)
            asked = requests[name][pods.template[bound]] * held_ms.astype(np.float64)
            shares[f"utilization_{name}"] = np.bincount(on, used[name], size) / room
            shares[f"requested_{name}"] = np.bincount(on, asked, size) / room
        order = ("utilization_cpu", "utilization_memory", "requested_cpu", "requested_memory")
        return {name: shares[name] for name in order}

    def _stranded(self, cpu_m: Ints, memory_b: Ints) -> Columns:
        sampler, size = self.sampler, len(self.cluster.nodes)
        now = [_padded(values, size) for values in sampler.last]
        held_ms = np.maximum(_padded(sampler.held_ms, size), 1)
        return {
            **_percentiles(self.sampler.cpu, "cpu", size),
            **_percentiles(self.sampler.memory, "memory", size),
            "stranded_cpu_m": now[0],
            "stranded_memory_b": now[1],
            "stranded_cpu": _padded(sampler.stranded_cpu_m, size) / held_ms / np.maximum(cpu_m, 1),
            "stranded_memory": _padded(sampler.stranded_memory_b, size)
            / held_ms
            / np.maximum(memory_b, 1),
            "fits_more": now[2],
        }

    def _unlimited(self) -> list[int]:
        nodes, cluster = self.cluster.nodes, self.cluster
        return [
            sum(cluster.pod_template(pod).unlimited_memory for pod in nodes.pods[node])
            for node in range(len(nodes))
        ]

    # Workloads, services, events, decisions

    def _workloads(self) -> Columns:
        cluster = self.cluster
        made = [0] * len(cluster.workloads)
        for owner in cluster.owners:
            made[owner.workload] += owner.made
        records = self.availability.records
        rows = [(w, records.get(i), made[i]) for i, w in enumerate(cluster.workloads)]
        sums = self._pod_sums(len(rows))
        share = [
            1 - r.short_ms / r.watched_ms if r and r.watched_ms else np.nan for _, r, _ in rows
        ]
        return {
            "namespace": [w.namespace for w, _, _ in rows],
            "workload": [str(w) for w, _, _ in rows],
            "wanted": [r.wanted if r else pods for _, r, pods in rows],
            "minimum": [r.minimum if r else 0 for _, r, _ in rows],
            "ready": sums["ready"],
            "pods": made,
            "availability": share,
            "unavailable_s": [r.short_ms / 1000 if r else np.nan for _, r, _ in rows],
            "restarts": sums["restarts"],
            "oom_kills": sums["oom_kills"],
            "pending_max": self._pending_max(len(rows)),
        }

    def _workload_of_pods(self) -> Ints:
        owners = np.array([owner.workload for owner in self.cluster.owners], np.int64)
        return owners[self.cluster.pods.owner[: len(self.cluster.pods)]] if len(owners) else owners

    def _pod_sums(self, size: int) -> dict[str, Ints]:
        pods, of = self.cluster.pods, self._workload_of_pods()
        count = len(pods)
        live = pods.exists[:count] & pods.ready[:count] & (pods.deleting_ms[:count] == NEVER)
        values = {
            "ready": live.astype(np.int64),
            "restarts": pods.restarts[:count],
            "oom_kills": pods.oom_kills[:count],
        }
        return {
            name: np.bincount(of, value, size).astype(np.int64) for name, value in values.items()
        }

    def _pending_max(self, size: int) -> list[int]:
        """Most pods of a workload that waited for a node at once."""
        pods, of, count = self.cluster.pods, self._workload_of_pods(), len(self.cluster.pods)
        bound, ended = pods.bound_ms[:count], pods.ended_ms[:count]
        left = np.where(bound != NEVER, bound, np.where(ended != NEVER, ended, self.end_ms + 1))
        if not size:
            return []
        most = []
        by_workload = np.argsort(of, kind="stable")
        for mine in np.split(by_workload, np.searchsorted(of[by_workload], np.arange(1, size))):
            times = np.concatenate([pods.created_ms[:count][mine], left[mine]])
            steps = np.concatenate([np.ones(len(mine)), -np.ones(len(mine))])
            order = np.lexsort((steps, times))  # leaving before coming at one instant
            most.append(int(np.cumsum(steps[order]).max(initial=0)))
        return most

    def _services(self) -> Columns:
        flows = list(self.traffic.flows.values())
        for flow in flows:
            flow.settle(self.end_ms)
        return {
            "service": [f.name for f in flows],
            "rps": [f.rps for f in flows],
            "requests_sent": [f.sent for f in flows],
            "requests_failed": [f.failed for f in flows],
            "availability": [1 - f.failed / f.sent if f.sent else np.nan for f in flows],
            "error_s": [f.error_ms / 1000 for f in flows],
            "outage_s": [f.outage_ms / 1000 for f in flows],
            "ready": [len(f.endpoints) for f in flows],
        }

    def _events(self) -> Columns:
        recorder = self.cluster.recorder
        rows = zip(recorder.reason, recorder.kind, recorder.object, recorder.arg, strict=True)
        words = [self._words(*row) for row in rows]
        types, reasons, objects, messages = zip(*words, strict=True) if words else ((), (), (), ())
        return {
            "t_s": np.array(recorder.at_ms) / 1000,
            "type": types,
            "reason": reasons,
            "object": objects,
            "message": messages,
        }

    def _words(self, reason: int, kind: int, object_id: int, arg: int) -> tuple[str, ...]:
        kind_of, name, message = WORDS[Reason(reason)]
        about = self._object(kind, object_id)
        if "{" in message or "{" in name:
            recorder, nodes = self.cluster.recorder, self.cluster.nodes
            values = {"object": about.partition("/")[2], "number": arg}
            if "{text}" in message:
                values["text"] = recorder.texts[arg]
            if "{node}" in message:
                values["node"] = nodes.names[arg]
            message, name = message.format_map(values), name.format_map(values)
        return kind_of, name, about, message

    def _object(self, kind: int, object_id: int) -> str:
        cluster = self.cluster
        if kind == Of.POD:
            if object_id not in self._pod_keys:
                self._pod_keys[object_id] = f"Pod/{cluster.pod_key(object_id)}"
            return self._pod_keys[object_id]
        if kind == Of.NODE:
            return f"Node/{cluster.nodes.names[object_id]}"
        if kind == Of.WORKLOAD:
            workload = cluster.workloads[object_id]
            return f"{workload.kind}/{workload.namespace}/{workload.name}"
        if kind == Of.SERVICE:
            return f"Service/{list(self.traffic.flows.values())[object_id].name}"
        return "Cluster"

    def _decisions(self) -> Columns:
        decisions = self.decisions
        if decisions is None:
            return {name: [] for name in ("t_s", "pod", "node", "feasible", "ties", "score")}
        return {
            "t_s": np.array(decisions.at_ms) / 1000,
            "pod": [self.cluster.pod_key(pod) for pod in decisions.pod],
            "node": [self.cluster.nodes.names[n] if n >= 0 else "" for n in decisions.node],
            "feasible": decisions.feasible,
            "ties": decisions.ties,
            "score": decisions.score,
        }


def _padded(values: Floats, size: int) -> Floats:
    return np.concatenate([values, np.zeros(size - len(values))]) if len(values) < size else values


def _percentiles(statistics: UseStatistics, what: str, size: int) -> Columns:
    """The columns of what nodes used, from the samples."""
    return {
        f"{what}_used_max": _padded(statistics.most, size),
        f"{what}_used_p95": _padded(statistics.percentile(), size),
    }
