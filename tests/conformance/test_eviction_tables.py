"""The kubelet's own tables of node-pressure eviction: thresholds, ranking, passes, admission.

`sample/*.yaml.gz` is a part of them that travels with the project; with the shared data all rows
run. In the ranking table `priority` is a word; in it and in the passes amounts are quantities.
"""

from __future__ import annotations

from sim import eviction, units
from sim.errors import SimError
from sim.eviction import Observation, Settings, State, Threshold
from sim.evictionrank import (
    ContainerDisk,
    PodUse,
    Use,
    inodes,
    memory_beyond,
    most_first,
    over_first,
    priority,
    rank,
)
from sim.podspec import Container, PodSpec
from tests.conformance.tables import missing, needs_shared, rows_of

TABLES = [
    "eviction_thresholds",
    "eviction_ranking",
    "eviction_passes_v136",
    "eviction_sequences_v136",
    "eviction_admission_v136",
]
NOW_MS = 1_000_000
MI = 1024**2


# --- Thresholds ---


def thresholds_answer(asked):
    try:
        return answer_to_thresholds(asked)
    except (SimError, ValueError):
        return {"error": True}


def answer_to_thresholds(asked):
    if "observations" in asked:
        given = [threshold(row) for row in asked["thresholds"]]
        seen = {signal: observation(row) for signal, row in asked["observations"].items()}
        found = eviction.met(given, seen, reclaim=asked["enforce_min_reclaim"])
        return {"met_indexes": [given.index(t) for t in found]}
    if "first_observed_seconds_ago" in asked:
        graces_ms = {row["id"]: row["grace_s"] * 1000 for row in asked["thresholds"]}
        since_ms = times(asked["first_observed_seconds_ago"])
        return {"acting": eviction.past_grace(since_ms, graces_ms, NOW_MS)}
    if "met_now" in asked:
        before_ms = times(asked["previous_first_observed_seconds_ago"])
        after_ms = eviction.first_observed(asked["met_now"], before_ms, NOW_MS)
        return {"first_observed_seconds_ago": ages(after_ms)}
    if "conditions_now" in asked:
        before_ms = times(asked["previous_last_observed_seconds_ago"])
        after_ms = eviction.last_observed(asked["conditions_now"], before_ms, NOW_MS)
        return {"last_observed_seconds_ago": ages(after_ms)}
    if "transition_period_s" in asked:
        last_ms = times(asked["last_observed_seconds_ago"])
        period_ms = asked["transition_period_s"] * 1000
        return {"conditions": list(eviction.in_transition(last_ms, period_ms, NOW_MS))}
    if "signals" in asked:
        given = [Threshold(signal, 1) for signal in asked["signals"]]
        return {"conditions": list(eviction.conditions_of(given))}
    if "string" in asked:
        return {"percentage": units.percent(asked["string"])}
    if "observation_time_s" in asked:
        times_s = asked["observation_time_s"], asked["last_observation_time_s"]
        return {"stats_are_new": eviction.is_new(*times_s)}
    return {"thresholds_unordered": parsed(asked)}


def parsed(asked):
    amounts = {
        which: {signal: eviction.read_amount(text) for signal, text in asked.get(which, {}).items()}
        for which in ("hard", "soft", "min_reclaim")
    }
    grace_ms = {s: units.duration_ms(text) for s, text in asked.get("soft_grace", {}).items()}
    return eviction.thresholds(amounts["hard"], amounts["soft"], grace_ms, amounts["min_reclaim"])


def threshold(row):
    return Threshold(
        row["signal"],
        eviction.read_amount(str(row["value"])),
        row.get("grace_s", row.get("grace", 0)) * 1000,
        eviction.read_amount(str(row.get("min_reclaim", 0))),
    )


def observation(row):
    numbers = {key: units.amount(str(value)) for key, value in row.items()}
    return Observation(numbers["available"], numbers.get("capacity", 0))


def times(seconds_ago):
    return {key: NOW_MS - seconds * 1000 for key, seconds in seconds_ago.items()}


