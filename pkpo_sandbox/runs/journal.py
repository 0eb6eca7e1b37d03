"""The outcomes of a sweep's jobs: progress while it runs, a summary when it ends."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs.config import one_line
from pkpo_sandbox.runs.console import columns, duration, say
from pkpo_sandbox.runs.naming import combinations
from pkpo_sandbox.runs.scores import write_scores
from pkpo_sandbox.runs.values import plain

if TYPE_CHECKING:
    from filelock import BaseFileLock

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
KILLED = "did not end, as its worker or another one died"
SHOWN = 300  #: characters of an error in the table of failures; the log has the whole error

#: The journals of the sweeps that this process started. Hydra creates callbacks from the config and
#: gives no access to them, so the command finds the journal here.
journals: list["Journal"] = []


class Said:
    """Messages that a sweep prints once, in whichever of its processes."""

    def __init__(self) -> None:
        self.start(None)

    def start(self, folder: Path | None) -> None:
        """Begin with a sweep.

        :param folder: of its journal; None outside of sweeps
        """
        self.folder = folder
        self._here: set[str] = set()

    def once(self, message: str) -> None:
        """Print a message, unless this sweep has printed it. Without a sweep: this process."""
        if message in self._here:
            return
        self._here.add(message)
        if self.folder is not None:
            name = hashlib.sha256(message.encode()).hexdigest()[:10]
            with suppress(OSError):
                try:
                    (self.folder / f"said-{name}").touch(exist_ok=False)
                except FileExistsError:
                    return
        say(message)


said = Said()


def harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Make a method print its errors instead of raising them."""

    @wraps(method)
    def guarded(self: "Journal", *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            say(f"sweep: the journal is incomplete ({one_line(error)})", error=True)

    return guarded


class Journal(Callback):
    """A Hydra callback that records the outcome of each job of a sweep, in any process.

    Launchers pass a copy to their workers. Each job has one file, in a folder next to the runs. The
    file's name shows the job's state: ``3.begun``, ``3.finished``, ``3.found`` or ``3.failed``. A
    line of progress is printed after each job. :meth:`close` prints the failures and writes
    ``scores.csv``.

    If the journal cannot be written, no job fails. The jobs of this process are also kept in
    memory, so their failures are shown even if the disk is full.
    """

    def __init__(self) -> None:
        self.sweep: Path | None = None  #: the folder of the runs; None outside of sweeps
        self.folder: Path | None = None  #: the folder of the journal's files
        self.n_jobs: int | None = None  #: None if only the sweeper knows the number
        self.started = time.time()
        self._lock: BaseFileLock | None = None
        self._here: dict[int, dict[str, Any]] = {}  # the jobs that this process ran

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None, "_here": {}}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if lacks_score(config):
            sys.exit("a search maximises a score: name one, such as score=exact.8.max_at_k")
        journals.append(self)
        self._open(config)
        self._count(config)

    @harmless
    def _open(self, config: DictConfig) -> None:
        """Make the folder of the files, and lock it to mark it as in use."""
        from filelock import FileLock

        try:
            self.sweep = Path(config.hydra.sweep.dir)
            self.sweep.mkdir(parents=True, exist_ok=True)
            clear_stale(self.sweep)
            self.folder = Path(tempfile.mkdtemp(prefix=".sweep-", dir=self.sweep)).absolute()
        except Exception as error:  # Hydra may still start jobs, and their failures must be shown
            self.folder = Path(tempfile.mkdtemp(prefix=".sweep-"))
            self.sweep = self.sweep or self.folder.parent
            say(f"sweep: the journal is in {self.folder} ({one_line(error)})", error=True)
        with suppress(OSError, NotImplementedError):
            self._lock = FileLock(self.folder / "lock")
            self._lock.acquire(blocking=False)

    @harmless
    def _count(self, config: DictConfig) -> None:
        """Find the number of jobs, or print that only the sweeper knows it."""
        sweeper = config.hydra.sweeper
        self.n_jobs = OmegaConf.select(config, "hydra.sweeper.n_trials", default=None)
        if sweeper["_target_"] == BASIC:
            swept = [f"{key}={values}" for key, values in (sweeper.params or {}).items()]
            self.n_jobs = len(combinations([*swept, *task_overrides(config)]))
        elif self.n_jobs is None:
            say(f"sweep: only {sweeper['_target_']} knows how many runs there will be")

    @harmless
    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if self.sweep is not None:
            if said.folder != self.folder:
                said.start(self.folder)
            self._note(config.hydra.job.num, "begun", begun(config))

    @harmless
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self.sweep is None:
            return
        number = config.hydra.job.num
        entry = self._here.get(number) or begun(config)
        outcome = "found" if entry["found"] else "finished"
        if job_return.status is JobStatus.FAILED:
            outcome = "failed"
            entry["error"] = one_line(job_return._return_value)
        elif job_return.return_value is not None:
            entry |= {"metric": config.get("score"), "score": job_return.return_value}
        self._note(number, outcome, entry)
        say(self.progress())

    def _note(self, number: int, outcome: str, entry: dict[str, Any]) -> None:
        """Write the state of a job. If it cannot be written, print it with the error."""
        self._here[number] = {**entry, "outcome": outcome}
        if self.folder is None:
            return
        try:
            self.folder.mkdir(exist_ok=True)  # another sweep may have removed it as stale
            path = self.folder / f"{number}.{outcome}"
            path.write_text(json.dumps(plain(entry)), encoding="utf-8")
            if outcome != "begun":
                path.with_suffix(".begun").unlink(missing_ok=True)
        except OSError as error:
            became = f"{outcome}: {entry['error']}" if "error" in entry else outcome
            say(f"sweep: cannot record run {number} ({error}). It is {became}", error=True)

    def entries(self) -> list[dict[str, Any]]:
        """The jobs that have started, in the order of the sweep, each with its "outcome"."""
        entries: dict[int, dict[str, Any]] = {}
        for path, number, outcome in self._files():
            entry = {"overrides": [f"job {number}"], "folder": ""}
            with suppress(OSError, ValueError):  # its process was killed while it wrote the file
                entry = json.loads(path.read_text(encoding="utf-8"))
            entries[number] = {**entry, "outcome": outcome}
        entries |= self._here
        return [entries[number] for number in sorted(entries)]

    def _files(self) -> list[tuple[Path, int, str]]:
        """The file of each job, its number and its outcome. Files of ended jobs come last."""
        found = [] if self.folder is None else list(self.folder.glob("*.*"))
        files = [(path, int(path.stem), path.suffix[1:]) for path in found if path.stem.isdigit()]
        return sorted(files, key=lambda file: file[2] != "begun")

    def progress(self) -> str:
        """ "sweep: 12 of 32 runs done, 1 failed, 19 left, about 3 min"."""
        outcomes = {number: outcome for _, number, outcome in self._files()}
        outcomes |= {number: entry["outcome"] for number, entry in self._here.items()}
        ended = [outcome for outcome in outcomes.values() if outcome != "begun"]
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

    def tells(self, error: BaseException) -> bool:
        """Whether the table of failures contains this error."""
        return one_line(error) in [entry.get("error") for entry in self.entries()]

    def close(self, error: BaseException | None = None) -> bool:
        """Write the scores, print the failures and remove the journal's files.

        :param error: the error that ended the sweep; None if the sweeper ended it
        :return: whether every job was done
        """
        entries = self.entries()
        self._remove()
        try:
            write_scores(self.sweep or Path(), [entry for entry in entries if "score" in entry])
        except Exception as wrong:  # OSError, or the file was edited by hand
            say(f"scores.csv was not written: {one_line(wrong)}", error=True)
        return tell_end(entries, self.n_jobs, error)

    def _remove(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                self._lock.release()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def lacks_score(config: DictConfig) -> bool:
    """Whether the sweeper is a search with ``n_trials``, but no score is given."""
    try:
        trials = OmegaConf.select(config, "hydra.sweeper.n_trials", default=None)
        return trials is not None and config.get("score") is None
    except Exception:  # an interpolation that only a job can resolve
        return False


def begun(config: DictConfig) -> dict[str, Any]:
    """The journal entry of a job that starts."""
    folder = Path(config.hydra.runtime.output_dir)
    shown = str(folder)
    with suppress(ValueError, OSError):  # another drive, or the working directory was removed
        shown = os.path.relpath(folder)
    found = (folder / "summary.json").exists()
    return {"overrides": task_overrides(config), "folder": shown, "found": found}


def task_overrides(config: DictConfig) -> list[str]:
    """The overrides of a job or a sweep as they were written, with interpolations unresolved."""
    overrides = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(override) for override in overrides]


