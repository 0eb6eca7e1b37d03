"""Small envs and short runs that the tests of the algorithm share."""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import KVWriter, Logger

from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.rollouts import Rollout
from tests.small import BANDIT

DISABLED = AutoresetMode.DISABLED
SGD = {"optimizer_class": torch.optim.SGD}


class Digits(ProblemEnv):
    """Problem p takes p + 1 steps, and each pays the action; observes (problem, step)."""

    n_problems = 3

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 9, (2,), np.float32)
        self.action_space = spaces.Discrete(3)

    def start(self, problems):
        return np.stack([problems, np.zeros_like(problems)], axis=1)

    def advance(self, state, actions):
        state = state + np.array([0, 1])
        return state, actions.astype(float), state[:, 1] > state[:, 0]


class DigitsVector(ProblemVectorEnv):
    world_class = Digits


class Tape(gymnasium.Env):
    """One step an episode, which pays the next of the given rewards."""

    def __init__(self, *rewards: float, info: dict | None = None) -> None:
        self.rewards, self.info = list(rewards), info or {}
        self.observation_space, self.action_space = spaces.Discrete(1), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, self.rewards.pop(0), True, False, self.info


class Rows(KVWriter):
    """Keeps the rows that are logged."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


def bandit(env=BANDIT, **kwargs) -> PKPO:
    """Two groups of four: 8 timesteps an iteration."""
    settings = {"k": 2, "group_size": 4, "n_groups": 2, "seed": 0, "device": "cpu"}
    return PKPO("MlpPolicy", env, **{**settings, **kwargs})


def logged(model: GroupPolicyGradient, total_timesteps: int, **kwargs) -> list[dict]:
    """Train, and give a row of the log for each iteration."""
    rows = Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(total_timesteps, log_interval=1, **kwargs)
    return rows.rows


def collect(model: GroupPolicyGradient) -> Rollout:
    """One iteration, as ``learn`` plays it."""
    if model.ep_info_buffer is None:
        model._setup_learn(0)
    callback = CallbackList([])
    callback.init_callback(model)
    rollout = model.collect_rollouts(callback)
    assert rollout is not None
    return rollout


def parameters(model: GroupPolicyGradient) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.policy.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


class Seen(BaseCallback):
    """Notes the problem and the action of every attempt."""

    def _on_training_start(self) -> None:
        self.problems, self.actions = [], []

    def _on_step(self) -> bool:
        self.problems += [int(info["problem"]) for info in self.locals["infos"]]
        self.actions += self.locals["actions"].tolist()
        return True


def pkpo_on(env, policy="MlpPolicy", **policy_kwargs) -> PKPO:
    return PKPO(
        policy,
        env,
        k=2,
        group_size=4,
        n_groups=2,
        seed=0,
        device="cpu",
        policy_kwargs=policy_kwargs,
    )
