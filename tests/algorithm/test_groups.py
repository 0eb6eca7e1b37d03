"""Groups: which column plays which attempt, at which problem, and what Stable-Baselines3 sees."""

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from pkpo_envs.columns import ColumnProblem
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_set import ProblemSetEnv, ProblemSetVectorEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.seeded_problems import SeededProblems
from pkpo_sandbox.algorithm.groups import GroupVecEnv, group_env, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.rollouts import Rollout
from pkpo_sandbox.algorithm.roster import IDLE, Roster
from pkpo_sandbox.metrics.evaluation import evaluate_groups

PROBLEM_SET = "pkpo_envs:pkpo/ProblemSet-v0"
DISABLED = AutoresetMode.DISABLED


class Counter(gymnasium.Env):
    """Episodes of a set length; observes the step, pays ``pay`` a step, ends as told."""

    def __init__(self, length: int, pay: float = 1.0, truncates: bool = False) -> None:
        self.length, self.pay, self.truncates = length, pay, truncates
        self.observation_space = spaces.Box(0, 100, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        self.t = 0
        return np.array([0], np.float32), {}

    def step(self, action):
        self.t += 1
        ended = self.t == self.length
        observation = np.array([self.t], np.float32)
        return observation, self.pay, ended and not self.truncates, ended and self.truncates, {}

    def double(self, number: int) -> int:
        self.doubled = 2 * number
        return self.doubled


class WithProblems(Counter):
    """A counter that claims to have problems."""

    def __init__(self, n_problems: int) -> None:
        super().__init__(length=1)
        self.n_problems = n_problems


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


def counters(*lengths: int, **kwargs) -> SyncVectorEnv:
    makers = [partial(Counter, length, **kwargs) for length in lengths]
    return SyncVectorEnv(makers, autoreset_mode=DISABLED)


def listed_problem_sets(n_columns: int) -> SyncVectorEnv:
    return SyncVectorEnv(
        [
            lambda column=column: ColumnProblem(ProblemSetEnv(), column)
            for column in range(n_columns)
        ],
        autoreset_mode=DISABLED,
    )


def collect(model: PKPO) -> Rollout:
    """One iteration, as ``learn`` plays it."""
    if model.ep_info_buffer is None:
        model._setup_learn(0)
    callback = CallbackList([])
    callback.init_callback(model)
    rollout = model.collect_rollouts(callback)
    assert rollout is not None
    return rollout


def model_on(env, n_groups: int, group_size: int, **kwargs) -> PKPO:
    return PKPO(
        "MlpPolicy",
        env,
        k=1,
        n_groups=n_groups,
        group_size=group_size,
        device="cpu",
        seed=0,
        **kwargs,
    )


def mask(*columns: int) -> np.ndarray:
    return np.array(columns, dtype=bool)


# Roster


def test_fewer_columns_than_attempts_take_the_next_attempt_as_they_come_free():
    roster = Roster(n_attempts=5, n_columns=2)
    history = [roster.attempts.tolist()]
    for ended in (mask(1, 0), mask(1, 1), mask(1, 0), mask(1, 0)):
        roster.end(ended)
        history.append(roster.attempts.tolist())
        assert not roster.finished
    # Attempt 4 is slow: column 0 runs out of attempts and is idle, and what ends there is no
    # attempt, so the roster waits for column 1.
    assert history == [[0, 1], [2, 1], [3, 4], [IDLE, 4], [IDLE, 4]]
    roster.end(mask(0, 1))
    assert roster.finished
    assert roster.attempts.tolist() == [IDLE, IDLE]


def test_as_many_columns_as_attempts_play_one_each():
    roster = Roster(3, 3)
    assert roster.attempts.tolist() == [0, 1, 2]
    roster.end(mask(0, 1, 0))
    assert roster.attempts.tolist() == [0, IDLE, 2]
    roster.end(mask(1, 1, 0))
    assert not roster.finished
    roster.end(mask(0, 0, 1))
    assert roster.finished


def test_columns_beyond_the_attempts_are_idle_from_the_start():
    roster = Roster(2, 4)
    assert roster.attempts.tolist() == [0, 1, IDLE, IDLE]
    roster.end(mask(0, 0, 1, 1))
    assert roster.attempts.tolist() == [0, 1, IDLE, IDLE]
    roster.end(mask(1, 1, 0, 0))
    assert roster.finished


@pytest.mark.parametrize("n_columns", [1, 2, 7, 12, 30])
def test_every_attempt_is_played_once_without_a_break_in_one_column(n_columns):
    rng = np.random.default_rng(n_columns)
    roster = Roster(12, n_columns)
    played: dict[int, list[tuple[int, int]]] = {attempt: [] for attempt in range(12)}
    for step in range(1000):
        for column, attempt in enumerate(roster.attempts):
            if attempt != IDLE:
                played[attempt].append((column, step))
        roster.end(rng.random(n_columns) < 0.4)
        if roster.finished:
            break
    assert roster.finished
    for steps in played.values():
        columns, times = zip(*steps, strict=True)
        assert len(set(columns)) == 1
        assert list(times) == list(range(times[0], times[0] + len(times)))


@pytest.mark.parametrize("n_columns", [3, 8, 20])
def test_slow_episodes_are_not_dropped_so_mean_length_is_unbiased(n_columns):
    # Geometric lengths with p = 0.3: mean 1/p, variance (1 - p)/p^2. Keeping the first 8 episodes
    # that end instead would lose the long ones, half a step of the mean with 3 columns.
    model = model_on(GroupVecEnv(GeometricVector(n_columns, autoreset_mode=DISABLED)), 2, 4)
    lengths = np.concatenate([collect(model).lengths.ravel() for _ in range(200)])
    standard_error = np.sqrt(0.7) / 0.3 / np.sqrt(len(lengths))
    assert abs(lengths.mean() - 1 / 0.3) < 3.5 * standard_error


# Endless episodes


def test_an_attempt_is_refused_when_it_has_not_ended_at_the_limit(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 5)
    roster = Roster(n_attempts=3, n_columns=3)
    for _ in range(4):
        roster.end(mask(0, 0, 0))
    # Attempts 0 and 2 end at their fifth step, just in time.
    with pytest.raises(ValueError, match="the attempt in column 1 has not ended after 5 steps"):
        roster.end(mask(1, 0, 1))


def test_the_limit_is_for_an_attempt_however_long_the_iteration(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 5)
    roster = Roster(n_attempts=9, n_columns=2)
    ended = [(0, 0), (0, 0), (1, 0), (0, 0), (0, 1), (0, 0), (0, 0), (1, 0), (0, 0), (0, 1)]
    for columns in [*ended, (1, 1), (0, 1), (0, 0), (0, 0), (0, 0)]:
        roster.end(mask(*columns))
    # 15 steps, of which no attempt has had more than 5; the latest began after steps 11 and 12.
    assert roster.attempts.tolist() == [6, 8]
    with pytest.raises(ValueError, match="column 0 has not ended after 5 steps"):
        roster.end(mask(0, 0))


def test_what_idle_columns_play_may_be_endless(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 5)
    roster = Roster(n_attempts=3, n_columns=2)
    for columns in [(1, 0), (0, 0), (1, 0), (0, 0), (0, 1)]:
        roster.end(mask(*columns))
    assert roster.finished


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


# Free play


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_in_free_play_every_episode_draws_its_own_problem(vectorization):
    env = make_group_env(PROBLEM_SET, 50, 4, n_problems=5, n_answers=5, vectorization=vectorization)
    env.seed(0)
    draws = np.array([env.reset(), *(env.step(np.zeros(200, int))[0] for _ in range(9))])
    # 2,000 draws of 5: standard deviation of a count is sqrt(2000 * 1/5 * 4/5) = 17.9.
    assert np.abs(np.bincount(draws.ravel(), minlength=5) - 400).max() < 4 * 17.9
    # Neighbours are alike by chance: 1,500 pairs inside what would be groups, sd sqrt(240) = 15.5.
    alike = (draws.reshape(10, 50, 4)[..., :-1] == draws.reshape(10, 50, 4)[..., 1:]).sum()
    assert abs(alike - 300) < 4 * 15.5
    assert (env.attempts == IDLE).all()
    assert not env.finished


def test_in_free_play_nothing_is_idle_or_cut_off():
    env = GroupVecEnv(counters(2, 3, 1))
    env.reset()
    seen = [env.step(np.zeros(3, int)) for _ in range(6)]
    ends = [np.flatnonzero(dones).tolist() for _, _, dones, _ in seen]
    assert ends == [[2], [0, 2], [1, 2], [0, 2], [2], [0, 1, 2]]
    for _, _, dones, infos in seen:
        reported = [info["episode"]["l"] if "episode" in info else None for info in infos]
        lengths = np.where(dones, [2, 3, 1], None).tolist()
        assert reported == lengths
    assert not any(info.get("TimeLimit.truncated") for _, _, _, infos in seen for info in infos)


def test_groups_are_for_who_asks_and_until_the_next_reset():
    env = GroupVecEnv(ProblemSetVectorEnv(8, DISABLED))
    env.seed(0)
    env.reset()
    assert len(set(env.step(np.zeros(8, int))[0])) > 2
    env.set_groups(2, 4)
    assert not env.finished  # it takes effect at the reset
    for observations in (env.reset(), *(env.step(np.zeros(8, int))[0] for _ in range(3))):
        assert len(set(observations[:4])) == len(set(observations[4:])) == 1
        assert env.attempts.tolist() == list(range(8)) or not env.finished
    assert env.finished
    env.reset()
    env.step(np.zeros(8, int))
    assert (env.attempts == IDLE).all()


def test_every_reset_and_step_is_a_turn():
    env = GroupVecEnv(counters(2, 3))
    turns = [env.turn]
    env.reset()
    turns.append(env.turn)
    for _ in range(4):
        env.step(np.zeros(2, int))
        turns.append(env.turn)
    assert turns == sorted(set(turns))


def test_a_column_that_restarts_by_itself_spends_a_step_that_is_no_part_of_an_episode():
    env = next_step(1, 2)
    assert env.reset().ravel().tolist() == [0, 0]
    steps = [env.step(np.zeros(2, int)) for _ in range(4)]
    assert [observations.ravel().tolist() for observations, *_ in steps] == [
        [1, 1],
        [0, 2],  # column 0 restarted
        [1, 0],
        [0, 1],
    ]
    assert [dones.tolist() for _, _, dones, _ in steps] == [
        [True, False],
        [False, True],
        [True, False],
        [False, False],
    ]
    episodes = [[info.get("episode") for info in infos] for *_, infos in steps]
    assert [[e and (e["r"], e["l"]) for e in pair] for pair in episodes] == [
        [(1, 1), None],
        [None, (2, 2)],
        [(1, 1), None],
        [None, None],
    ]


class Labelled(Counter):
    """Reports which of its episodes starts."""

    def reset(self, **kwargs):
        observation, _ = super().reset(**kwargs)
        return observation, {"number": self.episodes}


@pytest.mark.parametrize("grouped", [False, True])
def test_the_infos_of_each_columns_latest_reset_can_be_read(grouped):
    env = GroupVecEnv(
        SyncVectorEnv([partial(Labelled, n) for n in (1, 3)], autoreset_mode=DISABLED)
    )
    assert env.reset_infos == [{}, {}]
    if grouped:
        env.set_groups(1, 3)
    env.reset()
    assert [info["number"] for info in env.reset_infos] == [1, 1]
    numbers = []
    for _ in range(3):
        env.step(np.zeros(2, int))
        numbers.append([info["number"] for info in env.reset_infos])
    # In groups the third attempt and all else end with the third step, and both columns restart.
    assert numbers == [[2, 1], [3, 1], [4, 2]]


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


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("kind", [DummyVecEnv, pytest.param(SubprocVecEnv, marks=pytest.mark.slow)])
def test_a_plain_vec_env_plays_whole_episodes(kind, n_columns):
    env = kind([partial(gymnasium.make, "CartPole-v1") for _ in range(n_columns)])
    model = model_on(env, n_groups=2, group_size=4)
    for _ in range(2):
        rollout = collect(model)
        assert (rollout.returns.numpy() == rollout.lengths).all()
        for attempt in range(8):
            rows = rollout.observations[rollout.attempts == attempt]
            assert len(rows) == rollout.lengths.flat[attempt]
            assert rows[0].abs().max() <= 0.05  # CartPole starts in this box
            # A pole that starts elsewhere moves: positions advance by 0.02 s times the speed.
            assert rows[1:, 0].numpy() == pytest.approx(
                rows[:-1, 0] + 0.02 * rows[:-1, 1], abs=1e-6
            )
    env.close()


def test_a_plain_vec_env_with_many_problems_is_refused():
    # It would restart each column on a problem of its own, and mix problems within groups.
    with pytest.raises(ValueError, match=r"one of 128 problems by itself.*env's id"):
        model_on(DummyVecEnv([ProblemSetEnv] * 3), 2, 2)
    with pytest.raises(ValueError, match="problems by itself"):
        model_on(VecMonitor(DummyVecEnv([ProblemSetEnv])), 2, 2)
    model_on(DummyVecEnv([partial(WithProblems, 1)]), 1, 2).learn(2)  # one problem is no problem


# Columns that restart by themselves, with a step for it


def next_step(*lengths: int, **kwargs) -> GroupVecEnv:
    makers = [partial(Counter, length, **kwargs) for length in lengths]
    return GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP))


