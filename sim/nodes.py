"""Node sizes: from what a machine has to what pods may use of it, by each provider's rules.

    capacity    = advertised size - overhead of hypervisor and kernel
    allocatable = capacity - system reserved - kube reserved - hard eviction threshold
    kubepods    = capacity - system reserved - kube reserved        (the cgroup of all pods)

Follows pkg/kubelet/cm/node_container_manager_linux.go and pkg/kubelet/nodestatus/setters.go
(v1.34.1); the providers' formulas name their sources below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from sim.podspec import CPU, EPHEMERAL_STORAGE, MEMORY

if TYPE_CHECKING:
    from sim.eviction import Settings as EvictionSettings
    from sim.instances import Cloud, InstanceType
    from sim.podspec import Resources

MIB = 1024**2
GIB = 1024**3

DEFAULT_MAX_PODS = 110  # kubelet --max-pods
EVICTION_MEMORY_B = 100 * MIB  # memory.available, pkg/kubelet/eviction/defaults_linux.go
EVICTION_NODEFS = 0.10  # nodefs.available, the same file
EKS_RESERVED_STORAGE_B = 1 * GIB  # amazon-eks-ami nodeadm/internal/kubelet/config.go
AKS_OLD_EVICTION_MEMORY_B = 750 * MIB  # learn.microsoft.com aks/node-resource-reservations
AKS_MAX_PODS = 30  # Azure CNI with one address per pod; 250 with overlay, 110 with kubenet
VM_MEMORY_OVERHEAD = 0.075  # Karpenter's VM_MEMORY_OVERHEAD_PERCENT default, AWS and Azure

# What a node's root disk has when nothing else is said: the default sizes of EKS managed node
# groups, GKE and AKS node pools. The catalogue has no disks, because they are bought apart.
ROOT_DISK_B: Mapping[Cloud, int] = {"aws": 20 * GIB, "gcp": 100 * GIB, "azure": 128 * GIB}

Provider = Literal[
    "kubeadm",
    "eks",
    "eks-prefix-delegation",
    "gke",
    "aks",
    "aks-before-1.29",
    "gdc",
    "explicit",
]
PROVIDER_OF_CLOUD: Mapping[Cloud, Provider] = {"aws": "eks", "gcp": "gke", "azure": "aks"}

Amount = int | float  # bytes as int, or a share of capacity as float


@dataclass(frozen=True)
class Machine:
    """What the providers' formulas read: advertised size, network limits, pods it shall take."""

    cpu_m: int
    memory_b: int
    max_pods: int = DEFAULT_MAX_PODS
    enis: int = 0
    ipv4_per_eni: int = 0
    shared_core: bool = False


@dataclass(frozen=True)
class Reservation:
    """What pods cannot have; eviction thresholds are bytes (int) or a share of capacity (float)."""

    system: Resources = field(default_factory=dict)
    kube: Resources = field(default_factory=dict)
    eviction: Mapping[str, Amount] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeShape:
    """A node's size as a value: CPU in millicores, memory and storage in bytes."""

    capacity: Resources
    allocatable: Resources
    kubepods: Resources  # limits of the cgroup that holds all pods
    max_pods: int = DEFAULT_MAX_PODS
    price_usd_per_hour: float = 0.0
    instance_type: str = ""
    system_reserved: Resources = field(default_factory=dict)
    kube_reserved: Resources = field(default_factory=dict)
    eviction_hard_memory_b: int = 0
    eviction: EvictionSettings | None = None  # of its kubelet; None: it evicts nobody


def shape(
    capacity: Resources,
    reservation: Reservation = Reservation(),
    *,
    max_pods: int = DEFAULT_MAX_PODS,
    price_usd_per_hour: float = 0.0,
    instance_type: str = "",
) -> NodeShape:
    """The shape of a node with this capacity under this reservation; nothing goes below zero.

    Huge pages leave the allocatable memory by their whole capacity, as the kubelet does it.
    """
    evicted = {
        name: _of(amount, capacity[name])
        for name, amount in reservation.eviction.items()
        if name in capacity
    }
    reserved = _sum(reservation.system, reservation.kube)
    kubepods = _minus(capacity, reserved)
    allocatable = _minus(capacity, _sum(reserved, evicted, _huge_pages(capacity)))
    return NodeShape(
        capacity=dict(capacity),
        allocatable=allocatable,
        kubepods=kubepods,
        max_pods=max_pods,
        price_usd_per_hour=price_usd_per_hour,
        instance_type=instance_type,
        system_reserved=dict(reservation.system),
        kube_reserved=dict(reservation.kube),
        eviction_hard_memory_b=evicted.get(MEMORY, 0),
    )


