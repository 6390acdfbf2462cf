"""A KubeSchedulerConfiguration is read as kube-scheduler reads it, or refused with every problem.

Rules: pkg/scheduler/apis/config/validation/{validation,validation_pluginargs}.go and
pkg/scheduler/framework/runtime/framework.go NewFramework (v1.34.1).
"""

from __future__ import annotations

import copy
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.evaluation import Profile
from sim.manifests.value import Source, Value
from sim.profiles import DEFAULTS, MOST_WEIGHT, PLUGINS, POINTS, configuration
from sim.yamls import parse_documents

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def read(text, **options):
    documents, problems = parse_documents(HEAD + dedent(text), "s.yaml", dialect="manifest")
    assert not problems
    return configuration(Value(documents[0].data, Source(documents[0])), **options)


def problems_of(text, **options):
    with pytest.raises(ScenarioError) as caught:
        read(text, **options)
    return [str(problem) for problem in caught.value.problems]


def of_profile(plugins=None, plugin_config=()):
    return {"profiles": [{"plugins": plugins or {}, "pluginConfig": list(plugin_config)}]}


def messages(config):
    with pytest.raises(ScenarioError) as caught:
        configuration(config)
    return [f"{p.field}: {p.message} {p.hint}".strip() for p in caught.value.problems]


def refused_args(plugin, **args):
    found = messages(of_profile(plugin_config=[{"name": plugin, "args": args}]))
    return [message.removeprefix("profiles[0].pluginConfig[0].args") for message in found]


def test_what_is_not_written_is_the_schedulers_default():
    found = configuration({})
    assert list(found.profiles) == ["default-scheduler"]
    assert found.percentage_of_nodes_to_score == 0
    assert (found.initial_backoff_s, found.max_backoff_s) == (1, 10)
    assert (found.qps, found.burst) == (50.0, 100)
    assert found.not_modelled == ()


def test_every_number_is_read():
    found = read(
        """\
        parallelism: 4
        percentageOfNodesToScore: 30
        podInitialBackoffSeconds: 2
        podMaxBackoffSeconds: 20
        clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf, qps: 80, burst: 160}
        profiles:
        - schedulerName: web
          percentageOfNodesToScore: 0
        - schedulerName: batch
        """
    )
    assert found.percentage_of_nodes_to_score == 30
    assert (found.initial_backoff_s, found.max_backoff_s) == (2, 20)
    assert (found.qps, found.burst) == (80.0, 160)
    assert {name: p.percentage for name, p in found.profiles.items()} == {"web": 0, "batch": None}


