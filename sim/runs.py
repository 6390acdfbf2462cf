"""The containers of one pod on its node: what each does, and what its kubelet knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.podstate import ContainerState, States
from sim.recorder import Reason

if TYPE_CHECKING:
    from sim.backoff import BackoffEntry
    from sim.podstate import PodRules, Result, State
    from sim.podtimes import ContainerPlan, Plan
    from sim.probes import ContainerProbes
    from sim.termination import Stopping

CREATING = "ContainerCreating"
INITIALIZING = "PodInitializing"
CRASH_LOOP = "CrashLoopBackOff"


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container as kubectl describe shows it: `state` is waiting, running or terminated."""

    name: str
    state: str
    ready: bool = False
    exit_code: int | None = None  # of the newest instance that has ended
    reason: str = ""  # ContainerCreating, CrashLoopBackOff, Completed, Error, OOMKilled ...


class Run:
    """One container of a pod that is on a node."""

    __slots__ = (
        "answers",
        "asked_to_kill",
        "backing_off",
        "code",
        "entry",
        "exited_ms",
        "finished_ms",
        "fresh",
        "killing",
        "known",
        "life",
        "oom_killed",
        "plan",
        "probes",
        "probing_ms",
        "restarts",
        "running",
        "seen",
        "started_ms",
        "stop_ms",
        "stopping",
        "term_ms",
        "visible_ms",
    )

    def __init__(self, plan: ContainerPlan) -> None:
        self.plan = plan
        self.running = False
        self.known: State = "waiting"  # as the kubelet's syncs take it to be
        self.seen = False  # the kubelet sees it running
        self.fresh = False  # it has started, and the kubelet has not seen it since
        self.answers = False  # its application is up
        self.killing = False  # it has been sent TERM because of a probe
        self.asked_to_kill: Reason | None = None  # by a probe; the next sync does it
        self.life = 0  # moves on with each start and exit: earlier events are void
        self.restarts = 0
        self.code: int | None = None  # exit code of the newest instance that has ended
        self.oom_killed = False  # which was killed for memory
        self.started_ms = self.visible_ms = self.exited_ms = 0
        self.finished_ms: int | None = None  # when the newest instance seen stopped had ended
        self.entry: BackoffEntry | None = None
        self.backing_off = False  # it waits for the end of its back-off
        self.probes: ContainerProbes | None = None
        self.probing_ms: int | None = None  # when the next event of its probes is due
        self.stopping: Stopping | None = None  # it has to end with its pod, in this time
        self.term_ms: int | None = None  # when it is told to
        self.stop_ms: int | None = None  # when it will have ended

    @property
    def needs_sync(self) -> bool:
        """Whether a sync of an initialized pod may have something to do about it."""
        if self.asked_to_kill:
            return True
        return self.known != "running" and not self.plan.plain_init

    @property
    def started(self) -> bool:
        """The Started flag of its status."""
        return self.probes.is_started if self.probes else self.seen

    @property
    def ready(self) -> bool:
        """The Ready flag of its status."""
        if self.plan.plain_init:
            return self.known == "exited" and self.code == 0
        return self.probes.is_ready if self.probes else self.seen

    @property
    def facts(self) -> ContainerState:
        """What a sync knows of it."""
        startup: Result | None = None
        if self.plan.spec.startup is not None and self.known == "running":
            startup = "Success" if self.started else "Unknown"
            if self.asked_to_kill is Reason.KILLING_STARTUP:
                startup = "Failure"
        unhealthy = self.asked_to_kill is Reason.KILLING_LIVENESS
        return ContainerState(
            self.known,
            exit_code=self.code if self.known == "exited" else None,
            last_exit_code=self.code,
            backing_off=self.backing_off,
            started=self.started,
            ready=self.ready,
            restarts=self.restarts,
            liveness="Failure" if unhealthy else None,
            startup=startup,
        )

    def status(self, waits_for: str) -> ContainerStatus:
        """How the container is at this moment; `waits_for`: what one waits for that never ran."""
        name = self.plan.spec.name
        if self.running:
            return ContainerStatus(name, "running", self.ready, self.code)
        if self.backing_off:
            return ContainerStatus(name, "waiting", self.ready, self.code, CRASH_LOOP)
        if self.code is None:
            return ContainerStatus(name, "waiting", self.ready, None, waits_for)
        reason = end_reason(self.code, oom_killed=self.oom_killed)
        return ContainerStatus(name, "terminated", self.ready, self.code, reason)


class Runs:
    """The containers of one pod on its node; `over` once the node or the pod is gone."""

    __slots__ = (
        "all",
        "busy",
        "completing",
        "first_sync",
        "initialized",
        "look",
        "over",
        "phase_running",
        "plan",
        "pod",
        "pull",
        "rules",
        "serial",
        "stop_from_ms",
        "stop_grace_ms",
        "sync_again",
        "terminating",
        "to_kill",
        "to_start",
    )

    def __init__(self, pod: int, plan: Plan, rules: PodRules, serial: int) -> None:
        self.pod = pod
        self.plan = plan
        self.rules = rules
        self.serial = serial  # of the pod among those of its owner
        self.all = [Run(container) for container in plan.containers]
        self.pull = True  # images have to be pulled before the first start
        self.over = False
        self.first_sync = True  # the one that has made the sandbox goes on
        self.initialized = False  # regular containers have been started in this sandbox
        self.phase_running = False
        self.busy = False  # the pod's worker kills, pulls or runs a hook
        self.sync_again = False  # something has happened meanwhile
        self.to_kill: list[Run] = []  # by the sync at work
        self.to_start: list[Run] = []
        self.look = 0  # moves on with each look that is planned
        self.terminating = False  # all containers shall end
        self.completing = False  # because the regular ones have
        self.stop_from_ms = self.stop_grace_ms = 0  # when its containers were told to end

    def __iter__(self) -> Iterator[Run]:
        return iter(self.all)

    @property
    def regular(self) -> list[Run]:
        """All but init containers and sidecars."""
        return [run for run in self.all if not run.plan.init]

    @property
    def running(self) -> list[Run]:
        """Those that run."""
        return [run for run in self.all if run.running]

    @property
    def ready(self) -> bool:
        """ContainersReady: every regular container and every sidecar."""
        return all(run.ready for run in self.all if not run.plan.plain_init)

    @property
    def states(self) -> States:
        """What a sync knows of the containers."""
        return {run.plan.spec.name: run.facts for run in self.all}

    @property
    def statuses(self) -> tuple[ContainerStatus, ...]:
        """How the containers are at this moment."""
        waits_for = INITIALIZING if self.plan.has_init else CREATING
        return tuple(run.status(waits_for) for run in self.all)


def end_reason(code: int, *, oom_killed: bool = False) -> str:
    """The reason of a terminated container (pkg/kubelet/kuberuntime, the CRI's words)."""
    if oom_killed:
        return "OOMKilled"
    return "Completed" if code == 0 else "Error"
