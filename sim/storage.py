"""Storage objects: volumes, claims, classes and what CSI drivers say about nodes and capacity.

Field names follow the core/v1 and storage.k8s.io/v1 APIs (v1.34) in snake case; sizes are bytes.
"""

from __future__ import annotations

from typing import Any

from sim.events import Kind

Key = tuple[str, str]  # namespace ("" for what belongs to the cluster) and name


class Storage:
    """The storage objects of a cluster; `version` moves with every change. Cluster writes it."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[Kind, dict[Key, Any]] = {}

    def of(self, kind: Kind) -> dict[Key, Any]:
        """The objects of a kind by namespace and name, in the order in which they came."""
        return self.objects.setdefault(kind, {})

    def put(self, kind: Kind, key: Key, value: Any) -> Any:
        """Keep an object; the one that was there before, None if it is new."""
        before = self.of(kind).get(key)
        self.of(kind)[key] = value
        self.version += 1
        return before

    def remove(self, kind: Kind, key: Key) -> Any:
        """Forget an object; what it was, None if there was none."""
        before = self.of(kind).pop(key, None)
        self.version += before is not None
        return before
