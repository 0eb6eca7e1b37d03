"""A bandit with safe, risky and long-shot arms, and its best policy for the best of k attempts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import scipy
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from pkpo_envs.checks import check_distribution, check_target
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.rendering import GAINED, GROUND, Attempts, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST_GAP = 1e-4  # between `best_policy` and the greatest max@k, in units of the payouts' spread


class BanditEnv(ProblemEnv):
    """
    ## Description

    A one-step bandit. By default a safe arm always pays 0.5, a risky arm pays 0.8 with probability
    0.4, and a long shot pays 1.0 with probability 0.1. The safe arm has the best mean, and the long
    shot has the best maximum of many attempts. For a k in between the best policy mixes the arms.

    ## Observation

    `Discrete(1)`: always 0.

    ## Action

    `Discrete(n_arms)`: the arm.

    ## Reward

    `payouts[arm]` with probability `probabilities[arm]`, else 0.

    ## Problems

    One.

    ## Exact solution

    `max_at_k`, `max_at_k_gradient` and `best_policy`. Let v_0 < ... < v_m be the outcomes and F the
    distribution function of a policy's reward. F is linear in the policy, and
    max@k = v_m - sum_j (v_(j+1) - v_j) F(v_j)^k is concave in the policy.

    ## Reference

    Pass@K Policy Optimization, arXiv 2505.15201, for max@k. The arms are this project's.
    """

    stackable = True

    def __init__(
        self,
        payouts: Sequence[float] = (0.5, 0.8, 1.0),
        probabilities: Sequence[float] = (1.0, 0.4, 0.1),
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.payouts = _numbers("payouts", payouts)
        self.probabilities = _numbers("probabilities", probabilities)
        self.n_arms = len(self.payouts)
        if self.n_arms == 0 or self.n_arms != len(self.probabilities):
            raise ValueError(
                f"There are {self.n_arms} payouts and {len(self.probabilities)} probabilities: "
                "give both for each arm, and at least one arm."
            )
        arms = zip(self.payouts, self.probabilities, strict=True)
        for arm, (payout, probability) in enumerate(arms):
            if not np.isfinite(payout):
                raise ValueError(f"The payout {payout} of arm {arm} must be a finite number.")
            if not 0 <= probability <= 1:
                raise ValueError(f"The probability {probability} of arm {arm} must be in [0, 1].")
        self._best: dict[int, NDArray[np.float64]] = {}
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(self.n_arms)

    def reward(
        self, problems: NDArray[np.int64], actions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        pays = self.np_random.random(len(actions)) < self.probabilities[actions]
        return np.where(pays, self.payouts[actions], 0.0)

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw each arm's payout and probability, how often it was chosen and how often it paid."""
        share = 1 / max(len(attempts), 1)
        arms, paid = attempts.actions, attempts.returns != 0
        for color, label, chosen in ((GROUND, "unpaid", arms), (GAINED, "paid", arms[paid])):
            heights = share * np.bincount(chosen, minlength=self.n_arms)
            axes.bar(range(self.n_arms), heights, 0.7, color=color, label=label)
        odds = zip(self.payouts, self.probabilities, strict=True)
        axes.set_xticks(
            range(self.n_arms), [f"{payout:g}\np = {chance:.3g}" for payout, chance in odds]
        )
        axes.set(xlabel="an arm's payout and its probability p", ylabel="share of the attempts")
        axes.set_ylim(0, 1)
        legend(axes)

    def max_at_k(self, policy: ArrayLike, k: int) -> float:
        """The expected maximum of k rewards of a policy (n_arms,)."""
        policy, k = check_distribution(policy, (self.n_arms,)), check_target(k)
        outcomes, below = self._outcomes()
        return float(outcomes[-1] - np.diff(outcomes) @ (below @ policy) ** k)

    def max_at_k_gradient(self, policy: ArrayLike, k: int) -> NDArray[np.float64]:
        """The partial derivatives (n_arms,) of `max_at_k` in the probabilities of a policy."""
        policy, k = check_distribution(policy, (self.n_arms,)), check_target(k)
        outcomes, below = self._outcomes()
        return -k * (np.diff(outcomes) * (below @ policy) ** (k - 1)) @ below

    def best_policy(self, k: int) -> NDArray[np.float64]:
        """A policy (n_arms,) with the greatest `max_at_k`, to about 1e-7.

        It minimises sum_j (v_(j+1) - v_j) F(v_j)^k. The k-th root of this sum is a k-norm of F. It
        is convex too, and unlike the sum it neither vanishes nor flattens as k grows. max@k is
        concave, so no policy is better by more than the steepest slope towards a single arm.

        Raises:
            RuntimeError: if this slope is above 1e-4 of the payouts' spread. This can happen with a
                very large k and an arm that rarely pays.
        """
        k = check_target(k)
        if k not in self._best:
            self._best[k] = self._find_best_policy(k)
        return self._best[k].copy()

    def _find_best_policy(self, k: int) -> NDArray[np.float64]:
        outcomes, below = self._outcomes()
        gaps = np.diff(outcomes)
        scaled = (gaps / gaps.sum())[:, np.newaxis] ** (1 / k) * below

        def norm_and_gradient(policy: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            values = scaled @ policy
            greatest = values.max(initial=0.0)
            if greatest == 0:
                return 0.0, np.zeros(self.n_arms)
            norm = greatest * ((values / greatest) ** k).sum() ** (1 / k)
            return norm, (values / norm) ** (k - 1) @ scaled

        found = scipy.optimize.minimize(
            norm_and_gradient,
            np.full(self.n_arms, 1 / self.n_arms),
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * self.n_arms,
            constraints={"type": "eq", "fun": lambda policy: policy.sum() - 1},
            options={"ftol": 1e-16, "maxiter": 1000},
        )
        # found.success is no test: at the optimum rounding errors can make the line search fail.
        policy = found.x / found.x.sum()
        slopes = self.max_at_k_gradient(policy, k)
        gap, spread = slopes.max() - slopes @ policy, gaps.sum()
        if not gap <= _LARGEST_GAP * spread:
            raise RuntimeError(
                f"The best policy for k={k} was not found: another may be better by {gap:.2g}, more"
                f" than {_LARGEST_GAP:g} of the payouts' spread {spread:g} ({found.message}). Lower"
                " k, or leave out arms that hardly ever pay."
            )
        return policy

    def exact(self, k: int, probabilities: ArrayLike) -> dict[str, Any]:
        """Facts about the policy with these probabilities (1, n_arms), and about the best one."""
        policy = check_distribution(probabilities, (1, self.n_arms))[0]
        best = self.best_policy(k)
        return {
            "probability": policy.tolist(),
            "probability_star": best.tolist(),
            "max_at_k": self.max_at_k(policy, k),
            "max_at_k_star": self.max_at_k(best, k),
        }

    def _outcomes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the outcomes v_0 < ... < v_m, and P(reward <= v_j | arm), j < m, (m, n_arms)."""
        outcomes = np.unique(np.append(self.payouts, 0.0))
        level = outcomes[:-1, np.newaxis]
        below = np.where(self.payouts <= level, self.probabilities, 0.0)
        return outcomes, below + np.where(level >= 0, 1 - self.probabilities, 0.0)


class BanditVectorEnv(ProblemVectorEnv):
    """Many columns of `BanditEnv`, stepped together."""

    world_class = BanditEnv


def _numbers(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    with suppress(ValueError):  # sequences of unequal lengths are not an array
        array = np.asarray(values)
        if array.ndim == 1 and array.dtype.kind in "iuf":
            return array.astype(np.float64)
    raise ValueError(f"{name}={values!r} must be a sequence of real numbers, one for each arm.")


gym.register(
    id="pkpo/Bandit-v0",
    entry_point="pkpo_envs.bandit:BanditEnv",
    vector_entry_point="pkpo_envs.bandit:BanditVectorEnv",
)
