"""What this machine and this process can do: bare SimPy timeouts per second, peak memory."""

from __future__ import annotations

import resource
import sys
import time

import simpy

TIMEOUTS = 200_000


def simpy_timeouts_per_s(timeouts: int = TIMEOUTS) -> int:
    """How many timeouts of one process bare SimPy gets through per second."""
    env = simpy.Environment()

    def ticker():
        for _ in range(timeouts):
            yield env.timeout(1)

    env.process(ticker())
    begin = time.perf_counter()
    env.run()
    return round(timeouts / (time.perf_counter() - begin))


def peak_mib() -> float:
    """The most memory this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)
