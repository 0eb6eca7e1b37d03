"""The ``VecEnv`` calls of SB3 on group envs: answered as ``DummyVecEnv`` answers them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from pkpo_envs.bandit import BanditEnv
from pkpo_envs.env_columns import EnvColumns
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.vec_env import column_seeds
from tests.algorithm.asked_envs import Outer, asked, wrapped
from tests.envs.odd_envs import TakesSmallSeeds, Usual
from tests.small import BANDIT

N = 3  # columns

#: calls in an order in which each changes nothing for the next, or sees what was changed
CALLS: dict[str, Callable[[VecEnv], Any]] = {
    "attribute": lambda env: env.get_attr("number"),
    "attribute of a column": lambda env: env.get_attr("number", 1),
    "attribute of columns": lambda env: env.get_attr("number", [2, 0, 2, -1]),
    "attribute of a wrapper": lambda env: env.get_attr("_max_episode_steps"),
    "missing attribute": lambda env: env.get_attr("nothing"),
    "spaces": lambda env: env.get_attr("observation_space"),
    "has": lambda env: [env.has_attr(name) for name in ("pay", "note", "nothing", "step")],
    "set": lambda env: (env.set_attr("pay", 2.0, [0, 2]), env.get_attr("pay")),
    "set all": lambda env: (env.set_attr("pay", 3.0), env.get_attr("pay")),
    "set a list": lambda env: (env.set_attr("pay", [1, 2]), env.get_attr("pay")),
    "set back": lambda env: (env.set_attr("pay", 1.0), env.get_attr("pay")),
    "set what is new": lambda env: (env.set_attr("fresh", "x", 1), env.get_attr("fresh", 1)),
    "new in one": lambda env: env.has_attr("fresh"),
    "new in all": lambda env: (env.set_attr("fresh", None), env.get_attr("fresh")),
    "method": lambda env: env.env_method("times", 10),
    "method of columns": lambda env: env.env_method("times", 10, indices=[2, 0, 2], plus=1),
    "method of a column": lambda env: env.env_method("times", factor=3, indices=-1),
    "missing method": lambda env: env.env_method("nothing"),
    "failing method": lambda env: env.env_method("fail", indices=[1]),
    "after a failure": lambda env: env.get_attr("number"),
    "wrapper attribute": lambda env: env.env_method("get_wrapper_attr", "number", indices=[1, 2]),
    "has wrapper attribute": lambda env: env.env_method("has_wrapper_attr", "note"),
    "wrapped": lambda env: env.env_is_wrapped(Outer),
    "wrapped in a library's": lambda env: env.env_is_wrapped(TimeLimit, [1, 0]),
    "wrapped in a kind": lambda env: env.env_is_wrapped(gymnasium.ObservationWrapper),
    "wrapped in any": lambda env: env.env_is_wrapped(gymnasium.Wrapper, 2),
    "not wrapped": lambda env: env.env_is_wrapped(gymnasium.RewardWrapper),
    "images": lambda env: list(env.get_images()),
    "picture": lambda env: env.render("rgb_array"),
    "seeds": lambda env: env.seed(7),
    "options": lambda env: (
        env.set_options([{"a": 1}, {}, {"b": [2]}]),
        env.reset(),
        env.get_attr("options"),
    ),
    "infos of the reset": lambda env: env.reset_infos,
    "options once": lambda env: (env.reset(), env.get_attr("options")),
    "options for all": lambda env: (
        env.set_options({"a": 1}),
        env.reset(),
        env.get_attr("options"),
    ),
    "first step": lambda env: env.step(np.zeros(N, int))[:3],
    "last step": lambda env: env.step(np.zeros(N, int))[:3],
    "infos of the restart": lambda env: env.reset_infos,
    "options of the restart": lambda env: env.get_attr("options"),
}


def answer(env: VecEnv, name: str) -> Any:
    """What a call gives, or the kind of error that it raises."""
    try:
        return CALLS[name](env)
    except (AttributeError, LookupError) as error:
        return type(error)


def assert_same_answers(env: VecEnv, makers: list[Any], left_out: tuple[str, ...] = ()) -> None:
    plain = DummyVecEnv(makers)
    for name in CALLS:
        if name not in left_out:
            np.testing.assert_equal(answer(env, name), answer(plain, name), err_msg=name)
    env.close()


SEPARATE = AutoresetMode.DISABLED

WAYS: dict[str, Callable[[list], GroupVecEnv]] = {
    "sync": lambda makers: GroupVecEnv(EnvColumns(makers)),
    "Gymnasium's sync": lambda makers: GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=SEPARATE)),
    "async": lambda makers: GroupVecEnv(EnvColumns(makers, processes=True)),
}
SLOW = [pytest.param("async", marks=pytest.mark.slow)]


@pytest.mark.parametrize("maker", [asked, wrapped])
@pytest.mark.parametrize("way", ["sync", "Gymnasium's sync", *SLOW])
def test_calls_are_answered_as_by_a_dummy_vec_env(way, maker):
    makers = [partial(maker, number) for number in range(N)]
    assert_same_answers(WAYS[way](makers), makers)


class Around(VectorWrapper):
    """A wrapper of Gymnasium's around a vector env of Gymnasium's."""


@pytest.mark.parametrize(
    "kind", [SyncVectorEnv, pytest.param(AsyncVectorEnv, marks=pytest.mark.slow)]
)
def test_vector_envs_of_gymnasium_answer_so_too(kind):
    makers = [partial(wrapped, number) for number in range(N)]
    env = GroupVecEnv(Around(kind(makers, autoreset_mode=SEPARATE)))
    assert env.env_is_wrapped(Around) == [True] * N
    # They hand the same options to all columns, and their processes end at the first error.
    left_out = ("options", "infos of the reset", "infos of the restart")
    ends = ("missing method", "failing method") if kind is AsyncVectorEnv else ()
    assert_same_answers(env, makers, (*left_out, *ends))


# Native: one env for all columns

ARMS = {"payouts": (1.0, 2.0), "probabilities": (1.0, 0.5)}

#: calls that need no env of a column's own
SHARED: dict[str, Callable[[VecEnv], Any]] = {
    "attribute": lambda env: env.get_attr("n_arms"),
    "attribute of columns": lambda env: env.get_attr("payouts", [1, 0]),
    "wrapper attribute": lambda env: env.env_method("get_wrapper_attr", "n_arms", indices=[1]),
    "has wrapper attribute": lambda env: env.env_method("has_wrapper_attr", name="nothing"),
    "spaces": lambda env: [*env.get_attr("observation_space"), *env.get_attr("action_space")],
    "render mode": lambda env: env.get_attr("render_mode"),
    "problems": lambda env: env.get_attr("n_problems", 0),
    "has": lambda env: [env.has_attr(name) for name in ("n_arms", "nothing", "exact")],
    "missing attribute": lambda env: env.get_attr("nothing"),
    "missing wrapper attribute": lambda env: env.env_method("get_wrapper_attr", "nothing"),
    "missing method": lambda env: env.env_method("nothing"),
    "method": lambda env: env.env_method("exact", 2, probabilities=[[0.5, 0.5]]),
    "set": lambda env: (env.set_attr("n_arms", 5), env.get_attr("n_arms")),
    "set by a method": lambda env: (
        env.env_method("set_wrapper_attr", "n_arms", 2),
        env.get_attr("n_arms"),
    ),
    "set what is new": lambda env: (env.set_attr("fresh", [1, 2]), env.get_attr("fresh")),
    "wrapped": lambda env: env.env_is_wrapped(gymnasium.Wrapper, [0, 1]),
    "infos of the reset": lambda env: (env.reset(), env.reset_infos),
    "infos of the restart": lambda env: (env.step(np.zeros(2, int))[:3], env.reset_infos),
    "seeds": lambda env: env.seed(7),
}


def test_native_columns_answer_for_the_world_that_they_share():
    native = make_group_env(BANDIT, 1, 2, vectorization="native", **ARMS)
    plain = DummyVecEnv([partial(BanditEnv, **ARMS)] * 2)
    for name, call in SHARED.items():
        try:
            expected = call(plain)
        except AttributeError:
            with pytest.raises(AttributeError, match="nothing"):
                call(native)
        else:
            np.testing.assert_equal(call(native), expected, err_msg=name)


def test_what_native_columns_cannot_do_apart_is_refused():
    native = make_group_env(BANDIT, 1, 2, vectorization="native", **ARMS)
    for call in (
        lambda: native.set_attr("n_arms", 5, indices=[1]),
        lambda: native.env_method("exact", 2, probabilities=[[0.5, 0.5]], indices=[1]),
    ):
        with pytest.raises(ValueError, match=r"share '(n_arms|exact)'.*'sync' or 'async'"):
            call()
    for name in ("reset", "step", "close"):
        with pytest.raises(ValueError, match=rf"cannot {name} one of them: call {name}\(\) of"):
            native.env_method(name)


def test_a_foreign_native_env_answers_for_itself():
    env = make_group_env("CartPole-v1", 1, 2, vectorization="native")
    assert env.get_attr("observation_space") == [env.observation_space] * 2
    assert env.get_attr("gravity", indices=[1]) == [9.8]
    env.set_attr("gravity", 5.0)
    assert env.venv.unwrapped.gravity == 5
    assert [env.has_attr(name) for name in ("length", "world")] == [True, False]


def test_frames_are_only_asked_of_envs_that_draw_them():
    for env in (GroupVecEnv(EnvColumns([Usual])), make_group_env(BANDIT, 1, 2)):
        with pytest.warns(UserWarning, match="The render mode is None"):
            assert env.get_images() == [None] * env.num_envs


# Seeds


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40])
def test_seeds_of_columns_fit_into_31_bits(seed):
    env = GroupVecEnv(EnvColumns([TakesSmallSeeds] * 20))
    env.seed(seed)
    env.reset()
    seeds = column_seeds(env.venv, seed)
    assert len(set(seeds)) == 20
    assert max(seeds) < 2**31
    foreign = make_group_env("CartPole-v1", 1, 2, vectorization="native")
    assert column_seeds(foreign.venv, seed) == seed % 2**31
    # The numbers of published figures rest on it.
    assert column_seeds(make_group_env(BANDIT, 1, 2).venv, seed) == seed
