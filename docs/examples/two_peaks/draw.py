"""Draw two_peaks.png from runs/two_peaks: the final policies and their learning curves."""

from pathlib import Path

import numpy as np
import pandas as pd
from two_peaks import HIGH, LOW, TwoPeaksEnv, peak

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.runs.tables import complete_sweep, curves, load_runs

runs = complete_sweep(load_runs("runs/two_peaks"), "objective.k")
keys = {"k": "config.objective.k", "seed": "config.seed"}
policies = pd.DataFrame(
    {name: runs[key] for name, key in keys.items()}
    | {"probability": runs["exact.1.probability"], "mean payout": runs["exact.1.max_at_k"]}
)
near = slice(HIGH - 10, HIGH + 11)
policies["arms 30 to 50"] = [np.sum(policy[near]) for policy in policies["probability"]]
print(policies.groupby("k")[["arms 30 to 50", "mean payout"]].agg(["min", "max"]).round(2))

log = curves(runs, {"attempts": "time/total_timesteps", "mean payout": "exact/max_at_1"}, keys)
ks = sorted(policies["k"].unique())
start = peak(LOW) + 0.1
with plotting.style():
    figure, (arms, payout) = plotting.subplots(2)
    for arm in (HIGH, LOW):
        arms.axvline(arm, color="0.8", zorder=0)
        arms.text(arm, 1.5, f"pays {TwoPeaksEnv().payouts[arm]:.1f}", ha="center")
    arms.semilogy(start / start.sum(), color="0.6", linewidth=4, zorder=1, label="start")
    for k, color, line in zip(ks, plotting.ordered_colors(len(ks)), plotting.LINES, strict=False):
        style = {"color": color, "linestyle": line}
        arms.plot(np.mean(policies.query("k == @k")["probability"].tolist(), axis=0), **style)
        for seed, run in log.query("k == @k").groupby("seed"):
            label = f"k = {k}" if seed == 0 else None
            payout.plot(run["attempts"], run["mean payout"], label=label, **style)
    arms.minorticks_off()
    arms.set(xlabel="arm", ylabel="probability, mean of the seeds", ylim=(1e-6, 1))
    payout.set(xlabel="attempts", ylabel="mean payout, a line a seed")
    figure.legend(loc="outside lower center", ncols=5)
    plotting.save(figure, log, Path(), "two_peaks")
