"""The exact values of a policy, from a world with an exact solution: no sampling, no noise.

A world's ``exact(k, ...)`` takes the policy's action distributions at its *decisions*. These are
the first observations of all problems. If episodes have several steps, they are the world's
``decision_observations()``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import check_for_correct_spaces

from pkpo_envs import conventions
from pkpo_envs.column import cast


def policy_parameters(model: BaseAlgorithm, world: gymnasium.Env) -> dict[str, NDArray[np.float64]]:
    """The action distributions of a policy at every decision of a world.

    :return: {"probabilities": (n_decisions, n_actions)} for a categorical policy,
        {"mean": (n_decisions, action_dim), "std": same shape} for a diagonal Gaussian policy
    :raises ValueError: if the policy has another kind of distribution or none (DQN, SAC), or its
        spaces differ from the world's
    """
    return distribution_parameters(model, problem_observations(model, world))


def exact_values(
    model: BaseAlgorithm, world: gymnasium.Env, ks: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """The world's exact values for the policy: a dict from k to ``world.exact(k, ...)``.

    :raises ValueError: if the world has no exact solution; see also :func:`policy_parameters`
    """
    exact = exact_solution(world)
    parameters = policy_parameters(model, world)
    return {k: exact(k, **parameters) for k in ks}


def policy_entropy(parameters: dict[str, NDArray[np.float64]]) -> float:
    """The mean entropy in nats of the distributions from :func:`policy_parameters`."""
    if "probabilities" in parameters:
        entropies = entr(parameters["probabilities"]).sum(-1)
    else:
        entropies = (np.log(parameters["std"]) + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)
    return float(entropies.mean())


def exact_statistics(
    exact: Callable[..., dict[str, Any]],
    ks: Sequence[int],
    parameters: dict[str, NDArray[np.float64]],
) -> dict[str, float]:
    """The exact values of a policy that are logged.

    :param exact: the world's method, see :func:`exact_solution`
    :param parameters: the result of :func:`policy_parameters`
    :return: ``entropy`` in nats, ``max_at_{k}``, and each other float in ``exact(k, ...)`` whose
        name starts with max_at_k (max_at_k_hard becomes ``max_at_{k}_hard``)
    """
    statistics = {"entropy": policy_entropy(parameters)}
    for k in ks:
        for name, value in exact(k, **parameters).items():
            if name.startswith("max_at_k") and isinstance(value, float):
                statistics[name.replace("max_at_k", f"max_at_{k}", 1)] = value
    return statistics


def exact_solution(world: gymnasium.Env) -> Callable[..., dict[str, Any]]:
    """The world's method ``exact``.

    :raises ValueError: if the world has no such method
    """
    exact = conventions.exact_solution(world)
    if exact is None:
        raise ValueError(
            f"{world} has no exact solution (a method exact(k, probabilities) or exact(k, mean, "
            "std)): estimate max@k with GroupEvalCallback instead"
        )
    return exact


def problem_observations(model: BaseAlgorithm, world: gymnasium.Env) -> Any:
    """The observations that the world's exact solution needs: (rows, ...) or a dict of such arrays.

    These are the world's ``decision_observations()`` if it has this method, else the first
    observation of every problem.
    """
    if not is_image_space(world.observation_space):  # SB3 transposes images
        check_for_correct_spaces(world, model.observation_space, model.action_space)
    decision_observations = conventions.decision_observations(world)
    if decision_observations is not None:
        return decision_observations()
    n_problems = conventions.problems_of(world)
    if n_problems is None:
        rows = [world.reset()[0]]
    else:
        rows = [world.reset(options={"problem": problem})[0] for problem in range(n_problems)]
    rows = [cast(world.observation_space, row) for row in rows]
    if isinstance(rows[0], dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


def distribution_parameters(
    model: BaseAlgorithm, observations: Any
) -> dict[str, NDArray[np.float64]]:
    policy: Any = model.policy
    refuse_without_distribution(
        model, "but exact values need one: estimate max@k with GroupEvalCallback instead"
    )
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        observations = normalizer.normalize_obs(observations)
    was_training = policy.training
    policy.set_training_mode(False)
    with torch.no_grad():
        distribution = policy.get_distribution(policy.obs_to_tensor(observations)[0])
    policy.set_training_mode(was_training)
    inner = distribution.distribution
    if type(distribution) is CategoricalDistribution:
        return {"probabilities": inner.logits.double().softmax(-1).cpu().numpy()}
    if type(distribution) is DiagGaussianDistribution:
        return {
            "mean": inner.mean.double().cpu().numpy(),
            "std": inner.stddev.double().cpu().numpy(),
        }
    raise ValueError(
        f"the policy has a {type(distribution).__name__}, but exact values are known for "
        "categorical and diagonal Gaussian ones: use Discrete or Box actions"
    )


def refuse_without_distribution(model: BaseAlgorithm, why: str) -> None:
    if not hasattr(model.policy, "get_distribution"):
        raise ValueError(
            f"{type(model.policy).__name__} of {type(model).__name__} has no action distribution, "
            f"{why}"
        )
