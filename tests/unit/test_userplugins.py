"""Plugins of the user's own: loaded only when allowed, checked, and run like ours."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import sim
from sim.cli import main
from sim.errors import ScenarioError, SimError
from sim.evaluation import Evaluation
from sim.extend import Code, Normalizes, Reads, Verdict
from sim.profiles import configuration
from sim.testing import a_cluster, a_node, a_pod, bound, check_filter, check_score
from sim.userplugins import Adapter, PluginError, UserPlugin, adapted, load_plugin
from tests.inline import a_bare_pod

EXAMPLES = Path(__file__).parents[2] / "examples"
GPU = "nvidia.com/gpu"

FEWEST = """\
import numpy as np

class FewestPods:
    def __init__(self, most=2):
        self.most = most

    def filter(self, pod, cluster, nodes):
        return cluster.nodes.pod_count[nodes] < self.most

    def score(self, pod, cluster, nodes):
        return np.maximum(0, 100 - cluster.nodes.pod_count[nodes])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FEWEST)
    return tmp_path


def written(text):
    Path("mine.py").write_text(dedent(text))


def refused(text="mine.py:Mine", **options):
    with pytest.raises(PluginError) as caught:
        load_plugin(text, Path(), **options)
    problem = caught.value.problem(sim.Position("s.yaml", 1, 2), "scheduler.plugins[0]")
    return str(problem)


def scenario(**scheduler):
    return {
        "apiVersion": "sim/v1",
        "kind": "Scenario",
        "metadata": {"name": "x"},
        "run": {"duration": "10m"},
        "scheduler": scheduler,
        "nodes": [{"pool": "p", "count": 3, "capacity": {"cpu": 4, "memory": "16Gi"}}],
    }


def load(**scheduler):
    return sim.Scenario.from_dict(scenario(**scheduler), allow_plugins=True)


# Loading


def test_a_class_becomes_a_plugin_with_its_arguments(folder):
    plugin = load_plugin("mine.py:FewestPods", folder, args={"most": 1}, weight=7, scheduler="web")
    assert (plugin.name, plugin.points) == ("FewestPods", ("filter", "score"))
    assert (plugin.weight, plugin.scheduler) == (7, "web")
    assert plugin.plugin.user.most == 1
    assert plugin.plugin.reads == Reads.NODE | Reads.PODS_ON_NODE


def test_it_may_import_what_stands_beside_it(folder):
    Path("beside.py").write_text("LIMIT = 3\n")
    written("""\
        from beside import LIMIT
        class Mine:
            def score(self, pod, cluster, nodes):
                return nodes * 0 + LIMIT
        """)
    assert load_plugin("mine.py:Mine", folder).points == ("score",)


