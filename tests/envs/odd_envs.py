"""Envs that differ from the usual in one way each, and that Stable-Baselines3's A2C trains on.

An episode has three steps, and a step pays for action 1. Light enough for processes.
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Usual(gymnasium.Env):
    """Observes (step, 0.25, 200), pays 1 for action 1, and ends after three steps."""

    observation_space: spaces.Space = spaces.Box(0, 255, (3,), np.float32)
    action_space: spaces.Space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation(), self.info()

    def step(self, action):
        self.t += 1
        return self.observation(), self.reward(action), *self.ends(self.t == 3), self.info()

    def observation(self) -> Any:
        return np.array([self.t, 0.25, 200], np.float32)

    def reward(self, action) -> Any:
        return float(np.sum(action))

    def ends(self, over: bool) -> tuple[Any, Any]:
        return over, False

    def info(self) -> Any:
        return {}


# Infos


class Telling(Usual):
    """Tells at step t the t-th of some infos, the first one at the reset."""

    infos: ClassVar[list[Any]] = []

    def info(self):
        return self.infos[self.t]


class IntThenFloat(Telling):
    infos: ClassVar = [{"x": 0}, {"x": 0}, {"x": 0.5}, {"x": 1.5}]


class NoneThenInt(Telling):
    infos: ClassVar = [{"place": None}, {"place": 3}, {"place": None}, {"place": "third"}]


class IntThenText(Telling):
    infos: ClassVar = [{"result": 0}, {"result": 0}, {"result": "won"}, {"result": b"won"}]


class ArraysOfManyLengths(Telling):
    infos: ClassVar = [{"path": np.arange(n)} for n in (2, 1, 3, 0)]


class ArrayThenNumber(Telling):
    infos: ClassVar = [{"a": np.ones(2)}, {"a": 4}, {"a": np.array(5)}, {"a": [np.ones(2), None]}]


class NestedInfos(Telling):
    infos: ClassVar = [
        {"a": {"b": 1}},
        {"a": {"b": {"c": [1, 2]}}},
        {"a": 3},
        {"a": {"b": {"c": ({"d": np.zeros(2)},)}}},
    ]


class UnusualKeys(Telling):
    infos: ClassVar = [{1: 2}, {"_x": 1, "x": 2}, {("a", 0): 1}, {"final_obs": 1, "columns": 2}]


class OtherKeysEachTime(Telling):
    infos: ClassVar = [{}, {"a": 1}, {"b": 2}, {"a": 3, "c": 4}]


class Thing:
    """An object that NumPy can do nothing with."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other):
        return isinstance(other, Thing) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


class ObjectsInInfos(Telling):
    infos: ClassVar = [{"it": Thing(n), "kind": Thing, "set": {n}} for n in range(4)]


class GrowingList(Usual):
    def reset(self, **kwargs):
        self.history: list[int] = []
        return super().reset(**kwargs)

    def info(self):
        self.history.append(self.t)
        return {"history": self.history}


class OneInfoForAll(Usual):
    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def info(self):
        self.told["t"] = self.t
        return self.told


class NoInfoAtReset(Usual):
    def reset(self, **kwargs):
        return super().reset(**kwargs)[0], None


class EpisodeNumber(Usual):
    """Counts its episodes under the key that SB3's Monitor uses."""

    number = 0

    def reset(self, **kwargs):
        self.number += 1
        return super().reset(**kwargs)

    def info(self):
        return {"episode": self.number} if self.t in (0, 3) else {}


class SuccessNowAndThen(Telling):
    infos: ClassVar = [{}, {"is_success": None}, {}, {"is_success": np.bool_(True)}]


# Observations


class Uint8FromInt64(Usual):
    observation_space = spaces.Box(0, 255, (3,), np.uint8)

    def observation(self):
        return np.array([self.t, 0, 200])


class Float32FromFloat64(Usual):
    def observation(self):
        return np.array([self.t, 0.1, 200.0])


class Float16FromFloat32(Usual):
    observation_space = spaces.Box(0, 255, (3,), np.float16)


class Int64FromFloat64(Usual):
    observation_space = spaces.Box(0, 255, (3,), np.int64)

    def observation(self):
        return np.array([self.t, 0.75, 200.0])


class BoolFromInt64(Usual):
    observation_space = spaces.MultiBinary(3)

    def observation(self):
        return np.array([self.t % 2, 0, 1])


class ListOfNumbers(Usual):
    def observation(self):
        return [self.t, 0.25, 200]


class TupleForMultiDiscrete(Usual):
    observation_space = spaces.MultiDiscrete([4, 2])

    def observation(self):
        return self.t, 1


class IntForDiscrete(Usual):
    observation_space = spaces.Discrete(4)

    def observation(self):
        return self.t


class Int32ForDiscrete(Usual):
    observation_space = spaces.Discrete(4)

    def observation(self):
        return np.array([self.t], np.int32)[0]


