"""The kubelet's own tables of probe results and of restart back-offs.

`sample/*.yaml.gz` is a quarter of them that travels with the project; with the shared data all rows
run. Our prober makes no single ticks, so a row is a history that it lives through: one health a
tick, and what that tick changed. Not compared: the counters `last`, `run` and `hold` themselves
(later results show them), a worker that sees no running container (whether there is one is the
kubelet's business here), rows that begin in the middle of a history, gates of later versions.
"""

from __future__ import annotations

from itertools import pairwise

from sim.backoff import Backoff
from sim.podspec import Container, Probe
from sim.probes import ANSWERS, FAILING, FAILS, ContainerProbes, Premise
from tests.conformance.tables import missing, needs_shared, rows_of

TABLES = ["prober", "probe_ticks_v136", "probe_sequences_v136", "crash_backoff_v136", "backoff"]

PERIOD_MS = 10_000
GATES_OF_1_34 = {"ChangeContainerStatusOnKubeletRestart"}


def never():
    raise AssertionError("nothing is random here")


# --- probes: the results of a history, tick by tick


def results(kind, probe, steps):
    """The stored result after each step, None where no container runs."""
    gated = kind != "startup" and not all(step.get("started", True) for step in steps)
    probes = ContainerProbes(a_container(kind, probe, gated), 0, never)
    found, now_ms, failed = [], 0, False
    for before, step in pairwise([{}, *steps]):
        now_ms += tick_distance_ms(before, step)
        follow(probes, now_ms)
        tell(probes, kind, before, step, now_ms)
        failed = failed and step.get("instance") == before.get("instance")
        failed |= bool({f"{kind}-failed"} & follow(probes, now_ms + 1))
        found.append(stored_result(probes, kind, failed) if step["state"] == "running" else None)
    return found


def a_container(kind, probe, gated):
    """A container with this one probe and, when it is not started at once, one that gates it."""
    tested = Probe(
        initial_delay_ms=1000 * probe.get("initialDelaySeconds", 0),
        period_ms=PERIOD_MS,
        success_threshold=probe.get("successThreshold", 1),
        failure_threshold=probe.get("failureThreshold", 1),
    )
    gate = Probe(period_ms=PERIOD_MS, failure_threshold=1000) if gated else None
    return Container("main", **{"startup": gate, kind: tested})


def tick_distance_ms(before, step):
    """Ticks of one instance are as far apart as its ages; others one period."""
    if not before:
        return 0
    if before.get("instance") == step.get("instance") and "age_s" in step and "age_s" in before:
        return 1000 * int(step["age_s"] - before["age_s"]) or PERIOD_MS
    return PERIOD_MS


def tell(probes, kind, before, step, now_ms):
    """Tell the prober what is new at this step."""
    if step.get("deleting") and not before.get("deleting"):
        probes.pod_deleting(now_ms)
    if step["state"] != "running":
        if before.get("state") == "running":
            probes.exited(now_ms)
        return
    if (step["instance"], "running") != (before.get("instance"), before.get("state")):
        probes.instance_started(now_ms - int(1000 * step.get("age_s", 0)), now_ms)
        probes.set_premise(now_ms, FAILING)
        while (change := probes.next_change()) == (now_ms, "replaced"):
            probes.apply(change)
    chances = {kind: ANSWERS if step["outcome"] == "success" else FAILS}
    if kind != "startup":
        chances["startup"] = ANSWERS if step.get("started", True) else FAILS
    probes.set_premise(now_ms, Premise(**chances))


def follow(probes, to_ms):
    seen = set()
    while (change := probes.next_change()) and change.at_ms < to_ms:
        probes.apply(change)
        seen.add(change.what)
    return seen


def stored_result(probes, kind, failed):
    if kind == "liveness":
        return "Failure" if failed else "Success"
    if kind == "readiness":
        return "Success" if probes.is_ready else "Failure"
    return "Failure" if failed else "Success" if probes.is_started else "Unknown"


def history(table, row):
    """(kind, probe, steps, results wanted) of a row, None when it has nothing for us."""
    asked, expected = row["input"], row["expected"]
    if table == "probe_sequences_v136":
        wanted = [step["result"] for step in expected["steps"]]
        return asked["kind"], asked["probe"], asked["steps"], wanted
    if table == "prober":
        return prober_history(asked, expected)
    container = asked.get("container") or {}
    if (
        container.get("state") != "running"
        or asked["phase"] != "Running"
        or asked.get("same_container")  # the middle of a history
        or not set(asked.get("gates", GATES_OF_1_34)) >= GATES_OF_1_34
    ):
        return None
    kept = {key: asked[key] for key in ("outcome", "age_s", "deleting") if key in asked}
    step = {"instance": 0, "state": "running", "started": container["started"], **kept}
    return asked["kind"], asked["probe"], [step], [expected["result"]]


