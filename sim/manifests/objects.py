"""Kubernetes objects from manifests, one function per kind, and the values they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.errors import Problem
from sim.labels import Labels, Selector
from sim.manifests import storage
from sim.manifests.pods import PRIORITY_MAX, SYSTEM_CLASSES, Admission, parse_taint, parse_template
from sim.manifests.value import Value, merged, milliseconds
from sim.podspec import PodSpec, PodTemplate, Resources, Taint
from sim.storage import STORAGE_TYPES, StorageObject
from sim.workloads import (
    Deployment,
    Job,
    PodDisruptionBudget,
    PriorityClass,
    ReplicaSet,
    Service,
)

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


@dataclass(frozen=True, slots=True)
class NodeManifest:
    """A Node; allocatable is the capacity when the manifest gives none, and the reverse."""

    name: str
    labels: Labels = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    capacity: Resources = field(default_factory=dict)
    allocatable: Resources = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)  # name -> size in bytes


@dataclass(frozen=True, slots=True)
class PodManifest:
    """A Pod; `owner_*` is its controller, so that a dump's pods are not created twice."""

    namespace: str
    name: str
    template: PodTemplate
    node_name: str = ""
    phase: str = "Pending"
    owner_kind: str = ""
    owner_name: str = ""
    created: str = ""  # RFC 3339, as in the manifest
    started: str = ""
    nominated_node: str = ""


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str
    labels: Labels = field(default_factory=dict)


Parsed = (
    NodeManifest
    | PodManifest
    | Deployment
    | ReplicaSet
    | Job
    | Service
    | PodDisruptionBudget
    | PriorityClass
    | Namespace
    | StorageObject
)


@dataclass(slots=True)
class Manifests:
    """Everything that was loaded, in the order of the files, and what of it is not modelled."""

    nodes: list[NodeManifest] = field(default_factory=list)
    pods: list[PodManifest] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    replica_sets: list[ReplicaSet] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    budgets: list[PodDisruptionBudget] = field(default_factory=list)
    priority_classes: list[PriorityClass] = field(default_factory=list)
    namespaces: list[Namespace] = field(default_factory=list)
    storage: list[StorageObject] = field(default_factory=list)  # volumes, claims, classes, ...
    by_kind: Counter[str] = field(default_factory=Counter)
    unmodelled_kinds: Counter[str] = field(default_factory=Counter)
    unmodelled_fields: Counter[str] = field(default_factory=Counter)
    warnings: list[Problem] = field(default_factory=list)  # unknown fields, replaced objects

    def add(self, item: Parsed) -> None:
        """Put an object into the list of its type."""
        self._list(item).append(item)

    def _list(self, item: Parsed) -> list[Any]:
        lists: dict[type, list[Any]] = {
            NodeManifest: self.nodes,
            PodManifest: self.pods,
            Deployment: self.deployments,
            ReplicaSet: self.replica_sets,
            Job: self.jobs,
            Service: self.services,
            PodDisruptionBudget: self.budgets,
            PriorityClass: self.priority_classes,
            Namespace: self.namespaces,
            **dict.fromkeys(STORAGE_TYPES, self.storage),
        }
        return lists[type(item)]


def parse_kind(group: str, kind: str, value: Value, admission: Admission) -> Parsed | None:
    """The object at `value`, or None for a kind that is not modelled."""
    parse = PARSERS.get((group, kind))
    if parse is None:
        _check_light(group, kind, value, admission)
        return None
    value.get("metadata").mapping()
    value.get("spec").mapping()
    value.get("status").mapping()
    return parse(value, admission)


def is_incomplete(group: str, kind: str, value: Value) -> bool:
    """Part of an overlay (Kustomize adds the rest): no selector, and no labels or containers."""
    template = value.get("spec", "template")
    if (group, kind) not in {("apps", "Deployment"), ("apps", "ReplicaSet")} or not template:
        return False
    missing = not template.get("metadata", "labels") or not template.get("spec", "containers")
    return missing and not value.get("spec", "selector")


def _name(value: Value) -> str:
    """metadata.name; for a generated name the part that is given (the API server adds five)."""
    generated = value.get("metadata", "generateName")
    if generated and not value.get("metadata", "name"):
        return generated.text() + "00000"
    return value.get("metadata", "name").name()


