"""Adam or SGD over the weights of many lanes, each with a learning rate of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from pkpo_sandbox.algorithm.lanes.networks import LaneNetwork
from pkpo_sandbox.algorithm.policies import ActorPolicy

#: options of PyTorch's optimizers that a lane's may not have, for their steps are others
REFUSED = ("momentum", "nesterov", "weight_decay", "amsgrad", "maximize", "differentiable")


class LaneOptimizer:
    """The optimizer of a policy, for the rows of many lanes.

    :param policy: its optimizer says which, and with which options
    :raises ValueError: if it is neither Adam nor SGD, or has one of the options :data:`REFUSED`
    """

    def __init__(self, policy: ActorPolicy, network: LaneNetwork) -> None:
        optimizer = policy.optimizer
        self.kind = type(optimizer)
        if self.kind not in (torch.optim.Adam, torch.optim.SGD):
            raise ValueError(
                f"lanes have Adam or SGD, not {self.kind.__name__}: leave optimizer_class out"
            )
        (options,) = optimizer.state_dict()["param_groups"]
        for name in REFUSED:
            if options.get(name):
                raise ValueError(
                    f"lanes have no {name}={options[name]} of {self.kind.__name__}: leave it out "
                    "of optimizer_kwargs"
                )
        self._options, self._network = options, network
        self._names = [name for name, p in policy.named_parameters() if p.requires_grad]
        self.n_steps = 0

    def bind(self, flat: Tensor, gradient: Tensor) -> None:
        """Change the weights in ``flat`` (lanes, size) by what is in ``gradient``."""
        self._flat, self._gradient = flat, gradient
        self._mean, self._square = torch.zeros_like(flat), torch.zeros_like(flat)

    def keep(self, lanes: Tensor, flat: Tensor, gradient: Tensor) -> None:
        """Go on with these lanes, whose rows are now these."""
        mean, square = self._mean[lanes], self._square[lanes]
        self.bind(flat, gradient)
        self._mean, self._square = mean, square

    def step(self, learning_rate: Sequence[float]) -> None:
        """Take a step in every lane.

        :param learning_rate: one a lane
        """
        start = 0
        for end in range(1, len(learning_rate) + 1):
            # One call for lanes side by side that have one rate: it does to each what it would do
            # to it alone.
            if end == len(learning_rate) or learning_rate[end] != learning_rate[start]:
                self._step(slice(start, end), learning_rate[start])
                start = end
        self.n_steps += 1

    def _step(self, lanes: slice, learning_rate: float) -> None:
        flat, gradient = self._flat[lanes], self._gradient[lanes]
        if self.kind is torch.optim.SGD:
            flat.sub_(gradient * learning_rate)
            return
        beta1, beta2 = self._options["betas"]
        adam(
            [flat],
            [gradient],
            [self._mean[lanes]],
            [self._square[lanes]],
            [],
            [torch.tensor(float(self.n_steps), device=flat.device)],
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
        """What PyTorch's optimizer of the lane's policy would say of itself."""
        state: dict[int, dict[str, Tensor]] = {}
        if self.kind is torch.optim.Adam and self.n_steps > 0:
            means = self._network.read(self._mean[lane])
            squares = self._network.read(self._square[lane])
            for i, name in enumerate(self._names):
                step = torch.tensor(float(self.n_steps))
                state[i] = {"step": step, "exp_avg": means[name], "exp_avg_sq": squares[name]}
        return {"state": state, "param_groups": [{**self._options, "lr": learning_rate}]}
