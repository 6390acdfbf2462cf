"""Containers, pods and states of them for the tests of what the kubelet decides."""

from __future__ import annotations

from hypothesis import strategies as st

from sim.podspec import Container, PodSpec
from sim.podstate import V1_34, ContainerState, PodRules, Sandbox

RUNNING = ContainerState("running", started=True, ready=True)
STARTING = ContainerState("running")  # its startup probe has not passed yet
CREATED = ContainerState("created")
UNKNOWN = ContainerState("unknown")
NEW = ContainerState()
UP = [Sandbox()]
POLICIES = ["Always", "OnFailure", "Never"]


def exited(code):
    return ContainerState("exited", exit_code=code)


def backing_off(code):
    return ContainerState("exited", exit_code=code, backing_off=True)


def pod(regular="a", init="", policy="Always", **options):
    """Containers named by one letter each; an init container in capitals is a sidecar."""
    return PodSpec(
        tuple(Container(name, **options) for name in regular),
        tuple(Container(name.lower(), sidecar=name.isupper()) for name in init),
        restart_policy=policy,
    )


def rules(*args, gates=V1_34, own=None, **kwargs):
    return PodRules(pod(*args, **kwargs), gates, own or {})


STATES = st.sampled_from(
    [NEW, CREATED, RUNNING, STARTING, UNKNOWN, exited(0), exited(1), backing_off(0), backing_off(1)]
)
PODS = st.builds(
    rules,
    st.sampled_from(["a", "ab"]),
    st.sampled_from(["", "i", "S", "iS", "Si", "Sij", "SiT"]),
    st.sampled_from(POLICIES),
)


def states_of(found):
    return st.fixed_dictionaries(
        {}, optional={c.name: STATES for c in (*found.spec.containers, *found.spec.init_containers)}
    )


LIVES = PODS.flatmap(lambda found: st.tuples(st.just(found), states_of(found)))
