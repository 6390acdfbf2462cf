"""Plugins that look at nodes' own properties and ports: what they refuse, in which words.

Expected words and codes: spec of kube-scheduler v1.34.1 (plugin sources named in each module).
"""

from __future__ import annotations

import pytest

from sim.extend import SKIP, Code, OnlyNodes, Rejection
from sim.labels import Requirement
from sim.plugins.node_affinity import NodeAffinity
from sim.plugins.node_name import NodeName
from sim.plugins.node_ports import NodePorts
from sim.plugins.node_unschedulable import NodeUnschedulable
from sim.plugins.taint_toleration import TaintToleration
from sim.podspec import HostPort, NodeSelectorTerm, PreferredTerm, Taint, Toleration
from sim.testing import a_cluster, a_node, a_pod, bound


def refusals(plugin, pod, nodes, pods=()):
    """Per node None or (code, reason)."""
    cluster = a_cluster(nodes, pods)
    template, ids = cluster.template(pod), cluster.nodes.ids()
    state = plugin.prefilter(template, cluster)
    if state is SKIP:
        return [None] * len(ids)
    if isinstance(state, OnlyNodes):
        state = state.state
    found = []
    for why in plugin.filter(template, cluster, ids, state).tolist():
        verdict = plugin.verdict(why, cluster) if why else None
        found.append(verdict and (verdict.code, *verdict.reasons))
    return found


def takes(plugin, pod, nodes, pods=()):
    return [refusal is None for refusal in refusals(plugin, pod, nodes, pods)]


def scores(plugin, pod, nodes):
    """Raw scores and normalised ones; SKIP when there is nothing to score."""
    cluster = a_cluster(nodes)
    template, ids = cluster.template(pod), cluster.nodes.ids()
    state = plugin.prescore(template, cluster, ids)
    if state is SKIP:
        return SKIP
    return plugin.normalize(plugin.score(template, cluster, ids, state)).tolist()


def term(*expressions, names=()):
    fields = tuple(Requirement("metadata.name", "In", tuple(n)) for n in names)
    return NodeSelectorTerm(tuple(Requirement(*e) for e in expressions), fields)


CORDON = "node.kubernetes.io/unschedulable"


def test_cordoned_nodes_are_refused_in_kubernetes_words():
    assert refusals(NodeUnschedulable(), a_pod(), [a_node(unschedulable=True), a_node()]) == [
        (Code.UNRESOLVABLE, "node(s) were unschedulable"),
        None,
    ]


@pytest.mark.parametrize(
    ("toleration", "taken"),
    [
        (Toleration(CORDON, "Exists", "", "NoSchedule"), True),
        (Toleration(CORDON), True),  # Equal with the value "", which is the taint's
        (Toleration("", "Exists"), True),
        (Toleration(CORDON, "Exists", "", "NoExecute"), False),
        (Toleration("other", "Exists"), False),
    ],
)
def test_cordoned_nodes_take_what_tolerates_it(toleration, taken):
    pod = a_pod(tolerations=(toleration,))
    assert takes(NodeUnschedulable(), pod, [a_node(unschedulable=True)]) == [taken]


def test_a_named_node_is_the_only_one():
    nodes = [a_node("one"), a_node("two")]
    wrong = (Code.UNRESOLVABLE, "node(s) didn't match the requested node name")
    assert refusals(NodeName(), a_pod(node_name="two"), nodes) == [wrong, None]
    assert refusals(NodeName(), a_pod(node_name="three"), nodes) == [wrong, wrong]
    assert refusals(NodeName(), a_pod(), nodes) == [None, None]


def test_the_first_untolerated_taint_is_named():
    taints = (
        Taint("soft", "PreferNoSchedule"),
        Taint("team", "NoSchedule", "x"),
        Taint("spot", "NoExecute"),
    )
    node = a_node(taints=taints)
    team = Toleration("team", "Exists")
    words = "node(s) had untolerated taint {%s}"
    assert refusals(TaintToleration(), a_pod(), [node]) == [(Code.UNRESOLVABLE, words % "team: x")]
    assert refusals(TaintToleration(), a_pod(tolerations=(team,)), [node]) == [
        (Code.UNRESOLVABLE, words % "spot: ")
    ]


