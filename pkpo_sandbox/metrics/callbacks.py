"""What a policy achieves while it trains: callbacks for any Stable-Baselines3 algorithm.

    GroupEvalCallback     eval/max_at_{k}, eval/ep_rew_mean      estimated on groups of its own
    SolveRateCallback     rollout/solved                         problems solved so far in training
    ExactCallback         exact/max_at_{k}..., exact/entropy     from the world's exact solution
    EntropyCallback       rollout/entropy                        of any policy, where it acts

They write to the algorithm's logger and never dump it: their latest values stand in the next row of
the log. None of them changes what is learned: a run with them is bit for bit the run without.
``eval_freq`` counts calls of the callback, one for each step of the vectorised env, as in SB3's
``EvalCallback``. In a world of one-step episodes with a column for each attempt, that is updates.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import (
    VecEnv,
    sync_envs_normalization,
    unwrap_vec_normalize,
)

from pkpo_envs.columns import make_world
from pkpo_sandbox.algorithm.groups import check_groups, make_group_env
from pkpo_sandbox.algorithm.playing import EpisodeReturns, count_problems
from pkpo_sandbox.algorithm.statistics import group_statistics
from pkpo_sandbox.algorithm.streams import stream_seed
from pkpo_sandbox.metrics.evaluation import evaluate_groups, gpus
from pkpo_sandbox.metrics.exact import (
    distribution_parameters,
    exact_solution,
    exact_statistics,
    problem_observations,
    refuse_without_distribution,
)
from pkpo_sandbox.transforms import powers_of_two


class GroupEvalCallback(BaseCallback):
    """Estimates max@k of the current policy on fresh groups, apart from the training.

    Records ``eval/ep_rew_mean`` and ``eval/max_at_{k}``, the unbiased estimate from each group
    (``transforms.max_at_k``), averaged over groups, in units of reward; where returns are 0 or 1 it
    is pass@k. An evaluation's problems and samples follow from ``seed`` and the timesteps so far.

    :param eval_env: a Gymnasium id with its module ("pkpo_envs:pkpo/Bandit-v0"), or a ``VecEnv``
        other than the training env, which ``evaluate_groups`` takes; wrapped in a
        ``VecNormalize`` with ``training=False`` if the training env has one
    :param n_groups: problems in an evaluation, at least 1
    :param group_size: attempts at each, at least 2
    :param eval_freq: calls between evaluations, at least 1
    :param ks: 1..group_size each; None for the powers of two
    :param deterministic: see :func:`~pkpo_sandbox.metrics.evaluation.evaluate_groups`
    :param seed: at least 0
    :raises ValueError: if an argument is out of range, or, when training starts, the envs differ
    """

    last_returns: torch.Tensor  #: (n_groups, group_size) float64 of the latest evaluation

    def __init__(
        self,
        eval_env: str | VecEnv,
        n_groups: int = 16,
        group_size: int = 16,
        eval_freq: int = 100,
        ks: Sequence[int] | None = None,
        deterministic: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_groups(n_groups, group_size)
        _check_counts(eval_freq=[eval_freq])
        self.n_groups, self.group_size = n_groups, group_size
        self.eval_freq, self.deterministic, self.seed = eval_freq, deterministic, seed
        self.ks = _check_counts(ks=powers_of_two(group_size) if ks is None else ks)
        if max(self.ks) > group_size:
            raise ValueError(
                f"k={max(self.ks)} exceeds group_size={group_size}, and no unbiased estimate exists"
                " for it: raise group_size, or leave this k out"
            )
        if isinstance(eval_env, str):
            eval_env = make_group_env(eval_env, n_groups, group_size)
        self.eval_env = eval_env

    def _init_callback(self) -> None:
        if self.eval_env.unwrapped is self.training_env.unwrapped:
            raise ValueError(
                "eval_env is the training env, whose episodes it would cut off: make another"
            )
        self.eval_env = self.model._wrap_env(self.eval_env)
        check_for_correct_spaces(
            self.eval_env, self.model.observation_space, self.model.action_space
        )
        normalizer = unwrap_vec_normalize(self.eval_env)
        if (normalizer is None) != (self.model.get_vec_normalize_env() is None):
            raise ValueError(
                "of the training env and eval_env, one is wrapped in a VecNormalize and one is not:"
                " the policy would see other observations, so wrap both"
            )
        if normalizer is not None and normalizer.training:
            raise ValueError("eval_env's VecNormalize has training=True: set it to False")

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            if self.model.get_vec_normalize_env() is not None:
                sync_envs_normalization(self.training_env, self.eval_env)
            self.last_returns = evaluate_groups(
                self.model,
                self.eval_env,
                self.n_groups,
                self.group_size,
                deterministic=self.deterministic,
                seed=stream_seed(self.seed, "evaluation", self.num_timesteps),
            )
            for name, value in group_statistics(self.last_returns, self.ks).items():
                self.logger.record(f"eval/{name}", value.item())
        return True


class SolveRateCallback(BaseCallback):
    """Counts the problems that training has ever solved.

    Records ``rollout/solved``, their share in [0, 1], which never falls. A problem is solved by an
    attempt whose return, summed in float64 and without ``VecNormalize``'s scaling, reaches
    ``threshold``. The attempt's problem is ``info["problem"]`` of its last step (0 if the env has
    one problem). Only attempts that are trained on count, not the surplus ones that idle columns of
    a group env play. An episode that ``learn`` finds under way counts from there.

    :ivar solved: (n_problems,) bool, kept from one ``learn`` to the next. To resume in another
        process, save it (``np.save``) and give it to the constructor there.
    :param threshold: the return of a solved problem, in units of reward; leave room for rounding
        if it is a sum of fractions
    :param n_problems: None to ask the env, where an env without problems has one
    :param solved: where to resume
    :raises ValueError: if ``n_problems``, ``solved`` and the env contradict each other
    """

    solved: NDArray[np.bool_]

    def __init__(
        self,
        threshold: float = 1.0,
        n_problems: int | None = None,
        solved: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        if n_problems is not None:
            _check_counts(n_problems=[n_problems])
        self.n_problems = n_problems
        if solved is not None:
            self.solved = np.array(solved, dtype=bool)

    def _init_callback(self) -> None:
        if self.n_problems is None:
            self.n_problems = count_problems(self.training_env)
        if not hasattr(self, "solved"):
            self.solved = np.zeros(self.n_problems, dtype=bool)
        if self.solved.shape != (self.n_problems,):
            raise ValueError(
                f"solved has shape {self.solved.shape}, but there are {self.n_problems} problems: "
                "resume on the same problems, or start without it"
            )

    def _on_training_start(self) -> None:
        self._episode_returns = EpisodeReturns(self.training_env)
        self._n_solved = int(self.solved.sum())

    def _on_step(self) -> bool:
        if self._n_solved < len(self.solved):
            ended = self.locals["dones"]
            playing = self.locals.get("playing", np.ones(len(ended), dtype=bool))  # idle: of PKPO
            returns = self._episode_returns.after_step(self.locals["rewards"], ended, playing)
            won = np.flatnonzero(ended & playing & (returns >= self.threshold))
            if won.size:
                self._solve(won.tolist())
        self.logger.record("rollout/solved", self._n_solved / len(self.solved))
        return True

    def _solve(self, columns: list[int]) -> None:
        """Note that the attempts which ended in these columns succeeded."""
        infos, n_problems = self.locals["infos"], len(self.solved)
        try:
            named = [infos[column]["problem"] for column in columns] if n_problems > 1 else [0]
        except KeyError:
            raise ValueError(
                f"there are {n_problems} problems, but the env's infos do not say which one was "
                'attempted: put its number into info["problem"] at every step'
            ) from None
        problems = np.array(named)
        outside = (problems < 0) | (problems >= n_problems)
        if outside.any():
            raise ValueError(
                f"the env attempted problem {problems[outside][0]}, but there are {n_problems} of "
                "them, counted from 0: give the right n_problems"
            )
        self.solved[problems] = True
        self._n_solved = int(self.solved.sum())


class ExactCallback(BaseCallback):
    """Exact values of the current policy, in a world that knows them: no sampling, no noise.

    Records ``exact/max_at_{k}`` and, for each other float of ``world.exact(k, ...)`` whose name
    starts with max_at_k, its like (max_at_k_hard is ``exact/max_at_{k}_hard``). And
    ``exact/entropy``, the mean over all decisions of the action distribution's entropy, in nats
    (differential, so possibly negative, for Gaussian actions).

    :param world: a Gymnasium env, or its id with its module, built like the training env's, but not
        itself in training; see ``pkpo_envs.ProblemEnv`` for ``exact``
    :param ks: at least 1 each
    :param eval_freq: calls between two records, at least 1
    :raises ValueError: if the world has no exact solution, an argument is out of range, or, when
        training starts, the policy has no action distribution or plays in other spaces
    """

    def __init__(
        self,
        world: str | gymnasium.Env,
        ks: Sequence[int] = (1, 2, 4, 8, 16),
        eval_freq: int = 100,
    ) -> None:
        super().__init__()
        _check_counts(eval_freq=[eval_freq])
        self.ks, self.eval_freq = _check_counts(ks=ks), eval_freq
        if isinstance(world, str):
            made = make_world(world, {})
            if made is None:
                raise ValueError(
                    f"{world} has no exact solution: only a vector entry point is registered"
                )
            world = made
        self.world = world
        self._exact = exact_solution(self.world)

    def _init_callback(self) -> None:
        self._observations = problem_observations(self.model, self.world)
        distribution_parameters(
            self.model, self._observations
        )  # refuses a policy without distribution

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            parameters = distribution_parameters(self.model, self._observations)
            for name, value in exact_statistics(self._exact, self.ks, parameters).items():
                self.logger.record(f"exact/{name}", value)
        return True


class EntropyCallback(BaseCallback):
    """The entropy of the policy where it acts, in any env.

    Records ``rollout/entropy``, the mean over the columns of the action distribution's entropy at
    the observations that the latest actions answered, in nats; of squashed Gaussians, which have
    no closed form, minus the log-probability of a sample.

    :param eval_freq: calls between two records, at least 1
    :raises ValueError: if ``eval_freq`` is out of range, or the policy has no action distribution
    """

    def __init__(self, eval_freq: int = 100) -> None:
        super().__init__()
        _check_counts(eval_freq=[eval_freq])
        self.eval_freq = eval_freq

    def _init_callback(self) -> None:
        refuse_without_distribution(self.model, "its entropy is not known")

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            policy: Any = self.model.policy
            observations: Any = self.model._last_obs
            with torch.no_grad(), torch.random.fork_rng(gpus(self.model)):
                distribution = policy.get_distribution(policy.obs_to_tensor(observations)[0])
                entropy = distribution.entropy()
                if entropy is None:
                    entropy = -distribution.log_prob(distribution.sample())
            self.logger.record("rollout/entropy", entropy.mean().item())
        return True


def _check_counts(**values: Sequence[int]) -> tuple[int, ...]:
    """Integers of at least 1, at least one of them."""
    ((name, numbers),) = values.items()
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise ValueError(f"{name}={list(numbers)} must be of integers of at least 1")
    return tuple(numbers)
