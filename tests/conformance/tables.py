"""Recorded tables: those below `--vectors DIR`, by default the sample and the shared ones."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import yaml

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared")) / "conformance"
NODESIDE = SHARED / "nodeside"

needs_shared = pytest.mark.skipif(
    not NODESIDE.is_dir(), reason="no shared data: set SIM_SHARED or put it beside the repository"
)


def rows_of(config, tables, keep=lambda table, row: True):
    """One parameter (table, row) per row of these tables that `keep` wants, each once."""
    chosen = config.getoption("vectors", None)
    folders = [Path(chosen)] if chosen else [SAMPLE, NODESIDE]
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml*")):
            table = path.name.partition(".")[0]
            for row in read(path)["cases"] if table in tables else ():
                found.setdefault((table, row["id"]), row)
    return [
        pytest.param(table, row, id=f"{table}-{name}")
        for (table, name), row in found.items()
        if keep(table, row)
    ]


def missing(tables):
    """Those that the shared data should hold and does not."""
    return [table for table in tables if not (NODESIDE / f"{table}.yaml").is_file()]


def read(path):
    """The content of a YAML file, gzipped or not."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return yaml.load(text, Loader=yaml.CSafeLoader)
