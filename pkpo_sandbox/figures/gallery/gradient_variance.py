"""The baseline decides the variance of the gradient, and the group size divides it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import CONFIDENCE, Claim, relative
from pkpo_sandbox.runs.tables import measurements

N, K = 16, 4  # each one is fixed while the other one varies
#: for each k, a bound on the kurtosis of one group's estimate, in the settings with claims
KURTOSIS = {1: 4.0, 2: 4.0, 4: 4.0, 8: 7.0}
BASELINES = {"none": "none (s)", "loo": "loo", "loo_minus_one": "loo_minus_one"}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns theta, n, k, baseline, mean, standard_error, variance, true_gradient.

    ``variance`` is the variance of one group's estimate, ``standard_error`` that of the mean.
    """
    rows = measurements(runs)
    return rows.sort_values(["theta", "n", "k", "baseline"], ignore_index=True)


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure. The groups of each estimate are the sample."""
    z = ((table["mean"] - table["true_gradient"]) / table["standard_error"]).abs()
    variance = table.pivot(index=["k", "theta", "n"], columns="baseline", values="variance")
    ratio = (variance["none"] / variance["loo_minus_one"]).groupby("k").agg(["min", "max"])
    below = 100 * (1 - variance["loo"] / variance["loo_minus_one"])
    below = below.xs((2, 0.8), level=("k", "theta")).loc[32:]
    is_below = (variance["loo_minus_one"] < variance["loo"])[variance["loo"].notna()]
    names = ("loo_minus_one", "loo", "none")
    three = [float(variance[name][4, theta, 16]) for theta in (0.8, 1.0) for name in names]
    slopes = [slope(table, theta, k) for theta in (0.8, 1.0) for k in (2, 4, 8)]
    error = {k: relative_error(table, k) for k in KURTOSIS}
    variances = "variance: `s_loo−1` ≪ `s_loo` ≪ `s`"
    return [
        Claim(
            "of {:.0f} measured means, of 50,000 groups each, none is more than {:.1f} standard "
            "errors away",
            (len(z), np.ceil(10 * z.max()) / 10),
            "below",
            (len(z), float(stats.norm.isf((1 - CONFIDENCE) / 2 / len(z)))),  # of the largest z
        ),
        relative(
            "it is {:.1f} to {:.0f} times that of `loo_minus_one` (RLOO at k = 1) for k = 1, "
            "{:.0f} to {:.0f} times for k = 2 and 4",
            [ratio["min"][1], ratio["max"][1], ratio["min"][2], ratio["max"][4]],
            2 * error[2],
            paper=variances,
        ),
        Claim(
            "{:.0f} times or more for k = 8 and 16",
            (np.floor(smallest := ratio.loc[[8, 16], "min"].min()),),
            "above",
            (smallest * (1 - 2 * error[8]) - 1,),
            variances,
        ),
        Claim(
            "`loo_minus_one` is mostly, though not everywhere, below `loo`",
            (is_below.mean(),),
            "above",
            (0.5,),
            variances,
        ),
        relative(
            "{:.3f}, {:.3f}, {:.1f} at θ = 0.8, n = 16, k = 4; {:.3f}, {:.2f}, {:.1f} at θ = 1",
            three,
            error[4] * 2**0.5,
            paper=variances,
        ),
        Claim(
            "that of `s_loo` is {:.0f} to {:.0f} % below that of `s_loo−1`",
            (below.min(), below.max()),
            "within",
            (1 + 200 * error[2],) * 2,
        ),
        Claim(
            "log-log slope of `s_loo−1` over n = 8k to 256, k = 2, 4, 8: {:.2f}, {:.2f}, {:.2f} at "
            "θ = 0.8; {:.2f}, {:.2f}, {:.2f} at θ = 1",
            tuple(slopes),
            "within",
            tuple(0.01 + error[k] * 2**0.5 * slope_error(table, k) for k in (2, 4, 8)) * 2,
            "variance falls as O(1/n)",
        ),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """One row for each policy: left, variance against the group size n; right, against k."""
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


def slope_error(table: pd.DataFrame, k: int) -> float:
    """Standard error of :func:`slope` if each logarithm of a variance has a standard error of 1."""
    ns = np.log(np.unique(table.loc[table["n"] >= 8 * k, "n"]))
    return float(((ns - ns.mean()) ** 2).sum() ** -0.5)


def relative_error(table: pd.DataFrame, k: int) -> float:
    """The relative tolerance of a measured variance.

    The variance of N estimates of kurtosis κ has a relative standard error of √((κ − 1) / N).
    """
    n_groups = (table["variance"] / table["standard_error"] ** 2).median()
    return float(stats.norm.isf((1 - CONFIDENCE) / 2) * ((KURTOSIS[k] - 1) / n_groups) ** 0.5)
