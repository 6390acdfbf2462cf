"""What a pod's running containers want of their node, CPU and memory, now and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim.curves import Part
from sim.overcommit import ContainerMemory, pod_cpu
from sim.podspec import MEMORY
from sim.podtimes import CALM_SLOWDOWN
from sim.varying import most_of, with_rate

if TYPE_CHECKING:
    from sim.cpu import PodCpu
    from sim.podtimes import ContainerPlan, Plan
    from sim.templates import Template

MS_PER_H = 3_600_000


@dataclass(frozen=True, slots=True)
class Claim:
    """What a pod's running containers want of their node.

    `memory` has one line per running container, `indexes` says which of the pod's each is.
    """

    template: Template
    base_m: int  # CPU without any requests; the most, if that varies
    cpu: PodCpu
    need_m: int  # CPU it uses if nobody else wants any
    memory: tuple[ContainerMemory, ...]
    indexes: tuple[int, ...]
    memory_b: int  # in use at the start; the most, if that is known
    growth_b_per_h: int
    leaks: bool  # its memory changes, or is above a limit
    probed: bool
    sensitive: bool  # its probes may be late even where there is CPU enough
    cpu_laws: tuple[Part, ...] = ()  # nothing: it is always `base_m`
    memory_laws: tuple[Part, ...] = ()  # nothing: it is always `memory_b`
    curved: bool = False  # whether `memory` does not say all of it
    per_request: tuple[Part, ...] = ()  # laws of memory that depends on requests

    @property
    def tight(self) -> bool:
        """Whether its probes (or how it serves, if its demand varies around its limit) depend on
        what else happens on the node, however calm it is."""
        cap_m = self.cpu.cap_m
        if self.cpu_laws and 0 < cap_m < self.cpu.demand_m:
            return True
        if not self.probed:
            return False
        near = cap_m > 0 and self.cpu.demand_m * CALM_SLOWDOWN > cap_m * (CALM_SLOWDOWN - 1)
        return near or self.sensitive


def claim(plan: Plan, running: Sequence[tuple[ContainerPlan, int]]) -> Claim:
    """What these containers of a pod, each started at the given time, want of its node."""
    plans = [container for container, _ in running]
    base_m = most_of(container.cpu for container in plans)
    assert base_m is not None, "CPU does not grow without end"
    cpu = pod_cpu(plan.template.pod.spec, base_m)
    memory = tuple(Part(container.memory.law, started_ms) for container, started_ms in running)
    most_b = most_of(part.law for part in memory)
    base_b = sum(container.memory.base_b for container in plans)
    return Claim(
        template=plan.template,
        base_m=base_m,
        cpu=cpu,
        need_m=cpu.need_m,
        memory=tuple(_memory(container, started_ms) for container, started_ms in running),
        indexes=tuple(container.index for container in plans),
        memory_b=base_b if most_b is None else most_b,
        growth_b_per_h=sum(_growth_b_per_h(container) for container in plans),
        leaks=most_b is None or any(_breaks_limit(container) for container in plans),
        probed=any(container.probed for container in plans),
        sensitive=any(container.sensitive for container in plans),
        cpu_laws=() if all(c.cpu.is_flat for c in plans) else _cpu_laws(running),
        memory_laws=() if all(part.law.is_flat for part in memory) else memory,
        curved=not all(container.memory.is_line for container in plans),
        per_request=memory if any(part.law.per_rps for part in memory) else (),
    )


def at_rate(claim: Claim, rps: float) -> Claim:
    """The claim of a pod that is sent so many requests per second."""
    memory = with_rate(claim.per_request, rps)
    most_b = most_of(part.law for part in memory)
    limits = zip(memory, claim.memory, strict=True)
    return replace(
        claim,
        memory_laws=memory,
        memory_b=sum(part.law.base for part in memory) if most_b is None else most_b,
        leaks=most_b is None or any(0 < use.limit_b < p.law.most for p, use in limits),
    )


def _breaks_limit(container: ContainerPlan) -> bool:
    """Whether a container may come to use more memory than its limit."""
    return 0 < container.limit_b < container.memory.law.most


def _cpu_laws(running: Sequence[tuple[ContainerPlan, int]]) -> tuple[Part, ...]:
    return tuple(Part(container.cpu, started_ms) for container, started_ms in running)


def _memory(container: ContainerPlan, started_ms: int) -> ContainerMemory:
    use = container.memory
    return ContainerMemory(
        value_b=use.base_b,
        at_ms=started_ms,
        growth_b=use.growth_b,
        growth_per_ms=use.growth_per_ms,
        until_ms=use.law.until_ms(started_ms),
        limit_b=container.limit_b,
        request_b=container.spec.requests.get(MEMORY, 0),
    )


def _growth_b_per_h(container: ContainerPlan) -> int:
    return container.memory.growth_b * MS_PER_H // container.memory.growth_per_ms
