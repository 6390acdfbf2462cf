"""Container images: who needs one pulled, how much of it is missing, what garbage collection takes.

Pure rules; `sim.pulls` runs them on the nodes. Follows pkg/kubelet/images (image_manager.go,
puller.go, image_gc_manager.go, v1.36.2; 1.34 does the same with its default gates) and
pkg/apis/core/v1/defaults.go. How long a pull takes is a model of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sim.backoff import Backoff, BackoffEntry, next_look_ms
from sim.errors import SimError

if TYPE_CHECKING:
    from collections.abc import Callable

Policy = Literal["Always", "IfNotPresent", "Never"]
POLICIES: tuple[Policy, ...] = ("Always", "IfNotPresent", "Never")

ERR_PULL = "ErrImagePull"
ERR_NEVER = "ErrImageNeverPull"
ERR_NAME = "InvalidImageName"
ERR_INSPECT = "ImageInspectError"
BACK_OFF = "ImagePullBackOff"
# Answers of the runtime that keep their names (pkg/kubelet/images/image_manager.go evalCRIPullErr).
OWN_NAMES = ("RegistryUnavailable", "SignatureValidationFailed")

LATEST = "latest"
RETRY_MS = 10_000  # pkg/kubelet/pod_workers.go: after a sync with an error, times U(1, 1.5)
MOST_LISTED = 50  # nodeStatusMaxImages of the kubelet's configuration
HIGH_PERCENT, LOW_PERCENT = 85, 80  # imageGCHighThresholdPercent, imageGCLowThresholdPercent
MIN_AGE_MS = 120_000  # imageMinimumGCAge

# The grammar of names: distribution/reference.
_DOMAIN = r"(?:localhost|[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*)(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?P<path>(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,})?"
)
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of images, the same one wherever its digest is the same."""

    digest: str
    size_b: int  # as it is sent
    unpacked_b: int


@dataclass(frozen=True, slots=True)
class Image:
    """What an image consists of, from the lowest layer up."""

    layers: tuple[Layer, ...]

    @property
    def size_b(self) -> int:
        """What a node states as its size, which is what is sent of it (as containerd does)."""
        return sum(layer.size_b for layer in self.layers)


def whole(name: str, size_b: int) -> Image:
    """An image that shares nothing, and is unpacked to what it was sent as (modelling choice)."""
    return Image((Layer(name, size_b, size_b),))


# Names and policies


def full_name(image: str) -> str | None:
    """The name with `:latest` where it has neither tag nor digest; None for what is no name."""
    found = _NAME.fullmatch(image)
    if found is None or _ID.fullmatch(image):
        return None
    return image if found["tag"] or found["digest"] else f"{image}:{LATEST}"


def default_policy(image: str) -> Policy:
    """What admission sets where a container names no imagePullPolicy (SetDefaults_Container)."""
    name = full_name(image) or ""
    return "Always" if name.partition("@")[0].endswith(f":{LATEST}") else "IfNotPresent"


# Whether to pull


def obstacle(image: str, policy: Policy, *, present: bool, readable: bool = True) -> str:
    """Why a start fails before anything is pulled, '' when it goes on.

    `readable`: the runtime says whether it has the image.
    """
    if full_name(image) is None:
        return ERR_NAME
    if not readable:
        return ERR_INSPECT
    return ERR_NEVER if policy == "Never" and not present else ""


def asks_registry(policy: Policy, *, present: bool) -> bool:
    """Whether a start goes to the registry: Always asks for the digest even of what is there."""
    return policy == "Always" or not present


def backs_off(backoff: Backoff, entry: BackoffEntry | None, now_ms: int) -> bool:
    """Whether a pull is not tried at `now_ms` since it has failed lately.

    The wait counts from the last failure (IsInBackOffSinceUpdate); success does not end the entry,
    only age does.
    """
    kept = backoff.kept(entry, now_ms)
    return kept is not None and now_ms < kept.until_ms


def pull_failed(
    backoff: Backoff, entry: BackoffEntry | None, now_ms: int, cause: str = ""
) -> tuple[str, BackoffEntry]:
    """The container's waiting reason, and the entry of (pod, image), after a pull has failed."""
    reason = cause if cause in OWN_NAMES else ERR_PULL
    return reason, backoff.tried(entry, now_ms, now_ms)


