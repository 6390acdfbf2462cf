"""How many pods lie under each value of a topology key, as inter-pod affinity counts them.

A term of a pod is read in two directions: which pods does it pick (own terms), and which pods does
it speak of (terms of pods that are there already). Each direction has its numbers: a tally, by
value of one topology key, that moves in constant time when a pod comes to its node or leaves it. A
pod counts while it holds its node, even while it is being deleted. What a pod template has to do
with which tallies is worked out once.

Follows pkg/scheduler/framework/types.go (AffinityTerm) and
pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring,plugin}.go (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.labels import Labels, Requirement, Selector
from sim.podspec import PodAffinity, PodAffinityTerm, PodTemplate
from sim.tables import ABSENT, Ints, Ints32

if TYPE_CHECKING:
    from array import array

    from sim.tables import NodeTable, PodTable
    from sim.templates import Template
    from sim.versioned import Versioned

_Label = tuple[str, str]
_ANYTHING: _Label = ("", "")  # where selectors are kept that require no label


class Side(IntEnum):
    """What kind of wish a term is."""

    REQUIRED = 0
    ANTI_REQUIRED = 1
    PREFERRED = 2
    ANTI_PREFERRED = 3


@dataclass(frozen=True, slots=True)
class Term:
    """A term with its namespaces and label keys settled; `namespace_selector` None adds none."""

    key: str
    selector: Selector | None
    namespaces: frozenset[str]
    namespace_selector: Selector | None = None

    def matches(self, pod: PodTemplate, namespace_labels: Labels) -> bool:
        """Whether it means the pod, whose namespace has these labels (AffinityTerm.Matches)."""
        if self.selector is None or not self._covers(pod.namespace, namespace_labels):
            return False
        return self.selector.matches(pod.labels)

    def _covers(self, namespace: str, labels: Labels) -> bool:
        if namespace in self.namespaces:
            return True
        return self.namespace_selector is not None and self.namespace_selector.matches(labels)

    @property
    def selective(self) -> bool:
        """Whether it depends on the labels of namespaces."""
        return self.namespace_selector is not None and bool(self.namespace_selector.requirements)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a pod, with weights where they are preferences."""

    required: tuple[Term, ...] = ()
    anti_required: tuple[Term, ...] = ()
    preferred: tuple[tuple[Term, int], ...] = ()
    anti_preferred: tuple[tuple[Term, int], ...] = ()

    def sides(self) -> Iterator[tuple[Side, Term, int]]:
        """Every term with its side and weight, 1 for those required."""
        yield from ((Side.REQUIRED, term, 1) for term in self.required)
        yield from ((Side.ANTI_REQUIRED, term, 1) for term in self.anti_required)
        yield from ((Side.PREFERRED, term, weight) for term, weight in self.preferred)
        yield from ((Side.ANTI_PREFERRED, term, weight) for term, weight in self.anti_preferred)


def terms_of(template: Template) -> Terms:
    """The settled terms of a template's pods, worked out once."""
    known: Terms | None = template.memo.get(Terms)
    if known is None:
        known = template.memo[Terms] = _terms(template.pod)
    return known


def meets_all(pod: PodTemplate, terms: Iterable[Term], namespace_labels: Labels) -> bool:
    """Whether the pod meets all of the terms; none at all is not met."""
    found = [term.matches(pod, namespace_labels) for term in terms]
    return bool(found) and all(found)


class Key:
    """Under which value of a topology key each node lies: 0 under none, else 1 + the value's id.

    A node that is gone lies under none, so that the pods left on it count nowhere.
    """

    __slots__ = ("column", "slot")

    def __init__(self, name: str, nodes: NodeTable) -> None:
        self.column = nodes.label_column(name)
        every = len(nodes)
        slots = self.column[:every] - ABSENT
        self.slot: NDArray[np.intp] = np.where(nodes.exists[:every], slots, 0).astype(np.intp)

    @property
    def slots(self) -> int:
        """One more than the number of values ever seen."""
        return len(self.column.values) + 1


