"""How many pods a selector picks on each node, kept up to date as pods come and go.

A pod counts while it holds its node and is not being deleted: what topology spread and the like
ask for (pkg/scheduler/framework/plugins/podtopologyspread/common.go countPodsMatchSelector,
v1.34.1). One column of numbers per (namespace, selector) somebody asked about; a pod that moves
touches only the columns that pick it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from sim.tables import NEVER, Bools, Ints, Ints32

if TYPE_CHECKING:
    from sim.labels import Selector
    from sim.tables import NodeTable, PodTable
    from sim.templates import Template

_Label = tuple[str, str, str]  # namespace, key, value


class Counts:
    """One selector's numbers: `per_node`, and a `log` of how they moved.

    An entry of the log is the node that got one more, or ~node for one that has one less.
    """

    __slots__ = ("log", "namespace", "per_node", "selector")

    def __init__(self, namespace: str, selector: Selector, per_node: Ints32) -> None:
        self.namespace = namespace
        self.selector = selector
        self.per_node = per_node
        self.log = array("i")

    def picks(self, template: Template) -> bool:
        """Whether pods of this template count."""
        pod = template.pod
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


class Tally:
    """One selector's numbers summed over groups of nodes, kept up to date by what has moved.

    `group` numbers each node's group, `groups` is how many there are; nodes not `among` those that
    count are in none.
    """

    __slots__ = ("_among", "_counts", "_group", "_seen", "_sums")

    def __init__(self, counts: Counts, group: Ints32, groups: int, among: Bools) -> None:
        self._counts = counts
        self._group = group
        self._among = among
        self._sums = np.zeros(groups, np.int64)
        self._seen = -1

    def sums(self) -> Ints:
        """How many pods the selector picks in each group, now."""
        log = self._counts.log
        moved = len(log) - self._seen
        if self._seen < 0 or moved > len(self._group):
            self._count_all()
        elif moved:
            for entry in log[self._seen :]:
                node = entry if entry >= 0 else ~entry
                if self._among[node]:
                    self._sums[self._group[node]] += 1 if entry >= 0 else -1
        self._seen = len(log)
        return self._sums

    def _count_all(self) -> None:
        """float64 sums of integers this small are exact."""
        among, group = self._among, self._group
        per_node = self._counts.per_node[: len(group)][among]
        sums = np.bincount(group[among], weights=per_node, minlength=len(self._sums))
        self._sums[:] = sums.astype(np.int64)


class PodCounts:
    """The columns of one cluster.

    Columns and templates are found by a label: a selector that requires `app=web` is kept under
    that label, where only templates with the label look for it, and it only looks at those.
    """

    def __init__(self, nodes: NodeTable, pods: PodTable, templates: list[Template]) -> None:
        self._nodes = nodes
        self._pods = pods
        self._templates = templates
        self._columns: dict[tuple[str, Selector], Counts] = {}
        self._columns_by_label: dict[_Label, list[Counts]] = {}
        self._templates_by_label: dict[_Label, list[Template]] = {}
        self._picking: list[list[Counts]] = []  # by template, for those taken in
        self._held: list[dict[int, int]] = []  # by template: node -> pods that count there

    def of(self, namespace: str, selector: Selector) -> Counts:
        """The numbers of a selector, at least one per node; counted afresh when it is new."""
        key = (namespace, selector)
        counts = self._columns.get(key)
        if counts is None:
            counts = self._columns[key] = self._new_column(namespace, selector)
        _reach(counts, len(self._nodes) - 1)
        return counts

    def add(self, template: Template, node: int, sign: int) -> None:
        """A pod of `template` came to the node (1) or no longer counts there (-1)."""
        if template.id >= len(self._held):
            self._take_in()
        held = self._held[template.id]
        held[node] = held.get(node, 0) + sign
        for counts in self._picking[template.id]:
            _reach(counts, node)
            counts.per_node[node] += sign
            counts.log.append(node if sign > 0 else ~node)

    def check(self) -> None:
        """Every column equals what the pods say; AssertionError names the first that differs."""
        for (namespace, selector), counts in self._columns.items():
            _reach(counts, len(self._nodes) - 1)
            derived, kept = self._derive(counts), counts.per_node[: len(self._nodes)]
            assert np.array_equal(derived, kept), (
                f"pods of {namespace} picked by {selector}: kept {kept}, derived {derived}"
            )

    def _new_column(self, namespace: str, selector: Selector) -> Counts:
        self._take_in()
        label = self._rarest(namespace, selector)
        counts = Counts(namespace, selector, np.zeros(len(self._nodes), np.int32))
        self._columns_by_label.setdefault(label, []).append(counts)
        for template in self._templates_by_label.get(label, ()):
            if counts.picks(template):
                self._picking[template.id].append(counts)
                for node, number in self._held[template.id].items():
                    counts.per_node[node] += number
        return counts

    def _rarest(self, namespace: str, selector: Selector) -> _Label:
        """Of the labels the selector requires the one that fewest templates have now."""
        labels: list[_Label] = [
            (namespace, r.key, r.values[0])
            for r in selector.requirements
            if r.operator == "In" and len(r.values) == 1
        ]
        known = self._templates_by_label
        anything = _any_label(namespace)
        return min(labels, key=lambda label: len(known.get(label, ())), default=anything)

    def _take_in(self) -> None:
        """Note which columns pick the templates made since the last call."""
        for template in self._templates[len(self._held) :]:
            picking: list[Counts] = []
            for label in _labels_of(template):
                self._templates_by_label.setdefault(label, []).append(template)
                columns = self._columns_by_label.get(label, ())
                picking += [counts for counts in columns if counts.picks(template)]
            self._picking.append(picking)
            self._held.append({})

    def _derive(self, counts: Counts) -> Ints32:
        """The numbers from the pods on the nodes themselves."""
        picked = [counts.picks(template) for template in self._templates]
        deleting_ms, template = self._pods.deleting_ms, self._pods.template
        derived = [
            sum(picked[template[pod]] and deleting_ms[pod] == NEVER for pod in on_node)
            for on_node in self._nodes.pods
        ]
        return np.array(derived, np.int32)


def _any_label(namespace: str) -> _Label:
    """Where selectors are kept that require no label: they may pick any template of it."""
    return namespace, "", ""  # "" is no key of a label


def _labels_of(template: Template) -> list[_Label]:
    namespace = template.pod.namespace
    labels = [(namespace, *pair) for pair in template.pod.labels.items()]
    return [_any_label(namespace), *labels]


def _reach(counts: Counts, node: int) -> None:
    """Make the column long enough for `node`."""
    if node >= len(counts.per_node):
        longer = np.zeros(max(node + 1, 2 * len(counts.per_node)), np.int32)
        longer[: len(counts.per_node)] = counts.per_node
        counts.per_node = longer
