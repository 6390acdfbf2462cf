"""Did behaviour change? Every scenario at its own seed against the numbers kept in golden/."""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import sim

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
DIGITS = 6  # significant: sums of floats may differ in the last places between machines

each_scenario = pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)


@cache
def result_of(path):
    return sim.run(sim.load(path))


def headline(result):
    """The numbers that a reader of the report looks at first."""
    workloads = result.workloads[["workload", "wanted", "ready", "pods", "restarts", "oom_kills"]]
    services = result.services[["service", "requests_failed", "error_s", "outage_s"]]
    return {
        "events": len(result.events),
        "summary": {name: rounded(value) for name, value in result.summary.items()},
        "workloads": by_name(workloads),
        "services": by_name(services),
    }


def by_name(table):
    return {
        name: " ".join(f"{c}={rounded(v)}" for c, v in zip(table.columns[1:], row, strict=True))
        for name, *row in table.itertuples(index=False)
    }


def rounded(value):
    if isinstance(value, float) and not math.isnan(value):
        value = float(f"{value:.{DIGITS}g}")
        return int(value) if value.is_integer() else value
    return None if isinstance(value, float) else int(value)


@each_scenario
def test_numbers_are_those_kept(path, request):
    kept = GOLDEN / f"{path.stem}.json"
    found = headline(result_of(path))
    if request.config.getoption("--update"):
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert kept.is_file(), f"no {kept.name}; write it with --update"
    assert found == json.loads(kept.read_text(encoding="utf-8"))


def test_every_golden_file_has_its_scenario():
    assert {p.stem for p in GOLDEN.glob("*.json")} == {p.stem for p in SCENARIOS}


@each_scenario
def test_its_own_expectations_hold(path):
    verdicts = result_of(path).verdicts
    assert verdicts, "a scenario says what it expects"
    assert [v.text for v in verdicts if not v.passed] == []


@each_scenario
def test_its_header_asks_a_question_and_expects_an_answer(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line.removeprefix("#").strip() for line in lines[: first_of(lines)]]
    assert header[0].endswith("?")
    assert header[1].startswith("Expected: ")
    assert result_of(path).info.question == header[0]


def first_of(lines):
    """The number of comment lines that a file opens with."""
    return next(i for i, line in enumerate(lines) if not line.startswith("#"))


# --- what the headers claim, in numbers


def result_with(name, **changes):
    scenario = sim.load(ROOT / "scenarios" / f"{name}.yaml")
    return sim.run(scenario.replace(changes) if changes else scenario)


def test_zone_failure_replaces_the_lost_pods_about_six_minutes_after_the_failure():
    result = result_of(ROOT / "scenarios" / "zone-failure.yaml")
    replaced = result.pods[result.pods["created_s"] > 30 * 60]
    assert len(replaced) > 0
    assert replaced["ready_s"].between(30 * 60 + 330, 30 * 60 + 420).all()


def test_zone_failure_costs_errors_until_the_dead_endpoints_are_gone():
    services = result_of(ROOT / "scenarios" / "zone-failure.yaml").services.set_index("service")
    spread = services.drop("shop/redis")
    assert spread["error_s"].between(41, 62).all()  # 40-50 s silence, a monitor period, the proxy
    assert services.loc["shop/redis", "availability"] == pytest.approx(0.945, abs=0.005)


def test_node_size_strands_less_the_larger_the_node():
    result = result_of(ROOT / "scenarios" / "node-size.yaml")
    # A node of 2 CPU holds one or two pods of 750m: 1250 or 500 m are left, of which 500 m are
    # useless; 8 CPU: 8000 mod 750 = 500 m; 32 CPU: 32000 mod 750 = 500 m.
    for pool, cpu_m in [("small", 2_000), ("middle", 8_000), ("large", 32_000)]:
        assert result.lookup("stranded.cpu", pool=pool) == pytest.approx(500 / cpu_m)


def test_overcommit_kills_leaky_each_time_its_memory_reaches_the_limit():
    result = result_of(ROOT / "scenarios" / "overcommit-oom.yaml")
    kills = result.events[result.events["reason"] == "OOMKilling"]
    first = kills.groupby("object")["t_s"].min()
    # (400 - 50) / 200 per h = 1 h 45 min after the start
    assert first.between(6_300, 6_320).all()
    assert len(first) == 2


def test_overcommit_never_kills_the_database_and_only_besteffort_for_the_nodes_memory():
    result = result_of(ROOT / "scenarios" / "overcommit-oom.yaml")
    killed = result.events[result.events["reason"] == "SystemOOM"]
    pods = result.pods.set_index("pod")
    assert len(killed) > 0
    assert {pods.loc[name.rpartition("/")[2], "qos"] for name in killed["object"]} == {"BestEffort"}


def test_arrivals_keep_26_at_work_on_average():
    result = result_of(ROOT / "scenarios" / "arrivals.yaml")
    # Little's law: 8.7 min / 20 s = 26 of 40 CPUs; one run of 11 h, so within a tenth
    assert result.lookup("requested.cpu") == pytest.approx(26 / 40, rel=0.1)


