"""Messages that cannot be printed, and tables of text."""

import io
import os
import subprocess
import sys

import pytest

from pkpo_sandbox.runs.console import columns, duration, safe_output, say


class Full(io.StringIO):
    """A stream to a full disk."""

    def write(self, text: str = "", /) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        self.write()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def closed() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Full(), closed()], ids=["none", "full", "closed"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_cannot_be_printed_raises_nothing(stream, name, monkeypatch):
    monkeypatch.setattr(sys, name, stream)
    with safe_output():
        print("ü", file=getattr(sys, name), flush=True)
        getattr(sys, name).writelines(["a", "b"])
        assert not getattr(sys, name).isatty()
    assert getattr(sys, name) is stream
    say("ü", error=name == "stderr")


@pytest.mark.parametrize(
    ("encoding", "printed"), [("ascii", rb"\xfc\u2603"), ("cp1252", b"\xfc\\u2603")]
)
def test_a_character_that_the_terminal_lacks_is_an_escape(encoding, printed, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with safe_output():
        print("ü☃", end="")
    say("ü☃")
    stream.flush()
    assert stream.buffer.getvalue() == printed * 2 + os.linesep.encode()  # type: ignore[attr-defined]


def test_after_its_reader_is_gone_a_stream_takes_more_text(monkeypatch):
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    os.close(reader)
    with safe_output(), safe_output():
        print("x" * 100_000)
        print("more")
    stream.flush()  # as Python does when it ends
    stream.close()


@pytest.mark.skipif(os.name != "posix", reason="closes a stream as a shell of POSIX does")
def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import os; from pkpo_sandbox.runs.console import *; open_standard_streams()\n"
        "with safe_output(): print('lost'); file = open('file', 'w')\n"
        "os.write(1, b'printed by a library'); raise SystemExit(file.fileno())"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, preexec_fn=lambda: os.close(1), check=False)
    assert result.returncode > 2
    assert (tmp_path / "file").read_text() == ""


def test_tables_are_as_wide_as_their_entries():
    assert columns([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc  d"
    long = "k=" + "1" * 5000
    assert columns([("overrides", "log"), (long, "x/failure.log")]).splitlines()[1] == (
        f"{long}  x/failure.log"
    )


def test_an_entry_of_a_table_is_text_whatever_it_says():
    odd = "env.kwargs.x=[red] [a,b] :smile: \x1b[31m two\nlines"
    shown = r"env.kwargs.x=[red] [a,b] :smile: \x1b[31m two\nlines"
    assert columns([("heading",), (odd,)]) == f"heading\n{shown}"


def test_a_table_for_a_terminal_is_no_wider(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = columns([("overrides", "error"), ("k=1 " * 30, "no luck")], fit=Terminal()).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).count("k=1") == 30


def test_times_are_easy_to_read():
    assert [duration(value) for value in (45.2, 720, 12_240)] == ["45 s", "12 min", "3.4 h"]
