"""Pod specifications from manifests, with the defaults and admission of the API server.

Defaults: pkg/apis/core/v1/defaults.go; checks: pkg/apis/core/validation; admission: the plugins
DefaultTolerationSeconds and Priority (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sim.errors import did_you_mean
from sim.labels import Labels
from sim.manifests.affinity import parse_pod_affinity
from sim.manifests.value import INT64_MAX, Value, merged, milliseconds, positive
from sim.manifests.volumes import parse_volumes
from sim.podspec import (
    Container,
    Hook,
    HostPort,
    NodeSelectorTerm,
    PodSpec,
    PodTemplate,
    PreferredTerm,
    Probe,
    Resources,
    SpreadConstraint,
    Taint,
    Toleration,
)
from sim.units import shown
from sim.workloads import PriorityClass

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
PROTOCOLS = ("TCP", "UDP", "SCTP")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
HOOKS = ("sleep", "exec", "httpGet", "tcpSocket")
PRIORITY_MAX = 10**9  # the highest that a user's class may have
# Classes that every cluster has (pkg/apis/scheduling/v1 SystemPriorityClasses).
SYSTEM_CLASSES = {
    "system-cluster-critical": PriorityClass("system-cluster-critical", 2_000_000_000),
    "system-node-critical": PriorityClass("system-node-critical", 2_000_001_000),
}
# plugin/pkg/admission/defaulttolerationseconds: both for 300 seconds.
DEFAULT_TOLERATIONS = tuple(
    Toleration(f"node.kubernetes.io/{state}", "Exists", "", "NoExecute", 300)
    for state in ("not-ready", "unreachable")
)


@dataclass(frozen=True, slots=True)
class Admission:
    """What admission adds to pods: priorities by class, and the default tolerations if `on`."""

    classes: Mapping[str, PriorityClass] = field(default_factory=dict)
    on: bool = True

    def priority_class(self, name: str) -> PriorityClass | None:
        """The class of a pod that names `name`, or the global default when it names none."""
        if name:
            return self.classes.get(name) or SYSTEM_CLASSES.get(name)
        defaults = [c for c in self.classes.values() if c.global_default]
        return min(defaults, key=lambda c: c.value, default=None)


def parse_template(value: Value, namespace: str, admission: Admission) -> PodTemplate:
    """The template at `value`, which is a pod itself or the `template` of a workload."""
    value.mapping()
    metadata = value.get("metadata")
    metadata.mapping()
    labels = metadata.get("labels").labels()
    return PodTemplate(
        namespace,
        labels,
        parse_pod_spec(value.get("spec"), admission, labels),
        metadata.get("annotations").text_map(),
    )


def parse_pod_spec(value: Value, admission: Admission, labels: Labels) -> PodSpec:
    """A `spec` of a pod with these labels as the scheduler and the kubelet will see it."""
    value.mapping()
    host_network = value.get("hostNetwork").boolean()
    containers = _containers(value.get("containers"), host_network)
    init_containers = _containers(value.get("initContainers"), host_network, init=True)
    if not containers and not value.get("containers").items():
        value.get("containers").wrong("at least one container")
    node_affinity = value.get("affinity", "nodeAffinity")
    value.get("affinity").mapping()
    node_affinity.mapping()
    tolerations = tuple(_toleration(item) for item in value.get("tolerations").items())
    spec = PodSpec(
        containers=containers,
        init_containers=init_containers,
        node_name=value.get("nodeName").text(),
        node_selector=value.get("nodeSelector").labels(),
        required_affinity=required_terms(node_affinity),
        preferred_affinity=preferred_terms(node_affinity),
        tolerations=_with_defaults(tolerations) if admission.on else tolerations,
        spread=tuple(spread_of(item) for item in value.get("topologySpreadConstraints").items()),
        pod_affinity=parse_pod_affinity(value.get("affinity"), labels, stored=not admission.on),
        volumes=parse_volumes(value.get("volumes")),
        scheduler_name=value.get("schedulerName").text() or "default-scheduler",
        scheduling_gates=_names(value.get("schedulingGates")),
        overhead=value.get("overhead").resources(),
        restart_policy=value.get("restartPolicy").one_of(  # type: ignore[arg-type]
            ("Always", "OnFailure", "Never"), "Always"
        ),
        termination_grace_ms=milliseconds(value.get("terminationGracePeriodSeconds"), 30),
        host_network=host_network,
    )
    return _with_priority(_with_pod_level(spec, value.get("resources")), value, admission)


def parse_taint(value: Value) -> Taint:
    """One entry of a node's taints."""
    value.mapping()
    effect = value.get("effect").one_of(EFFECTS)
    key = value.get("key").required_text()
    return Taint(key, effect, value.get("value").text())  # type: ignore[arg-type]


def _containers(value: Value, host_network: bool, *, init: bool = False) -> tuple[Container, ...]:
    found = tuple(_container(item, host_network, init) for item in value.items())
    seen: set[str] = set()
    for container, item in zip(found, value.items(), strict=True):
        if container.name and container.name in seen:
            item.get("name").wrong("a name that no other container of the pod has")
        seen.add(container.name)
    return found


