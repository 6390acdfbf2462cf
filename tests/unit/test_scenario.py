"""Scenarios: what the format means, and what is said about mistakes."""

import copy
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.behaviour import (
    Constant,
    Empirical,
    Ending,
    Exponential,
    Lognormal,
    MemoryUse,
    ProbeBehaviour,
    Uniform,
)
from sim.errors import ScenarioError
from sim.eviction import Threshold
from sim.podspec import Taint
from sim.scenario import Scenario, load, scenario_schema

GIB = 1024**3
ROOT = Path(__file__).parents[2]

# The example of the design, whole.
EXAMPLE = """\
apiVersion: sim/v1
kind: Scenario
metadata: {name: zone-failure}
run: {duration: 2h, seed: 7, warmUp: 10m, start: "2025-10-01T12:00:00Z"}
kubernetes: {version: "1.34"}
scheduler: {tieBreak: random}
nodes:
  - {pool: general, count: 9, instanceType: m6i.xlarge, provider: eks, zones: [a, b, c]}
controlPlane: {members: 3, zones: [a, b, c]}
manifests: [shop.yaml]
traffic:
  - {service: shop/frontend, rps: 30, cpuPerRequest: 4ms}
behaviour:
  - match: {app: cart}
    startup: {median: 8s, p99: 30s}
    memory: {base: 180Mi, growth: 2Mi/h}
    probes: {liveness: {failureRate: 0.001}}
arrivals:
  - name: nightly
    every: {exponential: 2m}
    template: job.yaml
    runtime: {lognormal: {median: 4m, p99: 1h}}
faults:
  - {at: 30m, zone: b, down: 20m}
expect:
  - availability{service="shop/frontend"} >= 99.5%
  - stranded.cpu <= 10%
"""

SHOP = """\
apiVersion: v1
kind: Service
metadata: {name: frontend, namespace: shop}
spec: {selector: {app: frontend}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: frontend}}
  template:
    metadata: {labels: {app: frontend}}
    spec: {containers: [{name: main, image: web}]}
"""

JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: nightly}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: batch}]}
"""

HEADER = """\
apiVersion: sim/v1
kind: Scenario
metadata: {name: small}
"""
RUN = "run: {duration: 1h}\n"
POOL = "nodes:\n- {pool: p, count: 3, capacity: {cpu: 4, memory: 16Gi}, zones: [a, b]}\n"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A directory with the example and its manifests, and the current one."""
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(SHOP)
    Path("job.yaml").write_text(JOB)
    Path("a.yaml").write_text(EXAMPLE)
    return tmp_path


def loaded(text):
    Path("a.yaml").write_text(text)
    return load("a.yaml")


def problems(text):
    with pytest.raises(ScenarioError) as error:
        loaded(text)
    return str(error.value).splitlines()


def small(**sections):
    run = {"duration": "1h"}
    return {
        "apiVersion": "sim/v1",
        "kind": "Scenario",
        "metadata": {"name": "x"},
        "run": run,
    } | sections


def one_pool(**fields):
    return Scenario.from_dict(small(nodes=[{"pool": "p", "count": 1} | fields])).nodes[0]


def from_run(**fields):
    return Scenario.from_dict(small(run={"duration": "1h"} | fields)).run


# What the format means


def test_the_example_of_the_design_is_read_as_it_says(shop):
    scenario = load("a.yaml")
    assert scenario.name == "zone-failure"
    assert (scenario.run.duration_ms, scenario.run.warm_up_ms) == (7_200_000, 600_000)
    assert scenario.run.seed == 7
    [pool] = scenario.nodes
    assert (pool.name, pool.count, pool.zones) == ("general", 9, ("a", "b", "c"))
    assert pool.shape.max_pods == 58  # m6i.xlarge: 4 x (15 - 1) + 2
    [traffic] = scenario.traffic
    assert (traffic.key, traffic.rps, traffic.cpu_per_request_ms) == ("shop/frontend", 30.0, 4)
    [behaviour] = scenario.behaviour
    assert behaviour.startup == Lognormal.of_p99(8000, 30_000)
    assert behaviour.memory == MemoryUse(180 * 1024**2, 2 * 1024**2, 3_600_000)
    assert behaviour.probes == ProbeBehaviour(liveness_failure_rate=0.001)
    [arrival] = scenario.arrivals
    assert arrival.every == Exponential(120_000)
    assert arrival.runtime == Lognormal.of_p99(240_000, 3_600_000)
    assert [job.name for job in arrival.manifests.jobs] == ["nightly"]
    [fault] = scenario.faults
    assert (fault.at_ms, fault.zone, fault.down) == (1_800_000, "b", Constant(1_200_000))
    assert [s.name for s in scenario.manifests.services] == ["frontend"]


def test_expectations_hold_name_labels_operator_and_value(shop):
    first, second = load("a.yaml").expect
    assert (first.name, first.labels) == ("availability", {"service": "shop/frontend"})
    assert (first.op, first.value) == (">=", 0.995)
    assert (second.name, second.labels, second.op, second.value) == ("stranded.cpu", {}, "<=", 0.1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("utilization.cpu >= 45%", 0.45),
        ("utilization.cpu>=0.45", 0.45),
        ("overcommit.memory < 150%", 1.5),
        ("overcommit.memory < 1.5", 1.5),
        ("pending.seconds.p99 <= 1m30s", 90.0),
        ("pending.seconds.p99 <= 90", 90.0),
        ("pending.count == 0", 0.0),
        ("pending.count <= 3 pods", 3.0),
        ("cost < 12.50 USD", 12.5),
    ],
)
def test_values_of_expectations_have_the_units_of_their_names(text, value):
    [expectation] = Scenario.from_dict(small(expect=[text])).expect
    assert expectation.value == value


