"""No two processes do the same run at once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Hold a run's folder, waiting while another process does the same run.

    The operating system lets go of it when the process ends, however it ends.
    """
    if not is_main_process():
        yield
        return
    from filelock import FileLock, Timeout

    lock: BaseFileLock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for another process that does the same run: {folder}", flush=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        print(f"no lock ({error}): start the run only once: {folder}", flush=True)
    try:
        yield
    finally:
        if (folder / "summary.json").exists():  # whoever waits will find the run finished
            with suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_main_process() -> bool:
    """Whether this is the first, or the only, process of a job."""
    return os.environ.get("RANK", "0") == "0"