class Tally:
    """Amounts by value of a topology key; `version` moves whenever one of them does.

    `amounts` says how much a pod of each template adds where it lies; none is negative, so `total`
    is 0 only if nothing is anywhere.
    """

    __slots__ = ("amounts", "key", "per_slot", "terms", "total", "version")

    def __init__(self, terms: tuple[Term, ...], key: Key) -> None:
        self.terms = terms
        self.key = key
        self.amounts: dict[int, int] = {}
        self.per_slot: Ints32 = np.zeros(key.slots, np.int32)
        self.total = 0
        self.version = 0

    def by_slot(self) -> Ints32:
        """The amounts, at least one per slot of the key."""
        if len(self.per_slot) < self.key.slots:
            longer = np.zeros(max(self.key.slots, 2 * len(self.per_slot)), np.int32)
            longer[: len(self.per_slot)] = self.per_slot
            self.per_slot = longer
        return self.per_slot

    def at(self, nodes: NDArray[np.int64]) -> Ints32:
        """The amount under the value of each node, 0 where it has none."""
        return self.by_slot().take(self.key.slot.take(nodes))

    def add(self, node: int, amount: int) -> None:
        """So much has come to the node."""
        slot = self.key.slot[node]
        if slot:
            self.by_slot()[slot] += amount
            self.total += amount
            self.version += 1


@dataclass(frozen=True, slots=True)
class Near:
    """What other pods mean to the pods of one template.

    `required` has one tally per required term, of the pods that meet all of them; `preferred` the
    own preferred terms with their weights, negative for anti-affinity; `towards` the terms of other
    pods that speak of these. The lists in `towards` grow as templates come.
    """

    terms: Terms
    meets_itself: bool  # all own required terms
    required: tuple[Tally, ...]
    anti_required: tuple[Tally, ...]
    preferred: tuple[tuple[Tally, int], ...]
    towards: tuple[list[Tally], ...]  # by Side

    def version(self) -> int:
        """Moves whenever one of the tallies does."""
        total = 0
        for tally in (*self.required, *self.anti_required):
            total += tally.version
        for tally, _ in self.preferred:
            total += tally.version
        for tallies in self.towards:
            for tally in tallies:
                total += tally.version
        return total


