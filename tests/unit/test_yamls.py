"""YAML and JSON with positions: what each dialect reads, what both refuse, never a traceback."""

import os

import pytest

from sim.errors import Position, ScenarioError
from sim.yamls import ALIAS_BUDGET, MAX_DEPTH, load_documents, parse_documents, read_documents

BOTH = pytest.mark.parametrize("dialect", ["manifest", "scenario"])


def read(content, dialect="manifest"):
    """The data of the documents; no problem may be found."""
    documents, problems = parse_documents(content, "f.yaml", dialect=dialect)
    assert problems == []
    return [document.data for document in documents]


def problems_of(content, dialect="manifest"):
    return [str(problem) for problem in parse_documents(content, "f.yaml", dialect=dialect)[1]]


def one_problem(content, dialect="manifest"):
    (problem,) = problems_of(content, dialect)
    return problem


# --- positions

TEXT = """\
apiVersion: v1
spec:
  containers:
  - name: web
    ports: [80, 443]
  - name: log
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ((), 1, 1),
        (("apiVersion",), 1, 13),
        (("spec", "containers", 1, "name"), 6, 11),
        (("spec", "containers", 0, "ports", 1), 5, 17),
        (("spec", "containers", 0, "image"), 4, 5),  # missing: the container that lacks it
        (("spec", "containers", 7), 4, 3),  # beyond the list: the list
        (("spec", "containers", "name"), 4, 3),  # a name where there is a list
        (("status", "phase"), 1, 1),
    ],
)
def test_a_value_knows_its_line_and_column(path, line, column):
    (document,), _ = parse_documents(TEXT, "f.yaml", dialect="scenario")
    assert document.position(*path) == Position("f.yaml", line, column)


def test_a_key_has_its_own_position():
    (document,), _ = parse_documents(TEXT, "f.yaml", dialect="scenario")
    assert document.key_position("spec", "containers", 0, "ports") == Position("f.yaml", 5, 5)
    assert document.position("spec", "containers", 0, "ports") == Position("f.yaml", 5, 12)


def test_json_has_positions_too_in_each_of_its_documents():
    text = '{"a": 1}\n  {"b": [1,\n    {"c": "\\ud83d\\ude00", "d": 2}]}'
    first, second = parse_documents(text, "f.json", dialect="manifest")[0]
    assert first.position("a") == Position("f.json", 1, 7)
    assert second.position("b", 1, "d") == Position("f.json", 3, 32)
    assert second.data["b"][1]["c"] == "\U0001f600"


def test_a_merged_value_stands_where_it_was_written():
    text = "base: &b\n  cpu: 1\nmore:\n  <<: *b\n  memory: 2\n"
    (document,), _ = parse_documents(text, "f.yaml", dialect="manifest")
    assert document.data["more"] == {"memory": 2, "cpu": 1}
    assert document.position("more", "cpu") == Position("f.yaml", 2, 8)


def test_documents_after_the_first_count_lines_from_the_top_of_the_file():
    documents, _ = parse_documents("a: 1\n---\n# nothing\n---\nb: 2\n", "f", dialect="manifest")
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert documents[1].position("b").line == 5


# --- the dialect of kubectl


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0755", 493),  # 7 × 64 + 5 × 8 + 5
        ("-0755", -493),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("08", 8.0),  # no octal digit: a float for Go
        ("1e3", 1000.0),
        (".5", 0.5),
        ("yes", True),
        ("On", True),
        ("n", False),
        ("OFF", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("nULL", "nULL"),
        ("12:30", "12:30"),
        ("2025-10-01T12:00:00Z", "2025-10-01T12:00:00Z"),
        ("2025-10-01", "2025-10-01"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("'0755'", "0755"),
        ('"yes"', "yes"),
        ("!!str 12", "12"),
        ("!!binary aGk=", "hi"),
        ("!!float 1", 1),
        ("! 12", "12"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", float(2**64)),  # beyond 64 bits Go reads a float
        ("1e999", "1e999"),  # too large for a float: text
    ],
)
def test_manifests_read_scalars_as_kubectl_does(text, value):
    (data,) = read(f"key: {text}\n")
    assert data["key"] == value
    assert type(data["key"]) is type(value)


def test_an_integer_of_five_thousand_digits_is_text_and_harms_nothing():
    (data,) = read(f"key: {'9' * 5000}")
    assert data["key"] == "9" * 5000


@pytest.mark.parametrize(
    ("text", "key"), [("yes: 1", "true"), ("1: 1", "1"), ("1.5: 1", "1.5"), ("'yes': 1", "yes")]
)
def test_keys_become_text_as_json_needs(text, key):
    assert read(text) == [{key: 1}]


@pytest.mark.parametrize("word", [".inf", "-.Inf", ".NaN"])
@BOTH
def test_numbers_that_json_lacks_are_refused(word, dialect):
    assert f"got {word}; expected a finite number" in one_problem(f"a: {word}", dialect)


def test_an_explicit_type_must_fit():
    assert "expected a value of the type !!int" in one_problem("a: !!int web")
    assert "expected base64" in one_problem("a: !!binary '*'")


def test_a_manifest_file_without_objects_has_no_documents():
    assert read("") == []
    assert read("# nothing\n---\n---\n") == []


# --- the dialect of scenarios


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("12:30", "Write a duration"),
        ("1:30:00", "Write a duration"),
        ("yes", "Write true or false"),
        ("No", "Write true or false"),
        ("on", "Write true or false"),
        ("OFF", "Write true or false"),
        ("0755", "Write the decimal number"),
        ("0x1F", "Write the decimal number"),
        ("08", "Write the decimal number"),
        ("1_000", "without underscores"),
    ],
)
def test_a_trap_of_yaml_is_an_error_with_a_hint_in_a_scenario(text, hint):
    problem = one_problem(f"a: 1\nkey: {text}\n", "scenario")
    assert problem.startswith("f.yaml:2:6: key: ")
    assert hint in problem
    assert read(f'key: "{text}"', "scenario") == [{"key": text}]


def test_a_trap_is_found_in_keys_too():
    assert "true or false" in one_problem("on: 1", "scenario")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("y", "y"),
        ("250m", "250m"),
        ("1h30m", "1h30m"),
        ("2025-10-01T12:00:00Z", "2025-10-01T12:00:00Z"),
        ("=", "="),
    ],
)
def test_scenarios_read_what_every_reader_agrees_on(text, value):
    (data,) = read(f"key: {text}\n", "scenario")
    assert data["key"] == value
    assert type(data["key"]) is type(value)


def test_tags_are_refused_in_a_scenario():
    assert "got the tag '!env'" in one_problem("a: !env X", "scenario")
    assert "expected a plain value" in one_problem("a: !!set {x}", "scenario")


def test_an_empty_scenario_is_a_problem():
    assert (
        one_problem("# nothing\n", "scenario") == "f.yaml: the file is empty; expected a scenario"
    )


# --- what both refuse


@BOTH
def test_duplicate_keys_are_refused_where_the_second_stands(dialect):
    problem = one_problem("a:\n  b: 1\n  c: 2\n  b: 3\n", dialect)
    assert problem == "f.yaml:4:3: a.b: the key 'b' is already in line 2"


def test_duplicate_keys_are_refused_in_json_too():
    assert "already in line 1" in one_problem('{"a": 1, "a": 2}')


@BOTH
def test_every_problem_of_a_file_is_found_at_once(dialect):
    assert len(problems_of("a: .inf\na: 1\n? [x]\n: 2\nb: .nan\n", dialect)) == 4


@pytest.mark.parametrize("text", ["[" * 200, "{a: " * 200, '{"a":' * 100_000, "- " * 200 + "x"])
@BOTH
def test_deep_nesting_is_refused(text, dialect):
    assert f"nested deeper than {MAX_DEPTH} levels" in one_problem(text, dialect)


def test_the_deepest_nesting_allowed_is_read():
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "nested deeper" in one_problem("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def bomb(levels):
    """Each line names the one before ten times: 10 to the power of `levels` values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


