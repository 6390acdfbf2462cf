"""Whatever a file holds, loading it ends in objects or in problems with a place."""

import copy
import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.labels import Selector
from sim.manifests import parse_objects, read_manifests
from sim.units import amount, cpu_m, duration_ms, parse_quantity, percent
from sim.validate import validate_paths
from sim.yamls import parse_documents

DIALECTS = st.sampled_from(["manifest", "scenario"])

# One object of each kind that is modelled, with every field that is read.
OBJECTS = list(
    yaml.safe_load_all("""
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}
spec: {unschedulable: false, taints: [{key: k, value: v, effect: NoSchedule}]}
status:
  capacity: {cpu: "4", memory: 16Gi, pods: "110"}
  allocatable: {cpu: 3920m, memory: 14Gi, pods: "110"}
  images: [{names: [a:1], sizeBytes: 100}]
---
apiVersion: v1
kind: Pod
metadata:
  name: p
  creationTimestamp: "2025-10-01T12:00:00Z"
  ownerReferences: [{kind: ReplicaSet, name: r, controller: true}]
spec:
  nodeName: n1
  nodeSelector: {a: b}
  priorityClassName: high
  preemptionPolicy: Never
  overhead: {cpu: 5m}
  resources: {requests: {cpu: 1}, limits: {cpu: 2}}
  schedulingGates: [{name: g}]
  hostNetwork: true
  restartPolicy: Always
  terminationGracePeriodSeconds: 5
  tolerations: [{key: k, operator: Equal, value: v, effect: NoExecute, tolerationSeconds: 5}]
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: zone
    whenUnsatisfiable: DoNotSchedule
    minDomains: 2
    nodeAffinityPolicy: Ignore
    nodeTaintsPolicy: Honor
    matchLabelKeys: [rev]
    labelSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [b]}]}
  affinity:
    podAffinity: {}
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions: [{key: n, operator: Gt, values: ["4"]}]
          matchFields: [{key: metadata.name, operator: In, values: [n1]}]
      preferredDuringSchedulingIgnoredDuringExecution:
      - {weight: 5, preference: {matchExpressions: [{key: n, operator: Exists}]}}
  initContainers: [{name: i, restartPolicy: Always, resources: {limits: {cpu: 1}}}]
  containers:
  - name: c
    image: i
    ports: [{containerPort: 80, hostPort: 80, hostIP: 10.0.0.1, protocol: TCP}]
    resources: {requests: {cpu: 1, x.io/gpu: 1}, limits: {cpu: 1.5, x.io/gpu: 1}}
    livenessProbe: {exec: {command: [a]}, initialDelaySeconds: 1, periodSeconds: 2}
    readinessProbe: {httpGet: {port: 80}, timeoutSeconds: 1, successThreshold: 2}
    startupProbe: {tcpSocket: {port: 80}, failureThreshold: 30, terminationGracePeriodSeconds: 3}
  volumes: [{name: v, hostPath: {path: /}}]
status: {phase: Running, startTime: "2025-10-01T12:00:01Z", nominatedNodeName: n2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: s, labels: {a: b}}
spec:
  replicas: 3
  minReadySeconds: 2
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 1}}
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}, annotations: {x: y}}
    spec: {containers: [{name: c}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r, ownerReferences: [{kind: Deployment, name: d, controller: true}]}
spec:
  replicas: 3
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {generateName: j-}
spec:
  completions: 3
  parallelism: 2
  template: {spec: {restartPolicy: Never, containers: [{name: c}]}}
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {selector: {a: b}, publishNotReadyAddresses: true, sessionAffinity: ClientIP}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: b}
spec: {maxUnavailable: 50%, selector: {matchLabels: {a: b}}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 100
globalDefault: true
---
apiVersion: v1
kind: Namespace
metadata: {name: s, labels: {team: a}}
---
apiVersion: v1
kind: PodList
items: [{metadata: {name: q}, spec: {containers: [{name: c}]}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec: {template: {spec: {containers: [{name: c}]}}}
""")
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**31, 2**63, -1, 1e30, 10**400, "", "1Gi", "25%", "Always", "x" * 300, "\0"]),
    st.text(max_size=10),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """The path of every value inside `value`."""
    entries = value.items() if isinstance(value, dict) else ()
    for step, below in enumerate(value) if isinstance(value, list) else entries:
        yield (*path, step)
        yield from places(below, (*path, step))


