"""The scheduler on small clusters: where pods go, in which order, and what it says when they don't.

Wording: kube-scheduler v1.34.1, pkg/scheduler/framework/types.go FitError.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import sqrt
from random import Random

import pytest

from sim.catalog import default_profile
from sim.clock import Lane
from sim.cluster import Change
from sim.evaluation import Profile
from sim.labels import Requirement, Selector
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.podspec import NodeSelectorTerm, SpreadConstraint, Taint
from sim.queue import Place
from sim.recorder import Reason
from sim.rng import Streams, Uniforms
from sim.scheduler import LEAST_NODES, Bind, Binding, Scheduler, Unschedulable
from sim.tables import UNBOUND
from sim.testing import ZONE, a_cluster, a_node, a_pod, put_node, put_pod

FIVE_MINUTES_MS = 300_000
HARD_ZONE = SpreadConstraint(ZONE, 1, "DoNotSchedule", Selector.of({"app": "web"}))


def started(nodes, *, profile=None, seed=1, **options):
    """A cluster with its scheduler."""
    cluster = a_cluster(nodes)
    profiles = {"default-scheduler": profile or default_profile()}
    scheduler = Scheduler(cluster, profiles, Uniforms(Streams(seed)("scheduler")), **options)
    return cluster, scheduler


def placed(cluster, *pods, until_ms=1):
    """Nodes of the pods after they were added; UNBOUND for those that wait."""
    ids = [put_pod(cluster, pod) for pod in pods]
    cluster.clock.run(until_ms)
    return [int(cluster.pods.node[pod]) for pod in ids]


def messages(cluster):
    """What FailedScheduling events said, in order, up to what they say about preemption."""
    recorder = cluster.recorder
    failed = [i for i, reason in enumerate(recorder.reason) if reason == Reason.FAILED_SCHEDULING]
    said = [recorder.texts[recorder.arg[i]] for i in failed]
    return [text.partition(" no new claims to deallocate, ")[0] for text in said]


def test_pods_go_to_the_emptiest_node():
    cluster, _ = started([a_node(cpu_m=1000), a_node(cpu_m=4000)])
    assert placed(cluster, a_pod(cpu_m=500), a_pod(cpu_m=500)) == [1, 1]


def test_the_important_pod_gets_the_last_place():
    cluster, _ = started([a_node(cpu_m=1000)])
    assert placed(cluster, a_pod(cpu_m=800), a_pod(cpu_m=800, priority=5)) == [UNBOUND, 0]


def test_reasons_are_counted_over_nodes_and_sorted():
    nodes = [
        *[a_node(cpu_m=100)] * 3,
        *[a_node(taints=(Taint("team", "NoSchedule", "x"),))] * 4,
        a_node(unschedulable=True),
        a_node(max_pods=0),
    ]
    cluster, _ = started(nodes)
    assert placed(cluster, a_pod(cpu_m=200)) == [UNBOUND]
    assert messages(cluster) == [
        "0/9 nodes are available: 1 Too many pods, 1 node(s) were unschedulable, "
        "3 Insufficient cpu, 4 node(s) had untolerated taint {team: x}."
    ]


def test_a_node_short_of_two_things_counts_for_both():
    cluster, _ = started([a_node(cpu_m=100, memory_b=100)])
    placed(cluster, a_pod(cpu_m=200, memory_b=200))
    assert messages(cluster) == [
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    ]


def test_an_empty_cluster_says_so():
    cluster, _ = started([])
    placed(cluster, a_pod())
    assert messages(cluster) == ["no nodes available to schedule pods"]


def test_the_same_message_is_recorded_once():
    """A node that is too small wakes nobody; a change of taints does, and after 5 min the flush."""
    cluster, scheduler = started([a_node(cpu_m=100)])
    placed(cluster, a_pod(cpu_m=200))
    cluster.set_taints(0, (Taint("x", "PreferNoSchedule"),))
    cluster.clock.run(2_000)
    assert scheduler.queue.entries[0].attempts == 2
    put_node(cluster, a_node(cpu_m=100, name="second"))
    cluster.clock.run(299_000)
    assert messages(cluster) == ["0/1 nodes are available: 1 Insufficient cpu."]
    cluster.clock.run(1_000_000)
    assert messages(cluster) == [
        "0/1 nodes are available: 1 Insufficient cpu.",
        "0/2 nodes are available: 2 Insufficient cpu.",
    ]


def test_room_for_many_is_taken_at_once_by_all_that_wait():
    cluster, _ = started([a_node(cpu_m=100)])
    assert placed(cluster, *[a_pod(cpu_m=200)] * 5) == [UNBOUND] * 5
    put_node(cluster, a_node(cpu_m=900))
    cluster.clock.run(cluster.clock.now_ms + 1_000)
    assert cluster.pods.node[:5].tolist() == [1, 1, 1, 1, UNBOUND]


@pytest.mark.parametrize("event", ["node added", "pod ended", "pod removed", "uncordoned"])
def test_a_waiting_pod_is_tried_again_when_something_makes_room(event):
    nodes = [a_node(cpu_m=1000), a_node(cpu_m=1000, unschedulable=True)]
    cluster, _ = started(nodes, tie_break="first")
    assert placed(cluster, a_pod(cpu_m=900), a_pod(cpu_m=900)) == [0, UNBOUND]
    if event == "node added":
        put_node(cluster, a_node(cpu_m=1000))
    elif event == "pod ended":
        cluster.end_pod(0, 2, Reason.COMPLETED)
    elif event == "pod removed":
        cluster.remove_pod(0)
    else:
        cluster.set_unschedulable(1, False)
    cluster.clock.run(10_000)
    assert cluster.pods.node[1] != UNBOUND
    cluster.check()


def test_a_pod_that_waits_for_its_peers_is_tried_again_when_one_is_bound():
    web = Selector.of({"app": "web"})
    rule = SpreadConstraint(ZONE, 1, "DoNotSchedule", web)
    cluster, _ = started([a_node(zone="a", cpu_m=10_000), a_node(zone="b", cpu_m=1000)])
    spread = a_pod(cpu_m=2000, labels={"app": "web"}, spread=(rule,))
    # two large ones fit in zone a only, and there the second would make a skew of 2
    assert placed(cluster, spread, spread) == [0, UNBOUND]
    # a small one goes to zone b, which makes room in zone a
    assert placed(cluster, a_pod(cpu_m=100, labels={"app": "web"}, spread=(rule,)), until_ms=9) == [
        1
    ]
    assert cluster.pods.node[1] == 0


def test_without_events_a_waiting_pod_is_tried_again_after_five_minutes():
    cluster, scheduler = started([a_node(cpu_m=100)])
    placed(cluster, a_pod(cpu_m=200))
    # failed at 0; looked through every 30 s, late when older than 300 s: at 330 s
    cluster.clock.run(FIVE_MINUTES_MS + 30_000)
    assert scheduler.queue.entries[0].attempts == 1
    cluster.clock.run(FIVE_MINUTES_MS + 30_001)
    assert scheduler.queue.entries[0].attempts == 2


def test_gated_pods_are_never_tried():
    cluster, scheduler = started([a_node()])
    assert placed(cluster, a_pod(scheduling_gates=("wait",))) == [UNBOUND]
    assert scheduler.queue.entries[0].place == Place.GATED
    assert scheduler.queue.entries[0].attempts == 0


def test_pods_of_other_schedulers_are_left_alone():
    cluster, _ = started([a_node()])
    assert placed(cluster, a_pod(scheduler_name="other"), a_pod()) == [UNBOUND, 0]


def test_first_takes_the_lowest_of_the_best():
    cluster, _ = started([a_node(cpu_m=100), a_node(), a_node()], tie_break="first")
    assert placed(cluster, a_pod(cpu_m=10)) == [1]


def test_random_is_uniform_over_the_best():
    """Chi-square over 5 equal nodes beside a worse one, 99.9 % point of 4 degrees: 18.47."""
    best, draws = 5, 4000
    cluster, _ = started([a_node(cpu_m=1000), *[a_node(cpu_m=4000)] * best], profile=STEADY)
    counts = Counter(placed(cluster, *[a_pod()] * draws))
    assert 0 not in counts
    expected = draws / best
    assert sum((counts[n] - expected) ** 2 / expected for n in range(1, best + 1)) < 18.47


def test_consecutive_draws_are_independent():
    """Serial correlation of the chosen of two nodes within 4 standard errors of 0."""
    draws = 4000
    cluster, _ = started([a_node()] * 2, profile=STEADY)
    chosen = placed(cluster, *[a_pod()] * draws)
    same = sum(a == b for a, b in pairwise(chosen))
    assert abs(same / (draws - 1) - 0.5) < 4 * 0.5 / sqrt(draws - 1)


class Preferring:
    """A score that pods do not change: the node with the most CPU in all."""

    name = "Preferring"
    reads = NodeResourcesFit.reads

    def prescore(self, pod, cluster, nodes):
        return None

    def score(self, pod, cluster, nodes, state):
        return cluster.nodes.allocatable[0, nodes] // 100


STEADY = Profile("default-scheduler", filters=(), scores=((Preferring(), 1),))


def test_the_same_seed_takes_the_same_nodes():
    def run(seed):
        cluster, _ = started([a_node()] * 10, seed=seed)
        return placed(cluster, *[a_pod(cpu_m=10)] * 50)

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_nominated_pods_keep_their_place_against_less_important_ones():
    cluster, scheduler = started([a_node(cpu_m=1000)])
    important = put_pod(cluster, a_pod(cpu_m=800, priority=10, scheduling_gates=("later",)))
    scheduler.nominate(important, 0)
    assert placed(cluster, a_pod(cpu_m=300)) == [UNBOUND]
    assert placed(cluster, a_pod(cpu_m=300, priority=11), until_ms=2) == [0]
    cluster.check()


def test_a_withdrawn_nomination_keeps_no_place():
    cluster, scheduler = started([a_node(cpu_m=1000)])
    important = put_pod(cluster, a_pod(cpu_m=800, priority=10, scheduling_gates=("later",)))
    scheduler.nominate(important, 0)
    scheduler.withdraw(important)
    assert placed(cluster, a_pod(cpu_m=300)) == [0]


def test_a_nominated_node_is_taken_before_better_ones():
    cluster, scheduler = started([a_node(cpu_m=1000), a_node(cpu_m=8000)])
    pod = put_pod(cluster, a_pod(cpu_m=500))
    scheduler.nominate(pod, 0)
    cluster.clock.run(1)
    assert cluster.pods.node[pod] == 0


def test_a_nominated_node_that_is_full_is_passed_over():
    cluster, scheduler = started([a_node(cpu_m=100), a_node(cpu_m=8000)])
    pod = put_pod(cluster, a_pod(cpu_m=500))
    scheduler.nominate(pod, 0)
    cluster.clock.run(1)
    assert cluster.pods.node[pod] == 1


def test_a_pod_loses_its_nomination_when_there_is_no_node_at_all():
    """schedule_one.go clears it with ErrNoNodesAvailable."""
    cluster, scheduler = started([a_node()])
    pod = put_pod(cluster, a_pod())
    scheduler.nominate(pod, 0)
    cluster.remove_node(0)
    cluster.clock.run(1)
    assert scheduler.nominated == {}


@pytest.mark.parametrize("watched", [False, True])
def test_the_next_search_begins_among_the_nodes_that_are_left(watched):
    cluster, scheduler = started([a_node() for _ in range(5)])
    scheduler.start = 7  # from when there were more
    if watched:
        scheduler.on_attempt = lambda attempt: None
    placed(cluster, a_pod())
    assert scheduler.start == 2  # (7 + 5) % 5


def test_only_plugins_that_were_asked_refuse_a_pod():
    """Node 1 is left out by the pre-filter of NodeAffinity, whoever is nominated to it."""
    cluster, scheduler = started([a_node(cpu_m=100), a_node()])
    scheduler.nominate(put_pod(cluster, a_pod(scheduling_gates=("wait",))), 1)
    named = (NodeSelectorTerm(fields=(Requirement("metadata.name", "In", ("node-0",)),)),)
    pod = put_pod(cluster, a_pod(cpu_m=500, required_affinity=named))
    cluster.clock.run(1)
    assert scheduler.queue.entries[pod].plugins == {"NodeAffinity", "NodeResourcesFit"}


def test_decisions_are_recorded_when_asked_for():
    cluster, scheduler = started([a_node(), a_node(), a_node(cpu_m=10)], record=True)
    node, _ = placed(cluster, a_pod(cpu_m=100), a_pod(cpu_m=10**6))
    decisions = scheduler.decisions
    assert (decisions.node, decisions.feasible, decisions.ties) == ([node, UNBOUND], [2, 0], [2, 0])


# Binding that takes time


def test_a_pod_holds_its_place_while_the_call_that_binds_it_is_under_way():
    cluster, _ = started([a_node(cpu_m=1000)], binding=Binding(latency_ms=40))
    pods = [put_pod(cluster, a_pod(cpu_m=800)), put_pod(cluster, a_pod(cpu_m=800))]
    cluster.clock.run(40)
    assert cluster.pods.node[pods].tolist() == [UNBOUND, UNBOUND]
    cluster.check()
    cluster.clock.run(41)
    assert cluster.pods.node[pods].tolist() == [0, UNBOUND]
    assert cluster.pods.bound_ms[pods[0]] == 40
    cluster.check()


def test_the_client_binds_a_burst_and_then_so_many_a_second():
    """Burst 2 at 10 a second: 0, 0, 100 and 200 ms."""
    nodes = [a_node(cpu_m=1000) for _ in range(4)]
    cluster, _ = started(nodes, binding=Binding(qps=10, burst=2))
    pods = [put_pod(cluster, a_pod(cpu_m=800)) for _ in nodes]
    cluster.clock.run(1_000)
    assert cluster.pods.bound_ms[pods].tolist() == [0, 0, 100, 200]


def test_a_pod_deleted_while_it_is_being_bound_leaves_its_place():
    cluster, _ = started([a_node(cpu_m=1000)], binding=Binding(latency_ms=40))
    first = put_pod(cluster, a_pod(cpu_m=800))
    second = put_pod(cluster, a_pod(cpu_m=800))
    cluster.clock.run(20)
    cluster.delete_pod(first)
    cluster.clock.run(100)
    assert cluster.pods.node[[first, second]].tolist() == [UNBOUND, 0]
    cluster.check()


def test_a_pod_whose_node_goes_while_it_is_being_bound_is_tried_again():
    cluster, _ = started([a_node(cpu_m=1000)], binding=Binding(latency_ms=40))
    pod = put_pod(cluster, a_pod(cpu_m=800))
    cluster.clock.run(20)
    cluster.remove_node(0)
    put_node(cluster, a_node(cpu_m=1000, name="second"))
    cluster.clock.run(200)
    assert cluster.pods.node[pod] == 1
    cluster.check()


# Failing again

SHAPES = (
    a_pod(cpu_m=400),
    a_pod(cpu_m=900),
    a_pod(cpu_m=700, priority=5),
    a_pod(cpu_m=600, priority=9, preemption_policy="Never"),
    a_pod(cpu_m=300, labels={"app": "web"}, spread=(HARD_ZONE,)),
)


def story(seed, watched):
    """Every pod's node and how often it was tried, after pods, nodes and taints came and went."""
    draw = Random(seed)
    cluster, scheduler = started([a_node(cpu_m=1000, zone=z) for z in "aab"], seed=seed)
    if watched:  # every attempt is then made in full
        scheduler.on_attempt = lambda attempt: None
    cluster.watch(
        lambda _, pod: cluster.clock.after(500, Lane.KUBELET, cluster.remove_pod, pod),
        [Change.POD_DELETING],
    )
    for at_ms in range(0, 40_000, 700):
        cluster.clock.run(at_ms + 1)
        bound = [pod for pods in cluster.nodes.pods for pod in pods]
        kind = draw.choice(["pod", "pod", "pod", "gone", "taint", "node"])
        if kind == "pod":
            put_pod(cluster, draw.choice(SHAPES))
        elif kind == "gone" and bound:
            cluster.remove_pod(draw.choice(bound))
        elif kind == "taint":
            cluster.set_taints(0, draw.choice([(), (Taint("x", "PreferNoSchedule"),)]))
        elif kind == "node" and len(cluster.nodes) < 6:
            put_node(cluster, a_node(cpu_m=1000, zone=draw.choice("abc")))
    attempts = {pod: entry.attempts for pod, entry in scheduler.queue.entries.items()}
    return cluster.pods.node[: len(cluster.pods)].tolist(), attempts, messages(cluster)


