"""Checks between the parts of a scenario: does what it names exist?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from sim.errors import did_you_mean
from sim.instances import instance
from sim.scenario.expressions import Expectation
from sim.scenario.models import Fault, ScenarioForm
from sim.scenario.paths import Path
from sim.scenario.pools import Pool
from sim.units import format_duration_ms

if TYPE_CHECKING:
    from sim.manifests import Manifests
    from sim.workloads import Deployment, Job, ReplicaSet

Finding = tuple[Path, str, str]  # where, message, hint

ZONE_LABEL = "topology.kubernetes.io/zone"
_LONGEST_LIST = 8  # names that a message lists


def findings(
    form: ScenarioForm, pools: tuple[Pool, ...], manifests: Manifests, unsure: set[str]
) -> Iterator[Finding]:
    """Everything that is named but does not exist.

    `unsure` names the sections that have problems of their own (and "manifests" when those do):
    what depends on them is not judged.
    """
    if "manifests" not in unsure:
        yield from _traffic(form, manifests)
    if "nodes" not in unsure:
        yield from _names_taken(pools, manifests)
        yield from _faults(form, pools, manifests)
    yield from _expectations(form, pools, manifests, unsure)
    yield from _arrivals(form)


def notices(form: ScenarioForm) -> tuple[str, ...]:
    """What the scenario says and the simulation does not heed."""
    found = [
        f"controlPlane.{name}: accepted, not modelled yet"
        for name in ("members", "zones")
        if name in form.control_plane.model_fields_set
    ]
    for i, pool in enumerate(form.nodes):
        kind = instance(pool.instance_type) if pool.instance_type else None
        if kind and pool.region and pool.price_per_hour is None and not kind.has_price(pool.region):
            known = next(iter(kind.prices_usd_per_hour))
            found.append(
                f"nodes[{i}].region: no prices of {pool.region}, those of {known} are used"
            )
    end_ms = form.run.duration_ms
    for i, fault in enumerate(form.faults):
        if fault.at_ms >= end_ms:
            at, end = format_duration_ms(fault.at_ms), format_duration_ms(end_ms)
            found.append(f"faults[{i}]: at {at}, but the run ends at {end}; it never happens")
    return tuple(found)


def workload_names(manifests: Manifests) -> list[str]:
    """Full names of what the manifests make: 'shop/Deployment/web'."""
    kinds: dict[str, Sequence[Deployment | ReplicaSet | Job]] = {
        "Deployment": manifests.deployments,
        "ReplicaSet": manifests.replica_sets,
        "Job": manifests.jobs,
    }
    return sorted(
        f"{item.namespace}/{kind}/{item.name}" for kind, items in kinds.items() for item in items
    )


def _traffic(form: ScenarioForm, manifests: Manifests) -> Iterator[Finding]:
    services = _services(manifests)
    for i, traffic in enumerate(form.traffic):
        if traffic.key not in services:
            yield ("traffic", i, "service"), *_absent("Service", traffic.key, services)


def _names_taken(pools: tuple[Pool, ...], manifests: Manifests) -> Iterator[Finding]:
    for i, pool in enumerate(pools):
        taken = [node.name for node in manifests.nodes if pool.has_node(node.name)]
        if taken:
            yield ("nodes", i, "pool"), f"the manifests have a node {taken[0]!r} too.", ""


def _faults(form: ScenarioForm, pools: tuple[Pool, ...], manifests: Manifests) -> Iterator[Finding]:
    zones = _zones(pools, manifests)
    for i, fault in enumerate(form.faults):
        if fault.zone is not None and fault.zone not in zones:
            yield ("faults", i, "zone"), *_absent("zone", fault.zone, zones)
        if fault.pool is not None and fault.pool not in {pool.name for pool in pools}:
            yield ("faults", i, "pool"), *_absent("pool", fault.pool, [p.name for p in pools])
        for path, name in _named_nodes(fault):
            if not _is_node(name, pools, manifests):
                yield ("faults", i, *path), *_no_node(name, pools, manifests)


def _expectations(
    form: ScenarioForm, pools: tuple[Pool, ...], manifests: Manifests, unsure: set[str]
) -> Iterator[Finding]:
    valid: dict[str, list[str]] = {}
    if "traffic" not in unsure:
        valid["service"] = [traffic.key for traffic in form.traffic]
    if "manifests" not in unsure:
        if not form.arrivals:  # what arrives may live anywhere
            valid["namespace"] = _namespaces(manifests)
        if "arrivals" not in unsure:
            valid["workload"] = workload_names(manifests) + [a.name for a in form.arrivals]
    if "nodes" not in unsure:
        valid["zone"] = _zones(pools, manifests)
        valid["pool"] = [pool.name for pool in pools]
    for i, expectation in enumerate(form.expect):
        for finding in _labels(expectation, valid):
            yield ("expect", i), *finding


def _labels(expectation: Expectation, valid: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for label, value in expectation.labels.items():
        names = valid.get(label)
        if names is None:
            continue
        if label == "service" and value not in names:
            yield _absent("traffic to a Service", value, names)
        elif label == "workload" and not _is_workload(value, names):
            yield _absent("workload", value, names)
        elif label not in ("service", "workload") and value not in names:
            yield _absent(label, value, names)


def _is_workload(value: str, names: list[str]) -> bool:
    """'web', 'Deployment/web', 'shop/web' or 'shop/Deployment/web'; a stream by its own name."""
    last = value.rpartition("/")[2]
    for name in names:
        namespace, _, workload = name.partition("/")
        plain = workload.rpartition("/")[2]
        if value in (name, workload, plain, f"{namespace}/{plain}") or last == name:
            return True
    return value == "Pod"


def _arrivals(form: ScenarioForm) -> Iterator[Finding]:
    names = [arrival.name for arrival in form.arrivals]
    for i, name in enumerate(names):
        if name in names[:i]:
            message = f"got {name!r} a second time; expected a name of its own for each stream."
            yield ("arrivals", i, "name"), message, ""


def _services(manifests: Manifests) -> list[str]:
    return [f"{service.namespace}/{service.name}" for service in manifests.services]


def _namespaces(manifests: Manifests) -> list[str]:
    made = {name.partition("/")[0] for name in workload_names(manifests)}
    return sorted({"default", *made, *(pod.namespace for pod in manifests.pods)})


def _zones(pools: tuple[Pool, ...], manifests: Manifests) -> list[str]:
    named = {zone for pool in pools for zone in pool.zones[: pool.count]}
    named |= {node.labels.get(ZONE_LABEL, "") for node in manifests.nodes}
    return sorted(named - {""})


def _named_nodes(fault: Fault) -> list[tuple[Path, str]]:
    if fault.node is not None:
        return [(("node",), fault.node)]
    return [(("nodes", i), name) for i, name in enumerate(fault.nodes or ())]


def _is_node(name: str, pools: Iterable[Pool], manifests: Manifests) -> bool:
    return any(pool.has_node(name) for pool in pools) or any(
        node.name == name for node in manifests.nodes
    )


def _no_node(name: str, pools: Iterable[Pool], manifests: Manifests) -> tuple[str, str]:
    """A pool's nodes are told by their range: there may be 100,000 of them."""
    ranges = [
        pool.node_name(0)
        if pool.count == 1
        else f"{pool.node_name(0)} to {pool.node_name(pool.count - 1)}"
        for pool in pools
        if pool.count
    ]
    known = ranges + [node.name for node in manifests.nodes][:_LONGEST_LIST]
    return f"no node {name!r}.", f"There are: {', '.join(known)}." if known else ""


def _absent(kind: str, name: str, valid: list[str]) -> tuple[str, str]:
    """Message and hint for a name that nothing has."""
    hint = did_you_mean(name, valid)
    if not hint and valid:
        more = ", ..." if len(valid) > _LONGEST_LIST else ""
        hint = f"There are: {', '.join(valid[:_LONGEST_LIST])}{more}."
    return f"no {kind} {name!r}.", hint or "There is none."
