"""The scenario format: one model per mapping, one field per key.

These models are the one source for validation, messages and the JSON Schema. Defaults that are our
choice and not Kubernetes' say so in their description ("modelling choice").
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from sim import behaviour, instances
from sim.errors import did_you_mean
from sim.manifests.value import LARGEST_CPU_M
from sim.nodes import Provider
from sim.podspec import Effect
from sim.scenario.expressions import Expectation, parse_expectation
from sim.scenario.faults import CpuSpeed, Fault, Maintenance, Spot
from sim.scenario.fields import (
    Bytes,
    Count,
    CpuM,
    Dist,
    DurationMs,
    Flag,
    Integer,
    Model,
    Name,
    Number,
    PositiveMs,
    Resources,
    Share,
    Threshold,
    expected,
    wrong,
)
from sim.scenario.laws import CpuForm, Given, MemoryForm

VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36")
TIMELINE_SAMPLES = 240
NOTHING_GIVEN = Given()


def _instant(value: object) -> datetime:
    """An RFC 3339 time; a time without zone has no place on the simulated clock."""
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise expected("an RFC 3339 time such as '2025-10-01T12:00:00Z'")
    return instant


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "description": "RFC 3339 time"}),
]


class Metadata(Model):
    name: Name = Field(description="Name of the scenario, shown in reports.")
    labels: dict[str, str] = Field(default={}, description="Free labels.")
    annotations: dict[str, str] = Field(default={}, description="Free notes.")


class Run(Model):
    """How long, from when, and with which random numbers."""

    duration_ms: PositiveMs = Field(alias="duration", description="Simulated time.")
    seed: Annotated[Integer, Field(ge=0)] = Field(
        default=0, description="Seed of all random streams."
    )
    warm_up_ms: DurationMs = Field(
        default=0, alias="warmUp", description="Time at the start that no average counts."
    )
    start: Instant = Field(
        default=datetime.fromisoformat("2025-10-01T12:00:00Z"),
        description="Date and time at which the run starts (modelling choice).",
    )
    sample: PositiveMs | None = Field(
        default=None,
        description="Interval of the timeline's samples. Default: duration / 240 in whole seconds.",
    )

    @property
    def sample_ms(self) -> int:
        """Interval of the timeline's samples."""
        if self.sample is not None:
            return self.sample
        return max(1, -(-self.duration_ms // (TIMELINE_SAMPLES * 1000))) * 1000

    @property
    def start_ms(self) -> int:
        """Start of the run in milliseconds since 1970, as cron schedules need it."""
        return round(self.start.timestamp() * 1000)

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Run:
        if self.warm_up_ms >= self.duration_ms:
            raise wrong("warmUp is not shorter than duration, so nothing would be counted.")
        return self


def _version(value: object) -> object:
    return str(value) if isinstance(value, float) else value  # an unquoted 1.34


class Kubernetes(Model):
    """Which release's defaults hold where releases differ."""

    version: Annotated[
        Literal["1.32", "1.33", "1.34", "1.35", "1.36"],
        BeforeValidator(_version),
        WithJsonSchema({"enum": [*VERSIONS, *map(float, VERSIONS)]}),
    ] = Field(default="1.34", description="Kubernetes release.")


class PluginForm(Model):
    """A scheduler plugin of the user's own."""

    plugin: Name = Field(description="FILE.py:Class, relative to this file.")
    weight: Annotated[Count, Field(ge=1)] = Field(
        default=1, description="What its scores are multiplied with."
    )
    args: dict[str, Any] = Field(default={}, description="Keyword arguments of the class.")
    scheduler: str = Field(
        default="", description="The only profile in which it runs. Default: all."
    )


def _form_of_plugin(value: object) -> str:
    return "<form>" if isinstance(value, dict | PluginForm) else "<text>"


def _plugin_form(value: Any) -> PluginForm:
    return value if isinstance(value, PluginForm) else PluginForm(plugin=value)


if TYPE_CHECKING:
    Plugin = PluginForm  # what a validated field holds
else:
    Plugin = Annotated[
        Annotated[Name, Tag("<text>")] | Annotated[PluginForm, Tag("<form>")],
        Discriminator(_form_of_plugin),
        AfterValidator(_plugin_form),
    ]


def _config(value: object) -> object:
    if value is None:  # --set scheduler.config=null: kube-scheduler's own
        return None
    if not value or not isinstance(value, str | dict):
        raise expected("the path of a KubeSchedulerConfiguration, or one written here")
    return value


class Scheduler(Model):
    """The scheduler's configuration, and how it behaves where the real one leaves a choice."""

    tie_break: Literal["random", "first"] = Field(
        default="random",
        description="Which of the best nodes is taken: a random one, as kube-scheduler does, "
        "or the one looked at first.",
    )
    record: Flag = Field(
        default=False, description="Fill the table `decisions`, one row per attempt."
    )
    config: Annotated[
        Any, BeforeValidator(_config), WithJsonSchema({"type": ["string", "object"]})
    ] = Field(
        default=None,
        description="A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): the path of a "
        "file, relative to this one, or the configuration itself. Default: kube-scheduler's.",
    )
    plugins: tuple[Plugin, ...] = Field(
        default=(),
        description="Plugins of your own, FILE.py:Class; run only with --allow-plugins.",
    )
    binding_latency_ms: DurationMs = Field(
        default=0,
        alias="bindingLatency",
        description="From the decision until the API has the binding. Default: 0 "
        "(modelling choice).",
    )
    client_qps: Annotated[Number, Field(ge=0.001)] | None = Field(
        default=None,
        description="API calls per second of the scheduler. Default: no limit "
        "(modelling choice; kube-scheduler's default is 50).",
    )
    client_burst: Annotated[Count, Field(ge=1)] = Field(
        default=100, description="API calls that may come at once, with clientQps."
    )


class TaintForm(Model):
    key: Name = Field(description="Key of the taint.")
    value: str = Field(default="", description="Value of the taint.")
    effect: Effect = Field(description="What it does to pods that do not tolerate it.")


class EvictionHard(Model):
    """Hard eviction thresholds; when given, those that are not named are off (as in a kubelet)."""

    memory: Threshold | None = Field(default=None, description="memory.available")
    ephemeral_storage: Threshold | None = Field(
        default=None, alias="ephemeral-storage", description="nodefs.available"
    )


class EvictionAmounts(Model):
    """Amounts of the kubelet's eviction signals."""

    memory: Threshold | None = Field(default=None, description="memory.available")
    ephemeral_storage: Threshold | None = Field(
        default=None, alias="ephemeral-storage", description="nodefs.available"
    )


class EvictionGraces(Model):
    """Durations for the kubelet's eviction signals."""

    memory: PositiveMs | None = Field(default=None, description="memory.available")
    ephemeral_storage: PositiveMs | None = Field(
        default=None, alias="ephemeral-storage", description="nodefs.available"
    )


class OsOverhead(Model):
    memory_fraction: Share = Field(
        description="Share of advertised memory that hypervisor and kernel keep. Default: 0.075 "
        "for AWS and Azure types (Karpenter's VM_MEMORY_OVERHEAD_PERCENT), the GCE kernel's "
        "formula for GCP types, 0 for given capacity."
    )


class OverheadPodForm(Model):
    """A pod that every node of the pool runs: a DaemonSet's, or a static one."""

    name: Name = Field(description="Name; its node's name is added.")
    cpu_m: CpuM = Field(default=0, alias="cpu", description="CPU that it requests, and uses.")
    memory_b: Bytes = Field(
        default=0, alias="memory", description="Memory that it requests, and uses."
    )
    count: Annotated[Count, Field(ge=1)] = Field(default=1, description="How many such pods.")


def _known_type(name: str) -> str:
    if name not in instances.names():
        raise wrong(f"no instance type {name!r}.", did_you_mean(name, instances.names()))
    return name


class PoolForm(Model):
    """A pool of equal nodes, named pool-0, pool-1, ..."""

    pool: Name = Field(description="Name of the pool; its nodes are called <pool>-0, <pool>-1 ...")
    count: Annotated[Count, Field(le=1_000_000)] = Field(description="Number of nodes.")
    zones: tuple[str, ...] = Field(
        default=("",), min_length=1, description="Zones to which the nodes are dealt in turn."
    )
    region: str = Field(
        default="", description="Region: node label, and the price list that is used."
    )
    instance_type: Annotated[str, AfterValidator(_known_type)] | None = Field(
        default=None, description="Type from the catalogue."
    )
    provider: Provider | None = Field(
        default=None,
        description="Whose rules for reservations and pods per node hold. Default: the managed "
        "service of the type's cloud (eks, gke, aks); for given capacity none, so that allocatable "
        "is capacity and at most 110 pods run (modelling choice).",
    )
    capacity: Resources = Field(
        default={}, description="What the node has, by resource; goes before the instance type's."
    )
    reserved: Resources | None = Field(
        default=None,
        description="All that is kept from pods (system and kube), instead of the provider's.",
    )
    system_reserved: Resources | None = Field(
        default=None,
        description="The kubelet's systemReserved, per resource instead of the provider's.",
    )
    kube_reserved: Resources | None = Field(
        default=None,
        description="The kubelet's kubeReserved, per resource instead of the provider's.",
    )
    eviction_hard: EvictionHard | None = Field(
        default=None, description="Hard eviction thresholds, instead of the provider's."
    )
    eviction_soft: EvictionAmounts = Field(
        default_factory=EvictionAmounts,
        description="Soft eviction thresholds: met for longer than evictionSoftGracePeriod, pods "
        "are evicted.",
    )
    eviction_soft_grace_period: EvictionGraces = Field(
        default_factory=EvictionGraces,
        description="For how long; each soft threshold needs one.",
    )
    eviction_minimum_reclaim: EvictionAmounts = Field(
        default_factory=EvictionAmounts,
        description="How much more than a threshold has to be available until evictions stop.",
    )
    eviction_pressure_transition_period_ms: DurationMs = Field(
        default=300_000,
        alias="evictionPressureTransitionPeriod",
        description="How long a pressure condition lasts after the last time it was seen.",
    )
    eviction_max_pod_grace_period_ms: DurationMs = Field(
        default=0,
        alias="evictionMaxPodGracePeriod",
        description="Most time to stop that a pod has which is evicted at a soft threshold.",
    )
    max_pods: Count | None = Field(
        default=None, description="Most pods on a node, whatever their size."
    )
    os_overhead: OsOverhead | None = Field(
        default=None, description="Advertised memory that never reaches the kubelet."
    )
    price_per_hour: Number | None = Field(
        default=None,
        description="USD per hour and node. Default: the catalogue's list price, else 0.",
    )
    overhead_pods: tuple[OverheadPodForm, ...] = Field(
        default=(),
        description="Pods that run on every node from its start on (DaemonSets, static pods). They "
        "take room and pod slots; no workload counts them.",
    )
    shutdown_grace_period_ms: DurationMs = Field(
        default=0,
        alias="shutdownGracePeriod",
        description="The kubelet's shutdownGracePeriod: time in which pods are stopped when a node "
        "is shut down. Default: 0, no graceful shutdown.",
    )
    shutdown_grace_period_critical_pods_ms: DurationMs = Field(
        default=0,
        alias="shutdownGracePeriodCriticalPods",
        description="The part of it that is kept for critical pods, which are stopped last.",
    )
    boot: Dist = Field(
        default_factory=lambda: behaviour.Uniform(180_000, 300_000),
        description="From the order of a new node until it has joined. Default: uniform, 3 to 5 "
        "minutes (modelling choice).",
    )
    cpu_speed: CpuSpeed | None = Field(
        default=None, description="How fast its machines are. Default: all as they should be."
    )
    spot: Spot | None = Field(default=None, description="Its machines may be taken back any time.")
    labels: dict[str, str] = Field(default={}, description="Labels of its nodes.")
    taints: tuple[TaintForm, ...] = Field(default=(), description="Taints of its nodes.")

    @model_validator(mode="after")
    def _has_a_size(self) -> PoolForm:
        if self.instance_type is None:
            missing = [name for name in ("cpu", "memory") if name not in self.capacity]
            if missing:
                raise wrong("expected an instanceType, or a capacity with cpu and memory.")
        if self.reserved is not None and (self.system_reserved or self.kube_reserved):
            raise wrong("expected either reserved, or systemReserved and kubeReserved.")
        return self

    @model_validator(mode="after")
    def _shutdown_is_possible(self) -> PoolForm:
        if self.shutdown_grace_period_critical_pods_ms > self.shutdown_grace_period_ms:
            raise wrong("shutdownGracePeriodCriticalPods is more than shutdownGracePeriod.")
        return self

    @model_validator(mode="after")
    def _soft_thresholds_have_graces(self) -> PoolForm:
        grace = self.eviction_soft_grace_period
        for name in ("memory", "ephemeral_storage"):
            if getattr(self.eviction_soft, name) is not None and getattr(grace, name) is None:
                key = name.replace("_", "-")
                raise wrong(f"evictionSoft.{key} needs evictionSoftGracePeriod.{key}.")
        return self


class ControlPlane(Model):
    """Timing of the controllers (flags of kube-controller-manager, v1.34)."""

    members: Annotated[Integer, Field(ge=1)] = Field(
        default=1, description="etcd members. Accepted, not modelled yet."
    )
    zones: tuple[str, ...] = Field(
        default=(), description="Zones of the members. Accepted, not modelled yet."
    )
    node_monitor_period_ms: PositiveMs = Field(
        default=5_000, alias="nodeMonitorPeriod", description="How often node health is looked at."
    )
    node_monitor_grace_period_ms: DurationMs = Field(
        default=50_000,
        alias="nodeMonitorGracePeriod",
        description="Silence after which a node is unreachable (50 s since 1.32).",
    )
    node_eviction_rate: Number = Field(
        default=0.1, description="Nodes per second whose pods are evicted, per zone."
    )
    secondary_node_eviction_rate: Number = Field(
        default=0.01, description="The same while a large zone is mostly unhealthy."
    )
    large_cluster_size_threshold: Count = Field(
        default=50,
        description="Zones of up to this many nodes stop evicting while mostly unhealthy.",
    )
    unhealthy_zone_threshold: Share = Field(
        default=0.55, description="Share of nodes not ready that makes a zone mostly unhealthy."
    )
    qps: Annotated[Number, Field(ge=0.001)] = Field(
        default=20.0, description="API writes per second of each controller."
    )
    burst: Annotated[Count, Field(gt=0)] = Field(
        default=30, description="API writes that may come at once."
    )
    ideal: Flag = Field(
        default=False, description="No delays and no rate limits anywhere in the control plane."
    )


class Kubelet(Model):
    """Delays on the nodes."""

    startup: Dist = Field(
        default_factory=lambda: behaviour.Lognormal.of_p99(1_200, 5_000),
        description="Sandbox and container start. Default: lognormal with median 1.2 s and p99 5 s "
        "(modelling choice; the p99 is Kubernetes' pod start-up objective, kubernetes/community "
        "sig-scalability/slos/pod_startup_latency.md).",
    )
    watch_delay: Dist = Field(
        default_factory=lambda: behaviour.Uniform(0, 100),
        description="From binding until the kubelet sees the pod. Default: uniform, 0 to 100 ms "
        "(modelling choice).",
    )
    image_pull: Dist = Field(
        default_factory=lambda: behaviour.Constant(0),
        description="Pulling an image. Default: 0 s, images are there (modelling choice).",
    )
    shutdown: Dist = Field(
        default_factory=lambda: behaviour.Constant(1_000),
        description="From TERM until a container exits. Default: 1 s (modelling choice).",
    )


class Traffic(Model):
    """A steady stream of requests to a Service."""

    service: Name = Field(description="'namespace/name', or 'name' in namespace default.")
    rps: Number = Field(description="Requests per second.")
    cpu_per_request_ms: DurationMs = Field(
        default=0, alias="cpuPerRequest", description="CPU time one request takes."
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Traffic:
        if self.rps * max(self.cpu_per_request_ms, 1) > LARGEST_CPU_M:
            raise wrong(
                f"rps times cpuPerRequest is more than {LARGEST_CPU_M // 1000} cores can do."
            )
        return self

    @property
    def key(self) -> str:
        """'namespace/name' of the Service."""
        return self.service if "/" in self.service else f"default/{self.service}"


class FailureForm(Model):
    failure_rate: Share = Field(
        default=0.0, description="Probability that a probe fails though the container is well."
    )
    fails_from_ms: DurationMs | None = Field(
        default=None,
        alias="failsFrom",
        description="Time of the run from which on every probe fails, as when the file that it "
        "looks for is removed. Default: never.",
    )
    until_ms: DurationMs | None = Field(
        default=None, alias="until", description="Time until which they fail. Default: for good."
    )
    pods: Annotated[Count, Field(ge=1)] | None = Field(
        default=None,
        description="Only those of the first so many pods that each owner (a ReplicaSet, a Job) "
        "makes. Default: of all.",
    )

    @model_validator(mode="after")
    def _spell_is_possible(self) -> FailureForm:
        if self.fails_from_ms is None:
            if self.until_ms is not None or self.pods is not None:
                raise wrong("expected failsFrom beside until and pods.")
        elif self.until_ms is not None and self.until_ms <= self.fails_from_ms:
            raise wrong("until is not later than failsFrom, so no probe would fail.")
        return self

    @property
    def spell(self) -> behaviour.Spell | None:
        """The time in which every probe fails."""
        if self.fails_from_ms is None:
            return None
        return behaviour.Spell(self.fails_from_ms, self.until_ms, self.pods)


class ProbesForm(Model):
    latency_ms: DurationMs = Field(
        default=1,
        alias="latency",
        description="CPU time one probe needs (default 1 ms: modelling choice).",
    )
    liveness: FailureForm = Field(default_factory=FailureForm, description="Liveness probes.")
    readiness: FailureForm = Field(default_factory=FailureForm, description="Readiness probes.")
    startup: FailureForm = Field(default_factory=FailureForm, description="Startup probes.")

    def value(self) -> behaviour.ProbeBehaviour:
        """The value the engine works with."""
        return behaviour.ProbeBehaviour(
            latency_ms=self.latency_ms,
            liveness_failure_rate=self.liveness.failure_rate,
            readiness_failure_rate=self.readiness.failure_rate,
            startup_failure_rate=self.startup.failure_rate,
            liveness_spell=self.liveness.spell,
            readiness_spell=self.readiness.spell,
            startup_spell=self.startup.spell,
        )


class CrashForm(Model):
    every: Dist = Field(description="Time from a container's start to its crash.")
    exit_code: Annotated[Integer, Field(ge=0, le=255)] = Field(default=1, description="Exit code.")

    def value(self) -> behaviour.Ending:
        """The value the engine works with."""
        return behaviour.Ending(self.every, self.exit_code)


class ExitForm(Model):
    after: Dist = Field(description="Time from a container's start to its end.")
    code: Annotated[Integer, Field(ge=0, le=255)] = Field(default=0, description="Exit code.")

    def value(self) -> behaviour.Ending:
        """The value the engine works with."""
        return behaviour.Ending(self.after, self.code)


class BehaviourForm(Model):
    """How the containers of matching pods behave; of two entries that match, the later one wins."""

    match: dict[str, str] = Field(
        default={}, description="Labels that the pod has; none: every pod."
    )
    namespace: str | None = Field(default=None, description="Only pods of this namespace.")
    container: str | None = Field(default=None, description="Only containers of this name.")
    image_pull: Dist | None = Field(default=None, description="Pulling the image.")
    startup: Dist | None = Field(
        default=None, description="From container start until the application answers. Default: 0."
    )
    shutdown: Dist | None = Field(default=None, description="From TERM until the container exits.")
    pre_stop: Dist | None = Field(
        default=None,
        description="Its preStop hook, before TERM. Default: the seconds of a sleep, 0 for other "
        "handlers (modelling choice).",
    )
    post_start: Dist | None = Field(
        default=None,
        description="Its postStart hook, before the next container starts. Default: the seconds "
        "of a sleep, 0 for other handlers (modelling choice).",
    )
    run: Dist | None = Field(
        default=None,
        description="How long it runs until it ends with exit code 0; short for exit. Default of "
        "init containers: 1 s (modelling choice).",
    )
    cpu: CpuForm | None = Field(default=None, description="CPU in use.")
    memory: MemoryForm | None = Field(default=None, description="Memory in use.")
    probes: ProbesForm | None = Field(default=None, description="Cost and luck of its probes.")
    crash: CrashForm | None = Field(default=None, description="It crashes again and again.")
    exit: ExitForm | None = Field(default=None, description="It ends by itself.")

    @model_validator(mode="after")
    def _one_end(self) -> BehaviourForm:
        if self.run is not None and self.exit is not None:
            raise wrong("expected either run or exit.")
        return self

    def value(self, given: Given = NOTHING_GIVEN) -> behaviour.Behaviour:
        """The value the engine works with; `given` is what its laws depend on."""
        return behaviour.Behaviour(
            match=dict(self.match),
            namespace=self.namespace,
            container=self.container,
            image_pull=self.image_pull,
            startup=self.startup,
            shutdown=self.shutdown,
            post_start=self.post_start,
            pre_stop=self.pre_stop,
            cpu_m=self.cpu.base_m if self.cpu else None,
            cpu=self.cpu.law(given) if self.cpu else None,
            memory=self.memory.value(given) if self.memory else None,
            probes=self.probes.value() if self.probes else None,
            crash=self.crash.value() if self.crash else None,
            exit=self._exit(),
        )

    def _exit(self) -> behaviour.Ending | None:
        if self.run is not None:
            return behaviour.Ending(self.run, 0)
        return self.exit.value() if self.exit else None


class ArrivalForm(Model):
    """Pods or Jobs that arrive over time."""

    name: Name = Field(description="Name of the stream; names of what arrives begin with it.")
    every: Dist = Field(description="Time between two arrivals.")
    template: Name = Field(description="Path of a manifest with one Pod or Job.")
    runtime: Dist = Field(description="How long each runs.")
    start_ms: DurationMs = Field(default=0, alias="start", description="Nothing arrives before.")
    until_ms: DurationMs | None = Field(
        default=None,
        alias="until",
        description="Nothing arrives from then on. Default: end of the run.",
    )
    count: Count | None = Field(default=None, description="Most arrivals.")

    @model_validator(mode="after")
    def _time_goes_on(self) -> ArrivalForm:
        if self.count is None and self.every.mean_ms == 0:
            raise wrong("every is always 0, so that arrivals never end; expected a count too.")
        return self


def _expectation(text: object) -> Expectation:
    if not isinstance(text, str):
        raise expected("a text such as 'stranded.cpu <= 10%'")
    try:
        return parse_expectation(text)
    except ValueError as error:
        message, hint = error.args[0], error.args[1] if len(error.args) > 1 else ""
        raise wrong(message, hint) from None


Expected = Annotated[
    Any,
    BeforeValidator(_expectation),
    WithJsonSchema(
        {
            "type": "string",
            "examples": ['availability{service="shop/frontend"} >= 99.5%', "stranded.cpu <= 10%"],
        }
    ),
]


def _distinct(pools: tuple[PoolForm, ...]) -> tuple[PoolForm, ...]:
    names = [pool.pool for pool in pools]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise wrong(f"pool {twice[0]!r} stands here twice; expected a name of its own for each.")
    return pools


class ScenarioForm(Model):
    """A scenario: what exists, what runs, what happens, and what to check."""

    api_version: Literal["sim/v1"] = Field(description="Version of this format.")
    kind: Literal["Scenario"] = Field(description="Always Scenario.")
    metadata: Metadata = Field(description="Name of the scenario.")
    run: Run = Field(description="How long, from when, and with which random numbers.")
    kubernetes: Kubernetes = Field(default_factory=Kubernetes, description="Release.")
    scheduler: Scheduler = Field(default_factory=Scheduler, description="Scheduler.")
    nodes: Annotated[tuple[PoolForm, ...], AfterValidator(_distinct)] = Field(
        default=(), description="Pools of nodes."
    )
    control_plane: ControlPlane = Field(default_factory=ControlPlane, description="Control plane.")
    kubelet: Kubelet = Field(default_factory=Kubelet, description="Delays on the nodes.")
    manifests: tuple[str, ...] = Field(
        default=(),
        description="Kubernetes YAML or JSON: files and directories, relative to this file.",
    )
    traffic: tuple[Traffic, ...] = Field(default=(), description="Requests to Services.")
    behaviour: tuple[BehaviourForm, ...] = Field(default=(), description="How containers behave.")
    arrivals: tuple[ArrivalForm, ...] = Field(default=(), description="Pods and Jobs that arrive.")
    faults: tuple[Fault, ...] = Field(default=(), description="What breaks.")
    maintenance: tuple[Maintenance, ...] = Field(
        default=(), description="When nodes are taken down for work."
    )
    expect: tuple[Expected, ...] = Field(default=(), description="What must hold at the end.")
