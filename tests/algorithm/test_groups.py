"""Groups: the attempt and problem of each column, and what Stable-Baselines3 receives."""

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_envs.columns import ColumnProblem
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_set import ProblemSetEnv, ProblemSetVectorEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.seeded_problems import SeededProblems
from pkpo_sandbox.algorithm.groups import GroupVecEnv, group_env, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.roster import IDLE
from pkpo_sandbox.metrics.evaluation import evaluate_groups
from tests.algorithm.counters import Counter, WithProblems, counters, listed_problem_sets, model_on
from tests.algorithm.short_runs import DISABLED, collect
from tests.small import PROBLEM_SET


class Staircase(ProblemEnv):
    """Problem p takes p + 1 steps; observes (problem, step) and pays the step's number."""

    n_problems = 5

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 100, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, problems):
        return np.stack([problems, np.zeros_like(problems)], axis=1)

    def advance(self, state, actions):
        state = state + np.array([0, 1])
        return state, state[:, 1].astype(float), state[:, 1] > state[:, 0]


class StaircaseVector(ProblemVectorEnv):
    world_class = Staircase


class Geometric(ProblemEnv):
    """Every step ends the episode with probability 0.3."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, problems):
        return np.zeros((len(problems), 1), np.float32)

    def advance(self, state, actions):
        return state, np.ones(len(state)), self.np_random.random(len(state)) < 0.3


class GeometricVector(ProblemVectorEnv):
    world_class = Geometric


@pytest.mark.parametrize("n_columns", [3, 8, 20])
def test_slow_episodes_are_not_dropped_so_mean_length_is_unbiased(n_columns):
    # Geometric lengths with p = 0.3: mean 1/p, variance (1 - p)/p^2. Keeping the first 8 episodes
    # that end instead would lose the long ones, half a step of the mean with 3 columns.
    model = model_on(GroupVecEnv(GeometricVector(n_columns, autoreset_mode=DISABLED)), 2, 4)
    lengths = np.concatenate([collect(model).lengths.ravel() for _ in range(200)])
    standard_error = np.sqrt(0.7) / 0.3 / np.sqrt(len(lengths))
    assert abs(lengths.mean() - 1 / 0.3) < 3.5 * standard_error


def test_an_endless_env_is_refused_wherever_it_is_played(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 30)
    message = r"column 0 has not ended after 30 steps.*max_episode_steps.*TimeLimit"
    for env in (group_env(Counter(31)), DummyVecEnv([partial(Counter, 31)])):
        with pytest.raises(ValueError, match=message):
            model_on(env, 1, 2).learn(1)
    for env in (group_env(Counter(31)), DummyVecEnv([partial(Counter, 31)])):
        model = model_on(group_env(Counter(30)), 1, 2)
        with pytest.raises(ValueError, match=message):
            evaluate_groups(model, env, 1, 2)
        assert (evaluate_groups(model, group_env(TimeLimit(Counter(31), 30)), 1, 2) == 30).all()
        assert model.learn(1).num_timesteps == 60


# Layout


def test_attempts_of_a_group_lie_together_and_share_a_problem():
    env = make_group_env(PROBLEM_SET, n_groups=16, group_size=4)
    env.set_groups(16, 4)
    env.seed(0)
    for observations in (env.reset(), env.step(np.zeros(64, int))[0]):
        groups = observations.reshape(16, 4)
        assert (groups == groups[:, :1]).all()
        # 16 draws from 128 problems: all 16 equal would be chance 1e-32.
        assert len(set(groups[:, 0])) > 8


def test_problems_are_drawn_uniformly_and_anew_in_every_iteration():
    env = make_group_env(PROBLEM_SET, 100, 2, n_problems=4, n_answers=4)
    env.set_groups(100, 2)
    env.seed(0)
    env.reset()
    draws = np.stack([env.step(np.zeros(200, int))[0][::2] for _ in range(20)])
    # 2,000 draws of 4: standard deviation of a count is sqrt(2000 * 1/4 * 3/4) = 19.4.
    assert np.abs(np.bincount(draws.ravel(), minlength=4) - 500).max() < 4 * 19.4
    assert not (draws[0] == draws[1]).all()


@pytest.mark.parametrize("n_columns", [1, 5, 12, 20])
@pytest.mark.parametrize("listed", [False, True])
def test_groups_share_a_problem_with_any_number_of_columns(n_columns, listed):
    vector = ProblemSetVectorEnv(n_columns, DISABLED)
    env = GroupVecEnv(listed_problem_sets(n_columns) if listed else vector)
    env.set_groups(3, 4)
    env.seed(0)
    observations = env.reset()
    for _ in range(3):
        problems, finished = np.full(12, -1), False
        while not finished:
            observed, answers = observations, ProblemSetEnv().answers[observations]
            observations, rewards, _, _ = env.step(answers)
            assert (rewards == 1).all()  # so the observed problem is the one that is played
            playing, finished = env.attempts != IDLE, env.finished
            problems[env.attempts[playing]] = observed[playing]
        groups = problems.reshape(3, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) > 1


def test_a_single_env_with_problems_plays_them_group_by_group():
    model = model_on(ProblemSetEnv(), n_groups=5, group_size=3)
    for _ in range(2):
        rollout = collect(model)
        groups = rollout.observations.reshape(5, 3)
        assert (groups == groups[:, :1]).all()
        assert len(groups[:, 0].unique()) > 1


@pytest.mark.parametrize("n_columns", [1, 3, 8, 11])
def test_whole_episodes_of_unequal_length_are_credited_to_their_attempts(n_columns):
    model = model_on(GroupVecEnv(StaircaseVector(n_columns, autoreset_mode=DISABLED)), 4, 2)
    for _ in range(5):
        rollout = collect(model)
        problems = rollout.lengths[:, 0] - 1
        assert (rollout.lengths == rollout.lengths[:, :1]).all()
        # Problem p pays 1 + 2 + ... + (p + 1).
        expected = (problems + 1) * (problems + 2) / 2
        assert (rollout.returns.numpy() == expected[:, None]).all()
        assert len(rollout.actions) == len(rollout.log_prob) == rollout.lengths.sum()
        for attempt in range(8):
            rows = rollout.observations[rollout.attempts == attempt].tolist()
            problem = problems[attempt // 2]
            assert rows == [[problem, step] for step in range(problem + 1)]


# What a step reports


def test_an_ended_column_reports_its_last_observation_and_restarts():
    env = GroupVecEnv(counters(2, 3, 3))
    assert env.reset().tolist() == [[0], [0], [0]]
    env.step(np.zeros(3, int))
    observations, rewards, dones, infos = env.step(np.zeros(3, int))
    assert observations.tolist() == [[0], [2], [2]]
    assert rewards.tolist() == [1, 1, 1]
    assert dones.tolist() == [True, False, False]
    assert infos[0]["terminal_observation"].tolist() == [2]
    assert infos[0]["TimeLimit.truncated"] is False
    assert "terminal_observation" not in infos[1]
    assert "TimeLimit.truncated" not in infos[1]


def test_idle_columns_are_cut_off_when_the_last_attempt_ends():
    env = GroupVecEnv(counters(2, 3))
    env.set_groups(1, 2)
    env.reset()
    for _ in range(2):
        _, _, dones, _ = env.step(np.zeros(2, int))
    assert dones.tolist() == [True, False]
    observations, _, dones, infos = env.step(np.zeros(2, int))
    assert dones.tolist() == [True, True]
    assert [info["TimeLimit.truncated"] for info in infos] == [True, False]
    assert [info["terminal_observation"].tolist() for info in infos] == [[1], [3]]
    assert observations.tolist() == [[0], [0]]  # a new iteration in both


@pytest.mark.parametrize("env", [Counter(2, truncates=True), TimeLimit(Counter(9), 2)])
def test_a_truncated_attempt_ends_and_says_so(env):
    env = group_env(env)
    env.reset()
    _, _, dones, infos = env.step(np.zeros(1, int))
    assert not dones.any()
    assert "TimeLimit.truncated" not in infos[0]
    observations, _, dones, infos = env.step(np.zeros(1, int))
    assert dones.all()
    assert infos[0]["TimeLimit.truncated"] is True
    assert infos[0]["terminal_observation"].tolist() == [2]
    assert observations.tolist() == [[0]]


class Both(Counter):
    """A counter with Dict observations."""

    def __init__(self, length: int = 1):
        super().__init__(length)
        self.observation_space = spaces.Dict(
            {"t": spaces.Box(0, 9, (1,), np.float32), "bit": spaces.Discrete(2)}
        )

    def reset(self, **kwargs):
        return {"t": super().reset(**kwargs)[0], "bit": 0}, {}

    def step(self, action):
        t, *rest = super().step(action)
        return {"t": t, "bit": 1}, *rest


def test_dict_observations_are_split_by_column_at_the_end():
    env = GroupVecEnv(SyncVectorEnv([Both, Both], autoreset_mode=DISABLED))
    assert env.reset()["bit"].tolist() == [0, 0]
    observations, _, _, infos = env.step(np.zeros(2, int))
    assert observations["t"].tolist() == [[0], [0]]
    for info in infos:
        assert info["terminal_observation"]["bit"] == 1
        assert info["terminal_observation"]["t"].tolist() == [1]


def test_infos_are_split_by_column_also_when_nested_or_partial():
    env = GroupVecEnv(
        SyncVectorEnv(
            [partial(Monitor, Counter(1, pay=5.0)), partial(Monitor, Counter(2, pay=7.0))],
            autoreset_mode=DISABLED,
        )
    )
    env.reset()
    infos = env.step(np.zeros(2, int))[3]
    assert infos[0]["episode"]["r"] == 5
    assert "episode" not in infos[1]
    infos = env.step(np.zeros(2, int))[3]
    assert infos[1]["episode"]["r"] == 14
    assert infos[1]["episode"]["l"] == 2


# Which envs


def test_a_vector_env_that_restarts_within_a_step_is_refused():
    venv = SyncVectorEnv([partial(Counter, 2)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match=r"SAME_STEP.*build it with autoreset_mode=.*DISABLED"):
        GroupVecEnv(venv)
    with pytest.raises(ValueError, match="autoreset_mode"):
        model_on(venv, 1, 2)


def test_columns_with_other_numbers_of_problems_are_refused():
    makers = [partial(WithProblems, 2), partial(WithProblems, 3)]
    with pytest.raises(ValueError, match=r"same problems, got n_problems \{2, 3\}"):
        GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))


@pytest.mark.parametrize(
    ("n_groups", "group_size", "message"),
    [
        (0, 4, "n_groups must be an integer of at least 1, got 0"),
        (2, 1, "group_size must be an integer of at least 2, got 1"),
        (2, 4.0, "group_size must be an integer of at least 2, got 4.0"),
        (True, 4, "n_groups must be an integer of at least 1, got True"),
    ],
)
def test_group_numbers_out_of_range_are_refused(n_groups, group_size, message):
    with pytest.raises(ValueError, match=message):
        make_group_env("CartPole-v1", n_groups, group_size)


class Buffered(ProblemSetVectorEnv):
    """Gives its observations in one array, which it goes on writing to."""

    def reset(self, **kwargs):
        observations, infos = super().reset(**kwargs)
        self.buffer = observations
        return self.buffer, infos

    def step(self, actions):
        observations, *rest = super().step(actions)
        self.buffer[:] = observations
        return self.buffer, *rest


def test_observations_stay_as_they_were_when_the_env_writes_over_its_own():
    env = GroupVecEnv(Buffered(4, DISABLED))
    env.set_groups(2, 2)
    kept = [env.reset(), *(env.step(np.zeros(4, int))[0] for _ in range(5))]
    assert not any(np.shares_memory(observations, env.venv.buffer) for observations in kept)
    assert len({tuple(observations.tolist()) for observations in kept}) > 1


def test_dict_observations_stay_as_they_were_too():
    venv = SyncVectorEnv([partial(Both, 3)] * 2, copy=False, autoreset_mode=DISABLED)
    env = GroupVecEnv(venv)
    kept = [env.reset(), *(env.step(np.zeros(2, int))[0] for _ in range(3))]
    assert [observations["t"].ravel().tolist() for observations in kept] == [
        [0, 0],
        [1, 1],
        [2, 2],
        [0, 0],
    ]
    assert [observations["bit"].tolist() for observations in kept] == [
        [0] * 2,
        [1] * 2,
        [1] * 2,
        [0] * 2,
    ]


def test_a_single_env_is_given_problems_by_a_wrapper():
    env = SeededProblems(gymnasium.make("CartPole-v1"), 50)
    model = model_on(env, n_groups=3, group_size=4)
    rollout = collect(model)
    first = [int((rollout.attempts == attempt).nonzero()[0]) for attempt in range(12)]
    starts = rollout.observations[first].reshape(3, 4, 4)
    assert (starts == starts[:, :1]).all()
    assert len({tuple(start.tolist()) for start in starts[:, 0]}) == 3


@pytest.mark.parametrize("listed", [False, True])
def test_problems_of_a_wrapped_vector_env_are_seen(listed):
    venv = listed_problem_sets(4) if listed else ProblemSetVectorEnv(4, DISABLED)
    env = GroupVecEnv(RecordEpisodeStatistics(venv))
    assert env.n_problems == 128
    env.set_groups(2, 2)
    observations = env.reset()
    assert observations[0] == observations[1]
    assert observations[2] == observations[3]
    infos = env.step(np.zeros(4, int))[3]
    assert all(info["episode"]["l"] == 1 for info in infos)


@pytest.mark.slow
def test_an_async_vector_env_works_with_problems_and_without():
    venv = AsyncVectorEnv([partial(gymnasium.make, "CartPole-v1")] * 2, autoreset_mode=DISABLED)
    env = GroupVecEnv(venv)
    assert env.n_problems is None
    env.reset()
    assert env.step(np.zeros(2, int))[0].shape == (2, 4)
    assert env.env_method("has_wrapper_attr", "tau", indices=[1]) == [True]
    env.close()

    def column(i: int):
        return ColumnProblem(ProblemSetEnv(), i)

    makers = [partial(column, i) for i in range(4)]
    env = GroupVecEnv(AsyncVectorEnv(makers, autoreset_mode=DISABLED))
    env.set_groups(2, 2)
    assert env.n_problems == 128
    env.seed(0)
    observations = env.reset()
    assert observations[0] == observations[1] != observations[2] == observations[3]
    env.close()


def test_ids_are_made_with_one_column_an_attempt_and_their_arguments():
    env = make_group_env("CartPole-v1", 2, 3, max_episode_steps=7)
    assert env.num_envs == 6
    env.reset()
    for step in range(7):
        _, _, dones, infos = env.step(np.full(6, step % 2))
    assert dones.all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert make_group_env(PROBLEM_SET, 2, 2, n_problems=9, n_answers=9).n_problems == 9


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_a_policy_trains_on_an_env_of_gymnasium_by_its_id(env_id):
    model = PKPO("MlpPolicy", env_id, k=2, n_groups=2, group_size=3, seed=0, device="cpu")
    before = model.policy.action_net.weight.clone()
    model.learn(1)
    assert model.env.num_envs == 6
    lengths = model._window[-1][1]
    assert model.num_timesteps == 6 * lengths.max()
    if env_id == "CartPole-v1":  # pays 1 a step
        assert (model._window[-1][0].numpy() == lengths).all()
        assert not before.equal(model.policy.action_net.weight)
