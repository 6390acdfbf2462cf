"""What the kubelet makes of a pod's containers: their restarts, the pod's phase and conditions.

Follows pkg/kubelet/kubelet_pods.go (getPhase), container/helpers.go and status/generate.go with
the behaviour of v1.34; `Gates` says what later versions do otherwise. What a sync does about it is
in podsync.py. Everything here is a question about values: nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sim.podspec import Container, PodSpec, RestartPolicy

State = Literal["waiting", "created", "running", "exited", "unknown"]
Result = Literal["Success", "Failure", "Unknown"]  # what a probe's worker has stored
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class Gates:
    """Feature gates that change what is decided here; the defaults are those of 1.34."""

    container_restart_rules: bool = False  # on from 1.35
    restart_all_containers: bool = False  # on from 1.36
    in_place_resize: bool = True
    in_place_pod_level_resize: bool = False  # on from 1.36


V1_34 = Gates()
V1_35 = Gates(container_restart_rules=True)
V1_36 = Gates(True, True, in_place_pod_level_resize=True)


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What the kubelet knows of a container: its newest instance, and the one before.

    "waiting" without an earlier exit is a container that never had an instance. One that exited and
    waits for its back-off is either "exited" with `backing_off`, or, as the API shows it,
    "waiting" with `last_exit_code`; a sync wants the former, phases understand both.
    """

    state: State = "waiting"
    exit_code: int | None = None  # of the newest instance, when it has exited
    last_exit_code: int | None = None  # of the instance before: its last termination
    backing_off: bool = False
    started: bool = False  # Started: runs, and its startup probe (if any) has passed
    ready: bool = False
    restarts: int = 0
    liveness: Result | None = None  # stored for this instance; None: no probe or no result yet
    startup: Result | None = None
    changed: bool = False  # its specification is no longer the one it was started with
    restarting_all: bool = False  # removed because all containers of the pod start anew

    @property
    def waits(self) -> bool:
        """Whether the API shows it as waiting."""
        return self.state in ("waiting", "created") or self.backing_off

    @property
    def ended_with(self) -> int | None:
        """The exit code that counts for a container that does not run; None: it never ran."""
        return self.exit_code if self.state == "exited" else self.last_exit_code


States = Mapping[str, ContainerState]  # by container name; a name is missing: no status of it


@dataclass(frozen=True, slots=True)
class RestartRule:
    """An entry of restartPolicyRules: what to do on some exit codes (or on all but some)."""

    exit_codes: tuple[int, ...]
    operator: Literal["In", "NotIn"] = "In"
    action: Literal["Restart", "RestartAllContainers"] = "Restart"

    def matches(self, exit_code: int) -> bool:
        """Whether the rule speaks of this exit code."""
        return (exit_code in self.exit_codes) == (self.operator == "In")


@dataclass(frozen=True, slots=True)
class OwnRestart:
    """A container's own restartPolicy; it counts only with the gate ContainerRestartRules."""

    policy: RestartPolicy | None = None
    rules: tuple[RestartRule, ...] = ()


@dataclass(frozen=True)
class PodRules:
    """By what rules a pod's containers live: its specification, and what versions add to it."""

    spec: PodSpec
    gates: Gates = V1_34
    own: Mapping[str, OwnRestart] = field(default_factory=dict)  # by container name

    def policy(self, name: str) -> RestartPolicy:
        """The restart policy of a plain container."""
        own = self._own(name)
        return own.policy if own and own.policy else self.spec.restart_policy

    def restarts(self, name: str, exit_code: int) -> bool:
        """Whether a plain container starts again after this exit."""
        if self.rule(name, exit_code):
            return True
        return restarts(self.policy(name), exit_code)

    def rule(self, name: str, exit_code: int) -> RestartRule | None:
        """The first of the container's own rules that speaks of this exit code."""
        own = self._own(name)
        if own is None:
            return None
        return next((rule for rule in own.rules if rule.matches(exit_code)), None)

    def _own(self, name: str) -> OwnRestart | None:
        return self.own.get(name) if self.gates.container_restart_rules else None


def restarts(policy: RestartPolicy, exit_code: int) -> bool:
    """Whether a restart policy starts a container again that exited with this code."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def should_restart(
    rules: PodRules, name: str, state: ContainerState | None, *, deleting: bool = False
) -> bool:
    """Whether a sync starts this regular container (container/helpers.go).

    `state` is None, or "waiting" without an earlier exit, when it never had an instance.
    """
    if deleting:
        return False
    if state is None or state.state == "running":
        return state is None
    code = state.ended_with
    if state.state in ("created", "unknown") or code is None:
        return True
    return rules.restarts(name, code)


def restarts_all(rules: PodRules, states: States) -> bool:
    """Whether an exited container's rule asks that all containers of the pod start anew."""
    if not rules.gates.restart_all_containers:
        return False
    for name, state in states.items():
        rule = rules.rule(name, state.exit_code) if state.exit_code is not None else None
        if state.state == "exited" and rule and rule.action == "RestartAllContainers":
            return True
    return False


