"""The sampled search against a plain walk over the nodes, and against the full set.

Rules: pkg/scheduler/schedule_one.go findNodesThatPassFilters, numFeasibleNodesToFind (v1.34.1).
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sim.catalog import default_profile
from sim.evaluation import Evaluation
from sim.search import nodes_to_find, place_of, search
from sim.testing import a_cluster, a_node, a_pod, put_pod

POD = a_pod(cpu_m=500)
BUSY = a_pod(cpu_m=700)


@pytest.mark.parametrize(
    ("nodes", "percentage", "found"),
    [
        (99, 5, 99),  # below 100 nodes all are looked at
        (100, 5, 100),  # and never fewer than 100
        (500, 0, 230),  # 50 - 500/125 = 46 %
        (1000, 0, 420),  # 42 %
        (5000, 0, 500),  # 10 %
        (5625, 0, 281),  # 50 - 45 = 5 %: 281.25
        (6000, 0, 300),  # 50 - 48 = 2 %, at least 5 %
        (100_000, 0, 5000),
        (1000, 37, 370),
        (150, 70, 105),
        (150, 20, 100),  # 30 nodes are too few
        (1000, 100, 1000),
    ],
)
def test_how_many_feasible_nodes_are_enough(nodes, percentage, found):
    assert nodes_to_find(nodes, percentage) == found


@given(st.integers(1, 9_000), st.integers(0, 2**32 - 1), st.data())
def test_the_nth_is_found_without_listing_all(size, seed, data):
    mask = np.random.default_rng(seed).random(size) < 0.3
    mask[-1] = True
    nth = data.draw(st.integers(0, int(mask.sum()) - 1))
    assert place_of(mask, nth) == np.flatnonzero(mask)[nth]


@pytest.mark.parametrize(
    ("own", "next_start"),
    [
        (None, 100),  # 0 to 99 are kept
        (20, 101),  # full, asked first and again on the way: 100 kept, 1 refused
        (101, 101),  # full, asked first and not reached: 100 kept, 1 refused
        (102, 100),  # gone: not asked at all
    ],
)
def test_a_nominated_node_asked_in_vain_counts_as_examined_once(own, next_start):
    cluster = a_cluster([a_node(cpu_m=1000) for _ in range(103)])
    cluster.remove_node(102)
    if own in (20, 101):
        cluster.bind(put_pod(cluster, BUSY), own)
    evaluation = Evaluation(cluster.template(POD), cluster, default_profile())
    evaluation.refresh()
    assert search(evaluation, np.arange(102), 0, 5, {}, own).next_start == next_start


def walked(fits, start, to_find):
    """Places kept, number examined: one node after the other, as upstream with one worker."""
    kept, examined = [], 0
    for step in range(len(fits)):
        place = (start + step) % len(fits)
        if fits[place]:
            if len(kept) == to_find:
                return kept, examined
            kept.append(place)
        examined += 1
    return kept, examined


@given(
    fits=st.lists(st.booleans(), min_size=100, max_size=160),
    start=st.integers(0, 400),
    percentage=st.sampled_from([0, 5, 70, 90, 100]),
)
def test_the_window_is_that_of_a_walk(fits, start, percentage):
    cluster = a_cluster([a_node(cpu_m=1000) for _ in fits])
    for node, free in enumerate(fits):
        if not free:
            cluster.bind(put_pod(cluster, BUSY), node)
    evaluation = Evaluation(cluster.template(POD), cluster, default_profile())
    evaluation.refresh()
    order = np.array(sorted(range(len(fits)), key=lambda node: (node % 3, node)))
    start %= len(fits)
    found = search(evaluation, order, start, percentage, {}, None)
    in_order = [fits[node] for node in order]
    kept, examined = walked(in_order, start, nodes_to_find(len(fits), percentage))
    assert found.kept.tolist() == order[kept].tolist()
    assert (found.examined, found.next_start) == (examined, (start + examined) % len(fits))
    everywhere = search(evaluation, order, start, 100, {}, None)
    assert set(found.kept.tolist()) <= set(everywhere.kept.tolist())
    assert set(everywhere.kept.tolist()) == {n for n, free in enumerate(fits) if free}


@given(
    percentage=st.sampled_from([0, 60, 100]),
    bound=st.lists(st.integers(0, 119), max_size=60),
    start=st.integers(0, 119),
)
def test_totals_of_a_window_are_those_of_its_nodes_alone(percentage, bound, start):
    """A plain pod's scores compare no nodes, so a window's totals are those of the full set."""
    cluster = a_cluster([a_node(cpu_m=4000) for _ in range(120)])
    for node in bound:
        cluster.bind(put_pod(cluster, a_pod(cpu_m=50)), node)
    evaluation = Evaluation(cluster.template(POD), cluster, default_profile())
    evaluation.refresh()
    found = search(evaluation, np.arange(120), start, percentage, {}, None)
    assert found.totals.tolist() == evaluation.total[found.kept].tolist()
