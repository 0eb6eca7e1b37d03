"""The settings of a policy gradient: what each may be, as a number or at any moment of training."""

import math
from typing import Any

import torch
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule

LARGEST_FLOAT32 = torch.finfo(torch.float32).max  #: what the networks compute in

SCHEDULED = ("learning_rate", "clip_range", "ent_coef")


def check_settings(
    *,
    n_epochs: int,
    gamma: float,
    max_grad_norm: float,
    policy_kwargs: dict[str, Any],
    **rates: Any,
) -> None:
    """Refuse settings that are out of range or do not go together.

    :param rates: those of :data:`SCHEDULED`, numbers or schedules; of the latter only the type
        is checked here, for their values are those of :func:`value_of`
    :raises ValueError: naming the setting, its value and what it may be
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
    _check_range("max_grad_norm", max_grad_norm, math.inf)
    for name in SCHEDULED:
        value = rates[name]
        if not (callable(value) or (name == "clip_range" and value is None)):
            _check_range(name, value, LARGEST_FLOAT32)


def value_of(name: str, setting: float | Schedule, progress_remaining: float) -> float:
    """A setting of :data:`SCHEDULED` at this moment.

    :param progress_remaining: 1 at the beginning of training, 0 at its end
    :raises ValueError: if a schedule leaves the range there
    """
    value = FloatSchedule(setting)(progress_remaining)
    if not 0 <= value <= LARGEST_FLOAT32:  # a schedule may end at 0
        raise ValueError(f"{name} must not be negative or infinite, got {value}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(name: str, value: Any, largest: float) -> None:
    if not _is_number(value):
        kinds = "a float or a callable" if name in SCHEDULED else "a float"
        raise ValueError(f"{name} must be {kinds}, not {value}")
    if not (0 < value <= largest or (name == "ent_coef" and value == 0)):
        raise ValueError(f"{name} must be positive and finite, got {value}")
