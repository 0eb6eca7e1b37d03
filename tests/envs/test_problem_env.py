"""What every world owes: checked on all registered ids, and in full on a toy of many steps."""

import json
import pickle
import subprocess
import sys
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
from pkpo_envs.checks import check_distribution, check_target

IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("pkpo/"))
SAME_STEP, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED

pytestmark = pytest.mark.filterwarnings("error")


class CountdownEnv(ProblemEnv):
    """Problem i takes i + 1 steps; action 1 earns the steps left, action 0 nothing, plus noise."""

    def __init__(self, n_problems: int = 4, noise: float = 0.0) -> None:
        self.n_problems, self.noise = n_problems, noise
        self.observation_space = spaces.Box(0.0, n_problems, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, problems):
        return np.stack([problems, problems + 1], axis=-1)

    def advance(self, state, actions):
        rewards = state[:, 1] * actions + self.noise * self.np_random.normal(size=len(state))
        state[:, 1] -= 1  # in place: nobody else may hold the state
        return state, rewards, state[:, 1] == 0


class CountdownVectorEnv(ProblemVectorEnv):
    world_class = CountdownEnv


def make_vec(env_id: str, num_envs: int, **kwargs: Any) -> Any:
    return gym.make_vec(f"pkpo_envs:{env_id}", num_envs=num_envs, **kwargs)


def uniform_policy(world: Any) -> dict[str, np.ndarray]:
    space = world.action_space
    if isinstance(space, spaces.Discrete):
        several = hasattr(world, "decision_observations")  # more decisions than a problem's first
        rows = len(world.decision_observations()) if several else world.n_problems
        return {"probabilities": np.full((rows, space.n), 1 / space.n)}
    return {"mean": np.zeros((world.n_problems, *space.shape)), "std": np.ones(space.shape)}


def test_the_worlds_are_registered():
    worlds = {"Bandit", "Cliff1D", "ProblemSet", "DigitSum"}
    assert {f"pkpo/{name}-v0" for name in worlds} <= set(IDS)


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
def test_scalar_env_is_the_vector_env_of_one_column(env_id):
    scalar, vector = gym.make(env_id), make_vec(env_id, 1)
    vector.action_space.seed(0)
    observation, info = scalar.reset(seed=7)
    observations, infos = vector.reset(seed=7)
    assert vector.np_random_seed == 7
    for _ in range(40):
        assert np.array_equal(observation, observations[0])
        assert info["problem"] == infos["problem"][0]
        actions = vector.action_space.sample()
        observation, reward, terminated, truncated, info = scalar.step(actions[0])
        observations, rewards, terminations, truncations, infos = vector.step(actions)
        assert (reward, terminated, truncated) == (rewards[0], terminations[0], truncations[0])
        if terminated:
            assert np.array_equal(observation, infos["final_obs"][0])
            assert info["problem"] == infos["final_info"]["problem"][0]
            observation, info = scalar.reset()


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("mode", [SAME_STEP, DISABLED])
def test_what_a_vector_env_returns_lies_in_its_spaces(env_id, mode):
    envs = make_vec(env_id, 5, autoreset_mode=mode)
    envs.action_space.seed(0)
    assert envs.metadata["autoreset_mode"] is mode
    assert envs.num_envs == 5
    observations, infos = envs.reset(seed=0)
    for _ in range(10):
        assert observations in envs.observation_space
        assert infos["problem"].dtype == np.int64
        assert ((infos["problem"] >= 0) & (infos["problem"] < envs.n_problems)).all()
        observations, rewards, ends, cuts, infos = envs.step(envs.action_space.sample())
        assert (rewards.dtype, rewards.shape) == (np.float64, (5,))
        assert (ends.dtype, cuts.dtype, cuts.any()) == (np.bool_, np.bool_, False)
        if mode == DISABLED and ends.any():
            observations, infos = envs.reset(options={"reset_mask": ends})


