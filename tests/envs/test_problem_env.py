"""Properties of every world: checked on all registered ids, and on a small env of many steps."""

import json
import pickle
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from pkpo_envs import ProblemEnv, ProblemVectorEnv
from tests.envs.countdown import IDS, CountdownEnv, CountdownVectorEnv, make_vec

SAME_STEP, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED

pytestmark = pytest.mark.filterwarnings("error")


def uniform_policy(world: Any) -> dict[str, np.ndarray]:
    space = world.action_space
    if isinstance(space, spaces.Discrete):
        several = hasattr(world, "decision_observations")  # more decisions than a problem's first
        rows = len(world.decision_observations()) if several else world.n_problems
        return {"probabilities": np.full((rows, space.n), 1 / space.n)}
    return {"mean": np.zeros((world.n_problems, *space.shape)), "std": np.ones(space.shape)}


@pytest.mark.parametrize("env_id", IDS)
def test_passes_the_checkers_of_gymnasium_and_sb3(env_id):
    check_env(gym.make(f"pkpo_envs:{env_id}").unwrapped)
    sb3_check_env(gym.make(env_id).unwrapped)
    sb3_check_env(gym.make(env_id))


@pytest.mark.parametrize("env_id", IDS)
def test_docstring_has_the_fixed_headings(env_id):
    doc = type(gym.make(env_id).unwrapped).__doc__
    headings = [line.strip()[3:] for line in doc.splitlines() if line.strip().startswith("## ")]
    assert headings == [
        "Description",
        "Observation",
        "Action",
        "Reward",
        "Problems",
        "Exact solution",
        "Reference",
    ]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_pickles_in_the_middle_of_an_episode(env_id, pickler):
    for make in (gym.make, lambda name: make_vec(name, 3)):
        env = make(env_id)
        env.action_space.seed(0)
        env.reset(seed=0)
        twin = pickler.loads(pickler.dumps(env))
        action = env.action_space.sample()
        ours, theirs = env.step(action), twin.step(action)
        for left, right in zip(ours[:4], theirs[:4], strict=True):
            assert np.array_equal(left, right)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("k", [1, 4])
def test_exact_facts_can_be_written_as_json(env_id, k):
    world = gym.make(env_id).unwrapped
    if not hasattr(world, "exact"):
        pytest.skip(f"{env_id} has no exact solution")
    facts = world.exact(k, **uniform_policy(world))
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["max_at_k"] <= facts["max_at_k_star"] + 1e-9


@pytest.mark.parametrize("env_id", IDS)
def test_scalar_env_refuses_what_is_not_a_problem(env_id):
    env = gym.make(env_id)
    bound = env.unwrapped.n_problems
    for problem in (-1, bound):
        with pytest.raises(
            ValueError, match=rf"has {problem}, but the problems are 0 to {bound - 1}"
        ):
            env.reset(options={"problem": problem})
    for problem in (0.0, True, "0", None):
        with pytest.raises(ValueError, match=r"must be an integer from 0 to"):
            env.reset(options={"problem": problem})
    with pytest.raises(ValueError, match=r"shape \(2,\): give one integer"):
        env.reset(options={"problem": [0, 0]})
    with pytest.raises(ValueError, match=r"no options \['task'\]: choose from \['problem'\]"):
        env.reset(options={"task": 0})


@pytest.mark.parametrize("env_id", IDS)
def test_refuses_an_action_outside_its_space(env_id):
    env, envs = gym.make(env_id).unwrapped, make_vec(env_id, 2)
    env.reset(seed=0)
    envs.reset(seed=0)
    shape = env.action_space.shape
    if isinstance(env.action_space, spaces.Discrete):
        n = int(env.action_space.n)
        bad = {n: f"action {n} of column {{}} must be an element of Discrete", -1: "action -1 of"}
        bad |= {0.5: "takes integers: cast them first", np.nan: r"\[.*nan\] have dtype float64"}
    else:
        bad = {np.nan: r"action \[nan\] of column {} must be finite", np.inf: r"action \[inf\] of"}
        bad |= {-np.inf: r"action \[-inf\] of", 1e300: r"action \[1\.e\+300\] of"}
    for value, message in bad.items():
        with pytest.raises(ValueError, match=message.format(0)):
            env.step(np.full(shape, value))
        with pytest.raises(ValueError, match=message.format(1)):
            envs.step(np.stack([np.zeros_like(value, shape=shape), np.full(shape, value)]))
    with pytest.raises(ValueError, match=r"actions have shape \(3"):
        envs.step(np.zeros((3, *shape), env.action_space.dtype))
    envs.step(np.zeros((2, *shape), env.action_space.dtype))  # a refusal changed nothing


def test_scalar_step_needs_an_episode():
    env = CountdownEnv()
    with pytest.raises(ResetNeeded, match="no episode under way"):
        env.step(0)
    env.reset(options={"problem": 0})
    assert env.step(1)[1:3] == (1.0, True)
    with pytest.raises(ResetNeeded, match="again after the end"):
        env.step(0)


def test_scalar_env_returns_python_scalars_and_its_problem():
    env = CountdownEnv()
    observation, info = env.reset(options={"problem": np.int64(2)})
    assert observation.tolist() == [2, 3]
    assert (info, type(info["problem"])) == ({"problem": 2}, int)
    kept = observation
    step = env.step(1)
    assert step[1:] == (3.0, False, False, {"problem": 2})
    assert [type(value) for value in step[1:4]] == [float, bool, bool]
    assert kept.tolist() == [2, 3]  # not the state, which moved on in place
    assert step[0].tolist() == [2, 2]


def test_problems_are_drawn_uniformly():
    envs = CountdownVectorEnv(num_envs=4000, n_problems=4)
    _, infos = envs.reset(seed=0)
    counts = np.bincount(infos["problem"], minlength=4)
    error = np.sqrt(4000 * 0.25 * 0.75)
    assert (np.abs(counts - 1000) < 4 * error).all()
    _, again = envs.reset(seed=0)
    assert np.array_equal(infos["problem"], again["problem"])


def test_one_problem_takes_no_randomness_to_draw():
    env = CountdownEnv(n_problems=1, noise=1.0)
    env.reset(seed=3)
    env.reset()
    _, noise, *_ = env.step(0)
    assert noise == np.random.default_rng(3).normal()


def test_refuses_worlds_that_break_their_own_shapes():
    class PairwiseEnv(CountdownEnv):
        def advance(self, state, actions):
            return state, np.zeros((len(state), len(state))), state[:, 1] == 0

    class FloatStateEnv(CountdownEnv):
        def advance(self, state, actions):
            return state - 0.5, np.zeros(len(state)), state[:, 1] == 1

    class IdleEnv(CountdownEnv):
        advance = ProblemEnv.advance

    def vector(world: type[ProblemEnv]) -> ProblemVectorEnv:
        envs = type("Envs", (ProblemVectorEnv,), {"world_class": world})(num_envs=2)
        envs.reset(options={"problem": np.array([0, 1])})
        return envs

    with pytest.raises(ValueError, match=r"rewards of shape \(2, 2\) .* of shape \(2,\)"):
        vector(PairwiseEnv).step([0, 0])
    with pytest.raises(TypeError, match=r"int64 from start\(\) and float64 from advance\(\)"):
        vector(FloatStateEnv).step([0, 0])
    with pytest.raises(NotImplementedError, match="IdleEnv overrides neither"):
        vector(IdleEnv).step([0, 0])
