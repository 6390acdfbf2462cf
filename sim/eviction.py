"""What the kubelet evicts when a node runs short: thresholds, conditions, who goes first.

Pure functions after pkg/kubelet/eviction/eviction_manager.go and helpers.go (v1.36.2). The kubelet
makes a pass every 10 s; `next_pass_ms` tells which of them can find something, so that a run makes
only those. Kernel notifications (off by default, cgroup v1) are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sim import units
from sim.errors import SimError
from sim.evictionrank import (
    Key,
    Measure,
    PodUse,
    disk_beyond,
    inode_parts,
    memory_beyond,
    most_first,
    over_first,
    priority,
    processes,
    rank,
)
from sim.podspec import EPHEMERAL_STORAGE, MEMORY, QosClass, Taint, Toleration

Amount = int | float  # bytes or a count as int, a share of capacity as float
Condition = Literal["MemoryPressure", "DiskPressure", "PIDPressure"]

MEMORY_AVAILABLE = "memory.available"
ALLOCATABLE_MEMORY = "allocatableMemory.available"
PIDS = "pid.available"
NODEFS, IMAGEFS, CONTAINERFS = "nodefs.available", "imagefs.available", "containerfs.available"
INODES = "inodesFree"
INODES_RESOURCE = "inodes"
MEMORY_SIGNALS = (MEMORY_AVAILABLE, ALLOCATABLE_MEMORY)
DISK_SIGNALS = tuple(
    f"{disk}.{what}"
    for disk in ("nodefs", "imagefs", "containerfs")
    for what in ("available", INODES)
)
CONDITION_OF: Mapping[str, Condition] = {
    **dict.fromkeys(MEMORY_SIGNALS, "MemoryPressure"),
    **dict.fromkeys(DISK_SIGNALS, "DiskPressure"),
    PIDS: "PIDPressure",
}
CONDITIONS: tuple[Condition, ...] = ("MemoryPressure", "DiskPressure", "PIDPressure")

PERIOD_MS = 10_000  # between the end of a pass and the next (evictionMonitoringPeriod)
CLEAN_UP_POLL_MS = 1_000  # podCleanupPollFreq
CLEAN_UP_MS = 30_000  # podCleanupTimeout
TRANSITION_MS = 300_000  # evictionPressureTransitionPeriod
HARD_GRACE_MS = 1_000  # immediateEvictionGracePeriodSeconds
CRITICAL_PRIORITY = 2_000_000_000  # scheduling.SystemCriticalPriority
MEMORY_PRESSURE_TAINT = Taint("node.kubernetes.io/memory-pressure", "NoSchedule")


# --- Thresholds ---


@dataclass(frozen=True, slots=True)
class Threshold:
    """`signal` below `value` starts it; once acting it goes on below `value` + `min_reclaim`."""

    signal: str
    value: Amount
    grace_ms: int = 0  # 0: hard
    min_reclaim: Amount = 0

    @property
    def condition(self) -> Condition:
        """The node condition that goes with it."""
        return CONDITION_OF[self.signal]

    def needed(self, capacity: int, *, reclaim: bool = False) -> int:
        """What has to be available of this capacity so that it is not met."""
        value = amount_of(self.value, capacity)
        return value + amount_of(self.min_reclaim, capacity) if reclaim else value


@dataclass(frozen=True, slots=True)
class Observation:
    """What a pass reads of one signal; `at_ms` is when it was measured (None: just now)."""

    available: int
    capacity: int = 0
    at_ms: int | None = None


Observations = Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class Settings:
    """The eviction settings of one kubelet."""

    thresholds: tuple[Threshold, ...] = ()
    transition_ms: int = TRANSITION_MS
    max_grace_ms: int = 0  # evictionMaxPodGracePeriod
    dedicated_imagefs: bool = False
    split_imagefs: bool = False  # writable layers are elsewhere than images
    isolation: bool = True  # limits of local storage are enforced


def resource_of(signal: str) -> str:
    """What runs short, as Kubernetes names it in events (signalToResource)."""
    if signal in MEMORY_SIGNALS:
        return MEMORY
    if signal == PIDS:
        return "pids"
    return INODES_RESOURCE if signal.endswith(INODES) else EPHEMERAL_STORAGE


def amount_of(amount: Amount, capacity: int) -> int:
    """The number that a threshold stands for: shares are cut to whole units."""
    return int(capacity * amount) if isinstance(amount, float) else amount


def read_amount(text: str) -> Amount:
    """'100Mi' or '10%'; ValueError for anything else, and for negative ones."""
    amount = units.percent(text) if text.endswith("%") else units.amount(text)
    if amount < 0:
        raise ValueError(f"got {text}; expected no negative threshold")
    return amount


def thresholds(
    hard: Mapping[str, Amount],
    soft: Mapping[str, Amount],
    soft_grace_ms: Mapping[str, int],
    min_reclaim: Mapping[str, Amount],
) -> tuple[Threshold, ...]:
    """The thresholds of a kubelet's settings (ParseThresholdConfig): 0 % and 100 % are off.

    SimError for an unknown signal and for a soft threshold without a grace period.
    """
    for signal in (*hard, *soft, *soft_grace_ms, *min_reclaim):
        if signal not in CONDITION_OF:
            raise SimError(f"no eviction signal {signal!r}; expected one of {_SIGNALS}")
    soft = {signal: value for signal, value in soft.items() if not _is_off(value)}
    for signal in soft:
        if soft_grace_ms.get(signal, 0) <= 0:
            raise SimError(f"soft eviction threshold {signal} has no grace period")
    graces = [(hard, dict.fromkeys(hard, 0)), (soft, soft_grace_ms)]
    return tuple(
        Threshold(signal, value, grace_ms[signal], min_reclaim.get(signal, 0))
        for values, grace_ms in graces
        for signal, value in values.items()
        if not _is_off(value)
    )


def _is_off(value: Amount) -> bool:
    return isinstance(value, float) and value in (0.0, 1.0)


_SIGNALS = ", ".join(CONDITION_OF)


def of_memory(value: Amount) -> Settings:
    """A kubelet's settings with one hard threshold, of memory.available."""
    return Settings(with_allocatable(thresholds({MEMORY_AVAILABLE: value}, {}, {}, {})))


