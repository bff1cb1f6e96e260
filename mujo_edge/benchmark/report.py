"""A benchmark's `Report` as tables on the terminal and as one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from io import StringIO
from typing import TYPE_CHECKING, Any

from mujo_edge.benchmark import CURVE, PACE, ModelCost, PathCost, Report, Timing
from mujo_edge.core import require_extra

if TYPE_CHECKING:
    from rich.console import RenderableType

LATENCY_HEADINGS = ("file", "runtime", "thr", "p50", "p90", "p99", "max", "wins/s")
COST_HEADINGS = ("file", "runtime", "thr", "KB", "RSS", "import", "load", "agree", "SNR")
STAGE_HEADINGS = ("stage", "p50", "p90", "p99", "max")
LATENCY_TITLE = "One window, float32 in, embedding out: microseconds; windows per second in one call"
COST_TITLE = "File in KB, peak memory in MB, import and load in ms; agreement with fp32 in % and dB"
STAGE_TITLE = "The live path, one window at a time: microseconds"
TEXT_COLUMNS = ("file", "runtime", "stage", "network", "label set", "worn at", "labels", "smoothing")


def times(timing: Timing) -> tuple[str, ...]:
    """Table cells of the four quantiles."""
    return tuple(f"{value:.1f}" for value in (timing.p50_us, timing.p90_us, timing.p99_us, timing.max_us))


def latency_row(cost: ModelCost) -> tuple[str, ...]:
    """Table cells under `LATENCY_HEADINGS`."""
    return (cost.file, cost.runtime, str(cost.threads), *times(cost.latency), f"{cost.windows_per_s:,.0f}")


def cost_row(cost: ModelCost) -> tuple[str, ...]:
    """Table cells under `COST_HEADINGS`."""
    return (
        cost.file,
        cost.runtime,
        str(cost.threads),
        f"{cost.file_bytes / 1000:.1f}",
        "?" if cost.peak_rss_mb is None else f"{cost.peak_rss_mb:.0f}",
        f"{cost.import_ms:.0f}",
        f"{cost.load_ms:.1f}",
        f"{100 * cost.parity.top1_agreement:.1f}",
        f"{cost.parity.snr_db:.1f}",
    )


def stage_rows(path: PathCost) -> list[tuple[str, ...]]:
    """Table rows under `STAGE_HEADINGS`."""
    return [(stage, *times(timing)) for stage, timing in path.stages.items()]


def path_sentence(path: PathCost) -> str:
    """The cost of the whole live path as a sentence."""
    right = "" if path.right is None else f" {100 * path.right:.1f} % of its annotated predictions are right."
    return (
        f"{path.recording} ({path.signal_s:.0f} s, {path.windows} windows, {path.label_set}) in {path.runtime}: "
        f"{path.speed:,.0f} times real time at full speed, {path.core_percent:.2f} % of one core in real time "
        f"(measured at {PACE:g} times).{right}"
    )


def terminal(report: Report) -> list[RenderableType]:
    """The report as rich renderables, with the missing runtimes."""
    from rich.text import Text

    where = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    absent = [
        Text(f"not measured: {missing.runtime} ({missing.reason}). Add it with: {missing.install}", "yellow")
        for missing in report.missing
    ]
    return [
        Text(f"{report.bundle} {report.version}", "bold"),
        rich_table(LATENCY_TITLE, LATENCY_HEADINGS, [latency_row(cost) for cost in report.models]),
        rich_table(COST_TITLE, COST_HEADINGS, [cost_row(c) for c in report.models]),
        *absent,
        rich_table(STAGE_TITLE, STAGE_HEADINGS, stage_rows(report.path)),
        Text("\n" + path_sentence(report.path)),
        Text(where, "dim"),
    ]


def rich_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """A table that fits 80 columns, under its title."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in TEXT_COLUMNS else "right", no_wrap=heading != "labels")
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: names and labels are untrusted text
    return Group(Text(f"\n{title}", "italic"), table) if title else table


def html(report: Report) -> str:
    """The report as one self-contained page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    jinja2 = require_extra("jinja2", "report")
    require_extra("matplotlib", "report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("mujo_edge").joinpath("assets", "templates", "benchmark.html.j2").read_text("utf-8")
    page: str = environment.from_string(template).render(
        report=report,
        latency=(LATENCY_TITLE, LATENCY_HEADINGS, [latency_row(cost) for cost in report.models]),
        cost=(COST_TITLE, COST_HEADINGS, [cost_row(cost) for cost in report.models]),
        stages=(STAGE_TITLE, STAGE_HEADINGS, stage_rows(report.path)),
        path_sentence=path_sentence(report.path),
        latency_plot=jinja2.utils.markupsafe.Markup(svg(report, draw_latency, 0.34 * len(report.models) + 1)),
        curve_plot=jinja2.utils.markupsafe.Markup(svg(report, draw_curves, 3)),
        stage_plot=jinja2.utils.markupsafe.Markup(svg(report, draw_stages, 2.4)),
    )
    return page


def svg(report: Report, draw: Callable[[Report, Any], None], height_in: float) -> str:
    """An SVG element with the plot that `draw` makes on matplotlib axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": draw.__name__, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, height_in), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(report, axes)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def name(cost: ModelCost) -> str:
    """Short name of a measured model, with `$` escaped for matplotlib, where it starts a formula."""
    text = f"{cost.file}, {cost.runtime}" + (f", {cost.threads} threads" if cost.threads > 1 else "")
    return text.replace("$", r"\$")


def draw_latency(report: Report, axes: Any) -> None:
    """A line from p50 to p99 with a dot at p50, for each model."""
    for row, cost in enumerate(reversed(report.models)):
        color = "#2a7f62" if cost.precision == "int8" else "#8a94a0"
        p50, p99 = cost.latency.p50_us, cost.latency.p99_us
        axes.plot([p50, p99], [row, row], color=color, linewidth=2)
        axes.plot(p50, row, "o", color=color)
        axes.annotate(
            f"{p50:.0f}", (p50, row), (-8, 0), textcoords="offset points", ha="right", va="center", fontsize=8
        )
    axes.set_yticks(range(len(report.models)), [name(cost) for cost in reversed(report.models)])
    axes.set_xscale("log")
    axes.margins(0.12, 0.08)
    axes.set_xlabel("microseconds per window: dot p50, line to p99 (green int8, gray fp32)")


def draw_curves(report: Report, axes: Any) -> None:
    """Cumulative distribution of latencies, one line per model at one thread."""
    for cost in report.models:
        if cost.threads == 1:
            axes.plot(cost.curve_us, CURVE, label=name(cost), linewidth=1.5)
    axes.set_xscale("log")
    axes.set_xlabel("microseconds per window (one thread)")
    axes.set_ylabel("% of calls done")
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def draw_stages(report: Report, axes: Any) -> None:
    """p50 of every stage as bars, p99 as whiskers."""
    stages = list(report.path.stages.items())[::-1]
    p50 = [timing.p50_us for _, timing in stages]
    tail = [timing.p99_us - timing.p50_us for _, timing in stages]
    axes.barh([stage for stage, _ in stages], p50, xerr=[[0] * len(p50), tail], color="#3b6ea5", capsize=3)
    axes.set_xlabel("microseconds a window: bar p50, whisker p99")
