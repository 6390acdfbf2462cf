"""What a run gives: tables, headline numbers, verdicts, a report, figures; saved and loaded.

Columns and summary names are listed once, in `sim.schema`. On disk a result is one directory:
`manifest.json`, one Parquet file per table and a few figures.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sim import expectations as _expectations
from sim import metrics, plots, report
from sim.errors import SimError, did_you_mean
from sim.expectations import Verdict
from sim.report.values import as_json
from sim.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd

    from sim.explain import Explanation
    from sim.replay import Run
    from sim.scenario import Expectation

FORMAT = "sim-run/1"
MANIFEST = "manifest.json"
DTYPES = {"int": "int64", "float": "float64", "bool": "bool", "str": "str"}


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Where a result comes from: what was run, with which seed and versions, on which premises.

    `unmodelled` counts what the inputs use and the simulation leaves out; `notes` are modelling
    choices in force. `wall_s` is how long it took: never saved, hashed or compared.
    """

    name: str
    seed: int
    duration_s: float
    start: str  # RFC 3339
    kubernetes: str
    event_hash: str
    warm_up_s: float = 0.0
    question: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    unmodelled: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # what is odd about the input, with its place
    engine_events: int = 0
    wall_s: float = field(default=0.0, compare=False)


class _Summary(dict[str, float]):
    """A dictionary whose KeyError names the nearest key."""

    def __missing__(self, name: str) -> float:
        hint = did_you_mean(str(name), self) or "`python -m sim list summary` prints the names."
        raise KeyError(f"no summary number {name!r}. {hint}")


