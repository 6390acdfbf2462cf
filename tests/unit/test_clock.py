"""Virtual time: what comes first, what comes together, and how fast a bucket gives tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.clock import Clock, Lane, TokenBucket, WorkQueue
from sim.errors import SimError


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(Lane)), max_size=40))
def test_calls_come_by_time_then_lane_then_insertion(calls):
    clock, log = Clock(), []
    for serial, (time_ms, lane) in enumerate(calls):
        clock.at(time_ms, lane, log.append, (time_ms, lane, serial))
    clock.run(100)
    assert log == sorted(log)
    assert len(log) == len(calls)


def test_lanes_stand_in_the_order_of_the_design():
    names = [lane.name for lane in sorted(Lane)]
    assert names == [
        "FAULTS",
        "EXITS",
        "KUBELET",
        "API",
        "LIFECYCLE",
        "ENDPOINTS",
        "CONTROLLERS",
        "SCHEDULER",
        "AUTOSCALERS",
        "SAMPLES",
    ]


def test_a_users_process_runs_before_ours_at_one_instant():
    clock, log = Clock(), []

    def process():
        yield clock.env.timeout(10)
        log.append("theirs")

    clock.at(10, Lane.FAULTS, log.append, "ours")
    clock.env.process(process())
    clock.run(20)
    assert log == ["theirs", "ours"]


def test_what_falls_on_the_end_does_not_happen():
    clock, log = Clock(), []
    clock.at(9, Lane.API, log.append, 9)
    clock.at(10, Lane.FAULTS, log.append, 10)
    clock.run(10)
    assert log == [9]
    assert clock.now_ms == 10


def test_a_time_that_has_passed_means_now():
    clock, log = Clock(), []
    clock.at(5, Lane.API, lambda: clock.at(1, Lane.API, lambda: log.append(clock.now_ms)))
    clock.run(10)
    assert log == [5]


def test_a_process_that_waits_for_half_a_millisecond_is_told_to_round():
    clock = Clock()

    def process():
        yield clock.env.timeout(0.5)
        clock.after(1, Lane.API, print)

    clock.env.process(process())
    with pytest.raises(SimError, match=r"the time is 0\.5 ms; .* whole milliseconds"):
        clock.run(10)


# --- work queues


def test_a_key_is_handled_once_after_the_delay_since_it_was_first_added():
    clock, log = Clock(), []
    queue = WorkQueue(clock, Lane.CONTROLLERS, 20, lambda key: log.append((clock.now_ms, key)))
    for time_ms, key in [(0, "a"), (5, "b"), (10, "a"), (30, "a")]:
        clock.at(time_ms, Lane.API, queue.add, key)
    clock.run(100)
    assert log == [(20, "a"), (25, "b"), (50, "a")]


def test_a_key_added_while_it_is_handled_is_handled_again():
    clock, log = Clock(), []

    def handle(key):
        log.append(clock.now_ms)
        if len(log) < 3:
            queue.add(key)

    queue = WorkQueue(clock, Lane.CONTROLLERS, 20, handle)
    queue.add("a")
    clock.run(100)
    assert log == [20, 40, 60]


def test_an_urgent_key_is_moved_forward():
    clock, log = Clock(), []
    queue = WorkQueue(clock, Lane.CONTROLLERS, 1_000, lambda key: log.append(clock.now_ms))
    queue.add("a")
    queue.add("a", 20)
    queue.add("a")
    clock.run(2_000)
    assert log == [20]


def test_a_key_can_be_added_for_later():
    clock, log = Clock(), []
    queue = WorkQueue(clock, Lane.CONTROLLERS, 20, lambda key: log.append(clock.now_ms))
    queue.add_at("a", 50)
    clock.run(100)
    assert log == [70]


# --- token buckets


@pytest.mark.parametrize(
    ("per_second", "burst", "taken", "last_ms"),
    [
        pytest.param(20, 30, 30, 0, id="a burst comes at once"),
        # (31 - 30) / 20 s
        pytest.param(20, 30, 31, 50, id="the first after the burst waits for one token"),
        # (60 - 30) / 20 s
        pytest.param(20, 30, 60, 1_500, id="60 of 20 a second after 30 take 1.5 s"),
        pytest.param(1, 1, 4, 3_000, id="a bucket of one is a metronome"),
        # 3 / 3 per s, in floating point
        pytest.param(3, 1, 4, 1_000, id="thirds of a second add up"),
    ],
)
def test_bucket_gives_its_burst_and_then_its_rate(per_second, burst, taken, last_ms):
    bucket = TokenBucket(per_second, burst, 0)
    assert [bucket.reserve(0) for _ in range(taken)][-1] == last_ms


def test_bucket_fills_while_nobody_asks_but_not_above_its_burst():
    bucket = TokenBucket(10, 2, 0)
    assert [bucket.reserve(0) for _ in range(3)] == [0, 0, 100]
    assert [bucket.reserve(10_000) for _ in range(3)] == [10_000, 10_000, 10_100]


def test_empty_bucket_gives_its_first_token_after_one_interval():
    bucket = TokenBucket(10, 5, 0, full=False)
    assert not bucket.has_token(99)
    assert bucket.has_token(100)


def test_bucket_without_a_rate_never_gives_a_token():
    assert TokenBucket(0, 1, 0).next_ms(5) is None


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.integers(0, 200), min_size=1, max_size=60),
)
def test_no_window_sees_more_than_burst_plus_rate_times_time(per_second, burst, gaps):
    bucket, now_ms, times = TokenBucket(per_second, burst, 0), 0, []
    for gap in gaps:
        now_ms += gap
        times.append(bucket.reserve(now_ms))
    for first in range(len(times)):
        for last in range(first, len(times)):
            window_s = (times[last] - times[first] + 1) / 1000  # times are rounded up to ms
            assert last - first + 1 <= burst + per_second * window_s + 1e-6
