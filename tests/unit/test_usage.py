"""Laws over time, their sums per node, and what they do to pods and samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sim
from sim.behaviour import MemoryUse
from sim.curves import Part
from sim.errors import ScenarioError
from sim.laws import DAY_MS, Law, Noise, Trace, Wave, draw
from sim.samples import NodeSeries, UseStatistics
from sim.usage import Usage

H = 3_600_000
RAMP = Trace((0, 100, 200), (10, 30, 20))


@pytest.mark.parametrize(
    ("trace", "ms", "value"),
    [
        pytest.param(RAMP, 0, 10, id="at a point"),
        pytest.param(RAMP, 50, 20, id="half way from 10 to 30"),
        pytest.param(RAMP, 150, 25, id="half way from 30 to 20"),
        pytest.param(RAMP, 900, 20, id="the last value stays"),
        pytest.param(Trace((40, 80), (5, 9)), 10, 5, id="the first value holds before its time"),
        pytest.param(
            Trace((0, 100, 200), (10, 30, 20), True), 450, 20, id="50 ms into round three"
        ),
        pytest.param(Trace((0, 100, 200), (10, 30, 20), True), 400, 10, id="a round begins anew"),
    ],
)
def test_a_trace_is_linear_between_its_points(trace, ms, value):
    assert trace.at(ms) == pytest.approx(value)


def test_a_trace_is_averaged_by_time():
    # (10 + 30) / 2 * 100 + (30 + 20) / 2 * 100 = 4500 in 200 ms
    assert RAMP.mean == pytest.approx(22.5)
    assert RAMP.integral(0, 200) == pytest.approx(4_500)
    # 20 for ever after the last point
    assert RAMP.integral(200, 300) == pytest.approx(2_000)


@pytest.mark.parametrize(
    ("law", "least", "most"),
    [
        pytest.param(Law(100), 100, 100, id="flat"),
        pytest.param(Law(100, wave=Wave(30, 0)), 70, 130, id="wave"),
        pytest.param(Law(100, growth=1), 100, math.inf, id="growth without end"),
        pytest.param(Law(100, growth=1, plateau=150), 100, 150, id="growth to a plateau"),
        # 3 sd of 5 % of 100 = 15
        pytest.param(Law(100, noise=Noise(0.05, 1000)), 85, 115, id="noise"),
        pytest.param(Law(5, trace=RAMP), 15, 35, id="trace above a base"),
    ],
)
def test_a_law_knows_its_bounds(law, least, most):
    assert (law.least, law.most) == (least, pytest.approx(most))


@pytest.mark.parametrize(
    ("growth", "per_ms", "plateau", "until_ms"),
    [
        pytest.param(10, 1_000, 150, 1_000 + 5_000, id="50 missing at 10 a second"),
        pytest.param(7, 1_000, 101, 1_000 + 143, id="1 / 7 s rounded up to whole ms"),
        pytest.param(10, 1_000, None, None, id="no plateau"),
        pytest.param(0, 1_000, 150, None, id="no growth"),
        pytest.param(10, 1_000, 100, 1_000, id="there from the start"),
    ],
)
def test_growth_ends_when_the_plateau_is_reached(growth, per_ms, plateau, until_ms):
    assert Law(100, growth, per_ms, plateau).until_ms(started_ms=1_000) == until_ms


def test_a_plateau_below_the_limit_is_never_above_it():
    assert MemoryUse(100, 10, 1_000, plateau_b=150).age_ms_above(150) is None
    # one byte more than 149 after 50 bytes at 10 a second
    assert MemoryUse(100, 10, 1_000, plateau_b=150).age_ms_above(149) == 5_000


def test_noise_has_mean_0_and_deviation_1():
    draws = np.array([draw(key, step) for key in range(100) for step in range(100)])
    # standard errors of 10,000 draws: 0.01 and 0.007; four of them
    assert abs(draws.mean()) < 0.04
    assert abs(draws.std() - 1) < 0.03
    # kurtosis of three uniforms added: 3 - 6 / (5 * 3) = 2.6
    assert (draws**4).mean() == pytest.approx(2.6, abs=0.15)


def test_noise_of_pods_is_independent():
    usage = Usage()
    for pod in range(400):
        usage.put(pod, 0, [Part(Law(1_000, noise=Noise(0.1, 1_000)))], 0, key=pod << 8)
    sums = np.array([usage.value(0, step * 1_000) for step in range(400)])
    # sd of one 100, of 400 independent ones 100 * 20 = 2000; its standard error of 400: 3.5 %
    assert sums.std() == pytest.approx(2_000, rel=0.15)


def test_a_node_reaches_its_level_when_the_daily_wave_does():
    usage = Usage()
    for pod in range(10):
        usage.put(pod, 3, [Part(Law(500, wave=Wave(200, 3 * H)))], 0)
    # 5000 + 2000 cos(2 pi (t - 3 h) / 24 h) = 6000 where the cosine is 1/2: 4 h from the peak.
    # Rounded to 1/1024 each, ten pods are off by 0.005 at most; the slope is 0.126 / s: 40 ms.
    rising_ms = DAY_MS - H
    assert usage.next_at_least(3, 6_000, 8 * H) == pytest.approx(rising_ms, abs=40)
    assert usage.next_below(3, 6_000, 0) == pytest.approx(7 * H, abs=40)
    assert usage.next_at_least(3, 7_001, 0) is None


def test_a_leak_ends_at_its_plateau():
    usage = Usage()
    usage.put(0, 0, [Part(Law(100, 60, H, plateau=130))], 0)
    # 60 an hour: 30 more after half an hour
    assert usage.value(0, H // 4) == pytest.approx(115, abs=1e-2)
    assert usage.value(0, 2 * H) == 130
    assert usage.values(3 * H).tolist() == [130]


def test_use_is_cut_off_at_a_quota():
    usage = Usage()
    usage.put(0, 0, [Part(Law(500, wave=Wave(200, 6 * H)))], 0, cap=600)
    # 500 + 200 sin(2 pi t / 24 h) = 600 at 2 h; 700 at 6 h, of which it gets 600
    assert usage.value(0, H) == pytest.approx(500 + 200 * math.sin(math.pi / 12), abs=1e-2)
    assert usage.value(0, 6 * H) == 600
    assert usage.value(0, 18 * H) == pytest.approx(300, abs=1e-2)


def test_percentiles_come_from_steps_of_one_percent():
    statistics = UseStatistics()
    nodes, capacity = np.array([0, 1]), np.array([1_000, 2_000])
    for used in range(0, 1_000, 10):  # 0, 1, ... 99 % of node 0, half of it of node 1
        statistics.count(nodes, np.array([used, used]), capacity)
    # the 95th of 100 samples is 94 %; of node 1 47 %
    assert statistics.percentile(0.95).tolist() == [0.94, 0.47]
    assert statistics.most.tolist() == [0.99, 0.495]
    assert statistics.mean.tolist() == pytest.approx([0.495, 0.2475])


def test_series_of_a_day_of_5000_nodes_stay_below_300_mib():
    series = NodeSeries(0, 5_000)
    of_a_sample = 5_000 * (series.cpu_used_m.itemsize + series.memory_used_b.itemsize)
    assert 5_760 * (of_a_sample + series.t_ms.itemsize) < 300 * 2**20


SCENARIO = {
    "apiVersion": "sim/v1",
    "kind": "Scenario",
    "metadata": {"name": "laws"},
    "run": {"duration": "1h", "start": "2025-10-01T12:00:00Z"},
}


def loaded(tmp_path, csv="", **said):
    (tmp_path / "use.csv").write_text(csv)
    scenario = sim.Scenario.from_dict(SCENARIO | {"behaviour": [said]}, base=tmp_path)
    return scenario.behaviour[0]


def test_a_peak_is_a_time_of_day_where_the_run_begins_at_noon(tmp_path):
    said = loaded(tmp_path, cpu={"base": 1, "diurnal": {"amplitude": "500m", "peak": "15:00"}})
    assert said.cpu == Law(1_000, wave=Wave(500, 3 * H))


def test_a_trace_is_read_from_its_file(tmp_path):
    csv = "time,cpu\n0,100m\n60,0.5\n2m,1\n"
    said = loaded(tmp_path, csv, cpu={"trace": {"file": "use.csv", "repeat": True}})
    assert (said.cpu.trace.times_ms, said.cpu.trace.values) == (
        (0, 60_000, 120_000),
        (100, 500, 1000),
    )
    assert said.cpu.trace.repeats


@pytest.mark.parametrize(
    ("said", "csv", "message"),
    [
        pytest.param(
            {"cpu": {"base": "100m", "diurnal": {"amplitude": "200m", "peak": "15:00"}}},
            "",
            "behaviour[0].cpu: amplitude and 3 sd of noise together exceed base",
            id="less than nothing",
        ),
        pytest.param(
            {"cpu": {"base": 1, "diurnal": {"amplitude": "200m", "peak": "25:00"}}},
            "",
            "got '25:00'; expected a time of day such as '15:00'.",
            id="no such hour",
        ),
        pytest.param(
            {"memory": {"base": "1Gi", "plateau": "2Gi"}},
            "",
            "plateau is where growth ends; expected growth",
            id="a plateau of nothing",
        ),
        pytest.param(
            {"cpu": {"base": 1, "noise": {"sd": "50%"}}}, "", "sd is above 33%", id="too much noise"
        ),
        pytest.param(
            {"memory": {"trace": "use.csv"}},
            "0,1Gi\n60,much\n",
            "use.csv:2:1: got '60,much'; expected a quantity such as '512Mi' or '16Gi'.",
            id="no amount",
        ),
        pytest.param(
            {"memory": {"trace": "use.csv"}},
            "60,1Gi\n60,2Gi\n",
            "use.csv:2:1: got '60,2Gi'; expected a time later than the line before.",
            id="time stands still",
        ),
        pytest.param({"cpu": {"trace": "use.csv"}}, "", "has no lines", id="empty"),
        pytest.param({"cpu": {"trace": "gone.csv"}}, "", "cannot be read", id="no file"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path, said, csv, message):
    with pytest.raises(ScenarioError) as caught:
        loaded(tmp_path, csv, **said)
    assert message in str(caught.value)


POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: x, resources: {requests: {cpu: 100m, memory: 1Mi}}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def ran(tmp_path, **said):
    (tmp_path / "web.yaml").write_text(POD)
    node = {"pool": "n", "count": 1, "capacity": {"cpu": 4, "memory": "1Gi"}}
    scenario = SCENARIO | {"nodes": [node], "manifests": ["web.yaml"]} | said
    return sim.run(sim.Scenario.from_dict(scenario, base=tmp_path))


def at_the_end(result, metric):
    rows = result.timeline
    rows = rows[(rows["scope"] == "cluster") & (rows["metric"] == metric)]
    return rows["value"].iloc[-1]


def test_memory_follows_the_requests_that_a_pod_is_sent(tmp_path):
    result = ran(
        tmp_path,
        traffic=[{"service": "web", "rps": 40}],
        behaviour=[{"memory": {"base": "10Mi", "perRequest": "1Mi"}}],
    )
    # 40 requests a second to two pods: 20 each, 10 + 20 MiB each
    assert at_the_end(result, "memory_used_b") == 2 * 30 * 2**20


def test_memory_of_too_many_requests_kills_at_the_limit_of_the_node(tmp_path):
    result = ran(
        tmp_path,
        traffic=[{"service": "web", "rps": 200}],
        behaviour=[{"memory": {"base": "500Mi", "perRequest": "1Mi"}}],
    )
    # 2 * (500 + 100) MiB of 1024
    assert "SystemOOM" in set(result.events["reason"])


def test_what_pods_used_is_averaged_over_the_wave(tmp_path):
    wave = {"base": 1, "diurnal": {"amplitude": 1, "peak": "12:15", "period": "1h"}}
    result = ran(tmp_path, behaviour=[{"cpu": wave}])
    # a whole period averages to the base, but for the seconds before the start
    assert result.pods["cpu_used_m"].tolist() == pytest.approx([1_000, 1_000], abs=5)
    # at 15 min both want 2000m, 4000m of 4000m
    assert result.nodes["cpu_used_max"].tolist() == pytest.approx([1.0], abs=1e-3)


def test_a_node_that_is_short_only_at_the_peak_shares_only_then(tmp_path):
    wave = {"base": 2, "diurnal": {"amplitude": 2, "peak": "12:30", "period": "1h"}}
    result = ran(tmp_path, behaviour=[{"cpu": wave}])
    # Each has at most 2 of 4 CPU: the upper half of the wave is lost, whose mean is 2 * 2 / pi over
    # half of the time: 2 - 2 / pi
    used_m = result.pods["cpu_used_m"].tolist()
    assert used_m == pytest.approx([2_000 - 2_000 / math.pi] * 2, rel=0.01)