def test_a_column_that_restarts_by_itself_plays_one_attempt_and_is_idle():
    env = next_step(1, 4, 2)
    env.set_groups(1, 2)  # the third column is idle from the start
    assert env.reset().ravel().tolist() == [0, 0, 0]
    steps = [env.step(np.zeros(3, int)) for _ in range(4)]
    assert [dones.tolist() for _, _, dones, _ in steps] == [
        [True, False, False],
        [False, False, True],  # column 0 spent this step on its restart
        [True, False, False],
        [True, True, True],  # the last attempt has ended, and all start the next iteration
    ]
    assert [observations.ravel().tolist() for observations, *_ in steps] == [
        [1, 1, 1],
        [0, 2, 2],
        [1, 3, 0],
        [0, 0, 0],
    ]
    infos = steps[-1][3]
    assert [info["terminal_observation"].tolist() for info in infos] == [[0], [4], [1]]
    assert [info["TimeLimit.truncated"] for info in infos] == [True, False, True]


@pytest.mark.parametrize("truncates", [False, True])
def test_only_the_first_episode_of_such_a_column_is_credited(truncates):
    env = next_step(1, 4, 2, 3, 1, pay=2.0, truncates=truncates)
    model = model_on(env, 2, 2)
    for _ in range(3):
        rollout = collect(model)
        assert rollout.lengths.tolist() == [[1, 4], [2, 3]]
        assert rollout.returns.tolist() == [[2, 8], [4, 6]]
        for attempt, length in enumerate([1, 4, 2, 3]):
            rows = rollout.observations[rollout.attempts == attempt].ravel().tolist()
            assert rows == list(range(length))
        assert model._last_obs.ravel().tolist() == [0] * 5
    assert model.num_timesteps == 3 * 4 * 5
    assert evaluate_groups(model, env, 2, 2).tolist() == [[2, 8], [4, 6]]