class AffinityCounts:
    """The tallies of one cluster.

    Tallies and templates find each other by a label: a selector that requires `app=web` is kept
    under that label, where only templates with the label look for it, and it looks only at those.
    """

    def __init__(
        self,
        nodes: NodeTable,
        pods: PodTable,
        templates: list[Template],
        namespaces: Versioned[str, Labels],
        nodes_log: array[int],
    ) -> None:
        self._nodes = nodes
        self._pods = pods
        self._templates = templates
        self._namespaces = namespaces
        self._nodes_log = nodes_log
        self._nodes_seen = 0
        self._keys: dict[str, Key] = {}
        self._clear()

    def _clear(self) -> None:
        self._namespaces_seen = self._namespaces.version
        self._selective = False  # whether some term depends on the labels of namespaces
        self._picked: dict[tuple[tuple[Term, ...], str], Tally] = {}
        self._held: dict[tuple[Side, Term], Tally] = {}
        self._picked_by_label: dict[_Label, list[Tally]] = {}
        self._held_by_label: dict[_Label, list[tuple[Side, Tally]]] = {}
        self._templates_by_label: dict[_Label, list[Template]] = {}
        # by template, for those taken in
        self._moves: list[dict[Tally, int]] = []  # the tallies that its pods are part of
        self._towards: list[tuple[list[Tally], ...]] = []
        self._placed: list[int] = []  # how many of its pods count
        self._near: dict[int, Near] = {}

    # Reading

    def of(self, template: Template) -> Near:
        """The tallies that a template's pods look at, up to date."""
        self._follow()
        near = self._near.get(template.id)
        if near is None:
            near = self._near[template.id] = self._new_near(template)
        return near

    def spoken_of(self, template: Template) -> int:
        """How many different terms of known templates mean pods of this one."""
        if len(self._templates) > len(self._moves):
            self._follow()
        return sum(map(len, self._towards[template.id]))

    def check(self) -> None:
        """Every tally equals what the pods say; AssertionError names the first that differs."""
        self._follow()
        for tally in (*self._picked.values(), *self._held.values()):
            derived, kept = self._derive(tally), tally.by_slot()[: tally.key.slots]
            assert np.array_equal(derived, kept), (
                f"pods near {tally.terms}: kept {kept}, derived {derived}"
            )
            assert tally.total == derived.sum(), f"pods near {tally.terms}: total {tally.total}"

    # Following

    def add(self, template: Template, node: int, sign: int) -> None:
        """A pod of `template` came to the node (1) or left it (-1).

        Called before the pod is put on the node's list, or taken off it.
        """
        if template.id >= len(self._moves):
            self._take_in()
        if len(self._nodes_log) != self._nodes_seen:
            self._follow_nodes()
        self._placed[template.id] += sign
        for tally, amount in self._moves[template.id].items():
            tally.add(node, sign * amount)

    def _follow(self) -> None:
        """Take in new templates, and what happened to nodes and namespaces."""
        if len(self._nodes_log) != self._nodes_seen:
            self._follow_nodes()
        if len(self._templates) > len(self._moves):
            self._take_in()
        if self._namespaces.version != self._namespaces_seen:
            self._namespaces_seen = self._namespaces.version
            if self._selective:
                self._restart()

    def _follow_nodes(self) -> None:
        """Count the pods of a node under its new value where that has changed."""
        changed = sorted(set(self._nodes_log[self._nodes_seen :]))
        self._nodes_seen = len(self._nodes_log)
        for key in self._keys.values():
            if len(key.slot) < len(self._nodes):
                more = np.zeros(len(self._nodes), np.intp)  # at least twice as long
                key.slot = np.concatenate([key.slot, more])
            for node in changed:
                known = self._nodes.exists[node]
                slot = int(key.column[node]) - ABSENT if known else 0
                if slot != key.slot[node]:
                    self._shift(key, node, slot)

    def _shift(self, key: Key, node: int, slot: int) -> None:
        """The node lies under another value of the key now, and its pods with it."""
        moves = [
            (tally, amount)
            for pod in self._nodes.pods[node]
            for tally, amount in self._moves[self._pods.template[pod]].items()
            if tally.key is key
        ]
        for tally, amount in moves:
            tally.add(node, -amount)
        key.slot[node] = slot
        for tally, amount in moves:
            tally.add(node, amount)

    def _restart(self) -> None:
        """Begin anew: labels of namespaces have changed, and terms depend on them."""
        self._clear()
        self._take_in()
        templates, _ = self._holding()
        self._placed = np.bincount(templates, minlength=len(self._templates)).tolist()
        for tally in self._held.values():
            self._count(tally)

    # Which template has to do with which tally

    def _take_in(self) -> None:
        """Match the templates made since the last call with the tallies, both ways."""
        for template in self._templates[len(self._moves) :]:
            self._moves.append({})
            self._towards.append(([], [], [], []))
            self._placed.append(0)
            for label in _labels(template):
                self._templates_by_label.setdefault(label, []).append(template)
                for tally in self._picked_by_label.get(label, ()):
                    if self._picks(tally.terms, template):
                        self._join(tally, template, 1)
                for side, tally in self._held_by_label.get(label, ()):
                    self._speak(side, tally, template)
            for side, term, amount in terms_of(template).sides():
                self._join(self._held_tally(side, term), template, amount)

    def _join(self, tally: Tally, template: Template, amount: int) -> None:
        """Pods of the template are part of the tally."""
        tally.amounts[template.id] = tally.amounts.get(template.id, 0) + amount
        self._moves[template.id][tally] = tally.amounts[template.id]

    def _speak(self, side: Side, tally: Tally, template: Template) -> None:
        """Note the pods that hold a term, if it means pods of the template."""
        labels = self._namespaces.get(template.pod.namespace, {})
        if tally.terms[0].matches(template.pod, labels):
            self._towards[template.id][side].append(tally)

    def _held_tally(self, side: Side, term: Term) -> Tally:
        """The pods that have the term."""
        tally = self._held.get((side, term))
        if tally is None:
            tally = self._held[side, term] = Tally((term,), self._key(term.key))
            self._selective |= term.selective
            label = self._rarest(tally.terms)
            self._held_by_label.setdefault(label, []).append((side, tally))
            for template in self._templates_by_label.get(label, ()):
                self._speak(side, tally, template)
        return tally

    def _picked_tally(self, terms: tuple[Term, ...], key: str) -> Tally:
        """The pods that all the terms pick."""
        tally = self._picked.get((terms, key))
        if tally is None:
            tally = self._picked[terms, key] = Tally(terms, self._key(key))
            label = self._rarest(terms)
            self._picked_by_label.setdefault(label, []).append(tally)
            for template in self._templates_by_label.get(label, ()):
                if self._picks(terms, template):
                    self._join(tally, template, 1)
            if any(self._placed[template] for template in tally.amounts):
                self._count(tally)
        return tally

    def _picks(self, terms: tuple[Term, ...], template: Template) -> bool:
        """Whether terms of a pod to be placed pick this one; they know their namespaces by name."""
        return meets_all(template.pod, terms, {})

    def _new_near(self, template: Template) -> Near:
        terms = terms_of(template)
        required = tuple(self._by_name(term) for term in terms.required)
        preferred = [*terms.preferred, *((term, -weight) for term, weight in terms.anti_preferred)]
        return Near(
            terms,
            meets_itself=meets_all(template.pod, required, {}),
            required=tuple(self._picked_tally(required, term.key) for term in required),
            anti_required=tuple(self._picks_of(term) for term in terms.anti_required),
            preferred=tuple((self._picks_of(term), weight) for term, weight in preferred),
            towards=self._towards[template.id],
        )

    def _picks_of(self, term: Term) -> Tally:
        return self._picked_tally((self._by_name(term),), term.key)

    def _by_name(self, term: Term) -> Term:
        """The term with the namespaces that exist in place of a selector of theirs.

        The empty selector stays: it means every namespace (mergeAffinityTermNamespacesIfNotEmpty).
        """
        if term.namespace_selector is None or not term.selective:
            return term
        matches = term.namespace_selector.matches
        names = [name for name, labels in self._namespaces.items() if matches(labels)]
        return replace(term, namespaces=term.namespaces.union(names), namespace_selector=None)

    def _key(self, name: str) -> Key:
        if name not in self._keys:
            self._keys[name] = Key(name, self._nodes)
        return self._keys[name]

    def _rarest(self, terms: tuple[Term, ...]) -> _Label:
        """Of the labels that the terms require the one that fewest templates have now."""
        known = self._templates_by_label
        labels = [
            (r.key, r.values[0])
            for term in terms
            for r in (term.selector or Selector()).requirements
            if r.operator == "In" and len(r.values) == 1
        ]
        return min(labels, key=lambda label: len(known.get(label, ())), default=_ANYTHING)

    # Counting afresh

    def _count(self, tally: Tally) -> None:
        tally.per_slot = self._derive(tally)
        tally.total = int(tally.per_slot.sum())
        tally.version += 1

    def _derive(self, tally: Tally) -> Ints32:
        """The amounts from the pods themselves."""
        amounts = np.zeros(len(self._templates), np.int64)
        amounts[list(tally.amounts)] = list(tally.amounts.values())
        templates, nodes = self._holding()
        slot = tally.key.slot[nodes]
        found = np.bincount(slot, amounts[templates], tally.key.slots).astype(np.int32)
        found[0] = 0
        return found

    def _holding(self) -> tuple[Ints32, Ints]:
        """Template and node of each pod that holds its node."""
        lists = self._nodes.pods
        pods = np.fromiter(chain.from_iterable(lists), np.int64)
        numbers = np.array([len(held) for held in lists], np.int64)
        nodes = np.repeat(np.arange(len(lists)), numbers)
        return self._pods.template[pods], nodes


