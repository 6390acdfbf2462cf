"""Fair shares of CPU: nothing wasted, nobody above demand or cap, weights honoured."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from sim.cpu import Group, PodCpu, allocate, ceilings, fair_share, headroom, share_cpu

siblings = st.lists(
    st.tuples(
        st.integers(0, 3000),  # demand
        st.integers(1, 10_000) | st.integers(1, 5),  # weight
        st.just(0) | st.integers(1, 2000),  # cap
    ),
    max_size=12,
)
capacities = st.integers(0, 10_000)

pods = st.lists(
    st.builds(
        PodCpu,
        demand_m=st.integers(0, 3000),
        request_m=st.integers(0, 2000),
        limit_m=st.just(0) | st.integers(1, 2000),
        qos=st.sampled_from(["Guaranteed", "Burstable", "BestEffort"]),
    ),
    max_size=10,
)

caps = st.just(0) | st.integers(1, 500)
leaves = st.builds(Group, st.integers(1, 20), caps, st.integers(0, 400))
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda weight, cap_m, children: Group(weight, cap_m, children=tuple(children)),
        st.integers(1, 20),
        caps,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


def split(group):
    return [list(column) for column in zip(*group, strict=True)] or [[], [], []]


def needs_of(group):
    return [min(demand, cap) if cap else demand for demand, _, cap in group]


@given(siblings, capacities)
def test_everything_wanted_is_given_while_there_is_any(group, capacity_m):
    shares = fair_share(*split(group), capacity_m)
    assert sum(shares) == min(sum(needs_of(group)), capacity_m)


@given(siblings, capacities)
def test_no_share_is_negative_or_above_demand_or_cap(group, capacity_m):
    shares = fair_share(*split(group), capacity_m)
    needs = needs_of(group)
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))


@given(siblings, capacities)
def test_whoever_lacks_gets_as_much_per_weight_as_anybody(group, capacity_m):
    """Max-min fairness, up to the one unit that rounding moves."""
    shares = fair_share(*split(group), capacity_m)
    needs = needs_of(group)
    weights = [weight for _, weight, _ in group]
    for unmet, need in enumerate(needs):
        if shares[unmet] < need:
            level = Fraction(shares[unmet] + 1, weights[unmet])
            assert all(
                Fraction(max(shares[j] - 1, 0), weights[j]) < level for j in range(len(needs))
            )


@given(siblings, capacities)
def test_nobody_gets_less_than_its_part_by_weight(group, capacity_m):
    shares = fair_share(*split(group), capacity_m)
    weights = [weight for _, weight, _ in group]
    for share, need, weight in zip(shares, needs_of(group), weights, strict=True):
        assert share >= min(need, capacity_m * weight // sum(weights))


@given(siblings, capacities, st.randoms(use_true_random=False))
def test_order_decides_no_more_than_the_last_unit(group, capacity_m, random):
    order = list(range(len(group)))
    random.shuffle(order)
    shares = fair_share(*split(group), capacity_m)
    shuffled = fair_share(*split([group[i] for i in order]), capacity_m)
    assert all(abs(shuffled[k] - shares[i]) <= 1 for k, i in enumerate(order))


@given(siblings, capacities)
def test_shares_are_the_exact_ones_rounded_up_or_down(group, capacity_m):
    needs = needs_of(group)
    weights = [weight for _, weight, _ in group]
    level = fill_level(needs, weights, capacity_m)
    for share, need, weight in zip(
        fair_share(*split(group), capacity_m), needs, weights, strict=True
    ):
        exact = need if level is None else min(Fraction(need), weight * level)
        assert abs(share - exact) < 1


def fill_level(needs, weights, capacity_m):
    """L with sum(min(need, weight * L)) = capacity, tried kink by kink; None when all fits."""
    if sum(needs) <= capacity_m:
        return None
    for kink in sorted({Fraction(n, w) for n, w in zip(needs, weights, strict=True)}):
        met = [i for i, need in enumerate(needs) if Fraction(need, weights[i]) < kink]
        rest = [i for i in range(len(needs)) if i not in met]
        level = Fraction(capacity_m - sum(needs[i] for i in met), sum(weights[i] for i in rest))
        if level <= kink:
            return level
    raise AssertionError("a node that does not fit has a level")


@given(trees, capacities)
def test_a_tree_wastes_nothing_and_keeps_every_cap(tree, capacity_m):
    shares = allocate(tree, capacity_m)
    assert sum(shares) == min(tree.need_m, capacity_m)
    assert_within_caps(tree, shares)


def assert_within_caps(tree, shares):
    """Take the leaves of `tree` off the front of `shares`; the rest is returned."""
    if tree.children is None:
        assert 0 <= shares[0] <= tree.need_m
        return shares[1:]
    rest = shares
    for child in tree.children:
        rest = assert_within_caps(child, rest)
    used = sum(shares[: len(shares) - len(rest)])
    assert used <= tree.need_m
    return rest


@given(siblings.filter(bool), capacities)
def test_ceiling_is_what_one_sibling_gets_when_it_asks_for_everything(group, capacity_m):
    demands, weights, limits = split(group)
    tree = Group(1, children=tuple(Group(w, c, d) for d, w, c in group))
    for i, ceiling in enumerate(ceilings(tree, capacity_m)):
        wanted = [10**9 if k == i else demand for k, demand in enumerate(demands)]
        assert 0 <= fair_share(wanted, weights, limits, capacity_m)[i] - ceiling <= 1


@given(pods, capacities, st.integers(0, 10_000), st.integers(0, 1000))
def test_headroom_is_what_a_pod_gets_when_it_asks_for_everything(
    group, capacity_m, kubepods_m, sys_m
):
    rooms = headroom(group, capacity_m, kubepods_m, system_m=sys_m)
    for i, room_m in enumerate(rooms):
        greedy = [replace(pod, demand_m=10**9) if k == i else pod for k, pod in enumerate(group)]
        got_m = share_cpu(greedy, capacity_m, kubepods_m, system_m=sys_m)[i]
        assert abs(got_m - room_m) <= 3  # a millicore on each of three levels


@given(pods, capacities, st.integers(0, 10_000))
def test_pods_that_fit_need_no_shares(group, spare_m, kubepods_m):
    needs = [pod.need_m for pod in group]
    assert share_cpu(group, sum(needs) + spare_m, kubepods_m) == needs


@given(pods, capacities, st.integers(0, 10_000))
def test_pods_use_the_node_up_before_one_of_them_lacks(group, capacity_m, kubepods_m):
    shares = share_cpu(group, capacity_m, kubepods_m)
    needs = [pod.need_m for pod in group]
    assert sum(shares) == min(sum(needs), capacity_m)
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))
