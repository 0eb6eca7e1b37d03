"""Columns: an env of any id is vectorised with equal results in each way; refusals."""

import subprocess
import sys
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.envs.registration import WrapperSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from pkpo_envs import columns
from pkpo_envs.bandit import BanditEnv, BanditVectorEnv
from pkpo_envs.columns import make_columns, make_world, usable_cores
from pkpo_envs.env_columns import EnvColumns
from pkpo_envs.seeded_problems import SeededProblems
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.algorithm.pkpo import PKPO
from pkpo_sandbox.algorithm.roster import IDLE
from tests.envs.drift import Drift

BANDIT = "pkpo_envs:pkpo/Bandit-v0"


class DriftVector(VectorEnv):
    """Claims an autoreset mode and a number of problems, and cannot be played."""

    def __init__(self, num_envs, mode=AutoresetMode.NEXT_STEP, n_problems=1):
        self.num_envs, self.n_problems = num_envs, n_problems
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = Drift.observation_space
        self.single_action_space = Drift.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)


class KnowsTwoModes(DriftVector):
    """Can be told how to restart columns, but not to leave them alone."""

    def __init__(self, num_envs, autoreset_mode=AutoresetMode.NEXT_STEP):
        if autoreset_mode is AutoresetMode.DISABLED:
            raise ValueError("invalid autoreset_mode")
        super().__init__(num_envs, autoreset_mode)


# The choice


@pytest.mark.parametrize(
    ("env_id", "settings", "kind"),
    [
        (BANDIT, {}, BanditVectorEnv),
        (BANDIT, {"num_envs": 3}, BanditVectorEnv),
        (BANDIT, {"vectorization": "sync"}, EnvColumns),
        (BANDIT, {"max_episode_steps": 9}, EnvColumns),  # its entry point takes no such thing
        (BANDIT, {"seeded_problems": 2}, EnvColumns),
        ("CartPole-v1", {}, CartPoleVectorEnv),
        ("CartPole-v1", {"max_episode_steps": 9, "sutton_barto_reward": True}, CartPoleVectorEnv),
        ("CartPole-v1", {"num_envs": 9}, CartPoleVectorEnv),
        ("CartPole-v1", {"num_envs": 7}, EnvColumns),  # 8 attempts in waves
        ("CartPole-v1", {"vectorization": "sync"}, EnvColumns),
        ("CartPole-v1", {"seeded_problems": 4}, EnvColumns),
        ("Pendulum-v1", {}, EnvColumns),
    ],
)
def test_an_env_is_vectorised_natively_where_groups_can_be_played_so(env_id, settings, kind):
    env = make_group_env(env_id, 2, 4, **settings)
    assert type(env.venv.unwrapped) is kind
    assert env.num_envs == settings.get("num_envs", 8)
    assert (env.n_groups, env.group_size) == (2, 4)


def test_the_arguments_of_the_env_reach_it_in_every_way():
    kwargs = {"payouts": (3.0,), "probabilities": (1.0,)}
    for vectorization in ("native", "sync"):
        env = make_group_env(BANDIT, 1, 2, vectorization=vectorization, **kwargs)
        env.reset()
        assert env.step(np.zeros(2, int))[1].tolist() == [3, 3]
    for vectorization in ("native", "sync"):
        env = make_group_env(
            "CartPole-v1",
            1,
            2,
            vectorization=vectorization,
            max_episode_steps=3,
            sutton_barto_reward=True,
        )
        env.reset()
        rewards, dones = zip(*[env.step(np.zeros(2, int))[1:3] for _ in range(3)], strict=True)
        assert (np.array(rewards) == 0).all()  # −1 at a fall, and nothing falls in 3 steps
        assert np.array(dones).tolist() == [[False] * 2, [False] * 2, [True] * 2]


def test_the_time_limit_of_a_registration_is_kept_or_replaced(drift):
    env_id = drift(max_episode_steps=4)

    def limits(**settings) -> list[int]:
        env = make_group_env(env_id, 1, 2, **settings)
        return [column.get_wrapper_attr("_max_episode_steps") for column in env.venv.envs]

    assert limits() == [4, 4]
    assert limits(max_episode_steps=6) == [6, 6]


def test_an_entry_point_that_knows_other_modes_only_is_made_in_its_own(drift):
    env = make_group_env(drift(vector_entry_point=KnowsTwoModes), 1, 4)
    assert type(env.venv) is KnowsTwoModes
    assert env.venv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


