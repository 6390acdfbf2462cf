"""Amounts over time as curves: what they are at a moment, together, and when they reach a level.

    a + b t + sum over periods (c sin w t + d cos w t) + sum over traces (n trace(t))

A law (`sim.laws`) is such a curve between its breakpoints; contributions lie on a grid, so that
sums of floats are exact (up to 2^43 or so) and do not depend on their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sim.laws import NOISE_SD, Law, Trace

GRID = 2.0**10  # steps to the byte or millicore
SLOPE_GRID = 2.0**40  # and of what is gained per ms
FAR_MS = 400 * 86_400_000  # how far ahead anybody looks
SLACK = 2.0**-12  # below a step of the grid


@dataclass(frozen=True, slots=True)
class Part:
    """One container's law and its start."""

    law: Law
    started_ms: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    """a + b t + sinusoids, for `t` in ms of the run: {period_ms: (c, d)}; and traces, times n."""

    a: float = 0.0
    b: float = 0.0
    waves: tuple[tuple[int, float, float], ...] = ()
    traces: tuple[tuple[Trace, float], ...] = ()

    def at(self, ms: int) -> float:
        """The value at `ms`."""
        value = self.a + self.b * ms
        for period_ms, c, d in self.waves:
            angle = math.tau * (ms % period_ms) / period_ms
            value += c * math.sin(angle) + d * math.cos(angle)
        for trace, times in self.traces:
            value += times * trace.at(ms)
        return value

    def negated(self) -> Curve:
        """The curve upside down."""
        return summed([self], -1)

    def integral(self, from_ms: int, to_ms: int) -> float:
        """Value times milliseconds."""
        area = (self.a + self.b * (from_ms + to_ms) / 2) * (to_ms - from_ms)
        for period_ms, c, d in self.waves:
            w = math.tau / period_ms
            x, y = w * (from_ms % period_ms), w * (to_ms % period_ms)
            area += (c * (math.cos(x) - math.cos(y)) + d * (math.sin(y) - math.sin(x))) / w
        for trace, times in self.traces:
            area += times * trace.integral(from_ms, to_ms)
        return area

    def next_ms(self, ms: int) -> int | None:
        """The first breakpoint of a trace after `ms`."""
        times = [trace.next_ms(ms) for trace, _ in self.traces]
        return min((time for time in times if time is not None), default=None)

    def smooth_from(self, ms: int) -> Curve:
        """The same up to the next breakpoint, without traces."""
        if not self.traces:
            return self
        a, b = self.a, self.b
        for trace, times in self.traces:
            offset, slope = trace.line(ms)
            a, b = a + times * offset, b + times * slope
        return Curve(a, b, self.waves)


@dataclass(frozen=True, slots=True)
class Piece:
    """A curve that holds until `until_ms` (None: for good)."""

    curve: Curve
    until_ms: int | None = None


def piece_at(parts: tuple[Part, ...], cap: int, ms: int) -> Piece:
    """The laws of a pod from `ms` on, together no more than `cap` (0: no cap), without noise."""
    for part in parts:
        if part.law.growth:
            return _piece_at(parts, cap, ms)
    # What does not grow does not depend on its start: all pods of a kind share one piece.
    laws = tuple([part.law for part in parts])
    return _for_good(laws) if not cap or not _exceeds(laws, cap) else _at_cap(laws, cap, ms)


@lru_cache(maxsize=4096)
def _for_good(laws: tuple[Law, ...]) -> Piece:
    return _piece_at(tuple(Part(law) for law in laws), 0, 0)


@lru_cache(maxsize=4096)
def _exceeds(laws: tuple[Law, ...], cap: int) -> bool:
    return may_exceed([Part(law) for law in laws], cap)


@lru_cache(maxsize=4096)
def _at_cap(laws: tuple[Law, ...], cap: int, ms: int) -> Piece:
    return _piece_at(tuple(Part(law) for law in laws), cap, ms)


