"""Every plugin of the catalogue keeps what the scheduler relies on, on a cluster of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from sim.catalog import FILTERS, SCORES, default_profile
from sim.extend import Code, Reads, Verdict
from sim.labels import Requirement, Selector
from sim.podspec import (
    HostPort,
    NodeSelectorTerm,
    PreferredTerm,
    SpreadConstraint,
    Taint,
    Toleration,
)
from sim.testing import ZONE, a_cluster, a_node, a_pod, bound, check_filter, check_score

WEB = Selector.of({"app": "web"})
SSD = NodeSelectorTerm((Requirement("disk", "In", ("ssd",)),))
PODS = {
    "a plain pod": a_pod(cpu_m=500, memory_b=2**30, labels={"app": "web"}),
    "a pod that asks for nothing": a_pod(),
    "a pod too large for any node": a_pod(cpu_m=10**6),
    "a pod with a GPU": a_pod(cpu_m=100, extended={"nvidia.com/gpu": 1}),
    "a pod with a host port": a_pod(host_ports=(HostPort(80),)),
    "a pod that names its node": a_pod(node_name="node-1"),
    "a pod that tolerates": a_pod(tolerations=(Toleration("team", "Exists"),)),
    "a pod with node affinity": a_pod(
        required_affinity=(SSD,), preferred_affinity=(PreferredTerm(7, SSD),)
    ),
    "a pod that spreads": a_pod(
        labels={"app": "web"},
        spread=(
            SpreadConstraint(ZONE, 1, "DoNotSchedule", WEB),
            SpreadConstraint("rack", 1, "ScheduleAnyway", WEB),
        ),
    ),
}


def everything():
    """Nodes of many kinds, some of them full, tainted, cordoned or without labels."""
    web = a_pod(cpu_m=300, labels={"app": "web"}, host_ports=(HostPort(80),))
    nodes = [
        a_node(zone="a", labels={"disk": "ssd", "rack": "1"}),
        a_node(zone="a", cpu_m=1000, taints=(Taint("team", "NoSchedule", "x"),)),
        a_node(zone="b", labels={"disk": "hdd"}, taints=(Taint("old", "PreferNoSchedule"),)),
        a_node(unschedulable=True),
        a_node(zone="c", extended={"nvidia.com/gpu": 4}, labels={"rack": "2"}),
        a_node(zone="b", max_pods=1),
        a_node(zone="c", cpu_m=0, memory_b=0),
    ]
    return a_cluster(nodes, [bound(web, 0), bound(web, 5), bound(web, 0)])


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())
@pytest.mark.parametrize("name", FILTERS)
def test_filters_keep_the_protocol(name, pod):
    check_filter(FILTERS[name](), pod, everything())


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())
@pytest.mark.parametrize("name", SCORES)
def test_scores_keep_the_protocol(name, pod):
    check_score(SCORES[name][0](), pod, everything())


@pytest.mark.parametrize("name", [*FILTERS, *SCORES])
def test_a_plugin_carries_the_name_under_which_it_is_listed(name):
    plugins = [*default_profile().filters, *(plugin for plugin, _ in default_profile().scores)]
    assert name in {plugin.name for plugin in plugins}


@dataclass(frozen=True)
class Broken:
    """A filter with one fault."""

    fault: str

    name: ClassVar[str] = "Broken"
    reads: ClassVar[Reads] = Reads.NODE

    def prefilter(self, pod, cluster):
        if self.fault == "changes the cluster":
            cluster.nodes.max_pods[0] += 1

    def filter(self, pod, cluster, nodes, state):
        if self.fault == "answers in":
            return np.zeros(len(nodes), np.int64)
        if self.fault == "depends on the nodes asked":
            return (np.arange(len(nodes)) % 2).astype(np.int32)
        if self.fault == "answers for":
            return np.zeros(1, np.int32)
        return np.ones(len(nodes), np.int32)

    def verdict(self, why, cluster):
        code = Code.FITS if self.fault == "with code" else Code.UNSCHEDULABLE
        return Verdict(code, () if self.fault == "without a reason" else ("no",))

    def prescore(self, pod, cluster, nodes):
        return None

    def score(self, pod, cluster, nodes, state):
        return nodes * 100 if self.fault == "outside 0..100" else nodes * 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("answers in", "answers in int64"),
        ("answers for", "answers for"),
        ("depends on the nodes asked", "depends on the nodes asked"),
        ("with code", "refuses with code"),
        ("without a reason", "refuses without a reason"),
        ("changes the cluster", "changed the cluster"),
    ],
)
def test_a_filter_that_breaks_the_protocol_is_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_filter(Broken(fault), a_pod(), everything())


def test_a_score_out_of_range_is_found():
    with pytest.raises(AssertionError, match=r"outside 0\.\.100"):
        check_score(Broken("outside 0..100"), a_pod(), everything())
