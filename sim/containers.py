"""The containers of pods that need more than one start and one end: probes, exits, restarts.

Follows pkg/kubelet/kuberuntime/kuberuntime_manager.go (v1.36.2; the rules are those of 1.34). What
a pod's containers do is known here at once; what the kubelet sees of it, one relist later. What a
sync then decides is said by `sim.podsync`, how containers are stopped by `sim.termination`. A pod
has one worker: while it kills, pulls an image or runs a postStart hook, nothing else of it is
started or killed. Modelling choice: hooks do not fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sim.backoff import Backoff
from sim.claims import claim
from sim.clock import Lane
from sim.podstate import V1_34, Gates, PodRules, Sandbox, phase
from sim.podsync import actions
from sim.probes import FAILING, FAILS, ContainerProbes, Premise, failure_chance
from sim.recorder import Of, Reason
from sim.runs import Run, Runs
from sim.termination import KillReason, Stopping, container_grace_ms, stop, stop_schedule

if TYPE_CHECKING:
    from collections.abc import Collection

    from sim.behaviour import Spell
    from sim.cluster import Cluster
    from sim.podspec import Probe
    from sim.podtimes import ContainerPlan, Plan
    from sim.pressure import Pressure
    from sim.probes import Change

TERMINATED = 143  # by TERM
KILLED = 137  # by KILL, as an OOM kill is
NEGLIGIBLE_CHANCE = 1e-9  # a probe that fails more seldom never fails
SANDBOX = (Sandbox(),)
KILL_REASONS: dict[Reason, KillReason] = {
    Reason.KILLING_LIVENESS: "LivenessProbe",
    Reason.KILLING_STARTUP: "StartupProbe",
}


class Kubelets(Protocol):
    """What containers need to know of, and to tell, the kubelet of their pod's node."""

    def relist_ms(self, pod: int, from_ms: int) -> int:
        """The first time from `from_ms` on at which the kubelet looks at what runs."""
        ...

    def look_ms(self, pod: int, until_ms: int) -> int:
        """When a worker that waits until `until_ms` looks again."""
        ...

    def runs(self, pod: int) -> None:
        """The pod's phase is Running from now on."""
        ...

    def publish(self, pod: int, ready: bool) -> None:
        """The pod's Ready condition is this."""
        ...

    def ended(self, pod: int, exit_code: int) -> None:
        """All containers have ended for good."""
        ...

    def stopped(self, pod: int) -> None:
        """All containers of a pod that had to stop have ended."""
        ...


