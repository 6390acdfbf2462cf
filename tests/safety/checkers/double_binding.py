"""A pod is bound at most once, and counted on one node only."""

from __future__ import annotations

from collections import Counter

from sim.recorder import Reason


def bound_twice(cluster):
    recorder = cluster.recorder
    bound = Counter(
        pod
        for reason, pod in zip(recorder.reason, recorder.object, strict=True)
        if reason == Reason.SCHEDULED
    )
    held = Counter(pod for pods in cluster.nodes.pods for pod in pods)
    return [f"pod {pod} was bound {n} times" for pod, n in bound.items() if n > 1] + [
        f"pod {pod} is on {n} nodes" for pod, n in held.items() if n > 1
    ]
