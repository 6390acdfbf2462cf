"""Who is preempted, and where: eligibility, victims, reprieves, budgets, ranking, the cut."""

from __future__ import annotations

import numpy as np
import pytest

from sim.catalog import default_profile
from sim.evaluation import Evaluation
from sim.labels import Requirement, Selector
from sim.plugins.default_preemption import DefaultPreemption
from sim.podspec import HostPort, PodAffinity, PodAffinityTerm, SpreadConstraint, Taint
from sim.preemption import NoPreemption, Preemption, Preemptor
from sim.recorder import Reason
from sim.search import refusals_beside
from sim.tables import UNBOUND
from sim.testing import HOSTNAME, ZONE, a_cluster, a_node, a_pod, bound, put_pod
from sim.workloads import PodDisruptionBudget

MORE = 1000  # the priority of the pod that preempts, unless a test says otherwise
EARLIER_MS, LATER_MS = 1000, 2000
WEB = Selector.of({"app": "web"})


class Case:
    """A cluster of nodes of 4 CPU and a Preemptor that says what it would do for a pod."""

    def __init__(self, *nodes, budgets=(), plugin=None):
        self.cluster = a_cluster(nodes)
        for budget in budgets:
            self.cluster.budgets[budget.namespace, budget.name] = budget
        self.plugin = plugin or DefaultPreemption()
        self.preemptor = Preemptor(self.cluster, self.plugin, lambda b: b.disruptions_allowed or 0)
        self.nominated = {}
        self.drawn = []

    def run(self, node, *, at_ms=None, **pod):
        """A pod on the node, bound at that time."""
        if at_ms is not None and at_ms > self.cluster.clock.now_ms:
            self.cluster.clock.run(at_ms)
        return put_pod(self.cluster, bound(a_pod(**pod), node))

    def wait(self, node=None, **pod):
        """A pending pod, nominated to the node if one is given."""
        added = put_pod(self.cluster, a_pod(**pod))
        if node is not None:
            self.nominated[added] = node
        return added

    def preempt(self, pod, *, begin=0, pick=0):
        cluster = self.cluster
        template = cluster.pod_template(pod)
        evaluation = Evaluation(template, cluster, default_profile())
        evaluation.refresh()
        assert not evaluation.mask.any()
        beside = {}
        for other, node in self.nominated.items():
            priority = cluster.pod_template(other).pod.spec.priority
            if other != pod and priority >= template.pod.spec.priority:
                beside.setdefault(node, []).append(other)
        codes = evaluation.codes()
        for node, (_, verdict) in refusals_beside(evaluation, beside).items():
            codes[node] = verdict.code

        def draw(choice):
            def drawn(below):
                self.drawn.append(below)
                return choice

            return drawn

        order = cluster.nodes.ids()
        return self.preemptor.preempt(
            pod, evaluation, codes, self.nominated, order, draw(begin), draw(pick)
        )


def four_cpu(count=1, **node):
    return [a_node(cpu_m=4000, **node) for _ in range(count)]


# Eligibility


def test_a_pod_whose_policy_is_never_preempts_nobody_and_keeps_its_nomination():
    case = Case(*four_cpu())
    case.run(0, cpu_m=4000)
    found = case.preempt(case.wait(0, cpu_m=1000, priority=MORE, preemption_policy="Never"))
    assert found == NoPreemption("not eligible due to preemptionPolicy=Never.", False, {})


@pytest.mark.parametrize(
    ("priority", "reason", "waits"),
    [
        pytest.param(0, Reason.PREEMPTED, True, id="a victim of lower priority is on its way"),
        pytest.param(MORE, Reason.PREEMPTED, False, id="it is no less important"),
        pytest.param(0, Reason.TAINT_EVICTION, False, id="it goes for another reason"),
        pytest.param(0, None, False, id="it stays"),
    ],
)
def test_a_nominated_pod_waits_for_victims_that_terminate(priority, reason, waits):
    case = Case(*four_cpu(2))
    case.run(0, cpu_m=4000, priority=priority)
    case.run(1, cpu_m=4000)
    if reason:
        case.cluster.delete_pod(0, reason)
    found = case.preempt(case.wait(0, cpu_m=4000, priority=MORE))
    assert isinstance(found, NoPreemption) == waits
    if waits:
        why = "not eligible due to a terminating pod on the nominated node."
        assert found == NoPreemption(why, False, {})


