"""Summary numbers: every name by hand-made rows, and what must hold for any."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import SimError
from sim.metrics import MEASURES, lookup, most_at_once, spans_of_outages, summary
from sim.schema import SUMMARY
from tests.unit.results import NAN, Gi, a_node, a_pod, a_zone_failure, an_event, an_info, frames

INFO = an_info(duration_s=1000.0, warm_up_s=200.0)


def measure(name, labels=None, info=INFO, **rows):
    return lookup(frames(**rows), info, name, labels)


def test_every_summary_name_has_its_measure():
    assert list(MEASURES) == list(SUMMARY)


BIG = a_node("big", zone="a", pool="x", cpu_m=8000, memory_b=8 * Gi, max_pods=30)
SMALL = a_node("small", zone="b", pool="y", cpu_m=2000, memory_b=8 * Gi, max_pods=10)


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        # (8000*0.5 + 2000*1.0) / 10000 = 0.6
        ("utilization.cpu", "utilization_cpu", 0.6),
        ("requested.cpu", "requested_cpu", 0.6),
        ("stranded.cpu", "stranded_cpu", 0.6),
        # (8*0.5 + 8*1.0) / 16 = 0.75
        ("utilization.memory", "utilization_memory", 0.75),
        ("requested.memory", "requested_memory", 0.75),
        ("stranded.memory", "stranded_memory", 0.75),
    ],
)
def test_time_averages_are_weighted_by_allocatable(name, column, expected):
    nodes = [BIG | {column: 0.5}, SMALL | {column: 1.0}]
    assert measure(name, nodes=nodes) == pytest.approx(expected)
    assert measure(name, {"zone": "a"}, nodes=nodes) == 0.5
    assert measure(name, {"pool": "y"}, nodes=nodes) == 1.0


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([], 0.6, id="both throughout"),
        # small is there for 600 of the 800 s after the warm-up:
        # (8000*0.5*800 + 2000*1.0*600) / (8000*800 + 2000*600) = 4.4e6 / 7.6e6
        pytest.param(
            [an_event(400.0, "RegisteredNode", "Node/small")], 4.4 / 7.6, id="one joins later"
        ),
        # small is there for 100 s after the warm-up: (3.2e6 + 2e5) / (6.4e6 + 2e5)
        pytest.param(
            [an_event(300.0, "RemovingNode", "Node/small")], 3.4 / 6.6, id="one leaves early"
        ),
        pytest.param(
            [an_event(100.0, "RemovingNode", "Node/small")], 0.5, id="one leaves in the warm-up"
        ),
        # there from 0 to 300 and from 700: 100 + 300 s: (3.2e6 + 8e5) / (6.4e6 + 8e5)
        pytest.param(
            [
                an_event(0.0, "RegisteredNode", "Node/small"),
                an_event(300.0, "RemovingNode", "Node/small"),
                an_event(700.0, "RegisteredNode", "Node/small"),
            ],
            4.0 / 7.2,
            id="one leaves and returns",
        ),
    ],
)
def test_time_averages_are_weighted_by_time_in_the_run(events, expected):
    nodes = [BIG | {"utilization_cpu": 0.5}, SMALL | {"utilization_cpu": 1.0}]
    assert measure("utilization.cpu", nodes=nodes, events=events) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", [n for n, row in SUMMARY.items() if row.unit in ("share", "ratio")]
)
def test_share_of_no_nodes_is_undefined(name):
    if not SUMMARY[name].needs_label:
        assert math.isnan(measure(name))


def test_requested_pods_counts_bound_time_after_the_warm_up():
    pods = [
        a_pod("a", node="big", zone="a", scheduled_s=0.0),  # 800 s after the warm-up
        a_pod("b", node="big", zone="a", scheduled_s=900.0),  # 100 s
        a_pod("c", node="small", zone="b", scheduled_s=0.0, finished_s=300.0),  # 100 s
        a_pod("d", node="small", zone="b", scheduled_s=0.0, finished_s=100.0),  # 0 s
        a_pod("e", scheduled_s=NAN),  # never bound
    ]
    rows = {"nodes": [BIG, SMALL], "pods": pods}
    # 1000 s of 40 slots * 800 s
    assert measure("requested.pods", **rows) == pytest.approx(1000 / 32_000)
    assert measure("requested.pods", {"zone": "b"}, **rows) == pytest.approx(100 / 8_000)


def test_overcommit_and_pods_a_node_leave_out_nodes_that_are_gone():
    nodes = [
        BIG | {"cpu_limit_m": 6000, "memory_limit_b": 8 * Gi, "pods": 12},
        SMALL | {"cpu_limit_m": 4000, "memory_limit_b": 16 * Gi, "pods": 4},
    ]
    # (6000 + 4000) / (8000 + 2000); (8 + 16) / (8 + 8); (12 + 4) / 2
    assert measure("overcommit.cpu", nodes=nodes) == 1.0
    assert measure("overcommit.memory", nodes=nodes) == 1.5
    assert measure("pods.perNode", nodes=nodes) == 8
    gone = [an_event(500.0, "RemovingNode", "Node/small")]
    assert measure("overcommit.cpu", nodes=nodes, events=gone) == 0.75
    assert measure("pods.perNode", nodes=nodes, events=gone) == 12


def test_cost_adds_up_by_pool():
    nodes = [BIG | {"cost_usd": 3.0}, SMALL | {"cost_usd": 0.5}]
    assert measure("cost", nodes=nodes) == 3.5
    assert measure("cost", {"pool": "y"}, nodes=nodes) == 0.5


WORKLOADS = [
    {
        "namespace": "shop",
        "workload": "Deployment/web",
        "availability": 0.9,
        "unavailable_s": 80.0,
    },
    {"namespace": "blog", "workload": "Deployment/web", "availability": 1.0},
    {
        "namespace": "blog",
        "workload": "ReplicaSet/db",
        "availability": 0.75,
        "unavailable_s": 200.0,
    },
]
SERVICES = [
    {"service": "shop/web", "availability": 0.995, "error_s": 12.0, "outage_s": 3.0},
]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("availability", {"service": "shop/web"}, 0.995),
        ("error.seconds", {"service": "shop/web"}, 12.0),
        ("outage.seconds", {"service": "shop/web"}, 3.0),
        ("availability", {"workload": "shop/Deployment/web"}, 0.9),
        ("availability", {"workload": "shop/web"}, 0.9),
        ("availability", {"workload": "ReplicaSet/db"}, 0.75),
        ("availability", {"workload": "db"}, 0.75),
        ("unavailable.seconds", {"workload": "blog/web"}, 0.0),
        ("unavailable.seconds", {"workload": "blog/db"}, 200.0),
    ],
)
def test_availability_comes_from_the_row_that_the_label_names(name, labels, expected):
    assert measure(name, labels, workloads=WORKLOADS, services=SERVICES) == expected


PODS = [
    a_pod("w-1", created_s=0.0, scheduled_s=10.0, wait_s=10.0, restarts=2, oom_kills=1, zone="a"),
    a_pod("w-2", created_s=5.0, scheduled_s=15.0, wait_s=10.0, finished_s=500.0, zone="b"),
    a_pod("w-3", created_s=10.0, scheduled_s=40.0, wait_s=30.0, restarts=1, oom_kills=1, zone="b"),
    a_pod(
        "j-1",
        namespace="batch",
        workload="Job/j",
        phase="Pending",
        created_s=900.0,
        scheduled_s=NAN,
        wait_s=100.0,
    ),
    a_pod(
        "j-2",
        namespace="batch",
        workload="Job/j",
        phase="Pending",
        created_s=20.0,
        scheduled_s=NAN,
        finished_s=70.0,
        wait_s=50.0,
    ),
]
EVENTS = [
    an_event(1.0, "TaintManagerEviction", "Pod/shop/w-1", "Marking for deletion Pod shop/w-1"),
    an_event(2.0, "TaintManagerEviction", "Pod/shop/w-2", "Cancelling deletion of Pod shop/w-2"),
    an_event(3.0, "Evicted", "Pod/batch/j-2", "The node was low on resource: memory."),
    an_event(3.0, "Evicted", "Pod/batch/j-2", "said twice"),
    an_event(4.0, "Preempted", "Pod/shop/w-3", "Preempted by pod x on node big"),
]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        # waiting: w-1 0-10, w-2 5-15, w-3 10-40, j-2 20-70, j-1 900-end; w-1 leaves as w-3 comes
        ("pending.count", {}, 2),
        ("pending.count", {"namespace": "batch"}, 1),
        ("pending.end", {}, 1),
        ("pending.end", {"workload": "Deployment/web"}, 0),
        # waits 10 10 30 50 100
        ("pending.seconds", {}, 40.0),
        ("pending.seconds.p50", {}, 30.0),
        ("pending.seconds.p95", {}, 90.0),  # rank 0.95 * 4 = 3.8: 50 + 0.8 * 50
        ("pending.seconds.p99", {}, 98.0),  # rank 3.96
        ("pending.seconds.max", {}, 100.0),
        ("pending.seconds.max", {"namespace": "shop"}, 30.0),
        ("pods", {}, 5),
        ("pods", {"workload": "batch/j"}, 2),
        ("pods.running", {}, 2),  # w-2 has gone
        ("restarts", {}, 3),
        ("restarts", {"workload": "batch/Job/j"}, 0),
        ("oomKills", {}, 2),
        ("oomKills", {"zone": "b"}, 1),
        ("evictions", {}, 2),
        ("evictions", {"namespace": "shop"}, 1),
        ("preemptions", {}, 1),
        ("preemptions", {"namespace": "batch"}, 0),
    ],
)
def test_counts_and_waits(name, labels, expected):
    rows = {"pods": PODS, "events": EVENTS, "nodes": [BIG, SMALL]}
    assert measure(name, labels, **rows) == pytest.approx(expected)


@pytest.mark.parametrize("name", [name for name in SUMMARY if name.startswith("pending.seconds")])
def test_wait_of_no_pods_is_undefined(name):
    assert math.isnan(measure(name))


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("utilization.cpuu", {}, "Did you mean 'utilization.cpu'"),
        ("cost", {"workload": "x"}, "takes no label 'workload'; it takes zone, pool"),
        ("availability", {}, "needs one label: service or workload"),
        ("availability", {"service": "shop/wbe"}, "Did you mean 'shop/web'"),
        ("availability", {"workload": "web"}, "several match: shop/Deployment/web, blog/"),
        ("cost", {"zone": "z"}, "no zone 'z' in this run"),
        ("restarts", {"namespace": "shp"}, "Did you mean 'shop'"),
        ("restarts", {"workload": "wob"}, "no workload 'wob'"),
        ("availability", {"workload": "Job/j"}, "not tracked"),
    ],
)
def test_a_question_that_has_no_answer_says_what_would_have(name, labels, message):
    with pytest.raises(SimError, match=message):
        measure(name, labels, nodes=[BIG], pods=PODS, workloads=WORKLOADS, services=SERVICES)


def test_summary_holds_plain_names_services_and_workloads_that_failed():
    tables = frames(nodes=[BIG], pods=PODS, workloads=WORKLOADS, services=SERVICES)
    numbers = summary(tables, INFO)
    plain = [name for name, row in SUMMARY.items() if not row.needs_label]
    assert list(numbers)[: len(plain)] == plain
    assert {name: numbers[name] for name in list(numbers)[len(plain) :]} == {
        'availability{service="shop/web"}': 0.995,
        'availability{workload="shop/Deployment/web"}': 0.9,
        'availability{workload="blog/ReplicaSet/db"}': 0.75,
    }


def test_summary_agrees_with_lookup():
    result = a_zone_failure()
    for name, value in result.summary.items():
        if name in SUMMARY:
            assert result.lookup(name) == pytest.approx(value, nan_ok=True)


def test_outages_of_several_nodes_are_told_as_one_span_until_all_are_back():
    events = [
        an_event(10.0, "NodeDown", "Node/a"),
        an_event(20.0, "NodeNotReady", "Node/b"),
        an_event(30.0, "NodeReady", "Node/a"),
        an_event(40.0, "RemovingNode", "Node/b"),
        an_event(45.0, "NodeReady", "Node/c"),
        an_event(90.0, "NodeCutOff", "Node/a"),
    ]
    assert spans_of_outages(frames(events=events)["events"], 100.0) == [(10, 40), (90, 100)]


spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda s: (s[0], s[0] + s[1])),
    max_size=12,
)


@given(spans)
def test_most_at_once_equals_counting_at_every_time(spans):
    counted = max(sum(begin <= t < end for begin, end in spans) for t in range(42))
    begin, end = np.array(spans, dtype=float).reshape(-1, 2).T
    assert most_at_once(begin, end) == counted


@given(
    st.lists(
        st.tuples(st.integers(1, 64_000), st.floats(0, 1), st.sampled_from("abc")),
        min_size=1,
        max_size=9,
    )
)
def test_cluster_lies_between_its_zones(rows):
    nodes = [
        a_node(str(i), cpu_m=cpu, zone=zone, utilization_cpu=share)
        for i, (cpu, share, zone) in enumerate(rows)
    ]
    zones = {zone for *_, zone in rows}
    values = [measure("utilization.cpu", {"zone": zone}, nodes=nodes) for zone in zones]
    whole = measure("utilization.cpu", nodes=nodes)
    assert min(values) - 1e-12 <= whole <= max(values) + 1e-12


def test_each_summary_name_says_what_time_it_covers():
    spans = ("after the warm-up", "whole run", "at the end")
    for row in SUMMARY.values():
        assert sum(span in row.meaning for span in spans) == 1, row.name


@pytest.mark.parametrize(
    ("names", "span"),
    [
        (("restarts", "oomKills", "evictions", "pending.count", "pods", "cost"), "whole run"),
        (("utilization.cpu", "requested.memory", "availability"), "after the warm-up"),
        (("overcommit.cpu", "pods.perNode", "pending.end"), "at the end"),
    ],
)
def test_spans_are_those_of_the_names(names, span):
    assert all(span in SUMMARY[name].meaning for name in names)
