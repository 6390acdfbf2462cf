"""Results: tables keep to the schema, stories, and run directories that are whole or absent."""

import json
import math
import os
import subprocess
import sys

import duckdb
import pytest
from pandas.testing import assert_frame_equal

from sim import plots
from sim.errors import SimError
from sim.expectations import Verdict
from sim.result import MANIFEST, Result, frames_from_columns
from sim.schema import TABLES
from tests.unit.results import a_pod, a_result, a_zone_failure, an_event, an_info

KINDS = {"int": "int64", "float": "float64", "bool": "bool"}


@pytest.fixture(scope="module")
def shop():
    return a_zone_failure()


@pytest.fixture(scope="module")
def saved(shop, tmp_path_factory):
    return shop.save(tmp_path_factory.mktemp("runs") / "shop")


@pytest.mark.parametrize("name", TABLES)
def test_frames_have_the_columns_and_types_of_the_schema(shop, name):
    frame = getattr(shop, name)
    assert list(frame.columns) == TABLES[name].names
    for column in TABLES[name].columns:
        if column.kind in KINDS:
            assert frame[column.name].dtype == KINDS[column.kind]


def test_tables_left_out_come_out_empty():
    frames = frames_from_columns({})
    assert list(frames) == list(TABLES)
    assert all(len(frame) == 0 for frame in frames.values())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"podz": {}}, "no such tables: podz"),
        ({"decisions": {"t_s": [0.0]}}, r"missing columns \['feasible', 'node'"),
        (
            {"events": {name: [] for name in [*TABLES["events"].names, "colour"]}},
            r"unknown \['colour'\]",
        ),
        (
            {"events": {name: [] for name in TABLES["events"].names} | {"t_s": [1.0]}},
            "differ in length",
        ),
    ],
)
def test_columns_that_break_the_schema_are_refused(columns, message):
    with pytest.raises(SimError, match=message):
        frames_from_columns(columns)


def test_story_is_the_events_of_one_pod_in_order():
    events = [
        an_event(1.0, "Scheduled", "Pod/shop/web-1"),
        an_event(2.0, "Scheduled", "Pod/shop/web-17"),
        an_event(3.0, "Started", "Pod/shop/web-1"),
        an_event(4.0, "NodeReady", "Node/web-1"),
    ]
    result = a_result(pods=[a_pod("web-1"), a_pod("web-17")], events=events)
    assert list(result.story(pod="web-1")["reason"]) == ["Scheduled", "Started"]
    assert list(result.story(pod="shop/web-17")["t_s"]) == [2.0]


def test_story_of_an_unknown_pod_names_the_nearest():
    with pytest.raises(SimError, match="Did you mean 'web-17'"):
        a_result(pods=[a_pod("web-17")]).story(pod="web-71")


def test_story_of_an_ambiguous_name_asks_for_the_namespace():
    result = a_result(pods=[a_pod("web-1"), a_pod("web-1", namespace="blog")])
    with pytest.raises(SimError, match="shop/web-1, blog/web-1"):
        result.story(pod="web-1")
    assert len(result.story(pod="blog/web-1")) == 0


def test_passed_needs_every_verdict():
    good, bad = Verdict("a", 1.0, True), Verdict("b", 1.0, False)
    assert a_result().passed
    assert a_result(verdicts=[good]).passed
    assert not a_result(verdicts=[good, bad]).passed


def test_load_returns_what_was_saved(shop, saved):
    loaded = Result.load(saved)
    for name in TABLES:
        assert_frame_equal(getattr(loaded, name), getattr(shop, name))
    assert loaded.info == shop.info
    assert loaded.scenario == shop.scenario
    assert loaded.verdicts == shop.verdicts
    assert loaded.summary == shop.summary
    assert loaded.report() == shop.report()


def test_equal_results_give_equal_bytes_whatever_they_took(shop, saved, tmp_path):
    again = a_zone_failure()
    again.info = an_info(**{f: getattr(shop.info, f) for f in _info_fields()}, wall_s=99.0)
    directory = again.save(tmp_path / "again")
    assert sorted(os.listdir(directory)) == sorted(os.listdir(saved))
    for name in os.listdir(saved):
        assert (directory / name).read_bytes() == (saved / name).read_bytes(), name


def _info_fields():
    return [f for f in an_info().__dataclass_fields__ if f != "wall_s"]


def test_run_directory_holds_a_manifest_tables_and_figures(saved):
    names = {MANIFEST, *(f"{t}.parquet" for t in TABLES), *(f"{f}.png" for f in plots.FIGURES)}
    assert set(os.listdir(saved)) == names