@pytest.mark.parametrize("seed", range(12))
def test_failures_and_choices_that_are_kept_change_nothing(seed):
    assert story(seed, watched=False) == story(seed, watched=True)


@pytest.mark.parametrize("seed", range(4))
def test_answers_that_were_forgotten_are_found_again(seed, monkeypatch):
    kept = story(seed, watched=False)
    monkeypatch.setattr("sim.scheduler.KEPT_ANSWERS", 2 * LEAST_NODES)  # two or three shapes
    assert story(seed, watched=False) == kept


def test_few_answers_are_kept_however_few_the_nodes(monkeypatch):
    """Nor is what plugins derived from the pods, some of it as long as the list of nodes."""
    monkeypatch.setattr("sim.scheduler.KEPT_ANSWERS", 4 * (LEAST_NODES + 1))
    cluster, scheduler = started([a_node()])
    placed(cluster, *(a_pod(cpu_m=cpu_m) for cpu_m in range(20)))
    assert len(scheduler._evaluations) <= 5
    assert sum(bool(template.memo) for template in cluster.templates) <= 5


def test_room_kept_for_another_is_free_again_when_the_nomination_goes():
    cluster, scheduler = started([a_node(cpu_m=1000)])
    keeper = put_pod(cluster, a_pod(cpu_m=800, priority=9, scheduling_gates=("wait",)))
    scheduler.nominate(keeper, 0)
    assert placed(cluster, a_pod(cpu_m=700)) == [UNBOUND]
    scheduler.withdraw(keeper)
    cluster.clock.run(10)
    assert cluster.pods.node[1] == 0


