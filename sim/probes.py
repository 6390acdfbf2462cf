"""Startup, liveness and readiness probes of one container, without an event per probe.

A prober worker ticks for as long as its pod lives, but few ticks change anything. While the
container's health stays the same, the one that will is a matter of arithmetic: the third failure in
a row, the first success. `ContainerProbes` says when that is, and keeps the workers' counters exact
when health changes first. The results are those of pkg/kubelet/prober/worker.go (v1.34) run tick by
tick.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sim.podspec import Container, Probe

Draw = Callable[[], float]  # uniform in [0, 1)
What = Literal["replaced", "started", "startup-failed", "liveness-failed", "ready", "unready"]

ANSWERS = 0.0
FAILS = 1.0

FOREVER = 1 << 62  # more probes than any run holds

# What a new stored result means, by worker. (Liveness begins with Success and fails once.)
STARTUP_CHANGES: Mapping[bool, What] = {True: "started", False: "startup-failed"}
LIVENESS_CHANGES: Mapping[bool, What] = {False: "liveness-failed"}
READINESS_CHANGES: Mapping[bool, What] = {True: "ready", False: "unready"}


@dataclass(frozen=True, slots=True)
class Premise:
    """A container's health as its probes see it: each one's chance to fail, ANSWERS to FAILS.

    Between the two, every probe fails independently with that chance.
    """

    startup: float = ANSWERS
    liveness: float = ANSWERS
    readiness: float = ANSWERS


HEALTHY = Premise()
FAILING = Premise(FAILS, FAILS, FAILS)


class Change(NamedTuple):
    """At `at_ms` the kubelet's picture of the container changes.

    "replaced": it sees the next instance in place of one that it never saw stopped.
    "startup-failed" and "liveness-failed" ask it to kill the container.
    """

    at_ms: int
    what: What


class ContainerProbes:
    """The probe workers of one container of a pod; they outlive its restarts.

    Verbs come in the order of their times, and before the probes of the same instant. After any
    verb `next_change()` is the event to schedule, and when its time has come, to `apply()`. Call
    `sync()` at every sync of the pod, also at those that a change of any of its containers causes.
    """

    __slots__ = (
        "_deleting",
        "_draw",
        "_first_trigger_counts",
        "_liveness",
        "_next_instance",
        "_readiness",
        "_seen_running",
        "_start_ms",
        "_startup",
        "_visible_ms",
        "is_ready",
        "is_started",
    )

    def __init__(
        self,
        spec: Container,
        origin_ms: int,
        draw: Draw,
        *,
        kubelet_age_ms: int | None = None,
        first_trigger_effective: bool = True,
    ) -> None:
        """Workers that first tick at `origin_ms`, the first sync of the pod on its node.

        `kubelet_age_ms` is the age of the kubelet then: one younger than a probe's period delays
        that worker's first tick by up to a period, so that a reboot does not align all probes.
        `first_trigger_effective` False is the lost race of the first sync that sees an instance
        running: its readiness probe then comes one period later.
        """

        def worker(probe: Probe | None) -> ProbeWorker | None:
            if probe is None:
                return None
            young = kubelet_age_ms is not None and kubelet_age_ms < probe.period_ms
            return ProbeWorker(probe, origin_ms + (int(draw() * probe.period_ms) if young else 0))

        self._draw = draw
        self._startup = worker(spec.startup)
        self._liveness = worker(spec.liveness)
        self._readiness = worker(spec.readiness)
        # A startup probe makes a result, and so a sync of its own: no race.
        self._first_trigger_counts = first_trigger_effective or self._startup is not None
        self._deleting = False
        self._seen_running = False
        self._start_ms = self._visible_ms = 0
        self._next_instance: tuple[int, int] | None = None
        self.is_started = False  # the Started flag of the container's status
        self.is_ready = False  # its Ready flag

    def instance_started(self, start_ms: int, visible_ms: int) -> None:
        """An instance started; the kubelet sees it from `visible_ms` on (its next relist).

        If the instance before was not seen stopped (`exited`), that one stays what the kubelet
        sees, and probes, until then.
        """
        if self._seen_running:
            self._next_instance = (start_ms, visible_ms)
        else:
            self._see(start_ms, visible_ms)

    def exited(self, now_ms: int) -> None:
        """The kubelet sees the container stopped: neither started nor ready any more."""
        following = self._next_instance
        self._stop(now_ms)
        if following is not None and now_ms < following[1]:
            self._see(*following)

    def pod_deleting(self, now_ms: int) -> None:
        """The pod has a deletion time: no liveness probes any more; readiness goes on.

        A startup probe that is still pending counts as passed at its next tick, whatever its
        initial delay (worker.go stores Success so that nothing kills the container again).
        """
        self._deleting = True
        if self._liveness:
            self._liveness.stop(now_ms, self._draw)
        if self._startup:
            self._startup.pass_next(now_ms, self._draw)

    def set_premise(self, now_ms: int, premise: Premise) -> None:
        """From `now_ms` on the container's health is `premise`, until it is set again."""
        if self._startup and not self._deleting:
            self._startup.suppose(now_ms, premise.startup, self._draw)
        if self._liveness:
            self._liveness.suppose(now_ms, premise.liveness, self._draw)
        if self._readiness:
            self._readiness.suppose(now_ms, premise.readiness, self._draw)

    def sync(self, now_ms: int) -> None:
        """The kubelet syncs the pod: a started container that is not ready is probed at once."""
        lost = now_ms == self._visible_ms and not self._first_trigger_counts
        if self._readiness and self.is_started and not self.is_ready and not lost:
            self._readiness.probe_at(now_ms, self._draw)

    def next_change(self) -> Change | None:
        """The next change if nothing else happens before; None: never.

        Asking again gives the same answer. At one instant what the kubelet sees comes first, then
        startup, liveness and readiness.
        """
        changes: list[Change] = []
        if self._next_instance:
            changes.append(Change(self._next_instance[1], "replaced"))
        if self._seen_running and not self.is_started and self._startup is None:
            changes.append(Change(self._visible_ms, "started"))
        for worker, meaning in (
            (self._startup, STARTUP_CHANGES),
            (self._liveness, LIVENESS_CHANGES),
            (self._readiness, READINESS_CHANGES),
        ):
            due = worker.next_result(self._draw) if worker else None
            if due:
                changes.append(Change(due[0], meaning[due[1]]))
        return min(changes, key=_time, default=None)

    def apply(self, change: Change) -> None:
        """Takes the change that `next_change()` gave; `is_started` and `is_ready` follow."""
        assert change == self.next_change(), f"{change} is not next: {self.next_change()}"
        at_ms, what = change
        if what == "replaced":
            self._replace(at_ms)
        elif what == "started":
            if self._startup:
                self._startup.decide(at_ms, True)
            self._begin(at_ms)
        elif what == "startup-failed" and self._startup:
            self._startup.decide(at_ms, False)
        elif what == "liveness-failed" and self._liveness:
            self._liveness.decide(at_ms, False)
        elif self._readiness:
            self.is_ready = what == "ready"
            self._readiness.store(at_ms, self.is_ready)
            if not self.is_ready:  # the sync that this result causes asks for one more probe
                self._readiness.probe_again_at(at_ms)

    def _see(self, start_ms: int, visible_ms: int) -> None:
        self._seen_running = True
        self._start_ms, self._visible_ms = start_ms, visible_ms
        if self._startup:
            self._startup.begin(visible_ms, start_ms, stored=None)
            if self._deleting:
                self._startup.pass_next(visible_ms, self._draw)

    def _begin(self, now_ms: int) -> None:
        """The instance counts as started: liveness and readiness probes begin."""
        self.is_started = True
        if self._liveness and not self._deleting:
            self._liveness.begin(now_ms, self._start_ms, stored=True)
        if self._readiness is None:
            self.is_ready = True
            return
        self._readiness.begin(now_ms, self._start_ms, stored=False)
        late_ms = 0 if self._first_trigger_counts else self._readiness.period_ms
        self._readiness.restart_ticker(now_ms + late_ms)

    def _stop(self, now_ms: int) -> None:
        for worker in (self._startup, self._liveness, self._readiness):
            if worker:
                worker.stop(now_ms, self._draw)
        self._seen_running = self.is_started = self.is_ready = False
        self._next_instance = None

    def _replace(self, now_ms: int) -> None:
        assert self._next_instance is not None
        start_ms, visible_ms = self._next_instance
        stays_ready = self.is_ready and self._readiness is None and self._startup is None
        self._stop(now_ms)
        self._see(start_ms, visible_ms)
        self.is_ready = stays_ready


