"""Where only passes are made that can find something, making all of them changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from sim import eviction, evictions
from sim.behaviour import Constant, MemoryUse
from sim.clock import Lane
from sim.cluster import Cluster
from sim.eviction import Grid, Observation, Settings, State, Threshold
from sim.evictionrank import PodUse, Use
from sim.kubelet import Kubelet, PodTimes
from sim.nodes import Reservation, shape
from sim.overcommit import ContainerMemory, first_above_ms, first_at_most_ms, total_b
from sim.podspec import CPU, MEMORY, Container, PodSpec, PodTemplate
from sim.podtimes import ContainerTimes
from sim.rng import Streams

# --- one manager, alone


CAPACITY_B = 200
PERIOD_MS = 10
END_MS = 1_500


@st.composite
def thresholds(draw):
    return Threshold(
        draw(st.sampled_from(eviction.MEMORY_SIGNALS)),
        draw(st.integers(0, 150)),
        draw(st.sampled_from([0, 0, 40, 300, 900])),
        draw(st.sampled_from([0, 0, 5, 60])),
    )


@st.composite
def memory(draw):
    """Memory of one pod: it grows, stays or shrinks, and starts at some time."""
    value_b, growth_b = draw(st.integers(0, 90)), draw(st.sampled_from([-9, -4, -1, 0, 1, 5, 30]))
    per_ms = draw(st.sampled_from([7, 100, 300]))
    start_ms = draw(st.integers(0, 400))
    longest_ms = value_b * per_ms // -growth_b if growth_b < 0 else END_MS
    length = st.integers(0, longest_ms)
    length_ms = draw(length if growth_b < 0 else st.none() | length)
    until_ms = None if length_ms is None else start_ms + length_ms
    return ContainerMemory(value_b, start_ms, growth_b, per_ms, until_ms)


@dataclass
class Pod:
    key: int
    memory: ContainerMemory
    request_b: int
    priority: int
    critical: bool
    shutdown_ms: int
    ends_ms: int = END_MS


@st.composite
def pods(draw, key):
    return Pod(
        key,
        draw(memory()),
        draw(st.integers(0, 60)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([False, False, False, True])),
        draw(st.integers(0, 45)),
        draw(st.integers(400, END_MS)),
    )


nodes = st.integers(1, 5).flatmap(lambda n: st.tuples(*(pods(key) for key in range(n))))
settings_ = st.builds(
    Settings,
    st.lists(thresholds(), min_size=1, max_size=4).map(tuple),
    st.sampled_from([35, 300]),
    st.sampled_from([0, 20]),
)


def story(settings, pods, kubepods_b, next_pass):
    """What passes evict and say, and when, if they are made where `next_pass` tells."""
    pods = [replace(pod) for pod in pods]
    starts_ms = sorted({pod.memory.at_ms for pod in pods})
    state, grid, told, now_ms, shown = State(), Grid(3, PERIOD_MS), [], 0, ()
    while now_ms < END_MS:
        there = [pod for pod in pods if pod.memory.at_ms <= now_ms < pod.ends_ms]
        seen = observations(there, now_ms, kubepods_b)
        foresee = partial(foresight, there, now_ms, kubepods_b)
        due_ms = next_pass(settings, state, grid, now_ms, seen, foresee)
        changes = [ms for ms in (*starts_ms, *(p.ends_ms for p in pods), END_MS) if ms > now_ms]
        change_ms = min(changes)
        if due_ms is None or change_ms <= due_ms != now_ms:
            now_ms = change_ms
            continue
        now_ms = due_ms
        uses = [pod_use(pod, now_ms) for pod in there]
        caught_up = eviction.caught_up(state, grid.before(now_ms))
        seen = observations(there, now_ms, kubepods_b)
        outcome = eviction.one_pass(settings, caught_up, now_ms, seen, uses)
        state, grid = outcome.state, Grid(now_ms + PERIOD_MS, PERIOD_MS)
        if state.conditions != shown:
            shown = state.conditions
            told.append((now_ms, shown))
        for victim in outcome.evicted:
            told.append((now_ms, victim.pod.key, victim.grace_ms))
            pod = next(p for p in pods if p.key == victim.pod.key)
            pod.ends_ms = min(pod.ends_ms, now_ms + min(pod.shutdown_ms, victim.grace_ms) + 1)
            grid = Grid(now_ms + 1 + pod.shutdown_ms // 7 * 7, PERIOD_MS)
    return told


def every_pass(settings, state, grid, now_ms, seen, foresee):
    return grid.at_or_after(now_ms)


def observations(pods, now_ms, kubepods_b):
    used_b = total_b([pod.memory for pod in pods], now_ms)
    return {
        eviction.MEMORY_AVAILABLE: Observation(CAPACITY_B - used_b, CAPACITY_B),
        eviction.ALLOCATABLE_MEMORY: Observation(kubepods_b - used_b, kubepods_b),
    }


def foresight(pods, now_ms, kubepods_b, signal, amount, below):
    capacity_b = CAPACITY_B if signal == eviction.MEMORY_AVAILABLE else kubepods_b
    first = first_above_ms if below else first_at_most_ms
    return first([pod.memory for pod in pods], capacity_b - amount, now_ms)


def pod_use(pod, now_ms):
    return PodUse(
        pod.key,
        pod.priority,
        Use(memory_b=pod.memory.value_at(now_ms)),
        memory_request_b=pod.request_b,
        critical=pod.critical,
    )


@given(settings_, nodes, st.integers(100, CAPACITY_B))
def test_passes_that_matter_do_what_all_passes_do(settings, pods, kubepods_b):
    assert story(settings, pods, kubepods_b, eviction.next_pass_ms) == story(
        settings, pods, kubepods_b, every_pass
    )


# --- kubelets of a cluster, with OOM kills, restarts and failing nodes


MIB = 2**20
SIZE = {CPU: 4_000, MEMORY: 1_000 * MIB}
RUN_MS = 15 * 60_000


@st.composite
def workloads(draw):
    limit = draw(st.sampled_from([{}, {MEMORY: 400 * MIB}]))
    request_b = draw(st.integers(0, 300)) * MIB
    use = MemoryUse(
        draw(st.integers(0, 300)) * MIB, draw(st.sampled_from([0, 1, 7, 60, 900])) * MIB, 60_000
    )
    spec = PodSpec(
        containers=(Container("main", requests={MEMORY: request_b}, limits=limit),),
        priority=draw(st.sampled_from([0, 0, 5, 2_000_000_000])),
        termination_grace_ms=draw(st.sampled_from([1_000, 30_000])),
    )
    times = PodTimes(
        start=Constant(draw(st.integers(0, 5_000))),
        shutdown=Constant(draw(st.sampled_from([0, 300, 4_000]))),
        containers={"main": ContainerTimes(memory=use)},
    )
    return draw(st.integers(0, 200_000)), draw(st.integers(0, 1)), spec, times


kubelet_settings = st.builds(
    lambda hard, soft, grace_ms, reclaim, transition_ms: Settings(
        eviction.with_allocatable(
            eviction.thresholds(
                {eviction.MEMORY_AVAILABLE: hard * MIB},
                {eviction.MEMORY_AVAILABLE: soft * MIB},
                {eviction.MEMORY_AVAILABLE: grace_ms},
                {eviction.MEMORY_AVAILABLE: reclaim * MIB},
            )
        ),
        transition_ms,
        max_grace_ms=5_000,
    ),
    st.integers(0, 300),
    st.integers(0, 600),
    st.sampled_from([25_000, 90_000]),
    st.sampled_from([0, 100]),
    st.sampled_from([30_000, 300_000]),
)
failures = st.lists(
    st.tuples(
        st.integers(0, RUN_MS), st.integers(0, 1), st.booleans(), st.sampled_from([2_000, 70_000])
    ),
    max_size=2,
)


def log_of(settings, workloads, failures, seed, *, all_passes):
    """Every event of a run."""
    cluster, times = Cluster(), {}
    kubelet = Kubelet(
        cluster,
        Streams(seed),
        lambda template: times[template.id],
        eviction=lambda node: settings,
    )
    clock = cluster.clock
    reserved = Reservation(kube={MEMORY: 100 * MIB})
    for node in range(2):
        cluster.add_node(f"node-{node}", shape(SIZE, reserved))
        if all_passes:
            kubelet.evictions.set_signal(node, eviction.NODEFS, None)  # it plans a pass from now on
    for number, (at_ms, node, spec, said) in enumerate(workloads):
        template = cluster.template(PodTemplate("default", {"nr": str(number)}, spec))
        times[template.id] = said
        owner = cluster.owner("ReplicaSet", "default", f"w{number}")
        pod = cluster.create_pod(template, owner)
        clock.at(at_ms, Lane.SCHEDULER, cluster.bind, pod, node)
    for at_ms, node, containers_die, down_ms in failures:
        clock.at(
            at_ms, Lane.FAULTS, partial(cluster.fail_node, containers_die=containers_die), node
        )
        clock.at(at_ms + down_ms, Lane.FAULTS, cluster.recover_node, node)
    clock.run(RUN_MS)
    cluster.check()
    log = cluster.recorder
    return list(zip(log.at_ms, log.reason, log.kind, log.object, log.arg, strict=True))


@given(
    kubelet_settings,
    st.lists(workloads(), min_size=1, max_size=6),
    failures,
    st.integers(0, 50),
)
def test_run_with_all_passes_is_the_same_run(settings, workloads, failures, seed):
    few = log_of(settings, workloads, failures, seed, all_passes=False)
    with patch.object(evictions, "next_pass_ms", every_pass):
        assert few == log_of(settings, workloads, failures, seed, all_passes=True)
