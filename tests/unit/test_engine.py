"""A run from end to end: what is built, what is done to it, what can be done from outside."""

from __future__ import annotations

import pytest

import sim
from sim.actions import (
    CordonNodes,
    DeletePod,
    FailNodes,
    RecoverNodes,
    ScaleDeployment,
    Timed,
)
from sim.engine import Simulation, question_of, unmodelled
from sim.tables import NEVER
from tests.inline import (
    CALM,
    a_bare_pod,
    a_deployment,
    a_job,
    a_pool,
    a_scenario,
    a_service,
)

IDEAL = {"kubelet": CALM, "controlPlane": {"ideal": True}}


def ideal(objects=(), files=None, **sections):
    return a_scenario(objects, files, **{**IDEAL, "nodes": [a_pool(2)], **sections})


def running(simulation):
    pods = simulation.cluster.pods
    return int(pods.ready[: len(pods)].sum())


# --- what is built


def test_pools_become_nodes_with_zones_labels_and_taints():
    pool = a_pool(
        3, zones=["a", "b"], labels={"disk": "fast"}, taints=[{"key": "k", "effect": "NoSchedule"}]
    )
    nodes = Simulation(a_scenario(nodes=[pool])).cluster.nodes
    assert nodes.names == ["pool-0", "pool-1", "pool-2"]
    assert [nodes.zones[z] for z in nodes.zone[:3]] == ["a", "b", "a"]
    assert nodes.labels[1]["disk"] == "fast"
    assert nodes.labels[1]["topology.kubernetes.io/zone"] == "b"
    assert nodes.taints(2)[0].key == "k"


def test_nodes_of_the_manifests_are_as_they_say():
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}},
        "spec": {"unschedulable": True},
        "status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "20"},
            "allocatable": {"cpu": "3900m", "memory": "7Gi", "pods": "17"},
        },
    }
    nodes = Simulation(a_scenario([node])).cluster.nodes
    assert nodes.allocatable[:2, 0].tolist() == [3_900, 7 * 1024**3]
    assert nodes.max_pods[0] == 17
    assert nodes.unschedulable[0]
    assert nodes.zones[nodes.zone[0]] == "z"


@pytest.mark.parametrize(
    ("objects", "workloads"),
    [
        ([a_deployment("web", 2)], {"Deployment/web": 2}),
        ([a_job("work", completions=3, parallelism=3)], {"Job/work": 3}),
        ([a_bare_pod("one"), a_bare_pod("two")], {"Pod/one": 1, "Pod/two": 1}),
    ],
    ids=["Deployments", "Jobs", "Pods"],
)
def test_manifests_run(objects, workloads):
    result = sim.run(ideal(objects))
    assert (
        dict(zip(result.workloads["workload"], result.workloads["pods"], strict=True)) == workloads
    )
    assert (result.pods["phase"] == "Running").all()


def test_a_pod_of_a_dump_is_made_once_by_its_owner_only():
    owned = a_bare_pod("web-abc-x")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "controller": True}
    owned["metadata"]["ownerReferences"] = [owner]
    replicaset = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "web-abc",
            "ownerReferences": [{"kind": "Deployment", "name": "web", "controller": True}],
        },
        "spec": a_deployment("web", 1)["spec"],
    }
    assert len(sim.run(ideal([a_deployment("web", 1), replicaset, owned])).pods) == 1


def test_a_pod_that_names_its_node_is_there_from_the_start():
    result = sim.run(ideal([a_bare_pod("one", nodeName="pool-1")]))
    assert result.pods["node"].tolist() == ["pool-1"]


def test_a_scenario_can_be_run_twice_and_is_not_changed():
    scenario = ideal([a_deployment("web", 2)])
    action = Timed(60_000, ScaleDeployment("default", "web", 5))
    scaled, plain = sim.run(scenario, actions=[action]), sim.run(scenario)
    assert (len(scaled.pods), len(plain.pods)) == (5, 2)


# --- what is done from outside


@pytest.mark.parametrize(
    ("actions", "at_s", "expected"),
    [
        ([ScaleDeployment("default", "web", 6)], 61, 6),
        ([ScaleDeployment("default", "web", 1)], 61, 1),
        ([DeletePod(0)], 61, 4),
        ([CordonNodes((0, 1)), DeletePod(0)], 61, 3),
        ([CordonNodes((0, 1)), DeletePod(0), CordonNodes((1,), unschedulable=False)], 61, 4),
    ],
    ids=["scaled up", "scaled down", "one replaced", "no room while cordoned", "uncordoned"],
)
def test_after_one_minute(actions, at_s, expected):
    simulation = Simulation(ideal([a_deployment("web", 4)]))
    for action in actions:
        simulation.at(60_000, action)
    simulation.clock.run(at_s * 1000)
    assert running(simulation) == expected


