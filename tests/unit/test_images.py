"""Images: names, policies, back-off, missing layers, fair shares and garbage collection."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import images
from sim.backoff import Backoff
from sim.errors import SimError
from sim.images import Image, Layer, Unused

DIGEST = "sha256:" + "ab" * 32
NOW_MS = 10_000_000


@pytest.mark.parametrize(
    ("image", "name", "policy"),
    [
        ("nginx", "nginx:latest", "Always"),
        ("nginx:latest", "nginx:latest", "Always"),
        ("nginx:1.27", "nginx:1.27", "IfNotPresent"),
        ("localhost:5000/app", "localhost:5000/app:latest", "Always"),  # a port, no tag
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "IfNotPresent"),
        (f"nginx@{DIGEST}", f"nginx@{DIGEST}", "IfNotPresent"),
        (f"nginx:latest@{DIGEST}", f"nginx:latest@{DIGEST}", "Always"),
        ("REGISTRY.example/App:v1", None, "IfNotPresent"),  # upper case in a path
        ("http://url", None, "IfNotPresent"),
        ("ab" * 32, None, "IfNotPresent"),  # an image id
    ],
)
def test_the_tag_decides_the_default_policy(image, name, policy):
    assert images.full_name(image) == name
    assert images.default_policy(image) == policy


def test_failed_pulls_wait_twice_as_long_each_time_up_to_five_minutes():
    rule, entry, now_ms, waits = Backoff(), None, 0, []
    for _ in range(7):
        _, entry = images.pull_failed(rule, entry, now_ms)
        waits.append(entry.backoff_ms // 1000)
        assert images.backs_off(rule, entry, entry.until_ms - 1)
        assert not images.backs_off(rule, entry, entry.until_ms)
        now_ms = entry.until_ms
    assert waits == [10, 20, 40, 80, 160, 300, 300]


def test_an_entry_is_forgotten_after_ten_minutes():
    rule = Backoff()
    _, entry = images.pull_failed(rule, None, 0)
    _, entry = images.pull_failed(rule, entry, 10_000)
    assert images.pull_failed(rule, entry, 610_000)[1].backoff_ms == 40_000  # 600 s later: kept
    assert images.pull_failed(rule, entry, 610_001)[1].backoff_ms == 10_000


@given(
    until_ms=st.integers(0, 300_000),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=40, max_size=40),
    ticker_ms=st.integers(0, 999),
)
def test_a_pull_is_tried_again_at_a_look_that_is_the_first_after_its_back_off(
    until_ms, draws, ticker_ms
):
    looks = [0]
    for draw in draws:  # 10 s to 15 s after the one before, and up to the tick
        due_ms = looks[-1] + math.ceil(10_000 * (1 + draw / 2))
        looks.append(due_ms + (ticker_ms - due_ms) % 1000)
    left = iter(draws)
    found_ms = images.retry_ms(0, until_ms, lambda: next(left), ticker_ms)
    assert found_ms == next(look for look in looks[1:] if look >= until_ms)
    assert all(10_000 <= b - a < 16_000 for a, b in pairwise(looks))


def test_only_layers_that_the_node_lacks_are_missing_and_each_once():
    base, app = Layer("base", 100, 250), Layer("app", 10, 20)
    image = Image((base, app, app))
    assert images.missing(image, {"base"}) == (app,)
    assert images.missing(image, ()) == (base, app)
    assert images.missing(image, {"app", "base"}) == ()


@pytest.mark.parametrize(
    ("caps", "limit", "level"),
    [
        ([(100, 2)], 1000, math.inf),  # 200 of 1000: nobody is held back
        ([(100, 4)], 200, 50),  # 200 / 4
        ([(10, 1), (100, 3)], 190, 60),  # the slow one takes 10, (190 - 10) / 3
        ([(10, 1), (50, 1), (100, 1)], 100, 45),  # (100 - 10) / 2: 50 is bound too
        ([], 100, math.inf),
    ],
)
def test_what_slow_transfers_leave_is_shared(caps, limit, level):
    assert images.fair_level(caps, limit) == level


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 20)), min_size=1, max_size=8),
    st.integers(1, 20_000),
)
def test_shares_use_the_limit_up_unless_all_get_all_they_can_take(caps, limit):
    level = images.fair_level(caps, limit)
    total = sum(min(cap, level) * number for cap, number in caps)
    most = sum(cap * number for cap, number in caps)
    assert total == pytest.approx(min(limit, most))


def test_a_node_states_its_50_biggest_images():
    sizes_b = {f"image-{n}": n for n in range(60)}
    assert images.listed(sizes_b) == {f"image-{n}": n for n in range(10, 60)}


@pytest.mark.parametrize(
    ("available", "amount"),
    [
        (160, 0),  # 84 % are used
        (151, 49),  # 100 - floor(15.1) = 85 %: 200 - 151
        (150, 50),
        (0, 200),
    ],
)
def test_from_85_percent_on_as_much_goes_as_is_used_beyond_80(available, amount):
    assert images.to_free_b(available, 1000) == amount


def test_a_disk_without_size_has_no_percentage():
    with pytest.raises(SimError, match="expected its size"):
        images.to_free_b(0, 0)


UNUSED = st.builds(
    Unused,
    st.uuids().map(str),
    st.integers(1, 1000),
    st.integers(0, NOW_MS),
    st.none() | st.integers(0, NOW_MS),
)


@given(st.lists(UNUSED, max_size=12, unique_by=lambda image: image.name), st.integers(1, 5000))
def test_garbage_collection_takes_no_more_images_than_it_needs(found, amount_b):
    freed = images.free(found, amount_b, NOW_MS)
    sizes_b = {image.name: image.size_b for image in found}
    assert freed.size_b == sum(sizes_b[name] for name in freed.names)
    if freed.names:
        assert freed.size_b - sizes_b[freed.names[-1]] < amount_b
    everything = images.free(found, None, NOW_MS)
    assert freed.names == everything.names[: len(freed.names)]
    kept = [image for image in found if image.name not in everything.names]
    assert all(i.last_used_ms == NOW_MS or NOW_MS - i.first_seen_ms < 120_000 for i in kept)


def test_images_unused_for_too_long_go_once_the_kubelet_has_run_that_long():
    old = Unused("old", 1, 0, NOW_MS - 60_001)
    young = Unused("young", 1, 0, NOW_MS - 60_000)
    assert images.too_old([old, young], 60_000, NOW_MS, 60_001) == ["old"]
    assert images.too_old([old, young], 60_000, NOW_MS, 60_000) == []
    assert images.too_old([old, young], 0, NOW_MS, NOW_MS) == []
