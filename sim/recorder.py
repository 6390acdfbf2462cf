"""What happened, append-only: events as integers, samples, scheduling decisions.

An event is (time, reason, object, argument): five integers, so that a run of a million events stays
small and its hash covers integers and names only. The words are put in when somebody reads them.
"""

from __future__ import annotations

import hashlib
from array import array
from enum import IntEnum


class Of(IntEnum):
    """What kind of object an event is about; its id counts within the kind."""

    CLUSTER = 0
    POD = 1
    NODE = 2
    WORKLOAD = 3
    SERVICE = 4


class Reason(IntEnum):
    """Kubernetes' own event reasons where it has one."""

    SCHEDULED = 0
    FAILED_SCHEDULING = 1
    SUCCESSFUL_DELETE = 3
    STARTED = 4
    READY = 5
    UNHEALTHY_READINESS = 6
    KILLING_LIVENESS = 7
    KILLING_STARTUP = 8
    BACK_OFF = 9
    OOM_KILLING = 10
    NODE_OOM = 11
    KILLING = 12
    COMPLETED = 13
    CONTAINER_FAILED = 14
    TAINT_EVICTION = 15
    CANCEL_EVICTION = 16
    NODE_DOWN = 17
    NODE_CUT_OFF = 18
    NODE_UP = 19
    NODE_NOT_READY = 20
    NODE_READY = 21
    TAINTED = 22
    UNTAINTED = 23
    NODE_ADDED = 24
    NODE_REMOVED = 25
    ZONE_STATE = 26
    SCALED = 27
    RESTARTED = 28
    NO_ENDPOINTS = 29
    NODE_UNSCHEDULABLE = 31
    NODE_SCHEDULABLE = 32
    ERRORS_BEGIN = 33
    ERRORS_END = 34
    PREEMPTED = 35
    EVICTED = 36
    EVICTION_THRESHOLD_MET = 37
    MEMORY_PRESSURE = 38
    NO_MEMORY_PRESSURE = 39
    DISK_PRESSURE = 44
    NO_DISK_PRESSURE = 45
    PID_PRESSURE = 46
    NO_PID_PRESSURE = 47
    NODE_SAYS_NOT_READY = 40
    POD_GC = 41
    NODE_DRAINED = 42
    SPOT_NOTICE = 43
    OUT_OF_CPU = 50
    OUT_OF_MEMORY = 51
    OUT_OF_STORAGE = 52
    OUT_OF_PODS = 53
    OUT_OF_RESOURCE = 54
    NODE_AFFINITY = 55
    NODE_NAME = 56
    NODE_PORTS = 57
    TAINT_TOLERATION = 58
    UNEXPECTED_ADMISSION = 59
    NODE_SHUTDOWN = 60
    NODE_SHUTDOWN_END = 61
    PREEMPTING = 62