def test_restart_storm_just_holds_with_three_quarters_of_the_load():
    result = result_with("probe-restart-storm", **{"traffic[0].rps": 30})
    assert result.lookup("availability", service="default/api") > 0.9


def test_restart_storm_never_begins_with_patient_probes():
    result = result_with("probe-restart-storm", **{"manifests[0]": "manifests/patient-probes.yaml"})
    assert result.summary["restarts"] == 0
    assert result.lookup("availability", service="default/api") == 1.0


def test_zone_flap_costs_a_third_of_the_requests_until_dead_nodes_are_found():
    result = result_of(ROOT / "scenarios" / "zone-flap.yaml")
    [service] = result.services.to_dict("records")
    # five times 40 to 55 s and 0.1 to 1.5 s, one third of the requests of 3300 s
    assert 5 * 40 <= service["error_s"] <= 5 * 57
    lost = service["requests_failed"] / service["requests_sent"]
    assert lost == pytest.approx(5 * 48.3 / 3 / 3_300, rel=0.1)
    assert result.summary["restarts"] == 5 * 6


def test_zone_full_disruption_gives_up_one_node_each_ten_seconds():
    events = result_of(ROOT / "scenarios" / "zone-full-disruption.yaml").events
    evicting = events["message"].str.contains("unreachable:NoExecute")
    tainted = events[(events["reason"] == "Tainted") & evicting]
    times = tainted["t_s"].tolist()
    assert len(times) == 60
    gaps = [b - a for a, b in pairwise(times[1:])]
    assert all(9.9 <= gap <= 10.2 for gap in gaps)  # the first one goes before the zone is Full
    evicted = events[events["reason"] == "TaintManagerEviction"]["t_s"]
    assert evicted.max() <= 600 + 60 + 590 + 300 + 1


def test_node_mtbf_year_fails_as_often_as_its_mtbf_says():
    events = result_of(ROOT / "scenarios" / "node-mtbf-year.yaml").events
    # 111 +- 2 * sqrt(111)
    assert 91 <= (events["reason"] == "NodeDown").sum() <= 132


def test_spot_fleet_moves_all_pods_before_their_machines_go():
    result = result_of(ROOT / "scenarios" / "spot-fleet.yaml")
    reasons = set(result.events["reason"])
    assert "SpotInterruption" in reasons
    assert "TaintManagerEviction" not in reasons
    assert "DeletionByPodGC" not in reasons
    assert 5_100 < result.summary["cost"] < 5_240  # 2.42 USD an hour, less some boots


def mean_cpu_m(result):
    return result.pods.groupby("workload")["cpu_used_m"].mean()


def test_noisy_neighbour_divides_cpu_by_weights():
    used_m = mean_cpu_m(result_of(ROOT / "scenarios" / "noisy-neighbour.yaml"))
    # Burstable slice 63 or 34 against 1 of BestEffort: 4000 / 64 and 4000 / 35
    assert used_m["Deployment/batch-honest"] == pytest.approx(62.5, abs=1)
    assert used_m["Deployment/batch-modest"] == pytest.approx(114.3, abs=1)
    # never more than the 1230m it could have, so it uses its mean; the rest is `noisy`'s
    assert used_m["Deployment/web-honest"] == pytest.approx(600, rel=1e-3)
    assert used_m["Deployment/noisy-honest"] == pytest.approx(4_000 - 62.5 - 1_800, rel=2e-3)
    # capped at 1143m of 600 + 600 cos x, above which it is for acos(543 / 600) = 0.4395 on each
    # side of the peak: (600 sin 0.4395 - 543 * 0.4395) / pi = 5.3m less
    assert used_m["Deployment/web-modest"] == pytest.approx(600 - 5.3, abs=0.5)


def test_overcommit_ladder_breaks_between_125_and_150_percent():
    result = result_of(ROOT / "scenarios" / "overcommit-ladder.yaml")
    nodes = result.nodes.set_index("pool")
    # 700Mi and 750m a pod at the peak, with noise: 5 of 4096Mi and 4000m are 85 % and 94 %
    assert nodes.loc["limits-125", "memory_used_max"] == pytest.approx(0.85, abs=0.03)
    assert nodes.loc["limits-125", "cpu_used_max"] == pytest.approx(0.94, abs=0.05)
    assert (nodes.loc[["limits-150", "limits-200", "limits-250"], "cpu_used_max"] == 1).all()
    reasons = result.events["reason"]
    assert "SystemOOM" in set(reasons)
    assert "OOMKilling" not in set(reasons)  # nobody dies of its own limit


def test_probes_under_throttle_are_late_around_the_peak_only():
    result = result_of(ROOT / "scenarios" / "probe-timeouts-under-throttle.yaml")
    killed = result.events[result.events["reason"] == "Killing"]
    # 54 a day and pod if none of the time were lost to back-off
    assert 4 * 20 < len(killed) < 4 * 54
    assert killed["t_s"].between(0, 5.5 * 3600).all()