def test_columns_that_restart_by_themselves_must_be_one_for_each_attempt():
    env = next_step(2, 2, 2)
    message = r"NEXT_STEP.*3 columns for 4 attempts.*DISABLED.*'sync' or 'async'"
    with pytest.raises(ValueError, match=message):
        env.set_groups(2, 2)
    with pytest.raises(ValueError, match=message):
        model_on(env, 2, 2)
    with pytest.raises(ValueError, match=message):
        evaluate_groups(model_on(env, 1, 3), env, 2, 2)
    assert (env.n_groups, env.group_size) == (1, 3)


def test_columns_that_restart_by_themselves_cannot_have_problems():
    makers = [partial(WithProblems, 3)] * 2
    with pytest.raises(ValueError, match=r"NEXT_STEP, but groups decide which of 3 problems"):
        GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP))
    makers = [partial(WithProblems, 1)] * 2
    GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)).reset()


def test_the_carts_of_gymnasiums_own_vector_env_move_by_the_law_and_pay_for_each_step():
    env = make_group_env("CartPole-v1", 4, 8, vectorization="native")
    model = model_on(env, 4, 8)
    for _ in range(3):
        rollout = collect(model)
        assert (rollout.returns.numpy() == rollout.lengths).all()
        for attempt in range(32):
            rows = rollout.observations[rollout.attempts == attempt].numpy()
            assert len(rows) == rollout.lengths.flat[attempt]
            assert np.abs(rows[0]).max() <= 0.05  # CartPole starts in this box
            # Position and angle advance by 0.02 s times their speeds.
            assert rows[1:, [0, 2]] == pytest.approx(
                rows[:-1, [0, 2]] + 0.02 * rows[:-1, [1, 3]], abs=1e-6
            )
            assert np.abs(rows[:, 2]).max() <= 12 * 2 * np.pi / 360  # or it would have ended


