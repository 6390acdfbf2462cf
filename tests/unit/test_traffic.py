"""Requests as rates times time, with the arithmetic beside them."""

from __future__ import annotations

import pytest

from sim.recorder import Reason
from sim.testing import a_cluster, a_node, a_pod, bound
from sim.traffic import Flow, Traffic

KEY = ("default", "web")


class Wire:
    """Three pods that answer behind a Service that gets 30 requests of 4 ms CPU a second."""

    def __init__(self, rps=30, cpu_ms=4.0):
        self.cluster = a_cluster([a_node()], [bound(a_pod(), 0)] * 3)
        self.loads = {}  # pod -> the last load told
        self.told = []
        self.traffic = Traffic(self.cluster, self.set_load)
        self.traffic.add(KEY, rps, cpu_ms)
        for pod in range(3):
            self.cluster.set_alive(pod, True)
            self.cluster.set_answers(pod, True)
        self.traffic.publish(KEY, (0, 1, 2))

    def set_load(self, pod, cpu_m):
        self.loads[pod] = cpu_m
        self.told.append(pod)

    @property
    def flow(self):
        return self.traffic.flows[KEY]

    def wait(self, seconds):
        clock = self.cluster.clock
        clock.run(clock.now_ms + 1000 * seconds)
        self.flow.settle(clock.now_ms)

    def reasons(self):
        return [Reason(reason) for reason in self.cluster.recorder.reason]


def test_all_is_answered_while_all_endpoints_answer():
    wire = Wire()
    wire.wait(10)
    assert (wire.flow.sent, wire.flow.failed, wire.flow.error_ms) == (300, 0, 0)


def test_a_third_fails_from_death_until_the_endpoint_leaves():
    wire = Wire()
    wire.wait(10)
    wire.cluster.set_alive(1, False)
    wire.wait(50)  # 50 s × 30/s / 3 = 500 fail
    wire.traffic.publish(KEY, (0, 2))
    wire.wait(40)
    assert wire.flow.sent == pytest.approx(3000)
    assert wire.flow.failed == pytest.approx(500)
    assert wire.flow.error_ms == 50_000
    assert wire.flow.outage_ms == 0
    assert wire.reasons()[-2:] == [Reason.ERRORS_BEGIN, Reason.ERRORS_END]


def test_without_endpoints_everything_fails():
    wire = Wire()
    wire.traffic.publish(KEY, ())
    wire.wait(7)
    assert (wire.flow.sent, wire.flow.failed) == (210, 210)
    assert wire.flow.error_ms == wire.flow.outage_ms == 7_000
    assert Reason.NO_ENDPOINTS in wire.reasons()


def test_a_pod_without_the_cpu_fails_the_share_it_cannot_serve():
    wire = Wire()
    wire.cluster.set_answers(0, True, served=0.4)
    wire.wait(10)  # a third of 300 goes to it, 60 % of that fails
    assert wire.flow.failed == pytest.approx(60)


def test_load_is_shared_among_the_endpoints_and_taken_away_with_them():
    wire = Wire(rps=300, cpu_ms=4.0)  # 1,200 m over three pods
    assert wire.loads == {0: 400, 1: 400, 2: 400}
    wire.traffic.publish(KEY, (0, 2))
    assert wire.loads == {0: 600, 1: 0, 2: 600}


def test_a_pod_behind_two_services_carries_both_loads():
    wire = Wire(rps=300, cpu_ms=1.0)  # 100 m each
    wire.traffic.add(("default", "admin"), 50, 10.0)  # 500 m on one pod
    wire.traffic.publish(("default", "admin"), (2,))
    assert wire.loads == {0: 100, 1: 100, 2: 600}


def test_a_shared_pods_load_moves_when_only_the_sum_rounds_to_something_else():
    wire = Wire(rps=36, cpu_ms=0.1)  # 3.6 m over three pods: 1.2 m each
    admin = ("default", "admin")
    wire.traffic.add(admin, 27, 0.1)  # 2.7 m
    wire.traffic.publish(admin, (1, 2))  # 1.35 m each: 2.55 m on pods 1 and 2
    assert wire.loads == {0: 1, 1: 3, 2: 3}
    wire.traffic.publish(admin, (0, 1, 2))  # 0.9 m each, which rounds to 1 as 1.35 m does
    assert wire.loads == {0: 2, 1: 2, 2: 2}  # 1.2 + 0.9 = 2.1 m


def test_requests_that_cost_no_cpu_are_not_told():
    wire = Wire(cpu_ms=0.0)
    wire.traffic.publish(KEY, (0, 2))
    assert wire.told == []


def test_only_loads_that_move_are_told():
    wire = Wire(rps=9, cpu_ms=0.1)  # 0.9 m over three pods: 0.3 m, which rounds to 0
    assert wire.told == []
    wire.traffic.publish(KEY, (0, 1))  # 0.45 m
    assert wire.told == []
    wire.traffic.publish(KEY, (0,))  # 0.9 m
    assert wire.told == [0]
    wire.traffic.publish(KEY, (0,))
    assert wire.told == [0]


def test_a_first_complete_answer_is_no_end_of_errors():
    wire = Wire()
    assert Reason.ERRORS_END not in wire.reasons()


def test_errors_end_as_often_as_they_begin():
    # Of one pod that answers 40 % at first, then all, 40 % again and all again.
    cluster = a_cluster([a_node()], [bound(a_pod(), 0)])
    traffic = Traffic(cluster, lambda pod, cpu_m: None)
    traffic.add(KEY, 10, 0)
    cluster.set_alive(0, True)
    traffic.publish(KEY, (0,))
    for served in (0.4, 1.0, 0.4, 1.0):
        cluster.set_answers(0, True, served=served)
        cluster.clock.run(cluster.clock.now_ms + 1_000)
    reasons = [Reason(reason) for reason in cluster.recorder.reason]
    relevant = [r for r in reasons if r in (Reason.ERRORS_BEGIN, Reason.ERRORS_END)]
    assert relevant == [Reason.ERRORS_BEGIN, Reason.ERRORS_END]


def test_requests_before_the_first_endpoint_fail_but_are_no_event():
    cluster = a_cluster([a_node()], [bound(a_pod(), 0)])
    traffic = Traffic(cluster, lambda pod, cpu_m: None)
    traffic.add(KEY, 10, 0)
    cluster.clock.run(5_000)
    cluster.set_alive(0, True)
    cluster.set_answers(0, True)
    traffic.publish(KEY, (0,))
    flow = traffic.flows[KEY]
    assert (flow.sent, flow.failed, flow.outage_ms) == (50, 50, 5_000)
    assert Reason.ERRORS_BEGIN not in [Reason(r) for r in cluster.recorder.reason]


def test_the_warm_up_is_forgotten_except_in_the_totals_ever():
    flow = Flow(KEY, 0, 10)
    flow.restart(3_000)
    flow.settle(4_000)
    assert (flow.sent, flow.failed, flow.error_ms, flow.outage_ms) == (10, 10, 1_000, 1_000)
    assert (flow.sent_ever, flow.failed_ever) == (40, 40)
