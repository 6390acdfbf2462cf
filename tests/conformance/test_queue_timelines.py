"""Does the scheduling queue move pods as the real one does? Recorded time lines, replayed.

Everything happens through the cluster's verbs and the queue's own methods, on the clock, so that
what watches the cluster is tested as well. After each operation and each flush the records of all
pods in the queue are compared.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from sim.clock import Lane
from sim.cluster import Cluster
from sim.events import Kind
from sim.manifests import parse_object
from sim.nodes import NodeShape
from sim.podspec import PODS
from sim.profiles import profiles
from sim.queue import Place
from sim.rng import Streams, Uniforms
from sim.scheduler import Bind, Scheduler
from tests.conformance.storage import put_object

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared")) / "conformance"
SHOWN = 5  # differences that a failure prints
PLACES = {
    Place.ACTIVE: "active",
    Place.BACKOFF: "backoff",
    Place.ERROR_BACKOFF: "errorBackoff",
    Place.UNSCHEDULABLE: "unschedulable",
    Place.GATED: "gated",
    Place.IN_FLIGHT: "inFlight",
}


def pytest_generate_tests(metafunc):
    if "timeline" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("vectors", None)
        folders = [Path(chosen)] if chosen else [SAMPLE, SHARED]
        cases = {case_name(path, folder): path for folder in folders for path in found_in(folder)}
        metafunc.parametrize("timeline", cases.values(), ids=cases.keys())


def found_in(folder):
    """Paths of the recorded time lines below the folder, told by what is in them."""
    paths = [path for path in sorted(folder.rglob("*.json*")) if path.is_file()]
    return [path for path in paths if is_timeline(read(path))]


def case_name(path, folder):
    return str(path.relative_to(folder.parent)).partition(".")[0]


def read(path):
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def is_timeline(data):
    return isinstance(data, dict) and {"timeline", "rejects", "endMs"} <= data.keys()


def test_pods_move_as_in_kube_scheduler(timeline):
    found = Replay(read(timeline)).run()
    assert found.compared, "nothing was compared"
    assert not found.misses, f"{len(found.misses)} of {found.compared} differ:\n" + "\n".join(
        found.misses[:SHOWN]
    )


@dataclass
class Found:
    """How many records were compared, and what differs."""

    compared: int = 0
    misses: list[str] = field(default_factory=list)

    def compare(self, where, ours, theirs):
        self.compared += 1
        if ours != theirs:
            self.misses.append(f"{where}: {ours}, recorded {theirs}")


class Appearance:
    """Nodes in the order in which they came."""

    def __init__(self, cluster):
        self.cluster = cluster

    def ids(self):
        return self.cluster.nodes.ids()


class Replay:
    """One time line; what the queue holds is compared with `expected` after each entry."""

    def __init__(self, recorded):
        self.recorded = recorded
        self.found = Found()
        self.cluster = Cluster()
        self.scheduler = Scheduler(
            self.cluster,
            profiles(recorded["schedulerConfig"]),
            Uniforms(Streams(0)("scheduler")),
            tie_break="first",
            order=Appearance(self.cluster),
            paused=True,
        )
        self.queue = self.scheduler.queue
        self.pods = {}
        self.in_flight = []
        self.expected = {}  # pod -> record, as of the entry compared last
        for raw in recorded["objects"]:
            self.add_object(raw)

    def run(self):
        clock = self.cluster.clock
        flushed = [e for e in self.recorded["expected"] if e["i"] < 0]
        for now_ms, entries in groupby(flushed, key=lambda e: e["ms"]):
            clock.at(now_ms, Lane.SAMPLES, self.compare, f"flush at {now_ms} ms", list(entries))
        for entry in self.recorded["expected"]:
            if entry["i"] >= 0:
                op = self.recorded["timeline"][entry["i"]]
                clock.at(op["ms"], Lane.SAMPLES, self.step, op, entry)
        clock.run(self.recorded["endMs"] + 1)
        self.cluster.check()
        return self.found

    def step(self, op, entry):
        where = f"{op['op']} at {op['ms']} ms"
        taken = getattr(self, f"do_{in_snake_case(op['op'])}")(op, entry)
        if op["op"] in ("pop", "fail", "error", "bind", "cycle"):
            self.found.compare(f"{where}, pod", taken, entry.get("pod"))
        self.compare(where, [entry])

    def compare(self, where, entries):
        for entry in entries:
            self.expected.update(entry["changes"])
        kept = {name: record for name, record in self.expected.items() if record}
        names = {self.cluster.pod_key(pod): entry for pod, entry in self.queue.entries.items()}
        for name in sorted({*kept, *names}):
            ours = record_of(names[name]) if name in names else None
            self.found.compare(f"{where}, {name}", ours, kept.get(name))

    # Operations

    def do_pod_add(self, op, _):
        self.create(op["object"])

    def do_pod_update(self, op, _):
        pod, known = self.update(op["object"])
        nominated = known.nominated_node
        if nominated:
            self.scheduler.nominate(pod, self.cluster.nodes[nominated])
        else:
            self.scheduler.withdraw(pod)

    def do_pod_delete(self, op, _):
        self.cluster.delete_pod(self.pods[op["name"]])

    def do_assigned_add(self, op, _):
        self.create(op["object"])

    def do_assigned_update(self, op, _):
        self.update(op["object"])

    def do_assigned_delete(self, op, _):
        self.cluster.delete_pod(self.pods[op["name"]])
        self.cluster.remove_pod(self.pods[op["name"]])

    def do_node_add(self, op, _):
        self.add_node(op["object"])

    def do_node_update(self, op, _):
        node = parse_object(op["object"])
        self.cluster.update_node(
            self.cluster.nodes[node.name],
            labels=node.labels,
            taints=node.taints,
            unschedulable=node.unschedulable,
            allocatable=node.allocatable,
        )

    def do_node_delete(self, op, _):
        self.cluster.remove_node(self.cluster.nodes[op["name"]])

    def do_storage(self, op, _):
        put_object(self.cluster, op["object"])

    def do_storage_delete(self, op, _):
        kind, namespace, name = op["name"].split("/")
        self.cluster.remove_storage(Kind(kind), (namespace, name))

    def do_pop(self, op, _):
        entry = self.queue.pop(op["ms"])
        if entry is None:
            return None
        self.in_flight.append(entry)
        return self.cluster.pod_key(entry.pod)

    def do_fail(self, op, _):
        return self.end_turn(partial(self.fail, op))

    def fail(self, op, entry):
        name = self.cluster.pod_key(entry.pod)
        plugins = op.get("plugins") or self.recorded["rejects"][name]
        self.queue.failed(entry, plugins, op["ms"], pending=op.get("pending", ()))

    def do_error(self, op, _):
        return self.end_turn(lambda entry: self.queue.error(entry, op["ms"]))

    def do_bind(self, op, _):
        return self.end_turn(lambda entry: self.bind(entry, op["node"]))

    def bind(self, entry, node):
        self.cluster.bind(entry.pod, self.cluster.nodes[node])

    def end_turn(self, how):
        """End the turn of the oldest pod in flight; deleted ones before it end theirs unheard."""
        while self.in_flight:
            entry = self.in_flight.pop(0)
            if self.cluster.pods.exists[entry.pod]:
                how(entry)
                return self.cluster.pod_key(entry.pod)
            self.queue.failed(entry, ["any"], self.cluster.clock.now_ms)
        return None

    def do_cycle(self, op, recorded):
        """A real cycle; who refused the pod shows in its record."""
        entry = self.queue.pop(op["ms"])
        if entry is None:
            return None
        outcome = self.scheduler.attempt(entry)
        chosen = self.cluster.nodes.names[outcome.node] if isinstance(outcome, Bind) else None
        self.found.compare(f"cycle at {op['ms']} ms, node", chosen, recorded.get("chosen"))
        return self.cluster.pod_key(entry.pod)

    # Objects

    def add_object(self, raw):
        if raw["kind"] == "Node":
            self.add_node(raw)
        elif raw["kind"] == "Pod":
            self.create(raw)
        elif raw["kind"] == "Namespace":
            known = parse_object(raw)
            self.cluster.namespaces[known.name] = known.labels
        else:
            put_object(self.cluster, raw)

    def add_node(self, raw):
        node = parse_object(raw)
        sizes = {name: amount for name, amount in node.allocatable.items() if name != PODS}
        shape = NodeShape(
            capacity=sizes,
            allocatable=sizes,
            kubepods=sizes,
            max_pods=node.allocatable.get(PODS, 0),
        )
        self.cluster.add_node(
            node.name,
            shape,
            labels=node.labels,
            taints=node.taints,
            unschedulable=node.unschedulable,
        )

    def create(self, raw):
        known = parse_object(raw, admit=False)
        owner = self.cluster.owner("Pod", known.namespace, known.name)
        pod = self.cluster.create_pod(self.cluster.template(known.template), owner, known.name)
        self.pods[f"{known.namespace}/{known.name}"] = pod
        if known.nominated_node:
            self.scheduler.nominate(pod, self.cluster.nodes[known.nominated_node])

    def update(self, raw):
        known = parse_object(raw, admit=False)
        pod = self.pods[f"{known.namespace}/{known.name}"]
        self.cluster.update_pod(pod, self.cluster.template(known.template))
        return pod, known


def in_snake_case(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def record_of(entry):
    """What the recording shows of a pod."""
    record = {
        "queue": PLACES[entry.place],
        "attempts": entry.attempts,
        "unschedulableCount": entry.unschedulable_count,
        "errorCount": entry.error_count,
        "timestampMs": entry.timestamp_ms,
        "plugins": sorted(entry.plugins | entry.pending),
    }
    if entry.place in (Place.BACKOFF, Place.ERROR_BACKOFF):
        record["backoffUntil"] = entry.backoff_until_s
    return record
