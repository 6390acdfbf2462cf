"""The benchmark cases at a few nodes: the pods come, and end where the case says. No timing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from benchmarks import cases
from benchmarks.cases import CASES, KUBE_SCHEDULER, THREE_ZONES, Placed
from benchmarks.scheduler import Run, a_cluster, growth, measure
from sim.recorder import Reason
from sim.tables import UNBOUND

NODES = 12

# case -> the workload of scheduler_perf that its threshold comes from
UPSTREAM = {
    "basic": ("SchedulingBasic", "5000Nodes_10000Pods"),
    "spread-hard": ("TopologySpreading", "5000Nodes_5000Pods"),
    "spread-soft": ("PreferredTopologySpreading", "5000Nodes_5000Pods"),
    "spread-default": ("DefaultTopologySpreading", "5000Nodes_50000Pods"),
    "anti-affinity": ("SchedulingPodAntiAffinity", "5000Nodes_2000Pods"),
    "affinity": ("SchedulingPodAffinity", "5000Nodes_5000Pods"),
    "preferred-affinity": ("SchedulingPreferredPodAffinity", "5000Nodes_5000Pods"),
    "preferred-anti-affinity": ("SchedulingPreferredPodAntiAffinity", "5000Nodes_5000Pods"),
    "preemption-among": ("PreemptionAsync", "5000Nodes"),
    "unschedulable": ("Unschedulable", "5kNodes/100Init/10kPods"),
}


def a_run(name: str, nodes: int = NODES, percentage: int = 100) -> Run:
    """The whole case at this size."""
    run = Run(CASES[name], nodes, percentage, seed=1)
    run.warm_up()
    run.arrive(CASES[name].pods_at(nodes))
    return run


@pytest.mark.parametrize("percentage", [0, 100])
@pytest.mark.parametrize("nodes", [NODES, 120])  # 120: a search may end after 100 nodes
@pytest.mark.parametrize("name", CASES)
def test_pods_of_a_case_end_where_they_should(name, nodes, percentage):
    run = a_run(name, nodes, percentage)
    CASES[name].check(run.placed())
    run.cluster.check()
    assert (run.placed().measured != UNBOUND).all()


@pytest.mark.parametrize(
    ("name", "init", "measured", "among"),
    [
        # 1000 * 12 / 5000 = 2.4; 20 a node
        pytest.param("basic", 2, 240, 0, id="basic"),
        # 5000 * 12 / 5000; 20 a node
        pytest.param("spread-hard", 12, 240, 0, id="spread-hard"),
        # 1000 * 12 / 5000 = 2.4; 0.8 * 12 = 9.6
        pytest.param("anti-affinity", 2, 9, 0, id="anti-affinity"),
        # four on each node; one in place of three
        pytest.param("preemption", 48, 12, 0, id="preemption"),
        # 100 * 12 / 5000 = 0.24; 20 a node, in 2 ticks of 120
        pytest.param("unschedulable", 0, 240, 2, id="unschedulable"),
    ],
)
def test_number_of_pods_follows_the_nodes(name, init, measured, among):
    run = a_run(name)
    assert [len(run.init), len(run.measured), len(run.among)] == [init, measured, among]


@pytest.mark.parametrize("name", CASES)
def test_pods_of_a_case_fit_at_every_size(name):
    case = CASES[name]
    for nodes in (500, 1000, 5000):
        cpu_m = case.init_at(nodes) * case.first.spec.requests["cpu"]
        cpu_m += case.pods_at(nodes) * case.templates[-1].spec.requests["cpu"]
        if name != "preemption":  # where three of four must go first
            assert cpu_m <= nodes * cases.CPU_OF_NODE_M


def test_preemption_evicts_three_pods_for_each_that_comes():
    run = a_run("preemption")
    evicted = run.cluster.pods.reason[run.init] == Reason.PREEMPTED
    assert int(evicted.sum()) == 3 * NODES
    assert not run.cluster.pods.exists[np.array(run.init)[evicted]].any()


def test_default_spread_comes_from_the_service():
    run = a_run("spread-default")
    template = run.cluster.pod_template(run.measured[0])
    assert not template.pod.spec.spread
    assert template.owner_selector is not None
    assert run.cluster.services["service-ns", "scheduler-perf"].picks(template.pod)


def placed(init=(), measured=(), among=(), nodes=6) -> Placed:
    arrays = [np.array(ids, np.int64) for ids in (init, measured, among)]
    return Placed(a_cluster(nodes, THREE_ZONES), True, *arrays)


@pytest.mark.parametrize(
    ("check", "wrong", "says"),
    [
        pytest.param(cases.all_bound, placed(measured=[0, -1]), "1 of 2", id="one has no node"),
        # zones have 6, 0 and 0 pods
        pytest.param(cases.within_skew, placed(measured=[0] * 6), r"\[6, 0, 0\]", id="skew of 6"),
        pytest.param(
            cases.one_per_node, placed([2], [2]), "2 pods", id="measured beside an earlier one"
        ),
        pytest.param(cases.packed, placed([0], [1]), "2 nodes, 1", id="two nodes begun"),
        pytest.param(cases.packed, placed([0], range(6)), "every node", id="nothing packed"),
        pytest.param(cases.level, placed([0], [0]), "between 0, 2", id="two and none"),
        pytest.param(cases.three_evicted, placed([], [1, 1]), "share", id="two large on a node"),
        pytest.param(cases.three_evicted, placed([], [1]), "one of each", id="all evicted"),
        pytest.param(cases.high_pods_too, placed([], [1], [-1]), "1 large", id="one gave up"),
        pytest.param(cases.large_ones_wait, placed([], [1], [1]), "9 cores", id="it does not fit"),
        pytest.param(cases.large_ones_wait, placed([], [1]), "no large", id="none came"),
    ],
)
def test_check_refuses_a_wrong_placement(check, wrong, says):
    with pytest.raises(AssertionError, match=says):
        check(wrong)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        # zones have 5, 0 and 0 pods
        pytest.param(cases.within_skew, placed(measured=[0] * 5), id="skew of 5"),
        pytest.param(cases.one_per_node, placed([2], [3]), id="each on its own"),
        pytest.param(cases.packed, placed([0] * 20, [0] * 20 + [1]), id="40 and the next node"),
        pytest.param(cases.level, placed([0], range(6)), id="one more on one"),
        pytest.param(
            cases.level, replace(placed([0], [0]), every_node=False), id="not every node seen"
        ),
    ],
)
def test_check_accepts_a_right_placement(check, right):
    check(right)


def test_row_can_be_written_as_json_and_names_its_size():
    row = json.loads(json.dumps(measure("spread-hard", NODES, 100, pods=30)))
    size = {"case": "spread-hard", "nodes": NODES, "pods": 30, "percentage": 100}
    assert size.items() <= row.items()
    assert row["upstream_floor"] is None
    assert row["kube_scheduler_pods_per_s"] is None


def test_growth_has_a_figure_per_size():
    row = growth((100, 200))
    assert set(row["us_per_pod"]) == {100, 200}
    assert row["pods"] == 3000


def test_measured_figures_belong_to_cases():
    assert {name for name, _, _ in KUBE_SCHEDULER} <= set(CASES)


def test_cases_with_a_threshold_are_those_with_a_workload_upstream():
    assert {name for name, case in CASES.items() if case.floor is not None} == set(UPSTREAM)


@pytest.mark.parametrize("name", UPSTREAM)
def test_case_has_the_numbers_of_upstream(name, shared):
    table = (shared / "data" / "expected" / "scheduler-perf.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(table)["workloads"]
    [row] = [row for row in rows if (row["test"], row["workload"]) == UPSTREAM[name]]
    case = CASES[name]
    assert case.floor == row["threshold_pods_per_second"]
    assert case.init == row["init_pods"]
    if name != "spread-default":  # 10,000 of its 50,000
        assert case.pods == row["measured_pods"]
