"""The MATH task: its data, the answer in the last box, and its reward."""

import json
import time

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import pandas as pd

from pkpo_sandbox.gemma2.models import PretrainedGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths
from pkpo_sandbox.gemma2.tasks.math import MathTask, last_boxed

REAL = PretrainedGemma2("google/gemma-2-2b-it")


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        ("so \\boxed{12}.", "12"),
        ("\\boxed{1} no, \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\begin{array}1\\\\{-2}\\end{array}}", "\\begin{array}1\\\\{-2}\\end{array}"),
        ("\\boxed{3}, so $\\boxed 7$.", "7"),
        ("\\boxed 2.5.", "2.5"),
        ("\\boxed {5}", "5"),
        ("\\boxed{1}, then \\fbox{A}", "A"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("the answer is 12", None),
        ("cut off \\boxed{\\frac{1}{", None),
    ],
)
def test_the_last_box_is_the_answer(text, boxed):
    assert last_boxed(text) == boxed


PROBLEMS = [
    {"problem": "1+1?", "level": "Level 1", "type": "Algebra", "solution": "It is \\boxed{2}."},
    {"problem": "Half?", "level": "Level 2", "type": "Algebra", "solution": "\\boxed{\\frac12}"},
    {"problem": "Prove it.", "level": "Level 5", "type": "Number Theory", "solution": "Clear."},
]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "folder"])
def test_math_reads_its_files_and_counts_what_it_drops(kind, tmp_path, capsys):
    path = tmp_path / ("train.parquet" if kind == "parquet" else "train.jsonl")
    if kind == "parquet":
        pd.DataFrame(PROBLEMS).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    path = tmp_path if kind == "folder" else path
    task = MathTask()
    task.check(DataPaths(str(path)), REAL)
    train, test = task.load(DataPaths(str(path)))
    assert test is None
    assert train["gold"] == ["2", "\\frac12"]
    assert train["level"] == ["Level 1", "Level 2"]
    (message,) = train[0]["prompt"]
    assert message["role"] == "user"
    assert message["content"].endswith("1+1?")
    assert "dropped 1 of 3 problems" in capsys.readouterr().out
    plain, _ = MathTask(conversational=False).load(DataPaths(str(path)))
    assert plain[0]["prompt"] == message["content"]


def test_math_prefers_the_column_answer(tmp_path):
    rows = [{"problem": "a", "answer": "7", "solution": "\\boxed{8}"}]
    rows += [{"problem": "b", "answer": None, "solution": "\\boxed{8}"}]
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    train, _ = MathTask().load(DataPaths(str(tmp_path)))
    assert train["gold"] == ["7", "8"]
    pd.DataFrame({"problem": ["a", "b"], "answer": [33, 204]}).to_parquet(tmp_path / "x.parquet")
    train, _ = MathTask().load(DataPaths(str(tmp_path)))
    assert train["gold"] == ["33", "204"]


@pytest.mark.slow
def test_math_rewards_texts_and_messages_and_no_answer_stalls_them():
    task = MathTask(workers=2, seconds=2.0)
    answers = [
        "\\boxed{0.5}",
        "I think 0.5",
        "\\boxed{9^{9^{9^{9}}}}",
        "\\boxed{\\frac{1}{2}}",
        "\\boxed{" + "(" * 500 + "}",
        "\\boxed{1}",
    ]
    expected = [1, 0, 0, 1, 0, 0]
    gold = ["\\frac12"] * len(answers)
    try:
        assert task.reward([""], ["\\boxed{0.5}"], gold=gold[:1]) == [1]  # starts a worker
        started = time.monotonic()
        assert task.reward([""] * 6, answers, gold=gold) == expected
        assert time.monotonic() - started < 25
        messages = [[{"role": "assistant", "content": answer}] for answer in answers]
        assert task.reward([""] * 6, messages, gold=gold) == expected
    finally:
        task.verifier.close()
