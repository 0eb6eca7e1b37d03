"""The surrogate of many lanes, and its derivative with respect to the log-probabilities."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pkpo_sandbox.algorithm import update
from pkpo_sandbox.algorithm.lanes.parameters import padded


def joined(steps: Sequence[Any]) -> Tensor:
    """The log-probabilities (lanes, steps, attempts) of all actions."""
    return torch.stack([step.log_prob.flatten(1) for step in steps], 1)


def clipped(
    log_prob: Tensor, old: Tensor, weights: Tensor, n_groups: int, clip_range: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """PPO's surrogate (lanes,), and for each step minus its derivative wrt the log-probabilities.

    :param log_prob: (lanes, steps, attempts)
    :param weights: (lanes, attempts)
    """
    _, n_steps, attempts = log_prob.shape
    rows = n_steps * attempts

    def whole(values: Tensor) -> Tensor:
        """Reshape to (lanes, rows), padded with zeros to whole SIMD vectors."""
        return torch.nn.functional.pad(values.flatten(1), (0, padded(rows) - rows))

    leaf = whole(log_prob).requires_grad_()
    each = whole(weights[:, None].expand_as(log_prob))
    value = update.clipped_surrogate(leaf, whole(old), each, n_groups, clip_range)
    (by_log_prob,) = torch.autograd.grad(value.sum(), leaf)
    by_step = by_log_prob[:, :rows].neg().view(-1, n_steps, attempts)
    return value.detach(), list(by_step.unbind(1))