@pytest.mark.parametrize("env_id", IDS)
def test_reports_ended_episodes_as_gymnasium_does(env_id):
    native = make_vec(env_id, 3)
    sync = make_vec(
        env_id, 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": SAME_STEP}
    )
    native.action_space.seed(0)
    problem = native.n_problems - 1
    for envs in (native, sync):
        envs.reset(seed=0, options={"problem": problem})
    while True:
        actions = native.action_space.sample()
        *_, ends, _, ours = native.step(actions)
        *_, theirs = sync.step(actions)
        if ends.all():
            break
    assert ours.keys() == theirs.keys()
    for key in ("problem", "_problem", "_final_obs", "_final_info", "final_obs"):
        assert (ours[key].dtype, ours[key].shape) == (theirs[key].dtype, theirs[key].shape)
    assert type(ours["final_obs"][0]) is type(theirs["final_obs"][0])
    assert ours["final_info"].keys() == theirs["final_info"].keys()
    for key, values in ours["final_info"].items():
        assert values.dtype == theirs["final_info"][key].dtype
        assert values.tolist() == theirs["final_info"][key].tolist()
    assert ours["final_info"]["problem"].tolist() == [problem] * 3


@pytest.mark.parametrize("env_id", ["pkpo/Cliff1D-v0", "pkpo/ProblemSet-v0"])
def test_each_column_of_a_deterministic_world_is_the_scalar_env(env_id):
    envs, env = make_vec(env_id, 200), gym.make(env_id)
    envs.action_space.seed(0)
    problems = np.arange(200) % envs.n_problems
    observations, _ = envs.reset(seed=0, options={"problem": problems})
    actions = envs.action_space.sample()
    if isinstance(env.action_space, spaces.Discrete):
        actions[::2] = envs.world.answers[problems[::2]]
    _, rewards, *_ = envs.step(actions)
    assert len(np.unique(rewards)) > 1
    for column, problem in enumerate(problems):
        observation, _ = env.reset(options={"problem": int(problem)})
        assert observation == observations[column]
        assert env.step(actions[column])[1] == rewards[column]


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


def test_noise_is_independent_between_columns():
    envs = CountdownVectorEnv(num_envs=2, n_problems=1, noise=1.0)
    envs.reset(seed=0)
    noise = np.array([envs.step([0, 0])[1] for _ in range(4000)])
    # A correlation of n independent pairs has a standard error of 1 / sqrt(n).
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / np.sqrt(4000)


def test_same_step_restarts_ended_columns_and_keeps_the_others():
    envs = CountdownVectorEnv(num_envs=3)
    envs.reset(seed=0, options={"problem": np.array([0, 1, 2])})
    observations, rewards, ends, _, infos = envs.step([1, 1, 0])
    assert (rewards.tolist(), ends.tolist()) == ([1.0, 2.0, 0.0], [True, False, False])
    assert [last if last is None else last.tolist() for last in infos["final_obs"]] == [
        [0.0, 0.0],
        None,
        None,
    ]
    assert infos["final_info"]["problem"].tolist() == [0, 0, 0]
    assert infos["final_info"]["_problem"].tolist() == ends.tolist()
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == ends.tolist()
    fresh = infos["problem"][0]
    assert infos["problem"].tolist() == [fresh, 1, 2]
    assert observations.tolist() == [[fresh, fresh + 1], [1, 1], [2, 2]]
    assert envs.step([0, 0, 0])[2].tolist() == [fresh == 0, True, False]


def test_disabled_leaves_ended_columns_to_the_caller():
    envs = CountdownVectorEnv(num_envs=3, autoreset_mode="Disabled")
    envs.reset(seed=0, options={"problem": np.array([0, 1, 2])})
    observations, _, ends, _, infos = envs.step([0, 0, 0])
    assert observations.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert infos.keys() == {"problem", "_problem"}
    with pytest.raises(ResetNeeded, match=r"1 columns have ended, among them 0: restart them"):
        envs.step([0, 0, 0])
    kept = observations.copy()
    # The entries outside the mask do not count, not even impossible ones.
    options = {"reset_mask": ends, "problem": np.array([3, -9, 99])}
    restarted, infos = envs.reset(options=options)
    assert restarted.tolist() == [[3, 4], [1, 1], [2, 2]]
    assert infos["problem"].tolist() == [3, 1, 2]
    assert infos["_problem"].tolist() == [True, False, False]
    assert options.keys() == {"reset_mask", "problem"}
    assert np.array_equal(observations, kept)
    _, rewards, ends, _, infos = envs.step([1, 1, 1])
    assert (rewards.tolist(), ends.tolist()) == ([4.0, 1.0, 2.0], [False, True, False])
    envs.reset(options={"reset_mask": ends, "problem": 0})
    assert envs.step([1, 1, 1])[1].tolist() == [3.0, 1.0, 1.0]


