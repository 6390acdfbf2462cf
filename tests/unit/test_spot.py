"""Spot interruptions and maintenance windows: who goes when, and what becomes of its pods."""

from __future__ import annotations

import math

import pytest

import sim
from sim.errors import ScenarioError
from sim.faults.spot import rate_per_ms
from sim.tables import UNBOUND
from tests.inline import CALM, a_budget, a_deployment, a_pool, a_scenario
from tests.unit.test_faults import run, seconds, times

H = 3_600_000


def spot_pool(count=2, **spot):
    """A pool whose nodes are soon interrupted, and come again after five minutes."""
    said = {"monthlyInterruptions": 0.9999, **spot}
    return a_pool(count, boot="5m", spot=said)


YEAR = {"duration": "800h", "seed": 3, "sample": "10h"}


def test_five_percent_a_month_are_the_rate_that_is_published():
    assert rate_per_ms(0.05) * H == pytest.approx(7.1e-5, rel=0.01)  # -ln(0.95) / 720 h


def test_a_machine_goes_with_its_notice_and_another_comes_after_its_boot():
    result = run([], [spot_pool(1, notice="2m")], run=YEAR)
    noticed, down = seconds(result, "SpotInterruption"), seconds(result, "NodeDown")
    joined = [at_s for at_s in seconds(result, "RegisteredNode") if at_s]
    assert len(noticed) > 1
    for n, (at_s, down_s, joined_s) in enumerate(zip(noticed, down, joined, strict=False)):
        assert down_s == at_s + 120
        assert joined_s == down_s + 300
        assert times(result, "RegisteredNode")[n + 1][1] == f"pool-{n + 1}"


def test_reclaim_goes_before_the_boot():
    result = run([], [spot_pool(1, reclaim="1h")], run=YEAR)
    down_s = seconds(result, "NodeDown")[0]
    assert seconds(result, "RegisteredNode")[1] == down_s + 3_600 + 300


@pytest.mark.parametrize(("handling", "moved"), [("drain", True), ("none", False)])
def test_pods_move_at_the_notice_if_somebody_moves_them(handling, moved):
    steady = a_pool(1) | {"pool": "steady"}
    web = a_deployment("web", 4, terminationGracePeriodSeconds=30)
    pools = [steady, spot_pool(1, handling=handling)]
    result = run([], pools, [web, a_budget("web", maxUnavailable=0)], run=YEAR)
    [first_s, *_] = seconds(result, "SpotInterruption")
    evicted = [at_s for at_s in seconds(result, "Evicted") if at_s == first_s]
    pods = result.pods
    lost = pods[(pods["pool"] == "pool") & (pods["created_s"] < first_s)]
    assert len(lost) > 0
    assert len(evicted) == (len(lost) if moved else 0)  # budgets are not asked
    assert (lost["deleted_s"] == first_s).all() == moved


def test_a_correlated_interruption_strikes_many():
    result = run([], [spot_pool(40, correlated="100%", monthlyInterruptions="90%")], run=YEAR)
    by_time = {}
    for at_s, name in times(result, "SpotInterruption"):
        by_time.setdefault(at_s, []).append(name)
    # a share of 10 % to 100 %, on average 22 of 40
    assert max(map(len, by_time.values())) > 10


@pytest.mark.parametrize("correlated", ["0%", "50%", "100%"])
def test_the_rate_of_interruptions_does_not_depend_on_their_correlation(correlated):
    count = 0
    for seed in range(12):
        pool = spot_pool(20, correlated=correlated, monthlyInterruptions="50%", notice="0s")
        counted = {"duration": "8760h", "seed": seed, "sample": "1000h"}
        result = sim.run(a_scenario(nodes=[pool], kubelet=CALM, run=counted))
        count += len(seconds(result, "SpotInterruption"))
    # 12 years of 20 nodes, ln 2 a month of 720 h: 2,024; of a correlated event's 11 nodes on
    # average the count varies by E[k^2] / E[k] = 13.2 more than a Poisson count; 4 deviations
    mean = 12 * 20 * 8_760 / 720 * math.log(2)
    assert count == pytest.approx(mean, abs=4 * math.sqrt(mean * 13.2) + 0.01 * mean)


def test_spot_machines_cost_what_the_pool_says():
    pool = spot_pool(1, notice="0s") | {"pricePerHour": 0.1}
    result = run([], [pool], run=YEAR)
    nodes = result.nodes
    assert (nodes["price_usd_per_hour"] == 0.1).all()
    assert nodes["cost_usd"].sum() == pytest.approx(80, rel=0.01)  # 800 h, less some boots


# --- maintenance


def test_nodes_are_worked_on_one_after_the_other():
    result = maintained({"at": "10m", "pool": "pool", "duration": "5m"}, nodes=[a_pool(3)])
    # empty nodes go down at once
    assert times(result, "NodeDown") == [(600, "pool-0"), (900, "pool-1"), (1200, "pool-2")]
    assert times(result, "NodeUp") == [(900, "pool-0"), (1200, "pool-1"), (1500, "pool-2")]
    assert times(result, "NodeNotSchedulable") == times(result, "NodeDown")
    assert times(result, "NodeSchedulable") == times(result, "NodeUp")


