"""Action distributions of many lanes: samples, log-probabilities, entropies, and derivatives.

In a step of an iteration, each lane has ``rows`` distributions, and ``share`` attempts sample from
each of them. So (lanes, rows, share) is (lanes, attempts) in another shape. If the attempts of a
group have the same observation, a group is one row.

Each lane has its own generator. It is used in the same order as Stable-Baselines3's loop uses
PyTorch's global generator (:class:`pkpo_sandbox.algorithm.policies.ActorPolicy`). So a lane takes
the same actions as a run with the same seed.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from torch import Tensor

from pkpo_sandbox.algorithm.lanes.networks import LaneNetwork
from pkpo_sandbox.algorithm.lanes.parameters import padded
from pkpo_sandbox.algorithm.policies import ActorPolicy

STEPS_AHEAD = 8  #: number of env steps whose random numbers are drawn in one call


class Draws:
    """The random numbers of successive steps. Each lane has its own generator.

    The numbers are always drawn on the CPU, so a lane takes the same actions on every device.

    :param generators: one per lane
    :param shape: of a lane's numbers for one step
    :param draw: fills a tensor from a generator
    :param ahead: number of steps that one call draws; must not change the numbers
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        draw: Callable[[Tensor, torch.Generator], Any],
        ahead: int,
        device: torch.device,
    ) -> None:
        self.generators, self._draw, self._device = list(generators), draw, device
        self._shape = (len(self.generators), ahead, *shape)
        self._dtype = dtype
        self._block = torch.empty(self._shape, dtype=dtype)
        self._next = ahead

    def next(self) -> Tensor:
        """The numbers (lanes, ...) of the next step."""
        if self._next == self._shape[1]:
            block = torch.empty(self._shape, dtype=self._dtype)
            for lane, generator in zip(block, self.generators, strict=True):
                self._draw(lane, generator)
            self._block, self._next = block.to(self._device), 0
        self._next += 1
        return self._block[:, self._next - 1]

    def keep(self, lanes: Sequence[int]) -> None:
        """Continue with these lanes only."""
        self.generators = [self.generators[lane] for lane in lanes]
        self._shape = (len(lanes), *self._shape[1:])
        self._block = self._block[torch.tensor(lanes, device=self._block.device)]


class LaneCategorical:
    """Categorical distributions of all lanes.

    :param n_actions: of the env; the padding outputs beyond them have probability 0
    :param shared: whether attempts share distributions, as with discrete observations. If so,
        sampling inverts the cumulative probabilities; otherwise it compares exponential random
        numbers. Both are the same as in the policy of a single run
    """

    def __init__(self, n_actions: int, shared: bool) -> None:
        self.n_actions, self.shared = n_actions, shared

    def draws(
        self, generators: Sequence[torch.Generator], attempts: int, device: torch.device
    ) -> Draws:
        if self.shared:
            return Draws(
                generators,
                (attempts,),
                torch.float64,
                lambda out, generator: out.uniform_(generator=generator),
                STEPS_AHEAD,
                device,
            )
        return Draws(
            generators,
            (attempts, self.n_actions),
            torch.float32,
            lambda out, generator: out[0].exponential_(1.0, generator=generator),
            1,
            device,
        )

    def prepare(self, outputs: Tensor) -> "CategoricalStep":
        """The distributions with these logits (lanes, rows, outputs)."""
        return CategoricalStep(self, outputs)


