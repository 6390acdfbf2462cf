"""One node as it would be with some pods more or less: for nominated pods and for preemption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.extend import ELSEWHERE, SKIP, Refusal

if TYPE_CHECKING:
    from sim.evaluation import Evaluation


class DryRun:
    """One node as it would be with some pods more or less; leave the `with` to put it back.

    As upstream, a plugin that skipped the pod is not asked, and what a pre-filter derived from pods
    anywhere is carried on by the plugin itself (RunPreFilterExtensionAddPod, RemovePod).
    """

    def __init__(self, evaluation: Evaluation, node: int) -> None:
        self._evaluation = evaluation
        self._cluster = evaluation.cluster
        self._node = node
        self._nodes = np.array([node])
        self._rows = [row for row in evaluation.filters if row.state is not SKIP]
        self._states = [row.state for row in self._rows]
        self._moves: list[tuple[int, int]] = []

    def __enter__(self) -> DryRun:
        self._pods = dict(self._cluster.nodes.pods[self._node])
        return self

    def __exit__(self, *_: object) -> None:
        for pod, sign in reversed(self._moves):
            self._cluster.suppose(pod, self._node, -sign)
        self._cluster.restore_order(self._node, self._pods)

    def add(self, pod: int) -> None:
        """Suppose that the pod were on the node too."""
        self._move(pod, 1)

    def remove(self, pod: int) -> None:
        """Suppose that the pod were no longer on the node."""
        self._move(pod, -1)

    def refusal(self) -> Refusal | None:
        """Why the node would not take the pod."""
        evaluation = self._evaluation
        if evaluation.rejection is not None:
            return evaluation.rejected_by, evaluation.rejection
        if evaluation.allowed is not None and not evaluation.allowed[self._node]:
            return "", ELSEWHERE
        for row, state in zip(self._rows, self._states, strict=True):
            plugin = row.plugin
            whys = plugin.filter(evaluation.pod, self._cluster, self._nodes, state)
            if why := int(whys[0]):
                return plugin.name, plugin.verdict(why, self._cluster)
        return None

    def _move(self, pod: int, sign: int) -> None:
        self._cluster.suppose(pod, self._node, sign)
        self._moves.append((pod, sign))
        for place, row in enumerate(self._rows):
            if row.assume is not None:
                self._states[place] = row.assume(
                    self._states[place], self._evaluation.pod, self._cluster, pod, self._node, sign
                )
