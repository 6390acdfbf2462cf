"""Kubernetes manifests as values: what was said, with the API server's defaults filled in."""

from sim.manifests.load import (
    load_manifests,
    parse_object,
    parse_objects,
    read_manifests,
)
from sim.manifests.objects import Manifests, Namespace, NodeManifest, Parsed, PodManifest

__all__ = [
    "Manifests",
    "Namespace",
    "NodeManifest",
    "Parsed",
    "PodManifest",
    "load_manifests",
    "parse_object",
    "parse_objects",
    "read_manifests",
]
