"""Score answers in separate processes, with a deadline for each answer.

A check runs a parser and computer algebra on any text that a policy writes. 9^{9^{9^9}} may take
all memory or never end. The process cannot stop itself: a signal does not interrupt a long power of
big integers. So a worker that misses its deadline is killed.

Pebble's ``ProcessPool`` (5.2.3) does not suit, for three reasons. If a waiting worker is killed,
for example by the system for its memory, the pool breaks. If a worker is killed while it holds the
shared channel, all others are blocked for a minute. And hung workers are asked to end one after
another, for 3 s each. Here each worker has its own pipe, and its death costs at most one answer.
"""

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

MEMORY_BYTES = 4 * 2**30  # limit of a worker's address space, if the system supports it
START_SECONDS = 60.0  # time for a worker to start and import its modules


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    deadline: float  # of its start, later of its job
    ready: bool = False
    job: int | None = None

    @property
    def busy(self) -> bool:
        return self.job is not None or not self.ready

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Verifier:
    """Processes that score (gold, answer) pairs.

    An answer scores 0 if it misses its deadline, or if its worker dies. Workers start when they are
    first needed, and all calls share them.

    :param score: a function (gold, answer) -> reward at the top level of a module, which the
        workers import; if it raises an error, the answer scores 0
    :param workers: number of processes
    :param seconds: time limit for one answer
    :raises ValueError: if workers is below 1, or seconds is not positive
    """

    def __init__(
        self, score: Callable[[str, str], float], workers: int = 4, seconds: float = 3.0
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers} must be at least 1")
        if not seconds > 0:
            raise ValueError(f"seconds={seconds} must be positive: the time an answer may take")
        self.score, self.n_workers, self.seconds = score, workers, seconds
        self.missed = 0  #: number of workers so far that missed a deadline or died
        # Not fork: the parent has threads, and may use a GPU.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the scores of (gold, answer) pairs, in the same order.

        In the worst case every answer misses its deadline. The call then takes pairs/workers times
        (``seconds`` + the start of a worker).
        """
        scores = [0.0] * len(pairs)
        waiting = list(range(len(pairs)))[::-1]
        while len(self._workers) < min(self.n_workers, len(pairs)):
            self._workers.append(self._start())
        while waiting or any(worker.job is not None for worker in self._workers):
            for worker in list(self._workers):
                if waiting and not worker.busy:
                    self._give(worker, waiting, pairs)
            busy = [worker for worker in self._workers if worker.busy]
            first = min(worker.deadline for worker in busy)
            wait([worker.pipe for worker in busy], max(0.0, first - time.monotonic()))
            for worker in busy:
                if worker.pipe.poll():
                    self._receive(worker, scores)
                elif time.monotonic() >= worker.deadline:
                    self._replace(worker)
        return scores

    def close(self) -> None:
        """Stop the workers. The next call starts new ones."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def _start(self) -> _Worker:
        from pkpo_envs.processes import default_start_method  # not on top: workers import this file

        if multiprocessing.current_process().daemon:
            raise RuntimeError(
                "answers are scored in processes, and this one may start none, because it is "
                "daemonic as those of multiprocessing.Pool are: use a launcher such as joblib's"
            )
        here, there = self._context.Pipe()
        arguments = (self.score, there, self.seconds)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        with default_start_method("spawn"):  # a worker does not know joblib's
            process.start()
        there.close()
        return _Worker(process, here, time.monotonic() + START_SECONDS)

    def _give(self, worker: _Worker, waiting: list[int], pairs: Sequence[tuple[str, str]]) -> None:
        """Send the next pair to a worker. Replace a worker that has died."""
        try:
            worker.pipe.send(pairs[waiting[-1]])
        except OSError:
            self._replace(worker)
        else:
            worker.job = waiting.pop()
            worker.deadline = time.monotonic() + self.seconds

    def _receive(self, worker: _Worker, scores: list[float]) -> None:
        """Receive a worker's score. Its first message only means that it is ready."""
        try:
            value = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if worker.job is not None:
            scores[worker.job] = value
        worker.ready, worker.job = True, None

    def _replace(self, worker: _Worker) -> None:
        worker.stop()
        if not worker.ready:
            raise RuntimeError(
                f"a scoring process did not start in {START_SECONDS:g} s or died: see its error "
                "above; a script that trains needs `if __name__ == '__main__':` around what it runs"
            )
        self.missed += 1
        self._workers[self._workers.index(worker)] = self._start()


def _limit(name: str, value: int) -> None:
    """Limit this process if the system supports it: RLIMIT_AS in bytes, RLIMIT_CPU in seconds."""
    try:
        import resource
    except ImportError:
        return
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _serve(score: Callable[[str, str], float], pipe: Connection, seconds: float) -> None:
    """Run a worker: receive pairs, and send scores."""
    _limit("RLIMIT_AS", MEMORY_BYTES)
    try:
        score("0", "0")  # import its modules
    except Exception as error:
        if isinstance(error, ImportError):
            raise
    pipe.send(None)
    while True:
        try:
            gold, answer = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        # The parent, which enforces the deadline, may have been killed.
        _limit("RLIMIT_CPU", math.ceil(time.process_time() + seconds) + 1)
        try:
            pipe.send(float(score(gold, answer)))
        except Exception:
            pipe.send(0.0)
