"""Callbacks that log metrics during training, for any Stable-Baselines3 algorithm.

    GroupEvalCallback     eval/max_at_{k}, eval/ep_rew_mean      estimates on separate groups
    SolveRateCallback     rollout/solved                         problems solved so far in training
    ExactCallback         exact/max_at_{k}..., exact/entropy     from the world's exact solution
    EntropyCallback       rollout/entropy                        at the training observations

They record values in the algorithm's logger and never dump it: the next row of the log has their
latest values. They do not change training: a run is bit for bit the same with and without them.
``eval_freq`` counts calls of the callback, one per step of the vector env, as in SB3's
``EvalCallback``. If episodes have one step and each attempt has a column, it counts iterations.
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
    """Estimates max@k of the current policy on new groups, separately from training.

    Records ``eval/ep_rew_mean`` and ``eval/max_at_{k}``, in units of reward. The latter is the mean
    over groups of the unbiased estimate ``transforms.max_at_k``. With returns of 0 and 1 it is
    pass@k. ``seed`` and the timesteps so far determine an evaluation's problems and samples.

    :param eval_env: a Gymnasium id with its module ("pkpo_envs:pkpo/Bandit-v0"), or a ``VecEnv``
        that ``evaluate_groups`` accepts and that is not the training env; wrapped in a
        ``VecNormalize`` with ``training=False`` if the training env has a ``VecNormalize``
    :param n_groups: groups in an evaluation, at least 1
    :param group_size: attempts in a group, at least 2
    :param eval_freq: calls between two evaluations, at least 1
    :param ks: each in 1..group_size; None for the powers of two
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
                f"k={max(self.ks)} exceeds group_size={group_size}, so no unbiased estimate exists"
                " for it: increase group_size, or leave this k out"
            )
        if isinstance(eval_env, str):
            eval_env = make_group_env(eval_env, n_groups, group_size)
        self.eval_env = eval_env

    def _init_callback(self) -> None:
        if self.eval_env.unwrapped is self.training_env.unwrapped:
            raise ValueError(
                "eval_env is the training env: an evaluation would cut off its episodes; give "
                "another env"
            )
        self.eval_env = self.model._wrap_env(self.eval_env)
        check_for_correct_spaces(
            self.eval_env, self.model.observation_space, self.model.action_space
        )
        normalizer = unwrap_vec_normalize(self.eval_env)
        if (normalizer is None) != (self.model.get_vec_normalize_env() is None):
            raise ValueError(
                "only one of the training env and eval_env is wrapped in a VecNormalize, so the "
                "policy would see different observations: wrap both"
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
    """Logs the solve rate: the share of problems solved so far in training.

    Records ``rollout/solved``, in [0, 1]. It never falls. A problem is solved if the return of an
    attempt at it reaches ``threshold``. The return is summed in float64, without ``VecNormalize``'s
    scaling. The problem of an attempt is ``info["problem"]`` of its last step (0 if the env has one
    problem). Only attempts used in training count, not the episodes of idle columns. If an episode
    has begun before ``learn``, only its steps within ``learn`` count.

    :ivar solved: (n_problems,) bool, kept from one ``learn`` to the next. To resume in another
        process, save it (``np.save``) and pass it to the constructor there.
    :param threshold: the return of a solved problem, in units of reward; leave room for rounding
        if the return is a sum of fractions
    :param n_problems: None to ask the env; an env that declares no problems counts as one problem
    :param solved: problems that are already solved, to resume; None for none
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
            playing = self.locals.get("playing", np.ones(len(ended), dtype=bool))  # from PKPO
            returns = self._episode_returns.after_step(self.locals["rewards"], ended, playing)
            won = np.flatnonzero(ended & playing & (returns >= self.threshold))
            if won.size:
                self._solve(won.tolist())
        self.logger.record("rollout/solved", self._n_solved / len(self.solved))
        return True

    def _solve(self, columns: list[int]) -> None:
        """Mark the problems of the attempts that ended in these columns as solved."""
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
    """Logs exact values of the current policy, in a world with an exact solution: no noise.

    Records ``exact/max_at_{k}``, and each other float in ``world.exact(k, ...)`` whose name starts
    with max_at_k (max_at_k_hard becomes ``exact/max_at_{k}_hard``). Also records ``exact/entropy``,
    the mean entropy of the action distributions over all decisions, in nats. For Gaussian actions
    it is the differential entropy, which may be negative.

    :param world: a Gymnasium env with the same arguments as the training env, but another instance;
        or its id with its module. See ``pkpo_envs.ProblemEnv`` for ``exact``
    :param ks: each at least 1
    :param eval_freq: calls between two records, at least 1
    :raises ValueError: if the world has no exact solution, an argument is out of range, or, when
        training starts, the policy has no action distribution or has other spaces
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
        )  # raises if the policy has no distribution

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            parameters = distribution_parameters(self.model, self._observations)
            for name, value in exact_statistics(self._exact, self.ks, parameters).items():
                self.logger.record(f"exact/{name}", value)
        return True


class EntropyCallback(BaseCallback):
    """Logs the entropy of the policy at the training observations, in any env.

    Records ``rollout/entropy`` in nats: the mean over columns of the action distribution's entropy
    at the observations of the latest actions. Squashed Gaussians have no closed form: their entropy
    is estimated as minus the log-probability of a sample.

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
    """Check that there is at least one number, and that all are integers of at least 1."""
    ((name, numbers),) = values.items()
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise ValueError(f"{name}={list(numbers)} must be one or more integers of at least 1")
    return tuple(numbers)
