"""The pure functions of the update, against values computed by hand, for one run and for lanes."""

import pytest
import torch
from torch import Tensor, nn

from pkpo_sandbox.algorithm import update

ATTEMPTS = torch.tensor([0, 1, 2, 3, 0, 2, 2])
WEIGHTS = torch.tensor([[1.0, 2.0], [-1.0, 0.5]])
LOG_PROB = torch.tensor([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6, -0.7])


def gradient(value: Tensor, of: Tensor) -> list[float]:
    return torch.autograd.grad(value.sum(), of)[0].tolist()


def test_the_weight_of_an_attempt_applies_to_each_of_its_steps():
    # Two groups of two; attempts 0..3 take 2, 1, 3 and 1 steps, in any order of rows.
    rows = update.row_weights(WEIGHTS, ATTEMPTS)
    assert rows.tolist() == [1, 2, -1, 0.5, 1, -1, -1]
    log_prob = LOG_PROB.clone().requires_grad_()
    surrogate = update.surrogate(log_prob, rows, n_groups=2)
    # (1(−.1−.5) + 2(−.2) − 1(−.3−.6−.7) + .5(−.4))/2 = (−.6 − .4 + 1.6 − .2)/2 = 0.2
    assert surrogate.item() == pytest.approx(0.2)
    assert gradient(surrogate, log_prob) == pytest.approx([0.5, 1, -0.5, 0.25, 0.5, -0.5, -0.5])


def test_ratios_are_clipped_where_the_weight_would_push_them_further():
    # Ratio 1.5, clipped to 1.2, and 0.5, clipped to 0.8, each with w = 2 and w = −1:
    #   w=2:  min(3, 2.4) = 2.4, flat        w=−1:  min(−1.5, −1.2) = −1.5, slope w·ratio
    #   w=2:  min(1, 1.6) = 1, slope 1       w=−1:  min(−0.5, −0.8) = −0.8, flat
    # and at a ratio of 1.1, inside the range, slope w·ratio = 2.2 and −1.1.
    weights = torch.tensor([2.0, -1.0, 2.0, -1.0, 2.0, -1.0])
    log_prob = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 1.1]).log().requires_grad_()
    surrogate = update.clipped_surrogate(log_prob, torch.zeros(6), weights, 1, clip_range=0.2)
    assert surrogate.item() == pytest.approx(2.4 - 1.5 + 1 - 0.8 + 2.2 - 1.1)
    assert gradient(surrogate, log_prob) == pytest.approx([0, -1.5, 1, 0, 2.2, -1.1], abs=1e-6)


@pytest.mark.parametrize("attempts_differ", [False, True])
def test_lanes_are_runs_side_by_side(attempts_differ):
    generator = torch.Generator().manual_seed(0)
    log_prob, old = torch.randn(2, 3, 7, generator=generator)
    weights = torch.randn(3, 2, 2, generator=generator)
    attempts = torch.stack([ATTEMPTS, ATTEMPTS.flip(0), ATTEMPTS.roll(2)])
    if not attempts_differ:
        attempts = ATTEMPTS.expand(3, -1)
    clip_range = torch.tensor([0.1, 0.2, 0.3])
    rows = update.row_weights(weights, attempts)
    plain = update.surrogate(log_prob, rows, 2)
    clipped = update.clipped_surrogate(log_prob, old, rows, 2, clip_range[:, None])
    assert plain.shape == clipped.shape == (3,)
    for lane in range(3):
        row = update.row_weights(weights[lane], attempts[lane])
        assert row.equal(rows[lane])
        assert update.surrogate(log_prob[lane], row, 2).item() == pytest.approx(plain[lane].item())
        alone = update.clipped_surrogate(log_prob[lane], old[lane], row, 2, clip_range[lane].item())
        assert alone.item() == pytest.approx(clipped[lane].item())


def test_a_gradient_is_shortened_to_the_largest_norm_and_never_lengthened():
    factors = update.clip_factor(torch.tensor([0.0, 1.0, 2.0, 8.0]), 2.0)
    assert factors.tolist() == pytest.approx([1, 1, 1, 0.25], rel=1e-6)
    own = update.clip_factor(torch.tensor([4.0, 4.0]), torch.tensor([1.0, float("inf")]))
    assert own.tolist() == pytest.approx([0.25, 1], rel=1e-6)


@pytest.mark.parametrize(("max_norm", "length"), [(0.5, 0.5), (100.0, 5.0), (float("inf"), 5.0)])
def test_a_step_goes_along_the_clipped_gradient(max_norm, length):
    one, other, unused = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    optimizer = torch.optim.SGD([one, other, unused], lr=1.0)
    one.grad, other.grad = torch.tensor([3.0]), torch.tensor([-4.0])
    assert update.clipped_step(optimizer, max_norm) == pytest.approx(5)
    assert one.item() == pytest.approx(-0.6 * length, rel=1e-5)
    assert other.item() == pytest.approx(0.8 * length, rel=1e-5)
    assert unused.item() == 0


def test_clipping_is_the_product_with_the_factor():
    parameter = nn.Parameter(torch.zeros(5))
    gradient = torch.randn(5, generator=torch.Generator().manual_seed(0))
    parameter.grad = gradient.clone()
    update.clipped_step(torch.optim.SGD([parameter], lr=1.0), 0.3)
    assert parameter.data.equal(-gradient * update.clip_factor(gradient.norm(), 0.3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([0.0, bad])
    with pytest.raises(ValueError, match="gradient is not finite, and the policy was not updated"):
        update.clipped_step(torch.optim.Adam([parameter]), 0.5)
    assert parameter.tolist() == [1, 1]
