"""Distributions of durations, and what a scenario says about containers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.behaviour import (
    Behaviour,
    Constant,
    Empirical,
    Exponential,
    Lognormal,
    MemoryUse,
    Uniform,
    Weibull,
    behaviour_of,
)

DRAWS = 200_000


def draws(distribution, size=DRAWS):
    return distribution.sample_ms(np.random.default_rng(11), size)


@pytest.mark.parametrize(
    ("distribution", "mean_ms", "deviation_ms"),
    [
        pytest.param(Constant(8000), 8000, 0, id="constant"),
        pytest.param(Exponential(2000), 2000, 2000, id="exponential: deviation is the mean"),
        # mean = e^(0.5^2/2) x median; variance = (e^(0.25) - 1) x mean^2
        pytest.param(
            Lognormal(1000, 0.5),
            1000 * math.exp(0.125),
            1000 * math.exp(0.125) * math.sqrt(math.exp(0.25) - 1),
            id="lognormal",
        ),
        # mean = scale x Gamma(3/2) = scale x sqrt(pi)/2; second moment scale^2 x Gamma(2)
        pytest.param(
            Weibull(1000, 2.0),
            500 * math.sqrt(math.pi),
            1000 * math.sqrt(1 - math.pi / 4),
            id="weibull",
        ),
        pytest.param(
            Weibull.of_mean(2000, 1.0), 2000, 2000, id="weibull of shape 1 is exponential"
        ),
        pytest.param(Uniform(100, 500), 300, 400 / math.sqrt(12), id="uniform"),
        pytest.param(Empirical((1000, 4000)), 2500, 1500, id="empirical"),
    ],
)
def test_means_are_those_of_the_formula_and_of_the_draws(distribution, mean_ms, deviation_ms):
    assert distribution.mean_ms == pytest.approx(mean_ms)
    error = 5 * deviation_ms / math.sqrt(DRAWS) + 0.01  # five standard errors
    assert draws(distribution).mean() == pytest.approx(mean_ms, abs=error)


def test_a_lognormal_has_the_median_and_the_p99_it_was_given():
    start = Lognormal.of_p99(1200, 5000)
    assert start.sigma == pytest.approx(0.6135, abs=5e-5)  # ln(5 / 1.2) / 2.326
    drawn = draws(start)
    # the share below a quantile q has the standard error sqrt(q (1 - q) / n)
    assert (drawn <= 1200).mean() == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / DRAWS))
    assert (drawn <= 5000).mean() == pytest.approx(0.99, abs=5 * math.sqrt(0.0099 / DRAWS))


def test_exponential_draws_are_memoryless():
    drawn = draws(Exponential(1000))
    # P(X > 2 s) = e^-2
    assert (drawn > 2000).mean() == pytest.approx(math.exp(-2), abs=5 * math.sqrt(0.117 / DRAWS))


def test_a_uniform_stays_within_its_bounds_and_reaches_them():
    drawn = draws(Uniform(10, 20))
    assert (drawn.min(), drawn.max()) == (10, 20)


def test_an_empirical_draws_only_what_was_observed():
    assert set(draws(Empirical((5, 70, 900)))) == {5, 70, 900}


def test_a_constant_leaves_the_stream_where_it_was():
    rng = np.random.default_rng(3)
    Constant(5).sample_ms(rng, 100)
    assert rng.random() == np.random.default_rng(3).random()


EXTREMES = [
    Constant(0),
    Exponential(10**12),
    Lognormal(10**12, 40.0),
    Uniform(0, 0),
    Empirical((0,)),
]


@pytest.mark.parametrize("distribution", EXTREMES, ids=repr)
def test_draws_are_whole_milliseconds_and_never_negative(distribution):
    drawn = draws(distribution, 1000)
    assert drawn.dtype == np.int64
    assert (drawn >= 0).all()


def test_the_same_stream_gives_the_same_draws():
    assert (draws(Lognormal(100, 1.0), 50) == draws(Lognormal(100, 1.0), 50)).all()


def test_memory_grows_evenly():
    use = MemoryUse(base_b=100, growth_b=60, growth_per_ms=3_600_000)
    assert use.at(0) == 100
    assert use.at(60_000) == 101  # 60 an hour is 1 a minute
    assert use.at(3_600_000) == 160


@given(
    st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**7), st.integers(0, 2 * 10**6)
)
def test_the_age_of_a_limit_is_the_first_millisecond_above_it(base_b, growth_b, per_ms, limit_b):
    use = MemoryUse(base_b, growth_b, per_ms)
    age_ms = use.age_ms_above(limit_b)
    assert use.at(age_ms) > limit_b
    assert age_ms == 0 or use.at(age_ms - 1) <= limit_b


def test_memory_that_does_not_grow_never_passes_a_limit():
    assert MemoryUse(base_b=100).age_ms_above(100) is None
    assert MemoryUse(base_b=101).age_ms_above(100) == 0


@pytest.mark.parametrize(
    ("entry", "matches"),
    [
        pytest.param(Behaviour(), True, id="no condition matches everything"),
        pytest.param(Behaviour({"app": "web"}), True, id="a label that the pod has"),
        pytest.param(Behaviour({"app": "db"}), False, id="another value"),
        pytest.param(Behaviour({"app": "web", "x": "y"}), False, id="a label that it lacks"),
        pytest.param(Behaviour(namespace="shop"), True, id="its namespace"),
        pytest.param(Behaviour(namespace="other"), False, id="another namespace"),
        pytest.param(Behaviour(container="main"), True, id="its container"),
        pytest.param(Behaviour(container="proxy"), False, id="another container"),
    ],
)
def test_an_entry_matches_by_labels_namespace_and_container(entry, matches):
    assert entry.matches("shop", {"app": "web", "tier": "1"}, "main") is matches


def test_of_two_entries_that_match_the_later_wins_where_it_says_something():
    entries = [
        Behaviour(startup=Constant(1), cpu_m=5),
        Behaviour({"app": "web"}, startup=Constant(2)),
        Behaviour({"app": "db"}, cpu_m=9),
    ]
    said = behaviour_of(entries, "shop", {"app": "web"}, "main")
    assert (said.startup, said.cpu_m, said.memory) == (Constant(2), 5, None)
