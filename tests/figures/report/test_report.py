"""The command ``pkpo-report``."""

import sys

import pytest

from pkpo_sandbox.figures import report


def call(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pkpo-report", *arguments])
    report.main()


def test_the_command_writes_beside_the_runs_or_where_it_is_told(folder, monkeypatch, capsys):
    call(monkeypatch, str(folder))
    first = (folder / "report.html").read_bytes()
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    call(monkeypatch, str(folder), "--output", str(folder / "new" / "other.html"))
    assert (folder / "new" / "other.html").read_bytes() == first  # and it is not a run
    assert not list(folder.rglob("*.part"))


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"pkpo-report: no run below .* pkpo-train first"):
        call(monkeypatch, str(tmp_path))
    with pytest.raises(SystemExit, match=r"pkpo-report: .*none is not a folder"):
        call(monkeypatch, str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []
