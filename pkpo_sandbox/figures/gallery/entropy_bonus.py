"""RLOO with an entropy bonus: the best coefficient for each learning rate."""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, ordering
from pkpo_sandbox.figures.gallery.tuning import LABELS, chosen, final_values, with_scores


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved, score."""
    return with_scores(final_values(runs)).drop(columns="objective")


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure: a pair for each learning rate."""
    pairs = []
    for _, rows in table.groupby("learning_rate"):
        large, small = by_seed(rows, "ent_coef", [0.03, 0.001], "score")
        pairs.append((large, small))
    return [ordering("A coefficient of 0.03 suits all three learning rates, 0.001 none", pairs)]


def draw(table: pd.DataFrame) -> Figure:
    """One panel for each quantity, one line for each learning rate, the chosen setting in red."""
    figure, axes = plotting.subplots(3, sharey=True)
    best = chosen(table.assign(objective="entropy_bonus")).iloc[0]
    for index, rate in enumerate(sorted(table["learning_rate"].unique())):
        rows = table[table["learning_rate"] == rate]
        color, marker = plotting.COLORS[index], plotting.MARKERS[index]
        for panel, column in zip(axes, LABELS, strict=True):
            means = rows.groupby("ent_coef")[column].mean()
            panel.plot(means.index, means, linestyle=plotting.LINES[index], color=color)
            label = f"learning rate {rate:g}"
            panel.plot(rows["ent_coef"], rows[column], marker, color=color, label=label)
            if rate == best["learning_rate"]:
                mean = means[best["ent_coef"]]
                panel.plot(best["ent_coef"], mean, "D", color=plotting.COLORS[3], ms=7, zorder=3)
    for panel, label in zip(axes, LABELS.values(), strict=True):
        panel.set(xscale="log", xlabel="entropy coefficient (1 per nat)", title=label)
    axes[0].set(ylim=(-0.03, 1.08), ylabel="after 3,000 updates")
    figure.suptitle(
        "Two seeds (marks) and their mean; the diamond is the setting chosen", fontsize=9
    )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
