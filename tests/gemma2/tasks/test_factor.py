"""The factor task: its prompts, its reward, the warm-up, and its exact values."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import numpy as np
import torch

from pkpo_sandbox.gemma2.models import PretrainedGemma2, TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths
from pkpo_sandbox.gemma2.tasks.factor import FactorTask, prime_factors

REAL = PretrainedGemma2("google/gemma-2-2b-it")


def test_prime_factors_by_their_product_and_primality():
    for n in range(2, 500):
        factors = prime_factors(n)
        rest = n
        for q in factors:
            assert all(q % d for d in range(2, q))
            while rest % q == 0:
                rest //= q
        assert rest == 1
        assert factors == sorted(set(factors))


def test_the_factor_prompts_are_even_or_hard():
    easy, hard = FactorTask().numbers()
    assert (len(easy), len(hard)) == (64, 61)
    assert all(n % 2 == 0 and 30 <= n < 700 for n in easy)
    assert all(7 <= min(prime_factors(n)) <= 19 for n in hard)
    train, test = FactorTask().load(DataPaths())
    assert train["prompt"] == [str(n) for n in easy + hard]
    assert test is None


def test_the_factor_reward_is_one_for_a_prime_factor_alone():
    prompts = ["91", "91", "91", "91", "91", "91", "74"]
    answers = ["7", "13", "1", "91", "7 7", "", "37"]
    assert FactorTask().reward(prompts, answers) == [1, 1, 0, 0, 0, 0, 1]


def test_the_warm_up_teaches_the_prior_whatever_the_prompt():
    task = FactorTask()
    model, tokenizer, _ = TinyGemma2().load(seed=0)
    task.warm_up(model, tokenizer, seed=0)
    easy, hard = task.numbers()
    first = tokenizer.convert_tokens_to_ids("0")
    ids = torch.tensor([[tokenizer.bos_token_id, first + n] for n in easy + hard])
    with torch.no_grad():
        answers = model(ids).logits[:, -1].softmax(-1).mean(0)
    learned = [float(answers[first + q]) for q in (2, 3, 5, 7, 11, 13, 17, 19)]
    np.testing.assert_allclose(learned, task.prior, atol=0.05)
    assert task.exact(model, tokenizer)["exact/max_at_1_hard"] == pytest.approx(0.05, abs=0.03)


def test_the_exact_values_are_those_of_sampled_answers():
    """1,600 answers a prompt to a few prompts, generated as in training."""
    task = FactorTask(low=40, high=60, n_easy=2, warm_up_steps=60)
    model, tokenizer, _ = TinyGemma2(numbers=60).load(seed=0)
    task.warm_up(model, tokenizer, seed=0)
    exact = task.exact(model, tokenizer)
    easy, hard = task.numbers()
    torch.manual_seed(0)
    rates = []
    for n in easy + hard:
        ids = tokenizer([str(n)] * 1600, return_tensors="pt")
        out = model.generate(
            **ids, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=2
        )
        answers = tokenizer.batch_decode(out[:, 2:], skip_special_tokens=True)
        rates.append(np.mean(task.reward([str(n)] * 1600, answers)))
    error = 4 * 0.5 / np.sqrt(1600 * len(rates))
    assert exact["exact/max_at_1"] == pytest.approx(np.mean(rates), abs=error)
    best_of_4 = np.mean(1 - (1 - np.array(rates)) ** 4)
    assert exact["exact/max_at_4"] == pytest.approx(best_of_4, abs=0.05)
    assert exact["exact/max_at_1"] < exact["exact/max_at_4"] < exact["exact/max_at_16"] <= 1


def test_the_factor_task_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="makes its own prompts"):
        FactorTask().check(DataPaths("somewhere"), TinyGemma2())
    with pytest.raises(ValueError, match="numbers below 700"):
        FactorTask().check(DataPaths(), TinyGemma2(numbers=100))
    with pytest.raises(ValueError, match="numbers below 700"):
        FactorTask().check(DataPaths(), REAL)
    with pytest.raises(ValueError, match="8 probabilities that add up to 1"):
        FactorTask(prior=(1.0,))
    with pytest.raises(ValueError, match="8 probabilities that add up to 1"):
        FactorTask(prior=(1.1, -0.1, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 1}, "low=1 must be at least 2 and below high=700"),
        ({"low": 700}, "low=700 must be at least 2 and below high=700"),
        ({"low": 30, "high": 40, "n_easy": 6}, "n_easy=6 must be between 0 and the 5 even numbers"),
        ({"low": 31, "high": 41, "n_easy": 6}, "n_easy=6 must be between 0 and the 5 even numbers"),
        ({"warm_up_steps": -1}, "warm_up_steps=-1 must be at least 0"),
        ({"warm_up_batch": 0}, "warm_up_batch=0 at least 1"),
        ({"warm_up_lr": 0.0}, "warm_up_lr=0.0 above 0"),
    ],
)
def test_the_factor_task_refuses_numbers_out_of_range(given, message):
    with pytest.raises(ValueError, match=message):
        FactorTask(**given)
