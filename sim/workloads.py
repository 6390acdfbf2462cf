"""Workloads as data: Deployments, ReplicaSets, Jobs, Services, budgets, and how pods arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sim.labels import Labels, Selector
from sim.podspec import CPU, MEMORY, Container, PodSpec, PodTemplate, Toleration

IntOrPercent = int | str  # 2 or "25%"

STATIC = "StaticPod"  # the kind of owner of pods that kubelets run by themselves
NODE_PODS_NAMESPACE = "kube-system"
NODE_CRITICAL = "system-node-critical"
NODE_CRITICAL_PRIORITY = 2_000_001_000
NO_SCHEDULER = "kubelet"  # the name of no scheduler profile


@dataclass(slots=True)
class Deployment:
    namespace: str
    name: str
    replicas: int
    selector: Selector
    template: PodTemplate
    labels: Labels = field(default_factory=dict)
    strategy: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    max_surge: IntOrPercent = "25%"
    max_unavailable: IntOrPercent = "25%"
    min_ready_ms: int = 0
    paused: bool = False


@dataclass(slots=True)
class ReplicaSet:
    namespace: str
    name: str
    replicas: int
    selector: Selector
    template: PodTemplate
    owner: str = ""  # name of the Deployment, "" for a ReplicaSet of its own
    min_ready_ms: int = 0


@dataclass(slots=True)
class Job:
    namespace: str
    name: str
    template: PodTemplate
    completions: int = 1
    parallelism: int = 1
    backoff_limit: int = 6


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    selector: Selector | None  # None: endpoints are not managed
    publish_not_ready: bool = False

    def picks(self, template: PodTemplate) -> bool:
        """Whether pods of this template belong to it: its namespace, and its selector matches."""
        if self.selector is None or self.namespace != template.namespace:
            return False
        return self.selector.matches(template.labels)


@dataclass(frozen=True, slots=True)
class PodDisruptionBudget:
    namespace: str
    name: str
    selector: Selector | None
    min_available: IntOrPercent | None = None
    max_unavailable: IntOrPercent | None = None
    disruptions_allowed: int | None = None  # as its status says, which a simulation works out anew
    disrupted_pods: frozenset[str] = frozenset()  # names of pods whose eviction has been granted

    def picks(self, template: PodTemplate) -> bool:
        """Whether it protects pods of this template; an empty selector picks all, None nothing."""
        if self.selector is None or self.namespace != template.namespace:
            return False
        return self.selector.matches(template.labels)


@dataclass(frozen=True, slots=True)
class PriorityClass:
    name: str
    value: int
    global_default: bool = False
    preemption_policy: Literal["PreemptLowerPriority", "Never"] = "PreemptLowerPriority"


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod, or `count` equal ones, that each node of a pool runs."""

    name: str
    cpu_m: int = 0
    memory_b: int = 0
    count: int = 1

    @property
    def template(self) -> PodTemplate:
        """The pods themselves; they use what they request."""
        requests = {CPU: self.cpu_m, MEMORY: self.memory_b}
        return PodTemplate(
            NODE_PODS_NAMESPACE,
            {"app": self.name},
            PodSpec(
                containers=(Container(self.name, requests=requests),),
                tolerations=(Toleration(operator="Exists"),),
                priority=NODE_CRITICAL_PRIORITY,
                priority_class=NODE_CRITICAL,
                scheduler_name=NO_SCHEDULER,
                host_network=True,
            ),
        )
