"""Figures come from tables alone, twice the same, and the committed ones hold their claims."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from pkpo_envs.bandit import BanditEnv
from pkpo_envs.cliff_1d import Cliff1DEnv
from pkpo_sandbox import figures, plotting
from pkpo_sandbox.figures import risk_1d, risk_bandit

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "figures"


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(GALLERY / f"{name}.csv")


def test_every_experiment_has_its_figure_and_every_figure_its_files():
    experiments = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
    assert figures.names() == experiments
    for name in experiments:
        for kind in ("png", "pdf", "csv"):
            assert (GALLERY / f"{name}.{kind}").stat().st_size > 0


@pytest.mark.parametrize("name", figures.names())
def test_a_figure_is_drawn_from_its_csv_alone_and_twice_the_same(name, tmp_path):
    module = figures.module(name)
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
    code = "import sys, pkpo_sandbox.figures as f; [f.module(n) for n in f.names()]; "
    code += "print([m for m in ('torch', 'stable_baselines3') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_the_interval_is_the_bootstrap_percentile_interval_of_the_mean():
    # Means of two draws from {0, 1} are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert plotting.interval([0.0, 1.0]) == (0.5, 0.0, 1.0)
    assert plotting.interval([3.0]) == (3.0, 3.0, 3.0)
    assert plotting.interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    values = np.random.default_rng(0).normal(size=400)
    mean, low, high = plotting.interval(values)
    standard_error = values.std(ddof=1) / 20
    assert mean == values.mean()
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.05)


def test_summarise_keeps_the_order_of_its_keys():
    table = pd.DataFrame({"k": [2, 2, 1], "x": [0.0, 1.0, 5.0]})
    summary = plotting.summarise(table, ["k"], "x")
    assert summary.to_numpy().tolist() == [[1, 5, 5, 5], [2, 0.5, 0, 1]]


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


def test_risk_figures_refuse_runs_of_another_setting():
    config = {"objective.k": 1, "seed": 0, "algorithm.policy_kwargs.fixed_std": 0.2}
    runs = pd.DataFrame([{f"config.{key}": value for key, value in config.items()}])
    with pytest.raises(ValueError, match=r"fixed standard deviation of 0\.1"):
        risk_1d.table(runs)
    runs["config.env.kwargs.payouts"] = [[0.1, 0.8, 1.0]]
    with pytest.raises(ValueError, match="other payouts"):
        risk_bandit.table(runs)


def test_a_figure_of_ones_own_is_a_module_anywhere(tmp_path, monkeypatch):
    (tmp_path / "my_figure.py").write_text(
        "from pkpo_sandbox.plotting import subplots\n"
        "def table(runs):\n    return runs[['value']]\n"
        "def draw(table):\n    figure, axes = subplots()\n    axes.plot(table['value'])\n"
        "    return figure\n"
    )
    (tmp_path / "my").mkdir()
    (tmp_path / "my_figure.py").rename(tmp_path / "my" / "figure.py")
    run = tmp_path / "runs" / "figure" / "one"
    run.mkdir(parents=True)
    (run / "summary.json").write_text('{"value": 3}')
    monkeypatch.syspath_prepend(tmp_path)
    paths = figures.make("my.figure", tmp_path / "runs", tmp_path / "out")
    assert [path.name for path in paths] == ["figure.png", "figure.pdf", "figure.csv"]
    assert paths[2].read_text() == "value\n3\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing"], "no figure 'nothing': choose from"), (["risk_1d"], "no finished run below")],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pkpo-figures", *arguments, "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match=message):
        figures.main()
