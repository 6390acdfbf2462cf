"""Which pod of a node goes first when the kubelet evicts: what pods use, and how they are ranked.

Pure functions after pkg/kubelet/eviction/helpers.go (v1.36.2). QoS classes play no part: a
BestEffort pod is among the first because all that it uses is beyond its request of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ContainerDisk:
    """Bytes on disk of one container, and its limit of ephemeral storage (0 = none)."""

    writable_b: int = 0
    logs_b: int = 0
    limit_b: int = 0
    inodes: int = 0  # of the writable layer


@dataclass(frozen=True, slots=True)
class Use:
    """What a pod uses, as the statistics of a pass say."""

    memory_b: int = 0
    processes: int = 0
    disk: tuple[ContainerDisk, ...] = ()
    volumes_b: Mapping[str, int] = field(default_factory=dict)  # its emptyDirs, by name
    ephemeral_b: int = 0  # all local storage, as the statistics sum it up


NOTHING = Use()


@dataclass(frozen=True, slots=True)
class PodUse:
    """A pod as a pass looks at it; `use` None: no statistics of it."""

    key: Any
    priority: int = 0
    use: Use | None = NOTHING
    memory_request_b: int = 0
    storage_request_b: int = 0
    storage_limit_b: int | None = None
    volume_limits_b: Mapping[str, int] = field(default_factory=dict)  # of emptyDirs, by name
    grace_ms: int = 30_000
    critical: bool = False


Key = Callable[[PodUse], Any]
Measure = Callable[[PodUse, Use], int]  # how much a pod uses beyond what it asked for


def priority(pod: PodUse) -> int:
    """Lower priorities go first."""
    return pod.priority


def over_first(measure: Measure) -> Key:
    """Pods that use more than they requested go first, before them those without statistics."""
    return lambda pod: 0 if pod.use is None else 1 if measure(pod, pod.use) > 0 else 2


def most_first(measure: Measure) -> Key:
    """Pods that use most go first, before them those without statistics."""
    return lambda pod: (0, 0) if pod.use is None else (1, -measure(pod, pod.use))


def memory_beyond(pod: PodUse, use: Use) -> int:
    """Memory beyond the request."""
    return use.memory_b - pod.memory_request_b


def processes(pod: PodUse, use: Use) -> int:
    """Processes; nobody requests them."""
    return use.processes


def inodes(pod: PodUse, use: Use) -> int:
    """Inodes of writable layers; nobody requests them."""
    return sum(container.inodes for container in use.disk)


def disk_beyond(parts: Iterable[str]) -> Measure:
    """Bytes of these parts ('writable', 'logs', 'volumes') beyond the ephemeral-storage request."""
    parts = frozenset(parts)

    def measure(pod: PodUse, use: Use) -> int:
        used_b = sum(use.volumes_b.values()) if "volumes" in parts else 0
        for container in use.disk:
            used_b += container.writable_b if "writable" in parts else 0
            used_b += container.logs_b if "logs" in parts else 0
        return used_b - pod.storage_request_b

    return measure


def inode_parts(parts: Iterable[str]) -> Measure:
    """Inodes of these parts; only those of writable layers are known here."""
    return inodes if "writable" in parts else lambda pod, use: 0


def rank(pods: Iterable[PodUse], keys: Sequence[Key]) -> list[PodUse]:
    """Who goes first; among equals (which is unspecified) who came first."""
    return sorted(pods, key=lambda pod: tuple(key(pod) for key in keys))
