"""One tensor program for many lanes: they play and are updated together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from pkpo_sandbox.algorithm import update
from pkpo_sandbox.algorithm.lanes.log import LaneLog
from pkpo_sandbox.algorithm.lanes.losses import clipped, joined
from pkpo_sandbox.algorithm.lanes.networks import LaneNetwork, Pass
from pkpo_sandbox.algorithm.lanes.optimizers import LaneOptimizer
from pkpo_sandbox.algorithm.lanes.parameters import LaneParameters
from pkpo_sandbox.algorithm.lanes.policies import LaneCategorical, initial_policies, lane_policy
from pkpo_sandbox.algorithm.lanes.settings import SETTINGS, Lane, LaneObjectives, LaneSetting
from pkpo_sandbox.algorithm.lanes.worlds import LaneWorlds

Step = Any  # a step of all lanes: lanes.policies.CategoricalStep or GaussianStep
Watch = Callable[["LaneBatch"], None]


@dataclass
class LaneResult:
    """The result of a lane.

    :ivar rows: rows of the log, as in the ``progress.csv`` of a run, without times
    :ivar policy: the ``state_dict`` of the policy, as Stable-Baselines3 would have it
    :ivar optimizer: the ``state_dict`` of its optimizer
    :ivar num_timesteps: env steps so far
    :ivar n_updates: updates so far
    :ivar error: the error that stopped the lane, or None; the weights are those before it
    """

    rows: list[dict[str, Any]]
    policy: dict[str, Tensor]
    optimizer: dict[str, Any]
    num_timesteps: int
    n_updates: int
    error: Exception | None = None


class LaneBatch:
    """Lanes that train as one tensor program.

    Either all lanes have a ``clip_range`` or none has one. The same holds for ``ent_coef``. So no
    term of the loss is computed for a lane that does not have it.

    :param numbers: the numbers of these lanes in the list of all lanes
    :ivar problems: (lanes, n_groups) of the current iteration
    :ivar undiscounted: (lanes, attempts) float64, returns of the attempts, after they have ended
    :ivar n_calls: steps of the env so far
    """

    problems: NDArray[np.int64]
    undiscounted: NDArray[np.float64]

    def __init__(
        self,
        env_id: str,
        lanes: Sequence[Lane],
        numbers: Sequence[int],
        *,
        group_size: int,
        n_groups: int,
        n_epochs: int,
        policy_kwargs: dict[str, Any],
        stats_window_size: int,
        device: torch.device,
    ) -> None:
        self.numbers = list(numbers)
        self.group_size, self.n_groups, self.n_epochs = group_size, n_groups, n_epochs
        self.attempts, self.device = n_groups * group_size, device
        seeds = [lane.seed for lane in lanes]
        kwargs = [dict(lane.env_kwargs) for lane in lanes]
        self.worlds = LaneWorlds(env_id, kwargs, seeds, n_groups, group_size)
        # 1. the policy of each lane as SB3 makes it, and the state of the generator after that
        policies, generators = initial_policies(
            self.worlds.observation_space, self.worlds.action_space, seeds, policy_kwargs
        )
        self._template = policies[seeds[0]]
        self.network = LaneNetwork(self._template)
        self._optimizer = LaneOptimizer(self._template)
        self.distribution = lane_policy(self._template, self.network, device)
        weights = LaneParameters(self.network.parts, len(lanes), device)
        states = {seed: policy.state_dict() for seed, policy in policies.items()}
        for lane, seed in enumerate(seeds):
            weights.write(lane, states[seed])
        if isinstance(self.distribution, LaneCategorical):
            self.network.block_outputs(weights)
        self._bind(weights)
        self._draws = self.distribution.draws(generators, self.attempts, device)
        # 2. the settings and the objective of each lane
        self._settings = {
            name: LaneSetting(name, [getattr(lane, name) for lane in lanes], device)
            for name in SETTINGS
        }
        self._objectives = LaneObjectives([lane.objective for lane in lanes], device)
        # 3. counters, results and the log
        self.iteration = self.num_timesteps = self.n_updates = self.n_calls = 0
        self.results: dict[int, LaneResult] = {}
        self._failed: dict[int, Exception] = {}
        self._passes: list[Pass] = []
        self.log = LaneLog(len(lanes), group_size, max(1, stats_window_size // n_groups))

    @property
    def bytes_per_lane(self) -> int:
        """Approximate size of a lane's tensors: weights, gradient, moments, and an iteration."""
        widths = self.network.widths
        rows = [work.outputs.shape[1] for work in self._passes] or [self.worlds.first_rows]
        numbers = 4 * self.weights.flat.numel() // self.weights.n_lanes
        numbers += sum(rows) * (2 * sum(widths) + 6 * widths[-1]) + 16 * self.attempts * len(rows)
        return 4 * numbers

    @property
    def n_lanes(self) -> int:
        """The number of lanes that have not failed."""
        return len(self.numbers)

    def learn(self, total_timesteps: int, log_interval: int | None, watch: Watch | None) -> None:
        """Train every lane for at least ``total_timesteps``, in whole iterations."""
        while self.n_lanes and self.num_timesteps < total_timesteps:
            self.iterate(total_timesteps, log_interval, watch)
        for lane in range(self.n_lanes):
            self.results[self.numbers[lane]] = self._result(lane)

    def iterate(
        self, total_timesteps: int, log_interval: int | None = None, watch: Watch | None = None
    ) -> None:
        """Play and train one iteration in every lane."""
        # 1. play every attempt to its end
        steps, rewards = self._play(watch)
        self.iteration += 1
        progress = 1.0 - min(self.num_timesteps, total_timesteps) / total_timesteps
        last = self.num_timesteps >= total_timesteps
        logged = log_interval is not None and (self.iteration % log_interval == 0 or last)
        # 2. one weight for each attempt
        coefficients = self._objectives.at(progress)
        returns = self._returns(rewards, progress)
        weights = self._objectives.weights(returns, coefficients, self._fail)
        # 3. the updates, with clipped gradients
        statistics = self._update(steps, weights.flatten(1), progress, logged)
        # 4. log
        self.log.add(self.undiscounted)
        if logged:
            self.log.write(
                self._failed,
                statistics,
                self._objectives.by_lane(coefficients),
                iteration=self.iteration,
                num_timesteps=self.num_timesteps,
                n_updates=self.n_updates,
                ep_len_mean=len(steps),
            )
        if self._failed:
            self._drop_failed()

    # Play

    def _play(self, watch: Watch | None) -> tuple[list[Step], list[NDArray[np.float64]]]:
        """Play an iteration. -> the distributions and rewards (lanes, attempts) of each step."""
        self.problems, observations = self.worlds.start(self.iteration)
        steps: list[Step] = []
        rewards: list[NDArray[np.float64]] = []
        over = False
        while not over:
            # 1. act
            step = self._act(len(steps), observations)
            # 2. step all worlds
            earned, over = self.worlds.step(self._env_actions(step))
            self.num_timesteps += self.attempts
            self.n_calls += 1
            steps.append(step)
            rewards.append(self._checked(earned, len(steps)))
            # 3. call ``watch``, before the update
            if over:
                self.undiscounted = sum(rewards[1:], rewards[0])
            else:
                observations = self.worlds.observe()
            if watch is not None:
                watch(self)
        return steps, rewards

    def _act(self, number: int, observations: NDArray[Any]) -> Step:
        """The distributions at observations (lanes, rows, ...), and samples from them."""
        rows = observations.shape[1]
        if number == len(self._passes):
            self._passes.append(self.network.new_pass(self.n_lanes, rows, self.device))
        work = self._passes[number]
        self._observe(work, observations)
        self.network.forward(work)
        step = self.distribution.prepare(work.outputs)
        for lane in step.diverged():
            self._fail(
                lane,
                ValueError(
                    "the policy's logits are not finite, training has diverged: lower learning_rate"
                ),
            )
        step.sample(self._draws.next())
        return step

    def _observe(self, work: Pass, observations: NDArray[Any]) -> None:
        """Set the inputs of a forward pass, unless the space has only one observation."""
        if not (observations.shape[1] == self.network.features == 1 and self.network.discrete):
            work.inputs = self.network.encode(torch.from_numpy(observations).to(self.device))

    def _env_actions(self, step: Step) -> NDArray[Any]:
        """Actions (lanes, attempts, ...) for the env. A Box clips the samples, as in SB3."""
        actions = step.env_actions().cpu().numpy()
        space = self.worlds.action_space
        if isinstance(space, spaces.Box):
            actions = actions.reshape(*actions.shape[:2], *space.shape)
            actions = np.clip(actions, space.low, space.high)
        return actions

    def _checked(self, rewards: NDArray[np.float64], step: int) -> NDArray[np.float64]:
        """The rewards (lanes, attempts), with zeros for lanes that fail."""
        for lane, error in self.worlds.errors.items():
            self._fail(lane, error)
        if not math.isfinite(rewards.sum()):
            for lane in np.flatnonzero(~np.isfinite(rewards).all(1)).tolist():
                column = int(np.flatnonzero(~np.isfinite(rewards[lane]))[0])
                error = ValueError(
                    f"the env in column {column} gave reward {rewards[lane, column]} at step {step}"
                    " of the iteration: rewards must be finite. The policy has not been updated on "
                    "it; fix the env, or wrap it so that this case has a finite reward"
                )
                self._fail(lane, error)
        if self._failed:
            rewards = rewards.copy()
            rewards[list(self._failed)] = 0
        return rewards

    def _returns(self, rewards: Sequence[NDArray[np.float64]], progress: float) -> Tensor:
        """Discounted returns (lanes, n_groups, group_size)."""
        returns, gamma = self.undiscounted, self._settings["gamma"].at(progress)
        if len(rewards) > 1 and any(value != 1 for value in gamma):
            factor = np.array(gamma)[:, np.newaxis]
            returns = sum((factor**t * r for t, r in enumerate(rewards[1:], 1)), rewards[0])
        returns = torch.from_numpy(returns).to(self.device)
        return returns.view(-1, self.n_groups, self.group_size)

    # Update

    def _update(
        self, steps: list[Step], weights: Tensor, progress: float, logged: bool
    ) -> dict[str, list[float]]:
        """Make ``n_epochs`` updates.

        :param weights: (lanes, attempts)
        :return: if logged, the last loss and other statistics of each lane; else empty
        """
        now = {name: setting.at(progress) for name, setting in self._settings.items()}
        scale = self._settings["ent_coef"]
        ent_coef = scale.tensor(now["ent_coef"]) if scale.used else None
        old, statistics = None, {}
        for epoch in range(self.n_epochs):
            if epoch > 0:  # the same actions under the current policy
                for work in self._passes[: len(steps)]:
                    self.network.forward(work)
                passes = self._passes[: len(steps)]
                steps = [s.again(work.outputs) for s, work in zip(steps, passes, strict=True)]
            told = logged and epoch == self.n_epochs - 1
            if self._settings["clip_range"].values[0] is None:
                by_log_prob = [weights / -self.n_groups] * len(steps)
                surrogate = self._surrogate(steps, weights) if told else None
            else:
                log_prob = joined(steps)
                old = log_prob if old is None else old
                clip = self._settings["clip_range"].tensor(now["clip_range"])[:, None]
                surrogate, by_log_prob = clipped(log_prob, old, weights, self.n_groups, clip)
            if told:
                statistics = self._losses(steps, surrogate, ent_coef)
            self._backward(steps, by_log_prob, ent_coef)
            norms = self._step(now)
            if told:
                statistics |= {"grad_norm": norms, "learning_rate": now["learning_rate"]}
        self.n_updates += self.n_epochs
        return statistics

    def _surrogate(self, steps: list[Step], weights: Tensor) -> Tensor:
        log_prob = joined(steps)
        each = weights[:, None].expand_as(log_prob)
        return update.surrogate(log_prob.flatten(1), each.flatten(1), self.n_groups)

    def _losses(
        self, steps: list[Step], surrogate: Tensor | None, ent_coef: Tensor | None
    ) -> dict[str, list[float]]:
        assert surrogate is not None
        entropy = torch.stack([step.entropy.mean(1) for step in steps], 1).mean(1)
        loss = -surrogate if ent_coef is None else -surrogate - ent_coef * entropy
        return {"loss": loss.tolist(), "entropy": entropy.tolist()}

    def _backward(
        self, steps: list[Step], by_log_prob: Sequence[Tensor], ent_coef: Tensor | None
    ) -> None:
        """Write the gradient of the loss.

        :param by_log_prob: (lanes, attempts) for each step, the derivative of the loss wrt the
            log-probabilities
        """
        for t, (step, by) in enumerate(zip(steps, by_log_prob, strict=True)):
            work = self._passes[t]
            rows = work.outputs.shape[1]
            by_entropy = None
            if ent_coef is not None:  # the mean is over rows and steps
                by_entropy = (ent_coef * (-1 / (rows * len(steps))))[:, None, None]
            above = step.backward(by.unflatten(1, (rows, -1)), by_entropy)
            self.network.backward(work, above, add=t > 0)
            if self.network.log_std_gradient is not None:
                target = self.network.log_std_gradient[:, 0, : self.network.n_outputs]
                target.copy_(step.by_log_std if t == 0 else target + step.by_log_std)

    def _step(self, now: dict[str, list[Any]]) -> list[float]:
        """Clip each lane's gradient and take the optimizer's step. -> norms before clipping."""
        norm = self._gradient.norms()
        norms, bounds = norm.tolist(), now["max_grad_norm"]
        if not math.isfinite(sum(norms)):
            for lane, value in enumerate(norms):
                try:
                    update.check_finite_norm(value)
                except ValueError as error:
                    self._fail(lane, error)
        for lane in self._failed:
            for view in self._gradient.views:
                view[lane] = 0
        if any(x + update.NORM_EPSILON > bound for x, bound in zip(norms, bounds, strict=True)):
            factor = update.clip_factor(norm, self._settings["max_grad_norm"].tensor(bounds))
            self._gradient.scale(factor)
        self._optimizer.step(now["learning_rate"])
        self._learning_rate = now["learning_rate"]
        return norms

    # Failures

    def _fail(self, lane: int, error: Exception) -> None:
        """Stop a lane here and keep its result. The others continue."""
        if lane not in self._failed:
            self._failed[lane] = error
            self.results[self.numbers[lane]] = self._result(lane, error)

    def _drop_failed(self) -> None:
        """Continue without the lanes that have failed."""
        kept = [lane for lane in range(self.n_lanes) if lane not in self._failed]
        self._failed = {}
        self.numbers = [self.numbers[lane] for lane in kept]
        if not kept:
            return
        rows = torch.tensor(kept, device=self.device)
        self.worlds.keep(kept)
        self._draws.keep(kept)
        self._bind(self.weights.keep(rows), rows)
        self._settings = {name: setting.keep(kept) for name, setting in self._settings.items()}
        self._objectives = self._objectives.keep(kept)
        self._passes = []
        self.log.keep(kept)

    def _bind(self, weights: LaneParameters, kept: Tensor | None = None) -> None:
        self.weights, self._gradient = weights, weights.like()
        self.network.bind(weights, self._gradient)
        if kept is None:
            self._optimizer.bind(weights, self._gradient)
        else:
            self._optimizer.keep(kept, weights, self._gradient)

    # Results

    def distribution_parameters(self, observations: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """The action distributions of every lane at these observations (n, ...).

        :return: {"probabilities": (lanes, n, n_actions)} for categorical policies, {"mean": (lanes,
            n, action_dim), "std": same shape} for Gaussian ones. The arrays of one lane are the
            arguments of a world's ``exact``
        """
        each = np.repeat(observations[np.newaxis], self.n_lanes, axis=0)
        work = self.network.new_pass(self.n_lanes, len(observations), self.device)
        self._observe(work, each)
        self.network.forward(work)
        return self.distribution.prepare(work.outputs).parameters()

    def _result(self, lane: int, error: Exception | None = None) -> LaneResult:
        rates = getattr(self, "_learning_rate", None)
        return LaneResult(
            rows=self.log.rows[lane],
            policy=self.policy_state(lane),
            optimizer=self._optimizer.state_dict(lane, 1.0 if rates is None else rates[lane]),
            num_timesteps=self.num_timesteps,
            n_updates=self.n_updates,
            error=error,
        )

    def policy_state(self, lane: int) -> dict[str, Tensor]:
        """The ``state_dict`` of a lane's policy."""
        return {**self._template.state_dict(), **self.weights.read(lane)}