def test_manifest_is_strict_json_without_wall_clock(saved):
    def refuse(constant):
        raise AssertionError(constant)

    manifest = json.loads((saved / MANIFEST).read_text(), parse_constant=refuse)
    assert manifest["info"]["event_hash"] == "ab12"
    assert manifest["rows"]["nodes"] == 9
    assert "wall_s" not in manifest["info"]


def test_undefined_number_survives_saving(tmp_path):
    verdicts = [Verdict("pending.seconds < 1s", math.nan, False, "s", "not defined in this run")]
    loaded = Result.load(a_result(verdicts=verdicts).save(tmp_path / "run"))
    assert math.isnan(loaded.verdicts[0].value)
    assert math.isnan(loaded.summary["pending.seconds"])


def test_sql_reads_never_as_null(saved):
    query = f"SELECT count(*) FROM '{saved / 'pods.parquet'}' WHERE scheduled_s IS NULL"
    assert duckdb.connect().execute(query).fetchall() == [(1,)]


def test_older_run_is_replaced(tmp_path):
    a_result(info=an_info(seed=1)).save(tmp_path / "run", figures=False)
    a_result(info=an_info(seed=2)).save(tmp_path / "run", figures=False)
    assert Result.load(tmp_path / "run").info.seed == 2
    assert os.listdir(tmp_path) == ["run"]


def test_empty_directory_is_taken(tmp_path):
    (tmp_path / "run").mkdir()
    a_result().save(tmp_path / "run", figures=False)
    assert Result.load(tmp_path / "run").info == an_info()


def _a_directory_of_the_user(target):
    target.mkdir()
    (target / "thesis.txt").write_text("mine")


def _a_file(target):
    target.write_text("mine")


def _a_run_with_a_note(target):
    a_result().save(target, figures=False)
    (target / "thesis.txt").write_text("mine")


@pytest.mark.parametrize("make", [_a_directory_of_the_user, _a_file, _a_run_with_a_note])
def test_what_no_run_wrote_is_left_alone(tmp_path, make):
    target = tmp_path / "target"
    make(target)
    before = _contents(tmp_path)
    with pytest.raises(SimError, match="target"):
        a_result().save(target, figures=False)
    assert _contents(tmp_path) == before


def _contents(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("older", [False, True], ids=["new directory", "over an older run"])
def test_a_save_that_fails_leaves_things_as_they_were(tmp_path, monkeypatch, older):
    if older:
        a_result(info=an_info(seed=1)).save(tmp_path / "run", figures=False)
    before = _contents(tmp_path)

    def fails(result, directory):
        raise OSError("disk full")

    monkeypatch.setattr(plots, "save_figures", fails)
    with pytest.raises(OSError, match="disk full"):
        a_result(info=an_info(seed=2)).save(tmp_path / "run")
    assert _contents(tmp_path) == before
    assert os.listdir(tmp_path) == (["run"] if older else [])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "not a run directory"),
        ("{", "cannot be read"),
        ("[]", "got format None"),
        ('{"format": "sim-run/9"}', "got format 'sim-run/9'; expected 'sim-run/1'"),
    ],
)
def test_load_of_something_else_says_what_it_is(tmp_path, manifest, message):
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(SimError, match=message):
        Result.load(tmp_path)


def test_misspelt_summary_name_is_answered_with_the_nearest():
    summary = a_result().summary
    with pytest.raises(KeyError, match=r"Did you mean 'restarts'\?"):
        summary["restrats"]
    with pytest.raises(KeyError, match="list summary"):
        summary["x"]
    assert summary.get("x") is None


def test_story_of_an_unknown_pod_names_pods_that_there_are():
    result = a_result(pods=[a_pod(f"web-{i}") for i in range(5)])
    with pytest.raises(SimError, match=r"There are web-0, web-1, web-2 and 2 more\."):
        result.story(pod="nope")
    with pytest.raises(SimError, match="Did you mean 'web-4'"):
        result.story(pod="wbe-4")


def test_warnings_are_saved_and_loaded(tmp_path):
    info = an_info(warnings=("web.yaml:5:3: odd",))
    directory = a_result(info=info).save(tmp_path / "run", figures=False)
    assert Result.load(directory).info == info


def test_load_names_the_table_that_is_missing(tmp_path):
    directory = a_result().save(tmp_path / "run", figures=False)
    (directory / "events.parquet").unlink()
    with pytest.raises(SimError, match=r"events\.parquet: missing"):
        Result.load(directory)


def test_names_are_escaped_in_html():
    html = a_result(info=an_info(name="<script>alert(1)</script>"))._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_heavy_libraries_are_imported_only_when_needed():
    heavy = "{'pandas', 'matplotlib', 'duckdb', 'jinja2', 'rich'}"
    code = f"import sys, sim.result; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
