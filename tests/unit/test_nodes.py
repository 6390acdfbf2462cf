"""Node sizes: reservations by provider, allocatable, and what the catalogue says beside them."""

from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim import nodes
from sim.instances import instance
from sim.nodes import GIB, MIB, Reservation

CATALOGUE = yaml.load(
    (files("sim") / "data" / "instance-types.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader
)
AWS = {row["name"]: row for row in CATALOGUE["aws"]}
GCP = {row["name"]: row for row in CATALOGUE["gcp"]}


def a_machine(provider="explicit", cpu_m=4000, memory_b=16 * GIB, **more):
    return nodes.machine(provider, cpu_m=cpu_m, memory_b=memory_b, **more)


def of_type(name, provider):
    kind = instance(name)
    return nodes.machine(
        provider,
        cpu_m=kind.cpu_m,
        memory_b=kind.memory_b,
        enis=kind.enis,
        ipv4_per_eni=kind.ipv4_per_eni,
        shared_core=kind.shared_core,
    )


def test_without_reservation_allocatable_is_capacity():
    shape = nodes.shape({"cpu": 4000, "memory": 16 * GIB, "nvidia.com/gpu": 2})
    assert shape.allocatable == shape.kubepods == shape.capacity
    assert shape.max_pods == 110


def test_a_kubeadm_node_loses_only_its_eviction_thresholds():
    capacity = {"cpu": 4000, "memory": 16 * GIB, "ephemeral-storage": 100 * GIB}
    shape = nodes.shape(capacity, nodes.reservation_of("kubeadm", a_machine()))
    # 100 MiB of memory and 10 % of the disk; CPU has no eviction term.
    assert shape.allocatable == {
        "cpu": 4000,
        "memory": 16 * GIB - 100 * MIB,
        "ephemeral-storage": 90 * GIB,
    }


def test_the_cgroup_of_all_pods_keeps_what_eviction_takes_from_allocatable():
    reservation = Reservation(
        system={"cpu": 100, "memory": 1 * GIB},
        kube={"cpu": 80, "memory": 2 * GIB},
        eviction={"memory": 500 * MIB},
    )
    shape = nodes.shape({"cpu": 4000, "memory": 16 * GIB}, reservation)
    assert shape.kubepods == {"cpu": 3820, "memory": 13 * GIB}
    assert shape.allocatable == {"cpu": 3820, "memory": 13 * GIB - 500 * MIB}
    assert shape.eviction_hard_memory_b == 500 * MIB


def test_huge_pages_leave_the_allocatable_memory():
    shape = nodes.shape({"memory": 8 * GIB, "hugepages-2Mi": 3 * GIB})
    assert shape.allocatable == {"memory": 5 * GIB, "hugepages-2Mi": 3 * GIB}
    assert shape.kubepods["memory"] == 8 * GIB


def test_a_threshold_in_percent_is_of_capacity_not_of_what_is_left():
    reservation = Reservation(kube={"memory": 5 * GIB}, eviction={"memory": 0.10})
    shape = nodes.shape({"memory": 10 * GIB}, reservation)
    assert shape.allocatable == {"memory": 4 * GIB}  # 10 - 5 - 10 % of 10


def test_a_threshold_of_what_the_node_lacks_reserves_nothing():
    shape = nodes.shape({"memory": GIB}, Reservation(eviction={"ephemeral-storage": 0.1}))
    assert shape.allocatable == {"memory": GIB}


AMOUNTS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu"]),
    st.integers(0, 2**50),
)


@given(AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 2**40) | st.floats(0, 1))
def test_allocatable_lies_between_nothing_and_the_cgroup_and_the_cgroup_within_capacity(
    capacity, system, kube, eviction
):
    reservation = Reservation(system=system, kube=kube, eviction={"memory": eviction})
    shape = nodes.shape(capacity, reservation)
    for name, amount in capacity.items():
        assert 0 <= shape.allocatable[name] <= shape.kubepods[name] <= amount


@pytest.mark.parametrize(
    ("provider", "cpu_m", "reserved_m"),
    [
        pytest.param("gke", 4000, 80, id="GKE: 60 + 10 + 2 x 5"),
        pytest.param("gke", 8000, 90, id="GKE: 80 + 4 x 2.5"),
        pytest.param("eks", 2000, 70, id="EKS: 60 + 10"),
        pytest.param("eks", 9000, 92, id="EKS: 80 + 12.5 cut to 12"),
        pytest.param("aks", 3000, 120, id="AKS: 60 + 40 + 20"),
        pytest.param("aks", 32_000, 420, id="AKS: 140 + 28 x 10"),
        pytest.param("gdc", 8000, 160, id="GDC: 80 + 1 % of 8000"),
        pytest.param("kubeadm", 8000, 0, id="kubeadm: nothing"),
    ],
)
def test_providers_reserve_cpu_by_their_tiers(provider, cpu_m, reserved_m):
    kube = nodes.reservation_of(provider, a_machine(provider, cpu_m=cpu_m)).kube
    assert kube.get("cpu", 0) == reserved_m


