# pyright: reportMissingImports=false
# (datasets comes with an optional extra: types are checked where it is installed.)
"""ARC-AGI-1: find the rule of a grid puzzle, and apply it (arXiv 1911.01547)."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pkpo_sandbox.gemma2.models import TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths, Task, text, worded
from pkpo_sandbox.gemma2.tasks.files import data_files, read_text

if TYPE_CHECKING:
    from datasets import Dataset

Grid = list[list[int]]

INSTRUCTION = (
    "Each input grid becomes its output grid by one rule. Find the rule and apply it to the last "
    "input. Write a grid as one line a row, with a blank between cells, and end with the output "
    "grid.\n"
)
LARGEST = 30  # cells per side
_ROW = re.compile(r"^[ \t]*\d(?:[ \t]+\d)*[ \t]*$")


@dataclass(frozen=True)
class ArcTask(Task):
    """Puzzles in the format of the folder ``data/training`` of ARC-AGI-1, one JSON file each.

    A file is {"train": [{"input", "output"}...], "test": [...]} with grids of 0..9, at most 30x30.
    Each test input is one problem. A completion gets reward 1 if its last grid equals the output in
    every cell, else 0.

    :param conversational: prompts as a user turn, for instruction-tuned models; else plain text
    :param test_fraction: share of the puzzles at ``data.path`` that are held out for evaluation
    :param split_seed: seed of this split
    :raises ValueError: if test_fraction is not in [0, 1)
    """

    conversational: bool = True
    test_fraction: float = 0.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.test_fraction < 1:
            raise ValueError(
                f"test_fraction={self.test_fraction} must be in [0, 1): the share of the puzzles "
                "that are held out"
            )

    def check(self, data: DataPaths, model: Any) -> None:
        if isinstance(model, TinyGemma2):
            raise ValueError("model=tiny reads numbers only: give task=arc a pretrained model")
        if not data.path:
            raise ValueError(
                "task=arc needs data.path=..., the folder data/training of ARC-AGI-1 with its .json"
            )
        if data.eval_path and self.test_fraction:
            raise ValueError(
                f"data.eval_path={data.eval_path} and task.test_fraction={self.test_fraction} both "
                "say what to evaluate on: give one of them"
            )
        n_puzzles = [len(data_files(path, ".json")) for path in (data.path, data.eval_path) if path]
        if self.test_fraction and not 0 < self._held_out(n_puzzles[0]) < n_puzzles[0]:
            raise ValueError(
                f"task.test_fraction={self.test_fraction} of {n_puzzles[0]} puzzles leaves none to "
                "train on or none to evaluate on: change it, or give more puzzles"
            )

    def load(self, data: DataPaths) -> "tuple[Dataset, Dataset | None]":
        files = data_files(str(data.path), ".json")
        if data.eval_path:
            return self._rows(files), self._rows(data_files(data.eval_path, ".json"))
        order = np.random.default_rng(self.split_seed).permutation(len(files))
        held_out = set(order[: self._held_out(len(files))].tolist())
        train = [file for number, file in enumerate(files) if number not in held_out]
        test = [file for number, file in enumerate(files) if number in held_out]
        return self._rows(train), self._rows(test) if test else None

    def _held_out(self, n_puzzles: int) -> int:
        return round(self.test_fraction * n_puzzles)

    def reward(self, prompts: list, completions: list, **columns: Any) -> list[float | None]:
        return [
            float(last_grid(text(completion)) == gold)
            for completion, gold in zip(completions, columns["gold"], strict=True)
        ]

    def _rows(self, files: list[Path]) -> "Dataset":
        """Make rows with prompt, gold, the file's name and the number of the test input."""
        from datasets import Dataset

        rows = []
        for file in files:
            puzzle = _puzzle(file)
            for number, test in enumerate(puzzle["test"]):
                prompt = worded(_words(puzzle["train"], test["input"]), self.conversational)
                row = {"prompt": prompt, "gold": test["output"], "task": file.stem, "test": number}
                rows.append(row)
        return Dataset.from_list(rows)


def written(grid: Grid) -> str:
    """Write a grid as text: one line per row, a blank between cells."""
    return "\n".join(" ".join(map(str, row)) for row in grid)


def last_grid(answer: str) -> Grid | None:
    """Return the last block of lines that hold only single digits, or None if there is none.

    The block may not be a rectangle. Only a grid that equals the right one gets a reward.
    """
    grid: Grid = []
    for line in reversed(answer.splitlines()):
        if _ROW.match(line):
            grid.append([int(cell) for cell in line.split()])
        elif grid:
            break
    return grid[::-1] or None


def _words(examples: list[dict[str, Grid]], test: Grid) -> str:
    parts = [INSTRUCTION]
    for example in examples:
        parts += ["Input:", written(example["input"]), "Output:", written(example["output"]), ""]
    return "\n".join([*parts, "Input:", written(test), "Output:"])


def _puzzle(file: Path) -> dict[str, list[dict[str, Grid]]]:
    """Read a puzzle. A ValueError names the file and what is wrong with it."""
    try:
        puzzle = json.loads(read_text(file))
        grids = [
            pair[side]
            for part in ("train", "test")
            for pair in puzzle[part]
            for side in ("input", "output")
        ]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no ARC puzzle with train and test pairs of input and output ({error!r}): "
            "give data/training of ARC-AGI-1, a file for each puzzle"
        ) from None
    for grid in grids:
        if not _is_grid(grid):
            raise ValueError(
                f"{file} has a grid that is not a rectangle of digits, at most {LARGEST} a side: "
                f"{str(grid)[:60]}"
            )
    return puzzle


def _is_grid(grid: Any) -> bool:
    if not isinstance(grid, list) or not 1 <= len(grid) <= LARGEST:
        return False
    if not all(isinstance(row, list) and 1 <= len(row) <= LARGEST for row in grid):
        return False
    cells = [cell for row in grid for cell in row]
    same_width = len({len(row) for row in grid}) == 1
    return same_width and all(type(cell) is int and 0 <= cell <= 9 for cell in cells)
