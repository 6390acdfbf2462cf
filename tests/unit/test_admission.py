"""What a kubelet says to a pod that was bound to it, and whom it ends for a critical one.

Expected values follow the documentation of node pressure, static and critical pods; upstream's own
rows are in tests/conformance/test_pod_tables.py.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.admission import NodeView, OnNode, admit, is_critical, preempt_for, refusals, shortages
from sim.labels import Requirement
from sim.podspec import Container, HostPort, NodeSelectorTerm, PodSpec, Taint, Toleration

GB = 1 << 30
CRITICAL = 2_000_000_000
NODE = NodeView("n1", {"cpu": 4000, "memory": 8 * GB, "pods": 10, "ephemeral-storage": 50 * GB})


def node(**changed):
    whole = {"name": "n1", "allocatable": NODE.allocatable}
    return NodeView(**(whole | changed))


def pod(cpu=0, memory=0, ports=(), priority=0, **options):
    requests = {name: n for name, n in {"cpu": cpu, "memory": memory}.items() if n}
    requests |= options.pop("requests", {})
    containers = (Container("a", requests=requests, host_ports=ports),)
    return PodSpec(containers, priority=priority, **options)


# Refusals


@pytest.mark.parametrize(
    ("used", "reason"),
    [
        ({}, ""),
        ({"cpu": 3000, "memory": 7 * GB, "pods": 9}, ""),  # the last of everything
        ({"cpu": 3001}, "OutOfcpu"),
        ({"memory": 7 * GB + 1}, "OutOfmemory"),
        ({"pods": 10}, "OutOfpods"),
        ({"pods": 10, "cpu": 4000}, "OutOfpods"),  # the first reason is the pod's
        ({"cpu": 4000, "memory": 8 * GB}, "OutOfcpu"),
    ],
)
def test_a_pod_is_refused_for_what_is_used_up(used, reason):
    assert admit(pod(1000, GB), node(used=used)).reason == reason


def test_a_pod_without_requests_needs_only_a_place():
    assert admit(pod(), node(used={"cpu": 9999, "memory": 99 * GB})).admitted
    assert admit(pod(), node(used={"pods": 10})).reason == "OutOfpods"


def test_a_shortage_says_how_much_would_have_to_come_free():
    (found,) = shortages({"cpu": 1500}, node(used={"cpu": 3000}))
    # 1500 wanted, 4000 - 3000 = 1000 left
    assert (found.requested, found.used, found.capacity, found.lacking) == (1500, 3000, 4000, 500)


@pytest.mark.parametrize(
    ("resource", "allocatable", "reason"),
    [
        ("nvidia.com/gpu", {"nvidia.com/gpu": 1}, "OutOfnvidia.com/gpu"),
        ("nvidia.com/gpu", {"nvidia.com/gpu": 2}, ""),
        ("nvidia.com/gpu", {}, ""),  # unknown to the node: someone else's business
        ("hugepages-2Mi", {}, "OutOfhugepages-2Mi"),  # not an extended resource
    ],
)
def test_extended_resources_count_where_the_node_knows_them(resource, allocatable, reason):
    asked = pod(requests={resource: 2})
    found = admit(asked, node(allocatable={"pods": 10, **allocatable}))
    assert found.reason == reason


ZONE_A = (NodeSelectorTerm((Requirement("zone", "In", ("a",)),)),)


@pytest.mark.parametrize(
    ("options", "labels", "reason"),
    [
        ({"node_selector": {"zone": "a"}}, {"zone": "a"}, ""),
        ({"node_selector": {"zone": "a"}}, {"zone": "b"}, "NodeAffinity"),
        ({"required_affinity": ZONE_A}, {"zone": "a"}, ""),
        ({"required_affinity": ZONE_A}, {}, "NodeAffinity"),
        ({"required_affinity": ()}, {"zone": "a"}, "NodeAffinity"),  # no term: matches nothing
        ({"node_name": "n1"}, {}, ""),
        ({"node_name": "n2"}, {}, "NodeName"),
    ],
)
def test_a_pod_is_refused_on_a_node_it_does_not_want(options, labels, reason):
    assert admit(pod(**options), node(labels=labels)).reason == reason


def test_a_taken_host_port_refuses_a_pod():
    taken = node(host_ports=(HostPort(80), HostPort(53, "UDP")))
    assert admit(pod(ports=(HostPort(80),)), taken).reason == "NodePorts"
    assert admit(pod(ports=(HostPort(53, "TCP"),)), taken).admitted


@pytest.mark.parametrize("effect", ["NoSchedule", "PreferNoSchedule"])
def test_taints_about_scheduling_are_not_the_kubelets_business(effect):
    assert admit(pod(), node(taints=(Taint("k", effect),))).admitted


def test_no_execute_taints_refuse_all_but_tolerating_and_static_pods():
    tainted = node(taints=(Taint("k", "NoExecute"),))
    tolerating = pod(tolerations=(Toleration("k", "Exists"),))
    assert admit(pod(), tainted).reason == "TaintToleration"
    assert admit(tolerating, tainted).admitted
    assert admit(pod(), tainted, static=True).admitted


def test_a_pod_for_another_system_is_refused_before_anything_else():
    found = admit(pod(9999), node(), labels={"kubernetes.io/os": "windows"})
    assert found.reason == "PodOSSelectorNodeLabelDoesNotMatch"
    assert admit(pod(), node(), labels={"kubernetes.io/os": "linux"}).admitted


def test_refusals_come_in_the_order_of_the_checks():
    asked = pod(9999, 99 * GB, (HostPort(80),), node_name="n2", node_selector={"zone": "a"})
    full = node(
        used={"pods": 10},
        host_ports=(HostPort(80),),
        taints=(Taint("k", "NoExecute"),),
    )
    reasons = [refusal.reason for refusal in refusals(asked, full)]
    assert reasons == [
        *("OutOfpods", "OutOfcpu", "OutOfmemory"),
        *("NodeAffinity", "NodeName", "NodePorts", "TaintToleration"),
    ]


# Critical pods


def on_node(name, cpu=0, memory=0, qos="Burstable", priority=0, static=False):
    return OnNode(name, {"cpu": cpu, "memory": memory}, qos, priority, static)


@pytest.mark.parametrize(
    ("priority", "static", "critical"),
    [(0, False, False), (CRITICAL - 1, False, False), (CRITICAL, False, True), (0, True, True)],
)
def test_static_and_system_pods_are_critical(priority, static, critical):
    assert is_critical(priority, static=static) is critical


def test_a_critical_pod_pushes_out_what_it_lacks():
    running = [on_node(1, 2000), on_node(2, 1000), on_node(3, 1000)]
    found = admit(pod(1000, priority=CRITICAL), node(used={"cpu": 4000}), running)
    # 2 and 3 both give the 1000 that lack, 1 gives more than enough: all at distance 0; of these
    # the smaller ones come first, and of equals the later one
    assert found.admitted
    assert [victim.id for victim in found.victims] == [3]


def test_other_pods_push_nobody_out():
    found = admit(pod(1000, priority=CRITICAL - 1), node(used={"cpu": 4000}), [on_node(1, 2000)])
    assert (found.reason, found.victims) == ("OutOfcpu", ())


def test_a_critical_pod_that_fits_nowhere_else_pushes_nobody_out():
    asked = pod(1000, priority=CRITICAL, node_name="n2")
    found = admit(asked, node(used={"cpu": 4000}), [on_node(1, 2000)])
    assert (found.reason, found.victims) == ("NodeName", ())


def test_a_critical_pod_fails_when_nobody_can_make_room():
    found = admit(pod(1000, priority=CRITICAL), node(used={"cpu": 4000}), [on_node(1, 999)])
    assert (found.reason, found.victims) == ("UnexpectedAdmissionError", ())


@pytest.mark.parametrize(
    ("priority", "victim", "ends"),
    [
        (CRITICAL, {"priority": CRITICAL - 1}, True),
        (CRITICAL, {"priority": CRITICAL}, False),
        (CRITICAL + 1, {"priority": CRITICAL}, True),
        (CRITICAL, {"static": True}, True),  # a static pod of priority 0
        (0, {"priority": 1000}, True),  # for a static pod: not critical, whatever its priority
        (0, {"priority": CRITICAL}, False),
        (0, {"static": True}, False),
    ],
)
def test_who_may_be_ended_for_whom(priority, victim, ends):
    found = preempt_for({"cpu": 100}, [on_node(1, 100, **victim)], priority=priority)
    assert (found is not None) is ends


def test_a_static_pod_pushes_out_what_it_lacks():
    full, running = node(used={"cpu": 4000}), [on_node(1, 1000, priority=5)]
    assert admit(pod(1000), full, running).reason == "OutOfcpu"
    assert admit(pod(1000), full, running, static=True).victims == tuple(running)


def ids(lacking, running):
    found = preempt_for(lacking, running, priority=CRITICAL)
    return None if found is None else [victim.id for victim in found]


def test_guaranteed_pods_go_last():
    running = [
        on_node(1, 100, qos="Guaranteed"),
        on_node(2, 100),
        on_node(3, qos="BestEffort"),
    ]
    assert ids({"cpu": 100}, running) == [2]
    assert ids({"cpu": 150}, running) == [2, 1]
    assert ids({"pods": 1}, running) == [3]
    assert ids({"pods": 3}, running) == [3, 2, 1]
    assert ids({"cpu": 201}, running) is None


def test_the_pod_nearest_to_what_is_lacking_goes_first():
    # lacking 1000 m and 1 GiB; distances: pod 1: 0 + (1 - 0)^2 = 1; pod 2: 0.5^2 + 0.5^2 = 0.5
    running = [on_node(1, 1000), on_node(2, 500, GB // 2), on_node(3, 500, GB)]
    # pod 3: 0.5^2 + 0 = 0.25 goes first; then 500 m lack: 1 and 2 both give them, 1 has less memory
    assert ids({"cpu": 1000, "memory": GB}, running) == [3, 1]


POD = st.builds(
    on_node,
    st.integers(),
    st.integers(0, 20).map(lambda n: 100 * n),
    st.integers(0, 20),
    st.sampled_from(["BestEffort", "Burstable", "Guaranteed"]),
)
LACKING = st.dictionaries(
    st.sampled_from(["cpu", "memory", "pods"]), st.integers(1, 3000), min_size=1
)


@given(st.lists(POD, max_size=7), LACKING)
def test_victims_give_what_is_lacking_and_are_refused_only_when_all_together_cannot(pods, lacking):
    def missing(victims):
        return [n for n, amount in lacking.items() if sum(v.request(n) for v in victims) < amount]

    found = preempt_for(lacking, pods, priority=CRITICAL)
    if found is None:
        assert missing(pods)
    else:
        assert not missing(found)


@given(st.lists(POD, max_size=7), LACKING)
def test_a_guaranteed_pod_goes_only_when_all_others_cannot_give_enough(pods, lacking):
    found = preempt_for(lacking, pods, priority=CRITICAL)
    if found and any(victim.qos == "Guaranteed" for victim in found):
        others = [pod for pod in pods if pod.qos != "Guaranteed"]
        assert preempt_for(lacking, others, priority=CRITICAL) is None
