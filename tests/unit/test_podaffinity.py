"""Tallies of pods by topology value follow every pod and node, whatever comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.labels import Selector
from sim.podaffinity import Side, terms_of
from sim.podspec import PodAffinity, PodAffinityTerm, Taint, WeightedPodAffinityTerm
from sim.recorder import Reason
from sim.tables import Phase
from sim.testing import HOSTNAME, ZONE, a_cluster, a_node, a_pod, bound, put_node, put_pod
from tests.unit.affinity import NODES, PODS, RACK, TEAMS, World, picks, rules_of

WEB, DB = {"app": "web"}, {"app": "db"}
BESIDE_WEB = PodAffinityTerm(ZONE, Selector.of(WEB))


def near_web(labels=DB, term=BESIDE_WEB):
    """A pod that has to lie in a zone with a web pod."""
    return a_pod(labels=labels, pod_affinity=PodAffinity(required=(term,)))


def away_from_web(labels=DB, term=BESIDE_WEB):
    return a_pod(labels=labels, pod_affinity=PodAffinity(anti_required=(term,)))


def two_zones(*pods):
    return a_cluster([a_node(zone="a"), a_node(zone="b"), a_node(zone="b")], pods)


def by_zone(cluster, tally):
    """Zone -> amount, without zeros."""
    values = tally.key.column.values
    return {values[slot - 1]: n for slot, n in enumerate(tally.by_slot().tolist()) if n}


def web_by_zone(cluster):
    (tally,) = cluster.affinity_counts.of(cluster.template(near_web())).required
    return by_zone(cluster, tally)


def test_pods_that_a_term_picks_count_by_the_value_of_their_node():
    cluster = two_zones(*(bound(a_pod(labels=WEB), n) for n in (0, 1, 2, 2)))
    assert web_by_zone(cluster) == {"a": 1, "b": 3}


def test_pods_that_come_after_the_first_question_count_too():
    cluster = two_zones(bound(a_pod(labels=WEB), 0))
    assert web_by_zone(cluster) == {"a": 1}
    cluster.bind(put_pod(cluster, a_pod(labels={**WEB, "new": "yes"})), 1)
    assert web_by_zone(cluster) == {"a": 1, "b": 1}


def test_a_pod_counts_while_it_is_being_deleted():
    cluster = two_zones(bound(a_pod(labels=WEB), 0))
    web_by_zone(cluster)
    cluster.delete_pod(0)
    assert web_by_zone(cluster) == {"a": 1}
    cluster.remove_pod(0)
    assert web_by_zone(cluster) == {}


def test_a_pod_that_has_ended_does_not_count():
    cluster = two_zones(bound(a_pod(labels=WEB), 0))
    web_by_zone(cluster)
    cluster.end_pod(0, Phase.SUCCEEDED, Reason.COMPLETED)
    assert web_by_zone(cluster) == {}


def test_a_pod_whose_labels_change_counts_by_its_new_ones():
    cluster = two_zones(bound(a_pod(labels=WEB), 0))
    web_by_zone(cluster)
    cluster.update_pod(0, cluster.template(a_pod(labels=DB)))
    assert web_by_zone(cluster) == {}


def test_pods_of_a_node_whose_label_changes_count_under_the_new_value():
    cluster = two_zones(bound(a_pod(labels=WEB), 0))
    web_by_zone(cluster)
    labels = {**cluster.nodes.labels[0], ZONE: "c"}
    cluster.update_node(0, labels=labels, taints=(), unschedulable=False, allocatable={})
    assert web_by_zone(cluster) == {"c": 1}


def test_pods_left_on_a_node_that_is_gone_count_nowhere():
    cluster = two_zones(bound(a_pod(labels=WEB), 0), bound(a_pod(labels=WEB), 1))
    web_by_zone(cluster)
    cluster.remove_node(0)
    assert web_by_zone(cluster) == {"b": 1}
    cluster.remove_pod(0)
    assert web_by_zone(cluster) == {"b": 1}


def test_a_node_that_joins_later_has_a_place():
    cluster = two_zones()
    web_by_zone(cluster)
    node = put_node(cluster, a_node(zone="d"))
    cluster.bind(put_pod(cluster, a_pod(labels=WEB)), node)
    assert web_by_zone(cluster) == {"d": 1}


def test_several_nodes_that_changed_since_the_last_question_all_count_anew():
    cluster = two_zones(*(bound(a_pod(labels=WEB), n) for n in (0, 1, 2)))
    web_by_zone(cluster)
    for node in (0, 2):
        labels = {**cluster.nodes.labels[node], ZONE: "c"}
        cluster.update_node(node, labels=labels, taints=(), unschedulable=False, allocatable={})
    assert web_by_zone(cluster) == {"b": 1, "c": 2}


def test_a_pod_that_has_a_term_twice_counts_twice():
    wishes = tuple(WeightedPodAffinityTerm(weight, BESIDE_WEB) for weight in (3, 4))
    cluster = two_zones(bound(a_pod(pod_affinity=PodAffinity(preferred=wishes)), 1))
    near = cluster.affinity_counts.of(cluster.template(a_pod(labels=WEB)))
    assert by_zone(cluster, near.towards[Side.PREFERRED][0]) == {"b": 7}  # 3 + 4


def test_only_pods_that_meet_all_required_terms_count():
    both = PodAffinity(required=(BESIDE_WEB, PodAffinityTerm(HOSTNAME, Selector.of({"x": "y"}))))
    cluster = two_zones(bound(a_pod(labels=WEB), 0), bound(a_pod(labels={**WEB, "x": "y"}), 1))
    near = cluster.affinity_counts.of(cluster.template(a_pod(pod_affinity=both)))
    assert [by_zone(cluster, tally) for tally in near.required] == [{"b": 1}, {"node-1": 1}]


def test_terms_of_pods_that_are_there_count_for_the_pods_they_speak_of():
    cluster = two_zones(bound(away_from_web(), 1), bound(away_from_web(), 2))
    near = cluster.affinity_counts.of(cluster.template(a_pod(labels=WEB)))
    (tally,) = near.towards[Side.ANTI_REQUIRED]
    assert by_zone(cluster, tally) == {"b": 2}
    other = cluster.affinity_counts.of(cluster.template(a_pod(labels=DB)))
    assert other.towards == ([], [], [], [])


def test_equal_terms_share_one_tally():
    cluster = two_zones()
    for name in "xyz":
        cluster.bind(put_pod(cluster, away_from_web({"app": name})), 0)
    assert cluster.affinity_counts.spoken_of(cluster.template(a_pod(labels=WEB))) == 1


def test_a_new_template_that_speaks_of_a_pod_is_noticed_before_it_has_pods():
    cluster = two_zones()
    web = cluster.template(a_pod(labels=WEB))
    assert cluster.affinity_counts.spoken_of(web) == 0
    cluster.template(away_from_web())
    assert cluster.affinity_counts.spoken_of(web) == 1


@pytest.mark.parametrize(
    ("labels", "moves"),
    [pytest.param(WEB, True, id="picked"), pytest.param({"app": "x"}, False, id="of no concern")],
)
def test_the_version_moves_only_with_pods_that_matter(labels, moves):
    cluster = two_zones()
    pod = cluster.template(near_web())
    before = cluster.affinity_counts.of(pod).version()
    cluster.bind(put_pod(cluster, a_pod(labels=labels)), 0)
    assert (cluster.affinity_counts.of(pod).version() != before) == moves


def test_pods_under_no_value_of_the_key_move_nothing():
    cluster = a_cluster([a_node()])
    pod = cluster.template(near_web())
    before = cluster.affinity_counts.of(pod).version()
    cluster.bind(put_pod(cluster, a_pod(labels=WEB)), 0)
    assert cluster.affinity_counts.of(pod).version() == before


def test_new_labels_of_a_namespace_change_whom_a_term_means():
    term = PodAffinityTerm(ZONE, Selector.of(WEB), namespace_selector=Selector.of({"team": "x"}))
    cluster = two_zones(
        bound(a_pod(labels=WEB, namespace="shop"), 0), bound(near_web(term=term), 1)
    )
    pod = cluster.template(near_web(term=term))
    web = cluster.template(a_pod(labels=WEB, namespace="shop"))

    def seen():
        (tally,) = cluster.affinity_counts.of(pod).required
        return by_zone(cluster, tally), cluster.affinity_counts.spoken_of(web)

    assert seen() == ({}, 0)
    cluster.namespaces["shop"] = {"team": "x"}
    assert seen() == ({"a": 1}, 1)
    cluster.affinity_counts.check()


def test_label_keys_are_read_from_the_pod_that_has_the_term():
    term = PodAffinityTerm(
        ZONE, Selector.of(WEB), match_label_keys=("rev", "none"), mismatch_label_keys=("tenant",)
    )
    cluster = a_cluster()
    pod = cluster.template(near_web({**WEB, "rev": "2", "tenant": "t"}, term))
    (settled,) = terms_of(pod).required
    assert settled.selector is not None
    assert [(r.key, r.operator, r.values) for r in settled.selector.requirements] == [
        ("app", "In", ("web",)),
        ("rev", "In", ("2",)),
        ("tenant", "NotIn", ("t",)),
    ]


def test_what_is_wrong_with_a_tally_is_found_by_the_check():
    cluster = two_zones(bound(a_pod(labels=WEB), 0))
    (tally,) = cluster.affinity_counts.of(cluster.template(near_web())).required
    cluster.affinity_counts.check()
    tally.per_slot[1] += 1
    with pytest.raises(AssertionError, match="kept"):
        cluster.affinity_counts.check()


# --- any history

STEPS = st.one_of(
    st.tuples(st.just("bind"), st.integers(0, 9), PODS),
    st.tuples(st.just("ask"), st.integers(0, 9), PODS),
    st.tuples(st.sampled_from(["delete", "remove", "end"]), st.integers(0, 9), st.none()),
    st.tuples(st.just("update"), st.integers(0, 9), PODS),
    st.tuples(st.just("add node"), st.integers(0, 9), NODES),
    st.tuples(st.sampled_from(["remove node", "cordon", "taint"]), st.integers(0, 9), st.none()),
    st.tuples(st.just("relabel"), st.integers(0, 9), st.sampled_from(["", "a", "z"])),
    st.tuples(st.just("namespace"), st.integers(0, 9), st.sampled_from(["x", "y"])),
)


def do(cluster, what, number, value):
    """One step, on whichever pod or node `number` chooses; nothing where there is none."""
    nodes, pods = cluster.nodes.ids().tolist(), len(cluster.pods)
    node = nodes[number % len(nodes)] if nodes else None
    pod = number % pods if pods else None
    if what == "ask":
        cluster.affinity_counts.of(cluster.template(value))
    elif what == "add node":
        put_node(cluster, value)
    elif what == "namespace":
        cluster.namespaces["shop"] = {"team": value}
    elif node is not None and what in ("bind", "remove node", "cordon", "taint", "relabel"):
        on_node(cluster, what, node, value)
    elif pod is not None and cluster.pods.exists[pod]:
        on_pod(cluster, what, pod, value)


def on_node(cluster, what, node, value):
    if what == "bind":
        cluster.bind(put_pod(cluster, value), node)
    elif what == "remove node":
        cluster.remove_node(node)
    elif what == "cordon":
        cluster.set_unschedulable(node, True)
    elif what == "taint":
        cluster.set_taints(node, (Taint("k", "NoSchedule"),))
    else:
        kept = {k: v for k, v in cluster.nodes.labels[node].items() if k != RACK}
        labels = {**kept, RACK: value} if value else kept
        cluster.update_node(node, labels=labels, taints=(), unschedulable=False, allocatable={})


def on_pod(cluster, what, pod, value):
    if what == "delete":
        cluster.delete_pod(pod)
    elif what == "remove":
        cluster.remove_pod(pod)
    elif what == "end":
        cluster.end_pod(pod, Phase.FAILED, Reason.COMPLETED)
    elif what == "update":
        cluster.update_pod(pod, cluster.template(value))


@given(st.lists(NODES, min_size=1, max_size=4), st.lists(STEPS, max_size=14), PODS)
def test_tallies_equal_what_the_pods_say_after_any_history(nodes, steps, pod):
    cluster = a_cluster(nodes)
    for name, labels in TEAMS.items():
        cluster.namespaces[name] = labels
    for what, number, value in steps:
        do(cluster, what, number, value)
        cluster.affinity_counts.check()
    world, near = World.of(cluster), cluster.affinity_counts.of(cluster.template(pod))
    terms = world.named(pod, rules_of(pod).anti_required)
    for term, tally in zip(terms, near.anti_required, strict=True):
        picked = [world.nodes[node] for other, node in world.pods if picks(term, other)]
        values = [labels[term[0]] for labels in picked if term[0] in labels]
        assert by_zone(cluster, tally) == {value: values.count(value) for value in values}
