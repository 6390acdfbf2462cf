"""Upstream's tables of which pods a ReplicaSet deletes.

Left out: phase Unknown, which a pod has not here, and restarts of sidecars, which count together
with the others here. A pod that a row lists twice is two equal pods here.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import yaml

from sim.controllers.replicaset import Candidate, compare, deletion_order
from sim.labels import Selector
from sim.tables import NEVER
from sim.testing import a_cluster, a_node, a_pod
from sim.workloads import ReplicaSet

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared"))
NOW_S = 10_000_000
PHASES = {"Pending": False, "Running": True}


def rows(name):
    """The rows of a table: all where the shared data is, else the sample's."""
    shared = SHARED / "conformance" / "controllers" / f"{name}.yaml"
    if shared.is_file():
        text = shared.read_text(encoding="utf-8")
    else:
        text = gzip.decompress((SAMPLE / f"{name}.yaml.gz").read_bytes()).decode()
    return [
        pytest.param(case["input"], case["expected"], id=f"{case['id']} {case['title']}")
        for case in yaml.safe_load(text)["cases"]
        if fits(case["input"])
    ]


def fits(given):
    pods = [given["a"], given["b"]] if "a" in given else given["pods"]
    return all(pod["phase"] in PHASES and "sidecar_restarts" not in pod for pod in pods)


def a_candidate(pod, rank):
    return Candidate(
        bound=bool(pod["node"]),
        running=PHASES[pod["phase"]],
        ready=pod.get("ready", False),
        deletion_cost=int(pod.get("deletion_cost", 0)),
        alone_on_node=-rank,
        ready_s=NOW_S - pod["ready_s_ago"] if "ready_s_ago" in pod else NEVER,
        restarts=pod.get("restarts", 0),
        created_s=NOW_S - pod["created_s_ago"] if "created_s_ago" in pod else NEVER,
    )


@pytest.mark.parametrize(("given", "expected"), rows("replicaset_ranking_v136"))
def test_of_two_pods_goes_first(given, expected):
    a = a_candidate(given["a"], given["rank_a"])
    b = a_candidate(given["b"], given["rank_b"])
    assert (compare(a, b, NOW_S * 1000) < 0) == expected["a_before_b"]
    assert (compare(b, a, NOW_S * 1000) < 0) == expected["b_before_a"]


@pytest.mark.parametrize(("given", "expected"), rows("replicaset_pods_to_delete_v136"))
def test_pods_to_delete(given, expected):
    cluster, names = a_deployment_of(given["pods"], given.get("related", []))
    order = deletion_order(list(names), cluster, 0)
    doomed = [names[pod] for pod in order[: given["diff"]]]
    compared = sorted if given["diff"] == len(names) else list  # all of them: in no order upstream
    assert compared(doomed) == compared(expected["delete"])


def a_deployment_of(pods, related):
    """Two ReplicaSets of one Deployment; the names of the first one's pods by id."""
    nodes = sorted({pod["node"] for pod in pods + related} - {""})
    cluster = a_cluster([a_node(name) for name in nodes])
    for replicaset in ("one", "two"):
        empty = ReplicaSet("default", replicaset, 0, Selector(), a_pod(), owner="web")
        cluster.put_replicaset(empty)
    others = list(related)
    for pod in pods:
        if pod in others:
            others.remove(pod)
    names = {put(cluster, "one", pod): pod["name"] for pod in pods}
    for pod in others:
        put(cluster, "two", pod)
    return cluster, names


def put(cluster, replicaset, pod):
    owner = cluster.owner("ReplicaSet", "default", replicaset)
    made = cluster.create_pod(cluster.template(a_pod()), owner)
    if pod["node"]:
        cluster.bind(made, cluster.nodes[pod["node"]])
    if PHASES[pod["phase"]]:
        cluster.run_pod(made)
    cluster.set_ready(made, pod.get("ready", False))
    return made