class Result:
    """The outcome of one run.

    Tables are DataFrames: `pods`, `nodes`, `workloads`, `services`, `events`, `timeline` and
    `decisions`. `scenario` is the effective scenario, `info` says where the result comes from,
    `verdicts` whether the scenario's expectations hold.
    """

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame],
        scenario: Mapping[str, Any],
        info: RunInfo,
        expectations: Iterable[Expectation] = (),
    ) -> None:
        self.tables = dict(tables)
        self.scenario = dict(scenario)
        self.info = info
        self.again: Callable[[], Run] | None = None  # builds the simulation anew
        self.verdicts = _expectations.check(expectations, self.tables, info)

    @property
    def pods(self) -> pd.DataFrame:
        """One row per pod that ever existed."""
        return self.tables["pods"]

    @property
    def nodes(self) -> pd.DataFrame:
        """One row per node that ever existed."""
        return self.tables["nodes"]

    @property
    def workloads(self) -> pd.DataFrame:
        """One row per Deployment, stand-alone ReplicaSet and arrival stream."""
        return self.tables["workloads"]

    @property
    def services(self) -> pd.DataFrame:
        """One row per Service that gets traffic."""
        return self.tables["services"]

    @property
    def events(self) -> pd.DataFrame:
        """What happened, in order."""
        return self.tables["events"]

    @property
    def timeline(self) -> pd.DataFrame:
        """Sampled values: time, scope, name, metric, value."""
        return self.tables["timeline"]

    @property
    def decisions(self) -> pd.DataFrame:
        """Scheduling attempts; empty unless the scenario asks for them."""
        return self.tables["decisions"]

    @cached_property
    def summary(self) -> dict[str, float]:
        """Headline numbers by name (`sim.schema.SUMMARY`); shares are fractions of one."""
        return _Summary(metrics.summary(self.tables, self.info))

    def lookup(self, name: str, **labels: str) -> float:
        """One summary number for what the labels select: `lookup("requested.cpu", zone="a")`."""
        return metrics.lookup(self.tables, self.info, name, labels)

    def check(self, expectations: Iterable[Expectation]) -> list[Verdict]:
        """Whether further expectations hold, one verdict for each."""
        return list(_expectations.check(expectations, self.tables, self.info))

    @property
    def passed(self) -> bool:
        """Whether all of the scenario's own expectations hold."""
        return all(verdict.passed for verdict in self.verdicts)

    def story(self, pod: str) -> pd.DataFrame:
        """The events of one pod, in order; `pod` is 'web-17' or 'shop/web-17'."""
        namespace, _, name = pod.rpartition("/")
        rows = self.pods[self.pods["pod"] == name]
        if namespace:
            rows = rows[rows["namespace"] == namespace]
        found = [f"{n}/{p}" for n, p in zip(rows["namespace"], rows["pod"], strict=True)]
        if not found:
            known = self.pods["pod"].tolist()
            hint = did_you_mean(name, known) or f"There are {report.some(known) or 'no pods'}."
            raise SimError(f"no pod {pod!r} in this run. {hint}")
        if len(set(found)) > 1:
            raise SimError(f"several pods are called {name!r}: {', '.join(found)}")
        mine = self.events["object"] == f"Pod/{found[0]}"
        return self.events[mine].reset_index(drop=True)

    def explain(self, pod: str, at: str | None = None) -> Explanation:
        """Why a pod is on its node, or on none: the decision at a moment ('30m'), or the last one.

        `pod` is 'web-17', 'shop/web-17' or the one pod of a workload. The scenario is run again up
        to that decision. SimError for a result that was read from a directory.
        """
        from sim.replay import explain

        if self.again is None:
            raise SimError(
                "only a result that sim.run gave can be explained, as that knows how to run again;"
                f" try `python -m sim explain SCENARIO --pod {pod} --seed {self.info.seed}`"
            )
        return explain(self.again, pod, at)

    @property
    def plot(self) -> plots.Plots:
        """Figures: `utilization(by="zone")`, `requests()`, `pods()`, `stranded()`."""
        return plots.Plots(self)

    def report(self, format: Literal["text", "md", "json"] = "text") -> str:
        """The report as plain text, Markdown or JSON."""
        return report.render(self, format)

    def _repr_html_(self) -> str:
        return report.html_summary(self)

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(self.tables[name]):,} {name}" for name in ("nodes", "pods"))
        return f"<Result {self.info.name!r}, seed {self.info.seed}: {rows}>"

    def save(self, directory: str | os.PathLike[str], figures: bool = True) -> Path:
        """Write the run directory and return its path.

        All or nothing: it is written beside its place and then renamed. An older run there is
        replaced; anything else there is left alone (SimError). Equal results give equal bytes.
        """
        target = Path(directory).resolve()
        check_run_directory(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write(self, fresh, figures)
            fresh.chmod(0o777 & ~_umask())
            _swap(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return target

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Result:
        """The result that `save` wrote into `directory`."""
        path = Path(directory)
        manifest = _read_manifest(path)
        info = dict(manifest["info"])
        info |= {name: tuple(info.get(name, ())) for name in ("notes", "warnings")}
        result = cls(_read_tables(path), manifest["scenario"], RunInfo(**info))
        result.verdicts = tuple(
            Verdict(**(row | {"value": math.nan if row["value"] is None else row["value"]}))
            for row in manifest["expectations"]
        )
        return result


def frames_from_columns(
    columns: Mapping[str, Mapping[str, Sequence[Any]]],
) -> dict[str, pd.DataFrame]:
    """DataFrames with the columns, order and types of `sim.schema`, one per table.

    A table left out comes out empty. Raises SimError when a column is missing, unknown or of
    another length than its neighbours.
    """
    unknown = set(columns) - set(TABLES)
    if unknown:
        raise SimError(f"no such tables: {', '.join(sorted(unknown))}")
    return {name: _frame(name, columns.get(name)) for name in TABLES}


def _frame(name: str, columns: Mapping[str, Sequence[Any]] | None) -> pd.DataFrame:
    import pandas as pd

    table = TABLES[name]
    given = columns if columns is not None else {column: [] for column in table.names}
    missing, unknown = set(table.names) - set(given), set(given) - set(table.names)
    if missing or unknown:
        raise SimError(
            f"table {name}: missing columns {sorted(missing)}, unknown {sorted(unknown)}"
        )
    lengths = {column: len(values) for column, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise SimError(f"table {name}: columns differ in length: {lengths}")
    series = {c.name: pd.Series(given[c.name], dtype=DTYPES[c.kind]) for c in table.columns}
    return pd.DataFrame(series)


def _manifest(result: Result) -> dict[str, Any]:
    kept = [f.name for f in fields(RunInfo) if f.name != "wall_s"]
    return {
        "format": FORMAT,
        "info": {name: getattr(result.info, name) for name in kept},
        "summary": result.summary,
        "expectations": [asdict(verdict) for verdict in result.verdicts],
        "rows": {name: len(frame) for name, frame in result.tables.items()},
        "scenario": result.scenario,
    }


def _write(result: Result, directory: Path, figures: bool) -> None:
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:  # one thread keeps the bytes equal
        for name, frame in result.tables.items():
            connection.register("frame", frame)
            path = _quoted(directory / f"{name}.parquet")
            connection.execute(f"COPY frame TO {path} (FORMAT parquet, COMPRESSION zstd)")
            connection.unregister("frame")
    if figures:
        plots.save_figures(result, directory)
    (directory / MANIFEST).write_text(as_json(_manifest(result)) + "\n", encoding="utf-8")


def _read_tables(directory: Path) -> dict[str, pd.DataFrame]:
    import duckdb

    columns: dict[str, dict[str, Any]] = {}
    with duckdb.connect() as connection:
        for name in TABLES:
            path = directory / f"{name}.parquet"
            if not path.is_file():
                raise SimError(f"{path}: missing; the run directory is not complete")
            frame = connection.execute(f"SELECT * FROM read_parquet({_quoted(path)})").df()
            columns[name] = {str(column): frame[column] for column in frame.columns}
    return frames_from_columns(columns)


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SimError(f"{directory}: not a run directory (it has no {MANIFEST})") from None
    except (OSError, ValueError) as error:
        raise SimError(f"{path}: cannot be read: {error}") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise SimError(f"{path}: got format {found!r}; expected {FORMAT!r}")
    return dict(manifest)


def check_run_directory(target: Path) -> None:
    """Only nothing, an empty directory, or a directory with a run and no other files may go."""
    if not target.exists():
        return
    if not target.is_dir():
        raise SimError(f"{target}: is a file; a result is saved as a directory")
    present = {path.name for path in target.iterdir()}
    if present:
        _read_manifest(target)
    ours = {
        MANIFEST,
        *(f"{name}.parquet" for name in TABLES),
        *(f"{name}.png" for name in plots.FIGURES),
    }
    if present - ours:
        others = ", ".join(sorted(present - ours)[:3])
        raise SimError(f"{target}: holds {others}, which no run wrote; choose another directory")


def _swap(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`; if that fails, the old one is back in its place."""
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_name(fresh.name + ".old")
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:  # also Ctrl-C
        old.rename(target)
        raise
    shutil.rmtree(old)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