def maintained(window, nodes, objects=(), **sections):
    return run([], nodes, objects, maintenance=[window], **sections)


def test_several_at_once():
    window = {"at": "10m", "zone": "a", "duration": "5m", "atOnce": 2}
    result = maintained(window, nodes=[a_pool(6, zones=["a", "b"])])
    assert times(result, "NodeDown") == [(600, "pool-0"), (600, "pool-2"), (900, "pool-4")]


def test_again_and_again():
    window = {"every": "20m", "nodes": ["pool-1"], "duration": "5m"}
    result = maintained(window, nodes=[a_pool(2)])
    assert times(result, "NodeDown") == [(1200, "pool-1"), (2400, "pool-1")]


def test_a_window_that_is_still_open_is_not_opened_again():
    window = {"every": "20m", "pool": "pool", "duration": "15m"}
    result = maintained(window, nodes=[a_pool(2)])
    assert seconds(result, "NodeDown") == [1200, 2100]  # until 3000 s; next at 3600 s


def test_pods_are_evicted_before_the_node_goes_down():
    web = a_deployment("web", 6)
    window = {"at": "10m", "pool": "pool", "duration": "5m", "notice": "10m"}
    result = maintained(window, nodes=[a_pool(3)], objects=[web])
    assert result.summary["restarts"] == 0
    assert len(seconds(result, "Evicted")) >= 6
    assert seconds(result, "TaintManagerEviction") == []


@pytest.mark.parametrize(
    ("budget", "down_s"),
    [
        pytest.param({"maxUnavailable": "100%"}, 601, id="looks again after a second"),
        # one at 600 s; it is replaced, the second is tried at 605 s, the third at 610 s
        pytest.param({"maxUnavailable": 1}, 611, id="one at a time, tried each 5 s"),
        pytest.param({"maxUnavailable": 0}, 600 + 420, id="never, so at the end of the notice"),
    ],
)
def test_budgets_hold_evictions_back(budget, down_s):
    web = a_deployment("web", 3)
    later = [{"key": "later", "effect": "NoSchedule"}]
    scenario = a_scenario(
        [web, a_budget("web", **budget)],
        nodes=[a_pool(1) | {"pool": "old"}, a_pool(1, taints=later)],
        kubelet=CALM,
        controlPlane={"ideal": True},
        maintenance=[{"at": "10m", "pool": "old", "duration": "5m", "notice": "7m"}],
    )
    simulation = sim.engine.Simulation(scenario)
    simulation.clock.run(300_000)
    assert simulation.cluster.nodes.pods[0]
    simulation.cluster.set_taints(1, ())
    result = simulation.run()
    assert seconds(result, "NodeDown") == [down_s]


def test_a_node_that_was_cordoned_before_stays_cordoned():
    scenario = a_scenario(
        nodes=[a_pool(1)],
        maintenance=[{"at": "10m", "pool": "pool", "duration": "5m"}],
    )
    simulation = sim.engine.Simulation(scenario)
    simulation.cluster.set_unschedulable(0, True)
    simulation.run()
    assert simulation.cluster.nodes.unschedulable[0]
    assert simulation.cluster.nodes.up[0]


def test_everything_runs_again_after_a_window():
    web = a_deployment("web", 6)
    window = {"at": "10m", "pool": "pool", "duration": "5m", "atOnce": 3}
    scenario = a_scenario([web], nodes=[a_pool(3)], maintenance=[window], kubelet=CALM)
    simulation = sim.engine.Simulation(scenario)
    simulation.run()
    pods = simulation.cluster.pods
    assert int(pods.ready[: len(pods)].sum()) == 6
    assert (pods.node[: len(pods)][pods.ready[: len(pods)]] != UNBOUND).all()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"maintenance": [{"pool": "pool", "duration": "5m"}]}, "expected either at or every."),
        (
            {"maintenance": [{"at": "1m", "duration": "5m"}]},
            "expected exactly one of nodes, pool and zone.",
        ),
        (
            {"maintenance": [{"at": "1m", "nodes": ["pool-9"], "duration": "5m"}]},
            "maintenance[0].nodes[0]: no node 'pool-9'.",
        ),
        ({"nodes": [a_pool(spot={"preset": "aws", "notice": "soon"})]}, "nodes[0].spot.notice"),
        ({"nodes": [a_pool(spot={"monthlyInterruptions": "100%"})]}, "expected less than 1"),
    ],
)
def test_mistakes_are_told(sections, message):
    with pytest.raises(ScenarioError) as caught:
        a_scenario(**{"nodes": [a_pool()], **sections})
    assert message in str(caught.value)


def test_a_graceful_shutdown_ends_pods_within_the_notice():
    pool = spot_pool(1, handling="shutdown") | {"shutdownGracePeriod": "1m"}
    result = run([], [a_pool(1) | {"pool": "steady"}, pool], [a_deployment("web", 4)], run=YEAR)
    noticed_s = seconds(result, "SpotInterruption")[0]
    down_s = seconds(result, "NodeDown")[0]
    assert noticed_s <= down_s <= noticed_s + 60  # the pods stop at once, and so does the node
    assert seconds(result, "RegisteredNode")[2] == noticed_s + 120 + 300