@pytest.mark.parametrize("gone", [True, False], ids=["it is gone", "it is tainted"])
def test_a_nominated_node_that_is_of_no_use_any_more_is_not_waited_for(gone):
    case = Case(*four_cpu(2))
    for node in (0, 1):
        case.run(node, cpu_m=4000)
    case.cluster.delete_pod(0, Reason.PREEMPTED)
    if gone:
        case.cluster.remove_node(0)
    else:
        case.cluster.set_taints(0, (Taint("full", "NoSchedule"),))
    assert case.preempt(case.wait(0, cpu_m=4000, priority=MORE)).node == 1


def test_without_nodes_nobody_is_preempted():
    case = Case()
    found = case.preempt(case.wait(priority=MORE))
    assert found == NoPreemption("no nodes available", False, {})


# Who can go


def test_only_pods_of_lower_priority_go():
    case = Case(*four_cpu(2))
    case.run(0, cpu_m=4000, priority=MORE)
    below = case.run(1, cpu_m=4000, priority=MORE - 1)
    assert case.preempt(case.wait(cpu_m=1000, priority=MORE)).victims == (below,)


def test_where_nobody_can_go_the_reasons_are_counted():
    nodes = [*four_cpu(4), a_node(cpu_m=500), a_node(taints=(Taint("t", "NoExecute"),))]
    case = Case(*nodes)
    for node in (0, 1, 2):
        case.run(node, cpu_m=3500, priority=MORE)
    case.run(2, cpu_m=100)  # 0.4 CPU are left without it, too few
    case.run(3, cpu_m=3900, priority=MORE)
    found = case.preempt(case.wait(cpu_m=1000, priority=MORE))
    # 0, 1 and 3 have no victims, 2 is too full even so, 4 and 5 cannot be helped
    assert found.clears_nomination
    assert found.counts == {
        "No preemption victims found for incoming pod": 3,
        "Insufficient cpu": 1,
        "Preemption is not helpful for scheduling": 2,
    }
    assert found.why == (
        "0/6 nodes are available: 1 Insufficient cpu, "
        "2 Preemption is not helpful for scheduling, "
        "3 No preemption victims found for incoming pod."
    )


def test_a_pod_that_fails_again_with_nothing_changed_gets_the_same_answer_without_a_search():
    case = Case(*four_cpu())
    case.run(0, cpu_m=4000, priority=MORE)
    pod = {"cpu_m": 1000, "priority": MORE}
    evaluation = Evaluation(case.cluster.template(a_pod(**pod)), case.cluster, default_profile())
    evaluation.refresh()

    def ask(codes):
        return case.preemptor.preempt(
            case.wait(**pod), evaluation, codes, {}, case.cluster.nodes.ids(), lambda n: 0, len
        )

    first = ask(evaluation.codes())
    assert isinstance(first, NoPreemption)
    assert ask(None) is first  # the codes are not even looked at
    case.run(0)
    evaluation.refresh()
    assert ask(evaluation.codes()) == NoPreemption(
        "0/1 nodes are available: 1 Insufficient cpu.", True, {"Insufficient cpu": 1}
    )


# Reprieve


@pytest.mark.parametrize(
    ("pods", "victims"),
    [
        # room for 3 CPU beside the new pod's 1: the two most important come back
        pytest.param([(3, 1500), (2, 1500), (1, 1000)], (2,), id="the least important goes"),
        # 3.5 do not fit beside 1, 0.5 do
        pytest.param([(3, 3500), (2, 500)], (0,), id="the most important goes if it is too big"),
        # after 2 CPU of the first, 1 is left: the second is too big, the third is not
        pytest.param([(3, 2000), (2, 1500), (1, 500)], (1,), id="a small one fits after a big one"),
        pytest.param([(1, 1000), (3, 1000), (2, 2000)], (0,), id="their order on the node is void"),
    ],
)
def test_victims_come_back_most_important_first(pods, victims):
    case = Case(*four_cpu())
    for priority, cpu_m in pods:
        case.run(0, cpu_m=cpu_m, priority=priority)
    assert case.preempt(case.wait(cpu_m=1000, priority=MORE)).victims == victims


