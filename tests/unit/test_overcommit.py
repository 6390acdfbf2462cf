"""Who dies when memory runs out, and what the kubelet writes for a pod."""

from __future__ import annotations

import math

import pytest

from sim.errors import SimError
from sim.overcommit import (
    VICTIM_POLICIES,
    ContainerMemory,
    OomEvent,
    Overcommit,
    badness,
    container_oom_score_adj,
    largest_request,
    next_oom,
    oom_score_adj,
    overcommit,
    pod_cgroup,
    pod_cpu,
    total_b,
)
from sim.podspec import Container, PodSpec

HOUR_MS = 3_600_000
GI = 1024**3
MUCH = 10**15


def test_memory_grows_in_whole_bytes():
    use = ContainerMemory(100, at_ms=1000, growth_b=7, growth_per_ms=10)
    # 100 + 7*9/10 = 106.3; 100 + 7*10/10 = 107
    assert [use.value_at(1000), use.value_at(1009), use.value_at(1010)] == [100, 106, 107]


def test_memory_stays_at_its_plateau():
    use = ContainerMemory(100, growth_b=1, growth_per_ms=1, until_ms=50)
    assert [use.value_at(49), use.value_at(50), use.value_at(51)] == [149, 150, 150]


def test_fractions_of_bytes_add_up_before_they_are_dropped():
    halves = [ContainerMemory(0, growth_b=1, growth_per_ms=2)] * 2
    assert total_b(halves, 1) == 1  # 0.5 + 0.5
    thirds = [ContainerMemory(0, growth_b=1, growth_per_ms=3), *halves]
    assert total_b(thirds, 2) == 2  # 2/3 + 1 + 1 = 2.67


@pytest.mark.parametrize(
    "law",
    [
        pytest.param({"growth_b": -1, "growth_per_ms": 1}, id="shrinks for ever"),
        # 100 - 101 at 101 ms
        pytest.param({"growth_b": -1, "growth_per_ms": 1, "until_ms": 101}, id="ends too late"),
        pytest.param({"at_ms": 10, "until_ms": 9}, id="ends before it begins"),
    ],
)
def test_impossible_memory_is_refused(law):
    with pytest.raises(SimError, match="memory"):
        ContainerMemory(100, **law)


def test_memory_may_shrink_to_nothing():
    use = ContainerMemory(100, growth_b=-1, growth_per_ms=1, until_ms=100)
    assert use.value_at(100) == 0


@pytest.mark.parametrize(
    ("use", "at_ms"),
    [
        # 2 MiB/h from 180 MiB: 20 MiB more after 10 h, the next byte 1/2097152 h = 1.72 ms later
        pytest.param(
            ContainerMemory(180 << 20, growth_b=2 << 20, limit_b=200 << 20),
            10 * HOUR_MS + 2,
            id="a leak dies with the first byte above the limit",
        ),
        # 100 + t/10 > 100 for the first time at 10 ms (101)
        pytest.param(
            ContainerMemory(100, growth_b=1, growth_per_ms=10, limit_b=100),
            10,
            id="exactly at the limit it lives",
        ),
        pytest.param(ContainerMemory(101, limit_b=100), 0, id="above the limit it dies at once"),
    ],
)
def test_container_above_its_limit_dies(use, at_ms):
    assert next_oom([use], 0, MUCH, MUCH) == OomEvent(at_ms, (0,), "container limit")


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(ContainerMemory(100, limit_b=100), id="constant at its limit"),
        pytest.param(
            ContainerMemory(50, growth_b=1, growth_per_ms=1, until_ms=50, limit_b=100),
            id="its plateau is at the limit",
        ),
        pytest.param(
            ContainerMemory(50, growth_b=-1, growth_per_ms=1, until_ms=50, limit_b=100),
            id="shrinking",
        ),
        pytest.param(ContainerMemory(200, limit_b=100, adj=-1000), id="exempt from killing"),
    ],
)
def test_nobody_dies(use):
    assert next_oom([use], 0, 100, MUCH) is None


def test_the_past_is_over():
    use = ContainerMemory(100, growth_b=1, growth_per_ms=1, limit_b=150)
    assert next_oom([use], 400, MUCH, MUCH) == OomEvent(400, (0,), "container limit")


def test_all_containers_above_their_limits_die_at_once():
    uses = [ContainerMemory(11, limit_b=10), ContainerMemory(5), ContainerMemory(21, limit_b=20)]
    assert next_oom(uses, 0, MUCH, MUCH) == OomEvent(0, (0, 2), "container limit")


