"""Which player may use a vector env, and the returns of episodes on any ``VecEnv``."""

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pkpo_sandbox.algorithm.groups import group_env, make_group_env
from pkpo_sandbox.algorithm.playing import EpisodeReturns, GroupPlay
from tests.small import Script, dummy

EPISODES = [(0, [1.0]), (0, [2.0, 3.0])]  # one step, then two, and again


def env_of(kind: str):
    if kind == "group":
        return group_env(Script(*EPISODES))
    env = dummy(Script(*EPISODES))
    return VecNormalize(env, norm_obs=False, clip_reward=0.1) if kind == "normalised" else env


@pytest.mark.parametrize("kind", ["group", "dummy", "normalised"])
def test_attempts_and_returns_are_those_of_the_episodes(kind):
    env = env_of(kind)
    play, earned = GroupPlay(env, 1, 2), EpisodeReturns(env)
    play.reset()
    seen = []
    for _ in range(6):
        _, rewards, dones, _ = play.step(np.zeros(1, int))
        returns = earned.after_step(rewards, dones, play.playing)
        seen.append((play.attempts.item(), returns.item(), play.finished))
    assert seen == [(0, 1.0, False), (1, 2.0, False), (1, 5.0, True)] * 2


@pytest.mark.parametrize("other", [lambda env: env.reset(), lambda env: env.step(np.zeros(1, int))])
def test_another_player_of_a_group_env_is_noticed(other):
    env = env_of("group")
    play = GroupPlay(env, 1, 2)
    play.reset()
    play.step(np.zeros(1, int))
    assert not play.disturbed
    other(env)
    assert play.disturbed
    with pytest.raises(ValueError, match="a callback that evaluates needs an env of its own"):
        play.step(np.zeros(1, int))
    play.reset()
    assert not play.disturbed


def test_a_vec_env_that_draws_its_problems_by_itself_cannot_be_played_in_groups():
    env = dummy(Script(*EPISODES, n_problems=3))
    with pytest.raises(ValueError, match="one of 3 problems by itself"):
        GroupPlay(env, 1, 2)
    with pytest.raises(ValueError, match="group_size must be an integer of at least 2"):
        GroupPlay(make_group_env("CartPole-v1", 1, 2), 1, 1)


def test_seeds_are_small_enough_for_any_env():
    env: DummyVecEnv = dummy(*(Script(*EPISODES) for _ in range(3)))
    GroupPlay(env, 1, 2).seed(2**32 - 1)
    assert all(0 <= seed < 2**31 for seed in env._seeds)
