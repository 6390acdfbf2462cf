"""Monitor passes that are skipped would have changed nothing: stepping gives the same history.

The stepping controller makes every pass and judges every node from its lease with `node_health`,
the function that upstream's tables are held against.
"""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.clock import Lane
from sim.cluster import Cluster
from sim.controllers.node_health import NodeStatus, Seen, node_health
from sim.controllers.node_lifecycle import STATUS, LifecycleSettings, NodeLifecycle
from sim.controllers.taint_eviction import TaintEviction
from sim.nodes import shape
from sim.podspec import CPU, MEMORY, Container, PodSpec, PodTemplate, Toleration
from sim.rng import Streams
from sim.tables import NodeReady

NODE = {CPU: 4000, MEMORY: 1000}
END_MS = 700_000
# Before that the stepping controller, which starts with the run, has not yet seen every lease.
FIRST_MS = 15_000


class Stepping(NodeLifecycle):
    """Makes every pass."""

    def __init__(self, *args, **options):
        self.seen = {}
        super().__init__(*args, **options)

    def _plan_pass(self, from_ms):
        if not self._running:
            self._plan_at(self._grid.at_or_after(max(from_ms, self._grid.last_ms + 1)))

    def _due_ms(self, node):
        return self._grid.at_or_after(self._grid.last_ms + 1)

    def _found_silent(self):
        return [node for node in self.cluster.nodes.ids().tolist() if self._is_silent(node)]

    def _is_silent(self, node):
        status = NodeStatus(
            created=self.cluster.nodes.created_ms.item(node),
            ready=STATUS[self._ready(node)],
            renewed=self._silent.get(node, self._renewed_ms(node, self._clock.now_ms)),
        )
        grace_ms = self.settings.monitor_grace_ms
        health = node_health(
            self._clock.now_ms, status, self.seen.get(node), grace_ms, startup_grace=60_000
        )
        self.seen[node] = health.seen
        return health.written

    def _give_fresh_grace(self):
        super()._give_fresh_grace()
        for node, seen in self.seen.items():
            self.seen[node] = Seen(self._clock.now_ms, seen.ready, seen.heartbeat, seen.renewed)


def history(controller, zones, acts, seed, options):
    """Everything that is recorded when `acts` befall nodes in these zones, and who is ready."""
    cluster = Cluster()
    lifecycle = controller(cluster, Streams(seed), options)
    TaintEviction(cluster)
    told = []
    cluster.watch(lambda change, thing: told.append((cluster.clock.now_ms, change, thing)))
    for index, zone in enumerate(zones):
        cluster.add_node(f"node-{index}", shape(NODE), zone=zone)
        for seconds in (20, 300, None):
            a_running_pod(cluster, index, seconds)
    for at_ms, act, place in acts:
        cluster.clock.at(at_ms, Lane.FAULTS, befall, cluster, act, place)
    cluster.clock.run(END_MS)
    cluster.check()
    return told, list(cluster.recorder.reason), cluster.recorder.texts, lifecycle


def a_running_pod(cluster, node, seconds):
    tolerations = (Toleration(operator="Exists", effect="NoExecute", seconds=seconds),)
    spec = PodSpec(containers=(Container("main"),), tolerations=tolerations)
    template = cluster.template(PodTemplate("default", {}, spec))
    pod = cluster.create_pod(template, cluster.owner("ReplicaSet", "default", "web"))
    cluster.bind(pod, node)
    cluster.set_alive(pod, True)
    cluster.run_pod(pod)
    cluster.set_ready(pod, True)


def befall(cluster, act, place):
    """Do something to a node, or add one; nothing to a node that is gone."""
    table = cluster.nodes
    if act == "add":
        cluster.add_node(f"node-{len(table)}", shape(NODE), zone="abc"[place % 3])
        return
    node = place % len(table)
    if not table.exists[node]:
        return
    if act in ("crash", "cut off"):
        cluster.fail_node(node, containers_die=act == "crash")
    elif act == "recover":
        cluster.recover_node(node)
    elif act == "remove":
        cluster.remove_node(node)
    elif act in ("cordon", "uncordon"):
        cluster.set_unschedulable(node, act == "cordon")
    elif table.up[node] and not table.cut_off[node]:
        cluster.set_node_ready(node, NodeReady.FALSE if act == "not ready" else NodeReady.TRUE)


ACTS = [
    *["crash"] * 4,
    *["recover"] * 3,
    *("cut off", "remove", "add", "cordon", "uncordon", "not ready", "ready"),
]
histories = st.lists(
    st.tuples(st.integers(FIRST_MS, END_MS - 1), st.sampled_from(ACTS), st.integers(0, 9)),
    max_size=25,
)
clients = st.sampled_from(
    [
        LifecycleSettings(),
        LifecycleSettings(qps=2, burst=3),  # passes take seconds
        LifecycleSettings(ideal=True),
        LifecycleSettings(pass_ms=0),  # a grace is a whole number of passes
        LifecycleSettings(large_cluster_threshold=3),  # partly dead zones go on slowly
        LifecycleSettings(monitor_grace_ms=40_000, monitor_period_ms=2_000),
    ]
)
ALL_DEAD = [(30_000, "crash", node) for node in range(4)] + [(400_000, "recover", 0)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), histories, st.integers(0), clients)
@example(list("aabb"), ALL_DEAD, 1, LifecycleSettings())
def test_skipping_passes_changes_nothing(zones, acts, seed, options):
    stepping = history(Stepping, zones, acts, seed, options)
    skipping = history(NodeLifecycle, zones, acts, seed, options)
    for ours, theirs in zip(skipping[:3], stepping[:3], strict=True):
        assert ours == theirs


def test_quiet_year_costs_no_passes():
    cluster = Cluster()
    NodeLifecycle(cluster, Streams(1), LifecycleSettings())
    for index in range(100):
        cluster.add_node(f"node-{index}", shape(NODE), zone="a")
    cluster.clock.run(365 * 24 * 3_600_000)
    assert cluster.clock.calls == 1  # the first pass


def test_node_that_stays_dead_for_a_year_costs_only_its_detection():
    cluster = Cluster()
    NodeLifecycle(cluster, Streams(1), LifecycleSettings())
    for index in range(100):
        cluster.add_node(f"node-{index}", shape(NODE), zone="a")
    cluster.clock.at(60_000, Lane.FAULTS, cluster.fail_node, 7)
    cluster.clock.run(365 * 24 * 3_600_000)
    assert cluster.clock.calls < 20
    assert cluster.nodes.ready[7] == NodeReady.UNKNOWN
