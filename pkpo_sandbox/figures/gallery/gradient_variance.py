"""The baseline decides the variance of the gradient, and the group size divides it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.runs.tables import measurements

N, K = 16, 4  # held while the other one varies
BASELINES = {"none": "none (s)", "loo": "loo", "loo_minus_one": "loo_minus_one"}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns theta, n, k, baseline, mean, standard_error, variance, true_gradient.

    ``variance`` is that of one group's estimate, ``standard_error`` that of the mean.
    """
    rows = measurements(runs)
    return rows.sort_values(["theta", "n", "k", "baseline"], ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """A row for each policy: left against the group size n, right against k."""
    thetas = sorted(table["theta"].unique())
    figure, axes = plotting.subplots(2, len(thetas), height=2.2 * len(thetas), squeeze=False)
    for (by_n, by_k), theta in zip(axes, thetas, strict=True):
        rows = table[table["theta"] == theta]
        lines(by_n, rows[rows["k"] == K], "n")
        lines(by_k, rows[rows["n"] == N], "k")
        best = rows.query("k == @K and baseline == 'loo_minus_one'").sort_values("n")
        ns = best["n"].to_numpy()
        by_n.plot(ns, 0.4 * best["variance"].iloc[0] * ns[0] / ns, "k--", linewidth=1, label="1/n")
        plotting.log2_axis(by_n, ns, "group size n (attempts)")
        by_n.set_title(f"θ = {theta:g}, k = {K}")
        plotting.k_axis(by_k, sorted(rows["k"].unique()))
        by_k.set_title(f"θ = {theta:g}, n = {N}")
        for panel in (by_n, by_k):
            panel.set(yscale="log", ylabel="variance of one\ngroup's gradient")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def lines(axes: Axes, rows: pd.DataFrame, x: str) -> None:
    """One line for each baseline."""
    for index, (baseline, label) in enumerate(BASELINES.items()):
        line = rows[rows["baseline"] == baseline].sort_values(x)
        marker = plotting.MARKERS[index]
        axes.plot(
            line[x], line["variance"], color=plotting.COLORS[index], marker=marker, label=label
        )


def slope(table: pd.DataFrame, theta: float, k: int) -> float:
    """Log-log slope of the variance of loo_minus_one over n from 8k upward; 1/n is −1."""
    rows = table.query("theta == @theta and k == @k and baseline == 'loo_minus_one'")
    rows = rows[rows["n"] >= 8 * k]
    return float(np.polyfit(np.log(rows["n"]), np.log(rows["variance"]), 1)[0])
