"""What the containers of each node want, what they get, and when memory runs out.

CPU is shared anew when demands change on a node that is not calm; the next OOM kill is predicted
(`sim.overcommit`) instead of looked for. A node that has enough of both costs a few additions.
Where demands vary by themselves (`sim.laws`) a node whose demands can never exceed what it has is
calm; others are shared anew when the sum of demands gets there, and from then on every 15 s while
it is over (a modelling choice).
Whoever wants to know when the memory of a node crosses a level (`sim.evictions`) asks here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sim.claims import at_rate
from sim.clock import Lane
from sim.curves import Part
from sim.laws import Law, mixed
from sim.overcommit import (
    ContainerMemory,
    OomEvent,
    container_oom_score_adj,
    first_above_ms,
    first_at_most_ms,
    headroom,
    next_oom,
    share_cpu,
    slowdown,
    total_b,
)
from sim.podtimes import CALM_SLOWDOWN
from sim.recorder import Reason
from sim.tables import CPU_ROW, MEMORY_ROW
from sim.usage import UseLaws
from sim.varying import amount_now, frozen, next_kill_ms

if TYPE_CHECKING:
    from sim.claims import Claim
    from sim.cluster import Cluster
    from sim.overcommit import VictimPolicy
    from sim.templates import Template

MS_PER_H = 3_600_000
SHARE_STEPS = 1000  # shares of requests served are told in steps of 1/1000
SLOWDOWN_DIGITS = 3  # slowdowns in so many significant digits
SHARE_EVERY_MS = 15_000  # CPU of a node with too little for demands that vary
LOOK_GAP_MS = 1_000  # between two looks at whether it has become too little
NO_LEVEL_B = 1 << 62  # nobody cares how much memory is in use


@dataclass(slots=True)
class _Sums:
    """Totals of one node's claims."""

    capacity_m: int
    kubepods_m: int
    capacity_b: int
    kubepods_b: int
    need_m: int = 0
    memory_b: int = 0
    leaks: int = 0
    probed: int = 0
    tight: int = 0
    varying: int = 0  # claims whose CPU varies
    curved: int = 0
    calm: bool = True  # at the last sharing
    looks: int = 0  # generation of the planned look at varying CPU
    oom_plan: int = 0  # generation of the planned OOM kill
    planned: bool = False
    alert_b: int = NO_LEVEL_B  # memory in use beyond this concerns the listener
    watched: bool = False  # every change of the memory in use does
    pods: dict[int, None] = field(default_factory=dict)

    @property
    def room_m(self) -> int:
        """CPU up to which nobody notices the others."""
        if not self.probed:
            return self.capacity_m
        # Whoever has no cap then gets ten times the CPU it needs more: CALM_SLOWDOWN.
        return self.capacity_m - self.capacity_m // CALM_SLOWDOWN

    @property
    def is_calm(self) -> bool:
        """Whether everybody gets what it wants, and no probe can notice the others."""
        return not self.tight and self.need_m <= self.room_m

    @property
    def has_memory(self) -> bool:
        """Whether no OOM kill and no alert can come while nothing changes."""
        room_b = min(self.kubepods_b, self.capacity_b, self.alert_b)
        return not self.leaks and self.memory_b <= room_b

    def count(self, claim: Claim, sign: int) -> None:
        """Add (or with -1 take off) a claim."""
        self.need_m += sign * claim.need_m
        self.memory_b += sign * claim.memory_b
        if claim.leaks:
            self.leaks += sign
        if claim.probed:
            self.probed += sign
        if claim.tight:
            self.tight += sign
        if claim.cpu_laws:
            self.varying += sign
        if claim.curved:
            self.curved += sign


