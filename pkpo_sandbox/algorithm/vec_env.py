"""The calls of Stable-Baselines3's ``VecEnv``, implemented on a Gymnasium vector env."""

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from pkpo_envs import ProblemVectorEnv
from pkpo_envs.column import Column
from pkpo_envs.columns import adopted
from pkpo_envs.conventions import problem_count
from pkpo_envs.env_columns import EnvColumns, ListedInfos
from pkpo_sandbox.algorithm.infos import column_info, copied
from pkpo_sandbox.algorithm.streams import stream

#: seeds of columns are below this, because some envs store them as signed 32-bit integers
SEED_BOUND = 2**31

#: a native vector env's names for the spaces of one column
SINGLE_SPACES = {
    "observation_space": "single_observation_space",
    "action_space": "single_action_space",
}

#: attributes of a native vector env that do not come from its world
OF_THE_VECTOR_ENV = ("metadata", "render_mode", "spec")


class ColumnVecEnv(VecEnv):
    """The part of SB3's ``VecEnv`` that concerns single columns: resets, attributes, wrappers.

    Results are the same as from ``DummyVecEnv``, with two exceptions. ``set_attr`` sets an existing
    attribute where it is, even inside wrappers, and a new one on the outermost wrapper. The columns
    of a native vector env are one env: they share attributes, options and calls. A call for single
    columns raises a ValueError.

    :param venv: a Gymnasium vector env
    """

    def __init__(self, venv: VectorEnv) -> None:
        self.venv = adopted(venv)
        self._base = self.venv.unwrapped
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)

    # Resets

    @property
    def reset_infos(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The info of the latest reset of each column."""
        return [column_info(infos, column) for column, infos in enumerate(self._reset_infos)]

    @reset_infos.setter
    def reset_infos(self, infos: list[dict[str, Any]]) -> None:  # type: ignore[override]
        self._reset_infos = np.empty(len(infos), dtype=object)
        self._reset_infos.fill(ListedInfos(list(infos)))

    def _begin(self, problems: np.ndarray | None) -> Any:
        """Reset all columns, with the seed and the options set before.

        :param problems: (num_envs,) for the columns to start; None if the env has no problems
        :return: observations (num_envs, ...)
        :raises ValueError: if columns of a shared env have different options
        """
        seed, options = self._seeds[0], self._options
        if len(options) != self.num_envs:
            raise ValueError(
                f"set_options() got {len(options)} dicts for {self.num_envs} columns: give one for "
                "each, or one dict for all"
            )
        seeds = None if seed is None else column_seeds(self._base, seed)
        given = self._options_of_columns(options, problems)
        self._reset_seeds()
        self._reset_options()
        return self._reset(np.ones(self.num_envs, dtype=bool), seeds, given)

    def _restart(self, columns: np.ndarray, problems: np.ndarray | None) -> Any:
        """Reset ``columns`` (num_envs,) bool, without seed. -> observations (num_envs, ...)"""
        given = self._options_of_columns(None, problems)
        if isinstance(self._base, EnvColumns) or not columns.all():
            given["reset_mask"] = columns
        return self._reset(columns, None, given)

    def _options_of_columns(
        self, options: Sequence[dict[str, Any]] | None, problems: np.ndarray | None
    ) -> dict[str, Any]:
        """The options of a reset, in the form that the vector env expects.

        :param options: of each column, or None
        """
        if isinstance(self._base, EnvColumns):
            told = [dict(given) for given in options or [{}] * self.num_envs]
            for column, problem in enumerate([] if problems is None else problems.tolist()):
                told[column]["problem"] = problem
            return {"columns": told}
        if options is not None and any(other != options[0] for other in options):
            raise ValueError(
                f"the columns of {self.venv} share the options of a reset: give set_options() one "
                f"dict for all, not {options}, or make the env with vectorization='sync' or 'async'"
            )
        shared = {} if options is None else dict(options[0])
        return shared if problems is None else {**shared, "problem": problems.copy()}

    def _reset(self, columns: np.ndarray, seeds: Any, options: dict[str, Any]) -> Any:
        observations, infos = self.venv.reset(seed=seeds, options=options or None)
        self._reset_infos[columns] = copied(infos)
        return observations

    # Attributes and methods

    def close(self) -> None:
        self.venv.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        if self.render_mode != "rgb_array":
            warnings.warn(
                f"The render mode is {self.render_mode}, but this method assumes it is `rgb_array` "
                "to obtain images.",
                stacklevel=2,
            )
            return [None] * self.num_envs
        frames: list[Any] = list(self.venv.render() or ())
        # A ProblemVectorEnv draws all its columns into one picture.
        return frames[:1] if isinstance(self._base, ProblemVectorEnv) else frames

    def has_attr(self, attr_name: str) -> bool:
        if self._shared:
            return any(hasattr(source, attr_name) for source in self._sources(attr_name))
        return all(self._ask("has_attr", attr_name))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        if not self._shared:
            return self._ask("get_attr", attr_name, indices=indices)
        return [self._shared_attr(attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if not self._shared:
            self._ask("set_attr", attr_name, value, indices=indices)
            return
        self._refuse_some(attr_name, indices)
        sources = self._sources(attr_name)
        for source in [source for source in sources if hasattr(source, attr_name)][:1] or sources:
            setattr(source, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs
    ) -> list[Any]:
        if not self._shared:
            return self._ask("call", method_name, method_args, method_kwargs, indices=indices)
        count = len(list(self._get_indices(indices)))
        if method_name in ("get_wrapper_attr", "has_wrapper_attr"):
            (name,) = (*method_args, *method_kwargs.values())
            asked = self.has_attr if method_name == "has_wrapper_attr" else self._shared_attr
            return [asked(name)] * count
        if method_name in ("reset", "step", "close"):
            raise ValueError(
                f"the columns of {self.venv} are one env, which cannot {method_name} one of them: "
                f"call {method_name}() of the vector env"
            )
        self._refuse_some(method_name, indices)
        if method_name == "set_wrapper_attr":
            self.set_attr(*method_args, **method_kwargs)
            return [True] * count
        method = self._base.render if method_name == "render" else self._shared_attr(method_name)
        return [method(*method_args, **method_kwargs)] * count

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        columns = list(self._get_indices(indices))
        if wrapper_class is Monitor:  # or needs none: see GroupVecEnv
            return [True] * len(columns)
        return self._are_wrapped(wrapper_class, columns)

    def have_monitors(self) -> list[bool]:
        """Whether each column has a Monitor of SB3 among its wrappers."""
        if isinstance(self._base, AsyncVectorEnv):
            return self._ask("has_attr", "get_episode_rewards")
        return self._are_wrapped(Monitor, list(range(self.num_envs)))

    def _are_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], columns: list[int]
    ) -> list[bool]:
        venv = self.venv
        while isinstance(venv, VectorWrapper):
            if isinstance(venv, wrapper_class):
                return [True] * len(columns)
            venv = venv.env
        if isinstance(self._base, EnvColumns):
            return self._base.is_wrapped(wrapper_class, columns)
        if isinstance(self._base, SyncVectorEnv):
            return self._ask("is_wrapped", wrapper_class, indices=columns)
        if isinstance(self._base, AsyncVectorEnv):
            return [_is_wrapped(self._base, column, wrapper_class) for column in columns]
        return [False] * len(columns)

    @property
    def _shared(self) -> bool:
        """Whether all columns are one env. If not, each column has its own."""
        return not isinstance(self._base, EnvColumns | SyncVectorEnv | AsyncVectorEnv)

    def _ask(self, request: str, *arguments: Any, indices: VecEnvIndices = None) -> list[Any]:
        """Call a method of :class:`~pkpo_envs.column.Column` in columns with separate envs."""
        columns = self._get_indices(indices)
        if isinstance(self._base, EnvColumns):
            return self._base.ask(request, *arguments, columns=columns)
        if isinstance(self._base, SyncVectorEnv):
            envs = [self._base.envs[column] for column in columns]
            return [getattr(Column(env), request)(*arguments) for env in envs]
        assert isinstance(self._base, AsyncVectorEnv)
        return _ask_gymnasium(self._base, request, arguments, list(columns))

    def _sources(self, name: str) -> list[Any]:
        """The objects that may have an attribute of a shared env: its world, and the env itself."""
        if isinstance(self._base, ProblemVectorEnv) and name not in OF_THE_VECTOR_ENV:
            return [self._base.world, self._base]
        return [self._base]

    def _shared_attr(self, name: str) -> Any:
        if name in SINGLE_SPACES:
            return getattr(self._base, SINGLE_SPACES[name])
        for source in self._sources(name):
            if hasattr(source, name):
                return getattr(source, name)
        raise AttributeError(f"{self.venv} has no attribute {name!r}")

    def _refuse_some(self, name: str, indices: VecEnvIndices) -> None:
        """Raise a ValueError unless ``indices`` are all columns."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"the columns of {self.venv} share {name!r}: use indices=None, or make the env "
                "with vectorization='sync' or 'async'"
            )


