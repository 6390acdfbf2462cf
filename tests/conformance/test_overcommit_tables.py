"""The kubelet's own tables of CPU weights, pod cgroups and OOM scores.

`sample/*.yaml.gz` is a quarter of them that travels with the project; with the shared data all
rows run. Two values are not compared, since they are about what is not modelled: `unified` needs
MemoryQoS, `shares_read_back` is a resize that reads its cgroup.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from sim.cpu import cpu_quota, cpu_shares, linear_weight, runtime_weight
from sim.overcommit import container_oom_score_adj, pod_cgroup
from sim.podspec import Container, PodSpec
from tests.conformance.tables import missing, needs_shared, rows_of

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


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize(("table", "row"), rows_of(metafunc.config, TABLES))


def check(table, row):
    expected = expectation(table, row)
    got = answer(table, row["input"])
    assert expected == {key: got[key] for key in expected}


@needs_shared
def test_all_tables_are_there():
    assert missing(TABLES) == []


def test_row_holds(table, row):
    check(table, row)
