"""Skipped probes change exactly what probes made one by one would change, at the same instants."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from sim.podspec import Container, Probe
from sim.probes import FAILING, Change, ContainerProbes, Premise

KINDS = ("startup", "liveness", "readiness")  # the order of probes at one instant
INITIAL = {"startup": "Unknown", "liveness": "Success", "readiness": "Failure"}


@dataclass
class Worker:
    """One prober worker as the tick rules describe it; `instance` is the container id it knows."""

    kind: str
    probe: Probe
    tick_ms: int
    spent_ms: int = -1
    instance: int = 0
    result: str | None = None
    last: str = "Success"
    run: int = 0
    hold: bool = False
    ended: bool = False


@dataclass
class StepProber:
    """The workers of one container and its status, one tick at a time."""

    spec: Container
    origin_ms: int
    first_trigger_effective: bool
    sync_on_change: bool
    draw: Callable[[], float]
    premise: Premise = FAILING
    workers: dict[str, Worker] = field(default_factory=dict)
    instance: int = 0
    start_ms: int = 0
    lost_ms: int = -1  # where a trigger for readiness is lost
    running: bool = False
    started: bool = False
    deleting: bool = False
    coming: list[tuple[int, int]] = field(default_factory=list)  # (start, visible)
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self):
        for kind in KINDS:
            probe = getattr(self.spec, kind)
            if probe is not None:
                self.workers[kind] = Worker(kind, probe, self.origin_ms)

    @property
    def ready(self):
        worker = self.workers.get("readiness")
        if worker is None:
            return self.running and self.started
        known = worker.instance == self.instance
        return self.running and self.started and known and worker.result == "Success"

    def run_until(self, to_ms):
        """Every status change and tick before `to_ms`."""
        while True:
            due = [worker.tick_ms for worker in self.workers.values() if not worker.ended]
            due += [visible_ms for _, visible_ms in self.coming]
            now_ms = min(due, default=to_ms)
            if now_ms >= to_ms:
                return
            if self.coming and self.coming[0][1] == now_ms:
                self.see_instance(now_ms)
                continue
            kind = next(k for k in KINDS if self.is_due(k, now_ms))
            worker = self.workers[kind]
            worker.tick_ms += worker.probe.period_ms
            self.tick(worker, now_ms)
            worker.spent_ms = max(worker.spent_ms, now_ms)

    def is_due(self, kind, now_ms):
        worker = self.workers.get(kind)
        return worker is not None and not worker.ended and worker.tick_ms == now_ms

    def see_instance(self, now_ms):
        was_running, was_started = self.running, self.started
        self.start_ms, _ = self.coming.pop()
        self.instance += 1
        self.running, self.started = True, "startup" not in self.workers
        if was_running:
            self.changes.append(Change(now_ms, "replaced"))
            was_started = False
        if self.started and not was_started:
            self.changes.append(Change(now_ms, "started"))
        readiness = self.workers.get("readiness")
        if readiness and self.started:
            self.lost_ms = -1 if self.first_trigger_effective else now_ms
            late_ms = 0 if self.first_trigger_effective else readiness.probe.period_ms
            readiness.tick_ms = max(now_ms + late_ms, self.origin_ms)

    def tick(self, worker, now_ms):
        if self.instance == 0:  # no container id yet
            return
        if worker.instance != self.instance:
            worker.instance, worker.hold = self.instance, False
            worker.result = INITIAL[worker.kind]
        if worker.hold:
            return
        if not self.running:
            worker.result = "Failure"
            return
        if self.deleting and worker.kind != "readiness":
            worker.ended = True
            self.store(worker, "Success", now_ms)
            return
        age_s = (now_ms - self.start_ms // 1000 * 1000) // 1000
        if age_s < worker.probe.initial_delay_ms // 1000:
            return
        if self.started == (worker.kind == "startup"):
            return
        self.probe(worker, now_ms)

    def probe(self, worker, now_ms):
        outcome = "Failure" if self.draw() < getattr(self.premise, worker.kind) else "Success"
        worker.run = worker.run + 1 if outcome == worker.last else 1
        worker.last = outcome
        probe = worker.probe
        enough = probe.failure_threshold if outcome == "Failure" else probe.success_threshold
        if worker.run < enough:
            return
        if worker.kind == "startup" or (worker.kind, outcome) == ("liveness", "Failure"):
            worker.hold, worker.run = True, 0
        self.store(worker, outcome, now_ms)

    def store(self, worker, result, now_ms):
        if result == worker.result:
            return
        worker.result = result
        what = {
            ("startup", "Success"): "started",
            ("startup", "Failure"): "startup-failed",
            ("liveness", "Failure"): "liveness-failed",
            ("readiness", "Success"): "ready",
            ("readiness", "Failure"): "unready",
        }[worker.kind, result]
        self.changes.append(Change(now_ms, what))
        if what == "started":
            self.started = True
        if self.sync_on_change or what in ("started", "unready"):
            self.sync(now_ms, again=what == "unready")

    def sync(self, now_ms, again=False):
        readiness = self.workers.get("readiness")
        if readiness is None or not self.started or self.ready or now_ms == self.lost_ms:
            return
        at_once = again or readiness.spent_ms < now_ms
        next_ms = now_ms if at_once else now_ms + readiness.probe.period_ms
        readiness.tick_ms = max(next_ms, self.origin_ms)

    # the verbs of ContainerProbes

    def instance_started(self, start_ms, visible_ms):
        self.coming = [(start_ms, visible_ms)]

    def exited(self, now_ms):
        if not self.running or (self.coming and now_ms >= self.coming[0][1]):
            self.coming.clear()
        self.running = self.started = False

    def pod_deleting(self, now_ms):
        self.deleting = True

    def set_premise(self, now_ms, premise):
        self.premise = premise


def run_skipping(case, draw=random.random):
    """Changes and (started, ready) after each verb, from ContainerProbes."""
    probes = ContainerProbes(
        case.spec,
        case.origin_ms,
        draw,
        first_trigger_effective=case.first_trigger_effective,
    )
    changes, flags = [], []

    def follow(to_ms):
        while (change := probes.next_change()) and change.at_ms < to_ms:
            probes.apply(change)
            changes.append(change)
            if case.sync_on_change:
                probes.sync(change.at_ms)

    for verb, now_ms, *arguments in case.verbs:
        follow(now_ms)
        getattr(probes, verb)(now_ms, *arguments)
        flags.append((now_ms, probes.is_started, probes.is_ready))
    follow(case.end_ms)
    return changes, flags


def run_stepping(case, draw=random.random):
    """The same from a prober that makes every tick."""
    prober = StepProber(
        case.spec, case.origin_ms, case.first_trigger_effective, case.sync_on_change, draw
    )
    flags = []
    for verb, now_ms, *arguments in case.verbs:
        prober.run_until(now_ms)
        getattr(prober, verb)(now_ms, *arguments)
        flags.append((now_ms, prober.started, prober.ready))
    prober.run_until(case.end_ms)
    return prober.changes, flags


@dataclass
class Case:
    spec: Container
    origin_ms: int
    first_trigger_effective: bool
    sync_on_change: bool
    verbs: list[tuple]
    end_ms: int


def a_case(rng):
    """A container with some probes, and a history of starts, exits, health changes and syncs."""
    spec = Container(
        "main",
        startup=a_probe(rng, 1),
        liveness=a_probe(rng, 1),
        readiness=a_probe(rng, rng.randint(1, 3)),
    )
    verbs = a_history(rng)
    end_ms = verbs[-1][1] + rng.choice([0, 5_000, 60_000])
    return Case(spec, an_instant(rng), rng.random() < 0.7, rng.random() < 0.5, verbs, end_ms)


def a_probe(rng, success_threshold):
    if rng.random() < 0.25:
        return None
    return Probe(
        initial_delay_ms=1000 * rng.choice([0, 0, 1, 3, 12]),
        period_ms=1000 * rng.choice([1, 2, 3, 10]),
        success_threshold=success_threshold,
        failure_threshold=rng.randint(1, 4),
    )


def an_instant(rng):
    return rng.choice([0, 500, 1000, rng.randint(0, 3000)])


def a_history(rng):
    verbs, now_ms, seen_from_ms, coming_ms = [], 0, None, None
    deleted, starts_left = False, 1
    for _ in range(rng.randint(2, 25)):
        now_ms += rng.choice([0, 1000, 2000, an_instant(rng), rng.randint(0, 20_000)])
        if coming_ms is not None and coming_ms < now_ms:
            seen_from_ms, coming_ms = coming_ms, None
        verb = rng.choice(["premise", "premise", "premise", "sync", "start", "exit", "delete"])
        if verb == "premise":
            # mostly well, so that containers also live; the same value again is a premise too
            chances = [float(rng.random() < 0.4) for _ in KINDS]
            verbs.append(("set_premise", now_ms, Premise(*chances)))
        elif verb == "sync":
            verbs.append(("sync", now_ms))
        elif verb == "start" and coming_ms is None and starts_left:
            starts_left -= deleted
            coming_ms = now_ms + an_instant(rng)
            verbs.append(("instance_started", now_ms, coming_ms))
        elif verb == "exit" and (seen_from_ms is not None or coming_ms == now_ms):
            if coming_ms is not None and now_ms < coming_ms:
                seen_from_ms = None  # the old instance is seen stopped before the next is seen
            else:
                seen_from_ms = coming_ms = None
            verbs.append(("exited", now_ms))
        elif verb == "delete" and not deleted and rng.random() < 0.2:
            if seen_from_ms is not None and coming_ms is not None:
                continue
            # a pod that is being deleted gets no new instance, unless one is being started
            starts_left = int(seen_from_ms is None and coming_ms is None)
            deleted = True
            verbs.append(("pod_deleting", now_ms))
    return verbs or [("sync", 0)]


@given(rng=st.randoms(use_true_random=False))
def test_skipping_equals_stepping(rng):
    case = a_case(rng)
    assert run_skipping(case) == run_stepping(case)


def test_skipping_equals_stepping_over_thousands_of_histories():
    seen = set()
    for seed in range(20_000):
        case = a_case(random.Random(seed))
        changes, flags = run_stepping(case)
        assert run_skipping(case) == (changes, flags), f"seed {seed}"
        seen.update(what for _, what in changes)
    # the histories are worth the time only if they reach everything there is
    assert seen == {"replaced", "started", "startup-failed", "liveness-failed", "ready", "unready"}


def a_restless_case():
    """Flaky probes whose counters pass through two premises, a sync, a restart and a third."""
    spec = Container(
        "main",
        startup=Probe(period_ms=2000, failure_threshold=6),
        liveness=Probe(period_ms=5000, failure_threshold=3),
        readiness=Probe(period_ms=3000, success_threshold=3, failure_threshold=2),
    )
    verbs = [
        ("instance_started", 0, 700),
        ("set_premise", 0, Premise(0.5, 0.4, 0.3)),
        ("set_premise", 16_000, Premise(0.5, 0.6, 0.5)),
        ("sync", 25_500),
        ("exited", 36_000),
        ("instance_started", 38_000, 38_500),
        ("set_premise", 45_000, Premise(0.3, 0.3, 0.2)),
    ]
    return Case(spec, 200, True, True, verbs, 75_000)


def test_flaky_probes_skip_and_step_alike_in_distribution():
    """Same shares of (changes so far, last change) from both, by a two-sample chi-square."""
    case, draw = a_restless_case(), random.Random(1).random

    def shares(run):
        histories = (run(case, draw)[0] for _ in range(6000))
        return Counter((len(changes), *changes[-1:]) for changes in histories)

    skipped, stepped = shares(run_skipping), shares(run_stepping)
    both = skipped + stepped
    common = [end for end, count in both.items() if count >= 40]
    rest = [6000 - sum(counts[end] for end in common) for counts in (skipped, stepped)]
    cells = [(skipped[end], stepped[end]) for end in common] + [tuple(rest)]
    chi2 = sum((a - b) ** 2 / (a + b) for a, b in cells)
    freedom = len(cells) - 1
    assert freedom > 20
    assert abs(chi2 - freedom) / math.sqrt(2 * freedom) < 4
