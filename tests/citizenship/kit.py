"""An env that records its calls. It imports little, so processes start fast."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

LENGTH = 3  # steps of an episode


class Kit(gymnasium.Env):
    """Episodes of three steps, or as told; the second, the fourth, ... of an env are truncated.

    It observes (episode, step), pays the number of the action, and keeps the seed and the options
    of its latest reset.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    observation_space = spaces.Box(-1000, 1000, (2,), np.float32)
    action_space = spaces.Discrete(4)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.start_over()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.given = {"seed": seed, "options": options}
        self.episode, self.steps = self.episode + 1, 0
        return self._observe(), {"episode_number": self.episode, "noise": self.np_random.random()}

    def step(self, action):
        self.steps += 1
        ended = self.steps == self.length
        cut = self.episode % 2 == 0
        info = {"steps": self.steps, "where": {"episode": self.episode}}
        return self._observe(), float(action), ended and not cut, ended and cut, info

    def render(self):
        return np.full((4, 6, 3), 10 * self.episode + self.steps, np.uint8)

    def describe(self, *words: str, end: str = ".") -> str:
        return " ".join([self.label, *words]) + end

    def start_over(self, length: int = LENGTH) -> None:
        """As new, but for the attributes that were added, and of another length if told so."""
        self.label, self.length = "kit", length
        self.episode = self.steps = 0
        self.given: dict[str, Any] = {}

    def _observe(self) -> np.ndarray:
        return np.array([self.episode, self.steps], np.float32)


class Tagged(gymnasium.Wrapper):
    """A wrapper with an attribute and a method."""

    tag = "tagged"

    def shout(self, word: str) -> str:
        return word.upper()


def make(**kwargs: Any) -> Tagged:
    return Tagged(Kit(**kwargs))


ID = "tests.citizenship.kit:citizenship/Kit-v0"
if "citizenship/Kit-v0" not in gymnasium.registry:
    gymnasium.register("citizenship/Kit-v0", "tests.citizenship.kit:make")
