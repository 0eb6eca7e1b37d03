"""Envs of known episodes that the tests of groups share, and a model that plays them."""

from functools import partial

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pkpo_envs.columns import ColumnProblem
from pkpo_envs.problem_set import ProblemSetEnv
from pkpo_sandbox.algorithm.groups import GroupVecEnv
from pkpo_sandbox.algorithm.pkpo import PKPO
from tests.algorithm.short_runs import DISABLED


class Counter(gymnasium.Env):
    """Episodes of a set length; observes the step, pays ``pay`` a step, ends as told."""

    def __init__(self, length: int, pay: float = 1.0, truncates: bool = False) -> None:
        self.length, self.pay, self.truncates = length, pay, truncates
        self.observation_space = spaces.Box(0, 100, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        self.t = 0
        return np.array([0], np.float32), {}

    def step(self, action):
        self.t += 1
        ended = self.t == self.length
        observation = np.array([self.t], np.float32)
        return observation, self.pay, ended and not self.truncates, ended and self.truncates, {}

    def double(self, number: int) -> int:
        self.doubled = 2 * number
        return self.doubled


class WithProblems(Counter):
    """A counter that claims to have problems."""

    def __init__(self, n_problems: int) -> None:
        super().__init__(length=1)
        self.n_problems = n_problems


def counters(*lengths: int, **kwargs) -> SyncVectorEnv:
    makers = [partial(Counter, length, **kwargs) for length in lengths]
    return SyncVectorEnv(makers, autoreset_mode=DISABLED)


def listed_problem_sets(n_columns: int) -> SyncVectorEnv:
    return SyncVectorEnv(
        [
            lambda column=column: ColumnProblem(ProblemSetEnv(), column)
            for column in range(n_columns)
        ],
        autoreset_mode=DISABLED,
    )


def model_on(env, n_groups: int, group_size: int, **kwargs) -> PKPO:
    return PKPO(
        "MlpPolicy",
        env,
        k=1,
        n_groups=n_groups,
        group_size=group_size,
        device="cpu",
        seed=0,
        **kwargs,
    )


def next_step(*lengths: int, **kwargs) -> GroupVecEnv:
    makers = [partial(Counter, length, **kwargs) for length in lengths]
    return GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP))
