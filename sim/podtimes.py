"""How long the steps of a pod's life take on its node, and what its containers use there.

`PodTimes` is the value a scenario's behaviours lead to; a `Plan` is what the kubelet makes of it
for one template, with the draws ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sim.behaviour import (
    Behaviour,
    Constant,
    Distribution,
    Ending,
    MemoryUse,
    ProbeBehaviour,
    behaviour_of,
)
from sim.laws import Law
from sim.podspec import CPU, MEMORY
from sim.podstate import restarts

if TYPE_CHECKING:
    import numpy as np

    from sim.podspec import Container, Hook, PodSpec
    from sim.rng import Streams
    from sim.templates import Template

# A calm node slows probes by at most this factor (`sim.pressure`), which no probe shall notice.
CALM_SLOWDOWN = 10
# exp(-21) is less than one failure in a billion probes.
NEGLIGIBLE = 21

Number = TypeVar("Number")

AT_ONCE = Constant(0)
# How long an init container runs of which nothing is said: a modelling choice.
USUAL_INIT = Ending(Constant(1_000), 0)
USUAL_PROBES = ProbeBehaviour()


class KubeletTimes(Protocol):
    """The defaults of a scenario: `kubelet:` in its file."""

    @property
    def watch_delay(self) -> Distribution: ...
    @property
    def image_pull(self) -> Distribution: ...
    @property
    def startup(self) -> Distribution:
        """Sandbox and container start, what `PodTimes` calls `start`."""
        ...

    @property
    def shutdown(self) -> Distribution: ...


@dataclass(frozen=True, slots=True)
class ContainerTimes:
    """What is said of one container beyond its pod; None = as the pod, or as it requests."""

    image_pull: Distribution | None = None
    startup: Distribution | None = None
    shutdown: Distribution | None = None
    post_start: Distribution | None = None
    pre_stop: Distribution | None = None
    run: Ending | None = None
    crash: Ending | None = None
    cpu_m: int | None = None
    cpu: Law | None = None  # how that changes over time
    memory: MemoryUse | None = None
    probes: ProbeBehaviour = USUAL_PROBES


@dataclass(frozen=True, slots=True)
class PodTimes:
    """Durations of one template's pods; every pod draws its own."""

    watch_delay: Distribution = AT_ONCE  # from a write until the kubelet sees it
    image_pull: Distribution = AT_ONCE  # per container, before its start
    start: Distribution = AT_ONCE  # sandbox and first containers, until the kubelet sees them run
    startup: Distribution = AT_ONCE  # from container start until its application answers
    shutdown: Distribution = AT_ONCE  # from TERM until a container exits
    run: Distribution | None = None  # until the containers exit by themselves; None = never
    exit_code: int = 0
    containers: Mapping[str, ContainerTimes] = field(default_factory=dict)


def pod_times(
    template: Template,
    behaviours: Iterable[Behaviour],
    defaults: KubeletTimes,
    *,
    serves_requests: bool = False,
) -> PodTimes:
    """What a scenario says of the pods of a template.

    Where it says nothing a container uses what it requests (a modelling choice), or, when its CPU
    is asked for by requests (`serves_requests`: cpuPerRequest), none while there are none.
    """
    entries, pod = list(behaviours), template.pod
    said = {
        container.name: _container_times(
            behaviour_of(entries, pod.namespace, pod.labels, container.name), serves_requests
        )
        for container in pod.spec.init_containers + pod.spec.containers
    }
    return PodTimes(
        watch_delay=defaults.watch_delay,
        image_pull=defaults.image_pull,
        start=defaults.startup,
        shutdown=defaults.shutdown,
        containers=said,
    )


def _container_times(said: Behaviour, serves: bool) -> ContainerTimes:
    idle_m = 0 if serves else None
    return ContainerTimes(
        image_pull=said.image_pull,
        startup=said.startup,
        shutdown=said.shutdown,
        post_start=said.post_start,
        pre_stop=said.pre_stop,
        run=said.exit,
        crash=said.crash,
        cpu_m=idle_m if said.cpu_m is None else said.cpu_m,
        cpu=said.cpu,
        memory=said.memory,
        probes=said.probes or USUAL_PROBES,
    )


