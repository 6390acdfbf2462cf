"""The kubelet's own tables of what pods are and what is done about them, row by row.

`sample/*.yaml.gz` is a part of them that travels with the project; with the shared data all rows
run. Of containers with several records the newest counts, and a reset names a container once.
"""

from __future__ import annotations

from sim.admission import NodeView, OnNode, Shortage, preempt_for, refusals
from sim.labels import Requirement
from sim.podspec import Container, HostPort, NodeSelectorTerm, PodSpec, Probe, Taint, Toleration
from sim.podstate import (
    ContainerState,
    Gates,
    OwnRestart,
    PodRules,
    RestartRule,
    Sandbox,
    any_regular_started,
    containers_ready,
    kept_phase,
    phase,
    pod_initialized,
    pod_ready,
    ready_to_start,
    should_restart,
)
from sim.podsync import Actuated, actions
from sim.resize import Given
from sim.termination import (
    ShutdownGroup,
    container_grace_ms,
    pod_grace,
    shutdown_end,
    shutdown_grace_ms,
    shutdown_groups,
    shutdown_order,
)
from sim.units import amount, cpu_m
from tests.conformance.tables import missing, needs_shared, rows_of

GATE = {
    "ContainerRestartRules": "container_restart_rules",
    "RestartAllContainersOnContainerExits": "restart_all_containers",
    "InPlacePodVerticalScaling": "in_place_resize",
    "InPlacePodLevelResourcesVerticalScaling": "in_place_pod_level_resize",
}


# --- values


def resources(raw):
    return {k: cpu_m(v) if k == "cpu" else amount(v) for k, v in (raw or {}).items()}


def seconds(raw):
    return None if raw is None else 1000 * raw


def probe(raw):
    return None if raw is None else Probe(termination_grace_ms=seconds(grace_of(raw)))


def grace_of(raw):
    return raw.get("terminationGracePeriodSeconds")


def container(raw, *, init=False):
    raw = {"name": raw} if isinstance(raw, str) else raw
    return Container(
        raw["name"],
        requests=resources(raw.get("requests")),
        limits=resources(raw.get("limits")),
        liveness=probe(raw.get("livenessProbe")),
        startup=probe(raw.get("startupProbe")),
        sidecar=init and "sidecar" in (raw.get("kind"), sidecar_kind(raw)),
    )


def sidecar_kind(raw):
    return "sidecar" if raw.get("restartPolicy") == "Always" else "init"


def spec_of(raw):
    level = raw.get("resources") or {}
    affinity = raw.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    policy = raw.get("restartPolicy")
    return PodSpec(
        containers=tuple(container(one) for one in raw.get("containers", [])),
        init_containers=tuple(container(one, init=True) for one in raw.get("initContainers", [])),
        restart_policy="Always" if policy in (None, "", "(unset)") else policy,
        pod_requests=resources(level.get("requests")),
        pod_limits=resources(level.get("limits")),
        node_name=raw.get("nodeName", ""),
        required_affinity=required and tuple(term(one) for one in required["nodeSelectorTerms"]),
        tolerations=tuple(toleration(one) for one in raw.get("tolerations", [])),
        priority=raw.get("priority", 0),
    )


def term(raw):
    listed = raw["matchExpressions"]
    return NodeSelectorTerm(
        tuple(Requirement(e["key"], e["operator"], tuple(e.get("values", ()))) for e in listed)
    )


def toleration(raw):
    named = {key: raw[key] for key in ("operator", "value", "effect") if key in raw}
    return Toleration(raw.get("key", ""), **named)


def rules_of(raw, gates=()):
    listed = [*raw.get("containers", []), *raw.get("initContainers", [])]
    own = {one["name"]: own_restart(one) for one in listed if isinstance(one, dict)}
    return PodRules(spec_of(raw), gates_of(gates), own)


def own_restart(raw):
    rules = tuple(
        RestartRule(tuple(one["values"]), one["operator"], one["action"])
        for one in raw.get("restartPolicyRules", [])
    )
    return OwnRestart(raw.get("restartPolicy"), rules)


def gates_of(names):
    return Gates(**{attribute: name in (names or ()) for name, attribute in GATE.items()})


def state(raw):
    raw = raw[0] if isinstance(raw, list) else raw
    kind = raw.get("state", "waiting")
    last = (raw.get("last") or {}).get("exitCode", raw.get("last_exit"))
    return ContainerState(
        "exited" if kind == "terminated" else kind,
        exit_code=raw.get("exitCode", 0) if kind in ("exited", "terminated") else None,
        last_exit_code=last,
        started=raw.get("started", False),
        ready=raw.get("ready", False),
        liveness=raw.get("liveness"),
        startup=raw.get("startup"),
        changed=raw.get("spec_changed", False),
        restarting_all=raw.get("restarting_all", False),
    )


def states(raw):
    return None if raw is None else {name: state(one) for name, one in raw.items()}


