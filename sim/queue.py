"""The scheduling queue: who is tried next, who waits out a back-off, who waits for a change.

Follows pkg/scheduler/backend/queue/{scheduling_queue,active_queue,backoff_queue}.go (v1.34.1) with
its default features (QueueingHints, PopFromBackoffQ). A pod that no node takes waits until one of
the plugins that refused it thinks that an event may help; what happens while a pod is being tried
is kept and asked when it fails. Pods that answer alike wait together, so that a hint is asked once
for all of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sim.events import Action, Event, Kind, PodFacts, pod_updates
from sim.extend import Gates, Listens

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

INITIAL_BACKOFF_S = 1  # podInitialBackoffSeconds
MAX_BACKOFF_S = 10  # podMaxBackoffSeconds
MOST_DOUBLINGS = 62  # then even 1 s is longer than the longest back-off that can be asked for
NO_BACKOFF_S = -1  # "until" of a pod that never failed
MAX_UNSCHEDULABLE_MS = 5 * 60_000  # how long a pod may wait for an event
NONE: frozenset[str] = frozenset()
NOBODY = -1
TIMEOUT = Event(Kind.ANY, Action.OTHER)  # EventUnschedulableTimeout, which helps whoever hears it


class Place(IntEnum):
    """Where a pod of the queue is."""

    ACTIVE = 0
    BACKOFF = 1
    ERROR_BACKOFF = 2
    UNSCHEDULABLE = 3
    GATED = 4
    IN_FLIGHT = 5


class Worth(IntEnum):
    """What an event is to a pod (queueingStrategy)."""

    NOTHING = 0
    AFTER_BACKOFF = 1
    AT_ONCE = 2


@dataclass(slots=True, eq=False)
class Entry:
    """One pod in the queue. `plugins` refused it, `pending` ones let it wait for something."""

    pod: int
    template: Template
    priority: int
    scheduler_name: str
    timestamp_ms: int = 0  # when it came, or failed last
    place: Place = Place.ACTIVE
    attempts: int = 0
    unschedulable_count: int = 0
    error_count: int = 0  # in a row
    plugins: frozenset[str] = NONE
    pending: frozenset[str] = NONE
    gone: bool = False  # deleted while it was being tried
    forced: bool = False  # somebody wants it to be tried again whatever refuses it now
    arrival: int = 0  # decides between pods of one priority and time
    turn: int = 0  # changes with each move, so that old heap items can be told
    seen: int = 0  # events before it was taken
    backoff_s: tuple[int, int] = (INITIAL_BACKOFF_S, MAX_BACKOFF_S)

    @property
    def backoff_until_s(self) -> int:
        """The whole second whose end is that of the back-off."""
        count = self.error_count or self.unschedulable_count
        if count == 0:
            return NO_BACKOFF_S
        initial_s, max_s = self.backoff_s
        wait_s = min(initial_s << min(count - 1, MOST_DOUBLINGS), max_s)
        return self.timestamp_ms // 1000 + wait_s

    def backs_off(self, now_ms: int) -> bool:
        """Whether the back-off is not over yet."""
        return self.backoff_until_s >= now_ms // 1000

    def late(self, now_ms: int) -> bool:
        """Whether it has waited longer than any pod shall."""
        return now_ms - self.timestamp_ms > MAX_UNSCHEDULABLE_MS


Asked = tuple[tuple[Listens | None, Worth], ...]  # None: not asked, every such event is worth it
Refusal = tuple[str, frozenset[str], frozenset[str]]  # scheduler, plugins, pending plugins
Item = tuple[Any, ...]  # what decides the order, and then the turn and the entry


@dataclass(slots=True, eq=False)
class Waiting:
    """Unschedulable pods that the same plugins refused, by shape; `asked` by kind and action."""

    key: Refusal
    plugins: dict[str, object]  # that can be asked, by name
    pending: frozenset[str]
    by_shape: dict[int, dict[int, Entry]] = field(default_factory=dict)
    asked: dict[tuple[Kind, Action], Asked] = field(default_factory=dict)

    def whom_to_ask(self, kind: Kind, action: Action) -> Asked:
        """The plugins that such an event concerns, those first that would move a pod at once."""
        known = self.asked.get((kind, action))
        if known is None:
            known = self.asked[kind, action] = tuple(self._concerned(kind, action))
        return known

    def _concerned(self, kind: Kind, action: Action) -> Iterator[tuple[Listens | None, Worth]]:
        for name in sorted(self.plugins, key=lambda name: (name not in self.pending, name)):
            worth = Worth.AT_ONCE if name in self.pending else Worth.AFTER_BACKOFF
            plugin = self.plugins[name]
            if not isinstance(plugin, Listens):
                yield None, worth
            elif covers(plugin.listens, kind, action):
                yield plugin, worth
            elif kind is Kind.NODE and action & Action.NODE_TAINT and misses_taints(plugin.listens):
                yield None, worth


class SchedulingQueue:
    """Pods without a node, of all schedulers that there are.

    `plugins` are those of each scheduler by name; a plugin that does not say what it listens to is
    thought to be helped by everything. `backoff_s` are the first and the longest back-off.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugins: Mapping[str, Mapping[str, object]],
        backoff_s: tuple[int, int] = (INITIAL_BACKOFF_S, MAX_BACKOFF_S),
    ) -> None:
        self.entries: dict[int, Entry] = {}
        self._backoff_s = backoff_s
        self._cluster = cluster
        self._plugins = plugins
        self._gates = {
            scheduler: {name: plugin for name, plugin in known.items() if isinstance(plugin, Gates)}
            for scheduler, known in plugins.items()
        }
        self._active: list[Item] = []  # -priority, time, arrival
        self._backoff: list[Item] = []  # the second in which the back-off ends, then as above
        self._errors: list[Item] = []
        self._groups: dict[Refusal, Waiting] = {}  # all that there ever were
        self._waiting: dict[Refusal, Waiting] = {}  # those in which pods are
        self._in_flight: dict[int, Entry] = {}  # in the order in which they were taken
        self._events: list[Event] = []  # since the oldest of them was taken
        self._forgotten = 0  # events that came before those
        self._arrivals = 0
        self._turns = 0

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def has_ready(self) -> bool:
        """Whether a pod can be taken."""
        return bool(_head(self._active) or _head(self._backoff))

    @property
    def has_backoff(self) -> bool:
        """Whether a pod waits for the end of its back-off."""
        return bool(_head(self._backoff) or _head(self._errors))

    @property
    def has_unschedulable(self) -> bool:
        """Whether a pod waits for an event."""
        return bool(self._waiting)

    @property
    def has_waiting_or_in_flight(self) -> bool:
        """Whether an event can matter to anybody."""
        return bool(self._waiting or self._in_flight)

    def wants(self, kind: Kind, action: Action) -> bool:
        """Whether such an event has to be told."""
        if self._in_flight:
            return True
        return any(waiting.whom_to_ask(kind, action) for waiting in self._waiting.values())

    # Coming and going

    def add(self, pod: int, template: Template, now_ms: int) -> None:
        """A new pod without a node: to be tried, unless a gate keeps it out."""
        spec = template.pod.spec
        self._arrivals += 1
        entry = Entry(pod, template, spec.priority, spec.scheduler_name, now_ms)
        entry.backoff_s = self._backoff_s
        entry.arrival = self._arrivals
        self.entries[pod] = entry
        if self._passes_gates(entry):
            self._put(entry, Place.ACTIVE)

    def update(self, before: PodFacts, after: PodFacts, now_ms: int) -> None:
        """A pod without a node has changed, which may be what it waited for."""
        entry = self.entries.get(after.pod)
        if entry is None:
            return
        if entry.place == Place.IN_FLIGHT:
            self._replace(entry, after.template)
            self._events += pod_updates(before, after)
        elif entry.place in (Place.UNSCHEDULABLE, Place.GATED):
            self._update_waiting(entry, before, after, now_ms)
        else:
            self._replace(entry, after.template)
            self._put(entry, entry.place)

    def remove(self, pod: int) -> None:
        """The pod is gone; one that is being tried is dropped when its turn ends."""
        entry = self.entries.get(pod)
        if entry is None:
            return
        if entry.place == Place.IN_FLIGHT:
            entry.gone = True
            return
        del self.entries[pod]
        self._take_out(entry)

    # A turn

    def pop(self, now_ms: int) -> Entry | None:
        """The pod to try now: the head of activeQ, or of backoffQ when activeQ is empty."""
        item = _head(self._active)
        heap = self._active if item else self._backoff
        if not item and not _head(heap):
            return None
        entry: Entry = heapq.heappop(heap)[-1]
        entry.turn = 0
        entry.place = Place.IN_FLIGHT
        entry.attempts += 1
        entry.plugins = entry.pending = NONE
        entry.seen = self._forgotten + len(self._events)
        self._in_flight[entry.pod] = entry
        return entry

    def failed(
        self,
        entry: Entry,
        plugins: Collection[str],
        now_ms: int,
        *,
        pending: Collection[str] = (),
    ) -> None:
        """Its turn ended without a node, because of these plugins.

        What has happened since it was taken may have helped already. Without any plugin the
        failure counts as an error, as upstream.
        """
        events = self._end_turn(entry)
        if entry.gone:
            return
        entry.timestamp_ms = now_ms
        entry.plugins, entry.pending = frozenset(plugins), frozenset(pending)
        if not plugins and not pending:
            entry.error_count += 1
            self._requeue(entry, Worth.AFTER_BACKOFF, now_ms)
            return
        entry.unschedulable_count += 1
        entry.error_count = 0
        self._requeue(entry, self._worth_of_all(entry, events), now_ms)

    def error(self, entry: Entry, now_ms: int) -> None:
        """Its turn ended with an unexpected error: it is tried again after a back-off."""
        self.failed(entry, (), now_ms)

    def done(self, pod: int) -> None:
        """Its turn ended with a node: it leaves."""
        entry = self.entries.get(pod)
        if entry is not None and entry.place == Place.IN_FLIGHT:
            entry.gone = True
            self._end_turn(entry)
        else:
            self.remove(pod)

    # What wakes

    def move(self, event: Event, now_ms: int, *, at_most_priority: int | None = None) -> None:
        """Something has happened that may help pods that wait, or are being tried.

        With `at_most_priority` it concerns only waiting pods up to that priority.
        """
        if self._in_flight:
            self._events.append(event)
        for waiting in list(self._waiting.values()):
            asked = waiting.whom_to_ask(event.kind, event.action)
            if asked:
                self._move_some(waiting, asked, event, now_ms, at_most_priority)

    def activate(self, pod: int, now_ms: int) -> None:
        """Have the pod tried whatever it waits for; one being tried, again after its back-off."""
        entry = self.entries.get(pod)
        if entry is None or entry.place == Place.ACTIVE:
            return
        if entry.place == Place.IN_FLIGHT:
            entry.forced = True
            return
        self._wake(entry, Worth.AT_ONCE, now_ms)

    def flush_backoff(self, now_ms: int) -> None:
        """Pods whose back-off is over become active; upstream looks at each whole second."""
        for heap in (self._backoff, self._errors):
            while (item := _head(heap)) and item[0] < now_ms // 1000:
                self._put(heapq.heappop(heap)[-1], Place.ACTIVE)

    def flush_unschedulable(self, now_ms: int) -> None:
        """Pods that have waited for more than five minutes are tried again; looked at each 30 s.

        Pods being tried hear of it too, even when those that are late stay because of their gates
        (movePodsToActiveOrBackoffQueue keeps the event for them).
        """
        late = [
            entry
            for waiting in self._waiting.values()
            for alike in waiting.by_shape.values()
            for entry in alike.values()
            if entry.late(now_ms)
        ]
        for entry in late:
            self._wake(entry, Worth.AFTER_BACKOFF, now_ms)
        if self._in_flight and (late or self._gated_and_late(now_ms)):
            self._events.append(TIMEOUT)

    def _gated_and_late(self, now_ms: int) -> bool:
        entries = self.entries.values()
        return any(entry.place == Place.GATED and entry.late(now_ms) for entry in entries)

    # Worth another try?

    def _move_some(
        self, waiting: Waiting, asked: Asked, event: Event, now_ms: int, priority: int | None
    ) -> None:
        """Ask once for all pods of a shape, but apart for the pod whose own event it is."""
        itself = _pod_of(event)
        for alike in list(waiting.by_shape.values()):
            first = next(iter(alike.values()))
            if priority is not None and first.priority > priority:
                continue  # the priority is part of the shape
            own = alike.get(itself)
            if own and (worth := self._ask(asked, event, own.template, own=True)):
                self._wake(own, worth, now_ms)
            if worth := self._ask(asked, event, first.template, own=False):
                for entry in [entry for entry in alike.values() if entry is not own]:
                    self._wake(entry, worth, now_ms)

    def _ask(self, asked: Asked, event: Event, pod: Template, *, own: bool) -> Worth:
        for plugin, worth in asked:
            if plugin is None or plugin.hint(event, pod, self._cluster, own=own):
                return worth
        return Worth.NOTHING

    def _wake(self, entry: Entry, worth: Worth, now_ms: int) -> None:
        self._take_out(entry)
        self._requeue(entry, worth, now_ms)

    def _worth_of(self, entry: Entry, event: Event) -> Worth:
        """What an event is to one pod."""
        if event is TIMEOUT:
            return Worth.AFTER_BACKOFF
        asked = self._group(entry).whom_to_ask(event.kind, event.action)
        return self._ask(asked, event, entry.template, own=_pod_of(event) == entry.pod)

    def _worth_of_all(self, entry: Entry, events: list[Event]) -> Worth:
        """The most that one of the events is to the pod."""
        worth = Worth.AFTER_BACKOFF if entry.forced else Worth.NOTHING
        enough = Worth.AT_ONCE if entry.pending else Worth.AFTER_BACKOFF
        entry.forced = False
        for event in events:
            if worth >= enough:
                break
            worth = max(worth, self._worth_of(entry, event))
        return worth

    def _update_waiting(self, entry: Entry, before: PodFacts, after: PodFacts, now_ms: int) -> None:
        """The first event of its update that is worth it moves the pod."""
        self._take_out(entry)
        self._replace(entry, after.template)
        for event in pod_updates(before, after):
            worth = self._worth_of(entry, event)
            if worth:
                self._requeue(entry, worth, now_ms)
                if entry.place != Place.GATED:
                    return
        if entry.place == Place.UNSCHEDULABLE:
            self._requeue(entry, Worth.NOTHING, now_ms)

    # Places

    def _requeue(self, entry: Entry, worth: Worth, now_ms: int) -> None:
        """requeuePodWithQueueingStrategy; gates are asked again on the way out."""
        if worth == Worth.NOTHING:
            entry.place = Place.UNSCHEDULABLE
            group = self._group(entry)
            self._waiting[group.key] = group
            group.by_shape.setdefault(entry.template.shape, {})[entry.pod] = entry
        elif not self._passes_gates(entry):
            entry.place = Place.GATED
        elif worth == Worth.AT_ONCE or not entry.backs_off(now_ms):
            self._put(entry, Place.ACTIVE)
        else:
            failed = entry.plugins or entry.pending
            self._put(entry, Place.BACKOFF if failed else Place.ERROR_BACKOFF)

    def _passes_gates(self, entry: Entry) -> bool:
        """Whether every gate admits the pod (PreEnqueue); a gate that does not has refused it."""
        for name, gate in self._gates.get(entry.scheduler_name, {}).items():
            if not gate.admits(entry.template):
                entry.plugins |= {name}
                entry.place = Place.GATED
                return False
        return True

    def _put(self, entry: Entry, place: Place) -> None:
        """Into activeQ or one of the back-off queues; an item that it has there is void."""
        self._turns = turn = self._turns + 1
        entry.place, entry.turn = place, turn
        if place == Place.ACTIVE:
            item: Item = (-entry.priority, entry.timestamp_ms, entry.arrival, turn, entry)
            heapq.heappush(self._active, item)
            return
        order = (entry.backoff_until_s, -entry.priority, entry.timestamp_ms, entry.arrival)
        heap = self._backoff if place == Place.BACKOFF else self._errors
        heapq.heappush(heap, (*order, turn, entry))

    def _take_out(self, entry: Entry) -> None:
        """Out of wherever it waits; `place` still says where that was."""
        entry.turn = 0
        if entry.place != Place.UNSCHEDULABLE:
            return
        group, shape = self._group(entry), entry.template.shape
        alike = group.by_shape[shape]
        del alike[entry.pod]
        if not alike:
            del group.by_shape[shape]
            if not group.by_shape:
                del self._waiting[group.key]

    def _group(self, entry: Entry) -> Waiting:
        """The pods that were refused alike."""
        key = (entry.scheduler_name, entry.plugins, entry.pending)
        group = self._groups.get(key)
        if group is None:
            known = self._plugins.get(entry.scheduler_name, {})
            names = entry.plugins | entry.pending
            plugins = {name: plugin for name, plugin in known.items() if name in names}
            group = self._groups[key] = Waiting(key, plugins, entry.pending)
        return group

    def _end_turn(self, entry: Entry) -> list[Event]:
        """No longer in flight; the events since it was taken. Those that no pod needs are dropped.

        A pod that was deleted meanwhile leaves.
        """
        del self._in_flight[entry.pod]
        if entry.gone:
            del self.entries[entry.pod]
        if not self._events:
            return []
        events = self._events[entry.seen - self._forgotten :]
        oldest = next(iter(self._in_flight.values()), None)
        drop = len(self._events) if oldest is None else oldest.seen - self._forgotten
        del self._events[:drop]
        self._forgotten += drop
        return events

    def _replace(self, entry: Entry, template: Template) -> None:
        entry.template = template
        entry.priority = template.pod.spec.priority


def covers(listens: tuple[tuple[Kind, Action], ...], kind: Kind, action: Action) -> bool:
    """Whether a plugin has registered for such an event (ClusterEvent.Match)."""
    return any(
        own_kind in (kind, Kind.ANY) and own_action & action == action
        for own_kind, own_action in listens
    )


def misses_taints(listens: tuple[tuple[Kind, Action], ...]) -> bool:
    """Whether a plugin hears of new nodes but not of taints.

    Upstream tells it of taints all the same and takes each for worth another try
    (scheduler.go buildQueueingHintMap, kubernetes issue 109437).
    """
    actions = [action for kind, action in listens if kind is Kind.NODE]
    return any(action & Action.ADD for action in actions) and not any(
        action & Action.NODE_TAINT for action in actions
    )


def _head(heap: list[Item]) -> Item | None:
    """The first item that is not void; void ones before it are thrown away."""
    while heap:
        item = heap[0]
        if item[-1].turn == item[-2]:
            return item
        heapq.heappop(heap)
    return None


def _pod_of(event: Event) -> int:
    """The pod whose event it is, -1 for an event of something else."""
    if event.kind is not Kind.POD:
        return NOBODY
    facts: PodFacts = event.after or event.before
    return facts.pod
