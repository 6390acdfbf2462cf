"""What a real control plane did when nodes failed, against what ours does, in time.

Each recorded run is replayed with the monitor passes where that run had them; a quantity has to
agree with one of the runs. Tolerances are those of the recordings' own README. What it names as
branching by chance is left out, and skipped with the reason.
"""

from __future__ import annotations

import gzip
import json
import os
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conformance.timelines import Replay, is_about_nodes, is_timeline

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared")) / "conformance"
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure:NoSchedule"
NOSCHEDULE, NOEXECUTE = f"{UNREACHABLE}:NoSchedule", f"{UNREACHABLE}:NoExecute"

PERIOD_S = 5.005
WRITE_S = 0.035  # from the start of a pass until the first status is written
SAME_PASS_S = 3  # statuses further apart belong to different passes
DRIFT_S = 0.5  # how far a recorded pass may lie off the grid that we align: leases near it may slip
UNKNOWN_S = 5.5  # node Unknown after a crash
AT_ONCE_S = 1.5  # NoSchedule after Unknown or Ready: the longest that was measured
SPACING_S = (10.0, 10.2)  # between NoExecute taints of a zone
STEP_S = 0.25  # by how much our spacing may differ from the recorded one: both have +0.2 s
PAUSE_S = 12.0  # the first taint after a change of the zone's state
UNTAINT_S = 5.5  # NoExecute removed after Ready
END_S = float("inf")
GC_MS = 20_000
BURST_S = 1.0  # pods of a node that go in one pass of pod GC, two calls each at 20 a second
DELETION_S = 0.3  # after the taint and the tolerationSeconds

# --- what is compared


def first_times(nodes, what):
    """node -> the first time that `what` happened to it."""
    return {name: times[what][0] for name, times in nodes.items() if times.get(what)}


def passes_of(times):
    """node -> the number of the pass in which it was found, by gaps between the times."""
    number, last, found = 0, None, {}
    for at_s, name in sorted((at_s, name) for name, at_s in times.items()):
        if last is not None and at_s - last > SAME_PASS_S:
            number += 1
        found[name], last = number, at_s
    return found