def test_native_and_listed_carts_live_equally_long():
    model = model_on("CartPole-v1", 2, 2)
    lives = []
    for vectorization in ("native", "sync"):
        env = make_group_env("CartPole-v1", 20, 20, vectorization=vectorization)
        lives.append(evaluate_groups(model, env, 20, 20).numpy().ravel())
    deviation = np.hypot(*(life.std() / np.sqrt(400) for life in lives))
    assert abs(lives[0].mean() - lives[1].mean()) < 4 * deviation
    assert 15 < lives[0].mean() < 30


# Seeds


@pytest.mark.parametrize("env_id", ["CartPole-v1", PROBLEM_SET])
def test_a_seed_fixes_everything(env_id):
    def play(seed: int) -> np.ndarray:
        env = make_group_env(env_id, 4, 4)
        env.seed(seed)
        observations = [env.reset()]
        observations += [env.step(np.zeros(16, int))[0] for _ in range(20)]
        return np.array([*observations, env.reset()])

    assert (play(3) == play(3)).all()
    assert not (play(3)[0] == play(4)[0]).all()
    assert not (play(3)[0] == play(3)[-1]).all()  # the seed is for one reset


def test_columns_have_independent_seeds():
    def starts(seed: int) -> set[float]:
        env = make_group_env("CartPole-v1", 4, 8, vectorization="sync")
        env.seed(seed)
        return set(env.reset().ravel().tolist())

    # Columns that were seeded with consecutive numbers would share 31 of 32 starts.
    assert len(starts(0)) == 4 * 32
    assert not starts(0) & starts(1)


