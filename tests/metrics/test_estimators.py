"""Measurements at a fixed policy, against exact values and values computed by hand."""

import pytest

from pkpo_envs.cliff_1d import Cliff1DEnv
from pkpo_sandbox.metrics.estimators import gradient_variance, sample_weights

BASELINES = ["none", "loo", "loo_minus_one"]


def test_every_estimate_has_the_exact_mean_and_its_known_variance():
    """Tolerance: 4 standard errors for means, 10 % for variances (about 6 of theirs)."""
    rows = gradient_variance(0.8, 16, [2, 4, 8], BASELINES, 20_000, seed=0)
    assert len(rows) == 9
    for row in rows:
        exact = Cliff1DEnv().max_at_k_gradient(0.8, row["k"])
        assert row["true_gradient"] == exact
        assert abs(row["mean"] - exact) < 4 * row["standard_error"]
    variances = {row["baseline"]: row["variance"] for row in rows if row["k"] == 4}
    expected = {"none": 60.7, "loo": 0.748, "loo_minus_one": 0.273}  # of 200,000 groups
    assert variances == pytest.approx(expected, rel=0.1)


def test_estimators_that_do_not_exist_give_no_row():
    rows = gradient_variance(1.0, 4, [1, 4, 8], BASELINES, 10, seed=0)
    cases = [(row["k"], row["baseline"]) for row in rows]
    assert cases == [(1, name) for name in BASELINES] + [(4, "none"), (4, "loo_minus_one")]


def test_measuring_in_chunks_measures_all_groups(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.metrics.estimators.CHUNK", 64)
    (row,) = gradient_variance(0.8, 8, [2], ["loo_minus_one"], 1003, seed=0)
    assert row["standard_error"] == pytest.approx((row["variance"] / 1003) ** 0.5)
    assert gradient_variance(0.8, 8, [2], ["loo_minus_one"], 1003, seed=0) == [row]
    assert gradient_variance(0.8, 8, [2], ["loo_minus_one"], 1003, seed=1) != [row]


def test_sample_weights_by_hand():
    """n = 4, k = 2: w_m d_m = C(m-1,1)/C(4,2) / 4 = (m-1)/24 for m > 1, and sums of those."""
    rows = sample_weights(4, [2], n_correct=1, baseline="loo_minus_one")
    continuous = [row for row in rows if row["reward"] == "continuous"]
    assert [row["rank"] for row in continuous] == [1, 2, 3, 4]
    assert [row["value"] for row in continuous] == [0.25, 0.5, 0.75, 1.0]
    assert [row["weight"] for row in continuous] == pytest.approx([0, 1 / 24, 3 / 24, 6 / 24])
    binary = [row for row in rows if row["reward"] == "binary"]
    # The one correct attempt is best in C(3,1) of the C(4,2) pairs, and better by 1.
    assert [row["weight"] for row in binary] == pytest.approx([0, 0, 0, 0.5])
