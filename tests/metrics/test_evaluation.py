"""Group evaluations: whole groups, any number of columns, and unchanged random states."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.vec_env import VecNormalize

from pkpo_sandbox import PKPO
from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.metrics.evaluation import evaluate_groups
from tests.small import (
    BANDIT,
    PROBLEM_SET,
    SMALL,
    Script,
    dummy,
    indifferent,
    problem_sets,
    small_pkpo,
)


def test_groups_of_a_deterministic_env_are_constant_rows_of_its_problems():
    env = make_group_env(PROBLEM_SET, 6, 4, **SMALL)
    model = indifferent(PKPO("MlpPolicy", env, group_size=4), [1.0, 1e-30, 1e-30, 1e-30])
    returns = evaluate_groups(model, env, 200, 3)  # Answer 0 every time: right in 6 problems of 8.
    assert returns.shape == (200, 3)
    assert returns.dtype == torch.float64
    assert torch.equal(returns, returns[:, :1].expand(-1, 3))
    assert set(returns.flatten().tolist()) == {0.0, 1.0}
    assert returns.mean().item() == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 200))


@pytest.mark.parametrize("columns", [1, 2, 3, 6, 8])
def test_every_attempt_is_played_to_its_end_in_any_number_of_columns(columns):
    # Long and short attempts in turn, a reward of 1 a step; in every column the first one is long.
    env = dummy(*(Script((0, [1.0] * 5), (0, [1.0])) for _ in range(columns)))
    model = A2C("MlpPolicy", dummy(Script((0, [1.0]))))
    returns = evaluate_groups(model, env, 2, 3)
    expected = {
        1: [[5, 1, 5], [1, 5, 1]],
        # The first column plays attempts 0, 2, 4 and the second 1, 3, 5, in step with each other.
        2: [[5, 5, 1], [1, 5, 5]],
        3: [[5, 5, 5], [1, 1, 1]],
        6: [[5, 5, 5], [5, 5, 5]],
        8: [[5, 5, 5], [5, 5, 5]],
    }
    assert returns.tolist() == expected[columns]


def test_a_policy_with_memory_is_told_when_episodes_start():
    told = []

    def predict(observation, state, episode_start, deterministic):
        told.append((state, episode_start.tolist(), deterministic))
        return np.zeros(2, dtype=int), (len(told),)

    model: Any = A2C("MlpPolicy", dummy(Script((0, [1.0]))))
    model.predict = predict
    env = dummy(Script((0, [0.0, 0.0])), Script((0, [0.0, 0.0, 0.0])))
    evaluate_groups(model, env, 1, 2, deterministic=True)
    assert told == [
        (None, [True, True], True),
        ((1,), [False, False], True),
        ((2,), [True, False], True),
    ]


def test_an_evaluation_is_a_function_of_its_seed():
    model, env = small_pkpo(), make_group_env(PROBLEM_SET, 8, 8, **SMALL)
    first, other = (evaluate_groups(model, env, 8, 8, seed=seed) for seed in (5, 6))
    model.predict(np.zeros(3, dtype=int))  # draws from torch in between
    env.step(np.zeros(64, dtype=int))
    assert torch.equal(evaluate_groups(model, env, 8, 8, seed=5), first)
    assert not torch.equal(other, first)


def test_an_evaluation_leaves_every_source_of_randomness_as_it_was():
    dqn = DQN("MlpPolicy", problem_sets(1), seed=1, buffer_size=10)
    dqn.exploration_rate = 0.5  # draws from NumPy and from the action space
    a2c = A2C("MlpPolicy", problem_sets(1))
    env = make_group_env(PROBLEM_SET, 4, 4, **SMALL)

    def states() -> list[Any]:
        spaces_of = [model.action_space.np_random.bit_generator.state for model in (dqn, a2c)]
        numpy_state: Any = np.random.get_state()  # noqa: NPY002
        return [torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2], spaces_of]

    before = states()
    evaluate_groups(dqn, env, 4, 4)
    evaluate_groups(a2c, env, 4, 4)
    with pytest.raises(IndexError):
        evaluate_groups(a2c, dummy(Script((0, []))), 1, 2)
    assert states() == before


def test_torch_draws_on_as_if_there_had_been_no_evaluation():
    model, env = small_pkpo(), make_group_env(PROBLEM_SET, 4, 4, **SMALL)
    torch.manual_seed(0)
    undisturbed = torch.rand(3)
    torch.manual_seed(0)
    evaluate_groups(model, env, 4, 4)
    assert torch.equal(torch.rand(3), undisturbed)


def test_returns_are_without_the_scaling_of_vec_normalize():
    env = VecNormalize(dummy(Script((0, [2.0, 3.0]))), norm_obs=False)
    model = A2C("MlpPolicy", env)
    assert evaluate_groups(model, env, 1, 2).tolist() == [[5.0, 5.0]]


def test_an_env_that_draws_its_problems_by_itself_is_refused():
    with pytest.raises(ValueError, match=r"one of 8 problems by itself.*make_group_env"):
        evaluate_groups(A2C("MlpPolicy", problem_sets()), problem_sets(), 2, 2)


@pytest.mark.parametrize(("n_groups", "group_size"), [(0, 4), (4, 1), (4, 2.0), (True, 4)])
def test_impossible_groups_are_refused(n_groups, group_size):
    with pytest.raises(ValueError, match="must be an integer of at least"):
        evaluate_groups(small_pkpo(), make_group_env(BANDIT, 4, 4), n_groups, group_size)
