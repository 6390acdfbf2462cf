"""From a YAML file to a validated, frozen Scenario; every problem is found in one pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sim.behaviour import Behaviour, Distribution
from sim.errors import Position, Problem, ScenarioError, did_you_mean
from sim.manifests import Manifests, parse_object, read_manifests
from sim.scenario import paths
from sim.scenario.checks import findings, notices
from sim.scenario.expressions import Expectation
from sim.scenario.faults import Fault, Maintenance
from sim.scenario.laws import given_of
from sim.scenario.models import (
    ArrivalForm,
    ControlPlane,
    Kubelet,
    Kubernetes,
    Metadata,
    Run,
    ScenarioForm,
    Scheduler,
    Traffic,
)
from sim.scenario.outages import faults_of
from sim.scenario.pools import Pool, pool_of
from sim.scenario.problems import Locate, in_order, path_of, problems_of
from sim.scenario.scheduling import configuration_of
from sim.scenario.schema import scenario_schema
from sim.units import shown
from sim.yamls import Document, dotted, load_documents, read_documents

if TYPE_CHECKING:
    from sim.profiles import Configuration


@dataclass(frozen=True)
class Arrival:
    """A stream of equal Pods or Jobs; `manifests` holds the one object that each arrival makes."""

    name: str
    every: Distribution
    runtime: Distribution
    manifests: Manifests
    start_ms: int = 0
    until_ms: int | None = None
    count: int | None = None


@dataclass(frozen=True)
class Scenario:
    """Everything a run needs, validated. A value: `replace` makes another one."""

    metadata: Metadata
    run: Run
    kubernetes: Kubernetes
    scheduler: Scheduler
    nodes: tuple[Pool, ...]
    control_plane: ControlPlane
    kubelet: Kubelet
    manifests: Manifests
    traffic: tuple[Traffic, ...]
    behaviour: tuple[Behaviour, ...]
    arrivals: tuple[Arrival, ...]
    faults: tuple[Fault, ...]
    maintenance: tuple[Maintenance, ...]
    expect: tuple[Expectation, ...]
    source: Mapping[str, Any] = field(repr=False)  # as written, with overrides
    path: Path | None = None
    base: Path = Path()  # what relative paths of manifests start from
    unmodelled: tuple[str, ...] = ()  # what it says and a run does not heed
    configuration: Configuration | None = None  # of the scheduler, None: kube-scheduler's own
    allow_plugins: bool = False  # whether plugins of the user's may be loaded

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], base: Path | str = Path(), *, allow_plugins: bool = False
    ) -> Scenario:
        """The scenario that `data` describes; manifests are looked for under `base`."""
        written = copy.deepcopy(dict(data))
        where = _nowhere("scenario")
        return _scenario(written, Path(base), None, where, allow_plugins=allow_plugins)

    def replace(self, changes: Mapping[str, Any]) -> Scenario:
        """A scenario with other values at these paths: `{"nodes[0].count": 12, "run.seed": 3}`."""
        data = copy.deepcopy(dict(self.source))
        name = str(self.path) if self.path else "scenario"
        _apply(data, changes, name)
        where = _nowhere(name)
        return _scenario(data, self.base, self.path, where, allow_plugins=self.allow_plugins)


def load(
    path: Path | str,
    *,
    overrides: Mapping[str, str] | None = None,
    allow_plugins: bool = False,
) -> Scenario:
    """The scenario in a YAML file, with values given as text (`--set path=value`) put in place.

    ScenarioError holds every problem of the file and of the manifests it names. Scheduler plugins
    that it names (`scheduler.plugins`) are programs: they run only with `allow_plugins`.
    """
    path = Path(path)
    document, problems = _document(path)
    changes = _parsed(overrides or {}, str(path))
    data = copy.deepcopy(document.data)
    _apply(data, changes, str(path))
    changed = [paths.parse_path(text) for text in changes]

    def locate(at: paths.Path, *, key: bool = False) -> Position:
        """Where a path stands in the file; what was overridden stands nowhere in it."""
        if any(at[: len(path_)] == path_ for path_ in changed):
            return Position(str(path))
        return document.key_position(*at) if key else document.position(*at)

    return _scenario(data, path.parent, path, locate, problems, allow_plugins=allow_plugins)


def _document(path: Path) -> tuple[Document, list[Problem]]:
    """The one document of a scenario file, and what YAML itself makes of it."""
    documents, problems = read_documents(path, dialect="scenario")
    if len(documents) == 1 and isinstance(documents[0].data, dict):
        return documents[0], problems
    if not problems:
        message = f"got {len(documents)} documents; expected one mapping, the scenario."
        if len(documents) == 1:
            message = f"got {shown(documents[0].data)}; expected a mapping, the scenario."
        problems = [Problem(Position(str(path)), message)]
    raise ScenarioError(problems)


def _nowhere(name: str) -> Locate:
    """Positions in a scenario that stands in no file."""

    def locate(path: paths.Path, *, key: bool = False) -> Position:
        return Position(name)

    return locate


def _parsed(overrides: Mapping[str, str], name: str) -> dict[str, Any]:
    problems, values = [], {}
    for path, text in overrides.items():
        try:
            paths.parse_path(path)
            values[path] = paths.parse_value(text)
        except ValueError as error:
            problems.append(_problem(error, path, name))
    if problems:
        raise ScenarioError(problems)
    return values


def _apply(data: dict[str, Any], changes: Mapping[str, Any], name: str) -> None:
    problems = []
    for path, value in changes.items():
        try:
            paths.set_at(data, paths.parse_path(path), copy.deepcopy(value))
        except ValueError as error:
            problems.append(_problem(error, path, name))
    if problems:
        raise ScenarioError(problems)


def _problem(error: ValueError, path: str, name: str) -> Problem:
    message, hint = (*error.args, "")[:2]
    return Problem(Position(name), message, path, hint)


def _scenario(
    data: dict[str, Any],
    base: Path,
    path: Path | None,
    locate: Locate,
    problems: Sequence[Problem] = (),
    *,
    allow_plugins: bool,
) -> Scenario:
    problems = list(problems)
    form, unsure = _validated(data, locate, problems)
    configuration = configuration_of(
        form.scheduler, base, locate, problems, allow_plugins=allow_plugins
    )
    manifests = _manifests(form, base, locate, problems, unsure)
    streams = _arrivals(form, manifests, base, locate, problems)
    arriving = [(i, stream.manifests) for i, stream in streams.items()]
    given = given_of(form, form.run.start, base, locate, problems)
    pools = tuple(pool_of(pool) for pool in form.nodes)
    known = None if {"nodes", "manifests"} & unsure else (pools, manifests)
    faults = _faults(form, known, base, locate, problems)
    problems += [
        Problem(locate(at), message, dotted(at), hint)
        for at, message, hint in findings(form, pools, manifests, arriving, unsure)
    ]
    if problems:
        raise ScenarioError(in_order(problems))
    return Scenario(
        metadata=form.metadata,
        run=form.run,
        kubernetes=form.kubernetes,
        scheduler=form.scheduler,
        nodes=pools,
        control_plane=form.control_plane,
        kubelet=form.kubelet,
        manifests=manifests,
        traffic=form.traffic,
        behaviour=tuple(entry.value(given) for entry in form.behaviour),
        arrivals=tuple(streams.values()),
        faults=faults,
        maintenance=form.maintenance,
        expect=form.expect,
        source=data,
        path=path,
        base=base,
        unmodelled=notices(form, pools, manifests, [made for _, made in arriving], configuration),
        configuration=configuration,
        allow_plugins=allow_plugins,
    )


def _validated(
    data: dict[str, Any], locate: Locate, problems: list[Problem]
) -> tuple[ScenarioForm, set[str]]:
    """The form of what is sound in `data`, and the names of the sections that have problems."""
    try:
        return ScenarioForm.model_validate(data), set()
    except ValidationError as error:
        errors = error.errors(include_url=False)
    known = {problem.position for problem in problems if problem.position.line}
    found = problems_of(errors, scenario_schema(), locate)
    problems += [problem for problem in found if problem.position not in known]
    unsure = {str(step) for details in errors for step in path_of(details)[:1]}
    return _sound(data, [path_of(details) for details in errors], unsure), unsure


# Stands in for required sections that have problems, so that the others can still be checked.
_REQUIRED: dict[str, Any] = {
    "apiVersion": "sim/v1",
    "kind": "Scenario",
    "metadata": {"name": "unnamed"},
    "run": {"duration": "1h"},
}


def _sound(data: dict[str, Any], wrong: list[paths.Path], unsure: set[str]) -> ScenarioForm:
    """The form without the fields that are wrong or, where they are needed, without the sections.

    So one pass can also look for what the rest names and nothing has.
    """
    pruned = copy.deepcopy(data)
    for path in wrong:
        paths.remove_at(pruned, path)
    sections = {name: value for name, value in data.items() if str(name) not in unsure}
    try:
        return ScenarioForm.model_validate(_REQUIRED | pruned)
    except ValidationError:
        return ScenarioForm.model_validate(_REQUIRED | sections)


def _manifests(
    form: ScenarioForm, base: Path, locate: Locate, problems: list[Problem], unsure: set[str]
) -> Manifests:
    """What the manifests hold, as far as they can be read."""
    files = [
        base / name
        for i, name in enumerate(form.manifests)
        if _exists(base / name, ("manifests", i), locate, problems)
    ]
    manifests, wrong = read_manifests(files)
    problems += wrong
    if wrong or len(files) < len(form.manifests):
        unsure.add("manifests")
    return manifests


def _exists(file: Path, at: paths.Path, locate: Locate, problems: list[Problem]) -> bool:
    try:
        exists = file.exists()
    except (OSError, ValueError):  # a name that no file can have
        exists = False
    if not exists:
        near = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        message = f"no file or directory {str(file)!r}."
        problems.append(Problem(locate(at), message, dotted(at), did_you_mean(file.name, near)))
    return exists


def _arrivals(
    form: ScenarioForm,
    manifests: Manifests,
    base: Path,
    locate: Locate,
    problems: list[Problem],
) -> dict[int, Arrival]:
    """The streams whose templates can be read, by their places."""
    found = {}
    for i, stream in enumerate(form.arrivals):
        at: paths.Path = ("arrivals", i, "template")
        if not _exists(base / stream.template, at, locate, problems):
            continue
        try:
            found[i] = _arrival(stream, _template(base / stream.template, manifests))
        except ScenarioError as error:
            problems += error.problems
    return found


def _faults(
    form: ScenarioForm,
    known: tuple[tuple[Pool, ...], Manifests] | None,
    base: Path,
    locate: Locate,
    problems: list[Problem],
) -> tuple[Fault, ...]:
    """The faults as written and, after them, those that the files they name hold.

    `known` None: what the files name cannot be judged, so they are only looked for.
    """
    found = [fault for fault in form.faults if fault.trace is None]
    for i, fault in enumerate(form.faults):
        file = base / (fault.trace or "")
        there = fault.trace and _exists(file, ("faults", i, "trace"), locate, problems)
        if there and known is not None:
            found += faults_of(fault, file, form.run.start_ms, known, problems)
    return tuple(found)


def _arrival(form: ArrivalForm, made: Manifests) -> Arrival:
    return Arrival(
        name=form.name,
        every=form.every,
        runtime=form.runtime,
        manifests=made,
        start_ms=form.start_ms,
        until_ms=form.until_ms,
        count=form.count,
    )


def _template(file: Path, manifests: Manifests) -> Manifests:
    """The Pod or Job that a file holds; its pods may name the manifests' priority classes."""
    made = Manifests()
    for document in load_documents(file, dialect="manifest"):
        classes = manifests.priority_classes
        parsed = parse_object(document.data, document=document, classes=classes)
        if parsed is not None:
            made.add(parsed)
    if len(made.pods) + len(made.jobs) != 1:
        message = "expected one Pod or one Job, the template of a stream of arrivals."
        raise ScenarioError([Problem(Position(str(file)), message)])
    return made
