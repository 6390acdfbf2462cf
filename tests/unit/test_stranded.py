"""Stranded resources: the arithmetic by hand, and what must hold for any nodes and shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.stranded import CELLS, stranded

Mi = 2**20
Gi = 2**30


def of(nodes, shapes):
    """`stranded` of rows (free cpu, free memory, slots) and rows (cpu, memory, weight)."""
    columns = [np.array(column, dtype=np.int64) for column in zip(*nodes, strict=True)]
    mix = [np.array(column) for column in zip(*shapes, strict=True)]
    return stranded(*columns, *mix)


@pytest.mark.parametrize(
    ("node", "shapes", "cpu_m", "memory_b", "fits"),
    [
        # k = min(4000//1000, 5//2, 10) = 2; 4000 - 2000; 5 - 4 GiB
        pytest.param((4000, 5 * Gi, 10), [(1000, 2 * Gi, 1)], 2000, Gi, 2, id="memory bounds it"),
        # k = min(3500//1000, 64//2, 10) = 3; 500 left over; 64 - 6
        pytest.param((3500, 64 * Gi, 10), [(1000, 2 * Gi, 1)], 500, 58 * Gi, 3, id="CPU bounds it"),
        # k = min(8, 8, 1) = 1
        pytest.param((8000, 8 * Gi, 1), [(1000, Gi, 1)], 7000, 7 * Gi, 1, id="pod slots bound it"),
        # k = 0: everything free is stranded
        pytest.param((900, 9 * Gi, 5), [(1000, Gi, 1)], 900, 9 * Gi, 0, id="nothing fits"),
        # k = 4: 4000 - 4000, 8 - 8
        pytest.param((4000, 8 * Gi, 9), [(1000, 2 * Gi, 1)], 0, 0, 4, id="exact fit strands none"),
        # cpu is not requested: k = min(6//2, 10) = 3; all the CPU stays free
        pytest.param((500, 6 * Gi, 10), [(0, 2 * Gi, 1)], 500, 0, 3, id="zero CPU does not bound"),
        pytest.param((900, Gi, 10), [(300, 0, 1)], 0, Gi, 3, id="zero memory does not bound"),
        # neither is requested: k = slots
        pytest.param((500, Gi, 7), [(0, 0, 1)], 500, Gi, 7, id="best-effort pods use only slots"),
        # shape A: k = 2, strands 0 and 2 GiB; B: k = 1, strands 1000 and 0; 3 of A to 1 of B:
        # cpu 0.75*0 + 0.25*1000 = 250; memory 0.75*2 + 0.25*0 = 1.5 GiB; fits 0.75*2 + 0.25*1
        pytest.param(
            (2000, 4 * Gi, 10),
            [(1000, Gi, 3), (1000, 4 * Gi, 1)],
            250,
            1.5 * Gi,
            1.75,
            id="a mix is the expectation over its shapes",
        ),
        pytest.param((-100, Gi, 3), [(100, Gi, 1)], 0, Gi, 0, id="overcommitted CPU counts as 0"),
        pytest.param((100, Gi, -1), [(100, Gi, 1)], 100, Gi, 0, id="more pods than slots: 0 fit"),
    ],
)
def test_one_node(node, shapes, cpu_m, memory_b, fits):
    assert [column.tolist() for column in of([node], shapes)] == [[cpu_m], [memory_b], [fits]]


def test_empty_mix_strands_nothing():
    none = np.array([], dtype=np.int64)
    result = stranded(np.array([4000]), np.array([Gi]), np.array([9]), none, none, none)
    assert [column.tolist() for column in result] == [[0], [0], [0]]


def test_shapes_without_weight_strand_nothing():
    assert of([(4000, Gi, 9)], [(3000, Mi, 0)])[0].tolist() == [0]


def test_no_nodes_give_no_rows():
    none = np.array([], dtype=np.int64)
    result = stranded(none, none, none, np.array([1]), np.array([1]), np.array([1]))
    assert [len(column) for column in result] == [0, 0, 0]


nodes = st.tuples(st.integers(0, 200_000), st.integers(0, 2**41), st.integers(0, 250))
shapes = st.tuples(st.integers(0, 64_000), st.integers(0, 2**39), st.integers(1, 1000))


@given(node=nodes, shape=shapes)
def test_one_shape_leaves_no_room_for_another_pod(node, shape):
    cpu_m, memory_b, fits = (column[0] for column in of([node], [shape]))
    assert cpu_m + fits * shape[0] == node[0]
    assert memory_b + fits * shape[1] == pytest.approx(node[1], abs=1)
    assert fits == node[2] or cpu_m < shape[0] or memory_b < shape[1]


@given(node=nodes, mix=st.lists(shapes, min_size=1, max_size=6))
def test_mix_is_the_weighted_mean_of_its_shapes(node, mix):
    weights = np.array([weight for *_, weight in mix]) / sum(weight for *_, weight in mix)
    singles = np.array([[column[0] for column in of([node], [shape])] for shape in mix])
    together = [column[0] for column in of([node], mix)]
    assert together == pytest.approx(list(weights @ singles))


@given(
    rows=st.lists(nodes, min_size=1, max_size=8),
    mix=st.lists(shapes, min_size=1, max_size=4),
    factor=st.integers(2, 1000),
)
def test_only_shares_of_the_weights_count(rows, mix, factor):
    scaled = [(cpu, memory, weight * factor) for cpu, memory, weight in mix]
    for ours, theirs in zip(of(rows, mix), of(rows, scaled), strict=True):
        np.testing.assert_allclose(ours, theirs)


@given(rows=st.lists(nodes, min_size=1, max_size=8), mix=st.lists(shapes, min_size=1, max_size=4))
def test_stranded_is_never_more_than_free_nor_negative(rows, mix):
    for result, free in zip(of(rows, mix), np.array(rows).T, strict=True):
        assert (result >= 0).all()
        assert (result <= free * (1 + 1e-12)).all()


def test_nodes_in_several_chunks_equal_nodes_one_by_one():
    rng = np.random.default_rng(0)
    shapes_count = 300
    count = CELLS // shapes_count + 50  # the last 50 fall into a second chunk
    free = [rng.integers(0, bound, count) for bound in (64_000, 2**38, 110)]
    mix = [rng.integers(1, bound, shapes_count) for bound in (4_000, 2**33, 40)]
    together = stranded(*free, *mix)
    for node in (0, count - 51, count - 50, count - 1):
        alone = stranded(*(column[node : node + 1] for column in free), *mix)
        assert [c[node] for c in together] == pytest.approx([c[0] for c in alone])
