"""The ARC task: its puzzles, the split, the last grid, and its reward."""

import json

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

from pkpo_sandbox.gemma2.models import PretrainedGemma2
from pkpo_sandbox.gemma2.tasks import DataPaths
from pkpo_sandbox.gemma2.tasks.arc import ArcTask, last_grid, written

REAL = PretrainedGemma2("google/gemma-2-2b-it")
PUZZLE = {
    "train": [{"input": [[1, 0], [0, 1]], "output": [[0, 1], [1, 0]]}],
    "test": [
        {"input": [[1, 1], [0, 0]], "output": [[0, 0], [1, 1]]},
        {"input": [[5]], "output": [[5]]},
    ],
}


def puzzles(folder, **files):
    for name, puzzle in files.items():
        (folder / f"{name}.json").write_text(json.dumps(puzzle))
    return DataPaths(str(folder))


def test_arc_makes_a_problem_of_each_test_input(tmp_path):
    data = puzzles(tmp_path, aa=PUZZLE)
    ArcTask().check(data, REAL)
    train, _ = ArcTask().load(data)
    assert train["gold"] == [[[0, 0], [1, 1]], [[5]]]
    assert list(zip(train["task"], train["test"], strict=True)) == [("aa", 0), ("aa", 1)]
    content = train[0]["prompt"][0]["content"]
    assert content.endswith("Input:\n1 0\n0 1\nOutput:\n0 1\n1 0\n\nInput:\n1 1\n0 0\nOutput:")


def test_arc_holds_out_a_share_of_its_puzzles(tmp_path):
    """Whole puzzles, the same ones each time; 3 of 15 at 20 %."""
    data = puzzles(tmp_path, **{f"p{number:02}": PUZZLE for number in range(15)})
    task = ArcTask(test_fraction=0.2)
    task.check(data, REAL)
    (train, test), (again, _) = task.load(data), task.load(data)
    assert (len(train), len(test)) == (24, 6)
    assert set(train["task"]) | set(test["task"]) == {f"p{number:02}" for number in range(15)}
    assert not set(train["task"]) & set(test["task"])
    assert again["task"] == train["task"]
    assert ArcTask(test_fraction=0.2, split_seed=1).load(data)[0]["task"] != train["task"]


def test_arc_refuses_a_split_that_cannot_be(tmp_path):
    data = puzzles(tmp_path, a=PUZZLE, b=PUZZLE)
    with pytest.raises(ValueError, match=r"test_fraction=1.0 must be in \[0, 1\)"):
        ArcTask(test_fraction=1.0)
    with pytest.raises(ValueError, match=r"test_fraction=0.2 of 2 puzzles leaves none to"):
        ArcTask(test_fraction=0.2).check(data, REAL)
    with pytest.raises(ValueError, match="both say what to evaluate on"):
        ArcTask(test_fraction=0.5).check(DataPaths(data.path, data.path), REAL)


@pytest.mark.parametrize(
    ("answer", "grid"),
    [
        ("0 0\n1 1", [[0, 0], [1, 1]]),
        ("First 3 4\n7 7\n\nso\n0 0\n1 1\n", [[0, 0], [1, 1]]),
        ("0 0\n1 1\nThat is all.", [[0, 0], [1, 1]]),
        ("0 0\n1", [[0, 0], [1]]),
        ("10 0\n1 1", [[1, 1]]),
        ("no grid", None),
        ("", None),
    ],
)
def test_the_last_grid_is_the_answer(answer, grid):
    assert last_grid(answer) == grid


def test_arc_rewards_the_exact_grid_only():
    gold = [[[0, 0], [1, 1]]] * 5
    answers = ["0 0\n1 1", "0 0\n1 1\n\n0 0\n1 0", "0 0 0\n1 1 1", "0 0", "?"]
    assert ArcTask().reward([""] * 5, answers, gold=gold) == [1, 0, 0, 0, 0]
    message = [{"role": "assistant", "content": written(gold[0])}]
    assert ArcTask().reward([""], [message], gold=gold[:1]) == [1]


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [
        ({"train": []}, "is no ARC puzzle"),
        ([], "is no ARC puzzle"),
        ({"train": [{"input": [[1]]}], "test": []}, "is no ARC puzzle"),
        ({"train": [], "test": [{"input": [[1], [1, 2]], "output": [[1]]}]}, "not a rectangle"),
        ({"train": [], "test": [{"input": [[10]], "output": [[1]]}]}, "not a rectangle of digits"),
        ({"train": [], "test": [{"input": [[0] * 31], "output": [[1]]}]}, "at most 30 a side"),
    ],
)
def test_a_file_that_is_no_puzzle_is_named(puzzle, message, tmp_path):
    with pytest.raises(ValueError, match=rf"bad\.json .*{message}"):
        ArcTask().load(puzzles(tmp_path, bad=puzzle))
