"""What callers give to a world: what cannot be is refused."""

import numpy as np
import pytest
from gymnasium import spaces

from pkpo_envs.checks import check_distribution, check_target
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
