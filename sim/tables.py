"""The state of a cluster as columns: a node or a pod is an integer id, a property one array.

Only `sim.cluster.Cluster` writes to these tables. About 150 bytes a pod, against 400 as objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.errors import SimError
from sim.labels import Labels
from sim.podspec import CPU, EPHEMERAL_STORAGE, MEMORY, Resources, Taint

if TYPE_CHECKING:
    from sim.nodes import NodeShape

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Ints8 = NDArray[np.int8]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

NEVER = -1  # a time that has not come
UNBOUND = -1  # the node of a pod without one
ABSENT = -1  # the value id of a label that a node does not carry

MAX_RESOURCES = 28  # what a plugin's answer of 32 bits can name
CPU_ROW, MEMORY_ROW = 0, 1  # rows of the resource arrays


class Phase(IntEnum):
    """Pod phases of the API."""

    PENDING = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3


class NodeReady(IntEnum):
    """The Ready condition of a node, as the API shows it."""

    TRUE = 0
    FALSE = 1
    UNKNOWN = 2


class _Columns:
    """Arrays that grow together by doubling; `len()` is the number of rows in use."""

    _COLUMNS: ClassVar[dict[str, tuple[Any, Any]]] = {}

    def __init__(self, capacity: int = 16) -> None:
        self.count = 0
        self._capacity = capacity
        for name, (dtype, fill) in self._COLUMNS.items():
            setattr(self, name, np.full(capacity, fill, dtype))

    def __len__(self) -> int:
        return self.count

    def _new_row(self) -> int:
        if self.count == self._capacity:
            self._grow()
        self.count += 1
        return self.count - 1

    def _grow(self) -> None:
        more = self._capacity
        self._capacity += more
        for name, (dtype, fill) in self._COLUMNS.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.full(more, fill, dtype)]))


class NodeTable(_Columns):
    """Nodes. Two-dimensional arrays have one row per resource (`resources`), one column per node.

    `requested` sums the effective requests of the pods on a node, `nonzero_*` what the scheduler's
    scores count instead, `limits` their limits.
    """

    exists: Bools
    up: Bools  # the machine runs; the API learns of a failure later
    cut_off: Bools  # it runs but the control plane does not hear of it
    faults: Ints  # faults that have not ended; it works while there is none
    ready: Ints8
    unschedulable: Bools
    taint_set: Ints32
    zone: Ints32
    pool: Ints32
    max_pods: Ints
    pod_count: Ints
    nonzero_cpu_m: Ints
    nonzero_memory_b: Ints
    kubepods_cpu_m: Ints
    kubepods_memory_b: Ints
    price_usd_per_hour: Floats
    created_ms: Ints
    removed_ms: Ints
    down_since_ms: Ints
    down_ms: Ints
    oom_kills: Ints
    evictions: Ints  # by its kubelet
    memory_pressure_since_ms: Ints
    memory_pressure_ms: Ints

    _COLUMNS: ClassVar[dict[str, tuple[Any, Any]]] = {
        "exists": (np.bool_, False),
        "up": (np.bool_, False),
        "cut_off": (np.bool_, False),
        "faults": (np.int64, 0),
        "ready": (np.int8, NodeReady.TRUE),
        "unschedulable": (np.bool_, False),
        "taint_set": (np.int32, 0),
        "zone": (np.int32, 0),
        "pool": (np.int32, 0),
        "max_pods": (np.int64, 110),
        "pod_count": (np.int64, 0),
        "nonzero_cpu_m": (np.int64, 0),
        "nonzero_memory_b": (np.int64, 0),
        "kubepods_cpu_m": (np.int64, 0),
        "kubepods_memory_b": (np.int64, 0),
        "price_usd_per_hour": (np.float64, 0.0),
        "created_ms": (np.int64, 0),
        "removed_ms": (np.int64, NEVER),
        "down_since_ms": (np.int64, NEVER),
        "down_ms": (np.int64, 0),
        "oom_kills": (np.int64, 0),
        "evictions": (np.int64, 0),
        "memory_pressure_since_ms": (np.int64, NEVER),
        "memory_pressure_ms": (np.int64, 0),
    }

    def __init__(self, capacity: int = 16) -> None:
        super().__init__(capacity)
        self.resources: list[str] = [CPU, MEMORY, EPHEMERAL_STORAGE]
        self.capacity = self._resource_array()
        self.allocatable = self._resource_array()
        self.requested = self._resource_array()
        self.limits = self._resource_array()
        self.names: list[str] = []
        self.labels: list[Labels] = []
        self.instance_types: list[str] = []
        self.shapes: list[NodeShape] = []
        self.zones: list[str] = []
        self.pools: list[str] = []
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        self.pods: list[dict[int, None]] = []  # pods that hold resources, in order of binding
        self.by_name: dict[str, int] = {}
        self.conditions: dict[int, frozenset[str]] = {}  # those that are True, besides Ready
        self.images = Images()
        self._label_columns: dict[str, _LabelColumn] = {}

    def __getitem__(self, name: str) -> int:
        """The id of a node by its name."""
        return self.by_name[name]

    def ids(self) -> Ints:
        """Ids of all nodes that exist, ascending."""
        return np.flatnonzero(self.exists[: self.count])

    def resource_row(self, resource: str) -> int:
        """The row of `resource`, made when it is new; SimError when there are too many."""
        if resource not in self.resources:
            if len(self.resources) == MAX_RESOURCES:
                raise SimError(f"{resource!r} is one resource too many; at most {MAX_RESOURCES}")
            self.resources.append(resource)
            for name in ("capacity", "allocatable", "requested", "limits"):
                array = getattr(self, name)
                setattr(self, name, np.vstack([array, np.zeros((1, array.shape[1]), np.int64)]))
        return self.resources.index(resource)

    def vector(self, amounts: Resources) -> Ints:
        """`amounts` as one number per resource row."""
        rows = {self.resource_row(name): amount for name, amount in amounts.items()}
        vector = np.zeros(len(self.resources), np.int64)
        for row, amount in rows.items():
            vector[row] = amount
        return vector

    def taints(self, node: int) -> tuple[Taint, ...]:
        """Taints of a node, in order."""
        return self.taint_sets[int(self.taint_set[node])]

    def label_column(self, key: str) -> _LabelColumn:
        """The values of one label over all nodes, kept up to date as nodes change."""
        column = self._label_columns.get(key)
        if column is None:
            column = self._label_columns[key] = _LabelColumn(key)
            for node, labels in enumerate(self.labels):
                column.put(node, labels)
        return column

    def _resource_array(self) -> Ints:
        return np.zeros((len(self.resources), self._capacity), np.int64)

    def _grow(self) -> None:
        more = self._capacity
        super()._grow()
        for name in ("capacity", "allocatable", "requested", "limits"):
            array = getattr(self, name)
            wider = np.zeros((array.shape[0], more), np.int64)
            setattr(self, name, np.hstack([array, wider]))

    # Called by Cluster only.

    def _append(self, name: str, labels: Labels) -> int:
        node = self._new_row()
        self.names.append(name)
        self.instance_types.append("")
        self.labels.append({})
        self.pods.append({})
        self.by_name[name] = node
        self._set_labels(node, labels)
        return node

    def _set_labels(self, node: int, labels: Labels) -> None:
        self.labels[node] = labels
        for column in self._label_columns.values():
            column.put(node, labels)

    def _set_taints(self, node: int, taints: tuple[Taint, ...]) -> None:
        self.taint_set[node] = intern(self.taint_sets, taints)


class Images:
    """Which nodes have which container images.

    An image has one size, the one that came with the first of the nodes that have it
    (pkg/scheduler/backend/cache/cache.go addNodeImageStates, v1.34.1).
    """

    def __init__(self) -> None:
        self.size_b: dict[str, int] = {}
        self.nodes: dict[str, dict[int, None]] = {}  # image -> nodes that have it
        self._of: dict[int, tuple[tuple[str, int], ...]] = {}  # a node's images and their sizes
        self._having: dict[str, Ints] = {}  # `nodes` as arrays, as far as they were asked for
        self._sets: dict[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]] = {}

    def of(self, node: int) -> dict[str, int]:
        """Image -> size in bytes, as the node states it."""
        return dict(self._of.get(node, ()))

    def having(self, name: str) -> Ints | None:
        """Ids of the nodes that have the image; None when no node has it."""
        if name not in self.nodes:
            return None
        if name not in self._having:
            self._having[name] = np.array(list(self.nodes[name]), np.int64)
        return self._having[name]

    # Called by Cluster only.

    def _put(self, node: int, images: Mapping[str, int]) -> None:
        """The node has these images and no others; {} for a node that is gone."""
        for name, _ in self._of.pop(node, ()):
            self._take(name, node)
        if not images:
            return
        known = tuple(images.items())
        self._of[node] = self._sets.setdefault(known, known)
        for name, size_b in known:
            self.size_b.setdefault(name, size_b)
            self.nodes.setdefault(name, {})[node] = None
            self._having.pop(name, None)

    def _take(self, name: str, node: int) -> None:
        del self.nodes[name][node]
        self._having.pop(name, None)
        if not self.nodes[name]:
            del self.nodes[name], self.size_b[name]


class _LabelColumn:
    """Value ids of one label key per node; ABSENT where a node lacks the key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.values: list[str] = []
        self._ids: dict[str, int] = {}
        self._column = np.full(16, ABSENT, np.int32)

    def __getitem__(self, nodes: Any) -> Any:
        """Value ids of `nodes`."""
        return self._column[nodes]

    def id_of(self, value: str) -> int:
        """The id of a value, ABSENT when no node ever carried it."""
        return self._ids.get(value, ABSENT)

    def put(self, node: int, labels: Labels) -> None:
        while node >= len(self._column):
            self._column = np.concatenate([self._column, np.full_like(self._column, ABSENT)])
        value = labels.get(self.key)
        if value is None:
            self._column[node] = ABSENT
            return
        if value not in self._ids:
            self._ids[value] = len(self.values)
            self.values.append(value)
        self._column[node] = self._ids[value]


