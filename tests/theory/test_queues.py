"""Pods with random run times on nodes are queues: their waits against the formulas."""

from __future__ import annotations

import math
from functools import cache
from statistics import fmean

import numpy as np
import pytest

import sim
from tests.inline import CALM, a_bare_pod, a_pool, a_scenario
from tests.theory.intervals import assert_mean

SEEDS = range(16)
PODS = 2_000  # of one run, about
SERVICE_S = 60.0


@cache
def queue(slots, load, seed=0, runtime="exponential"):
    """Pods of one core that arrive at random on nodes of two cores, first come first served."""
    every = f"{round(1000 * SERVICE_S / load)}ms"
    template = a_bare_pod("job", cpu="1", memory="0", restartPolicy="Never")
    stream = {"name": "jobs", "template": "job.json", "every": {"exponential": every}}
    stream["runtime"] = {"exponential": "60s"} if runtime == "exponential" else "60s"
    scenario = a_scenario(
        files={"job.json": template},
        run={"duration": f"{end_s(load)}s", "seed": seed, "sample": "10m"},
        nodes=[a_pool(-(-slots // 2), cpu=min(slots, 2), memory="64Gi")],
        kubelet=CALM,
        controlPlane={"ideal": True},
        arrivals=[stream],
    )
    return sim.run(scenario).pods


def end_s(load):
    """How long a run lasts in which `PODS` pods arrive."""
    return round(PODS * SERVICE_S / load)


def counted(pods, load):
    """Pods that came when the start was forgotten, and early enough for their wait to be known."""
    return pods[pods["created_s"].between(30 * SERVICE_S, end_s(load) - 30 * SERVICE_S)]


def erlang_b(servers, load):
    """Share of arrivals that find all servers busy in M/M/c/c (Erlang's recursion)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked


def erlang_c(servers, load):
    """Share of arrivals that wait in M/M/c."""
    blocked = erlang_b(servers, load)
    return blocked / (1 - (load / servers) * (1 - blocked))


@pytest.mark.parametrize(
    ("servers", "load", "b", "c"),
    # Published tables of Erlang B and C; and M/M/1, where C is the load itself.
    [(1, 0.5, 1 / 3, 0.5), (1, 0.9, 0.473684, 0.9), (2, 1.8, 0.366516, 0.852632)],
)
def test_erlangs_formulas(servers, load, b, c):
    assert erlang_b(servers, load) == pytest.approx(b, rel=1e-5)
    assert erlang_c(servers, load) == pytest.approx(c, rel=1e-5)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (2, 1.0), (4, 2.0)])
def test_mean_wait_is_that_of_m_m_c(slots, load):
    # Wq = C / (c μ - λ), in units of the mean run time: C / (c - a)
    expected_s = SERVICE_S * erlang_c(slots, load) / (slots - load)
    waits_s = [counted(queue(slots, load, seed=s), load)["wait_s"].mean() for s in SEEDS]
    assert_mean(waits_s, expected_s)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (2, 1.0), (4, 2.0)])
def test_share_that_waits_is_erlang_c(slots, load):
    shares = [(counted(queue(slots, load, seed=s), load)["wait_s"] > 0).mean() for s in SEEDS]
    assert_mean(shares, erlang_c(slots, load))


def test_constant_run_times_halve_the_wait():
    # Pollaczek-Khinchine: Wq = ρ / (2 (1 - ρ)) for M/D/1, half of M/M/1's
    runs = [counted(queue(1, 0.5, seed=s, runtime="constant"), 0.5) for s in SEEDS]
    waits_s = [run["wait_s"].mean() for run in runs]
    assert_mean(waits_s, SERVICE_S * 0.5 / (2 * 0.5))


@pytest.mark.parametrize(("slots", "load"), [(2, 1.0), (4, 2.0)])
def test_littles_law_holds_in_each_run(slots, load):
    # Over the whole run the area under the number of pods equals the sum of their times in it:
    # exact but for the end, where both are cut at the same moment.
    pods = queue(slots, load)
    left_s = pods["finished_s"].fillna(end_s(load)).to_numpy()
    times = np.concatenate([pods["created_s"], left_s])
    steps = np.concatenate([np.ones(len(pods)), -np.ones(len(pods))])
    order = np.argsort(times, kind="stable")
    number = np.cumsum(steps[order])
    area = float(number[:-1] @ np.diff(times[order]))
    rate, mean_time_s = len(pods) / end_s(load), float((left_s - pods["created_s"]).mean())
    assert area / end_s(load) == pytest.approx(rate * mean_time_s, rel=1e-9)


def test_cores_in_use_are_arrival_rate_times_run_time():
    # Little's law for those at work: a = λ E[S], whatever the queue does
    busy = []
    for seed in SEEDS:
        pods = queue(4, 2.0, seed=seed)
        until_s = pods["finished_s"].fillna(end_s(2.0))
        busy.append(float((until_s - pods["scheduled_s"]).sum()) / end_s(2.0))
    assert_mean(busy, 2.0)


def test_without_a_queue_the_number_at_work_is_poisson():
    # M/G/∞: mean and variance of the number of pods are both a, whatever the run times' law
    means, ratios = [], []
    for seed in SEEDS:
        pods = queue(64, 5.0, seed=seed)
        at_s = np.arange(1_800, end_s(5.0), 300)  # five mean run times apart: nearly independent
        begun = np.searchsorted(np.sort(pods["created_s"]), at_s, side="right")
        ended = np.searchsorted(np.sort(pods["finished_s"].dropna()), at_s, side="right")
        number = begun - ended
        means.append(fmean(number))
        ratios.append(float(np.var(number, ddof=1)) / 5.0)
    assert (queue(64, 5.0)["wait_s"] == 0).all()
    assert_mean(means, 5.0)
    assert_mean(ratios, 1.0)


def test_exponential_run_times_are_exponential():
    # P(T > mean) = 1/e and the mean itself, over all runs of one kind
    longer, means = [], []
    for seed in SEEDS:
        pods = counted(queue(64, 5.0, seed=seed), 5.0)
        run_s = (pods["finished_s"] - pods["started_s"]).dropna()
        longer.append(float((run_s > SERVICE_S).mean()))
        means.append(float(run_s.mean()))
    assert_mean(longer, math.exp(-1))
    assert_mean(means, SERVICE_S)
