"""Queueing hints of the plugins that look at nodes, resources, ports and the spread of pods.

Upstream: isSchedulableAfter... of each plugin (v1.34.1); what is not in a table's rows is Skip.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.events import Action, Event, Kind, NodeFacts, PodFacts
from sim.extend import Gates, Listens
from sim.labels import Requirement, Selector
from sim.plugins.node_affinity import NodeAffinity
from sim.plugins.node_name import NodeName
from sim.plugins.node_ports import NodePorts
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.plugins.node_unschedulable import NodeUnschedulable
from sim.plugins.pod_topology_spread import PodTopologySpread
from sim.plugins.scheduling_gates import SchedulingGates
from sim.plugins.taint_toleration import TaintToleration
from sim.podspec import HostPort, NodeSelectorTerm, SpreadConstraint, Taint, Toleration
from sim.queue import covers
from sim.tables import UNBOUND
from sim.testing import ZONE, a_cluster, a_pod
from sim.workloads import Service

GPU = "nvidia.com/gpu"
NODE = NodeFacts("node-0", {}, (), False, {"cpu": 4000, "memory": 2**30, "pods": 110})
CORDONED = replace(NODE, unschedulable=True)
SOFT, HARD = Taint("team", "PreferNoSchedule"), Taint("team", "NoSchedule")
TOLERATES = Toleration("team", "Exists")
TOLERATES_CORDON = Toleration("node.kubernetes.io/unschedulable", "Exists")
WEB, API = {"app": "web"}, {"app": "api"}


def node_hint(plugin, pod, before, after, cluster=None):
    """Asked as the queue would for any of the plugin's events of nodes."""
    cluster = cluster or a_cluster()
    action = Action.ADD if before is None else Action.DELETE if after is None else Action.UPDATE
    event = Event(Kind.NODE, action, before, after)
    return plugin.hint(event, cluster.template(pod), cluster, own=False)


def pod_hint(plugin, pod, action, before, after, *, own=False, node=UNBOUND, nominated=UNBOUND):
    """Asked of an event of the pod itself, or of another one with that node."""
    cluster = a_cluster()

    def facts(of):
        return of and PodFacts(7, "pod-7", cluster.template(of), node, nominated)

    event = Event(Kind.POD, action, facts(before), facts(after))
    return plugin.hint(event, cluster.template(pod), cluster, own=own)


PLUGINS = [
    NodeUnschedulable(),
    NodeName(),
    TaintToleration(),
    NodeAffinity(),
    NodePorts(),
    NodeResourcesFit(),
    PodTopologySpread(),
    SchedulingGates(),
]
EVENTS = [(Kind.NODE, a) for a in Action if a <= Action.NODE_ANNOTATION] + [
    (Kind.POD, a) for a in Action if a in (Action.ADD, Action.DELETE) or a >= Action.POD_LABEL
]
HEARD = {  # EventsToRegister with queueing hints; taints that the queue adds are not among them
    "NodeUnschedulable": "Node ADD, Node NODE_TAINT, Pod POD_TOLERATION",
    "NodeName": "Node ADD",
    "TaintToleration": "Node ADD, Node NODE_TAINT, Pod POD_TOLERATION",
    "NodeAffinity": "Node ADD, Node NODE_LABEL",
    "NodePorts": "Node ADD, Pod DELETE",
    "NodeResourcesFit": "Node ADD, Node NODE_ALLOCATABLE, Pod DELETE, Pod POD_SCALE_DOWN",
    "PodTopologySpread": "Node ADD, Node DELETE, Node NODE_LABEL, Node NODE_TAINT,"
    " Pod ADD, Pod DELETE, Pod POD_LABEL, Pod POD_TOLERATION",
    "SchedulingGates": "Pod POD_GATES_ELIMINATED",
}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugins_hear_of_what_upstream_registers(plugin):
    assert isinstance(plugin, Listens)
    heard = {
        f"{kind.value} {action.name}"
        for kind, action in EVENTS
        if covers(plugin.listens, kind, action)
    }
    assert heard == set(HEARD[plugin.name].split(", "))


@pytest.mark.parametrize(("gates", "admitted"), [((), True), (("wait",), False)])
def test_gates_keep_a_pod_out(gates, admitted):
    plugin, cluster = SchedulingGates(), a_cluster()
    assert isinstance(plugin, Gates)
    assert plugin.admits(cluster.template(a_pod(scheduling_gates=gates))) == admitted


