"""Checks between the parts of a scenario: does what it names exist?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sim.errors import did_you_mean
from sim.instances import instance
from sim.manifests.value import INT64_MAX
from sim.podspec import CPU
from sim.scenario.expressions import Expectation
from sim.scenario.faults import Fault, Maintenance
from sim.scenario.models import ScenarioForm
from sim.scenario.paths import Path
from sim.scenario.pools import Pool
from sim.units import format_duration_ms

if TYPE_CHECKING:
    from sim.manifests import Manifests
    from sim.podspec import PodTemplate
    from sim.profiles import Configuration
    from sim.workloads import Deployment, Job, ReplicaSet

Finding = tuple[Path, str, str]  # where, message, hint

ZONE_LABEL = "topology.kubernetes.io/zone"
REGION_LABEL = "topology.kubernetes.io/region"
RULES_OF = "1.34"  # the release whose rules are followed; no difference to others is modelled yet
_LONGEST_LIST = 8  # names that a message lists


def findings(
    form: ScenarioForm,
    pools: tuple[Pool, ...],
    manifests: Manifests,
    arriving: Sequence[tuple[int, Manifests]],
    unsure: set[str],
) -> Iterator[Finding]:
    """Everything that is named but does not exist, named twice, or too large.

    `unsure` names the sections that have problems of their own (and "manifests" when those do):
    what depends on them is not judged.
    """
    if "manifests" not in unsure:
        yield from _traffic(form, manifests)
    if "nodes" not in unsure:
        yield from _names_taken(pools, manifests)
        yield from _zones_twice(pools, manifests)
        yield from _faults(form, pools, manifests)
        yield from _too_large(form, pools)
        if "manifests" not in unsure and (pools or manifests.nodes):
            yield from _nodes_of_pods(("manifests",), manifests, pools, manifests)
            for i, made in arriving:
                yield from _nodes_of_pods(("arrivals", i, "template"), made, pools, manifests)
    yield from _expectations(form, pools, manifests, unsure)
    yield from _arrivals(form)


def notices(
    form: ScenarioForm,
    pools: tuple[Pool, ...],
    manifests: Manifests,
    arriving: Sequence[Manifests],
    configuration: Configuration | None = None,
) -> tuple[str, ...]:
    """What the scenario says and the simulation does not heed."""
    return (
        *_of_form(form),
        *(f"scheduler.config: {what}" for what in (configuration or _Default).not_modelled),
        *_of_pods(pools, manifests, arriving),
        *_of_schedulers((manifests, *arriving), configuration or _Default),
    )


class _Default:
    """As much of kube-scheduler's own configuration as is looked at here."""

    profiles: Mapping[str, object] = {"default-scheduler": None}
    not_modelled: tuple[str, ...] = ()


def _of_schedulers(
    everything: Iterable[Manifests], configuration: Configuration | type[_Default]
) -> Iterator[str]:
    """Schedulers that pods name and no profile is."""
    specs = [template.spec for made in everything for _, template in _templates(made)]
    names = {spec.scheduler_name for spec in specs if not spec.node_name}
    for name in sorted(names - set(configuration.profiles)):
        yield f"schedulerName {name!r}: no profile has that name; its pods stay pending"


def _of_pods(
    pools: tuple[Pool, ...], manifests: Manifests, arriving: Sequence[Manifests]
) -> Iterator[str]:
    everything = (manifests, *arriving)
    if not pools and not manifests.nodes:
        for _, node in _node_names(everything):
            yield f"nodeName {node!r}: there is no node at all; its pods stay pending"


def _of_form(form: ScenarioForm) -> list[str]:
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
    if form.kubernetes.version != RULES_OF:
        found.append(
            f"kubernetes.version {form.kubernetes.version}: runs with the rules of {RULES_OF}"
        )
    end_ms = form.run.duration_ms
    for i, fault in enumerate(form.faults):
        if fault.at_ms is not None and fault.at_ms >= end_ms:
            at, end = format_duration_ms(fault.at_ms), format_duration_ms(end_ms)
            found.append(f"faults[{i}]: at {at}, but the run ends at {end}; it never happens")
    return found


def _templates(manifests: Manifests) -> list[tuple[str, PodTemplate]]:
    """What is made of pods, by the name of what makes them; ended and owned pods are not made."""
    workloads: list[tuple[str, Sequence[Deployment | ReplicaSet | Job]]] = [
        ("Deployment", manifests.deployments),
        ("ReplicaSet", manifests.replica_sets),
        ("Job", manifests.jobs),
    ]
    made = {(kind, w.namespace, w.name): w.template for kind, items in workloads for w in items}
    found = [(f"{kind} {space}/{name}", pods) for (kind, space, name), pods in made.items()]
    return found + [
        (f"Pod {pod.namespace}/{pod.name}", pod.template)
        for pod in manifests.pods
        if pod.phase not in ("Succeeded", "Failed")
        and (pod.owner_kind, pod.namespace, pod.owner_name) not in made
    ]


def _node_names(everything: Iterable[Manifests]) -> list[tuple[str, str]]:
    """Each node that some spec.nodeName names, after the first that names it."""
    first: dict[str, str] = {}
    for made in everything:
        for name, template in _templates(made):
            if template.spec.node_name:
                first.setdefault(template.spec.node_name, name)
    return [(name, node) for node, name in first.items()]


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
            yield ("traffic", i, "service"), *absent("Service", traffic.key, services)
        elif traffic.key in [other.key for other in form.traffic[:i]]:
            message = f"got {traffic.service!r} a second time; expected one entry for each Service."
            yield ("traffic", i, "service"), message, ""


