"""A run: built from a scenario, let loose in virtual time, turned into a Result.

Everything that is done to a run from outside (manifests, faults, a caller's own actions) is one
list of timed actions; `Simulation.do` is the only place that carries them out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

import sim
from sim import eviction
from sim.actions import (
    ApplyDeployment,
    DeletePod,
    JoinNode,
    NodeAction,
    OutsideAction,
    RecoverNodes,
    ScaleDeployment,
    ShutdownNodes,
    Timed,
)
from sim.arrivals import STREAM_ANNOTATION, Stream
from sim.availability import Availability
from sim.catalog import CONTROLLERS, default_profile
from sim.clock import Clock, Lane
from sim.cluster import Cluster
from sim.controllers.node_lifecycle import LifecycleSettings, NodeLifecycle
from sim.controllers.podgc import PodGC
from sim.controllers.taint_eviction import TaintEviction
from sim.controllers.volumes import EphemeralClaims, prepare, templates_of
from sim.controlplane import ControlPlane, ControlPlaneSettings
from sim.deeds import check, do_to_node
from sim.endpoints import Endpoints
from sim.errors import SimError
from sim.faults.machines import Joining
from sim.faults.start import start_faults
from sim.kubelet import NO_EVICTION, Kubelet
from sim.nodepods import NodePods
from sim.nodes import DEFAULT_MAX_PODS, EVICTION_MEMORY_B, NodeShape
from sim.outcome import Outcome
from sim.podspec import MEMORY, PODS
from sim.podstate import V1_34, V1_35, V1_36
from sim.podtimes import PodTimes, pod_times
from sim.profiles import Configuration
from sim.recorder import Recorder
from sim.result import Result, RunInfo, frames_from_columns
from sim.rng import Streams, Uniforms
from sim.samples import Sampler
from sim.scheduler import Binding, Scheduler
from sim.search import nodes_to_find
from sim.tables import NEVER
from sim.templates import Template
from sim.traffic import Traffic

if TYPE_CHECKING:
    from simpy import Environment

    from sim.manifests import Manifests, NodeManifest, PodManifest
    from sim.podspec import Resources
    from sim.scenario import Scenario
    from sim.termination import ShutdownGroup

Process = Callable[["Simulation"], Generator[Any, Any, Any]]
Progress = Callable[[int, int], None]  # now_ms, end_ms

SCHEDULER_LATENCY_MS = 10  # watch delay before the scheduler sees a pod; measured median of bind 20
PROGRESS_STEPS = 100
GATES = {"1.35": V1_35, "1.36": V1_36}  # by release; before those, 1.34's
LIBRARIES = ("numpy", "pandas", "simpy", "duckdb")


class Simulation:
    """One run of a scenario. `env` is its SimPy environment, `cluster` its state.

    Use `sim.run` unless you want to look inside, or to act in the middle of it.
    """

    def __init__(self, scenario: Scenario, *, seed: int | None = None) -> None:
        self.scenario = scenario
        self.seed = scenario.run.seed if seed is None else seed
        if self.seed < 0:
            raise SimError(f"got the seed {self.seed}; expected 0 or more")
        self.end_ms = scenario.run.duration_ms
        self.streams = Streams(self.seed)
        self.cluster = Cluster(Clock(), Recorder())
        self.cluster.cpu_use.end_ms = self.cluster.memory_use.end_ms = self.end_ms
        self._build_actors()
        self._add_nodes()
        self._add_objects()
        self._add_arrivals()
        self.joining = Joining(self.cluster)
        start_faults(scenario, self.cluster, self.streams, self.do)
        if scenario.run.warm_up_ms:
            self.clock.at(scenario.run.warm_up_ms, Lane.SAMPLES, self._end_warm_up)
        self.sampler = Sampler(
            self.cluster, self.traffic, scenario.run.sample_ms, scenario.run.warm_up_ms
        )

    @property
    def clock(self) -> Clock:
        """The clock of the run."""
        return self.cluster.clock

    @property
    def env(self) -> Environment:
        """SimPy's environment; its time counts milliseconds."""
        return self.clock.env

    # Doing things to it

    def at(self, at_ms: int, action: OutsideAction) -> None:
        """Have `action` done at a moment; SimError when it names what does not exist."""
        self.clock.at(at_ms, Lane.FAULTS, self.do, action)

    def do(self, action: OutsideAction) -> None:
        """Do it now; SimError when it names what does not exist."""
        cluster = self.cluster
        check(action, cluster)
        if isinstance(action, JoinNode):
            self.joining.join(action.like)
        elif isinstance(action, ShutdownNodes):
            for node in action.nodes:
                self.kubelet.shut_down(node)
        elif isinstance(action, NodeAction):
            for node in action.nodes:
                if isinstance(action, RecoverNodes) and self.kubelet.comes_back(node):
                    continue
                do_to_node(action, node, cluster, self.kubelet)
        elif isinstance(action, ApplyDeployment):
            cluster.put_deployment(action.deployment)
        elif isinstance(action, ScaleDeployment):
            cluster.scale_deployment(action.namespace, action.name, action.replicas)
        elif isinstance(action, DeletePod):
            cluster.delete_pod(action.pod, action.reason)

    def process(self, process: Process) -> None:
        """Run a caller's own SimPy process beside ours: a generator function of this object."""
        self.env.process(process(self))

    def run(self, *, progress: Progress | None = None) -> Result:
        """Let time pass to the end, and look at the outcome; once."""
        if self.clock.now_ms >= self.end_ms:
            raise SimError("this simulation has run; make another one to run the scenario again")
        started = time.perf_counter()
        steps = PROGRESS_STEPS if progress else 1
        for step in range(1, steps + 1):
            until_ms = self.end_ms * step // steps
            if until_ms > self.clock.now_ms:
                self.clock.run(until_ms)
            if progress:
                progress(self.clock.now_ms, self.end_ms)
        return self._result(time.perf_counter() - started)

    # Building

    def _build_actors(self) -> None:
        scenario, cluster, streams = self.scenario, self.cluster, self.streams
        settings = scenario.control_plane
        ideal = settings.ideal
        self.availability = Availability(cluster)
        self.ephemeral_claims = EphemeralClaims(cluster)  # before the scheduler sees their pods
        self.scheduler = self._scheduler()
        self._pools = {pool.name: pool for pool in scenario.nodes}
        self.kubelet = Kubelet(
            cluster,
            streams,
            self._times_of,
            gates=GATES.get(scenario.kubernetes.version, V1_34),
            ideal=ideal,
            eviction=self._eviction_of,
            shutdown_groups=self._shutdown_groups_of,
        )
        self.node_pods = NodePods(cluster, {p.name: p.node_pods for p in scenario.nodes})
        self.lifecycle = NodeLifecycle(cluster, streams, self._lifecycle_settings())
        self.taint_eviction = TaintEviction(cluster, ideal=ideal)
        self.podgc = PodGC(cluster, streams, qps=settings.qps, burst=settings.burst, ideal=ideal)
        self.controlplane = ControlPlane(
            cluster,
            CONTROLLERS,
            ControlPlaneSettings(qps=settings.qps, burst=settings.burst, ideal=ideal),
        )
        rated = any(said.memory and said.memory.per_rps_b for said in scenario.behaviour)
        set_rate = self.kubelet.set_rate if rated else None
        self.traffic = Traffic(cluster, self.kubelet.set_load, set_rate)
        self.endpoints = Endpoints(cluster, streams, self.traffic.publish, ideal=ideal)

    def _scheduler(self) -> Scheduler:
        scenario, said = self.scenario, self.scenario.scheduler
        ideal, config = scenario.control_plane.ideal, configuration_in(scenario)
        binding = Binding(said.binding_latency_ms, said.client_qps, said.client_burst)
        takes_time = bool(binding.latency_ms or binding.qps) and not ideal
        return Scheduler(
            self.cluster,
            config.profiles,
            Uniforms(self.streams("scheduler/ties")),
            tie_break=said.tie_break,
            percentage=config.percentage_of_nodes_to_score,
            latency_ms=0 if ideal else SCHEDULER_LATENCY_MS,
            binding=binding if takes_time else None,
            backoff_s=(config.initial_backoff_s, config.max_backoff_s),
            record=said.record,
        )

    def _lifecycle_settings(self) -> LifecycleSettings:
        settings = self.scenario.control_plane
        return LifecycleSettings(
            monitor_period_ms=settings.node_monitor_period_ms,
            monitor_grace_ms=settings.node_monitor_grace_period_ms,
            eviction_rate_per_s=settings.node_eviction_rate,
            secondary_eviction_rate_per_s=settings.secondary_node_eviction_rate,
            large_cluster_threshold=settings.large_cluster_size_threshold,
            unhealthy_zone_threshold=settings.unhealthy_zone_threshold,
            qps=settings.qps,
            burst=settings.burst,
            ideal=settings.ideal,
        )

    def _shutdown_groups_of(self, node: int) -> tuple[ShutdownGroup, ...]:
        """How a node is shut down."""
        table = self.cluster.nodes
        pool = self._pools.get(table.pools[table.pool[node]])
        return pool.shutdown_groups if pool else ()

    def _eviction_of(self, node: int) -> eviction.Settings:
        """What the kubelet of a node evicts at."""
        return self.cluster.nodes.shapes[node].eviction or NO_EVICTION

    def _times_of(self, template: Template) -> PodTimes:
        """How the containers of a template behave, by the scenario's word."""
        times = pod_times(
            template,
            self.scenario.behaviour,
            self.scenario.kubelet,
            serves_requests=self._serves_requests(template),
        )
        stream = template.pod.annotations.get(STREAM_ANNOTATION)
        if stream is not None:
            arrival = next(a for a in self.scenario.arrivals if a.name == stream)
            times = replace(times, run=arrival.runtime)
        return times

    def _serves_requests(self, template: Template) -> bool:
        """Whether requests with a CPU cost are sent to its pods."""
        costly = {t.key for t in self.scenario.traffic if t.cpu_per_request_ms}
        return any(
            f"{service.namespace}/{service.name}" in costly and service.picks(template.pod)
            for service in self.scenario.manifests.services
        )

    def _add_nodes(self) -> None:
        for pool in self.scenario.nodes:
            for index in range(pool.count):
                self.cluster.add_node(
                    pool.node_name(index),
                    pool.shape,
                    zone=pool.zone_of(index),
                    pool=pool.name,
                    labels=pool.node_labels(index),
                    taints=pool.taints,
                )
        for node in self.scenario.manifests.nodes:
            zone = node.labels.get("topology.kubernetes.io/zone", "")
            self.cluster.add_node(
                node.name,
                shape_of(node),
                zone=zone,
                labels=node.labels,
                taints=node.taints,
                unschedulable=node.unschedulable,
                images=node.images,
            )

    def _add_objects(self) -> None:
        cluster, manifests = self.cluster, self.scenario.manifests
        for service in manifests.services:
            cluster.services[service.namespace, service.name] = service
        for budget in manifests.budgets:
            cluster.budgets[budget.namespace, budget.name] = budget
        for namespace in manifests.namespaces:
            cluster.namespaces[namespace.name] = namespace.labels
        self._add_storage()
        for traffic in self.scenario.traffic:
            namespace_, _, name = traffic.key.partition("/")
            self.endpoints.watch(cluster.services[namespace_, name])
            self.traffic.add((namespace_, name), traffic.rps, traffic.cpu_per_request_ms)
        for deployment in manifests.deployments:
            self.at(0, ApplyDeployment(replace(deployment)))
        self.clock.at(0, Lane.FAULTS, self._add_pods)

    def _add_storage(self) -> None:
        """Volumes, claims and the like, as they are before the first pod is placed."""
        sources = [self.scenario.manifests, *(a.manifests for a in self.scenario.arrivals)]
        templates = [template for source in sources for template in templates_of(source)]
        prepared = prepare(self.scenario.manifests.storage, templates)
        for value in prepared.objects:
            self.cluster.put_storage(value.kind, value.key, value)
        self.volume_notes = prepared.notes

    def _add_pods(self) -> None:
        """Jobs, and the ReplicaSets and pods that nothing else in the manifests makes."""
        manifests, cluster = self.scenario.manifests, self.cluster
        made = {("Deployment", d.namespace, d.name) for d in manifests.deployments}
        for replicaset in manifests.replica_sets:
            if ("Deployment", replicaset.namespace, replicaset.owner) not in made:
                cluster.put_replicaset(replace(replicaset, owner=""))
            made.add(("ReplicaSet", replicaset.namespace, replicaset.name))
        for job in manifests.jobs:
            cluster.put_job(replace(job))
            made.add(("Job", job.namespace, job.name))
        for pod in manifests.pods:
            owner = (pod.owner_kind, pod.namespace, pod.owner_name)
            if owner not in made and pod.phase not in ("Succeeded", "Failed"):
                self._add_pod(pod)

    def _add_pod(self, manifest: PodManifest) -> None:
        cluster = self.cluster
        owner = cluster.owner("Pod", manifest.namespace, manifest.name)
        cluster.create_pod(cluster.template(manifest.template), owner, manifest.name)

    def _add_arrivals(self) -> None:
        self.arrivals = [
            Stream(arrival, self.cluster, self.streams(f"arrivals/{arrival.name}"))
            for arrival in self.scenario.arrivals
        ]

    # Ending

    def _end_warm_up(self) -> None:
        """Averages count from here."""
        cluster, now_ms = self.cluster, self.clock.now_ms
        pods = cluster.pods
        self._settle_use()
        for column in (pods.cpu_m_ms, pods.memory_b_s, pods.used_ms):
            column[: len(pods)] = 0
        nodes = cluster.nodes
        for counted_ms, since_ms in (
            (nodes.down_ms, nodes.down_since_ms),
            (nodes.memory_pressure_ms, nodes.memory_pressure_since_ms),
        ):  # what has lasted until now is not counted
            counted_ms[:] = np.where(since_ms != NEVER, since_ms - now_ms, 0)
        self.availability.restart()
        for flow in self.traffic.flows.values():
            flow.restart(now_ms)

    def _settle_use(self) -> None:
        pods = self.cluster.pods
        for pod in pods.alive[: len(pods)].nonzero()[0].tolist():
            self.cluster.settle_use(pod)

    def _result(self, wall_s: float) -> Result:
        self._settle_use()
        self.availability.settle()
        self.sampler.take()
        outcome = Outcome(
            self.cluster,
            self.traffic,
            self.availability,
            self.sampler,
            self.scheduler.decisions,
            self.clock.now_ms,
            self.scenario.run.warm_up_ms,
            self.kubelet.waits_for,
        )
        tables = frames_from_columns(outcome.tables())
        return Result(tables, self.scenario.source, self._info(wall_s), self.scenario.expect)

    def _info(self, wall_s: float) -> RunInfo:
        scenario = self.scenario
        names = [*self.cluster.nodes.names, *(o.name for o in self.cluster.owners)]
        return RunInfo(
            name=scenario.name,
            seed=self.seed,
            duration_s=self.clock.now_ms / 1000,
            start=scenario.run.start.isoformat().replace("+00:00", "Z"),
            kubernetes=scenario.kubernetes.version,
            event_hash=self.cluster.recorder.hash(names),
            warm_up_s=scenario.run.warm_up_ms / 1000,
            question=question_of(scenario),
            versions={"strandline": sim.__version__, **_versions()},
            unmodelled=unmodelled(scenario),
            notes=(*notes_of(scenario, len(self.cluster.nodes)), *self.volume_notes),
            warnings=tuple(map(str, scenario.manifests.warnings)),
            engine_events=self.clock.calls,
            wall_s=wall_s,
        )


