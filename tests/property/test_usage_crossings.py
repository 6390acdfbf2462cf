"""A node's sums against the laws one by one, and its crossings against looking at every ms."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.curves import Curve, Part, first_at_least, piece_at
from sim.laws import Law, Noise, Trace, Wave, draw
from sim.usage import Usage

RUN_MS = 600  # a short run, so that every ms can be looked at
EPSILON = 1e-3  # rounding to the grid, and of sines


@st.composite
def traces(draw):
    times = sorted(draw(st.sets(st.integers(1, 400), min_size=1, max_size=5)))
    times = [0, *times] if draw(st.booleans()) else times
    values = draw(st.lists(st.integers(0, 900), min_size=len(times), max_size=len(times)))
    return Trace(tuple(times), tuple(values), repeats=draw(st.booleans()))


waves = st.builds(
    Wave, st.integers(0, 500), st.integers(0, 900), st.sampled_from([7, 60, 170, 997])
)
laws = st.builds(
    Law,
    base=st.integers(0, 2000),
    growth=st.sampled_from([0, 0, 1, 7, 300]),
    growth_per_ms=st.sampled_from([1, 3, 100]),
    plateau=st.none() | st.integers(0, 3000),
    wave=st.none() | waves,
    trace=st.none() | traces(),
    noise=st.none() | st.builds(Noise, st.floats(0, 0.3), st.sampled_from([5, 50])),
)
slow_waves = st.builds(Wave, st.integers(0, 500), st.integers(0, 900), st.sampled_from([170, 997]))
smooth_laws = st.builds(
    lambda law, wave: replace(law, wave=wave, noise=None), laws, st.none() | slow_waves
)
pods = st.lists(
    st.tuples(st.integers(0, 3), laws, st.integers(0, 300), st.none() | st.integers(1, 300)),
    max_size=8,
)


def test_a_wave_is_highest_at_its_peak():
    curve = piece_at((Part(Law(100, wave=Wave(50, 250, 1000))),), 0, 0).curve
    # 100 + 50 at 250 ms, 100 - 50 half a period later
    assert curve.at(250) == pytest.approx(150, abs=EPSILON)
    assert curve.at(750) == pytest.approx(50, abs=EPSILON)


@given(pods=pods, looks=st.lists(st.integers(0, RUN_MS), min_size=1, max_size=5))
def test_sums_of_nodes_are_those_of_their_pods(pods, looks):
    usage = Usage()
    living = {}
    events = [(start, "put", pod) for pod, (_, _, start, _) in enumerate(pods)]
    events += [
        (start + run, "drop", pod) for pod, (_, _, start, run) in enumerate(pods) if run is not None
    ]
    events += [(at, "look", -1) for at in looks]
    for at, what, pod in sorted(events):
        if what == "put":
            node, law, _, _ = pods[pod]
            living[pod] = node, law, at
            usage.put(pod, node, [Part(law, at)], at, key=pod)
        elif what == "drop":
            del living[pod]
            usage.drop(pod)
        else:
            found = usage.values(at).tolist()
            for node in range(len(found)):
                here = [pod for pod, (on, _, _) in living.items() if on == node]
                smooth = sum(living[pod][1].at(at, living[pod][2]) for pod in here)
                noisy = [pod for pod in here if living[pod][1].noise]
                noise = sum(
                    usage.of(pod, at) - living[pod][1].at(at, living[pod][2]) for pod in noisy
                )
                assert found[node] == pytest.approx(smooth + noise, abs=EPSILON * (len(here) + 1))
                assert usage.value(node, at) == pytest.approx(found[node], abs=1e-6)
    for pod in living:
        usage.drop(pod)
    assert usage.values(RUN_MS * 2).tolist() == [0.0] * len(usage.values(RUN_MS * 2))


@given(
    pods=st.lists(st.tuples(laws, st.sampled_from([0, 0, 700, 1500])), min_size=1, max_size=6),
    level=st.integers(0, 9000),
    from_ms=st.integers(0, RUN_MS),
)
def test_a_crossing_is_the_first_ms_at_the_level(pods, level, from_ms):
    usage, again = Usage(), Usage()
    for pod, (law, cap) in enumerate(pods):
        for one in (usage, again):
            one.put(pod, 0, [Part(law)], 0, cap, key=pod)
    until_ms = from_ms + RUN_MS
    found = usage.next_at_least(0, level, from_ms, until_ms)
    before_ms = until_ms if found is None else found
    for ms in range(from_ms, before_ms):
        assert again.value(0, ms) < level + EPSILON, ms
    if found is not None:
        assert again.value(0, found) >= level - EPSILON


@given(pods=st.lists(laws, min_size=1, max_size=4), level=st.integers(1, 5000))
def test_the_first_ms_below_a_level_is_found(pods, level):
    usage, again = Usage(), Usage()
    for pod, law in enumerate(pods):
        for one in (usage, again):
            one.put(pod, 0, [Part(law)], 0, key=pod)
    found = usage.next_below(0, level, 0, RUN_MS)
    for ms in range(RUN_MS if found is None else found):
        assert again.value(0, ms) >= level - EPSILON, ms
    if found is not None:
        assert again.value(0, found) < level + EPSILON


@given(
    a=st.integers(-2000, 2000),
    b=st.integers(-3000, 3000).map(lambda slope: slope / 1024),
    waves=st.dictionaries(
        st.sampled_from([11, 60, 86, 240]),
        st.tuples(st.integers(-500, 500), st.integers(-500, 500)),
        max_size=3,
    ),
    level=st.integers(-3000, 3000),
)
def test_a_curve_of_several_waves_is_solved_as_by_scanning(a, b, waves, level):
    curve = Curve(a, b, tuple((period, *parts) for period, parts in waves.items()))
    found = first_at_least(curve, level, 0, RUN_MS)
    by_scanning = next((ms for ms in range(RUN_MS) if curve.at(ms) >= level), None)
    if found != by_scanning:  # only where rounding decides
        assert by_scanning is not None
        assert curve.at(by_scanning) == pytest.approx(level, abs=1e-6)


@given(
    law=smooth_laws,
    cap=st.sampled_from([0, 600, 1400]),
    times=st.tuples(*[st.integers(0, 500)] * 2),
)
def test_an_integral_is_the_sum_of_small_steps(law, cap, times):
    from_ms, to_ms = sorted(times)
    usage = Usage()
    usage.put(0, 0, [Part(law)], 0, cap)
    values = [usage.of(0, ms) for ms in range(from_ms, to_ms + 1)]
    trapezoids = sum((u + v) / 2 for u, v in itertools.pairwise(values))
    # A trapezoid of 1 ms misses a wave by its bend / 12: 500 (tau / 170)^2 / 12 = 0.06; a jump or a
    # corner by no more than the step (300 for growth that ends).
    assert usage.integral(0, from_ms, to_ms) == pytest.approx(
        trapezoids, abs=300 + 0.06 * len(values) + jumps(law, to_ms)
    )


def jumps(law, to_ms):
    """How far a repeating trace jumps, all its jumps up to `to_ms` together."""
    if law.trace is None or not law.trace.repeats:
        return 0
    return (to_ms // law.trace.times_ms[-1] + 1) * 1000


@settings(max_examples=30)
@given(
    moves=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans(), laws), max_size=20
    ),
    at=st.integers(0, 10_000),
)
def test_nothing_is_left_of_what_has_gone(moves, at):
    usage = Usage()
    for pod, node, stays, law in moves:
        if stays:
            usage.put(pod, node, [Part(law)], 0, key=pod)
        else:
            usage.drop(pod)
    for pod in range(6):
        usage.drop(pod)
    assert [value for value in usage.values(at).tolist() if value] == []


@given(
    pods=st.lists(laws, min_size=1, max_size=5), times=st.lists(st.integers(0, 10**9), min_size=2)
)
def test_answers_do_not_depend_on_what_was_asked_before(pods, times):
    def fresh():
        usage = Usage()
        for pod, law in enumerate(pods):
            usage.put(pod, pod % 2, [Part(law)], 0, key=pod)
        return usage

    asked = fresh()
    for ms in sorted(times):
        asked.next_at_least(0, 1e6, ms, ms + 100)
        assert asked.values(ms).tobytes() == fresh().values(ms).tobytes()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_noise_stays_within_three_deviations(key, step):
    assert -3 < draw(key, step) < 3
    assert not math.isnan(draw(key, step))
