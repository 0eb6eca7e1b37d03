"""Which attempt each column plays, and the returns of the columns' episodes."""

import numpy as np

IDLE = -1  #: stands in place of an attempt's number in an idle column

STEP_LIMIT = 100_000  #: an attempt of so many steps counts as endless and raises an error


class Roster:
    """Which attempt each column of a vector env plays.

    Attempts are dealt in order: a column that has ended one gets the next. A column is idle when no
    attempt is left for it. The roster is finished when all attempts have ended. So no attempt is
    dropped because it is slow, and long episodes are as frequent as they are under the policy.

    :param n_attempts: attempts of one iteration, n_groups * group_size
    :param n_columns: number of columns, at least 1
    """

    def __init__(self, n_attempts: int, n_columns: int) -> None:
        columns = np.arange(n_columns)
        #: (n_columns,) the attempt each column plays, IDLE for none
        self.attempts = np.where(columns < n_attempts, columns, IDLE)
        self._waiting = range(min(n_attempts, n_columns), n_attempts)
        self._unfinished = n_attempts
        self._steps = 0
        self._began = np.zeros(n_columns, dtype=np.int64)  # the step before each attempt
        self._next_check = STEP_LIMIT

    @property
    def finished(self) -> bool:
        """Whether every attempt has ended."""
        return self._unfinished == 0

    def end(self, ended: np.ndarray) -> None:
        """Note the columns whose episodes ended, and deal them the next attempts.

        Call it once per step.

        :param ended: (n_columns,) bool
        :raises ValueError: if an attempt has not ended after ``STEP_LIMIT`` steps
        """
        self._steps += 1
        columns = np.flatnonzero(ended & (self.attempts != IDLE))
        self._unfinished -= len(columns)
        self.attempts[columns] = IDLE
        fresh = self._waiting[: len(columns)]
        if fresh:
            columns = columns[: len(fresh)]
            self.attempts[columns] = fresh
            self._began[columns] = self._steps
            self._waiting = self._waiting[len(fresh) :]
        if self._steps >= self._next_check:
            self._refuse_endless()

    def _refuse_endless(self) -> None:
        """Raise a ValueError if an attempt is at the limit; else set the time of the next check."""
        taken = np.where(self.attempts != IDLE, self._steps - self._began, 0)
        column = int(taken.argmax())
        if taken[column] >= STEP_LIMIT:
            raise ValueError(
                f"the attempt in column {column} has not ended after {taken[column]} steps, and an "
                "endless episode has no return: give the env a limit, max_episode_steps of "
                "make_group_env or gymnasium.wrappers.TimeLimit (if episodes may be so long, "
                "increase pkpo_sandbox.algorithm.roster.STEP_LIMIT)"
            )
        self._next_check = self._steps + STEP_LIMIT - int(taken[column])


class Account:
    """The return of each column's episode so far. Only this class adds up rewards step by step.

    The sums of an episode can be read after its last step. The next step starts again at 0.

    :ivar returns: (n_columns,) float64, undiscounted sums of rewards
    :ivar lengths: (n_columns,) int64, steps
    """

    def __init__(self, n_columns: int) -> None:
        self.returns = np.zeros(n_columns)
        self.lengths = np.zeros(n_columns, dtype=np.int64)
        self._over = np.zeros(n_columns, dtype=bool)

    def add(self, rewards: np.ndarray, ended: np.ndarray, playing: np.ndarray) -> None:
        """Add a step.

        :param rewards: (n_columns,)
        :param ended: (n_columns,) bool, the columns whose episode ends with this step
        :param playing: (n_columns,) bool, the columns whose step counts; the sums of others are 0
        """
        for sums, amounts in ((self.returns, rewards), (self.lengths, 1)):
            sums[self._over] = 0
            sums += amounts
            sums[~playing] = 0
        self._over = ended

    def clear(self) -> None:
        """Make all columns start at 0 with the next step."""
        self._over = np.ones(len(self.returns), dtype=bool)
