"""The command line: exit codes, forms of output, and one clear message per mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sim.cli import main
from sim.result import Result
from sim.schema import SUMMARY, TABLES

ROOT = Path(__file__).parents[2]
ZONE = str(ROOT / "scenarios" / "zone-failure.yaml")
SHORT = ["--set", "run.duration=12m", "--set", "faults[0].at=11m", "--set", "expect=[]"]

SMALL = """\
# Does it run?
apiVersion: sim/v1
kind: Scenario
metadata: {name: small}
run: {duration: 10m, seed: 3}
nodes:
  - {pool: general, count: 2, capacity: {cpu: 4, memory: 8Gi}}
manifests: [web.yaml]
expect:
  - pods == 2
"""
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", resources: {requests: {cpu: 100m}}}]
"""


@pytest.fixture
def small(tmp_path):
    """A scenario that takes no time to run, in a directory of its own."""
    (tmp_path / "web.yaml").write_text(WEB)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def files(folder):
    return sorted(path.name for path in Path(folder).rglob("*"))


# --- run


def test_run_prints_a_report_and_writes_nothing(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    before = files(small.parent)
    done = call("run", small)
    assert done.exit_code == 0
    assert done.output.startswith("small\n=====\n  Does it run?\n")
    assert "1 of 1 expectation" in done.output
    assert done.stderr == ""
    assert files(small.parent) == before


def test_a_failed_expectation_is_exit_code_1(small):
    done = call("run", small, "--set", "expect[0]=pods == 3")
    assert done.exit_code == 1
    assert "0 of 1 expectation" in done.output


def test_quiet_prints_only_what_failed(small):
    assert call("run", small, "--quiet").output == ""
    done = call("run", small, "--quiet", "--set", "expect[0]=pods == 3")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "expected pods == 3, got 2\n"


def test_json_is_for_programs(small):
    done = call("run", small, "--format", "json")
    found = json.loads(done.stdout)
    assert found["name"] == "small"
    assert found["summary"]["pods"] == 2
    assert set(SUMMARY) >= {name.partition("{")[0] for name in found["summary"]}


def test_json_stays_json_when_an_expectation_fails(small):
    done = call("run", small, "--format", "json", "--set", "expect[0]=pods == 3")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["passed"] is False
    assert "got 2" in done.stderr


def test_markdown_has_headings(small):
    assert call("run", small, "--format", "md").output.startswith("## small\n")


def test_set_changes_the_scenario(small):
    done = call("run", small, "--set", "nodes[0].count=5", "--set", "expect=[]")
    assert "  5 nodes; 2 pods" in done.output


def test_seed_changes_the_seed(small):
    assert "seed 8" in call("run", small, "--seed", 8).output


def test_same_seed_prints_the_same(small):
    assert call("run", small).output == call("run", small).output


def test_out_writes_a_run_directory(small, tmp_path):
    out = tmp_path / "runs" / "one"
    assert call("run", small, "--out", out, "--quiet").exit_code == 0
    assert {"manifest.json", *(f"{name}.parquet" for name in TABLES)} <= set(files(out))
    loaded = Result.load(out)
    assert loaded.summary["pods"] == 2
    assert loaded.info.question == "Does it run?"


def test_out_replaces_an_older_run(small, tmp_path):
    for seed in (1, 2):
        assert (
            call("run", small, "--out", tmp_path / "out", "--quiet", "--seed", seed).exit_code == 0
        )
    assert Result.load(tmp_path / "out").info.seed == 2


def test_out_into_a_directory_with_other_files_is_refused_before_the_run(small):
    done = call("run", small, "--out", small.parent)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "small.yaml" in files(small.parent)


# --- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["run", "absent.yaml"], "absent.yaml", id="no such file"),
        pytest.param(["run", "."], ".", id="a directory"),
        pytest.param(["run", ZONE, "--set", "nodes[0].count"], "is not PATH=VALUE", id="no value"),
        pytest.param(["run", ZONE, "--set", "=4"], "is not PATH=VALUE", id="no path"),
        pytest.param(["run", ZONE, "--set", "nodes[7].count=2"], "nodes[7]", id="no such entry"),
        pytest.param(["run", ZONE, "--set", "nodes[0].cont=2"], "count", id="misspelt field"),
        pytest.param(["run", ZONE, "--set", "run.duration=x"], "run.duration", id="bad value"),
        pytest.param(["run", ZONE, "--set", "run.duration=["], "run.duration", id="bad YAML"),
        pytest.param(["run", ZONE, "--seed", "-1"], "--seed", id="negative seed"),
        pytest.param(["run", ZONE, "--seed", "x"], "--seed", id="a seed of letters"),
        pytest.param(["run", ZONE, "--format", "xml"], "--format", id="unknown form"),
        pytest.param(["run", ZONE, *SHORT, "--out", __file__], "file", id="out is a file"),
        pytest.param(
            ["run", ZONE, *SHORT, "--out", "/proc/x/y"], "/proc/x", id="out cannot be made"
        ),
        pytest.param(
            ["run", ZONE, *SHORT, "--out", f"{__file__}/run"], "--out: ", id="out under a file"
        ),
        pytest.param(
            ["run", ZONE, *SHORT, "--out", "/proc/x/y"], "--out", id="the option is named"
        ),
        pytest.param(
            ["run", ZONE, "--seed", "abc"], "'abc' is not a valid whole number.", id="plain words"
        ),
        pytest.param(["run"], "SCENARIO", id="nothing to run"),
        pytest.param(["walk"], "walk", id="no such command"),
        pytest.param(["list", "filter"], "filters", id="no such list"),
        pytest.param(["validate"], "PATHS", id="nothing to validate"),
        pytest.param(["validate", "absent.yaml"], "absent.yaml", id="nothing there to validate"),
    ],
)
def test_mistake_is_told_in_a_line_or_two(words, message):
    done = call(*words)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)
    assert len(done.output.splitlines()) <= 5