@pytest.mark.parametrize(
    ("provider", "memory_gib", "reserved_mib"),
    [
        pytest.param("gke", 0.5, 255, id="GKE below 1 GiB: 255 MiB"),
        pytest.param("gke", 150, 9994.24, id="GKE: 1 + 0.8 + 0.8 + 6.72 + 2 % of 22 GiB"),
        pytest.param("aks", 16, 650, id="AKS: 20 x 30 pods + 50"),
        pytest.param("aks", 2, 512, id="AKS: a quarter of 2 GiB is less than 650"),
        pytest.param("aks-before-1.29", 64, 5611, id="AKS old: 5611.52 cut to whole MiB"),
        pytest.param("gdc", 16, 1149.2, id="GDC: 330 + 5 % of 16384"),
        pytest.param("eks", 16, 1465, id="EKS without network limits: 11 x 110 + 255"),
    ],
)
def test_providers_reserve_memory_by_their_rules(provider, memory_gib, reserved_mib):
    machine = a_machine(provider, memory_b=int(memory_gib * GIB))
    reserved_b = nodes.reservation_of(provider, machine).kube["memory"]
    assert reserved_b / MIB == pytest.approx(reserved_mib, abs=5 / MIB)  # tiers are cut to bytes


def test_old_aks_evicts_at_750_mib_and_everybody_else_at_100():
    thresholds = {
        provider: nodes.reservation_of(provider, a_machine()).eviction.get("memory", 0) // MIB
        for provider in nodes.RESERVATIONS
    }
    assert thresholds.pop("aks-before-1.29") == 750
    assert thresholds.pop("explicit") == 0
    assert set(thresholds.values()) == {100}


def test_m5_large_on_eks_is_what_its_documents_say():
    kind = instance("m5.large")
    machine = of_type("m5.large", "eks")
    shape = nodes.shape(
        nodes.capacity_of(kind), nodes.reservation_of("eks", machine), max_pods=machine.max_pods
    )
    assert shape.max_pods == 29  # 3 interfaces x 9 addresses + 2
    assert shape.allocatable["cpu"] == 1930
    # 8192 MiB less 7.5 %, 574 MiB reserved (11 x 29 + 255) and 100 MiB of eviction threshold
    assert shape.allocatable["memory"] == 8192 * MIB - int(8192 * MIB * 0.075) - 674 * MIB
    # 20 GiB disk: 1 GiB reserved and 10 % threshold
    assert shape.allocatable["ephemeral-storage"] == 17 * GIB


def test_a_shared_core_machine_on_gke_leaves_940_millicores():
    machine = of_type("e2-small", "gke")
    shape = nodes.shape({"cpu": machine.cpu_m}, nodes.reservation_of("gke", machine))
    assert shape.allocatable == {"cpu": 940}


@pytest.mark.parametrize("name", AWS)
def test_eks_formulas_agree_with_the_catalogue(name):
    row = AWS[name]
    machine = of_type(name, "eks")
    assert machine.max_pods == row["max_pods_eni"]
    kube = nodes.reservation_of("eks", machine).kube
    assert kube["cpu"] == row["eks_kube_reserved"]["cpu_milli"]
    assert kube["memory"] == row["eks_kube_reserved"]["memory_mib"] * MIB
    prefixed = of_type(name, "eks-prefix-delegation")
    assert prefixed.max_pods == row["max_pods_prefix_delegation"]


@pytest.mark.parametrize("name", GCP)
def test_gke_formulas_agree_with_the_catalogue(name):
    reserved = GCP[name]["gke_reserved"]
    kube = nodes.reservation_of("gke", of_type(name, "gke")).kube
    assert kube["cpu"] == reserved["cpu_milli"]
    # The catalogue cuts sizes to MiB (n1-highcpu has 0.9 GiB a core); a quarter of one is reserved.
    assert kube["memory"] / MIB == pytest.approx(reserved["memory_mib"], abs=0.25)


@pytest.mark.parametrize(
    ("provider", "pods"),
    [("kubeadm", 110), ("gke", 110), ("aks", 30), ("gdc", 110), ("explicit", 110), ("eks", 110)],
)
def test_each_provider_has_its_own_cap_of_pods(provider, pods):
    assert a_machine(provider).max_pods == pods


def test_a_given_cap_goes_before_the_rule_and_moves_the_eks_reservation():
    machine = a_machine("eks", enis=3, ipv4_per_eni=10, max_pods=110)
    assert machine.max_pods == 110
    assert nodes.reservation_of("eks", machine).kube["memory"] == 1465 * MIB  # 11 x 110 + 255


def test_overhead_of_a_type_can_be_set():
    kind = instance("m5.large")
    assert nodes.capacity_of(kind, 0.0)["memory"] == 8 * GIB
    assert nodes.capacity_of(kind, 0.25)["memory"] == 6 * GIB


def test_gce_types_lose_what_their_kernel_keeps():
    # 16 GiB: 1/64 = 256 MiB, 16 fixed, 64 above 3 GiB, 0.175 % = 28.672 MiB
    expected_b = 16 * GIB - (256 + 16 + 64) * MIB - int(16 * GIB * 0.00175)
    assert nodes.capacity_of(instance("n2-standard-4"))["memory"] == expected_b