@pytest.mark.parametrize(
    ("registration", "settings", "obstacle"),
    [
        ({}, {}, "it has no vector entry point"),
        (
            {"vector_entry_point": DriftVector},
            {"seeded_problems": 3},
            "seeded_problems=3 wraps single envs",
        ),
        (
            {
                "vector_entry_point": DriftVector,
                "additional_wrappers": (
                    WrapperSpec("Monitor", "stable_baselines3.common.monitor:Monitor", {}),
                ),
            },
            {},
            "its registration wraps single envs",
        ),
        (
            {"vector_entry_point": DriftVector},
            {"max_episode_steps": 5},
            "does not take these arguments .*unexpected keyword argument 'max_episode_steps'",
        ),
        (
            {"vector_entry_point": DriftVector, "max_episode_steps": 5},
            {},
            "does not take these arguments .*unexpected keyword argument 'max_episode_steps'",
        ),
        ({"vector_entry_point": DriftVector}, {"num_envs": 3}, "3 columns for 4 attempts"),
        (
            {"vector_entry_point": partial(DriftVector, n_problems=5)},
            {},
            "which of 5 problems a column starts",
        ),
        (
            {"vector_entry_point": partial(DriftVector, mode=AutoresetMode.SAME_STEP)},
            {},
            "autoreset_mode AutoresetMode.SAME_STEP, but groups decide",
        ),
    ],
)
def test_what_stands_against_native_is_said_or_else_columns_are_made_one_by_one(
    drift, registration, settings, obstacle
):
    env_id = drift(**registration)
    message = f"vectorization='native' cannot play {env_id}: .*{obstacle}.*'sync' or 'async'"
    with pytest.raises(ValueError, match=message):
        make_group_env(env_id, 1, 4, vectorization="native", **settings)
    assert type(make_group_env(env_id, 1, 4, **settings).venv) is EnvColumns


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vectorization": "vector"}, "must be one of native, sync, async, or None.*got 'vector'"),
        ({"num_envs": 0}, "num_envs must be an integer of at least 1, or None, got 0"),
        ({"num_envs": 2.0}, r"num_envs must be an integer of at least 1, or None, got 2\.0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer of at least 1.*got 0"),
        ({"max_episode_steps": True}, "max_episode_steps must be an integer.*got True"),
        ({"seeded_problems": 0}, "n_problems=0 must be an integer of at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_group_env("CartPole-v1", 2, 2, **settings)


MODULE = """
import gymnasium
from tests.envs.drift import Drift

gymnasium.register("mine/Drift-v0", entry_point="my_worlds:Mine", max_episode_steps=6)


class Mine(Drift):
    pass
"""


@pytest.mark.parametrize(
    "vectorization", [None, "sync", pytest.param("async", marks=pytest.mark.slow)]
)
def test_an_id_of_the_users_own_module_is_imported_and_trained_on(
    tmp_path, monkeypatch, vectorization
):
    (tmp_path / "my_worlds.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"vectorization": vectorization, "num_envs": 2, "seeded_problems": 5}
    env = make_group_env("my_worlds:mine/Drift-v0", 2, 3, end=0.1, **settings)
    model = PKPO("MlpPolicy", env, k=2, n_groups=2, group_size=3, seed=0, device="cpu")
    before = model.policy.action_net.weight.clone()
    model.learn(1)
    env.close()
    lengths = model._window[-1][1]
    assert lengths.shape == (2, 3)
    assert 1 <= lengths.min() < lengths.max() <= 6
    assert not before.equal(model.policy.action_net.weight)
    del gymnasium.registry["mine/Drift-v0"], sys.modules["my_worlds"]


def test_an_unknown_id_is_refused_by_its_name():
    with pytest.raises(gymnasium.error.NameNotFound, match="Nothing"):
        make_group_env("Nothing-v0", 2, 2)


# Wrappers


class Twice(gymnasium.RewardWrapper):
    def __init__(self, env, times=2):
        super().__init__(env)
        self.times = times

    def reward(self, reward):
        return self.times * reward + 1


def rewards(env: GroupVecEnv) -> list[float]:
    env.seed(0)
    env.reset()
    earned = env.step(np.zeros(env.num_envs, int))[1]
    env.close()
    return earned.tolist()


@pytest.mark.parametrize("way", ["sync", None, pytest.param("async", marks=pytest.mark.slow)])
def test_wrappers_are_put_around_each_column_in_their_order(way):
    certain = {"payouts": (3.0,), "probabilities": (1.0,), "vectorization": way, "num_envs": 2}
    assert rewards(make_group_env(BANDIT, 1, 2, wrappers=[Twice], **certain)) == [7, 7]
    in_order = [Twice, partial(Twice, times=10)]
    assert rewards(make_group_env(BANDIT, 1, 2, wrappers=in_order, **certain)) == [71, 71]
    backwards = make_group_env(BANDIT, 1, 2, wrappers=in_order[::-1], **certain)
    assert backwards.env_is_wrapped(Twice) == [True, True]
    assert rewards(backwards) == [63, 63]


def test_problems_can_come_from_a_wrapper(drift):
    env = make_group_env(drift(), 2, 2, wrappers=[partial(SeededProblems, n_problems=7)])
    assert env.n_problems == 7


@pytest.mark.parametrize(
    ("wrappers", "message"),
    [
        ([3], "wrappers has 3, which cannot be called: give a wrapper class"),
        ("Twice", "wrappers must be a list of functions of an env, got 'Twice'"),
        ([lambda env: None], "made a NoneType of the env: it must return a Gymnasium env"),
    ],
)
def test_what_is_no_wrapper_is_refused(wrappers, message):
    with pytest.raises(ValueError, match=message):
        make_group_env("CartPole-v1", 1, 2, wrappers=wrappers)


# Registrations


def test_an_id_without_a_version_is_the_newest_with_gymnasiums_own_warning():
    with pytest.warns(UserWarning, match="Using the latest versioned environment `CartPole-v1`"):
        env = make_group_env("CartPole", 1, 2)
    assert type(env.venv) is CartPoleVectorEnv


@pytest.fixture
def vector_only():
    """Registers a vector env of no single env, a foreign one and one of problems."""
    kinds = {"test/Vector-v0": DriftVector, "test/Arms-v0": BanditVectorEnv}
    for env_id, kind in kinds.items():
        gymnasium.register(env_id, vector_entry_point=kind, reward_threshold=0.5)
    yield list(kinds)
    for env_id in kinds:
        del gymnasium.registry[env_id]


def test_an_id_of_a_vector_env_only_is_played_natively_or_not_at_all(vector_only):
    foreign, ours = vector_only
    assert type(make_group_env(foreign, 1, 4).venv) is DriftVector
    for settings, obstacle in [
        ({"vectorization": "sync"}, "vectorization='sync' cannot play"),
        ({"num_envs": 3}, "3 columns for 4 attempts"),
        ({"seeded_problems": 4}, "wraps single envs"),
        ({"wrappers": [Twice]}, "wrappers are for single envs"),
    ]:
        message = f"{obstacle}.*vector entry point only.*register an entry_point"
        with pytest.raises(ValueError, match=message):
            make_group_env(foreign, 1, 4, **settings)
    assert make_world(foreign, {}) is None
    world = make_world(ours, {"payouts": (2.0,), "probabilities": (1.0,)})
    assert type(world) is BanditEnv
    assert world.payouts == 2
    assert world.spec.reward_threshold == 0.5
    with pytest.raises(ValueError, match="wrappers cannot be put around test/Arms-v0"):
        make_world(ours, {}, [Twice])


# Alike in each way


@pytest.mark.parametrize("num_envs", [1, 3, 8, 11])
def test_members_of_a_group_start_alike_and_differ_later_in_every_wave(drift, num_envs):
    env = make_group_env(
        drift(), 4, 2, num_envs=num_envs, seeded_problems=1000, max_episode_steps=2
    )
    env.set_groups(4, 2)
    env.seed(0)
    observations = env.reset()
    for _ in range(2):
        starts, seconds, finished = np.zeros(8), np.zeros(8), False
        while not finished:
            first, second = observations[:, 0], env.step(np.zeros(num_envs, int))[0][:, 0]
            playing = env.attempts != IDLE
            attempts = env.attempts[playing]
            starts[attempts], seconds[attempts] = first[playing], second[playing]
            observations, _, dones, _ = env.step(np.zeros(num_envs, int))
            assert dones.all()
            finished = env.finished
        groups = starts.reshape(4, 2)
        assert (groups[:, 0] == groups[:, 1]).all()
        assert len(set(starts)) == 4  # 4 of 1000 problems
        assert len(set(seconds)) == 8


@pytest.mark.parametrize(("cores", "columns_made"), [(1, 1), (2, 2), (64, 4)])
def test_processes_are_as_many_as_cores_at_most(monkeypatch, drift, cores, columns_made):
    makers = []
    monkeypatch.setattr(columns, "usable_cores", lambda: cores)
    monkeypatch.setattr(columns, "EnvColumns", lambda given, processes: makers.extend(given))
    make_columns(drift(), 4, {}, vectorization="async")
    assert len(makers) == columns_made
    assert usable_cores() >= 1


def test_processes_need_no_torch():
    script = "import sys, pkpo_envs.columns; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
