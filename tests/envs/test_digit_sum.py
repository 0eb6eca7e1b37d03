"""The digit sum: its steps, its numbers of solutions, and its exact pass@k."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from pkpo_envs.digit_sum import DigitSumEnv, DigitSumVectorEnv
from pkpo_sandbox import PKPO
from pkpo_sandbox.metrics.exact import exact_values


def random_policy(env: DigitSumEnv) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(10), size=len(env.decision_observations()))


def uniform_policy(env: DigitSumEnv) -> np.ndarray:
    return np.full((len(env.decision_observations()), 10), 0.1)


def greedy_policy(env: DigitSumEnv) -> np.ndarray:
    """Always the largest digit that does not exceed what is missing."""
    _, total, target = env.decision_observations().T
    return np.eye(10)[np.clip(target - total, 0, 9)]


def enumerated_success(env: DigitSumEnv, policy: np.ndarray) -> np.ndarray:
    """P(sum = target) by walking every sequence of digits through the scalar env."""
    rows = {tuple(row): policy[i] for i, row in enumerate(env.decision_observations().tolist())}
    success = np.zeros(env.n_problems)
    for target, digits in product(range(env.n_problems), product(range(10), repeat=env.n_digits)):
        observation, _ = env.reset(options={"problem": target})
        probability, reward = 1.0, 0.0
        for digit in digits:
            probability *= rows[tuple(observation.tolist())][digit]
            observation, reward, *_ = env.step(digit)
        success[target] += probability * reward
    return success


def test_by_default_three_digits_add_up_to_one_of_28_targets():
    env = gym.make("pkpo_envs:pkpo/DigitSum-v0").unwrapped
    assert isinstance(env, DigitSumEnv)
    assert (env.n_digits, env.n_problems) == (3, 28)
    assert env.observation_space.nvec.tolist() == [4, 28, 28]
    assert env.action_space.n == 10


def test_an_episode_has_a_step_for_each_digit_and_one_reward():
    env = DigitSumEnv(n_digits=3)
    observation, info = env.reset(options={"problem": 12})
    assert (observation.tolist(), info) == ([0, 0, 12], {"problem": 12})
    seen = [env.step(digit) for digit in (9, 0, 3)]
    assert [step[0].tolist() for step in seen] == [[1, 9, 12], [2, 9, 12], [3, 12, 12]]
    assert [step[1:4] for step in seen] == [
        (0.0, False, False),
        (0.0, False, False),
        (1.0, True, False),
    ]


def test_a_sum_that_is_right_too_early_or_never_earns_nothing():
    env = DigitSumEnv(n_digits=2)
    for digits in ((5, 1), (9, 9), (0, 0)):
        env.reset(options={"problem": 5})
        assert [env.step(digit)[1] for digit in digits] == [0.0, 0.0]


def test_columns_at_different_steps_do_not_disturb_each_other():
    envs = DigitSumVectorEnv(num_envs=3, autoreset_mode=AutoresetMode.DISABLED, n_digits=2)
    envs.reset(options={"problem": np.array([7, 18, 0])})
    envs.step([3, 9, 0])
    envs.reset(options={"reset_mask": np.array([True, False, False]), "problem": 4})
    observations, rewards, ends, *_ = envs.step([4, 9, 1])
    assert observations.tolist() == [[1, 4, 4], [2, 18, 18], [2, 1, 0]]
    assert (rewards.tolist(), ends.tolist()) == ([0.0, 1.0, 0.0], [False, True, True])


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_solutions_are_counted_as_enumeration_does(n_digits):
    env = DigitSumEnv(n_digits)
    sums = [sum(digits) for digits in product(range(10), repeat=n_digits)]
    assert env.n_solutions.tolist() == np.bincount(sums).tolist()


def test_the_largest_world_still_counts_every_solution():
    env = DigitSumEnv(n_digits=15)
    assert env.n_solutions.sum() == 10**15
    assert env.n_solutions[[0, 1, 2, -1]].tolist() == [1, 15, 120, 1]  # 15 + 15·14/2 for a sum of 2
    assert (env.n_solutions == env.n_solutions[::-1]).all()


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_decisions_are_the_observations_before_the_last_digit(n_digits):
    env = DigitSumEnv(n_digits)
    met = set()
    for target, digits in product(range(env.n_problems), product(range(10), repeat=n_digits)):
        met |= {(t, sum(digits[:t]), target) for t in range(n_digits)}
    decisions = env.decision_observations()
    assert [tuple(row) for row in decisions.tolist()] == sorted(met, key=lambda d: (d[2], *d[:2]))
    assert all(row in env.observation_space for row in decisions)


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_success_is_the_enumeration_of_all_episodes(n_digits):
    env = DigitSumEnv(n_digits)
    policy = random_policy(env)
    np.testing.assert_allclose(
        env.success(policy), enumerated_success(env, policy), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("n_digits", [1, 3, 5])
def test_the_uniform_policy_succeeds_by_the_number_of_solutions(n_digits):
    env = DigitSumEnv(n_digits)
    chance = env.n_solutions / 10**n_digits
    np.testing.assert_allclose(env.success(uniform_policy(env)), chance, rtol=1e-12)
    for k in (1, 8):
        expected = np.mean(1 - (1 - chance) ** k)
        assert env.pass_at_k(uniform_policy(env), k) == pytest.approx(expected, rel=1e-12)


def test_greedy_digits_reach_every_target():
    env = DigitSumEnv()
    assert env.success(greedy_policy(env)).tolist() == [1.0] * 28
    assert env.pass_at_k(greedy_policy(env), 1) == 1.0
    assert env.pass_at_k(greedy_policy(env) * np.float64(1 + 1e-7), 8) == 1.0  # as float32 rounds


def test_pass_at_k_is_what_sampled_episodes_achieve():
    env = DigitSumEnv(n_digits=2)
    policy = 0.5 * random_policy(env) + 0.5 * greedy_policy(env)
    envs = DigitSumVectorEnv(num_envs=19 * 3000, n_digits=2)
    rows = {tuple(row): i for i, row in enumerate(env.decision_observations().tolist())}
    rng = np.random.default_rng(1)
    problems = np.repeat(np.arange(19), 3000)
    observations, _ = envs.reset(options={"problem": problems})
    for _ in range(2):
        chosen = policy[[rows[tuple(row)] for row in observations.tolist()]].cumsum(axis=-1)
        uniform = rng.random((len(chosen), 1)) * chosen[:, -1:]
        observations, rewards, *_ = envs.step((uniform > chosen).sum(axis=-1))
    won = rewards.reshape(19, 3000)
    p = env.success(policy)
    assert (np.abs(won.mean(axis=-1) - p) < 4.5 * np.sqrt(p * (1 - p) / 3000)).all()
    best_of_2 = won.reshape(19, 1500, 2).max(axis=-1)
    error = best_of_2.std() / np.sqrt(best_of_2.size)
    assert abs(best_of_2.mean() - env.pass_at_k(policy, 2)) < 4 * error


def test_exact_facts():
    env = DigitSumEnv(n_digits=2)
    policy = random_policy(env)
    assert env.exact(4, probabilities=policy) == {
        "success": env.success(policy).tolist(),
        "max_at_k": env.pass_at_k(policy, 4),
        "max_at_k_star": 1.0,
    }


def test_the_exact_values_of_a_model_are_about_its_policy_at_every_step():
    env = DigitSumEnv(n_digits=2)
    model = PKPO("MlpPolicy", DigitSumEnv(n_digits=2), seed=0, device="cpu")
    torch.nn.init.normal_(model.policy.action_net.weight)
    decisions = torch.as_tensor(env.decision_observations())
    with torch.no_grad():
        categorical = model.policy.get_distribution(decisions).distribution
    policy = categorical.logits.double().softmax(-1).numpy()
    assert policy.std(axis=0).min() > 0.01  # it decides by what it sees
    p = enumerated_success(env, policy)
    exact = exact_values(model, env, [1, 4])
    assert exact[1]["success"] == pytest.approx(p.tolist(), abs=1e-12)
    assert exact[4]["max_at_k"] == pytest.approx(np.mean(1 - (1 - p) ** 4), abs=1e-12)


@pytest.mark.parametrize("n_digits", [0, -1, 16, 2.0, True, "3", None])
def test_refuses_a_number_of_digits_out_of_range(n_digits):
    with pytest.raises(ValueError, match=rf"n_digits={n_digits!r} must be an integer from 1 to 15"):
        DigitSumEnv(n_digits)


def test_refuses_a_policy_or_k_that_means_nothing():
    env = DigitSumEnv(n_digits=2)
    policy = uniform_policy(env)
    with pytest.raises(ValueError, match=r"shape \(19, 10\), expected \(209, 10\)"):
        env.success(policy[:19])  # one row a problem is not enough: 19 targets, 1 + 10 decisions
    with pytest.raises(ValueError, match=r"sums to 0\.9"):
        env.success(policy * 0.9)
    with pytest.raises(ValueError, match="k=0 must be an integer"):
        env.pass_at_k(policy, 0)
