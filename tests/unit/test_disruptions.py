"""How many disruptions a budget allows: expected from the owners' scale, healthy is ready."""

from __future__ import annotations

import pytest

from sim.disruptions import Disruptions
from sim.labels import Selector
from sim.podspec import PodTemplate
from sim.recorder import Reason
from sim.tables import Phase
from sim.testing import a_cluster, a_node, a_pod
from sim.workloads import Deployment, Job, PodDisruptionBudget, ReplicaSet

WEB = Selector.of({"app": "web"})
POD = a_pod(labels={"app": "web"})


class Case:
    """A Deployment `web` with its ReplicaSet; `start` makes pods that are ready."""

    def __init__(self, replicas=4):
        self.cluster = a_cluster([a_node()])
        self.cluster.put_deployment(Deployment("default", "web", replicas, WEB, POD))
        self.put_replicaset("web-1", replicas, "web")
        self.disruptions = Disruptions(self.cluster)

    def put_replicaset(self, name, replicas, owner=""):
        self.cluster.put_replicaset(ReplicaSet("default", name, replicas, WEB, POD, owner=owner))

    def start(self, count, kind="ReplicaSet", owner="web-1", *, ready=True, template=POD):
        cluster, pods = self.cluster, []
        for number in range(count):
            maker = cluster.owner(kind, "default", owner)
            name = f"{owner}-{number}" if kind == "Pod" else None
            pod = cluster.create_pod(cluster.template(template), maker, name)
            cluster.bind(pod, 0)
            cluster.set_ready(pod, ready)
            pods.append(pod)
        return pods

    def allowed(self, **budget):
        return self.disruptions.allowed(
            PodDisruptionBudget("default", "web", budget.pop("selector", WEB), **budget)
        )


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [
        # 4 of 4 replicas are ready
        pytest.param({"min_available": 1}, 3, id="all but one"),
        pytest.param({"min_available": 4}, 0, id="none may go"),
        pytest.param({"min_available": 9}, 0, id="fewer than wanted"),
        pytest.param({"min_available": "50%"}, 2, id="half"),
        pytest.param({"min_available": "51%"}, 1, id="2.04 pods are three"),
        pytest.param({"max_unavailable": 1}, 1, id="one"),
        pytest.param({"max_unavailable": "30%"}, 2, id="1.2 pods are two"),
        pytest.param({"max_unavailable": "100%"}, 4, id="all"),
        pytest.param({}, 0, id="neither is set"),
        pytest.param({"min_available": 0, "selector": None}, 0, id="picks nothing"),
        pytest.param({"min_available": 1, "selector": Selector()}, 3, id="picks everything"),
    ],
)
def test_what_a_budget_allows(budget, allowed):
    case = Case()
    case.start(4)
    assert case.allowed(**budget) == allowed


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [
        # 4 wanted, 3 are there, 2 of them ready
        pytest.param({"min_available": 1}, 1, id="a number counts from what is ready"),
        pytest.param({"min_available": "50%"}, 0, id="half of what is wanted, not of what is"),
        pytest.param({"max_unavailable": 3}, 1, id="two are missing already"),
    ],
)
def test_missing_pods_count_against_it(budget, allowed):
    case = Case()
    case.start(2)
    case.start(1, ready=False)
    assert case.allowed(**budget) == allowed


def test_the_scale_of_a_deployment_counts_once_for_all_its_replica_sets():
    case = Case(replicas=4)
    case.put_replicaset("web-2", 4, "web")
    case.start(2, owner="web-1")
    case.start(2, owner="web-2")
    assert case.allowed(max_unavailable=1) == 1  # 4 wanted, 4 ready


def test_scales_of_different_owners_add_up():
    case = Case(replicas=2)
    case.put_replicaset("own", 3)
    case.start(2)
    case.start(3, owner="own")
    assert case.allowed(min_available="60%") == 2  # 3 of 5


def test_pods_without_a_controller_are_healthy_but_not_expected():
    case = Case(replicas=2)
    case.start(2)
    case.start(1, "Pod", "single")
    assert case.allowed(max_unavailable=0) == 1  # 3 healthy, 2 expected


@pytest.mark.parametrize(
    ("kind", "owner"), [("Job", "j"), ("ReplicaSet", "unknown")], ids=["job", "unknown"]
)
def test_an_owner_without_a_scale_allows_nothing_unless_a_number_must_be_available(kind, owner):
    case = Case(replicas=2)
    if kind == "Job":
        case.cluster.put_job(Job("default", "j", POD))
    case.start(2)
    case.start(1, kind, owner)
    assert case.allowed(max_unavailable="100%") == 0
    assert case.allowed(min_available="1%") == 0
    assert case.allowed(min_available=1) == 2


def test_pods_in_other_namespaces_or_with_other_labels_do_not_count():
    case = Case()
    case.start(4)
    case.start(2, "Pod", "elsewhere", template=PodTemplate("else", POD.labels, POD.spec))
    case.start(2, "Pod", "other", template=a_pod(labels={"app": "db"}))
    assert case.allowed(min_available=1) == 3


def test_pods_whose_eviction_is_granted_are_not_healthy():
    case = Case()
    pods = case.start(4)
    names = frozenset({case.cluster.pod_name(pods[0])})
    assert case.allowed(min_available=1, disrupted_pods=names) == 2


CHANGES = {
    "a pod is no longer ready": lambda c, pod: c.set_ready(pod, False),
    "a pod is being deleted": lambda c, pod: c.delete_pod(pod),
    "a pod has ended": lambda c, pod: c.end_pod(pod, Phase.FAILED, Reason.CONTAINER_FAILED),
    "a pod is gone": lambda c, pod: c.remove_pod(pod),
    "more are wanted": lambda c, pod: c.scale_deployment("default", "web", 5),
    "its labels change": lambda c, pod: c.update_pod(pod, c.template(a_pod())),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_allowed_follows_what_happens(change):
    case = Case()
    pods = case.start(4)
    budget = PodDisruptionBudget("default", "web", WEB, max_unavailable=2)
    before = case.disruptions.allowed(budget)
    change(case.cluster, pods[0])
    # 4 healthy of 4, two must stay; then 3 of 4, or 4 of 5 with three that must stay
    assert (before, case.disruptions.allowed(budget)) == (2, 1)


def test_pods_that_come_count():
    case = Case()
    case.start(2)
    budget = PodDisruptionBudget("default", "web", WEB, min_available=2)
    before = case.disruptions.allowed(budget)
    case.start(2)
    assert (before, case.disruptions.allowed(budget)) == (0, 2)


def test_a_budget_that_takes_the_place_of_another_counts_for_itself():
    case = Case()
    case.start(4)
    assert [case.allowed(min_available=least) for least in (1, 2, 3)] == [3, 2, 1]