def with_allocatable(given: Iterable[Threshold]) -> tuple[Threshold, ...]:
    """Hard thresholds of memory.available hold for the pods' cgroup too (addAllocatable...)."""
    given = tuple(given)
    copies = (
        replace(threshold, signal=ALLOCATABLE_MEMORY)
        for threshold in given
        if threshold.signal == MEMORY_AVAILABLE and not threshold.grace_ms
    )
    return (*given, *copies)


def with_containerfs(settings: Settings) -> Settings:
    """Thresholds of containerfs are those of the file system that it is on
    (UpdateContainerFsThresholds)."""
    shared = settings.dedicated_imagefs and not settings.split_imagefs
    disk = "imagefs" if shared else "nodefs"
    copies = (
        replace(threshold, signal=threshold.signal.replace(disk, "containerfs"))
        for threshold in settings.thresholds
        if threshold.signal.startswith(disk)
    )
    return replace(settings, thresholds=(*settings.thresholds, *copies))


# --- What a pass makes of its observations ---


@dataclass(frozen=True, slots=True)
class State:
    """What an eviction manager keeps from pass to pass."""

    first_ms: Mapping[Threshold, int] = field(default_factory=dict)  # met since
    last_ms: Mapping[Condition, int] = field(default_factory=dict)  # last seen
    acting: tuple[Threshold, ...] = ()  # met for longer than their grace
    conditions: tuple[Condition, ...] = ()
    observed: Observations = field(default_factory=dict)


def met(
    given: Iterable[Threshold], seen: Observations, *, reclaim: bool = False
) -> list[Threshold]:
    """Those whose signal is below them (with `reclaim`: plus what they want reclaimed)."""
    return [
        threshold
        for threshold in given
        if (now := seen.get(threshold.signal)) is not None
        and now.available < threshold.needed(now.capacity, reclaim=reclaim)
    ]


def first_observed(
    met_now: Iterable[Any], before_ms: Mapping[Any, int], now_ms: int
) -> dict[Any, int]:
    """Since when each of those met now has been met without a break."""
    return {threshold: before_ms.get(threshold, now_ms) for threshold in met_now}


def past_grace(first_ms: Mapping[Any, int], grace_ms: Mapping[Any, int], now_ms: int) -> list[Any]:
    """Those met for at least their grace period."""
    return [which for which, since_ms in first_ms.items() if now_ms - since_ms >= grace_ms[which]]


def last_observed(
    conditions: Iterable[Condition], before_ms: Mapping[Condition, int], now_ms: int
) -> dict[Condition, int]:
    """When each condition was last seen."""
    return {**before_ms, **dict.fromkeys(conditions, now_ms)}


