"""Explanations: what each node says, why the winner won, the smallest change, the right moment."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import sim
from sim.catalog import FILTERS, default_profile
from sim.cli import main
from sim.errors import SimError
from sim.evaluation import Evaluation, Profile
from sim.explain import explain_now
from sim.extend import Explains, Shortfall
from sim.labels import Requirement, Selector
from sim.plugins.inter_pod_affinity import InterPodAffinity
from sim.plugins.node_affinity import NodeAffinity
from sim.plugins.node_name import NodeName
from sim.plugins.node_ports import NodePorts
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.plugins.node_unschedulable import NodeUnschedulable
from sim.plugins.node_volume_limits import NodeVolumeLimits
from sim.plugins.pod_topology_spread import PodTopologySpread
from sim.plugins.taint_toleration import TaintToleration
from sim.plugins.volume_binding import VolumeBinding
from sim.plugins.volume_restrictions import VolumeRestrictions
from sim.plugins.volume_zone import VolumeZone
from sim.podspec import (
    HostPort,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
    SpreadConstraint,
    Taint,
    Toleration,
    Volume,
)
from sim.result import Result
from sim.rng import Streams, Uniforms
from sim.scheduler import Scheduler
from sim.storage import CSINode
from sim.testing import GIB, HOSTNAME, ZONE, a_cluster, a_node, a_pod, bound, put_pod
from sim.userplugins import adapted
from tests.unit.volumes import (
    DRIVER,
    LATE,
    LOCAL,
    a_bound_claim,
    a_claim,
    a_pod_with,
    a_volume,
    a_world,
    csi,
    on,
)

AWS_DISK = Volume("disk", disk=("awsElasticBlockStore", "vol-1"))
WEB = Selector.of({"app": "web"})
ON_SSD = NodeSelectorTerm((Requirement("disk", "In", ("ssd", "nvme")),))
FAST_AND_BIG = NodeSelectorTerm((*ON_SSD.expressions, Requirement("cores", "Gt", ("8",))))


def a_web(**more):
    return a_pod(cpu_m=500, labels={"app": "web"}, **more)


def wanting(**terms):
    """A pod with required affinity or anti-affinity terms of these kinds, over zones."""
    term = PodAffinityTerm(ZONE, WEB)
    return a_pod(cpu_m=1, pod_affinity=PodAffinity(**dict.fromkeys(terms, (term,))))


def spread(max_skew):
    return (SpreadConstraint(ZONE, max_skew, "DoNotSchedule", WEB),)


def shortfall_of(plugin, pod, cluster, node=0):
    """What the plugin says of a node that it refuses."""
    template = cluster.template(pod)
    state = plugin.prefilter(template, cluster)
    assert isinstance(plugin, Explains)
    return plugin.shortfall(template, cluster, node, state)


@pytest.mark.parametrize(
    ("plugin", "pod", "cluster", "text", "share"),
    [
        # 4000 - 3350 = 650 free, 1000 - 650 = 350 missing of 4000
        pytest.param(
            NodeResourcesFit(),
            a_pod(cpu_m=1000),
            a_cluster([a_node(cpu_m=4000)], [bound(a_pod(cpu_m=3350), 0)]),
            "lacks 350m cpu (asked 1, free 650m of 4)",
            350 / 4000,
            id="a resource is short by the difference",
        ),
        # 2 GiB free of 16, 3 GiB missing; 1 + 1 - 1 pods too many of 1
        pytest.param(
            NodeResourcesFit(),
            a_pod(memory_b=5 * GIB),
            a_cluster([a_node(max_pods=1)], [bound(a_pod(memory_b=14 * GIB), 0)]),
            "has no room for another pod (1 of at most 1); lacks 3Gi memory (asked 5Gi, free 2Gi"
            " of 16Gi)",
            1 + 3 / 16,
            id="every resource is named, pod slots too",
        ),
        pytest.param(
            NodeResourcesFit(),
            a_pod(extended={"nvidia.com/gpu": 2}),
            a_cluster([a_node()]),
            "has no nvidia.com/gpu, asked 2",
            2.0,
            id="a resource that the node does not have",
        ),
        pytest.param(
            TaintToleration(),
            a_pod(tolerations=(Toleration("b", "Exists"),)),
            a_cluster(
                [
                    a_node(
                        taints=(
                            Taint("a", "NoSchedule", "x"),
                            Taint("b", "NoSchedule"),
                            Taint("c", "NoExecute"),
                            Taint("d", "PreferNoSchedule"),
                        )
                    )
                ]
            ),
            "has untolerated taint a=x:NoSchedule, c:NoExecute",
            1.0,
            id="all hard taints that nothing tolerates",
        ),
        pytest.param(
            NodeUnschedulable(),
            a_pod(),
            a_cluster([a_node(unschedulable=True)]),
            "is cordoned: uncordon it, or tolerate node.kubernetes.io/unschedulable",
            1.0,
            id="cordoned",
        ),
        pytest.param(
            NodeName(),
            a_pod(node_name="other"),
            a_cluster([a_node()]),
            "is not the node that the pod names, other, which does not exist",
            1.0,
            id="a named node that does not exist",
        ),
        pytest.param(
            NodeAffinity(),
            a_pod(node_selector={"disk": "ssd"}, required_affinity=(ON_SSD, FAST_AND_BIG)),
            a_cluster([a_node(labels={"disk": "hdd"})]),
            "does not meet disk=ssd (it has 'hdd'); disk in (ssd, nvme) (it has 'hdd')",
            2.0,
            id="the selector, and of the terms the one with the fewest unmet requirements",
        ),
        pytest.param(
            NodeAffinity(added_required=(FAST_AND_BIG,)),
            a_pod(),
            a_cluster([a_node(labels={"disk": "ssd"})]),
            "does not meet cores>8 (it has none)",
            1.0,
            id="the profile's own affinity",
        ),
        pytest.param(
            NodePorts(),
            a_pod(host_ports=(HostPort(80), HostPort(81))),
            a_cluster([a_node()], [bound(a_pod(host_ports=(HostPort(80),)), 0)]),
            "host port 80/TCP is taken by default/pod-0",
            1.0,
            id="the port and who has it",
        ),
        # zone a has 2, zone b 0: 2 + 1 - 0 - 1 = 2 too many
        pytest.param(
            PodTopologySpread(),
            a_web(spread=spread(1)),
            a_cluster([a_node(zone="a"), a_node(zone="b")], [bound(a_web(), 0), bound(a_web(), 0)]),
            f"would be 2 over maxSkew 1: 2 pods of app=web in {ZONE}=a, 0 in {ZONE}=b",
            1.0,
            id="skew counted with the pod itself",
        ),
        pytest.param(
            PodTopologySpread(),
            a_web(spread=spread(1)),
            a_cluster([a_node()]),
            f"has no label {ZONE}, which a spread constraint needs",
            1.0,
            id="no topology label",
        ),
        pytest.param(
            InterPodAffinity(),
            wanting(anti_required=True),
            a_cluster([a_node(zone="a"), a_node(zone="a")], [bound(a_web(), 1)] * 5),
            f"{ZONE}=a has default/pod-0, default/pod-1, default/pod-2, others, which its"
            " anti-affinity to app=web avoids",
            1.0,
            id="own anti-affinity names the first pods, on other nodes too",
        ),
        pytest.param(
            InterPodAffinity(),
            wanting(required=True),
            a_cluster([a_node(zone="a"), a_node(zone="b")], [bound(a_web(), 1)]),
            f"{ZONE}=a has no pod of app=web",
            1.0,
            id="affinity to pods elsewhere",
        ),
        pytest.param(
            InterPodAffinity(),
            a_web(),
            a_cluster([a_node(zone="a")], [bound(wanting(anti_required=True), 0)]),
            f"{ZONE}=a has default/pod-0, with anti-affinity to such pods",
            1.0,
            id="anti-affinity of a pod that is there",
        ),
    ],
)
def test_a_filter_says_what_would_have_to_change(plugin, pod, cluster, text, share):
    found = shortfall_of(plugin, pod, cluster)
    assert (found.text, found.share) == (text, pytest.approx(share))


POD_ALONE = a_claim(storage_class="", access_modes=("ReadWriteOncePod",))
LIMITED = CSINode("node-0", {DRIVER: 2})


@pytest.mark.parametrize(
    ("plugin", "pod", "cluster", "text"),
    [
        pytest.param(
            VolumeBinding(),
            a_pod_with("data"),
            a_world(a_bound_claim(), a_volume(node_affinity=on(ZONE, "b", "c"))),
            f"cannot use volume pv, which is for nodes with {ZONE} in (b, c)",
            id="a volume elsewhere",
        ),
        pytest.param(
            VolumeBinding(),
            a_pod_with("data"),
            a_world(LOCAL, a_claim(size_gi=3, storage_class="local")),
            "has no volume, and gets none, for claim data: 3Gi of class local",
            id="no volume, and nobody makes one",
        ),
        pytest.param(
            VolumeBinding(),
            a_pod_with("data"),
            a_world(LATE, a_claim(selected_node="node-1")),
            "is not node-1, where claim data gets a volume",
            id="provisioned elsewhere",
        ),
        pytest.param(
            VolumeZone(),
            a_pod_with("data"),
            a_world(a_bound_claim(), a_volume(labels={ZONE: "b__c"})),
            f"is in {ZONE}=a, a volume of the pod is in b or c",
            id="another zone",
        ),
        pytest.param(
            VolumeRestrictions(),
            a_pod_with("data"),
            a_world(POD_ALONE, pods=[bound(a_pod_with("data"), 1)]),
            "claim data, for one pod only, is in use by default/pod-0",
            id="a claim for one pod only",
        ),
        pytest.param(
            VolumeRestrictions(),
            a_pod_with(volumes=(AWS_DISK,)),
            a_world(pods=[bound(a_pod_with(volumes=(AWS_DISK,)), 0)]),
            "disk awsElasticBlockStore/vol-1 is in use by default/pod-0",
            id="a disk",
        ),
        # one is there and two come: three, of two
        pytest.param(
            NodeVolumeLimits(),
            a_pod_with("b", "c"),
            a_world(
                LIMITED,
                *(a_bound_claim(name, volume=f"pv-{name}") for name in "abc"),
                *(csi(f"pv-{name}") for name in "abc"),
                pods=[bound(a_pod_with("a"), 0)],
            ),
            f"attaches at most 2 volumes of {DRIVER}, not 3",
            id="too many volumes",
        ),
    ],
)
def test_what_is_wrong_with_volumes(plugin, pod, cluster, text):
    template = cluster.template(pod)
    state = plugin.prefilter(template, cluster)
    assert plugin.filter(template, cluster, np.array([0]), state)[0], "the node is refused"
    assert shortfall_of(plugin, pod, cluster).text == text


def test_volumes_that_a_decision_binds_and_makes_are_told():
    claims = a_claim("local", storage_class="local"), a_claim("late")
    volume = a_volume(storage_class="local", node_affinity=on(ZONE, "a"))
    cluster = a_world(LOCAL, LATE, volume, *claims)
    pod = put_pod(cluster, a_pod_with("late", "local"))
    found = explain_now(a_scheduler(cluster), pod)
    assert found.node == "node-0"
    assert found.volumes == (
        "claim default/local is bound to volume pv",
        "claim default/late gets a new volume",
    )


def test_every_filter_says_what_a_node_lacks():
    assert [name for name, plugin in FILTERS.items() if not isinstance(plugin(), Explains)] == []


# One decision


def a_scheduler(cluster, **profile):
    made = replace(default_profile(), **profile)
    draw = Uniforms(Streams(1)("ties"))
    return Scheduler(cluster, {"default-scheduler": made}, draw, tie_break="first")


def explained(nodes, pods, pod, **profile):
    """The explanation of a pod that is put into this cluster and waits."""
    cluster = a_cluster(nodes, [*pods, pod])
    return explain_now(a_scheduler(cluster, **profile), len(cluster.pods) - 1)


def test_scores_add_up_to_the_total_that_the_scheduler_compares():
    nodes = [a_node(zone=z, cpu_m=c) for z, c in (("a", 4000), ("b", 8000), ("c", 2000))]
    found = explained(nodes, [bound(a_web(), 0), bound(a_web(), 1)], a_web(spread=spread(2)))
    assert len(found.feasible) == 3
    for node in found.feasible:
        assert sum(score.weighted for score in node.scores) == node.total
    totals = [node.total for node in found.feasible]
    assert totals == sorted(totals, reverse=True)
    lead = sum(points for _, points in found.choice.lead)
    assert lead == totals[0] - next(total for total in totals if total != totals[0])


def test_all_filters_are_asked_not_only_the_first_that_refuses():
    node = a_node(unschedulable=True, cpu_m=100, taints=(Taint("a", "NoSchedule"),))
    found = explained([node], [], a_pod(cpu_m=200))
    plugins = [refusal.plugin for refusal in found.closest.refusals]
    assert plugins == ["NodeUnschedulable", "TaintToleration", "NodeResourcesFit"]
    assert "node(s) were unschedulable" in found.message


def test_the_closest_node_needs_the_fewest_changes_then_the_smallest():
    nodes = [
        a_node("two-changes", unschedulable=True, cpu_m=900),  # two filters
        a_node("far", cpu_m=500),  # lacks 500 of 500
        a_node("near", cpu_m=900),  # lacks 100 of 900
    ]
    found = explained(nodes, [], a_pod(cpu_m=1000))
    assert [node.node for node in found.nodes] == ["near", "far", "two-changes"]
    assert found.closest.change == "lacks 100m cpu (asked 1, free 900m of 900m)"


def test_nodes_beyond_enough_feasible_ones_are_not_looked_at():
    found = explained([a_node() for _ in range(300)], [], a_pod(cpu_m=100))
    # 300 nodes: 50 - 300 // 125 = 48 percent, 144 nodes
    assert (found.looked.wanted, found.looked.examined) == (144, 144)
    verdicts = [node.verdict for node in found.nodes]
    assert (verdicts.count("fits"), verdicts.count("not looked at")) == (144, 156)
    text = found.report()
    assert "144 of 300 nodes were looked at, from place 0" in text
    assert "node-0 and 143 more" in text, "all 144 have the same scores"
    assert "--all shows each node" in text
    assert "--all" not in found.report(all_nodes=True)


def test_many_nodes_share_a_line_where_their_answer_is_the_same():
    nodes = [*[a_node(cpu_m=900)] * 15, *[a_node(cpu_m=500)] * 10]
    text = explained(nodes, [], a_pod(cpu_m=1000)).report()
    rows = [line.split("  ")[1] for line in text.splitlines() if "NodeResourcesFit" in line]
    assert rows == ["node-0 and 14 more", "node-15 and 9 more"]


def test_up_to_twenty_nodes_have_a_line_each():
    text = explained([a_node(cpu_m=900)] * 20, [], a_pod(cpu_m=1000)).report()
    assert sum("NodeResourcesFit  un" in line for line in text.splitlines()) == 20
    assert "--all" not in text


def test_kinds_of_answers_beyond_twenty_are_counted_by_their_nodes():
    nodes = [a_node(cpu_m=900 - 10 * (n // 2)) for n in range(60)]  # 30 kinds of two nodes each
    text = explained(nodes, [], a_pod(cpu_m=1000)).report()
    assert "... and 20 more; --all shows each node" in text


def test_nodes_that_a_pre_filter_leaves_out_are_told_apart():
    term = NodeSelectorTerm(fields=(Requirement("metadata.name", "In", ("node-1",)),))
    pod = a_pod(required_affinity=(term,))
    found = explained([a_node(), a_node()], [], pod)
    assert [(node.node, node.verdict) for node in found.nodes] == [
        ("node-1", "fits"),
        ("node-0", "left out"),
    ]
    assert found.nodes[1].change == "does not meet metadata.name=node-1 (it has 'node-0')"
    assert "1 of 2 nodes left out before any filter, 1 was looked at; one takes it." in str(found)


def test_a_pod_may_leave_out_all_nodes():
    term = NodeSelectorTerm(fields=(Requirement("metadata.name", "In", ("elsewhere",)),))
    found = explained([a_node(), a_node()], [], a_pod(required_affinity=(term,)))
    assert "All 2 nodes were left out before any filter." in str(found)


def test_ties_are_named():
    found = explained([a_node(), a_node(), a_node(cpu_m=3000)], [], a_pod(cpu_m=1000))
    assert (found.node, found.choice.tied, found.choice.runner_up) == (
        "node-0",
        ("node-1",),
        "node-2",
    )
    assert "2 nodes have this score; this one is looked at first" in str(found)


def test_no_scores_no_comparison():
    found = explained([a_node(), a_node()], [], a_pod(), scores=())
    assert found.node == "node-0"
    assert found.feasible[0].scores == ()


def test_no_node_at_all_is_said():
    found = explained([], [], a_pod())
    assert found.message == "no nodes available to schedule pods"
    assert "There is no node at all." in str(found)
    assert found.closest is None


def test_preemption_names_victims_and_why_that_node():
    low, high = a_pod(cpu_m=4000, priority=1), a_pod(cpu_m=4000, priority=5)
    cluster = a_cluster([a_node(), a_node()], [bound(high, 0), bound(low, 1)])
    pod = put_pod(cluster, a_pod(cpu_m=1000, priority=10))
    scheduler = a_scheduler(cluster)
    scheduler.queue.add(pod, cluster.pod_template(pod), 0)
    found = explain_now(scheduler, pod)
    assert found.eviction.node == "node-1"
    assert found.eviction.victims == (("default/pod-1", 1),)
    assert found.eviction.because == "its most important victim matters the least"
    assert "Its victims: default/pod-1 (priority 1)." in str(found)


@pytest.mark.parametrize(
    ("tie_break", "said"), [("first", "it comes first"), ("random", "it was picked at random")]
)
def test_a_tie_of_candidates_is_told_as_it_was_broken(tie_break, said):
    low = a_pod(cpu_m=4000, priority=1)
    cluster = a_cluster([a_node(), a_node()], [bound(low, 0), bound(low, 1)])
    pod = put_pod(cluster, a_pod(cpu_m=1000, priority=10))
    scheduler = a_scheduler(cluster)
    scheduler.tie_break = tie_break
    scheduler.queue.add(pod, cluster.pod_template(pod), 0)
    text = str(explain_now(scheduler, pod))
    assert f"one of 2 candidates: all are as good, and {said}." in " ".join(text.split())


def test_asking_changes_nothing():
    cluster = a_cluster([a_node(cpu_m=500), a_node()], [bound(a_web(), 0), a_web()])
    scheduler = a_scheduler(cluster)
    before = explain_now(scheduler, 1)
    assert explain_now(scheduler, 1) == before
    cluster.check()


def test_room_kept_for_a_nominated_pod_is_named():
    cluster = a_cluster([a_node(cpu_m=1000)], [a_pod(cpu_m=800), a_pod(cpu_m=400)])
    scheduler = a_scheduler(cluster)
    scheduler.nominate(0, 0)
    found = explain_now(scheduler, 1)
    assert found.closest.change == "keeps room for default/pod-0: Insufficient cpu"


def test_a_plugin_that_does_not_explain_itself_is_quoted():
    class Never:
        name = "Never"
        reads = NodeName.reads

        def prefilter(self, pod, cluster):
            return None

        def filter(self, pod, cluster, nodes, state):
            return (nodes >= 0).astype("int32")

        def verdict(self, why, cluster):
            return NodeUnschedulable().verdict(why, cluster)

    found = explained([a_node()], [], a_pod(), filters=(Never(),))
    assert found.closest.change == "node(s) were unschedulable"


def test_a_plugin_of_the_user_explains_itself():
    class Picky:
        def filter(self, pod, cluster, nodes):
            return nodes < 0

        def shortfall(self, pod, cluster, node, state):
            return Shortfall(f"is node {node}, and none will do")

    found = explained([a_node()], [], a_pod(), filters=(adapted(Picky()),))
    assert found.closest.change == "is node 0, and none will do"


def test_the_first_refusal_is_the_one_that_the_scheduler_counts():
    nodes = [
        a_node(unschedulable=True, cpu_m=100),
        a_node(cpu_m=100),
        a_node(cpu_m=100, max_pods=0),
    ]
    cluster = a_cluster(nodes, [a_pod(cpu_m=200)])
    scheduler = a_scheduler(cluster)
    evaluation: Evaluation = scheduler.evaluate(cluster.pod_template(0))
    expected = {cluster.nodes.names[n]: refusal for n, refusal in evaluation.verdicts().items()}
    profile: Profile = evaluation.profile
    assert profile.filters
    for node in explain_now(scheduler, 0).nodes:
        plugin, verdict = expected[node.node]
        first = node.refusals[0]
        assert (first.plugin, first.reasons) == (plugin, verdict.reasons)


# In a run

SCENARIO = """\
apiVersion: sim/v1
kind: Scenario
metadata: {name: small}
run: {duration: 10m, seed: 3}
nodes:
  - {pool: general, count: 3, capacity: {cpu: 4, memory: 8Gi}, zones: [a, b, c]}
