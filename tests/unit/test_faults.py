"""Faults of a scenario: who fails when, who comes back, and what is said about mistakes."""

from __future__ import annotations

from typing import get_args

import pytest

import sim
from sim.errors import ScenarioError
from sim.faults.targets import chosen
from sim.rng import Streams
from sim.scenario import Fault
from sim.scenario import faults as forms
from sim.scenario.presets import FAULT_PRESETS, SPOT_PRESETS
from tests.inline import CALM, a_deployment, a_pool, a_scenario

FOUR = [a_pool(4, zones=["a", "b"])]


def run(faults, nodes=FOUR, objects=(), **sections):
    sections.setdefault("run", {"duration": "1h", "seed": 1})
    return sim.run(
        a_scenario(objects, nodes=nodes, kubelet=CALM, faults=faults, **sections),
    )


def times(result, reason, name=None):
    """(second, node) of each event."""
    events = result.events[result.events["reason"] == reason]
    names = events["object"].str.removeprefix("Node/").tolist()
    found = zip(events["t_s"].tolist(), names, strict=True)
    return [(at_s, node) for at_s, node in found if name in (None, node)]


def seconds(result, reason, name=None):
    return [at_s for at_s, _ in times(result, reason, name)]


# --- once


@pytest.mark.parametrize(
    ("target", "names"),
    [
        # nodes are dealt to zones in turn: 0 and 2 are in a, 1 and 3 in b
        ({"zone": "b"}, ["pool-1", "pool-3"]),
        ({"node": "pool-2"}, ["pool-2"]),
        ({"nodes": ["pool-3", "pool-0"]}, ["pool-0", "pool-3"]),
        ({"pool": "pool"}, ["pool-0", "pool-1", "pool-2", "pool-3"]),
        ({"zone": "b", "correlated": "100%"}, ["pool-0", "pool-1", "pool-2", "pool-3"]),
        ({"zone": "b", "share": "100%"}, ["pool-1", "pool-3"]),
    ],
)
def test_nodes_of_a_fault_fail_and_come_back(target, names):
    result = run([{"at": "5m", "down": "10m", **target}])
    assert sorted(times(result, "NodeDown")) == [(300, name) for name in names]
    assert sorted(times(result, "NodeUp")) == [(900, name) for name in names]


def test_nodes_fail_for_good_unless_something_is_said():
    result = run([{"at": "5m", "node": "pool-0"}])
    assert seconds(result, "NodeUp") == []
    assert result.nodes.set_index("node").loc["pool-0", "down_s"] == 3300


def test_a_share_of_a_zone_fails():
    result = run([{"at": "5m", "zone": "a", "share": "30%"}], [a_pool(40, zones=["a", "b"])])
    failed = {name for _, name in times(result, "NodeDown")}
    assert len(failed) == 6  # 30 % of 20
    assert all(int(name.removeprefix("pool-")) % 2 == 0 for name in failed)


@pytest.mark.parametrize(
    ("count", "share", "number"),
    [(10, 0.0, 0), (10, 0.25, 3), (10, 0.24, 2), (10, 1.0, 10), (1, 0.5, 1), (0, 1.0, 0)],
)
def test_half_a_node_is_rounded_up(count, share, number):
    found = chosen(range(count), share, Streams(1)("x"))
    assert len(found) == len(set(found)) == number


def test_which_nodes_fail_does_not_depend_on_other_faults():
    pools = [a_pool(40, zones=["a", "b"])]
    fault = {"at": "5m", "zone": "a", "share": "30%"}
    alone = times(run([fault], pools), "NodeDown")
    late = {"at": "50m", "zone": "b", "share": "50%"}
    both = times(run([fault, late], pools), "NodeDown")
    assert [event for event in both if event[0] == 300] == alone


def test_a_partition_leaves_containers_alone():
    web = a_deployment("web", 4)
    result = run([{"at": "5m", "pool": "pool", "mode": "partition", "down": "2m"}], objects=[web])
    assert seconds(result, "NodeCutOff") == [300] * 4
    assert result.summary["restarts"] == 0


# --- again and again


def test_a_node_flaps_as_often_as_it_is_told():
    flap = {"up": "2m", "down": "1m", "times": 3}
    result = run([{"at": "5m", "node": "pool-0", "flap": flap}])
    # 5 min, then each 3 minutes
    assert times(result, "NodeDown") == [(s, "pool-0") for s in (300, 480, 660)]
    assert times(result, "NodeUp") == [(s, "pool-0") for s in (360, 540, 720)]


