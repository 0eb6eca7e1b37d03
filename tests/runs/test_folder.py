"""Runs on disk: written completely or not at all, and found in any subfolder."""

import json
import os
from pathlib import Path

import pytest

from pkpo_sandbox.runs import folder as runs


def full_disk(_):
    raise OSError(28, "No space left on device")


def test_equal_configs_share_a_hash_and_a_changed_value_changes_it():
    config = {"a": 1, "b": {"c": [1, 2]}}
    assert runs.config_hash(config) == runs.config_hash({"b": {"c": [1, 2]}, "a": 1})
    assert runs.config_hash(config) != runs.config_hash({"a": 1, "b": {"c": [1, 3]}})


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    runs.write_atomically(path, "old")
    monkeypatch.setattr(runs.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        runs.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_character_is_written_as_an_escape(tmp_path):
    runs.write_atomically(tmp_path / "x", "ü\udc80")
    assert (tmp_path / "x").read_text(encoding="utf-8") == r"ü\udc80"


def test_the_summary_is_plain_json(tmp_path):
    summary = {"config": {"objective": {"k": 2}, "seed": 0}, "final": {"x": 2}}
    runs.write_summary(tmp_path, summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_a_number_that_json_lacks_costs_no_summary(tmp_path):
    runs.write_summary(tmp_path, {"x": float("nan"), "y": [float("-inf")], "z": {1, 2}})
    assert runs.read_summary(tmp_path) == {"x": "nan", "y": ["-inf"], "z": [1, 2]}


def test_a_failure_says_what_it_was(tmp_path):
    failure = {"error": "ValueError: no", "overrides": ["k=1"], "config": {"x": float("inf")}}
    runs.write_failure(tmp_path / "new", failure, "Traceback \udc80")
    (found,) = runs.read_failures(tmp_path)
    assert found == {
        "folder": str(tmp_path / "new"),
        **failure,
        "config": {"x": "inf"},
        "traceback": r"Traceback \udc80",
    }


def test_a_failure_that_cannot_be_written_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs.os, "fsync", full_disk)
    runs.write_failure(tmp_path, {"error": "ValueError: no"}, "Traceback")
    said = capsys.readouterr().err
    assert f"{tmp_path} has no failure.json" in said
    assert "No space left" in said
    assert "ValueError: no" in said
    assert runs.read_failures(tmp_path) == []


def test_a_run_is_finished_though_old_files_of_it_stay(tmp_path, monkeypatch):
    (tmp_path / "failure.log").touch()
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok: full_disk(self))
    runs.tidy(tmp_path)
    assert (tmp_path / "failure.log").exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows asks for a privilege to make links")
def test_what_links_lead_to_is_found_once(tmp_path):
    home, away = tmp_path / "runs", tmp_path / "elsewhere"
    for folder in (home / "a", home / "b" / "c", away / "d", away / "e" / "f"):
        folder.mkdir(parents=True)
        (folder / "x").touch()
    (home / "away").symlink_to(away)  # a folder outside
    (home / "again").symlink_to(away)  # twice, and a part of it a third time
    (home / "b" / "e").symlink_to(away / "e")
    (home / "a" / "self").symlink_to(home)  # loops
    (home / "a" / "up").symlink_to(tmp_path)
    (away / "back").symlink_to(home)
    (home / "b" / "twin").symlink_to(home / "a")  # what is here without it
    (home / "gone").symlink_to(tmp_path / "nothing")
    (home / "b" / "y").symlink_to(tmp_path / "nothing")
    found = [path.relative_to(home).as_posix() for path in runs.find(home, "x", "y")]
    assert found == ["a/x", "again/d/x", "again/e/f/x", "b/c/x"]
    link = tmp_path / "link"
    link.symlink_to(home)
    assert [path.relative_to(link).as_posix() for path in runs.find(link, "x", "y")] == found


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert runs.find(tmp_path / "nothing", "x") == []
