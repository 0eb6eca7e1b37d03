"""The log of many lanes: for each lane, the rows that its run would write to ``progress.csv``."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pkpo_sandbox.transforms import max_at_k, powers_of_two


class LaneLog:
    """The log of each lane, like that of ``GroupPolicyGradient`` but without times.

    :param window: number of the last iterations that the rollout statistics cover
    :ivar rows: the rows of each lane
    """

    def __init__(self, n_lanes: int, group_size: int, window: int) -> None:
        self.rows: list[list[dict[str, Any]]] = [[] for _ in range(n_lanes)]
        self._records: list[dict[str, Any]] = [{} for _ in range(n_lanes)]
        self._group_size, self._window_size = group_size, window
        self._window: list[NDArray[np.float64]] = []

    def add(self, returns: NDArray[np.float64]) -> None:
        """Note the undiscounted returns (lanes, attempts) of an iteration."""
        self._window = [*self._window, returns][-self._window_size :]

    def record(self, lane: int, key: str, value: Any) -> None:
        """Put a value into a lane's next row."""
        self._records[lane][key] = value

    def write(
        self,
        failed: Container[int],
        statistics: Mapping[str, Sequence[float]],
        coefficients: Sequence[Mapping[str, Any]],
        *,
        iteration: int,
        num_timesteps: int,
        n_updates: int,
        ep_len_mean: float,
    ) -> None:
        """Write a row for every lane that has not failed.

        :param statistics: of the update, one value per lane
        :param coefficients: of the objective of each lane
        """
        window = torch.from_numpy(np.stack(self._window, axis=1))
        returns = window.view(len(self.rows), -1, self._group_size)
        means = {"ep_rew_mean": returns.mean((1, 2)).tolist()}
        for k in powers_of_two(self._group_size):
            means[f"max_at_{k}"] = max_at_k(returns, k).mean(1).tolist()
        for lane, row in enumerate(self._records):
            row["time/iterations"] = iteration
            row["time/total_timesteps"] = num_timesteps
            row["rollout/ep_len_mean"] = float(ep_len_mean)
            row |= {f"rollout/{name}": values[lane] for name, values in means.items()}
            row["train/n_updates"] = n_updates
            row |= {f"train/{name}": values[lane] for name, values in statistics.items()}
            for name, value in coefficients[lane].items():
                if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                    row[f"train/{name}"] = value
            if lane not in failed:
                self.rows[lane].append(row)
        self._records = [{} for _ in self.rows]

    def keep(self, lanes: Sequence[int]) -> None:
        """Continue with these lanes only."""
        self.rows = [self.rows[lane] for lane in lanes]
        self._records = [self._records[lane] for lane in lanes]
        self._window = [returns[list(lanes)] for returns in self._window]
