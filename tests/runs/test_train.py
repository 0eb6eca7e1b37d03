"""``pkpo-train`` from the command line: commands, files, and errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from pkpo_sandbox import PKPO
from pkpo_sandbox.runs import config as configs
from pkpo_sandbox.runs import naming
from pkpo_sandbox.runs import train as app

CONF = Path(__file__).parents[2] / "conf"
SHORT = "total_timesteps=512"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def pkpo_train(*overrides: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pkpo_sandbox.runs.train", *overrides]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def run_here(folder: Path, *overrides: str) -> Path:
    """Run the app's task in this process, in the folder that Hydra would give it."""
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
        folder = folder / naming.run_id(_root_=config)
        folder.mkdir(parents=True, exist_ok=True)
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        app.run(compose("train", list(overrides)))
    return folder


@pytest.fixture
def train_here(tmp_path):
    return lambda *overrides: run_here(tmp_path, *overrides)


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
    again = app.exact(model, checked("env=bandit", "objective.k=8"))
    np.testing.assert_allclose(again["exact"]["8"]["probability"], probabilities, rtol=1e-12)


def checked(*overrides: str) -> app.TrainConfig:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return configs.checked(compose("train", list(overrides)), app.TrainConfig)


def test_a_finished_run_is_not_run_again_but_a_changed_one_is(train_here, capsys):
    folder = train_here(SHORT)
    before = (folder / "summary.json").stat().st_mtime_ns
    capsys.readouterr()
    assert train_here(SHORT) == folder
    assert "finished before" in capsys.readouterr().out
    assert (folder / "summary.json").stat().st_mtime_ns == before
    assert train_here(SHORT, "algorithm.ent_coef=0.1") != folder


def test_an_unfinished_run_is_trained_again(train_here):
    folder = train_here(SHORT)
    (folder / "summary.json").unlink()
    assert train_here(SHORT) == folder
    assert (folder / "summary.json").exists()


def test_what_does_not_change_results_does_not_rename_a_run(train_here):
    assert train_here(SHORT, "name=other") == train_here(SHORT)


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


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "FrozenLake-v1", "Pendulum-v1", "pkpo_envs:pkpo/Bandit-v0"]
)
def test_an_env_needs_nothing_but_its_id(env_id, train_here):
    folder = train_here(f"env.id={env_id}", SHORT, "algorithm.n_groups=2", "algorithm.group_size=4")
    final = json.loads((folder / "summary.json").read_text())["final"]
    assert final["train/n_updates"] >= 1
    assert ("rollout/solved" in final) == (env_id in ("CartPole-v1", "FrozenLake-v1"))


def test_the_env_says_when_a_problem_is_solved(train_here):
    final = json.loads((train_here(SHORT) / "summary.json").read_text())["final"]
    assert 0 <= final["rollout/solved"] < 1
    folder = train_here(SHORT, "metrics.solve_threshold=0")
    # 2 updates of 16 problems each: every problem that was met counts.
    assert (
        16
        <= 128 * json.loads((folder / "summary.json").read_text())["final"]["rollout/solved"]
        <= 32
    )


@pytest.mark.parametrize("objective", options("objective"))
def test_every_objective_config_trains(objective, train_here):
    folder = train_here("env=problem_set", f"objective={objective}", SHORT)
    assert json.loads((folder / "summary.json").read_text())["final"]["train/n_updates"] == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective.kk=3"], "Could not override 'objective.kk'"),
        (
            ["+objective.kk=3"],
            "pkpo does not take the arguments .*got an unexpected keyword argument 'kk'",
        ),
        (["+foo=1"], "unknown key foo"),
        (["+algorithm.foo=1"], "unknown key algorithm.foo"),
        (["seed=abc"], "Error merging override seed=abc"),
        (["seed=-1"], "seed=-1 must be at least 0"),
        (["objective.k=99"], "k = 99 exceeds n = 16"),
        (["objective.k=2.5"], "k = 2.5"),
        (["algorithm.group_size=1"], "group_size must be an integer of at least 2, got 1"),
        (["algorithm.learning_rate=abc"], "must be a float or a callable, not abc"),
        (["algorithm.policy=Foo"], "Policy Foo unknown"),
        (["env=nope"], "Could not find 'env/nope'"),
        (["env.id=Nope-v0"], "`Nope` doesn't exist"),
        (["env.id=nowhere:Nope-v0"], "No module named 'nowhere'"),
        (["env.vectorization=async"], "vectorization=async needs env.num_envs"),
        (["algorithm.device=meta"], "device='meta' must be auto, cpu, cuda"),
        (["checkpoint_every=0"], "checkpoint_every=0 must be at least 1"),
        (
            ["env=bandit", "env.kwargs.probabilities=[2,0,0]"],
            r"The probability 2.0 of arm 0 must be in \[0, 1\]",
        ),
        (["objective._target_=foo.bar"], "No module named 'foo'"),
        (["log_formats=[tensorboard]"], "must contain csv"),
    ],
)
def test_a_wrong_key_or_value_gives_a_readable_error(overrides, message, tmp_path):
    # In this process, for speed; what the command prints of it is tested below.
    with pytest.raises((HydraException, ValueError), match=message):
        run_here(tmp_path, *overrides)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {".lock", "failure.json", "failure.log"}  # nothing that looks like a result


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        HydraException, match=r"device=cuda:0, but torch finds no GPU here: write cpu"
    ):
        run_here(tmp_path, "env=bandit", "algorithm.device=cuda:0")
    assert run_here(tmp_path, "env=bandit", "algorithm.device=auto", "total_timesteps=256")


