"""Read all runs in a folder, finished or not. Unreadable files are reported, not fatal."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pkpo_sandbox.figures.report.settings import flatten
from pkpo_sandbox.runs.config import NOT_IN_HASH
from pkpo_sandbox.runs.folder import FAILURE, SUMMARY, find, read_failure, read_summary
from pkpo_sandbox.runs.tables import read_progress
from pkpo_sandbox.runs.values import number

CONFIG = "config.yaml"
UPDATE = "train/n_updates"  # the horizontal axis of the curves
UNREADABLE = (ValueError, OSError, RecursionError, YAMLError, OmegaConfBaseException)


@dataclass
class Run:
    """One run. ``flat`` is its config with dotted keys; a nested object is one value in it."""

    folder: Path
    state: str  #: finished, failed or unfinished
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)
    progress: pd.DataFrame | None = None  #: the log of a finished training

    @cached_property
    def flat(self) -> dict[str, Any]:
        return flatten(self.config)

    @cached_property
    def setting(self) -> dict[str, Any]:
        """The settings that decide the results, except the seed."""
        return {key: v for key, v in self.flat.items() if key not in {"seed", *NOT_IN_HASH}}

    @cached_property
    def logged(self) -> set[str]:
        """The metrics of the log that have a value in at least one row."""
        if self.progress is None:
            return set()
        return {str(name) for name in self.progress.columns[self.progress.notna().any()]}

    def last(self, metric: str) -> float | None:
        """The last logged value of a metric."""
        if self.progress is None or metric not in self.progress:
            return None
        logged = self.progress[metric].dropna()
        return None if logged.empty else float(logged.iloc[-1])


def read(folder: Path) -> tuple[list[Run], list[str]]:
    """The runs below a folder, sorted by their paths, and a list of what could not be read.

    Folders behind symbolic links are read too.
    """
    found = {path.parent for path in find(folder, SUMMARY, FAILURE, CONFIG)}
    runs, problems = [], []
    for place in sorted(found):
        try:
            run = read_run(place)
        except UNREADABLE as error:
            problems.append(one_line(place, error))
            continue
        runs.append(run)
        if run.state == "finished" and "measurements" not in run.summary:
            try:
                run.progress = numbers(read_progress(place))
            except UNREADABLE as error:
                problems.append(one_line(place / "progress.csv", error))
    return runs, problems


def one_line(path: Path, error: BaseException) -> str:
    message = " ".join(str(error).split())
    return message if str(path) in message else f"{path}: {type(error).__name__}: {message}"


def read_run(folder: Path) -> Run:
    """One run without its log.

    :raises ValueError: if its summary is damaged. Other files may raise others of ``UNREADABLE``
    """
    summary = read_summary(folder)
    if summary is not None:
        check(folder / SUMMARY, summary)
        return Run(folder, "finished", summary["config"], summary)
    config: Any = {}
    if (folder / CONFIG).exists():
        config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
        if not isinstance(config, dict):
            raise ValueError(f"{folder / CONFIG} is damaged: it is not a mapping")
    if (folder / FAILURE).exists():
        failure = read_failure(folder)
        overrides = failure.get("overrides", [])
        if not isinstance(overrides, list) or "error" not in failure:
            raise ValueError(f"{folder / FAILURE} is damaged: it holds no error or no overrides")
        config = config or failure.get("config", {})
        if not isinstance(config, dict):
            raise ValueError(f"{folder / FAILURE} is damaged: config is not a mapping")
        return Run(folder, "failed", config, failure={**failure, "overrides": overrides})
    return Run(folder, "unfinished", config)


def check(path: Path, summary: Any) -> None:
    """Check the structure of a summary.

    :raises ValueError: if it is damaged; the message names the entry
    """
    if not isinstance(summary, dict) or not isinstance(summary.get("config"), dict):
        raise ValueError(f"{path} is damaged: it holds no config")
    exact = summary.get("exact", {})
    for name, value in (("versions", summary.get("versions", {})), ("exact", exact)):
        if not isinstance(value, dict):
            raise ValueError(f"{path} is damaged: {name} is not a mapping")
    if not all(str(k).isdecimal() and isinstance(facts, dict) for k, facts in exact.items()):
        raise ValueError(f"{path} is damaged: exact does not map each k to its values")
    seconds = summary.get("wall_time_seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError(f"{path} is damaged: wall_time_seconds={seconds!r} is not a number")


def numbers(progress: pd.DataFrame) -> pd.DataFrame:
    """A log as numbers. Anything else than a finite number, such as logged text, becomes empty.

    :raises ValueError: if it has no rows, no updates, or text instead of an update
    """
    if progress.empty or UPDATE not in progress:
        raise ValueError(f"there is no row of {UPDATE} in it")
    pd.to_numeric(progress[UPDATE])
    for name in progress.select_dtypes(exclude="number"):
        progress[name] = progress[name].map(number).astype(float)
    return progress.where(np.isfinite(progress))
