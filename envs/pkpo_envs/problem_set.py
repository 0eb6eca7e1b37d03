"""A set of problems, few of them easy, and the exact pass@k of a policy on it."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from pkpo_envs.checks import check_distribution, check_target
from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.rendering import BEST, GAINED, GROUND, LOST, Attempts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LARGEST = np.iinfo(np.int64).max


class ProblemSetEnv(ProblemEnv):
    """
    ## Description

    A contextual bandit with one correct answer per problem. All easy problems have the same answer.
    Each hard problem has a different answer. A policy that generalises from the easy problems stops
    exploring, so training for pass@1 stalls. Training for pass@k rewards diverse answers.

    ## Observation

    `Discrete(n_problems)`: the problem.

    ## Action

    `Discrete(n_answers)`: the answer.

    ## Reward

    1 if the answer is correct, else 0.

    ## Problems

    There are `n_problems` problems. The last `round(hard_fraction * n_problems)` are hard (`round`
    rounds an exact half to the even number). Answer 0 is correct for the easy problems, and answers
    1, 2, ... for the hard problems in turn. A hard problem never has answer 0, even if all problems
    are hard. So `n_answers` must be greater than the number of hard problems. `answers` holds the
    correct answers, and `hard` marks the hard problems.

    ## Exact solution

    `pass_at_k`: the mean over the problems of 1 - (1 - p)**k, with p the probability of the correct
    answer. The best policy answers every problem correctly, so its pass@k is 1.

    ## Reference

    Pass@K Policy Optimization, arXiv 2505.15201, for the stall. This world is a small example.
    """

    stackable = True

    def __init__(
        self,
        n_problems: int = 128,
        n_answers: int = 128,
        hard_fraction: float = 0.75,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        for name, size in (("n_problems", n_problems), ("n_answers", n_answers)):
            if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
                raise ValueError(f"{name}={size!r} must be an integer of at least 1.")
            if size > LARGEST:
                raise ValueError(f"{name}={size} must be at most {LARGEST}: NumPy counts no more.")
        number = isinstance(hard_fraction, Real) and not isinstance(hard_fraction, bool)
        if not (number and 0 <= hard_fraction <= 1):
            raise ValueError(f"hard_fraction={hard_fraction!r} must be a number from 0 to 1.")
        n_hard = round(hard_fraction * n_problems)
        if n_hard > n_answers - 1:
            raise ValueError(
                f"{n_hard} hard problems need an answer each, and never answer 0, which is for easy"
                f" ones, but n_answers={n_answers}: raise n_answers to at least {n_hard + 1}, or "
                "lower hard_fraction or n_problems."
            )
        self.n_problems = int(n_problems)
        self.n_answers = int(n_answers)
        self.hard = np.arange(self.n_problems) >= self.n_problems - n_hard
        self.answers = np.cumsum(self.hard)
        self.observation_space = spaces.Discrete(self.n_problems)
        self.action_space = spaces.Discrete(self.n_answers)

    def reward(
        self, problems: NDArray[np.int64], actions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return (actions == self.answers[problems]).astype(np.float64)

    def draw(self, axes: Axes, attempts: Attempts) -> None:
        """Draw one cell per problem: the share of correct attempts, and a dot if it is above 0."""
        from matplotlib.colors import LinearSegmentedColormap

        columns = int(np.ceil(np.sqrt(1.6 * self.n_problems)))
        rows = -(-self.n_problems // columns)
        shares, cells = attempts.mean_returns(self.n_problems), np.full(rows * columns, np.nan)
        cells[: self.n_problems] = np.nan_to_num(shares, nan=-1)
        row, column = np.divmod(np.flatnonzero(shares > 0), columns)
        shades = LinearSegmentedColormap.from_list("shares", ["white", GAINED])
        shades = shades.with_extremes(under=GROUND, bad="none")
        mesh = axes.pcolormesh(
            cells.reshape(rows, columns),
            vmin=0,
            vmax=1,
            cmap=shades,
            edgecolors="0.6",
            linewidth=0.5,
        )
        axes.plot(column + 0.5, row + 0.5, ".", color=BEST, markersize=4)
        if left := self.n_problems % columns:  # the last row's cells beyond the last problem
            axes.fill_between([left + 0.02, columns + 1], rows - 0.98, rows + 1, color="white")
        row, column = divmod(int((~self.hard).sum()), columns)  # the first hard problem's
        axes.plot(
            [0, column, column, columns], [row + 1, row + 1, row, row], color=LOST, linewidth=2
        )
        axes.figure.colorbar(mesh, ax=axes, label="share of correct attempts")
        axes.spines[:].set_visible(False)
        axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", xticks=[], yticks=[])
        axes.set_xlabel(
            "problems, easy above the line, hard below\ndot: solved; grey: not attempted"
        )

    def pass_at_k(
        self, policy: ArrayLike, k: int, problems: Literal["hard", "easy"] | None = None
    ) -> float:
        """The mean pass@k of a policy (n_problems, n_answers), on all, hard or easy problems."""
        policy = check_distribution(policy, (self.n_problems, self.n_answers))
        k = check_target(k)
        subsets = {None: np.ones_like(self.hard), "hard": self.hard, "easy": ~self.hard}
        if problems not in subsets:
            raise ValueError(f"problems={problems!r} must be 'hard', 'easy' or None, for all.")
        chosen = np.flatnonzero(subsets[problems])
        if chosen.size == 0:
            raise ValueError(
                f"There are no {problems} problems to average over: change hard_fraction."
            )
        # Within the tolerance of a distribution, float32 may round a probability above 1.
        correct = np.minimum(policy[chosen, self.answers[chosen]], 1.0)
        with np.errstate(divide="ignore"):  # p = 1: log(0), and pass@k is 1
            return float(np.mean(-np.expm1(k * np.log1p(-correct))))

    def exact(self, k: int, probabilities: ArrayLike) -> dict[str, Any]:
        """Facts about the policy with these probabilities (n_problems, n_answers).

        `max_at_k` is its pass@k, and `max_at_k_star` the pass@k of the best policy.
        `max_at_k_hard` is its pass@k on the hard problems, if there are any.
        """
        facts = {"max_at_k": self.pass_at_k(probabilities, k), "max_at_k_star": 1.0}
        if self.hard.any():
            facts["max_at_k_hard"] = self.pass_at_k(probabilities, k, "hard")
        return facts


class ProblemSetVectorEnv(ProblemVectorEnv):
    """Many columns of `ProblemSetEnv`, stepped together."""

    world_class = ProblemSetEnv


gym.register(
    id="pkpo/ProblemSet-v0",
    entry_point="pkpo_envs.problem_set:ProblemSetEnv",
    vector_entry_point="pkpo_envs.problem_set:ProblemSetVectorEnv",
    reward_threshold=1.0,
)
