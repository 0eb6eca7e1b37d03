"""Checks of the arguments of a world: options, problems, actions, policies."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray


def check_target(k: Any) -> int:
    """Return k as an int. It must be an integer of at least 1: the best is of k attempts."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k={k!r} must be an integer of at least 1: the best is of k attempts.")
    return int(k)


def check_distribution(policy: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the policy as float64. It must have this shape and hold distributions.

    Its entries must be at least 0 and sum to 1 (within 1e-5) on the last axis.
    """
    policy = np.asarray(policy, dtype=np.float64)
    if policy.shape != shape:
        raise ValueError(
            f"The policy has shape {policy.shape}, expected {shape}: one probability per action."
        )
    if not (policy >= 0).all():
        raise ValueError(
            f"The policy has the probability {policy[~(policy >= 0)][0]}: each must be at least 0."
        )
    totals = policy.sum(axis=-1).ravel()
    worst = totals[np.abs(totals - 1).argmax()]
    if not abs(worst - 1) <= 1e-5:
        raise ValueError(
            f"The policy sums to {worst}, not to 1: divide the probabilities by their sum."
        )
    return policy


def check_options(options: dict[str, Any] | None, known: set[str]) -> dict[str, Any]:
    options = options or {}
    if not options.keys() <= known:
        unknown = sorted(options.keys() - known)
        raise ValueError(f"reset() has no options {unknown}: choose from {sorted(known)}.")
    return options


def check_mask(mask: Any, num_envs: int) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.shape != (num_envs,) or array.dtype != np.bool_:
        raise ValueError(
            f"options['reset_mask'] must be a boolean array of shape ({num_envs},), got "
            f"{array.dtype} of shape {array.shape}."
        )
    if not array.any():
        raise ValueError("options['reset_mask'] marks no column: skip the reset, or mark one.")
    return array


def check_problems(
    problems: Any, n_problems: int, batch: int, counts: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the problems as an array (batch,).

    :param problems: one integer for all rows, or one per row
    :param counts: (batch,) the rows to check; None checks all rows
    """
    array = np.asarray(problems)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"options['problem']={problems!r} must be an integer from 0 to {n_problems - 1}."
        )
    if array.shape not in ((), (batch,)):
        raise ValueError(
            f"options['problem'] has shape {array.shape}: give one integer for all columns"
            f"{'' if batch == 1 else f', or an array of shape ({batch},)'}."
        )
    array = np.broadcast_to(array, (batch,))
    outside = (array < 0) | (array >= n_problems)
    if counts is not None:
        outside &= counts
    if outside.any():
        raise ValueError(
            f"options['problem'] has {array[outside][0]}, but the problems are 0 to "
            f"{n_problems - 1}: choose one of them."
        )
    return array.astype(np.int64)


def check_actions(actions: NDArray[Any], space: spaces.Space[Any], batch: int) -> NDArray[Any]:
    """Return the actions (batch, ...) in the dtype of the space.

    Discrete actions must be in range, real actions must be finite.
    """
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box):
        raise TypeError(f"Worlds do not act in {space}: use a Discrete, MultiDiscrete or Box.")
    shape = (batch, *(space.shape or ()))
    if actions.shape != shape:
        raise ValueError(
            f"The actions have shape {actions.shape}, expected {shape}: one of {space} per column."
        )
    if isinstance(space, spaces.Box):
        # Also False for NaN and for values that overflow float32.
        valid = np.abs(actions) <= np.finfo(space.dtype).max
        bound = "finite: look for NaN or infinity in the policy"
    elif np.issubdtype(actions.dtype, np.integer):
        size = space.n if isinstance(space, spaces.Discrete) else space.nvec
        valid = (actions >= space.start) & (actions < space.start + size)
        bound = f"an element of {space}: the smallest is {space.start}, and there are {size}"
    else:
        raise ValueError(
            f"The actions {actions[:8].tolist()} have dtype {actions.dtype}, but {space} takes "
            "integers: cast them first."
        )
    if not valid.all():
        column = int(np.argwhere(~valid)[0, 0])
        raise ValueError(f"The action {actions[column]} of column {column} must be {bound}.")
    return actions.astype(space.dtype, copy=False)