def is_ready(
    container: Container, state: ContainerState, readiness: Result | None, *, plain_init: bool
) -> bool:
    """The Ready flag of a container's status (prober manager UpdatePodStatus).

    A plain init container is ready when it has exited with 0; any other one when it runs, is
    Started and has no readiness probe or a Success stored for this very instance.
    """
    if plain_init:
        return state.state == "exited" and state.exit_code == 0
    if state.state != "running" or not state.started:
        return False
    return container.readiness is None or readiness == "Success"


# Phase


@dataclass(slots=True)
class _Count:
    pending: int = 0  # init containers and sidecars that have not done their part
    pending_sidecars: int = 0
    running: int = 0
    waiting: int = 0
    stopped: int = 0
    succeeded: int = 0
    unknown: int = 0


def phase(
    rules: PodRules,
    states: States,
    *,
    is_terminal: bool = False,
    initialized: bool = False,
    static: bool = False,
) -> Phase:
    """The phase that container states add up to (kubelet_pods.go getPhase).

    `is_terminal`: the kubelet has decided that nothing of the pod will run again. `initialized`:
    a regular container of the current sandbox has been started (see `any_regular_started`).
    """
    count = _Count()
    for container in rules.spec.init_containers:
        state = states.get(container.name)
        if container.sidecar:
            _count_sidecar(count, state)
        elif _failed_for_good(rules, container.name, state):
            return "Failed"
        elif _is_pending(state) or (state and state.waits and state.restarting_all):
            count.pending += 1
    for container in rules.spec.containers:
        _count_regular(count, states.get(container.name))
    if count.pending or (count.pending_sidecars and not initialized) or count.waiting:
        return "Pending"
    if count.unknown:
        return "Pending"
    if count.running:
        return "Running"
    if not count.stopped:
        return "Pending"
    return _ended(rules, states, count, is_terminal=is_terminal and not static)


def kept_phase(computed: Phase, *before: Phase | None) -> Phase:
    """The phase to report: one before (in the API, in the kubelet's cache) that is final wins."""
    return next((p for p in before if p in ("Succeeded", "Failed")), computed)


def past_deadline(started_ms: int | None, now_ms: int, deadline_ms: int | None) -> bool:
    """Whether activeDeadlineSeconds is over: such a pod is Failed, reason DeadlineExceeded.

    `started_ms` is its status' startTime, when the kubelet first saw it (active_deadline.go).
    """
    if started_ms is None or deadline_ms is None:
        return False
    return now_ms - started_ms >= deadline_ms


def any_regular_started(spec: PodSpec, states: States) -> bool:
    """Whether some regular container runs or has run (container/helpers.go)."""
    found = (states.get(container.name) for container in spec.containers)
    return any(state is not None and state.state in ("running", "exited") for state in found)


def _failed_for_good(rules: PodRules, name: str, state: ContainerState | None) -> bool:
    if state is None or state.state in ("running", "unknown") or state.restarting_all:
        return False
    code = state.ended_with
    return code is not None and code != 0 and not rules.restarts(name, code)


def _is_pending(state: ContainerState | None) -> bool:
    """No instance of a plain init container is known to have ended."""
    if state is None or state.state in ("running", "unknown"):
        return True
    return state.waits and state.ended_with is None


def _count_sidecar(count: _Count, state: ContainerState | None) -> None:
    if state is None or state.state == "unknown":
        count.unknown += 1
    elif state.state == "running":
        count.running += 1
        count.pending_sidecars += not state.started
    elif state.waits and state.ended_with is None:
        count.pending_sidecars += 1
        count.waiting += 1


def _count_regular(count: _Count, state: ContainerState | None) -> None:
    if state is None or state.state == "unknown":
        count.unknown += 1
    elif state.state == "running":
        count.running += 1
    elif state.ended_with is None:
        count.waiting += 1
    else:
        count.stopped += 1
        count.succeeded += not state.waits and state.exit_code == 0