def test_of_equal_priority_the_one_that_runs_longest_stays():
    case = Case(*four_cpu())
    case.run(0, cpu_m=2000, at_ms=EARLIER_MS)
    later = case.run(0, cpu_m=2000, at_ms=LATER_MS)
    assert case.preempt(case.wait(cpu_m=1000, priority=MORE)).victims == (later,)


def test_a_pod_that_is_about_to_be_bound_starts_now():
    case = Case(*four_cpu())
    assumed = case.wait(cpu_m=2000)
    case.cluster.assume(assumed, 0)
    bound_later = case.run(0, cpu_m=2000, at_ms=EARLIER_MS)
    pod = case.wait(cpu_m=1000, priority=MORE)
    case.cluster.clock.run(LATER_MS)
    before = case.preempt(pod)
    case.cluster.bind(assumed, 0)
    assert (before.victims, before.candidates[0].earliest_start_ms) == ((assumed,), LATER_MS)
    case.cluster.clock.run(LATER_MS + 1)
    assert case.preempt(pod) == before  # 2000 is its start now
    assert case.cluster.pods.bound_ms[bound_later] == EARLIER_MS


def test_victims_are_listed_most_important_first():
    case = Case(*four_cpu())
    for priority in (1, 3, 2):
        case.run(0, cpu_m=1300, priority=priority)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    assert found.victims == (1, 2, 0)
    assert found.candidates[0].highest_priority == 3
    assert found.candidates[0].sum_priorities == 1 + 3 + 2 + 3 * 2**31


def test_a_node_with_too_many_pods_loses_one():
    case = Case(a_node(max_pods=2))
    case.run(0, priority=1)
    least = case.run(0, priority=0)
    assert case.preempt(case.wait(priority=MORE)).victims == (least,)


def test_the_holder_of_a_host_port_goes_however_important_the_others():
    case = Case(*four_cpu())
    port = (HostPort(80),)
    holder = case.run(0, priority=5, host_ports=port)
    case.run(0, priority=1)
    assert case.preempt(case.wait(priority=MORE, host_ports=port)).victims == (holder,)


# Budgets


def a_budget(allowed, *, selector=WEB, name="web", **budget):
    return PodDisruptionBudget(
        "default", name, selector, min_available=1, disruptions_allowed=allowed, **budget
    )


@pytest.mark.parametrize(
    ("allowed", "victims", "violations"),
    [
        # Most important first the pods 0 and 1 take from the budget: with 1 allowed, 1 would break
        # it, so it comes back before 0, and 0 goes although it is more important.
        pytest.param(1, (0,), 0, id="who would break the budget comes back first"),
        pytest.param(2, (1,), 0, id="nobody breaks it"),
        pytest.param(0, (1,), 1, id="both would break it"),
    ],
)
def test_budgets_decide_who_comes_back_first(allowed, victims, violations):
    case = Case(*four_cpu(), budgets=[a_budget(allowed)])
    for priority in (2, 1):
        case.run(0, cpu_m=2000, priority=priority, labels={"app": "web"})
    found = case.preempt(case.wait(cpu_m=2000, priority=MORE))
    assert found.victims == victims
    assert found.candidates[0].pdb_violations == violations


def test_victims_of_both_kinds_are_listed_most_important_first():
    case = Case(*four_cpu(), budgets=[a_budget(0)])
    case.run(0, cpu_m=2000, priority=2)
    case.run(0, cpu_m=2000, priority=1, labels={"app": "web"})
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    assert (found.victims, found.candidates[0].pdb_violations) == ((0, 1), 1)


LABELLED = {"labels": {"app": "web"}}


