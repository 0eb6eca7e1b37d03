"""Claims of the README about a figure, as numbers to compare with the runs of another machine.

A gallery module has ``claims(table)`` beside ``table`` and ``draw``. Each claim is a sentence of
the README and the numbers in it. ``pkpo-figures --verdict`` computes the claims twice, from the
committed table and from the table of the runs on this machine, and compares them.

Every tolerance comes from the committed seeds alone:

- A mean over seeds may differ by ``t * s * sqrt(2 / n)`` and one unit of its last digit as written.
  ``s`` is the standard deviation of the n seeds, so ``s * sqrt(2 / n)`` is the standard error of
  the difference between two sets of n seeds. ``t`` is Student's quantile for ``CONFIDENCE``.
- An ordering holds if the difference of the means is at least half of the committed one, and at
  least twice its standard error.
- Numbers of chaotic runs depend on the processor. They are shown without a claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.999

#: within: at most the bound away from the committed value; above: at least the bound; below: at
#: most the bound; shown: no claim
Relation = Literal["within", "above", "below", "shown"]


class Number(float):
    """A number in the format of the README: .250, 1.000, −1.02."""

    def __format__(self, spec: str) -> str:
        text = format(float(self), spec or ".3f")
        sign = "−" if text.startswith("-") and float(text) != 0 else ""
        text = text.lstrip("-")
        return sign + (text[1:] if text.startswith("0.") else text)


@dataclass(frozen=True)
class Claim:
    """One claim about a figure.

    :param says: a sentence of the README, or a part of one, with a field (``{}``, ``{:.1f}``) for
        each number. A sentence without fields states an ordering in words
    :param values: the numbers
    :param relation: how another machine's numbers must compare
    :param bounds: one for each number; none if ``relation`` is "shown"
    :param paper: the corresponding statement of the paper, if there is one
    :param about: a title for tables; the sentence, if empty
    """

    says: str
    values: tuple[float, ...]
    relation: Relation
    bounds: tuple[float, ...] = ()
    paper: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        for name in ("values", "bounds"):  # JSON cannot store NumPy numbers
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        n_fields = len(fields(self.says))
        if n_fields not in (0, len(self.values)):
            raise ValueError(f"{self.says!r} has {n_fields} fields for {len(self.values)} numbers")
        if len(self.bounds) != (0 if self.relation == "shown" else len(self.values)):
            raise ValueError(f"{self.says!r} has {len(self.bounds)} bounds, not one a number")

    @property
    def sentence(self) -> str:
        """The sentence of the README, with the numbers."""
        return self.says.format(*map(Number, self.values))

    @property
    def title(self) -> str:
        parts = Formatter().parse(self.says)
        words = [text + ("…" if name is not None else "") for text, name, _, _ in parts]
        return self.about or "".join(words)

    def holds(self, values: Sequence[float]) -> bool | None:
        """Whether the numbers of other runs agree; None if there is no claim."""
        if self.relation == "shown":
            return None
        ours, theirs, bounds = (np.asarray(x) for x in (self.values, values, self.bounds))
        if ours.shape != theirs.shape:
            return False
        if self.relation == "within":
            return bool((np.abs(theirs - ours) <= bounds).all())
        return bool((theirs >= bounds if self.relation == "above" else theirs <= bounds).all())


def fields(says: str) -> list[str]:
    """The format specifications of the fields of a sentence."""
    return [spec or "" for _, name, spec, _ in Formatter().parse(says) if name is not None]


def by_seed(
    table: pd.DataFrame, by: str, settings: Sequence[object], column: str
) -> list[np.ndarray]:
    """The values of a column for each setting, in the order of the seeds.

    :raises ValueError: if a setting has no rows
    """
    samples = []
    for setting in settings:
        rows = table[table[by] == setting].sort_values("seed")
        if rows.empty:
            raise ValueError(f"the table has no row of {by} = {setting}: train all of its runs")
        samples.append(rows[column].to_numpy(dtype=float))
    return samples


def last_digits(says: str, values: Sequence[float]) -> np.ndarray:
    """One unit of the last digit of each number as the sentence writes it: 0.001 for .250."""
    written = [format(Number(v), spec) for v, spec in zip(values, fields(says), strict=True)]
    return np.array([10.0 ** -len(text.partition(".")[2]) for text in written])


def seed_means(
    says: str,
    samples: Sequence[Sequence[float] | np.ndarray],
    *,
    few: bool = False,
    paper: str = "",
    about: str = "",
) -> Claim:
    """The means over seeds of several settings, each within its tolerance.

    :param samples: for each field of ``says`` the values of its seeds, at least two
    :param few: for few seeds, when the deviation of a single setting is unreliable: use the
        largest deviation of all settings for each, with the degrees of freedom of all
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    values = [sample.mean() for sample in arrays]
    deviations = np.array([sample.std(ddof=1) for sample in arrays])
    sizes = np.array([len(sample) for sample in arrays])
    freedom = sizes - 1
    if few:
        deviations[:], freedom[:] = deviations.max(), freedom.sum()
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * deviations * np.sqrt(2 / sizes)
    bounds = reach + last_digits(says, values)
    return Claim(says, tuple(values), "within", tuple(bounds), paper, about)


