"""Any faults: the run ends, sums are right, what works is up, pools are as large as before."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine import Simulation
from tests.inline import CALM, a_deployment, a_pool, a_scenario

NODES = 5
targets = st.sampled_from([{"zone": "a"}, {"node": "pool-3"}, {"pool": "pool"}])
downs = st.sampled_from(["1s", "50s", "4m"])
modes = st.sampled_from([{}, {"mode": "partition"}])
ends = {"until": "20m"}  # all is over by minute 30, and what is ordered then has joined at 40


@st.composite
def faults(draw):
    kind = draw(st.sampled_from(["at", "every", "mtbf", "replace", "flap", "slow"]))
    target, down, at = draw(targets), draw(downs), f"{draw(st.integers(0, 20))}m"
    if kind == "at":
        by_hand = draw(st.sampled_from([{}, {"deleted": "30s"}, {"outOfService": "30s"}]))
        return {"at": at, "down": down, **target, **by_hand, **draw(modes)}
    if kind == "every":
        lost = {"lost": draw(st.sampled_from([0, 0.5])), "share": draw(st.sampled_from([0.5, 1]))}
        return {"every": "3m", "down": down, **target, **lost, **ends, **draw(modes)}
    if kind == "mtbf":
        return {"mtbf": "5m", "mttr": down, **target, **ends, **draw(modes)}
    if kind == "replace":
        return {"mtbf": "8m", "repair": "replace", **target, **ends}
    if kind == "flap":
        return {"at": at, "flap": {"up": "20s", "down": "40s", "times": 4}, **target}
    return {"at": at, "slow": "50%", "down": down, **target}


@settings(max_examples=60, deadline=None)
@given(said=st.lists(faults(), max_size=4), seed=st.integers(0, 1000), ideal=st.booleans())
def test_any_faults_end_well(said, seed, ideal):
    simulation = Simulation(
        a_scenario(
            [a_deployment("web", 6)],
            run={"duration": "90m", "seed": seed},
            nodes=[a_pool(NODES, zones=["a", "b"], boot="1m")],
            kubelet=CALM,
            controlPlane={"ideal": ideal},
            faults=said,
        )
    )
    simulation.run()
    cluster = simulation.cluster
    cluster.check()
    nodes, there = cluster.nodes, cluster.nodes.ids()
    assert len(there) == NODES
    assert nodes.up[there].all()
    assert not nodes.cut_off[there].any()
    assert not any(nodes.taints(node) for node in there.tolist())
    pods = cluster.pods
    ready = np.flatnonzero(pods.ready[: len(pods)])
    assert len(ready) == 6
    assert nodes.exists[pods.node[ready]].all()
