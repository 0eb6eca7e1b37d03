"""Any vector env of Stable-Baselines3, played in groups, and what its episodes returned."""

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from pkpo_sandbox.algorithm.groups import GroupVecEnv, check_groups
from pkpo_sandbox.algorithm.roster import IDLE, Account, Roster
from pkpo_sandbox.algorithm.vec_env import SEED_BOUND, declared_problems


class GroupPlay:
    """One player's hold on a vector env that it plays in groups.

    A :class:`GroupVecEnv` deals the attempts itself, and knows when somebody else has played it.
    Any other ``VecEnv`` gets a :class:`Roster` here, and needs a reset before an iteration unless
    all its columns have just ended an episode.

    :ivar attempts: (num_envs,) int64, the attempt that each column played in the latest step, -1
        for none
    :ivar playing: (num_envs,) bool, the columns that played an attempt in the latest step
    :ivar finished: whether the latest step ended the iteration
    :param env: wrapped as it is played
    :raises ValueError: if a number is out of range, or the env cannot be played in such groups
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
                "Gymnasium vector env, or what pkpo_sandbox.make_group_env makes"
            )
        self._turn = self._turn_now()
        self.finished = False

    def seed(self, seed: int | None) -> None:
        """Seed the env, with a number that any env takes."""
        if self._dealer is None and seed is not None:
            seed %= SEED_BOUND - self._env.num_envs  # SB3 adds the column's number
        self._env.seed(seed)

    def ask(self) -> None:
        """Let the next reset start an iteration. To be followed by the reset and :meth:`accept`."""
        if self._dealer is not None:
            self._dealer.set_groups(self._n_groups, self._group_size)
        self._deal()

    def accept(self) -> None:
        """Take the env as it stands: what was done with it so far was this player's doing."""
        self._turn = self._turn_now()

    def reset(self) -> Any:
        """Start an iteration in all columns. -> observations (num_envs, ...)."""
        self.ask()
        observations = self._env.reset()
        self.accept()
        return observations

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, Any]:
        """Step the env. -> observations, rewards, dones and infos, as ``VecEnv.step`` gives them.

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
        """Whether somebody else has played the env; of envs that do not tell, False."""
        return self._turn != self._turn_now()

    def refuse_others(self) -> None:
        """Raise a ValueError if somebody else has played the env, which cut the attempts off."""
        if self.disturbed:
            raise ValueError(
                "the env was played by something else in the middle of an iteration, which cut "
                "the attempts off: a callback that evaluates needs an env of its own, from "
                "make_group_env, say"
            )

    def _turn_now(self) -> int:
        return 0 if self._dealer is None else self._dealer.turn

    def _deal(self) -> None:
        if self._dealer is None:
            self._roster = Roster(self._n_groups * self._group_size, self._env.num_envs)


class EpisodeReturns:
    """What the episodes of a vector env returned: undiscounted, and not scaled by VecNormalize.

    A :class:`GroupVecEnv` keeps the account itself. For any other ``VecEnv`` it is kept here.
    """

    def __init__(self, env: VecEnv) -> None:
        base = env.unwrapped
        self._known = base.account if isinstance(base, GroupVecEnv) else None
        self._normalizer = unwrap_vec_normalize(env)
        self._own = Account(env.num_envs)

    def after_step(self, rewards: np.ndarray, dones: np.ndarray, playing: np.ndarray) -> np.ndarray:
        """The returns (num_envs,) float64 of the columns' episodes, with the step just played.

        To be called at every step.

        :param rewards: (num_envs,) of the step, as the env gave them
        :param dones: (num_envs,) bool
        :param playing: (num_envs,) bool, the columns whose step counts; the others return 0
        """
        if self._known is not None:
            return self._known.returns
        if self._normalizer is not None:
            rewards = self._normalizer.get_original_reward()
        self._own.add(rewards, dones, playing)
        return self._own.returns


def count_problems(env: VecEnv) -> int:
    """How many problems the columns of an env share; one that does not say has one."""
    return declared_problems(env) or 1
