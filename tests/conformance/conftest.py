"""Where recorded cases come from (`--vectors DIR`), and what was compared, summed up at the end."""

from __future__ import annotations

from collections import Counter


def pytest_addoption(parser):
    parser.addoption(
        "--vectors",
        metavar="DIR",
        help="search DIR for recorded cases (default: the sample, and the shared ones if present)",
    )


def pytest_terminal_summary(terminalreporter):
    """One line per family and per plugin of the scheduler's vectors."""
    tests, compared, failed = Counter(), Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            found = dict(report.user_properties)
            if report.when != "call" or "family" not in found:
                continue
            for group in (f"family {found['family']}", f"plugin {found['plugin']}"):
                tests[group] += 1
                compared[group] += found["compared"]
                failed[group] += outcome == "failed"
    if tests:
        terminalreporter.section("scheduler vectors")
    for group in sorted(tests):
        terminalreporter.write_line(
            f"{group:<42} {tests[group]:>5} tests {compared[group]:>9,} answers"
            f" {failed[group]:>4} tests differ"
        )
