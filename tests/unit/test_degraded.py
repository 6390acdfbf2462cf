"""Machines that are slow or whose disk is full: what is served, and what the kubelet does."""

from __future__ import annotations

import numpy as np
import pytest

from sim.engine import Simulation
from tests.inline import CALM, a_deployment, a_pool, a_scenario, a_service
from tests.unit.test_faults import run, seconds, times

# One pod on a node of 4 cores; 1000 requests a second of 3 ms each ask for 3 of them.
BUSY = {
    "objects": [a_deployment("web", 1), a_service("web")],
    "traffic": [{"service": "web", "rps": 1000, "cpuPerRequest": "3ms"}],
    "controlPlane": {"ideal": True},
}


@pytest.mark.parametrize(
    ("slow", "served"),
    [
        ("100%", 1),
        ("80%", 1),  # 3.2 cores are enough
        ("50%", 2 / 3),
        ("25%", 1 / 3),
    ],
)
def test_a_slow_machine_serves_what_its_cpus_can(slow, served):
    result = run([{"at": "0s", "node": "pool-0", "slow": slow}], [a_pool(1)], **BUSY)
    [service] = result.services.to_dict("records")
    share = 1 - service["requests_failed"] / service["requests_sent"]
    assert share == pytest.approx(served, abs=0.01)


def test_a_machine_is_slow_for_so_long():
    fault = {"at": "10m", "node": "pool-0", "slow": "50%", "down": "20m"}
    [service] = run([fault], [a_pool(1)], **BUSY).services.to_dict("records")
    # a third of the requests of 20 minutes of 60
    assert service["requests_failed"] == pytest.approx(1000 * 1200 / 3, rel=0.01)


def test_what_slows_a_machine_at_the_same_time_multiplies():
    first = {"at": "0s", "node": "pool-0", "slow": "80%"}
    second = {"at": "0s", "pool": "pool", "slow": "50%"}
    [service] = run([first, second], [a_pool(1)], **BUSY).services.to_dict("records")
    # 4 * 0.8 * 0.5 = 1.6 cores of 3
    share = 1 - service["requests_failed"] / service["requests_sent"]
    assert share == pytest.approx(1.6 / 3, abs=0.01)


def test_nothing_else_happens_to_slow_machines():
    result = run([{"at": "5m", "pool": "pool", "slow": "50%", "down": "1m"}], [a_pool(3)])
    assert seconds(result, "NodeDown") == []
    assert seconds(result, "NodeNotReady") == []


def test_machines_of_a_pool_differ_in_speed():
    pool = a_pool(400, cpuSpeed={"mean": 0.9, "sd": 0.05})
    simulation = Simulation(a_scenario(nodes=[pool]))
    speeds = [simulation.kubelet._pressure._sums[node].capacity_m / 4000 for node in range(400)]
    # standard errors: 0.05 / sqrt(400) of the mean, 0.05 / sqrt(800) of the deviation
    assert np.mean(speeds) == pytest.approx(0.9, abs=4 * 0.05 / 20)
    assert np.std(speeds) == pytest.approx(0.05, abs=4 * 0.05 / np.sqrt(800))


def test_a_slow_pool_serves_less():
    pool = a_pool(1, cpuSpeed={"mean": 0.5})
    [service] = run([], [pool], **BUSY).services.to_dict("records")
    share = 1 - service["requests_failed"] / service["requests_sent"]
    assert share == pytest.approx(2 / 3, abs=0.01)


# --- disks


def disk_pool(count=2):
    capacity = {"cpu": 4, "memory": "16Gi", "ephemeral-storage": "100Gi"}
    thresholds = {"memory": "100Mi", "ephemeral-storage": "10%"}
    return a_pool(count) | {"capacity": capacity, "evictionHard": thresholds}


def test_a_full_disk_makes_the_kubelet_evict_pods_and_refuse_others():
    fault = {"at": "10m", "node": "pool-0", "fillDisk": "95%", "down": "20m"}
    result = run([fault], [disk_pool()], [a_deployment("web", 4)])
    events = result.events
    about = events[events["message"].str.contains("disk-pressure:NoSchedule")]
    tainted = about[about["reason"] == "Tainted"]
    untainted = about[about["reason"] == "Untainted"]
    assert tainted["object"].tolist() == ["Node/pool-0"]
    # the eviction manager looks each 10 s, and the node's status is written each 10 s
    assert 600 <= tainted["t_s"].iloc[0] <= 621
    # the condition is kept for 5 minutes after a pass last saw it, at most 10 s before it was over
    assert 1790 + 300 <= untainted["t_s"].iloc[0] <= 1800 + 325
    pods = result.pods
    lost = pods[(pods["node"] == "pool-0") & (pods["created_s"] < 600)]
    assert len(lost) == 2
    assert (lost["reason"] == "Evicted").all()


def test_a_disk_that_has_room_left_costs_nothing():
    result = run([{"at": "10m", "pool": "pool", "fillDisk": "85%"}], [disk_pool()])
    assert times(result, "Tainted") == []


def test_degraded_machines_are_the_same_in_any_company():
    pools = [a_pool(2, cpuSpeed={"sd": 0.1}), a_pool(2) | {"pool": "other"}]
    alone = Simulation(a_scenario(nodes=pools[:1], kubelet=CALM))
    both = Simulation(a_scenario(nodes=pools[::-1], kubelet=CALM))
    for node in range(2):
        speeds = [s.kubelet._pressure._sums for s in (alone, both)]
        assert speeds[0][node].capacity_m == speeds[1][node + 2].capacity_m
