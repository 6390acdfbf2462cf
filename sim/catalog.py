"""Everything that has a name, on one screen: plugins, in the order in which they are asked.

A new scheduler plugin is one file in `sim/plugins/` and one line here. Order and weights follow
pkg/scheduler/apis/config/v1/default_plugins.go (v1.34.1).
"""

from __future__ import annotations

from typing import Any

from sim.controllers import deployment, job, replicaset
from sim.controlplane import Reconcile
from sim.evaluation import Profile
from sim.extend import FilterPlugin, ScorePlugin
from sim.plugins.default_preemption import DefaultPreemption
from sim.plugins.image_locality import ImageLocality
from sim.plugins.inter_pod_affinity import InterPodAffinity
from sim.plugins.node_affinity import NodeAffinity
from sim.plugins.node_name import NodeName
from sim.plugins.node_ports import NodePorts
from sim.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from sim.plugins.node_resources_fit import NodeResourcesFit
from sim.plugins.node_unschedulable import NodeUnschedulable
from sim.plugins.node_volume_limits import NodeVolumeLimits
from sim.plugins.pod_topology_spread import PodTopologySpread
from sim.plugins.scheduling_gates import SchedulingGates
from sim.plugins.taint_toleration import TaintToleration
from sim.plugins.volume_binding import VolumeBinding
from sim.plugins.volume_restrictions import VolumeRestrictions
from sim.plugins.volume_zone import VolumeZone

FILTERS: dict[str, type[FilterPlugin]] = {
    "NodeUnschedulable": NodeUnschedulable,
    "NodeName": NodeName,
    "TaintToleration": TaintToleration,
    "NodeAffinity": NodeAffinity,
    "NodePorts": NodePorts,
    "NodeResourcesFit": NodeResourcesFit,
    "VolumeRestrictions": VolumeRestrictions,
    "NodeVolumeLimits": NodeVolumeLimits,
    "VolumeBinding": VolumeBinding,
    "VolumeZone": VolumeZone,
    "PodTopologySpread": PodTopologySpread,
    "InterPodAffinity": InterPodAffinity,
}

# name -> (plugin, default weight)
SCORES: dict[str, tuple[type[ScorePlugin], int]] = {
    "TaintToleration": (TaintToleration, 3),
    "NodeAffinity": (NodeAffinity, 2),
    "PodTopologySpread": (PodTopologySpread, 2),
    "InterPodAffinity": (InterPodAffinity, 2),
    "NodeResourcesFit": (NodeResourcesFit, 1),
    "NodeResourcesBalancedAllocation": (NodeResourcesBalancedAllocation, 1),
    "ImageLocality": (ImageLocality, 1),
}

# kind of object -> its reconcile function
CONTROLLERS: tuple[tuple[str, Reconcile], ...] = (
    ("Deployment", deployment.reconcile),
    ("ReplicaSet", replicaset.reconcile),
    ("Job", job.reconcile),
)


def default_profile(scheduler_name: str = "default-scheduler") -> Profile:
    """The plugins of a kube-scheduler without configuration."""
    filters = {name: plugin() for name, plugin in FILTERS.items()}
    scores: dict[str, Any] = {name: plugin() for name, (plugin, _) in SCORES.items()}
    scores |= {name: plugin for name, plugin in filters.items() if name in SCORES}  # one is both
    return Profile(
        scheduler_name,
        filters=tuple(filters.values()),
        scores=tuple((scores[name], weight) for name, (_, weight) in SCORES.items()),
        preemption=DefaultPreemption(),
        gates=(SchedulingGates(),),
    )
