"""Data files of users: an error names an unreadable file and the cure."""

import json

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import pandas as pd

from pkpo_sandbox.gemma2.models import PretrainedGemma2, TinyGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths
from pkpo_sandbox.gemma2.tasks.arc import ArcTask
from pkpo_sandbox.gemma2.tasks.math import MathTask

REAL = PretrainedGemma2("google/gemma-2-2b-it")
ROW = {"problem": "1+1?", "answer": "2"}
LINE = json.dumps(ROW)
PAIR = {"input": [[1]], "output": [[2]]}
PUZZLE = json.dumps({"train": [PAIR], "test": [PAIR]})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def load(task, folder):
    train, _ = task.load(DataPaths(str(folder)))
    return train


@pytest.mark.parametrize(
    "content",
    [
        LINE.encode("utf-8-sig"),
        (LINE + "\r\n\r\n").encode(),
        json.dumps({**ROW, "solution": "a\u2028b"}, ensure_ascii=False).encode(),
    ],
    ids=["byte order mark", "blank lines of Windows", "a line separator in a text"],
)
def test_json_lines_are_read(content, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(content)
    assert load(MathTask(), tmp_path)["gold"] == ["2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"[" + LINE.encode() + b"]", "line 1 begins a JSON array: .*jq -c"),
        ("a.jsonl", b"[\n" + LINE.encode() + b"\n]", "line 1 begins a JSON array"),
        ("a.jsonl", LINE.encode() + b"\n{'a': 1}", "line 2 is not JSON .* one object on each line"),
        ("a.jsonl", LINE.encode() + b'\n{"a"', "line 2 is not JSON"),
        ("a.jsonl", b"\n7\n", "line 2 is the JSON value '7'"),
        ("a.jsonl", LINE.encode("utf-16"), "not a text in UTF-8 .* save it as UTF-8"),
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", POINTER, "pointer of Git LFS: .* git lfs pull"),
        ("a.parquet", POINTER, "pointer of Git LFS: .* git lfs pull"),
        ("a.parquet", b"", "cannot be read as parquet .* download it again"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        (
            "a.jsonl",
            b'{"question": "1+1?"}',
            "row 1 has the columns question, but the text problem",
        ),
        ("a.jsonl", LINE.encode() + b'\n{"answer": "2"}', "row 2 has the columns answer, but"),
    ],
)
def test_a_file_that_is_no_data_is_named_with_the_cure(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        load(MathTask(), tmp_path)


def test_a_parquet_file_that_was_cut_off_is_named(tmp_path):
    file = tmp_path / "a.parquet"
    pd.DataFrame([ROW] * 100).to_parquet(file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet"):
        load(MathTask(), tmp_path)


@pytest.mark.parametrize(
    ("task", "name", "content"), [(ArcTask(), "a.json", PUZZLE), (MathTask(), "a.jsonl", LINE)]
)
def test_hidden_files_of_a_folder_are_left_out_aloud(task, name, content, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    (tmp_path / f"._{name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    task.check(DataPaths(str(tmp_path)), None)
    assert f"left out 1 hidden files: ._{name}" in capsys.readouterr().out
    assert len(load(task, tmp_path)) == 1
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"is neither a folder with .* nor one such file"):
        load(task, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PUZZLE.encode("utf-16"), "not a text in UTF-8"),
        (json.dumps({"a1": json.loads(PUZZLE)}).encode(), "no ARC puzzle .* a file for each"),
        (PUZZLE[:20].encode(), "no ARC puzzle"),
        (b"\x00\x05\x16\x07Mac OS X\xff", "not a text in UTF-8"),
    ],
)
def test_a_puzzle_that_cannot_be_read_is_named(content, message, tmp_path):
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"p\.json .*{message}"):
        load(ArcTask(), tmp_path)


def test_a_puzzle_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "p.json").write_bytes(PUZZLE.encode("utf-8-sig"))
    assert load(ArcTask(), tmp_path)["gold"] == [[[2]]]


@pytest.mark.parametrize("task", [MathTask(), ArcTask()])
def test_missing_data_and_a_model_that_cannot_read_are_refused(task, tmp_path):
    with pytest.raises(ValueError, match=r"needs data\.path="):
        task.check(DataPaths(), REAL)
    with pytest.raises(ValueError, match="nowhere is neither a folder with"):
        task.check(DataPaths(str(tmp_path / "nowhere")), REAL)
    with pytest.raises(ValueError, match="reads numbers only"):
        task.check(DataPaths(str(tmp_path)), TinyGemma2())
