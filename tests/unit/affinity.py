"""Inter-pod affinity as upstream computes it: plain loops over every pod, nothing kept.

Written from pkg/scheduler/framework/plugins/interpodaffinity (v1.34.1) to compare with.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hypothesis import strategies as st

from sim.labels import Requirement, Selector
from sim.podspec import PodAffinity, PodAffinityTerm, WeightedPodAffinityTerm
from sim.testing import HOSTNAME, ZONE, a_node, a_pod

NOWHERE = PodAffinity()
AFFINITY = "node(s) didn't match pod affinity rules"
ANTI = "node(s) didn't match pod anti-affinity rules"
OTHERS = "node(s) didn't satisfy existing pods anti-affinity rules"


@dataclass
class World:
    """Labels of the nodes, pods with their nodes, labels of the namespaces."""

    nodes: list
    pods: list
    namespaces: dict

    @classmethod
    def of(cls, cluster):
        """What the cluster holds; nodes that are gone have no labels, and hold nothing."""
        table, rows = cluster.nodes, cluster.pods
        there = table.exists[: len(table)].tolist()
        labels = [dict(table.labels[n]) if ok else {} for n, ok in enumerate(there)]
        pods = [
            (cluster.templates[int(rows.template[p])].pod, n)
            for n in range(len(table))
            for p in table.pods[n]
            if there[n]
        ]
        return cls(labels, pods, dict(cluster.namespaces))

    def refusals(self, pod):
        """Per node the reason, or None."""
        own, rules = pod, rules_of(pod)
        required, anti = self.named(own, rules.required), self.named(own, rules.anti_required)
        near, far, others = defaultdict(int), defaultdict(int), defaultdict(int)
        for other, node in self.pods:
            labels = self.nodes[node]
            if required and all(picks(term, other) for term in required):
                for term in required:
                    tally(near, labels, term, 1)
            for term in anti:
                tally(far, labels, term, picks(term, other))
            for term in rules_of(other).anti_required:
                tally(others, labels, (term.topology_key,), self.speaks(term, other, pod))
        first = not any(near.values()) and all(picks(term, pod) for term in required)
        return [refusal(labels, required, anti, near, far, others, first) for labels in self.nodes]

    def skips_filter(self, pod):
        """Nothing of its own is required, and no pod keeps it away from anywhere."""
        rules = rules_of(pod)
        kept_away = any(
            term.topology_key in self.nodes[node] and self.speaks(term, other, pod)
            for other, node in self.pods
            for term in rules_of(other).anti_required
        )
        return not (rules.required or rules.anti_required or kept_away)

    def scores(self, pod, hard_weight=1, ignore=False):
        """Per node the sum, None when no term finds anything."""
        rules = rules_of(pod)
        if ignore and not (rules.preferred or rules.anti_preferred):
            return None
        found = {}

        def add(term, labels, amount, match):
            if match and term.topology_key in labels:
                pair = term.topology_key, labels[term.topology_key]
                found[pair] = found.get(pair, 0) + amount

        for other, node in self.pods:
            labels, theirs = self.nodes[node], rules_of(other)
            for sign, wishes in ((1, rules.preferred), (-1, rules.anti_preferred)):
                for wish in wishes:
                    (term,) = self.named(pod, [wish.term])
                    add(wish.term, labels, sign * wish.weight, picks(term, other))
            for term in theirs.required if hard_weight else ():
                add(term, labels, hard_weight, self.speaks(term, other, pod))
            for sign, wishes in ((1, theirs.preferred), (-1, theirs.anti_preferred)):
                for wish in wishes:
                    speaks = self.speaks(wish.term, other, pod)
                    add(wish.term, labels, sign * wish.weight, speaks)
        if not found:
            return None
        return [sum(found.get(pair, 0) for pair in labels.items()) for labels in self.nodes]

    def named(self, pod, terms):
        """(topology key, namespaces or None for all, selector) of terms of the pod to place."""
        return [
            (t.topology_key, self.namespaces_of(t, pod.namespace), narrowed(t, pod)) for t in terms
        ]

    def namespaces_of(self, term, home):
        selector = term.namespace_selector
        if selector == Selector():
            return None
        if selector is None:
            return set(term.namespaces) or {home}
        listed = {name for name, labels in self.namespaces.items() if selector.matches(labels)}
        return {*term.namespaces, *listed}

    def speaks(self, term, holder, pod):
        """Whether the term of a pod that is there means the pod to place."""
        names = {*term.namespaces}
        if not names and term.namespace_selector is None:
            names = {holder.namespace}
        inside = pod.namespace in names or (
            term.namespace_selector is not None
            and term.namespace_selector.matches(self.namespaces.get(pod.namespace, {}))
        )
        selector = narrowed(term, holder)
        return inside and selector is not None and selector.matches(pod.labels)


def rules_of(pod):
    return pod.spec.pod_affinity or NOWHERE


def narrowed(term, pod):
    """The selector with the pod's own values of the label keys."""
    if term.selector is None:
        return None
    extra = [
        Requirement(k, "In", (pod.labels[k],)) for k in term.match_label_keys if k in pod.labels
    ]
    extra += [
        Requirement(k, "NotIn", (pod.labels[k],))
        for k in term.mismatch_label_keys
        if k in pod.labels
    ]
    return Selector((*term.selector.requirements, *extra))


