"""The loss of lanes: PPO's surrogate and its derivative, against the formula in loops."""

from types import SimpleNamespace

import pytest
import torch

from pkpo_sandbox.algorithm.lanes.losses import clipped, joined


def test_the_clipped_surrogate_and_its_derivative_follow_the_formula():
    n_lanes, n_steps, n_attempts, n_groups = 2, 3, 4, 2
    generator = torch.Generator().manual_seed(0)
    log_prob, old = torch.randn(2, n_lanes, n_steps, n_attempts, generator=generator) / 3
    weights = torch.randn(n_lanes, n_attempts, generator=generator)
    ranges = [0.1, 0.3]
    value, slopes = clipped(log_prob, old, weights, n_groups, torch.tensor(ranges)[:, None])
    n_clipped = 0
    for lane, clip_range in enumerate(ranges):
        total = 0.0
        for step in range(n_steps):
            for attempt in range(n_attempts):
                weight = weights[lane, attempt].item()
                ratio = (log_prob - old)[lane, step, attempt].exp().item()
                within = min(max(ratio, 1 - clip_range), 1 + clip_range)
                total += min(weight * ratio, weight * within) / n_groups
                flat = weight * within < weight * ratio
                n_clipped += flat
                slope = 0 if flat else -weight * ratio / n_groups
                assert slopes[step][lane, attempt].item() == pytest.approx(slope, abs=1e-6)
        assert value[lane].item() == pytest.approx(total, abs=1e-6)
    assert 0 < n_clipped < n_lanes * n_steps * n_attempts


def test_the_log_probabilities_of_all_steps_stand_side_by_side():
    steps = [SimpleNamespace(log_prob=torch.full((2, 3, 4), float(step))) for step in range(5)]
    found = joined(steps)
    assert found.shape == (2, 5, 12)
    assert found[1, :, 7].tolist() == [0, 1, 2, 3, 4]
