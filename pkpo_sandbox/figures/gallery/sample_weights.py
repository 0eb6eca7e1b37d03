"""Who gets the credit: k = 1 rewards every attempt above the mean, a larger k the best ones."""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.runs.tables import measurements


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns reward, k, rank, value, weight; rank 1 is the worst attempt of the group."""
    return measurements(runs)


def draw(table: pd.DataFrame) -> Figure:
    """Weight against rank: left for evenly spread rewards, right for 0/1 rewards."""
    figure, axes = plotting.subplots(2)
    ks = sorted(table["k"].unique())
    colors = plotting.ordered_colors(len(ks))
    for panel, kind in zip(axes, ("continuous", "binary"), strict=True):
        rows = table[table["reward"] == kind]
        for index, k in enumerate(ks):
            line = rows[rows["k"] == k]
            style = {"color": colors[index], "marker": plotting.MARKERS[index], "markersize": 3}
            panel.plot(line["rank"], line["weight"], label=f"k = {k}", **style)
        panel.axhline(0, color="0.4", linewidth=0.8)
        n, correct = rows["rank"].max(), int(rows.groupby("rank")["value"].first().sum())
        panel.set_xticks([1, *range(n // 4, n + 1, n // 4)])
        panel.set_xlabel(f"rank of the attempt (1 worst, {n} best)")
        panel.set_ylabel("weight in the gradient")
        panel.set_title(
            f"Rewards 1/{n}, 2/{n}, ..., 1" if kind == "continuous" else f"{correct} of {n} correct"
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(ks))
    return figure
