"""What a plain scalar of YAML means: to kubectl, and to every reader alike.

kubectl reads with sigs.k8s.io/yaml, goyaml.v2/resolve.go: YAML 1.1 without numbers to base 60.
"""

from __future__ import annotations

import math
import re
from typing import Any

_TRUE = {word for y in ("true", "yes", "on", "y") for word in (y, y.title(), y.upper())}
_FALSE = {word for n in ("false", "no", "off", "n") for word in (n, n.title(), n.upper())}
_NULL = {"", "~", "null", "Null", "NULL"}
NOT_A_NUMBER = {f"{sign}.{inf}" for sign in ("", "+", "-") for inf in ("inf", "Inf", "INF")}
NOT_A_NUMBER |= {".nan", ".NaN", ".NAN"}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_BASED = re.compile(r"([-+]?)0(?:([xX][0-9a-fA-F]+)|([bB][01]+)|[oO]?([0-7]+))", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)

_QUOTE = "put it in quotes if it is text"
TRAPS = (
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?", re.ASCII),
        "is a number to base 60 for some YAML readers",
        f"Write a duration such as '12h30m', or {_QUOTE}.",
    ),
    (
        re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"),
        "is true or false for some YAML readers and text for others",
        f"Write true or false, or {_QUOTE}.",
    ),
    (
        re.compile(r"[-+]?0([0-9_]+|[xob][0-9a-fA-F_]+)", re.ASCII),
        "is octal or another base for some YAML readers",
        f"Write the decimal number, or {_QUOTE}.",
    ),
    (
        re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9_]*)?", re.ASCII),
        "is a number only for some YAML readers",
        f"Write it without underscores, or {_QUOTE}.",
    ),
)


def as_kubectl_reads(text: str) -> Any:
    """A plain scalar's value (goyaml.v2 resolve.go; Go's ParseInt with base 0)."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    based = _BASED.fullmatch(digits)
    if based and len(digits) < 80:
        return _within_64_bits(int(based[1] + "".join(_base_digits(based)), _base(based)), text)
    if _DECIMAL.fullmatch(digits) and len(digits) <= 20:
        return _within_64_bits(int(digits), text)
    return _float(digits, text)


def _base(match: re.Match[str]) -> int:
    return 16 if match[2] else 2 if match[3] else 8


def _base_digits(match: re.Match[str]) -> str:
    return match[2][1:] if match[2] else match[3][1:] if match[3] else match[4]


def _within_64_bits(number: int, text: str) -> Any:
    return number if -(2**63) <= number < 2**64 else _float(text, text)


def _float(digits: str, text: str) -> Any:
    if not _FLOAT.fullmatch(digits):
        return text
    number = float(digits)
    return number if math.isfinite(number) else text


def as_all_read(text: str) -> Any:
    """A plain scalar's value where every YAML reader agrees."""
    if text in _NULL:
        return None
    if text.lower() in ("true", "false") and text in _TRUE | _FALSE:
        return text in _TRUE
    if _DECIMAL.fullmatch(text) and len(text) <= 40:
        return int(text)
    return _float(text, text)
