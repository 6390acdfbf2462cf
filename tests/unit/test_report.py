"""Reports: what they say, what they leave out, and how they look in every format."""

import io
import json
import re

import pytest

from sim import report
from sim.errors import SimError
from sim.expectations import Verdict
from sim.report import values
from sim.report.capacity import typical_pod
from sim.report.text import WIDTH, grid_lines, on_terminal
from sim.report.values import Column, Grid, Section
from tests.unit.results import NAN, Gi, a_node, a_pod, a_result, a_zone_failure, an_event, an_info


@pytest.fixture(scope="module")
def shop():
    return a_zone_failure()


def lines_of(result, section):
    return [line.strip() for line in text_of(result, section).splitlines()]


def text_of(result, section):
    return report.text.plain(report.sections(result, (section,)).values())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.35, "350 ms"),
        (1.0, "1 s"),
        (12.44, "12.4 s"),
        (59.96, "1m"),
        (350.0, "5m 50s"),
        (3599.6, "1h"),
        (3900.0, "1h 05m"),
        (86_399.0, "1d"),
        (183_600.0, "2d 03h"),
        (NAN, "-"),
    ],
)
def test_durations_read_in_two_units(seconds, text):
    assert values.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"),
        (0.99712, "99.71 %"),
        (0.999997, "99.9997 %"),
        (1 - 1e-12, "just under 100 %"),
        (0.0, "0.00 %"),
        (NAN, "-"),
    ],
)
def test_availability_never_rounds_up_to_100(share, text):
    assert values.availability(share) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1423, "share", "14.23 %"),
        (1.4, "ratio", "1.40×"),
        (90.0, "s", "1m 30s"),
        (12.5, "USD", "$12.50"),
        (1234.0, "pods", "1,234"),
        (2.5, "count", "2.5"),
    ],
)
def test_numbers_read_in_their_unit(value, unit, text):
    assert values.by_unit(value, unit) == text


def test_headline_answers_first(shop):
    lines = lines_of(shop, "headline")
    assert lines[0] == "zone-failure"
    assert "Does the shop stay available when zone b fails for 20 minutes?" in lines
    assert "1 of 2 expectations met:" in lines
    assert 'ok  availability{service="shop/frontend"} >= 99.5%  99.71 %' in lines
    assert any(line.startswith("FAILED  stranded.cpu <= 10%") for line in lines)


def test_headline_says_why_an_expectation_has_no_value():
    verdict = Verdict("pods.perNode > 1", NAN, False, "pods", "not defined in this run")
    assert "not defined in this run" in text_of(a_result(verdicts=[verdict]), "headline")


def test_the_worst_service_comes_first(shop):
    text = text_of(shop, "availability")
    assert text.index("shop/frontend") < text.index("shop/search")
    assert text.index("shop/Deployment/web") < text.index("shop/Deployment/cart")
    assert "Deployment/search" not in text
    assert "1 other workload had enough ready pods all the time." in text


def test_story_of_a_zone_failure_in_order(shop):
    told = [line for line in lines_of(shop, "failures") if line.startswith("0:")]
    assert told == [
        "0:00:40  shop/Deployment/cart: 1 container killed or failed, over its memory limit",
        "0:01:35  shop/Deployment/search: 1 container killed or failed, liveness probe failed",
        "0:30:00  zone b: 3 nodes failed (general-1, general-4, general-7)",
        "0:30:00  shop/frontend: requests begin to fail",
        "0:30:50  zone b: 3 nodes marked NotReady (general-1, general-4, general-7)",
        "0:30:52  shop/frontend: all requests are answered again",
        "0:35:50  18 pods evicted by taint: Deployment/web ×6, Deployment/cart ×6,"
        " Deployment/search ×6",
        "0:36:02  18 replacements ready",
        "0:50:00  zone b: 3 nodes work again (general-1, general-4, general-7)",
        "0:50:10  zone b: 3 nodes Ready again (general-1, general-4, general-7)",
    ]
    assert "Back to normal at 0:50:10." in text_of(shop, "failures")


