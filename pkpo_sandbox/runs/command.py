"""The command that starts jobs and sweeps of them.

Importing this module loads neither torch nor pandas.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pkpo_sandbox.runs.config import one_line
from pkpo_sandbox.runs.journal import Journal

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
