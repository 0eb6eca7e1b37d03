"""Annealing k from 8 to 1 gets both: all problems are solved, at the first attempt."""

import pandas as pd
from matplotlib.figure import Figure

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, ordering, seed_means
from pkpo_sandbox.figures.gallery.unblock import LABELS, LOGGED
from pkpo_sandbox.runs.tables import complete_sweep, curves
from pkpo_sandbox.schedules import label

SCHEDULES = ("k = 1", "k = 8", "8 then 1", "8 to 1 linearly")


def schedules_of(runs: pd.DataFrame) -> list[str]:
    """The k of each run in words: "8" or "8 then 1"."""
    key = "config.objective.k"
    labels = []
    for run in runs.to_dict("records"):
        node = {
            str(name).removeprefix(f"{key}."): value
            for name, value in run.items()
            if str(name).startswith(f"{key}.") and pd.notna(value)
        }
        labels.append(label(node or run[key]))
    return labels


def with_schedules(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with ``config.schedule``, "k = 8" or "8 then 1", in place of the config of k."""
    names = [f"k = {name}" if name.isdigit() else name for name in schedules_of(runs)]
    runs = runs.filter(regex=r"^(?!config\.objective\.k)")
    return runs.assign(**{"config.schedule": names})


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns schedule, seed, update, pass_at_1, pass_at_8, hard_pass_at_8, solved, entropy, k."""
    runs = complete_sweep(with_schedules(runs), "schedule")
    keys = {"schedule": "config.schedule", "seed": "config.seed"}
    return curves(runs, {**LOGGED, "k": "train/k"}, keys).astype({"k": int})


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure."""
    last = table[table["update"] == table["update"].max()]
    one = dict(zip(SCHEDULES, by_seed(last, "schedule", SCHEDULES, "pass_at_1"), strict=True))
    eight = dict(zip(SCHEDULES, by_seed(last, "schedule", SCHEDULES, "pass_at_8"), strict=True))
    shown_order = ("8 then 1", "8 to 1 linearly", "k = 8", "k = 1")
    paper = "k = 8, then 1, lifts pass@k without losing pass@1"
    return [
        seed_means(
            "pass@1 and pass@8: 8 then 1 {:.4f}, {}; 8 to 1 linearly {:.4f}, {}; "
            "k = 8 throughout {}, {}; k = 1 {}, {}",
            [sample for name in shown_order for sample in (one[name], eight[name])],
            paper=paper,
        ),
        seed_means("annealed from 8 to 1, PKPO reaches {:.4f}", [one["8 then 1"]], paper=paper),
        ordering(
            "Annealing k gets both",
            [
                pair
                for name in ("8 then 1", "8 to 1 linearly")
                for pair in ((one[name], one["k = 8"]), (eight[name], eight["k = 1"]))
            ],
            paper=paper,
        ),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """Top: pass@1 and pass@8 against updates. Bottom: the k of the objective."""
    figure, axes = plotting.subplots(2, 2, height=3.6, height_ratios=(3, 1), sharex=True)
    for index, name in enumerate(SCHEDULES):
        rows = table[table["schedule"] == name]
        style = {"color": plotting.COLORS[index], "linestyle": plotting.LINES[index]}
        for panel, column in zip(axes[0], ("pass_at_1", "pass_at_8"), strict=True):
            summary = plotting.summarise(rows, "update", column)
            plotting.band(panel, summary, "update", label=name, **style)
            panel.set(ylabel=LABELS[column], ylim=(-0.03, 1.03))
        k = rows.groupby("update")["k"].first()
        for panel in axes[1]:
            panel.step(k.index, k, where="post", **style)
            panel.set(xlabel="update", ylabel="k", yticks=(1, 4, 8), ylim=(0, 9))
    figure.suptitle(
        "PKPO on the problem set: mean of the seeds, 95 % bootstrap interval", fontsize=9
    )
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
