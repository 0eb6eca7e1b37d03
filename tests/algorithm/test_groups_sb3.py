"""Groups in SB3's own vec envs, and under its wrappers."""

from functools import partial

import gymnasium
import pytest
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from pkpo_envs.problem_set import ProblemSetEnv
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from tests.algorithm.counters import Counter, WithProblems, counters, model_on
from tests.algorithm.short_runs import DISABLED, collect


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("kind", [DummyVecEnv, pytest.param(SubprocVecEnv, marks=pytest.mark.slow)])
def test_a_plain_vec_env_plays_whole_episodes(kind, n_columns):
    env = kind([partial(gymnasium.make, "CartPole-v1") for _ in range(n_columns)])
    model = model_on(env, n_groups=2, group_size=4)
    for _ in range(2):
        rollout = collect(model)
        assert (rollout.returns.numpy() == rollout.lengths).all()
        for attempt in range(8):
            rows = rollout.observations[rollout.attempts == attempt]
            assert len(rows) == rollout.lengths.flat[attempt]
            assert rows[0].abs().max() <= 0.05  # CartPole starts in this box
            # A pole that starts elsewhere moves: positions advance by 0.02 s times the speed.
            assert rows[1:, 0].numpy() == pytest.approx(
                rows[:-1, 0] + 0.02 * rows[:-1, 1], abs=1e-6
            )
    env.close()


def test_a_plain_vec_env_with_many_problems_is_refused():
    # It would restart each column on a problem of its own, and mix problems within groups.
    with pytest.raises(ValueError, match=r"one of 128 problems by itself.*env's id"):
        model_on(DummyVecEnv([ProblemSetEnv] * 3), 2, 2)
    with pytest.raises(ValueError, match="problems by itself"):
        model_on(VecMonitor(DummyVecEnv([ProblemSetEnv])), 2, 2)
    model_on(DummyVecEnv([partial(WithProblems, 1)]), 1, 2).learn(2)  # one problem is no problem


@pytest.mark.parametrize(
    "make",
    [lambda: make_group_env("CartPole-v1", 2, 3), lambda: DummyVecEnv([lambda: Counter(4)] * 2)],
)
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize(
    "wrap", [VecMonitor, VecNormalize, partial(VecFrameStack, n_stack=3), lambda e: e]
)
def test_a_policy_trains_under_the_wrappers_of_sb3(make, wrap):
    env = wrap(make())
    model = model_on(env, n_groups=2, group_size=3)
    if isinstance(env.unwrapped, GroupVecEnv):
        assert (env.unwrapped.n_groups, env.unwrapped.group_size) == (2, 3)
    model.learn(100)
    assert model.num_timesteps >= 100
    if isinstance(env, VecMonitor):
        assert len(model.ep_info_buffer) >= 6
    if isinstance(env, VecFrameStack):
        assert model.policy.mlp_extractor.policy_net[0].in_features == 3 * make().reset().shape[1]
    if isinstance(env, VecNormalize):
        assert env.obs_rms.count > 100


def test_normalised_rewards_are_what_the_transform_sees():
    model = model_on(VecNormalize(GroupVecEnv(counters(4, 4, pay=100.0)), gamma=0.5), 1, 2)
    returns = collect(model).returns
    # Raw returns are 400; the discounted return is at most 200, and divided by its deviation.
    assert (returns < 40).all()
    assert (returns > 0).all()


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_a_monitor_reports_attempts_but_not_what_idle_columns_play():
    # Column 0 needs 1 step and then idles through three more episodes while column 1 plays its 4.
    makers = [partial(Monitor, Counter(1)), partial(Monitor, Counter(4))]
    listed = GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))
    for env in (listed, VecMonitor(GroupVecEnv(counters(1, 4))), DummyVecEnv(makers)):
        model = model_on(env, 1, 2)
        collect(model)
        assert [info["l"] for info in model.ep_info_buffer] == [1, 4]
        assert [info["r"] for info in model.ep_info_buffer] == [1, 4]
