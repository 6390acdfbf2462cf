"""The tables and summary names of a result: the one source for code, help, schema and docs.

Times in tables are seconds since the start of the run (float; NaN = never happened), CPU is in
millicores, memory in bytes, shares are fractions of one. A label in a summary name selects what it
is about: `availability{service="shop/frontend"}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["int", "float", "str", "bool"]


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]


def _table(name: str, meaning: str, *columns: tuple[str, Kind, str]) -> Table:
    return Table(name, meaning, tuple(Column(*column) for column in columns))


PODS = _table(
    "pods",
    "one row per pod that ever existed, in order of creation",
    ("namespace", "str", "namespace"),
    ("pod", "str", "name"),
    ("workload", "str", "what made it: 'Deployment/web', 'ReplicaSet/x', 'Job/y', 'Pod'"),
    ("node", "str", "node it was bound to, '' if never"),
    ("zone", "str", "zone of that node"),
    ("pool", "str", "pool of that node"),
    ("phase", "str", "Pending, Running, Succeeded or Failed at the end (or when it went)"),
    ("reason", "str", "why it ended or waits: Evicted, NodeLost, OOMKilled, Unschedulable ..."),
    ("qos", "str", "Guaranteed, Burstable or BestEffort"),
    ("priority", "int", "priority"),
    ("cpu_request_m", "int", "effective CPU request"),
    ("memory_request_b", "int", "effective memory request"),
    ("cpu_limit_m", "int", "sum of CPU limits, 0 = none"),
    ("memory_limit_b", "int", "sum of memory limits, 0 = none"),
    ("created_s", "float", "creation"),
    ("scheduled_s", "float", "binding to the node"),
    ("started_s", "float", "first start of its containers"),
    ("ready_s", "float", "first time ready"),
    ("deleted_s", "float", "deletionTimestamp"),
    ("finished_s", "float", "when it ended or its object was removed"),
    ("wait_s", "float", "creation to binding; to the end of the run for a pod still waiting"),
    ("restarts", "int", "container restarts over the whole run"),
    ("oom_kills", "int", "containers killed for memory over the whole run"),
    ("cpu_used_m", "float", "mean CPU in use while it ran, after the warm-up"),
    ("memory_used_b", "float", "mean memory in use while it ran, after the warm-up"),
)

NODES = _table(
    "nodes",
    "one row per node that ever existed",
    ("node", "str", "name"),
    ("pool", "str", "pool"),
    ("zone", "str", "zone"),
    ("instance_type", "str", "instance type, '' if capacity was given"),
    ("cpu_capacity_m", "int", "capacity"),
    ("memory_capacity_b", "int", "capacity"),
    ("cpu_m", "int", "allocatable"),
    ("memory_b", "int", "allocatable"),
    ("max_pods", "int", "most pods it takes"),
    ("price_usd_per_hour", "float", "list price"),
    ("cost_usd", "float", "price times its time in the run, warm-up included"),
    ("ready", "bool", "Ready at the end"),
    ("down_s", "float", "time out of order, after the warm-up"),
    ("pods", "int", "pods bound at the end"),
    ("cpu_requested_m", "int", "sum of requests of bound pods at the end"),
    ("memory_requested_b", "int", "the same for memory"),
    ("cpu_limit_m", "int", "sum of limits of bound pods at the end"),
    ("memory_limit_b", "int", "the same for memory"),
    ("unlimited_pods", "int", "bound pods with a container without memory limit, at the end"),
    ("utilization_cpu", "float", "used / allocatable, time average after the warm-up"),
    ("utilization_memory", "float", "used / allocatable, time average after the warm-up"),
    ("requested_cpu", "float", "requested / allocatable, time average after the warm-up"),
    ("requested_memory", "float", "requested / allocatable, time average after the warm-up"),
    ("cpu_used_max", "float", "highest sample of used / capacity after the warm-up"),
    ("cpu_used_p95", "float", "what 95 of 100 samples did not exceed, in steps of 1 % up"),
    ("memory_used_max", "float", "highest sample of used / capacity after the warm-up"),
    ("memory_used_p95", "float", "what 95 of 100 samples did not exceed, in steps of 1 % up"),
    ("stranded_cpu_m", "float", "free CPU that no further pod of the mix could take, at the end"),
    ("stranded_memory_b", "float", "the same for memory"),
    ("stranded_cpu", "float", "stranded / allocatable, time average after the warm-up"),
    ("stranded_memory", "float", "stranded / allocatable, time average after the warm-up"),
    ("fits_more", "float", "further pods of the mix that would still fit, at the end"),
    ("oom_kills", "int", "containers killed for memory over the whole run"),
    ("evictions", "int", "pods that its kubelet evicted over the whole run"),
    ("memory_pressure_s", "float", "time with the condition MemoryPressure, after the warm-up"),
)

WORKLOADS = _table(
    "workloads",
    "one row per Deployment, stand-alone ReplicaSet and arrival stream",
    ("namespace", "str", "namespace"),
    ("workload", "str", "'Deployment/web'"),
    ("wanted", "int", "replicas wanted at the end; pods or jobs that arrived for a stream"),
    ("minimum", "int", "fewest ready pods that count as available: wanted, or the budget's"),
    ("ready", "int", "ready pods at the end"),
    ("pods", "int", "pods made over the run"),
    ("availability", "float", "share of time with at least `minimum` ready, after the warm-up"),
    ("unavailable_s", "float", "time with fewer, after the warm-up"),
    ("restarts", "int", "container restarts over the whole run"),
    ("oom_kills", "int", "containers killed for memory over the whole run"),
    ("pending_max", "int", "most pods waiting at once, over the whole run"),
)

SERVICES = _table(
    "services",
    "one row per Service that gets traffic",
    ("service", "str", "'namespace/name'"),
    ("rps", "float", "requests per second sent"),
    ("requests_sent", "float", "requests sent after the warm-up"),
    ("requests_failed", "float", "of these not answered (after the warm-up)"),
    ("availability", "float", "answered / sent, after the warm-up"),
    ("error_s", "float", "time in which some request failed, after the warm-up"),
    ("outage_s", "float", "time in which no request was answered, after the warm-up"),
    ("ready", "int", "endpoints ready at the end"),
)

EVENTS = _table(
    "events",
    "what happened, in order",
    ("t_s", "float", "time"),
    ("type", "str", "Normal or Warning"),
    ("reason", "str", "Kubernetes' own reason"),
    ("object", "str", "'Pod/shop/web-7d4b-x2k9p', 'Node/general-3'"),
    ("message", "str", "what a person reads"),
)

TIMELINE = _table(
    "timeline",
    "sampled values, one row per time, scope, name and metric",
    ("t_s", "float", "time"),
    (
        "scope",
        "str",
        "cluster, zone, pool (if there are several), phase (state of pods) or service",
    ),
    ("name", "str", "which one: zone, pool, phase, service; '' for the cluster"),
    (
        "metric",
        "str",
        "cpu_used_m, memory_used_b, cpu_requested_m, memory_requested_b, cpu_m, "
        "memory_b, nodes_ready, pods, stranded_cpu_m, stranded_memory_b, sent_rps, "
        "failed_rps, ready",
    ),
    ("value", "float", "the value at that time; rates are means since the sample before"),
)

DECISIONS = _table(
    "decisions",
    "scheduling attempts (only when asked for)",
    ("t_s", "float", "time"),
    ("pod", "str", "'namespace/name'"),
    ("node", "str", "chosen node, '' if none"),
    ("feasible", "int", "nodes that passed every filter"),
    ("ties", "int", "nodes that shared the best score"),
    ("score", "int", "that score, -1 if none"),
)

TABLES = {
    table.name: table for table in (PODS, NODES, WORKLOADS, SERVICES, EVENTS, TIMELINE, DECISIONS)
}


@dataclass(frozen=True, slots=True)
class SummaryName:
    """A headline number. `labels` are those it may carry; `needs` says it must carry one."""

    name: str
    unit: Literal["share", "ratio", "count", "s", "USD", "pods"]
    meaning: str
    labels: tuple[str, ...] = ()
    needs_label: bool = False


_WHERE = ("zone", "pool")
_WHOSE = ("workload", "namespace")

SUMMARY = {
    row.name: row
    for row in (
        SummaryName(
            "utilization.cpu", "share", "used / allocatable, time average after the warm-up", _WHERE
        ),
        SummaryName(
            "utilization.memory",
            "share",
            "used / allocatable, time average after the warm-up",
            _WHERE,
        ),
        SummaryName(
            "requested.cpu",
            "share",
            "requested / allocatable, time average after the warm-up",
            _WHERE,
        ),
        SummaryName(
            "requested.memory",
            "share",
            "requested / allocatable, time average after the warm-up",
            _WHERE,
        ),
        SummaryName(
            "requested.pods",
            "share",
            "bound pods / pod slots, time average after the warm-up",
            _WHERE,
        ),
        SummaryName(
            "stranded.cpu",
            "share",
            "free but useless to the bound mix of pods / allocatable,"
            " time average after the warm-up",
            _WHERE,
        ),
        SummaryName("stranded.memory", "share", "the same for memory, after the warm-up", _WHERE),
        SummaryName("overcommit.cpu", "ratio", "sum of limits / allocatable at the end", _WHERE),
        SummaryName("overcommit.memory", "ratio", "the same for memory at the end", _WHERE),
        SummaryName(
            "availability",
            "share",
            "of a service: answered / sent; of a workload: share of time with enough ready;"
            " after the warm-up",
            ("service", "workload"),
            needs_label=True,
        ),
        SummaryName(
            "unavailable.seconds",
            "s",
            "time with fewer ready pods than the minimum, after the warm-up",
            ("workload",),
            needs_label=True,
        ),
        SummaryName(
            "error.seconds",
            "s",
            "time in which some request failed, after the warm-up",
            ("service",),
            needs_label=True,
        ),
        SummaryName(
            "outage.seconds",
            "s",
            "time in which no request was answered, after the warm-up",
            ("service",),
            needs_label=True,
        ),
        SummaryName(
            "pending.count", "pods", "most pods waiting for a node at once, whole run", _WHOSE
        ),
        SummaryName("pending.end", "pods", "pods waiting for a node at the end", _WHOSE),
        SummaryName(
            "pending.seconds",
            "s",
            "mean wait for a node, pods still waiting counted, whole run",
            _WHOSE,
        ),
        SummaryName("pending.seconds.p50", "s", "median wait for a node, whole run", _WHOSE),
        SummaryName("pending.seconds.p95", "s", "95th percentile of the wait, whole run", _WHOSE),
        SummaryName("pending.seconds.p99", "s", "99th percentile of the wait, whole run", _WHOSE),
        SummaryName("pending.seconds.max", "s", "longest wait for a node, whole run", _WHOSE),
        SummaryName("pods", "count", "pods that existed, whole run", _WHOSE),
        SummaryName("pods.running", "count", "pods running at the end", _WHOSE),
        SummaryName("pods.perNode", "pods", "pods bound per node at the end", _WHERE),
        SummaryName("restarts", "count", "container restarts, whole run", _WHOSE),
        SummaryName(
            "oomKills", "count", "containers killed for memory, whole run", (*_WHOSE, *_WHERE)
        ),
        SummaryName(
            "evictions", "count", "pods deleted by taints or the kubelet, whole run", _WHOSE
        ),
        SummaryName(
            "preemptions", "count", "pods that gave way to more important ones, whole run", _WHOSE
        ),
        SummaryName("cost", "USD", "nodes' list price over the whole run", _WHERE),
    )
}
