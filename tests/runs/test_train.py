"""``pkpo-train`` from the command line: commands, files, and errors in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from pkpo_sandbox import PKPO
from pkpo_sandbox.runs import config as configs
from pkpo_sandbox.runs import outcome
from pkpo_sandbox.runs import train as app
from tests.runs.training import SHORT, options, pkpo_train, run_here


def test_importing_the_app_loads_neither_torch_nor_sb3():
    code = "import sys, pkpo_sandbox.runs.train; print([m for m in ('torch', 'stable_baselines3', "
    code += "'pandas', 'matplotlib') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip() == "[]"


def test_importing_the_package_loads_nothing_heavy_until_a_name_is_used():
    code = "import sys, pkpo_sandbox as p; a = 'torch' in sys.modules; p.pkpo; "
    code += "print(a, 'torch' in sys.modules, 'stable_baselines3' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert output.strip() == "False True False"


def test_a_run_writes_its_config_progress_model_and_summary(train_here):
    folder = train_here("env=bandit", "objective.k=8", "seed=3", "total_timesteps=2560")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["config.yaml", "model.zip", "progress.csv", "summary.json"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["config"]["objective"]["k"] == 8
    assert summary["seed"] == 3
    assert summary["final"]["time/total_timesteps"] == 2560
    assert summary["final"]["train/k"] == 8
    assert set(summary["exact"]) == {"1", "2", "4", "8", "16"}
    probabilities = summary["exact"]["8"]["probability"]
    assert sum(probabilities) == pytest.approx(1)
    assert summary["versions"]["torch"]
    assert summary["wall_time_seconds"] > 0
    model = PKPO.load(folder / "model.zip")
    assert (model.k, model.group_size) == (8, 16)
    again = outcome.exact(model, checked("env=bandit", "objective.k=8"))
    np.testing.assert_allclose(again["8"]["probability"], probabilities, rtol=1e-12)


def checked(*overrides: str) -> app.TrainConfig:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return configs.checked(compose("train", list(overrides)), app.TrainConfig)


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(tmp_path):
    def learned(folder: str, seed: int):
        """The exact values of the policy, and the log."""
        run = run_here(tmp_path / folder, "total_timesteps=2560", f"seed={seed}")
        exact = json.loads((run / "summary.json").read_text())["exact"]
        return exact, (run / "progress.csv").read_bytes()

    first, again, other = learned("a", 0), learned("b", 0), learned("c", 1)
    assert first == again
    assert first[0] != other[0]


@pytest.mark.parametrize("env", options("env"))
def test_every_env_config_trains(env, train_here):
    folder = train_here(f"env={env}", SHORT)
    assert json.loads((folder / "summary.json").read_text())["final"]["train/n_updates"] >= 1


@pytest.mark.parametrize("objective", options("objective"))
def test_every_objective_config_trains(objective, train_here):
    folder = train_here("env=problem_set", f"objective={objective}", SHORT)
    assert json.loads((folder / "summary.json").read_text())["final"]["train/n_updates"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "Value 'abc' of type 'str' could not be converted to Integer"),
        ("objective.kk=3", "Key 'kk' is not in struct"),
        ("objective.k=99", "k = 99 exceeds n = 16"),
        ("+foo=1", "unknown key foo"),
        ("env=nope", "Could not find 'env/nope'"),
    ],
)
def test_the_command_prints_an_error_without_a_traceback(override, message, tmp_path):
    result = pkpo_train(override, SHORT, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) < 15


@pytest.mark.slow
def test_a_multirun_trains_every_combination_under_each_launcher(tmp_path):
    sweep = ["-m", "objective.k=1,2,4", "seed=0,1", SHORT]
    for launcher in ("basic", "joblib"):
        result = pkpo_train(*sweep, f"hydra/launcher={launcher}", f"name={launcher}", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    learned = {}
    for launcher in ("basic", "joblib"):
        summaries = sorted((tmp_path / "runs" / launcher).glob("*/summary.json"))
        assert len(summaries) == 6
        learned[launcher] = [json.loads(path.read_text())["exact"] for path in summaries]
    assert learned["basic"] == learned["joblib"]
    assert len({json.dumps(values) for values in learned["basic"]}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_runs_with_a_tiny_budget(experiment, tmp_path):
    """Every setting of the sweep, but with one seed, and short."""
    tiny = ["seed=0", SHORT]
    if experiment == "gradient_variance":
        tiny.append("measure.n_groups=100")
    result = pkpo_train(f"experiment={experiment}", *tiny, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    finished = len(list((tmp_path / "runs").glob("*/*/summary.json")))
    assert finished == result.stdout.count("finished in") > 0


@pytest.mark.parametrize("schedule", options("schedule"))
def test_every_schedule_config_trains(schedule, train_here):
    folder = train_here(f"schedule={schedule}", SHORT)
    assert f"k={schedule}-" in folder.name


@pytest.mark.slow
def test_a_module_in_the_working_directory_can_be_named(tmp_path):
    (tmp_path / "my_module.py").write_text(
        "def my_transform(returns):\n    return returns - returns.mean(-1, keepdim=True)\n"
    )
    result = pkpo_train("objective._target_=my_module.my_transform", SHORT, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "runs" / "train").glob("my_transform-*/summary.json"))


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 8])
def test_the_experiment_on_the_cliff_lands_on_the_exact_optimum(k, train_here):
    folder = train_here("experiment=risk_1d", f"objective.k={k}", "seed=0")
    exact = json.loads((folder / "summary.json").read_text())["exact"][str(k)]
    assert abs(exact["theta"] - exact["theta_star"]) <= 0.005
    assert exact["max_at_k"] >= 0.998 * exact["max_at_k_star"]
