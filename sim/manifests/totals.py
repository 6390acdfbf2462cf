"""What a file of manifests adds up to: objects by kind, pods, requests, limits, probes.

Sums are over Pods and the pod templates of workloads times their replicas (Job: parallelism), app
containers only; a missing request takes the limit. DaemonSet pods are counted per node and not
summed, since their number follows from the nodes. CronJobs start no pods of themselves. Works on
raw values, so that a file with problems, or with kinds that are not run yet, has totals too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sim.manifests.load import Item
from sim.units import parse_quantity

TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
}
GROUPS = {"Pod": "", "ReplicationController": "", "Job": "batch"}  # the others: apps
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
MIB = 1024 * 1024


@dataclass(slots=True)
class _Sums:
    pods: int = 0
    per_node: int = 0
    best_effort: int = 0
    resources: dict[str, Fraction] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def totals(items: Iterable[Item]) -> dict[str, Any]:
    """Objects by kind and the totals; counts that are zero are left out, sums never are."""
    kinds: Counter[str] = Counter()
    sums = _Sums()
    for item in items:
        kinds[item.kind] += 1
        if item.kind in TEMPLATES and item.group == GROUPS.get(item.kind, "apps"):
            _add(item, sums)
    result: dict[str, Any] = {"objects": dict(sorted(kinds.items()))}
    if not sums.pods and not sums.per_node:
        return result
    result["pods_excluding_daemonsets"] = sums.pods
    for kind in ("requests", "limits"):
        cpu, memory = (sums.resources.get(f"{name} {kind}", 0) for name in ("cpu", "memory"))
        result[f"cpu_{kind}_cores"] = round(float(cpu), 3)
        result[f"memory_{kind}_mib"] = round(float(Fraction(memory) / MIB), 1)
    counts = {"besteffort_pods": sums.best_effort, "daemonset_pods_per_node": sums.per_node}
    return result | {k: n for k, n in (counts | sums.counts).items() if n}


def _add(item: Item, sums: _Sums) -> None:
    pod: Any = item.value.raw
    for step in TEMPLATES[item.kind]:
        pod = _mapping(pod).get(step)
    spec = _mapping(_mapping(pod).get("spec"))
    containers = [_mapping(c) for c in _sequence(spec.get("containers"))]
    _count(spec, containers, sums.counts)
    if item.kind == "DaemonSet":
        sums.per_node += 1
        return
    pods = _pods(item)
    sums.pods += pods
    resources = [_mapping(container.get("resources")) for container in containers]
    if not any(_mapping(r.get(kind)) for r in resources for kind in ("requests", "limits")):
        sums.best_effort += pods
    for own in resources:
        _add_resources(own, pods, sums.resources)


def _count(spec: dict[str, Any], containers: list[dict[str, Any]], counts: Counter[str]) -> None:
    for probe in PROBES:
        counts[probe] += sum(1 for container in containers if container.get(probe))
    present: dict[str, Callable[[], Any]] = {
        "pod_anti_affinity": lambda: _mapping(spec.get("affinity")).get("podAntiAffinity"),
        "tolerations": lambda: spec.get("tolerations"),
        "topology_spread": lambda: spec.get("topologySpreadConstraints"),
    }
    for name, value in present.items():
        counts[f"workloads_with_{name}"] += bool(value())


def _pods(item: Item) -> int:
    if item.kind == "Pod":
        return 1
    field = "parallelism" if item.kind == "Job" else "replicas"
    number = _mapping(item.value.raw.get("spec")).get(field)
    return int(number) if isinstance(number, int) and 0 <= number < 2**31 else 1


def _add_resources(own: dict[str, Any], pods: int, sums: dict[str, Fraction]) -> None:
    limits, requests = _mapping(own.get("limits")), _mapping(own.get("requests"))
    for name in ("cpu", "memory"):
        for kind, amounts in (("requests", {**limits, **requests}), ("limits", limits)):
            key = f"{name} {kind}"
            sums[key] = sums.get(key, Fraction(0)) + pods * _amount(amounts.get(name))


def _amount(raw: Any) -> Fraction:
    try:
        return parse_quantity(raw).value
    except ValueError:
        return Fraction(0)  # reported as a problem where it is parsed


def _mapping(raw: Any) -> dict[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _sequence(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else []
