"""What a scenario writes about failures: faults, spot interruptions, maintenance windows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sim import behaviour
from sim.scenario.fields import (
    Count,
    Dist,
    DurationMs,
    Model,
    Name,
    Number,
    Percent,
    PositiveMs,
    RandomDist,
    wrong,
)
from sim.scenario.presets import FAULT_PRESETS, SPOT_PRESETS, with_preset

Mode = Literal["crash", "partition"]


FaultPreset = Literal["google-2008", "vm-2-years", "kernel-hang", "gpu-2024", "zone-outage"]
SpotPreset = Literal["aws", "gcp", "azure"]


class Flap(Model):
    """A node that goes and comes."""

    down_ms: PositiveMs = Field(alias="down", description="For how long it is down each time.")
    up_ms: PositiveMs = Field(alias="up", description="For how long it works in between.")
    times: Annotated[Count, Field(ge=1)] = Field(description="How often it goes down.")


class Fault(Model):
    """Nodes that fail: once (`at`), all together again and again (`every`), each on its own
    (`mtbf`), or as a file tells (`trace`)."""

    at_ms: DurationMs | None = Field(
        default=None, alias="at", description="When, from the start of the run."
    )
    every: RandomDist | None = Field(
        default=None,
        description="Time from the end of one failure of the whole target to the next; a plain "
        "duration is the mean of an exponential distribution. Without a target each zone fails on "
        "its own.",
    )
    mtbf: RandomDist | None = Field(
        default=None,
        description="Time that each node works until it fails, on its own; a plain duration is "
        "the mean of an exponential distribution. Without a target: all nodes.",
    )
    until_ms: DurationMs | None = Field(
        default=None,
        alias="until",
        description="With every or mtbf: nothing fails from then on. Default: end of the run.",
    )
    trace: Name | None = Field(
        default=None,
        description="CSV or YAML file of outages, relative to this one: node or zone, start, end.",
    )
    preset: FaultPreset | None = Field(
        default=None,
        description="Public failure statistics; what else is given here goes before them.",
    )
    zone: str | None = Field(default=None, description="All nodes of this zone.")
    node: str | None = Field(default=None, description="This node.")
    nodes: tuple[str, ...] | None = Field(default=None, min_length=1, description="These nodes.")
    pool: str | None = Field(default=None, description="All nodes of this pool.")
    share: Percent | None = Field(
        default=None, description="The share of these nodes that fails, drawn anew each time."
    )
    correlated: Percent = Field(
        default=0.0, description="Probability for each other zone to fail with this one."
    )
    down: Dist | None = Field(default=None, description="For how long. Default: for good.")
    mttr: Dist | None = Field(
        default=None,
        description="With mtbf: from a failure until the node, or the one that replaces it, works. "
        "Default: the pool's boot time.",
    )
    repair: Literal["reboot", "replace"] = Field(
        default="reboot",
        description="With mtbf: the same node again, or a new node of its pool.",
    )
    lost: Percent = Field(
        default=0.0,
        description="Share of the failed nodes that never come back; when the others do, new nodes "
        "are started in their place.",
    )
    flap: Flap | None = Field(default=None, description="The nodes go and come several times.")
    slow: Percent | None = Field(
        default=None, description="They do not fail but run at this share of their CPU speed."
    )
    fill_disk: Percent | None = Field(
        default=None, description="They do not fail, but so much of their disk is in use."
    )
    out_of_service_ms: DurationMs | None = Field(
        default=None,
        alias="outOfService",
        description="So long after the failure somebody gives the node the taint "
        "node.kubernetes.io/out-of-service, until it is back.",
    )
    deleted_ms: DurationMs | None = Field(
        default=None,
        alias="deleted",
        description="So long after the failure somebody deletes the Node object; what comes back "
        "is a new node of the pool.",
    )
    mode: Mode = Field(
        default="crash",
        description="crash: containers are lost; partition: they run on, nobody hears of them.",
    )

    def is_over(self, now_ms: int) -> bool:
        """Whether nothing fails any more."""
        return self.until_ms is not None and now_ms >= self.until_ms

    @property
    def names(self) -> tuple[str, ...] | None:
        """The nodes that it names."""
        return self.nodes if self.node is None else (self.node,)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, said: object) -> object:
        return with_preset(said, FAULT_PRESETS)

    @model_validator(mode="after")
    def _one_kind(self) -> Fault:
        kinds = {"at": self.at_ms, "every": self.every, "mtbf": self.mtbf, "trace": self.trace}
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) != 1:
            raise wrong("expected exactly one of at, every, mtbf, trace.")
        self._check_target(given[0])
        self._check_ends(given[0])
        return self

    def _check_target(self, kind: str) -> None:
        targets = sum(t is not None for t in (self.zone, self.node, self.nodes, self.pool))
        if kind == "at" and targets != 1:
            raise wrong("expected exactly one of zone, node, nodes and pool.")
        if kind == "trace" and targets:
            raise wrong("the trace says which nodes fail; expected no zone, node, nodes or pool.")
        if targets > 1:
            raise wrong("expected at most one of zone, node, nodes and pool.")
        if self.correlated and self.zone is None and not (kind == "every" and not targets):
            raise wrong("correlated is about zones; expected a zone.")

    def _check_ends(self, kind: str) -> None:
        if self.down is not None and self.down.mean_ms <= 0:
            raise wrong("got a down of 0; expected more than 0.")
        if self.until_ms is not None and kind not in ("every", "mtbf"):
            raise wrong("until goes with every and mtbf.")
        if kind == "every" and self.down is None:
            raise wrong("expected down beside every, since it happens again.")
        if kind != "mtbf" and (self.mttr is not None or self.repair != "reboot"):
            raise wrong("mttr and repair go with mtbf; expected down.")
        if kind == "mtbf" and (self.down is not None or self.flap is not None):
            raise wrong("down and flap do not go with mtbf; expected mttr.")
        if self.flap is not None and (kind != "at" or self.down is not None):
            raise wrong("expected flap beside at, and no down.")
        if self.lost and self.repair == "replace":
            raise wrong("all nodes are replaced; expected no lost.")
        degraded = [self.slow is not None, self.fill_disk is not None]
        if sum(degraded) > 1 or (any(degraded) and (kind == "mtbf" or self.flap is not None)):
            raise wrong("slow and fillDisk stand alone, beside at, every or trace.")


class CpuSpeed(Model):
    """How fast the machines of a pool are; each one's speed is drawn when it joins."""

    mean: Annotated[Number, Field(ge=0.05, le=10)] = Field(
        default=1.0, description="Mean speed; 1 does the work that its CPUs are made for."
    )
    sd: Annotated[Number, Field(le=1)] = Field(
        default=0.0, description="Standard deviation between machines (normal distribution)."
    )


