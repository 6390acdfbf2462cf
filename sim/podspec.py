"""What a pod manifest says, as frozen values: containers, probes, placement rules.

Field names follow the core/v1 API in snake case. CPU is in millicores (`cpu` entries of requests
and limits), every other resource in its own unit (bytes, devices); times are milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, Literal

from sim.labels import Labels, Requirement, Selector

Resources = Mapping[str, int]  # resource name -> amount: cpu in millicores, the rest in units
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
Handler = Literal["httpGet", "tcpSocket", "exec", "grpc"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]
QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"

# What a container that names no request counts for in the scheduler's scores: one tenth of a
# core and 200 MiB (pkg/scheduler/util/pod_resources.go, v1.34.1).
DEFAULT_CPU_REQUEST_M = 100
DEFAULT_MEMORY_REQUEST_B = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    effect: Effect
    value: str = ""

    def __str__(self) -> str:
        """As kubectl writes it: 'size=small:NoSchedule'."""
        return f"{self.key}{'=' if self.value else ''}{self.value}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Toleration:
    """`key` "" with operator Exists tolerates every key; `effect` "" every effect."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: str = ""
    seconds: int | None = None  # tolerationSeconds; None tolerates for ever

    def tolerates(self, taint: Taint) -> bool:
        """Whether this toleration covers `taint` (core/v1 Toleration.ToleratesTaint)."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class NodeSelectorTerm:
    """Expressions over labels and fields (metadata.name), all of which must hold."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels, name: str) -> bool:
        """Whether a node with these labels and this name meets it; an empty term meets nothing."""
        if not self.expressions and not self.fields:
            return False
        node_fields = {"metadata.name": name}
        return all(r.matches(labels) for r in self.expressions) and all(
            r.matches(node_fields) for r in self.fields
        )


@dataclass(frozen=True, slots=True)
class PreferredTerm:
    weight: int
    term: NodeSelectorTerm


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """One entry of topologySpreadConstraints."""

    topology_key: str
    max_skew: int
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    selector: Selector | None  # None matches nothing
    min_domains: int | None = None
    node_affinity_policy: Literal["Honor", "Ignore"] = "Honor"
    node_taints_policy: Literal["Honor", "Ignore"] = "Ignore"
    match_label_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodAffinityTerm:
    """Pods that this pod wants near (or far): those of some namespaces that a selector picks.

    The label keys narrow the selector to pods with this pod's own values of these labels, or to
    those with others. Without `namespaces` and `namespace_selector` the pod's own namespace is
    meant; an empty namespace selector means every namespace.
    """

    topology_key: str
    selector: Selector | None  # None matches nothing
    namespaces: tuple[str, ...] = ()
    namespace_selector: Selector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightedPodAffinityTerm:
    weight: int
    term: PodAffinityTerm


