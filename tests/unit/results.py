"""Builders of results for tests: rows with defaults, and a shop that loses a zone."""

from sim.expectations import Verdict
from sim.result import Result, RunInfo, frames_from_columns
from sim.schema import TABLES

NAN = float("nan")
Mi = 2**20
Gi = 2**30
EMPTY = {"int": 0, "float": 0.0, "str": "", "bool": True}
# What a row has unless told otherwise; every other column is 0, 0.0, "" or True.
DEFAULTS = {
    "pods": {
        "namespace": "shop",
        "workload": "Deployment/web",
        "phase": "Running",
        "qos": "Burstable",
        "deleted_s": NAN,
        "finished_s": NAN,
    },
    "nodes": {"pool": "general", "cpu_m": 4000, "memory_b": 16 * Gi, "max_pods": 110},
    "workloads": {"namespace": "shop", "availability": 1.0},
    "services": {"availability": 1.0},
    "events": {"type": "Normal"},
}


def a_pod(name, **columns):
    return {"pod": name, **columns}


def a_node(name, **columns):
    return {"node": name, **columns}


def an_event(t_s, reason, about, message="", kind="Normal"):
    return {"t_s": t_s, "type": kind, "reason": reason, "object": about, "message": message}


def frames(**rows):
    """All tables, from rows given as dictionaries."""
    return frames_from_columns({name: _columns(name, rows.get(name, [])) for name in TABLES})


def _columns(name, rows):
    empty = {column.name: EMPTY[column.kind] for column in TABLES[name].columns}
    full = [empty | DEFAULTS.get(name, {}) | row for row in rows]
    unknown = {key for row in full for key in row} - set(empty)
    assert not unknown, f"{name} has no columns {unknown}"
    return {column: [row[column] for row in full] for column in empty}


def an_info(**fields):
    defaults = {
        "name": "zone-failure",
        "seed": 7,
        "duration_s": 7200.0,
        "start": "2025-10-01T12:00:00Z",
        "kubernetes": "1.34",
        "event_hash": "ab12",
    }
    return RunInfo(**(defaults | fields))


def a_result(info=None, verdicts=(), scenario=None, **rows):
    result = Result(frames(**rows), scenario or {}, info or an_info())
    result.verdicts = tuple(verdicts)
    return result