# The VecEnv interface


def test_attributes_of_listed_envs_are_reached_by_index():
    env = GroupVecEnv(counters(2, 3, 4))
    assert env.get_attr("length") == [2, 3, 4]
    assert env.get_attr("length", indices=[2, 0]) == [4, 2]
    assert env.get_attr("length", indices=1) == [3]
    env.set_attr("pay", 9.0, indices=[1])
    assert env.get_attr("pay") == [1.0, 9.0, 1.0]
    env.set_attr("pay", 5.0)
    assert env.get_attr("pay") == [5.0, 5.0, 5.0]
    assert env.has_attr("length")
    assert not env.has_attr("nothing")
    with pytest.raises(AttributeError, match="nothing"):
        env.get_attr("nothing")


def test_methods_are_called_in_the_chosen_columns_only():
    env = GroupVecEnv(counters(2, 3, 4))
    assert env.env_method("double", 4, indices=[1]) == [8]
    assert [hasattr(counter, "doubled") for counter in env.venv.envs] == [False, True, False]
    assert env.env_method("double", number=5) == [10, 10, 10]


def test_columns_of_a_vector_env_share_their_attributes():
    env = GroupVecEnv(ProblemSetVectorEnv(3, DISABLED))
    assert env.get_attr("n_problems") == [128] * 3
    assert env.get_attr("n_problems", indices=[0]) == [128]
    env.set_attr("note", "seen")
    assert env.venv.note == "seen"
    for call in (env.set_attr, env.env_method):
        with pytest.raises(ValueError, match=r"share 'note'.*indices=None"):
            call("note", "x", indices=[1])
    assert not env.has_attr("nothing")


