"""Checks of the arguments of a world: invalid values are refused."""

import numpy as np
import pytest
from gymnasium import spaces

from pkpo_envs.checks import (
    check_actions,
    check_distribution,
    check_mask,
    check_options,
    check_problems,
    check_target,
)
from tests.envs.countdown import CountdownEnv

pytestmark = pytest.mark.filterwarnings("error")


def test_refuses_an_action_space_it_cannot_check():
    env = CountdownEnv()
    env.action_space = spaces.MultiBinary(2)
    env.reset()
    with pytest.raises(TypeError, match=r"do not act in MultiBinary\(2\): use a Discrete"):
        env.step(np.zeros(2, dtype=np.int8))


def test_multi_discrete_actions_are_checked_element_by_element():
    env = CountdownEnv()
    env.action_space = spaces.MultiDiscrete([2, 3])
    env.reset()
    with pytest.raises(ValueError, match=r"action \[1 3\] of column 0 must be an element"):
        env.step(np.array([1, 3]))


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "2", None])
def test_target_must_be_a_positive_integer(k):
    with pytest.raises(ValueError, match=r"must be an integer of at least 1"):
        check_target(k)


def test_policy_must_be_a_distribution():
    assert check_distribution(np.float32([0.25, 0.75]), (2,)).dtype == np.float64
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(3,\)"):
        check_distribution([0.5, 0.5], (3,))
    with pytest.raises(ValueError, match=r"probability -0.5: each must be at least 0"):
        check_distribution([1.5, -0.5], (2,))
    with pytest.raises(ValueError, match=r"probability nan"):
        check_distribution([1.0, np.nan], (2,))
    with pytest.raises(ValueError, match=r"sums to inf"):
        check_distribution([1.0, np.inf], (2,))
    with pytest.raises(ValueError, match=r"sums to 0.9, not to 1: divide"):
        check_distribution([[0.5, 0.5], [0.4, 0.5]], (2, 2))


def test_one_problem_is_for_all_columns_and_only_those_that_count_are_checked():
    assert check_problems(3, 4, 2).tolist() == [3, 3]
    assert check_problems([9, 1], 4, 2, np.array([False, True])).tolist() == [9, 1]
    with pytest.raises(ValueError, match="has 9, but the problems are 0 to 3: choose one"):
        check_problems([9, 1], 4, 2)


def test_options_and_masks_are_checked():
    assert check_options(None, {"problem"}) == {}
    assert check_options({"problem": 1}, {"problem", "reset_mask"}) == {"problem": 1}
    with pytest.raises(ValueError, match=r"no options \['a', 'b'\]: choose from \['problem'\]"):
        check_options({"b": 1, "a": 2, "problem": 0}, {"problem"})
    assert check_mask([True, False], 2).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"array of shape \(2,\), got int64 of shape \(2,\)"):
        check_mask([1, 0], 2)


def test_actions_get_the_dtype_of_their_space():
    box = spaces.Box(-1, 1, (2,), np.float32)
    assert check_actions(np.array([[5.0, -7.0]]), box, 1).dtype == np.float32  # bounds do not count
    start = spaces.Discrete(3, start=2)
    assert check_actions(np.array([2, 4], np.int8), start, 2).tolist() == [2, 4]
    with pytest.raises(ValueError, match=r"action 5 of column 1 .* the smallest is 2, and there"):
        check_actions(np.array([2, 5]), start, 2)
