"""The cliff's exact solution, against an independent quadrature, differences and a grid."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from pkpo_envs.cliff_1d import Cliff1DEnv, Cliff1DVectorEnv

CLIFF = Cliff1DEnv()


def max_at_k_by_quad(theta: float, k: int, std: float) -> float:
    """E[max] = the integral over rewards r of P(max > r), adaptively and in the reward itself."""

    def exceeds(r: float) -> float:
        return 1 - (1 - norm.cdf(1, theta, std) + norm.cdf(np.sqrt(r), theta, std)) ** k

    edges = np.clip((theta + std * np.array([-8, -4, -2, 0, 2, 4, 8])).clip(0, 1) ** 2, 0, 1)
    edges = np.unique([0.0, *edges, 1.0])
    return sum(quad(exceeds, low, high, epsabs=1e-11)[0] for low, high in pairwise(edges))


@pytest.mark.parametrize(
    ("k", "theta", "value"),
    [
        (1, 0.862411, 0.661281),
        (2, 0.901704, 0.800425),
        (3, 0.923804, 0.859967),
        (4, 0.938661, 0.892414),
        (8, 0.968999, 0.943774),
        (16, 0.985571, 0.970656),
        (32, 0.992589, 0.984882),
        (64, 0.996203, 0.992311),
    ],
)
def test_best_policies(k, theta, value):
    best = CLIFF.best_policy(k)
    assert best == pytest.approx(theta, abs=6e-7)
    assert CLIFF.max_at_k(best, k) == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize(
    ("theta", "k", "gradient"),
    [
        # By 30-digit quadrature and differentiation.
        (0.8, 2, 1.2857507329385107),
        (0.8, 4, 1.2680880839450902),
        (0.8, 8, 1.1584555525578407),
        (1.0, 2, -3.1893063021475623),
        (1.0, 4, -1.7771702188400695),
        (1.0, 8, -0.3543572954986464),
    ],
)
def test_gradients(theta, k, gradient):
    assert CLIFF.max_at_k_gradient(theta, k) == pytest.approx(gradient, abs=1e-10)


@pytest.mark.parametrize("std", [0.003, 0.1, 0.7])
@pytest.mark.parametrize("k", [1, 2, 8, 64, 1024])
def test_max_at_k_is_an_independent_quadrature(k, std):
    for theta in (-0.2, 0.1, 0.6, 0.95, 1.0, 1.3):
        expected = max_at_k_by_quad(theta, k, std)
        assert CLIFF.max_at_k(theta, k, std) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("std", [0.02, 0.1, 0.7])
@pytest.mark.parametrize("k", [1, 3, 64])
def test_gradient_is_the_limit_of_differences(k, std):
    step = 1e-5
    for theta in (0.1, 0.6, 0.95, 1.0, 1.3):
        slope = CLIFF.max_at_k(theta + step, k, std) - CLIFF.max_at_k(theta - step, k, std)
        gradient = CLIFF.max_at_k_gradient(theta, k, std)
        assert slope / (2 * step) == pytest.approx(gradient, abs=1e-5, rel=1e-4)


def test_mean_in_closed_form():
    # E[x^2; 0 <= x <= 1] = (theta^2 + std^2) (Phi(b) - Phi(a)) + std (theta phi(a) - (1 + theta)
    # phi(b)), from a = -theta/std to b = (1 - theta)/std.
    theta, std = 0.9, 0.2
    a, b = -theta / std, (1 - theta) / std
    mean = (theta**2 + std**2) * (norm.cdf(b) - norm.cdf(a))
    mean += std * (theta * norm.pdf(a) - (1 + theta) * norm.pdf(b))
    assert CLIFF.max_at_k(theta, 1, std) == pytest.approx(mean, abs=1e-13)


@pytest.mark.parametrize("std", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("k", [1, 4, 64, 1024])
def test_no_theta_on_a_grid_beats_the_best_policy(k, std):
    best = CLIFF.max_at_k(CLIFF.best_policy(k, std), k, std)
    values = [CLIFF.max_at_k(theta, k, std) for theta in np.linspace(-0.5, 1.5, 201)]
    assert max(values) <= best + 1e-10


def test_reward_on_both_sides_of_the_cliff():
    x = [-0.1, 0.0, 0.5, 1.0, np.nextafter(1.0, 2.0), 1.1]
    assert CLIFF.reward_at(x).tolist() == [0, 0, 0.25, 1, 0, 0]
    assert CLIFF.reward_at(0.5) == 0.25


def test_actions_are_steps_from_the_middle():
    envs = Cliff1DVectorEnv(num_envs=6)
    envs.reset(seed=0)
    actions = np.array([[0.0], [0.5], [-0.5], [-1.0], [1.0], [-7.0]], dtype=np.float32)
    _, rewards, ends, *_ = envs.step(actions)
    assert rewards.tolist() == [0.25, 1, 0, 0, 0, 0]
    assert ends.all()


def test_physics_are_in_float64():
    envs = Cliff1DVectorEnv(num_envs=1)
    envs.reset(seed=0)
    action = np.array([[1e-3]], dtype=np.float32)
    assert envs.step(action)[1][0] == (0.5 + float(action[0, 0])) ** 2


def test_clipping_to_the_box_changes_no_reward():
    envs = Cliff1DVectorEnv(num_envs=2000)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).normal(0.4, 1.0, size=(2000, 1)).astype(np.float32)
    _, free, *_ = envs.step(actions)
    _, clipped, *_ = envs.step(np.clip(actions, -1, 1))
    assert (np.abs(actions) > 1).any()
    assert np.array_equal(free, clipped)


def test_exact_facts():
    facts = CLIFF.exact(4, mean=np.float32([[0.25]]), std=np.float32([0.125]))
    assert facts["theta"] == 0.75
    assert facts["theta_star"] == CLIFF.best_policy(4, 0.125)
    assert facts["max_at_k"] == CLIFF.max_at_k(0.75, 4, 0.125)
    assert facts["max_at_k_star"] == CLIFF.max_at_k(facts["theta_star"], 4, 0.125)


def test_refuses_a_policy_or_k_that_means_nothing():
    for function in (CLIFF.max_at_k, CLIFF.max_at_k_gradient):
        with pytest.raises(ValueError, match="theta=nan must be a finite number"):
            function(np.nan, 2)
        with pytest.raises(ValueError, match=r"k=0 must be an integer"):
            function(0.5, 0)
        for std in (0.0, -1.0, np.inf, np.nan):
            with pytest.raises(ValueError, match=f"std={std} must be a finite number above 0"):
                function(0.5, 2, std)
    with pytest.raises(ValueError, match=r"k=2.5 must be an integer"):
        CLIFF.best_policy(2.5)
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), expected one number"):
        CLIFF.exact(2, mean=[0.1, 0.2], std=0.1)
