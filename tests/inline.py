"""Scenarios and manifests written down in a test, loaded as if they stood in files."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from sim.scenario import Scenario

CALM = {  # nothing takes time on a node
    "startup": "0s",
    "watchDelay": "0s",
    "imagePull": "0s",
    "shutdown": "0s",
}


def a_scenario(objects=(), files=None, **sections):
    """A scenario of one hour with these sections; `objects` are its manifests."""
    data = {
        "apiVersion": "sim/v1",
        "kind": "Scenario",
        "metadata": {"name": "inline"},
        "run": {"duration": "1h"},
        **sections,
    }
    contents = dict(files or {})
    if objects:
        data["manifests"] = ["objects.json"]
        contents["objects.json"] = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    with TemporaryDirectory() as folder:
        for name, content in contents.items():
            Path(folder, name).write_text(json.dumps(content), encoding="utf-8")
        return Scenario.from_dict(data, folder)


def a_pool(count=1, *, cpu=4, memory="16Gi", **more):
    """A pool of nodes that keep nothing for themselves."""
    return {"pool": "pool", "count": count, "capacity": {"cpu": cpu, "memory": memory}, **more}


def a_pod_spec(cpu="100m", memory="64Mi", *, container=None, **spec):
    """A pod specification with one container."""
    requests = {"cpu": cpu, "memory": memory}
    main = {"name": "main", "image": "main:1", "resources": {"requests": requests}}
    return {"containers": [main | (container or {})], **spec}


def a_deployment(name="web", replicas=1, *, labels=None, metadata=None, **pod):
    """A Deployment whose pods carry the label app=name."""
    labels = {"app": name, **(labels or {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels, **(metadata or {})},
                "spec": a_pod_spec(**pod),
            },
        },
    }


def a_job(name="work", *, completions=1, parallelism=1, **pod):
    """A Job whose pods are not restarted in place."""
    pod.setdefault("restartPolicy", "Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completions": completions,
            "parallelism": parallelism,
            "template": {"metadata": {"labels": {"app": name}}, "spec": a_pod_spec(**pod)},
        },
    }


def a_bare_pod(name="bare", *, labels=None, **pod):
    """A pod that nothing owns."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {"app": name}},
        "spec": a_pod_spec(**pod),
    }


def a_service(name="web"):
    """A Service in front of the pods with the label app=name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }


def a_budget(name="web", **spec):
    """A PodDisruptionBudget for the pods with the label app=name."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, **spec},
    }
