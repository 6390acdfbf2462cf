"""What a scenario writes about the CPU and memory that containers use over time."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from sim import behaviour, units
from sim.errors import Position, Problem
from sim.laws import DAY_MS, MS_PER_H, NOISE_SD, Law, Noise, Trace, Wave
from sim.scenario.fields import (
    DURATION_TEXT,
    Bytes,
    CpuM,
    Flag,
    Growth,
    Model,
    Name,
    Percent,
    PositiveMs,
    expected,
    read_bytes,
    read_cpu_m,
    read_duration_ms,
    wrong,
)
from sim.yamls import dotted

if TYPE_CHECKING:
    from sim.scenario.models import ScenarioForm
    from sim.scenario.problems import Locate

CLOCK_TEXT = "a time of day such as '15:00'"
MOST_SD = 1 / NOISE_SD  # so that no draw makes an amount negative


def _time_of_day_ms(value: object) -> int:
    hours, colon, minutes = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2):
        raise expected(CLOCK_TEXT)
    if int(hours) > 23 or int(minutes) > 59:
        raise expected(CLOCK_TEXT)
    return int(hours) * MS_PER_H + int(minutes) * 60_000


TimeOfDayMs = Annotated[
    int,
    BeforeValidator(_time_of_day_ms),
    WithJsonSchema({"type": "string", "examples": ["15:00"], "pattern": "^[0-9]{1,2}:[0-9]{2}$"}),
]


@dataclass(frozen=True)
class Given:
    """What laws depend on beside their own words: the start of the run, and the files read."""

    start_of_day_ms: int = 0  # time of day at which the run starts
    traces: Mapping[tuple[str, str, bool], Trace] = field(default_factory=dict)

    def wave(self, form: DiurnalCpu | DiurnalMemory | None) -> Wave | None:
        """The wave of a form, in the time of the run."""
        if form is None:
            return None
        peak_ms = (form.peak_ms - self.start_of_day_ms) % form.period_ms
        return Wave(form.amplitude, peak_ms, form.period_ms)

    def trace(self, kind: str, form: TraceForm | None) -> Trace | None:
        """The trace of a form; None too when its file could not be read."""
        return self.traces.get((kind, form.file, form.repeat)) if form else None


class _Diurnal(Model):
    peak_ms: TimeOfDayMs = Field(
        alias="peak",
        description="Time of day of the highest value, in the time zone of run.start; for other "
        "periods than a day: of the first day of the run.",
    )
    period_ms: Annotated[PositiveMs, Field(ge=60_000)] = Field(
        default=DAY_MS, alias="period", description="Time from peak to peak. Default: 24h."
    )


class DiurnalCpu(_Diurnal):
    """A daily sinusoid of the clock on the wall."""

    amplitude: CpuM = Field(description="How far it goes above and below base.")


class DiurnalMemory(_Diurnal):
    """A daily sinusoid of the clock on the wall."""

    amplitude: Bytes = Field(description="How far it goes above and below base.")


class NoiseForm(Model):
    """Random fluctuation, drawn for each pod on its own; the same whoever looks when."""

    sd: Percent = Field(
        description="Standard deviation relative to base (and a trace's mean), at most 33%; a draw "
        "never lies further than 3 of it from the middle (modelling choice)."
    )
    every_ms: Annotated[PositiveMs, Field(ge=1000)] = Field(
        default=60_000,
        alias="every",
        description="How long one draw holds. Default: 60 s (modelling choice).",
    )

    @model_validator(mode="after")
    def _is_bounded(self) -> NoiseForm:
        if self.sd > MOST_SD:
            raise wrong("sd is above 33%, so that use could be less than nothing.")
        return self

    def value(self) -> Noise:
        """The value the engine works with."""
        return Noise(self.sd, self.every_ms)


class TraceForm(Model):
    """Recorded use: a CSV file with lines `time,value`, linear between them."""

    file: Name = Field(
        description="Path of the file, relative to this one. Times count from the start of the run "
        "(durations, or seconds) and ascend; values are quantities. A first line of words is a "
        "header."
    )
    repeat: Flag = Field(
        default=False,
        description="Begin again after the last point. Default: its value stays.",
    )


def _trace_form(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


TraceField = Annotated[TraceForm, BeforeValidator(_trace_form)]


class CpuForm(Model):
    base_m: CpuM = Field(default=0, alias="base", description="CPU in use without any traffic.")
    diurnal: DiurnalCpu | None = Field(default=None, description="A daily wave around base.")
    noise: NoiseForm | None = Field(default=None, description="Fluctuation around the rest.")
    trace: TraceField | None = Field(
        default=None, description="Recorded CPU, added to base: a file, or {file, repeat}."
    )

    @model_validator(mode="after")
    def _stays_positive(self) -> CpuForm:
        _check(self.law(Given()), self.trace)
        return self

    def law(self, given: Given) -> Law:
        """The value the engine works with."""
        return Law(
            base=self.base_m,
            wave=given.wave(self.diurnal),
            noise=self.noise.value() if self.noise else None,
            trace=given.trace("cpu", self.trace),
        )


class MemoryForm(Model):
    base_b: Bytes = Field(default=0, alias="base", description="Memory in use at the start.")
    growth: Growth = Field(
        default=(0, 1), validate_default=False, description="A leak: bytes per time."
    )
    plateau_b: Bytes | None = Field(
        default=None, alias="plateau", description="Memory at which growth ends. Default: never."
    )
    diurnal: DiurnalMemory | None = Field(default=None, description="A daily wave around that.")
    noise: NoiseForm | None = Field(default=None, description="Fluctuation around the rest.")
    trace: TraceField | None = Field(
        default=None, description="Recorded memory, added to base: a file, or {file, repeat}."
    )
    per_request_b: Bytes = Field(
        default=0,
        alias="perRequest",
        description="Memory for each request per second that is sent to the pod: what requests "
        "under way hold, in proportion to their rate (modelling choice).",
    )

    @model_validator(mode="after")
    def _stays_positive(self) -> MemoryForm:
        if self.plateau_b is not None and (not self.growth[0] or self.plateau_b < self.base_b):
            raise wrong("plateau is where growth ends; expected growth, and at least base.")
        _check(self.value(Given()).law, self.trace)
        return self

    def value(self, given: Given) -> behaviour.MemoryUse:
        """The value the engine works with."""
        return behaviour.MemoryUse(
            self.base_b,
            *self.growth,
            plateau_b=self.plateau_b,
            wave=given.wave(self.diurnal),
            noise=self.noise.value() if self.noise else None,
            trace=given.trace("memory", self.trace),
            per_rps_b=self.per_request_b,
        )


def _check(law: Law, trace: TraceForm | None) -> None:
    if trace is None and law.least < 0:
        raise wrong("amplitude and 3 sd of noise together exceed base: use would be negative.")


# --- Files of traces ---


def given_of(
    form: ScenarioForm, start: datetime, base: Path, locate: Locate, problems: list[Problem]
) -> Given:
    """What the laws of a scenario depend on; what is wrong with its files goes to `problems`."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    traces: dict[tuple[str, str, bool], Trace] = {}
    for at, kind, said in _traces(form):
        key = kind, said.file, said.repeat
        if key not in traces:
            trace = _read(base / said.file, kind, repeat=said.repeat, problems=problems)
            if trace is None:
                message = f"the trace {said.file!r} cannot be used."
                problems.append(Problem(locate(at), message, dotted(at)))
                return Given()
            traces[key] = trace
    given = Given(round((start - midnight).total_seconds() * 1000), traces)
    problems += _negative(form, given, locate)
    return given