@pytest.mark.parametrize("own", [True, False])
def test_gates_that_go_concern_their_own_pod_only(own):
    gated = a_pod(scheduling_gates=("wait",))
    action = Action.POD_GATES_ELIMINATED
    assert pod_hint(SchedulingGates(), a_pod(), action, gated, a_pod(), own=own) == own


def test_any_new_node_may_have_the_name():
    assert node_hint(NodeName(), a_pod(node_name="other"), None, NODE)


@pytest.mark.parametrize(
    ("before", "after", "queue"),
    [
        (None, NODE, True),
        (None, CORDONED, False),
        (CORDONED, NODE, True),
        (CORDONED, CORDONED, False),
        (NODE, NODE, False),
        (NODE, CORDONED, False),
    ],
)
@pytest.mark.parametrize("tolerations", [(), (TOLERATES_CORDON,)])  # not looked at
def test_uncordoned_and_new_nodes_may_help(before, after, queue, tolerations):
    pod = a_pod(tolerations=tolerations)
    assert node_hint(NodeUnschedulable(), pod, before, after) == queue


@pytest.mark.parametrize(
    ("tolerations", "own", "queue"),
    [
        ((TOLERATES_CORDON,), True, True),
        ((TOLERATES_CORDON,), False, False),
        ((TOLERATES,), True, False),
    ],
)
def test_a_pod_that_comes_to_tolerate_cordoned_nodes_may_go_there(tolerations, own, queue):
    new = a_pod(tolerations=tolerations)
    action = Action.POD_TOLERATION
    assert pod_hint(NodeUnschedulable(), new, action, a_pod(), new, own=own) == queue


@pytest.mark.parametrize(
    ("before", "after", "tolerations", "queue"),
    [
        (None, (), (), True),
        (None, (HARD,), (), False),
        (None, (HARD,), (TOLERATES,), True),
        (None, (SOFT,), (), True),
        ((HARD,), (), (), True),
        ((HARD,), (SOFT,), (), True),
        ((HARD,), (HARD, SOFT), (), False),
        ((SOFT,), (), (), False),  # it did not stop the pod
        ((HARD,), (), (TOLERATES,), False),  # nor did this one
    ],
)
def test_a_node_without_untolerated_taints_any_more_may_help(before, after, tolerations, queue):
    before = before if before is None else replace(NODE, taints=before)
    pod = a_pod(tolerations=tolerations)
    assert node_hint(TaintToleration(), pod, before, replace(NODE, taints=after)) == queue


@pytest.mark.parametrize("own", [True, False])
def test_any_change_of_its_own_tolerations_may_help_a_pod(own):
    action = Action.POD_TOLERATION
    old = a_pod(tolerations=(TOLERATES,))
    assert pod_hint(TaintToleration(), a_pod(), action, old, a_pod(), own=own) == own


SSD, HDD = {"disk": "ssd"}, {"disk": "hdd"}
WANTS_SSD = NodeSelectorTerm((Requirement("disk", "In", ("ssd",)),))
NAMED = NodeSelectorTerm((), (Requirement("metadata.name", "In", ("node-0",)),))
OLD = NodeSelectorTerm((Requirement("old", "Exists"),))


@pytest.mark.parametrize(
    ("pod", "before", "after", "queue"),
    [
        (a_pod(node_selector=SSD), None, SSD, True),
        (a_pod(node_selector=SSD), None, HDD, False),
        (a_pod(node_selector=SSD), HDD, SSD, True),
        (a_pod(node_selector=SSD), SSD, {**SSD, "more": ""}, False),  # it matched before
        (a_pod(node_selector=SSD), SSD, HDD, False),
        (a_pod(required_affinity=(WANTS_SSD,)), HDD, SSD, True),
        (a_pod(required_affinity=(OLD, WANTS_SSD)), HDD, SSD, True),  # terms are ORed
        (a_pod(required_affinity=(OLD,), node_selector=SSD), HDD, SSD, False),  # both must hold
        (a_pod(required_affinity=(NAMED,)), None, HDD, True),
        (a_pod(), HDD, SSD, False),
    ],
)
def test_a_node_that_comes_to_match_may_help(pod, before, after, queue):
    before = before if before is None else replace(NODE, labels=before)
    assert node_hint(NodeAffinity(), pod, before, replace(NODE, labels=after)) == queue


