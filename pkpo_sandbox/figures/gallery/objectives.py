"""Every rival objective under the same conditions: 3,000 updates on the problem set.

Each has the setting that the rule of ``tuning`` chose. The seeds differ from those of the choice.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, ordering, seed_means, shown
from pkpo_sandbox.figures.gallery.tuning import FINAL, LABELS, NAMES, final_values

STALLED = 0.3  # below this pass@1, a run has learned only the easy quarter


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns objective, ent_coef, learning_rate, seed, pass_at_1, pass_at_8, solved."""
    return final_values(runs)


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure. Objectives whose seeds disagree are only shown."""
    named = ("entropy_bonus", "passk_training", "pkpo")
    stalled = ("reinforce", "rloo", "grpo", "dr_grpo")
    one, eight, solved = (by_seed(table, "objective", named, column) for column in FINAL)
    stalled_one = np.mean(by_seed(table, "objective", stalled, "pass_at_1"), axis=0)
    stalled_eight = np.mean(by_seed(table, "objective", stalled, "pass_at_8"), axis=0)
    (rloo,) = by_seed(table, "objective", ["rloo"], "solved")
    max_rl, tail_rl, rs_grpo = by_seed(
        table, "objective", ["max_rl", "tail_rl", "rs_grpo"], "pass_at_1"
    )
    bonus = "an entropy bonus does not do the same (ARC-AGI-1: 24.7 % solved, against 84.1 %)"
    rivals = [one[0], eight[0], one[1], eight[1], one[2], eight[2], stalled_one, stalled_eight]
    return [
        seed_means(
            "entropy bonus {:.4f}, {}; Pass@k Training {}, {}; PKPO with k = 4 {}, {}; "
            "REINFORCE, RLOO, GRPO and Dr. GRPO {}, {}",
            rivals,
        ),
        seed_means("at a pass@1 of {:.2f} and {:.2f}", [one[2], one[1]]),
        ordering(
            "REINFORCE, RLOO, GRPO and Dr. GRPO stall at the easy quarter",
            [(sample, stalled_eight) for sample in eight],
        ),
        shown(
            "MaxRL and TailRL stall on {:.0f} seed of 8, RS-GRPO on {:.0f}",
            [(np.minimum(max_rl, tail_rl) < STALLED).sum(), (rs_grpo < STALLED).sum()],
            about="seeds on which MaxRL or TailRL, and RS-GRPO, stall (chaotic: no claim)",
        ),
        seed_means("has solved {:.2f} of the problems at least once", [rloo]),
        seed_means("(k = 1 at its best learning rate {:.2f})", [rloo]),
        seed_means(
            "RLOO with its best coefficient ends at pass@1 {:.4f}, {} of the problems solved",
            [one[0], solved[0]],
            paper=bonus,
        ),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """One panel for each quantity, one row for each objective: seeds as dots, mean and 95 %."""
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
