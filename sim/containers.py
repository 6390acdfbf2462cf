"""The containers of pods that need more than one start and one end: probes, exits, restarts.

Follows pkg/kubelet/kuberuntime/kuberuntime_manager.go (v1.36.2; the rules are those of 1.34). What
a pod's containers do is known here at once; what the kubelet sees of it, one relist later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sim.backoff import Backoff, BackoffEntry
from sim.clock import Lane
from sim.pressure import claim
from sim.probes import FAILING, FAILS, ContainerProbes, Premise, failure_chance
from sim.recorder import Of, Reason

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import Probe
    from sim.podtimes import ContainerPlan, Plan
    from sim.pressure import Pressure
    from sim.probes import Change

TERMINATED = 143  # by TERM
KILLED = 137  # by KILL, as an OOM kill is
NEGLIGIBLE_CHANCE = 1e-9  # a probe that fails more seldom never fails


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container as tests see it."""

    name: str
    state: str  # waiting, running or terminated
    ready: bool = False
    exit_code: int | None = None


class Run:
    """One container of a pod that is on a node."""

    __slots__ = (
        "answers",
        "code",
        "entry",
        "exited_ms",
        "finished_ms",
        "killing",
        "life",
        "plan",
        "probes",
        "probing_ms",
        "running",
        "seen",
        "started_ms",
        "visible_ms",
    )

    def __init__(self, plan: ContainerPlan) -> None:
        self.plan = plan
        self.running = False
        self.seen = False  # the kubelet sees it running
        self.answers = False  # its application is up
        self.killing = False  # it has been sent TERM because of a probe
        self.life = 0  # moves on with each start and exit: earlier events are void
        self.code: int | None = None  # exit code of the newest instance that has ended
        self.started_ms = self.visible_ms = self.exited_ms = 0
        self.finished_ms: int | None = None  # when the newest instance seen stopped had ended
        self.entry: BackoffEntry | None = None
        self.probes: ContainerProbes | None = None
        self.probing_ms: int | None = None  # when the next event of its probes is due

    @property
    def ready(self) -> bool:
        """The Ready flag of its status."""
        return self.probes.is_ready if self.probes else self.seen

    @property
    def status(self) -> ContainerStatus:
        """How the container is at this moment."""
        state = "running" if self.running else "waiting" if self.code is None else "terminated"
        return ContainerStatus(self.plan.spec.name, state, self.ready, self.code)


class Runs:
    """The containers of one pod on its node; `over` once the node or the pod is gone."""

    __slots__ = ("all", "over", "plan", "pod", "terminating")

    def __init__(self, pod: int, plan: Plan) -> None:
        self.pod = pod
        self.plan = plan
        self.all = [Run(container) for container in plan.containers]
        self.over = False
        self.terminating = False

    def __iter__(self) -> Iterator[Run]:
        return iter(self.all)

    @property
    def regular(self) -> list[Run]:
        """All but the sidecars."""
        return [run for run in self.all if not run.plan.spec.sidecar]

    @property
    def running(self) -> list[Run]:
        """Those that run."""
        return [run for run in self.all if run.running]

    @property
    def ready(self) -> bool:
        """ContainersReady: every one of them."""
        return all(run.ready for run in self.all)


class Kubelets(Protocol):
    """What containers need to know of, and to tell, the kubelet of their pod's node."""

    def relist_ms(self, pod: int, from_ms: int) -> int:
        """The first time from `from_ms` on at which the kubelet looks at what runs."""
        ...

    def look_ms(self, pod: int, until_ms: int) -> int:
        """When a worker that waits until `until_ms` looks again."""
        ...

    def publish(self, pod: int, ready: bool) -> None:
        """The pod's Ready condition is this."""
        ...

    def ended(self, pod: int, exit_code: int) -> None:
        """All containers have ended for good."""
        ...

    def stopped(self, pod: int) -> None:
        """All containers of a pod that is being deleted have ended."""
        ...


