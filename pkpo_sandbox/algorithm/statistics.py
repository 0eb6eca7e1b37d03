"""Statistics of the returns of groups, for the log of a rollout or an evaluation."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import safe_mean
from torch import Tensor

from pkpo_sandbox.transforms import max_at_k, powers_of_two


def group_statistics(returns: Tensor, ks: Iterable[int] | None = None) -> dict[str, Tensor]:
    """The mean return, and the unbiased estimate of max@k for each k, averaged over groups.

    With returns of 0 and 1, max@k is pass@k (arXiv 2505.15201, equations 2 and 12).

    :param returns: (..., n_groups, group_size), undiscounted
    :param ks: each in 1..group_size; None for the powers of two
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

    :param iterations: returns and lengths (n_groups, group_size) of each iteration
    :param episodes: a Monitor's reports about the same attempts. If there are any, the means come
        from them, because a Monitor sees the rewards before normalisation
    :param successes: the env's values of ``info["is_success"]``
    :return: ``ep_rew_mean``, ``ep_len_mean``, ``max_at_{k}`` and ``success_rate``, as far as known
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