def test_an_outage_comes_again_so_long_after_the_end_of_the_last():
    every = {"constant": "10m"}
    result = run([{"every": every, "zone": "a", "down": "5m"}])
    # 10 min, back at 15; 25, back at 30; 40, back at 45; 55
    assert seconds(result, "NodeDown", "pool-0") == [600, 1500, 2400, 3300]
    assert seconds(result, "NodeUp", "pool-0") == [900, 1800, 2700]


def test_without_a_target_each_zone_fails_on_its_own():
    result = run([{"every": "10m", "down": "1s"}])
    first = [seconds(result, "NodeDown", name)[0] for name in ("pool-0", "pool-1", "pool-2")]
    assert first[0] == first[2] != first[1]  # 0 and 2 are in zone a


# --- each on its own


def test_nodes_are_repaired_in_place():
    result = run([{"mtbf": {"constant": "20m"}, "mttr": "5m", "pool": "pool"}])
    # 20 min of work, 5 of repair, 20 of work, 5 of repair, ten more
    assert seconds(result, "NodeDown", "pool-1") == [1200, 2700]
    assert seconds(result, "NodeUp", "pool-1") == [1500, 3000]
    assert len(result.nodes) == 4


def test_nodes_are_replaced_by_new_ones_of_their_pool_that_fail_in_turn():
    says = {"mtbf": {"constant": "20m"}, "mttr": "5m", "repair": "replace", "node": "pool-1"}
    result = run([says])
    nodes = result.nodes.set_index("node")
    assert list(nodes.index[4:]) == ["pool-4"]
    assert nodes.loc["pool-4", "zone"] == nodes.loc["pool-1", "zone"] == "b"
    assert seconds(result, "RegisteredNode", "pool-4") == [1500]
    # dead at 1200 s; Unknown 40 to 55 s later, the cloud controller looks each 5 s
    [(removed_s, name)] = times(result, "RemovingNode")
    assert name == "pool-1"
    assert 1240 <= removed_s <= 1260.2
    # the fault names pool-1, so its successor is none of its business
    assert seconds(result, "NodeDown") == [1200]
    whole = run([says | {"pool": "pool", "node": None}])
    assert seconds(whole, "NodeDown", "pool-4") == [2700]  # joined at 1500 s, 20 min of work


def test_a_replacement_takes_the_boot_time_of_its_pool_by_default():
    says = {"mtbf": {"constant": "20m"}, "repair": "replace", "node": "pool-1"}
    result = run([says], [a_pool(4, boot="7m")])
    assert seconds(result, "RegisteredNode", "pool-4") == [1620]


def test_a_new_node_has_the_taints_and_labels_of_its_pool_and_no_others():
    pool = a_pool(1, labels={"disk": "ssd"}, taints=[{"key": "own", "effect": "NoSchedule"}])
    scenario = a_scenario(
        nodes=[pool],
        faults=[{"mtbf": {"constant": "20m"}, "mttr": "2m", "repair": "replace"}],
    )
    simulation = sim.engine.Simulation(scenario)
    simulation.clock.run(1_321_000)
    table = simulation.cluster.nodes
    assert [taint.key for taint in table.taints(1)] == ["own"]
    # the dead one got unreachable:NoSchedule; no NoExecute taint while its zone is the only one
    assert len(table.taints(0)) == 1 + 1
    assert table.labels[1]["disk"] == "ssd"
    assert table.labels[1]["kubernetes.io/hostname"] == table.names[1] == "pool-1"


def test_machines_that_an_outage_destroys_are_replaced_when_it_is_over():
    result = run(
        [{"at": "5m", "zone": "a", "down": "10m", "lost": "10%"}],
        [a_pool(40, zones=["a", "b"], boot="4m")],
    )
    assert len(seconds(result, "NodeUp")) == 18  # of 20
    joined = [(s, name) for s, name in times(result, "RegisteredNode") if s]
    assert joined == [(1140, "pool-40"), (1140, "pool-41")]


def test_no_machine_starts_in_a_dark_zone():
    nodes = [a_pool(2, zones=["a", "b"], boot="1m")]
    dies = {"mtbf": {"constant": "4m"}, "repair": "replace", "node": "pool-0"}
    result = run([dies, {"at": "4m30s", "zone": "a", "down": "10m"}], nodes)
    # ordered at 4 min for 5 min; the zone is back at 14:30, and it boots then
    assert seconds(result, "RegisteredNode", "pool-2") == [870 + 60]


