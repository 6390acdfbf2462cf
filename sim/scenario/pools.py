"""Pools of nodes: from what a scenario writes to node shapes, names, zones and labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sim import eviction, nodes
from sim.behaviour import Distribution, Uniform
from sim.instances import InstanceType, instance
from sim.labels import Labels
from sim.nodes import Machine, NodeShape, Provider, Reservation
from sim.podspec import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Taint
from sim.scenario.faults import CpuSpeed, Spot
from sim.scenario.models import EvictionAmounts, EvictionHard, PoolForm
from sim.termination import ShutdownGroup, shutdown_groups
from sim.workloads import NodePod

BOOT = Uniform(180_000, 300_000)  # as PoolForm.boot


@dataclass(frozen=True)
class Pool:
    """Equal nodes, dealt to zones in turn."""

    name: str
    count: int
    shape: NodeShape
    zones: tuple[str, ...] = ("",)
    region: str = ""
    arch: str = "amd64"
    labels: Labels = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    node_pods: tuple[NodePod, ...] = ()
    shutdown_groups: tuple[ShutdownGroup, ...] = ()  # of a graceful shutdown, none without one
    boot: Distribution = BOOT
    spot: Spot | None = None
    cpu_speed: CpuSpeed | None = None

    def node_name(self, index: int) -> str:
        """Name of its node number `index`, counted from 0."""
        return f"{self.name}-{index}"

    def zone_of(self, index: int) -> str:
        """Zone of its node number `index`; '' when the pool names none."""
        return self.zones[index % len(self.zones)]

    def node_labels(self, index: int) -> dict[str, str]:
        """Labels of a node: the well-known ones, then the pool's own."""
        known = {
            "kubernetes.io/hostname": self.node_name(index),
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": self.arch,
            "beta.kubernetes.io/os": "linux",  # still kept beside the new ones by node lifecycle
            "beta.kubernetes.io/arch": self.arch,
            "node.kubernetes.io/instance-type": self.shape.instance_type,
            "topology.kubernetes.io/zone": self.zone_of(index),
            "topology.kubernetes.io/region": self.region,
        }
        return {key: value for key, value in known.items() if value} | dict(self.labels)

    def has_node(self, name: str) -> bool:
        """Whether one of its nodes is called so."""
        prefix, dash, index = name.rpartition("-")
        digits = index.isascii() and index.isdigit() and str(int(index)) == index
        return bool(dash) and prefix == self.name and digits and int(index) < self.count


def pool_of(form: PoolForm) -> Pool:
    """The pool that a validated entry of `nodes` describes."""
    kind = instance(form.instance_type) if form.instance_type else None
    return Pool(
        name=form.pool,
        count=form.count,
        shape=_shape(form, kind),
        zones=form.zones,
        region=form.region,
        arch=kind.arch if kind else "amd64",
        labels=dict(form.labels),
        taints=tuple(Taint(t.key, t.effect, t.value) for t in form.taints),
        node_pods=tuple(NodePod(p.name, p.cpu_m, p.memory_b, p.count) for p in form.overhead_pods),
        shutdown_groups=shutdown_groups(
            form.shutdown_grace_period_ms, form.shutdown_grace_period_critical_pods_ms
        ),
        boot=form.boot,
        spot=form.spot,
        cpu_speed=form.cpu_speed,
    )


def provider_of(form: PoolForm, kind: InstanceType | None) -> Provider:
    """The provider whose rules hold."""
    if form.provider is not None:
        return form.provider
    return nodes.PROVIDER_OF_CLOUD[kind.cloud] if kind else "explicit"


def _shape(form: PoolForm, kind: InstanceType | None) -> NodeShape:
    provider = provider_of(form, kind)
    capacity = _capacity(form, kind)
    pods = capacity.pop(PODS, None) if form.max_pods is None else form.max_pods
    capacity.pop(PODS, None)
    machine = _machine(form, kind, capacity, pods, provider)
    price = form.price_per_hour
    if price is None:
        price = kind.price_usd_per_hour(form.region) if kind else 0.0
    reservation = _reservation(form, nodes.reservation_of(provider, machine))
    shape = nodes.shape(
        capacity,
        reservation,
        max_pods=machine.max_pods,
        price_usd_per_hour=price,
        instance_type=form.instance_type or "",
    )
    return replace(shape, eviction=_kubelet(form, reservation))


SIGNALS = {MEMORY: eviction.MEMORY_AVAILABLE, EPHEMERAL_STORAGE: eviction.NODEFS}


def _kubelet(form: PoolForm, reservation: Reservation) -> eviction.Settings:
    """What its kubelets evict at."""
    grace = form.eviction_soft_grace_period
    graces_ms = {MEMORY: grace.memory, EPHEMERAL_STORAGE: grace.ephemeral_storage}
    found = eviction.thresholds(
        {SIGNALS[name]: amount for name, amount in reservation.eviction.items()},
        _by_signal(form.eviction_soft),
        {SIGNALS[name]: ms for name, ms in graces_ms.items() if ms is not None},
        _by_signal(form.eviction_minimum_reclaim),
    )
    return eviction.with_containerfs(
        eviction.Settings(
            eviction.with_allocatable(found),
            form.eviction_pressure_transition_period_ms,
            form.eviction_max_pod_grace_period_ms,
        )
    )


def _by_signal(form: EvictionAmounts) -> dict[str, int | float]:
    return {SIGNALS[name]: amount for name, amount in _eviction(form).items()}


def _capacity(form: PoolForm, kind: InstanceType | None) -> dict[str, int]:
    """What the kubelet reports. Overhead that the scenario names is taken off given memory too."""
    overhead = form.os_overhead.memory_fraction if form.os_overhead else None
    given = dict(form.capacity)
    if MEMORY in given and overhead is not None:
        given[MEMORY] -= int(given[MEMORY] * overhead)
    return (nodes.capacity_of(kind, overhead) if kind else {}) | given


def _machine(
    form: PoolForm,
    kind: InstanceType | None,
    capacity: dict[str, int],
    pods: int | None,
    provider: Provider,
) -> Machine:
    """What the provider's formulas read: advertised size, or the capacity that was given."""
    return nodes.machine(
        provider,
        cpu_m=form.capacity.get(CPU, kind.cpu_m if kind else capacity.get(CPU, 0)),
        memory_b=form.capacity.get(MEMORY, kind.memory_b if kind else capacity.get(MEMORY, 0)),
        max_pods=pods,
        enis=kind.enis if kind else 0,
        ipv4_per_eni=kind.ipv4_per_eni if kind else 0,
        shared_core=kind.shared_core if kind else False,
    )


def _reservation(form: PoolForm, rules: Reservation) -> Reservation:
    """The provider's reservation, with what the entry says itself in its place."""
    eviction = rules.eviction if form.eviction_hard is None else _eviction(form.eviction_hard)
    if form.reserved is not None:
        return Reservation(kube=form.reserved, eviction=eviction)
    return Reservation(
        system={**rules.system, **(form.system_reserved or {})},
        kube={**rules.kube, **(form.kube_reserved or {})},
        eviction=eviction,
    )


def _eviction(form: EvictionHard | EvictionAmounts) -> dict[str, int | float]:
    given = {"memory": form.memory, "ephemeral-storage": form.ephemeral_storage}
    return {name: amount for name, amount in given.items() if amount is not None}
