# pyright: reportMissingImports=false
# (datasets comes with an optional extra: types are checked where it is installed.)
"""Tasks: prompts and the rewards of answers. One file per task, named by ``_target_``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

Message = dict[str, str]


@dataclass
class DataPaths:
    """Paths of the user's data.

    :param path: training data
    :param eval_path: evaluation data, or None
    """

    path: str | None = None
    eval_path: str | None = None


class Task:
    """Base class of tasks, also of your own. The app calls its methods in this order.

    Rows have a ``prompt``, a str or messages, and all other columns that ``reward`` needs.
    """

    def check(self, data: DataPaths, model: Any) -> None:
        """Refuse a configuration that cannot work. Called before anything is loaded.

        :param model: the model's settings, as in :mod:`pkpo_sandbox.gemma2.models`
        :raises ValueError: naming the problem and the cure
        """
        raise NotImplementedError

    def load(self, data: DataPaths) -> "tuple[Dataset, Dataset | None]":
        """Return the training set and the evaluation set."""
        raise NotImplementedError

    def reward(self, prompts: list, completions: list, **columns: Any) -> list[float | None]:
        """Return the reward of each completion, None if it cannot be scored."""
        raise NotImplementedError

    def warm_up(self, model: Any, tokenizer: Any, seed: int) -> None:
        """Prepare the model for reinforcement learning. Most tasks need no warm-up."""

    def exact(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Return exact values of a policy under ``exact/...`` names, if the task can compute them.

        Called on every process, because a model may be sharded over all of them.
        """
        return {}

    def close(self) -> None:
        """Release resources such as processes. Called after training."""


def text(message: str | list[Message]) -> str:
    """Convert a prompt or completion, a str or messages, to one text."""
    return message if isinstance(message, str) else "\n".join(part["content"] for part in message)


def worded(prompt: str, conversational: bool) -> str | list[Message]:
    """Convert a prompt to TRL's format. Gemma has no system role, so all is one user turn."""
    return [{"role": "user", "content": prompt}] if conversational else prompt


def within_context(dataset: "Dataset", tokenizer: Any, limit: int) -> "tuple[Dataset, int]":
    """Drop prompts of more than ``limit`` tokens.

    :param limit: the model's context minus the room for an answer
    :return: the remaining rows, and the number of dropped rows
    """

    def fits(row: dict[str, Any]) -> bool:
        prompt = row["prompt"]
        if isinstance(prompt, str):
            return len(tokenizer(prompt)["input_ids"]) <= limit
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        return len(ids["input_ids"]) <= limit

    kept = [row for row in range(len(dataset)) if fits(dataset[row])]
    dropped = len(dataset) - len(kept)
    return dataset.select(kept) if dropped else dataset, dropped
