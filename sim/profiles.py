"""A KubeSchedulerConfiguration: its profiles with the plugins that they run, and its numbers.

Follows pkg/scheduler/apis/config: v1/{default_plugins,defaults}.go, validation/validation.go, and
pkg/scheduler/framework/runtime/framework.go: NewFramework, expandMultiPointPlugins and
getScoreWeights (v1.34.1). What upstream refuses is refused; what it takes and we do not model is
listed in `not_modelled`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sim.catalog import FILTERS, SCORES
from sim.errors import Problem, ScenarioError, did_you_mean
from sim.evaluation import Profile
from sim.manifests.value import INT64_MAX, Source, Value
from sim.pluginargs import API_VERSION, Arguments, arguments, only
from sim.plugins.default_preemption import DefaultPreemption
from sim.plugins.scheduling_gates import SchedulingGates

if TYPE_CHECKING:
    from sim.userplugins import UserPlugin

KIND = "KubeSchedulerConfiguration"
DEFAULT_SCHEDULER = "default-scheduler"
OUT_OF_TREE = "Known are kube-scheduler's own plugins and those in `scheduler.plugins`."
MOST_WEIGHT = (2**31 - 1) // 100  # of all plugins together: totals of nodes are 32 bits wide

# plugin -> (weight in multiPoint, its extension points), in the order of default_plugins.go
PLUGINS: dict[str, tuple[int, str]] = {
    "SchedulingGates": (0, "preEnqueue"),
    "PrioritySort": (0, "queueSort"),
    "NodeUnschedulable": (0, "filter"),
    "NodeName": (0, "filter"),
    "TaintToleration": (3, "filter preScore score"),
    "NodeAffinity": (2, "preFilter filter preScore score"),
    "NodePorts": (0, "preFilter filter"),
    "NodeResourcesFit": (1, "preFilter filter preScore score"),
    "VolumeRestrictions": (0, "preFilter filter"),
    "NodeVolumeLimits": (0, "preFilter filter"),
    "VolumeBinding": (0, "preFilter filter preScore score reserve preBind"),
    "VolumeZone": (0, "preFilter filter"),
    "PodTopologySpread": (2, "preFilter filter preScore score"),
    "InterPodAffinity": (2, "preFilter filter preScore score"),
    "DynamicResources": (0, "preEnqueue preFilter filter postFilter reserve preBind"),
    "DefaultPreemption": (0, "preEnqueue postFilter"),
    "NodeResourcesBalancedAllocation": (1, "preScore score"),
    "ImageLocality": (1, "score"),
    "DefaultBinder": (0, "bind"),
}
DEFAULTS: dict[str, int] = {name: weight for name, (weight, _) in PLUGINS.items()}
ELSEWHERE = {"SchedulingGates", "PrioritySort", "DefaultBinder", "DefaultPreemption"}
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
# Points that we do not run by themselves: a plugin does there what it does wherever it is enabled.
TOGETHER = ("preFilter", "preScore", "reserve", "permit", "preBind", "postBind")
FIELDS = (
    "apiVersion",
    "kind",
    "parallelism",
    "leaderElection",
    "clientConnection",
    "enableProfiling",
    "enableContentionProfiling",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
    "extenders",
    "delayCacheUntilActive",
)


@dataclass(frozen=True)
class Configuration:
    """What a scheduler was configured to do."""

    profiles: Mapping[str, Profile]  # by scheduler name
    percentage_of_nodes_to_score: int = 0  # 0 adapts to the number of nodes
    initial_backoff_s: int = 1
    max_backoff_s: int = 10
    qps: float = 50.0
    burst: int = 100
    not_modelled: tuple[str, ...] = field(default=())  # what it says and a run does not heed


def configuration(
    value: Value | Mapping[str, Any] | None = None,
    *,
    user_plugins: Sequence[UserPlugin] = (),
    typed: bool = False,
) -> Configuration:
    """The configuration in `value`; ScenarioError with every problem in it.

    `user_plugins` run in all profiles, or in those that enable them by name. With `typed` it must
    say what it is (apiVersion and kind), as a file for kube-scheduler must.
    """
    if not isinstance(value, Value):
        value = Value(dict(value or {}), Source())
    found = _Reading(value, user_plugins).configuration(typed=typed)
    if value.source.problems:
        raise ScenarioError(_sorted(value.source.problems))
    return found


def profiles(config: Mapping[str, Any]) -> Mapping[str, Profile]:
    """The profiles of a KubeSchedulerConfiguration by scheduler name; without any, the default."""
    return configuration(config).profiles


class _Reading:
    """One pass through a configuration."""

    def __init__(self, value: Value, user_plugins: Sequence[UserPlugin]) -> None:
        self.value = value
        self.user_plugins = {plugin.name: plugin for plugin in user_plugins}
        self.known = {*PLUGINS, *self.user_plugins}
        self.enabled_by_name = self._enabled_anywhere()
        self.not_modelled: list[str] = []

    def configuration(self, *, typed: bool) -> Configuration:
        value = only(self.value, FIELDS)
        _check_type(value, typed=typed)
        value.get("parallelism").integer(16, least=1)
        for name in ("enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"):
            value.get(name).boolean()
        for name in ("leaderElection", "extenders"):
            if value.get(name):
                self.not_modelled.append(name)
        value.get("extenders").items()
        value.get("leaderElection").mapping()
        initial, most = value.get("podInitialBackoffSeconds"), value.get("podMaxBackoffSeconds")
        initial_s = initial.integer(1, least=1, most=INT64_MAX)
        max_s = most.integer(10, least=1, most=INT64_MAX)
        if max_s < initial_s and most:
            most.wrong(f"at least podInitialBackoffSeconds, {initial_s}")
        elif max_s < initial_s:
            initial.wrong(f"at most podMaxBackoffSeconds, {max_s} by default")
        client = value.get("clientConnection")
        qps, burst = _client(client)
        if client.get("qps") or client.get("burst"):
            self.not_modelled.append("clientConnection: scheduler.clientQps limits the calls")
        return Configuration(
            profiles=self._profiles(value.get("profiles")),
            percentage_of_nodes_to_score=value.get("percentageOfNodesToScore").integer(0, most=100),
            initial_backoff_s=initial_s,
            max_backoff_s=max_s,
            qps=qps,
            burst=burst,
            not_modelled=tuple(dict.fromkeys(self.not_modelled)),
        )

    def _profiles(self, value: Value) -> dict[str, Profile]:
        entries = value.items() or [Value({}, value.source, (*value.path, 0))]
        found: dict[str, Profile] = {}
        for entry in entries:
            only(entry, ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"))
            name = _scheduler_name(entry, alone=len(entries) == 1)
            if name in found:
                entry.get("schedulerName").wrong("a name of its own for each profile")
            found[name] = self._profile(name, entry)
        _check_same_order(entries)
        for plugin in self.user_plugins.values():
            if plugin.scheduler and plugin.scheduler not in found:
                hint = did_you_mean(plugin.scheduler, found)
                value.problem(f"no profile {plugin.scheduler!r} for plugin {plugin.name}.", hint)
        return found

    def _profile(self, name: str, entry: Value) -> Profile:
        points = self._points(entry.get("plugins"))
        args = self._args(entry.get("pluginConfig"))
        multi = _merged(points["multiPoint"])
        self._add_user_plugins(name, points, multi)
        enabled = {point: self._expanded(multi, points[point], point) for point in POINTS[1:]}
        for point, plugin in (("queueSort", "PrioritySort"), ("bind", "DefaultBinder")):
            if not enabled[point]:
                place = entry.get("plugins")
                place.problem(f"no plugin is left for {point}; expected {plugin} to be enabled.")
        self._note_profile(entry, points, multi, args)
        built = self._built(args)
        weights = {**multi, **points["score"].enabled}
        scored = [n for n in enabled["score"] if n in SCORES or n in self.user_plugins]
        scores = tuple((built[n], weights[n] or self._weight(n)) for n in scored)
        if sum(weight for _, weight in scores) > MOST_WEIGHT:
            entry.get("plugins").problem(f"weights sum to more than {MOST_WEIGHT}.")
        percentage = entry.get("percentageOfNodesToScore")
        preempts = "DefaultPreemption" in enabled["postFilter"]
        return Profile(
            name,
            filters=tuple(built[n] for n in enabled["filter"] if n in built),
            scores=scores,
            not_modelled=tuple(n for n in multi if n not in {*built, *ELSEWHERE}),
            percentage=percentage.integer(0, most=100) if percentage else None,
            preemption=DefaultPreemption(**args["DefaultPreemption"]) if preempts else None,
            gates=(SchedulingGates(),) if "SchedulingGates" in enabled["preEnqueue"] else (),
        )

    def _built(self, args: Mapping[str, Arguments]) -> dict[str, Any]:
        """Every plugin that is modelled, by name; one that filters and scores is one."""
        classes: dict[str, Any] = {**{n: c for n, (c, _) in SCORES.items()}, **FILTERS}
        ours = {name: made(**args[name]) for name, made in classes.items()}
        return {**ours, **{name: p.plugin for name, p in self.user_plugins.items()}}

    # Plugins

    def _points(self, value: Value) -> dict[str, _Point]:
        only(value, POINTS)
        return {point: self._point(value.get(point), point) for point in POINTS}

    def _point(self, value: Value, point: str) -> _Point:
        only(value, ("enabled", "disabled"))
        found = _Point()
        for item in value.get("enabled").items():
            only(item, ("name", "weight"))
            name = self._plugin(item.get("name"), self.known)
            if name and name in found.enabled:
                item.get("name").wrong("each plugin once")
            elif name in self.known and point != "multiPoint" and point not in self._does(name):
                does = ", ".join(self._does(name))
                item.get("name").problem(f"{name} has no part in {point}; it has in {does}.")
            found.enabled[name] = item.get("weight").integer(0)
        for item in value.get("disabled").items():
            only(item, ("name", "weight"))
            found.disabled.add(self._plugin(item.get("name"), {*self.known, "*"}))
        return found

    def _plugin(self, name: Value, known: Iterable[str]) -> str:
        text = name.required_text()
        if text and text not in known:
            name.problem(f"no plugin {text!r}.", did_you_mean(text, known) or OUT_OF_TREE)
        return text

    def _weight(self, name: str) -> int:
        """The weight of a score plugin that is enabled without one."""
        return self.user_plugins[name].weight if name in self.user_plugins else 1

    def _does(self, name: str) -> tuple[str, ...]:
        """The extension points at which a plugin has something to do."""
        user = self.user_plugins.get(name)
        return user.points if user else tuple(PLUGINS[name][1].split())

    def _expanded(self, multi: Iterable[str], point: _Point, name: str) -> list[str]:
        """The plugins of one extension point: overrides, then multiPoint, then its own others."""
        from_multi = [] if "*" in point.disabled else [n for n in multi if n not in point.disabled]
        from_multi = [n for n in from_multi if n in self.known and name in self._does(n)]
        overrides = [n for n in point.enabled if n in from_multi]
        rest = [n for n in from_multi if n not in overrides]
        others = [n for n in point.enabled if n not in overrides]
        return [*overrides, *rest, *others]

    def _add_user_plugins(
        self, scheduler: str, points: Mapping[str, _Point], multi: dict[str, int]
    ) -> None:
        """A plugin that nothing in the whole configuration enables runs after all others."""
        for name, plugin in self.user_plugins.items():
            meant = plugin.scheduler in ("", scheduler) and name not in self.enabled_by_name
            if meant and name not in points["multiPoint"].disabled:
                multi[name] = plugin.weight

    def _enabled_anywhere(self) -> set[str]:
        """What any profile enables at any point."""
        return {
            str(item.get("name").raw)
            for profile in _listed(self.value.get("profiles"))
            for _, point in _fields(profile.get("plugins"))
            for item in _listed(point.get("enabled"))
        }

    # Arguments

    def _args(self, value: Value) -> dict[str, Arguments]:
        """The arguments of each of upstream's plugins, the defaults where none are given."""
        nothing = Value(None, Source())
        args = {name: arguments(name, nothing) for name in PLUGINS}
        seen: set[str] = set()
        for item in value.items():
            only(item, ("name", "args"))
            name = self._plugin(item.get("name"), PLUGINS)
            if name in seen:
                item.get("name").wrong("one entry for each plugin")
            seen.add(name)
            if name in PLUGINS:
                args[name] = arguments(name, item.get("args"))
        return args

    def _note_profile(
        self,
        entry: Value,
        points: Mapping[str, _Point],
        multi: Mapping[str, int],
        args: Mapping[str, Arguments],
    ) -> None:
        """What the profile says and a run does not heed."""
        where = f"profiles[{entry.path[-1]}]"
        modelled = {*FILTERS, *SCORES, *ELSEWHERE, *self.user_plugins}
        for name in TOGETHER:
            point = points[name]
            if point.disabled or any(plugin not in multi for plugin in point.enabled):
                self.not_modelled.append(f"{where}.plugins.{name}")
        for point in points.values():
            for plugin in point.enabled:
                if plugin in PLUGINS and plugin not in modelled:
                    self.not_modelled.append(f"{where}: plugin {plugin}")
        for item in _listed(entry.get("pluginConfig")):
            given = str(item.get("name").raw)
            if given in PLUGINS and (given not in modelled or given == "VolumeBinding"):
                self.not_modelled.append(f"{where}: arguments of {given}")