def test_limits_are_looked_at_before_the_node():
    # 60 + 60 > 100, but the first is above its own limit: without it the rest fits
    uses = [ContainerMemory(60, limit_b=50), ContainerMemory(60, adj=1000)]
    assert next_oom(uses, 0, 100, 1000) == OomEvent(0, (0,), "container limit")
    assert next_oom(uses[1:], 0, 100, 1000) is None


def test_the_pods_outgrow_their_cgroup_though_the_machine_has_room():
    # 100 + 2t > 150 from t = 25.5, so 26
    uses = [ContainerMemory(50, growth_b=1, growth_per_ms=1, adj=adj) for adj in (900, 1)]
    assert next_oom(uses, 0, 150, 1000) == OomEvent(26, (0,), "node")


def test_the_system_takes_its_part_of_the_machine():
    # 50 + t + 30 > 100 from t = 21
    use = ContainerMemory(50, growth_b=1, growth_per_ms=1)
    assert next_oom([use], 0, 100, 100, system_used_b=30) == OomEvent(21, (0,), "node")


def test_one_shrinks_while_another_grows():
    # 10 + 2t + 90 - t > 120 from t = 21
    grows = ContainerMemory(10, growth_b=2, growth_per_ms=1)
    shrinks = ContainerMemory(90, growth_b=-1, growth_per_ms=1, until_ms=90)
    assert next_oom([grows, shrinks], 0, 120, 1000) == OomEvent(21, (1,), "node")  # 52 against 69


def test_a_plateau_delays_the_end():
    # 2 bytes per ms until 10 ms: 20; then 1 per ms: > 100 at 91 ms
    short = ContainerMemory(0, growth_b=1, growth_per_ms=1, until_ms=10)
    long = ContainerMemory(0, growth_b=1, growth_per_ms=1)
    assert next_oom([short, long], 0, 100, 1000) == OomEvent(91, (1,), "node")


def test_the_last_byte_before_a_plateau_may_be_the_one_too_many():
    use = ContainerMemory(50, growth_b=1, growth_per_ms=1, until_ms=51, limit_b=100)
    assert next_oom([use], 0, MUCH, MUCH) == OomEvent(51, (0,), "container limit")


def test_growth_that_ends_now_is_over():
    use = ContainerMemory(50, growth_b=1, growth_per_ms=1, until_ms=50, limit_b=100)
    assert next_oom([use], 50, MUCH, MUCH) is None


def test_highest_badness_dies_first_and_only_as_many_as_needed():
    uses = [
        ContainerMemory(400, adj=-997),  # 400 - 997 = -597
        ContainerMemory(300, adj=500),  # 300 + 500 = 800
        ContainerMemory(200, adj=999),  # 200 + 999 = 1199
        ContainerMemory(250, adj=400),  # 250 + 400 = 650
    ]
    # 1150 in use of 1000; without the third 950
    assert next_oom(uses, 0, 1000, 1000) == OomEvent(0, (2,), "node")
    # of 600 (points now 400-598, 300+300, 200+599, 250+240): 1150, 950, 650, then 400
    assert next_oom(uses, 0, 600, 1000) == OomEvent(0, (2, 1, 3), "node")


def test_badness_is_measured_against_the_memory_that_ran_out():
    small = ContainerMemory(60, adj=500)
    large = ContainerMemory(150, adj=100)
    # pods' cgroup of 200: 60 + 500*200/1000 = 160 against 150 + 20 = 170
    assert next_oom([small, large], 0, 200, 1000) == OomEvent(0, (1,), "node")
    # machine of 1000: 60 + 500 against 150 + 100
    assert next_oom([small, large], 0, 1000, 1000, system_used_b=800) == OomEvent(0, (0,), "node")


def test_the_younger_of_equals_dies():
    assert next_oom([ContainerMemory(60)] * 2, 0, 100, 100) == OomEvent(0, (1,), "node")


def test_exempt_memory_counts_but_survives():
    uses = [ContainerMemory(90, adj=-1000), ContainerMemory(20)]
    assert next_oom(uses, 0, 100, 100) == OomEvent(0, (1,), "node")


def test_nothing_to_kill_is_not_an_event():
    assert next_oom([], 0, 100, 100, system_used_b=200) is None
    assert next_oom([ContainerMemory(200, adj=-1000)], 0, 100, 100) is None


def test_everybody_dies_when_the_system_alone_is_too_much():
    uses = [ContainerMemory(1), ContainerMemory(2)]
    assert next_oom(uses, 0, 100, 100, system_used_b=200) == OomEvent(0, (1, 0), "node")


