"""Schedules, and objectives: a transform with coefficients that may be schedules.

A schedule is a function of how much training remains. It returns k or any other coefficient. Its
argument is Stable-Baselines3's ``progress_remaining``, which falls from 1 at the start of training
to 0 at its end. So a schedule also works as a ``learning_rate`` or ``clip_range``. In your own
training loop, call it with ``1 - step / max_steps``. With t = 1 - progress_remaining, the part of
training that is done:

    Constant(value)             value
    Step(start, end, at)        start if t < at, else end
    Linear(start, end)          (1 - t) start + t end
    Cosine(start, end)          (1 - c) start + c end,      c = (1 - cos πt)/2

If both ends are integers, all values are integers, because k must be one. Linear and Cosine round
to the nearest integer (an exact half to the even one). So they pass through every integer from
start to end in order, and both ends are exact. Linear spends equal time at each integer, and half
of that at the ends. If an end is a float, all values are floats. No value lies outside the ends.

SB3 counts whole iterations, and the last one may overshoot ``total_timesteps``. The remaining
progress then falls below 0 (for example to -0.002, or below -1 if one iteration is longer than all
of training). This is the end of training and counts as 0. A progress above 1 is an error.

Schedules are frozen dataclasses: they compare by value, can be pickled, and are saved with a model.
All of them raise a ValueError for an end that is not a finite number, and for a progress that is
not finite or is above 1.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Number = TypeVar("Number", int, float)

LARGEST_INTEGER = 2**53  # floats represent all integers up to here, so both ends are exact
ROUNDING = 1e-9  # a progress may exceed 1 by this rounding error


@dataclass(frozen=True)
class Constant(Generic[Number]):
    """The same value during all of training."""

    value: Number

    def __post_init__(self) -> None:
        _check_number("value", self.value)

    def __call__(self, progress_remaining: float) -> Number:
        _remaining(progress_remaining)
        return self.value


@dataclass(frozen=True)
class Step(Generic[Number]):
    """``start`` until the fraction ``at`` of training is done, then ``end``; ``at`` is in (0, 1).

    ``Step(8, 1)`` is the annealing of arXiv 2505.15201: k = 8 for the first half, then k = 1.
    """

    start: Number
    end: Number
    at: float = 0.5

    def __post_init__(self) -> None:
        _check_number("start", self.start)
        _check_number("end", self.end)
        _check_number("at", self.at)
        if not 0 < self.at < 1:
            raise ValueError(
                f"at={self.at!r} must be inside (0, 1): it is the part of training done before the"
                " step. For one value throughout, use Constant."
            )

    def __call__(self, progress_remaining: float) -> Number:
        # Not 1 - progress < at: here both sides round alike, so the step is never an update late.
        done = _remaining(progress_remaining) <= 1 - self.at
        return _between(self.start, self.end, float(done))


@dataclass(frozen=True)
class Linear(Generic[Number]):
    """From ``start`` to ``end`` at a constant rate; integers if both ends are integers."""

    start: Number
    end: Number

    def __post_init__(self) -> None:
        _check_number("start", self.start)
        _check_number("end", self.end)

    def __call__(self, progress_remaining: float) -> Number:
        return _between(self.start, self.end, 1 - _remaining(progress_remaining))


@dataclass(frozen=True)
class Cosine(Generic[Number]):
    """From ``start`` to ``end`` along half a cosine, slow near both; integers if both ends are."""

    start: Number
    end: Number

    def __post_init__(self) -> None:
        _check_number("start", self.start)
        _check_number("end", self.end)

    def __call__(self, progress_remaining: float) -> Number:
        done = 1 - _remaining(progress_remaining)
        return _between(self.start, self.end, (1 - math.cos(math.pi * done)) / 2)


def value_at(value: Any, progress_remaining: float) -> Any:
    """Evaluate a schedule at this moment of training; return any other value unchanged.

    A whole number from a schedule becomes an int, because SB3's own schedules return only floats
    and k must be an int.

    :param progress_remaining: 1 at the start of training, 0 at its end
    """
    if not callable(value):
        return value
    value = value(progress_remaining)
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        if abs(number) <= LARGEST_INTEGER and number.is_integer():
            return int(number)
    return value


def label(value: Any) -> str:
    """A coefficient in words: "8", "8 then 1", "8 to 1 linearly".

    :param value: a value, a schedule, or the config of a schedule (a mapping with ``_target_``).
        Other targets are written as calls: "Halved(start=8)"
    """
    if isinstance(value, (Constant, Step, Linear, Cosine)):
        value = {"_target_": type(value).__name__, **vars(value)}
    if not isinstance(value, Mapping) or "_target_" not in value:
        return f"{value:g}" if isinstance(value, float) else str(value)
    kind = str(value["_target_"]).rpartition(".")[2]
    said = {key: label(entry) for key, entry in value.items() if key != "_target_"}
    match kind, said:
        case "Constant", {"value": constant}:
            return constant
        case "Step", {"start": start, "end": end}:
            at = said.get("at", "0.5")
            return f"{start} then {end}" + ("" if at == "0.5" else f" from {at} of training on")
        case "Linear", {"start": start, "end": end}:
            return f"{start} to {end} linearly"
        case "Cosine", {"start": start, "end": end}:
            return f"{start} to {end} along a cosine"
    return f"{kind}({', '.join(f'{key}={entry}' for key, entry in said.items())})"


class Objective:
    """A transform of group returns with its coefficients, each a value or a schedule.

    It can be pickled if the transform and the schedules can.

    :param transform: maps returns (n_groups, group_size) to weights of the same shape, in the sum
        convention; takes the coefficients as keyword arguments
    :param coefficients: callables are schedules; other values are passed unchanged
    """

    def __init__(self, transform: "Callable[..., Tensor]", /, **coefficients: Any) -> None:
        self.transform = transform
        self.coefficients = coefficients

    def __repr__(self) -> str:
        parts = (f"{name}={value!r}" for name, value in self.coefficients.items())
        return f"Objective({', '.join([self.name, *parts])})"

    @property
    def name(self) -> str:
        """The name of the transform, or of its class if the object has no name."""
        return getattr(self.transform, "__name__", type(self.transform).__name__)

    @property
    def is_scheduled(self) -> bool:
        """Whether a coefficient is a schedule."""
        return any(map(callable, self.coefficients.values()))

    def at(self, progress_remaining: float) -> dict[str, Any]:
        """The coefficients at this moment of training (see :func:`value_at`).

        :param progress_remaining: 1 at the start of training, 0 at its end
        """
        return {
            name: value_at(value, progress_remaining) for name, value in self.coefficients.items()
        }

    def weights(self, returns: "Tensor", progress_remaining: float) -> "Tensor":
        """The weight of each attempt at this moment of training.

        :param returns: (n_groups, group_size)
        :return: (n_groups, group_size)
        :raises ValueError: see :meth:`apply`
        """
        return self.apply(returns, self.at(progress_remaining))

    def apply(self, returns: "Tensor", coefficients: Mapping[str, Any]) -> "Tensor":
        """The weight of each attempt, with the coefficients from :meth:`at`.

        :param returns: (n_groups, group_size)
        :return: (n_groups, group_size)
        :raises ValueError: if the transform rejects the coefficients, or does not return one
            finite weight for each attempt
        """
        import torch

        weights = self.transform(returns, **coefficients)
        if not isinstance(weights, torch.Tensor):
            kind = type(weights).__name__
            raise ValueError(f"the transform gave a {kind}: it must give a tensor of weights")
        if weights.shape != returns.shape:
            raise ValueError(
                f"the transform gave weights of shape {tuple(weights.shape)} for returns of "
                f"shape {tuple(returns.shape)}: it must give one weight for each attempt"
            )
        # One sum is faster than a test of each weight. The sum may overflow, so then test each.
        if not math.isfinite(weights.sum().item()) and not weights.isfinite().all():
            raise ValueError(f"the transform gave weights that are not finite: {weights.tolist()}")
        return weights

    def check(self, group_size: int) -> None:
        """Test the transform on a group at every percent of training, before training starts.

        :param group_size: attempts in a group
        :raises ValueError: if the transform does not take the coefficients or rejects their values;
            the message names the percent
        """
        import torch

        _check_arguments(self)
        returns = torch.zeros(1, group_size, dtype=torch.float64)
        at_every_percent(lambda progress: self.weights(returns, progress), self.is_scheduled)


def numbers_of(coefficients: Mapping[str, Any]) -> dict[str, Any]:
    """The coefficients that are numbers and can be logged."""
    return {
        name: value
        for name, value in coefficients.items()
        if isinstance(value, Real) and not isinstance(value, bool)
    }


def at_every_percent(check: Callable[[float], Any], is_scheduled: bool = True) -> None:
    """Call ``check(progress_remaining)`` at every percent of training, from start to end.

    :param is_scheduled: False if nothing changes during training: then one call is enough
    :raises ValueError: that of ``check``, with "at 37 % of training: " before it if is_scheduled
    """
    if not is_scheduled:
        check(1.0)
        return
    for percent in range(101):
        try:
            check((100 - percent) / 100)
        except ValueError as error:
            raise ValueError(f"at {percent} % of training: {error}") from error


def _check_arguments(objective: Objective) -> None:
    """Raise a ValueError unless the transform takes the coefficients."""
    try:
        signature = inspect.signature(objective.transform)
    except ValueError:  # some C functions have no signature
        return
    try:
        signature.bind(None, **objective.coefficients)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[1:]) or "no coefficients"
        raise ValueError(
            f"{objective.name} does not take the coefficients {objective.coefficients}: {error}; "
            f"it takes {names}"
        ) from None


def _between(start: Number, end: Number, part: float) -> Number:
    """The value at this part (0 to 1) of the way from start to end; an int if both ends are."""
    value = (1 - part) * start + part * end  # exact at both ends, unlike start + part * (...)
    value = min(max(value, min(start, end)), max(start, end))
    both_integers = isinstance(start, int) and isinstance(end, int)
    return round(value) if both_integers else float(value)  # type: ignore[return-value]


def _remaining(progress: float) -> float:
    """Clip SB3's remaining progress to [0, 1]; the last iteration may overshoot below 0."""
    if not math.isfinite(progress) or progress > 1 + ROUNDING:
        raise ValueError(
            f"progress_remaining={progress!r} must be at most 1: it is the part of training still"
            " to come, 1 at the start and 0 at the end, 1 - step/max_steps."
        )
    return min(max(progress, 0.0), 1.0)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{name}={value!r} must be at most 2**53 in size: floats skip larger ones")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number: give an int or a float.")
