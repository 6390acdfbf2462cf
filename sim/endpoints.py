"""EndpointSlices: which pods of a Service clients are sent to, as far as clients know.

A pod is a ready endpoint while it is Ready and not being deleted (staging/src/k8s.io/endpointslice,
v1.34.1). While a Service has none, kube-proxy sends requests to its pods that are Ready and being
deleted (pkg/proxy/topology.go, v1.34.1). A change reaches the slice after the controller's sync and
the clients after kube-proxy's: until then requests still go to the old set, which is what an outage
costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.clock import Lane, WorkQueue
from sim.cluster import Change
from sim.tables import NEVER, Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.rng import Streams
    from sim.templates import Template
    from sim.workloads import Service

SYNC_MS = 18  # median delay from a Ready change to the slice, measured on a real control plane
PROXY_MS = (100, 1_500)  # kube-proxy waits at least 1 s between syncs; a modelling choice
ENDED = int(Phase.SUCCEEDED)  # a plain number: members of an enum are slow to look up
RELEVANT = (Change.POD_READY, Change.POD_DELETING, Change.POD_ENDED, Change.POD_REMOVED)

ServiceKey = tuple[str, str]


@dataclass(slots=True)
class _Slice:
    service: Service
    ready: dict[int, None] = field(default_factory=dict)
    terminating: dict[int, None] = field(default_factory=dict)  # Ready and being deleted
    version: int = 0  # of the slice
    seen: int = 0  # the newest version that has reached the clients


class Endpoints:
    """The endpoints of the Services that somebody sends requests to.

    `publish(key, pods)` is called when clients begin to send requests to another set of pods.
    """

    def __init__(
        self,
        cluster: Cluster,
        streams: Streams,
        publish: Callable[[ServiceKey, tuple[int, ...]], None],
        *,
        ideal: bool = False,
    ) -> None:
        self._cluster = cluster
        self._streams = streams
        self._publish = publish
        self._ideal = ideal
        self._slices: dict[ServiceKey, _Slice] = {}
        self._of_template: dict[int, tuple[ServiceKey, ...]] = {}
        delay_ms = 0 if ideal else SYNC_MS
        self._queue = WorkQueue(cluster.clock, Lane.ENDPOINTS, delay_ms, self._sync)

    def watch(self, service: Service) -> None:
        """Keep the endpoints of this Service from now on."""
        if not self._slices:
            self._cluster.watch(self.on_change, [Change.POD_CREATED, *RELEVANT])
        self._slices[service.namespace, service.name] = _Slice(service)
        self._of_template.clear()

    def on_change(self, change: Change, object_id: int) -> None:
        """Note which Services a pod's change concerns."""
        for key in self._services_of(object_id):
            self._place(self._slices[key], object_id)
            if change != Change.POD_CREATED:
                self._queue.add(key)

    def usable(self, key: ServiceKey) -> tuple[int, ...]:
        """Pods that requests to the Service go to as of now, oldest first.

        Its ready endpoints; without any, those that still serve while they are being deleted.
        """
        entry = self._slices[key]
        return tuple(sorted(entry.ready or entry.terminating))

    def _place(self, entry: _Slice, pod: int) -> None:
        """Put the pod among the ready or the terminating endpoints, or take it off both."""
        pods = self._cluster.pods
        entry.ready.pop(pod, None)
        entry.terminating.pop(pod, None)
        if not pods.exists.item(pod) or pods.phase.item(pod) >= ENDED:
            return
        if entry.service.publish_not_ready:
            entry.ready[pod] = None
        elif pods.ready.item(pod):
            kept = pods.deleting_ms.item(pod) == NEVER
            (entry.ready if kept else entry.terminating)[pod] = None

    def _services_of(self, pod: int) -> tuple[ServiceKey, ...]:
        template = self._cluster.pod_template(pod)
        keys = self._of_template.get(template.id)
        if keys is None:
            keys = self._of_template[template.id] = self._selecting(template)
        return keys

    def _selecting(self, template: Template) -> tuple[ServiceKey, ...]:
        return tuple(k for k, entry in self._slices.items() if entry.service.picks(template.pod))

    def _sync(self, key: object) -> None:
        assert isinstance(key, tuple)
        entry = self._slices[key]
        entry.version += 1
        delay_ms = 0
        if not self._ideal:
            delay_ms = int(self._streams(f"endpoints/{'/'.join(key)}").integers(*PROXY_MS))
        args = (key, self.usable(key), entry.version)
        self._cluster.clock.after(delay_ms, Lane.ENDPOINTS, self._reach_clients, *args)

    def _reach_clients(self, key: ServiceKey, pods: tuple[int, ...], version: int) -> None:
        """A later version may arrive first, because delays are drawn; then this one is old."""
        entry = self._slices[key]
        if version > entry.seen:
            entry.seen = version
            self._publish(key, pods)