class CategoricalStep:
    """The distributions (lanes, rows) of one step, and what was sampled from them."""

    actions: Tensor  #: (lanes, rows, share) int64

    def __init__(self, policy: LaneCategorical, logits: Tensor) -> None:
        self.policy, self._logits = policy, logits
        self._shifted = logits - logits.amax(-1, keepdim=True)
        self._exp = self._shifted.exp()
        self._total = self._exp.sum(-1, keepdim=True)

    def diverged(self) -> list[int]:
        """The lanes whose logits are not finite."""
        return not_finite(self._logits)

    @cached_property
    def _probabilities(self) -> Tensor:
        return self._exp / self._total

    @cached_property
    def _log_probabilities(self) -> Tensor:
        return self._shifted - self._total.log()

    @cached_property
    def entropy(self) -> Tensor:
        """(lanes, rows)"""
        return -(self._probabilities * self._log_probabilities).sum(-1)

    @cached_property
    def log_prob(self) -> Tensor:
        """(lanes, rows, share) of the actions."""
        return self._log_probabilities.gather(2, self.actions)

    def sample(self, noise: Tensor) -> None:
        """Sample the actions with the random numbers (lanes, attempts, ...) of a step."""
        rows, n_actions = self._exp.shape[1], self.policy.n_actions
        noise = noise.unflatten(1, (rows, -1))
        if self.policy.shared:
            cumulative = self._exp[..., :n_actions].cumsum(-1, dtype=torch.float64)
            points = noise * cumulative[..., -1:]
            actions = torch.searchsorted(cumulative, points, right=True)
            self.actions = actions.clamp_(max=n_actions - 1)  # a point may round up to the end
        else:
            probabilities = self._probabilities[..., None, :n_actions]
            self.actions = (probabilities / noise).argmax(-1)

    def parameters(self) -> dict[str, NDArray[np.float64]]:
        """The probabilities (lanes, rows, n_actions)."""
        probabilities = self._logits.double().softmax(-1)[..., : self.policy.n_actions]
        return {"probabilities": probabilities.cpu().numpy()}

    def again(self, outputs: Tensor) -> "CategoricalStep":
        """The same actions under the policy after an update."""
        step = CategoricalStep(self.policy, outputs)
        step.actions = self.actions
        return step

    def env_actions(self) -> Tensor:
        """(lanes, attempts)"""
        return self.actions.flatten(1)

    def backward(self, by_log_prob: Tensor, by_entropy: Tensor | None) -> Tensor:
        """The derivative of the loss wrt the logits (lanes, rows, outputs).

        :param by_log_prob: (lanes, rows, share), the derivative wrt each action's log-probability
        :param by_entropy: (lanes, 1, 1), the derivative wrt each row's entropy
        """
        # ∂ log p_a/∂logit_b = [a = b] - p_b
        result = self._probabilities * -by_log_prob.sum(-1, keepdim=True)
        result.scatter_add_(2, self.actions, by_log_prob)
        if by_entropy is not None:
            # ∂H/∂logit_b = -p_b (log p_b + H)
            slope = self._probabilities * (self._log_probabilities + self.entropy[..., None])
            result -= by_entropy * slope
        return result


class LaneGaussian:
    """Diagonal Gaussian distributions of all lanes.

    :param space: of the actions; only the env's actions are clipped to it, as in SB3
    :param log_std: (dimensions,) if it is fixed; None if it is learned
    """

    def __init__(self, space: spaces.Box, network: LaneNetwork, log_std: Tensor | None) -> None:
        self.space, self._network = space, network
        self.dimensions = network.n_outputs
        self._fixed: Tensor | None = None
        if log_std is not None:
            self._fixed = log_std.new_zeros(1, 1, padded(self.dimensions))
            self._fixed[..., : self.dimensions] = log_std

    def draws(
        self, generators: Sequence[torch.Generator], attempts: int, device: torch.device
    ) -> Draws:
        # PyTorch draws normal numbers in blocks of 16. Each call starts a new block.
        whole = attempts * self.dimensions % 16 == 0
        return Draws(
            generators,
            (attempts, self.dimensions),
            torch.float32,
            lambda out, generator: out.normal_(generator=generator),
            STEPS_AHEAD if whole else 1,
            device,
        )

    def prepare(self, outputs: Tensor) -> "GaussianStep":
        """The distributions with these means (lanes, rows, outputs)."""
        log_std = self._fixed
        if log_std is None:
            assert self._network.log_std is not None
            log_std = self._network.log_std
        log_std, std = (x[..., : self.dimensions, None] for x in (log_std, log_std.exp()))
        return GaussianStep(self, outputs, log_std, std)


