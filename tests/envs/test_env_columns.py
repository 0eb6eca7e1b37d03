"""Envs as columns of a vector env, in this process or in one process each."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from pkpo_envs.env_columns import EnvColumns
from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from tests.envs.drift import Drift
from tests.envs.odd_envs import Usual


def test_a_reset_mask_restarts_its_columns_and_keeps_the_others():
    env = EnvColumns([Usual] * 3)
    env.reset()
    observations, rewards, *_ = env.step(np.array([0, 1, 1]))
    assert rewards.tolist() == [0, 1, 1]
    kept = observations.copy()
    restarted, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert restarted[:, 0].tolist() == [1, 0, 1]  # the step of each column
    assert np.array_equal(observations, kept)


def test_a_seed_and_options_reach_the_column_they_are_for():
    env, alone = EnvColumns([Drift] * 2), Drift()
    starts = env.reset(seed=5, options={"columns": [{"low": 1}, None]})[0]
    assert [column.options for column in env.envs] == [{"low": 1}, None]
    for column, start in enumerate(starts):
        assert start == alone.reset(seed=5 + column)[0]


def test_answers_come_in_the_order_in_which_columns_are_asked():
    env = EnvColumns([Usual] * 3)
    for column, name in enumerate("abc"):
        env.ask("set_attr", "name", name, columns=[column])
    assert env.ask("get_attr", "name") == ["a", "b", "c"]
    assert env.ask("get_attr", "name", columns=[2, 0, 2]) == ["c", "a", "c"]


def test_a_maker_that_makes_the_same_env_again_is_refused(drift):
    one = Drift()
    gymnasium.register("test/Same-v0", entry_point=lambda: one)
    try:
        with pytest.raises(ValueError, match="two columns are the same env: the maker or"):
            make_group_env("test/Same-v0", 1, 2)
    finally:
        del gymnasium.registry["test/Same-v0"]


def history(env: GroupVecEnv, n_steps: int = 40) -> np.ndarray:
    """(n_steps + 1, columns, 3): observations, rewards and ends under alternating actions."""
    env.seed(5)
    rows = [[env.reset().ravel(), np.zeros(env.num_envs), np.zeros(env.num_envs)]]
    for step in range(n_steps):
        observations, rewards, dones, _ = env.step(np.full(env.num_envs, step % 2))
        rows.append([observations.ravel(), rewards, dones])
    env.close()
    return np.array(rows).transpose(0, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seeded_problems", [None, 3])
def test_processes_play_what_columns_in_a_row_play(drift, seeded_problems):
    # The id is known to this process only. 6 attempts by 2 columns, hence waves.
    settings = {"num_envs": 2, "seeded_problems": seeded_problems, "max_episode_steps": 7}
    env_id = drift(kwargs={"end": 0.2})
    one = history(make_group_env(env_id, 3, 2, vectorization="sync", **settings))
    other = history(make_group_env(env_id, 3, 2, vectorization="async", **settings))
    assert (one == other).all()
    assert one[:, :, 2].sum() > 6


@pytest.mark.slow
def test_processes_get_their_own_problem_and_their_own_noise(drift):
    env = make_group_env(drift(), 2, 2, vectorization="async", num_envs=4, seeded_problems=50)
    assert [process.name for process in env.venv.processes] == [f"Column-{i}" for i in range(4)]
    assert env.n_problems == 50
    env.set_groups(2, 2)
    env.seed(0)
    start = env.reset().ravel()
    assert start[0] == start[1] != start[2] == start[3]
    observations, _, dones, infos = env.step(np.zeros(4, int))
    assert not dones.any()
    assert len(set(observations.ravel().tolist())) == 4
    problems = [info["problem"] for info in infos]
    assert problems[0] == problems[1] != problems[2] == problems[3]
    env.close()
    assert not any(process.is_alive() for process in env.venv.processes)


@pytest.mark.slow
def test_an_env_in_processes_leaves_no_word_behind_closed_or_not():
    script = """
from pkpo_envs.env_columns import EnvColumns
from pkpo_sandbox.algorithm.groups import make_group_env
import sys
if __name__ == "__main__":
    env = make_group_env("CartPole-v1", 1, 2, vectorization="async", num_envs=2)
    env.reset()
    if sys.argv[1] == "close":
        env.close()
"""
    for how in ("close", "leave"):
        command = [sys.executable, "-W", "error", "-c", script, how]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        assert run.stdout == run.stderr == ""
