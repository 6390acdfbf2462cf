"""Pod specifications: effective requests, QoS, taints, ports; the arithmetic stands beside each."""

import pytest

from sim.labels import Requirement
from sim.podspec import (
    DEFAULT_MEMORY_REQUEST_B,
    Container,
    HostPort,
    NodeSelectorTerm,
    PodSpec,
    Taint,
    Toleration,
    nonzero_request,
)


def a_container(requests=None, limits=None, *, sidecar=False, ports=()):
    return Container("c", "", requests or {}, limits or {}, host_ports=ports, sidecar=sidecar)


def test_init_containers_run_one_by_one_beside_the_sidecars_before_them():
    spec = PodSpec(
        containers=(a_container({"cpu": 100}), a_container({"cpu": 50})),
        init_containers=(
            a_container({"cpu": 300}),
            a_container({"cpu": 40}, sidecar=True),
            a_container({"cpu": 320}),
        ),
    )
    # steps: 300; sidecar 40; 40 + 320 = 360; then 100 + 50 + 40 = 190: the largest is 360
    assert spec.requests == {"cpu": 360}


def test_pod_level_requests_replace_the_sum_and_overhead_comes_on_top():
    spec = PodSpec(
        containers=(a_container({"cpu": 500, "memory": 10, "x.io/gpu": 1}),),
        pod_requests={"cpu": 200},
        overhead={"cpu": 5, "memory": 7},
    )
    # cpu 200 + 5; memory 10 + 7; a device has no pod level
    assert spec.requests == {"cpu": 205, "memory": 17, "x.io/gpu": 1}


def test_overhead_is_added_only_to_limits_that_are_set():
    spec = PodSpec(
        containers=(a_container(limits={"cpu": 1000, "memory": 0}),),
        overhead={"cpu": 5, "memory": 7},
    )
    assert spec.limits == {"cpu": 1005, "memory": 0}


@pytest.mark.parametrize(
    ("containers", "qos"),
    [
        ((a_container(),), "BestEffort"),
        ((a_container({"cpu": 0}),), "BestEffort"),  # zero is as good as none
        ((a_container({"x.io/gpu": 1}, {"x.io/gpu": 1}),), "BestEffort"),
        ((a_container({"cpu": 1}),), "Burstable"),
        ((a_container({"cpu": 1, "memory": 1}, {"cpu": 1, "memory": 1}),), "Guaranteed"),
        ((a_container({"cpu": 1, "memory": 1}, {"cpu": 2, "memory": 1}),), "Burstable"),
        (
            (a_container({"cpu": 1, "memory": 1}, {"cpu": 1, "memory": 1}), a_container()),
            "Burstable",
        ),
    ],
)
def test_qos_class(containers, qos):
    assert PodSpec(containers=containers).qos == qos


def test_host_ports_of_sidecars_count_and_those_of_other_init_containers_do_not():
    spec = PodSpec(
        containers=(a_container(ports=(HostPort(80),)),),
        init_containers=(
            a_container(ports=(HostPort(81),)),
            a_container(ports=(HostPort(82),), sidecar=True),
        ),
    )
    assert [port.port for port in spec.host_ports] == [80, 82]


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (HostPort(80), HostPort(80), True),
        (HostPort(80), HostPort(81), False),
        (HostPort(80, "UDP"), HostPort(80, "TCP"), False),
        (HostPort(80, ip="10.0.0.1"), HostPort(80, ip="10.0.0.2"), False),
        (HostPort(80, ip="10.0.0.1"), HostPort(80), True),  # 0.0.0.0 is every address
    ],
)
def test_host_ports_conflict_on_the_same_address(first, second, conflict):
    assert first.conflicts(second) is conflict
    assert second.conflicts(first) is conflict


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration("zone", "Equal", "b", "NoExecute"), True),
        (Toleration("zone", "Equal", "a", "NoExecute"), False),
        (Toleration("zone", "Equal", "b", "NoSchedule"), False),
        (Toleration("zone", "Exists"), True),
        (Toleration("", "Exists"), True),  # no key: every taint
        (Toleration("other", "Exists"), False),
    ],
)
def test_a_toleration_covers_a_taint_or_not(toleration, tolerated):
    assert toleration.tolerates(Taint("zone", "NoExecute", "b")) is tolerated


def test_a_term_needs_both_its_expressions_and_its_fields():
    term = NodeSelectorTerm(
        (Requirement("disk", "In", ("ssd",)),), (Requirement("metadata.name", "In", ("n1",)),)
    )
    assert term.matches({"disk": "ssd"}, "n1")
    assert not term.matches({"disk": "ssd"}, "n2")
    assert not term.matches({}, "n1")
    assert not NodeSelectorTerm().matches({"disk": "ssd"}, "n1")


def test_scores_count_a_default_for_each_container_that_names_no_request():
    spec = PodSpec(containers=(a_container({"memory": 0}), a_container()))
    default = DEFAULT_MEMORY_REQUEST_B
    assert nonzero_request(spec, "memory", default, on_node=False) == default  # 0 stays 0
    assert nonzero_request(spec, "cpu", 100, on_node=False) == 200


def test_pod_level_requests_count_only_for_pods_on_a_node():
    spec = PodSpec(containers=(a_container(),), pod_requests={"cpu": 900})
    assert nonzero_request(spec, "cpu", 100, on_node=True) == 900
    assert nonzero_request(spec, "cpu", 100, on_node=False) == 100  # the quirk of v1.34.1
    assert nonzero_request(spec, "memory", 200, on_node=True) == 200  # nobody names memory
