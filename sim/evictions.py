"""The eviction managers of all kubelets: passes over nodes that run short of memory or disk.

A node that has enough has no state here and costs nothing: `sim.pressure` tells when the memory in
use can come to exceed a threshold, and only passes that can find something are made, with the
outcome of making them all (`sim.eviction.next_pass_ms`). What pods use on disks is not known;
signals of disks are set from outside (`set_signal`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from sim.clock import Lane
from sim.eviction import (
    ALLOCATABLE_MEMORY,
    CLEAN_UP_MS,
    CLEAN_UP_POLL_MS,
    CONDITIONS,
    CRITICAL_PRIORITY,
    MEMORY_AVAILABLE,
    MEMORY_SIGNALS,
    PERIOD_MS,
    Grid,
    Observation,
    Settings,
    State,
    admits,
    caught_up,
    next_pass_ms,
    one_pass,
    resource_of,
)
from sim.evictionrank import PodUse, Use
from sim.podspec import EPHEMERAL_STORAGE
from sim.pressure import NO_LEVEL_B
from sim.recorder import Of, Reason
from sim.tables import MEMORY_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim.cluster import Cluster
    from sim.eviction import Condition, Pass
    from sim.pressure import Pressure
    from sim.rng import Streams

RUN_MS = 20  # what a pass takes, a modelling choice: its end starts the next 10 s
STATUS_MS = 10_000  # how often a kubelet writes its node's status, if that has changed


@dataclass(slots=True)
class _Manager:
    """One node's eviction manager."""

    settings: Settings
    grid: Grid
    status_phase_ms: int  # of the writes of its node's status
    state: State = field(default_factory=State)
    due_ms: int | None = None  # the next pass that is planned
    began_ms: int = 0  # when the pass was made that waits for its victims
    waiting: dict[int, None] = field(default_factory=dict)  # victims that are not gone yet
    signals: dict[str, Observation] = field(default_factory=dict)  # set from outside
    reported: frozenset[Condition] = frozenset()  # what the API knows
    reporting: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is planned and nothing but its signals would be lost with it."""
        state = self.state
        kept = state.first_ms or state.acting or state.conditions or self.signals
        return self.due_ms is None and not self.waiting and not kept


class Evictions:
    """All eviction managers of a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        pressure: Pressure,
        streams: Streams,
        settings: Callable[[int], Settings],
        active: Callable[[int], Iterable[int]],
        evict: Callable[[int, int], None],
        *,
        ideal: bool = False,
    ) -> None:
        """`settings(node)` are those of its kubelet, `active(node)` the pods that it knows of;
        `evict(pod, grace_ms)` stops a pod, after which `gone` has to be called.

        `ideal`: a node's status is written at once.
        """
        self._cluster = cluster
        self._clock = cluster.clock
        self._pressure = pressure
        self._streams = streams
        self._settings = settings
        self._active = active
        self._evict = evict
        self._ideal = ideal
        self._managers: dict[int, _Manager] = {}
        self._booted_ms: dict[int, int] = {}  # of nodes that were not there from the start
        self._cleaning: dict[int, int] = {}  # victim -> its node
        pressure.listen(self._alert_b, self._memory_moved)

    def set_signal(self, node: int, signal: str, available: int | None) -> None:
        """From now on so much is available of a signal that no pod's use is known of, such as
        nodefs.available in bytes; None: no longer said."""
        manager = self._manager(node)
        if available is None:
            manager.signals.pop(signal, None)
        else:
            capacity = self._capacity(node, signal)
            manager.signals[signal] = Observation(available, capacity)
        self._plan(node, manager)

    def conditions(self, node: int) -> tuple[Condition, ...]:
        """The node's pressure conditions as its kubelet knows them."""
        manager = self._managers.get(node)
        return manager.state.conditions if manager else ()

    def watches(self, node: int) -> bool:
        """Whether the node is, or may soon be, under pressure."""
        return node in self._managers and not self._managers[node].is_idle

    def refuses(self, pod: int) -> str:
        """Why the kubelet of a pod's node does not let it in; '' if it does."""
        conditions = self.conditions(self._cluster.pods.node.item(pod))
        template = self._cluster.pod_template(pod)
        spec = template.pod.spec
        critical = spec.priority >= CRITICAL_PRIORITY
        if admits(conditions, template.qos, spec.tolerations, critical=critical):
            return ""
        return f"The node had condition: [{', '.join(conditions)}]."

    # What happens to nodes and victims

    def node_down(self, node: int) -> None:
        """The machine stops, and its eviction manager with it."""
        manager = self._managers.get(node)
        if manager is not None:
            manager.due_ms = None
            manager.state = State()
            self._forget_victims(manager)
            self._pressure.watch(node, False)

    def node_up(self, node: int, *, rebooted: bool) -> None:
        """The machine is back, or is heard of again: what was not written is written now."""
        if rebooted:
            self._booted_ms[node] = self._clock.now_ms
        manager = self._managers.get(node)
        if manager is None:
            return
        if rebooted:
            manager.grid, manager.status_phase_ms = self._phases(node)
            self._plan(node, manager)
        self._write_status(node, manager)

    def gone(self, pod: int) -> None:
        """A victim's containers have ended."""
        node = self._cleaning.pop(pod, None)
        if node is None:
            return
        manager, now_ms = self._managers[node], self._clock.now_ms
        del manager.waiting[pod]
        if not manager.waiting:
            polls = max(1, -(-(now_ms - manager.began_ms) // CLEAN_UP_POLL_MS))
            self._resume(node, manager, manager.began_ms + polls * CLEAN_UP_POLL_MS)

    def _clean_up_ends(self, node: int, began_ms: int) -> None:
        """A manager waits no longer for its victims."""
        manager = self._managers[node]
        if manager.waiting and manager.began_ms == began_ms:
            self._forget_victims(manager)
            self._resume(node, manager, self._clock.now_ms)

    def _forget_victims(self, manager: _Manager) -> None:
        for pod in manager.waiting:
            del self._cleaning[pod]
        manager.waiting.clear()

    def _resume(self, node: int, manager: _Manager, next_ms: int) -> None:
        manager.grid = Grid(next_ms, manager.grid.period_ms)
        self._plan(node, manager)

    # Passes

    def _manager(self, node: int) -> _Manager:
        manager = self._managers.get(node)
        if manager is None:
            manager = _Manager(self._settings(node), *self._phases(node))
            self._managers[node] = manager
        return manager

    def _phases(self, node: int) -> tuple[Grid, int]:
        """When a kubelet makes its passes and writes its node's status: two random moments of its
        first 10 s, whoever asks for them and when."""
        name, booted_ms = self._cluster.nodes.names[node], self._booted_ms.get(node)
        if booted_ms is None:
            booted_ms = self._cluster.nodes.created_ms.item(node)
        stream, period_ms = self._streams(f"eviction/{name}/{booted_ms}"), PERIOD_MS + RUN_MS
        pass_ms, status_ms = stream.integers(period_ms), stream.integers(STATUS_MS)
        return Grid(booted_ms + int(pass_ms), period_ms), int(status_ms)

    def _alert_b(self, node: int) -> int:
        """Memory in use on the node beyond which a threshold is met."""
        levels_b = [
            self._capacity(node, threshold.signal)
            - threshold.needed(self._capacity(node, threshold.signal))
            for threshold in self._settings(node).thresholds
            if threshold.signal in MEMORY_SIGNALS
        ]
        return min(levels_b, default=NO_LEVEL_B)

    def _memory_moved(self, node: int) -> None:
        """Look after the node from now on if its memory can come to be short."""
        if node not in self._managers:
            alert_b = self._alert_b(node)
            if alert_b == NO_LEVEL_B or self._pressure.turn_ms(node, alert_b, above=True) is None:
                return
        self._plan(node, self._manager(node))

    def _plan(self, node: int, manager: _Manager) -> None:
        """Plan the next pass that can find something; what was planned before is void."""
        if manager.waiting or not self._cluster.nodes.up[node]:
            return
        due_ms = next_pass_ms(
            manager.settings,
            manager.state,
            manager.grid,
            self._clock.now_ms,
            self._observe(node, manager),
            partial(self._foresee, node),
        )
        if due_ms != manager.due_ms:
            manager.due_ms = due_ms
            if due_ms is not None:
                self._clock.at(due_ms, Lane.KUBELET, self._pass, node, due_ms)
        self._pressure.watch(node, not manager.is_idle)

    def _pass(self, node: int, planned_ms: int) -> None:
        manager = self._managers.get(node)
        if manager is None or manager.due_ms != planned_ms:
            return
        manager.due_ms = None
        outcome = one_pass(
            manager.settings,
            caught_up(manager.state, manager.grid.before(planned_ms)),
            planned_ms,
            self._observe(node, manager),
            [self._use(pod) for pod in self._active(node)],
        )
        manager.state = outcome.state
        manager.grid = replace(manager.grid, next_ms=planned_ms + manager.grid.period_ms)
        self._carry_out(node, manager, outcome)
        self._report(node, manager)
        self._plan(node, manager)

    def _carry_out(self, node: int, manager: _Manager, outcome: Pass) -> None:
        cluster, now_ms = self._cluster, self._clock.now_ms
        resource = resource_of(outcome.reclaimed)
        if outcome.reclaimed:
            text = cluster.recorder.text(resource)
            cluster.recorder.event(now_ms, Reason.EVICTION_THRESHOLD_MET, Of.NODE, node, text)
        if not outcome.evicted:
            return
        manager.began_ms = now_ms
        for victim in outcome.evicted:
            manager.waiting[victim.pod.key] = None
            self._cleaning[victim.pod.key] = node
        self._clock.after(CLEAN_UP_MS, Lane.KUBELET, self._clean_up_ends, node, now_ms)
        for victim in outcome.evicted:
            cluster.count_eviction(victim.pod.key, f"The node was low on resource: {resource}.")
            self._evict(victim.pod.key, victim.grace_ms)

    # What a pass reads

    def _observe(self, node: int, manager: _Manager) -> dict[str, Observation]:
        used_b = self._pressure.memory_b(node)
        seen = dict(manager.signals)
        for signal in MEMORY_SIGNALS:
            capacity_b = self._capacity(node, signal)
            seen[signal] = Observation(capacity_b - used_b, capacity_b)
        return seen

    def _capacity(self, node: int, signal: str) -> int:
        table = self._cluster.nodes
        if signal == MEMORY_AVAILABLE:
            return table.capacity.item(MEMORY_ROW, node)
        if signal == ALLOCATABLE_MEMORY:
            return table.kubepods_memory_b.item(node)
        if resource_of(signal) == EPHEMERAL_STORAGE:
            return table.capacity.item(table.resource_row(EPHEMERAL_STORAGE), node)
        return 0

    def _foresee(self, node: int, signal: str, amount: int, below: bool) -> int | None:
        if signal not in MEMORY_SIGNALS:
            return None
        level_b = self._capacity(node, signal) - amount
        return self._pressure.turn_ms(node, level_b, above=below)

    def _use(self, pod: int) -> PodUse:
        """A pod as a pass sees it; before its containers run it uses nothing."""
        template = self._cluster.pod_template(pod)
        spec = template.pod.spec
        return PodUse(
            pod,
            spec.priority,
            Use(memory_b=self._pressure.memory_of(pod)),
            memory_request_b=template.memory_b,
            storage_request_b=spec.requests.get(EPHEMERAL_STORAGE, 0),
            grace_ms=spec.termination_grace_ms,
            critical=spec.priority >= CRITICAL_PRIORITY,
        )

    # What the API is told

    def _report(self, node: int, manager: _Manager) -> None:
        """Have changed conditions written with the node's next status."""
        if manager.reporting or manager.reported == frozenset(manager.state.conditions):
            return
        manager.reporting = True
        delay_ms = (manager.status_phase_ms - self._clock.now_ms) % STATUS_MS
        delay_ms = 0 if self._ideal else delay_ms
        self._clock.after(delay_ms, Lane.KUBELET, self._write_next, node, manager)

    def _write_next(self, node: int, manager: _Manager) -> None:
        manager.reporting = False
        self._write_status(node, manager)

    def _write_status(self, node: int, manager: _Manager) -> None:
        table = self._cluster.nodes
        if not table.exists[node] or not table.up[node] or table.cut_off[node]:
            return
        conditions = frozenset(manager.state.conditions)
        for kind in CONDITIONS:
            if kind in conditions ^ manager.reported:
                self._cluster.set_condition(node, kind, kind in conditions)
        manager.reported = conditions
