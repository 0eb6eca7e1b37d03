"""A column accepts and returns the same as SB3's ``DummyVecEnv``."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_envs.column import Column, cast, class_name
from pkpo_envs.env_columns import EnvColumns
from pkpo_sandbox.algorithm.groups import GroupVecEnv
from pkpo_sandbox.algorithm.pkpo import PKPO
from tests.envs.odd_envs import Usual, odd_envs

ODD = odd_envs()

#: what DummyVecEnv lets an env change after it was told
CHANGED_LATER = ("OneInfoForAll", "OneArrayForAll")

SMALL = {"policy_kwargs": {"net_arch": [4]}, "seed": 0, "device": "cpu"}


@pytest.fixture
def registered():
    """Registers a class as it is, without Gymnasium's checks."""
    ids = []

    def register(kind, **kwargs) -> str:
        ids.append(f"test/Odd{len(ids)}-v0")
        plain = {"disable_env_checker": True, "order_enforce": False}
        gymnasium.register(ids[-1], entry_point=kind, **plain, **kwargs)
        return ids[-1]

    yield register
    for env_id in ids:
        del gymnasium.registry[env_id]


def policy(kind: type) -> str:
    dicts = isinstance(kind().observation_space, spaces.Dict)
    return "MultiInputPolicy" if dicts else "MlpPolicy"


@pytest.mark.parametrize("name", ODD)
def test_what_a2c_trains_on_trains_in_groups(name, registered):
    kind = ODD[name]
    A2C(policy(kind), make_vec_env(kind, 2), n_steps=4, **SMALL).learn(8)
    takes = {"k": 2, "n_groups": 1, "group_size": 2, **SMALL}
    # gymnasium.make wants metadata, for A2C too.
    ways = [kind(), EnvColumns([kind] * 3), *([registered(kind)] if name != "NoMetadata" else [])]
    for env in ways:
        model = PKPO(policy(kind), env, **takes).learn(12)
        assert model._n_updates >= 2
        assert all(1 <= length <= 3 for length in model._window[-1][1].flat)


def play(env, n_steps: int = 7) -> list[tuple]:
    """What a vector env of SB3 gives for alternating actions, from a reset to a third episode."""
    env.seed(3)
    space = env.action_space
    actions = [np.full(space.shape, i % 2, space.dtype) for i in range(n_steps)]
    first = copy.deepcopy((env.reset(), env.reset_infos))
    return [first, *(env.step(np.stack([action] * env.num_envs)) for action in actions)]


def same(one, other) -> bool:
    """Equal in value and in kind, arrays in dtype too."""
    if isinstance(one, np.ndarray | np.generic) and isinstance(other, np.ndarray | np.generic):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def told(info: dict) -> dict:
    """An info without what vector envs put in."""
    added = ("TimeLimit.truncated", "terminal_observation", "episode")
    return {key: value for key, value in (info or {}).items() if key not in added}


def assert_same_play(expected: list[tuple], found: list[tuple], space: spaces.Space) -> None:
    assert same(expected[0][0], found[0][0])
    assert same([told(info) for info in expected[0][1]], [told(info) for info in found[0][1]])
    for (obs, rewards, dones, infos), here in zip(expected[1:], found[1:], strict=True):
        assert same(obs, here[0])
        assert np.allclose(rewards, here[1], atol=1e-7)  # DummyVecEnv keeps float32
        assert same(dones, here[2])
        for column, info in enumerate(infos):
            ours = here[3][column]
            assert same(told(info), told(ours))
            if dones[column]:
                assert info["TimeLimit.truncated"] == ours["TimeLimit.truncated"]
                last = cast(space, info["terminal_observation"])  # which DummyVecEnv does not
                assert same(last, ours["terminal_observation"])


@pytest.mark.parametrize("name", [name for name in ODD if name not in CHANGED_LATER])
def test_it_arrives_as_in_a_dummy_vec_env(name):
    makers = [ODD[name]] * 2
    plain = DummyVecEnv(makers)
    here = GroupVecEnv(EnvColumns(makers))
    assert_same_play(play(plain), play(here), plain.observation_space)


def test_what_an_env_goes_on_to_change_stays_as_it_was_told():
    steps = play(GroupVecEnv(EnvColumns([ODD[name] for name in CHANGED_LATER])))[1:]
    assert [infos[0]["t"] for *_, infos in steps] == [1, 2, 3, 1, 2, 3, 1]
    assert [observations[1, 0] for observations, *_ in steps] == [1, 2, 0, 1, 2, 0, 1]
    assert steps[2][3][1]["terminal_observation"][0] == 3


@pytest.mark.slow
def test_it_arrives_so_from_processes_too():
    names = ["ArraysOfManyLengths", "NestedInfos", "UnusualKeys", "ObjectsInInfos", "GrowingList"]
    kinds = [ODD[name] for name in (*names, "NoInfoAtReset", "ListOfNumbers", "TakesOnlySeed")]
    env = GroupVecEnv(EnvColumns(kinds, processes=True))
    assert_same_play(play(DummyVecEnv(kinds)), play(env), env.observation_space)
    env.close()


def test_what_is_no_env_of_gymnasium_is_refused():
    with pytest.raises(ValueError, match="column 0 is a dict, not a Gymnasium env"):
        EnvColumns([dict])


def test_an_observation_is_cast_to_every_part_of_its_space():
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (2,), np.uint8),
            "pair": spaces.Tuple((spaces.Discrete(5), spaces.Text(3))),
        }
    )
    given = {"image": np.array([3.7, 255.0]), "pair": (np.int32(4), "abc"), "left": "out"}
    found = cast(space, given)
    assert found.keys() == {"image", "pair"}
    assert (found["image"].tolist(), found["image"].dtype) == ([3, 255], np.uint8)
    number, text = found["pair"]
    assert (number.shape, number.dtype, int(number), text) == ((), np.int64, 4, "abc")
    given["image"][:] = 0
    assert found["image"].tolist() == [3, 255]  # a copy


@pytest.mark.parametrize("reward", ["much", [1.0, 2.0]])
def test_a_reward_that_is_not_one_number_is_refused(reward):
    env = Usual()
    env.reward = lambda action: reward
    column = Column(env, 3)
    column.reset({})
    with pytest.raises(ValueError, match=r"column 3 gave the reward .*: it must be one number"):
        column.step(0)


def test_an_observation_that_does_not_fit_its_space_is_refused():
    env = Usual()
    env.observation = lambda: np.zeros(4, np.float32)
    message = r"column 1 gave an observation that does not fit its space Box.*ValueError.*\[0\."
    with pytest.raises(ValueError, match=message):
        Column(env, 1).reset({})


def test_a_class_has_the_same_name_in_every_process():
    kind = type("Mine", (), {"__module__": "__mp_main__"})
    assert class_name(kind) == ("__main__", "Mine")
    assert class_name(Usual) == ("tests.envs.odd_envs", "Usual")
