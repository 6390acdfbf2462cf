"""Scenarios: the format, how it is read and checked, and the value a run starts from."""

from sim.scenario.expressions import Expectation
from sim.scenario.loading import Arrival, Scenario, load, scenario_schema
from sim.scenario.models import (
    ControlPlane,
    Fault,
    Kubelet,
    Kubernetes,
    Metadata,
    Run,
    Scheduler,
    Traffic,
)
from sim.scenario.pools import Pool

__all__ = [
    "Arrival",
    "ControlPlane",
    "Expectation",
    "Fault",
    "Kubelet",
    "Kubernetes",
    "Metadata",
    "Pool",
    "Run",
    "Scenario",
    "Scheduler",
    "Traffic",
    "load",
    "scenario_schema",
]
