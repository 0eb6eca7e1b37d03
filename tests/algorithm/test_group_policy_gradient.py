"""The algorithm: its gradient by exact enumeration, its manners as an SB3 algorithm, its errors."""

from functools import partial
from itertools import product

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger, configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pkpo_envs.bandit import BanditEnv, BanditVectorEnv
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_set import ProblemSetEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_sandbox.algorithm import gradients
from pkpo_sandbox.algorithm.gradients import backward
from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.groups import GroupVecEnv, group_env, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.rollouts import Rollout
from pkpo_sandbox.metrics.evaluation import evaluate_groups
from pkpo_sandbox.transforms import pkpo, rloo
from tests.algorithm.enumeration import LOGITS, OUTCOMES, true_gradient

BANDIT = "pkpo_envs:pkpo/Bandit-v0"
PROBLEM_SET = "pkpo_envs:pkpo/ProblemSet-v0"
CLIFF = "pkpo_envs:pkpo/Cliff1D-v0"
DISABLED = AutoresetMode.DISABLED
SGD = {"optimizer_class": torch.optim.SGD}


class Digits(ProblemEnv):
    """Problem p takes p + 1 steps, and each pays the action; observes (problem, step)."""

    n_problems = 3

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 9, (2,), np.float32)
        self.action_space = spaces.Discrete(3)

    def start(self, problems):
        return np.stack([problems, np.zeros_like(problems)], axis=1)

    def advance(self, state, actions):
        state = state + np.array([0, 1])
        return state, actions.astype(float), state[:, 1] > state[:, 0]


class DigitsVector(ProblemVectorEnv):
    world_class = Digits


class Tape(gymnasium.Env):
    """One step an episode, which pays the next of the given rewards."""

    def __init__(self, *rewards: float, info: dict | None = None) -> None:
        self.rewards, self.info = list(rewards), info or {}
        self.observation_space, self.action_space = spaces.Discrete(1), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, self.rewards.pop(0), True, False, self.info


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


class Rows(KVWriter):
    """Keeps the rows that are logged."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


def bandit(env=BANDIT, **kwargs) -> PKPO:
    """Two groups of four: 8 timesteps an iteration."""
    settings = {"k": 2, "group_size": 4, "n_groups": 2, "seed": 0, "device": "cpu"}
    return PKPO("MlpPolicy", env, **{**settings, **kwargs})


def logged(model: GroupPolicyGradient, total_timesteps: int, **kwargs) -> list[dict]:
    """Train, and give a row of the log for each iteration."""
    rows = Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(total_timesteps, log_interval=1, **kwargs)
    return rows.rows


def collect(model: GroupPolicyGradient) -> Rollout:
    model._setup_learn(0)
    callback = CallbackList([])
    callback.init_callback(model)
    rollout = model.collect_rollouts(callback)
    assert rollout is not None
    return rollout


def parameters(model: GroupPolicyGradient) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.policy.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


# The gradient


class DoubleExtractor(FlattenExtractor):
    """SB3 encodes a discrete observation in float32."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations).double()


def softmax_bandit(n_groups: int, group_size: int, **kwargs) -> PKPO:
    """A policy in float64 whose action_net.bias is its logits."""
    model = bandit(
        n_groups=n_groups,
        group_size=group_size,
        max_grad_norm=1e9,
        policy_kwargs={"net_arch": [], "features_extractor_class": DoubleExtractor, **SGD},
        **kwargs,
    )
    model.policy.double()
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.copy_(LOGITS)
    return model


def rollout_of(model: PKPO, outcomes: tuple) -> Rollout:
    """One-step episodes with these (arm, reward, chance), group after group."""
    observations = torch.zeros(len(outcomes), dtype=torch.int64)
    arms = torch.tensor([arm for arm, _, _ in outcomes])
    distribution = model.policy.get_distribution(observations)
    shape = (model.n_groups, model.group_size)
    returns = torch.tensor([r for _, r, _ in outcomes], dtype=torch.float64).reshape(shape)
    return Rollout(
        observations=observations,
        actions=arms,
        log_prob=distribution.log_prob(arms),
        entropy=distribution.entropy(),
        attempts=torch.arange(len(outcomes)),
        returns=returns,
        undiscounted=returns,
        lengths=np.ones(shape, dtype=np.int64),
    )


