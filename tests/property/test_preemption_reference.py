"""Preemption equals a plain reading of its rules, and its short cut equals the long way.

The reference has no Preemptor, no dry run and nothing kept: whether a node takes a pod is asked of
a cluster made afresh with exactly the pods in question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

import sim.preemption
from sim.catalog import default_profile
from sim.evaluation import Evaluation
from sim.labels import Selector
from sim.plugins.default_preemption import DefaultPreemption
from sim.podspec import HostPort, SpreadConstraint, Toleration
from sim.podspec import Taint as NodeTaint
from sim.preemption import NoPreemption, Preemption, Preemptor
from sim.search import refusals_beside
from sim.testing import HOSTNAME, ZONE, a_cluster, a_node, a_pod, bound, put_node, put_pod
from sim.workloads import PodDisruptionBudget

APPS = ("web", "db")
PICKS = {app: Selector.of({"app": app}) for app in APPS}
TAINT = NodeTaint("team", "NoSchedule")

nodes = st.builds(
    a_node,
    cpu_m=st.sampled_from([1000, 2000, 3000]),
    max_pods=st.sampled_from([2, 4, 110]),
    zone=st.sampled_from(["a", "b", ""]),
    taints=st.sampled_from([(), (), (TAINT,)]),
)
running = st.builds(
    a_pod,
    cpu_m=st.sampled_from([0, 400, 900, 1000, 1500]),
    priority=st.integers(-1, 3),
    labels=st.sampled_from([{}, {"app": "web"}, {"app": "db"}]),
    host_ports=st.sampled_from([(), (), (HostPort(80),)]),
)
FILTERING = {
    "sums": {},
    "sums, tolerating": {"tolerations": (Toleration("team", "Exists"),)},
    "nothing asked for": {"cpu_m": None},
    "host port": {"host_ports": (HostPort(80),)},
    "zones": {"spread": (SpreadConstraint(ZONE, 1, "DoNotSchedule", PICKS["web"]),)},
    "hosts": {"spread": (SpreadConstraint(HOSTNAME, 1, "DoNotSchedule", PICKS["web"]),)},
}
preemptors = st.builds(
    lambda cpu_m, priority, kind: a_pod(
        **{"cpu_m": cpu_m, "priority": priority, "labels": {"app": "web"}, **FILTERING[kind]}
    ),
    st.sampled_from([1000, 2000, 3000]),
    st.integers(1, 4),
    st.sampled_from(list(FILTERING)),
)
budgets = st.lists(
    st.builds(
        lambda app, allowed, number: PodDisruptionBudget(
            "default", f"{app}-{number}", PICKS[app], disruptions_allowed=allowed
        ),
        st.sampled_from(APPS),
        st.integers(0, 3),
        st.integers(0, 1),
    ),
    max_size=3,
    unique_by=lambda budget: budget.name,
)
plugins = st.builds(DefaultPreemption, st.sampled_from([0, 50, 100]), st.integers(1, 3))


@dataclass(frozen=True)
class Situation:
    """What there is: nodes, pods as (template, node, start), nominations as (template, node)."""

    nodes: tuple
    pods: tuple
    nominated: tuple
    budgets: tuple
    plugin: DefaultPreemption
    pod: object
    begin: int


@st.composite
def situations(draw):
    made = tuple(draw(st.lists(nodes, min_size=1, max_size=4)))
    places = st.integers(0, len(made) - 1)
    placed = draw(st.lists(st.tuples(running, places), min_size=len(made), max_size=12))
    pods = tuple((pod, node, 1000 + number) for number, (pod, node) in enumerate(placed))
    waiting = st.builds(lambda cpu_m, p: a_pod(cpu_m=cpu_m, priority=p), st.just(900), priority())
    return Situation(
        made,
        pods,
        tuple(draw(st.lists(st.tuples(waiting, places), max_size=2))),
        tuple(draw(budgets)),
        draw(plugins),
        draw(preemptors),
        draw(st.integers(0, 3)),
    )


def priority():
    return st.integers(0, 4)


# The rules, told once more


def fits(situation, node, pods):
    """Whether the node takes the pod if these pods ran, with the nominated ones and without."""
    most = [n for n in situation.nominated if n[1] == node and outranks(n[0], situation.pod)]
    return all(
        bool(asked(situation, [*pods, *((pod, where, 0) for pod, where in extra)]).mask[node])
        for extra in (most, [])
    )


def outranks(pod, other):
    return pod.spec.priority >= other.spec.priority


def asked(situation, pods):
    cluster = a_cluster(situation.nodes, [bound(pod, node) for pod, node, _ in pods])
    evaluation = Evaluation(cluster.template(situation.pod), cluster, default_profile())
    evaluation.refresh()
    return evaluation


def importance(victim):
    pod, _, start = victim
    return -pod.spec.priority, start


def split(situation, victims):
    left = {budget.name: budget.disruptions_allowed for budget in situation.budgets}
    violating = []
    for victim in victims:
        for budget in situation.budgets:
            if budget.selector.matches(victim[0].labels):
                left[budget.name] -= 1
                if left[budget.name] < 0 and victim not in violating:
                    violating.append(victim)
    return violating, [victim for victim in victims if victim not in violating]


def victims_on(situation, node):
    """(victims, violations) or None."""
    limit = situation.pod.spec.priority
    lower = [p for p in situation.pods if p[1] == node and p[0].spec.priority < limit]
    staying = [p for p in situation.pods if p not in lower]
    if not lower or not fits(situation, node, staying):
        return None
    victims, violations = [], 0
    violating, others = split(situation, sorted(lower, key=importance))
    for victim in violating + others:
        if fits(situation, node, [*staying, victim]):
            staying = [*staying, victim]
        else:
            victims.append(victim)
            violations += victim in violating
    return sorted(victims, key=importance), violations


def expected(situation, potential):
    """The candidates in the order of the search's result, and the best of them."""
    wanted = min(
        max(
            len(potential) * situation.plugin.min_candidate_nodes_percentage // 100,
            situation.plugin.min_candidate_nodes_absolute,
        ),
        len(potential),
    )
    begin = situation.begin % len(potential) if potential else 0
    clean, violating = [], []
    for node in potential[begin:] + potential[:begin]:
        found = victims_on(situation, node)
        if found is not None:
            (violating if found[1] else clean).append((node, *found))
        if clean and len(clean) + min(len(violating), wanted) >= wanted:
            break
    listed = clean + violating[:wanted]
    keys = {node: rank(victims, broken) for node, victims, broken in listed}
    return listed, [node for node in keys if keys[node] == min(keys.values())]


