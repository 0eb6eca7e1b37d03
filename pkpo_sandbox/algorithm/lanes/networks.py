"""Many small policy networks as one: stacked weights, a forward and a backward pass for all lanes.

The weights of a lane are one row of a flat tensor (lanes, size). Layers are padded by zeros to a
multiple of :data:`WIDTH` numbers, so that every lane begins at a whole vector of the processor and
no elementwise kernel meets an incomplete one: such a rest goes through other instructions, with
other rounding. A lane's numbers are then the same alone and in any company. The padding stays zero
in training, for neither an input nor a gradient ever reaches it.

The derivatives are written out: for networks this small, recording them costs more than computing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from pkpo_sandbox.algorithm.policies import ActorPolicy

WIDTH = 32  #: two vectors of AVX-512, which is how far PyTorch unrolls its loops

BLOCKED = -1e30  #: the logit of a padding action: its probability is exactly 0


class Part(NamedTuple):
    """Where a parameter of the policy stands in a lane's row."""

    name: str  #: in the policy's ``state_dict``
    offset: int
    rows: int  #: of the padded matrix (rows, width), inputs by outputs; 1 for a vector
    width: int
    shape: tuple[int, ...]  #: in the policy, outputs by inputs

    def view(self, flat: Tensor) -> Tensor:
        """The padded matrices (lanes, rows, width)."""
        end = self.offset + self.rows * self.width
        return flat[:, self.offset : end].unflatten(1, (self.rows, self.width))

    def write(self, row: Tensor, value: Tensor) -> None:
        """Put a parameter of the policy into the row (size,) of a lane."""
        matrix = value.detach().reshape(-1, value.shape[-1]).T if value.ndim > 1 else value[None]
        target = self.view(row[None])[0]
        target[: matrix.shape[0], : matrix.shape[1]] = matrix

    def read(self, row: Tensor) -> Tensor:
        """The parameter as the policy has it."""
        matrix = self.view(row[None])[0]
        if len(self.shape) == 1:
            return matrix[0, : self.shape[0]].clone()
        outputs, inputs = self.shape
        return matrix[:inputs, :outputs].T.clone(memory_format=torch.contiguous_format)


@dataclass
class Pass:
    """A forward pass of all lanes, in buffers that the next iteration uses again.

    :ivar targets: (lanes, rows, width) of each layer, after its activation; the last are the
        outputs, logits or means
    :ivar inputs: (lanes, rows) int64 of a discrete observation, (lanes, rows, features) float32 of
        others; None if there is but one observation
    :ivar table_rows: what the inputs select of the first layers of all lanes
    """

    targets: list[Tensor]
    inputs: Tensor | None = None
    table_rows: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        return self.targets[-1]


