"""The kubelet's own tables of images: pulls with their back-off, and garbage collection.

`sample/*.yaml.gz` is a part of them that travels with the project; with the shared data all rows
run. Upstream tests make some pulls fail by means that the rows do not show: FAILING_CALLS says
which; in one of them two pods pull in turn, and PODS says whose call it is.
"""

from __future__ import annotations

from sim import images
from sim.backoff import Backoff
from sim.errors import SimError
from sim.images import Unused
from tests.conformance.tables import missing, needs_shared, rows_of

TABLES = ["image_pull_v136", "image_free_space_v136", "image_gc"]
NOW_MS = 10**15
BACKOFF = Backoff(1_000, 60_000, 120_000)  # of upstream's tests
UNLIMITED_B = 2**63 - 1

EXCESSIVE_QPS = "image-pull-v136-007"  # its token bucket is empty from the beginning
TWO_PODS = "image-pull-v136-013"  # the pull of the second one is told to fail
FAILING_CALLS = {EXCESSIVE_QPS: {0, 1, 2}, TWO_PODS: {1}}
PODS = {TWO_PODS: "abba"}


# --- Pulls ---


def pull_answer(asked, row_id):
    entries, calls = {}, []
    for number, call in enumerate(asked["calls"]):
        pod = PODS.get(row_id, "a" * len(asked["calls"]))[number]
        fails = call.get("pull_error") or number in FAILING_CALLS.get(row_id, ())
        error, entries[pod] = one_call(asked, call, entries.get(pod), fails)
        backoff_ms = entries[pod].backoff_ms if entries[pod] else 0
        calls.append({"error": error, "backoff_s": backoff_ms // 1000})
    return {"calls": calls}


def one_call(asked, call, entry, fails):
    now_ms, present = round(call["t_s"] * 1000), call["present"]
    readable = not call.get("inspect_error", False)
    error = images.obstacle(asked["image"], asked["policy"], present=present, readable=readable)
    if error or not images.asks_registry(asked["policy"], present=present):
        return error, entry
    if images.backs_off(BACKOFF, entry, now_ms):
        return images.BACK_OFF, entry
    return images.pull_failed(BACKOFF, entry, now_ms, str(fails)) if fails else ("", entry)


# --- Garbage collection ---


def free_answer(asked, row_id):
    amount_b = None if asked["bytes_to_free"] == UNLIMITED_B else asked["bytes_to_free"]
    found = images.free(
        [unused(row) for row in asked["images"]], amount_b, NOW_MS, asked["min_age_s"] * 1000
    )
    return {"freed": found.size_b, "left": sorted(found.too_young)}


def unused(row):
    last_ms = None if row.get("never_used") else NOW_MS + round(row["last_used_s"] * 1000)
    return Unused(row["id"], row["size"], NOW_MS + round(row["first_seen_s"] * 1000), last_ms)


WORDS_MS = {
    "older": NOW_MS - 2_000,
    "newer": NOW_MS - 1_000,
    "now-ish, in use until now": NOW_MS,
    "never": None,
    "later": NOW_MS - 60_000,
    0: NOW_MS - 120_000,
}


def gc_answer(asked, row_id):
    try:
        return answer_to_gc(asked)
    except SimError:
        return {"error": True}


def answer_to_gc(asked):
    if "images" not in asked and not asked.get("stats_error"):
        images.check_thresholds(asked["high"], asked["low"])
        return {"error": False}
    candidates = [told(row, asked) for row in asked.get("images", []) if not row.get("in_use")]
    if "max_age_s" in asked:
        ages_ms = asked["max_age_s"] * 1000, NOW_MS, asked["kubelet_age_s"] * 1000
        return {"images_left": len(asked["images"]) - len(images.too_old(candidates, *ages_ms))}
    if "high" in asked:
        amount_b = images.to_free_b(
            asked.get("available", 0), asked.get("capacity", 0), asked["high"], asked["low"]
        )
        freed_b = images.free(candidates, amount_b, NOW_MS, 0).size_b if amount_b else 0
        return {"error": freed_b < amount_b, "freed": freed_b}
    min_age_ms = asked.get("min_age_s", 0) * 1000
    found = images.free(candidates, asked.get("free_bytes"), NOW_MS, min_age_ms)
    left = len(asked["images"]) - len(found.names)
    return {"freed": found.size_b, "removed": list(found.names), "images_left": left}


def told(row, asked):
    """A candidate, where the row gives the times of all images in one place, or in words."""
    age_s = asked.get("age_s", asked.get("unused_for_s", 60))
    first_ms = WORDS_MS[row["first_detected"]] if "first_detected" in row else NOW_MS - age_s * 1000
    used_ms = WORDS_MS[row["last_used"]] if "last_used" in row else NOW_MS - age_s * 1000 - 1
    return Unused(row["id"], row["size"], min(first_ms, used_ms or first_ms), used_ms)


ANSWERS = {
    "image_pull_v136": pull_answer,
    "image_free_space_v136": free_answer,
    "image_gc": gc_answer,
}


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize(("table", "row"), rows_of(metafunc.config, TABLES))


def check(table, row):
    got, expected = ANSWERS[table](row["input"], row["id"]), row["expected"]
    assert {key: got.get(key) for key in expected} == expected


@needs_shared
def test_all_tables_are_there():
    assert missing(TABLES) == []


def test_row_holds(table, row):
    check(table, row)
