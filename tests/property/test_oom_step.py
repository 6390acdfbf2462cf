"""Where the next kill is computed, stepping through every ms finds the same one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from sim.overcommit import ContainerMemory, badness, next_oom

END_MS = 120


@st.composite
def memory(draw):
    """A container in small numbers; those that shrink end before they fall below 0."""
    value_b = draw(st.integers(0, 60))
    growth_b = draw(st.integers(-20, 40))
    per_ms = draw(st.sampled_from([1, 2, 3, 7, 10, 100]))
    start_ms = draw(st.integers(-30, 0))
    longest_ms = value_b * per_ms // -growth_b if growth_b < 0 else 150
    ends = st.integers(start_ms, start_ms + longest_ms)
    return ContainerMemory(
        value_b,
        start_ms,
        growth_b,
        per_ms,
        until_ms=draw(ends if growth_b < 0 else st.none() | ends),
        limit_b=draw(st.just(0) | st.integers(1, 200)),
        adj=draw(st.sampled_from([-1000, -997, 3, 500, 999, 1000])),
        request_b=draw(st.integers(0, 50)),
    )


nodes = st.tuples(
    st.lists(memory(), max_size=6),
    st.integers(0, 400),  # limit of the pods' cgroup
    st.integers(0, 400),  # capacity
    st.integers(0, 50),  # used by the system
)


def exact_use(container, ms):
    """Bytes in use, with fractions, accumulated ms by ms."""
    last_ms = ms if container.until_ms is None else min(ms, container.until_ms)
    step = Fraction(container.growth_b, container.growth_per_ms)
    return container.value_b + sum((step for _ in range(container.at_ms, last_ms)), Fraction(0))


def stepped(containers, now_ms, kubepods_b, capacity_b, system_b):
    """The first kills found by looking at every ms, as (at_ms, victims, cause), or None."""
    for ms in range(now_ms, END_MS):
        uses = {i: exact_use(container, ms) for i, container in enumerate(containers)}
        over = tuple(
            i
            for i, c in enumerate(containers)
            if c.limit_b and uses[i] // 1 > c.limit_b and c.adj != -1000
        )
        if over:
            return ms, over, "container limit"
        killed = kills_of_node(containers, uses, kubepods_b, capacity_b, system_b)
        if killed:
            return ms, killed, "node"
    return None


def kills_of_node(containers, uses, kubepods_b, capacity_b, system_b):
    alive, killed = dict(uses), []
    while True:
        used_b = sum(alive.values(), Fraction(0)) // 1
        if used_b > kubepods_b:
            memory_b = kubepods_b
        elif used_b + system_b > capacity_b:
            memory_b = capacity_b
        else:
            return tuple(killed)
        ranks = [
            (badness(uses[i] // 1, containers[i].adj, memory_b), i)
            for i in alive
            if containers[i].adj != -1000
        ]
        if not ranks:
            return tuple(killed)
        victim = max(ranks)[1]
        del alive[victim]
        killed.append(victim)


@given(nodes, st.integers(0, 40))
def test_next_kill_is_the_one_that_stepping_finds(node, now_ms):
    containers, *limits = node
    event = next_oom(containers, now_ms, *limits)
    found = None if event is None or event.at_ms >= END_MS else event
    assert (found and (found.at_ms, found.victims, found.cause)) == stepped(
        containers, now_ms, *limits
    )


@given(nodes)
def test_kills_of_a_whole_run_are_those_that_stepping_finds(node):
    containers, *limits = node
    assert run(next_kill, containers, limits) == run(stepped, containers, limits)


def next_kill(containers, now_ms, *limits):
    event = next_oom(containers, now_ms, *limits)
    return event and (event.at_ms, event.victims, event.cause)


def run(ask, containers, limits):
    """Every kill before the end; the dead stay dead."""
    alive = list(enumerate(containers))
    seen, now_ms = [], 0
    while event := ask([c for _, c in alive], now_ms, *limits):
        at_ms, victims, cause = event
        if at_ms >= END_MS:
            break
        seen.append((at_ms, [alive[v][0] for v in victims], cause))
        alive = [pair for k, pair in enumerate(alive) if k not in victims]
        now_ms = at_ms
    return seen


@given(nodes)
def test_after_the_kills_the_rest_fits(node):
    containers, kubepods_b, capacity_b, system_b = node
    event = next_oom(containers, 0, kubepods_b, capacity_b, system_b)
    if event is None or event.cause != "node":
        return
    rest = [c for i, c in enumerate(containers) if i not in event.victims and c.adj != -1000]
    exempt = [c for c in containers if c.adj == -1000]
    if rest:
        used_b = sum(exact_use(c, event.at_ms) for c in rest + exempt) // 1
        assert used_b <= kubepods_b
        assert used_b + system_b <= capacity_b


@given(nodes, st.integers(1, 10**6))
def test_real_sizes_and_long_times_are_as_exact_as_small_ones(node, stretch):
    """Time and memory on a larger scale move the kill by that scale, no more and no less."""
    containers, *limits = node
    large = [
        replace(
            c,
            growth_per_ms=c.growth_per_ms * stretch,
            at_ms=c.at_ms * stretch,
            until_ms=None if c.until_ms is None else c.until_ms * stretch,
        )
        for c in containers
    ]
    event, later = next_oom(containers, 0, *limits), next_oom(large, 0, *limits)
    assert (event is None) == (later is None)
    if event is not None and later is not None:
        # the root lies in the last of the small ms
        assert event.at_ms == -(-later.at_ms // stretch)