def test_loading_leaves_nothing_beside_the_file(folder):
    load_plugin("mine.py:FewestPods", folder)
    assert [path.name for path in folder.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine.py", "s.yaml:1:2: scheduler.plugins[0]: got 'mine.py'; expected FILE.py:Class."),
        ("mine.py:", "expected FILE.py:Class."),
        (":Mine", "expected FILE.py:Class."),
        ("min.py:FewestPods", "no file 'min.py'. Did you mean 'mine.py'?"),
        ("mine.py:FewestPod", "no class 'FewestPod' in mine.py. Did you mean 'FewestPods'?"),
        ("mine.py:np", "no class 'np' in mine.py. There are: FewestPods."),
    ],
)
def test_a_name_that_leads_nowhere_is_told(folder, text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nclass Mine(:\n", "mine.py:2:12: SyntaxError: "),
        ("x = 1\nimport nothing_like_it\n", "mine.py:2:1: ModuleNotFoundError: No module"),
        ("def f():\n    return 1 / 0\nf()\n", "mine.py:2:1: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "mine.py:2:1: SystemExit: 3"),
        ("class Mine:\n    pass\n", "Mine has neither `filter` nor `score`."),
        ("class Mine:\n    filter = 3\n", "Mine has neither `filter` nor `score`."),
        (
            "class Mine:\n    def __init__(self, size): ...\n    def score(self, p, c, n): ...\n",
            "Mine cannot be made without arguments: ",
        ),
        (
            "class Mine:\n    def __init__(self):\n        raise ValueError('no')\n",
            "mine.py:3:1: ValueError: no",
        ),
        (
            "class Mine:\n\n    def filter(self, pod): ...\n",
            "mine.py:3:1: `filter` of Mine: expected filter(self, pod, cluster, nodes, state) or "
            "filter(self, pod, cluster, nodes).",
        ),
        (
            "class Mine:\n    def score(self, p, c, n): ...\n    def normalize(self): ...\n",
            "`normalize` of Mine: expected normalize(self, scores).",
        ),
        (
            "class Mine:\n    name = 3\n    def score(self, p, c, n): ...\n",
            "`name` of Mine is 3; expected text.",
        ),
        (
            "class Mine:\n    reads = 'pods'\n    def score(self, p, c, n): ...\n",
            "`reads` of Mine is 'pods'; expected sim.extend.Reads.",
        ),
        (
            "class Mine:\n    name = 'NodeName'\n    def score(self, p, c, n): ...\n",
            "NodeName is the name of another plugin; expected one of its own.",
        ),
    ],
)
def test_what_is_no_plugin_is_told_with_its_line(folder, code, message):
    Path("mine.py").write_text(code)
    assert message in refused(taken={"NodeName"})


def test_arguments_that_the_class_does_not_take_are_told(folder):
    assert "FewestPods cannot be made with least: " in refused(
        "mine.py:FewestPods", args={"least": 3}
    )


# Running


def test_booleans_say_which_nodes_take_the_pod(folder):
    plugin = load_plugin("mine.py:FewestPods", folder).plugin
    cluster = a_cluster([a_node(), a_node()], [bound(a_pod(), 0), bound(a_pod(), 0)])
    template = cluster.template(a_pod())
    assert plugin.filter(template, cluster, np.array([0, 1]), None).tolist() == [1, 0]
    assert plugin.verdict(1, cluster) == Verdict(
        Code.UNSCHEDULABLE, ("node(s) didn't pass FewestPods",)
    )


def test_the_users_own_words_and_state_are_used(folder):
    written("""\
        import numpy as np
        from sim.extend import Code, Reads, Verdict

        class Mine:
            name = "Short"
            reads = Reads.NODE

            def prefilter(self, pod, cluster):
                return 1

            def filter(self, pod, cluster, nodes, state):
                return np.where(nodes == state, 7, 0)

            def verdict(self, why, cluster):
                return Verdict(Code.UNRESOLVABLE, (f"why {why}",))
        """)
    plugin = load_plugin("mine.py:Mine", folder).plugin
    cluster = a_cluster([a_node(), a_node()])
    check_filter(plugin, a_pod(), cluster)
    template = cluster.template(a_pod())
    state = plugin.prefilter(template, cluster)
    assert plugin.filter(template, cluster, np.array([1, 0]), state).tolist() == [7, 0]
    assert plugin.verdict(7, cluster).reasons == ("why 7",)
    assert (plugin.name, plugin.reads) == ("Short", Reads.NODE)


def test_it_normalises_only_when_its_class_does():
    class Plain:
        def score(self, pod, cluster, nodes):
            return nodes

    class Relative(Plain):
        def normalize(self, scores):
            return scores * 100 // max(1, int(scores.max(initial=0)))

    assert not isinstance(adapted(Plain()), Normalizes)
    assert isinstance(adapted(Relative()), Normalizes)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 // 0", r"mine\.py:3: plugin Mine: score for pod default/pod-0 raised ZeroDiv"),
        ("return nodes + 101", r"mine\.py: plugin Mine: score .* gave 101, outside 0 to 100"),
        ("return nodes - 1", r"gave -1, outside 0 to 100"),
        ("return nodes * 0.5", r"gave float64; expected whole numbers"),
        ("return nodes[:1]", r"gave an array of shape \(1,\) for 2 nodes"),
        ("return 5", r"gave 5; expected one value for each of 2 nodes"),
        ("return None", r"gave None; expected one value for each of 2 nodes"),
        ("raise SystemExit(0)", r"mine\.py:3: plugin Mine: score .* raised SystemExit: 0"),
    ],
)
def test_what_goes_wrong_in_a_run_names_plugin_pod_and_line(folder, body, message):
    written(f"""\
        class Mine:
            def score(self, pod, cluster, nodes):
                {body}
        """)
    plugin = load_plugin("mine.py:Mine", folder).plugin
    cluster = a_cluster([a_node(), a_node()], [a_pod()])
    with pytest.raises(SimError, match=message):
        plugin.score(cluster.pod_template(0), cluster, np.array([0, 1]), None)


def test_it_is_asked_again_about_nodes_whose_pods_changed(folder):
    """The kept answer of the scheduler follows a plugin that says nothing of what it reads."""
    plugin = load_plugin("mine.py:FewestPods", folder)
    profile = configuration({}, user_plugins=[plugin]).profiles["default-scheduler"]
    cluster = a_cluster([a_node(), a_node()], [bound(a_pod(), 0), a_pod()])
    evaluation = Evaluation(cluster.template(a_pod()), cluster, profile)
    evaluation.refresh()
    assert evaluation.feasible().tolist() == [0, 1]
    cluster.bind(1, 0)
    evaluation.refresh()
    assert evaluation.feasible().tolist() == [1]
    assert evaluation.refusal(0)[0] == "FewestPods"