def _container(value: Value, host_network: bool, init: bool) -> Container:
    value.mapping()
    requests, limits = _container_resources(value.get("resources"))
    restart, lifecycle = value.get("restartPolicy"), value.get("lifecycle")
    lifecycle.mapping()
    return Container(
        name=value.get("name").required_text(),
        image=value.get("image").text(),
        requests=requests,
        limits=limits,
        host_ports=_host_ports(value.get("ports"), host_network),
        liveness=_probe(value.get("livenessProbe"), only_one_success=True),
        readiness=_probe(value.get("readinessProbe")),
        startup=_probe(value.get("startupProbe"), only_one_success=True),
        sidecar=init and restart.text() == "Always",
        post_start=_hook(lifecycle.get("postStart")),
        pre_stop=_hook(lifecycle.get("preStop")),
    )


def _container_resources(value: Value) -> tuple[Resources, Resources]:
    """(requests, limits), where a request that is missing takes the limit."""
    value.mapping()
    limits = value.get("limits").resources()
    requests = merged(value.get("requests").resources(), limits)
    for kind in ("requests", "limits"):
        for name, amount in value.get(kind).entries():
            _check_resource_name(name, amount)
    for name, request in value.get("requests").entries():
        _check_against_limit(request, requests[name], value.get("limits", name), limits.get(name))
        _check_exact(name, request, requests[name], limits.get(name, 0))
    return requests, limits


def _check_resource_name(name: str, value: Value) -> None:
    if "/" in name or name.startswith("hugepages-"):
        return
    known = ("cpu", "memory", "ephemeral-storage")
    if name not in known:
        hint = did_you_mean(name, known)
        value.problem(f"got the resource {shown(name)}; expected {', '.join(known)}.", hint)


def _check_against_limit(request: Value, size: int, limit: Value, most: int | None) -> None:
    if most is not None and size > most:
        request.wrong(f"at most the limit, which is {shown(limit.raw)}")


def _check_exact(name: str, request: Value, size: int, limit: int) -> None:
    """Devices and huge pages cannot be overcommitted (core/helper IsOvercommitAllowed)."""
    device = "/" in name and "kubernetes.io/" not in name
    if (device or name.startswith("hugepages-")) and size < limit:
        request.wrong(f"the same amount as the limit of {name}, which is not overcommitted")
    elif (device or name.startswith("hugepages-")) and not limit and size:
        request.problem(f"has no limit; expected a limit of {name}, equal to the request")


def _host_ports(value: Value, host_network: bool) -> tuple[HostPort, ...]:
    ports = []
    for item in value.items():
        item.mapping()
        own = item.get("containerPort").integer(0, least=1, most=65535)
        if not item.get("containerPort"):
            item.get("containerPort").wrong("a port number")
        host = item.get("hostPort").integer(0, most=65535) or (own if host_network else 0)
        protocol = item.get("protocol").one_of(PROTOCOLS, "TCP")
        if host:
            ports.append(HostPort(host, protocol, item.get("hostIP").text() or "0.0.0.0"))
    return tuple(ports)


def _probe(value: Value, *, only_one_success: bool = False) -> Probe | None:
    if not value:
        return None
    value.mapping()
    handlers = [handler for handler in HANDLERS if value.get(handler)]
    if len(handlers) != 1:
        value.wrong(f"exactly one of {', '.join(HANDLERS)}")
    success = positive(value.get("successThreshold"), 1)
    if only_one_success and success != 1:
        value.get("successThreshold").wrong("1, as for every liveness and startup probe")
    grace = value.get("terminationGracePeriodSeconds")
    return Probe(
        handler=handlers[0] if handlers else "exec",  # type: ignore[arg-type]
        initial_delay_ms=milliseconds(value.get("initialDelaySeconds")),
        period_ms=positive(value.get("periodSeconds"), 10) * 1000,
        timeout_ms=positive(value.get("timeoutSeconds"), 1) * 1000,
        success_threshold=success,
        failure_threshold=positive(value.get("failureThreshold"), 3),
        termination_grace_ms=milliseconds(grace, least=1) if grace else None,
    )


def _hook(value: Value) -> Hook | None:
    if not value:
        return None
    value.mapping()
    handlers = [handler for handler in HOOKS if value.get(handler)]
    if len(handlers) != 1:
        value.wrong(f"exactly one of {', '.join(HOOKS)}")
        return None
    sleep_ms = milliseconds(value.get("sleep", "seconds"))
    return Hook(handlers[0], sleep_ms)  # type: ignore[arg-type]


def required_terms(node_affinity: Value) -> tuple[NodeSelectorTerm, ...] | None:
    """The terms of which a node must match one; None when there is no such rule."""
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return None
    required.mapping()
    terms = required.get("nodeSelectorTerms")
    if not terms.items():
        terms.wrong("at least one term")
    return tuple(_term(item) for item in terms.items())


def preferred_terms(node_affinity: Value) -> tuple[PreferredTerm, ...]:
    """The terms that a node had better match, with their weights."""
    preferred = node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution").items()
    return tuple(
        PreferredTerm(_weight(item.get("weight")), _term(item.get("preference")))
        for item in preferred
    )


