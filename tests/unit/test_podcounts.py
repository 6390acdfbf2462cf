"""Counts of the pods that a selector picks follow every pod, whenever they are first asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.labels import Requirement, Selector
from sim.podcounts import Counts
from sim.recorder import Reason
from sim.tables import Phase
from sim.testing import a_cluster, a_node, a_pod, bound, put_node, put_pod

WEB = a_pod(labels={"app": "web", "tier": "front"})
APP, TIER = Selector.of({"app": "web"}), Selector.of({"tier": "front"})


def a_counted_cluster():
    cluster = a_cluster([a_node(), a_node()], [bound(WEB, 0), bound(WEB, 1)])
    return cluster, cluster.pod_counts.of("default", APP)


def test_pods_that_were_there_before_count():
    _, counts = a_counted_cluster()
    assert counts.per_node[:2].tolist() == [1, 1]


def test_pods_that_come_later_count():
    cluster, counts = a_counted_cluster()
    cluster.bind(put_pod(cluster, WEB), 1)
    assert counts.per_node[:2].tolist() == [1, 2]


@pytest.mark.parametrize(
    "leave",
    [
        lambda cluster: cluster.delete_pod(0),
        lambda cluster: cluster.remove_pod(0),
        lambda cluster: cluster.end_pod(0, Phase.SUCCEEDED, Reason.COMPLETED),
    ],
    ids=["being deleted", "removed", "ended"],
)
def test_pods_that_leave_no_longer_count(leave):
    cluster, counts = a_counted_cluster()
    leave(cluster)
    assert counts.per_node[:2].tolist() == [0, 1]


def test_a_deleted_pod_is_taken_off_once():
    cluster, counts = a_counted_cluster()
    cluster.delete_pod(0)
    cluster.remove_pod(0)
    assert counts.per_node[:2].tolist() == [0, 1]


def test_a_second_selector_is_followed_as_well():
    cluster, counts = a_counted_cluster()
    cluster.bind(put_pod(cluster, WEB), 0)
    tier = cluster.pod_counts.of("default", TIER)
    cluster.bind(put_pod(cluster, WEB), 0)
    assert counts.per_node[:2].tolist() == tier.per_node[:2].tolist() == [3, 1]


def test_nodes_that_join_later_have_counts():
    cluster, counts = a_counted_cluster()
    node = put_node(cluster, a_node())
    cluster.bind(put_pod(cluster, WEB), node)
    assert counts.per_node[:3].tolist() == [1, 1, 1]


def test_other_namespaces_do_not_count():
    cluster, counts = a_counted_cluster()
    other = a_pod(labels={"app": "web"}, namespace="other")
    cluster.bind(put_pod(cluster, other), 0)
    assert counts.per_node[:2].tolist() == [1, 1]


def test_the_log_says_which_node_has_one_more_or_one_less():
    cluster, counts = a_counted_cluster()
    before = len(counts.log)
    cluster.bind(put_pod(cluster, a_pod(labels={"app": "db"})), 0)
    assert len(counts.log) == before
    pod = put_pod(cluster, WEB)
    cluster.bind(pod, 1)
    cluster.delete_pod(pod)
    assert counts.log[before:].tolist() == [1, ~1]


def test_a_delete_tells_evaluations_that_the_node_changed():
    cluster, _ = a_counted_cluster()
    seen = len(cluster.pods_log)
    cluster.delete_pod(0)
    assert cluster.pods_log[seen:].tolist() == [0]


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param(Selector.of({"app": "web", "tier": "front"}), id="two labels"),
        pytest.param(Selector((Requirement("app", "In", ("db", "web")),)), id="one of two values"),
        pytest.param(Selector((Requirement("app", "Exists"),)), id="a label of any value"),
        pytest.param(Selector((Requirement("app", "NotIn", ("db",)),)), id="any value but one"),
        pytest.param(Selector((Requirement("x", "DoesNotExist"),)), id="without a label"),
        pytest.param(Selector(), id="everything"),
    ],
)
def test_each_kind_of_selector_finds_pods_from_before_and_after(selector):
    cluster = a_cluster([a_node(), a_node()], [bound(WEB, 0)])
    counts = cluster.pod_counts.of("default", selector)
    cluster.bind(put_pod(cluster, WEB), 1)
    labels = {"app": "web", "tier": "front", "new": "yes"}
    cluster.bind(put_pod(cluster, a_pod(labels=labels)), 1)  # a template made after the column
    cluster.bind(put_pod(cluster, a_pod(labels={"app": "db", "x": "y"})), 0)
    others = int(selector.matches({"app": "db", "x": "y"}))
    assert counts.per_node[:2].tolist() == [1 + others, 2]


def test_a_template_asks_only_the_columns_of_its_labels(monkeypatch):
    cluster = a_cluster([a_node()])
    asked = []
    picks = Counts.picks

    def noted(counts, template):
        asked.append(counts.selector)
        return picks(counts, template)

    monkeypatch.setattr(Counts, "picks", noted)
    for index in range(50):
        pod = a_pod(labels={"app": f"a{index}", "team": "one"})
        cluster.bind(put_pod(cluster, pod), 0)
        cluster.pod_counts.of("default", Selector.of({"app": f"a{index}", "team": "one"}))
    assert len(asked) == 50  # each column once, by its own template


LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
SELECTORS = st.builds(
    lambda *requirements: Selector(requirements),
    *[
        st.one_of(
            st.builds(Requirement, st.just(key), st.just("In"), st.just((value,))),
            st.builds(Requirement, st.just(key), st.sampled_from(["Exists", "DoesNotExist"])),
            st.builds(Requirement, st.just(key), st.just("NotIn"), st.just((value,))),
        )
        for key, value in (("a", "x"), ("b", "y"))
    ],
)
NAMESPACES = st.sampled_from(["default", "other"])
STEPS = st.one_of(
    st.tuples(st.just("pod"), NAMESPACES, LABELS),
    st.tuples(st.just("ask"), NAMESPACES, SELECTORS),
    st.tuples(st.just("remove"), NAMESPACES, st.integers(0, 9)),
)


@given(st.lists(STEPS, max_size=20))
def test_columns_equal_what_the_pods_say_whatever_comes_first(steps):
    cluster = a_cluster([a_node(), a_node()])
    for what, namespace, value in steps:
        if what == "pod":
            pod = put_pod(cluster, a_pod(labels=value, namespace=namespace))
            cluster.bind(pod, pod % 2)
        elif what == "ask":
            cluster.pod_counts.of(namespace, value)
        elif value < len(cluster.pods):
            cluster.remove_pod(value)
        cluster.pod_counts.check()
