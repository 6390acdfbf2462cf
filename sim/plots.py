"""Figures of a result: utilization, requests, pods and stranded resources.

Each returns matplotlib Axes to go on with. Times on the x axis are time of the run; spans in which
nodes were out of order are shaded. matplotlib is imported when a figure is asked for.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sim.errors import SimError
from sim.metrics import spans_of_outages

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sim.result import Result

FIGURES = ("utilization", "requests", "pods", "stranded")
MOST_BARS = 40  # nodes shown one by one
MOST_LINES = 10  # zones or services shown one by one: as many as there are colours

# Okabe and Ito's colours, which also colour-blind readers tell apart, and a few more.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9",
    "#D55E00", "#8C6D31", "#5D4A9C", "#999933", "#555555",
)  # fmt: skip
FAILED = "#C62828"
OUTAGE = "#C62828"
PHASES = {
    "ready": "#009E73",
    "not ready": "#F0E442",
    "starting": "#56B4E9",
    "unscheduled": "#E69F00",
    "terminating": "#999999",
}
TICKS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
# Dashes lie on a pale, broad line, so that both are seen where they are equal.
LINES: dict[str, dict[str, Any]] = {
    "used": {"ls": "-", "lw": 3.0, "alpha": 0.5},
    "requested": {"ls": "--", "lw": 1.4, "zorder": 3},
}
RESOURCES = {"cpu": ("cpu_m", "CPU"), "memory": ("memory_b", "memory")}


@dataclass(frozen=True)
class Plots:
    """The figures of one result; `ax` draws into Axes that are already there."""

    result: Result

    def utilization(
        self,
        by: Literal["zone", "cluster"] = "zone",
        resource: Literal["cpu", "memory", "both"] = "cpu",
        ax: Axes | None = None,
    ) -> Axes:
        """Used (solid) and requested (dashed) share of allocatable over time.

        With both resources memory comes below CPU, whose Axes are returned.
        """
        if str(by) == "pool":
            raise SimError(
                "by='pool': expected one of zone, cluster; pools have no samples over time, their"
                " averages come from result.lookup('utilization.cpu', pool='...')"
            )
        _check_choice("by", by, ("zone", "cluster"))
        _check_choice("resource", resource, (*RESOURCES, "both"))
        if resource == "both":
            return self._both(by, ax)
        unit, word = RESOURCES[resource]
        samples = self._samples(by)
        ax = ax or _axes()
        for name, colour in _coloured(samples):
            allocatable = _series(samples, name, unit)
            allocatable = allocatable.where(allocatable > 0)
            kinds = unit.rpartition("_")
            for kind, style in LINES.items():
                values = _series(samples, name, f"{kinds[0]}_{kind}_{kinds[2]}") / allocatable
                label = f"{by} {name}, {kind}" if name else kind
                ax.plot(values.index, values * 100, color=colour, label=label, **style)
        ax.set_ylim(0, None)
        title = f"{word[0].upper()}{word[1:]}"
        title += " by zone" if by == "zone" and samples["name"].nunique() > 1 else ""
        _finish(ax, self.result, title, "% of allocatable")
        return ax

    def _both(self, by: Literal["zone", "cluster"], ax: Axes | None) -> Axes:
        if ax is not None:
            raise SimError("resource='both' makes its own figure: leave out ax")
        upper = _axes(height=7.6)
        figure = upper.figure
        upper.set_subplotspec(figure.add_gridspec(2, 1)[0])
        lower = figure.add_subplot(212, sharex=upper)
        lower.spines[["top", "right"]].set_visible(False)
        self.utilization(by, "memory", ax=lower)
        return self.utilization(by, "cpu", ax=upper)

    def requests(self, by: Literal["service", "total"] = "service", ax: Axes | None = None) -> Axes:
        """Requests answered and failed per second over time."""
        _check_choice("by", by, ("service", "total"))
        samples = self._samples("service")
        if by == "total":
            samples = samples.groupby(["t_s", "metric"])["value"].sum().reset_index()
            samples["name"] = "all services"
        ax = ax or _axes()
        for name, colour in _coloured(samples):
            sent, failed = (_series(samples, name, f"{m}_rps") for m in ("sent", "failed"))
            ax.plot(sent.index, sent - failed, color=colour, label=f"{name}, answered", lw=1.8)
            if (failed > 0).any():
                ax.plot(failed.index, failed, "--", color=colour, lw=1.4, label=f"{name}, failed")
                ax.fill_between(failed.index, failed, color=FAILED, alpha=0.35, lw=0)
        ax.set_ylim(0, None)
        _finish(ax, self.result, "Requests", "requests per second")
        return ax

    def pods(self, ax: Axes | None = None) -> Axes:
        """Pods by state over time, stacked."""
        samples = self._samples("phase")
        samples = samples[samples["metric"] == "pods"]
        table = samples.pivot_table(index="t_s", columns="name", values="value", fill_value=0)
        seen = [str(phase) for phase in table if table[phase].any()]
        phases = sorted(seen, key=lambda phase: [*PHASES, phase].index(phase))
        ax = ax or _axes()
        if phases:
            colours = [PHASES.get(phase, COLOURS[-1]) for phase in phases]
            rows = [table[phase].to_numpy() for phase in phases]
            ax.stackplot(table.index, rows, labels=phases, colors=colours, alpha=0.85, step="post")
        ax.set_ylim(0, None)
        _finish(ax, self.result, "Pods by state", "pods")
        return ax

    def stranded(self, ax: Axes | None = None) -> Axes:
        """Stranded share of each node's CPU and memory at the end, the worst nodes first."""
        nodes = _worst(self.result.nodes)
        ax = ax or _axes(height=max(2.8, 1.6 + 0.3 * len(nodes)))
        rows = range(len(nodes))
        for shift, (column, word), colour in zip(
            (-0.2, 0.2), (("cpu", "CPU"), ("memory", "memory")), COLOURS, strict=False
        ):
            places = [row + shift for row in rows]
            ax.barh(places, nodes[column] * 100, height=0.38, color=colour, label=word)
        ax.set_yticks(list(rows), list(nodes["node"]))
        ax.invert_yaxis()
        ax.set_xlim(0, max(10.0, 110 * nodes[["cpu", "memory"]].to_numpy().max(initial=0)))
        ax.axvline(10, color="#555555", lw=1, ls=":", label="10 %: rule of thumb")
        total = len(self.result.nodes)
        shown = f", worst {len(nodes)} of {total} nodes" if total > len(nodes) else ""
        ax.set_title(
            f"Stranded at the end{shown}: {self.result.info.name}", loc="left", fontweight="bold"
        )
        ax.set_xlabel("% of the node's allocatable")
        ax.grid(axis="x", alpha=0.25)
        _legend(ax)
        return ax

    def _samples(self, scope: str) -> pd.DataFrame:
        timeline = self.result.timeline
        return timeline[timeline["scope"] == scope]


