"""Streams of pods or Jobs that arrive over time, fed lazily: one pending arrival per stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sim.clock import Lane
from sim.podspec import PodTemplate
from sim.workloads import Job

if TYPE_CHECKING:
    import numpy as np

    from sim.behaviour import Distribution
    from sim.cluster import Cluster
    from sim.scenario import Arrival

STREAM_ANNOTATION = "sim/stream"  # which stream a pod came with; gives it its run time
BLOCK = 1024


class Stream:
    """One stream at work."""

    def __init__(self, arrival: Arrival, cluster: Cluster, rng: np.random.Generator) -> None:
        self._cluster = cluster
        self._arrival = arrival
        self._job, self._template = _made_by(arrival)
        namespace = self._template.namespace
        self._workload = cluster.workload("Stream", namespace, arrival.name)
        self._owner = cluster.owner("Stream", namespace, arrival.name, self._workload)
        self._interned = cluster.template(self._template)
        self._gaps = _draws(arrival.every, rng)
        self.arrived = 0
        self._at_ms = arrival.start_ms
        self._next()

    def _next(self) -> None:
        if self._arrival.count is not None and self.arrived >= self._arrival.count:
            return
        self._at_ms += next(self._gaps)
        until_ms = self._arrival.until_ms
        if until_ms is None or self._at_ms < until_ms:
            self._cluster.clock.at(self._at_ms, Lane.API, self._arrive)

    def _arrive(self) -> None:
        self.arrived += 1
        if self._job is None:
            self._cluster.create_pod(self._interned, self._owner)
        else:
            job = replace(self._job, name=f"{self._arrival.name}-{self.arrived}")
            self._cluster.put_job(job, self._workload)
        self._next()


def _made_by(arrival: Arrival) -> tuple[Job | None, PodTemplate]:
    """What each arrival makes: a Job or None for a bare pod, and the pod template."""
    manifests = arrival.manifests
    job = manifests.jobs[0] if manifests.jobs else None
    template = job.template if job else manifests.pods[0].template
    spec = template.spec
    if spec.restart_policy == "Always":  # a pod with an end is not started again
        spec = replace(spec, restart_policy="Never")
    marked = {**template.annotations, STREAM_ANNOTATION: arrival.name}
    template = PodTemplate(template.namespace, template.labels, spec, marked)
    return (replace(job, template=template) if job else None), template


def _draws(distribution: Distribution, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from distribution.sample_ms(rng, BLOCK).tolist()
