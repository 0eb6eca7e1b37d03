"""Every rival objective on the same bench, after the same 3,000 updates on the problem set.

Each at the setting that the rule of ``tuning`` chose, on other seeds than those it was chosen on.
"""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.gallery.tuning import LABELS, NAMES, final_values


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns objective, ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved."""
    return final_values(runs)


def draw(table: pd.DataFrame) -> Figure:
    """A panel for each quantity, a row for each objective: seeds as dots, mean and 95 %."""
    figure, axes = plotting.subplots(3, height=3.5, sharey=True)
    labels = []
    for row, (objective, name) in enumerate(NAMES.items()):
        runs = table[table["objective"] == objective]
        rate, ent_coef = runs["learning_rate"].iloc[0], runs["ent_coef"].iloc[0]
        labels.append(f"{name} {ent_coef:g}" if ent_coef > 0 else name)
        labels[-1] += f" (lr {rate:g})"
        color = plotting.COLORS[3] if objective == "pkpo" else plotting.COLORS[0]
        for panel, column in zip(axes, LABELS, strict=True):
            mean, low, high = plotting.interval(runs[column].to_numpy())
            panel.plot(runs[column], [row + 0.28] * len(runs), ".", color="0.6", markersize=3)
            bar = {"color": color, "linewidth": 2.5, "solid_capstyle": "butt"}
            panel.plot([low, high], [row, row], **bar)
            panel.plot(mean, row, "D", color=color, markersize=5)
    for panel, label in zip(axes, LABELS.values(), strict=True):
        panel.set(xlabel=label, xlim=(-0.03, 1.06))
    axes[0].set_yticks(range(len(labels)), labels)
    rule = (
        "8 seeds (dots), their mean and 95 % bootstrap interval. Learning rate: of 0.001, 0.003, "
        "0.01 the one with the largest\nmean of pass@1 + pass@8 + problems ever solved on two "
        "other seeds; the entropy bonus: coefficient, of five, and rate."
    )
    figure.supxlabel(rule, fontsize=7)
    return figure
