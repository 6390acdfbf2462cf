"""Machines that go for good, and those that come in their place.

As with a managed cluster: when an instance is gone its Node object is deleted by the cloud node
lifecycle controller, which looks each 5 s at the nodes that are not ready (k8s.io/cloud-provider
controllers/nodelifecycle, v1.34), so about 50 s after a sudden death; the pods follow with pod GC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from sim.actions import FailNodes, JoinNode, OutsideAction, RemoveNodes
from sim.behaviour import Uniform
from sim.clock import Lane
from sim.cluster import Change
from sim.faults.targets import draw_ms
from sim.tables import NodeReady

if TYPE_CHECKING:
    import numpy as np

    from sim.behaviour import Distribution
    from sim.cluster import Cluster
    from sim.faults.degraded import Degraded

CLOUD_PERIOD_MS = 5_000  # --node-monitor-period of cloud-controller-manager
BOOT = Uniform(180_000, 300_000)  # of nodes without a pool, as the pools' default


class Joining:
    """Makes nodes that are like others: same pool, zone, size, and the taints they came with."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        count = len(cluster.nodes)
        self._taints = [cluster.nodes.taints(node) for node in range(count)]
        self._numbers: Counter[str] = Counter()
        cluster.watch(self._node_added, [Change.NODE_ADDED])

    def _node_added(self, _change: Change, node: int) -> None:
        self._taints.append(self._cluster.nodes.taints(node))

    def join(self, like: int) -> int:
        """A new node like this one, with the next name of its pool."""
        table, name = self._cluster.nodes, self._next_name(like)
        return self._cluster.add_node(
            name,
            table.shapes[like],
            zone=table.zones[table.zone[like]],
            pool=table.pools[table.pool[like]],
            labels={**table.labels[like], "kubernetes.io/hostname": name},
            taints=self._taints[like],
        )

    def _next_name(self, like: int) -> str:
        table = self._cluster.nodes
        base = table.pools[table.pool[like]] or table.names[like]
        if base not in self._numbers:
            members = (table.pool[: len(table)] == table.pool[like]).sum()
            self._numbers[base] = int(members) if table.pools[table.pool[like]] else 1
        while (name := f"{base}-{self._numbers[base]}") in table.names:
            self._numbers[base] += 1
        self._numbers[base] += 1
        return name


class Machines:
    """Takes machines away and orders new ones."""

    def __init__(
        self,
        cluster: Cluster,
        do: Callable[[OutsideAction], None],
        boots: dict[str, Distribution],
        degraded: Degraded,
        rng: np.random.Generator,
    ) -> None:
        """`boots`: how long it takes until a new node of a pool has joined."""
        self.cluster = cluster
        self.clock = cluster.clock
        self.do = do
        self.degraded = degraded
        self._boots = boots
        self._rng = rng
        self._phase_ms = int(rng.integers(CLOUD_PERIOD_MS))
        self.gone: set[int] = set()
        self._dark: Counter[str] = Counter()  # zone -> outages
        self._held: dict[str, list[int]] = {}  # zone -> nodes whose successors wait
        cluster.watch(self._node_ready, [Change.NODE_READY])

    def boot_ms(self, node: int) -> int:
        """How long a new node of this one's pool takes, drawn."""
        table = self.cluster.nodes
        return draw_ms(self._boots.get(table.pools[table.pool[node]], BOOT), self._rng)

    def lose(self, node: int, join_after_ms: int | None) -> None:
        """The machine is gone for good; a new one joins after this time (None: none)."""
        if node in self.gone:
            return
        self.gone.add(node)
        self.do(FailNodes((node,)))
        self._look(node)
        if join_after_ms is not None:
            self.clock.after(join_after_ms, Lane.FAULTS, self.replace, node)

    def replace(self, node: int) -> None:
        """A new machine joins in the place of this one, unless its zone is dark: then later."""
        table = self.cluster.nodes
        zone = table.zones[table.zone[node]]
        if self._dark[zone]:
            self._held.setdefault(zone, []).append(node)
        else:
            self.do(JoinNode(node))

    def darken(self, zone: str) -> None:
        """No new machine starts in this zone from now on."""
        self._dark[zone] += 1

    def light(self, zone: str) -> None:
        """An outage of this zone is over: what was ordered meanwhile boots now."""
        self._dark[zone] -= 1
        if not self._dark[zone]:
            for node in self._held.pop(zone, []):
                self.clock.after(self.boot_ms(node), Lane.FAULTS, self.replace, node)

    def _node_ready(self, _change: Change, node: int) -> None:
        if node in self.gone:
            self._look(node)

    def _look(self, node: int) -> None:
        """Plan the next look of the cloud controller, which finds the instance gone."""
        if self.cluster.nodes.ready[node] != NodeReady.TRUE:
            now_ms = self.clock.now_ms
            at_ms = now_ms + (self._phase_ms - now_ms) % CLOUD_PERIOD_MS
            self.clock.at(at_ms, Lane.FAULTS, self._remove, node)

    def _remove(self, node: int) -> None:
        if self.cluster.nodes.exists[node]:
            self.do(RemoveNodes((node,)))
