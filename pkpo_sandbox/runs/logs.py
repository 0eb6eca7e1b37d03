"""The log outputs of a run, for Stable-Baselines3's logger.

``csv`` writes ``progress.csv``, from which runs are read. ``tensorboard`` also gets the
hyperparameters, so its HParams tab can compare runs. ``wandb`` is Weights & Biases. ``stdout``,
``log`` and ``json`` are SB3's. ``monitor`` writes the ``monitor.csv`` that SB3's plots read.

A callback may log any value under any name. If an output does not support a value, it writes the
value as text, and the run continues.
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

CLOCK = ("time/fps", "time/time_elapsed")  # differ between two runs of the same config and seed
METRIC = "rollout/ep_rew_mean"  # every run logs it; the HParams tab shows the other metrics too
MEDIA = (Figure, Image, Video, HParam)  # SB3's types that only TensorBoard supports

Values = dict[str, Any]
Excluded = dict[str, tuple[str, ...]]  # for each name, the outputs that must not write the value


class ProgressWriter(KVWriter):
    """``progress.csv``: one row per dump, columns in alphabetical order, no clock times.

    Two runs of the same config and seed write the same bytes. (SB3's own writer orders columns by
    Python's hashes, which differ between processes.)

    :param path: of the file, which is overwritten
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replace("")

    def replace(self, text: str) -> None:
        """Replace the content of the file by these rows, from :meth:`text`."""
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
        """Does nothing: no file stays open."""


class TextLog(HumanOutputFormat):
    """SB3's tables of text, extended to values of any type.

    :param path: of the file, which is overwritten; None for stdout
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
        except ValueError:  # two names have the same first 36 characters
            self.max_length = max(self.max_length, 3 + max(map(len, ready)))
            super().write(ready, dict.fromkeys(ready), step)  # type: ignore[arg-type]


class JSONLog(JSONOutputFormat):
    """SB3's ``progress.json``, extended to values of any type.

    :param path: of the file, which is overwritten
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
    """SB3's output to TensorBoard, extended to values of any type.

    :param folder: of the event file
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._refused: set[str] = set()  # names whose error has been printed

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
        except Exception as error:  # for example an image without pixels
            if name not in self._refused:
                say(f"TensorBoard does not take {name} ({one_line(error)})", error=True)
            self._refused.add(name)


class WandbWriter(KVWriter):
    """Logs to Weights & Biases. Its environment variables (WANDB_PROJECT, WANDB_MODE...) apply.

    :param folder: of the run; its name is the run's name at Weights & Biases
    :param config: the run's hyperparameters
    :raises ImportError: if the package wandb is not installed
    """

    run_id: str | None = None  #: the id at Weights & Biases; a resumed run keeps it

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
        if self.run is None:  # not earlier: a resumed run gets its id after __init__
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
    """The logger of a run. It overwrites the log files.

    :param folder: of the run
    :param formats: any of csv, tensorboard, wandb, stdout, log, json; monitor is a callback
    :param config: the run's hyperparameters
    :raises ValueError: for an unknown format
    :raises ImportError: for a format whose extra is not installed
    """
    if "tensorboard" in formats and not (folder / CHECKPOINT).exists():
        for path in folder.glob("events.out.tfevents.*"):  # of an earlier try that was stopped
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
    """The contents of a logger's files by name, for a checkpoint."""
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
    """Restore a new logger's files to their state at a checkpoint.

    :param rows: from :func:`rows_so_far`
    :param num_timesteps: at the checkpoint; TensorBoard drops what was logged later
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

    Infinite numbers and NaN become text, because TensorBoard's HParams tab cannot show them.
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
    """The logged values that do not exclude any of these outputs, with their names as text."""
    return {
        printable(name): value
        for name, value in values.items()
        if not {*outputs} & {*(excluded.get(name) or ())}
    }


def has_place(value: Any) -> bool:
    """Whether TensorBoard supports a value: a number, or an array of numbers for a histogram."""
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
    """Set the encoding of a text file that SB3 opened to UTF-8, in every locale."""
    file.reconfigure(encoding="utf-8", errors="backslashreplace")