def test_columns_follow_the_scalar_env_through_partial_resets():
    envs = CountdownVectorEnv(num_envs=6, autoreset_mode=DISABLED)
    scalars = [CountdownEnv() for _ in range(6)]
    rng = np.random.default_rng(0)
    mask = np.ones(6, dtype=np.bool_)
    for _ in range(50):
        if mask.any():
            problems = rng.integers(4, size=6)
            observations, _ = envs.reset(options={"reset_mask": mask, "problem": problems})
            for column in np.flatnonzero(mask):
                first, _ = scalars[column].reset(options={"problem": problems[column]})
                assert np.array_equal(first, observations[column])
        actions = rng.integers(2, size=6)
        observations, rewards, mask, _, infos = envs.step(actions)
        for column, env in enumerate(scalars):
            observation, reward, ended, _, info = env.step(actions[column])
            assert np.array_equal(observation, observations[column])
            assert (reward, ended) == (rewards[column], mask[column])
            assert info["problem"] == infos["problem"][column]


def test_restarting_one_ended_column_leaves_the_other_ended():
    envs = CountdownVectorEnv(num_envs=2, autoreset_mode=DISABLED)
    envs.reset(options={"problem": 0})
    envs.step([0, 0])
    envs.reset(options={"reset_mask": np.array([True, False]), "problem": 0})
    with pytest.raises(ResetNeeded, match="1 columns have ended, among them 1"):
        envs.step([0, 0])


def test_what_was_returned_may_be_overwritten():
    envs = make_vec("pkpo/ProblemSet-v0", 3, autoreset_mode=DISABLED)
    observations, infos = envs.reset(options={"problem": np.array([0, 100, 127])})
    for array in (observations, *infos.values()):
        array[:] = 1
    observations, rewards, _, _, infos = envs.step(envs.world.answers[[0, 100, 127]])
    assert rewards.tolist() == [1, 1, 1]
    assert observations.tolist() == infos["problem"].tolist() == [0, 100, 127]


def test_a_world_may_return_states_that_cannot_be_written():
    class FrozenEnv(CountdownEnv):
        def start(self, problems):
            return np.broadcast_to([7, 1], (len(problems), 2))

        def advance(self, state, actions):
            return state, np.zeros(len(state)), actions == 1

    class FrozenVectorEnv(ProblemVectorEnv):
        world_class = FrozenEnv

    envs = FrozenVectorEnv(num_envs=2)
    envs.reset()
    assert envs.step([0, 1])[0].tolist() == [[7, 1], [7, 1]]


def test_partial_reset_in_same_step_mode():
    envs = CountdownVectorEnv(num_envs=2)
    envs.reset(options={"problem": 3})
    mask = np.array([False, True])
    observations, _ = envs.reset(options={"reset_mask": mask, "problem": 1})
    assert observations.tolist() == [[3, 4], [1, 2]]


def test_vector_reset_refuses_bad_options():
    envs = CountdownVectorEnv(num_envs=2)
    with pytest.raises(ResetNeeded, match=r"before reset\(\)"):
        envs.step([0, 0])
    with pytest.raises(ResetNeeded, match="no episodes yet to keep"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    for mask in (np.array([1, 0]), np.array([True]), None):
        with pytest.raises(ValueError, match=r"boolean array of shape \(2,\), got"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="marks no column"):
        envs.reset(options={"reset_mask": np.zeros(2, dtype=np.bool_)})
    with pytest.raises(ValueError, match="has 4, but the problems are 0 to 3"):
        envs.reset(options={"problem": np.array([0, 4])})
    with pytest.raises(ValueError, match=r"shape \(3,\): give .* an array of shape \(2,\)"):
        envs.reset(options={"problem": np.array([0, 1, 2])})
    with pytest.raises(ValueError, match="must be an integer"):
        envs.reset(options={"problem": np.array([0.0, 1.0])})
    with pytest.raises(ValueError, match=r"no options \['mask'\]"):
        envs.reset(options={"mask": np.ones(2, dtype=np.bool_)})


def test_vector_env_refuses_bad_arguments():
    with pytest.raises(ValueError, match="every second step"):
        CountdownVectorEnv(num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="not a valid AutoresetMode"):
        CountdownVectorEnv(num_envs=2, autoreset_mode="never")
    for num_envs in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=f"num_envs={num_envs} must be an integer"):
            CountdownVectorEnv(num_envs=num_envs)


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


def test_importing_the_worlds_loads_neither_torch_nor_the_sandbox():
    code = (
        "import sys, pkpo_envs.bandit, pkpo_envs.cliff_1d, pkpo_envs.problem_set\n"
        "assert not {'torch', 'stable_baselines3', 'pkpo_sandbox'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
