"""Manifests: what objects become, the API server's defaults, and what it would refuse."""

import copy
import subprocess
import sys

import pytest
import yaml

from sim.errors import ScenarioError
from sim.labels import Requirement, Selector
from sim.manifests import (
    Namespace,
    NodeManifest,
    load_manifests,
    parse_object,
    parse_objects,
    read_manifests,
)
from sim.podspec import Hook, HostPort, Probe, SpreadConstraint, Taint, Toleration
from sim.workloads import Job, PodDisruptionBudget, PriorityClass, Service

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {team: a}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations: {note: hello}
    spec:
      containers:
      - name: web
        image: web:1
        resources:
          requests: {cpu: 250m, memory: 64Mi}
          limits: {memory: 128Mi, ephemeral-storage: 1Gi}
"""


def changed(text=DEPLOYMENT, /, **paths):
    """The object with values at paths such as `spec__replicas`; None takes the value away."""
    raw = yaml.safe_load(text)
    for path, value in paths.items():
        put(raw, path.split("__"), value)
    return raw


def put(raw, path, value):
    for step in path[:-1]:
        raw = raw[int(step)] if isinstance(raw, list) else raw.setdefault(step, {})
    if value is None:
        raw.pop(path[-1], None)
    else:
        raw[path[-1]] = value


def a_pod(container=None, /, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"} | (container or {})], **spec},
    }


def spec_of(raw, **options):
    return parse_object(raw, **options).template.spec


def refusals(raw):
    with pytest.raises(ScenarioError) as caught:
        parse_object(raw)
    return [str(problem) for problem in caught.value.problems]


# --- what objects become


def test_a_deployment_has_the_defaults_of_the_api():
    found = parse_object(changed())
    assert (found.namespace, found.name, found.replicas) == ("shop", "web", 1)
    assert (found.strategy, found.max_surge, found.max_unavailable) == (
        "RollingUpdate",
        "25%",
        "25%",
    )
    assert found.selector == Selector((Requirement("app", "In", ("web",)),))
    assert found.labels == {"team": "a"}
    assert found.template.labels == {"app": "web"}
    assert found.template.annotations == {"note": "hello"}
    spec = found.template.spec
    assert (spec.restart_policy, spec.termination_grace_ms) == ("Always", 30_000)
    assert (spec.scheduler_name, spec.priority) == ("default-scheduler", 0)


def test_a_missing_request_takes_the_limit_of_its_own_resource():
    (container,) = parse_object(changed()).template.spec.containers
    assert container.requests == {"cpu": 250, "memory": 64 << 20, "ephemeral-storage": 1 << 30}
    assert container.limits == {"memory": 128 << 20, "ephemeral-storage": 1 << 30}


def test_numbers_of_a_deployment_are_read():
    found = parse_object(
        changed(
            spec__replicas=7,
            spec__minReadySeconds=5,
            spec__paused=True,
            spec__strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 2}},
        )
    )
    assert (found.replicas, found.min_ready_ms, found.paused) == (7, 5000, True)
    assert (found.strategy, found.max_surge) == ("Recreate", 2)


def test_probes_have_the_defaults_of_the_api():
    probe = {"tcpSocket": {"port": 80}}
    (container,) = spec_of(
        a_pod(
            {
                "readinessProbe": probe,
                "livenessProbe": {
                    "exec": {},
                    "periodSeconds": 0,
                    "terminationGracePeriodSeconds": 4,
                },
                "startupProbe": {
                    "grpc": {"port": 1},
                    "initialDelaySeconds": 3,
                    "periodSeconds": 7,
                    "timeoutSeconds": 2,
                    "failureThreshold": 30,
                },
            }
        )
    ).containers
    assert container.readiness == Probe("tcpSocket", 0, 10_000, 1_000, 1, 3)
    assert container.liveness == Probe("exec", period_ms=10_000, termination_grace_ms=4_000)
    assert container.startup == Probe("grpc", 3_000, 7_000, 2_000, 1, 30)


def test_init_containers_that_restart_always_are_sidecars():
    init = [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}]
    spec = spec_of(a_pod(initContainers=init))
    assert [container.sidecar for container in spec.init_containers] == [False, True]


def test_pods_tolerate_unready_nodes_for_300_seconds_by_default():
    own = [
        {
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "tolerationSeconds": 5,
            "effect": "NoExecute",
        }
    ]
    ready = Toleration("node.kubernetes.io/not-ready", "Exists", "", "NoExecute", 300)
    unreachable = Toleration("node.kubernetes.io/unreachable", "Exists", "", "NoExecute", 300)
    assert spec_of(a_pod()).tolerations == (ready, unreachable)
    assert spec_of(a_pod(tolerations=own)).tolerations[1:] == (ready,)
    assert len(spec_of(a_pod(tolerations=[{"operator": "Exists"}])).tolerations) == 1
    assert spec_of(a_pod(), admit=False).tolerations == ()


def test_host_ports_follow_the_container_ports_on_the_host_network():
    ports = [{"containerPort": 80}, {"containerPort": 90, "hostPort": 91, "hostIP": "10.0.0.1"}]
    assert spec_of(a_pod({"ports": ports})).host_ports == (HostPort(91, "TCP", "10.0.0.1"),)
    on_host = spec_of(a_pod({"ports": ports[:1]}, hostNetwork=True))
    assert on_host.host_ports == (HostPort(80),)


def test_pod_level_requests_default_to_the_containers_sum_then_to_the_limit():
    container = {"resources": {"requests": {"cpu": "100m"}}}
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    spec = spec_of(a_pod(container, resources=limits))
    assert spec.pod_requests == {"cpu": 100, "memory": 1 << 30}
    only_requests = spec_of(a_pod(container, resources={"requests": {"memory": "1Gi"}}))
    assert only_requests.pod_requests == {"memory": 1 << 30}


def test_node_affinity_and_spreading_are_read():
    spec = spec_of(
        a_pod(
            nodeSelector={"disk": "ssd"},
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["4"]}]}
                        ]
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 7,
                            "preference": {
                                "matchFields": [
                                    {"key": "metadata.name", "operator": "In", "values": ["n1"]}
                                ]
                            },
                        }
                    ],
                }
            },
            topologySpreadConstraints=[
                {
                    "topologyKey": "zone",
                    "maxSkew": 2,
                    "whenUnsatisfiable": "DoNotSchedule",
                    "minDomains": 3,
                    "labelSelector": {"matchLabels": {"app": "web"}},
                    "matchLabelKeys": ["rev"],
                }
            ],
        )
    )
    assert spec.node_selector == {"disk": "ssd"}
    (term,) = spec.required_affinity
    assert term.expressions == (Requirement("n", "Gt", ("4",)),)
    (preferred,) = spec.preferred_affinity
    assert preferred.weight == 7
    assert preferred.term.fields == (Requirement("metadata.name", "In", ("n1",)),)
    selector = Selector.of({"app": "web"})
    assert spec.spread == (
        SpreadConstraint("zone", 2, "DoNotSchedule", selector, 3, match_label_keys=("rev",)),
    )


def test_a_spread_constraint_without_selector_matches_nothing():
    raw = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
    assert spec_of(a_pod(topologySpreadConstraints=[raw])).spread[0].selector is None


def test_a_pod_keeps_its_owner_its_node_and_its_times():
    pod = parse_object(
        a_pod(nodeName="n1")
        | {
            "metadata": {
                "name": "p",
                "creationTimestamp": "2025-10-01T12:00:00Z",
                "ownerReferences": [
                    {"kind": "Node", "name": "n1"},
                    {"kind": "ReplicaSet", "name": "web-1", "controller": True},
                ],
            },
            "status": {
                "phase": "Running",
                "startTime": "2025-10-01T12:00:01Z",
                "nominatedNodeName": "n2",
            },
        }
    )
    assert (pod.namespace, pod.node_name, pod.phase) == ("default", "n1", "Running")
    assert (pod.owner_kind, pod.owner_name) == ("ReplicaSet", "web-1")
    assert (pod.created, pod.started) == ("2025-10-01T12:00:00Z", "2025-10-01T12:00:01Z")
    assert pod.nominated_node == "n2"


def test_a_node_is_read():
    node = parse_object(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n1", "labels": {"zone": "a"}},
            "spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoExecute"}]},
            "status": {
                "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110"},
                "allocatable": {"cpu": "3920m"},
                "images": [{"names": ["a:1", "a@sha256:1"], "sizeBytes": 5}],
            },
        }
    )
    assert node == NodeManifest(
        "n1",
        {"zone": "a"},
        (Taint("k", "NoExecute"),),
        unschedulable=True,
        capacity={"cpu": 4000, "memory": 16 << 30, "pods": 110},
        allocatable={"cpu": 3920, "memory": 16 << 30, "pods": 110},
        images={"a:1": 5, "a@sha256:1": 5},
    )


def an_object(kind, version="v1", /, **fields):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, **fields}


def test_other_kinds_are_read():
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}
    job = parse_object(an_object("Job", "batch/v1", spec={"completions": 8, "template": pod}))
    assert isinstance(job, Job)
    assert (job.completions, job.parallelism) == (8, 1)
    assert parse_object(an_object("Namespace")) == Namespace(
        "x", {"kubernetes.io/metadata.name": "x"}
    )
    assert parse_object(an_object("Service", spec={"selector": {"a": "b"}})) == Service(
        "default", "x", Selector.of({"a": "b"})
    )
    assert parse_object(an_object("Service", spec={})).selector is None
    version = "scheduling.k8s.io/v1"
    low = parse_object(an_object("PriorityClass", version, value=-5, preemptionPolicy="Never"))
    assert low == PriorityClass("x", -5, preemption_policy="Never")


@pytest.mark.parametrize(
    ("version", "selector", "expected"),
    [
        ("policy/v1", {}, Selector()),  # an empty selector selects every pod
        ("policy/v1beta1", {}, None),  # and none in the version before
        ("policy/v1", None, None),
        ("policy/v1", {"matchLabels": {"a": "b"}}, Selector.of({"a": "b"})),
    ],
)
def test_a_disruption_budget_selects_by_its_version(version, selector, expected):
    spec = {"maxUnavailable": "25%"} | ({} if selector is None else {"selector": selector})
    found = parse_object(an_object("PodDisruptionBudget", version, spec=spec))
    assert found == PodDisruptionBudget("default", "x", expected, max_unavailable="25%")


def test_a_kind_that_is_not_modelled_is_no_object():
    assert parse_object(an_object("ConfigMap", data={"a": 1})) is None


# --- priorities


def test_the_priority_comes_from_the_class_wherever_it_stands():
    high = an_object("PriorityClass", "scheduling.k8s.io/v1", value=1000, preemptionPolicy="Never")
    (pod,) = parse_objects([a_pod(priorityClassName="x"), high]).pods
    assert (pod.template.spec.priority, pod.template.spec.priority_class) == (1000, "x")
    assert pod.template.spec.preemption_policy == "Never"


def test_the_classes_of_the_system_are_there():
    assert spec_of(a_pod(priorityClassName="system-node-critical")).priority == 2_000_001_000
    assert spec_of(a_pod(priorityClassName="system-cluster-critical")).priority == 2_000_000_000


def test_a_pod_without_class_takes_the_global_default():
    default = PriorityClass("everyday", 10, global_default=True)
    assert spec_of(a_pod(), classes=[default]).priority == 10


def test_an_unknown_class_is_refused_unless_the_number_is_given():
    (problem,) = refusals(a_pod(priorityClassName="system-node-critcal"))
    assert "Did you mean 'system-node-critical'?" in problem
    assert spec_of(a_pod(priorityClassName="gone", priority=7)).priority == 7


# --- what the API server refuses

WRONG = {
    "a negative number of replicas": (
        changed(spec__replicas=-1),
        "expected a whole number of at least 0",
    ),
    "text for a number": (changed(spec__replicas="3"), "got '3'; expected a whole number"),
    "half a replica": (changed(spec__replicas=1.5), "got 1.5; expected a whole number"),
    "true for a number": (changed(spec__replicas=True), "got true; expected a whole number"),
    "no name": (changed(metadata__name=None), "metadata.name: is missing"),
    "a name in upper case": (changed(metadata__name="Web"), "got 'Web'; expected a name"),
    "no metadata": (changed(metadata=None), "metadata.name: is missing"),
    "no apiVersion": (changed(apiVersion=None), "apiVersion: is missing"),
    "no kind": (changed(kind=None), "kind: is missing"),
    "an empty selector": (changed(spec__selector={}), "a label selector that is not empty"),
    "a selector for other pods": (
        changed(spec__selector={"matchLabels": {"app": "api"}}),
        "does not match the labels of the template",
    ),
    "an unknown operator": (
        changed(
            spec__selector={
                "matchExpressions": [{"key": "app", "operator": "Is", "values": ["web"]}]
            }
        ),
        "got 'Is'; expected 'In', 'NotIn', 'Exists' or 'DoesNotExist'",
    ),
    "In without values": (
        changed(spec__selector={"matchExpressions": [{"key": "app", "operator": "In"}]}),
        "expected at least one value for In",
    ),
    "a number as a label": (
        changed(spec__template__metadata__labels={"app": "web", "v": 1.1}),
        "got 1.1; expected text. Put it in quotes.",
    ),
    "a label with a blank": (
        changed(metadata__labels={"app": "my web"}),
        "expected a label value",
    ),
    "a template that does not restart": (
        changed(spec__template__spec__restartPolicy="Never"),
        "got 'Never'; expected 'Always'",
    ),
    "no containers": (changed(spec__template__spec__containers=[]), "at least one container"),
    "a list for a mapping": (changed(spec=[1]), "spec: got a list; expected a mapping"),
    "a mapping for a list": (
        a_pod(tolerations={"a": 1}),
        "tolerations: got a mapping; expected a list",
    ),
    "a quantity in words": (
        a_pod({"resources": {"requests": {"cpu": "4 cores"}}}),
        "spec.containers[0].resources.requests.cpu: got '4 cores'; "
        "expected a quantity such as '4' or '500m'",
    ),
    "more memory than sums can hold": (
        a_pod({"resources": {"requests": {"memory": "1Ei"}}}),
        "got '1Ei'; expected at most 8Pi",
    ),
    "more cores than sums can hold": (
        a_pod({"resources": {"requests": {"cpu": "2G"}}}),
        "got '2G'; expected at most 1000000000 cores",
    ),
    "a negative request": (a_pod({"resources": {"requests": {"cpu": -1}}}), "not a negative one"),
    "a request above its limit": (
        a_pod({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}),
        "got '2'; expected at most the limit, which is '1500m'",
    ),
    "a misspelt resource": (
        a_pod({"resources": {"requests": {"memroy": "1Gi"}}}),
        "Did you mean 'memory'?",
    ),
    "a device without limit": (
        a_pod({"resources": {"requests": {"x.io/gpu": 1}}}),
        "has no limit; expected a limit of x.io/gpu",
    ),
    "fewer devices than the limit": (
        a_pod({"resources": {"requests": {"x.io/gpu": 1}, "limits": {"x.io/gpu": 2}}}),
        "the same amount as the limit",
    ),
    "two containers of one name": (
        a_pod() | {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}},
        "expected a name that no other container of the pod has",
    ),
    "a probe of two kinds": (
        a_pod({"readinessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}}),
        "expected exactly one of exec, httpGet, tcpSocket, grpc",
    ),
    "a probe of no kind": (
        a_pod({"readinessProbe": {"periodSeconds": 1}}),
        "expected exactly one of",
    ),
    "two successes of a liveness probe": (
        a_pod({"livenessProbe": {"exec": {}, "successThreshold": 2}}),
        "expected 1, as for every liveness",
    ),
    "a port that is none": (a_pod({"ports": [{"containerPort": 70000}]}), "of at most 65535"),
    "an unknown protocol": (
        a_pod({"ports": [{"containerPort": 80, "protocol": "http"}]}),
        "expected 'TCP', 'UDP' or 'SCTP'",
    ),
    "a toleration without key": (a_pod(tolerations=[{"value": "x"}]), "expected 'Exists'"),
    "a toleration with an unknown effect": (
        a_pod(tolerations=[{"key": "a", "effect": "NoScheduled"}]),
        "Did you mean 'NoSchedule'?",
    ),
    "seconds without NoExecute": (
        a_pod(tolerations=[{"key": "a", "operator": "Exists", "tolerationSeconds": 3}]),
        "expected 'NoExecute', since tolerationSeconds is set",
    ),
    "a spread without its skew": (
        a_pod(
            topologySpreadConstraints=[{"topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}]
        ),
        "maxSkew: is missing",
    ),
    "a preference without weight": (
        a_pod(
            affinity={
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"preference": {}}]
                }
            }
        ),
        "weight: is missing; expected a weight from 1 to 100",
    ),
    "required affinity without terms": (
        a_pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
        "expected at least one term",
    ),
    "a Job that restarts always": (
        an_object("Job", "batch/v1", spec={"template": a_pod()}),
        "expected 'OnFailure' or 'Never'",
    ),
    "a budget with both limits": (
        an_object(
            "PodDisruptionBudget", "policy/v1", spec={"minAvailable": 1, "maxUnavailable": 1}
        ),
        "expected one of the two",
    ),
    "a budget that is text": (
        an_object("PodDisruptionBudget", "policy/v1", spec={"minAvailable": "half"}),
        "expected a whole number or a percentage",
    ),
    "a class above those of users": (
        an_object("PriorityClass", "scheduling.k8s.io/v1", value=2_000_000_000),
        "of at most 1000000000",
    ),
    "an object that is a list": ([1], "expected an object with apiVersion and kind"),
}


@pytest.mark.parametrize(("raw", "message"), WRONG.values(), ids=WRONG)
def test_what_kubernetes_refuses_is_a_problem_with_what_was_expected(raw, message):
    problems = refusals(raw)
    assert any(message in problem for problem in problems), problems


def test_a_refused_object_is_left_as_it_was():
    raw = changed(spec__replicas=-1)
    before = copy.deepcopy(raw)
    refusals(raw)
    assert raw == before


# --- files


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_all_problems_of_all_files_are_found_at_once_with_their_lines(tmp_path):
    bad = DEPLOYMENT.replace("250m", "4 cores").replace("kind: Deployment", "kind: Deployment  # x")
    write(tmp_path, a_yaml=bad, b_yaml=DEPLOYMENT + "  replicas: -3\n", c_yaml="a: [1\n")
    with pytest.raises(ScenarioError) as caught:
        load_manifests([tmp_path])
    a, b, c = (str(problem) for problem in caught.value.problems)
    field = "spec.template.spec.containers[0].resources.requests.cpu"
    assert a.startswith(f"{tmp_path}/a.yaml:15:27: {field}: got '4 cores'; expected a quantity")
    assert b.startswith(f"{tmp_path}/b.yaml:17:13: spec.replicas: got -3; expected a whole number")
    assert c.startswith(f"{tmp_path}/c.yaml:2:1: not valid YAML")


def test_directories_are_searched_in_the_order_of_names(tmp_path):
    def pod(name):
        return DEPLOYMENT.replace("name: web, ", f"name: {name}, ")

    write(tmp_path, b_yml=pod("b"), a_yaml=pod("a"), sub__c_yaml=pod("c"), notes_txt="x: [")
    found = load_manifests([tmp_path])
    assert [deployment.name for deployment in found.deployments] == ["a", "b", "c"]


def test_a_directory_without_manifests_is_a_problem(tmp_path):
    with pytest.raises(ScenarioError, match="holds no file that ends with"):
        load_manifests([tmp_path])


def test_a_scenario_among_manifests_is_passed_over_in_a_directory_but_refused_by_name(tmp_path):
    write(tmp_path, a_yaml=DEPLOYMENT, s_yaml="apiVersion: sim/v1\nkind: Scenario\n")
    assert len(load_manifests([tmp_path]).deployments) == 1
    with pytest.raises(ScenarioError, match="is a scenario; expected manifests"):
        load_manifests([tmp_path / "s.yaml"])


def test_lists_and_dumps_are_opened_and_their_items_typed_by_the_list():
    untyped = a_pod()
    del untyped["kind"], untyped["apiVersion"]
    found = parse_objects(
        [
            {"kind": "List", "apiVersion": "v1", "items": [changed(), a_pod()]},
            {
                "kind": "PodList",
                "apiVersion": "v1",
                "items": [untyped | {"metadata": {"name": "q"}}],
            },
        ]
    )
    assert [pod.name for pod in found.pods] == ["p", "q"]
    assert found.by_kind == {"Deployment": 1, "Pod": 2}


def test_a_problem_in_a_list_has_the_place_of_its_item(tmp_path):
    text = (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {}\n"
    )
    path = write(tmp_path, a_yaml=text) / "a.yaml"
    (problem,) = read_manifests([path])[1]
    assert str(problem).startswith(f"{path}:6:13: items[0].metadata.name: is missing")


def test_the_later_object_of_a_name_replaces_the_earlier_as_apply_does():
    found = parse_objects([changed(spec__replicas=1), changed(spec__replicas=5)])
    assert [deployment.replicas for deployment in found.deployments] == [5]
    assert "Deployment shop/web replaces the one" in found.warnings[0].message


# --- what is not modelled

POD_SPEC = "Deployment spec.template.spec."
MISSING = {
    "a network file system": (
        "volumes",
        [{"name": "d", "nfs": {"server": "files", "path": "/"}}],
        "volumes[].nfs",
    ),
    "a folder of the host": (
        "volumes",
        [{"name": "d", "hostPath": {"path": "/"}}],
        "volumes[].hostPath",
    ),
    "a deadline": ("activeDeadlineSeconds", 5, "activeDeadlineSeconds"),
    "a runtime class": ("runtimeClassName", "gvisor", "runtimeClassName"),
    "harmless volumes": ("volumes", [{"name": "c", "configMap": {"name": "c"}}], None),
    "a security context": ("securityContext", {"runAsUser": 1}, None),
}


@pytest.mark.parametrize(("field", "value", "listed"), MISSING.values(), ids=MISSING)
def test_a_field_is_listed_when_it_is_not_modelled_and_could_matter(field, value, listed):
    found = parse_objects([changed(**{f"spec__template__spec__{field}": value})])
    assert dict(found.unmodelled_fields) == ({POD_SPEC + listed: 1} if listed else {})


def test_fields_of_containers_are_listed_with_their_number():
    rules = {"restartPolicyRules": [{"action": "Restart"}]}
    pod = a_pod(rules)
    pod["spec"]["initContainers"] = [{"name": "i", **rules}, {"name": "j", **rules}]
    found = parse_objects([pod])
    assert found.unmodelled_fields == {
        "Pod spec.containers[].restartPolicyRules": 1,
        "Pod spec.initContainers[].restartPolicyRules": 2,
    }


@pytest.mark.parametrize(
    ("hook", "value"),
    [
        pytest.param({"sleep": {"seconds": 5}}, Hook("sleep", 5_000), id="sleep"),
        pytest.param({"exec": {"command": ["nginx", "-s", "quit"]}}, Hook("exec"), id="exec"),
        pytest.param({"httpGet": {"port": 80}}, Hook("httpGet"), id="httpGet"),
    ],
)
def test_lifecycle_hooks_are_read(hook, value):
    found = parse_objects([a_pod({"lifecycle": {"preStop": hook, "postStart": hook}})])
    [container] = found.pods[0].template.spec.containers
    assert (container.pre_stop, container.post_start) == (value, value)
    assert not found.unmodelled_fields


def test_a_hook_has_one_handler():
    hook = {"sleep": {"seconds": 5}, "exec": {"command": ["true"]}}
    with pytest.raises(ScenarioError, match="exactly one of sleep, exec, httpGet, tcpSocket"):
        parse_objects([a_pod({"lifecycle": {"preStop": hook}})])


def test_values_that_are_the_default_are_not_listed():
    spec = {"selector": {"a": "b"}, "sessionAffinity": "None", "externalTrafficPolicy": "Cluster"}
    assert not parse_objects([an_object("Service", spec=spec)]).unmodelled_fields
    spec["sessionAffinity"] = "ClientIP"
    listed = parse_objects([an_object("Service", spec=spec)]).unmodelled_fields
    assert listed == {"Service spec.sessionAffinity": 1}


def test_min_ready_seconds_are_listed_since_nothing_waits_for_them():
    assert parse_objects([changed(spec__minReadySeconds=0)]).unmodelled_fields == {}
    found = parse_objects([changed(spec__minReadySeconds=10)])
    assert found.unmodelled_fields == {"Deployment spec.minReadySeconds": 1}


def test_the_back_off_limit_of_a_job_is_read_and_listed_where_restarts_in_place_count():
    pod = {"restartPolicy": "Never", "containers": [{"name": "main"}]}
    raw = an_object("Job", "batch/v1", spec={"template": {"spec": pod}})
    assert parse_objects([raw]).jobs[0].backoff_limit == 6
    raw["spec"]["backoffLimit"] = 2
    found = parse_objects([raw])
    assert (found.jobs[0].backoff_limit, found.unmodelled_fields) == (2, {})
    pod["restartPolicy"] = "OnFailure"
    assert parse_objects([raw]).unmodelled_fields == {
        "Job spec.backoffLimit (restartPolicy OnFailure)": 1
    }


def test_a_misspelt_field_is_listed_with_the_nearest_name_and_its_place(tmp_path):
    path = write(tmp_path, a_yaml=DEPLOYMENT + "  replica: 3\n") / "a.yaml"
    found = load_manifests([path])
    assert found.unmodelled_fields == {"Deployment spec.replica": 1}
    (warning,) = found.warnings
    assert str(warning).startswith(f"{path}:17:3: Deployment spec.replica: ")
    assert warning.hint == "Did you mean 'replicas'?"


def test_kinds_that_are_not_modelled_are_counted_and_harmless_ones_are_not():
    found = parse_objects(
        [
            an_object("ConfigMap"),
            an_object("HorizontalPodAutoscaler", "autoscaling/v2"),
            an_object("HorizontalPodAutoscaler", "autoscaling/v2"),
            an_object("Service", "serving.knative.dev/v1"),
        ]
    )
    assert found.services == []
    assert found.unmodelled_kinds == {
        "HorizontalPodAutoscaler": 2,
        "Service.serving.knative.dev": 1,
    }


def test_the_part_of_an_overlay_is_left_out_and_named():
    patch = changed(spec__selector=None, spec__template={"spec": {"nodeSelector": {"a": "b"}}})
    found = parse_objects([patch])
    assert found.deployments == []
    assert found.unmodelled_kinds == {"Deployment (incomplete)": 1}


def test_a_workload_without_selector_takes_the_labels_of_its_template():
    found = parse_objects([changed(spec__selector=None)])
    assert found.deployments[0].selector == Selector.of({"app": "web"})
    assert "the template's labels are taken" in found.warnings[0].message


def test_the_template_of_a_kind_that_is_not_run_is_checked_nevertheless():
    raw = changed(
        kind="StatefulSet", spec__template__spec__containers=[{"name": "c", "resources": 5}]
    )
    assert "expected a mapping" in refusals(raw)[0]


def test_objects_taken_as_stored_may_lack_what_admission_would_want():
    raw = changed(kind="ReplicaSet", spec__template=None)
    found = parse_objects([raw], admit=False)
    assert found.replica_sets[0].selector == Selector.of({"app": "web"})


def test_loading_needs_neither_numpy_nor_pandas():
    code = "import sys, sim.validate; print('numpy' in sys.modules or 'pandas' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
