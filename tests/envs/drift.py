"""A noisy env for tests. It imports little, so processes start fast."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Drift(gymnasium.Env):
    """Starts at random and moves by noise and by the action; each step may be the last.

    It pays where it is, and remembers the options of its latest reset.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(2)
    options = None

    def __init__(self, end: float = 0.0) -> None:
        self.end = end

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options = options
        self.x = self.np_random.normal(size=1)
        return self.x.copy(), {"from": "reset"}

    def step(self, action):
        self.x = self.x + self.np_random.normal(size=1) + action
        ended = bool(self.np_random.random() < self.end)
        return self.x.copy(), self.x.item(), ended, False, {"from": "step"}