class Samples(Generic[Number]):
    """Draws of one kind, a block at a time.

    Blocks grow: of many workloads most have few pods, of which a large block would be a waste.
    """

    FIRST, LARGEST = 16, 1024
    __slots__ = ("_block", "_size", "_take")

    def __init__(self, take: Callable[[int], list[Number]]) -> None:
        """`take` makes the next so many draws."""
        self._take = take
        self._size = self.FIRST
        self._block: list[Number] = []

    def __call__(self) -> Number:
        """The next draw."""
        if not self._block:
            self._block = self._take(self._size)[::-1]
            self._size = min(2 * self._size, self.LARGEST)
        return self._block.pop()


class Draws:
    """All `Samples` of one workload: each purpose has a stream of its own.

    Streams bear the workload's name ("shop/Deployment/web") and not the distribution: other
    workloads shift nothing, and two variants that differ in a duration meet the same luck.
    """

    def __init__(self, streams: Streams, workload: str) -> None:
        self._streams = streams
        self._workload = workload
        self._samples: dict[tuple[str, Distribution], Samples[int]] = {}
        self._chances: dict[str, Samples[float]] = {}

    def __call__(self, purpose: str, distribution: Distribution) -> Samples[int]:
        """Durations in ms from `distribution` for `purpose`."""
        key = (purpose, distribution)
        if key not in self._samples:
            self._samples[key] = Samples(partial(self._durations, purpose, distribution))
        return self._samples[key]

    def chances(self, purpose: str) -> Samples[float]:
        """Uniform draws from [0, 1) for `purpose`."""
        if purpose not in self._chances:
            self._chances[purpose] = Samples(partial(self._uniforms, purpose))
        return self._chances[purpose]

    def _durations(self, purpose: str, distribution: Distribution, size: int) -> list[int]:
        if isinstance(distribution, Constant):  # many are, and a generator takes memory
            return [distribution.value_ms] * size
        durations_ms: list[int] = distribution.sample_ms(self._stream(purpose), size).tolist()
        return durations_ms

    def _uniforms(self, purpose: str, size: int) -> list[float]:
        draws: list[float] = self._stream(purpose).random(size).tolist()
        return draws

    def _stream(self, purpose: str) -> np.random.Generator:
        return self._streams(f"kubelet/{purpose}/{self._workload}")


@dataclass(frozen=True, slots=True)
class End:
    """A way a container ends by itself."""

    after: Samples[int]
    exit_code: int


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """One container of a template, ready to be run."""

    index: int  # init containers come first
    spec: Container
    init: bool  # a sidecar, or one that has to end before others start
    pull: Samples[int] | None  # None: no time at all, here and below
    startup: Samples[int]
    shutdown: Samples[int]
    post_start: Samples[int] | None
    pre_stop: Samples[int] | None
    ends: tuple[End, ...]
    ends_with_pod: bool  # it ends when the pod's own run time is over
    cpu_m: int
    cpu: Law  # the same, over time
    memory: MemoryUse
    limit_b: int  # of its memory, 0 = none
    probes: ProbeBehaviour

    @property
    def plain_init(self) -> bool:
        """Whether it is an init container that has to end."""
        return self.init and not self.spec.sidecar

    @property
    def probed(self) -> bool:
        """Whether any probe is made."""
        if self.plain_init:
            return False
        spec = self.spec
        return bool(spec.startup or spec.liveness or spec.readiness)

    @property
    def sensitive(self) -> bool:
        """Whether its probes may be late even on a calm node."""
        probes = (self.spec.startup, self.spec.liveness, self.spec.readiness)
        slow_ms = self.probes.latency_ms * CALM_SLOWDOWN * NEGLIGIBLE
        return any(probe is not None and slow_ms > probe.timeout_ms for probe in probes)

    @property
    def leaks(self) -> bool:
        """Whether its memory changes with its age, or may break its limit."""
        return bool(self.memory.growth_b) or 0 < self.limit_b < self.memory.law.most