def test_every_problem_of_a_scenario_is_told_with_its_place(small):
    small.write_text(SMALL.replace("seed: 3", "sed: 3").replace("8Gi", "8 lots"))
    done = call("run", small)
    assert done.exit_code == 2
    assert f"{small}:5:" in done.stderr
    assert f"{small}:7:" in done.stderr
    assert "2 problems found; nothing was run." in done.stderr


def test_strict_refuses_what_is_not_modelled(small):
    ingress = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\n"
    (small.parent / "web.yaml").write_text(WEB + ingress)
    assert call("run", small, "--quiet").exit_code == 0
    done = call("run", small, "--strict")
    assert done.exit_code == 2
    assert "Ingress" in done.stderr


MISSPELT = WEB.replace("  replicas: 2", "  replica: 2\n  replicas: 2")


def test_misspelt_field_of_a_manifest_is_warned_of_and_told_up_front(small):
    (small.parent / "web.yaml").write_text(MISSPELT)
    done = call("run", small)
    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert "web.yaml:5:3: Deployment spec.replica" in line
    assert "Did you mean 'replicas'?" in line
    said = " ".join(done.stdout.split("\n\n")[0].split())
    assert "Warning: " in said
    assert "Did you mean 'replicas'?" in said


def test_strict_shows_a_misspelt_field_with_place_and_hint(small):
    (small.parent / "web.yaml").write_text(MISSPELT)
    done = call("run", small, "--strict")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "web.yaml:5:3: Deployment spec.replica" in done.stderr
    assert "Did you mean 'replicas'?" in done.stderr


def test_ctrl_c_says_how_far_it_came_and_leaves_nothing(small, monkeypatch):
    from sim.engine import Simulation

    def press(simulation):
        raise KeyboardInterrupt

    run = Simulation.run

    def interrupted(simulation, **options):
        simulation.clock.at(240_000, 0, press, simulation)
        return run(simulation, **options)

    monkeypatch.setattr(Simulation, "run", interrupted)
    before = files(small.parent)
    done = call("run", small, "--out", small.parent / "out")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "Stopped at 4m of 10m of virtual time; nothing was written.\n"
    assert files(small.parent) == before


def test_ctrl_c_while_saving_leaves_nothing(small, monkeypatch):
    from sim import plots

    def press(result, directory):
        raise KeyboardInterrupt

    monkeypatch.setattr(plots, "save_figures", press)
    before = files(small.parent)
    assert call("run", small, "--out", small.parent / "out").exit_code == 130
    assert files(small.parent) == before


# --- the other commands


def test_validate_says_ok_or_what_is_wrong(small):
    assert call("validate", small).exit_code == 0
    (small.parent / "web.yaml").write_text(WEB.replace("100m", "100q"))
    done = call("validate", small.parent)
    assert done.exit_code == 2
    assert "100q" in done.output


def test_validate_speaks_json(small):
    reports = json.loads(call("validate", small.parent, "--format", "json").stdout)
    assert [report["kind"] for report in reports] == ["scenario", "manifest"]
    assert [report["problems"] for report in reports] == [[], []]


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_our_scenarios_follow_the_schema_that_we_print(path):
    import jsonschema
    import yaml

    schema = json.loads(call("schema").stdout)
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("filters", "NodeResourcesFit"),
        ("scores", "NodeResourcesBalancedAllocation (weight 1)"),
        ("controllers", "ReplicaSet"),
        ("summary", "availability           share"),
        ("tables", "pods       one row per pod"),
        ("instances", "m6i.xlarge"),
    ],
)
def test_list(kind, one):
    done = call("list", kind)
    assert done.exit_code == 0
    assert any(line.startswith(one) for line in done.output.splitlines())


def test_help_and_version():
    assert "run" in call("--help").output
    assert "strandline" in call("--version").output


# --- as a program


def python(*words, **options):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, **options
    )


def test_program_runs_a_scenario_and_gives_its_exit_code():
    done = python("-m", "sim", "run", ZONE, *SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("zone-failure\n")
    assert "\x1b" not in done.stdout


def test_program_ends_quietly_when_its_reader_goes():
    words = [sys.executable, "-m", "sim", "run", ZONE, *SHORT]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 1
    assert stderr == ""


def test_help_imports_nothing_heavy():
    code = (
        "import sys, sim.cli\n"
        "try: sim.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "names = {'numpy', 'pandas', 'matplotlib', 'duckdb', 'simpy', 'pydantic'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_validate_imports_neither_pandas_nor_matplotlib():
    code = (
        "import sys, sim.cli\n"
        "try: sim.cli.main(['validate', 'scenarios'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'matplotlib', 'duckdb', 'simpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = python("-c", code, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
