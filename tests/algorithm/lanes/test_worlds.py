"""Worlds of lanes: stacked or separate, random numbers per lane, and envs that are refused."""

import numpy as np
import pytest

from pkpo_sandbox.algorithm.lanes import Lane, Lanes
from pkpo_sandbox.algorithm.lanes.worlds import LaneRandom, UnevenEpisodesError
from pkpo_sandbox.schedules import Objective
from pkpo_sandbox.transforms import rloo
from tests.algorithm.lanes.kinds import learn_one, same, some_lanes
from tests.small import BANDIT


def test_a_world_that_can_be_stacked_gives_the_bytes_of_one_that_cannot():
    lanes = some_lanes(4)
    results = [
        Lanes(f"lanes/{name}-v0", lanes, group_size=4, n_groups=2).learn(16 * 8, 2)
        for name in ("Drift", "StackedDrift")
    ]
    assert all(same(*pair) for pair in zip(*results, strict=True))


def test_lanes_with_arguments_of_their_own_play_worlds_of_their_own():
    arguments = [{"payouts": [0.5, 0.8, p]} for p in (1.0, 2.0, 1.0)]
    lanes = [Lane(i, Objective(rloo), env_kwargs=kwargs) for i, kwargs in enumerate(arguments)]
    results = Lanes(BANDIT, lanes).learn(10 * 256, 1)
    best = [max(row["rollout/max_at_16"] for row in result.rows) for result in results]
    assert best[1] > 1.1
    assert max(best[0], best[2]) <= 1
    for lane, result in zip(lanes, results, strict=True):
        assert same(result, *Lanes(BANDIT, [lane]).learn(10 * 256, 1))


def test_lanes_whose_groups_begin_alike_and_others_are_computed_apart():
    # One world of one problem, one of three: a lane's observations are 1 and n_groups rows.
    lanes = [Lane(i, Objective(rloo), env_kwargs={"n_problems": n}) for i, n in enumerate((1, 3))]
    results = Lanes("lanes/Still-v0", lanes, group_size=4, n_groups=3).learn(12 * 6, 2)
    for lane, result in zip(lanes, results, strict=True):
        alone = Lanes("lanes/Still-v0", [lane], group_size=4, n_groups=3)
        assert same(result, *alone.learn(12 * 6, 2))


def test_episodes_of_uneven_lengths_are_refused():
    with pytest.raises(UnevenEpisodesError, match="equal lengths"):
        Lanes("lanes/Uneven-v0", [Lane(0, Objective(rloo))]).learn(256)


def test_a_stacked_world_draws_one_number_an_episode():
    random = LaneRandom([np.random.default_rng(seed) for seed in (3, 4)])
    first = np.random.default_rng(3)
    assert (random.random(10)[:5] == first.random(5)).all()
    assert (random.normal(1.0, 2.0, size=(10, 2))[:5] == first.normal(1.0, 2.0, size=(5, 2))).all()
    assert (random.integers(7, size=10)[:5] == first.integers(7, size=5)).all()
    for size in (None, 9, (3, 10)):
        with pytest.raises(ValueError, match="one number an episode"):
            random.normal(size=size)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("CartPole-v1", {}, "vectorization='native' cannot play CartPole-v1|ProblemVectorEnv"),
        ("lanes/OwnStep-v0", {}, "has a step of its own"),
        ("lanes/Odd-v0", {"env_kwargs": {"observation": "MultiBinary"}}, "MultiBinary"),
    ],
)
def test_worlds_that_lanes_cannot_play_are_refused(env, settings, message):
    with pytest.raises(ValueError, match=message):
        learn_one(env, settings)
