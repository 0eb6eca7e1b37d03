"""Plots as SVG inside an HTML page. Text stays text, and ids are unique in the page.

The names of runs are drawn as they are: a dollar sign starts no formula. A character that the
drawing font lacks is drawn with a font of the reader's browser.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.report.collect import UPDATE, Run
from pkpo_sandbox.figures.report.settings import (
    identity,
    ordered,
    setting_label,
    shown,
    telling,
)

MOST_PANELS = 8
MOST_LINES = len(plotting.COLORS)
MOST_POINTS = 100  # of a line
LONGEST = 60  # characters of a label
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass
class Plot:
    """A picture with its title and caption."""

    title: str
    svg: Markup
    caption: str


def curves(runs: Sequence[Run]) -> Iterator[Plot]:
    """The learning curves of finished runs, one picture for each world."""
    trained = [run for run in runs if run.progress is not None]
    worlds: dict[str, list[Run]] = {}
    for run in trained:
        worlds.setdefault(world(run), []).append(run)
    for number, (name, inside) in enumerate(worlds.items()):
        yield world_curves(name, inside, f"curves-{number}")


def world(run: Run) -> str:
    """The world of a run: a Gymnasium id, or the task of a language model."""
    flat = run.flat
    keys = [key for key in ("env.id", "task._target_", "model._target_") if key in flat]
    return ", ".join(shown(flat[key]) for key in keys) or "unnamed"


def panels(runs: Sequence[Run]) -> list[str]:
    """The metrics to draw: the most informative logged ones, at most eight.

    For max@k, :func:`spread` chooses the k.
    """
    logged = set().union(*(run.logged for run in runs))
    ks = {
        scope: sorted(
            int(found[1]) for name in logged if (found := re.match(f"{scope}/max_at_(\\d+)$", name))
        )
        for scope in ("exact", "eval", "rollout")
    }
    entropy = [name for name in ("exact", "rollout", "train") if f"{name}/entropy" in logged][:1]
    chosen = [f"exact/max_at_{k}" for k in spread(ks["exact"], runs)]
    chosen += [name for name in ("rollout/solved",) if name in logged]
    chosen += [f"{scope}/entropy" for scope in entropy]
    for scope in ("eval", "rollout"):
        chosen += [f"{scope}/max_at_{k}" for k in spread(ks[scope], runs)]
    return chosen[:MOST_PANELS]


def spread(ks: Sequence[int], runs: Sequence[Run]) -> list[int]:
    """The smallest k, one between, and the largest.

    The one between is the largest for which a run was trained; without such a run, the middle one.

    :param ks: ascending
    """
    if not ks:
        return []
    trained = [k for k in ks[1:-1] if any(run.flat.get("objective.k") == k for run in runs)]
    return sorted({ks[0], max(trained, default=ks[len(ks) // 2]), ks[-1]})


def world_curves(name: str, runs: list[Run], prefix: str) -> Plot:
    """The runs of one world: one line for each setting, one panel for each metric."""
    metrics, differs = panels(runs), telling([run.setting for run in runs])
    groups: dict[tuple, list[Run]] = {}
    for run in sorted(runs, key=lambda run: ordered(run.setting, [*differs, "seed"])):
        groups.setdefault(identity(run.setting, differs), []).append(run)
    lines, notes = chosen_lines(list(groups.values()), metrics[:1])
    colors = line_colors([group[0].setting for group in lines], differs)
    columns = min(3, len(metrics)) or 1
    rows = -(-len(metrics) // columns) or 1
    with text_as_it_is():
        labels = [plain(setting_label(group[0].setting, differs)) or "all runs" for group in lines]
        figure, axes = plotting.subplots(
            columns, rows, width=3.2 * columns, height=2.3 * rows + 0.2 * len(lines), squeeze=False
        )
        figure.set_layout_engine("constrained", h_pad=0.08)
        for panel in axes.flat[len(metrics) :]:
            panel.axis("off")
        for number, (panel, metric) in enumerate(zip(axes.flat, metrics, strict=False)):
            for index, group in enumerate(lines):
                style = {"color": colors[index], "linestyle": plotting.LINES[index]}
                draw_line(panel, group, metric, label=labels[index], **style)
            panel.set(title=metric, xlabel="update" if number + columns >= len(metrics) else "")
            fit_share(panel, metric)
        wide = max(map(len, labels)) + 8
        handles = [
            Line2D([], [], color=colors[i], linestyle=plotting.LINES[i], label=text)
            for i, text in enumerate(labels)
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=max(1, min(len(lines), 48 * columns // wide)),
            handlelength=3,
        )
        picture = inline(figure, prefix, f"Learning curves of {name}: {', '.join(metrics)}")
    return Plot(name, picture, " ".join([seeds_note(lines), *notes]))


def chosen_lines(groups: list[list[Run]], first: list[str]) -> tuple[list[list[Run]], list[str]]:
    """The settings to draw, with one run for each seed, and notes on what is left out."""
    notes = []
    unique = [
        list({str(run.config.get("seed")): run for run in group}.values()) for group in groups
    ]
    if doubles := sum(map(len, groups)) - sum(map(len, unique)):
        notes.append(f"{doubles} runs of the same config and seed as another one are not drawn.")
    if len(unique) > MOST_LINES and first:
        metric = first[0]

        def final(group: list[Run]) -> float:
            values = [value for run in group if (value := run.last(metric)) is not None]
            return sum(values) / len(values) if values else float("-inf")

        kept = sorted(unique, key=final, reverse=True)[:MOST_LINES]
        notes.append(
            f"{MOST_LINES} of {len(unique)} settings are drawn, those with the highest last "
            f"{metric} (mean of the seeds); all are in the table."
        )
        unique = [group for group in unique if group in kept]
    return unique[:MOST_LINES], notes


def seeds_note(groups: list[list[Run]]) -> str:
    counts = sorted({len(group) for group in groups})
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        return "One seed a setting: no interval can be given."
    alone = " A setting of one seed has no band." if counts[0] == 1 else ""
    return (
        f"Lines are the mean of the seeds ({seeds} a setting), bands its 95 % bootstrap interval, "
        f"at updates that all of them logged.{alone}"
    )


def line_colors(settings: list[dict], differs: list[str]) -> list:
    """Light to dark if the settings differ, and are sorted, by one number; else distinct."""
    values = [setting.get(key) for key in differs[:1] for setting in settings]
    if len(differs) == 1 and all(type(value) in (int, float) for value in values):
        return list(plotting.ordered_colors(len(values)))
    return list(plotting.COLORS[: len(settings)])


def draw_line(panel: Axes, group: list[Run], metric: str, **kwargs) -> None:
    """Draw mean and interval over one setting's seeds, where all of them logged the metric."""
    logs = []
    for run in group:
        assert run.progress is not None
        log = run.progress.reindex(columns=[UPDATE, metric]).dropna()
        logs.append(log.drop_duplicates(UPDATE, keep="last").assign(seed=len(logs)))
    table = pd.concat(logs)
    common = table.groupby(UPDATE).size().eq(len(group))
    updates = common.index[common]
    updates = updates[:: -(-len(updates) // MOST_POINTS) or 1]
    if len(updates):
        table = table[table[UPDATE].isin(updates)]
        summary = plotting.summarise(table, UPDATE, metric)
        marker = "o" if len(updates) == 1 else ""  # a line with one point is invisible
        plotting.band(panel, summary, UPDATE, marker=marker, **kwargs)


def fit_share(panel: Axes, metric: str) -> None:
    """Show the full range 0 to 1 for a share, or for rewards in that range."""
    low, high = panel.dataLim.intervaly
    if metric.endswith("/solved") or ("/max_at_" in metric and low >= -1e-9 and high <= 1 + 1e-9):
        panel.set_ylim(-0.03, 1.03)


@contextmanager
def text_as_it_is() -> Iterator[None]:
    """Draw in the project's style, without formulas in texts."""
    with plotting.style(), mpl.rc_context({"text.parse_math": False}):
        yield


def plain(text: str) -> str:
    """Text for drawing: on one line, not too long, without control characters."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def inline(figure: Figure, prefix: str, name: str) -> Markup:
    """A figure as an SVG element with an accessible name, its ids starting with ``prefix``.

    The SVG is parsed and written again, so that the page is well formed.
    """
    from io import StringIO

    buffer = StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, f"#{prefix}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}-"))
    for size in ("width", "height"):
        del root.attrib[size]
    widest = f"max-width: {6.9 * figure.get_figwidth():.0f}rem"
    root.attrib |= {"role": "img", "aria-label": name, "style": widest}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return Markup(ElementTree.tostring(root, encoding="unicode"))
