"""Play any vector env of Stable-Baselines3 in groups, and read the returns of its episodes."""

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from pkpo_sandbox.algorithm.groups import GroupVecEnv, check_groups
from pkpo_sandbox.algorithm.roster import IDLE, Account, Roster
from pkpo_sandbox.algorithm.vec_env import SEED_BOUND, declared_problems


class GroupPlay:
    """Lets one player play a vector env in groups.

    A :class:`GroupVecEnv` deals the attempts itself, and detects that somebody else has played it.
    For any other ``VecEnv``, this class keeps a :class:`Roster`. Such an env needs a reset before
    an iteration, unless all its columns have just ended an episode.

    :ivar attempts: (num_envs,) int64, the attempt that each column played in the latest step; -1
        for none
    :ivar playing: (num_envs,) bool, the columns that played an attempt in the latest step
    :ivar finished: whether the latest step ended the iteration
    :param env: with all its wrappers
    :raises ValueError: if a number is out of range, or the env cannot play these groups
    """

    def __init__(self, env: VecEnv, n_groups: int, group_size: int) -> None:
        check_groups(n_groups, group_size)
        self._env, self._n_groups, self._group_size = env, n_groups, group_size
        base = env.unwrapped
        self._dealer = base if isinstance(base, GroupVecEnv) else None
        if self._dealer is not None:
            self._dealer.check_groups(n_groups, group_size)
        elif (n_problems := count_problems(env)) > 1:
            raise ValueError(
                f"{env} starts each column on one of {n_problems} problems by itself, but the "
                "attempts of a group share a problem: give the env's id, the env itself, a "
                "Gymnasium vector env, or the result of pkpo_sandbox.make_group_env"
            )
        self._turn = self._turn_now()
        self.finished = False

    def seed(self, seed: int | None) -> None:
        """Seed the env, with a number that every env accepts."""
        if self._dealer is None and seed is not None:
            seed %= SEED_BOUND - self._env.num_envs  # SB3 adds the column's number
        self._env.seed(seed)

    def ask(self) -> None:
        """Make the next reset start an iteration. Then call the reset and :meth:`accept`."""
        if self._dealer is not None:
            self._dealer.set_groups(self._n_groups, self._group_size)
        self._deal()

    def accept(self) -> None:
        """Accept the state of the env: all resets and steps until now were this player's."""
        self._turn = self._turn_now()

    def reset(self) -> Any:
        """Start an iteration in all columns. -> observations (num_envs, ...)."""
        self.ask()
        observations = self._env.reset()
        self.accept()
        return observations

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, Any]:
        """Step the env. -> observations, rewards, dones and infos, as from ``VecEnv.step``.

        :raises ValueError: if somebody else has played the env, or an attempt does not end
        """
        self.refuse_others()
        observations, rewards, dones, infos = self._env.step(actions)
        self.accept()
        if self._dealer is not None:
            self.attempts, self.finished = self._dealer.attempts, self._dealer.finished
        else:
            self.attempts = self._roster.attempts.copy()
            self._roster.end(dones)
            self.finished = self._roster.finished
            if self.finished:
                self._deal()
        self.playing = self.attempts != IDLE
        return observations, rewards, dones, infos

    @property
    def disturbed(self) -> bool:
        """Whether somebody else has played the env. False if the env cannot detect it."""
        return self._turn != self._turn_now()

    def refuse_others(self) -> None:
        """Raise a ValueError if somebody else has played the env and so cut off the attempts."""
        if self.disturbed:
            raise ValueError(
                "something else has played the env in the middle of an iteration and cut off the "
                "attempts: a callback that evaluates needs an env of its own, for example from "
                "make_group_env"
            )

    def _turn_now(self) -> int:
        return 0 if self._dealer is None else self._dealer.turn

    def _deal(self) -> None:
        if self._dealer is None:
            self._roster = Roster(self._n_groups * self._group_size, self._env.num_envs)


class EpisodeReturns:
    """The returns of a vector env's episodes: undiscounted, without VecNormalize's scaling.

    A :class:`GroupVecEnv` adds the rewards up itself. For any other ``VecEnv``, this class does.
    """

    def __init__(self, env: VecEnv) -> None:
        base = env.unwrapped
        self._known = base.account if isinstance(base, GroupVecEnv) else None
        self._normalizer = unwrap_vec_normalize(env)
        self._own = Account(env.num_envs)

    def after_step(self, rewards: np.ndarray, dones: np.ndarray, playing: np.ndarray) -> np.ndarray:
        """Add the step just played. -> returns (num_envs,) float64 of the columns' episodes.

        Call it after every step.

        :param rewards: (num_envs,) of the step, as returned by the env
        :param dones: (num_envs,) bool
        :param playing: (num_envs,) bool, the columns whose step counts; the return of others is 0
        """
        if self._known is not None:
            return self._known.returns
        if self._normalizer is not None:
            rewards = self._normalizer.get_original_reward()
        self._own.add(rewards, dones, playing)
        return self._own.returns


def count_problems(env: VecEnv) -> int:
    """The number of problems that the columns of an env share; 1 if it declares none."""
    return declared_problems(env) or 1
