"""Virtual time: callbacks on SimPy's queue, ordered by (time, lane, insertion).

SimPy's environment is the only clock and the only event queue, so a user's own SimPy process lives
in the same simulation. Time is an integer of milliseconds since the start of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Any, cast

import simpy

from sim.errors import SimError


class Lane(IntEnum):
    """What comes first when several things happen at one instant.

    SimPy uses priorities 0 and 1 itself, so at one instant a user's process runs before ours.
    """

    FAULTS = 10
    EXITS = 11
    KUBELET = 12
    API = 13
    LIFECYCLE = 14
    ENDPOINTS = 15
    CONTROLLERS = 16
    SCHEDULER = 17
    AUTOSCALERS = 18
    SAMPLES = 19


class _Call:
    """The part of `simpy.Event` that SimPy's loop touches, a tenth of its cost."""

    __slots__ = ("args", "callbacks", "fn")
    _ok = True

    def __init__(self, fn: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.callbacks: tuple[Callable[[_Call], None], ...] | None = _FIRE
        self.fn = fn
        self.args = args


def _fire(call: _Call) -> None:
    call.fn(*call.args)


_FIRE = (_fire,)


class Clock:
    """The time of one run; `env` is the SimPy environment under it."""

    def __init__(self) -> None:
        self.env = simpy.Environment()
        self.calls = 0

    @property
    def now_ms(self) -> int:
        """Milliseconds since the start of the run."""
        now_ms = self.env._now
        if type(now_ms) is not int:
            raise SimError(f"the time is {now_ms} ms; a process has to wait for whole milliseconds")
        return now_ms

    def at(self, time_ms: int, lane: Lane, fn: Callable[..., None], *args: Any) -> None:
        """Call `fn(*args)` at `time_ms` (now if that has passed).

        SimPy cannot take an event back: the callee checks whether its premise still holds.
        """
        self.calls += 1
        delay_ms = time_ms - self.now_ms
        event = cast(simpy.Event, _Call(fn, args))
        self.env.schedule(event, lane, delay_ms if delay_ms > 0 else 0)  # type: ignore[arg-type]

    def after(self, delay_ms: int, lane: Lane, fn: Callable[..., None], *args: Any) -> None:
        """Call `fn(*args)` in `delay_ms`."""
        self.at(self.now_ms + delay_ms, lane, fn, *args)

    def run(self, until_ms: int) -> None:
        """Let time pass up to `until_ms`; what falls on that instant no longer happens."""
        self.env.run(until=until_ms)


class WorkQueue:
    """Keys without duplicates, each handed to `handle` some time after it was first added.

    A key added while it is being handled is handled again later, as in client-go's work queue.
    """

    def __init__(
        self, clock: Clock, lane: Lane, delay_ms: int, handle: Callable[[Hashable], None]
    ) -> None:
        self._clock = clock
        self._lane = lane
        self._delay_ms = delay_ms
        self._handle = handle
        self._due_ms: dict[Hashable, int] = {}
        self._batches: dict[int, list[Hashable]] = {}  # what is due at one instant, in order

    def add(self, key: Hashable, delay_ms: int | None = None) -> None:
        """Mark `key` dirty; it is handled `delay_ms` (the queue's own by default) from now."""
        delay_ms = self._delay_ms if delay_ms is None else delay_ms
        due_ms = self._clock.now_ms + delay_ms
        known_ms = self._due_ms.get(key)
        if known_ms is not None and known_ms <= due_ms:
            return
        self._due_ms[key] = due_ms
        batch = self._batches.get(due_ms)
        if batch is None:
            batch = self._batches[due_ms] = []
            self._clock.at(due_ms, self._lane, self._drain, due_ms)
        batch.append(key)

    def add_at(self, key: Hashable, time_ms: int) -> None:
        """Mark `key` dirty at a later time."""
        self._clock.at(time_ms, self._lane, self.add, key)

    def _drain(self, due_ms: int) -> None:
        for key in self._batches.pop(due_ms):
            if self._due_ms.get(key) == due_ms:  # else it has been moved forward
                del self._due_ms[key]
                self._handle(key)


class TokenBucket:
    """A rate limit: `burst` tokens, one more each 1/`per_second` s (client-go flowcontrol).

    Kept as one number, the time at which the bucket will be full (generic cell rate algorithm).
    """

    def __init__(self, per_second: float, burst: int, now_ms: int, *, full: bool = True) -> None:
        self.per_second = per_second
        self._gap_ms = 1000 / per_second if per_second > 0 else math.inf
        self._slack_ms = (burst - 1) * self._gap_ms if burst > 1 else 0.0
        self._full_at_ms = float(now_ms) if full else now_ms + burst * self._gap_ms

    def next_ms(self, now_ms: int) -> int | None:
        """When the next token can be taken; None if never."""
        if math.isinf(self._gap_ms):
            return None
        return max(now_ms, math.ceil(self._full_at_ms - self._slack_ms))

    def reserve(self, now_ms: int) -> int:
        """Take the next token, first come first served, and say when it may be used."""
        at_ms = self.next_ms(now_ms)
        assert at_ms is not None, "a token was reserved from a bucket that is never filled"
        self._full_at_ms = max(float(now_ms), self._full_at_ms) + self._gap_ms
        return at_ms

    def has_token(self, now_ms: int) -> bool:
        """Whether a token can be taken at once."""
        return self.next_ms(now_ms) == now_ms
