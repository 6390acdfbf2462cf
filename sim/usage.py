"""What runs on each node uses, as sums that cost nothing while nothing changes.

The laws of all containers of a node add up to one curve (`sim.curves`) plus noise. Its coefficients
are columns over nodes: a container that starts or stops moves those of its node, a sample of all
nodes is one vector expression, and the time at which a node reaches a level is solved for, never
polled. Where a law has a breakpoint (a leak's plateau, a CPU limit) its share of the sums is
exchanged when time has got there.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.curves import (
    FAR_MS,
    GRID,
    SLACK,
    Curve,
    Part,
    Piece,
    first_at_least,
    may_exceed,
    on_grid,
    piece_at,
    summed,
)
from sim.laws import NOISE_SD, Trace, draw, mixed

Floats = NDArray[np.float64]
NoiseRow = tuple[int, float, int]  # redrawn every so many ms, sd, key of its draws


@dataclass(frozen=True, slots=True)
class UseLaws:
    """How the containers of a pod use CPU and memory over time; nothing: as flat numbers say."""

    cpu: tuple[Part, ...] = ()
    cap_m: int = 0  # the quota of the pod's cgroup, 0 = none
    memory: tuple[Part, ...] = ()
    key: int = 0  # of its noise


@dataclass(slots=True)
class _Held:
    """What one pod contributes."""

    node: int
    parts: tuple[Part, ...]
    cap: int
    key: int  # of its noise
    piece: Piece
    noises: tuple[NoiseRow, ...] = ()


@dataclass(slots=True)
class _Noises:
    """The noise of all containers that draw anew at the same times."""

    every_ms: int
    step: int = -1
    members: dict[tuple[int, int], tuple[int, float, int]] = field(default_factory=dict)  # node...
    sums: Floats = field(default_factory=lambda: np.zeros(0))
    columns: tuple[NDArray[np.int64], Floats, NDArray[np.uint64]] | None = None


class Usage:
    """One amount (memory, or CPU) of all nodes: who uses how much of it, when.

    `put` and `drop` cost a few additions. Times never go back: ask for none before the last
    `advance`, which `put`, `drop` and the samples do themselves.
    """

    def __init__(self) -> None:
        self.end_ms: int | None = None  # nobody looks beyond the end of the run
        self._size = 0
        self._rows: dict[object, int] = {"a": 0, "b": 1}  # then one row per sine, cosine, trace
        self._columns = np.zeros((2, 64))
        self._out = np.zeros(64)
        self._flat: dict[int, tuple[int, int]] = {}
        self._held: dict[int, _Held] = {}
        self._breaking: dict[int, dict[int, None]] = {}  # node -> pods with a breakpoint ahead
        self._breaks: list[tuple[int, int]] = []  # (ms, pod): a heap, with leftovers
        self._groups: dict[int, _Noises] = {}
        self._noisy: dict[int, dict[tuple[int, int], NoiseRow]] = {}  # by node

    def varies(self, pod: int) -> bool:
        """Whether what the pod uses changes by itself."""
        return pod in self._held

    # What pods use

    def put_flat(self, pod: int, node: int, amount: int) -> None:
        """From now on the pod uses this much, whatever it used before."""
        before = self._flat.get(pod)
        if before is None:
            if pod in self._held:
                self._drop_held(pod)
            if node >= self._size:
                self._grow(node)
            self._columns[0, node] += amount
        else:
            self._columns[0, node] += amount - before[1]
        if amount:
            self._flat[pod] = node, amount
        elif before is not None:
            del self._flat[pod]

    def put(
        self, pod: int, node: int, parts: Sequence[Part], now_ms: int, cap: int = 0, key: int = 0
    ) -> None:
        """From now on the pod's containers use what their laws say, at most `cap` (0: no cap).

        `key` names the pod for its noise, whose draws depend on nothing else.
        """
        self.drop(pod)
        self.advance(now_ms)
        if node >= self._size:
            self._grow(node)
        parts = tuple(parts)
        held = _Held(node, parts, cap, key, piece_at(parts, cap, now_ms))
        if not (cap and may_exceed(parts, cap)):  # a modelling choice: no noise at a limit
            held.noises = tuple(noises_of(parts, key))
        self._held[pod] = held
        self._add(node, held.piece.curve, 1)
        self._plan_break(pod, held)
        if held.noises:
            self._count_noise(pod, held, 1)

    def drop(self, pod: int) -> None:
        """The pod uses nothing from now on."""
        if pod in self._held:
            self._drop_held(pod)
        elif pod in self._flat:
            node, amount = self._flat.pop(pod)
            self._columns[0, node] -= amount

    def integral(self, pod: int, from_ms: int, to_ms: int) -> float:
        """What the pod uses from `from_ms` to `to_ms`, times milliseconds, noise left out."""
        held = self._held.get(pod)
        if held is None:
            return float(self._flat.get(pod, (0, 0))[1] * (to_ms - from_ms))
        area = 0.0
        while from_ms < to_ms:
            piece = piece_at(held.parts, held.cap, from_ms)
            end_ms = to_ms if piece.until_ms is None else min(piece.until_ms, to_ms)
            area += piece.curve.integral(from_ms, end_ms)
            from_ms = end_ms
        return area

    def of(self, pod: int, ms: int) -> float:
        """What the pod uses at `ms`, noise included."""
        held = self._held.get(pod)
        if held is None:
            return float(self._flat.get(pod, (0, 0))[1])
        curve = piece_at(held.parts, held.cap, ms).curve
        return curve.at(ms) + _noise_of(held.noises, ms)

    # What nodes use

    def advance(self, now_ms: int) -> None:
        """Exchange the pieces that have ended by now."""
        breaks = self._breaks
        while breaks and breaks[0][0] <= now_ms:
            at_ms, pod = heapq.heappop(breaks)
            held = self._held.get(pod)
            if held is None or held.piece.until_ms != at_ms:
                continue  # dropped, or put anew, since
            self._add(held.node, held.piece.curve, -1)
            held.piece = piece_at(held.parts, held.cap, at_ms)
            self._add(held.node, held.piece.curve, 1)
            self._plan_break(pod, held)

    def values(self, now_ms: int) -> Floats:
        """What each node uses now (a view: it is overwritten by the next call)."""
        self.advance(now_ms)
        columns, out = self._columns, self._out
        np.multiply(columns[1], now_ms, out=out)
        out += columns[0]
        for what, row in self._rows.items():
            if row > 1:
                factor = _basis(what, now_ms)
                if factor:
                    out += columns[row] * factor
        for group in self._groups.values():
            self._redraw(group, now_ms)
            out[: len(group.sums)] += group.sums
        return out[: self._size]

    def value(self, node: int, now_ms: int) -> float:
        """What a node uses now."""
        self.advance(now_ms)
        if node >= self._size:
            return 0.0
        noise = _noise_of(self._noisy.get(node, {}).values(), now_ms)
        return self._curve(node).at(now_ms) + noise

    def is_noisy(self, node: int) -> bool:
        """Whether noise is part of what the node uses."""
        return bool(self._noisy.get(node))

    def next_at_least(
        self, node: int, level: float, from_ms: int, until_ms: int | None = None
    ) -> int | None:
        """The first ms from `from_ms` on and before `until_ms` at which a node uses `level`.

        None if it never does while nobody comes or goes. Noise is looked at draw by draw, and only
        from where its bound reaches the level.
        """
        return self._next(node, level, from_ms, until_ms, 1)

    def next_below(
        self, node: int, level: float, from_ms: int, until_ms: int | None = None
    ) -> int | None:
        """The first ms from `from_ms` on at which a node uses less than `level`."""
        return self._next(node, SLACK - level, from_ms, until_ms, -1)

    def _next(
        self, node: int, level: float, from_ms: int, until_ms: int | None, sign: int
    ) -> int | None:
        self.advance(from_ms)
        until_ms = self._horizon_ms(from_ms) if until_ms is None else until_ms
        if node >= self._size:
            return from_ms if level <= 0 and from_ms < until_ms else None
        course = self._course(node, from_ms, until_ms)
        return _first(course, list(self._noisy.get(node, {}).values()), level, sign)

    def _horizon_ms(self, from_ms: int) -> int:
        return from_ms + FAR_MS if self.end_ms is None else max(self.end_ms, from_ms)

    def part_at_least(self, pod: int, index: int, level: float, from_ms: int) -> int | None:
        """The first ms from `from_ms` on at which one container of a pod uses `level`."""
        held = self._held[pod]
        until_ms = self._horizon_ms(from_ms)
        course = _course_of((held.parts[index],), from_ms, until_ms)
        return _first(course, noises_of(held.parts, held.key, index), level, 1)

    def part(self, pod: int, index: int, ms: int) -> float:
        """What one container of a pod uses at `ms`, noise included."""
        held = self._held[pod]
        return part_now((held.parts[index],), noises_of(held.parts, held.key, index), ms)

    def next_break_ms(self, node: int) -> int | None:
        """When the share of a pod of the node is exchanged next."""
        ends = [self._held[pod].piece.until_ms for pod in self._breaking.get(node, ())]
        return min((end_ms for end_ms in ends if end_ms is not None), default=None)

    def _course(self, node: int, from_ms: int, until_ms: int) -> Iterable[tuple[Curve, int, int]]:
        """What a node uses, as curves and when they hold, while nobody comes or goes."""
        curve = self._curve(node)
        pieces = {pod: self._held[pod].piece for pod in self._breaking.get(node, ())}
        ends = [(piece.until_ms, pod) for pod, piece in pieces.items() if piece.until_ms]
        heapq.heapify(ends)
        while from_ms < until_ms:
            end_ms = min(ends[0][0], until_ms) if ends else until_ms
            yield curve, from_ms, end_ms
            from_ms = end_ms
            while ends and ends[0][0] <= from_ms:
                at_ms, pod = heapq.heappop(ends)
                held, before = self._held[pod], pieces[pod]
                piece = pieces[pod] = piece_at(held.parts, held.cap, at_ms)
                curve = summed([curve, before.curve.negated(), piece.curve])
                if piece.until_ms is not None:
                    heapq.heappush(ends, (piece.until_ms, pod))

    # Columns

    def _grow(self, node: int) -> None:
        self._size = node + 1
        while self._size > self._columns.shape[1]:
            self._columns = np.hstack([self._columns, np.zeros_like(self._columns)])
            self._out = np.zeros(self._columns.shape[1])

    def _row(self, what: object) -> int:
        if what not in self._rows:
            self._rows[what] = len(self._columns)
            self._columns = np.vstack([self._columns, np.zeros((1, self._columns.shape[1]))])
        return self._rows[what]

    def _add(self, node: int, curve: Curve, sign: int) -> None:
        self._columns[0, node] += sign * curve.a
        if curve.b:
            self._columns[1, node] += sign * curve.b
        for period_ms, c, d in curve.waves:
            row = self._row((period_ms, "sin"))
            self._columns[row, node] += sign * c
            row = self._row((period_ms, "cos"))
            self._columns[row, node] += sign * d
        for trace, times in curve.traces:
            row = self._row(trace)  # which may make the columns anew
            self._columns[row, node] += sign * times

    def _curve(self, node: int) -> Curve:
        column = self._columns[:, node].tolist()
        waves: dict[int, list[float]] = {}
        traces = []
        for what, row in self._rows.items():
            if isinstance(what, Trace):
                traces.append((what, column[row]))
            elif isinstance(what, tuple):
                waves.setdefault(what[0], []).append(column[row])
        return Curve(
            column[0],
            column[1],
            tuple((period_ms, c, d) for period_ms, (c, d) in waves.items() if c or d),
            tuple((trace, times) for trace, times in traces if times),
        )

    def _plan_break(self, pod: int, held: _Held) -> None:
        until_ms = held.piece.until_ms
        if until_ms is None:
            self._breaking.get(held.node, {}).pop(pod, None)
        else:
            heapq.heappush(self._breaks, (until_ms, pod))
            self._breaking.setdefault(held.node, {})[pod] = None

    def _drop_held(self, pod: int) -> None:
        held = self._held.pop(pod)
        self._add(held.node, held.piece.curve, -1)
        self._breaking.get(held.node, {}).pop(pod, None)
        if held.noises:
            self._count_noise(pod, held, -1)

    # Noise

    def _count_noise(self, pod: int, held: _Held, sign: int) -> None:
        """Add (or with -1 take off) the noise of a pod."""
        noisy = self._noisy.setdefault(held.node, {})
        for i, row in enumerate(held.noises):
            every_ms, sd, key = row
            group = self._groups.setdefault(every_ms, _Noises(every_ms))
            group.columns = None
            if sign > 0:
                noisy[pod, i] = row
                group.members[pod, i] = held.node, sd, key
            else:
                del noisy[pod, i], group.members[pod, i]
            if held.node < len(group.sums):
                group.sums[held.node] += sign * _noise(sd, key, group.step)
            else:
                group.step = -1

    def _redraw(self, group: _Noises, now_ms: int) -> None:
        """All noise of one interval, if it is another interval than at the last sample."""
        step = now_ms // group.every_ms
        if step == group.step:
            return
        group.step = step
        if group.columns is None:
            rows = list(group.members.values())
            group.columns = (
                np.array([node for node, _, _ in rows], np.int64),
                np.array([sd for _, sd, _ in rows], np.float64),
                np.array([key for _, _, key in rows], np.uint64),
            )
        nodes, sds, keys = group.columns
        amounts = np.floor(sds * _draws(keys, step) * GRID + 0.5) / GRID
        group.sums = np.bincount(nodes, amounts, self._size).astype(np.float64)


def _first(
    course: Iterable[tuple[Curve, int, int]], noises: Sequence[NoiseRow], level: float, sign: int
) -> int | None:
    """The first ms at which curves that follow each other are at `level` (-1: upside down)."""
    slack = NOISE_SD * sum(sd for _, sd, _ in noises) + len(noises) / GRID
    for curve, begin_ms, end_ms in course:
        curve = curve if sign > 0 else curve.negated()
        found = first_at_least(curve, level - slack, begin_ms, end_ms)
        while found is not None and noises:
            redraw_ms = min(found - found % every_ms + every_ms for every_ms, _, _ in noises)
            redraw_ms = min(redraw_ms, end_ms)
            noise = sign * _noise_of(noises, found)
            exact = first_at_least(curve, level - noise, found, redraw_ms)
            if exact is not None:
                return exact
            found = first_at_least(curve, level - slack, redraw_ms, end_ms)
        if found is not None:
            return found
    return None


def _course_of(
    parts: tuple[Part, ...], from_ms: int, until_ms: int
) -> Iterator[tuple[Curve, int, int]]:
    """The laws of containers as curves, and when they hold."""
    while from_ms < until_ms:
        piece = piece_at(parts, 0, from_ms)
        end_ms = until_ms if piece.until_ms is None else min(piece.until_ms, until_ms)
        yield piece.curve, from_ms, end_ms
        from_ms = end_ms


def part_now(parts: tuple[Part, ...], noises: Iterable[NoiseRow], ms: int) -> float:
    """What these laws and this noise say at `ms`."""
    return piece_at(parts, 0, ms).curve.at(ms) + _noise_of(noises, ms)


def noises_of(parts: Sequence[Part], key: int, index: int | None = None) -> list[NoiseRow]:
    """The noise of a pod's containers, or of one of them."""
    return [
        (part.law.noise.every_ms, part.law.noise_sd, mixed(key + i))
        for i, part in enumerate(parts)
        if part.law.noise is not None and index in (None, i)
    ]


def _noise_of(noises: Iterable[NoiseRow], ms: int) -> float:
    return sum(_noise(sd, key, ms // every_ms) for every_ms, sd, key in noises)


def _noise(sd: float, key: int, step: int) -> float:
    return on_grid(sd * draw(key, step), GRID)


def _draws(keys: NDArray[np.uint64], step: int) -> Floats:
    """`sim.laws.draw` of many keys."""
    bits = keys + np.uint64(step * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    lane = np.uint64((1 << 21) - 1)
    total = (bits & lane) + (bits >> np.uint64(21) & lane) + (bits >> np.uint64(42) & lane)
    draws: Floats = (2 * total.astype(np.float64) + 3) / (1 << 21) - 3
    return draws


def _basis(what: object, ms: int) -> float:
    """What the column of a sine, cosine or trace is multiplied with."""
    if isinstance(what, Trace):
        return what.at(ms)
    assert isinstance(what, tuple), what
    period_ms, name = what
    angle = math.tau * (ms % period_ms) / period_ms
    return math.sin(angle) if name == "sin" else math.cos(angle)
