"""For tests of plugins and scenarios: small clusters in a line, and checks any plugin must pass.

    cluster = a_cluster([a_node(cpu_m=4000), a_node(cpu_m=2000)], [bound(a_pod(cpu_m=500), 0)])
    check_filter(NodeResourcesFit(), a_pod(cpu_m=3900), cluster)

`check_filter` and `check_score` hold what the scheduler relies on: the type, length and range of
the answers; that an answer about a node does not depend on which other nodes are asked, or in what
order; that asking twice gives the same and changes nothing; that pods move no answers which
`reads` says they do not move. They take plugins of ours and of yours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.clock import Clock
from sim.cluster import Cluster
from sim.extend import (
    MAX_SCORE,
    SKIP,
    Code,
    Explains,
    NodeIds,
    Normalizes,
    OnlyNodes,
    Reads,
    Rejection,
)
from sim.labels import Labels
from sim.nodes import NodeShape
from sim.podspec import CPU, MEMORY, Container, HostPort, PodSpec, PodTemplate, Resources, Taint
from sim.templates import Template
from sim.userplugins import adapted
from sim.workloads import Service

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
GIB = 1024**3
Ask = Callable[[NodeIds], NDArray[Any]]


@dataclass(frozen=True)
class Node:
    """A node to be; its name is `node-` and its place unless it has one."""

    shape: NodeShape
    name: str = ""
    zone: str = ""
    labels: Labels | None = None
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    images: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Bound:
    """A pod that is on a node from the start."""

    pod: PodTemplate
    node: int


def a_node(
    name: str = "",
    *,
    cpu_m: int = 4000,
    memory_b: int = 16 * GIB,
    extended: Resources | None = None,
    max_pods: int = 110,
    zone: str = "",
    labels: Labels | None = None,
    taints: tuple[Taint, ...] = (),
    unschedulable: bool = False,
    images: Mapping[str, int] | None = None,
) -> Node:
    """A node of which pods may use everything."""
    sizes = {CPU: cpu_m, MEMORY: memory_b, **(extended or {})}
    shape = NodeShape(capacity=sizes, allocatable=sizes, kubepods=sizes, max_pods=max_pods)
    return Node(shape, name, zone, labels, taints, unschedulable, images)


def a_pod(
    *,
    cpu_m: int | None = None,
    memory_b: int | None = None,
    extended: Resources | None = None,
    labels: Labels | None = None,
    namespace: str = "default",
    host_ports: tuple[HostPort, ...] = (),
    **spec: Any,
) -> PodTemplate:
    """A pod with one container; `spec` are further fields of PodSpec."""
    requests = dict(extended or {})
    requests |= {CPU: cpu_m} if cpu_m is not None else {}
    requests |= {MEMORY: memory_b} if memory_b is not None else {}
    container = Container("app", requests=requests, host_ports=host_ports)
    spec.setdefault("containers", (container,))
    return PodTemplate(namespace, labels or {}, PodSpec(**spec))


def bound(pod: PodTemplate, node: int) -> Bound:
    """The pod, already on the node with this id."""
    return Bound(pod, node)


def a_cluster(
    nodes: Iterable[Node] = (),
    pods: Iterable[PodTemplate | Bound] = (),
    *,
    services: Iterable[Service] = (),
    clock: Clock | None = None,
) -> Cluster:
    """A cluster whose nodes and pods have the ids 0, 1, ... in the order given."""
    cluster = Cluster(clock)
    for service in services:
        cluster.services[service.namespace, service.name] = service
    for node in nodes:
        put_node(cluster, node)
    for pod in pods:
        put_pod(cluster, pod)
    return cluster


def put_node(cluster: Cluster, node: Node) -> int:
    """Add the node, with its host name and zone as labels; its id."""
    name = node.name or f"node-{len(cluster.nodes)}"
    labels = {HOSTNAME: name, **({ZONE: node.zone} if node.zone else {}), **(node.labels or {})}
    return cluster.add_node(
        name,
        node.shape,
        zone=node.zone,
        labels=labels,
        taints=node.taints,
        unschedulable=node.unschedulable,
        images=node.images,
    )


def put_pod(cluster: Cluster, pod: PodTemplate | Bound) -> int:
    """Add the pod, a pending one or on its node; its id."""
    template = pod.pod if isinstance(pod, Bound) else pod
    name = f"pod-{len(cluster.pods)}"
    owner = cluster.owner("Pod", template.namespace, name)
    added = cluster.create_pod(cluster.template(template), owner, name)
    if isinstance(pod, Bound):
        cluster.bind(added, pod.node)
    return added


def check_filter(plugin: Any, pod: PodTemplate, cluster: Cluster) -> None:
    """AssertionError where the plugin's filter breaks what the scheduler relies on."""
    plugin = _whole(plugin, "prefilter", "filter", "verdict")
    template, nodes = cluster.template(pod), cluster.nodes.ids()
    before = _state_of(cluster)
    state = plugin.prefilter(template, cluster)
    if isinstance(state, OnlyNodes):
        assert np.isin(state.nodes, nodes).all(), f"{plugin.name} leaves nodes that do not exist"
        state = state.state
    if isinstance(state, Rejection):
        _check_verdict(plugin.name, state.verdict.code, state.verdict.reasons)
    elif state is not SKIP:

        def ask(asked: NodeIds) -> Any:
            return plugin.filter(template, cluster, asked, state)

        def ask_anew(asked: NodeIds) -> Any:
            anew = plugin.prefilter(template, cluster)
            return plugin.filter(
                template, cluster, asked, anew.state if isinstance(anew, OnlyNodes) else anew
            )

        _check_answers(plugin.name, ask, nodes, np.int32)
        _check_reads(plugin, ask, ask_anew, cluster)
        for why in {int(why) for why in ask(nodes)} - {0}:
            verdict = plugin.verdict(why, cluster)
            _check_verdict(plugin.name, verdict.code, verdict.reasons)
        if isinstance(plugin, Explains):
            _check_shortfalls(plugin, template, cluster, nodes[ask(nodes) != 0], state)
    assert _state_of(cluster) == before, f"{plugin.name} changed the cluster"


