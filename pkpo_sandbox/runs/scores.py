"""``scores.csv``: the scores of the runs of a sweep or a search, best first."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pkpo_sandbox.runs.console import columns, say
from pkpo_sandbox.runs.folder import write_atomically
from pkpo_sandbox.runs.locks import taken
from pkpo_sandbox.runs.values import text

BEST = 5  #: how many scores are printed
RESULT = ("metric", "score", "folder")  #: the last columns; the others are settings


def write_scores(sweep: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Add scores to the sweep's ``scores.csv``, and print the best ones.

    :param sweep: the folder of the runs
    :param entries: the journal's entries with a score. If a run already has a row, it is replaced
    :raises ValueError: if the existing file is damaged
    :raises OSError: if the file cannot be written
    """
    if not entries:
        return
    path = sweep / "scores.csv"
    with taken(sweep):
        rows = [*read_scores(path), *map(row, entries)]
        latest = {(entry["metric"], entry["folder"]): entry for entry in rows}
        ordered = sorted(latest.values(), key=lambda entry: (entry["metric"], -score(entry)))
        settings = dict.fromkeys(key for entry in ordered for key in entry if key not in RESULT)
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, [*settings, *RESULT], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
        write_atomically(path, buffer.getvalue())
    best = [entry for entry in ordered if entry["metric"] == entries[-1]["metric"]][:BEST]
    shown = [key for key in (*settings, *RESULT) if any(entry.get(key) for entry in best)]
    say(f"\nthe best of {path}:")
    say(columns([shown, *[[entry.get(key, "") for key in shown] for entry in best]]))


def read_scores(path: Path) -> list[dict[str, str]]:
    """The rows of a ``scores.csv``. Empty if there is no file.

    :raises ValueError: if the file is damaged
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
        for entry in rows:
            score(entry)
            if None in entry or None in entry.values() or not {*RESULT} <= entry.keys():
                raise ValueError("the columns of a row differ from the heading")
    except (ValueError, KeyError, csv.Error) as error:
        raise ValueError(f"{path} is damaged ({error}): move it away") from error
    return rows


def row(entry: dict[str, Any]) -> dict[str, str]:
    """A row of the file: the job's overrides and its result."""
    settings = dict(override.lstrip("+").partition("=")[::2] for override in entry["overrides"])
    for key in ("score", "name"):
        settings.pop(key, None)
    return {**settings, **{key: text(entry[key]) for key in RESULT}}


def score(entry: dict[str, str]) -> float:
    return float(entry["score"])
