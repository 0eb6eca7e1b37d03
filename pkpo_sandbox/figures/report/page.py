"""The page of a report, section by section."""

import base64
import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pkpo_sandbox.figures.report.collect import Run, read
from pkpo_sandbox.figures.report.drawing import curves, panels, spread
from pkpo_sandbox.figures.report.experiments import experiments
from pkpo_sandbox.figures.report.settings import (
    differing,
    natural,
    ordered,
    short_name,
    shown,
    telling,
)
from pkpo_sandbox.runs.folder import FAILURE, SUMMARY, write_atomically
from pkpo_sandbox.runs.journal import duration


@dataclass
class Cell:
    """A cell of the table of runs: its text, and its value for sorting if it is a number."""

    text: str
    number: float | None = None


def write(folder: Path, output: Path) -> None:
    """Write the report on the runs below a folder.

    :raises ValueError: if the folder does not exist or has no run
    :raises OSError: if the file cannot be written
    """
    page = render(folder)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, page.encode("utf-8", "replace"))  # JSON may contain lone surrogates


def render(folder: Path) -> str:
    """The page as HTML.

    :raises ValueError: if the folder does not exist or has no run
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: name one of runs, such as runs/train")
    runs, problems = read(folder)
    if not runs and not problems:
        raise ValueError(f"no run below {folder}: train one with pkpo-train first")
    finished = [run for run in runs if run.state == "finished"]
    style, script = Markup(beside("report.css")), Markup(beside("report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(beside("template.html"))
    plots, undrawn = experiments(finished)
    headings, rows = table(runs, folder)
    return template.render(
        title=folder.resolve().name,
        overview=overview(runs, problems),
        style=style,
        script=script,
        digest=digest,
        curves=list(curves(finished)),
        experiments=plots,
        undrawn=undrawn,
        headings=headings,
        rows=rows,
        common=common(runs),
        differences=differences(runs),
        failures=[(run, relative(run, folder)) for run in runs if run.state == "failed"],
        problems=problems,
        versions=versions(finished),
        commands=commands_of(runs, folder),
    )


def beside(name: str) -> str:
    """The text of a file beside this module."""
    return (files("pkpo_sandbox.figures.report") / name).read_text("utf-8")


def overview(runs: Sequence[Run], problems: Sequence[str]) -> list[str]:
    """Short facts about the content of the folder."""
    states = Counter(run.state for run in runs)
    parts = [f"{states[state]} {state}" for state in ("finished", "failed", "unfinished")]
    if problems:
        parts.append(f"{len(problems)} could not be read")
    ended = [run.folder / name for run in runs for name in (SUMMARY, FAILURE)]
    times = [path.stat().st_mtime for path in ended if path.exists()]
    if times:
        newest = datetime.fromtimestamp(max(times), UTC)
        parts.append(f"newest of {newest:%Y-%m-%d %H:%M} UTC")
    seconds = sum(run.summary.get("wall_time_seconds", 0) for run in runs)
    return [*parts, f"{duration(seconds)} of training and measuring"]


def relative(run: Run, folder: Path) -> str:
    return str(run.folder.relative_to(folder))


def table(runs: Sequence[Run], folder: Path) -> tuple[list[str], list[list[Cell]]]:
    """Headings and rows: state, settings (the most varied first), seed, results, time, folder."""
    known = [run.flat for run in runs if run.config]
    keys = [key for key in telling(known) if key != "seed"]
    keys.sort(key=lambda key: -len({shown(flat[key]) for flat in known if key in flat}))
    runs = sorted(runs, key=lambda run: ordered(run.flat, [*keys, "seed"]))
    exact = {int(k) for run in runs for k in run.summary.get("exact", {})}
    ks = [str(k) for k in spread(sorted(exact), runs)]
    metrics = [name for name in panels(runs) if not (ks and name.startswith("exact/max_at_"))]
    names = [short_name(key, "")[0] for key in keys]
    headings = ["state", *names, "seed", *(f"exact.{k}.max_at_k" for k in ks), *metrics]
    rows = []
    for run in runs:
        flat = run.flat
        settings = [setting(flat, key) for key in (*keys, "seed")]
        values = [run.summary.get("exact", {}).get(k, {}).get("max_at_k", "") for k in ks]
        last = ["" if (value := run.last(name)) is None else value for name in metrics]
        seconds = run.summary.get("wall_time_seconds", "")
        row = [run.state, *settings, *values, *last, seconds, relative(run, folder)]
        rows.append([cell(value) for value in row])
    return [*headings, "wall time (s)", "folder"], rows


def setting(flat: dict[str, Any], key: str) -> Any:
    """An entry of a config, or "" if it is missing; a target by its last name."""
    if key not in flat:
        return ""
    return short_name(key, flat[key])[1] if key.endswith("._target_") else flat[key]


def cell(value: Any) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(shown(value))
    return Cell(f"{value:.5g}" if isinstance(value, float) else str(value), float(value))


def common(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The keys and values that all configs share."""
    flats = [run.flat for run in runs if run.config]
    differs = set(differing(flats))
    first = flats[0] if flats else {}
    return [(key, shown(value)) for key, value in first.items() if key not in differs]


def differences(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, int]]]]:
    """The keys in which configs differ, each with its values and their numbers of runs."""
    flats = [run.flat for run in runs if run.config]
    found = []
    for key in differing(flats):
        values = sorted((flat[key] for flat in flats if key in flat), key=natural)
        counts = list(Counter(map(shown, values)).items())
        if missing := len(flats) - len(values):
            counts.append(("(not there)", missing))
        found.append((key, counts))
    return found


def versions(finished: Sequence[Run]) -> list[tuple[str, list[tuple[str, int]]]]:
    """For each package its versions, with the number of runs that used them."""
    made = [run.summary.get("versions", {}) for run in finished]
    names = dict.fromkeys(name for versions in made for name in versions)
    return [
        (name, list(Counter(str(versions.get(name, "(not noted)")) for versions in made).items()))
        for name in names
    ]


def commands_of(runs: Sequence[Run], folder: Path) -> list[tuple[str, str | None]]:
    """The command of each run, from its summary or failure.

    It is None if neither has the overrides, as in summaries of older versions.
    """
    return [(relative(run, folder), command(run)) for run in runs if run.config]


def command(run: Run) -> str | None:
    """The shell command that started a run, or None if it is unknown."""
    overrides = (run.summary or run.failure).get("overrides")
    if not isinstance(overrides, list):
        return None
    program = "pkpo-gemma2" if "training" in run.config else "pkpo-train"
    return shlex.join([program, *map(str, overrides)])
