"""A column in a separate process. It starts below any launcher, and ends within a deadline."""

import multiprocessing
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import gymnasium

from pkpo_envs.column import Column

#: seconds that closing waits for the processes of all columns, before it ends them by force
CLOSE_SECONDS = 5.0

#: seconds to wait for a process after terminate(), and again after kill()
KILL_SECONDS = 1.0


class ColumnProcess:
    """A :class:`Column` in a separate process.

    ``send`` sends a request, and ``receive`` returns its answer. After an error or an interrupt an
    answer may not have been received. The next ``send`` drops it.

    :param maker: makes the env; it runs in the process
    :param index: number of the column
    """

    def __init__(self, maker: Callable[[], gymnasium.Env], index: int) -> None:
        self.index = index
        self._awaited = False  # whether a request has no answer yet
        self._sending = False  # True after a request that was sent only in part
        method = _start_method()
        context: Any = multiprocessing.get_context(method)
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(_pickled(maker, True), theirs, index), name=f"Column-{index}"
        )
        self.process.daemon = True
        with default_start_method(method):
            self.process.start()
        theirs.close()

    def send(self, request: str, *arguments: Any) -> None:
        """Ask the process to call the method ``request`` of its column.

        :raises ChildProcessError: if the process has ended
        """
        if self._awaited:
            with suppress(Exception):  # an error of the previous request
                self.receive()
        data = _pickled((request, arguments), by_value=request not in ("step", "reset"))
        try:
            self._sending = True
            self.pipe.send_bytes(data)
            self._sending = False
        except OSError as error:
            raise self._ended() from error
        self._awaited = True

    def receive(self) -> Any:
        """Wait for the answer. An error of the env is raised again here.

        :raises ChildProcessError: if the process has ended
        """
        try:
            data = self.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._awaited = False
        succeeded, answer = pickle.loads(data)
        if not succeeded:
            raise answer
        return answer

    def ask_to_end(self) -> None:
        """Ask the process to close its env and end, after its current request."""
        if not self._sending:
            with suppress(OSError, ValueError):
                self.pipe.send_bytes(pickle.dumps(("end", ())))

    def last_words(self) -> tuple[bool, str | None]:
        """Read a message. -> whether it was the last one, and the error of closing the env."""
        try:
            succeeded, answer = pickle.loads(self.pipe.recv_bytes())
        except Exception:
            return True, None
        return (True, answer) if succeeded is None else (False, None)

    def _ended(self) -> ChildProcessError:
        self.process.join(KILL_SECONDS)
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"
        return ChildProcessError(
            f"the process of column {self.index} {how}. See its own error above, if there is one. "
            "Memory may have run out; and a script must start from `if __name__ == '__main__':`"
        )


def end_processes(columns: Sequence[ColumnProcess], seconds: float = CLOSE_SECONDS) -> list[str]:
    """Ask the processes of columns to end. After the deadline end them by force.

    :param seconds: time for all of them together to close their envs
    :return: the errors, one line each
    """
    deadline = time.monotonic() + seconds
    for column in columns:
        column.ask_to_end()
    errors: list[str] = []
    open_pipes = {column.pipe: column for column in columns}
    while open_pipes and (remaining := deadline - time.monotonic()) > 0:
        for pipe in wait(list(open_pipes), remaining):
            column = open_pipes[pipe]  # type: ignore[index]
            ended, error = column.last_words()
            if error is not None:
                errors.append(f"column {column.index}: closing its env failed: {error}")
            if ended:
                del open_pipes[pipe]  # type: ignore[arg-type]
    _join(columns, max(0.0, deadline - time.monotonic()) + KILL_SECONDS / 10)
    for end in (BaseProcess.terminate, BaseProcess.kill):
        alive = [column for column in columns if column.process.is_alive()]
        for column in alive:
            if end is BaseProcess.terminate:
                errors.append(f"column {column.index}: its process did not end, and was killed")
            end(column.process)
        if alive:
            _join(alive, KILL_SECONDS)
    for column in columns:
        column.pipe.close()
    return errors


def _join(columns: Sequence[ColumnProcess], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for column in columns:
        column.process.join(max(0.0, deadline - time.monotonic()))


def _start_method() -> str:
    """Return the start method: "forkserver" where it exists, else "spawn".

    Not "fork": a fork of a process with torch's threads may hang.

    :raises ValueError: in a daemonic process
    """
    if multiprocessing.current_process().daemon:
        raise ValueError(
            "this process is daemonic (as those of multiprocessing.Pool are), and Python lets it "
            "start no processes: use vectorization='sync', or a launcher such as joblib's loky"
        )
    known = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in known else "spawn"


@contextmanager
def default_start_method(method: str) -> Iterator[None]:
    """Replace a default start method that the standard library does not know.

    A new process gets the default start method of its parent, and fails if it does not know it.
    The default in joblib's workers is "loky", which a new process does not know.
    """
    before = multiprocessing.get_start_method(allow_none=True)
    if before is None or before in multiprocessing.get_all_start_methods():
        yield
        return
    multiprocessing.set_start_method(method, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


class _Printed:
    """A text stream that never raises, so that a print in an env cannot stop a run.

    The terminal may not support a character, or the reader of a pipe may have ended.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(AttributeError, OSError, ValueError):  # the stream is None, broken or closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(AttributeError, OSError, ValueError):
            self._stream.flush()


def _serve(maker: bytes, pipe: Connection, index: int) -> None:
    """Run a column's process: answer requests until "end", or until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    sys.stdout, sys.stderr = _Printed(sys.stdout), _Printed(sys.stderr)  # type: ignore[assignment]
    column: Column | None = None
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            request, arguments = pickle.loads(pipe.recv_bytes())
            if request == "end":
                break
            try:
                if column is None:
                    column = Column(pickle.loads(maker)(), index)
                answer = True, getattr(column, request)(*arguments)
            except Exception as error:
                answer = False, _portable(error)
            pipe.send_bytes(_answer(answer, request, index))
    error = None
    try:
        if column is not None:
            column.env.close()
    except Exception as closing:
        error = f"{type(closing).__name__}: {closing}"
    with suppress(OSError):
        pipe.send_bytes(pickle.dumps((None, error)))


def _answer(answer: tuple[bool, Any], request: str, index: int) -> bytes:
    """Pickle an answer, or an error if the answer cannot be pickled."""
    try:
        return _pickled(answer)
    except Exception as error:
        refusal = ValueError(
            f"the env in column {index} answers {request!r} with something that cannot be sent to "
            f"another process ({type(error).__name__}: {error}): use vectorization='sync'"
        )
        return pickle.dumps((False, refusal))


def _portable(error: Exception) -> Exception:
    """Add the traceback to an error as a note. Replace an error that cannot be pickled."""
    trace = traceback.format_exc()
    try:
        copy = pickle.loads(_pickled(error))
        assert type(copy).__name__ == type(error).__name__
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in the process of a column:\n{trace}")
    return error


def _pickled(value: Any, by_value: bool = False) -> bytes:
    """Pickle a value.

    :param by_value: use cloudpickle, which sends the code of local functions and classes, and of
        those of ``__main__``; else it is used only if pickle fails
    """
    if not by_value:
        with suppress(Exception):
            return pickle.dumps(value)
    import cloudpickle

    return cloudpickle.dumps(value)
