"""The kubelet's own tables of CPU weights, pod cgroups and OOM scores.

`sample/*.yaml.gz` is a quarter of them that travels with the project; with the shared data all
rows run. Two values are not compared, since they are about what is not modelled: `unified` needs
MemoryQoS, `shares_read_back` is a resize that reads its cgroup.
"""

from __future__ import annotations

import gzip
import os
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
import yaml

from sim.cpu import cpu_quota, cpu_shares, linear_weight, runtime_weight
from sim.overcommit import container_oom_score_adj, pod_cgroup
from sim.podspec import Container, PodSpec

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared"))
TABLES = [
    "cgroup_conversion",
    "cpu_weights_v136",
    "oom_score_adj",
    "oom_score_adj_v136",
    "pod_cgroup_v136",
]
NOT_MODELLED = {"unified", "shares_read_back"}


def answer(table, asked):
    """Our answer to one row, under the names of its table."""
    if table == "cpu_weights_v136":
        shares = cpu_shares(asked["milli_cpu"])
        return {
            "shares": shares,
            "kubelet_weight": linear_weight(shares),
            "runtime_weight": runtime_weight(shares),
            "quota_us": cpu_quota(asked["milli_cpu"]),
        }
    if "milli_cpu" in asked:
        quota_us = cpu_quota(asked["milli_cpu"], asked.get("period_us", 0))
        return {
            "shares": cpu_shares(asked["milli_cpu"]),
            "quota_us": quota_us,
            "cpu_quota_us": quota_us,
        }
    if table == "oom_score_adj":
        spec = a_pod({**asked, "containers": [asked["container"]]})
        adj = container_oom_score_adj(spec, spec.containers[0], asked["memory_capacity_bytes"])
        return {"min": adj, "max": adj}
    if table == "oom_score_adj_v136":
        spec = a_pod(asked["pod"])
        everyone = spec.containers + spec.init_containers
        container = next(c for c in everyone if c.name == asked["container"])
        return {"oom_score_adj": container_oom_score_adj(spec, container, asked["capacity"])}
    cgroup = pod_cgroup(
        a_pod(asked.get("pod", asked)),
        enforce_cpu_limits=asked["enforce_cpu_limits"],
        period_us=asked.get("period_us") or asked["quota_period_us"],
    )
    return {
        "cpu_shares": cgroup.cpu_shares,
        "cpu_weight": cgroup.cpu_weight,
        "cpu_quota_us": cgroup.cpu_quota_us,
        "cpu_period_us": cgroup.cpu_period_us,
        "memory_bytes": cgroup.memory_limit_b,
        "memory_limit_bytes": cgroup.memory_limit_b,
    }


def a_pod(pod):
    resources = pod.get("resources", {})
    return PodSpec(
        containers=tuple(a_container(c) for c in pod["containers"]),
        init_containers=tuple(a_container(c) for c in pod.get("initContainers", [])),
        pod_requests=amounts(resources.get("requests", {})),
        pod_limits=amounts(resources.get("limits", {})),
        priority_class=pod.get("priorityClassName", ""),
    )


def a_container(container):
    return Container(
        container.get("name", ""),
        requests=amounts(container.get("requests", {})),
        limits=amounts(container.get("limits", {})),
        sidecar=container.get("restartPolicy") == "Always",
    )


UNITS = {"m": Fraction(1, 1000), "k": 10**3, "M": 10**6, "G": 10**9, "Mi": 2**20, "Gi": 2**30}


def amounts(quantities):
    """Millicores and bytes of the few quantities that the tables use, rounded up."""
    return {
        name: ceil(amount(text) * (1000 if name == "cpu" else 1))
        for name, text in quantities.items()
    }


def amount(text):
    digits = text.rstrip("mkMGi")
    return int(digits) * UNITS.get(text[len(digits) :], 1)


def expectation(table, row):
    """What the row says; in pod_cgroup_v136 a key that is absent is one that is not written."""
    expected = {k: v for k, v in row["expected"].items() if k not in NOT_MODELLED}
    if table == "pod_cgroup_v136" and "pod" in row["input"]:
        unwritten = dict.fromkeys(("cpu_quota_us", "cpu_period_us", "memory_bytes"))
        return unwritten | expected
    return expected


def rows(paths):
    """One parameter per row of these tables."""
    tables = [yaml.load(text_of(path), Loader=yaml.CSafeLoader) for path in paths]
    return [pytest.param(t["table"], row, id=row["id"]) for t in tables for row in t["cases"]]


def text_of(path):
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def check(table, row):
    expected = expectation(table, row)
    got = answer(table, row["input"])
    assert expected == {key: got[key] for key in expected}


@pytest.mark.parametrize(("table", "row"), rows(SAMPLE / f"{t}.yaml.gz" for t in TABLES))
def test_sample_row_holds(table, row):
    check(table, row)


SHARED_TABLES = [SHARED / "conformance" / "nodeside" / f"{table}.yaml" for table in TABLES]


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="no shared data: set SIM_SHARED or put it beside the repository"
)
def test_all_tables_are_there():
    assert [path.name for path in SHARED_TABLES if not path.is_file()] == []


@pytest.mark.parametrize(("table", "row"), rows(path for path in SHARED_TABLES if path.is_file()))
def test_row_holds(table, row):
    check(table, row)
