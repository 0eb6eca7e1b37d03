"""Columns in processes: errors are reported, and all processes end within a deadline."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from joblib import Parallel, delayed

from pkpo_envs import env_columns
from pkpo_envs.env_columns import EnvColumns
from pkpo_envs.processes import CLOSE_SECONDS, KILL_SECONDS
from tests.envs.failing_envs import Failing

pytestmark = pytest.mark.slow

LATEST = CLOSE_SECONDS + 2 * KILL_SECONDS + 2  # seconds that closing may take on a busy machine


@contextmanager
def ends(env: EnvColumns, seconds: float = LATEST):
    """Close the columns afterwards, within so many seconds, and see that no process is left."""
    try:
        yield
    finally:
        begun = time.monotonic()
        env.close()
        assert time.monotonic() - begun < seconds
        assert not any(process.is_alive() for process in env.processes)


def columns(*makers) -> EnvColumns:
    return EnvColumns([*makers], processes=True)


FINE = partial(Failing, "nowhere")


@pytest.mark.parametrize("where", ["reset", "step", "ask"])
@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("raises", KeyError, "no such level"),
        ("complains", RuntimeError, "Complaint: no level 7"),
        ("dies", ChildProcessError, "process of column 1 was killed by signal 9"),
        ("exits", ChildProcessError, "process of column 1 ended with code 3"),
    ],
)
def test_what_fails_in_a_process_is_raised_here(where, how, kind, message):
    env = columns(FINE, partial(Failing, where, how))
    with ends(env):
        if where != "reset":
            env.reset()
        with pytest.raises(kind, match=message) as raised:
            {"reset": env.reset, "step": lambda: env.step(np.array([0, 1]))}.get(
                where, lambda: env.ask("call", "ask", (), {})
            )()
        if kind is not ChildProcessError:
            assert "in fail" in raised.value.__notes__[0]  # the traceback there
            # The columns go on, and no answer of before is taken for a new one.
            assert env.ask("call", "ask", (), {}, columns=[0]) == ["asked"]
            if where == "step":
                assert env.step(np.zeros(2, int))[0].tolist() == [[1], [1]]


def test_an_env_that_cannot_be_made_leaves_no_process():
    before = multiprocessing.active_children()
    with pytest.raises(KeyError, match="no such level"):
        columns(FINE, partial(Failing, "init"))
    assert multiprocessing.active_children() == before


def test_what_cannot_be_sent_is_refused_by_its_column():
    env = columns(FINE, partial(Failing, "info"))
    with ends(env):
        env.reset()
        message = r"column 1 answers 'step' with something that cannot be sent.*generator.*'sync'"
        with pytest.raises(ValueError, match=message):
            env.step(np.zeros(2, int))
        assert env.reset()[0].tolist() == [[0], [0]]


def test_an_env_that_fails_to_close_is_warned_of():
    env = columns(FINE, partial(Failing, "close"))
    with (
        pytest.warns(RuntimeWarning, match="column 1: closing its env failed: KeyError"),
        ends(env),
    ):
        env.reset()
    here = EnvColumns([partial(Failing, "close"), FINE])
    with pytest.warns(RuntimeWarning, match="column 0: closing its env failed: KeyError"):
        here.close()
    assert here.closed


def test_a_process_that_ends_for_nobody_is_killed(monkeypatch):
    monkeypatch.setattr(env_columns, "CLOSE_SECONDS", 1.0)
    env = columns(partial(Failing, "close", "hangs"), FINE, partial(Failing, "close", "hangs"))
    told = r"column 0: its process did not end, and was killed\ncolumn 2: .*killed"
    with pytest.warns(RuntimeWarning, match=told), ends(env):
        env.reset()
    codes = [process.exitcode for process in env.processes]
    assert codes == [-signal.SIGKILL, 0, -signal.SIGKILL]
    env.close()  # once more does nothing


@contextmanager
def interrupted_after(seconds: float):
    """Raise a KeyboardInterrupt in this process, as Ctrl-C does."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_ends_processes_that_hang_in_a_step(monkeypatch):
    monkeypatch.setattr(env_columns, "CLOSE_SECONDS", 0.5)
    env = columns(partial(Failing, "step", "hangs"), FINE)
    env.reset()
    with interrupted_after(0.3):
        env.step(np.ones(2, int))
    os.kill(env.processes[1].pid, signal.SIGINT)  # Ctrl-C reaches the processes too
    with pytest.warns(RuntimeWarning, match="column 0: its process did not end"), ends(env):
        pass


def test_columns_go_on_after_an_interrupt():
    env = columns(partial(Failing, "step", "waits"), FINE)
    with ends(env):
        env.reset()
        with interrupted_after(0.2):
            env.step(np.ones(2, int))
        assert env.reset()[0].tolist() == [[0], [0]]
        assert env.step(np.zeros(2, int))[1].tolist() == [1, 1]


def test_a_program_ends_that_closes_nothing():
    script = """
from functools import partial
from pkpo_envs import env_columns
from tests.envs.failing_envs import Failing
if __name__ == "__main__":
    env_columns.CLOSE_SECONDS = 0.5
    makers = [partial(Failing, "close", "hangs"), partial(Failing, "nowhere")]
    env = env_columns.EnvColumns(makers, processes=True)
    env.reset()
    print([process.pid for process in env.processes])
"""
    command = [sys.executable, "-W", "error", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert run.stderr == ""
    for pid in json.loads(run.stdout):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def step_in_processes(seed: int) -> list[float]:
    env = columns(FINE, FINE)
    with ends(env):
        env.reset(seed=seed)
        return env.step(np.zeros(2, int))[1].tolist()


def test_processes_can_be_started_by_the_workers_of_joblib():
    jobs = (delayed(step_in_processes)(seed) for seed in range(2))
    assert Parallel(n_jobs=2, backend="loky")(jobs) == [[1.0, 1.0]] * 2


def test_a_process_that_may_have_no_children_says_so(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ValueError, match=r"daemonic.*vectorization='sync'"):
        columns(FINE)
