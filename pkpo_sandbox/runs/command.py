"""A job of a sweep, done once, and the command that starts jobs and sweeps of them.

A job writes into a folder that its config names (:mod:`pkpo_sandbox.runs.naming`). A finished one
is not done again, and no two processes do the same one at once. So a sweep that was stopped, in any
way, continues when it is started again. Importing this module loads neither torch nor pandas.
"""

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pkpo_sandbox.runs.config import one_line, readable, resolved, task_overrides
from pkpo_sandbox.runs.journal import Journal
from pkpo_sandbox.runs.locks import is_main_process, taken

Work = Callable[[DictConfig, Path], dict[str, Any] | None]

#: what launchers and sweepers need, by the name after hydra/launcher= or hydra/sweeper=
EXTRAS = {
    "joblib": "joblib",
    "slurm": "submitit",
    "submitit_slurm": "submitit",
    "submitit_local": "submitit",
    "ray": "ray",
    "search": "optuna",
    "optuna": "optuna",
}


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


def missing_extra(arguments: Sequence[str]) -> str | None:
    """What to install for the launcher and sweeper on a command line, None if all is there."""
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if group not in ("hydra/launcher", "hydra/sweeper") or choice not in EXTRAS:
            continue
        plugin = f"hydra_plugins.hydra_{EXTRAS[choice]}_{group.removeprefix('hydra/')}"
        found = None
        with suppress(ModuleNotFoundError):  # if there is no plugin at all
            found = importlib.util.find_spec(plugin)
        if found is None:
            return f"{argument} needs an extra: pip install 'pkpo-sandbox[{EXTRAS[choice]}]'"
    return None


def explain(error: Exception) -> None:
    """Print an error that ended the command: in a line or two, unless it is from a job itself."""
    launcher = type(error).__module__.partition(".")[0]
    if isinstance(error, CompactHydraException):
        print(error, file=sys.stderr)
        if isinstance(error.__cause__, OmegaConfBaseException):
            print(error.__cause__, file=sys.stderr)
    elif launcher in ("joblib", "submitit", "ray"):
        print(
            f"a worker process of {launcher} died; it was killed, or memory ran out "
            f"({type(error).__name__})",
            file=sys.stderr,
        )
    else:
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_name != "perform":
            tb = tb.tb_next  # the frames before it are Hydra's
        if tb is None:
            print(one_line(error), file=sys.stderr)
        else:
            traceback.print_exception(type(error), error, tb)
    print("(HYDRA_FULL_ERROR=1 shows the complete stack trace)", file=sys.stderr)


def main(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a Hydra app; modules in the working directory can be named in its configs.

    The exit status is 1 if any job failed, 130 if the user stopped it.
    """
    sys.path.insert(0, os.getcwd())
    if message := missing_extra(sys.argv[1:]):
        sys.exit(message)
    in_full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on to here
    decorate = hydra.main(
        version_base="1.3", config_path="pkg://pkpo_sandbox.conf", config_name=config_name
    )
    caught: BaseException | None = None
    try:
        decorate(task)()
    except BrokenPipeError:  # `pkpo-train --help | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        caught = error
    stopped = isinstance(caught, KeyboardInterrupt)
    journal = Journal.latest
    if isinstance(caught, Exception) and not in_full:
        in_table = journal is not None and "failed" in journal.outcomes()
        if not in_table:
            explain(caught)
    complete = journal is None or journal.close(stopped)
    if stopped:
        if journal is None:
            print("\nstopped: start the same command again", file=sys.stderr)
        sys.exit(130)
    if caught is not None and in_full:
        raise caught
    if caught is not None or not complete:
        sys.exit(1)
