"""A dictionary whose changes are counted."""

from __future__ import annotations

from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Versioned(dict[_K, _V]):
    """A dictionary that counts its changes, so that what was derived from it can be told stale."""

    version = 0

    def __setitem__(self, key: _K, value: _V) -> None:
        self.version += 1
        super().__setitem__(key, value)

    def __delitem__(self, key: _K) -> None:
        self.version += 1
        super().__delitem__(key)
