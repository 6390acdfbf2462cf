"""A scheduler plugin of your own: fill GPU nodes one after the other, keep other pods off them.

    python -m sim run examples/pack-gpus.yaml --allow-plugins

As a program, this file compares the scenario with and without it.
"""

from pathlib import Path

import numpy as np

import sim

SCENARIO = Path(__file__).parent / "pack-gpus.yaml"


class PackGpus:
    """Nodes with GPUs are for pods that ask for some, and the fullest such node is the best."""

    def __init__(self, resource="nvidia.com/gpu"):
        self.resource = resource

    def filter(self, pod, cluster, nodes):
        """True where the node may take the pod."""
        gpus = cluster.nodes.allocatable[cluster.nodes.resource_row(self.resource), nodes]
        return (gpus == 0) | (pod.pod.spec.requests.get(self.resource, 0) > 0)

    def score(self, pod, cluster, nodes):
        """Percent of the node's GPUs that are taken."""
        row = cluster.nodes.resource_row(self.resource)
        taken, gpus = cluster.nodes.requested[row, nodes], cluster.nodes.allocatable[row, nodes]
        return 100 * taken // np.maximum(gpus, 1)


def report(name, scenario):
    """How many pods are on each node, and how many found none."""
    on = sim.run(scenario).pods.node.value_counts()
    nodes = sorted(node for node in on.index if node)
    print(f"{name}:", ", ".join(f"{on[node]} on {node}" for node in nodes))
    print(f"{name}: {on.get('', 0)} pods wait for a node")


if __name__ == "__main__":
    packed = sim.load(SCENARIO, allow_plugins=True)
    report("default", packed.replace({"scheduler.plugins": [], "expect": []}))
    report("packed", packed)