def expected_gradient(model: PKPO) -> torch.Tensor:
    """Σ over all samples of an iteration: its probability times the gradient it gives."""
    policy = torch.softmax(LOGITS, 0)
    bias = model.policy.action_net.bias
    total, mass = torch.zeros(3, dtype=torch.float64), 0.0
    for outcomes in product(OUTCOMES, repeat=model.n_groups * model.group_size):
        probability = float(np.prod([policy[arm] * chance for arm, _, chance in outcomes]))
        rollout = rollout_of(model, outcomes)
        if model.clip_range is not None:
            rollout = rollout._replace(log_prob=rollout.log_prob.detach())
        model.policy.optimizer.zero_grad()
        weights = model.objective.weights(rollout.returns, 1.0)
        backward(model.policy, rollout, weights, clip_range=model.clip_range)
        total -= probability * bias.grad
        mass += probability
    assert mass == pytest.approx(1, abs=1e-12)
    return total


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_true_gradient_is_that_of_the_bandit(k):
    # Through the softmax: ∂/∂logit_a = p_a (G_a − Σ_b p_b G_b).
    p = torch.softmax(LOGITS, 0).numpy()
    by_probability = BanditEnv().max_at_k_gradient(p, k)
    expected = p * (by_probability - p @ by_probability)
    assert true_gradient(k).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("k", "baseline"),
    [
        (1, "none"),
        (1, "loo"),
        (1, "loo_minus_one"),
        (2, "none"),
        (2, "loo"),
        (2, "loo_minus_one"),
        (4, "none"),
        (4, "loo_minus_one"),
    ],
)
def test_the_expected_gradient_over_all_groups_is_that_of_max_at_k(k, baseline):
    # All 5^4 = 625 groups of four outcomes.
    model = softmax_bandit(1, 4, k=k, baseline=baseline)
    expected = true_gradient(k)
    assert expected.abs().max() > 0.01
    assert torch.allclose(expected_gradient(model), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("k", "baseline"), [(1, "loo"), (2, "loo_minus_one")])
def test_the_expected_gradient_with_two_groups_is_their_mean(k, baseline):
    # All 25^2 pairs of groups of two: were it a sum, the gradient would be twice as large.
    model = softmax_bandit(2, 2, k=k, baseline=baseline)
    assert torch.allclose(expected_gradient(model), true_gradient(k), rtol=0, atol=1e-10)


