"""Objectives by name, and their weights of scorable attempts."""

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import torch

from pkpo_sandbox import transforms
from pkpo_sandbox.gemma2.objective import named, names, weights_of_scorable


def test_every_objective_of_the_sandbox_is_known_by_name():
    assert {"pkpo", "rloo", "max_rl"} <= set(names())
    assert all(callable(getattr(transforms, name)) for name in names())


def test_an_objective_of_ones_own_must_give_one_weight_an_attempt(monkeypatch):
    monkeypatch.setattr(transforms, "total", lambda rewards: rewards.sum(-1), raising=False)
    with pytest.raises(ValueError, match=r"weights of shape \(1,\) for returns of shape \(1, 4\)"):
        named("pkpo_sandbox.transforms.total").check(4)


@pytest.mark.parametrize("name", ["pkpo", "rloo", "grpo", "tail_rl"])
def test_a_single_scorable_attempt_cannot_be_compared_and_has_no_weight(name):
    coefficients = {"k": 1} if name == "pkpo" else {}
    rewards = torch.tensor([[1.0, torch.nan, torch.nan], [1.0, 0.0, torch.nan]])
    weights = weights_of_scorable(named(name, **coefficients), rewards, coefficients)
    assert weights[0].tolist() == [0, 0, 0]
    assert weights[1, 0] > 0 > weights[1, 1]


@pytest.mark.parametrize(
    ("baseline", "scorable", "zero"),
    [("loo_minus_one", 3, True), ("loo_minus_one", 4, False), ("loo", 4, True), ("loo", 5, False)],
)
def test_too_few_scorable_attempts_have_no_weights(baseline, scorable, zero):
    rewards = torch.arange(8.0).unsqueeze(0)
    rewards[:, scorable:] = torch.nan
    coefficients = {"k": 4, "baseline": baseline}
    weights = weights_of_scorable(named("pkpo", **coefficients), rewards, coefficients)
    assert (weights == 0).all() == zero
    assert (weights[:, scorable:] == 0).all()
    if not zero:
        expected = transforms.pkpo(torch.arange(float(scorable)), 4, baseline)
        torch.testing.assert_close(weights[0, :scorable], expected)