def test_story_says_what_is_still_wrong_at_the_end():
    result = a_result(
        nodes=[a_node("n-1", ready=False), a_node("n-2")],
        pods=[a_pod("web-2", phase="Pending", created_s=400.0, scheduled_s=NAN)],
        workloads=[{"workload": "Deployment/web", "minimum": 2, "ready": 1}],
        events=[an_event(50.0, "NodeDown", "Node/n-1")],
    )
    assert (
        "Not back to normal at the end: 1 node out of order, 1 pod waits for a node,"
        " 1 workload short of pods." in " ".join(lines_of(result, "failures"))
    )


def test_replacements_that_never_got_ready_are_counted():
    pods = [
        a_pod("web-1", ready_s=10.0),
        a_pod("web-2", ready_s=10.0),
        a_pod("web-3", created_s=300.0, ready_s=320.0),
        a_pod("web-4", created_s=301.0, ready_s=NAN),
    ]
    events = [
        an_event(300.0, "TaintManagerEviction", f"Pod/shop/web-{i}", "Marking for deletion")
        for i in (1, 2)
    ]
    result = a_result(pods=pods, events=events)
    assert "0:05:20  1 of 2 replacements ready" in lines_of(result, "failures")


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing at all"),
        pytest.param([an_event(0.0, "RegisteredNode", "Node/n")], id="nodes that were there"),
        pytest.param([an_event(5.0, "NodeReady", "Node/n")], id="a node that gets Ready"),
        pytest.param(
            [an_event(9.0, "TaintManagerEviction", "Pod/shop/w", "Cancelling deletion of Pod")],
            id="an eviction that was called off",
        ),
        pytest.param([an_event(9.0, "Scheduled", "Pod/shop/w")], id="everyday events"),
    ],
)
def test_story_leaves_out_what_is_no_trouble(events):
    assert "failures" not in report.sections(a_result(nodes=[a_node("n")], events=events))


def test_nodes_short_of_memory_are_named_the_longest_first():
    nodes = [
        a_node("n-1", memory_pressure_s=300.0, evictions=1),
        a_node("n-2"),
        a_node("n-3", memory_pressure_s=660.0, evictions=2),
    ]
    told = " ".join(lines_of(a_result(nodes=nodes), "restarts"))
    assert "Under memory pressure: n-3 for 11m (2 pods evicted), n-1 for 5m (1 pod" in told


def test_oom_kills_say_when_the_first_and_the_last_came():
    events = [
        an_event(at_s, "OOMKilling", "Pod/shop/web-1", "", "Warning")
        for at_s in (6300.0, 12_600.0, 18_900.0, 25_204.0)
    ]
    result = a_result(pods=[a_pod("web-1", restarts=4, oom_kills=4)], events=events)
    # 6300 s = 1:45:00, 25204 s = 7:00:04
    assert "over its memory limit ×4, first at 1:45:00, then 3 more until 7:00:04" in " ".join(
        lines_of(result, "restarts")
    )
    assert (
        "1:45:00 to 7:00:04  shop/Deployment/web: 4 containers killed or failed,"
        " over its memory limit" in " ".join(lines_of(result, "failures"))
    )


def _a_failing_service(times, period_s=100.0):
    """Errors that begin so often, each for half a period; no endpoint in the middle of them."""
    return [
        an_event(10.0 + period_s * i + after_s, reason, "Service/shop/web")
        for i in range(times)
        for after_s, reason in (
            (0.0, "RequestsFail"),
            (period_s / 4, "NoEndpoints"),
            (period_s / 2, "RequestsSucceed"),
        )
    ]