def test_a_plugin_goes_to_another_process_by_its_file(folder):
    plugin = load_plugin("mine.py:FewestPods", folder, args={"most": 5}).plugin
    copied = pickle.loads(pickle.dumps(plugin))
    assert copied == plugin
    assert copied.user.most == 5
    assert copied != load_plugin("mine.py:FewestPods", folder).plugin


def test_preemption_asks_it_too(folder):
    """One pod a node, by the plugin alone: the important pod takes a node from one of two."""
    low = [a_bare_pod(f"low-{i}", cpu="100m") for i in range(2)]
    high = a_bare_pod("high", cpu="100m")
    high["spec"]["priority"] = 1000
    Path("pods.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": low}))
    Path("high.json").write_text(json.dumps(high))
    plugin = {"plugin": "mine.py:FewestPods", "args": {"most": 1}}
    data = scenario(plugins=[plugin]) | {
        "nodes": [{"pool": "p", "count": 2, "capacity": {"cpu": 4, "memory": "16Gi"}}],
        "manifests": ["pods.json"],
        "arrivals": [
            {"name": "high", "every": "1m", "count": 1, "runtime": "1h", "template": "high.json"}
        ],
    }
    pods = sim.run(sim.Scenario.from_dict(data, folder, allow_plugins=True)).pods
    high = pods.workload == "Stream/high"
    assert pods[high].phase.tolist() == ["Running"]
    assert pods[~high].deleted_s.notna().sum() == 1


# Where it runs


def ends(profile):
    return profile.filters[-1].name, profile.scores[-1][0].name, profile.scores[-1][1]


def test_it_runs_last_in_every_profile():
    config = {"profiles": [{"schedulerName": "a"}, {"schedulerName": "b"}]}
    plugin = UserPlugin("Mine", Adapter(Everything(), Path("mine.py")), ("filter", "score"), 9)
    found = configuration(config, user_plugins=[plugin]).profiles
    assert {name: ends(profile) for name, profile in found.items()} == {
        "a": ("Mine", "Mine", 9),
        "b": ("Mine", "Mine", 9),
    }


class Everything:
    name = "Mine"

    def filter(self, pod, cluster, nodes):
        return nodes >= 0

    def score(self, pod, cluster, nodes):
        return nodes * 0


def with_mine(entries, **options):
    plugin = UserPlugin("Mine", adapted(Everything()), ("filter", "score"), **options)
    return configuration({"profiles": entries}, user_plugins=[plugin]).profiles


def plugins_of(profile):
    return [p.name for p in profile.filters], {p.name: weight for p, weight in profile.scores}


def test_it_runs_in_the_profile_that_it_is_meant_for():
    found = with_mine([{"schedulerName": "a"}, {"schedulerName": "b"}], scheduler="b")
    assert "Mine" not in plugins_of(found["a"])[0]
    assert "Mine" in plugins_of(found["b"])[0]
    with pytest.raises(ScenarioError, match="no profile 'c' for plugin Mine"):
        with_mine([{"schedulerName": "a"}], scheduler="c")


def test_it_runs_where_a_profile_enables_it_by_name():
    enabled = {"score": {"enabled": [{"name": "Mine", "weight": 4}]}}
    found = with_mine([{"schedulerName": "a"}, {"schedulerName": "b", "plugins": enabled}])
    assert "Mine" not in plugins_of(found["a"])[1]
    filters, scores = plugins_of(found["b"])
    assert "Mine" not in filters
    assert scores["Mine"] == 4


def test_a_profile_may_keep_it_out():
    off = {"score": {"disabled": [{"name": "Mine"}]}}
    filters, scores = plugins_of(with_mine([{"plugins": off}])["default-scheduler"])
    assert ("Mine" in filters, "Mine" in scores) == (True, False)
    off = {"multiPoint": {"disabled": [{"name": "Mine"}]}}
    filters, scores = plugins_of(with_mine([{"plugins": off}])["default-scheduler"])
    assert ("Mine" in filters, "Mine" in scores) == (False, False)


# In a scenario


def test_without_permission_nothing_is_loaded(folder):
    written("raise SystemExit('it ran')")
    with pytest.raises(ScenarioError) as caught:
        sim.Scenario.from_dict(scenario(plugins=["mine.py:FewestPods"]))
    assert str(caught.value) == (
        "scenario: scheduler.plugins: mine.py:FewestPods would run: a plugin is a program, and may "
        "do anything that you may. If you trust it, add --allow-plugins (in Python "
        "allow_plugins=True)."
    )


