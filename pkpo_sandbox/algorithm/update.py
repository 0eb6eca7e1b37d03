"""The update as pure functions: surrogate, loss, gradient norm, clipped step.

Shapes may have leading axes, written ``...``: none for one run, (lanes,) for many runs that train
as one tensor program. Sums are over the last axes only, so lanes never mix.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

NORM_EPSILON = 1e-6  # PyTorch adds this to the norm when it clips


def row_weights(weights: Tensor, attempts: Tensor) -> Tensor:
    """The weight of each step: that of its attempt.

    :param weights: (..., n_groups, group_size), one weight for each attempt
    :param attempts: (..., rows) int64, the attempt that each step belongs to
    :return: (..., rows)
    """
    return weights.flatten(-2).gather(-1, attempts)


def surrogate(log_prob: Tensor, weights: Tensor, n_groups: int) -> Tensor:
    """The policy gradient's objective: a sum over each group's steps, a mean over groups.

    Its gradient is 1/n_groups Σ_groups Σ_i w_i ∇log π(episode_i), the estimate of arXiv 2505.15201,
    equation 18.

    :param log_prob: (..., rows) under the current policy
    :param weights: (..., rows), see :func:`row_weights`
    :return: (...)
    """
    return (weights * log_prob).sum(-1) / n_groups


def clipped_surrogate(
    log_prob: Tensor,
    old_log_prob: Tensor,
    weights: Tensor,
    n_groups: int,
    clip_range: float | Tensor,
) -> Tensor:
    """PPO's clipped objective (arXiv 1707.06347, equation 7) with the weights as advantages.

    :param log_prob: (..., rows) under the current policy
    :param old_log_prob: (..., rows) under the policy that acted
    :param weights: (..., rows), see :func:`row_weights`
    :param clip_range: probability ratios are clipped to 1 ± this number; a tensor must broadcast
        to (..., rows)
    :return: (...)
    """
    ratio = torch.exp(log_prob - old_log_prob)
    low: Any = 1 - clip_range
    high: Any = 1 + clip_range
    clipped = ratio.clamp(low, high)
    return torch.minimum(weights * ratio, weights * clipped).sum(-1) / n_groups


def loss(
    log_prob: Tensor,
    entropy: Tensor,
    weights: Tensor,
    *,
    n_groups: int,
    n_rows: int,
    ent_coef: float = 0.0,
    old_log_prob: Tensor | None = None,
    clip_range: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of an update: minus the surrogate, minus the entropy bonus.

    The rows may be a part of an iteration. The losses of all parts sum to the loss of the whole.

    :param log_prob: (..., rows) under the current policy
    :param entropy: (..., rows) of the current policy
    :param weights: (..., rows), see :func:`row_weights`
    :param n_rows: rows of the whole iteration
    :param ent_coef: weight of the mean entropy
    :param old_log_prob: (..., rows), needed with ``clip_range``
    :param clip_range: None for the plain policy gradient
    :return: the loss (...), and the contribution (...) of these rows to the mean entropy
    """
    if clip_range is None:
        ascended = surrogate(log_prob, weights, n_groups)
    else:
        assert old_log_prob is not None
        ascended = clipped_surrogate(log_prob, old_log_prob, weights, n_groups, clip_range)
    mean_entropy = entropy.sum(-1) / n_rows
    if ent_coef != 0:
        return -ascended - ent_coef * mean_entropy, mean_entropy
    return -ascended, mean_entropy


def clip_factor(norm: Tensor, max_norm: float | Tensor) -> Tensor:
    """The factor that reduces a gradient of this norm to a norm of at most ``max_norm``.

    :param norm: (...)
    :return: (...), 1 if the gradient is not clipped
    """
    return (max_norm / (norm + NORM_EPSILON)).clamp(max=1.0)


def clipped_step(optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip the gradient of one run to ``max_norm`` and take the optimizer's step.

    :return: the norm before clipping
    :raises ValueError: if the norm is not finite; the parameters are then unchanged
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = get_total_norm(gradients(parameters))
    length = norm.item()
    check_finite_norm(length)
    if length + NORM_EPSILON > max_norm:
        clip_grads_with_norm_(parameters, max_norm, norm)
    optimizer.step()
    return length


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of all parameters that have one."""
    return [p.grad for p in parameters if p.grad is not None]


def check_finite_norm(norm: float) -> None:
    """Raise a ValueError if the norm of a gradient is not finite."""
    if not math.isfinite(norm):
        raise ValueError(
            "the gradient is not finite, and the policy was not updated on it: look for NaN in the "
            "observations or huge rewards, or lower learning_rate"
        )
