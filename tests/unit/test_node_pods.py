"""What pools say of their nodes' kubelets: pods that every node runs, and orderly shutdowns."""

from __future__ import annotations

import math

import pytest

from sim.actions import JoinNode, RecoverNodes, ShutdownNodes
from sim.engine import Simulation
from sim.errors import ScenarioError
from sim.tables import NodeReady, Phase
from tests.inline import CALM, a_deployment, a_pool, a_scenario

AGENTS = [
    {"name": "proxy", "cpu": "100m", "memory": "1Gi"},
    {"name": "log", "cpu": "50m", "count": 2},
]


def simulation(objects=(), **pool):
    kubelet = {**CALM, "shutdown": "1s"}
    return Simulation(a_scenario(objects, nodes=[a_pool(2, **pool)], kubelet=kubelet))


def test_every_node_runs_its_pods_without_the_scheduler():
    result = simulation(overheadPods=AGENTS).run()
    assert sorted(result.pods["pod"]) == sorted(
        name.format(node)
        for node in ("pool-0", "pool-1")
        for name in ("proxy-{}", "log-{}-0", "log-{}-1")
    )
    assert set(result.pods["phase"]) == {"Running"}
    assert set(result.pods["workload"]) == {"StaticPod/proxy", "StaticPod/log"}
    assert list(result.nodes["cpu_requested_m"]) == [200, 200]  # 100 + 2 * 50
    assert list(result.nodes["pods"]) == [3, 3]
    assert all(math.isnan(wait_s) for wait_s in result.pods["wait_s"])
    assert result.workloads["availability"].isna().all()


def test_nodes_that_join_later_run_them_too():
    run = simulation(overheadPods=AGENTS)
    run.at(60_000, JoinNode(0))
    result = run.run()
    assert list(result.nodes["pods"]) == [3, 3, 3]


def test_they_are_no_part_of_the_mix_that_strands_resources():
    # 4000m and 16 GiB a node; proxies leave 3900m and 15 GiB. One web pod of 3 CPU and 1 GiB: its
    # node strands all that is left, 900m and 14 GiB; the other one 3900 - 3000 = 900m, 14 GiB.
    agents = [{"name": "proxy", "cpu": "100m", "memory": "1Gi"}]
    result = simulation([a_deployment(cpu="3", memory="1Gi")], overheadPods=agents).run()
    assert list(result.nodes["stranded_cpu_m"]) == [900, 900]
    assert list(result.nodes["stranded_memory_b"]) == [14 * 2**30] * 2


def test_a_shutdown_of_a_node_is_graceful_and_its_pods_are_replaced():
    run = simulation(
        [a_deployment(replicas=1)],
        shutdownGracePeriod="30s",
        shutdownGracePeriodCriticalPods="10s",
    )
    run.clock.run(60_000)
    [node] = {int(run.cluster.pods.node[0])}
    run.at(60_000, ShutdownNodes((node,)))
    run.at(180_000, RecoverNodes((node,)))
    run.clock.run(70_000)
    assert run.cluster.pods.phase[0] == Phase.FAILED
    assert run.cluster.pods.node[1] == 1 - node
    assert not run.cluster.nodes.up[node]
    assert run.cluster.nodes.ready[node] == NodeReady.FALSE
    run.clock.run(240_000)
    assert run.cluster.nodes.up[node]
    assert run.cluster.nodes.ready[node] == NodeReady.TRUE


def test_a_recovery_in_the_middle_of_a_shutdown_makes_it_a_reboot():
    run = simulation([a_deployment(replicas=2)], shutdownGracePeriod="30s", overheadPods=AGENTS)
    run.at(60_000, ShutdownNodes((0,)))
    run.at(60_000, RecoverNodes((0,)))
    run.clock.run(120_000)
    assert run.cluster.nodes.up[0]
    assert run.cluster.nodes.faults[0] == 0


def test_critical_pods_cannot_have_more_than_all():
    with pytest.raises(ScenarioError, match="more than shutdownGracePeriod"):
        simulation(shutdownGracePeriod="10s", shutdownGracePeriodCriticalPods="20s")
