"""Metrics callbacks: values computed by hand, and no effect on training."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecNormalize

from pkpo_envs.problem_set import ProblemSetEnv
from pkpo_sandbox import PKPO
from pkpo_sandbox.algorithm.groups import group_env, make_group_env
from pkpo_sandbox.metrics.callbacks import (
    EntropyCallback,
    ExactCallback,
    GroupEvalCallback,
    SolveRateCallback,
)
from pkpo_sandbox.metrics.exact import exact_values
from pkpo_sandbox.transforms import max_at_k
from tests.small import (
    BANDIT,
    PROBLEM_SET,
    SMALL,
    Nameless,
    NumberedVector,
    Script,
    dummy,
    indifferent,
    logged,
    problem_sets,
    small_pkpo,
)


class Series(BaseCallback):
    """Keeps a value of the log at every step, None where there is none."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.values = key, []

    def _on_step(self) -> bool:
        self.values.append(dict(self.logger.name_to_value).get(self.key))
        return True


# GroupEvalCallback


@pytest.mark.parametrize("algorithm", [A2C, PKPO])
def test_estimates_agree_with_the_exact_values(algorithm):
    answers = [0.5, 0.2, 0.05, 0.25]
    env = make_group_env(PROBLEM_SET, 4, 8, **SMALL)
    sizes = {"group_size": 8} if algorithm is PKPO else {}
    model = indifferent(algorithm("MlpPolicy", env, **sizes), answers)
    callback = GroupEvalCallback(make_group_env(PROBLEM_SET, 2000, 8, **SMALL), 2000, 8, 1)
    record = logged(model, callback)
    assert set(record) == {"eval/ep_rew_mean", *(f"eval/max_at_{k}" for k in (1, 2, 4, 8))}
    assert record["eval/ep_rew_mean"] == pytest.approx(record["eval/max_at_1"], abs=1e-12)
    for k in (1, 2, 4, 8):
        exact = (6 * (1 - 0.5**k) + (1 - 0.8**k) + (1 - 0.95**k)) / 8
        error = max_at_k(callback.last_returns, k).std().item() / math.sqrt(2000)
        assert 0 < error < 0.02
        assert abs(record[f"eval/max_at_{k}"] - exact) < 4 * error
        world = gymnasium.make(PROBLEM_SET, **SMALL)
        assert exact_values(model, world, [k])[k]["max_at_k"] == pytest.approx(exact, abs=1e-6)


