"""Losses in turn: what each one adds, which are tried, the fewest that break an expectation."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import sim
from sim import whatif
from sim.aftermath import Refused, Shortage, Staffing
from sim.cases import _new
from sim.cli import main
from sim.losses import natural
from sim.whatif import Looked, _with_sum
from sim.workers import DIED, Done, workers
from tests.inline import CALM, a_budget, a_deployment, a_pool, a_scenario, a_service

ROOT = Path(__file__).parents[2]
UNREACHABLE = "had untolerated taint {node.kubernetes.io/unreachable: }"
CALM_SECTIONS = {
    "kubelet": CALM,
    "controlPlane": {"ideal": True},
    "scheduler": {"tieBreak": "first"},
}


def a_run(objects, nodes, **sections):
    """A scenario of one hour in which nothing takes time on nodes or in the control plane."""
    return a_scenario(objects, nodes=nodes, **CALM_SECTIONS, **sections)


def a_small_and_a_big_node():
    """The database asks 6 cores, which only the big node has; web fits anywhere."""
    return a_run(
        [a_deployment("database", cpu="6"), a_deployment("web", 2, cpu="1")],
        [a_pool(1, cpu=8) | {"pool": "big"}, a_pool(2, cpu=4) | {"pool": "small"}],
    )


def two_special_nodes(**sections):
    """One pod that runs on two special nodes only, beside three others with web on them."""
    model = a_deployment("model", cpu="1", nodeSelector={"kind": "special"})
    special = a_pool(2) | {"pool": "special", "labels": {"kind": "special"}}
    sections = {"expect": ["pending.end == 0"]} | sections
    return a_run([model, a_deployment("web", 3, cpu="1")], [a_pool(3), special], **sections)


def web_with_a_budget(**sections):
    """Two pods that fill a node each, a budget that wants both, a Service in front of them."""
    objects = [a_deployment("web", 2, cpu="3"), a_service(), a_budget(minAvailable=2)]
    traffic = [{"service": "default/web", "rps": 10}]
    return a_run(objects, [a_pool(2)], traffic=traffic, **sections)


def the_case(found, name):
    return next(case for case in found.cases if case.name == name)


# What a loss adds


def test_only_the_loss_of_the_big_node_makes_the_database_wait():
    found = sim.what_if(a_small_and_a_big_node())
    # 4 cores are less than 6 on both small nodes; web's pods (1 core) fit beside each other
    reason = f"0/3 nodes are available: 1 node(s) {UNREACHABLE}, 2 Insufficient cpu."
    waits = Refused("default/Deployment/database", most=1, at_end=1, reason=reason)
    assert {case.name: case.refused for case in found.cases} == {
        "big-0": (waits,),
        "small-0": (),
        "small-1": (),
    }
    assert found.cases[0].name == "big-0"


def test_without_a_word_nodes_are_lost_in_the_middle_after_the_warm_up_and_for_good():
    run = {"duration": "1h", "warmUp": "10m"}
    scenario = a_scenario([a_deployment()], nodes=[a_pool(2)], run=run)
    document = sim.what_if(scenario).as_dict()
    assert (document["at_s"], document["down_s"], document["end_s"]) == (35 * 60, None, 3600)


def test_a_budget_is_short_as_long_as_the_node_is_down():
    found = sim.what_if(web_with_a_budget(), at="30m", down="2m")
    short = Shortage("PodDisruptionBudget", "default/web", ("default/web",), 2, 1, 120_000)
    for case in found.cases:
        assert case.shortages == (short,)  # the Service still has an endpoint
        assert case.recovered_ms == 120_000  # pods start in no time, as does everything here
        assert case.refused == ()


@pytest.mark.parametrize(
    ("replicas", "outage_ms", "share"),
    [pytest.param(1, 60_000, 1, id="the only pod"), pytest.param(2, 0, 0.5, id="one of two")],
)
def test_requests_fail_until_the_node_is_back(replicas, outage_ms, share):
    # Down for a minute, but its endpoint is taken off after 40 s to 55 s (the lease expires, and a
    # monitor pass sees it), so that one of two pods loses half of 10 requests a second until then;
    # the only pod fails all of them for the whole minute.
    objects = [a_deployment("web", replicas, cpu="3"), a_service()]
    traffic = [{"service": "default/web", "rps": 10}]
    scenario = a_run(objects, [a_pool(replicas)], traffic=traffic)
    case = sim.what_if(scenario, at="30m", down="1m").cases[0]
    assert case.short_ms("Service") == outage_ms
    (name, failed), *_ = case.failed
    assert name == "default/web"
    if share == 1:
        assert failed == pytest.approx(600)
    else:
        assert 200 <= failed <= 275


def test_what_happens_without_the_loss_is_not_counted():
    # Node 0 fails by itself at the same moment: losing it as well adds nothing to that. With
    # another one lost 2 of 4 pods wait, 1 of them anyway (half of the nodes: pods are evicted).
    faults = [{"at": "30m", "node": "pool-0"}]
    scenario = a_run([a_deployment("web", 4, cpu="3")], [a_pool(4)], faults=faults)
    found = sim.what_if(scenario, at="30m")
    assert the_case(found, "pool-0").harmless
    assert [refused.at_end for refused in the_case(found, "pool-1").refused] == [1]
    assert "The scenario's own fault happens in every run too." in found.report()


def test_a_zone_is_lost_with_all_its_nodes():
    scenario = a_run([a_deployment("web", 4, cpu="3")], [a_pool(4) | {"zones": ["a", "b"]}])
    found = sim.what_if(scenario, "zone")
    assert [(case.name, case.nodes, case.pods) for case in found.cases] == [
        ("zone a", ("pool-0", "pool-2"), 2),
        ("zone b", ("pool-1", "pool-3"), 2),
    ]
    assert [case.waiting_at_end for case in found.cases] == [2, 2]  # 3 cores a pod, 4 a node


def test_pods_that_cannot_run_do_not_hold_up_the_recovery():
    # Three pods fill three nodes of 4 cores, the fourth node has room for one more of them.
    scenario = a_run([a_deployment("web", 3, cpu="3")], [a_pool(4)])
    found = sim.what_if(scenario, "2-nodes", at="20m")
    case = next(case for case in found.cases if case.pods == 2)
    assert case.waiting_at_end == 1
    assert case.missing == ()
    # 40 s to 55 s until the node is NotReady, 300 s of toleration; then the other one finds a node
    assert 340_000 <= case.recovered_ms <= 360_000


def test_expectations_that_fail_anyway_are_named_but_not_broken():
    scenario = two_special_nodes(expect=["pending.end == 0", "requested.cpu >= 100%"])
    found = sim.what_if(scenario)
    assert not found.breaks
    assert "already not met, and so not counted: requested.cpu >= 100%." in found.report()


# Spans


@pytest.mark.parametrize(
    ("levels", "target", "spans"),
    [
        (((0, 3),), 3, []),
        (((0, 3), (10, 2), (15, 3)), 3, [(10, 15)]),
        (((0, 3), (10, 2), (12, 1), (15, 3)), 3, [(10, 15)]),
        (((0, 3), (10, 2), (12, 1), (15, 3)), 2, [(12, 15)]),
        (((0, 3), (10, 2), (15, 3), (20, 0)), 3, [(10, 15), (20, float("inf"))]),
    ],
)
def test_spans_with_too_few_pods(levels, target, spans):
    assert Staffing("web", 3, levels).short(target) == spans


@pytest.mark.parametrize(
    ("span", "new"),
    [
        ((100_000, 200_000), False),
        ((100_000, 260_000), False),  # a minute later than usual
        ((100_000, 260_001), True),
        ((40_000, 150_000), False),
        ((39_999, 150_000), True),
        ((500_000, float("inf")), True),
    ],
)
def test_trouble_is_new_unless_the_run_has_it_within_a_minute_anyway(span, new):
    assert _new(span, [(100_000, 200_000)]) == new


# Which losses


def test_each_kind_is_tried_before_any_is_tried_twice():
    scenario = a_run([a_deployment("web", cpu="1")], [a_pool(6)])
    found = sim.what_if(scenario, most=2)
    # one node with web's only pod, five empty ones
    assert [case.pods for case in found.cases] == [1, 0]
    choice = found.choice
    assert (choice.of, choice.kinds, choice.kinds_tried) == (6, 2, 2)
    assert "2 of 6 nodes were tried" in found.report()
    assert "4 were left out" in found.report()


def test_pairs_that_take_the_last_pods_away_come_first():
    # four pods of web on four nodes, one of two nodes more has the only pod of model
    objects = [a_deployment("web", 4, cpu="3"), a_deployment("model", cpu="2")]
    scenario = a_run(objects, [a_pool(6)])
    found = sim.what_if(scenario, "2-nodes", most=1)
    (loss,) = found.choice.losses
    assert loss.mix == {"default/Deployment/web": 1, "default/Deployment/model": 1}
    # 6 * 5 / 2 pairs; kinds: web-web, web-model, web-empty, model-empty
    assert (found.choice.of, found.choice.kinds) == (15, 4)


def test_names_are_sorted_as_people_count():
    assert sorted(["n-10", "n-9", "m-11"], key=natural) == ["m-11", "n-9", "n-10"]


@given(st.integers(1, 7), st.integers(1, 4))
def test_every_set_comes_once_the_worst_first(count, size):
    sums = range(size * count)
    sets = [places for total in sums for places in _with_sum(total, size, 0, count)]
    assert sorted(sets) == list(combinations(range(count), size))
    assert [sum(places) for places in sets] == sorted(map(sum, sets))


# The search


def test_the_search_finds_the_two_special_nodes():
    found = sim.what_if(two_special_nodes(), search=True)
    search = found.search
    assert search.found.nodes == ("special-0", "special-1")
    ((text, value),) = [(v.text, v.value) for v in search.found.broken]
    assert (text, value) == ("pending.end == 0", 1)  # model waits
    assert search.looked[0] == Looked(1, 5, 5)  # no single node breaks it
    assert search.looked[1].of == 10  # 5 * 4 / 2
    report = found.report()
    assert "Found: special-0 + special-1. Breaks pending.end == 0: 1" in report
    assert "No smaller set does." in report


@pytest.mark.parametrize(
    ("most", "looked", "words"),
    [
        (3, (Looked(1, 3, 5),), "Tried: 3 of 5 nodes; the budget of 3 runs is used up"),
        (5, (Looked(1, 5, 5),), "Tried: all 5 nodes; the budget of 5 runs is used up"),
    ],
)
def test_a_search_says_how_far_it_came(most, looked, words):
    found = sim.what_if(two_special_nodes(), search=True, most=most)
    assert found.search.found is None
    assert found.search.looked == looked
    assert words in " ".join(found.report().split())


def test_a_search_ends_when_all_is_lost():
    scenario = a_run([], [a_pool(3)], expect=["pending.end == 0"])
    found = sim.what_if(scenario, search=True)
    assert found.search.looked == (Looked(1, 3, 3), Looked(2, 3, 3), Looked(3, 1, 1))
    assert "None was found. Tried: all 3 nodes, all 3 sets of 2, all 1 sets of 3." in " ".join(
        found.report().split()
    )


# Errors


def test_a_case_that_cannot_be_run_does_not_end_the_others(monkeypatch):
    plain = whatif._with_loss

    def failing(plan, nodes):
        if nodes == (1,):
            raise ZeroDivisionError("of a plugin")
        return plain(plan, nodes)

    monkeypatch.setattr(whatif, "_with_loss", failing)
    found = sim.what_if(a_small_and_a_big_node())
    assert [bool(case.error) for case in found.cases] == [True, False, False]
    assert the_case(found, "small-0").error == "ZeroDivisionError: of a plugin"
    assert found.breaks
    assert "Could not be run: ZeroDivisionError: of a plugin" in found.report()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": "1h"}, "at: got 1h; the run ends at 1h"),
        ({"at": "soon"}, "at: "),
        ({"down": "0s"}, "down: got 0s; expected a duration such as 20m, or forever"),
        ({"lose": "zones"}, "Did you mean 'zone'?"),
        ({"lose": "zone"}, "no node is in a zone"),
        ({"most": 0}, "most: got 0"),
        ({"jobs": 0}, "got 0 jobs"),
        ({"search": True}, "inline has no `expect:`"),
        ({"search": True, "lose": "2-nodes"}, "expected lose node or zone"),
    ],
)
def test_wrong_words_are_one_clear_message(options, message):
    with pytest.raises(sim.SimError) as caught:
        sim.what_if(a_small_and_a_big_node(), **options)
    assert message in str(caught.value)


def test_a_search_needs_an_expectation_that_holds_without_a_loss():
    scenario = two_special_nodes(expect=["pending.end > 0"])
    with pytest.raises(sim.SimError, match="already fails without a loss"):
        sim.what_if(scenario, search=True)


# The command line

FILES = {
    "scenario.json": {
        "apiVersion": "sim/v1",
        "kind": "Scenario",
        "metadata": {"name": "two"},
        "run": {"duration": "1h"},
        "nodes": [a_pool(2)],
        "manifests": ["web.json"],
        "expect": ["pending.end == 0"],
        **CALM_SECTIONS,
    },
    "web.json": a_deployment("web", 2, cpu="3"),
}


@pytest.fixture
def two_full_nodes(tmp_path):
    """The path of a scenario in which every lost node leaves a pod that fits nowhere."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "scenario.json"