@BOTH
def test_an_alias_bomb_is_refused(dialect):
    problem = problems_of(bomb(30), dialect)[-1]
    assert f"aliases stand for more than {ALIAS_BUDGET[dialect]} values" in problem


def test_a_merge_bomb_is_refused():
    lines = ["a0: &a0 {x: [1, 2, 3, 4, 5, 6, 7, 8, 9]}"]
    lines += [f"a{n + 1}: &a{n + 1} {{l: *a{n}, r: *a{n}, <<: *a{n}}}" for n in range(30)]
    assert "aliases stand for more than" in problems_of("\n".join(lines), "scenario")[-1]


def test_a_few_aliases_are_welcome_in_both():
    text = "a: &a {cpu: 1}\nb: *a\nc: [*a, *a]\n"
    assert (
        read(text)
        == read(text, "scenario")
        == [{"a": {"cpu": 1}, "b": {"cpu": 1}, "c": [{"cpu": 1}] * 2}]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "the alias *a contains itself"),
        ("a: *b", "the alias *b is not defined before this"),
        ("a: &a [1]\nb: {<<: *a}", "expected a mapping to merge"),
        ("a: b: c", "not valid YAML"),
        ("a: [1, 2", "not valid YAML"),
        ("a: 'x", "not valid YAML"),
        ("? [a]\n: 1", "got a list as a key"),
        ("~: 1", "got null as a key"),
    ],
)
@BOTH
def test_broken_yaml_has_a_place_and_a_reason(text, message, dialect):
    problem = one_problem(text, dialect)
    assert message in problem
    assert problem.startswith("f.yaml:")


