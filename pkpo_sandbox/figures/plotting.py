"""Shared functions of all figures: the style, estimates over seeds with intervals, the files.

Nothing here trains a policy or opens a window. The figures are in
:mod:`pkpo_sandbox.figures.gallery`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

#: Okabe & Ito's colours, in an order in which neighbours also differ in greyscale.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.size": 8,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.columnspacing": 1.2,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "svg.hashsalt": "pkpo",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style, independent of the user's own settings."""
    with mpl_style.context(["default", STYLE]):
        yield


def subplots(columns: int = 1, rows: int = 1, width: float = 7.0, height: float = 2.6, **kwargs):
    """A figure and its axes (rows, columns), squeezed; sizes in inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **kwargs)


def ordered_colors(count: int) -> np.ndarray:
    """Colours (count, 4) for an ordered quantity such as k: light to dark, colour-blind safe."""
    return mpl.colormaps["viridis"](np.linspace(0.85, 0.0, count))


def interval(values: Sequence[float] | np.ndarray) -> tuple[Any, Any, Any]:
    """Mean of a sample and its 95 % bootstrap interval (percentiles of 9,999 resamples).

    :param values: (..., n_seeds). For a single seed, both bounds are its value
    :return: mean, low and high, each (...)
    """
    sample = np.asarray(values, dtype=float)
    mean = sample.mean(axis=-1)
    if sample.shape[-1] < 2:
        return mean, mean, mean
    found = stats.bootstrap(
        (sample,),
        np.mean,
        axis=-1,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return mean, found.low, found.high


def summarise(table: pd.DataFrame, by: str, column: str) -> pd.DataFrame:
    """Columns ``by``, mean, low, high: mean and interval of ``column`` over the seeds.

    :param table: with a row for each value of ``by`` and each ``seed``. Rows where ``column`` is
        empty are left out, and so are values of ``by`` that some seed lacks
    :raises ValueError: if nothing is left
    """
    seeds = table.pivot(index=by, columns="seed", values=column).dropna()
    if seeds.empty:
        raise ValueError(
            f"there is no {by} at which all seeds have {column}: in training logs they share "
            "time/iterations, but time/total_timesteps only if all episodes have the same length"
        )
    mean, low, high = interval(seeds.to_numpy())
    return pd.DataFrame({by: seeds.index, "mean": mean, "low": low, "high": high})


def errorbars(axes: Axes, summary: pd.DataFrame, x: str, **kwargs) -> None:
    """Draw means against column ``x``, with intervals as bars."""
    errors = np.clip([summary["mean"] - summary["low"], summary["high"] - summary["mean"]], 0, None)
    axes.errorbar(summary[x], summary["mean"], errors, capsize=2, **kwargs)


def band(axes: Axes, summary: pd.DataFrame, x: str, **kwargs) -> None:
    """Draw means against column ``x`` as a line, with intervals as a band."""
    axes.plot(summary[x], summary["mean"], **kwargs)
    axes.fill_between(
        summary[x], summary["low"], summary["high"], color=kwargs["color"], alpha=0.2, linewidth=0
    )


def legend_in(empty: Axes, drawn: Axes, title: str) -> None:
    """Put the legend of the panel ``drawn`` into the panel ``empty``."""
    empty.axis("off")
    empty.legend(*drawn.get_legend_handles_labels(), loc="center", title=title, handlelength=3)


def log2_axis(axes: Axes, values: Sequence[int] | np.ndarray, label: str) -> None:
    """A logarithmic horizontal axis with these values as ticks."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(values), [str(value) for value in values])
    axes.minorticks_off()
    axes.set_xlabel(label)


def k_axis(axes: Axes, ks: Sequence[int]) -> None:
    """A logarithmic axis of k."""
    log2_axis(axes, ks, "k (attempts whose best one counts)")


def save(figure: Figure, table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write ``name``.png, .pdf and .csv into ``folder``; equal tables give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "pdf", "csv")]
    figure.savefig(paths[0], metadata={"Software": None})
    figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None})
    table.to_csv(paths[2], index=False, float_format="%.8g", lineterminator="\n")
    return paths
