"""What the workload controllers ask for, given what they see; which pods go first."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from sim.actions import CreatePods, CreateReplicaSet, DeletePods, LookAgain, ScaleReplicaSet
from sim.controllers import deployment, job, replicaset
from sim.controllers.replicaset import Candidate, compare, deletion_order, log_age
from sim.labels import Selector
from sim.recorder import Reason
from sim.tables import NEVER, Phase
from sim.testing import a_cluster, a_node, a_pod
from sim.workloads import Deployment, Job, ReplicaSet

WEB = Selector.of({"app": "web"})
POD = a_pod(labels={"app": "web"})
KEY = ("default", "web")
H = 3_600_000


def a_replicaset_of(count, *, replicas, nodes=2):
    """A cluster with a ReplicaSet that has `count` pending pods."""
    cluster = a_cluster([a_node()] * nodes)
    cluster.put_replicaset(ReplicaSet("default", "web", replicas, WEB, POD))
    for _ in range(count):
        add(cluster)
    return cluster


def add(cluster, owner_key=("ReplicaSet", *KEY), *, node=None, running=False, ready=False, **pod):
    owner = cluster.owner(*owner_key)
    template = replace(POD, **pod) if pod else POD
    made = cluster.create_pod(cluster.template(template), owner)
    if node is not None:
        cluster.bind(made, node)
    if running or ready:
        cluster.set_alive(made, True)
        cluster.run_pod(made)
    cluster.set_ready(made, ready)
    return made


def wait(cluster, ms):
    cluster.clock.run(cluster.clock.now_ms + ms)


# --- ReplicaSets


@pytest.mark.parametrize(
    ("present", "replicas", "asked"),
    [
        pytest.param(0, 3, 3, id="creates what is missing"),
        pytest.param(2, 3, 1, id="creates only what is missing"),
        pytest.param(0, 501, 500, id="creates at most 500 in one pass"),
        pytest.param(3, 3, 0, id="asks nothing when all are there"),
        pytest.param(3, 1, -2, id="deletes what is too much"),
        pytest.param(3, 0, -3, id="deletes all for no replicas"),
        pytest.param(502, 1, -500, id="deletes at most 500 in one pass"),
    ],
)
def test_replicaset_compares_wanted_with_present(present, replicas, asked):
    cluster = a_replicaset_of(present, replicas=replicas)
    actions = replicaset.reconcile(KEY, cluster, 0)
    created = sum(a.count for a in actions if isinstance(a, CreatePods))
    deleted = sum(len(a.pods) for a in actions if isinstance(a, DeletePods))
    assert created - deleted == asked
    assert len(actions) == bool(asked)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda c: c.delete_pod(0), id="is being deleted"),
        pytest.param(lambda c: c.end_pod(0, Phase.FAILED, Reason.CONTAINER_FAILED), id="failed"),
        pytest.param(lambda c: c.end_pod(0, Phase.SUCCEEDED, Reason.COMPLETED), id="succeeded"),
        pytest.param(lambda c: c.remove_pod(0), id="is gone"),
    ],
)
def test_replicaset_replaces_a_pod_that(lose):
    cluster = a_replicaset_of(0, replicas=1)
    add(cluster, node=0, ready=True)
    lose(cluster)
    [action] = replicaset.reconcile(KEY, cluster, 0)
    assert isinstance(action, CreatePods)
    assert action.count == 1


def test_replicaset_keeps_a_pod_on_a_dead_node_until_it_is_deleted():
    cluster = a_replicaset_of(0, replicas=1)
    add(cluster, node=0, ready=True)
    cluster.fail_node(0)
    assert replicaset.reconcile(KEY, cluster, 0) == []


def test_replicaset_that_is_gone_asks_nothing():
    assert replicaset.reconcile(KEY, a_cluster(), 0) == []


def a_ladder():
    """Pods 0..5, each by one rule more useful than the one before."""
    cluster = a_cluster([a_node()] * 3)
    cluster.put_replicaset(ReplicaSet("default", "web", 6, WEB, POD))
    add(cluster)
    add(cluster, node=0)
    add(cluster, node=0, running=True)
    cheap = {"controller.kubernetes.io/pod-deletion-cost": "-1"}
    add(cluster, node=0, ready=True, annotations=cheap)
    add(cluster, node=0, ready=True)  # node 0 has four pods, node 1 one
    add(cluster, node=1, ready=True)
    return cluster


def test_unbound_pending_unready_cheap_and_crowded_go_first():
    cluster = a_ladder()
    for order in [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (3, 0, 5, 1, 4, 2)]:
        assert deletion_order(list(order), cluster, H) == [0, 1, 2, 3, 4, 5]


def test_pods_of_another_replicaset_of_the_deployment_crowd_a_node():
    cluster = a_cluster([a_node()] * 2)
    for name in ("web-1", "web-2"):
        cluster.put_replicaset(ReplicaSet("default", name, 1, WEB, POD, owner="web"))
    on_0 = add(cluster, ("ReplicaSet", "default", "web-1"), node=0, ready=True)
    on_1 = add(cluster, ("ReplicaSet", "default", "web-1"), node=1, ready=True)
    add(cluster, ("ReplicaSet", "default", "web-2"), node=1, ready=True)
    assert deletion_order([on_0, on_1], cluster, H) == [on_1, on_0]


A = Candidate(True, True, True, 0, -1, ready_s=3600, restarts=0, created_s=3600, uid=7)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Ages of 1 h and 2 h in nanoseconds: log2 is 41.7 and 42.7.
        pytest.param(A._replace(ready_s=3600), A._replace(ready_s=0), id="ready later"),
        # 2 h and 1 h 55 min are both 42: the UID decides, though the restarts differ.
        pytest.param(
            A._replace(ready_s=0, uid=1), A._replace(ready_s=300, restarts=9, uid=2), id="UID"
        ),
        pytest.param(A._replace(restarts=2), A._replace(restarts=1), id="restarted more often"),
        pytest.param(A._replace(created_s=3600), A._replace(created_s=0), id="created later"),
        pytest.param(
            A._replace(created_s=0, uid=1), A._replace(created_s=300, uid=2), id="UID at last"
        ),
        pytest.param(A._replace(deletion_cost=-5), A._replace(deletion_cost=5), id="cheaper"),
    ],
)
def test_goes_first(first, second):
    now_ms = 2 * H
    assert compare(first, second, now_ms) < 0 < compare(second, first, now_ms)


def test_equal_pods_are_not_told_apart():
    assert compare(A, A, 2 * H) == 0


@pytest.mark.parametrize(
    ("age_ms", "step"),
    # 1 ms is 10^6 ns, log2 = 19.93; 1.048576 ms would be 20 exactly, so 2 ms is 20
    [(0, -1), (-5, -1), (1, 19), (2, 20)],
)
def test_log_age_counts_nanoseconds(age_ms, step):
    assert log_age(10_000 + age_ms, 10) == step


def test_log_age_of_an_unknown_time_is_that_of_the_newest():
    assert log_age(5_000, NEVER) == -1


@pytest.mark.parametrize(
    ("text", "cost"),
    [("5", 5), ("-3", -3), ("x", 0), ("2147483647", 2**31 - 1), ("2147483648", 0), ("1.5", 0)],
)
def test_deletion_cost_is_an_int32_or_nothing(text, cost):
    annotations = {"controller.kubernetes.io/pod-deletion-cost": text}
    assert replicaset._deletion_cost(annotations) == cost


def test_the_order_does_not_depend_on_how_the_pods_come():
    cluster = a_replicaset_of(0, replicas=4)
    for place in range(4):
        add(cluster, node=place % 2, ready=True)
        wait(cluster, (1 + place) * H)
    now_ms = cluster.clock.now_ms
    orders = {tuple(deletion_order(list(p), cluster, now_ms)) for p in permutations(range(4))}
    assert len(orders) == 1


# --- Deployments


def a_deployment(replicas=2, pod=POD):
    return Deployment("default", "web", replicas, WEB, pod)


def carry_out(cluster, actions):
    for action in actions:
        if isinstance(action, CreateReplicaSet):
            cluster.put_replicaset(action.replicaset)
        else:
            cluster.scale_replicaset(action.namespace, action.name, action.replicas)


def test_deployment_makes_a_replicaset_whose_pods_carry_the_templates_hash():
    cluster = a_cluster()
    cluster.put_deployment(a_deployment())
    [action] = deployment.reconcile(KEY, cluster, 0)
    made = action.replicaset
    assert (made.replicas, made.owner) == (2, "web")
    assert made.name == f"web-{made.template.labels['pod-template-hash']}"
    assert made.selector.matches(made.template.labels)


def test_deployment_that_is_served_asks_nothing():
    cluster = a_cluster()
    cluster.put_deployment(a_deployment())
    carry_out(cluster, deployment.reconcile(KEY, cluster, 0))
    assert deployment.reconcile(KEY, cluster, 0) == []


def test_deployment_scales_its_replicaset():
    cluster = a_cluster()
    cluster.put_deployment(a_deployment(2))
    carry_out(cluster, deployment.reconcile(KEY, cluster, 0))
    cluster.scale_deployment(*KEY, 5)
    [action] = deployment.reconcile(KEY, cluster, 0)
    assert isinstance(action, ScaleReplicaSet)
    assert action.replicas == 5


def test_a_new_template_makes_a_new_replicaset_and_empties_the_old():
    cluster = a_cluster()
    cluster.put_deployment(a_deployment(2))
    carry_out(cluster, deployment.reconcile(KEY, cluster, 0))
    [old] = cluster.replicasets.values()
    cluster.put_deployment(a_deployment(2, a_pod(labels={"app": "web"}, cpu_m=700)))
    actions = deployment.reconcile(KEY, cluster, 0)
    assert ScaleReplicaSet("default", old.name, 0) in actions
    carry_out(cluster, actions)
    assert sorted(r.replicas for r in cluster.replicasets.values()) == [0, 2]
    assert deployment.reconcile(KEY, cluster, 0) == []


def test_going_back_to_an_old_template_takes_its_replicaset_again():
    cluster = a_cluster()
    for pod in (POD, a_pod(labels={"app": "web"}, cpu_m=700), POD):
        cluster.put_deployment(a_deployment(2, pod))
        carry_out(cluster, deployment.reconcile(KEY, cluster, 0))
    assert [r.replicas for r in cluster.replicasets.values()] == [2, 0]


def test_deployments_of_one_name_in_two_namespaces_are_kept_apart():
    cluster = a_cluster()
    for namespace in ("a", "b"):
        cluster.put_deployment(
            Deployment(namespace, "web", 1, WEB, replace(POD, namespace=namespace))
        )
        carry_out(cluster, deployment.reconcile((namespace, "web"), cluster, 0))
    assert [r.namespace for r in cluster.replicasets.values()] == ["a", "b"]


# --- Jobs


def a_job_cluster(**job_options):
    cluster = a_cluster([a_node()])
    cluster.put_job(Job("default", "web", POD, **job_options))
    return cluster


def run_job_pods(cluster, *phases):
    """One pod per phase that ran and ended so, 1 s after it was made."""
    for phase in phases:
        pod = add(cluster, ("Job", *KEY), node=0, ready=True)
        wait(cluster, 1_000)
        if phase is not None:
            cluster.end_pod(pod, phase, Reason.COMPLETED)


@pytest.mark.parametrize(
    ("completions", "parallelism", "phases", "created"),
    [
        (1, 1, [], 1),
        (5, 2, [], 2),
        (5, 2, [None], 1),
        (5, 2, [None, None], 0),
        (3, 2, [Phase.SUCCEEDED, Phase.SUCCEEDED], 1),
        (1, 1, [Phase.SUCCEEDED], 0),
        (2, 5, [Phase.SUCCEEDED, None], 0),
    ],
)
def test_job_keeps_enough_pods_going(completions, parallelism, phases, created):
    cluster = a_job_cluster(completions=completions, parallelism=parallelism)
    run_job_pods(cluster, *phases)
    actions = job.reconcile(KEY, cluster, cluster.clock.now_ms)
    assert sum(action.count for action in actions) == created


@pytest.mark.parametrize(
    ("failures", "wait_s"),
    [(1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (30, 600)],
)
def test_job_waits_longer_after_each_failure(failures, wait_s):
    cluster = a_job_cluster(backoff_limit=30)
    run_job_pods(cluster, *[Phase.FAILED] * failures)
    now_ms = cluster.clock.now_ms
    due_ms = now_ms + 1000 * wait_s
    assert job.reconcile(KEY, cluster, now_ms) == [LookAgain(due_ms)]
    assert job.reconcile(KEY, cluster, due_ms - 1) == [LookAgain(due_ms)]
    [action] = job.reconcile(KEY, cluster, due_ms)
    assert isinstance(action, CreatePods)


def test_a_success_ends_the_back_off():
    cluster = a_job_cluster(completions=2)
    run_job_pods(cluster, Phase.FAILED, Phase.FAILED, Phase.SUCCEEDED)
    [action] = job.reconcile(KEY, cluster, cluster.clock.now_ms)
    assert isinstance(action, CreatePods)


# A Job has failed when failed pods > backoffLimit (job_controller.go, syncJob).
@pytest.mark.parametrize(
    ("limit", "failed", "goes_on"),
    [(0, 0, True), (0, 1, False), (2, 2, True), (2, 3, False), (6, 6, True), (6, 7, False)],
)
def test_a_job_makes_no_pods_after_more_failures_than_its_limit(limit, failed, goes_on):
    cluster = a_job_cluster(completions=9, backoff_limit=limit)
    run_job_pods(cluster, *[Phase.FAILED] * failed)
    long_after_ms = cluster.clock.now_ms + 3_600_000
    actions = job.reconcile(KEY, cluster, long_after_ms)
    assert [type(action) for action in actions] == ([CreatePods] if goes_on else [])


def test_a_job_that_has_failed_deletes_what_still_runs():
    cluster = a_job_cluster(completions=9, parallelism=3, backoff_limit=1)
    run_job_pods(cluster, Phase.FAILED, None, Phase.FAILED, None)
    assert job.reconcile(KEY, cluster, cluster.clock.now_ms) == [DeletePods((1, 3))]


def test_a_pod_that_was_deleted_before_its_end_counts_as_failed_and_goes_on_counting():
    cluster = a_job_cluster(completions=9, backoff_limit=1)
    run_job_pods(cluster, None, Phase.SUCCEEDED, None)
    cluster.delete_pod(0)
    cluster.remove_pod(0)  # 1 of 1 failed
    assert job.failures(cluster.owner("Job", *KEY), cluster) == 1
    cluster.delete_pod(2)  # still terminating: 2 failed > 1
    assert job.reconcile(KEY, cluster, cluster.clock.now_ms + 3_600_000) == []