def test_room_kept_for_a_pod_follows_its_requests():
    """Two pods that are alike: 500 m beside 800 m kept of 1000 m is refused, beside 100 m not."""
    cluster, scheduler = started([a_node(cpu_m=1000)], paused=True)
    keeper = put_pod(cluster, a_pod(cpu_m=800, priority=9))
    scheduler.nominate(keeper, 0)
    first, second = (put_pod(cluster, a_pod(cpu_m=500)) for _ in range(2))
    _, *alike = [scheduler.queue.pop(0) for _ in range(3)]
    assert [entry.pod for entry in alike] == [first, second]
    assert isinstance(scheduler.attempt(alike[0]), Unschedulable)
    cluster.update_pod(keeper, cluster.template(a_pod(cpu_m=100, priority=9)))
    assert isinstance(scheduler.attempt(alike[1]), Bind)


def test_the_event_of_a_victim_names_who_gets_its_place():
    cluster, _ = started([a_node(name="only", cpu_m=1000)])
    victim = put_pod(cluster, a_pod(cpu_m=800))
    cluster.clock.run(1)
    preemptor = put_pod(cluster, a_pod(cpu_m=800, priority=5))
    cluster.clock.run(2)
    recorder = cluster.recorder
    (row,) = [i for i, reason in enumerate(recorder.reason) if reason == Reason.PREEMPTED]
    assert recorder.object[row] == victim
    assert recorder.texts[recorder.arg[row]] == f"{cluster.pod_key(preemptor)} on node only"
