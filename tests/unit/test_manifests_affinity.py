"""Inter-pod affinity in manifests: what it becomes, and what the API server refuses."""

from __future__ import annotations

import pytest

from sim.errors import ScenarioError
from sim.labels import Requirement, Selector
from sim.manifests import parse_object, parse_objects
from sim.podspec import PodAffinity, PodAffinityTerm, WeightedPodAffinityTerm

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
ZONE = "topology.kubernetes.io/zone"
WEB = {"matchLabels": {"app": "web"}}
TERM = {"topologyKey": ZONE, "labelSelector": WEB}
PARSED = PodAffinityTerm(ZONE, Selector.of({"app": "web"}))


def a_pod(labels=None, **affinity):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": labels or {}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "affinity": affinity},
    }


def near(labels=None, **term):
    """A pod with one required affinity term."""
    return a_pod(labels, podAffinity={REQUIRED: [{**TERM, **term}]})


def rules(raw, **options):
    return parse_object(raw, **options).template.spec.pod_affinity


def test_each_of_the_four_lists_is_read():
    wishes = [{"weight": 7, "podAffinityTerm": TERM}]
    both = {REQUIRED: [TERM], PREFERRED: wishes}
    term, wish = (PARSED,), (WeightedPodAffinityTerm(7, PARSED),)
    assert rules(a_pod(podAffinity=both)) == PodAffinity(required=term, preferred=wish)
    assert rules(a_pod(podAntiAffinity=both)) == PodAffinity(
        anti_required=term, anti_preferred=wish
    )


@pytest.mark.parametrize("affinity", [{}, {"podAffinity": {}}, {"podAntiAffinity": {REQUIRED: []}}])
def test_a_pod_that_wishes_nothing_has_no_rules(affinity):
    assert rules(a_pod(**affinity)) is None


@pytest.mark.parametrize(
    ("field", "value", "name", "expected"),
    [
        ("labelSelector", None, "selector", None),
        ("labelSelector", {}, "selector", Selector()),
        ("namespaces", ["a", "b-1"], "namespaces", ("a", "b-1")),
        ("namespaceSelector", {}, "namespace_selector", Selector()),
        ("namespaceSelector", WEB, "namespace_selector", Selector.of({"app": "web"})),
        ("matchLabelKeys", ["rev"], "match_label_keys", ("rev",)),
        ("mismatchLabelKeys", ["rev", "app"], "mismatch_label_keys", ("rev", "app")),
    ],
)
def test_fields_of_a_term(field, value, name, expected):
    (term,) = rules(near(**{field: value})).required
    assert getattr(term, name) == expected


def test_everything_in_them_is_modelled():
    term = {**TERM, "namespaces": ["a"], "namespaceSelector": WEB, "matchLabelKeys": ["rev"]}
    wishes = [{"weight": 1, "podAffinityTerm": {**term, "mismatchLabelKeys": ["x"]}}]
    affinity = {REQUIRED: [term], PREFERRED: wishes}
    found = parse_objects([a_pod(podAffinity=affinity, podAntiAffinity=affinity)])
    assert dict(found.unmodelled_fields) == {}
    assert found.warnings == []


WISH = {"weight": 1, "podAffinityTerm": TERM}
PIN = {"matchLabelKeys": ["app"]}


@pytest.mark.parametrize(
    ("raw", "place", "message"),
    [
        pytest.param(
            near(topologyKey=None), "[0].topologyKey", "is missing; expected text", id="no key"
        ),
        pytest.param(near(topologyKey=""), "[0].topologyKey", "expected text", id="empty key"),
        pytest.param(
            near(topologyKey="a b"), "[0].topologyKey", "expected a label key", id="no label key"
        ),
        pytest.param(
            a_pod(podAffinity={PREFERRED: [{**WISH, "weight": 0}]}),
            "[0].weight",
            "of at least 1",
            id="weight 0",
        ),
        pytest.param(
            a_pod(podAntiAffinity={PREFERRED: [{**WISH, "weight": 101}]}),
            "podAntiAffinity",
            "of at most 100",
            id="weight 101",
        ),
        pytest.param(
            a_pod(podAffinity={PREFERRED: [{"podAffinityTerm": TERM}]}),
            "[0].weight",
            "expected a weight from 1 to 100",
            id="no weight",
        ),
        pytest.param(
            a_pod(podAffinity={PREFERRED: [{"weight": 1}]}),
            "podAffinityTerm.topologyKey",
            "is missing",
            id="no term",
        ),
        pytest.param(
            near(namespaces=["Shop"]), "namespaces[0]", "name of a namespace", id="upper case"
        ),
        pytest.param(
            near(namespaces=["a" * 64]), "namespaces[0]", "name of a namespace", id="64 letters"
        ),
        pytest.param(
            near(labelSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}),
            "labelSelector.matchExpressions[0].values",
            "at least one value",
            id="selector",
        ),
        pytest.param(
            near(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "Gt"}]}),
            "namespaceSelector.matchExpressions[0].operator",
            "expected",
            id="operator of nodes",
        ),
        pytest.param(
            near(labelSelector=None, matchLabelKeys=["rev"]),
            "matchLabelKeys",
            "no labelSelector",
            id="keys without a selector",
        ),
        pytest.param(
            near(mismatchLabelKeys=["a b"]), "mismatchLabelKeys[0]", "label key", id="not a key"
        ),
        pytest.param(
            near(matchLabelKeys=["rev"], mismatchLabelKeys=["x", "rev"]),
            "mismatchLabelKeys[1]",
            "that matchLabelKeys does not name",
            id="in both lists",
        ),
        pytest.param(
            near({"app": "web"}, **PIN),
            "matchLabelKeys[0]",
            "that labelSelector does not name",
            id="in the selector too",
        ),
        pytest.param(
            a_pod(podAffinity=[]), "podAffinity", "expected a mapping", id="list for mapping"
        ),
    ],
)
def test_what_the_api_server_refuses_is_a_problem_with_its_place(raw, place, message):
    with pytest.raises(ScenarioError) as caught:
        parse_object(raw)
    problems = [str(problem) for problem in caught.value.problems]
    assert any(place in text and message in text for text in problems), problems


def test_a_key_that_the_pod_lacks_may_stand_in_the_selector_as_nothing_is_added():
    assert rules(near({}, **PIN)).required[0].match_label_keys == ("app",)


def test_stored_pods_have_what_the_keys_added():
    stored = {"matchExpressions": [{"key": "rev", "operator": "In", "values": ["2"]}]}
    raw = near({"rev": "2"}, labelSelector=stored, matchLabelKeys=["rev"])
    (term,) = rules(raw, admit=False).required
    assert term.selector == Selector((Requirement("rev", "In", ("2",)),))
