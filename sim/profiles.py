"""Scheduler profiles from a KubeSchedulerConfiguration, as far as its plugins are modelled.

Follows pkg/scheduler/apis/config/v1/{default_plugins,defaults}.go and
pkg/scheduler/framework/runtime/framework.go (expandMultiPointPlugins, getScoreWeights), v1.34.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sim.catalog import FILTERS, SCORES
from sim.errors import Position, Problem, ScenarioError, did_you_mean
from sim.evaluation import Profile
from sim.extend import FilterPlugin, ScorePlugin
from sim.labels import Requirement, Selector
from sim.plugins.inter_pod_affinity import InterPodAffinity
from sim.plugins.node_affinity import NodeAffinity
from sim.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.plugins.pod_topology_spread import PodTopologySpread
from sim.podspec import NodeSelectorTerm, PreferredTerm, SpreadConstraint

Config = Mapping[str, Any]
Plugin = FilterPlugin | ScorePlugin

# name -> weight in multiPoint, in the order of default_plugins.go (0: not a score plugin)
DEFAULTS: dict[str, int] = {
    "SchedulingGates": 0,
    "PrioritySort": 0,
    "NodeUnschedulable": 0,
    "NodeName": 0,
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodePorts": 0,
    "NodeResourcesFit": 1,
    "VolumeRestrictions": 0,
    "NodeVolumeLimits": 0,
    "VolumeBinding": 0,
    "VolumeZone": 0,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "DynamicResources": 0,
    "DefaultPreemption": 0,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
    "DefaultBinder": 0,
}
BUILT_IN = {"SchedulingGates", "PrioritySort", "DefaultBinder"}  # what every Scheduler does
POINTS = (
    "multiPoint",
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
)


def profiles(config: Config) -> dict[str, Profile]:
    """The profiles of a KubeSchedulerConfiguration by scheduler name; without any, the default.

    ScenarioError when it names a plugin or an extension point that does not exist.
    """
    written = config.get("profiles") or [{}]
    problems = [p for place, entry in enumerate(written) for p in _problems(place, entry)]
    if problems:
        raise ScenarioError(problems)
    found = [_profile(entry) for entry in written]
    return {profile.scheduler_name: profile for profile in found}


def _profile(entry: Config) -> Profile:
    args = {given["name"]: given.get("args") or {} for given in entry.get("pluginConfig") or []}
    points = entry.get("plugins") or {}
    multi = _merged(points.get("multiPoint") or {})
    built = {name: BUILDERS[name](args.get(name, {})) for name in BUILDERS}
    filters = _expanded(multi, points.get("filter") or {}, FILTERS)
    scores = _expanded(multi, points.get("score") or {}, SCORES)
    weights = {**multi, **_enabled(points.get("score") or {})}
    return Profile(
        entry.get("schedulerName") or "default-scheduler",
        filters=tuple(built.get(n) or FILTERS[n]() for n in filters),
        scores=tuple((built.get(n) or SCORES[n][0](), weights[n] or 1) for n in scores),
        not_modelled=tuple(n for n in multi if n not in {*FILTERS, *SCORES, *BUILT_IN}),
    )


def _enabled(point: Config) -> dict[str, int]:
    return {entry["name"]: entry.get("weight") or 0 for entry in point.get("enabled") or []}


def _disabled(point: Config) -> set[str]:
    return {entry["name"] for entry in point.get("disabled") or []}


def _merged(point: Config) -> dict[str, int]:
    """Default plugins less the disabled ones, replaced in place by those enabled, then the rest."""
    enabled, disabled = _enabled(point), _disabled(point)
    kept = [n for n in DEFAULTS if n not in disabled and "*" not in disabled]
    merged = {name: enabled.get(name, DEFAULTS[name]) for name in kept}
    return {**merged, **{n: w for n, w in enabled.items() if n not in merged}}


def _expanded(multi: Iterable[str], point: Config, known: Iterable[str]) -> list[str]:
    """The plugins of one extension point: overrides, then multiPoint, then its own others."""
    own, disabled = list(_enabled(point)), _disabled(point)
    from_multi = [] if "*" in disabled else [n for n in multi if n not in disabled]
    overrides = [name for name in own if name in from_multi]
    rest = [name for name in from_multi if name not in overrides]
    others = [name for name in own if name not in overrides]
    return [name for name in (*overrides, *rest, *others) if name in known]


# Arguments


def _fit(args: Config) -> NodeResourcesFit:
    strategy = args.get("scoringStrategy") or {}
    ratio = strategy.get("requestedToCapacityRatio") or {}
    return NodeResourcesFit(
        strategy=strategy.get("type") or "LeastAllocated",
        resources=_resources(strategy),
        shape=tuple((p["utilization"], p["score"]) for p in ratio.get("shape") or []),
        ignored_resources=frozenset(args.get("ignoredResources") or ()),
        ignored_groups=frozenset(args.get("ignoredResourceGroups") or ()),
    )


def _balanced(args: Config) -> NodeResourcesBalancedAllocation:
    return NodeResourcesBalancedAllocation(resources=_resources(args))


def _resources(args: Config) -> tuple[tuple[str, int], ...]:
    given = args.get("resources") or [{"name": "cpu"}, {"name": "memory"}]
    return tuple((resource["name"], resource.get("weight") or 1) for resource in given)


def _affinity(args: Config) -> NodeAffinity:
    added = args.get("addedAffinity") or {}
    required = added.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = added.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    terms = None if required is None else required.get("nodeSelectorTerms") or []
    return NodeAffinity(
        added_required=None if terms is None else tuple(_term(term) for term in terms),
        added_preferred=tuple(
            PreferredTerm(p["weight"], _term(p["preference"])) for p in preferred
        ),
    )


def _spread(args: Config) -> PodTopologySpread:
    if (args.get("defaultingType") or "System") == "System":
        return PodTopologySpread()
    given = args.get("defaultConstraints") or []
    return PodTopologySpread(tuple(_constraint(c) for c in given), system_defaulted=False)


def _inter_pod(args: Config) -> InterPodAffinity:
    weight = args.get("hardPodAffinityWeight")
    return InterPodAffinity(
        hard_weight=1 if weight is None else weight,
        ignore_preferred_of_others=bool(args.get("ignorePreferredTermsOfExistingPods")),
    )


def _term(term: Config) -> NodeSelectorTerm:
    return NodeSelectorTerm(
        expressions=tuple(_requirement(e) for e in term.get("matchExpressions") or []),
        fields=tuple(_requirement(e) for e in term.get("matchFields") or []),
    )


def _requirement(entry: Config) -> Requirement:
    return Requirement(entry["key"], entry["operator"], tuple(entry.get("values") or ()))


def _constraint(entry: Config) -> SpreadConstraint:
    return SpreadConstraint(
        topology_key=entry["topologyKey"],
        max_skew=entry["maxSkew"],
        when_unsatisfiable=entry["whenUnsatisfiable"],
        selector=Selector(),  # replaced by that of the pod's Services and owner
        min_domains=entry.get("minDomains"),
        node_affinity_policy=entry.get("nodeAffinityPolicy") or "Honor",
        node_taints_policy=entry.get("nodeTaintsPolicy") or "Ignore",
    )


BUILDERS: dict[str, Callable[[Config], Any]] = {
    "NodeResourcesFit": _fit,
    "NodeResourcesBalancedAllocation": _balanced,
    "NodeAffinity": _affinity,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _inter_pod,
}


# Problems


def _problems(place: int, entry: Config) -> list[Problem]:
    """Names that upstream does not know either."""
    found = []
    known = {*DEFAULTS, *FILTERS, *SCORES}
    for point, plugins in (entry.get("plugins") or {}).items():
        where = f"profiles[{place}].plugins.{point}"
        if point not in POINTS:
            found.append(
                _problem(where, f"no extension point {point!r}.", did_you_mean(point, POINTS))
            )
            continue
        names = [*_enabled(plugins), *_disabled(plugins)]
        found += [_unknown(where, name, known) for name in names if name not in {*known, "*"}]
    where = f"profiles[{place}].pluginConfig"
    names = [given.get("name", "") for given in entry.get("pluginConfig") or []]
    return found + [_unknown(where, name, known) for name in names if name not in known]


def _unknown(where: str, name: str, known: Iterable[str]) -> Problem:
    return _problem(where, f"no plugin {name!r}.", did_you_mean(name, known))


def _problem(field: str, message: str, hint: str) -> Problem:
    return Problem(Position("KubeSchedulerConfiguration"), message, field, hint)