def run(
    scenario: Scenario,
    *,
    seed: int | None = None,
    processes: Sequence[Process] = (),
    actions: Iterable[Timed] = (),
    progress: Progress | None = None,
) -> Result:
    """Run a scenario: same scenario and seed, same result, byte for byte.

    `processes` are generator functions of the Simulation, run as SimPy processes beside ours
    (`yield simulation.env.timeout(60_000)` waits a minute); `actions` are done at their times.
    """
    from sim.scenario import Scenario as Value

    if not isinstance(scenario, Value):
        raise SimError(f"got {scenario!r}; expected a Scenario, as sim.load(path) gives it")
    again = partial(_simulation, scenario, seed, tuple(actions), tuple(processes))
    result = again().run(progress=progress)
    result.again = again
    return result


def _simulation(
    scenario: Scenario,
    seed: int | None,
    actions: tuple[Timed, ...],
    processes: tuple[Process, ...],
) -> Simulation:
    """A run that has not begun; what it does to Deployments it does to copies of its own."""
    simulation = Simulation(scenario, seed=seed)
    for timed in deepcopy(actions):
        simulation.at(timed.at_ms, timed.action)
    for process in processes:
        simulation.process(process)
    return simulation


def configuration_in(scenario: Scenario) -> Configuration:
    """The scheduler's configuration, that of kube-scheduler where the scenario says nothing."""
    return scenario.configuration or Configuration({"default-scheduler": default_profile()})


