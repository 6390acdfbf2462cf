"""How many pods are enough, and how long there were fewer."""

from __future__ import annotations

import pytest

from sim.availability import Availability, minimum, scaled_up
from sim.labels import Selector
from sim.testing import a_cluster, a_node, a_pod
from sim.workloads import Deployment, PodDisruptionBudget, ReplicaSet

WEB = Selector.of({"app": "web"})
POD = a_pod(labels={"app": "web"})


@pytest.mark.parametrize(
    ("budget", "replicas", "pods"),
    [
        pytest.param({"min_available": 2}, 3, 2, id="a number is taken as it is"),
        pytest.param({"min_available": "50%"}, 7, 4, id="3.5 rounds up to 4"),
        pytest.param({"min_available": "100%"}, 3, 3, id="100 % is all of them"),
        pytest.param({"min_available": 5}, 3, 3, id="no more than there are replicas"),
        pytest.param({"max_unavailable": 1}, 3, 2, id="all but one"),
        # 30 % of 7 is 2.1, so 3 may be gone
        pytest.param({"max_unavailable": "30%"}, 7, 4, id="what may be missing rounds up too"),
        pytest.param({"max_unavailable": 5}, 3, 0, id="never below none"),
        pytest.param({"max_unavailable": 0}, 3, 3, id="none may be missing"),
        pytest.param({}, 3, 3, id="a budget that says nothing wants all"),
    ],
)
def test_minimum_of_a_budget(budget, replicas, pods):
    assert minimum(PodDisruptionBudget("default", "b", WEB, **budget), replicas) == pods


@pytest.mark.parametrize(
    ("value", "total", "result"),
    [(3, 100, 3), ("1%", 1, 1), ("0%", 9, 0), ("33%", 100, 33), ("34%", 3, 2)],
)
def test_percentages_round_up(value, total, result):
    assert scaled_up(value, total) == result


class Watched:
    """A Deployment of two pods on one node, which are ready from the start."""

    def __init__(self, budget=None):
        self.cluster = a_cluster([a_node()])
        if budget is not None:
            self.cluster.budgets["default", budget.name] = budget
        self.availability = Availability(self.cluster)
        self.cluster.put_deployment(Deployment("default", "web", 2, WEB, POD))
        self.cluster.put_replicaset(ReplicaSet("default", "web-1", 2, WEB, POD, owner="web"))
        for _ in range(2):
            self.add_ready_pod()

    def add_ready_pod(self):
        cluster = self.cluster
        owner = cluster.owner("ReplicaSet", "default", "web-1")
        pod = cluster.create_pod(cluster.template(POD), owner)
        cluster.bind(pod, 0)
        cluster.set_alive(pod, True)
        cluster.set_ready(pod, True)
        return pod

    def wait(self, seconds):
        self.cluster.clock.run(self.cluster.clock.now_ms + 1000 * seconds)
        self.availability.settle()

    @property
    def record(self):
        [record] = self.availability.records.values()
        return record


def test_only_time_below_the_minimum_is_short():
    watched = Watched()
    watched.wait(5)
    watched.cluster.set_ready(0, False)
    watched.wait(3)
    watched.cluster.set_ready(0, True)
    watched.wait(2)
    assert (watched.record.short_ms, watched.record.watched_ms) == (3_000, 10_000)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda c: c.set_ready(0, False), id="it is not ready"),
        pytest.param(lambda c: c.fail_node(0), id="its node is dead, though it shows Ready"),
        pytest.param(lambda c: c.delete_pod(0), id="it is being deleted"),
        pytest.param(lambda c: c.remove_pod(0), id="it is gone"),
    ],
)
def test_a_pod_does_not_count_when(lose):
    watched = Watched()
    lose(watched.cluster)
    watched.wait(4)
    assert watched.record.short_ms == 4_000


def test_a_budget_sets_how_many_are_enough():
    budget = PodDisruptionBudget("default", "web", WEB, min_available=1)
    watched = Watched(budget)
    watched.cluster.set_ready(0, False)
    watched.wait(4)
    assert watched.record.short_ms == 0
    watched.cluster.set_ready(1, False)
    watched.wait(4)
    assert watched.record.short_ms == 4_000


def test_scaling_up_makes_the_workload_short_until_the_pods_are_there():
    watched = Watched()
    watched.cluster.scale_deployment("default", "web", 3)
    watched.wait(6)
    watched.add_ready_pod()
    watched.wait(6)
    assert (watched.record.wanted, watched.record.available) == (3, 3)
    assert watched.record.short_ms == 6_000


def test_the_warm_up_does_not_count():
    watched = Watched()
    watched.cluster.set_ready(0, False)
    watched.wait(5)
    watched.availability.restart()
    watched.wait(5)
    assert (watched.record.short_ms, watched.record.watched_ms) == (5_000, 5_000)


def test_a_replicaset_of_its_own_is_watched_one_of_a_deployment_is_not():
    cluster = a_cluster([a_node()])
    availability = Availability(cluster)
    cluster.put_replicaset(ReplicaSet("default", "alone", 1, WEB, POD))
    cluster.put_replicaset(ReplicaSet("default", "owned", 1, WEB, POD, owner="web"))
    [row] = availability.records
    assert str(cluster.workloads[row]) == "ReplicaSet/alone"
