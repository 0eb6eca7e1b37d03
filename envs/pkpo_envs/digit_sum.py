"""Digits that must add up to a target, and the exact pass@k of a policy that chooses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from pkpo_envs.checks import check_distribution, check_target
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.rendering import BEST, GAINED, LOST, Attempts, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_DIGITS = 15  # 10**15 sequences, which float64 still represents exactly


class DigitSumEnv(ProblemEnv):
    """
    ## Description

    A world of several steps: the policy chooses `n_digits` digits one by one, and their sum must be
    the target. Targets in the middle have many solutions. The targets 0 and `9 * n_digits` have one
    solution each, so every digit must be right.

    ## Observation

    `MultiDiscrete([n_digits + 1, n_problems, n_problems])`: how many digits have been chosen, their
    sum, and the target.

    ## Action

    `Discrete(10)`: the next digit.

    ## Reward

    0 until the last digit, then 1 if the sum is the target, else 0. The last digit ends the
    episode, so every episode has `n_digits` steps.

    ## Problems

    The targets 0, 1, ..., `9 * n_digits`. `n_solutions` counts the sequences of digits that add up
    to each of them.

    ## Exact solution

    `success`: the probability p that a policy reaches each target. It is computed by dynamic
    programming over the digits, from the policy's probabilities at all `decision_observations`.
    `pass_at_k`: the mean over the targets of 1 - (1 - p)**k. The best policy reaches every target,
    so its pass@k is 1. The uniform policy has p = n_solutions / 10**n_digits.

    ## Reference

    None. This world was made for this project: it is like the problem set, but has several steps.
    """

    stackable = True

    def __init__(self, n_digits: int = 3, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        integer = isinstance(n_digits, int | np.integer) and not isinstance(n_digits, bool)
        if not (integer and 1 <= n_digits <= MAX_DIGITS):
            raise ValueError(
                f"n_digits={n_digits!r} must be an integer from 1 to {MAX_DIGITS}: it is the number"
                " of steps of an episode."
            )
        self.n_digits = int(n_digits)
        self.n_problems = 9 * self.n_digits + 1
        self.n_solutions = np.ones(1, dtype=np.int64)
        for _ in range(self.n_digits):
            self.n_solutions = np.convolve(self.n_solutions, np.ones(10, dtype=np.int64))
        self.observation_space = spaces.MultiDiscrete(
            [self.n_digits + 1, self.n_problems, self.n_problems]
        )
        self.action_space = spaces.Discrete(10)

    def start(self, problems: NDArray[np.int64]) -> NDArray[np.int64]:
        nothing = np.zeros_like(problems)
        return np.stack([nothing, nothing, problems], axis=-1)

    def advance(
        self, state: NDArray[np.int64], actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        chosen, total, target = state.T
        chosen, total = chosen + 1, total + actions
        ended = chosen == self.n_digits
        rewards = (ended & (total == target)).astype(np.float64)
        return np.stack([chosen, total, target], axis=-1), rewards, ended

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw sums over targets, equal on the line, and bars: the share that met each target."""
        _, totals, targets = attempts.states.T
        met = totals == targets
        shown = {"under way": ("0.5", ~attempts.ended)}
        shown |= {"missed": (LOST, attempts.ended & ~met), "met": (GAINED, attempts.ended & met)}
        for label, (color, rows) in shown.items():
            axes.plot(targets[rows], totals[rows], "o", color=color, alpha=0.4, label=label)
        axes.axline((0, 0), slope=1, color=BEST, linewidth=0.8)
        limits = (-0.03 * self.n_problems, 1.03 * self.n_problems)
        axes.set(xlabel="target", ylabel="sum of the digits", xlim=limits, ylim=limits)
        share = axes.twinx()
        shares = np.nan_to_num(attempts.mean_returns(self.n_problems))
        share.bar(range(self.n_problems), shares, 1.0, color=GAINED, alpha=0.25)
        share.set(ylabel="share of attempts that met it (bars)", ylim=(-0.03, 1.03), zorder=-1)
        axes.patch.set_visible(False)  # the bars are behind
        legend(axes)

    def decision_observations(self) -> NDArray[np.int64]:
        """Return all observations (n_decisions, 3) at which a digit is chosen.

        The order is by target, then by number of digits, then by sum.
        """
        steps = [np.arange(9 * chosen + 1) for chosen in range(self.n_digits)]
        chosen = np.repeat(np.arange(self.n_digits), [len(totals) for totals in steps])
        progress = np.stack([chosen, np.concatenate(steps)], axis=-1)
        targets = np.repeat(np.arange(self.n_problems), len(progress))
        return np.column_stack([np.tile(progress, (self.n_problems, 1)), targets])

    def success(self, policy: ArrayLike) -> NDArray[np.float64]:
        """The probability (n_problems,) that a policy (n_decisions, 10) reaches each target.

        The policy's rows are its distributions at the `decision_observations`.
        """
        per_target = self.n_digits + 9 * self.n_digits * (self.n_digits - 1) // 2
        policy = check_distribution(policy, (self.n_problems * per_target, 10))
        policy = policy.reshape(self.n_problems, per_target, 10)
        sums, first = np.ones((self.n_problems, 1)), 0  # P(sum | target) after 0, 1, ... digits
        for _ in range(self.n_digits):
            n_sums = sums.shape[1]
            joint = sums[:, :, np.newaxis] * policy[:, first : first + n_sums]
            first += n_sums
            sums = np.zeros((self.n_problems, n_sums + 9))
            for digit in range(10):
                sums[:, digit : digit + n_sums] += joint[:, :, digit]
        # Within the tolerance of a distribution, float32 may round a probability above 1.
        return np.minimum(sums.diagonal(), 1.0)

    def pass_at_k(self, policy: ArrayLike, k: int) -> float:
        """The mean over the targets of the pass@k of a policy (n_decisions, 10)."""
        k, success = check_target(k), self.success(policy)
        with np.errstate(divide="ignore"):  # p = 1: log(0), and pass@k is 1
            return float(np.mean(-np.expm1(k * np.log1p(-success))))

    def exact(self, k: int, probabilities: ArrayLike) -> dict[str, Any]:
        """Facts about the policy with these probabilities (n_decisions, 10).

        `max_at_k` is its pass@k, `max_at_k_star` that of the best policy, and `success` the
        probability of each target in one attempt.
        """
        return {
            "success": self.success(probabilities).tolist(),
            "max_at_k": self.pass_at_k(probabilities, k),
            "max_at_k_star": 1.0,
        }


class DigitSumVectorEnv(ProblemVectorEnv):
    """Many columns of `DigitSumEnv`, stepped together."""

    world_class = DigitSumEnv


gym.register(
    id="pkpo/DigitSum-v0",
    entry_point="pkpo_envs.digit_sum:DigitSumEnv",
    vector_entry_point="pkpo_envs.digit_sum:DigitSumVectorEnv",
    reward_threshold=1.0,
)