def least(
    says: str,
    samples: Sequence[Sequence[float] | np.ndarray],
    *,
    paper: str = "",
    about: str = "",
) -> Claim:
    """The smallest value over all seeds and settings, rounded down.

    The smallest value of another machine must be at least a bound. A new seed of the worst setting
    exceeds this bound with the probability ``CONFIDENCE``.
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    (unit,) = last_digits(says, [1.0])
    value = np.floor(min(sample.min() for sample in arrays) / unit) * unit
    bounds = []
    for sample in arrays:
        reach = stats.t.ppf(CONFIDENCE, len(sample) - 1) * (1 + 1 / len(sample)) ** 0.5
        bounds.append(sample.mean() - reach * sample.std(ddof=1))
    return Claim(says, (value,), "above", (min(value, *bounds),), paper, about)


def exact(says: str, values: Sequence[float], *, paper: str = "", about: str = "") -> Claim:
    """Numbers without randomness: the tolerance is one unit of the last digit as written.

    For numbers that the sentence does not contain, the tolerance is 1e-9.
    """
    bounds = last_digits(says, values) if fields(says) else np.full(len(values), 1e-9)
    return Claim(says, tuple(values), "within", tuple(bounds), paper, about)


def ordering(
    says: str,
    pairs: Sequence[tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    *,
    paper: str = "",
    about: str = "",
) -> Claim:
    """In each pair of samples over seeds, the first has the larger mean.

    The numbers are the differences of the means. ``says`` has no fields.
    """
    values, bounds = [], []
    for larger, smaller in pairs:
        high, low = np.asarray(larger, dtype=float), np.asarray(smaller, dtype=float)
        difference = high.mean() - low.mean()
        error = np.sqrt(high.var(ddof=1) / len(high) + low.var(ddof=1) / len(low))
        values.append(difference)
        bounds.append(max(difference / 2, 2 * error))
    return Claim(says, tuple(values), "above", tuple(bounds), paper, about)


def relative(
    says: str, values: Sequence[float], tolerance: float, *, paper: str = "", about: str = ""
) -> Claim:
    """Numbers with a relative tolerance, plus one unit of their last digit.

    :param tolerance: relative: 0.1 is 10 %
    """
    bounds = tolerance * np.abs(values) + last_digits(says, values)
    return Claim(says, tuple(values), "within", tuple(bounds), paper, about)


def shown(says: str, values: Sequence[float], *, paper: str = "", about: str = "") -> Claim:
    """Numbers of chaotic runs: the README shows them without a claim."""
    return Claim(says, tuple(values), "shown", (), paper, about)
