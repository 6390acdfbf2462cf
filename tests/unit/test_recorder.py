"""The recorder keeps events in order, words once, and hashes all of it."""

from __future__ import annotations

import string

import pytest

from sim.recorder import WORDS, Of, Reason, Recorder


def a_recorder(*, at_ms=5, reason=Reason.READY, object_id=1, arg=0, text="x"):
    recorder = Recorder()
    recorder.text(text)
    recorder.event(at_ms, reason, Of.POD, object_id, arg)
    return recorder


def test_events_are_kept_in_order():
    recorder = Recorder()
    recorder.event(5, Reason.READY, Of.POD, 1)
    recorder.event(6, Reason.NODE_DOWN, Of.NODE, 2, 7)
    assert len(recorder) == 2
    assert list(
        zip(recorder.at_ms, recorder.reason, recorder.object, recorder.arg, strict=True)
    ) == [
        (5, Reason.READY, 1, 0),
        (6, Reason.NODE_DOWN, 2, 7),
    ]


def test_a_text_has_one_id():
    recorder = Recorder()
    assert [recorder.text("a"), recorder.text("b"), recorder.text("a")] == [0, 1, 0]
    assert recorder.texts == ["a", "b"]


def test_equal_records_have_equal_hashes():
    assert a_recorder().hash(["n"]) == a_recorder().hash(["n"])


@pytest.mark.parametrize(
    "change",
    [{"at_ms": 6}, {"reason": Reason.STARTED}, {"object_id": 2}, {"arg": 1}, {"text": "y"}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_changes_the_hash(change):
    assert a_recorder().hash(["n"]) != a_recorder(**change).hash(["n"])


def test_names_are_part_of_the_hash_and_do_not_run_together():
    recorder = a_recorder()
    hashes = [recorder.hash(names) for names in (["ab", "c"], ["a", "bc"], ["abc"], [])]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_has_words_with_known_places(reason):
    kind, name, message = WORDS[reason]
    assert kind in ("Normal", "Warning")
    places = {place for _, place, _, _ in string.Formatter().parse(message + name) if place}
    assert places <= {"object", "number", "text", "node"}