@pytest.mark.parametrize(
    ("budgets", "pod", "violations"),
    [
        pytest.param([a_budget(0)], LABELLED, 1, id="protected"),
        pytest.param([a_budget(0, selector=Selector())], LABELLED, 0, id="an empty selector"),
        pytest.param([a_budget(0, selector=None)], LABELLED, 0, id="no selector"),
        pytest.param(
            [a_budget(0, selector=Selector((Requirement("a", "DoesNotExist"),)))],
            {},
            0,
            id="a pod without labels has no budget, whatever the selector",
        ),
        pytest.param([a_budget(0)], {**LABELLED, "namespace": "else"}, 0, id="not its namespace"),
        pytest.param(
            [a_budget(0, disrupted_pods=frozenset({"pod-0"}))], LABELLED, 0, id="gone already"
        ),
        pytest.param([a_budget(1), a_budget(0, name="b")], LABELLED, 1, id="one of two breaks"),
    ],
)
def test_which_pods_a_budget_protects(budgets, pod, violations):
    case = Case(*four_cpu(), budgets=budgets)
    case.run(0, cpu_m=4000, **pod)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    assert found.candidates[0].pdb_violations == violations


def test_a_budget_that_allows_more_meanwhile_counts_as_it_is_now():
    allowed = [0]
    case = Case(*four_cpu(), budgets=[a_budget(0)])
    case.preemptor = Preemptor(case.cluster, case.plugin, lambda budget: allowed[0])
    case.run(0, cpu_m=4000, **LABELLED)
    pod = case.wait(cpu_m=4000, priority=MORE)
    before = case.preempt(pod).candidates[0].pdb_violations
    allowed[0] = 1
    assert (before, case.preempt(pod).candidates[0].pdb_violations) == (1, 0)


# Ranking: both nodes have to be emptied for the new pod


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(
            [{"priority": 0, **LABELLED}], [{"priority": 500}], id="fewest broken budgets"
        ),
        pytest.param(
            [{"priority": 5}], [{"priority": 4}] * 3, id="the most important victim matters least"
        ),
        # 2 * 5 + 2 * 2^31 against 5 + 4 + 2 * 2^31
        pytest.param([{"priority": 5}] * 2, [{"priority": 5}, {"priority": 4}], id="sum"),
        # -10 + -9 is less than -10, but 2 * 2^31 more than one
        pytest.param(
            [{"priority": -9}, {"priority": -10}],
            [{"priority": -9}],
            id="sum, where fewer pods beat negative priorities",
        ),
        # 0 + (-2^31) + 2 * 2^31 = 0 + 2^31
        pytest.param([{"priority": 0}, {"priority": -(2**31)}], [{"priority": 0}], id="fewest"),
        pytest.param([{"at_ms": EARLIER_MS}], [{"at_ms": LATER_MS}], id="the latest start"),
        # The earliest of the most important: 2000 on the second node, 1000 on the first
        pytest.param(
            [{"priority": 5, "at_ms": EARLIER_MS}, {"priority": 1, "at_ms": LATER_MS}],
            [{"priority": 5, "at_ms": LATER_MS}, {"priority": 1, "at_ms": LATER_MS}],
            id="the start of the most important",
        ),
    ],
)
@pytest.mark.parametrize("swapped", [False, True], ids=["", "the better node is first"])
def test_the_better_node_is_chosen(first, second, swapped):
    case = Case(*four_cpu(2), budgets=[a_budget(0)])
    places = [(pod, 0, len(first)) for pod in first] + [(pod, 1, len(second)) for pod in second]
    for pod, node, share in sorted(places, key=lambda place: place[0].get("at_ms", 0)):
        case.run(node ^ swapped, cpu_m=4000 // share, **pod)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    assert found.node == 1 ^ swapped
    assert found.best == (found.node,)
    assert len(found.candidates) == 2


def test_among_equal_nodes_one_is_drawn():
    case = Case(*four_cpu(3))
    for node in range(3):
        case.run(node, cpu_m=4000, priority=1 if node == 1 else 0)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE), pick=1)
    assert (found.best, found.node) == ((0, 2), 2)
    assert case.drawn == [3, 2]  # where to begin among 3, and which of 2


# The cut


@pytest.mark.parametrize(
    ("nodes", "plugin", "wanted"),
    [
        (1000, DefaultPreemption(), 100),
        (5000, DefaultPreemption(), 500),
        (99, DefaultPreemption(), 99),
        (199, DefaultPreemption(10, 1), 19),
        (50, DefaultPreemption(0, 7), 7),
        (5, DefaultPreemption(0, 7), 5),
        (9, DefaultPreemption(10, 0), 0),  # 0.9
    ],
)
def test_how_many_candidates_are_wanted(nodes, plugin, wanted):
    assert plugin.candidates_wanted(nodes) == wanted