def call(*words):
    return CliRunner().invoke(main, ["what-if", *map(str, words)])


def test_the_exit_code_says_whether_an_expectation_breaks(two_full_nodes):
    assert call(two_full_nodes).exit_code == 1
    assert call(two_full_nodes, "--set", "nodes[0].count=3").exit_code == 0
    assert call(two_full_nodes, "--at", "2h").exit_code == 2
    assert call(two_full_nodes, "--set", "expect=[]", "--search").exit_code == 2


def test_alike_nodes_are_told_once(two_full_nodes):
    printed = call(two_full_nodes).stdout
    assert "pool-0 ×2" in printed
    assert "Breaks pending.end == 0: 1" in printed


def test_json_has_every_case(two_full_nodes):
    document = json.loads(call(two_full_nodes, "--format", "json").stdout)
    assert document["losses"] == {"possible": 2, "tried": 2, "kinds": 1, "kinds_tried": 1}
    assert [case["nodes"] for case in document["cases"]] == [["pool-0"], ["pool-1"]]
    assert {case["refused"][0]["at_end"] for case in document["cases"]} == {1}


def test_out_is_written_again_but_nothing_else_is_touched(two_full_nodes, tmp_path):
    place = tmp_path / "out"
    for _ in range(2):
        call(two_full_nodes, "--out", place)
        assert {path.name for path in place.iterdir()} == set(whatif.FILES)
    assert (place / "what-if.txt").read_text() == call(two_full_nodes).stdout
    (place / "notes.txt").write_text("mine")
    refused = call(two_full_nodes, "--out", place)
    assert refused.exit_code == 2
    assert "holds notes.txt" in refused.stderr


