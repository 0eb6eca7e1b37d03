"""Problem-major groups: who attempts what, as a Stable-Baselines3 ``VecEnv``.

An iteration of the algorithm is ``n_groups * group_size`` whole episodes, the *attempts*. Attempt s
belongs to group ``s // group_size``, and all attempts of a group face the same problem, so
``returns.view(n_groups, group_size)`` has one problem a row.
"""

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs

IDLE = -1


class Roster:
    """Which attempt each column of a vectorised env is playing.

    Attempts are handed out in order, to columns as they come free; when none is left a column is
    idle. Every attempt is played to its end before the roster is finished, so long episodes are
    as likely as they are under the policy: no attempt is dropped for being slow.

    :param n_attempts: attempts of one iteration, n_groups * group_size
    :param n_columns: number of parallel envs, any positive number
    """

    def __init__(self, n_attempts: int, n_columns: int) -> None:
        columns = np.arange(n_columns)
        #: (n_columns,) the attempt each column plays, IDLE for none
        self.attempts = np.where(columns < n_attempts, columns, IDLE)
        self._waiting = range(min(n_attempts, n_columns), n_attempts)
        self._unfinished = n_attempts

    @property
    def finished(self) -> bool:
        """Whether every attempt has ended."""
        return self._unfinished == 0

    def end(self, ended: np.ndarray) -> None:
        """Note which columns' episodes ended, and hand those columns the next attempts.

        :param ended: (n_columns,) bool
        """
        columns = np.flatnonzero(ended & (self.attempts != IDLE))
        self._unfinished -= len(columns)
        self.attempts[columns] = IDLE
        fresh = self._waiting[: len(columns)]
        self.attempts[columns[: len(fresh)]] = fresh
        self._waiting = self._waiting[len(fresh) :]


class ColumnInfos(Sequence[dict[str, Any]]):
    """The infos of a step, SB3's dict for each column, put together when it is looked at.

    A thousand dicts that nobody reads would cost more than a step of a native vector env.

    :param infos: Gymnasium's dict of arrays (num_envs, ...), ``_key`` being the mask of ``key``
    :param ended: (num_envs,) bool, the columns whose episode ended
    :param last: their last observations, of all columns
    :param cut: (num_envs,) bool, whether an episode that ended was truncated
    """

    def __init__(
        self,
        infos: dict[str, Any],
        num_envs: int,
        ended: np.ndarray | None = None,
        last: Any = None,
        cut: np.ndarray | None = None,
    ) -> None:
        # Gymnasium's wrappers go on using their arrays, and a reset changes them.
        self._infos, self._num_envs = _copied(infos), num_envs
        self._ended, self._last, self._cut = ended, last, cut
        self._built: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return self._num_envs

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[column] for column in range(*index.indices(self._num_envs))]
        column = range(self._num_envs)[index]
        if column not in self._built:
            info = _column_info(self._infos, column)
            if self._ended is not None and self._cut is not None and self._ended[column]:
                info["terminal_observation"] = _row(self._last, column)
                info["TimeLimit.truncated"] = bool(self._cut[column])
            self._built[column] = info
        return self._built[column]


