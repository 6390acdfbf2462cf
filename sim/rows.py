"""What one plugin answered for one pod shape: the parts that an evaluation is kept up from.

The optional methods of a plugin (protocols of `sim.extend`) are looked up once per row, because
asking with isinstance whether a protocol is met costs more than most answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.extend import SKIP, FilterPlugin, NodeIds, ScorePlugin, Scores, Whys

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

StampOf = Callable[["Template", "Cluster"], Any]


class FilterRow:
    """A filter with its state, its answers, and the methods of the protocols `Stamps`, `Moves` and
    `Assumes`, None where it has none (isinstance of a protocol costs more than most answers)."""

    __slots__ = ("assume", "moved", "plugin", "stamp", "stamp_of", "state", "whys")

    def __init__(self, plugin: FilterPlugin, state: Any) -> None:
        self.plugin = plugin
        self.state = state
        self.whys: Whys = np.empty(0, np.int32)
        self.stamp: Any = None
        self.stamp_of: StampOf | None = getattr(plugin, "stamp", None)
        self.moved: Callable[[Any, Any], NodeIds | None] | None = getattr(plugin, "moved", None)
        self.assume: Callable[..., Any] | None = getattr(plugin, "assume", None)

    def moved_since(self, before: Any) -> NodeIds | None:
        """Nodes whose answer may differ from that of the state before; None if not known."""
        if before is SKIP or self.state is SKIP or self.moved is None:
            return None
        return self.moved(before, self.state)


@dataclass(slots=True)
class ScoreRow:
    plugin: ScorePlugin
    weight: int
    state: Any
    raw: Scores
    normalize: Callable[[Scores], Scores] | None


class LateRow:
    """A score that depends on the feasible set or on pods anywhere: asked for those kept."""

    __slots__ = ("normalize", "plugin", "stamp", "stamp_of", "weight")

    def __init__(self, plugin: ScorePlugin, weight: int) -> None:
        self.plugin = plugin
        self.weight = weight
        self.stamp: Any = None
        self.stamp_of: StampOf | None = getattr(plugin, "stamp", None)
        self.normalize = normalize_of(plugin)


def normalize_of(plugin: ScorePlugin) -> Callable[[Scores], Scores] | None:
    """The plugin's own normalisation (protocol `Normalizes`), None if it has none."""
    return getattr(plugin, "normalize", None)
