"""What a finished run is on disk: written atomically, read back as one tidy table.

A run's folder holds ``config.yaml`` (resolved), ``progress.csv``, ``model.zip`` and
``summary.json``. The summary is written last, in one step, so a folder with a summary is a
finished run and one without is not.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SUMMARY = "summary.json"
FAILURE = "failure.json"
LOG = "failure.log"
CHECKPOINT = "checkpoint.pt"


def config_hash(config: Mapping[str, Any]) -> str:
    """Name a resolved config by 10 hexadecimal digits; equal configs have equal names."""
    canonical = json.dumps(config, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file such that at every moment it is either absent, the old one or the whole new one.

    :raises OSError: if the folder cannot be written or the disk is full; the old file stays
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Declare the run in ``folder`` finished. Its numbers must be finite: JSON has no NaN.

    What else the run wrote is on the disk before: after a power loss a summary is not alone.
    """
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run, None if the run is not finished.

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
    """Note that the run in ``folder`` failed.

    :param failure: its "error" on one line, its "overrides" and its "config"
    :param log: the traceback
    """
    write_atomically(folder / LOG, log)
    write_atomically(folder / FAILURE, json.dumps(failure, indent=2) + "\n")


def tidy(folder: Path) -> None:
    """Remove what only a run that is not finished needs: its checkpoint, its last failure."""
    half_written = [path.name for path in folder.glob(".*.part")]  # by a process that was killed
    for name in (CHECKPOINT, FAILURE, LOG, *half_written):
        (folder / name).unlink(missing_ok=True)


def read_failures(folder: str | Path) -> list[dict[str, Any]]:
    """The runs below a folder that failed, and have not been finished since.

    :return: for each its "folder", "error", "overrides", "config" and "traceback"
    :raises ValueError: if a file is damaged
    """
    failures = []
    for path in sorted(Path(folder).rglob(FAILURE)):
        try:
            failure = json.loads(path.read_text(encoding="utf-8"))
            log = path.with_name(LOG).read_text(encoding="utf-8")
        except (json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it") from error
        failures.append({"folder": str(path.parent), **failure, "traceback": log})
    return failures
