"""Which nodes are looked at for a pod, which of them take it, and how good they are.

Follows pkg/scheduler/schedule_one.go findNodesThatFitPod, findNodesThatPassFilters and
numFeasibleNodesToFind (v1.34.1), with one worker: nodes are visited in order from a rotating start
until enough are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sim.evaluation import Diagnosis, Evaluation
    from sim.extend import NodeIds, Refusal, Scores
    from sim.tables import Bools

MIN_NODES_TO_FIND = 100  # minFeasibleNodesToFind
MIN_PERCENTAGE = 5  # minFeasibleNodesPercentageToFind
DEFAULT_PERCENTAGE = 50
NODES_PER_PERCENT = 125  # each so many nodes take one percent off the default

LISTED_AT_ONCE = 2_048
Nominated = Mapping[int, tuple[int, ...]]  # node -> pods nominated to it that matter to the pod


def place_of(mask: Bools, nth: int) -> int:
    """The place of the nth True (from 0), found by halves: most of the mask is never listed."""
    begin, end = 0, len(mask)
    while end - begin > LISTED_AT_ONCE:
        middle = (begin + end) // 2
        before = int(np.count_nonzero(mask[begin:middle]))
        if nth < before:
            end = middle
        else:
            nth -= before
            begin = middle
    return begin + int(np.flatnonzero(mask[begin:end])[nth])


def nodes_to_find(nodes: int, percentage: int) -> int:
    """How many feasible nodes are enough; `percentage` 0 adapts to the number of nodes."""
    if nodes < MIN_NODES_TO_FIND or percentage >= 100:
        return nodes
    if percentage == 0:
        percentage = max(MIN_PERCENTAGE, DEFAULT_PERCENTAGE - nodes // NODES_PER_PERCENT)
    return max(MIN_NODES_TO_FIND, nodes * percentage // 100)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the nodes say to one pod at one moment.

    `kept` are the nodes that take it, in the order in which they were looked at, with their
    `totals`; `start` and `next_start` are positions in the node order, `examined` how many nodes
    were looked at, `refused` those that only nominated pods keep from taking it. `alone`: the node
    the pod is nominated to takes it, and no other was asked.
    """

    evaluation: Evaluation
    kept: NodeIds
    totals: Scores
    start: int
    next_start: int
    examined: int
    to_find: int
    refused: Mapping[int, Refusal]
    alone: bool = False

    def verdicts(self) -> dict[int, Refusal]:
        """For each node that does not take the pod: which filter, and its verdict."""
        return {} if self.alone else {**self.evaluation.verdicts(), **self.refused}

    def diagnosis(self) -> Diagnosis:
        """Why nodes refuse the pod, summed up."""
        return self.evaluation.diagnosis_beside(self.refused)


def search(
    evaluation: Evaluation,
    order: NodeIds,
    start: int,
    percentage: int,
    nominated: Nominated,
    own_node: int | None,
) -> Answer:
    """Ask the nodes of `order` from position `start` on.

    A node must take the pod both with and without the pods `nominated` to it, and `own_node`, to
    which the pod itself is nominated, is asked before all others.
    """
    if own_node is not None and not evaluation.cluster.nodes.exists[own_node]:
        own_node = None  # nothing is asked of a node that is gone
    refused = refusals_beside(evaluation, nominated)
    takes_own = own_node is not None and own_node not in refused and evaluation.mask[own_node]
    if takes_own:
        kept = np.array([own_node])
        totals = _totals(evaluation, kept)
        return Answer(evaluation, kept, totals, start, start, 1, 1, refused, alone=True)
    listed = order if evaluation.allowed is None else order[evaluation.allowed[order]]
    if evaluation.rejection is not None or not len(listed):
        none = np.empty(0, np.int64)
        return Answer(evaluation, none, none, start, start, 0, 0, refused)
    to_find = 1 if evaluation.without_scores else nodes_to_find(len(listed), percentage)
    kept, examined = look(evaluation, listed, start, to_find, refused)
    totals = _totals(evaluation, kept)
    moved = examined + _asked_in_vain(own_node, listed, start, examined)
    next_start = (start + moved) % len(order)
    return Answer(evaluation, kept, totals, start, next_start, examined, to_find, refused)


def refusals_beside(evaluation: Evaluation, nominated: Nominated) -> dict[int, Refusal]:
    """Nodes that refuse the pod when the pods nominated to them are there, and why."""
    found = {}
    for node, pods in nominated.items():
        refusal = evaluation.refusal_beside(node, pods)
        if refusal is not None:
            found[node] = refusal
    return found


def look(
    evaluation: Evaluation,
    listed: NodeIds,
    start: int,
    to_find: int,
    refused: Mapping[int, Refusal],
) -> tuple[NodeIds, int]:
    """The feasible nodes of `listed` from `start` on, at most `to_find`, and how many were seen.

    The search ends at the first feasible node beyond `to_find`, which is not counted.
    """
    start %= len(listed)
    mask = evaluation.mask
    if refused:
        mask = mask.copy()
        mask[list(refused)] = False
    first = listed[start : start + to_find + 1]
    if len(first) > to_find and mask[first].all():  # as mostly, while the cluster has room
        return first[:to_find], to_find
    turned = np.concatenate([listed[start:], listed[:start]]) if start else listed
    places = np.flatnonzero(mask[turned])
    if len(places) <= to_find:
        return turned[places], len(turned)
    return turned[places[:to_find]], int(places[to_find])


def _totals(evaluation: Evaluation, kept: NodeIds) -> Scores:
    if evaluation.without_scores:
        return np.ones(len(kept), np.int64)
    return evaluation.totals(kept)


def _asked_in_vain(own_node: int | None, listed: NodeIds, start: int, examined: int) -> int:
    """1 if the pod's nominated node was asked first, refused, and not visited again."""
    if own_node is None:
        return 0
    places = (np.flatnonzero(listed == own_node) - start) % len(listed)
    return int(not (places < examined).any())