def column_seeds(venv: VectorEnv, seed: int) -> int | list[int]:
    """The seeds of the columns, below ``SEED_BOUND``: one per column if each has its own env.

    They are not consecutive, or runs with consecutive seeds would share columns' seeds. A
    ``ProblemVectorEnv`` gets the seed itself.
    """
    if isinstance(venv, EnvColumns | SyncVectorEnv | AsyncVectorEnv):
        return (stream(seed, "columns").generate_state(venv.num_envs) % SEED_BOUND).tolist()
    return seed if isinstance(venv, ProblemVectorEnv) else seed % SEED_BOUND


def declared_problems(env: VecEnv) -> int | None:
    """The number of problems of each column; None if the env does not declare it.

    :raises ValueError: if it is below 1, or differs between columns
    """
    try:
        values = env.get_attr("n_problems") if env.has_attr("n_problems") else []
    except Exception:  # an unrelated property of this name may raise
        return None
    counts = {count for count in map(problem_count, values) if count is not None}
    if len(counts) > 1:
        raise ValueError(f"all columns must hold the same problems, got n_problems {counts}")
    return counts.pop() if counts else None


def _ask_gymnasium(
    venv: AsyncVectorEnv, request: str, arguments: tuple[Any, ...], columns: list[int]
) -> list[Any]:
    """Do the same as ``EnvColumns.ask``, for some columns of Gymnasium's ``AsyncVectorEnv``."""
    if request == "get_attr" and not all(_ask_gymnasium(venv, "has_attr", arguments, columns)):
        raise AttributeError(f"{venv} has no attribute {arguments[0]!r}")
    if request == "call":
        name, positional, keywords = arguments
    else:
        name, positional, keywords = request.replace("_", "_wrapper_"), arguments, {}
    pipes = [venv.parent_pipes[column] for column in columns]
    for pipe in pipes:
        pipe.send(("_call", (name, positional, keywords)))
    answers = [pipe.recv() for pipe in pipes]
    for column, (_, succeeded) in zip(columns, answers, strict=True):
        if not succeeded:
            *_, error, trace = venv.error_queue.get()
            raise RuntimeError(f"{name} failed in column {column}: {error}\n{trace}")
    return [answer for answer, _ in answers]


def _is_wrapped(venv: AsyncVectorEnv, column: int, wrapper_class: type[gymnasium.Wrapper]) -> bool:
    """Whether a column of an ``AsyncVectorEnv`` has a wrapper. Tests a new env of the same kind."""
    env = venv.env_fns[column]()
    try:
        return Column(env).is_wrapped(wrapper_class)
    finally:
        env.close()
