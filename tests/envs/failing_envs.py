"""Envs that fail at a chosen call. They import little, so processes start fast."""

import os
import signal
import time

import gymnasium
import numpy as np
from gymnasium import spaces


class Complaint(Exception):
    """Cannot be made from its text alone, and cannot be copied to another process as it is."""

    def __init__(self, what: str, whom: object) -> None:
        super().__init__(f"{what} {whom}")
        self.what = lambda: what


class Failing(gymnasium.Env):
    """Fails in ``where`` by ``how``: raises, raises what cannot be sent, hangs, dies or exits."""

    observation_space = spaces.Box(0, 9, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, where: str, how: str = "raises") -> None:
        self.where, self.how = where, how
        if how == "hangs":  # and does not listen
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.fail("init")

    def fail(self, where: str) -> None:
        if where != self.where:
            return
        if self.how == "raises":
            raise KeyError("no such level")
        if self.how == "complains":
            raise Complaint("no level", 7)
        if self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exits":
            os._exit(3)
        while self.how == "hangs":
            time.sleep(0.1)
        time.sleep(0.5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.fail("reset")
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if action == 1:
            self.fail("step")
        return np.ones(1, np.float32), 1.0, False, False, {"answer": self.answer()}

    def answer(self):
        return (n for n in range(3)) if self.where == "info" else None

    def ask(self):
        self.fail("ask")
        return "asked"

    def close(self):
        self.fail("close")
