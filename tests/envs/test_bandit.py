"""The bandit's exact solution, against enumeration, differences and optimality conditions."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from pkpo_envs.bandit import BanditEnv, BanditVectorEnv

BANDITS = [
    BanditEnv(),
    BanditEnv(payouts=(-1.0, 2.0, -0.5, 0.25), probabilities=(0.3, 0.2, 0.9, 1.0)),
    BanditEnv(payouts=(-1.0, -3.0), probabilities=(0.5, 1.0)),
    BanditEnv(payouts=(1.0, 1.0, 0.0), probabilities=(0.2, 0.2, 0.7)),
    BanditEnv(payouts=(4.0,), probabilities=(0.5,)),
]


def random_policy(bandit: BanditEnv, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(bandit.n_arms))


@pytest.mark.parametrize(
    ("k", "policy", "value"),
    [
        (1, [1, 0, 0], 0.5),
        (2, [0.474, 0.526, 0], 0.5632),
        (4, [0.176, 0.824, 0], 0.7095),
        (8, [0.089, 0.606, 0.305], 0.8067),
        (16, [0.048, 0.294, 0.658], 0.9135),
        (32, [0.025, 0.144, 0.831], 0.9837),
    ],
)
def test_best_policies_of_the_default_arms(k, policy, value):
    bandit = BanditEnv()
    best = bandit.best_policy(k)
    assert best == pytest.approx(policy, abs=6e-4)
    assert bandit.max_at_k(best, k) == pytest.approx(value, abs=6e-5)


def test_best_policy_for_two_by_hand():
    # With p on the risky arm: 0.8 - 0.3 (1 - 0.4 p)^2 - 0.5 (0.6 p)^2, since F(0) = 0.6 p and
    # F(0.5) = 1 - 0.4 p. Its derivative 0.24 - 0.456 p is zero at p = 10/19.
    assert BanditEnv().best_policy(2) == pytest.approx([9 / 19, 10 / 19, 0], abs=1e-7)


@pytest.mark.parametrize("bandit", BANDITS)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_max_at_k_is_the_enumeration_of_all_attempts(bandit, k):
    policy = random_policy(bandit)
    outcomes = []
    for arm, payout in enumerate(bandit.payouts):
        outcomes.append((payout, policy[arm] * bandit.probabilities[arm]))
        outcomes.append((0.0, policy[arm] * (1 - bandit.probabilities[arm])))
    expected = 0.0
    for attempts in product(outcomes, repeat=k):
        rewards, chances = zip(*attempts, strict=True)
        expected += max(rewards) * np.prod(chances)
    assert bandit.max_at_k(policy, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bandit", BANDITS)
@pytest.mark.parametrize("k", [1, 2, 7, 64])
def test_gradient_is_the_limit_of_differences_between_arms(bandit, k):
    # A policy can only move probability from one arm to another: compare these directions.
    policy = 0.9 * random_policy(bandit) + 0.1 / bandit.n_arms
    gradient = bandit.max_at_k_gradient(policy, k)
    step = 1e-6
    for arm in range(bandit.n_arms):
        move = step * (np.eye(bandit.n_arms)[arm] - 1 / bandit.n_arms)
        slope = bandit.max_at_k(policy + move, k) - bandit.max_at_k(policy - move, k)
        assert slope / (2 * step) == pytest.approx(gradient @ move / step, abs=1e-7)


@pytest.mark.parametrize("bandit", BANDITS)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 16, 64, 1000])
def test_best_policy_meets_the_optimality_conditions(bandit, k):
    best = bandit.best_policy(k)
    assert best.min() >= 0
    assert best.sum() == pytest.approx(1, abs=1e-12)
    # max@k is concave, so no policy is better by more than the steepest slope to a single arm.
    gradient = bandit.max_at_k_gradient(best, k)
    assert gradient.max() - gradient @ best < 1e-7


def relative_gap(bandit: BanditEnv, k: int) -> float:
    """How much better another policy may be than the best one, of the payouts' spread."""
    best = bandit.best_policy(k)
    gradient = bandit.max_at_k_gradient(best, k)
    return (gradient.max() - gradient @ best) / np.ptp(np.append(bandit.payouts, 0.0))


def test_best_policy_where_the_line_search_gives_up():
    # SLSQP ends with "Positive directional derivative for linesearch", at the optimum.
    bandit = BanditEnv(
        payouts=(
            -7.585727272412486e-05,
            -1.2648300523056469e-05,
            -6.415740265326547e-06,
            0.00012907289630252183,
        ),
        probabilities=(
            0.3348588103989253,
            0.29752403778285097,
            0.8251332946474925,
            0.5799405734400951,
        ),
    )
    assert bandit.best_policy(32) == pytest.approx([0, 0, 0, 1], abs=1e-7)
    assert relative_gap(bandit, 32) < 1e-7


def test_best_policies_of_random_bandits():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_arms, k = rng.integers(1, 8), int(rng.integers(1, 65))
        payouts = rng.normal(size=n_arms) * 10.0 ** rng.integers(-6, 7)
        assert relative_gap(BanditEnv(payouts, rng.random(n_arms)), k) < 1e-7