manifests: [pods.yaml]
arrivals:
  - {name: job, every: 2m, count: 2, runtime: 1m, template: job.yaml}
"""
PODS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", resources: {requests: {cpu: 2500m}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: pinned}
spec:
  nodeName: general-0
  containers: [{name: a, image: "a:1"}]
"""
JOB = """\
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  priority: 10
  containers: [{name: a, image: "a:1", resources: {requests: {cpu: 3}}}]
"""


@pytest.fixture
def small(tmp_path):
    """Three nodes of 4 cores, four pods of 2.5 cores, and a job of 3 each two minutes."""
    (tmp_path / "pods.yaml").write_text(PODS)
    (tmp_path / "job.yaml").write_text(JOB)
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


def call(*words):
    return CliRunner().invoke(main, ["explain", *map(str, words)])


@pytest.fixture
def result(small):
    return sim.run(sim.load(small))


def test_the_explained_node_is_the_one_that_the_pod_got(result):
    pods = result.pods[result.pods["pod"] != "pinned"]
    assert len(pods) >= 6
    for row in pods.itertuples():
        found = result.explain(f"{row.namespace}/{row.pod}")
        assert found.node == row.node
        if row.node:
            assert found.at_ms == pytest.approx(row.scheduled_s * 1000)
            assert found.nodes[0].node == row.node


