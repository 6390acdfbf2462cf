"""The order in which nodes are looked at (backend/cache/node_tree.go, v1.34.1)."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from sim.nodeorder import AddedOrder, NodeOrder, zone_key
from sim.testing import ZONE, a_cluster, a_node, put_node

BETA_ZONE = "failure-domain.beta.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"


def names(cluster, order):
    return [cluster.nodes.names[node] for node in order.ids()]


def in_zones(zones):
    """A cluster whose nodes are a0, b0, a1, ... by zone."""
    seen, nodes = {}, []
    for zone in zones:
        seen[zone] = seen.get(zone, -1) + 1
        nodes.append(a_node(f"{zone}{seen[zone]}", zone=zone))
    return a_cluster(nodes)


def test_one_node_of_each_zone_in_turn_and_what_is_left_of_the_largest_at_the_end():
    cluster = in_zones("aabcab")
    assert names(cluster, NodeOrder(cluster)) == ["a0", "b0", "c0", "a1", "b1", "a2"]


def test_zones_come_in_the_order_in_which_their_first_node_came():
    cluster = in_zones("cab")
    assert names(cluster, NodeOrder(cluster)) == ["c0", "a0", "b0"]


def test_a_zone_that_lost_its_last_node_comes_back_at_the_end():
    cluster = in_zones("abb")
    order = NodeOrder(cluster)
    cluster.remove_node(cluster.nodes["a0"])
    put_node(cluster, a_node("a1", zone="a"))
    assert names(cluster, order) == ["b0", "a1", "b1"]


def test_a_node_that_changes_its_zone_goes_to_the_end_of_the_new_one():
    cluster = in_zones("aab")
    order = NodeOrder(cluster)
    cluster.update_node(cluster.nodes["a0"], labels={ZONE: "b"})
    assert names(cluster, order) == ["a1", "b0", "a0"]


def test_other_changes_of_a_node_leave_its_place():
    cluster = in_zones("aab")
    order = NodeOrder(cluster)
    cluster.set_unschedulable(cluster.nodes["a0"], True)
    assert names(cluster, order) == ["a0", "b0", "a1"]


def test_the_older_labels_win_and_the_region_counts_too():
    assert zone_key({ZONE: "new", BETA_ZONE: "old"}) == ("", "old")
    assert zone_key({ZONE: "a", REGION: "eu"}) == ("eu", "a")
    assert zone_key({}) == ("", "")


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.data())
def test_kept_up_equals_made_afresh(zones, data):
    """Additions and removals in any order leave what a new tree of the same history gives."""
    cluster = in_zones(zones)
    order = NodeOrder(cluster)
    for node in data.draw(
        st.lists(st.sampled_from(range(len(zones))), unique=True) if zones else st.just([])
    ):
        cluster.remove_node(node)
        order.ids()
    ids = sorted(order.ids().tolist())
    assert ids == cluster.nodes.ids().tolist()
    by_zone = [cluster.nodes.labels[node][ZONE] for node in order.ids()]
    rounds = {zone: [i for i, other in enumerate(by_zone) if other == zone] for zone in by_zone}
    for places in rounds.values():  # no zone has its n-th turn after another had its n+1-th
        for turn, place in enumerate(places):
            seen = [by_zone[:place].count(zone) for zone in rounds]
            assert max(seen, default=0) <= turn + 1


def test_the_order_of_addition_ignores_zones():
    cluster = in_zones("aab")
    order = AddedOrder(cluster)
    assert names(cluster, order) == ["a0", "a1", "b0"]
    cluster.remove_node(0)
    assert names(cluster, order) == ["a1", "b0"]
