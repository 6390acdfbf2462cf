"""The kubelet's own look at a pod that was bound to its node: admit, refuse, or make room.

Follows pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/preemption/preemption.go and
pkg/kubelet/types/pod_update.go (v1.34). The scheduler has looked before, but at what it knew then.
A refused pod is Failed with the reason found here; nobody tries it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sim.labels import Labels
from sim.podspec import (
    CPU,
    EPHEMERAL_STORAGE,
    MEMORY,
    PODS,
    HostPort,
    PodSpec,
    QosClass,
    Resources,
    Taint,
)

CRITICAL_PRIORITY = 2_000_000_000  # scheduling.SystemCriticalPriority
OS_LABEL = "kubernetes.io/os"
ALWAYS_LOOKED_AT = (CPU, MEMORY, EPHEMERAL_STORAGE)

PREEMPTED = "Preempting"  # the reason of a pod that was ended for a critical one
NO_ROOM = "UnexpectedAdmissionError"  # of a critical pod for which nothing can be ended


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a kubelet compares a pod with: its node, and the pods that it has admitted."""

    name: str
    allocatable: Resources
    used: Resources = field(default_factory=dict)  # by admitted pods that have not ended; PODS too
    labels: Labels = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    host_ports: tuple[HostPort, ...] = ()  # taken ones
    os: str = "linux"


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource of which the node has too little left."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def reason(self) -> str:
        """The pod's reason: OutOfcpu, OutOfmemory, OutOfpods, ..."""
        return f"OutOf{self.resource}"

    @property
    def lacking(self) -> int:
        """How much would have to come free."""
        return self.requested - (self.capacity - self.used)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A check that fails whatever else is ended; its name is the pod's reason."""

    reason: str
    message: str


