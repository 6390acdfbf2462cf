"""YAML and JSON files as plain Python values that remember where each of them stood.

Two dialects. "manifest" reads as kubectl does (sigs.k8s.io/yaml): `0755` is 493, `yes` and `on`
are true, `12:30` and time stamps are text, and a key that is not text becomes it. "scenario" is
ours: what YAML versions read differently is an error with a hint. Both refuse what no reader
survives: deep nesting, alias bombs, duplicate keys, control characters, other encodings than UTF-8
and UTF-16.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from sim.errors import Position, Problem, ScenarioError, did_you_mean
from sim.scalars import NOT_A_NUMBER, TRAPS, as_all_read, as_kubectl_reads
from sim.units import shown

Dialect = Literal["manifest", "scenario"]
Step = str | int

MAX_DEPTH = 100
# Values that aliases may add. An alias bomb of a few lines stands for billions of them.
ALIAS_BUDGET = {"manifest": 1_000_000, "scenario": 10_000}

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NOT_YAML = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATES = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@dataclass(slots=True)
class _Node:
    """A value, where it starts, and the nodes below it."""

    value: Any
    line: int
    column: int
    size: int = 1  # values in it, with aliases written out
    items: list[_Node] | None = None
    entries: dict[str, tuple[_Node, _Node]] | None = None  # key -> (key node, value node)


@dataclass
class Document:
    """One document of a file: its values, and the position of each."""

    data: Any
    file: str = ""
    start: int = 0  # where a JSON document starts in `text`
    text: str = field(default="", repr=False)
    tree: _Node | None = field(default=None, repr=False)

    def position(self, *path: Step) -> Position:
        """Where the value at `path` stands, or its nearest ancestor that is there."""
        return self._position(path, key=False)

    def key_position(self, *path: Step) -> Position:
        """Where the key of the value at `path` stands; an ancestor's value when it is missing."""
        return self._position(path, key=True)

    def _position(self, path: tuple[Step, ...], *, key: bool) -> Position:
        found = node = self._root
        if node is None:
            return Position(self.file)
        for step in path:
            below = _below(node, step)
            if below is None:
                return Position(self.file, node.line, node.column)
            node = below[1]
            found = below[0] if key else node
        assert found is not None
        return Position(self.file, found.line, found.column)

    @cached_property
    def _root(self) -> _Node | None:
        """JSON is read by its own fast reader; its positions are worked out when first asked."""
        return self.tree or (_json_tree(self.text, self.start) if self.text else None)


def load_documents(path: Path | str, *, dialect: Dialect) -> list[Document]:
    """The documents of a YAML or JSON file; ScenarioError with every problem in it."""
    documents, problems = read_documents(path, dialect=dialect)
    if problems:
        raise ScenarioError(problems)
    return documents


def read_documents(path: Path | str, *, dialect: Dialect) -> tuple[list[Document], list[Problem]]:
    """The documents of a file as far as they can be read, and what is wrong with it."""
    try:
        content = _bytes_of(Path(path))
    except (OSError, ValueError) as error:
        return [], [_unreadable(Path(path), error)]
    return parse_documents(content, str(path), dialect=dialect)


def parse_documents(
    content: bytes | str, file: str, *, dialect: Dialect
) -> tuple[list[Document], list[Problem]]:
    """The same for the content of a file that is called `file` in problems."""
    try:
        text = content if isinstance(content, str) else _decoded(content, file)
    except ScenarioError as error:
        return [], error.problems
    if dialect == "manifest" and text[:500].lstrip()[:1] == "{":
        documents = _json_documents(text, file)
        if documents is not None:
            return documents, []
    return _yaml_documents(text, file, dialect)


def _yaml_documents(text: str, file: str, dialect: Dialect) -> tuple[list[Document], list[Problem]]:
    bad = _NOT_YAML.search(text)
    if bad:
        message = f"got the character {bad[0]!r}; expected a text file without control characters"
        return [], [Problem(_place(text, bad.start(), file), message)]
    builder = _Builder(text, file, dialect)
    documents = builder.documents()
    if not documents and not builder.problems and dialect == "scenario":
        message = "the file is empty; expected a scenario"
        builder.problems.append(Problem(Position(file), message))
    return documents, builder.problems