def test_wrappers_of_columns_are_known():
    makers = [partial(Counter, 2), lambda: TimeLimit(Counter(2), 2)]
    env = GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))
    assert env.env_is_wrapped(TimeLimit) == [False, True]
    assert env.env_is_wrapped(TimeLimit, indices=[1]) == [True]
    native = GroupVecEnv(ProblemSetVectorEnv(2, DISABLED))
    assert native.env_is_wrapped(TimeLimit) == [False, False]


def test_images_of_all_columns_are_rendered():
    class Picture(Counter):
        def __init__(self, shade):
            super().__init__(shade)
            self.metadata = {"render_modes": ["rgb_array"]}
            self.render_mode = "rgb_array"

        def render(self):
            return np.full((4, 4, 3), self.length, np.uint8)

    makers = [partial(Picture, 10), partial(Picture, 20)]
    env = GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))
    assert env.render_mode == "rgb_array"
    assert [image[0, 0, 0] for image in env.get_images()] == [10, 20]
    assert env.render().shape == (8, 4, 3)  # SB3 tiles them
    assert GroupVecEnv(counters(2)).render_mode is None


def test_closing_closes_the_vector_env():
    env = GroupVecEnv(counters(2, 2))
    env.close()
    assert env.venv.closed


# SB3's VecEnv wrappers


@pytest.mark.parametrize(
    "make",
    [lambda: make_group_env("CartPole-v1", 2, 3), lambda: DummyVecEnv([lambda: Counter(4)] * 2)],
)
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize(
    "wrap", [VecMonitor, VecNormalize, partial(VecFrameStack, n_stack=3), lambda e: e]
)
def test_a_policy_trains_under_the_wrappers_of_sb3(make, wrap):
    env = wrap(make())
    model = model_on(env, n_groups=2, group_size=3)
    if isinstance(env.unwrapped, GroupVecEnv):
        assert (env.unwrapped.n_groups, env.unwrapped.group_size) == (2, 3)
    model.learn(100)
    assert model.num_timesteps >= 100
    if isinstance(env, VecMonitor):
        assert len(model.ep_info_buffer) >= 6
    if isinstance(env, VecFrameStack):
        assert model.policy.mlp_extractor.policy_net[0].in_features == 3 * make().reset().shape[1]
    if isinstance(env, VecNormalize):
        assert env.obs_rms.count > 100


def test_normalised_rewards_are_what_the_transform_sees():
    model = model_on(VecNormalize(GroupVecEnv(counters(4, 4, pay=100.0)), gamma=0.5), 1, 2)
    returns = collect(model).returns
    # Raw returns are 400; the discounted return is at most 200, and divided by its deviation.
    assert (returns < 40).all()
    assert (returns > 0).all()


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_a_monitor_reports_attempts_but_not_what_idle_columns_play():
    # Column 0 needs 1 step and then idles through three more episodes while column 1 plays its 4.
    makers = [partial(Monitor, Counter(1)), partial(Monitor, Counter(4))]
    listed = GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))
    for env in (listed, VecMonitor(GroupVecEnv(counters(1, 4))), DummyVecEnv(makers)):
        model = model_on(env, 1, 2)
        collect(model)
        assert [info["l"] for info in model.ep_info_buffer] == [1, 4]
        assert [info["r"] for info in model.ep_info_buffer] == [1, 4]


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_sb3s_evaluation_counts_whole_attempts_only(vectorization):
    """Mean lengths as in a plain vector env of SB3's, within 3 standard errors."""
    env = make_group_env("CartPole-v1", 4, 4, vectorization=vectorization)
    model = A2C("MlpPolicy", env, seed=0)  # an untrained policy, sampled
    plain = make_vec_env("CartPole-v1", 16, seed=1)
    env.seed(1)
    lengths = {}
    for name, played in (("plain", plain), ("group", env)):
        returns, lengths[name] = evaluate_policy(
            model, played, 400, deterministic=False, return_episode_rewards=True
        )
        assert returns == pytest.approx(lengths[name])  # 1 a step
    plain_mean, group_mean = np.mean(lengths["plain"]), np.mean(lengths["group"])
    error = np.sqrt(np.var(lengths["plain"]) / 400 + np.var(lengths["group"]) / 400)
    assert abs(plain_mean - group_mean) < 3 * error
    assert min(lengths["group"]) >= 8  # the pole cannot fall sooner
