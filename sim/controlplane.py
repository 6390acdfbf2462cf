"""The control plane: runs controllers from work queues and carries out what they ask for.

A change marks keys dirty; the queue calls `reconcile(key, view, now_ms)` a moment later; its
actions become API calls that pass through the controller's own client, first come first served, at
20 a second after a burst of 30 (one bucket per controller, as kube-controller-manager builds its
clients). A key is not looked at again before its actions are done: that stands for upstream's
expectations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.actions import (
    Action,
    CreatePods,
    CreateReplicaSet,
    DeletePods,
    LookAgain,
    ScaleReplicaSet,
)
from sim.clock import Lane, TokenBucket, WorkQueue
from sim.cluster import Change
from sim.recorder import Reason

if TYPE_CHECKING:
    from sim.cluster import Cluster

RELEVANT = (Change.POD_DELETING, Change.POD_ENDED, Change.POD_REMOVED, Change.OBJECT)

Reconcile = Callable[[Any, "Cluster", int], Sequence[Action]]


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """Delays and limits, with their upstream values; `ideal` takes all of them away."""

    qps: float = 20.0  # kube-controller-manager --kube-api-qps, per controller
    burst: int = 30  # --kube-api-burst
    sync_ms: int = 20  # watch delay and queue; measured medians lie between 10 and 30 ms
    job_sync_ms: int = 1_000  # the Job controller batches pod events (syncJobBatchPeriod)
    ideal: bool = False


class ApiClient:
    """One controller's calls to the API, in order, as its token bucket allows."""

    def __init__(self, cluster: Cluster, settings: ControlPlaneSettings) -> None:
        self._clock = cluster.clock
        self._calls: deque[tuple[bool, Callable[..., None], tuple[Any, ...]]] = deque()
        self._bucket = TokenBucket(settings.qps, settings.burst, self._clock.now_ms)
        self._ideal = settings.ideal
        self._waiting = False

    def submit(self, call: Callable[..., None], *args: Any, free: bool = False) -> None:
        """Make the call as soon as all earlier ones are made and there is a token for it."""
        self._calls.append((free, call, args))
        if not self._waiting:
            self._go_on()

    def _go_on(self) -> None:
        self._waiting = False
        while self._calls:
            free, call, args = self._calls[0]
            if not (free or self._ideal):
                now_ms = self._clock.now_ms
                next_ms = self._bucket.next_ms(now_ms)
                assert next_ms is not None
                if next_ms > now_ms:
                    self._waiting = True
                    self._clock.at(next_ms, Lane.API, self._go_on)
                    return
                self._bucket.reserve(now_ms)
            self._calls.popleft()
            call(*args)


class ControllerRun:
    """One controller at work: its dirty keys, its client, the keys whose actions are under way."""

    def __init__(
        self, cluster: Cluster, reconcile: Reconcile, settings: ControlPlaneSettings, delay_ms: int
    ) -> None:
        self._cluster = cluster
        self._reconcile = reconcile
        self._client = ApiClient(cluster, settings)
        delay_ms = 0 if settings.ideal else delay_ms
        self.queue = WorkQueue(cluster.clock, Lane.CONTROLLERS, delay_ms, self._sync)
        self._delay_ms = delay_ms
        self._busy: set[Hashable] = set()

    def _sync(self, key: Hashable) -> None:
        """Look at a key, unless its last actions are under way: they end with a look."""
        if key in self._busy:
            return
        asked = self._reconcile(key, self._cluster, self._cluster.clock.now_ms)
        actions = [action for action in asked if not isinstance(action, LookAgain)]
        for action in asked:
            if isinstance(action, LookAgain):
                self.queue.add_at(key, action.at_ms - self._delay_ms)
        if not actions:
            return
        self._busy.add(key)
        for action in actions:
            self._carry_out(action)
        self._client.submit(self._done, key, free=True)

    def _done(self, key: Hashable) -> None:
        self._busy.remove(key)
        self.queue.add(key)

    def _carry_out(self, action: Action) -> None:
        submit = self._client.submit
        if isinstance(action, CreatePods):
            template = self._cluster.template(action.template)
            for _ in range(action.count):
                submit(self._create_pod, template, action.owner)
        elif isinstance(action, DeletePods):
            for pod in action.pods:
                submit(self._cluster.delete_pod, pod, Reason.SUCCESSFUL_DELETE)
        elif isinstance(action, CreateReplicaSet):
            submit(self._cluster.put_replicaset, action.replicaset)
        elif isinstance(action, ScaleReplicaSet):
            submit(self._cluster.scale_replicaset, action.namespace, action.name, action.replicas)

    def _create_pod(self, template: Any, owner: int) -> None:
        self._cluster.create_pod(template, owner)


class ControlPlane:
    """All workload controllers of a run."""

    def __init__(
        self,
        cluster: Cluster,
        controllers: Sequence[tuple[str, Reconcile]],
        settings: ControlPlaneSettings,
    ) -> None:
        self._cluster = cluster
        delays = {"Job": settings.job_sync_ms}
        self._spec_delay_ms = 0 if settings.ideal else settings.sync_ms
        self._runs = {
            kind: ControllerRun(cluster, reconcile, settings, delays.get(kind, settings.sync_ms))
            for kind, reconcile in controllers
        }
        cluster.watch(self.on_change, RELEVANT)

    def dirty(self, kind: str, key: Hashable) -> None:
        """Have the controller of `kind` look at `key`."""
        self._runs[kind].queue.add(key)

    def on_change(self, change: Change, object_id: int) -> None:
        """Wake whoever owns what changed; only events of pods are held back for a batch."""
        if change == Change.OBJECT:
            kind, key = self._cluster.changed_objects[object_id]
            if kind in self._runs:
                self._runs[kind].queue.add(key, self._spec_delay_ms)
            return
        owner = self._cluster.owners[self._cluster.pods.owner[object_id]]
        if owner.kind in self._runs:
            self._runs[owner.kind].queue.add((owner.namespace, owner.name))
