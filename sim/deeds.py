"""Carries out what is done to nodes from outside; says when an action names what is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.actions import (
    CordonNodes,
    DeletePod,
    FailNodes,
    FillDisk,
    JoinNode,
    NodeAction,
    OutsideAction,
    RecoverNodes,
    RemoveNodes,
    ReportReady,
    ScaleDeployment,
    SetSpeed,
    TaintNodes,
)
from sim.errors import SimError
from sim.eviction import NODEFS
from sim.podspec import EPHEMERAL_STORAGE
from sim.tables import NodeReady

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.kubelet import Kubelet
    from sim.podspec import Taint
    from sim.tables import NodeTable


def do_to_node(action: NodeAction, node: int, cluster: Cluster, kubelet: Kubelet) -> None:
    """One node's part of an action; nothing can be written to a Node object that is gone."""
    table = cluster.nodes
    if isinstance(action, FailNodes):
        cluster.fail_node(node, containers_die=action.mode == "crash")
    elif isinstance(action, RecoverNodes):
        cluster.recover_node(node)
    elif not table.exists[node]:
        return
    elif isinstance(action, CordonNodes):
        cluster.set_unschedulable(node, action.unschedulable)
    elif isinstance(action, RemoveNodes):
        cluster.remove_node(node)
    elif isinstance(action, TaintNodes):
        cluster.set_taints(node, _tainted(table.taints(node), action))
    elif isinstance(action, SetSpeed):
        kubelet.set_speed(node, action.factor)
    elif isinstance(action, FillDisk):
        kubelet.evictions.set_signal(node, NODEFS, _room_b(table, node, action.share))
    elif isinstance(action, ReportReady) and table.up[node] and not table.cut_off[node]:
        cluster.set_node_ready(node, NodeReady.TRUE if action.ready else NodeReady.FALSE)


def _tainted(taints: tuple[Taint, ...], action: TaintNodes) -> tuple[Taint, ...]:
    same = (action.taint.key, action.taint.effect)
    others = tuple(taint for taint in taints if (taint.key, taint.effect) != same)
    return others if action.remove else (*others, action.taint)


def _room_b(table: NodeTable, node: int, share: float | None) -> int | None:
    """What is left of a node's disk."""
    if share is None:
        return None
    return int(table.capacity[table.resource_row(EPHEMERAL_STORAGE), node] * (1 - share))


def check(action: OutsideAction, cluster: Cluster) -> None:
    """SimError when the action names what does not exist."""
    if isinstance(action, NodeAction):
        for node in (action.like,) if isinstance(action, JoinNode) else action.nodes:
            if not 0 <= node < len(cluster.nodes):
                raise SimError(
                    f"there is no node {node}; ids go from 0 to {len(cluster.nodes) - 1}"
                )
    elif isinstance(action, ScaleDeployment):
        if (action.namespace, action.name) not in cluster.deployments:
            names = ", ".join(f"{ns}/{name}" for ns, name in cluster.deployments) or "none"
            raise SimError(f"there is no Deployment {action.namespace}/{action.name}, only {names}")
    elif isinstance(action, DeletePod) and not 0 <= action.pod < len(cluster.pods):
        raise SimError(f"there is no pod {action.pod}; there are {len(cluster.pods)} pods so far")
