"""Comparisons: the same seeds for all, paired differences, what moved and what did not."""

from __future__ import annotations

import json
import math
import pickle

import pytest
from click.testing import CliRunner

import sim
from sim.cli import main
from sim.comparison import MEASURES, Difference, difference, nodes_used, student_t
from sim.errors import SimError
from sim.report.comparison import _difference
from sim.result import Result
from sim.schema import SUMMARY
from tests.unit.results import a_pod, an_info, frames

SCENARIO = """\
apiVersion: sim/v1
kind: Scenario
metadata: {name: two-pods}
run: {duration: 10m, seed: 3}
scheduler: {tieBreak: first}
nodes:
  - {pool: general, count: 2, capacity: {cpu: 4, memory: 16Gi}, provider: kubeadm}
manifests: [pods.yaml]
"""
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers: [{name: a, image: "a:1", resources: {requests: {cpu: 1, memory: 4Gi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  containers: [{name: a, image: "a:1", resources: {requests: {cpu: 1, memory: 4Gi}}}]
"""
PACK = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
  - schedulerName: default-scheduler
    pluginConfig:
      - name: NodeResourcesFit
        args:
          scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}
    plugins:
      score: {disabled: [{name: NodeResourcesBalancedAllocation}]}
"""
ARRIVALS = """\
arrivals:
  - name: job
    every: {exponential: 5s}
    runtime: {exponential: 30s}
    template: job.yaml
"""


@pytest.fixture
def two_pods(tmp_path):
    """Two nodes of 4 cores and two pods of one core each."""
    (tmp_path / "pods.yaml").write_text(PODS)
    (tmp_path / "pack.yaml").write_text(PACK)
    (tmp_path / "job.yaml").write_text(PODS.split("---")[0])
    path = tmp_path / "two-pods.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def packed(two_pods):
    """The least allocated node against the most allocated one."""
    scenario = sim.load(two_pods)
    config = str(two_pods.with_name("pack.yaml"))
    packing = scenario.replace({"scheduler.config": config})
    return sim.compare({"spread": scenario, "pack": packing})


def call(*words):
    return CliRunner().invoke(main, ["compare", *map(str, words)])


# Numbers


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # of Student's t at 97.5 %, from printed tables
    [(1, 12.706), (4, 2.776), (9, 2.262), (10, 2.228), (20, 2.086), (30, 2.042), (120, 1.980)],
)
def test_quantiles_of_students_t(freedom, quantile):
    assert student_t(freedom) == pytest.approx(quantile, abs=6e-4)


@pytest.mark.parametrize(
    ("values", "mean", "half_width", "holds_zero"),
    [
        # standard deviation 1, 4.3027 * 1 / sqrt(3)
        pytest.param([1, 2, 3], 2, 4.3027 / math.sqrt(3), True, id="few runs tell little"),
        # standard deviation sqrt(8 * 0.25 / 7), t of 7 degrees 2.3646, / sqrt(8)
        pytest.param(
            [1.5, 2.5] * 4, 2, 2.3646 * math.sqrt(2 / 7) / math.sqrt(8), False, id="told apart"
        ),
        pytest.param([0, 0, 0], 0, 0, True, id="no difference at all"),
        pytest.param([2, 2], 2, 0, False, id="the same difference each time"),
        pytest.param([2], 2, math.nan, True, id="one run has no interval"),
    ],
)
def test_paired_differences(values, mean, half_width, holds_zero):
    found = difference(values)
    assert found.mean == mean
    assert found.half_width == pytest.approx(half_width, nan_ok=True)
    assert found.holds_zero == holds_zero


def test_nodes_used_counts_a_node_once_however_many_pods_it_has():
    pods = [
        a_pod("a", node="x", scheduled_s=0.0, finished_s=50.0),
        a_pod("b", node="x", scheduled_s=40.0, finished_s=60.0),
        a_pod("c", node="x", scheduled_s=80.0),
        a_pod("d", node="y", scheduled_s=90.0, finished_s=95.0),
        a_pod("e", node="", scheduled_s=math.nan),
    ]
    info = an_info(duration_s=100.0, warm_up_s=20.0)
    # x from 20 to 60 and from 80 to 100, y 5 s: (40 + 20 + 5) / 80
    assert nodes_used(Result(frames(pods=pods), {}, info)) == pytest.approx(65 / 80)


def test_measures_without_a_formula_are_summary_numbers_of_the_same_unit():
    for measure in MEASURES:
        if measure.of is None:
            unit = SUMMARY[measure.name].unit
            assert unit == measure.unit or (unit, measure.unit) == ("pods", "count")


# Runs


def test_packing_puts_both_pods_on_one_node(packed):
    table = packed.table
    # 4Gi of 16Gi and 1 of 4 cores each: a quarter on both nodes, or a half and nothing
    assert table.loc["nodes.used", "spread"] == pytest.approx(2, rel=0.01)
    assert table.loc["nodes.used", "pack"] == pytest.approx(1, rel=0.01)
    assert table.loc["balance.cpu", "spread"] == pytest.approx(0, abs=1e-9)
    assert table.loc["balance.cpu", "pack"] == pytest.approx(1 / 4, rel=0.1)
    assert table.loc["attempts", ["spread", "pack"]].tolist() == [2, 2]


def test_only_the_pods_that_moved_are_listed(packed):
    assert packed.moved.to_dict("records") == [
        {"pod": "default/two", "spread": "general-1", "pack": "general-0"}
    ]
    assert packed.pods == 2
    assert "1 of 2 pods that exist in every run are not on the same node" in str(packed)


def test_a_scenario_equals_itself_with_every_seed(two_pods):
    two_pods.write_text(SCENARIO.replace("tieBreak: first", "tieBreak: random") + ARRIVALS)
    scenario = sim.load(two_pods)
    found = sim.compare([scenario, scenario], replications=3)
    assert found.names == ("A", "B")
    assert found.seeds == (3, 4, 5)
    assert found.moved.empty
    for measure in MEASURES:
        same = found.differences[measure.name, "B"]
        assert (same.mean, same.half_width) == (0, 0) or math.isnan(same.mean)
    runs = found.runs[found.runs["variant"] == "A"]
    assert runs["attempts"].nunique() > 1, "other seeds draw other arrivals"


def test_a_run_of_the_comparison_is_the_run_of_that_seed(two_pods):
    two_pods.write_text(SCENARIO + ARRIVALS)
    scenario = sim.load(two_pods)
    found = sim.compare([scenario, scenario], seed=8, replications=2)
    alone = sim.run(scenario, seed=9).summary
    row = found.runs[(found.runs["seed"] == 9) & (found.runs["variant"] == "B")].iloc[0]
    for name in ("requested.cpu", "pending.seconds.p95", "stranded.memory"):
        assert row[name] == alone[name]


def test_pods_that_wait_or_do_not_exist_elsewhere_are_told_apart(two_pods):
    fewer = two_pods.with_name("fewer.yaml")
    fewer.write_text(SCENARIO.replace("cpu: 4,", "cpu: 1500m,").replace("count: 2", "count: 1"))
    three = two_pods.with_name("three.yaml")
    three.write_text(SCENARIO.replace("pods.yaml", "more.yaml"))
    two_pods.with_name("more.yaml").write_text(
        PODS + "---\n" + PODS.split("---")[0].replace("one", "three")
    )
    printed = call(two_pods, "--against", fewer, "--against", three)
    assert printed.exit_code == 0
    rows = [line.split() for line in printed.stdout.splitlines() if line.startswith("  default/")]
    assert rows == [
        ["default/two", "general-1", "(waits)", "general-1"],
        ["default/three", *["(does", "not", "exist)"] * 2, "general-0"],
    ]


def test_the_value_can_be_pickled(packed):
    again = pickle.loads(pickle.dumps(packed))
    assert again.table.equals(packed.table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scenario: sim.compare([scenario]), "got 1 scenarios; expected two or more"),
        (
            lambda scenario: sim.compare([scenario] * 2, replications=0),
            "got 0 replications; expected 1 or more",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(two_pods, change, message):
    with pytest.raises(SimError, match=message):
        change(sim.load(two_pods))


# The command


def test_one_configuration_is_compared_with_the_scenario_as_it_is(two_pods):
    printed = call(two_pods, "--config", two_pods.with_name("pack.yaml"))
    assert printed.exit_code == 0
    assert printed.stdout.startswith("two-pods against pack\n")
    assert "One seed is one draw" in printed.stdout


def test_several_configurations_are_compared_with_each_other(two_pods):
    pack = two_pods.with_name("pack.yaml")
    words = ["--config", "default", "--config", pack, "--replications", 2, "--format", "json"]
    document = json.loads(call(two_pods, *words).stdout)
    assert document["variants"] == ["default", "pack"]
    assert document["seeds"] == [3, 4]
    nodes = next(m for m in document["measures"] if m["name"] == "nodes.used")
    assert nodes["differences"]["pack"]["mean"] == pytest.approx(-1, rel=0.01)
    assert nodes["differences"]["pack"]["holds_zero"] is False
    assert document["placed_differently"] == [
        {"pod": "default/two", "default": "general-1", "pack": "general-0"}
    ]


def test_changes_hold_for_all(two_pods):
    pack = two_pods.with_name("pack.yaml")
    words = ["--config", pack, "--config", pack, "--set", "nodes[0].count=5", "--format", "json"]
    document = json.loads(call(two_pods, *words).stdout)
    assert document["variants"] == ["1:pack", "2:pack"]
    balance = next(m for m in document["measures"] if m["name"] == "balance.cpu")
    # one node with 2 of 4 cores, four with none: mean 0.1, sqrt((0.4² + 4 * 0.1²) / 5) = 0.2
    assert balance["values"]["1:pack"] == pytest.approx(0.2, rel=0.1)


def test_problems_of_all_configurations_come_at_once(two_pods):
    for name, wrong in (("one", "parallelism: 0"), ("two", "percentageOfNodesToScore: 150")):
        two_pods.with_name(f"{name}.yaml").write_text(f"{PACK}{wrong}\n")
    files = [two_pods.with_name(f"{name}.yaml") for name in ("one", "two")]
    printed = call(two_pods, "--config", files[0], "--config", files[1])
    found = [line.partition(": ")[2] for line in printed.stderr.splitlines()]
    assert found[:2] == [
        "parallelism: got 0; expected a whole number of at least 1",
        "percentageOfNodesToScore: got 150; expected a whole number of at most 100",
    ]


def test_runs_that_place_all_pods_alike_say_so(two_pods):
    same = ["--config", "default", "--config", "default"]
    assert "2 pods in every run, each on the same node everywhere" in call(two_pods, *same).stdout


def test_runs_without_a_pod_in_common_list_none(two_pods):
    other = two_pods.with_name("other.yaml")
    other.write_text(SCENARIO.replace("pods.yaml", "job.yaml"))
    two_pods.with_name("job.yaml").write_text(PODS.split("---")[0].replace("one", "three"))
    printed = call(two_pods, "--against", other).stdout
    assert "No pod exists in every run (seed 3).\n  3 pods do not exist in every run." in printed
    assert "default/three" not in printed


def test_a_cost_without_prices_is_unknown_not_nothing(packed):
    assert math.isnan(packed.table.loc["cost", "spread"])


@pytest.mark.parametrize(
    ("mean", "half_width", "shown"),
    [
        (-0.02, 0.01, "≈0"),  # both would be shown as 0.0
        (-0.02, 0.3, "-0.0 ± 0.3"),
        (0.0, 0.0, "0"),
        (-2.0, 0.0, "-2 ± 0 *"),
    ],
)
def test_differences_too_small_to_show_are_about_nothing(mean, half_width, shown):
    measure = next(measure for measure in MEASURES if measure.name == "nodes.used")
    assert _difference(measure, Difference(mean, half_width), several=True) == shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to compare with; expected --config FILE or --against SCENARIO"),
        (["--config", "missing.yaml"], "--config: there is no such file, 'missing.yaml'"),
        (["--config", "."], "--config: there is no such file, '.'"),
        (["--against", "missing.yaml"], "missing.yaml"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(two_pods, words, message):
    printed = call(two_pods, *words)
    assert (printed.exit_code, printed.stdout) == (2, "")
    assert message in printed.stderr
