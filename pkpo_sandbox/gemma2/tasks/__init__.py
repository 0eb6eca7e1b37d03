# pyright: reportMissingImports=false
# (datasets comes with an optional extra: types are checked where it is installed.)
"""Tasks: prompts, and what an answer to one is worth. One file a task, found by ``_target_``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

Message = dict[str, str]


@dataclass
class DataPaths:
    """Where the user's data are.

    :param path: to train on
    :param eval_path: to evaluate on, or None
    """

    path: str | None = None
    eval_path: str | None = None


class Task:
    """What a task of one's own derives from; the app calls these in this order.

    Rows have a ``prompt``, a str or messages, and any other columns that ``reward`` takes.
    """

    def check(self, data: DataPaths, model: Any) -> None:
        """Refuse, before anything is loaded, what cannot work.

        :param model: the model's settings, as in :mod:`pkpo_sandbox.gemma2.models`
        :raises ValueError: naming what is missing and the cure
        """
        raise NotImplementedError

    def load(self, data: DataPaths) -> "tuple[Dataset, Dataset | None]":
        """The training set and the evaluation set."""
        raise NotImplementedError

    def reward(self, prompts: list, completions: list, **columns: Any) -> list[float | None]:
        """The reward of each completion, None where there can be none."""
        raise NotImplementedError

    def warm_up(self, model: Any, tokenizer: Any, seed: int) -> None:
        """Whatever a model needs before reinforcement learning; most need nothing."""

    def exact(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Exact values of a policy under ``exact/...`` names, for tasks that can compute them.

        Asked on every process alike, for a model may be spread over them all.
        """
        return {}

    def close(self) -> None:
        """Let go of what the task started, such as processes; called when training is over."""


def text(message: str | list[Message]) -> str:
    """A prompt or completion as one text, whether it came as a str or as messages."""
    return message if isinstance(message, str) else "\n".join(part["content"] for part in message)


def worded(prompt: str, conversational: bool) -> str | list[Message]:
    """A prompt as TRL takes it. Gemma's template has no system role: all is the user's turn."""
    return [{"role": "user", "content": prompt}] if conversational else prompt


def within_context(dataset: "Dataset", tokenizer: Any, limit: int) -> "tuple[Dataset, int]":
    """Drop prompts of more than ``limit`` tokens.

    :param limit: the model's context minus the room for an answer
    :return: the rest, and how many were dropped
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
