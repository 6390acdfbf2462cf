"""Scenarios: the format, how it is read and checked, and the value a run starts from."""

from sim.scenario.expressions import Expectation
from sim.scenario.faults import CpuSpeed, Fault, Maintenance, Spot
from sim.scenario.loading import Arrival, Scenario, load
from sim.scenario.models import (
    ControlPlane,
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
    "CpuSpeed",
    "Expectation",
    "Fault",
    "Kubelet",
    "Kubernetes",
    "Maintenance",
    "Metadata",
    "Pool",
    "Run",
    "Scenario",
    "Scheduler",
    "Spot",
    "Traffic",
    "load",
    "scenario_schema",
]
