"""Shared setup of the commands that draw."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pkpo_sandbox.runs.console import open_standard_streams, safe_output


@contextmanager
def drawing_command() -> Iterator[None]:
    """Decorate the main function of a command that draws. The function imports matplotlib itself.

    The command opens no window. It replaces ``MPLBACKEND``, because a notebook's shell may set a
    backend that is not installed, and then the import of matplotlib would fail. A path that the
    terminal cannot show does not stop the command.
    """
    open_standard_streams()
    os.environ["MPLBACKEND"] = "agg"
    with safe_output():
        yield
