"""Whatever happens to a cluster, its derived columns equal what its pods say."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sim.labels import Selector
from sim.podspec import HostPort, Taint
from sim.recorder import Reason
from sim.tables import UNBOUND, Phase
from sim.testing import a_cluster, a_node, a_pod, put_node, put_pod

PODS = [
    a_pod(cpu_m=100, memory_b=2**20, labels={"app": "web"}),
    a_pod(labels={"app": "web", "tier": "front"}),
    a_pod(cpu_m=700, extended={"nvidia.com/gpu": 1}, host_ports=(HostPort(80),)),
    a_pod(cpu_m=50, labels={"app": "web"}, namespace="other"),
]
SELECTORS = [Selector.of({"app": "web"}), Selector.of({"tier": "front"}), Selector()]
TAINTS = [(), (Taint("a", "NoSchedule"),), (Taint("a", "NoExecute"), Taint("b", "NoSchedule"))]

places = st.integers(0, 1000)


class AnyHistory(RuleBasedStateMachine):
    """Draws a place in the list of what a verb can be done to, so that most rules do something."""

    def __init__(self):
        super().__init__()
        self.cluster = a_cluster([a_node(), a_node()])

    def nodes(self):
        return self.cluster.nodes.ids().tolist()

    def pods(self, *, bound, ended=False):
        pods = self.cluster.pods
        rows = len(pods)
        chosen = pods.exists[:rows] & ((pods.node[:rows] != UNBOUND) == bound)
        chosen &= (pods.phase[:rows] >= Phase.SUCCEEDED) == ended
        return np.flatnonzero(chosen).tolist()

    def running(self):
        """Pods whose containers may run: bound, not over, on a machine that works."""
        table, pods = self.cluster.nodes, self.cluster.pods
        return [pod for pod in self.pods(bound=True) if table.up[pods.node[pod]]]

    # Nodes

    @rule(cpu_m=st.integers(0, 4000))
    def add_node(self, cpu_m):
        put_node(self.cluster, a_node(f"node-{len(self.cluster.nodes)}", cpu_m=cpu_m))

    @precondition(lambda self: self.nodes())
    @rule(place=places)
    def remove_node(self, place):
        self.cluster.remove_node(pick(self.nodes(), place))

    @precondition(lambda self: self.nodes())
    @rule(place=places, dies=st.booleans())
    def fail_node(self, place, dies):
        self.cluster.fail_node(pick(self.nodes(), place), containers_die=dies)

    @precondition(lambda self: self.nodes())
    @rule(place=places)
    def recover_node(self, place):
        self.cluster.recover_node(pick(self.nodes(), place))

    @precondition(lambda self: self.nodes())
    @rule(place=places, taints=st.sampled_from(TAINTS), cordoned=st.booleans())
    def taint_and_cordon(self, place, taints, cordoned):
        node = pick(self.nodes(), place)
        self.cluster.set_taints(node, taints)
        self.cluster.set_unschedulable(node, cordoned)

    # Pods

    @rule(pod=st.sampled_from(PODS))
    def create(self, pod):
        put_pod(self.cluster, pod)

    @precondition(lambda self: self.nodes() and self.pods(bound=False))
    @rule(pod=places, node=places)
    def bind(self, pod, node):
        self.cluster.bind(pick(self.pods(bound=False), pod), pick(self.nodes(), node))

    @precondition(lambda self: self.running())
    @rule(place=places, ready=st.booleans())
    def run(self, place, ready):
        pod = pick(self.running(), place)
        self.cluster.set_alive(pod, True)
        self.cluster.run_pod(pod)
        self.cluster.set_ready(pod, ready)

    @precondition(lambda self: self.running())
    @rule(place=places, cpu_m=st.integers(0, 500), memory_b=st.integers(0, 2**30))
    def use_and_restart(self, place, cpu_m, memory_b):
        pod = pick(self.running(), place)
        self.cluster.use(pod, cpu_m, memory_b, 0)
        self.cluster.count_restart(pod)

    @precondition(lambda self: self.pods(bound=True))
    @rule(place=places)
    def end(self, place):
        self.cluster.end_pod(pick(self.pods(bound=True), place), Phase.FAILED, Reason.COMPLETED)

    @precondition(lambda self: self.everything())
    @rule(place=places)
    def delete(self, place):
        self.cluster.delete_pod(pick(self.everything(), place))

    @precondition(lambda self: self.everything())
    @rule(place=places)
    def remove(self, place):
        self.cluster.remove_pod(pick(self.everything(), place))

    @precondition(lambda self: self.nodes() and self.pods(bound=False))
    @rule(pod=places, node=places)
    def try_out(self, pod, node):
        """A dry run leaves no trace."""
        pod, node = pick(self.pods(bound=False), pod), pick(self.nodes(), node)
        self.cluster.occupy(pod, node)
        self.cluster.vacate(pod, node)

    @rule(selector=st.sampled_from(SELECTORS), namespace=st.sampled_from(["default", "other"]))
    def count_pods(self, selector, namespace):
        self.cluster.pod_counts.of(namespace, selector)

    @rule(passed_ms=st.integers(1, 10_000))
    def wait(self, passed_ms):
        self.cluster.clock.run(self.cluster.clock.now_ms + passed_ms)

    def everything(self):
        return np.flatnonzero(self.cluster.pods.exists[: len(self.cluster.pods)]).tolist()

    @invariant()
    def columns_agree(self):
        self.cluster.check()


def pick(choices, place):
    return choices[place % len(choices)]


TestAnyHistory = AnyHistory.TestCase
