"""Public failure statistics as presets: what a fault says when it names one, and where it is from.

A preset is written as a user would write it; what stands beside `preset:` goes before it. Choices
that no source states are marked "modelling choice".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Keys of a fault and their values; `source` says who measured them, and when."""

    says: Mapping[str, Any]
    source: str


BOOT = {"uniform": {"min": "3m", "max": "5m"}}  # a new instance: modelling choice

FAULT_PRESETS: Mapping[str, Preset] = {
    # 1000 failures of about 1800 machines in the first year: 8760 h / (1000 / 1800) = 15,768 h
    "google-2008": Preset(
        {"mtbf": "15768h", "mttr": "1h"},
        "Jeff Dean, first year of a Google cluster of about 1800 servers: about 1000 machine"
        " failures (perspectives.mvdirona.com, 2008-06-11); repaired in an hour: modelling choice",
    ),
    "vm-2-years": Preset(
        {"mtbf": "17520h", "mttr": BOOT, "repair": "replace"},
        "a virtual machine fails every two years and is replaced: modelling choice",
    ),
    "kernel-hang": Preset(
        {"mtbf": "43800h", "mttr": "3m"},
        "kernel or kubelet hangs 0.2 times per node and year, a reboot helps: modelling choice",
    ),
    # 3.8 per 1000 server-days: 24,000 h / 3.8 = 6,316 h
    "gpu-2024": Preset(
        {"mtbf": "6316h", "mttr": "1h"},
        "Meta, training of Llama 3: 419 interruptions in 54 days on 2,048 servers of 8 GPUs"
        " (datacenterdynamics.com, 2024); repaired in an hour: modelling choice",
    ),
    # 3 years = 26,280 h; sigma 1.2: 95 of 100 outages end within 2 h * exp(1.645 * 1.2) = 14.4 h
    "zone-outage": Preset(
        {"every": "26280h", "down": {"median": "2h", "sigma": 1.2}, "lost": "2%"},
        "each zone every three years, 2 % of its machines lost: modelling choice after AWS zone"
        " outages (us-east-1 2012-06-14 1.9 h; use1-az4 2021-12-22 64 min and more; us-east-2 az1"
        " 2022-07-28 20 min to 3 h; use1-az4 2026-05-07 over 24 h)",
    ),
}

SPOT_PRESETS: Mapping[str, Preset] = {
    "aws": Preset(
        {"monthlyInterruptions": "5%", "notice": "2m", "correlated": "50%"},
        "two minutes' notice (AWS); fewer than 5 % interrupted in a month (nops.io);"
        " half of the events strike several nodes: modelling choice",
    ),
    "gcp": Preset(
        {"monthlyInterruptions": "5%", "notice": "30s", "correlated": "50%"},
        "30 seconds' notice (Google Cloud); the rest as aws: modelling choice",
    ),
    "azure": Preset(
        {"monthlyInterruptions": "5%", "notice": "30s", "correlated": "50%"},
        "30 seconds' notice (Azure); the rest as aws: modelling choice",
    ),
}


def with_preset(said: object, presets: Mapping[str, Preset]) -> object:
    """What a user said, with what the preset that it names says of the rest."""
    if not isinstance(said, dict) or said.get("preset") not in list(presets):
        return said
    return {**presets[said["preset"]].says, **said}