def _namespace(value: Value) -> str:
    return value.get("metadata", "namespace").text() or "default"


def _labels(value: Value) -> dict[str, str]:
    return value.get("metadata", "labels").labels()


def _node(value: Value, _admission: Admission) -> NodeManifest:
    spec, status = value.get("spec"), value.get("status")
    capacity = status.get("capacity").resources()
    allocatable = status.get("allocatable").resources()
    return NodeManifest(
        name=_name(value),
        labels=_labels(value),
        taints=tuple(parse_taint(item) for item in spec.get("taints").items()),
        unschedulable=spec.get("unschedulable").boolean(),
        capacity=merged(capacity, allocatable),
        allocatable=merged(allocatable, capacity),
        images=_images(status.get("images")),
    )


def _images(value: Value) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for item in value.items():
        item.mapping()
        size = item.get("sizeBytes").integer(most=2**63 - 1)
        sizes.update(dict.fromkeys(item.get("names").texts(), size))
    return sizes


def _pod(value: Value, admission: Admission) -> PodManifest:
    status, metadata = value.get("status"), value.get("metadata")
    owner_kind, owner_name = _controller(metadata.get("ownerReferences"))
    template = parse_template(value, _namespace(value), admission)
    return PodManifest(
        namespace=template.namespace,
        name=_name(value),
        template=template,
        node_name=template.spec.node_name,
        phase=status.get("phase").one_of(PHASES, "Pending"),
        owner_kind=owner_kind,
        owner_name=owner_name,
        created=metadata.get("creationTimestamp").text(),
        started=status.get("startTime").text(),
        nominated_node=status.get("nominatedNodeName").text(),
    )


def _controller(references: Value) -> tuple[str, str]:
    """Kind and name of the owner that is the controller."""
    for item in references.items():
        item.mapping()
        if item.get("controller").boolean():
            return item.get("kind").text(), item.get("name").text()
    return "", ""


def _deployment(value: Value, admission: Admission) -> Deployment:
    spec = value.get("spec")
    template, selector = _template_and_selector(value, admission)
    strategy = spec.get("strategy")
    strategy.mapping()
    rolling = strategy.get("rollingUpdate")
    rolling.mapping()
    return Deployment(
        namespace=template.namespace,
        name=_name(value),
        replicas=spec.get("replicas").integer(1),
        selector=selector,
        template=template,
        labels=_labels(value),
        strategy=strategy.get("type").one_of(  # type: ignore[arg-type]
            ("RollingUpdate", "Recreate"), "RollingUpdate"
        ),
        max_surge=_or_quarter(rolling.get("maxSurge")),
        max_unavailable=_or_quarter(rolling.get("maxUnavailable")),
        min_ready_ms=milliseconds(spec.get("minReadySeconds")),
        paused=spec.get("paused").boolean(),
    )


def _or_quarter(value: Value) -> int | str:
    number = value.int_or_percent()
    return "25%" if number is None else number


def _replica_set(value: Value, admission: Admission) -> ReplicaSet:
    spec = value.get("spec")
    template, selector = _template_and_selector(value, admission)
    kind, owner = _controller(value.get("metadata", "ownerReferences"))
    return ReplicaSet(
        namespace=template.namespace,
        name=_name(value),
        replicas=spec.get("replicas").integer(1),
        selector=selector,
        template=template,
        owner=owner if kind == "Deployment" else "",
        min_ready_ms=milliseconds(spec.get("minReadySeconds")),
    )


def _template_and_selector(value: Value, admission: Admission) -> tuple[PodTemplate, Selector]:
    """The pod template and the selector, which must match it (apps/validation).

    An object taken as it is stored (admission off) may do without a template.
    """
    spec = value.get("spec")
    if not admission.on and not spec.get("template"):
        template = PodTemplate(_namespace(value), {}, PodSpec())
        return template, spec.get("selector").selector() or Selector()
    template = parse_template(spec.get("template"), _namespace(value), admission)
    if template.spec.restart_policy != "Always":
        spec.get("template", "spec", "restartPolicy").wrong("'Always'")
    return template, _workload_selector(spec.get("selector"), template)