@dataclass(frozen=True, slots=True)
class PodAffinity:
    """podAffinity and podAntiAffinity of one pod."""

    required: tuple[PodAffinityTerm, ...] = ()
    anti_required: tuple[PodAffinityTerm, ...] = ()
    preferred: tuple[WeightedPodAffinityTerm, ...] = ()
    anti_preferred: tuple[WeightedPodAffinityTerm, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that the scheduler looks at: a claim, an ephemeral claim, or a disk named inline.

    `claim` is the name of the PersistentVolumeClaim; that of an ephemeral volume is made of the
    names of pod and volume when the pod is created. `disk` is what may not be shared, as its kind
    and the parts of its identity: ("gcePersistentDisk", "disk-1"). Volumes of other kinds, such as
    emptyDir, say nothing to the scheduler and are left out of the specification.
    """

    name: str
    claim: str = ""
    ephemeral: bool = False  # the claim is POD-VOLUME, made for the pod
    ephemeral_request_b: int = 0  # its size, class and modes, from volumeClaimTemplate
    ephemeral_class: str | None = None
    ephemeral_access_modes: tuple[str, ...] = ()
    disk: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()  # of an rbd disk: it is the same one if they share one
    read_only: bool = False
    csi_driver: str = ""  # of an inline csi volume


@dataclass(frozen=True, slots=True)
class HostPort:
    port: int
    protocol: str = "TCP"
    ip: str = "0.0.0.0"

    def conflicts(self, other: HostPort) -> bool:
        """Same protocol and port on the same address, where 0.0.0.0 is every address."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        return self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip)


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe with Kubernetes' defaults (pkg/apis/core/v1/defaults.go)."""

    handler: Handler = "httpGet"
    initial_delay_ms: int = 0
    period_ms: int = 10_000
    timeout_ms: int = 1_000
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """A handler of a container's lifecycle; only `sleep` says itself how long it takes."""

    handler: Literal["sleep", "exec", "httpGet", "tcpSocket"] = "exec"
    sleep_ms: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    image: str = ""
    requests: Resources = field(default_factory=dict)
    limits: Resources = field(default_factory=dict)
    host_ports: tuple[HostPort, ...] = ()
    liveness: Probe | None = None
    readiness: Probe | None = None
    startup: Probe | None = None
    sidecar: bool = False  # an init container with restartPolicy Always
    post_start: Hook | None = None
    pre_stop: Hook | None = None


@dataclass(frozen=True)
class PodSpec:
    """A pod's specification; derived numbers are computed once and kept."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    required_affinity: tuple[NodeSelectorTerm, ...] | None = None  # terms are ORed
    preferred_affinity: tuple[PreferredTerm, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    pod_affinity: PodAffinity | None = None
    volumes: tuple[Volume, ...] = ()
    priority: int = 0
    priority_class: str = ""
    preemption_policy: Literal["PreemptLowerPriority", "Never"] = "PreemptLowerPriority"
    scheduler_name: str = "default-scheduler"
    scheduling_gates: tuple[str, ...] = ()
    overhead: Resources = field(default_factory=dict)
    pod_requests: Resources = field(default_factory=dict)  # spec.resources.requests (pod level)
    pod_limits: Resources = field(default_factory=dict)
    restart_policy: RestartPolicy = "Always"
    termination_grace_ms: int = 30_000
    host_network: bool = False

    @cached_property
    def requests(self) -> Resources:
        """Effective requests of the pod (component-helpers resource/helpers.go PodRequests)."""
        total = _aggregate(self, lambda container: container.requests)
        total.update({k: v for k, v in self.pod_requests.items() if _at_pod_level(k)})
        return _plus(total, self.overhead)

    @cached_property
    def limits(self) -> Resources:
        """Effective limits; overhead is added only to limits that are non-zero."""
        total = _aggregate(self, lambda container: container.limits)
        total.update({k: v for k, v in self.pod_limits.items() if _at_pod_level(k)})
        return {k: v + (self.overhead.get(k, 0) if v else 0) for k, v in total.items()}

    @cached_property
    def host_ports(self) -> tuple[HostPort, ...]:
        """Every host port the pod takes (sidecars run beside the containers and count)."""
        running = self.containers + tuple(c for c in self.init_containers if c.sidecar)
        return tuple(port for container in running for port in container.host_ports)

    @cached_property
    def qos(self) -> QosClass:
        """QoS class (pkg/apis/core/v1/helper/qos): pod-level resources, if set, decide alone."""
        if self.pod_requests or self.pod_limits:
            return _qos([(self.pod_requests, self.pod_limits)])
        containers = self.containers + self.init_containers
        return _qos([(c.requests, c.limits) for c in containers])


@dataclass(frozen=True)
class PodTemplate:
    """Labels and spec shared by the pods of one owner; `namespace` is where they live."""

    namespace: str
    labels: Labels
    spec: PodSpec
    annotations: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> int:
        """A number of 64 bits that differs between templates, the same in every process.

        What a template leaves at its default does not count, so that the number stays when there
        is more that a template can say.
        """
        return int.from_bytes(hashlib.blake2b(_said(self).encode(), digest_size=8).digest(), "big")


def nonzero_request(spec: PodSpec, resource: str, default: int, *, on_node: bool) -> int:
    """The request that the scheduler's scores count, with `default` for containers without one.

    A container that names no request counts for `default`; an explicit 0 stays 0. For a pod on a
    node (`on_node`) pod-level requests replace the sum, and containers get the default only where
    neither the pod level nor any container names the resource. The scorer of v1.34.1 ignores
    pod-level requests of the incoming pod (noderesources/fit.go and resource_allocation.go).
    """
    pod_level = spec.pod_requests if on_node else {}
    if pod_level:
        containers = spec.containers + spec.init_containers
        named = resource in pod_level or any(resource in c.requests for c in containers)
        default = 0 if named else default
    total = _together(spec, lambda c: c.requests.get(resource, default))
    if resource in pod_level:
        total = pod_level[resource]
    return total + spec.overhead.get(resource, 0)


def _aggregate(spec: PodSpec, of: Callable[[Container], Resources]) -> dict[str, int]:
    """Per resource that any container names: what the containers of the pod take together."""
    containers = spec.containers + spec.init_containers
    names = dict.fromkeys(name for container in containers for name in of(container))
    return {name: _together(spec, lambda c, n=name: of(c).get(n, 0)) for name in names}  # type: ignore[misc]


def _together(spec: PodSpec, amount: Callable[[Container], int]) -> int:
    """max(containers + sidecars, the largest init step), where a step includes earlier sidecars."""
    regular = sum(amount(container) for container in spec.containers)
    sidecars = 0
    largest_step = 0
    for container in spec.init_containers:
        own = amount(container)
        if container.sidecar:
            sidecars += own
            own = 0
        largest_step = max(largest_step, sidecars + own)
    return max(regular + sidecars, largest_step)


def _at_pod_level(resource: str) -> bool:
    return resource in (CPU, MEMORY) or resource.startswith("hugepages-")


def _plus(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    total = dict(left)
    for name, amount in right.items():
        total[name] = total.get(name, 0) + amount
    return total


def _qos(resources: list[tuple[Resources, Resources]]) -> QosClass:
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    for request, limit in resources:
        for name in (CPU, MEMORY):
            if request.get(name):
                requests[name] = requests.get(name, 0) + request[name]
            if limit.get(name):
                limits[name] = limits.get(name, 0) + limit[name]
        guaranteed &= all(limit.get(name) for name in (CPU, MEMORY))
    if not requests and not limits:
        return "BestEffort"
    same = all(requests[name] == limits.get(name) for name in requests)
    return "Guaranteed" if guaranteed and same and len(requests) == len(limits) else "Burstable"


def _said(value: Any) -> str:
    """What differs from the defaults, as text that is the same in every process."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = [
            f"{entry.name}={_said(own)}"
            for entry in fields(value)
            if (own := getattr(value, entry.name)) != _default(entry)
        ]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {_said(value[k])}' for k in sorted(value))}}}"
    return repr(value)


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()
