"""How many pods a selector picks on each node, kept up to date as pods come and go.

A pod counts while it holds its node and is not being deleted: what topology spread and the like
ask for (pkg/scheduler/framework/plugins/podtopologyspread/common.go countPodsMatchSelector,
v1.34.1). One column of numbers per (namespace, selector) somebody asked about; a pod that moves
touches only the columns that pick it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.tables import NEVER, UNBOUND, Ints32

if TYPE_CHECKING:
    from sim.cluster import Template
    from sim.labels import Selector
    from sim.tables import NodeTable, PodTable


class Counts:
    """One selector's numbers: `per_node`, and `version`, which moves whenever one of them does."""

    __slots__ = ("namespace", "per_node", "selector", "version")

    def __init__(self, namespace: str, selector: Selector, per_node: Ints32) -> None:
        self.namespace = namespace
        self.selector = selector
        self.per_node = per_node
        self.version = 0

    def picks(self, template: Template) -> bool:
        """Whether pods of this template count."""
        pod = template.pod
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


class PodCounts:
    """The columns of one cluster."""

    def __init__(self, nodes: NodeTable, pods: PodTable, templates: list[Template]) -> None:
        self._nodes = nodes
        self._pods = pods
        self._templates = templates
        self._columns: dict[tuple[str, Selector], Counts] = {}
        self._of_template: dict[int, list[Counts]] = {}

    def of(self, namespace: str, selector: Selector) -> Counts:
        """The numbers of a selector, at least one per node; counted afresh when it is new."""
        key = (namespace, selector)
        counts = self._columns.get(key)
        if counts is None:
            counts = self._columns[key] = Counts(namespace, selector, np.empty(0, np.int32))
            counts.per_node = self._derive(counts)
            self._of_template.clear()
        _reach(counts, len(self._nodes) - 1)
        return counts

    def add(self, template: Template, node: int, sign: int) -> None:
        """A pod of `template` came to the node (1) or no longer counts there (-1)."""
        if not self._columns:
            return
        for counts in self._picking(template):
            _reach(counts, node)
            counts.per_node[node] += sign
            counts.version += 1

    def check(self) -> None:
        """Every column equals what the pods say; AssertionError names the first that differs."""
        for (namespace, selector), counts in self._columns.items():
            _reach(counts, len(self._nodes) - 1)
            derived, kept = self._derive(counts), counts.per_node[: len(self._nodes)]
            assert np.array_equal(derived, kept), (
                f"pods of {namespace} picked by {selector}: kept {kept}, derived {derived}"
            )

    def _picking(self, template: Template) -> list[Counts]:
        known = self._of_template.get(template.id)
        if known is None:
            known = [c for c in self._columns.values() if c.picks(template)]
            self._of_template[template.id] = known
        return known

    def _derive(self, counts: Counts) -> Ints32:
        pods = self._pods
        rows = len(pods)
        picked = np.array([counts.picks(template) for template in self._templates], np.bool_)
        holds = (
            (pods.node[:rows] != UNBOUND)
            & (pods.ended_ms[:rows] == NEVER)
            & (pods.deleting_ms[:rows] == NEVER)
        )
        if len(picked):
            holds &= picked[pods.template[:rows]]
        nodes = pods.node[:rows][holds]
        return np.bincount(nodes, minlength=len(self._nodes)).astype(np.int32)


def _reach(counts: Counts, node: int) -> None:
    """Make the column long enough for `node`."""
    if node >= len(counts.per_node):
        longer = np.zeros(max(node + 1, 2 * len(counts.per_node)), np.int32)
        longer[: len(counts.per_node)] = counts.per_node
        counts.per_node = longer