def rank(victims, violations):
    return (
        violations,
        victims[0][0].spec.priority,
        sum(victim[0].spec.priority + 2**31 for victim in victims),
        len(victims),
        -victims[0][2],
    )


# Ours


class Ours:
    """The same situation in one cluster that stays, asked of one Preemptor."""

    def __init__(self, situation):
        self.situation = situation
        self.cluster = a_cluster(situation.nodes)
        for budget in situation.budgets:
            self.cluster.budgets[budget.namespace, budget.name] = budget
        self.names = {}
        for victim in situation.pods:
            self.cluster.clock.run(victim[2])
            self.names[put_pod(self.cluster, bound(*victim[:2]))] = victim
        self.nominated = {put_pod(self.cluster, pod): node for pod, node in situation.nominated}
        self.preemptor = Preemptor(
            self.cluster, situation.plugin, lambda budget: budget.disruptions_allowed
        )

    def ask(self, pod, begin, preemptor=None):
        cluster = self.cluster
        template = cluster.template(pod)
        evaluation = Evaluation(template, cluster, default_profile())
        evaluation.refresh()
        codes = evaluation.codes()
        beside = {}
        for other, node in self.nominated.items():
            if outranks(cluster.pod_template(other).pod, pod):
                beside.setdefault(node, []).append(other)
        for node, (_, verdict) in refusals_beside(evaluation, beside).items():
            codes[node] = max(codes[node], verdict.code)
        if (codes[cluster.nodes.ids()] == 0).any():
            return None
        added = put_pod(cluster, pod)
        found = (preemptor or self.preemptor).preempt(
            added,
            evaluation,
            codes,
            self.nominated,
            cluster.nodes.ids(),
            lambda below: begin % below,
            lambda below: 0,
        )
        cluster.remove_pod(added)
        return found, np.flatnonzero(codes == 1).tolist()


