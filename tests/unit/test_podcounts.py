"""Counts of the pods that a selector picks follow every pod, whenever they are first asked for."""

from __future__ import annotations

import pytest

from sim.labels import Selector
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


def test_the_version_moves_only_when_a_count_does():
    cluster, counts = a_counted_cluster()
    before = counts.version
    cluster.bind(put_pod(cluster, a_pod(labels={"app": "db"})), 0)
    assert counts.version == before
    cluster.bind(put_pod(cluster, WEB), 0)
    assert counts.version != before


def test_a_delete_tells_evaluations_that_the_node_changed():
    cluster, _ = a_counted_cluster()
    seen = len(cluster.pods_log)
    cluster.delete_pod(0)
    assert cluster.pods_log[seen:].tolist() == [0]
