"""The settings and objectives of lanes, and their values at a moment of training."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from pkpo_sandbox import transforms
from pkpo_sandbox.algorithm.lanes.parameters import padded
from pkpo_sandbox.algorithm.settings import SCHEDULED, check_settings, value_of
from pkpo_sandbox.schedules import Objective, at_every_percent

#: the settings of a lane that may be numbers or schedules
SETTINGS = ("learning_rate", "gamma", "clip_range", "ent_coef", "max_grad_norm")


@dataclass(frozen=True)
class Lane:
    """The part of a run that may differ between lanes.

    Numbers may be schedules of the remaining progress, 1 to 0.

    :param seed: of the policy, its samples, the problems and the env
    :param objective: the transform of the returns, with its coefficients
    :param learning_rate: of the optimizer
    :param gamma: discount factor of the returns, in (0, 1]
    :param clip_range: of PPO's surrogate; None selects the plain policy gradient
    :param ent_coef: weight of the mean entropy per step, added to the objective
    :param max_grad_norm: the gradient is clipped to this norm; ``float("inf")`` turns clipping off
    :param env_kwargs: arguments of the env; all lanes must have the same spaces
    """

    seed: int
    objective: Objective
    learning_rate: float | Schedule = 3e-3
    gamma: float | Schedule = 1.0
    clip_range: float | Schedule | None = None
    ent_coef: float | Schedule = 0.0
    max_grad_norm: float | Schedule = 0.5
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)


class LaneSetting:
    """One setting of all lanes: a number, None or a schedule for each lane."""

    def __init__(self, name: str, values: Sequence[Any], device: torch.device) -> None:
        self.name, self.values, self._device = name, list(values), device
        self.is_scheduled = any(map(callable, values))
        #: whether some lane has a value other than None and 0
        self.used = any(value is not None and (callable(value) or value != 0) for value in values)
        self._constant = None if self.is_scheduled or not self.used else self._tensor(self.values)

    def at(self, progress_remaining: float) -> list[Any]:
        """The values of all lanes. A schedule that lanes share is called once."""
        if not self.is_scheduled:
            return self.values
        known = {id(value): value for value in self.values if callable(value)}
        now = {key: lane_value(self.name, v, progress_remaining) for key, v in known.items()}
        return [now.get(id(value), value) for value in self.values]

    def tensor(self, now: Sequence[float]) -> Tensor:
        """The result of :meth:`at`, as (lanes,) float32."""
        return self._tensor(now) if self._constant is None else self._constant

    def _tensor(self, now: Sequence[float]) -> Tensor:
        return torch.tensor(now, dtype=torch.float32, device=self._device)

    def keep(self, lanes: Sequence[int]) -> "LaneSetting":
        """The setting of these lanes."""
        return LaneSetting(self.name, [self.values[lane] for lane in lanes], self._device)


def lane_value(name: str, setting: Any, progress_remaining: float) -> float:
    """The value of a lane's setting at this moment of training.

    :raises ValueError: if the value of a schedule is out of range
    """
    if name in SCHEDULED:
        return value_of(name, setting, progress_remaining)
    value: Any = setting(progress_remaining) if callable(setting) else setting
    largest = 1 if name == "gamma" else math.inf
    if not 0 < value <= largest:
        raise ValueError(f"{name} must be above 0 and at most {largest}, got {value}")
    return value


def check_lanes(
    lanes: Sequence[Lane], group_size: int, n_epochs: int, policy_kwargs: dict[str, Any]
) -> None:
    """Raise an error if a setting or coefficient is out of range at any moment of training.

    :raises ValueError: with the number of the lane
    """
    checked: list[Objective] = []
    for number, lane in enumerate(lanes):
        settings = {name: getattr(lane, name) for name in SETTINGS}
        plain = {
            name: 1.0 if name not in SCHEDULED and callable(value) else value
            for name, value in settings.items()
        }
        try:
            check_settings(n_epochs=n_epochs, policy_kwargs=policy_kwargs, **plain)
            scheduled = {name: value for name, value in settings.items() if callable(value)}
            for name, value in scheduled.items():
                at_every_percent(partial(lane_value, name, value))
            if not any(equal(lane.objective, known) for known in checked):
                lane.objective.check(group_size)
                checked.append(lane.objective)
        except ValueError as error:
            raise ValueError(f"lane {number}: {error}") from error


class LaneObjectives:
    """The objectives of all lanes. Lanes with equal objectives share one call if possible."""

    def __init__(self, objectives: Sequence[Objective], device: torch.device) -> None:
        self.objectives = list(objectives)
        self._device = device
        groups: list[tuple[Objective, list[int]]] = []
        for lane, objective in enumerate(objectives):
            for known, lanes in groups:
                if equal(known, objective):
                    lanes.append(lane)
                    break
            else:
                groups.append((objective, [lane]))
        self._groups = [(o, lanes, torch.tensor(lanes, device=device)) for o, lanes in groups]

    def at(self, progress_remaining: float) -> list[dict[str, Any]]:
        """The coefficients of each distinct objective."""
        return [objective.at(progress_remaining) for objective, _, _ in self._groups]

    def by_lane(self, now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The result of :meth:`at`, for each lane."""
        result: list[dict[str, Any]] = [{}] * len(self.objectives)
        for (_, lanes, _), coefficients in zip(self._groups, now, strict=True):
            for lane in lanes:
                result[lane] = coefficients
        return result

    def weights(
        self,
        returns: Tensor,
        now: Sequence[dict[str, Any]],
        fail: Callable[[int, Exception], None],
    ) -> Tensor:
        """The weight of each attempt (lanes, n_groups, group_size), float32.

        :param returns: of the same shape, float64
        :param now: the result of :meth:`at`
        :param fail: called with each lane whose transform raised, and the error. The weights of
            these lanes are 0
        """
        weights = torch.zeros(returns.shape, device=returns.device)
        for (objective, lanes, index), coefficients in zip(self._groups, now, strict=True):
            everyone = len(lanes) == len(returns)
            chosen = returns if everyone else returns[index]
            together = stacked_weights(objective, coefficients, chosen)
            if together is not None and everyone:
                weights.copy_(together)
            elif together is not None:
                weights[index] = together.float()
            else:
                self._apply_to_each(objective, coefficients, returns, lanes, weights, fail)
        if not math.isfinite(weights.sum().item()):
            for (objective, lanes, _), coefficients in zip(self._groups, now, strict=True):
                self._apply_to_each(objective, coefficients, returns, lanes, weights, fail)
        return weights

    @staticmethod
    def _apply_to_each(
        objective: Objective,
        coefficients: Mapping[str, Any],
        returns: Tensor,
        lanes: Sequence[int],
        weights: Tensor,
        fail: Callable[[int, Exception], None],
    ) -> None:
        """Compute the weights lane by lane."""
        for lane in lanes:
            try:
                weights[lane] = objective.apply(returns[lane], coefficients)
            except Exception as error:
                weights[lane] = 0
                fail(lane, error)

    def keep(self, lanes: Sequence[int]) -> "LaneObjectives":
        """The objectives of these lanes."""
        return LaneObjectives([self.objectives[lane] for lane in lanes], self._device)


