"""Labels and selectors: what matches, what may be written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.labels import Requirement, Selector, is_label_key, is_label_value

WEB = {"app": "web", "size": "7"}


@pytest.mark.parametrize(
    ("requirement", "matches"),
    [
        (Requirement("app", "In", ("web", "api")), True),
        (Requirement("app", "In", ("api",)), False),
        (Requirement("tier", "In", ("web",)), False),
        (Requirement("app", "NotIn", ("api",)), True),
        (Requirement("tier", "NotIn", ("web",)), True),  # an absent key is not in any list
        (Requirement("app", "Exists"), True),
        (Requirement("tier", "Exists"), False),
        (Requirement("tier", "DoesNotExist"), True),
        (Requirement("size", "Gt", ("6",)), True),
        (Requirement("size", "Gt", ("7",)), False),
        (Requirement("size", "Lt", ("10",)), True),  # numbers, not text: 7 < 10
        (Requirement("app", "Gt", ("1",)), False),  # 'web' is no number
        (Requirement("size", "Lt", ("9" * 30,)), False),  # beyond 64 bits is no number
        (Requirement("size", "Gt", ()), False),
    ],
    ids=str,
)
def test_a_requirement_matches_or_not(requirement, matches):
    assert requirement.matches(WEB) is matches


def test_an_empty_selector_matches_everything():
    assert Selector().matches({})
    assert Selector().matches(WEB)


def test_all_requirements_must_hold():
    selector = Selector.of({"app": "web", "size": "8"})
    assert not selector.matches(WEB)
    assert selector.matches({"app": "web", "size": "8", "more": ""})


def test_the_order_in_which_labels_are_written_makes_no_other_selector():
    assert Selector.of({"a": "1", "b": "2"}) == Selector.of({"b": "2", "a": "1"})


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", Selector()),
        ("app", Selector((Requirement("app", "Exists"),))),
        (" !app ", Selector((Requirement("app", "DoesNotExist"),))),
        ("app=web", Selector((Requirement("app", "In", ("web",)),))),
        ("app!=web", Selector((Requirement("app", "NotIn", ("web",)),))),
        ("app=", Selector((Requirement("app", "In", ("",)),))),
        (
            "b in (y, x),a",
            Selector((Requirement("a", "Exists"), Requirement("b", "In", ("x", "y")))),
        ),
        ("size>1", Selector((Requirement("size", "Gt", ("1",)),))),
    ],
)
def test_a_selector_is_parsed_and_sorted(text, selector):
    assert Selector.parse(text) == selector


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        "a b",
        "a in",
        "a in (b",
        "a in b",
        "a=b=c",
        "=b",
        "a<x",
        "a=-",
        "-a",
        "a/b/c=d",
        "(a)",
    ],
)
def test_what_is_no_selector_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="expected a part such as 'app=web'"):
        Selector.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_a_value_error(text):
    try:
        selector = Selector.parse(text)
    except ValueError:
        return
    assert all(is_label_key(requirement.key) for requirement in selector.requirements)


KEYS = st.from_regex(r"[a-z]([-a-z0-9.]{0,5}[a-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"[a-z0-9]{0,5}", fullmatch=True)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_the_text_of_equalities_selects_what_the_labels_say(wanted, labels):
    text = ",".join(f"{key}={value}" for key, value in wanted.items())
    assert Selector.parse(text).matches(labels) == (wanted.items() <= labels.items())


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("app", True),
        ("a.io/app", True),
        ("node-role.kubernetes.io/control-plane", True),
        ("A_b.c-d", True),
        ("", False),
        ("/app", False),
        ("a.io/", False),
        ("a..io/app", False),
        ("A.io/app", False),  # a domain is in lower case
        ("-app", False),
        ("a" * 63, True),
        ("a" * 64, False),
        ("app\n", False),
    ],
)
def test_label_keys(key, valid):
    assert is_label_key(key) is valid


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("", True),
        ("web", True),
        ("v1.2_3", True),
        ("a b", False),
        ("é", False),
        ("x" * 64, False),
        ("-a", False),
    ],
)
def test_label_values(value, valid):
    assert is_label_value(value) is valid