@given(situations())
def test_preemption_follows_its_rules(situation):
    ours = Ours(situation)
    answer = ours.ask(situation.pod, situation.begin)
    if answer is None:
        return
    found, potential = answer
    listed, best = expected(situation, potential)
    if isinstance(found, NoPreemption):
        assert not listed
        return
    mine = [
        (c.node, [ours.names[victim] for victim in c.victims], c.pdb_violations)
        for c in found.candidates
    ]
    assert mine == listed
    assert list(found.best) == best
    assert found.node == best[0]
    assert [c.earliest_start_ms for c in found.candidates] == [v[0][2] for _, v, _ in listed]
    less = [
        pod
        for pod, node in ours.nominated.items()
        if node == found.node and not outranks(ours.cluster.pod_template(pod).pod, situation.pod)
    ]
    assert list(found.unnominated) == less


# The short cut


steps = st.lists(
    st.one_of(
        st.tuples(st.just("run"), running, st.integers(0, 5)),
        st.tuples(st.just("go"), st.integers(0, 30)),
        st.tuples(st.just("nominate"), running, st.integers(0, 5)),
        st.tuples(st.just("withdraw"), st.integers(0, 5)),
        st.tuples(st.just("allow"), st.integers(0, 3)),
        st.tuples(st.just("grow"), nodes),
        st.tuples(st.just("taint"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("shrink"), st.integers(0, 30)),
    ),
    max_size=6,
)


def do(ours, allowed, step):
    cluster, what = ours.cluster, step[0]
    ids = cluster.nodes.ids().tolist()
    held = [pod for node in ids for pod in cluster.nodes.pods[node]]
    if what == "run":
        put_pod(cluster, bound(step[1], ids[step[2] % len(ids)]))
    elif what == "go" and held:
        cluster.remove_pod(held[step[1] % len(held)])
    elif what == "nominate":
        ours.nominated[put_pod(cluster, step[1])] = ids[step[2] % len(ids)]
    elif what == "withdraw" and ours.nominated:
        del ours.nominated[list(ours.nominated)[step[1] % len(ours.nominated)]]
    elif what == "allow":
        allowed[0] = step[1]
    elif what == "grow":
        put_node(cluster, replace(step[1], name=f"more-{len(cluster.nodes)}"))
    elif what == "taint":
        cluster.set_taints(ids[step[1] % len(ids)], (TAINT,) if step[2] else ())
    elif what == "shrink" and held:
        pod = held[step[1] % len(held)]
        template = cluster.pod_template(pod).pod
        smaller = a_pod(cpu_m=100, priority=template.spec.priority, labels=template.labels)
        cluster.update_pod(pod, cluster.template(smaller))


@given(situations(), st.data())
def test_what_is_kept_equals_the_long_way_over_any_history(situation, data):
    ours = Ours(situation)
    allowed = [0]
    kept = Preemptor(ours.cluster, situation.plugin, lambda budget: allowed[0])
    pods = [situation.pod, data.draw(preemptors)]
    only_sums = sim.preemption._only_sums_decide
    for step in [("stay",), *data.draw(steps)]:
        do(ours, allowed, step)
        for pod in pods:
            begin = data.draw(st.integers(0, 5))
            short = ours.ask(pod, begin, kept)
            fresh = Preemptor(ours.cluster, situation.plugin, lambda budget: allowed[0])
            try:
                sim.preemption._only_sums_decide = lambda *_: False
                long = ours.ask(pod, begin, fresh)
            finally:
                sim.preemption._only_sums_decide = only_sums
            assert short == long
    assert short is None or isinstance(short[0], Preemption | NoPreemption)
    ours.cluster.check()
