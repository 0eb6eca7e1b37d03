"""An env that records its calls, in two wrappers. It imports little, so processes start fast."""

from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit


class Asked(gymnasium.Env):
    """Ends after two steps; knows its number, pays what it is told to."""

    observation_space = spaces.Box(0, 9, (1,), np.float32)
    action_space = spaces.Discrete(2)
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"

    def __init__(self, number: int) -> None:
        self.number, self.pay, self.options, self.resets = number, 1.0, "none yet", 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.options, self.resets = 0, options, self.resets + 1
        return np.zeros(1, np.float32), {"reset": self.resets, "of": self.number}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), self.pay, self.t == 2, False, {}

    def times(self, factor: int, plus: int = 0) -> int:
        return factor * self.number + plus

    def new_one(self):
        return self.fresh  # set from outside

    def fail(self):
        raise LookupError(f"nothing in {self.number}")

    def render(self):
        return np.full((2, 2, 3), self.number, np.uint8)


class Outer(gymnasium.ObservationWrapper):
    """A wrapper with an attribute and a method."""

    note = "outer"

    def observation(self, observation):
        return observation

    def shout(self) -> str:
        return self.note.upper()


def asked(number: int) -> gymnasium.Env:
    return Asked(number)


def wrapped(number: int) -> gymnasium.Env:
    env = TimeLimit(Asked(number), 5)
    return Outer(env) if number != 1 else env
