"""Which pods clients are sent to, and when they learn of a change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.endpoints import PROXY_MS, SYNC_MS, Endpoints
from sim.labels import Selector
from sim.recorder import Reason
from sim.rng import Streams
from sim.tables import NEVER, Phase
from sim.testing import a_cluster, a_node, a_pod, bound, put_pod
from sim.workloads import Service

KEY = ("default", "web")
POD = a_pod(labels={"app": "web"})


class Watched:
    """A Service over two pods that are ready; what clients see is logged with its time."""

    def __init__(self, *, ideal=False, seed=1, **service):
        self.cluster = a_cluster([a_node()])
        self.log = []
        self.endpoints = Endpoints(self.cluster, Streams(seed), self.publish, ideal=ideal)
        self.endpoints.watch(Service("default", "web", Selector.of({"app": "web"}), **service))
        for _ in range(2):
            self.add(POD)

    def add(self, template, *, ready=True):
        pod = put_pod(self.cluster, bound(template, 0))
        self.cluster.set_alive(pod, True)
        self.cluster.set_ready(pod, ready)
        return pod

    def publish(self, key, pods):
        assert key == KEY
        self.log.append((self.cluster.clock.now_ms, pods))

    def until(self, time_ms):
        self.cluster.clock.run(time_ms)
        return [pods for _, pods in self.log]


def test_clients_see_ready_pods_oldest_first():
    assert Watched().until(10_000) == [(0, 1)]


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda c: c.set_ready(0, False), id="it is not ready"),
        pytest.param(lambda c: c.delete_pod(0), id="it is being deleted"),
        pytest.param(lambda c: c.end_pod(0, Phase.FAILED, Reason.COMPLETED), id="it has ended"),
        pytest.param(lambda c: c.remove_pod(0), id="it is gone"),
    ],
)
def test_a_pod_leaves_when(lose):
    watched = Watched()
    watched.until(10_000)
    lose(watched.cluster)
    assert watched.until(20_000)[-1] == (1,)


def test_without_a_ready_pod_clients_use_those_that_are_ready_and_being_deleted():
    watched = Watched()
    watched.until(10_000)
    watched.cluster.delete_pod(0)
    assert watched.until(20_000)[-1] == (1,)
    watched.cluster.delete_pod(1)
    assert watched.until(30_000)[-1] == (0, 1)
    watched.cluster.set_ready(0, False)
    assert watched.until(40_000)[-1] == (1,)
    watched.cluster.remove_pod(1)
    assert watched.until(50_000)[-1] == ()


def test_a_ready_pod_ends_the_use_of_those_being_deleted():
    watched = Watched()
    for pod in (0, 1):
        watched.cluster.delete_pod(pod)
    assert watched.until(10_000)[-1] == (0, 1)
    watched.add(POD)
    assert watched.until(20_000)[-1] == (2,)


def test_a_pod_that_is_ready_again_is_back_at_the_place_of_its_age():
    watched = Watched()
    watched.cluster.set_ready(0, False)
    assert watched.until(10_000)[-1] == (1,)
    watched.cluster.set_ready(0, True)
    assert watched.until(20_000)[-1] == (0, 1)


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["ready", "delete", "end", "remove"]), st.integers(0, 3))),
)
def test_the_endpoints_kept_are_those_the_pods_say(publish_not_ready, steps):
    watched = Watched(ideal=True, publish_not_ready=publish_not_ready)
    for _ in range(2):
        watched.add(POD, ready=False)
    pods, cluster = watched.cluster.pods, watched.cluster
    for what, pod in steps:
        if what == "ready" and pods.exists[pod] and pods.phase[pod] < Phase.SUCCEEDED:
            cluster.set_ready(pod, not pods.ready[pod])
        elif what == "delete":
            cluster.delete_pod(pod)
        elif what == "end" and pods.exists[pod]:
            cluster.end_pod(pod, Phase.FAILED, Reason.COMPLETED)
        elif what == "remove":
            cluster.remove_pod(pod)
        listed = [p for p in range(4) if pods.exists[p] and pods.phase[p] < Phase.SUCCEEDED]
        serving = [p for p in listed if pods.ready[p]]
        ready = [p for p in serving if pods.deleting_ms[p] == NEVER]
        expected = listed if publish_not_ready else ready or serving
        assert watched.endpoints.usable(KEY) == tuple(expected)


@pytest.mark.parametrize(
    ("selector", "namespace", "labels", "picked"),
    [
        pytest.param({"app": "web"}, "default", {"app": "web", "x": "y"}, True, id="both match"),
        pytest.param({"app": "web"}, "other", {"app": "web"}, False, id="another namespace"),
        pytest.param({"app": "web"}, "default", {"app": "db"}, False, id="another label"),
        pytest.param(None, "default", {"app": "web"}, False, id="no selector picks nothing"),
    ],
)
def test_a_service_picks_templates(selector, namespace, labels, picked):
    service = Service("default", "web", None if selector is None else Selector.of(selector))
    assert service.picks(a_pod(labels=labels, namespace=namespace)) is picked


def test_a_dead_node_is_not_noticed_here():
    watched = Watched()
    watched.until(10_000)
    watched.cluster.fail_node(0)
    assert watched.until(60_000) == [(0, 1)]


def test_pods_of_other_labels_or_namespaces_are_not_sent_to():
    watched = Watched()
    watched.add(a_pod(labels={"app": "other"}))
    watched.add(a_pod(labels={"app": "web"}, namespace="elsewhere"))
    assert watched.until(10_000)[-1] == (0, 1)


def test_publish_not_ready_takes_pods_that_are_not_ready_or_being_deleted():
    watched = Watched(publish_not_ready=True)
    watched.add(POD, ready=False)
    watched.cluster.delete_pod(0)
    assert watched.until(10_000)[-1] == (0, 1, 2)


@pytest.mark.parametrize("seed", range(20))
def test_a_change_reaches_clients_after_the_sync_and_the_proxys_delay(seed):
    watched = Watched(seed=seed)
    watched.until(10_000)
    watched.cluster.set_ready(0, False)
    watched.until(20_000)
    delay_ms = watched.log[-1][0] - 10_000
    assert SYNC_MS + PROXY_MS[0] <= delay_ms < SYNC_MS + PROXY_MS[1]


def test_ideal_clients_see_a_change_at_once():
    watched = Watched(ideal=True)
    watched.until(10_000)
    watched.cluster.clock.at(10_500, 10, watched.cluster.set_ready, 0, False)
    watched.until(20_000)
    assert watched.log[-1] == (10_500, (1,))


@pytest.mark.parametrize("seed", range(20))
def test_clients_never_go_back_to_an_older_set(seed):
    # Ten changes within 300 ms, whose delays are drawn from 100..1500 ms and so overtake.
    watched = Watched(seed=seed)
    watched.until(10_000)
    for step in range(10):
        at_ms = 10_000 + 30 * step
        watched.cluster.clock.at(at_ms, 12, watched.cluster.set_ready, 0, bool(step % 2))
    watched.until(20_000)
    assert watched.log[-1][1] == watched.endpoints.usable(KEY) == (0, 1)
