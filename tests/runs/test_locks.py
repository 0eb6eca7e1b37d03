"""No two processes do the same run at the same time, where locks are supported."""

import filelock
import pytest

from pkpo_sandbox.runs.locks import taken


@pytest.mark.parametrize(
    "error", [OSError(95, "Operation not supported"), PermissionError(13, "Denied")]
)
def test_where_there_are_no_locks_a_run_is_done_without(error, tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    done = False
    with taken(tmp_path):
        done = True
    assert done
    assert "no lock" in capsys.readouterr().out


def test_a_finished_run_has_no_lock_file(tmp_path):
    with taken(tmp_path):
        assert (tmp_path / ".lock").exists()
        (tmp_path / "summary.json").touch()
    assert not (tmp_path / ".lock").exists()