class _Builder:
    """Turns YAML events into nodes; it keeps the problems, the path and the budget of aliases."""

    def __init__(self, text: str, file: str, dialect: Dialect) -> None:
        self.text = text
        self.file = file
        self.dialect = dialect
        self.problems: list[Problem] = []
        self.path: list[Step] = []
        self.anchors: dict[str, _Node | None] = {}  # None while the anchored node is being built
        self.budget = ALIAS_BUDGET[dialect]

    def documents(self) -> list[Document]:
        """Every document that is not null, up to the first place that cannot be read."""
        found: list[Document] = []
        try:
            loader = _LOADER(self.text)
            found.extend(self._documents(loader.get_event))
        except _Stopped:
            pass
        except yaml.MarkedYAMLError as error:
            self.problems.append(_syntax_problem(error, self.text, self.file))
        except yaml.YAMLError as error:
            self.problems.append(Problem(Position(self.file), f"not valid YAML: {error}"))
        return found

    def _documents(self, take: Callable[[], Any]) -> Iterator[Document]:
        while not isinstance(event := take(), yaml.StreamEndEvent):
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self.anchors.clear()
            tree = self._node(take(), take)
            if tree.value is not None:
                yield Document(tree.value, self.file, tree=tree)

    def _node(self, event: Any, take: Callable[[], Any]) -> _Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, line, column)
        if len(self.path) >= MAX_DEPTH:
            self._stop(line, column, f"nested deeper than {MAX_DEPTH} levels")
        node = _Node(None, line, column)
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event, node)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._refuse_tag(event.tag, node)
            self._sequence(node, take)
        else:
            self._refuse_tag(event.tag, node)
            self._mapping(node, take)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, anchor: str | None, line: int, column: int) -> _Node:
        node = self.anchors.get(anchor or "")
        if node is None:
            why = "contains itself" if anchor in self.anchors else "is not defined before this"
            self._stop(line, column, f"the alias *{anchor} {why}")
            raise AssertionError("unreachable")
        self.budget -= node.size
        if self.budget < 0:
            limit = ALIAS_BUDGET[self.dialect]
            self._stop(line, column, f"aliases stand for more than {limit} values")
        return _Node(node.value, line, column, node.size, node.items, node.entries)

    def _sequence(self, node: _Node, take: Callable[[], Any]) -> None:
        node.items = []
        while not isinstance(event := take(), yaml.SequenceEndEvent):
            self.path.append(len(node.items))
            node.items.append(self._node(event, take))
            self.path.pop()
        node.value = [item.value for item in node.items]
        node.size += sum(item.size for item in node.items)

    def _mapping(self, node: _Node, take: Callable[[], Any]) -> None:
        entries: dict[str, tuple[_Node, _Node]] = {}
        merged: list[_Node] = []
        while not isinstance(event := take(), yaml.MappingEndEvent):
            merges = _is_merge(event)
            key = self._node(event, take)
            name = self._name(key)
            self.path.append(name)
            value = self._node(take(), take)
            node.size += 1 + value.size
            if merges:
                merged += self._merge_sources(value)
            elif name in entries:
                first = entries[name][0].line
                self._problem(key, f"the key {shown(name)} is already in line {first}")
            else:
                entries[name] = (key, value)
            self.path.pop()
        for source in merged:
            for name, entry in (source.entries or {}).items():
                entries.setdefault(name, entry)
        node.entries = entries
        node.value = {name: value.value for name, (_, value) in entries.items()}

    def _merge_sources(self, value: _Node) -> list[_Node]:
        sources = [value] if value.items is None else value.items
        if all(source.entries is not None for source in sources):
            return sources
        self._problem(value, f"got {shown(value.value)}; expected a mapping to merge with '<<'")
        return []

    def _name(self, key: _Node) -> str:
        """A key as text, as JSON needs it (sigs.k8s.io/yaml convertToJSONableObject)."""
        if isinstance(key.value, str):
            return key.value
        if isinstance(key.value, bool):
            return "true" if key.value else "false"
        if isinstance(key.value, int | float):
            return f"{key.value:g}" if isinstance(key.value, float) else str(key.value)
        self._problem(key, f"got {shown(key.value)} as a key; expected text")
        return shown(key.value)

    def _scalar(self, event: Any, node: _Node) -> Any:
        text: str = event.value
        plain = event.implicit[0] and not event.style
        if event.tag in (None, "!") or plain:
            return text if event.tag == "!" or not plain else self._plain(text, node)
        return self._tagged(event.tag.removeprefix(_TAG), text, node)

    def _tagged(self, tag: str, text: str, node: _Node) -> Any:
        if tag == "str":
            return text
        self._refuse_tag(tag, node)
        if self.dialect == "scenario":
            return text
        if tag == "binary":
            return self._binary(text, node)
        types = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
        if tag not in types:
            return text
        value = self._plain(text, node)
        if not isinstance(value, types[tag]):  # type: ignore[arg-type]
            self._problem(node, f"got {shown(text)}; expected a value of the type !!{tag}")
        return value

    def _binary(self, text: str, node: _Node) -> str:
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            self._problem(node, f"got {shown(text)}; expected base64 of UTF-8 text after !!binary")
            return ""

    def _plain(self, text: str, node: _Node) -> Any:
        if text in NOT_A_NUMBER:
            self._problem(node, f"got {text}; expected a finite number")
            return None
        if self.dialect == "manifest":
            return as_kubectl_reads(text)
        for trap, reading, hint in TRAPS:
            if trap.fullmatch(text):
                self._problem(node, f"{shown(text)} {reading}.", hint)
                return text
        return as_all_read(text)

    def _refuse_tag(self, tag: str | None, node: _Node) -> None:
        if self.dialect == "scenario" and tag not in (None, "!"):
            self._problem(node, f"got the tag {shown(tag)}; expected a plain value")

    def _problem(self, node: _Node, message: str, hint: str = "") -> None:
        position = Position(self.file, node.line, node.column)
        self.problems.append(Problem(position, message, dotted(self.path), hint))

    def _stop(self, line: int, column: int, message: str) -> None:
        position = Position(self.file, line, column)
        self.problems.append(Problem(position, message, dotted(self.path[:10])))
        raise _Stopped


