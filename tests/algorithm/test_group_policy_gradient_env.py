"""The algorithm and its env: discounts, clipped actions, bad numbers, evaluations in between."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

from pkpo_envs.problem_env import ProblemEnv
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.rollouts import Rollout
from pkpo_sandbox.metrics.evaluation import evaluate_groups
from tests.algorithm.short_runs import (
    DISABLED,
    DigitsVector,
    Seen,
    Tape,
    bandit,
    collect,
    logged,
    parameters,
    same,
)
from tests.small import BANDIT, PROBLEM_SET


class Fault(gymnasium.Env):
    """A long episode that pays ``bad`` at its third step and nothing before."""

    def __init__(self, bad: float) -> None:
        self.bad = bad
        self.observation_space, self.action_space = spaces.Discrete(1), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return 0, {}

    def step(self, action):
        self.t += 1
        return 0, self.bad if self.t == 3 else float(action), self.t == 5, False, {}


@pytest.mark.parametrize("n_columns", [3, 8, 11])
@pytest.mark.parametrize("gamma", [0.5, 0.99])
def test_returns_are_discounted_from_the_start_of_each_attempt(n_columns, gamma):
    env = GroupVecEnv(DigitsVector(n_columns, autoreset_mode=DISABLED))
    model = bandit(env, gamma=gamma)
    for _ in range(5):
        rollout = collect(model)
        plain = np.zeros((2, 4))
        for attempt in range(8):
            rewards = rollout.actions[rollout.attempts == attempt].tolist()  # they pay themselves
            expected = sum(reward * gamma**t for t, reward in enumerate(rewards))
            assert rollout.returns.flatten()[attempt].item() == pytest.approx(expected, rel=1e-12)
            plain.flat[attempt] = sum(rewards)
        assert (model._window[-1][0].numpy() == plain).all()
        assert not np.array_equal(rollout.returns, plain)


def test_the_discounted_return_is_what_is_trained_for_and_the_plain_one_is_logged():
    # Of 1 now and 3 at the end, k = 1 without a discount prefers 3; with 0.25 it prefers 1.
    class Patience(ProblemEnv):
        """Action 1 in the first of two steps pays 1 there, action 0 pays 3 in the second."""

        def __init__(self):
            self.observation_space = spaces.Box(0, 2, (2,), np.float32)
            self.action_space = spaces.Discrete(2)

        def start(self, problems):
            return np.zeros((len(problems), 2))

        def advance(self, state, actions):
            first = state[:, 0] == 0
            rewards = np.where(first, actions == 1, 3.0 * (state[:, 1] == 0))
            state = np.stack([state[:, 0] + 1, np.where(first, actions, state[:, 1])], axis=1)
            return state, rewards, ~first

    def early(gamma: float) -> tuple[float, float]:
        model = bandit(Patience(), k=1, gamma=gamma, learning_rate=3e-2, n_groups=4, group_size=8)
        first, *_, last = logged(model, 64 * 60)
        for row in (first, last):
            assert row["rollout/max_at_1"] == pytest.approx(row["rollout/ep_rew_mean"])
        start = model.policy.get_distribution(torch.zeros(1, 2)).distribution.probs[0, 1]
        return start.item(), first["rollout/ep_rew_mean"]

    assert early(1.0)[0] < 0.1
    chance, mean = early(0.25)
    assert chance > 0.9
    assert mean > 1.5  # a beginner's mean of 1 and 3; discounted, they are 1 and 3/4


def test_actions_of_a_box_are_clipped_for_the_env_and_kept_for_the_gradient():
    class Line(ProblemEnv):
        def __init__(self):
            self.observation_space = spaces.Discrete(1)
            self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

        def reward(self, problems, actions):
            return np.abs(actions[:, 0])

    model = bandit(Line(), policy_kwargs={"fixed_std": 5.0})
    rollout = collect(model)
    assert rollout.returns.max() == 1
    assert rollout.actions.abs().max() > 1
    expected = model.policy.get_distribution(rollout.observations).log_prob(rollout.actions)
    assert torch.allclose(rollout.log_prob, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")  # so says SB3
def test_learning_starts_on_whole_groups_after_the_env_was_played():
    # Evaluated in between, the env stands somewhere inside an iteration of its own.
    model = bandit(GroupVecEnv(DigitsVector(3, autoreset_mode=DISABLED)), n_groups=4)
    model.learn(1)
    for _ in range(5):
        evaluate_policy(model, model.get_env(), n_eval_episodes=2)
        model.learn(1, reset_num_timesteps=False)
        lengths = model._window[-1][1]
        assert (lengths == lengths[:, :1]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_not_finite_is_refused_before_it_trains(bad):
    makers = [partial(Fault, bad if column == 2 else 0.0) for column in range(4)]
    model = bandit(SyncVectorEnv(makers, autoreset_mode=DISABLED), n_groups=1)
    before = parameters(model)
    with pytest.raises(ValueError, match=f"column 2 gave reward {bad} at step 3"):
        model.learn(100)
    assert same(before, parameters(model))


def test_rewards_of_idle_columns_may_be_anything():
    # Two attempts occupy the first two columns, and the third plays for nothing.
    makers = [partial(Tape, *[0.0] * 9), partial(Tape, *[1.0] * 9), partial(Tape, *[np.nan] * 9)]
    model = bandit(SyncVectorEnv(makers, autoreset_mode=DISABLED), n_groups=1, group_size=2)
    model.learn(6)
    assert model._window[-1][0].tolist() == [[0, 1]]


class NaNObservation(gymnasium.Env):
    """One-step episodes whose observation is not a number."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([np.nan], dtype=np.float32), {}

    def step(self, action):
        return np.array([0.0], dtype=np.float32), float(action[0]), True, False, {}


