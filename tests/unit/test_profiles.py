"""Profiles from a KubeSchedulerConfiguration: which plugins run, in which order, with which weight.

Rules: framework/runtime/framework.go expandMultiPointPlugins and getScoreWeights (v1.34.1).
"""

from __future__ import annotations

import pytest

from sim.catalog import default_profile
from sim.errors import ScenarioError
from sim.labels import Requirement
from sim.plugins.node_affinity import NodeAffinity
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.plugins.pod_topology_spread import PodTopologySpread
from sim.podspec import NodeSelectorTerm, PreferredTerm
from sim.profiles import profiles


def one(plugins=None, plugin_config=()):
    entry = {"plugins": plugins or {}, "pluginConfig": list(plugin_config)}
    return profiles({"profiles": [entry]})["default-scheduler"]


def weights(profile):
    return {plugin.name: weight for plugin, weight in profile.scores}


def filters(profile):
    return [plugin.name for plugin in profile.filters]


def configured(name, **args):
    profile = one(plugin_config=[{"name": name, "args": args}])
    plugins = [*profile.filters, *(plugin for plugin, _ in profile.scores)]
    return next(plugin for plugin in plugins if plugin.name == name)


def test_no_configuration_is_the_default_profile():
    found = profiles({})["default-scheduler"]
    assert found.filters == default_profile().filters
    assert weights(found) == weights(default_profile())


def test_each_profile_has_its_name():
    config = {"profiles": [{"schedulerName": "batch"}, {"schedulerName": "web"}]}
    assert list(profiles(config)) == ["batch", "web"]


def test_what_upstream_has_and_we_do_not_is_named():
    assert "DynamicResources" in one().not_modelled
    off = {"multiPoint": {"disabled": [{"name": "DynamicResources"}]}}
    assert "DynamicResources" not in one(off).not_modelled


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        pytest.param(
            {"multiPoint": {"enabled": [{"name": "TaintToleration", "weight": 7}]}},
            7,
            id="multiPoint replaces the default weight",
        ),
        pytest.param(
            {"multiPoint": {"enabled": [{"name": "TaintToleration", "weight": 0}]}},
            1,
            id="weight 0 means 1",
        ),
        pytest.param(
            {
                "multiPoint": {"enabled": [{"name": "TaintToleration", "weight": 7}]},
                "score": {"enabled": [{"name": "TaintToleration", "weight": 5}]},
            },
            5,
            id="score overrides multiPoint",
        ),
        pytest.param(
            {"score": {"disabled": [{"name": "TaintToleration"}]}}, None, id="score disabled"
        ),
        pytest.param(
            {"multiPoint": {"disabled": [{"name": "TaintToleration"}]}}, None, id="disabled"
        ),
        pytest.param(
            {"filter": {"disabled": [{"name": "TaintToleration"}]}}, 3, id="filter disabled"
        ),
    ],
)
def test_weight_of_taint_toleration(plugins, expected):
    assert weights(one(plugins)).get("TaintToleration") == expected


def test_star_leaves_only_what_is_enabled_beside_it():
    score = {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeAffinity", "weight": 4}]}
    assert weights(one({"score": score})) == {"NodeAffinity": 4}


def test_a_disabled_filter_leaves_the_others_in_order():
    found = filters(one({"filter": {"disabled": [{"name": "TaintToleration"}]}}))
    assert found == [name for name in filters(one()) if name != "TaintToleration"]


def test_a_filter_enabled_by_itself_comes_first():
    found = filters(one({"filter": {"enabled": [{"name": "NodePorts"}]}}))
    assert found == ["NodePorts", *(name for name in filters(one()) if name != "NodePorts")]


def test_arguments_of_fit():
    plugin = configured(
        "NodeResourcesFit",
        ignoredResources=["example.com/a"],
        ignoredResourceGroups=["nvidia.com"],
        scoringStrategy={
            "type": "RequestedToCapacityRatio",
            "resources": [{"name": "cpu", "weight": 3}, {"name": "memory"}],
            "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 10}]},
        },
    )
    assert plugin == NodeResourcesFit(
        "RequestedToCapacityRatio",
        (("cpu", 3), ("memory", 1)),
        ((0, 10),),
        frozenset({"example.com/a"}),
        frozenset({"nvidia.com"}),
    )


def test_arguments_of_affinity():
    expression = {"key": "pool", "operator": "In", "values": ["a"]}
    term = NodeSelectorTerm((Requirement("pool", "In", ("a",)),))
    given = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [expression]}]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 3, "preference": {"matchExpressions": [expression]}}
        ],
    }
    plugin = configured("NodeAffinity", addedAffinity=given)
    assert plugin == NodeAffinity((term,), (PreferredTerm(3, term),))


def test_a_list_of_constraints_replaces_the_system_defaults():
    assert configured("PodTopologySpread", defaultingType="System") == PodTopologySpread()
    plugin = configured("PodTopologySpread", defaultingType="List", defaultConstraints=[])
    assert plugin == PodTopologySpread((), system_defaulted=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"plugins": {"score": {"enabled": [{"name": "NodeResourceFit"}]}}},
            "Did you mean 'NodeResourcesFit'",
        ),
        ({"plugins": {"filters": {}}}, "Did you mean 'filter'"),
        ({"pluginConfig": [{"name": "Nothing"}]}, r"profiles\[0\].pluginConfig"),
    ],
)
def test_unknown_names_are_errors(config, message):
    with pytest.raises(ScenarioError, match=message):
        profiles({"profiles": [config]})
