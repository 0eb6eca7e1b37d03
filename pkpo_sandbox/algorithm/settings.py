"""The settings of a policy gradient, and the checks of their ranges. Some may be schedules."""

import math
from typing import Any, TypedDict

import torch
from stable_baselines3.common.type_aliases import Schedule

from pkpo_sandbox.schedules import at_every_percent, value_at

LARGEST_FLOAT32 = torch.finfo(torch.float32).max  #: networks compute in float32

SCHEDULED = ("learning_rate", "clip_range", "ent_coef")

#: the arguments of check_settings
CHECKED = (*SCHEDULED, "n_epochs", "gamma", "max_grad_norm", "policy_kwargs")


class Settings(TypedDict, total=False):
    """The arguments of every algorithm here, except the objective and the groups.

    See :class:`~pkpo_sandbox.algorithm.group_policy_gradient.GroupPolicyGradient`.
    """

    learning_rate: float | Schedule
    gamma: float
    n_epochs: int
    clip_range: float | Schedule | None
    ent_coef: float | Schedule
    max_grad_norm: float
    policy_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    verbose: int
    seed: int | None
    device: torch.device | str
    _init_setup_model: bool


def check_settings(
    *,
    n_epochs: int,
    gamma: float,
    max_grad_norm: float,
    policy_kwargs: dict[str, Any],
    **rates: Any,
) -> None:
    """Raise an error if a setting is out of range, or settings contradict each other.

    :param rates: the settings in :data:`SCHEDULED`, numbers or schedules. A schedule is evaluated
        at every percent of training, so that an error is found now and not during training
    :raises ValueError: with the setting's name, its value and its range
    """
    if isinstance(n_epochs, bool) or not isinstance(n_epochs, int) or n_epochs < 1:
        raise ValueError(f"n_epochs must be an integer of at least 1, got {n_epochs!r}")
    if not (_is_number(gamma) and 0 < gamma <= 1):
        raise ValueError(f"gamma must be above 0 and at most 1, got {gamma!r}")
    if n_epochs > 1 and rates["clip_range"] is None:
        raise ValueError(
            f"n_epochs={n_epochs} trains again on episodes of an older policy, which "
            "biases the plain policy gradient: give clip_range (0.2, say), or n_epochs=1"
        )
    if policy_kwargs.get("use_sde"):
        raise ValueError(
            "use_sde=True gives all attempts the same exploration noise, but the attempts "
            "of a group must be independent: leave it out"
        )
    if max_grad_norm is None:
        raise ValueError("max_grad_norm=None: give a number; float('inf') turns clipping off")
    if not _is_number(max_grad_norm) or not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm must be a positive number, got {max_grad_norm}")
    if rates["clip_range"] is None:
        del rates["clip_range"]
    for name, value in rates.items():
        if not callable(value) and not _is_number(value):
            raise ValueError(f"{name} must be a float or a callable, not {value}")

    def check_moment(progress_remaining: float) -> None:
        for name, value in rates.items():
            value_of(name, value, progress_remaining)

    at_every_percent(check_moment, any(map(callable, rates.values())))


def value_of(name: str, setting: float | Schedule, progress_remaining: float) -> float:
    """The value of a setting in :data:`SCHEDULED` at this moment of training.

    :param progress_remaining: 1 at the beginning of training, 0 at its end
    :raises ValueError: if it is not a finite number of at least 0
    """
    value = value_at(setting, progress_remaining)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= LARGEST_FLOAT32:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