def test_refuses_a_policy_that_is_not_the_best(monkeypatch):
    def gives_up_at_once(function, start, **options):
        return OptimizeResult(x=start, message="Gave up")

    monkeypatch.setattr("scipy.optimize.minimize", gives_up_at_once)
    # The slopes are the mean payouts 1 and 0, the policy's own 1/2.
    with pytest.raises(RuntimeError, match=r"better by 0.5, .* spread 1 \(Gave up\). Lower k"):
        BanditEnv(payouts=(1.0, 1.0), probabilities=(1.0, 0.0)).best_policy(1)
    assert BanditEnv(payouts=(0.0, 0.0), probabilities=(1.0, 0.0)).best_policy(1).sum() == 1


def test_best_policy_stays_accurate_when_the_value_is_flat():
    # For a large k the value is 1 up to about 1e-12, yet at an inner optimum all slopes are equal.
    bandit = BanditEnv()
    best = bandit.best_policy(256)
    assert best.min() > 1e-3
    gradient = bandit.max_at_k_gradient(best, 256)
    assert gradient == pytest.approx(np.full(3, gradient.mean()), rel=1e-5)


def test_rewards_follow_the_arms():
    envs = BanditVectorEnv(num_envs=30_000)
    envs.reset(seed=0)
    arms = np.arange(30_000) % 3
    _, rewards, ends, *_ = envs.step(arms)
    assert ends.all()
    for arm, (payout, chance) in enumerate([(0.5, 1.0), (0.8, 0.4), (1.0, 0.1)]):
        earned = rewards[arms == arm]
        assert set(np.unique(earned)) <= {0.0, payout}
        error = np.sqrt(chance * (1 - chance) / 10_000)
        assert abs((earned > 0).mean() - chance) <= 4 * error


def test_scalar_rewards_are_the_stream_of_the_seed():
    env = BanditEnv()
    env.reset(seed=5)
    draws = np.random.default_rng(5).random(20)
    for draw in draws:
        assert env.step(1)[1] == (0.8 if draw < 0.4 else 0.0)
        env.reset()


def test_exact_facts():
    bandit = BanditEnv()
    facts = bandit.exact(2, probabilities=[[0.2, 0.3, 0.5]])
    assert facts["probability"] == [0.2, 0.3, 0.5]
    assert facts["probability_star"] == pytest.approx([9 / 19, 10 / 19, 0], abs=1e-7)
    assert facts["max_at_k"] == bandit.max_at_k([0.2, 0.3, 0.5], 2)
    assert facts["max_at_k_star"] == pytest.approx(0.5632, abs=6e-5)


@pytest.mark.parametrize(
    ("payouts", "probabilities", "message"),
    [
        ((), (), "0 payouts and 0 probabilities: .* at least one arm"),
        ((1.0,), (0.5, 0.5), "1 payouts and 2 probabilities: give both"),
        ((1.0, 1.0), (0.5, 1.5), r"probability 1.5 of arm 1 must be in \[0, 1\]"),
        ((1.0, 1.0), (-0.1, 0.5), r"probability -0.1 of arm 0"),
        ((1.0,), (np.nan,), "probability nan of arm 0"),
        ((1.0, np.nan), (0.5, 0.5), "payout nan of arm 1 must be a finite number"),
        ((-np.inf,), (0.5,), "payout -inf of arm 0"),
        ("a", (0.5,), "payouts='a' must be a sequence of real numbers, one for each arm"),
        (None, (0.5,), "payouts=None must be"),
        (1.0, 0.5, "payouts=1.0 must be"),
        (("a", 1.0), (0.5, 0.5), r"payouts=\('a', 1.0\) must be"),
        (([1.0], [1.0, 2.0]), (0.5, 0.5), r"payouts=\(\[1.0\], \[1.0, 2.0\]\) must be"),
        ((1.0,), None, "probabilities=None must be"),
        ((1.0,), (None,), r"probabilities=\(None,\) must be"),
    ],
)
def test_refuses_arms_it_cannot_pay(payouts, probabilities, message):
    with pytest.raises(ValueError, match=message):
        BanditEnv(payouts, probabilities)


def test_refuses_a_policy_or_k_that_means_nothing():
    bandit = BanditEnv()
    for function in (bandit.max_at_k, bandit.max_at_k_gradient):
        with pytest.raises(ValueError, match=r"shape \(2,\), expected \(3,\)"):
            function([0.5, 0.5], 2)
        with pytest.raises(ValueError, match="sums to 2"):
            function([0.5, 0.5, 1.0], 2)
        with pytest.raises(ValueError, match="k=0 must be"):
            function([0.5, 0.5, 0.0], 0)
    with pytest.raises(ValueError, match=r"k=1.5 must be"):
        bandit.best_policy(1.5)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(1, 3\)"):
        bandit.exact(2, probabilities=[0.5, 0.5, 0.0])
