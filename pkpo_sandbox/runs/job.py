"""A job of a sweep, done once.

A job writes into a folder that its config names (:mod:`pkpo_sandbox.runs.naming`). A finished one
is not done again, and no two processes do the same one at once. So a sweep that was stopped, in any
way, continues when it is started again. Importing this module loads neither torch nor pandas.
"""

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pkpo_sandbox.runs.config import one_line, readable, resolved, task_overrides
from pkpo_sandbox.runs.locks import is_main_process, taken

Work = Callable[[DictConfig, Path], dict[str, Any] | None]


def perform(config: DictConfig, work: Work) -> float | None:
    """Do one job in its folder, unless that is finished, and declare it finished.

    :param work: does the job and returns what its summary says beside config, seed and wall time;
        None in the processes of a distributed job that are not the main one
    :return: the entry of the summary that ``score`` names, which a search maximises
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    summary = finished(folder)
    if summary is not None:
        print(f"finished before: {folder}", flush=True)
    else:
        with taken(folder):  # and while this process waited for it, another may have finished it
            summary = finished(folder) or attempt(config, work, folder)
    with readable(ValueError):
        return None if summary is None else score(summary, config)


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of the run in a folder, None if there is none."""
    from pkpo_sandbox.runs.folder import read_summary

    with readable(ValueError):
        return read_summary(folder)


def attempt(config: DictConfig, work: Work, folder: Path) -> dict[str, Any] | None:
    """Do a job that is not finished; its summary, or None in all but its main process."""
    from pkpo_sandbox.runs.folder import tidy, write_failure, write_summary

    started = time.perf_counter()
    try:
        results = work(config, folder)
        seconds = time.perf_counter() - started
        if results is None:
            return None
        summary = {"config": resolved(config), "seed": config.seed, **results}
        write_summary(folder, {**summary, "wall_time_seconds": round(seconds, 3)})
    except Exception as error:
        if is_main_process():
            with suppress(OSError):  # a full disk, say, which is what the error itself tells
                failure = {"error": one_line(error), "overrides": task_overrides()}
                failure["config"] = resolved(config)
                write_failure(folder, failure, traceback.format_exc())
        raise
    tidy(folder)
    print(f"finished in {seconds:.1f} s: {folder}", flush=True)
    return summary


def score(summary: dict[str, Any], config: DictConfig) -> float | None:
    """The entry of a summary that ``config.score`` names: "exact.8.max_at_k".

    :raises ValueError: if the summary has no such number
    """
    name = config.get("score")
    if name is None:
        return None
    found: Any = summary
    for key in str(name).split("."):
        if not isinstance(found, dict) or key not in found:
            known = ", ".join(sorted(found)) if isinstance(found, dict) else "none"
            raise ValueError(f"score={name}: the summary has no {key!r} there, but {known}")
        found = found[key]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"score={name} is not a number: name one, such as final.time/iterations")
    return float(found)
