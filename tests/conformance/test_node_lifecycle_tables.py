"""Node health, zone states, node taints and taint eviction against upstream's tables.

`sample/*.yaml.gz` is a quarter of them that travels with the project; with the shared data all rows
run. Rows that are only about one decision ask the function that decides it; those that tell a story
(an eviction, two zones that fail) happen to a cluster with the controllers on it.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from sim.clock import Lane
from sim.cluster import Cluster
from sim.controllers.node_health import NodeStatus, Seen, node_health, noschedule_taints
from sim.controllers.node_lifecycle import STATUS, LifecycleSettings, NodeLifecycle
from sim.controllers.taint_eviction import TaintEviction, deadline_ms, shortest_s, tolerance
from sim.controllers.zones import (
    EXCLUDE_LABEL,
    ZoneState,
    counts_for_disruption,
    disruption,
    taint_rate,
    zone_counts,
    zone_key,
    zone_state,
)
from sim.podspec import Taint, Toleration
from sim.rng import Streams
from sim.tables import NEVER
from sim.testing import a_cluster, a_node, a_pod

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared")) / "conformance"
PREFIX = "node.kubernetes.io/"
PATIENCE_S = 5  # upstream's tests poll that long for what shall be deleted
READY = {status: ready for ready, status in STATUS.items()}


# --- one decision


def settings_of(asked):
    return LifecycleSettings(
        unhealthy_zone_threshold=asked.get("unhealthyZoneThreshold", 0.55),
        large_cluster_threshold=asked.get("largeClusterSizeThreshold", 50),
        eviction_rate_per_s=asked.get("rate", 0.1),
        secondary_eviction_rate_per_s=asked.get("secondary_rate", 0.01),
    )


def taints_of(raw):
    return tuple(Taint(t["key"], t["effect"], t.get("value", "")) for t in raw)


def tolerations_of(raw):
    return tuple(
        Toleration(t["key"], "Equal", t["value"], t["effect"], t.get("tolerationSeconds"))
        for t in raw
    )


def one_pass(asked):
    """A pass over one node that has been seen before (nodeside's node_health_v136)."""
    ready, stored = asked["node_ready"] or {}, asked["stored"]
    known = stored["ready"] or {}
    node = NodeStatus(
        created=asked["created_s"],
        ready=ready.get("status"),
        heartbeat=ready.get("heartbeat_s"),
        renewed=asked["lease_renew_s"],
    )
    before = Seen(
        stored["probe_s"], known.get("status"), known.get("heartbeat_s"), stored["lease_renew_s"]
    )
    health = node_health(0, node, before, asked["monitor_grace_s"], asked["startup_grace_s"])
    return {
        "grace_s": health.grace,
        "ready_after": health.ready,
        "probe_s": health.seen.probe,
    }


def status_at(now_s, created_s, said):
    """A node at `now_s` from the ages that a row gives."""
    ages = {name: said.get(name) for name in ("heartbeat_s_ago", "lease_renewed_s_ago")}
    heartbeat, renewed = (None if age is None else now_s - age for age in ages.values())
    return NodeStatus(created_s, said.get("ready"), heartbeat, renewed)


def two_passes(asked):
    """The first pass of a new controller, and perhaps one more."""
    created_s = -asked["created_s_ago"]
    first = node_health(0, status_at(0, created_s, asked), None, 50, 60)
    passes = [first]
    if "second_pass_after_s" in asked:
        then_s = asked["second_pass_after_s"]
        node = status_at(then_s, created_s, asked["at_second_pass"])
        passes.append(node_health(then_s, node, first.seen, 50, 60))
    return outcome_of(passes)


def passes_until_silence(asked):
    """A pass at the last heartbeat, if there was one, and a pass now."""
    age_s, created_s = asked["heartbeat_s_ago"], -asked["created_s_ago"]
    graces = asked["monitor_grace_s"], asked["startup_grace_s"]
    node = status_at(0, created_s, asked)
    seen = None if age_s is None else node_health(-age_s, node, None, *graces).seen
    return outcome_of([node_health(0, node, seen, *graces)])


def outcome_of(passes):
    return {
        "ready": passes[-1].ready,
        "reason": passes[-1].reason,
        "status_written": any(health.written for health in passes),
        "pods_marked_not_ready": any(health.unready_pods for health in passes),
    }


def states_after_passes(asked):
    states, rates, after = {}, {}, []
    for counts in asked["passes"]:
        outcome = disruption(states, {z: tuple(c) for z, c in counts.items()}, settings_of(asked))
        states = outcome.states
        rates = {**dict.fromkeys(counts, 0.1), **rates, **outcome.rates}
        after.append({z: {"state": s.value, "taint_rate": rates[z]} for z, s in states.items()})
    return {"after_pass": after}


def states_of_nodes(nodes, ready):
    keys = [zone_key(node["region"], node["zone"]) for node in nodes]
    names = sorted(set(keys))
    labels = [{EXCLUDE_LABEL: ""} if node.get("excluded") else {} for node in nodes]
    counted = np.array([counts_for_disruption(each) for each in labels])
    zones = np.array([names.index(key) for key in keys])
    is_ready = np.array([status == "True" for status in ready])
    counts = zone_counts(names, zones[counted], is_ready[counted])
    states = disruption({}, counts, LifecycleSettings()).states
    return {zone: state.value for zone, state in states.items()}


def states_of_two_passes(asked):
    nodes = asked["nodes"]
    return {
        "first": states_of_nodes(nodes, [node.get("ready") for node in nodes]),
        "second": states_of_nodes(nodes, asked["second_pass_ready"]),
    }


def noschedule(asked):
    """One table has short keys, in alphabetical order, the other whole ones as they come."""
    if isinstance(asked["conditions"], list):
        conditions = dict(each.split("=") for each in asked["conditions"])
        after = noschedule_taints(conditions, asked["unschedulable"], ())
        return {"taints": [f"{taint.key}:{taint.effect}" for taint in after]}
    taints = tuple(Taint(PREFIX + key, effect) for key, effect in asked["taints"])
    after = noschedule_taints(asked["conditions"], asked["unschedulable"], taints)
    return {"taints": sorted([taint.key.removeprefix(PREFIX), taint.effect] for taint in after)}


def rate_of_zone(asked):
    state = ZoneState(asked["zone_state"])
    return {"rate_per_s": taint_rate(state, asked["zone_size"], settings_of(asked))}


def state_of_zone(asked):
    state = zone_state(asked["ready"], asked["not_ready"], asked["unhealthyZoneThreshold"])
    return {"state": state.value, "not_ready": asked["not_ready"]}


def wait_of_used(asked):
    wait_s = shortest_s(asked["tolerationSeconds_of_used_tolerations"])
    return {"wait_s": -1 if wait_s is None else wait_s}


def wait_of_matching(asked):
    wait_s = shortest_s(asked["matching_tolerations"])
    return {"wait_s": "forever" if wait_s is None else wait_s}


def deadline_after_change(before, after, taints):
    """When a pod goes whose tolerations change at time 0; None is never."""
    planned = None if before is None else tolerance(tolerations_of(before), taints)
    planned_ms = None if planned is None else deadline_ms(0, planned, None)
    return deadline_ms(0, tolerance(tolerations_of(after), taints), planned_ms)


def pod_changes(asked):
    taints, before = taints_of(asked["node_taints"]), asked["before"]
    was_there = "node" in before
    at_ms = deadline_after_change(
        before["tolerations"] if was_there else None, asked["after"]["tolerations"], taints
    )
    return {"deleted": at_ms == 0 or (at_ms is not None and asked["waits_for_timer"])}


def tolerations_change(asked):
    before, after = asked["tolerations_before"], asked["tolerations_after"]
    at_ms = deadline_after_change(before, after, taints_of(asked["taints"]))
    return {"deleted": at_ms is not None and at_ms <= PATIENCE_S * 1000}


# --- stories


def deleted_s(pods, before, after, until_s):
    """Who is deleted, and when, on a node with taints `before` that become `after` at once."""
    node = a_node(taints=before)
    cluster = a_cluster([node])
    TaintEviction(cluster, ideal=True)
    ids = {
        name: cluster.create_pod(
            cluster.template(a_pod(tolerations=tolerations_of(raw))),
            cluster.owner("Pod", "default", name),
            name,
        )
        for name, raw in pods.items()
    }
    for pod in ids.values():
        cluster.bind(pod, 0)
    cluster.clock.at(0, Lane.API, cluster.set_taints, 0, after)
    cluster.clock.run(int(until_s * 1000) + 1)
    times_ms = {name: cluster.pods.deleting_ms.item(pod) for name, pod in ids.items()}
    return {name: at_ms / 1000 for name, at_ms in times_ms.items() if at_ms != NEVER}


def eviction(asked):
    taints = taints_of(asked.get("taints") or asked.get("node_taints") or [])
    on_node = asked.get("pod_on", asked.get("node", "node1"))
    pods = {"pod": asked["tolerations"]} if on_node else {}
    gone = deleted_s(pods, taints, taints, 0)
    return {"deleted_now": bool(gone), "deleted_at_once": bool(gone)}


def taints_change(asked):
    pods = {"pod": asked["tolerations"]} if "tolerations" in asked else None
    pods = pods or {pod["name"]: pod["tolerations"] for pod in asked["pods"]}
    before = taints_of(asked.get("taints_before", []))
    after = taints_of(asked.get("taints_after", asked.get("taints", [])))
    gone = deleted_s(pods, before, after, PATIENCE_S)
    return {
        "deleted": bool(gone),
        "some_pod_deleted": bool(gone),
        "delete_times_s": gone,
        "deleted_after_s": [
            {"after_s": at_s, "pods": sorted(name for name in gone if gone[name] == at_s)}
            for at_s in sorted(set(gone.values()))
        ],
    }


def zones_fail(asked):
    """Nodes are unknown from the start; an hour later some are ready."""
    rate = asked["eviction_rate_in_every_state"]
    options = LifecycleSettings(
        unhealthy_zone_threshold=asked["unhealthyZoneThreshold"],
        eviction_rate_per_s=rate,
        secondary_eviction_rate_per_s=rate,
        large_cluster_threshold=0,
    )
    cluster = Cluster()
    lifecycle = NodeLifecycle(cluster, Streams(1), options, monitor_phase_ms=10, tick_phase_ms=50)
    TaintEviction(cluster)
    for node in asked["nodes"]:
        cluster.add_node(
            node["name"], a_node().shape, zone=node["zone"], ready=READY[node["ready"]]
        )
    pod = cluster.create_pod(cluster.template(a_pod()), cluster.owner("Pod", "default", "pod0"))
    cluster.bind(pod, cluster.nodes[asked["pod_on"]])
    cluster.clock.run(1_000)
    initial = states_by_zone(lifecycle)
    cluster.clock.run(3_600_000)
    for node, status in enumerate(asked["ready_after_60_min"]):
        cluster.set_node_ready(node, READY[status])
    cluster.clock.run(3_620_000)
    return {
        "initial_zone_states": initial,
        "later_zone_states": states_by_zone(lifecycle),
        "node0_evicted": cluster.pods.deleting_ms.item(pod) != NEVER,
    }


def states_by_zone(lifecycle):
    states = lifecycle.zone_states.items()
    return {zone.removeprefix(":/:"): state.value for zone, state in states}


# --- rows


FORMS = {  # a row is answered by the first of these names that it has
    "stored": one_pass,
    "startup_grace_s": passes_until_silence,
    "created_s_ago": two_passes,
    "ready_after_60_min": zones_fail,
    "zone_size": rate_of_zone,
    "not_ready": state_of_zone,
    "passes": states_after_passes,
    "second_pass_ready": states_of_two_passes,
    "conditions": noschedule,
    "tolerationSeconds_of_used_tolerations": wait_of_used,
    "matching_tolerations": wait_of_matching,
    "before": pod_changes,
    "tolerations_before": tolerations_change,
    "taints_after": taints_change,
    "pods": taints_change,
    "tolerations": eviction,
}


def answer(asked):
    """Our answer to one row, under the names of its table."""
    return next(answers for name, answers in FORMS.items() if name in asked)(asked)


TABLES = [
    *("node_lifecycle", "node_health_v136", "node_noschedule_taints_v136", "taint_eviction"),
    *("node_zone_states_v136", "node_zone_monitor_v136", "node_taints_by_condition_v136"),
    "taint_eviction_v136",
]
NOT_ASKED = {"meaning", "deleted_within_s"}  # words about the row


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("vectors", None)
        folders = [Path(chosen)] if chosen else [SAMPLE, SHARED]
        metafunc.parametrize("row", list(rows_in(folders)))


def rows_in(folders):
    seen = set()
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml*")):
            if path.name.partition(".")[0] not in TABLES and folder in (SAMPLE, SHARED):
                continue
            table = read(path)
            if not isinstance(table, dict) or table.get("table") not in TABLES:
                continue
            for row in table["cases"]:
                name = f"{table['table']}-{row['id']}"
                if name not in seen:
                    seen.add(name)
                    yield pytest.param(row, id=name)


def read(path):
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return yaml.load(text, Loader=yaml.CSafeLoader)


def test_answers_are_upstreams(row):
    answered = answer(row["input"])
    for name, expected in row["expected"].items():
        if name not in NOT_ASKED:
            assert answered[name] == expected, name


def test_shared_tables_are_there():
    if not SHARED.exists():
        pytest.skip("the shared tables are not beside the repository")
    folders = [SHARED / "nodeside", SHARED / "controllers"]
    found = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    assert found >= set(TABLES)
