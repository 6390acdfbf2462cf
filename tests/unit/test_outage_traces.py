"""Outages from files: what they mean, and where their mistakes are."""

from __future__ import annotations

import pytest
import yaml

import sim
from sim.errors import ScenarioError
from tests.inline import a_pool
from tests.unit.test_faults import seconds, times

POOL = a_pool(4, zones=["a", "b"])


def written(tmp_path, name, text, **fault):
    """A scenario whose fault names a file with this text."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    scenario = {
        "apiVersion": "sim/v1",
        "kind": "Scenario",
        "metadata": {"name": "traced"},
        "run": {"duration": "1h", "start": "2025-10-01T12:00:00Z"},
        "nodes": [POOL],
        "faults": [{"trace": name, **fault}],
    }
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario), encoding="utf-8")
    return path


def run(*args, **fault):
    return sim.run(sim.load(written(*args, **fault)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("outages.csv", "node,start,end\npool-0,5m,10m\npool-3,10m,\n"),
        ("columns.csv", "end,zone,start,node\n10m,,5m,pool-0\n,,600,pool-3\n"),
        (
            "times.csv",
            "node,start,end\npool-0,2025-10-01T12:05:00Z,2025-10-01T14:10:00+02:00\npool-3,600.0,\n",
        ),
        ("outages.yaml", "- {node: pool-0, start: 5m, end: 10m}\n- {node: pool-3, start: 600}\n"),
    ],
)
def test_nodes_are_down_as_the_file_says(tmp_path, name, text):
    result = run(tmp_path, name, text)
    assert times(result, "NodeDown") == [(300, "pool-0"), (600, "pool-3")]
    assert times(result, "NodeUp") == [(600, "pool-0")]


def test_a_zone_is_down_as_the_file_says(tmp_path):
    result = run(tmp_path, "zones.csv", "zone,start,end\na,5m,10m\n", mode="partition")
    assert times(result, "NodeCutOff") == [(300, "pool-0"), (300, "pool-2")]
    assert seconds(result, "NodeUp") == [600, 600]


def test_overlapping_rows_are_one_outage(tmp_path):
    result = run(tmp_path, "x.csv", "node,start,end\npool-0,5m,10m\npool-0,8m,12m\n")
    assert seconds(result, "NodeUp") == [720]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "node,start,end\npool-9,5m,6m\n", "x.csv:2:1: node: no node 'pool-9'."),
        ("x.csv", "zone,start,end\na,5m,6m\nc,5m,6m\n", "x.csv:3:1: zone: no zone 'c'."),
        ("x.csv", "node,start,end\npool-0,soon,\n", "x.csv:2:8: start: got 'soon'; expected"),
        ("x.csv", "node,start,end\npool-0,5m,5m\n", "x.csv:2:11: end: expected an end later"),
        ("x.csv", "node,start,end\npool-0,5m\n", "x.csv:2:1: got 2 values; expected 3."),
        ("x.csv", "node,zone,start,end\npool-0,a,5m,\n", "x.csv:2:1: expected either a node or"),
        ("x.csv", "name,from\n", "x.csv:1:1: got ['name,from']; expected a header with start"),
        ("x.csv", "", "x.csv:1:1: got []; expected a header"),
        (
            "x.csv",
            "node,start,end\npool-0,2025-10-01T11:00:00Z,\n",
            "x.csv:2:8: start: got '2025-10-01T11:00:00Z', which is before the run begins.",
        ),
        ("x.yaml", "- {node: pool-9, start: 5m}\n", "x.yaml:1:10: node: no node 'pool-9'."),
        ("x.yaml", "- {node: pool-0}\n", "x.yaml:1:3: start: got "),
        ("x.yaml", "- {nod: pool-0}\n", "x.yaml:1:3: [0]: got "),
        ("x.yaml", "node: pool-0\n", "x.yaml: expected a list of outages"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, name, text, message):
    with pytest.raises(ScenarioError) as caught:
        run(tmp_path, name, text)
    assert message in str(caught.value)


def test_every_mistake_of_a_file_is_told(tmp_path):
    text = "node,start,end\npool-9,5m,6m\npool-0,5m,4m\n"
    with pytest.raises(ScenarioError) as caught:
        run(tmp_path, "x.csv", text)
    assert len(caught.value.problems) == 2


def test_a_file_that_is_not_there_is_told(tmp_path):
    path = written(tmp_path, "x.csv", "")
    (tmp_path / "x.csv").unlink()
    with pytest.raises(ScenarioError) as caught:
        sim.load(path)
    assert "faults[0].trace: no file or directory" in str(caught.value)
