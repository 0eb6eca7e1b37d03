"""What became of the jobs of a sweep: told while it runs, summed up when it ends."""

import csv
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from pkpo_sandbox.runs.config import one_line
from pkpo_sandbox.runs.locks import taken
from pkpo_sandbox.runs.naming import combinations

if TYPE_CHECKING:
    from filelock import BaseFileLock

BEST = 5  #: scores that are printed


class Journal(Callback):
    """What became of each job of a sweep, in whatever process it ran; Hydra calls it.

    Launchers hand a copy to their workers. A job has a file in a folder beside the runs, whose name
    says how it stands: ``3.begun``, ``3.finished``, ``3.found`` or ``3.failed``. Prints a line of
    progress after each job; :meth:`close` prints what failed, and writes ``scores.csv``.
    """

    latest: ClassVar["Journal | None"] = None  #: of the sweep that this process started
    held: ClassVar["BaseFileLock | None"] = None  #: tells that its folder is in use
    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from filelock import FileLock

        sweeper = config.hydra.sweeper
        if (n_trials := sweeper.get("n_trials")) is not None and config.get("score") is None:
            sys.exit("a search maximises a score: name one, such as score=exact.8.max_at_k")
        sweep = Path(config.hydra.sweep.dir)
        sweep.mkdir(parents=True, exist_ok=True)
        clear_stale(sweep)
        self.started = time.time()
        self.folder = Path(tempfile.mkdtemp(prefix=".sweep-", dir=sweep)).absolute()
        with suppress(OSError, NotImplementedError):
            Journal.held = FileLock(self.folder / "lock")
            Journal.held.acquire(blocking=False)
        self.n_jobs: int | None = n_trials
        if str(sweeper["_target_"]).endswith(".BasicSweeper"):
            swept = [f"{key}={values}" for key, values in (sweeper.params or {}).items()]
            self.n_jobs = len(combinations([*swept, *config.hydra.overrides.task]))
        Journal.latest = self

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if self.folder is None:
            return
        self._found = (Path(config.hydra.runtime.output_dir) / "summary.json").exists()
        self._entry = {
            "overrides": list(config.hydra.overrides.task),
            "folder": os.path.relpath(config.hydra.runtime.output_dir),
        }
        self._note(config, json.dumps(self._entry))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self.folder is None:
            return
        outcome = "found" if self._found else "finished"
        if job_return.status is JobStatus.FAILED:
            outcome = "failed"
            self._entry["error"] = one_line(job_return._return_value)
        elif job_return.return_value is not None:
            self._entry |= {"metric": config.score, "score": job_return.return_value}
        begun = self._note(config, json.dumps(self._entry))
        begun.replace(begun.with_suffix(f".{outcome}"))
        print(self.progress(), flush=True)

    def _note(self, config: DictConfig, text: str) -> Path:
        assert self.folder is not None
        path = self.folder / f"{config.hydra.job.num}.begun"
        path.write_text(text, encoding="utf-8")
        return path

    def outcomes(self) -> list[str]:
        """How each job stands that has begun."""
        assert self.folder is not None
        return [path.suffix.removeprefix(".") for path in self.folder.glob("*.*")]

    def entries(self) -> list[dict[str, Any]]:
        """The jobs that have begun, in the order of the sweep."""
        assert self.folder is not None
        entries = []
        for path in sorted(self.folder.glob("*.*"), key=lambda path: int(path.stem)):
            entry = {"overrides": [f"job {path.stem}"], "folder": ""}
            with suppress(json.JSONDecodeError):  # of a job that was killed as it wrote this
                entry = json.loads(path.read_text(encoding="utf-8"))
            entries.append({**entry, "outcome": path.suffix.removeprefix(".")})
        return entries

    def progress(self) -> str:
        """ "sweep: 12 of 32 runs done, 1 failed, 19 left, about 3 min"."""
        ended = [outcome for outcome in self.outcomes() if outcome != "begun"]
        failed, worked = ended.count("failed"), len(ended) - ended.count("found")
        total = "" if self.n_jobs is None else f" of {self.n_jobs}"
        parts = [f"sweep: {len(ended) - failed}{total} runs done"]
        if failed:
            parts.append(f"{failed} failed")
        if self.n_jobs is not None and (left := self.n_jobs - len(ended)) > 0:
            parts.append(f"{left} left")
            if worked:
                parts.append(f"about {duration((time.time() - self.started) / worked * left)}")
        return ", ".join(parts)

    def close(self, stopped: bool = False) -> bool:
        """Write the scores, print what failed and what is missing; whether nothing is.

        :param stopped: by the user, who knows what did not end
        """
        assert self.folder is not None
        entries = self.entries()
        close_folder(self.folder)
        try:
            write_scores(self.folder.parent, [entry for entry in entries if "score" in entry])
        except OSError as error:
            print(f"scores.csv was not written: {one_line(error)}", file=sys.stderr)
        begun = [entry for entry in entries if entry["outcome"] == "begun"]
        failed = [entry for entry in entries if entry["outcome"] == "failed"]
        killed = [] if stopped else begun
        missing = len(killed)
        if self.n_jobs is not None:
            missing = self.n_jobs - (len(entries) - len(begun))
        if not (stopped or entries):  # not even one began: Hydra has said why
            return missing <= 0
        total = self.n_jobs or len(entries)
        if failed or killed:
            print(f"\n{len(failed + killed)} of {total} runs failed:", file=sys.stderr)
            print(failures(failed + killed), file=sys.stderr)
        if missing > 0:
            print(f"\nstopped with {missing} of {total} runs not done", file=sys.stderr)
        if failed or missing > 0:
            print("start the same command again: it does only what is missing", file=sys.stderr)
        return not failed and missing <= 0