def test_a_pod_that_preempted_tells_whom_before_it_was_placed(result):
    evicted = result.events[result.events["reason"] == "Preempted"]["object"].tolist()
    assert evicted, "the jobs find no room without preemption: 4 - 2.5 < 3"
    jobs = result.pods[result.pods["workload"].str.contains("job")]["pod"].tolist()
    told = [pod for job in jobs for t in result.explain(job).before for pod in t.evicted]
    assert sorted(f"Pod/{pod}" for pod in told) == sorted(evicted)


def test_a_waiting_pod_is_asked_afresh_and_the_run_is_not_touched(result, small):
    waiting = result.pods[result.pods["node"] == ""]["pod"].tolist()[0]
    found = result.explain(waiting, at="9m")
    assert (found.asked_afresh, found.at_ms, found.node) == (True, 540_000, "")
    assert found.closest.change.startswith("lacks ")
    assert sim.run(sim.load(small)).info.event_hash == result.info.event_hash


def test_a_pod_bound_earlier_is_explained_by_the_attempt_that_bound_it(result):
    placed = result.pods[result.pods["workload"] == "Deployment/web"].iloc[0]
    found = result.explain(placed["pod"], at="1m")
    assert not found.asked_afresh
    assert found.at_ms == pytest.approx(placed["scheduled_s"] * 1000)


