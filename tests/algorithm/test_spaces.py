"""Spaces: every one is played and trained on, and what SB3 would misread is refused."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN

from pkpo_sandbox.algorithm.groups import make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.spaces import check_spaces, policy_for
from pkpo_sandbox.metrics.evaluation import evaluate_groups
from tests.algorithm.short_runs import Tape, bandit, parameters, pkpo_on

DISCRETE = spaces.Discrete(5)
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
OBSERVATIONS = {
    "vector": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "matrix": spaces.Box(-1, 1, (2, 2), np.float32),
    "image": IMAGE,
    "small image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "discrete": spaces.Discrete(5),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(4),
    "dict": spaces.Dict(
        a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3), c=spaces.MultiBinary(2), d=IMAGE
    ),
}
ACTIONS = {
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "float64 box": spaces.Box(np.zeros((2, 2)), np.full((2, 2), 3.0), dtype=np.float64),
    "discrete": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([2, 4]),
    "multi-binary": spaces.MultiBinary(3),
}


class AnySpaces(gymnasium.Env):
    """Observes at random, insists on its action space, and ends by chance after a step or more."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        if isinstance(self.action_space, spaces.MultiBinary):
            assert action.dtype == self.action_space.dtype  # it may be used as an index
        reward, ended = float(np.sum(action)), bool(self.np_random.random() < 0.3)
        return self.observation_space.sample(), reward, ended, False, {}


@pytest.fixture
def any_spaces():
    gymnasium.register("test/AnySpaces-v0", entry_point=AnySpaces)
    yield "test/AnySpaces-v0"
    del gymnasium.registry["test/AnySpaces-v0"]


@pytest.mark.parametrize(
    ("observed", "acted"),
    [
        *((observed, "discrete") for observed in OBSERVATIONS),
        *(("vector", acted) for acted in ACTIONS),
        *(("discrete", acted) for acted in ACTIONS),
        ("dict", "multi-binary"),
    ],
)
def test_every_space_is_played_trained_on_saved_and_loaded(any_spaces, observed, acted, tmp_path):
    env = make_group_env(
        any_spaces,
        2,
        4,
        num_envs=3,  # waves, of unequal lengths
        observation_space=OBSERVATIONS[observed],
        action_space=ACTIONS[acted],
    )
    env.seed(1)
    model = pkpo_on(env, policy=policy_for(env.observation_space))
    before = parameters(model)
    model.learn(1)
    assert model._window[-1][1].min() >= 1
    assert len(set(model._window[-1][1].flat)) > 1
    after = parameters(model)
    assert any(not after[name].equal(before[name]) for name in before)
    model.save(tmp_path / "model.zip")
    loaded = PKPO.load(tmp_path / "model.zip", env=env, device="cpu")
    observations = model.get_env().reset()
    predicted = model.predict(observations, deterministic=True)[0]
    assert np.array_equal(predicted, loaded.predict(observations, deterministic=True)[0])
    evaluated = evaluate_groups(loaded, loaded.get_env(), 2, 4)
    assert evaluated.shape == (2, 4)
    loaded.learn(1, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("space", "policy"),
    [
        (spaces.Box(-1, 1, (4,)), "MlpPolicy"),
        (spaces.Box(-1, 1, (64, 64, 3)), "MlpPolicy"),  # SB3 knows images by their uint8
        (spaces.Box(0, 255, (64, 64, 3), np.uint8), "CnnPolicy"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), "CnnPolicy"),
        (spaces.Box(0, 255, (36, 100, 1), np.uint8), "CnnPolicy"),
        (spaces.Box(0, 255, (35, 100, 1), np.uint8), "MlpPolicy"),
        (spaces.Box(0, 255, (3, 100, 35), np.uint8), "MlpPolicy"),
        (spaces.Discrete(3), "MlpPolicy"),
        (spaces.MultiDiscrete([2, 2]), "MlpPolicy"),
        (spaces.MultiBinary(3), "MlpPolicy"),
        (spaces.Dict(a=spaces.Discrete(2)), "MultiInputPolicy"),
        (gymnasium.make("FrozenLake-v1").observation_space, "MlpPolicy"),
        (gymnasium.make("Pendulum-v1").observation_space, "MlpPolicy"),
    ],
)
def test_the_policy_follows_from_the_observations(space, policy):
    assert policy_for(space) == policy


def test_the_smallest_image_is_what_the_network_takes():
    smallest = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    assert NatureCNN(smallest)(torch.zeros(1, 1, 36, 36)).shape == (1, 512)
    with pytest.raises(RuntimeError):
        NatureCNN(spaces.Box(0, 255, (1, 35, 36), np.uint8))


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (DISCRETE, spaces.Text(3), r"the action space Text.* is not supported: use one of Box"),
        (
            spaces.Tuple([DISCRETE]),
            DISCRETE,
            r"the observation space Tuple.* is not supported: use one of Box, .*Dict",
        ),
        (
            spaces.Dict(inner=spaces.Dict(a=DISCRETE)),
            DISCRETE,
            r"the observation space's 'inner' Dict.* is not supported: use one of .*MultiBinary,",
        ),
        (spaces.Discrete(3, start=1), DISCRETE, r"observation space .*does not start at 0.*shift"),
        (DISCRETE, spaces.Discrete(3, start=-1), r"action space .*does not start at 0.*shift"),
        (
            DISCRETE,
            spaces.MultiDiscrete([2, 2], start=[0, 1]),
            r"action space .*does not start at 0.*shift",
        ),
        (DISCRETE, spaces.MultiBinary([2, 2]), r"action space .* has 2 axes.*flatten"),
        (DISCRETE, spaces.MultiDiscrete([[2, 2]]), r"action space .* has 2 axes.*flatten"),
        (spaces.MultiDiscrete([[2, 2]]), DISCRETE, r"observation space .* has 2 axes.*flatten"),
        (spaces.Box(0, 1, ()), DISCRETE, r"observation space .* without an axis.*Reshape"),
        (spaces.Dict(a=spaces.Box(0, 1, ())), DISCRETE, r"space's 'a' .* without an axis"),
        (DISCRETE, spaces.Box(0, 9, (1,), np.int64), r"action .* whole numbers.*MultiDiscrete"),
        (DISCRETE, spaces.Box(0, np.inf, (1,)), r"action space .* is unbounded.*RescaleAction"),
    ],
)
def test_spaces_that_sb3_would_take_for_others_are_refused(observations, actions, message):
    with pytest.raises(ValueError, match=message):
        check_spaces(observations, actions)
    check_spaces(spaces.MultiBinary([2, 2]), DISCRETE)


@pytest.mark.parametrize(
    ("role", "space", "message"),
    [
        (
            "observation_space",
            spaces.Tuple([spaces.Discrete(2)]),
            r"the observation space Tuple.* is not supported: use one of Box, Discrete",
        ),
        (
            "action_space",
            spaces.Dict(a=spaces.Discrete(2)),
            r"the action space Dict.* is not supported",
        ),
        (
            "action_space",
            spaces.Box(-np.inf, np.inf, (1,)),
            r"the action space Box.* is unbounded: .*RescaleAction",
        ),
        (
            "action_space",
            spaces.Box(np.array([0.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64),
            "unbounded",
        ),
    ],
)
def test_spaces_that_no_policy_has_are_refused(role, space, message):
    env = Tape()
    setattr(env, role, space)
    with pytest.raises(ValueError, match=message):
        bandit(env)
