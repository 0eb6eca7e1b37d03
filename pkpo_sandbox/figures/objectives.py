"""Every rival objective on the same bench: 3,000 updates on the problem set.

Each objective is shown at the learning rate, of the same three, with the largest seed-mean of
pass@1 + pass@8 after training; RLOO with an entropy bonus also at the best of five coefficients.
"""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox import plotting
from pkpo_sandbox.figures.unblock import RUNS
from pkpo_sandbox.runs import complete_sweep

__all__ = ["RUNS", "draw", "table"]

NAMES = {
    "reinforce": "REINFORCE",
    "rloo": "RLOO",
    "dr_grpo": "Dr. GRPO",
    "grpo": "GRPO",
    "rs_grpo": "RS-GRPO, β = 2",
    "entropy bonus": "RLOO + entropy",
    "passk_training": "Pass@k Training, k = 4",
    "pkpo": "PKPO, k = 4",
    "max_rl": "MaxRL",
    "tail_rl": "TailRL",
}
FINAL = {
    "pass_at_1": "exact.1.max_at_k",
    "pass_at_8": "exact.8.max_at_k",
    "solved": "final.rollout/solved",
}
LABELS = {"pass_at_1": "pass@1", "pass_at_8": "pass@8", "solved": "ever solved"}


def final_values(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns objective, ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved.

    Those of every finished run with the objectives' own defaults, exact for the final policy.
    """
    objective = runs["config.objective._target_"].str.removeprefix("pkpo_sandbox.transforms.")
    ent_coef = runs["config.algorithm.ent_coef"]
    objective = objective.mask((objective == "rloo") & (ent_coef > 0), "entropy bonus")
    default_k = runs["config.objective.k"].eq(4) | ~objective.isin(["pkpo", "passk_training"])
    runs = runs.assign(**{"config.objective": objective})[default_k]
    own = r"^config\.objective\."  # each objective has arguments of its own
    runs = runs.drop(columns=runs.filter(regex=own).columns)
    swept = ("objective", "algorithm.ent_coef", "algorithm.learning_rate")
    runs = complete_sweep(runs, *swept)
    keys = {key.rpartition(".")[2]: f"config.{key}" for key in (*swept, "seed")}
    columns = {**keys, **FINAL}
    return runs[list(columns.values())].set_axis(list(columns), axis=1)


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """The columns of :func:`final_values`, and best: whether this setting is the one shown."""
    table = final_values(runs)
    settings = ["objective", "ent_coef", "learning_rate"]
    scores = (table["pass_at_1"] + table["pass_at_8"]).groupby([table[key] for key in settings])
    chosen = scores.mean().groupby("objective").idxmax().tolist()
    best = pd.MultiIndex.from_frame(table[settings]).isin(chosen)
    return table.assign(best=best)


def draw(table: pd.DataFrame) -> Figure:
    """A panel for each quantity, a row for each objective: seeds as dots, mean and 95 %."""
    figure, axes = plotting.subplots(3, height=3.0, sharey=True)
    shown = table[table["best"]]
    labels = []
    for row, (objective, name) in enumerate(NAMES.items()):
        runs = shown[shown["objective"] == objective]
        rate, ent_coef = runs["learning_rate"].iloc[0], runs["ent_coef"].iloc[0]
        bonus = f", {ent_coef:g}" if ent_coef > 0 else ""
        labels.append(f"{name}{bonus} (lr {rate:g})")
        color = plotting.COLORS[3] if objective == "pkpo" else plotting.COLORS[0]
        for panel, column in zip(axes, LABELS, strict=True):
            values = runs[column]
            mean, low, high = plotting.interval(values.to_numpy())
            panel.plot(values, [row + 0.25] * len(values), ".", color="0.6", markersize=3)
            panel.plot([low, high], [row, row], color=color, linewidth=2.5)
            panel.plot(mean, row, "D", color=color, markersize=5)
    for panel, label in zip(axes, LABELS.values(), strict=True):
        panel.set(xlabel=label, xlim=(-0.03, 1.03), yticks=range(len(labels)))
    axes[0].set_yticks(range(len(labels)), labels)
    return figure