class Containers:
    """All pods with more than one start and one end."""

    def __init__(
        self,
        cluster: Cluster,
        kubelets: Kubelets,
        pressure: Pressure,
        backoff: Backoff,
    ) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._kubelets = kubelets
        self._pressure = pressure
        self._backoff = backoff

    def new(self, pod: int, plan: Plan, seen_ms: int, kubelet_age_ms: int | None) -> Runs:
        """The containers of a pod that its kubelet first synced at `seen_ms`; nothing runs yet."""
        runs = Runs(pod, plan)
        for run in runs:
            if run.plan.probed:
                run.probes = ContainerProbes(
                    run.plan.spec, seen_ms, plan.probe_draw, kubelet_age_ms=kubelet_age_ms
                )
        return runs

    def adopt(self, pod: int, plan: Plan, *, terminating: bool) -> Runs:
        """The containers of a pod that had no state so far, all running."""
        runs = Runs(pod, plan)
        runs.terminating = terminating
        for run in runs:
            run.running = run.seen = True
            run.answers = bool(self._cluster.pods.answers[pod])
        return runs

    # Starts

    def start(self, runs: Runs) -> None:
        """Start all containers of the pod."""
        shared_ms = runs.plan.run.after() if runs.plan.run else None
        for run in runs:
            self._start(runs, run, shared_ms, self._clock.now_ms)
        self._refresh(runs)
        self._advance(runs)

    def _start(self, runs: Runs, run: Run, shared_ms: int | None, seen_ms: int) -> None:
        """An instance starts, and the kubelet sees it at `seen_ms`."""
        now_ms = self._clock.now_ms
        run.life += 1
        run.running = True
        run.killing = False
        run.started_ms, run.visible_ms = now_ms, seen_ms
        startup_ms = run.plan.startup()
        run.answers = startup_ms == 0
        if startup_ms:
            self._clock.after(startup_ms, Lane.EXITS, self._up, runs, run, run.life)
        self._plan_exit(runs, run, shared_ms)
        self._suppose(runs, run)
        if run.probes:
            run.probes.instance_started(now_ms, seen_ms)
        if seen_ms == now_ms:
            run.seen = True
        elif not run.probes:
            self._clock.at(seen_ms, Lane.KUBELET, self._start_seen, runs, run, run.life)

    def _start_seen(self, runs: Runs, run: Run, life: int) -> None:
        """The kubelet's relist shows that a container without probes runs again."""
        if not runs.over and run.life == life:
            run.seen = True
            self._advance(runs, synced=True)

    def _plan_exit(self, runs: Runs, run: Run, shared_ms: int | None) -> None:
        """The first of the ways in which it ends by itself."""
        ends = [(end.after(), end.exit_code) for end in run.plan.ends]
        if shared_ms is not None and run.plan.ends_with_pod and runs.plan.run:
            ends.insert(0, (shared_ms, runs.plan.run.exit_code))
        if ends:
            after_ms, code = min(ends, key=lambda end: end[0])
            self._clock.after(after_ms, Lane.EXITS, self._exit, runs, run, run.life, code)

    def _restart(self, runs: Runs, run: Run) -> None:
        self._cluster.count_restart(runs.pod)
        shared_ms = runs.plan.run.after() if runs.plan.run else None
        seen_ms = self._kubelets.relist_ms(runs.pod, self._clock.now_ms + 1)
        self._start(runs, run, shared_ms, seen_ms)
        self._refresh(runs)
        self._advance(runs, synced=True)

    def _up(self, runs: Runs, run: Run, life: int) -> None:
        """Its application answers from now on."""
        if runs.over or run.life != life:
            return
        run.answers = True
        self._suppose(runs, run)
        self._refresh(runs)
        self._schedule(runs, run)

    # Exits

    def kill(self, runs: Runs, index: int, reason: Reason) -> None:
        """Kill a container for memory."""
        run = runs.all[index]
        if run.running:
            self._cluster.count_oom_kill(runs.pod, reason, run.plan.spec.name)
            self._exit(runs, run, run.life, KILLED)

    def exit(self, runs: Runs, exit_code: int) -> None:
        """The only container of a pod ends by itself."""
        self._exit(runs, runs.all[0], runs.all[0].life, exit_code)

    def _exit(self, runs: Runs, run: Run, life: int, code: int) -> None:
        if runs.over or run.life != life:
            return
        run.life += 1
        run.running = run.answers = False
        run.exited_ms = self._clock.now_ms
        run.code = code
        self._suppose(runs, run)
        self._refresh(runs)
        if runs.terminating:
            self._schedule(runs, run)
            if not runs.running:
                self._kubelets.stopped(runs.pod)
        elif run.killing:
            self._clock.after(0, Lane.KUBELET, self._killed, runs, run, run.life)
        else:
            if run.probes and run.exited_ms < run.visible_ms:  # it will never be seen to run
                run.probes.exited(run.exited_ms)
            self._schedule(runs, run)
            seen_ms = self._kubelets.relist_ms(runs.pod, self._clock.now_ms)
            self._clock.at(seen_ms, Lane.KUBELET, self._exit_seen, runs, run, run.life)

    def _exit_seen(self, runs: Runs, run: Run, life: int) -> None:
        """The kubelet's next relist shows that the container has ended by itself."""
        if runs.over or run.life != life or runs.terminating:
            return
        self._see_stopped(run)
        assert run.code is not None, f"container {run.plan.spec.name} ended without a code"
        if run.plan.spec.sidecar or runs.plan.restarts(run.code):
            self._try_to_start(runs, run, first=True)
        elif not self._over(runs):
            self._advance(runs, synced=True)

    def _killed(self, runs: Runs, run: Run, life: int) -> None:
        """The sync that killed a container goes on; it still sees that instance running.

        So the back-off looks at the end of the instance before, if there is one.
        """
        if runs.over or run.life != life or runs.terminating:
            return
        now_ms, before_ms = self._clock.now_ms, run.finished_ms
        run.finished_ms = now_ms
        if not run.plan.spec.sidecar and runs.plan.policy == "Never":
            self._see_stopped(run)
            if not self._over(runs):
                self._advance(runs, synced=True)
            return
        if before_ms is None:
            self._restart(runs, run)
            return
        run.entry = self._backoff.kept(run.entry, now_ms)
        if self._backoff.may_retry_ms(run.entry, before_ms) <= now_ms:
            run.entry = self._backoff.tried(run.entry, before_ms, now_ms)
            self._restart(runs, run)
            return
        self._see_stopped(run)
        self._advance(runs, synced=True)
        seen_ms = self._kubelets.relist_ms(runs.pod, self._clock.now_ms)
        self._clock.at(seen_ms, Lane.KUBELET, self._look, runs, run, run.life, True)

    def _look(self, runs: Runs, run: Run, life: int, first: bool) -> None:
        """The pod's worker looks whether the back-off is over."""
        if not runs.over and run.life == life and not runs.terminating:
            self._try_to_start(runs, run, first=first)

    def _try_to_start(self, runs: Runs, run: Run, *, first: bool) -> None:
        now_ms = self._clock.now_ms
        assert run.finished_ms is not None, f"container {run.plan.spec.name} has not ended yet"
        run.entry = self._backoff.kept(run.entry, now_ms)
        until_ms = self._backoff.may_retry_ms(run.entry, run.finished_ms)
        if until_ms <= now_ms:
            run.entry = self._backoff.tried(run.entry, run.finished_ms, now_ms)
            self._restart(runs, run)
            return
        if first and run.entry:
            self._record(Reason.BACK_OFF, runs.pod, run.entry.backoff_ms // 1000)
        look_ms = self._kubelets.look_ms(runs.pod, until_ms)
        self._clock.at(look_ms, Lane.KUBELET, self._look, runs, run, run.life, False)
        self._advance(runs, synced=True)

    def _see_stopped(self, run: Run) -> None:
        run.seen = False
        run.finished_ms = run.exited_ms
        if run.probes:
            run.probes.exited(self._clock.now_ms)

    def _over(self, runs: Runs) -> bool:
        """End the pod when all its regular containers have ended for good."""
        regular = runs.regular
        if any(run.seen or run.running or run.code is None for run in regular):
            return False
        codes = [run.code for run in regular if run.code is not None]
        if any(runs.plan.restarts(code) for code in codes):
            return False
        runs.over = True
        self._kubelets.ended(runs.pod, next((code for code in codes if code), 0))
        return True

    # Termination

    def terminate(self, runs: Runs, grace_ms: int) -> None:
        """TERM to all containers: each ends after its shutdown, at the latest after the grace."""
        runs.terminating = True
        for run in runs:
            if run.probes:
                run.probes.pod_deleting(self._clock.now_ms)
            if run.running:
                self._stop_within(runs, run, grace_ms)
        if not runs.running:
            self._kubelets.stopped(runs.pod)
        else:
            self._advance(runs, synced=True)

    def _stop_within(self, runs: Runs, run: Run, grace_ms: int) -> None:
        shutdown_ms = run.plan.shutdown()
        code = KILLED if shutdown_ms > grace_ms else TERMINATED
        after_ms = min(shutdown_ms, grace_ms)
        self._clock.after(after_ms, Lane.EXITS, self._exit, runs, run, run.life, code)

    # Probes

    def affected(self, runs: Runs) -> None:
        """The node answers the pod's probes at another speed from now on."""
        for run in runs:
            self._suppose(runs, run)
            self._schedule(runs, run)

    def _suppose(self, runs: Runs, run: Run) -> None:
        """Tell the probes how well the container is."""
        if run.probes is None:
            return
        premise = FAILING
        if run.answers:
            premise = self._premise(run, self._pressure.slowdown(runs.pod))
        run.probes.set_premise(self._clock.now_ms, premise)

    def _premise(self, run: Run, slowdown: float) -> Premise:
        spec, probes = run.plan.spec, run.plan.probes
        answer_ms = probes.latency_ms * slowdown if probes.latency_ms else 0.0
        return Premise(
            _chance(answer_ms, spec.startup, probes.startup_failure_rate),
            _chance(answer_ms, spec.liveness, probes.liveness_failure_rate),
            _chance(answer_ms, spec.readiness, probes.readiness_failure_rate),
        )

    def _schedule(self, runs: Runs, run: Run) -> None:
        """An event at the next change of what its probes say."""
        change = run.probes.next_change() if run.probes else None
        due_ms = change.at_ms if change else None
        if due_ms != run.probing_ms:
            run.probing_ms = due_ms
            if due_ms is not None:
                self._clock.at(due_ms, Lane.KUBELET, self._probed, runs, run, due_ms)

    def _probed(self, runs: Runs, run: Run, due_ms: int) -> None:
        if not runs.over and run.probing_ms == due_ms:
            self._advance(runs)

    def _advance(self, runs: Runs, *, synced: bool = False) -> None:
        """Take all that the pod's probes have to say now; each change makes the pod sync."""
        now_ms = self._clock.now_ms
        while True:
            if synced:
                for run in runs:
                    if run.probes:
                        run.probes.sync(now_ms)
            synced = any([self._take(runs, run) for run in runs])
            if not synced:
                break
        for run in runs:
            self._schedule(runs, run)
        self._kubelets.publish(runs.pod, runs.ready)

    def _take(self, runs: Runs, run: Run) -> bool:
        """Take the next change of a container's probes if it is due."""
        change = run.probes.next_change() if run.probes else None
        if run.probes is None or change is None or change.at_ms > self._clock.now_ms:
            return False
        run.probes.apply(change)
        self._react(runs, run, change)
        return True

    def _react(self, runs: Runs, run: Run, change: Change) -> None:
        spec = run.plan.spec
        if change.what == "unready":
            self._record(Reason.UNHEALTHY_READINESS, runs.pod)
        elif change.what == "liveness-failed":
            self._kill_unhealthy(runs, run, Reason.KILLING_LIVENESS, spec.liveness)
        elif change.what == "startup-failed":
            self._kill_unhealthy(runs, run, Reason.KILLING_STARTUP, spec.startup)

    def _kill_unhealthy(self, runs: Runs, run: Run, reason: Reason, probe: Probe | None) -> None:
        if not run.running or runs.terminating:
            return
        name = self._cluster.recorder.text(run.plan.spec.name)
        self._record(reason, runs.pod, name)
        own_ms = probe.termination_grace_ms if probe else None
        run.killing = True
        self._stop_within(runs, run, runs.plan.grace_ms if own_ms is None else own_ms)

    # The pod as a whole

    def _refresh(self, runs: Runs) -> None:
        """Whether the pod runs and answers, and what it claims, as its containers are now."""
        cluster, pod = self._cluster, runs.pod
        running = runs.running
        cluster.set_alive(pod, bool(running))
        if not running:
            return
        answers = all(run.answers for run in runs.regular)
        cluster.set_answers(pod, answers, self._pressure.served(pod) if answers else 1.0)
        self._pressure.put(pod, claim(runs.plan, [(run.plan, run.started_ms) for run in running]))

    def _record(self, reason: Reason, pod: int, arg: int = 0) -> None:
        self._cluster.recorder.event(self._clock.now_ms, reason, Of.POD, pod, arg)


def _chance(answer_ms: float, probe: Probe | None, rate: float) -> float:
    """Chance that a probe fails of a container whose application is up."""
    if probe is None:
        return rate
    chance = failure_chance(answer_ms, probe.timeout_ms, rate)
    if chance < NEGLIGIBLE_CHANCE:
        return 0.0
    return min(chance, FAILS)
