"""Score answers in processes of their own, each by a deadline.

Checking an answer runs a parser and computer algebra on whatever a policy wrote, and 9^{9^{9^9}}
may take all memory or never end. Nothing inside the process can be trusted to stop that (a signal
does not interrupt a long power of big integers), so a worker that misses its deadline is killed.

Why no library: with Pebble's ``ProcessPool`` (5.2.3) one worker that is killed while it waits, by
the system for its memory, say, breaks the pool; a worker that is killed while it holds the one
channel blocks all others for a minute; and each hung worker is first asked to end, for 3 s, one
after the other. Here each worker has a pipe of its own, and its death costs one answer at most.
"""

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

MEMORY_BYTES = 4 * 2**30  # address space of a worker, where the system can limit it
START_SECONDS = 60.0  # for a worker to start and import what it needs


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    deadline: float  # of its start, and then of its job
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

    An answer that is not scored by its deadline, or whose worker dies of it, scores 0: it is an
    answer that nobody could check. Workers start when first needed and are shared by all calls.

    :param score: a function (gold, answer) -> reward at the top level of a module, which the
        workers import; its errors score 0
    :param workers: processes
    :param seconds: an answer may take
    :raises ValueError: if there are no workers or no time
    """

    def __init__(
        self, score: Callable[[str, str], float], workers: int = 4, seconds: float = 3.0
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers} must be at least 1")
        if not seconds > 0:
            raise ValueError(f"seconds={seconds} must be positive: the time an answer may take")
        self.score, self.n_workers, self.seconds = score, workers, seconds
        self.missed = 0  #: workers so far that missed a deadline or died
        # Not fork: the parent holds threads, and perhaps a GPU.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The scores of (gold, answer) pairs, in their order.

        If every answer is hostile it takes pairs/workers times ``seconds`` and a worker's start.
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
        """Stop the workers; the next call starts others."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def _start(self) -> _Worker:
        from pkpo_envs.processes import default_start_method  # not above: workers import this file

        if multiprocessing.current_process().daemon:
            raise RuntimeError(
                "answers are scored in processes, and this one may start none, because it is "
                "daemonic as those of multiprocessing.Pool are: use a launcher such as joblib's"
            )
        here, there = self._context.Pipe()
        arguments = (self.score, there, self.seconds)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        with default_start_method("spawn"):  # below joblib it is one that the worker does not know
            process.start()
        there.close()
        return _Worker(process, here, time.monotonic() + START_SECONDS)

    def _give(self, worker: _Worker, waiting: list[int], pairs: Sequence[tuple[str, str]]) -> None:
        """Hand the next pair to a worker, unless it has died since its last one."""
        try:
            worker.pipe.send(pairs[waiting[-1]])
        except OSError:
            self._replace(worker)
        else:
            worker.job = waiting.pop()
            worker.deadline = time.monotonic() + self.seconds

    def _receive(self, worker: _Worker, scores: list[float]) -> None:
        """Take a worker's score, or its first word, which says that it is ready."""
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
    """Limit this process, where the system can: RLIMIT_AS in bytes, RLIMIT_CPU in seconds."""
    try:
        import resource
    except ImportError:
        return
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _serve(score: Callable[[str, str], float], pipe: Connection, seconds: float) -> None:
    """A worker's life: pairs in, scores out."""
    _limit("RLIMIT_AS", MEMORY_BYTES)
    try:
        score("0", "0")  # imports what it needs
    except Exception as error:
        if isinstance(error, ImportError):
            raise
    pipe.send(None)
    while True:
        try:
            gold, answer = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        # Whoever would kill it at its deadline may have been killed itself.
        _limit("RLIMIT_CPU", math.ceil(time.process_time() + seconds) + 1)
        try:
            pipe.send(float(score(gold, answer)))
        except Exception:
            pipe.send(0.0)
