"""Training for pass@1 stalls on hard problems; training for pass@k does not."""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, ordering, seed_means, shown
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

    Values are for the policy that played the iteration of this update. pass@k is exact.
    """
    runs = complete_sweep(runs, "objective.k")
    return curves(runs, LOGGED, {"k": "config.objective.k", "seed": "config.seed"})


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure. k = 2 is chaotic: its seeds are only shown."""
    last, settings = table[table["update"] == table["update"].max()], (1, 4, 8)
    at_2000 = by_seed(table[table["update"] == 2000], "k", settings, "entropy")
    pass_at_8, hard, solved, entropy = (
        by_seed(last, "k", settings, column)
        for column in ("pass_at_8", "hard_pass_at_8", "solved", "entropy")
    )
    (chaotic,) = by_seed(last, "k", [2], "pass_at_8")
    stall = "pass@1 training stalls where pass@k does not"
    higher = "a higher k gives a higher solve rate and a higher entropy"
    return [
        seed_means("pass@8 {}, {}, {} for k = 1, 4, 8", pass_at_8, paper=stall),
        seed_means("(hard problems {}, {}, {})", hard, paper=stall),
        ordering(
            "Training for pass@1 stalls, training for pass@k does not",
            [(sample, column[0]) for column in (pass_at_8, hard) for sample in column[1:]],
            paper=stall,
        ),
        shown(
            f"k = 2 ends at {', '.join(['{:.2f}'] * len(chaotic))}, seed by seed",
            chaotic.tolist(),
            about="k = 2, pass@8 of each seed (chaotic: no claim)",
        ),
        seed_means("ever solved {:.2f}, {:.2f}, {:.2f}", solved, paper=higher),
        seed_means(
            "entropy {:.2f}, {:.2f}, {:.2f} nats after 2,000 updates, "
            "{:.2f}, {:.2f}, {:.2f} after 3,000",
            [*at_2000, *entropy],
            paper=higher,
        ),
        ordering(
            higher,
            [
                *((solved[1], solved[0]), (solved[2], solved[0])),
                *((entropy[1], entropy[0]), (entropy[2], entropy[1])),
            ],
            paper=higher,
        ),
    ]


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
