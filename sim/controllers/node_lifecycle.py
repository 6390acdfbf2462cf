"""The node lifecycle controller: finds dead nodes by their leases, taints them, gives up on pods.

It mirrors pkg/controller/nodelifecycle of Kubernetes v1.36. A monitor pass runs every 5 s there;
here one is an event only when it finds something to do, with the outcome of running them all.
What it writes goes through its own client (20 a second after a burst of 30), events included, which
is what stretches a pass over a dying zone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Lane, TokenBucket
from sim.cluster import Change
from sim.controllers.monitor import RENEW_MS, PassGrid, last_renewal_ms
from sim.controllers.node_health import (
    FALSE,
    TRUE,
    UNKNOWN,
    is_lifecycle_noexecute,
    noexecute_taints,
    noschedule_taints,
)
from sim.controllers.zones import (
    Disruption,
    LifecycleSettings,
    ZoneQueue,
    ZoneState,
    counts_for_disruption,
    disruption,
    zone_counts,
    zone_key_of,
)
from sim.recorder import Of, Reason
from sim.tables import NodeReady

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import Taint
    from sim.rng import Streams

__all__ = ["LifecycleSettings", "NodeLifecycle"]

WORKERS = 8  # of a pass over the nodes (scheduler.UpdateWorkerSize)
TICK_MS = 100  # nodeEvictionPeriod: how often the queues of NoExecute taints are looked at
# A pass comes before what else the controller does at that moment, whenever it was planned.
PASS_LANE = Lane.API
TAINT_CALLS = 2  # a taint is a GET and a PATCH
STATUS = {NodeReady.TRUE: TRUE, NodeReady.FALSE: FALSE, NodeReady.UNKNOWN: UNKNOWN}


class NodeLifecycle:
    """The controller of one run, driven by what the cluster tells and by its own timed events."""

    def __init__(
        self,
        cluster: Cluster,
        streams: Streams,
        settings: LifecycleSettings,
        *,
        lease_phase_ms: Callable[[int], int] | None = None,
        monitor_phase_ms: int | None = None,
        tick_phase_ms: int | None = None,
    ) -> None:
        """`lease_phase_ms(node)`: when in each 10 s a kubelet renews its lease.

        The phases of leases, monitor passes and ticks are drawn where they are not given.
        """
        self.cluster = cluster
        self.settings = settings
        self._clock = cluster.clock
        self._streams = streams
        self._lease_phase_ms = lease_phase_ms or self._draw_lease_phase
        period_ms = settings.monitor_period_ms + settings.pass_ms
        if monitor_phase_ms is None:
            monitor_phase_ms = int(streams("node-lifecycle/monitor").integers(period_ms))
        if tick_phase_ms is None:
            tick_phase_ms = int(streams("node-lifecycle/ticks").integers(TICK_MS))
        self._tick_phase_ms = tick_phase_ms
        self._grid = PassGrid(monitor_phase_ms, period_ms)
        self._bucket = TokenBucket(settings.qps, settings.burst, self._clock.now_ms)
        self._lease_phases: dict[int, int] = {}  # those that had to be drawn
        self._silent: dict[int, int] = {}  # node that renews no lease -> its last renewal
        self._back_ms: dict[int, int] = {}  # when a node last came (back) to life
        self._fresh_ms = 0  # when all nodes were last given a fresh grace
        self._unsettled: dict[int, None] = {}  # nodes for whose NoExecute taint a pass must care
        self._tainted: dict[int, None] = {}  # nodes that had a NoExecute taint as the pass began
        self._counts_changed = False
        self._running = False
        self._workers = 0
        self._pass_ms: int | None = None  # the next pass that is planned
        self._tick_ms: int | None = None  # the next tick that is planned
        self._zones: list[str] = []
        self._zone_of: list[int] = []
        self._counted: list[bool] = []
        self._states: dict[str, ZoneState] = {}
        self._queues: dict[str, ZoneQueue] = {}
        self._syncing: set[int] = set()  # nodes whose NoSchedule taints are being written
        self._events_left = 0
        self._recording = False
        self._handlers: dict[Change, Callable[[int], None]] = {
            Change.NODE_ADDED: self._node_added,
            Change.NODE_REMOVED: self._node_removed,
            Change.NODE_TAINTS: self._node_taints,
            Change.NODE_SCHEDULABLE: self._sync_noschedule,
            Change.NODE_READY: self._node_ready,
            Change.NODE_CONDITION: self._sync_noschedule,
            Change.NODE_DOWN: self._node_down,
            Change.NODE_UP: self._node_up,
        }
        for node in range(len(cluster.nodes)):
            self._node_added(node)
        cluster.watch(self.on_change, self._handlers)

    def on_change(self, change: Change, object_id: int) -> None:
        """Take note of what happens to nodes."""
        self._handlers[change](object_id)

    @property
    def zone_states(self) -> dict[str, ZoneState]:
        """The states of the zones by their keys, as the last pass that was made left them."""
        return dict(self._states)

    # What happens to nodes

    def _node_added(self, node: int) -> None:
        self._zone_of.append(self._zone(node))
        self._counted.append(counts_for_disruption(self.cluster.nodes.labels[node]))
        if self._clock.now_ms > 0:
            self._back_ms[node] = self._clock.now_ms
        self._counts_changed = True
        self._sync_noschedule(node)
        self._check(node)
        self._plan_pass(self._clock.now_ms)

    def _node_removed(self, node: int) -> None:
        self._silent.pop(node, None)
        self._unsettled.pop(node, None)
        self._counts_changed = True
        self._plan_pass(self._clock.now_ms)

    def _node_taints(self, node: int) -> None:
        zone, counted = self._zone(node), counts_for_disruption(self.cluster.nodes.labels[node])
        if (zone, counted) != (self._zone_of[node], self._counted[node]):
            self._zone_of[node], self._counted[node] = zone, counted
            self._counts_changed = True
        self._check(node)
        self._plan_pass(self._clock.now_ms + 1)

    def _node_ready(self, node: int) -> None:
        self._counts_changed = True
        self._sync_noschedule(node)
        self._check(node)
        self._plan_pass(self._clock.now_ms)

    def _node_down(self, node: int) -> None:
        if node in self._silent or not self.cluster.nodes.exists[node]:
            return
        # Faults come first in their instant: a renewal at this moment is lost.
        self._silent[node] = self._renewed_ms(node, self._clock.now_ms - 1)
        if not self._running and self._ready(node) != NodeReady.UNKNOWN:
            self._plan_at(self._due_ms(node))

    def _node_up(self, node: int) -> None:
        """Its kubelet renews the lease and reports itself ready, both at once."""
        self._silent.pop(node, None)
        self._back_ms[node] = self._clock.now_ms
        self._clock.after(0, Lane.KUBELET, self._report_ready, node)

    def _report_ready(self, node: int) -> None:
        if self.cluster.nodes.exists[node] and node not in self._silent:
            self.cluster.set_node_ready(node, NodeReady.TRUE)

    def _ready(self, node: int) -> NodeReady:
        return NodeReady(self.cluster.nodes.ready.item(node))

    def _zone(self, node: int) -> int:
        table = self.cluster.nodes
        key = zone_key_of(table.labels[node], table.zones[table.zone[node]])
        if key not in self._queues:
            self._zones.append(key)
            rate = self.settings.eviction_rate_per_s
            self._queues[key] = ZoneQueue(rate, self._clock.now_ms)
        return self._zones.index(key)

    def _queue(self, node: int) -> ZoneQueue:
        return self._queues[self._zones[self._zone_of[node]]]

    # Leases

    def _draw_lease_phase(self, node: int) -> int:
        if node not in self._lease_phases:
            stream = self._streams(f"lease/{self.cluster.nodes.names[node]}")
            self._lease_phases[node] = int(stream.integers(RENEW_MS))
        return self._lease_phases[node]

    def _renewed_ms(self, node: int, by_ms: int) -> int:
        """The last renewal of a node that has been at work until `by_ms`."""
        return last_renewal_ms(by_ms, self._lease_phase_ms(node), self._back_ms.get(node))

    def _due_ms(self, node: int) -> int:
        """The pass that finds a silent node: the first more than a grace after its last sign."""
        seen_ms = max(self._grid.at_or_after(self._silent[node]), self._fresh_ms)
        return self._grid.at_or_after(seen_ms + self.settings.monitor_grace_ms + 1)

    def _found_silent(self) -> list[int]:
        """Nodes that the pass of this moment finds silent for too long."""
        now_ms = self._clock.now_ms
        return [
            node
            for node in self._silent
            if self._ready(node) != NodeReady.UNKNOWN and self._due_ms(node) <= now_ms
        ]

    # Monitor passes

    def _plan_pass(self, from_ms: int) -> None:
        """Have a pass at or after `from_ms` run if there is something for it to do."""
        if not self._running and (self._counts_changed or self._unsettled):
            self._plan_at(self._grid.at_or_after(max(from_ms, self._grid.last_ms + 1)))

    def _plan_at(self, pass_ms: int) -> None:
        if self._pass_ms is None or pass_ms < self._pass_ms:
            self._pass_ms = pass_ms
            self._clock.at(pass_ms, PASS_LANE, self._begin_pass, pass_ms)

    def _begin_pass(self, planned_ms: int) -> None:
        if planned_ms != self._pass_ms:
            return
        self._pass_ms = None
        self._running = True
        self._grid.began(self._clock.now_ms)
        self._tainted = self._nodes_with_noexecute()
        found = self._found_silent()
        counts = self._zone_counts(found)
        self._counts_changed = False
        nodes = deque(self._in_random_order(set(found) | set(self._unsettled)))
        workers = max(1, min(WORKERS, len(nodes)))
        self._workers = workers
        for _ in range(workers):
            self._advance(self._work(nodes, set(found), counts))

    def _in_random_order(self, nodes: set[int]) -> list[int]:
        """The order of the informer's cache, which is that of a map."""
        ordered = sorted(nodes)
        if len(ordered) < 2:
            return ordered
        places = self._streams("node-lifecycle/order").permutation(len(ordered))
        return [ordered[place] for place in places.tolist()]

    def _zone_counts(self, found: list[int]) -> dict[str, tuple[int, int]]:
        table, count = self.cluster.nodes, len(self.cluster.nodes)
        ready = table.ready[:count] == NodeReady.TRUE
        ready[found] = False
        counted = table.exists[:count] & np.array(self._counted, np.bool_)
        zones = np.array(self._zone_of, np.int64)
        return zone_counts(self._zones, zones[counted], ready[counted])

    def _advance(self, steps: Iterator[int]) -> None:
        """Go on with a sequence of calls to the API: it yields when each of them is answered."""
        answered_ms = next(steps, None)
        if answered_ms is not None:
            self._clock.at(answered_ms, Lane.LIFECYCLE, self._advance, steps)

    def _work(
        self, nodes: deque[int], found: set[int], counts: dict[str, tuple[int, int]]
    ) -> Iterator[int]:
        """One worker of a pass; the last one to finish looks at the zones."""
        while nodes:
            node = nodes.popleft()
            if node in found:
                yield from self._give_up(node)
            else:
                yield from self._settle(node)
        self._workers -= 1
        if not self._workers:
            self._judge_zones(counts)

    def _give_up(self, node: int) -> Iterator[int]:
        """Write that the node's state is unknown, and that its pods are not ready."""
        was_ready = self._ready(node) == NodeReady.TRUE
        yield self._answered_ms(1, self.settings.write_ms)
        if node not in self._silent:
            return  # it came back, and the write is refused as outdated
        self.cluster.set_node_ready(node, NodeReady.UNKNOWN)
        self._record_event()
        yield from self._settle(node)
        if not was_ready:
            return
        pods = self.cluster.pods
        for pod in [pod for pod in self.cluster.nodes.pods[node] if pods.ready[pod]]:
            yield self._answered_ms(1, self.settings.write_ms)
            if self._ready(node) == NodeReady.UNKNOWN and pods.ready[pod]:
                self.cluster.set_ready(pod, False)
                self._record_event()

    def _settle(self, node: int) -> Iterator[int]:
        """Queue a node for its NoExecute taint, or exchange the taint, or take it away."""
        table, queue, ready = self.cluster.nodes, self._queue(node), self._ready(node)
        self._unsettled.pop(node, None)
        if ready == NodeReady.TRUE:
            queue.remove(node)
        if self._has_wrong_taint(node):
            yield self._answered_ms(TAINT_CALLS, self.settings.taint_latency_ms)
            self._write_taints(node, noexecute_taints(STATUS[ready], table.taints(node)))
        elif ready != NodeReady.TRUE:
            queue.add(node)
            self._plan_tick()
        self._check(node)

    def _has_wrong_taint(self, node: int) -> bool:
        """Whether a NoExecute taint is there that does not go with the Ready condition."""
        ours = tuple(t for t in self.cluster.nodes.taints(node) if is_lifecycle_noexecute(t))
        return bool(ours) and noexecute_taints(STATUS[self._ready(node)], ours) != ours

    def _check(self, node: int) -> None:
        """Note whether a pass has to care about the node's NoExecute taint."""
        misplaced = (node in self._queue(node)) == (self._ready(node) == NodeReady.TRUE)
        unsettled = misplaced or self._has_wrong_taint(node)
        if unsettled and self.cluster.nodes.exists[node]:
            self._unsettled[node] = None
        else:
            self._unsettled.pop(node, None)

    def _judge_zones(self, counts: dict[str, tuple[int, int]]) -> None:
        """The end of a pass: rates by the state of the zones."""
        outcome = disruption(self._states, counts, self.settings)
        for zone, state in outcome.states.items():
            self._note_state(zone, state)
        self._states = outcome.states
        self._advance(self._conclude(outcome))

    def _conclude(self, outcome: Disruption) -> Iterator[int]:
        if outcome.all_dead_ends:
            self._give_fresh_grace()
        if outcome.all_dead_begins:
            yield from self._clear()
        for zone, rate in outcome.rates.items():
            self._queues[zone].swap(rate, self._clock.now_ms)
        self._grid.ended(self._clock.now_ms)
        self._running = False
        self._plan_tick()
        self._plan_pass(self._clock.now_ms + 1)
        for node in self._silent:
            if self._ready(node) != NodeReady.UNKNOWN:
                self._plan_at(self._due_ms(node))

    def _give_fresh_grace(self) -> None:
        """Take this moment for the last sign of life of every node."""
        self._fresh_ms = self._clock.now_ms

    def _clear(self) -> Iterator[int]:
        """All zones are dead: take the NoExecute taints away, one node after the other.

        A node that was tainted during this pass keeps its taint: upstream looks at copies of the
        nodes from the start of the pass.
        """
        tainted = self._tainted
        for node in self.cluster.nodes.ids().tolist():
            if node not in tainted and node in self._queue(node):
                self._queue(node).remove(node)
                self._check(node)
        for node in tainted:
            yield self._answered_ms(TAINT_CALLS, self.settings.taint_latency_ms)
            self._write_taints(node, noexecute_taints(TRUE, self.cluster.nodes.taints(node)))
            self._queue(node).remove(node)
            self._check(node)

    def _nodes_with_noexecute(self) -> dict[int, None]:
        table = self.cluster.nodes
        sets = [
            place
            for place, taints in enumerate(table.taint_sets)
            if any(is_lifecycle_noexecute(taint) for taint in taints)
        ]
        return dict.fromkeys(np.flatnonzero(np.isin(table.taint_set[: len(table)], sets)).tolist())

    def _note_state(self, zone: str, state: ZoneState) -> None:
        before = self._states.get(zone, ZoneState.INITIAL)
        started = before is ZoneState.INITIAL and state is ZoneState.NORMAL
        if state is not before and not started:
            name = zone.replace(":/:", "/").strip("/") or "without name"
            text = self.cluster.recorder.text(f"Zone {name}: {state.value}")
            now_ms = self._clock.now_ms
            self.cluster.recorder.event(now_ms, Reason.ZONE_STATE, Of.CLUSTER, 0, text)

    # NoExecute taints, one by one

    def _plan_tick(self) -> None:
        now_ms = self._clock.now_ms
        turns = [queue.next_ms(now_ms) for queue in self._queues.values()]
        due = [turn for turn in turns if turn is not None]
        if not due:
            return
        tick_ms = max(min(due), now_ms + 1)
        tick_ms += (self._tick_phase_ms - tick_ms) % TICK_MS
        if self._tick_ms is None or tick_ms < self._tick_ms:
            self._tick_ms = tick_ms
            self._clock.at(tick_ms, Lane.LIFECYCLE, self._tick, tick_ms)

    def _tick(self, planned_ms: int) -> None:
        """The turn of every node for which there is a token."""
        if planned_ms != self._tick_ms:
            return
        self._tick_ms = None
        for queue in self._queues.values():
            while (node := queue.take(planned_ms)) is not None:
                self._advance(self._taint(node))
        self._plan_tick()

    def _taint(self, node: int) -> Iterator[int]:
        """The taint that goes with the Ready condition of this moment; none if it is ready."""
        table, ready = self.cluster.nodes, self._ready(node)
        if ready == NodeReady.TRUE or not table.exists[node]:
            return
        yield self._answered_ms(TAINT_CALLS, self.settings.taint_latency_ms)
        self._write_taints(node, noexecute_taints(STATUS[ready], table.taints(node)))

    # NoSchedule taints, at once

    def _sync_noschedule(self, node: int) -> None:
        taints = self.cluster.nodes.taints(node)
        if node not in self._syncing and self._noschedule(node) != taints:
            self._syncing.add(node)
            self._advance(self._write_noschedule(node))

    def _write_noschedule(self, node: int) -> Iterator[int]:
        yield self._answered_ms(TAINT_CALLS, self.settings.taint_latency_ms)
        self._syncing.discard(node)
        self._write_taints(node, self._noschedule(node))

    def _noschedule(self, node: int) -> tuple[Taint, ...]:
        table = self.cluster.nodes
        ready = self._ready(node)
        conditions = {"Ready": STATUS[ready]}
        if ready != NodeReady.UNKNOWN:  # else the others are Unknown too
            conditions |= dict.fromkeys(sorted(table.conditions.get(node, ())), TRUE)
        return noschedule_taints(conditions, bool(table.unschedulable[node]), table.taints(node))

    # The client

    def _write_taints(self, node: int, taints: tuple[Taint, ...]) -> None:
        if self.cluster.nodes.exists[node]:
            self.cluster.set_taints(node, taints)

    def _answered_ms(self, calls: int, latency_ms: int) -> int:
        """When the last of so many calls is answered that are made now."""
        now_ms = self._clock.now_ms
        if self.settings.ideal:
            return now_ms
        for _ in range(calls):
            sent_ms = self._bucket.reserve(now_ms)
        return sent_ms + latency_ms

    def _record_event(self) -> None:
        """Kubernetes events cost calls of the same client; they are sent one after the other."""
        if self.settings.ideal:
            return
        self._events_left += 1
        if not self._recording:
            self._recording = True
            self._advance(self._send_events())

    def _send_events(self) -> Iterator[int]:
        while self._events_left:
            self._events_left -= 1
            yield self._answered_ms(1, self.settings.write_ms)
        self._recording = False