def test_what_is_not_said_has_the_defaults_of_kubernetes(shop):
    scenario = loaded(HEADER + RUN)
    control = scenario.control_plane
    assert control.node_monitor_period_ms == 5_000
    assert control.node_monitor_grace_period_ms == 50_000
    assert (control.node_eviction_rate, control.secondary_node_eviction_rate) == (0.1, 0.01)
    assert (control.large_cluster_size_threshold, control.unhealthy_zone_threshold) == (50, 0.55)
    assert (control.qps, control.burst, control.ideal) == (20, 30, False)
    assert scenario.kubernetes.version == "1.34"
    assert (scenario.scheduler.tie_break, scenario.scheduler.record) == ("random", False)
    assert scenario.kubelet.startup == Lognormal.of_p99(1200, 5000)
    assert scenario.kubelet.watch_delay == Uniform(0, 100)
    assert scenario.kubelet.image_pull == Constant(0)
    assert scenario.kubelet.shutdown == Constant(1000)
    assert (scenario.run.seed, scenario.run.warm_up_ms) == (0, 0)
    assert scenario.run.start == datetime(2025, 10, 1, 12, tzinfo=UTC)
    assert scenario.run.start_ms == 1_759_320_000_000


@pytest.mark.parametrize(
    ("duration", "sample_ms"),
    [
        pytest.param("1h", 15_000, id="3600 s / 240 = 15 s"),
        pytest.param("1h1s", 16_000, id="15.004 s is rounded up"),
        pytest.param("10s", 1_000, id="never below one second"),
        pytest.param("1d", 360_000, id="86400 s / 240 = 360 s"),
    ],
)
def test_the_timeline_has_240_samples_unless_told_otherwise(duration, sample_ms):
    assert from_run(duration=duration).sample_ms == sample_ms
    assert from_run(duration=duration, sample="7s").sample_ms == 7_000


@pytest.mark.parametrize(
    ("written", "distribution"),
    [
        ("8s", Constant(8000)),
        (0, Constant(0)),
        ({"constant": "8s"}, Constant(8000)),
        ({"deterministic": "8s"}, Constant(8000)),
        ({"exponential": "2m"}, Exponential(120_000)),
        ({"median": "8s", "p99": "30s"}, Lognormal.of_p99(8000, 30_000)),
        ({"median": "8s", "sigma": 0.5}, Lognormal(8000, 0.5)),
        ({"lognormal": {"median": "8s", "sigma": 0.5}}, Lognormal(8000, 0.5)),
        ({"min": "1s", "max": "2s"}, Uniform(1000, 2000)),
        ({"uniform": {"min": "1s", "max": "2s"}}, Uniform(1000, 2000)),
        ({"empirical": ["1s", "250ms"]}, Empirical((1000, 250))),
    ],
    ids=str,
)
def test_distributions_have_these_forms(written, distribution):
    scenario = Scenario.from_dict(small(behaviour=[{"startup": written}]))
    assert scenario.behaviour[0].startup == distribution


def test_containers_may_crash_and_end():
    entry = {
        "container": "main",
        "namespace": "shop",
        "cpu": {"base": "250m"},
        "crash": {"every": {"exponential": "1h"}, "exitCode": 137},
        "exit": {"after": "5m"},
    }
    [said] = Scenario.from_dict(small(behaviour=[entry])).behaviour
    assert (said.container, said.namespace, said.cpu_m) == ("main", "shop", 250)
    assert said.crash == Ending(Exponential(3_600_000), 137)
    assert said.exit == Ending(Constant(300_000), 0)


# Pools


def test_given_capacity_is_allocatable_and_takes_110_pods():
    shape = one_pool(capacity={"cpu": "3500m", "memory": "16Gi", "nvidia.com/gpu": 2}).shape
    assert shape.capacity == shape.allocatable
    assert shape.capacity == {"cpu": 3500, "memory": 16 * GIB, "nvidia.com/gpu": 2}
    assert (shape.max_pods, shape.price_usd_per_hour, shape.instance_type) == (110, 0.0, "")


def test_pods_in_capacity_are_the_cap_unless_max_pods_is_given():
    size = {"cpu": 4, "memory": "8Gi", "pods": 20}
    assert one_pool(capacity=size).shape.max_pods == 20
    assert one_pool(capacity=size, maxPods=30).shape.max_pods == 30
    assert "pods" not in one_pool(capacity=size).shape.capacity


def test_reserved_and_eviction_are_taken_off_given_capacity():
    shape = one_pool(
        capacity={"cpu": 4, "memory": "16Gi", "ephemeral-storage": "100Gi"},
        reserved={"cpu": "200m", "memory": "1Gi"},
        evictionHard={"memory": "512Mi", "ephemeral-storage": "10%"},
    ).shape
    assert shape.allocatable == {
        "cpu": 3800,
        "memory": 16 * GIB - GIB - GIB // 2,
        "ephemeral-storage": 90 * GIB,
    }
    assert shape.kubepods["memory"] == 15 * GIB


def test_kube_and_system_reserved_replace_the_providers_per_resource():
    shape = one_pool(
        instanceType="m6i.xlarge",
        kubeReserved={"cpu": "500m"},
        systemReserved={"cpu": "100m"},
    ).shape
    assert shape.allocatable["cpu"] == 3400
    assert shape.kube_reserved["memory"] == (11 * 58 + 255) * 1024**2  # still the provider's


