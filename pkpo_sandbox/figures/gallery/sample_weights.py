"""Who gets the credit: k = 1 rewards every attempt above the mean, a larger k the best ones."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, exact
from pkpo_sandbox.runs.tables import measurements


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns reward, k, rank, value, weight; rank 1 is the worst attempt of the group."""
    return measurements(runs)


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure. Its numbers are not random."""
    even = table[table["reward"] == "continuous"]
    first, larger = even[even["k"] == 1], even[even["k"] >= 2]
    sides = np.sign(first["value"] - first["value"].mean())
    lowest = larger[larger["rank"] < larger["k"]]["weight"]
    others = even[(even["k"] == 16) & (even["rank"] < 16)]["weight"]
    binary = table[(table["reward"] == "binary") & (table["k"] == 16)]["weight"]
    return [
        exact(
            "At k = 1 every attempt above the mean is reinforced and every one below it is "
            "suppressed",
            [(np.sign(first["weight"]) == sides).mean()],
        ),
        exact(
            "no weight below 0 for k ≥ 2, exactly 0 for the lowest k − 1 ranks",
            [larger["weight"].lt(0).sum(), lowest.abs().max()],
        ),
        exact("at k = 16 only the best attempt counts", [others.abs().max()]),
        exact("with 4 of 16 correct, k = 16 gives no weight", [binary.abs().max()]),
    ]


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
