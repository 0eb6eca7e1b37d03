"""The roster: which column plays which attempt, and attempts that do not end."""

import numpy as np
import pytest

from pkpo_sandbox.algorithm.roster import IDLE, Roster


def mask(*columns: int) -> np.ndarray:
    return np.array(columns, dtype=bool)


def test_fewer_columns_than_attempts_take_the_next_attempt_as_they_come_free():
    roster = Roster(n_attempts=5, n_columns=2)
    history = [roster.attempts.tolist()]
    for ended in (mask(1, 0), mask(1, 1), mask(1, 0), mask(1, 0)):
        roster.end(ended)
        history.append(roster.attempts.tolist())
        assert not roster.finished
    # Attempt 4 is slow: column 0 runs out of attempts and is idle, and what ends there is no
    # attempt, so the roster waits for column 1.
    assert history == [[0, 1], [2, 1], [3, 4], [IDLE, 4], [IDLE, 4]]
    roster.end(mask(0, 1))
    assert roster.finished
    assert roster.attempts.tolist() == [IDLE, IDLE]


def test_as_many_columns_as_attempts_play_one_each():
    roster = Roster(3, 3)
    assert roster.attempts.tolist() == [0, 1, 2]
    roster.end(mask(0, 1, 0))
    assert roster.attempts.tolist() == [0, IDLE, 2]
    roster.end(mask(1, 1, 0))
    assert not roster.finished
    roster.end(mask(0, 0, 1))
    assert roster.finished


def test_columns_beyond_the_attempts_are_idle_from_the_start():
    roster = Roster(2, 4)
    assert roster.attempts.tolist() == [0, 1, IDLE, IDLE]
    roster.end(mask(0, 0, 1, 1))
    assert roster.attempts.tolist() == [0, 1, IDLE, IDLE]
    roster.end(mask(1, 1, 0, 0))
    assert roster.finished


@pytest.mark.parametrize("n_columns", [1, 2, 7, 12, 30])
def test_every_attempt_is_played_once_without_a_break_in_one_column(n_columns):
    rng = np.random.default_rng(n_columns)
    roster = Roster(12, n_columns)
    played: dict[int, list[tuple[int, int]]] = {attempt: [] for attempt in range(12)}
    for step in range(1000):
        for column, attempt in enumerate(roster.attempts):
            if attempt != IDLE:
                played[attempt].append((column, step))
        roster.end(rng.random(n_columns) < 0.4)
        if roster.finished:
            break
    assert roster.finished
    for steps in played.values():
        columns, times = zip(*steps, strict=True)
        assert len(set(columns)) == 1
        assert list(times) == list(range(times[0], times[0] + len(times)))


def test_an_attempt_is_refused_when_it_has_not_ended_at_the_limit(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 5)
    roster = Roster(n_attempts=3, n_columns=3)
    for _ in range(4):
        roster.end(mask(0, 0, 0))
    # Attempts 0 and 2 end at their fifth step, just in time.
    with pytest.raises(ValueError, match="the attempt in column 1 has not ended after 5 steps"):
        roster.end(mask(1, 0, 1))


def test_the_limit_is_for_an_attempt_however_long_the_iteration(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 5)
    roster = Roster(n_attempts=9, n_columns=2)
    ended = [(0, 0), (0, 0), (1, 0), (0, 0), (0, 1), (0, 0), (0, 0), (1, 0), (0, 0), (0, 1)]
    for columns in [*ended, (1, 1), (0, 1), (0, 0), (0, 0), (0, 0)]:
        roster.end(mask(*columns))
    # 15 steps, of which no attempt has had more than 5; the latest began after steps 11 and 12.
    assert roster.attempts.tolist() == [6, 8]
    with pytest.raises(ValueError, match="column 0 has not ended after 5 steps"):
        roster.end(mask(0, 0))


def test_what_idle_columns_play_may_be_endless(monkeypatch):
    monkeypatch.setattr("pkpo_sandbox.algorithm.roster.STEP_LIMIT", 5)
    roster = Roster(n_attempts=3, n_columns=2)
    for columns in [(1, 0), (0, 0), (1, 0), (0, 0), (0, 1)]:
        roster.end(mask(*columns))
    assert roster.finished
