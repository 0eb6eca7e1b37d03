"""The gradient: by exact enumeration of all outcomes, and against the written loss."""

from itertools import product

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from pkpo_envs.bandit import BanditEnv, BanditVectorEnv
from pkpo_sandbox.algorithm import gradients
from pkpo_sandbox.algorithm.gradients import backward
from pkpo_sandbox.algorithm.groups import GroupVecEnv
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.rollouts import Rollout
from pkpo_sandbox.transforms import pkpo
from tests.algorithm.enumeration import LOGITS, OUTCOMES, true_gradient
from tests.algorithm.short_runs import (
    DISABLED,
    SGD,
    DigitsVector,
    bandit,
    collect,
    logged,
    parameters,
    same,
)


class DoubleExtractor(FlattenExtractor):
    """SB3 encodes a discrete observation in float32."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations).double()


def softmax_bandit(n_groups: int, group_size: int, **kwargs) -> PKPO:
    """A policy in float64 whose action_net.bias is its logits."""
    model = bandit(
        n_groups=n_groups,
        group_size=group_size,
        max_grad_norm=1e9,
        policy_kwargs={"net_arch": [], "features_extractor_class": DoubleExtractor, **SGD},
        **kwargs,
    )
    model.policy.double()
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.copy_(LOGITS)
    return model


def rollout_of(model: PKPO, outcomes: tuple) -> Rollout:
    """One-step episodes with these (arm, reward, chance), group after group."""
    observations = torch.zeros(len(outcomes), dtype=torch.int64)
    arms = torch.tensor([arm for arm, _, _ in outcomes])
    distribution = model.policy.get_distribution(observations)
    shape = (model.n_groups, model.group_size)
    returns = torch.tensor([r for _, r, _ in outcomes], dtype=torch.float64).reshape(shape)
    return Rollout(
        observations=observations,
        actions=arms,
        log_prob=distribution.log_prob(arms),
        entropy=distribution.entropy(),
        attempts=torch.arange(len(outcomes)),
        returns=returns,
        undiscounted=returns,
        lengths=np.ones(shape, dtype=np.int64),
    )


def expected_gradient(model: PKPO) -> torch.Tensor:
    """Σ over all samples of an iteration: its probability times the gradient it gives."""
    policy = torch.softmax(LOGITS, 0)
    bias = model.policy.action_net.bias
    total, mass = torch.zeros(3, dtype=torch.float64), 0.0
    for outcomes in product(OUTCOMES, repeat=model.n_groups * model.group_size):
        probability = float(np.prod([policy[arm] * chance for arm, _, chance in outcomes]))
        rollout = rollout_of(model, outcomes)
        if model.clip_range is not None:
            rollout = rollout._replace(log_prob=rollout.log_prob.detach())
        model.policy.optimizer.zero_grad()
        weights = model.objective.weights(rollout.returns, 1.0)
        backward(model.policy, rollout, weights, clip_range=model.clip_range)
        total -= probability * bias.grad
        mass += probability
    assert mass == pytest.approx(1, abs=1e-12)
    return total


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_true_gradient_is_that_of_the_bandit(k):
    # Through the softmax: ∂/∂logit_a = p_a (G_a − Σ_b p_b G_b).
    p = torch.softmax(LOGITS, 0).numpy()
    by_probability = BanditEnv().max_at_k_gradient(p, k)
    expected = p * (by_probability - p @ by_probability)
    assert true_gradient(k).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("k", "baseline"),
    [
        (1, "none"),
        (1, "loo"),
        (1, "loo_minus_one"),
        (2, "none"),
        (2, "loo"),
        (2, "loo_minus_one"),
        (4, "none"),
        (4, "loo_minus_one"),
    ],
)
def test_the_expected_gradient_over_all_groups_is_that_of_max_at_k(k, baseline):
    # All 5^4 = 625 groups of four outcomes.
    model = softmax_bandit(1, 4, k=k, baseline=baseline)
    expected = true_gradient(k)
    assert expected.abs().max() > 0.01
    assert torch.allclose(expected_gradient(model), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("k", "baseline"), [(1, "loo"), (2, "loo_minus_one")])
def test_the_expected_gradient_with_two_groups_is_their_mean(k, baseline):
    # All 25^2 pairs of groups of two: were it a sum, the gradient would be twice as large.
    model = softmax_bandit(2, 2, k=k, baseline=baseline)
    assert torch.allclose(expected_gradient(model), true_gradient(k), rtol=0, atol=1e-10)


def test_the_clipped_surrogate_starts_out_along_the_plain_gradient():
    model = softmax_bandit(1, 4, k=2, clip_range=0.2)
    assert torch.allclose(expected_gradient(model), true_gradient(2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_a_step_of_gradient_descent_goes_along_that_gradient(clip_range):
    # The reward pattern of one group: rewards 0.8, 0, 0.5, 1 of arms 1, 2, 0, 2.
    model = softmax_bandit(1, 4, k=4, learning_rate=0.25, clip_range=clip_range)
    outcomes = (OUTCOMES[1], OUTCOMES[4], OUTCOMES[0], OUTCOMES[3])
    rollout = rollout_of(model, outcomes)
    if clip_range is not None:
        rollout = rollout._replace(log_prob=rollout.log_prob.detach())
    model.set_logger(Logger(None, []))
    before = model.policy.action_net.bias.detach().clone()
    model.train(rollout)
    # k = n: only the best is weighted, by its lead 1 - 0.8 = 0.2 over the runner-up, and it is
    # arm 2. The gradient of log π(2) is (0, 0, 1) − π.
    gradient = 0.2 * (torch.eye(3, dtype=torch.float64)[2] - torch.softmax(LOGITS, 0))
    step = model.policy.action_net.bias.detach() - before
    assert torch.allclose(step, 0.25 * gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_columns", [2, 6, 9])
@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_an_update_on_real_episodes_follows_the_written_loss(n_columns, clip_range):
    # The loss of the class's docstring, in loops, by SB3's own evaluation of the policy.
    model = bandit(
        GroupVecEnv(DigitsVector(n_columns, autoreset_mode=DISABLED)),
        n_groups=3,
        group_size=2,
        learning_rate=1.0,
        max_grad_norm=1e9,
        clip_range=clip_range,
        policy_kwargs=SGD,
    )
    rollout = collect(model)
    before = parameters(model)
    weights = pkpo(rollout.returns, k=2)
    distribution = ActorCriticPolicy.get_distribution(model.policy, rollout.observations)
    log_prob = distribution.log_prob(rollout.actions)
    loss = torch.tensor(0.0)
    for group in range(3):
        for member in range(2):
            attempt = 2 * group + member
            episode = log_prob[rollout.attempts == attempt]
            assert len(episode) == rollout.lengths[group, member]
            taken = rollout.actions[rollout.attempts == attempt]
            assert taken.sum() == rollout.returns[group, member]
            loss = loss - weights[group, member].float() * episode.sum() / 3
    gradients = torch.autograd.grad(loss, list(model.policy.parameters()))
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)
    model.train(rollout)
    for (name, start), gradient in zip(before.items(), gradients, strict=True):
        moved = model.policy.get_parameter(name).detach() - start
        assert torch.allclose(moved, -gradient, atol=1e-6), name


@pytest.mark.parametrize("settings", [{}, {"clip_range": 0.2, "n_epochs": 2}])
@pytest.mark.parametrize("ent_coef", [0.0, 0.3])
def test_rows_may_be_differentiated_a_few_at_a_time(monkeypatch, settings, ent_coef):
    def trained(rows_at_once: int) -> tuple[dict[str, torch.Tensor], dict]:
        monkeypatch.setattr(gradients, "ROWS_AT_ONCE", rows_at_once)
        env = GroupVecEnv(DigitsVector(6, autoreset_mode=DISABLED))
        model = bandit(env, learning_rate=0.1, ent_coef=ent_coef, policy_kwargs=SGD, **settings)
        row = logged(model, 1)[-1]
        return parameters(model), {key: row[f"train/{key}"] for key in ("loss", "entropy")}

    whole, values = trained(10**6)
    start = parameters(bandit(GroupVecEnv(DigitsVector(6, autoreset_mode=DISABLED))))
    assert not same(start, whole)
    for rows_at_once in (1, 3):
        some, some_values = trained(rows_at_once)
        assert some_values == pytest.approx(values, abs=1e-5)
        assert all(torch.allclose(some[name], whole[name], atol=1e-6) for name in whole)


def test_graphs_are_kept_for_one_step_and_not_for_more():
    # The graphs of long episodes would fill the memory.
    assert collect(bandit()).log_prob.requires_grad
    assert not collect(bandit(clip_range=0.2)).log_prob.requires_grad
    for n_columns in (12, 5):
        rollout = collect(bandit(GroupVecEnv(DigitsVector(n_columns, autoreset_mode=DISABLED))))
        assert not rollout.log_prob.requires_grad


def test_the_gradient_is_clipped_to_its_norm():
    model = bandit(learning_rate=1.0, max_grad_norm=1e-3, policy_kwargs=SGD)
    rollout, before = collect(model), parameters(model)
    model.train(rollout)
    after = parameters(model)
    step = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert step.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_the_entropy_bonus_pulls_towards_the_uniform_policy():
    # Rewards of 0 have weights of 0, so that the bonus is all there is.
    vector = BanditVectorEnv(8, DISABLED, payouts=(0, 0, 0), probabilities=(1, 1, 1))
    model = bandit(GroupVecEnv(vector), ent_coef=1.0, learning_rate=3e-2)
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    entropies = [row["train/entropy"] for row in logged(model, 8 * 60)]
    assert entropies[0] < 0.8
    assert entropies[-1] == pytest.approx(np.log(3), abs=0.01)
