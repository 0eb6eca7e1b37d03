"""The larger k, the closer the policy moves to the cliff (arXiv 2505.15201, 1-D toy)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from pkpo_envs.cliff_1d import Cliff1DEnv
from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.claims import Claim, by_seed, exact, least, ordering, seed_means
from pkpo_sandbox.runs.tables import complete_sweep

STD = 0.1  # of the policy, fixed by conf/env/cliff_1d.yaml


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns k, seed, theta, theta_star, max_at_k, max_at_k_star."""
    runs = complete_sweep(runs, "objective.k")
    if set(runs["config.algorithm.policy_kwargs.fixed_std"]) != {STD}:
        raise ValueError(f"risk_1d shows policies with a fixed standard deviation of {STD}")
    rows = []
    for run in runs.to_dict("records"):
        k = run["config.objective.k"]
        exact = {
            name: run[f"exact.{k}.{name}"]
            for name in ("theta", "theta_star", "max_at_k", "max_at_k_star")
        }
        rows.append({"k": k, "seed": run["config.seed"], **exact})
    return pd.DataFrame(rows)


def claims(table: pd.DataFrame) -> list[Claim]:
    """The README's claims about this figure."""
    ks = sorted(table["k"].unique())
    thetas = by_seed(table, "k", ks, "theta")
    stars = table.groupby("k")["theta_star"].first()
    shares = table.assign(share=100 * table["max_at_k"] / table["max_at_k_star"])
    paper = "k = 1 stays away from the cliff, larger k moves toward it"
    return [
        seed_means("θ = {}, {}, {}, {}, {} for k = 1, 2, 4, 8, 16", thetas, paper=paper),
        exact("exact optima {}, {}, {}, {}, {}", stars.to_list(), paper=paper),
        ordering(
            "The larger k, the more risk a policy takes",
            list(zip(thetas[1:], thetas, strict=False)),
            paper=paper,
        ),
        least(
            "{:.2f} % on the cliff, in every one of 80 runs",
            by_seed(shares, "k", ks, "share"),
            paper="PKPO maximises max@k for any k ≤ n",
        ),
    ]


def draw(table: pd.DataFrame) -> Figure:
    """Left, the reward and every seed's policy; right, the learned mean and the exact optimum."""
    figure, (landscape, means) = plotting.subplots(2, width_ratios=(1.35, 1))
    ks = sorted(table["k"].unique())
    colors = dict(zip(ks, plotting.ordered_colors(len(ks)), strict=True))

    x = np.linspace(0.4, 1.4, 1001)
    landscape.fill_between(x, Cliff1DEnv().reward_at(x), color="0.85", linewidth=0)
    landscape.set(xlabel="position x", ylabel="reward (grey)", xlim=(0.4, 1.4), ylim=(0, 1.05))
    density = landscape.twinx()
    density.set(ylabel="policy density (per unit of x)", ylim=(0, 4.4))
    density.spines["right"].set_visible(True)
    density.grid(visible=False)
    for (k, runs), line in zip(table.groupby("k"), plotting.LINES, strict=False):
        style = {"color": colors[k], "linestyle": line}
        for theta in runs["theta"]:
            density.plot(x, norm.pdf(x, theta, STD), alpha=0.6, linewidth=0.8, **style)
        density.plot([], [], label=f"k = {k}", **style)
    density.legend(loc="upper left", handlelength=1.2)
    landscape.set_title("Policies of all seeds over the reward")

    summary = plotting.summarise(table, "k", "theta")
    star = table.groupby("k")["theta_star"].first()
    means.plot(star.index, star, "k--", label="exact optimum θ*", zorder=3)
    plotting.errorbars(
        means,
        summary,
        "k",
        fmt="o",
        color=plotting.COLORS[0],
        label="learned θ: mean, 95 % interval",
    )
    plotting.k_axis(means, ks)
    means.set(ylabel="policy mean θ (position)", title="Learned mean against k")
    means.legend(loc="lower right")
    return figure
