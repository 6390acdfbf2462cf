"""README and docs tell the truth: their code runs, their commands parse, their files exist."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

import sim
from sim.cli import main

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TEXTS = [path for path in [README, *sorted((ROOT / "docs").rglob("*.md"))] if path.is_file()]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = ("scenarios/", "examples/", "notebooks/", "docs/", "tests/", "benchmarks/")


class Block(NamedTuple):
    """A fenced block of a text."""

    file: str
    line: int
    language: str
    code: str


def blocks(*languages):
    found = [block for path in TEXTS for block in blocks_of(path) if block.language in languages]
    return [pytest.param(block, id=f"{block.file}:{block.line}") for block in found]


def blocks_of(path):
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT))
    for found in FENCE.finditer(text):
        yield Block(name, text.count("\n", 0, found.start()) + 1, *found.groups())


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    if ">>>" in block.code:
        test = doctest.DocTestParser().get_doctest(
            block.code, {}, block.file, block.file, block.line
        )
        assert doctest.DocTestRunner().run(test).failed == 0
    else:
        exec(compile(block.code, block.file, "exec"), {})


@pytest.mark.parametrize("block", blocks("yaml"))
def test_scenario_loads(block):
    data = yaml.safe_load(block.code)
    if not isinstance(data, dict) or data.get("kind") != "Scenario":
        pytest.skip("not a whole scenario")
    assert sim.Scenario.from_dict(data, ROOT / "scenarios").name


def commands(block):
    """The words after `python -m sim` of each such command."""
    for line in block.code.splitlines():
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            if words[1:3] == ["-m", "sim"]:
                yield words[3:]


@pytest.mark.parametrize("block", blocks("sh", "bash", "console"))
def test_commands_parse(block):
    for words in commands(block):
        words = words[: words.index(">")] if ">" in words else words
        command = main.get_command(click.Context(main), words[0])
        assert command is not None, words
        command.make_context(words[0], words[1:])


def named_files(path):
    """Files of ours in backticks, and what links point to."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    quoted = re.findall(r"`([\w./-]+)`", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    return [*links, *(name for name in quoted if name.startswith(OURS))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_it_names_exist(path):
    absent = [
        name
        for name in named_files(path)
        if not (ROOT / name).exists() and not (path.parent / name).exists()
    ]
    assert absent == []


def test_the_report_in_the_readme_begins_as_the_real_one():
    """Word for word down to the expectations; further down the titles of the sections."""
    shown = next((b.code for b in blocks_of(README) if b.language == "text"), None)
    if shown is None:
        pytest.skip("the README shows no report")
    real = sim.run(sim.load(ROOT / "scenarios" / "zone-failure.yaml")).report("text")
    assert shown.split("\n\n")[0] == real.split("\n\n")[0]
    assert titles(real)[: len(titles(shown))] == titles(shown)


def titles(report):
    return re.findall(r"^(\S.*)\n=+$", report, re.MULTILINE)


def test_all_scenarios_are_in_the_readme():
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    absent = [p.name for p in (ROOT / "scenarios").glob("*.yaml") if p.name not in text]
    assert absent == []
