"""An evaluation that has been kept up over any history equals one that is made afresh."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sim.catalog import default_profile
from sim.evaluation import INFEASIBLE, Evaluation
from sim.labels import Requirement, Selector
from sim.podspec import (
    HostPort,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
    PreferredTerm,
    SpreadConstraint,
    Taint,
    Toleration,
    WeightedPodAffinityTerm,
)
from sim.search import search
from sim.tables import UNBOUND
from sim.testing import HOSTNAME, ZONE, a_cluster, a_node, a_pod, put_node, put_pod
from sim.workloads import Service

WEB = Selector.of({"app": "web"})
LABELS = {"app": "web"}
SSD = NodeSelectorTerm((Requirement("disk", "In", ("ssd",)),))
HARD = SpreadConstraint(ZONE, 1, "DoNotSchedule", WEB)
NEAR_WEB = PodAffinityTerm(ZONE, WEB)
APART = PodAffinityTerm(HOSTNAME, WEB)
SHAPES = {
    "plain": a_pod(cpu_m=300, memory_b=2**28),
    "best effort": a_pod(),
    "web": a_pod(cpu_m=200, labels=LABELS),
    "host port": a_pod(cpu_m=100, host_ports=(HostPort(80),)),
    "tolerating": a_pod(cpu_m=100, tolerations=(Toleration("team", "Exists"),)),
    "choosy": a_pod(
        cpu_m=100, node_selector={"disk": "ssd"}, preferred_affinity=(PreferredTerm(5, SSD),)
    ),
    "preferring": a_pod(cpu_m=100, preferred_affinity=(PreferredTerm(5, SSD),)),
    "spread hard": a_pod(cpu_m=100, labels=LABELS, spread=(HARD,)),
    "spread soft": a_pod(
        cpu_m=100,
        labels=LABELS,
        spread=(
            replace(HARD, when_unsatisfiable="ScheduleAnyway"),
            replace(HARD, topology_key=HOSTNAME, max_skew=2, when_unsatisfiable="ScheduleAnyway"),
        ),
    ),
    "spread both": a_pod(
        cpu_m=100,
        labels=LABELS,
        spread=(
            replace(HARD, node_taints_policy="Honor", min_domains=2),
            replace(HARD, topology_key="disk", when_unsatisfiable="ScheduleAnyway"),
        ),
    ),
    "spread twice": a_pod(
        cpu_m=100, labels=LABELS, spread=(HARD, replace(HARD, topology_key=HOSTNAME, max_skew=2))
    ),
    "near": a_pod(cpu_m=100, labels=LABELS, pod_affinity=PodAffinity(required=(NEAR_WEB,))),
    "apart": a_pod(cpu_m=100, labels=LABELS, pod_affinity=PodAffinity(anti_required=(APART,))),
    "rather near": a_pod(
        cpu_m=100,
        pod_affinity=PodAffinity(
            preferred=(WeightedPodAffinityTerm(3, NEAR_WEB),),
            anti_preferred=(WeightedPodAffinityTerm(2, APART),),
        ),
    ),
}
TAINTS = [
    (),
    (Taint("team", "NoSchedule", "x"),),
    (Taint("old", "PreferNoSchedule"),),
    (Taint("spot", "NoExecute"), Taint("old", "PreferNoSchedule")),
]
NODE_LABELS = [{}, {ZONE: "a"}, {ZONE: "b", "disk": "ssd"}, {"disk": "hdd", ZONE: ""}]
NODES = [
    a_node(zone="a", cpu_m=1000, labels={"disk": "ssd"}),
    a_node(zone="b", cpu_m=600, max_pods=3),
    a_node(zone="b", cpu_m=2000, labels={"disk": "hdd"}),
    a_node(cpu_m=1000),
]

numbers = st.integers(0, 50)
# mostly pods: a changed node or Service makes an evaluation start anew, and hides what it keeps
POD_STEPS = ["bind"] * 10 + ["remove"] * 5 + ["delete"] * 3
NODE_STEPS = ["taint", "cordon", "label", "service", "add-node", "remove-node"]
KINDS = [*POD_STEPS * 3, *NODE_STEPS]
steps = st.lists(st.tuples(st.sampled_from(KINDS), numbers, numbers), max_size=30)


def step(cluster, kind, first, second):
    """Do one thing, if it can be done."""
    nodes = cluster.nodes.ids()
    bound = np.flatnonzero(
        cluster.pods.exists[: len(cluster.pods)] & (cluster.pods.node[: len(cluster.pods)] >= 0)
    )
    if kind == "service":
        if cluster.services:
            del cluster.services["default", "web"]
        else:
            cluster.services["default", "web"] = Service("default", "web", WEB)
    elif kind == "add-node":
        put_node(cluster, replace(NODES[first % len(NODES)], name=f"new-{len(cluster.nodes)}"))
    elif kind in ("delete", "remove") and len(bound):
        pod = int(bound[first % len(bound)])
        (cluster.delete_pod if kind == "delete" else cluster.remove_pod)(pod)
    elif len(nodes):
        on_node(cluster, kind, int(nodes[first % len(nodes)]), second)


def on_node(cluster, kind, node, second):
    if kind == "bind":
        shapes = list(SHAPES.values())
        cluster.bind(put_pod(cluster, shapes[second % len(shapes)]), node)
    elif kind == "taint":
        cluster.set_taints(node, TAINTS[second % len(TAINTS)])
    elif kind == "cordon":
        cluster.set_unschedulable(node, bool(second % 2))
    elif kind == "label":
        labels = NODE_LABELS[second % len(NODE_LABELS)]
        cluster.update_node(node, labels={HOSTNAME: cluster.nodes.names[node], **labels})
    elif kind == "remove-node":
        cluster.remove_node(node)


def facts(cluster, evaluation):
    """Everything an evaluation says."""
    evaluation.refresh()
    return (
        evaluation.feasible().tolist(),
        evaluation.verdicts(),
        evaluation.diagnosis(),
        evaluation.total.tolist(),
    )


@pytest.mark.parametrize("shape", SHAPES)
@given(steps=steps)
def test_kept_up_equals_made_afresh(shape, steps):
    cluster = a_cluster(NODES)
    profile = default_profile()
    kept = Evaluation(cluster.template(SHAPES[shape]), cluster, profile)
    kept.refresh()
    for kind, first, second in steps:
        step(cluster, kind, first, second)
        if second % 3:  # so that one look finds one change or several
            kept.refresh()
    fresh = Evaluation(cluster.template(SHAPES[shape]), cluster, profile)
    assert facts(cluster, kept) == facts(cluster, fresh)
    cluster.check()


@pytest.mark.parametrize("shape", SHAPES)
@given(steps=steps)
def test_totals_are_the_sums_of_the_scores(shape, steps):
    cluster = a_cluster(NODES)
    evaluation = Evaluation(cluster.template(SHAPES[shape]), cluster, default_profile())
    for kind, first, second in steps:
        step(cluster, kind, first, second)
        evaluation.refresh()
    nodes = evaluation.feasible()
    summed = sum(evaluation.scores(nodes).values(), np.zeros(len(nodes), np.int64))
    assert evaluation.total[nodes].tolist() == summed.tolist()
    assert set(evaluation.total.tolist()) - set(summed.tolist()) <= {INFEASIBLE}


@pytest.mark.parametrize("shape", SHAPES)
@given(steps=steps, data=st.data())
def test_the_order_of_the_nodes_changes_no_answer(shape, steps, data):
    """The same cluster with its nodes renamed and in another order gives each node the same."""
    cluster = a_cluster(NODES)
    for kind, first, second in steps:
        step(cluster, kind, first, second)
    nodes = cluster.nodes.ids().tolist()
    order = data.draw(st.permutations(nodes))
    other = rebuilt(cluster, order)
    pod = SHAPES[shape]
    ours = Evaluation(cluster.template(pod), cluster, default_profile())
    theirs = Evaluation(other.template(pod), other, default_profile())
    ours.refresh()
    theirs.refresh()
    assert [int(ours.total[node]) for node in order] == theirs.total.tolist()
    assert ours.diagnosis() == theirs.diagnosis()


def rebuilt(cluster, order):
    """A new cluster with the nodes of `order`, renamed, and the pods on them."""
    table, other = cluster.nodes, a_cluster()
    other.services.update(cluster.services)
    for place, node in enumerate(order):
        known = {k: v for k, v in table.labels[node].items() if k != HOSTNAME}
        made = a_node(
            f"renamed-{place}",
            cpu_m=int(table.allocatable[0, node]),
            memory_b=int(table.allocatable[1, node]),
            max_pods=int(table.max_pods[node]),
            labels=known,
            taints=table.taints(node),
            unschedulable=bool(table.unschedulable[node]),
        )
        new = put_node(other, made)
        for pod in table.pods[node]:
            copy = put_pod(other, cluster.pod_template(pod).pod)
            other.bind(copy, new)
            if cluster.pods.deleting_ms[pod] >= 0:
                other.delete_pod(copy)
    return other


@pytest.mark.parametrize("shape", SHAPES)
@given(steps=steps, node=numbers, others=st.lists(st.sampled_from(list(SHAPES)), max_size=4))
def test_asking_beside_nominated_pods_is_as_if_they_were_there(shape, steps, node, others):
    cluster = a_cluster(NODES)
    for kind, first, second in steps:
        step(cluster, kind, first, second)
    if not len(cluster.nodes.ids()):
        return
    node = int(cluster.nodes.ids()[node % len(cluster.nodes.ids())])
    template = cluster.template(SHAPES[shape])
    evaluation = Evaluation(template, cluster, default_profile())
    evaluation.refresh()
    before = facts(cluster, evaluation)
    if shape not in ("near", "apart"):
        # a pod without terms of its own, where nobody has any against it, skips InterPodAffinity,
        # which is then not asked about nominated pods either, as upstream
        others = [other for other in others if other != "apart"]
    nominated = [put_pod(cluster, SHAPES[other]) for other in others]
    order = cluster.nodes.ids()
    found = search(evaluation, order, 0, 100, {node: tuple(nominated)}, None)
    assert facts(cluster, evaluation) == before
    cluster.check()
    for pod in nominated:
        assert cluster.pods.node[pod] == UNBOUND
        cluster.bind(pod, node)
    there = Evaluation(template, cluster, default_profile())
    there.refresh()
    expected = there.refusal(node) or before[1].get(node)  # it must pass with them and without
    assert found.verdicts().get(node) == expected
    assert (node in found.kept) == (expected is None)
