"""Scenarios: the format, how it is read and checked, and the value a run starts from."""

from sim.scenario.expressions import Expectation
from sim.scenario.loading import Arrival, Scenario, load
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
from sim.scenario.schema import scenario_schema

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