class Comparison:
    """One recorded run beside our replay of it."""

    def __init__(self, data, run):
        self.data = data
        self.theirs = data["derived"][run]["nodes"]
        self.pods = [data["observed"], *data["repeats"]][run]["pods"]
        self.unknown = first_times(self.theirs, "readyUnknown")
        first_pass_ms = round((min(self.unknown.values()) - WRITE_S) * 1000)
        phase_ms = first_pass_ms % round(PERIOD_S * 1000)
        self.replay = Replay(data, phase_ms, gc_phase_ms=self.gc_phase_ms())
        self.ours = self.replay.node_events()

    def gc_phase_ms(self):
        """When the recorded run collected pods, None if it never did."""
        failed = [at_s for pod in self.pods for at_s, phase in pod["phase"] if phase == "Failed"]
        return round(min(failed) * 1000) % GC_MS if failed else None

    def actions(self, do):
        return [action for action in self.data["scenario"]["actions"] if action["do"] == do]

    def nodes_become_unknown(self):
        """Every node in time, and in the same pass unless its lease was renewed near one."""
        ours = first_times(self.ours, "readyUnknown")
        assert ours.keys() == self.unknown.keys()
        our_pass, their_pass = passes_of(ours), passes_of(self.unknown)
        for name, at_s in self.unknown.items():
            assert abs(ours[name] - at_s) <= UNKNOWN_S, name
            if not self.renews_near_a_pass(name):
                assert our_pass[name] == their_pass[name], name
        return len(ours)

    def renews_near_a_pass(self, name):
        node = next(n for n in self.data["scenario"]["nodes"] if n["name"] == name)
        offset_s = (min(self.unknown.values()) - node["leasePhase"]) % PERIOD_S
        return min(offset_s, PERIOD_S - offset_s) <= DRIFT_S

    def pods_lose_ready_one_after_the_other(self):
        """Both runs: soon after their node became Unknown, one pod of a node at a time."""
        recorded = [
            (pod["node"], at_s) for pod in self.pods for at_s, ready in pod["ready"] if not ready
        ]
        compared = 0
        for nodes, unready in ((self.ours, self.replay.unready), (self.theirs, recorded)):
            for name, found_s in first_times(nodes, "readyUnknown").items():
                back_s = first_times(nodes, "readyTrue").get(name, END_S)
                after = [at_s for node, at_s in unready if node == name and found_s < at_s < back_s]
                first = [at_s for at_s in after if at_s - found_s <= AT_ONCE_S]
                assert after == first, f"{name}, Unknown at {found_s}: {sorted(after)}"
                compared += len(first)
        return compared

    def noschedule_comes_at_once(self):
        return self.follows("readyUnknown", f"taint {NOSCHEDULE}", AT_ONCE_S)

    def noschedule_goes_at_once(self):
        return self.follows("readyTrue", f"untaint {NOSCHEDULE}", AT_ONCE_S)

    def noexecute_goes_in_the_next_pass(self):
        return self.follows("readyTrue", f"untaint {NOEXECUTE}", UNTAINT_S)

    def follows(self, cause, effect, within_s):
        """Both runs: `effect` comes to a node within so many seconds of `cause`, as often."""
        counts = []
        for nodes in (self.ours, self.theirs):
            caused, count = first_times(nodes, cause), 0
            for name, at_s in first_times(nodes, effect).items():
                if name in caused and at_s >= caused[name] - 0.05:
                    assert at_s - caused[name] <= within_s, f"{name}: {effect}"
                    count += 1
            counts.append(count)
        if effect != f"untaint {NOEXECUTE}":  # which nodes were tainted may be chance
            assert counts[0] == counts[1]
        return counts[0]

    def noexecute_taints_are_as_many_and_as_fast(self):
        """Zone by zone: the first, and the gaps between the k-th and the next."""
        compared = 0
        for zone in sorted({node.get("zone", "") for node in self.data["scenario"]["nodes"]}):
            ours, theirs = self.taint_times(self.ours, zone), self.taint_times(self.theirs, zone)
            assert len(ours) == len(theirs), f"zone {zone}: {ours} for {theirs}"
            for k, (our_s, their_s) in enumerate(zip(ours, theirs, strict=True)):
                assert abs(our_s - their_s) <= PAUSE_S, f"zone {zone}: {k}th at {our_s}"
                compared += 1
            self.compare_gaps(gaps(ours), gaps(theirs))
        return compared

    def node_that_reports_not_ready_is_tainted(self):
        """NoSchedule at once, NoExecute in the next pass; and back again."""
        compared = 0
        for cause, prefix, effect, within_s in (
            ("readyFalse", "taint", "NoSchedule", AT_ONCE_S),
            ("readyFalse", "taint", "NoExecute", UNTAINT_S),
            ("readyTrue", "untaint", "NoSchedule", AT_ONCE_S),
            ("readyTrue", "untaint", "NoExecute", UNTAINT_S),
        ):
            for nodes in (self.ours, self.theirs):
                said = {name for name, times in nodes.items() if times.get("readyFalse")}
                for name in sorted(said):
                    [caused_s] = nodes[name][cause]
                    [came_s] = nodes[name][f"{prefix} {NOT_READY}:{effect}"]
                    assert 0 <= came_s - caused_s <= within_s, f"{name}: {prefix} {effect}"
                    compared += 1
        return compared

    def pods_stay_ready_where_the_kubelet_reports_not_ready(self):
        """A live kubelet's Ready=False costs no pod its Ready condition before it is deleted."""
        said = {name for name, times in self.ours.items() if times.get("readyFalse")}
        deleted = self.replay.deleted_of()
        for node, at_s, pod in self.replay.unready_pods:
            assert node not in said or deleted[pod] <= at_s, f"{node} at {at_s}"
        return len(said)

    def disk_pressure_is_tainted_at_once(self):
        """As long as the kubelet reports it."""
        compared = 0
        for name, times in self.theirs.items():
            for verb in ("taint", "untaint"):
                theirs = times.get(f"{verb} {DISK_PRESSURE}", [])
                ours = self.ours[name].get(f"{verb} {DISK_PRESSURE}", [])
                assert len(ours) == len(theirs), name
                for our_s, their_s in zip(ours, theirs, strict=True):
                    assert abs(our_s - their_s) <= DELETION_S, name
                    compared += 1
        return compared

    def out_of_service_pods_are_deleted_at_once(self):
        """All pods of the node that were not being deleted, within 0.3 s."""
        compared = 0
        for action in self.actions("taint"):
            for pods in (self.replay.pod_ends(), self.recorded_ends()):
                mine = [end for end in pods if end[0] == action["node"]]
                late = [end for end in mine if end[1] is None or end[1] > action["at"] + DELETION_S]
                assert mine
                assert late == []
                compared += sum(end[1] >= action["at"] for end in mine)
        return compared

    def pods_of_lost_nodes_go_with_a_gc_pass(self):
        """Out of service: in the next pass; object deleted: in the third one after it."""
        compared = 0
        for action in (*self.actions("taint"), *self.actions("deleteNode")):
            name = action.get("node") or action["name"]
            for pods in (self.replay.pod_ends(), self.recorded_ends()):
                gone = [end[2] for end in pods if end[0] == name]
                assert gone
                assert None not in gone
                after_s = [at_s - action["at"] for at_s in gone]
                wanted = (0, 20 + BURST_S) if "taint" in action else (40, 60 + BURST_S)
                assert wanted[0] <= min(after_s) <= max(after_s) <= wanted[1], f"{name}: {after_s}"
                assert max(gone) - min(gone) <= BURST_S, name
                compared += len(gone)
            [ours, theirs] = (
                min(end[2] for end in pods if end[0] == name)
                for pods in (self.replay.pod_ends(), self.recorded_ends())
            )
            assert abs(ours - theirs) <= DELETION_S, f"{name}: {ours} for {theirs}"
        return compared

    def recorded_ends(self):
        """(node, deleted, gone) of each recorded pod."""
        return [(pod["node"], pod["deleting"], pod["gone"]) for pod in self.pods]

    def taint_times(self, nodes, zone):
        names = {n["name"] for n in self.data["scenario"]["nodes"] if n.get("zone", "") == zone}
        taints = first_times(nodes, f"taint {NOEXECUTE}")
        return sorted(at_s for name, at_s in taints.items() if name in names)

    def compare_gaps(self, ours, theirs):
        for our_s, their_s in zip(ours, theirs, strict=True):
            paused = max(our_s, their_s) > SPACING_S[1] + STEP_S
            assert abs(our_s - their_s) <= (PAUSE_S if paused else STEP_S)
            if not paused:
                assert SPACING_S[0] <= our_s <= SPACING_S[1]

    def pods_go_when_their_toleration_ends(self):
        """Ours: who tolerates the taint for s seconds goes then, unless it is taken away before."""
        tainted = first_times(self.ours, f"taint {NOEXECUTE}")
        cleared = first_times(self.ours, f"untaint {NOEXECUTE}")
        compared = 0
        for node, bound_s, deleted_s, seconds in self.replay.fates():
            if seconds is None or bound_s > tainted.get(node, -1):
                continue
            due_s = tainted[node] + seconds
            if due_s < min(cleared.get(node, END_S), self.data["scenario"]["duration"]) - 1:
                assert deleted_s is not None, f"{node}: kept beyond {due_s}"
                assert 0 <= deleted_s - due_s <= DELETION_S, f"{node}: {deleted_s}, due {due_s}"
                compared += 1
        return compared


