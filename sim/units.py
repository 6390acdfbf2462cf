"""Quantities, durations and shares as Kubernetes writes them, to integers and back; no floats.

Quantities follow apimachinery pkg/api/resource (v0.34.1), durations Go's time.ParseDuration with
one extension of ours: `d` for days of 24 hours. Every parser raises ValueError with a message that
says what came and what was expected; the caller adds where.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

# The largest amount (resource/quantity.go maxAllowed). Binary quantities and those of more than 18
# digits are cut to it when they are parsed, the others only when they become integers: upstream
# keeps 12E, whose short form needs no big decimal.
MAX_QUANTITY = 2**63 - 1
NANO = Fraction(1, 10**9)  # the finest step; finer values are rounded away from zero

_DECIMAL_EXPONENT = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}
_DECIMAL_EXPONENT |= {"P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL_EXPONENT.items()}
_BINARY_POWER = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY_POWER.items()}

_QUANTITY = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([A-Za-z]*|[eE][+-]?[0-9]+)\Z", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
_UNIT_NS |= {"m": 60 * 10**9, "h": 3600 * 10**9, "d": 24 * 3600 * 10**9}
_PERCENT = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))%", re.ASCII)
_LONGEST = 200  # characters of a number that anybody means

CPU_EXAMPLE = "a quantity such as '4' or '500m'"
AMOUNT_EXAMPLE = "a quantity such as '1.5Gi' or '512Mi'"
DURATION_EXAMPLE = "a duration such as '1h30m', '20s' or '250ms'"
PERCENT_EXAMPLE = "a percentage such as '25%'"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount and the notation it is written in."""

    value: Fraction
    format: Format = "DecimalSI"

    def rounded_up(self, power_of_ten: int = 0) -> Fraction:
        """The value as a multiple of 10^power_of_ten, rounded away from zero (RoundUp)."""
        step = Fraction(10) ** power_of_ten
        return _away_from_zero(self.value / step) * step

    @property
    def ceiling(self) -> int:
        """Whole units, rounded up (Value)."""
        return _cut(int(self.rounded_up()))

    @property
    def milli(self) -> int:
        """Thousandths, rounded up (MilliValue)."""
        return _cut(int(self.rounded_up(-3) * 1000))

    def __str__(self) -> str:
        """The canonical text: no fraction, the largest suffix that keeps an integer."""
        if not self.value:
            return "0"
        if self.format == "DecimalExponent":
            number, exponent = _thousands(self.value, 2 * _LONGEST)
            return f"{number}e{exponent}" if exponent else str(number)
        if self.format == "BinarySI" and abs(self.value) >= 1024 and self.value.denominator == 1:
            return _binary_text(self.value.numerator)
        number, exponent = _thousands(self.value)
        return f"{number}{_DECIMAL_SUFFIX[exponent]}"


def parse_quantity(text: str | int | float) -> Quantity:
    """The quantity that `text` stands for; a number is read as it would be written in JSON."""
    parsed = _quantity(text if isinstance(text, str) else _written(text))
    if parsed is None:
        raise ValueError(f"got {shown(text)}; expected a quantity such as '4', '500m' or '1.5Gi'")
    return parsed


def cpu_m(text: str | int | float) -> int:
    """Millicores, rounded up: '250m' is 250, '1.5' and 1.5 are 1500."""
    return _parsed(text, CPU_EXAMPLE).milli


def amount(text: str | int | float) -> int:
    """Bytes, devices or pods, rounded up: '1Ki' is 1024, '1500m' is 2."""
    return _parsed(text, AMOUNT_EXAMPLE).ceiling


def duration_ms(text: str | int) -> int:
    """Milliseconds, rounded up: '1h30m' is 5 400 000, '1d' is 24 hours; 0 needs no unit."""
    if text in ("0", 0) and not isinstance(text, bool):
        return 0
    total_ns = _duration_ns(text) if isinstance(text, str) else None
    if total_ns is None:
        raise ValueError(f"got {shown(text)}; expected {DURATION_EXAMPLE}")
    return int(_away_from_zero(total_ns / 10**6))


def percent(text: str) -> float:
    """The share that a percentage stands for: '99.5%' is 0.995."""
    match = _PERCENT.fullmatch(text) if isinstance(text, str) and len(text) < _LONGEST else None
    if not match:
        raise ValueError(f"got {shown(text)}; expected {PERCENT_EXAMPLE}")
    return float(Fraction(match[1]) / 100)


