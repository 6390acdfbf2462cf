"""Pulls on nodes: queues, shared bandwidth, shared layers, failures.

Rates are chosen so that one byte takes one millisecond where nothing is shared.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.clock import Clock, Lane
from sim.images import Image, Layer
from sim.pulls import Pulls, Registry

MB = 10**6
BASE = Layer("base", 400, 0)
BARE = Registry(
    {
        "a:1": Image((Layer("a", 1000, 0),)),
        "b:1": Image((Layer("b", 1000, 0),)),
        "c:1": Image((BASE, Layer("c", 100, 0))),
        "d:1": Image((BASE, Layer("d", 200, 0))),
    },
    node_bandwidth_b=1000,
    rtt_ms=0,
)


def run(registry, starts, until_ms=10**7, had=()):
    """When each of `starts` (at_ms, node, image, policy) had its image; pods are their places."""
    clock, ends = Clock(), {}
    pulls = Pulls(clock, registry, had=lambda node: had)
    for pod, (at_ms, node, image, *policy) in enumerate(starts):

        def then(reason, pod=pod):
            ends[pod] = (clock.now_ms, reason) if reason else clock.now_ms

        args = (pod, node, image, policy[0] if policy else "IfNotPresent", then)
        clock.at(at_ms, Lane.KUBELET, pulls.ensure, *args)
    clock.run(until_ms)
    return [ends[pod] for pod in range(len(starts))], pulls


def ends_ms(registry, starts, **options):
    return run(registry, starts, **options)[0]


def test_a_pull_takes_a_round_trip_the_transfer_and_the_unpacking():
    registry = Registry({"app:v1": 300 * MB})
    # 0.5 s + 300 MB / 100 MB/s + 300 MB / 100 MB/s
    assert ends_ms(registry, [(0, 0, "app:v1")]) == [6_500]


def test_an_image_that_is_there_is_not_pulled_again_unless_the_policy_says_always():
    registry = Registry({"app:v1": 300 * MB})
    starts = [(0, 0, "app:v1"), (10_000, 0, "app:v1"), (10_000, 0, "app:v1", "Always")]
    ends, pulls = run(registry, starts)
    assert ends == [6_500, 10_000, 10_500]  # Always asks for the digest: 0.5 s
    assert pulls.pulled_b(0) == 300 * MB


def test_never_does_not_pull():
    assert ends_ms(BARE, [(5, 0, "a:1", "Never")]) == [(5, "ErrImageNeverPull")]
    assert ends_ms(BARE, [(5, 0, "a:1", "Never")], had=["a:1"]) == [5]


def test_a_node_pulls_one_image_after_the_other():
    assert ends_ms(BARE, [(0, 0, "a:1"), (0, 0, "b:1")]) == [1_000, 2_000]


def test_pulls_of_a_node_in_parallel_share_its_bandwidth():
    parallel = replace(BARE, parallel=2)
    # From 500 on both get half: a has 500 left, done at 1,500; b then has 500 left alone.
    assert ends_ms(parallel, [(0, 0, "a:1"), (500, 0, "b:1")]) == [1_500, 2_000]


def test_nodes_share_the_bandwidth_of_the_registry():
    limited = replace(BARE, bandwidth_b=1000)
    assert ends_ms(limited, [(0, 0, "a:1"), (500, 1, "a:1")]) == [1_500, 2_000]
    ample = replace(BARE, bandwidth_b=2000)
    assert ends_ms(ample, [(0, 0, "a:1"), (500, 1, "a:1")]) == [1_000, 1_500]


def test_what_a_busy_node_leaves_of_the_registry_goes_to_the_others():
    # Node 0 has two pulls with 500 B/s at most each; the registry sends 1,800 B/s. Fair: 500, 500
    # and 800 B/s. At 1,250 node 1 has its 1,000 B; node 0 is ready at 2,000.
    registry = replace(BARE, parallel=None, bandwidth_b=1800)
    starts = [(0, 0, "a:1"), (0, 0, "b:1"), (0, 1, "a:1")]
    assert ends_ms(registry, starts) == [2_000, 2_000, 1_250]


def test_layers_that_are_there_or_on_their_way_are_not_sent_again():
    ends, pulls = run(BARE, [(0, 0, "c:1"), (0, 0, "d:1")])
    assert ends == [500, 700]  # 400 + 100, then 200
    assert pulls.pulled_b(0) == 700
    # In parallel: d sends its own 200 B beside the 500 B of c: both at half speed until 400, then c
    # alone has 300 B left. d waits for the base layer, which comes with c.
    ends, pulls = run(replace(BARE, parallel=None), [(0, 0, "c:1"), (0, 0, "d:1")])
    assert ends == [700, 700]
    assert pulls.pulled_b(0) == 700


def test_a_second_pod_in_parallel_waits_for_the_same_image_and_sends_nothing():
    ends, pulls = run(replace(BARE, parallel=None), [(0, 0, "a:1"), (300, 0, "a:1")])
    assert ends == [1_000, 1_000]
    assert pulls.pulled_b(0) == 1_000


def test_a_missing_image_fails_and_backs_off():
    registry = replace(BARE, missing=("a:*",), rtt_ms=100)
    clock, reasons = Clock(), []
    pulls = Pulls(clock, registry)

    def then(reason):
        reasons.append((clock.now_ms, reason))

    for at_ms in (0, 10_099, 10_100, 30_199, 30_200):
        clock.at(at_ms, Lane.KUBELET, pulls.ensure, 0, 0, "a:1", "IfNotPresent", then)
    clock.run(10**6)
    assert reasons == [
        (100, "ErrImagePull"),  # 10 s from here
        (10_099, "ImagePullBackOff"),
        (10_200, "ErrImagePull"),  # 20 s
        (30_199, "ImagePullBackOff"),
        (30_300, "ErrImagePull"),
    ]
    assert pulls.until_ms(0, "a:1") == 70_300  # 40 s


def test_other_pods_do_not_wait_for_the_back_off_of_one():
    registry = replace(BARE, outages_ms=((0, 2_000),))
    starts = [(0, 0, "a:1"), (2_000, 0, "a:1")]
    assert ends_ms(registry, starts) == [(0, "ErrImagePull"), 3_000]


def test_more_than_ten_pulls_at_once_are_refused_by_the_kubelet_itself():
    registry = replace(BARE, parallel=None)
    ends = ends_ms(registry, [(0, 0, "a:1")] * 12)
    assert ends.count((0, "ErrImagePull")) == 2  # burst 10
    assert ends.count(1_000) == 10


def test_pulls_end_with_their_node_and_its_images_stay():
    clock, ends = Clock(), []
    pulls = Pulls(clock, BARE)
    for at_ms, image in ((0, "a:1"), (1_000, "b:1"), (5_000, "b:1")):
        clock.at(at_ms, Lane.KUBELET, pulls.ensure, 0, 0, image, "IfNotPresent", ends.append)
    clock.at(1_500, Lane.FAULTS, pulls.node_down, 0)
    clock.run(5_999)
    assert (len(ends), pulls.sizes_b(0)) == (1, {"a:1": 1000})
    clock.run(6_001)
    assert pulls.sizes_b(0) == {"a:1": 1000, "b:1": 1000}  # b has to be sent as a whole


def test_a_deleted_image_leaves_the_layers_that_others_share():
    _, pulls = run(BARE, [(0, 0, "c:1"), (0, 0, "d:1")])
    pulls.delete(0, "d:1")
    assert pulls.sizes_b(0) == {"c:1": 500}


def test_a_pattern_gives_each_image_a_size_of_its_own_and_the_last_match_counts():
    registry = Registry({"shop/*": 100, "shop/web:*": 7, "tool": 5})
    assert registry.sized("shop/cart:v1").size_b == 100
    assert registry.sized("shop/web:v1").size_b == 7
    assert registry.sized("tool").size_b == registry.sized("tool:latest").size_b == 5
    assert registry.sized("tool:v2") is None
    assert registry.sized("shop/cart:v1").layers != registry.sized("shop/cart:v2").layers


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3)), min_size=1, max_size=12),
    st.sampled_from([700, 1000, 2500, None]),
    st.sampled_from([1, 2, None]),
)
def test_no_pull_is_lost_and_no_limit_is_exceeded(starts, limit, parallel):
    names = [f"i{n}:1" for n in range(len(starts))]
    registry = Registry(
        {name: Image((Layer(name, 500, 0),)) for name in names},
        bandwidth_b=limit,
        node_bandwidth_b=1000,
        rtt_ms=0,
        parallel=parallel,
    )
    rows = [(at_ms, node, name) for (at_ms, node), name in zip(starts, names, strict=True)]
    ends = [end for end in ends_ms(registry, rows) if isinstance(end, int)]
    assert len(ends) >= min(len(starts), 10)
    sent_b, first_ms = 500 * len(ends), min(at_ms for at_ms, _ in starts)
    nodes = len({node for _, node in starts})
    most_b = min(limit or 10**9, 1000 * nodes)
    assert max(ends) - first_ms >= sent_b * 1000 // most_b - 1
    # Never idle while something is left: with the last arrival all would be done by then.
    slowest_b = min(limit or 10**9, 1000)
    assert max(ends) <= max(at_ms for at_ms, _ in starts) + sent_b * 1000 // slowest_b + 20


@pytest.mark.parametrize("nodes", [1, 50])
def test_a_storm_through_a_narrow_registry_ends_when_all_bytes_are_sent(nodes):
    registry = replace(BARE, bandwidth_b=1000)
    assert ends_ms(registry, [(0, n, "a:1") for n in range(nodes)]) == [1_000 * nodes] * nodes
