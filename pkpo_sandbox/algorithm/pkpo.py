"""Pass@K Policy Optimization as a Stable-Baselines3 algorithm (arXiv 2505.15201)."""

from collections.abc import Callable
from typing import Self, Unpack

import gymnasium
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.settings import Settings
from pkpo_sandbox.schedules import Objective
from pkpo_sandbox.transforms import pkpo


class PKPO(GroupPolicyGradient):
    """Pass@K Policy Optimization (Walder & Karkhanis, arXiv 2505.15201).

    Trains a policy to maximise the expected best return of k attempts, max@k (pass@k for 0/1
    returns), with :func:`pkpo_sandbox.transforms.pkpo` on groups of n ≥ k attempts. Takes the
    arguments of :class:`GroupPolicyGradient` except the transform, and these:

    :param k: the number of attempts of which the best counts, 1..group_size, or an SB3 schedule
        that maps the remaining progress (1 to 0) to a whole number, such as those of
        :mod:`pkpo_sandbox.schedules`
    :param baseline: "loo_minus_one" (recommended by the paper; RLOO if k=1), "loo"
        (k < group_size) or "none"
    :param settings: ``learning_rate``, ``gamma``, ``n_epochs``, ``clip_range``, ``ent_coef``,
        ``max_grad_norm``, ``policy_kwargs``, ``stats_window_size``, ``tensorboard_log``,
        ``verbose``, ``seed`` and ``device``, see :class:`GroupPolicyGradient`
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: gymnasium.Env | VectorEnv | VecEnv | str | None,
        k: int | Callable[[float], int] = 4,
        group_size: int = 16,
        n_groups: int = 16,
        baseline: str = "loo_minus_one",
        **settings: Unpack[Settings],
    ) -> None:
        self.k = k
        self.baseline = baseline
        super().__init__(
            policy, env, transform=pkpo, group_size=group_size, n_groups=n_groups, **settings
        )

    @property
    def objective(self) -> Objective:
        return Objective(pkpo, k=self.k, baseline=self.baseline)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str = "PKPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )
