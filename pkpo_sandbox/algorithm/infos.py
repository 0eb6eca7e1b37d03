"""The infos of a step: one dict per column, built when it is read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pkpo_envs.env_columns import ListedInfos


class Episodes(NamedTuple):
    """The report that SB3's Monitor would make about the episodes that ended at a step."""

    ended: np.ndarray  #: (num_envs,) bool, the columns whose episode ended and that have no Monitor
    returns: np.ndarray  #: (num_envs,) sums of rewards
    lengths: np.ndarray  #: (num_envs,) int, steps
    seconds: float  #: since the vector env was made


class ColumnInfos(Sequence[dict[str, Any]]):
    """The infos of a step: SB3's dict for each column, built when it is read.

    To build a thousand dicts would take longer than a step of a native vector env, and usually
    nobody reads them.

    :param infos: Gymnasium's dict of arrays (num_envs, ...), where ``_key`` is the mask of ``key``,
        or the :class:`~pkpo_envs.env_columns.ListedInfos` of the columns
    :param ended: (num_envs,) bool, the columns whose episode ended
    :param last: the last observations of the episodes, with a row for every column
    :param cut: (num_envs,) bool, whether an episode that ended was truncated
    :param episodes: the report about the episodes that ended
    """

    def __init__(
        self,
        infos: dict[str, Any],
        num_envs: int,
        ended: np.ndarray | None = None,
        last: Any = None,
        cut: np.ndarray | None = None,
        episodes: Episodes | None = None,
    ) -> None:
        self._infos, self._num_envs = copied(infos), num_envs
        self._ended, self._last, self._cut = ended, last, cut
        self._episodes = episodes
        self._built: dict[int, dict[str, Any]] = {}

    @property
    def reported(self) -> bool:
        """Whether the env itself may report the statistics of episodes."""
        keys = {"episode", "is_success"}
        listed = self._infos.columns if isinstance(self._infos, ListedInfos) else []
        return any(not keys.isdisjoint(infos) for infos in (self._infos, *listed))

    def __len__(self) -> int:
        return self._num_envs

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[column] for column in range(*index.indices(self._num_envs))]
        column = range(self._num_envs)[index]
        if column not in self._built:
            self._built[column] = self._build(column)
        return self._built[column]

    def _build(self, column: int) -> dict[str, Any]:
        info = column_info(self._infos, column)
        if self._ended is None or self._cut is None or not self._ended[column]:
            return info
        info["terminal_observation"] = _row(self._last, column)
        info["TimeLimit.truncated"] = bool(self._cut[column])
        # SB3 reads "episode" at the end of an episode. Its Monitor overwrites an env's own entry.
        if self._episodes is not None and self._episodes.ended[column]:
            info["episode"] = {
                "r": float(self._episodes.returns[column]),
                "l": int(self._episodes.lengths[column]),
                "t": self._episodes.seconds,
            }
        elif not is_episode(info.get("episode")):
            info.pop("episode", None)
        return info


def is_episode(entry: Any) -> bool:
    """Whether an ``info["episode"]`` is from a Monitor, with the return "r" and the length "l"."""
    return isinstance(entry, dict) and {"r", "l"} <= entry.keys()


def monitored(info: dict[str, Any]) -> dict[str, Any]:
    """The entries of an info that SB3's buffers read: a Monitor's "episode", a number "is_success".

    Other values are left out, because an env may use the same keys for something else.
    """
    told = {"episode": info["episode"]} if is_episode(info.get("episode")) else {}
    success = info.get("is_success")
    if isinstance(success, bool | int | float | np.bool_ | np.number):
        told["is_success"] = success
    return told


def copied(infos: dict[str, Any]) -> dict[str, Any]:
    """Copy the arrays of the infos, because wrappers and resets may overwrite them."""
    arrays = {
        key: copied(values) if isinstance(values, dict) else np.copy(values)
        for key, values in infos.items()
    }
    if not isinstance(infos, ListedInfos):
        return arrays
    listed = ListedInfos(infos.columns)
    listed.update(arrays)
    return listed


def column_info(infos: dict[str, Any], column: int) -> dict[str, Any]:
    """The info of one column: its own dict, and its entries of the arrays if ``_key`` is true."""
    info = dict(infos.columns[column]) if isinstance(infos, ListedInfos) else {}
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        if f"_{key}" not in infos or infos[f"_{key}"][column]:
            info[key] = column_info(values, column) if isinstance(values, dict) else values[column]
    return info


def _row(observations: Any, column: int) -> Any:
    if isinstance(observations, dict):
        return {key: values[column] for key, values in observations.items()}
    return observations[column]
