"""The command that starts one job or a sweep of jobs.

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

from pkpo_sandbox.runs.arguments import hint, prepared
from pkpo_sandbox.runs.config import one_line
from pkpo_sandbox.runs.console import open_standard_streams, safe_output, say
from pkpo_sandbox.runs.journal import journals

#: the extra that a launcher or sweeper needs, by its name in hydra/launcher= or hydra/sweeper=
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
    """What to install for the launcher and sweeper of a command line. None if nothing."""
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if group not in ("hydra/launcher", "hydra/sweeper") or choice not in EXTRAS:
            continue
        plugin = f"hydra_plugins.hydra_{EXTRAS[choice]}_{group.removeprefix('hydra/')}"
        found = None
        with suppress(ModuleNotFoundError):  # no Hydra plugin is installed
            found = importlib.util.find_spec(plugin)
        if found is None:
            return f"{argument} needs an extra: pip install 'pkpo-sandbox[{EXTRAS[choice]}]'"
    return None


def drop_missing_backend() -> None:
    """Use matplotlib's agg backend if ``MPLBACKEND`` names a module that is not installed here.

    A notebook passes ``MPLBACKEND=module://matplotlib_inline.backend_inline`` to the commands that
    it starts. Without that module a callback that imports matplotlib would fail.
    """
    module = os.environ.get("MPLBACKEND", "").removeprefix("module://")
    if f"module://{module}" != os.environ.get("MPLBACKEND"):
        return
    found = None
    with suppress(ImportError, ValueError):  # its package is missing, or the name is invalid
        found = importlib.util.find_spec(module)
    if found is None:
        say(f"MPLBACKEND={os.environ['MPLBACKEND']} is not installed: agg is taken", error=True)
        os.environ["MPLBACKEND"] = "agg"


def explain(error: Exception) -> None:
    """Print the error that ended the command, to stderr.

    A mistake in the command line or a config takes one or two lines, and so does a worker process
    that died. For an error in a job it prints the traceback, starting at the job.
    """
    launcher = type(error).__module__.partition(".")[0]
    if isinstance(error, CompactHydraException):
        say(error, error=True)
        if isinstance(error.__cause__, OmegaConfBaseException):
            say(error.__cause__, error=True)
        if text := hint(error):
            say(text, error=True)
    elif launcher in ("joblib", "submitit", "ray"):
        say(
            f"a worker process of {launcher} died; it was killed, or memory ran out "
            f"({type(error).__name__})",
            error=True,
        )
    else:
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_name != "perform":
            tb = tb.tb_next  # skip Hydra's frames
        if tb is None:
            say(one_line(error), error=True)
        else:
            say("".join(traceback.format_exception(type(error), error, tb)).rstrip(), error=True)
    say("(HYDRA_FULL_ERROR=1 shows the complete stack trace)", error=True)


@safe_output()
def main(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a Hydra app. Its configs may name modules in the working directory.

    The exit status is 1 if a job failed, and 130 if the user stopped the command.
    """
    open_standard_streams()
    sys.path.insert(0, os.getcwd())
    drop_missing_backend()
    if message := missing_extra(sys.argv[1:]):
        sys.exit(message)
    sys.argv[1:] = prepared(sys.argv[1:])
    in_full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise errors, so they are handled here
    journals.clear()
    error: BaseException | None = None
    try:
        decorate = hydra.main(
            version_base="1.3", config_path="pkg://pkpo_sandbox.conf", config_name=config_name
        )
        decorate(task)()
    except BaseException as caught:  # also SystemExit: the journal has to be closed
        error = caught
    complete = ended(error, in_full)
    if isinstance(error, KeyboardInterrupt):
        sys.exit(130)
    if isinstance(error, SystemExit) or (error is not None and in_full):
        raise error
    if error is not None or not complete:
        sys.exit(1)


def ended(error: BaseException | None, in_full: bool) -> bool:
    """Explain the error that ended the command, and close the journal.

    :param in_full: whether Python will print the error with all frames
    :return: whether every job was done
    """
    journal = journals[-1] if journals else None
    if isinstance(error, Exception) and not in_full and not (journal and journal.tells(error)):
        explain(error)
    if journal is None:
        if isinstance(error, KeyboardInterrupt):
            say("\nstopped: start the same command again", error=True)
        return True
    return journal.close(error)