def save_figures(result: Result, directory: Path) -> list[Path]:
    """Write the figures that have something to show as PNG; equal results give equal bytes."""
    import matplotlib.pyplot as plt

    paths = []
    for name in FIGURES:
        if not _has(result, name):
            continue
        both = name == "utilization" and _memory_varies_more(result)
        axes: Any = (
            result.plot.utilization(resource="both") if both else getattr(result.plot, name)()
        )
        path = directory / f"{name}.png"
        axes.figure.savefig(path, dpi=120, metadata={"Software": None})
        plt.close(axes.figure)
        paths.append(path)
    return paths


def _memory_varies_more(result: Result) -> bool:
    """Whether the used share of memory of some zone moves further than any share of CPU."""
    samples = result.timeline[result.timeline["scope"] == "zone"]
    spread = {"cpu": 0.0, "memory": 0.0}
    for name in samples["name"].unique():
        for resource, used in (("cpu", "cpu_used_m"), ("memory", "memory_used_b")):
            whole = _series(samples, name, RESOURCES[resource][0])
            share = _series(samples, name, used) / whole.where(whole > 0)
            spread[resource] = max(spread[resource], float(share.fillna(0).pipe(_range)))
    return spread["memory"] > spread["cpu"]


def _range(values: pd.Series[float]) -> float:
    return float(values.max() - values.min()) if len(values) else 0.0