@pytest.mark.parametrize(
    ("toleration", "taken"),
    [
        (Toleration("team", "Equal", "x", "NoSchedule"), True),
        (Toleration("team", "Equal", "y", "NoSchedule"), False),
        (Toleration("team", "Exists", "", "NoSchedule"), True),
        (Toleration("team", "Exists", "", "NoExecute"), False),
        (Toleration("team", "Equal", "x"), True),  # no effect: every effect
        (Toleration("", "Exists"), True),  # no key: every key
    ],
)
def test_toleration_of_a_hard_taint(toleration, taken):
    node = a_node(taints=(Taint("team", "NoSchedule", "x"),))
    assert takes(TaintToleration(), a_pod(tolerations=(toleration,)), [node]) == [taken]


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        # 0, 1, 3 taints: 100 - 100*n/3, division truncates: 100 - 33 = 67
        pytest.param((), [100, 67, 0], id="fewest soft taints best"),
        # `a` tolerated leaves 0, 0, 2: 100 - 100*2/2
        pytest.param((Toleration("a", "Exists"),), [100, 100, 0], id="tolerated ones do not count"),
        # a toleration of NoSchedule only says nothing about PreferNoSchedule
        pytest.param(
            (Toleration("a", "Exists", "", "NoSchedule"),), [100, 67, 0], id="effect must match"
        ),
        pytest.param((Toleration("", "Exists"),), [100, 100, 100], id="all tolerated: all 100"),
    ],
)
def test_soft_taints_score(tolerations, expected):
    soft = [Taint(key, "PreferNoSchedule") for key in "abc"]
    nodes = [a_node(), a_node(taints=(soft[0],)), a_node(taints=tuple(soft))]
    assert scores(TaintToleration(), a_pod(tolerations=tolerations), nodes) == expected


@pytest.mark.parametrize(
    ("terms", "taken"),
    [
        pytest.param((term(("disk", "In", ("ssd",))),), [True, False, False], id="in"),
        pytest.param((term(("disk", "NotIn", ("ssd",))),), [False, True, True], id="not in"),
        pytest.param((term(("disk", "Exists")),), [True, True, False], id="exists"),
        pytest.param((term(("disk", "DoesNotExist")),), [False, False, True], id="does not exist"),
        pytest.param((term(("cores", "Gt", ("4",))),), [True, False, False], id="gt: 8 > 4"),
        pytest.param((term(("cores", "Lt", ("8",))),), [False, False, False], id="lt is strict"),
        pytest.param((term(("cores", "Gt", ("x",))),), [False] * 3, id="gt of no number"),
        pytest.param(
            (term(("disk", "In", ("ssd",)), ("disk", "In", ("hdd",))),),
            [False] * 3,
            id="expressions are anded",
        ),
        pytest.param(
            (term(("disk", "In", ("ssd",))), term(("disk", "In", ("hdd",)))),
            [True, True, False],
            id="terms are ored",
        ),
        pytest.param((term(),), [False] * 3, id="an empty term matches nothing"),
        pytest.param((), [False] * 3, id="no terms match nothing"),
        pytest.param((term(names=[["node-2"]]),), [False, False, True], id="by name"),
    ],
)
def test_required_affinity(terms, taken):
    # the second node's label is no number, so Gt and Lt do not match it
    nodes = [
        a_node(labels={"disk": "ssd", "cores": "8"}),
        a_node(labels={"disk": "hdd", "cores": "many"}),
        a_node(),
    ]
    assert takes(NodeAffinity(), a_pod(required_affinity=terms), nodes) == taken


def test_selector_and_affinity_must_both_hold():
    nodes = [a_node(labels={"disk": "ssd"}), a_node(labels={"disk": "ssd", "gpu": "yes"})]
    pod = a_pod(node_selector={"gpu": "yes"}, required_affinity=(term(("disk", "In", ("ssd",))),))
    own = (Code.UNRESOLVABLE, "node(s) didn't match Pod's node affinity/selector")
    assert refusals(NodeAffinity(), pod, nodes) == [own, None]