@BOTH
def test_tabs_as_indentation_are_explained(dialect):
    problem = one_problem("a:\n\tb: 1\n", dialect)
    assert problem.startswith("f.yaml:2:1: not valid YAML")
    assert "spaces, not tabs" in problem


@BOTH
def test_a_nul_byte_is_named_with_its_place(dialect):
    assert one_problem(b"a: 1\nb: \0", dialect).startswith("f.yaml:2:4: got the character '\\x00'")


@BOTH
def test_utf_16_with_its_mark_is_yaml(dialect):
    assert read("a: é".encode("utf-16"), dialect) == [{"a": "é"}]
    assert read(b"\xef\xbb\xbfa: 1", dialect) == [{"a": 1}]


@BOTH
def test_latin_1_is_refused_at_its_byte(dialect):
    problem = one_problem("a: x\nb: café".encode("latin-1"), dialect)
    assert problem.startswith("f.yaml:2:7: got the byte 0xe9; expected text in UTF-8")


# --- JSON


def test_json_documents_may_follow_each_other():
    assert read('{"a": 1} {"b": 2}\n{"c": 1.5}') == [{"a": 1}, {"b": 2}, {"c": 1.5}]


def test_json_that_is_none_is_read_as_yaml_is():
    assert read("{a: 1, b: [x]}") == [{"a": 1, "b": ["x"]}]
    assert read('{"a": NaN}') == [{"a": "NaN"}]


def test_half_a_surrogate_pair_becomes_the_replacement_character():
    assert read('{"a": "\\ud800", "b": "\\ud83d\\ude00"}') == [{"a": "\ufffd", "b": "\U0001f600"}]


# --- files


def test_a_missing_file_is_a_problem_with_the_nearest_name(tmp_path):
    (tmp_path / "shop.yaml").write_text("a: 1")
    with pytest.raises(ScenarioError, match=r"no such file. Did you mean 'shop.yaml'\?"):
        load_documents(tmp_path / "shp.yaml", dialect="scenario")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "no/such/folder.yaml"])
def test_a_path_that_cannot_be_read_is_a_problem(tmp_path, name):
    documents, problems = read_documents(f"{tmp_path}/{name}", dialect="manifest")
    assert documents == []
    assert len(problems) == 1


def test_a_file_that_may_not_be_read_is_a_problem(tmp_path):
    path = tmp_path / "secret.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    assert "permission denied" in str(read_documents(path, dialect="manifest")[1][0])


def test_an_endless_device_is_not_read():
    (problem,) = read_documents("/dev/zero", dialect="manifest")[1]
    assert "is not a file that can be read to its end" in problem.message


def test_loading_gives_the_documents_of_a_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n---\nb: 2\n")
    assert [d.data for d in load_documents(path, dialect="manifest")] == [{"a": 1}, {"b": 2}]
    assert str(load_documents(path, dialect="manifest")[1].position("b")) == f"{path}:3:4"
