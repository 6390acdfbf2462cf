"""A pod template with what the cluster derives from it once.

Pods are rows of numbers; what they share stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sim.podspec import (
    CPU,
    DEFAULT_CPU_REQUEST_M,
    DEFAULT_MEMORY_REQUEST_B,
    MEMORY,
    HostPort,
    PodTemplate,
    nonzero_request,
)

if TYPE_CHECKING:
    from sim.labels import Selector
    from sim.tables import Ints, NodeTable


class Template:
    """A pod template with what the cluster derives from it once.

    `shape` numbers what the scheduler can see: templates of one shape are interchangeable to it.
    `owner_selector` is that of the ReplicaSet that made the pods, `memo` what plugins derived.
    """

    __slots__ = (
        "cpu_limit_m",
        "cpu_m",
        "host_ports",
        "id",
        "limits",
        "memo",
        "memory_b",
        "memory_limit_b",
        "nonzero_cpu_m",
        "nonzero_memory_b",
        "owner_selector",
        "pod",
        "qos",
        "requests",
        "rows",
        "shape",
        "unlimited_memory",
    )

    def __init__(
        self,
        template_id: int,
        shape: int,
        pod: PodTemplate,
        nodes: NodeTable,
        owner_selector: Selector | None = None,
    ) -> None:
        spec = pod.spec
        self.owner_selector = owner_selector
        self.memo: dict[Any, Any] = {}
        self.id = template_id
        self.shape = shape
        self.pod = pod
        self.requests = nodes.vector(spec.requests)
        self.limits = nodes.vector(spec.limits)
        self.rows = _rows(self.requests, self.limits)
        self.cpu_m = spec.requests.get(CPU, 0)
        self.memory_b = spec.requests.get(MEMORY, 0)
        self.cpu_limit_m = spec.limits.get(CPU, 0)
        self.memory_limit_b = spec.limits.get(MEMORY, 0)
        self.nonzero_cpu_m = nonzero_request(spec, CPU, DEFAULT_CPU_REQUEST_M, on_node=True)
        self.nonzero_memory_b = nonzero_request(
            spec, MEMORY, DEFAULT_MEMORY_REQUEST_B, on_node=True
        )
        self.host_ports: tuple[HostPort, ...] = spec.host_ports
        self.qos = spec.qos
        self.unlimited_memory = any(MEMORY not in c.limits for c in spec.containers)


def _rows(requests: Ints, limits: Ints) -> list[tuple[int, int, int]]:
    """(resource row, request, limit) where one of them is not 0."""
    size = max(len(requests), len(limits))
    pairs = [np.concatenate([v, np.zeros(size - len(v), np.int64)]) for v in (requests, limits)]
    return [(row, a, b) for row, (a, b) in enumerate(np.array(pairs).T.tolist()) if a or b]
