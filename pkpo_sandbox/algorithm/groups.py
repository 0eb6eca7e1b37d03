"""A Stable-Baselines3 ``VecEnv`` that plays attempts in groups.

An iteration of the algorithm is ``n_groups * group_size`` whole episodes, the *attempts*. Attempt s
belongs to group ``s // group_size``. All attempts of a group play the same problem, so each row of
``returns.view(n_groups, group_size)`` is one problem.
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
from pkpo_sandbox.algorithm.roster import IDLE, Account, Roster
from pkpo_sandbox.algorithm.streams import stream
from pkpo_sandbox.algorithm.vec_env import ColumnVecEnv, declared_problems


class GroupVecEnv(ColumnVecEnv):
    """A Gymnasium vector env as an SB3 ``VecEnv``, with free play or play in groups.

    **Free play** is the default after a reset, and works like any other ``VecEnv`` of SB3: each
    column plays episode after episode, and no column is idle or cut off. If the env has problems,
    each episode draws one uniformly. So ``evaluate_policy``, ``EvalCallback`` and all algorithms of
    SB3 can use this env.

    **Play in groups** starts with a call of :meth:`set_groups` before the reset, as
    ``GroupPolicyGradient`` and ``evaluate_groups`` do. The :class:`Roster` deals the attempts of an
    iteration, and each group draws its problem uniformly. A column for which no attempt is left is
    idle. When the last attempt has ended, every column starts the next iteration. An idle column
    that is cut off by this reports ``TimeLimit.truncated``.

    No Monitor is needed: the last info of an episode has ``info["episode"]``. There are two
    exceptions: columns with their own Monitor keep that Monitor's report, and idle columns report
    nothing.

    Some vector envs restart their columns automatically and use one step for it
    (``AutoresetMode.NEXT_STEP``, as in Gymnasium's own CartPole). The action of that step is
    ignored, and the step belongs to no episode. Such an env needs one problem and, in groups, one
    column per attempt: a column plays its attempt and is then idle.

    :ivar n_groups: groups in an iteration, for play in groups
    :ivar group_size: attempts in a group
    :ivar n_problems: None if the env does not declare problems
    :ivar attempts: (num_envs,) int64, the attempt that each column played in the latest step; -1
        for none, and in free play
    :ivar finished: whether the latest step ended an iteration
    :ivar account: returns and lengths of the episodes that the columns played in the latest step
    :ivar turn: increases with every reset and step. A player stores the number after its own step.
        If the number has changed later, somebody else has played
    :param venv: vector env with ``AutoresetMode.DISABLED``, where
        ``reset(options={"problem": (num_envs,) int array, "reset_mask": (num_envs,) bool array})``
        starts the masked columns on their problems; or with ``NEXT_STEP``, as above
    :raises ValueError: if ``venv`` has another autoreset mode
    """

    def __init__(self, venv: VectorEnv) -> None:
        super().__init__(venv)
        #: whether the vector env restarts its columns automatically
        self.restarts_itself = venv.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED
        # Observations are kept until the update. They must not be arrays that the env overwrites.
        self._copies = bool(getattr(self._base, "copy", False))
        self.n_problems = declared_problems(self)
        self._problems_confirmed = self.n_problems in (None, 1)
        self._refuse_obstacle(1)
        self._unmonitored = ~np.array(self.have_monitors())
        self.n_groups, self.group_size = 1, self.num_envs
        self._asked = False
        self._rng = np.random.default_rng()
        self._column_problems = np.zeros(self.num_envs, dtype=np.int64)
        self._roster: Roster | None = None
        self._restarting = np.zeros(self.num_envs, dtype=bool)
        self.attempts = np.full(self.num_envs, IDLE)
        self.finished = False
        self.account = Account(self.num_envs)
        self.turn = 0
        self._started = time.monotonic()

    def set_groups(self, n_groups: int, group_size: int) -> None:
        """Play in groups of this number and size, from the next reset on.

        Call it again before every later reset: a reset without this call starts free play.

        :raises ValueError: see :meth:`check_groups`
        """
        self.check_groups(n_groups, group_size)
        self.n_groups, self.group_size, self._asked = n_groups, group_size, True

    def check_groups(self, n_groups: int, group_size: int) -> None:
        """Raise a ValueError if this env cannot play groups of this number and size."""
        check_groups(n_groups, group_size)
        self._refuse_obstacle(n_groups * group_size)

    def _refuse_obstacle(self, n_attempts: int) -> None:
        obstacle = restart_obstacle(self.venv, n_attempts, self.n_problems)
        if obstacle is not None:
            raise ValueError(
                f"{obstacle}: build it with autoreset_mode=AutoresetMode.DISABLED (make_group_env "
                "does, with vectorization='sync' or 'async')"
            )

    def reset(self) -> VecEnvObs:
        """Start an episode in every column. -> observations (num_envs, ...)."""
        self.turn += 1
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(stream(self._seeds[0], "problems"))
        self._roster, self.finished = None, False
        self.attempts = np.full(self.num_envs, IDLE)
        if self._asked:
            self._deal()
        self._asked = False
        self.account.clear()
        self._restarting = np.zeros(self.num_envs, dtype=bool)
        everywhere = np.ones(self.num_envs, dtype=bool)
        return self._kept(self._begin(self._problems_of(everywhere)))

    def step_async(self, actions: np.ndarray) -> None:
        if isinstance(self.action_space, spaces.MultiBinary):  # SB3's policies give floats
            actions = actions.astype(self.action_space.dtype)
        self._actions = actions

    def step_wait(self) -> tuple[VecEnvObs, np.ndarray, np.ndarray, Any]:
        observations, rewards, terminated, truncated, gym_infos = self.venv.step(self._actions)
        self.turn += 1
        observations, ended = self._kept(observations), terminated | truncated
        playing = self._follow(rewards, ended)
        if not self._problems_confirmed:
            self._confirm_problems(gym_infos)
        if not ended.any():
            return observations, rewards, ended, ColumnInfos(gym_infos, self.num_envs)
        over = np.ones(self.num_envs, dtype=bool) if self.finished else ended
        episodes = Episodes(
            ended & playing & self._unmonitored,
            self.account.returns.copy(),
            self.account.lengths.copy(),
            time.monotonic() - self._started,
        )
        infos = ColumnInfos(gym_infos, self.num_envs, over, observations, ~terminated, episodes)
        if self.finished:
            self._deal()
            self.account.clear()
        if self.finished or not self.restarts_itself:
            problems = None if self.restarts_itself else self._problems_of(over)
            observations = self._kept(self._restart(over, problems))
        return observations, rewards, over, infos

    def _follow(self, rewards: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Note what the columns played. -> (num_envs,) bool, the columns whose step counts."""
        if self._roster is None:
            playing = ~self._restarting
            if self.restarts_itself:
                self._restarting = ended
        else:
            self.attempts = self._roster.attempts.copy()
            playing = self.attempts != IDLE
            self._roster.end(ended)
            self.finished = self._roster.finished
        self.account.add(rewards, ended, playing)
        return playing

    def _kept(self, observations: Any) -> Any:
        """Return the observations in arrays that the env does not overwrite."""
        if self._copies:
            return observations
        if isinstance(observations, dict):
            return {key: np.array(values) for key, values in observations.items()}
        return np.array(observations)

    def _deal(self) -> None:
        """Deal the first attempts of an iteration, and draw the problem of each group."""
        self._roster = Roster(self.n_groups * self.group_size, self.num_envs)
        if self.n_problems is not None:
            self._group_problems = self._rng.integers(self.n_problems, size=self.n_groups)

    def _problems_of(self, columns: np.ndarray) -> np.ndarray | None:
        """The problems (num_envs,) for ``columns`` to start. An idle column repeats its own."""
        if self.n_problems is None:
            return None
        if self._roster is None:
            drawn = self._rng.integers(self.n_problems, size=np.count_nonzero(columns))
            self._column_problems[columns] = drawn
        else:
            playing = columns & (self._roster.attempts != IDLE)
            groups = self._roster.attempts[playing] // self.group_size
            self._column_problems[playing] = self._group_problems[groups]
        return self._column_problems

    def _confirm_problems(self, infos: dict[str, Any]) -> None:
        """Raise a ValueError unless each column reports the problem that it had to start."""
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
    """Make the columns for any Gymnasium env, to play it in groups.

    :param env_id: Gymnasium id, with the module to import in front of a colon:
        ``"pkpo_envs:pkpo/Bandit-v0"``
    :param n_groups: groups in an iteration, at least 1
    :param group_size: attempts at a group's problem, at least 2
    :param vectorization: "native" (the env's own vector entry point steps all columns at once),
        "sync" (one after another), "async" (one process per column; close the env at the end,
        and start scripts from ``if __name__ == "__main__":``), or None: "native" if it can play
        groups, else "sync"
    :param num_envs: columns; None for one per attempt (with "async", at most one per core). With
        fewer columns than attempts, a column plays several attempts, one after another
    :param max_episode_steps: time limit of an episode; None keeps the env's own limit
    :param seeded_problems: for an env without problems: the number of start states. The attempts of
        a group share one (:class:`pkpo_envs.SeededProblems`). None means one problem, and all
        attempts are independent
    :param wrappers: wrapper classes, or other functions from an env to an env. They wrap the env of
        each column; the first one is innermost. "native" accepts none. Use ``functools.partial`` to
        pass arguments to a wrapper
    :param env_kwargs: arguments of the env's constructor. If one has the name of a parameter above,
        put it into the registration: ``gymnasium.register(..., kwargs={"num_envs": 3})``
    :raises ValueError: if an argument is out of range, or this vectorization does not fit the env
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
    made = GroupVecEnv(venv)
    made.check_groups(n_groups, group_size)
    made.n_groups, made.group_size = n_groups, group_size
    return made


def check_groups(n_groups: int, group_size: int) -> None:
    """Raise a ValueError unless there is at least one group of at least two attempts."""
    for name, value, bound in (("n_groups", n_groups, 1), ("group_size", group_size, 2)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < bound:
            raise ValueError(f"{name} must be an integer of at least {bound}, got {value!r}")