def test_flapping_service_gets_one_line():
    lines = lines_of(a_result(events=_a_failing_service(31)), "failures")
    # the first at 10 s, the last over at 10 + 30 * 100 + 50 = 3060 s
    assert lines[3:-2] == [
        "0:00:10 to 0:51:00  shop/web: requests began to fail 31 times, no endpoint was ready 31"
        " times"
    ]
    assert lines[-1] == "Back to normal at 0:51:00."


def test_flapping_that_goes_on_says_so():
    events = _a_failing_service(5)[:-1]
    assert "not over at the end" in " ".join(lines_of(a_result(events=events), "failures"))


def test_three_failures_are_told_one_by_one():
    text = text_of(a_result(events=_a_failing_service(3)), "failures")
    assert text.count("shop/web: requests begin to fail") == 3


def test_success_is_told_only_after_errors():
    events = [
        an_event(5.0, "RequestsSucceed", "Service/shop/web"),
        an_event(50.0, "RequestsFail", "Service/shop/web"),
        an_event(90.0, "RequestsSucceed", "Service/shop/web"),
    ]
    lines = lines_of(a_result(events=events), "failures")
    assert [line for line in lines if line.startswith("0:")] == [
        "0:00:50  shop/web: requests begin to fail",
        "0:01:30  shop/web: all requests are answered again",
    ]


def test_long_story_is_cut_in_the_middle():
    events = []
    for i in range(200):
        events.append(an_event(1000.0 * i + 1, "NodeDown", "Node/n"))
        events.append(an_event(1000.0 * i + 500, "NodeReady", "Node/n"))
    text = text_of(a_result(nodes=[a_node("n")], events=events), "failures")
    assert len(text.splitlines()) < 30
    # 400 lines, the first 14 and the last 5 are told
    assert "381 more; see the events table" in text


def test_events_close_in_time_are_told_together():
    events = [an_event(10.0 + 40 * i, "NodeDown", f"Node/n-{i}") for i in range(5)]
    nodes = [a_node(f"n-{i}", zone="a") for i in range(5)]
    lines = lines_of(a_result(nodes=nodes, events=events), "failures")
    assert "0:00:10 to 0:02:50  zone a: 5 nodes failed (n-0, n-1, n-2 and 2 more)" in lines


def test_waiting_pods_come_with_the_schedulers_reason(shop):
    text = " ".join(lines_of(shop, "pending"))
    assert "0/9 nodes are available: 9 Insufficient cpu." in text
    assert "preemption" not in text
    assert "1 at the end" in text


def test_waits_of_ordinary_length_are_left_out():
    result = a_result(pods=[a_pod("web-1", wait_s=0.4)])
    assert "pending" not in report.sections(result)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("SchedulingGated", "not tried: it has scheduling gates"),
        ("Unschedulable", "not tried: its turn never came, or no profile has its schedulerName"),
    ],
)
def test_a_pod_that_waits_without_having_been_tried_says_why(reason, said):
    waits = a_pod("held", reason=reason, scheduled_s=NAN, wait_s=7200.0)
    assert said in " ".join(text_of(a_result(pods=[waits]), "pending").split())


def test_those_who_were_preempted_and_for_whom_are_told():
    pods = [
        a_pod("web-1", workload="Deployment/web"),
        a_pod("web-2", workload="Deployment/web"),
        a_pod("job-1", workload="Job/urgent"),
    ]
    events = [
        an_event(60.0, "FailedScheduling", "Pod/shop/web-9", "no room"),
        an_event(90.0, "FailedScheduling", "Pod/shop/job-1", "no room"),
        an_event(90.0, "Preempted", "Pod/shop/web-1", "Preempted by shop/job-1 on node a"),
        an_event(90.0, "Preempted", "Pod/shop/web-2", "Preempted by shop/job-1 on node a"),
    ]
    text = text_of(a_result(pods=pods, events=events), "failures")
    assert "2 pods preempted for Job/urgent ×1: Deployment/web ×2" in text


def test_pod_that_waited_without_a_refusal_waited_for_its_turn():
    result = a_result(pods=[a_pod("web-1", wait_s=3.0)])
    assert "no refusal: it waited for its turn" in text_of(result, "pending")


