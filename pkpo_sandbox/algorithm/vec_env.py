"""Stable-Baselines3's ``VecEnv`` calls, answered by a Gymnasium vector env."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from pkpo_envs import ProblemVectorEnv


class ColumnVecEnv(VecEnv):
    """The part of SB3's ``VecEnv`` that is about single columns: attributes, methods, wrappers.

    :param venv: a Gymnasium vector env
    """

    def __init__(self, venv: VectorEnv) -> None:
        self.venv = venv
        self._base = venv.unwrapped
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)

    def close(self) -> None:
        self.venv.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        frames: list[Any] = list(self.venv.render() or ())
        # A world of ours draws all its columns into one picture.
        return frames[:1] if isinstance(self._base, ProblemVectorEnv) else frames

    def has_attr(self, attr_name: str) -> bool:
        if isinstance(self._base, SyncVectorEnv | AsyncVectorEnv):
            return all(self._base.call("has_wrapper_attr", attr_name))
        return hasattr(self._base, attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        if isinstance(self._base, SyncVectorEnv | AsyncVectorEnv):
            values = list(self._base.get_attr(attr_name))
        else:
            values = [getattr(self._base, attr_name)] * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if not isinstance(self._base, SyncVectorEnv | AsyncVectorEnv):
            self._refuse_some(attr_name, indices)
            setattr(self._base, attr_name, value)
            return
        values = list(self._base.get_attr(attr_name))
        for i in self._get_indices(indices):
            values[i] = value
        self._base.set_attr(attr_name, values)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs
    ) -> list[Any]:
        if isinstance(self._base, SyncVectorEnv):
            envs = [self._base.envs[i] for i in self._get_indices(indices)]
            methods = [env.get_wrapper_attr(method_name) for env in envs]
            return [method(*method_args, **method_kwargs) for method in methods]
        self._refuse_some(method_name, indices)
        if isinstance(self._base, AsyncVectorEnv):
            return list(self._base.call(method_name, *method_args, **method_kwargs))
        return [getattr(self._base, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def _refuse_some(self, name: str, indices: VecEnvIndices) -> None:
        """Raise a ValueError for some columns of a vector env that reaches all or none."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"the columns of {self.venv} share {name!r}: use indices=None")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        from stable_baselines3.common.env_util import is_wrapped
        from stable_baselines3.common.monitor import Monitor

        if wrapper_class is Monitor:
            return [True] * len(list(self._get_indices(indices)))
        envs: Sequence[gymnasium.Env | None] = getattr(self._base, "envs", [None] * self.num_envs)
        wrapped = [env is not None and is_wrapped(env, wrapper_class) for env in envs]
        return [wrapped[i] for i in self._get_indices(indices)]
