"""When probe results change: worked instants, and random failures against exact distributions."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from sim.podspec import Container, Probe
from sim.probes import (
    ANSWERS,
    FAILING,
    FAILS,
    HEALTHY,
    Change,
    ContainerProbes,
    Premise,
    equal_outcomes,
    failure_chance,
    probe_succeeds,
    probes_until_run,
)


def never():
    raise AssertionError("nothing is random here")


def a_container(**probes):
    return Container("main", **probes)


def started(spec, *, origin_ms=0, start_ms=0, premise=HEALTHY, **options):
    """Probes of a container whose first instance the kubelet sees at once."""
    probes = ContainerProbes(spec, origin_ms, never, **options)
    probes.instance_started(start_ms, start_ms)
    probes.set_premise(start_ms, premise)
    return probes


def changes(probes, to_ms):
    """The changes before `to_ms`, each followed by the sync that it causes."""
    seen = []
    while (change := probes.next_change()) and change.at_ms < to_ms:
        probes.apply(change)
        probes.sync(change.at_ms)
        seen.append(change)
    return seen


# --- starting


def test_container_without_probes_is_started_and_ready_as_soon_as_it_is_seen():
    probes = ContainerProbes(a_container(), 0, never)
    probes.instance_started(300, 1000)
    assert (probes.is_started, probes.is_ready) == (False, False)
    assert changes(probes, 10_000) == [Change(1000, "started")]
    assert (probes.is_started, probes.is_ready) == (True, True)


def test_startup_success_brings_an_immediate_readiness_probe():
    # the application answers from 12.3 s on; startup ticks at 0, 5, 10, 15 s
    spec = a_container(startup=Probe(period_ms=5000, failure_threshold=30), readiness=Probe())
    probes = started(spec, premise=FAILING)
    probes.set_premise(12_300, HEALTHY)
    assert changes(probes, 60_000) == [Change(15_000, "started"), Change(15_000, "ready")]


def test_container_that_never_answers_fails_its_startup_probe_after_f_periods():
    # seen at 2 s, ticks at 0.5 s + k × 10 s: the third from 10.5 s on is at 30.5 s
    spec = a_container(startup=Probe(), liveness=Probe(), readiness=Probe())
    probes = started(spec, origin_ms=500, start_ms=2000, premise=FAILING)
    assert changes(probes, 10**9) == [Change(30_500, "startup-failed")]
    assert not probes.is_started


@pytest.mark.parametrize(
    ("effective", "ready_ms"),
    [
        pytest.param(True, 4000, id="first trigger probes at once"),
        pytest.param(False, 14_000, id="lost first trigger only restarts the ticker"),
    ],
)
def test_first_readiness_probe(effective, ready_ms):
    spec = a_container(readiness=Probe())
    probes = started(spec, start_ms=4000, first_trigger_effective=effective)
    assert changes(probes, 60_000) == [Change(4000, "started"), Change(ready_ms, "ready")]


def test_initial_delay_counts_from_the_whole_second_of_the_start():
    # started at 4.9 s, so from 4 s: the delay of 3 s ends at 7 s; ticks at 4.9, 5.9, 6.9, 7.9 s
    spec = a_container(readiness=Probe(initial_delay_ms=3000, period_ms=1000))
    probes = started(spec, start_ms=4900)
    assert changes(probes, 60_000)[-1] == Change(7900, "ready")


def test_young_kubelet_delays_the_first_tick_by_up_to_a_period():
    # 0.25 × 10 s after 0; a kubelet older than the period ticks at once
    spec = a_container(liveness=Probe(failure_threshold=1))
    young = ContainerProbes(spec, 0, lambda: 0.25, kubelet_age_ms=9_999)
    old = ContainerProbes(spec, 0, lambda: 0.25, kubelet_age_ms=10_000)
    for probes in (young, old):
        probes.instance_started(0, 0)
        probes.set_premise(0, FAILING)
    assert changes(young, 60_000)[-1] == Change(2500, "liveness-failed")
    assert changes(old, 60_000)[-1] == Change(0, "liveness-failed")


# --- running


@pytest.mark.parametrize(
    ("hang_ms", "failed_ms"),
    [
        # the first of three probes that fail is the next one on the 10 s grid
        pytest.param(40_000, 60_000, id="hang on a tick is found after 2 periods"),
        pytest.param(40_001, 70_000, id="hang just after a tick is found after 3 periods"),
    ],
)
def test_hang_is_found_after_two_to_three_periods(hang_ms, failed_ms):
    probes = started(a_container(liveness=Probe()))
    changes(probes, hang_ms)
    probes.set_premise(hang_ms, FAILING)
    assert changes(probes, 10**9) == [Change(failed_ms, "liveness-failed")]


def test_short_hang_is_forgotten_at_the_next_success():
    # ticks at 40 and 50 s fail, 60 s succeeds, then 70, 80, 90 s fail
    probes = started(a_container(liveness=Probe()))
    changes(probes, 35_000)
    probes.set_premise(35_000, FAILING)
    probes.set_premise(55_000, HEALTHY)
    probes.set_premise(65_000, FAILING)
    assert changes(probes, 10**9) == [Change(90_000, "liveness-failed")]


def test_failures_before_a_crash_count_against_the_next_instance():
    # ticks at 10 and 20 s fail; the instance exits at 22 s; its successor's first failure is the
    # third in a row
    probes = started(a_container(liveness=Probe()))
    changes(probes, 5_000)
    probes.set_premise(5_000, FAILING)
    probes.exited(22_000)
    probes.instance_started(23_000, 24_000)
    assert changes(probes, 10**9) == [Change(24_000, "started"), Change(30_000, "liveness-failed")]


def test_nothing_is_probed_after_liveness_failed_until_the_next_instance():
    probes = started(a_container(liveness=Probe(failure_threshold=1)), premise=FAILING)
    assert changes(probes, 10**9) == [Change(0, "started"), Change(0, "liveness-failed")]
    probes.exited(30_000)
    probes.instance_started(30_000, 31_000)
    assert changes(probes, 10**9) == [Change(31_000, "started"), Change(40_000, "liveness-failed")]


def test_failed_readiness_kills_nothing_and_comes_back():
    # probes at 0, 10, ...: unready at the third failure, 50 s, which restarts the ticker there and
    # probes once more; syncs do the same; answers again from 58 s: 60 s
    probes = started(a_container(readiness=Probe()))
    changes(probes, 25_000)
    probes.set_premise(25_000, FAILING)
    assert changes(probes, 58_000) == [Change(50_000, "unready")]
    probes.set_premise(58_000, HEALTHY)
    assert changes(probes, 10**9) == [Change(60_000, "ready")]


def test_a_sync_probes_an_unready_container_at_once():
    probes = started(a_container(readiness=Probe()), premise=FAILING)
    changes(probes, 33_000)
    probes.set_premise(33_000, HEALTHY)
    probes.sync(34_000)
    assert changes(probes, 10**9) == [Change(34_000, "ready")]


def test_a_probe_that_has_been_made_is_not_made_again_under_a_new_premise():
    # ready by the probe at 0; health turns within the same millisecond: the next probe is at 10 s
    probes = started(a_container(readiness=Probe(failure_threshold=1)))
    changes(probes, 1)
    probes.set_premise(0, FAILING)
    assert changes(probes, 10_001) == [Change(10_000, "unready")]


def test_exited_container_is_neither_started_nor_ready():
    probes = started(a_container(readiness=Probe()))
    changes(probes, 5_000)
    probes.exited(5_000)
    assert (probes.is_started, probes.is_ready, probes.next_change()) == (False, False, None)


@pytest.mark.parametrize(
    ("readiness", "after"),
    [
        pytest.param(None, True, id="without readiness probe it stays ready"),
        pytest.param(Probe(initial_delay_ms=5000), False, id="with one it has to prove it"),
    ],
)
def test_instance_replaced_without_being_seen_stopped(readiness, after):
    probes = started(a_container(readiness=readiness))
    changes(probes, 20_000)
    probes.instance_started(20_000, 20_700)
    assert probes.is_ready
    seen = changes(probes, 20_701)
    assert seen == [Change(20_700, "replaced"), Change(20_700, "started")]
    assert probes.is_ready is after


# --- deletion


def test_deleted_pod_is_not_killed_by_its_probes():
    probes = started(a_container(liveness=Probe()))
    changes(probes, 5_000)
    probes.pod_deleting(5_000)
    probes.set_premise(6_000, FAILING)
    assert probes.next_change() is None


def test_deleted_pod_passes_its_startup_probe_at_the_next_tick():
    spec = a_container(startup=Probe(initial_delay_ms=60_000))
    probes = started(spec, premise=FAILING)
    probes.pod_deleting(5_000)
    assert changes(probes, 10**9) == [Change(10_000, "started")]


def test_a_change_that_was_not_taken_is_a_bug_of_the_caller():
    probes = started(a_container(liveness=Probe()), premise=FAILING)
    changes(probes, 15_000)
    with pytest.raises(AssertionError, match="not taken"):
        probes.exited(25_000)


# --- chance


def deviation(counts, expected):
    """Chi-square of these counts in standard deviations; neighbours are pooled to 20 expected."""
    total = sum(counts.values())
    cells, seen, share = [], 0, 0.0
    for outcome, chance in expected.items():
        seen, share = seen + counts[outcome], share + chance
        if share * total >= 20:
            cells.append((seen, share))
            seen, share = 0, 0.0
    rest = total - sum(seen for seen, _ in cells), 1 - sum(share for _, share in cells)
    if rest[1] * total >= 1:
        cells.append(rest)
    chi2 = sum((seen - share * total) ** 2 / (share * total) for seen, share in cells)
    return (chi2 - (len(cells) - 1)) / math.sqrt(2 * (len(cells) - 1))


def run_lengths(run, threshold, chance, probes):
    """Chance of each end after so many probes: a hit at n, or the run that is left; plain steps."""
    ends, now = {}, {run: 1.0}
    for n in range(1, probes + 1):
        following = Counter()
        for length, share in now.items():
            following[0] += share * (1 - chance)
            following[length + 1] += share * chance
        ends["hit", n] = following.pop(threshold, 0.0)
        now = following
    return ends | {("run", length): share for length, share in now.items()}


CASES = [(0, 3, 0.5), (2, 3, 0.3), (1, 4, 0.8), (0, 1, 0.05), (0, 2, 0.9), (4, 5, 0.1)]


@pytest.mark.parametrize(("run", "threshold", "chance"), CASES)
def test_probes_until_a_run_are_distributed_as_if_made_one_by_one(run, threshold, chance):
    draw = random.Random(1).random
    counts = Counter(("hit", probes_until_run(run, threshold, chance, draw)) for _ in range(20_000))
    exact = {e: s for e, s in run_lengths(run, threshold, chance, 400).items() if e[0] == "hit"}
    assert abs(deviation(counts, exact)) < 4


@pytest.mark.parametrize(
    ("threshold", "chance"), [(3, 0.5), (3, 0.1), (3, 0.01), (1, 0.001), (10, 0.7), (30, 0.9)]
)
def test_mean_probes_until_a_run_is_the_closed_form(threshold, chance):
    draw = random.Random(2).random
    mean = (1 - chance**threshold) / ((1 - chance) * chance**threshold)
    draws = [probes_until_run(0, threshold, chance, draw) for _ in range(20_000)]
    got = sum(draws) / len(draws)
    spread = math.sqrt(sum((d - got) ** 2 for d in draws) / len(draws) ** 2)
    assert abs(got - mean) < 4 * spread


def test_a_run_that_takes_longer_than_any_simulation_is_drawn_in_no_time():
    # the mean is about (1e-3)^-5 = 1e15 probes, and half of an exponential lies below its ln 2
    draw = random.Random(3).random
    draws = [probes_until_run(0, 5, 1e-3, draw) for _ in range(4000)]
    below = sum(n < math.log(2) * 1e15 / (1 - 1e-3) for n in draws)
    assert abs(below - 2000) < 4 * math.sqrt(4000 / 4)


@pytest.mark.parametrize(("chance", "probes"), [(0.0, None), (1.0, 2)])
def test_certain_outcomes_draw_nothing(chance, probes):
    assert probes_until_run(1, 3, chance, never) == probes


def test_equal_outcomes_are_geometric():
    draw = random.Random(4).random
    counts = Counter(equal_outcomes(0.7, draw) for _ in range(20_000))
    assert abs(deviation(counts, {n: 0.7**n * 0.3 for n in range(60)})) < 4


@pytest.mark.parametrize(("chance", "interrupted"), [(0.3, [5]), (0.5, [1, 2, 4, 9]), (0.05, [40])])
def test_interrupted_prediction_leaves_the_run_that_single_probes_would(chance, interrupted):
    """The premise flickers at some probes, and returns: nothing may change in distribution."""
    draw = random.Random(5).random
    counts = Counter()
    for _ in range(6_000):
        probes = ContainerProbes(a_container(liveness=Probe()), 0, draw)
        probes.instance_started(0, 0)
        probes.set_premise(0, Premise(liveness=chance))
        taken = changes(probes, 1)
        for probe in interrupted:
            at_ms = probe * 10_000 - 5_000
            taken += changes(probes, at_ms)
            probes.set_premise(at_ms, FAILING)
            probes.set_premise(at_ms, Premise(liveness=chance))
        taken += changes(probes, 400 * 10_000)
        failed = [at_ms // 10_000 + 1 for at_ms, what in taken if what == "liveness-failed"]
        counts["hit", failed[0] if failed else 401] += 1
    exact = {e: s for e, s in run_lengths(0, 3, chance, 400).items() if e[0] == "hit"}
    assert abs(deviation(counts, exact)) < 4


@pytest.mark.parametrize("probes_before", [2, 3, 7])
def test_two_chances_after_each_other(probes_before):
    """Failures of the first stretch count in the second: exact shares by stepping both."""
    first, second = 0.6, 0.25
    exact = {}
    stretch = run_lengths(0, 3, first, probes_before)
    for (kind, value), share in stretch.items():
        if kind == "hit":
            exact[value] = exact.get(value, 0) + share
            continue
        for (later, n), part in run_lengths(value, 3, second, 300).items():
            if later == "hit":
                exact[probes_before + n] = exact.get(probes_before + n, 0) + share * part
    draw = random.Random(6).random
    counts = Counter()
    for _ in range(10_000):
        probes = ContainerProbes(a_container(liveness=Probe()), 0, draw)
        probes.instance_started(0, 0)
        probes.set_premise(0, Premise(liveness=first))
        taken = changes(probes, probes_before * 10_000)
        probes.set_premise(probes_before * 10_000, Premise(liveness=second))
        taken += changes(probes, 10**12)
        counts[taken[-1].at_ms // 10_000 + 1] += 1
    assert abs(deviation(counts, exact)) < 4


def test_startup_probe_ends_at_the_first_success_or_the_last_failure():
    # failing with 0.6 each, three allowed: started at probe n = 0.6^(n-1) × 0.4, failed 0.6^3
    draw = random.Random(7).random
    counts = Counter()
    for _ in range(10_000):
        probes = ContainerProbes(a_container(startup=Probe()), 0, draw)
        probes.instance_started(0, 0)
        probes.set_premise(0, Premise(startup=0.6))
        counts[probes.next_change()] += 1
    exact = {
        Change(0, "started"): 0.4,
        Change(10_000, "started"): 0.24,
        Change(20_000, "started"): 0.144,
        Change(20_000, "startup-failed"): 0.216,
    }
    assert set(counts) == set(exact)
    assert abs(deviation(counts, exact)) < 4


def test_most_random_blips_of_readiness_last_no_time():
    # the probe that follows at once succeeds with 1 - 0.2; else the next one is 10 s later
    draw = random.Random(8).random
    counts = Counter()
    for _ in range(5_000):
        probes = ContainerProbes(a_container(readiness=Probe(failure_threshold=2)), 0, draw)
        probes.instance_started(0, 0)
        probes.set_premise(0, Premise(readiness=0.2))
        down_ms = None
        while down_ms is None or not probes.is_ready:
            change = probes.next_change()
            probes.apply(change)
            if change.what == "unready":
                down_ms = change.at_ms
        counts[(change.at_ms - down_ms) // 10_000] += 1
    assert abs(deviation(counts, {n: 0.8 * 0.2**n for n in range(12)})) < 4


def test_asking_again_draws_nothing_new():
    draw = random.Random(9).random
    probes = ContainerProbes(a_container(liveness=Probe()), 0, draw)
    probes.instance_started(0, 0)
    probes.set_premise(0, Premise(liveness=0.1))
    changes(probes, 1)
    expected = probes.next_change()
    probes.sync(5_000)
    probes.set_premise(6_000, Premise(liveness=0.1, readiness=0.5))
    assert probes.next_change() == expected


# --- answers and timeouts


@pytest.mark.parametrize(
    ("latency_ms", "answer"),
    [
        pytest.param(999, True, id="in time"),
        pytest.param(1000, True, id="at the timeout"),
        pytest.param(1000.5, False, id="too late"),
        pytest.param(math.inf, False, id="never"),
    ],
)
def test_probe_succeeds(latency_ms, answer):
    assert probe_succeeds(latency_ms, 1000) is answer


@pytest.mark.parametrize(
    ("mean_ms", "base_rate", "chance"),
    [
        pytest.param(0, 0.0, ANSWERS, id="answers at once"),
        pytest.param(math.inf, 0.0, FAILS, id="nothing is served"),
        # exp(-1000/500)
        pytest.param(500, 0.0, math.exp(-2), id="late answers"),
        # 1 - (1 - 0.1) (1 - exp(-1))
        pytest.param(1000, 0.1, 1 - 0.9 * (1 - math.exp(-1)), id="late or failed by itself"),
        pytest.param(0, 0.25, 0.25, id="failed by itself"),
    ],
)
def test_failure_chance(mean_ms, base_rate, chance):
    assert failure_chance(mean_ms, 1000, base_rate) == pytest.approx(chance, abs=1e-12)