def test_restarts_say_who_and_why(shop):
    text = text_of(shop, "restarts")
    assert "over its memory limit ×1, at 0:00:40" in text
    assert "liveness probe failed ×1, at 0:01:35" in text
    assert "Deployment/web" not in text


@pytest.mark.parametrize(
    ("node", "because"),
    [
        ({"cpu_requested_m": 3800, "memory_requested_b": 4 * Gi}, "CPU is full"),
        ({"cpu_requested_m": 1000, "memory_requested_b": 16 * Gi}, "memory is full"),
        ({"cpu_requested_m": 3800, "memory_requested_b": 16 * Gi}, "too little left of both"),
        ({"cpu_requested_m": 1000, "memory_requested_b": 4 * Gi, "pods": 110}, "cap of 110 pods"),
    ],
)
def test_stranded_nodes_say_what_ran_out(node, because):
    pods = [a_pod("web-1", node="n", cpu_request_m=500, memory_request_b=Gi)]
    nodes = [a_node("n", stranded_cpu_m=200.0, stranded_cpu=0.05, **node)]
    assert because in text_of(a_result(nodes=nodes, pods=pods), "stranded")


@pytest.mark.parametrize(
    ("cpu_m", "share", "verdict"),
    [
        # a node holds 4000 // cpu_m pods; the bound is 10 %, 5 % from ten pods on
        (1000, 0.0, "< 5 pods"),
        (800, 0.10, "kept"),
        (800, 0.101, "CPU > 10 %"),
        (400, 0.05, "kept"),
        (400, 0.06, "CPU > 5 %"),
        (1000, 0.2, "< 5 pods; CPU > 10 %"),
    ],
)
def test_node_sizes_are_held_against_the_rules_of_thumb(cpu_m, share, verdict):
    pods = [a_pod("web-1", node="n", cpu_request_m=cpu_m, memory_request_b=Gi)]
    nodes = [a_node("n", stranded_cpu=share)]
    text = text_of(a_result(nodes=nodes, pods=pods), "stranded")
    row = next(line for line in text.splitlines() if line.strip().startswith("general"))
    assert row.endswith("  " + verdict)


def test_pod_cap_bounds_what_a_node_holds():
    pods = [a_pod("web-1", node="n", cpu_request_m=10, memory_request_b=1)]
    text = text_of(a_result(nodes=[a_node("n", max_pods=4)], pods=pods), "stranded")
    assert "< 5 pods" in text


def test_overcommit_warns_of_memory_limits_and_of_pods_without():
    nodes = [a_node("n", memory_limit_b=20 * Gi, unlimited_pods=3)]
    text = " ".join(lines_of(a_result(nodes=nodes), "overcommit"))
    assert "1.25×" in text  # 20 / 16 GiB
    assert "On 1 node memory limits add up to more" in text
    assert "3 pods have a container without memory limit" in text


def test_cost_adds_up_and_is_scaled_to_a_month():
    nodes = [
        a_node("a", pool="x", instance_type="m", price_usd_per_hour=0.2, cost_usd=0.4),
        a_node("b", pool="y", instance_type="c", price_usd_per_hour=0.1, cost_usd=0.2),
    ]
    total = next(line for line in lines_of(a_result(nodes=nodes), "cost") if line.startswith("all"))
    # 0.3 $/h, 0.6 $, 0.3 * 730
    assert total.split() == ["all", "2", "$0.30", "$0.60", "$219.00"]


def test_what_is_not_modelled_is_listed(shop):
    text = text_of(shop, "unmodelled")
    assert "PersistentVolumeClaim" in text
    assert "- CPU beyond a node's cores is shared in proportion to requests." in text


def test_empty_sections_are_left_out():
    assert list(report.sections(a_result())) == ["headline"]


