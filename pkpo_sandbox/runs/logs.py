"""Where a run's numbers go: outputs for Stable-Baselines3's logger, and its monitor file.

``csv`` is ``progress.csv``, from which runs are read. ``tensorboard`` also gets the
hyperparameters, so that runs compare in its HParams tab. ``wandb`` is Weights & Biases. ``stdout``,
``log`` and ``json`` are SB3's. ``monitor`` is the ``monitor.csv`` that SB3's plots read.

A callback may log any value under any name. A value that an output has no place for is written as
text, and does not end the run.
"""

import csv
import io
import math
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import (
    Figure,
    HParam,
    HumanOutputFormat,
    Image,
    JSONOutputFormat,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
    Video,
)

from pkpo_sandbox.runs.config import one_line
from pkpo_sandbox.runs.console import say
from pkpo_sandbox.runs.folder import CHECKPOINT, write_atomically
from pkpo_sandbox.runs.values import number, plain, printable

CLOCK = ("time/fps", "time/time_elapsed")  # not the same in two runs of one config and seed
METRIC = "rollout/ep_rew_mean"  # every run logs it; the HParams tab shows the others beside it
MEDIA = (Figure, Image, Video, HParam)  # of SB3; only TensorBoard has a place for them

Values = dict[str, Any]
Excluded = dict[str, tuple[str, ...]]  # by name, the outputs that a value is not for


class ProgressWriter(KVWriter):
    """``progress.csv``: one row for each dump, columns in alphabetical order, no clock times.

    Two runs of the same config and seed write the same bytes. (SB3's own writer orders columns by
    Python's hashes, which differ from process to process.)

    :param path: of the file, which is begun anew
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replace("")

    def replace(self, text: str) -> None:
        """Begin with these rows, as :meth:`text` gave them."""
        write_atomically(self.path, text)
        self._columns = next(csv.reader(io.StringIO(text, newline="")), [])

    def text(self) -> str:
        """The rows so far."""
        return self.path.read_bytes().decode()

    def write(self, key_values: Values, key_excluded: Excluded, step: int = 0) -> None:
        logged = meant_for(("csv",), key_values, key_excluded)
        row = {
            name: "" if value is None else printable(value)
            for name, value in logged.items()
            if name not in CLOCK
        }
        if new := row.keys() - set(self._columns):
            rows = list(csv.DictReader(io.StringIO(self.text(), newline="")))
            self._columns = sorted({*self._columns, *new})
            lines = [self._columns, *map(self._entries, rows)]
            write_atomically(self.path, "".join(map(csv_line, lines)))
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(csv_line(self._entries(row)))

    def _entries(self, row: dict[str, str]) -> list[str]:
        return [row.get(name, "") for name in self._columns]

    def close(self) -> None:
        """Nothing is held open."""


class TextLog(HumanOutputFormat):
    """SB3's tables of text, for any value.

    :param path: of the file, which is begun anew; None for stdout
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(sys.stdout if path is None else str(path))
        self.path = path
        if path is not None:
            write_utf8(self.file)

    def write(self, key_values: Values, key_excluded: Excluded, step: int = 0) -> None:
        logged = meant_for(("stdout", "log"), key_values, key_excluded)
        kept = (float, np.generic)  # SB3 rounds them
        ready = {name: v if isinstance(v, kept) else printable(v) for name, v in logged.items()}
        try:
            super().write(ready, dict.fromkeys(ready), step)  # type: ignore[arg-type]
        except ValueError:  # two names that are the same in their first 36 characters
            self.max_length = max(self.max_length, 3 + max(map(len, ready)))
            super().write(ready, dict.fromkeys(ready), step)  # type: ignore[arg-type]


class JSONLog(JSONOutputFormat):
    """SB3's ``progress.json``, for any value.

    :param path: of the file, which is begun anew
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        write_utf8(self.file)

    def write(self, key_values: Values, key_excluded: Excluded, step: int = 0) -> None:
        ready: Values = {}
        for name, value in meant_for(("json",), key_values, key_excluded).items():
            one = number(value) if hasattr(value, "dtype") else None
            ready[name] = plain(value if one is None else float(one))  # as SB3 does
        super().write(ready, {}, step)


class TensorBoardLog(TensorBoardOutputFormat):
    """SB3's output to TensorBoard, for any value.

    :param folder: of the event file
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._refused: set[str] = set()  # names that have been told of

    def write(self, key_values: Values, key_excluded: Excluded, step: int = 0) -> None:
        ready: Values = {}
        for name, value in meant_for(("tensorboard",), key_values, key_excluded).items():
            if isinstance(value, MEDIA):
                self._write_media(name, value, step)
            elif value is not None:
                ready[name] = value if has_place(value) else printable(value)
        super().write(ready, dict.fromkeys(ready), step)  # type: ignore[arg-type]

    def _write_media(self, name: str, value: Any, step: int) -> None:
        try:
            super().write({name: value}, {name: ()}, step)
        except OSError:  # such as a full disk
            raise
        except Exception as error:  # for an image without pixels, for one
            if name not in self._refused:
                say(f"TensorBoard does not take {name} ({one_line(error)})", error=True)
            self._refused.add(name)