class Containers:
    """All pods with more than one start and one end."""

    def __init__(
        self,
        cluster: Cluster,
        kubelets: Kubelets,
        pressure: Pressure,
        backoff: Backoff,
        gates: Gates = V1_34,
    ) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._kubelets = kubelets
        self._pressure = pressure
        self._backoff = backoff
        self._gates = gates

    def new(
        self,
        pod: int,
        plan: Plan,
        seen_ms: int,
        kubelet_age_ms: int | None,
        *,
        pull: bool = True,
        done: Collection[int] = (),
    ) -> Runs:
        """The containers of a pod that its kubelet first synced at `seen_ms`; nothing runs yet.

        `done`: places of those that had succeeded in an earlier sandbox and stay as they are.
        """
        runs = self._runs(pod, plan)
        runs.pull = pull
        for run in runs:
            if run.plan.probed:
                run.probes = ContainerProbes(
                    run.plan.spec, seen_ms, plan.probe_draw, kubelet_age_ms=kubelet_age_ms
                )
            if run.plan.index in done:
                run.known, run.code, run.life = "exited", 0, 1
        return runs

    def adopt(self, pod: int, plan: Plan, *, terminating: bool) -> Runs:
        """The containers of a pod that had no state so far, all running."""
        runs = self._runs(pod, plan)
        runs.terminating = terminating
        runs.first_sync, runs.initialized, runs.phase_running = False, True, True
        for run in runs:
            run.running = run.seen = True
            run.known, run.life = "running", 1
            run.answers = bool(self._cluster.pods.answers[pod])
        return runs

    def _runs(self, pod: int, plan: Plan) -> Runs:
        rules = PodRules(plan.template.pod.spec, self._gates)
        return Runs(pod, plan, rules, int(self._cluster.pods.serial[pod]))

    def begin(self, runs: Runs) -> None:
        """The pod's sandbox is there: start what comes first."""
        self._advance(runs, synced=True)

    # Syncs

    def _act(self, runs: Runs) -> None:
        """Carry out what a sync of the pod decides about its containers."""
        if runs.terminating or runs.completing:
            return
        if runs.busy or any(run.fresh for run in runs.all):
            runs.sync_again = True
            return
        runs.sync_again = False
        if runs.initialized and not any(run.needs_sync for run in runs.all):
            return
        found = actions(runs.rules, runs.states, SANDBOX)
        if found.kill_pod:
            self._complete(runs)
            return
        first = len(runs.rules.spec.init_containers)
        places = [*found.init_to_start, *(first + place for place in found.containers_to_start)]
        runs.to_start = [runs.all[place] for place in places]
        names = {kill.name for kill in found.containers_to_kill}
        runs.to_kill = [run for run in runs.all if run.plan.spec.name in names]
        if runs.to_kill:
            runs.busy = True
            self._kill_next(runs)
        else:
            self._start_those_due(runs)

    def _free(self, runs: Runs) -> None:
        """The worker has finished its sync; it goes on with what has come up meanwhile."""
        runs.busy = False
        if runs.sync_again and not runs.over:
            self._advance(runs, synced=True)

    # Starts

    def _start_those_due(self, runs: Runs) -> None:
        """Start what the sync wants started, except where a back-off lasts."""
        due, ends_ms = [], []
        for run in runs.to_start:
            end_ms = self._back_off_end_ms(runs, run)
            if end_ms is None:
                due.append(run)
            else:
                ends_ms.append(end_ms)
        runs.to_start = []
        runs.look += 1
        if ends_ms:
            look_ms = self._kubelets.look_ms(runs.pod, min(ends_ms))
            self._clock.at(look_ms, Lane.KUBELET, self._look, runs, runs.look)
        if due:
            self._start_in_turn(runs, due)

    def _back_off_end_ms(self, runs: Runs, run: Run) -> int | None:
        """When the container's back-off ends; None: it may start now, which counts as a try."""
        now_ms = self._clock.now_ms
        if run.finished_ms is None:
            return None
        run.entry = self._backoff.kept(run.entry, now_ms)
        until_ms = self._backoff.may_retry_ms(run.entry, run.finished_ms)
        if until_ms <= now_ms:
            run.entry = self._backoff.tried(run.entry, run.finished_ms, now_ms)
            return None
        if not run.backing_off and run.entry:
            self._record(Reason.BACK_OFF, runs.pod, run.entry.backoff_ms // 1000)
        run.backing_off = True
        return until_ms

    def _look(self, runs: Runs, look: int) -> None:
        """The pod's worker looks whether a back-off is over."""
        if not runs.over and runs.look == look:
            self._advance(runs, synced=True)

    def _start_in_turn(self, runs: Runs, due: list[Run]) -> None:
        """Start containers one after the other; the kubelet sees them all after the last."""
        now_ms = at_ms = self._clock.now_ms
        regular = any(not run.plan.init for run in due)
        shared_ms = runs.plan.run.after() if regular and runs.plan.run else None
        turns = []
        for run in due:
            if runs.pull and run.plan.pull and not run.life:
                at_ms += run.plan.pull()
            turns.append((at_ms, run))
            if run.plan.post_start:
                at_ms += run.plan.post_start()
        seen_ms = at_ms
        if not runs.first_sync:
            seen_ms = max(at_ms, self._kubelets.relist_ms(runs.pod, at_ms + 1))
        runs.first_sync = False
        runs.initialized |= regular
        for turn_ms, run in turns:
            run.fresh = True
            if turn_ms == now_ms:
                self._start(runs, run, shared_ms, seen_ms)
            else:
                args = (runs, run, run.life, shared_ms, seen_ms)
                self._clock.at(turn_ms, Lane.KUBELET, self._start_late, *args)
        if at_ms > now_ms:
            runs.busy = True
            self._clock.at(at_ms, Lane.KUBELET, self._free, runs)
        if seen_ms > now_ms or not runs.initialized:
            self._clock.at(seen_ms, Lane.KUBELET, self._see, runs)
        else:
            self._mark_seen(runs)
        self._refresh(runs)

    def _start_late(
        self, runs: Runs, run: Run, life: int, shared_ms: int | None, seen_ms: int
    ) -> None:
        """Its image has been pulled, and what comes before it has been started."""
        if not runs.over and not runs.terminating and run.life == life:
            self._start(runs, run, shared_ms, seen_ms)
            self._refresh(runs)
            self._schedule(runs, run)

    def _start(self, runs: Runs, run: Run, shared_ms: int | None, seen_ms: int) -> None:
        """An instance starts, and the kubelet sees it at `seen_ms`."""
        now_ms = self._clock.now_ms
        if run.life:
            run.restarts += 1
            self._cluster.count_restart(runs.pod)
        run.life += 1
        run.running, run.known = True, "running"
        run.killing = run.backing_off = run.oom_killed = False
        run.asked_to_kill = None
        run.started_ms, run.visible_ms = now_ms, seen_ms
        startup_ms = run.plan.startup()
        run.answers = startup_ms == 0
        if startup_ms:
            self._clock.after(startup_ms, Lane.EXITS, self._up, runs, run, run.life)
        self._plan_exit(runs, run, shared_ms)
        self._plan_spells(runs, run)
        self._suppose(runs, run)
        if run.probes:
            run.probes.instance_started(now_ms, seen_ms)

    def _see(self, runs: Runs) -> None:
        """The kubelet's relist shows what has been started."""
        if not runs.over:
            self._mark_seen(runs)
            self._advance(runs, synced=True)

    def _mark_seen(self, runs: Runs) -> None:
        for run in runs:
            if run.running and run.visible_ms <= self._clock.now_ms:
                run.fresh = False
                run.seen = True

    def _plan_exit(self, runs: Runs, run: Run, shared_ms: int | None) -> None:
        """The first of the ways in which it ends by itself."""
        ends = [(end.after(), end.exit_code) for end in run.plan.ends]
        if shared_ms is not None and run.plan.ends_with_pod and runs.plan.run:
            ends.insert(0, (shared_ms, runs.plan.run.exit_code))
        if ends:
            after_ms, code = min(ends, key=lambda end: end[0])
            self._clock.after(after_ms, Lane.EXITS, self._exit, runs, run, run.life, code)

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
            run.oom_killed = True

    def exit(self, runs: Runs, exit_code: int) -> None:
        """The only container of a pod ends by itself."""
        self._exit(runs, runs.all[0], runs.all[0].life, exit_code)

    def _exit(self, runs: Runs, run: Run, life: int, code: int) -> None:
        if runs.over or run.life != life:
            return
        run.life += 1
        run.running = run.answers = run.fresh = False
        run.exited_ms = self._clock.now_ms
        run.code = code
        self._suppose(runs, run)
        self._refresh(runs)
        if runs.terminating or runs.completing:
            self._schedule(runs, run)
            self._goes_on_to_stop(runs)
        elif run.killing:
            self._clock.after(0, Lane.KUBELET, self._killed, runs)
        else:
            if run.probes and run.exited_ms < run.visible_ms:  # it will never be seen to run
                run.probes.exited(run.exited_ms)
            self._schedule(runs, run)
            seen_ms = self._kubelets.relist_ms(runs.pod, self._clock.now_ms)
            self._clock.at(seen_ms, Lane.KUBELET, self._exit_seen, runs, run, run.life)

    def _exit_seen(self, runs: Runs, run: Run, life: int) -> None:
        """The kubelet's next relist shows that the container has ended by itself."""
        if not runs.over and run.life == life:
            self._see_stopped(run)
            self._advance(runs, synced=True)

    def _see_stopped(self, run: Run) -> None:
        run.seen = False
        run.known = "exited"
        run.asked_to_kill = None
        run.finished_ms = run.exited_ms
        if run.probes:
            run.probes.exited(self._clock.now_ms)

    # Kills by probes

    def _kill_next(self, runs: Runs) -> None:
        """Kill the next container that the sync wants killed; after the last one come the starts.

        That sync still sees the killed instances running, so the back-off looks at the ends of the
        instances before, if there are any.
        """
        for run in runs.to_kill:
            if run.running and not run.killing and run.asked_to_kill:
                self._kill_unhealthy(runs, run, run.asked_to_kill)
                return
        runs.busy = False
        killed, runs.to_kill = runs.to_kill, []
        self._start_those_due(runs)
        for run in killed:
            if run.running:
                run.finished_ms = run.exited_ms
            else:
                self._see_stopped(run)
                seen_ms = self._kubelets.relist_ms(runs.pod, self._clock.now_ms)
                self._clock.at(seen_ms, Lane.KUBELET, self._exit_seen, runs, run, run.life)

    def _killed(self, runs: Runs) -> None:
        """The sync that killed a container goes on."""
        if not runs.over and not runs.terminating:
            self._kill_next(runs)
            self._advance(runs, synced=True)

    def _kill_unhealthy(self, runs: Runs, run: Run, reason: Reason) -> None:
        self._record_kill(runs, run, reason)
        run.killing = True
        grace_ms = container_grace_ms(run.plan.spec, runs.plan.grace_ms, KILL_REASONS[reason])
        found = stop(_stopping(run.plan), grace_ms)
        code = KILLED if found.killed else TERMINATED
        self._clock.after(found.end_ms, Lane.EXITS, self._exit, runs, run, run.life, code)

    def _record_kill(self, runs: Runs, run: Run, reason: Reason) -> None:
        self._record(reason, runs.pod, self._cluster.recorder.text(run.plan.spec.name))

    # The end of the pod

    def _complete(self, runs: Runs) -> None:
        """The regular containers have ended for good, or an init container has failed for good.

        Or probes have found the last of them unhealthy, and it shall not start again.
        """
        runs.completing = True
        for run in runs.running:
            if run.asked_to_kill:
                self._record_kill(runs, run, run.asked_to_kill)
        if runs.running:  # sidecars
            self._stop_all(runs, runs.plan.grace_ms)
        else:
            self._end(runs)

    def _end(self, runs: Runs) -> None:
        if not runs.over and not runs.terminating:
            runs.over = True
            done = [run for run in runs.all if not run.plan.spec.sidecar]
            self._kubelets.ended(runs.pod, next((run.code for run in done if run.code), 0))

    def terminate(self, runs: Runs, grace_ms: int) -> None:
        """Stop all containers: hooks, TERM, and KILL when the grace is over."""
        runs.terminating = True
        for run in runs:
            if run.probes:
                run.probes.pod_deleting(self._clock.now_ms)
        if not runs.running:
            self._kubelets.stopped(runs.pod)
            return
        if not runs.completing:
            self._stop_all(runs, grace_ms)
        self._advance(runs, synced=True)

    def _stop_all(self, runs: Runs, grace_ms: int) -> None:
        runs.stop_from_ms, runs.stop_grace_ms = self._clock.now_ms, grace_ms
        for run in runs.running:
            run.stopping = _stopping(run.plan)
        self._plan_stops(runs)

    def _plan_stops(self, runs: Runs) -> None:
        """The ends of the containers that still run, as the others have ended by now.

        A container that has ended counts as a plain one that took so long: that moves no turn of
        those that have not been told to stop.
        """
        now_ms, from_ms = self._clock.now_ms, runs.stop_from_ms
        runs_on = [run for run in runs.all if run.stopping]
        containers = [
            run.stopping if run.running else Stopping(shutdown_ms=run.exited_ms - from_ms)
            for run in runs_on
            if run.stopping
        ]
        for run, found in zip(runs_on, stop_schedule(containers, runs.stop_grace_ms), strict=True):
            told = run.term_ms is not None and run.term_ms <= now_ms
            end_ms = max(now_ms, from_ms + found.end_ms)
            if run.running and not told and end_ms != run.stop_ms:
                run.term_ms, run.stop_ms = from_ms + found.term_ms, end_ms
                code = KILLED if found.killed else TERMINATED
                args = (runs, run, run.life, end_ms, code)
                self._clock.at(end_ms, Lane.EXITS, self._stop, *args)

    def _stop(self, runs: Runs, run: Run, life: int, planned_ms: int, code: int) -> None:
        if run.stop_ms == planned_ms:
            self._exit(runs, run, life, code)

    def _goes_on_to_stop(self, runs: Runs) -> None:
        """One container less runs of a pod that has to stop."""
        if runs.running:
            if any(run.plan.spec.sidecar for run in runs.running):
                self._plan_stops(runs)
        elif runs.terminating:
            self._kubelets.stopped(runs.pod)
        else:
            seen_ms = self._kubelets.relist_ms(runs.pod, self._clock.now_ms)
            self._clock.at(seen_ms, Lane.KUBELET, self._end, runs)

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
            premise = self._premise(runs, run, self._pressure.slowdown(runs.pod))
        run.probes.set_premise(self._clock.now_ms, premise)

    def _premise(self, runs: Runs, run: Run, slowdown: float) -> Premise:
        spec, probes = run.plan.spec, run.plan.probes
        answer_ms = probes.latency_ms * slowdown if probes.latency_ms else 0.0

        def chance(probe: Probe | None, rate: float, spell: Spell | None) -> float:
            if spell is not None and spell.covers(self._clock.now_ms, runs.serial):
                return FAILS
            return _chance(answer_ms, probe, rate)

        return Premise(
            chance(spec.startup, probes.startup_failure_rate, probes.startup_spell),
            chance(spec.liveness, probes.liveness_failure_rate, probes.liveness_spell),
            chance(spec.readiness, probes.readiness_failure_rate, probes.readiness_spell),
        )

    def _plan_spells(self, runs: Runs, run: Run) -> None:
        """Look at the probes again when a time begins or ends in which they fail."""
        for spell in run.plan.probes.spells if run.probes else ():
            for turn_ms in (spell.from_ms, spell.until_ms):
                if turn_ms is not None and turn_ms > self._clock.now_ms:
                    self._clock.at(turn_ms, Lane.EXITS, self._spell_turns, runs, run, run.life)

    def _spell_turns(self, runs: Runs, run: Run, life: int) -> None:
        if not runs.over and run.life == life:
            self._suppose(runs, run)
            self._schedule(runs, run)

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
                self._act(runs)
            synced = any([self._take(runs, run) for run in runs])
            if runs.over:
                return
            if not synced:
                break
        for run in runs:
            self._schedule(runs, run)
        self._publish(runs)

    def _take(self, runs: Runs, run: Run) -> bool:
        """Take the next change of a container's probes if it is due."""
        change = run.probes.next_change() if run.probes and not runs.over else None
        if run.probes is None or change is None or change.at_ms > self._clock.now_ms:
            return False
        run.probes.apply(change)
        self._react(runs, run, change)
        return True

    def _react(self, runs: Runs, run: Run, change: Change) -> None:
        if change.what == "unready":
            self._record(Reason.UNHEALTHY_READINESS, runs.pod)
        elif change.what == "liveness-failed":
            self._ask_to_kill(run, Reason.KILLING_LIVENESS)
        elif change.what == "startup-failed":
            self._ask_to_kill(run, Reason.KILLING_STARTUP)

    def _ask_to_kill(self, run: Run, reason: Reason) -> None:
        """Have the next sync kill the container, if it has not ended in the meantime."""
        if run.running:
            run.asked_to_kill = reason

    # The pod as a whole

    def _publish(self, runs: Runs) -> None:
        """Write what the kubelet's status says of the pod, where it is news."""
        if not runs.phase_running and runs.initialized and not any(run.fresh for run in runs):
            runs.phase_running = phase(runs.rules, runs.states, initialized=True) == "Running"
            if runs.phase_running:
                self._kubelets.runs(runs.pod)
        self._kubelets.publish(runs.pod, runs.ready)

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


def _stopping(plan: ContainerPlan) -> Stopping:
    """A container that is told to stop now, with its luck drawn."""
    pre_stop_ms = plan.pre_stop() if plan.pre_stop else None
    return Stopping(plan.spec.sidecar, pre_stop_ms, plan.shutdown())


def _chance(answer_ms: float, probe: Probe | None, rate: float) -> float:
    """Chance that a probe fails of a container whose application is up."""
    if probe is None:
        return rate
    chance = failure_chance(answer_ms, probe.timeout_ms, rate)
    if chance < NEGLIGIBLE_CHANCE:
        return 0.0
    return min(chance, FAILS)
