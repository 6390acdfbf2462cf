"""ImageLocality: bytes of a pod's images on the node, times the share of nodes that have them.

Formula: pkg/scheduler/framework/plugins/imagelocality/image_locality.go (v1.34.1):
100 * (clamp(sum, 23Mi, 1000Mi * containers) - 23Mi) / (1000Mi * containers - 23Mi).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog import default_profile
from sim.cluster import Cluster
from sim.evaluation import Evaluation
from sim.plugins.image_locality import ImageLocality, full_name
from sim.podspec import Container
from sim.testing import a_cluster, a_node, a_pod, check_score, put_node

MIB = 1024 * 1024
WEB, TOOL = "example.com/web:1", "example.com/tool:latest"


def a_pod_of(*images, init=()):
    return a_pod(
        containers=tuple(Container(f"c{i}", image) for i, image in enumerate(images)),
        init_containers=tuple(Container(f"i{i}", image) for i, image in enumerate(init)),
    )


def scores(pod, *images_of_nodes):
    cluster = a_cluster([a_node(images=images) for images in images_of_nodes])
    return scores_in(cluster, pod)


def scores_in(cluster, pod):
    plugin, template, nodes = ImageLocality(), cluster.template(pod), cluster.nodes.ids()
    state = plugin.prescore(template, cluster, nodes)
    return plugin.score(template, cluster, nodes, state).tolist()


@pytest.mark.parametrize(
    ("pod", "images_of_nodes", "expected"),
    [
        # one of two nodes: 512 Mi * 1/2 = 256; 100 * (256 - 23) / (1000 - 23) = 23.8
        pytest.param(a_pod_of(WEB), [{WEB: 512 * MIB}, {}], [23, 0], id="half of the nodes"),
        # both: 512; 100 * (512 - 23) / 977 = 50.05
        pytest.param(a_pod_of(WEB), [{WEB: 512 * MIB}] * 2, [50, 50], id="all nodes"),
        # 23 Mi is not more than the threshold
        pytest.param(a_pod_of(WEB), [{WEB: 23 * MIB}], [0], id="small images count nothing"),
        # 33 Mi: 100 * 10 / 977 = 1.02
        pytest.param(a_pod_of(WEB), [{WEB: 33 * MIB}], [1], id="just above the threshold"),
        pytest.param(a_pod_of(WEB), [{WEB: 5000 * MIB}], [100], id="1000 Mi are enough"),
        # 1000 of 2000: 100 * (1000 - 23) / (2000 - 23) = 49.4
        pytest.param(
            a_pod_of(WEB, "other:1"), [{WEB: 1000 * MIB}], [49], id="each container may bring 1000"
        ),
        # both containers have the image: 2 * 512 = 1024; 100 * (1024 - 23) / 1977 = 50.6
        pytest.param(a_pod_of(WEB, WEB), [{WEB: 512 * MIB}], [50], id="once per container"),
        # 500 + 600 = 1100; 100 * (1100 - 23) / 1977 = 54.5
        pytest.param(
            a_pod_of(WEB, init=[TOOL]),
            [{WEB: 500 * MIB, TOOL: 600 * MIB}],
            [54],
            id="init containers count",
        ),
        # 600; 100 * (600 - 23) / 977 = 59.06
        pytest.param(
            a_pod_of("example.com/tool"), [{TOOL: 600 * MIB}], [59], id="no tag means latest"
        ),
        pytest.param(a_pod_of("unheard:1"), [{WEB: 600 * MIB}, {}], [0, 0], id="unknown image"),
        # the size of the first node that has it holds for all: 500 on both; 100 * 477 / 977 = 48.8
        pytest.param(
            a_pod_of(WEB), [{WEB: 500 * MIB}, {WEB: 900 * MIB}], [48, 48], id="one size per image"
        ),
    ],
)
def test_score(pod, images_of_nodes, expected):
    assert scores(pod, *images_of_nodes) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("web", "web:latest"),
        ("web:1", "web:1"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("localhost:5000/web:1", "localhost:5000/web:1"),
        ("web@sha256:0123", "web@sha256:0123"),
    ],
)
def test_the_tag_is_what_follows_the_last_slash(image, expected):
    assert full_name(image) == expected


def test_a_node_that_comes_or_goes_moves_the_share():
    cluster = a_cluster([a_node(images={WEB: 512 * MIB})])
    assert scores_in(cluster, a_pod_of(WEB)) == [50]
    put_node(cluster, a_node())
    assert scores_in(cluster, a_pod_of(WEB)) == [23, 0]  # 512 * 1/2
    cluster.remove_node(0)
    assert scores_in(cluster, a_pod_of(WEB)) == [0]
    assert not ImageLocality().concerns(cluster.template(a_pod_of(WEB)), cluster)


def test_a_node_may_get_other_images():
    cluster = a_cluster([a_node(images={WEB: 512 * MIB}), a_node()])
    cluster.set_images(1, {WEB: 512 * MIB})
    assert scores_in(cluster, a_pod_of(WEB)) == [50, 50]
    cluster.set_images(0, {})
    assert scores_in(cluster, a_pod_of(WEB)) == [0, 23]
    assert cluster.nodes.images.of(0) == {}


def test_the_standing_answer_follows_images():
    cluster = a_cluster([a_node(), a_node()])
    evaluation = Evaluation(cluster.template(a_pod_of(WEB)), cluster, default_profile())
    evaluation.refresh()
    before = evaluation.total.tolist()
    cluster.set_images(1, {WEB: 512 * MIB})
    evaluation.refresh()
    assert evaluation.total.tolist() == [before[0], before[1] + 23]
    seen = len(cluster.nodes_log)
    cluster.set_images(1, {WEB: 512 * MIB})
    assert len(cluster.nodes_log) == seen, "the same images are no change"


def test_the_contract_holds():
    cluster = a_cluster(
        [a_node(images={WEB: 512 * MIB, TOOL: 9}), a_node(images={TOOL: 7}), a_node()]
    )
    for pod in (a_pod_of(WEB), a_pod_of(WEB, TOOL), a_pod_of("other"), a_pod(containers=())):
        check_score(ImageLocality(), pod, cluster)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 99)))
    )
)
def test_what_is_kept_of_images_is_what_the_nodes_have(changes):
    cluster = Cluster()
    for _ in range(4):
        put_node(cluster, a_node())
    having = [{}, {}, {}, {}]
    for node, images in changes:
        cluster.set_images(node, images)
        having[node] = images
    images = cluster.nodes.images
    assert [images.of(node) for node in range(4)] == having
    assert {name: sorted(nodes) for name, nodes in images.nodes.items()} == {
        name: [node for node in range(4) if name in having[node]]
        for name in {name for names in having for name in names}
    }
    assert images.size_b.keys() == images.nodes.keys()
