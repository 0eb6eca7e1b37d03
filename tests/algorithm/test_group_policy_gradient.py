"""The algorithm: its gradient by exact enumeration, its interface to SB3, and its errors."""

import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pkpo_envs.bandit import BanditEnv
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.groups import GroupVecEnv, group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.transforms import rloo
from tests.algorithm.short_runs import (
    DISABLED,
    DigitsVector,
    Rows,
    Tape,
    bandit,
    logged,
    parameters,
    same,
)
from tests.small import BANDIT, CLIFF, PROBLEM_SET

# Runs


def test_equal_seeds_give_equal_parameters_and_others_do_not():
    for env in (BANDIT, PROBLEM_SET, CLIFF):
        runs = [parameters(bandit(env, seed=seed).learn(80)) for seed in (1, 1, 2)]
        assert same(runs[0], runs[1])
        assert not same(runs[0], runs[2])


def test_any_transform_can_be_trained_with():
    def above(returns: torch.Tensor, threshold: float) -> torch.Tensor:
        return (returns > threshold).to(returns) / returns.shape[-1]

    model = GroupPolicyGradient(
        "MlpPolicy",
        BANDIT,
        above,
        {"threshold": lambda remaining: 0.6 * remaining},
        group_size=4,
        n_groups=2,
        seed=0,
        device="cpu",
    )
    rows = logged(model, 16)
    assert [row["train/threshold"] for row in rows] == pytest.approx([0.3, 0.0])


# What is logged


def test_the_logged_keys_are_these():
    rows = logged(bandit(group_size=16, n_groups=2, k=4), 64)
    expected = {f"rollout/max_at_{k}" for k in (1, 2, 4, 8, 16)} | {
        *("rollout/ep_rew_mean", "rollout/ep_len_mean"),
        *("time/iterations", "time/fps", "time/time_elapsed", "time/total_timesteps"),
        *("train/learning_rate", "train/n_updates", "train/loss", "train/entropy"),
        *("train/grad_norm", "train/k"),
    }
    assert [row.keys() for row in rows] == [expected, expected]
    assert [row["time/total_timesteps"] for row in rows] == [32, 64]
    for row in rows:
        assert row["rollout/max_at_1"] == pytest.approx(row["rollout/ep_rew_mean"])
        assert row["rollout/max_at_1"] <= row["rollout/max_at_16"] <= 1
        assert 0 < row["train/entropy"] <= np.log(3) + 1e-6
        assert row["train/grad_norm"] > 0


def test_statistics_are_over_the_last_groups():
    # One column, two groups of two: returns 0 1, 2 3 | 4 5, 6 7 | 8 9, 10 11. The last five groups
    # are the last two whole iterations.
    model = bandit(Tape(*range(12)), group_size=2, k=1, stats_window_size=5)
    last = logged(model, 12)[-1]
    assert last["rollout/ep_rew_mean"] == 7.5
    assert last["rollout/max_at_1"] == 7.5
    assert last["rollout/max_at_2"] == 8  # (5 + 7 + 9 + 11)/4
    assert last["rollout/ep_len_mean"] == 1


def test_statistics_of_a_monitor_and_successes_are_sb3s():
    tape = Monitor(Tape(0, 1, 2, 3, info={"is_success": True}))
    env = VecNormalize(DummyVecEnv([lambda: tape]), norm_obs=False)
    last = logged(bandit(env, n_groups=1, group_size=2, k=1), 4)[-1]
    assert last["rollout/ep_rew_mean"] == 1.5  # before normalisation
    assert last["rollout/max_at_1"] != 1.5
    assert last["rollout/success_rate"] == 1


def test_a_group_env_reports_returns_before_normalisation_too():
    env = VecNormalize(group_env(Tape(0, 1, 2, 3)), norm_obs=False)
    last = logged(bandit(env, n_groups=1, group_size=2, k=1), 4)[-1]
    assert last["rollout/ep_rew_mean"] == 1.5
    assert last["rollout/max_at_1"] != 1.5


def test_the_log_has_a_row_every_interval_and_one_at_the_end():
    def iterations(**kwargs) -> list[int]:
        rows = Rows()
        model = bandit()
        model.set_logger(Logger(None, [rows]))
        model.learn(40, **kwargs)
        return [row["time/iterations"] for row in rows.rows]

    assert iterations(log_interval=2) == [2, 4, 5]
    assert iterations(log_interval=5) == [5]
    assert iterations() == [5]
    assert iterations(log_interval=None) == []


def test_a_custom_logger_writes_csv(tmp_path):
    model = bandit()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(24, log_interval=1)
    model.logger.close()
    table = pd.read_csv(tmp_path / "progress.csv")
    assert table["time/total_timesteps"].tolist() == [8, 16, 24]
    assert table["train/k"].tolist() == [2, 2, 2]


def test_tensorboard_events_are_written(tmp_path):
    model = bandit(tensorboard_log=str(tmp_path))
    model.learn(16, log_interval=1)
    model.learn(16, log_interval=1, tb_log_name="mine")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["PKPO_1", "mine_1"]
    for folder in tmp_path.iterdir():
        (event,) = folder.iterdir()
        assert event.stat().st_size > 500
        assert b"rollout/max_at_4" in event.read_bytes()


# Callbacks, progress and predictions


