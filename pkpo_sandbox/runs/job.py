"""A job, done once: found, or else taken, built, learned and written.

A job writes into a folder of its own (:mod:`pkpo_sandbox.runs.naming`). A finished one is not done
again, and no two processes do the same one at once. So a sweep that was stopped, in any way,
continues when it is started again. Importing this module loads neither torch nor pandas.
"""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs.config import checked, one_line, readable, resolved, task_overrides
from pkpo_sandbox.runs.console import safe_output
from pkpo_sandbox.runs.fingerprint import versions
from pkpo_sandbox.runs.folder import (
    read_summary,
    tidy,
    write_atomically,
    write_failure,
    write_summary,
)
from pkpo_sandbox.runs.locks import is_main_process, taken
from pkpo_sandbox.runs.naming import run_id
from pkpo_sandbox.runs.values import plain, restored

Learn = Callable[[], dict[str, Any] | None]


@dataclass(frozen=True)
class App:
    """A command whose jobs are done once.

    :param command: its name
    :param schema: the dataclass of its config
    :param build: makes all that a job needs, from the settings and the folder. What it returns
        does the job and returns what the summary says of it; None in the processes of a
        distributed job that are not the main one
    :param packages: whose versions the summary tells
    """

    command: str
    schema: type
    build: Callable[[Any, Path], Learn]
    packages: tuple[str, ...]


@safe_output()
def perform(config: DictConfig, app: App, folder: Path | None = None) -> float | None:
    """Do one job in its folder, unless that is finished, and declare it finished.

    :param folder: None for the one that Hydra has made, or ``runs/<name>/<run>`` without Hydra
    :return: the entry of the summary that ``score`` names, which a search maximises
    """
    if folder is None:
        folder = folder_of(config)
    # 1. Find it finished.
    summary = finished(folder)
    if summary is not None:
        print(f"finished before: {folder}", flush=True)
    else:
        # 2. Take it: while this process waits for it, another may finish it.
        with taken(folder):
            summary = finished(folder) or attempt(config, app, folder)
    with readable(ValueError):
        return None if summary is None else score(summary, config)


def folder_of(config: DictConfig) -> Path:
    """Where a job writes to."""
    if HydraConfig.initialized():
        return Path(HydraConfig.get().runtime.output_dir)
    folder = Path("runs", config.name, run_id(_root_=config))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of the run in a folder, None if there is none."""
    with readable(ValueError):
        return read_summary(folder)


def attempt(config: DictConfig, app: App, folder: Path) -> dict[str, Any] | None:
    """Do a job that is not finished; its summary, or None in all but its main process."""
    started = time.perf_counter()
    try:
        # 3. Build all that it needs. What goes wrong here is in what the user wrote.
        with readable(Exception), failing_alone():
            learn = app.build(checked(config, app.schema, app.command), folder)
        if is_main_process():
            write_atomically(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        # 4. Learn.
        with readable(ValueError, ImportError, OSError, MemoryError), failing_alone():
            results = learn()
        if results is None:
            return None
        # 5. Write the summary, last.
        seconds = time.perf_counter() - started
        summary = {
            "config": resolved(config),
            "overrides": task_overrides(),
            "seed": config.seed,
            **results,
            "versions": versions(*app.packages),
            "wall_time_seconds": round(seconds, 3),
        }
        write_summary(folder, summary)
    except Exception as error:
        if is_main_process():
            leave_failure(config, folder, error)
        raise
    tidy(folder)
    print(f"finished in {seconds:.1f} s: {folder}", flush=True)
    return summary


@contextmanager
def failing_alone() -> Iterator[None]:
    """A job that calls ``sys.exit`` fails, and does not end the sweep that it is a job of."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"the job called sys.exit({error.code!r})") from error


def leave_failure(config: DictConfig, folder: Path, error: Exception) -> None:
    """Write why a job failed into its folder."""
    failure: dict[str, Any] = {"error": one_line(error), "overrides": task_overrides()}
    with suppress(Exception):  # the config itself may be what is wrong
        failure["config"] = resolved(config)
    write_failure(folder, failure, traceback.format_exc())


def score(summary: dict[str, Any], config: DictConfig) -> float | None:
    """The entry of a summary that ``config.score`` names: "exact.8.max_at_k". None without a name.

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
    found = restored(plain(found))  # inf for "inf"
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"score={name} is not a number: name one, such as final.time/iterations")
    if math.isnan(found):
        raise ValueError(f"score={name} is nan in this run: it cannot be compared with others")
    return float(found)
