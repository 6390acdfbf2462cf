"""What a sync of a pod decides: sandboxes, kills, starts, resizes.

The rules are written down in the Kubernetes documentation (init and sidecar containers, probes,
in-place resize); upstream's own tables are replayed in tests/conformance/test_pod_tables.py.
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
    PodRules,
    RestartRule,
    Sandbox,
)
from sim.podsync import Actuated, Kill, actions
from sim.resize import Given, difference, update_order
from tests.unit.podstates import (
    LIVES,
    NEW,
    POLICIES,
    RUNNING,
    STARTING,
    UP,
    backing_off,
    exited,
    rules,
)


def start_of(found, states):
    done = actions(found, states, UP)
    names = [c.name for c in found.spec.init_containers], [c.name for c in found.spec.containers]
    return [
        *(names[0][place] for place in done.init_to_start),
        *(names[1][place] for place in done.containers_to_start),
    ]


def test_a_pod_starts_container_after_container():
    """Init i, sidecar s, init j, then a and b at once; each step when the one before is done."""
    found = rules("ab", init="iSj")
    steps = [
        ({}, ["i"]),
        ({"i": RUNNING}, []),
        ({"i": exited(0)}, ["s"]),
        ({"i": exited(0), "s": RUNNING}, ["j"]),
        ({"i": exited(0), "s": RUNNING, "j": RUNNING}, []),
        ({"i": exited(0), "s": RUNNING, "j": exited(0)}, ["a", "b"]),
        ({"s": RUNNING, "a": RUNNING, "b": RUNNING}, []),
    ]
    assert [start_of(found, states) for states, _ in steps] == [starts for _, starts in steps]


def test_what_waits_after_an_exit_is_not_taken_for_new():
    waiting = ContainerState(last_exit_code=1)
    assert start_of(rules("ab", policy="Never"), {"a": waiting, "b": NEW}) == ["b"]
    assert start_of(rules("ab"), {"a": waiting, "b": NEW}) == ["a", "b"]


def sidecar_pod(policy="Always"):
    spec = PodSpec(
        (Container("a"),),
        (Container("s", sidecar=True, startup=Probe(), liveness=Probe()),),
        restart_policy=policy,
    )
    return PodRules(spec)


@pytest.mark.parametrize(
    ("startup", "starts", "kills"),
    [
        (None, [], []),
        ("Unknown", [], []),
        ("Success", ["a"], []),
        ("Failure", ["s"], [Kill("s", "StartupProbe")]),
    ],
)
def test_what_follows_a_sidecar_waits_for_its_startup_probe(startup, starts, kills):
    states = {"s": ContainerState("running", startup=startup)}
    assert start_of(sidecar_pod(), states) == starts
    assert list(actions(sidecar_pod(), states, UP).containers_to_kill) == kills


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("state", [exited(0), exited(1), backing_off(1)])
def test_a_sidecar_starts_again_under_every_policy(policy, state):
    assert start_of(sidecar_pod(policy), {"s": state, "a": RUNNING}) == ["s"]


def test_a_sidecar_that_fails_its_liveness_probe_does_not_hold_up_the_rest():
    states = {"s": ContainerState("running", startup="Success", liveness="Failure")}
    done = actions(sidecar_pod(), states, UP)
    assert done.containers_to_kill == (Kill("s", "LivenessProbe"),)
    assert start_of(sidecar_pod(), states) == ["s", "a"]


@pytest.mark.parametrize(
    ("policy", "starts", "over"), [("Always", ["i"], False), ("Never", [], True)]
)
def test_a_failed_init_container_is_tried_again_unless_never(policy, starts, over):
    found = rules(init="Si", policy=policy)
    states = {"s": RUNNING, "i": exited(1)}
    assert start_of(found, states) == starts
    assert actions(found, states, UP).kill_pod is over


def test_a_pod_whose_regular_containers_are_done_is_killed_with_its_sidecars():
    done = actions(rules(init="S", policy="Never"), {"s": exited(1), "a": exited(0)}, UP)
    # After an exit the kubelet does not trust that init is done: here the sidecar runs first.
    assert (done.kill_pod, done.init_to_start) == (False, (0,))
    done = actions(rules(init="S", policy="Never"), {"s": RUNNING, "a": exited(0)}, UP)
    assert (done.kill_pod, done.init_to_start) == (True, ())


@pytest.mark.parametrize(
    ("policy", "failed", "kills", "starts"),
    [
        ("Always", "liveness", [Kill("a", "LivenessProbe")], (0,)),
        ("OnFailure", "startup", [Kill("a", "StartupProbe")], (0,)),
        ("Never", "liveness", [Kill("a", "LivenessProbe")], ()),
    ],
)
def test_a_container_killed_by_a_probe_starts_again_unless_never(policy, failed, kills, starts):
    states = {"a": ContainerState("running", **{failed: "Failure"}), "b": RUNNING}
    done = actions(rules("ab", policy=policy), states, UP)
    assert (list(done.containers_to_kill), done.containers_to_start) == (kills, starts)


def test_a_probe_kill_ignores_the_rules_about_exit_codes():
    own = {"a": OwnRestart("Never", (RestartRule((0,), "NotIn"),))}
    states = {"a": ContainerState("running", liveness="Failure"), "b": RUNNING}
    done = actions(rules("ab", own=own, gates=V1_35), states, UP)
    assert done.containers_to_start == ()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_changed_container_is_replaced_under_every_policy(policy):
    done = actions(rules(policy=policy), {"a": ContainerState("running", changed=True)}, UP)
    assert (done.containers_to_kill, done.containers_to_start) == ((Kill("a"),), (0,))


@pytest.mark.parametrize(
    ("policy", "attempt", "states", "create", "starts"),
    [
        ("Always", 0, {"a": exited(0), "b": exited(1)}, True, (0, 1)),
        ("OnFailure", 0, {"a": exited(0), "b": exited(1)}, True, (1,)),
        ("OnFailure", 0, {"a": exited(0), "b": exited(0)}, False, ()),
        ("Never", 0, {"a": exited(0), "b": exited(1)}, False, ()),
        ("Never", 0, {}, True, (0, 1)),  # nothing ever ran: the sandbox is tried again
    ],
)
def test_a_lost_sandbox_is_made_again_for_what_is_still_to_run(
    policy, attempt, states, create, starts
):
    done = actions(rules("ab", policy=policy), states, [Sandbox(ready=False, attempt=attempt)])
    assert (done.kill_pod, done.create_sandbox, done.attempt) == (True, create, attempt + 1)
    assert done.containers_to_start == starts


def test_the_first_sandbox_is_made_whatever_there_was():
    done = actions(rules(policy="Never"), {"a": exited(1)}, [])
    assert (done.create_sandbox, done.attempt, done.containers_to_start) == (True, 0, (0,))


def test_a_new_sandbox_begins_with_the_first_init_container():
    done = actions(rules(init="ij"), {"i": exited(0), "j": exited(0), "a": exited(1)}, [])
    assert (done.init_to_start, done.containers_to_start) == ((0,), ())


def test_all_containers_start_anew_the_last_one_stopped_first():
    done = actions(rules("ab", init="iS"), {n: RUNNING for n in "isab"}, UP, restart_all=True)
    assert done.containers_to_reset == ("b", "a", "s", "i")
    assert not done.kill_pod


def test_an_ephemeral_container_is_started_once():
    done = actions(rules(), {"a": RUNNING, "d": exited(0)}, UP, ephemeral=["d", "e"])
    assert done.ephemeral_to_start == (1,)


@given(LIVES)
def test_a_sync_starts_nothing_that_runs_without_killing_it_first(life):
    found, states = life
    done = actions(found, states, UP)
    killed = {kill.name for kill in done.containers_to_kill}
    for name in start_of(found, states):
        assert name in killed or states.get(name, NEW).state != "running"


@given(LIVES)
def test_the_first_regular_container_starts_only_when_the_last_init_container_is_done(life):
    found, states = life
    assume(found.spec.init_containers)
    known = [states.get(c.name, NEW).state for c in found.spec.containers]
    if actions(found, states, UP).containers_to_start and not {"created", "running"} & set(known):
        last = found.spec.init_containers[-1]
        done = (RUNNING, STARTING) if last.sidecar else (exited(0), backing_off(0))
        assert states[last.name] in done


@given(LIVES)
def test_without_own_policies_a_sync_decides_as_before_1_35(life):
    found, states = life
    assert actions(found, states, UP) == actions(PodRules(found.spec, V1_35), states, UP)


# Resizes

GB = 1 << 30


@pytest.mark.parametrize(
    ("wanted", "actuated", "cpu", "memory"),
    [
        (Given(100, 200, GB, GB), Given(100, 200, GB, GB), 0, 0),
        (Given(100, 300, GB, GB), Given(100, 200, GB, GB), 100, 0),  # by its limit
        (Given(150, 200, GB, GB), Given(100, 200, GB, GB), 50, 0),  # else by its request
        (Given(100, 100, GB, GB), Given(150, 200, GB, GB), -100, 0),
        (Given(100, 200, GB, 2 * GB), Given(100, 200, GB, GB), 0, GB),
        (Given(2, 10, 0, 0), Given(1, 5, 0, 0), 0, 0),  # the same cgroup values
        (Given(3, 11, 0, 0), Given(1, 5, 0, 0), 6, 0),
    ],
)
def test_a_resize_is_told_by_limits_first(wanted, actuated, cpu, memory):
    found = difference(wanted, actuated, {})
    assert (found.cpu_growth, found.memory_growth, found.restarts) == (cpu, memory, False)


def test_a_resize_restarts_only_for_the_resource_whose_policy_says_so():
    policy = {"memory": "RestartContainer"}
    assert not difference(Given(cpu_limit_m=300), Given(cpu_limit_m=200), policy).restarts
    assert difference(Given(memory_limit_b=GB), Given(memory_limit_b=2 * GB), policy).restarts


def test_what_shrinks_is_written_first_the_last_one_named_ahead():
    growths = [("a", 5), ("b", -1), ("c", 0), ("d", -2), ("e", 7)]
    assert update_order(growths) == ("d", "b", "a", "e")


def test_resources_count_as_applied_when_nothing_is_known_of_them():
    found = rules(limits={"cpu": 100})
    assert actions(found, {"a": RUNNING}, UP).cpu_updates == ()
    assert actions(found, {"a": RUNNING}, UP, actuated=Actuated()).cpu_updates == ("a",)


@pytest.mark.parametrize(("gates", "changes"), [(V1_34, False), (V1_35, False), (V1_36, True)])
def test_pods_themselves_are_resized_from_1_36_on(gates, changes):
    spec = PodSpec((Container("a"),), pod_limits={"cpu": 100})
    done = actions(PodRules(spec, gates), {"a": RUNNING}, UP, actuated=Actuated())
    assert done.update_pod_level_resources is changes
    assert (done.cpu_updates == ("a",)) is changes  # without a limit of its own it has the pod's


def test_a_pod_is_not_resized_that_asks_for_nothing_itself_or_whose_resources_count_as_applied():
    asks = PodRules(PodSpec((Container("a"),), pod_limits={"cpu": 100}), V1_36)
    done = actions(asks, {"a": RUNNING}, UP)
    assert not done.update_pod_level_resources
    given_before = Actuated(pod=Given(cpu_limit_m=100))
    done = actions(rules(gates=V1_36), {"a": RUNNING}, UP, actuated=given_before)
    assert not done.update_pod_level_resources
