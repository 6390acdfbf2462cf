"""What actors may ask for: values that say what shall be done, carried out elsewhere.

Controllers return the first group (`sim.controlplane` carries them out with the upstream manner);
the second group is done to a run from outside: faults, arrivals, a test's replay of a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sim.podspec import PodTemplate, Taint
    from sim.recorder import Reason
    from sim.workloads import Deployment, ReplicaSet


@dataclass(frozen=True, slots=True)
class CreatePods:
    """Make `count` pods of `template` for an owner."""

    owner: int
    template: PodTemplate
    count: int


@dataclass(frozen=True, slots=True)
class DeletePods:
    """Set the deletionTimestamp of these pods, all in parallel."""

    pods: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CreateReplicaSet:
    replicaset: ReplicaSet


@dataclass(frozen=True, slots=True)
class ScaleReplicaSet:
    namespace: str
    name: str
    replicas: int


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Have the controller look at the same object at this time, whatever happens until then."""

    at_ms: int


Action = CreatePods | DeletePods | CreateReplicaSet | ScaleReplicaSet | LookAgain


@dataclass(frozen=True, slots=True)
class FailNodes:
    """Machines stop (crash) or lose contact with the control plane (partition)."""

    nodes: tuple[int, ...]
    mode: Literal["crash", "partition"] = "crash"


@dataclass(frozen=True, slots=True)
class RecoverNodes:
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScaleDeployment:
    namespace: str
    name: str
    replicas: int


@dataclass(frozen=True, slots=True)
class ApplyDeployment:
    """Create the Deployment, or replace its specification."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class DeletePod:
    pod: int
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class CordonNodes:
    nodes: tuple[int, ...]
    unschedulable: bool = True


@dataclass(frozen=True, slots=True)
class RemoveNodes:
    """Delete the Node objects, whatever their machines do."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JoinNode:
    """A new node of the same kind as `like` joins, with the next name of its pool."""

    like: int


@dataclass(frozen=True, slots=True)
class TaintNodes:
    """Give nodes a taint, or take it from them."""

    nodes: tuple[int, ...]
    taint: Taint
    remove: bool = False


@dataclass(frozen=True, slots=True)
class ReportReady:
    """Kubelets that live report their nodes ready, or not ready."""

    nodes: tuple[int, ...]
    ready: bool


@dataclass(frozen=True, slots=True)
class ShutdownNodes:
    """Machines are shut down in an orderly way: gracefully where their kubelets are configured so.

    Afterwards they are down until RecoverNodes, which may come while they are still stopping.
    """

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetSpeed:
    """Machines do so much of the CPU work that they are made for; 1.0 is all."""

    nodes: tuple[int, ...]
    factor: float


@dataclass(frozen=True, slots=True)
class FillDisk:
    """So much of the nodes' disk is in use; None: nothing is said of it any more."""

    nodes: tuple[int, ...]
    share: float | None


NodeAction = (
    FailNodes
    | RecoverNodes
    | CordonNodes
    | RemoveNodes
    | JoinNode
    | TaintNodes
    | ReportReady
    | SetSpeed
    | FillDisk
    | ShutdownNodes
)
OutsideAction = NodeAction | ScaleDeployment | ApplyDeployment | DeletePod


@dataclass(frozen=True, slots=True)
class Timed:
    """Something done from outside at a moment."""

    at_ms: int
    action: OutsideAction