@pytest.mark.parametrize(
    ("before", "after", "queue"),
    [
        ({}, SSD, False),  # not what the profile demands
        ({}, {**SSD, "old": ""}, True),
        (SSD, {**SSD, "old": ""}, False),  # upstream asks only the new node for the profile's rule
    ],
)
def test_a_node_has_to_match_the_rule_of_the_profile_too(before, after, queue):
    plugin = NodeAffinity(added_required=(OLD,))
    nodes = [replace(NODE, labels=labels) for labels in (before, after)]
    assert node_hint(plugin, a_pod(node_selector=SSD), *nodes) == queue


@pytest.mark.parametrize(
    ("port", "node", "nominated", "queue"),
    [
        (80, 0, UNBOUND, True),
        (80, UNBOUND, 0, True),  # it was to get its node
        (80, UNBOUND, UNBOUND, False),
        (81, 0, UNBOUND, False),
    ],
)
def test_a_port_that_is_given_up_may_help(port, node, nominated, queue):
    pod, other = (a_pod(host_ports=(HostPort(p),)) for p in (80, port))
    found = pod_hint(NodePorts(), pod, Action.DELETE, other, None, node=node, nominated=nominated)
    assert found == queue


def test_a_new_node_may_have_the_port_free():
    assert node_hint(NodePorts(), a_pod(host_ports=(HostPort(80),)), None, NODE)


@pytest.mark.parametrize(
    ("node", "nominated", "queue"),
    [(0, UNBOUND, True), (UNBOUND, 0, True), (UNBOUND, UNBOUND, False)],
)
def test_a_pod_that_leaves_its_node_may_make_room(node, nominated, queue):
    arguments = (NodeResourcesFit(), a_pod(cpu_m=100), Action.DELETE, a_pod(), None)
    assert pod_hint(*arguments, node=node, nominated=nominated) == queue


@pytest.mark.parametrize(
    ("before", "after", "node", "own", "queue"),
    [
        ({"cpu": 500}, {"cpu": 400}, 0, False, True),
        ({"cpu": 500}, {"cpu": 400}, UNBOUND, False, False),
        ({"memory": 500}, {"memory": 400}, 0, False, False),  # not asked for
        ({GPU: 2, "cpu": 5}, {"cpu": 5}, 0, False, True),
        ({"memory": 500}, {"memory": 400}, UNBOUND, True, True),  # its own, whatever it is
    ],
)
def test_a_pod_that_asks_for_less_may_make_room(before, after, node, own, queue):
    pod = a_pod(cpu_m=100, extended={GPU: 1})
    pods = [a_pod(extended=requests) for requests in (before, after)]
    found = pod_hint(NodeResourcesFit(), pod, Action.POD_SCALE_DOWN, *pods, node=node, own=own)
    assert found == queue


def sized(**amounts):
    return replace(NODE, allocatable={**NODE.allocatable, **amounts})


@pytest.mark.parametrize(
    ("before", "after", "queue"),
    [
        (None, sized(cpu=1000), True),
        (None, sized(cpu=999), False),  # less than the pod asks for
        (None, sized(pods=0), False),
        (sized(cpu=500), sized(cpu=1000), True),
        (sized(cpu=500), sized(cpu=900), False),  # grew, not enough
        (sized(cpu=2000), sized(cpu=1500), False),  # enough, but less than before
        (sized(memory=1), sized(memory=2), False),  # not asked for
        (sized(pods=1), sized(pods=2), True),
    ],
)
def test_a_node_with_more_of_what_the_pod_asks_for_may_help(before, after, queue):
    assert node_hint(NodeResourcesFit(), a_pod(cpu_m=1000), before, after) == queue


def test_the_hint_looks_at_ignored_resources_as_upstream_does():
    plugin = NodeResourcesFit(ignored_resources=frozenset([GPU]))
    assert not node_hint(plugin, a_pod(extended={GPU: 1}), None, NODE)


# PodTopologySpread

ZONES = SpreadConstraint(ZONE, 1, "DoNotSchedule", Selector.of(WEB))
RACKS = replace(ZONES, topology_key="rack")
ANYWAY = replace(RACKS, when_unsatisfiable="ScheduleAnyway")
SPREAD = a_pod(labels=WEB, spread=(ZONES, RACKS, ANYWAY))
A, B = {ZONE: "a", "rack": "1"}, {ZONE: "b", "rack": "1"}


