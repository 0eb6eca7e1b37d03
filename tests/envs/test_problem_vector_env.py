"""Many episodes of a world stepped together: each equals that of the scalar env."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from pkpo_envs import ProblemVectorEnv
from tests.envs.countdown import IDS, CountdownEnv, CountdownVectorEnv, make_vec

SAME_STEP, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED

pytestmark = pytest.mark.filterwarnings("error")


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
