"""Weights, quotas, fair shares and the answer times they lead to."""

from __future__ import annotations

import math

import pytest

from sim.cpu import (
    Group,
    PodCpu,
    allocate,
    answer_ms,
    ceilings,
    container_weight,
    cpu_quota,
    cpu_shares,
    fair_share,
    headroom,
    linear_weight,
    node_tree,
    pod_weight,
    runtime_weight,
    share_cpu,
    slowdown,
)


@pytest.mark.parametrize(
    ("milli", "shares"),
    [
        pytest.param(0, 2, id="no request gets the smallest share"),
        # 1 * 1024 / 1000 = 1.02
        pytest.param(1, 2, id="one millicore is below the smallest share"),
        # 100 * 1024 / 1000 = 102.4
        pytest.param(100, 102, id="shares are rounded down"),
        pytest.param(1000, 1024, id="one CPU is 1024 shares"),
        # 256000 * 1024 / 1000 = 262144
        pytest.param(256_000, 262_144, id="256 CPUs are the largest share"),
        pytest.param(300_000, 262_144, id="more CPUs stay at the largest share"),
    ],
)
def test_cpu_shares(milli, shares):
    assert cpu_shares(milli) == shares


@pytest.mark.parametrize(
    ("milli", "period_us", "quota_us"),
    [
        pytest.param(0, 100_000, 0, id="no limit, no quota"),
        # 5 * 100000 / 1000 = 500, below the kernel's 1 ms
        pytest.param(5, 100_000, 1_000, id="a quota is at least 1 ms"),
        pytest.param(1500, 100_000, 150_000, id="one and a half CPUs run 150 ms of every 100 ms"),
        # 200 * 5000 / 1000 = 1000
        pytest.param(200, 5_000, 1_000, id="the quota follows the period"),
    ],
)
def test_cpu_quota(milli, period_us, quota_us):
    assert cpu_quota(milli, period_us) == quota_us


@pytest.mark.parametrize(
    ("milli", "linear", "new"),
    [
        pytest.param(0, 1, 1, id="no request weighs 1 under both formulas"),
        # shares 102: 1 + 100*9999/262142 = 4.8; the blog post that announced it: 100 m is 17
        pytest.param(100, 4, 17, id="100 m"),
        # shares 1024: 1 + 1022*9999/262142 = 39.98; 10^(10*135/612 - 7/34) = 10^2
        pytest.param(1000, 39, 100, id="one CPU"),
        pytest.param(256_000, 10_000, 10_000, id="256 CPUs weigh the most there is"),
    ],
)
def test_weights_of_a_request(milli, linear, new):
    assert linear_weight(cpu_shares(milli)) == linear
    assert runtime_weight(cpu_shares(milli)) == new


@pytest.mark.parametrize(
    ("request_m", "limit_m", "new_runtime", "weight"),
    [
        pytest.param(1000, 4000, True, 100, id="the request counts, not the limit"),
        pytest.param(None, 1000, True, 100, id="without a request the limit counts"),
        pytest.param(0, 1000, True, 1, id="a request of 0 is a request"),
        pytest.param(None, 0, True, 1, id="with neither it weighs the least"),
        pytest.param(1000, 0, False, 39, id="older runtimes write the linear weight"),
    ],
)
def test_container_weight(request_m, limit_m, new_runtime, weight):
    assert container_weight(request_m, limit_m, new_runtime=new_runtime) == weight


@pytest.mark.parametrize(
    ("demands", "weights", "caps", "capacity", "shares"),
    [
        pytest.param([], [], [], 1000, [], id="nobody gets nothing"),
        pytest.param([300, 400], [1, 9], [0, 0], 1000, [300, 400], id="what fits is given"),
        pytest.param([900, 400], [1, 9], [500, 0], 1000, [500, 400], id="a cap holds in any case"),
        # 1000 * 1/4 and 1000 * 3/4
        pytest.param([2000, 2000], [1, 3], [0, 0], 1000, [250, 750], id="contention obeys weights"),
        # the first needs 100 < 1000/2; the others share 900 as 1:1
        pytest.param(
            [100, 900, 900], [1, 1, 1], [0, 0, 0], 1000, [100, 450, 450], id="spare flows"
        ),
        # level per weight: 200 capped; 800 left as 1:3
        pytest.param(
            [900, 900, 900], [1, 3, 4], [0, 0, 200], 1000, [200, 600, 200], id="spare of a cap too"
        ),
        # 100 / 3 = 33.3: the unit left goes to the first of equal fractions
        pytest.param([99, 99, 99], [1, 1, 1], [0, 0, 0], 100, [34, 33, 33], id="units are whole"),
        # 10 * 1/3 = 3.33, 10 * 2/3 = 6.67: the larger fraction takes it
        pytest.param([99, 99], [1, 2], [0, 0], 10, [3, 7], id="the largest fraction rounds up"),
        pytest.param([5, 0], [1, 1], [0, 0], 0, [0, 0], id="no capacity, nothing for anybody"),
        pytest.param([0, 900], [10_000, 1], [0, 0], 500, [0, 500], id="the idle do not count"),
    ],
)
def test_fair_share(demands, weights, caps, capacity, shares):
    assert fair_share(demands, weights, caps, capacity) == shares


def test_a_groups_cap_bounds_its_children_together():
    pod = Group(weight=1, cap_m=300, children=(Group(1, demand_m=900), Group(2, demand_m=900)))
    tree = Group(weight=1, children=(pod, Group(weight=1, demand_m=100)))
    # the pod may use 300 although 900 are there: 300 * 1/3 and 300 * 2/3
    assert allocate(tree, 1000) == [100, 200, 100]