def _ended(rules: PodRules, states: States, count: _Count, *, is_terminal: bool) -> Phase:
    """The phase of a pod of which no container runs."""
    done: Phase = "Succeeded" if count.stopped == count.succeeded else "Failed"
    if is_terminal:
        return done
    if rules.gates.container_restart_rules:
        return "Running" if _any_restarts(rules, states) else done
    policy = rules.spec.restart_policy
    if policy == "Always" or (policy == "OnFailure" and done == "Failed"):
        return "Running"
    return done


def _any_restarts(rules: PodRules, states: States) -> bool:
    found = ((c.name, states.get(c.name)) for c in rules.spec.containers)
    return any(
        state.restarting_all or rules.restarts(name, code)
        for name, state in found
        if state is not None and (code := state.ended_with) is not None
    )


# Conditions


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's sandbox: its namespaces and its network."""

    ready: bool = True
    attempt: int = 0
    has_ip: bool = True
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: bool
    reason: str = ""


def conditions(
    spec: PodSpec,
    states: States | None,
    pod_phase: Phase,
    sandboxes: Sequence[Sandbox],
    gates: Mapping[str, bool] | None = None,
) -> dict[str, Condition]:
    """All conditions that the kubelet works out, by type (status/generate.go).

    `gates` are the pod's readiness gates with the value of their conditions. PodScheduled is True
    for every pod that a kubelet sees, and left out.
    """
    found = (
        ready_to_start(spec, sandboxes),
        pod_initialized(spec, states, pod_phase),
        containers_ready(spec, states, pod_phase),
        pod_ready(spec, states, pod_phase, gates or {}),
    )
    return {condition.type: condition for condition in found}


def ready_to_start(spec: PodSpec, sandboxes: Sequence[Sandbox]) -> Condition:
    """PodReadyToStartContainers: the newest sandbox is as the pod needs it."""
    return Condition("PodReadyToStartContainers", not sandbox_changed(spec, sandboxes)[0])


def containers_ready(spec: PodSpec, states: States | None, pod_phase: Phase) -> Condition:
    """ContainersReady: every regular container and every sidecar is ready."""
    name = "ContainersReady"
    if states is None:
        return Condition(name, False, "UnknownContainerStatuses")
    sidecars = (c for c in spec.init_containers if c.sidecar)
    lasting = [c.name for c in (*spec.containers, *sidecars)]
    if pod_phase == "Succeeded" and all(c in states for c in lasting):
        return Condition(name, False, "PodCompleted")
    if pod_phase == "Failed":
        return Condition(name, False, "PodFailed")
    if all(c in states and states[c].ready for c in lasting):
        return Condition(name, True)
    return Condition(name, False, "ContainersNotReady")


def pod_ready(
    spec: PodSpec, states: States | None, pod_phase: Phase, gates: Mapping[str, bool]
) -> Condition:
    """Ready: ContainersReady, and the condition of every readiness gate is True."""
    containers = containers_ready(spec, states, pod_phase)
    if not containers.status:
        return replace(containers, type="Ready")
    if not all(gates.values()):
        return Condition("Ready", False, "ReadinessGatesNotReady")
    return Condition("Ready", True)


def pod_initialized(spec: PodSpec, states: States | None, pod_phase: Phase) -> Condition:
    """Initialized: plain init containers have exited with 0, sidecars are started.

    True for good as soon as a regular container has been started.
    """
    name = "Initialized"
    if not spec.init_containers:
        return Condition(name, True, "PodCompleted" if pod_phase == "Succeeded" else "")
    if states is None:
        return Condition(name, False, "UnknownContainerStatuses")
    if pod_phase == "Succeeded" and all(c.name in states for c in spec.init_containers):
        return Condition(name, True, "PodCompleted")
    if any_regular_started(spec, states):
        return Condition(name, True)
    if all(_is_initialized(c, states.get(c.name)) for c in spec.init_containers):
        return Condition(name, True)
    return Condition(name, False, "ContainersNotInitialized")


def _is_initialized(container: Container, state: ContainerState | None) -> bool:
    return state is not None and (state.started if container.sidecar else state.ready)


def sandbox_changed(spec: PodSpec, sandboxes: Sequence[Sandbox]) -> tuple[bool, int]:
    """Whether the pod needs a new sandbox, and the attempt number (PodSandboxChanged).

    `sandboxes` are those that exist, newest first.
    """
    if not sandboxes:
        return True, 0
    newest = sandboxes[0]
    usable = (
        newest.ready
        and sum(sandbox.ready for sandbox in sandboxes) == 1
        and newest.host_network == spec.host_network
        and (newest.has_ip or spec.host_network)
    )
    return (False, newest.attempt) if usable else (True, newest.attempt + 1)
