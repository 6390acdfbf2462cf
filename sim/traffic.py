"""Requests: a constant rate per Service, spread evenly at random over the endpoints clients see.

No event per request: between two changes the shares are constant, so counts are rates times time.
A request fails when the pod it is sent to does not answer (it is dead, starting, stuck), when that
pod has not the CPU to answer all that it gets, or when there is no endpoint at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.clock import Lane, WorkQueue
from sim.cluster import Change
from sim.recorder import Of, Reason

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.endpoints import ServiceKey

MS_PER_S = 1000


@dataclass(slots=True)
class Flow:
    """The requests to one Service and what became of them since the warm-up."""

    key: ServiceKey
    index: int
    rps: float
    cpu_ms_per_request: float = 0.0
    endpoints: tuple[int, ...] = ()
    answered_share: float = 0.0
    since_ms: int = 0
    sent: float = 0.0
    failed: float = 0.0
    sent_ever: float = 0.0  # the same from the start of the run
    failed_ever: float = 0.0
    error_ms: int = 0
    outage_ms: int = 0
    begun: bool = False  # it has had an endpoint

    @property
    def name(self) -> str:
        """`namespace/name`."""
        return "/".join(self.key)

    def settle(self, now_ms: int) -> None:
        """Count the requests since the last change."""
        passed_ms = now_ms - self.since_ms
        self.since_ms = now_ms
        sent = self.rps * passed_ms / MS_PER_S
        failed = sent * (1.0 - self.answered_share)
        self.sent += sent
        self.failed += failed
        self.sent_ever += sent
        self.failed_ever += failed
        if self.answered_share < 1.0:
            self.error_ms += passed_ms
        if self.answered_share == 0.0:
            self.outage_ms += passed_ms

    def restart(self, now_ms: int) -> None:
        """Begin to count anew (end of the warm-up)."""
        self.settle(now_ms)
        self.sent = self.failed = 0.0
        self.error_ms = self.outage_ms = 0


class Traffic:
    """All flows of a run; `set_load(pod, cpu_m)` tells the kubelet what they cost a pod."""

    def __init__(self, cluster: Cluster, set_load: Callable[[int, int], None]) -> None:
        self._cluster = cluster
        self._set_load = set_load
        self.flows: dict[ServiceKey, Flow] = {}
        self._flows_of: dict[int, dict[ServiceKey, None]] = {}
        self._queue = WorkQueue(cluster.clock, Lane.ENDPOINTS, 0, self._recount)
        cluster.watch(self.on_change, [Change.POD_ANSWERS])

    def add(self, key: ServiceKey, rps: float, cpu_ms_per_request: float) -> None:
        """Send requests to a Service from now on."""
        now_ms = self._cluster.clock.now_ms
        self.flows[key] = Flow(key, len(self.flows), rps, cpu_ms_per_request, since_ms=now_ms)

    def on_change(self, change: Change, object_id: int) -> None:
        """A pod that clients send requests to answers differently from now on."""
        if object_id in self._flows_of:
            for key in self._flows_of[object_id]:
                self._queue.add(key)

    def publish(self, key: ServiceKey, endpoints: tuple[int, ...]) -> None:
        """Clients see these endpoints from now on."""
        flow = self.flows[key]
        touched = dict.fromkeys((*flow.endpoints, *endpoints))
        for pod in flow.endpoints:
            self._flows_of[pod].pop(key, None)
        flow.begun = flow.begun or bool(endpoints)
        if flow.endpoints and not endpoints:
            now_ms = self._cluster.clock.now_ms
            self._cluster.recorder.event(now_ms, Reason.NO_ENDPOINTS, Of.SERVICE, flow.index)
        flow.endpoints = endpoints
        for pod in endpoints:
            self._flows_of.setdefault(pod, {})[key] = None
        for pod in touched:
            self._set_load(pod, self._load_m(pod))
            if not self._flows_of[pod]:
                del self._flows_of[pod]
        self._recount(key)

    def _load_m(self, pod: int) -> int:
        """Millicores that the requests to a pod ask for: rate times CPU time."""
        flows = [self.flows[key] for key in self._flows_of[pod]]
        return round(sum(f.rps * f.cpu_ms_per_request / len(f.endpoints) for f in flows))

    def _recount(self, key: object) -> None:
        flow = self.flows[key]  # type: ignore[index]
        pods, now_ms = self._cluster.pods, self._cluster.clock.now_ms
        flow.settle(now_ms)
        before = flow.answered_share
        answered = sum(float(pods.served[p]) for p in flow.endpoints if pods.answers[p])
        flow.answered_share = answered / len(flow.endpoints) if flow.endpoints else 0.0
        self._note(flow, before)

    def _note(self, flow: Flow, before: float) -> None:
        now_ms, recorder = self._cluster.clock.now_ms, self._cluster.recorder
        if before == 1.0 > flow.answered_share:
            recorder.event(now_ms, Reason.ERRORS_BEGIN, Of.SERVICE, flow.index)
        elif before < 1.0 == flow.answered_share and flow.begun:
            recorder.event(now_ms, Reason.ERRORS_END, Of.SERVICE, flow.index)
