"""Many small policy networks as one: a forward and a backward pass for all lanes.

The derivatives are coded by hand: for such small networks, autograd's recording takes longer than
the computation.
"""

from dataclasses import dataclass

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from pkpo_sandbox.algorithm.lanes.parameters import LaneParameters, Part, padded
from pkpo_sandbox.algorithm.policies import ActorPolicy

BLOCKED = -1e30  #: the logit of a padding output; its probability is exactly 0


@dataclass
class Pass:
    """A forward pass of all lanes, in buffers that the next iteration reuses.

    :ivar targets: (lanes, rows, width) for each layer, after its activation; the last ones are the
        outputs (logits or means)
    :ivar inputs: (lanes, rows) int64 for discrete observations, (lanes, rows, features) float32 for
        others; None if the space has only one observation
    :ivar table_rows: the rows of the first layers of all lanes that the inputs select
    """

    targets: list[Tensor]
    inputs: Tensor | None = None
    table_rows: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        return self.targets[-1]


class LaneNetwork:
    """The layers of one policy, computed for many lanes at once.

    :param policy: built by SB3; determines the layers
    :raises ValueError: if it does not consist of linear layers with tanh or ReLU between them
    :ivar parts: a weight and a bias for each layer, then ``log_std`` if it is learned
    """

    def __init__(self, policy: ActorPolicy) -> None:
        check_network(policy)
        self.space = policy.observation_space
        self.discrete = isinstance(self.space, spaces.Discrete)
        self.activation = policy.activation_fn
        self.parts: list[Part] = []
        layers = {**hidden_layers(policy), "action_net": linear(policy.action_net)}
        for i, (name, layer) in enumerate(layers.items()):
            outputs, inputs = layer.weight.shape
            rows = inputs if i == 0 and self.discrete else padded(inputs)
            width = padded(outputs)
            self.parts.append(Part(f"{name}.weight", (outputs, inputs), rows, width))
            self.parts.append(Part(f"{name}.bias", (outputs,), 1, width))
        self.n_layers = len(layers)
        self.widths = [part.width for part in self.parts[::2]]
        log_std = getattr(policy, "log_std", None)
        self.learns_std = bool(log_std is not None and log_std.requires_grad)
        if log_std is not None and self.learns_std:
            self.parts.append(Part("log_std", tuple(log_std.shape), 1, padded(len(log_std))))
        self.features = self.parts[0].rows
        self.n_outputs = layers["action_net"].out_features

    def block_outputs(self, weights: LaneParameters) -> None:
        """Set the probability of the padding outputs of categorical policies to 0."""
        weights.views[2 * self.n_layers - 1][..., self.n_outputs :] = BLOCKED

    def bind(self, weights: LaneParameters, gradient: LaneParameters) -> None:
        """Use these weights from now on, and write gradients into ``gradient``."""
        ends = slice(0, 2 * self.n_layers, 2), slice(1, 2 * self.n_layers, 2)
        self._weights, self._biases = (weights.views[which] for which in ends)
        self._weight_gradients, self._bias_gradients = (gradient.views[which] for which in ends)
        # The first layers of all lanes form one table. Discrete observations select its rows.
        self._table = self._weights[0].flatten(0, 1)
        self._table_gradient = self._weight_gradients[0].flatten(0, 1)
        lanes = torch.arange(weights.n_lanes, device=weights.device)
        self._first_rows = lanes[:, None] * self.features
        self.log_std = weights.views[-1] if self.learns_std else None
        self.log_std_gradient = gradient.views[-1] if self.learns_std else None

    def encode(self, observations: Tensor) -> Tensor:
        """Convert observations (lanes, rows, ...) to the inputs of this network.

        Discrete observations stay integers. Others are encoded as in SB3 (MultiDiscrete as one-hot
        vectors), and padded with zeros.
        """
        if self.discrete:
            return observations.long()
        lanes, rows = observations.shape[:2]
        inputs = observations.new_zeros((lanes, rows, self.features), dtype=torch.float32)
        if isinstance(self.space, spaces.MultiDiscrete):
            sizes = torch.as_tensor(self.space.nvec, device=observations.device)
            starts = sizes.cumsum(0) - sizes
            return inputs.scatter_(2, observations.long() + starts, 1.0)
        flat = observations.reshape(lanes, rows, -1)
        inputs[..., : flat.shape[-1]] = flat
        return inputs

    def new_pass(self, lanes: int, rows: int, device: torch.device) -> Pass:
        """Buffers for a forward pass on ``rows`` observations per lane."""
        return Pass([torch.empty(lanes, rows, width, device=device) for width in self.widths])

    def forward(self, work: Pass) -> None:
        """Fill ``work.targets``."""
        below = work.inputs
        for i, target in enumerate(work.targets):
            weight, bias = self._weights[i], self._biases[i]
            if i > 0 or not self.discrete:
                assert below is not None
                torch.baddbmm(bias, below, weight, out=target)
            elif work.inputs is None:  # the only observation
                torch.add(weight, bias, out=target)
            else:
                work.table_rows = (work.inputs + self._first_rows).flatten()
                torch.index_select(self._table, 0, work.table_rows, out=target.flatten(0, 1))
                target += bias
            if i < self.n_layers - 1:
                if self.activation is nn.Tanh:
                    torch.tanh(target, out=target)
                else:
                    torch.relu_(target)
            below = target

    def backward(self, work: Pass, above: Tensor, add: bool) -> None:
        """Write the gradient of all parameters except ``log_std``.

        :param above: (lanes, rows, width), the derivative of the loss wrt ``work.outputs``
        :param add: add to the existing gradient instead of replacing it
        """
        for i in range(self.n_layers - 1, -1, -1):
            bias, weight = self._bias_gradients[i], self._weight_gradients[i]
            if add:
                bias += above.sum(1, keepdim=True)
            else:
                torch.sum(above, 1, keepdim=True, out=bias)
            if i > 0 or not self.discrete:
                below = work.targets[i - 1] if i > 0 else work.inputs
                assert below is not None
                if add:
                    weight.baddbmm_(below.transpose(1, 2), above)
                else:
                    torch.bmm(below.transpose(1, 2), above, out=weight)
            elif work.inputs is None:
                weight.copy_(weight + above if add else above)
            else:
                assert work.table_rows is not None
                if not add:
                    weight.zero_()
                self._table_gradient.index_add_(0, work.table_rows, above.flatten(0, 1))
            if i > 0:
                below = work.targets[i - 1]
                above = torch.bmm(above, self._weights[i].transpose(1, 2))
                if self.activation is nn.Tanh:
                    torch.ops.aten.tanh_backward.grad_input(above, below, grad_input=above)
                else:
                    above *= below > 0


def check_network(policy: ActorPolicy) -> None:
    """Raise a ValueError unless lanes support the policy's network."""
    if is_image_space(policy.observation_space):
        raise ValueError(
            f"the observations {policy.observation_space} are images, and lanes have no image "
            "encoder"
        )
    extractor = type(policy.features_extractor)
    if extractor is not FlattenExtractor:
        raise ValueError(
            f"lanes support only SB3's FlattenExtractor, but this one is "
            f"{extractor.__name__}: leave features_extractor_class out"
        )
    kind = policy.activation_fn
    if hidden_layers(policy) and kind not in (nn.Tanh, nn.ReLU):
        raise ValueError(
            f"lanes support Tanh or ReLU between their layers, but activation_fn is "
            f"{kind.__name__}: give one of these two"
        )


def hidden_layers(policy: ActorPolicy) -> dict[str, nn.Linear]:
    """The linear layers except the last, as a dict with their names in the policy."""
    return {
        f"mlp_extractor.policy_net.{name}": module
        for name, module in policy.mlp_extractor.policy_net.named_children()
        if isinstance(module, nn.Linear)
    }


def linear(module: object) -> nn.Linear:
    assert isinstance(module, nn.Linear)
    return module
