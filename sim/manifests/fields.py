"""Which fields of a manifest are modelled, which change nothing, and which are not modelled yet.

`note_fields` names what it does not know how to treat, so that nothing is ignored in silence.
Field names: the core/v1, apps/v1, batch/v1, policy/v1 and scheduling.k8s.io/v1 APIs of v1.34.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.errors import did_you_mean

# Per type: modelled (`field:Type` goes on below) | without effect on a simulation | not modelled
# (`field=value` only when it differs from that default). Lists are entered by themselves.
_TABLE = {
    "Node": "metadata:Meta spec:NodeSpec status:NodeStatus | |",
    "NodeSpec": "taints unschedulable | podCIDR podCIDRs providerID externalID | configSource",
    "NodeStatus": """capacity allocatable images | conditions addresses daemonEndpoints nodeInfo
        phase features runtimeHandlers volumesAttached volumesInUse config
        declaredFeatures |""",
    "Pod": "metadata:Meta spec:PodSpec | status |",
    "Deployment": "metadata:Meta spec:DeploymentSpec | status |",
    "DeploymentSpec": """replicas selector:Selector template:PodTemplate |
        revisionHistoryLimit progressDeadlineSeconds | strategy paused=False minReadySeconds=0""",
    "ReplicaSet": "metadata:Meta spec:ReplicaSetSpec | status |",
    "ReplicaSetSpec": "replicas selector:Selector template:PodTemplate | | minReadySeconds=0",
    "Job": "metadata:Meta spec:JobSpec | status |",
    "JobSpec": """parallelism completions backoffLimit template:PodTemplate |
        selector manualSelector |
        activeDeadlineSeconds podFailurePolicy successPolicy backoffLimitPerIndex
        maxFailedIndexes completionMode=NonIndexed suspend=False ttlSecondsAfterFinished
        podReplacementPolicy managedBy""",
    "Service": "metadata:Meta spec:ServiceSpec | status |",
    "ServiceSpec": """selector publishNotReadyAddresses | ports type clusterIP clusterIPs ipFamilies
        ipFamilyPolicy externalIPs externalName loadBalancerIP loadBalancerClass
        loadBalancerSourceRanges allocateLoadBalancerNodePorts healthCheckNodePort |
        sessionAffinity=None sessionAffinityConfig externalTrafficPolicy=Cluster
        internalTrafficPolicy=Cluster trafficDistribution""",
    "PodDisruptionBudget": "metadata:Meta spec:BudgetSpec | status |",
    "BudgetSpec": "minAvailable maxUnavailable selector:Selector | | "
    "unhealthyPodEvictionPolicy=IfHealthyBudget",
    "PriorityClass": "metadata:Meta value globalDefault preemptionPolicy | description |",
    "Namespace": "metadata:Meta | spec status |",
    "Meta": """name namespace labels annotations generateName ownerReferences creationTimestamp |
        uid resourceVersion generation deletionTimestamp deletionGracePeriodSeconds finalizers
        managedFields selfLink clusterName |""",
    "Selector": "matchLabels matchExpressions:Expression | |",
    "Expression": "key operator values | |",
    "PodTemplate": "metadata:Meta spec:PodSpec | |",
    "PodSpec": """containers:Container initContainers:InitContainer nodeName nodeSelector
        affinity:Affinity tolerations:Toleration topologySpreadConstraints:Spread priority
        priorityClassName preemptionPolicy schedulerName schedulingGates overhead
        resources:Resources restartPolicy terminationGracePeriodSeconds hostNetwork volumes:Volume |
        dnsPolicy dnsConfig serviceAccountName serviceAccount automountServiceAccountToken hostPID
        hostIPC hostUsers shareProcessNamespace securityContext imagePullSecrets hostname subdomain
        hostAliases enableServiceLinks setHostnameAsFQDN hostnameOverride |
        ephemeralContainers activeDeadlineSeconds runtimeClassName resourceClaims readinessGates
        os""",
    "Container": """name image resources:Resources ports:Port livenessProbe:Probe
        readinessProbe:Probe startupProbe:Probe lifecycle:Lifecycle |
        command args workingDir env envFrom volumeMounts volumeDevices resizePolicy imagePullPolicy
        terminationMessagePath terminationMessagePolicy securityContext stdin stdinOnce tty |
        restartPolicy=Always restartPolicyRules""",
    "Resources": "requests limits | | claims",
    "Port": "containerPort hostPort hostIP protocol | name |",
    "Probe": """httpGet tcpSocket exec grpc initialDelaySeconds periodSeconds timeoutSeconds
        successThreshold failureThreshold terminationGracePeriodSeconds | |""",
    "Lifecycle": "preStop:Hook postStart:Hook | stopSignal |",
    "Hook": "sleep:Sleep exec httpGet tcpSocket | |",
    "Sleep": "seconds | |",
    "Affinity": """nodeAffinity:NodeAffinity podAffinity:PodAffinity
        podAntiAffinity:PodAffinity | |""",
    "PodAffinity": """requiredDuringSchedulingIgnoredDuringExecution:PodTerm
        preferredDuringSchedulingIgnoredDuringExecution:PreferredPodTerm | |""",
    "PreferredPodTerm": "weight podAffinityTerm:PodTerm | |",
    "PodTerm": """topologyKey labelSelector:Selector namespaces namespaceSelector:Selector
        matchLabelKeys mismatchLabelKeys | |""",
    "NodeAffinity": """requiredDuringSchedulingIgnoredDuringExecution:NodeSelector
        preferredDuringSchedulingIgnoredDuringExecution:Preferred | |""",
    "NodeSelector": "nodeSelectorTerms:Term | |",
    "Preferred": "weight preference:Term | |",
    "Term": "matchExpressions:Expression matchFields:Expression | |",
    "Toleration": "key operator value effect tolerationSeconds | |",
    "Spread": """maxSkew topologyKey whenUnsatisfiable labelSelector:Selector minDomains
        nodeAffinityPolicy nodeTaintsPolicy matchLabelKeys | |""",
    "Volume": """name persistentVolumeClaim ephemeral:Ephemeral csi awsElasticBlockStore
        gcePersistentDisk iscsi rbd |
        configMap secret emptyDir projected downwardAPI |
        hostPath nfs fc cephfs glusterfs cinder flocker flexVolume quobyte scaleIO storageos
        portworxVolume vsphereVolume photonPersistentDisk azureDisk azureFile gitRepo image""",
    "Ephemeral": "volumeClaimTemplate:ClaimTemplate | readOnly |",
    "ClaimTemplate": "spec:EphemeralClaimSpec | metadata |",
    "EphemeralClaimSpec": """accessModes resources:Resources storageClassName |
        dataSource dataSourceRef |
        selector volumeName volumeMode=Filesystem volumeAttributesClassName""",
    "PersistentVolume": "metadata:Meta spec:VolumeSpec status | |",
    "VolumeSpec": """capacity accessModes storageClassName volumeMode nodeAffinity:VolumeAffinity
        claimRef csi | persistentVolumeReclaimPolicy mountOptions local hostPath nfs iscsi fc rbd
        cephfs glusterfs flocker flexVolume quobyte scaleIO storageos photonPersistentDisk |
        awsElasticBlockStore gcePersistentDisk azureDisk azureFile cinder vsphereVolume
        portworxVolume volumeAttributesClassName""",
    "VolumeAffinity": "required:NodeSelector | |",
    "PersistentVolumeClaim": "metadata:Meta spec:ClaimSpec status | |",
    "ClaimSpec": """accessModes resources:Resources storageClassName volumeName volumeMode
        selector:Selector | dataSource dataSourceRef | volumeAttributesClassName""",
    "StorageClass": """metadata:Meta provisioner volumeBindingMode allowedTopologies:Topology |
        parameters reclaimPolicy mountOptions allowVolumeExpansion |""",
    "Topology": "matchLabelExpressions:TopologyExpression | |",
    "TopologyExpression": "key values | |",
    "CSINode": "metadata:Meta spec:CSINodeSpec | |",
    "CSINodeSpec": "drivers:CSINodeDriver | |",
    "CSINodeDriver": "name allocatable | nodeID topologyKeys |",
    "CSIDriver": "metadata:Meta spec:CSIDriverSpec | |",
    "CSIDriverSpec": """storageCapacity | attachRequired podInfoOnMount volumeLifecycleModes
        fsGroupPolicy tokenRequests requiresRepublish seLinuxMount
        nodeAllocatableUpdatePeriodSeconds serviceAccountTokenInSecrets |""",
    "CSIStorageCapacity": """metadata:Meta storageClassName capacity maximumVolumeSize
        nodeTopology:Selector | |""",
    "VolumeAttachment": "metadata:Meta spec:AttachmentSpec | status |",
    "AttachmentSpec": "attacher nodeName source | |",
}


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of one type: where to go on, and the defaults of those not modelled."""

    below: dict[str, str]
    unmodelled: dict[str, str]
    known: frozenset[str]


