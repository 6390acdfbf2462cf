"""Pod garbage collection: removes pods whose node is gone, and the oldest of too many ended ones.

It mirrors pkg/controller/podgc/gc_controller.go of Kubernetes v1.34.1: a loop each 20 s. Here a
pass is an event only when there may be something for it to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from sim.clock import Lane, TokenBucket
from sim.cluster import Change
from sim.recorder import WORDS, Reason
from sim.tables import NEVER, UNBOUND, NodeReady, Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.rng import Streams

PERIOD_MS = 20_000  # gcCheckPeriod
QUARANTINE_MS = 40_000  # quarantineTime, from the pass that first misses a node
THRESHOLD = 12_500  # --terminated-pod-gc-threshold
WRITE_MS = 10  # a call that is answered; measured 10 to 40 ms
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
EVICTED = {reason for reason, words in WORDS.items() if words[1] == "Evicted"}


class PodGC:
    """The controller of one run."""

    def __init__(
        self,
        cluster: Cluster,
        streams: Streams,
        *,
        phase_ms: int | None = None,
        threshold: int = THRESHOLD,
        qps: float = 20.0,
        burst: int = 30,
        ideal: bool = False,
    ) -> None:
        """Passes fall on `phase_ms` + 20 s × k; the phase is drawn where it is not given."""
        self.cluster = cluster
        self._clock = cluster.clock
        self._threshold = threshold
        self._ideal = ideal
        self._bucket = TokenBucket(qps, burst, self._clock.now_ms)
        if phase_ms is None:
            phase_ms = int(streams("podgc").integers(PERIOD_MS))
        self._phase_ms = phase_ms
        self._pass_ms: int | None = None  # the next pass that is planned
        self._missing: dict[int, int | None] = {}  # node without object -> when a pass missed it
        self._unserved: set[int] = set()  # nodes with the out-of-service taint
        self._going: set[int] = set()  # pods whose removal is under way
        self._ended: list[tuple[bool, int]] = []  # heap of ended pods in the order of their removal
        self._ended_count = 0
        cluster.watch(self._node_removed, [Change.NODE_REMOVED])
        cluster.watch(self._node_taints, [Change.NODE_TAINTS])
        cluster.watch(self._node_ready, [Change.NODE_READY])
        cluster.watch(self._pod_deleting, [Change.POD_DELETING])
        cluster.watch(self._pod_ended, [Change.POD_ENDED])
        cluster.watch(self._pod_removed, [Change.POD_REMOVED])

    # What may need a pass

    def _node_removed(self, _change: Change, node: int) -> None:
        self._unserved.discard(node)
        self._missing[node] = None
        self._plan()

    def _node_taints(self, _change: Change, node: int) -> None:
        if any(taint.key == OUT_OF_SERVICE for taint in self.cluster.nodes.taints(node)):
            self._unserved.add(node)
            self._plan()
        else:
            self._unserved.discard(node)

    def _node_ready(self, _change: Change, node: int) -> None:
        if node in self._unserved:
            self._plan()

    def _pod_deleting(self, _change: Change, pod: int) -> None:
        if self._unserved and self.cluster.pods.node.item(pod) in self._unserved:
            self._plan()

    def _pod_ended(self, _change: Change, pod: int) -> None:
        """Ended pods of Jobs stay: the Job controller counts by the objects (no finalizers)."""
        pods = self.cluster.pods
        if self.cluster.owners[pods.owner.item(pod)].kind == "Job":
            return
        heappush(self._ended, (pods.reason.item(pod) not in EVICTED, pod))
        self._ended_count += 1
        if self._ended_count > self._threshold:
            self._plan()

    def _pod_removed(self, _change: Change, pod: int) -> None:
        self._going.discard(pod)
        pods = self.cluster.pods
        ended = pods.phase.item(pod) >= Phase.SUCCEEDED
        if ended and self.cluster.owners[pods.owner.item(pod)].kind != "Job":
            self._ended_count -= 1

    def _plan(self) -> None:
        now_ms = self._clock.now_ms
        at_ms = now_ms + (self._phase_ms - now_ms) % PERIOD_MS
        if self._pass_ms is None or self._pass_ms < now_ms:
            self._pass_ms = at_ms
            self._clock.at(at_ms, Lane.LIFECYCLE, self._pass)

    # Passes

    def _pass(self) -> None:
        """One loop (gc): surplus, out of service, orphans, unscheduled."""
        self._pass_ms = None
        self._advance(self._collect_ended(self._surplus()))
        for pod in (*self._unserved_pods(), *self._orphans(), *self._unbound()):
            if pod not in self._going:
                self._going.add(pod)
                self._advance(self._collect(pod))
        if self._missing or self._ended_count > self._threshold:
            self._clock.after(1, Lane.LIFECYCLE, self._plan)

    def _surplus(self) -> list[int]:
        """Ended pods above the threshold: evicted ones first, then the oldest."""
        surplus = self._ended_count - len(self._going) - self._threshold
        found: list[int] = []
        while len(found) < surplus and self._ended:
            pod = heappop(self._ended)[1]
            if self.cluster.pods.exists[pod] and pod not in self._going:
                found.append(pod)
        return found

    def _unserved_pods(self) -> list[int]:
        """Terminating pods of nodes that are out of service and not ready."""
        nodes = [n for n in self._unserved if self.cluster.nodes.ready[n] != NodeReady.TRUE]
        pods = self.cluster.pods
        return [pod for pod in self._pods_of(nodes) if pods.deleting_ms[pod] != NEVER]

    def _orphans(self) -> list[int]:
        """Pods of nodes that have been missing for the time of the quarantine."""
        now_ms, due = self._clock.now_ms, []
        for node, missed_ms in list(self._missing.items()):
            if missed_ms is None:
                self._missing[node] = now_ms
            elif now_ms >= missed_ms + QUARANTINE_MS:
                due.append(node)
                del self._missing[node]
        return self._pods_of(due)

    def _pods_of(self, nodes: list[int]) -> list[int]:
        """All pods bound to these nodes, those that have ended too."""
        if not nodes:
            return []
        pods = self.cluster.pods
        there = pods.exists[: len(pods)] & np.isin(pods.node[: len(pods)], nodes)
        return np.flatnonzero(there).tolist()

    def _unbound(self) -> list[int]:
        """Terminating pods that never got a node; ours go at once, so there should be none."""
        pods = self.cluster.pods
        waiting = pods.exists[: len(pods)] & (pods.node[: len(pods)] == UNBOUND)
        return np.flatnonzero(waiting & (pods.deleting_ms[: len(pods)] != NEVER)).tolist()

    def _collect_ended(self, ended: list[int]) -> Iterator[int]:
        """Delete pods that hold nothing any more; all at once, when the last call is answered."""
        self._going.update(ended)
        answered_ms = [self._answered_ms() for _ in ended]
        if answered_ms:
            yield answered_ms[-1]
        for pod in ended:
            self._remove(pod)

    def _collect(self, pod: int) -> Iterator[int]:
        """Phase Failed if it has not ended, then a deletion with grace 0."""
        cluster, pods = self.cluster, self.cluster.pods
        if pods.phase[pod] < Phase.SUCCEEDED:
            yield self._answered_ms()
            if not pods.exists[pod]:
                return
            cluster.end_pod(pod, Phase.FAILED, Reason.POD_GC)
        yield self._answered_ms()
        self._remove(pod)

    def _remove(self, pod: int) -> None:
        """Delete an ended pod; it may be gone, or going already."""
        if self.cluster.pods.deleting_ms[pod] == NEVER:
            self.cluster.delete_pod(pod)
        self.cluster.remove_pod(pod)

    def _answered_ms(self) -> int:
        """When a call is answered that is made now."""
        now_ms = self._clock.now_ms
        return now_ms if self._ideal else self._bucket.reserve(now_ms) + WRITE_MS

    def _advance(self, steps: Iterator[int]) -> None:
        answered_ms = next(steps, None)
        if answered_ms is not None:
            self._clock.at(answered_ms, Lane.LIFECYCLE, self._advance, steps)
