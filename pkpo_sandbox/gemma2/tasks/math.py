# pyright: reportMissingImports=false
# (math-verify and datasets come with an optional extra: types are checked where it is installed.)
"""MATH: problems with one final answer, scored by computer algebra (arXiv 2103.03874)."""

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pkpo_sandbox.gemma2.models import TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths, Task, text, worded
from pkpo_sandbox.gemma2.tasks.verifier import Verifier

if TYPE_CHECKING:
    from datasets import Dataset

_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s+(?=[^\s{]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is none
INSTRUCTION = "Solve this problem step by step. Put the final answer into \\boxed{}.\n\n"


@dataclass(frozen=True)
class MathTask(Task):
    r"""Problems with ``problem`` and ``answer`` or ``solution``, in .parquet or .jsonl files.

    The gold answer is ``answer`` or, without one, the last ``\boxed{}`` of ``solution``. A
    completion gets 1 if its own last ``\boxed{}`` is equivalent, else 0; also if it was cut off.

    :param conversational: prompts as a user's turn, for models tuned to instructions; else text
    :param workers: processes that score
    :param seconds: an answer may take to be scored; then it counts as wrong
    """

    conversational: bool = True
    workers: int = 4
    seconds: float = 3.0

    def check(self, data: DataPaths, model: Any) -> None:
        if isinstance(model, TinyGemma2):
            raise ValueError("model=tiny reads numbers only: give task=math a pretrained model")
        if not data.path:
            raise ValueError(
                "task=math needs data.path=..., a .parquet or .jsonl file with the columns problem "
                "and solution or answer, or a folder of such files"
            )
        for path in filter(None, (data.path, data.eval_path)):
            _files(path)

    def load(self, data: DataPaths) -> "tuple[Dataset, Dataset | None]":
        return self._read(data.path), self._read(data.eval_path) if data.eval_path else None

    def reward(self, prompts: list, completions: list, **columns: Any) -> list[float | None]:
        answers = [last_boxed(text(completion)) for completion in completions]
        rewards: list[float | None] = [0.0] * len(answers)
        boxed = [row for row, answer in enumerate(answers) if answer is not None]
        pairs = [(columns["gold"][row], answers[row] or "") for row in boxed]
        for row, score in zip(boxed, self.verifier(pairs), strict=True):
            rewards[row] = score
        return rewards

    @cached_property
    def verifier(self) -> Verifier:
        """The processes that score; they start with the first answer."""
        return Verifier(is_equivalent, self.workers, self.seconds)

    def close(self) -> None:
        if "verifier" in self.__dict__:
            self.verifier.close()

    def _read(self, path: Any) -> "Dataset":
        """Rows with prompt, gold and, where the file has them, level and type."""
        import pandas as pd  # not above: the processes that score import this module
        from datasets import Dataset

        tables = [
            pd.read_parquet(file)
            if file.suffix == ".parquet"
            else pd.read_json(file, lines=True, dtype=False)  # type: ignore[arg-type]
            for file in _files(path)
        ]
        table = pd.concat(tables, ignore_index=True)
        if "problem" not in table or not {"solution", "answer"} & set(table.columns):
            raise ValueError(
                f"{path} has the columns {', '.join(table.columns)}, but problem and one of "
                "solution, answer are needed"
            )
        rows = []
        for row in table.to_dict("records"):
            answer = row.get("answer")
            known = isinstance(answer, str | int | float) and answer == answer  # nan is not
            gold = str(answer).strip() if known else None
            if not gold:
                gold = last_boxed(str(row.get("solution", "")))
            if gold:
                extra = {name: str(row[name]) for name in ("level", "type") if name in row}
                prompt = worded(INSTRUCTION + str(row["problem"]), self.conversational)
                rows.append({"prompt": prompt, "gold": gold, **extra})
        if dropped := len(table) - len(rows):
            print(f"{path}: dropped {dropped} of {len(table)} problems, which have no answer")
        if not rows:
            raise ValueError(f"{path} has no problem with an answer: is it MATH?")
        return Dataset.from_list(rows)


def last_boxed(answer: str) -> str | None:
    r"""What the last box of a text holds, braces balanced; None if there is none, or it is cut off.

    Boxes are ``\boxed{...}``, ``\fbox{...}`` and, as in some solutions of MATH, ``\boxed 5``.
    """
    boxes = list(_BOX.finditer(answer))
    if not boxes:
        return None
    rest = answer[boxes[-1].end() :]
    if not boxes[-1][0].endswith("{"):
        return re.split(r"[$\s]|\.(?!\d)", rest, maxsplit=1)[0] or None
    depth = 1
    for token in _BRACE.finditer(rest):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return rest[: token.start()].strip()
    return None


def is_equivalent(gold: str, answer: str) -> float:
    """1 if two LaTeX expressions mean the same by math-verify, else 0. Not symmetric: gold first.

    It may take forever; it runs in a process of :class:`Verifier`, which ends it.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    # It would warn that its own timeouts, by signal.alarm, are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # It cannot read 50\%, which as in MATH's own grading is worth what 50 is.
    gold, answer = (re.sub(r"\\?%", "", latex).rstrip("\\ ") for latex in (gold, answer))
    if gold == answer:
        return 1.0
    wanted, given = (
        parse(f"\\boxed{{{latex}}}", [LatexExtractionConfig()], parsing_timeout=None)  # type: ignore[arg-type]
        for latex in (gold, answer)
    )
    return float(verify(wanted, given, timeout_seconds=None))


def _files(path: str) -> list[Path]:
    """The data files of a path, a file or a folder."""
    place = Path(path).expanduser()
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    files = [file for file in files if file.suffix in (".parquet", ".jsonl") and file.is_file()]
    if not files:
        raise ValueError(f"{path} is no .parquet or .jsonl file, nor a folder with such files")
    return files
