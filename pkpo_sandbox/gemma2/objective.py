"""Objectives for language models: chosen by name in a config, with attempts without a reward.

Rewards are (groups, n), one row per prompt, NaN where no reward function scored the attempt.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from pkpo_sandbox import transforms
from pkpo_sandbox.schedules import Objective


def named(name: str, **coefficients: Any) -> Objective:
    """Make the objective with this name.

    :param name: a transform of :mod:`pkpo_sandbox.transforms`, or the dotted path of your own
        function from rewards (groups, n) to weights (groups, n) in the sum convention
    :param coefficients: keyword arguments of the transform, each a value or a schedule of
        1 - step/max_steps
    :raises ValueError: if there is no such function
    """
    return Objective(_find(name), **coefficients)


def names() -> list[str]:
    """Return the sandbox's transforms in ``conf/objective/``, in alphabetical order."""
    import yaml

    folder = files("pkpo_sandbox.conf") / "objective"
    prefix = f"{transforms.__name__}."
    targets = [
        str(yaml.safe_load(file.read_text(encoding="utf-8")).get("_target_"))
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    ]
    return sorted({target.removeprefix(prefix) for target in targets if target.startswith(prefix)})


def needs(name: str, coefficient: str) -> bool:
    """Whether the transform with this name has no default for a coefficient."""
    parameter = inspect.signature(_find(name)).parameters.get(coefficient)
    return parameter is not None and parameter.default is parameter.empty


def weights_of_scorable(
    objective: Objective, rewards: Tensor, coefficients: Mapping[str, Any]
) -> Tensor:
    """Return the weights of all attempts. Sum convention: the gradient is Σ_i w_i ∇log p(x_i).

    An unscorable attempt (NaN) has weight 0. The other attempts are transformed as a group of
    m < n. If m < max(k, 2), no unbiased estimate exists, and all weights are 0.

    :param rewards: (groups, n)
    :param coefficients: the current values, ``objective.at(progress_remaining)``
    :return: (groups, n)
    """
    weights = torch.zeros_like(rewards)
    n, least = rewards.shape[-1], _least(coefficients)
    for _, mask, group in by_size(rewards):
        m = group.shape[-1]
        if m == n or m >= least:
            weights[mask] = objective.apply(group, coefficients).flatten().to(weights)
    return weights


def _least(coefficients: Mapping[str, Any]) -> int:
    """Return the smallest group of a transform. loo draws its k attempts without attempt i."""
    return max(coefficients.get("k", 1) + (coefficients.get("baseline") == "loo"), 2)


def by_size(rewards: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Split groups by their number of scorable attempts.

    :param rewards: (groups, n), NaN where unscorable
    :return: for each number m > 0 that occurs: a mask (groups,) of the groups with m scorable
        attempts, a mask (groups, n) of these attempts, and their rewards (groups with m, m)
    """
    scorable = ~rewards.isnan()
    sizes = scorable.sum(-1)
    for m in sizes.unique().tolist():
        if m > 0:
            rows = sizes == m
            mask = scorable & rows.unsqueeze(-1)
            yield rows, mask, rewards[mask].view(-1, m)


def _find(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(".")
    try:
        found = getattr(import_module(module) if module else transforms, function, None)
    except ImportError as error:
        raise ValueError(f"objective={name!r} cannot be imported: {error}") from error
    if not callable(found) or isinstance(found, type):
        raise ValueError(
            f"objective={name!r} is not a transform: choose one of {', '.join(names())}, "
            "or give the dotted path of a function"
        )
    return found
