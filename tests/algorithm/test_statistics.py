"""Statistics of groups, against values computed by hand, for one run and for lanes."""

import numpy as np
import pytest
import torch

from pkpo_sandbox.algorithm.statistics import group_statistics, rollout_statistics

RETURNS = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 4.0]], dtype=torch.float64)


def test_the_statistics_of_groups_are_means_over_groups():
    # max@2 of 0, 0, 1: the pairs have 0, 1, 1; of 0, 2, 4: 2, 4, 4.
    found = group_statistics(RETURNS, [1, 2, 3])
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"ep_rew_mean": 7 / 6, "max_at_1": 7 / 6, "max_at_2": (2 / 3 + 10 / 3) / 2, "max_at_3": 2.5}
    )
    assert group_statistics(RETURNS).keys() == {"ep_rew_mean", "max_at_1", "max_at_2"}


def test_lanes_have_statistics_of_their_own():
    lanes = torch.stack([RETURNS, 10 * RETURNS])
    for name, value in group_statistics(lanes).items():
        assert value.tolist() == pytest.approx(
            [group_statistics(RETURNS)[name].item() * x for x in (1, 10)]
        )


def test_what_a_monitor_reported_goes_before_what_was_trained_on():
    iterations = [
        (RETURNS, np.array([[1, 2, 3], [4, 5, 6]])),
        (RETURNS, np.ones((2, 3), dtype=int)),
    ]
    plain = rollout_statistics(iterations)
    assert plain["ep_rew_mean"] == pytest.approx(7 / 6)
    assert plain["ep_len_mean"] == (21 + 6) / 12
    reported = rollout_statistics(
        iterations, [{"r": 3.0, "l": 2}, {"r": 5.0, "l": 4}], [True, False]
    )
    assert reported == {**plain, "ep_rew_mean": 4, "ep_len_mean": 3, "success_rate": 0.5}
    assert rollout_statistics([]) == {}