def _names_taken(pools: tuple[Pool, ...], manifests: Manifests) -> Iterator[Finding]:
    for i, pool in enumerate(pools):
        taken = [node.name for node in manifests.nodes if pool.has_node(node.name)]
        if taken:
            yield ("nodes", i, "pool"), f"the manifests have a node {taken[0]!r} too.", ""


def _nodes_of_pods(
    path: Path, made: Manifests, pools: tuple[Pool, ...], manifests: Manifests
) -> Iterator[Finding]:
    for name, node in _node_names([made]):
        if not is_node(node, pools, manifests):
            message, hint = no_node(node, pools, manifests)
            yield path, f"the nodeName of {name}: {message}", hint


def _zones_twice(pools: tuple[Pool, ...], manifests: Manifests) -> Iterator[Finding]:
    """Faults, expectations and reports name a zone alone, without its region."""
    places: list[tuple[Path, str, Iterable[str]]] = [
        (("nodes", i, "zones"), pool.region, pool.zones) for i, pool in enumerate(pools)
    ]
    places += [
        (("manifests",), node.labels.get(REGION_LABEL, ""), [node.labels.get(ZONE_LABEL, "")])
        for node in manifests.nodes
    ]
    first: dict[str, str] = {}
    told: set[str] = set()
    for path, region, zones in places:
        for zone in filter(None, zones) if region else ():
            if first.setdefault(zone, region) != region and zone not in told:
                told.add(zone)
                yield path, _of_two_regions(zone, first[zone], region), ""


def _of_two_regions(zone: str, first: str, second: str) -> str:
    return (
        f"zone {zone!r} is in {first!r} and in {second!r}; expected zone names that differ, since"
        " faults and reports name a zone alone."
    )


def _too_large(form: ScenarioForm, pools: tuple[Pool, ...]) -> Iterator[Finding]:
    """Sums over all nodes, and CPU over the whole run, that 64 bits do not hold."""
    for name in sorted({name for pool in pools for name in pool.shape.capacity}):
        total = sum(pool.count * pool.shape.capacity.get(name, 0) for pool in pools)
        factor = form.run.duration_ms if name == CPU else 1
        if total * factor > INT64_MAX:
            over = f" over {format_duration_ms(factor)}" if factor > 1 else ""
            yield ("nodes",), f"all nodes together have more {name}{over} than 64 bits hold.", ""


def _faults(form: ScenarioForm, pools: tuple[Pool, ...], manifests: Manifests) -> Iterator[Finding]:
    """Nodes, pools and zones that faults and maintenance name and nothing has."""
    for i, fault in enumerate(form.faults):
        yield from _targets(("faults", i), fault, pools, manifests)
    for i, window in enumerate(form.maintenance):
        yield from _targets(("maintenance", i), window, pools, manifests)


def _targets(
    path: Path, said: Fault | Maintenance, pools: tuple[Pool, ...], manifests: Manifests
) -> Iterator[Finding]:
    zones = zones_in(pools, manifests)
    if said.zone is not None and said.zone not in zones:
        yield (*path, "zone"), *absent("zone", said.zone, zones)
    if said.pool is not None and said.pool not in {pool.name for pool in pools}:
        yield (*path, "pool"), *absent("pool", said.pool, [p.name for p in pools])
    for at, name in _named_nodes(said):
        if not is_node(name, pools, manifests):
            yield (*path, *at), *no_node(name, pools, manifests)


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
        valid["zone"] = zones_in(pools, manifests)
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
            yield absent("traffic to a Service", value, names)
        elif label == "workload" and not _is_workload(value, names):
            yield absent("workload", value, names)
        elif label not in ("service", "workload") and value not in names:
            yield absent(label, value, names)


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


def zones_in(pools: tuple[Pool, ...], manifests: Manifests) -> list[str]:
    """Zones that have nodes at the start."""
    named = {zone for pool in pools for zone in pool.zones[: pool.count]}
    named |= {node.labels.get(ZONE_LABEL, "") for node in manifests.nodes}
    return sorted(named - {""})


def _named_nodes(said: Fault | Maintenance) -> list[tuple[Path, str]]:
    if isinstance(said, Fault) and said.node is not None:
        return [(("node",), said.node)]
    return [(("nodes", i), name) for i, name in enumerate(said.nodes or ())]


def is_node(name: str, pools: Iterable[Pool], manifests: Manifests) -> bool:
    """Whether a node of this name is there at the start."""
    return any(pool.has_node(name) for pool in pools) or any(
        node.name == name for node in manifests.nodes
    )


def no_node(name: str, pools: Iterable[Pool], manifests: Manifests) -> tuple[str, str]:
    """A pool's nodes are told by their range: there may be 100,000 of them."""
    ranges = [
        pool.node_name(0)
        if pool.count == 1
        else f"{pool.node_name(0)} to {pool.node_name(pool.count - 1)}"
        for pool in pools
        if pool.count
    ]
    names = [node.name for node in manifests.nodes]
    known = ranges + names[:_LONGEST_LIST]
    hint = did_you_mean(name, names)
    return f"no node {name!r}.", hint or (f"There are: {', '.join(known)}." if known else "")


def absent(kind: str, name: str, valid: list[str]) -> tuple[str, str]:
    """Message and hint for a name that nothing has."""
    hint = did_you_mean(name, valid)
    if not hint and valid:
        more = ", ..." if len(valid) > _LONGEST_LIST else ""
        hint = f"There are: {', '.join(valid[:_LONGEST_LIST])}{more}."
    return f"no {kind} {name!r}.", hint or "There is none."
