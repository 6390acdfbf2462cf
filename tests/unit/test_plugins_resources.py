"""NodeResourcesFit and NodeResourcesBalancedAllocation, with their arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from sim.errors import SimError
from sim.extend import SKIP, Code
from sim.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from sim.plugins.node_resources_fit import NodeResourcesFit, broken_linear, round_half_up
from sim.podspec import Container, PodSpec, PodTemplate
from sim.tables import MAX_RESOURCES, NodeTable
from sim.testing import a_cluster, a_node, a_pod, bound

MIB = 1024**2
GPU = "nvidia.com/gpu"
PAGES = "hugepages-2Mi"


def refusal(plugin, node, pod, on_it=()):
    """(code, reasons) of the one node, None if it takes the pod."""
    cluster = a_cluster([node], [bound(other, 0) for other in on_it])
    template = cluster.template(pod)
    state = plugin.prefilter(template, cluster)
    why = int(plugin.filter(template, cluster, np.array([0]), state)[0])
    if not why:
        return None
    verdict = plugin.verdict(why, cluster)
    return verdict.code, verdict.reasons


def score(plugin, node, pod, on_it=()):
    cluster = a_cluster([node], [bound(other, 0) for other in on_it])
    template = cluster.template(pod)
    state = plugin.prescore(template, cluster, np.array([0]))
    return SKIP if state is SKIP else int(plugin.score(template, cluster, np.array([0]), state)[0])


@pytest.mark.parametrize(
    ("node", "on_it", "pod", "expected"),
    [
        # 1000 - 600 = 400 free, 400 asked
        pytest.param(
            a_node(cpu_m=1000), [a_pod(cpu_m=600)], a_pod(cpu_m=400), None, id="exactly full fits"
        ),
        # 401 > 400, but 401 <= 1000: removing pods helps
        pytest.param(
            a_node(cpu_m=1000),
            [a_pod(cpu_m=600)],
            a_pod(cpu_m=401),
            (Code.UNSCHEDULABLE, ("Insufficient cpu",)),
            id="one millicore too many",
        ),
        # 1001 > 1000: no removal helps
        pytest.param(
            a_node(cpu_m=1000),
            [],
            a_pod(cpu_m=1001),
            (Code.UNRESOLVABLE, ("Insufficient cpu",)),
            id="more than the node has",
        ),
        pytest.param(
            a_node(cpu_m=1000, memory_b=1000),
            [a_pod(cpu_m=900, memory_b=900)],
            a_pod(cpu_m=200, memory_b=200),
            (Code.UNSCHEDULABLE, ("Insufficient cpu", "Insufficient memory")),
            id="reasons in alphabetical order",
        ),
        # 1 pod + 1 > 1
        pytest.param(
            a_node(max_pods=1),
            [a_pod()],
            a_pod(),
            (Code.UNSCHEDULABLE, ("Too many pods",)),
            id="no pod slot left, even for a pod that asks for nothing",
        ),
        pytest.param(
            a_node(),
            [],
            a_pod(extended={GPU: 1}),
            (Code.UNRESOLVABLE, (f"Insufficient {GPU}",)),
            id="a resource the node does not have",
        ),
        # an over-full node (its pods ask for more than it has) takes what asks for nothing
        pytest.param(
            a_node(cpu_m=100), [a_pod(cpu_m=200)], a_pod(), None, id="zero request is never short"
        ),
    ],
)
def test_fit_filter(node, on_it, pod, expected):
    assert refusal(NodeResourcesFit(), node, pod, on_it) == expected


@pytest.mark.parametrize(
    ("plugin", "fits"),
    [
        (NodeResourcesFit(ignored_resources=frozenset({GPU})), True),
        (NodeResourcesFit(ignored_groups=frozenset({"nvidia.com"})), True),
        (NodeResourcesFit(ignored_groups=frozenset({"nvidia"})), False),
        (NodeResourcesFit(ignored_resources=frozenset({"example.com/x"})), False),
    ],
)
def test_ignored_extended_resources_are_not_asked_for(plugin, fits):
    assert (refusal(plugin, a_node(), a_pod(extended={GPU: 1})) is None) == fits


@pytest.mark.parametrize(
    "resource", ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "x.kubernetes.io/a"]
)
def test_native_resources_cannot_be_ignored(resource):
    plugin = NodeResourcesFit(ignored_resources=frozenset({resource}))
    assert refusal(plugin, a_node(), a_pod(extended={resource: 10**15})) is not None


@pytest.mark.parametrize(
    ("plugin", "node", "on_it", "pod", "expected"),
    [
        # cpu (4000-3000)*100/4000 = 25; memory (10000-5000)*100/10000 = 50; (25+50)/2 = 37.5
        pytest.param(
            NodeResourcesFit(),
            a_node(cpu_m=4000, memory_b=10000),
            [],
            a_pod(cpu_m=3000, memory_b=5000),
            37,
            id="least allocated truncates",
        ),
        # cpu 3000 > 2000 counts 0; memory 50; 50/2
        pytest.param(
            NodeResourcesFit(),
            a_node(cpu_m=2000, memory_b=10000),
            [],
            a_pod(cpu_m=3000, memory_b=5000),
            25,
            id="least allocated: what does not fit is 0",
        ),
        # the mean is over cpu alone: (4000-3000)*100/4000
        pytest.param(
            NodeResourcesFit(),
            a_node(cpu_m=4000, memory_b=0),
            [],
            a_pod(cpu_m=3000, memory_b=5000),
            25,
            id="a resource that the node lacks is left out",
        ),
        # no request counts as 100 m and 200 Mi: cpu (1000-100)*100/1000 = 90, memory 50 -> 70
        pytest.param(
            NodeResourcesFit(),
            a_node(cpu_m=1000, memory_b=400 * MIB),
            [],
            a_pod(),
            70,
            id="a container without requests counts for the defaults",
        ),
        # an explicit 0 stays 0: cpu 100, memory 100
        pytest.param(
            NodeResourcesFit(),
            a_node(cpu_m=1000, memory_b=400 * MIB),
            [],
            a_pod(cpu_m=0, memory_b=0),
            100,
            id="an explicit zero is zero",
        ),
        # the pod there counts 100 m and 200 Mi too: cpu 80, memory 0 -> 40
        pytest.param(
            NodeResourcesFit(),
            a_node(cpu_m=1000, memory_b=400 * MIB),
            [a_pod()],
            a_pod(),
            40,
            id="pods on the node count for the defaults",
        ),
        # cpu 3000*100/4000 = 75; memory 50; (75*3 + 50)/4 = 68.75
        pytest.param(
            NodeResourcesFit("MostAllocated", resources=(("cpu", 3), ("memory", 1))),
            a_node(cpu_m=4000, memory_b=10000),
            [],
            a_pod(cpu_m=3000, memory_b=5000),
            68,
            id="most allocated with weights",
        ),
        # min(5000, 4000)*100/4000 = 100
        pytest.param(
            NodeResourcesFit("MostAllocated", resources=(("cpu", 1),)),
            a_node(cpu_m=4000),
            [],
            a_pod(cpu_m=5000),
            100,
            id="most allocated is capped",
        ),
        # u = 75; line from (0, 0) to (100, 100): 75; memory u = 50: 50; 62.5 rounds up
        pytest.param(
            NodeResourcesFit("RequestedToCapacityRatio", shape=((0, 0), (100, 10))),
            a_node(cpu_m=4000, memory_b=10000),
            [],
            a_pod(cpu_m=3000, memory_b=5000),
            63,
            id="ratio rounds half up",
        ),
        # falling line: cpu u = 100 -> score 0 is left out of both sums; memory u = 50 -> 50
        pytest.param(
            NodeResourcesFit("RequestedToCapacityRatio", shape=((0, 10), (100, 0))),
            a_node(cpu_m=4000, memory_b=10000),
            [],
            a_pod(cpu_m=4000, memory_b=5000),
            50,
            id="ratio leaves out what scores 0",
        ),
        # an extended resource the pod does not ask for: cpu alone, (1000-100)*100/1000
        pytest.param(
            NodeResourcesFit(resources=(("cpu", 1), (GPU, 9))),
            a_node(cpu_m=1000, extended={GPU: 4}),
            [],
            a_pod(cpu_m=100),
            90,
            id="an extended resource not asked for is left out",
        ),
        # cpu 90*1, gpu (4-1)*100/4 = 75*9: 765/10
        pytest.param(
            NodeResourcesFit(resources=(("cpu", 1), (GPU, 9))),
            a_node(cpu_m=1000, extended={GPU: 4}),
            [],
            a_pod(cpu_m=100, extended={GPU: 1}),
            76,
            id="an extended resource asked for counts",
        ),
        # huge pages are left out like extended resources (IsScalarResourceName): cpu alone
        pytest.param(
            NodeResourcesFit(resources=(("cpu", 1), (PAGES, 9))),
            a_node(cpu_m=1000, extended={PAGES: 8}),
            [a_pod(extended={PAGES: 6})],
            a_pod(cpu_m=100),
            80,  # the pod there counts for 100 m: (1000-200)*100/1000
            id="huge pages not asked for are left out",
        ),
        # cpu 80*1, pages (8-6-2)*100/8 = 0*9: 80/10
        pytest.param(
            NodeResourcesFit(resources=(("cpu", 1), (PAGES, 9))),
            a_node(cpu_m=1000, extended={PAGES: 8}),
            [a_pod(extended={PAGES: 6})],
            a_pod(cpu_m=100, extended={PAGES: 2}),
            8,
            id="huge pages asked for count",
        ),
        # ephemeral storage is no scalar resource: cpu 90, storage (8-2)*100/8 = 75: 165/2
        pytest.param(
            NodeResourcesFit(resources=(("cpu", 1), ("ephemeral-storage", 1))),
            a_node(cpu_m=1000, extended={"ephemeral-storage": 8}),
            [a_pod(cpu_m=0, extended={"ephemeral-storage": 2})],
            a_pod(cpu_m=100),
            82,
            id="ephemeral storage counts even when not asked for",
        ),
    ],
)
def test_fit_score(plugin, node, on_it, pod, expected):
    assert score(plugin, node, pod, on_it) == expected


def test_score_ignores_pod_level_requests_of_the_pod_to_place():
    """Containers ask for 100 m, the pod for 900 m: the score counts 100, the filter 900."""
    spec = PodSpec(containers=(Container("app", requests={"cpu": 100}),), pod_requests={"cpu": 900})
    pod = PodTemplate("default", {}, spec)
    plugin = NodeResourcesFit(resources=(("cpu", 1),))
    assert score(plugin, a_node(cpu_m=1000), pod) == 90  # (1000-100)*100/1000
    assert refusal(plugin, a_node(cpu_m=800), pod) is not None  # 900 > 800
    # once it is on the node it counts 900: (2000-900-100)*100/2000
    assert score(plugin, a_node(cpu_m=2000), a_pod(cpu_m=100), [pod]) == 50


def test_score_leaves_out_huge_pages_that_only_the_pod_level_asks_for():
    """They count in the filter and in the balance, but not for the scorer, which skips pod-level
    resources and so sees no request: cpu alone, (1000-100)*100/1000."""
    spec = PodSpec(containers=(Container("app", requests={"cpu": 100}),), pod_requests={PAGES: 4})
    pod = PodTemplate("default", {}, spec)
    node = a_node(cpu_m=1000, extended={PAGES: 4})
    assert score(NodeResourcesFit(resources=(("cpu", 1), (PAGES, 1))), node, pod) == 90


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (0, 20),  # below the first point: its score
        (10, 20),
        (20, 46),  # 20 + (100-20)*(20-10)/(40-10) = 46.67
        (40, 100),
        (50, 89),  # 100 - 70*10/60 = 88.33: -11.67 truncates toward zero to -11
        (100, 30),
        (120, 30),  # above the last
    ],
)
def test_broken_line_truncates_toward_zero(x, y):
    points = ((10, 20), (40, 100), (100, 30))
    assert broken_linear(np.array([x]), points).tolist() == [y]


@pytest.mark.parametrize(
    ("total", "weights", "rounded"), [(5, 2, 3), (7, 3, 2), (8, 3, 3), (0, 0, 0)]
)
def test_rounding_of_the_ratio(total, weights, rounded):
    assert round_half_up(np.array([total]), np.array([weights])).tolist() == [rounded]


@pytest.mark.parametrize(
    ("resources", "node", "pod", "expected"),
    [
        # |0.75 - 0.5| / 2 = 0.125 -> 87.5
        pytest.param(
            ("cpu", "memory"),
            a_node(cpu_m=4000, memory_b=10000),
            a_pod(cpu_m=3000, memory_b=5000),
            87,
            id="two resources truncate",
        ),
        # plain requests, no defaults: |0.5 - 0| / 2 -> 75
        pytest.param(
            ("cpu", "memory"), a_node(cpu_m=1000), a_pod(cpu_m=500), 75, id="no defaults here"
        ),
        # a fraction above 1 counts as 1: |1 - 0.5| / 2
        pytest.param(
            ("cpu", "memory"),
            a_node(cpu_m=1000, memory_b=1000),
            a_pod(cpu_m=3000, memory_b=500),
            75,
            id="fractions end at one",
        ),
        pytest.param(
            ("cpu", "memory"),
            a_node(cpu_m=1000, memory_b=0),
            a_pod(cpu_m=500),
            100,
            id="one resource alone is balanced",
        ),
        # 0.5, 0.5, 0.25: mean 5/12, deviation sqrt((2*(1/12)^2 + (1/6)^2)/3) = 0.11785
        pytest.param(
            ("cpu", "memory", GPU),
            a_node(cpu_m=1000, memory_b=1000, extended={GPU: 4}),
            a_pod(cpu_m=500, memory_b=500, extended={GPU: 1}),
            88,
            id="three resources: population standard deviation",
        ),
        # pages that the pod does not ask for are left out: |0.5 - 0.5| / 2
        pytest.param(
            ("cpu", "memory", PAGES),
            a_node(cpu_m=1000, memory_b=1000, extended={PAGES: 4}),
            a_pod(cpu_m=500, memory_b=500),
            100,
            id="huge pages not asked for are left out",
        ),
        pytest.param(("cpu", "memory"), a_node(), a_pod(), SKIP, id="best effort is not scored"),
        pytest.param(
            ("cpu", "memory"),
            a_node(),
            a_pod(cpu_m=0, extended={GPU: 1}),
            SKIP,
            id="nothing scored is asked for",
        ),
    ],
)
def test_balanced_allocation(resources, node, pod, expected):
    plugin = NodeResourcesBalancedAllocation(tuple((name, 1) for name in resources))
    assert score(plugin, node, pod) == expected


def test_more_resources_than_an_answer_can_name_are_refused():
    nodes = NodeTable()
    for i in range(MAX_RESOURCES - len(nodes.resources)):
        nodes.resource_row(f"example.com/{i}")
    with pytest.raises(SimError, match="one resource too many"):
        nodes.resource_row("example.com/last")
