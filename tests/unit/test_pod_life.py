"""Init containers, sidecars, hooks, admission and shutdown: time lines worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.behaviour import Constant, Ending, ProbeBehaviour, Spell
from sim.cluster import Change
from sim.podspec import (
    CPU,
    MEMORY,
    Container,
    Hook,
    HostPort,
    PodSpec,
    Probe,
    Taint,
)
from sim.podtimes import ContainerTimes
from sim.recorder import Reason
from sim.tables import NodeReady, Phase
from sim.termination import shutdown_groups
from tests.unit.test_kubelet import START_MS, TIMES, Story, a_pod, one_pod

MAIN = Container("main")
CRITICAL = 2_000_000_000


def said(**containers):
    """TIMES with what is said of containers."""
    return replace(TIMES, containers={n: ContainerTimes(**told) for n, told in containers.items()})


def end(after_ms, code=0):
    return Ending(Constant(after_ms), code)


def with_init(*init, **spec):
    return PodSpec(containers=(MAIN,), init_containers=init, **spec)


def state(story, pod):
    return {s.name: (s.state, s.reason) for s in story.kubelet.container_state(pod)}


# --- init containers and sidecars


def test_init_containers_run_one_after_the_other_and_then_the_others():
    # a 0.9 to 2.9 s, b (of which nothing is said: 1 s) to 3.9 s
    spec = with_init(Container("a"), Container("b"))
    story, pod = one_pod(spec, said(a={"run": end(2_000)}), ideal=True)
    assert story.starts(pod) == [900, 2_900, 3_900]
    assert story.when(pod, Change.POD_RUNNING) == [3_900]
    assert story.when(pod, Change.POD_READY) == [3_900]


def test_each_step_waits_for_its_image_and_for_the_next_relist():
    # seen 0.1 s; sandbox to 1.0; image to 3.0; a runs to 4.0; seen; image 2 s; seen
    spec = with_init(Container("a"))
    story, pod = one_pod(spec, replace(TIMES, image_pull=Constant(2_000)))
    seen_ms = 4_000 + (story.kubelet._kubelets[0].phase_ms - 4_000) % 1_000
    assert story.starts(pod) == [3_000, seen_ms + 2_000]
    assert story.when(pod, Change.POD_READY) == [seen_ms + 3_000]


def test_pod_is_pending_while_it_is_initialized():
    spec = with_init(Container("a"))
    story, pod = one_pod(spec, said(a={"run": end(60_000)}), until_ms=30_000)
    assert story.cluster.pods.phase[pod] == Phase.PENDING
    assert state(story, pod) == {"a": ("running", ""), "main": ("waiting", "PodInitializing")}
    assert story.kubelet.waits_for(pod) == "Init:Running"
    assert story.kubelet.conditions(pod) == {
        "PodScheduled": True,
        "PodReadyToStartContainers": True,
        "Initialized": False,
        "ContainersReady": False,
        "Ready": False,
    }


def test_failing_init_container_is_tried_again_with_back_off():
    # ends at 1.9, 2.9 and 13.9 s: again at once, after 10 s, after 20 s
    spec = with_init(Container("a"))
    story, pod = one_pod(spec, said(a={"run": end(1_000, 1)}), until_ms=30_000, ideal=True)
    assert story.starts(pod) == [900, 1_900, 12_900]
    assert story.events(pod, Reason.BACK_OFF) == [2_900, 13_900]
    assert story.cluster.pods.phase[pod] == Phase.PENDING
    assert story.kubelet.waits_for(pod) == "Init:CrashLoopBackOff"
    assert story.restarts(pod) == 2


def test_failing_init_container_ends_a_pod_that_never_restarts():
    spec = with_init(Container("a"), restart_policy="Never")
    story, pod = one_pod(spec, said(a={"run": end(1_000, 7)}), ideal=True)
    assert story.when(pod, Change.POD_ENDED) == [1_900]
    assert story.cluster.pods.phase[pod] == Phase.FAILED
    assert story.when(pod, Change.POD_RUNNING) == []


def test_sidecar_lets_the_next_ones_start_once_it_is_started():
    # proxy runs from 0.9 s and answers from 3.4; its startup probe, at whole seconds, finds that
    # at 4.0; migrate runs to 5.0
    probe = Probe(period_ms=1_000, failure_threshold=10)
    spec = with_init(Container("proxy", startup=probe, sidecar=True), Container("migrate"))
    story, pod = one_pod(spec, said(proxy={"startup": Constant(2_500)}), ideal=True)
    assert story.when(pod, Change.POD_RUNNING) == [5_000]
    assert story.when(pod, Change.POD_READY) == [5_000]


def test_sidecar_starts_again_whatever_the_pods_policy():
    # 0.9 to 2.9, again at once to 4.9, again after 10 s: unready from 4.9 to 14.9
    spec = with_init(Container("proxy", sidecar=True), restart_policy="Never")
    story, pod = one_pod(spec, said(proxy={"crash": end(2_000, 1)}), until_ms=15_000, ideal=True)
    assert story.when(pod, Change.POD_READY) == [900, 14_900]
    assert story.restarts(pod) == 2


def test_init_containers_run_again_when_their_node_has_crashed():
    # a 0.9 to 1.9, main; down 6 to 9 s; a 9.9 to 10.9, main
    story = Story(ideal=True)
    pod = story.pod(with_init(Container("a")))
    story.at(6_000, story.cluster.fail_node, 0)
    story.at(9_000, story.cluster.recover_node, 0).run(20_000)
    assert story.starts(pod) == [900, 1_900, 9_900, 10_900]
    assert story.when(pod, Change.POD_READY) == [1_900, 10_900]
    assert story.restarts(pod) == 1


def test_container_that_has_succeeded_is_not_started_again_after_a_crash():
    # done ends well at 2.9; on fails never; after the crash only `on` starts: 9.9
    story = Story(said(done={"run": end(2_000)}), ideal=True)
    spec = a_pod(Container("done"), Container("on"), restart_policy="OnFailure")
    pod = story.pod(spec)
    story.at(6_000, story.cluster.fail_node, 0)
    story.at(9_000, story.cluster.recover_node, 0).run(20_000)
    assert state(story, pod) == {"done": ("terminated", "Completed"), "on": ("running", "")}
    assert story.restarts(pod) == 1


# --- one worker a pod


def test_nothing_else_of_a_pod_starts_while_its_worker_kills():
    # main is killed at 30.0 s and takes 5 s; flaky ends at 31.0 and has to wait until 35.0
    times = said(
        main={"startup": Constant(10**9), "shutdown": Constant(5_000)},
        flaky={"run": end(30_100, 1)},
    )
    spec = a_pod(Container("main", liveness=Probe()), Container("flaky"))
    story, pod = one_pod(spec, times, until_ms=36_000, ideal=True)
    assert story.events(pod, Reason.RESTARTED) == [35_000, 35_000]


def test_post_start_hook_holds_the_next_container_back():
    # first 0.9, its hook to 3.9, second
    spec = a_pod(Container("first", post_start=Hook("sleep", 3_000)), Container("second"))
    story, pod = one_pod(spec, said(second={"run": end(1_000)}), until_ms=5_000, ideal=True)
    assert story.when(pod, Change.POD_READY)[0] == 3_900
    assert story.restarts(pod) == 1  # second has ended at 4.9


# --- states


def test_states_bear_the_reasons_of_the_api():
    times = said(crashes={"run": end(1_000, 1)}, works={"run": end(10**9)})
    spec = a_pod(Container("crashes"), Container("works"))
    story = Story(times, ideal=True)
    pod = story.pod(spec)
    story.run(500)
    creating = ("waiting", "ContainerCreating")
    assert state(story, pod) == {"crashes": creating, "works": creating}
    story.run(5_000)
    assert state(story, pod)["crashes"] == ("waiting", "CrashLoopBackOff")
    assert story.kubelet.waits_for(pod) == "CrashLoopBackOff"
    assert story.cluster.pods.phase[pod] == Phase.RUNNING


@pytest.mark.parametrize(
    ("code", "reason", "phase"), [(0, "Completed", Phase.SUCCEEDED), (3, "Error", Phase.FAILED)]
)
def test_ended_pod_shows_its_end(code, reason, phase):
    times = replace(TIMES, run=Constant(1_000), exit_code=code)
    story, pod = one_pod(a_pod(restart_policy="Never"), times)
    assert story.cluster.pods.phase[pod] == phase
    assert state(story, pod) == {"main": ("terminated", reason)}
    assert not story.kubelet.conditions(pod)["Ready"]


# --- ends


@pytest.mark.parametrize(
    ("grace_ms", "shutdown_ms", "takes_ms"),
    [
        pytest.param(30_000, 500, 5_500, id="hook, then TERM"),
        pytest.param(30_000, 60_000, 30_000, id="the hook is part of the grace: KILL at 30 s"),
        pytest.param(3_000, 500, 3_500, id="hook cut off by the grace"),
        pytest.param(3_000, 60_000, 5_000, id="KILL not before 2 s after TERM"),
    ],
)
@pytest.mark.parametrize("probes", [{}, {"readiness": Probe()}], ids=["plain", "probed"])
def test_pre_stop_hook_of_5_s_comes_before_term(grace_ms, shutdown_ms, takes_ms, probes):
    main = Container("main", pre_stop=Hook("sleep", 5_000), **probes)
    story = Story(replace(TIMES, shutdown=Constant(shutdown_ms)), ideal=True)
    pod = story.pod(a_pod(main, termination_grace_ms=grace_ms))
    story.at(10_000, story.cluster.delete_pod, pod).run(60_000)
    assert story.when(pod, Change.POD_REMOVED) == [10_000 + takes_ms]


def test_behaviour_says_how_long_a_hook_takes():
    times = said(main={"pre_stop": Constant(2_000)})
    story = Story(times, ideal=True)
    pod = story.pod(a_pod(Container("main", pre_stop=Hook("httpGet"))))
    story.at(10_000, story.cluster.delete_pod, pod).run(60_000)
    assert story.when(pod, Change.POD_REMOVED) == [12_500]


def test_a_second_of_grace_still_leaves_two_after_term():
    story = Story(replace(TIMES, shutdown=Constant(60_000)), ideal=True)
    pod = story.pod(a_pod(termination_grace_ms=1_000))
    story.at(10_000, story.cluster.delete_pod, pod).run(60_000)
    assert story.when(pod, Change.POD_REMOVED) == [12_000]


SIDECARS = (Container("one", sidecar=True), Container("two", sidecar=True))


@pytest.mark.parametrize(
    ("main_ms", "takes_ms"),
    [
        pytest.param(4_000, 6_000, id="main 4 s, then two and one, 1 s each"),
        # Both have waited their whole grace: TERM at 30 s, 2 s left, 1 s needed.
        pytest.param(60_000, 31_000, id="main uses all 30 s up"),
    ],
)
def test_sidecars_stop_after_the_others_the_last_one_first(main_ms, takes_ms):
    second = {"shutdown": Constant(1_000)}
    times = said(main={"shutdown": Constant(main_ms)}, one=second, two=second)
    story = Story(times, ideal=True)
    pod = story.pod(with_init(*SIDECARS))
    story.at(10_000, story.cluster.delete_pod, pod).run(60_000)
    assert story.when(pod, Change.POD_REMOVED) == [10_000 + takes_ms]


def test_sidecar_is_told_to_stop_as_soon_as_main_has_ended_by_itself():
    # deleted at 10.0, main would take 20 s, but crashes at 0.9 + 14.1 = 15.0; proxy 0.5 s more
    times = said(main={"shutdown": Constant(20_000), "crash": end(14_100, 1)})
    story = Story(times, ideal=True)
    pod = story.pod(with_init(Container("proxy", sidecar=True)))
    story.at(10_000, story.cluster.delete_pod, pod).run(60_000)
    assert story.when(pod, Change.POD_REMOVED) == [15_500]


# --- readiness that fails for a time


def test_readiness_that_fails_for_a_time_takes_one_pod_out_of_service_without_a_restart():
    # Probes at 1 + 10 k s. From 60 s on they fail: 61, 71, 81 (the third). The ticker begins anew
    # there; well again from 120 s, which the probe at 121 finds.
    spell = ProbeBehaviour(readiness_spell=Spell(60_000, 120_000, pods=1))
    story = Story(said(main={"probes": spell}))
    spec = a_pod(Container("main", readiness=Probe()))
    first, second = story.pod(spec), story.pod(spec)
    story.run(200_000)
    assert story.when(first, Change.POD_READY, False) == [81_000]
    assert story.when(first, Change.POD_READY) == [START_MS, 121_000]
    assert story.when(second, Change.POD_READY, False) == []
    assert story.restarts(first) == 0
    assert story.when(first, Change.POD_ANSWERS, False) == []


# --- admission


def sized(memory_b=0, cpu_m=0, **more):
    spec = {k: more.pop(k) for k in list(more) if k not in ("host_ports",)}
    container = Container("main", requests={MEMORY: memory_b, CPU: cpu_m}, **more)
    return a_pod(container, **spec)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param(sized(600), Reason.OUT_OF_MEMORY, id="memory"),
        pytest.param(sized(cpu_m=3_600), Reason.OUT_OF_CPU, id="cpu"),
        pytest.param(sized(node_selector={"disk": "ssd"}), Reason.NODE_AFFINITY, id="selector"),
        pytest.param(sized(host_ports=(HostPort(80),)), Reason.NODE_PORTS, id="host port"),
    ],
)
def test_kubelet_refuses_what_does_not_fit_beside_what_it_has(spec, reason):
    story = Story()
    first = story.pod(sized(500, 500, host_ports=(HostPort(80),)))
    pod = story.pod(spec)
    story.run(10_000)
    assert story.when(pod, Change.POD_ENDED) == [100]  # when it is seen
    assert story.cluster.pods.phase[pod] == Phase.FAILED
    assert story.cluster.pods.reason[pod] == reason
    assert story.starts(pod) == []
    assert story.starts(first) == [START_MS]


def test_kubelet_refuses_more_pods_than_it_may_have():
    story = Story()
    story.cluster.nodes.max_pods[0] = 1
    first, second = story.pod(), story.pod()
    story.run(10_000)
    assert story.cluster.pods.reason[second] == Reason.OUT_OF_PODS
    assert story.starts(first) == [START_MS]


def test_kubelet_refuses_pods_that_do_not_tolerate_a_taint_it_has_got_meanwhile():
    story = Story()
    pod = story.pod()
    story.at(50, story.cluster.set_taints, 0, (Taint("broken", "NoExecute"),)).run(10_000)
    assert story.when(pod, Change.POD_ENDED) == [100]
    assert story.cluster.pods.reason[pod] == Reason.TAINT_TOLERATION


def test_pods_that_have_ended_leave_room():
    # first is deleted at 5.0 and gone at 5.6; the second is bound then
    story = Story()
    first = story.pod(sized(600))
    story.at(5_000, story.cluster.delete_pod, first)
    story.at(5_600, story.pod, sized(600)).run(10_000)
    assert story.starts(1) == [6_600]


def test_critical_pod_pushes_out_one_of_lower_priority():
    # seen at 5.1; low needs 0.5 s to stop; then the critical one starts in 0.9 s
    story = Story()
    low = story.pod(sized(800), app="low")
    story.at(5_000, story.pod, sized(500, priority=CRITICAL), app="critical").run(10_000)
    assert story.when(low, Change.POD_ENDED) == [5_600]
    assert story.cluster.pods.reason[low] == Reason.PREEMPTING
    assert story.starts(1) == [6_500]


# --- shutdown of a node


def shut_down(*pods, at_ms=10_000, groups=(30_000, 10_000), until_ms=60_000):
    """A node with these pods (spec, seconds to stop), shut down at 10 s."""
    times = {str(i): replace(TIMES, shutdown=Constant(ms)) for i, (_, ms) in enumerate(pods)}
    times["main"] = TIMES
    story = Story(times, ideal=True, shutdown_groups=lambda node: shutdown_groups(*groups))
    for i, (spec, _) in enumerate(pods):
        story.pod(spec, app=str(i))
    story.at(at_ms, story.kubelet.shut_down, 0)
    return story


def down_at(story):
    [at_ms] = [ms for ms, change, *_ in story.changes if change == Change.NODE_DOWN]
    return at_ms


@pytest.fixture
def downs(monkeypatch):
    """Notes when nodes go down, too."""
    note = Story.note

    def with_nodes(self, change, object_id):
        note(self, change, object_id)
        if change == Change.NODE_DOWN:
            self.changes.append((self.cluster.clock.now_ms, change, object_id, True))

    monkeypatch.setattr(Story, "note", with_nodes)


def test_shutdown_stops_ordinary_pods_first_and_critical_ones_last(downs):
    # ordinary 5 s, then critical 2 s: down at 17.0
    story = shut_down((a_pod(), 5_000), (a_pod(priority=CRITICAL), 2_000)).run(60_000)
    assert story.when(0, Change.POD_ENDED) == [15_000]
    assert story.when(1, Change.POD_ENDED) == [17_000]
    assert down_at(story) == 17_000
    assert list(story.cluster.pods.reason[:2]) == [Reason.NODE_SHUTDOWN_END] * 2
    assert list(story.cluster.pods.phase[:2]) == [Phase.FAILED] * 2


def test_group_ends_with_its_time(downs):
    # 20 s of 30 are for ordinary pods, 10 for critical ones: KILL at 30.0 and at 40.0
    story = shut_down((a_pod(), 60_000), (a_pod(priority=CRITICAL), 60_000)).run(60_000)
    assert story.when(0, Change.POD_ALIVE, False) == [30_000]
    assert story.when(1, Change.POD_ALIVE, False) == [40_000]
    assert down_at(story) == 40_000


def test_node_that_shuts_down_is_not_ready_and_takes_no_pods():
    story = shut_down((a_pod(), 5_000))
    story.at(12_000, story.pod).run(12_500)
    assert story.cluster.nodes.ready[0] == NodeReady.FALSE
    assert story.cluster.pods.reason[1] == Reason.NODE_SHUTDOWN


def test_node_without_a_grace_period_for_it_goes_down_at_once(downs):
    story = shut_down((a_pod(), 5_000), groups=(0, 0)).run(60_000)
    assert down_at(story) == 10_000
    assert story.when(0, Change.POD_ENDED) == []


def test_crash_cuts_a_shutdown_short(downs):
    story = shut_down((a_pod(), 15_000))
    story.at(12_000, story.cluster.fail_node, 0).run(60_000)
    assert down_at(story) == 12_000
    assert story.cluster.nodes.faults[0] == 2  # each has to be ended by a recovery of its own


def test_node_that_is_to_come_back_does_when_it_is_down():
    story = shut_down((a_pod(), 5_000))
    story.at(11_000, story.kubelet.comes_back, 0).run(60_000)
    assert story.cluster.nodes.up[0]
    assert story.starts(0) == [900]  # it has failed, and fails to start no more


def test_nothing_comes_back_of_a_node_that_is_not_shutting_down():
    assert not Story().kubelet.comes_back(0)
