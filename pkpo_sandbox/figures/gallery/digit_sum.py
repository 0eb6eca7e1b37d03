"""With several steps, k = 1 stalls on targets with few solutions; 8 then 1 stalls less."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pkpo_envs.digit_sum import DigitSumEnv
from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, exact, ordering, seed_means
from pkpo_sandbox.figures.gallery.anneal import with_schedules
from pkpo_sandbox.runs.tables import complete_sweep, curves

LOGGED = {
    "update": "train/n_updates",
    "pass_at_1": "exact/max_at_1",
    "pass_at_8": "exact/max_at_8",
    "solved": "rollout/solved",
    "entropy": "train/entropy",
    "k": "train/k",
}
LABELS = {
    "pass_at_1": "pass@1",
    "pass_at_8": "pass@8",
    "solved": "targets ever reached",
    "entropy": "entropy of a digit (nats)",
}
FEW = 10  # the most solutions of a target that counts as having few
SCHEDULES = ("k = 1", "k = 4", "k = 8", "8 then 1")


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns schedule, seed, those of LOGGED, target, n_solutions.

    Rows without a target are means over the targets, for the policy that played the iteration of
    this update. Rows with a target are for the final policy at that target. pass@k is exact.
    """
    runs = complete_sweep(with_schedules(runs), "schedule")
    keys = {"schedule": "config.schedule", "seed": "config.seed"}
    means = curves(runs, LOGGED, keys)
    return pd.concat([means, *map(by_target, runs.to_dict("records"))], ignore_index=True)


def by_target(run: dict) -> pd.DataFrame:
    """The final pass@1 and pass@8 of a run, one row for each target."""
    solutions = DigitSumEnv(run["config.env.kwargs.n_digits"]).n_solutions
    success = pd.Series(run["exact.1.success"])
    return pd.DataFrame(
        {
            "schedule": run["config.schedule"],
            "seed": run["config.seed"],
            "update": run["final.train/n_updates"],
            "pass_at_1": success,
            "pass_at_8": 1 - (1 - success) ** 8,
            "target": range(len(solutions)),
            "n_solutions": solutions,
        }
    )


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure."""
    means, targets = table[table["target"].isna()], table[table["target"].notna()]
    last = means[means["update"] == means["update"].max()]
    one = by_seed(last, "schedule", SCHEDULES, "pass_at_1")
    eight = by_seed(last, "schedule", SCHEDULES, "pass_at_8")
    of_k_1 = targets[targets["schedule"] == "k = 1"]
    rare = of_k_1["n_solutions"] <= FEW
    few, many = (rows.groupby("seed")["pass_at_1"].mean() for rows in (of_k_1[rare], of_k_1[~rare]))
    solutions = targets.groupby("target")["n_solutions"].first()
    return [
        seed_means(
            "; ".join(f"{name} {{}}, {{}}" for name in SCHEDULES),
            [sample for pair in zip(one, eight, strict=True) for sample in pair],
            paper="k = 8, then 1, lifts pass@k without losing pass@1",
        ),
        ordering(
            "Training for pass@1 stalls on targets with few solutions",
            [(many.to_numpy(), few.to_numpy())],
            paper="pass@1 training stalls where pass@k does not",
        ),
        ordering(
            "8 then 1 learns more of them and ends with the better first attempt",
            [(eight[-1], eight[0]), (one[-1], one[0])],
        ),
        exact("targets in the middle have up to {:.0f} solutions", [solutions.max()]),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """Four quantities against updates, and the final pass@1 against the number of solutions."""
    figure, axes = plotting.subplots(3, 2, height=4.2)
    means, targets = table[table["target"].isna()], table[table["target"].notna()]
    rarity = targets.groupby(["schedule", "seed", "n_solutions"], as_index=False)["pass_at_1"]
    rarity = rarity.mean()  # a target and its mirror image have equally many solutions
    for index, name in enumerate(SCHEDULES):
        style = {"color": plotting.COLORS[index], "linestyle": plotting.LINES[index]}
        rows = means[means["schedule"] == name]
        for panel, column in zip(axes.flat, LABELS, strict=False):
            summary = plotting.summarise(rows, "update", column)
            plotting.band(panel, summary, "update", label=name, **style)
        rows = rarity[rarity["schedule"] == name]
        plotting.band(
            axes[1, 1],
            plotting.summarise(rows, "n_solutions", "pass_at_1"),
            "n_solutions",
            marker=plotting.MARKERS[index],
            markersize=3,
            **style,
        )
    for panel, (column, label) in zip(axes.flat, LABELS.items(), strict=False):
        panel.set(xlabel="update", ylabel=label)
        if column != "entropy":
            panel.set_ylim(-0.03, 1.03)
    draw_uniform_policy(axes, targets.drop_duplicates("target"))
    axes[1, 1].set(xscale="log", xlabel="number of solutions of a target")
    axes[1, 1].set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    axes[1, 1].minorticks_off()
    axes[1, 1].set(ylim=(-0.03, 1.03), ylabel="final pass@1 of such a target")
    plotting.legend_in(axes[1, 2], axes[0, 0], "PKPO: mean of the seeds,\n95 % bootstrap interval")
    return figure


def draw_uniform_policy(axes: np.ndarray, targets: pd.DataFrame) -> None:
    """Draw the exact results of random digits: the share of sequences that reach a target."""
    chance = (targets["n_solutions"] / targets["n_solutions"].sum()).to_numpy()
    style = {"color": "0.4", "linestyle": (0, (2, 2)), "linewidth": 0.9}
    axes[0, 0].axhline(chance.mean(), label="random digits (exact)", **style)
    axes[0, 1].axhline((1 - (1 - chance) ** 8).mean(), **style)
    axes[1, 1].plot(*np.sort([targets["n_solutions"], chance]), **style)  # both have the same order
