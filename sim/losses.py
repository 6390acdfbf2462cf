"""Which losses there are at a moment, and which of them are tried when there are too many.

Nodes are of one kind when they are of the same pool and zone and hold as many pods of the same
workloads. No two of them are sure to fare alike (names, delays and ties are drawn), so kinds only
decide what is left out: each kind is tried once before any is tried twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, combinations_with_replacement, islice, product
from typing import TYPE_CHECKING, Literal

from sim.aftermath import workload_name
from sim.errors import SimError
from sim.tables import Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster

Lose = Literal["node", "zone", "2-nodes"]
LOSE: tuple[Lose, ...] = ("node", "zone", "2-nodes")
MOST_KINDS = 300  # kinds of nodes that pairs are made of, the fullest first

Mix = Counter[str]  # workload -> pods
Kind = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """Nodes that are lost together, and what is on them."""

    name: str  # 'general-3', 'zone b', 'general-3 + general-7'
    nodes: tuple[int, ...]
    names: tuple[str, ...]
    kind: Kind
    mix: Mix

    @property
    def pods(self) -> int:
        """How many pods are on them."""
        return sum(self.mix.values())


@dataclass(frozen=True, slots=True)
class Choice:
    """What is tried, in order, of how many; `kinds` and `kinds_tried` count kinds of losses."""

    losses: tuple[Loss, ...]
    of: int
    kinds: int
    kinds_tried: int


def losses(cluster: Cluster, lose: Lose) -> list[Loss]:
    """Every single node or zone there is, by name."""
    nodes = [_node(cluster, node) for node in cluster.nodes.ids().tolist()]
    found = _zones(nodes) if lose == "zone" else nodes
    if not found:
        raise SimError(f"no node is in a {lose} at that moment" if nodes else "there are no nodes")
    return sorted(found, key=lambda loss: natural(loss.name))


def choose(cluster: Cluster, lose: Lose, most: int) -> Choice:
    """At most so many losses, a kind's second one after the first one of every kind.

    Kinds that take the last pods of a workload away come first, then those with more pods.
    """
    single = losses(cluster, "node" if lose == "2-nodes" else lose)
    total = sum((loss.mix for loss in single), Mix())
    kinds = sorted(_by_kind(single), key=lambda alike: _harm(alike[0], total))
    of, groups = len(single), [iter(alike) for alike in kinds]
    if lose == "2-nodes":
        of, groups = of * (of - 1) // 2, _pairs(kinds[:MOST_KINDS], total)
    tried = tuple(islice(_in_turns(groups), most))
    return Choice(tried, of, len(groups), len({loss.kind for loss in tried}))


def union(parts: Sequence[Loss]) -> Loss:
    """All of them lost together."""
    parts = sorted(parts, key=lambda loss: natural(loss.name))
    return Loss(
        name=" + ".join(loss.name for loss in parts),
        nodes=tuple(node for loss in parts for node in loss.nodes),
        names=tuple(name for loss in parts for name in loss.names),
        kind=tuple(sorted((loss.kind for loss in parts), key=repr)),
        mix=sum((loss.mix for loss in parts), Mix()),
    )


def natural(name: str) -> tuple[str | int, ...]:
    """A key that sorts general-2 before general-10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name))


def _node(cluster: Cluster, node: int) -> Loss:
    nodes, pods = cluster.nodes, cluster.pods
    mix = Counter(
        workload_name(cluster, cluster.owners[pods.owner[pod]].workload)
        for pod in nodes.pods[node]
        if pods.phase[pod] in (Phase.PENDING, Phase.RUNNING)
    )
    pool, zone = nodes.pools[nodes.pool[node]], nodes.zones[nodes.zone[node]]
    kind = (pool, zone, tuple(sorted(mix.items())))
    return Loss(nodes.names[node], (node,), (nodes.names[node],), kind, mix)


def _zones(nodes: Iterable[Loss]) -> list[Loss]:
    zones: dict[str, list[Loss]] = {}
    for loss in nodes:
        zones.setdefault(str(loss.kind[1]), []).append(loss)
    return [replace(union(own), name=f"zone {zone}") for zone, own in zones.items() if zone]


def _by_kind(single: Iterable[Loss]) -> list[list[Loss]]:
    kinds: dict[Kind, list[Loss]] = {}
    for loss in single:
        kinds.setdefault(loss.kind, []).append(loss)
    return list(kinds.values())


def _harm(loss: Loss, total: Mix) -> tuple[object, ...]:
    """Sorts losses that leave workloads without a pod first, then by pods and by name."""
    bereft = sum(loss.mix[workload] == total[workload] for workload in loss.mix)
    return -bereft, -loss.pods, natural(loss.name)


def _pairs(kinds: Sequence[Sequence[Loss]], total: Mix) -> list[Iterator[Loss]]:
    """Per kind of pairs the pairs of that kind, as they are asked for."""
    found: list[tuple[Loss, Iterator[Loss]]] = []
    for first, second in combinations_with_replacement(kinds, 2):
        pairs = combinations(first, 2) if first is second else product(first, second)
        of_kind = map(union, pairs)
        example = next(of_kind, None)
        if example is not None:
            found.append((example, chain([example], of_kind)))
    found.sort(key=lambda pair: _harm(pair[0], total))
    return [of_kind for _, of_kind in found]


def _in_turns(groups: Sequence[Iterator[Loss]]) -> Iterator[Loss]:
    """The first of each, the second of each, and so on."""
    left = list(groups)
    while left:
        still = []
        for group in left:
            loss = next(group, None)
            if loss is not None:
                yield loss
                still.append(group)
        left = still
