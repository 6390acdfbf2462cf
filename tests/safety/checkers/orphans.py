"""Pods of a node whose object is gone are collected 40 to 60 s later; the calls take a while."""

from __future__ import annotations

import numpy as np

COLLECTED_MS = 75_000


def left_on_removed_nodes(cluster):
    pods, nodes, now_ms = cluster.pods, cluster.nodes, cluster.clock.now_ms
    count = len(pods)
    long_gone = (nodes.removed_ms >= 0) & (nodes.removed_ms < now_ms - COLLECTED_MS)
    left = pods.exists[:count] & (pods.node[:count] >= 0) & long_gone[pods.node[:count]]
    return [f"pod {p} is left on removed node {pods.node[p]}" for p in np.flatnonzero(left)]
