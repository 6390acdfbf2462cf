"""Effective resources, QoS, selectors, tolerations and node affinity against upstream's tables.

`sample/*.yaml.gz` is a quarter of them that travels with the project; with the shared data all rows
run. Left out: rows that read the status of a container or pod (in-place resize is not modelled),
and what is only about Go's data structures (whether two taints are the same, a node that is nil).
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import yaml

from sim.labels import Requirement, Selector
from sim.podspec import (
    Container,
    NodeSelectorTerm,
    PodSpec,
    Taint,
    Toleration,
)
from sim.units import amount, cpu_m

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared"))
FOLDER = SHARED / "conformance" / "nodeside"
TABLES = [
    *("pod_requests", "pod_resources_v136", "qos_class"),
    *("label_selectors", "tolerations", "node_affinity"),
]
OPERATORS = {
    **{"in": "In", "=": "In", "==": "In", "notin": "NotIn", "!=": "NotIn"},
    **{"exists": "Exists", "!": "DoesNotExist", "gt": "Gt", "lt": "Lt"},
}


# --- pods


def resources(raw):
    return {k: cpu_m(v) if k == "cpu" else amount(v) for k, v in (raw or {}).items()}


def container(raw):
    return Container(
        raw.get("name", ""),
        requests=resources(raw.get("requests")),
        limits=resources(raw.get("limits")),
        sidecar=raw.get("restartPolicy") == "Always",
    )


def pod(raw, options=()):
    level = raw.get("podResources") or raw.get("resources") or {}
    if {"skipPodLevelResources", "skip_pod_level"} & set(options):
        level = {}
    without = {"excludeOverhead", "exclude_overhead"} & set(options)
    return PodSpec(
        containers=tuple(container(c) for c in raw.get("containers", [])),
        init_containers=tuple(container(c) for c in raw.get("initContainers", [])),
        overhead={} if without else resources(raw.get("overhead")),
        pod_requests=resources(level.get("requests")),
        pod_limits=resources(level.get("limits")),
    )


def check_pod_requests(row, expected):
    spec = pod(row["pod"], row["options"])
    for kind in expected:
        found = spec.requests if kind == "requests" else spec.limits
        assert found == resources(expected[kind]), kind


def check_pod_resources(row, expected):
    spec = pod(row["pod"], row["options"])
    found = spec.requests if row["op"] == "requests" else spec.limits
    assert found == resources(expected["result"])


def check_qos(row, expected):
    assert pod(row).qos == expected["qos"]


# --- selectors


def requirement(raw):
    return Requirement(raw["key"], OPERATORS[raw["op"]], tuple(raw["values"]))


def check_selector(row, expected):
    if "requirements" in row:
        selector = Selector(tuple(requirement(raw) for raw in row["requirements"]))
        assert selector.matches(row["labels"]) is expected["matches"]
        return
    if not expected.get("valid", True):
        with pytest.raises(ValueError, match="expected a part"):
            Selector.parse(row["selector"])
        return
    found = Selector.parse(row["selector"])
    if "matches" in expected:
        assert found.matches(row["labels"]) is expected["matches"]
    if "requirements_equal" in expected:
        listed = tuple(requirement(raw) for raw in expected["requirements_equal"])
        assert found.requirements == listed
    if "requirements_equal_unordered_only" in expected:
        listed = {requirement(raw) for raw in expected["requirements_equal_unordered_only"]}
        assert set(found.requirements) == listed


# --- taints and node affinity


def taint(raw):
    return Taint(raw["key"], raw.get("effect", ""), raw.get("value", ""))


def toleration(raw):
    return Toleration(
        raw.get("key", ""),
        raw.get("operator") or "Equal",
        raw.get("value", ""),
        raw.get("effect", ""),
    )


def check_toleration(row, expected):
    if "toleration" in row:
        found = toleration(row["toleration"]).tolerates(taint(row["taint"]))
    else:
        tolerations = [toleration(raw) for raw in row["tolerations"]]
        found = all(
            any(known.tolerates(taint(raw)) for known in tolerations)
            for raw in row["taints"]
            if raw.get("effect") in row["considered_effects"]
        )
    assert found is expected["tolerated"]


def term(raw):
    def read(key):
        return tuple(
            Requirement(e["key"], e["operator"], tuple(e.get("values") or ()))
            for e in raw.get(key) or []
        )

    return NodeSelectorTerm(read("matchExpressions"), read("matchFields"))


def terms_of(raw):
    return tuple(term(one) for one in raw.get("nodeSelectorTerms") or [])


def check_affinity(row, expected):
    labels, name = row["node"].get("labels") or {}, row["node"]["name"]
    if "preferred" in row:
        matching = [
            p["weight"] for p in row["preferred"] if term(p["preference"]).matches(labels, name)
        ]
        assert sum(matching) == expected["score"]
        return
    raw = row.get("nodeSelector") or {}
    if "nodeSelectorTerms" in raw:
        found = any(one.matches(labels, name) for one in terms_of(raw))
    else:
        affinity = (row.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        found = Selector.of(raw).matches(labels) and (
            required is None or any(one.matches(labels, name) for one in terms_of(required))
        )
    assert found is expected["matches"]


CHECKS = {
    "pod_requests": check_pod_requests,
    "pod_resources_v136": check_pod_resources,
    "qos_class": check_qos,
    "label_selectors": check_selector,
    "tolerations": check_toleration,
    "node_affinity": check_affinity,
}


def left_out(row):
    options = row["input"].get("options") or ()
    return bool(
        {"useStatusResources", "use_status"} & set(options)
        or "same_taint" in row["expected"]
        or "string" in row["expected"]
        or row["expected"].get("error")
        or row["input"].get("node", row) is None
    )


def rows(paths):
    found = []
    for path in paths:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        table = yaml.safe_load(text)
        found += [
            pytest.param(table["table"], row, id=f"{table['table']} {row['id']}")
            for row in table["cases"]
            if not left_out(row)
        ]
    return found


@pytest.mark.parametrize(("table", "row"), rows(SAMPLE / f"{name}.yaml.gz" for name in TABLES))
def test_sample_row_holds(table, row):
    CHECKS[table](row["input"], row["expected"])


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared data is not there; set SIM_SHARED")
@pytest.mark.parametrize(
    ("table", "row"),
    rows(FOLDER / f"{name}.yaml" for name in TABLES) if FOLDER.is_dir() else [],
)
def test_every_row_holds(table, row):
    CHECKS[table](row["input"], row["expected"])