class WandbWriter(KVWriter):
    """Logs to Weights & Biases; its environment variables (WANDB_PROJECT, WANDB_MODE...) hold.

    :param folder: of the run, whose name is the run's there
    :param config: the run's hyperparameters
    :raises ImportError: without the package
    """

    run_id: str | None = None  #: of the run there; a run that goes on takes up the same one

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        try:
            wandb: Any = import_module("wandb")
        except ImportError as error:
            raise ImportError(
                "log_formats has wandb, which is an extra: pip install 'pkpo-sandbox[wandb]'"
            ) from error
        self._init = partial(
            wandb.init, dir=folder, name=folder.name, group=folder.parent.name, config=config
        )
        self.run: Any = None

    def write(self, key_values: Values, key_excluded: Excluded, step: int = 0) -> None:
        if self.run is None:  # not before: a run may be found to go on
            self.run = self._init(id=self.run_id, resume="allow")
            self.run_id = self.run.id
        ready: Values = {}
        for name, value in meant_for(("wandb",), key_values, key_excluded).items():
            one = number(value)
            ready[name] = printable(value) if one is None else one
        self.run.log(ready, step=step)

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()


def make_logger(folder: Path, formats: Sequence[str], config: dict[str, Any]) -> Logger:
    """The logger of a run, which begins its files anew.

    :param folder: of the run
    :param formats: of csv, tensorboard, wandb, stdout, log, json; monitor is a callback
    :param config: the run's hyperparameters
    :raises ValueError: for a format that does not exist
    :raises ImportError: for one that needs an extra
    """
    if "tensorboard" in formats and not (folder / CHECKPOINT).exists():
        for path in folder.glob("events.out.tfevents.*"):  # of a try that was stopped
            path.unlink()
    makers: dict[str, Any] = {
        "csv": lambda: ProgressWriter(folder / "progress.csv"),
        "json": lambda: JSONLog(folder / "progress.json"),
        "log": lambda: TextLog(folder / "log.txt"),
        "stdout": lambda: TextLog(None),
        "tensorboard": lambda: TensorBoardLog(str(folder)),
        "wandb": lambda: WandbWriter(folder, config),
    }
    if unknown := [name for name in formats if name not in (*makers, "monitor")]:
        raise ValueError(
            f"log_formats has {unknown[0]!r}: choose from {', '.join(makers)}, monitor"
        )
    logger = Logger(str(folder), [makers[name]() for name in formats if name in makers])
    if "tensorboard" in formats:
        others = ("csv", "stdout", "log", "json", "wandb")
        logger.record("hparams", HParam(hyperparameters(config), {METRIC: 0.0}), exclude=others)
    return logger


def rows_so_far(logger: Logger) -> dict[str, str]:
    """What a logger's files hold, by their names, for a checkpoint to keep."""
    rows = {}
    for output in logger.output_formats:
        if isinstance(output, ProgressWriter):
            rows[output.path.name] = output.text()
        elif isinstance(output, WandbWriter) and output.run_id is not None:
            rows["wandb"] = output.run_id
        elif isinstance(output, TextLog | JSONLog) and output.path is not None:
            output.file.flush()
            rows[output.path.name] = output.path.read_text(encoding="utf-8")
    return rows


def rewind(logger: Logger, rows: dict[str, str], num_timesteps: int) -> None:
    """Bring a new logger's files to where they were when a checkpoint was written.

    :param rows: as from :func:`rows_so_far`
    :param num_timesteps: then; TensorBoard drops what was logged after them
    """
    for output in logger.output_formats:
        if isinstance(output, ProgressWriter):
            output.replace(rows[output.path.name])
        elif isinstance(output, WandbWriter):
            output.run_id = rows.get("wandb")
        elif isinstance(output, TextLog | JSONLog) and output.path is not None:
            output.file.write(rows[output.path.name])
        elif isinstance(output, TensorBoardOutputFormat):
            assert output.writer.file_writer is not None
            events: Any = import_module("tensorboard.compat.proto.event_pb2")
            restart = events.Event(session_log={"status": events.SessionLog.START})
            output.writer.file_writer.add_event(restart, num_timesteps + 1)


def hyperparameters(config: dict[str, Any], prefix: str = "") -> dict[str, bool | str | float]:
    """A nested config as flat names and values: {"objective.k": 4, ...}.

    Numbers that are not finite are text: TensorBoard's HParams tab cannot show them.
    """
    flat: dict[str, bool | str | float] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= hyperparameters(value, f"{prefix}{key}.")
            continue
        one = number(value)
        shows = one is not None and math.isfinite(one)
        flat[f"{prefix}{key}"] = one if one is not None and shows else printable(value)
    return flat


def meant_for(outputs: Sequence[str], values: Values, excluded: Excluded) -> Values:
    """What was logged without excluding these outputs, by its name as text."""
    return {
        printable(name): value
        for name, value in values.items()
        if not {*outputs} & {*(excluded.get(name) or ())}
    }


def has_place(value: Any) -> bool:
    """Whether TensorBoard takes a value as it is: a number, or numbers for a histogram."""
    if isinstance(value, torch.Tensor):
        real = not (value.is_complex() or value.is_sparse or value.is_meta)
        return real and value.numel() > 0 and bool(value.isfinite().all())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf" and value.size > 0 and bool(np.isfinite(value).all())
    return number(value) is not None


def csv_line(entries: Sequence[str]) -> str:
    """A row of CSV. (Python 3.11's writer does not quote carriage returns.)"""
    quoted = [
        '"' + entry.replace('"', '""') + '"' if any(c in entry for c in ',"\r\n') else entry
        for entry in entries
    ]
    return ('""' if quoted == [""] else ",".join(quoted)) + "\n"


def write_utf8(file: Any) -> None:
    """Make a text file that SB3 opened UTF-8, whatever the locale is."""
    file.reconfigure(encoding="utf-8", errors="backslashreplace")
