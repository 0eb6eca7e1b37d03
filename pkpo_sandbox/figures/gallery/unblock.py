"""Training for pass@1 stalls on hard problems; training for pass@k does not."""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.runs.tables import complete_sweep, curves

LOGGED = {
    "update": "train/n_updates",
    "pass_at_1": "exact/max_at_1",
    "pass_at_8": "exact/max_at_8",
    "hard_pass_at_8": "exact/max_at_8_hard",
    "solved": "rollout/solved",
    "entropy": "exact/entropy",
}
LABELS = {
    "pass_at_1": "pass@1",
    "pass_at_8": "pass@8",
    "hard_pass_at_8": "pass@8, hard problems",
    "solved": "problems ever solved",
    "entropy": "entropy of an answer (nats)",
}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns k, seed, update, pass_at_1, pass_at_8, hard_pass_at_8, solved, entropy.

    Values are of the policy that played the iteration of this update; pass@k is exact.
    """
    runs = complete_sweep(runs, "objective.k")
    return curves(runs, LOGGED, {"k": "config.objective.k", "seed": "config.seed"})


def draw(table: pd.DataFrame) -> Figure:
    """One panel for each quantity, one line for each k."""
    figure, axes = plotting.subplots(3, 2, height=4.2)
    ks = sorted(table["k"].unique())
    colors = plotting.ordered_colors(len(ks))
    for panel, (column, label) in zip(axes.flat, LABELS.items(), strict=False):
        for index, k in enumerate(ks):
            summary = plotting.summarise(table[table["k"] == k], "update", column)
            style = {"color": colors[index], "linestyle": plotting.LINES[index]}
            plotting.band(panel, summary, "update", label=f"k = {k}", **style)
        panel.set(xlabel="update", ylabel=label)
        if column != "entropy":
            panel.set_ylim(-0.03, 1.03)
    plotting.legend_in(
        axes.flat[-1], axes.flat[0], "PKPO: mean of the seeds,\n95 % bootstrap interval"
    )
    return figure