def test_kubelets_of_a_pool_evict_at_what_it_says():
    found = one_pool(
        capacity={"cpu": 4, "memory": "16Gi", "ephemeral-storage": "100Gi"},
        evictionHard={"memory": "512Mi", "ephemeral-storage": "10%"},
        evictionSoft={"memory": "1Gi"},
        evictionSoftGracePeriod={"memory": "90s"},
        evictionMinimumReclaim={"memory": "100Mi"},
        evictionPressureTransitionPeriod="30s",
        evictionMaxPodGracePeriod="20s",
    ).shape.eviction
    more_b = 100 * 1024**2
    assert set(found.thresholds) == {
        Threshold("memory.available", GIB // 2, 0, more_b),
        Threshold("allocatableMemory.available", GIB // 2, 0, more_b),
        Threshold("memory.available", GIB, 90_000, more_b),
        Threshold("nodefs.available", 0.1),
        Threshold("containerfs.available", 0.1),
    }
    assert (found.transition_ms, found.max_grace_ms) == (30_000, 20_000)


def test_kubelets_of_a_provider_evict_at_its_thresholds_and_others_at_none():
    size = {"cpu": 4, "memory": "16Gi"}
    eks = one_pool(capacity=size, provider="eks").shape.eviction
    assert Threshold("memory.available", 100 * 1024**2) in eks.thresholds
    assert one_pool(capacity=size).shape.eviction.thresholds == ()


def test_thresholds_that_are_not_named_are_off_once_one_is():
    size = {"cpu": 4, "memory": "16Gi", "ephemeral-storage": "100Gi"}
    shape = one_pool(capacity=size, provider="kubeadm", evictionHard={"memory": "1Gi"}).shape
    assert shape.allocatable == {
        "cpu": 4000,
        "memory": 15 * GIB,
        "ephemeral-storage": 100 * GIB,
    }


@pytest.mark.parametrize(
    ("kind", "provider"),
    [("m6i.xlarge", "eks"), ("e2-standard-4", "gke"), ("Standard_B12ms", "aks")],
)
def test_a_type_comes_with_the_rules_of_its_cloud(kind, provider):
    assert one_pool(instanceType=kind) == one_pool(instanceType=kind, provider=provider)
    assert one_pool(instanceType=kind) != one_pool(instanceType=kind, provider="kubeadm")


def test_capacity_beside_a_type_adds_to_it():
    shape = one_pool(instanceType="m6i.xlarge", capacity={"nvidia.com/gpu": 1}).shape
    assert shape.allocatable["nvidia.com/gpu"] == 1
    assert shape.capacity["cpu"] == 4000


def test_overhead_of_the_operating_system_is_settable():
    shape = one_pool(instanceType="m6i.xlarge", osOverhead={"memoryFraction": 0}).shape
    assert shape.capacity["memory"] == 16 * GIB
    given_size = {"cpu": 4, "memory": "16Gi"}
    shape = one_pool(capacity=given_size, osOverhead={"memoryFraction": 0.25}).shape
    assert shape.capacity["memory"] == 12 * GIB


def test_a_price_is_the_lists_unless_it_is_given():
    assert one_pool(instanceType="m6i.xlarge").shape.price_usd_per_hour == 0.192
    assert one_pool(instanceType="m6i.xlarge", pricePerHour=0.05).shape.price_usd_per_hour == 0.05


def test_nodes_are_named_in_order_and_dealt_to_zones_in_turn():
    pool = one_pool(count=4, zones=["a", "b", "c"], capacity={"cpu": 1, "memory": "1Gi"})
    assert [pool.node_name(i) for i in range(4)] == ["p-0", "p-1", "p-2", "p-3"]
    assert [pool.zone_of(i) for i in range(4)] == ["a", "b", "c", "a"]


def test_nodes_carry_the_well_known_labels_and_the_pools_own():
    pool = one_pool(
        instanceType="c6g.large",
        zones=["z"],
        region="r",
        labels={"disk": "ssd"},
        taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
    )
    assert pool.node_labels(0) == {
        "kubernetes.io/hostname": "p-0",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "arm64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "arm64",
        "node.kubernetes.io/instance-type": "c6g.large",
        "topology.kubernetes.io/zone": "z",
        "topology.kubernetes.io/region": "r",
        "disk": "ssd",
    }
    assert pool.taints == (Taint("gpu", "NoSchedule", "yes"),)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("p-0", True), ("p-2", True), ("p-3", False), ("p-01", False), ("q-0", False), ("p", False)],
)
def test_a_pool_knows_its_nodes_by_name(name, is_one):
    assert one_pool(count=3, capacity={"cpu": 1, "memory": "1Gi"}).has_node(name) is is_one


# Mistakes

UNKNOWN = [
    pytest.param(
        HEADER + RUN.replace("duration", "duraton"),
        [
            "a.yaml:4:6: run.duration: missing; it is required.",
            "a.yaml:4:7: run.duraton: unknown field. Did you mean 'duration'?",
        ],
        id="a field is misspelt",
    ),
    pytest.param(
        HEADER + RUN + "trafic: []\n",
        ["a.yaml:5:1: trafic: unknown field. Did you mean 'traffic'?"],
        id="a section is misspelt",
    ),
    pytest.param(
        HEADER + RUN + "nodes:\n- {pool: p, count: 1, instanceType: m6i.xlrage}\n",
        [
            "a.yaml:6:37: nodes[0].instanceType: no instance type 'm6i.xlrage'."
            " Did you mean 'm6i.xlarge'?"
        ],
        id="an instance type is misspelt",
    ),
    pytest.param(
        HEADER + RUN + POOL + "faults:\n- {at: 5m, zone: c}\n",
        ["a.yaml:8:18: faults[0].zone: no zone 'c'. There are: a, b."],
        id="a fault in a zone that no pool has",
    ),
    pytest.param(
        HEADER + RUN + POOL + "faults:\n- {at: 5m, node: p-3}\n",
        ["a.yaml:8:18: faults[0].node: no node 'p-3'. There are: p-0 to p-2."],
        id="a fault of a node that does not exist",
    ),
    pytest.param(
        HEADER + RUN + POOL + "faults:\n- {at: 5m, nodes: [p-0, p0]}\n",
        ["a.yaml:8:25: faults[0].nodes[1]: no node 'p0'. There are: p-0 to p-2."],
        id="one of several nodes does not exist",
    ),
    pytest.param(
        HEADER + RUN + POOL + "faults:\n- {at: 5m, pool: general}\n",
        ["a.yaml:8:18: faults[0].pool: no pool 'general'. There are: p."],
        id="a fault of a pool that does not exist",
    ),
    pytest.param(
        HEADER + RUN + "manifests: [shop.yaml]\ntraffic:\n- {service: shop/frontnd, rps: 1}\n",
        [
            "a.yaml:7:13: traffic[0].service: no Service 'shop/frontnd'."
            " Did you mean 'shop/frontend'?"
        ],
        id="a service that no manifest has",
    ),
    pytest.param(
        HEADER + RUN + "manifests: [shop.yml]\n",
        ["a.yaml:5:13: manifests[0]: no file or directory 'shop.yml'. Did you mean 'shop.yaml'?"],
        id="a manifest that is not there",
    ),
    pytest.param(
        HEADER + RUN + "manifests: [shop.yaml]\nexpect:\n"
        '- availability{workload="shop/Deployment/frontnd"} >= 99%\n',
        [
            "a.yaml:7:3: expect[0]: no workload 'shop/Deployment/frontnd'."
            " Did you mean 'shop/Deployment/frontend'?"
        ],
        id="an expectation of a workload that does not exist",
    ),
    pytest.param(
        HEADER + RUN + POOL + 'expect:\n- utilization.cpu{zone="z"} >= 50%\n',
        ["a.yaml:8:3: expect[0]: no zone 'z'. There are: a, b."],
        id="an expectation of a zone that does not exist",
    ),
    pytest.param(
        HEADER + RUN + 'expect:\n- availability{service="x"} >= 50%\n',
        ["a.yaml:6:3: expect[0]: no traffic to a Service 'x'. There is none."],
        id="an expectation of a service without traffic",
    ),
]


