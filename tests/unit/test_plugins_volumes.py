"""VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone: reasons and hints by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog import FILTERS, default_profile
from sim.evaluation import Evaluation
from sim.events import Action, Event, Kind, NodeFacts, PodFacts
from sim.extend import SKIP, Code
from sim.labels import Requirement, Selector
from sim.plugins.node_volume_limits import NodeVolumeLimits
from sim.plugins.volume_binding import Bindings, VolumeBinding, bindings
from sim.plugins.volume_restrictions import VolumeRestrictions
from sim.plugins.volume_zone import VolumeZone
from sim.podspec import NodeSelectorTerm, Volume
from sim.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    StorageClass,
    VolumeAttachment,
)
from sim.tables import UNBOUND
from sim.testing import HOSTNAME, ZONE, a_node, a_pod, bound, check_filter, put_pod
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
    csi,
    host,
    on,
    put,
    refusals,
)

NEVER_HELPS, HELPS = Code.UNRESOLVABLE, Code.UNSCHEDULABLE
DISK = (HELPS, "node(s) had no available disk")
IN_USE = (
    HELPS,
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already"
    " in-use by another pod",
)
TOO_MANY = (HELPS, "node(s) exceed max volume count")
ELSEWHERE = (NEVER_HELPS, "node(s) didn't match PersistentVolume's node affinity")
NO_VOLUME = (NEVER_HELPS, "node(s) didn't find available persistent volumes to bind")
NO_SPACE = (NEVER_HELPS, "node(s) did not have enough free storage")
GONE = (
    NEVER_HELPS,
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
)
IMMEDIATE = (NEVER_HELPS, "pod has unbound immediate PersistentVolumeClaims")
OTHER_ZONE = (NEVER_HELPS, "node(s) had no available volume zone")
ALONE = a_claim("alone", access_modes=("ReadWriteOncePod",))
NAMED_NODE_0 = Requirement("metadata.name", "In", ("node-0",))
PLUGINS = (VolumeRestrictions(), NodeVolumeLimits(), VolumeBinding(), VolumeZone())


def missing(name):
    return NEVER_HELPS, f'persistentvolumeclaim "{name}" not found'


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_pod_without_volumes_is_no_concern_and_skipped(plugin):
    cluster = a_world(a_claim(), LATE)
    template = cluster.template(a_pod())
    assert not plugin.concerns(template, cluster)
    assert plugin.prefilter(template, cluster) is SKIP


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_answers_keep_what_the_scheduler_relies_on(plugin):
    pod = a_pod_with("data", "alone", volumes=(gce("d"),))
    zoned = csi("pv", labels={ZONE: "a"}, node_affinity=on(ZONE, "a"))
    objects = (zoned, a_bound_claim(), ALONE, LATE, CSINode("node-0", {DRIVER: 1}))
    held = bound(a_pod(volumes=(gce("d"), Volume("x", claim="alone"))), 0)
    check_filter(plugin, pod, a_world(*objects, nodes=3, pods=[held]))


def test_the_four_stand_between_resources_and_spread():
    names = list(FILTERS)
    first = names.index("NodeResourcesFit")
    assert names[first : first + 6] == [
        *("NodeResourcesFit", "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding"),
        *("VolumeZone", "PodTopologySpread"),
    ]


# --- VolumeRestrictions


def gce(name, read_only=False):
    return Volume("d", disk=("gcePersistentDisk", name), read_only=read_only)


def aws(name, read_only=False):
    return Volume("d", disk=("awsElasticBlockStore", name), read_only=read_only)


def rbd(monitors, image="i", read_only=False):
    return Volume("d", disk=("rbd", "rbd", image), monitors=monitors, read_only=read_only)


def iscsi(name, read_only=False):
    return Volume("d", disk=("iscsi", name), read_only=read_only)


DISKS = {
    "the same disk": (gce("a"), gce("a"), True),
    "another disk": (gce("a"), gce("b"), False),
    "both only read": (gce("a", True), gce("a", True), False),
    "one of two only reads": (gce("a", True), gce("a"), True),
    "AWS disks are not even read together": (aws("a", True), aws("a", True), True),
    "disks of two kinds with one name": (aws("a"), gce("a"), False),
    "rbd with a monitor of both": (rbd(("m", "n")), rbd(("n", "o")), True),
    "rbd of other monitors": (rbd(("m",)), rbd(("o",)), False),
    "another image of the monitor": (rbd(("m",)), rbd(("m",), "j"), False),
    "rbd that both only read": (rbd(("m",), read_only=True), rbd(("m",), read_only=True), False),
    "iscsi": (iscsi("q"), iscsi("q"), True),
    "iscsi that both only read": (iscsi("q", True), iscsi("q", True), False),
    "a kind that is shared freely": (
        Volume("d", disk=("azureDisk", "a")),
        Volume("d", disk=("azureDisk", "a")),
        SKIP,
    ),
}


@pytest.mark.parametrize(("wanted", "taken", "conflict"), DISKS.values(), ids=DISKS)
def test_a_disk_is_not_used_twice_on_a_node(wanted, taken, conflict):
    cluster = a_world(pods=[bound(a_pod(volumes=(taken,)), 0)])
    expected = SKIP if conflict is SKIP else [DISK if conflict else None, None]
    assert refusals(VolumeRestrictions(), cluster, a_pod(volumes=(wanted,))) == expected


def test_a_claim_for_one_pod_is_refused_on_every_node_while_a_pod_holds_it():
    cluster = a_world(ALONE, pods=[bound(a_pod_with("alone"), 1)])
    assert refusals(VolumeRestrictions(), cluster, a_pod_with("alone")) == [IN_USE, IN_USE]
    cluster.remove_pod(0)
    assert refusals(VolumeRestrictions(), cluster, a_pod_with("alone")) is SKIP


def test_a_claim_for_one_pod_is_free_while_its_namesake_elsewhere_is_used():
    theirs = replace(ALONE, namespace="other")
    cluster = a_world(ALONE, theirs, pods=[bound(a_pod_with("alone", namespace="other"), 1)])
    assert refusals(VolumeRestrictions(), cluster, a_pod_with("alone")) is SKIP


def test_a_claim_for_one_pod_is_free_when_its_holder_was_left_on_a_node_that_is_gone():
    cluster = a_world(ALONE, pods=[bound(a_pod_with("alone"), 1)])
    cluster.remove_node(1)
    assert refusals(VolumeRestrictions(), cluster, a_pod_with("alone")) is SKIP


def test_a_claim_for_many_pods_may_be_shared():
    cluster = a_world(a_claim(), pods=[bound(a_pod_with("data"), 1)])
    assert refusals(VolumeRestrictions(), cluster, a_pod_with("data")) is SKIP


def test_the_first_missing_claim_is_named():
    cluster = a_world(a_claim())
    assert refusals(VolumeRestrictions(), cluster, a_pod_with("data", "b", "a")) == missing("b")


def test_taking_the_holder_away_frees_the_claim_and_the_state_before_stays():
    cluster = a_world(ALONE, pods=[bound(a_pod_with("alone"), 1), bound(a_pod(), 1)])
    plugin, template = VolumeRestrictions(), cluster.template(a_pod_with("alone"))
    state = plugin.prefilter(template, cluster)
    assert plugin.assume(state, template, cluster, 1, 1, -1) == state  # a pod without the claim
    freed = plugin.assume(state, template, cluster, 0, 1, -1)
    assert (state.holders, freed.holders) == (1, 0)
    assert plugin.assume(freed, template, cluster, 0, 1, 1) == state


# --- NodeVolumeLimits


def held(*names):
    """Volumes a driver attaches, with the claims c-NAME bound to them."""
    return [x for n in names for x in (csi(n), a_bound_claim(f"c-{n}", n))]


LIMITS = {
    # limit, claims on node 0, claims wanted: 1 + 1 > 2 does not hold, 1 + 2 > 2 does
    "as many as allowed": (2, ["c-a"], ["c-b"], None),
    "one more than allowed": (2, ["c-a"], ["c-b", "c-c"], TOO_MANY),
    "a volume that is there already costs nothing": (1, ["c-a"], ["c-a"], None),
    "an attached one beside a new one": (1, ["c-a"], ["c-a", "c-b"], TOO_MANY),
    "a full node takes what is there": (0, ["c-a"], ["c-a"], None),
    "a claim named twice counts once": (1, [], ["c-a", "c-a"], None),
    "a claim without volume counts by its class": (1, ["c-a"], ["open"], TOO_MANY),
    "two of those are two volumes": (1, [], ["open", "open-too"], TOO_MANY),
    "a volume without a driver": (0, [], ["plain"], None),
    "a claim whose volume is gone counts by its class": (0, [], ["lost"], TOO_MANY),
    "a claim without class or volume": (0, [], ["classless"], None),
}
OPEN = (
    *(a_claim("open"), a_claim("open-too"), a_claim("classless", storage_class=None)),
    *(a_bound_claim("plain", "disk"), a_volume("disk"), a_bound_claim("lost", "gone")),
)


@pytest.mark.parametrize(("limit", "there", "wanted", "expected"), LIMITS.values(), ids=LIMITS)
def test_a_driver_attaches_no_more_than_its_limit(limit, there, wanted, expected):
    objects = (*held("a", "b", "c"), *OPEN, LATE, CSINode("node-0", {DRIVER: limit}))
    cluster = a_world(*objects, pods=[bound(a_pod_with(*there), 0)])
    answer = refusals(NodeVolumeLimits(), cluster, a_pod_with(*wanted))
    assert answer == [expected, None]  # node 1 says nothing, so has no limit


def test_a_limit_of_another_driver_does_not_matter():
    cluster = a_world(*held("a"), CSINode("node-0", {"nfs.csi": 0}))
    assert refusals(NodeVolumeLimits(), cluster, a_pod_with("c-a")) == [None, None]


def test_what_is_attached_without_a_pod_counts_once():
    attached = [VolumeAttachment(f"x-{n}", DRIVER, "node-0", n) for n in "ab"]
    objects = (*held("a", "b", "c"), *attached, CSINode("node-0", {DRIVER: 2}))
    cluster = a_world(*objects, pods=[bound(a_pod_with("c-a"), 0)])  # a, b: 2 + 1 > 2
    assert refusals(NodeVolumeLimits(), cluster, a_pod_with("c-c")) == [TOO_MANY, None]
    cluster.remove_storage(Kind.VOLUME_ATTACHMENT, ("", "x-b"))  # a: 1 + 1 = 2
    assert refusals(NodeVolumeLimits(), cluster, a_pod_with("c-c")) == [None, None]


def test_only_disks_that_csi_can_take_over_concern_the_limits():
    cluster = a_world(CSINode("node-0", {DRIVER: 0}))
    assert refusals(NodeVolumeLimits(), cluster, a_pod(volumes=(gce("d"),))) == [None, None]
    assert refusals(NodeVolumeLimits(), cluster, a_pod(volumes=(iscsi("d"),))) is SKIP


# --- VolumeBinding, before any node is asked

EPHEMERAL = Volume("scratch", claim="web-scratch", ephemeral=True)
MADE = a_claim("web-scratch", owner="web")
BEFORE = {
    "no such claim": ([], missing("data")),
    "a lost claim": (
        [a_bound_claim(volume="gone", phase="Lost")],
        (NEVER_HELPS, 'persistentvolumeclaim "data" bound to non-existent persistentvolume "gone"'),
    ),
    "a claim that is being deleted": (
        [a_claim(deleting=True)],
        (NEVER_HELPS, 'persistentvolumeclaim "data" is being deleted'),
    ),
    "a class that binds at once": ([a_claim(storage_class="now")], IMMEDIATE),
    "a class that is not there": ([a_claim(storage_class="nowhere")], IMMEDIATE),
    "no class": ([a_claim(storage_class=None)], IMMEDIATE),
    "a volume named but not bound": ([a_claim(volume="pv")], IMMEDIATE),
    "a class that waits": ([a_claim()], [None, None]),
    "a bound claim of the class that binds at once": (
        [a_bound_claim(storage_class="now"), a_volume()],
        [None, None],
    ),
}


@pytest.mark.parametrize(("objects", "expected"), BEFORE.values(), ids=BEFORE)
def test_claims_that_no_node_can_help(objects, expected):
    cluster = a_world(LATE, NOW, *objects)
    assert refusals(VolumeBinding(), cluster, a_pod_with("data")) == expected


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (
            [],
            (
                NEVER_HELPS,
                "waiting for ephemeral volume controller to create the persistentvolumeclaim"
                ' "web-scratch"',
            ),
        ),
        (
            [replace(MADE, owner="")],
            (
                NEVER_HELPS,
                "PVC default/web-scratch was not created for pod default/web (pod is not owner)",
            ),
        ),
        ([MADE], [None, None]),
    ],
    ids=["not made yet", "of somebody else", "made for the pod"],
)
def test_the_claim_of_an_ephemeral_volume_must_be_the_pods(objects, expected):
    cluster = a_world(LATE, *objects)
    assert refusals(VolumeBinding(), cluster, a_pod(volumes=(EPHEMERAL,))) == expected


# --- VolumeBinding on nodes

A, B = on(ZONE, "a"), on(ZONE, "b")
WAITS = {"storage_class": "local"}
MATCHES = {
    "the volume of a bound claim is in one zone": (
        [a_bound_claim(), a_volume(node_affinity=A)],
        [None, ELSEWHERE],
    ),
    "the volume of a bound claim is gone": ([a_bound_claim()], [GONE, GONE]),
    "a local disk of node 1": (
        [a_claim(**WAITS), a_volume(node_affinity=host(1), **WAITS)],
        [NO_VOLUME, None],
    ),
    "kept for nodes by a field, which is not asked": (
        [
            a_claim(**WAITS),
            a_volume(
                node_affinity=(
                    NodeSelectorTerm((Requirement(ZONE, "In", ("b",)),), (NAMED_NODE_0,)),
                    NodeSelectorTerm(),
                ),
                **WAITS,
            ),
        ],
        [NO_VOLUME, None],
    ),
    "too small": ([a_claim(size_gi=2, **WAITS), a_volume(**WAITS)], [NO_VOLUME] * 2),
    "of another class": ([a_claim(**WAITS), a_volume()], [NO_VOLUME] * 2),
    "of another mode": (
        [a_claim(**WAITS), a_volume(volume_mode="Block", **WAITS)],
        [NO_VOLUME] * 2,
    ),
    "without an access mode": (
        [a_claim(access_modes=("ReadWriteMany",), **WAITS), a_volume(**WAITS)],
        [NO_VOLUME] * 2,
    ),
    "being deleted": ([a_claim(**WAITS), a_volume(deleting=True, **WAITS)], [NO_VOLUME] * 2),
    "released": ([a_claim(**WAITS), a_volume(phase="Released", **WAITS)], [NO_VOLUME] * 2),
    "somebody else's": (
        [a_claim(**WAITS), a_volume(claim=("default", "other"), **WAITS)],
        [NO_VOLUME] * 2,
    ),
    "kept for a claim of the name that is gone": (
        [
            a_claim(uid="new", **WAITS),
            a_volume(claim=("default", "data"), claim_uid="old", **WAITS),
        ],
        [NO_VOLUME] * 2,
    ),
    "not what the selector picks": (
        [a_claim(selector=Selector.of({"disk": "ssd"}), **WAITS), a_volume(**WAITS)],
        [NO_VOLUME] * 2,
    ),
    "what the selector picks": (
        [
            a_claim(selector=Selector.of({"disk": "ssd"}), **WAITS),
            a_volume(labels={"disk": "ssd"}, **WAITS),
        ],
        [None, None],
    ),
    "kept for the claim, in any phase": (
        [a_claim(**WAITS), a_volume(claim=("default", "data"), phase="Pending", **WAITS)],
        [None, None],
    ),
    "kept for the claim on node 0, whatever is free": (
        [
            a_claim(**WAITS),
            a_volume("kept", claim=("default", "data"), node_affinity=host(0), **WAITS),
            a_volume("free", **WAITS),
        ],
        [None, NO_VOLUME],
    ),
    "to be provisioned where a node was chosen before": (
        [a_claim(selected_node="node-1")],
        [NO_VOLUME, None],
    ),
    "to be provisioned on a node that is gone": ([a_claim(selected_node="x")], [NO_VOLUME] * 2),
    "to be provisioned in the allowed zone": (
        [
            a_claim(storage_class="zonal"),
            StorageClass(
                "zonal", DRIVER, "WaitForFirstConsumer", ((Requirement(ZONE, "In", ("b",)),),)
            ),
        ],
        [NO_VOLUME, None],
    ),
    "an empty topology allows no node": (
        [
            a_claim(storage_class="zonal"),
            StorageClass("zonal", DRIVER, "WaitForFirstConsumer", ((),)),
        ],
        [NO_VOLUME] * 2,
    ),
}


@pytest.mark.parametrize(("objects", "expected"), MATCHES.values(), ids=MATCHES)
def test_claims_are_met_where_a_volume_is_or_can_be_made(objects, expected):
    cluster = a_world(LATE, LOCAL, *objects)
    assert refusals(VolumeBinding(), cluster, a_pod_with("data")) == expected


def test_a_bound_and_an_open_claim_give_two_reasons_sorted():
    cluster = a_world(LOCAL, a_bound_claim("a"), a_volume(node_affinity=B), a_claim("b", **WAITS))
    both = (NEVER_HELPS, NO_VOLUME[1], ELSEWHERE[1])
    assert refusals(VolumeBinding(), cluster, a_pod_with("a", "b")) == [both, NO_VOLUME]


def room(size_gi, **more):
    return CSIStorageCapacity(
        "kube-system", f"room-{size_gi}", "late", size_gi * GI, node_topology=Selector(), **more
    )


ROOM = {
    "enough": ([room(2)], [None, None]),
    "too little": ([room(1)], [NO_SPACE] * 2),
    "nothing is said": ([], [NO_SPACE] * 2),
    "volumes may not be as large as the room": (
        [room(9, maximum_volume_b=GI)],
        [NO_SPACE] * 2,
    ),
    "volumes may be large enough": ([room(1, maximum_volume_b=2 * GI)], [None, None]),
    "no node is meant": ([replace(room(9), node_topology=None)], [NO_SPACE] * 2),
    "node 1 is meant": (
        [replace(room(9), node_topology=Selector.of({HOSTNAME: "node-1"}))],
        [NO_SPACE, None],
    ),
    "another class is meant": ([replace(room(9), storage_class="now")], [NO_SPACE] * 2),
}


@pytest.mark.parametrize(("objects", "expected"), ROOM.values(), ids=ROOM)
def test_a_driver_that_tells_its_room_must_have_enough(objects, expected):
    cluster = a_world(LATE, CSIDriver(DRIVER, True), a_claim(size_gi=2), *objects)
    assert refusals(VolumeBinding(), cluster, a_pod_with("data")) == expected


@pytest.mark.parametrize("drivers", [[], [CSIDriver(DRIVER, False)]], ids=["none", "not telling"])
def test_a_driver_that_does_not_tell_its_room_has_it(drivers):
    cluster = a_world(LATE, a_claim(size_gi=2), *drivers)
    assert refusals(VolumeBinding(), cluster, a_pod_with("data")) == [None, None]


def test_small_claims_choose_first_and_take_the_smallest_volume_that_fits():
    sizes = [a_volume(f"pv-{size}", size) for size in (9, 3, 5)]
    claims = [a_claim("large", 4), a_claim("small", 2), a_claim("larger", 8), a_claim("huge", 10)]
    cluster = a_world(LATE, *sizes, *claims, nodes=1)
    pod = cluster.template(a_pod_with("huge", "large", "small", "larger"))
    assert bindings(pod, cluster, 0) == Bindings(
        bind=(
            (("default", "small"), "pv-3"),
            (("default", "large"), "pv-5"),
            (("default", "larger"), "pv-9"),
        ),
        provision=(("default", "huge"),),
    )


def test_a_small_claim_that_takes_the_only_volume_leaves_none_for_the_large_one():
    cluster = a_world(
        LOCAL, a_volume("one", 5, **WAITS), a_claim("s", 1, **WAITS), a_claim("l", 4, **WAITS)
    )
    pod = a_pod_with("s", "l")
    assert refusals(VolumeBinding(), cluster, pod) == [NO_VOLUME] * 2
    assert bindings(cluster.template(pod), cluster, 0) is None


def test_reserving_binds_and_provisions_in_the_zone_of_the_node():
    cluster = a_world(LATE, a_volume("pv", 1), a_claim("a", 1), a_claim("b", 2))
    pod = put_pod(cluster, a_pod_with("a", "b"))
    VolumeBinding().reserve(pod, 1, cluster)
    made = cluster.storage.volume("pvc-default-b")
    assert (made.capacity_b, made.csi_driver, made.node_affinity) == (2 * GI, DRIVER, B)
    assert cluster.storage.claim("default", "a").volume == "pv"
    assert all(cluster.storage.claim("default", name).bound for name in "ab")
    assert cluster.storage.volume("pv").claim == ("default", "a")
    assert refusals(VolumeBinding(), cluster, a_pod_with("a")) == [None, None]
    assert refusals(VolumeBinding(), cluster, a_pod_with("b")) == [ELSEWHERE, None]


def test_a_volume_made_for_a_node_without_zone_goes_anywhere():
    cluster = a_world(LATE, a_claim(), nodes=[a_node(), a_node(zone="a")])
    VolumeBinding().reserve(put_pod(cluster, a_pod_with("data")), 0, cluster)
    assert cluster.storage.volume("pvc-default-data").node_affinity is None


# --- VolumeZone

BETA = "failure-domain.beta.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"
ZONES = {
    # labels of the volume, of the node, whether they agree
    "the zone of the node": ({ZONE: "a"}, {ZONE: "a"}, True),
    "another zone": ({ZONE: "a"}, {ZONE: "b"}, False),
    "one of two zones": ({ZONE: "b__a"}, {ZONE: "a"}, True),
    "neither of two zones": ({ZONE: "b__c"}, {ZONE: "a"}, False),
    "a node without such labels": ({ZONE: "a"}, {}, True),
    "a node with a region only": ({ZONE: "a"}, {REGION: "r"}, False),
    "the old label of the volume, the new one of the node": ({BETA: "a"}, {ZONE: "a"}, True),
    "the old label of both": ({BETA: "a"}, {BETA: "a", ZONE: "b"}, True),
    "the new label of the volume, the old one of the node": ({ZONE: "a"}, {BETA: "a"}, False),
    "the zone agrees, the region does not": (
        {ZONE: "a", REGION: "r"},
        {ZONE: "a", REGION: "s"},
        False,
    ),
    "a label with an empty part says nothing": ({ZONE: "b__"}, {ZONE: "a"}, SKIP),
    "a volume without such labels": ({"disk": "ssd"}, {ZONE: "a"}, SKIP),
}


@pytest.mark.parametrize(("volume", "node", "agree"), ZONES.values(), ids=ZONES)
def test_a_volume_with_zone_labels_is_used_in_its_zones(volume, node, agree):
    objects = (a_bound_claim(), a_volume(labels=volume))
    cluster = a_world(*objects, nodes=[a_node(labels=node)])
    expected = SKIP if agree is SKIP else [None if agree else OTHER_ZONE]
    assert refusals(VolumeZone(), cluster, a_pod_with("data")) == expected


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (None, missing("data")),
        (a_bound_claim(volume="gone"), (NEVER_HELPS, 'persistentvolume "gone" not found')),
        (
            a_claim(storage_class=None),
            (NEVER_HELPS, "PersistentVolumeClaim had no pv name and storageClass name"),
        ),
        (
            a_claim(storage_class="x"),
            (NEVER_HELPS, 'storageclass.storage.k8s.io "x" not found'),
        ),
        (a_claim(storage_class="now"), (NEVER_HELPS, "PersistentVolume had no name")),
        (a_claim(), SKIP),
    ],
    ids=["no claim", "no volume", "no class named", "no such class", "not bound", "waiting"],
)
def test_zones_need_the_volume_of_the_claim(claim, expected):
    cluster = a_world(NOW, LATE, *([claim] if claim else []))
    assert refusals(VolumeZone(), cluster, a_pod_with("data")) == expected


# --- Hints

CLUSTER = a_world(LATE)
POD = a_pod_with("data", volumes=(EPHEMERAL, gce("disk"), Volume("c", csi_driver="inline.csi")))
NODE = Event(Kind.NODE, Action.ADD, after=NodeFacts("n", {}, (), False, {}))


def asked(plugin, event, pod=POD):
    return plugin.hint(event, CLUSTER.template(pod), CLUSTER, own=False)


def came(value):
    return Event(value.kind, Action.ADD, after=value)


def became(before, **changes):
    return Event(before.kind, Action.OTHER, before, replace(before, **changes))


def went(pod, node=UNBOUND, nominated=UNBOUND):
    facts = PodFacts(9, "gone", CLUSTER.template(pod), node, nominated)
    return Event(Kind.POD, Action.DELETE, before=facts)


MINE, THEIRS = a_claim(), a_claim(namespace="other")
CSI_NODE = CSINode("node-0", {DRIVER: 1})
TELLING = CSIDriver("inline.csi", True)
HINTS = {
    "VolumeRestrictions": [
        ("a node", NODE, True),
        ("the claim", came(MINE), True),
        ("a claim of another namespace", came(THEIRS), False),
        ("an ephemeral claim", came(MADE), False),
        ("a pod with the disk, never placed", went(a_pod(volumes=(gce("disk"),))), True),
        ("a pod with another disk", went(a_pod(volumes=(gce("other"),))), False),
        ("a pod with the claim", went(a_pod_with("data")), True),
        (
            "a pod with the claim of another namespace",
            went(a_pod_with("data", namespace="x")),
            False,
        ),
        ("a pod with another claim", went(a_pod_with("other")), False),
    ],
    "NodeVolumeLimits": [
        ("a CSINode", came(CSI_NODE), True),
        ("a higher limit", became(CSI_NODE, limits={DRIVER: 2}), True),
        ("a lower limit", became(CSI_NODE, limits={DRIVER: 0}), False),
        ("a limit of another driver", became(CSI_NODE, limits={DRIVER: 1, "x": 1}), True),
        ("a pod with a claim", went(a_pod_with("other"), node=0), True),
        ("a nominated pod with a claim", went(a_pod_with("other"), nominated=0), True),
        ("a pod that was nowhere", went(a_pod_with("other")), False),
        ("a pod with a disk for CSI", went(a_pod(volumes=(gce("x"),)), node=0), True),
        ("a pod with another disk", went(a_pod(volumes=(iscsi("x"),)), node=0), False),
        ("a pod without volumes", went(a_pod(), node=0), False),
        ("the claim", came(MINE), True),
        ("an ephemeral claim", came(MADE), True),
        ("a claim of another namespace", came(THEIRS), False),
        (
            "a detached volume",
            Event(
                Kind.VOLUME_ATTACHMENT, Action.DELETE, VolumeAttachment("x", "any", "node-0", "v")
            ),
            True,
        ),
    ],
    "VolumeBinding": [
        ("a node", NODE, True),
        ("a volume", came(a_volume()), True),
        ("a volume that changes", became(a_volume(), deleting=True), True),
        ("a class", came(LATE), True),
        ("a class that changes", became(LATE, default=True), False),
        ("topologies", became(LATE, allowed_topologies=((),)), True),
        ("the claim", came(MINE), True),
        ("the claim changes", became(MINE, selected_node="x"), True),
        ("an ephemeral claim", came(MADE), True),
        ("a claim of another namespace", came(THEIRS), False),
        ("a CSINode", came(CSI_NODE), True),
        ("a CSINode with another limit", became(CSI_NODE, limits={}), False),
        ("migration", became(CSI_NODE, migrated_plugins="kubernetes.io/aws-ebs"), True),
        ("a driver stops telling", became(TELLING, storage_capacity=False), True),
        (
            "a driver starts telling",
            became(replace(TELLING, storage_capacity=False), storage_capacity=True),
            False,
        ),
        (
            "another driver stops telling",
            became(replace(TELLING, name="x"), storage_capacity=False),
            False,
        ),
        ("room", came(room(1)), True),
        ("more room", became(room(1), capacity_b=2 * GI), True),
        ("less room", became(room(2), capacity_b=GI), False),
        ("room is told at last", became(replace(room(1), capacity_b=None), capacity_b=0), True),
        (
            "more room but not for one volume",
            became(room(1, maximum_volume_b=GI), capacity_b=9 * GI),
            False,
        ),
    ],
    "VolumeZone": [
        ("a node", NODE, True),
        ("a volume", came(a_volume()), True),
        ("a volume changes", became(a_volume(), deleting=True), False),
        ("a volume moves", became(a_volume(), labels={ZONE: "a"}), True),
        ("a class that waits", came(LATE), True),
        ("a class that binds at once", came(NOW), False),
        ("the claim", came(MINE), True),
        ("the claim changes", became(MINE, volume="pv"), True),
        ("an ephemeral claim", came(MADE), False),
        ("a claim of another namespace", came(THEIRS), False),
    ],
}


@pytest.mark.parametrize(
    ("plugin", "event", "helps"),
    [
        pytest.param(plugin, event, helps, id=f"{plugin.name}-{title}")
        for plugin in PLUGINS
        for title, event, helps in HINTS[plugin.name]
    ],
)
def test_events_that_may_help(plugin, event, helps):
    assert asked(plugin, event) is helps
    assert any(kind == event.kind and action & event.action for kind, action in plugin.listens)


# --- Kept answers and properties


def test_kept_answers_follow_claims_volumes_and_pods():
    pod = a_pod_with("alone")
    cluster = a_world(LATE, CSINode("node-0", {DRIVER: 0}))
    evaluation = Evaluation(cluster.template(pod), cluster, default_profile())

    def first_refusals():
        evaluation.refresh()
        found = evaluation.verdicts()
        return [found[n][1].reasons[0] if n in found else None for n in range(2)]

    assert first_refusals() == [missing("alone")[1]] * 2
    put(cluster, ALONE)
    assert first_refusals() == [TOO_MANY[1], None]
    user = put_pod(cluster, bound(pod, 1))
    assert first_refusals() == [IN_USE[1]] * 2
    cluster.remove_pod(user)
    put(cluster, CSINode("node-0", {DRIVER: 1}))
    assert first_refusals() == [None, None]
    put(cluster, a_bound_claim("alone"), a_volume(node_affinity=B))
    assert first_refusals() == [ELSEWHERE[1], None]


sizes = st.integers(1, 6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(sizes, st.integers(-1, 2)), max_size=6),
    st.lists(st.lists(sizes, min_size=1, max_size=3), max_size=5),
    st.data(),
)
def test_no_volume_is_given_twice_and_none_too_small_or_elsewhere(volumes, pods, data):
    disks = [
        a_volume(f"pv-{i}", size, **WAITS, node_affinity=host(node) if node >= 0 else None)
        for i, (size, node) in enumerate(volumes)
    ]
    cluster = a_world(LOCAL, *disks, nodes=3)
    used = {}
    for number, wanted in enumerate(pods):
        claims = [a_claim(f"c-{number}-{i}", size, **WAITS) for i, size in enumerate(wanted)]
        put(cluster, *claims)
        pod = put_pod(cluster, a_pod_with(*(claim.name for claim in claims)))
        answer = refusals(VolumeBinding(), cluster, cluster.pod_template(pod).pod)
        fitting = [node for node, refusal in enumerate(answer) if refusal is None]
        if not fitting:
            continue
        node = data.draw(st.sampled_from(fitting))
        VolumeBinding().reserve(pod, node, cluster)
        for claim in claims:
            name = cluster.storage.claim(*claim.key).volume
            size, place = volumes[int(name.removeprefix("pv-"))]
            assert used.setdefault(name, claim.name) == claim.name
            assert size * GI >= claim.request_b
            assert place in (-1, node)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=2),
    st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=3), max_size=8),
)
def test_limits_are_kept_and_a_refused_node_would_exceed_its_own(limits, pods):
    nodes = [CSINode(f"node-{n}", {DRIVER: limit}) for n, limit in enumerate(limits)]
    cluster = a_world(*held(*map(str, range(6))), *nodes)
    on_node = [set(), set()]
    for wanted in pods:
        pod = a_pod_with(*(f"c-{volume}" for volume in sorted(wanted)))
        answer = refusals(NodeVolumeLimits(), cluster, pod)
        for node, refusal in enumerate(answer):
            new = wanted - on_node[node]
            exceeded = bool(new) and len(on_node[node] | wanted) > limits[node]
            assert (refusal == TOO_MANY) == exceeded
        if None in answer:
            node = answer.index(None)
            put_pod(cluster, bound(pod, node))
            on_node[node] |= wanted
            assert len(on_node[node]) <= limits[node]
