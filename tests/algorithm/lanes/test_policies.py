"""Action distributions of lanes: samples, derivatives, and actions that are refused."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pkpo_sandbox.algorithm.lanes.networks import BLOCKED, LaneNetwork
from pkpo_sandbox.algorithm.lanes.policies import LaneCategorical, lane_policy, not_finite
from pkpo_sandbox.algorithm.policies import ActorPolicy
from tests.algorithm.lanes.kinds import learn_one

CPU = torch.device("cpu")


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def gaussian(fixed_std: float | None):
    """The distributions of two dimensions. The tests give the outputs of the network."""
    space = spaces.Box(-1, 1, (2,), np.float32)
    policy = ActorPolicy(spaces.Discrete(1), space, lambda _: 1.0, fixed_std=fixed_std)
    return lane_policy(policy, LaneNetwork(policy), CPU)


@pytest.mark.parametrize("shared", [True, False])
def test_random_numbers_are_each_lanes_own_however_many_are_drawn_ahead(shared):
    draws = LaneCategorical(3, shared).draws(generators(1, 2, 3), 4, CPU)
    alone = LaneCategorical(3, shared).draws(generators(3), 4, CPU)
    (expected,) = generators(3)
    for step in range(20):
        if step == 5:
            draws.keep([2])
        numbers = draws.next()[-1]
        if shared:
            one = torch.empty(4, dtype=torch.float64).uniform_(generator=expected)
        else:
            one = torch.empty(4, 3).exponential_(1.0, generator=expected)
        assert numbers.equal(one)
        assert alone.next()[0].equal(one)


def test_points_on_the_line_choose_actions_by_their_probabilities():
    logits = torch.full((1, 1, 32), BLOCKED)
    logits[..., :3] = torch.tensor([0.2, 0.0, 0.8]).log().clamp(min=-1000)
    step = LaneCategorical(3, shared=True).prepare(logits)
    step.sample(torch.tensor([[0.0, 0.19, 0.21, 0.5, 1.0]], dtype=torch.float64))
    assert step.env_actions().tolist() == [[0, 0, 2, 2, 2]]
    assert step.log_prob.exp().flatten().tolist() == pytest.approx([0.2, 0.2, 0.8, 0.8, 0.8])


def assert_derivatives(step, outputs, scores, entropy) -> None:
    """Those by the outputs, of a weighted sum of log-probabilities and entropies."""
    assert torch.allclose(step.log_prob, scores, atol=1e-5)
    assert torch.allclose(step.entropy, entropy, atol=1e-5)
    weights, coefficients = torch.randn(scores.shape), torch.randn(2, 1, 1)
    loss = (weights * scores).sum() + (coefficients * entropy[..., None]).sum()
    found = step.backward(weights, coefficients)
    (expected,) = torch.autograd.grad(loss, outputs)
    assert torch.allclose(found, expected, atol=1e-5)


def test_categorical_derivatives_are_pytorchs():
    torch.manual_seed(0)
    outputs = torch.full((2, 5, 32), BLOCKED)
    outputs[..., :3] = torch.randn(2, 5, 3)
    step = LaneCategorical(3, shared=True).prepare(outputs.clone())
    step.sample(torch.rand(2, 20, dtype=torch.float64))
    outputs.requires_grad_()
    log_probabilities = outputs.log_softmax(-1)
    scores = log_probabilities.gather(2, step.actions)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    assert_derivatives(step, outputs, scores, entropy)


def test_gaussian_derivatives_are_pytorchs():
    torch.manual_seed(0)
    outputs = torch.randn(2, 5, 32)
    step = gaussian(0.3).prepare(outputs.clone())
    noise = torch.randn(2, 20, 2)
    step.sample(noise)
    actions = step.env_actions()
    means = outputs[..., :2].repeat_interleave(4, 1)
    assert torch.allclose(actions, means + 0.3 * noise, atol=1e-6)
    outputs.requires_grad_()
    normal = torch.distributions.Normal(outputs[..., None, :2], 0.3)
    scores = normal.log_prob(actions.view(2, 5, 4, 2)).sum(-1)
    assert_derivatives(step, outputs, scores, normal.entropy()[:, :, 0].sum(-1))


def test_lanes_with_numbers_that_are_not_finite_are_found():
    outputs = torch.zeros(4, 3, 2)
    assert not_finite(outputs) == []
    outputs[1, 2, 0], outputs[3, 0, 1] = torch.nan, -torch.inf
    assert not_finite(outputs) == [1, 3]


def test_actions_that_lanes_cannot_draw_are_refused():
    with pytest.raises(ValueError, match="MultiCategorical"):
        learn_one("lanes/Odd-v0", {"env_kwargs": {"action": "MultiDiscrete"}})