@pytest.mark.parametrize(("text", "messages"), UNKNOWN)
def test_names_that_nothing_has_are_answered_with_the_nearest(shop, text, messages):
    assert problems(text) == messages


WRONG = [
    pytest.param(
        POOL.replace("cpu: 4", "cpu: 4 cores"),
        "6:39: nodes[0].capacity.cpu: got '4 cores'; expected a quantity such as '4' or '500m'.",
        id="a unit in words",
    ),
    pytest.param(
        POOL.replace("16Gi", "16GB"),
        "6:50: nodes[0].capacity.memory: got '16GB'; expected a quantity such as '512Mi'"
        " or '16Gi'.",
        id="GB instead of G or Gi",
    ),
    pytest.param(
        POOL.replace("count: 3", 'count: "3"'),
        "6:20: nodes[0].count: got '3'; expected an integer.",
        id="a number in quotes",
    ),
    pytest.param(
        POOL.replace("count: 3", "count: -3"),
        "6:20: nodes[0].count: got -3; expected at least 0.",
        id="a negative number",
    ),
    pytest.param(
        POOL.replace("[a, b]", "a"),
        "6:64: nodes[0].zones: got 'a'; expected a list.",
        id="one value where a list is wanted",
    ),
    pytest.param(
        POOL.replace("[a, b]", "[]"),
        "6:64: nodes[0].zones: got []; expected a list of at least 1.",
        id="no zone at all",
    ),
    pytest.param(
        "nodes:\n- {pool: p, count: 3}\n",
        "6:3: nodes[0]: expected an instanceType, or a capacity with cpu and memory.",
        id="a pool without a size",
    ),
    pytest.param(
        POOL.replace("}\n", ", provider: esk}\n"),
        "6:82: nodes[0].provider: got 'esk'; expected one of kubeadm, eks, eks-prefix-delegation,"
        " gke, aks, aks-before-1.29, gdc, explicit. Did you mean 'eks'?",
        id="a provider is misspelt",
    ),
    pytest.param(
        POOL.replace("}\n", ", evictionHard: {memory: 130%}}\n"),
        "6:95: nodes[0].evictionHard.memory: got '130%'; expected a percentage from 0% to 100%.",
        id="more than all",
    ),
    pytest.param(
        POOL.replace("}\n", ", evictionSoft: {memory: 1Gi}}\n"),
        "6:3: nodes[0]: evictionSoft.memory needs evictionSoftGracePeriod.memory.",
        id="a soft threshold without a grace period",
    ),
    pytest.param(
        "faults:\n- {at: 5, zone: a}\n" + POOL,
        "6:8: faults[0].at: got 5; expected a duration such as '30s', '5m' or '1h30m'.",
        id="a duration without a unit",
    ),
    pytest.param(
        "faults:\n- {at: 5m, zone: a, pool: p}\n" + POOL,
        "6:3: faults[0]: expected exactly one of zone, node, nodes and pool.",
        id="a fault with two targets",
    ),
    pytest.param(
        "kubernetes: {version: 1.3}\n",
        "5:23: kubernetes.version: got '1.3'; expected one of 1.32, 1.33, 1.34, 1.35, 1.36."
        " Did you mean '1.36'?",
        id="a release that is not known",
    ),
    pytest.param(
        "behaviour:\n- startup: {median: 8s}\n",
        "6:12: behaviour[0].startup: expected either p99 or sigma beside median.",
        id="half a lognormal",
    ),
    pytest.param(
        "behaviour:\n- startup: {lognormal: {median: 8s, p99: 1s}}\n",
        "6:24: behaviour[0].startup.lognormal: p99 is below the median.",
        id="quantiles out of order",
    ),
    pytest.param(
        "behaviour:\n- startup: {gamma: 8s}\n",
        "6:12: behaviour[0].startup: got a mapping with gamma; expected a duration such as '8s',"
        " or one of {constant: 8s}, {exponential: 2m}, {median: 8s, p99: 30s},"
        " {weibull: {mean: 8s, shape: 0.7}}, {uniform: {min: 1s, max: 2s}}, {empirical: [1s, 4s]}.",
        id="a distribution that is not known",
    ),
    pytest.param(
        "behaviour:\n- memory: {growth: 2Mi}\n",
        "6:20: behaviour[0].memory.growth: got '2Mi'; expected a quantity per time such as"
        " '2Mi/h', '100Ki/s' or '1Gi/1d'.",
        id="growth without a time",
    ),
    pytest.param(
        "behaviour:\n- probes: {liveness: {failureRate: 5}}\n",
        "6:36: behaviour[0].probes.liveness.failureRate: got 5; expected at most 1.",
        id="a rate in percent",
    ),
    pytest.param(
        "expect:\n- avilability >= 99%\n",
        "6:3: expect[0]: no summary name 'avilability'. Did you mean 'availability'?",
        id="a summary name is misspelt",
    ),
    pytest.param(
        "expect:\n- availability >= 99%\n",
        '6:3: expect[0]: availability needs one label; expected availability{service="..."} or'
        ' availability{workload="..."}.',
        id="availability of what",
    ),
    pytest.param(
        'expect:\n- stranded.cpu{servce="a"} <= 10%\n',
        "6:3: expect[0]: stranded.cpu has no label 'servce'; expected one of: zone, pool.",
        id="a label that the name does not take",
    ),
    pytest.param(
        "expect:\n- stranded.cpu <= 10\n",
        "6:3: expect[0]: got the value '10'; expected a share such as '99.5%' or 0.995.",
        id="a percentage without its sign",
    ),
    pytest.param(
        "expect:\n- stranded.cpu = 10%\n",
        "6:3: expect[0]: got 'stranded.cpu = 10%'; expected `name op value` with op one of"
        " >= <= > < ==, such as 'stranded.cpu <= 10%'.",
        id="an operator that is not known",
    ),
    pytest.param(
        "expect:\n- pending.seconds <= 3 parsecs\n",
        "6:3: expect[0]: got the value '3 parsecs'; expected a time such as '30s' or '5m'.",
        id="a unit that is not known",
    ),
    pytest.param(
        "manifests: [shop.yaml]\ntraffic:\n- {service: shop/frontend, rps: 1}\n"
        "- {service: shop/frontend, rps: 2}\n",
        "8:13: traffic[1].service: got 'shop/frontend' a second time; expected one entry for each"
        " Service.",
        id="traffic to one Service twice",
    ),
    pytest.param(
        "traffic:\n- {service: a, rps: 1e9, cpuPerRequest: 1h}\n",
        "6:3: traffic[0]: rps times cpuPerRequest is more than 1000000000 cores can do.",
        id="traffic that nothing can serve",
    ),
    pytest.param(
        "controlPlane: {qps: 0}\n",
        "5:21: controlPlane.qps: got 0; expected at least 0.001.",
        id="no API calls at all",
    ),
    pytest.param(
        "controlPlane: {burst: 0}\n",
        "5:23: controlPlane.burst: got 0; expected more than 0.",
        id="a bucket without tokens",
    ),
    pytest.param(
        "controlPlane: {burst: 3000000000}\n",
        "5:23: controlPlane.burst: got 3000000000; expected at most 2147483647.",
        id="a count beyond 32 bits",
    ),
    pytest.param(
        "arrivals:\n- {name: x, every: 0s, template: job.yaml, runtime: 1m}\n",
        "6:3: arrivals[0]: every is always 0, so that arrivals never end; expected a count too.",
        id="all arrivals of all time at once",
    ),
    pytest.param(
        "behaviour:\n- memory: {growth: 100Ei/ms}\n",
        "6:20: behaviour[0].memory.growth: got '100Ei/ms'; expected at most 1Ti/s.",
        id="growth faster than any memory",
    ),
    pytest.param(
        "behaviour:\n- memory: {base: 1Ei}\n",
        "6:18: behaviour[0].memory.base: got '1Ei'; expected at most 8Pi.",
        id="more memory than scores can be worked out for",
    ),
    pytest.param(
        POOL.replace("cpu: 4", "cpu: 1000000001"),
        "6:39: nodes[0].capacity.cpu: got 1000000001; expected at most 1000000000 cores.",
        id="more cores than are taken",
    ),
    # 100,000 * 2^50 bytes are more than 2^63
    pytest.param(
        POOL.replace("count: 3", "count: 100000").replace("16Gi", "1Pi"),
        "6:1: nodes: all nodes together have more memory than 64 bits hold.",
        id="more memory on all nodes than can be added up",
    ),
    # 10,000 * 10^9 millicores over 3.6 * 10^6 ms are 3.6 * 10^19 > 2^63
    pytest.param(
        POOL.replace("count: 3", "count: 10000").replace("cpu: 4", "cpu: 1000000"),
        "6:1: nodes: all nodes together have more cpu over 1h than 64 bits hold.",
        id="more CPU time than can be added up",
    ),
    pytest.param(
        "nodes:\n- {pool: p, count: 1, capacity: {cpu: 4, memory: 1Gi}, zones: [a], region: x}\n"
        "- {pool: q, count: 1, capacity: {cpu: 4, memory: 1Gi}, zones: [b, a], region: y}\n",
        "7:63: nodes[1].zones: zone 'a' is in 'x' and in 'y'; expected zone names that differ,"
        " since faults and reports name a zone alone.",
        id="one name for zones of two regions",
    ),
    pytest.param(
        "arrivals:\n- {name: x, every: 1m, template: shop.yml, runtime: 1m}\n",
        "6:34: arrivals[0].template: no file or directory 'shop.yml'. Did you mean 'shop.yaml'?",
        id="a template that is not there",
    ),
]


