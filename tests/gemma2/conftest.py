"""Fixtures for the tests of gemma2: offline mode, a tiny model, and a trainer that records."""

import os
from itertools import combinations
from math import comb
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}7 "
    "{{ message['content'] }} 8{% else %} {{ message['content'] }}{% endif %}{% endfor %}"
)
LENGTH = 4  # tokens of an answer at most


def score(answer: str) -> float:
    """A reward with ties and a spread: the sum of the numbers in an answer, modulo 5, over 4."""
    return sum(map(int, answer.split())) % 5 / 4


def by_definition(rewards: list[float], k: int) -> list[float]:
    """The weights of PKPO by enumerating subsets (arXiv 2505.15201); of RLOO for k = 1."""
    n = len(rewards)
    if k == 1:
        return [(g - (sum(rewards) - g) / (n - 1)) / n for g in rewards]
    weights = [0.0] * n
    for subset in combinations(range(n), k):
        for i in subset:
            rest = max(rewards[j] for j in subset if j != i)
            weights[i] += (max(rewards[j] for j in subset) - rest) / comb(n, k)
    return weights


def reward(prompts, completions, **_) -> list[float | None]:
    answers = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [score(answer) for answer in answers]


@pytest.fixture
def watched(tmp_path):
    """Make a PKPOTrainer of a tiny random Gemma-2 that keeps the rows which reach its loss.

    ``trainer.rows`` is one list for each batch of the loss, of (prompt, answer, advantage), and
    ``trainer.batches`` the tensors. Prompts are of one or two numbers, so some are padded.
    """
    from datasets import Dataset

    from pkpo_sandbox.gemma2 import PKPOConfig, PKPOTrainer
    from pkpo_sandbox.gemma2.models import TinyGemma2

    class Watched(PKPOTrainer):
        def _compute_loss(self, model, inputs):
            if not hasattr(self, "rows"):
                self.rows, self.batches = [], []
            decode = self.processing_class.batch_decode
            prompts = decode(inputs["prompt_ids"], skip_special_tokens=True)
            answers = decode(inputs["completion_ids"], skip_special_tokens=True)
            advantages = inputs["advantages"].tolist()
            self.rows.append(list(zip(prompts, answers, advantages, strict=True)))
            self.batches.append(inputs)
            return super()._compute_loss(model, inputs)

    def make(
        prompts: list[Any] | None = None,
        reward_funcs: Any = reward,
        chat: bool = False,
        folder: str = "out",
        trainer: dict[str, Any] | None = None,
        **settings: Any,
    ):
        model, tokenizer, _ = TinyGemma2(numbers=40, hidden_size=32).load(seed=0)
        if chat:
            tokenizer.chat_template = TEMPLATE
        if prompts is None:
            prompts = [f"{i}" if i % 2 else f"{i} {i + 1}" for i in range(12)]
        defaults = {
            "output_dir": str(tmp_path / folder),
            "num_generations": 8,
            "per_device_train_batch_size": 24,
            "max_completion_length": LENGTH,
            "max_steps": 1,
            "learning_rate": 1e-2,
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "disable_tqdm": True,
            "report_to": "none",
            "save_strategy": "no",
        }
        if settings.get("objective", "pkpo") == "pkpo":
            defaults["k"] = 4
        return Watched(
            model,
            reward_funcs,
            PKPOConfig(**{**defaults, **settings}),
            Dataset.from_dict({"prompt": prompts}),
            processing_class=tokenizer,
            **(trainer or {}),
        )

    return make


def grouped(rows: list[tuple[str, str, float]]) -> dict[str, tuple[list[str], list[float]]]:
    """Answers and advantages by prompt."""
    groups: dict[str, tuple[list[str], list[float]]] = {}
    for prompt, answer, advantage in rows:
        answers, advantages = groups.setdefault(prompt, ([], []))
        answers.append(answer)
        advantages.append(advantage)
    return groups
