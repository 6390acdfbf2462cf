"""Do we place as the real kube-scheduler does? Recorded cases, replayed plugin by plugin.

The code under test is what simulations run: Cluster, Scheduler and Evaluation, kept over a whole
case, so that the incremental answers are compared too. Each entry is an attempt of our scheduler;
what it says is compared, and then what was recorded is done, so that one difference is not many.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import pytest

from sim.catalog import FILTERS, SCORES
from sim.cluster import Cluster
from sim.evaluation import normalized
from sim.extend import Code
from sim.manifests import parse_object
from sim.nodeorder import AddedOrder, NodeOrder
from sim.nodes import NodeShape
from sim.preemption import Preemption
from sim.profiles import DEFAULTS, configuration
from sim.recorder import Reason
from sim.rng import Streams, Uniforms
from sim.scheduler import Bind, Scheduler
from sim.search import nodes_to_find
from sim.tables import Phase
from tests.conformance import storage

SAMPLE = Path(__file__).parent / "sample"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared")) / "conformance"
CHOICE = "totals and choice"
PREEMPTION = "preemption"
SAMPLING = "sampled window"
VOLUMES = "volume bindings"
TOPICS = (CHOICE, PREEMPTION, SAMPLING, VOLUMES)
PLUGINS = [name for name in DEFAULTS if name in {*FILTERS, *SCORES}]
CODES = {"Unschedulable": Code.UNSCHEDULABLE, "UnschedulableAndUnresolvable": Code.UNRESOLVABLE}
START_MS = int(datetime.fromisoformat("2025-10-01T12:00:00+00:00").timestamp() * 1000)
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


@pytest.mark.parametrize("plugin", [*PLUGINS, *TOPICS])
def test_answers_are_those_of_kube_scheduler(vector, plugin, record_property):
    found = replayed(vector)
    compared, misses = found.compared[plugin], found.misses[plugin]
    if not compared:
        pytest.skip("nothing in this case is about it")
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
        self.pods, self.known = {}, {}
        self.sampled = bool(vector["options"].get("compact"))
        self.scheduler = self.a_scheduler()
        for raw in sorted(vector["objects"], key=lambda o: o["kind"] != "Node"):
            self.add_object(raw)
        for raw in vector["pending"]:
            self.add_pod(raw)
        if "nodeOrder" in vector:
            names = [self.cluster.nodes.names[node] for node in self.scheduler.order.ids()]
            self.found.compare(SAMPLING, "node order", names, vector["nodeOrder"])

    def a_scheduler(self):
        config = configuration(self.vector["schedulerConfig"])
        order = NodeOrder if "nodeOrder" in self.vector else AddedOrder
        return Scheduler(
            self.cluster,
            config.profiles,
            Uniforms(Streams(0)("scheduler")),
            tie_break="first",
            percentage=config.percentage_of_nodes_to_score,
            order=order(self.cluster),
            allowed=lambda budget: budget.disruptions_allowed,
            paused=True,
        )

    def add_object(self, raw):
        kind, cluster = raw["kind"], self.cluster
        if kind in storage.KINDS:
            storage.put_object(cluster, raw)
            return
        if kind == "Pod":
            self.add_pod(raw)
            return
        known = parse_object(raw, admit=False)
        if kind == "Node":
            add_node(cluster, known)
        elif kind == "ReplicaSet":
            cluster.replicasets[known.namespace, known.name] = known
        elif kind == "Service":
            cluster.services[known.namespace, known.name] = known
        elif kind == "PodDisruptionBudget":
            cluster.budgets[known.namespace, known.name] = known
        elif kind == "Namespace":
            cluster.namespaces[known.name] = known.labels

    def add_pod(self, raw):
        known = parse_object(raw, admit=False)
        name = f"{known.namespace}/{known.name}"
        cluster = self.cluster
        owner = cluster.owner(
            known.owner_kind or "Pod", known.namespace, known.owner_name or known.name
        )
        pod = cluster.create_pod(cluster.template(known.template), owner, known.name)
        self.pods[name] = pod
        if known.started:
            cluster.pods.bound_ms[pod] = milliseconds_from_start(known.started)
        if known.phase in ("Succeeded", "Failed"):
            cluster.end_pod(pod, Phase.SUCCEEDED, Reason.COMPLETED)
        if "deletionTimestamp" in raw["metadata"]:
            cluster.delete_pod(pod, preempted(raw))
        if known.nominated_node:
            self.scheduler.nominate(pod, cluster.nodes[known.nominated_node])

    def run(self):
        for number, raw in enumerate(self.vector["expected"]):
            entry = widened(raw, self.vector.get("nodeOrder"))
            Look(self, number, entry).compare()
            self.follow(number, entry)
        self.cluster.check()
        return self.found

    def follow(self, number, entry):
        """What the recording did after the attempt."""
        pod, cluster = self.pods[entry["pod"]], self.cluster
        preemption = entry.get("preemption")
        if entry["chosen"]:
            storage.follow(cluster, volumes_told(entry))
            cluster.bind(pod, cluster.nodes[entry["chosen"]])
            cluster.pods.bound_ms[pod] = number * 1000
        elif preemption:
            for victim in preemption["victims"]:
                cluster.delete_pod(self.pods[victim], Reason.PREEMPTED)
                cluster.remove_pod(self.pods[victim])
            for other in preemption["unnominated"]:
                self.scheduler.withdraw(self.pods[other])
            self.scheduler.nominate(pod, cluster.nodes[preemption["nominatedNode"]])
        elif entry.get("postFilter") == "no candidates":
            self.scheduler.withdraw(pod)


def add_node(cluster, node):
    def sizes(resources):
        return {name: amount for name, amount in resources.items() if name != "pods"}

    shape = NodeShape(
        capacity=sizes(node.capacity),
        allocatable=sizes(node.allocatable),
        kubepods=sizes(node.allocatable),
        max_pods=node.allocatable.get("pods", 0),
    )
    cluster.add_node(
        node.name,
        shape,
        labels=node.labels,
        taints=node.taints,
        unschedulable=node.unschedulable,
        images=node.images,
    )


def milliseconds_from_start(text):
    at_ms = int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
    return at_ms - START_MS


def preempted(raw):
    """The reason of a pod that the scheduler evicts, as its DisruptionTarget condition says."""
    conditions = raw.get("status", {}).get("conditions", [])
    reasons = [c.get("reason") for c in conditions if c["type"] == "DisruptionTarget"]
    return Reason.PREEMPTED if "PreemptionByScheduler" in reasons else None


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
    total = dict(zip(feasible, entry["totals"], strict=True))
    wide = {"feasible": feasible, "infeasible": infeasible, "scores": scores, "total": total}
    return {**entry, **wide}


def ranges(text):
    """Positions of "10-12,4"."""
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Look:
    """One recorded attempt beside ours."""

    def __init__(self, replay, number, entry):
        self.cluster, self.scheduler, self.found = replay.cluster, replay.scheduler, replay.found
        self.entry, self.pods = entry, replay.pods
        self.names = self.cluster.nodes.names
        self.where = f"entry {number}, {entry['pod']}"
        self.pod = replay.pods[entry["pod"]]
        self.template = self.cluster.pod_template(self.pod)
        spec = self.template.pod.spec
        self.queued = self.scheduler.queue.entries[self.pod]
        self.profile = self.scheduler.profiles[spec.scheduler_name]

    def compare(self):
        if "toFind" not in self.entry:  # these were recorded in the order of the nodes
            self.scheduler.start = 0
        self.started_at = self.scheduler.start
        self.quick = None if "toFind" in self.entry else self.scheduler.schedule_one(self.queued)
        self.scheduler.start = self.started_at
        self.answer = self.scheduler.ask(self.pod, self.template)
        self.outcome = self.scheduler.schedule_one(self.queued)
        self.compare_verdicts()
        self.compare_window()
        self.compare_scores()
        self.compare_choice()
        self.compare_preemption()
        self.compare_volumes()

    def compare_verdicts(self):
        infeasible = self.entry["infeasible"]
        ours = self.answer.verdicts()
        ids = self.cluster.nodes
        for name in sorted({*self.entry["feasible"], *infeasible}):
            self.compare_node(name, infeasible.get(name), ours.get(ids[name]))

    def compare_node(self, name, theirs, ours):
        """Who is first to refuse the node, and what it says; the filters before it passed it."""
        said = (ours[0], *self.said(theirs, ours[1])) if ours else "fits"
        told = (theirs["plugin"], *self.told(theirs)) if theirs else "fits"
        refusing = {verdict["plugin"] for verdict in [theirs] if verdict}
        refusing |= {ours[0]} if ours else set()
        for plugin in {name or "NodeAffinity" for name in refusing}:
            self.found.compare(plugin, f"{self.where} on {name}", said, told)
        for plugin in self.profile.filters:
            if refusing and plugin.name in refusing:
                break
            self.found.compared[plugin.name] += 1

    def said(self, theirs, verdict):
        if theirs and "text" in theirs:
            return (", ".join(verdict.reasons),)
        return verdict.code, sorted(verdict.reasons)

    def told(self, theirs):
        if "text" in theirs:
            return (theirs["text"],)
        return CODES[theirs["code"]], theirs["reasons"]

    def compare_window(self):
        feasible = [self.names[node] for node in self.answer.kept.tolist()]
        self.found.compare(CHOICE, f"{self.where}, feasible", feasible, self.entry["feasible"])
        if "toFind" not in self.entry:
            return
        answer, entry = self.answer, self.entry
        ours = [self.started_at, answer.examined, answer.next_start, self.scheduler.start]
        theirs = [entry["start"], entry["examined"], entry["next"], entry["next"]]
        self.found.compare(SAMPLING, f"{self.where}, start, examined, next", ours, theirs)
        nodes, percentage = len(self.names), self.scheduler.percentage_of(self.template)
        wanted = nodes_to_find(nodes, percentage) if self.profile.scores else 1
        self.found.compare(SAMPLING, f"{self.where}, to find", wanted, entry["toFind"])

    def compare_scores(self):
        scores, kept = self.entry["scores"], self.entry["feasible"]
        if not kept or [self.names[n] for n in self.answer.kept.tolist()] != kept:
            return
        totals = dict(zip(kept, self.answer.totals.tolist(), strict=True))
        self.found.compare(CHOICE, f"{self.where}, totals", totals, self.entry["total"])
        if not scores:
            return
        evaluation, ids = self.answer.evaluation, self.answer.kept
        for plugin, weight in self.profile.scores:
            raw = evaluation.raw_scores(plugin, ids)
            said = None if raw is None else (weight * normalized(plugin, raw)).tolist()
            told = [scores[name].get(plugin.name) for name in kept]
            self.compare_scores_of(plugin.name, said, told)

    def compare_scores_of(self, plugin, said, told):
        """One plugin's; that it skips the pod and that it gives all nodes 0 is the same."""
        where = f"{self.where}, score of {plugin}"
        said = [0] * len(told) if said is None else said
        for name, mine, recorded in zip(self.entry["feasible"], said, told, strict=True):
            self.found.compare(plugin, f"{where} on {name}", mine, recorded or 0)

    def compare_choice(self):
        outcome, chosen = self.outcome, self.entry["chosen"]
        ours = self.names[outcome.node] if isinstance(outcome, Bind) else None
        self.found.compare(CHOICE, f"{self.where}, chosen", ours, chosen)
        if isinstance(outcome, Bind):
            best = self.answer.totals == self.answer.totals.max()
            names = [self.names[node] for node in self.answer.kept[best].tolist()]
            self.found.compare(CHOICE, f"{self.where}, best", names, self.entry["best"])
        if self.quick is not None:
            quick = self.names[self.quick.node] if isinstance(self.quick, Bind) else None
            self.found.compare(CHOICE, f"{self.where}, chosen from kept totals", quick, chosen)

    def compare_preemption(self):
        if isinstance(self.outcome, Bind) or "preemption" not in self.entry:
            return
        ours = self.scheduler.look_for_victims(self.queued, self.outcome.answer)
        recorded, said = self.entry["preemption"], self.entry["postFilter"]
        if isinstance(ours, Preemption) != bool(recorded):
            self.found.compare(PREEMPTION, self.where, ours, recorded or said)
        elif recorded:
            self.compare_candidates(ours, recorded)
        elif ours is None:
            self.found.compare(PREEMPTION, self.where, "preemption: disabled", said)
        else:
            why = "no candidates" if ours.clears_nomination else f"preemption: {ours.why}"
            self.found.compare(PREEMPTION, self.where, why, said)

    def compare_candidates(self, ours, recorded):
        candidates = [
            {
                "node": self.names[candidate.node],
                "victims": [self.cluster.pod_key(pod) for pod in candidate.victims],
                "pdbViolations": candidate.pdb_violations,
                "highestPriority": candidate.highest_priority,
                "sumPriorities": candidate.sum_priorities,
                "earliestStart": candidate.earliest_start_ms,
            }
            for candidate in self.as_listed(ours.candidates, recorded)
        ]
        told = [
            {**candidate, "earliestStart": milliseconds_from_start(candidate["earliestStart"])}
            for candidate in recorded["candidates"]
        ]
        compare, where = self.found.compare, self.where
        for mine, theirs in zip(candidates, told, strict=False):
            compare(PREEMPTION, f"{where}, candidate", mine, theirs)
        compare(PREEMPTION, f"{where}, candidates", len(candidates), len(told))
        best = [self.names[node] for node in ours.best]
        compare(PREEMPTION, f"{where}, best", best, recorded["best"])
        compare(PREEMPTION, f"{where}, nominated", self.names[ours.node], recorded["nominatedNode"])
        victims = [self.cluster.pod_key(pod) for pod in ours.victims]
        compare(PREEMPTION, f"{where}, victims", victims, recorded["victims"])
        unnominated = sorted(self.cluster.pod_key(pod) for pod in ours.unnominated)
        compare(PREEMPTION, f"{where}, unnominated", unnominated, sorted(recorded["unnominated"]))
        if "potentialNodes" in recorded:
            counts = recorded["potentialNodes"], recorded["wantedCandidates"]
            compare(PREEMPTION, f"{where}, potential", (ours.potential, ours.wanted), counts)

    def as_listed(self, candidates, recorded):
        """In the order of the search where that was recorded, else in that of the nodes."""
        if "potentialNodes" in recorded:
            return candidates
        return sorted(candidates, key=lambda candidate: candidate.node)

    def compare_volumes(self):
        if isinstance(self.outcome, Bind) and self.template.pod.spec.volumes:
            ours = storage.decided(self.cluster, self.template, self.outcome.node)
            theirs = storage.recorded(volumes_told(self.entry))
            self.found.compare(VOLUMES, self.where, ours, theirs)


def volumes_told(entry):
    """What an entry says of volumes; nothing where none are to be bound."""
    return entry.get("volumes") or {"bind": [], "provision": []}
