"""Processes score answers by a deadline, for any answers and below any launcher."""

import multiprocessing
import time

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from pkpo_sandbox.gemma2.tasks.verifier import Verifier
from tests.gemma2.tasks.hostile import scored, slow_or_deadly


@pytest.mark.slow
def test_workers_that_hang_die_or_raise_cost_their_own_answer_alone():
    verifier = Verifier(slow_or_deadly, workers=2, seconds=0.5)
    try:
        answers = ["a", "sleep", "b", "die", "raise", "memory", "a", "sleep", "a"]
        assert verifier([("a", "a")]) == [1.0]
        started = time.monotonic()
        scores = verifier([("a", answer) for answer in answers])
        assert scores == [1, 0, 0, 0, 0, 0, 1, 0, 1]
        assert verifier.missed == 3
        assert time.monotonic() - started < 30
        assert verifier([]) == []
        for worker in filter(lambda worker: worker.ready, verifier._workers):
            worker.process.kill()  # it may die while it waits
            worker.process.join()
        assert verifier([("a", "a"), ("a", "b"), ("b", "b")]) == [1.0, 0.0, 1.0]
        workers = [worker.process for worker in verifier._workers]
    finally:
        verifier.close()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.slow
def test_a_worker_whose_parent_was_killed_does_not_spin_for_ever():
    worker = Verifier(slow_or_deadly, workers=1, seconds=0.5)._start()
    try:
        assert worker.pipe.recv() is None
        worker.pipe.send(("a", "spin"))
        worker.process.join(30)
        assert not worker.process.is_alive()
    finally:
        worker.stop()


def test_a_verifier_without_workers_or_time_is_refused():
    with pytest.raises(ValueError, match="workers=0 must be at least 1"):
        Verifier(slow_or_deadly, workers=0)
    with pytest.raises(ValueError, match="seconds=0 must be positive"):
        Verifier(slow_or_deadly, seconds=0)


@pytest.mark.slow
def test_a_job_of_joblib_can_score():
    """Its workers' own way to start processes, "loky", is not known to new processes."""
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config("loky", n_jobs=2):
        jobs = [joblib.delayed(scored)(answer) for answer in ("a", "b")]
        assert joblib.Parallel()(jobs) == [[1.0, 1.0], [1.0, 0.0]]


@pytest.mark.slow
def test_a_process_that_may_start_none_says_so():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply_async(scored, ("a",))
        with pytest.raises(RuntimeError, match="may start none, because it is daemonic"):
            answer.get(60)