def _traces(form: ScenarioForm) -> Iterator[tuple[tuple[str | int, ...], str, TraceForm]]:
    for i, entry in enumerate(form.behaviour):
        for kind, said in (("cpu", entry.cpu), ("memory", entry.memory)):
            if said is not None and said.trace is not None:
                yield ("behaviour", i, kind, "trace"), kind, said.trace


def _negative(form: ScenarioForm, given: Given, locate: Locate) -> Iterable[Problem]:
    for at, kind, _ in _traces(form):
        entry = form.behaviour[int(at[1])]
        law = entry.cpu.law(given) if kind == "cpu" and entry.cpu else None
        if kind == "memory" and entry.memory:
            law = entry.memory.value(given).law
        if law is not None and law.least < 0:
            message = "amplitude and noise together exceed base and trace: use would be negative."
            yield Problem(locate(at), message, dotted(at))


def _read(path: Path, kind: str, *, repeat: bool, problems: list[Problem]) -> Trace | None:
    """The trace in a file; None when anything is wrong with it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.append(Problem(Position(str(path)), f"cannot be read: {reason}."))
        return None
    found: list[Problem] = []
    points = list(_points(rows, kind, path, found))
    if not points and not found:
        found = [Problem(Position(str(path)), "has no lines; expected `time,value`.")]
    if repeat and points and points[-1][0] == 0:
        found.append(Problem(Position(str(path)), "ends at 0, so there is nothing to repeat."))
    problems += found
    if found:
        return None
    return Trace(tuple(t for t, _ in points), tuple(v for _, v in points), repeat)


def _points(
    rows: list[list[str]], kind: str, path: Path, problems: list[Problem]
) -> Iterator[tuple[int, int]]:
    read = read_cpu_m if kind == "cpu" else read_bytes
    last_ms = -1
    for line, row in enumerate(rows, start=1):
        if not row or (line == 1 and not row[0][:1].isdecimal()):
            continue
        try:
            time_ms, value = _cells(row, read)
            if time_ms <= last_ms:
                raise expected("a time later than the line before")
        except PydanticCustomError as error:
            got = ",".join(row)
            problems.append(Problem(Position(str(path), line, 1), f"got {got!r}; {_told(error)}."))
            continue
        last_ms = time_ms
        yield time_ms, value


def _cells(row: list[str], read: Any) -> tuple[int, int]:
    if len(row) != 2:
        raise expected("two cells, time and value")
    time, value = (cell.strip() for cell in row)
    if time.replace(".", "", 1).isdecimal():
        time = f"{time}s"
    try:
        units.duration_ms(time)
    except ValueError:
        raise expected(f"{DURATION_TEXT} first") from None
    return read_duration_ms(time), read(value)


def _told(error: PydanticCustomError) -> str:
    return f"expected {error.message()}"
