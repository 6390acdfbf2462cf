"""The command line: `python -m sim run|explain|compare|what-if|validate|schema|list`.

Exit codes: 0 all well, 1 an expectation of the scenario does not hold, 2 the input is wrong, 130
stopped by Ctrl-C.
Nothing heavy is imported before it is known to be needed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from sim import __version__
from sim.errors import ScenarioError, SimError

if TYPE_CHECKING:
    from sim.engine import Progress
    from sim.errors import Problem
    from sim.result import Result
    from sim.scenario import Scenario

EXPECTATION_FAILED = 1
WRONG_INPUT = 2
INTERRUPTED = 130  # what shells give for SIGINT
_Option = Callable[[Callable[..., Any]], Callable[..., Any]]  # a decorator of a command


class _Seed(click.IntRange):
    """0 or more; `name` is what the message calls it."""

    name = "whole number"


# Options that several commands share, each with its own words where they differ.


def _seed_option(words: str = "Seed, instead of the scenario's.") -> _Option:
    return click.option("--seed", type=_Seed(min=0), metavar="INTEGER", help=words)


def _set_option(
    words: str = "Another value for one field, such as nodes[0].count=12. Can be repeated.",
) -> _Option:
    return click.option("--set", "changes", metavar="PATH=VALUE", multiple=True, help=words)


def _format_option(words: str = "Form of the report.") -> _Option:
    forms = click.Choice(["text", "md", "json"])
    return click.option(
        "--format", "form", type=forms, default="text", show_default=True, help=words
    )


def _plugins_option(
    words: str = "Load the scheduler plugins (Python files) that the scenario names."
    " This runs their code.",
) -> _Option:
    return click.option("--allow-plugins", is_flag=True, help=words)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sim (strandline)")
def main() -> None:
    """What would this Kubernetes cluster do? A simulator that answers from your manifests.

    \b
    python -m sim run scenarios/zone-failure.yaml
    python -m sim validate my-manifests/
    """


@main.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@_seed_option()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to write tables (Parquet), manifest.json and figures (PNG) to.",
)
@_set_option()
@_format_option()
@click.option("--strict", is_flag=True, help="Refuse input that is not modelled.")
@_plugins_option()
@click.option("--quiet", is_flag=True, help="Print no report; failed expectations still show.")
def run(
    scenario: Path,
    seed: int | None,
    out: Path | None,
    changes: tuple[str, ...],
    form: Literal["text", "md", "json"],
    strict: bool,
    allow_plugins: bool,
    quiet: bool,
) -> None:
    """Run a scenario and report what happened."""
    with _clear_errors():
        loaded = _load(scenario, changes, allow_plugins)
        if strict:
            _refuse_unmodelled(loaded)
        for problem in loaded.manifests.warnings:
            click.echo(f"warning: {problem}", err=True)
        _check_out(out)
        result = _simulate(loaded, seed, show=not quiet)
        if out is not None:
            with _named_out():
                result.save(out)
        if not quiet:
            _print_report(result, form)
        failed = [verdict for verdict in result.verdicts if not verdict.passed]
        if failed:
            for verdict in failed if quiet or form == "json" else []:
                click.echo(f"expected {verdict.text}, got {verdict.value:.6g}", err=True)
            sys.exit(EXPECTATION_FAILED)


@main.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--pod",
    required=True,
    metavar="NAME",
    help="name or namespace/name; the beginning of a name, or a workload, that means one pod.",
)
@click.option(
    "--at", metavar="DURATION", help="The decision in force then, such as 30m. Default: the last."
)
@_seed_option()
@_set_option()
@_format_option("Form of the explanation; json has every node.")
@click.option(
    "--all",
    "all_nodes",
    is_flag=True,
    help="A line for each node, also where more than 20 are alike.",
)
@_plugins_option()
def explain(
    scenario: Path,
    pod: str,
    at: str | None,
    seed: int | None,
    changes: tuple[str, ...],
    form: Literal["text", "md", "json"],
    all_nodes: bool,
    allow_plugins: bool,
) -> None:
    """Say why a pod went to its node, or what keeps it from every node.

    The scenario is run again up to the decision. With --at: a pod that waits at that moment is
    looked at afresh, without any effect on the run.
    """
    with _clear_errors():
        loaded = _load(scenario, changes, allow_plugins)
        from functools import partial

        from sim.engine import Simulation
        from sim.replay import explain as explained

        explanation = explained(partial(Simulation, loaded, seed=seed), pod, at)
        click.echo(explanation.report(form, all_nodes=all_nodes), nl=False)


@main.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--config",
    "configs",
    metavar="FILE",
    multiple=True,
    help="A KubeSchedulerConfiguration to run the scenario under, or `default` for kube-scheduler's"
    " own. With one only, the scenario as it is comes first.",
)
@click.option(
    "--against",
    "others",
    type=click.Path(path_type=Path),
    metavar="SCENARIO",
    multiple=True,
    help="Another scenario to compare this one with.",
)
@click.option(
    "--replications",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Runs of each, with N seeds: gives mean differences with 95 % intervals.",
)
@_seed_option("First seed, instead of the scenario's.")
@_set_option("Another value for one field in all of them. Can be repeated.")
@_format_option("Form of the table; json lists every pod that is placed differently.")
@_plugins_option(
    "Load the scheduler plugins (Python files) that the scenarios name. This runs their code."
)
def compare(
    scenario: Path,
    configs: tuple[str, ...],
    others: tuple[Path, ...],
    replications: int,
    seed: int | None,
    changes: tuple[str, ...],
    form: Literal["text", "md", "json"],
    allow_plugins: bool,
) -> None:
    """Run a scenario under several scheduler configurations and put them side by side.

    \b
    python -m sim compare scenario.yaml --config pack.yaml
    python -m sim compare scenario.yaml --config default --config pack.yaml --replications 10
    """
    with _clear_errors():
        named = _variants(scenario, configs, others, changes, allow_plugins)
        from sim.comparison import compare as compared

        with _counted_runs(sys.stderr.isatty()) as progress:
            comparison = compared(named, seed=seed, replications=replications, progress=progress)
        click.echo(comparison.report(form), nl=False)


@main.command(name="what-if")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--lose",
    type=click.Choice(["node", "zone", "2-nodes"]),
    default="node",
    show_default=True,
    help="What is lost in each run: one node, one zone, or two nodes at once.",
)
@click.option(
    "--at",
    metavar="DURATION",
    help="When, such as 30m. Default: in the middle of the run after the warm-up.",
)
@click.option(
    "--down",
    metavar="DURATION",
    default="forever",
    show_default=True,
    help="For how long, such as 20m.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run in N processes; the outcome is the same. Default: in this one.",
)
@click.option(
    "--search",
    is_flag=True,
    help="Look for the fewest nodes (zones) that break an expectation when lost together.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    metavar="N",
    help="Runs at most; what is left out is said.",
)
@_seed_option()
@_set_option()
@_format_option("Form of the report; json has every case in full.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to write what-if.json, what-if.txt and cases.parquet to.",
)
@_plugins_option()
def what_if(
    scenario: Path,
    lose: Literal["node", "zone", "2-nodes"],
    at: str | None,
    down: str,
    jobs: int | None,
    search: bool,
    most: int,
    seed: int | None,
    changes: tuple[str, ...],
    form: Literal["text", "md", "json"],
    out: Path | None,
    allow_plugins: bool,
) -> None:
    """Lose each node (zone, pair of nodes) in a run of its own: which loss hurts most?

    Exit code 1 when a loss breaks an expectation that holds without it, or could not be run.

    \b
    python -m sim what-if scenario.yaml --lose zone --at 30m --down 20m -j 4
    python -m sim what-if scenario.yaml --search
    """
    with _clear_errors():
        loaded = _load(scenario, changes, allow_plugins)
        from sim.whatif import check_directory
        from sim.whatif import what_if as asked

        if out is not None:
            with _named_out():
                check_directory(out.resolve())
                _check_place(out.resolve())
        with _counted_runs(sys.stderr.isatty()) as progress:
            found = asked(
                loaded,
                lose,
                at=at,
                down=down,
                jobs=jobs,
                search=search,
                most=most,
                seed=seed,
                progress=progress,
            )
        if out is not None:
            with _named_out():
                found.save(out)
        click.echo(found.report(form), nl=False)
        if found.breaks:
            sys.exit(EXPECTATION_FAILED)


@main.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--strict", is_flag=True, help="Refuse input that is not modelled.")
@_plugins_option()
def validate(paths: tuple[Path, ...], form: str, strict: bool, allow_plugins: bool) -> None:
    """Check scenarios, manifest files and directories without running anything."""
    from sim.validate import validate_paths

    with _clear_errors():
        reports = validate_paths(paths, strict=strict, allow_plugins=allow_plugins)
        if form == "json":
            click.echo(json.dumps([report.as_dict() for report in reports], indent=2))
        else:
            for report in reports:
                click.echo(report.as_text())
        if any(report.problems for report in reports):
            sys.exit(WRONG_INPUT)


@main.command()
def schema() -> None:
    """Print the JSON Schema of scenarios, for editors."""
    from sim.scenario import scenario_schema

    click.echo(json.dumps(scenario_schema(), indent=2))


@main.command(name="list")
@click.argument(
    "kind",
    type=click.Choice(["filters", "scores", "controllers", "summary", "tables", "instances"]),
)
def list_(kind: str) -> None:
    """Print what there is of a kind: plugins, summary names, tables, instance types."""
    for line in _listing(kind):
        click.echo(line)


def _listing(kind: str) -> list[str]:
    if kind == "summary":
        from sim.schema import SUMMARY

        return [f"{row.name:<22} {row.unit:<6} {row.meaning}" for row in SUMMARY.values()]
    if kind == "tables":
        from sim.schema import TABLES

        return [f"{t.name:<10} {t.meaning}: {', '.join(t.names)}" for t in TABLES.values()]
    if kind == "instances":
        from sim import instances

        return list(instances.names())
    from sim import catalog

    if kind == "controllers":
        return [name for name, _ in catalog.CONTROLLERS]
    if kind == "filters":
        return list(catalog.FILTERS)
    return [f"{name} (weight {weight})" for name, (_, weight) in catalog.SCORES.items()]


# Parts of `run`


def _load(path: Path, changes: tuple[str, ...], allow_plugins: bool) -> Scenario:
    from sim.scenario import load

    overrides: dict[str, str] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{change!r} is not PATH=VALUE", param_hint="--set")
        overrides[name] = value
    return load(path, overrides=overrides, allow_plugins=allow_plugins)


def _variants(
    path: Path,
    configs: tuple[str, ...],
    others: tuple[Path, ...],
    changes: tuple[str, ...],
    allow_plugins: bool,
) -> dict[str, Scenario]:
    """The scenarios to compare, by the names of their files."""
    if not configs and not others:
        raise SimError("nothing to compare with; expected --config FILE or --against SCENARIO")
    wanted = [(path, changes)] if others or len(configs) == 1 else []
    wanted += [(path, _configured(config, changes)) for config in configs]
    wanted += [(other, changes) for other in others]
    stems = [path.stem] if others or len(configs) == 1 else []
    stems += [place.stem for place in (*map(Path, configs), *others)]
    names = [
        stem if stems.count(stem) == 1 else f"{number}:{stem}"
        for number, stem in enumerate(stems, 1)
    ]
    return dict(zip(names, _all_loaded(wanted, allow_plugins), strict=True))


def _all_loaded(wanted: list[tuple[Path, tuple[str, ...]]], allow_plugins: bool) -> list[Scenario]:
    """Every scenario with its changes; ScenarioError with the problems of all."""
    found: list[Scenario] = []
    problems: list[Problem] = []
    for path, changes in wanted:
        try:
            found.append(_load(path, changes, allow_plugins))
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(list(dict.fromkeys(problems)))
    return found


def _configured(config: str, changes: tuple[str, ...]) -> tuple[str, ...]:
    """The changes that put a scenario under another scheduler configuration."""
    if config != "default" and not Path(config).is_file():
        raise SimError(f"--config: there is no such file, {config!r}")
    file = "null" if config == "default" else json.dumps(str(Path(config).resolve()))
    return (*changes, f"scheduler.config={file}")


@contextmanager
def _counted_runs(shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar with the runs that are over, on a terminal only."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _refuse_unmodelled(scenario: Scenario) -> None:
    from sim.engine import unmodelled

    for problem in scenario.manifests.warnings:
        click.echo(str(problem), err=True)
    found = unmodelled(scenario)
    if found:
        lines = "\n".join(f"  {name} ({count})" for name, count in found.items())
        raise SimError(f"{scenario.name} uses what is not modelled:\n{lines}")
    if scenario.manifests.warnings:
        raise SimError(f"{scenario.name} holds what is odd; --strict refuses it.")


def _check_out(out: Path | None) -> None:
    """Say before the run, not after it, that its result cannot be written."""
    if out is None:
        return
    from sim.result import check_run_directory

    with _named_out():
        check_run_directory(out)
        _check_place(out.resolve())


@contextmanager
def _named_out() -> Iterator[None]:
    """Errors say which option they are about."""
    try:
        yield
    except (SimError, OSError) as error:
        raise SimError(f"--out: {error}") from None


def _check_place(out: Path) -> None:
    """Its nearest parent that exists is a directory that can be written to."""
    place = next(path for path in out.parents if path.exists())
    if not place.is_dir():
        raise SimError(f"{out}: {place} is a file; a directory was expected there")
    if not os.access(place, os.W_OK | os.X_OK):
        raise SimError(f"{out}: {place} cannot be written to")


def _simulate(scenario: Scenario, seed: int | None, *, show: bool) -> Result:
    from sim.engine import Simulation
    from sim.units import format_duration_ms

    simulation = Simulation(scenario, seed=seed)
    try:
        with _progress(scenario.name, show and sys.stderr.isatty()) as progress:
            return simulation.run(progress=progress)
    except KeyboardInterrupt:
        now, end = (format_duration_ms(ms) for ms in (simulation.clock.now_ms, simulation.end_ms))
        raise KeyboardInterrupt(
            f"Stopped at {now} of {end} of virtual time; nothing was written."
        ) from None


@contextmanager
def _progress(name: str, shown: bool) -> Iterator[Progress | None]:
    """A bar with virtual time, on a terminal only."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    from sim.units import format_duration_ms

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0)

        def update(now_ms: int, end_ms: int) -> None:
            passed = f"{name}: {format_duration_ms(now_ms)} of {format_duration_ms(end_ms)}"
            bar.update(task, completed=now_ms / end_ms, description=passed)

        yield update


def _print_report(result: Result, form: Literal["text", "md", "json"]) -> None:
    if form == "text" and sys.stdout.isatty():
        from sim.report import print_report

        print_report(result)
    else:
        click.echo(result.report(form))


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Errors of the user's making become lines, not tracebacks; exit code 2."""
    try:
        yield
    except ScenarioError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        click.echo(f"{count} problem{'s' if count != 1 else ''} found; nothing was run.", err=True)
        sys.exit(WRONG_INPUT)
    except KeyboardInterrupt as stopped:
        click.echo(str(stopped) or "Stopped.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader has gone; click knows what to do
        raise
    except (SimError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(WRONG_INPUT)
