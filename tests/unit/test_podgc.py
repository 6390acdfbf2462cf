"""Stories of pods that nobody else removes, to the millisecond; passes are at 20 s × k."""

from __future__ import annotations

import pytest

from sim.clock import Lane
from sim.cluster import Change
from sim.controllers.podgc import OUT_OF_SERVICE, PodGC
from sim.podspec import Taint
from sim.recorder import Reason
from sim.rng import Streams
from sim.tables import NodeReady, Phase
from sim.testing import a_cluster, a_node, a_pod, put_node

WRITE_MS = 10
SERVICE_TAINT = Taint(OUT_OF_SERVICE, "NoExecute")


class Story:
    def __init__(self, nodes=1, **options):
        self.cluster = a_cluster()
        self.gc = PodGC(self.cluster, Streams(1), phase_ms=0, **options)
        for _ in range(nodes):
            put_node(self.cluster, a_node())
        self.gone = {}
        self.cluster.watch(self.note, [Change.POD_REMOVED])

    def note(self, _change, pod):
        self.gone[pod] = self.cluster.clock.now_ms

    def pod(self, node=0, kind="ReplicaSet", phase=Phase.RUNNING, reason=Reason.COMPLETED):
        cluster = self.cluster
        pod = cluster.create_pod(cluster.template(a_pod()), cluster.owner(kind, "default", "web"))
        cluster.bind(pod, node)
        cluster.run_pod(pod)
        if phase >= Phase.SUCCEEDED:
            cluster.end_pod(pod, phase, reason)
        return pod

    def at(self, ms, verb, *args):
        self.cluster.clock.at(ms, Lane.FAULTS, getattr(self.cluster, verb), *args)

    def run(self, until_ms=200_000):
        self.cluster.clock.run(until_ms)
        self.cluster.check()
        return self.gone


# --- orphans


@pytest.mark.parametrize(
    ("deleted_ms", "pass_ms"),
    [
        # missed by the pass at 20 s, 40 s of quarantine
        pytest.param(10_000, 60_000, id="50 s later"),
        pytest.param(19_999, 60_000, id="40 s later"),
        pytest.param(20_001, 80_000, id="60 s later"),
    ],
)
def test_pods_of_a_deleted_node_go_40_to_60_seconds_later(deleted_ms, pass_ms):
    story = Story()
    pod = story.pod()
    story.at(deleted_ms, "remove_node", 0)
    # phase Failed is written, then the pod is deleted
    assert story.run() == {pod: pass_ms + 2 * WRITE_MS}
    assert story.cluster.pods.phase[pod] == Phase.FAILED


def test_an_ended_pod_of_a_deleted_node_is_only_deleted():
    story = Story()
    pod = story.pod(phase=Phase.SUCCEEDED)
    story.at(10_000, "remove_node", 0)
    assert story.run() == {pod: 60_000 + WRITE_MS}
    assert story.cluster.pods.phase[pod] == Phase.SUCCEEDED


def test_a_terminating_pod_of_a_deleted_node_goes_too():
    story = Story()
    pod = story.pod()
    story.at(5_000, "delete_pod", pod)
    story.at(10_000, "remove_node", 0)
    assert story.run() == {pod: 60_000 + 2 * WRITE_MS}


def test_pods_of_other_nodes_stay():
    story = Story(nodes=2)
    story.pod(node=1)
    story.at(10_000, "remove_node", 0)
    assert story.run() == {}


def test_calls_are_limited_to_20_a_second_after_a_burst_of_30():
    story = Story()
    pods = [story.pod() for _ in range(40)]
    story.at(10_000, "remove_node", 0)
    gone = story.run()
    assert sorted(gone) == pods
    # 80 calls: 30 at once, 50 more at 50 ms each; all statuses are asked for first
    assert max(gone.values()) == 60_000 + 50 * 50 + WRITE_MS


# --- out of service


def test_terminating_pods_of_a_node_out_of_service_go_in_the_next_pass():
    story = Story()
    going, staying = story.pod(), story.pod()
    story.at(0, "set_node_ready", 0, NodeReady.UNKNOWN)
    story.at(10_000, "set_taints", 0, (SERVICE_TAINT,))
    story.at(30_000, "delete_pod", going)
    assert story.run() == {going: 40_000 + 2 * WRITE_MS}
    assert story.cluster.pods.exists[staying]


def test_a_ready_node_loses_nothing_to_the_taint():
    story = Story()
    pod = story.pod()
    story.at(10_000, "set_taints", 0, (SERVICE_TAINT,))
    story.at(15_000, "delete_pod", pod)
    assert story.run() == {}


def test_the_taint_counts_from_when_the_node_is_no_longer_ready():
    story = Story()
    pod = story.pod()
    story.at(10_000, "set_taints", 0, (SERVICE_TAINT,))
    story.at(15_000, "delete_pod", pod)
    story.at(50_000, "set_node_ready", 0, NodeReady.UNKNOWN)
    assert story.run() == {pod: 60_000 + 2 * WRITE_MS}


# --- too many


def test_the_oldest_ended_pods_above_the_threshold_go():
    story = Story(threshold=3)
    pods = [story.pod(phase=Phase.SUCCEEDED) for _ in range(5)]
    story.pod()
    assert sorted(story.run()) == pods[:2]


def test_as_many_as_the_threshold_stay():
    story = Story(threshold=3)
    for _ in range(3):
        story.pod(phase=Phase.FAILED)
    assert story.run() == {}


def test_ended_pods_of_jobs_are_left_to_their_controller():
    story = Story(threshold=1)
    for _ in range(3):
        story.pod(kind="Job", phase=Phase.SUCCEEDED)
    assert story.run() == {}


def test_more_that_end_later_are_collected_later():
    story = Story(threshold=2)
    first = [story.pod(phase=Phase.SUCCEEDED) for _ in range(3)]
    late = [story.pod() for _ in range(2)]
    for pod in late:
        story.at(50_000, "end_pod", pod, Phase.FAILED, Reason.CONTAINER_FAILED)
    assert story.run() == {
        first[0]: 0 + WRITE_MS,  # the pass of the very beginning
        first[1]: 60_000 + WRITE_MS,
        first[2]: 60_000 + WRITE_MS,
    }


def test_nothing_costs_an_event_while_nothing_is_to_be_done():
    story = Story()
    story.pod(phase=Phase.SUCCEEDED)
    story.run(10_000_000)
    assert story.cluster.clock.calls == 0
