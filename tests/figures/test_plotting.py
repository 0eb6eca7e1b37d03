"""Shared parts of figures: intervals, and means over seeds."""

import numpy as np
import pandas as pd
import pytest

from pkpo_sandbox.figures import plotting


def test_the_interval_is_the_bootstrap_percentile_interval_of_the_mean():
    # Means of two draws from {0, 1} are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert plotting.interval([0.0, 1.0]) == (0.5, 0.0, 1.0)
    assert plotting.interval([3.0]) == (3.0, 3.0, 3.0)
    assert plotting.interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    values = np.random.default_rng(0).normal(size=400)
    mean, low, high = plotting.interval(values)
    standard_error = values.std(ddof=1) / 20
    assert mean == values.mean()
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.05)


def test_summarise_keeps_the_order_of_its_keys():
    table = pd.DataFrame({"k": [2, 2, 1, 1], "seed": [0, 1, 1, 0], "x": [0.0, 1.0, 5.0, 5.0]})
    summary = plotting.summarise(table, "k", "x")
    assert summary.columns.tolist() == ["k", "mean", "low", "high"]
    assert summary.to_numpy().tolist() == [[1, 5, 5, 5], [2, 0.5, 0, 1]]


def test_summarise_keeps_to_what_all_seeds_have():
    table = pd.DataFrame(
        {"t": [1, 2, 3, 1, 2, 4], "seed": [0, 0, 0, 1, 1, 1], "x": [0.0, None, 1.0, 2.0, 3.0, 4.0]}
    )
    assert plotting.summarise(table, "t", "x").to_numpy().tolist() == [[1, 1, 0, 2]]
    with pytest.raises(ValueError, match=r"no t at which all seeds have x: .*time/iterations"):
        plotting.summarise(table.query("t != 1"), "t", "x")
