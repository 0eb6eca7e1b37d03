# pyright: reportMissingImports=false
# (datasets comes with an optional extra: types are checked where it is installed.)
"""Name a prime factor of N: a task on which k = 1 stalls, with exact values, for a CPU.

The skewed warm-up causes the stall. It teaches the tiny model to answer with a small prime, often 2
and rarely 19, for every N. Half of the prompts are even (easy: 2 is right). The others have no
prime factor below 7 (hard). With k = 1 the shared weights learn "2" for all prompts, before the
rare successes on hard prompts have an effect. With a larger k a prompt that is often solved has
little weight. The task shows the mechanism of arXiv 2505.15201, not a gain on language tasks.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pkpo_sandbox.gemma2.models import TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths, Task, text

if TYPE_CHECKING:
    from datasets import Dataset

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
KS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class FactorTask(Task):
    """Name a prime factor of N.

    :param low: smallest N
    :param high: N is below this number
    :param n_easy: number of even prompts, drawn at random; the hard prompts are all N whose
        smallest prime factor is 7 to 19
    :param data_seed: seed of this draw
    :param prior: probabilities of the answers 2, 3, ..., 19 in the warm-up; they add up to 1
    :param warm_up_steps: number of supervised updates, 0 for none
    :param warm_up_batch: prompts per update
    :param warm_up_lr: initial learning rate of AdamW; it decays linearly to 0
    :raises ValueError: if a value is out of range
    """

    low: int = 30
    high: int = 700
    n_easy: int = 64
    data_seed: int = 0
    prior: tuple[float, ...] = (0.50, 0.20, 0.12, 0.07, 0.05, 0.03, 0.02, 0.01)
    warm_up_steps: int = 150
    warm_up_batch: int = 64
    warm_up_lr: float = 3e-3

    def __post_init__(self) -> None:
        if not 2 <= self.low < self.high:
            raise ValueError(f"low={self.low} must be at least 2 and below high={self.high}")
        even = (self.high - 1) // 2 - (self.low - 1) // 2
        if not 0 <= self.n_easy <= even:
            raise ValueError(f"n_easy={self.n_easy} must be between 0 and the {even} even numbers")
        if self.warm_up_steps < 0 or self.warm_up_batch < 1 or not self.warm_up_lr > 0:
            raise ValueError(
                f"warm_up_steps={self.warm_up_steps} must be at least 0, "
                f"warm_up_batch={self.warm_up_batch} at least 1 and warm_up_lr={self.warm_up_lr} "
                "above 0"
            )
        if len(self.prior) != len(PRIMES) or min(self.prior) < 0 or abs(sum(self.prior) - 1) > 1e-6:
            raise ValueError(
                f"prior={list(self.prior)} must be {len(PRIMES)} probabilities that add up to 1, "
                f"one for each of {PRIMES}"
            )

    def check(self, data: DataPaths, model: Any) -> None:
        if data.path or data.eval_path:
            raise ValueError("task=factor makes its own prompts: leave data.path and eval_path out")
        if not isinstance(model, TinyGemma2) or model.numbers < self.high:
            raise ValueError(
                f"task=factor is worded in numbers below {self.high}: it needs model=tiny with "
                f"model.numbers of at least {self.high}, but the model is {model}. Choose "
                "task=math or task=arc for another model"
            )

    def numbers(self) -> tuple[list[int], list[int]]:
        """Return the easy and the hard N."""
        everything = range(self.low, self.high)
        even = [n for n in everything if n % 2 == 0]
        drawn = np.random.default_rng(self.data_seed).choice(even, self.n_easy, replace=False)
        hard = [n for n in everything if 7 <= min(prime_factors(n)) <= PRIMES[-1]]
        return sorted(drawn.tolist()), hard

    def load(self, data: DataPaths) -> "tuple[Dataset, Dataset | None]":
        from datasets import Dataset

        easy, hard = self.numbers()
        return Dataset.from_dict({"prompt": [str(n) for n in easy + hard]}), None

    def reward(self, prompts: list, completions: list, **columns: Any) -> list[float | None]:
        """Return 1 if the answer is exactly one prime factor of N, else 0."""
        return [
            float(text(answer).strip() in map(str, prime_factors(int(text(prompt)))))
            for prompt, answer in zip(prompts, completions, strict=True)
        ]

    def warm_up(self, model: Any, tokenizer: Any, seed: int) -> None:
        """Teach valid answers: a prime from ``prior``, independent of N, then <eos>."""
        import torch

        rng = np.random.default_rng(seed)
        easy, hard = self.numbers()
        prompts = np.array(easy + hard)
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        first = tokenizer.convert_tokens_to_ids("0")
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.warm_up_lr)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(self.warm_up_steps, 1))
        model.train()
        for _ in range(self.warm_up_steps):
            numbers = rng.choice(prompts, self.warm_up_batch)
            answers = rng.choice(PRIMES, self.warm_up_batch, p=self.prior)
            columns = [np.full(self.warm_up_batch, bos), first + numbers, first + answers]
            ids = torch.as_tensor(
                np.stack([*columns, np.full(self.warm_up_batch, eos)], axis=1), device=model.device
            )
            logits = model(ids[:, :-1]).logits[:, 1:]  # of the answer and of <eos>
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()

    def exact(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Return the entropy of answers (nats) and pass@k at temperature 1.

        pass@k is the mean over all prompts, and over the hard prompts, of 1 - (1-p)^k. Here
        p = Σ P(q)·P(eos|q) over the prime factors q of a prompt.
        """
        import torch

        easy, hard = self.numbers()
        first = tokenizer.convert_tokens_to_ids("0")
        pairs = [(n, q) for n in easy + hard for q in prime_factors(n)]
        rows = [[tokenizer.bos_token_id, first + n, first + q] for n, q in pairs]
        prompts = [[tokenizer.bos_token_id, first + n] for n in easy + hard]
        was_training = model.training
        model.eval()
        with torch.no_grad():
            log_p = model(torch.tensor(rows, device=model.device)).logits.double().log_softmax(-1)
            answer = model(torch.tensor(prompts, device=model.device)).logits[:, -1].double()
        model.train(was_training)
        of_pair = torch.stack(
            [
                log_p[row, 1, first + q] + log_p[row, 2, tokenizer.eos_token_id]
                for row, (_, q) in enumerate(pairs)
            ]
        ).exp()
        chance = dict.fromkeys(easy + hard, 0.0)
        for (n, _), p in zip(pairs, of_pair.tolist(), strict=True):
            chance[n] += p
        values = {}
        for scope, numbers in (("", easy + hard), ("_hard", hard)):
            p = np.array([chance[n] for n in numbers])
            for k in KS:
                values[f"exact/max_at_{k}{scope}"] = float(np.mean(1 - (1 - p) ** k))
        entropy = torch.distributions.Categorical(logits=answer).entropy().mean()
        return {**values, "exact/entropy": float(entropy)}


def prime_factors(n: int) -> list[int]:
    """Return the distinct prime factors of n ≥ 2, in ascending order."""
    factors, divisor = [], 2
    while divisor * divisor <= n:
        if n % divisor == 0:
            factors.append(divisor)
            while n % divisor == 0:
                n //= divisor
        divisor += 1
    return [*factors, n] if n > 1 else factors
