"""Every extension point. Read this file before adding a plugin, a controller or a fault model.

A scheduler plugin is a frozen dataclass that only stores its parameters. It answers for any array
of node ids, so the same code serves all nodes, a sampled window, or the few that changed since the
last pod of the same shape. "No" is a value: `filter` returns one small integer per node (0 = fits),
and `verdict` puts it into words only when somebody asks.

Upstream: pkg/scheduler/framework/interface.go (v1.34.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sim.actions import Action
    from sim.cluster import Cluster
    from sim.events import Action as EventAction
    from sim.events import Event, Kind
    from sim.templates import Template

NodeIds = NDArray[np.int64]
Whys = NDArray[np.int32]  # per asked node: 0 = fits, else what `verdict` explains
Scores = NDArray[np.int64]

MAX_SCORE = 100  # framework.MaxNodeScore
FITS = 0


class Code(IntEnum):
    """How final a "no" is: would removing pods help?"""

    FITS = 0
    UNSCHEDULABLE = 1
    UNRESOLVABLE = 2  # UnschedulableAndUnresolvable: not a candidate for preemption


class Reads(IntFlag):
    """What an answer about a node depends on, so what makes a kept answer stale."""

    NODE = 1  # labels, taints, allocatable and the like of that node
    PODS_ON_NODE = 2  # pods on that node
    PODS_ANYWHERE = 4  # pods on other nodes too: all is asked again when a pod (or `stamp`) moves
    FEASIBLE_SET = 8  # a score that looks at which nodes are feasible


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a node does not take a pod; reasons are worded so that they can be counted over nodes."""

    code: Code
    reasons: tuple[str, ...]


Refusal = tuple[str, Verdict]  # the first filter that refuses a node, and what it says
ELSEWHERE = Verdict(
    Code.UNRESOLVABLE, ("node(s) didn't satisfy plugin(s) [NodeAffinity]",)
)  # nodes that a pre-filter left out (framework/runtime/framework.go RunPreFilterPlugins)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A pre-filter's no for every node at once."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class OnlyNodes:
    """A pre-filter's answer that only these nodes can be meant; the others are not asked."""

    nodes: NodeIds
    state: Any = None


class Skip:
    """A pre-filter's or pre-score's answer that the plugin has nothing to say about this pod."""


SKIP = Skip()


class FilterPlugin(Protocol):
    """Says which nodes can take a pod. `name` and `reads` are class attributes."""

    @property
    def name(self) -> str: ...

    @property
    def reads(self) -> Reads: ...

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """State for `filter`, or SKIP, Rejection or OnlyNodes; computed once per pod shape."""

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """Per node of `nodes`: 0 if it can take the pod, else a number for `verdict`."""

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """What a number other than 0 stands for."""


class ScorePlugin(Protocol):
    """Says how good a node is for a pod, from 0 to 100 after `normalize`."""

    @property
    def name(self) -> str: ...

    @property
    def reads(self) -> Reads: ...

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """State for `score`, or SKIP (the plugin then counts 0 on every node).

        `nodes` are the feasible ones for a plugin that reads FEASIBLE_SET, else all.
        """

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """Per node of `nodes`, an integer; higher is better unless `normalize` reverses it."""


@runtime_checkable
class Normalizes(Protocol):
    """A score plugin whose scores only mean something relative to the other feasible nodes."""

    def normalize(self, scores: Scores) -> Scores:
        """The scores of the feasible nodes, brought to 0..100."""


@runtime_checkable
class Concerns(Protocol):
    """A plugin that knows without looking at the nodes when it has nothing to say."""

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """False: it will SKIP this pod until a node, a Service or a Namespace changes, or a pod
        template comes with an affinity term that means this one."""


@runtime_checkable
class ConcernsScores(Protocol):
    """The same for the scores alone, of a plugin that filters and scores."""

    def concerns_scores(self, pod: Template, cluster: Cluster) -> bool:
        """False: it will not score this pod until a node or a Service changes."""


@runtime_checkable
class Stamps(Protocol):
    """A plugin that reads PODS_ANYWHERE but can tell when what it reads has not moved."""

    def stamp(self, pod: Template, cluster: Cluster) -> Any:
        """Equal stamps, equal answers, as long as no node and no Service changes."""


@runtime_checkable
class Assumes(Protocol):
    """A filter whose state moves when a pod comes to a node, or leaves it, in a dry run.

    What a filter reads of the node itself (sums, `cluster.nodes.pods`) is already as supposed;
    only state that `prefilter` derived needs this (PreFilterExtensions AddPod and RemovePod).
    """

    def assume(
        self, state: Any, pod: Template, cluster: Cluster, other: int, node: int, sign: int
    ) -> Any:
        """The state with pod `other` on the node (sign 1) or no longer there (-1).

        `state` itself must stay as it is.
        """


@runtime_checkable
class Listens(Protocol):
    """A plugin that knows which events may help a pod it has refused (EnqueueExtensions)."""

    @property
    def listens(self) -> tuple[tuple[Kind, EventAction], ...]: ...

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Whether the pod is worth another try; `own`: the event is of that very pod.

        Asked only of events that `listens` covers.
        """


@runtime_checkable
class Gates(Protocol):
    """A plugin that keeps pods out of the queue (PreEnqueue)."""

    def admits(self, pod: Template) -> bool:
        """Whether the pod may be tried at all."""


@runtime_checkable
class Reserves(Protocol):
    """A plugin that takes something on the chosen node before the pod is bound to it."""

    def reserve(self, pod: int, node: int, cluster: Cluster) -> None:
        """Take it."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What keeps a node from taking a pod, for people, as in 'lacks 350m cpu (650m free of 4)'.

    `share` says how far off the node is: the missing part of what it has, 1 where that cannot be
    measured.
    """

    text: str
    share: float = 1.0


@runtime_checkable
class Explains(Protocol):
    """A filter that can say what would have to change on a node that it refuses."""

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The change; asked only where `filter` with this state refuses the pod."""


@runtime_checkable
class Moves(Protocol):
    """A filter that can tell from two of its states which nodes it may answer otherwise now."""

    def moved(self, before: Any, after: Any) -> NodeIds | None:
        """Those nodes; None if it cannot tell, and all have to be asked."""


class Controller(Protocol):
    """Level-triggered: compares what is wanted with what exists, never asks what happened."""

    def reconcile(self, key: Any, view: Cluster, now_ms: int) -> Sequence[Action]:
        """What to do so that `key` comes nearer to what is wanted; nothing when it is there."""

    def keys_of(self, change: Any, object_id: int, view: Cluster) -> Iterable[Any]:
        """Keys to look at after a change."""