def gaps(times):
    return [round(later - earlier, 3) for earlier, later in pairwise(times)]


QUANTITIES = [
    Comparison.nodes_become_unknown,
    Comparison.pods_lose_ready_one_after_the_other,
    Comparison.noschedule_comes_at_once,
    Comparison.noschedule_goes_at_once,
    Comparison.noexecute_taints_are_as_many_and_as_fast,
    Comparison.noexecute_goes_in_the_next_pass,
    Comparison.pods_go_when_their_toleration_ends,
    Comparison.node_that_reports_not_ready_is_tainted,
    Comparison.pods_stay_ready_where_the_kubelet_reports_not_ready,
    Comparison.disk_pressure_is_tainted_at_once,
    Comparison.out_of_service_pods_are_deleted_at_once,
    Comparison.pods_of_lost_nodes_go_with_a_gc_pass,
]
CHANCE = {
    "which_node_is_tainted_first": "any of those found in the first pass",
    "which_node_keeps_its_taint_when_all_are_dead": "one of the zone found last, or none",
}
LEFT_OUT = [
    pytest.param(None, id=name, marks=pytest.mark.skip(reason=f"{name} is chance: {why}"))
    for name, why in CHANCE.items()
]


# --- where they are


def pytest_generate_tests(metafunc):
    if "timeline" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("vectors", None)
        folders = [Path(chosen)] if chosen else [SAMPLE, SHARED / "timelines"]
        found = {name: path for folder in folders for name, path in timelines_in(folder)}
        metafunc.parametrize("timeline", found.values(), ids=found.keys(), scope="module")


def timelines_in(folder):
    """Names and paths of the timelines about nodes below a folder, told by what is in them."""
    for path in sorted(folder.rglob("*.json*")):
        data = read(path)
        if data is not None and is_about_nodes(data):
            yield f"{path.parent.name}/{path.name.partition('.')[0]}", path


@lru_cache(maxsize=64)
def read(path):
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    if b'"derived"' not in text:
        return None
    found = json.loads(text)
    return found if is_timeline(found) else None


@lru_cache(maxsize=64)
def comparison(path, run):
    return Comparison(read(path), run)


@pytest.mark.parametrize(
    "quantity", [*(pytest.param(q, id=q.__name__) for q in QUANTITIES), *LEFT_OUT]
)
def test_timeline_agrees_with_a_recorded_run(timeline, quantity):
    misses, compared = {}, 0
    for run in range(len(read(timeline)["derived"])):
        try:
            compared = quantity(comparison(timeline, run))
        except AssertionError as miss:
            misses[run] = str(miss)
        if compared:
            return
    if misses:
        pytest.fail(f"{quantity.__doc__} {misses}")
    pytest.skip("nothing of the kind happened")
