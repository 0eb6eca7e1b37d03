"""Fixtures for the tests of PKPO on SB3's own vector envs: envs, a small model, a log."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.envs import (
    FakeImageEnv,
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
    SimpleMultiObsEnv,
)
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_sandbox.algorithm.pkpo import PKPO

LENGTH = 5  # steps of an episode of the envs below


class PaysForZero(gymnasium.Wrapper):
    """Rewards that depend on the action, for envs that pay nothing."""

    def step(self, action):
        observation, _, *rest = self.env.step(action)
        return observation, float(action == 0), *rest


class Box64(IdentityEnvBox):
    """As Gymnasium's MuJoCo envs, whose observations are float64."""

    def __init__(self, eps: float, ep_length: int) -> None:
        IdentityEnv.__init__(self, space=spaces.Box(-1, 1, (1,), np.float64), ep_length=ep_length)
        self.eps = eps


#: an env of each kind of space, with the policy for it
ENVS: dict[str, tuple[str, Any]] = {
    "discrete": ("MlpPolicy", partial(IdentityEnv, 3, ep_length=LENGTH)),
    "box": ("MlpPolicy", partial(IdentityEnvBox, eps=0.5, ep_length=LENGTH)),
    "box of float64": ("MlpPolicy", partial(Box64, eps=0.5, ep_length=LENGTH)),
    "multi-discrete": ("MlpPolicy", partial(IdentityEnvMultiDiscrete, 2, ep_length=LENGTH)),
    "multi-binary": ("MlpPolicy", partial(IdentityEnvMultiBinary, 2, ep_length=LENGTH)),
    "dict": (
        "MultiInputPolicy",
        lambda: PaysForZero(TimeLimit(SimpleMultiObsEnv(random_start=False), LENGTH)),
    ),
    "image": (
        "CnnPolicy",
        lambda: PaysForZero(TimeLimit(FakeImageEnv(screen_height=36, screen_width=36), LENGTH)),
    ),
}


def vec_env(kind: str, n_envs: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(ENVS[kind][1]())] * n_envs)


def small(env: Any, policy: Any = "MlpPolicy", **kwargs: Any) -> PKPO:
    """One group of four attempts, and a network of eight units."""
    settings = {"k": 2, "group_size": 4, "n_groups": 1, "seed": 0, "device": "cpu"}
    if policy == "MlpPolicy":
        settings["policy_kwargs"] = {"net_arch": [8]}
    return PKPO(policy, env, **{**settings, **kwargs})


def parameters(policy: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in policy.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


class Rows(KVWriter):
    """Keeps the rows that are logged, each with its timestep."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.steps: list[int] = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))
        self.steps.append(step)

    def close(self):
        pass

    def column(self, key: str) -> list[Any]:
        return [row[key] for row in self.rows if key in row]


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def logger(rows: Rows) -> Logger:
    return Logger(None, [rows])
