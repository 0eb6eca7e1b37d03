"""The infos of columns: built when read, with any values under SB3's keys."""

from functools import partial

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from pkpo_envs.env_columns import EnvColumns, ListedInfos
from pkpo_sandbox.algorithm.groups import GroupVecEnv
from pkpo_sandbox.algorithm.infos import ColumnInfos, column_info, monitored
from pkpo_sandbox.algorithm.pkpo import PKPO
from tests.envs.odd_envs import Telling, Usual

MONITORS = {"r": 1.0, "l": 2, "t": 0.5}


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"episode": MONITORS, "x": 1}, {"episode": MONITORS}),
        ({"episode": 7}, {}),
        ({"episode": {"number": 7}}, {}),
        ({"episode": None, "is_success": np.bool_(False)}, {"is_success": False}),
        ({"is_success": 0.5}, {"is_success": 0.5}),
        ({"is_success": None}, {}),
        ({"is_success": "yes"}, {}),
    ],
)
def test_sb3s_buffers_get_what_a_monitor_would_say(info, told):
    assert monitored(info) == told


def test_arrays_that_a_wrapper_adds_stand_beside_what_the_envs_say():
    infos = ListedInfos([{"x": 1, "episode": 3}, {}])
    infos["episode"] = {"l": np.array([5, 0]), "_l": np.array([True, False])}
    infos["_episode"] = np.array([True, False])
    assert column_info(infos, 0) == {"x": 1, "episode": {"l": 5}}
    assert column_info(infos, 1) == {}
    told = ColumnInfos(infos, 2)
    infos["episode"]["l"][0] = 99  # as wrappers go on using their arrays
    assert told[0]["episode"]["l"] == 5
    assert [len(info) for info in told[:]] == [2, 0]
    assert told[-1] == {}


class Successes(Telling):
    """Says how an episode ended, now and then as SB3 wants it."""

    infos = [{}, {"episode": 1}, {"episode": 2}, {"episode": "last", "is_success": True}]  # noqa: RUF012


class Silent(Usual):
    """Says nothing."""


@pytest.mark.parametrize(
    "env",
    [lambda makers: GroupVecEnv(EnvColumns(makers)), DummyVecEnv],
)
def test_training_logs_what_is_reported_and_no_other_meaning(env):
    # The column that ends first is silent.
    made = env([Silent, Successes, partial(Successes)])
    model = PKPO("MlpPolicy", made, k=2, n_groups=2, group_size=3, seed=0, device="cpu")
    model.learn(20, log_interval=1)
    assert list(model.ep_success_buffer) == [True] * len(model.ep_success_buffer)
    assert len(model.ep_success_buffer) > 0
    assert all({"r", "l"} <= episode.keys() for episode in model.ep_info_buffer)