@pytest.mark.parametrize(
    ("section", "rows", "says"),
    [
        # 12 of a kind; eight are shown, five of the nodes
        (
            "availability",
            {
                "workloads": [
                    {"workload": f"Deployment/w{i}", "unavailable_s": 9.0} for i in range(12)
                ]
            },
            "... and 4 more; see the workloads table",
        ),
        (
            "availability",
            {"services": [{"service": f"shop/s{i}"} for i in range(12)]},
            "... and 4 more; see the services table",
        ),
        (
            "pending",
            {"pods": [a_pod(f"p-{i}", workload=f"Job/j{i}", wait_s=9.0) for i in range(12)]},
            "... and 4 more; see the pods table",
        ),
        (
            "restarts",
            {"pods": [a_pod(f"p-{i}", workload=f"Job/j{i}", restarts=1) for i in range(12)]},
            "... and 4 more; see the workloads table",
        ),
        (
            "stranded",
            {"nodes": [a_node(f"n-{i}", stranded_cpu_m=9.0) for i in range(12)]},
            "... and 7 more; see the nodes table",
        ),
        (
            "utilization",
            {"nodes": [a_node(f"n-{i}", zone=f"z{i:02d}") for i in range(12)]},
            "... and 4 more zones; see the nodes table",
        ),
        (
            "cost",
            {"nodes": [a_node(f"n-{i}", pool=f"p{i:02d}", cost_usd=1.0) for i in range(12)]},
            "4 more, see nodes",
        ),
    ],
)
def test_cut_table_says_how_much_is_left_out_and_where_it_is(section, rows, says):
    assert says in text_of(a_result(**rows), section)
    assert says.replace("...", "") in a_result(**rows).report("md")


def test_whole_table_says_nothing_about_more(shop):
    assert "more; see" not in text_of(shop, "availability")


def test_what_counts_after_the_warm_up_and_what_over_the_whole_run(shop):
    text = " ".join(lines_of(shop, "headline"))
    after, _, whole = text.partition("after 10m of warm-up;")
    assert after.endswith("Averages, availability and requests count ")
    for word in ("pending", "restarts", "OOM kills", "evictions", "cost"):
        assert word in whole.partition("over the whole run")[0]


def test_run_without_nodes_is_warned_of_first():
    assert lines_of(a_result(), "headline")[2].startswith("Warning: there is no node at all")


@pytest.mark.parametrize(("at", "late"), [("2h", True), ("119m", False), ("7200s", True)])
def test_fault_after_the_end_is_warned_of(at, late):
    result = a_result(nodes=[a_node("n")], scenario={"faults": [{"at": at, "node": "n"}]})
    assert (f"faults[0] at {at} would come after the end" in text_of(result, "headline")) is late


def test_odd_input_is_told_up_front_with_its_place():
    info = an_info(warnings=tuple(f"web.yaml:{i}:5: odd" for i in range(7)))
    lines = lines_of(a_result(info=info, nodes=[a_node("n")]), "headline")
    assert lines[2] == "Warning: web.yaml:0:5: odd"
    assert any(line.startswith("Warning: ... and 2 more") for line in lines)


def test_waits_at_once_are_called_so():
    pods = [a_pod(f"p-{i}", wait_s=0.01) for i in range(99)] + [a_pod("slow", wait_s=48.3)]
    text = " ".join(lines_of(a_result(pods=pods), "pending"))
    assert "Nearly all pods had a node at once; the longest wait was 48.3 s." in text


def test_typical_pod_is_a_pod_that_there_is():
    sizes = [(0, 0), (0, 0), (0, 0), (100, 8 * Gi), (500, Gi), (4000, Gi)]
    pods = [
        a_pod(f"p-{i}", node="n", cpu_request_m=cpu_m, memory_request_b=memory_b)
        for i, (cpu_m, memory_b) in enumerate(sizes)
    ]
    # medians without those that request nothing: 500 m and 1 GiB
    assert typical_pod(a_result(pods=pods).pods) == (500, Gi)


