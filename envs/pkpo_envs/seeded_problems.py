"""Problems for an environment that has none: each problem is a seeded start."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from pkpo_envs.checks import check_problems
from pkpo_envs.conventions import problems_of


class SeededProblems(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """
    ## Description

    Adds problems to any Gymnasium environment. Problem i is the start of the environment with the
    i-th of `n_problems` seeds. After the start the environment gets an independent random
    generator. So all attempts at a problem start in the same state, and then differ.

    ## Observation

    The environment's.

    ## Action

    The environment's.

    ## Reward

    The environment's.

    ## Problems

    There are `n_problems` problems. `reset` draws one uniformly, or starts a chosen one with
    `options={"problem": i}`. Other options are passed to the environment. `info["problem"]` names
    the problem at every step. The argument `seed` alone decides the seeds of the problems. So all
    copies have the same problems, and another `seed` makes other problems, for example a test set.
    `reset(seed=...)` seeds the rest: the draws of problems, and the randomness after a start.

    Only the randomness from the environment's `np_random` after `reset` is independent. This has
    limits:

    - An environment that seeds another generator or a simulator in `reset` repeats its randomness
      in every attempt.
    - So does an environment that draws later events at the start, such as a shuffled deck.
    - An environment with unseeded randomness has no fixed starts.
    - An environment that always starts in the same state has `n_problems` equal problems.

    ## Exact solution

    None.

    ## Reference

    Pass@K Policy Optimization, arXiv 2505.15201, for groups of attempts at one problem.
    """

    def __init__(self, env: gym.Env[Any, Any], n_problems: int, seed: int = 0) -> None:
        for name, value, bound in (("n_problems", n_problems, 1), ("seed", seed, 0)):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and value >= bound):
                raise ValueError(f"{name}={value!r} must be an integer of at least {bound}.")
        own = problems_of(env)
        if own is not None and own > 1:
            raise ValueError(f"{env} has {own} problems of its own: leave SeededProblems out.")
        RecordConstructorArgs.__init__(self, n_problems=n_problems, seed=seed)
        super().__init__(env)
        self.n_problems, self.seed = int(n_problems), int(seed)
        self._problem = 0
        self._rng = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an attempt at `options["problem"]`, or at a problem drawn at random."""
        options = dict(options or {})
        problem = None
        if "problem" in options:
            problem = int(check_problems(options.pop("problem"), self.n_problems, 1)[0])
        if seed is not None:
            # Environments use the bare seed, so this stream differs from theirs.
            self._rng = np.random.default_rng([seed, 1])
        if problem is None:
            problem = int(self._rng.integers(self.n_problems))
        self._problem = problem
        arguments: dict[str, Any] = {"options": options} if options else {}
        observation, info = self.env.reset(seed=self._start(problem), **arguments)
        self.env.unwrapped.np_random = self._rng.spawn(1)[0]
        return observation, {**(info or {}), "problem": problem}

    def _start(self, problem: int) -> int:
        """Return the seed of a problem's start. Some environments need a seed below 2**31."""
        state = np.random.SeedSequence([self.seed, problem]).generate_state(1)
        return int(state[0]) % 2**31

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step of the attempt."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "problem": self._problem}
