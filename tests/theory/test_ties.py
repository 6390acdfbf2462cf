"""Ties between the best nodes are broken uniformly, whichever way the best was found.

Upstream: schedule_one.go selectHost keeps the n-th of the tied with probability 1/n, which gives
each the same chance.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from sim.catalog import default_profile
from sim.queue import Entry
from sim.rng import Streams, Uniforms
from sim.scheduler import Scheduler
from sim.testing import a_cluster, a_node, a_pod, put_pod

DRAWS = 6_000
POD = a_pod(cpu_m=100)


def chi_square_limit(freedom, tail=0.001):
    """Upper quantile of chi-square by Wilson and Hilferty's cube-root approximation (1931)."""
    z = NormalDist().inv_cdf(1 - tail)
    share = 2 / (9 * freedom)
    return freedom * (1 - share + z * share**0.5) ** 3


def drawn(nodes, percentage, draws=DRAWS):
    """How often each node is chosen for a pod that is not bound afterwards."""
    cluster = a_cluster(nodes)
    scheduler = Scheduler(
        cluster,
        {"default-scheduler": default_profile()},
        Uniforms(Streams(11)("scheduler")),
        percentage=percentage,
        paused=True,
    )
    pod = put_pod(cluster, POD)
    entry = Entry(pod, cluster.pod_template(pod), 0, "default-scheduler", 0)
    counts = np.zeros(len(nodes), np.int64)
    for _ in range(draws):
        counts[scheduler.schedule_one(entry).node] += 1
        scheduler.start = 0
    return counts


@pytest.mark.parametrize(
    ("percentage", "window"), [(100, 120), (90, 108)], ids=["all nodes", "a sampled window"]
)
def test_each_of_the_best_nodes_has_the_same_chance(percentage, window):
    """12 of the first nodes are empty and tie; the others hold less and are never chosen."""
    nodes = [a_node(cpu_m=4000 if n % 9 == 0 and n < window else 1000) for n in range(120)]
    best = [n for n in range(120) if n % 9 == 0 and n < window]
    counts = drawn(nodes, percentage)
    assert counts.sum() == counts[best].sum() == DRAWS
    expected = DRAWS / len(best)
    statistic = float(((counts[best] - expected) ** 2 / expected).sum())
    assert statistic < chi_square_limit(len(best) - 1)


def test_the_limit_is_that_of_the_tables():
    """chi-square with 11 degrees of freedom exceeds 31.26 once in a thousand (printed tables)."""
    assert chi_square_limit(11) == pytest.approx(31.264, rel=0.01)