def machine(
    provider: Provider,
    *,
    cpu_m: int,
    memory_b: int,
    max_pods: int | None = None,
    enis: int = 0,
    ipv4_per_eni: int = 0,
    shared_core: bool = False,
) -> Machine:
    """A machine under `provider`; `max_pods` None takes the provider's default."""
    bare = Machine(cpu_m, memory_b, DEFAULT_MAX_PODS, enis, ipv4_per_eni, shared_core)
    return replace(bare, max_pods=max_pods_of(provider, bare) if max_pods is None else max_pods)


def capacity_of(instance: InstanceType, overhead: float | None = None) -> dict[str, int]:
    """What the kubelet of this instance type reports, with the root disk its cloud starts with.

    `overhead` is the share of advertised memory that never arrives; None takes the cloud's rule:
    the GCE kernel's for GCP, 7.5 % for AWS and Azure.
    """
    if overhead is not None:
        lost = int(instance.memory_b * overhead)
    else:
        lost = os_overhead_b(instance.cloud, instance.memory_b, instance.arch)
    return {
        CPU: instance.cpu_m,
        MEMORY: instance.memory_b - lost,
        EPHEMERAL_STORAGE: ROOT_DISK_B[instance.cloud],
    }


def os_overhead_b(cloud: Cloud, memory_b: int, arch: str = "amd64") -> int:
    """Advertised memory that hypervisor and kernel keep for themselves."""
    if cloud == "gcp":
        return gce_kernel_reserved_b(memory_b, "cos", arch)
    return int(memory_b * VM_MEMORY_OVERHEAD)


def reservation_of(provider: Provider, machine: Machine) -> Reservation:
    """What `provider` reserves on `machine`."""
    return RESERVATIONS[provider](machine)


def max_pods_of(provider: Provider, machine: Machine) -> int:
    """Most pods that the provider's default lets run on `machine`."""
    if provider == "eks" and machine.enis:
        return eks_max_pods(machine.enis, machine.ipv4_per_eni)
    if provider == "eks-prefix-delegation" and machine.enis:
        return eks_prefix_max_pods(machine.enis, machine.ipv4_per_eni, machine.cpu_m)
    return AKS_MAX_PODS if provider in ("aks", "aks-before-1.29") else DEFAULT_MAX_PODS


# Reservations by provider


def kubeadm(machine: Machine) -> Reservation:
    """A kubelet's own defaults: nothing reserved, only the eviction thresholds."""
    return Reservation(eviction=_eviction())


def explicit(machine: Machine) -> Reservation:
    """Nothing that the scenario does not name: allocatable is capacity."""
    return Reservation()


def eks(machine: Machine) -> Reservation:
    """awslabs/amazon-eks-ami nodeadm/internal/kubelet/config.go: memory follows the pod cap."""
    kube = {
        CPU: tiered_cpu_m(machine.cpu_m),
        MEMORY: eks_memory_b(machine.max_pods),
        EPHEMERAL_STORAGE: EKS_RESERVED_STORAGE_B,
    }
    return Reservation(kube=kube, eviction=_eviction())


def gke(machine: Machine) -> Reservation:
    """cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes."""
    # Shared-core E2 machines keep 1,060 of 2,000 millicores, as that page prints.
    cpu_m = 1060 if machine.shared_core else tiered_cpu_m(machine.cpu_m)
    kube = {CPU: cpu_m, MEMORY: gke_memory_b(machine.memory_b)}
    return Reservation(kube=kube, eviction=_eviction())


def aks(machine: Machine) -> Reservation:
    """AKS 1.29 and later: learn.microsoft.com aks/node-resource-reservations."""
    kube = {CPU: aks_cpu_m(machine.cpu_m), MEMORY: aks_memory_b(machine.memory_b, machine.max_pods)}
    return Reservation(kube=kube, eviction=_eviction())


def aks_before_1_29(machine: Machine) -> Reservation:
    """AKS up to 1.28: the tiers in whole MiB, as Azure/karpenter-provider-azure computes them."""
    memory_b = tiered_memory_b(machine.memory_b) // MIB * MIB
    kube = {CPU: aks_cpu_m(machine.cpu_m), MEMORY: memory_b}
    return Reservation(kube=kube, eviction=_eviction(AKS_OLD_EVICTION_MEMORY_B))


