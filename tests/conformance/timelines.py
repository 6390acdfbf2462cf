"""A recorded timeline replayed in the simulator: its cluster, manifests and actions, and what came.

The parts are those of a run, put together by hand. What the recorder's own small kubelet did
(`kubelet` in the file, `sim/*` annotations of pods) becomes `PodTimes`. Kinds that are not modelled
are left out, but a DaemonSet's pods are put on their nodes, since each costs the node controller a
call. What else there is to compare (rollouts, jobs, endpoints) would be read off `Replay` likewise.
"""

from __future__ import annotations

from collections import defaultdict

from sim.behaviour import Constant
from sim.catalog import CONTROLLERS, default_profile
from sim.clock import Lane
from sim.cluster import Change, Cluster
from sim.controllers.node_lifecycle import LifecycleSettings, NodeLifecycle
from sim.controllers.podgc import PodGC
from sim.controllers.taint_eviction import TaintEviction
from sim.controlplane import ControlPlane, ControlPlaneSettings
from sim.kubelet import Kubelet
from sim.manifests import PodManifest, parse_object
from sim.nodes import shape
from sim.podspec import CPU, MEMORY, Taint, Toleration
from sim.podtimes import PodTimes
from sim.recorder import Of, Reason
from sim.rng import Streams, Uniforms
from sim.scheduler import Scheduler
from sim.tables import NEVER, NodeReady
from sim.units import amount, cpu_m
from sim.workloads import Deployment, Service

NODE_ACTIONS = {"crash", "recover", "condition", "taint", "deleteNode"}
WATCH_MS = 10  # until the recorder's kubelet saw a pod: 5 to 20 ms
SCHEDULER_MS = 10
DAEMON_TOLERATIONS = tuple(
    Toleration(f"node.kubernetes.io/{key}", "Exists", effect="NoExecute")
    for key in ("not-ready", "unreachable")
)


def is_timeline(data):
    """Whether a JSON document is a recorded timeline."""
    return isinstance(data, dict) and {"scenario", "observed", "derived"} <= data.keys()


def is_about_nodes(data):
    """Whether all that is done in it is that nodes fail and come back."""
    done = {action["do"] for action in data["scenario"]["actions"]}
    return "crash" in done and done <= NODE_ACTIONS


def ms(seconds):
    return round(float(seconds) * 1000)


