"""The kubelets of all nodes: pods start, run, end and are taken down where they are bound.

One actor, driven by what the cluster tells and by its own timed events. A pod with one container,
without probes, crashes or a leak has no state here beyond its columns and costs about three events;
the others are in `sim.containers`. CPU and memory of nodes are in `sim.pressure`, which pods a
kubelet takes in `sim.intake`, shutdowns of nodes in `sim.nodeshutdown`.

A kubelet that is cut off from the control plane goes on with what it knows; what it would write is
written when the node is back. Modelling choices: a container answers until it exits; a restart in
place takes no time beyond its start-up; a pod's start is over when its kubelet has seen it run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from sim.backoff import Backoff, next_look_ms
from sim.claims import Claim, claim
from sim.clock import Lane
from sim.cluster import Change
from sim.containers import KILLED, Containers
from sim.eviction import Settings as EvictionSettings
from sim.evictions import Evictions
from sim.intake import Intake
from sim.nodeshutdown import Shutdowns
from sim.podstate import V1_34, ContainerState, Gates, PodRules, Sandbox, conditions
from sim.podsync import actions
from sim.podtimes import Draws, Plan, PodTimes, pod_times
from sim.pressure import Pressure
from sim.recorder import Of, Reason
from sim.runs import CREATING, ContainerStatus, Runs, end_reason
from sim.tables import NEVER, NodeReady, Phase
from sim.termination import Stopping, pod_grace, stop

if TYPE_CHECKING:
    from sim.admission import OnNode
    from sim.cluster import Cluster
    from sim.nodeshutdown import Groups
    from sim.overcommit import VictimPolicy
    from sim.rng import Streams
    from sim.templates import Template

__all__ = ["ContainerStatus", "Kubelet", "PodTimes", "pod_times"]

BACKOFF = Backoff()
NO_EVICTION = EvictionSettings()
RELIST_MS = 1_000  # pkg/kubelet/kubelet.go genericPlegRelistPeriod, and the sync ticker's period


@dataclass(slots=True)
class _Kubelet:
    """One node's kubelet."""

    phase_ms: int  # of its relists and of its ticker
    up: bool = True
    connected: bool = True
    booted_ms: int | None = None  # None: long before the run

    @property
    def reachable(self) -> bool:
        """Whether it runs and hears of what the control plane wants."""
        return self.up and self.connected