def _piece_at(parts: tuple[Part, ...], cap: int, ms: int) -> Piece:
    pieces = [_of_law(part, ms) for part in parts]
    ends = [piece.until_ms for piece in pieces if piece.until_ms is not None]
    piece = Piece(summed([piece.curve for piece in pieces]), min(ends, default=None))
    return _clipped(piece, cap, ms) if cap and may_exceed(parts, cap) else piece


def may_exceed(parts: Iterable[Part], cap: int) -> bool:
    return sum(part.law.most - NOISE_SD * part.law.noise_sd for part in parts) > cap


def _of_law(part: Part, ms: int) -> Piece:
    law, until_ms = part.law, part.law.until_ms(part.started_ms)
    waves = ((law.wave.period_ms, *law.wave.parts),) if law.wave else ()
    traces = ((law.trace, 1.0),) if law.trace else ()
    if until_ms is not None and ms >= until_ms:
        top = max(law.base, law.plateau or 0)
        return Piece(Curve(float(top), 0.0, waves, traces))
    b = on_grid(law.growth / law.growth_per_ms, SLOPE_GRID)
    a = law.base - b * part.started_ms
    return Piece(Curve(a, b, waves, traces), until_ms)


def _clipped(piece: Piece, cap: int, ms: int) -> Piece:
    curve, end_ms = piece.curve, piece.until_ms
    horizon_ms = ms + FAR_MS if end_ms is None else end_ms
    if curve.at(ms) < cap:
        change_ms = first_at_least(curve, cap, ms, horizon_ms)
    else:
        change_ms = first_at_least(curve.negated(), -cap + SLACK, ms, horizon_ms)
        curve = Curve(float(cap))
    found = [at_ms for at_ms in (end_ms, change_ms) if at_ms is not None]
    return Piece(curve, min(found, default=None))


def summed(curves: Sequence[Curve], sign: int = 1) -> Curve:
    waves: dict[int, tuple[float, float]] = {}
    traces: dict[Trace, float] = {}
    for curve in curves:
        for period_ms, c, d in curve.waves:
            has_c, has_d = waves.get(period_ms, (0.0, 0.0))
            waves[period_ms] = has_c + sign * c, has_d + sign * d
        for trace, times in curve.traces:
            traces[trace] = traces.get(trace, 0.0) + sign * times
    return Curve(
        on_grid(sum(sign * curve.a for curve in curves), GRID),
        sum(sign * curve.b for curve in curves),
        tuple((p, on_grid(c, GRID), on_grid(d, GRID)) for p, (c, d) in waves.items()),
        tuple(traces.items()),
    )


def on_grid(value: float, grid: float) -> float:
    return math.floor(value * grid + 0.5) / grid


def first_at_least(curve: Curve, level: float, from_ms: int, until_ms: int) -> int | None:
    """The first whole ms from `from_ms` on and before `until_ms` with a value of `level` or more.

    Between the breakpoints of traces the extrema are known, so what lies between two of them rises
    or falls, and the time is found by bisection.
    """
    begin_ms, until_ms = _worth_a_look(curve, level, from_ms, until_ms)
    while begin_ms < until_ms:
        next_ms = curve.next_ms(begin_ms)
        end_ms = until_ms if next_ms is None else min(next_ms, until_ms)
        found = _first_smooth(curve.smooth_from(begin_ms), level, begin_ms, end_ms)
        if found is not None:
            return found
        begin_ms = end_ms
    return None


def _worth_a_look(curve: Curve, level: float, from_ms: int, until_ms: int) -> tuple[int, int]:
    """`from_ms` and `until_ms` without the times at which the value cannot reach `level` first."""
    top = sum(math.hypot(c, d) for _, c, d in curve.waves) + SLACK
    for trace, times in curve.traces:
        top += max(times * max(trace.values), times * min(trace.values))
    if curve.b > 0:
        reach_ms = math.floor((level - curve.a - top) / curve.b)
        return max(from_ms, min(reach_ms, until_ms)), until_ms
    if curve.b < 0:
        leave_ms = math.ceil((level - curve.a - top) / curve.b) + 1
        return from_ms, max(from_ms, min(leave_ms, until_ms))
    if curve.a + top < level:
        return from_ms, from_ms
    # Without a slope all comes again after a common period, once traces that end have ended.
    repeating = {trace.times_ms[-1] for trace, _ in curve.traces if trace.repeats}
    ends = [trace.times_ms[-1] for trace, _ in curve.traces if not trace.repeats]
    period_ms = math.lcm(*repeating, *(period_ms for period_ms, _, _ in curve.waves))
    return from_ms, min(until_ms, max(from_ms, *ends, 0) + period_ms + 1)


