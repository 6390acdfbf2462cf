"""Which pods the kubelets take in: the rules of `sim.admission`, asked where they can say no.

Nearly every pod fits, because the scheduler has looked; it is let through for the price of a few
comparisons, at the moment of its binding. Only a pod that would be refused then is looked at
again, with what its kubelet knows, when the kubelet sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.admission import Admission, NodeView, OnNode, admit, refusals
from sim.podspec import PODS
from sim.recorder import Reason
from sim.workloads import STATIC

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import HostPort
    from sim.templates import Template

REASONS = {
    "OutOfcpu": Reason.OUT_OF_CPU,
    "OutOfmemory": Reason.OUT_OF_MEMORY,
    "OutOfephemeral-storage": Reason.OUT_OF_STORAGE,
    "OutOfpods": Reason.OUT_OF_PODS,
    "NodeAffinity": Reason.NODE_AFFINITY,
    "NodeName": Reason.NODE_NAME,
    "NodePorts": Reason.NODE_PORTS,
    "TaintToleration": Reason.TAINT_TOLERATION,
    "PodOSSelectorNodeLabelDoesNotMatch": Reason.NODE_AFFINITY,
    "UnexpectedAdmissionError": Reason.UNEXPECTED_ADMISSION,
}


class Intake:
    """The admission of pods on all nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._undecided: dict[int, None] = {}  # bound pods of which kubelets know nothing yet
        self._plain: dict[tuple[int, int], bool] = {}  # by template and taint set

    def is_static(self, pod: int) -> bool:
        """Whether the pod is one that its kubelet runs by itself."""
        pods = self._cluster.pods
        return self._cluster.owners[pods.owner.item(pod)].kind == STATIC

    def surely_fits(self, pod: int) -> bool:
        """Whether nothing speaks against a pod, whatever its kubelet has seen of the others."""
        cluster = self._cluster
        node = cluster.pods.node.item(pod)
        template = cluster.templates[cluster.pods.template.item(pod)]
        if not self._has_room(template, node):
            return False
        kind = template.id, cluster.nodes.taint_set.item(node)
        plain = self._plain.get(kind)
        if plain is None:
            plain = self._plain[kind] = self._is_plain(template, node)
        if plain:
            return True
        view = self._view(node, {}, self._ports(pod) if template.host_ports else ())
        return not refusals(template.pod.spec, view, static=self.is_static(pod))

    def put_off(self, pod: int) -> None:
        """The pod's kubelet knows nothing of it until it is decided about."""
        self._undecided[pod] = None

    def is_put_off(self, pod: int) -> bool:
        """Whether it will be decided about when its kubelet sees it."""
        return pod in self._undecided

    def forget(self, pod: int) -> None:
        """The pod has been decided about, or is gone."""
        self._undecided.pop(pod, None)

    def decide(self, pod: int) -> Admission:
        """What a pod's kubelet, which sees it now, does about it."""
        cluster = self._cluster
        node = cluster.pods.node.item(pod)
        template = cluster.pod_template(pod)
        others = self._admitted(pod)
        used = {PODS: len(others)}
        for other in others:
            for name, amount in cluster.pod_template(other).pod.spec.requests.items():
                used[name] = used.get(name, 0) + amount
        view = self._view(node, used, self._ports(pod))
        on_node = [self._on_node(other) for other in others]
        static = self.is_static(pod)
        labels = template.pod.labels
        return admit(template.pod.spec, view, on_node, labels=labels, static=static)

    def reason(self, name: str) -> Reason:
        """How a refusal is recorded."""
        return REASONS.get(name, Reason.OUT_OF_RESOURCE)

    def _has_room(self, template: Template, node: int) -> bool:
        """Whether all that is on the node, or is to come there, fits."""
        table = self._cluster.nodes
        if table.pod_count.item(node) > table.max_pods.item(node):
            return False
        for row, request, _ in template.rows:
            if request and table.requested.item(row, node) > table.allocatable.item(row, node):
                return False
        return True

    def _is_plain(self, template: Template, node: int) -> bool:
        """Whether room is all that the pods ask for, and no taint of the node drives pods away."""
        spec = template.pod.spec
        if spec.node_selector or spec.required_affinity is not None or spec.node_name:
            return False
        taints = self._cluster.nodes.taints(node)
        return not template.host_ports and all(taint.effect != "NoExecute" for taint in taints)

    def _admitted(self, pod: int) -> list[int]:
        """The other pods that the kubelet of the pod's node has taken in."""
        cluster = self._cluster
        return [
            other
            for other in cluster.nodes.pods[cluster.pods.node.item(pod)]
            if other != pod and other not in self._undecided and not cluster.is_assumed(other)
        ]

    def _ports(self, pod: int) -> tuple[HostPort, ...]:
        others = self._admitted(pod)
        return tuple(port for o in others for port in self._cluster.pod_template(o).host_ports)

    def _view(self, node: int, used: dict[str, int], ports: tuple[HostPort, ...]) -> NodeView:
        table = self._cluster.nodes
        amounts = table.allocatable[:, node].tolist()
        room = dict(zip(table.resources, amounts, strict=True))
        known = {name: amount for name, amount in room.items() if amount or "/" not in name}
        return NodeView(
            name=table.names[node],
            allocatable={**known, PODS: int(table.max_pods[node])},
            used=used,
            labels=table.labels[node],
            taints=table.taints(node),
            host_ports=ports,
        )

    def _on_node(self, pod: int) -> OnNode:
        template = self._cluster.pod_template(pod)
        spec = template.pod.spec
        return OnNode(pod, spec.requests, template.qos, spec.priority, self.is_static(pod))
