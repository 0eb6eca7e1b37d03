# pyright: reportMissingImports=false
# (datasets comes with an optional extra: types are checked where it is installed.)
"""MATH: problems with one final answer. Computer algebra scores it (arXiv 2103.03874)."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pkpo_sandbox.gemma2.models import TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths, Task, text, worded
from pkpo_sandbox.gemma2.tasks.files import data_files, read_rows
from pkpo_sandbox.gemma2.tasks.grading import is_equivalent
from pkpo_sandbox.gemma2.tasks.verifier import Verifier

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".parquet", ".jsonl")
_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*\{|\s+(?=[^\s{]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # escaped braces do not count
INSTRUCTION = "Solve this problem step by step. Put the final answer into \\boxed{}.\n\n"


@dataclass(frozen=True)
class MathTask(Task):
    r"""Problems with ``problem`` and ``answer`` or ``solution``, in .parquet or .jsonl files.

    The gold answer is ``answer``, else the last ``\boxed{}`` of ``solution``. A completion gets
    reward 1 if its last ``\boxed{}`` is equivalent, else 0. A truncated completion is scored too.

    :param conversational: prompts as a user turn, for instruction-tuned models; else plain text
    :param workers: number of processes that score answers
    :param seconds: time limit to score one answer; after it the answer counts as wrong
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
            data_files(path, *SUFFIXES)

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
        """The processes that score answers. They start with the first answer."""
        return Verifier(is_equivalent, self.workers, self.seconds)

    def close(self) -> None:
        if "verifier" in self.__dict__:
            self.verifier.close()

    def _read(self, path: Any) -> "Dataset":
        """Read rows with prompt, gold, and level and type if the file has them."""
        from datasets import Dataset

        rows, n_rows = [], 0
        for file in data_files(path, *SUFFIXES):
            for number, row in enumerate(read_rows(file), start=1):
                n_rows += 1
                if not isinstance(row.get("problem"), str) or not {"solution", "answer"} & set(row):
                    raise ValueError(
                        f"{file}, row {number} has the columns {', '.join(row)}, but the text "
                        "problem and one of solution, answer are needed: is it MATH?"
                    )
                if gold := _gold(row):
                    extra = {name: str(row[name]) for name in ("level", "type") if name in row}
                    prompt = worded(INSTRUCTION + row["problem"], self.conversational)
                    rows.append({"prompt": prompt, "gold": gold, **extra})
        if dropped := n_rows - len(rows):
            print(f"{path}: dropped {dropped} of {n_rows} problems, which have no answer")
        if not rows:
            raise ValueError(f"{path} has no problem with an answer: is it MATH?")
        return Dataset.from_list(rows)


def _gold(row: dict[str, Any]) -> str | None:
    """Return the gold answer of a row: its answer, or the last box of its solution."""
    answer = row.get("answer")
    known = isinstance(answer, str | int | float) and answer == answer  # not NaN
    return (str(answer).strip() if known else None) or last_boxed(str(row.get("solution", "")))


def last_boxed(answer: str) -> str | None:
    r"""Return the content of the last box of a text, or None if it is missing or cut off.

    A box is ``\boxed{...}``, ``\fbox{...}`` or, as in some solutions of MATH, ``\boxed 5``.
    Braces are balanced.
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
