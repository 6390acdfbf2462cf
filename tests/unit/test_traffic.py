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
        self.loads = {}
        self.traffic = Traffic(self.cluster, self.loads.__setitem__)
        self.traffic.add(KEY, rps, cpu_ms)
        for pod in range(3):
            self.cluster.set_alive(pod, True)
            self.cluster.set_answers(pod, True)
        self.traffic.publish(KEY, (0, 1, 2))

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