class Spot(Model):
    """Machines that their owner may take back at any time, after a notice."""

    preset: SpotPreset | None = Field(
        default=None, description="What a cloud does; what else is given here goes before it."
    )
    monthly_interruptions: Annotated[Percent, Field(lt=1)] = Field(
        default=0.05, description="Share of nodes that are interrupted within 30 days."
    )
    notice_ms: DurationMs = Field(
        default=120_000, alias="notice", description="From the notice until the machine goes."
    )
    correlated: Percent = Field(
        default=0.0,
        description="Probability that an interruption strikes a random share, 10 % to 100 %, of "
        "the pool's nodes in the zone at once, and not one node.",
    )
    handling: Literal["drain", "shutdown", "none"] = Field(
        default="drain",
        description="What is done at the notice: drain cordons the node and deletes its pods, "
        "without a look at disruption budgets; shutdown shuts the node down gracefully, if its "
        "kubelet is configured so; none leaves them to their fate.",
    )
    reclaim: Dist = Field(
        default_factory=lambda: behaviour.Constant(0),
        description="From the loss of a machine until there is another one to be started. "
        "Default: 0 (modelling choice).",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, said: object) -> object:
        return with_preset(said, SPOT_PRESETS)


class Maintenance(Model):
    """Nodes are taken down for work, some at a time: cordon, evict, down, back, uncordon."""

    at_ms: DurationMs | None = Field(
        default=None, alias="at", description="When, from the start of the run."
    )
    every_ms: PositiveMs | None = Field(
        default=None, alias="every", description="Again and again, the first time after this time."
    )
    nodes: tuple[str, ...] | None = Field(default=None, min_length=1, description="These nodes.")
    pool: str | None = Field(default=None, description="All nodes of this pool.")
    zone: str | None = Field(default=None, description="All nodes of this zone.")
    duration_ms: PositiveMs = Field(alias="duration", description="How long each node is down.")
    notice_ms: DurationMs = Field(
        default=600_000,
        alias="notice",
        description="Longest time for the eviction of a node's pods, before it goes down.",
    )
    at_once: Annotated[Count, Field(ge=1)] = Field(
        default=1, description="How many nodes are worked on at a time."
    )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The nodes that it names."""
        return self.nodes

    @model_validator(mode="after")
    def _one_target(self) -> Maintenance:
        if (self.at_ms is None) == (self.every_ms is None):
            raise wrong("expected either at or every.")
        if sum(t is not None for t in (self.nodes, self.pool, self.zone)) != 1:
            raise wrong("expected exactly one of nodes, pool and zone.")
        return self
