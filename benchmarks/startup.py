"""How long a first answer takes: the help, and the main scenario as a whole process.

    python -m benchmarks.startup

Three figures from fresh processes, the best of several runs each: `help_s` for `python -m sim
--help`, `run_s` for the zone-failure scenario with its report, `imports_s` for importing numpy,
pandas and matplotlib alone, which is the floor of any data tool in Python.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.calibration import simpy_timeouts_per_s

ROOT = Path(__file__).parents[1]
IMPORTS = "import numpy, pandas, matplotlib.pyplot"
HEAVY = ("pandas", "matplotlib", "duckdb", "numpy")
PROBE = f"import sys, sim.cli; print([m for m in {HEAVY!r} if m in sys.modules])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    imports_s = best(["-c", IMPORTS], runs)
    run_s = best(["-m", "sim", "run", "scenarios/zone-failure.yaml"], runs)
    row = {
        "case": "startup",
        "help_s": best(["-m", "sim", "--help"], runs),
        "run_s": run_s,
        "imports_s": imports_s,
        "run_per_imports": round(run_s / imports_s, 2),
        "help_imports": subprocess.run(
            [sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip(),
        "simpy_timeouts_per_s": simpy_timeouts_per_s(),
    }
    print(json.dumps(row), flush=True)


def best(arguments: list[str], runs: int) -> float:
    """Wall time of the quickest of `runs` fresh processes, in seconds."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return round(min(times), 3)


if __name__ == "__main__":
    main()
