"""Stranded resources: what is free on a node and yet useless, because another resource has run out.

A node strands, for one shape of pod, what is left after as many further pods of it as fit:
k = min(⌊free cpu / cpu⌋, ⌊free memory / memory⌋, pod slots left), stranded = free - k × shape.
For a mix of shapes it is the expectation, each shape weighted by its share of the mix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CELLS = 1 << 20  # shapes × nodes looked at in one go: 8 MiB per intermediate array
NO_BOUND = np.iinfo(np.int64).max


def stranded(
    free_cpu_m: NDArray[Any],
    free_memory_b: NDArray[Any],
    free_slots: NDArray[Any],
    cpu_m: NDArray[Any],
    memory_b: NDArray[Any],
    weight: NDArray[Any],
) -> tuple[Floats, Floats, Floats]:
    """Per node: stranded CPU, stranded memory, and how many further pods of the mix would fit.

    The first three arrays describe nodes, the last three the shapes of the mix; weights are counts
    or shares. A resource that a shape does not request does not bound it. A node that is
    overcommitted by requests has nothing free; a mix without weight strands nothing.
    """
    free = np.maximum(np.asarray([free_cpu_m, free_memory_b, free_slots], dtype=np.int64), 0)
    mix = np.asarray([cpu_m, memory_b], dtype=np.int64)
    share = shares(weight)
    result = np.zeros((3, free.shape[1]))
    if not share.size:
        return result[0], result[1], result[2]
    step = max(1, CELLS // share.size)
    for start in range(0, free.shape[1], step):
        part = slice(start, start + step)
        result[:, part] = _expectation(free[:, part], mix, share)
    return result[0], result[1], result[2]


def shares(weight: NDArray[Any]) -> Floats:
    """Weights scaled to a sum of one; empty when they add up to nothing."""
    weights = np.asarray(weight, dtype=np.float64)
    total = weights.sum()
    return weights / total if total > 0 else np.empty(0)


def pods_that_fit(free: Ints, mix: Ints) -> Ints:
    """k for each shape (row) on each node (column); `free` has rows cpu, memory, slots."""
    cpu_m, memory_b = mix[0][:, None], mix[1][:, None]
    by_cpu = np.where(cpu_m > 0, free[0] // np.maximum(cpu_m, 1), NO_BOUND)
    by_memory = np.where(memory_b > 0, free[1] // np.maximum(memory_b, 1), NO_BOUND)
    fits: Ints = np.minimum(np.minimum(by_cpu, by_memory), free[2])
    return fits


def _expectation(free: Ints, mix: Ints, share: Floats) -> Floats:
    fits = pods_that_fit(free, mix)
    rows = [free[0] - fits * mix[0][:, None], free[1] - fits * mix[1][:, None], fits]
    expectation: Floats = np.stack([(row * share[:, None]).sum(axis=0) for row in rows])
    return expectation
