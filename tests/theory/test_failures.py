"""Nodes that fail at random, against renewal theory."""

from __future__ import annotations

import math

import pytest

import sim
from tests.inline import CALM, a_pool, a_scenario
from tests.theory.intervals import assert_mean

YEAR_H = 8_760
NODES = 10


def year(seed, **fault):
    """Failures of 10 nodes in a year, and the share of time that they worked."""
    scenario = a_scenario(
        nodes=[a_pool(NODES, zones=["a", "b", "c"])],
        run={"duration": f"{YEAR_H}h", "seed": seed, "sample": "1000h"},
        kubelet=CALM,
        controlPlane={"ideal": True},
        faults=[fault],
    )
    result = sim.run(scenario)
    failures = int((result.events["reason"] == "NodeDown").sum())
    return failures, 1 - result.nodes["down_s"].sum() / (NODES * YEAR_H * 3_600)


@pytest.mark.parametrize(
    "mtbf",
    [
        pytest.param("200h", id="exponential"),
        pytest.param({"weibull": {"mean": "200h", "shape": 0.7}}, id="weibull: early deaths"),
        pytest.param({"weibull": {"mean": "200h", "shape": 3}}, id="weibull: ageing"),
        # exp(0.8^2 / 2) = 1.377: mean 200 h
        pytest.param({"lognormal": {"median": "145h14m", "sigma": 0.8}}, id="lognormal"),
    ],
)
def test_availability_is_mtbf_over_mtbf_and_mttr(mtbf):
    # Renewal theory: 200 / (200 + 50) of the time, however the times are distributed. All begin
    # with a whole time of work: at most one repair in 44 too few.
    repair = {"exponential": "50h"}
    found = [year(seed, mtbf=mtbf, mttr=repair)[1] for seed in range(8)]
    assert_mean([1 - share for share in found], 0.2, bias=0.2 / 44)


def test_failures_are_a_poisson_process_where_repair_takes_no_time():
    # 10 * 8760 h / 500 h = 175.2; mean and variance are the same
    counts = [year(seed, mtbf="500h", mttr="1s")[0] for seed in range(40)]
    mean = NODES * YEAR_H / 500
    assert_mean(counts, mean)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    # the variance of 40 Poisson counts has the relative standard error sqrt(2 / 40)
    assert variance / mean == pytest.approx(1, abs=3.3 * math.sqrt(2 / 40))


def test_ageing_machines_fail_more_evenly():
    # Weibull of shape 3: squared coefficient of variation Gamma(5/3) / Gamma(4/3)^2 - 1 = 0.132,
    # which the counts of a renewal process have as their variance over their mean in the long run;
    # each node starts anew, so its count of 44 is 0.43 = (1 - 0.132) / 2 below 8760 / 200.
    shape3 = {"weibull": {"mean": "200h", "shape": 3}}
    counts = [year(seed, mtbf=shape3, mttr="1s")[0] for seed in range(40)]
    mean = NODES * (YEAR_H / 200 - 0.434)
    assert_mean(counts, mean)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert variance / mean == pytest.approx(0.132, rel=3.3 * math.sqrt(2 / 40))


def test_replaced_machines_leave_the_number_of_nodes_as_it_was():
    scenario = a_scenario(
        nodes=[a_pool(NODES)],
        run={"duration": f"{YEAR_H}h", "seed": 3, "sample": "1000h"},
        faults=[{"mtbf": "500h", "repair": "replace"}],
    )
    result = sim.run(scenario)
    there = result.nodes
    failed = int((result.events["reason"] == "NodeDown").sum())
    assert len(there) in (NODES + failed, NODES + failed - 1)  # one may be booting at the end
    # 4 min of boot in 500 h cost next to nothing: 10 nodes for a year
    node_h = NODES * YEAR_H
    assert failed == pytest.approx(node_h / 500, abs=3.3 * math.sqrt(node_h / 500))


def test_zones_fail_together_as_often_as_their_correlation_says():
    scenario = a_scenario(
        nodes=[a_pool(3, zones=["a", "b", "c"])],
        run={"duration": f"{2 * YEAR_H}h", "seed": 5, "sample": "1000h"},
        controlPlane={"ideal": True},
        faults=[{"every": "50h", "zone": "a", "down": "1m", "correlated": "30%"}],
    )
    events = sim.run(scenario).events
    down = events[events["reason"] == "NodeDown"]["object"].value_counts()
    outages = int(down["Node/pool-0"])
    assert outages == pytest.approx(2 * YEAR_H / 50, abs=3.3 * math.sqrt(2 * YEAR_H / 50))
    for other in ("Node/pool-1", "Node/pool-2"):
        wide = 3.3 * math.sqrt(0.3 * 0.7 * outages)
        assert down[other] == pytest.approx(0.3 * outages, abs=wide)