def ages(times_ms):
    return {key: (NOW_MS - ms) // 1000 for key, ms in times_ms.items()}


# --- Ranking ---

PRIORITIES = {"low": -1, "default": 0, "high": 1}
KEYS = {
    "exceeds memory request first": over_first(memory_beyond),
    "priority asc": priority,
    "memory_usage_minus_request desc": most_first(memory_beyond),
    "inodes desc": most_first(inodes),
}


def ranking_answer(asked):
    if "thresholds" in asked:
        given = [Threshold(signal, 1) for signal in asked["thresholds"]]
        return {"order": [t.signal for t in eviction.by_importance(given)]}
    pods = [ranked_pod(row) for row in asked["pods"]]
    return {"order": [pod.key for pod in rank(pods, [KEYS[key] for key in asked["order_by"]])]}


def ranked_pod(row):
    return PodUse(
        row["name"],
        PRIORITIES[row["priority"]] if "priority" in row else 0,
        Use(
            memory_b=units.amount(row.get("memory_usage", "0")),
            disk=(ContainerDisk(inodes=row.get("inodes", 0)),),
        ),
        memory_request_b=units.amount(row.get("memory_request") or "0"),
    )


# --- Passes ---


def passes_answer(asked):
    settings = eviction.with_containerfs(
        Settings(
            thresholds=tuple(threshold(row) for row in asked["thresholds"]),
            transition_ms=asked["pressure_transition_s"] * 1000,
            max_grace_ms=asked["max_pod_grace_s"] * 1000,
            dedicated_imagefs=asked.get("dedicated_imagefs", False),
            split_imagefs=asked.get("dedicated_containerfs", False),
            isolation=asked.get("isolation", False),
        )
    )
    state, step, steps = State(), {}, []
    for row in asked["steps"]:
        step = {"usage": step.get("usage"), **row}  # usage is not repeated while it stays
        active = [p for p in asked["pods"] if p["name"] in row.get("active", [p["name"]])]
        outcome = eviction.one_pass(
            settings,
            state,
            row["t_s"] * 1000,
            observations(row.get("node", row)),
            [pod_use(pod, step["usage"].get(pod["name"])) for pod in active],
            observations(row["after_gc"]) if "after_gc" in row else None,
        )
        state = outcome.state
        steps.append(
            {
                "evicted": [
                    {"pod": victim.pod.key, "grace_s": victim.grace_ms // 1000}
                    for victim in outcome.evicted
                ],
                "tried": [pod.key for pod in outcome.tried],
                "conditions": sorted(state.conditions),
            }
        )
    return {"steps": steps}


def observations(node):
    seen = {}
    if "available_MiB" in node:
        memory = Observation(node["available_MiB"] * MI, node["capacity_MiB"] * MI)
        seen = dict.fromkeys(eviction.MEMORY_SIGNALS, memory)
    if "pid" in node:
        pid = node["pid"]
        seen[eviction.PIDS] = Observation(pid["max"] - pid["running"], pid["max"])
    memories = {"memory": "memory", "allocatable_memory": "allocatableMemory"}
    for name, signal in memories.items():
        if name in node:
            seen[f"{signal}.available"] = Observation(**node[name])
    for disk in ("nodefs", "imagefs", "containerfs"):
        row = node.get(disk, {})
        if "available" in row:
            seen[f"{disk}.available"] = Observation(row["available"], row["capacity"])
        if "inodesFree" in row:
            seen[f"{disk}.inodesFree"] = Observation(row["inodesFree"], row["inodes"])
    return seen


def pod_use(pod, usage):
    spec = pod_spec(pod)
    return PodUse(
        pod["name"],
        pod["priority"],
        None if usage is None else a_use(spec, usage),
        memory_request_b=spec.requests.get("memory", 0),
        storage_request_b=spec.requests.get("ephemeral-storage", 0),
        storage_limit_b=spec.limits.get("ephemeral-storage"),
        volume_limits_b={
            volume["name"]: units.amount(volume["sizeLimit"]) for volume in pod.get("emptyDirs", [])
        },
        grace_ms=pod.get("terminationGracePeriodSeconds", 30) * 1000,
        critical=pod.get("critical", False),
    )


def a_use(spec, usage):
    """The tables give sums over containers; all pods with a use of disks have one container."""
    return Use(
        memory_b=usage.get("memory_MiB", 0) * MI or usage.get("memory", 0),
        processes=usage.get("processes", 0),
        disk=(
            ContainerDisk(
                usage.get("rootfs", 0),
                usage.get("logs", 0),
                spec.containers[0].limits.get("ephemeral-storage", 0),
                usage.get("rootfs_inodes", 0),
            ),
        ),
        volumes_b=usage.get("volumes", {}),
        ephemeral_b=usage.get("ephemeral", 0),
    )


def pod_spec(pod):
    return PodSpec(containers=tuple(a_container(c) for c in pod.get("containers", [pod])))


def a_container(container):
    return Container(
        container["name"],
        requests=amounts(container.get("requests", {})),
        limits=amounts(container.get("limits", {})),
    )


def amounts(quantities):
    return {
        name: (units.cpu_m if name == "cpu" else units.amount)(text)
        for name, text in quantities.items()
    }


# --- Admission ---


def admission_answer(asked):
    admitted = eviction.admits(
        asked["conditions"],
        pod_spec(asked["pod"]).qos,
        tolerations=(),
        critical=asked["critical"],
    )
    return {"admit": True} if admitted else {"admit": False, "reason": "Evicted"}


ANSWERS = {
    "eviction_thresholds": thresholds_answer,
    "eviction_ranking": ranking_answer,
    "eviction_passes_v136": passes_answer,
    "eviction_sequences_v136": passes_answer,
    "eviction_admission_v136": admission_answer,
}


def expectation(row):
    """What the row says; a list of thresholds is one of parsed settings, in any order."""
    expected = dict(row["expected"])
    if "thresholds_unordered" in expected:
        given = [threshold(t) for t in expected["thresholds_unordered"]]
        expected["thresholds_unordered"] = set(given)
    return expected


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize(("table", "row"), rows_of(metafunc.config, TABLES))


def check(table, row):
    expected = expectation(row)
    got = ANSWERS[table](row["input"])
    if "thresholds_unordered" in got:
        got["thresholds_unordered"] = set(got["thresholds_unordered"])
    assert got == expected


@needs_shared
def test_all_tables_are_there():
    assert missing(TABLES) == []


def test_row_holds(table, row):
    check(table, row)
