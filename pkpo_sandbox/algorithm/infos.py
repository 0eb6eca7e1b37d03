"""The infos of a step, one dict for each column, built when they are read."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class ColumnInfos(Sequence[dict[str, Any]]):
    """The infos of a step, SB3's dict for each column, put together when it is looked at.

    A thousand dicts that nobody reads would cost more than a step of a native vector env.

    :param infos: Gymnasium's dict of arrays (num_envs, ...), ``_key`` being the mask of ``key``
    :param ended: (num_envs,) bool, the columns whose episode ended
    :param last: their last observations, of all columns
    :param cut: (num_envs,) bool, whether an episode that ended was truncated
    :param episodes: (num_envs,) bool, the columns whose attempt ended, and (num_envs,) each the
        returns, lengths and seconds since the start that SB3's Monitor would report of them
    """

    def __init__(
        self,
        infos: dict[str, Any],
        num_envs: int,
        ended: np.ndarray | None = None,
        last: Any = None,
        cut: np.ndarray | None = None,
        episodes: tuple[np.ndarray, np.ndarray, np.ndarray, float] | None = None,
    ) -> None:
        # Gymnasium's wrappers go on using their arrays, and a reset changes them.
        self._infos, self._num_envs = _copied(infos), num_envs
        self._ended, self._last, self._cut = ended, last, cut
        self._episodes = episodes
        self._built: dict[int, dict[str, Any]] = {}
        #: whether the env itself reports the statistics of its episodes
        self.reported = not {"episode", "is_success"}.isdisjoint(infos)

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
            if self._episodes is not None and self._episodes[0][column]:
                _, returns, lengths, seconds = self._episodes
                episode = {"r": float(returns[column]), "l": int(lengths[column]), "t": seconds}
                info.setdefault("episode", episode)
            self._built[column] = info
        return self._built[column]


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
