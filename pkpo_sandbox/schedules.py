"""Schedules: k, or any other coefficient, as a function of how much training remains.

A schedule is called with Stable-Baselines3's ``progress_remaining``, which falls from 1 at the
start of training to 0 at its end, so each one also serves as a ``learning_rate`` or ``clip_range``.
A loop of one's own calls it with ``1 - step / max_steps``. With t = 1 - progress_remaining, the
part of training that is done:

    Constant(value)             value
    Step(start, end, at)        start if t < at, else end
    Linear(start, end)          (1 - t) start + t end
    Cosine(start, end)          (1 - c) start + c end,      c = (1 - cos πt)/2

If both ends are integers, so is every value, as a k must be: Linear and Cosine round to the nearest
integer (an exact half to the even one), which visits every integer from start to end, each in turn,
and keeps both ends exact. Linear spends equal time at each integer, and half of that at the ends.
Otherwise values are floats. No value lies outside the two ends.

SB3 counts whole iterations, and the last one may overshoot ``total_timesteps``: the remaining
progress then falls below 0 (-0.002, say; below -1 if one iteration is more than all of training).
That is the end of training, so it counts as 0. More than 1 remaining is a mistake, and refused.

Schedules are frozen dataclasses: they compare by value, can be pickled, and so are saved with a
model. All of them raise ValueError for an end that is not a finite number, and when called with a
progress that is not finite or is above 1.
"""

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Number = TypeVar("Number", int, float)

LARGEST_INTEGER = 2**53  # up to here a float holds every integer, and so both ends are exact
ROUNDING = 1e-9  # how far above 1 a progress may lie that was meant to be 1


@dataclass(frozen=True)
class Constant(Generic[Number]):
    """The same value throughout."""

    value: Number

    def __post_init__(self) -> None:
        _check_number("value", self.value)

    def __call__(self, progress_remaining: float) -> Number:
        _remaining(progress_remaining)
        return self.value


@dataclass(frozen=True)
class Step(Generic[Number]):
    """``start`` until the fraction ``at`` of training is done, in (0, 1), and ``end`` from then on.

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
        # Not 1 - progress < at: both sides are rounded alike, so the step is never an update late.
        done = _remaining(progress_remaining) <= 1 - self.at
        return _between(self.start, self.end, float(done))


@dataclass(frozen=True)
class Linear(Generic[Number]):
    """From ``start`` to ``end`` at a constant rate; integers if both are."""

    start: Number
    end: Number

    def __post_init__(self) -> None:
        _check_number("start", self.start)
        _check_number("end", self.end)

    def __call__(self, progress_remaining: float) -> Number:
        return _between(self.start, self.end, 1 - _remaining(progress_remaining))


@dataclass(frozen=True)
class Cosine(Generic[Number]):
    """From ``start`` to ``end`` along half a cosine, slow at both; integers if both are."""

    start: Number
    end: Number

    def __post_init__(self) -> None:
        _check_number("start", self.start)
        _check_number("end", self.end)

    def __call__(self, progress_remaining: float) -> Number:
        done = 1 - _remaining(progress_remaining)
        return _between(self.start, self.end, (1 - math.cos(math.pi * done)) / 2)


def _between(start: Number, end: Number, part: float) -> Number:
    """The value this part of the way from start to end, 0 to 1; an int if both ends are ints."""
    value = (1 - part) * start + part * end  # exact at both ends, which start + part (...) is not
    value = min(max(value, min(start, end)), max(start, end))
    both_integers = isinstance(start, int) and isinstance(end, int)
    return round(value) if both_integers else float(value)  # type: ignore[return-value]


def _remaining(progress: float) -> float:
    """SB3's remaining progress, in [0, 1]; below 0 is the overshoot of the last iteration."""
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