def sandboxes(raw):
    return [Sandbox(one["ready"], one.get("attempt", 0), one["ip"]) for one in raw]


# --- phase and conditions


def answer_phase(asked):
    rules = rules_of(asked.get("pod", asked), asked.get("gates"))
    found = states(asked["statuses"])
    started = asked.get("initialized", any_regular_started(rules.spec, found))
    computed = phase(rules, found, is_terminal=asked["pod_is_terminal"], initialized=started)
    before = (asked.get("api_phase"), asked.get("kubelet_previous_phase"))
    return {"phase": kept_phase(computed, *before)}


def answer_condition(asked, wanted):
    spec, found = spec_of(asked["pod"]), states(asked.get("statuses"))
    gates = asked["pod"].get("readinessGates", [])
    set_to = {gate: asked.get("conditions", {}).get(gate) == "True" for gate in gates}
    condition = {
        "ContainersReady": lambda: containers_ready(spec, found, asked["phase"]),
        "Ready": lambda: pod_ready(spec, found, asked["phase"], set_to),
        "Initialized": lambda: pod_initialized(spec, found, asked["phase"]),
        "PodReadyToStartContainers": lambda: ready_to_start(spec, sandboxes(asked["sandboxes"])),
    }[wanted["type"]]()
    answer = {"type": condition.type, "status": str(condition.status)}
    return {**answer, "reason": condition.reason} if condition.reason else answer


# --- syncs


def answer_sync(asked):
    """A row of pod_actions_v136 or pod_resize_actions_v136."""
    rules = rules_of(asked["pod"], asked.get("gates"))
    found = actions(
        rules,
        states(asked["statuses"]),
        sandboxes(asked["sandboxes"]),
        restart_all=asked.get("restart_all", False),
        ephemeral=[one["name"] for one in asked["pod"].get("ephemeralContainers", [])],
        actuated=actuated(asked) if "actuated" in asked else None,
    )
    updates = {"cpu": list(found.cpu_updates), "memory": list(found.memory_updates)}
    return {
        "kill_pod": found.kill_pod,
        "create_sandbox": found.create_sandbox,
        "attempt": found.attempt,
        "start_init": list(found.init_to_start),
        "start": list(found.containers_to_start),
        "start_ephemeral": list(found.ephemeral_to_start),
        "kill": sorted(kill.name for kill in found.containers_to_kill),
        "kill_reason": {kill.name: kill.reason for kill in found.containers_to_kill},
        "reset": sorted(found.containers_to_reset),
        "update": {resource: names for resource, names in updates.items() if names},
        "update_pod_resources": found.update_pod_resources,
        "update_pod_level_resources": found.update_pod_level_resources,
    }


def actuated(asked):
    listed = asked["pod"]["containers"]
    return Actuated(
        {name: given(raw) for name, raw in asked["actuated"].items()},
        given(asked.get("actuated_pod", {})),
        {one["name"]: one.get("resizePolicy", {}) for one in listed},
    )


def given(raw):
    return Given.of(resources(raw.get("requests")), resources(raw.get("limits")))


def answer_old_sync(asked):
    """A row of pod_actions: three containers, named by their places."""
    policy = asked["restartPolicy"]
    names = [str(place) for place in range(3)]
    found = {
        name: told_state(text, name, asked)
        for name, text in zip(names, asked["containers"], strict=True)
        if text
    }
    pod = {"restartPolicy": policy, "containers": names}
    sandbox = told_sandbox(asked["sandbox"], asked.get("sandbox_attempt", 0))
    done = actions(rules_of(pod), found, sandbox)
    return {
        "kill_pod": done.kill_pod,
        "create_sandbox": done.create_sandbox,
        "attempt": done.attempt,
        "start": list(done.containers_to_start),
        "kill": [int(kill.name) for kill in done.containers_to_kill],
    }


def told_state(text, name, asked):
    kind, _, code = text.partition(":")
    failed = {
        which: "Failure"
        for which in ("liveness", "startup")
        if int(name) in asked.get(f"{which}_failed", [])
    }
    return ContainerState(kind, int(code) if code else None, **failed)


def told_sandbox(text, attempt):
    return [Sandbox(text != "notready", attempt, "without-ip" not in text)] if text else []


def answer_restart(asked):
    pod = {"restartPolicy": asked["podRestartPolicy"], "containers": [{"name": "c"}]}
    pod["containers"][0] |= asked.get("container", {})
    found = asked["state"] and state(asked["state"])
    rules = rules_of(pod, asked.get("gates"))
    return {"restart": should_restart(rules, "c", found, deleting=asked.get("deleting", False))}


# --- ends


