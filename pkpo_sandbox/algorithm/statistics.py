"""What a group of returns says: the numbers that are logged of a rollout and of an evaluation."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import safe_mean
from torch import Tensor

from pkpo_sandbox.transforms import max_at_k, powers_of_two


def group_statistics(returns: Tensor, ks: Iterable[int] | None = None) -> dict[str, Tensor]:
    """The mean return, and the unbiased estimate of max@k for each k, averaged over groups.

    Where returns are 0 or 1, max@k is pass@k (arXiv 2505.15201, equations 2 and 12).

    :param returns: (..., n_groups, group_size), undiscounted
    :param ks: 1..group_size each; None for the powers of two
    :return: ``ep_rew_mean`` and ``max_at_{k}``, each of shape (...), in units of reward
    """
    ks = powers_of_two(returns.shape[-1]) if ks is None else ks
    statistics = {"ep_rew_mean": returns.mean((-2, -1))}
    return statistics | {f"max_at_{k}": max_at_k(returns, k).mean(-1) for k in ks}


def rollout_statistics(
    iterations: Sequence[tuple[Tensor, np.ndarray]],
    episodes: Collection[dict[str, Any]] = (),
    successes: Collection[Any] = (),
) -> dict[str, float]:
    """The statistics of the groups of several iterations.

    :param iterations: of each the returns and the lengths, (n_groups, group_size)
    :param episodes: what a Monitor reported of them. It saw the rewards before any normalisation,
        so its means count
    :param successes: what the env reported as ``info["is_success"]``
    :return: ``ep_rew_mean``, ``ep_len_mean``, ``max_at_{k}`` and ``success_rate``, where known
    """
    statistics: dict[str, float] = {}
    if iterations:
        found = group_statistics(torch.cat([returns for returns, _ in iterations]))
        statistics |= {name: value.item() for name, value in found.items()}
        statistics["ep_len_mean"] = float(np.mean([lengths for _, lengths in iterations]))
    if episodes:
        statistics["ep_rew_mean"] = safe_mean([episode["r"] for episode in episodes])
        statistics["ep_len_mean"] = safe_mean([episode["l"] for episode in episodes])
    if successes:
        statistics["success_rate"] = safe_mean(list(successes))
    return statistics
