"""How containers behave: distributions of durations, and what manifests cannot say.

Distributions are values: they hold parameters in milliseconds, draw only when given a generator,
and know their mean in closed form. numpy is imported when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol

from sim.laws import Law, Noise, Trace, Wave

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sim.labels import Labels

Z99 = NormalDist().inv_cdf(0.99)  # 2.326: a lognormal's p99 is median * exp(Z99 * sigma)


class Distribution(Protocol):
    """A distribution of durations."""

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """`size` independent draws, rounded to whole milliseconds, none below zero."""
        ...

    @property
    def mean_ms(self) -> float:
        """Expected value before rounding."""
        ...


@dataclass(frozen=True)
class Constant:
    """Always the same duration; draws nothing from the generator."""

    value_ms: int

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """The value, `size` times."""
        import numpy as np

        return np.full(size, self.value_ms, dtype=np.int64)

    @property
    def mean_ms(self) -> float:
        """The value."""
        return float(self.value_ms)


@dataclass(frozen=True)
class Exponential:
    """Memoryless: as intervals between arrivals it makes a Poisson process."""

    expected_ms: int

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Exponential draws with this mean."""
        return _whole_ms(rng.exponential(self.expected_ms, size))

    @property
    def mean_ms(self) -> float:
        """The parameter itself."""
        return float(self.expected_ms)


@dataclass(frozen=True)
class Lognormal:
    """exp(N(ln median, sigma)): right-skewed, as start-up and run times are."""

    median_ms: int
    sigma: float

    @classmethod
    def of_p99(cls, median_ms: int, p99_ms: int) -> Lognormal:
        """The lognormal with this median and this 99th percentile."""
        return cls(median_ms, math.log(p99_ms / median_ms) / Z99)

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Lognormal draws."""
        return _whole_ms(rng.lognormal(math.log(self.median_ms), self.sigma, size))

    @property
    def mean_ms(self) -> float:
        """median * exp(sigma^2 / 2)."""
        return self.median_ms * math.exp(self.sigma**2 / 2)


@dataclass(frozen=True)
class Weibull:
    """Ageing (`shape` above 1) or early deaths (below 1); with shape 1 it is exponential."""

    scale_ms: int
    shape: float

    @classmethod
    def of_mean(cls, mean_ms: int, shape: float) -> Weibull:
        """The Weibull distribution with this mean."""
        return cls(round(mean_ms / math.gamma(1 + 1 / shape)), shape)

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Weibull draws."""
        return _whole_ms(self.scale_ms * rng.weibull(self.shape, size))

    @property
    def mean_ms(self) -> float:
        """scale * Gamma(1 + 1 / shape)."""
        return self.scale_ms * math.gamma(1 + 1 / self.shape)


@dataclass(frozen=True)
class Uniform:
    """Every duration from `min_ms` to `max_ms` is equally likely."""

    min_ms: int
    max_ms: int

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Uniform draws."""
        return _whole_ms(rng.uniform(self.min_ms, self.max_ms, size))

    @property
    def mean_ms(self) -> float:
        """Middle of the interval."""
        return (self.min_ms + self.max_ms) / 2


@dataclass(frozen=True)
class Empirical:
    """Observed durations, drawn with replacement (their order carries no meaning)."""

    values_ms: tuple[int, ...]

    def sample_ms(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Draws with replacement from the observations."""
        import numpy as np

        return np.asarray(self.values_ms, dtype=np.int64)[
            rng.integers(len(self.values_ms), size=size)
        ]

    @property
    def mean_ms(self) -> float:
        """Mean of the observations."""
        return sum(self.values_ms) / len(self.values_ms)


