"""A small env of many steps for the tests of worlds, and the ids of all registered worlds."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from pkpo_envs import ProblemEnv, ProblemVectorEnv

IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("pkpo/"))


class CountdownEnv(ProblemEnv):
    """Problem i takes i + 1 steps; action 1 earns the steps left, action 0 nothing, plus noise."""

    def __init__(self, n_problems: int = 4, noise: float = 0.0) -> None:
        self.n_problems, self.noise = n_problems, noise
        self.observation_space = spaces.Box(0.0, n_problems, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, problems):
        return np.stack([problems, problems + 1], axis=-1)

    def advance(self, state, actions):
        rewards = state[:, 1] * actions + self.noise * self.np_random.normal(size=len(state))
        state[:, 1] -= 1  # in place: nobody else may hold the state
        return state, rewards, state[:, 1] == 0


class CountdownVectorEnv(ProblemVectorEnv):
    world_class = CountdownEnv


def make_vec(env_id: str, num_envs: int, **kwargs: Any) -> Any:
    return gym.make_vec(f"pkpo_envs:{env_id}", num_envs=num_envs, **kwargs)
