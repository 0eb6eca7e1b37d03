"""Small worlds and policies, shared by the tests of evaluation, exact values and metrics."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_envs import ProblemEnv, ProblemVectorEnv
from pkpo_sandbox import PKPO
from pkpo_sandbox.algorithm.groups import make_group_env

PROBLEM_SET = "pkpo_envs:pkpo/ProblemSet-v0"
BANDIT = "pkpo_envs:pkpo/Bandit-v0"
CLIFF = "pkpo_envs:pkpo/Cliff1D-v0"
SMALL = {"n_problems": 8, "n_answers": 4, "hard_fraction": 0.25}  # answers 0 0 0 0 0 0 1 2


class Script(gymnasium.Env):
    """Plays the given (problem, rewards of each step) episodes one after another, and again."""

    def __init__(self, *episodes: tuple[int, list[float]], n_problems: int = 1) -> None:
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(2)
        self.n_problems = n_problems
        self.episodes, self.episode, self.step_in_episode = episodes, -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode = (self.episode + 1) % len(self.episodes)
        self.step_in_episode = 0
        return 0, {}

    def step(self, action):
        problem, rewards = self.episodes[self.episode]
        reward = rewards[self.step_in_episode]
        self.step_in_episode += 1
        ended = self.step_in_episode == len(rewards)
        return 0, reward, ended, False, {"problem": problem}


class Nameless(Script):
    """The same, without saying which problem it was."""

    def step(self, action):
        return *super().step(action)[:4], {}


class Numbered(ProblemEnv):
    """Problem i pays i whatever one does, and looks like the numbers (i, -10 i)."""

    def __init__(self, n_problems: int = 5) -> None:
        self.n_problems = n_problems
        self.observation_space = spaces.Box(-100, 100, (2,))
        self.action_space = spaces.Discrete(3)

    def start(self, problems):
        return np.stack([problems, -10 * problems], axis=-1).astype(np.float32)

    def reward(self, problems, actions):
        return problems[:, 0].astype(np.float64)

    def exact(self, k, probabilities):
        facts = {"max_at_k": 0.25, "max_at_k_half": k / 2, "max_at_k_all": [1.0], "entropy": 9.0}
        return {**facts, "regret": 1.0}


class NumberedVector(ProblemVectorEnv):
    world_class = Numbered


def dummy(*envs: gymnasium.Env) -> DummyVecEnv:
    return DummyVecEnv([lambda env=env: env for env in envs])


def problem_sets(columns: int = 4) -> DummyVecEnv:
    return dummy(*(gymnasium.make(PROBLEM_SET, **SMALL) for _ in range(columns)))


def indifferent(model: BaseAlgorithm, probabilities: list[float]) -> BaseAlgorithm:
    """Give the policy these probabilities of the actions whatever it observes."""
    policy: Any = model.policy
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.copy_(torch.tensor(probabilities).log())
    return model


def small_pkpo(**kwargs: Any) -> PKPO:
    env = make_group_env(PROBLEM_SET, 4, 8, **SMALL)
    return PKPO("MlpPolicy", env, k=4, n_groups=4, group_size=8, seed=3, **kwargs)


def logged(model: BaseAlgorithm, callback: BaseCallback, calls: int = 1) -> dict[str, Any]:
    """What a callback records at its last call, with no training in between."""
    model.set_logger(configure(None, []))
    callback.init_callback(model)
    for _ in range(calls):
        callback.on_step()
    return dict(model.logger.name_to_value)