def failures(entries: Sequence[dict[str, Any]]) -> str:
    """A table of jobs that failed, or of which nothing more was heard."""
    rows = [("overrides", "error", "log")]
    for entry in entries:
        log = Path(entry["folder"], "failure.log")
        error = entry.get("error", "did not end, as its worker or another one died")
        rows.append((" ".join(entry["overrides"]), error, str(log) if log.exists() else ""))
    return columns(rows)


def clear_stale(sweep: Path) -> None:
    """Remove what the journals of killed sweeps left behind."""
    from filelock import FileLock

    for folder in sweep.glob(".sweep-*"):
        with suppress(OSError, NotImplementedError):  # a Timeout is an OSError: it is in use
            with FileLock(folder / "lock", timeout=0):
                pass
            shutil.rmtree(folder)


def close_folder(folder: Path) -> None:
    """Remove the journal of a sweep that has ended."""
    if Journal.held is not None:
        Journal.held.release()
    shutil.rmtree(folder, ignore_errors=True)


def write_scores(sweep: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Add scores to the sweep's ``scores.csv``, the best first, and print the best of them.

    :param entries: of the journal; a run that has a row already gets a new one
    """
    if not entries:
        return
    from pkpo_sandbox.runs.folder import write_atomically

    path = sweep / "scores.csv"
    with taken(sweep):
        rows: list[dict[str, str]] = []
        if path.exists():
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        for entry in entries:
            settings = dict(
                override.lstrip("+").partition("=")[::2] for override in entry["overrides"]
            )
            settings = {
                key: value for key, value in settings.items() if key not in ("score", "name")
            }
            results = {key: str(entry[key]) for key in ("metric", "score", "folder")}
            rows.append({**settings, **results})
        latest = {(row["metric"], row["folder"]): row for row in rows}
        ordered = sorted(latest.values(), key=lambda row: (row["metric"], -float(row["score"])))
        last = ["metric", "score", "folder"]
        names = [*dict.fromkeys(key for row in ordered for key in row if key not in last), *last]
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
        write_atomically(path, buffer.getvalue())
    best = [row for row in ordered if row["metric"] == entries[-1]["metric"]][:BEST]
    shown = [name for name in names if any(row.get(name) for row in best)]
    print(f"\nthe best of {path}:")
    print(columns([shown, *[[row.get(name, "") for name in shown] for row in best]]), flush=True)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """A table as text, each column as wide as its widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def duration(seconds: float) -> str:
    """A time as a person says it: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
