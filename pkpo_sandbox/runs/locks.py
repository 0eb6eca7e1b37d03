"""Locks, so that two processes never do the same run at the same time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pkpo_sandbox.runs.console import say

if TYPE_CHECKING:
    from filelock import BaseFileLock


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Lock a run's folder. Waits while another process does the same run.

    The operating system releases the lock when the process ends, even after a crash. If the folder
    cannot be locked, a message is printed and the run is done without a lock.
    """
    if not is_main_process():
        yield
        return
    from filelock import FileLock

    lock: BaseFileLock = FileLock(folder / ".lock")
    try:
        acquire(lock, folder)
    except (OSError, NotImplementedError) as error:
        say(f"no lock ({error}): start the run only once: {folder}")
    try:
        yield
    finally:
        with suppress(OSError):
            if (folder / "summary.json").exists():  # a waiting process will find the finished run
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def acquire(lock: "BaseFileLock", folder: Path) -> None:
    """Acquire a lock. Prints a message if it has to wait.

    :raises OSError: if the folder cannot be written to, or its file system has no locks
    """
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting for another process that does the same run: {folder}")
        lock.acquire()


def is_main_process() -> bool:
    """Whether this is the first or only process of a job."""
    return os.environ.get("RANK", "0") == "0"