@pytest.mark.parametrize(
    ("allowed", "begin", "candidates"),
    [
        pytest.param(1, 0, [0, 1], id="two are enough"),
        pytest.param(1, 4, [4, 0], id="from the offset, around the end"),
        # All break the budget: all five are tried, the first two are kept.
        pytest.param(0, 1, [1, 2], id="while every node breaks a budget the search goes on"),
    ],
)
def test_the_search_ends_when_enough_are_found(allowed, begin, candidates):
    plugin = DefaultPreemption(0, 2)
    case = Case(*four_cpu(5), budgets=[a_budget(allowed)], plugin=plugin)
    for node in range(5):
        case.run(node, cpu_m=4000, **LABELLED)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE), begin=begin)
    assert [c.node for c in found.candidates] == candidates
    assert (found.potential, found.wanted) == (5, 2)


def test_where_no_candidate_is_wanted_none_is_kept():
    """Upstream's list of candidates has no room then: all nodes are looked at, nobody goes."""
    case = Case(*four_cpu(3), plugin=DefaultPreemption(10, 0))
    for node in range(3):
        case.run(node, cpu_m=4000, priority=MORE if node == 2 else 0)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    assert isinstance(found, NoPreemption)
    assert found.clears_nomination
    assert found.counts == {
        "No preemption victims found for incoming pod": 1,
        "Preemption is not helpful for scheduling": 2,
    }


def test_a_node_that_breaks_no_budget_is_searched_for_and_comes_first():
    case = Case(*four_cpu(5), budgets=[a_budget(0)], plugin=DefaultPreemption(0, 2))
    for node in range(5):
        case.run(node, cpu_m=4000, **({} if node == 3 else LABELLED))
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    # 0, 1 and 2 break it (two are kept), then 3 does not and ends the search
    assert [c.node for c in found.candidates] == [3, 0, 1]
    assert found.node == 3


# Nominations


def test_less_important_pods_lose_their_nomination_to_the_node():
    case = Case(*four_cpu(2))
    case.run(0, cpu_m=4000)
    case.run(1, cpu_m=4000, priority=5)
    less = case.wait(0, cpu_m=1000, priority=MORE - 1)
    case.wait(1, cpu_m=1000, priority=MORE - 1)
    case.wait(0, priority=MORE)
    found = case.preempt(case.wait(cpu_m=4000, priority=MORE))
    assert (found.node, found.unnominated) == (0, (less,))


@pytest.mark.parametrize("host_ports", [(), (HostPort(80),)], ids=["sums", "filters"])
@pytest.mark.parametrize(
    ("priority", "victims"),
    [
        # 4 CPU, 3 of the nominated pod and 1 of the new one: both pods must go
        pytest.param(MORE, (0, 1), id="a pod as important keeps its room"),
        pytest.param(MORE - 1, (1,), id="a less important one does not"),
    ],
)
def test_room_is_kept_for_nominated_pods(priority, victims, host_ports):
    case = Case(*four_cpu())
    case.run(0, cpu_m=2000, priority=2)
    case.run(0, cpu_m=2000, priority=1, host_ports=host_ports)
    case.wait(0, cpu_m=3000, priority=priority)
    pod = case.wait(cpu_m=1000, priority=MORE, host_ports=host_ports)
    assert case.preempt(pod).victims == victims


def test_nominations_that_come_and_go_are_seen():
    case = Case(*four_cpu(2))
    case.run(0, cpu_m=4000)
    case.run(1, cpu_m=4000, priority=5)
    pod = case.wait(cpu_m=4000, priority=MORE)
    before = case.preempt(pod).node
    other = case.wait(0, cpu_m=4000, priority=MORE)
    between = case.preempt(pod).node
    del case.nominated[other]
    assert (before, between, case.preempt(pod).node) == (0, 1, 0)