def test_the_requested_ks_are_recorded_every_eval_freq_calls_on_fresh_groups():
    callback = GroupEvalCallback(BANDIT, n_groups=8, group_size=6, eval_freq=3, ks=[1, 3, 6])
    series, returns = Series("eval/max_at_3"), []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            returns.append(getattr(callback, "last_returns", None))
            return True

    model = PKPO("MlpPolicy", BANDIT, k=2, n_groups=2, group_size=4, seed=0)
    model.learn(8 * 6, [callback, series, Watch()], log_interval=None)
    rates = series.values
    assert rates[:2] == [None, None]
    assert rates[2] == rates[3] == rates[4]
    assert rates[5] == pytest.approx(max_at_k(returns[5], 3).mean().item())
    assert returns[2] is returns[4]
    assert not torch.equal(returns[2], returns[5])
    assert "eval/max_at_2" not in model.logger.name_to_value


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"ks": [1, 8]}, "k=8 exceeds group_size=4"),
        ({"ks": []}, "ks=.* integers of at least 1"),
        ({"ks": [0, 1]}, "ks=.* integers of at least 1"),
        ({"ks": [1.5]}, "ks=.* integers of at least 1"),
        ({"eval_freq": 0}, "eval_freq=.* integers of at least 1"),
        ({"group_size": 1}, "group_size must be an integer of at least 2"),
        ({"n_groups": 0}, "n_groups must be an integer of at least 1"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GroupEvalCallback(BANDIT, **{"group_size": 4, **kwargs})


def test_an_evaluation_env_unlike_the_training_env_is_refused():
    env = make_group_env(PROBLEM_SET, 4, 8, **SMALL)
    model = PKPO("MlpPolicy", env, group_size=8, n_groups=4)
    with pytest.raises(ValueError, match="is the training env"):
        model.learn(1, GroupEvalCallback(env, 4, 8))
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.learn(1, GroupEvalCallback(PROBLEM_SET, 4, 8))
    scaled = VecNormalize(make_group_env(PROBLEM_SET, 4, 8, **SMALL), norm_obs=False)
    with pytest.raises(ValueError, match="wrap both"):
        model.learn(1, GroupEvalCallback(scaled, 4, 8))
    with pytest.raises(ValueError, match="set it to False"):
        PKPO("MlpPolicy", VecNormalize(env, norm_obs=False)).learn(1, GroupEvalCallback(scaled))


def test_the_evaluation_env_sees_through_the_normalisation_of_training():
    def numbered(training: bool) -> VecNormalize:
        venv = NumberedVector(4, autoreset_mode=AutoresetMode.DISABLED)
        return VecNormalize(group_env(venv), training=training)

    train_env, eval_env = numbered(True), numbered(False)
    callback = GroupEvalCallback(eval_env, 30, 2, eval_freq=2)
    A2C("MlpPolicy", train_env, n_steps=5, seed=0).learn(40, callback)
    assert eval_env.obs_rms.mean == pytest.approx(train_env.obs_rms.mean)
    assert eval_env.obs_rms.mean[1] < -5
    assert set(callback.last_returns.flatten().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}


# SolveRateCallback


def played(callback: SolveRateCallback, columns: int, *steps: dict[str, Any]) -> list[float]:
    """The solve rate after each step of a training that consists of these locals."""
    model = A2C("MlpPolicy", dummy(*(Script((0, [0.0]), n_problems=4) for _ in range(columns))))
    model.set_logger(configure(None, []))
    callback.init_callback(model)
    callback.on_training_start({}, {})
    rates = []
    for step in steps:
        callback.update_locals({key: np.array(value) for key, value in step.items()})
        assert callback.on_step()
        rates.append(model.logger.name_to_value["rollout/solved"])
    return rates


def step(rewards: list, dones: list, problems: list, **more: Any) -> dict[str, Any]:
    infos = [{"problem": np.int64(problem)} for problem in problems]
    return {"rewards": rewards, "dones": dones, "infos": infos, **more}


def test_a_problem_is_solved_once_an_attempt_at_it_reaches_the_threshold():
    callback = SolveRateCallback()
    rates = played(
        callback,
        2,
        step([1.0, 0.5], [True, False], [2, 0]),  # problem 2 in one step: 1 of 4
        step([0.0, 0.25], [True, False], [3, 0]),
        step([1.0, 0.25], [False, True], [3, 0]),  # problem 0 in three steps: 2 of 4
        step([-0.5, 0.9], [True, True], [3, 1]),  # 1.0 - 0.5 and 0.9 are not enough
        step([1.0, 0.1], [True, True], [2, 1]),  # 2 again, and a new episode, not 0.9 + 0.1
        step([1.0, 1.0], [True, True], [1, 1]),  # problem 1, twice: 3 of 4
        step([9.0, 9.0], [False, True], [3, 0]),
        step([0.0, 0.0], [True, True], [3, 0]),  # problem 3: all
        step([0.0, 0.0], [True, True], [3, 0]),
    )
    assert rates == [0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    assert callback.solved.tolist() == [True] * 4


def test_the_threshold_is_in_units_of_return():
    steps = [step([0.4, 0.6], [True, True], [0, 1])]
    assert played(SolveRateCallback(threshold=0.5), 2, *steps) == [0.25]
    assert played(SolveRateCallback(threshold=0.4), 2, *steps) == [0.5]
    assert played(SolveRateCallback(threshold=-1), 2, step([-2, -1], [True] * 2, [0, 1])) == [0.25]


def test_attempts_of_idle_columns_do_not_count():
    callback = SolveRateCallback()
    rates = played(
        callback,
        3,
        step([0.0, 1.0, 1.0], [False, True, True], [0, 1, 2], playing=[True, True, False]),
        step([1.0, 1.0, 0.7], [False, True, False], [0, 3, 2], playing=[True, False, False]),
        step([0.0, 0.9, 0.0], [True, True, True], [0, 3, 2], playing=[True, False, False]),
        # The next iteration: what the idle columns earned before is forgotten.
        step([0.0, 0.5, 0.5], [True, True, True], [0, 3, 2], playing=[True, True, True]),
    )
    assert rates == [0.25, 0.25, 0.5, 0.5]
    assert callback.solved.tolist() == [True, True, False, False]
    surplus = step([1.0, 1.0], [True, True], [0, 1], playing=[True, False])
    assert played(SolveRateCallback(threshold=0.0), 2, surplus) == [0.25]


def test_the_surplus_column_of_a_group_env_does_not_count():
    for rewards, rate in (([0.0, 0.0, 1.0], 0.0), ([0.0, 1.0, 0.0], 1.0)):
        env = dummy(*(Script((0, [reward])) for reward in rewards))
        model = PKPO("MlpPolicy", env, k=1, n_groups=1, group_size=2)
        series = Series("rollout/solved")
        model.learn(12, [SolveRateCallback(), series], log_interval=None)
        assert series.values == [rate] * 4


def test_solved_problems_are_kept_and_can_be_given_to_another_process():
    first = SolveRateCallback()
    assert played(first, 1, step([1], [True], [3])) == [0.25]
    assert played(first, 1, step([1], [True], [0])) == [0.5]
    resumed = SolveRateCallback(solved=first.solved)
    assert played(resumed, 1, step([0], [True], [1]), step([1], [True], [1])) == [0.5, 0.75]
    assert first.solved.tolist() == [True, False, False, True]


def test_an_episode_of_an_earlier_training_is_not_carried_on():
    callback = SolveRateCallback()
    assert played(callback, 1, step([0.9], [False], [0])) == [0.0]
    assert played(callback, 1, step([0.9], [True], [0])) == [0.0]


SOLVERS = {
    "a2c": lambda env: A2C("MlpPolicy", env, n_steps=3, seed=0),
    "ppo": lambda env: PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, seed=0),
    "dqn": lambda env: DQN("MlpPolicy", env, learning_starts=5, buffer_size=50, seed=0),
}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
def test_the_solve_rate_of_a_scripted_training(solver):
    episodes = [(2, [0.5, 0.5]), (0, [0.0, 0.0]), (1, [1.0]), (2, [1.0]), (3, [0.4, 0.4, 0.1])]
    series = Series("rollout/solved")
    solver(dummy(Script(*episodes, n_problems=4))).learn(11, [SolveRateCallback(), series])
    rates = [0, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert series.values[: len(rates)] == rates


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
def test_the_solve_rate_never_falls_and_counts_what_the_env_rewarded(solver):
    callback, series, right = SolveRateCallback(), Series("rollout/solved"), set()

    class Oracle(BaseCallback):
        def _on_step(self) -> bool:
            infos, rewards = self.locals["infos"], self.locals["rewards"]
            right.update(
                int(info["problem"]) for info, r in zip(infos, rewards, strict=True) if r == 1
            )
            assert self.logger.name_to_value["rollout/solved"] == len(right) / 8
            return True

    solver(problem_sets()).learn(60, [callback, Oracle(), series])
    assert series.values == sorted(series.values)
    assert series.values[-1] > 0
    assert set(np.flatnonzero(callback.solved)) == right


def test_the_solve_rate_of_subprocesses():
    worker = lambda: gymnasium.make(PROBLEM_SET, **SMALL)  # noqa: E731
    env = SubprocVecEnv([worker])
    callback, series = SolveRateCallback(), Series("rollout/solved")
    A2C("MlpPolicy", env, n_steps=16).learn(64, [callback, series])
    env.close()
    assert callback.n_problems == 8
    assert series.values[-1] == callback.solved.mean() > 0


def test_the_solve_rate_is_in_every_row_of_the_log(tmp_path):
    model = small_pkpo()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(32 * 5, SolveRateCallback(), log_interval=1)
    model.logger.close()
    table = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True, deletechars="")
    assert len(table) == 5
    assert np.all(np.diff(table["rollout/solved"]) >= 0)
    assert table["rollout/solved"][-1] > 0.5


def test_the_scaling_of_vec_normalize_does_not_reach_the_solve_rate():
    env = VecNormalize(dummy(Script((0, [0.3]), (1, [2.0]), n_problems=2)), norm_obs=False)
    callback = SolveRateCallback()
    A2C("MlpPolicy", env, n_steps=4).learn(16, callback)
    assert callback.solved.tolist() == [False, True]


def test_an_env_without_problems_is_one_problem():
    env = dummy(gymnasium.make("CartPole-v1"))
    callback, series = SolveRateCallback(threshold=10.0), Series("rollout/solved")
    A2C("MlpPolicy", env, n_steps=20).learn(100, [callback, series])
    assert callback.n_problems == 1
    assert series.values[0] == 0.0
    assert series.values[-1] == 1.0


def test_contradictions_about_the_problems_are_refused():
    four = dummy(Script((0, [1.0]), (3, [1.0]), n_problems=4))
    model = A2C("MlpPolicy", four)
    with pytest.raises(ValueError, match=r"solved has shape \(3,\), but there are 4 problems"):
        model.learn(1, SolveRateCallback(solved=np.zeros(3, dtype=bool)))
    with pytest.raises(ValueError, match=r"attempted problem 3, but there are 2 of them"):
        model.learn(9, SolveRateCallback(n_problems=2))
    with pytest.raises(ValueError, match=r"n_problems=\[0\] must be"):
        SolveRateCallback(n_problems=0)
    nameless = A2C("MlpPolicy", dummy(Nameless((0, [1.0]), n_problems=4)))
    with pytest.raises(ValueError, match=r'4 problems.*info\["problem"\]'):
        nameless.learn(1, SolveRateCallback())
    mixed = dummy(Script((0, [1.0]), n_problems=4), Script((0, [1.0]), n_problems=5))
    with pytest.raises(ValueError, match="must hold the same problems"):
        A2C("MlpPolicy", mixed).learn(1, SolveRateCallback())


# Training is left alone

TRAINED = {
    "pkpo": lambda env: PKPO("MlpPolicy", env, k=4, group_size=8, n_groups=4, seed=1),
    "pkpo_clipped": lambda env: PKPO(
        "MlpPolicy", env, k=4, group_size=8, n_groups=4, seed=1, n_epochs=2, clip_range=0.2
    ),
    "a2c": lambda env: A2C("MlpPolicy", env, n_steps=3, seed=1),
    "ppo": lambda env: PPO("MlpPolicy", env, n_steps=4, batch_size=32, n_epochs=2, seed=1),
    "dqn": lambda env: DQN("MlpPolicy", env, learning_starts=64, buffer_size=500, seed=1),
}


@pytest.mark.parametrize("name", TRAINED)
def test_training_is_bit_identical_with_and_without_the_callbacks(name):
    def trained(watched: bool) -> list[torch.Tensor]:
        env: VecEnv = make_group_env(PROBLEM_SET, 4, 8, **SMALL)
        if name == "dqn":
            env = problem_sets(4)
        model = TRAINED[name](env)
        eval_env = make_group_env(PROBLEM_SET, 4, 4, **SMALL)
        callbacks: list[Any] = [SolveRateCallback(), GroupEvalCallback(eval_env, 4, 4, 2)]
        if name != "dqn":
            world = ProblemSetEnv(**SMALL)
            callbacks.append(ExactCallback(world, eval_freq=1))
        model.learn(32 * 12, callbacks if watched else None, log_interval=None)
        return [p.detach().clone() for p in model.policy.parameters()]

    for with_them, without in zip(trained(True), trained(False), strict=True):
        assert torch.equal(with_them, without)


def test_exact_and_estimated_values_stand_in_one_row_of_the_log(tmp_path):
    model = small_pkpo()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    callbacks = [
        SolveRateCallback(),
        GroupEvalCallback(make_group_env(PROBLEM_SET, 8, 8, **SMALL), 8, 8, eval_freq=2),
        ExactCallback(gymnasium.make(PROBLEM_SET, **SMALL), ks=(1, 8), eval_freq=2),
    ]
    model.learn(32 * 4, callbacks, log_interval=2)
    model.logger.close()
    table = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True, deletechars="")
    assert len(table) == 2
    assert table["eval/max_at_8"] == pytest.approx(table["exact/max_at_8"], abs=0.5)
    assert not np.isnan(table["exact/entropy"]).any()