def _first_smooth(curve: Curve, level: float, from_ms: int, end_ms: int) -> int | None:
    if curve.at(from_ms) >= level:
        return from_ms
    waves = [wave for wave in curve.waves if wave[1] or wave[2]]
    height = sum(math.hypot(c, d) for _, c, d in waves)
    last_ms = end_ms - 1
    if curve.a + height + max(curve.b * from_ms, curve.b * last_ms) < level - SLACK:
        return None  # the peaks of all waves together do not reach it
    if not waves:
        return _rise(curve, level, from_ms, last_ms)
    if len(waves) == 1:
        return _first_of_one_wave(curve, waves[0], level, from_ms, last_ms)
    return _first_of_waves(curve, level, from_ms, last_ms)


def _rise(curve: Curve, level: float, from_ms: int, to_ms: int) -> int | None:
    """The first ms at which a curve that does not fall from `from_ms` to `to_ms` is at `level`."""
    if from_ms > to_ms or curve.at(to_ms) < level:
        return None
    while from_ms < to_ms:
        middle_ms = (from_ms + to_ms) // 2
        if curve.at(middle_ms) >= level:
            to_ms = middle_ms
        else:
            from_ms = middle_ms + 1
    return to_ms


def _first_of_one_wave(
    curve: Curve, wave: tuple[int, float, float], level: float, from_ms: int, last_ms: int
) -> int | None:
    period_ms, c, d = wave
    w, height = math.tau / period_ms, math.hypot(c, d)
    steep = -curve.b / (height * w)  # the derivative is 0 where cos(w t + phi) is this
    if abs(steep) >= 1:
        return _rise(curve, level, from_ms, last_ms) if curve.b > 0 else None
    phi, turn = math.atan2(d, c), math.acos(steep)
    offset = ((turn - phi) / w - from_ms) % period_ms  # to the first peak after from_ms
    rise = 2 * turn / w  # from a trough to the next peak
    peak = 0
    while from_ms + offset + peak * period_ms - rise <= last_ms:
        top = from_ms + offset + peak * period_ms
        # The peak lies between whole ms: look on both sides.
        for high_ms in (min(math.floor(top), last_ms), min(math.floor(top) + 1, last_ms)):
            found = _rise(curve, level, max(from_ms, math.ceil(top - rise)), high_ms)
            if found is not None:
                return found
        if curve.b <= 0:
            return None  # every later peak is lower, or the same
        missing = level - curve.at(min(math.floor(top), last_ms))
        peak += max(1, math.floor(missing / (curve.b * period_ms)) - 1)
    return None


def _first_of_waves(curve: Curve, level: float, from_ms: int, last_ms: int) -> int | None:
    """By halving what cannot be ruled out: a curve bends no more than its sinusoids together."""
    bend = sum(math.hypot(c, d) * (math.tau / period_ms) ** 2 for period_ms, c, d in curve.waves)
    step_ms = max(1, min(period_ms for period_ms, _, _ in curve.waves) // 8)
    starts = range(from_ms, last_ms + 1, step_ms)
    for begin_ms in starts:
        stack = [(begin_ms, min(begin_ms + step_ms, last_ms))]
        while stack:
            left_ms, right_ms = stack.pop()
            if curve.at(left_ms) >= level:
                return left_ms
            right = curve.at(right_ms)
            most = max(curve.at(left_ms), right) + bend * (right_ms - left_ms) ** 2 / 8
            if most < level:
                continue
            if right_ms - left_ms <= 1:
                if right >= level:
                    return right_ms
                continue
            middle_ms = (left_ms + right_ms) // 2
            stack += [(middle_ms, right_ms), (left_ms, middle_ms)]
    return None
