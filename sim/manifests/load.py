"""Manifests from files, directories, `kubectl get -o yaml` dumps, or plain dicts.

Every problem of every file is found before any is reported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.errors import Position, Problem, ScenarioError
from sim.manifests.fields import note_fields
from sim.manifests.objects import (
    HARMLESS,
    LIGHT,
    PARSERS,
    Manifests,
    Parsed,
    is_incomplete,
    parse_kind,
)
from sim.manifests.pods import Admission
from sim.manifests.value import Source, Value
from sim.units import shown
from sim.workloads import PriorityClass
from sim.yamls import Document, Step, read_documents

SUFFIXES = (".yaml", ".yml", ".json")
SCENARIO_VERSION = "sim/v1"
MAX_LISTS = 8  # lists in lists, which kubectl never writes

_KINDS = {kind: group for group, kind in (*PARSERS, *LIGHT)}


@dataclass(slots=True)
class Item:
    """One object as it was found: what it says it is, and its raw value."""

    group: str
    kind: str
    value: Value

    @property
    def modelled(self) -> bool:
        """Whether this kind has a parser."""
        return (self.group, self.kind) in PARSERS

    @property
    def title(self) -> str:
        """`Deployment`, or `Service.serving.knative.dev` for another group's kind of that name."""
        return (
            f"{self.kind}.{self.group}"
            if _KINDS.get(self.kind, self.group) != self.group
            else (self.kind)
        )