@pytest.mark.parametrize(("section", "message"), WRONG)
def test_wrong_values_are_told_with_what_was_expected(shop, section, message):
    assert problems(HEADER + RUN + section) == [f"a.yaml:{message}"]


def test_a_template_of_arrivals_is_one_pod_or_job(shop):
    stream = "arrivals:\n- {name: x, every: 1m, template: shop.yaml, runtime: 1m}\n"
    assert problems(HEADER + RUN + stream) == [
        "shop.yaml: expected one Pod or one Job, the template of a stream of arrivals."
    ]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        pytest.param(
            "{duration: 2 hours}",
            "4:17: run.duration: got '2 hours'; expected a duration such as '30s', '5m' or"
            " '1h30m'.",
            id="a duration in words",
        ),
        pytest.param(
            "{duration: 0s}", "4:17: run.duration: got '0s'; expected more than 0.", id="no time"
        ),
        pytest.param(
            "{duration: 1h, warmUp: 1h}",
            "4:6: run: warmUp is not shorter than duration, so nothing would be counted.",
            id="nothing but warm-up",
        ),
        pytest.param(
            "{duration: 1h, start: 2025-10-01}",
            "4:28: run.start: got '2025-10-01'; expected an RFC 3339 time such as"
            " '2025-10-01T12:00:00Z'.",
            id="a date without a time zone",
        ),
        pytest.param(
            "{duration: 1h, seed: yes}",
            "4:27: run.seed: 'yes' is true or false for some YAML readers and text for others."
            " Write true or false, or put it in quotes if it is text.",
            id="a YAML trap is told once",
        ),
    ],
)
def test_a_wrong_run_is_told_with_what_was_expected(shop, run, message):
    assert problems(HEADER + f"run: {run}\n") == [f"a.yaml:{message}"]