def prober_history(asked, expected):
    wanted = expected.get("results") or [expected["result"]]
    if "probe_outcome" in asked:
        if asked.get("container") != "running":
            return None
        steps = [{"outcome": asked["probe_outcome"], "deleting": asked.get("deleted", False)}]
    else:
        outcomes = [{"outcome": outcome} for outcome in asked.get("outcomes", [])]
        steps = asked.get("steps") or asked.get("ticks") or outcomes
    instance, full = 0, []
    for step in steps:
        instance += step.get("new_container_id", False)
        kept = {"instance": instance, "state": "running", "started": asked.get("started")}
        full.append(
            kept | step | {"age_s": age} if (age := step.get("container_age_s")) else kept | step
        )
    return asked["probe"], asked, full, wanted


# --- back-offs


def crash_loop(asked):
    """start, next start and stored back-off of each run, as the table tells them."""
    rule = Backoff(asked["base_s"] * 1000, asked["max_s"] * 1000)
    entry, start_ms, exited_ms, found = None, 0, None, []
    for run in asked["runs"]:
        end_ms = start_ms + run["ran_s"] * 1000
        # the sync that kills and starts again knows the finish of the instance before, if any
        failed_ms = exited_ms if run["ended_by"] == "kill" else end_ms
        next_ms = end_ms
        if failed_ms is not None and rule.may_retry_ms(entry, failed_ms) > end_ms:
            failed_ms = end_ms  # a later sync sees this instance stopped
            next_ms = rule.may_retry_ms(entry, failed_ms)
        if failed_ms is not None:
            entry = rule.tried(rule.kept(entry, next_ms), failed_ms, next_ms)
        backoff_ms = entry.backoff_ms if entry else 0
        row = {"start_s": start_ms, "next_start_s": next_ms, "backoff_s": backoff_ms}
        found.append({key: ms // 1000 for key, ms in row.items()})
        start_ms, exited_ms = next_ms, end_ms
    return {"runs": found}


def tried_times(rule, times_s):
    entry = None
    for now_ms in (1000 * second for second in times_s):
        entry = rule.tried(entry, now_ms, now_ms)
    return entry


def generic_backoff(row):
    """The rows of client-go's own tests; their `actions` are prose, restated here by test name."""
    asked = row["input"]
    base_ms, max_ms = asked["base_s"] * 1000, asked["max_s"] * 1000
    rule = Backoff(base_ms, max_ms, forget_ms=2 * max_ms)
    if row["test"] == "TestSlowBackoff":
        delays = [0] + [tried_times(rule, range(1, n + 1)).backoff_ms // 1000 for n in range(1, 10)]
        return {"delays_s": delays}
    if row["test"] == "TestBackoffReset":
        entry = tried_times(rule, range(1, 7))
        return {"before_step": entry.until_ms > 6000, "after_step": entry.until_ms > 17_000}
    if row["id"] == "bo-gc":
        entry = tried_times(rule, range(1, 7))
        return kept_twice(rule, entry, 12_000, 18_000)
    if row["id"] == "bo-gc-alt-default":
        return kept_twice(rule, tried_times(rule, [0]), 5_000, 106_000)
    if row["test"] == "TestAlternateHasExpiredFunc":
        forget_ms = 8_000 if row["id"] == "bo-exp-8" else 2 * max_ms
        return expires(Backoff(base_ms, max_ms, forget_ms))
    return in_backoff(rule, asked["at_s"] * 1000)


def kept_twice(rule, entry, first_ms, second_ms):
    return {
        "entry_after_first_gc": rule.kept(entry, first_ms) is not None,
        "entry_after_second_gc": rule.kept(entry, second_ms) is not None,
    }


def expires(rule):
    step_ms = 9_000 if rule.forget_ms == 8_000 else 101_000
    second = tried_times(rule, [0, 5])
    third = rule.tried(second, 5_000 + step_ms, 5_000 + step_ms)
    return {
        "first_read_min_s": second.backoff_ms // 1000,
        "second_read_s": third.backoff_ms // 1000,
    }


def in_backoff(rule, at_ms):
    """The clock visits 0..35, 56, 57 s; whatever is not in back-off is tried at that second."""
    entry = None
    for now_ms in (1000 * second for second in [*range(36), 56, 57]):
        waiting = entry is not None and not rule.expired(entry, now_ms) and now_ms < entry.until_ms
        if now_ms == at_ms:
            return {"in_backoff": waiting, "delay_s": entry.backoff_ms // 1000 if entry else 0}
        if not waiting:
            entry = rule.tried(entry, now_ms, now_ms)
    return None


# --- rows


def check(table, row):
    if table == "crash_backoff_v136":
        assert crash_loop(row["input"]) == row["expected"]
    elif table == "backoff":
        wanted = {k: v for k, v in row["expected"].items() if k != "after_reset_s"}  # no such verb
        got = generic_backoff(row)
        assert wanted == {key: got[key] for key in wanted}
    else:
        kind, probe, steps, wanted = history(table, row)
        got = results(kind, probe, steps)
        running = [result.title() for result, mine in zip(wanted, got, strict=True) if mine]
        assert [result for result in got if result] == running


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize(("table", "row"), rows_of(metafunc.config, TABLES, says_something))


def says_something(table, row):
    """Whether the row has something for us."""
    return "backoff" in table or history(table, row)


@needs_shared
def test_all_tables_are_there():
    assert missing(TABLES) == []


def test_row_holds(table, row):
    check(table, row)
