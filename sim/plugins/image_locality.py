"""ImageLocality: prefer nodes that have a pod's container images already.

Follows pkg/scheduler/framework/plugins/imagelocality/image_locality.go (v1.34.1). How many nodes
have an image is counted now; upstream a node keeps the count of when it last changed itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sim.extend import MAX_SCORE, NodeIds, Reads, Scores

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

MIB = 1024 * 1024
LEAST_B = 23 * MIB  # minThreshold: less counts as nothing
MOST_PER_CONTAINER_B = 1000 * MIB  # maxContainerThreshold
DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class ImageLocality:
    name: ClassVar[str] = "ImageLocality"
    reads: ClassVar[Reads] = Reads.NODE

    def concerns(self, pod: Template, cluster: Cluster) -> bool:
        """Whether any node has one of the pod's images; without, every node scores 0."""
        return any(image in cluster.nodes.images.nodes for image in images_of(pod))

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Scores | None:
        """Per node of the cluster: the bytes of its images, each times the share of nodes with it.

        None when no node has any of them. An image that is nearly everywhere counts nearly in
        full, a rare one little, so that pods do not all go to the one node that has it.
        """
        if not self.concerns(pod, cluster):
            return None
        images, count = cluster.nodes.images, len(cluster.nodes.ids())
        found_b = np.zeros(len(cluster.nodes), np.int64)
        for image in images_of(pod):
            having = images.having(image)
            if having is not None:
                found_b[having] += int(images.size_b[image] * (len(having) / count))
        return found_b

    def score(
        self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Scores | None
    ) -> Scores:
        """0 at 23 MiB or less, 100 at 1000 MiB per container or more, linear between."""
        if state is None:
            return np.zeros(len(nodes), np.int64)
        most_b = MOST_PER_CONTAINER_B * len(images_of(pod))
        counted_b = np.clip(state[nodes], LEAST_B, most_b)
        scores: Scores = MAX_SCORE * (counted_b - LEAST_B) // (most_b - LEAST_B)
        return scores


def images_of(pod: Template) -> tuple[str, ...]:
    """The image of each container, init containers too, as nodes name it."""
    known: tuple[str, ...] | None = pod.memo.get(ImageLocality)
    if known is None:
        spec = pod.pod.spec
        known = tuple(full_name(c.image) for c in (*spec.init_containers, *spec.containers))
        pod.memo[ImageLocality] = known
    return known


def full_name(image: str) -> str:
    """The image's name with its tag; `:latest` when no `:` follows the last `/`."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:{DEFAULT_TAG}"