def _weight(value: Value) -> int:
    if not value:
        value.wrong("a weight from 1 to 100")
    return value.integer(1, least=1, most=100)


def _term(value: Value) -> NodeSelectorTerm:
    value.mapping()
    fields = tuple(item.requirement(("In", "NotIn")) for item in value.get("matchFields").items())
    for item, requirement in zip(value.get("matchFields").items(), fields, strict=True):
        if requirement.key and requirement.key != "metadata.name":
            item.get("key").wrong("'metadata.name', the only field of a node to match")
        if len(requirement.values) > 1:
            item.get("values").wrong("one value")
    expressions = value.get("matchExpressions").items()
    return NodeSelectorTerm(tuple(item.requirement() for item in expressions), fields)


def _toleration(value: Value) -> Toleration:
    value.mapping()
    key, seconds = value.get("key").text(), value.get("tolerationSeconds")
    operator = value.get("operator").one_of(("Equal", "Exists"), "Equal")
    effect = value.get("effect").one_of(("", *EFFECTS)) if value.get("effect") else ""
    text = value.get("value").text()
    if not key and operator == "Equal":
        value.get("operator").wrong("'Exists' when there is no key")
    if operator == "Exists" and text:
        value.get("value").wrong("no value with the operator 'Exists'")
    if seconds and effect != "NoExecute":
        value.get("effect").wrong("'NoExecute', since tolerationSeconds is set")
    for_seconds = seconds.integer(least=-INT64_MAX, most=INT64_MAX) if seconds else None
    return Toleration(key, operator, text, effect, for_seconds)  # type: ignore[arg-type]


def _with_defaults(tolerations: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
    """With those for unready and unreachable nodes, unless the pod has its own."""
    added = [d for d in DEFAULT_TOLERATIONS if not any(_covers(t, d) for t in tolerations)]
    return (*tolerations, *added)


def _covers(own: Toleration, default: Toleration) -> bool:
    return own.key in ("", default.key) and own.effect in ("", default.effect)


def spread_of(value: Value) -> SpreadConstraint:
    """A topology spread constraint of a pod."""
    value.mapping()
    skew, domains = value.get("maxSkew"), value.get("minDomains")
    if not skew:
        skew.wrong("a whole number of at least 1")
    action = value.get("whenUnsatisfiable").one_of(("DoNotSchedule", "ScheduleAnyway"))
    if domains and action != "DoNotSchedule":
        domains.wrong("no minDomains unless whenUnsatisfiable is 'DoNotSchedule'")
    policies = ("Honor", "Ignore")
    return SpreadConstraint(
        topology_key=value.get("topologyKey").required_text(),
        max_skew=skew.integer(1, least=1),
        when_unsatisfiable=action,  # type: ignore[arg-type]
        selector=value.get("labelSelector").selector(),
        min_domains=domains.integer(1, least=1) if domains else None,
        node_affinity_policy=value.get("nodeAffinityPolicy").one_of(policies, "Honor"),  # type: ignore[arg-type]
        node_taints_policy=value.get("nodeTaintsPolicy").one_of(policies, "Ignore"),  # type: ignore[arg-type]
        match_label_keys=value.get("matchLabelKeys").texts(),
    )


def _names(value: Value) -> tuple[str, ...]:
    return tuple(item.get("name").required_text() for item in value.items())


def _with_pod_level(spec: PodSpec, resources: Value) -> PodSpec:
    """With spec.resources; a request not named is the containers' sum, else the limit.

    defaultPodRequests fills it only when pod-level limits are set.
    """
    resources.mapping()
    limits = resources.get("limits").resources()
    requests = resources.get("requests").resources()
    if limits:
        sums = replace(spec, overhead={}).requests
        supported = {k: v for k, v in sums.items() if k in ("cpu", "memory") or "hugepages-" in k}
        requests = merged(merged(requests, supported), limits)
    for name, request in resources.get("requests").entries():
        limit = resources.get("limits", name)
        _check_against_limit(request, requests[name], limit, limits.get(name))
    return replace(spec, pod_requests=requests, pod_limits=limits)


def _with_priority(spec: PodSpec, value: Value, admission: Admission) -> PodSpec:
    """With the priority that admission works out from the class; a number that is there stays."""
    named, number = value.get("priorityClassName"), value.get("priority")
    name = named.text()
    found = admission.priority_class(name)
    if name and found is None and not number:
        known = [*admission.classes, *SYSTEM_CLASSES]
        named.wrong("the name of a PriorityClass that is loaded too", did_you_mean(name, known))
    default = found.value if found else 0
    policy = found.preemption_policy if found else "PreemptLowerPriority"
    chosen = value.get("preemptionPolicy").one_of(("PreemptLowerPriority", "Never"), policy)
    return replace(
        spec,
        priority=number.integer(default, least=-(2**31)),
        priority_class=name or (found.name if found else ""),
        preemption_policy=chosen,  # type: ignore[arg-type]
    )
