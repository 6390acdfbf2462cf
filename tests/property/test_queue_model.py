"""The queue against a plain one: lists, every pod asked by itself, nothing kept between events.

The plain queue is written from the rules of pkg/scheduler/backend/queue (v1.34.1) alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given

from sim.events import Action, Event, Kind, NodeFacts, PodFacts, pod_updates
from sim.podspec import Taint, Toleration
from sim.queue import Place, SchedulingQueue
from sim.tables import UNBOUND
from sim.testing import a_cluster, a_pod

CLUSTER = a_cluster()


class Deaf:
    listens = ()

    def hint(self, event, pod, cluster, *, own):
        raise AssertionError("it was asked of what it does not listen to")


class Silent:
    """It does not say what it listens to."""


class Room:
    """New nodes and their labels; hears of taints without having asked for them."""

    listens = ((Kind.NODE, Action.ADD | Action.NODE_LABEL),)

    def hint(self, event, pod, cluster, *, own):
        assert event.action in Action.ADD | Action.NODE_LABEL
        return event.after.labels.get("app") == pod.pod.labels.get("app")


class Taints:
    listens = ((Kind.NODE, Action.ADD | Action.NODE_TAINT), (Kind.POD, Action.POD_TOLERATION))

    def hint(self, event, pod, cluster, *, own):
        return own if event.kind is Kind.POD else not event.after.taints


class Peers:
    """Pods beside it, by label; of its own updates it only wants those of its labels."""

    listens = ((Kind.POD, Action.ADD | Action.POD_LABEL | Action.DELETE),)

    def hint(self, event, pod, cluster, *, own):
        facts = event.after or event.before
        return own or facts.template.pod.labels == pod.pod.labels


class Gate:
    listens = ((Kind.POD, Action.POD_GATES_ELIMINATED),)

    def admits(self, pod):
        return not pod.pod.spec.scheduling_gates

    def hint(self, event, pod, cluster, *, own):
        return own


SOME = {"Room": Room(), "Peers": Peers(), "Gate": Gate()}
PLUGINS = {
    "default-scheduler": {**SOME, "Deaf": Deaf(), "Silent": Silent(), "Taints": Taints()},
    "other": SOME,
}
NAMES = [*PLUGINS["default-scheduler"], "Unknown"]
TEMPLATES = [
    CLUSTER.template(
        a_pod(
            cpu_m=cpu_m,
            labels={"app": app},
            priority=priority,
            scheduler_name=scheduler,
            scheduling_gates=gates,
            tolerations=tolerations,
        )
    )
    for cpu_m, app, priority, scheduler, gates, tolerations in [
        (100, "web", 0, "default-scheduler", (), ()),
        (50, "web", 0, "default-scheduler", (), ()),
        (100, "api", 0, "default-scheduler", (), (Toleration("a", "Exists"),)),
        (100, "web", 5, "default-scheduler", (), ()),
        (100, "web", 0, "default-scheduler", ("wait",), ()),
        (100, "api", 0, "other", (), ()),
    ]
]


def a_node_event(action, app, tainted):
    taints = (Taint("t", "NoSchedule"),) if tainted else ()
    facts = NodeFacts("node", {"app": app}, taints, False, {})
    before = None if action == Action.ADD else facts
    return Event(Kind.NODE, action, before, None if action == Action.DELETE else facts)


def a_pod_event(action, pod, template, node):
    facts = PodFacts(pod, f"pod-{pod}", template, node, UNBOUND)
    before = None if action == Action.ADD else facts
    return Event(Kind.POD, action, before, None if action == Action.DELETE else facts)


NODE_ACTIONS = [Action.ADD, Action.NODE_LABEL, Action.NODE_TAINT, Action.NODE_ALLOCATABLE]
POD_ACTIONS = [Action.ADD, Action.DELETE, Action.POD_LABEL, Action.OTHER]
templates = st.sampled_from(TEMPLATES)
names = st.sets(st.sampled_from(NAMES), min_size=1, max_size=2)
pending = st.one_of(st.just(set()), st.sets(st.sampled_from(NAMES), min_size=1, max_size=1))
places = st.integers(0, 9)  # of a pod among those that there are
events = st.one_of(
    st.builds(
        a_node_event, st.sampled_from(NODE_ACTIONS), st.sampled_from(["web", "api"]), st.booleans()
    ),
    st.builds(a_pod_event, st.sampled_from(POD_ACTIONS), places, templates, st.integers(-1, 1)),
    st.just(Event(Kind.PVC, Action.ADD, None, "claim")),
)
turns = st.tuples(st.just("turn"), names, pending)
operations = st.one_of(
    turns,
    st.tuples(st.just("pop")),
    st.tuples(st.just("failed"), places, names, pending),
    st.tuples(st.just("end"), places, st.sampled_from(["error", "done", "failed"])),
    st.tuples(
        st.just("touch"), places, st.sampled_from(["remove", "activate", "update"]), templates
    ),
    st.tuples(st.just("move"), events, st.sampled_from([None, None, 0, 5])),
    st.tuples(st.just("move"), events, st.none()),
    st.tuples(st.just("flush"), st.sampled_from(["flush_backoff", "flush_unschedulable"])),
    st.tuples(st.just("add"), templates),
)
waits_ms = st.sampled_from([0, 0, 1, 400, 1_000, 2_500, 300_000])


@dataclass
class Pod:
    """A pod of the plain queue; `heard` is what happened since it was taken."""

    id: int
    template: object
    timestamp_ms: int
    place: Place = Place.ACTIVE
    attempts: int = 0
    unschedulable: int = 0
    errors: int = 0
    plugins: set = field(default_factory=set)
    pending: set = field(default_factory=set)
    heard: list = field(default_factory=list)
    gone: bool = False
    forced: bool = False

    @property
    def priority(self):
        return self.template.pod.spec.priority

    def record(self):
        return (
            *(self.place, self.template, self.timestamp_ms, self.attempts),
            *(self.unschedulable, self.errors, self.plugins, self.pending),
        )

    def until_s(self):
        count = self.errors or self.unschedulable
        wait_s = min(2.0 ** (count - 1), 10) if count else None
        return -1 if wait_s is None else int(self.timestamp_ms / 1000 + wait_s)


class PlainQueue:
    def __init__(self):
        self.pods = {}

    def plugin(self, pod, name):
        return PLUGINS[pod.template.pod.spec.scheduler_name].get(name)

    def add(self, pod, template, now_ms):
        self.pods[pod] = Pod(pod, template, now_ms)
        self.send(self.pods[pod], Place.ACTIVE)

    def update(self, before, after, now_ms):
        pod = self.pods[after.pod]
        pod.template = after.template
        if pod.place == Place.IN_FLIGHT:
            for event in pod_updates(before, after):
                self.note(event)
        if pod.place in (Place.UNSCHEDULABLE, Place.GATED):
            for event in pod_updates(before, after):
                if pod.place in (Place.UNSCHEDULABLE, Place.GATED):
                    self.wake(pod, self.worth(pod, event), now_ms)

    def remove(self, pod):
        if self.pods[pod].place == Place.IN_FLIGHT:
            self.pods[pod].gone = True
        else:
            del self.pods[pod]

    def pop(self, now_ms):
        active = self.at(Place.ACTIVE)
        backoff = self.at(Place.BACKOFF)
        if active:
            pod = min(active, key=lambda p: (-p.priority, p.timestamp_ms, p.id))
        elif backoff:
            pod = min(backoff, key=lambda p: (p.until_s(), -p.priority, p.timestamp_ms, p.id))
        else:
            return None
        pod.place, pod.attempts = Place.IN_FLIGHT, pod.attempts + 1
        pod.plugins, pod.pending, pod.heard = set(), set(), []
        return pod

    def failed(self, pod, plugins, now_ms, pending=()):
        if pod.gone:
            del self.pods[pod.id]
            return
        pod.timestamp_ms, pod.plugins, pod.pending = now_ms, set(plugins), set(pending)
        if not plugins and not pending:
            pod.errors += 1
            self.wake(pod, 1, now_ms)
            return
        pod.unschedulable, pod.errors = pod.unschedulable + 1, 0
        worth = max([self.worth(pod, event) for event in pod.heard], default=0)
        worth = max(worth, int(pod.forced))
        pod.forced = False
        pod.place = Place.UNSCHEDULABLE
        self.wake(pod, worth, now_ms)

    def error(self, pod, now_ms):
        self.failed(pod, (), now_ms)

    def done(self, pod):
        del self.pods[pod.id]

    def activate(self, pod, now_ms):
        if self.pods[pod].place == Place.IN_FLIGHT:
            self.pods[pod].forced = True
        else:
            self.wake(self.pods[pod], 2, now_ms)

    def move(self, event, now_ms, at_most_priority=None):
        self.note(event)
        for pod in self.at(Place.UNSCHEDULABLE):
            if at_most_priority is None or pod.priority <= at_most_priority:
                self.wake(pod, self.worth(pod, event), now_ms)

    def flush_backoff(self, now_ms):
        for pod in self.at(Place.BACKOFF) + self.at(Place.ERROR_BACKOFF):
            if pod.until_s() < now_ms // 1000:
                pod.place = Place.ACTIVE

    def flush_unschedulable(self, now_ms):
        kept = self.at(Place.UNSCHEDULABLE) + self.at(Place.GATED)
        late = [pod for pod in kept if now_ms - pod.timestamp_ms > 300_000]
        for pod in late:
            if pod.place == Place.UNSCHEDULABLE:
                self.wake(pod, 1, now_ms)
        if late:
            self.note("timeout")

    def at(self, place):
        return [pod for pod in self.pods.values() if pod.place == place]

    def note(self, event):
        for pod in self.at(Place.IN_FLIGHT):
            pod.heard.append(event)

    def worth(self, pod, event):
        """0, 1 for after the back-off, 2 for at once."""
        if event == "timeout":
            return 1
        worth = 0
        for name in pod.plugins | pod.pending:
            if self.plugin(pod, name) and self.helps(self.plugin(pod, name), pod, event):
                worth = max(worth, 2 if name in pod.pending else 1)
        return worth

    def helps(self, plugin, pod, event):
        if isinstance(plugin, Silent):
            return True
        facts = event.after or event.before
        own = event.kind is Kind.POD and facts.pod == pod.id
        if any(kind == event.kind and action & event.action for kind, action in plugin.listens):
            return plugin.hint(event, pod.template, CLUSTER, own=own)
        tainted = event.kind is Kind.NODE and event.action == Action.NODE_TAINT
        return tainted and isinstance(plugin, Room)

    def wake(self, pod, worth, now_ms):
        if worth == 2 or (worth == 1 and pod.until_s() < now_ms // 1000):
            self.send(pod, Place.ACTIVE)
        elif worth == 1:
            failed = pod.plugins or pod.pending
            self.send(pod, Place.BACKOFF if failed else Place.ERROR_BACKOFF)

    def send(self, pod, place):
        closed = pod.template.pod.spec.scheduling_gates
        pod.place = Place.GATED if closed else place
        pod.plugins |= {"Gate"} if closed else set()


class Pair:
    """Both queues, given the same operations."""

    def __init__(self):
        self.ours, self.plain = SchedulingQueue(CLUSTER, PLUGINS), PlainQueue()
        self.entries = {}  # of the pods in flight
        self.made = 0

    def step(self, operation, now_ms):
        name, *given = operation
        getattr(self, name)(now_ms, *given)

    def add(self, now_ms, template):
        self.ours.add(self.made, template, now_ms)
        self.plain.add(self.made, template, now_ms)
        self.made += 1

    def move(self, now_ms, event, priority):
        self.ours.move(event, now_ms, at_most_priority=priority)
        self.plain.move(event, now_ms, at_most_priority=priority)

    def flush(self, now_ms, which):
        getattr(self.ours, which)(now_ms)
        getattr(self.plain, which)(now_ms)

    def turn(self, now_ms, plugins, pending):
        """The pod that is taken fails at once."""
        self.pop(now_ms)
        self.failed(now_ms, -1, plugins, pending)

    def pop(self, now_ms):
        ours, theirs = self.ours.pop(now_ms), self.plain.pop(now_ms)
        assert (ours and ours.pod) == (theirs and theirs.id)
        if ours:
            self.entries[ours.pod] = ours

    def in_flight(self, place):
        """One of the pods in flight as both queues see it, which it is no longer."""
        pod = list(self.entries)[place % len(self.entries)]
        return self.entries.pop(pod), self.plain.pods[pod]

    def failed(self, now_ms, place, plugins, pending):
        if self.entries:
            entry, plain = self.in_flight(place)
            self.ours.failed(entry, plugins, now_ms, pending=pending)
            self.plain.failed(plain, plugins, now_ms, pending)

    def end(self, now_ms, place, how):
        """Without a plugin that refused it."""
        if self.entries:
            entry, plain = self.in_flight(place)
            if how == "done":
                self.ours.done(entry.pod)
                self.plain.done(plain)
            elif how == "error":
                self.ours.error(entry, now_ms)
                self.plain.error(plain, now_ms)
            else:
                self.ours.failed(entry, (), now_ms)
                self.plain.failed(plain, (), now_ms)

    def touch(self, now_ms, place, how, template):
        there = [pod for pod in self.plain.pods if not self.plain.pods[pod].gone]
        if not there:
            return
        pod = there[place % len(there)]
        if how == "remove":
            self.ours.remove(pod)
            self.plain.remove(pod)
        elif how == "activate":
            self.ours.activate(pod, now_ms)
            self.plain.activate(pod, now_ms)
        else:
            self.update(now_ms, pod, template)

    def update(self, now_ms, pod, template):
        """The name of the scheduler never changes."""
        before = self.plain.pods[pod].template
        if before.pod.spec.scheduler_name == template.pod.spec.scheduler_name:
            facts = [PodFacts(pod, "p", t, UNBOUND, UNBOUND) for t in (before, template)]
            self.ours.update(*facts, now_ms)
            self.plain.update(*facts, now_ms)

    def compare(self):
        ours = {pod: record(entry) for pod, entry in self.ours.entries.items()}
        assert ours == {pod.id: pod.record() for pod in self.plain.pods.values()}
        at = {place: bool(self.plain.at(place)) for place in Place}
        assert self.ours.has_ready == (at[Place.ACTIVE] or at[Place.BACKOFF])
        assert self.ours.has_backoff == (at[Place.BACKOFF] or at[Place.ERROR_BACKOFF])
        assert self.ours.has_unschedulable == at[Place.UNSCHEDULABLE]
        waiting = at[Place.UNSCHEDULABLE] or at[Place.IN_FLIGHT]
        assert self.ours.has_waiting_or_in_flight == waiting


def record(entry):
    return (
        *(entry.place, entry.template, entry.timestamp_ms, entry.attempts),
        *(entry.unschedulable_count, entry.error_count, set(entry.plugins), set(entry.pending)),
    )


@given(
    st.lists(st.tuples(st.just(1), turns), min_size=5, max_size=5),
    st.lists(st.tuples(waits_ms, operations), min_size=20, max_size=60),
)
def test_any_history_leaves_both_queues_alike(first, history):
    """It begins with pods most of which wait for an event, where most of the rules are."""
    pair, now_ms = Pair(), 0
    for template in TEMPLATES:
        pair.step(("add", template), now_ms)
    for wait_ms, operation in first + history:
        now_ms += wait_ms
        pair.step(operation, now_ms)
        pair.compare()