def test_a_nan_observation_stops_training_before_the_policy_is_harmed():
    model = PKPO("MlpPolicy", NaNObservation(), k=1, group_size=2, n_groups=1, seed=0)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match=r"not finite|invalid values"):
        model.learn(2)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, before[name])


def test_groups_share_their_problem_also_after_the_env_was_played_in_others():
    class Watched(PKPO):
        def train(self, rollout: Rollout) -> None:
            problems = rollout.observations.reshape(self.n_groups, self.group_size)
            assert (problems == problems[:, :1]).all()
            super().train(rollout)

    settings = {"k": 2, "n_groups": 4, "device": "cpu", "seed": 0}
    model = Watched("MlpPolicy", make_group_env(PROBLEM_SET, 4, 4), group_size=4, **settings)
    model.learn(32)
    evaluate_groups(model, model.get_env(), n_groups=8, group_size=2)
    model.learn(32)
    Watched("MlpPolicy", model.get_env(), group_size=2, **settings).learn(32)
    model.learn(32)


def test_problems_are_others_after_every_evaluation_on_the_env_that_is_trained_on():
    for seed in (0, None):
        seen = Seen()
        settings = {"k": 2, "group_size": 4, "n_groups": 4, "seed": seed, "device": "cpu"}
        model = PKPO("MlpPolicy", PROBLEM_SET, **settings)
        played = []
        for _ in range(3):
            model.learn(32, callback=seen)
            played.append(tuple(seen.problems))
            evaluate_groups(model, model.get_env(), n_groups=8, group_size=2)
        assert len(set(played)) == 3


@pytest.mark.parametrize("hook", ["_on_rollout_start", "_on_step", "_on_rollout_end"])
@pytest.mark.parametrize("env_id", [BANDIT, "CartPole-v1"])
def test_an_evaluation_in_the_middle_of_training_needs_an_env_of_its_own(env_id, hook):
    class Evaluating(BaseCallback):
        def _on_step(self) -> bool:
            return True

    def evaluate(self) -> bool:
        evaluate_groups(self.model, self.training_env, n_groups=2, group_size=4)
        return True

    setattr(Evaluating, hook, evaluate)
    model = PKPO("MlpPolicy", env_id, k=2, n_groups=2, group_size=4, device="cpu", seed=0)
    with pytest.raises(ValueError, match="a callback that evaluates needs an env of its own"):
        model.learn(1000, Evaluating())
    model.learn(1000)
