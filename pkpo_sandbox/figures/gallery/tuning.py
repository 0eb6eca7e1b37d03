"""The best learning rate for each objective.

The two seeds are used for nothing else. ``objectives`` uses the setting with the largest mean of
pass@1 + pass@8 + solve rate over the seeds. The coefficient of the entropy bonus is chosen in the
same way.
"""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, ordering
from pkpo_sandbox.runs.tables import complete_sweep

NAMES = {
    "reinforce": "REINFORCE",
    "rloo": "RLOO",
    "dr_grpo": "Dr. GRPO",
    "grpo": "GRPO",
    "rs_grpo": "RS-GRPO, β = 2",
    "passk_training": "Pass@k Training, k = 4",
    "pkpo": "PKPO, k = 4",
    "max_rl": "MaxRL",
    "tail_rl": "TailRL",
    "entropy_bonus": "RLOO + entropy",
}
SETTING = ["objective", "ent_coef", "learning_rate"]
FINAL = {
    "pass_at_1": "exact.1.max_at_k",
    "pass_at_8": "exact.8.max_at_k",
    "solved": "final.rollout/solved",
}
LABELS = {"pass_at_1": "pass@1", "pass_at_8": "pass@8", "solved": "problems ever solved"}


def final_values(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns objective, ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved.

    Values of the final policies; pass@k is exact.
    """
    objective = runs["config.objective._target_"].str.removeprefix("pkpo_sandbox.transforms.")
    objective = objective.mask(runs["config.algorithm.ent_coef"] > 0, "entropy_bonus")
    # The arguments of an objective belong to it; they are not a difference between settings.
    arguments = runs.filter(regex=r"^config\.objective\.").columns
    runs = runs.drop(columns=arguments).assign(**{"config.objective": objective})
    runs = complete_sweep(runs, "objective", "algorithm.ent_coef", "algorithm.learning_rate")
    columns = {
        "objective": "config.objective",
        "ent_coef": "config.algorithm.ent_coef",
        "learning_rate": "config.algorithm.learning_rate",
        "seed": "config.seed",
        **FINAL,
    }
    return runs[list(columns.values())].set_axis(list(columns), axis=1)


def with_scores(values: pd.DataFrame) -> pd.DataFrame:
    """The values with ``score``, the sum that decides between settings."""
    return values.assign(score=values[list(FINAL)].sum(axis=1))


def chosen(values: pd.DataFrame) -> pd.DataFrame:
    """One row for each objective: the setting with the largest mean score; ties to the smaller."""
    means = values.groupby(SETTING, as_index=False)["score"].mean().round(9)
    return means.loc[means.groupby("objective")["score"].idxmax()]


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns objective, ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved, score."""
    return with_scores(final_values(runs))


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure. The objectives are the sample."""
    means = table.groupby(["learning_rate", "objective"])["score"].mean()
    smallest, largest = (means[rate].to_numpy() for rate in (0.001, 0.01))
    return [
        ordering("At the largest learning rate almost everything stalls", [(smallest, largest)])
    ]


def draw(table: pd.DataFrame) -> Figure:
    """One panel for each objective: the score of both seeds against the learning rate."""
    figure, axes = plotting.subplots(3, 3, height=4.6, sharex=True, sharey=True)
    names = {key: name for key, name in NAMES.items() if key in set(table["objective"])}
    for panel, (objective, name) in zip(axes.flat, names.items(), strict=True):
        rows = table[table["objective"] == objective]
        means = rows.groupby("learning_rate")["score"].mean()
        panel.plot(means.index, means, "-", color=plotting.COLORS[0])
        panel.plot(rows["learning_rate"], rows["score"], "o", color=plotting.COLORS[0])
        best = chosen(rows).iloc[0]
        panel.plot(best["learning_rate"], best["score"], "D", color=plotting.COLORS[3], ms=6)
        panel.set(title=name, xscale="log", ylim=(0, 3.3))
    for panel in axes[-1]:
        panel.set_xlabel("learning rate")
        panel.set_xticks(
            sorted(table["learning_rate"].unique()),
            [f"{rate:g}" for rate in sorted(table["learning_rate"].unique())],
        )
        panel.minorticks_off()
    axes[1, 0].set_ylabel("pass@1 + pass@8 + ever solved")
    figure.suptitle(
        "Two seeds (dots) and their mean; the diamond is the setting chosen", fontsize=9
    )
    return figure
