"""Small envs for films, and a function that reads the frames of a film."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from PIL import Image


class Ladder(gym.Env):
    """Up by 1 with action 1; eight steps, a picture that brightens on the way up."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(9)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.rung = self.steps = 0
        return self.rung, {}

    def step(self, action):
        self.rung, self.steps = self.rung + int(action), self.steps + 1
        return self.rung, float(action), self.steps == 8, False, {}

    def render(self):
        return np.full((30, 40, 3), 25 * self.rung, np.uint8)


class Unseen(Ladder):
    metadata = {"render_modes": []}  # noqa: RUF012


@contextmanager
def registered() -> Iterator[None]:
    """Gymnasium has these envs meanwhile."""
    ids = {"Ladder-v0": Ladder, "Unseen-v0": Unseen}
    for env_id, env in ids.items():
        gym.register(env_id, entry_point=env)
    yield
    for env_id in ids:
        del gym.registry[env_id]


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        frames = []
        for index in range(film.n_frames):
            film.seek(index)
            frames.append(np.array(film.convert("RGB")))
        return frames
