"""The files of a run on disk. They are never left half written.

A run's folder contains ``config.yaml`` (resolved), ``progress.csv``, ``model.zip`` and
``summary.json``. The summary is written last and atomically. So a run is finished if and only if
its folder has a summary. A failed run leaves ``failure.json`` and ``failure.log``.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pkpo_sandbox.runs.console import say
from pkpo_sandbox.runs.values import plain

SUMMARY = "summary.json"
FAILURE = "failure.json"
LOG = "failure.log"
CHECKPOINT = "checkpoint.pt"
STARTED = "started.json"


def config_hash(config: Mapping[str, Any]) -> str:
    """A hash of a resolved config, in 10 hexadecimal digits. Equal configs have equal hashes."""
    canonical = json.dumps(config, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file in one step. Readers see no file, the old file or the complete new file.

    UTF-8 cannot encode lone surrogates (half characters). They are written as escapes.

    :raises OSError: if the folder cannot be written or the disk is full; the old file stays
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Declare the run in ``folder`` finished.

    The run's other files are fsynced first, so a summary never exists without them. :func:`plain`
    converts values that JSON cannot represent.

    :raises OSError: if the folder cannot be written or the disk is full
    """
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    write_atomically(folder / SUMMARY, json.dumps(plain(summary), indent=2, allow_nan=False) + "\n")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run. None if the run is not finished.

    :raises ValueError: if the file is damaged
    """
    path = folder / SUMMARY
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it and train the run again"
        ) from error


def write_failure(folder: Path, failure: Mapping[str, Any], log: str) -> None:
    """Record that the run in ``folder`` failed. If the files cannot be written, print the error.

    :param failure: "error", which is one line, "overrides" and "config"
    :param log: the traceback
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / LOG, log)
        write_atomically(folder / FAILURE, json.dumps(plain(failure), indent=2) + "\n")
    except OSError as error:
        say(f"{folder} has no {FAILURE} ({error}). The run failed: {failure['error']}", error=True)


def tidy(folder: Path) -> None:
    """Remove files that only an unfinished run needs: checkpoint, last failure, start record."""
    half_written = [path.name for path in folder.glob(".*.part")]  # by a process that was killed
    for name in (CHECKPOINT, STARTED, FAILURE, LOG, *half_written):
        with suppress(OSError):  # the summary exists, so the run is finished anyway
            (folder / name).unlink(missing_ok=True)


def read_failures(folder: str | Path) -> list[dict[str, Any]]:
    """The runs below a folder that failed and have not finished since then.

    :return: "folder", "error", "overrides", "config" and "traceback" of each run
    :raises ValueError: if a file is damaged
    """
    return [read_failure(path.parent) for path in find(folder, FAILURE)]


def read_failure(folder: Path) -> dict[str, Any]:
    """The failure of the run in a folder, with the entries of :func:`read_failures`.

    :raises ValueError: if there is none, or a file is damaged
    """
    path = folder / FAILURE
    try:
        failure = json.loads(path.read_text(encoding="utf-8"))
        log = path.with_name(LOG).read_text(encoding="utf-8")
    except (json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it") from error
    if not isinstance(failure, dict):
        raise ValueError(f"{path} is damaged (it is not a mapping): delete it")
    return {"folder": str(folder), **failure, "traceback": log}


def find(folder: str | Path, *names: str) -> list[Path]:
    """The files with these names below a folder, sorted by path.

    Symbolic links to folders are followed. A folder counts once, even if several links lead to it.
    Links to the folder itself or to one of its parents are not followed.
    """
    top = Path(folder).resolve()
    holders = {identity(place) for place in (top, *top.parents)}
    found: list[Path] = []
    seen: set[tuple[int, int] | None] = {None}  # None: a folder that was removed during the search
    waiting = [str(folder)]
    while waiting:  # first the real folders below, then the folders behind links
        start = waiting.pop(0)
        if start != str(folder) and identity(start) in holders:
            continue
        for place, inner, files in os.walk(start):
            if (this := identity(place)) in seen:
                inner.clear()
                continue
            seen.add(this)
            paths = [os.path.join(place, name) for name in sorted(inner)]
            waiting += filter(os.path.islink, paths)
            found += [Path(place, name) for name in names if name in files]
    return sorted(path for path in found if path.exists())


def identity(folder: str | Path) -> tuple[int, int] | None:
    """Identifies a folder independently of its path. None if the folder does not exist."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