def test_the_table_has_a_row_per_case(two_full_nodes):
    table = sim.what_if(sim.load(two_full_nodes)).table
    assert table["case"].tolist() == ["pool-0", "pool-1"]
    assert table["waiting_end"].tolist() == [1, 1]


# Processes


def test_outcomes_keep_the_order_and_errors_stay_with_their_items():
    with workers(partial(divmod, 10)) as spread:
        assert list(spread([5, 0, 4])) == [
            Done((2, 0)),
            Done(None, "ZeroDivisionError: integer division or modulo by zero"),
            Done((2, 2)),
        ]


KILLED = """\
import os
import sys
from sim.workers import workers

def task(number):
    if number == 3:
        os._exit(1)
    return number * number

if __name__ == "__main__":
    with workers(task, 2) as spread:
        for done in spread(range(6)):
            print(done.answer, done.error)
"""


@pytest.mark.processes
def test_an_item_that_kills_its_process_twice_is_an_error_and_the_others_are_done(tmp_path):
    pytest.importorskip("distributed")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    ran = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert ran.stdout.splitlines() == ["0 ", "1 ", "4 ", f"None {DIED}", "16 ", "25 "]


@pytest.mark.processes
@pytest.mark.parametrize("words", [["--lose", "node"], ["--search", "--set", "nodes[0].count=3"]])
def test_the_number_of_processes_changes_no_byte(two_full_nodes, words):
    pytest.importorskip("distributed")
    printed = {
        subprocess.run(
            [sys.executable, "-m", "sim", "what-if", two_full_nodes, *words, *jobs],
            capture_output=True,
            cwd=ROOT,
            check=False,
        ).stdout
        for jobs in ([], ["-j", "1"], ["-j", "2"])
    }
    assert len(printed) == 1
    assert printed.pop().startswith(b"two: ")