def test_actions_of_the_caller_are_done_again(small):
    from sim.actions import CordonNodes, Timed

    actions = [Timed(0, CordonNodes((0, 1), True))]
    result = sim.run(sim.load(small), actions=iter(actions))
    waiting = result.pods[result.pods["node"] == ""]["pod"].tolist()[0]
    changes = [node.change for node in result.explain(waiting, at="1m").nodes]
    assert sum("is cordoned" in change for change in changes) == 2


def test_a_result_from_a_directory_says_how_to_get_an_explanation(result, tmp_path):
    result.save(tmp_path / "out", figures=False)
    with pytest.raises(SimError, match=r"python -m sim explain SCENARIO --pod web-1 --seed 3"):
        Result.load(tmp_path / "out").explain("web-1")


def test_the_command_prints_the_same_as_the_result(result, small):
    pod = result.pods[result.pods["workload"] == "Deployment/web"]["pod"].tolist()[0]
    printed = call(small, "--pod", pod)
    assert (printed.exit_code, printed.stdout) == (0, result.explain(pod).report())
    document = json.loads(call(small, "--pod", pod, "--format", "json").stdout)
    assert document == json.loads(result.explain(pod).report("json"))
    assert document["at_s"] == pytest.approx(result.explain(pod).at_ms / 1000)
    assert document["nodes"][0]["node"] == document["node"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pod", "pinned"], "default/pinned named its node itself, general-0"),
        (["--pod", "web"], "'web' may be one of "),
        (["--pod", "shop/web"], "'shop/web' may be one of "),
        (["--pod", "pined"], "no pod 'pined' in this run. Did you mean 'pinned'?"),
        (["--pod", "default/web"], "no pod 'default/web' in this run."),
        (["--pod", "web", "--at", "11m"], "at: got 11m; expected at most 10m, the run's end"),
        (["--pod", "web", "--at", "soon"], "at: got 'soon'; expected a duration such as"),
    ],
)
def test_what_cannot_be_explained_is_one_message_and_exit_code_2(small, words, message):
    printed = call(small, *words)
    assert printed.exit_code == 2
    assert printed.stderr.startswith(message)
    assert printed.stdout == ""


