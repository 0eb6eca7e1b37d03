"""Claims: the format of numbers, and tolerances from the spread of the seeds."""

import numpy as np
import pandas as pd
import pytest

from pkpo_sandbox.figures import claims
from pkpo_sandbox.figures.claims import Claim, Number


@pytest.mark.parametrize(
    ("value", "spec", "written"),
    [
        (0.25, "", ".250"),
        (1.0, "", "1.000"),
        (-1.0234, ".2f", "−1.02"),
        (-0.25, "", "−.250"),
        (-1e-9, "", ".000"),
        (0.5, ".1f", ".5"),
        (12.0, ".0f", "12"),
        (0.0, ".0f", "0"),
    ],
)
def test_a_number_is_written_as_in_the_readme(value, spec, written):
    assert format(Number(value), spec) == written


def test_a_sentence_has_its_numbers_and_its_title_has_not():
    claim = claims.exact("from {:.1f} to {}", [0.25, 2.0])
    assert (claim.sentence, claim.title) == ("from .2 to 2.000", "from … to …")
    assert claims.exact("from {}", [1], about="start").title == "start"


def test_the_tolerance_of_a_mean_is_that_of_two_sets_of_seeds():
    # Variances 1 and 4 of 4 seeds: s sqrt(2 / 4) is 0.7071 and 1.4142; t of 3 degrees is 12.924.
    samples = [[0.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 4.0]]
    claim = claims.seed_means("{} and {:.1f}", samples)
    assert claim.values == (0.5, 1.0)
    assert claim.bounds == pytest.approx((12.924 * 0.70711 + 0.001, 12.924 * 1.41421 + 0.1), 1e-4)
    # All settings with the larger deviation, and the 6 degrees of freedom of both: t is 5.959.
    few = claims.seed_means("{} and {:.1f}", samples, few=True)
    assert few.bounds == pytest.approx((5.9588 * 1.41421 + 0.001, 5.9588 * 1.41421 + 0.1), 1e-4)


def test_two_sets_of_seeds_agree_as_often_as_the_confidence_says(monkeypatch):
    """Of 4,000 pairs of sets of 8 normal seeds a tenth disagrees: 0.1, with an sd of 0.0047."""
    monkeypatch.setattr(claims, "CONFIDENCE", 0.9)
    rng = np.random.default_rng(0)
    disagree = [
        not claims.seed_means("{:.9f}", [first]).holds([second.mean()])
        for first, second in rng.normal(size=(4000, 2, 8))
    ]
    assert np.mean(disagree) == pytest.approx(0.1, abs=4 * 0.0047)


def test_an_ordering_keeps_half_of_its_distance_and_two_standard_errors():
    clear = claims.ordering("more", [([4.0, 4.0], [0.0, 0.0])])
    assert (clear.values, clear.bounds) == ((4.0,), (2.0,))
    # Variances 2 and 2 of 2 seeds: the standard error of the difference of 4 is sqrt(1 + 1).
    noisy = claims.ordering("more", [([3.0, 5.0], [-1.0, 1.0])])
    assert noisy.bounds == pytest.approx((2 * 2**0.5,))
    assert [clear.holds([value]) for value in (4.0, 2.0, 1.9, -4.0)] == [True, True, False, False]


def test_what_all_seeds_reach_is_rounded_down_and_bounded_by_the_worst_setting():
    claim = claims.least("{:.1f}", [[99.98, 99.98], [99.94, 99.96]])
    # Mean 99.95, s sqrt(1 + 1/2) = 0.017321; one-sided t of 1 degree at 0.999 is 318.31.
    assert claim.values == pytest.approx((99.9,))
    assert claim.bounds == pytest.approx((99.95 - 318.31 * 0.017321,), abs=1e-3)
    assert claim.relation == "above"


def test_numbers_without_chance_keep_to_their_last_digit():
    assert claims.exact("{:.2f}", [0.5]).bounds == pytest.approx((0.01,))
    assert claims.exact("nothing is written", [0.0, 1.0]).bounds == (1e-9, 1e-9)
    assert claims.relative("{:.1f}", [10.0], 0.2).bounds == pytest.approx((2.1,))


def test_holds_tells_each_relation():
    within = Claim("{}", (1.0,), "within", (0.1,))
    below = Claim("{}", (1.0,), "below", (2.0,))
    assert [within.holds([v]) for v in (1.05, 0.85, 1.15)] == [True, False, False]
    assert [below.holds([v]) for v in (2.0, 2.1)] == [True, False]
    assert claims.shown("{}", [1.0]).holds([5.0]) is None
    nan = float("nan")
    assert [claim.holds([nan]) for claim in (within, below)] == [False, False]
    assert within.holds([1.0, 1.0]) is False  # another number of numbers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{} and {}", (1.0,), "within", (0.1,)), "2 fields for 1 numbers"),
        (("{}", (1.0,), "within"), "0 bounds"),
        (("{}", (1.0,), "shown", (0.1,)), "1 bounds"),
    ],
)
def test_a_claim_that_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Claim(*arguments)


def test_samples_are_in_the_order_of_the_seeds():
    table = pd.DataFrame({"k": [1, 8, 1], "seed": [1, 0, 0], "x": [3.0, 4.0, 5.0]})
    (first, second) = claims.by_seed(table, "k", [1, 8], "x")
    assert (first.tolist(), second.tolist()) == ([5.0, 3.0], [4.0])
    with pytest.raises(ValueError, match="no row of k = 2"):
        claims.by_seed(table, "k", [2], "x")
