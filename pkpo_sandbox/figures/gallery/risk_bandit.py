"""The larger k, the more often the policy takes risky arms."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pkpo_envs.bandit import BanditEnv
from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, least, ordering
from pkpo_sandbox.runs.tables import complete_sweep

BANDIT = BanditEnv()  # the default arms; the second panel needs their exact values


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns k, seed, arm, probability, probability_star: the learned and the best one."""
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


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure."""
    ks = sorted(table["k"].unique())
    learned, best = values(table, "probability"), values(table, "probability_star")
    shares = learned.assign(share=100 * learned["max_at_k"] / best["max_at_k"])
    safe, _, long_shot = (table[table["arm"] == arm] for arm in range(3))
    (at_1,) = by_seed(safe, "k", [1], "probability")
    (at_16,) = by_seed(long_shot, "k", [16], "probability")
    second = table.groupby(["k", "seed"])["probability"].nlargest(2).groupby(["k", "seed"]).last()
    mixed = by_seed(second.reset_index(), "k", [2, 4, 8], "probability")
    return [
        least(
            "at least {:.2f} % of the best possible max@k on the bandit",
            by_seed(shares, "k", ks, "share"),
            paper="PKPO maximises max@k for any k ≤ n",
        ),
        ordering("The best policy for one attempt takes the safe arm", [(at_1, 1 - at_1)]),
        ordering("for 16 attempts mostly the long shot", [(at_16, 1 - at_16)]),
        ordering("for those in between a mixture", [(sample, 0 * sample) for sample in mixed]),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """Left, the policy and the exact optimum; right, the max@k of the policy."""
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