# reason -> (type, Kubernetes' name, message); {arg} is the argument: a number, node or text.
WORDS: dict[Reason, tuple[str, str, str]] = {
    Reason.SCHEDULED: ("Normal", "Scheduled", "Successfully assigned {object} to {node}"),
    Reason.FAILED_SCHEDULING: ("Warning", "FailedScheduling", "{text}"),
    Reason.SUCCESSFUL_DELETE: ("Normal", "SuccessfulDelete", "Deleted pod: {object}"),
    Reason.STARTED: ("Normal", "Started", "Started containers"),
    Reason.READY: ("Normal", "Ready", "Pod became ready"),
    Reason.UNHEALTHY_READINESS: ("Warning", "Unhealthy", "Readiness probe failed"),
    Reason.KILLING_LIVENESS: (
        "Warning",
        "Killing",
        "Container {text} failed liveness probe, will be restarted",
    ),
    Reason.KILLING_STARTUP: (
        "Warning",
        "Killing",
        "Container {text} failed startup probe, will be restarted",
    ),
    Reason.BACK_OFF: ("Warning", "BackOff", "Back-off {number} s restarting failed container"),
    Reason.OOM_KILLING: ("Warning", "OOMKilling", "Container {text} exceeded its memory limit"),
    Reason.NODE_OOM: ("Warning", "SystemOOM", "Node ran out of memory, killed container {text}"),
    Reason.KILLING: ("Normal", "Killing", "Stopping containers"),
    Reason.COMPLETED: ("Normal", "Completed", "Containers ended with exit code 0"),
    Reason.CONTAINER_FAILED: ("Warning", "Failed", "Container ended with exit code {number}"),
    Reason.TAINT_EVICTION: ("Normal", "TaintManagerEviction", "Marking for deletion {object}"),
    Reason.CANCEL_EVICTION: ("Normal", "TaintManagerEviction", "Cancelling deletion of {object}"),
    Reason.NODE_DOWN: ("Warning", "NodeDown", "Machine failed"),
    Reason.NODE_CUT_OFF: ("Warning", "NodeCutOff", "Machine lost contact with the control plane"),
    Reason.NODE_UP: ("Normal", "NodeUp", "Machine works again"),
    Reason.NODE_NOT_READY: ("Warning", "NodeNotReady", "Node status is now: Unknown"),
    Reason.NODE_SAYS_NOT_READY: ("Warning", "NodeNotReady", "Node status is now: False"),
    Reason.POD_GC: ("Warning", "DeletionByPodGC", "Pod removed, its node is gone"),
    Reason.NODE_DRAINED: ("Normal", "Evicted", "Evicted {object}, its node goes"),
    Reason.SPOT_NOTICE: ("Warning", "SpotInterruption", "Machine will be taken back"),
    Reason.NODE_READY: ("Normal", "NodeReady", "Node status is now: Ready"),
    Reason.TAINTED: ("Warning", "Tainted", "Taint added: {text}"),
    Reason.UNTAINTED: ("Normal", "Untainted", "Taint removed: {text}"),
    Reason.NODE_ADDED: ("Normal", "RegisteredNode", "Node joined the cluster"),
    Reason.NODE_REMOVED: ("Normal", "RemovingNode", "Node left the cluster"),
    Reason.ZONE_STATE: ("Normal", "ZoneState", "{text}"),
    Reason.SCALED: ("Normal", "ScalingReplicaSet", "Scaled to {number}"),
    Reason.RESTARTED: ("Normal", "Restarted", "Containers restarted (restart {number})"),
    Reason.NO_ENDPOINTS: ("Warning", "NoEndpoints", "No ready endpoints"),
    Reason.NODE_UNSCHEDULABLE: ("Normal", "NodeNotSchedulable", "Node was cordoned"),
    Reason.NODE_SCHEDULABLE: ("Normal", "NodeSchedulable", "Node was uncordoned"),
    Reason.ERRORS_BEGIN: ("Warning", "RequestsFail", "Requests begin to fail"),
    Reason.ERRORS_END: ("Normal", "RequestsSucceed", "All requests are answered again"),
    Reason.OUT_OF_CPU: ("Warning", "OutOfcpu", "Node didn't have enough resource: cpu"),
    Reason.OUT_OF_MEMORY: ("Warning", "OutOfmemory", "Node didn't have enough resource: memory"),
    Reason.OUT_OF_STORAGE: (
        "Warning",
        "OutOfephemeral-storage",
        "Node didn't have enough resource: ephemeral-storage",
    ),
    Reason.OUT_OF_PODS: ("Warning", "OutOfpods", "Node didn't have enough resource: pods"),
    Reason.OUT_OF_RESOURCE: ("Warning", "OutOfResource", "Node didn't have enough of a resource"),
    Reason.NODE_AFFINITY: ("Warning", "NodeAffinity", "Pod was rejected: node affinity"),
    Reason.NODE_NAME: ("Warning", "NodeName", "Pod was rejected: it names another node"),
    Reason.NODE_PORTS: ("Warning", "NodePorts", "Pod was rejected: its host ports are taken"),
    Reason.TAINT_TOLERATION: ("Warning", "TaintToleration", "Pod was rejected: node taints"),
    Reason.UNEXPECTED_ADMISSION: (
        "Warning",
        "UnexpectedAdmissionError",
        "Pod was rejected: no pods can make room for it",
    ),
    Reason.NODE_SHUTDOWN: ("Warning", "NodeShutdown", "Pod was rejected: its node shuts down"),
    Reason.NODE_SHUTDOWN_END: ("Normal", "Terminated", "Stopped because its node shuts down"),
    Reason.PREEMPTING: ("Warning", "Preempting", "Stopped to make room for a critical pod"),
    Reason.EVICTED: ("Warning", "Evicted", "{text}"),
    Reason.EVICTION_THRESHOLD_MET: (
        "Warning",
        "EvictionThresholdMet",
        "Attempting to reclaim {text}",
    ),
    Reason.MEMORY_PRESSURE: ("Warning", "NodeHasInsufficientMemory", "MemoryPressure is now: True"),
    Reason.NO_MEMORY_PRESSURE: (
        "Normal",
        "NodeHasSufficientMemory",
        "MemoryPressure is now: False",
    ),
    Reason.DISK_PRESSURE: ("Warning", "NodeHasDiskPressure", "DiskPressure is now: True"),
    Reason.NO_DISK_PRESSURE: ("Normal", "NodeHasNoDiskPressure", "DiskPressure is now: False"),
    Reason.PID_PRESSURE: ("Warning", "NodeHasInsufficientPID", "PIDPressure is now: True"),
    Reason.NO_PID_PRESSURE: ("Normal", "NodeHasSufficientPID", "PIDPressure is now: False"),
    Reason.PREEMPTED: ("Normal", "Preempted", "Preempted by {text}"),
}


class Recorder:
    """Buffers of one run."""

    def __init__(self) -> None:
        self.at_ms = array("q")
        self.reason = array("b")
        self.kind = array("b")
        self.object = array("q")
        self.arg = array("q")
        self.texts: list[str] = []
        self._text_ids: dict[str, int] = {}

    def event(self, at_ms: int, reason: Reason, kind: Of, object_id: int, arg: int = 0) -> None:
        """Append one event; `arg` is a number, a node id or a text id, as the reason reads it."""
        self.at_ms.append(at_ms)
        self.reason.append(reason)
        self.kind.append(kind)
        self.object.append(object_id)
        self.arg.append(arg)

    def text(self, text: str) -> int:
        """The id of a text, for use as an event's argument."""
        text_id = self._text_ids.get(text)
        if text_id is None:
            text_id = self._text_ids[text] = len(self.texts)
            self.texts.append(text)
        return text_id

    def __len__(self) -> int:
        return len(self.at_ms)

    def hash(self, names: list[str]) -> str:
        """SHA-256 over all events and the names of the objects they are about."""
        digest = hashlib.sha256()
        for column in (self.at_ms, self.reason, self.kind, self.object, self.arg):
            digest.update(column.tobytes())
        for name in (*self.texts, *names):
            digest.update(name.encode() + b"\0")
        return digest.hexdigest()