class _Stopped(Exception):  # noqa: N818 - a jump out of the recursion, not an error
    """The rest of the file is not worth reading; the problem is already noted."""


def dotted(path: list[Step] | tuple[Step, ...]) -> str:
    """`spec.containers[0].name`; a key that holds dots is quoted in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif "." in step or "[" in step or not step:
            text += f"[{shown(step)}]"
        else:
            text += f".{step[:80]}" if text else step[:80]
    return text


def _is_merge(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style


def _below(node: _Node, step: Step) -> tuple[_Node, _Node] | None:
    if isinstance(step, int):
        items = node.items or []
        return (items[step], items[step]) if 0 <= step < len(items) else None
    return (node.entries or {}).get(step)


def _json_documents(text: str, file: str) -> list[Document] | None:
    """The JSON values of `text`, or None where it is not plain JSON (YAML flow, duplicate keys)."""
    found = []
    at = _skip_space(text, 0)
    try:
        while at < len(text):
            data, end = _JSON.raw_decode(text, at)
            found.append(Document(_repaired(data, text), file, start=at, text=text))
            at = _skip_space(text, end)
    except (ValueError, RecursionError):
        return None
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


_JSON = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _repaired(value: Any, text: str) -> Any:
    """Half surrogate pairs become U+FFFD, as Go's JSON reader makes them."""
    if not _SURROGATES.search(text):
        return value
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_repaired(item, text) for item in value]
    if isinstance(value, dict):
        return {_repaired(k, text): _repaired(v, text) for k, v in value.items()}
    return value


def _json_tree(text: str, start: int) -> _Node | None:
    """The nodes of the JSON value at `start`; blank before it keeps the lines as they are."""
    try:
        _, end = _JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    blank = re.sub(r"[^\n]", " ", text[:start])
    body = _SURROGATES.sub(r"\\u0020", text[start:end])  # YAML reads no pairs of surrogates
    builder = _Builder(blank + body, "", "manifest")
    documents = builder.documents()
    return documents[0].tree if documents else None


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise OSError("is a directory; expected a file")
    if path.exists() and not (path.is_file() or path.is_fifo()):
        raise OSError("is not a file that can be read to its end")
    return path.read_bytes()


def _unreadable(path: Path, error: OSError | ValueError) -> Problem:
    shown_path = str(path).replace("\0", "\\0")
    if isinstance(error, FileNotFoundError):
        return Problem(Position(shown_path), "there is no such file.", hint=_similar(path))
    if isinstance(error, PermissionError):
        return Problem(Position(shown_path), "may not be read (permission denied)")
    return Problem(Position(shown_path), getattr(error, "strerror", None) or str(error))


def _similar(path: Path) -> str:
    try:
        return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""


def _decoded(content: bytes, file: str) -> str:
    utf_16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if utf_16 else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        byte = content[error.start : error.start + 1].hex()
        message = f"got the byte 0x{byte}; expected text in UTF-8."
        hint = "Save the file as UTF-8 (it looks like Latin-1)." if not utf_16 else ""
        place = _place(before, len(before), file)
        raise ScenarioError([Problem(place, message, hint=hint)]) from None


def _place(text: str, index: int, file: str) -> Position:
    line_start = text.rfind("\n", 0, index) + 1
    return Position(file, text.count("\n", 0, index) + 1, index - line_start + 1)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    position = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
    context = f" ({error.context})" if error.context else ""
    hint = "YAML indents with spaces, not tabs." if mark and _tab_at(text, mark) else ""
    return Problem(position, f"not valid YAML: {error.problem}{context}.", hint=hint)


def _tab_at(text: str, mark: yaml.Mark) -> bool:
    line = (text.splitlines()[mark.line : mark.line + 1] or [""])[0]
    return "\t" in line[: mark.column + 1]
