"""A discrete-event simulator of Kubernetes clusters: what would happen, before it happens.

    import sim
    result = sim.run(sim.load("scenarios/zone-failure.yaml"), seed=7)

Names are imported when they are first used, so that `import sim` costs almost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.comparison import Comparison, compare
    from sim.engine import Simulation, run
    from sim.errors import Position, Problem, ScenarioError, SimError
    from sim.result import Result
    from sim.scenario import Scenario, load
    from sim.whatif import WhatIf, what_if

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Position",
    "Problem",
    "Result",
    "Scenario",
    "ScenarioError",
    "SimError",
    "Simulation",
    "WhatIf",
    "__version__",
    "compare",
    "load",
    "run",
    "what_if",
]

_HOMES = {
    "Comparison": "comparison",
    "compare": "comparison",
    "Position": "errors",
    "Problem": "errors",
    "ScenarioError": "errors",
    "SimError": "errors",
    "Result": "result",
    "Scenario": "scenario",
    "load": "scenario",
    "Simulation": "engine",
    "run": "engine",
    "WhatIf": "whatif",
    "what_if": "whatif",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    value = getattr(import_module(f"sim.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