def tell_end(
    entries: Sequence[dict[str, Any]], n_jobs: int | None, error: BaseException | None
) -> bool:
    """Print which jobs of an ended sweep failed or are missing.

    :param error: the error that ended it; None if the sweeper ended it and needs no more jobs
    :return: whether no job failed or is missing
    """
    stopped = error is not None and not isinstance(error, Exception)  # by the user
    begun = [entry for entry in entries if entry["outcome"] == "begun"]
    failed = [entry for entry in entries if entry["outcome"] == "failed"]
    killed = [] if stopped else begun
    total = len(entries) if n_jobs is None else n_jobs
    missing = len(killed) if error is None else total - (len(entries) - len(begun))
    if not (stopped or entries):  # no job started: Hydra has printed the reason
        return missing <= 0
    if failed or killed:
        say(f"\n{len(failed + killed)} of {total} runs failed:", error=True)
        say(failures(failed + killed), error=True)
    if missing > 0:
        say(f"\nstopped with {missing} of {total} runs not done", error=True)
    elif stopped:
        say("\nstopped", error=True)
    if failed or missing > 0:
        say("start the same command again: it does only what is missing", error=True)
    return not failed and missing <= 0


def failures(entries: Sequence[dict[str, Any]]) -> str:
    """A table of the jobs that failed or started and never ended."""
    rows = [("overrides", "error", "log")]
    for entry in entries:
        log = Path(entry["folder"], "failure.log")
        error = entry.get("error", KILLED)
        if len(error) > SHOWN:
            error = f"{error[:SHOWN]}..."
        rows.append((" ".join(entry["overrides"]), error, str(log) if log.exists() else ""))
    return columns(rows, fit=sys.stderr)


def clear_stale(sweep: Path) -> None:
    """Remove the folders that journals of killed sweeps left behind."""
    from filelock import FileLock

    for folder in sweep.glob(".sweep-*"):
        with suppress(OSError, NotImplementedError):  # Timeout is an OSError: the folder is in use
            with FileLock(folder / "lock", timeout=0):
                pass
            shutil.rmtree(folder)