def a_zone_failure():
    """Nine nodes in three zones; zone b is down from 0:30:00 to 0:50:00."""
    nodes = [f"general-{i}" for i in range(9)]
    zone = {node: "abc"[i % 3] for i, node in enumerate(nodes)}
    down = [node for node in nodes if zone[node] == "b"]
    pods, events = [], []
    for i in range(54):
        node = nodes[i % 9]
        app = ("web", "cart", "search")[i // 9 % 3]
        lost = node in down
        name = f"{app}-{i:02d}"
        pods.append(_shop_pod(name, app, node, zone[node], lost, created_s=0.0))
        events.append(an_event(0.4, "Scheduled", f"Pod/shop/{name}", f"assigned to {node}"))
        if lost:
            pods.append(_shop_pod(f"{app}-{i:02d}r", app, nodes[3 * (i % 3)], "a", False, 2150.0))
    for at_s, reason, kind in (
        (1800.0, "NodeDown", "Warning"),
        (1850.0, "NodeNotReady", "Warning"),
        (3000.0, "NodeUp", "Normal"),
        (3010.0, "NodeReady", "Normal"),
    ):
        events += [an_event(at_s, reason, f"Node/{node}", "", kind) for node in down]
    events += [
        an_event(2150.0, "TaintManagerEviction", f"Pod/shop/{p['pod']}", "Marking for deletion")
        for p in pods
        if p["reason"] == "NodeLost"
    ]
    events += [
        an_event(1800.0, "RequestsFail", "Service/shop/frontend", "", "Warning"),
        an_event(1852.0, "RequestsSucceed", "Service/shop/frontend"),
        an_event(40.0, "OOMKilling", "Pod/shop/cart-09", "Container cart exceeded", "Warning"),
        an_event(
            95.0,
            "Killing",
            "Pod/shop/search-18",
            "Container search failed liveness probe, will be restarted",
            "Warning",
        ),
    ]
    waiting = a_pod(
        "batch-1",
        workload="Job/batch",
        phase="Pending",
        reason="Unschedulable",
        created_s=600.0,
        scheduled_s=NAN,
        started_s=NAN,
        ready_s=NAN,
        wait_s=6600.0,
        cpu_request_m=3900,
        memory_request_b=8 * Gi,
    )
    events.append(
        an_event(
            600.0,
            "FailedScheduling",
            "Pod/shop/batch-1",
            "0/9 nodes are available: 9 Insufficient cpu. no new claims to deallocate,"
            " preemption: 0/9 nodes are available: 9 No preemption victims found for incoming pod.",
            "Warning",
        )
    )
    events.sort(key=lambda event: event["t_s"])
    return a_result(
        info=an_info(
            warm_up_s=600.0,
            question="Does the shop stay available when zone b fails for 20 minutes?",
            unmodelled={"PersistentVolumeClaim": 3, "NetworkPolicy": 1},
            notes=("CPU beyond a node's cores is shared in proportion to requests.",),
        ),
        verdicts=(
            Verdict('availability{service="shop/frontend"} >= 99.5%', 0.99712, True, "share"),
            Verdict("stranded.cpu <= 10%", 0.1423, False, "share"),
        ),
        scenario={"metadata": {"name": "zone-failure"}, "run": {"duration": "2h", "seed": 7}},
        pods=[*pods, waiting],
        nodes=[_shop_node(node, zone[node], node in down, i) for i, node in enumerate(nodes)],
        workloads=[
            {
                "workload": "Deployment/web",
                "wanted": 18,
                "minimum": 18,
                "ready": 18,
                "availability": 0.945,
                "unavailable_s": 363.0,
            },
            {
                "workload": "Deployment/cart",
                "wanted": 18,
                "minimum": 16,
                "ready": 18,
                "availability": 0.9981,
                "unavailable_s": 12.5,
            },
            {"workload": "Deployment/search", "wanted": 18, "minimum": 9, "ready": 18},
        ],
        services=[
            {
                "service": "shop/frontend",
                "rps": 30.0,
                "requests_sent": 198000.0,
                "requests_failed": 570.0,
                "availability": 0.99712,
                "error_s": 52.0,
                "ready": 18,
            },
            {
                "service": "shop/search",
                "rps": 5.0,
                "requests_sent": 33000.0,
                "requests_failed": 0.1,
                "availability": 0.999997,
                "error_s": 0.5,
                "ready": 18,
            },
        ],
        events=events,
        timeline=_shop_timeline(),
    )


def _shop_pod(name, app, node, zone, lost, created_s):
    return a_pod(
        name,
        workload=f"Deployment/{app}",
        node=node,
        zone=zone,
        pool="general",
        reason="NodeLost" if lost else "",
        cpu_request_m=500,
        memory_request_b=Gi,
        cpu_limit_m=1000,
        memory_limit_b=4 * Gi,
        created_s=created_s,
        scheduled_s=created_s + 0.4,
        started_s=created_s + 2,
        ready_s=created_s + 12,
        deleted_s=2150.0 if lost else NAN,
        finished_s=3010.0 if lost else NAN,
        wait_s=0.4,
        restarts=1 if name in ("cart-09", "search-18") else 0,
        oom_kills=1 if name == "cart-09" else 0,
    )


def _shop_node(node, zone, was_down, i):
    return a_node(
        node,
        zone=zone,
        instance_type="m6i.xlarge",
        cpu_m=3920,
        memory_b=14 * Gi,
        max_pods=58,
        price_usd_per_hour=0.192,
        cost_usd=0.384,
        down_s=1200.0 if was_down else 0.0,
        pods=0 if was_down else 7,
        cpu_requested_m=0 if was_down else 3500,
        memory_requested_b=0 if was_down else 7 * Gi,
        memory_limit_b=0 if was_down else 28 * Gi,
        cpu_limit_m=0 if was_down else 7000,
        unlimited_pods=0,
        utilization_cpu=0.31,
        utilization_memory=0.42,
        requested_cpu=0.70,
        requested_memory=0.45,
        stranded_cpu_m=420.0,
        stranded_memory_b=(7.0 if not was_down else 0.5) * Gi,
        stranded_cpu=0.107 + 0.001 * i,
        stranded_memory=0.5,
        fits_more=0.0 if not was_down else 7.0,
    )


def _shop_timeline():
    rows = []

    def sample(t_s, scope, name, **metrics):
        rows.extend(
            {"t_s": t_s, "scope": scope, "name": name, "metric": metric, "value": float(value)}
            for metric, value in metrics.items()
        )

    for step in range(241):
        t_s = step * 30.0
        out, moved = 1800 <= t_s < 3000, t_s >= 2160
        for zone in "abc":
            gone = zone == "b" and out
            used = 0 if gone else 3600 + 900 * (t_s > 2000) * (zone != "b") + 12 * (step % 7)
            sample(
                t_s,
                "zone",
                zone,
                cpu_used_m=used,
                cpu_requested_m=9000 if not moved else (0 if zone == "b" else 10500),
                cpu_m=11760,
                memory_used_b=(0 if gone else 18) * Gi,
                memory_requested_b=18 * Gi,
                memory_b=42 * Gi,
            )
        failed = 10 if 1800 <= t_s <= 1860 else 0
        sample(t_s, "service", "shop/frontend", sent_rps=30, failed_rps=failed, ready=18)
        sample(t_s, "service", "shop/search", sent_rps=5, failed_rps=0, ready=18)
        pending = 1 if t_s >= 600 else 0
        running = min(54, step * 20) + (18 if 2160 <= t_s < 3010 else 0)
        for phase, pods in (("ready", running), ("unscheduled", pending), ("not ready", 0)):
            sample(t_s, "phase", phase, pods=pods)
    return rows
