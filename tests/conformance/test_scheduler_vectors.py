"""Do we place as the real kube-scheduler does? Recorded cases, replayed plugin by plugin.

The code under test is what simulations run: Cluster, Scheduler and Evaluation, kept over a whole
case, so that the incremental answers are compared too. Entries are replayed as recorded: what was
chosen is bound, victims go, nominations come and go. A plugin that is not modelled decides what it
decided; everything it leaves open is compared.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from sim.catalog import FILTERS, SCORES
from sim.cluster import Cluster
from sim.extend import Code
from sim.manifests import parse_object
from sim.nodes import NodeShape
from sim.profiles import DEFAULTS, profiles
from sim.queue import Entry
from sim.recorder import Reason
from sim.rng import Streams, Uniforms
from sim.scheduler import Bind, Scheduler
from sim.tables import Phase

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared")) / "conformance"
CHOICE = "totals and choice"
PLUGINS = [name for name in DEFAULTS if name in {*FILTERS, *SCORES}]
ORDER = {name: place for place, name in enumerate(["", *DEFAULTS])}
CODES = {"Unschedulable": Code.UNSCHEDULABLE, "UnschedulableAndUnresolvable": Code.UNRESOLVABLE}
SHOWN = 5  # differences that a failure prints


def pytest_generate_tests(metafunc):
    if "vector" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("vectors", None)
        folders = [Path(chosen)] if chosen else [SAMPLE, SHARED]
        cases = {case_name(path, folder): path for folder in folders for path in found_in(folder)}
        metafunc.parametrize("vector", cases.values(), ids=cases.keys(), scope="module")


def found_in(folder):
    """Paths of the scheduler vectors below the folder, told by what is in them."""
    paths = [path for path in sorted(folder.rglob("*.json*")) if path.is_file()]
    return [path for path in paths if is_vector(read(path))]


def case_name(path, folder):
    return str(path.relative_to(folder.parent)).partition(".")[0]


def read(path):
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def is_vector(data):
    return isinstance(data, dict) and {"schedulerConfig", "objects", "pending"} <= data.keys()


@pytest.mark.parametrize("plugin", [*PLUGINS, CHOICE])
def test_answers_are_those_of_kube_scheduler(vector, plugin, record_property):
    found = replayed(vector)
    compared, misses = found.compared[plugin], found.misses[plugin]
    if not compared:
        pytest.skip("nothing in this case depends on it alone")
    record_property("family", found.family)
    record_property("plugin", plugin)
    record_property("compared", compared)
    assert not misses, f"{len(misses)} of {compared} differ:\n" + "\n".join(misses[:SHOWN])


@lru_cache(maxsize=1)
def replayed(path):
    return Replay(read(path)).run()


@dataclass
class Found:
    """What was compared, and what differs, by plugin."""

    family: str
    compared: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    misses: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def compare(self, plugin, where, ours, theirs):
        self.compared[plugin] += 1
        if ours != theirs:
            self.misses[plugin].append(f"{where}: {ours}, recorded {theirs}")


class Replay:
    """One case: the cluster as recorded, and each entry asked of our scheduler."""

    def __init__(self, vector):
        self.vector = vector
        self.found = Found(vector["family"])
        self.cluster = Cluster()
        self.profiles = profiles(vector["schedulerConfig"])
        draw = Uniforms(Streams(0)("scheduler"))
        self.scheduler = Scheduler(self.cluster, self.profiles, draw, tie_break="first")
        self.pods = {}
        self.nominated = {}
        objects = [o for o in vector["objects"] if o["kind"] != "Node"]
        nodes = {o["metadata"]["name"]: o for o in vector["objects"] if o["kind"] == "Node"}
        for name in vector.get("nodeOrder") or nodes:
            self.add_node(parse_object(nodes[name]))
        for raw in objects:
            self.add_object(raw)
        for raw in vector["pending"]:
            self.add_pod(raw)

    def add_node(self, node):
        def sizes(resources):
            return {name: amount for name, amount in resources.items() if name != "pods"}

        shape = NodeShape(
            capacity=sizes(node.capacity),
            allocatable=sizes(node.allocatable),
            kubepods=sizes(node.allocatable),
            max_pods=node.allocatable.get("pods", 0),
        )
        self.cluster.add_node(
            node.name,
            shape,
            labels=node.labels,
            taints=node.taints,
            unschedulable=node.unschedulable,
            images=node.images,
        )

    def add_object(self, raw):
        if raw["kind"] == "Pod":
            self.add_pod(raw)
        elif raw["kind"] == "ReplicaSet":
            known = parse_object(raw, admit=False)
            self.cluster.replicasets[known.namespace, known.name] = known
        elif raw["kind"] == "Namespace":
            known = parse_object(raw)
            self.cluster.namespaces[known.name] = known.labels
        elif raw["kind"] == "Service":
            known = parse_object(raw)
            self.cluster.services[known.namespace, known.name] = known

    def add_pod(self, raw):
        known = parse_object(raw, admit=False)
        name = f"{known.namespace}/{known.name}"
        cluster = self.cluster
        owner = cluster.owner(
            known.owner_kind or "Pod", known.namespace, known.owner_name or known.name
        )
        pod = cluster.create_pod(cluster.template(known.template), owner, known.name)
        self.pods[name] = pod
        if known.phase in ("Succeeded", "Failed"):
            cluster.end_pod(pod, Phase.SUCCEEDED, Reason.COMPLETED)
        if "deletionTimestamp" in raw["metadata"]:
            cluster.delete_pod(pod)
        if known.nominated_node:
            self.scheduler.nominate(pod, cluster.nodes[known.nominated_node])
            self.nominated[name] = known.nominated_node

    def run(self):
        for number, entry in enumerate(self.vector["expected"]):
            look = Look(self, number, widened(entry, self.vector.get("nodeOrder")))
            look.compare_verdicts()
            look.compare_scores()
            look.compare_choice()
            self.follow(entry)
        self.cluster.check()
        return self.found

    def follow(self, entry):
        """What the recording did after the attempt."""
        pod, cluster = self.pods[entry["pod"]], self.cluster
        preemption = entry.get("preemption")
        if entry["chosen"]:
            cluster.bind(pod, cluster.nodes[entry["chosen"]])
            self.nominated.pop(entry["pod"], None)
        elif preemption:
            for victim in preemption["victims"]:
                cluster.delete_pod(self.pods[victim])
                cluster.remove_pod(self.pods[victim])
            for other in preemption["unnominated"]:
                self.withdraw(other)
            self.nominated[entry["pod"]] = preemption["nominatedNode"]
            self.scheduler.nominate(pod, cluster.nodes[preemption["nominatedNode"]])
        elif entry.get("postFilter") == "no candidates":
            self.withdraw(entry["pod"])

    def withdraw(self, name):
        self.nominated.pop(name, None)
        self.scheduler.withdraw(self.pods[name])


def widened(entry, order):
    """A compact entry in the form of the others: names of nodes in place of positions."""
    if "rejected" not in entry:
        return entry
    infeasible = {}
    for text, positions in entry["rejected"].items():
        plugin, _, reasons = text.partition(": ")
        for place in ranges(positions):
            infeasible[order[place]] = {"plugin": plugin, "text": reasons}
    feasible = [order[place] for place in ranges(entry["feasible"])]
    scores = {node: {} for node in feasible} if "scores" in entry else None
    for plugin, values in (entry.get("scores") or {}).items():
        for node, value in zip(feasible, values, strict=True):
            scores[node][plugin] = value
    return {**entry, "feasible": feasible, "infeasible": infeasible, "scores": scores}


def ranges(text):
    """Positions of "10-12,4"."""
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Look:
    """One recorded attempt beside our answer."""

    def __init__(self, replay, number, entry):
        self.cluster, self.scheduler, self.found = replay.cluster, replay.scheduler, replay.found
        self.entry = entry
        self.where = f"entry {number}, {entry['pod']}"
        self.pod = replay.pods[entry["pod"]]
        self.template = self.cluster.pod_template(self.pod)
        self.profile = replay.profiles[self.template.pod.spec.scheduler_name]
        nominated = replay.nominated.get(entry["pod"])
        self.alone = entry["feasible"] == [nominated] and not entry["infeasible"]
        if nominated and not self.alone:  # whoever refused the nominated node may not be ours
            self.scheduler.withdraw(self.pod)
        self.answer = self.scheduler.ask(self.pod, self.template)
        if nominated and not self.alone:
            self.scheduler.nominate(self.pod, self.cluster.nodes[nominated])

    def compare_verdicts(self):
        infeasible = self.entry["infeasible"]
        if self.rejected_before_filters():
            return
        ours = self.answer.verdicts()
        names = self.cluster.nodes
        asked = {*self.entry["feasible"], *infeasible}
        for name in sorted(asked):
            self.compare_node(name, infeasible.get(name), ours.get(names[name]))
        if self.alone:
            self.found.compare(CHOICE, f"{self.where}, nominated", self.answer.alone, True)

    def rejected_before_filters(self):
        """A pre-filter of a plugin that is not ours says no to all nodes before any filter runs."""
        plugins = {e["plugin"] for e in self.entry["infeasible"].values()}
        every = len(self.entry["infeasible"]) == len(self.cluster.nodes.ids())
        return every and len(plugins) == 1 and not plugins <= {"", *PLUGINS}

    def compare_node(self, name, theirs, ours):
        """Who is first to refuse the node; what comes after one that is not ours is open."""
        refused_by = theirs["plugin"] if theirs else None
        limit = ORDER[refused_by] if theirs else len(ORDER)
        where = f"{self.where} on {name}"
        if refused_by in {"", *PLUGINS}:
            said = (ours[0], *self.said(theirs, ours[1])) if ours else "fits"
            told = (refused_by, *self.told(theirs))
            for plugin in (
                {refused_by or "NodeAffinity", ours[0] or "NodeAffinity"}
                if ours
                else {refused_by or "NodeAffinity"}
            ):
                self.found.compare(plugin, where, said, told)
        elif ours and ORDER[ours[0]] < limit:
            told = refused_by or "fits"
            self.found.compare(ours[0] or "NodeAffinity", where, (ours[0], ours[1].reasons), told)
        for plugin in self.profile.filters:
            if ORDER[plugin.name] < limit and (ours is None or ours[0] != plugin.name):
                self.found.compared[plugin.name] += 1

    def said(self, theirs, verdict):
        if "text" in theirs:
            return (", ".join(verdict.reasons),)
        return verdict.code, list(verdict.reasons)

    def told(self, theirs):
        if "text" in theirs:
            return (theirs["text"],)
        return CODES[theirs["code"]], theirs["reasons"]

    def compare_scores(self):
        scores, kept = self.entry["scores"], self.entry["feasible"]
        if not scores or not kept:
            return
        ids = np.array([self.cluster.nodes[name] for name in kept])
        ours = self.answer.evaluation.scores(ids)
        for plugin, _ in self.profile.scores:
            said = ours.get(plugin.name)
            told = [scores[name].get(plugin.name) for name in kept]
            where = f"{self.where}, score of {plugin.name}"
            if said is None or None in told:
                self.found.compare(plugin.name, where, said, None if None in told else told)
                continue
            for name, mine, recorded in zip(kept, said.tolist(), told, strict=True):
                self.found.compare(plugin.name, f"{where} on {name}", mine, recorded)
        summed = sum(ours.values(), np.zeros(len(ids), np.int64))
        kept_up = self.answer.evaluation.totals(ids)
        self.found.compare(
            CHOICE, f"{self.where}, totals kept up", kept_up.tolist(), summed.tolist()
        )

    def compare_choice(self):
        """Compared when plugins that are not ours neither refuse a node nor prefer one."""
        scores, kept = self.entry["scores"], self.entry["feasible"]
        if "toFind" in self.entry or not scores or not self.decided_by_ours(scores):
            return
        feasible = [self.cluster.nodes.names[node] for node in self.answer.feasible()]
        self.found.compare(CHOICE, f"{self.where}, feasible", feasible, kept)
        outcome = self.scheduler.schedule_one(Entry(self.pod, "any", 0, 0))
        chosen = self.cluster.nodes.names[outcome.node] if isinstance(outcome, Bind) else None
        self.found.compare(CHOICE, f"{self.where}, chosen", chosen, self.entry["chosen"])

    def decided_by_ours(self, scores):
        if not {e["plugin"] for e in self.entry["infeasible"].values()} <= {"", *PLUGINS}:
            return False
        others = {
            tuple(sorted((p, v) for p, v in by_plugin.items() if p not in PLUGINS))
            for by_plugin in scores.values()
        }
        return len(others) <= 1
