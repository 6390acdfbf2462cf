"""The kinds of values that a scenario's fields take, each with its message and JSON Schema.

A kind turns what YAML holds ("500m", 4, "1h30m") into integers of millicores, bytes, milliseconds.
Messages say what was expected; sim.scenario.problems puts before them where it is and what came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from sim import behaviour, units
from sim.manifests.value import INT32_MAX, largest
from sim.podspec import CPU, MEMORY


class Model(BaseModel):
    """A mapping of the format: camelCase in YAML, frozen, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )


def expected(what: str) -> PydanticCustomError:
    """`got ...; expected {what}.`"""
    return PydanticCustomError("expected", "{what}", {"what": what})


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """A message of its own, for what no single value says."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def _reader(parse: Callable[[str], Any], what: str) -> Callable[[object], Any]:
    """A validator that gives the text of a string or number to `parse`."""

    def read(value: object) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise expected(what)
        try:
            return parse(str(value))
        except ValueError:
            raise expected(what) from None

    return read


# A century: far beyond any run, and sums of such times still fit into 64 bits.
LONGEST_MS = 100 * 365 * 86_400_000


def _duration_ms(text: str) -> int:
    duration_ms = units.duration_ms(text)
    if duration_ms > LONGEST_MS:
        raise ValueError(text)
    return duration_ms


CPU_TEXT = "a quantity such as '4' or '500m'"
BYTES_TEXT = "a quantity such as '512Mi' or '16Gi'"
DURATION_TEXT = "a duration such as '30s', '5m' or '1h30m'"
PERCENT_TEXT = "a quantity such as '100Mi' or a percentage such as '10%'"
GROWTH_TEXT = "a quantity per time such as '2Mi/h', '100Ki/s' or '1Gi/1d'"


def _bounded(read: Callable[[object], int], resource: str) -> Callable[[object], int]:
    """`read` for amounts with which sums and products still fit into 64 bits."""
    most, text = largest(resource)

    def read_bounded(value: object) -> int:
        amount = read(value)
        if amount > most:
            raise expected(f"at most {text}")
        return amount

    return read_bounded


read_cpu_m = _bounded(_reader(units.cpu_m, CPU_TEXT), CPU)
read_bytes = _bounded(_reader(units.amount, BYTES_TEXT), MEMORY)
read_duration_ms = _reader(_duration_ms, DURATION_TEXT)


def _quantity_schema(unit: str, *examples: str | int) -> WithJsonSchema:
    """`unit` tells people, and sim.scenario.schema, what the integer behind the text counts."""
    schema: dict[str, Any] = {
        "type": ["string", "number"],
        "unit": unit,
        "examples": list(examples),
    }
    if unit == "duration":
        schema |= {"minimum": 0, "maximum": 0}  # of numbers, only 0 needs no unit
    return WithJsonSchema(schema)


CpuM = Annotated[int, BeforeValidator(read_cpu_m), _quantity_schema("cores", "500m", 4)]
Bytes = Annotated[int, BeforeValidator(read_bytes), _quantity_schema("bytes", "512Mi", "16Gi")]
DurationMs = Annotated[
    int,
    BeforeValidator(read_duration_ms),
    _quantity_schema("duration", "30s", "1h30m"),
]
Integer = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, le=INT32_MAX)]
Number = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Name = Annotated[str, Field(min_length=1)]


def _positive(value: int) -> int:
    if value <= 0:
        raise expected("more than 0")
    return value


PositiveMs = Annotated[DurationMs, AfterValidator(_positive)]


# Resources: {cpu: "4", memory: 16Gi, nvidia.com/gpu: 2}


def _resources(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise expected("a mapping such as {cpu: 4, memory: 16Gi}")
    amounts: dict[str, int] = {}
    errors: list[InitErrorDetails] = []
    for name, amount in value.items():
        try:
            amounts[str(name)] = (read_cpu_m if name == CPU else read_bytes)(amount)
        except PydanticCustomError as error:
            errors.append({"type": error, "loc": (str(name),), "input": amount})
    if errors:
        raise ValidationError.from_exception_data("resources", errors)
    return amounts


Resources = Annotated[
    dict[str, int],
    BeforeValidator(_resources),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "number"]},
            "description": "resources by name: cpu in cores or millicores, the others in units",
            "examples": [{"cpu": 4, "memory": "16Gi"}],
        }
    ),
]


# Thresholds: 100Mi or 10%


def _threshold(value: object) -> int | float:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = units.percent(value)
        except ValueError:
            raise expected(PERCENT_TEXT) from None
        if not 0 <= share <= 1:
            raise expected("a percentage from 0% to 100%")
        return float(share)
    return _bounded(_reader(units.amount, PERCENT_TEXT), MEMORY)(value)


Threshold = Annotated[
    int | float,
    BeforeValidator(_threshold),
    _quantity_schema("bytes or percent of capacity", "100Mi", "10%"),
]


# Percentages: 60% or 0.6

SHARE_TEXT = "a percentage from 0% to 100%, or a number from 0 to 1"


def _percent(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise expected(SHARE_TEXT)
    try:
        share = units.percent(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        raise expected(SHARE_TEXT) from None
    if not 0 <= share <= 1:
        raise expected(SHARE_TEXT)
    return share


Percent = Annotated[
    float,
    BeforeValidator(_percent),
    WithJsonSchema(
        {"type": ["string", "number"], "minimum": 0, "maximum": 1, "examples": ["60%", 0.6]}
    ),
]


# Growth: 2Mi/h

FASTEST_GROWTH_B_PER_S = 2**40  # no machine writes to memory faster


def _growth(value: object) -> tuple[int, int]:
    if not isinstance(value, str) or value.count("/") != 1:
        raise expected(GROWTH_TEXT)
    amount, per = (part.strip() for part in value.split("/"))
    try:
        growth = units.amount(amount), _duration_ms(per if per[:1].isdigit() else f"1{per}")
    except ValueError:
        raise expected(GROWTH_TEXT) from None
    if growth[1] <= 0:
        raise expected(GROWTH_TEXT)
    if growth[0] * 1000 > FASTEST_GROWTH_B_PER_S * growth[1] or growth[0] > largest(MEMORY)[0]:
        raise expected(f"at most {units.format_bytes(FASTEST_GROWTH_B_PER_S)}/s")
    return growth


Growth = Annotated[
    tuple[int, int],
    BeforeValidator(_growth),
    WithJsonSchema({"type": "string", "unit": "bytes per time", "examples": ["2Mi/h"]}),
]
"""(bytes, per how many milliseconds)."""


# Distributions of durations


class ConstantForm(Model):
    """Always the same duration."""

    constant_ms: DurationMs = Field(alias="constant")

    def value(self) -> behaviour.Distribution:
        return behaviour.Constant(self.constant_ms)


class DeterministicForm(Model):
    """Always the same duration (another word for constant)."""

    deterministic_ms: DurationMs = Field(alias="deterministic")

    def value(self) -> behaviour.Distribution:
        return behaviour.Constant(self.deterministic_ms)


class ExponentialForm(Model):
    """Exponential with this mean: as intervals, a Poisson process."""

    mean_ms: PositiveMs = Field(alias="exponential")

    def value(self) -> behaviour.Distribution:
        return behaviour.Exponential(self.mean_ms)


class LognormalForm(Model):
    """Lognormal by its median and either its 99th percentile or its sigma."""

    median_ms: PositiveMs = Field(alias="median")
    p99_ms: DurationMs | None = Field(
        default=None, alias="p99", description="99 of 100 are not longer."
    )
    sigma: Annotated[Number, Field(le=30)] | None = Field(
        default=None, description="Deviation of the logarithm."
    )

    @model_validator(mode="after")
    def _one_spread(self) -> LognormalForm:
        if (self.p99_ms is None) == (self.sigma is None):
            raise wrong("expected either p99 or sigma beside median.")
        if self.p99_ms is not None and self.p99_ms < self.median_ms:
            raise wrong("p99 is below the median.")
        return self

    def value(self) -> behaviour.Distribution:
        if self.p99_ms is not None:
            return behaviour.Lognormal.of_p99(self.median_ms, self.p99_ms)
        return behaviour.Lognormal(self.median_ms, self.sigma or 0.0)


class WeibullForm(Model):
    """Weibull by its shape and either its mean or its scale."""

    shape: Annotated[Number, Field(ge=0.1, le=100)] = Field(
        description="Below 1 early deaths, above 1 ageing; 1 is exponential."
    )
    mean_ms: PositiveMs | None = Field(default=None, alias="mean", description="Mean.")
    scale_ms: PositiveMs | None = Field(
        default=None, alias="scale", description="63 of 100 are not longer."
    )

    @model_validator(mode="after")
    def _one_size(self) -> WeibullForm:
        if (self.mean_ms is None) == (self.scale_ms is None):
            raise wrong("expected either mean or scale beside shape.")
        return self

    def value(self) -> behaviour.Distribution:
        if self.scale_ms is not None:
            return behaviour.Weibull(self.scale_ms, self.shape)
        return behaviour.Weibull.of_mean(self.mean_ms or 0, self.shape)


class NamedWeibull(Model):
    """A Weibull distribution under its name."""

    weibull: WeibullForm

    def value(self) -> behaviour.Distribution:
        return self.weibull.value()


class UniformForm(Model):
    """Anything from min to max, equally likely."""

    min_ms: DurationMs = Field(alias="min")
    max_ms: DurationMs = Field(alias="max")

    @model_validator(mode="after")
    def _in_order(self) -> UniformForm:
        if self.min_ms > self.max_ms:
            raise wrong("min is above max.")
        return self

    def value(self) -> behaviour.Distribution:
        return behaviour.Uniform(self.min_ms, self.max_ms)


class NamedLognormal(Model):
    """A lognormal distribution under its name."""

    lognormal: LognormalForm

    def value(self) -> behaviour.Distribution:
        return self.lognormal.value()


class NamedUniform(Model):
    """A uniform distribution under its name."""

    uniform: UniformForm

    def value(self) -> behaviour.Distribution:
        return self.uniform.value()


class EmpiricalForm(Model):
    """Observed durations, drawn with replacement."""

    empirical: tuple[DurationMs, ...] = Field(min_length=1, description="The observations.")

    def value(self) -> behaviour.Distribution:
        return behaviour.Empirical(self.empirical)


DISTRIBUTION_TEXT = (
    "a duration such as '8s', or one of {constant: 8s}, {exponential: 2m}, "
    "{median: 8s, p99: 30s}, {weibull: {mean: 8s, shape: 0.7}}, {uniform: {min: 1s, max: 2s}}, "
    "{empirical: [1s, 4s]}"
)
# Which form a mapping takes follows from its keys; tags stand in <> so that no field is like them.
_FORM_OF_KEY = {
    "constant": "<constant>",
    "deterministic": "<deterministic>",
    "exponential": "<exponential>",
    "lognormal": "<lognormal>",
    "weibull": "<weibull>",
    "uniform": "<uniform>",
    "empirical": "<empirical>",
    "median": "<median>",
    "p99": "<median>",
    "sigma": "<median>",
    "min": "<min>",
    "max": "<min>",
}


def _form(value: object) -> str | None:
    if isinstance(value, dict):
        return next((_FORM_OF_KEY[key] for key in value if key in _FORM_OF_KEY), None)
    return None if isinstance(value, list) else "<duration>"


def _to_value(form: Any) -> behaviour.Distribution:
    if isinstance(form, int):
        return behaviour.Constant(form)
    value: behaviour.Distribution = form.value()
    return value


if TYPE_CHECKING:
    Dist = behaviour.Distribution  # what a validated field holds
else:
    Dist = Annotated[
        Annotated[DurationMs, Tag("<duration>")]
        | Annotated[ConstantForm, Tag("<constant>")]
        | Annotated[DeterministicForm, Tag("<deterministic>")]
        | Annotated[ExponentialForm, Tag("<exponential>")]
        | Annotated[NamedLognormal, Tag("<lognormal>")]
        | Annotated[NamedWeibull, Tag("<weibull>")]
        | Annotated[NamedUniform, Tag("<uniform>")]
        | Annotated[EmpiricalForm, Tag("<empirical>")]
        | Annotated[LognormalForm, Tag("<median>")]
        | Annotated[UniformForm, Tag("<min>")],
        Discriminator(
            _form,
            custom_error_type="no_distribution",
            custom_error_message="no distribution",
        ),
        AfterValidator(_to_value),
    ]
"""What a scenario writes for a distribution of durations; validated to a sim.behaviour value."""


def _at_random(value: object) -> object:
    return value if isinstance(value, dict | list) else {"exponential": value}


if TYPE_CHECKING:
    RandomDist = behaviour.Distribution
else:
    RandomDist = Annotated[Dist, BeforeValidator(_at_random)]
"""The same for times between failures: a plain duration is the mean of an exponential one."""