class Plan:
    """Everything the kubelet needs to know of a template of one workload.

    `light`: one container without probes, crashes, a leak or a postStart hook; such a pod needs no
    state of its own.
    """

    __slots__ = (
        "back_off_draw",
        "containers",
        "grace_ms",
        "has_init",
        "light",
        "policy",
        "probe_draw",
        "run",
        "start",
        "template",
        "watch",
    )

    def __init__(self, template: Template, times: PodTimes, draws: Draws) -> None:
        spec = template.pod.spec
        self.template = template
        self.watch = draws("watch", times.watch_delay)
        self.probe_draw = draws.chances("probes")
        self.back_off_draw = draws.chances("crashloop")
        self.start = draws("start", times.start)
        self.run = End(draws("run", times.run), times.exit_code) if times.run else None
        self.containers = tuple(
            _container_plan(index, container, spec, times, draws)
            for index, container in enumerate(spec.init_containers + spec.containers)
        )
        self.has_init = bool(spec.init_containers)
        self.policy = spec.restart_policy
        self.grace_ms = spec.termination_grace_ms
        only = self.containers[0]
        self.light = (
            len(self.containers) == 1
            and not self.has_init
            and not only.probed
            and not only.leaks
            and not only.post_start
            and len(only.ends) + bool(self.run) <= 1
        )

    def start_ms(self, *, pull: bool) -> int:
        """How long it takes from when the kubelet sees the pod until its first container starts.

        Others come after it in the same sync (`sim.containers`), each with its own pull.
        """
        first_pull = self.containers[0].pull if pull and self.light else None
        return self.start() + (first_pull() if first_pull else 0)

    def restarts(self, exit_code: int) -> bool:
        """Whether a container that ended with this code is started again."""
        return restarts(self.policy, exit_code)


def _container_plan(
    index: int, container: Container, spec: PodSpec, times: PodTimes, draws: Draws
) -> ContainerPlan:
    own, name = _of(times, container), container.name
    init = index < len(spec.init_containers)
    plain_init = init and not container.sidecar
    usual = USUAL_INIT if plain_init else None
    endings = [(f"run/{name}", own.run or usual), (f"crash/{name}", own.crash)]
    request_b = container.requests.get(MEMORY, 0)
    cpu_m = container.requests.get(CPU, 0) if own.cpu_m is None else own.cpu_m

    def hook(purpose: str, said: Distribution | None, hook: Hook | None) -> Samples[int] | None:
        takes = said or (Constant(hook.sleep_ms) if hook else AT_ONCE)
        return None if takes == AT_ONCE else draws(f"{purpose}/{name}", takes)

    pull = own.image_pull or times.image_pull
    return ContainerPlan(
        index=index,
        spec=container,
        init=init,
        pull=None if pull == AT_ONCE else draws(f"image/{name}", pull),
        startup=draws(f"startup/{name}", own.startup or times.startup),
        shutdown=draws(f"shutdown/{name}", own.shutdown or times.shutdown),
        post_start=None if plain_init else hook("postStart", own.post_start, container.post_start),
        pre_stop=None if plain_init else hook("preStop", own.pre_stop, container.pre_stop),
        ends=tuple(End(draws(what, end.after), end.exit_code) for what, end in endings if end),
        ends_with_pod=own.run is None and not init,
        cpu_m=cpu_m,
        cpu=own.cpu or Law(cpu_m),
        memory=own.memory or MemoryUse(request_b),
        limit_b=container.limits.get(MEMORY) or spec.pod_limits.get(MEMORY, 0),
        probes=own.probes,
    )


def _of(times: PodTimes, container: Container) -> ContainerTimes:
    return times.containers.get(container.name) or _AS_THE_POD


_AS_THE_POD = ContainerTimes()
