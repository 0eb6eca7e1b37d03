"""Optional attributes of an env: unrelated attributes with the same name are ignored."""

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit, TransformReward

from pkpo_envs.bandit import BanditEnv
from pkpo_envs.cliff_1d import Cliff1DEnv
from pkpo_envs.conventions import (
    decision_observations,
    exact_solution,
    has_exact_solution,
    problem_count,
    problems_of,
)
from pkpo_envs.digit_sum import DigitSumEnv
from pkpo_envs.env_columns import EnvColumns
from pkpo_envs.seeded_problems import SeededProblems
from pkpo_sandbox.algorithm.groups import GroupVecEnv, group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from tests.envs.odd_envs import FailingProperties, OtherMeanings, OtherMethods, Proxy, Usual

OTHERS = [OtherMeanings, OtherMethods, FailingProperties, Usual, Proxy]


@pytest.mark.parametrize("kind", OTHERS)
def test_other_meanings_of_the_names_are_left_alone(kind):
    env = kind()
    assert problems_of(env) is None
    assert exact_solution(env) is None
    assert not has_exact_solution(env)
    if kind not in (OtherMethods,):
        assert decision_observations(env) is None
    assert SeededProblems(env, 3).n_problems == 3
    assert group_env(kind()).n_problems is None


@pytest.mark.parametrize(
    ("value", "count"), [(3, 3), (np.int64(1), 1), (True, None), (2.0, None), ("3", None)]
)
def test_problems_are_counted_by_integers(value, count):
    assert problem_count(value) == count


@pytest.mark.parametrize("value", [0, -1])
def test_less_than_one_problem_is_refused(value):
    with pytest.raises(ValueError, match=f"n_problems={value}, but an env has at least 1 problem"):
        problem_count(value)


def test_the_worlds_own_solutions_are_known_by_their_form():
    for world in (BanditEnv(), Cliff1DEnv(), DigitSumEnv()):
        assert exact_solution(world) == world.exact
        assert has_exact_solution(world)
    assert decision_observations(DigitSumEnv()) is not None
    assert decision_observations(BanditEnv()) is None
    assert has_exact_solution(gymnasium.make("pkpo_envs:pkpo/Bandit-v0"))


@pytest.mark.parametrize(
    "wrap", [lambda env: TimeLimit(env, 3), lambda env: TransformReward(env, lambda r: -r)]
)
def test_a_wrapped_world_is_another_world(wrap):
    env = wrap(gymnasium.make("pkpo_envs:pkpo/Bandit-v0"))
    assert exact_solution(env) is not None
    assert not has_exact_solution(env)


class Claims(Usual):
    """Has five problems, and names one of them, or none."""

    n_problems = 5

    def __init__(self, named: str) -> None:
        self.named, self.problem = named, 0

    def reset(self, *, seed=None, options=None):
        if self.named == "as told":
            self.problem = options["problem"] if options else int(self.np_random.integers(5))
        return super().reset(seed=seed)

    def info(self):
        return {} if self.named == "none" else {"problem": self.problem}


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("none", r'n_problems=5, but its info does not name the problem.*info\["problem"\]'),
        ("always 0", r"column \d was told to start problem \d, by reset\(options=.*problem 0"),
    ],
)
def test_problems_that_are_not_named_rightly_are_refused_at_the_first_step(named, message):
    # Of three steps, and nothing is ever won.
    columns = EnvColumns([lambda: Claims(named)] * 4)
    model = PKPO("MlpPolicy", columns, k=2, n_groups=2, group_size=2, seed=1, device="cpu")
    with pytest.raises(ValueError, match=message):
        model.learn(1)
    assert all(env.unwrapped.t == 1 for env in columns.envs)


def test_problems_that_are_named_rightly_are_played():
    env = GroupVecEnv(EnvColumns([lambda: Claims("as told")] * 3))
    model = PKPO("MlpPolicy", env, k=2, n_groups=3, group_size=2, seed=1, device="cpu")
    assert env.n_problems == 5
    assert model.learn(30).num_timesteps >= 30