@dataclass(slots=True)
class Loading:
    """Objects found so far and the problems on the way."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def load_manifests(paths: Sequence[Path | str], *, admit: bool = True) -> Manifests:
    """The objects of files and directories; ScenarioError with every problem in them.

    `admit` adds what admission does to new pods (the default tolerations).
    """
    manifests, problems = read_manifests(paths, admit=admit)
    if problems:
        raise ScenarioError(problems)
    return manifests


def read_manifests(
    paths: Sequence[Path | str], *, admit: bool = True, classes: Iterable[PriorityClass] = ()
) -> tuple[Manifests, list[Problem]]:
    """The objects as far as they can be read, and every problem.

    `classes` are PriorityClasses that stand elsewhere and may be named.
    """
    loading = Loading()
    order: dict[str, int] = {}
    for path in paths:
        for file, asked_for in _files(Path(path), loading):
            order.setdefault(str(file), len(order))
            _read_file(file, loading, asked_for=asked_for)
    manifests = _build(loading, admit=admit, classes=classes)
    return manifests, sorted(loading.problems, key=lambda problem: _place(problem, order))


def _place(problem: Problem, order: dict[str, int]) -> tuple[int, int, int]:
    """In the order of the files, then of their lines; what is no file comes first."""
    position = problem.position
    return order.get(position.file, -1), position.line, position.column


def manifest_files(paths: Sequence[Path | str]) -> tuple[list[Path], list[Problem]]:
    """The files that loading `paths` reads, and the directories that hold none."""
    loading = Loading()
    files = [file for path in paths for file, _ in _files(Path(path), loading)]
    return files, loading.problems


def parse_objects(objects: Iterable[Any], *, admit: bool = True) -> Manifests:
    """The same for objects that are plain dicts; ScenarioError with every problem in them."""
    loading = Loading()
    for number, raw in enumerate(objects):
        _find(raw, Source(None, (number,), loading.problems), loading, depth=0)
    manifests = _build(loading, admit=admit)
    if loading.problems:
        raise ScenarioError(loading.problems)
    return manifests


def parse_object(
    raw: Any,
    *,
    document: Document | None = None,
    path: tuple[Step, ...] = (),
    classes: Iterable[PriorityClass] = (),
    admit: bool = True,
) -> Parsed | None:
    """One object, None for a kind that is not modelled; ScenarioError when it is refused.

    `document` and `path` say where it stands, so that problems have positions. `classes` are the
    PriorityClasses that its pods may name.
    """
    loading = Loading()
    _find(raw, Source(document, path, loading.problems), loading, depth=MAX_LISTS)
    admission = Admission({known.name: known for known in classes}, admit)
    found = [_parse(item, admission) for item in loading.items]
    if loading.problems:
        raise ScenarioError(loading.problems)
    return found[0] if found else None


def find_items(documents: Iterable[Document]) -> tuple[list[Item], list[Problem]]:
    """The objects in documents, those in lists too, and what is not an object."""
    loading = Loading()
    for document in documents:
        _find(document.data, Source(document, (), loading.problems), loading, depth=0)
    return loading.items, loading.problems


def is_scenario(document: Document) -> bool:
    """Whether a document is one of ours, by its apiVersion."""
    return isinstance(document.data, dict) and document.data.get("apiVersion") == SCENARIO_VERSION


def _files(path: Path, loading: Loading) -> Iterator[tuple[Path, bool]]:
    """The file itself, or those below a directory in the order of their names."""
    if not path.is_dir():
        yield path, True
        return
    found = 0
    for folder, folders, names in os.walk(path, onerror=_note_to(loading)):
        folders.sort()
        for name in sorted(names):
            if name.endswith(SUFFIXES):
                found += 1
                yield Path(folder, name), False
    if not found:
        message = f"holds no file that ends with {', '.join(SUFFIXES)}"
        loading.problems.append(Problem(Position(str(path)), message))


def _note_to(loading: Loading) -> Any:
    def note(error: OSError) -> None:
        message = f"cannot be read: {error.strerror}"
        loading.problems.append(Problem(Position(str(error.filename)), message))

    return note


def _read_file(file: Path, loading: Loading, *, asked_for: bool) -> None:
    documents, problems = read_documents(file, dialect="manifest")
    loading.problems += problems
    for document in documents:
        if is_scenario(document):
            if asked_for:
                message = "is a scenario; expected manifests of Kubernetes objects"
                loading.problems.append(Problem(document.position(), message))
            continue
        _find(document.data, Source(document, (), loading.problems), loading, depth=0)


def _find(
    raw: Any, source: Source, loading: Loading, *, depth: int, default: tuple[str, str] = ("", "")
) -> None:
    """Note the object, or those of a List; items of a typed list may leave their type out."""
    value = Value(raw, source)
    if not isinstance(raw, dict):
        value.wrong("an object with apiVersion and kind")
        return
    version = value.get("apiVersion").text(default[0])
    kind = value.get("kind").text(default[1])
    if not version or not kind:
        missing = "apiVersion" if not version else "kind"
        if not value.get(missing) or value.raw[missing] == "":
            value.get(missing).wrong("text such as 'v1'" if not version else "a kind such as 'Pod'")
        return
    items = raw.get("items")
    if kind.endswith("List") and (isinstance(items, list) or kind == "List"):
        _find_in_list(value, loading, depth, (version, kind.removesuffix("List")))
        return
    group = version.partition("/")[0] if "/" in version else ""
    loading.items.append(Item(group, kind, value))


def _find_in_list(value: Value, loading: Loading, depth: int, default: tuple[str, str]) -> None:
    if depth >= MAX_LISTS:
        value.problem("a list was found; expected one object")
        return
    source = value.source
    for index, item in enumerate(value.get("items").items()):
        below = Source(source.document, (*source.root, "items", index), source.problems)
        _find(
            item.raw, below, loading, depth=depth + 1, default=default if default[1] else ("", "")
        )


def _build(loading: Loading, *, admit: bool, classes: Iterable[PriorityClass] = ()) -> Manifests:
    """Priority classes first, since pods name them; then everything, the last of a name wins."""
    manifests = Manifests()
    known = {known.name: known for known in classes} | _classes(loading.items)
    admission = Admission(known, admit)
    kept: dict[tuple[str, str, str], tuple[Parsed, Item]] = {}
    for item in loading.items:
        manifests.by_kind[item.kind] += 1
        parsed = _parse(item, admission)
        manifests.warnings += item.value.source.warnings
        _note_unmodelled(item, parsed, manifests)
        if parsed is not None:
            _keep(parsed, item, kept, manifests)
    for parsed, _ in kept.values():
        manifests.add(parsed)
    return manifests


def _classes(items: list[Item]) -> dict[str, PriorityClass]:
    found: dict[str, PriorityClass] = {}
    for item in items:
        if item.kind == "PriorityClass" and item.modelled:
            quiet = Value(item.value.raw, Source(item.value.source.document))
            parsed = parse_kind(item.group, item.kind, quiet, Admission())
            assert isinstance(parsed, PriorityClass)
            found[parsed.name] = parsed
    return found


def _parse(item: Item, admission: Admission) -> Parsed | None:
    if is_incomplete(item.group, item.kind, item.value):
        return None
    return parse_kind(item.group, item.kind, item.value, admission)


def _keep(
    parsed: Parsed,
    item: Item,
    kept: dict[tuple[str, str, str], tuple[Parsed, Item]],
    manifests: Manifests,
) -> None:
    """As `kubectl apply` does: an object of the same name replaces the earlier one."""
    key = (item.kind, getattr(parsed, "namespace", ""), parsed.name)
    if key in kept:
        name = "/".join(part for part in key[1:] if part)
        earlier = kept[key][1].value.source.position(())
        message = f"{item.kind} {name} replaces the one at {earlier}"
        manifests.warnings.append(Problem(item.value.source.position(()), message))
    kept[key] = (parsed, item)


def _note_unmodelled(item: Item, parsed: Parsed | None, manifests: Manifests) -> None:
    if parsed is None:
        _note_kind(item, manifests)
        return

    def note(field: str, path: tuple[Step, ...], hint: str | None) -> None:
        manifests.unmodelled_fields[f"{item.kind} {field}"] += 1
        if hint is not None:
            source = item.value.source
            message = f"{shown(path[-1])} is no field of Kubernetes that is known here."
            position = source.position(path, key=True)
            manifests.warnings.append(Problem(position, message, f"{item.kind} {field}", hint))

    note_fields(item.kind, item.value.raw, note)


def _note_kind(item: Item, manifests: Manifests) -> None:
    if item.modelled:
        manifests.unmodelled_kinds[f"{item.title} (incomplete)"] += 1
        message = f"a {item.kind} without selector is part of an overlay and is left out"
        manifests.warnings.append(Problem(item.value.source.position(()), message))
    elif item.kind not in HARMLESS:
        manifests.unmodelled_kinds[item.title] += 1
