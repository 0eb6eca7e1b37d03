"""Policy gradients on jointly transformed group returns, as a Stable-Baselines3 algorithm."""

import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import compress
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from pkpo_sandbox.algorithm import update
from pkpo_sandbox.algorithm.gradients import backward
from pkpo_sandbox.algorithm.groups import check_groups, group_env, make_group_env
from pkpo_sandbox.algorithm.infos import ColumnInfos, monitored
from pkpo_sandbox.algorithm.playing import GroupPlay
from pkpo_sandbox.algorithm.policies import (
    ActorPolicy,
    CnnActorPolicy,
    MultiInputActorPolicy,
    act,
    warn_of_training_mode,
)
from pkpo_sandbox.algorithm.rollouts import Recorder, Rollout
from pkpo_sandbox.algorithm.settings import CHECKED, check_settings, value_of
from pkpo_sandbox.algorithm.spaces import check_spaces, env_actions
from pkpo_sandbox.algorithm.statistics import rollout_statistics
from pkpo_sandbox.algorithm.streams import continued_seed
from pkpo_sandbox.schedules import Objective, numbers_of
from pkpo_sandbox.transforms import rloo

GroupTransform = Callable[..., torch.Tensor]
SelfGroupPolicyGradient = TypeVar("SelfGroupPolicyGradient", bound="GroupPolicyGradient")