def _whole_ms(draws: NDArray[np.float64]) -> NDArray[np.int64]:
    import numpy as np

    # A draw beyond what int64 holds would wrap to a negative time; 2^53 ms are 285,000 years.
    return np.rint(np.minimum(draws, 2.0**53)).astype(np.int64)


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a container: `base_b` at its start, then `growth_b` more each `growth_per_ms`.

    Growth ends at `plateau_b`. What else it does over time is said as in `sim.laws.Law`.
    """

    base_b: int = 0
    growth_b: int = 0
    growth_per_ms: int = 3_600_000
    plateau_b: int | None = None
    wave: Wave | None = None
    trace: Trace | None = None
    noise: Noise | None = None
    per_rps_b: int = 0

    @cached_property
    def law(self) -> Law:
        """The same as a law."""
        return Law(
            self.base_b,
            self.growth_b,
            self.growth_per_ms,
            self.plateau_b,
            self.wave,
            self.trace,
            self.noise,
            self.per_rps_b,
        )

    @property
    def is_line(self) -> bool:
        """Whether it is all said by a straight line that may end in a plateau."""
        return self.law.is_line

    def at(self, age_ms: int) -> int:
        """Bytes in use `age_ms` after the container started, rounded down; of its line alone."""
        grown_b = self.base_b + self.growth_b * age_ms // self.growth_per_ms
        return grown_b if self.plateau_b is None else min(grown_b, self.plateau_b)

    def age_ms_above(self, limit_b: int) -> int | None:
        """Age at which the line exceeds `limit_b` for the first time; None for never."""
        if self.base_b > limit_b:
            return 0
        if self.growth_b <= 0 or (self.plateau_b is not None and self.plateau_b <= limit_b):
            return None
        missing_b = limit_b + 1 - self.base_b
        return -(-missing_b * self.growth_per_ms // self.growth_b)


@dataclass(frozen=True)
class Spell:
    """A time of the run, `until_ms` exclusive, in which probes of some pods fail.

    `pods` counts the pods of each owner in the order of their creation; None: all of them.
    """

    from_ms: int
    until_ms: int | None = None
    pods: int | None = None

    def covers(self, now_ms: int, serial: int) -> bool:
        """Whether the probes of its owner's pod number `serial` fail now."""
        if self.pods is not None and serial >= self.pods:
            return False
        return self.from_ms <= now_ms and (self.until_ms is None or now_ms < self.until_ms)


@dataclass(frozen=True)
class ProbeBehaviour:
    """What a probe costs and how often it fails although the container is well."""

    latency_ms: int = 1  # CPU time that one answer needs
    liveness_failure_rate: float = 0.0  # each probe fails on its own with this probability
    readiness_failure_rate: float = 0.0
    startup_failure_rate: float = 0.0
    liveness_spell: Spell | None = None  # every probe fails meanwhile
    readiness_spell: Spell | None = None
    startup_spell: Spell | None = None

    @property
    def spells(self) -> tuple[Spell, ...]:
        """All of them."""
        spells = (self.startup_spell, self.liveness_spell, self.readiness_spell)
        return tuple(spell for spell in spells if spell)


@dataclass(frozen=True)
class Ending:
    """A container ends by itself: `after` its start (drawn anew each time), with this exit code."""

    after: Distribution
    exit_code: int


@dataclass(frozen=True)
class Behaviour:
    """What a scenario says about the containers that it matches; None means nothing is said."""

    match: Labels = field(default_factory=dict)
    namespace: str | None = None
    container: str | None = None
    image_pull: Distribution | None = None
    startup: Distribution | None = None  # from container start until the application answers
    shutdown: Distribution | None = None  # from TERM until the container exits
    post_start: Distribution | None = None  # its lifecycle hooks
    pre_stop: Distribution | None = None
    cpu_m: int | None = None  # the base of `cpu`
    cpu: Law | None = None
    memory: MemoryUse | None = None
    probes: ProbeBehaviour | None = None
    crash: Ending | None = None  # again and again
    exit: Ending | None = None  # the regular end of its work

    def matches(self, namespace: str, labels: Labels, container: str) -> bool:
        """Whether it speaks of this container of a pod with these labels."""
        return (
            self.namespace in (None, namespace)
            and self.container in (None, container)
            and all(labels.get(key) == value for key, value in self.match.items())
        )


_SAID = tuple(
    f.name for f in fields(Behaviour) if f.name not in ("match", "namespace", "container")
)


def behaviour_of(
    entries: Iterable[Behaviour], namespace: str, labels: Labels, container: str
) -> Behaviour:
    """Everything that `entries` say of one container; of two that match, the later one wins."""
    result = Behaviour(labels, namespace, container)
    for entry in entries:
        if entry.matches(namespace, labels, container):
            said = {name: getattr(entry, name) for name in _SAID}
            result = replace(result, **{k: v for k, v in said.items() if v is not None})
    return result