def test_a_profile_without_postfilter_does_not_preempt():
    off = {"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}}
    assert configuration(of_profile(off)).profiles["default-scheduler"].preemption is None
    config = of_profile(
        plugin_config=[{"name": "DefaultPreemption", "args": {"minCandidateNodesAbsolute": 7}}]
    )
    preemption = configuration(config).profiles["default-scheduler"].preemption
    assert preemption.min_candidate_nodes_percentage == 10
    assert preemption.min_candidate_nodes_absolute == 7


def test_what_is_valid_and_not_modelled_is_listed():
    found = read(
        """\
        leaderElection: {leaderElect: true}
        clientConnection: {qps: 50}
        extenders:
        - urlPrefix: http://127.0.0.1
        profiles:
        - plugins:
            preScore:
              disabled: [{name: "*"}]
            multiPoint:
              enabled: [{name: DynamicResources}]
          pluginConfig:
          - name: VolumeBinding
            args: {bindTimeoutSeconds: 30}
        """
    )
    assert found.not_modelled == (
        "leaderElection",
        "extenders",
        "clientConnection: scheduler.clientQps limits the calls",
        "profiles[0].plugins.preScore",
        "profiles[0]: plugin DynamicResources",
        "profiles[0]: arguments of VolumeBinding",
    )


def test_problems_have_their_place_and_come_all_at_once():
    found = problems_of(
        """\
        percentageOfNodesToScore: 101
        podInitialBackofSeconds: 1
        profiles:
        - schedulerName: a
          plugins:
            score:
              enabled:
              - name: NodeResourceFit
              disabled: [{name: "*"}]
        - schedulerName: a
          pluginConfig:
          - name: InterPodAffinity
            args:
              hardPodAffinityWeight: 101
        """
    )
    assert found == [
        "s.yaml:3:27: percentageOfNodesToScore: got 101; expected a whole number of at most 100",
        "s.yaml:4:1: podInitialBackofSeconds: unknown field. "
        "Did you mean 'podInitialBackoffSeconds'?",
        "s.yaml:10:15: profiles[0].plugins.score.enabled[0].name: no plugin 'NodeResourceFit'. "
        "Did you mean 'NodeResourcesFit'?",
        "s.yaml:12:18: profiles[1].schedulerName: got 'a'; expected a name of its own for each "
        "profile",
        "s.yaml:16:30: profiles[1].pluginConfig[0].args.hardPodAffinityWeight: got 101; expected "
        "a whole number of at most 100",
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"apiVersion": "kubescheduler.config.k8s.io/v1beta3"}, "apiVersion: got"),
        ({"kind": "Scheduler"}, "kind: got 'Scheduler'; expected 'KubeSchedulerConfiguration'"),
        ({"parallelism": 0}, "parallelism: got 0; expected a whole number of at least 1"),
        ({"percentageOfNodesToScore": -1}, "of at least 0"),
        ({"percentageOfNodesToScore": "50"}, "got '50'; expected a whole number"),
        ({"podInitialBackoffSeconds": 0}, "of at least 1"),
        (
            {"podMaxBackoffSeconds": 3, "podInitialBackoffSeconds": 5},
            "podMaxBackoffSeconds: got 3; expected at least podInitialBackoffSeconds, 5",
        ),
        (
            {"podInitialBackoffSeconds": 11},
            "got 11; expected at most podMaxBackoffSeconds, 10 by default",
        ),
        ({"clientConnection": {"qps": -1}}, "clientConnection.qps: got -1"),
        ({"clientConnection": {"qsp": 1}}, "clientConnection.qsp: unknown field."),
        ({"leaderElection": True}, "leaderElection: got true; expected a mapping"),
        ({"extenders": {}}, "extenders: got {}; expected a list"),
        ({"profiles": {}}, "profiles: got {}; expected a list"),
        ({"profiles": [{"schedulerName": ""}]}, "profiles[0].schedulerName: got ''"),
        ({"profiles": [{"schedulerName": "a"}, {}]}, "profiles[1].schedulerName: is missing"),
        ({"profiles": [{"percentageOfNodesToScore": 101}]}, "profiles[0].percentageOfNodesToScore"),
        ({"profiles": [{"plugin": {}}]}, "profiles[0].plugin: unknown field."),
    ],
)
def test_refused(config, message):
    assert any(message in found for found in messages(config)), messages(config)


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({"filters": {}}, "unknown field. Did you mean 'filter'?"),
        ({"score": {"enable": []}}, "unknown field. Did you mean 'enabled'?"),
        ({"score": {"enabled": [{"name": "NodeName"}]}}, "NodeName has no part in score"),
        ({"filter": {"enabled": [{"name": "ImageLocality"}]}}, "no part in filter"),
        ({"score": {"disabled": [{"name": "Nodename"}]}}, "Did you mean 'NodeName'?"),
        (
            {"permit": {"enabled": [{"name": "Trimaran"}]}},
            "no plugin 'Trimaran'. Known are kube-scheduler's own plugins and those in",
        ),
        ({"score": {"enabled": [{"name": "NodeAffinity"}] * 2}}, "each plugin once"),
        ({"score": {"enabled": [{"name": "NodeAffinity", "weight": -1}]}}, "of at least 0"),
        ({"score": {"enabled": [{"weight": 1}]}}, "name: is missing; expected text"),
        ({"queueSort": {"disabled": [{"name": "*"}]}}, "expected PrioritySort to be enabled"),
        ({"bind": {"disabled": [{"name": "DefaultBinder"}]}}, "expected DefaultBinder"),
        (
            {"multiPoint": {"disabled": [{"name": "*"}], "enabled": [{"name": "DefaultBinder"}]}},
            "no plugin is left for queueSort",
        ),
        (
            {"score": {"enabled": [{"name": "NodeAffinity", "weight": MOST_WEIGHT}]}},
            "weights sum to more than",
        ),
    ],
)
def test_refused_plugins(plugins, message):
    assert any(message in found for found in messages(of_profile(plugins)))


def test_plugins_without_a_name_are_not_told_to_be_unique():
    found = messages(of_profile({"score": {"enabled": [{"weight": 1}, {"weight": 2}]}}))
    assert found == [
        f"profiles[0].plugins.score.enabled[{place}].name: is missing; expected text"
        for place in (0, 1)
    ]


def test_only_what_sorts_and_binds_is_a_profile():
    enabled = [{"name": "PrioritySort"}, {"name": "DefaultBinder"}, {"name": "NodeName"}]
    only = of_profile({"multiPoint": {"disabled": [{"name": "*"}], "enabled": enabled}})
    profile = configuration(only).profiles["default-scheduler"]
    assert [plugin.name for plugin in profile.filters] == ["NodeName"]
    assert profile.scores == ()
    assert profile.preemption is None


