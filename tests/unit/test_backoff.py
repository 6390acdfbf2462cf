"""The wait before a crashed container starts again, against the worked series of the kubelet."""

from __future__ import annotations

import pytest

from sim.backoff import Backoff, BackoffEntry, crash_loop, next_look_ms


def series_s(run_s, restarts, rule=None):
    """Seconds waited before each restart of a container that lives `run_s` and exits."""
    rule = rule or crash_loop()
    entry, now_ms, waits = None, 0, []
    for _ in range(restarts):
        exit_ms = now_ms + run_s * 1000
        now_ms = max(exit_ms, rule.may_retry_ms(entry, exit_ms))
        entry = rule.tried(entry, exit_ms, now_ms)
        waits.append((now_ms - exit_ms) // 1000)
    return waits


def test_the_wait_doubles_from_10_to_300_seconds_and_the_first_restart_is_at_once():
    assert series_s(run_s=5, restarts=9) == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_run_of_more_than_ten_minutes_starts_the_series_again():
    rule = crash_loop()
    entry = BackoffEntry(160_000, updated_ms=0)
    # the exit after 600.001 s is not waited for, and the crash after it waits the base
    assert rule.may_retry_ms(entry, 600_001) == 600_001
    assert rule.tried(entry, 600_001, 600_001) == BackoffEntry(10_000, 600_001)


def test_a_run_of_exactly_ten_minutes_does_not():
    rule = crash_loop()
    entry = BackoffEntry(160_000, updated_ms=0)
    assert rule.may_retry_ms(entry, 600_000) == 760_000
    assert rule.tried(entry, 600_000, 760_000) == BackoffEntry(300_000, 760_000)


def test_housekeeping_cuts_a_wait_that_outlasts_its_entry():
    # ran 500 s with a back-off of 300 s: due at 800 s, but the entry is gone after 600 s
    rule = crash_loop()
    entry = BackoffEntry(300_000, updated_ms=0)
    assert rule.may_retry_ms(rule.kept(entry, 600_000), 500_000) == 800_000
    assert rule.may_retry_ms(rule.kept(entry, 602_000), 500_000) == 500_000


def test_kills_by_probes_wait_only_once_the_back_off_is_longer_than_a_run():
    # each kill and restart share a sync, which knows the finish of the instance before. With runs
    # of 30 s: no finish known, then 10, 20 and 40; the fourth kill comes 30 s after that finish
    rule = crash_loop()
    entry, finished_ms, now_ms, waits = None, None, 0, []
    for _ in range(5):
        kill_ms = now_ms + 30_000
        due_ms = kill_ms if finished_ms is None else rule.may_retry_ms(entry, finished_ms)
        known_ms = finished_ms if due_ms <= kill_ms else kill_ms
        now_ms = kill_ms if due_ms <= kill_ms else rule.may_retry_ms(entry, kill_ms)
        if known_ms is not None:
            entry = rule.tried(entry, known_ms, now_ms)
        waits.append((now_ms - kill_ms) // 1000)
        finished_ms = kill_ms
    assert waits == [0, 0, 0, 0, 40]


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        pytest.param({"max_ms": 60_000}, [0, 10, 20, 40, 60, 60], id="own maximum caps the series"),
        pytest.param(
            {"max_ms": 3_000}, [0, 3, 3, 3, 3, 3], id="maximum below the base is the base"
        ),
        pytest.param(
            {"reduced_decay": True}, [0, 1, 2, 4, 8, 16], id="reduced decay begins at 1 s"
        ),
        pytest.param(
            {"reduced_decay": True, "max_ms": 5_000}, [0, 1, 2, 4, 5, 5], id="own maximum wins"
        ),
    ],
)
def test_options(options, waits):
    assert series_s(run_s=1, restarts=6, rule=crash_loop(**options)) == waits


def test_reduced_decay_ends_at_60_seconds():
    assert series_s(run_s=1, restarts=9, rule=crash_loop(reduced_decay=True))[-2:] == [60, 60]


def test_a_failed_pull_waits_from_its_last_try():
    rule = Backoff()
    second = rule.tried(rule.tried(None, 0, 0), 10_000, 10_000)
    assert second.until_ms == 30_000  # 10 s + 2 × 10 s


@pytest.mark.parametrize(
    ("left_s", "draw", "ticker_ms", "look_ms"),
    [
        # 100 s + 10 s × 1 = 110 s, a tick
        pytest.param(10, 0.0, 0, 110_000, id="no jitter on a tick"),
        # + 10 s × 1.25 = 112.5 s, ticks at whole seconds
        pytest.param(10, 0.5, 0, 113_000, id="rounded up to the tick"),
        # the same, ticks at x.25 s
        pytest.param(10, 0.5, 250, 113_250, id="ticks have their own phase"),
        # + min(60, 300) s × 1.5
        pytest.param(300, 1.0, 0, 190_000, id="looks at least every 90 s"),
        pytest.param(-5, 0.7, 0, 100_000, id="nothing left means now"),
    ],
)
def test_next_look(left_s, draw, ticker_ms, look_ms):
    until_ms = 100_000 + left_s * 1000
    assert next_look_ms(100_000, until_ms, lambda: draw, ticker_ms) == look_ms
