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

import pandas as pd

SUMMARY = "summary.json"


def config_hash(config: Mapping[str, Any]) -> str:
    """Name a resolved config by 10 hexadecimal digits; equal configs have equal names."""
    canonical = json.dumps(config, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def write_atomically(path: Path, text: str) -> None:
    """Write a file such that at every moment it is either absent, the old one or the whole new one.

    :raises OSError: if the folder cannot be written or the disk is full; the old file stays
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Declare the run in ``folder`` finished. Its numbers must be finite: JSON has no NaN."""
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
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it and train the run again"
        ) from error


def read_progress(folder: Path) -> pd.DataFrame:
    """The training log of a run: one row for each logged iteration, columns by name."""
    return pd.read_csv(folder / "progress.csv").sort_index(axis=1)


def load_runs(folder: str | Path) -> pd.DataFrame:
    """Read every finished run below a folder.

    :return: one row a run, sorted by its config, with a column for each entry of the summary;
        nested entries have dotted names ("config.objective.k", "final.rollout/max_at_4"), and
        "folder" is the run's own
    :raises ValueError: if there is no finished run below the folder
    """
    folder = Path(folder)
    paths = sorted(folder.rglob(SUMMARY))
    if not paths:
        raise ValueError(f"no finished run below {folder}: train one with pkpo-train first")
    rows = [{"folder": str(path.parent), **(read_summary(path.parent) or {})} for path in paths]
    return pd.json_normalize(rows)