class Kubelet:
    """All kubelets of a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        streams: Streams,
        times: Callable[[Template], PodTimes],
        *,
        victim_policy: VictimPolicy | None = None,
        backoff: Backoff = BACKOFF,
        gates: Gates = V1_34,
        ideal: bool = False,
        eviction: Callable[[int], EvictionSettings] = lambda node: NO_EVICTION,
        shutdown_groups: Callable[[int], Groups] = lambda node: (),
    ) -> None:
        """`times` says how long things take for a pod; asked once per template and workload.

        `eviction(node)`: the thresholds of its kubelet; by default it evicts nobody.
        `shutdown_groups(node)`: those of its graceful shutdown; by default there is none.
        `ideal`: a kubelet sees at once what happens, and no retry comes later than it may.
        """
        self.cluster = cluster
        self._clock = cluster.clock
        self._times = times
        self._seed = streams.seed
        self._ideal = ideal
        self._draws_of = cache(partial(Draws, streams))  # by workload
        self._pressure = Pressure(
            cluster, self._oom_kill, self._affected, victim_policy, noise_seed=streams.seed
        )
        self._containers = Containers(cluster, self, self._pressure, backoff, gates)
        self._gates = gates
        self.intake = Intake(cluster)
        self._shutdowns = Shutdowns(cluster, self.stop, shutdown_groups)
        self.evictions = Evictions(
            cluster, self._pressure, streams, eviction, self._active, self._evict, ideal=ideal
        )
        self._kubelets: list[_Kubelet] = []
        self._plans: dict[tuple[int, int], Plan] = {}  # by template and workload
        self._claims: dict[int, Claim] = {}  # by template: of its pods without state
        self._runs: dict[int, Runs] = {}
        self._generations: dict[int, int] = {}  # of pods whose earlier events are void
        self._starting: dict[int, int] = {}  # pod -> when its kubelet sees it
        self._terminating: dict[int, None] = {}  # pods that have been sent TERM
        self._fates: dict[int, Reason] = {}  # why their own kubelets have done so
        self._makes_room_for: dict[int, tuple[int, list[OnNode]]] = {}  # victim -> pod, next ones
        self._done: dict[int, tuple[int, ...]] = {}  # containers that had succeeded before a reboot
        self._unsent_starts: dict[int, None] = {}  # what kubelets could not write yet
        self._unsent_ends: dict[int, tuple[Phase, Reason, int]] = {}
        self._handlers = self._handlers_by_change()
        for node in range(len(cluster.nodes)):
            self._node_added(node)
        cluster.watch(self.on_change, self._handlers)

    def on_change(self, change: Change, object_id: int) -> None:
        """Take note of what happens in the cluster."""
        self._handlers[change](object_id)

    def set_load(self, pod: int, cpu_m: int) -> None:
        """From now on the requests sent to a pod ask for this much CPU, while it answers."""
        gone = self.cluster.pods.ended_ms[pod] != NEVER
        self._pressure.set_load(pod, 0 if gone else cpu_m)

    def set_rate(self, pod: int, rps: float) -> None:
        """From now on so many requests per second are sent to a pod."""
        if self.cluster.pods.ended_ms[pod] == NEVER:
            self._pressure.set_rate(pod, rps)

    def set_speed(self, node: int, factor: float) -> None:
        """From now on the machine does this share of the CPU work that it is made for."""
        self._pressure.set_speed(node, factor)

    def container_state(self, pod: int) -> tuple[ContainerStatus, ...]:
        """What the pod's containers (init containers first) do at this moment."""
        runs, pods = self._runs.get(pod), self.cluster.pods
        if runs is not None:
            return runs.statuses
        state, code, reason = "waiting", None, CREATING
        alive = bool(pods.alive[pod])
        if alive:
            state, reason = "running", ""
        elif pods.phase[pod] >= Phase.SUCCEEDED and pods.started[pod]:
            code = 0 if pods.phase[pod] == Phase.SUCCEEDED else 1
            state, reason = "terminated", end_reason(code)
        plans = self._plan(pod).containers
        return tuple(ContainerStatus(p.spec.name, state, alive, code, reason) for p in plans)

    def waits_for(self, pod: int) -> str:
        """Why a pod on a node does not work, as kubectl get says it; '' when it does.

        "Init:" stands before the reason of an init container.
        """
        plans = self._plan(pod).containers
        for plan, status in zip(plans, self.container_state(pod), strict=True):
            failed = status.state == "terminated" and status.exit_code
            if status.state == "waiting" or failed:
                return f"Init:{status.reason}" if plan.init else status.reason
            if plan.plain_init and status.state == "running":
                return "Init:Running"
        return ""

    def conditions(self, pod: int) -> dict[str, bool]:
        """The conditions of a pod on a node that its kubelet works out, by their types.

        Derived from its containers (status/generate.go); PodScheduled is among them.
        """
        pods, spec = self.cluster.pods, self._plan(pod).template.pod.spec
        runs = self._runs.get(pod)
        if runs is not None:
            states = dict(runs.states)
        else:
            states = {s.name: _facts_of(s) for s in self.container_state(pod)}
        phase = Phase(int(pods.phase[pod])).name.capitalize()
        sandboxes = [Sandbox()] if pods.alive[pod] or pods.started[pod] else []
        found = conditions(spec, states, phase, sandboxes)  # type: ignore[arg-type]
        return {"PodScheduled": True, **{name: c.status for name, c in found.items()}}

    def shut_down(self, node: int) -> None:
        """Shut a node down, gracefully if its kubelet is configured so; in the end it is down."""
        self._shutdowns.begin(node)

    def comes_back(self, node: int) -> bool:
        """Have a node that is shutting down start again as soon as it is down; False if none is."""
        return self._shutdowns.recover(node)

    def _handlers_by_change(self) -> dict[Change, Callable[[int], None]]:
        return {
            Change.POD_BOUND: self._bound,
            Change.POD_DELETING: self._deleting,
            Change.POD_ENDED: self._pod_ended,
            Change.POD_REMOVED: self._forget,
            Change.POD_ALIVE: self._alive,
            Change.NODE_ADDED: self._node_added,
            Change.NODE_TAINTS: self._node_changed,
            Change.NODE_READY: self._node_ready,
            Change.NODE_DOWN: self._node_down,
            Change.NODE_UP: self._node_up,
        }

    def _kubelet(self, pod: int) -> _Kubelet:
        return self._kubelets[self.cluster.pods.node.item(pod)]

    def _plan(self, pod: int) -> Plan:
        cluster, pods = self.cluster, self.cluster.pods
        key = pods.template.item(pod), cluster.owners[pods.owner.item(pod)].workload
        plan = self._plans.get(key)
        return self._new_plan(*key) if plan is None else plan

    def _new_plan(self, template: int, workload: int) -> Plan:
        known, row = self.cluster.templates[template], self.cluster.workloads[workload]
        draws = self._draws_of(f"{row.namespace}/{row.kind}/{row.name}")
        plan = self._plans[template, workload] = Plan(known, self._times(known), draws)
        return plan

    # Starts

    def _bound(self, pod: int) -> None:
        if self._kubelet(pod).reachable:
            plan = self._plan(pod)
            delay_ms = 0 if self._ideal else plan.watch()
            self._take_in(pod, plan, self._clock.now_ms + delay_ms, pull=True)

    def _take_in(self, pod: int, plan: Plan, seen_ms: int, *, pull: bool) -> None:
        """The kubelet sees the pod at `seen_ms`, and starts it if it admits it."""
        node = self.cluster.pods.node.item(pod)
        doubtful = node in self._shutdowns or self.evictions.watches(node)
        if not doubtful and self.intake.surely_fits(pod):
            self._begin(pod, plan, seen_ms, pull=pull)
        else:
            self._decide_later(pod, seen_ms, pull=pull)

    def _decide_later(self, pod: int, seen_ms: int, *, pull: bool) -> None:
        generation = self._generations.get(pod, 0)
        self._starting[pod] = seen_ms
        self.intake.put_off(pod)
        self._clock.at(seen_ms, Lane.KUBELET, self._decide, pod, generation, pull)

    def _decide(self, pod: int, generation: int, pull: bool) -> None:
        """Admit the pod, refuse it, or make room for it."""
        if self._stale(pod, generation):
            return
        self.intake.forget(pod)
        refusal, victims = self._refusal(pod)
        if refusal is not None:
            del self._starting[pod]
            self.cluster.end_pod(pod, Phase.FAILED, refusal)
        elif victims:
            self._make_room(pod, victims)
        else:
            self._begin(pod, self._plan(pod), self._clock.now_ms, pull=pull)

    def _refusal(self, pod: int) -> tuple[Reason | None, list[OnNode]]:
        """Why the kubelet does not admit the pod; and what it would stop to admit it."""
        if self.cluster.pods.node.item(pod) in self._shutdowns:
            return Reason.NODE_SHUTDOWN, []
        message = self.evictions.refuses(pod)
        if message:
            self.cluster.count_eviction(pod, message)
            return Reason.EVICTED, []
        found = self.intake.decide(pod)
        if not found.admitted:
            return self.intake.reason(found.reason), []
        return None, list(found.victims)

    def _make_room(self, pod: int, victims: list[OnNode]) -> None:
        """Stop the victims one after the other, then start the pod."""
        while victims:
            victim = victims.pop(0).id
            if self.cluster.pods.ended_ms.item(victim) == NEVER:
                self._makes_room_for[victim] = pod, victims
                self.stop(victim, Reason.PREEMPTING)
                return
        if pod in self._starting:
            self._begin(pod, self._plan(pod), self._clock.now_ms, pull=True)

    def _begin(self, pod: int, plan: Plan, seen_ms: int, *, pull: bool) -> None:
        """The kubelet sees the pod at `seen_ms` and starts it."""
        generation = self._generations.get(pod, 0)
        self._starting[pod] = seen_ms
        due_ms = seen_ms + plan.start_ms(pull=pull)
        self._clock.at(due_ms, Lane.KUBELET, self._start, pod, generation, seen_ms)

    def _start(self, pod: int, generation: int, seen_ms: int) -> None:
        if self._stale(pod, generation):
            return
        cluster, pods, plan = self.cluster, self.cluster.pods, self._plan(pod)
        del self._starting[pod]
        again = pods.started.item(pod)  # the node was down
        done = self._done.pop(pod, ())
        if again:
            for container in plan.containers:
                if not container.plain_init and container.index not in done:
                    cluster.count_restart(pod)
        if plan.light:
            cluster.set_alive(pod, True)
            self.runs(pod)
            self._run(pod, plan, generation)
        else:
            age_ms = self._age_ms(pod, seen_ms)
            runs = self._containers.new(pod, plan, seen_ms, age_ms, pull=not again, done=done)
            self._runs[pod] = runs
            self._containers.begin(runs)

    def _age_ms(self, pod: int, now_ms: int) -> int | None:
        booted_ms = self._kubelet(pod).booted_ms
        return None if booted_ms is None else now_ms - booted_ms

    # Pods without state

    def _run(self, pod: int, plan: Plan, generation: int) -> None:
        """Its one container runs."""
        clock, only = self._clock, plan.containers[0]
        startup_ms = only.startup()
        if startup_ms:
            clock.after(startup_ms, Lane.EXITS, self._up, pod, generation)
        else:
            self.cluster.set_answers(pod, True)
        self._pressure.put(pod, self._claim(plan))
        self.publish(pod, True)
        end = plan.run or (only.ends[0] if only.ends else None)
        if end is not None:
            clock.after(end.after(), Lane.EXITS, self._exit, pod, generation, end.exit_code)

    def _claim(self, plan: Plan) -> Claim:
        template = plan.template.id
        if template not in self._claims:
            self._claims[template] = claim(plan, [(plan.containers[0], 0)])
        return self._claims[template]

    def _up(self, pod: int, generation: int) -> None:
        """Its application answers from now on."""
        if not self._stale(pod, generation):
            self.cluster.set_answers(pod, True, self._pressure.served(pod))
            self._pressure.answers_changed(pod)

    def _exit(self, pod: int, generation: int, exit_code: int) -> None:
        """Its container ends by itself."""
        if self._stale(pod, generation):
            return
        if self._plan(pod).restarts(exit_code):
            self._containers.exit(self._adopt(pod), exit_code)
            return
        self.cluster.set_alive(pod, False)
        seen_ms = self.relist_ms(pod, self._clock.now_ms)
        self._clock.at(seen_ms, Lane.KUBELET, self._exit_seen, pod, generation, exit_code)

    def _exit_seen(self, pod: int, generation: int, exit_code: int) -> None:
        if not self._stale(pod, generation):
            self.ended(pod, exit_code)

    def _adopt(self, pod: int) -> Runs:
        """Give a running pod a state of its own; its events so far are void."""
        self._void(pod)
        terminating = pod in self._terminating
        runs = self._containers.adopt(pod, self._plan(pod), terminating=terminating)
        self._runs[pod] = runs
        return runs

    def _stale(self, pod: int, generation: int) -> bool:
        """Whether an event was planned under other circumstances."""
        if self._generations.get(pod, 0) != generation:
            return True
        return self.cluster.pods.ended_ms.item(pod) != NEVER

    def _void(self, pod: int) -> None:
        self._generations[pod] = self._generations.get(pod, 0) + 1

    # What containers ask for and tell (`sim.containers.Kubelets`)

    def relist_ms(self, pod: int, from_ms: int) -> int:
        """The first time from `from_ms` on at which the pod's kubelet looks at what runs."""
        if self._ideal:
            return self._clock.now_ms
        return from_ms + (self._kubelet(pod).phase_ms - from_ms) % RELIST_MS

    def look_ms(self, pod: int, until_ms: int) -> int:
        """When a worker that waits until `until_ms` for a restart looks again."""
        if self._ideal:
            return until_ms
        phase_ms, draw = self._kubelet(pod).phase_ms, self._plan(pod).back_off_draw
        return next_look_ms(self._clock.now_ms, until_ms, draw, phase_ms)

    def runs(self, pod: int) -> None:
        """Write that the pod's phase is Running, if the control plane can be reached."""
        if self._kubelet(pod).connected:
            self.cluster.run_pod(pod)
        else:
            self._unsent_starts[pod] = None

    def publish(self, pod: int, ready: bool) -> None:
        """Write the pod's Ready condition, if the control plane can be reached."""
        if self._kubelet(pod).connected:
            self.cluster.set_ready(pod, ready)

    def ended(self, pod: int, exit_code: int) -> None:
        """The pod is over: 0 Succeeded, else Failed."""
        if exit_code == 0:
            self._end(pod, Phase.SUCCEEDED, Reason.COMPLETED)
        else:
            self._end(pod, Phase.FAILED, Reason.CONTAINER_FAILED, exit_code)

    def _end(self, pod: int, phase: Phase, reason: Reason, exit_code: int = 0) -> None:
        """Write how the pod has ended, if the control plane can be reached."""
        if self._kubelet(pod).connected:
            self.cluster.end_pod(pod, phase, reason, exit_code)
        else:
            self.cluster.set_alive(pod, False)
            self._runs.pop(pod, None)
            self._unsent_ends[pod] = phase, reason, exit_code
            self.evictions.gone(pod)

    def stopped(self, pod: int) -> None:
        """All containers of a pod that had to stop have ended."""
        self.cluster.set_alive(pod, False)
        fate = self._fates.pop(pod, None)
        if fate is not None:
            self._end(pod, Phase.FAILED, fate)
        elif self._kubelet(pod).connected:
            self.cluster.remove_pod(pod)

    # Ends

    def _deleting(self, pod: int) -> None:
        pods = self.cluster.pods
        if pods.node[pod] < 0 or pods.ended_ms[pod] != NEVER:
            return  # the object goes without the kubelet
        plan, now_ms = self._plan(pod), self._clock.now_ms
        if plan.grace_ms == 0:  # a forced deletion does not wait for the node
            self._clock.at(now_ms, Lane.API, self.cluster.remove_pod, pod)
        else:
            delay_ms = 0 if self._ideal else plan.watch()
            self._clock.after(delay_ms, Lane.KUBELET, self._terminate, pod)

    def _evict(self, pod: int, grace_ms: int) -> None:
        """The eviction manager of its node stops a pod; one that is stopping has no longer left."""
        self.publish(pod, False)
        if pod in self._terminating:
            self._fates[pod] = Reason.EVICTED
            self._clock.after(grace_ms, Lane.EXITS, self._hurry, pod, self._generations[pod])
        else:
            self.stop(pod, Reason.EVICTED, grace_ms)

    def _hurry(self, pod: int, generation: int) -> None:
        if not self._stale(pod, generation):
            self.stopped(pod)

    def _active(self, node: int) -> list[int]:
        """Pods that the node's kubelet has seen and not yet seen the end of."""
        pods, now_ms = self.cluster.pods, self._clock.now_ms
        return [
            pod
            for pod in self.cluster.nodes.pods[node]
            if pods.node[pod] == node
            and (pods.started[pod] or self._starting.get(pod, now_ms + 1) <= now_ms)
        ]

    def _terminate(self, pod: int) -> None:
        """The kubelet sees that the pod shall go."""
        if self._kubelet(pod).reachable:
            own_ms = self._plan(pod).grace_ms
            self._stop_pod(pod, pod_grace(own_ms, deletion_ms=own_ms).grace_ms)

    def stop(self, pod: int, reason: Reason, grace_ms: int | None = None) -> None:
        """A kubelet stops a pod for its node's sake: it will have failed, for this reason.

        By default with the pod's own grace. A pod that is being stopped already goes on so.
        """
        if self._kubelet(pod).up and pod not in self._terminating:
            self._fates[pod] = reason
            own_ms = self._plan(pod).grace_ms
            self._stop_pod(pod, pod_grace(own_ms, override_ms=grace_ms).grace_ms)

    def _stop_pod(self, pod: int, grace_ms: int) -> None:
        """Hooks, TERM, and KILL when the grace is over."""
        cluster = self.cluster
        if cluster.pods.ended_ms[pod] != NEVER or pod in self._terminating:
            return
        self._terminating[pod] = None
        self._starting.pop(pod, None)
        self._void(pod)
        runs, plan = self._runs.get(pod), self._plan(pod)
        if cluster.pods.alive[pod]:
            cluster.recorder.event(self._clock.now_ms, Reason.KILLING, Of.POD, pod)
        if runs is not None:
            self._containers.terminate(runs, grace_ms)
        elif cluster.pods.alive[pod]:
            only = plan.containers[0]
            hook_ms = only.pre_stop() if only.pre_stop else None
            end_ms = stop(Stopping(False, hook_ms, only.shutdown()), grace_ms).end_ms
            generation = self._generations[pod]
            self._clock.after(end_ms, Lane.EXITS, self._stopped_alone, pod, generation)
        else:
            self.stopped(pod)

    def _stopped_alone(self, pod: int, generation: int) -> None:
        if not self._stale(pod, generation):
            self.stopped(pod)

    def _pod_ended(self, pod: int) -> None:
        self._forget(pod)
        if self.cluster.pods.deleting_ms[pod] != NEVER and self._kubelet(pod).reachable:
            self._clock.after(0, Lane.API, self.cluster.remove_pod, pod)

    def _forget(self, pod: int) -> None:
        self._lose(pod)
        self._generations.pop(pod, None)
        self._pressure.forget(pod)
        self.evictions.gone(pod)

    def _lose(self, pod: int) -> None:
        """What the kubelet knew of a pod is lost."""
        runs = self._runs.pop(pod, None)
        if runs is not None:
            runs.over = True
        self._starting.pop(pod, None)
        self._terminating.pop(pod, None)
        self._unsent_starts.pop(pod, None)
        self._unsent_ends.pop(pod, None)
        self._fates.pop(pod, None)
        self.intake.forget(pod)
        self._shutdowns.pod_over(pod)
        if pod in self._makes_room_for:
            critical, victims = self._makes_room_for.pop(pod)
            self._clock.after(0, Lane.KUBELET, self._make_room, critical, victims)

    # Pressure

    def _alive(self, pod: int) -> None:
        if not self.cluster.pods.alive[pod]:
            self._pressure.drop(pod)

    def _oom_kill(self, pod: int, index: int, reason: Reason) -> None:
        runs = self._runs.get(pod) or self._adopt(pod)
        self._containers.kill(runs, index, reason)

    def _affected(self, pod: int) -> None:
        """The node serves the pod otherwise than before."""
        if self.cluster.pods.answers[pod]:
            self.cluster.set_answers(pod, True, self._pressure.served(pod))
        runs = self._runs.get(pod)
        if runs is not None:
            self._containers.affected(runs)

    # Nodes

    def _node_added(self, node: int) -> None:
        name, now_ms = self.cluster.nodes.names[node], self._clock.now_ms
        phase_ms = phase_of(self._seed, name)
        self._kubelets.append(_Kubelet(phase_ms, booted_ms=now_ms if now_ms else None))

    def _node_changed(self, node: int) -> None:
        """Pods that the kubelet has not seen yet are admitted by what the node is then."""
        for pod in self.cluster.nodes.pods[node]:
            if self._starting.get(pod, 0) > self._clock.now_ms and not self.intake.is_put_off(pod):
                self._void(pod)
                self._decide_later(pod, self._starting[pod], pull=True)

    def _node_ready(self, node: int) -> None:
        """A kubelet that shuts its machine down says again that the node is not ready."""
        if node in self._shutdowns and self.cluster.nodes.ready[node] == NodeReady.TRUE:
            self._clock.after(0, Lane.KUBELET, self.cluster.set_node_ready, node, NodeReady.FALSE)

    def _node_down(self, node: int) -> None:
        kubelet, now_ms = self._kubelets[node], self._clock.now_ms
        cut_off = bool(self.cluster.nodes.cut_off[node])
        kubelet.connected, kubelet.up = not cut_off, cut_off
        if not cut_off:
            self._shutdowns.node_down(node)
            self.evictions.node_down(node)
        for pod in self.cluster.nodes.pods[node]:
            if not cut_off:
                self._void(pod)
                self._note_done(pod)
                self._lose(pod)
            elif self._starting.get(pod, now_ms) > now_ms:  # it has not seen the pod yet
                self._void(pod)
                del self._starting[pod]

    def _node_up(self, node: int) -> None:
        kubelet = self._kubelets[node]
        ran_on = kubelet.up
        kubelet.up = kubelet.connected = True
        if not ran_on:
            kubelet.booted_ms = self._clock.now_ms
        self.evictions.node_up(node, rebooted=not ran_on)
        for pod in list(self.cluster.nodes.pods[node]):
            if ran_on:
                self._reconnect(pod)
            else:
                self._reboot(pod)

    def _reboot(self, pod: int) -> None:
        """The node is back without its containers."""
        pods = self.cluster.pods
        started, plan = bool(pods.started[pod]), self._plan(pod)
        if pods.deleting_ms[pod] != NEVER:
            self.cluster.remove_pod(pod)
        elif started and not self._starts_anew(pod, plan):
            self.ended(pod, KILLED)
        else:
            self.publish(pod, False)
            self._take_in(pod, plan, self._clock.now_ms, pull=not started)

    def _starts_anew(self, pod: int, plan: Plan) -> bool:
        """Whether a pod whose containers were lost gets a new sandbox."""
        if plan.policy == "Always":
            return True
        rules, done = PodRules(plan.template.pod.spec, self._gates), self._done.get(pod, ())
        states = {
            c.spec.name: ContainerState("exited", exit_code=0 if c.index in done else KILLED)
            for c in plan.containers
        }
        return actions(rules, states, [Sandbox(ready=False)]).create_sandbox

    def _note_done(self, pod: int) -> None:
        """Containers that have succeeded for good are not started again after a reboot."""
        runs = self._runs.get(pod)
        if runs is not None and runs.plan.policy == "OnFailure":
            done = [r for r in runs.regular if not r.running and r.code == 0]
            self._done[pod] = tuple(run.plan.index for run in done)

    def _reconnect(self, pod: int) -> None:
        """The node, which ran on, is heard of again: write what happened, read what shall be."""
        cluster, pods = self.cluster, self.cluster.pods
        if pod in self._unsent_starts:
            del self._unsent_starts[pod]
            cluster.run_pod(pod)
        if pods.deleting_ms[pod] != NEVER:
            self._terminate_late(pod)
        elif pod in self._unsent_ends:
            self._end(pod, *self._unsent_ends[pod])
        elif pods.started[pod]:
            runs = self._runs.get(pod)
            self.publish(pod, runs.ready if runs else bool(pods.alive[pod]))
        elif pod not in self._starting and pod not in self._runs:
            self._take_in(pod, self._plan(pod), self._clock.now_ms, pull=True)

    def _terminate_late(self, pod: int) -> None:
        """The kubelet of a node that was cut off learns that the pod was deleted."""
        if pod not in self._terminating:
            self._terminate(pod)
        elif not self.cluster.pods.alive[pod] and pod not in self._fates:
            self.cluster.remove_pod(pod)


def phase_of(seed: int, node: str) -> int:
    """When in a second a node's kubelet relists and ticks: independent of all other nodes."""
    digest = hashlib.blake2b(f"{seed}/{node}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % RELIST_MS


def _facts_of(status: ContainerStatus) -> ContainerState:
    """The state of a container that has only a status."""
    if status.state == "running":
        return ContainerState("running", started=True, ready=status.ready)
    if status.state == "terminated":
        return ContainerState("exited", exit_code=status.exit_code)
    return ContainerState()
