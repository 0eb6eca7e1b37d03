"""Rollouts: rewards credited to attempts, discounted from their start, and steps put in rows."""

import numpy as np
import pytest
import torch

from pkpo_sandbox.algorithm.rollouts import Recorder, Rollout


def step(*observations: float) -> tuple[torch.Tensor, ...]:
    """What was done in a step: the actions are the observations plus 10, and so on."""
    observed = torch.tensor(observations)
    return observed, observed + 10, observed + 20, observed + 30


def flags(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


def recorded(gamma: float) -> Recorder:
    """Three attempts in two columns; columns pay 1 and 10, later 2 and 20, and so on.

    Attempt 0 takes steps 1 and 2 in column 0, attempt 1 steps 1 to 4 in column 1, attempt 2 step 3
    in column 0, which is then idle.
    """
    recorder = Recorder(1, 3, 2, gamma)
    ends = [(0, 0), (1, 0), (1, 0), (1, 1)]
    played = [
        recorder.add(step(i, i + 0.5), np.array([i, 10.0 * i]), flags(*end))
        for i, end in enumerate(ends, start=1)
    ]
    assert [playing.tolist() for playing in played] == [[True, True]] * 3 + [[False, True]]
    assert recorder.roster.finished
    return recorder


def test_returns_are_sums_of_the_rewards_of_whole_attempts():
    recorder = recorded(gamma=1.0)
    # 1 + 2; 10 + 20 + 30 + 40; 3
    assert recorder.rollout().returns.tolist() == [[3, 100, 3]]
    assert recorder.undiscounted.tolist() == [[3, 100, 3]]
    assert recorder.lengths.tolist() == [[2, 4, 1]]


def test_rewards_are_discounted_from_the_start_of_their_attempt():
    recorder = recorded(gamma=0.5)
    # 1 + 2/2; 10 + 20/2 + 30/4 + 40/8; 3, the first reward of its attempt, whole
    assert recorder.rollout().returns.tolist() == [[2, 32.5, 3]]
    assert recorder.undiscounted.tolist() == [[3, 100, 3]]


def test_each_step_of_an_attempt_is_a_row():
    rollout = recorded(1.0).rollout()
    assert rollout.observations.tolist() == [1, 1.5, 2, 2.5, 3, 3.5, 4.5]
    assert rollout.attempts.tolist() == [0, 1, 0, 1, 2, 1, 1]
    assert rollout.actions.tolist() == [11, 11.5, 12, 12.5, 13, 13.5, 14.5]
    assert rollout.log_prob.tolist() == [21, 21.5, 22, 22.5, 23, 23.5, 24.5]
    assert rollout.entropy.tolist() == [31, 31.5, 32, 32.5, 33, 33.5, 34.5]


def test_observations_may_be_dicts():
    recorder = Recorder(1, 2, 2, 1.0)
    for i in range(2):
        observed = {"a": torch.tensor([[i], [i + 10]]), "b": torch.tensor([[-i], [-i - 10]])}
        recorder.add((observed, *step(0, 0)[1:]), np.zeros(2), flags(i == 1, 1))
    rollout = recorder.rollout()
    assert {key: rows.tolist() for key, rows in rollout.observations.items()} == {
        "a": [[0], [10], [1]],
        "b": [[0], [-10], [-1]],
    }
    (first, second) = rollout.parts(2)
    assert first.observations["a"].tolist() == [[0], [10]]
    assert second.observations["b"].tolist() == [[-1]]


@pytest.mark.parametrize("n_rows", [1, 2, 3, 6, 7, 8])
def test_parts_are_the_same_rows_in_order(n_rows):
    rollout = recorded(1.0).rollout()
    parts = list(rollout.parts(n_rows))
    assert len(parts) == -(-7 // n_rows)
    for name in ("observations", "actions", "log_prob", "entropy", "attempts"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert joined.equal(getattr(rollout, name)), name
    assert all(isinstance(part, Rollout) and part.returns is rollout.returns for part in parts)


def test_graphs_are_let_go():
    recorder = Recorder(1, 2, 2, 1.0)
    observations, actions, log_prob, entropy = step(0.0, 0.0)
    graph = log_prob.requires_grad_() * 2, entropy.requires_grad_() * 2
    recorder.add((observations, actions, *graph), np.zeros(2), flags(1, 1))
    assert recorder.rollout().log_prob.requires_grad
    recorder.detach()
    rollout = recorder.rollout()
    assert not rollout.log_prob.requires_grad
    assert not rollout.entropy.requires_grad
    assert rollout.log_prob.equal(graph[0])


def test_only_rewards_of_attempts_must_be_finite():
    recorder = Recorder(1, 2, 3, 1.0)
    recorder.add(step(0, 0, 0), np.array([1, 2, np.nan]), flags(0, 0, 0))
    message = r"column 1 gave reward -inf at step 2 of the iteration: rewards must be finite"
    with pytest.raises(ValueError, match=message):
        recorder.add(step(0, 0, 0), np.array([1, -np.inf, 0]), flags(0, 0, 0))
