"""What containers with laws over time want of their node at a moment, as whole numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sim.curves import Part
from sim.laws import Law
from sim.usage import noises_of, part_now

if TYPE_CHECKING:
    from sim.overcommit import ContainerMemory
    from sim.usage import Usage


def most_of(laws: Iterable[Law]) -> int | None:
    """What laws never exceed together, rounded up; None: they grow without end."""
    most = sum(law.most for law in laws)
    return None if math.isinf(most) else math.ceil(most)


def amount_now(parts: Sequence[Part], key: int, now_ms: int) -> int:
    """What a pod's containers want now, noise included, rounded."""
    noises = noises_of(parts, key)
    return max(0, round(part_now(tuple(parts), noises, now_ms)))


def with_rate(parts: Sequence[Part], rps: float) -> tuple[Part, ...]:
    """The laws of memory of a pod that is sent so many requests per second."""
    return tuple(
        replace(part, law=replace(law, base=law.base + round(law.per_rps * rps), per_rps=0))
        if (law := part.law).per_rps
        else part
        for part in parts
    )


def frozen(
    uses: Sequence[ContainerMemory], pod: int, memory: Usage, now_ms: int
) -> list[ContainerMemory]:
    """A pod's containers as they are now, as if nothing changed any more."""
    if not memory.varies(pod):
        return list(uses)
    return [
        replace(
            use,
            value_b=max(0, math.floor(memory.part(pod, i, now_ms))),
            at_ms=now_ms,
            growth_b=0,
            until_ms=None,
        )
        for i, use in enumerate(uses)
    ]


def next_kill_ms(
    node: int, room_b: int, limits_b: Mapping[int, Sequence[int]], memory: Usage, from_ms: int
) -> int | None:
    """When a node, or a container with a limit (by pod; 0 = none), first uses more than it may."""
    found = [memory.next_at_least(node, room_b + 1, from_ms)]
    for pod, limits in limits_b.items():
        if memory.varies(pod):
            found += [
                memory.part_at_least(pod, i, limit_b + 1, from_ms)
                for i, limit_b in enumerate(limits)
                if limit_b
            ]
    return min((ms for ms in found if ms is not None), default=None)
