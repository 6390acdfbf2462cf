"""The scenario format as JSON Schema, from the models that validate it."""

from __future__ import annotations

from functools import cache
from typing import Any

from sim.scenario.models import ScenarioForm
from sim.units import format_bytes, format_cpu, format_duration_ms

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# How the models' integers are written in YAML, by the unit that their schema names.
_TEXT = {"duration": format_duration_ms, "bytes": format_bytes, "cores": format_cpu}


@cache
def scenario_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) with descriptions, units and defaults, for editors."""
    schema: dict[str, Any] = _as_written(ScenarioForm.model_json_schema(by_alias=True))
    return {"$schema": DIALECT, **schema, "title": "Scenario"}


def _as_written(schema: Any) -> Any:
    """The schema with defaults as a user would write them; "default: null" says nothing."""
    if isinstance(schema, list):
        return [_as_written(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    written = {key: _as_written(value) for key, value in schema.items()}
    if "default" not in schema or isinstance(schema["default"], dict):
        return written
    text = _TEXT.get(str(schema.get("unit")))
    if schema["default"] is None or schema.get("unit") == "bytes per time":
        del written["default"]
    elif text:
        written["default"] = text(schema["default"])
    return written