def test_pods_without_cpu_limit_are_counted_and_no_limits_is_no_ratio():
    pods = [a_pod("a", node="n"), a_pod("b", node="n", cpu_limit_m=0), a_pod("c", node="")]
    nodes = [a_node("n", memory_limit_b=8 * Gi)]
    row = lines_of(a_result(nodes=nodes, pods=pods), "overcommit")[3]
    assert row.split() == ["cluster", "no", "limits", "0.50×", "2", "0"]


def test_estimates_are_whole():
    assert [values.about(x) for x in (27.96, 28.0, 0.0, NAN)] == ["≈28", "≈28", "0", "-"]


def test_text_fits_a_screen(shop):
    lines = shop.report().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= 120
    assert not any(line != line.rstrip() for line in lines)
    assert "\x1b" not in shop.report()


def test_markdown_tables_have_as_many_cells_as_titles(shop):
    tables = [block for block in shop.report("md").split("\n\n") if block.startswith("|")]
    assert tables
    for table in tables:
        assert len({line.count(" | ") for line in table.splitlines()}) == 1


def test_markdown_escapes_what_would_be_markup():
    verdict = Verdict("a | b <script> *x*", 1.0, True)
    text = a_result(verdicts=[verdict]).report("md")
    assert "a \\| b \\<script> \\*x\\*" in text


def test_json_is_strict_and_holds_raw_values(shop):
    def refuse(constant):
        raise AssertionError(constant)

    document = json.loads(shop.report("json"), parse_constant=refuse)
    assert document["passed"] is False
    assert document["summary"]["pending.end"] == 1
    assert document["sections"]["availability"]["tables"][0]["rows"][0][1] == 0.99712


def test_unknown_format_names_the_valid_ones(shop):
    with pytest.raises(SimError, match="text, md, json"):
        shop.report("pdf")


def test_pipe_gets_plain_text(shop):
    pipe = io.StringIO()
    report.print_report(shop, pipe)
    assert pipe.getvalue() == shop.report()


def test_standard_output_is_the_default(shop, capsys):
    report.print_report(shop)
    assert capsys.readouterr().out == shop.report()


def test_terminal_gets_bad_values_in_red(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    grid = Grid((Column("x", bad=lambda value: value == "FAILED"),), (("FAILED",), ("ok",)))
    on_terminal([Section("Title", (grid,))], terminal)
    assert "\x1b[1;31mFAILED\x1b[0m" in terminal.getvalue()
    assert "mok\x1b" not in terminal.getvalue()


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_terminal_never_cuts_a_name_or_a_number(monkeypatch, columns):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    name, other = "a-namespace/Deployment/a-rather-long-name", "instance-type.24xlarge-of-old"
    titles = (Column("workload"), Column("type"), Column("a long title", right=True), Column("why"))
    grid = Grid(titles, ((name, other, "1,234,567.8", "for a reason " * 12),))
    terminal = Terminal()
    on_terminal([Section("Title", (grid,))], terminal)
    text = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert all(word in text for word in (name, other, "1,234,567.8"))
    assert text.count("reason") == 12
    # indent 2, three gaps of 2, numbers 11, and the last column is not below 24
    widest = max(len(line.rstrip()) for line in text.splitlines())
    assert widest <= max(columns, 2 + len(name) + len(other) + 11 + 24 + 3 * 2)


def test_wide_words_are_wrapped_in_their_column():
    grid = Grid((Column("name"), Column("why"), Column("n", right=True)), (("a", "word " * 40, 7),))
    lines = grid_lines(grid, 60)
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).split().count("word") == 40
    assert lines[1].endswith("7")


def test_own_section_joins_the_report(monkeypatch):
    def capacity(result):
        return Section("Mine", (f"{len(result.nodes)} nodes",))

    monkeypatch.setitem(report.SECTIONS, "mine", capacity)
    assert a_result(nodes=[a_node("n")]).report().endswith("Mine\n====\n  1 nodes\n")
