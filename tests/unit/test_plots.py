"""Figures: the numbers they draw, their words, and that equal results give equal pictures."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from sim import plots
from sim.errors import SimError
from tests.unit.results import Gi, a_node, a_result, a_zone_failure, an_event, an_info


@pytest.fixture(scope="module")
def shop():
    return a_zone_failure()


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def a_sample(t_s, scope, name, metric, value):
    return {"t_s": t_s, "scope": scope, "name": name, "metric": metric, "value": value}


def line(ax, label):
    (found,) = [line for line in ax.get_lines() if line.get_label() == label]
    return list(found.get_ydata())


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_utilization_is_a_share_of_allocatable():
    timeline = [
        a_sample(t_s, "zone", "a", metric, value)
        for t_s, used in ((0.0, 1000.0), (60.0, 3000.0))
        for metric, value in (("cpu_used_m", used), ("cpu_requested_m", 2000.0), ("cpu_m", 4000.0))
    ]
    ax = a_result(timeline=timeline).plot.utilization()
    assert line(ax, "zone a, used") == [25.0, 75.0]
    assert line(ax, "zone a, requested") == [50.0, 50.0]
    assert ax.get_ylabel() == "% of allocatable"


def test_utilization_of_memory_and_of_the_whole_cluster():
    metrics = (("memory_used_b", 4.0), ("memory_requested_b", 8.0), ("memory_b", 16.0))
    timeline = [a_sample(0.0, "cluster", "", name, size * Gi) for name, size in metrics]
    ax = a_result(timeline=timeline).plot.utilization(by="cluster", resource="memory")
    assert line(ax, "used") == [25.0]
    assert ax.get_title(loc="left") == "Memory: zone-failure"


def _shares(cpu, memory, zones=("a",)):
    """Samples of used CPU and memory, as shares of 1000 m and 1 GiB."""
    return [
        a_sample(60.0 * i, "zone", zone, metric, value)
        for zone in zones
        for i, (c, m) in enumerate(zip(cpu, memory, strict=True))
        for metric, value in (
            ("cpu_used_m", 1000 * c),
            ("cpu_requested_m", 500.0),
            ("cpu_m", 1000.0),
            ("memory_used_b", Gi * m),
            ("memory_requested_b", Gi / 2),
            ("memory_b", float(Gi)),
        )
    ]


@pytest.mark.parametrize(
    ("zones", "title"),
    [(("a",), "CPU: zone-failure"), (("a", "b"), "CPU by zone: zone-failure")],
    ids=["one zone", "two zones"],
)
def test_title_speaks_of_zones_only_when_there_are_several(zones, title):
    ax = a_result(timeline=_shares([0.1], [0.1], zones)).plot.utilization()
    assert ax.get_title(loc="left") == title


def test_both_resources_are_drawn_one_below_the_other():
    ax = a_result(timeline=_shares([0.1, 0.2], [0.3, 0.9])).plot.utilization(resource="both")
    upper, lower = ax.figure.axes
    ax.figure.canvas.draw()
    assert line(upper, "zone a, used") == pytest.approx([10.0, 20.0])
    assert line(lower, "zone a, used") == pytest.approx([30.0, 90.0])
    assert lower.get_position().y1 < upper.get_position().y0
    with pytest.raises(SimError, match="leave out ax"):
        a_result().plot.utilization(resource="both", ax=ax)


@pytest.mark.parametrize(
    ("cpu", "memory", "panels"),
    [([0.1, 0.2], [0.1, 0.9], 2), ([0.1, 0.9], [0.1, 0.2], 1)],
    ids=["memory moves more", "CPU moves more"],
)
def test_saved_figure_has_memory_when_it_moves_more(cpu, memory, panels, tmp_path, monkeypatch):
    made = []
    close = plt.close
    monkeypatch.setattr(plt, "close", lambda figure: made.append(figure) or close(figure))
    plots.save_figures(a_result(timeline=_shares(cpu, memory)), tmp_path)
    assert [len(figure.axes) for figure in made] == [panels]


def test_requested_is_seen_where_it_equals_used():
    ax = a_result(timeline=_shares([0.5, 0.5], [0.5, 0.5])).plot.utilization()
    used, requested = ax.get_lines()
    assert used.get_linewidth() > requested.get_linewidth()
    assert requested.get_zorder() > used.get_zorder()
    assert (used.get_alpha(), requested.get_alpha()) == (0.5, None)


def test_requests_show_answered_and_failed():
    timeline = [
        a_sample(0.0, "service", "shop/web", "sent_rps", 30.0),
        a_sample(0.0, "service", "shop/web", "failed_rps", 10.0),
        a_sample(0.0, "service", "shop/cart", "sent_rps", 5.0),
        a_sample(0.0, "service", "shop/cart", "failed_rps", 0.0),
    ]
    result = a_result(timeline=timeline)
    ax = result.plot.requests()
    assert line(ax, "shop/web, answered") == [20.0]
    assert line(ax, "shop/web, failed") == [10.0]
    assert "shop/cart, failed" not in labels(ax)
    assert line(result.plot.requests(by="total"), "all services, answered") == [25.0]


def test_pods_are_stacked_by_phase(shop):
    assert labels(shop.plot.pods())[:2] == ["ready", "unscheduled"]  # none was ever not ready


def test_stranded_shows_the_worst_nodes_only():
    nodes = [a_node(f"n-{i:02d}", cpu_m=1000, stranded_cpu_m=float(i)) for i in range(60)]
    ax = a_result(nodes=nodes).plot.stranded()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [f"n-{i:02d}" for i in range(59, 19, -1)]
    assert "worst 40 of 60 nodes" in ax.get_title(loc="left")
    assert ax.patches[0].get_width() == pytest.approx(5.9)  # 59 of 1000 millicores


def test_outages_are_shaded():
    events = [an_event(100.0, "NodeNotReady", "Node/n"), an_event(300.0, "NodeReady", "Node/n")]
    ax = a_result(events=events, info=an_info(duration_s=1000.0)).plot.pods()
    (span,) = ax.patches
    assert (span.get_x(), span.get_width()) == (100.0, 200.0)
    assert "nodes out of order" in labels(ax)


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [
        (90.0, "seconds since the start"),
        (7200.0, "minutes since the start"),
        (86_400.0, "hours since the start"),
        (604_800.0, "days since the start"),
    ],
)
def test_time_axis_is_in_a_unit_that_suits_the_run(duration_s, words):
    ax = a_result(info=an_info(duration_s=duration_s)).plot.pods()
    assert ax.get_xlabel() == words
    assert ax.get_xlim() == (0, duration_s)


@pytest.mark.parametrize("name", plots.FIGURES)
def test_figure_of_an_empty_result_is_empty_not_an_error(name):
    ax = getattr(a_result().plot, name)()
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left")


def test_figures_draw_into_given_axes(shop):
    _, axes = plt.subplots(1, 2)
    assert shop.plot.pods(ax=axes[1]) is axes[1]
    assert not axes[0].lines


def test_a_wrong_choice_names_the_valid_ones(shop):
    with pytest.raises(SimError, match=r"expected one of zone, cluster; pools .* result\.lookup"):
        shop.plot.utilization(by="pool")


def test_equal_results_give_equal_pictures_without_a_date(shop, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        plots.save_figures(shop, directory)
    assert sorted(path.stem for path in first.iterdir()) == sorted(plots.FIGURES)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert b"tEXt" not in path.read_bytes()


def test_saving_leaves_no_figure_open(shop, tmp_path):
    plots.save_figures(shop, tmp_path)
    assert plt.get_fignums() == []


def test_only_figures_with_something_to_show_are_saved(tmp_path):
    saved = plots.save_figures(a_result(nodes=[a_node("n")]), tmp_path)
    assert [path.name for path in saved] == ["stranded.png"]
