"""The catalogue of cloud instance types: advertised size, network limits, list prices.

Facts and their sources stand in data/instance-types.yaml (AWS, GCP and Azure types; on-demand Linux
list prices in USD per hour of the dates given there). The file is read when it is first asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from sim.errors import SimError, did_you_mean

Cloud = Literal["aws", "gcp", "azure"]

MIB = 1024 * 1024

# The catalogue's price columns: the region each is for; the first of a cloud is its default.
PRICE_REGIONS: Mapping[Cloud, Mapping[str, str]] = {
    "aws": {"us-east-1": "usd_per_hour_us_east_1"},
    "gcp": {"us-central1": "usd_per_hour_us_central_1"},
    "azure": {"eastus": "usd_per_hour_eastus", "westeurope": "usd_per_hour_westeurope"},
}


@dataclass(frozen=True)
class InstanceType:
    """One machine size as its cloud advertises it; what the kernel reports is less (sim.nodes)."""

    name: str
    cloud: Cloud
    cpu_m: int
    memory_b: int
    arch: Literal["amd64", "arm64"] = "amd64"
    enis: int = 0  # AWS: network interfaces, and IPv4 addresses of each
    ipv4_per_eni: int = 0
    shared_core: bool = False  # GCP e2-micro, e2-small, e2-medium: 2 vCPU seen, a fraction owned
    prices_usd_per_hour: Mapping[str, float] = field(default_factory=dict)  # by region

    def price_usd_per_hour(self, region: str = "") -> float:
        """List price in `region`; where the catalogue has none, in the cloud's first region."""
        prices = self.prices_usd_per_hour
        return prices.get(region, next(iter(prices.values())))

    def has_price(self, region: str) -> bool:
        """Whether the catalogue lists a price for that region."""
        return region in self.prices_usd_per_hour


def instance(name: str) -> InstanceType:
    """The instance type of that name; SimError with the nearest name when there is none."""
    found = _catalogue().get(name)
    if found is None:
        raise SimError(f"no instance type {name!r}. {did_you_mean(name, names())}".strip())
    return found


def names() -> list[str]:
    """All names, AWS first, then GCP and Azure, each in the order of the catalogue."""
    return list(_catalogue())


@cache
def _catalogue() -> dict[str, InstanceType]:
    import yaml  # only a scenario with instance types pays for the import and the file

    text = (files("sim") / "data" / "instance-types.yaml").read_text(encoding="utf-8")
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {row["name"]: _instance(cloud, row) for cloud in PRICE_REGIONS for row in data[cloud]}


def _instance(cloud: Cloud, row: dict[str, Any]) -> InstanceType:
    return InstanceType(
        name=row["name"],
        cloud=cloud,
        cpu_m=row["vcpu"] * 1000,
        memory_b=row["memory_mib"] * MIB,
        arch=row.get("arch", "amd64"),
        enis=row.get("enis", 0),
        ipv4_per_eni=row.get("ipv4_per_eni", 0),
        shared_core=row.get("shared_core", False),
        prices_usd_per_hour={
            region: row[column] for region, column in PRICE_REGIONS[cloud].items() if column in row
        },
    )
