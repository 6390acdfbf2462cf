"""A seed draws a cluster, its load and its faults; whatever they are, promises hold and it heals.

Phase one: faults, and every checker each 20 s. Phase two: every machine works again; what the nodes
have room for has to run. A failure prints the seed and how to run it alone.
"""

from __future__ import annotations

import numpy as np
import pytest

from sim.actions import FailNodes, RecoverNodes
from sim.clock import Lane
from sim.engine import Simulation
from sim.tables import UNBOUND
from tests.inline import a_deployment, a_pool, a_scenario, a_service
from tests.safety.checkers import CHECKERS

SEEDS = range(30)
MINUTE_MS = 60_000
FAULTS_END_MS = 20 * MINUTE_MS
HEALED_MS = FAULTS_END_MS + 25 * MINUTE_MS  # back-offs end after 5 minutes, evictions after 5 more
CHECK_MS = 20_000
ZONES = ["a", "b", "c"]


class Swarm:
    """Everything that a seed draws."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.nodes = int(self.rng.integers(1, 13))
        self.names = ["web", "api", "db", "queue"][: self.rng.integers(1, 5)]
        self.simulation = Simulation(self.scenario())
        for at_ms, action in self.faults():
            self.simulation.at(at_ms, action)

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def scenario(self):
        objects = [self.deployment(name) for name in self.names]
        cap = int(self.pick(4, 10, 110))
        return a_scenario(
            [*objects, a_service(self.names[0])],
            run={"duration": f"{HEALED_MS // MINUTE_MS}m", "seed": self.seed},
            nodes=[self.pool(cap)],
            faults=list(self.scenario_faults()),
            maintenance=list(self.maintenance()),
            traffic=[
                {"service": self.names[0], "rps": 50, "cpuPerRequest": self.pick("0s", "4ms")}
            ],
            behaviour=[self.behaviour(name) for name in self.names],
            controlPlane={"ideal": bool(self.rng.random() < 0.3)},
        )

    def pool(self, cap):
        zones = ZONES[: self.rng.integers(1, 4)]
        return a_pool(self.nodes, zones=zones, maxPods=cap, boot=self.pick("30s", "4m"))

    def scenario_faults(self):
        """Faults as scenarios write them; all are over at the end of phase one."""
        ended = {"until": "15m"}
        for _ in range(self.rng.integers(0, 3)):
            kind = self.pick("mtbf", "every", "at", "flap")
            at, down = f"{self.rng.integers(1, 12)}m", self.pick("40s", "2m", "5m")
            mode = {"mode": self.pick("crash", "partition")}
            node = {"node": f"pool-{self.rng.integers(self.nodes)}"}
            if kind == "mtbf":
                mean = self.pick("5m", {"weibull": {"mean": "10m", "shape": 0.7}})
                replaced = {} if self.rng.random() < 0.5 else {"repair": "replace", "mode": "crash"}
                yield {"mtbf": mean, "mttr": down, **mode, **ended, **replaced}
            elif kind == "every":
                shared = {"share": self.pick("30%", "100%"), "lost": self.pick("0%", "30%")}
                yield {"every": "6m", "down": down, **mode, **ended, **shared}
            elif kind == "at":
                by_hand = self.pick({}, {"deleted": "1m"}, {"outOfService": "70s"})
                yield {"at": at, "down": down, **mode, **node, **by_hand}
            else:
                yield {"at": at, "flap": {"up": "50s", "down": "30s", "times": 5}, **node}

    def maintenance(self):
        if self.rng.random() < 0.3:
            times = {"at": "5m", "duration": "1m", "notice": "1m"}
            yield {**times, "pool": "pool", "atOnce": int(self.pick(3, 6))}

    def deployment(self, name):
        probe = {"tcpSocket": {"port": 80}, "periodSeconds": int(self.pick(1, 5, 10))}
        container = {
            p: probe for p in ("readinessProbe", "livenessProbe") if self.rng.random() < 0.5
        }
        spread = {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": self.pick("ScheduleAnyway", "DoNotSchedule"),
            "labelSelector": {"matchLabels": {"app": name}},
        }
        return a_deployment(
            name,
            int(self.rng.integers(0, 15)),
            cpu=self.pick("0", "200m", "1", "1500m"),
            memory=self.pick("0", "100Mi", "3Gi"),
            container=container,
            terminationGracePeriodSeconds=int(self.pick(0, 1, 30)),
            topologySpreadConstraints=[spread] if self.rng.random() < 0.5 else [],
        )

    def behaviour(self, name):
        said = {"match": {"app": name}}
        if self.rng.random() < 0.3:
            said["startup"] = {"exponential": "20s"}
        if self.rng.random() < 0.2:
            said["crash"] = {"every": {"exponential": "3m"}}
        if self.rng.random() < 0.2:
            said["shutdown"] = "2m"
        return said

    def faults(self):
        for _ in range(self.rng.integers(1, 9)):
            at_ms = int(self.rng.integers(0, FAULTS_END_MS))
            chosen = self.rng.permutation(self.nodes)[: self.rng.integers(1, self.nodes + 1)]
            nodes = tuple(int(node) for node in chosen)
            yield at_ms, FailNodes(nodes, self.pick("crash", "partition"))
            down_ms = int(self.pick(500, 20_000, 5 * MINUTE_MS, 10 * MINUTE_MS))
            yield at_ms + down_ms, RecoverNodes(nodes)

    def run(self):
        simulation = self.simulation
        simulation.at(FAULTS_END_MS + 10 * MINUTE_MS, RecoverNodes(tuple(range(self.nodes))))
        simulation.clock.at(0, Lane.SAMPLES, self.check)
        simulation.run()

    def check(self):
        self.check_once()
        self.simulation.clock.after(CHECK_MS, Lane.SAMPLES, self.check)

    def check_once(self):
        cluster = self.simulation.cluster
        wrong = [words for checker in CHECKERS for words in checker(cluster)]
        assert not wrong, f"{self.told()}at {cluster.clock.now_ms} ms: {'; '.join(wrong)}"

    def told(self):
        again = f"python -m pytest 'tests/safety/test_swarm.py::test_promises_hold[{self.seed}]'"
        return f"seed {self.seed}, again with: {again}\n"


@pytest.mark.parametrize("seed", SEEDS)
def test_promises_hold(seed):
    swarm = Swarm(seed)
    swarm.run()
    cluster = swarm.simulation.cluster
    cluster.check()
    waiting, stuck = still_waiting(swarm.simulation), not_running(cluster)
    assert not waiting, f"{swarm.told()}pods {waiting} wait, though a node would take them"
    assert not stuck, f"{swarm.told()}pods {stuck} are bound to nodes that work, and never started"


def test_promises_hold_for_spot_machines():
    swarm = Swarm(3)
    spot = {"monthlyInterruptions": 0.9999, "correlated": "60%", "reclaim": {"exponential": "1h"}}
    swarm.simulation = Simulation(
        a_scenario(
            [a_deployment("web", 12, terminationGracePeriodSeconds=300), a_deployment("api", 6)],
            run={"duration": "1000h", "sample": "10h"},
            nodes=[a_pool(6, zones=["a", "b"], spot=spot), a_pool(2) | {"pool": "steady"}],
        )
    )
    for minute in range(0, 60_000, 7):
        swarm.simulation.clock.at(minute * MINUTE_MS, Lane.SAMPLES, swarm.check_once)
    result = swarm.simulation.run()
    # 1000 h of 6 nodes, -ln(0.0001) a month: 77
    assert (result.events["reason"] == "SpotInterruption").sum() > 30
    assert not still_waiting(swarm.simulation)


def still_waiting(simulation):
    """Waiting pods that a node would take."""
    cluster, pods = simulation.cluster, simulation.cluster.pods
    return [
        pod
        for pod in range(len(pods))
        if pods.exists[pod]
        and pods.node[pod] == UNBOUND
        and len(simulation.scheduler.ask(pod, cluster.pod_template(pod)).kept)
    ]


def not_running(cluster):
    """Bound pods that have not been started, and deleted ones that are still there."""
    pods, recent_ms = cluster.pods, cluster.clock.now_ms - 3 * MINUTE_MS
    return [
        pod
        for pod in range(len(pods))
        if pods.exists[pod]
        and pods.node[pod] != UNBOUND
        and pods.bound_ms[pod] < recent_ms
        and (not pods.started[pod] or 0 <= pods.deleting_ms[pod] < recent_ms)
    ]


def test_every_replica_runs_in_the_end_when_there_is_room_for_all():
    swarm = Swarm(1)
    swarm.simulation = Simulation(
        a_scenario(
            [a_deployment("web", 6), a_deployment("api", 6)],
            run={"duration": f"{HEALED_MS // MINUTE_MS}m"},
            nodes=[a_pool(swarm.nodes)],
        )
    )
    for at_ms, action in swarm.faults():
        swarm.simulation.at(at_ms, action)
    swarm.run()
    pods = swarm.simulation.cluster.pods
    assert int(pods.ready[: len(pods)].sum()) == 12


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_checker_finds_what_it_looks_for(checker):
    simulation = Simulation(a_scenario([a_deployment("web", 2)], nodes=[a_pool(2)]))
    simulation.clock.run(MINUTE_MS)
    assert checker(simulation.cluster) == []
    BREAK[checker.__name__](simulation.cluster)
    assert checker(simulation.cluster) != []


def _kill_quietly(cluster):
    cluster.nodes.up[:] = False


def _bind_again(cluster):
    cluster.recorder.event(0, 0, 1, 0)


def _shrink(cluster):
    cluster.nodes.max_pods[:] = 0


def _ask_for_more(cluster):
    cluster.nodes.requested[0, 0] = 10**6


def _want_fewer(cluster):
    next(iter(cluster.replicasets.values())).replicas = 1


def _remove_long_ago(cluster):
    cluster.clock.run(3 * MINUTE_MS)
    cluster.nodes.removed_ms[:] = 0


BREAK = {
    "runs_on_dead_nodes": _kill_quietly,
    "bound_twice": _bind_again,
    "more_pods_than_allowed": _shrink,
    "more_requested_than_there_is": _ask_for_more,
    "more_than_wanted": _want_fewer,
    "left_on_removed_nodes": _remove_long_ago,
}
