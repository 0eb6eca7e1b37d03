"""The observation and action spaces that are supported."""

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

#: the spaces that SB3's networks and distributions support
OBSERVATION_SPACES = (
    spaces.Box,
    spaces.Discrete,
    spaces.MultiDiscrete,
    spaces.MultiBinary,
    spaces.Dict,
)

ACTION_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)

SMALLEST_IMAGE = 36  #: the smallest height and width in pixels that NatureCNN accepts


def policy_for(observation_space: spaces.Space) -> str:
    """SB3's name of the policy that fits these observations.

    "MultiInputPolicy" for a Dict, "CnnPolicy" for images, else "MlpPolicy". Images below 36 pixels
    in height or width are too small for SB3's ``NatureCNN`` and also get "MlpPolicy".
    """
    if isinstance(observation_space, spaces.Dict):
        return "MultiInputPolicy"
    if is_image_space(observation_space):
        *_, shorter, _ = sorted(observation_space.shape)  # type: ignore[arg-type]
        return "CnnPolicy" if shorter >= SMALLEST_IMAGE else "MlpPolicy"
    return "MlpPolicy"


def env_actions(actions: torch.Tensor, action_space: spaces.Space) -> np.ndarray:
    """Convert sampled actions (columns, ...) for the env: clipped to a Box, as SB3 does."""
    array = actions.cpu().numpy()
    if isinstance(action_space, spaces.Box):
        array = array.reshape(-1, *action_space.shape)
        array = np.clip(array, action_space.low, action_space.high)
    return array


def check_spaces(observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Raise a ValueError if SB3 has no network or distribution for the spaces."""
    observations = {"observation space": observation_space}
    if isinstance(observation_space, spaces.Dict):
        parts = observation_space.spaces.items()
        observations = {f"observation space's {key!r}": space for key, space in parts}
    for role, space in observations.items():
        inside = observation_space is not space
        _check_space(role, space, OBSERVATION_SPACES[:-1] if inside else OBSERVATION_SPACES)
    _check_space("action space", action_space, ACTION_SPACES)
    if not isinstance(action_space, spaces.Box):
        return
    if not np.issubdtype(action_space.dtype, np.floating):
        raise ValueError(
            f"the action space {action_space} has whole numbers, but actions for a Box are "
            "Gaussian: make it a MultiDiscrete (gymnasium.wrappers.TransformAction)"
        )
    if not np.all(np.isfinite([action_space.low, action_space.high])):
        raise ValueError(
            f"the action space {action_space} is unbounded: give Box actions finite bounds, "
            "best -1 and 1 (gymnasium.wrappers.RescaleAction)"
        )


def _check_space(role: str, space: spaces.Space, allowed: tuple[type, ...]) -> None:
    if not isinstance(space, allowed):
        names = ", ".join(kind.__name__ for kind in allowed)
        raise ValueError(
            f"the {role} {space} is not supported: use one of {names}, or a Gymnasium wrapper that "
            "turns it into one (wrappers of make_group_env, env.wrappers of pkpo-train)"
        )
    if np.any(getattr(space, "start", 0) != 0):
        raise ValueError(
            f"the {role} {space} does not start at 0, but SB3 assumes that: shift it by a wrapper "
            "(gymnasium.wrappers.TransformObservation, TransformAction)"
        )
    flat = spaces.MultiDiscrete | spaces.MultiBinary
    if role != "action space":
        flat = spaces.MultiDiscrete
    if isinstance(space, flat) and len(space.shape) > 1:
        raise ValueError(
            f"the {role} {space} has {len(space.shape)} axes, but SB3's policies need one: flatten "
            "it by a wrapper (gymnasium.wrappers.TransformObservation, TransformAction)"
        )
    if isinstance(space, spaces.Box) and space.shape == () and role != "action space":
        raise ValueError(
            f"the {role} {space} is a single number without an axis, but SB3's networks need one: "
            "give it the shape (1,) by a wrapper (gymnasium.wrappers.ReshapeObservation)"
        )
