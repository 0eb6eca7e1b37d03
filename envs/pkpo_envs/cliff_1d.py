"""The one-dimensional toy with a cliff, and its best Gaussian policy for the best of k attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import scipy
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from pkpo_envs.checks import check_target
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.rendering import BEST, GAINED, GROUND, LOST, Attempts, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Cliff1DEnv(ProblemEnv):
    """
    ## Description

    A one-step world on a line. The reward grows up to x = 1 and is 0 beyond it. A Gaussian policy
    that maximises the mean stays away from this cliff. A policy that maximises the best of many
    attempts moves towards its edge.

    ## Observation

    `Discrete(1)`: always 0.

    ## Action

    `Box(-1, 1, (1,), float32)`: a step from the middle, x = 0.5 + action. Both ends of the box,
    x = -0.5 and x = 1.5, lie outside [0, 1]. Some algorithms, such as those of Stable-Baselines3,
    clip Gaussian samples to the box. This changes no reward: clipping cannot move a sample onto the
    edge of the cliff. Actions outside the box are allowed, and earn 0 too.

    ## Reward

    x^2 if 0 <= x <= 1, else 0.

    ## Problems

    One.

    ## Exact solution

    For x ~ N(theta, std), by quadrature: `max_at_k`, `max_at_k_gradient` and `best_policy`. With
    q(y) = P(y < x <= 1), max@k is the integral of 2y (1 - (1 - q(y))^k) over y from 0 to 1.

    ## Reference

    Pass@K Policy Optimization, arXiv 2505.15201: its one-dimensional toy, with std = 0.1.
    """

    stackable = True

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._best: dict[tuple[int, float], float] = {}
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reward(
        self, problems: NDArray[np.int64], actions: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        return self.reward_at(0.5 + actions[:, 0].astype(np.float64))

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw the reward, the attempts on its curve, and a histogram of their positions."""
        line = np.linspace(-0.5, 1.5, 801)
        x = np.clip(0.5 + attempts.actions[:, 0].astype(np.float64), -0.5, 1.5)
        fell, best = attempts.returns == 0, attempts.best()
        axes.fill_between(line, self.reward_at(line), color=GROUND, linewidth=0, label="reward")
        axes.plot(x[fell], attempts.returns[fell], "X", color=LOST, alpha=0.6, label="fell")
        axes.plot(x[~fell], attempts.returns[~fell], "o", color=GAINED, alpha=0.6, label="stands")
        axes.plot(x[best], attempts.returns[best], "*", color=BEST, markersize=14, label="best")
        axes.set(xlabel="position x", ylabel="reward", xlim=(-0.55, 1.55), ylim=(-0.06, 1.1))
        share = axes.twinx()
        counts, edges = np.histogram(x, bins=40, range=(-0.5, 1.5))
        share.stairs(counts / max(len(x), 1), edges, fill=True, color=GAINED, alpha=0.25)
        share.set(ylabel="share of the attempts (bars)", ylim=(-0.06 / 1.1, 1))
        legend(axes)

    @staticmethod
    def reward_at(x: ArrayLike) -> NDArray[np.float64]:
        """The reward at positions x of any shape."""
        x = np.asarray(x, dtype=np.float64)
        return np.where((x >= 0) & (x <= 1), x, 0.0) ** 2

    def max_at_k(self, theta: float, k: int, std: float = 0.1) -> float:
        """The expected maximum of k rewards, with x ~ N(theta, std)."""
        k = check_target(k)
        y, weights = _quadrature(theta, std)
        misses = 1 - scipy.special.ndtr((1 - theta) / std) + scipy.special.ndtr((y - theta) / std)
        return float(weights @ (2 * y * (1 - misses**k)))

    def max_at_k_gradient(self, theta: float, k: int, std: float = 0.1) -> float:
        """The derivative of `max_at_k` in theta."""
        k = check_target(k)
        y, weights = _quadrature(theta, std)
        cliff, z = (1 - theta) / std, (y - theta) / std
        misses = 1 - scipy.special.ndtr(cliff) + scipy.special.ndtr(z)
        density = (np.exp(-(z**2) / 2) - np.exp(-(cliff**2) / 2)) / (np.sqrt(2 * np.pi) * std)
        return float(weights @ (2 * y * k * misses ** (k - 1) * density))

    def best_policy(self, k: int, std: float = 0.1) -> float:
        """The theta with the greatest `max_at_k`.

        The derivative is positive at theta = 0.5: no y in [0, 1] is farther away than the cliff. It
        is negative at theta = 1: no density is greater than that at the cliff. So its root lies
        between.
        """
        if (k, std) not in self._best:
            found = scipy.optimize.root_scalar(
                self.max_at_k_gradient, (k, std), bracket=(0.5, 1.0), xtol=1e-12
            )
            self._best[k, std] = float(found.root)
        return self._best[k, std]

    def exact(self, k: int, mean: ArrayLike, std: ArrayLike) -> dict[str, Any]:
        """Facts about the policy whose action has this mean (1, 1) and std (1,).

        theta is the mean position, 0.5 + mean. The best policy is the best one with this std.
        """
        theta, spread = 0.5 + _single(mean, "mean"), _single(std, "std")
        best = self.best_policy(k, spread)
        return {
            "theta": theta,
            "theta_star": best,
            "max_at_k": self.max_at_k(theta, k, spread),
            "max_at_k_star": self.max_at_k(best, k, spread),
        }


class Cliff1DVectorEnv(ProblemVectorEnv):
    """Many columns of `Cliff1DEnv`, stepped together."""

    world_class = Cliff1DEnv


def _quadrature(theta: float, std: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Legendre nodes and weights on [0, 1], in short panels where the integrand bends.

    It bends around theta, on the scale of std, and just below the cliff, on the scale of std / k.
    """
    if not np.isfinite(theta):
        raise ValueError(f"theta={theta} must be a finite number: it is the mean position.")
    if not (np.isfinite(std) and std > 0):
        raise ValueError(f"std={std} must be a finite number above 0: it is in units of x.")
    around_theta = np.clip(theta + std * np.arange(-10, 11), 0.0, 1.0)
    below_cliff = 1 - 0.5 ** np.arange(30)
    bounds = np.unique(np.concatenate([around_theta, below_cliff, [1.0]]))
    nodes, weights = np.polynomial.legendre.leggauss(24)
    half = np.diff(bounds)[:, np.newaxis] / 2
    return (bounds[:-1, np.newaxis] + half * (nodes + 1)).ravel(), (half * weights).ravel()


def _single(values: ArrayLike, name: str) -> float:
    array = np.asarray(values, dtype=np.float64)
    if array.size != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected one number: x is one number.")
    return array.item()


gym.register(
    id="pkpo/Cliff1D-v0",
    entry_point="pkpo_envs.cliff_1d:Cliff1DEnv",
    vector_entry_point="pkpo_envs.cliff_1d:Cliff1DVectorEnv",
)
