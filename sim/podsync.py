"""What one sync of a pod does: sandbox, kills and starts, as a value.

Follows computePodActions and computeInitContainerActions (pkg/kubelet/kuberuntime, the behaviour of
v1.34; `Gates` for later versions). A sync looks at the newest record of each container and answers
with `Actions`; who runs containers carries them out in the order kills, sandbox, starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sim.podstate import (
    ContainerState,
    PodRules,
    Sandbox,
    State,
    States,
    sandbox_changed,
    should_restart,
)
from sim.resize import Difference, Given, difference, update_order, wanted_of

if TYPE_CHECKING:
    from sim.podspec import Container
    from sim.resize import ResizePolicy
    from sim.termination import KillReason

UNKNOWN_EXIT = 137  # of a container that the runtime has lost


@dataclass(frozen=True, slots=True)
class Kill:
    """A container to kill; the reason decides about its grace (termination.container_grace_ms)."""

    name: str
    reason: KillReason = ""


@dataclass(frozen=True, slots=True)
class Actions:
    """What a sync decides; starts are places in the specification's lists, in order of starting."""

    kill_pod: bool = False  # everything of the pod: before a new sandbox, or for good
    create_sandbox: bool = False
    attempt: int = 0  # of the sandbox
    init_to_start: tuple[int, ...] = ()
    containers_to_start: tuple[int, ...] = ()
    ephemeral_to_start: tuple[int, ...] = ()
    containers_to_kill: tuple[Kill, ...] = ()
    containers_to_reset: tuple[str, ...] = ()  # to kill with no grace and remove, in this order
    cpu_updates: tuple[str, ...] = ()  # containers whose cgroups to write, in this order
    memory_updates: tuple[str, ...] = ()
    update_pod_resources: bool = False  # the sums of the pod's cgroup
    update_pod_level_resources: bool = False  # what the pod itself asks for


@dataclass(frozen=True, slots=True)
class Actuated:
    """The resources last applied to a pod; a container that is missing had none."""

    containers: Mapping[str, Given] = field(default_factory=dict)
    pod: Given = field(default_factory=Given)
    policies: Mapping[str, ResizePolicy] = field(default_factory=dict)


