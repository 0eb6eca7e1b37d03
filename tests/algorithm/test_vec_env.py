"""The ``VecEnv`` methods of SB3 on group envs return the same as ``DummyVecEnv``."""

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
from pkpo_envs.problem_set import ProblemSetVectorEnv
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.vec_env import column_seeds
from tests.algorithm.asked_envs import Outer, asked, wrapped
from tests.algorithm.counters import Counter, counters
from tests.algorithm.short_runs import DISABLED
from tests.envs.odd_envs import TakesSmallSeeds, Usual
from tests.small import BANDIT, PROBLEM_SET

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


class Labelled(Counter):
    """Reports which of its episodes starts."""

    def reset(self, **kwargs):
        observation, _ = super().reset(**kwargs)
        return observation, {"number": self.episodes}


@pytest.mark.parametrize("grouped", [False, True])
def test_the_infos_of_each_columns_latest_reset_can_be_read(grouped):
    env = GroupVecEnv(
        SyncVectorEnv([partial(Labelled, n) for n in (1, 3)], autoreset_mode=DISABLED)
    )
    assert env.reset_infos == [{}, {}]
    if grouped:
        env.set_groups(1, 3)
    env.reset()
    assert [info["number"] for info in env.reset_infos] == [1, 1]
    numbers = []
    for _ in range(3):
        env.step(np.zeros(2, int))
        numbers.append([info["number"] for info in env.reset_infos])
    # In groups the third attempt and all else end with the third step, and both columns restart.
    assert numbers == [[2, 1], [3, 1], [4, 2]]


@pytest.mark.parametrize("env_id", ["CartPole-v1", PROBLEM_SET])
def test_a_seed_fixes_everything(env_id):
    def play(seed: int) -> np.ndarray:
        env = make_group_env(env_id, 4, 4)
        env.seed(seed)
        observations = [env.reset()]
        observations += [env.step(np.zeros(16, int))[0] for _ in range(20)]
        return np.array([*observations, env.reset()])

    assert (play(3) == play(3)).all()
    assert not (play(3)[0] == play(4)[0]).all()
    assert not (play(3)[0] == play(3)[-1]).all()  # the seed is for one reset


def test_columns_have_independent_seeds():
    def starts(seed: int) -> set[float]:
        env = make_group_env("CartPole-v1", 4, 8, vectorization="sync")
        env.seed(seed)
        return set(env.reset().ravel().tolist())

    # Columns that were seeded with consecutive numbers would share 31 of 32 starts.
    assert len(starts(0)) == 4 * 32
    assert not starts(0) & starts(1)


def test_attributes_of_listed_envs_are_reached_by_index():
    env = GroupVecEnv(counters(2, 3, 4))
    assert env.get_attr("length") == [2, 3, 4]
    assert env.get_attr("length", indices=[2, 0]) == [4, 2]
    assert env.get_attr("length", indices=1) == [3]
    env.set_attr("pay", 9.0, indices=[1])
    assert env.get_attr("pay") == [1.0, 9.0, 1.0]
    env.set_attr("pay", 5.0)
    assert env.get_attr("pay") == [5.0, 5.0, 5.0]
    assert env.has_attr("length")
    assert not env.has_attr("nothing")
    with pytest.raises(AttributeError, match="nothing"):
        env.get_attr("nothing")


def test_methods_are_called_in_the_chosen_columns_only():
    env = GroupVecEnv(counters(2, 3, 4))
    assert env.env_method("double", 4, indices=[1]) == [8]
    assert [hasattr(counter, "doubled") for counter in env.venv.envs] == [False, True, False]
    assert env.env_method("double", number=5) == [10, 10, 10]


def test_columns_of_a_vector_env_share_their_attributes():
    env = GroupVecEnv(ProblemSetVectorEnv(3, DISABLED))
    assert env.get_attr("n_problems") == [128] * 3
    assert env.get_attr("n_problems", indices=[0]) == [128]
    env.set_attr("note", "seen")
    assert env.venv.note == "seen"
    for call in (env.set_attr, env.env_method):
        with pytest.raises(ValueError, match=r"share 'note'.*indices=None"):
            call("note", "x", indices=[1])
    assert not env.has_attr("nothing")


def test_wrappers_of_columns_are_known():
    makers = [partial(Counter, 2), lambda: TimeLimit(Counter(2), 2)]
    env = GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))
    assert env.env_is_wrapped(TimeLimit) == [False, True]
    assert env.env_is_wrapped(TimeLimit, indices=[1]) == [True]
    native = GroupVecEnv(ProblemSetVectorEnv(2, DISABLED))
    assert native.env_is_wrapped(TimeLimit) == [False, False]


def test_images_of_all_columns_are_rendered():
    class Picture(Counter):
        def __init__(self, shade):
            super().__init__(shade)
            self.metadata = {"render_modes": ["rgb_array"]}
            self.render_mode = "rgb_array"

        def render(self):
            return np.full((4, 4, 3), self.length, np.uint8)

    makers = [partial(Picture, 10), partial(Picture, 20)]
    env = GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=DISABLED))
    assert env.render_mode == "rgb_array"
    assert [image[0, 0, 0] for image in env.get_images()] == [10, 20]
    assert env.render().shape == (8, 4, 3)  # SB3 tiles them
    assert GroupVecEnv(counters(2)).render_mode is None


def test_closing_closes_the_vector_env():
    env = GroupVecEnv(counters(2, 2))
    env.close()
    assert env.venv.closed
