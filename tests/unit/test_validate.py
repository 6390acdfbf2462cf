"""What `sim validate` reports: per file, for people and for programs."""

import json

import pytest

from sim.validate import file_kind, validate_paths

GOOD = """\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: c
    resources: {requests: {cpu: 500m}}
"""
LEFT_OUT = (
    GOOD
    + "  runtimeClassName: gvisor\n---\n"
    + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
)
CLASS = """\
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 5
"""


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_good_file_is_reported_with_its_objects_and_totals(write):
    path = write("a.yaml", GOOD)
    (report,) = validate_paths([path])
    assert (report.kind, report.objects, report.problems) == ("manifest", {"Pod": 1}, ())
    assert report.as_text().splitlines() == [
        f"{path}: ok",
        "  objects: Pod 1",
        "  totals: pods_excluding_daemonsets 1, cpu_requests_cores 0.5, memory_requests_mib 0, "
        "cpu_limits_cores 0, memory_limits_mib 0",
    ]


def test_what_is_not_modelled_is_a_problem_only_when_strict(write):
    path = write("a.yaml", LEFT_OUT)
    (report,) = validate_paths([path])
    assert report.unmodelled == {"Pod spec.runtimeClassName": 1}
    assert report.problems == ()
    (strict,) = validate_paths([path], strict=True)
    assert [str(p) for p in strict.problems] == [
        f"{path}: Pod spec.runtimeClassName is not modelled"
    ]


def test_a_misspelt_field_is_a_warning_and_a_problem_when_strict(write):
    path = write("a.yaml", GOOD + "  nodename: n1\n")
    (report,) = validate_paths([path])
    assert "Did you mean 'nodeName'?" in report.as_text()
    assert report.problems == ()
    assert validate_paths([path], strict=True)[0].problems


def test_problems_stand_in_the_report_of_their_file(write):
    good = write("a.yaml", GOOD)
    bad = write("b.yaml", GOOD.replace("500m", "4 cores"))
    first, second = validate_paths([good.parent])
    assert first.problems == ()
    (problem,) = json.loads(json.dumps(second.as_dict()))["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(bad), 7, 33)
    assert problem["field"] == "spec.containers[0].resources.requests.cpu"
    assert second.as_text().startswith(f"{bad}: 1 problem\n")


def test_a_file_may_name_the_priority_class_of_another(write):
    pod = write("a.yaml", GOOD + "  priorityClassName: high\n")
    other = write("b.yaml", CLASS)
    assert [bool(report.problems) for report in validate_paths([pod])] == [True]
    assert [bool(report.problems) for report in validate_paths([pod, other])] == [False, False]


def test_a_missing_file_and_an_empty_folder_are_reports_with_a_problem(tmp_path):
    (tmp_path / "empty").mkdir()
    reports = validate_paths([tmp_path / "no.yaml", tmp_path / "empty"])
    assert [len(report.problems) for report in reports] == [1, 1]


def test_a_file_is_a_scenario_by_its_api_version(write):
    path = write("s.yaml", "apiVersion: sim/v1\nkind: Scenario\nmetadata: {name: s}\nnodes: 5\n")
    assert file_kind(path) == "scenario"
    assert file_kind(write("a.yaml", GOOD)) == "manifest"
    (report,) = validate_paths([path])
    assert report.kind == "scenario"
    assert any(problem.field == "nodes" for problem in report.problems)


def test_a_file_named_twice_is_reported_once(write):
    path = write("a.yaml", GOOD)
    assert len(validate_paths([path, path.parent])) == 1