def test_the_clipped_surrogate_starts_out_along_the_plain_gradient():
    model = softmax_bandit(1, 4, k=2, clip_range=0.2)
    assert torch.allclose(expected_gradient(model), true_gradient(2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_a_step_of_gradient_descent_goes_along_that_gradient(clip_range):
    # The reward pattern of one group: rewards 0.8, 0, 0.5, 1 of arms 1, 2, 0, 2.
    model = softmax_bandit(1, 4, k=4, learning_rate=0.25, clip_range=clip_range)
    outcomes = (OUTCOMES[1], OUTCOMES[4], OUTCOMES[0], OUTCOMES[3])
    rollout = rollout_of(model, outcomes)
    if clip_range is not None:
        rollout = rollout._replace(log_prob=rollout.log_prob.detach())
    model.set_logger(Logger(None, []))
    before = model.policy.action_net.bias.detach().clone()
    model.train(rollout)
    # k = n: only the best is weighted, by its lead 1 - 0.8 = 0.2 over the runner-up, and it is
    # arm 2. The gradient of log π(2) is (0, 0, 1) − π.
    gradient = 0.2 * (torch.eye(3, dtype=torch.float64)[2] - torch.softmax(LOGITS, 0))
    step = model.policy.action_net.bias.detach() - before
    assert torch.allclose(step, 0.25 * gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_columns", [2, 6, 9])
@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_an_update_on_real_episodes_follows_the_written_loss(n_columns, clip_range):
    # The loss of the class's docstring, in loops, by SB3's own evaluation of the policy.
    model = bandit(
        GroupVecEnv(DigitsVector(n_columns, autoreset_mode=DISABLED)),
        n_groups=3,
        group_size=2,
        learning_rate=1.0,
        max_grad_norm=1e9,
        clip_range=clip_range,
        policy_kwargs=SGD,
    )
    rollout = collect(model)
    before = parameters(model)
    weights = pkpo(rollout.returns, k=2)
    distribution = ActorCriticPolicy.get_distribution(model.policy, rollout.observations)
    log_prob = distribution.log_prob(rollout.actions)
    loss = torch.tensor(0.0)
    for group in range(3):
        for member in range(2):
            attempt = 2 * group + member
            episode = log_prob[rollout.attempts == attempt]
            assert len(episode) == rollout.lengths[group, member]
            taken = rollout.actions[rollout.attempts == attempt]
            assert taken.sum() == rollout.returns[group, member]
            loss = loss - weights[group, member].float() * episode.sum() / 3
    gradients = torch.autograd.grad(loss, list(model.policy.parameters()))
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)
    model.train(rollout)
    for (name, start), gradient in zip(before.items(), gradients, strict=True):
        moved = model.policy.get_parameter(name).detach() - start
        assert torch.allclose(moved, -gradient, atol=1e-6), name


@pytest.mark.parametrize("settings", [{}, {"clip_range": 0.2, "n_epochs": 2}])
@pytest.mark.parametrize("ent_coef", [0.0, 0.3])
def test_rows_may_be_differentiated_a_few_at_a_time(monkeypatch, settings, ent_coef):
    def trained(rows_at_once: int) -> tuple[dict[str, torch.Tensor], dict]:
        monkeypatch.setattr(gradients, "ROWS_AT_ONCE", rows_at_once)
        env = GroupVecEnv(DigitsVector(6, autoreset_mode=DISABLED))
        model = bandit(env, learning_rate=0.1, ent_coef=ent_coef, policy_kwargs=SGD, **settings)
        row = logged(model, 1)[-1]
        return parameters(model), {key: row[f"train/{key}"] for key in ("loss", "entropy")}

    whole, values = trained(10**6)
    start = parameters(bandit(GroupVecEnv(DigitsVector(6, autoreset_mode=DISABLED))))
    assert not same(start, whole)
    for rows_at_once in (1, 3):
        some, some_values = trained(rows_at_once)
        assert some_values == pytest.approx(values, abs=1e-5)
        assert all(torch.allclose(some[name], whole[name], atol=1e-6) for name in whole)


def test_graphs_are_kept_for_one_step_and_not_for_more():
    # The graphs of long episodes would fill the memory.
    assert collect(bandit()).log_prob.requires_grad
    assert not collect(bandit(clip_range=0.2)).log_prob.requires_grad
    for n_columns in (12, 5):
        rollout = collect(bandit(GroupVecEnv(DigitsVector(n_columns, autoreset_mode=DISABLED))))
        assert not rollout.log_prob.requires_grad


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


def test_the_gradient_is_clipped_to_its_norm():
    model = bandit(learning_rate=1.0, max_grad_norm=1e-3, policy_kwargs=SGD)
    rollout, before = collect(model), parameters(model)
    model.train(rollout)
    after = parameters(model)
    step = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert step.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_the_entropy_bonus_pulls_towards_the_uniform_policy():
    # Rewards of 0 have weights of 0, so that the bonus is all there is.
    vector = BanditVectorEnv(8, DISABLED, payouts=(0, 0, 0), probabilities=(1, 1, 1))
    model = bandit(GroupVecEnv(vector), ent_coef=1.0, learning_rate=3e-2)
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    entropies = [row["train/entropy"] for row in logged(model, 8 * 60)]
    assert entropies[0] < 0.8
    assert entropies[-1] == pytest.approx(np.log(3), abs=0.01)


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


# Runs


def test_equal_seeds_give_equal_parameters_and_others_do_not():
    for env in (BANDIT, PROBLEM_SET, CLIFF):
        runs = [parameters(bandit(env, seed=seed).learn(80)) for seed in (1, 1, 2)]
        assert same(runs[0], runs[1])
        assert not same(runs[0], runs[2])


def test_pkpo_with_k_one_is_rloo():
    def general(updates: int) -> dict[str, torch.Tensor]:
        model = GroupPolicyGradient(
            "MlpPolicy", BANDIT, rloo, group_size=4, n_groups=2, seed=0, device="cpu"
        )
        return parameters(model.learn(8 * updates))

    for updates in (1, 10):
        assert same(parameters(bandit(k=1).learn(8 * updates)), general(updates))
        assert not same(parameters(bandit(k=2).learn(8 * updates)), general(updates))


def test_any_transform_can_be_trained_with():
    def above(returns: torch.Tensor, threshold: float) -> torch.Tensor:
        return (returns > threshold).to(returns) / returns.shape[-1]

    model = GroupPolicyGradient(
        "MlpPolicy",
        BANDIT,
        above,
        {"threshold": lambda remaining: 0.6 * remaining},
        group_size=4,
        n_groups=2,
        seed=0,
        device="cpu",
    )
    rows = logged(model, 16)
    assert [row["train/threshold"] for row in rows] == pytest.approx([0.3, 0.0])


def test_the_first_update_is_at_the_progress_after_its_episodes():
    # 20 timesteps are 2.5 iterations of 8, so 3 are played; progress never goes below 0.
    seen = []
    model = bandit(k=lambda remaining: seen.append(remaining) or 2)
    seen.clear()
    model.learn(20)
    assert model.num_timesteps == 24
    assert seen == pytest.approx([1 - 8 / 20, 1 - 16 / 20, 0])


def test_a_schedule_of_k_is_logged_as_evaluated():
    model = bandit(k=lambda remaining: 8 if remaining > 0.5 else 1, group_size=8, n_groups=1)
    assert [row["train/k"] for row in logged(model, 32)] == [8, 1, 1, 1]
    assert [row["train/k"] for row in logged(bandit(k=np.int64(3)), 8)] == [3]


def test_a_schedule_of_the_learning_rate_is_followed():
    model = bandit(learning_rate=LinearSchedule(1e-2, 0.0, 1.0))
    rates = [row["train/learning_rate"] for row in logged(model, 32)]
    assert rates == pytest.approx([7.5e-3, 5e-3, 2.5e-3, 0])
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_several_epochs_are_several_steps():
    model = bandit(n_epochs=3, clip_range=0.2)
    model.learn(16)
    assert model._n_updates == 6
    assert {s["step"].item() for s in model.policy.optimizer.state.values()} == {6}


def test_several_epochs_stop_at_the_clip_range():
    # Many epochs at a large rate: with clipping, the ratio of no action is driven far from 1.
    def largest_ratio(clip_range: float) -> float:
        model = bandit(n_epochs=100, clip_range=clip_range, learning_rate=1e-2, max_grad_norm=10)
        rollout = collect(model)
        model.train(rollout)
        after = model.policy.get_distribution(rollout.observations).log_prob(rollout.actions)
        return (after - rollout.log_prob).exp().max().item()

    assert largest_ratio(0.2) < 1.5
    assert largest_ratio(100.0) > 1.6


# What is logged


def test_the_logged_keys_are_these():
    rows = logged(bandit(group_size=16, n_groups=2, k=4), 64)
    expected = {f"rollout/max_at_{k}" for k in (1, 2, 4, 8, 16)} | {
        *("rollout/ep_rew_mean", "rollout/ep_len_mean"),
        *("time/iterations", "time/fps", "time/time_elapsed", "time/total_timesteps"),
        *("train/learning_rate", "train/n_updates", "train/loss", "train/entropy"),
        *("train/grad_norm", "train/k"),
    }
    assert [row.keys() for row in rows] == [expected, expected]
    assert [row["time/total_timesteps"] for row in rows] == [32, 64]
    for row in rows:
        assert row["rollout/max_at_1"] == pytest.approx(row["rollout/ep_rew_mean"])
        assert row["rollout/max_at_1"] <= row["rollout/max_at_16"] <= 1
        assert 0 < row["train/entropy"] <= np.log(3) + 1e-6
        assert row["train/grad_norm"] > 0


def test_statistics_are_over_the_last_groups():
    # One column, two groups of two: returns 0 1, 2 3 | 4 5, 6 7 | 8 9, 10 11. The last five groups
    # are the last two whole iterations.
    model = bandit(Tape(*range(12)), group_size=2, k=1, stats_window_size=5)
    last = logged(model, 12)[-1]
    assert last["rollout/ep_rew_mean"] == 7.5
    assert last["rollout/max_at_1"] == 7.5
    assert last["rollout/max_at_2"] == 8  # (5 + 7 + 9 + 11)/4
    assert last["rollout/ep_len_mean"] == 1


def test_statistics_of_a_monitor_and_successes_are_sb3s():
    tape = Monitor(Tape(0, 1, 2, 3, info={"is_success": True}))
    env = VecNormalize(DummyVecEnv([lambda: tape]), norm_obs=False)
    last = logged(bandit(env, n_groups=1, group_size=2, k=1), 4)[-1]
    assert last["rollout/ep_rew_mean"] == 1.5  # before normalisation
    assert last["rollout/max_at_1"] != 1.5
    assert last["rollout/success_rate"] == 1


def test_a_group_env_reports_returns_before_normalisation_too():
    env = VecNormalize(group_env(Tape(0, 1, 2, 3)), norm_obs=False)
    last = logged(bandit(env, n_groups=1, group_size=2, k=1), 4)[-1]
    assert last["rollout/ep_rew_mean"] == 1.5
    assert last["rollout/max_at_1"] != 1.5


def test_the_log_has_a_row_every_interval_and_one_at_the_end():
    def iterations(**kwargs) -> list[int]:
        rows = Rows()
        model = bandit()
        model.set_logger(Logger(None, [rows]))
        model.learn(40, **kwargs)
        return [row["time/iterations"] for row in rows.rows]

    assert iterations(log_interval=2) == [2, 4, 5]
    assert iterations(log_interval=5) == [5]
    assert iterations() == [5]
    assert iterations(log_interval=None) == []


def test_a_custom_logger_writes_csv(tmp_path):
    model = bandit()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(24, log_interval=1)
    model.logger.close()
    table = pd.read_csv(tmp_path / "progress.csv")
    assert table["time/total_timesteps"].tolist() == [8, 16, 24]
    assert table["train/k"].tolist() == [2, 2, 2]


def test_tensorboard_events_are_written(tmp_path):
    model = bandit(tensorboard_log=str(tmp_path))
    model.learn(16, log_interval=1)
    model.learn(16, log_interval=1, tb_log_name="mine")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["PKPO_1", "mine_1"]
    for folder in tmp_path.iterdir():
        (event,) = folder.iterdir()
        assert event.stat().st_size > 500
        assert b"rollout/max_at_4" in event.read_bytes()


# SB3's learn, callbacks, predict, save and load


def test_a_callback_may_be_a_function_a_list_or_an_object():
    class Count(BaseCallback):
        def __init__(self):
            super().__init__()
            self.events = []

        def _on_training_start(self):
            self.events.append("start")

        def _on_rollout_start(self):
            self.events.append("rollout")

        def _on_step(self):
            assert self.locals["rewards"].shape == (8,)
            assert len(self.locals["infos"]) == len(self.locals["dones"]) == 8
            self.events.append("step")
            return True

        def _on_rollout_end(self):
            self.events.append("end of rollout")

        def _on_training_end(self):
            self.events.append("end")

    count, calls = Count(), []
    bandit().learn(16, callback=count)
    iteration = ["rollout", "step", "end of rollout"]
    assert count.events == ["start", *iteration, *iteration, "end"]
    both = [Count(), Count()]
    bandit().learn(8, callback=both)
    assert both[0].events == both[1].events == ["start", *iteration, "end"]
    bandit().learn(
        16, callback=lambda variables, _: calls.append(variables["self"].num_timesteps) or True
    )
    assert calls == [8, 16]


def test_counting_goes_on_or_starts_anew():
    model = bandit().learn(16)
    assert model.learn(16).num_timesteps == 16
    assert model.learn(16, reset_num_timesteps=False).num_timesteps == 32
    assert isinstance(model, PKPO)


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")  # SB3's bar is tqdm.rich
def test_a_progress_bar_can_be_shown():
    model = bandit()
    model.learn(16, progress_bar=True)
    assert model.num_timesteps == 16


def test_learning_in_two_parts_is_learning_in_one():
    # On the bandit a restart between the parts draws nothing at random.
    parts = bandit().learn(40).learn(40, reset_num_timesteps=False)
    assert same(parameters(parts), parameters(bandit().learn(80)))


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


def test_a_callback_that_stops_inside_an_iteration_leaves_the_model_usable():
    model = bandit(GroupVecEnv(DigitsVector(3, autoreset_mode=DISABLED)), n_groups=4)
    before = parameters(model)
    ended = []

    class Stop(BaseCallback):
        def _on_step(self):
            return self.n_calls < 2

        def _on_training_end(self):
            ended.append(True)

    model.learn(1000, callback=Stop())
    assert model.num_timesteps == 6
    assert ended == [True]
    assert same(before, parameters(model))
    model.learn(50, reset_num_timesteps=False)
    assert model.num_timesteps >= 56
    lengths = model._window[0][1]
    assert (lengths == lengths[:, :1]).all()
    assert not same(before, parameters(model))


def test_checkpoints_are_written(tmp_path):
    callback = CheckpointCallback(save_freq=2, save_path=str(tmp_path), name_prefix="m")
    bandit().learn(40, callback=callback)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m_16_steps.zip", "m_32_steps.zip"]
    loaded = PKPO.load(tmp_path / "m_32_steps.zip", env=make_group_env(BANDIT, 2, 4), device="cpu")
    assert loaded.num_timesteps == 32
    assert loaded.learn(16, reset_num_timesteps=False).num_timesteps == 48


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")  # on purpose
def test_evaluation_stops_training_at_a_reward(tmp_path):
    # The safe arm alone earns 0.5; every policy earns more than 0.05.
    stop = StopTrainingOnRewardThreshold(reward_threshold=0.05)
    evaluate = EvalCallback(
        Monitor(BanditEnv()),
        callback_on_new_best=stop,
        eval_freq=3,
        n_eval_episodes=20,
        deterministic=False,
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    model = bandit().learn(1000, callback=evaluate)
    assert model.num_timesteps == 24
    assert evaluate.best_mean_reward > 0.05
    PKPO.load(tmp_path / "best_model.zip", device="cpu").predict(0)


def test_training_stops_at_a_number_of_episodes_or_every_so_many_steps():
    model = bandit().learn(1000, callback=StopTrainingOnMaxEpisodes(max_episodes=2))
    assert model.num_timesteps == 16  # two for each of 8 columns

    class Note(BaseCallback):
        def __init__(self):
            super().__init__()
            self.at = []

        def _on_step(self):
            self.at.append(self.num_timesteps)
            return True

    note = Note()
    bandit().learn(64, callback=EveryNTimesteps(n_steps=24, callback=note))
    assert note.at == [24, 48]


def test_predictions_are_single_or_one_a_column():
    model = bandit()
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    action, state = model.predict(0, deterministic=True)
    assert (action.shape, action.item(), state) == ((), 1, None)
    actions, _ = model.predict(np.zeros(400, int), deterministic=True)
    assert actions.tolist() == [1] * 400
    actions, _ = model.predict(np.zeros(400, int))
    assert set(actions.tolist()) == {0, 1, 2}


def test_predicted_actions_of_a_box_are_clipped():
    model = bandit(CLIFF, policy_kwargs={"fixed_std": 5.0})
    actions, _ = model.predict(np.zeros(100, int))
    assert actions.shape == (100, 1)
    assert (actions.min(), actions.max()) == (-1, 1)
    with torch.no_grad():
        model.policy.action_net.bias.fill_(7.0)
    assert model.predict(0, deterministic=True)[0].tolist() == [1]


def test_saving_and_loading_keep_policy_optimizer_and_settings(tmp_path):
    model = bandit(k=lambda remaining: 3, ent_coef=0.01, n_epochs=2, clip_range=0.3, gamma=0.9)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    loaded = PKPO.load(tmp_path / "model.zip", device="cpu")
    assert same(parameters(loaded), parameters(model))
    observations = np.zeros(50, int)
    for deterministic in (True, False):
        predictions = []
        for each in (model, loaded):
            torch.manual_seed(3)
            predictions.append(each.predict(observations, deterministic=deterministic)[0])
        assert (predictions[0] == predictions[1]).all()
    assert (loaded.group_size, loaded.n_groups, loaded.n_epochs) == (4, 2, 2)
    assert (loaded.clip_range, loaded.ent_coef, loaded.k(0.5)) == (0.3, 0.01, 3)
    assert loaded.gamma == 0.9
    for one, other in zip(
        loaded.policy.optimizer.state.values(), model.policy.optimizer.state.values(), strict=True
    ):
        assert one["step"] == other["step"] == 10
        assert one["exp_avg"].equal(other["exp_avg"])
        assert one["exp_avg_sq"].equal(other["exp_avg_sq"])
    with pytest.raises(AssertionError):  # SB3's word for: no env
        loaded.learn(8)


def test_a_loaded_model_takes_the_same_step_on_the_same_episodes(tmp_path):
    model = bandit().learn(40)
    model.save(tmp_path / "model.zip")
    loaded = PKPO.load(tmp_path / "model.zip", env=make_group_env(BANDIT, 2, 4), device="cpu")
    pair = []
    for copy in (model, loaded):
        copy.set_random_seed(5)
        copy.learn(40, reset_num_timesteps=False)
        pair.append(parameters(copy))
    assert same(*pair)


def test_a_loaded_model_goes_on_with_problems_and_noise_that_it_has_not_had(tmp_path):
    def played(model) -> tuple[tuple[int, ...], ...]:
        """Problems and actions of the next iterations."""
        seen = Seen()
        model.learn(4 * 16, callback=seen).save(tmp_path / "model.zip")
        return tuple(seen.problems), tuple(seen.actions)

    def again() -> PKPO:
        return PKPO.load(tmp_path / "model.zip", env=PROBLEM_SET, device="cpu")

    settings = {"k": 2, "group_size": 4, "n_groups": 4, "seed": 0, "device": "cpu"}
    first = played(PKPO("MlpPolicy", PROBLEM_SET, **settings))
    second = played(again())
    kept = (tmp_path / "model.zip").read_bytes()
    third = played(again())
    for part in (0, 1):
        assert len({first[part], second[part], third[part]}) == 3
    (tmp_path / "model.zip").write_bytes(kept)
    assert played(again()) == third  # which follow from the seed and the updates so far


class Seen(BaseCallback):
    """Notes the problem and the action of every attempt."""

    def _on_training_start(self) -> None:
        self.problems, self.actions = [], []

    def _on_step(self) -> bool:
        self.problems += [int(info["problem"]) for info in self.locals["infos"]]
        self.actions += self.locals["actions"].tolist()
        return True


def test_a_loaded_model_trains_with_another_number_of_columns(tmp_path):
    bandit().save(tmp_path / "model.zip")
    venv = GroupVecEnv(BanditVectorEnv(3, DISABLED))
    loaded = PKPO.load(tmp_path / "model.zip", env=venv, device="cpu")
    loaded.learn(1)
    assert (venv.n_groups, venv.group_size) == (2, 4)
    assert loaded.num_timesteps == 9  # 8 attempts in three waves of 3 columns


def test_loading_may_change_settings_within_their_range(tmp_path):
    bandit().save(tmp_path / "model.zip")
    assert PKPO.load(tmp_path / "model.zip", device="cpu", k=4).k == 4
    with pytest.raises(ValueError, match=r"k = 5 exceeds n = 4"):
        PKPO.load(tmp_path / "model.zip", device="cpu", k=5)


def test_what_is_saved_can_be_chosen(tmp_path):
    model = bandit()
    model.custom_note = "kept"
    model.save(tmp_path / "without.zip", exclude=["custom_note"])
    assert not hasattr(PKPO.load(tmp_path / "without.zip", device="cpu"), "custom_note")
    model.save(tmp_path / "with.zip", exclude=["custom_note"], include=["custom_note"])
    assert PKPO.load(tmp_path / "with.zip", device="cpu").custom_note == "kept"


def test_the_general_algorithm_is_saved_with_its_transform(tmp_path):
    model = GroupPolicyGradient(
        "MlpPolicy", BANDIT, pkpo, {"k": 3}, group_size=4, n_groups=2, seed=0, device="cpu"
    )
    model.learn(8).save(tmp_path / "model.zip")
    loaded = GroupPolicyGradient.load(tmp_path / "model.zip", env=model.get_env(), device="cpu")
    assert loaded.transform_kwargs == {"k": 3}
    assert logged(loaded, 8)[0]["train/k"] == 3


def test_parameters_go_from_one_model_to_another():
    one, other = bandit().learn(40), bandit(seed=9)
    assert one.get_parameters().keys() == {"policy", "policy.optimizer"}
    other.set_parameters(one.get_parameters())
    assert same(parameters(one), parameters(other))
    assert {s["step"].item() for s in other.policy.optimizer.state.values()} == {5}


def test_another_env_can_be_set():
    model = bandit().learn(16)
    env = make_group_env(BANDIT, 4, 2, payouts=(3.0, 3.0, 3.0), probabilities=(1.0, 1.0, 1.0))
    model.set_env(env)
    model.learn(8, reset_num_timesteps=False)
    assert (env.n_groups, env.group_size) == (2, 4)
    assert (model._window[-1][0] == 3).all()
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(make_group_env(BANDIT, 2, 5))
    with pytest.raises(ValueError, match="Action spaces do not match"):
        model.set_env(make_group_env(PROBLEM_SET, 2, 4, n_problems=1, n_answers=9))


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "group_size must be an integer of at least 2, got 1"),
        ({"group_size": 4.0}, "group_size must be an integer of at least 2, got 4.0"),
        ({"n_groups": 0}, "n_groups must be an integer of at least 1, got 0"),
        ({"k": 5}, r"^k = 5 exceeds n = 4.*sample at least 5 attempts a group"),
        ({"k": 0}, "k = 0 is below 1"),
        ({"k": 2.5}, r"k = 2.5 is a float: pass an int"),
        ({"k": True}, "k = True is a bool"),
        ({"k": lambda p: 2 if p > 0.25 else 0}, r"at 75 % of training: k = 0 is below 1"),
        ({"k": lambda p: 2 if p < 1 else 9}, r"at 0 % of training: k = 9 exceeds n = 4"),
        ({"k": lambda p: 2.5}, r"at 0 % of training: k = 2.5 is a float: pass an int"),
        ({"k": 4, "baseline": "loo"}, r"'loo' with k = 4 needs n > k"),
        ({"baseline": "mean"}, "unknown baseline 'mean': choose one of loo_minus_one, loo, none"),
        ({"n_epochs": 2}, r"n_epochs=2 trains again.*give clip_range"),
        ({"gamma": 0}, "gamma must be above 0 and at most 1, got 0"),
        ({"gamma": 1.01}, r"gamma must be above 0 and at most 1, got 1\.01"),
        ({"gamma": float("nan")}, "gamma must be above 0 and at most 1, got nan"),
        ({"gamma": True}, "gamma must be above 0 and at most 1, got True"),
        ({"n_epochs": 0}, "n_epochs must be an integer of at least 1, got 0"),
        ({"learning_rate": -1e-3}, "learning_rate must be at least 0 and finite, got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0 and finite, got nan"),
        ({"max_grad_norm": -0.5}, "max_grad_norm must be a positive number, got -0.5"),
        ({"max_grad_norm": 0}, "max_grad_norm must be a positive number, got 0"),
        ({"clip_range": -0.2}, "clip_range must be at least 0 and finite, got -0.2"),
        ({"clip_range": lambda p: -1.0}, "at 0 % of training: clip_range must be at least 0"),
        ({"n_epochs": 1.5}, r"n_epochs must be an integer of at least 1, got 1\.5"),
        ({"learning_rate": float("inf")}, "learning_rate must be at least 0 and finite, got inf"),
        ({"ent_coef": float("nan")}, "ent_coef must be at least 0 and finite, got nan"),
        ({"max_grad_norm": None}, "max_grad_norm=None: give a number"),
    ],
)
def test_settings_out_of_range_are_refused_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        bandit(**settings)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="Policy TreePolicy unknown"):
        PKPO("TreePolicy", BANDIT)


