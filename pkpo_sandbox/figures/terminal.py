"""What the commands that draw have in common."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pkpo_sandbox.runs.console import open_standard_streams, safe_output


@contextmanager
def drawing_command() -> Iterator[None]:
    """Decorate the main function of a command that draws, which imports matplotlib itself.

    It opens no window: a backend in ``MPLBACKEND``, as a notebook's shell leaves it, may not be
    installed here, and then matplotlib could not even be imported. A path that the terminal cannot
    show fails no command.
    """
    open_standard_streams()
    os.environ["MPLBACKEND"] = "agg"
    with safe_output():
        yield
