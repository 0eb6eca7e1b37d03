"""One number per parameter and lane: weights, gradients, or moments of the optimizer.

Every parameter of the policy is a *part*: a matrix (rows, width) for each lane, with rows padded by
zeros to a multiple of :data:`WIDTH` numbers. So each lane begins at a whole SIMD vector, and no
elementwise kernel has an incomplete vector at the end. Kernels process such a rest with other
instructions, which round differently. With the padding, a lane's numbers are the same alone and
with other lanes. The padding stays zero during training, because no input and no gradient reaches
it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

WIDTH = 32  #: two AVX-512 vectors, because PyTorch unrolls its loops by two


def padded(width: int) -> int:
    """The smallest multiple of :data:`WIDTH` that is at least ``width``."""
    return -(-width // WIDTH) * WIDTH


class Part(NamedTuple):
    """A parameter of the policy, and the shape of its matrix in a lane."""

    name: str  #: in the policy's ``state_dict``
    shape: tuple[int, ...]  #: in the policy: (outputs, inputs), or (outputs,)
    rows: int  #: inputs, or 1
    width: int  #: outputs, padded

    def write(self, matrix: Tensor, value: Tensor) -> None:
        """Put the policy's parameter into a lane's matrix (rows, width)."""
        value = value.detach()
        value = value.T if value.ndim == 2 else value[None]
        matrix[: value.shape[0], : value.shape[1]] = value

    def read(self, matrix: Tensor) -> Tensor:
        """Get the policy's parameter from a lane's matrix (rows, width)."""
        if len(self.shape) == 1:
            return matrix[0, : self.shape[0]].clone()
        outputs, inputs = self.shape
        return matrix[:inputs, :outputs].T.clone(memory_format=torch.contiguous_format)


class LaneParameters:
    """The numbers of all lanes in one tensor: part after part, and lane after lane in each part.

    :ivar flat: (size,) float32, all numbers
    :ivar views: (lanes, rows, width) for each part, contiguous
    """

    def __init__(self, parts: Sequence[Part], n_lanes: int, device: torch.device) -> None:
        self.parts, self.n_lanes, self.device = list(parts), n_lanes, device
        sizes = [n_lanes * part.rows * part.width for part in parts]
        self.flat = torch.zeros(sum(sizes), device=device)
        self.views = [
            values.view(n_lanes, part.rows, part.width)
            for part, values in zip(parts, self.flat.split(sizes), strict=True)
        ]

    def like(self) -> "LaneParameters":
        """Zeros for the same parameters of the same lanes."""
        return LaneParameters(self.parts, self.n_lanes, self.device)

    def keep(self, lanes: Tensor) -> "LaneParameters":
        """The numbers of these lanes."""
        kept = LaneParameters(self.parts, len(lanes), self.device)
        for mine, theirs in zip(kept.views, self.views, strict=True):
            torch.index_select(theirs, 0, lanes, out=mine)
        return kept

    def write(self, lane: int, state: Mapping[str, Tensor]) -> None:
        """Put the parameters of a policy into a lane."""
        for part, view in zip(self.parts, self.views, strict=True):
            part.write(view[lane], state[part.name])

    def read(self, lane: int) -> dict[str, Tensor]:
        """The parameters of a lane, as a dict with their names in the policy."""
        parts = zip(self.parts, self.views, strict=True)
        return {part.name: part.read(view[lane].cpu()) for part, view in parts}

    def norms(self) -> Tensor:
        """The norm of each lane's numbers (lanes,)."""
        norms = [torch.linalg.vector_norm(view.flatten(1), dim=1) for view in self.views]
        return torch.linalg.vector_norm(torch.stack(norms, 1), dim=1)

    def scale(self, factors: Tensor) -> None:
        """Multiply each lane's numbers by its factor (lanes,)."""
        for view in self.views:
            view *= factors[:, None, None]