def test_all_problems_of_scenario_and_manifests_come_together(shop):
    Path("broken.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: [a]}\n")
    text = HEADER.replace("Scenario", "Scenaro") + RUN.replace("1h", "1x")
    found = problems(text + "manifests: [broken.yaml, missing.yaml]\n" + POOL + "faults: [{}]\n")
    assert [line.split(": ")[0] for line in found] == [
        "a.yaml:2:7",  # kind
        "a.yaml:4:17",  # run.duration
        "a.yaml:5:26",  # manifests[1], which is missing
        "a.yaml:8:10",  # faults[0].at
        "broken.yaml:3:18",
    ]


def test_a_wrong_field_does_not_hide_a_wrong_name_beside_it(shop):
    traffic = "traffic: [{service: shop/frontnd, rps: 1, cpuPerRequest: 4}]\n"
    found = problems(HEADER + RUN + "manifests: [shop.yaml]\n" + traffic)
    assert [line.split(": ")[1] for line in found] == [
        "traffic[0].service",
        "traffic[0].cpuPerRequest",
    ]


def test_two_pools_of_one_name_are_refused():
    pool = {"pool": "p", "count": 1, "instanceType": "m5.large"}
    with pytest.raises(ScenarioError, match=r"pool 'p' stands here twice"):
        Scenario.from_dict(small(nodes=[pool, pool]))


def test_two_streams_of_one_name_are_refused(shop):
    stream = {"name": "s", "every": "1m", "template": "job.yaml", "runtime": "1m"}
    with pytest.raises(ScenarioError, match=r"arrivals\[1\].name: got 's' a second time"):
        Scenario.from_dict(small(arrivals=[stream, stream]), base=shop)


def test_a_node_of_the_manifests_may_not_have_the_name_of_a_pools_node(shop):
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: p-1}\n"
    Path("node.yaml").write_text(node)
    assert problems(HEADER + RUN + POOL + "manifests: [node.yaml]\n") == [
        "a.yaml:6:10: nodes[0].pool: the manifests have a node 'p-1' too."
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.yaml: the file is empty; expected a scenario"),
        ("[1]\n", "a.yaml: got a list; expected a mapping, the scenario."),
        ("a: 1\n---\nb: 2\n", "a.yaml: got 2 documents; expected one mapping, the scenario."),
    ],
    ids=["nothing", "a list", "two documents"],
)
def test_a_file_that_holds_no_scenario_is_refused(shop, text, message):
    assert problems(text) == [message]


def test_a_file_that_is_not_there_is_told(shop):
    with pytest.raises(ScenarioError, match=r"^b.yaml: there is no such file"):
        load("b.yaml")


def test_reading_a_scenario_needs_neither_numpy_nor_pandas(shop):
    code = (
        "import sys, sim; sim.load('a.yaml'); "
        "print(sorted({'numpy', 'pandas', 'matplotlib', 'duckdb'} & set(sys.modules)))"
    )
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# What a run does not heed


def test_what_is_accepted_but_not_modelled_is_named(shop):
    assert load("a.yaml").unmodelled == (
        "controlPlane.members: accepted, not modelled yet",
        "controlPlane.zones: accepted, not modelled yet",
    )


def test_a_fault_after_the_end_is_named():
    scenario = Scenario.from_dict(
        small(
            nodes=[{"pool": "p", "count": 1, "instanceType": "m5.large"}],
            faults=[{"at": "2h", "node": "p-0"}],
        )
    )
    assert scenario.unmodelled == ("faults[0]: at 2h, but the run ends at 1h; it never happens",)


def test_a_region_without_prices_is_named():
    pool = {"pool": "p", "count": 1, "instanceType": "m5.large", "region": "eu-central-1"}
    assert Scenario.from_dict(small(nodes=[pool])).unmodelled == (
        "nodes[0].region: no prices of eu-central-1, those of us-east-1 are used",
    )


def test_another_release_runs_with_the_rules_of_the_one_that_is_modelled():
    assert Scenario.from_dict(small(kubernetes={"version": "1.34"})).unmodelled == ()
    assert Scenario.from_dict(small(kubernetes={"version": "1.36"})).unmodelled == (
        "kubernetes.version 1.36: runs with the rules of 1.34",
    )


BARE_POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {%s%s}\n"
CONTAINERS = "containers: [{name: main, image: web}]"


def test_a_pod_on_a_node_that_does_not_exist_is_a_problem(shop):
    Path("pod.yaml").write_text(BARE_POD % ("a", "nodeName: p-3, ", CONTAINERS))
    text = HEADER + RUN + "manifests: [pod.yaml]\n"
    assert problems(text + POOL) == [
        "a.yaml:5:12: manifests: the nodeName of Pod default/a: no node 'p-3'."
        " There are: p-0 to p-2."
    ]
    Path("node.yaml").write_text("apiVersion: v1\nkind: Node\nmetadata: {name: p-33}\n")
    assert problems(text.replace("]", ", node.yaml]") + POOL) == [
        "a.yaml:5:12: manifests: the nodeName of Pod default/a: no node 'p-3'. Did you mean 'p-33'?"
    ]


def test_a_template_of_arrivals_on_a_node_that_does_not_exist_is_a_problem(shop):
    Path("job.yaml").write_text(JOB.replace("{restart", "{nodeName: x, restart"))
    stream = "arrivals:\n- {name: x, every: 1m, template: job.yaml, runtime: 1m}\n"
    assert problems(HEADER + RUN + POOL + stream) == [
        "a.yaml:8:34: arrivals[0].template: the nodeName of Job default/nightly: no node 'x'."
        " There are: p-0 to p-2."
    ]


