"""The scheduling queue: whose turn it is, how long a pod waits, what wakes it.

Rules: pkg/scheduler/backend/queue (v1.34.1). Times are written in ms; back-offs are whole seconds.
"""

from __future__ import annotations

import pytest

from sim.queue import SchedulingQueue, backoff_expiry_s


def popped(queue):
    """Pods in the order in which they are taken."""
    order = []
    while (entry := queue.pop()) is not None:
        order.append(entry.pod)
    return order


def change(queue, now_ms):
    """Wake the longest waiting pod of every shape; whether there was any."""
    shapes = list(queue.unschedulable)
    for shape in shapes:
        queue.wake(shape, now_ms)
    return bool(shapes)


def fail(queue, now_ms, times=1):
    """Take the next pod and let it fail, `times` times in a row."""
    for turn in range(times):
        if turn:
            assert change(queue, now_ms)
        entry = queue.pop()
        queue.failed(entry, now_ms)
    return entry


def test_higher_priority_first_then_the_earlier():
    queue = SchedulingQueue()
    for pod, priority, added_ms in [(0, 0, 5), (1, 10, 9), (2, 0, 3), (3, 10, 7)]:
        queue.add(pod, pod, priority, added_ms)
    assert popped(queue) == [3, 1, 2, 0]


def test_equal_pods_keep_the_order_of_arrival():
    queue = SchedulingQueue()
    for pod in range(20):
        queue.add(pod, pod, 0, 0)
    assert popped(queue) == list(range(20))


def test_a_removed_pod_is_not_taken():
    queue = SchedulingQueue()
    for pod in range(3):
        queue.add(pod, pod, 0, 0)
    queue.remove(1)
    assert popped(queue) == [0, 2]


@pytest.mark.parametrize(
    ("failures", "failed_ms", "expiry_s"),
    [
        (1, 2_750, 3),  # 2.75 + 1 = 3.75
        (2, 2_750, 4),  # + 2 = 4.75
        (3, 2_750, 6),  # + 4 = 6.75
        (4, 2_750, 10),  # + 8 = 10.75
        (5, 2_750, 12),  # 16 is cut to 10: 12.75
        (40, 0, 10),
    ],
)
def test_backoff_doubles_to_ten_seconds_in_whole_seconds(failures, failed_ms, expiry_s):
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    assert backoff_expiry_s(fail(queue, failed_ms, failures)) == expiry_s


def test_a_pod_that_never_failed_has_no_backoff():
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    assert backoff_expiry_s(queue.pop()) == -1


def test_unschedulable_pods_wait_for_a_change():
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    fail(queue, 0)
    assert queue.pop() is None
    assert change(queue, 100)
    assert queue.pop().pod == 0
    assert not change(queue, 100)


def test_pods_in_backoff_come_after_all_active_ones():
    queue = SchedulingQueue()
    queue.add(0, 0, 100, 0)
    fail(queue, 0)
    change(queue, 500)  # backs off until 1 s
    queue.add(1, 1, 0, 600)
    assert popped(queue) == [1, 0]


def test_backoff_is_over_only_after_its_second():
    """Failed at 2.75 s: expiry 3, still backing off while floor(now) <= 3, over at 4.0 s."""
    for now_ms, order in [(3_999, [1, 0]), (4_000, [0, 1])]:
        queue = SchedulingQueue()
        queue.add(0, 0, 0, 0)
        fail(queue, 2_750)
        change(queue, now_ms)
        queue.add(1, 1, 0, 3_500)
        assert popped(queue) == order


def test_backoff_queue_is_in_order_of_expiry():
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    fail(queue, 0, times=3)  # expiry 4
    queue.add(1, 1, 0, 0)
    fail(queue, 0)  # expiry 1
    change(queue, 0)
    assert popped(queue) == [1, 0]


@pytest.mark.parametrize(("now_ms", "moved"), [(300_000, False), (300_001, True)])
def test_five_minutes_are_the_longest_wait(now_ms, moved):
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    fail(queue, 0)
    assert queue.flush_unschedulable(now_ms) == moved
    assert (queue.pop() is not None) == moved


def test_a_failure_starts_the_wait_anew():
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    fail(queue, 200_000)
    assert not queue.flush_unschedulable(300_001)


def test_the_longest_waiting_pod_of_a_shape_is_woken_alone():
    queue = SchedulingQueue()
    for pod in range(3):
        queue.add(pod, "shape", 0, pod)
        queue.failed(queue.pop(), pod)
    queue.wake("shape", 10)
    assert popped(queue) == [0]
    queue.wake("other", 10)
    assert popped(queue) == []
    queue.wake("shape", 10)
    assert popped(queue) == [1]


def test_shapes_that_pods_elsewhere_are_in_the_way_of_are_known_while_they_wait():
    queue = SchedulingQueue()
    for pod in range(2):
        queue.add(pod, f"shape {pod}", 0, 0)
        queue.failed(queue.pop(), 0, apart=pod == 1)
    assert queue.apart == {"shape 1"}
    queue.wake("shape 1", 0)
    assert queue.apart == set()


def test_attempts_are_counted():
    queue = SchedulingQueue()
    queue.add(0, 0, 0, 0)
    entry = fail(queue, 0, times=3)
    assert (entry.attempts, entry.unschedulable_count) == (3, 3)