def test_the_books_rule_kills_another_one_than_the_kernel():
    hog = ContainerMemory(80, adj=900, request_b=10)
    modest = ContainerMemory(30, adj=2, request_b=50)
    assert next_oom([hog, modest], 0, 100, 100) == OomEvent(0, (0,), "node")
    by_request = next_oom([hog, modest], 0, 100, 100, policy=largest_request)
    # 80 are left: it fits
    assert by_request == OomEvent(0, (1,), "node")


def test_policies_have_names():
    assert set(VICTIM_POLICIES) == {"kernel", "largest-request"}
    assert VICTIM_POLICIES["largest-request"] is largest_request


@pytest.mark.parametrize(
    ("usage_b", "adj", "memory_b", "points"),
    [
        pytest.param(500, 0, 1000, 500, id="without a score its use"),
        pytest.param(500, 1000, 8 * GI, 500 + 8 * GI, id="a score of 1000 adds the whole memory"),
        # 500 - 997 * 1000 / 1000
        pytest.param(500, -997, 1000, -497, id="a negative score takes away"),
    ],
)
def test_badness(usage_b, adj, memory_b, points):
    assert badness(usage_b, adj, memory_b) == points


def test_a_score_of_minus_1000_is_below_any_other():
    assert badness(GI, -1000, GI) < badness(0, -999, 1024 * GI)


@pytest.mark.parametrize(
    ("qos", "request_b", "adj"),
    [
        pytest.param("Guaranteed", 4 * GI, -997, id="guaranteed"),
        pytest.param("BestEffort", 0, 1000, id="best effort"),
        # 1000 - 1000*1/4
        pytest.param("Burstable", GI, 750, id="burstable by its request"),
        # 1000 - 1000*4/4 = 0
        pytest.param("Burstable", 4 * GI, 3, id="burstable is above guaranteed"),
        pytest.param("Burstable", 0, 999, id="burstable is below best effort"),
        # 1000 * (1 GiB + 1) / 4 GiB = 250.0000002: rounded down before it is taken off
        pytest.param("Burstable", GI + 1, 750, id="the share is rounded down"),
    ],
)
def test_oom_score_adj(qos, request_b, adj):
    assert oom_score_adj(qos, request_b, 4 * GI) == adj


def test_node_critical_pods_are_scored_as_guaranteed():
    assert oom_score_adj("BestEffort", 0, GI, node_critical=True) == -997


def test_a_sidecar_dies_no_earlier_than_the_smallest_regular_container():
    small = Container("small", requests={"memory": GI})
    large = Container("large", requests={"memory": 2 * GI})
    sidecar = Container("sidecar", sidecar=True)
    spec = PodSpec(containers=(large, small), init_containers=(sidecar,))
    assert container_oom_score_adj(spec, sidecar, 4 * GI) == 750  # 1000 - 1000*1/4, not 999


@pytest.mark.parametrize(
    ("limits", "allocatable", "expected"),
    [
        pytest.param([1000, 2000], 4000, Overcommit(0.75, 0), id="limits fit"),
        pytest.param([3000, 0, 3000, 0], 4000, Overcommit(1.5, 2), id="unlimited ones are counted"),
        pytest.param([], 4000, Overcommit(0.0, 0), id="an empty node"),
        pytest.param([0], 0, Overcommit(0.0, 1), id="nothing of nothing"),
        pytest.param([1], 0, Overcommit(math.inf, 0), id="something of nothing"),
    ],
)
def test_overcommit_figures(limits, allocatable, expected):
    assert overcommit(limits, allocatable) == expected


def test_one_unlimited_container_leaves_the_pod_without_quota():
    limited = Container("a", requests={"cpu": 100}, limits={"cpu": 200})
    spec = PodSpec(containers=(limited, Container("b", requests={"cpu": 50})))
    assert pod_cgroup(spec).cpu_quota_us is None
    assert (pod_cpu(spec, 70).demand_m, pod_cpu(spec).request_m, pod_cpu(spec).cap_m) == (
        70,
        150,
        0,
    )


def test_an_unlimited_init_container_leaves_the_pod_without_quota():
    limited = Container("a", requests={"cpu": 100}, limits={"cpu": 200})
    spec = PodSpec(containers=(limited,), init_containers=(Container("setup"),))
    assert pod_cgroup(spec).cpu_quota_us is None


def test_a_pod_level_limit_bounds_unlimited_containers():
    spec = PodSpec(containers=(Container("a"), Container("b")), pod_limits={"cpu": 500})
    assert pod_cgroup(spec).cpu_quota_us == 50_000
    assert pod_cpu(spec).cap_m == 500
