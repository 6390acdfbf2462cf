"""Image pulls of all nodes: what each has, its queue of pulls, and bandwidth that is shared.

A pull asks the registry (`rtt`), gets the layers that the node lacks, and unpacks them; a layer
that another pull of the node is getting is waited for, not got twice. While something is sent, the
pulls of a node share its bandwidth and all of them that of the registry (processor sharing, max-min
fair): pulls of nodes with equally many transfers go at one rate, so that a whole group advances by
one number and only the next end of all is an event. The rules are those of `sim.images`; how long
things take is a model of ours. Images get an order of use, and thus garbage collection, only on
nodes whose disk has a size.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sim.backoff import Backoff
from sim.clock import Clock, Lane, TokenBucket
from sim.images import (
    BACK_OFF,
    Image,
    Layer,
    Policy,
    asks_registry,
    backs_off,
    fair_level,
    full_name,
    missing,
    obstacle,
    pull_failed,
    whole,
)

if TYPE_CHECKING:
    from sim.backoff import BackoffEntry

DEFAULT_RTT_MS = 500
DEFAULT_RATE_B_PER_S = 100_000_000
QPS, BURST = 5, 10  # registryPullQPS and registryBurst of the kubelet's configuration

Then = Callable[[str], None]  # called with '' or the reason why the container does not start


@dataclass(frozen=True, slots=True)
class Registry:
    """Where images come from, and how fast. Rates in bytes per second; None: no limit."""

    images: Mapping[str, int | Image] = field(default_factory=dict)  # by pattern; sizes in bytes
    bandwidth_b: int | None = None  # all nodes together
    node_bandwidth_b: int = DEFAULT_RATE_B_PER_S
    unpack_b: int = DEFAULT_RATE_B_PER_S
    rtt_ms: int = DEFAULT_RTT_MS
    parallel: int | None = 1  # pulls of a node at once, None: any number
    missing: tuple[str, ...] = ()  # patterns of images that it does not have
    outages_ms: tuple[tuple[int, int], ...] = ()  # from and until when it answers nobody

    def sized(self, image: str) -> Image | None:
        """What the image consists of, None when nothing is said of it; the last match counts."""
        name = full_name(image) or image
        for pattern, found in reversed(list(self.images.items())):
            if fnmatchcase(name, full_name(pattern) or pattern):
                return whole(name, found) if isinstance(found, int) else found
        return None

    def refuses(self, name: str, now_ms: int) -> str:
        """Why it does not send an image, '' when it does."""
        if any(from_ms <= now_ms < until_ms for from_ms, until_ms in self.outages_ms):
            return "registry is down"
        missing = any(fnmatchcase(name, full_name(p) or p) for p in self.missing)
        return "not found" if missing else ""


@dataclass(slots=True, eq=False)
class _Pull:
    """One pull at work; several containers may wait for it."""

    node: int
    name: str
    image: Image
    then: Then
    layers: tuple[Layer, ...] = ()  # that it gets itself
    waits_for: set[_Pull] = field(default_factory=set)  # which get layers that it needs
    own_done: bool = False
    void: bool = False
    left_b: float = 0.0  # when it is not being sent
    target_b: float = 0.0  # of its group's progress, while it is


class _Group:
    """Transfers that go at one rate."""

    __slots__ = ("heap", "progress_b", "rate_b_per_ms", "size", "turn")

    def __init__(self) -> None:
        self.progress_b = 0.0
        self.rate_b_per_ms = 0.0
        self.size = 0
        self.turn = 0
        self.heap: list[tuple[float, int, _Pull]] = []  # target, order of entry


class Transfers:
    """What is being sent to nodes now; `done` is called when a pull has all its bytes."""

    def __init__(
        self,
        clock: Clock,
        node_bandwidth_b: int,
        bandwidth_b: int | None,
        done: Callable[[_Pull], None],
    ) -> None:
        self._clock = clock
        self._node_b_per_ms = node_bandwidth_b / 1000
        self._limit_b_per_ms = math.inf if bandwidth_b is None else bandwidth_b / 1000
        self._done = done
        self._on: dict[int, dict[_Pull, None]] = {}  # node -> its transfers
        self._groups: dict[int, _Group] = {}  # by how many transfers their nodes have
        self._since_ms = 0
        self._plan = 0

    def begin(self, pull: _Pull, size_b: int) -> None:
        """Send it so many bytes."""
        self._advance()
        pull.left_b = float(size_b)
        on = self._on.setdefault(pull.node, {})
        self._leave_all(on)
        on[pull] = None
        self._join_all(on)
        self._share()

    def stop(self, node: int) -> None:
        """Nothing more is sent to this node."""
        self._advance()
        self._leave_all(self._on.pop(node, {}))
        self._share()

    def _leave_all(self, pulls: dict[_Pull, None]) -> None:
        group = self._groups.get(len(pulls))
        if group is None or not pulls:
            return
        for pull in pulls:
            pull.left_b = max(0.0, pull.target_b - group.progress_b)
            pull.target_b = -1.0  # what stands in the heap is void
        group.size -= len(pulls)
        if not group.size:
            del self._groups[len(pulls)]

    def _join_all(self, pulls: dict[_Pull, None]) -> None:
        if not pulls:
            return
        group = self._groups.setdefault(len(pulls), _Group())
        for pull in pulls:
            group.turn += 1
            pull.target_b = group.progress_b + pull.left_b
            heapq.heappush(group.heap, (pull.target_b, group.turn, pull))
        group.size += len(pulls)

    def _advance(self) -> None:
        """Bring all groups to the present."""
        now_ms = self._clock.now_ms
        for group in self._groups.values():
            group.progress_b += group.rate_b_per_ms * (now_ms - self._since_ms)
        self._since_ms = now_ms

    def _share(self) -> None:
        """Rates as things are now, and an event at the next end."""
        caps = [(self._node_b_per_ms / n, group.size) for n, group in self._groups.items()]
        level = fair_level(caps, self._limit_b_per_ms)
        due_ms = None
        for number, group in self._groups.items():
            group.rate_b_per_ms = min(self._node_b_per_ms / number, level)
            left_b = max(0.0, self._first(group).target_b - group.progress_b)
            end_ms = self._since_ms + math.ceil(left_b / group.rate_b_per_ms - 1e-6)
            due_ms = end_ms if due_ms is None else min(due_ms, end_ms)
        self._plan += 1
        if due_ms is not None:
            self._clock.at(due_ms, Lane.KUBELET, self._end, self._plan)

    def _first(self, group: _Group) -> _Pull:
        while group.heap[0][0] != group.heap[0][2].target_b:
            heapq.heappop(group.heap)
        return group.heap[0][2]

    def _end(self, plan: int) -> None:
        """Some transfers have ended."""
        if plan != self._plan:
            return
        self._advance()
        ended = []
        for group in list(self._groups.values()):
            while group.size and self._first(group).target_b <= group.progress_b + 1:
                pull = self._first(group)
                ended.append(pull)
                on = self._on[pull.node]
                self._leave_all(on)
                del on[pull]
                self._join_all(on)
        self._share()
        for pull in ended:
            self._done(pull)


class _Node:
    """What one node has, and what it is getting."""

    __slots__ = ("bucket", "getting", "layers", "pulled_b", "pulls", "queue", "sizes_b")

    def __init__(self, now_ms: int) -> None:
        self.sizes_b: dict[str, int] = {}  # its images
        self.layers: dict[str, int] = {}  # digest -> how many of its images have it
        self.getting: dict[str, _Pull] = {}
        self.pulls: dict[_Pull, None] = {}
        self.queue: deque[_Pull] = deque()
        self.bucket = TokenBucket(QPS, BURST, now_ms)
        self.pulled_b = 0


class Pulls:
    """Pulls of images with a size, on all nodes."""

    def __init__(
        self,
        clock: Clock,
        registry: Registry,
        *,
        backoff: Backoff | None = None,
        pulled: Callable[[int, int], None] = lambda node, size_b: None,
        changed: Callable[[int], None] = lambda node: None,
        had: Callable[[int], Iterable[str]] = lambda node: (),
    ) -> None:
        """`pulled(node, size_b)`: the registry has sent this. `changed(node)`: its images have.

        `had(node)`: images that it has from the beginning.
        """
        self._clock = clock
        self._registry = registry
        self._backoff = backoff or Backoff()
        self._pulled = pulled
        self._changed = changed
        self._had = had
        self._nodes: dict[int, _Node] = {}
        self._entries: dict[tuple[int, str], BackoffEntry] = {}  # by pod and image
        self._transfers = Transfers(
            clock, registry.node_bandwidth_b, registry.bandwidth_b, self._received
        )

    def ensure(self, pod: int, node: int, image: str, policy: Policy, then: Then) -> None:
        """Have `then` called when the image is there, or when it is clear that it will not be.

        At once (within this call) when nothing has to be asked of the registry.
        """
        name, found = full_name(image) or image, self._registry.sized(image)
        assert found is not None, f"{image} has no size"
        state = self._node(node)
        present = name in state.sizes_b
        reason = obstacle(image, policy, present=present)
        if not reason and asks_registry(policy, present=present):
            if backs_off(self._backoff, self._entries.get((pod, name)), self._clock.now_ms):
                reason = BACK_OFF
            else:
                self._queue(_Pull(node, name, found, self._judge(pod, name, then)))
                return
        then(reason)

    def until_ms(self, pod: int, image: str) -> int:
        """When the back-off of the pod's image ends, now when there is none."""
        entry = self._entries.get((pod, full_name(image) or image))
        return self._clock.now_ms if entry is None else entry.until_ms

    def sizes_b(self, node: int) -> dict[str, int]:
        """The images of a node, with their sizes."""
        return dict(self._nodes[node].sizes_b) if node in self._nodes else {}

    def pulled_b(self, node: int) -> int:
        """What the registry has sent to the node."""
        return self._nodes[node].pulled_b if node in self._nodes else 0

    def delete(self, node: int, name: str) -> None:
        """Its images are less by this one; layers that others share stay."""
        state, image = self._node(node), self._registry.sized(name)
        assert image is not None, f"{name} has no size"
        del state.sizes_b[name]
        for digest in {layer.digest for layer in image.layers}:
            state.layers[digest] -= 1
            if not state.layers[digest]:
                del state.layers[digest]
        self._changed(node)

    def node_down(self, node: int) -> None:
        """The node's pulls are lost; what it has stays on its disk."""
        state = self._nodes.get(node)
        if state is not None:
            for pull in state.pulls:
                pull.void = True
            state.pulls, state.getting, state.queue = {}, {}, deque()
            self._transfers.stop(node)

    def forget(self, pod: int, images: tuple[str, ...]) -> None:
        """The pod is gone."""
        for image in images:
            self._entries.pop((pod, full_name(image) or image), None)

    def _node(self, node: int) -> _Node:
        state = self._nodes.get(node)
        if state is None:
            state = self._nodes[node] = _Node(self._clock.now_ms)
            for name in self._had(node):
                image = self._registry.sized(name)
                if image is not None:
                    self._keep(state, full_name(name) or name, image)
        return state

    def _judge(self, pod: int, name: str, then: Then) -> Then:
        """`then`, with the back-off's entry kept when the pull has failed."""

        def ended(cause: str) -> None:
            if cause:
                key, now_ms = (pod, name), self._clock.now_ms
                entry = self._entries.get(key)
                cause, self._entries[key] = pull_failed(self._backoff, entry, now_ms, cause)
            then(cause)

        return ended

    # The queue of a node

    def _queue(self, pull: _Pull) -> None:
        state = self._node(pull.node)
        state.queue.append(pull)
        self._next(state)

    def _next(self, state: _Node) -> None:
        most = self._registry.parallel
        while state.queue and (most is None or len(state.pulls) < most):
            pull = state.queue.popleft()
            state.pulls[pull] = None
            self._ask(state, pull)

    def _ask(self, state: _Node, pull: _Pull) -> None:
        """Ask the registry; more often than it may, a kubelet does not ask."""
        now_ms = self._clock.now_ms
        if not state.bucket.has_token(now_ms):
            self._clock.after(0, Lane.KUBELET, self._answered, pull, "pull QPS exceeded")
            return
        state.bucket.reserve(now_ms)
        self._clock.after(self._registry.rtt_ms, Lane.KUBELET, self._answered, pull, "")

    def _answered(self, pull: _Pull, cause: str) -> None:
        if pull.void:
            return
        cause = cause or self._registry.refuses(pull.name, self._clock.now_ms)
        if cause:
            self._end(pull, cause)
            return
        state = self._node(pull.node)
        needed = [layer.digest for layer in pull.image.layers]
        pull.waits_for = {state.getting[d] for d in needed if d in state.getting}
        pull.layers = missing(pull.image, {*state.layers, *state.getting})
        state.getting.update((layer.digest, pull) for layer in pull.layers)
        if pull.layers:
            self._transfers.begin(pull, sum(layer.size_b for layer in pull.layers))
        else:
            self._unpacked(pull)

    def _received(self, pull: _Pull) -> None:
        """All bytes are there: unpack them."""
        size_b = sum(layer.size_b for layer in pull.layers)
        unpacked_b = sum(layer.unpacked_b for layer in pull.layers)
        self._node(pull.node).pulled_b += size_b
        self._pulled(pull.node, size_b)
        unpack_ms = math.ceil(unpacked_b * 1000 / self._registry.unpack_b)
        self._clock.after(unpack_ms, Lane.KUBELET, self._unpacked, pull)

    def _unpacked(self, pull: _Pull) -> None:
        if pull.void:
            return
        pull.own_done = True
        if not pull.waits_for:
            self._finish(self._node(pull.node), pull)

    def _finish(self, state: _Node, pull: _Pull) -> None:
        """The image is whole; so are those that have waited for no more than its layers."""
        for layer in pull.layers:
            del state.getting[layer.digest]
        self._keep(state, pull.name, pull.image)
        self._changed(pull.node)
        waiting = [other for other in state.pulls if pull in other.waits_for]
        self._end(pull, "")
        for other in waiting:
            other.waits_for.discard(pull)
            if other.own_done and not other.waits_for and not other.void:
                self._finish(state, other)

    def _keep(self, state: _Node, name: str, image: Image) -> None:
        if name not in state.sizes_b:
            state.sizes_b[name] = image.size_b
            for digest in {layer.digest for layer in image.layers}:
                state.layers[digest] = state.layers.get(digest, 0) + 1

    def _end(self, pull: _Pull, cause: str) -> None:
        state = self._node(pull.node)
        del state.pulls[pull]
        pull.then(cause)
        self._next(state)
