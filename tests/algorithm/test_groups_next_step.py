"""Columns that restart by themselves, with a step for it, as Gymnasium's own vector envs."""

from functools import partial

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pkpo_sandbox.algorithm.groups import GroupVecEnv, make_group_env
from pkpo_sandbox.metrics.evaluation import evaluate_groups
from tests.algorithm.counters import WithProblems, model_on, next_step
from tests.algorithm.short_runs import collect


def test_a_column_that_restarts_by_itself_plays_one_attempt_and_is_idle():
    env = next_step(1, 4, 2)
    env.set_groups(1, 2)  # the third column is idle from the start
    assert env.reset().ravel().tolist() == [0, 0, 0]
    steps = [env.step(np.zeros(3, int)) for _ in range(4)]
    assert [dones.tolist() for _, _, dones, _ in steps] == [
        [True, False, False],
        [False, False, True],  # column 0 spent this step on its restart
        [True, False, False],
        [True, True, True],  # the last attempt has ended, and all start the next iteration
    ]
    assert [observations.ravel().tolist() for observations, *_ in steps] == [
        [1, 1, 1],
        [0, 2, 2],
        [1, 3, 0],
        [0, 0, 0],
    ]
    infos = steps[-1][3]
    assert [info["terminal_observation"].tolist() for info in infos] == [[0], [4], [1]]
    assert [info["TimeLimit.truncated"] for info in infos] == [True, False, True]


@pytest.mark.parametrize("truncates", [False, True])
def test_only_the_first_episode_of_such_a_column_is_credited(truncates):
    env = next_step(1, 4, 2, 3, 1, pay=2.0, truncates=truncates)
    model = model_on(env, 2, 2)
    for _ in range(3):
        rollout = collect(model)
        assert rollout.lengths.tolist() == [[1, 4], [2, 3]]
        assert rollout.returns.tolist() == [[2, 8], [4, 6]]
        for attempt, length in enumerate([1, 4, 2, 3]):
            rows = rollout.observations[rollout.attempts == attempt].ravel().tolist()
            assert rows == list(range(length))
        assert model._last_obs.ravel().tolist() == [0] * 5
    assert model.num_timesteps == 3 * 4 * 5
    assert evaluate_groups(model, env, 2, 2).tolist() == [[2, 8], [4, 6]]


def test_columns_that_restart_by_themselves_must_be_one_for_each_attempt():
    env = next_step(2, 2, 2)
    message = r"NEXT_STEP.*3 columns for 4 attempts.*DISABLED.*'sync' or 'async'"
    with pytest.raises(ValueError, match=message):
        env.set_groups(2, 2)
    with pytest.raises(ValueError, match=message):
        model_on(env, 2, 2)
    with pytest.raises(ValueError, match=message):
        evaluate_groups(model_on(env, 1, 3), env, 2, 2)
    assert (env.n_groups, env.group_size) == (1, 3)


def test_columns_that_restart_by_themselves_cannot_have_problems():
    makers = [partial(WithProblems, 3)] * 2
    with pytest.raises(ValueError, match=r"NEXT_STEP, but groups decide which of 3 problems"):
        GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP))
    makers = [partial(WithProblems, 1)] * 2
    GroupVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)).reset()


def test_the_carts_of_gymnasiums_own_vector_env_move_by_the_law_and_pay_for_each_step():
    env = make_group_env("CartPole-v1", 4, 8, vectorization="native")
    model = model_on(env, 4, 8)
    for _ in range(3):
        rollout = collect(model)
        assert (rollout.returns.numpy() == rollout.lengths).all()
        for attempt in range(32):
            rows = rollout.observations[rollout.attempts == attempt].numpy()
            assert len(rows) == rollout.lengths.flat[attempt]
            assert np.abs(rows[0]).max() <= 0.05  # CartPole starts in this box
            # Position and angle advance by 0.02 s times their speeds.
            assert rows[1:, [0, 2]] == pytest.approx(
                rows[:-1, [0, 2]] + 0.02 * rows[:-1, [1, 3]], abs=1e-6
            )
            assert np.abs(rows[:, 2]).max() <= 12 * 2 * np.pi / 360  # or it would have ended


def test_native_and_listed_carts_live_equally_long():
    model = model_on("CartPole-v1", 2, 2)
    lives = []
    for vectorization in ("native", "sync"):
        env = make_group_env("CartPole-v1", 20, 20, vectorization=vectorization)
        lives.append(evaluate_groups(model, env, 20, 20).numpy().ravel())
    deviation = np.hypot(*(life.std() / np.sqrt(400) for life in lives))
    assert abs(lives[0].mean() - lives[1].mean()) < 4 * deviation
    assert 15 < lives[0].mean() < 30
