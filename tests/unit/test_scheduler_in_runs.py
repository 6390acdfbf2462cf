"""What a scenario says of its scheduler holds in the run: profiles, back-off, time to bind."""

from __future__ import annotations

import pytest

import sim
from sim.engine import Simulation, notes_of
from tests.inline import CALM, a_bare_pod, a_pool, a_scenario

PACK = {
    "schedulerName": "pack",
    "pluginConfig": [
        {
            "name": "NodeResourcesFit",
            "args": {
                "scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu"}]},
            },
        }
    ],
    "plugins": {"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}]}},
}


def pods(count, cpu="500m", **spec):
    found = [a_bare_pod(f"pod-{i}", cpu=cpu) for i in range(count)]
    for pod in found:
        pod["spec"].update(spec)
    return found


def run(objects, scheduler, **sections):
    return sim.run(
        a_scenario(objects, kubelet=CALM, nodes=[a_pool(2)], scheduler=scheduler, **sections)
    )


def test_a_pod_is_placed_by_the_profile_that_it_names():
    """4 pods of half a CPU: the default spreads them 2 and 2, MostAllocated fills one node."""
    config = {"profiles": [{"schedulerName": "default-scheduler"}, PACK]}
    spread = run(pods(4), {"config": config}).nodes.pods.tolist()
    packed = run(pods(4, schedulerName="pack"), {"config": config}).nodes.pods.tolist()
    assert sorted(spread) == [2, 2]
    assert sorted(packed) == [0, 4]


def test_a_pod_whose_scheduler_is_no_profile_stays_pending():
    result = run(pods(1, schedulerName="pack"), {"config": {"profiles": [{}]}})
    assert result.pods.phase.tolist() == ["Pending"]


def test_binding_takes_the_time_that_is_given():
    at_once = run(pods(1), {}).pods.scheduled_s[0]
    later = run(pods(1), {"bindingLatency": "250ms"}).pods.scheduled_s[0]
    assert later - at_once == pytest.approx(0.25)


def test_bindings_come_no_faster_than_the_client_may_call():
    """A burst of 2, then one a second: 0, 0, 1, 2 s after the first."""
    limited = run(pods(4), {"clientQps": 1, "clientBurst": 2}).pods.scheduled_s.tolist()
    assert [at - limited[0] for at in limited] == pytest.approx([0, 0, 1, 2])


def test_an_ideal_control_plane_has_no_time_to_bind():
    scheduler = {"bindingLatency": "1s", "clientQps": 1, "clientBurst": 1}
    ideal = run(pods(3), scheduler, controlPlane={"ideal": True})
    assert ideal.pods.scheduled_s.tolist() == [0.0, 0.0, 0.0]


def test_the_back_off_is_that_of_the_configuration():
    """Refused at 0 s for the first time: initial back-off 7 s, in whole seconds."""
    config = {"podInitialBackoffSeconds": 7, "podMaxBackoffSeconds": 20}
    scenario = a_scenario(
        pods(1, cpu="100"), kubelet=CALM, nodes=[a_pool(1)], scheduler={"config": config}
    )
    simulation = Simulation(scenario)
    simulation.clock.run(1_000)
    entry = simulation.scheduler.queue.entries[0]
    assert entry.backoff_until_s == 7
    found = []
    for failures in (1, 2, 3, 4, 100):  # 7, 14, then the longest
        entry.unschedulable_count = failures
        found.append(entry.backoff_until_s)
    assert found == [7, 14, 20, 20, 20]


@pytest.mark.parametrize(
    ("config", "count", "enough"),
    [
        (None, 99, None),  # up to 99 nodes all are looked at
        (None, 400, 188),  # 50 - 400 / 125 = 47 % of 400
        ({"percentageOfNodesToScore": 60}, 400, 240),
        ({"percentageOfNodesToScore": 100}, 400, None),
    ],
)
def test_the_report_says_when_not_all_nodes_are_looked_at(config, count, enough):
    scenario = a_scenario(scheduler={"config": config} if config else {})
    notes = [note for note in notes_of(scenario, count) if "one after the other" in note]
    assert [f"until {enough} of {count} " in note for note in notes] == [True] * bool(enough)


def test_the_percentage_of_the_configuration_is_that_of_the_scheduler():
    config = {"percentageOfNodesToScore": 60, "profiles": [{"percentageOfNodesToScore": 30}]}
    simulation = Simulation(a_scenario(pods(1), scheduler={"config": config}))
    simulation.clock.run(1_000)
    assert simulation.scheduler.percentage_of(simulation.cluster.pod_template(0)) == 30


def test_the_report_says_for_whom_pods_were_preempted():
    """2 nodes of 4 cores: a pod of 3 cores, more important, finds 2 of 2.5 cores there."""
    low, high = pods(2, cpu="2500m", priority=1), a_bare_pod("urgent", cpu="3")
    high["spec"].update(priority=9)
    for pod in low:
        pod["spec"]["nodeName"] = f"pool-{pod['metadata']['name'][-1]}"
    text = " ".join(run([*low, high], {}).report().split())
    assert "1 pod preempted for Pod/urgent ×1: Pod/pod-" in text