@pytest.mark.parametrize(
    ("role", "space", "message"),
    [
        (
            "observation_space",
            spaces.Tuple([spaces.Discrete(2)]),
            r"the observation space Tuple.* is not supported: use one of Box, Discrete",
        ),
        (
            "action_space",
            spaces.Dict(a=spaces.Discrete(2)),
            r"the action space Dict.* is not supported",
        ),
        (
            "action_space",
            spaces.Box(-np.inf, np.inf, (1,)),
            r"the action space Box.* is unbounded: .*RescaleAction",
        ),
        (
            "action_space",
            spaces.Box(np.array([0.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64),
            "unbounded",
        ),
    ],
)
def test_spaces_that_no_policy_has_are_refused(role, space, message):
    env = Tape()
    setattr(env, role, space)
    with pytest.raises(ValueError, match=message):
        bandit(env)


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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w[:, :2], r"weights of shape \(2, 2\) for returns"),
        (lambda w: w * torch.nan, "weights that are not finite"),
    ],
)
def test_a_transform_that_goes_wrong_is_refused_before_it_trains(spoil, message):
    def faulty(returns: torch.Tensor) -> torch.Tensor:
        weights = rloo(returns)
        return spoil(weights) if returns.any() else weights

    model = GroupPolicyGradient(
        "MlpPolicy", BANDIT, faulty, group_size=4, n_groups=2, seed=0, device="cpu"
    )
    before = parameters(model)
    with pytest.raises(ValueError, match=message):
        model.learn(80)
    assert same(before, parameters(model))
    assert not model.policy.optimizer.state

    with pytest.raises(ValueError, match=r"^the transform gave"):  # no schedule: at any moment
        GroupPolicyGradient("MlpPolicy", BANDIT, lambda returns: spoil(rloo(returns)) + torch.nan)


