"""The state of the cluster and the only methods that change it.

Each verb keeps the summed columns right, records what happened and tells the watchers.
`check()` re-derives every sum from the pods and fails on the first difference.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, TypeVar

from sim.clock import Clock
from sim.curves import Part
from sim.events import Kind, NodeFacts, PodFacts
from sim.invariants import check_cluster
from sim.labels import Labels, Selector
from sim.laws import Law
from sim.nodes import NodeShape
from sim.podaffinity import AffinityCounts
from sim.podcounts import PodCounts
from sim.podspec import (
    CPU,
    MEMORY,
    PODS,
    PodTemplate,
    Taint,
)
from sim.recorder import Of, Reason, Recorder
from sim.storage import Key, Storage
from sim.tables import (
    NEVER,
    UNBOUND,
    NodeReady,
    NodeTable,
    Phase,
    PodTable,
)
from sim.templates import Template
from sim.usage import Usage, UseLaws
from sim.versioned import Versioned
from sim.workloads import Deployment, Job, PodDisruptionBudget, ReplicaSet, Service

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # apimachinery util/rand: no vowels, no 0 1 3
SUFFIX_LENGTH = 5
_SUFFIXES = len(SUFFIX_LETTERS) ** SUFFIX_LENGTH
_SUFFIX_STEP = 8_675_309  # coprime to 27**5, so that consecutive serials look unrelated
MS_PER_H = 3_600_000
OVER = int(Phase.SUCCEEDED)  # phases from here on are final (a member of an enum is slow to get)
READY_REASON = {
    NodeReady.TRUE: Reason.NODE_READY,
    NodeReady.FALSE: Reason.NODE_SAYS_NOT_READY,
    NodeReady.UNKNOWN: Reason.NODE_NOT_READY,
}


class Change(IntEnum):
    """What a watcher is told; the id is that of the pod or node."""

    POD_CREATED = 0
    POD_BOUND = 1
    POD_RUNNING = 2
    POD_READY = 3  # the Ready condition turned, either way
    POD_DELETING = 4
    POD_ENDED = 5  # Succeeded or Failed
    POD_REMOVED = 6  # the object is gone
    POD_ALIVE = 7  # its containers started or stopped: the truth, not the API's view
    POD_ANSWERS = 15  # it begins or ceases to answer requests, or answers another share of them
    NODE_ADDED = 8
    NODE_REMOVED = 9
    NODE_TAINTS = 10
    NODE_SCHEDULABLE = 11
    NODE_READY = 12  # the Ready condition changed
    NODE_DOWN = 13
    NODE_UP = 14
    NODE_CONDITION = 17  # another condition, such as DiskPressure
    OBJECT = 16  # a Deployment, ReplicaSet or Job; the id is a place in `changed_objects`


# condition -> the reasons for events that it is no longer, and that it is now
PRESSURE_REASONS = {
    "MemoryPressure": (Reason.NO_MEMORY_PRESSURE, Reason.MEMORY_PRESSURE),
    "DiskPressure": (Reason.NO_DISK_PRESSURE, Reason.DISK_PRESSURE),
    "PIDPressure": (Reason.NO_PID_PRESSURE, Reason.PID_PRESSURE),
}

Watcher = Callable[[Change, int], None]
UpdateWatcher = Callable[[Kind, Any, Any], None]  # what an object was, and what it has become
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class Owner:
    """What made a pod: a ReplicaSet, a Job, or nothing (a pod of its own)."""

    kind: str
    namespace: str
    name: str
    workload: int  # index of the row that reports show: the Deployment above the ReplicaSet
    pods: dict[int, None] = field(default_factory=dict)  # its pods whose objects exist
    made: int = 0


@dataclass(slots=True)
class Workload:
    """A row of the workloads table: a Deployment, a ReplicaSet or Job of its own, a stream."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Cluster:
    """All state of a run. Readers look at `nodes`, `pods` and the dictionaries; verbs write."""

    def __init__(self, clock: Clock | None = None, recorder: Recorder | None = None) -> None:
        self.clock = clock or Clock()
        self.recorder = recorder or Recorder()
        self.nodes = NodeTable()
        self.pods = PodTable()
        self.templates: list[Template] = []
        self.owners: list[Owner] = []
        self.workloads: list[Workload] = []
        self.deployments: dict[tuple[str, str], Deployment] = {}
        self.replicasets: dict[tuple[str, str], ReplicaSet] = {}
        self.jobs: dict[tuple[str, str], Job] = {}
        self.services: Versioned[tuple[str, str], Service] = Versioned()
        self.budgets: dict[tuple[str, str], PodDisruptionBudget] = {}
        self.namespaces: Versioned[str, Labels] = Versioned()
        self.storage = Storage()
        self.changed_objects: list[tuple[str, tuple[str, str]]] = []
        self._watchers: list[list[Watcher]] = [[] for _ in Change]
        self._update_watchers: list[UpdateWatcher] = []
        self.pod_counts = PodCounts(self.nodes, self.pods, self.templates)
        self.pods_log = array("i")  # nodes whose pods changed, in order
        self.nodes_log = array("i")  # nodes whose own properties changed, in order
        self.affinity_counts = AffinityCounts(
            self.nodes, self.pods, self.templates, self.namespaces, self.nodes_log
        )
        self.cpu_use = Usage()
        self.memory_use = Usage()
        self._pending = 0
        self._assumed: dict[int, int] = {}  # pods about to be bound -> their nodes
        self._names: dict[int, str] = {}
        self._template_ids: dict[str, int] = {}
        self._owned_ids: dict[tuple[int, int], int] = {}  # (template, owner) -> template
        self._shape_ids: dict[str, int] = {}
        self._owner_ids: dict[tuple[str, str, str], int] = {}
        self._workload_ids: dict[tuple[str, str, str], int] = {}

    def watch(self, watcher: Watcher, changes: Iterable[Change] = Change) -> None:
        """Tell `watcher` of these changes (by default of all), after those who asked before it."""
        for change in changes:
            self._watchers[change].append(watcher)

    def watch_updates(self, watcher: UpdateWatcher) -> None:
        """Tell `watcher(kind, before, after)` of updates of nodes and pods, as NodeFacts and
        PodFacts, and of every change of a storage object (None: it was not, or is no longer)."""
        self._update_watchers.append(watcher)

    # Nodes

    def add_node(
        self,
        name: str,
        shape: NodeShape,
        *,
        zone: str = "",
        pool: str = "",
        labels: Labels | None = None,
        taints: tuple[Taint, ...] = (),
        unschedulable: bool = False,
        ready: NodeReady = NodeReady.TRUE,
        images: Mapping[str, int] | None = None,
    ) -> int:
        """A new node; its id. `images` are what it has of container images: name -> bytes."""
        assert name not in self.nodes.by_name, f"node {name} exists already"
        table = self.nodes
        capacity, allocatable = table.vector(shape.capacity), table.vector(shape.allocatable)
        node = table._append(name, dict(labels or {}))
        table._set_taints(node, taints)
        table.images._put(node, images or {})
        table.capacity[: len(capacity), node] = capacity
        table.allocatable[: len(allocatable), node] = allocatable
        table.max_pods[node] = shape.max_pods
        table.kubepods_cpu_m[node] = shape.kubepods.get(CPU, 0)
        table.kubepods_memory_b[node] = shape.kubepods.get(MEMORY, 0)
        table.price_usd_per_hour[node] = shape.price_usd_per_hour
        table.instance_types[node] = shape.instance_type
        table.shapes.append(shape)
        table.zone[node] = _id(table.zones, zone)
        table.pool[node] = _id(table.pools, pool)
        table.exists[node] = table.up[node] = True
        table.unschedulable[node] = unschedulable
        table.ready[node] = ready
        table.created_ms[node] = self.clock.now_ms
        self._node_changed(Change.NODE_ADDED, node, Reason.NODE_ADDED)
        return node

    def remove_node(self, node: int) -> None:
        """Delete the node object; its pods stay until somebody collects them."""
        self.nodes.exists[node] = False
        self.nodes.removed_ms[node] = self.clock.now_ms
        self._settle_down(node)
        del self.nodes.by_name[self.nodes.names[node]]
        self.nodes.images._put(node, {})
        self._node_changed(Change.NODE_REMOVED, node, Reason.NODE_REMOVED)

    def set_images(self, node: int, images: Mapping[str, int]) -> None:
        """Replace what a node has of container images (name -> bytes); no event tells of it."""
        if self.nodes.images.of(node) != images:
            self.nodes.images._put(node, images)
            self.nodes_log.append(node)

    def set_taints(self, node: int, taints: tuple[Taint, ...]) -> None:
        """Replace the taints of a node."""
        before = self.nodes.taints(node)
        if taints == before:
            return
        facts = self.node_facts(node)
        self.nodes._set_taints(node, taints)
        for reason, these, those in (
            (Reason.UNTAINTED, before, taints),
            (Reason.TAINTED, taints, before),
        ):
            for taint in these:
                if taint not in those:
                    text = self.recorder.text(f"{taint.key}:{taint.effect}")
                    self.recorder.event(self.clock.now_ms, reason, Of.NODE, node, text)
        self._node_changed(Change.NODE_TAINTS, node)
        self._tell_update(Kind.NODE, facts, self.node_facts(node))

    def update_node(
        self,
        node: int,
        *,
        labels: Labels | None = None,
        taints: tuple[Taint, ...] | None = None,
        unschedulable: bool | None = None,
        allocatable: Mapping[str, int] | None = None,
    ) -> None:
        """Replace what is given of what the API shows of a node, all in one update."""
        table, facts = self.nodes, self.node_facts(node)
        if labels is not None:
            table._set_labels(node, dict(labels))
        if taints is not None:
            table._set_taints(node, taints)
        if unschedulable is not None:
            table.unschedulable[node] = unschedulable
        if allocatable is not None:
            vector = table.vector({k: v for k, v in allocatable.items() if k != PODS})
            table.allocatable[:, node] = 0
            table.allocatable[: len(vector), node] = vector
            table.max_pods[node] = allocatable.get(PODS, 0)
        self._node_changed(Change.NODE_TAINTS, node)
        self._tell_update(Kind.NODE, facts, self.node_facts(node))

    def set_unschedulable(self, node: int, unschedulable: bool) -> None:
        """Cordon or uncordon a node."""
        if self.nodes.unschedulable[node] == unschedulable:
            return
        facts = self.node_facts(node)
        self.nodes.unschedulable[node] = unschedulable
        reason = Reason.NODE_UNSCHEDULABLE if unschedulable else Reason.NODE_SCHEDULABLE
        self._node_changed(Change.NODE_SCHEDULABLE, node, reason)
        self._tell_update(Kind.NODE, facts, self.node_facts(node))

    def set_node_ready(self, node: int, ready: NodeReady) -> None:
        """Write the Ready condition of a node."""
        if self.nodes.ready[node] == ready:
            return
        self.nodes.ready[node] = ready
        self._record(READY_REASON[ready], Of.NODE, node)
        self._tell(Change.NODE_READY, node)

    def set_condition(self, node: int, kind: str, on: bool) -> None:
        """Write a condition of a node other than Ready: DiskPressure, MemoryPressure, ..."""
        before = self.nodes.conditions.get(node, frozenset())
        after = before | {kind} if on else before - {kind}
        if after != before:
            self.nodes.conditions[node] = after
            self._note_condition(node, kind, on)
            self._tell(Change.NODE_CONDITION, node)

    def _note_condition(self, node: int, kind: str, on: bool) -> None:
        """Record it, and for how long memory was short."""
        table, now_ms = self.nodes, self.clock.now_ms
        if kind in PRESSURE_REASONS:
            self._record(PRESSURE_REASONS[kind][on], Of.NODE, node)
        if kind != "MemoryPressure":
            return
        if on:
            table.memory_pressure_since_ms[node] = now_ms
        else:
            table.memory_pressure_ms[node] += now_ms - table.memory_pressure_since_ms[node]
            table.memory_pressure_since_ms[node] = NEVER

    def fail_node(self, node: int, *, containers_die: bool = True) -> None:
        """The machine stops (or, with `containers_die` False, is cut off from the API).

        Faults may overlap: each has to be ended by a `recover_node` of its own, and a machine that
        stops while it is cut off has lost its containers all the same.
        """
        table = self.nodes
        table.faults[node] += 1
        if not table.up[node] or (table.cut_off[node] and not containers_die):
            return
        if not table.cut_off[node] and table.exists[node]:
            table.down_since_ms[node] = self.clock.now_ms
        table.cut_off[node] = not containers_die
        table.up[node] = not containers_die
        self._record(Reason.NODE_DOWN if containers_die else Reason.NODE_CUT_OFF, Of.NODE, node)
        if containers_die:
            for pod in list(table.pods[node]):
                self.set_alive(pod, False)
        self._tell(Change.NODE_DOWN, node)

    def recover_node(self, node: int) -> None:
        """One fault is over; with the last one the machine works and is connected again.

        Its kubelet decides about the pods. A machine whose Node object is gone is not used again.
        """
        table = self.nodes
        if table.faults[node] == 0 or not table.exists[node]:
            return
        table.faults[node] -= 1
        if table.faults[node]:
            return
        self._settle_down(node)
        table.up[node] = True
        table.cut_off[node] = False
        self._record(Reason.NODE_UP, Of.NODE, node)
        self._tell(Change.NODE_UP, node)

    def _settle_down(self, node: int) -> None:
        """The time that it was down is over, for those who count it."""
        table = self.nodes
        if table.down_since_ms[node] != NEVER:
            table.down_ms[node] += self.clock.now_ms - table.down_since_ms[node]
            table.down_since_ms[node] = NEVER

    # Pods

    def template(self, pod: PodTemplate, owner_selector: Selector | None = None) -> Template:
        """The interned template of a pod."""
        key = repr((pod, owner_selector))
        known = self._template_ids.get(key)
        if known is not None:
            return self.templates[known]
        labels = dict(sorted(pod.labels.items()))
        shape_key = repr((pod.namespace, labels, pod.spec, owner_selector))
        shape = self._shape_ids.setdefault(shape_key, len(self._shape_ids))
        template = Template(len(self.templates), shape, pod, self.nodes, owner_selector)
        self._template_ids[key] = template.id
        self.templates.append(template)
        return template

    def workload(self, kind: str, namespace: str, name: str) -> int:
        """The row number of a workload in reports."""
        key = (kind, namespace, name)
        if key not in self._workload_ids:
            self._workload_ids[key] = len(self.workloads)
            self.workloads.append(Workload(kind, namespace, name))
        return self._workload_ids[key]

    def owner(self, kind: str, namespace: str, name: str, workload: int | None = None) -> int:
        """The id of an owner of pods; it reports under `workload`, by default its own row."""
        key = (kind, namespace, name)
        known = self._owner_ids.get(key)
        if known is not None:
            return known
        if workload is None:
            workload = self.workload(kind, namespace, name)
        self._owner_ids[key] = len(self.owners)
        self.owners.append(Owner(kind, namespace, name, workload))
        return self._owner_ids[key]

    def create_pod(self, template: Template, owner: int, name: str | None = None) -> int:
        """A new pending pod; its id. `name` is that of a pod made by hand."""
        pods = self.pods
        pod = pods._new_row()
        maker = self.owners[owner]
        if maker.kind == "ReplicaSet":
            template = self._owned(template, owner, maker)
        pods.template[pod] = template.id
        pods.owner[pod] = owner
        pods.serial[pod] = maker.made
        pods.created_ms[pod] = self.clock.now_ms
        pods.exists[pod] = True
        maker.made += 1
        maker.pods[pod] = None
        if name is not None:
            self._names[pod] = name
        if any(volume.ephemeral for volume in template.pod.spec.volumes):
            pods.template[pod] = self._with_claims(template, self.pod_name(pod)).id
        self._pending += 1
        self._tell(Change.POD_CREATED, pod)
        return pod

    def _with_claims(self, template: Template, name: str) -> Template:
        """The template of the pod of this name, whose ephemeral volumes have claims of their own
        (component-helpers storage/ephemeral VolumeClaimName)."""
        spec = template.pod.spec
        volumes = tuple(
            replace(v, claim=f"{name}-{v.name}") if v.ephemeral else v for v in spec.volumes
        )
        pod = replace(template.pod, spec=replace(spec, volumes=volumes))
        return self.template(pod, template.owner_selector)

    def _owned(self, template: Template, owner: int, maker: Owner) -> Template:
        """The template with its owner's selector, which the scheduler reads."""
        known = self._owned_ids.get((template.id, owner))
        if known is not None:
            return self.templates[known]
        replicaset = self.replicasets.get((maker.namespace, maker.name))
        if replicaset is None:
            return template
        owned = self.template(template.pod, replicaset.selector)
        self._owned_ids[template.id, owner] = owned.id
        return owned

    def bind(self, pod: int, node: int) -> None:
        """Give the pod to the node; its requests count there from now on."""
        assert self.pods.node[pod] == UNBOUND, f"pod {pod} is bound twice"
        assert self.nodes.exists[node], f"pod {pod} is bound to node {node}, which is gone"
        self.pods.node[pod] = node
        self.pods.bound_ms[pod] = self.clock.now_ms
        self._pending -= 1
        assumed = self._assumed.pop(pod, None)
        assert assumed in (None, node), f"pod {pod} is assumed on {assumed}, bound to {node}"
        if assumed is None:
            self.occupy(pod, node)
        self._record(Reason.SCHEDULED, Of.POD, pod, node)
        self._tell(Change.POD_BOUND, pod)

    def update_pod(self, pod: int, template: Template) -> None:
        """Replace labels and specification of a pod (its requests in place, its gates, ...)."""
        before = self.pod_facts(pod)
        node = self._assumed.get(pod, int(self.pods.node[pod]))
        holds = node != UNBOUND and self.pods.ended_ms[pod] == NEVER
        if holds:
            self._count(pod, node, -1)
        self.pods.template[pod] = template.id
        if holds:
            self._count(pod, node, 1)
        self._tell_update(Kind.POD, before, self.pod_facts(pod))

    def assume(self, pod: int, node: int) -> None:
        """Count the pod's requests on the node before it is bound there, as the scheduler does
        while the call that binds it is under way."""
        self._assumed[pod] = node
        self.occupy(pod, node)

    def forget(self, pod: int) -> None:
        """Take back `assume`."""
        self.vacate(pod, self._assumed.pop(pod))

    def is_assumed(self, pod: int) -> bool:
        """Whether the pod is about to be bound."""
        return pod in self._assumed

    def run_pod(self, pod: int) -> None:
        """Its containers have been started: phase Running."""
        pods = self.pods
        pods.phase[pod] = Phase.RUNNING
        pods.started[pod] = True
        if pods.started_ms[pod] == NEVER:
            pods.started_ms[pod] = self.clock.now_ms
            self._record(Reason.STARTED, Of.POD, pod)
        self._tell(Change.POD_RUNNING, pod)

    def set_alive(self, pod: int, alive: bool) -> None:
        """Its containers run, or have stopped, whatever the API knows."""
        if self.pods.alive[pod] == alive:
            return
        assert not alive or self.nodes.up[self.pods.node[pod]], f"pod {pod} runs on a dead node"
        self.pods.alive[pod] = alive
        if not alive:
            self.use(pod, 0, 0, 0)
            self.set_answers(pod, False)
        self._tell(Change.POD_ALIVE, pod)

    def set_answers(self, pod: int, answers: bool, served: float = 1.0) -> None:
        """Whether its application answers, and which share of the requests it has CPU for."""
        pods = self.pods
        if pods.answers[pod] == answers and pods.served[pod] == served:
            return
        pods.answers[pod] = answers
        pods.served[pod] = served
        self._tell(Change.POD_ANSWERS, pod)

    def set_ready(self, pod: int, ready: bool) -> None:
        """Write the Ready condition of a pod."""
        pods = self.pods
        if pods.ready[pod] == ready:
            return
        pods.ready[pod] = ready
        if ready:
            pods.ready_since_ms[pod] = self.clock.now_ms
            if pods.ready_ms[pod] == NEVER:
                pods.ready_ms[pod] = self.clock.now_ms
                self._record(Reason.READY, Of.POD, pod)
        self._tell(Change.POD_READY, pod)

    def count_restart(self, pod: int) -> None:
        """One more restart of a container of the pod."""
        self.pods.restarts[pod] += 1
        self._record(Reason.RESTARTED, Of.POD, pod, int(self.pods.restarts[pod]))

    def count_oom_kill(self, pod: int, reason: Reason, container: str) -> None:
        """A container of the pod was killed for memory."""
        self.pods.oom_kills[pod] += 1
        self.nodes.oom_kills[self.pods.node[pod]] += 1
        self._record(reason, Of.POD, pod, self.recorder.text(container))

    def count_eviction(self, pod: int, message: str) -> None:
        """The pod's kubelet begins to evict it; it ends Failed, with that reason."""
        if self.pods.reason[pod] != Reason.EVICTED:  # else it has not gone yet, and is tried again
            self.nodes.evictions[self.pods.node[pod]] += 1
        self.pods.reason[pod] = Reason.EVICTED
        self._record(Reason.EVICTED, Of.POD, pod, self.recorder.text(message))

    def delete_pod(self, pod: int, reason: Reason | None = None, arg: int = 0) -> None:
        """Set the deletionTimestamp; an unbound or ended pod goes at once. `arg` is the event's."""
        pods = self.pods
        if not pods.exists[pod] or pods.deleting_ms[pod] != NEVER:
            return
        if pod in self._assumed:
            self.forget(pod)
        pods.deleting_ms[pod] = self.clock.now_ms
        if reason is not None:
            pods.reason[pod] = reason
            self._record(reason, Of.POD, pod, arg)
        node = int(pods.node[pod])
        if node != UNBOUND and pods.ended_ms[pod] == NEVER:
            self.pod_counts.add(self.pod_template(pod), node, -1)
            self.pods_log.append(node)
        self._tell(Change.POD_DELETING, pod)
        if pods.node[pod] == UNBOUND or pods.phase[pod] >= OVER:
            self.remove_pod(pod)

    def evict(self, pod: int, reason: Reason, arg: int = 0) -> None:
        """Delete a pod for somebody else's sake; one that is being deleted gets the reason too, as
        its DisruptionTarget condition would say."""
        if self.pods.exists[pod] and self.pods.deleting_ms[pod] != NEVER:
            self.pods.reason[pod] = reason
        self.delete_pod(pod, reason, arg)

    def end_pod(self, pod: int, phase: Phase, reason: Reason, arg: int = 0) -> None:
        """The pod is over (Succeeded or Failed): it gives its resources back, the object stays."""
        if self.pods.phase[pod] >= OVER:
            return
        self.pods.phase[pod] = phase
        self.pods.reason[pod] = reason
        if reason != Reason.EVICTED:  # of which an event told when it began
            self._record(reason, Of.POD, pod, arg)
        self._release(pod)
        self._tell(Change.POD_ENDED, pod)

    def remove_pod(self, pod: int) -> None:
        """The object is gone."""
        pods = self.pods
        if not pods.exists[pod]:
            return
        if pod in self._assumed:
            self.forget(pod)
        self._release(pod)
        pods.exists[pod] = False
        if pods.node[pod] == UNBOUND:
            self._pending -= 1
        self.owners[pods.owner[pod]].pods.pop(pod, None)
        self._tell(Change.POD_REMOVED, pod)

    def use(
        self,
        pod: int,
        cpu_m: int,
        memory_b: int,
        memory_b_per_h: int,
        laws: UseLaws | None = None,
    ) -> None:
        """From now on the pod uses this much CPU, and memory that grows linearly, or, as far as
        there are `laws`, what these say over time."""
        self.settle_use(pod)
        pods, node, now_ms = self.pods, self.pods.node.item(pod), self.clock.now_ms
        pods.cpu_m[pod] = cpu_m
        pods.memory_b[pod] = memory_b
        pods.memory_b_per_h[pod] = memory_b_per_h
        if laws is not None and laws.cpu:
            self.cpu_use.put(pod, node, laws.cpu, now_ms, laws.cap_m, laws.key)
        else:
            self.cpu_use.put_flat(pod, node, cpu_m)
        if laws is not None and laws.memory:
            self.memory_use.put(pod, node, laws.memory, now_ms, key=laws.key)
        elif memory_b_per_h:
            line = Part(Law(memory_b, memory_b_per_h), now_ms)
            self.memory_use.put(pod, node, [line], now_ms)
        else:
            self.memory_use.put_flat(pod, node, memory_b)

    def settle_use(self, pod: int) -> None:
        """Add what the pod used since the last change to its totals."""
        pods, now_ms = self.pods, self.clock.now_ms
        since_ms = int(pods.cpu_since_ms[pod])
        if since_ms != NEVER and now_ms > since_ms:
            passed_ms = now_ms - since_ms
            if pods.alive[pod] or pods.cpu_m[pod] or pods.memory_b[pod]:
                self._add_use(pod, since_ms, now_ms)
                pods.used_ms[pod] += passed_ms
        pods.cpu_since_ms[pod] = now_ms

    def _add_use(self, pod: int, since_ms: int, now_ms: int) -> None:
        pods, passed_ms = self.pods, now_ms - since_ms
        if self.cpu_use.varies(pod):
            pods.cpu_m_ms[pod] += round(self.cpu_use.integral(pod, since_ms, now_ms))
        else:
            pods.cpu_m_ms[pod] += int(pods.cpu_m[pod]) * passed_ms
        if self.memory_use.varies(pod):
            pods.memory_b_s[pod] += self.memory_use.integral(pod, since_ms, now_ms) / 1000
        else:
            pods.memory_b_s[pod] += int(pods.memory_b[pod]) * passed_ms / 1000
        growth_b = int(pods.memory_b_per_h[pod]) * passed_ms // MS_PER_H
        pods.memory_b[pod] += growth_b

    # Objects of the controllers

    def put_deployment(self, deployment: Deployment) -> None:
        """Create a Deployment or replace its specification."""
        self.deployments[deployment.namespace, deployment.name] = deployment
        self.workload("Deployment", deployment.namespace, deployment.name)
        self._object_changed("Deployment", (deployment.namespace, deployment.name))

    def scale_deployment(self, namespace: str, name: str, replicas: int) -> None:
        """Set `spec.replicas` of a Deployment."""
        self.deployments[namespace, name].replicas = replicas
        row = self.workload("Deployment", namespace, name)
        self._record(Reason.SCALED, Of.WORKLOAD, row, replicas)
        self._object_changed("Deployment", (namespace, name))

    def put_replicaset(self, replicaset: ReplicaSet) -> None:
        """Create a ReplicaSet; its pods report under its Deployment, if it has one."""
        key = (replicaset.namespace, replicaset.name)
        self.replicasets[key] = replicaset
        workload = None
        if replicaset.owner:
            workload = self.workload("Deployment", replicaset.namespace, replicaset.owner)
        self.owner("ReplicaSet", *key, workload)
        self._object_changed("ReplicaSet", key)

    def scale_replicaset(self, namespace: str, name: str, replicas: int) -> None:
        """Set `spec.replicas` of a ReplicaSet."""
        replicaset = self.replicasets[namespace, name]
        replicaset.replicas = replicas
        owner = self.owners[self.owner("ReplicaSet", namespace, name)]
        self._record(Reason.SCALED, Of.WORKLOAD, owner.workload, replicas)
        self._object_changed("ReplicaSet", (namespace, name))

    def put_job(self, job: Job, workload: int | None = None) -> None:
        """Create a Job that reports under `workload` (by default as itself)."""
        key = (job.namespace, job.name)
        self.jobs[key] = job
        self.owner("Job", *key, workload)
        self._object_changed("Job", key)

    def _object_changed(self, kind: str, key: tuple[str, str]) -> None:
        self.changed_objects.append((kind, key))
        self._tell(Change.OBJECT, len(self.changed_objects) - 1)

    def put_storage(self, kind: Kind, key: Key, value: Any) -> None:
        """Create a volume, claim, class or the like, or replace it."""
        before = self.storage.put(kind, key, value)
        self._tell_update(kind, before, value)

    def remove_storage(self, kind: Kind, key: Key) -> None:
        """Delete such an object, if it exists."""
        before = self.storage.remove(kind, key)
        if before is not None:
            self._tell_update(kind, before, None)

    # What the sums rest on

    def occupy(self, pod: int, node: int) -> None:
        """Count the pod's requests on the node (part of `bind`; dry runs use it alone)."""
        self._count(pod, node, 1)
        self.nodes.pods[node][pod] = None

    def vacate(self, pod: int, node: int) -> None:
        """Take the pod's requests off the node."""
        self._count(pod, node, -1)
        del self.nodes.pods[node][pod]

    def suppose(self, pod: int, node: int, sign: int) -> None:
        """Put the pod on the node (1) or take it off (-1) for a dry run, which takes it back.

        Only the node's own sums and list move: nobody is told, nothing is logged, and counts over
        pods elsewhere stay (plugins follow those themselves, see extend.Assumes).
        """
        self._sum(self.templates[self.pods.template[pod]], node, sign)
        if sign > 0:
            self.nodes.pods[node][pod] = None
        else:
            del self.nodes.pods[node][pod]

    def restore_order(self, node: int, pods: dict[int, None]) -> None:
        """Put the list of a node's pods back into the order it had before a dry run."""
        self.nodes.pods[node] = pods

    def _count(self, pod: int, node: int, sign: int) -> None:
        template = self.templates[self.pods.template[pod]]
        self._sum(template, node, sign)
        if self.pods.deleting_ms[pod] == NEVER:
            self.pod_counts.add(template, node, sign)
        self.affinity_counts.add(template, node, sign)
        self.pods_log.append(node)

    def _sum(self, template: Template, node: int, sign: int) -> None:
        table = self.nodes
        for row, request, limit in template.rows:
            table.requested[row, node] += sign * request
            table.limits[row, node] += sign * limit
        table.nonzero_cpu_m[node] += sign * template.nonzero_cpu_m
        table.nonzero_memory_b[node] += sign * template.nonzero_memory_b
        table.pod_count[node] += sign

    def _release(self, pod: int) -> None:
        """Containers stop, resources come back; once per pod."""
        pods = self.pods
        if pods.ended_ms[pod] != NEVER:
            return
        self.set_alive(pod, False)
        self.set_ready(pod, False)
        pods.ended_ms[pod] = self.clock.now_ms
        node = int(pods.node[pod])
        if node != UNBOUND:
            self.vacate(pod, node)

    def _record(self, reason: Reason, kind: Of, object_id: int, arg: int = 0) -> None:
        self.recorder.event(self.clock.now_ms, reason, kind, object_id, arg)

    def _tell(self, change: Change, object_id: int) -> None:
        for watcher in self._watchers[change]:
            watcher(change, object_id)

    def _tell_update(self, kind: Kind, before: Any, after: Any) -> None:
        for watcher in self._update_watchers:
            watcher(kind, before, after)

    def _node_changed(self, change: Change, node: int, reason: Reason | None = None) -> None:
        if reason is not None:
            self._record(reason, Of.NODE, node)
        self.nodes_log.append(node)
        self._tell(change, node)

    # Reading

    def node_facts(self, node: int) -> NodeFacts:
        """What the API shows of a node now."""
        table = self.nodes
        amounts = table.allocatable[:, node].tolist()
        return NodeFacts(
            table.names[node],
            table.labels[node],
            table.taints(node),
            bool(table.unschedulable[node]),
            {**dict(zip(table.resources, amounts, strict=True)), PODS: int(table.max_pods[node])},
        )

    def pod_facts(self, pod: int, nominated: int = UNBOUND) -> PodFacts:
        """What the API shows of a pod now; whoever nominates it says where to."""
        node = int(self.pods.node[pod])
        return PodFacts(pod, self.pod_name(pod), self.pod_template(pod), node, nominated)

    def pod_template(self, pod: int) -> Template:
        """The template of a pod."""
        return self.templates[int(self.pods.template[pod])]

    def pod_name(self, pod: int) -> str:
        """The pod's name: its own, or its owner's with Kubernetes' five-letter suffix."""
        own = self._names.get(pod)
        if own is not None:
            return own
        owner = self.owners[self.pods.owner[pod]]
        return f"{owner.name}-{suffix(int(self.pods.serial[pod]))}"

    def pod_key(self, pod: int) -> str:
        """`namespace/name`."""
        return f"{self.owners[self.pods.owner[pod]].namespace}/{self.pod_name(pod)}"

    def active_pods(self, owner: int) -> list[int]:
        """Pods of an owner that are neither ended nor being deleted, oldest first."""
        deleting_ms, phase = self.pods.deleting_ms.item, self.pods.phase.item
        return [
            pod
            for pod in self.owners[owner].pods
            if deleting_ms(pod) == NEVER and phase(pod) < OVER
        ]

    # Checking

    def check(self) -> None:
        """Re-derive every summed column; AssertionError names the first that differs."""
        check_cluster(self, self._assumed, self._pending)


def suffix(serial: int) -> str:
    """Five letters for the serial number of a pod; different serials give different letters."""
    number = (serial + 1) * _SUFFIX_STEP % _SUFFIXES
    letters = []
    for _ in range(SUFFIX_LENGTH):
        number, digit = divmod(number, len(SUFFIX_LETTERS))
        letters.append(SUFFIX_LETTERS[digit])
    return "".join(letters)


def _id(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)