def test_a_pod_that_does_not_exist_at_the_moment_says_when_it_does(result, small):
    job = result.pods[result.pods["workload"].str.contains("job")].iloc[-1]
    early = call(small, "--pod", job["pod"], "--at", "1s")
    assert early.exit_code == 2
    assert "does not exist yet at 1s; it is created at" in early.stderr
    evicted = result.events[result.events["reason"] == "Preempted"]["object"].tolist()[0]
    late = call(small, "--pod", evicted.removeprefix("Pod/"), "--at", "10m")
    assert late.exit_code == 2
    assert "no longer exists at 10m; it was there from" in late.stderr


def test_with_a_moment_only_the_pods_that_exist_then_are_meant(small):
    small.with_name("pods.yaml").write_text(PODS.replace("replicas: 4", "replicas: 1"))
    text = SCENARIO + "faults:\n  - {at: 1m, pool: general, down: 8m}\n"
    small.write_text(text.replace("duration: 10m", "duration: 20m"))
    assert "may be one of" in call(small, "--pod", "web").stderr
    printed = call(small, "--pod", "shop/Deployment/web", "--at", "30s")
    assert printed.exit_code == 0, printed.stderr


def test_gated_pods_say_so(small):
    gated = "metadata: {name: held}\nspec:\n  schedulingGates: [{name: example.com/quota}]\n"
    one = "apiVersion: v1\nkind: Pod\n" + gated + '  containers: [{name: a, image: "a:1"}]\n'
    small.with_name("pods.yaml").write_text(one)
    printed = call(small, "--pod", "held")
    assert "It is not tried while it is gated by example.com/quota" in printed.stdout
    assert "not tried so far" in printed.stdout


def test_words_of_a_message_are_unambiguous_for_the_only_pod_of_a_workload(small):
    small.with_name("pods.yaml").write_text(PODS.replace("replicas: 4", "replicas: 1"))
    printed = call(small, "--pod", "web")
    assert printed.exit_code == 0
    assert printed.stdout.startswith("Why shop/web-")


def test_hostnames_count_as_topology():
    term = PodAffinityTerm(HOSTNAME, WEB)
    pod = a_pod(pod_affinity=PodAffinity(anti_required=(term,)))
    found = explained([a_node("n"), a_node("m")], [bound(a_web(), 0)], pod)
    assert (found.node, found.nodes[1].change) == (
        "m",
        f"{HOSTNAME}=n has default/pod-0, which its anti-affinity to app=web avoids",
    )