def test_a_problem_set_in_sb3s_vec_env_is_refused_also_later(tmp_path):
    model = PKPO("MlpPolicy", PROBLEM_SET, k=2, group_size=2, n_groups=1, device="cpu")
    model.save(tmp_path / "model.zip")
    env = DummyVecEnv([ProblemSetEnv] * 2)
    with pytest.raises(ValueError, match="problems by itself"):
        model.set_env(env)
    with pytest.raises(ValueError, match="problems by itself"):
        PKPO.load(tmp_path / "model.zip", env=env, device="cpu")


# Learning


def final_probabilities(k: int, updates: int) -> torch.Tensor:
    model = PKPO(
        "MlpPolicy",
        BANDIT,
        k=k,
        learning_rate=LinearSchedule(2e-2, 0.0, 1.0),
        policy_kwargs={"net_arch": []},
        seed=0,
        device="cpu",
    )
    model.learn(updates * 256, log_interval=None)
    distribution = model.policy.get_distribution(torch.zeros(1, dtype=torch.int64)).distribution
    return distribution.probs[0].detach()


@pytest.mark.slow
def test_the_best_of_four_is_learned_on_the_bandit():
    # 0.176, 0.824, 0: mostly the risky arm, and some of the safe one.
    found = final_probabilities(k=4, updates=1500)
    assert found.tolist() == pytest.approx(BanditEnv().best_policy(4).tolist(), abs=0.02)


