"""Evaluate a policy on groups of attempts, separately from training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from pkpo_sandbox.algorithm.playing import EpisodeReturns, GroupPlay


def evaluate_groups(
    model: BaseAlgorithm,
    env: VecEnv,
    n_groups: int,
    group_size: int,
    *,
    deterministic: bool = False,
    seed: int = 0,
) -> torch.Tensor:
    """Play whole episodes, ``group_size`` attempts at each of ``n_groups`` problems.

    The result depends only on the arguments: this seeds the env and the random generators that
    ``model.predict`` uses, and restores the generators afterwards. Unfinished episodes of the env
    are lost.

    :param model: acts with ``predict``. (DQN makes one exploration decision per step for all
        columns, so its attempts are independent only with ``deterministic=True``.)
    :param env: an env from ``make_group_env``, or any ``VecEnv`` with one problem; any number of
        columns
    :param deterministic: use the mode of the policy instead of samples
    :param seed: of the problems, the env and the actions, 0 to 2**32 - 1
    :return: undiscounted returns (n_groups, group_size) float64, without ``VecNormalize``'s scaling
    :raises ValueError: if n_groups or group_size is out of range, or the env has several problems
        and cannot assign one to each group
    """
    play, earned = GroupPlay(env, n_groups, group_size), EpisodeReturns(env)
    returns = np.zeros((n_groups, group_size))
    with own_randomness(model, seed):
        play.seed(seed)
        observations: Any = play.reset()
        state, starts = None, np.ones(env.num_envs, dtype=bool)
        while not play.finished:
            actions, state = model.predict(observations, state, starts, deterministic)
            observations, rewards, starts, _ = play.step(actions)
            returns_now = earned.after_step(rewards, starts, play.playing)
            over = starts & play.playing
            returns.flat[play.attempts[over]] = returns_now[over]
    return torch.from_numpy(returns)


def gpus(model: BaseAlgorithm) -> list[torch.device]:
    return [model.device] if model.device.type == "cuda" else []


@contextmanager
def own_randomness(model: BaseAlgorithm, seed: int) -> Iterator[None]:
    """Seed all generators that ``predict`` may use: torch, NumPy, action space; then restore."""
    devices = gpus(model)
    actions = model.action_space.np_random.bit_generator
    before = np.random.get_state(), actions.state  # noqa: NPY002, DQN draws from it
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        actions.state = np.random.PCG64(seed).state
        try:
            yield
        finally:
            np.random.set_state(before[0])  # noqa: NPY002
            actions.state = before[1]