def test_a_machine_that_fails_kills_its_pods_and_one_that_is_cut_off_does_not():
    for mode, alive in [("crash", 0), ("partition", 2)]:
        simulation = Simulation(ideal([a_deployment("web", 2)], nodes=[a_pool(1)]))
        simulation.at(60_000, FailNodes((0,), mode))
        simulation.clock.run(61_000)
        assert int(simulation.cluster.pods.alive[:2].sum()) == alive


def test_a_node_that_recovers_in_time_keeps_its_pods():
    simulation = Simulation(ideal([a_deployment("web", 2)], nodes=[a_pool(1)]))
    simulation.at(60_000, FailNodes((0,)))
    simulation.at(90_000, RecoverNodes((0,)))
    simulation.clock.run(200_000)
    assert simulation.cluster.pods.deleting_ms[:2].tolist() == [NEVER, NEVER]
    assert running(simulation) == 2


def test_faults_happen_at_their_time_to_whom_they_name():
    faults = [{"at": "10m", "zone": "b", "down": "1m"}]
    result = sim.run(ideal(nodes=[a_pool(4, zones=["a", "b"])], faults=faults))
    rows = result.events[result.events["reason"].isin(["NodeDown", "NodeUp"])]
    assert list(zip(rows["t_s"], rows["reason"], rows["object"], strict=True)) == [
        (600, "NodeDown", "Node/pool-1"),
        (600, "NodeDown", "Node/pool-3"),
        (660, "NodeUp", "Node/pool-1"),
        (660, "NodeUp", "Node/pool-3"),
    ]


# --- one's own processes


def test_a_process_can_act_in_the_middle_of_a_run():
    def night(simulation):
        yield simulation.env.timeout(20 * 60_000)
        simulation.do(ScaleDeployment("default", "web", 0))
        yield simulation.env.timeout(20 * 60_000)
        simulation.do(ScaleDeployment("default", "web", 4))

    result = sim.run(ideal([a_deployment("web", 4)]), processes=[night])
    row = result.workloads.iloc[0]
    assert (row["pods"], row["ready"]) == (8, 4)


def test_a_process_that_fails_fails_the_run():
    def broken(simulation):
        yield simulation.env.timeout(1_000)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        sim.run(ideal(), processes=[broken])


def test_progress_is_told_in_a_hundred_steps_to_the_end():
    told = []
    scenario = ideal([a_deployment()])
    with_progress = sim.run(scenario, progress=lambda *step: told.append(step))
    assert len(told) == 100
    assert told[-1] == (3_600_000, 3_600_000)
    assert with_progress.info.event_hash == sim.run(scenario).info.event_hash


def test_a_run_shorter_than_its_steps_ends_too():
    told = []
    scenario = ideal(run={"duration": "20ms"})
    assert sim.run(scenario, progress=lambda *s: told.append(s)).info.duration_s == 0.02


# --- what it says about itself


def test_info_says_where_the_result_comes_from():
    info = sim.run(ideal(run={"duration": "10m", "warmUp": "1m", "seed": 5}), seed=6).info
    assert (info.name, info.seed, info.duration_s, info.warm_up_s) == ("inline", 6, 600, 60)
    assert info.kubernetes == "1.34"
    assert {"strandline", "numpy", "simpy"} <= set(info.versions)
    assert len(info.event_hash) == 64


def test_what_is_not_modelled_is_counted():
    objects = [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}}]
    assert unmodelled(ideal(objects)).get("kind Ingress") == 1


def test_a_scenario_from_no_file_asks_no_question():
    assert question_of(ideal()) == ""


@pytest.mark.parametrize(
    ("text", "question"),
    [("# Does it?\n# Yes.\n", "Does it?"), ("apiVersion: sim/v1\n", "")],
    ids=["the first comment line", "no comment"],
)
def test_the_question_is(tmp_path, text, question):
    path = tmp_path / "s.yaml"
    body = "apiVersion: sim/v1\nkind: Scenario\nmetadata: {name: s}\nrun: {duration: 1m}\n"
    path.write_text(text + body.removeprefix(text))
    assert question_of(sim.load(path)) == question


def test_traffic_reaches_the_pods_of_its_service():
    scenario = ideal(
        [a_deployment("web", 2), a_service("web")],
        traffic=[{"service": "web", "rps": 10, "cpuPerRequest": "10ms"}],
    )
    result = sim.run(scenario)
    assert result.services["availability"].tolist() == [1.0]
    # 100 m over two pods, for the whole hour
    assert result.pods["cpu_used_m"].tolist() == pytest.approx([50, 50])


def test_a_negative_seed_is_refused():
    with pytest.raises(sim.SimError, match="seed"):
        sim.run(ideal(), seed=-1)