def gdc(machine: Machine) -> Reservation:
    """Google Distributed Cloud (GKE on-prem): 80 m + 1 % of CPU, 330 MiB + 5 % of memory."""
    kube = {CPU: 80 + machine.cpu_m // 100, MEMORY: 330 * MIB + machine.memory_b * 5 // 100}
    return Reservation(kube=kube, eviction=_eviction())


RESERVATIONS: Mapping[Provider, Callable[[Machine], Reservation]] = {
    "kubeadm": kubeadm,
    "eks": eks,
    "eks-prefix-delegation": eks,
    "gke": gke,
    "aks": aks,
    "aks-before-1.29": aks_before_1_29,
    "gdc": gdc,
    "explicit": explicit,
}


def _eviction(memory_b: int = EVICTION_MEMORY_B) -> dict[str, Amount]:
    return {MEMORY: memory_b, EPHEMERAL_STORAGE: EVICTION_NODEFS}


# Formulas


def tiered_cpu_m(cpu_m: int) -> int:
    """6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest.

    GKE's documented rule; EKS computes the same in nodeadm (getCPUMillicoresToReserve), each range
    cut to whole millicores.
    """
    tiers = ((1000, 600), (2000, 100), (4000, 50), (None, 25))  # up to, per 10,000
    return _tiers(cpu_m, tiers, 10_000)


def tiered_memory_b(memory_b: int) -> int:
    """25 % of the first 4 GiB, 20 % of the next 4, 10 % of 8, 6 % of 112, 2 % of the rest."""
    tiers = ((4 * GIB, 25), (8 * GIB, 20), (16 * GIB, 10), (128 * GIB, 6), (None, 2))
    return _tiers(memory_b, tiers, 100)


def gke_memory_b(memory_b: int) -> int:
    """GKE: 255 MiB below 1 GiB, else the tiers."""
    return 255 * MIB if memory_b < GIB else tiered_memory_b(memory_b)


def eks_memory_b(max_pods: int) -> int:
    """EKS: 11 MiB for each pod and 255 MiB (nodeadm, getMemoryMebibytesToReserve)."""
    return (11 * max_pods + 255) * MIB


def eks_max_pods(enis: int, ipv4_per_eni: int) -> int:
    """EKS: each interface keeps one address; two pods use the host's (amazon-eks-ami)."""
    return enis * (ipv4_per_eni - 1) + 2


def eks_prefix_max_pods(enis: int, ipv4_per_eni: int, cpu_m: int) -> int:
    """EKS with prefix delegation: 16 addresses a slot, at most 110 (250 from 30 vCPU)."""
    cap = 110 if cpu_m < 30_000 else 250
    return min(cap, enis * (ipv4_per_eni - 1) * 16 + 2)


def aks_cpu_m(cpu_m: int) -> int:
    """AKS: 60 m for the first core, 40 for the second, 20 a core up to 4, then 10 a core."""
    tiers = ((1000, 60), (2000, 40), (4000, 20), (None, 10))
    return _tiers(cpu_m, tiers, 1000)


def aks_memory_b(memory_b: int, max_pods: int) -> int:
    """AKS from 1.29: 20 MiB a pod and 50 MiB, at most a quarter of the memory.

    The document writes MB, and counts the 100Mi threshold as 100 MB: its MB is read as MiB.
    """
    return min((20 * max_pods + 50) * MIB, memory_b // 4)


def gce_kernel_reserved_b(memory_b: int, os: Literal["cos", "ubuntu"], arch: str = "amd64") -> int:
    """What a GCE machine's kernel keeps of its physical memory.

    Follows kubernetes/autoscaler cloudprovider/gce/gce_reserved.go (CalculateKernelReserved).
    """
    reserved = memory_b // 64 + 16 * MIB  # struct pages and fixed cost
    if memory_b > 3 * GIB:
        reserved += 64 * MIB  # software I/O TLB, needed above the 32-bit hole
    if memory_b <= 8 * GIB:
        reserved += 8 * MIB
    reserved += min(int(memory_b * 0.00175), 248 * MIB)
    if os == "ubuntu":
        reserved += 4 * MIB
    if arch == "arm64" and os == "cos":
        return round(reserved * 0.9971)
    return reserved


def _tiers(amount: int, tiers: tuple[tuple[int | None, int], ...], per: int) -> int:
    """Sum over ranges of the part of `amount` in each, times its rate, each cut to an integer."""
    total, start = 0, 0
    for end, rate in tiers:
        top = amount if end is None else min(amount, end)
        total += max(0, top - start) * rate // per
        start = top
    return total


def _of(amount: Amount, capacity: int) -> int:
    """Bytes that a threshold stands for: a float is a share of capacity, cut to whole bytes."""
    return int(capacity * amount) if isinstance(amount, float) else amount


def _huge_pages(capacity: Resources) -> dict[str, int]:
    pages = sum(amount for name, amount in capacity.items() if name.startswith("hugepages-"))
    return {MEMORY: pages}


def _sum(*amounts: Resources) -> dict[str, int]:
    names = {name: None for amount in amounts for name in amount}
    return {name: sum(amount.get(name, 0) for amount in amounts) for name in names}


def _minus(capacity: Resources, taken: Resources) -> dict[str, int]:
    return {name: max(0, amount - taken.get(name, 0)) for name, amount in capacity.items()}
