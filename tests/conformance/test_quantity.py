"""Quantities against apimachinery's own table.

`sample/quantity.yaml.gz` is a quarter of it that travels with the project; with the shared data all
rows run.
"""

from __future__ import annotations

import gzip
import os
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from sim.units import Quantity, parse_quantity

SAMPLE = Path(__file__).parent / "sample" / "quantity.yaml.gz"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared"))
TABLE = SHARED / "conformance" / "nodeside" / "quantity.yaml"


def rows(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [pytest.param(row, id=row["id"]) for row in yaml.safe_load(text)["cases"]]


def answer(row):
    """What we say to the row's input, in the words of the table."""
    if "a" in row:
        left, right = parse_quantity(row["a"]).value, parse_quantity(row["b"]).value
        return {"compare": (left > right) - (left < right)}
    if "power_of_ten" in row:
        quantity = parse_quantity(row["string"])
        rounded = quantity.rounded_up(row["power_of_ten"])
        return {"value": str(rounded), "exact": rounded == quantity.value}
    try:
        quantity = (
            parse_quantity(row["string"])
            if "string" in row
            else Quantity(Fraction(row["value"]), row["format"])
        )
    except ValueError:
        return {"error": True}
    return {"value": str(quantity.value), "format": quantity.format, "canonical": str(quantity)}


def check(row):
    found = answer(row["input"])
    assert {key: found.get(key) for key in row["expected"]} == row["expected"]


def check_signed(row):
    """Upstream also says: a leading + changes nothing, a leading - negates."""
    text = row["input"].get("string", "")
    if text[:1] in ("", "+", "-", " ") or "error" in row["expected"]:
        return
    plain = parse_quantity(text)
    assert parse_quantity(f"+{text}") == plain
    assert parse_quantity(f"-{text}") == Quantity(-plain.value, plain.format)


@pytest.mark.parametrize("row", rows(SAMPLE))
def test_sample_row_holds(row):
    check(row)


@pytest.mark.skipif(not TABLE.is_file(), reason="the shared data is not there; set SIM_SHARED")
@pytest.mark.parametrize("row", rows(TABLE) if TABLE.is_file() else [])
def test_every_row_holds(row):
    check(row)
    check_signed(row)
