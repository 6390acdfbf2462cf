"""Whatever happens to pods and nodes: the sums agree, nothing runs on a dead node, all heals."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sim.behaviour import Constant, Ending, Exponential, MemoryUse, ProbeBehaviour, Uniform
from sim.cluster import Change, Cluster
from sim.cpu import share_cpu
from sim.kubelet import Kubelet, PodTimes
from sim.nodes import shape
from sim.overcommit import pod_cpu
from sim.podspec import CPU, MEMORY, Container, Hook, PodSpec, PodTemplate, Probe
from sim.podtimes import ContainerTimes
from sim.rng import Streams
from sim.tables import NEVER, UNBOUND, Phase
from sim.termination import shutdown_groups

NODES = 3
NODE = {CPU: 1_000, MEMORY: 1_000}
INIT = Container("init")
SIDE = Container("side", startup=Probe(period_ms=1_000), sidecar=True)
QUIET_MS = 40 * 60_000  # longer than any back-off, start-up or grace

durations = st.sampled_from(
    [Constant(0), Constant(700), Uniform(0, 3_000), Exponential(4_000)],
)
probes = st.none() | st.builds(
    Probe,
    initial_delay_ms=st.sampled_from([0, 2_000]),
    period_ms=st.sampled_from([1_000, 3_000, 10_000]),
    failure_threshold=st.integers(1, 3),
)
hooks = st.sampled_from([None, None, Hook("sleep", 2_000), Hook("exec")])
amounts = st.fixed_dictionaries(
    {}, optional={CPU: st.integers(0, 800), MEMORY: st.integers(1, 900)}
)


@st.composite
def containers(draw, name):
    return Container(
        name,
        requests=draw(amounts),
        limits=draw(amounts),
        readiness=draw(probes),
        liveness=draw(probes),
        startup=draw(probes),
        post_start=draw(hooks),
        pre_stop=draw(hooks),
    )


@st.composite
def specs(draw):
    return PodSpec(
        containers=tuple(draw(containers(name)) for name in ("a", "b")[: draw(st.integers(1, 2))]),
        init_containers=draw(st.sampled_from([(), (SIDE,), (INIT,), (SIDE, INIT), (INIT, SIDE)])),
        priority=draw(st.sampled_from([0, 2_000_000_000])),
        restart_policy=draw(st.sampled_from(["Always", "Always", "OnFailure", "Never"])),
        termination_grace_ms=draw(st.sampled_from([0, 1_000, 30_000])),
    )


said = st.builds(
    ContainerTimes,
    run=st.none() | st.builds(Ending, durations.filter(lambda d: d.mean_ms), st.integers(0, 1)),
    crash=st.none() | st.builds(Ending, st.just(Exponential(30_000)), st.just(1)),
    cpu_m=st.none() | st.integers(0, 1_500),
    memory=st.none()
    | st.builds(MemoryUse, st.integers(0, 600), st.integers(0, 20), st.just(1_000)),
    probes=st.builds(
        ProbeBehaviour,
        latency_ms=st.sampled_from([0, 1, 100]),
        liveness_failure_rate=st.sampled_from([0.0, 0.2]),
        readiness_failure_rate=st.sampled_from([0.0, 0.2]),
    ),
)
times = st.builds(
    PodTimes,
    watch_delay=st.sampled_from([Constant(0), Uniform(0, 100)]),
    image_pull=durations,
    start=durations,
    startup=durations,
    shutdown=durations,
    run=st.none() | durations.filter(lambda d: d.mean_ms),
    containers=st.fixed_dictionaries({}, optional=dict.fromkeys(("a", "b", "init", "side"), said)),
)
some = st.integers(0, 10**6)


class AnyHistory(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 3), ideal=st.booleans())
    def begin(self, seed, ideal):
        self.cluster = Cluster()
        self.times = {}
        self.kubelet = Kubelet(
            self.cluster,
            Streams(seed),
            lambda template: self.times[template.id],
            ideal=ideal,
            shutdown_groups=lambda node: shutdown_groups(20_000, 5_000) if node else (),
        )
        for node in range(NODES):
            self.cluster.add_node(f"node-{node}", shape(NODE))
        self.cluster.watch(self.watch)

    def watch(self, change, object_id):
        """What must hold at every single change."""
        pods, nodes = self.cluster.pods, self.cluster.nodes
        if change == Change.POD_ALIVE and pods.alive[object_id]:
            assert nodes.up[pods.node[object_id]]
            assert pods.phase[object_id] < Phase.SUCCEEDED
        if change in (Change.POD_RUNNING, Change.POD_READY) and pods.ready[object_id]:
            node = pods.node[object_id]
            assert nodes.up[node], "written by a dead node"
            assert not nodes.cut_off[node], "written by a node nobody hears of"

    @rule(spec=specs(), times=times, node=st.integers(0, NODES - 1))
    def bind(self, spec, times, node):
        labels = {"nr": str(len(self.times))}
        template = self.cluster.template(PodTemplate("default", labels, spec))
        self.times[template.id] = times
        owner = self.cluster.owner("ReplicaSet", "default", "any")
        self.cluster.bind(self.cluster.create_pod(template, owner), node)

    @precondition(lambda self: len(self.cluster.pods))
    @rule(which=some)
    def delete(self, which):
        self.cluster.delete_pod(which % len(self.cluster.pods))

    @precondition(lambda self: len(self.cluster.pods))
    @rule(which=some, cpu_m=st.sampled_from([0, 100, 900]))
    def load(self, which, cpu_m):
        self.kubelet.set_load(which % len(self.cluster.pods), cpu_m)

    @rule(node=st.integers(0, NODES - 1), containers_die=st.booleans())
    def fail(self, node, containers_die):
        self.cluster.fail_node(node, containers_die=containers_die)

    @rule(node=st.integers(0, NODES - 1))
    def shut_down(self, node):
        self.kubelet.shut_down(node)

    @rule(node=st.integers(0, NODES - 1))
    def recover(self, node):
        if not self.kubelet.comes_back(node):
            self.cluster.recover_node(node)

    @rule(ms=st.sampled_from([1, 50, 900, 5_000, 61_000]))
    def wait(self, ms):
        self.cluster.clock.run(self.cluster.clock.now_ms + ms)

    @invariant()
    def sums_agree(self):
        self.cluster.check()
        pods = self.cluster.pods
        for pod in range(len(pods)):
            if pods.answers[pod]:
                assert pods.alive[pod], f"pod {pod} answers without running"
            if pods.ended_ms[pod] != NEVER:
                assert self.kubelet.container_state(pod)[0].state != "running"

    @invariant()
    def cpu_is_shared_as_if_from_scratch(self):
        # What happens at this instant is settled when time passes.
        self.cluster.clock.run(self.cluster.clock.now_ms + 1)
        pods = self.cluster.pods
        for node in range(NODES):
            alive = [pod for pod in range(len(pods)) if pods.node[pod] == node and pods.alive[pod]]
            wanted = [pod_cpu(self.spec(pod), self.demand_m(pod)) for pod in alive]
            assert pods.cpu_m[alive].tolist() == [
                *share_cpu(wanted, NODE[CPU], NODE[CPU])
            ] or self.order_differs(alive, wanted)

    def order_differs(self, alive, wanted):
        """Units left by rounding depend on the order of the pods."""
        shared = share_cpu(wanted, NODE[CPU], NODE[CPU])
        used = self.cluster.pods.cpu_m[alive].tolist()
        return sum(used) == sum(shared) and all(
            abs(a - b) <= 1 for a, b in zip(used, shared, strict=True)
        )

    def spec(self, pod):
        return self.cluster.pod_template(pod).pod.spec

    def demand_m(self, pod):
        """Base of what runs, and the load if it answers."""
        times = self.times[self.cluster.pod_template(pod).id]
        spec = self.spec(pod)
        states = {status.name: status.state for status in self.kubelet.container_state(pod)}
        demand_m = 0
        for container in (*spec.init_containers, *spec.containers):
            own = times.containers.get(container.name)
            if states[container.name] != "running":
                continue
            if own is not None and own.cpu_m is not None:
                demand_m += own.cpu_m
            else:
                demand_m += container.requests.get(CPU, 0)
        if self.cluster.pods.answers[pod]:
            demand_m += self.kubelet._pressure._loads_m.get(pod, 0)
        return demand_m

    def teardown(self):
        """Once every node is back, what was deleted goes and what shall run has been started."""
        if not hasattr(self, "cluster"):
            return
        clock, pods = self.cluster.clock, self.cluster.pods
        clock.run(clock.now_ms + 60_000)  # the end of any shutdown
        for node in range(NODES):
            while self.cluster.nodes.faults[node]:
                self.cluster.recover_node(node)
        deleted = [pod for pod in range(len(pods)) if pods.deleting_ms[pod] != NEVER]
        clock.run(clock.now_ms + QUIET_MS)
        self.cluster.check()
        assert not pods.exists[deleted].any(), f"deleted pods stay: {deleted}"
        for pod in range(len(pods)):
            if pods.exists[pod] and pods.node[pod] != UNBOUND and pods.phase[pod] == Phase.PENDING:
                # Only what never gets through its initialization has a reason not to run.
                waits_for = self.kubelet.waits_for(pod)
                assert waits_for.startswith("Init:"), f"pod {pod} was never started: {waits_for}"


TestAnyHistory = AnyHistory.TestCase
