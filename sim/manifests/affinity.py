"""podAffinity and podAntiAffinity from manifests, with the checks of the API server.

pkg/apis/core/validation validatePodAffinityTerm, validateMatchLabelKeysAndMismatchLabelKeys;
pkg/registry/core/pod/strategy.go, which writes the label keys into the selector (v1.34.1).
"""

from __future__ import annotations

import re

from sim.labels import Labels, Requirement, is_label_key
from sim.manifests.value import Value
from sim.podspec import PodAffinity, PodAffinityTerm, WeightedPodAffinityTerm

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NAMESPACE = re.compile(r"(?=.{1,63}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)


def parse_pod_affinity(
    affinity: Value, labels: Labels, *, stored: bool = False
) -> PodAffinity | None:
    """What `affinity` of a pod with these labels says of other pods; None for nothing.

    In a `stored` object the selectors already hold what the label keys add to them.
    """
    near, far = affinity.get("podAffinity"), affinity.get("podAntiAffinity")
    near.mapping()
    far.mapping()
    checked = None if stored else labels
    found = PodAffinity(
        required=_required(near, checked),
        anti_required=_required(far, checked),
        preferred=_preferred(near, checked),
        anti_preferred=_preferred(far, checked),
    )
    return found if found != PodAffinity() else None


def _required(value: Value, labels: Labels | None) -> tuple[PodAffinityTerm, ...]:
    return tuple(_term(item, labels) for item in value.get(REQUIRED).items())


def _preferred(value: Value, labels: Labels | None) -> tuple[WeightedPodAffinityTerm, ...]:
    found = []
    for item in value.get(PREFERRED).items():
        item.mapping()
        weight, term = item.get("weight"), item.get("podAffinityTerm")
        if not weight:
            weight.wrong("a weight from 1 to 100")
        number = weight.integer(1, least=1, most=100)
        found.append(WeightedPodAffinityTerm(number, _term(term, labels)))
    return tuple(found)


def _term(value: Value, labels: Labels | None) -> PodAffinityTerm:
    value.mapping()
    key = value.get("topologyKey").required_text()
    if key:
        _check_key(value.get("topologyKey"))
    selector, same = value.get("labelSelector"), value.get("matchLabelKeys")
    found = selector.selector()
    if found is not None and labels is not None:
        _check_apart_from(same, found.requirements, labels)
    return PodAffinityTerm(
        topology_key=key,
        selector=found,
        namespaces=_namespaces(value.get("namespaces")),
        namespace_selector=value.get("namespaceSelector").selector(),
        match_label_keys=_label_keys(same, selector),
        mismatch_label_keys=_label_keys(value.get("mismatchLabelKeys"), selector, others=same),
    )


def _namespaces(value: Value) -> tuple[str, ...]:
    for item in value.items():
        if isinstance(item.raw, str) and not _NAMESPACE.fullmatch(item.raw):
            item.wrong("the name of a namespace: at most 63 lower-case letters, digits and '-'")
    return value.texts()


def _label_keys(value: Value, selector: Value, *, others: Value | None = None) -> tuple[str, ...]:
    """Keys of labels; they need a selector to add to, and none may stand in `others` as well."""
    if value.items() and not selector:
        value.problem("stands beside no labelSelector; expected one that it narrows")
    taken = others.texts() if others is not None else ()
    for item in value.items():
        _check_key(item)
        if item.raw in taken:
            item.wrong("a label that matchLabelKeys does not name")
    return value.texts()


def _check_key(value: Value) -> None:
    if isinstance(value.raw, str) and not is_label_key(value.raw):
        value.wrong("a label key such as 'app' or 'a.io/app'")


def _check_apart_from(keys: Value, requirements: tuple[Requirement, ...], labels: Labels) -> None:
    """A label that matchLabelKeys pins to the pod's own value needs no expression of its own."""
    named = {requirement.key for requirement in requirements}
    for item in keys.items():
        if item.raw in named and item.raw in labels:
            item.wrong("a label that labelSelector does not name")
