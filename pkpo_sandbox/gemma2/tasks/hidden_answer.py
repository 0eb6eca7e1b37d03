# pyright: reportMissingImports=false
# (datasets comes with an optional extra: types are checked where it is installed.)
"""Guess a hidden answer: a task with an exact held-out pass@k, for a CPU.

A problem is a context and a right answer. The answer is drawn once from the context's distribution
q. The prompt is the context only, so no policy can know the answer. A policy can only spread its
attempts over likely answers. The training set is finite. All other draws from q are held out.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pkpo_sandbox.gemma2.models import TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths, Task, text

if TYPE_CHECKING:
    from datasets import Dataset

KS = (1, 2, 4, 8, 12, 16)
SPLITS = ("train", "held_out")


@dataclass(frozen=True)
class HiddenAnswerTask(Task):
    """Guess the answer that belongs to a context, both written as numbers.

    :param n_contexts: number of contexts: 0..n_contexts-1
    :param n_answers: number of answers: 0..n_answers-1
    :param exponent: of Zipf's law: the answer of rank r has a probability proportional to
        1/r**exponent; each context ranks the answers differently
    :param n_train: number of training problems, the same number for each context
    :param n_test: number of new problems for sampled evaluation, the same number for each context
    :param data_seed: seed of the ranks and the draws
    :param warm_up_steps: number of supervised updates, which teach all answers equally
    :param warm_up_batch: prompts per update
    :param warm_up_lr: initial learning rate of AdamW; it decays linearly to 0
    :raises ValueError: if a value is out of range
    """

    n_contexts: int = 8
    n_answers: int = 16
    exponent: float = 1.0
    n_train: int = 256
    n_test: int = 64
    data_seed: int = 0
    warm_up_steps: int = 100
    warm_up_batch: int = 64
    warm_up_lr: float = 3e-3

    def __post_init__(self) -> None:
        for name in ("n_contexts", "n_answers", "warm_up_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("n_train", "n_test"):
            if getattr(self, name) < 1 or getattr(self, name) % self.n_contexts:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be a multiple of "
                    f"n_contexts={self.n_contexts}, above 0: each context has as many problems"
                )
        if self.exponent < 0 or self.warm_up_steps < 0 or not self.warm_up_lr > 0:
            raise ValueError(
                f"exponent={self.exponent} and warm_up_steps={self.warm_up_steps} must be at least "
                f"0 and warm_up_lr={self.warm_up_lr} above 0"
            )

    def check(self, data: DataPaths, model: Any) -> None:
        if data.path or data.eval_path:
            raise ValueError(
                "task=hidden_answer makes its own prompts: leave data.path and eval_path out"
            )
        largest = max(self.n_contexts, self.n_answers)
        if not isinstance(model, TinyGemma2) or model.numbers < largest:
            raise ValueError(
                f"task=hidden_answer is worded in numbers below {largest}: it needs model=tiny "
                f"with model.numbers of at least {largest}, but the model is {model}. Choose "
                "task=math or task=arc for another model"
            )

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """q, the probability that each answer is right: (n_contexts, n_answers)."""
        rng = np.random.default_rng([self.data_seed, 0])
        by_rank = 1 / np.arange(1, self.n_answers + 1) ** self.exponent
        order = np.stack([rng.permutation(self.n_answers) for _ in range(self.n_contexts)])
        return (by_rank / by_rank.sum())[order]

    def problems(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the contexts and the right answers of the problems of a split."""
        size = self.n_train if split == "train" else self.n_test
        rng = np.random.default_rng([self.data_seed, 1 + SPLITS.index(split)])
        contexts = np.repeat(np.arange(self.n_contexts), size // self.n_contexts)
        answers = [rng.choice(self.n_answers, p=self.chances[context]) for context in contexts]
        return contexts, np.array(answers)

    def load(self, data: DataPaths) -> "tuple[Dataset, Dataset | None]":
        from datasets import Dataset

        train, test = (
            Dataset.from_dict({"prompt": [str(c) for c in contexts], "gold": answers.tolist()})
            for contexts, answers in map(self.problems, SPLITS)
        )
        return train, test

    def reward(self, prompts: list, completions: list, **columns: Any) -> list[float | None]:
        """Return 1 if the answer is exactly the right number, else 0."""
        return [
            float(text(answer).strip() == str(gold))
            for answer, gold in zip(completions, columns["gold"], strict=True)
        ]

    def warm_up(self, model: Any, tokenizer: Any, seed: int) -> None:
        """Teach valid answers: a uniform answer, independent of the context, then <eos>."""
        import torch

        rng = np.random.default_rng(seed)
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        first = tokenizer.convert_tokens_to_ids("0")
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.warm_up_lr)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(self.warm_up_steps, 1))
        model.train()
        for _ in range(self.warm_up_steps):
            contexts = rng.integers(self.n_contexts, size=self.warm_up_batch)
            answers = rng.integers(self.n_answers, size=self.warm_up_batch)
            ends = [np.full(self.warm_up_batch, token) for token in (bos, eos)]
            ids = np.stack([ends[0], first + contexts, first + answers, ends[1]], axis=1)
            ids = torch.as_tensor(ids, device=model.device)
            logits = model(ids[:, :-1]).logits[:, 1:]  # of the answer and of <eos>
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()

    def policy(self, model: Any, tokenizer: Any) -> NDArray[np.float64]:
        """Return the probability of each answer followed by <eos>: (n_contexts, n_answers)."""
        import torch

        first = tokenizer.convert_tokens_to_ids("0")
        pairs = np.indices((self.n_contexts, self.n_answers)).reshape(2, -1)
        starts = np.full(pairs.shape[1], tokenizer.bos_token_id)
        ids = torch.as_tensor(np.stack([starts, *(first + pairs)], axis=1), device=model.device)
        was_training = model.training
        model.eval()
        with torch.no_grad():
            log_p = model(ids).logits.double().log_softmax(-1)
        model.train(was_training)
        answers = torch.as_tensor(first + pairs[1], device=model.device)
        given = log_p[:, 1].gather(1, answers[:, None])[:, 0] + log_p[:, 2, tokenizer.eos_token_id]
        return given.exp().view(self.n_contexts, self.n_answers).cpu().numpy()

    def exact(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Return the policy's entropy, and its pass@k on the training set and on held-out draws."""
        policy = self.policy(model, tokenizer)
        values = {
            f"exact/pass_at_{k}_{split}": pass_at(policy, self.weights(split), k)
            for split in SPLITS
            for k in KS
        }
        positive = np.maximum(policy, 1e-300)
        return {**values, "exact/entropy": float(-(policy * np.log(positive)).sum(1).mean())}

    def weights(self, split: str) -> NDArray[np.float64]:
        """Return how often each answer is right: in the training set, or q if held out."""
        if split == "held_out":
            return self.chances
        counts = np.zeros((self.n_contexts, self.n_answers))
        np.add.at(counts, self.problems("train"), 1)
        return counts / counts.sum(1, keepdims=True)


def pass_at(policy: NDArray[np.float64], chances: NDArray[np.float64], k: int) -> float:
    """The probability that one of k independent attempts is right: Σ_a q_a (1 - (1 - π_a)^k).

    :param policy: π, (contexts, answers)
    :param chances: q, of the same shape
    """
    return float((chances * (1 - (1 - policy) ** k)).sum(1).mean())


def best_policy(chances: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The policy with the largest pass@k, if attempts are independent.

    π_a = max(0, 1 - (λ/(k q_a))^(1/(k-1))). λ makes each row add up to 1. For k = 1 the policy
    always gives the most likely answer.

    :param chances: q, (contexts, answers)
    :return: π, of the same shape
    """
    from scipy.optimize import brentq

    policy = np.zeros_like(chances)
    for row, q in zip(policy, chances, strict=True):
        likely = q > 0
        if k == 1 or likely.sum() == 1:
            row[np.argmax(q)] = 1.0
            continue

        def given(log_rate: float, q: NDArray[np.float64] = q[likely]) -> NDArray[np.float64]:
            return np.maximum(0.0, 1 - np.exp((log_rate - np.log(k * q)) / (k - 1)))

        largest = float(np.log(k * q.max()))
        rate: Any = brentq(lambda x: given(x).sum() - 1, largest - 60 * k, largest, xtol=1e-12)
        row[likely] = given(rate)
    return policy