def format_cpu(cpu_m: int) -> str:
    """'250m', '4' or '1500m': the canonical quantity of so many millicores."""
    return str(cpu_m // 1000) if cpu_m % 1000 == 0 else f"{cpu_m}m"


def format_bytes(size_b: int) -> str:
    """'1.5Gi', '200Mi' or '512': the largest binary unit with at most two decimals, rounded."""
    power = min(max(abs(size_b).bit_length() - 1, 0) // 10, 6)
    if not power:
        return str(size_b)
    hundredths = round(Fraction(size_b * 100, 1024**power))
    if abs(hundredths) >= 102400 and power < 6:
        power, hundredths = power + 1, hundredths // 1024
    return f"{_decimal(hundredths)}{_BINARY_SUFFIX[power]}"


def format_amount(resource: str, amount: int) -> str:
    """So much of a resource: millicores of 'cpu', bytes of memory and storage, else a number."""
    if resource == "cpu":
        return format_cpu(amount)
    sized = resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-")
    return format_bytes(amount) if sized else str(amount)


def format_duration_ms(duration_ms: int) -> str:
    """'1h30m', '20s', '1.5s', '250ms' or '2d': exact, and read back by `duration_ms`."""
    if not duration_ms:
        return "0s"
    minus, rest = ("-", -duration_ms) if duration_ms < 0 else ("", duration_ms)
    if rest < 1000:
        return f"{minus}{rest}ms"
    parts = []
    for unit, length_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        count, rest = divmod(rest, length_ms)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        seconds, thousandths = divmod(rest, 1000)
        decimals = f".{thousandths:03}".rstrip("0") if thousandths else ""
        parts.append(f"{seconds}{decimals}s")
    return minus + "".join(parts)


def shown(value: object) -> str:
    """`value` as an error message shows it: as YAML writes it, cut when it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "a number of more than 77 digits"
    if isinstance(value, dict | list) and value:
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 70 else f"{text[:66]}...{text[-1]}"


def _parsed(text: str | int | float, expected: str) -> Quantity:
    parsed = _quantity(text if isinstance(text, str) else _written(text))
    if parsed is None:
        raise ValueError(f"got {shown(text)}; expected {expected}")
    if parsed.value < 0:
        raise ValueError(f"got {shown(text)}; expected {expected}, not a negative one")
    return parsed


def _written(number: object) -> str:
    """The digits of a YAML or JSON number; '' for what is none, such as true."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return ""
    if isinstance(number, int) and number.bit_length() > 600:
        return str(MAX_QUANTITY if number > 0 else -MAX_QUANTITY)
    return repr(number)


@lru_cache(maxsize=4096)
def _quantity(text: str) -> Quantity | None:
    match = _QUANTITY.match(text) if len(text) <= _LONGEST else None
    if not match or not (match[2] or match[3]):
        return None
    sign, whole, decimals, suffix = match[1], match[2], match[3] or "", match[4]
    scale = _scale(suffix)
    if scale is None:
        return None
    base, exponent, form = scale
    size = _scaled(int((whole or "0") + decimals), len(decimals), base, exponent)
    if base == 1024 or len(whole.lstrip("0") + decimals) > 18:
        size = min(size, Fraction(MAX_QUANTITY))
    if form == "BinarySI" and 0 < size < 1:
        form = "DecimalSI"
    return Quantity(-size if sign == "-" else size, form)


def _scale(suffix: str) -> tuple[int, int, Format] | None:
    """(base, exponent, notation) of a suffix."""
    if suffix in _DECIMAL_EXPONENT:
        return 10, _DECIMAL_EXPONENT[suffix], "DecimalSI"
    if suffix in _BINARY_POWER:
        return 1024, _BINARY_POWER[suffix], "BinarySI"
    if len(suffix) > 1 and suffix[0] in "eE" and suffix[1:].lstrip("+-").isdigit():
        return 10, int(suffix[1:]), "DecimalExponent"
    return None


def _scaled(digits: int, decimals: int, base: int, exponent: int) -> Fraction:
    """digits × 10^-decimals × base^exponent, in whole nanos."""
    if not digits:
        return Fraction(0)
    exponent = max(min(exponent, 2 * _LONGEST), -2 * _LONGEST)  # farther is the same after cutting
    size = Fraction(digits, 10**decimals) * Fraction(base) ** exponent
    return _away_from_zero(size / NANO) * NANO


def _cut(number: int) -> int:
    return max(-MAX_QUANTITY, min(number, MAX_QUANTITY))


def _away_from_zero(value: Fraction) -> Fraction:
    whole = -(-abs(value.numerator) // value.denominator)
    return Fraction(whole if value >= 0 else -whole)


def _thousands(value: Fraction, largest: int = 18) -> tuple[int, int]:
    """(integer, exponent) with value = integer × 10^exponent, the exponent a multiple of three."""
    number, exponent = int(value / NANO), -9
    while number % 1000 == 0 and exponent < largest:
        number, exponent = number // 1000, exponent + 3
    return number, exponent


def _binary_text(number: int) -> str:
    power = 0
    while number % 1024 == 0 and power < 6:
        number, power = number // 1024, power + 1
    return f"{number}{_BINARY_SUFFIX[power] if power else ''}"


def _duration_ns(text: str) -> Fraction | None:
    if not text or len(text) > _LONGEST or _DURATION.sub("", text):
        return None
    return sum((_part_ns(part) for part in _DURATION.findall(text)), Fraction(0))


def _part_ns(part: str) -> Fraction:
    unit = part.lstrip("0123456789.")
    return Fraction(part.removesuffix(unit)) * _UNIT_NS[unit]


def _decimal(hundredths: int) -> str:
    sign, hundredths = ("-", -hundredths) if hundredths < 0 else ("", hundredths)
    return f"{sign}{hundredths // 100}.{hundredths % 100:02}".rstrip("0").rstrip(".")
