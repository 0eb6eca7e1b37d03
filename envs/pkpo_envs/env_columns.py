"""Any Gymnasium envs as the columns of one vector env, in this process or in other processes."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from pkpo_envs.column import Column, class_name
from pkpo_envs.processes import CLOSE_SECONDS, ColumnProcess, end_processes


class ListedInfos(dict[str, Any]):
    """The infos of a step as the envs returned them: a list with one info per column.

    It is also a dict, because Gymnasium's wrappers of vector envs may add arrays to it.

    :ivar columns: (num_envs,) the info of each column, {} for a column without one
    """

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        super().__init__()
        self.columns = columns


class ColumnHere:
    """A :class:`Column` in this process, with the interface of a :class:`ColumnProcess`."""

    def __init__(self, maker: Callable[[], gymnasium.Env], index: int) -> None:
        self.column = Column(maker(), index)

    def send(self, request: str, *arguments: Any) -> None:
        self._answer = getattr(self.column, request)(*arguments)

    def receive(self) -> Any:
        return self._answer


class EnvColumns(VectorEnv[Any, Any, NDArray[Any]]):
    """Gymnasium envs, one per column, handled as in Stable-Baselines3's ``DummyVecEnv``.

    Infos are not batched, unlike in Gymnasium's ``SyncVectorEnv`` and ``AsyncVectorEnv``: they are
    :class:`ListedInfos`. Observations are cast to the space of the first column. Only ``reset``
    restarts columns (``AutoresetMode.DISABLED``). An error in one column is raised here. After it
    the columns still answer, and they can be reset and closed.

    ``reset`` takes a seed for each column, and these options:

    - ``"reset_mask"``: (num_envs,) bool, the columns to restart; all columns by default
    - ``"columns"``: the options of each column, a list of dicts or None

    Without ``"columns"`` all other options go to every column. Empty options are not passed on.

    :param makers: one per column; each makes a new env
    :param processes: whether each column runs in a separate process
    :raises ValueError: if two columns are the same env, or one is not a Gymnasium env
    """

    copy = True  # returned observations share no arrays

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env]], processes: bool = False):
        self.num_envs = len(makers)
        self._columns: list[Any] = []
        if processes:
            self._finalizer = Finalize(
                self, end_processes, args=(self._columns, CLOSE_SECONDS), exitpriority=10
            )
        try:
            kind = ColumnProcess if processes else ColumnHere
            for index, maker in enumerate(makers):
                self._columns.append(kind(maker, index))
            self._describe()
        except BaseException:
            self.close()
            raise

    def _describe(self) -> None:
        """Use the spaces of the first column for all columns, as SB3 does."""
        if len({id(env.unwrapped) for env in self.envs}) != len(self.envs):
            raise ValueError(
                "two columns are the same env: the maker or the registered entry point must make "
                "a new env at every call"
            )
        first = self.ask("describe")[0]
        self.single_observation_space = first["observation_space"]
        self.single_action_space = first["action_space"]
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {**first["metadata"], "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode = first["render_mode"]
        self.ask("expect", self.single_observation_space)
        self._observations: list[Any] = [None] * self.num_envs

    @property
    def envs(self) -> list[gymnasium.Env]:
        """The envs of the columns in this process."""
        return [column.column.env for column in self._columns if isinstance(column, ColumnHere)]

    @property
    def processes(self) -> list[BaseProcess]:
        """The processes of the columns, none if they are in this process."""
        return [column.process for column in self._columns if isinstance(column, ColumnProcess)]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, ListedInfos]:
        """Reset all columns, or those of ``options["reset_mask"]``."""
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        given = options.pop("columns", None) or [options] * self.num_envs
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + i for i in range(self.num_envs)]
        chosen = range(self.num_envs) if mask is None else np.flatnonzero(mask).tolist()
        for i in chosen:
            arguments: dict[str, Any] = {}
            if mask is None or seed[i] is not None:  # a restart passes no seed=None
                arguments["seed"] = seed[i]
            if given[i]:
                arguments["options"] = dict(given[i])
            self._columns[i].send("reset", arguments)
        infos: list[dict[str, Any]] = [{} for _ in self._columns]
        for i in chosen:
            self._observations[i], info = self._columns[i].receive()
            infos[i] = self._kept(info)
        return self._batch(), ListedInfos(infos)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], ListedInfos]:
        """Step all columns."""
        chosen = iterate(self.action_space, actions)
        for column, action in zip(self._columns, chosen, strict=True):
            column.send("step", action)
        answers = [column.receive() for column in self._columns]
        observations, rewards, terminated, truncated, infos = zip(*answers, strict=True)
        self._observations = list(observations)
        return (
            self._batch(),
            np.array(rewards, dtype=np.float64),
            np.array(terminated, dtype=np.bool_),
            np.array(truncated, dtype=np.bool_),
            ListedInfos([self._kept(info) for info in infos]),
        )

    def render(self) -> tuple[Any, ...]:
        """Return what each env renders."""
        return tuple(self.ask("render"))

    def ask(self, request: str, *arguments: Any, columns: Iterable[int] | None = None) -> list[Any]:
        """Call a method of :class:`~pkpo_envs.column.Column` in some columns.

        :param columns: the numbers of the columns, None for all
        :return: the answers, in this order
        """
        numbers = range(self.num_envs) if columns is None else list(columns)
        asked = [self._columns[i] for i in numbers]
        if len({id(column) for column in asked}) == len(asked):  # all at once
            for column in asked:
                column.send(request, *arguments)
            return [column.receive() for column in asked]
        answers = []
        for column in asked:
            column.send(request, *arguments)
            answers.append(column.receive())
        return answers

    def is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], columns: Iterable[int] | None = None
    ) -> list[bool]:
        """Whether a wrapper of this class is around the env of each column.

        In other processes classes are compared by name: a script's classes are different objects
        there.
        """
        if self.processes:
            found = self.ask("wrapper_names", columns=columns)
            return [class_name(wrapper_class) in names for names in found]
        return self.ask("is_wrapped", wrapper_class, columns=columns)

    def close_extras(self, **kwargs: Any) -> None:
        """Close all envs. Processes that do not end within ``CLOSE_SECONDS`` are killed.

        An error here is only a warning, so that earlier results are not lost.
        """
        errors: list[str] = []
        if self.processes:
            errors += self._finalizer() or []
        for index, env in enumerate(self.envs):
            try:
                env.close()
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                errors.append(f"column {index}: closing its env failed: {text}")
        if errors:
            self.closed = True
            warnings.warn("\n".join(errors), RuntimeWarning, stacklevel=3)

    def _batch(self) -> Any:
        """Batch the latest observations of all columns into new arrays."""
        arrays = create_empty_array(self.single_observation_space, self.num_envs, fn=np.empty)
        return concatenate(self.single_observation_space, self._observations, arrays)

    def _kept(self, info: Any) -> dict[str, Any]:
        """Copy an info, so that later steps of the env do not change it."""
        if not info:
            return {}
        if self.processes:
            return info
        try:
            return deepcopy(info)
        except Exception:  # an info may hold objects that cannot be copied
            return dict(info)