def _check_shortfalls(
    plugin: Explains, pod: Template, cluster: Cluster, refusing: NodeIds, state: Any
) -> None:
    for node in refusing.tolist():
        found = plugin.shortfall(pod, cluster, node, state)
        assert found.text, f"{plugin} refuses node {node} and does not say why"
        assert found.share > 0, f"{plugin} refuses node {node} for lack of nothing"


def check_score(plugin: Any, pod: PodTemplate, cluster: Cluster) -> None:
    """AssertionError where the plugin's score breaks what the scheduler relies on."""
    plugin = _whole(plugin, "prescore", "score")
    template, nodes = cluster.template(pod), cluster.nodes.ids()
    before = _state_of(cluster)
    state = plugin.prescore(template, cluster, nodes)
    if state is not SKIP:

        def ask(asked: NodeIds) -> Any:
            return plugin.score(template, cluster, asked, state)

        def ask_anew(asked: NodeIds) -> Any:
            return plugin.score(template, cluster, asked, plugin.prescore(template, cluster, nodes))

        _check_answers(plugin.name, ask, nodes, np.int64)
        _check_reads(plugin, ask, ask_anew, cluster)
        scores = ask(nodes)
        if isinstance(plugin, Normalizes):
            scores = _normalized(plugin, scores)
        outside = scores[(scores < 0) | (scores > MAX_SCORE)]
        assert not len(outside), f"{plugin.name} scores {outside}, outside 0..{MAX_SCORE}"
    assert _state_of(cluster) == before, f"{plugin.name} changed the cluster"


def _whole(plugin: Any, *methods: str) -> Any:
    """The plugin with all that its protocol asks for."""
    return (
        plugin if all(hasattr(plugin, m) for m in ("name", "reads", *methods)) else adapted(plugin)
    )


