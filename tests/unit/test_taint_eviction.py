"""Stories of pods under NoExecute taints, to the millisecond; the latency is 40 ms."""

from __future__ import annotations

import pytest

from sim.clock import Lane
from sim.controllers.taint_eviction import TaintEviction, Tolerance, deadline_ms, tolerance
from sim.podspec import Taint, Toleration
from sim.recorder import Reason
from sim.tables import NEVER, Phase
from sim.testing import a_cluster, a_node, a_pod

DISK, NET = Taint("disk", "NoExecute"), Taint("net", "NoExecute")
SOFT = Taint("disk", "NoSchedule")


def tolerating(key, seconds):
    return Toleration(key, "Exists", effect="NoExecute", seconds=seconds)


class Story:
    """A node whose taints change while pods are on it."""

    def __init__(self, **options):
        self.cluster = a_cluster([a_node()])
        self.eviction = TaintEviction(self.cluster, **options)

    def pod(self, *tolerations, bound=True):
        cluster = self.cluster
        owner = cluster.owner("ReplicaSet", "default", "web")
        pod = cluster.create_pod(cluster.template(a_pod(tolerations=tolerations)), owner)
        if bound:
            cluster.bind(pod, 0)
        return pod

    def at(self, ms, verb, *args):
        self.cluster.clock.at(ms, Lane.FAULTS, getattr(self.cluster, verb), *args)

    def taints(self, ms, *taints):
        self.at(ms, "set_taints", 0, taints)

    def run(self, until_ms=1_000_000):
        self.cluster.clock.run(until_ms)
        self.cluster.check()
        return self

    def deleted(self, pod):
        at_ms = self.cluster.pods.deleting_ms.item(pod)
        return None if at_ms == NEVER else at_ms

    def cancelled(self):
        recorder = self.cluster.recorder
        happened = zip(recorder.reason, recorder.at_ms, recorder.object, strict=True)
        return [(at, pod) for reason, at, pod in happened if reason == Reason.CANCEL_EVICTION]


@pytest.mark.parametrize(
    ("tolerations", "deleted_ms"),
    [
        pytest.param([], 1_040, id="untolerated: now"),
        pytest.param([tolerating("disk", None)], None, id="for ever"),
        pytest.param([tolerating("disk", 300)], 301_040, id="after its seconds"),
        pytest.param([tolerating("disk", 0)], 1_040, id="zero seconds: now"),
        pytest.param([tolerating("disk", -5)], 1_040, id="negative seconds: now"),
        pytest.param([tolerating("net", 300)], 1_040, id="another key does not help"),
    ],
)
def test_pod_goes(tolerations, deleted_ms):
    story = Story()
    pod = story.pod(*tolerations)
    story.taints(1_000, DISK)
    assert story.run().deleted(pod) == deleted_ms


def test_reason_of_the_deletion_is_the_taint():
    story = Story()
    pod = story.pod()
    story.taints(1_000, DISK)
    story.run()
    assert story.cluster.pods.reason[pod] == Reason.TAINT_EVICTION


def test_ideal_eviction_has_no_latency():
    story = Story(ideal=True)
    pod = story.pod(tolerating("disk", 20))
    story.taints(1_000, DISK)
    assert story.run().deleted(pod) == 21_000


def test_noschedule_taint_evicts_nobody():
    story = Story()
    pod = story.pod()
    story.taints(1_000, SOFT)
    assert story.run().deleted(pod) is None


def test_pod_bound_to_a_tainted_node_waits_from_then_on():
    story = Story()
    story.taints(1_000, DISK)
    pod = story.pod(tolerating("disk", 300), bound=False)
    story.at(50_000, "bind", pod, 0)
    assert story.run().deleted(pod) == 350_040


def test_untaint_cancels():
    story = Story()
    pod = story.pod(tolerating("disk", 300))
    story.taints(1_000, DISK)
    story.taints(200_000, SOFT)
    story.run()
    assert story.deleted(pod) is None
    assert story.cancelled() == [(200_000, pod)]


def test_second_taint_begins_a_new_wait_after_an_untaint():
    story = Story()
    pod = story.pod(tolerating("disk", 300))
    story.taints(1_000, DISK)
    story.taints(200_000)
    story.taints(210_000, DISK)
    assert story.run().deleted(pod) == 510_040


@pytest.mark.parametrize(
    ("seconds", "deleted_ms"),
    [
        pytest.param(500, 301_040, id="a longer toleration does not extend the wait"),
        pytest.param(10, 301_040, id="a shorter one does not bring it forward"),
        pytest.param(None, 301_040, id="one for ever does not end it while the other counts"),
    ],
)
def test_first_deadline_stands_when_a_second_taint_comes(seconds, deleted_ms):
    story = Story()
    pod = story.pod(tolerating("disk", 300), tolerating("net", seconds))
    story.taints(1_000, DISK)
    story.taints(100_000, DISK, NET)
    assert story.run().deleted(pod) == deleted_ms


def test_untolerated_second_taint_deletes_at_once():
    story = Story()
    pod = story.pod(tolerating("disk", 300))
    story.taints(1_000, DISK)
    story.taints(100_000, DISK, NET)
    assert story.run().deleted(pod) == 100_040


def test_wait_ends_when_only_a_taint_that_is_tolerated_for_ever_stays():
    story = Story()
    pod = story.pod(tolerating("disk", 300), tolerating("net", None))
    story.taints(1_000, DISK, NET)
    story.taints(100_000, NET)
    story.run()
    assert story.deleted(pod) is None
    assert story.cancelled() == [(100_000, pod)]


def test_pods_of_one_deadline_share_an_event():
    story = Story()
    pods = [story.pod(tolerating("disk", 300)) for _ in range(50)]
    calls = story.cluster.clock.calls
    story.taints(1_000, DISK)
    story.run()
    assert {story.deleted(pod) for pod in pods} == {301_040}
    assert story.cluster.clock.calls - calls == 2  # the taint and the deletions


def test_pod_that_is_over_or_gone_is_forgotten():
    story = Story()
    over, gone = (story.pod(tolerating("disk", 300)) for _ in range(2))
    story.taints(1_000, DISK)
    story.at(10_000, "end_pod", over, Phase.SUCCEEDED, Reason.COMPLETED)
    story.at(10_000, "delete_pod", gone)
    story.taints(20_000)
    story.run()
    assert story.cancelled() == []
    assert story.deleted(over) is None
    assert story.deleted(gone) == 10_000


def test_first_toleration_that_covers_a_taint_counts():
    # GetMatchingTolerations stops at the first match of each taint.
    tolerations = [tolerating("disk", 60), tolerating("disk", 5), tolerating("net", 90)]
    assert tolerance(tolerations, [DISK, NET]) == Tolerance(True, 60)


@pytest.mark.parametrize(
    ("found", "planned_ms", "expected_ms"),
    [
        pytest.param(Tolerance(False, 0), None, 1_000, id="untolerated: now"),
        pytest.param(Tolerance(False, 0), 9_000, 1_000, id="untolerated: not later than now"),
        pytest.param(Tolerance(False, 0), 500, 500, id="untolerated: not later than planned"),
        pytest.param(Tolerance(True, 5), None, 6_000, id="tolerated: after its seconds"),
        pytest.param(Tolerance(True, 5), 9_000, 9_000, id="tolerated: as planned"),
        pytest.param(Tolerance(True, None), 9_000, None, id="for ever: never"),
    ],
)
def test_deadline(found, planned_ms, expected_ms):
    assert deadline_ms(1_000, found, planned_ms) == expected_ms
