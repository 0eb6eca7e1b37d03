"""Checkpoints: a stopped run resumes and reaches the same final weights.

At each checkpoint the run is reseeded from its seed and its timesteps so far, and every env is
reset. What follows depends only on the content of the checkpoint. So the process that wrote it and
a process that resumes from it compute the same results. A checkpoint contains tensors, numbers and
text. ``torch.load`` reads it with ``weights_only=True``.
"""

import io
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
from pkpo_sandbox.algorithm.playing import EpisodeReturns
from pkpo_sandbox.algorithm.streams import stream_seed
from pkpo_sandbox.runs.folder import write_atomically
from pkpo_sandbox.runs.logs import rewind, rows_so_far

LOGGED = ("window", "episodes", "successes")  # parts of the training state; values of any type
PLAIN = (bool, int, float, str, type(None))
CODE = (FunctionType, MethodType, BuiltinFunctionType, type)
#: attributes that SB3 sets on a callback each time training starts
GIVEN = ("parent", "model", "logger", "locals", "globals")
MADE_ANEW = (
    BaseCallback,
    BaseAlgorithm,
    Logger,
    EpisodeReturns,
    VecEnv,
    gymnasium.Env,
    gymnasium.vector.VectorEnv,
)


class Checkpoint(BaseCallback):
    """Writes checkpoints between iterations, every ``every`` timesteps, and restores the last one.

    It must be the last callback. It keeps those attributes of the other callbacks that are numbers,
    text, arrays, tensors, NumPy generators or containers of them. It warns about the others. It
    does not keep env state that survives a reset.

    :param path: the checkpoint file
    :param every: timesteps between checkpoints, at least 1
    :param seed: the run's seed
    :param watchers: the other callbacks
    """

    def __init__(self, path: Path, every: int, seed: int, watchers: Sequence[BaseCallback]) -> None:
        super().__init__()
        self.path, self.every, self.seed, self.watchers = path, every, seed, watchers
        self.due = every  #: the next checkpoint is due at this number of timesteps
        self._saved: dict[str, Any] | None = None
        self._warned = False

    def restore(self, model: GroupPolicyGradient) -> bool:
        """Restore a new model from the last checkpoint. Returns whether there is one.

        :raises ValueError: if the file is damaged, or belongs to another network
        """
        if not self.path.exists():
            return False
        try:
            saved = torch.load(self.path, map_location=model.device, weights_only=True)
            logged = {name: decoded(saved[name]) for name in LOGGED}
            model.restore_training_state(saved | logged)
        except Exception as error:  # torch raises errors of many types
            raise ValueError(
                f"{self.path} is damaged, or of another env or policy than the config now names "
                f"({type(error).__name__}): delete it to train the run from the start"
            ) from error
        rewind(model.logger, saved["rows"], model.num_timesteps)
        self._saved = saved
        return True

    def _on_training_start(self) -> None:
        if self._saved is None:
            return
        for callback, kept in zip(nested(self.watchers), self._saved["callbacks"], strict=True):
            vars(callback).update({name: decoded(value) for name, value in kept.items()})
        for name, (value, count, excluded) in decoded(self._saved["unlogged"]).items():
            self.logger.name_to_value[name] = value
            self.logger.name_to_count[name] = count
            self.logger.name_to_excluded[name] = excluded
        self.due = self._saved["due"]

    def _on_rollout_start(self) -> None:
        if self.num_timesteps < self.due:
            return
        write_atomically(self.path, self._content())
        self.due = self.num_timesteps + self.every
        model: Any = self.model
        model.begin_anew(stream_seed(self.seed, "checkpoint", self.num_timesteps))

    def _on_step(self) -> bool:
        return True

    def _content(self) -> bytes:
        model: Any = self.model
        log, lost = self.logger, []
        callbacks = [kept(callback, lost) for callback in nested(self.watchers)]
        if lost and not self._warned:
            warnings.warn(
                f"a checkpoint does not keep {', '.join(lost)}: after a resume they have their "
                "initial values; numbers, arrays and containers of them are kept",
                stacklevel=2,
            )
            self._warned = True
        unlogged = {
            name: (value, log.name_to_count.get(name, 0), log.name_to_excluded[name])
            for name, value in log.name_to_value.items()
            if isinstance(value, (*PLAIN, np.generic))
        }
        state = model.training_state()
        content = {
            **state,
            **{name: encoded(state[name]) for name in LOGGED},
            "rows": rows_so_far(log),
            "callbacks": callbacks,
            "unlogged": encoded(unlogged),
            "due": self.due,
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()


def nested(callbacks: Sequence[BaseCallback]) -> Iterator[BaseCallback]:
    """Callbacks, and the callbacks that they call, such as EvalCallback's callback_on_new_best."""
    seen: list[BaseCallback] = []
    waiting = list(callbacks)
    while waiting:
        callback = waiting.pop(0)
        if any(callback is other for other in seen):
            continue
        seen.append(callback)
        yield callback
        for name, value in vars(callback).items():
            if name not in GIVEN:
                items = value if isinstance(value, list) else [value]
                waiting += [item for item in items if isinstance(item, BaseCallback)]


def kept(callback: BaseCallback, lost: list[str]) -> dict[str, Any]:
    """The attributes of a callback for the checkpoint. Appends the names of others to ``lost``."""
    attributes = {}
    for name, value in vars(callback).items():
        items = value if isinstance(value, list) else [value]
        if name in GIVEN or any(isinstance(item, (*MADE_ANEW, *CODE)) for item in items):
            continue
        try:
            attributes[name] = encoded(value)
        except TypeError:
            lost.append(f"{type(callback).__name__}.{name} ({type(value).__name__})")
    return attributes


def encoded(value: Any) -> Any:
    """Convert a value so that a file without pickled objects can hold it.

    :raises TypeError: for a type that cannot be converted
    """
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in PLAIN:
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return ("array", torch.from_numpy(value.copy()))
    if isinstance(value, torch.Tensor):
        return ("tensor", value.detach())
    if isinstance(value, np.random.Generator):
        state = value.bit_generator.state
        return ("generator", type(value.bit_generator).__name__, encoded(state))
    if type(value) is dict:
        return ("dict", [(encoded(key), encoded(entry)) for key, entry in value.items()])
    if type(value) in (list, tuple, set, deque):
        length = [value.maxlen] if isinstance(value, deque) else []
        return (type(value).__name__, [encoded(entry) for entry in value], *length)
    if isinstance(value, Path):
        return ("path", str(value))
    raise TypeError(f"no place in a checkpoint for {type(value).__name__}")


def decoded(value: Any) -> Any:
    """The inverse of :func:`encoded`."""
    if not isinstance(value, tuple):
        return value
    kind, content, *rest = value
    if kind == "array":
        return content.cpu().numpy().copy()
    if kind == "tensor":
        return content
    if kind == "path":
        return Path(content)
    if kind == "generator":
        generator = np.random.Generator(getattr(np.random, content)())
        generator.bit_generator.state = decoded(rest[0])
        return generator
    if kind == "dict":
        return {decoded(key): decoded(entry) for key, entry in content}
    entries = [decoded(entry) for entry in content]
    if kind == "deque":
        return deque(entries, *rest)
    return {"list": list, "tuple": tuple, "set": set}[kind](entries)