class GaussianStep:
    """The distributions (lanes, rows) of one step, and what was sampled from them.

    Values of attempts have the shape (lanes, rows, dimensions, share), so sums over attempts run
    along the last axis. Standard deviations have the shape (lanes or 1, 1, dimensions, 1).
    """

    actions: Tensor  #: (lanes, rows, dimensions, share), not clipped

    def __init__(self, policy: LaneGaussian, outputs: Tensor, log_std: Tensor, std: Tensor) -> None:
        self.policy, self._outputs = policy, outputs
        self._log_std, self._std = log_std, std
        self._mean = outputs[..., : policy.dimensions, None]

    def diverged(self) -> list[int]:
        """The lanes whose means are not finite."""
        return not_finite(self._outputs)

    @cached_property
    def entropy(self) -> Tensor:
        """(lanes, rows)"""
        entropy = (self._log_std + (0.5 + 0.5 * math.log(2 * math.pi))).sum((2, 3))
        return entropy.expand(self._outputs.shape[:2])

    @cached_property
    def log_prob(self) -> Tensor:
        """(lanes, rows, share) of the actions."""
        scores = -self._distance.square() / (2 * self._std.square()) - self._log_std
        return (scores - 0.5 * math.log(2 * math.pi)).sum(2)

    @cached_property
    def _distance(self) -> Tensor:
        return self.actions - self._mean

    def sample(self, noise: Tensor) -> None:
        """Sample the actions with the numbers (lanes, attempts, dimensions) of a step."""
        noise = noise.unflatten(1, (self._outputs.shape[1], -1)).transpose(2, 3)
        self.actions = (noise * self._std).add_(self._mean).contiguous()

    def parameters(self) -> dict[str, NDArray[np.float64]]:
        """Means and standard deviations (lanes, rows, dimensions)."""
        mean = self._mean[..., 0].double()
        std = self._std[..., 0].double().expand_as(mean)
        return {"mean": mean.cpu().numpy(), "std": std.cpu().numpy()}

    def again(self, outputs: Tensor) -> "GaussianStep":
        """The same actions under the policy after an update."""
        step = self.policy.prepare(outputs)
        step.actions = self.actions
        return step

    def env_actions(self) -> Tensor:
        """(lanes, attempts, dimensions), not clipped."""
        return self.actions.transpose(2, 3).flatten(1, 2)

    def backward(self, by_log_prob: Tensor, by_entropy: Tensor | None) -> Tensor:
        """The derivative of the loss wrt the means (lanes, rows, outputs). Sets ``by_log_std``."""
        weights = by_log_prob[:, :, None]
        scaled = self._distance / self._std.square() * weights  # ∂ log p/∂mean, weighted
        result = torch.zeros_like(self._outputs)
        result[..., : self.policy.dimensions] = scaled.sum(-1)
        #: the derivative of the loss wrt ``log_std`` (lanes, dimensions), used if it is learned
        self.by_log_std = (scaled * self._distance - weights).sum(-1).sum(1)
        if by_entropy is not None:  # ∂H/∂ log_std = 1
            self.by_log_std += by_entropy[:, 0] * self._outputs.shape[1]
        return result


LanePolicy = LaneCategorical | LaneGaussian


def lane_policy(policy: ActorPolicy, network: LaneNetwork, device: torch.device) -> LanePolicy:
    """The distributions of lanes with this policy.

    :raises ValueError: if lanes do not support its kind of distribution
    """
    kind = type(policy.action_dist)
    if kind is CategoricalDistribution:
        return LaneCategorical(network.n_outputs, network.discrete)
    if kind is DiagGaussianDistribution:
        assert isinstance(policy.action_space, spaces.Box)
        fixed = None if policy.log_std.requires_grad else policy.log_std.detach().to(device)
        return LaneGaussian(policy.action_space, network, fixed)
    raise ValueError(
        f"lanes do not support the {kind.__name__} of the action space {policy.action_space}: use "
        "a Discrete or a Box"
    )


def not_finite(outputs: Tensor) -> list[int]:
    """The lanes that have an output (lanes, rows, outputs) that is not finite."""
    if math.isfinite(outputs.sum().item()):
        return []
    return (~outputs.isfinite().all(2).all(1)).nonzero().flatten().tolist()


def initial_policies(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    seeds: Sequence[int],
    policy_kwargs: dict[str, Any],
) -> tuple[dict[int, ActorPolicy], list[torch.Generator]]:
    """The policy of each seed as a run makes it, and for each lane the generator after that."""
    policies: dict[int, ActorPolicy] = {}
    states: dict[int, Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            if seed not in policies:
                torch.default_generator.manual_seed(seed)
                policies[seed] = ActorPolicy(
                    observation_space, action_space, lambda _: 1.0, **policy_kwargs
                )
                states[seed] = torch.random.get_rng_state()
    generators = [torch.Generator() for _ in seeds]
    for generator, seed in zip(generators, seeds, strict=True):
        generator.set_state(states[seed])
    return policies, generators
