"""Quantities, durations and shares: exact, refused with words, and shown to people."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.units import (
    MAX_QUANTITY,
    Quantity,
    amount,
    cpu_m,
    duration_ms,
    format_bytes,
    format_cpu,
    format_duration_ms,
    parse_quantity,
    percent,
    shown,
)

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "millicores"),
    [
        ("250m", 250),
        ("4", 4000),
        (4, 4000),
        (0.1, 100),  # a JSON number: its digits count, not the binary fraction nearest to 0.1
        ("1.5", 1500),
        ("0.0001", 1),  # a tenth of a millicore is rounded up
        ("1e3", 1_000_000),
        ("0", 0),
    ],
)
def test_cpu_is_millicores_rounded_up(text, millicores):
    assert cpu_m(text) == millicores


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1Ki", 1024),
        ("1.5Gi", 3 * GIB // 2),
        ("128974848", 128974848),
        ("129M", 129_000_000),
        ("123Mi", 123 * 1024**2),
        ("1500m", 2),  # one and a half bytes are two
        (110, 110),
        ("8Ei", MAX_QUANTITY),  # 2^63 does not fit into 63 bits
        ("1e400", MAX_QUANTITY),
        ("1e-400", 1),  # something, however little, is at least one
    ],
)
def test_amounts_are_whole_units_rounded_up(text, units):
    assert amount(text) == units


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "4 cores", "1.2.3", "0x10", "1ki", "1KI", "m", ".", "+-1", "1e", "1e1.5", "١"],
)
def test_what_is_no_quantity_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="expected a quantity such as '4' or '500m'"):
        cpu_m(text)


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), None, [], {}])
def test_only_text_and_numbers_are_quantities(value):
    with pytest.raises(ValueError, match="expected a quantity"):
        amount(value)


def test_negative_amounts_are_refused():
    with pytest.raises(ValueError, match="not a negative one"):
        cpu_m("-500m")


def test_a_huge_text_is_refused_at_once_and_shown_short():
    with pytest.raises(ValueError, match="expected") as caught:
        amount("9" * 100_000)
    assert len(str(caught.value)) < 200


@given(
    st.integers(-(10**18), 10**18), st.sampled_from(["DecimalSI", "BinarySI", "DecimalExponent"])
)
def test_canonical_text_stands_for_the_same_value(number, form):
    quantity = Quantity(Fraction(number, 10**9), form)
    assert parse_quantity(str(quantity)).value == quantity.value


@given(st.integers(-(10**18), 10**18), st.integers(-6, 6))
def test_rounding_up_moves_away_from_zero_by_less_than_a_step(number, power):
    value = Fraction(number, 10**9)
    rounded = Quantity(value).rounded_up(power)
    step = Fraction(10) ** power
    assert rounded % step == 0
    assert abs(value) <= abs(rounded) < abs(value) + step


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1h30m", 5_400_000),
        ("250ms", 250),
        ("20m", 1_200_000),
        ("1.5h", 5_400_000),
        (".5s", 500),
        ("1d", 86_400_000),  # ours: Go knows no days
        ("1d12h", 129_600_000),
        ("1500us", 2),  # 1.5 ms, rounded up
        ("1ns", 1),
        ("0", 0),
        (0, 0),
    ],
)
def test_durations_are_milliseconds_rounded_up(text, milliseconds):
    assert duration_ms(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "5", 5, "5 min", "1h 30m", "-1s", "1w", "h", "1..5s", True, None]
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="expected a duration such as '1h30m'"):
        duration_ms(text)


@given(st.integers(0, 10**15))
def test_a_shown_duration_is_read_back(milliseconds):
    assert duration_ms(format_duration_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (20_000, "20s"),
        (5_400_000, "1h30m"),
        (250, "250ms"),
        (1_500, "1.5s"),
        (172_800_000, "2d"),
        (-61_000, "-1m1s"),
    ],
)
def test_durations_for_people(milliseconds, text):
    assert format_duration_ms(milliseconds) == text


@pytest.mark.parametrize(
    ("text", "share"), [("99.5%", 0.995), ("25%", 0.25), ("0%", 0.0), (".5%", 0.005)]
)
def test_a_percentage_is_a_share(text, share):
    assert percent(text) == share


@pytest.mark.parametrize("text", ["25", "%", "25 %", "25%%", 0.25, None])
def test_a_share_needs_its_percent_sign(text):
    with pytest.raises(ValueError, match="expected a percentage such as '25%'"):
        percent(text)


@pytest.mark.parametrize(
    ("millicores", "text"), [(250, "250m"), (4000, "4"), (1500, "1500m"), (0, "0")]
)
def test_cpu_for_people(millicores, text):
    assert format_cpu(millicores) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (512, "512"),
        (3 * GIB // 2, "1.5Gi"),
        (200 * 1024**2, "200Mi"),
        (GIB - 1, "1Gi"),  # 1024.00 Mi after rounding is the next unit
        (-2 * GIB, "-2Gi"),
        (2**63, "8Ei"),
        (1234567, "1.18Mi"),  # 1234567 / 1048576 = 1.1774
    ],
)
def test_bytes_for_people(size, text):
    assert format_bytes(size) == text


@given(st.integers(1, 2**62))
def test_shown_bytes_are_within_half_a_percent(size):
    assert abs(amount(format_bytes(size)) - size) <= 1 + size * 0.005


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        ("a", "'a'"),
        ([1], "a list"),
        ({"a": 1}, "a mapping"),
        ([], "[]"),
    ],
)
def test_values_are_shown_as_yaml_writes_them(value, text):
    assert shown(value) == text


def test_a_long_value_is_shown_cut():
    assert len(shown("x" * 1000)) < 80
    assert shown(10**5000) == "a number of more than 77 digits"
