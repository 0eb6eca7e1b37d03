"""Adam or SGD on the weights of many lanes. Each lane has its own learning rate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from pkpo_sandbox.algorithm.lanes.parameters import LaneParameters
from pkpo_sandbox.algorithm.policies import ActorPolicy

#: options of PyTorch's optimizers that lanes do not support
REFUSED = ("momentum", "nesterov", "weight_decay", "amsgrad", "maximize", "differentiable")


class LaneOptimizer:
    """The optimizer of a policy, for many lanes.

    :param policy: its optimizer determines the kind and the options
    :raises ValueError: if it is neither Adam nor SGD, or uses an option in :data:`REFUSED`
    """

    def __init__(self, policy: ActorPolicy) -> None:
        optimizer = policy.optimizer
        self.kind = type(optimizer)
        if self.kind not in (torch.optim.Adam, torch.optim.SGD):
            raise ValueError(
                f"lanes support Adam or SGD, not {self.kind.__name__}: leave optimizer_class out"
            )
        (options,) = optimizer.state_dict()["param_groups"]
        for name in REFUSED:
            if options.get(name):
                raise ValueError(
                    f"lanes have no {name}={options[name]} of {self.kind.__name__}: leave it out "
                    "of optimizer_kwargs"
                )
        self._options = options
        self._names = [name for name, p in policy.named_parameters() if p.requires_grad]
        self.n_steps = 0

    def bind(self, weights: LaneParameters, gradient: LaneParameters) -> None:
        """Update these weights from now on, with the gradient in ``gradient``."""
        self._weights, self._gradient = weights, gradient
        self._mean, self._square = weights.like(), weights.like()

    def keep(self, lanes: Tensor, weights: LaneParameters, gradient: LaneParameters) -> None:
        """Continue with these lanes only. Their weights and gradients are now in new tensors."""
        mean, square = self._mean.keep(lanes), self._square.keep(lanes)
        self.bind(weights, gradient)
        self._mean, self._square = mean, square

    def step(self, learning_rate: Sequence[float]) -> None:
        """Take a step in every lane.

        :param learning_rate: one per lane
        """
        numbers = self._weights, self._gradient, self._mean, self._square
        if len(set(learning_rate)) == 1:
            self._step([[x.flat] for x in numbers], learning_rate[0])
        else:
            start = 0
            for end in range(1, len(learning_rate) + 1):
                # Neighbouring lanes with the same rate share one call. The result for each lane is
                # the same as with its own call.
                if end == len(learning_rate) or learning_rate[end] != learning_rate[start]:
                    parts = [[view[start:end] for view in x.views] for x in numbers]
                    self._step(parts, learning_rate[start])
                    start = end
        self.n_steps += 1

    def _step(self, numbers: list[list[Tensor]], learning_rate: float) -> None:
        """:param numbers: lists of weights, gradients, means and squares"""
        weights, gradients, means, squares = numbers
        if self.kind is torch.optim.SGD:
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= gradient * learning_rate
            return
        beta1, beta2 = self._options["betas"]
        steps = [torch.tensor(float(self.n_steps), device=x.device) for x in weights]
        adam(
            weights,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=self._options["eps"],
            maximize=False,
        )

    def state_dict(self, lane: int, learning_rate: float) -> dict[str, Any]:
        """The ``state_dict`` of PyTorch's optimizer for the lane's policy."""
        state: dict[int, dict[str, Tensor]] = {}
        if self.kind is torch.optim.Adam and self.n_steps > 0:
            means, squares = self._mean.read(lane), self._square.read(lane)
            for i, name in enumerate(self._names):
                step = torch.tensor(float(self.n_steps))
                state[i] = {"step": step, "exp_avg": means[name], "exp_avg_sq": squares[name]}
        return {"state": state, "param_groups": [{**self._options, "lr": learning_rate}]}
