"""The log of lanes: statistics against values computed by hand, one row per lane."""

import numpy as np
import pytest

from pkpo_sandbox.algorithm.lanes.log import LaneLog


def write(log: LaneLog, failed: set[int] = frozenset(), n_lanes: int = 2) -> None:
    log.write(
        failed,
        {"loss": [0.1, 0.2][:n_lanes]},
        [{"k": 2, "baseline": "loo", "scaled": True}, {"beta": 0.5}][:n_lanes],
        iteration=3,
        num_timesteps=12,
        n_updates=6,
        ep_len_mean=1,
    )


@pytest.fixture
def log() -> LaneLog:
    """Two lanes of one group of two, with a window of two iterations, after three."""
    log = LaneLog(2, group_size=2, window=2)
    for returns in ([[9, 9], [9, 9]], [[0, 1], [2, 4]], [[1, 3], [6, 8]]):
        log.add(np.array(returns, dtype=float))
    return log


def test_a_row_has_the_statistics_of_the_last_iterations(log):
    write(log)
    shared = {
        "time/iterations": 3,
        "time/total_timesteps": 12,
        "rollout/ep_len_mean": 1,
        "train/n_updates": 6,
    }
    first = {"rollout/ep_rew_mean": 5 / 4, "rollout/max_at_1": 5 / 4, "rollout/max_at_2": 2}
    second = {"rollout/ep_rew_mean": 5, "rollout/max_at_1": 5, "rollout/max_at_2": 6}
    assert log.rows == [
        [{**shared, **first, "train/loss": 0.1, "train/k": 2}],  # numbers only
        [{**shared, **second, "train/loss": 0.2, "train/beta": 0.5}],
    ]


def test_what_is_recorded_stands_in_the_next_row_of_its_lane(log):
    log.record(1, "eval/note", 7)
    write(log)
    write(log)
    assert [[row.get("eval/note") for row in rows] for rows in log.rows] == [
        [None, None],
        [7, None],
    ]


def test_lanes_that_failed_have_no_more_rows(log):
    write(log)
    write(log, failed={0})
    assert [len(rows) for rows in log.rows] == [1, 2]
    log.keep([1])
    write(log, n_lanes=1)
    assert [row["rollout/ep_rew_mean"] for row in log.rows[0]] == [5, 5, 5]