class Replay:
    """One run of a scenario, with monitor passes at `monitor_phase_ms` + 5,005 ms × k."""

    def __init__(self, data, monitor_phase_ms, gc_phase_ms=None, seed=1):
        scenario = data["scenario"]
        self.kubelet_of = scenario.get("kubelet") or data.get("kubelet")
        self.phases = [ms(node["leasePhase"]) for node in scenario["nodes"]]
        cluster = self.cluster = Cluster()
        streams = Streams(seed)
        profiles = {"default-scheduler": default_profile()}
        draw = Uniforms(streams("scheduler/ties"))
        Scheduler(cluster, profiles, draw, latency_ms=SCHEDULER_MS)
        Kubelet(cluster, streams, self.times_of)
        NodeLifecycle(
            cluster,
            streams,
            LifecycleSettings(),
            lease_phase_ms=self.phases.__getitem__,
            monitor_phase_ms=monitor_phase_ms,
        )
        TaintEviction(cluster)
        PodGC(cluster, streams, phase_ms=gc_phase_ms)
        ControlPlane(cluster, CONTROLLERS, ControlPlaneSettings())
        self.unready = []  # (node, second) of each pod that lost its Ready condition
        self.unready_pods = []  # the same, with the pod
        self.gone = {}  # pod -> second
        cluster.watch(self.note_ready, [Change.POD_READY])
        cluster.watch(self.note_gone, [Change.POD_REMOVED])
        for node in scenario["nodes"]:
            self.add_node(node)
        for item in scenario["objects"]:
            self.at(item["at"], self.add_object, item["manifest"])
        for action in scenario["actions"]:
            self.at(action["at"], self.do, action)
        cluster.clock.run(ms(scenario["duration"]))
        cluster.check()

    def at(self, seconds, verb, *args):
        self.cluster.clock.at(ms(seconds), Lane.FAULTS, verb, *args)

    def times_of(self, template):
        """What the recorder's kubelet does with pods of this template; they are ready at once."""
        said, spec = template.pod.annotations, template.pod.spec
        start = said.get("sim/startDelay", self.kubelet_of["startDelay"])
        stop = said.get("sim/stopDelay", self.kubelet_of["stopDelay"])
        stop_ms = spec.termination_grace_ms if stop == "grace" else ms(stop)
        run = said.get("sim/run")
        return PodTimes(
            watch_delay=Constant(WATCH_MS),
            start=Constant(ms(start)),
            shutdown=Constant(stop_ms),
            run=Constant(ms(run)) if run else None,
        )

    def note_ready(self, _change, pod):
        pods = self.cluster.pods
        if not pods.ready[pod]:
            name = self.cluster.nodes.names[pods.node[pod]]
            self.unready.append((name, self.cluster.clock.now_ms / 1000))
            self.unready_pods.append((*self.unready[-1], pod))

    def note_gone(self, _change, pod):
        self.gone[pod] = self.cluster.clock.now_ms / 1000

    def add_node(self, node):
        name, zone = node["name"], node.get("zone", "")
        labels = {"kubernetes.io/hostname": name, **node.get("labels", {})}
        if zone:
            labels["topology.kubernetes.io/zone"] = zone
            labels["topology.kubernetes.io/region"] = "r1"
        sizes = {CPU: cpu_m(node["cpu"]), MEMORY: amount(node.get("memory", "16Gi"))}
        self.cluster.add_node(name, shape(sizes), zone=zone, labels=labels)

    def add_object(self, manifest):
        if manifest["kind"] == "DaemonSet":
            self.add_daemons(manifest)
            return
        item = parse_object(manifest)
        if isinstance(item, Deployment):
            self.cluster.put_deployment(item)
        elif isinstance(item, Service):
            self.cluster.services[item.namespace, item.name] = item
        elif isinstance(item, PodManifest):
            self.add_pod(item)

    def add_pod(self, item):
        cluster = self.cluster
        owner = cluster.owner("Pod", item.namespace, item.name)
        cluster.create_pod(cluster.template(item.template), owner, item.name)

    def add_daemons(self, manifest):
        """One pod on each node, which the DaemonSet controller would keep there."""
        cluster, template = self.cluster, manifest["spec"]["template"]
        tolerations = [
            {"key": each.key, "operator": "Exists", "effect": "NoExecute"}
            for each in DAEMON_TOLERATIONS
        ]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "daemon", **template["metadata"]},
            "spec": {**template["spec"], "tolerations": tolerations},
        }
        owner = cluster.owner("DaemonSet", "default", manifest["metadata"]["name"])
        for node in cluster.nodes.ids().tolist():
            made = cluster.create_pod(cluster.template(parse_object(pod).template), owner)
            cluster.bind(made, node)

    def do(self, action):
        getattr(self, f"do_{action['do']}")(action)

    def do_crash(self, action):
        for name in action["nodes"]:
            containers_die = action.get("mode", "crash") == "crash"
            self.cluster.fail_node(self.cluster.nodes[name], containers_die=containers_die)

    def do_recover(self, action):
        for name in action["nodes"]:
            self.cluster.recover_node(self.cluster.nodes[name])

    def do_condition(self, action):
        """The kubelet reports these conditions and no others."""
        node, said = self.cluster.nodes[action["node"]], action["conditions"]
        ready = said.get("Ready", "True") == "True"
        self.cluster.set_node_ready(node, NodeReady.TRUE if ready else NodeReady.FALSE)
        kinds = {*self.cluster.nodes.conditions.get(node, ()), *said} - {"Ready"}
        for kind in sorted(kinds):
            self.cluster.set_condition(node, kind, said.get(kind) == "True")

    def do_taint(self, action):
        node, said = self.cluster.nodes[action["node"]], action["taint"]
        taint = Taint(said["key"], said["effect"], said.get("value", ""))
        self.cluster.set_taints(node, (*self.cluster.nodes.taints(node), taint))

    def do_deleteNode(self, action):  # noqa: N802 (the recording's word)
        self.cluster.remove_node(self.cluster.nodes[action["name"]])

    def node_events(self):
        """What the API showed of nodes, as `derived.nodes` of a timeline: seconds per kind."""
        recorder, names = self.cluster.recorder, self.cluster.nodes.names
        shown = defaultdict(lambda: defaultdict(list))
        for i in range(len(recorder)):
            if recorder.kind[i] != Of.NODE:
                continue
            what = WORDS.get(Reason(recorder.reason[i]))
            if what is not None:
                text = recorder.texts[recorder.arg[i]] if what.endswith("taint ") else ""
                shown[names[recorder.object[i]]][what + text].append(recorder.at_ms[i] / 1000)
        return shown

    def fates(self):
        """(node, bound, deleted or None, tolerationSeconds or None) of each pod that had a node.

        Times in seconds; the tolerationSeconds are those for an unreachable node.
        """
        cluster, pods = self.cluster, self.cluster.pods
        for pod in range(len(pods)):
            node, deleting_ms = pods.node.item(pod), pods.deleting_ms.item(pod)
            if node >= 0:
                yield (
                    cluster.nodes.names[node],
                    pods.bound_ms.item(pod) / 1000,
                    None if deleting_ms == NEVER else deleting_ms / 1000,
                    self.toleration_s(pod),
                )

    def deleted_of(self):
        """pod -> the second of its deletion, if it was deleted."""
        deleting_ms = self.cluster.pods.deleting_ms[: len(self.cluster.pods)].tolist()
        return {pod: ms / 1000 for pod, ms in enumerate(deleting_ms) if ms != NEVER}

    def pod_ends(self):
        """(node, deleted, gone) of each pod that had a node; None for what did not happen."""
        pods, deleted = self.cluster.pods, self.deleted_of()
        return [
            (self.cluster.nodes.names[pods.node[pod]], deleted.get(pod), self.gone.get(pod))
            for pod in range(len(pods))
            if pods.node[pod] >= 0
        ]

    def toleration_s(self, pod):
        tolerations = self.cluster.pod_template(pod).pod.spec.tolerations
        return next((t.seconds for t in tolerations if t.tolerates(UNREACHABLE)), 0)


UNREACHABLE = Taint("node.kubernetes.io/unreachable", "NoExecute")
WORDS = {
    Reason.NODE_NOT_READY: "readyUnknown",
    Reason.NODE_SAYS_NOT_READY: "readyFalse",
    Reason.NODE_READY: "readyTrue",
    Reason.TAINTED: "taint ",
    Reason.UNTAINTED: "untaint ",
}