def equal(one: Objective, other: Objective) -> bool:
    """Whether two objectives always return the same weights. False if this is not certain."""
    return one is other or (
        one.transform is other.transform
        and one.coefficients.keys() == other.coefficients.keys()
        and all(
            type(value) is type(other.coefficients[name]) and value == other.coefficients[name]
            for name, value in one.coefficients.items()
        )
    )


def stacked_weights(
    objective: Objective, coefficients: Mapping[str, Any], returns: Tensor
) -> Tensor | None:
    """The weights of several lanes in one call, or None if each lane needs its own call.

    The transforms of this project treat each group separately. Your own transform may combine the
    groups of an iteration, so it gets one lane at a time. If the call fails, the lanes are also
    computed one by one, so an error in one lane does not affect the others.

    :param returns: (lanes, n_groups, group_size)
    """
    if getattr(objective.transform, "__module__", None) != transforms.__name__:
        return None
    groups = returns.flatten(0, 1)
    count = len(groups)
    if padded(count) > count:  # add groups of zeros up to whole SIMD vectors, as in parameters.py
        groups = torch.nn.functional.pad(groups, (0, 0, 0, padded(count) - count))
    try:
        weights = objective.transform(groups, **coefficients)
    except ValueError:
        return None
    return weights[:count].view(returns.shape)