def test_pods_of_a_dump_without_its_nodes_are_named(shop):
    Path("pod.yaml").write_text(BARE_POD % ("a", "nodeName: n1, ", CONTAINERS))
    assert loaded(HEADER + RUN + "manifests: [pod.yaml]\n").unmodelled == (
        "nodeName 'n1': there is no node at all; its pods stay pending",
    )


def test_a_pod_that_has_ended_needs_no_node(shop):
    pod = BARE_POD % ("a", "nodeName: gone, ", CONTAINERS) + "status: {phase: Failed}\n"
    Path("pod.yaml").write_text(pod)
    assert loaded(HEADER + RUN + "manifests: [pod.yaml]\n" + POOL).unmodelled == ()


# Other values


def test_replace_makes_another_scenario_and_leaves_the_first(shop):
    scenario = load("a.yaml")
    other = scenario.replace({"nodes[0].instanceType": "m6i.2xlarge", "run.seed": 3})
    assert (other.nodes[0].shape.capacity["cpu"], other.run.seed) == (8000, 3)
    assert (scenario.nodes[0].shape.capacity["cpu"], scenario.run.seed) == (4000, 7)
    assert other.source["run"]["seed"] == 3
    assert other.manifests.services == scenario.manifests.services


def test_replace_makes_sections_on_the_way():
    scenario = Scenario.from_dict(small()).replace({"kubelet.imagePull": "5s"})
    assert scenario.kubelet.image_pull == Constant(5000)


def test_replace_with_nothing_gives_an_equal_scenario(shop):
    scenario = load("a.yaml")
    assert scenario.replace({}) == scenario


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"nodes[0].instancType": "m5.large"},
            "nodes[0].instancType: unknown field. Did you mean 'instanceType'?",
        ),
        ({"nodes[4].count": 1}, "nodes[4].count: nodes has 1 entries, it has no [4]."),
        ({"run[0]": 1}, "run[0]: run is not a list, it has no [0]."),
        (
            {"run.duration.x": 1},
            "run.duration.x: run.duration is not a mapping, it has no 'x'.",
        ),
        (
            {"nodes[": 1},
            "nodes[: got the path 'nodes['; expected one such as 'nodes[0].instanceType'.",
        ),
    ],
    ids=["unknown field", "index too large", "no list", "no mapping", "no path"],
)
def test_a_replacement_that_does_not_fit_is_told_with_its_path(shop, changes, message):
    with pytest.raises(ScenarioError) as error:
        load("a.yaml").replace(changes)
    assert str(error.value) == f"a.yaml: {message}"


def test_overrides_are_read_as_yaml(shop):
    changes = {
        "run.seed": "3",
        "kubernetes.version": "1.36",
        "nodes[0].zones": "[a, b]",
        "scheduler.record": "true",
        'nodes[0].labels["example.com/rack"]': '"7"',
    }
    scenario = load("a.yaml", overrides=changes)
    assert (scenario.run.seed, scenario.kubernetes.version) == (3, "1.36")
    assert (scenario.nodes[0].zones, scenario.scheduler.record) == (("a", "b"), True)
    assert scenario.nodes[0].labels == {"example.com/rack": "7"}


def test_a_problem_of_an_override_points_at_its_path_not_into_the_file(shop):
    with pytest.raises(ScenarioError) as error:
        load("a.yaml", overrides={"run.seed": "-1"})
    assert str(error.value) == "a.yaml: run.seed: got -1; expected at least 0."


def test_an_override_that_yaml_reads_two_ways_is_told(shop):
    with pytest.raises(ScenarioError, match=r"a.yaml: run.seed: '0777' is octal"):
        load("a.yaml", overrides={"run.seed": "0777"})


# The scheduler's configuration

BATCH = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
percentageOfNodesToScore: 30
profiles:
- schedulerName: batch
  plugins: {postFilter: {disabled: [{name: DefaultPreemption}]}}
