"""``evaluate_policy`` and ``EvalCallback`` end, and count whole episodes, on any vector env.

The envs keep an account of their own of the episodes that they have played to the end.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.metrics.evaluation import evaluate_groups

from .coin import DEVIATION, ID, LONG, MEAN, SHORT, Coin, Lives
from .conftest import Rows, small

#: columns, groups and attempts at each: fewer columns than attempts, as many, and more
SIZES = [(1, 1, 2), (2, 2, 2), (3, 2, 4), (4, 2, 2), (5, 1, 2), (16, 1, 2), (16, 2, 4)]

WRAPPERS: dict[str, Callable[[VecEnv], VecEnv]] = {
    "bare": lambda env: env,
    "VecNormalize": lambda env: VecNormalize(env, norm_obs=False),
    "VecFrameStack": lambda env: VecFrameStack(env, 2),
    "VecCheckNan": lambda env: VecCheckNan(env, raise_exception=True),
    "VecMonitor": VecMonitor,
}


def columns(n_columns: int, make: Callable[[], gymnasium.Env] = Coin) -> GroupVecEnv:
    return GroupVecEnv(SyncVectorEnv([make] * n_columns, autoreset_mode=AutoresetMode.DISABLED))


def model_of(env: VecEnv, n_groups: int = 1, group_size: int = 2) -> PKPO:
    return small(env, n_groups=n_groups, group_size=group_size)


def account(env: VecEnv) -> list[int]:
    """The lengths of the episodes that were played to their end since the account was cleared."""
    return [length for played in env.get_attr("played") for length in played]


def clear(env: VecEnv) -> None:
    for played in env.get_attr("played"):
        played.clear()


def check(returns: list[float], lengths: list[int], env: VecEnv, n_episodes: int) -> None:
    """Every episode reported was played, there are as many as asked for, long ones among them."""
    assert len(returns) == len(lengths) == n_episodes
    assert returns == pytest.approx(lengths)
    assert Counter(lengths) <= Counter(account(env))


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(("n_columns", "n_groups", "group_size"), SIZES)
def test_as_many_whole_episodes_are_counted_as_were_asked_for(
    n_columns, n_groups, group_size, wrapper
):
    env = WRAPPERS[wrapper](columns(n_columns))
    model = model_of(env, n_groups, group_size).learn(20)
    for n_episodes in (1, 7, 20):
        clear(env)
        check(
            *evaluate_policy(model, model.get_env(), n_episodes, return_episode_rewards=True),
            env,
            n_episodes,
        )


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("wrapper", ["bare", "VecMonitor"])
@pytest.mark.parametrize(("n_columns", "n_groups", "group_size"), SIZES)
def test_long_episodes_are_counted_as_often_as_short_ones(n_columns, n_groups, group_size, wrapper):
    """Their mean is that of the env, within four standard errors."""
    env = WRAPPERS[wrapper](columns(n_columns))
    model = model_of(env, n_groups, group_size)
    env.seed(11)
    _, lengths = evaluate_policy(model, env, 400, return_episode_rewards=True)
    assert set(lengths) == {SHORT, LONG}
    assert np.mean(lengths) == pytest.approx(MEAN, abs=4 * DEVIATION / np.sqrt(400))


@pytest.mark.parametrize("n_columns", [1, 4, 16])
def test_an_evaluation_in_groups_leaves_the_env_fit_for_the_next(n_columns):
    env = columns(n_columns)
    model = model_of(env, 1, 2)
    evaluate_groups(model, env, 1, 3)
    clear(env)
    check(*evaluate_policy(model, env, 20, return_episode_rewards=True), env, 20)
    before = model.num_timesteps
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps >= before + 20


def test_native_columns_that_restart_by_themselves_are_evaluated_to_the_end():
    env = gymnasium.make_vec("CartPole-v1", 16)
    model = PKPO("MlpPolicy", env, k=2, n_groups=2, group_size=4, device="cpu", seed=0).learn(10)
    for n_episodes in (1, 10, 40):
        returns, lengths = evaluate_policy(
            model, model.get_env(), n_episodes, return_episode_rewards=True
        )
        assert len(lengths) == n_episodes
        assert returns == lengths
        assert min(lengths) >= 8  # a pole takes that long to fall


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_columns_made_from_an_id_are_evaluated_to_the_end(vectorization):
    env = make_group_env(ID, 1, 2, vectorization=vectorization, num_envs=3)
    try:
        returns, lengths = evaluate_policy(model_of(env), env, 20, return_episode_rewards=True)
        check(returns, lengths, env, 20)
    finally:
        env.close()


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("grouped", [True, False])
def test_a_monitor_inside_a_wrapper_decides_what_an_episode_is(grouped, n_columns):
    """It tells the whole episodes, though the wrapper ends one every three steps."""

    def lives() -> gymnasium.Env:
        return Lives(Monitor(Coin()))

    env = columns(n_columns, lives) if grouped else DummyVecEnv([lives] * n_columns)
    model = model_of(env, 2, 2)
    clear(env)
    check(*evaluate_policy(model, env, 12, return_episode_rewards=True), env, 12)
    clear(env)
    model.learn(200)
    told = [info["l"] for info in model.ep_info_buffer]
    assert set(told) == {SHORT, LONG}
    assert Counter(told) <= Counter(account(env))


@pytest.mark.parametrize(("n_columns", "n_groups", "group_size"), SIZES)
@pytest.mark.parametrize("logged", [True, False])
def test_successes_of_an_evaluation_are_those_of_its_episodes(
    n_columns, n_groups, group_size, logged, tmp_path, logger, rows: Rows
):
    env = columns(n_columns)
    model = model_of(columns(2), n_groups, group_size)
    model.set_logger(logger)
    callback = EvalCallback(
        env, n_eval_episodes=5, eval_freq=4, log_path=str(tmp_path) if logged else None, verbose=0
    )
    model.learn(60, callback=callback, log_interval=1)
    rates = rows.column("eval/success_rate")
    lengths = rows.column("eval/mean_ep_length")
    # A long episode is a success: the mean length tells how many there were.
    shares = (np.array(lengths) - SHORT) / (LONG - SHORT)
    assert rates == pytest.approx(shares)
    assert len(rates) >= 3
    if logged:
        written = np.load(tmp_path / "evaluations.npz")
        assert written["successes"].shape == written["ep_lengths"].shape == (len(rates), 5)
        assert np.array_equal(written["successes"], written["ep_lengths"] == LONG)


# The other options of evaluate_policy


def test_a_callback_of_an_evaluation_is_called_for_each_step_of_a_counted_episode():
    """In every column whose number of episodes is not yet reached."""
    env = columns(3)
    seen: list[tuple[int, bool]] = []

    def look(local: dict[str, Any], _: dict[str, Any]) -> None:
        seen.append((local["i"], bool(local["done"])))

    _, lengths = evaluate_policy(model_of(env), env, 7, callback=look, return_episode_rewards=True)
    # SB3 gives the episodes out evenly: 2, 2 and 3.
    assert Counter(column for column, done in seen if done) == {0: 2, 1: 2, 2: 3}
    assert len(seen) == sum(lengths)


def test_a_threshold_of_the_mean_return_is_checked():
    env = columns(2)
    model = model_of(env)
    assert evaluate_policy(model, env, 4, reward_threshold=SHORT - 0.5)[0] >= SHORT
    with pytest.raises(AssertionError, match="Mean reward below threshold"):
        evaluate_policy(model, env, 4, reward_threshold=LONG + 1)


def test_an_env_without_a_monitor_is_warned_of_and_a_group_env_has_one():
    model = model_of(columns(2))
    bare = TimeLimit(Coin(), 20)
    with pytest.warns(UserWarning, match="not wrapped with a ``Monitor``"):
        mean, deviation = evaluate_policy(model, bare, 5)
    assert SHORT <= mean <= LONG
    assert 0 <= deviation <= DEVIATION
    evaluate_policy(model, bare, 5, warn=False)  # warnings are errors here
    evaluate_policy(model, columns(2), 5)


def test_an_evaluation_draws_actions_or_takes_the_most_probable():
    env = make_vec_env("CartPole-v1", 2, seed=0)
    model = small(env)

    def lengths(deterministic: bool) -> list[int]:
        env.seed(3)
        model.set_random_seed(5)
        env.seed(3)
        return evaluate_policy(
            model, env, 8, deterministic=deterministic, return_episode_rewards=True
        )[1]

    assert lengths(True) == lengths(True)
    assert lengths(False) == lengths(False)
    assert lengths(True) != lengths(False)


def test_the_policy_alone_may_be_evaluated_and_the_env_rendered():
    frames: list[int] = []

    class Drawn(Coin):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
        render_mode = "rgb_array"

        def render(self):
            frames.append(self.steps)
            return np.zeros((2, 2, 3), np.uint8)

    env = columns(1, Drawn)
    policy = model_of(env).policy
    _, lengths = evaluate_policy(policy, env, 3, render=True, return_episode_rewards=True)
    assert len(frames) == sum(lengths)