def in_transition(
    last_ms: Mapping[Condition, int], transition_ms: int, now_ms: int
) -> tuple[Condition, ...]:
    """Conditions that were seen within the transition period, which are those a node has."""
    recent = [which for which, ms in last_ms.items() if now_ms - ms < transition_ms]
    return tuple(which for which in CONDITIONS if which in recent)


def conditions_of(given: Iterable[Threshold]) -> tuple[Condition, ...]:
    """The node conditions that go with these thresholds."""
    found = {threshold.condition for threshold in given}
    return tuple(which for which in CONDITIONS if which in found)


def is_new(observed_ms: int | None, before_ms: int | None) -> bool:
    """Whether a statistic is newer than the one of the pass before."""
    return observed_ms is None or before_ms is None or observed_ms > before_ms


def by_importance(given: Iterable[Threshold]) -> list[Threshold]:
    """Memory first, else as they are (byEvictionPriority)."""
    return sorted(given, key=lambda threshold: threshold.signal not in MEMORY_SIGNALS)


def observe(settings: Settings, state: State, now_ms: int, seen: Observations) -> State:
    """The state after a pass that read this."""
    found = met(settings.thresholds, seen)
    found += [t for t in met(state.acting, seen, reclaim=True) if t not in found]
    first_ms = first_observed(found, state.first_ms, now_ms)
    last_ms = last_observed(conditions_of(found), state.last_ms, now_ms)
    graces = {threshold: threshold.grace_ms for threshold in found}
    return State(
        first_ms=first_ms,
        last_ms=last_ms,
        acting=tuple(past_grace(first_ms, graces, now_ms)),
        conditions=in_transition(last_ms, settings.transition_ms, now_ms),
        observed=seen,
    )


def starved(before: State, after: State) -> list[Threshold]:
    """What a pass has to do something about, most important first; old statistics do not count."""

    def fresh(signal: str) -> bool:
        now, last = after.observed.get(signal), before.observed.get(signal)
        return is_new(now.at_ms if now else None, last.at_ms if last else None)

    return by_importance(threshold for threshold in after.acting if fresh(threshold.signal))


# --- Who is evicted ---


def measured_parts(settings: Settings, signal: str) -> tuple[str, ...]:
    """What of a pod's use of disks counts for a signal (buildSignalToRankFunc)."""
    disk = signal.partition(".")[0]
    if not settings.dedicated_imagefs:
        return ("writable", "logs", "volumes")
    if settings.split_imagefs:
        return () if disk == "imagefs" else ("writable", "logs", "volumes")
    return ("logs", "volumes") if disk == "nodefs" else ("writable",)


def order(settings: Settings, signal: str) -> tuple[Key, ...]:
    """How pods are ranked when this signal is short."""
    if signal == PIDS:
        return (priority, most_first(processes))
    measure: Measure = memory_beyond
    if signal in DISK_SIGNALS:
        parts = measured_parts(settings, signal)
        measure = inode_parts(parts) if signal.endswith(INODES) else disk_beyond(parts)
    return (over_first(measure), priority, most_first(measure))


def breaks_storage_limit(settings: Settings, pod: PodUse) -> bool:
    """Whether a pod uses more local storage than its limits allow (localStorageEviction)."""
    if pod.use is None:
        return False
    use = pod.use
    if any(0 < limit < use.volumes_b.get(name, 0) for name, limit in pod.volume_limits_b.items()):
        return True
    if pod.storage_limit_b is not None and use.ephemeral_b > pod.storage_limit_b:
        return True
    layers = not settings.dedicated_imagefs
    return any(
        0 < container.limit_b < container.logs_b + (container.writable_b if layers else 0)
        for container in use.disk
    )


def reclaims(settings: Settings, signal: str) -> bool:
    """Whether deleting dead containers or unused images can help
    (buildSignalToNodeReclaimFuncs)."""
    if signal not in DISK_SIGNALS:
        return False
    only_logs = settings.dedicated_imagefs and not settings.split_imagefs
    return not (only_logs and signal.startswith("nodefs"))


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod that is evicted: it has `grace_ms` left."""

    pod: PodUse
    grace_ms: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass does. `tried` are all that it meant to evict; critical pods stay."""

    state: State
    reclaimed: str = ""  # the signal that it tries to raise
    evicted: tuple[Victim, ...] = ()
    tried: tuple[PodUse, ...] = ()