class Pressure:
    """CPU and memory of all nodes.

    `kill(pod, container index, reason)` carries out an OOM kill; `affected(pod)` says that the
    share of requests it serves, or the slowdown of its probes, is another one from now on.
    """

    def __init__(
        self,
        cluster: Cluster,
        kill: Callable[[int, int, Reason], None],
        affected: Callable[[int], None],
        victim_policy: VictimPolicy | None = None,
        noise_seed: int = 0,
    ) -> None:
        self._cluster = cluster
        self._noise_key = mixed(noise_seed)
        self._kill = kill
        self._affected = affected
        self._policy = victim_policy
        self._sums: dict[int, _Sums] = {}
        self._claims: dict[int, Claim] = {}
        self._loads_m: dict[int, int] = {}
        self._rates: dict[int, float] = {}  # requests per second
        self._served: dict[int, float] = {}
        self._slowdowns: dict[int, float] = {}
        self._adjs: dict[tuple[int, int, int], int] = {}
        self._to_share: dict[int, None] = {}
        self._to_plan: dict[int, None] = {}
        self._alert_b: Callable[[int], int] | None = None
        self._moved: Callable[[int], None] | None = None

    def listen(self, alert_b: Callable[[int], int], moved: Callable[[int], None]) -> None:
        """Call `moved(node)` when the memory in use on a node changes otherwise than foreseen, if
        it may come to exceed `alert_b(node)` (asked once), or while the node is watched."""
        self._alert_b, self._moved = alert_b, moved

    def watch(self, node: int, watched: bool) -> None:
        """Whether the listener wants to hear of every change on the node."""
        self._sums_of(node).watched = watched

    def memory_b(self, node: int) -> int:
        """Memory in use on the node now."""
        if self._is_curved(node):
            return int(self._cluster.memory_use.value(node, self._cluster.clock.now_ms))
        return total_b(self._uses(node), self._cluster.clock.now_ms)

    def memory_of(self, pod: int) -> int:
        """Memory that the pod's containers use now."""
        claim, now_ms = self._claims.get(pod), self._cluster.clock.now_ms
        if claim is None:
            return 0
        if claim.curved:
            return int(self._cluster.memory_use.of(pod, now_ms))
        return total_b(claim.memory, now_ms)

    def turn_ms(self, node: int, level_b: int, *, above: bool) -> int | None:
        """First ms from now on at which more than `level_b` (or not `above`: no more than that) is
        in use on the node; None if never, while nothing changes."""
        if self._is_curved(node):
            use, now_ms = self._cluster.memory_use, self._cluster.clock.now_ms
            turn = use.next_at_least if above else use.next_below
            return turn(node, level_b + 1, now_ms)
        first = first_above_ms if above else first_at_most_ms
        return first(self._uses(node), level_b, self._cluster.clock.now_ms)

    def _is_curved(self, node: int) -> bool:
        return node in self._sums and bool(self._sums[node].curved)

    def _uses(self, node: int) -> list[ContainerMemory]:
        pods = self._sums[node].pods if node in self._sums else ()
        return [use for pod in pods for use in self._claims[pod].memory]

    def set_speed(self, node: int, factor: float) -> None:
        """From now on the machine does this share of the CPU work that it is made for."""
        sums, table = self._sums_of(node), self._cluster.nodes
        sums.capacity_m = int(table.capacity[CPU_ROW, node] * factor)
        sums.kubepods_m = int(table.kubepods_cpu_m[node] * factor)
        self._changed(node, sums)

    def served(self, pod: int) -> float:
        """The share of the requests sent to a pod that it has the CPU to answer."""
        return self._served.get(pod, 1.0)

    def slowdown(self, pod: int) -> float:
        """How many times longer a probe's answer takes than on an idle core."""
        return self._slowdowns.get(pod, 1.0)

    def set_load(self, pod: int, load_m: int) -> None:
        """CPU that the requests sent to a pod ask for; it counts while the pod answers."""
        if load_m:
            self._loads_m[pod] = load_m
        elif self._loads_m.pop(pod, None) is None:
            return
        self.answers_changed(pod)

    def set_rate(self, pod: int, rps: float) -> None:
        """Requests per second sent to a pod, for what of its memory is in proportion to them."""
        self._rates[pod] = rps
        if pod in self._claims and self._claims[pod].per_request:
            self.put(pod, self._claims[pod])

    def answers_changed(self, pod: int) -> None:
        """The pod begins or ceases to answer, and to need CPU for that."""
        claim = self._claims.get(pod)
        if claim is not None and claim.cpu.demand_m != self._demand_m(pod, claim):
            self.put(pod, claim)

    def put(self, pod: int, claim: Claim) -> None:
        """From now on the pod claims this, instead of what it claimed before."""
        node = self._cluster.pods.node.item(pod)
        demand_m = self._demand_m(pod, claim)
        if demand_m != claim.cpu.demand_m:
            cpu = replace(claim.cpu, demand_m=demand_m)
            claim = replace(claim, cpu=cpu, need_m=cpu.need_m)
        if claim.per_request:
            claim = at_rate(claim, self._rates.get(pod, 0.0))
        sums = self._sums_of(node)
        before = self._claims.get(pod)
        if before is not None:
            sums.count(before, -1)
        sums.count(claim, 1)
        sums.pods[pod] = None
        self._claims[pod] = claim
        self._changed(node, sums)
        if node in self._to_share:  # which will write what it really gets, at this instant
            used_m = min(claim.need_m, int(self._cluster.pods.cpu_m[pod]))
            self._use(pod, claim, used_m, freely=False)
        else:
            self._allot(pod, claim, claim.need_m)

    def drop(self, pod: int) -> None:
        """The pod runs no more."""
        claim = self._claims.pop(pod, None)
        if claim is None:
            return
        self._served.pop(pod, None)
        self._slowdowns.pop(pod, None)
        node = self._cluster.pods.node.item(pod)
        sums = self._sums[node]
        del sums.pods[pod]
        sums.count(claim, -1)
        self._changed(node, sums)

    def forget(self, pod: int) -> None:
        """The pod is gone for good."""
        self._loads_m.pop(pod, None)
        self._rates.pop(pod, None)

    def _demand_m(self, pod: int, claim: Claim) -> int:
        load_m = self._loads_m.get(pod, 0)
        if load_m and not self._cluster.pods.answers[pod]:
            load_m = 0
        return claim.base_m + load_m

    def _sums_of(self, node: int) -> _Sums:
        sums = self._sums.get(node)
        if sums is None:
            table = self._cluster.nodes
            sums = self._sums[node] = _Sums(
                int(table.capacity[CPU_ROW, node]),
                int(table.kubepods_cpu_m[node]),
                int(table.capacity[MEMORY_ROW, node]),
                int(table.kubepods_memory_b[node]),
            )
            if self._alert_b is not None:
                sums.alert_b = self._alert_b(node)
        return sums

    def _changed(self, node: int, sums: _Sums) -> None:
        """Look at a node again, once at this instant, if anything can be short there."""
        share = not (sums.calm and sums.is_calm)
        plan = sums.planned or sums.watched or not sums.has_memory
        if not (share or plan):
            return
        if not self._to_share and not self._to_plan:
            clock = self._cluster.clock
            clock.at(clock.now_ms, Lane.KUBELET, self._settle)
        if share:
            self._to_share[node] = None
        if plan:
            self._to_plan[node] = None

    def _settle(self) -> None:
        to_share, self._to_share = self._to_share, {}
        to_plan, self._to_plan = self._to_plan, {}
        for node in to_share:
            self._share(node)
        for node in to_plan:
            self._plan_oom(node)
            if self._moved is not None:
                self._moved(node)

    # CPU

    def _share(self, node: int) -> None:
        sums = self._sums[node]
        calm = sums.calm = sums.is_calm
        pods = list(sums.pods)
        claims = [self._claims[pod] for pod in pods]
        if sums.varying and not calm:
            claims = [self._now(pod, claim) for pod, claim in zip(pods, claims, strict=True)]
            calm = not any(c.tight for c in claims)
            calm = calm and sum(c.need_m for c in claims) <= sums.room_m
        used = [claim.need_m for claim in claims]
        over = sum(used) > sums.capacity_m
        if over:
            used = share_cpu([c.cpu for c in claims], sums.capacity_m, sums.kubepods_m)
        for pod, claim, cpu_m in zip(pods, claims, used, strict=True):
            self._allot(pod, claim, cpu_m, freely=not over)
        if sums.probed:
            self._slow(sums, pods, claims, calm=calm)
        self._plan_look(node, sums, calm=calm)

    def _now(self, pod: int, claim: Claim) -> Claim:
        """A claim with the CPU that it wants at this moment."""
        if not claim.cpu_laws:
            return claim
        key, now_ms = self._key(pod), self._cluster.clock.now_ms
        load_m = self._demand_m(pod, claim) - claim.base_m
        cpu = replace(claim.cpu, demand_m=amount_now(claim.cpu_laws, key, now_ms) + load_m)
        return replace(claim, cpu=cpu, need_m=cpu.need_m)

    def _plan_look(self, node: int, sums: _Sums, *, calm: bool) -> None:
        """Look again when demands that vary have come to be too much, or may be no longer."""
        sums.looks += 1
        if not sums.varying or sums.calm:
            return
        clock, use = self._cluster.clock, self._cluster.cpu_use
        look_ms: int | None = clock.now_ms + SHARE_EVERY_MS
        if calm and not sums.tight:
            look_ms = use.next_at_least(node, sums.room_m + 1, clock.now_ms + LOOK_GAP_MS)
        if look_ms is not None:
            clock.at(look_ms, Lane.KUBELET, self._look, node, sums.looks)

    def _look(self, node: int, look: int) -> None:
        if self._sums[node].looks == look:
            self._share(node)

    def _key(self, pod: int) -> int:
        return self._noise_key + (pod << 8)

    def _allot(self, pod: int, claim: Claim, cpu_m: int, *, freely: bool = True) -> None:
        """Write what the pod uses, and the share of its requests that this answers.

        `freely`: it gets all that it may have, and so uses what its laws say.
        """
        self._use(pod, claim, cpu_m, freely=freely)
        demand_m = claim.cpu.demand_m
        served = 1.0 if cpu_m >= demand_m else SHARE_STEPS * cpu_m // demand_m / SHARE_STEPS
        if served != self._served.get(pod, 1.0):
            self._served[pod] = served
            self._affected(pod)

    def _use(self, pod: int, claim: Claim, cpu_m: int, *, freely: bool) -> None:
        memory_b, laws = claim.memory_b, None
        if claim.growth_b_per_h:
            memory_b = total_b(claim.memory, self._cluster.clock.now_ms)
        if claim.cpu_laws or claim.memory_laws:
            cpu = claim.cpu_laws if freely else ()
            load_m = self._demand_m(pod, claim) - claim.base_m
            if cpu and load_m:
                cpu = (*cpu, Part(Law(load_m)))
            laws = UseLaws(cpu, claim.cpu.cap_m, claim.memory_laws, self._key(pod))
        self._cluster.use(pod, cpu_m, memory_b, claim.growth_b_per_h, laws)

    def _slow(self, sums: _Sums, pods: list[int], claims: list[Claim], *, calm: bool) -> None:
        """Work out how slowly probes are answered."""
        rooms = [0] * len(pods)
        if not calm:
            rooms = headroom([c.cpu for c in claims], sums.capacity_m, sums.kubepods_m)
        for pod, claim, room_m in zip(pods, claims, rooms, strict=True):
            if not claim.probed:
                continue
            factor = 1.0 if calm else _rounded(slowdown(claim.cpu.demand_m, room_m))
            if factor != self._slowdowns.get(pod, 1.0):
                self._slowdowns[pod] = factor
                self._affected(pod)

    # Memory

    def _plan_oom(self, node: int) -> None:
        """Predict the next OOM kill of a node; what was planned before is void."""
        sums, clock = self._sums[node], self._cluster.clock
        sums.oom_plan += 1
        sums.planned = False
        if sums.has_memory:
            return
        event = self._next_oom(node, sums)
        if event is not None:
            sums.planned = True
            clock.at(event.at_ms, Lane.EXITS, self._oom, node, sums.oom_plan)

    def _oom(self, node: int, plan: int) -> None:
        sums = self._sums[node]
        if plan != sums.oom_plan:
            return
        sums.planned = False
        event = self._next_oom(node, sums)
        if sums.curved and (event is None or not event.victims):
            self._plan_oom(node)  # rounding: it is only nearly used up
            return
        assert event is not None, f"node {node} has memory after all"
        reason = Reason.NODE_OOM if event.cause == "node" else Reason.OOM_KILLING
        places = self._places(sums)
        for pod, index in [places[victim] for victim in event.victims]:
            self._kill(pod, index, reason)

    def _next_oom(self, node: int, sums: _Sums) -> OomEvent | None:
        """The next kills; where laws are no lines, those of later times come without victims."""
        now_ms, memory = self._cluster.clock.now_ms, self._cluster.memory_use
        uses = {pod: self._scored(self._claims[pod], sums.capacity_b) for pod in sums.pods}
        if sums.curved:
            uses = {pod: frozen(lines, pod, memory, now_ms) for pod, lines in uses.items()}
        event = next_oom(
            [use for lines in uses.values() for use in lines],
            now_ms,
            sums.kubepods_b,
            sums.capacity_b,
            policy=self._policy,
        )
        if event is not None or not sums.curved:
            return event
        limits_b = {pod: [use.limit_b for use in lines] for pod, lines in uses.items()}
        room_b = min(sums.kubepods_b, sums.capacity_b)
        later_ms = next_kill_ms(node, room_b, limits_b, memory, now_ms + 1)
        return None if later_ms is None else OomEvent(later_ms, (), "node")

    def _places(self, sums: _Sums) -> list[tuple[int, int]]:
        """Pod and container behind each position in what `_next_oom` asks about."""
        return [(pod, index) for pod in sums.pods for index in self._claims[pod].indexes]

    def _scored(self, claim: Claim, capacity_b: int) -> list[ContainerMemory]:
        """The lines of a claim with the oom_score_adj that the containers have on this node."""
        pairs = zip(claim.indexes, claim.memory, strict=True)
        return [
            replace(use, adj=self._adj(claim.template, index, capacity_b)) for index, use in pairs
        ]

    def _adj(self, template: Template, index: int, capacity_b: int) -> int:
        key = (template.id, index, capacity_b)
        if key not in self._adjs:
            spec = template.pod.spec
            container = (*spec.init_containers, *spec.containers)[index]
            self._adjs[key] = container_oom_score_adj(spec, container, capacity_b)
        return self._adjs[key]


def _rounded(factor: float) -> float:
    return factor if math.isinf(factor) else float(f"{factor:.{SLOWDOWN_DIGITS}g}")
