"""The env, the algorithm and the callbacks that a config describes."""

import json

import numpy as np
import pandas as pd
import pytest
from hydra.errors import HydraException

from pkpo_sandbox.runs.loading import load_model
from tests.runs.training import SHORT, run_here


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


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        HydraException, match=r"device=cuda:0, but torch finds no GPU here: write cpu"
    ):
        run_here(tmp_path, "env=bandit", "algorithm.device=cuda:0")
    assert run_here(tmp_path, "env=bandit", "algorithm.device=auto", "total_timesteps=256")


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


def test_classes_of_the_policy_may_be_named_by_their_paths(train_here, tmp_path, monkeypatch):
    (tmp_path / "acts.py").write_text("import torch\nclass Twice(torch.nn.Tanh):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    key = "algorithm.policy_kwargs.activation_fn"
    for path in ("torch.nn.ReLU", "acts.Twice"):
        model = load_model(train_here("env=bandit", SHORT, f"{key}={path}"), trusted=True)
        assert path.endswith(type(model.policy.mlp_extractor.policy_net[1]).__name__)
    for path in ("relu", "torch.nn.Nope", "torch.relu", "os.sep"):
        with pytest.raises(HydraException, match=f"activation_fn={path} names no class"):
            train_here("env=bandit", SHORT, f"{key}={path}")
