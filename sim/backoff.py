"""Exponential back-off: how long a crashed container, or a failed image pull, has to wait.

Follows client-go util/flowcontrol/backoff.go (v0.34.1) as the kubelet uses it in doBackOff
(pkg/kubelet/kuberuntime/kuberuntime_manager.go). One entry per container or image, kept by whoever
asks; there is none before the first failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# pkg/kubelet/kubelet.go: backOffPeriod of containers and images, MaxCrashLoopBackOff, and the
# expiry of restart back-offs, which does not move with the other two.
BASE_MS = 10_000
MAX_MS = 300_000
FORGET_MS = 600_000
# With the gate ReduceDefaultCrashLoopBackOffDecay.
REDUCED_BASE_MS = 1_000
REDUCED_MAX_MS = 60_000

# pkg/kubelet/pod_workers.go completeWork: a worker whose sync ended in a back-off looks again after
# the time left, at most a minute, stretched by up to a half; the kubelet's ticker then rounds up.
LONGEST_LOOK_MS = 60_000
LOOK_JITTER = 0.5
SYNC_TICK_MS = 1_000


@dataclass(frozen=True, slots=True)
class BackoffEntry:
    backoff_ms: int
    updated_ms: int  # when the last try was made

    @property
    def until_ms(self) -> int:
        """End of a back-off that counts from the last try (image pulls)."""
        return self.updated_ms + self.backoff_ms


@dataclass(frozen=True, slots=True)
class Backoff:
    """The rule: `base_ms` doubles up to `max_ms`; older than `forget_ms` it begins again."""

    base_ms: int = BASE_MS
    max_ms: int = MAX_MS
    forget_ms: int = FORGET_MS

    def expired(self, entry: BackoffEntry, at_ms: int) -> bool:
        """Whether the last try lies so far before `at_ms` that the series begins again."""
        return at_ms - entry.updated_ms > self.forget_ms

    def may_retry_ms(self, entry: BackoffEntry | None, failed_ms: int) -> int:
        """The first instant at which what failed at `failed_ms` may be tried again.

        `failed_ms` is the finish time of the newest exited instance that the sync knows of. A
        kill by a probe and the start after it share one sync, which still sees the killed
        instance running and so passes the finish of the one before.
        """
        if entry is None or self.expired(entry, failed_ms):
            return failed_ms
        return failed_ms + entry.backoff_ms

    def tried(self, entry: BackoffEntry | None, failed_ms: int, now_ms: int) -> BackoffEntry:
        """The entry after a try at `now_ms`. (Without any finished instance: do not call.)"""
        if entry is None or self.expired(entry, failed_ms):
            return BackoffEntry(self.base_ms, now_ms)
        return BackoffEntry(min(2 * entry.backoff_ms, self.max_ms), now_ms)

    def kept(self, entry: BackoffEntry | None, now_ms: int) -> BackoffEntry | None:
        """What housekeeping leaves of an entry: nothing when it has expired by `now_ms`.

        It looks at the clock, not at the finish time: a container that ran 500 s and has to wait
        300 s starts at the first look after housekeeping has dropped its entry at 600 s.
        """
        return None if entry is None or self.expired(entry, now_ms) else entry


def crash_loop(max_ms: int | None = None, *, reduced_decay: bool = False) -> Backoff:
    """The kubelet's restart back-off under its options.

    `max_ms` is KubeletCrashLoopBackOffMax, which wins over `reduced_decay`'s 60 s and pulls the
    base down when it is smaller (pkg/kubelet/kubelet.go newCrashLoopBackOff).
    """
    base_ms = REDUCED_BASE_MS if reduced_decay else BASE_MS
    default_max_ms = REDUCED_MAX_MS if reduced_decay else MAX_MS
    longest_ms = default_max_ms if max_ms is None else max_ms
    return Backoff(min(base_ms, longest_ms), longest_ms)


def next_look_ms(now_ms: int, until_ms: int, draw: Callable[[], float], ticker_ms: int = 0) -> int:
    """When a pod worker in back-off until `until_ms` looks again; before the end: look once more.

    `ticker_ms` is any tick of the node's one-second sync ticker.
    """
    left_ms = min(LONGEST_LOOK_MS, max(0, until_ms - now_ms))
    due_ms = now_ms + math.ceil(left_ms * (1 + LOOK_JITTER * draw()))
    return due_ms + (ticker_ms - due_ms) % SYNC_TICK_MS