class NumberForBox(Usual):
    observation_space = spaces.Box(0, 255, (1,), np.float32)

    def observation(self):
        return float(self.t)


class AxisTooMuch(Usual):
    def observation(self):
        return super().observation()[None]


class DictOfManyTypes(Usual):
    observation_space = spaces.Dict(
        {
            "box": spaces.Box(-1, 255, (2,), np.float32),
            "bits": spaces.MultiBinary(2),
            "n": spaces.Discrete(4),
        }
    )

    def observation(self):
        return {"n": np.int8(self.t), "bits": [True, False], "box": (self.t, 0.1), "more": "text"}


class SmallImage(Usual):
    observation_space = spaces.Box(0, 255, (4, 4, 3), np.uint8)

    def observation(self):
        return np.full((4, 4, 3), 10 * self.t)


class OneArrayForAll(Usual):
    def __init__(self) -> None:
        self.array = np.zeros(3, np.float32)

    def observation(self):
        self.array[:] = super().observation()
        return self.array


class BoundsOfItsOwn(Usual):
    """No two envs have equal spaces."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.observation_space = spaces.Box(0, 255 + self.made, (3,), np.float32)
        self.action_space = spaces.Box(-1, 1 + 1e-3 * self.made, (2,), np.float32)


# Rewards and ends


class RewardOfFloat32(Usual):
    def reward(self, action):
        return np.float32(0.1)


class RewardInArray(Usual):
    def reward(self, action):
        return np.array(0.5)


class RewardOfInt(Usual):
    def reward(self, action):
        return 2


class RewardOfBool(Usual):
    def reward(self, action):
        return np.bool_(action == 1)


class EndsInNumpy(Usual):
    def ends(self, over):
        return np.bool_(over), np.array(False)


class EndsInInts(Usual):
    def ends(self, over):
        return int(over), 0


class EndsTwice(Usual):
    def ends(self, over):
        return over, over


class IsCutOff(Usual):
    def ends(self, over):
        return False, over


class OneStep(Usual):
    def ends(self, over):
        return True, False


# Resets


class TakesOnlySeed(Usual):
    def reset(self, seed=None):
        return super().reset(seed=seed)


class ReadsItsOptions(Usual):
    def reset(self, *, seed=None, options=None):
        if options is not None:
            self.level = options["level"]
        return super().reset(seed=seed)


class TakesSmallSeeds(Usual):
    def reset(self, *, seed=None, options=None):
        if seed is not None and not 0 <= seed < 2**31:
            raise OverflowError(f"seed {seed} does not fit into 31 bits")
        return super().reset(seed=seed)


class TakesSeedsOfPython(Usual):
    def reset(self, *, seed=None, options=None):
        assert seed is None or type(seed) is int
        return super().reset(seed=seed)


class RefusesToGoOn(Usual):
    """As simulators do that have no state after the end of an episode."""

    t = 3

    def step(self, action):
        if self.t == 3:
            raise RuntimeError("step() after the end")
        return super().step(action)


# Attributes


class OtherMeanings(Usual):
    """Attributes that groups ask for, and that are something else here."""

    exact = True
    n_problems = "many"
    decision_observations = 3
    problem = "what to do"
    world = copy = envs = num_envs = None


class OtherMethods(Usual):
    def exact(self, state):
        raise AssertionError

    def n_problems(self):
        raise AssertionError

    def decision_observations(self, wanted):
        raise AssertionError


class FailingProperties(Usual):
    @property
    def n_problems(self):
        raise RuntimeError("only after a reset")

    exact = decision_observations = n_problems


class NoMetadata(Usual):
    metadata = None  # type: ignore[assignment]


class CanBeDrawn(Usual):
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"

    def render(self):
        return np.zeros((4, 4, 3), np.uint8)


class LooksEmpty(Usual):
    def __len__(self) -> int:
        return 0


class Proxy(gymnasium.Wrapper):
    """Hands on every attribute, private ones too."""

    def __init__(self) -> None:
        super().__init__(IntThenFloat())

    def __getattr__(self, name):
        return getattr(self.env, name)


class AnswersEverything(Usual):
    """As remote objects do, of which every attribute is a function."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: name


# Actions


class StrictDiscrete(Usual):
    def step(self, action):
        assert self.action_space.contains(action)
        return super().step(action)


class StrictMultiDiscrete(StrictDiscrete):
    action_space = spaces.MultiDiscrete([2, 3])


class StrictMultiBinary(Usual):
    action_space = spaces.MultiBinary(3)


class StrictBox(StrictDiscrete):
    action_space = spaces.Box(-1, 1, (2,), np.float32)


class BoxOfTwoAxes(StrictDiscrete):
    action_space = spaces.Box(-1, 1, (2, 3), np.float32)


def odd_envs() -> dict[str, type]:
    """All of them, by name."""
    return {
        name: kind
        for name, kind in globals().items()
        if isinstance(kind, type) and issubclass(kind, gymnasium.Env) and kind is not Telling
    }
