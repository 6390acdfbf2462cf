"""Storage objects: what a claim may take, their manifests, and what becomes of claims in a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.cluster import Change
from sim.controllers.volumes import (
    EphemeralClaims,
    default_class,
    missing,
    prepare,
    settle,
    templates_of,
)
from sim.engine import Simulation
from sim.errors import ScenarioError
from sim.events import Kind
from sim.labels import Requirement, Selector
from sim.manifests import parse_object, parse_objects
from sim.podspec import Volume
from sim.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    Storage,
    StorageClass,
    VolumeAttachment,
    bind,
    in_zone,
    provision,
)
from sim.testing import ZONE, a_pod, put_pod
from tests.inline import CALM, a_deployment, a_pool, a_scenario
from tests.unit.volumes import (
    DRIVER,
    GI,
    LATE,
    LOCAL,
    NOW,
    a_bound_claim,
    a_claim,
    a_pod_with,
    a_volume,
    a_world,
    on,
)


def stored(*objects):
    known = Storage()
    for value in objects:
        known.put(value.kind, value.key, value)
    return known


def names(volumes):
    return [volume.name for volume in volumes]


# --- What a claim may take


def test_the_version_moves_with_every_change_and_only_then():
    known = Storage()
    assert known.put(Kind.PV, ("", "pv"), a_volume()) is None
    assert known.put(Kind.PV, ("", "pv"), a_volume(size_gi=2)) == a_volume()
    assert known.version == 2
    assert known.remove(Kind.PV, ("", "other")) is None
    assert known.version == 2
    assert known.remove(Kind.PV, ("", "pv")) == a_volume(size_gi=2)
    assert known.version == 3


def test_the_smallest_volume_comes_first_and_equal_ones_as_they_came():
    known = stored(
        *(a_volume(name, size) for name, size in (("b", 3), ("a", 3), ("c", 2), ("d", 1)))
    )
    assert names(known.takeable(a_claim(size_gi=2))) == ["c", "b", "a"]


def test_a_volume_kept_for_the_claim_is_the_only_choice():
    known = stored(a_volume("free"), a_volume("kept", 5, claim=("default", "data")))
    assert names(known.takeable(a_claim())) == ["kept"]
    assert names(known.takeable(a_claim("other"))) == ["free"]


def test_a_kept_volume_that_is_too_small_keeps_nobody():
    known = stored(a_volume("free", 5), a_volume("kept", 1, claim=("default", "data")))
    assert names(known.takeable(a_claim(size_gi=2))) == ["free"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(["put", "remove", "bind"]), st.integers(1, 3)
        )
    )
)
def test_what_is_free_is_what_nobody_claims_whatever_happened_before(steps):
    known = Storage()
    for name, step, size in steps:
        if step == "remove":
            known.remove(Kind.PV, ("", name))
            continue
        claim = ("default", "other") if step == "bind" else None
        volume = a_volume(name, size, claim=claim)
        known.put(Kind.PV, volume.key, volume)
    free = {v.name for v in known.of(Kind.PV).values() if v.claim is None}
    assert set(names(known.takeable(a_claim()))) == free


def test_binding_changes_both_and_is_what_fully_bound_means():
    volume, claim = bind(a_volume(), a_claim(uid="u"))
    assert (volume.claim, volume.claim_uid, volume.phase) == (("default", "data"), "u", "Bound")
    assert (claim.volume, claim.bound, claim.phase) == ("pv", True, "Bound")
    assert volume.is_for(claim)
    assert not volume.is_for(replace(claim, uid="v"))


def test_a_provisioned_volume_is_what_the_claim_asks_for():
    made = provision(a_claim(size_gi=3), LATE, in_zone({ZONE: "a"}))
    assert made == a_volume(
        *("pvc-default-data", 3),
        **{"claim": ("default", "data"), "phase": "Bound", "node_affinity": on(ZONE, "a")},
        **{"csi_driver": DRIVER, "csi_handle": "pvc-default-data"},
    )
    assert in_zone({"other": "a"}) is None


# --- Manifests


def manifest(kind, spec=None, group="", name="x", **fields):
    version = f"{group}/v1" if group else "v1"
    metadata = {"name": name, **fields.pop("metadata", {})}
    body = {"spec": spec} if spec is not None else {}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **body, **fields}


STORAGE = "storage.k8s.io"
ZONE_TERM = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["a"]}]}
PARSED = {
    "a volume": (
        manifest(
            "PersistentVolume",
            {
                "capacity": {"storage": "2Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "late",
                "nodeAffinity": {"required": {"nodeSelectorTerms": [ZONE_TERM]}},
                "claimRef": {"namespace": "shop", "name": "data", "uid": "u"},
                "csi": {"driver": DRIVER, "volumeHandle": "vol-1"},
            },
            metadata={"labels": {"disk": "ssd"}},
            status={"phase": "Bound"},
        ),
        PersistentVolume(
            "x",
            2 * GI,
            ("ReadWriteOnce",),
            "late",
            node_affinity=on(ZONE, "a"),
            labels={"disk": "ssd"},
            claim=("shop", "data"),
            claim_uid="u",
            phase="Bound",
            csi_driver=DRIVER,
            csi_handle="vol-1",
        ),
    ),
    "a volume of a shared file system": (
        manifest("PersistentVolume", {"capacity": {"storage": "8Ei"}, "nfs": {"server": "s"}}),
        PersistentVolume("x", 2**63 - 1),  # 8 Ei, at most what int64 holds
    ),
    "a bound claim": (
        manifest(
            "PersistentVolumeClaim",
            {
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeName": "pv",
                "volumeMode": "Block",
                "selector": {"matchLabels": {"disk": "ssd"}},
            },
            metadata={
                "namespace": "shop",
                "uid": "u",
                "deletionTimestamp": "2025-10-01T12:00:00Z",
                "annotations": {
                    "pv.kubernetes.io/bind-completed": "yes",
                    "volume.kubernetes.io/selected-node": "n",
                    "volume.beta.kubernetes.io/storage-class": "old",
                },
                "ownerReferences": [{"kind": "Pod", "name": "web", "controller": True}],
            },
            status={"phase": "Bound"},
        ),
        PersistentVolumeClaim(
            "shop",
            "x",
            GI,
            storage_class="old",
            volume_mode="Block",
            selector=Selector.of({"disk": "ssd"}),
            volume="pv",
            bind_completed=True,
            selected_node="n",
            phase="Bound",
            deleting=True,
            uid="u",
            owner="web",
        ),
    ),
    "a claim that wants no class": (
        manifest(
            "PersistentVolumeClaim",
            {"resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""},
        ),
        PersistentVolumeClaim("default", "x", GI, storage_class=""),
    ),
    "a class": (
        manifest(
            "StorageClass",
            group=STORAGE,
            provisioner=DRIVER,
            volumeBindingMode="WaitForFirstConsumer",
            allowedTopologies=[{"matchLabelExpressions": [{"key": ZONE, "values": ["a", "b"]}]}],
            metadata={"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        ),
        StorageClass(
            "x",
            DRIVER,
            "WaitForFirstConsumer",
            ((Requirement(ZONE, "In", ("a", "b")),),),
            default=True,
        ),
    ),
    "a class without a mode": (
        manifest("StorageClass", group=STORAGE, provisioner=DRIVER),
        StorageClass("x", DRIVER, "Immediate"),
    ),
    "a CSINode": (
        manifest(
            "CSINode",
            {
                "drivers": [
                    {"name": DRIVER, "nodeID": "i", "allocatable": {"count": 25}},
                    {"name": "free", "nodeID": "i"},
                ]
            },
            group=STORAGE,
            metadata={"annotations": {"storage.alpha.kubernetes.io/migrated-plugins": "a,b"}},
        ),
        CSINode("x", {DRIVER: 25}, "a,b"),
    ),
    "a CSIDriver": (
        manifest("CSIDriver", {"storageCapacity": True}, group=STORAGE),
        CSIDriver("x", True),
    ),
    "room": (
        manifest(
            "CSIStorageCapacity",
            group=STORAGE,
            storageClassName="late",
            capacity="5Gi",
            maximumVolumeSize="1Gi",
            nodeTopology={"matchLabels": {ZONE: "a"}},
            metadata={"namespace": "kube-system"},
        ),
        CSIStorageCapacity("kube-system", "x", "late", 5 * GI, GI, Selector.of({ZONE: "a"})),
    ),
    "an attachment": (
        manifest(
            "VolumeAttachment",
            {"attacher": DRIVER, "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
            group=STORAGE,
        ),
        VolumeAttachment("x", DRIVER, "n", "pv"),
    ),
}


@pytest.mark.parametrize(("raw", "expected"), PARSED.values(), ids=PARSED)
def test_a_manifest_becomes_a_value(raw, expected):
    assert parse_object(raw) == expected
    found = parse_objects([raw])
    assert found.storage == [expected]
    assert not found.unmodelled_fields
    assert not found.unmodelled_kinds
    assert not found.warnings


CLAIM_SPEC = {"resources": {"requests": {"storage": "1Gi"}}}
WRONG = {
    "no size": ("PersistentVolumeClaim", {}, "spec.resources.requests.storage: is missing"),
    "no capacity": ("PersistentVolume", {}, "spec.capacity.storage: is missing"),
    "a size that is none": (
        "PersistentVolumeClaim",
        {"resources": {"requests": {"storage": "big"}}},
        "spec.resources.requests.storage: got 'big'",
    ),
    "an access mode that is none": (
        "PersistentVolumeClaim",
        {**CLAIM_SPEC, "accessModes": ["ReadWriteOnze"]},
        "spec.accessModes[0]: got 'ReadWriteOnze'",
    ),
    "a mode that is none": (
        "PersistentVolumeClaim",
        {**CLAIM_SPEC, "volumeMode": "Tape"},
        "spec.volumeMode: got 'Tape'",
    ),
}


@pytest.mark.parametrize(("kind", "spec", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_place(kind, spec, message):
    with pytest.raises(ScenarioError) as error:
        parse_object(manifest(kind, spec))
    assert message in str(error.value)


def test_a_binding_mode_that_is_none_names_the_nearest():
    raw = manifest("StorageClass", group=STORAGE, provisioner="p", volumeBindingMode="immediate")
    with pytest.raises(ScenarioError, match="Did you mean 'Immediate'"):
        parse_object(raw)


def volumes_of(*volumes):
    spec = {"containers": [{"name": "a", "image": "i"}], "volumes": list(volumes)}
    return parse_object(manifest("Pod", spec)).template.spec.volumes


EPHEMERAL = {
    "volumeClaimTemplate": {
        "spec": {**CLAIM_SPEC, "storageClassName": "late", "accessModes": ["ReadWriteOnce"]}
    }
}
SOURCES = {
    "a claim": (
        {"persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
        Volume("v", claim="data", read_only=True),
    ),
    "an ephemeral claim": (
        {"ephemeral": EPHEMERAL},
        Volume(
            "v",
            ephemeral=True,
            ephemeral_request_b=GI,
            ephemeral_class="late",
            ephemeral_access_modes=("ReadWriteOnce",),
        ),
    ),
    "a GCE disk": (
        {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
        Volume("v", disk=("gcePersistentDisk", "d"), read_only=True),
    ),
    "an AWS disk": (
        {"awsElasticBlockStore": {"volumeID": "d"}},
        Volume("v", disk=("awsElasticBlockStore", "d")),
    ),
    "an iscsi disk": (
        {"iscsi": {"iqn": "q", "targetPortal": "p", "lun": 0}},
        Volume("v", disk=("iscsi", "q")),
    ),
    "an rbd disk of the pool rbd": (
        {"rbd": {"monitors": ["m"], "image": "i"}},
        Volume("v", disk=("rbd", "rbd", "i"), monitors=("m",)),
    ),
    "an inline csi volume": ({"csi": {"driver": "d"}}, Volume("v", csi_driver="d")),
}


@pytest.mark.parametrize(("source", "expected"), SOURCES.values(), ids=SOURCES)
def test_a_volume_of_a_pod_becomes_a_value(source, expected):
    assert volumes_of({"name": "v", **source}) == (expected,)


def test_volumes_without_a_say_are_left_out():
    harmless = [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}}]
    assert volumes_of(*harmless) == ()


# --- What becomes of claims


def test_the_default_class_is_the_newest_of_those_marked():
    old = replace(LATE, default=True, created="2024-01-01T00:00:00Z")
    new = replace(NOW, default=True, created="2025-01-01T00:00:00Z")
    assert default_class(stored(old, new, LOCAL)) == new
    assert default_class(stored(LATE, LOCAL)) is None


DEFAULT = replace(LATE, default=True)
ZONAL = StorageClass("zonal", DRIVER, allowed_topologies=((Requirement(ZONE, "In", ("b",)),),))
NO_CLASS, NO_VOLUME, TOO_EARLY = "no class", "no volume", "too early"
# the claim, the other objects -> (volume or "", its node affinity, what is assumed, class)
SETTLED = {
    "a class that waits": (a_claim(), [LATE], ("", None, "", "late")),
    "the default class, which waits": (
        a_claim(storage_class=None),
        [DEFAULT],
        ("", None, "", "late"),
    ),
    "no class on purpose": (a_claim(storage_class=""), [DEFAULT], ("", None, "", "")),
    "no class on purpose and a volume without class": (
        a_claim(storage_class=""),
        [DEFAULT, a_volume(storage_class="")],
        ("pv", None, "", ""),
    ),
    "no class and no default": (
        a_claim(storage_class=None),
        [LATE],
        ("pvc-default-data", None, NO_CLASS, None),
    ),
    "a class that is not there": (
        a_claim(storage_class="x"),
        [],
        ("pvc-default-data", None, NO_CLASS, "x"),
    ),
    "a class that is not there but has a volume": (
        a_claim(storage_class="x"),
        [a_volume(storage_class="x", node_affinity=on(ZONE, "a"))],
        ("pv", on(ZONE, "a"), "", "x"),
    ),
    "a class that binds at once, to what is free": (
        a_claim(storage_class="now"),
        [NOW, a_volume(storage_class="now")],
        ("pv", None, "", "now"),
    ),
    "a class that provisions at once": (
        a_claim(storage_class="now"),
        [NOW],
        ("pvc-default-data", None, TOO_EARLY, "now"),
    ),
    "a class that provisions at once in a zone": (
        a_claim(storage_class="zonal"),
        [ZONAL],
        ("pvc-default-data", on(ZONE, "b"), TOO_EARLY, "zonal"),
    ),
    "a class that binds at once but has nothing": (
        a_claim(storage_class="disks"),
        [StorageClass("disks")],
        ("", None, "", "disks"),
    ),
    "a volume kept for a claim that waits": (
        a_claim(),
        [LATE, a_volume(claim=("default", "data"))],
        ("pv", None, "", "late"),
    ),
    "a volume named but not bound": (
        a_claim(volume="pv"),
        [LATE, a_volume()],
        ("pv", None, "", "late"),
    ),
    "a bound claim whose volume is not there": (
        a_bound_claim(volume="gone"),
        [LATE],
        ("gone", None, NO_VOLUME, "late"),
    ),
}


@pytest.mark.parametrize(("claim", "objects", "expected"), SETTLED.values(), ids=SETTLED)
def test_a_claim_is_settled_before_its_pod_comes(claim, objects, expected):
    found = settle(claim, stored(*objects))
    volume = found.volume
    assert (
        found.claim.volume,
        volume.node_affinity if volume else None,
        found.why,
        found.claim.storage_class,
    ) == expected
    assert found.claim.bound == bool(expected[0])
    assert volume is None or volume.is_for(found.claim)


@pytest.mark.parametrize(
    "claim",
    [
        a_claim(deleting=True, storage_class="now"),
        a_bound_claim(volume="gone", phase="Lost"),
        a_bound_claim(),
    ],
    ids=["being deleted", "lost", "bound"],
)
def test_a_claim_that_is_done_for_stays_as_it_is(claim):
    found = settle(claim, stored(NOW, a_volume(claim=("default", "data"), phase="Bound")))
    assert (found.claim, found.volume, found.why) == (claim, None, "")


def test_a_volume_named_by_two_claims_stays_with_the_one_that_has_it():
    theirs = a_volume(claim=("default", "other"))
    assert settle(a_claim(volume="pv"), stored(LATE, theirs)).volume is None


def test_claims_that_pods_name_and_nobody_gives_are_missing_once_each():
    pods = [a_pod_with("a", "b"), a_pod_with("b"), a_pod_with("b", namespace="shop")]
    found = missing(pods, stored(a_claim("a")))
    assert [claim.key for claim in found] == [("default", "b"), ("shop", "b")]


def test_two_claims_do_not_get_one_volume_when_a_run_is_prepared():
    objects = [NOW, a_volume(storage_class="now"), *(a_claim(n, storage_class="now") for n in "ab")]
    known = stored(*prepare(objects, ()).objects)
    assert known.claim("default", "a").volume == "pv"
    assert known.claim("default", "b").volume == "pvc-default-b"


def test_what_is_assumed_is_said_with_numbers_and_names():
    claims = [a_claim(f"c{n}", storage_class="x") for n in range(4)]
    scratch = a_pod(volumes=(Volume("tmp", ephemeral=True, ephemeral_class="x"),))
    prepared = prepare(
        [DEFAULT, *claims, a_bound_claim("b", "gone")], [a_pod_with("c0", "z"), scratch]
    )
    assert prepared.notes == (
        "1 claim (default/z) that pods name and no manifest gives: taken as bound, usable on every"
        " node.",
        "4 claims (default/c0, default/c1, default/c2, ...) of a StorageClass that no manifest"
        " gives: taken as bound, usable on every node.",
        "1 claim (default/b) bound to a PersistentVolume that no manifest gives: taken as usable on"
        " every node.",
        "1 ephemeral volume (default/tmp) of a StorageClass that no manifest gives: taken as bound,"
        " usable on every node.",
    )
    known = stored(*prepared.objects)
    assert all(claim.bound for claim in known.of(Kind.PVC).values())
    assert all(v.node_affinity is None and not v.csi_driver for v in known.of(Kind.PV).values())


def test_nothing_is_said_when_nothing_is_assumed():
    assert prepare([LATE, a_claim()], [a_pod_with("data"), a_pod()]).notes == ()
    assert prepare([], [a_pod()]).objects == ()


def test_every_maker_of_pods_is_looked_at():
    spec = {"containers": [{"name": "a", "image": "i"}], "restartPolicy": "Never"}
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {**spec, "restartPolicy": "Always"}}
    body = {"selector": {"matchLabels": {"app": "a"}}, "template": template}
    found = parse_objects(
        [
            manifest("Deployment", body, group="apps"),
            manifest("ReplicaSet", body, group="apps"),
            manifest("Job", {"template": {"spec": spec}}, group="batch"),
            manifest("Pod", spec),
        ]
    )
    assert len(templates_of(found)) == 4


# --- Ephemeral claims

TMP = Volume(
    *("tmp", "", True, GI, "late"),
    ephemeral_access_modes=("ReadWriteOnce",),
)


def world_with_ephemeral(volume, *objects):
    cluster = a_world(*objects)
    EphemeralClaims(cluster)
    seen = []
    cluster.watch(lambda _, pod: seen.append(claim_of(cluster, pod)), [Change.POD_CREATED])
    pod = put_pod(cluster, a_pod(volumes=(volume,)))
    assert seen == [claim_of(cluster, pod)]  # who watches later finds the claim
    return cluster, pod


def claim_of(cluster, pod):
    return cluster.storage.claim("default", f"{cluster.pod_name(pod)}-tmp")


def test_an_ephemeral_claim_is_made_for_its_pod_and_goes_with_it():
    cluster, pod = world_with_ephemeral(TMP, LATE)
    assert claim_of(cluster, pod) == a_claim("pod-0-tmp", owner="pod-0")
    cluster.remove_pod(pod)
    assert not cluster.storage.of(Kind.PVC)


def test_two_pods_of_one_template_have_claims_of_their_own():
    cluster, _ = world_with_ephemeral(TMP, LATE)
    put_pod(cluster, a_pod(volumes=(TMP,)))
    assert list(cluster.storage.of(Kind.PVC)) == [
        ("default", "pod-0-tmp"),
        ("default", "pod-1-tmp"),
    ]
    cluster.check()


def test_the_volume_made_for_an_ephemeral_claim_goes_too():
    cluster, pod = world_with_ephemeral(replace(TMP, ephemeral_class="now"), NOW)
    assert claim_of(cluster, pod).volume == "pvc-default-pod-0-tmp"
    cluster.remove_pod(pod)
    assert not cluster.storage.of(Kind.PV)


def test_a_disk_that_was_there_before_is_released_not_free():
    disk = a_volume(storage_class="now")
    cluster, pod = world_with_ephemeral(replace(TMP, ephemeral_class="now"), NOW, disk)
    assert claim_of(cluster, pod).volume == "pv"
    cluster.remove_pod(pod)
    assert cluster.storage.volume("pv").phase == "Released"
    assert cluster.storage.takeable(a_claim(storage_class="now")) == []


def test_a_claim_that_is_there_already_is_not_made_again():
    given_ = a_claim("pod-0-tmp", 7, owner="pod-0")
    cluster, pod = world_with_ephemeral(TMP, LATE, given_)
    assert claim_of(cluster, pod) == given_


# --- A run

PROMPT = {"kubelet": CALM, "controlPlane": {"ideal": True}}


def run_with(volumes, *objects, replicas=4):
    deployment = a_deployment("web", replicas)
    deployment["spec"]["template"]["spec"]["volumes"] = volumes
    pool = a_pool(4, zones=["a", "b"])
    simulation = Simulation(a_scenario([deployment, *objects], nodes=[pool], **PROMPT))
    result = simulation.run()
    simulation.cluster.check()
    return simulation.cluster, result


def zones_of_pods(cluster):
    nodes, pods = cluster.nodes, cluster.pods
    return [nodes.zones[nodes.zone[node]] for node in pods.node[: len(pods)].tolist()]


LATE_RAW = manifest(
    "StorageClass",
    group=STORAGE,
    name="late",
    provisioner=DRIVER,
    volumeBindingMode="WaitForFirstConsumer",
)
SHARED = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
CLAIM_RAW = manifest(
    "PersistentVolumeClaim", {**CLAIM_SPEC, "storageClassName": "late"}, name="data"
)


def test_pods_that_share_a_claim_follow_its_volume_into_one_zone():
    cluster, result = run_with([SHARED], LATE_RAW, CLAIM_RAW)
    assert len(set(zones_of_pods(cluster))) == 1
    assert cluster.storage.claim("default", "data").volume == "pvc-default-data"
    assert not any("claim" in note for note in result.info.notes)


def test_pods_with_claims_of_their_own_spread_over_the_zones():
    cluster, _ = run_with([{"name": "tmp", "ephemeral": EPHEMERAL}], LATE_RAW)
    assert set(zones_of_pods(cluster)) == {"a", "b"}
    assert sum(claim.bound for claim in cluster.storage.of(Kind.PVC).values()) == 4


def test_a_claim_that_nobody_gives_is_assumed_and_the_run_says_so():
    cluster, result = run_with([SHARED])
    assert set(zones_of_pods(cluster)) == {"a", "b"}
    assert "1 claim (default/data) that pods name" in " ".join(result.info.notes)


def test_attach_limits_leave_pods_waiting():
    limits = [
        manifest(
            "CSINode", {"drivers": [{"name": DRIVER, "allocatable": {"count": 1}}]}, STORAGE, n
        )
        for n in ("pool-0", "pool-1", "pool-2", "pool-3")
    ]
    ephemeral = {"name": "tmp", "ephemeral": EPHEMERAL}
    cluster, _ = run_with([ephemeral], LATE_RAW, *limits, replicas=6)
    pods = cluster.pods
    assert sorted(pods.node[: len(pods)].tolist()) == [-1, -1, 0, 1, 2, 3]  # one volume per node
