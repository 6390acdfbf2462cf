"""A ReplicaSet never has more pods than replicas, those that are being deleted aside.

For runs that do not scale down: there a surplus stands until the API calls have had their tokens.
"""

from __future__ import annotations


def more_than_wanted(cluster):
    wrong = []
    for (namespace, name), replicaset in cluster.replicasets.items():
        active = len(cluster.active_pods(cluster.owner("ReplicaSet", namespace, name)))
        if active > replicaset.replicas:
            wrong.append(f"{namespace}/{name}: {active} pods of {replicaset.replicas}")
    return wrong