def test_a_callback_may_be_a_function_a_list_or_an_object():
    class Count(BaseCallback):
        def __init__(self):
            super().__init__()
            self.events = []

        def _on_training_start(self):
            self.events.append("start")

        def _on_rollout_start(self):
            self.events.append("rollout")

        def _on_step(self):
            assert self.locals["rewards"].shape == (8,)
            assert len(self.locals["infos"]) == len(self.locals["dones"]) == 8
            self.events.append("step")
            return True

        def _on_rollout_end(self):
            self.events.append("end of rollout")

        def _on_training_end(self):
            self.events.append("end")

    count, calls = Count(), []
    bandit().learn(16, callback=count)
    iteration = ["rollout", "step", "end of rollout"]
    assert count.events == ["start", *iteration, *iteration, "end"]
    both = [Count(), Count()]
    bandit().learn(8, callback=both)
    assert both[0].events == both[1].events == ["start", *iteration, "end"]
    bandit().learn(
        16, callback=lambda variables, _: calls.append(variables["self"].num_timesteps) or True
    )
    assert calls == [8, 16]


def test_counting_goes_on_or_starts_anew():
    model = bandit().learn(16)
    assert model.learn(16).num_timesteps == 16
    assert model.learn(16, reset_num_timesteps=False).num_timesteps == 32
    assert isinstance(model, PKPO)


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")  # SB3's bar is tqdm.rich
def test_a_progress_bar_can_be_shown():
    model = bandit()
    model.learn(16, progress_bar=True)
    assert model.num_timesteps == 16


def test_learning_in_two_parts_is_learning_in_one():
    # On the bandit a restart between the parts draws nothing at random.
    parts = bandit().learn(40).learn(40, reset_num_timesteps=False)
    assert same(parameters(parts), parameters(bandit().learn(80)))


def test_a_callback_that_stops_inside_an_iteration_leaves_the_model_usable():
    model = bandit(GroupVecEnv(DigitsVector(3, autoreset_mode=DISABLED)), n_groups=4)
    before = parameters(model)
    ended = []

    class Stop(BaseCallback):
        def _on_step(self):
            return self.n_calls < 2

        def _on_training_end(self):
            ended.append(True)

    model.learn(1000, callback=Stop())
    assert model.num_timesteps == 6
    assert ended == [True]
    assert same(before, parameters(model))
    model.learn(50, reset_num_timesteps=False)
    assert model.num_timesteps >= 56
    lengths = model._window[0][1]
    assert (lengths == lengths[:, :1]).all()
    assert not same(before, parameters(model))


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")  # on purpose
def test_evaluation_stops_training_at_a_reward(tmp_path):
    # The safe arm alone earns 0.5; every policy earns more than 0.05.
    stop = StopTrainingOnRewardThreshold(reward_threshold=0.05)
    evaluate = EvalCallback(
        Monitor(BanditEnv()),
        callback_on_new_best=stop,
        eval_freq=3,
        n_eval_episodes=20,
        deterministic=False,
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    model = bandit().learn(1000, callback=evaluate)
    assert model.num_timesteps == 24
    assert evaluate.best_mean_reward > 0.05
    PKPO.load(tmp_path / "best_model.zip", device="cpu").predict(0)


def test_training_stops_at_a_number_of_episodes_or_every_so_many_steps():
    model = bandit().learn(1000, callback=StopTrainingOnMaxEpisodes(max_episodes=2))
    assert model.num_timesteps == 16  # two for each of 8 columns

    class Note(BaseCallback):
        def __init__(self):
            super().__init__()
            self.at = []

        def _on_step(self):
            self.at.append(self.num_timesteps)
            return True

    note = Note()
    bandit().learn(64, callback=EveryNTimesteps(n_steps=24, callback=note))
    assert note.at == [24, 48]


def test_predictions_are_single_or_one_a_column():
    model = bandit()
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    action, state = model.predict(0, deterministic=True)
    assert (action.shape, action.item(), state) == ((), 1, None)
    actions, _ = model.predict(np.zeros(400, int), deterministic=True)
    assert actions.tolist() == [1] * 400
    actions, _ = model.predict(np.zeros(400, int))
    assert set(actions.tolist()) == {0, 1, 2}


def test_predicted_actions_of_a_box_are_clipped():
    model = bandit(CLIFF, policy_kwargs={"fixed_std": 5.0})
    actions, _ = model.predict(np.zeros(100, int))
    assert actions.shape == (100, 1)
    assert (actions.min(), actions.max()) == (-1, 1)
    with torch.no_grad():
        model.policy.action_net.bias.fill_(7.0)
    assert model.predict(0, deterministic=True)[0].tolist() == [1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w[:, :2], r"weights of shape \(2, 2\) for returns"),
        (lambda w: w * torch.nan, "weights that are not finite"),
    ],
)
def test_a_transform_that_goes_wrong_is_refused_before_it_trains(spoil, message):
    def faulty(returns: torch.Tensor) -> torch.Tensor:
        weights = rloo(returns)
        return spoil(weights) if returns.any() else weights

    model = GroupPolicyGradient(
        "MlpPolicy", BANDIT, faulty, group_size=4, n_groups=2, seed=0, device="cpu"
    )
    before = parameters(model)
    with pytest.raises(ValueError, match=message):
        model.learn(80)
    assert same(before, parameters(model))
    assert not model.policy.optimizer.state

    with pytest.raises(ValueError, match=r"^the transform gave"):  # no schedule: at any moment
        GroupPolicyGradient("MlpPolicy", BANDIT, lambda returns: spoil(rloo(returns)) + torch.nan)