def _terms(pod: PodTemplate) -> Terms:
    rules = pod.spec.pod_affinity or PodAffinity()
    return Terms(
        required=tuple(_settled(term, pod) for term in rules.required),
        anti_required=tuple(_settled(term, pod) for term in rules.anti_required),
        preferred=tuple((_settled(p.term, pod), p.weight) for p in rules.preferred),
        anti_preferred=tuple((_settled(p.term, pod), p.weight) for p in rules.anti_preferred),
    )


def _settled(term: PodAffinityTerm, pod: PodTemplate) -> Term:
    """With the pod's own namespace if it names none, and its own values of the label keys."""
    own = not term.namespaces and term.namespace_selector is None
    return Term(
        key=term.topology_key,
        selector=_with_label_keys(term, pod.labels),
        namespaces=frozenset((pod.namespace,) if own else term.namespaces),
        namespace_selector=term.namespace_selector,
    )


def _with_label_keys(term: PodAffinityTerm, labels: Mapping[str, str]) -> Selector | None:
    """The selector with what the API server adds when it creates the pod.

    pkg/registry/core/pod/strategy.go applyMatchLabelKeysAndMismatchLabelKeys.
    """
    if term.selector is None:
        return None
    same = [Requirement(k, "In", (labels[k],)) for k in term.match_label_keys if k in labels]
    other = [Requirement(k, "NotIn", (labels[k],)) for k in term.mismatch_label_keys if k in labels]
    return Selector((*term.selector.requirements, *same, *other))


def _labels(template: Template) -> list[_Label]:
    return [_ANYTHING, *template.pod.labels.items()]
