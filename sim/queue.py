"""The scheduling queue: who is tried next, who waits out a back-off, who waits for a change.

Follows pkg/scheduler/backend/queue (v1.34.1): activeQ by priority, then time; backoffQ with 1 s
doubling to 10 s in whole seconds, taken from when activeQ is empty; unschedulable pods wait for an
event that may help, at most five minutes. Whether an event helps is not asked plugin by plugin yet:
every change that frees room or changes a node wakes them all, a pod that found its node wakes those
that were refused because of where other pods are.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass

INITIAL_BACKOFF_S = 1
MAX_BACKOFF_S = 10
FLUSH_INTERVAL_MS = 30_000  # how often unschedulable pods are looked through
MAX_UNSCHEDULABLE_MS = 5 * 60_000  # and how long one may lie there


@dataclass(slots=True)
class Entry:
    """One pod in the queue; `place` changes each time it moves, so old heap items can be told."""

    pod: int
    shape: Hashable  # pods of one shape get the same answers
    priority: int
    timestamp_ms: int
    attempts: int = 0
    unschedulable_count: int = 0
    place: int = 0


class SchedulingQueue:
    """Pods that wait for a node."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.unschedulable: dict[Hashable, dict[int, None]] = {}  # shape -> its pods
        self.apart: set[Hashable] = set()  # shapes that pods on other nodes are in the way of
        self._active: list[tuple[int, int, int, int]] = []  # -priority, time, place, pod
        self._backoff: list[tuple[int, int, int, int, int]] = []  # expiry s, then as above
        self._places = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, pod: int, shape: Hashable, priority: int, now_ms: int) -> None:
        """A new pod."""
        entry = self.entries[pod] = Entry(pod, shape, priority, now_ms)
        self._to_active(entry)

    def remove(self, pod: int) -> None:
        """The pod is gone, or has found its node."""
        entry = self.entries.pop(pod, None)
        if entry is not None:
            self._take_out(entry)

    def pop(self) -> Entry | None:
        """The pod to try now: the head of activeQ, or of backoffQ when activeQ is empty."""
        for heap in (self._active, self._backoff):
            while heap:
                *_, place, pod = heapq.heappop(heap)  # type: ignore[misc]
                entry = self.entries.get(pod)
                if entry is not None and entry.place == place:
                    entry.attempts += 1
                    entry.place = 0
                    return entry
        return None

    def failed(self, entry: Entry, now_ms: int, *, apart: bool = False) -> None:
        """No node took it: it waits for a change; with `apart`, also for one of pods elsewhere."""
        entry.unschedulable_count += 1
        entry.timestamp_ms = now_ms
        self.unschedulable.setdefault(entry.shape, {})[entry.pod] = None
        if apart:
            self.apart.add(entry.shape)

    def wake(self, shape: Hashable, now_ms: int) -> None:
        """Move the pod of a shape that has waited longest to activeQ or backoffQ.

        When it finds a node the next one is woken; when not, the others would not either.
        """
        pods = self.unschedulable.get(shape)
        if pods:
            self._wake([next(iter(pods))], now_ms)

    def flush_unschedulable(self, now_ms: int) -> bool:
        """Move the pods that have waited for more than five minutes; whether there was any."""
        late = [
            pod
            for pods in self.unschedulable.values()
            for pod in pods
            if now_ms - self.entries[pod].timestamp_ms > MAX_UNSCHEDULABLE_MS
        ]
        self._wake(late, now_ms)
        return bool(late)

    def _wake(self, pods: list[int], now_ms: int) -> None:
        for pod in pods:
            self._take_out(self.entries[pod])
            self._move(self.entries[pod], now_ms)

    def _take_out(self, entry: Entry) -> None:
        """No longer among the unschedulable, if it was."""
        pods = self.unschedulable.get(entry.shape)
        if pods is None:
            return
        pods.pop(entry.pod, None)
        if not pods:
            del self.unschedulable[entry.shape]
            self.apart.discard(entry.shape)

    def _move(self, entry: Entry, now_ms: int) -> None:
        expiry_s = backoff_expiry_s(entry)
        if expiry_s >= now_ms // 1000:
            self._places += 1
            entry.place = self._places
            key = (-entry.priority, entry.timestamp_ms, entry.place, entry.pod)
            heapq.heappush(self._backoff, (expiry_s, *key))
        else:
            self._to_active(entry)

    def _to_active(self, entry: Entry) -> None:
        self._places += 1
        entry.place = self._places
        item = (-entry.priority, entry.timestamp_ms, entry.place, entry.pod)
        heapq.heappush(self._active, item)


def backoff_expiry_s(entry: Entry) -> int:
    """The whole second in which the back-off ends; -1 without one."""
    if entry.unschedulable_count == 0:
        return -1
    wait_s = min(INITIAL_BACKOFF_S << min(entry.unschedulable_count - 1, 10), MAX_BACKOFF_S)
    return (entry.timestamp_ms + wait_s * 1000) // 1000