@pytest.mark.parametrize(
    ("before", "after", "queue"),
    [
        (None, A, True),
        (None, {ZONE: "a"}, False),  # without a key it does not count
        (A, None, True),
        ({ZONE: "a"}, None, False),
        ({}, A, True),
        (A, {}, True),
        (A, B, True),
        (A, {**A, "other": "x"}, False),
        ({ZONE: "a"}, {ZONE: "b"}, False),
    ],
)
def test_nodes_that_come_to_count_or_cease_to_may_help(before, after, queue):
    nodes = [
        labels if labels is None else replace(NODE, labels=labels) for labels in (before, after)
    ]
    assert node_hint(PodTopologySpread(), SPREAD, *nodes) == queue


@pytest.mark.parametrize(("labels", "queue"), [(A, True), ({}, False)])
def test_taints_of_a_node_that_counts_may_help(labels, queue):
    before = replace(NODE, labels=labels)
    after = replace(before, taints=(SOFT,))
    assert node_hint(PodTopologySpread(), SPREAD, before, after) == queue


@pytest.mark.parametrize(
    ("action", "before", "after", "node", "queue"),
    [
        (Action.ADD, None, a_pod(labels=WEB), 0, True),
        (Action.ADD, None, a_pod(labels=API), 0, False),
        (Action.ADD, None, a_pod(labels=WEB), UNBOUND, False),
        (Action.ADD, None, a_pod(labels=WEB, namespace="other"), 0, False),
        (Action.DELETE, a_pod(labels=WEB), None, 0, True),
        (Action.DELETE, a_pod(labels=API), None, 0, False),
        (Action.POD_LABEL, a_pod(labels=API), a_pod(labels=WEB), 0, True),
        (Action.POD_LABEL, a_pod(labels=WEB), a_pod(labels=API), 0, True),
        (Action.POD_LABEL, a_pod(labels=WEB), a_pod(labels={**WEB, "x": ""}), 0, False),
        (Action.POD_LABEL, a_pod(labels=API), a_pod(labels=WEB), UNBOUND, False),
    ],
)
def test_pods_that_come_to_count_or_cease_to_may_help(action, before, after, node, queue):
    assert pod_hint(PodTopologySpread(), SPREAD, action, before, after, node=node) == queue


@pytest.mark.parametrize(
    ("policy", "own", "queue"),
    [("Honor", True, True), ("Ignore", True, False), ("Honor", False, False)],
)
def test_own_tolerations_matter_where_taints_are_honoured(policy, own, queue):
    new = a_pod(labels=WEB, spread=(replace(ZONES, node_taints_policy=policy),))
    old = replace(new, spec=replace(new.spec, tolerations=(TOLERATES,)))
    action = Action.POD_TOLERATION
    assert pod_hint(PodTopologySpread(), new, action, old, new, own=own) == queue


def test_own_labels_matter_to_a_pod_that_has_no_node():
    new = a_pod(labels=WEB, spread=(ZONES,))
    old = replace(new, labels=API)
    assert pod_hint(PodTopologySpread(), new, Action.POD_LABEL, old, new, own=True)


@pytest.mark.parametrize(("value", "queue"), [("1", True), ("2", False)])
def test_keys_of_match_label_keys_are_part_of_the_selector(value, queue):
    rule = replace(ZONES, match_label_keys=("hash",))
    pod = a_pod(labels={**WEB, "hash": "1"}, spread=(rule,))
    other = a_pod(labels={**WEB, "hash": value})
    assert pod_hint(PodTopologySpread(), pod, Action.ADD, None, other, node=0) == queue


@pytest.mark.parametrize(
    ("selector", "queue"), [(None, False), (Selector(), True)], ids=["missing", "empty"]
)
def test_an_empty_selector_picks_every_pod_and_a_missing_one_none(selector, queue):
    pod = a_pod(spread=(replace(ZONES, selector=selector),))
    assert pod_hint(PodTopologySpread(), pod, Action.ADD, None, a_pod(), node=0) == queue


@pytest.mark.parametrize(("labels", "queue"), [({ZONE: "a"}, True), ({}, False)])
def test_default_constraints_of_a_profile_are_asked_like_own_ones(labels, queue):
    cluster = a_cluster(services=[Service("default", "web", Selector.of(WEB))])
    plugin = PodTopologySpread(defaults=(ZONES,), system_defaulted=False)
    after = replace(NODE, labels=labels)
    assert node_hint(plugin, a_pod(labels=WEB), None, after, cluster) == queue
