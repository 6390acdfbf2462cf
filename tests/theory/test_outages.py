"""How long an outage is felt: means over seeds against what the timers add up to."""

from __future__ import annotations

from functools import cache

import pytest

import sim
from tests.inline import CALM, a_bare_pod, a_deployment, a_pool, a_scenario, a_service
from tests.theory.intervals import assert_mean

SEEDS = range(40)
AT_S = 600


@cache
def outage(seed, replicas=3, down="30m"):
    """One of three nodes dies at minute 10, with a third of the endpoints of a Service."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    scenario = a_scenario(
        [a_deployment("web", replicas, topologySpreadConstraints=[spread]), a_service("web")],
        run={"duration": "17m", "seed": seed, "warmUp": "5m"},
        nodes=[a_pool(3, zones=["a", "b", "c"])],
        kubelet=CALM,
        traffic=[{"service": "web", "rps": 30}],
        faults=[{"at": f"{AT_S}s", "zone": "b", "down": down}],
    )
    return sim.run(scenario)


def times(result, reason):
    events = result.events
    return events.loc[events["reason"] == reason, "t_s"].tolist()


def test_a_dead_node_is_found_after_47_5_seconds_on_average():
    # The last renewal was U(0, 10) s before, 50 s later the grace is over: 40 to 50 s; the next
    # monitor pass comes U(0, 5) s after that. Mean 45 + 2.5.
    found_s = [times(outage(seed), "NodeNotReady")[0] - AT_S for seed in SEEDS]
    assert all(40 <= seconds <= 55.1 for seconds in found_s)
    assert_mean(found_s, 47.5, bias=0.1)  # some ms of API latency


def test_errors_last_until_clients_have_dropped_the_endpoint():
    # 47.5 s until the pod is marked not ready, 20 ms for the slice, U(0.1, 1.5) s for the proxy
    error_s = [float(outage(seed).services["error_s"].iloc[0]) for seed in SEEDS]
    assert_mean(error_s, 47.5 + 0.02 + 0.8, bias=0.15)


def test_a_third_of_the_requests_fails_while_errors_last():
    for seed in SEEDS:
        [row] = outage(seed).services.to_dict("records")
        assert row["requests_failed"] == pytest.approx(30 * row["error_s"] / 3)


def test_pods_are_evicted_five_minutes_after_the_node_was_found_dead():
    # DefaultTolerationSeconds adds 300 s for unreachable; the NoExecute taint comes with the same
    # monitor pass or, at 0.1 nodes a second, up to 10 s later for further nodes of the zone.
    for seed in SEEDS:
        [found_s], [evicted_s] = (
            times(outage(seed), reason) for reason in ("NodeNotReady", "TaintManagerEviction")
        )
        assert 300 <= evicted_s - found_s <= 301


def test_a_node_that_is_back_before_it_is_found_is_never_marked():
    for seed in range(10):
        assert times(outage(seed, down="39s"), "NodeNotReady") == []


# --- crashes


def crashes(seed, mean_s=7_200, hours=50):
    behaviour = [{"crash": {"every": {"exponential": f"{mean_s}s"}}}]
    scenario = a_scenario(
        [a_bare_pod("frail")],
        run={"duration": f"{hours}h", "seed": seed, "sample": "1h"},
        nodes=[a_pool()],
        kubelet=CALM,
        controlPlane={"ideal": True},
        behaviour=behaviour,
    )
    return int(sim.run(scenario).pods["restarts"].iloc[0])


def test_restarts_of_a_container_that_crashes_at_random_are_a_renewal_process():
    # A crash every 2 h on average; a back-off is forgotten after ten minutes without a crash, and
    # of those that come sooner (1 - e^(-1/12) = 8 %) the wait of 10 s or so is 0.1 % of 2 h.
    found = [crashes(seed) for seed in range(30)]
    assert_mean(found, 25, bias=0.2)