def test_all_profiles_sort_the_queue_alike():
    sort = {"queueSort": {"enabled": [{"name": "PrioritySort"}]}}
    same = [{"schedulerName": name, "plugins": sort} for name in "ab"]
    assert list(configuration({"profiles": same}).profiles) == ["a", "b"]
    assert messages({"profiles": [*same, {"schedulerName": "c"}]}) == [
        "profiles[2].plugins.queueSort: differs from that of the first profile; "
        "expected the same in all."
    ]


@pytest.mark.parametrize(
    ("plugin", "args", "message"),
    [
        ("NodeName", {"name": "x"}, ".name: unknown field."),
        ("NodeResourcesFit", {"kind": "NodeAffinityArgs"}, "expected 'NodeResourcesFitArgs'"),
        ("NodeResourcesFit", {"ignoredResource": []}, "Did you mean 'ignoredResources'?"),
        ("NodeResourcesFit", {"ignoredResources": ["a b"]}, ".ignoredResources[0]: got 'a b'"),
        ("NodeResourcesFit", {"ignoredResourceGroups": ["a.io/b"]}, ".ignoredResourceGroups[0]"),
        ("NodeResourcesFit", {"scoringStrategy": {}}, ".scoringStrategy.type: is missing"),
        (
            "NodeResourcesFit",
            {"scoringStrategy": {"type": "MostAlocated"}},
            "Did you mean 'MostAllocated'?",
        ),
        (
            "NodeResourcesFit",
            {"scoringStrategy": {"type": "MostAllocated", "requestedToCapacityRatio": {}}},
            "nothing unless type is 'RequestedToCapacityRatio'",
        ),
        (
            "NodeResourcesFit",
            {"scoringStrategy": {"type": "RequestedToCapacityRatio"}},
            ".scoringStrategy.requestedToCapacityRatio.shape: is missing",
        ),
        (
            "NodeResourcesFit",
            {
                "scoringStrategy": {
                    "type": "MostAllocated",
                    "resources": [{"name": "cpu", "weight": 101}],
                }
            },
            ".scoringStrategy.resources[0].weight: got 101",
        ),
        (
            "NodeResourcesBalancedAllocation",
            {"resources": [{"name": "cpu", "weight": 2}]},
            "most 1",
        ),
        ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu"}] * 2}, "once"),
        ("InterPodAffinity", {"hardPodAffinityWeight": -1}, "of at least 0"),
        (
            "InterPodAffinity",
            {"ignorePreferredTermsOfExistingPods": "true"},
            "expected true or false",
        ),
        ("DefaultPreemption", {"minCandidateNodesPercentage": 101}, "of at most 100"),
        (
            "DefaultPreemption",
            {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0},
            "more than 0 when minCandidateNodesAbsolute is 0",
        ),
        ("VolumeBinding", {"bindTimeoutSeconds": -1}, "of at least 0"),
        ("VolumeBinding", {"shape": [{"utilization": 0, "score": 1}]}, "StorageCapacityScoring"),
        ("DynamicResources", {"filterTimeout": "-1s"}, "a duration such as '10s'"),
        ("NodeAffinity", {"addedAffinity": {"required": {}}}, ".addedAffinity.required: unknown"),
        (
            "NodeAffinity",
            {
                "addedAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 101, "preference": {}}
                    ]
                }
            },
            "[0].weight: got 101",
        ),
        ("PodTopologySpread", {"defaultingType": "Lists"}, "Did you mean 'List'?"),
        (
            "PodTopologySpread",
            {
                "defaultConstraints": [
                    {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}
                ]
            },
            "none unless defaultingType is 'List'",
        ),
    ],
)
def test_refused_arguments(plugin, args, message):
    found = refused_args(plugin, **args)
    assert any(message in text for text in found), found


def shape(*points):
    strategy = {
        "type": "RequestedToCapacityRatio",
        "requestedToCapacityRatio": {
            "shape": [{"utilization": at, "score": score} for at, score in points]
        },
    }
    return {"scoringStrategy": strategy}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least one point"),
        ([(0, 0), (0, 1)], "more than 0"),
        ([(50, 0), (20, 1)], "more than 50"),
        ([(101, 0)], "of at most 100"),
        ([(0, 11)], "of at most 10"),
    ],
)
def test_refused_shapes(points, message):
    assert any(message in text for text in refused_args("NodeResourcesFit", **shape(*points)))


