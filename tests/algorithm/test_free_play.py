"""Free play: SB3's own evaluation and algorithms use a group env like any other VecEnv."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from pkpo_envs.problem_set import ProblemSetVectorEnv
from pkpo_sandbox import PKPO, evaluate_groups, make_group_env
from pkpo_sandbox.algorithm.groups import GroupVecEnv
from pkpo_sandbox.algorithm.roster import IDLE
from tests.algorithm.counters import counters, next_step
from tests.algorithm.short_runs import DISABLED
from tests.small import PROBLEM_SET, SMALL, indifferent


class Dice(gymnasium.Env):
    """Every step pays 1, and ends the episode with probability 0.3; every second one is a success.

    So lengths are geometric: mean 1/0.3, variance 0.7/0.3².
    """

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        return np.zeros(1, np.float32), {}

    def step(self, action):
        ended = bool(self.np_random.random() < 0.3)
        info = {"is_success": self.episodes % 2 == 0} if ended else {}
        return np.zeros(1, np.float32), 1.0, ended, False, info


class Game(gymnasium.Env):
    """A game of three lives of two steps each, which pays 1 a step; tells of each life's end."""

    observation_space = spaces.Box(0, 9, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.t], np.float32), 1.0, self.t == 6, False, {"life": self.t % 2 == 0}


class EpisodicLife(gymnasium.Wrapper):
    """Ends an episode with each life, and goes on with the game until it is over, as for Atari."""

    over = True

    def reset(self, **kwargs):
        if self.over:
            return self.env.reset(**kwargs)
        return np.array([self.env.unwrapped.t], np.float32), {}

    def step(self, action):
        observation, reward, self.over, truncated, info = self.env.step(action)
        return observation, reward, self.over or info["life"], truncated, info


def lives(monitored: bool) -> gymnasium.Env:
    return EpisodicLife(Monitor(Game()) if monitored else Game())


def columns(make, n_columns: int) -> GroupVecEnv:
    return GroupVecEnv(SyncVectorEnv([make] * n_columns, autoreset_mode=DISABLED))


def pkpo_on(env, n_groups: int = 2, group_size: int = 4) -> PKPO:
    settings = {"k": 2, "seed": 0, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
    return PKPO("MlpPolicy", env, n_groups=n_groups, group_size=group_size, **settings)


def episodes(model, env, n_episodes: int) -> tuple[list[float], list[int]]:
    return evaluate_policy(model, env, n_episodes, deterministic=False, return_episode_rewards=True)


@pytest.mark.parametrize("when", ["new", "trained", "evaluated in groups", "in the middle"])
@pytest.mark.parametrize("n_columns", [1, 3, 8, 40])
def test_sb3s_evaluation_ends_with_any_number_of_columns(n_columns, when):
    env = columns(Dice, n_columns)
    model = pkpo_on(env)
    if when == "trained":
        model.learn(10)
    elif when == "evaluated in groups":
        evaluate_groups(model, env, 2, 2)
    elif when == "in the middle":
        model.learn(10**6, callback=lambda *_: False)
    for n_episodes in (1, 10, 50):
        returns, lengths = episodes(model, model.get_env(), n_episodes)
        assert len(returns) == len(lengths) == n_episodes
        assert returns == lengths
    model.learn(10, reset_num_timesteps=False)
    assert model._window[-1][0].shape == (2, 4)


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_sb3s_evaluation_ends_on_gymnasiums_own_columns(vectorization):
    env = make_group_env("CartPole-v1", 2, 4, num_envs=16, vectorization=vectorization)
    model = pkpo_on(env).learn(10)
    returns, lengths = episodes(model, model.get_env(), 10)
    assert len(returns) == 10
    assert returns == lengths
    assert min(lengths) >= 8  # the pole cannot fall sooner


@pytest.mark.parametrize(
    "wrap", [lambda env: env, VecMonitor, partial(VecNormalize, training=False)]
)
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_sb3s_evaluation_counts_long_episodes_as_often_as_short_ones(wrap):
    env = wrap(columns(Dice, 20))  # of which 12 would be idle in groups
    env.seed(0)
    returns, lengths = episodes(pkpo_on(env), env, 1000)
    assert np.mean(lengths) == pytest.approx(1 / 0.3, abs=3.5 * np.sqrt(0.7) / 0.3 / np.sqrt(1000))
    assert returns == lengths


def test_sb3s_evaluation_is_of_all_problems_alike():
    env = make_group_env(PROBLEM_SET, 4, 8, **SMALL)  # six of eight problems are answered by 0
    model = indifferent(pkpo_on(env, 4, 8), [0.7, 0.1, 0.1, 0.1])
    env.seed(0)
    mean, _ = evaluate_policy(model, env, 4000)
    assert mean == pytest.approx(0.75, abs=3.5 * np.sqrt(0.75 * 0.25 / 4000))


@pytest.mark.parametrize("n_columns", [1, 2, 7])
def test_successes_are_counted_once_an_episode(n_columns, tmp_path):
    env, eval_env = columns(Dice, n_columns), columns(Dice, n_columns)
    evaluate = EvalCallback(
        eval_env, n_eval_episodes=6, eval_freq=5, log_path=str(tmp_path), verbose=0
    )
    model = pkpo_on(env, 1, 2)
    model.learn(60 * n_columns, callback=evaluate)
    written = np.load(tmp_path / "evaluations.npz")
    assert len(written["timesteps"]) > 3
    assert written["results"].shape == written["successes"].shape == (len(written["timesteps"]), 6)
    assert (written["results"] == written["ep_lengths"]).all()
    assert 0 < written["successes"].mean() < 1
    # Those of training are of attempts only: the first in each column fails, the second succeeds.
    assert len(model.ep_success_buffer) == 2 * len(model._window)


@pytest.mark.parametrize("wrap", [lambda env: env, VecMonitor])
@pytest.mark.parametrize("kind", [GroupVecEnv, DummyVecEnv])
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")  # so says SB3
@pytest.mark.parametrize("monitored", [True, False])
def test_a_monitor_inside_another_wrapper_tells_what_an_episode_is(kind, wrap, monitored):
    make = partial(lives, monitored)
    env = wrap(columns(make, 3) if kind is GroupVecEnv else DummyVecEnv([make] * 3))
    model = pkpo_on(env)
    # A VecMonitor takes a life for an episode, as it does in SB3; a Monitor knows the game.
    whole = monitored and not isinstance(env, VecMonitor)
    assert episodes(model, env, 7) == ([6.0 if whole else 2.0] * 7, [6 if whole else 2] * 7)
    model.learn(200)
    if kind is GroupVecEnv or monitored or isinstance(env, VecMonitor):
        reported = {info["l"] for info in model.ep_info_buffer}
        assert reported <= ({6} if whole else {2})
    assert (model._window[-1][1] == 2).all()  # an attempt is what ends for the algorithm


def test_an_algorithm_of_sb3_learns_what_it_learns_on_its_own_columns():
    class Deterministic(Game):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, float(action), *rest

    def trained(env) -> torch.Tensor:
        model = A2C("MlpPolicy", env, n_steps=4, seed=0, device="cpu").learn(100)
        return torch.cat([p.detach().flatten() for p in model.policy.parameters()])

    assert trained(columns(Deterministic, 3)).equal(trained(DummyVecEnv([Deterministic] * 3)))


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
