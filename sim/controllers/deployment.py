"""Deployment controller: one ReplicaSet per pod template, sized as the Deployment says.

Follows pkg/controller/deployment (v1.34.1) for creation and scaling. A changed template makes a
new ReplicaSet that takes all replicas at once; rolling updates in steps are not modelled yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.actions import Action, CreateReplicaSet, ScaleReplicaSet
from sim.cluster import SUFFIX_LETTERS
from sim.podspec import PodTemplate
from sim.workloads import Deployment, ReplicaSet

if TYPE_CHECKING:
    from sim.cluster import Cluster

Key = tuple[str, str]
HASH_LABEL = "pod-template-hash"
HASH_LETTERS = 10


def reconcile(key: Key, view: Cluster, now_ms: int) -> list[Action]:
    """Create the ReplicaSet of the present template, scale it, scale others to nothing."""
    deployment = view.deployments.get(key)
    if deployment is None:
        return []
    wanted = replicaset_of(deployment)
    owned = [
        replicaset
        for replicaset in view.replicasets.values()
        if replicaset.namespace == deployment.namespace and replicaset.owner == deployment.name
    ]
    actions: list[Action] = [
        ScaleReplicaSet(old.namespace, old.name, 0)
        for old in owned
        if old.name != wanted.name and old.replicas > 0
    ]
    present = next((r for r in owned if r.name == wanted.name), None)
    if present is None:
        actions.append(CreateReplicaSet(wanted))
    elif present.replicas != deployment.replicas:
        actions.append(ScaleReplicaSet(present.namespace, present.name, deployment.replicas))
    return actions


def replicaset_of(deployment: Deployment) -> ReplicaSet:
    """The ReplicaSet for the Deployment's present template; its pods carry the template's hash."""
    template_hash = _hash(deployment.template)
    template = deployment.template
    return ReplicaSet(
        namespace=deployment.namespace,
        name=f"{deployment.name}-{template_hash}",
        replicas=deployment.replicas,
        selector=deployment.selector,
        template=PodTemplate(
            template.namespace,
            {**template.labels, HASH_LABEL: template_hash},
            template.spec,
            template.annotations,
        ),
        owner=deployment.name,
        min_ready_ms=deployment.min_ready_ms,
    )


def _hash(template: PodTemplate) -> str:
    """Letters that differ between templates; not upstream's own hash, which covers its Go types."""
    number = template.digest
    letters = []
    for _ in range(HASH_LETTERS):
        number, digit = divmod(number, len(SUFFIX_LETTERS))
        letters.append(SUFFIX_LETTERS[digit])
    return "".join(letters)
