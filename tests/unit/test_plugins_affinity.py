"""InterPodAffinity: verdicts, scores and hints, by hand and beside plain loops over all pods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog import default_profile
from sim.evaluation import Evaluation
from sim.events import Action, Event, Kind, NodeFacts, PodFacts
from sim.extend import SKIP, Code
from sim.labels import Requirement, Selector
from sim.plugins.inter_pod_affinity import InterPodAffinity
from sim.podspec import PodAffinity, PodAffinityTerm, WeightedPodAffinityTerm
from sim.tables import UNBOUND
from sim.testing import (
    HOSTNAME,
    ZONE,
    a_cluster,
    a_node,
    a_pod,
    bound,
    check_filter,
    check_score,
    put_pod,
)
from tests.unit.affinity import AFFINITY, ANTI, NODES, OTHERS, PODS, TEAMS, World

WEB, DB = {"app": "web"}, {"app": "db"}
IN_ZONE = PodAffinityTerm(ZONE, Selector.of(WEB))
ON_NODE = replace(IN_ZONE, topology_key=HOSTNAME)
CODES = {AFFINITY: Code.UNRESOLVABLE, ANTI: Code.UNSCHEDULABLE, OTHERS: Code.UNSCHEDULABLE}


def wish(weight, term=IN_ZONE):
    return WeightedPodAffinityTerm(weight, term)


def pod_with(labels=DB, namespace="default", **rules):
    rules = {side: tuple(terms) for side, terms in rules.items()}
    return a_pod(labels=labels, namespace=namespace, pod_affinity=PodAffinity(**rules))


def web(**rules):
    return pod_with(WEB, **rules) if rules else a_pod(labels=WEB)


def zones(*pods, zones="aabc"):
    """Nodes 0 and 1 in zone a, 2 in b, 3 in c (a space: in none)."""
    return a_cluster([a_node(zone=zone.strip()) for zone in zones], pods)


def refusals(cluster, pod, plugin=None):
    """Per node the reason or None; SKIP when the plugin has nothing to say."""
    plugin = plugin or InterPodAffinity()
    template, nodes = cluster.template(pod), np.arange(len(cluster.nodes))
    state = plugin.prefilter(template, cluster)
    return SKIP if state is SKIP else said(plugin, template, cluster, nodes, state)


def said(plugin, template, cluster, nodes, state):
    found = []
    for why in plugin.filter(template, cluster, nodes, state).tolist():
        verdict = plugin.verdict(why, cluster) if why else None
        assert verdict is None or verdict.code == CODES[verdict.reasons[0]]
        found.append(verdict and verdict.reasons[0])
    return found


def scores(cluster, pod, plugin=None, nodes=None):
    """(raw, normalised), SKIP when the plugin has nothing to say."""
    plugin = plugin or InterPodAffinity()
    template = cluster.template(pod)
    nodes = np.arange(len(cluster.nodes)) if nodes is None else np.array(nodes)
    state = plugin.prescore(template, cluster, nodes)
    if state is SKIP:
        return SKIP
    raw = plugin.score(template, cluster, nodes, state)
    return raw.tolist(), plugin.normalize(raw).tolist()


# --- filter

NO, FAR, KEPT = AFFINITY, ANTI, OTHERS


@pytest.mark.parametrize(
    ("cluster", "pod", "expected"),
    [
        pytest.param(
            zones(bound(web(), 0)),
            pod_with(required=[IN_ZONE]),
            [None, None, NO, NO],
            id="the zone of a pod that the term picks",
        ),
        pytest.param(
            zones(bound(web(), 0)),
            pod_with(required=[ON_NODE]),
            [None, NO, NO, NO],
            id="the node of a pod that the term picks",
        ),
        pytest.param(
            zones(), pod_with(required=[IN_ZONE]), [NO] * 4, id="nobody to be near, and not itself"
        ),
        pytest.param(
            zones(zones="ab "),
            web(required=[IN_ZONE]),
            [None, None, NO],
            id="the first of a group goes to any node with the key",
        ),
        pytest.param(
            zones(bound(web(), 2), zones="ab "),
            web(required=[IN_ZONE]),
            [None, None, NO],
            id="a pod of the group on a node without the key does not found it",
        ),
        pytest.param(
            zones(bound(web(), 3)),
            web(required=[IN_ZONE]),
            [NO, NO, NO, None],
            id="the second of a group follows the first",
        ),
        pytest.param(
            # the pod on node 0 meets one term, the one on node 2 both
            zones(bound(web(), 0), bound(a_pod(labels={**WEB, **{"x": "y"}}), 2)),
            pod_with(required=[IN_ZONE, PodAffinityTerm(HOSTNAME, Selector.of({"x": "y"}))]),
            [NO, NO, None, NO],
            id="one pod has to meet all terms",
        ),
        pytest.param(
            # pod-0 and pod-1 each meet one of two terms of one key: nobody meets both
            zones(bound(web(), 0), bound(a_pod(labels={"x": "y"}), 0)),
            pod_with(required=[IN_ZONE, PodAffinityTerm(ZONE, Selector.of({"x": "y"}))]),
            [NO] * 4,
            id="two pods together do not",
        ),
        pytest.param(
            zones(bound(web(), 0)),
            pod_with(anti_required=[IN_ZONE]),
            [FAR, FAR, None, None],
            id="away from a zone",
        ),
        pytest.param(
            zones(bound(web(), 0), bound(a_pod(labels={"x": "y"}), 3)),
            pod_with(anti_required=[IN_ZONE, PodAffinityTerm(ZONE, Selector.of({"x": "y"}))]),
            [FAR, FAR, None, FAR],
            id="each anti-affinity term stands for itself",
        ),
        pytest.param(
            zones(bound(pod_with(anti_required=[IN_ZONE]), 2)),
            web(),
            [None, None, KEPT, None],
            id="a pod that is there keeps others off its zone",
        ),
        pytest.param(
            zones(bound(web(anti_required=[ON_NODE]), 1)),
            web(anti_required=[ON_NODE]),
            [None, FAR, None, None],
            id="own anti-affinity is named before that of others",
        ),
        pytest.param(
            zones(bound(pod_with({**WEB, **{"x": "y"}}, anti_required=[IN_ZONE]), 0)),
            web(
                required=[IN_ZONE],
                anti_required=[PodAffinityTerm(HOSTNAME, Selector.of({"x": "y"}))],
            ),
            [FAR, KEPT, NO, NO],
            id="affinity, then own anti-affinity, then that of others",
        ),
        pytest.param(zones(bound(web(), 0)), web(), SKIP, id="nothing is required of anyone"),
        pytest.param(
            zones(bound(pod_with(anti_required=[IN_ZONE]), 1), zones="a "),
            web(),
            SKIP,
            id="anti-affinity of a pod on a node without the key keeps nobody away",
        ),
        pytest.param(
            zones(bound(web(), 0)),
            pod_with(preferred=[wish(1)], anti_preferred=[wish(1)]),
            SKIP,
            id="preferences refuse nothing",
        ),
    ],
)
def test_nodes_are_refused_for_the_first_rule_they_break(cluster, pod, expected):
    assert refusals(cluster, pod) == expected
    check_filter(InterPodAffinity(), pod, cluster)


TEAM_X = Selector.of({"team": "x"})
NOT_Y = Selector((Requirement("team", "NotIn", ("y",)),))


@pytest.mark.parametrize(
    ("there", "term", "picked"),
    [
        pytest.param("default", {}, True, id="its own namespace without any"),
        pytest.param("shop", {}, False, id="and no other"),
        pytest.param("shop", {"namespaces": ("shop",)}, True, id="the one it names"),
        pytest.param("default", {"namespaces": ("shop",)}, False, id="then not its own"),
        pytest.param("shop", {"namespace_selector": Selector()}, True, id="empty: every one"),
        pytest.param("nowhere", {"namespace_selector": Selector()}, True, id="also unknown ones"),
        pytest.param("shop", {"namespace_selector": TEAM_X}, False, id="selected by label"),
        pytest.param("x", {"namespace_selector": TEAM_X}, True, id="labels match"),
        pytest.param(
            "shop", {"namespaces": ("shop",), "namespace_selector": TEAM_X}, True, id="or named"
        ),
        pytest.param("default", {"namespace_selector": NOT_Y}, True, id="NotIn without the label"),
    ],
)
def test_a_term_reaches_these_namespaces_in_both_directions(there, term, picked):
    term = replace(IN_ZONE, **term)
    picks = a_cluster([a_node(zone="a")], [bound(a_pod(labels=WEB, namespace=there), 0)])
    kept = a_cluster([a_node(zone="a")], [bound(pod_with(anti_required=[term]), 0)])
    for cluster in (picks, kept):
        cluster.namespaces["default"] = {}
        cluster.namespaces["shop"] = {"team": "y"}
        cluster.namespaces["x"] = {"team": "x"}
    assert refusals(picks, pod_with(anti_required=[term])) == [ANTI if picked else None]
    incoming = a_pod(labels=WEB, namespace=there)
    assert refusals(kept, incoming) == ([OTHERS] if picked else SKIP)


def test_a_namespace_without_object_is_listed_by_no_selector_but_has_no_labels_itself():
    # mergeAffinityTermNamespacesIfNotEmpty lists Namespaces, GetNamespaceLabelsSnapshot takes none
    term = replace(IN_ZONE, namespace_selector=NOT_Y)
    there = a_cluster([a_node(zone="a")], [bound(a_pod(labels=WEB, namespace="ghost"), 0)])
    assert refusals(there, pod_with(anti_required=[term])) == [None]
    kept = a_cluster([a_node(zone="a")], [bound(pod_with(anti_required=[term]), 0)])
    assert refusals(kept, a_pod(labels=WEB, namespace="ghost")) == [OTHERS]


def test_a_pod_being_deleted_still_keeps_others_away():
    cluster = zones(bound(web(anti_required=[IN_ZONE]), 0))
    cluster.delete_pod(0)
    assert refusals(cluster, web()) == [OTHERS, OTHERS, None, None]


# --- dry runs


def test_supposing_a_pod_away_lets_its_anti_affinity_go():
    cluster = zones(bound(pod_with(anti_required=[IN_ZONE]), 0))
    plugin, template = InterPodAffinity(), cluster.template(web())
    state = plugin.prefilter(template, cluster)
    gone = plugin.assume(state, template, cluster, 0, 0, -1)
    nodes = np.arange(4)
    assert said(plugin, template, cluster, nodes, gone) == [None] * 4
    assert said(plugin, template, cluster, nodes, state) == [OTHERS, OTHERS, None, None]


def test_supposing_the_last_of_a_group_away_makes_the_next_one_the_first():
    cluster = zones(bound(web(), 3))
    plugin, template = InterPodAffinity(), cluster.template(web(required=[IN_ZONE]))
    state = plugin.prefilter(template, cluster)
    gone = plugin.assume(state, template, cluster, 0, 3, -1)
    assert said(plugin, template, cluster, np.arange(4), gone) == [None] * 4


def test_a_pod_supposed_away_is_taken_off_once_though_two_terms_look_at_it():
    cluster = zones(bound(web(), 0), bound(web(), 1))
    twice = pod_with(required=[IN_ZONE, IN_ZONE])
    plugin, template = InterPodAffinity(), cluster.template(twice)
    state = plugin.prefilter(template, cluster)
    left = plugin.assume(state, template, cluster, 0, 0, -1)  # pod 1 is in zone a still
    assert said(plugin, template, cluster, np.arange(4), left) == [None, None, AFFINITY, AFFINITY]


def test_a_pod_supposed_where_the_key_is_missing_counts_for_nobody():
    cluster = zones(zones="a  ")
    other = put_pod(cluster, web())
    plugin, template = InterPodAffinity(), cluster.template(web(anti_required=[IN_ZONE]))
    state = plugin.assume(plugin.prefilter(template, cluster), template, cluster, other, 1, 1)
    assert said(plugin, template, cluster, np.arange(3), state) == [None] * 3


def test_a_pod_supposed_to_come_counts_for_all_three_rules():
    cluster = zones()
    pod = web(
        required=[IN_ZONE], anti_required=[PodAffinityTerm(HOSTNAME, Selector.of({"x": "y"}))]
    )
    other = put_pod(cluster, pod_with({**WEB, **{"x": "y"}}, anti_required=[IN_ZONE]))
    plugin, template = InterPodAffinity(), cluster.template(pod)
    state = plugin.assume(plugin.prefilter(template, cluster), template, cluster, other, 0, 1)
    assert said(plugin, template, cluster, np.arange(4), state) == [
        ANTI,
        OTHERS,
        AFFINITY,
        AFFINITY,
    ]


# --- score


@pytest.mark.parametrize(
    ("cluster", "pod", "expected"),
    [
        pytest.param(
            # zone a: two pods of weight 5; min 0, max 10
            zones(bound(web(), 0), bound(web(), 1)),
            pod_with(preferred=[wish(5)]),
            ([10, 10, 0, 0], [100, 100, 0, 0]),
            id="near",
        ),
        pytest.param(
            # -10 in a, -5 in b: (s + 10) / 10
            zones(bound(web(), 0), bound(web(), 1), bound(web(), 2)),
            pod_with(anti_preferred=[wish(5)]),
            ([-10, -10, -5, 0], [0, 0, 50, 100]),
            id="far",
        ),
        pytest.param(
            # zone +3, node -7: node 0 -4, node 1 3; 7/7, 4/7 = 57.1
            zones(bound(web(), 0)),
            pod_with(preferred=[wish(3)], anti_preferred=[wish(7, ON_NODE)]),
            ([-4, 3, 0, 0], [0, 100, 57, 57]),
            id="near in the zone, far on the node",
        ),
        pytest.param(
            zones(
                bound(pod_with(preferred=[wish(4)]), 2),
                bound(pod_with(anti_preferred=[wish(9)]), 3),
            ),
            web(),
            ([0, 0, 4, -9], [69, 69, 100, 0]),  # 9/13 = 0.692
            id="preferences of pods that are there",
        ),
        pytest.param(
            zones(bound(pod_with(required=[IN_ZONE]), 2)),
            web(),
            ([0, 0, 1, 0], [0, 0, 100, 0]),
            id="a required term of another counts 1",
        ),
        pytest.param(
            zones(bound(web(), 0), bound(web(), 2), bound(web(), 3)),
            pod_with(preferred=[wish(5)]),
            ([5, 5, 5, 5], [0, 0, 0, 0]),
            id="all alike",
        ),
        pytest.param(
            # +5 and -5 at the same place: something was found, though it comes to nothing
            zones(bound(web(), 0)),
            pod_with(preferred=[wish(5)], anti_preferred=[wish(5)]),
            ([0, 0, 0, 0], [0, 0, 0, 0]),
            id="cancelled out",
        ),
        pytest.param(zones(bound(web(), 0)), web(), SKIP, id="no terms"),
        pytest.param(zones(), pod_with(preferred=[wish(5)]), SKIP, id="nobody to be near"),
        pytest.param(
            zones(bound(web(), 1), zones="a "),
            pod_with(preferred=[wish(5)]),
            SKIP,
            id="nobody on a node with the key",
        ),
        pytest.param(
            zones(bound(pod_with(anti_required=[IN_ZONE]), 0)),
            web(),
            SKIP,
            id="required anti-affinity of another scores nothing",
        ),
    ],
)
def test_scores_add_up_what_lies_near(cluster, pod, expected):
    assert scores(cluster, pod) == expected
    check_score(InterPodAffinity(), pod, cluster)


def test_scores_are_normalised_over_the_feasible_nodes_only():
    cluster = zones(*(bound(web(), n) for n in (0, 0, 2, 3)))  # a 2, b 1, c 1
    assert scores(cluster, pod_with(preferred=[wish(1)]), nodes=[2, 3]) == ([1, 1], [0, 0])
    assert scores(cluster, pod_with(preferred=[wish(1)]), nodes=[]) is SKIP


@pytest.mark.parametrize(
    ("plugin", "incoming", "expected"),
    [
        pytest.param(InterPodAffinity(hard_weight=50), web(), [0, 0, 50, 7], id="hard weight 50"),
        pytest.param(InterPodAffinity(hard_weight=0), web(), [0, 0, 0, 7], id="hard weight 0"),
        pytest.param(
            InterPodAffinity(ignore_preferred_of_others=True),
            web(),
            SKIP,
            id="without preferences of its own nothing is scored",
        ),
        pytest.param(
            # its own preference finds no pod "x", yet those of others count again
            InterPodAffinity(ignore_preferred_of_others=True),
            web(preferred=[wish(1, PodAffinityTerm(ZONE, Selector.of({"app": "x"})))]),
            [0, 0, 1, 7],
            id="with one of its own everything is",
        ),
    ],
)
def test_arguments_of_the_profile(plugin, incoming, expected):
    cluster = zones(bound(pod_with(required=[IN_ZONE]), 2), bound(pod_with(preferred=[wish(7)]), 3))
    found = scores(cluster, incoming, plugin)
    assert (found if found is SKIP else found[0]) == expected


def test_hard_weight_zero_finds_nothing_in_required_terms():
    cluster = zones(bound(pod_with(required=[IN_ZONE]), 2))
    assert scores(cluster, web(), InterPodAffinity(hard_weight=0)) is SKIP


# --- what it rests on


def test_it_concerns_pods_with_terms_and_pods_that_terms_speak_of():
    cluster = zones()
    plugin, plain = InterPodAffinity(), cluster.template(web())
    assert not plugin.concerns(plain, cluster)
    assert plugin.concerns(cluster.template(pod_with(required=[IN_ZONE])), cluster)
    assert plugin.concerns(plain, cluster)  # a template that speaks of it is known now


def test_the_stamp_stays_while_other_pods_move():
    cluster = zones()
    plugin, template = InterPodAffinity(), cluster.template(web(anti_required=[ON_NODE]))
    before = plugin.stamp(template, cluster)
    cluster.bind(put_pod(cluster, a_pod(labels=DB)), 0)
    assert plugin.stamp(template, cluster) == before
    cluster.bind(put_pod(cluster, web()), 0)
    assert plugin.stamp(template, cluster) != before


def test_an_evaluation_takes_notice_when_a_term_comes_that_speaks_of_its_pod():
    cluster = zones()
    evaluation = Evaluation(cluster.template(web()), cluster, default_profile())
    evaluation.refresh()
    assert evaluation.feasible().tolist() == [0, 1, 2, 3]
    cluster.bind(put_pod(cluster, pod_with(anti_required=[IN_ZONE])), 1)
    evaluation.refresh()
    assert evaluation.feasible().tolist() == [2, 3]
    cluster.remove_pod(0)
    evaluation.refresh()
    assert evaluation.feasible().tolist() == [0, 1, 2, 3]


# --- beside plain loops


def random_cluster(nodes, pods):
    cluster = a_cluster(nodes)
    for name, labels in TEAMS.items():
        cluster.namespaces[name] = labels
    for number, pod in enumerate(pods):
        cluster.bind(put_pod(cluster, pod), number * 7 % len(nodes))
    return cluster


WORLDS = st.tuples(st.lists(NODES, min_size=1, max_size=5), st.lists(PODS, max_size=6))


@given(WORLDS, PODS)
def test_verdicts_equal_those_of_plain_loops(world, pod):
    cluster = random_cluster(*world)
    plain = World.of(cluster)
    expected = SKIP if plain.skips_filter(pod) else plain.refusals(pod)
    assert refusals(cluster, pod) == expected


@given(WORLDS, PODS, st.sampled_from([0, 1, 50]), st.booleans())
def test_scores_equal_those_of_plain_loops(world, pod, hard_weight, ignore):
    cluster = random_cluster(*world)
    expected = World.of(cluster).scores(pod, hard_weight, ignore)
    found = scores(cluster, pod, InterPodAffinity(hard_weight, ignore))
    assert (None if found is SKIP else found[0]) == expected


@given(WORLDS, PODS, st.lists(st.tuples(st.integers(0, 9), PODS), max_size=4))
def test_supposing_pods_equals_binding_and_removing_them(world, pod, moves):
    cluster = random_cluster(*world)
    plugin, template = InterPodAffinity(), cluster.template(pod)
    state = plugin.prefilter(template, cluster)
    if state is SKIP:
        return
    done = []
    for number, other in moves:
        there = cluster.nodes.pods
        on = [
            (p, node)
            for node in range(len(there))
            for p in there[node]
            if (p, node, -1) not in done
        ]
        if number % 2 and on:
            done.append((*on[number % len(on)], -1))
        else:
            done.append((put_pod(cluster, other), number % len(there), 1))
        state = plugin.assume(state, template, cluster, *done[-1])
    nodes = np.arange(len(cluster.nodes))
    supposed = said(plugin, template, cluster, nodes, state)
    for other, node, sign in done:
        cluster.bind(other, node) if sign > 0 else cluster.remove_pod(other)
    assert supposed == World.of(cluster).refusals(pod)


# --- hints

NODE = NodeFacts("n", {}, (), False, {})


def hinted(pod, kind, action, before, after):
    cluster = a_cluster()
    event = Event(kind, action, before, after)
    return InterPodAffinity().hint(event, cluster.template(pod), cluster, own=False)


def facts(pod, node=0):
    cluster = a_cluster()
    return pod and PodFacts(7, "p", cluster.template(pod), node, UNBOUND)


NEAR, AWAY = pod_with(required=[IN_ZONE]), pod_with(anti_required=[IN_ZONE])
BOTH = pod_with(required=[IN_ZONE, PodAffinityTerm(ZONE, Selector.of({"x": "y"}))])


@pytest.mark.parametrize(
    ("pod", "action", "before", "after", "queue"),
    [
        pytest.param(NEAR, Action.ADD, None, web(), True, id="a pod to be near has come"),
        pytest.param(NEAR, Action.ADD, None, a_pod(labels=DB), False, id="another has come"),
        pytest.param(BOTH, Action.ADD, None, web(), False, id="it meets one term of two"),
        pytest.param(AWAY, Action.ADD, None, web(), False, id="one to be far from has come"),
        pytest.param(AWAY, Action.DELETE, web(), None, True, id="one to be far from has gone"),
        pytest.param(AWAY, Action.DELETE, a_pod(labels=DB), None, False, id="another has gone"),
        pytest.param(NEAR, Action.DELETE, web(), None, False, id="one to be near has gone"),
        pytest.param(
            NEAR, Action.POD_LABEL, a_pod(labels=DB), web(), True, id="relabelled: now to be near"
        ),
        pytest.param(
            AWAY, Action.POD_LABEL, web(), a_pod(labels=DB), True, id="no longer to be far from"
        ),
        pytest.param(
            AWAY, Action.POD_LABEL, a_pod(labels=DB), web(), False, id="now to be far from"
        ),
        pytest.param(
            web(),
            Action.DELETE,
            pod_with(anti_required=[IN_ZONE]),
            None,
            False,
            id="anti-affinity of the deleted pod is not looked at",
        ),
    ],
)
def test_hints_of_pods_look_at_the_own_required_terms(pod, action, before, after, queue):
    assert hinted(pod, Kind.POD, action, facts(before), facts(after)) == queue


def test_pods_without_a_node_wake_nobody():
    assert not hinted(NEAR, Kind.POD, Action.ADD, None, facts(web(), UNBOUND))


@pytest.mark.parametrize(
    ("selector", "namespaces", "queue"),
    [
        pytest.param(Selector(), (), True, id="empty selector"),
        pytest.param(TEAM_X, (), False, id="labels of namespaces are not known"),
        pytest.param(TEAM_X, ("x",), True, id="named"),
        pytest.param(NOT_Y, (), True, id="NotIn holds without labels"),
    ],
)
def test_hints_see_no_labels_of_namespaces(selector, namespaces, queue):
    term = replace(IN_ZONE, namespace_selector=selector, namespaces=namespaces)
    after = facts(a_pod(labels=WEB, namespace="x"))
    assert hinted(pod_with(required=[term]), Kind.POD, Action.ADD, None, after) == queue


@pytest.mark.parametrize(
    ("pod", "before", "after", "queue"),
    [
        pytest.param(NEAR, None, {ZONE: "a"}, True, id="affinity: new node with the key"),
        pytest.param(NEAR, None, {}, False, id="affinity: new node without it"),
        pytest.param(AWAY, None, {}, True, id="anti-affinity: any new node"),
        pytest.param(web(), None, {ZONE: "a"}, False, id="no terms"),
        pytest.param(NEAR, {}, {ZONE: "a"}, True, id="affinity: the key appears"),
        pytest.param(NEAR, {ZONE: "b"}, {ZONE: "a"}, True, id="affinity: another value"),
        pytest.param(NEAR, {ZONE: "a"}, {}, False, id="affinity: the key goes"),
        pytest.param(NEAR, {ZONE: "a"}, {ZONE: "a", "x": "y"}, False, id="affinity: another key"),
        pytest.param(AWAY, {ZONE: "a"}, {}, True, id="anti-affinity: the key goes"),
        pytest.param(AWAY, {ZONE: "b"}, {ZONE: "a"}, True, id="anti-affinity: another value"),
        pytest.param(AWAY, {}, {ZONE: "a"}, False, id="anti-affinity: the key appears"),
    ],
)
def test_hints_of_nodes_look_at_the_keys_of_required_terms(pod, before, after, queue):
    action = Action.ADD if before is None else Action.NODE_LABEL
    old = None if before is None else replace(NODE, labels=before)
    assert hinted(pod, Kind.NODE, action, old, replace(NODE, labels=after)) == queue