def picks(term, pod):
    _, names, selector = term
    inside = names is None or pod.namespace in names
    return inside and selector is not None and selector.matches(pod.labels)


def tally(counts, labels, term, amount):
    if term[0] in labels:
        counts[term[0], labels[term[0]]] += int(amount)


def refusal(labels, required, anti, near, far, others, first):
    """The first rule that a node breaks."""
    for key, _, _ in required:
        if key not in labels or not (near[key, labels[key]] or first):
            return AFFINITY
    if any(key in labels and far[key, labels[key]] for key, _, _ in anti):
        return ANTI
    return OTHERS if any(others.get(pair) for pair in labels.items()) else None


# --- clusters and pods to try

RACK = "example.com/rack"
_LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from("ab"), max_size=2)
_REQUIREMENTS = st.one_of(
    st.builds(
        lambda key, value: Requirement(key, "In", (value,)),
        st.sampled_from(["app", "tier"]),
        st.sampled_from("ab"),
    ),
    st.builds(
        lambda key, value: Requirement(key, "NotIn", (value,)),
        st.just("app"),
        st.sampled_from("ab"),
    ),
    st.builds(Requirement, st.just("tier"), st.sampled_from(["Exists", "DoesNotExist"])),
)
SELECTORS = st.builds(lambda found: Selector(tuple(found)), st.lists(_REQUIREMENTS, max_size=2))
NAMESPACES = ["default", "shop", "unknown"]  # the last has no Namespace object
_TEAMS = st.one_of(
    st.just(Selector()),
    st.just(Selector.of({"team": "x"})),
    st.just(Selector((Requirement("team", "NotIn", ("x",)),))),
)
TERMS = st.builds(
    PodAffinityTerm,
    st.sampled_from([HOSTNAME, ZONE, RACK]),
    st.one_of(SELECTORS, SELECTORS, SELECTORS, st.none()),
    namespaces=st.lists(st.sampled_from(NAMESPACES), max_size=1).map(tuple),
    namespace_selector=st.one_of(st.none(), st.none(), _TEAMS),
    match_label_keys=st.sampled_from([(), (), ("tier",)]),
    mismatch_label_keys=st.sampled_from([(), (), ("app",)]),
)
_WISHES = st.builds(WeightedPodAffinityTerm, st.integers(1, 100), TERMS)
_SOME = st.lists(TERMS, max_size=2).map(tuple)
_SOME_WISHES = st.lists(_WISHES, max_size=2).map(tuple)
RULES = st.one_of(
    st.none(),
    st.builds(PodAffinity, _SOME, _SOME, _SOME_WISHES, _SOME_WISHES),
    st.builds(PodAffinity, _SOME),
    st.builds(PodAffinity, anti_required=_SOME),
)
PODS = st.builds(
    lambda labels, namespace, rules: a_pod(labels=labels, namespace=namespace, pod_affinity=rules),
    _LABELS,
    st.sampled_from(NAMESPACES),
    RULES,
)
NODES = st.builds(
    lambda zone, rack: a_node(zone=zone, labels={RACK: rack} if rack else {}),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "1", "2"]),
)
TEAMS = {"default": {"team": "x"}, "shop": {"team": "y"}}