"""


def test_nothing_said_of_the_scheduler_is_its_own_configuration(shop):
    assert load("a.yaml").configuration is None


def test_null_goes_back_to_the_schedulers_own_configuration(shop):
    Path("batch.yaml").write_text(BATCH)
    Path("a.yaml").write_text(HEADER + RUN + "scheduler: {config: batch.yaml}\n")
    assert load("a.yaml", overrides={"scheduler.config": "null"}).configuration is None


def test_the_scheduler_is_configured_by_a_file_or_in_place(shop):
    Path("batch.yaml").write_text(BATCH)
    by_file = loaded(HEADER + RUN + "scheduler: {config: batch.yaml}\n").configuration
    in_place = Scenario.from_dict(small(scheduler={"config": yaml.safe_load(BATCH)})).configuration
    assert by_file == in_place
    assert list(by_file.profiles) == ["batch"]
    assert by_file.percentage_of_nodes_to_score == 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a.yaml:5:21: scheduler.config: there is no such file, 'no.yaml'."),
        ("[]", "no.yaml: got []; expected one KubeSchedulerConfiguration."),
        (BATCH + "---\n" + BATCH, "got 2 documents; expected one KubeSchedulerConfiguration."),
        ("kind: X\n", "no.yaml:1:7: kind: got 'X'; expected 'KubeSchedulerConfiguration'"),
        ("profiles: []\n", "no.yaml:1:1: apiVersion: is missing; expected"),
        (BATCH.replace("30", "130"), "no.yaml:3:27: percentageOfNodesToScore: got 130"),
    ],
)
def test_problems_of_a_configuration_file_are_told_with_their_places(shop, content, message):
    if content is not None:
        Path("no.yaml").write_text(content)
    found = problems(HEADER + RUN + "scheduler: {config: no.yaml}\n")
    assert any(message in line for line in found), found


def test_problems_of_a_configuration_in_place_are_told_with_those_of_the_scenario(shop):
    text = "scheduler:\n  config:\n    percentageOfNodesToScore: 130\n    parallel: 2\nnods: []\n"
    assert problems(HEADER + RUN + text) == [
        "a.yaml:7:31: scheduler.config.percentageOfNodesToScore: got 130; expected a whole number "
        "of at most 100",
        "a.yaml:8:5: scheduler.config.parallel: unknown field. Did you mean 'parallelism'?",
        "a.yaml:9:1: nods: unknown field. Did you mean 'nodes'?",
    ]


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"config": 3}, "scheduler.config: got 3; expected the path of a KubeSchedulerConf"),
        ({"config": ""}, "scheduler.config: got ''; expected the path"),
        ({"bindingLatency": 20}, "expected a duration such as '30s'"),
        ({"clientQps": 0}, "scheduler.clientQps: got 0; expected at least 0.001"),
        ({"clientBurst": 0}, "scheduler.clientBurst: got 0; expected at least 1"),
        ({"clientBurst": 3}, "scheduler.clientBurst: has no effect without scheduler.clientQps"),
        ({"plugins": [{"weight": 2}]}, "scheduler.plugins[0].plugin: missing"),
        ({"plugins": [{"plugin": "a.py:A", "weight": 0}]}, "weight: got 0; expected at least 1"),
    ],
)
def test_a_wrong_scheduler_is_told_with_what_was_expected(scheduler, message):
    with pytest.raises(ScenarioError) as error:
        Scenario.from_dict(small(scheduler=scheduler))
    assert message in str(error.value)


def test_times_and_limits_of_the_scheduler_are_off_unless_given():
    off = Scenario.from_dict(small()).scheduler
    assert (off.binding_latency_ms, off.client_qps) == (0, None)
    written = {"bindingLatency": "20ms", "clientQps": 50, "clientBurst": 70}
    on = Scenario.from_dict(small(scheduler=written)).scheduler
    assert (on.binding_latency_ms, on.client_qps, on.client_burst) == (20, 50.0, 70)


def test_what_the_configuration_says_and_nothing_heeds_is_named(shop):
    config = {"leaderElection": {"leaderElect": True}, "extenders": [{}]}
    assert Scenario.from_dict(small(scheduler={"config": config})).unmodelled == (
        "scheduler.config: leaderElection",
        "scheduler.config: extenders",
    )


def test_pods_of_a_scheduler_that_there_is_not_are_named(shop):
    pods = BARE_POD % ("a", "schedulerName: batch, ", CONTAINERS)
    Path("pods.yaml").write_text(pods)
    Path("batch.yaml").write_text(BATCH)
    text = HEADER + RUN + "manifests: [pods.yaml]\n"
    assert loaded(text).unmodelled == (
        "schedulerName 'batch': no profile has that name; its pods stay pending",
    )
    assert loaded(text + "scheduler: {config: batch.yaml}\n").unmodelled == ()


# The schema


def validator():
    return jsonschema.Draft202012Validator(scenario_schema())


def test_the_schema_is_one_of_draft_2020_12():
    jsonschema.Draft202012Validator.check_schema(scenario_schema())
    assert scenario_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_accepts_the_example_of_the_design():
    validator().validate(yaml.safe_load(EXAMPLE))


def test_the_schema_accepts_what_a_scheduler_may_be():
    plugins = ["a.py:A", {"plugin": "b.py:B", "weight": 2, "args": {"n": 1}, "scheduler": "x"}]
    for config in ("batch.yaml", yaml.safe_load(BATCH)):
        validator().validate(small(scheduler={"config": config, "plugins": plugins}))


@pytest.mark.parametrize(
    "section",
    [
        {"nods": []},
        {"nodes": [{"pool": "p"}]},
        {"faults": [{"at": 5, "zone": "a"}]},
        {"behaviour": [{"startup": {"gamma": "8s"}}]},
        {"kubernetes": {"version": "1.3"}},
        {"scheduler": {"config": 3}},
        {"scheduler": {"plugins": [{"weight": 2}]}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_what_loading_refuses(section):
    assert not validator().is_valid(small() | section)
    with pytest.raises(ScenarioError):
        Scenario.from_dict(small() | section)


def test_every_field_of_the_schema_says_what_it_is():
    definitions = [scenario_schema(), *scenario_schema()["$defs"].values()]
    silent = [
        (definition["title"], name)
        for definition in definitions
        for name, field in definition.get("properties", {}).items()
        if "description" not in field and "unit" not in field and "$ref" not in field
    ]
    assert silent == []


def test_defaults_in_the_schema_are_written_as_users_write_them():
    control = scenario_schema()["$defs"]["ControlPlane"]["properties"]
    assert control["nodeMonitorGracePeriod"]["default"] == "50s"
    assert scenario_schema()["$defs"]["ProbesForm"]["properties"]["latency"]["default"] == "1ms"


# Any input ends in a scenario or in its problems


def places(value, path=()):
    """Every path of a nested value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, below in pairs:
        yield from places(below, (*path, key))


EXAMPLE_DATA = yaml.safe_load(EXAMPLE)
PLACES = [path for path in places(EXAMPLE_DATA) if path]
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        ["", "5", "5m", "-1s", "1e400", "99%", "a/b", "\0", "{", "é", "1Gi/0s", "9" * 400]
    ),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(
        st.sampled_from(["a", "median", "min", "", "every"]), st.integers(), max_size=2
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), STRANGE | st.just("delete")), max_size=3))
def test_any_mutation_of_a_scenario_ends_in_a_scenario_or_in_its_problems(shop, mutations):
    data = copy.deepcopy(EXAMPLE_DATA)
    for path, value in mutations:
        mutate(data, path, value)
    found = outcome(data, shop)
    assert found if isinstance(found, list) else found.replace({}) == found


def outcome(data, base):
    """The scenario or its problems; any other exception is a failure."""
    try:
        return Scenario.from_dict(data, base=base)
    except ScenarioError as error:
        return [problem for problem in error.problems if problem.message]


def mutate(data, path, value):
    """Put `value` at a path, or take away what is there; nothing when an earlier one removed it."""
    *parents, last = path
    try:
        for step in parents:
            data = data[step]
        data[last] = value
        if value == "delete":
            del data[last]
    except (LookupError, TypeError):
        return
