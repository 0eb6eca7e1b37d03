"""Figures depend on tables only and are reproducible, and the committed ones meet their claims."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from pkpo_envs.bandit import BanditEnv
from pkpo_envs.cliff_1d import Cliff1DEnv
from pkpo_envs.digit_sum import DigitSumEnv
from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.gallery import (
    figure_module,
    figure_names,
    gradient_variance,
    risk_1d,
    risk_bandit,
    tuning,
)
from pkpo_sandbox.transforms import pkpo

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "figures"


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(GALLERY / f"{name}.csv")


def test_every_experiment_has_its_figure_and_every_figure_its_files():
    experiments = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert set(figure_names()) == experiments | {"gemma2_factor"}
    for name in figure_names():
        for kind in ("png", "pdf", "csv"):
            assert (GALLERY / f"{name}.{kind}").stat().st_size > 0


@pytest.mark.parametrize("name", figure_names())
def test_a_figure_is_drawn_from_its_csv_alone_and_twice_the_same(name, tmp_path):
    module = figure_module(name)
    table = committed(name)
    before = dict(mpl.rcParams)
    for folder in ("a", "b"):
        with plotting.style():
            plotting.save(module.draw(table), table, tmp_path / folder, name)
    assert dict(mpl.rcParams) == before
    for kind in ("png", "pdf", "csv"):
        first, second = (tmp_path / folder / f"{name}.{kind}" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a" / f"{name}.csv"), table)


def test_drawing_does_not_load_the_algorithm():
    code = "import sys, pkpo_sandbox.figures.command as f; "
    code += "[f.figure_module(n) for n in f.figure_names()]; "
    code += "print([m for m in ('torch', 'stable_baselines3') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_risk_1d_lies_on_the_exact_optima():
    table = committed("risk_1d")
    columns = ["k", "seed", "theta", "theta_star", "max_at_k", "max_at_k_star"]
    assert table.columns.tolist() == columns
    assert table.groupby("k")["seed"].apply(list).to_dict() == {
        k: list(range(8)) for k in (1, 2, 4, 8, 16)
    }
    world = Cliff1DEnv()
    for k, theta, theta_star, value, value_star in table.drop(columns="seed").to_numpy():
        assert theta_star == pytest.approx(world.best_policy(int(k)), abs=1e-7)
        assert value == pytest.approx(world.max_at_k(theta, int(k)), abs=1e-6)
        assert value_star == pytest.approx(world.max_at_k(theta_star, int(k)), abs=1e-7)
        assert value >= 0.998 * value_star
    means = table.groupby("k").mean()
    assert (means["theta"] - means["theta_star"]).abs().max() <= 0.003


def test_risk_bandit_lies_on_the_exact_optima():
    table = committed("risk_bandit")
    assert table.columns.tolist() == ["k", "seed", "arm", "probability", "probability_star"]
    means = table.groupby(["k", "arm"]).mean()
    assert (means["probability"] - means["probability_star"]).abs().max() <= 0.015
    for (k, _), policy in table.groupby(["k", "seed"]):
        star = BanditEnv().best_policy(k)
        np.testing.assert_allclose(policy["probability_star"], star, atol=1e-6)
        learned = BanditEnv().max_at_k(policy["probability"].to_numpy(), k)
        assert learned >= 0.998 * BanditEnv().max_at_k(star, k)


def test_every_variance_is_measured_around_the_exact_gradient():
    table = committed("gradient_variance")
    columns = ["theta", "n", "k", "baseline", "mean", "standard_error", "variance", "true_gradient"]
    assert table.columns.tolist() == columns
    assert set(table["theta"]) == {0.8, 1.0}
    assert set(table["n"]) == {4, 8, 16, 32, 64, 128, 256}
    for row in table.itertuples():
        exact = Cliff1DEnv().max_at_k_gradient(row.theta, row.k)
        assert row.true_gradient == pytest.approx(exact, rel=1e-6)
    z = (table["mean"] - table["true_gradient"]) / table["standard_error"]
    assert z.abs().max() < 4
    at_16 = table.query("theta == 0.8 and n == 16 and k == 4").set_index("baseline")["variance"]
    expected = {"none": 60.7, "loo": 0.748, "loo_minus_one": 0.273}
    assert at_16.to_dict() == pytest.approx(expected, rel=0.1)
    for theta in (0.8, 1.0):
        for k in (2, 4, 8):
            assert gradient_variance.slope(table, theta, k) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize(("theta", "n", "k"), [(1.0, 4, 2), (0.8, 16, 4), (1.0, 64, 8)])
def test_the_tolerance_of_a_variance_knows_the_kurtosis_of_the_estimates(theta, n, k):
    """20,000 groups of the weights that claims name; the bound is meant to be generous."""
    noise = np.random.default_rng(1).standard_normal((20_000, n))
    rewards = torch.from_numpy(Cliff1DEnv().reward_at(theta + 0.1 * noise))
    for baseline in ("none", "loo_minus_one"):
        estimates = (pkpo(rewards, k, baseline).numpy() * noise).sum(-1)
        assert stats.kurtosis(estimates, fisher=False) < gradient_variance.KURTOSIS[k] + 0.3


def test_sample_weights_are_those_of_the_transform():
    table = committed("sample_weights")
    assert table.columns.tolist() == ["reward", "k", "rank", "value", "weight"]
    for (_, k), rows in table.groupby(["reward", "k"]):
        assert rows["rank"].tolist() == list(range(1, 17))
        weights = pkpo(torch.tensor(rows["value"].to_numpy()), int(k)).numpy()
        np.testing.assert_allclose(rows["weight"], weights, atol=1e-8)


@pytest.mark.parametrize(("name", "by"), [("unblock", "k"), ("anneal", "schedule")])
def test_every_setting_has_all_seeds_and_a_solve_rate_that_never_falls(name, by):
    table = committed(name)
    assert set(table.groupby([by, "update"])["seed"].apply(tuple)) == {tuple(range(8))}
    for _, run in table.groupby([by, "seed"]):
        assert run["solved"].is_monotonic_increasing


def test_digit_sum_shows_each_target_of_the_final_policy():
    table = committed("digit_sum")
    means, targets = table[table["target"].isna()], table[table["target"].notna()]
    solutions = targets.groupby("target")["n_solutions"].first().astype(int)
    assert solutions.tolist() == DigitSumEnv(n_digits=3).n_solutions.tolist()
    # The rows of single targets are those of the policy one update later: nearly the same means.
    last = means[means["update"] == means["update"].max()].set_index(["schedule", "seed"])
    assert len(last) == 32
    by_target = targets.groupby(["schedule", "seed"])["pass_at_1"].mean()
    assert (by_target - last["pass_at_1"]).abs().max() < 0.05


def test_each_objective_is_shown_at_the_setting_that_the_tuning_seeds_chose():
    tuned = committed("tuning").assign(ent_coef=0.0)
    bonus = committed("entropy_bonus").assign(objective="entropy_bonus")
    chosen = tuning.chosen(pd.concat([tuned, bonus]))[tuning.SETTING]
    table = committed("objectives")
    assert set(table["objective"]) == set(tuning.NAMES)
    shown = table[tuning.SETTING].drop_duplicates().sort_values("objective")
    assert shown.to_numpy().tolist() == chosen.to_numpy().tolist()
    assert set(table.groupby("objective")["seed"].apply(tuple)) == {tuple(range(8))}
    for objective, (_, ent_coef, rate) in zip(chosen["objective"], chosen.to_numpy(), strict=True):
        rival = (ROOT / "conf" / "rival" / f"{objective}.yaml").read_text()
        assert f"learning_rate: {rate:g}" in rival
        assert ("ent_coef" in rival) == (ent_coef > 0)


def test_risk_figures_refuse_runs_of_another_setting():
    config = {"objective.k": 1, "seed": 0, "algorithm.policy_kwargs.fixed_std": 0.2}
    runs = pd.DataFrame([{f"config.{key}": value for key, value in config.items()}])
    with pytest.raises(ValueError, match=r"fixed standard deviation of 0\.1"):
        risk_1d.table(runs)
    runs["config.env.kwargs.payouts"] = [[0.1, 0.8, 1.0]]
    with pytest.raises(ValueError, match="other payouts"):
        risk_bandit.table(runs)