def test_constraints_by_default_are_checked_like_those_of_pods():
    one = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    other = {"maxSkew": 0, "topologyKey": "a b", "whenUnsatisfiable": "Never", "labelSelector": {}}
    found = refused_args(
        "PodTopologySpread", defaultingType="List", defaultConstraints=[one, other]
    )
    assert [text.partition(":")[0] for text in found] == [
        ".defaultConstraints[1].labelSelector",
        ".defaultConstraints[1].topologyKey",
        ".defaultConstraints[1].whenUnsatisfiable",
        ".defaultConstraints[1].maxSkew",
    ]
    twice = refused_args("PodTopologySpread", defaultingType="List", defaultConstraints=[one, one])
    assert "a second time" in twice[0]


def test_one_entry_of_arguments_for_each_plugin():
    entry = {"name": "NodeResourcesFit"}
    assert "one entry for each plugin" in messages(of_profile(plugin_config=[entry, entry]))[0]


def test_a_file_says_what_it_is():
    with pytest.raises(ScenarioError, match=r"apiVersion: is missing; expected 'kubescheduler"):
        configuration({}, typed=True)
    assert list(read("", typed=True).profiles) == ["default-scheduler"]


def test_the_table_of_plugins_is_upstreams():
    """v1.34.1: 19 default plugins, 7 of them score with these weights; points exist."""
    assert len(DEFAULTS) == 19
    assert {name: weight for name, weight in DEFAULTS.items() if weight} == {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "PodTopologySpread": 2,
        "InterPodAffinity": 2,
        "NodeResourcesFit": 1,
        "NodeResourcesBalancedAllocation": 1,
        "ImageLocality": 1,
    }
    assert {point for _, points in PLUGINS.values() for point in points.split()} < set(POINTS)


# Any input ends in a configuration or in its problems

FULL = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "parallelism": 16,
    "leaderElection": {"leaderElect": False},
    "clientConnection": {"qps": 50, "burst": 100},
    "percentageOfNodesToScore": 50,
    "podInitialBackoffSeconds": 1,
    "podMaxBackoffSeconds": 10,
    "profiles": [
        {
            "schedulerName": "a",
            "percentageOfNodesToScore": 10,
            "plugins": {
                "multiPoint": {"enabled": [{"name": "NodeAffinity", "weight": 3}]},
                "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality"}]},
            },
            "pluginConfig": [
                {
                    "name": "NodeResourcesFit",
                    "args": {
                        "ignoredResources": ["a.io/b"],
                        "ignoredResourceGroups": ["c.io"],
                        **shape((0, 0), (100, 10)),
                    },
                },
                {
                    "name": "PodTopologySpread",
                    "args": {
                        "defaultingType": "List",
                        "defaultConstraints": [
                            {
                                "maxSkew": 1,
                                "topologyKey": "zone",
                                "whenUnsatisfiable": "ScheduleAnyway",
                            }
                        ],
                    },
                },
                {
                    "name": "NodeAffinity",
                    "args": {
                        "addedAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
                                ]
                            }
                        }
                    },
                },
                {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 5}},
                {"name": "DefaultPreemption", "args": {"minCandidateNodesAbsolute": 5}},
                {"name": "NodeResourcesBalancedAllocation", "args": {"resources": []}},
            ],
        },
        {"schedulerName": "b"},
    ],
    "extenders": [],
}


def places(value, path=()):
    """Every path of a nested value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, below in pairs:
        yield from places(below, (*path, key))


def put(data, path, value):
    """Put the value there, if what stands above is still there."""
    try:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value
    except (LookupError, TypeError):
        pass


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "*", "NodeName", "NodeResourcesFit", "a", "a/b", "\0", "9" * 400]),
    st.lists(st.sampled_from([1, "a", None, {}, {"name": "NodeName"}, []]), max_size=2),
    st.dictionaries(
        st.sampled_from(["name", "enabled", "args", "type", "x"]),
        st.sampled_from([1, "NodeName", None, {}, [], [{"name": "NodeAffinity"}]]),
        max_size=2,
    ),
)


def test_the_whole_of_it_is_valid():
    assert list(configuration(FULL).profiles) == ["a", "b"]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from([p for p in places(FULL) if p]), STRANGE), min_size=1, max_size=3
    )
)
def test_any_mutation_ends_in_a_configuration_or_in_its_problems(mutations):
    data = copy.deepcopy(FULL)
    for path, value in mutations:
        put(data, path, value)
    found = outcome(data)
    assert found
    for profile in found if isinstance(found[0], Profile) else ():
        assert all(weight > 0 for _, weight in profile.scores)


def outcome(data):
    """The profiles, or the problems."""
    try:
        return list(configuration(data).profiles.values())
    except ScenarioError as error:
        return error.problems
