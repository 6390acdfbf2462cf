"""Nothing runs, answers or uses anything on a machine that is down."""

from __future__ import annotations

import numpy as np


def runs_on_dead_nodes(cluster):
    pods = cluster.pods
    count = len(pods)
    lives = pods.alive[:count] | pods.answers[:count] | (pods.cpu_m[:count] > 0)
    bound = pods.node[:count] >= 0
    dead = ~cluster.nodes.up[pods.node[:count]]
    return [
        f"pod {p} lives on dead node {pods.node[p]}" for p in np.flatnonzero(lives & bound & dead)
    ]