@pytest.mark.parametrize("kind", [A2C, PPO])
def test_the_entropy_callback_takes_any_policy_with_a_distribution(kind):
    env = make_vec_env("CartPole-v1", n_envs=2)
    callback = EntropyCallback(eval_freq=1)
    settings = {"batch_size": 16} if kind is PPO else {}
    model = kind("MlpPolicy", env, n_steps=8, seed=0, device="cpu", **settings)
    model.learn(16, callback, log_interval=100)  # a dump would clear the value
    entropy = model.logger.name_to_value["rollout/entropy"]
    assert 0.6 < entropy <= np.log(2) + 1e-6  # two actions, and a policy that is almost uniform


def test_the_entropy_callback_changes_no_training_and_refuses_what_has_no_distribution():
    def trained(callback):
        model = PKPO("MlpPolicy", "pkpo_envs:pkpo/Bandit-v0", seed=0, device="cpu")
        model.learn(1024, callback, log_interval=None)
        return torch.cat([p.flatten() for p in model.policy.parameters()]), model

    plain, _ = trained(None)
    watched, model = trained(EntropyCallback(eval_freq=1))
    assert torch.equal(plain, watched)
    assert 0 < model.logger.name_to_value["rollout/entropy"] <= np.log(3) + 1e-6
    with pytest.raises(ValueError, match="DQN has no action distribution, its entropy"):
        DQN("MlpPolicy", "CartPole-v1", device="cpu").learn(1, EntropyCallback())
    with pytest.raises(ValueError, match="eval_freq"):
        EntropyCallback(0)


@pytest.mark.parametrize("kind", [PKPO, A2C])
def test_the_entropy_is_that_of_the_policy_where_it_acted(kind):
    """Entropies at the observations of each step, which change from step to step of an episode."""

    class Acted(EntropyCallback):
        def _on_step(self) -> bool:
            with torch.no_grad():
                observations = self.locals["obs_tensor" if kind is A2C else "observations"]
                entropy = self.model.policy.get_distribution(observations).entropy()
            super()._on_step()
            logged = self.logger.name_to_value["rollout/entropy"]
            assert logged == pytest.approx(entropy.mean().item(), abs=1e-6)
            return True

    sizes = {"group_size": 4, "n_groups": 1, "k": 2} if kind is PKPO else {}
    env = make_vec_env("CartPole-v1", n_envs=3, seed=0)
    model = kind("MlpPolicy", env, learning_rate=0.1, seed=0, device="cpu", **sizes)
    model.learn(60, Acted(eval_freq=1))
