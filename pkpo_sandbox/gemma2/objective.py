"""What a language model adds to an objective: its name in a config, and attempts without a reward.

Rewards are (groups, n), one row a prompt, NaN where no reward function could score the attempt.
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
    """The objective that a config names.

    :param name: a transform of :mod:`pkpo_sandbox.transforms`, or the dotted path of a function of
        your own, from rewards (groups, n) to weights of that shape in the sum convention
    :param coefficients: keyword arguments of the transform, each a value or a schedule of
        1 - step/max_steps
    :raises ValueError: if there is no such function
    """
    return Objective(_find(name), **coefficients)


def names() -> list[str]:
    """The transforms of the sandbox that ``conf/objective/`` offers, in alphabetical order."""
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
    """Whether the transform of this name has no default for a coefficient."""
    parameter = inspect.signature(_find(name)).parameters.get(coefficient)
    return parameter is not None and parameter.default is parameter.empty


def weights_of_scorable(
    objective: Objective, rewards: Tensor, coefficients: Mapping[str, Any]
) -> Tensor:
    """The weights of all attempts, in the sum convention: the gradient is Σ_i w_i ∇log p(x_i).

    An unscorable attempt (NaN) has weight 0, and the others are transformed as a group of m < n.
    With fewer than max(k, 2) of those no unbiased estimate exists, and all are 0.

    :param rewards: (groups, n)
    :param coefficients: those of this moment, ``objective.at(progress_remaining)``
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
    """Attempts that a transform compares at least; loo draws its k without attempt i."""
    return max(coefficients.get("k", 1) + (coefficients.get("baseline") == "loo"), 2)


def by_size(rewards: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Split groups by how many of their attempts are scorable.

    :param rewards: (groups, n), NaN where unscorable
    :return: for each number m > 0 that occurs: which groups have it (groups,), where their
        scorable attempts are (groups, n), and the rewards of those (groups with m, m)
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
