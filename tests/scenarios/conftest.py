"""`--update` writes the golden files anew; the commit says why they moved."""

from __future__ import annotations


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite tests/scenarios/golden")