def _workload_selector(value: Value, template: PodTemplate) -> Selector:
    """The selector; without one the template's labels, as in the API before apps/v1."""
    selector = value.selector()
    if selector is None and template.labels:
        value.warning("is missing, which apps/v1 refuses; the template's labels are taken")
        return Selector.of(template.labels)
    if selector is None or not selector.requirements:
        value.wrong("a label selector that is not empty")
    elif not selector.matches(template.labels):
        value.problem("does not match the labels of the template; expected a selector that does")
    return selector or Selector()


def _job(value: Value, admission: Admission) -> Job:
    spec = value.get("spec")
    template = parse_template(spec.get("template"), _namespace(value), admission)
    if template.spec.restart_policy == "Always":
        spec.get("template", "spec", "restartPolicy").wrong("'OnFailure' or 'Never'")
    return Job(
        namespace=template.namespace,
        name=_name(value),
        template=template,
        completions=spec.get("completions").integer(1),
        parallelism=spec.get("parallelism").integer(1),
        backoff_limit=spec.get("backoffLimit").integer(6),
    )


def _service(value: Value, _admission: Admission) -> Service:
    spec = value.get("spec")
    labels = spec.get("selector").labels()
    return Service(
        namespace=_namespace(value),
        name=_name(value),
        selector=Selector.of(labels) if labels else None,
        publish_not_ready=spec.get("publishNotReadyAddresses").boolean(),
    )


def _budget(value: Value, _admission: Admission) -> PodDisruptionBudget:
    """A budget; an empty selector matched nothing in policy/v1beta1 and matches all in v1."""
    spec = value.get("spec")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least and most:
        most.problem("minAvailable is set too; expected one of the two")
    selector = spec.get("selector").selector()
    old = value.get("apiVersion").raw == "policy/v1beta1"
    allowed = value.get("status", "disruptionsAllowed")
    return PodDisruptionBudget(
        namespace=_namespace(value),
        name=_name(value),
        selector=None if old and selector == Selector() else selector,
        min_available=least.int_or_percent(),
        max_unavailable=most.int_or_percent(),
        disruptions_allowed=allowed.integer() if allowed else None,
        disrupted_pods=frozenset(value.get("status", "disruptedPods").mapping()),
    )


def _priority_class(value: Value, _admission: Admission) -> PriorityClass:
    name, number = _name(value), value.get("value")
    if not number:
        number.wrong("a whole number")
    most = PRIORITY_MAX if name not in SYSTEM_CLASSES else 2**31 - 1
    policies = ("PreemptLowerPriority", "Never")
    return PriorityClass(
        name=name,
        value=number.integer(least=-(2**31), most=most),
        global_default=value.get("globalDefault").boolean(),
        preemption_policy=value.get("preemptionPolicy").one_of(  # type: ignore[arg-type]
            policies, "PreemptLowerPriority"
        ),
    )


def _namespace_object(value: Value, _admission: Admission) -> Namespace:
    name = _name(value)
    return Namespace(name, {**_labels(value), "kubernetes.io/metadata.name": name})


def _check_light(group: str, kind: str, value: Value, admission: Admission) -> None:
    """What is not run is checked as far as its totals are read: replicas and pod template."""
    path = LIGHT.get((group, kind))
    if path is None:
        return
    value.get("metadata").mapping()
    value.get("spec").mapping()
    _name(value)
    value.get("spec", "replicas").integer(1)
    template = value.get(*path)
    if template or kind != "ReplicationController":
        parse_template(template, _namespace(value), admission)


Parser = Callable[[Value, Admission], Parsed]
PARSERS: dict[tuple[str, str], Parser] = {
    ("", "Node"): _node,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("", "Namespace"): _namespace_object,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("policy", "PodDisruptionBudget"): _budget,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    **storage.PARSERS,
}

# Workloads that are not run yet, and where their pod template stands.
LIGHT: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("", "ReplicationController"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}

# Kinds that change nothing of what is simulated: configuration, access, bookkeeping.
HARMLESS = frozenset(
    {
        *("ConfigMap", "Secret", "ServiceAccount", "ControllerRevision", "Event", "Lease"),
        *("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"),
        *("Endpoints", "EndpointSlice", "IngressClass", "CustomResourceDefinition"),
    }
)
