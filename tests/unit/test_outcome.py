"""Tables from the state at the end of a run: averages against hand arithmetic."""

from __future__ import annotations

import math

import pytest

import sim
from sim.engine import Simulation
from sim.schema import TABLES
from tests.inline import CALM, a_bare_pod, a_deployment, a_job, a_pool, a_scenario, a_service

IDEAL = {"kubelet": CALM, "controlPlane": {"ideal": True}}
HALF_HOUR_S = 1_800


def outcome(objects=(), files=None, **sections):
    return sim.run(a_scenario(objects, files, **{**IDEAL, "nodes": [a_pool()], **sections}))


def only(table):
    [row] = table.to_dict("records")
    return row


def test_every_table_has_the_columns_of_the_schema():
    result = outcome([a_deployment(), a_service()], traffic=[{"service": "web", "rps": 1}])
    for name, table in TABLES.items():
        assert list(result.tables[name].columns) == table.names


def test_an_empty_cluster_has_empty_tables():
    result = outcome(nodes=[])
    assert {name: len(table) for name, table in result.tables.items() if name != "timeline"} == {
        name: 0 for name in TABLES if name != "timeline"
    }


def test_a_pods_row_tells_its_times():
    job = a_job(cpu="1", memory="1Gi")
    behaviour = [{"match": {"app": "work"}, "exit": {"after": "10m"}}]
    row = only(outcome([job], behaviour=behaviour).pods)
    assert (row["created_s"], row["scheduled_s"], row["started_s"], row["ready_s"]) == (0, 0, 0, 0)
    assert (row["finished_s"], row["phase"], row["wait_s"]) == (600, "Succeeded", 0)
    assert math.isnan(row["deleted_s"])
    assert (row["workload"], row["node"], row["pool"]) == ("Job/work", "pool-0", "pool")
    assert (row["cpu_request_m"], row["memory_request_b"]) == (1_000, 1024**3)


def test_a_pod_that_no_node_takes_waits_to_the_end():
    row = only(outcome([a_bare_pod(cpu="5")]).pods)
    assert (row["phase"], row["reason"], row["node"]) == ("Pending", "Unschedulable", "")
    assert row["wait_s"] == 3_600


def test_a_gated_pod_says_that_it_is_not_tried():
    pod = a_bare_pod()
    pod["spec"]["schedulingGates"] = [{"name": "example.com/quota"}]
    assert only(outcome([pod]).pods)["reason"] == "SchedulingGated"  # as the PodScheduled condition


def test_requested_is_an_average_over_time_and_used_what_was_used():
    # 1 of 4 cores for 10 of 60 minutes: 1/24; used are 400 m of it
    behaviour = [{"exit": {"after": "10m"}, "cpu": {"base": "400m"}}]
    row = only(outcome([a_job(cpu="1", memory="4Gi")], behaviour=behaviour).nodes)
    assert row["requested_cpu"] == pytest.approx(1 / 24)
    assert row["requested_memory"] == pytest.approx(1 / 24)
    assert row["utilization_cpu"] == pytest.approx(0.4 / 24)
    assert row["pods"] == row["cpu_requested_m"] == 0


def test_memory_that_grows_is_averaged_as_a_triangle():
    # 1 GiB and 2 GiB/h more for an hour: 2 GiB on average, of 16
    behaviour = [{"memory": {"base": "1Gi", "growth": "2Gi/h"}}]
    row = only(outcome([a_bare_pod()], behaviour=behaviour).nodes)
    assert row["utilization_memory"] == pytest.approx(2 / 16, rel=1e-4)


def test_what_a_pod_used_is_a_mean_over_the_time_it_ran():
    behaviour = [{"exit": {"after": "10m"}, "cpu": {"base": "400m"}, "memory": {"base": "1Gi"}}]
    row = only(outcome([a_job()], behaviour=behaviour).pods)
    assert row["cpu_used_m"] == pytest.approx(400)
    assert row["memory_used_b"] == pytest.approx(1024**3)


def test_the_warm_up_is_left_out_of_averages():
    # Asked for are 4 of 4 cores until minute 10; counted from minute 20 on.
    behaviour = [{"exit": {"after": "10m"}}]
    run = {"duration": "1h", "warmUp": "20m"}
    row = only(outcome([a_job(cpu="4")], behaviour=behaviour, run=run).nodes)
    assert row["requested_cpu"] == row["utilization_cpu"] == 0


@pytest.mark.parametrize(
    ("fault", "warm_up", "down_s"),
    [
        pytest.param({"at": "10m", "down": "5m"}, "0s", 300, id="in the middle"),
        pytest.param({"at": "10m"}, "0s", 3_000, id="to the end"),
        pytest.param({"at": "10m", "down": "5m"}, "20m", 0, id="before the count began"),
        pytest.param({"at": "10m", "down": "15m"}, "20m", 300, id="across the warm-up's end"),
        pytest.param({"at": "10m"}, "20m", 2_400, id="from before the count to the end"),
    ],
)
def test_down_time_counts_after_the_warm_up(fault, warm_up, down_s):
    run = {"duration": "1h", "warmUp": warm_up}
    faults = [{"node": "pool-0", **fault}]
    assert only(outcome(run=run, faults=faults).nodes)["down_s"] == down_s


def test_a_node_costs_its_price_times_its_time():
    row = only(outcome(nodes=[a_pool(pricePerHour=0.5)], run={"duration": "90m"}).nodes)
    assert row["cost_usd"] == pytest.approx(0.75)


def test_a_stream_is_one_workload_of_all_its_jobs():
    stream = {"name": "s", "every": "10m", "runtime": "15m", "template": "t.json"}
    result = outcome(files={"t.json": a_job(cpu="3")}, arrivals=[stream])
    row = only(result.workloads)
    # At 10, 20, 30, 40 and 50 minutes; one at a time: the third waits beside the second.
    assert (row["workload"], row["pods"], row["wanted"]) == ("Stream/s", 5, 5)
    assert row["pending_max"] == 2
    assert math.isnan(row["availability"])


def test_most_waiting_is_counted_per_workload():
    objects = [a_deployment("web", 7, cpu="1"), a_deployment("api", 2, cpu="9")]
    rows = outcome(objects).workloads.set_index("workload")
    assert rows.loc["Deployment/web", "pending_max"] == 3
    assert rows.loc["Deployment/api", "pending_max"] == 2


def test_a_service_without_pods_answers_nothing():
    row = only(outcome([a_service()], traffic=[{"service": "web", "rps": 3}]).services)
    assert (row["requests_sent"], row["requests_failed"], row["availability"]) == (
        10_800,
        10_800,
        0,
    )
    assert row["error_s"] == row["outage_s"] == 3_600


def test_events_speak_of_objects_by_name():
    events = outcome([a_bare_pod("one")]).events
    assert list(events["object"]) == ["Node/pool-0", "Pod/default/one", "Pod/default/one"] + [
        "Pod/default/one"
    ] * (len(events) - 3)
    scheduled = only(events[events["reason"] == "Scheduled"])
    assert scheduled["message"] == "Successfully assigned default/one to pool-0"


def test_decisions_are_kept_when_asked_for():
    result = outcome([a_deployment("web", 3)], nodes=[a_pool(4)], scheduler={"record": True})
    assert len(result.decisions) == 3
    assert (result.decisions["feasible"] == 4).all()
    assert result.decisions["ties"].tolist()[0] == 4


def test_the_state_is_not_changed_by_looking_at_it():
    simulation = Simulation(a_scenario([a_deployment("web", 3)], nodes=[a_pool()]))
    simulation.run()
    simulation.cluster.check()