def one_pass(
    settings: Settings,
    state: State,
    now_ms: int,
    seen: Observations,
    pods: Sequence[PodUse],
    cleaned: Observations | None = None,
) -> Pass:
    """One pass (synchronize): at most one pod goes, or all that break their storage limits.

    `cleaned` is what a second look finds after dead containers and unused images were deleted.
    """
    after = observe(settings, state, now_ms, seen)
    short = starved(state, after)
    if settings.isolation:
        breakers = tuple(pod for pod in pods if breaks_storage_limit(settings, pod))
        gone = tuple(Victim(pod, HARD_GRACE_MS) for pod in breakers if not pod.critical)
        if gone:
            return Pass(after, evicted=gone, tried=breakers)
    if not short:
        return Pass(after)
    worst = short[0]
    if cleaned is not None and reclaims(settings, worst.signal):
        cleaned_up = not met(settings.thresholds, cleaned, reclaim=True)
        if cleaned_up:
            return Pass(after, worst.signal)
    tried: list[PodUse] = []
    for pod in rank(pods, order(settings, worst.signal)):
        tried.append(pod)
        if not pod.critical:
            victim = Victim(pod, grace_ms(settings, worst, pod))
            return Pass(after, worst.signal, (victim,), tuple(tried))
    return Pass(after, worst.signal, (), tuple(tried))


def grace_ms(settings: Settings, threshold: Threshold, pod: PodUse) -> int:
    """What a pod has left to stop that is evicted because of this threshold."""
    if not threshold.grace_ms:
        return HARD_GRACE_MS
    return min(settings.max_grace_ms, pod.grace_ms)


def admits(
    conditions: Sequence[Condition],
    qos: QosClass,
    tolerations: Sequence[Toleration],
    *,
    critical: bool,
) -> bool:
    """Whether a kubelet under these conditions lets a pod in (eviction manager's Admit)."""
    if not conditions or critical:
        return True
    if tuple(conditions) != ("MemoryPressure",):
        return False
    return qos != "BestEffort" or any(t.tolerates(MEMORY_PRESSURE_TAINT) for t in tolerations)


# --- Which passes can find something ---


@dataclass(frozen=True, slots=True)
class Grid:
    """Times of passes: `next_ms` and every `period_ms` after it."""

    next_ms: int
    period_ms: int = PERIOD_MS

    def at_or_after(self, ms: int) -> int:
        """The first pass at or after `ms`."""
        behind_ms = max(ms - self.next_ms, 0)
        return self.next_ms + -(-behind_ms // self.period_ms) * self.period_ms

    def before(self, ms: int) -> int | None:
        """The last pass before `ms`, None without one."""
        last_ms = self.at_or_after(ms) - self.period_ms
        return None if last_ms < self.next_ms else last_ms


# (signal, amount, below) -> first ms from now on at which less than `amount` is available (or,
# with `below` False, at least that), None if that never comes while nothing happens.
Foresight = Callable[[str, int, bool], int | None]


def next_pass_ms(
    settings: Settings,
    state: State,
    grid: Grid,
    now_ms: int,
    seen: Observations,
    foresee: Foresight,
) -> int | None:
    """The next pass that can do or change anything, None if none does while nothing happens."""
    if state.acting:
        return grid.at_or_after(now_ms)
    times = [_turn_ms(threshold, state, now_ms, seen, foresee) for threshold in settings.thresholds]
    times += [since_ms + threshold.grace_ms for threshold, since_ms in state.first_ms.items()]
    seen_now = conditions_of(state.first_ms)
    times += [
        state.last_ms[condition] + settings.transition_ms
        for condition in state.conditions
        if condition not in seen_now
    ]
    due = [ms for ms in times if ms is not None]
    return grid.at_or_after(max(min(due), now_ms)) if due else None


def _turn_ms(
    threshold: Threshold, state: State, now_ms: int, seen: Observations, foresee: Foresight
) -> int | None:
    """When a threshold is next met, or no longer met, differently from what the state says."""
    observed = seen.get(threshold.signal)
    if observed is None:
        return now_ms if threshold in state.first_ms else None
    needed = threshold.needed(observed.capacity)
    is_met = observed.available < needed
    if is_met != (threshold in state.first_ms):
        return now_ms
    return foresee(threshold.signal, needed, not is_met)


def caught_up(state: State, skipped_ms: int | None) -> State:
    """The state as the passes would have left it that were skipped, the last at `skipped_ms`."""
    if skipped_ms is None or not state.first_ms:
        return state
    seen = conditions_of(state.first_ms)
    return replace(state, last_ms=last_observed(seen, state.last_ms, skipped_ms))