def test_an_idle_siblings_share_stays_in_its_slice_before_it_leaves_it():
    left = Group(weight=1, children=(Group(1, demand_m=0), Group(1, demand_m=900)))
    right = Group(weight=1, children=(Group(1, demand_m=900), Group(1, demand_m=900)))
    # 1000 as 500:500 by slice, not 333 for each of the three that want some
    assert allocate(Group(1, children=(left, right)), 1000) == [0, 500, 250, 250]


def test_pods_of_100_m_and_10_m_share_80_to_20_on_cgroup_v2():
    # linear weights 4 and 1 (spec: 80:20 instead of the 91:9 of cgroup v1 shares)
    pods = [PodCpu(5000, request_m=100), PodCpu(5000, request_m=10)]
    assert share_cpu(pods, 1000, 1000) == [800, 200]


def test_pods_keep_their_order_whatever_their_class():
    pods = [
        PodCpu(100, qos="BestEffort"),
        PodCpu(200, request_m=200),
        PodCpu(300, 300, 300, "Guaranteed"),
        PodCpu(400, qos="BestEffort"),
        PodCpu(9000, request_m=1000),
    ]
    # 2000: under kubepods guaranteed 300 m weighs 12, burstable 1200 m weighs 47, besteffort 1.
    # Guaranteed needs 300 <= 2000*12/60 = 400; then 1700: besteffort 1700*1/48 = 35.4 of 500,
    # burstable 1664.6 of 9200; the unit goes to the larger fraction. Burstable: 1665 as 8:39,
    # needs 200 <= 1665*8/47 = 283, so 1465. Besteffort 35 as 1:1, the odd one to the first.
    assert share_cpu(pods, 2000, 2000) == [18, 200, 300, 17, 1465]


def test_a_guaranteed_pod_gets_its_request_on_a_full_node():
    noisy = [PodCpu(4000, request_m=10) for _ in range(20)]
    guaranteed = PodCpu(2000, 2000, 2000, "Guaranteed")
    # weights under kubepods: 79 for 2000 m, burstable 200 m weighs 8, besteffort 1: its part of
    # 4000 is 3591, more than it may use
    assert share_cpu([*noisy, guaranteed], 4000, 4000)[-1] == 2000


def test_the_systems_slices_compete_with_the_pods():
    # kubepods of 4000 m weighs 157 against 100 of system.slice: 4000 * 157/257 = 2443.6
    assert share_cpu([PodCpu(9000, request_m=1000)], 4000, 4000, system_m=9000) == [2444]


def test_idle_reservations_are_used_by_pods():
    assert share_cpu([PodCpu(9000, request_m=1000)], 4000, 3000) == [4000]


def test_the_smallest_quota_is_10_m():
    assert share_cpu([PodCpu(500, 5, 5, "Guaranteed")], 1000, 1000) == [10]


def test_besteffort_pods_still_run_on_a_full_node():
    pods = [PodCpu(9000, request_m=4000), PodCpu(9000, qos="BestEffort")]
    # slices: burstable 4000 m weighs 157, besteffort 1, guaranteed none: 4000 * 1/158 = 25.3
    assert share_cpu(pods, 4000, 4000) == [3975, 25]


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        # alone it could have the whole node
        pytest.param([PodCpu(100, request_m=100)], [1000], id="alone it may have all"),
        pytest.param([PodCpu(100, 100, 400)], [400], id="a limit is a limit"),
        # 1000 - 300 and 1000 - 100: each above its half by weight
        pytest.param(
            [PodCpu(100, request_m=100), PodCpu(300, request_m=100)], [700, 900], id="what is left"
        ),
        # weights 4 and 4: no less than half, though the other takes all it can
        pytest.param(
            [PodCpu(100, request_m=100), PodCpu(5000, request_m=100)],
            [500, 900],
            id="at least its fair share, however much the others want",
        ),
    ],
)
def test_headroom(pods, expected):
    assert headroom(pods, 1000, 1000) == expected


def test_headroom_does_not_count_the_unused_part_of_a_limit():
    # 4 pods of 8 m linear weight on 1000: 200 busy each; one asking for all gets 1000 - 600
    assert headroom([PodCpu(200, 200, 600)] * 4, 1000, 1000) == [400] * 4


def test_ceilings_respect_a_capped_tree():
    assert ceilings(Group(1, cap_m=50, children=(Group(1, demand_m=9),)), 1000) == [50]


def test_the_tree_has_a_leaf_per_pod_beside_system_and_kube():
    pods = [PodCpu(1, qos="BestEffort"), PodCpu(2, 3), PodCpu(4, 5, 5, "Guaranteed")]
    tree = node_tree(pods, 4000, system_m=6, kube_m=7)
    assert allocate(tree, 1000) == [6, 7, 4, 2, 1]
    assert tree.children is not None
    assert [child.weight for child in tree.children] == [100, 100, pod_weight(4000)]


@pytest.mark.parametrize(
    ("demand_m", "available_m", "times"),
    [
        pytest.param(0, 1000, 1.0, id="an idle container answers in the service time"),
        # 1 / (1 - 0.5)
        pytest.param(500, 1000, 2.0, id="half busy doubles it"),
        # 1 / (1 - 0.9)
        pytest.param(180, 200, 10.0, id="a limit counts as the whole"),
        pytest.param(1000, 1000, math.inf, id="fully busy never answers"),
        pytest.param(1500, 1000, math.inf, id="more than there is neither"),
        pytest.param(0, 0, math.inf, id="nothing to run on neither"),
    ],
)
def test_slowdown(demand_m, available_m, times):
    assert slowdown(demand_m, available_m) == pytest.approx(times)


def test_answer_time_is_service_time_slowed_down():
    assert answer_ms(4.0, 750, 1000) == pytest.approx(16.0)  # 4 / (1 - 3/4)
