"""What `sim validate` says of scenarios and manifests: objects, totals, problems, what is left out.

Pure functions: paths in, values and text out. What a file is follows from its apiVersion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sim.errors import Position, Problem, ScenarioError
from sim.manifests import read_manifests
from sim.manifests.load import find_items, is_scenario, manifest_files
from sim.manifests.totals import totals
from sim.workloads import PriorityClass
from sim.yamls import Document, read_documents

FileKind = Literal["scenario", "manifest"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file holds, and what is wrong with it."""

    file: str
    kind: FileKind = "manifest"
    objects: dict[str, int] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    unmodelled_kinds: dict[str, int] = field(default_factory=dict)
    unmodelled_fields: dict[str, int] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def unmodelled(self) -> dict[str, int]:
        """Kinds and fields that a run does not heed, with how often they occur."""
        return self.unmodelled_kinds | self.unmodelled_fields

    def as_dict(self) -> dict[str, Any]:
        """The report for programs, ready for JSON."""
        return {
            "file": self.file,
            "kind": self.kind,
            "objects": self.objects,
            "totals": self.totals,
            "notModelled": {"kinds": self.unmodelled_kinds, "fields": self.unmodelled_fields},
            "warnings": [_as_dict(problem) for problem in self.warnings],
            "problems": [_as_dict(problem) for problem in self.problems],
        }

    def as_text(self) -> str:
        """The report for people: one paragraph."""
        lines = [f"{self.file}: {_verdict(self)}"]
        lines += _listed("objects", (f"{kind} {n}" for kind, n in self.objects.items()))
        lines += _listed("totals", (f"{name} {n:.10g}" for name, n in self.totals.items()))
        for name, n in self.unmodelled.items():
            lines.append(f"  not modelled: {name}{f' ({n} times)' if n > 1 else ''}")
        lines += [f"  warning: {problem}" for problem in self.warnings]
        lines += [f"  problem: {problem}" for problem in self.problems]
        return "\n".join(lines)


def validate_paths(
    paths: Sequence[Path | str], *, strict: bool = False, allow_plugins: bool = False
) -> list[FileReport]:
    """One report per file, in order; directories are searched.

    Every file may name the PriorityClasses of the others. With `strict`, what is not modelled and
    what is odd are problems too. Plugins that scenarios name are loaded only with `allow_plugins`.
    """
    files, problems = manifest_files(paths)
    contents = {file: read_documents(file, dialect="manifest") for file in files}
    scenarios = [file for file, (documents, _) in contents.items() if _first_is_scenario(documents)]
    together, _ = read_manifests([file for file in contents if file not in scenarios])
    reports = [
        _scenario_report(file, allow_plugins)
        if file in scenarios
        else _manifest_report(file, contents[file][0], together.priority_classes)
        for file in contents
    ]
    reports += [FileReport(problem.position.file, problems=(problem,)) for problem in problems]
    return [_strictly(report) for report in reports] if strict else reports


def file_kind(path: Path | str) -> FileKind:
    """What a file is, by the apiVersion of its first document (`sim/v1`: a scenario)."""
    documents, _ = read_documents(path, dialect="manifest")
    return "scenario" if _first_is_scenario(documents) else "manifest"


def _first_is_scenario(documents: list[Document]) -> bool:
    return bool(documents) and is_scenario(documents[0])


def _scenario_report(file: Path, allow_plugins: bool) -> FileReport:
    from sim.scenario import load

    try:
        scenario = load(file, allow_plugins=allow_plugins)
    except ScenarioError as error:
        return FileReport(str(file), "scenario", problems=tuple(error.problems))
    return FileReport(
        str(file),
        "scenario",
        objects=dict(sorted(scenario.manifests.by_kind.items())),
        unmodelled_kinds=dict(sorted(scenario.manifests.unmodelled_kinds.items())),
        unmodelled_fields=dict.fromkeys(scenario.unmodelled, 1)
        | dict(sorted(scenario.manifests.unmodelled_fields.items())),
        warnings=tuple(scenario.manifests.warnings),
    )


def _manifest_report(
    file: Path, documents: list[Document], classes: Sequence[PriorityClass]
) -> FileReport:
    items, _ = find_items(document for document in documents if not is_scenario(document))
    manifests, problems = read_manifests([file], classes=classes)
    found = totals(items)
    return FileReport(
        str(file),
        objects=found.pop("objects"),
        totals=found,
        unmodelled_kinds=dict(sorted(manifests.unmodelled_kinds.items())),
        unmodelled_fields=dict(sorted(manifests.unmodelled_fields.items())),
        warnings=tuple(manifests.warnings),
        problems=tuple(problems),
    )


def _strictly(report: FileReport) -> FileReport:
    """Everything that would be left out or guessed is a problem."""
    place = Position(report.file)
    missing = [Problem(place, f"{name} is not modelled") for name in report.unmodelled]
    return replace(report, warnings=(), problems=(*report.problems, *report.warnings, *missing))


def _verdict(report: FileReport) -> str:
    if not report.problems:
        return "ok"
    return f"{len(report.problems)} problem{'s' if len(report.problems) > 1 else ''}"


def _listed(title: str, parts: Iterable[str]) -> list[str]:
    text = ", ".join(parts)
    return [f"  {title}: {text}"] if text else []


def _as_dict(problem: Problem) -> dict[str, Any]:
    position = problem.position
    return {
        "file": position.file,
        "line": position.line,
        "column": position.column,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    }
