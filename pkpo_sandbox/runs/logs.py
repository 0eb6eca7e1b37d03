"""Where a run's numbers go: outputs for Stable-Baselines3's logger.

``csv`` is ``progress.csv``, from which runs are read, ``tensorboard`` with the hyperparameters, so
that runs compare in its HParams tab, ``wandb`` Weights & Biases; the others are SB3's.
"""

import csv
import io
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    HParam,
    HumanOutputFormat,
    JSONOutputFormat,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
    make_output_format,
)

from pkpo_sandbox.runs.folder import CHECKPOINT, write_atomically

CLOCK = ("time/fps", "time/time_elapsed")  # not the same in two runs of one config and seed
TEXT_FILES = (HumanOutputFormat, JSONOutputFormat)


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
        reader = csv.reader(io.StringIO(text))
        self._columns = next(reader, [])

    def text(self) -> str:
        """The rows so far."""
        return self.path.read_text(encoding="utf-8")

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        row = {
            name: value
            for name, value in key_values.items()
            if name not in CLOCK and "csv" not in (key_excluded.get(name) or ())
        }
        if new := row.keys() - set(self._columns):
            rows = list(csv.DictReader(io.StringIO(self.text())))
            self._columns = sorted({*self._columns, *new})
            write_atomically(self.path, self._lines(rows, header=True))
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._lines([row]))

    def _lines(self, rows: Sequence[dict[str, Any]], header: bool = False) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def close(self) -> None:
        """Nothing is held open."""


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

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        if self.run is None:  # not before: a run may be found to go on
            self.run = self._init(id=self.run_id, resume="allow")
            self.run_id = self.run.id
        numbers = {
            name: value
            for name, value in key_values.items()
            if isinstance(value, int | float) and "wandb" not in (key_excluded.get(name) or ())
        }
        self.run.log(numbers, step=step)

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()


def make_logger(folder: Path, formats: Sequence[str], config: dict[str, Any]) -> Logger:
    """The logger of a run, which begins its files anew.

    :param folder: of the run
    :param formats: of csv, tensorboard, wandb, stdout, log, json
    :param config: the run's hyperparameters
    :raises ValueError: for a format that does not exist
    :raises ImportError: for one that needs an extra
    """
    outputs: list[KVWriter] = []
    for name in formats:
        if name == "csv":
            outputs.append(ProgressWriter(folder / "progress.csv"))
        elif name == "wandb":
            outputs.append(WandbWriter(folder, config))
        else:
            if name == "tensorboard" and not (folder / CHECKPOINT).exists():
                for path in folder.glob("events.out.tfevents.*"):  # of a try that was stopped
                    path.unlink()
            outputs.append(make_output_format(name, str(folder)))
    logger = Logger(str(folder), outputs)
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
        elif isinstance(output, TEXT_FILES) and output.file is not sys.stdout:
            output.file.flush()
            rows[Path(output.file.name).name] = Path(output.file.name).read_text(encoding="utf-8")
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
        elif isinstance(output, TEXT_FILES) and output.file is not sys.stdout:
            output.file.write(rows[Path(output.file.name).name])
        elif isinstance(output, TensorBoardOutputFormat):
            assert output.writer.file_writer is not None
            events: Any = import_module("tensorboard.compat.proto.event_pb2")
            restart = events.Event(session_log={"status": events.SessionLog.START})
            output.writer.file_writer.add_event(restart, num_timesteps + 1)


METRIC = "rollout/ep_rew_mean"  # every run logs it; the HParams tab shows the others beside it


def hyperparameters(config: dict[str, Any], prefix: str = "") -> dict[str, bool | str | float]:
    """A nested config as flat names and values: {"objective.k": 4, ...}."""
    flat: dict[str, bool | str | float] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= hyperparameters(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float) else str(value)
    return flat
