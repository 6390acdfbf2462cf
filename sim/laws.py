"""How an amount that a container uses (memory in bytes, CPU in millicores) changes over time.

A law is a value: a base, growth with the container's age, a daily wave, a recorded trace, noise.
All but the noise is smooth between breakpoints; `sim.usage` adds the laws of a node up.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

MS_PER_H = 3_600_000
DAY_MS = 86_400_000
NOISE_SD = 3  # draws never lie further from the middle
_LANE_BITS = 21  # three such lanes of one 64-bit hash make a draw
_LANE = 1 << _LANE_BITS
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Wave:
    """A sinusoid of the clock on the wall: +`amplitude` at `peak_ms` of the run and each period."""

    amplitude: int
    peak_ms: int
    period_ms: int = DAY_MS

    @property
    def parts(self) -> tuple[float, float]:
        """Coefficients (c, d) of c sin(w t) + d cos(w t), where w = 2 pi / period."""
        angle = math.tau * (self.peak_ms % self.period_ms) / self.period_ms
        return self.amplitude * math.sin(angle), self.amplitude * math.cos(angle)


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded values over the time of the run, linear in between; compared by identity.

    Before the first point its value holds. After the last one that value holds or, with `repeats`,
    the whole begins again: the time of the last point is the period.
    """

    times_ms: tuple[int, ...]
    values: tuple[int, ...]
    repeats: bool = False

    def at(self, ms: int) -> float:
        """The value at a time of the run."""
        value, slope = self.line(ms)
        return value + slope * ms

    def line(self, ms: int) -> tuple[float, float]:
        """(a, b) of the straight line a + b t on which the value lies from `ms` on."""
        local_ms = ms % self.times_ms[-1] if self.repeats else ms
        i = bisect_right(self.times_ms, local_ms)
        if i in (0, len(self.times_ms)):
            return float(self.values[max(i - 1, 0)]), 0.0
        slope = self._slopes[i - 1]
        return self.values[i - 1] - slope * (self.times_ms[i - 1] + ms - local_ms), slope

    def next_ms(self, ms: int) -> int | None:
        """The first breakpoint after `ms`; None: there is none."""
        begin_ms = ms - ms % self.times_ms[-1] if self.repeats else 0
        i = bisect_right(self.times_ms, ms - begin_ms)
        return begin_ms + self.times_ms[i] if i < len(self.times_ms) else None

    def integral(self, from_ms: int, to_ms: int) -> float:
        """Value times milliseconds."""
        return self._area(to_ms) - self._area(from_ms)

    @cached_property
    def mean(self) -> float:
        """Average over the recorded time."""
        span_ms = self.times_ms[-1]
        return self._areas[-1] / span_ms if span_ms else float(self.values[0])

    def _area(self, ms: int) -> float:
        """Integral from 0 to `ms`."""
        last_ms = self.times_ms[-1]
        rounds, local_ms = divmod(ms, last_ms) if self.repeats else (0, ms)
        i = bisect_right(self.times_ms, local_ms)
        if i == 0:
            part = float(self.values[0] * local_ms)
        else:
            passed_ms = local_ms - self.times_ms[i - 1]
            slope = self._slopes[i - 1] if i < len(self.times_ms) else 0.0
            part = self._areas[i - 1] + (self.values[i - 1] + slope * passed_ms / 2) * passed_ms
        return rounds * self._areas[-1] + part

    @cached_property
    def _slopes(self) -> list[float]:
        points = list(zip(self.times_ms, self.values, strict=True))
        return [(v - u) / (t - s) for (s, u), (t, v) in pairwise(points)]

    @cached_property
    def _areas(self) -> list[float]:
        """Integral from 0 to each point."""
        points = list(zip(self.times_ms, self.values, strict=True))
        pairs = pairwise(points)
        areas = ((u + v) / 2 * (t - s) for (s, u), (t, v) in pairs)
        return list(accumulate(areas, initial=float(self.values[0] * self.times_ms[0])))


@dataclass(frozen=True, slots=True)
class Noise:
    """Drawn anew every `every_ms` of the run for each pod, around 0; `sd` is relative to the base.

    Relative to the base and not to the value at that time: a modelling choice that keeps a node's
    noise constant between two draws.
    """

    sd: float
    every_ms: int


@dataclass(frozen=True, slots=True)
class Law:
    """base + growth * age, up to `plateau`, + wave + trace; noise on top.

    `per_rps` is added for each request per second that is sent to the pod.
    """

    base: int = 0
    growth: int = 0
    growth_per_ms: int = MS_PER_H
    plateau: int | None = None  # the line ends to grow here
    wave: Wave | None = None
    trace: Trace | None = None
    noise: Noise | None = None
    per_rps: int = 0

    @property
    def is_line(self) -> bool:
        """Whether it is all said by a straight line that may end in a plateau."""
        return not (self.wave or self.trace or self.noise or self.per_rps)

    @property
    def is_flat(self) -> bool:
        """Whether it never changes."""
        return self.is_line and (not self.growth or self.plateau == self.base)

    @property
    def noise_sd(self) -> float:
        """One standard deviation of the noise, in the unit of the law."""
        if self.noise is None:
            return 0.0
        return self.noise.sd * (self.base + (self.trace.mean if self.trace else 0.0))

    def until_ms(self, started_ms: int) -> int | None:
        """When the plateau is reached; None: never."""
        if not self.growth or self.plateau is None:
            return None
        missing = max(self.plateau - self.base, 0)
        return started_ms - (-missing * self.growth_per_ms // self.growth)

    def at(self, ms: int, started_ms: int = 0) -> float:
        """The amount at `ms` of a container that started at `started_ms`, without noise."""
        value = self.base + self.growth * (ms - started_ms) / self.growth_per_ms
        if self.plateau is not None:
            value = min(value, max(self.plateau, self.base))
        if self.wave is not None:
            angle = math.tau * ((ms - self.wave.peak_ms) % self.wave.period_ms)
            value += self.wave.amplitude * math.cos(angle / self.wave.period_ms)
        if self.trace is not None:
            value += self.trace.at(ms)
        return value

    @property
    def most(self) -> float:
        """What it never exceeds."""
        if self.growth and self.plateau is None:
            return math.inf
        line = self.base if self.plateau is None else max(self.plateau, self.base)
        wave = self.wave.amplitude if self.wave else 0
        trace = max(self.trace.values) if self.trace else 0
        return line + wave + trace + NOISE_SD * self.noise_sd

    @property
    def least(self) -> float:
        """What it never falls below."""
        wave = self.wave.amplitude if self.wave else 0
        trace = min(self.trace.values) if self.trace else 0
        return self.base - wave + trace - NOISE_SD * self.noise_sd


def draw(key: int, step: int) -> float:
    """The noise of `key` at redraw number `step`: mean 0, sd 1, within 3.

    A function of its arguments alone (splitmix64's finalizer as a counter-based hash), so nothing
    depends on who asks when. Three uniform lanes added up: near enough to normal, bounded exactly.
    """
    bits = mixed(key + step * 0x9E3779B97F4A7C15)
    lanes = (bits >> shift & _LANE - 1 for shift in (0, _LANE_BITS, 2 * _LANE_BITS))
    return (2 * sum(lanes) + 3) / _LANE - 3


def mixed(bits: int) -> int:
    """64 bits, each of which depends on all bits of `bits` (Steele, Lea, Flood 2014)."""
    bits &= _MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _MASK
    return bits ^ bits >> 31


def total_most(laws: Sequence[Law]) -> float:
    """What laws never exceed together."""
    return sum(law.most for law in laws)
