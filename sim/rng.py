"""Named random streams: one seed, one independent generator per named source.

Adding a source never shifts the draws of another, so two variants of a scenario meet the same
arrivals and failures (common random numbers).
"""

from __future__ import annotations

import hashlib

import numpy as np


class Streams:
    """All random streams of one run; `streams("arrivals/web")` is always the same generator."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[str, np.random.Generator] = {}

    def __call__(self, name: str) -> np.random.Generator:
        """The generator of the source `name`, made on first use."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = np.random.Generator(
                np.random.PCG64(np.random.SeedSequence([self.seed, _key(name)]))
            )
        return stream


class Uniforms:
    """Uniform draws from [0, 1) as Python floats, taken from a stream a block at a time.

    A scalar draw from a numpy generator costs about a microsecond; a draw from the block a tenth.
    """

    BLOCK = 1024

    def __init__(self, stream: np.random.Generator) -> None:
        self._stream = stream
        self._block: list[float] = []

    def __call__(self) -> float:
        """The next draw."""
        if not self._block:
            self._block = self._stream.random(self.BLOCK).tolist()[::-1]
        return self._block.pop()

    def give_back(self, draw: float) -> None:
        """Have a draw that was not needed come again."""
        self._block.append(draw)

    def below(self, bound: int) -> int:
        """An integer drawn uniformly from [0, `bound`)."""
        return int(self() * bound)


def _key(name: str) -> int:
    """A stable 64-bit key of a name (Python's own hash differs between processes)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
