"""Stable-Baselines3's own plots can read monitor.csv."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from stable_baselines3.common import results_plotter
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.results_plotter import X_TIMESTEPS, ts2xy
from stable_baselines3.common.vec_env import VecEnv

from pkpo_sandbox import PKPO
from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.runs import train
from pkpo_sandbox.runs.checkpoints import Checkpoint
from pkpo_sandbox.runs.logs import make_logger
from pkpo_sandbox.runs.monitor import MonitorFile
from pkpo_sandbox.runs.tables import final_values
from tests.commands import command

CARTPOLE = "CartPole-v1"
FAST = {"k": 2, "n_groups": 1, "group_size": 4, "seed": 0}


def pkpo(columns: int, monitored: bool = False) -> PKPO:
    env: VecEnv = make_group_env(CARTPOLE, 1, 4, num_envs=columns, max_episode_steps=20)
    if monitored:
        env = make_vec_env(CARTPOLE, columns, env_kwargs={"max_episode_steps": 20})
    return PKPO("MlpPolicy", env, **FAST)


@pytest.mark.parametrize(("columns", "monitored"), [(3, False), (4, False), (3, True)])
def test_a_row_is_an_attempt_and_idle_columns_have_none(columns, monitored, tmp_path):
    model = pkpo(columns, monitored)
    model.set_logger(make_logger(tmp_path, ["csv"], {}))
    model.learn(200, MonitorFile(tmp_path, CARTPOLE))
    table = load_results(str(tmp_path))
    log = final_values(tmp_path)
    assert len(table) == 4 * log["train/n_updates"] >= 8
    assert table["r"].mean() == pytest.approx(log["rollout/ep_rew_mean"])
    assert table["l"].mean() == pytest.approx(log["rollout/ep_len_mean"])
    steps, curve = ts2xy(table, X_TIMESTEPS)
    assert (steps[-1], len(curve)) == (table["l"].sum(), len(table))
    assert table["t"].is_monotonic_increasing
    header = (tmp_path / "monitor.csv").read_text().splitlines()[0]
    assert header.startswith('#{"t_start": ')
    assert header.endswith('"env_id": "CartPole-v1"}')


class Stop(BaseCallback):
    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.timesteps


def learn(folder: Path, timesteps: int, *others: BaseCallback) -> pd.DataFrame:
    """Train, from the checkpoint if there is one; the returns and lengths in the file."""
    model, monitor = pkpo(4), MonitorFile(folder, CARTPOLE)
    model.set_logger(Logger(None, []))
    checkpoint = Checkpoint(folder / "checkpoint.pt", 100, 0, [monitor])
    resumed = checkpoint.restore(model)
    callbacks = [monitor, *others, checkpoint]
    model.learn(timesteps - model.num_timesteps, callbacks, reset_num_timesteps=not resumed)
    return load_results(str(folder))[["r", "l"]]


def test_a_run_that_goes_on_has_each_attempt_once(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = learn(tmp_path / "whole", 400)
    (tmp_path / "cut").mkdir()
    cut = learn(tmp_path / "cut", 400, Stop(250))
    assert 0 < len(cut) < len(whole)
    header = (tmp_path / "cut" / "monitor.csv").read_text().splitlines()[0]
    resumed = learn(tmp_path / "cut", 400)
    pd.testing.assert_frame_equal(resumed, whole)
    assert (tmp_path / "cut" / "monitor.csv").read_text().splitlines()[0] == header


def test_rows_that_a_power_loss_took_are_told_of(tmp_path, capsys):
    learn(tmp_path, 250)
    (tmp_path / "monitor.csv").unlink()
    assert len(learn(tmp_path, 400)) > 0
    assert "monitor.csv has lost rows since the checkpoint" in capsys.readouterr().err


def test_an_episode_that_is_not_a_monitors_is_no_row(tmp_path):
    monitor = MonitorFile(tmp_path, "x")
    monitor._on_rollout_start()
    infos = [{"episode": 3}, {"episode": {"r": 1.5, "l": 2, "t": 0.1}}, {}, {"episode": {"r": 9}}]
    every = np.ones(4, dtype=bool)
    monitor.update_locals({"infos": infos, "dones": every, "playing": every})
    monitor._on_step()
    monitor._on_rollout_end()
    assert load_results(str(tmp_path))[["r", "l"]].to_numpy().tolist() == [[1.5, 2]]


def test_sb3_plots_a_run_of_pkpo_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    options = ["env=bandit", "total_timesteps=512", "checkpoint_every=256"]
    outcome = command(train.main, *options, "log_formats=[csv,monitor]")
    assert outcome.code == 0, outcome.err
    (folder,) = tmp_path.glob("runs/train/*")
    x, _ = ts2xy(load_results(str(folder)), X_TIMESTEPS)
    assert x.tolist() == list(range(1, 513))
    results_plotter.plot_results([str(folder)], None, X_TIMESTEPS, "bandit")
    (axes,) = plt.gcf().axes
    assert max(axes.lines[0].get_xdata()) == 512
    plt.close("all")