class GroupVecEnv(VecEnv):
    """Stable-Baselines3's view of a Gymnasium vector env, played in groups.

    Columns restart by themselves, as SB3 expects, on the problem of the attempt that the
    :class:`Roster` hands them. Once the last attempt has ended every column starts the next
    iteration, on problems drawn uniformly for each group; an idle column that is cut off then
    reports ``TimeLimit.truncated``. Envs without an ``n_problems`` are one problem.

    :param venv: vector env with ``AutoresetMode.DISABLED``, where
        ``reset(options={"problem": (num_envs,) int array, "reset_mask": (num_envs,) bool array})``
        starts the masked columns on their problems
    :raises ValueError: if ``venv`` restarts its columns by itself
    """

    def __init__(self, venv: VectorEnv) -> None:
        mode = venv.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"{venv} has autoreset_mode {mode}, but groups decide which problem a column "
                "starts: build it with autoreset_mode=AutoresetMode.DISABLED"
            )
        self.venv = venv
        self._base = venv.unwrapped
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)
        counts = set(self.get_attr("n_problems")) if self.has_attr("n_problems") else set()
        if len(counts) > 1:
            raise ValueError(f"all columns must hold the same problems, got n_problems {counts}")
        self.n_problems: int | None = counts.pop() if counts else None
        self._rng = np.random.default_rng()
        self.set_groups(1, self.num_envs)

    def set_groups(self, n_groups: int, group_size: int) -> None:
        """Set how many groups of how many attempts make an iteration; takes effect at reset."""
        self.n_groups, self.group_size = n_groups, group_size

    def reset(self) -> VecEnvObs:
        """Start a new iteration in every column. -> observations (num_envs, ...)."""
        seed = self._seeds[0]
        if seed is None:
            seeds = None
        else:
            # A stream apart from the env's own, which Gymnasium seeds with the bare number.
            self._rng = np.random.default_rng([seed, 1])
            seeds = _column_seeds(self._base, seed)
        self._reset_seeds()
        self._deal()
        return self._start(np.ones(self.num_envs, dtype=bool), seeds)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[VecEnvObs, np.ndarray, np.ndarray, Any]:
        observations, rewards, terminated, truncated, gym_infos = self.venv.step(self._actions)
        ended = terminated | truncated
        if not ended.any():
            return observations, rewards, ended, ColumnInfos(gym_infos, self.num_envs)
        self._roster.end(ended)
        if self._roster.finished:
            ended = np.ones(self.num_envs, dtype=bool)
            self._deal()
        infos = ColumnInfos(gym_infos, self.num_envs, ended, observations, ~terminated)
        return self._start(ended), rewards, ended, infos

    def _deal(self) -> None:
        """Draw each group's problem and hand out the first attempts of an iteration."""
        self._roster = Roster(self.n_groups * self.group_size, self.num_envs)
        self._column_problems = np.zeros(self.num_envs, dtype=np.int64)
        if self.n_problems is not None:
            self._group_problems = self._rng.integers(self.n_problems, size=self.n_groups)

    def _start(self, columns: np.ndarray, seed: Any = None) -> VecEnvObs:
        """Start the attempts of ``columns`` (num_envs,) bool; an idle one replays its problem."""
        options: dict[str, Any] = {"reset_mask": columns}
        if self.n_problems is not None:
            playing = columns & (self._roster.attempts != IDLE)
            groups = self._roster.attempts[playing] // self.group_size
            self._column_problems[playing] = self._group_problems[groups]
            options["problem"] = self._column_problems.copy()
        observations, _ = self.venv.reset(seed=seed, options=options)
        return observations

    def close(self) -> None:
        self.venv.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        return list(self.venv.render() or ())  # type: ignore[arg-type]

    def has_attr(self, attr_name: str) -> bool:
        if isinstance(self._base, SyncVectorEnv | AsyncVectorEnv):
            return all(self._base.call("has_wrapper_attr", attr_name))
        return hasattr(self._base, attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        if isinstance(self._base, SyncVectorEnv | AsyncVectorEnv):
            values = list(self._base.get_attr(attr_name))
        else:
            values = [getattr(self._base, attr_name)] * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if not isinstance(self._base, SyncVectorEnv | AsyncVectorEnv):
            self._refuse_some(attr_name, indices)
            setattr(self._base, attr_name, value)
            return
        values = list(self._base.get_attr(attr_name))
        for i in self._get_indices(indices):
            values[i] = value
        self._base.set_attr(attr_name, values)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs
    ) -> list[Any]:
        if isinstance(self._base, SyncVectorEnv):
            envs = [self._base.envs[i] for i in self._get_indices(indices)]
            methods = [env.get_wrapper_attr(method_name) for env in envs]
            return [method(*method_args, **method_kwargs) for method in methods]
        self._refuse_some(method_name, indices)
        if isinstance(self._base, AsyncVectorEnv):
            return list(self._base.call(method_name, *method_args, **method_kwargs))
        return [getattr(self._base, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def _refuse_some(self, name: str, indices: VecEnvIndices) -> None:
        """Raise a ValueError for some columns of a vector env that reaches all or none."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"the columns of {self.venv} share {name!r}: use indices=None")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        from stable_baselines3.common.env_util import is_wrapped

        envs: Sequence[gymnasium.Env | None] = getattr(self._base, "envs", [None] * self.num_envs)
        wrapped = [env is not None and is_wrapped(env, wrapper_class) for env in envs]
        return [wrapped[i] for i in self._get_indices(indices)]


class ColumnProblem(gymnasium.Wrapper):
    """Picks one column's entry from ``reset(options={"problem": array})``.

    ``SyncVectorEnv`` hands the same options to every env; this gives each its own problem.
    """

    def __init__(self, env: gymnasium.Env, column: int) -> None:
        super().__init__(env)
        self.column = column

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if options and "problem" in options:
            options = {**options, "problem": int(np.asarray(options["problem"])[self.column])}
        return self.env.reset(seed=seed, options=options)


def group_env(env: gymnasium.Env | VectorEnv) -> GroupVecEnv:
    """Wrap one Gymnasium env (a single column) or a vector env as a :class:`GroupVecEnv`."""
    if isinstance(env, VectorEnv):
        return GroupVecEnv(env)
    column = ColumnProblem(env, 0)
    return GroupVecEnv(SyncVectorEnv([lambda: column], autoreset_mode=AutoresetMode.DISABLED))


def make_group_env(
    env_id: str, n_groups: int = 16, group_size: int = 16, **env_kwargs: Any
) -> GroupVecEnv:
    """Make one column for each attempt of an iteration.

    An env whose vector entry point takes an ``autoreset_mode`` steps all columns at once; any
    other is stepped column by column.

    :param env_id: Gymnasium id, with the module to import before a colon:
        ``"pkpo_envs:pkpo/Bandit-v0"``
    :param n_groups: groups in an iteration, at least 1
    :param group_size: attempts at a group's problem, at least 2
    :param env_kwargs: arguments of the env's constructor
    :raises ValueError: if ``n_groups`` or ``group_size`` is out of range
    """
    check_groups(n_groups, group_size)
    columns = n_groups * group_size
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    entry_point = gymnasium.spec(name).vector_entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    mode = AutoresetMode.DISABLED
    if creator is not None and "autoreset_mode" in signature(creator).parameters:
        venv = gymnasium.make_vec(env_id, columns, autoreset_mode=mode, **env_kwargs)
    else:
        venv = SyncVectorEnv(
            [
                lambda column=column: ColumnProblem(gymnasium.make(env_id, **env_kwargs), column)
                for column in range(columns)
            ],
            autoreset_mode=mode,
        )
    group = GroupVecEnv(venv)
    group.set_groups(n_groups, group_size)
    return group


def check_groups(n_groups: int, group_size: int) -> None:
    """Raise a ValueError unless there is at least one group of at least two attempts."""
    for name, value, bound in (("n_groups", n_groups, 1), ("group_size", group_size, 2)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < bound:
            raise ValueError(f"{name} must be an integer of at least {bound}, got {value!r}")


def _column_seeds(venv: VectorEnv, seed: int) -> int | list[int]:
    """Give every env of a list its own seed; consecutive numbers would repeat in the next run."""
    if isinstance(venv, SyncVectorEnv | AsyncVectorEnv):
        return np.random.SeedSequence(seed).generate_state(venv.num_envs).tolist()
    return seed


def _copied(infos: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _copied(values) if isinstance(values, dict) else np.copy(values)
        for key, values in infos.items()
    }


def _column_info(infos: dict[str, Any], column: int) -> dict[str, Any]:
    """One column's entries of Gymnasium's dict of arrays, where the mask ``_key`` has it."""
    info: dict[str, Any] = {}
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        if f"_{key}" not in infos or infos[f"_{key}"][column]:
            info[key] = _column_info(values, column) if isinstance(values, dict) else values[column]
    return info


def _row(observations: Any, column: int) -> Any:
    if isinstance(observations, dict):
        return {key: values[column] for key, values in observations.items()}
    return observations[column]
