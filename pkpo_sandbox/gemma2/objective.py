"""An objective: a transform of the sandbox with its coefficients, on groups with gaps.

Rewards are (groups, n), one row a prompt, NaN where no reward function could score the attempt.
"""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from pkpo_sandbox import transforms

NAMES = (
    "pkpo",
    "reinforce",
    "rloo",
    "grpo",
    "dr_grpo",
    "passk_training",
    "max_rl",
    "rs_grpo",
    "tail_rl",
)


class Objective:
    """A transform and its coefficients, each a value or a schedule of the remaining progress.

    :param name: of :data:`NAMES`, or the dotted path of a function of your own, from rewards
        (groups, n) to weights of that shape in the sum convention
    :param coefficients: keyword arguments of the transform: ``k``, ``baseline``, ``beta``, ...;
        callables are called with 1 - step/max_steps
    :raises ValueError: if there is no such transform, or it does not take these coefficients
    """

    def __init__(self, name: str, **coefficients: Any) -> None:
        self.name, self.coefficients = name, coefficients
        self.transform = _find(name)
        parameters = list(inspect.signature(self.transform).parameters)[1:]
        try:
            inspect.signature(self.transform).bind(None, **coefficients)
        except TypeError as error:
            raise ValueError(
                f"objective={name!r} with {coefficients}: {error}; "
                f"it takes {', '.join(parameters) or 'no coefficients'}"
            ) from None

    def values(self, progress_remaining: float) -> dict[str, Any]:
        """The coefficients at this moment: 1 is the start of training, 0 its end."""
        return {
            name: value(progress_remaining) if callable(value) else value
            for name, value in self.coefficients.items()
        }

    def weights(self, rewards: Tensor, progress_remaining: float) -> Tensor:
        """The weights of all attempts, in the sum convention: the gradient is Σ_i w_i ∇log p(x_i).

        An unscorable attempt (NaN) has weight 0, and the others are transformed as a group of
        m < n. With fewer than max(k, 2) of those no unbiased estimate exists, and all are 0.

        :param rewards: (groups, n)
        :return: (groups, n)
        """
        values = self.values(progress_remaining)
        weights = torch.zeros_like(rewards)
        for _, mask, group in by_size(rewards):
            if group.shape[-1] == rewards.shape[-1] or group.shape[-1] >= _least(values):
                transformed = self.transform(group, **values)
                if transformed.shape != group.shape:
                    raise ValueError(
                        f"objective={self.name!r} gave weights of shape {tuple(transformed.shape)} "
                        f"for rewards of shape {tuple(group.shape)}: give one weight an attempt"
                    )
                weights[mask] = transformed.flatten().to(weights)
        return weights

    def check(self, n: int) -> None:
        """Try groups of n at every percent of training, so that no schedule fails half-way.

        :raises ValueError: as the transform does, saying when
        """
        for percent in range(101):
            try:
                self.weights(torch.zeros(1, n), 1 - percent / 100)
            except ValueError as error:
                raise ValueError(f"objective={self.name!r}, at {percent} %: {error}") from error


def _least(values: dict[str, Any]) -> int:
    """Attempts to compare with each other; loo draws its k without attempt i."""
    return max(values.get("k", 1) + (values.get("baseline") == "loo"), 2)


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
    if name in NAMES:
        return getattr(transforms, name)
    module, _, function = name.rpartition(".")
    try:
        found = getattr(import_module(module), function) if module else None
    except (ImportError, AttributeError) as error:
        raise ValueError(f"objective={name!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(
            f"objective={name!r} is not a transform: choose one of {', '.join(NAMES)}, "
            "or give the dotted path of a function"
        )
    return found
