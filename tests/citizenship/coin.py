"""An env whose episodes take one or nine steps at random, to detect lost or cut-off episodes."""

import gymnasium
import numpy as np
from gymnasium import spaces

SHORT, LONG = 1, 9
MEAN = (SHORT + LONG) / 2
DEVIATION = (LONG - SHORT) / 2  # of one episode's length
LIMIT = 5_000


class Coin(gymnasium.Env):
    """Every step pays 1, so an episode's return is its length. A long one is a success.

    ``played`` has the lengths of the episodes that were played to their end, the latest last. An
    env that is played for ``LIMIT`` steps raises: something waits for what never comes.
    """

    observation_space = spaces.Box(-10, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.played: list[int] = []
        self.total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = SHORT if self.np_random.random() < 0.5 else LONG
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        self.total += 1
        if self.total > LIMIT:
            raise RuntimeError(f"still played after {LIMIT} steps")
        ended = self.steps == self.length
        info = {}
        if ended:
            self.played.append(self.length)
            info["is_success"] = self.length == LONG
        return np.full(1, self.steps, np.float32), 1.0, ended, False, info


class Lives(gymnasium.Wrapper):
    """Says that an episode has ended every three steps, as SB3's EpisodicLifeEnv for a life.

    The episode goes on until it really ends.
    """

    def reset(self, **kwargs):
        self.steps = 0
        if getattr(self, "over", True):
            self.over = False
            return self.env.reset(**kwargs)
        return np.full(1, self.env.unwrapped.steps, np.float32), {}

    def step(self, action):
        observation, reward, ended, truncated, info = self.env.step(action)
        self.steps += 1
        self.over = ended
        return observation, reward, ended or self.steps == 3, truncated, info


ID = "tests.citizenship.coin:citizenship/Coin-v0"
if "citizenship/Coin-v0" not in gymnasium.registry:
    gymnasium.register("citizenship/Coin-v0", "tests.citizenship.coin:Coin")
