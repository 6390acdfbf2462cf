"""What every test may use: the shared data, if it is there, and Hypothesis profiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Other work on the machine must not fail a test: no deadlines, and slow data is no fault.
_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=50, derandomize=True, **_CALM)
settings.register_profile("ci", max_examples=500, derandomize=True, **_CALM)
settings.register_profile("nightly", max_examples=20_000, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data: from SIM_SHARED, else beside the repository."""
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("SIM_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"the shared data is not there ({folder}); set SIM_SHARED")
    return folder
