"""Problem-major groups: who attempts what, as a Stable-Baselines3 ``VecEnv``.

An iteration of the algorithm is ``n_groups * group_size`` whole episodes, the *attempts*. Attempt s
belongs to group ``s // group_size``, and all attempts of a group face the same problem, so
``returns.view(n_groups, group_size)`` has one problem a row.
"""

import time
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from pkpo_envs.columns import EnvWrapper, make_columns, restart_obstacle
from pkpo_envs.env_columns import EnvColumns
from pkpo_sandbox.algorithm.infos import ColumnInfos, Episodes
from pkpo_sandbox.algorithm.roster import IDLE, Roster
from pkpo_sandbox.algorithm.streams import stream
from pkpo_sandbox.algorithm.vec_env import ColumnVecEnv, declared_problems


class GroupVecEnv(ColumnVecEnv):
    """Stable-Baselines3's view of a Gymnasium vector env, played in groups.

    Columns restart by themselves, as SB3 expects, on the problem of the attempt that the
    :class:`Roster` hands them. Once the last attempt has ended every column starts the next
    iteration, on problems drawn uniformly for each group; an idle column that is cut off then
    reports ``TimeLimit.truncated``. Envs without an ``n_problems`` are one problem.

    It is its own Monitor: ``info["episode"]`` is there for attempts, played to their end, and not
    for what idle columns play, so SB3's ``evaluate_policy`` counts the attempts only. (Another
    VecMonitor around it would count the episodes that are cut off, short ones rather than long.)
    Attempts of a group share a problem, and fewer episodes than an iteration has may all be of one
    group: where there are problems, evaluate by ``evaluate_groups`` or ``GroupEvalCallback``.

    A vector env that knows no other way than to restart its columns by itself, spending a step on
    it (``AutoresetMode.NEXT_STEP``, as Gymnasium's own CartPole), is played if it has one problem
    and a column for each attempt: a column plays its attempt and is then idle, until the last
    attempt has ended and all are reset. What an idle column reports meanwhile means nothing; of
    SB3's algorithms only those of groups know which columns are idle.

    :param venv: vector env with ``AutoresetMode.DISABLED``, where
        ``reset(options={"problem": (num_envs,) int array, "reset_mask": (num_envs,) bool array})``
        starts the masked columns on their problems; or with ``NEXT_STEP``, as above
    :raises ValueError: if ``venv`` restarts its columns otherwise, or has too few of them
    """

    def __init__(self, venv: VectorEnv) -> None:
        super().__init__(venv)
        #: whether the columns restart without being asked
        self.restarts_itself = venv.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED
        # Observations are kept until the update: not in an array that the env goes on using.
        self._copies = bool(getattr(self._base, "copy", False))
        self.n_problems = declared_problems(self)
        self._problems_confirmed = self.n_problems in (None, 1)
        self._rng = np.random.default_rng()
        self.resets = 0  #: how often all columns were started anew from outside
        self._started = time.monotonic()
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self.set_groups(1, self.num_envs)

    def set_groups(self, n_groups: int, group_size: int) -> None:
        """Set how many groups of how many attempts make an iteration; takes effect at reset.

        :raises ValueError: if the columns restart by themselves and are fewer than the attempts
        """
        obstacle = restart_obstacle(self.venv, n_groups * group_size, self.n_problems)
        if obstacle is not None:
            raise ValueError(
                f"{obstacle}: build it with autoreset_mode=AutoresetMode.DISABLED (make_group_env "
                "does, with vectorization='sync' or 'async')"
            )
        self.n_groups, self.group_size = n_groups, group_size

    def reset(self) -> VecEnvObs:
        """Start a new iteration in every column. -> observations (num_envs, ...)."""
        self.resets += 1
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(stream(self._seeds[0], "problems"))
        self._deal()
        self._returns[:] = self._lengths[:] = 0
        everywhere = np.ones(self.num_envs, dtype=bool)
        return self._kept(self._begin(self._problems_of(everywhere)))

    def step_async(self, actions: np.ndarray) -> None:
        if isinstance(self.action_space, spaces.MultiBinary):  # SB3's policies give floats
            actions = actions.astype(self.action_space.dtype)
        self._actions = actions

    def step_wait(self) -> tuple[VecEnvObs, np.ndarray, np.ndarray, Any]:
        observations, rewards, terminated, truncated, gym_infos = self.venv.step(self._actions)
        observations, ended = self._kept(observations), terminated | truncated
        self._returns += rewards
        self._lengths += 1
        attempts = ended & (self._roster.attempts != IDLE)
        self._roster.end(ended)
        if not self._problems_confirmed:
            self._confirm_problems(gym_infos)
        if not ended.any():
            return observations, rewards, ended, ColumnInfos(gym_infos, self.num_envs)
        finished = self._roster.finished
        if finished:
            ended = np.ones(self.num_envs, dtype=bool)
            self._deal()
        seconds = time.monotonic() - self._started
        episodes = Episodes(attempts, self._returns.copy(), self._lengths.copy(), seconds)
        infos = ColumnInfos(gym_infos, self.num_envs, ended, observations, ~terminated, episodes)
        self._returns[ended] = self._lengths[ended] = 0
        if finished or not self.restarts_itself:
            problems = None if self.restarts_itself else self._problems_of(ended)
            observations = self._kept(self._restart(ended, problems))
        return observations, rewards, ended, infos

    def _kept(self, observations: Any) -> Any:
        """The observations, in arrays of their own."""
        if self._copies:
            return observations
        if isinstance(observations, dict):
            return {key: np.array(values) for key, values in observations.items()}
        return np.array(observations)

    def _deal(self) -> None:
        """Draw each group's problem and hand out the first attempts of an iteration."""
        self._roster = Roster(self.n_groups * self.group_size, self.num_envs)
        self._column_problems = np.zeros(self.num_envs, dtype=np.int64)
        if self.n_problems is not None:
            self._group_problems = self._rng.integers(self.n_problems, size=self.n_groups)

    def _problems_of(self, columns: np.ndarray) -> np.ndarray | None:
        """The problems (num_envs,) that ``columns`` start at; an idle one replays its problem."""
        if self.n_problems is None:
            return None
        playing = columns & (self._roster.attempts != IDLE)
        groups = self._roster.attempts[playing] // self.group_size
        self._column_problems[playing] = self._group_problems[groups]
        return self._column_problems

    def _confirm_problems(self, infos: dict[str, Any]) -> None:
        """Raise a ValueError unless each column names the problem that it was told to start."""
        told = ColumnInfos(infos, self.num_envs)
        for column, problem in enumerate(self._column_problems):
            if "problem" not in told[column]:
                raise ValueError(
                    f"the env has n_problems={self.n_problems}, but its info does not name the "
                    'problem: put its number into info["problem"] at every step (if n_problems '
                    "means something else, give the attribute another name)"
                )
            if told[column]["problem"] != problem:
                raise ValueError(
                    f"column {column} was told to start problem {problem}, by reset(options="
                    f"{{'problem': {problem}}}), but its info names problem "
                    f"{told[column]['problem']}: the attempts of a group must share a problem"
                )
        self._problems_confirmed = True


