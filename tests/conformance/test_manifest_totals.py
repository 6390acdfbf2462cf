"""Every manifest of the shared data loads, and adds up to the totals that were computed elsewhere.

`sample/totals.yaml` is a small file of ours with totals worked out by hand.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from sim.manifests import load_manifests
from sim.validate import validate_paths

SAMPLE = Path(__file__).parent / "sample" / "totals.yaml"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared"))
MANIFESTS = SHARED / "data" / "manifests"
EXPECTED = SHARED / "data" / "expected" / "manifest-totals.yaml"
FILES = sorted(
    str(path.relative_to(MANIFESTS))
    for path in MANIFESTS.rglob("*")
    if path.suffix in (".yaml", ".json")
)

# What is odd about published files, each looked at by hand. Two are parts of Kustomize overlays: a
# base whose labels and selector the overlay adds, and a patch that names no container. The third
# has a ReplicaSet without selector, which only the API before apps/v1 took.
ODD = {
    "metrics-server/base.yaml": ["a Deployment without selector is part of an overlay"],
    "metrics-server/high-availability.yaml": [
        "a Deployment without selector is part of an overlay"
    ],
    "open-simulator/app-simple.yaml": ["the template's labels are taken"],
}


def test_totals_of_the_sample():
    (report,) = validate_paths([SAMPLE])
    assert report.problems == ()
    assert report.objects == {"CronJob": 1, "DaemonSet": 1, "Deployment": 1, "Job": 1, "Pod": 1}
    assert report.totals == {
        # Deployment 3 + Job parallelism 2 + Pod 1; a CronJob starts none by itself
        "pods_excluding_daemonsets": 6,
        # Deployment 3 × (250m + 100m, a limit that stands for the request) + Job 2 × 1 + Pod 0
        "cpu_requests_cores": 3.05,
        # Deployment 3 × (64 Mi + 32 Mi) + Job 2 × 0.5 Gi
        "memory_requests_mib": 1312.0,
        # Deployment 3 × 100m; the others have no cpu limit
        "cpu_limits_cores": 0.3,
        # Deployment 3 × 32 Mi
        "memory_limits_mib": 96.0,
        "besteffort_pods": 1,
        "daemonset_pods_per_node": 1,
        "livenessProbe": 1,
        "readinessProbe": 2,
        "workloads_with_pod_anti_affinity": 1,
        "workloads_with_tolerations": 1,
        "workloads_with_topology_spread": 1,
    }


@pytest.mark.parametrize("file", FILES)
def test_file_loads_with_its_totals(file):
    (report,) = validate_paths([MANIFESTS / file])
    assert report.problems == ()
    expected = yaml.safe_load(EXPECTED.read_text())["files"].get(file, {})
    assert report.totals == expected


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_odd_about_a_file_but_what_was_looked_at(file):
    (report,) = validate_paths([MANIFESTS / file])
    odd = ODD.get(file, [])
    assert len(report.warnings) == len(odd)
    for warning, text in zip(report.warnings, odd, strict=True):
        assert text in warning.message


def test_all_files_load_together(shared):
    manifests = load_manifests([shared / "data" / "manifests"])
    assert manifests.by_kind["Pod"] == 58  # as the list of the files counts them
    assert len(FILES) == 57