class GroupPolicyGradient(BaseAlgorithm):
    """REINFORCE with the returns of a group replaced by a joint transform of them.

    An iteration plays ``n_groups`` problems, ``group_size`` whole episodes each, and descends

        loss = -1/n_groups Σ_groups Σ_i w_i log π(episode_i),    w = transform(returns)

    The loss is a sum over the attempts of a group and a mean over groups. So a transform returns
    the weights of an estimate Σ_i w_i ∇log π (arXiv 2505.15201). Weights are never centred or
    scaled afterwards. With ``clip_range`` the loss is PPO's clipped surrogate, and w_i is the
    advantage. The return of an attempt is Σ_t gamma^t r_t. All its steps have the same weight.

    The ``rollout/`` statistics are undiscounted, as SB3's own and ``eval/`` are. With
    ``VecNormalize``, ``rollout/max_at_k`` uses the normalised rewards that the algorithm trains on.
    Their scale changes while a group is played (unless all attempts run at once and have one step),
    so weights are biased until the scale settles. ``norm_reward=False`` avoids this.

    The policy stays in evaluation mode: dropout is off, and the running statistics of BatchNorm do
    not change. A warning tells you so. Use LayerNorm, and VecNormalize for observations.

    Inherits from SB3's ``BaseAlgorithm`` and implements ``_setup_model`` and ``learn``. Overrides
    ``_wrap_env``, ``load``, ``set_env``, ``set_random_seed`` and ``_setup_learn`` (groups),
    ``dump_logs``, ``_excluded_save_params`` and ``_get_torch_save_params`` (the optimizer's state).

    :param policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy", or a subclass of SB3's
        ``ActorCriticPolicy`` (a critic, if there is one, is not trained)
    :param env: a Gymnasium id ("pkpo_envs:pkpo/Bandit-v0"; one column per attempt), a Gymnasium
        env or vector env, or an SB3 ``VecEnv`` with any number of columns
    :param transform: maps returns (n_groups, group_size), float64, to weights of the same shape;
        takes ``transform_kwargs`` as keyword arguments
    :param transform_kwargs: callables are SB3 schedules of the remaining progress (1 to 0), and
        are evaluated in every iteration; other values are passed unchanged
    :param group_size: attempts at each problem (n in the paper), at least 2
    :param n_groups: problems in an iteration, at least 1
    :param learning_rate: a number or a schedule of the remaining progress
    :param gamma: discount factor of the returns, in (0, 1]
    :param n_epochs: updates in each iteration; more than 1 needs ``clip_range``
    :param clip_range: probability ratios are clipped to 1 ± this number (or schedule); None
        selects the plain policy gradient
    :param ent_coef: weight of the mean entropy per step, added to the objective; a number of at
        least 0 or a schedule
    :param max_grad_norm: the gradient is clipped to this norm; ``float("inf")`` turns clipping off
    :param policy_kwargs: arguments of the policy: ``net_arch``, ``activation_fn``, ``fixed_std``
    :param stats_window_size: how many of the last groups the rollout statistics cover, in whole
        iterations
    :param tensorboard_log: folder for TensorBoard, or None
    :param verbose: 0 no output, 1 training information
    :param seed: of the policy, its samples, the problems and the env
    :param device: "cpu", "cuda" or "auto"
    :raises ValueError: if the group size is below 2, SB3 has no distribution for the spaces, the
        transform rejects its arguments (k > group_size), or n_epochs > 1 without ``clip_range``
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorPolicy,
        "CnnPolicy": CnnActorPolicy,
        "MultiInputPolicy": MultiInputActorPolicy,
    }
    policy: ActorCriticPolicy

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | VectorEnv | str | None,
        transform: GroupTransform = rloo,
        transform_kwargs: dict[str, Any] | None = None,
        group_size: int = 16,
        n_groups: int = 16,
        learning_rate: float | Schedule = 3e-3,
        gamma: float = 1.0,
        n_epochs: int = 1,
        clip_range: float | Schedule | None = None,
        ent_coef: float | Schedule = 0.0,
        max_grad_norm: float = 0.5,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        check_groups(n_groups, group_size)
        if isinstance(env, str):
            env = make_group_env(env, n_groups, group_size)
        if env is not None:
            env = self._wrap_env(env, verbose)
            check_spaces(env.observation_space, env.action_space)
        elif _init_setup_model:
            raise ValueError("env=None: give an id, a Gymnasium env or an SB3 VecEnv")
        super().__init__(
            policy,
            env,
            learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
        )
        self.transform = transform
        self.transform_kwargs = transform_kwargs or {}
        self.group_size = group_size
        self.n_groups = n_groups
        self.gamma = gamma
        self.n_epochs = n_epochs
        self.clip_range = clip_range
        self.ent_coef = ent_coef
        self.max_grad_norm = max_grad_norm
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_groups(self.n_groups, self.group_size)
        check_settings(**{name: getattr(self, name) for name in CHECKED})
        self.objective.check(self.group_size)
        self._play: GroupPlay | None = None
        if self.env is not None:
            self._play = GroupPlay(self.env, self.n_groups, self.group_size)
        self._setup_lr_schedule()
        self.set_random_seed(continued_seed(self.seed, self._n_updates))
        iterations = max(1, self._stats_window_size // self.n_groups)
        self._window: deque[tuple[torch.Tensor, np.ndarray]] = deque(maxlen=iterations)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        ).to(self.device)
        warn_of_training_mode(self.policy)
        self.policy.set_training_mode(False)

    @property
    def objective(self) -> Objective:
        """The transform with its coefficients, schedules included."""
        return Objective(self.transform, **self.transform_kwargs)

    def _now(self, name: str) -> float:
        """The current value of clip_range or ent_coef."""
        return value_of(name, getattr(self, name), self._current_progress_remaining)

    def set_random_seed(self, seed: int | None = None) -> None:
        super().set_random_seed(seed)
        if self._play is not None and seed is not None:
            self._play.seed(seed)

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        if not isinstance(env, VecEnv):
            env = group_env(env)
        return BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)

    @classmethod
    def load(cls, path: Any, env: Any = None, *args: Any, **kwargs: Any) -> Self:
        """Load as SB3 does. ``env`` may also be an id, which makes one column per attempt."""
        if not isinstance(env, str):
            return super().load(path, env, *args, **kwargs)
        model = super().load(path, None, *args, **kwargs)
        model.n_envs = model.n_groups * model.group_size
        model.set_env(env)
        model.set_random_seed(continued_seed(model.seed, model._n_updates))
        return model

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        if isinstance(env, str):
            env = make_group_env(env, self.n_groups, self.group_size, num_envs=self.n_envs)
        env = self._wrap_env(env, self.verbose)
        play = GroupPlay(env, self.n_groups, self.group_size)
        super().set_env(env, force_reset)
        self._play = play

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        # 1. start a new iteration: the env may be in the middle of the last one
        self._last_obs = None
        if self._play is not None:
            if self._play.disturbed:
                # An evaluation reseeded the env. Reseed it, or training replays the same problems.
                self._play.seed(continued_seed(self.seed, self._n_updates, fresh=True))
            self._play.ask()
        prepared = super()._setup_learn(*args, **kwargs)
        assert self._play is not None  # SB3 has asked for an env
        self._play.accept()
        # 2. keep the reports of all attempts: the longest attempts of an iteration end last
        attempts = (self._window.maxlen or 1) * self.n_groups * self.group_size
        self.ep_info_buffer = deque(self.ep_info_buffer or (), maxlen=attempts)
        self.ep_success_buffer = deque(self.ep_success_buffer or (), maxlen=attempts)
        return prepared

    def learn(
        self: SelfGroupPolicyGradient,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str = "GroupPolicyGradient",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfGroupPolicyGradient:
        """Train for at least ``total_timesteps`` env steps, in whole iterations.

        :param log_interval: iterations between two rows of the log; None turns the log off
        """
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        iteration = self._n_updates // self.n_epochs if self.num_timesteps else 0
        while self.num_timesteps < total_timesteps:
            rollout = self.collect_rollouts(callback)
            if rollout is None:
                break
            iteration += 1
            done = min(self.num_timesteps, total_timesteps)  # the last iteration may overshoot
            self._update_current_progress_remaining(done, total_timesteps)
            self.train(rollout)
            if log_interval is not None and iteration % log_interval == 0:
                self.dump_logs(iteration)
        if log_interval is not None and iteration % log_interval != 0:
            self.dump_logs(iteration)  # the log ends where training ends
        callback.on_training_end()
        return self

    def collect_rollouts(self, callback: BaseCallback) -> Rollout | None:
        """Play one iteration: every attempt of every group to its end.

        :return: the episodes, or None if the callback stops training
        :raises ValueError: if a reward is not finite, an episode does not end, or something else
            plays the env during the iteration
        """
        env, play = self.env, self._play
        assert env is not None, "no env: give one to the constructor, load() or set_env()"
        assert play is not None
        play.refuse_others()
        # If episode lengths differ, some columns are inside an episode: reset all columns.
        if self._last_obs is None or not np.all(self._last_episode_starts):  # type: ignore[arg-type]
            self._last_obs = play.reset()
        recorder = Recorder()
        # A single step keeps its graph. With more steps the graphs would fill the memory, so the
        # update evaluates the policy again.
        differentiable, finished = self.clip_range is None, False
        callback.on_rollout_start()
        while not finished:
            # 1. act in every column
            observations = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
            with torch.set_grad_enabled(differentiable):
                actions, log_prob, entropy = act(self.policy, observations, self.ent_coef != 0)
            new_obs, rewards, dones, infos = play.step(env_actions(actions, self.action_space))
            self.num_timesteps += env.num_envs
            # 2. record the step for the attempts that the columns played
            playing, finished = play.playing, play.finished
            recorder.add((observations, actions, log_prob, entropy), rewards, play.attempts)
            if differentiable and not finished:
                differentiable = False
                recorder.detach()
            # 3. call the callbacks, before the new observations replace the old ones
            callback.update_locals(locals())
            if not callback.on_step():
                return None
            self._last_obs = new_obs  # type: ignore[assignment]
            self._last_episode_starts = dones
            self._note_episodes(infos, dones & playing)
        callback.on_rollout_end()
        rollout = recorder.rollout(self.n_groups, self.group_size, self.gamma)
        self._window.append((rollout.undiscounted, rollout.lengths))
        return rollout

    def _note_episodes(self, infos: Any, ended: np.ndarray) -> None:
        """Keep what a Monitor or the env reports about the attempts that ended (columns,)."""
        normalizer = self.get_vec_normalize_env()
        raw = normalizer is None or not normalizer.norm_reward
        if (raw and isinstance(infos, ColumnInfos) and not infos.reported) or not ended.any():
            return  # a GroupVecEnv reports the same statistics as the rollout
        told = [monitored(info) for info in compress(infos, ended)]
        self._update_info_buffer(told, ended[ended])

    def train(self, rollout: Rollout) -> None:
        """Make the ``n_epochs`` updates of one iteration."""
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        # 1. one weight for each attempt: the joint transform of its group's returns
        objective = self.objective
        coefficients = objective.at(self._current_progress_remaining)
        weights = objective.apply(rollout.returns, coefficients)
        ent_coef = self._now("ent_coef")
        clip_range = None if self.clip_range is None else self._now("clip_range")
        losses: dict[str, float] = {}
        for _ in range(self.n_epochs):
            # 2. the gradient of the loss
            optimizer.zero_grad()
            loss, entropy = backward(
                self.policy, rollout, weights, ent_coef, clip_range, self.ent_coef != 0
            )
            # 3. clip the gradient and take the optimizer's step
            grad_norm = update.clipped_step(optimizer, self.max_grad_norm)
            losses = {"loss": loss.item(), "entropy": entropy.item(), "grad_norm": grad_norm}
        self._n_updates += self.n_epochs
        # 4. log
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in {**losses, **numbers_of(coefficients)}.items():
            self.logger.record(f"train/{name}", value)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write a row of the log. The rollout statistics cover the last groups."""
        elapsed = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        fps = int((self.num_timesteps - self._num_timesteps_at_start) / elapsed)
        statistics = rollout_statistics(
            self._window, self.ep_info_buffer or (), self.ep_success_buffer or ()
        )
        if iteration > 0:
            self.logger.record("time/iterations", iteration, exclude="tensorboard")
        self.logger.record("time/fps", fps)
        self.logger.record("time/time_elapsed", int(elapsed), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        for name, value in statistics.items():
            self.logger.record(f"rollout/{name}", value)
        self.logger.dump(step=self.num_timesteps)

    def training_state(self) -> dict[str, Any]:
        """Return everything that training needs to continue after an iteration, except the env.

        :return: the state of policy and optimizer, the counters, and the part of the last
            iterations that the log needs; made of tensors, arrays, numbers and containers of them
        """
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.policy.optimizer.state_dict(),
            "num_timesteps": self.num_timesteps,
            "n_updates": self._n_updates,
            "window": list(self._window),
            "episodes": list(self.ep_info_buffer or ()),
            "successes": list(self.ep_success_buffer or ()),
        }

    def restore_training_state(self, state: dict[str, Any]) -> None:
        """Restore a :meth:`training_state`. Then call ``learn(reset_num_timesteps=False)``.

        :raises Exception: of several types, from PyTorch, if the state belongs to another policy
        """
        self.policy.load_state_dict(state["policy"])
        self.policy.optimizer.load_state_dict(state["optimizer"])
        self.num_timesteps, self._n_updates = state["num_timesteps"], state["n_updates"]
        self._window.extend((returns.cpu(), lengths) for returns, lengths in state["window"])
        self.ep_info_buffer = deque(state["episodes"])  # learn() limits the length
        self.ep_success_buffer = deque(state["successes"])

    def begin_anew(self, seed: int) -> None:
        """Reseed all randomness and reset every column, between two iterations.

        After this call, training depends only on the seed and on :meth:`training_state`.
        """
        assert self._play is not None, "no env: give one to the constructor, load() or set_env()"
        self.set_random_seed(seed)
        self._last_obs = self._play.reset()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_window", "_play"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
