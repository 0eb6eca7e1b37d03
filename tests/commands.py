"""Run commands in the test's own process, which is faster than a new process for each."""

import contextlib
import io
import logging
import sys
import warnings
from typing import Any, NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from pkpo_sandbox.runs import command as sweeps
from pkpo_sandbox.runs.journal import journals


class Outcome(NamedTuple):
    code: int
    out: str
    err: str
    error: BaseException | None  #: that the command explained


@contextlib.contextmanager
def as_it_was():
    """Put back what a command of Hydra's leaves behind in its process."""
    root = logging.getLogger()
    handlers, level, path, argv = root.handlers[:], root.level, sys.path[:], sys.argv
    try:
        yield
    finally:
        root.handlers[:], sys.path[:], sys.argv = handlers, path, argv
        root.setLevel(level)
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        journals.clear()


def command(main: Any, *arguments: str) -> Outcome:
    """Call the function behind a command, in this process; what it raises is raised here."""
    out, err, explained = io.StringIO(), io.StringIO(), []
    explain = sweeps.explain
    with (
        pytest.MonkeyPatch.context() as patch,
        as_it_was(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # the user's nonsense may well deserve some
        patch.setenv("HYDRA_FULL_ERROR", "0")  # the command itself sets it
        patch.setattr(sweeps, "explain", lambda error: (explained.append(error), explain(error)))
        sys.argv = [main.__module__, *arguments]
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    if isinstance(code, str):  # as the interpreter does
        code, text = 1, code
        err.write(text)
    return Outcome(code or 0, out.getvalue(), err.getvalue(), next(iter(explained), None))