def test_a_scenario_brings_its_plugins(folder):
    own = "\n\nclass Other(FewestPods):\n    def __init__(self, n):\n        self.most = n\n"
    Path("mine.py").write_text(FEWEST + own)
    other = {"plugin": "mine.py:Other", "weight": 3, "args": {"n": 2}}
    found = load(plugins=["mine.py:FewestPods", other])
    profile = found.configuration.profiles["default-scheduler"]
    assert [p.name for p in profile.filters[-2:]] == ["FewestPods", "Other"]
    assert [(p.name, weight) for p, weight in profile.scores[-2:]] == [
        ("FewestPods", 1),
        ("Other", 3),
    ]
    assert found.replace({}) == found


def test_all_problems_of_plugins_come_together(folder):
    with pytest.raises(ScenarioError) as caught:
        load(
            plugins=["mine.py:Fewest", "mine.py:FewestPods", "mine.py:FewestPods"],
            config={"profiles": [{"plugins": {"score": {"enabled": [{"name": "Fewest"}]}}}]},
        )
    assert [problem.field for problem in caught.value.problems] == [
        "scheduler.plugins[0]",
        "scheduler.plugins[2]",
    ]


def test_the_command_line_asks_for_permission(folder):
    path = Path("s.yaml")
    path.write_text(yaml.safe_dump(scenario(plugins=["mine.py:FewestPods"])))
    refused = CliRunner().invoke(main, ["run", str(path)])
    assert refused.exit_code == 2
    assert "--allow-plugins" in refused.output
    assert CliRunner().invoke(main, ["run", str(path), "--allow-plugins"]).exit_code == 0
    assert CliRunner().invoke(main, ["validate", str(path)]).exit_code == 2
    assert CliRunner().invoke(main, ["validate", str(path), "--allow-plugins"]).exit_code == 0


# The example


@pytest.fixture
def gpus():
    plugin = load_plugin("pack_gpus.py:PackGpus", EXAMPLES).plugin
    nodes = [a_node(extended={GPU: 4}), a_node(extended={GPU: 4}), a_node(), a_node()]
    on_it = [bound(a_pod(extended={GPU: 1}), 0), bound(a_pod(), 2)]
    return plugin, a_cluster(nodes, on_it)


def test_pack_gpus_keeps_the_contract(gpus):
    plugin, cluster = gpus
    for pod in (a_pod(), a_pod(extended={GPU: 1})):
        check_filter(plugin, pod, cluster)
        check_score(plugin, pod, cluster)


def test_pack_gpus_fills_the_fullest_node(gpus):
    plugin, cluster = gpus
    pod, nodes = cluster.template(a_pod(extended={GPU: 1})), np.arange(4)
    assert plugin.score(pod, cluster, nodes, None).tolist() == [25, 0, 0, 0]  # 1 of 4 taken
    assert plugin.filter(pod, cluster, nodes, None).tolist() == [0, 0, 0, 0]
    other = cluster.template(a_pod())
    assert plugin.filter(other, cluster, nodes, None).tolist() == [1, 1, 0, 0]


def test_pack_gpus_leaves_whole_nodes_for_those_who_need_them():
    """8 pods of one GPU fill 2 of 4 nodes; two jobs of 4 GPUs take the others."""
    packed = sim.load(EXAMPLES / "pack-gpus.yaml", allow_plugins=True)
    pods = sim.run(packed).pods
    jobs = pods[pods.workload == "Stream/training"].node
    assert jobs.nunique() == 2
    assert pods[pods.workload == "Deployment/inference"].node.nunique() == 2
    spread = sim.run(packed.replace({"scheduler.plugins": []})).pods
    assert spread[spread.workload == "Stream/training"].node.tolist() == ["", ""]


# The contract


class SaysTooLittle:
    reads = Reads.NODE

    def score(self, pod, cluster, nodes):
        return cluster.nodes.pod_count[nodes]


class LooksElsewhere:
    def score(self, pod, cluster, nodes):
        return nodes * 0 + int(cluster.nodes.pod_count.sum())


class KeepsWhatIsStale:
    def prefilter(self, pod, cluster):
        return cluster.nodes.pod_count.copy()

    def filter(self, pod, cluster, nodes, state):
        return state[nodes] < 1


class ComparesPlaces:
    def score(self, pod, cluster, nodes):
        return nodes * 0

    def normalize(self, scores):
        return np.arange(len(scores))


@pytest.mark.parametrize(
    ("check", "plugin", "message"),
    [
        (check_score, SaysTooLittle(), "does not read PODS_ON_NODE"),
        (check_score, LooksElsewhere(), "has to read PODS_ANYWHERE"),
        (check_filter, KeepsWhatIsStale(), "out of date"),
        (check_score, ComparesPlaces(), "normalize depends on the order of nodes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_checks_find_what_would_make_kept_answers_wrong(check, plugin, message):
    cluster = a_cluster([a_node(), a_node()], [bound(a_pod(), 0)])
    with pytest.raises(AssertionError, match=message):
        check(plugin, a_pod(), cluster)
