"""Rollouts: rewards credited to attempts, discounted from their start, and steps as rows."""

import numpy as np
import pytest
import torch

from pkpo_sandbox.algorithm.rollouts import Recorder, Rollout, attempt_sums, steps_before
from pkpo_sandbox.algorithm.roster import IDLE


def step(*observations: float) -> tuple[torch.Tensor, ...]:
    """What was done in a step: the actions are the observations plus 10, and so on."""
    observed = torch.tensor(observations)
    return observed, observed + 10, observed + 20, observed + 30


def recorded() -> Recorder:
    """Three attempts in two columns; columns pay 1 and 10, later 2 and 20, and so on.

    Attempt 0 takes steps 1 and 2 in column 0, attempt 1 steps 1 to 4 in column 1, attempt 2 step 3
    in column 0, which is then idle.
    """
    recorder = Recorder()
    for i, attempts in enumerate([(0, 1), (0, 1), (2, 1), (IDLE, 1)], start=1):
        recorder.add(step(i, i + 0.5), np.array([i, 10.0 * i]), np.array(attempts))
    return recorder


@pytest.mark.parametrize(
    ("gamma", "returns"),
    [
        # 1 + 2; 10 + 20 + 30 + 40; 3
        (1.0, [3, 100, 3]),
        # 1 + 2/2; 10 + 20/2 + 30/4 + 40/8; 3, the first reward of its attempt, whole
        (0.5, [2, 32.5, 3]),
    ],
)
def test_rewards_are_discounted_from_the_start_of_their_attempt(gamma, returns):
    rollout = recorded().rollout(1, 3, gamma)
    assert rollout.returns.tolist() == [returns]
    assert rollout.undiscounted.tolist() == [[3, 100, 3]]
    assert rollout.lengths.tolist() == [[2, 4, 1]]


def test_each_step_of_an_attempt_is_a_row():
    rollout = recorded().rollout(1, 3, 1.0)
    assert rollout.observations.tolist() == [1, 1.5, 2, 2.5, 3, 3.5, 4.5]
    assert rollout.attempts.tolist() == [0, 1, 0, 1, 2, 1, 1]
    assert rollout.actions.tolist() == [11, 11.5, 12, 12.5, 13, 13.5, 14.5]
    assert rollout.log_prob.tolist() == [21, 21.5, 22, 22.5, 23, 23.5, 24.5]
    assert rollout.entropy.tolist() == [31, 31.5, 32, 32.5, 33, 33.5, 34.5]


def test_sums_and_steps_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    attempts, rewards = rng.integers(5, size=200), rng.normal(size=200)
    sums, counts, before = np.zeros(6), np.zeros(6, dtype=int), []
    for attempt, reward in zip(attempts, rewards, strict=True):
        before.append(counts[attempt])
        sums[attempt] += reward
        counts[attempt] += 1
    found_sums, found_counts = attempt_sums(rewards, attempts, 6)
    assert found_sums.tolist() == sums.tolist()  # to the last bit: added up in the same order
    assert found_counts.tolist() == counts.tolist()
    assert steps_before(attempts).tolist() == before


def test_observations_may_be_dicts():
    recorder = Recorder()
    for i, attempts in enumerate([(0, 1), (0, IDLE)]):
        observed = {"a": torch.tensor([[i], [i + 10]]), "b": torch.tensor([[-i], [-i - 10]])}
        recorder.add((observed, *step(0, 0)[1:]), np.zeros(2), np.array(attempts))
    rollout = recorder.rollout(1, 2, 1.0)
    assert {key: rows.tolist() for key, rows in rollout.observations.items()} == {
        "a": [[0], [10], [1]],
        "b": [[0], [-10], [-1]],
    }
    (first, second) = rollout.parts(2)
    assert first.observations["a"].tolist() == [[0], [10]]
    assert second.observations["b"].tolist() == [[-1]]


@pytest.mark.parametrize("n_rows", [1, 2, 3, 6, 7, 8])
def test_parts_are_the_same_rows_in_order(n_rows):
    rollout = recorded().rollout(1, 3, 1.0)
    parts = list(rollout.parts(n_rows))
    assert len(parts) == -(-7 // n_rows)
    for name in ("observations", "actions", "log_prob", "entropy", "attempts"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert joined.equal(getattr(rollout, name)), name
    assert all(isinstance(part, Rollout) and part.returns is rollout.returns for part in parts)


def test_graphs_are_let_go():
    recorder = Recorder()
    observations, actions, log_prob, entropy = step(0.0, 0.0)
    graph = log_prob.requires_grad_() * 2, entropy.requires_grad_() * 2
    recorder.add((observations, actions, *graph), np.zeros(2), np.array([0, 1]))
    assert recorder.rollout(1, 2, 1.0).log_prob.requires_grad
    recorder.detach()
    rollout = recorder.rollout(1, 2, 1.0)
    assert not rollout.log_prob.requires_grad
    assert not rollout.entropy.requires_grad
    assert rollout.log_prob.equal(graph[0])


def test_only_rewards_of_attempts_must_be_finite():
    recorder, attempts = Recorder(), np.array([0, 1, IDLE])
    recorder.add(step(0, 0, 0), np.array([1, 2, np.nan]), attempts)
    message = r"column 1 gave reward -inf at step 2 of the iteration: rewards must be finite"
    with pytest.raises(ValueError, match=message):
        recorder.add(step(0, 0, 0), np.array([1, -np.inf, 0]), attempts)