# --- by hand


def test_a_node_that_is_deleted_while_it_is_down_comes_back_as_a_new_one():
    result = run([{"at": "5m", "node": "pool-0", "down": "20m", "deleted": "5m"}])
    assert times(result, "RemovingNode") == [(600, "pool-0")]
    assert [(s, name) for s, name in times(result, "RegisteredNode") if s] == [(1500, "pool-4")]
    assert seconds(result, "NodeUp") == []
    assert result.nodes.set_index("node").loc["pool-0", "down_s"] == 300  # until it was deleted


def test_out_of_service_is_taken_away_when_the_node_is_back():
    result = run([{"at": "5m", "node": "pool-0", "down": "20m", "outOfService": "5m"}])
    events = result.events
    about = events[events["message"].str.contains("out-of-service")]
    assert about[["t_s", "reason"]].values.tolist() == [[600, "Tainted"], [1500, "Untainted"]]


# --- overlaps


def test_a_node_is_back_when_its_last_fault_is_over():
    first = {"at": "5m", "zone": "a", "down": "10m"}
    second = {"at": "10m", "node": "pool-0", "down": "10m"}
    result = run([first, second])
    assert seconds(result, "NodeUp", "pool-0") == [1200]
    assert seconds(result, "NodeUp", "pool-2") == [900]


# --- presets


@pytest.mark.parametrize("name", FAULT_PRESETS)
def test_a_preset_says_the_same_as_its_keys_written_out(name):
    said = Fault.model_validate({"preset": name})
    written = Fault.model_validate(dict(FAULT_PRESETS[name].says))
    assert said.model_copy(update={"preset": None}) == written
    assert FAULT_PRESETS[name].source


def test_what_stands_beside_a_preset_goes_before_it():
    fault = Fault.model_validate({"preset": "vm-2-years", "mttr": "1h", "pool": "pool"})
    assert fault.mttr.mean_ms == 3_600_000
    assert fault.mtbf.mean_ms == 2 * 8_760 * 3_600_000


def test_the_format_names_all_presets():
    assert set(get_args(forms.FaultPreset)) == set(FAULT_PRESETS)
    assert set(get_args(forms.SpotPreset)) == set(SPOT_PRESETS)


@pytest.mark.parametrize(
    ("name", "mean_h"),
    [
        ("google-2008", 8_760 * 1_800 / 1_000),
        ("vm-2-years", 2 * 8_760),
        ("kernel-hang", 8_760 / 0.2),
        ("gpu-2024", 24 * 1_000 / 3.8),
    ],
)
def test_presets_are_what_their_sources_say(name, mean_h):
    assert Fault.model_validate({"preset": name}).mtbf.mean_ms / 3_600_000 == pytest.approx(
        mean_h, rel=1e-4
    )


# --- mistakes


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"zone": "a"}, "faults[0]: expected exactly one of at, every, mtbf, trace."),
        ({"at": "1m"}, "faults[0]: expected exactly one of zone, node, nodes and pool."),
        ({"at": "1m", "zone": "c"}, "faults[0].zone: no zone 'c'. There are: a, b."),
        ({"at": "1m", "mtbf": "1h"}, "expected exactly one of at, every, mtbf, trace."),
        ({"every": "1h", "zone": "a"}, "expected down beside every, since it happens again."),
        ({"at": "1m", "zone": "a", "mttr": "1m"}, "mttr and repair go with mtbf; expected down."),
        ({"mtbf": "1h", "down": "1m"}, "down and flap do not go with mtbf; expected mttr."),
        ({"at": "1m", "zone": "a", "down": "0s"}, "got a down of 0; expected more than 0."),
        (
            {"at": "1m", "node": "pool-0", "correlated": 0.5},
            "correlated is about zones; expected a zone.",
        ),
        ({"at": "1m", "zone": "a", "share": "120%"}, "expected a percentage from 0% to 100%"),
        ({"mtbf": "1h", "slow": "50%"}, "slow and fillDisk stand alone"),
        ({"preset": "vm-2-year"}, "Did you mean 'vm-2-years'?"),
        ({"mtbf": "soon"}, "got 'soon'; expected a duration"),
        ({"at": "1m", "node": "pool-0", "flap": {"up": "1m"}}, "faults[0].flap.down: missing"),
    ],
)
def test_mistakes_are_told(fault, message):
    with pytest.raises(ScenarioError) as caught:
        a_scenario(nodes=FOUR, faults=[fault])
    assert message in str(caught.value)