def answer_container_grace(asked):
    probes = {kind: probe(asked[f"{kind}Probe"]) for kind in ("liveness", "startup")}
    grace_ms = container_grace_ms(
        Container("c", **probes),
        seconds(grace_of(asked)),
        asked["reason"],
        deletion_ms=seconds(asked["deletionGracePeriodSeconds"]),
    )
    return {"grace_s": grace_ms // 1000}


def answer_pod_grace(asked):
    grace = pod_grace(
        seconds(grace_of(asked)),
        before_ms=seconds(asked["before_s"]),
        deletion_ms=seconds(asked["deletionGracePeriodSeconds"]),
        override_ms=seconds(asked["override_s"]),
    )
    return {"grace_s": grace.grace_ms // 1000, "shortened": grace.shortened}


def answer_shutdown(asked):
    if "groups" not in asked:
        critical_s = asked.get("criticalPods_s", asked.get("shutdownGracePeriodCriticalPods_s"))
        found = shutdown_groups(seconds(asked["shutdownGracePeriod_s"]), seconds(critical_s))
        return {"groups": [[one.priority, one.grace_ms // 1000] for one in found] or None}
    groups = [ShutdownGroup(priority, seconds(grace_s)) for priority, grace_s in asked["groups"]]
    pods = asked["pods"]
    if asked.get("op") == "kill":
        return {"killed": killed(groups, pods)}
    names = list(pods)
    order = shutdown_order(groups, pods.values())
    return {
        "members": [[names[place] for place in places] for _, places in order],
        "groups": [
            {
                "priority": group.priority,
                "grace_s": group.grace_ms // 1000,
                "pods": [names[place] for place in places],
            }
            for group, places in order
        ],
    }


def killed(groups, pods):
    found = {}
    for group, places in shutdown_order(groups, [pod["priority"] for pod in pods]):
        for pod in (pods[place] for place in places):
            end = shutdown_end(pod["phase"])
            grace_s = shutdown_grace_ms(group, seconds(grace_of(pod))) // 1000
            found[pod["name"]] = {"grace_s": grace_s, "phase": end.phase, "reason": end.reason}
    return found


# --- admission


def answer_admission(asked):
    pod = spec_of(asked["pod"])
    ports = tuple(port(one) for one in asked.get("hostPorts", []))
    if ports:
        pod = PodSpec((Container("c", host_ports=ports),))
    static = asked.get("annotations", {}).get("kubernetes.io/config.source") == "file"
    return {"reasons": [reason(one) for one in refusals(pod, node_of(asked), static=static)]}


def node_of(asked):
    raw = asked["node"]
    others = [spec_of(one) for one in asked["pods"]]
    names = {name for other in others for name in other.requests}
    used = {name: sum(o.requests.get(name, 0) for o in others) for name in names}
    return NodeView(
        raw["name"],
        resources(raw["allocatable"]),
        {**used, "pods": len(others)},
        taints=tuple(Taint(one["key"], one["effect"]) for one in raw.get("taints", [])),
        host_ports=tuple(port(one) for listed in asked.get("podsHostPorts", []) for one in listed),
    )


def port(raw):
    return HostPort(raw["hostPort"], raw["protocol"], raw["hostIP"] or "0.0.0.0")


def reason(refusal):
    if isinstance(refusal, Shortage):
        return {
            "capacity": refusal.capacity,
            "insufficient": refusal.resource,
            "requested": refusal.requested,
            "used": refusal.used,
        }
    return {"desc": refusal.message, "predicate": refusal.reason}


def answer_preemption(asked):
    others = [spec_of(one) for one in asked["pods"]]
    running = [
        OnNode(place, other.requests, other.qos, other.priority)
        for place, other in enumerate(others)
    ]
    priority = asked["preemptor"]["priority"]
    victims = preempt_for(asked["missing"], running, priority=priority)
    names = [asked["pods"][victim.id]["name"] for victim in victims or ()]
    return {"victims": sorted(names), "error": victims is None}


# --- rows

ANSWERS = {
    "pod_phase": answer_phase,
    "pod_phase_v136": answer_phase,
    "pod_status_terminality": answer_phase,
    "pod_conditions_v136": answer_condition,
    "pod_actions": answer_old_sync,
    "pod_actions_v136": answer_sync,
    "pod_resize_actions_v136": answer_sync,
    "container_restart_v136": answer_restart,
    "termination_grace_v136": answer_container_grace,
    "pod_grace_v136": answer_pod_grace,
    "node_shutdown": answer_shutdown,
    "node_shutdown_v136": answer_shutdown,
    "admission_v136": answer_admission,
    "kubelet_preemption_v136": answer_preemption,
}
SETS = {"kill", "reset", "victims"}  # lists whose order, and repetitions, say nothing


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize(("table", "row"), rows_of(metafunc.config, ANSWERS))


def test_answer_is_upstreams(table, row):
    asked, expected = row["input"], row["expected"]
    if table == "pod_conditions_v136":
        assert answer_condition(asked, expected) == expected
        return
    answered = ANSWERS[table](asked)
    for name, wanted in expected.items():
        wanted = sorted(set(wanted)) if name in SETS else wanted
        assert answered[name] == wanted, name


@needs_shared
def test_shared_tables_are_there():
    assert missing(ANSWERS) == []
