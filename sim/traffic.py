"""Requests: a constant rate per Service, spread evenly at random over the endpoints clients see.

No event per request: between two changes the shares are constant, so counts are rates times time.
A request fails when the pod it is sent to does not answer (it is dead, starting, stuck), when that
pod has not the CPU to answer all that it gets, or when there is no endpoint at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
    load_m: float = 0.0  # what its requests ask of each endpoint, in millicores
    was_complete: bool = False  # all its requests have been answered at some time

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
    """All flows of a run; `set_load(pod, cpu_m)` tells the kubelet what they cost a pod, and
    `set_rate(pod, rps)`, where anybody wants to know, how many requests it is sent."""

    def __init__(
        self,
        cluster: Cluster,
        set_load: Callable[[int, int], None],
        set_rate: Callable[[int, float], None] | None = None,
    ) -> None:
        self._cluster = cluster
        self._set_rate = set_rate
        self._set_load = set_load
        self.flows: dict[ServiceKey, Flow] = {}
        self._flows_of: dict[int, dict[ServiceKey, None]] = {}
        self._shared: set[int] = set()  # pods that several flows go to
        self._loads_m: dict[int, int] = {}  # what `set_load` was told, where it is not 0
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
        joined = set(endpoints).difference(flow.endpoints)
        left = set(flow.endpoints).difference(endpoints)
        if flow.endpoints and not endpoints:
            now_ms = self._cluster.clock.now_ms
            self._cluster.recorder.event(now_ms, Reason.NO_ENDPOINTS, Of.SERVICE, flow.index)
        flow.endpoints = endpoints
        self._connect(key, joined, left)
        if flow.cpu_ms_per_request:
            self._tell_loads(flow, joined, left)
        if self._set_rate is not None:
            for pod in sorted(left.union(endpoints)):
                self._set_rate(pod, self._rps(pod))
        self._recount(key)

    def _connect(self, key: ServiceKey, joined: set[int], left: set[int]) -> None:
        """Note which pods the flow goes to from now on."""
        for pod in left:
            flows = self._flows_of[pod]
            del flows[key]
            if not flows:
                del self._flows_of[pod]
        for pod in joined:
            self._flows_of.setdefault(pod, {})[key] = None
        for pod in joined | left:
            several = len(self._flows_of.get(pod, ())) > 1
            (self._shared.add if several else self._shared.discard)(pod)

    def _tell_loads(self, flow: Flow, joined: set[int], left: set[int]) -> None:
        """Tell the kubelet of every load that is another one from now on, the newcomers' last."""
        before_m = round(flow.load_m)
        asked_m = flow.rps * flow.cpu_ms_per_request
        flow.load_m = asked_m / len(flow.endpoints) if flow.endpoints else 0.0
        if round(flow.load_m) == before_m:
            # Only sums of several flows can round to something else now.
            touched = joined | left | self._shared.intersection(flow.endpoints)
        else:
            touched = left.union(flow.endpoints)
        for pod in sorted(touched, key=lambda pod: (pod in joined, pod)):
            load_m = self._load_m(pod)
            if load_m != self._loads_m.get(pod, 0):
                self._loads_m[pod] = load_m
                self._set_load(pod, load_m)
            if not load_m:
                self._loads_m.pop(pod, None)

    def _rps(self, pod: int) -> float:
        """Requests per second that are sent to a pod."""
        flows = [self.flows[key] for key in self._flows_of.get(pod, ())]
        return sum(flow.rps / len(flow.endpoints) for flow in flows)

    def _load_m(self, pod: int) -> int:
        """Millicores that the requests to a pod ask for: rate times CPU time."""
        return round(sum(self.flows[key].load_m for key in self._flows_of.get(pod, ())))

    def _recount(self, key: object) -> None:
        flow = self.flows[key]  # type: ignore[index]
        pods, now_ms = self._cluster.pods, self._cluster.clock.now_ms
        flow.settle(now_ms)
        before = flow.answered_share
        ids = np.array(flow.endpoints, np.intp)
        answered = sum(pods.served[ids[pods.answers[ids]]].tolist())
        flow.answered_share = answered / len(flow.endpoints) if flow.endpoints else 0.0
        self._note(flow, before)

    def _note(self, flow: Flow, before: float) -> None:
        now_ms, recorder = self._cluster.clock.now_ms, self._cluster.recorder
        if before == 1.0 > flow.answered_share:
            recorder.event(now_ms, Reason.ERRORS_BEGIN, Of.SERVICE, flow.index)
        elif before < 1.0 == flow.answered_share:
            if flow.was_complete:
                recorder.event(now_ms, Reason.ERRORS_END, Of.SERVICE, flow.index)
            flow.was_complete = True
