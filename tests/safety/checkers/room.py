"""No node is given more pods or requests than it has room for."""

from __future__ import annotations

import numpy as np


def more_pods_than_allowed(cluster):
    nodes, count = cluster.nodes, len(cluster.nodes)
    over = np.flatnonzero(nodes.pod_count[:count] > nodes.max_pods[:count])
    return [f"node {n} has {nodes.pod_count[n]} pods of {nodes.max_pods[n]}" for n in over]


def more_requested_than_there_is(cluster):
    nodes, count = cluster.nodes, len(cluster.nodes)
    over = nodes.requested[:, :count] > nodes.allocatable[:, :count]
    return [
        f"node {n}: {nodes.requested[row, n]} {nodes.resources[row]} requested,"
        f" {nodes.allocatable[row, n]} there"
        for row, n in np.argwhere(over)
    ]