def _read(row: str) -> _Fields:
    modelled, harmless, unmodelled = (part.split() for part in row.split("|"))
    below = dict(entry.split(":") for entry in modelled if ":" in entry)
    defaults = {entry.partition("=")[0]: entry.partition("=")[2] for entry in unmodelled}
    plain = (entry.partition(":")[0] for entry in (*modelled, *harmless))
    return _Fields(below, defaults, frozenset((*plain, *defaults)))


TYPES = {name: _read(row) for name, row in _TABLE.items()}
TYPES["InitContainer"] = _Fields(
    TYPES["Container"].below,
    {"restartPolicyRules": ""},
    TYPES["Container"].known,
)
OBJECT_FIELDS = frozenset({"apiVersion", "kind"})

Note = Callable[[str, tuple[str | int, ...], str | None], None]


def note_fields(kind: str, raw: dict[str, Any], note: Note) -> None:
    """Call `note(dotted field, path, hint)` for each field that is not modelled.

    The hint is None for a field of the Kubernetes API, and text (perhaps empty) for an unknown one.
    """
    _walk(kind, {k: v for k, v in raw.items() if k not in OBJECT_FIELDS}, "", (), note)
    if kind == "Job" and _restarts_in_place(raw):
        note("spec.backoffLimit (restartPolicy OnFailure)", ("spec",), None)


def _restarts_in_place(job: dict[str, Any]) -> bool:
    """Whether a Job's containers start again in their pods, which backoffLimit counts too."""
    value: Any = job
    for name in ("spec", "template", "spec", "restartPolicy"):
        value = value.get(name) if isinstance(value, dict) else None
    return bool(value == "OnFailure")


def _walk(type_name: str, raw: Any, dotted: str, path: tuple[str | int, ...], note: Note) -> None:
    if isinstance(raw, list):
        for index, item in enumerate(raw):
            _walk(type_name, item, f"{dotted}[]", (*path, index), note)
        return
    if not isinstance(raw, dict):
        return
    fields = TYPES[type_name]
    for name, value in raw.items():
        field, here = f"{dotted}.{name[:80]}" if dotted else name[:80], (*path, name)
        if name in fields.below:
            _walk(fields.below[name], value, field, here, note)
        elif name in fields.unmodelled:
            if value not in (None, [], {}) and str(value) != fields.unmodelled[name]:
                note(field, here, None)
        elif name not in fields.known:
            note(field, here, did_you_mean(name[:80], fields.known))