def test_a_score_that_a_run_lacks_is_an_error_but_the_run_is_kept(train_here, tmp_path):
    with pytest.raises(
        HydraException, match=r"score=exact\.8\.nope: the summary has no 'nope' there"
    ):
        train_here(SHORT, "score=exact.8.nope")
    folder = train_here(SHORT)  # the score does not rename a run
    assert (folder / "summary.json").exists()


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


def test_what_is_measured_can_be_chosen(train_here):
    folder = train_here(SHORT, "metrics.eval_freq=1", "metrics.eval_groups=4", "log_interval=1")
    columns = set(pd.read_csv(folder / "progress.csv").columns)
    assert {"eval/max_at_8", "exact/max_at_8_hard", "exact/entropy", "rollout/solved"} <= columns
    folder = train_here("env=cliff_1d", SHORT, "metrics.exact_ks=[]", "log_interval=1")
    columns = set(pd.read_csv(folder / "progress.csv").columns)
    assert not {name for name in columns if name.startswith(("eval/", "exact/", "rollout/solved"))}


def test_exact_values_are_not_given_of_episodes_that_a_time_limit_cuts_short(train_here):
    # After two of three digits nothing is earned, whatever the exact solution says of three.
    folder = train_here("env=digit_sum", "env.max_episode_steps=2", SHORT)
    assert "exact" not in json.loads((folder / "summary.json").read_text())
    columns = pd.read_csv(folder / "progress.csv").columns
    assert "rollout/max_at_8" in columns
    assert not [name for name in columns if name.startswith("exact/")]


def test_the_evaluations_of_two_seeds_have_nothing_in_common(train_here):
    # A policy that hardly learns: what differs is the problems and samples that it is tried on.
    common = [
        "env=bandit",
        SHORT,
        "metrics.eval_groups=4",
        "metrics.eval_freq=1",
        "log_interval=1",
        "algorithm.learning_rate=1e-9",
    ]
    logs = [pd.read_csv(train_here(*common, f"seed={s}") / "progress.csv") for s in (0, 1)]
    assert not np.any(logs[0]["eval/max_at_1"] == logs[1]["eval/max_at_1"])


@pytest.mark.slow
def test_a_module_in_the_working_directory_can_be_named(tmp_path):
    (tmp_path / "my_module.py").write_text(
        "def my_transform(returns):\n    return returns - returns.mean(-1, keepdim=True)\n"
    )
    result = pkpo_train("objective._target_=my_module.my_transform", SHORT, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "runs" / "train").glob("my_transform-*/summary.json"))


def test_an_objective_and_a_callback_of_ones_own_need_no_change_here(
    train_here, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").write_text(
        "from stable_baselines3.common.callbacks import BaseCallback\n"
        "def centred(rewards, scale):\n"
        "    return scale * (rewards - rewards.mean(-1, keepdim=True))\n"
        "class Count(BaseCallback):\n"
        "    def _on_step(self):\n"
        "        self.logger.record('mine/calls', self.n_calls)\n"
        "        return True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    overrides = ["objective._target_=mine.centred", "+objective.scale=0.5"]
    folder = train_here(SHORT, *overrides, "callbacks.count._target_=mine.Count")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["config"]["objective"] == {"_target_": "mine.centred", "scale": 0.5}
    assert (summary["final"]["train/scale"], summary["final"]["mine/calls"]) == (0.5, 2)
    assert "train/k" not in summary["final"]
    for more in ("objective.k=8", "objective=pkpo", "schedule=step"):
        with pytest.raises(HydraException, match=r"centred does not take the arguments .*'k'"):
            train_here(SHORT, *overrides, more)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 8])
def test_the_experiment_on_the_cliff_lands_on_the_exact_optimum(k, train_here):
    folder = train_here("experiment=risk_1d", f"objective.k={k}", "seed=0")
    exact = json.loads((folder / "summary.json").read_text())["exact"][str(k)]
    assert abs(exact["theta"] - exact["theta_star"]) <= 0.005
    assert exact["max_at_k"] >= 0.998 * exact["max_at_k_star"]


@pytest.mark.parametrize("override", ["env.seeded_problems=4", "env.max_episode_steps=5"])
def test_starts_and_limits_of_an_env_are_set_in_the_config(override, train_here):
    """A pole that stands for 5 steps is no problem, and each of the 4 starts is one."""
    folder = train_here(
        "env.id=CartPole-v1", override, "metrics.solve_threshold=5", "total_timesteps=2000"
    )
    final = json.loads((folder / "summary.json").read_text())["final"]
    assert final["rollout/solved"] == 1
    assert (final["rollout/ep_len_mean"] == 5) == ("max" in override)


@pytest.mark.slow
def test_an_env_in_processes_trains_as_in_one_process(train_here):
    common = ["env.id=CartPole-v1", "env.num_envs=2", "total_timesteps=200"]
    common += ["algorithm.n_groups=2", "algorithm.group_size=4", "metrics.eval_groups=2"]
    summaries = [
        json.loads((train_here(*common, f"env.vectorization={name}") / "summary.json").read_text())
        for name in ("sync", "async")
    ]
    assert summaries[0]["final"] == summaries[1]["final"]