NODE_AFFINITY = Misfit("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
NODE_NAME = Misfit("NodeName", "node(s) didn't match the requested node name")
NODE_PORTS = Misfit("NodePorts", "node(s) didn't have free ports for the requested pod ports")
TAINTS = Misfit("TaintToleration", "node(s) had taints that the pod didn't tolerate")
OS_LABEL_DIFFERS = Misfit(
    "PodOSSelectorNodeLabelDoesNotMatch",
    "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
)


@dataclass(frozen=True, slots=True)
class OnNode:
    """A pod that a critical one may push out; `id` is the caller's name for it."""

    id: int
    requests: Resources
    qos: QosClass = "Burstable"
    priority: int = 0
    static: bool = False  # or its mirror

    @property
    def critical(self) -> bool:
        """Whether the kubelet counts it among the critical pods."""
        return is_critical(self.priority, static=self.static)

    def request(self, resource: str) -> int:
        """What comes free of a resource when it ends."""
        return 1 if resource == PODS else self.requests.get(resource, 0)


@dataclass(frozen=True, slots=True)
class Admission:
    """Admitted, after the victims have been ended; or refused, for a reason."""

    reason: str = ""
    victims: tuple[OnNode, ...] = ()
    refusals: tuple[Shortage | Misfit, ...] = ()  # all that the checks found, in their order

    @property
    def admitted(self) -> bool:
        """Whether the pod may start."""
        return not self.reason


def is_critical(priority: int, *, static: bool = False) -> bool:
    """Whether the kubelet calls a pod critical: static pods, and those of the system classes."""
    return static or priority >= CRITICAL_PRIORITY


def admit(
    spec: PodSpec,
    node: NodeView,
    running: Iterable[OnNode] = (),
    *,
    labels: Labels | None = None,
    static: bool = False,
) -> Admission:
    """Whether the kubelet takes a pod.

    `running` are the pods that a critical pod may push out; it does so only when resources are all
    that is missing. A refusal for node affinity alone is worth another look at a fresh node.
    """
    if not _os_fits(labels or {}, node):
        return Admission(OS_LABEL_DIFFERS.reason, refusals=(OS_LABEL_DIFFERS,))
    found = refusals(spec, node, static=static)
    misfits = [refusal for refusal in found if isinstance(refusal, Misfit)]
    critical = is_critical(spec.priority, static=static)
    if not found:
        return Admission()
    if not critical or misfits:
        return Admission((misfits if critical else found)[0].reason, refusals=found)
    lacking = {r.resource: r.lacking for r in found if isinstance(r, Shortage)}
    victims = preempt_for(lacking, running, priority=spec.priority)
    if victims is None:
        return Admission(NO_ROOM, refusals=found)
    return Admission(victims=victims, refusals=found)


def refusals(
    spec: PodSpec, node: NodeView, *, static: bool = False
) -> tuple[Shortage | Misfit, ...]:
    """All that speaks against a pod, in the order of the checks; the first one is its reason."""
    found: list[Shortage | Misfit] = list(shortages(spec.requests, node))
    if not _affinity_fits(spec, node):
        found.append(NODE_AFFINITY)
    if spec.node_name not in ("", node.name):
        found.append(NODE_NAME)
    if any(want.conflicts(have) for want in spec.host_ports for have in node.host_ports):
        found.append(NODE_PORTS)
    if not static and not _tolerates(spec, node.taints):
        found.append(TAINTS)
    return tuple(found)


def shortages(requests: Resources, node: NodeView) -> tuple[Shortage, ...]:
    """The resources that the node lacks (scheduler's noderesources.Fits).

    Pods first, then CPU, memory and ephemeral storage, then others by name. Extended resources
    that the node does not know are not looked at.
    """
    wanted = {PODS: 1, **{name: requests.get(name, 0) for name in ALWAYS_LOOKED_AT}}
    wanted |= {
        name: requests[name]
        for name in sorted(requests)
        if name not in wanted and not _is_unknown_extended(name, node.allocatable)
    }
    found = (
        Shortage(name, amount, node.used.get(name, 0), node.allocatable.get(name, 0))
        for name, amount in wanted.items()
    )
    return tuple(shortage for shortage in found if shortage.requested and shortage.lacking > 0)


def preempt_for(
    lacking: Mapping[str, int],
    running: Iterable[OnNode],
    *,
    priority: int,
) -> tuple[OnNode, ...] | None:
    """The pods to end so that what a critical pod lacks comes free; None: they cannot give it.

    Pods that are not critical, and those of a lower priority than the critical pod's `priority`.
    Guaranteed pods go only for what all others together cannot give, Burstable ones only for what
    BestEffort ones and the chosen Guaranteed ones cannot give.
    """
    classes: dict[QosClass, list[OnNode]] = {"BestEffort": [], "Burstable": [], "Guaranteed": []}
    for pod in running:
        if not pod.critical or priority > pod.priority:
            classes[pod.qos].append(pod)
    best_effort, burstable, guaranteed = classes.values()
    if _left(lacking, best_effort + burstable + guaranteed):
        return None
    dear = _nearest(guaranteed, _left(lacking, best_effort + burstable))
    middle = _nearest(burstable, _left(lacking, best_effort + dear))
    cheap = _nearest(best_effort, _left(lacking, middle + dear))
    return (*cheap, *middle, *dear)


def _nearest(pods: Sequence[OnNode], lacking: Mapping[str, int]) -> list[OnNode]:
    """Pods that give what is lacking: again and again the one that comes nearest to the rest.

    Of equally near ones the smaller in memory, then in CPU, then the later in a list in which the
    last one takes the place of each that is chosen.
    """
    left, chosen = list(pods), list[OnNode]()
    while lacking:
        best = 0
        for place, pod in enumerate(left):
            if _order(lacking, pod) <= _order(lacking, left[best]):
                best = place
        chosen.append(left[best])
        lacking = _left(lacking, [left[best]])
        left[best] = left[-1]
        left.pop()
    return chosen


def _order(lacking: Mapping[str, int], pod: OnNode) -> tuple[float, int, int]:
    distance = 0.0
    for resource, amount in lacking.items():
        distance += (max(0, amount - pod.request(resource)) / amount) ** 2
    return distance, pod.request(MEMORY), pod.request(CPU)


def _left(lacking: Mapping[str, int], pods: Iterable[OnNode]) -> dict[str, int]:
    """What is still lacking once these pods have ended."""
    pods = list(pods)
    rest = {name: n - sum(pod.request(name) for pod in pods) for name, n in lacking.items()}
    return {name: amount for name, amount in rest.items() if amount > 0}


def _is_unknown_extended(name: str, allocatable: Resources) -> bool:
    return name not in allocatable and "/" in name and "kubernetes.io/" not in name


def _affinity_fits(spec: PodSpec, node: NodeView) -> bool:
    if any(node.labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    if spec.required_affinity is None:
        return True
    return any(term.matches(node.labels, node.name) for term in spec.required_affinity)


def _tolerates(spec: PodSpec, taints: Iterable[Taint]) -> bool:
    """Whether every NoExecute taint is tolerated; the kubelet is interested in no others."""
    return all(
        any(toleration.tolerates(taint) for toleration in spec.tolerations)
        for taint in taints
        if taint.effect == "NoExecute"
    )


def _os_fits(labels: Labels, node: NodeView) -> bool:
    return labels.get(OS_LABEL, node.os) == node.os