def group_env(env: gymnasium.Env | VectorEnv) -> GroupVecEnv:
    """Wrap one Gymnasium env (a single column) or a vector env as a :class:`GroupVecEnv`."""
    if isinstance(env, VectorEnv):
        return GroupVecEnv(env)
    return GroupVecEnv(EnvColumns([lambda: env]))


def make_group_env(
    env_id: str,
    n_groups: int = 16,
    group_size: int = 16,
    *,
    vectorization: Literal["native", "sync", "async"] | None = None,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
    seeded_problems: int | None = None,
    wrappers: Sequence[EnvWrapper] = (),
    **env_kwargs: Any,
) -> GroupVecEnv:
    """Make the columns that play an iteration of any Gymnasium env.

    :param env_id: Gymnasium id, with the module to import before a colon:
        ``"pkpo_envs:pkpo/Bandit-v0"``
    :param n_groups: groups in an iteration, at least 1
    :param group_size: attempts at a group's problem, at least 2
    :param vectorization: "native" (the env's own vector entry point steps all columns at once),
        "sync" (one after another), "async" (each in a process of its own; close the env in the
        end, and start scripts from ``if __name__ == "__main__":``), or None: native where groups
        can be played with it, else sync
    :param num_envs: columns; None for one an attempt, with "async" not more than there are cores.
        With fewer, attempts are played in waves
    :param max_episode_steps: time limit of an episode, None for the one that the env came with
    :param seeded_problems: for an env without problems: so many starts, each shared by a group
        (:class:`pkpo_envs.SeededProblems`); None for one problem, all attempts being independent
    :param wrappers: wrapper classes, or other functions from an env to an env. They are put around
        the env of each column, the first one innermost. "native" takes none. Give a wrapper's
        arguments by ``functools.partial``
    :param env_kwargs: arguments of the env's constructor. One that has a name from above goes into
        its registration: ``gymnasium.register(..., kwargs={"num_envs": 3})``
    :raises ValueError: if an argument is out of range, or the env cannot be vectorised so
    """
    check_groups(n_groups, group_size)
    if max_episode_steps is not None:
        env_kwargs["max_episode_steps"] = max_episode_steps
    venv = make_columns(
        env_id,
        n_groups * group_size,
        env_kwargs,
        vectorization=vectorization,
        num_envs=num_envs,
        seeded_problems=seeded_problems,
        wrappers=wrappers,
    )
    group = GroupVecEnv(venv)
    group.set_groups(n_groups, group_size)
    return group


def check_groups(n_groups: int, group_size: int) -> None:
    """Raise a ValueError unless there is at least one group of at least two attempts."""
    for name, value, bound in (("n_groups", n_groups, 1), ("group_size", group_size, 2)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < bound:
            raise ValueError(f"{name} must be an integer of at least {bound}, got {value!r}")