def _has(result: Result, name: str) -> bool:
    if name == "stranded":
        return bool(len(result.nodes))
    scope = {"utilization": "zone", "requests": "service", "pods": "phase"}[name]
    return bool((result.timeline["scope"] == scope).any())


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SimError(f"{what}={value!r}: expected one of {', '.join(choices)}")


def _axes(height: float = 4.2) -> Axes:
    import matplotlib

    if "matplotlib.pyplot" not in sys.modules and not _display():
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(9, height), layout="constrained")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _display() -> bool:
    """Whether figures can be shown; notebooks name their own backend in MPLBACKEND."""
    named = os.environ.get("MPLBACKEND")
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(named or screen or sys.platform in ("darwin", "win32"))


def _coloured(samples: pd.DataFrame) -> list[tuple[str, str]]:
    """The names to draw, each with its colour; the busiest when there are too many."""
    sizes = samples.groupby("name")["value"].max().sort_values(ascending=False, kind="stable")
    names = sorted(str(name) for name in sizes.index[:MOST_LINES])
    return list(zip(names, COLOURS, strict=False))


def _series(samples: pd.DataFrame, name: str, metric: str) -> pd.Series[float]:
    rows = samples[(samples["name"] == name) & (samples["metric"] == metric)]
    return rows.set_index("t_s")["value"]


def _worst(nodes: pd.DataFrame) -> pd.DataFrame:
    shares = nodes[["node"]].assign(
        cpu=nodes["stranded_cpu_m"] / nodes["cpu_m"].where(nodes["cpu_m"] > 0),
        memory=nodes["stranded_memory_b"] / nodes["memory_b"].where(nodes["memory_b"] > 0),
    )
    order = shares[["cpu", "memory"]].max(axis=1).sort_values(ascending=False, kind="stable")
    return shares.loc[order.index].head(MOST_BARS).fillna(0.0)


def _finish(ax: Axes, result: Result, title: str, unit: str) -> None:
    """Title, units, time axis, outages and legend of a figure over time."""
    end_s = result.info.duration_s
    label = "nodes out of order"
    for begin, end in spans_of_outages(result.events, end_s):
        ax.axvspan(begin, end, color=OUTAGE, alpha=0.08, lw=0, label=label, zorder=0)
        label = "_nolegend_"
    if result.info.warm_up_s > 0:
        ax.axvline(result.info.warm_up_s, color="#555555", lw=1, ls=":", label="end of warm-up")
    ax.set_title(f"{title}: {result.info.name}", loc="left", fontweight="bold")
    ax.set_ylabel(unit)
    ax.set_xlim(0, end_s)
    _time_axis(ax, end_s)
    ax.grid(alpha=0.25)
    _legend(ax)


def _time_axis(ax: Axes, end_s: float) -> None:
    """Ticks at round times, in the unit that suits the length of the run."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

    size, word = next(
        (size, word)
        for size, word, least in (
            (86400, "days", 3),
            (3600, "hours", 3),
            (60, "minutes", 3),
            (1, "seconds", 0),
        )
        if end_s >= least * size
    )
    steps = MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(0, end_s / size)
    ax.xaxis.set_major_locator(MultipleLocator(float(steps[1] - steps[0]) * size))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / size:g}"))
    ax.set_xlabel(f"{word} since the start")


def _legend(ax: Axes) -> None:
    handles: list[Any]
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9
        )
