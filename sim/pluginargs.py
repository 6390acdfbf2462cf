"""Arguments of kube-scheduler's plugins, as a KubeSchedulerConfiguration writes them.

Follows pkg/scheduler/apis/config: v1/defaults.go and validation/validation_pluginargs.go (v1.34.1).
Each reader gives the keyword arguments with which our plugin is made, and notes what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sim.errors import Problem, did_you_mean
from sim.labels import Selector, is_label_key
from sim.manifests.pods import preferred_terms, required_terms, spread_of
from sim.manifests.value import INT64_MAX, Value
from sim.podspec import CPU, MEMORY, SpreadConstraint
from sim.yamls import dotted

API_VERSION = "kubescheduler.config.k8s.io/v1"
STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
MAX_WEIGHT = 100  # of a resource
MAX_SHAPE_SCORE = 10  # config.MaxCustomPriorityScore
_GO_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+|0")

Arguments = dict[str, Any]


def only(value: Value, known: Iterable[str]) -> Value:
    """`value`, a mapping; each field of it that is not `known` is a problem."""
    names = tuple(known)
    for name in map(str, value.mapping()):
        if name not in names:
            unknown_field(value, name, names)
    return value


def unknown_field(value: Value, name: str, known: Iterable[str]) -> None:
    """Note that the mapping has no such field."""
    source, path = value.source, (*value.path, name)
    hint = did_you_mean(name, known) or f"Known here: {', '.join(sorted(known))}."
    position = source.position(path, key=True)
    source.problems.append(Problem(position, "unknown field.", dotted((*source.root, *path)), hint))


def arguments(plugin: str, value: Value) -> Arguments:
    """Keyword arguments of a plugin of ours from the `args` of its pluginConfig."""
    known, read = READERS.get(plugin, ((), _nothing))
    only(value, ("apiVersion", "kind", *known))
    if value.get("apiVersion"):
        value.get("apiVersion").one_of((API_VERSION,))
    if value.get("kind"):
        value.get("kind").one_of((f"{plugin}Args",))
    return read(value)


def _nothing(args: Value) -> Arguments:
    return {}


def _fit(args: Value) -> Arguments:
    strategy = only(args.get("scoringStrategy"), ("type", "resources", "requestedToCapacityRatio"))
    kind = strategy.get("type").one_of(STRATEGIES) if strategy else STRATEGIES[0]
    return {
        "strategy": kind,
        "resources": _resources(strategy.get("resources"), MAX_WEIGHT),
        "shape": _ratio(strategy.get("requestedToCapacityRatio"), kind),
        "ignored_resources": frozenset(_resource_names(args.get("ignoredResources"))),
        "ignored_groups": frozenset(_groups(args.get("ignoredResourceGroups"))),
    }


def _resources(value: Value, most: int) -> tuple[tuple[str, int], ...]:
    """Name and weight of each resource; a weight of 0 is 1, no resources are cpu and memory."""
    found = []
    for item in value.items():
        only(item, ("name", "weight"))
        weight = item.get("weight").integer(1, most=most) or 1
        found.append((item.get("name").required_text(), weight))
    return tuple(found) or ((CPU, 1), (MEMORY, 1))


def _ratio(ratio: Value, kind: str) -> tuple[tuple[int, int], ...]:
    if kind != "RequestedToCapacityRatio":
        if ratio:
            ratio.wrong("nothing unless type is 'RequestedToCapacityRatio'")
        return ()
    return _shape(only(ratio, ("shape",)).get("shape"))


def _shape(value: Value) -> tuple[tuple[int, int], ...]:
    """(utilization, score) points, from left to right."""
    points: list[tuple[int, int]] = []
    if not value.items():
        value.wrong("at least one point such as {utilization: 0, score: 10}")
    for item in value.items():
        only(item, ("utilization", "score"))
        utilization = item.get("utilization")
        at = utilization.integer(0, most=100)
        if points and at <= points[-1][0]:
            utilization.wrong(f"more than {points[-1][0]}, since points go from left to right")
        points.append((at, item.get("score").integer(0, most=MAX_SHAPE_SCORE)))
    return tuple(points)


def _resource_names(value: Value) -> list[str]:
    names = [(item, item.text()) for item in value.items()]
    for item, name in names:
        if not is_label_key(name):
            item.wrong("the name of a resource such as 'example.com/gpu'")
    return [name for _, name in names]


def _groups(value: Value) -> list[str]:
    names = [(item, item.text()) for item in value.items()]
    for item, name in names:
        if "/" in name or not is_label_key(name):
            item.wrong("what stands before the '/' of resources, such as 'example.com'")
    return [name for _, name in names]


def _balanced(args: Value) -> Arguments:
    resources = args.get("resources")
    found = _resources(resources, 1)
    names = [name for name, _ in found]
    for i, item in enumerate(resources.items()):
        if names[i] in names[:i]:
            item.get("name").wrong("each resource once")
    return {"resources": found}


def _node_affinity(args: Value) -> Arguments:
    kinds = ("required", "preferred")
    during = tuple(f"{kind}DuringSchedulingIgnoredDuringExecution" for kind in kinds)
    added = only(args.get("addedAffinity"), during)
    return {"added_required": required_terms(added), "added_preferred": preferred_terms(added)}


def _spread(args: Value) -> Arguments:
    kind = args.get("defaultingType").one_of(("System", "List"), "System")
    given = args.get("defaultConstraints")
    constraints = tuple(_constraint(item) for item in given.items())
    if kind == "System":
        if constraints:
            given.wrong("none unless defaultingType is 'List'")
        return {}
    places = [(c.topology_key, c.when_unsatisfiable) for c in constraints]
    for i, item in enumerate(given.items()):
        if places[i] in places[:i]:
            item.problem(f"got {places[i][0]} with {places[i][1]} a second time; expected it once.")
    return {"defaults": constraints, "system_defaulted": False}


def _constraint(item: Value) -> SpreadConstraint:
    key, selector = item.get("topologyKey"), item.get("labelSelector")
    if selector:
        selector.wrong("none: it is that of the pod's Services and owner")
    if isinstance(key.raw, str) and key.raw and not is_label_key(key.raw):
        key.wrong("the key of a label such as 'topology.kubernetes.io/zone'")
    return replace(spread_of(item), selector=Selector())


def _pod_affinity(args: Value) -> Arguments:
    ignored = args.get("ignorePreferredTermsOfExistingPods").boolean()
    weight = args.get("hardPodAffinityWeight").integer(1, most=100)
    return {"hard_weight": weight, "ignore_preferred_of_others": ignored}


def _preemption(args: Value) -> Arguments:
    share, count = args.get("minCandidateNodesPercentage"), args.get("minCandidateNodesAbsolute")
    percentage, absolute = share.integer(10, most=100), count.integer(100)
    if percentage == absolute == 0:
        share.wrong("more than 0 when minCandidateNodesAbsolute is 0")
    return {
        "min_candidate_nodes_percentage": percentage,
        "min_candidate_nodes_absolute": absolute,
    }


def _volume_binding(args: Value) -> Arguments:
    if args.get("shape"):
        args.get("shape").wrong("none: the feature StorageCapacityScoring is off in 1.34")
    args.get("bindTimeoutSeconds").integer(600, most=INT64_MAX)
    return {}


def _dynamic_resources(args: Value) -> Arguments:
    timeout = args.get("filterTimeout")
    if timeout and not _GO_DURATION.fullmatch(timeout.text()):
        timeout.wrong("a duration such as '10s'")
    return {}


# plugin -> (fields of its args, their reader); plugins that are not here take no arguments
READERS: dict[str, tuple[tuple[str, ...], Callable[[Value], Arguments]]] = {
    "NodeResourcesFit": (("ignoredResources", "ignoredResourceGroups", "scoringStrategy"), _fit),
    "NodeResourcesBalancedAllocation": (("resources",), _balanced),
    "NodeAffinity": (("addedAffinity",), _node_affinity),
    "PodTopologySpread": (("defaultConstraints", "defaultingType"), _spread),
    "InterPodAffinity": (
        ("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"),
        _pod_affinity,
    ),
    "DefaultPreemption": (
        ("minCandidateNodesPercentage", "minCandidateNodesAbsolute"),
        _preemption,
    ),
    "VolumeBinding": (("bindTimeoutSeconds", "shape"), _volume_binding),
    "DynamicResources": (("filterTimeout",), _dynamic_resources),
}
