"""``monitor.csv`` for Stable-Baselines3's plots: one row per attempt of a run."""

import json
import os
import time
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from pkpo_sandbox.algorithm.infos import is_episode
from pkpo_sandbox.runs.console import say


class MonitorFile(BaseCallback):
    """Writes ``monitor.csv``: one row per attempt, in the format of SB3's ``Monitor``.

    ``stable_baselines3.common.results_plotter`` and the plots of rl-zoo3 read it. Columns: ``r`` is
    the sum of the attempt's rewards, ``l`` its number of steps, and ``t`` the seconds since the run
    started. Episodes of idle columns are left out. The rows of an iteration are written at its end.

    :param folder: of the run
    :param env_id: for the first line of the file
    """

    def __init__(self, folder: Path, env_id: str) -> None:
        super().__init__()
        self.path, self.env_id = folder / "monitor.csv", env_id
        self.t_start = time.time()  #: seconds since the epoch; saved in checkpoints
        self.size = 0  #: size in bytes after the last iteration; saved in checkpoints
        self.rows: list[str] = []  #: rows of the current iteration

    def _on_rollout_start(self) -> None:
        """Start the file. In a resumed run, drop the rows written after the checkpoint."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self.size:
            say(f"{self.path} has lost rows since the checkpoint: it is overwritten", error=True)
        if self.size == 0 or size < self.size:
            header = json.dumps({"t_start": self.t_start, "env_id": self.env_id})
            self._append(f"#{header}\nr,l,t\n", "w")
        elif size > self.size:
            os.truncate(self.path, self.size)

    def _on_step(self) -> bool:
        seconds = round(time.time() - self.t_start, 6)
        infos, playing = self.locals["infos"], self.locals["playing"]
        for column in np.flatnonzero(self.locals["dones"] & playing):
            episode = infos[column].get("episode")
            if is_episode(episode):
                self.rows.append(f"{episode['r']},{episode['l']},{seconds}\n")
        return True

    def _on_rollout_end(self) -> None:
        self._append("".join(self.rows), "a")
        self.rows.clear()

    def _on_training_end(self) -> None:
        self._on_rollout_end()  # writes the rows of an iteration that a callback stopped

    def _append(self, lines: str, mode: str) -> None:
        with self.path.open(mode, encoding="utf-8", newline="") as file:
            file.write(lines)
        self.size = self.path.stat().st_size
