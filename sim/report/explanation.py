"""An explanation of one decision as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sim.errors import SimError, did_you_mean
from sim.report import text
from sim.report.values import Column, Grid, Section, as_json, many, some
from sim.units import format_duration_ms

if TYPE_CHECKING:
    from sim.explain import Choice, Explanation, NodeAnswer, Scored, Turn

MOST_NODES = 20
MOST_TURNS = 3  # attempts before the one in question
FORMATS = ("text", "md", "json")


def render(explanation: Explanation, format: str = "text", *, all_nodes: bool = False) -> str:
    """The explanation as a string; `format` is 'text', 'md' or 'json'."""
    if format == "json":
        return as_json(explanation.as_dict()) + "\n"
    if format not in FORMATS:
        raise SimError(
            f"no format {format!r}; expected one of {', '.join(FORMATS)}."
            f" {did_you_mean(format, FORMATS)}".rstrip()
        )
    write = text.markdown if format == "md" else text.plain
    most = len(explanation.nodes) if all_nodes else MOST_NODES
    return write(sections(explanation, most))


def sections(explanation: Explanation, most: int = MOST_NODES) -> list[Section]:
    """What was decided, the nodes that take the pod, those that refuse it."""
    parts = [
        Section(_title(explanation), tuple(_decided(explanation))),
        _taking(explanation, most),
        _refusing(explanation, most),
    ]
    return [section for section in parts if section.parts]


# What was decided


def _title(explanation: Explanation) -> str:
    if not explanation.node:
        return f"Why no node takes {explanation.pod}"
    does = "would go to" if explanation.asked_afresh else "went to"
    return f"Why {explanation.pod} {does} {explanation.node}"


def _decided(explanation: Explanation) -> Iterator[str]:
    yield _when(explanation)
    if explanation.before:
        yield _before(explanation)
    if explanation.gates:
        gates = ", ".join(explanation.gates)
        yield f"It is not tried while it is gated by {gates}; this is what would come of it then."
    yield _searched(explanation)
    if explanation.choice is not None:
        yield from _chosen(explanation, explanation.choice)
    yield from (f"Volumes: {text}." for text in explanation.volumes)
    if explanation.message:
        yield f"The scheduler says: {explanation.message}"
    if explanation.eviction is not None:
        yield _evicted(explanation)
    closest = explanation.closest
    if closest is not None and not explanation.node:
        yield f"Closest is {closest.node}: {closest.change}."


def _when(explanation: Explanation) -> str:
    at = format_duration_ms(explanation.at_ms)
    created = f"created at {format_duration_ms(explanation.created_ms)}"
    profile = f"profile {explanation.profile}"
    if explanation.asked_afresh:
        tried = _times(explanation.attempts)
        return f"Asked afresh at {at}, as the pod waits: {tried} so far ({created}, {profile})."
    return f"Attempt {explanation.attempts} at {at} ({created}, {profile})."


def _before(explanation: Explanation) -> str:
    """The last few attempts, and every one that evicted pods."""
    turns = explanation.before
    told = [t for t in turns[:-MOST_TURNS] if t.evicted] + list(turns[-MOST_TURNS:])
    rest = len(turns) - len(told)
    first = f"{many(rest, 'attempt')} without a node; " if rest else ""
    return f"Before: {first}{'; '.join(map(_turn, told))}."


def _turn(turn: Turn) -> str:
    at = format_duration_ms(turn.at_ms)
    if turn.placed:
        return f"at {at} it got a node, and lost it before it was bound"
    if turn.evicted:
        return f"at {at} no node, but {', '.join(turn.evicted)} evicted from {turn.evicted_from}"
    return f"at {at} no node"


def _times(count: int) -> str:
    words = {0: "not tried", 1: "tried once", 2: "tried twice"}
    return words.get(count, f"tried {count} times")


def _searched(explanation: Explanation) -> str:
    looked, takes = explanation.looked, _takes(len(explanation.feasible))
    left_out = sum(node.verdict == "left out" for node in explanation.nodes)
    if not looked.nodes:
        return "There is no node at all."
    if looked.alone:
        return "It is nominated to this node, which takes it; no other node was asked."
    if not looked.examined:
        if left_out == looked.nodes:
            return f"{_all(left_out)} left out before any filter."
        return "The pod is refused as a whole, before any node is looked at."
    if looked.examined + left_out < looked.nodes:
        return (
            f"{looked.examined:,} of {looked.nodes:,} nodes were looked at, from place"
            f" {looked.start:,} of the node order on, as {looked.wanted:,} that take the pod are"
            f" enough (percentageOfNodesToScore); {takes}."
        )
    if left_out:
        those = f"{left_out:,} of {many(looked.nodes, 'node')} left out before any filter"
        return f"{those}, {many(looked.examined, 'was', 'were')} looked at; {takes}."
    return f"{_all(looked.nodes)} looked at; {takes}."


def _all(count: int) -> str:
    return "The only node was" if count == 1 else f"All {count:,} nodes were"


def _takes(count: int) -> str:
    return {0: "none takes it", 1: "one takes it"}.get(count, f"{count:,} take it")


def _chosen(explanation: Explanation, choice: Choice) -> Iterator[str]:
    if len(explanation.feasible) == 1:
        return
    yield f"{explanation.node} has the highest score, {choice.score}."
    if choice.tied:
        yield (
            f"{len(choice.tied) + 1:,} nodes have this score; {_tie(explanation, choice)}."
            f" The others: {some(choice.tied, MOST_NODES)}."
        )
    if choice.runner_up:
        lead = ", ".join(f"{plugin} {points:+d}" for plugin, points in choice.lead)
        yield f"What it has over the next, {choice.runner_up}: {lead}."


def _tie(explanation: Explanation, choice: Choice) -> str:
    if choice.tie_break == "first":
        return "this one is looked at first"
    if explanation.asked_afresh:
        return "the scheduler would pick one of them at random"
    return "this one was picked at random"


def _evicted(explanation: Explanation) -> str:
    eviction = explanation.eviction
    assert eviction is not None
    frees = "would free" if explanation.asked_afresh else "frees"
    victims = ", ".join(f"{pod} (priority {priority})" for pod, priority in eviction.victims)
    return (
        f"Preemption {frees} {eviction.node}, one of {many(eviction.candidates, 'candidate')}:"
        f" {eviction.because}. Its victims: {victims}."
    )


# Nodes that take the pod


def _taking(explanation: Explanation, most: int) -> Section:
    feasible = explanation.feasible
    if not feasible:
        return Section("", ())
    parts: list[str | Grid] = []
    places = range(len(feasible[0].scores))
    alike = [p for p in places if len({node.scores[p].weighted for node in feasible}) == 1]
    if alike:
        said = ", ".join(_alike(feasible[0].scores[p]) for p in alike)
        parts.append(f"Each gets the same from {said}.")
    varying = [p for p in places if p not in alike]
    columns = (
        Column("node"),
        *(Column(feasible[0].scores[p].plugin, right=True) for p in varying),
        Column("total", right=True),
    )
    answers = [(node.node, _row(node, varying)) for node in feasible]
    parts.append(_grid(columns, answers, most))
    if varying:
        parts.append("Scores are weight × normalised score = points (raw score).")
    return Section("Nodes that take it", tuple(parts))


def _row(node: NodeAnswer, places: Sequence[int]) -> tuple[str, ...]:
    return (*(_score(node.scores[p]) for p in places), f"{node.total}")


def _score(score: Scored) -> str:
    return f"{score.weight}×{score.normalized}={score.weighted} ({score.raw})"


def _alike(score: Scored) -> str:
    return f"{score.plugin} ({score.weight}×{score.normalized}={score.weighted})"


def _grid(
    columns: tuple[Column, ...], answers: Sequence[tuple[str, tuple[str, ...]]], most: int
) -> Grid:
    """A row per node with its answer; of too many, those with the same answer share one."""
    if len(answers) <= most:
        return Grid(columns, tuple((name, *answer) for name, answer in answers))
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, answer in answers:
        alike.setdefault(answer, []).append(name)
    shown = list(alike.items())[:most]
    rows = tuple((some(names, 1), *answer) for answer, names in shown)
    rest = len(answers) - sum(len(names) for _, names in shown)
    unseen = f"... and {rest:,} more; " if rest else ""
    return Grid(columns, rows, f"{unseen}--all shows each node, as does the JSON form")


# Nodes that refuse it


def _refusing(explanation: Explanation, most: int) -> Section:
    refusing = [node for node in explanation.nodes if node.refusals]
    unseen = sum(node.verdict == "not looked at" for node in explanation.nodes)
    parts: list[str | Grid] = []
    if refusing:
        titles = ("node", "first refused by", "verdict", "what would have to change")
        answers = [
            (node.node, (node.refusals[0].plugin, node.verdict, node.change)) for node in refusing
        ]
        parts.append(_grid(tuple(map(Column, titles)), answers, most))
    if unseen:
        parts.append(f"{many(unseen, 'node was', 'nodes were')} not looked at.")
    title = "Nodes that do not, the smallest change first" if refusing else "Other nodes"
    return Section(title, tuple(parts))
