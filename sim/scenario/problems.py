"""From pydantic's errors to problems that a person can act on: what came, what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from pydantic_core import ErrorDetails

from sim.errors import Position, Problem, did_you_mean
from sim.scenario.fields import DISTRIBUTION_TEXT
from sim.scenario.paths import Path, nearest_field
from sim.units import shown
from sim.yamls import dotted

Schema = dict[str, Any]


class Locate(Protocol):
    """Where the value at a path stands in the file, or its key."""

    def __call__(self, path: Path, /, *, key: bool = False) -> Position: ...


_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "no_distribution": DISTRIBUTION_TEXT,
    "string_too_short": "text that is not empty",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def problems_of(errors: list[ErrorDetails], schema: Schema, locate: Locate) -> list[Problem]:
    """One problem per error."""
    return [_problem(error, schema, locate) for error in errors]


def in_order(problems: list[Problem]) -> list[Problem]:
    """Problems file by file, as the files come first, and from the top of each."""
    files = list(dict.fromkeys(problem.position.file for problem in problems))

    def place(problem: Problem) -> tuple[int, int, int]:
        position = problem.position
        return files.index(position.file), position.line, position.column

    return sorted(problems, key=place)


def path_of(error: ErrorDetails) -> Path:
    """Where in the document the error lies: its location without the tags of unions."""
    return tuple(step for step in error["loc"] if isinstance(step, int) or not step.startswith("<"))


def _problem(error: ErrorDetails, schema: Schema, locate: Locate) -> Problem:
    path = path_of(error)
    message, hint = _message(error, path, schema)
    position = locate(path, key=error["type"] == "extra_forbidden")
    return Problem(position, message, dotted(path), hint)


def _message(error: ErrorDetails, path: Path, schema: Schema) -> tuple[str, str]:
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "extra_forbidden":
        return "unknown field.", nearest_field(str(path[-1]), fields_at(schema, error["loc"][:-1]))
    if kind == "missing":
        return "missing; it is required.", ""
    if kind == "wrong":
        return str(context["message"]), str(context["hint"])
    if kind == "literal_error":
        choices = _choices(schema, error["loc"])
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"got {shown(value)}; expected {_one_of(choices)}.", hint
    return f"got {_shown(value)}; expected {_expected(kind, context, error['msg'])}.", ""


def _shown(value: object) -> str:
    if isinstance(value, dict) and value:
        return f"a mapping with {', '.join(sorted(map(str, value)))}"
    return shown(value)


def _expected(kind: str, context: dict[str, Any], fallback: str) -> str:
    if kind == "expected":
        return str(context["what"])
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {_number(context[bound])}"
    if kind == "too_short":
        return f"a list of at least {context['min_length']}"
    return _EXPECTED.get(kind, fallback)


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def fields_at(schema: Schema, loc: Path) -> list[str]:
    """Names of the fields that a mapping at this location may have."""
    return sorted({name for s in _at(schema, loc) for name in s.get("properties", {})})


def _choices(schema: Schema, loc: Path) -> list[str]:
    found = [
        s["enum"] if "enum" in s else [s["const"]]
        for s in _at(schema, loc)
        if "enum" in s or "const" in s
    ]
    return [choice for choices in found for choice in choices if isinstance(choice, str)]


def _one_of(choices: list[str]) -> str:
    if len(choices) == 1:
        return repr(choices[0])
    return "one of " + ", ".join(choices)


def _at(schema: Schema, loc: Path) -> list[Schema]:
    """The subschemas at a location of an error (tags of unions are skipped)."""
    found = list(_alternatives(schema, schema))
    for step in loc:
        if isinstance(step, str) and step.startswith("<"):
            continue
        inner = [
            s.get("items") if isinstance(step, int) else s.get("properties", {}).get(step)
            for s in found
        ]
        found = [a for s in inner if s is not None for a in _alternatives(s, schema)]
    return found


def _alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """A schema with references followed, and each member of a union."""
    if "$ref" in schema:
        yield from _alternatives(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
        return
    yield schema
    for member in schema.get("anyOf", []) + schema.get("oneOf", []):
        yield from _alternatives(member, root)