def test_a_nominated_pod_that_asks_for_less_is_seen():
    """The pod of 3000 m takes the place of 2000 m beside 1000 m, but not beside 2000 m."""
    case = Case(*four_cpu())
    case.run(0, cpu_m=2000)
    other = case.wait(0, cpu_m=2000, priority=MORE)
    pod = case.wait(cpu_m=3000, priority=MORE)
    assert isinstance(case.preempt(pod), NoPreemption)
    template = case.cluster.template(a_pod(cpu_m=1000, priority=MORE))
    case.cluster.update_pod(other, template)
    assert case.preempt(pod).victims == (0,)


# Filters that look at other pods


def test_removing_pods_of_a_zone_can_even_out_the_spread():
    web = {"app": "web"}
    spread = (SpreadConstraint(ZONE, 1, "DoNotSchedule", WEB),)
    case = Case(
        a_node(zone="a"), a_node(zone="b"), a_node(zone="c", taints=(Taint("t", "NoExecute"),))
    )
    for node in (0, 0, 1, 1):
        case.run(node, labels=web, priority=node)
    # zones a, b, c have 2, 2 and 0 pods: a third pod skews by 3, one less in a zone by 2. Both have
    # to go: 0 + 1 - 0 = 1.
    found = case.preempt(case.wait(labels=web, priority=MORE, spread=spread))
    assert (found.node, found.victims) == (0, (0, 1))


@pytest.mark.parametrize(
    ("others", "victims"),
    [
        # Without both pods of zone a the fewest are 0, and the new one makes 1. One may come back:
        # the fewest are 1, of a itself, and 1 + 1 - 1 = 1. So may two: 2 + 1 - 2 = 1.
        pytest.param((2, 2), None, id="the zone stays the lowest"),
        # Zone a has 3, the other 1: 3 + 1 - 1 = 3. 1 may stay: 1 + 1 - 1.
        pytest.param((3, 1), (1, 2), id="the other zone is the lowest"),
        # Zone a has 5, b 4: 5 + 1 - 4 = 2, one must go: 4 + 1 - 4.
        pytest.param((5, 4), (4,), id="the zone becomes as low as the other"),
    ],
)
def test_the_fewest_pods_of_a_zone_follow_what_is_supposed(others, victims):
    web = {"app": "web"}
    spread = (SpreadConstraint(ZONE, 1, "DoNotSchedule", WEB),)
    full = (Taint("full", "NoSchedule"),)
    case = Case(a_node(zone="a"), a_node(zone="b", taints=full))
    for node, count in enumerate(others):
        for _ in range(count):
            case.run(node, labels=web)
    pod = case.wait(labels=web, priority=MORE, spread=spread)
    if victims is None:
        evaluation = Evaluation(case.cluster.pod_template(pod), case.cluster, default_profile())
        evaluation.refresh()
        assert evaluation.mask.tolist() == [True, False]
    else:
        assert case.preempt(pod).victims == victims


def test_a_node_whose_victims_the_pod_wants_beside_it_is_no_candidate():
    near = PodAffinity(required=(PodAffinityTerm(HOSTNAME, WEB),))
    case = Case(*four_cpu(2))
    case.run(0, cpu_m=4000, labels={"app": "web"})
    case.run(1, cpu_m=3900, labels={"app": "web"}, priority=MORE)
    case.run(1, cpu_m=100)
    found = case.preempt(case.wait(cpu_m=100, priority=MORE, pod_affinity=near))
    assert [(c.node, c.victims) for c in found.candidates] == [(1, (2,))]


def test_a_dry_run_leaves_the_cluster_as_it_was():
    case = Case(*four_cpu(2))
    for node in (0, 0, 1):
        case.run(node, cpu_m=2000, host_ports=(HostPort(80 + node),), priority=node)
    before = case.cluster.nodes.requested.copy(), [list(pods) for pods in case.cluster.nodes.pods]
    found = case.preempt(case.wait(cpu_m=3000, priority=MORE, host_ports=(HostPort(80),)))
    assert isinstance(found, Preemption)
    assert np.array_equal(case.cluster.nodes.requested, before[0])
    assert [list(pods) for pods in case.cluster.nodes.pods] == before[1]
    assert case.cluster.pods.node[3] == UNBOUND
    case.cluster.check()