def test_the_profile_s_affinity_is_asked_first():
    plugin = NodeAffinity(added_required=(term(("pool", "In", ("batch",))),))
    nodes = [a_node(), a_node(labels={"pool": "batch"})]
    enforced = (Code.UNRESOLVABLE, "node(s) didn't match scheduler-enforced node affinity")
    own = (Code.UNRESOLVABLE, "node(s) didn't match Pod's node affinity/selector")
    assert refusals(plugin, a_pod(), nodes) == [enforced, None]
    assert refusals(plugin, a_pod(node_selector={"a": "b"}), nodes) == [enforced, own]


@pytest.mark.parametrize(
    ("terms", "only"),
    [
        ((term(names=[["node-1"]]),), [1]),
        ((term(names=[["node-1"]]), term(names=[["node-0"]])), [0, 1]),  # terms are ored
        ((term(names=[["node-0", "node-1"], ["node-1"]]),), [1]),  # fields are anded
        ((term(names=[["gone"]]),), []),  # a name that does not exist is dropped
        ((term(names=[["node-1"]]), term(("disk", "Exists"))), None),  # one term without a name
    ],
)
def test_names_in_every_term_leave_only_those_nodes(terms, only):
    cluster = a_cluster([a_node(), a_node()])
    state = NodeAffinity().prefilter(cluster.template(a_pod(required_affinity=terms)), cluster)
    assert (state.nodes.tolist() if isinstance(state, OnlyNodes) else state) == only


def test_names_that_contradict_each_other_reject_the_pod():
    cluster = a_cluster([a_node(), a_node()])
    terms = (term(names=[["node-0"], ["node-1"]]),)
    state = NodeAffinity().prefilter(cluster.template(a_pod(required_affinity=terms)), cluster)
    assert isinstance(state, Rejection)
    assert state.verdict.reasons == ("pod affinity terms conflict",)


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        # 10 + 5, 10, 0: 100*n/15
        pytest.param([(10, "disk"), (5, "gpu")], [100, 66, 0], id="weights of met terms add up"),
        pytest.param([(10, "none")], [0, 0, 0], id="none met: all 0"),
        pytest.param([], SKIP, id="no preference, no score"),
    ],
)
def test_preferred_affinity_scores(preferred, expected):
    nodes = [a_node(labels={"disk": "x", "gpu": "y"}), a_node(labels={"disk": "x"}), a_node()]
    terms = tuple(PreferredTerm(weight, term((key, "Exists"))) for weight, key in preferred)
    assert scores(NodeAffinity(), a_pod(preferred_affinity=terms), nodes) == expected


def test_the_profile_s_preference_scores_pods_without_their_own():
    plugin = NodeAffinity(added_preferred=(PreferredTerm(3, term(("disk", "Exists"))),))
    assert scores(plugin, a_pod(), [a_node(labels={"disk": "x"}), a_node()]) == [100, 0]


@pytest.mark.parametrize(
    ("wanted", "free"),
    [
        pytest.param(HostPort(80), False, id="same port on every address"),
        pytest.param(HostPort(80, ip="10.0.0.2"), True, id="other address"),
        pytest.param(HostPort(80, ip="10.0.0.1"), False, id="same address"),
        pytest.param(HostPort(80, "UDP"), True, id="other protocol"),
        pytest.param(HostPort(81), True, id="other port"),
    ],
)
def test_host_ports_conflict(wanted, free):
    holder = bound(a_pod(host_ports=(HostPort(80, ip="10.0.0.1"),)), 0)
    pod = a_pod(host_ports=(wanted,))
    words = "node(s) didn't have free ports for the requested pod ports"
    expected = None if free else (Code.UNSCHEDULABLE, words)
    assert refusals(NodePorts(), pod, [a_node(), a_node()], [holder]) == [expected, None]