class _Draft:
    """Actions in the making."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.over = False  # the pod is to be killed for good
        self.init: list[int] = []
        self.regular: list[int] = []
        self.ephemeral: tuple[int, ...] = ()
        self.kills: list[Kill] = []
        self.resizes: list[tuple[str, Difference]] = []
        self.pod_level_changed = False

    def actions(self) -> Actions:
        """The finished value."""
        found = Actions(
            kill_pod=self.over,
            attempt=self.attempt,
            init_to_start=tuple(self.init),
            containers_to_start=tuple(self.regular),
            ephemeral_to_start=self.ephemeral,
            containers_to_kill=tuple(self.kills),
            update_pod_level_resources=self.pod_level_changed,
        )
        return self._with_updates(found) if self.resizes else found

    def _with_updates(self, found: Actions) -> Actions:
        updates = [(name, one) for name, one in self.resizes if not one.restarts]
        return replace(
            found,
            cpu_updates=update_order((name, one.cpu_growth) for name, one in updates),
            memory_updates=update_order((name, one.memory_growth) for name, one in updates),
            update_pod_resources=any(one.restarts for _, one in self.resizes),
        )


def actions(
    rules: PodRules,
    states: States,
    sandboxes: Sequence[Sandbox],
    *,
    deleting: bool = False,
    restart_all: bool = False,
    ephemeral: Sequence[str] = (),
    actuated: Actuated | None = None,
) -> Actions:
    """What a sync does about a pod (computePodActions).

    `states` has one entry per container with a record in the runtime; one that is missing, or
    waits without any exit, has none. `sandboxes` are those that exist, newest first. `restart_all`:
    a container's rule has asked that all start anew and it is not done yet. Without `actuated`
    resources count as applied.
    """
    states = {name: found for name, state in states.items() if (found := _record(state))}
    create, attempt = sandbox_changed(rules.spec, sandboxes)
    if create:
        return _new_sandbox(rules, states, attempt)
    if restart_all:
        return Actions(attempt=attempt, containers_to_reset=_reset_order(rules, states))
    draft = _Draft(attempt)
    draft.ephemeral = tuple(i for i, name in enumerate(ephemeral) if name not in states)
    if _init(rules, states, draft, actuated):
        _regular(rules, states, draft, actuated, deleting=deleting)
    draft.pod_level_changed = _pod_level_changed(rules, actuated)
    return draft.actions()


def _record(state: ContainerState) -> ContainerState | None:
    """The container as the runtime knows it: what waits after an exit has exited."""
    if state.state != "waiting":
        return state
    if state.last_exit_code is None:
        return None
    return replace(state, state="exited", exit_code=state.last_exit_code)


# A new sandbox


def _new_sandbox(rules: PodRules, states: States, attempt: int) -> Actions:
    """Everything is killed; what starts in the new sandbox, if there is to be one."""
    spec = rules.spec
    over = Actions(kill_pod=True, attempt=attempt)
    if spec.restart_policy == "Never" and attempt > 0 and states:
        return over
    starts = tuple(
        place
        for place, container in enumerate(spec.containers)
        if spec.restart_policy != "OnFailure" or not _succeeded(states.get(container.name))
    )
    if not starts and _any_regular(rules, states, "created", "running", "exited"):
        return over
    again = replace(over, create_sandbox=True)
    if spec.init_containers:
        return replace(again, init_to_start=(0,))
    return replace(again, containers_to_start=starts)


def _succeeded(state: ContainerState | None) -> bool:
    return state is not None and state.state == "exited" and state.exit_code == 0


def _any_regular(rules: PodRules, states: States, *kinds: State) -> bool:
    found = (states.get(container.name) for container in rules.spec.containers)
    return any(state is not None and state.state in kinds for state in found)


def _reset_order(rules: PodRules, states: States) -> tuple[str, ...]:
    """All containers with a record, the last started first."""
    names = [c.name for c in (*rules.spec.init_containers, *rules.spec.containers)]
    return tuple(name for name in reversed(names) if name in states)


# Init containers


def _init(rules: PodRules, states: States, draft: _Draft, actuated: Actuated | None) -> bool:
    """What init containers need; whether regular ones are to be looked at.

    From the last to the first: the first one with a record decides what comes next, those before
    it are done and only sidecars among them are kept running.
    """
    containers = rules.spec.init_containers
    initialized = not containers or _any_regular(rules, states, "created", "running")
    passed = initialized
    for place in reversed(range(len(containers))):
        container = containers[place]
        state = states.get(container.name)
        if state is None:
            if passed and container.sidecar:
                draft.init.append(place)
            continue
        if container.sidecar:
            done = _sidecar(rules, draft, place, state, actuated)
        else:
            done = not passed and _plain_init(rules, draft, place, state)
        if draft.over:
            draft.init.clear()
            return False
        if done and place == len(containers) - 1:
            initialized = True
        elif done and not passed:
            draft.init.append(place + 1)
        passed = True
    if not passed:
        draft.init.append(0)
    draft.init.sort()
    return initialized


def _plain_init(rules: PodRules, draft: _Draft, place: int, state: ContainerState) -> bool:
    """What becomes of the newest plain init container; whether it has done its part."""
    name = rules.spec.init_containers[place].name
    if state.state == "running" or _succeeded(state):
        return state.state == "exited"
    if state.state == "created":
        draft.init.append(place)
    elif not rules.restarts(name, _failure(state)):
        draft.over = True
    else:
        draft.init.append(place)
        if state.state == "unknown":
            draft.kills.append(Kill(name, "Unknown"))
    return False


def _failure(state: ContainerState) -> int:
    return state.exit_code if state.exit_code else UNKNOWN_EXIT


def _sidecar(
    rules: PodRules, draft: _Draft, place: int, state: ContainerState, actuated: Actuated | None
) -> bool:
    """Keep a sidecar running; whether the next init container may start."""
    container = rules.spec.init_containers[place]
    if state.state != "running":
        if state.state == "unknown":
            draft.kills.append(Kill(container.name, "Unknown"))
        draft.init.append(place)
        return False
    if container.startup is not None and state.startup != "Success":
        if state.startup == "Failure":
            draft.kills.append(Kill(container.name, "StartupProbe"))
            draft.init.append(place)
        return False
    reason: KillReason = "" if state.changed else "LivenessProbe"
    if state.changed or (container.liveness is not None and state.liveness == "Failure"):
        draft.kills.append(Kill(container.name, reason))
        draft.init.append(place)
    elif _resize_restarts(rules, draft, container, actuated):
        draft.init.append(place)
    return True


# Regular containers


def _regular(
    rules: PodRules, states: States, draft: _Draft, actuated: Actuated | None, *, deleting: bool
) -> None:
    kept = 0
    for place, container in enumerate(rules.spec.containers):
        state = states.get(container.name)
        if state is None or state.state != "running":
            if should_restart(rules, container.name, state, deleting=deleting):
                draft.regular.append(place)
                if state is not None and state.state == "unknown":
                    draft.kills.append(Kill(container.name, "Unknown"))
        elif kill := _kill_running(container.name, state):
            draft.kills.append(kill)
            if state.changed or rules.policy(container.name) != "Never":
                draft.regular.append(place)
        elif _resize_restarts(rules, draft, container, actuated):
            draft.regular.append(place)
        else:
            kept += 1
    if not kept and not draft.regular:  # sidecars do not keep a pod alive
        draft.over = True
        draft.init.clear()


def _kill_running(name: str, state: ContainerState) -> Kill | None:
    if state.changed:
        return Kill(name)
    if state.liveness == "Failure":
        return Kill(name, "LivenessProbe")
    return Kill(name, "StartupProbe") if state.startup == "Failure" else None


# In-place resize


def _resize_restarts(
    rules: PodRules, draft: _Draft, container: Container, actuated: Actuated | None
) -> bool:
    """Note the resources of a running container that are to change; whether it restarts for it."""
    if actuated is None or not rules.gates.in_place_resize:
        return False
    wanted = wanted_of(rules.spec, container, pod_level=rules.gates.in_place_pod_level_resize)
    given = actuated.containers.get(container.name, Given())
    found = difference(wanted, given, actuated.policies.get(container.name, {}))
    draft.resizes.append((container.name, found))
    if found.restarts:
        draft.kills.append(Kill(container.name))
    return found.restarts


def _pod_level_changed(rules: PodRules, actuated: Actuated | None) -> bool:
    spec = rules.spec
    if actuated is None or not rules.gates.in_place_pod_level_resize:
        return False
    if not spec.pod_requests and not spec.pod_limits:
        return False
    return Given.of(spec.pod_requests, spec.pod_limits) != actuated.pod