class Layer(NamedTuple):
    """A layer of all lanes: views (lanes, inputs, outputs) and (lanes, 1, outputs)."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


class LaneNetwork:
    """The layout of one policy's parameters in a row, and its passes for many rows at a time.

    :param policy: as SB3 builds it; what its layers and distribution are is read from it
    :raises ValueError: if it is not made of linear layers with tanh or ReLU between them
    """

    def __init__(self, policy: ActorPolicy) -> None:
        check_network(policy)
        self.space = policy.observation_space
        self.discrete = isinstance(self.space, spaces.Discrete)
        self.activation = (
            type(policy.mlp_extractor.policy_net[1]) if hidden_layers(policy) else nn.Tanh
        )
        layers = {**hidden_layers(policy), "action_net": linear(policy.action_net)}
        self.parts: list[Part] = []
        self.weights: list[Part] = []
        self.biases: list[Part] = []
        self.size = 0
        for i, (name, module) in enumerate(layers.items()):
            outputs, inputs = module.weight.shape
            rows = inputs if i == 0 and self.discrete else padded(inputs)
            self.weights.append(self._add(f"{name}.weight", rows, padded(outputs), module.weight))
            self.biases.append(self._add(f"{name}.bias", 1, padded(outputs), module.bias))
        self.log_std: Part | None = None
        log_std = getattr(policy, "log_std", None)
        if log_std is not None and log_std.requires_grad:
            self.log_std = self._add("log_std", 1, padded(len(log_std)), log_std)
        # A row is a whole number of the first layer's, so that they are found by one index.
        self.first_width = self.weights[0].width
        self.size = -(-self.size // self.first_width) * self.first_width
        self.features = self.weights[0].rows
        self.n_outputs = layers["action_net"].out_features

    def _add(self, name: str, rows: int, width: int, parameter: Tensor) -> Part:
        part = Part(name, self.size, rows, width, tuple(parameter.shape))
        self.parts.append(part)
        self.size += rows * width
        return part

    @property
    def n_parameters(self) -> int:
        """How many numbers a lane has, without the padding."""
        return sum(torch.Size(part.shape).numel() for part in self.parts)

    def row_of(self, policy: ActorPolicy) -> Tensor:
        """The row (size,) that holds a policy's parameters."""
        row = torch.zeros(self.size)
        state = policy.state_dict()
        for part in self.parts:
            part.write(row, state[part.name])
        return row

    def block_outputs(self, row: Tensor) -> None:
        """Give the padding outputs of a categorical policy no probability."""
        self.biases[-1].view(row[None])[0, 0, self.n_outputs :] = BLOCKED

    def read(self, row: Tensor) -> dict[str, Tensor]:
        """The parameters in a row (size,), by their names in the policy."""
        row = row.cpu()
        return {part.name: part.read(row) for part in self.parts}

    def encode(self, observations: Tensor) -> Tensor:
        """Observations (lanes, rows, ...) as this network's inputs.

        One-hot parts and zeros of padding, as SB3 encodes them; those of a Discrete stay numbers.
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
        """Buffers for a forward pass on ``rows`` observations a lane."""
        return Pass([torch.empty(lanes, rows, part.width, device=device) for part in self.weights])

    def bind(self, flat: Tensor, gradient: Tensor) -> None:
        """Compute with the weights in ``flat`` (lanes, size), gradients going into ``gradient``."""
        self._layers = [
            Layer(weight.view(flat), bias.view(flat), weight.view(gradient), bias.view(gradient))
            for weight, bias in zip(self.weights, self.biases, strict=True)
        ]
        self._table = flat.view(-1, self.first_width)
        self._table_gradient = gradient.view(-1, self.first_width)
        lanes = torch.arange(len(flat), device=flat.device)
        self._first_rows = lanes[:, None] * (self.size // self.first_width)
        own = self.log_std
        self.log_stds = None if own is None else own.view(flat)
        self.log_std_gradients = None if own is None else own.view(gradient)

    def forward(self, work: Pass) -> None:
        """Fill ``work.targets``."""
        below = work.inputs
        for i, (layer, target) in enumerate(zip(self._layers, work.targets, strict=True)):
            if i > 0 or not self.discrete:
                assert below is not None
                torch.baddbmm(layer.bias, below, layer.weight, out=target)
            elif work.inputs is None:  # the only observation
                torch.add(layer.weight, layer.bias, out=target)
            else:
                # The lanes' first layers are one table, of which the observations select rows.
                work.table_rows = (work.inputs + self._first_rows).flatten()
                out = target.view(-1, self.first_width)
                torch.index_select(self._table, 0, work.table_rows, out=out)
                target += layer.bias
            if target is not work.outputs:
                if self.activation is nn.Tanh:
                    torch.tanh(target, out=target)
                else:
                    torch.relu_(target)
            below = target

    def backward(self, work: Pass, above: Tensor, add: bool) -> None:
        """Write the gradient of all parameters but ``log_std``.

        :param above: (lanes, rows, width), the loss's derivative by ``work.outputs``
        :param add: to the gradient that is there, instead of in its place
        """
        for i in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[i]
            if add:
                layer.bias_gradient.add_(above.sum(1, keepdim=True))
            else:
                torch.sum(above, 1, keepdim=True, out=layer.bias_gradient)
            if i > 0 or not self.discrete:
                below = work.targets[i - 1] if i > 0 else work.inputs
                assert below is not None
                _product(layer.weight_gradient, below.transpose(1, 2), above, add)
            elif work.inputs is None:
                _assign(layer.weight_gradient, above, add)
            else:
                assert work.table_rows is not None
                if not add:
                    layer.weight_gradient.zero_()
                rows = above.view(-1, self.first_width)
                self._table_gradient.index_add_(0, work.table_rows, rows)
            if i > 0:
                below = work.targets[i - 1]
                above = torch.bmm(above, layer.weight.transpose(1, 2))
                if self.activation is nn.Tanh:
                    torch.ops.aten.tanh_backward.grad_input(above, below, grad_input=above)
                else:
                    above *= below > 0


def padded(width: int) -> int:
    """The smallest multiple of :data:`WIDTH` that is at least ``width``."""
    return -(-width // WIDTH) * WIDTH


def check_network(policy: ActorPolicy) -> None:
    """Raise a ValueError unless the policy is one that lanes can have."""
    if type(policy) is not ActorPolicy:
        raise ValueError(f"lanes have MlpPolicy, not {type(policy).__name__}")
    if is_image_space(policy.observation_space):
        raise ValueError(
            f"the observations {policy.observation_space} are images, and lanes have no encoder of "
            "them"
        )
    if type(policy.features_extractor) is not FlattenExtractor:
        kind = type(policy.features_extractor).__name__
        raise ValueError(f"lanes have no features extractor but SB3's own, and this one is {kind}")
    kind = policy.activation_fn
    if hidden_layers(policy) and kind not in (nn.Tanh, nn.ReLU):
        raise ValueError(
            f"lanes have Tanh or ReLU between their layers, and activation_fn is {kind.__name__}: "
            "give one of these two"
        )


def hidden_layers(policy: ActorPolicy) -> dict[str, nn.Linear]:
    """The linear layers below the last, by their names in the policy."""
    modules = policy.mlp_extractor.policy_net.named_children()
    return {
        f"mlp_extractor.policy_net.{name}": module
        for name, module in modules
        if isinstance(module, nn.Linear)
    }


def linear(module: object) -> nn.Linear:
    assert isinstance(module, nn.Linear)
    return module


def _product(out: Tensor, a: Tensor, b: Tensor, add: bool) -> None:
    if add:
        out.baddbmm_(a, b)
    else:
        torch.bmm(a, b, out=out)


def _assign(out: Tensor, value: Tensor, add: bool) -> None:
    if add:
        out.add_(value)
    else:
        out.copy_(value)
