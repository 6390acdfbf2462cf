"""PodTopologySpread: who may take the next pod, and who should, with the arithmetic."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from sim.extend import SKIP, Code
from sim.labels import Requirement, Selector
from sim.plugins.pod_topology_spread import PodTopologySpread
from sim.podspec import NodeSelectorTerm, SpreadConstraint, Taint
from sim.testing import HOSTNAME, ZONE, a_cluster, a_node, a_pod, bound
from sim.workloads import ReplicaSet, Service

WEB = Selector.of({"app": "web"})
LABELS = {"app": "web"}
HARD = SpreadConstraint(ZONE, 1, "DoNotSchedule", WEB)
SOFT = replace(HARD, when_unsatisfiable="ScheduleAnyway")
SKEWED = (Code.UNSCHEDULABLE, "node(s) didn't match pod topology spread constraints")
NO_KEY = (Code.UNRESOLVABLE, SKEWED[1] + " (missing required label)")


def web(*spread, **spec):
    return a_pod(labels=LABELS, spread=spread, **spec)


def refusals(cluster, pod, plugin=None):
    plugin = plugin or PodTopologySpread()
    template, nodes = cluster.template(pod), cluster.nodes.ids()
    state = plugin.prefilter(template, cluster)
    if state is SKIP:
        return SKIP
    found = []
    for why in plugin.filter(template, cluster, nodes, state).tolist():
        verdict = plugin.verdict(why, cluster) if why else None
        found.append(verdict and (verdict.code, *verdict.reasons))
    return found


def scores(cluster, pod, plugin=None, nodes=None):
    """(raw, normalised), SKIP when the plugin has nothing to say."""
    plugin = plugin or PodTopologySpread()
    template = cluster.template(pod)
    nodes = cluster.nodes.ids() if nodes is None else cluster.nodes.ids()[nodes]
    state = plugin.prescore(template, cluster, nodes)
    if state is SKIP:
        return SKIP
    raw = plugin.score(template, cluster, nodes, state)
    return raw.tolist(), plugin.normalize(raw).tolist()


def three_zones(*counts, labels=None):
    """One node in each of the zones a, b, c, with so many pods of the app on it."""
    nodes = [a_node(zone=zone) for zone, _ in zip("abc", counts, strict=False)]
    pods = [
        bound(a_pod(labels=labels or LABELS), n) for n, k in enumerate(counts) for _ in range(k)
    ]
    return a_cluster(nodes, pods)


@pytest.mark.parametrize(
    ("counts", "rule", "expected"),
    [
        # skew after placing = count + 1 - min: 2, 1, 1
        pytest.param((1, 0, 0), HARD, [SKEWED, None, None], id="the fuller zone waits"),
        pytest.param((1, 0, 0), replace(HARD, max_skew=2), [None] * 3, id="maxSkew 2 allows it"),
        # 3 zones known, 4 wanted: min counts as 0, so 1 + 1 - 0 > 1
        pytest.param((1, 1, 1), replace(HARD, min_domains=4), [SKEWED] * 3, id="too few domains"),
        pytest.param((1, 1, 1), replace(HARD, min_domains=3), [None] * 3, id="enough domains"),
        # the empty selector counts nothing, but picks the pod itself: 0 + 1 - 0
        pytest.param(
            (5, 0, 0), replace(HARD, selector=Selector()), [None] * 3, id="empty selector"
        ),
        # no selector picks nothing, not even the pod itself
        pytest.param((5, 0, 0), replace(HARD, selector=None), [None] * 3, id="no selector"),
        # a selector that does not pick the pod: 2 + 0 - 0 > 1, 1 + 0 - 0
        pytest.param(
            (2, 1, 0),
            replace(HARD, selector=Selector.of({"app": "db"})),
            [SKEWED, None, None],
            id="other pods' spread, without the pod itself",
        ),
    ],
)
def test_hard_constraint(counts, rule, expected):
    labels = {"app": "db"} if rule.selector == Selector.of({"app": "db"}) else LABELS
    assert refusals(three_zones(*counts, labels=labels), web(rule)) == expected


def test_a_node_without_the_key_is_unresolvable():
    cluster = a_cluster([a_node(zone="a"), a_node()])
    assert refusals(cluster, web(HARD)) == [None, NO_KEY]


def test_the_first_constraint_that_is_not_met_says_why():
    nodes = [a_node(zone="a"), a_node(zone="b", labels={"rack": "1"})]
    cluster = a_cluster(nodes, [bound(a_pod(labels=LABELS), 1)])
    rack = replace(HARD, topology_key="rack")
    # node-0 lacks the rack; only node-1 has all keys, so zone b alone counts: 1 + 1 - 1
    assert refusals(cluster, web(HARD, rack)) == [NO_KEY, None]


def test_pods_of_other_namespaces_do_not_count():
    other = bound(a_pod(labels=LABELS, namespace="other"), 0)
    cluster = a_cluster([a_node(zone="a"), a_node(zone="b")], [other])
    assert refusals(cluster, web(HARD)) == [None, None]


def test_pods_being_deleted_do_not_count():
    cluster = three_zones(1, 0)
    assert refusals(cluster, web(HARD)) == [SKEWED, None]
    cluster.delete_pod(0)
    assert refusals(cluster, web(HARD)) == [None, None]
    cluster.remove_pod(0)
    cluster.check()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # zone b may not be used, so it does not count: min is 1, 1 + 1 - 1 = 1
        pytest.param("Honor", [None, None], id="honor: zones out of reach do not count"),
        # min is 0 in zone b: 1 + 1 - 0 = 2
        pytest.param("Ignore", [SKEWED, None], id="ignore: they do"),
    ],
)
def test_node_affinity_policy(policy, expected):
    cluster = three_zones(1, 0)
    rule = replace(HARD, node_affinity_policy=policy)
    assert refusals(cluster, web(rule, node_selector={ZONE: "a"})) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("Honor", [None, None], id="honor: tainted zones do not count"),
        pytest.param("Ignore", [SKEWED, None], id="ignore: they do"),
    ],
)
def test_node_taints_policy(policy, expected):
    nodes = [a_node(zone="a"), a_node(zone="b", taints=(Taint("x", "NoSchedule"),))]
    cluster = a_cluster(nodes, [bound(a_pod(labels=LABELS), 0)])
    assert refusals(cluster, web(replace(HARD, node_taints_policy=policy))) == expected


def test_match_label_keys_narrow_to_the_same_version():
    old = bound(a_pod(labels={**LABELS, "v": "1"}), 0)
    cluster = a_cluster([a_node(zone="a"), a_node(zone="b")], [old])
    rule = replace(HARD, match_label_keys=("v", "absent"))
    new = a_pod(labels={**LABELS, "v": "2"}, spread=(rule,))
    same = a_pod(labels={**LABELS, "v": "1"}, spread=(rule,))
    assert refusals(cluster, new) == [None, None]
    assert refusals(cluster, same) == [SKEWED, None]


def test_soft_constraint_prefers_the_emptier_zone():
    # weight ln(3 zones + 2); raw = round(count * w + 0): 2w = 3.2, w = 1.6, 0 -> 3, 2, 0
    assert [round(n * log(5)) for n in (2, 1, 0)] == [3, 2, 0]
    # 100 * (3 + 0 - raw) / 3
    assert scores(three_zones(2, 1, 0), web(SOFT)) == ([3, 2, 0], [0, 33, 100])


def test_max_skew_flattens_the_difference():
    # raw = round(count * ln 5 + 4): 7, 6, 4; 100 * (7 + 4 - raw) / 7
    rule = replace(SOFT, max_skew=5)
    assert scores(three_zones(2, 1, 0), web(rule)) == ([7, 6, 4], [57, 71, 100])


def test_nodes_without_a_key_score_zero():
    cluster = a_cluster([a_node(zone="a"), a_node()], [bound(a_pod(labels=LABELS), 0)])
    # only zone a is ranked: raw = round(1 * ln 3) = 1; (1 + 1 - 1) * 100 / 1
    assert scores(cluster, web(SOFT)) == ([1, -1], [100, 0])


def test_no_pods_anywhere_scores_everyone_100():
    assert scores(three_zones(0, 0, 0), web(SOFT)) == ([0, 0, 0], [100, 100, 100])


def test_host_names_count_the_pods_of_the_node():
    rule = replace(SOFT, topology_key=HOSTNAME)
    # two nodes: w = ln 4 = 1.386; 3w = 4.16 -> 4, 1w -> 1; (4 + 1 - raw) * 100 / 4
    assert scores(three_zones(3, 1), web(rule)) == ([4, 1], [25, 100])


def test_counts_run_over_nodes_that_are_not_feasible():
    nodes = [a_node(zone="a"), a_node(zone="a"), a_node(zone="b")]
    cluster = a_cluster(nodes, [bound(a_pod(labels=LABELS), 1)] * 2)
    # node-1 is not asked, but its two pods count for zone a: round(2 ln 4) = 3, 0
    assert scores(cluster, web(SOFT), nodes=[0, 2]) == ([3, 0], [0, 100])


def a_service(selector):
    return Service("default", "web", selector)


def test_system_defaults_spread_what_a_service_selects():
    cluster = three_zones(2, 1, 0)
    assert scores(cluster, web()) is SKIP
    cluster.services["default", "web"] = a_service(WEB)
    # hostname: count * ln 5 + 2; zone: count * ln 5 + 4: 12.44, 9.22, 6; (12 + 6 - raw)*100/12
    assert scores(cluster, web()) == ([12, 9, 6], [50, 75, 100])
    assert refusals(cluster, web()) is SKIP
    del cluster.services["default", "web"]
    assert scores(cluster, web()) is SKIP


def test_system_defaults_ask_no_label_of_the_nodes():
    cluster = a_cluster([a_node(zone="a"), a_node()], [bound(a_pod(labels=LABELS), 0)])
    cluster.services["default", "web"] = a_service(WEB)
    # values seen: a and none, two: w = ln 4 for both keys.
    # node-0: 1.39 + 2 + 1.39 + 4 = 8.77 -> 9; node-1, host name only: 0 + 2 = 2
    assert scores(cluster, web()) == ([9, 2], [22, 100])


def test_a_missing_label_reads_as_the_empty_value():
    pods = [bound(a_pod(labels=LABELS), 1)] * 3
    cluster = a_cluster([a_node(labels={ZONE: ""}), a_node(), a_node(zone="a")], pods)
    cluster.services["default", "web"] = a_service(WEB)
    # values "" and a: zone w = ln 4; node-0 shares the value "" with node-1, which lacks the label:
    # host 0 + 2, zone 3 ln 4 + 4 = 8.16 -> 10; node-1: 3 ln 5 + 2 = 6.83 -> 7; node-2: 2 + 4
    assert scores(cluster, web())[0] == [10, 7, 6]


def test_the_owner_s_selector_counts_as_well():
    cluster = three_zones(1, 0)
    labels = {"app": "web", "hash": "1"}
    selector = Selector.of({"hash": "1"})
    cluster.put_replicaset(ReplicaSet("default", "web-1", 2, selector, a_pod(labels=labels)))
    owner = cluster.owner("ReplicaSet", "default", "web-1")
    first, second = (
        cluster.create_pod(cluster.template(a_pod(labels=labels)), owner) for _ in range(2)
    )
    cluster.bind(first, 1)
    plugin = PodTopologySpread()
    template = cluster.pod_template(second)
    state = plugin.prescore(template, cluster, cluster.nodes.ids())
    raw = plugin.score(template, cluster, cluster.nodes.ids(), state)
    # only the ReplicaSet's own pod on node-1: 1.39 * 2 + 6 = 8.77 -> 9 against 6
    assert raw.tolist() == [6, 9]


def test_defaults_of_the_profile_can_be_hard():
    plugin = PodTopologySpread((replace(HARD, selector=Selector()),), system_defaulted=False)
    cluster = three_zones(1, 0)
    assert refusals(cluster, web(), plugin) is SKIP
    cluster.services["default", "web"] = a_service(WEB)
    assert refusals(cluster, web(), plugin) == [SKEWED, None]


def test_own_constraints_replace_the_defaults():
    cluster = three_zones(2, 1, 0)
    cluster.services["default", "web"] = a_service(WEB)
    assert scores(cluster, web(HARD)) is SKIP  # it has constraints, none of them soft


def test_required_affinity_limits_what_is_counted():
    ssd = NodeSelectorTerm((Requirement("disk", "In", ("ssd",)),))
    nodes = [a_node(zone="a", labels={"disk": "ssd"}), a_node(zone="b")]
    cluster = a_cluster(nodes, [bound(a_pod(labels=LABELS), 0)])
    # zone b is out of reach and unknown, so min is 1 of zone a
    assert refusals(cluster, web(HARD, required_affinity=(ssd,))) == [None, None]
