"""Grace periods, the order in which a pod's containers end, and a node's graceful shutdown.

Times in comments are worked out by hand from the rules (Kubernetes documentation: pod termination,
sidecar termination, graceful node shutdown); upstream's tables are in tests/conformance.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.podspec import Container, Probe
from sim.termination import (
    MIN_STOP_MS,
    ShutdownGroup,
    Stopping,
    after_pre_stop,
    container_grace_ms,
    pod_grace,
    shutdown_end,
    shutdown_grace_ms,
    shutdown_group,
    shutdown_groups,
    shutdown_inhibits_ms,
    shutdown_order,
    stop,
    stop_schedule,
)

# Grace


@pytest.mark.parametrize(
    ("pod_s", "before_s", "deletion_s", "override_s", "grace_s", "shortened"),
    [
        (30, 0, None, None, 30, False),  # the pod's own
        (30, 0, 60, None, 60, False),  # the deletion's, longer or not
        (30, 0, 60, 10, 10, False),  # the shorter of two requests
        (30, 0, 5, 10, 5, False),
        (30, 20, 60, None, 20, False),  # later requests do not prolong
        (30, 20, 5, None, 5, True),
        (30, 20, None, 20, 20, False),
        (0, 0, None, None, 1, False),  # at least a second
        (None, 0, None, None, 1, False),
        (30, 20, 0, None, 1, True),
    ],
)
def test_a_pods_grace_only_gets_shorter(
    pod_s, before_s, deletion_s, override_s, grace_s, shortened
):
    def ms(seconds):
        return None if seconds is None else 1000 * seconds

    found = pod_grace(
        ms(pod_s), before_ms=ms(before_s), deletion_ms=ms(deletion_s), override_ms=ms(override_s)
    )
    assert (found.grace_ms, found.shortened) == (ms(grace_s), shortened)


REQUEST = st.none() | st.integers(0, 100).map(lambda seconds: 1000 * seconds)


@given(st.integers(1, 100), REQUEST, REQUEST)
def test_no_request_prolongs_a_grace_that_is_running(before_s, deletion_ms, override_ms):
    found = pod_grace(
        30_000, before_ms=1000 * before_s, deletion_ms=deletion_ms, override_ms=override_ms
    )
    assert 1_000 <= found.grace_ms <= 1000 * before_s
    assert found.shortened == (found.grace_ms < 1000 * before_s)


@pytest.mark.parametrize(
    ("reason", "own_ms", "deletion_ms", "grace_ms"),
    [
        ("LivenessProbe", 60_000, None, 60_000),  # longer than the pod's
        ("LivenessProbe", None, None, 30_000),
        ("LivenessProbe", 60_000, 7_000, 7_000),  # being deleted anyway
        ("StartupProbe", 60_000, None, 30_000),  # it is the liveness probe that has its own
        ("Unknown", 60_000, None, 30_000),
        ("", 60_000, None, 30_000),
    ],
)
def test_a_probes_own_grace_is_for_its_own_kills(reason, own_ms, deletion_ms, grace_ms):
    container = Container("a", liveness=Probe(termination_grace_ms=own_ms))
    assert container_grace_ms(container, 30_000, reason, deletion_ms=deletion_ms) == grace_ms


# The end of a pod's containers


@pytest.mark.parametrize(
    ("pre_stop_ms", "grace_ms", "told_ms", "left_ms"),
    [
        (None, 30_000, 0, 30_000),
        (0, 30_000, 0, 30_000),
        (5_000, 30_000, 5_000, 25_000),
        (5_700, 30_000, 5_700, 25_000),  # only whole seconds are taken off
        (90_000, 30_000, 30_000, 0),  # cut off with the grace
        (5_000, 0, 0, 0),  # no grace: no hook
    ],
)
def test_a_pre_stop_hook_uses_up_grace(pre_stop_ms, grace_ms, told_ms, left_ms):
    assert after_pre_stop(pre_stop_ms, grace_ms) == (told_ms, left_ms)


@pytest.mark.parametrize(
    ("pre_stop_ms", "shutdown_ms", "term_ms", "end_ms", "killed"),
    [
        (None, 4_000, 0, 4_000, False),
        (None, 30_000, 0, 30_000, False),  # just in time
        (None, 30_001, 0, 30_000, True),
        (10_000, 4_000, 10_000, 14_000, False),
        (10_000, 25_000, 10_000, 30_000, True),
        (40_000, 25_000, 30_000, 32_000, True),  # the hook took it all: 2 s are left anyway
    ],
)
def test_a_container_ends_by_itself_or_by_kill(pre_stop_ms, shutdown_ms, term_ms, end_ms, killed):
    found = stop(Stopping(pre_stop_ms=pre_stop_ms, shutdown_ms=shutdown_ms), 30_000)
    assert (found.term_ms, found.end_ms, found.killed) == (term_ms, end_ms, killed)


def ends(containers, grace_ms=30_000):
    return [(s.term_ms, s.end_ms) for s in stop_schedule(containers, grace_ms)]


def test_sidecars_end_after_the_containers_the_last_one_first():
    found = ends(
        [
            Stopping(sidecar=True, shutdown_ms=1_000),
            Stopping(sidecar=True, shutdown_ms=2_000),
            Stopping(shutdown_ms=5_000),
            Stopping(shutdown_ms=3_000),
        ]
    )
    # mains end at 5 and 3; the second sidecar is told at 5, ends at 7; the first ends at 8
    assert found == [(7_000, 8_000), (5_000, 7_000), (0, 5_000), (0, 3_000)]


def test_a_main_container_that_uses_all_the_grace_leaves_two_seconds_to_each_sidecar():
    slow = 60_000
    found = ends([*[Stopping(sidecar=True, shutdown_ms=slow)] * 2, Stopping(shutdown_ms=slow)])
    # At 30 the main container is killed and the waits of both sidecars are over: both are told.
    assert found == [(30_000, 32_000), (30_000, 32_000), (0, 30_000)]


def test_a_sidecar_that_waited_half_a_second_is_told_with_all_its_grace():
    found = stop_schedule(
        [Stopping(sidecar=True, shutdown_ms=60_000), Stopping(shutdown_ms=500)], 10_000
    )
    assert (found[0].term_ms, found[0].kill_ms) == (500, 10_500)  # 0.5 s counts as none


def test_a_sidecars_hook_runs_at_once_and_not_at_its_turn():
    found = ends(
        [
            Stopping(sidecar=True, pre_stop_ms=4_000, shutdown_ms=1_000),
            Stopping(shutdown_ms=6_000),
        ]
    )
    assert found == [(6_000, 7_000), (0, 6_000)]
    found = ends(
        [
            Stopping(sidecar=True, pre_stop_ms=8_000, shutdown_ms=1_000),
            Stopping(shutdown_ms=6_000),
        ]
    )
    assert found == [(8_000, 9_000), (0, 6_000)]


def test_a_sidecar_whose_hook_used_all_its_grace_does_not_wait():
    found = ends(
        [
            Stopping(sidecar=True, pre_stop_ms=50_000, shutdown_ms=1_000),
            Stopping(pre_stop_ms=20_000, shutdown_ms=60_000),
        ],
        grace_ms=20_000,
    )
    # the sidecar is told at 20, as is the main container, which is killed at 22
    assert found == [(20_000, 21_000), (20_000, 22_000)]


CONTAINERS = st.lists(
    st.builds(
        Stopping,
        st.booleans(),
        st.none() | st.integers(0, 50_000),
        st.integers(0, 50_000),
    ),
    max_size=5,
)


@given(CONTAINERS, st.integers(1, 40).map(lambda seconds: 1000 * seconds))
def test_every_pod_is_gone_in_time(containers, grace_ms):
    """TERM within the grace and KILL 2 s later at the latest, and what whole seconds give away."""
    for container, found in zip(containers, stop_schedule(containers, grace_ms), strict=True):
        assert 0 <= found.term_ms < grace_ms + 1_000
        assert found.term_ms + MIN_STOP_MS <= found.kill_ms < grace_ms + MIN_STOP_MS + 1_000
        assert found.end_ms == min(found.term_ms + container.shutdown_ms, found.kill_ms)
        assert found.killed == (found.term_ms + container.shutdown_ms > found.kill_ms)


@given(CONTAINERS, st.integers(1, 40).map(lambda seconds: 1000 * seconds))
def test_a_sidecar_is_told_after_those_it_serves_or_when_its_wait_has_used_up_the_grace(
    containers, grace_ms
):
    found = stop_schedule(containers, grace_ms)
    for place, container in enumerate(containers):
        later = [
            found[other].end_ms
            for other, served in enumerate(containers)
            if not served.sidecar or other > place
        ]
        if container.sidecar and found[place].term_ms < max(later, default=0):
            assert found[place].kill_ms == found[place].term_ms + MIN_STOP_MS


# Shutdown of a node


def test_critical_pods_get_their_part_of_the_shutdown_at_its_end():
    groups = shutdown_groups(30_000, 10_000)
    assert groups == (ShutdownGroup(0, 20_000), ShutdownGroup(2_000_000_000, 10_000))
    assert shutdown_inhibits_ms(groups) == 30_000


def test_critical_pods_may_get_all_of_the_shutdown():
    assert [group.grace_ms for group in shutdown_groups(10_000, 10_000)] == [0, 10_000]


@pytest.mark.parametrize(("shutdown_ms", "critical_ms"), [(0, 0), (10_000, 10_001)])
def test_without_a_period_there_is_no_graceful_shutdown(shutdown_ms, critical_ms):
    assert shutdown_groups(shutdown_ms, critical_ms) == ()


@pytest.mark.parametrize(
    ("priority", "group"), [(-5, 0), (0, 0), (9, 0), (10, 1), (99, 1), (100, 2), (10**9, 2)]
)
def test_a_pod_is_of_the_highest_group_up_to_its_priority(priority, group):
    groups = [ShutdownGroup(priority, 1_000) for priority in (0, 10, 100)]
    assert shutdown_group(groups, priority) == group


def test_groups_stop_in_the_order_of_their_priorities_however_they_are_written():
    low, high = ShutdownGroup(0, 5_000), ShutdownGroup(100, 9_000)
    order = ((low, (1, 2)), (high, (0,)))
    assert shutdown_order([high, low], [500, 1, 2]) == order
    assert shutdown_order([low, high], [500, 1, 2]) == order


@pytest.mark.parametrize(("pod_ms", "grace_ms"), [(None, 10_000), (3_000, 3_000), (60_000, 10_000)])
def test_a_pods_grace_in_a_shutdown_is_at_most_its_groups(pod_ms, grace_ms):
    assert shutdown_grace_ms(ShutdownGroup(0, 10_000), pod_ms) == grace_ms


@pytest.mark.parametrize(
    ("phase", "end"), [("Running", "Failed"), ("Pending", "Failed"), ("Succeeded", "Succeeded")]
)
def test_a_shutdown_fails_pods_but_those_that_had_succeeded(phase, end):
    assert (shutdown_end(phase).phase, shutdown_end(phase).reason) == (end, "Terminated")