def retry_ms(now_ms: int, until_ms: int, draw: Callable[[], float], ticker_ms: int = 0) -> int:
    """The first look of a pod's worker from `until_ms` on, when its pull may be tried again.

    The worker does not know how long an image's back-off lasts: it looks every 10 s, stretched by
    up to a half and rounded up to the kubelet's tick.
    """
    look_ms = next_look_ms(now_ms, now_ms + RETRY_MS, draw, ticker_ms)
    while look_ms < until_ms:
        look_ms = next_look_ms(look_ms, look_ms + RETRY_MS, draw, ticker_ms)
    return look_ms


# How much to pull


def missing(image: Image, have: Collection[str]) -> tuple[Layer, ...]:
    """The layers of which the node has none and gets none, each once."""
    found = {layer.digest: layer for layer in image.layers if layer.digest not in have}
    return tuple(found.values())


def fair_level(caps: Iterable[tuple[float, int]], limit: float) -> float:
    """The rate that each of some transfers gets who could take more, when they share `limit`.

    `caps`: (the most that one of them can take, how many such there are). Max-min fair: what the
    slower ones leave is shared among the others. Infinite when the limit binds nobody.
    """
    left, count = limit, sum(n for _, n in caps)
    for cap, number in sorted(caps):
        if cap * count >= left:
            return left / count
        left -= cap * number
        count -= number
    return float("inf")


def listed(sizes_b: dict[str, int]) -> dict[str, int]:
    """What of its images a node states: the biggest, at most 50."""
    names = sorted(sizes_b, key=lambda name: (-sizes_b[name], name))[:MOST_LISTED]
    return {name: sizes_b[name] for name in names}


# Garbage collection


@dataclass(frozen=True, slots=True)
class Unused:
    """An image that no container uses; `last_used_ms` None when none ever did."""

    name: str
    size_b: int
    first_seen_ms: int
    last_used_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Freed:
    size_b: int
    names: tuple[str, ...]
    too_young: tuple[str, ...] = ()  # of those looked at


def check_thresholds(high: int, low: int) -> None:
    """SimError when the percentages are none, or in the wrong order (NewImageGCManager)."""
    if not 0 <= low <= high <= 100:
        raise SimError(f"got {high} and {low} %; expected 0 <= low <= high <= 100")


def to_free_b(
    available_b: int, capacity_b: int, high: int = HIGH_PERCENT, low: int = LOW_PERCENT
) -> int:
    """How much has to go from a disk of images; 0 while less than `high` percent is used.

    SimError for a disk of no size, as when the runtime has no statistics (GarbageCollect).
    """
    if capacity_b <= 0:
        raise SimError(f"got a disk of {capacity_b} B; expected its size")
    used_percent = 100 - available_b * 100 // capacity_b
    if used_percent < high:
        return 0
    return capacity_b * (100 - low) // 100 - available_b


def in_order(images: Iterable[Unused]) -> list[Unused]:
    """Least recently used first, then first seen first (byLastUsedAndDetected)."""

    def age(image: Unused) -> tuple[bool, int, int]:
        return image.last_used_ms is not None, image.last_used_ms or 0, image.first_seen_ms

    return sorted(images, key=age)


def free(
    images: Iterable[Unused], amount_b: int | None, now_ms: int, min_age_ms: int = MIN_AGE_MS
) -> Freed:
    """What a pass at `now_ms` deletes to free this much; `amount_b` None: all it may.

    Sizes count, not what the disk wins: shared layers are counted more than once (freeSpace).
    """
    freed_b, names, too_young = 0, [], []
    for image in in_order(images):
        if image.last_used_ms is not None and image.last_used_ms >= now_ms:
            continue
        if now_ms - image.first_seen_ms < min_age_ms:
            too_young.append(image.name)
            continue
        freed_b += image.size_b
        names.append(image.name)
        if amount_b is not None and freed_b >= amount_b:
            break
    return Freed(freed_b, tuple(names), tuple(too_young))


def too_old(
    images: Sequence[Unused], max_age_ms: int, now_ms: int, kubelet_age_ms: int
) -> list[str]:
    """Images that go since they were not used for longer than `max_age_ms`; 0 = none ever does.

    None goes before the kubelet has run for longer than that (freeOldImages).
    """
    if not max_age_ms or kubelet_age_ms <= max_age_ms:
        return []
    return [
        image.name
        for image in in_order(images)
        if now_ms - (image.first_seen_ms if image.last_used_ms is None else image.last_used_ms)
        > max_age_ms
    ]