@pytest.mark.slow
def test_the_mean_is_learned_with_k_one():
    # 0.5 for sure beats 0.32 and 0.1 in the mean.
    assert final_probabilities(k=1, updates=500)[0] > 0.97


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


def test_k_may_be_one_of_sb3s_own_schedules():
    assert logged(bandit(k=FloatSchedule(4), group_size=4), 8)[0]["train/k"] == 4
    with pytest.raises(ValueError, match=r"at 1 % of training: k = 3.* is a float: pass an int"):
        bandit(k=LinearSchedule(4, 1, 0.5), group_size=4)


@pytest.mark.parametrize(
    ("name", "value"), [("ent_coef", 0.5), ("clip_range", 0.2), ("learning_rate", 0.5)]
)
def test_a_setting_may_be_a_schedule(name, value):
    """A schedule that is c throughout trains as c does, and one that falls does not."""

    def trained(value):
        settings = {"n_epochs": 3, "clip_range": 0.2, "learning_rate": 0.01, name: value}
        return parameters(bandit(**settings).learn(64))

    assert same(trained(lambda p: value), trained(value))
    assert not same(trained(lambda p: value * p), trained(value))


@pytest.mark.parametrize("zero", [0, 0.0, lambda p: 0.0])
def test_a_learning_rate_of_zero_plays_and_changes_nothing(zero):
    model = bandit(learning_rate=zero)
    before = parameters(model)
    assert logged(model, 16)[-1]["train/grad_norm"] > 0
    assert same(parameters(model), before)


def test_an_env_may_be_given_by_its_id_after_loading(tmp_path):
    bandit().save(tmp_path / "model.zip")
    model = PKPO.load(tmp_path / "model.zip", env=BANDIT)
    assert model.n_envs == model.get_env().num_envs == 8  # a column for each of 2 x 4 attempts
    model.learn(64)
    assert (model.num_timesteps, model._n_updates) == (64, 8)
    model.set_env(BANDIT)
    assert model.learn(16).num_timesteps == 16
    waves = PKPO.load(tmp_path / "model.zip", env=GroupVecEnv(BanditVectorEnv(3, DISABLED)))
    waves.set_env(BANDIT)
    assert waves.n_envs == waves.get_env().num_envs == 3  # those it was loaded with


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


def test_without_an_env_there_is_no_training():
    with pytest.raises(ValueError, match="env=None: give an id"):
        PKPO("MlpPolicy", None)
