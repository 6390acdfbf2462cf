"""Any small scenario runs, ends, and leaves a cluster whose sums are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.actions import ApplyDeployment, CordonNodes, DeletePod, ScaleDeployment
from sim.clock import Lane
from sim.engine import Simulation
from sim.tables import NEVER, UNBOUND
from tests.inline import CALM, a_budget, a_deployment, a_pod_spec, a_pool, a_scenario, a_service

MINUTES = 30
CPU = ["0", "100m", "700m", "1500m"]
MEMORY = ["0", "64Mi", "3Gi"]
ZONES = ["a", "b"]

shares = st.floats(0, 0.3)


@st.composite
def containers(draw):
    probes = draw(st.sampled_from([{}, {"readinessProbe": {}}, {"livenessProbe": {}}]))
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": draw(st.sampled_from([1, 10]))}
    limits = draw(st.sampled_from([{}, {"memory": "4Gi"}, {"cpu": "2", "memory": "4Gi"}]))
    return {name: probe for name in probes} | {"_limits": limits}


@st.composite
def deployments(draw, name):
    container = draw(containers())
    limits = container.pop("_limits")
    made = a_deployment(
        name,
        draw(st.integers(0, 12)),
        cpu=draw(st.sampled_from(CPU)),
        memory=draw(st.sampled_from(MEMORY)),
        container=container,
        terminationGracePeriodSeconds=draw(st.sampled_from([0, 5, 30])),
        tolerations=draw(
            st.sampled_from(
                [
                    [],
                    [{"operator": "Exists"}],
                    [
                        {
                            "key": "node.kubernetes.io/unreachable",
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 20,
                        }
                    ],
                ]
            )
        ),
    )
    made["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = limits
    return made


@st.composite
def behaviours(draw, name, random):
    said = {
        "startup": {"startup": {"exponential": "10s"}},
        "crash": {"crash": {"every": {"exponential": "2m"}}},
        "leak": {"memory": {"base": "64Mi", "growth": "6Gi/h"}},
        "unlucky": {"probes": {"liveness": {"failureRate": draw(shares)}}},
        "slow end": {"shutdown": {"uniform": {"min": "1s", "max": "60s"}}},
    }
    if not random:
        said = {"startup": {"startup": "10s"}, "cpu": {"cpu": {"base": "300m"}}}
    chosen = draw(st.lists(st.sampled_from(sorted(said)), unique=True, max_size=3))
    merged = {key: value for kind in chosen for key, value in said[kind].items()}
    return {"match": {"app": name}, **merged}


@st.composite
def faults(draw, nodes):
    target = draw(
        st.one_of(
            st.integers(0, nodes - 1).map(lambda n: {"node": f"pool-{n}"}),
            st.sampled_from(ZONES[:nodes]).map(lambda zone: {"zone": zone}),
        )
    )
    down = draw(st.sampled_from([None, "1s", "30s", "3m", "10m"]))
    return {
        "at": f"{draw(st.integers(0, MINUTES * 60))}s",
        "mode": draw(st.sampled_from(["crash", "partition"])),
        **({"down": down} if down else {}),
        **target,
    }


@st.composite
def scenarios(draw, random=True):
    """`random` False: nothing that happens on the nodes is drawn."""
    nodes = draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(["web", "api", "db"]), unique=True, max_size=3))
    objects = [draw(deployments(name)) for name in names]
    objects += [a_service(name) for name in names]
    objects += [a_budget(name, minAvailable="50%") for name in names[:1]]
    costs = st.sampled_from(["0s", "50ms"] if random else ["0s"])
    traffic = [{"service": n, "rps": 20, "cpuPerRequest": draw(costs)} for n in names[:2]]
    return a_scenario(
        objects,
        {"job.json": A_POD},
        run={
            "duration": f"{MINUTES}m",
            "seed": draw(st.integers(0, 2**32)),
            "warmUp": draw(st.sampled_from(["0s", "7m"])),
        },
        nodes=[a_pool(nodes, cpu=2, memory="4Gi", zones=ZONES)],
        traffic=traffic,
        behaviour=[draw(behaviours(name, random)) for name in names],
        kubelet={} if random else CALM,
        arrivals=draw(st.sampled_from([[], [STREAM]])),
        faults=draw(st.lists(faults(nodes), max_size=4)),
        controlPlane={"ideal": draw(st.booleans())},
    )


A_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "job", "labels": {"app": "job"}},
    "spec": a_pod_spec("900m", "500Mi", restartPolicy="Never"),
}
STREAM = {
    "name": "jobs",
    "every": {"exponential": "20s"},
    "runtime": {"lognormal": {"median": "30s", "p99": "5m"}},
    "template": "job.json",
}


@st.composite
def deeds(draw):
    """Something that is done to a run from outside: when, and a function of the simulation."""
    at_ms = 1000 * draw(st.integers(0, MINUTES * 60))
    place, number = draw(st.integers(0, 20)), draw(st.integers(0, 15))

    def scale(simulation):
        wanted = list(simulation.cluster.deployments.values())
        if wanted:
            chosen = wanted[place % len(wanted)]
            simulation.do(ScaleDeployment(chosen.namespace, chosen.name, number))

    def renew(simulation):
        """A changed template: other pods."""
        wanted = list(simulation.cluster.deployments.values())
        if wanted:
            chosen = wanted[place % len(wanted)]
            changed = replace(chosen.template, annotations={"changed": str(number)})
            simulation.do(ApplyDeployment(replace(chosen, template=changed)))

    def delete(simulation):
        if len(simulation.cluster.pods):
            simulation.do(DeletePod(place % len(simulation.cluster.pods)))

    def cordon(simulation):
        node = place % len(simulation.cluster.nodes)
        simulation.do(CordonNodes((node,), unschedulable=bool(number % 2)))

    return at_ms, draw(st.sampled_from([scale, renew, delete, cordon]))


some_deeds = st.lists(deeds(), max_size=4)


def run(scenario, done=(), *, check_every_ms=0):
    """The simulation after its run, and its result; looked through every so often."""
    simulation = Simulation(scenario)
    for at_ms, deed in done:
        simulation.clock.at(at_ms, Lane.FAULTS, deed, simulation)

    def check():
        simulation.cluster.check()
        nothing_lives_on_a_dead_node(simulation.cluster)
        simulation.clock.after(check_every_ms, Lane.SAMPLES, check)

    if check_every_ms:
        simulation.clock.at(0, Lane.SAMPLES, check)
    return simulation, simulation.run()


def nothing_lives_on_a_dead_node(cluster):
    alive = np.flatnonzero(cluster.pods.alive[: len(cluster.pods)])
    on_dead = alive[~cluster.nodes.up[cluster.pods.node[alive]]]
    assert not len(on_dead), f"pods {on_dead} live on dead nodes"


@given(scenarios(), some_deeds)
def test_it_runs_and_ends_with_its_sums_right(scenario, done):
    simulation, result = run(scenario, done, check_every_ms=60_000)
    assert simulation.clock.now_ms == MINUTES * 60_000
    assert len(result.pods) == len(simulation.cluster.pods)
    simulation.cluster.check()
    nothing_lives_on_a_dead_node(simulation.cluster)


@given(scenarios(), some_deeds)
def test_numbers_are_possible(scenario, done):
    _, result = run(scenario, done)
    pods, nodes, services = result.pods, result.nodes, result.services
    bound = pods[pods["scheduled_s"].notna()]
    assert (bound["created_s"] <= bound["scheduled_s"]).all()
    started = pods[pods["started_s"].notna()]
    assert (started["scheduled_s"] <= started["started_s"]).all()
    assert (pods["wait_s"] >= 0).all()
    for column in ("requested_cpu", "requested_memory", "stranded_cpu", "stranded_memory"):
        assert nodes[column].between(0, 1 + 1e-9).all(), column
    counted_s = (scenario.run.duration_ms - scenario.run.warm_up_ms) / 1000
    assert nodes["down_s"].between(0, counted_s).all()
    assert np.allclose(services["requests_sent"], services["rps"] * counted_s)
    assert services["availability"].between(-1e-9, 1 + 1e-9).all()
    assert (services["outage_s"] <= services["error_s"]).all()
    assert (services["error_s"] <= counted_s + 1e-9).all()
    shares = result.workloads["availability"].dropna()
    assert shares.between(0, 1).all()


@given(scenarios(), some_deeds)
def test_when_it_ends_quietly_no_waiting_pod_fits_a_node(scenario, done):
    assume(not scenario.arrivals)
    simulation, _ = run(scenario, done)
    cluster = simulation.cluster
    waiting = waiting_pods(cluster)
    assume(quiet_since_ms(cluster) < simulation.end_ms - 10 * 60_000)
    for pod in waiting:
        answer = simulation.scheduler.ask(pod, cluster.pod_template(pod))
        assert not len(answer.kept), f"pod {pod} waits, though a node would take it"


def waiting_pods(cluster):
    pods = cluster.pods
    return [p for p in range(len(pods)) if pods.exists[p] and pods.node[p] == UNBOUND]


def quiet_since_ms(cluster):
    """When a pod or a node last changed."""
    pods, recorder = cluster.pods, cluster.recorder
    count = len(pods)
    ends = pods.ended_ms[:count].max(initial=NEVER)
    return max(int(ends), max(recorder.at_ms, default=0))


@settings(max_examples=20)
@given(scenarios(random=False), some_deeds)
def test_names_change_no_number(scenario, done):
    """Names choose random streams, and that is all they do."""
    _, result = run(scenario, done)
    _, renamed = run(with_longer_names(scenario), done)
    for column in ("created_s", "scheduled_s", "started_s", "finished_s", "restarts"):
        assert result.pods[column].equals(renamed.pods[column]), column
    assert numbers_of(result) == numbers_of(renamed)


def numbers_of(result):
    return [v for name, v in result.summary.items() if "{" not in name]


def with_longer_names(scenario):
    """The same scenario whose Deployments, and so their pods, have other names."""
    manifests = scenario.manifests
    deployments = [replace(d, name=f"other-{d.name}-name") for d in manifests.deployments]
    return replace(scenario, manifests=replace(manifests, deployments=deployments))
