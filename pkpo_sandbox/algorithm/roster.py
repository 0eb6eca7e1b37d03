"""Which attempt each column plays, and what the columns earn."""

import numpy as np

IDLE = -1  #: the number of no attempt

STEP_LIMIT = 100_000  #: an attempt that has not ended after so many steps is refused as endless


class Roster:
    """Which attempt each column of a vectorised env is playing.

    Attempts are handed out in order, to columns as they come free. A column is idle when no attempt
    is left for it. Every attempt is played to its end before the roster is finished, so no attempt
    is dropped for being slow, and long episodes are as likely as they are under the policy.

    :param n_attempts: attempts of one iteration, n_groups * group_size
    :param n_columns: number of parallel envs, any positive number
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
        """Note which columns' episodes ended, and hand those columns the next attempts.

        To be called once a step.

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
        """Raise a ValueError for an attempt at the limit; look again when another may be there."""
        taken = np.where(self.attempts != IDLE, self._steps - self._began, 0)
        column = int(taken.argmax())
        if taken[column] >= STEP_LIMIT:
            raise ValueError(
                f"the attempt in column {column} has not ended after {taken[column]} steps, and an "
                "endless episode has no return: give the env a limit, max_episode_steps of "
                "make_group_env or gymnasium.wrappers.TimeLimit (for episodes that are meant to be "
                "so long, raise pkpo_sandbox.algorithm.roster.STEP_LIMIT)"
            )
        self._next_check = self._steps + STEP_LIMIT - int(taken[column])


class Account:
    """What each column has earned in its episode: the only place where rewards are added up.

    The sums of an episode can be read after the step that ended it, and start at 0 with the next.

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
        :param playing: (n_columns,) bool, the columns whose step counts; the others are at 0
        """
        for sums, amounts in ((self.returns, rewards), (self.lengths, 1)):
            sums[self._over] = 0
            sums += amounts
            sums[~playing] = 0
        self._over = ended

    def clear(self) -> None:
        """Start all columns at 0 with the next step."""
        self._over = np.ones(len(self.returns), dtype=bool)
