"""Reservations of providers and the GCE kernel: the table `node_reservations`.

Rows come from the providers' documents, from amazon-eks-ami, karpenter-provider-azure and the GCE
part of kubernetes/autoscaler. `sample/node_reservations.yaml.gz` is the whole table.
"""

import gzip
import os
from pathlib import Path

import pytest
import yaml

from sim import nodes
from sim.nodes import GIB, MIB

SAMPLE = Path(__file__).parent / "sample" / "node_reservations.yaml.gz"
SHARED = Path(os.environ.get("SIM_SHARED", Path(__file__).parents[3] / "shared"))
TABLE = SHARED / "conformance" / "nodeside" / "node_reservations.yaml"

# The AKS example counts 100Mi as 100 MB and 8 GB as 8000 of them, so a "gb" is 1000 MiB here.
GB = 1000 * MIB


def answer(asked):
    """Our answer to one row, under the names of the table."""
    if "physical_memory_bytes" in asked:
        kernel_b = nodes.gce_kernel_reserved_b(
            asked["physical_memory_bytes"], asked["os"], asked["arch"]
        )
        return {"kernel_reserved_bytes": kernel_b}
    memory_b = int(asked.get("memory_gib", 0) * GIB) or asked.get("memory_gb", 16) * GB
    machine = nodes.machine(
        asked["provider"],
        cpu_m=asked.get("vcpu", 2) * 1000,
        memory_b=memory_b,
        max_pods=asked.get("max_pods"),
    )
    reservation = nodes.reservation_of(asked["provider"], machine)
    shape = nodes.shape({"cpu": machine.cpu_m, "memory": memory_b}, reservation)
    kube_b, eviction_b = reservation.kube["memory"], shape.eviction_hard_memory_b
    return {
        "kube_reserved_cpu_milli": reservation.kube["cpu"],
        "kube_reserved_memory_mib": kube_b / MIB,
        "kube_reserved_memory_mb": kube_b / MIB,
        "eviction_mib": eviction_b / MIB,
        "eviction_mb": eviction_b / MIB,
        "total_reserved_gib": (kube_b + eviction_b) / GIB,
        "allocatable_gib": shape.allocatable["memory"] / GIB,
        "allocatable_gb": shape.allocatable["memory"] / GB,
    }


# The README example of GKE is rounded to four digits; the tiers are cut to whole bytes.
TOLERANCE = {"total_reserved_gib": 5e-5, "allocatable_gib": 5e-5, "kube_reserved_memory_mib": 5e-6}


def rows(text):
    table = yaml.load(text, Loader=yaml.CSafeLoader)
    return [pytest.param(row, id=row["id"]) for row in table["cases"]]


def check(row):
    got = answer(row["input"])
    for name, expected in row["expected"].items():
        assert got[name] == pytest.approx(expected, rel=0, abs=TOLERANCE.get(name, 0)), name


@pytest.mark.parametrize("row", rows(gzip.decompress(SAMPLE.read_bytes())))
def test_sample_row_holds(row):
    check(row)


@pytest.mark.skipif(not TABLE.exists(), reason=f"no shared data at {SHARED} (set SIM_SHARED)")
@pytest.mark.parametrize("row", rows(TABLE.read_text()) if TABLE.exists() else [])
def test_shared_row_holds(row):
    check(row)
