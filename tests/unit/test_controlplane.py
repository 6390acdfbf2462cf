"""API calls take tokens, keys wait for their calls, the ideal control plane waits for nothing."""

from __future__ import annotations

import pytest

from sim.actions import CreatePods, DeletePods, LookAgain
from sim.catalog import CONTROLLERS
from sim.clock import Lane
from sim.controlplane import ApiClient, ControllerRun, ControlPlane, ControlPlaneSettings
from sim.labels import Selector
from sim.recorder import Reason
from sim.tables import Phase
from sim.testing import a_cluster, a_node, a_pod
from sim.workloads import Deployment, Job

WEB = Selector.of({"app": "web"})
POD = a_pod(labels={"app": "web"})


def created_ms(cluster):
    return cluster.pods.created_ms[: len(cluster.pods)].tolist()


def deploy(replicas, settings=None, *, until_ms=60_000):
    cluster = a_cluster([a_node()])
    plane = ControlPlane(cluster, CONTROLLERS, settings or ControlPlaneSettings())
    deployment = Deployment("default", "web", replicas, WEB, POD)
    cluster.clock.at(0, Lane.FAULTS, cluster.put_deployment, deployment)
    cluster.clock.run(until_ms)
    return cluster, plane


def test_sixty_pods_take_the_burst_and_then_a_second_and_a_half():
    # 20 ms for the Deployment's sync, 20 ms for the ReplicaSet's; 30 at once, 20 a second.
    cluster, _ = deploy(60)
    assert created_ms(cluster) == [40] * 30 + [40 + 50 * i for i in range(1, 31)]
    assert created_ms(cluster)[-1] == 40 + 1_500


def test_the_ideal_control_plane_takes_no_time_at_all():
    cluster, _ = deploy(600, ControlPlaneSettings(ideal=True))
    assert created_ms(cluster) == [0] * 600


def test_rate_and_burst_can_be_set():
    cluster, _ = deploy(4, ControlPlaneSettings(qps=1, burst=2))
    assert created_ms(cluster) == [40, 40, 1_040, 2_040]


def test_more_than_500_pods_take_a_second_pass():
    cluster, _ = deploy(501, ControlPlaneSettings(qps=1e6, burst=1000))
    assert created_ms(cluster) == [40] * 500 + [60]


def test_a_pod_that_goes_is_replaced_after_one_sync():
    cluster, _ = deploy(2, until_ms=1_000)
    cluster.clock.at(1_000, Lane.FAULTS, cluster.delete_pod, 0)
    cluster.clock.run(5_000)
    assert created_ms(cluster) == [40, 40, 1_020]


def test_scaling_down_deletes_the_surplus():
    cluster, _ = deploy(5, until_ms=1_000)
    cluster.clock.at(1_000, Lane.FAULTS, cluster.scale_deployment, "default", "web", 2)
    cluster.clock.run(5_000)
    assert int(cluster.pods.exists[: len(cluster.pods)].sum()) == 2


def test_a_key_is_not_looked_at_while_its_calls_wait():
    # Scaled to 4 at 0.5 s, while pods 3 and 4 of 8 still wait for tokens: all 8 are made first.
    cluster, _ = deploy(8, ControlPlaneSettings(qps=1, burst=2), until_ms=500)
    cluster.scale_deployment("default", "web", 4)
    cluster.clock.run(30_000)
    assert len(cluster.pods) == 8
    assert int(cluster.pods.exists[: len(cluster.pods)].sum()) == 4


def test_each_controller_has_a_bucket_of_its_own():
    cluster = a_cluster([a_node()])
    settings = ControlPlaneSettings(qps=1, burst=1, job_sync_ms=20)
    ControlPlane(cluster, CONTROLLERS, settings)
    cluster.put_deployment(Deployment("default", "web", 1, WEB, POD))
    for name in ("a", "b"):
        cluster.put_job(Job("default", name, POD))
    cluster.clock.run(10_000)
    # The Job controller: 20 and 1,020; the ReplicaSet controller: 40.
    assert sorted(created_ms(cluster)) == [20, 40, 1_020]


def test_a_failed_job_is_tried_again_after_its_back_off():
    cluster = a_cluster([a_node()])
    ControlPlane(cluster, CONTROLLERS, ControlPlaneSettings())
    cluster.put_job(Job("default", "work", POD))
    cluster.clock.run(1_001)
    assert created_ms(cluster) == [20]  # a new Job is looked at at once, events of pods 1 s later
    cluster.bind(0, 0)
    cluster.end_pod(0, Phase.FAILED, Reason.CONTAINER_FAILED)
    cluster.clock.run(60_000)
    assert created_ms(cluster) == [20, 11_001]


def test_a_second_look_is_made_even_when_nothing_happens():
    cluster, seen = a_cluster(), []

    def reconcile(key, view, now_ms):
        seen.append(now_ms)
        return [LookAgain(5_000)] if now_ms < 5_000 else []

    run = ControllerRun(cluster, reconcile, ControlPlaneSettings(), 20)
    run.queue.add("key")
    cluster.clock.run(20_000)
    assert seen == [20, 5_000]


def test_calls_are_made_in_order_and_free_ones_wait_their_turn():
    cluster, log = a_cluster(), []
    client = ApiClient(cluster, ControlPlaneSettings(qps=10, burst=1))
    for name in ("first", "second"):
        client.submit(log.append, name)
    client.submit(log.append, "free", free=True)
    assert log == ["first"]
    cluster.clock.run(101)
    assert log == ["first", "second", "free"]


@pytest.mark.parametrize("asked", [[], [LookAgain(10)]], ids=["nothing", "a later look"])
def test_a_pass_that_does_nothing_is_not_followed_by_another(asked):
    cluster, seen = a_cluster(), []

    def reconcile(key, view, now_ms):
        seen.append(now_ms)
        return asked if len(seen) == 1 else []

    run = ControllerRun(cluster, reconcile, ControlPlaneSettings(), 0)
    run.queue.add("key")
    cluster.clock.run(1_000)
    assert len(seen) == 1 + len(asked)


def test_deletions_go_through_the_client_too():
    cluster = a_cluster([a_node()])
    owner = cluster.owner("ReplicaSet", "default", "web")
    asked = [[CreatePods(owner, POD, 2)], [DeletePods((0, 1))]]
    settings = ControlPlaneSettings(qps=1, burst=1)
    run = ControllerRun(cluster, lambda *_: asked.pop(0) if asked else [], settings, 0)
    run.queue.add("key")
    cluster.clock.run(10_000)
    assert created_ms(cluster) == [0, 1_000]
    assert cluster.pods.deleting_ms[:2].tolist() == [2_000, 3_000]
