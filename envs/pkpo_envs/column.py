"""One env as a column of a vector env, handled as in Stable-Baselines3's ``DummyVecEnv``.

Imports NumPy and Gymnasium only. The processes of async columns import this module, so it must
not load torch.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

ARRAY_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)


class Column:
    """One env with its observations cast to its space, and the requests that it answers.

    :ivar observation_space: observations are cast to it; by default the env's own space
    :param env: the env; no other column may use it
    :param index: number of the column, for error messages
    :raises ValueError: if ``env`` is not a Gymnasium env
    """

    def __init__(self, env: gymnasium.Env, index: int = 0) -> None:
        if not isinstance(env, gymnasium.Env):
            raise ValueError(
                f"column {index} is a {type(env).__name__}, not a Gymnasium env: derive it from "
                "gymnasium.Env, or wrap an env of the old gym (package shimmy)"
            )
        self.env, self.index = env, index
        self.observation_space = env.observation_space

    def describe(self) -> dict[str, Any]:
        """Return the facts that a vector env needs about its columns."""
        return {
            "observation_space": self.env.observation_space,
            "action_space": self.env.action_space,
            "metadata": dict(getattr(self.env, "metadata", None) or {}),
            "render_mode": getattr(self.env, "render_mode", None),
        }

    def expect(self, observation_space: spaces.Space) -> None:
        """Cast observations to this space from now on."""
        self.observation_space = observation_space

    def reset(self, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Reset the env with these arguments. -> observation, info"""
        observation, info = self.env.reset(**arguments)
        return self._cast(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        """Step the env. -> observation, reward, terminated, truncated, info"""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not isinstance(reward, float):
            reward = self._number(reward)
        return self._cast(observation), reward, bool(terminated), bool(truncated), info

    def has_attr(self, name: str) -> bool:
        return self.env.has_wrapper_attr(name)

    def get_attr(self, name: str) -> Any:
        return self.env.get_wrapper_attr(name)

    def set_attr(self, name: str, value: Any) -> None:
        """Set an attribute on the env or wrapper that has it, else on the outermost wrapper."""
        self.env.set_wrapper_attr(name, value)

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return self.env.get_wrapper_attr(name)(*arguments, **keywords)

    def render(self) -> Any:
        return self.env.render()

    def is_wrapped(self, wrapper_class: type[gymnasium.Wrapper]) -> bool:
        return any(isinstance(wrapper, wrapper_class) for wrapper in self._wrappers())

    def wrapper_names(self) -> set[tuple[str, str]]:
        """Return the class names of all wrappers and of their base classes."""
        return {class_name(kind) for wrapper in self._wrappers() for kind in type(wrapper).__mro__}

    def _wrappers(self) -> list[gymnasium.Wrapper]:
        wrappers, env = [], self.env
        while isinstance(env, gymnasium.Wrapper):
            wrappers.append(env)
            env = env.env
        return wrappers

    def _cast(self, observation: Any) -> Any:
        try:
            return cast(self.observation_space, observation)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise ValueError(
                f"the env in column {self.index} gave an observation that does not fit its space "
                f"{self.observation_space} ({type(error).__name__}: {error}): {observation!r}"
            ) from error

    def _number(self, reward: Any) -> float:
        try:
            return float(np.asarray(reward, dtype=np.float64).reshape(()))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"the env in column {self.index} gave the reward {reward!r}: it must be one number"
            ) from error


def cast(space: spaces.Space, value: Any) -> Any:
    """Copy an observation into the shape and dtype of its space, with NumPy's assignment cast."""
    if isinstance(space, spaces.Dict):
        return {key: cast(part, value[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(cast(part, value[i]) for i, part in enumerate(space.spaces))
    if not isinstance(space, ARRAY_SPACES) or space.shape is None:
        return value
    array = np.empty(space.shape, space.dtype)
    array[...] = value
    return array


def class_name(kind: type) -> tuple[str, str]:
    """Return a class's module and name. They are the same in all processes of a program."""
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return module, kind.__qualname__
