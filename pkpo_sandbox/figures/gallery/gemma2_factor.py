"""A tiny Gemma-2 names prime factors: k = 1 stalls, larger k does not, 8 then 1 is best at pass@1.

The stall comes from the skewed warm-up (answer 2 half of the time, 19 once in a hundred) and from
weights that all prompts share: the figure shows the mechanism, not a gain on language tasks.
"""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, ordering, seed_means
from pkpo_sandbox.figures.gallery.anneal import schedules_of
from pkpo_sandbox.gemma2.app import CONFIG
from pkpo_sandbox.runs.tables import complete_sweep, curves

APP = CONFIG  # pkpo-gemma2 trains what this figure shows
LOGGED = {
    "k": "train/k",
    "update": "train/n_updates",
    "all_at_1": "exact/max_at_1",
    "hard_at_1": "exact/max_at_1_hard",
    "hard_at_8": "exact/max_at_8_hard",
    "solved": "rollout/solved",
    "entropy": "exact/entropy",
}
COLUMNS = ["k", "schedule", "seed", *list(LOGGED)[1:]]
PANELS = {
    "all_at_1": "pass@1, all prompts",
    "hard_at_8": "pass@8, hard prompts",
    "solved": "prompts ever solved",
    "entropy": "answer's entropy (nats)",
}
ANNEALED = "8 then 1"
SETTINGS = ("1", "4", "8", ANNEALED)
README = {  # the rows of the README's table, and the format of their numbers
    "all_at_1": ("pass@1, all", "{}"),
    "hard_at_1": ("pass@1, hard", "{}"),
    "hard_at_8": ("pass@8, hard", "{}"),
    "solved": ("ever solved", "{}"),
    "entropy": ("entropy (nats)", "{:.2f}"),
}
CAPTION = (
    "A tiny Gemma-2 names prime factors: exact values, mean and 95 % of the seeds\n"
    "The skewed warm-up and shared weights make k = 1 stall: a mechanism, no gain on language tasks"
)


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns k, schedule, seed, update, all_at_1, hard_at_1, hard_at_8, solved, entropy.

    k is the value at this update; schedule is "constant" or "8 then 1". pass@k and the entropy are
    exact, for the policy after the update. Update 0 is the policy after the warm-up.
    """
    names = schedules_of(runs)
    if more := {name for name in names if not name.isdigit()} - {ANNEALED}:
        raise ValueError(
            f"gemma2_factor shows constant k and {ANNEALED}, but the runs have more: {more}"
        )
    kinds = ["constant" if name.isdigit() else ANNEALED for name in names]
    runs = runs.filter(regex=r"^(?!config\.objective\.k)")
    runs = runs.assign(**{"config.objective.k": names, "schedule": kinds})
    runs = complete_sweep(runs, "objective.k")
    table = curves(runs, LOGGED, {"seed": "config.seed", "schedule": "schedule"})
    table["k"] = table["k"].bfill().astype(int)  # at update 0, the k of the first update
    table["solved"] = table["solved"].fillna(0.0)
    return table[COLUMNS]


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure. A setting has 3 seeds."""
    setting = table["k"].astype(str).where(table["schedule"] == "constant", ANNEALED)
    table = table.assign(setting=setting)
    start = table[(table["update"] == 0) & (table["setting"] == "1")]
    last = table[table["update"] == table["update"].max()]
    samples = {
        column: [start[column].to_numpy(), *by_seed(last, "setting", SETTINGS, column)]
        for column in README
    }
    rows = [
        seed_means(
            f"| {row} | " + " | ".join([digits] * 5) + " |",
            samples[column],
            few=True,
            about=f"{row}: after the warm-up, then k = 1, 4, 8, and 8 then 1",
        )
        for column, (row, digits) in README.items()
    ]
    hard, one = samples["hard_at_8"], samples["all_at_1"]
    return [
        *rows,
        ordering(
            "The skewed warm-up and the weights that all prompts share make the stall of k = 1",
            [(hard[0], hard[1]), (hard[2], hard[1]), (hard[3], hard[1])],
            paper="pass@1 training stalls where pass@k does not",
        ),
        ordering(
            "8, then 1, ends with the best first attempt",
            [(one[4], other) for other in one[:4]],
            paper="k = 8, then 1, lifts pass@k without losing pass@1",
        ),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """Four quantities against updates, one line for each setting of k."""
    figure, axes = plotting.subplots(2, 2, height=4.0)
    constant = table[table["schedule"] == "constant"]
    runs = {f"k = {k}": rows for k, rows in constant.groupby("k")}
    runs[f"k = {ANNEALED}"] = table[table["schedule"] == ANNEALED]
    colors = [*plotting.ordered_colors(len(runs) - 1), plotting.COLORS[3]]
    for panel, (column, label) in zip(axes.flat, PANELS.items(), strict=True):
        for index, (name, rows) in enumerate(runs.items()):
            summary = plotting.summarise(rows, "update", column)
            style = {"color": colors[index], "linestyle": plotting.LINES[index]}
            plotting.band(panel, summary, "update", label=name, **style)
        panel.set(xlabel="update", ylabel=label)
        if column != "entropy":
            panel.set_ylim(-0.03, 1.03)
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(runs),
        handlelength=3,
    )
    figure.suptitle(CAPTION, fontsize=8)
    return figure
