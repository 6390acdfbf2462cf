"""Restarts, readiness, phases and conditions of pods.

The rules are written down in the Kubernetes documentation (pod lifecycle, sidecar containers, init
containers); upstream's own tables are replayed in tests/conformance/test_pod_tables.py.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, given

from sim.podspec import Container, PodSpec, Probe
from sim.podstate import (
    V1_34,
    V1_35,
    V1_36,
    ContainerState,
    OwnRestart,
    RestartRule,
    Sandbox,
    conditions,
    is_ready,
    kept_phase,
    past_deadline,
    phase,
    restarts,
    restarts_all,
    should_restart,
)
from sim.podsync import actions
from tests.unit.podstates import (
    CREATED,
    LIVES,
    NEW,
    POLICIES,
    RUNNING,
    STARTING,
    UNKNOWN,
    UP,
    backing_off,
    exited,
    pod,
    rules,
)

# Restarts


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        *(("Always", 0, True), ("Always", 1, True)),
        *(("OnFailure", 0, False), ("OnFailure", 1, True)),
        *(("Never", 0, False), ("Never", 1, False)),
    ],
)
def test_a_restart_policy_looks_at_the_exit_code(policy, code, again):
    assert restarts(policy, code) is again
    assert should_restart(rules(policy=policy), "a", exited(code)) is again
    assert should_restart(rules(policy=policy), "a", backing_off(code)) is again


@pytest.mark.parametrize("policy", POLICIES)
def test_what_never_ran_starts_under_every_policy(policy):
    for state in (None, NEW, CREATED, UNKNOWN):
        assert should_restart(rules(policy=policy), "a", state)


@pytest.mark.parametrize("state", [None, NEW, CREATED, UNKNOWN, RUNNING, exited(1)])
def test_nothing_starts_in_a_pod_that_is_being_deleted(state):
    assert not should_restart(rules(), "a", state, deleting=True)


def test_own_restart_policies_count_only_with_their_gate():
    own = {"a": OwnRestart("Always")}
    assert not rules(policy="Never", own=own).restarts("a", 1)
    assert rules(policy="Never", own=own, gates=V1_35).restarts("a", 1)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (42, True),  # In (42, 43): restart
        (43, True),
        (1, False),  # no rule speaks of it: the container's own policy, Never
        (0, False),
    ],
)
def test_the_first_rule_that_matches_an_exit_code_decides(code, again):
    own = {"a": OwnRestart("Never", (RestartRule((42, 43)),))}
    assert rules(own=own, gates=V1_35).restarts("a", code) is again


def test_a_rule_can_speak_of_all_but_some_exit_codes():
    own = {"a": OwnRestart("Never", (RestartRule((0,), "NotIn"),))}
    found = rules(own=own, gates=V1_35)
    assert [found.restarts("a", code) for code in (0, 1, 137)] == [False, True, True]


def test_a_rule_can_ask_for_all_containers_from_1_36_on():
    own = {"a": OwnRestart("Never", (RestartRule((9,), action="RestartAllContainers"),))}
    states = {"a": exited(9), "b": RUNNING}
    assert restarts_all(rules("ab", own=own, gates=V1_36), states)
    assert not restarts_all(rules("ab", own=own, gates=V1_35), states)
    assert not restarts_all(rules("ab", own=own, gates=V1_36), {"a": exited(8), "b": RUNNING})


# Ready


@pytest.mark.parametrize(
    ("state", "probed", "result", "ready"),
    [
        (RUNNING, False, None, True),
        (RUNNING, True, None, False),  # no result of this instance yet
        (RUNNING, True, "Success", True),
        (RUNNING, True, "Failure", False),
        (STARTING, False, None, False),
        (STARTING, True, "Success", False),
        (exited(0), False, None, False),
        (NEW, False, None, False),
    ],
)
def test_ready_is_running_and_started_and_probed(state, probed, result, ready):
    container = Container("a", readiness=Probe() if probed else None)
    assert is_ready(container, state, result, plain_init=False) is ready


def test_a_plain_init_container_is_ready_once_it_has_succeeded():
    found = [exited(0), exited(1), RUNNING]
    ready = [is_ready(Container("i"), state, None, plain_init=True) for state in found]
    assert ready == [True, False, False]


# Phase


@pytest.mark.parametrize(
    ("policy", "codes", "expected"),
    [
        ("Always", (0, 0), "Running"),  # both will start again
        ("Always", (1, 0), "Running"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (1, 0), "Running"),  # one will start again
        ("Never", (0, 0), "Succeeded"),
        ("Never", (1, 0), "Failed"),
    ],
)
def test_the_phase_of_ended_containers_follows_the_policy(policy, codes, expected):
    states = dict(zip("ab", map(exited, codes), strict=True))
    assert phase(rules("ab", policy=policy), states) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pod_that_will_not_run_again_ends_by_its_exit_codes(policy):
    found = rules("ab", policy=policy)
    assert phase(found, {"a": exited(0), "b": exited(0)}, is_terminal=True) == "Succeeded"
    assert phase(found, {"a": exited(0), "b": exited(3)}, is_terminal=True) == "Failed"


def test_a_static_pod_is_never_over():
    assert phase(rules(), {"a": exited(1)}, is_terminal=True, static=True) == "Running"


def test_a_crash_loop_counts_as_running():
    assert phase(rules(), {"a": backing_off(1)}) == "Running"
    assert phase(rules(), {"a": ContainerState(last_exit_code=1)}) == "Running"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, "Pending"),
        ({"a": RUNNING}, "Pending"),  # nothing is known of b
        ({"a": RUNNING, "b": NEW}, "Pending"),
        ({"a": RUNNING, "b": UNKNOWN}, "Pending"),
        ({"a": RUNNING, "b": RUNNING}, "Running"),
        ({"a": RUNNING, "b": exited(1)}, "Running"),
    ],
)
def test_a_pod_runs_once_something_is_known_of_every_container(states, expected):
    assert phase(rules("ab"), states) == expected


@pytest.mark.parametrize(
    ("state", "policy", "expected"),
    [
        (RUNNING, "Always", "Pending"),
        (exited(1), "Always", "Pending"),
        (backing_off(1), "OnFailure", "Pending"),
        (exited(1), "Never", "Failed"),
        (UNKNOWN, "Always", "Pending"),
        (exited(0), "Never", "Pending"),  # the regular container has not been created yet
    ],
)
def test_a_pod_is_pending_while_its_init_containers_are_not_done(state, policy, expected):
    assert phase(rules(init="i", policy=policy), {"i": state}) == expected


def test_a_pod_is_pending_until_its_sidecar_has_started():
    states = {"s": STARTING, "a": NEW}
    assert phase(rules(init="S"), states) == "Pending"
    states = {"s": STARTING, "a": RUNNING}
    assert phase(rules(init="S"), states) == "Pending"
    assert phase(rules(init="S"), states, initialized=True) == "Running"


def test_sidecars_do_not_keep_a_finished_pod_from_succeeding():
    states = {"s": exited(137), "a": exited(0)}
    assert phase(rules(init="S", policy="Never"), states) == "Succeeded"


def test_own_policies_decide_about_the_end_of_a_pod_from_1_35_on():
    own = {"a": OwnRestart("Never"), "b": OwnRestart("Always")}
    states = {"a": exited(1), "b": exited(1)}
    assert phase(rules("ab", own=own, gates=V1_35), states) == "Running"
    own = {"a": OwnRestart("Never"), "b": OwnRestart("Never")}
    assert phase(rules("ab", own=own, gates=V1_35), states) == "Failed"
    assert phase(rules("ab", own=own, gates=V1_34), states) == "Running"


@pytest.mark.parametrize(
    ("started_ms", "now_ms", "deadline_ms", "past"),
    [
        (1_000, 10_999, 10_000, False),
        (1_000, 11_000, 10_000, True),
        (None, 99_000, 10_000, False),  # the kubelet has not seen it yet
        (1_000, 99_000, None, False),
    ],
)
def test_a_deadline_counts_from_when_the_kubelet_first_saw_the_pod(
    started_ms, now_ms, deadline_ms, past
):
    assert past_deadline(started_ms, now_ms, deadline_ms) is past


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (NEW, "Pending"),
        (CREATED, "Pending"),
        (RUNNING, "Pending"),
        (UNKNOWN, "Pending"),
        (exited(0), "Running"),
        (ContainerState(last_exit_code=0), "Running"),
        (backing_off(1), "Running"),  # it counts as failed, which is final only under Never
    ],
)
def test_a_plain_init_container_that_has_not_ended_holds_the_phase_back(state, expected):
    assert phase(rules(init="i"), {"i": state, "a": RUNNING}) == expected


@pytest.mark.parametrize("state", [backing_off(0), ContainerState(last_exit_code=0)])
def test_what_waits_for_its_restart_has_not_succeeded(state):
    assert phase(rules(policy="OnFailure"), {"a": state}) == "Running"
    assert phase(rules(policy="OnFailure"), {"a": exited(0)}) == "Succeeded"


@pytest.mark.parametrize("final", ["Succeeded", "Failed"])
def test_a_final_phase_stays(final):
    assert kept_phase("Running", final) == final
    assert kept_phase("Running", "Running", final) == final


def test_a_phase_that_is_not_final_may_go_back():
    assert kept_phase("Pending", "Running", None) == "Pending"


@given(LIVES)
def test_a_pod_that_is_over_has_nothing_running_and_nothing_to_start(life):
    """(A failed init container beside a regular one that was created is no pod's history.)"""
    found, states = life
    plain = [c.name for c in found.spec.init_containers if not c.sidecar]
    assume(not any(states.get(name, NEW).exit_code == 1 for name in plain))
    if phase(found, states) in ("Succeeded", "Failed"):
        assert not any(states[c.name].state == "running" for c in found.spec.containers)
        assert actions(found, states, UP).containers_to_start == ()


# Conditions


def shown(found, states, pod_phase="Running", sandboxes=UP, gates=None):
    values = conditions(found, states, pod_phase, sandboxes, gates).values()
    return [condition.type for condition in values if condition.status]


ALL = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"]


@pytest.mark.parametrize(
    ("states", "true"),
    [
        ({}, ALL[:1]),
        ({"i": ContainerState("exited", exit_code=0, ready=True), "s": STARTING}, ALL[:1]),
        ({"i": ContainerState("exited", exit_code=0, ready=True), "s": RUNNING}, ALL[:2]),
        ({"s": STARTING, "a": RUNNING}, ALL[:2]),  # initialized for good; the sidecar is not ready
        ({"s": RUNNING, "a": RUNNING}, ALL),
    ],
)
def test_conditions_turn_true_one_after_the_other(states, true):
    assert shown(pod(init="iS"), states) == true


@pytest.mark.parametrize(("pod_phase", "reason"), [("Running", ""), ("Succeeded", "PodCompleted")])
def test_a_pod_without_init_containers_is_initialized(pod_phase, reason):
    found = conditions(pod(), None, pod_phase, UP)["Initialized"]
    assert (found.status, found.reason) == (True, reason)


def test_readiness_gates_hold_back_only_ready():
    states = {"a": RUNNING}
    assert shown(pod(), states, gates={"g": False}) == ALL[:3]
    assert shown(pod(), states, gates={"g": True}) == ALL


@pytest.mark.parametrize(
    ("sandboxes", "host_network", "ready"),
    [
        ([], False, False),
        ([Sandbox(ready=False)], False, False),
        ([Sandbox(has_ip=False)], False, False),
        ([Sandbox(has_ip=False, host_network=True)], True, True),
        ([Sandbox(), Sandbox()], False, False),  # two ready ones: neither is trusted
        ([Sandbox(), Sandbox(ready=False)], False, True),
    ],
)
def test_a_sandbox_has_to_be_ready_alone_and_reachable(sandboxes, host_network, ready):
    spec = PodSpec((Container("a"),), host_network=host_network)
    found = conditions(spec, {}, "Pending", sandboxes)["PodReadyToStartContainers"]
    assert found.status is ready


@pytest.mark.parametrize(
    ("pod_phase", "reason"), [("Succeeded", "PodCompleted"), ("Failed", "PodFailed")]
)
def test_a_pod_that_is_over_is_not_ready(pod_phase, reason):
    found = conditions(pod(), {"a": RUNNING}, pod_phase, UP)
    assert {found[name].reason for name in ("ContainersReady", "Ready")} == {reason}
