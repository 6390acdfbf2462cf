"""SchedulingGates: a pod with gates is not tried until the last one is taken away.

Follows pkg/scheduler/framework/plugins/schedulinggates/scheduling_gates.go (v1.34.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sim.events import Action, Event, Kind

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template


@dataclass(frozen=True, slots=True)
class SchedulingGates:
    name: ClassVar[str] = "SchedulingGates"
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = ((Kind.POD, Action.POD_GATES_ELIMINATED),)

    def admits(self, pod: Template) -> bool:
        """Whether the pod has no gates."""
        return not pod.pod.spec.scheduling_gates

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Its own gates are gone."""
        return own