@st.composite
def mutated(draw):
    """The objects with up to three values deleted, renamed, copied over another or retyped."""
    objects = copy.deepcopy(OBJECTS)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(objects))
        path = draw(st.sampled_from(found))
        parent = at(objects, path[:-1])
        how = draw(st.sampled_from(["delete", "rename", "retype", "swap"]))
        if how == "delete":
            del parent[path[-1]]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(st.text(max_size=10))] = parent.pop(path[-1])
        elif how == "swap":
            parent[path[-1]] = copy.deepcopy(at(objects, draw(st.sampled_from(found))))
        else:
            parent[path[-1]] = draw(VALUES)
    return objects


def at(value, path):
    for step in path:
        value = value[step]
    return value


def test_the_objects_are_right_before_they_are_mutated():
    found = parse_objects(OBJECTS)
    assert found.by_kind.total() == len(OBJECTS)
    assert found.warnings == []


@given(mutated())
def test_mutated_manifests_end_in_objects_or_in_problems(objects):
    problems = outcome(parse_objects, objects)
    assert all(problem.message for problem in problems)


def outcome(parse, value):
    """The problems with `value`, [] when there are none."""
    try:
        parse(value)
    except ScenarioError as error:
        assert error.problems  # noqa: PT017 - a success has no error to look at
        return error.problems
    return []


@given(mutated())
def test_mutated_files_are_reported_with_places_inside_the_file(tmp_path_factory, objects):
    text = yaml.safe_dump_all(objects, allow_unicode=True)
    path = tmp_path_factory.mktemp("fuzz") / "a.yaml"
    path.write_text(text, encoding="utf-8")
    (report,) = validate_paths([path])
    assert report.as_text()
    assert report.as_dict()["file"] == str(path)
    lines = text.count("\n") + 1
    for problem in read_manifests([path])[1]:
        assert problem.position.file == str(path)
        assert problem.position.line <= lines


@given(st.binary(max_size=200), DIALECTS)
def test_any_bytes_are_documents_or_problems(content, dialect):
    documents, problems = parse_documents(content, "f", dialect=dialect)
    assert all(document.data is not None for document in documents)
    assert all(problem.message for problem in problems)


YAML_PIECES = st.lists(
    st.sampled_from(
        [
            *("a", "b: ", "- ", "\n", "  ", "{", "}", "[", "]", ", ", ": ", "&x ", "*x", "<<: "),
            *("? ", "|\n", "'", '"', "!!int ", "!t ", "---\n", "...\n", "#", "0755", "1e3"),
            *(".inf", "~", "%", "\t", "é"),
        ]
    ),
    max_size=30,
).map("".join)


@given(YAML_PIECES, DIALECTS)
def test_any_text_like_yaml_is_documents_or_problems(text, dialect):
    documents, _ = parse_documents(text, "f", dialect=dialect)
    for document in documents:
        assert document.position("a", 0, "b").line >= 1


@given(st.dictionaries(st.text(max_size=8), VALUES, min_size=1, max_size=4))
def test_json_is_read_as_python_reads_it_with_a_place_for_every_value(value):
    text = json.dumps(value)
    (document,), problems = parse_documents(text, "f", dialect="manifest")
    assert problems == []
    assert document.data == json.loads(text)
    assert all(document.position(*path).file == "f" for path in places(value))


@given(st.text(max_size=12) | SCALARS)
def test_any_value_is_a_number_of_a_unit_or_a_value_error(value):
    for parse in (cpu_m, amount, duration_ms, percent, parse_quantity, Selector.parse):
        if parse == Selector.parse and not isinstance(value, str):
            continue
        try:
            parse(value)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017 - most values are no error