def _normalized(plugin: Any, scores: NDArray[Any]) -> NDArray[Any]:
    """The scores as `normalize` gives them, which must leave its argument and any order alone."""
    name, given = plugin.name, scores.copy()
    normal: NDArray[Any] = plugin.normalize(scores)
    assert np.array_equal(scores, given), f"{name}: normalize changes its argument"
    assert normal.dtype == np.int64, f"{name} normalises to {normal.dtype}"
    assert normal.shape == scores.shape, f"{name}: normalize makes {normal.shape} of {scores.shape}"
    backwards = plugin.normalize(scores[::-1])[::-1]
    assert np.array_equal(backwards, normal), f"{name}: normalize depends on the order of nodes"
    return normal


def _check_reads(plugin: Any, ask: Ask, ask_anew: Ask, cluster: Cluster) -> None:
    """A pod that comes to a node moves only what `reads` says; answers are kept as long.

    With PODS_ON_NODE, what was derived before (`prefilter`, `prescore`) must do for that node too.
    """
    if plugin.reads & Reads.PODS_ANYWHERE:
        return
    nodes, name = cluster.nodes.ids(), plugin.name
    kept = ask(nodes)
    for pod, node in _moves(cluster):
        cluster.suppose(pod, node, 1)
        try:
            now, anew = ask(nodes), ask_anew(nodes)
        finally:
            cluster.suppose(pod, node, -1)
        moved = set(nodes[anew != kept].tolist())
        if not plugin.reads & Reads.PODS_ON_NODE:
            assert not moved, f"{name}: a pod moves its answer, but it does not read PODS_ON_NODE"
        elsewhere = (
            f"{name}: a pod moves its answer about other nodes; it has to read PODS_ANYWHERE"
        )
        assert moved <= {node}, elsewhere
        stale = f"{name}: what it derived before a pod came is out of date afterwards"
        assert np.array_equal(now, anew), stale


def _moves(cluster: Cluster) -> list[tuple[int, int]]:
    """Some pods, each with a node where it is not."""
    nodes = cluster.nodes.ids().tolist()
    return [
        (pod, node)
        for pod in range(min(len(cluster.pods), 8))
        for node in nodes[:8]
        if pod not in cluster.nodes.pods[node]
    ]


def _check_answers(name: str, ask: Ask, nodes: NodeIds, dtype: Any) -> None:
    answers = ask(nodes)
    assert answers.dtype == dtype, f"{name} answers in {answers.dtype}"
    assert answers.shape == nodes.shape, f"{name}: {answers.shape} answers for {nodes.shape} nodes"
    assert np.array_equal(ask(nodes), answers), f"{name} answers differently the second time"
    for asked in _selections(nodes):
        places = np.searchsorted(nodes, asked)
        assert np.array_equal(ask(asked), answers[places]), f"{name} depends on the nodes asked"


def _selections(nodes: NodeIds) -> Sequence[NodeIds]:
    """The same nodes in other company: backwards, every other one, one by one, none."""
    return [
        nodes[::-1],
        nodes[::2],
        *(nodes[i : i + 1] for i in range(len(nodes))),
        nodes[:0],
    ]


def _check_verdict(name: str, code: Code, reasons: tuple[str, ...]) -> None:
    assert code in (Code.UNSCHEDULABLE, Code.UNRESOLVABLE), f"{name} refuses with code {code}"
    assert reasons, f"{name} refuses without a reason"
    assert list(reasons) == sorted(reasons), f"{name}: reasons not in order: {reasons}"


def _state_of(cluster: Cluster) -> Mapping[str, Any]:
    """Everything a plugin could have changed, as values that can be compared."""
    rows: dict[str, Any] = {"logs": (len(cluster.nodes_log), len(cluster.pods_log))}
    for table in (cluster.nodes, cluster.pods):
        for column in type(table)._COLUMNS:
            rows[f"{type(table).__name__}.{column}"] = getattr(table, column).tobytes()
    for name in ("allocatable", "requested", "limits"):
        array = getattr(cluster.nodes, name)
        rows[name] = array[array.any(axis=1)].tobytes()  # a row of zeros may be new
    rows["labels"] = [dict(labels) for labels in cluster.nodes.labels]
    rows["images"] = [cluster.nodes.images.of(node) for node in range(len(cluster.nodes))]
    rows["pods"] = [list(pods) for pods in cluster.nodes.pods]
    return rows