@dataclass(slots=True)
class _Point:
    """What a profile says of one extension point."""

    enabled: dict[str, int] = field(default_factory=dict)  # name -> weight, 0 when none is given
    disabled: set[str] = field(default_factory=set)


def _merged(point: _Point) -> dict[str, int]:
    """Default plugins less the disabled ones, replaced in place by those enabled, then the rest."""
    kept = [n for n in DEFAULTS if n not in point.disabled and "*" not in point.disabled]
    merged = {name: point.enabled.get(name, DEFAULTS[name]) for name in kept}
    return {**merged, **{n: w for n, w in point.enabled.items() if n not in merged}}


def _listed(value: Value) -> list[Value]:
    return value.items() if isinstance(value.raw, list) else []


def _fields(value: Value) -> list[tuple[str, Value]]:
    return value.entries() if isinstance(value.raw, dict) else []


# Checks


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    """Each once, from the top of the file."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.position.line, p.position.column))


def _check_type(value: Value, *, typed: bool) -> None:
    for name, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(name) or typed:
            value.get(name).one_of((expected,))


def _client(value: Value) -> tuple[float, int]:
    """qps and burst of the scheduler's API client; 0 stands for the defaults, as upstream."""
    only(value, ("kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"))
    for name in ("kubeconfig", "acceptContentTypes", "contentType"):
        value.get(name).text()
    qps = value.get("qps")
    rate = qps.raw
    if rate is None:
        rate = 0
    elif isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 2**31:
        qps.wrong("a number of at least 0")
        rate = 0
    return float(rate) or 50.0, value.get("burst").integer(0) or 100


def _scheduler_name(entry: Value, *, alone: bool) -> str:
    """The profile's name, which only a single profile may leave out."""
    name = entry.get("schedulerName")
    if alone and not name:
        return DEFAULT_SCHEDULER
    return name.required_text() or DEFAULT_SCHEDULER


def _check_same_order(entries: Sequence[Value]) -> None:
    """There is one queue, so all profiles must sort it alike (validateCommonQueueSort)."""
    sorts = [entry.get("plugins", "queueSort") for entry in entries]
    for sort in sorts[1:]:
        if (sort.raw or {}) != (sorts[0].raw or {}):
            sort.problem("differs from that of the first profile; expected the same in all.")
