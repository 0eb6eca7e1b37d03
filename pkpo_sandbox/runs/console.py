"""Messages to the terminal. If a message cannot be printed, no job and no command fails.

A terminal may lack a character, the reader of a pipe may have ended, a stream may be closed, or a
disk may be full. The results of a run matter more than a message about it.
"""

import io
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Nowhere(io.TextIOBase):
    """Discards text. Used where Python sets sys.stdout or sys.stderr to None (a closed stream)."""

    def write(self, text: str, /) -> int:
        return len(text)


class SafeStream:
    """Wraps a text stream so that writing never raises. Other attributes are the stream's own.

    A character that the stream cannot encode is written as an escape: ``\\xfc`` for ü.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = Nowhere() if stream is None else stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except ValueError:
            return False

    def _give_up(self, error: Exception) -> None:
        """Discard further output if the reader has ended. Python flushes its streams at exit."""
        if isinstance(error, BrokenPipeError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextmanager
def safe_output() -> Iterator[None]:
    """Inside the block, writing to stdout and stderr cannot fail, by ``print`` or otherwise."""
    before = sys.stdout, sys.stderr
    safe = [one if isinstance(one, SafeStream) else SafeStream(one) for one in before]
    sys.stdout, sys.stderr = safe  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in safe:
            stream.flush()
        sys.stdout, sys.stderr = before


def say(*parts: object, error: bool = False) -> None:
    """Print a line and flush it. Does nothing if the stream cannot be written.

    :param error: whether to print to stderr
    """
    stream = SafeStream(sys.stderr if error else sys.stdout)
    print(*parts, file=stream, flush=True)  # type: ignore[call-overload]


def open_standard_streams() -> None:
    """Reopen standard streams that a shell's ``>&-`` closed, to the null device.

    Otherwise the next opened file gets the number of the closed stream, and what a library or
    another process prints goes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def columns(rows: Sequence[Sequence[str]], fit: TextIO | None = None) -> str:
    """A table as text without colours. Each column is as wide as its widest entry.

    :param rows: the first row is the heading. Line breaks and other control characters are shown
        as escapes
    :param fit: the stream that the table is for. If it is a terminal, long entries are folded to
        its width
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in rows[0]:
        table.add_column(Text(heading), overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(one_line(cell)) for cell in row))  # rich would parse markup in a str
    drawn = io.StringIO()
    widest = shutil.get_terminal_size().columns if fit is not None and fit.isatty() else 100_000
    Console(file=drawn, width=widest, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def one_line(cell: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)


def duration(seconds: float) -> str:
    """A time in a readable unit: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
