"""Statistics of gradient estimators at a fixed policy: samples and exact values, no training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pkpo_envs.cliff_1d import Cliff1DEnv
from pkpo_sandbox.transforms import pkpo

CHUNK = 2_000_000  # attempts sampled at once: 16 MB an array


def gradient_variance(
    theta: float,
    group_size: int,
    ks: Sequence[int],
    baselines: Sequence[str],
    n_groups: int,
    seed: int,
    std: float = 0.1,
) -> list[dict[str, Any]]:
    """Mean and variance of one group's gradient estimate on the 1-D cliff, and the exact gradient.

    The policy is N(theta, std) over positions, and a group's estimate of d max@k / d theta is
    Σ_i w_i (x_i − theta) / std², with the weights of :func:`pkpo_sandbox.transforms.pkpo`
    (arXiv 2505.15201). All k and baselines see the same groups.

    :param theta: mean of the policy, a position
    :param group_size: n, the attempts of a group
    :param ks: there is no estimator and so no row for k > group_size, and none for "loo" with
        k = group_size
    :param n_groups: number of groups to sample
    :return: a row for each k and baseline: theta, n, k, baseline, mean, standard_error,
        variance (of one group's estimate), true_gradient
    """
    world = Cliff1DEnv()
    rng = np.random.default_rng([seed, group_size, round(1e6 * theta)])
    cases = [
        (k, baseline)
        for k in ks
        for baseline in baselines
        if k < group_size or (k == group_size and baseline != "loo")
    ]
    estimates: dict[tuple[int, str], list[np.ndarray]] = {case: [] for case in cases}
    left = n_groups
    while left > 0:
        groups = min(left, max(1, CHUNK // group_size))
        left -= groups
        noise = rng.standard_normal((groups, group_size))
        rewards = torch.from_numpy(world.reward_at(theta + std * noise))
        scores = torch.from_numpy(noise / std)  # d log p / d theta
        for k, baseline in cases:
            weights = pkpo(rewards, k, baseline)
            estimates[k, baseline].append((weights * scores).sum(-1).numpy())
    return [
        {
            "theta": theta,
            "n": group_size,
            "k": k,
            "baseline": baseline,
            **moments(np.concatenate(parts)),
            "true_gradient": world.max_at_k_gradient(theta, k, std),
        }
        for (k, baseline), parts in estimates.items()
    ]


def moments(sample: NDArray[np.float64]) -> dict[str, float]:
    """The mean of a sample, its standard error, and the variance of one draw."""
    variance = float(sample.var(ddof=1))
    return {
        "mean": float(sample.mean()),
        "standard_error": (variance / len(sample)) ** 0.5,
        "variance": variance,
    }


def sample_weights(
    group_size: int, ks: Sequence[int], n_correct: int, baseline: str
) -> list[dict[str, Any]]:
    """The weight of each rank in a group, for evenly spaced and for 0/1 rewards.

    :param group_size: n; the continuous rewards are 1/n, 2/n, ..., 1
    :param n_correct: number of binary rewards that are 1
    :return: a row for each kind of reward, k and rank: reward, k, rank (1 is the worst), value,
        weight (in the sum convention)
    """
    ranks = torch.arange(1, group_size + 1)
    kinds = {
        "continuous": ranks.double() / group_size,
        "binary": (ranks > group_size - n_correct).double(),
    }
    return [
        {"reward": kind, "k": k, "rank": rank, "value": value, "weight": weight}
        for kind, rewards in kinds.items()
        for k in ks
        for rank, value, weight in zip(
            ranks.tolist(), rewards.tolist(), pkpo(rewards, k, baseline).tolist(), strict=True
        )
    ]