class PodTable(_Columns):
    """Pods that ever existed. `phase` and `ready` are what the API shows, `alive` what is true."""

    template: Ints32
    owner: Ints32
    serial: Ints32
    node: Ints32
    phase: Ints8
    exists: Bools
    ready: Bools
    alive: Bools
    answers: Bools  # its application answers requests (alive, started up, not stuck)
    served: Floats  # share of the requests sent to it that it has the CPU to answer
    started: Bools  # its containers have been started on its node at least once
    reason: Ints8
    created_ms: Ints
    bound_ms: Ints
    started_ms: Ints
    ready_ms: Ints
    ready_since_ms: Ints
    deleting_ms: Ints
    ended_ms: Ints
    restarts: Ints32
    oom_kills: Ints32
    cpu_m: Ints
    cpu_since_ms: Ints
    cpu_m_ms: Ints
    memory_b: Ints
    memory_b_per_h: Ints
    memory_b_s: Floats
    used_ms: Ints

    _COLUMNS: ClassVar[dict[str, tuple[Any, Any]]] = {
        "template": (np.int32, 0),
        "owner": (np.int32, 0),
        "serial": (np.int32, 0),
        "node": (np.int32, UNBOUND),
        "phase": (np.int8, Phase.PENDING),
        "exists": (np.bool_, False),
        "ready": (np.bool_, False),
        "alive": (np.bool_, False),
        "answers": (np.bool_, False),
        "served": (np.float64, 1.0),
        "started": (np.bool_, False),
        "reason": (np.int8, 0),
        "created_ms": (np.int64, NEVER),
        "bound_ms": (np.int64, NEVER),
        "started_ms": (np.int64, NEVER),
        "ready_ms": (np.int64, NEVER),
        "ready_since_ms": (np.int64, NEVER),
        "deleting_ms": (np.int64, NEVER),
        "ended_ms": (np.int64, NEVER),
        "restarts": (np.int32, 0),
        "oom_kills": (np.int32, 0),
        "cpu_m": (np.int64, 0),
        "cpu_since_ms": (np.int64, NEVER),
        "cpu_m_ms": (np.int64, 0),
        "memory_b": (np.int64, 0),
        "memory_b_per_h": (np.int64, 0),
        "memory_b_s": (np.float64, 0.0),
        "used_ms": (np.int64, 0),
    }


def intern(values: list[Any], value: Any) -> int:
    """The index of `value` in `values`, appended when it is new."""
    try:
        return values.index(value)
    except ValueError:
        values.append(value)
        return len(values) - 1


def names_of(values: Sequence[str], ids: NDArray[Any]) -> list[str]:
    """The names that `ids` stand for; '' for negative ids."""
    return [values[i] if i >= 0 else "" for i in ids.tolist()]
