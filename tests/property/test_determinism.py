"""Same scenario and seed: same events and tables, in any process; what is added shifts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import sim
from tests.inline import a_deployment, a_pool, a_scenario, a_service

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
SHORT = {  # the first part of each scenario in which everything has happened once
    "arrivals": {"run.duration": "1h", "run.warmUp": "0s"},
    "memory-leak": {"run.duration": "3h"},
    "node-mtbf-year": {"run.duration": "60d"},
    "node-size": {"run.duration": "6m", "run.warmUp": "1m"},
    "noisy-neighbour": {"run.duration": "6h"},
    "overcommit-ladder": {"run.duration": "4h"},
    "overcommit-oom": {"run.duration": "4h"},
    "probe-restart-storm": {"run.duration": "8m", "run.warmUp": "1m"},
    "probe-timeouts-under-throttle": {"run.duration": "12h"},
    "spot-fleet": {"run.duration": "30d"},
    "zone-failure": {"run.duration": "20m", "run.warmUp": "1m", "faults[0].at": "5m"},
}

each_scenario = pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)


def short(path):
    return sim.load(path).replace(SHORT.get(path.stem, {}))


def same_tables(one, other):
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, other.tables[name], check_exact=True)


@each_scenario
def test_twice_in_one_process(path):
    scenario = short(path)
    one, other = sim.run(scenario), sim.run(scenario)
    assert one.info.event_hash == other.info.event_hash
    assert one.info == other.info
    same_tables(one, other)


def test_in_a_fresh_process_with_another_hash_seed():
    code = (
        "import sys; sys.path[:0] = ['.']\n"
        "from tests.property.test_determinism import SCENARIOS, digests\n"
        "for path in SCENARIOS: print(*digests(path))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert found.stdout.splitlines() == [" ".join(digests(path)) for path in SCENARIOS]


def digests(path):
    """The hash of the events and one of all cells of all tables."""
    result = sim.run(short(path))
    cells = [
        pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes().hex()
        for table in result.tables.values()
    ]
    return path.stem, result.info.event_hash, str(hash_of("".join(cells)))


def hash_of(text):
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


@each_scenario
def test_another_seed_gives_another_run(path):
    scenario = short(path)
    assert sim.run(scenario, seed=1).info.event_hash != sim.run(scenario, seed=2).info.event_hash


def test_seed_of_the_run_goes_before_that_of_the_scenario():
    scenario = short(ROOT / "scenarios" / "zone-failure.yaml")
    by_scenario = sim.run(scenario.replace({"run.seed": 99}))
    by_call = sim.run(scenario, seed=99)
    assert by_call.info.seed == by_scenario.info.seed == 99
    assert by_call.info.event_hash == by_scenario.info.event_hash


# --- what is added shifts nothing


JOB = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "job"},
    "spec": {
        "containers": [{"name": "main", "resources": {"requests": {"cpu": "100m"}}}],
        "restartPolicy": "Never",
    },
}


def a_stream(name, **more):
    every, runtime = {"exponential": "30s"}, {"exponential": "5m"}
    return {"name": name, "every": every, "runtime": runtime, "template": "job.json", **more}


def with_streams(*names, **sections):
    return a_scenario(
        files={"job.json": JOB},
        nodes=[a_pool(4, cpu=64)],
        arrivals=[a_stream(name) for name in names],
        **sections,
    )


def arrivals_of(result, stream):
    return result.pods.loc[result.pods["workload"] == f"Stream/{stream}", "created_s"].tolist()


def test_a_second_stream_does_not_move_the_first_ones_arrivals():
    alone, both = sim.run(with_streams("a")), sim.run(with_streams("b", "a"))
    assert len(arrivals_of(alone, "a")) > 50
    assert arrivals_of(both, "a") == arrivals_of(alone, "a")
    assert arrivals_of(both, "b") != arrivals_of(alone, "a")


ON_NODES = {"startup": {"exponential": "2s"}, "shutdown": {"exponential": "2s"}}
AT_ONCE = {"ideal": True}  # what remains are the draws of starts and run times


def starts_of(result, workload):
    """From binding to start, in the order of creation."""
    rows = result.pods[result.pods["workload"] == workload]
    return (rows["started_s"] - rows["scheduled_s"]).round(3).tolist()


@pytest.mark.parametrize("before", [True, False], ids=["before it", "after it"])
def test_an_unrelated_deployment_does_not_move_how_long_starts_take(before):
    def starts(*names):
        objects = [a_deployment(name, 40) for name in names]
        sections = {"nodes": [a_pool(4, cpu=64)], "kubelet": ON_NODES, "controlPlane": AT_ONCE}
        return starts_of(sim.run(a_scenario(objects, **sections)), "Deployment/web")

    alone = starts("web")
    assert len(set(alone)) > 30  # of 40: exponential around 2 s
    assert starts(*(("api", "web") if before else ("web", "api"))) == alone


def test_probes_and_crash_loops_do_not_move_those_of_another_deployment():
    def troubles(*names):
        flaky = {
            "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5, "failureThreshold": 1}
        }
        objects = [a_deployment(name, 4, container=flaky) for name in names]
        behaviour = [
            {
                "match": {"app": name},
                "probes": {"readiness": {"failureRate": 0.2}},
                "crash": {"every": {"exponential": "5m"}, "exitCode": 1},
            }
            for name in names
        ]
        sections = {"nodes": [a_pool(1, cpu=64)], "controlPlane": AT_ONCE}
        result = sim.run(a_scenario(objects, behaviour=behaviour, **sections))
        events = result.events
        mine = events["object"].str.startswith("Pod/default/web")
        return events.loc[mine, ["t_s", "reason"]].to_numpy().tolist()

    alone = troubles("web")
    assert {"Unhealthy", "BackOff"} <= {reason for _, reason in alone}
    assert troubles("api", "web") == alone


def run_times_of(result, stream):
    rows = result.pods[result.pods["workload"] == f"Stream/{stream}"]
    ended = rows[rows["phase"] == "Succeeded"]
    return (ended["finished_s"] - ended["started_s"]).round(3).tolist()


def test_a_second_stream_does_not_move_the_first_ones_run_times():
    sections = {"kubelet": ON_NODES, "controlPlane": AT_ONCE}
    alone = sim.run(with_streams("a", **sections))
    both = sim.run(with_streams("b", "a", **sections))
    assert len(set(run_times_of(alone, "a"))) > 50
    assert run_times_of(both, "a") == run_times_of(alone, "a")
    assert run_times_of(both, "b") != run_times_of(alone, "a")


def test_a_fault_does_not_move_the_arrivals():
    faults = [{"at": "10m", "node": "pool-0", "down": "5m"}]
    calm, troubled = sim.run(with_streams("a")), sim.run(with_streams("a", faults=faults))
    assert arrivals_of(troubled, "a") == arrivals_of(calm, "a")


def test_more_nodes_do_not_move_when_those_there_were_are_found_dead():
    def found_dead_s(count):
        faults = [{"at": "10m", "node": "pool-0"}]
        result = sim.run(a_scenario(nodes=[a_pool(count)], faults=faults))
        events = result.events
        return events.loc[events["reason"] == "NodeNotReady", "t_s"].tolist()

    assert found_dead_s(9) == found_dead_s(5)


def test_a_second_service_does_not_move_when_clients_learn_of_the_firsts_endpoints():
    def outages_s(*names):
        objects = [o for n in names for o in (a_deployment(n, 3), a_service(n))]
        traffic = [{"service": name, "rps": 10} for name in names]
        # Nothing on the nodes is random here, so the clients' delay is all there is.
        calm = {"startup": "1s", "watchDelay": "0s"}
        plane = {"qps": 1000, "burst": 1000}
        result = sim.run(
            a_scenario(
                objects, nodes=[a_pool(3)], traffic=traffic, kubelet=calm, controlPlane=plane
            )
        )
        services = result.services
        return services.loc[services["service"] == "default/web", "outage_s"].tolist()

    (alone_s,) = outages_s("web")
    assert alone_s > 1.0  # the start-up and the proxy's delay at least
    assert outages_s("web", "api") == [alone_s]


# --- a user's own process


def test_a_process_that_only_watches_changes_nothing():
    scenario = short(ROOT / "scenarios" / "zone-failure.yaml")
    seen = []

    def watch(simulation):
        while True:
            yield simulation.env.timeout(60_000)
            seen.append(int(simulation.cluster.nodes.pod_count.sum()))

    watched, alone = sim.run(scenario, processes=[watch]), sim.run(scenario)
    assert watched.info.event_hash == alone.info.event_hash
    assert len(seen) == 19  # at 1, 2, ... 19 minutes: the run ends before the 20th
    same_tables(watched, alone)
