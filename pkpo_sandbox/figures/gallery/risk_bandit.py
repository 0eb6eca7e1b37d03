"""The larger k, the longer the shots that the policy takes."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pkpo_envs.bandit import BanditEnv
from pkpo_sandbox.figures import plotting
from pkpo_sandbox.runs.tables import complete_sweep

BANDIT = BanditEnv()  # the default arms, whose exact values the second panel needs


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns k, seed, arm, probability, probability_star: of choosing the arm."""
    runs = complete_sweep(runs, "objective.k")
    for name in ("payouts", "probabilities"):
        if not np.array_equal(runs[f"config.env.kwargs.{name}"].iloc[0], getattr(BANDIT, name)):
            raise ValueError(f"risk_bandit shows the default arms, but the runs have other {name}")
    rows = []
    for run in runs.to_dict("records"):
        k = run["config.objective.k"]
        for arm, probability in enumerate(run[f"exact.{k}.probability"]):
            row = {"k": k, "seed": run["config.seed"], "arm": arm, "probability": probability}
            rows.append({**row, "probability_star": run[f"exact.{k}.probability_star"][arm]})
    return pd.DataFrame(rows)


def values(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Columns k, seed, max_at_k: the exact value of each policy."""
    policies = table.pivot_table(index=["k", "seed"], columns="arm", values=column)
    runs = policies.index.to_frame(index=False)
    pairs = zip(policies.to_numpy(), runs["k"], strict=True)
    return runs.assign(max_at_k=[BANDIT.max_at_k(policy, k) for policy, k in pairs])


def draw(table: pd.DataFrame) -> Figure:
    """Left, the policy against the exact optimum; right, what its best of k is worth."""
    figure, (policy, value) = plotting.subplots(2)
    ks = sorted(table["k"].unique())
    for arm in range(len(BANDIT.payouts)):
        runs = table.query("arm == @arm")
        color, marker = plotting.COLORS[arm], plotting.MARKERS[arm]
        star = runs.groupby("k")["probability_star"].first()
        policy.plot(star.index, star, "--", color=color, linewidth=1)
        plotting.errorbars(
            policy,
            plotting.summarise(runs, "k", "probability"),
            "k",
            fmt=marker,
            color=color,
            label=f"pays {BANDIT.payouts[arm]:g} with chance {BANDIT.probabilities[arm]:g}",
        )
    policy.plot([], [], "k--", linewidth=1, label="exact optimum")
    plotting.k_axis(policy, ks)
    policy.set(ylabel="probability of choosing the arm", ylim=(-0.03, 1.03), title="Learned policy")
    figure.legend(*policy.get_legend_handles_labels(), loc="outside lower center", ncols=4)

    star = values(table, "probability_star").groupby("k")["max_at_k"].first()
    value.plot(star.index, star, "k--", linewidth=1, label="exact optimum")
    summary = plotting.summarise(values(table, "probability"), "k", "max_at_k")
    plotting.errorbars(
        value, summary, "k", fmt="o", color="0.35", label="learned: mean, 95 % interval"
    )
    plotting.k_axis(value, ks)
    value.set(ylabel="expected best payout of k", title="max@k of the learned policy")
    value.legend(loc="lower right")
    return figure