class ProbeWorker:
    """One probe worker: its ticks, its stored result, and how many equal outcomes came last.

    `stored` True is Success, False Failure, None Unknown. Outcomes up to `since_ms` (exclusive) are
    accounted for. The next result under the present chance of failure is drawn once and kept; when
    the chance changes before it comes, the draw has told nothing but that it had not come yet, so
    the counters are drawn anew under just that condition.
    """

    __slots__ = (
        "_next_result",
        "_planned",
        "delay_ms",
        "failure_chance",
        "failure_threshold",
        "first_tick_ms",
        "last",
        "open_ms",
        "origin_ms",
        "period_ms",
        "probing",
        "run",
        "since_ms",
        "stored",
        "success_threshold",
    )

    def __init__(self, probe: Probe, origin_ms: int) -> None:
        self.first_tick_ms = self.origin_ms = origin_ms
        self.period_ms = probe.period_ms
        self.delay_ms = probe.initial_delay_ms
        self.success_threshold = probe.success_threshold
        self.failure_threshold = probe.failure_threshold
        self.failure_chance = FAILS
        self.stored: bool | None = None
        self.last = True
        self.run = 0
        self.probing = False
        self.since_ms = origin_ms
        self.open_ms = origin_ms  # the initial delay ends here
        self._planned = False
        self._next_result: tuple[int, bool] | None = None

    def begin(self, now_ms: int, start_ms: int, *, stored: bool | None) -> None:
        """Probe the instance started at `start_ms` from `now_ms` on; `last` and `run` survive.

        The initial delay counts from the start time in the status, which is cut to whole seconds.
        """
        self.stored = stored
        self.probing = True
        self.since_ms = max(self.since_ms, now_ms)
        self.open_ms = start_ms // 1000 * 1000 + self.delay_ms
        self._planned = False

    def stop(self, now_ms: int, draw: Draw) -> None:
        """No probes from `now_ms` on, until the next `begin`."""
        self.settle(now_ms, draw)
        self.probing = False

    def suppose(self, now_ms: int, failure_chance: float, draw: Draw) -> None:
        """From `now_ms` on probes fail with `failure_chance`."""
        if failure_chance != self.failure_chance:
            self.settle(now_ms, draw)
            self.failure_chance = failure_chance

    def pass_next(self, now_ms: int, draw: Draw) -> None:
        """The next tick from `now_ms` on succeeds, however young the instance is."""
        self.suppose(now_ms, ANSWERS, draw)
        self.settle(now_ms, draw)
        self.open_ms = self.since_ms

    def probe_at(self, now_ms: int, draw: Draw) -> None:
        """One probe at `now_ms`, unless one has been made then, and a ticker that starts there."""
        self.settle(now_ms, draw)
        self.restart_ticker(now_ms)

    def probe_again_at(self, now_ms: int) -> None:
        """One probe more at `now_ms`, where one was just made, and a ticker that starts there."""
        self.origin_ms = self.since_ms = now_ms

    def restart_ticker(self, at_ms: int) -> None:
        """Tick at `at_ms` and every period after it, but not before the very first tick."""
        self.origin_ms = max(at_ms, self.first_tick_ms)

    def next_result(self, draw: Draw) -> tuple[int, bool] | None:
        """When the stored result changes, and to what; None: never under this chance."""
        if not self.probing:
            return None
        if not self._planned:
            due = self._probes_until_result(draw)
            self._next_result = (self._nth_probe_ms(due[0]), due[1]) if due else None
            self._planned = True
        return self._next_result

    def store(self, at_ms: int, result: bool) -> None:
        """The probe at `at_ms` changed the stored result."""
        self.run = max(self._in_a_row(result) + 1, self._threshold(result))
        self.last = self.stored = result
        self.since_ms = at_ms + 1
        self._planned = False

    def decide(self, at_ms: int, result: bool) -> None:
        """The same for a result after which this instance is probed no more."""
        self.store(at_ms, result)
        self.run = 0
        self.probing = False

    def settle(self, to_ms: int, draw: Draw) -> None:
        """Count the probes before `to_ms`, none of which changes the stored result."""
        if self.probing:
            due = self.next_result(draw)
            assert due is None or due[0] >= to_ms, f"result due at {due} not taken by {to_ms} ms"
            probes = self._probes_before(to_ms)
            if probes:
                self.last, self.run = self._end_of(probes, draw)
        self.since_ms = max(self.since_ms, to_ms)
        self._planned = False

    def _nth_probe_ms(self, n: int) -> int:
        earliest_ms = max(self.since_ms, self.open_ms)
        ticks = max(0, -((self.origin_ms - earliest_ms) // self.period_ms))
        return self.origin_ms + (ticks + n - 1) * self.period_ms

    def _probes_before(self, to_ms: int) -> int:
        return max(0, -((self._nth_probe_ms(1) - to_ms) // self.period_ms))

    def _threshold(self, result: bool) -> int:
        return self.success_threshold if result else self.failure_threshold

    def _chance(self, result: bool) -> float:
        return 1 - self.failure_chance if result else self.failure_chance

    def _in_a_row(self, result: bool) -> int:
        return self.run if self.last is result else 0

    def _probes_until_result(self, draw: Draw) -> tuple[int, bool] | None:
        if self.stored is None:
            return self._probes_until_startup_result(draw)
        result = not self.stored
        threshold = self._threshold(result)
        run = min(self._in_a_row(result), threshold - 1)  # an old run alone changes nothing
        probes = probes_until_run(run, threshold, self._chance(result), draw)
        return None if probes is None else (probes, result)

    def _probes_until_startup_result(self, draw: Draw) -> tuple[int, bool]:
        """The first success (its threshold must be 1) or the last failure that is allowed."""
        allowed = max(1, self.failure_threshold - self._in_a_row(False))
        failures = equal_outcomes(self.failure_chance, draw)
        return (allowed, False) if failures >= allowed else (failures + 1, True)

    def _end_of(self, probes: int, draw: Draw) -> tuple[bool, int]:
        """Last outcome and its run after `probes` that did not change the stored result.

        Draws whole paths and throws away those that would have changed it. That it takes 1/s paths
        when a share s survives is no cost: a prediction outlives so many probes with chance s.
        """
        while True:
            end = self._path(probes, draw)
            if end:
                return end

    def _path(self, probes: int, draw: Draw) -> tuple[bool, int] | None:
        last, run, left = self.last, self.run, probes
        while True:
            more = min(left, equal_outcomes(self._chance(last), draw))
            run, left = run + more, left - more
            if more and last is not self.stored and run >= self._threshold(last):
                return None
            if not left:
                return last, run
            last, run, left = not last, 1, left - 1
            if last is not self.stored and self._threshold(last) == 1:
                return None


def equal_outcomes(chance: float, draw: Draw) -> int:
    """How many outcomes of this chance come in a row before the first other one."""
    if chance <= 0:
        return 0
    if chance >= 1:
        return FOREVER
    return min(FOREVER, int(math.log(1 - draw()) / math.log(chance)))


def probes_until_run(run: int, threshold: int, chance: float, draw: Draw) -> int | None:
    """How many probes until `threshold` outcomes of `chance` stand in a row, `run` being there.

    Exact, from one draw u: the first n with P(more than n probes) < 1 - u. That survival follows
    S(n) = S(n-1) - (1-p) p^F S(n-F-1): a run of F ends at n when F outcomes follow an opposite one
    and no run had ended before it. Its hazard settles within a few F probes; from there on the
    survival is geometric. The mean from run 0 is (1 - p^F) / ((1-p) p^F).
    """
    missing = threshold - run
    if chance <= 0 or chance >= 1:
        return missing if chance >= 1 else None
    level = 1 - draw()
    alive = 1 - chance**missing
    if alive < level:
        return missing
    # Survival after 0, 1, ..., threshold probes: no second run can end within that many.
    recent = deque([1.0] * missing + [alive] * (run + 1))
    restart = (1 - chance) * chance**threshold
    probes, hazard, settled = threshold, 0.0, 0
    while alive >= level:
        loss = restart * recent.popleft()
        hazard, before = loss / alive, hazard
        settled = settled + 1 if abs(hazard - before) <= 1e-12 * hazard else 0
        if settled > threshold:
            return _geometric_end(probes, level / alive, hazard)
        alive -= loss
        recent.append(alive)
        probes += 1
    return probes


def _geometric_end(probes: int, level: float, hazard: float) -> int | None:
    """`probes` plus the first n with (1 - hazard)^n < level."""
    if hazard <= 0:
        return None
    return probes + int(min(FOREVER, math.log(level) / math.log1p(-hazard))) + 1


def probe_succeeds(latency_ms: float, timeout_ms: int) -> bool:
    """Whether an answer after `latency_ms` comes in time."""
    return latency_ms <= timeout_ms


def failure_chance(mean_latency_ms: float, timeout_ms: int, base_rate: float = 0.0) -> float:
    """Chance that a probe fails: by itself (`base_rate`) or because its answer is too late.

    The answer time is taken as exponential with this mean, the sojourn time in a processor-sharing
    queue: a modelling choice of ours. A mean of infinity (nothing is served) always fails.
    """
    late = math.exp(-timeout_ms / mean_latency_ms) if mean_latency_ms > 0 else 0.0
    return 1 - (1 - base_rate) * (1 - late)


def _time(change: Change) -> int:
    return change.at_ms