def notes_of(scenario: Scenario, nodes: int) -> tuple[str, ...]:
    """Modelling choices in force that move results."""
    notes = [
        "A container whose use the scenario does not give uses what it requests; one that serves"
        " requests with cpuPerRequest uses CPU for these alone."
    ]
    if _has_init_containers(scenario):
        notes.append(
            "An init container of which the scenario gives no run or exit runs for 1 s; lifecycle"
            " hooks other than sleep take no time unless it gives postStart or preStop."
        )
    enough = nodes_to_find(nodes, configuration_in(scenario).percentage_of_nodes_to_score)
    if enough < nodes:
        notes.append(
            f"The scheduler looks at nodes one after the other until {enough} of {nodes} take the"
            " pod, as kube-scheduler with one worker (percentageOfNodesToScore)."
        )
    if scenario.control_plane.ideal:
        notes.append("The control plane has no delays and no rate limits (controlPlane.ideal).")
    return tuple(notes)


def _has_init_containers(scenario: Scenario) -> bool:
    sources = [scenario.manifests, *(arrival.manifests for arrival in scenario.arrivals)]
    specs = [template.spec for source in sources for template in templates_of(source)]
    return any(c for spec in specs for c in spec.init_containers if not c.sidecar)


def shape_of(node: NodeManifest) -> NodeShape:
    """The size of a node from a manifest: what it says, and no reservations beyond that.

    Of the thresholds that its kubelet evicts at it says nothing; they are a kubelet's own, as far
    as something is kept from pods.
    """
    kept_b = node.capacity.get(MEMORY, 0) - node.allocatable.get(MEMORY, 0)
    return NodeShape(
        eviction=eviction.of_memory(min(kept_b, EVICTION_MEMORY_B)),
        capacity=_without_pods(node.capacity),
        allocatable=_without_pods(node.allocatable),
        kubepods=_without_pods(node.capacity),
        max_pods=node.allocatable.get(PODS, DEFAULT_MAX_PODS),
        price_usd_per_hour=0.0,
        instance_type=node.labels.get("node.kubernetes.io/instance-type", ""),
    )


def _without_pods(amounts: Resources) -> Resources:
    return {name: amount for name, amount in amounts.items() if name != PODS}


def question_of(scenario: Scenario) -> str:
    """The question in the comment that opens a scenario file, '' without one."""
    if scenario.path is None:
        return ""
    try:
        first = scenario.path.read_text(encoding="utf-8").split("\n", 1)[0]
    except OSError:
        return ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def unmodelled(scenario: Scenario) -> dict[str, int]:
    """What the inputs use and a run does not heed, with how often."""
    manifests: Manifests = scenario.manifests
    return {
        **{f"kind {kind}": count for kind, count in sorted(manifests.unmodelled_kinds.items())},
        **dict(sorted(manifests.unmodelled_fields.items())),
        **dict.fromkeys(scenario.unmodelled, 1),
    }


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
