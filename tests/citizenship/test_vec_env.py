"""The VecEnv API: group envs return the same as SB3's DummyVecEnv with the same envs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize

from pkpo_sandbox.algorithm.groups import GroupVecEnv, group_env, make_group_env

from .conftest import parameters, same
from .kit import ID, LENGTH, Kit, Tagged

COLUMNS = 3
INDICES = [None, 0, 2, -1, [1], [0, 2], [2, 0], (1, 2), range(2), np.array([0, 2])]
MAKE = partial(gymnasium.make, ID, render_mode="rgb_array")


def dummy() -> DummyVecEnv:
    return DummyVecEnv([MAKE] * COLUMNS)


@pytest.fixture(scope="module", params=["sync", "async"])
def columns(request) -> Iterator[GroupVecEnv]:
    """One env for all tests: processes take a second to start."""
    env = make_group_env(
        ID, 1, COLUMNS, vectorization=request.param, num_envs=COLUMNS, render_mode="rgb_array"
    )
    yield env
    env.close()


def outcome(operation: Callable[[VecEnv], Any], env: VecEnv) -> Any:
    """What an operation gives, or the kind of error."""
    try:
        return operation(env)
    except (AttributeError, IndexError, ValueError) as error:
        return type(error)


def after(change: Callable[[VecEnv], Any], look: Callable[[VecEnv], Any]) -> Callable:
    """The operation that looks at an env after a change."""

    def operation(env: VecEnv) -> Any:
        change(env)
        return look(env)

    return operation


def look(name: str, indices: Any = None) -> Callable:
    return lambda env: env.get_attr(name, indices)


def put(name: str, value: Any, indices: Any = None) -> Callable:
    return lambda env: env.set_attr(name, value, indices)


def call(name: str, *words: Any, indices: Any = None, **named: Any) -> Callable:
    return lambda env: env.env_method(name, *words, indices=indices, **named)


def wrapped(wrapper: type, indices: Any = None) -> Callable:
    return lambda env: env.env_is_wrapped(wrapper, indices)


def numbered(env: VecEnv) -> None:
    """Give every column a number, one by one."""
    for i in range(COLUMNS):
        env.set_attr("number", i, i)


def seeded(env: VecEnv) -> list[float]:
    """The noise that the envs draw at a reset, which depends on their seeds."""
    env.seed(5)
    env.reset()
    return [info["noise"] for info in env.reset_infos]


OPERATIONS: dict[str, Callable[[VecEnv], Any]] = {
    **{f"attribute of {i}": after(numbered, look("number", i)) for i in INDICES},
    "attribute beyond": look("label", 9),
    "attribute of a wrapper": look("tag"),
    "no attribute": look("nothing"),
    "set everywhere": after(put("label", "new"), look("label")),
    **{f"set in {i}": after(put("label", "new", i), look("label")) for i in INDICES},
    "set anew": after(put("fresh", 5), look("fresh")),
    "set anew in one": after(put("rare", 5, 1), look("rare", 1)),
    "set anew in one, seen from another": after(put("odd", 5, 1), look("odd", 0)),
    "set beyond": put("label", "new", 9),
    "set an array": after(put("array", np.arange(3)), lambda env: env.get_attr("array")[1].sum()),
    "has attribute": lambda env: [env.has_attr(name) for name in ("label", "tag", "nothing")],
    **{
        f"method in {i}": after(numbered, call("get_wrapper_attr", "number", indices=i))
        for i in INDICES
    },
    "method with arguments": call("describe", "a", "b", end="!"),
    "method beyond": call("describe", indices=9),
    "method of a wrapper": call("shout", "word"),
    "method of Gymnasium": call("get_wrapper_attr", "label"),
    "no method": call("nothing"),
    "method changes only its columns": after(
        call("start_over", indices=[0]), lambda env: env.get_attr("episode")
    ),
    **{
        f"wrapped by {wrapper.__name__}": wrapped(wrapper)
        for wrapper in (Tagged, OrderEnforcing, PassiveEnvChecker, TimeLimit)
    },
    **{f"wrapped in {i}": wrapped(Tagged, i) for i in INDICES},
    "seeds": lambda env: env.seed(7),
    "given nothing": lambda env: [given["options"] for given in env.get_attr("given")],
    "options": after(
        lambda env: (env.set_options({"level": 1}), env.reset()),
        lambda env: [given["options"] for given in env.get_attr("given")],
    ),
    "options of one reset": after(
        lambda env: (env.set_options({"level": 1}), env.reset(), env.reset()),
        lambda env: [given["options"] for given in env.get_attr("given")],
    ),
    "options for each": after(
        lambda env: (env.set_options([{"level": i} for i in range(COLUMNS)]), env.reset()),
        lambda env: [given["options"] for given in env.get_attr("given")],
    ),
    "options for one": after(
        lambda env: (env.set_options([{}, {"level": 1}, {}]), env.reset()),
        lambda env: [given["options"] for given in env.get_attr("given")],
    ),
    "infos of a reset": lambda env: [info["episode_number"] for info in env.reset_infos],
    "render mode": lambda env: env.render_mode,
    "images": lambda env: [image.tolist() for image in env.get_images()],
    "picture": lambda env: env.render().tolist(),
    "depth": lambda env: env.getattr_depth_check("label", already_found=False),
    "unwrapped": lambda env: env.unwrapped is env,
    "sizes": lambda env: (env.num_envs, env.observation_space, env.action_space),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_columns_of_groups_answer_as_those_of_sb3(name, columns):
    expected, given = dummy(), columns
    for env in (expected, given):
        env.env_method("start_over")
        env.reset()
    assert outcome(OPERATIONS[name], given) == outcome(OPERATIONS[name], expected)


def test_a_seed_decides_the_noise_and_each_column_has_its_own(columns):
    once, again = seeded(columns), seeded(columns)
    assert once == again
    assert len(set(once)) == COLUMNS
    columns.reset()  # a seed is for one reset
    assert [info["noise"] for info in columns.reset_infos] != once
    assert all(given["seed"] is None for given in columns.get_attr("given"))


@pytest.mark.parametrize("by_step", [True, False])
def test_steps_are_those_of_sb3(by_step, columns):
    """Over two episodes and a step: observations, rewards, ends and infos, and those of resets."""

    def played(env: VecEnv) -> list[Any]:
        env.env_method("start_over")
        rows: list[Any] = [env.reset().tolist()]
        for number in range(2 * LENGTH + 1):
            actions = (np.arange(COLUMNS) + number) % 4
            if by_step:
                observations, rewards, dones, infos = env.step(actions)
            else:
                env.step_async(actions)
                observations, rewards, dones, infos = env.step_wait()
            assert rewards.shape == dones.shape == (COLUMNS,)
            rows.append([observations.tolist(), rewards.tolist(), dones.tolist()])
            for info in infos:
                last = info.get("terminal_observation")
                cut = info.get("TimeLimit.truncated", False)
                where = {key: int(value) for key, value in info["where"].items()}
                rows.append([info["steps"], where, cut, None if last is None else last.tolist()])
            rows.append([info["episode_number"] for info in env.reset_infos])
        return rows

    assert played(columns) == played(dummy())


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_other_algorithms_of_sb3_learn_the_same_from_columns(algorithm, columns):
    """From episodes of two, three and four steps: nothing is idle and nothing is cut off."""
    learned = []
    for env in (columns, dummy()):
        for column, length in enumerate((2, 3, 4)):
            env.env_method("start_over", length, indices=column)
        settings = {"n_steps": 10, "policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"}
        if algorithm is PPO:
            settings |= {"batch_size": 15, "n_epochs": 2}
        model = algorithm("MlpPolicy", env, **settings).learn(60)
        learned.append(parameters(model.policy))
    assert same(*learned)


def test_what_a_step_gave_stays_as_it_was(columns):
    columns.env_method("start_over")
    kept = [columns.reset(), *columns.step(np.zeros(COLUMNS, int))[:3]]
    before = [each.copy() for each in kept]
    for _ in range(LENGTH):
        columns.step(np.ones(COLUMNS, int))
    assert all(np.array_equal(one, other) for one, other in zip(kept, before, strict=True))


def test_wrappers_of_sb3_find_attributes_through_each_other(columns):
    env = VecFrameStack(VecNormalize(columns, norm_reward=False), 2)
    assert env.unwrapped is columns
    assert env.obs_rms is env.venv.obs_rms  # of a wrapper further in
    assert env.n_problems is columns.n_problems is None  # of the group env itself
    assert env.get_attr("tag") == ["tagged"] * COLUMNS
    assert env.env_method("shout", "x", indices=[1]) == ["X"]
    with pytest.raises(AttributeError):
        _ = env.nothing
    env.venv.obs_rms_again = columns.obs_rms_again = 1  # the same name at two depths
    with pytest.raises(AttributeError, match="ambiguous and hides attribute from"):
        _ = env.obs_rms_again


def test_a_group_env_counts_as_monitored_and_a_monitor_inside_is_found():
    bare = make_group_env(ID, 1, 2, num_envs=2)
    assert bare.env_is_wrapped(Monitor) == [True, True]
    inside = group_env(Monitor(MAKE()))
    assert inside.env_is_wrapped(Monitor) == [True]
    assert is_wrapped(inside.venv.envs[0], Monitor)


def test_a_native_vector_env_answers_for_all_its_columns():
    env = make_group_env("pkpo_envs:pkpo/Bandit-v0", 2, 2)
    one = DummyVecEnv([partial(gymnasium.make, "pkpo_envs:pkpo/Bandit-v0")] * 4)
    env.reset(), one.reset()
    for operation in (
        look("n_arms"),
        look("n_arms", [0, 2]),
        call("get_wrapper_attr", "n_arms"),
        after(put("note", "seen"), look("note")),
        look("nothing"),
        call("nothing"),
        lambda env: [env.has_attr(name) for name in ("n_arms", "nothing")],
        lambda env: [dict(info) for info in env.reset_infos],
        wrapped(TimeLimit, [0]),
        lambda env: env.seed(3),
    ):
        assert outcome(operation, env) == outcome(operation, one)
    with pytest.raises(ValueError, match=r"indices=None"):
        env.set_attr("note", "x", [1])  # they are one env


@pytest.mark.parametrize("kind", ["native", "sync", "async"])
def test_an_env_may_be_closed_twice_and_before_its_first_reset(kind):
    env_id = "pkpo_envs:pkpo/Bandit-v0" if kind == "native" else ID
    env = make_group_env(env_id, 1, 2, vectorization=kind, num_envs=2)
    env.close()
    env.close()


def test_without_a_render_mode_there_is_a_warning_and_no_picture():
    for env in (make_group_env(ID, 1, 2, num_envs=2), DummyVecEnv([partial(gymnasium.make, ID)])):
        env.reset()
        assert env.render_mode is None
        with pytest.warns(UserWarning, match="no `render_mode` was passed"):
            assert env.render() is None


def test_a_bare_env_class_is_a_column():
    env = group_env(Kit())
    observations = env.reset()
    assert observations.shape == (1, 2)
    assert env.env_is_wrapped(Tagged) == [False]
    assert env.get_attr("label") == ["kit"]
