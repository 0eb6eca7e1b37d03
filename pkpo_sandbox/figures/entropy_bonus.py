"""An entropy bonus on top of RLOO: what each coefficient reaches at each learning rate."""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox import plotting
from pkpo_sandbox.figures.objectives import LABELS, final_values
from pkpo_sandbox.figures.unblock import RUNS

__all__ = ["RUNS", "draw", "table"]


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved after training."""
    table = final_values(runs)
    return table[table["objective"] == "entropy bonus"].drop(columns="objective")


def draw(table: pd.DataFrame) -> Figure:
    """A panel for each quantity, a line for each learning rate."""
    figure, axes = plotting.subplots(3, sharey=True)
    for index, rate in enumerate(sorted(table["learning_rate"].unique())):
        rows = table[table["learning_rate"] == rate]
        color, marker = plotting.COLORS[index], plotting.MARKERS[index]
        style = {"color": color, "marker": marker, "label": f"learning rate {rate:g}"}
        for panel, column in zip(axes, LABELS, strict=True):
            summary = plotting.summarise(rows, ["ent_coef"], column)
            plotting.errorbars(panel, summary, "ent_coef", linestyle=plotting.LINES[index], **style)
    for panel, label in zip(axes, LABELS.values(), strict=True):
        panel.set(xscale="log", xlabel="entropy coefficient (1/nat)", title=label)
    axes[0].set(ylim=(-0.03, 1.03), ylabel="after 3,000 updates")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
