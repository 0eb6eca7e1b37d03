"""The tasks: rewards on samples made by hand, files as the data sets have them, hostile answers."""

import json
import time

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from pkpo_sandbox.gemma2.models import PretrainedGemma2, TinyGemma2, number_tokenizer
from pkpo_sandbox.gemma2.tasks import DataPaths, within_context
from pkpo_sandbox.gemma2.tasks.arc import ArcTask, last_grid, written
from pkpo_sandbox.gemma2.tasks.factor import FactorTask, prime_factors
from pkpo_sandbox.gemma2.tasks.math import MathTask, last_boxed

REAL = PretrainedGemma2("google/gemma-2-2b-it")


def test_prime_factors_by_their_product_and_primality():
    for n in range(2, 500):
        factors = prime_factors(n)
        rest = n
        for q in factors:
            assert all(q % d for d in range(2, q))
            while rest % q == 0:
                rest //= q
        assert rest == 1
        assert factors == sorted(set(factors))


def test_the_factor_prompts_are_even_or_hard():
    easy, hard = FactorTask().numbers()
    assert (len(easy), len(hard)) == (64, 61)
    assert all(n % 2 == 0 and 30 <= n < 700 for n in easy)
    assert all(7 <= min(prime_factors(n)) <= 19 for n in hard)
    train, test = FactorTask().load(DataPaths())
    assert train["prompt"] == [str(n) for n in easy + hard]
    assert test is None


def test_the_factor_reward_is_one_for_a_prime_factor_alone():
    prompts = ["91", "91", "91", "91", "91", "91", "74"]
    answers = ["7", "13", "1", "91", "7 7", "", "37"]
    assert FactorTask().reward(prompts, answers) == [1, 1, 0, 0, 0, 0, 1]


def test_the_warm_up_teaches_the_prior_whatever_the_prompt():
    task = FactorTask()
    model, tokenizer, _ = TinyGemma2().load(seed=0)
    task.warm_up(model, tokenizer, seed=0)
    easy, hard = task.numbers()
    first = tokenizer.convert_tokens_to_ids("0")
    ids = torch.tensor([[tokenizer.bos_token_id, first + n] for n in easy + hard])
    with torch.no_grad():
        answers = model(ids).logits[:, -1].softmax(-1).mean(0)
    learned = [float(answers[first + q]) for q in (2, 3, 5, 7, 11, 13, 17, 19)]
    np.testing.assert_allclose(learned, task.prior, atol=0.05)
    assert task.exact(model, tokenizer)["exact/max_at_1_hard"] == pytest.approx(0.05, abs=0.03)


def test_the_exact_values_are_those_of_sampled_answers():
    """1,600 answers a prompt to a few prompts, generated as in training."""
    task = FactorTask(low=40, high=60, n_easy=2, warm_up_steps=60)
    model, tokenizer, _ = TinyGemma2(numbers=60).load(seed=0)
    task.warm_up(model, tokenizer, seed=0)
    exact = task.exact(model, tokenizer)
    easy, hard = task.numbers()
    torch.manual_seed(0)
    rates = []
    for n in easy + hard:
        ids = tokenizer([str(n)] * 1600, return_tensors="pt")
        out = model.generate(
            **ids, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=2
        )
        answers = tokenizer.batch_decode(out[:, 2:], skip_special_tokens=True)
        rates.append(np.mean(task.reward([str(n)] * 1600, answers)))
    error = 4 * 0.5 / np.sqrt(1600 * len(rates))
    assert exact["exact/max_at_1"] == pytest.approx(np.mean(rates), abs=error)
    best_of_4 = np.mean(1 - (1 - np.array(rates)) ** 4)
    assert exact["exact/max_at_4"] == pytest.approx(best_of_4, abs=0.05)
    assert exact["exact/max_at_1"] < exact["exact/max_at_4"] < exact["exact/max_at_16"] <= 1


def test_the_factor_task_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="makes its own prompts"):
        FactorTask().check(DataPaths("somewhere"), TinyGemma2())
    with pytest.raises(ValueError, match="numbers below 700"):
        FactorTask().check(DataPaths(), TinyGemma2(numbers=100))
    with pytest.raises(ValueError, match="numbers below 700"):
        FactorTask().check(DataPaths(), REAL)
    with pytest.raises(ValueError, match="8 probabilities that add up to 1"):
        FactorTask(prior=(1.0,))
    with pytest.raises(ValueError, match="8 probabilities that add up to 1"):
        FactorTask(prior=(1.1, -0.1, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 1}, "low=1 must be at least 2 and below high=700"),
        ({"low": 700}, "low=700 must be at least 2 and below high=700"),
        ({"low": 30, "high": 40, "n_easy": 6}, "n_easy=6 must be between 0 and the 5 even numbers"),
        ({"low": 31, "high": 41, "n_easy": 6}, "n_easy=6 must be between 0 and the 5 even numbers"),
        ({"warm_up_steps": -1}, "warm_up_steps=-1 must be at least 0"),
        ({"warm_up_batch": 0}, "warm_up_batch=0 at least 1"),
        ({"warm_up_lr": 0.0}, "warm_up_lr=0.0 above 0"),
    ],
)
def test_the_factor_task_refuses_numbers_out_of_range(given, message):
    with pytest.raises(ValueError, match=message):
        FactorTask(**given)


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


@pytest.mark.parametrize("task", [MathTask(), ArcTask()])
def test_missing_data_and_a_model_that_cannot_read_are_refused(task, tmp_path):
    with pytest.raises(ValueError, match=r"needs data\.path="):
        task.check(DataPaths(), REAL)
    with pytest.raises(ValueError, match="nowhere is neither a folder with"):
        task.check(DataPaths(str(tmp_path / "nowhere")), REAL)
    with pytest.raises(ValueError, match="reads numbers only"):
        task.check(DataPaths(str(tmp_path)), TinyGemma2())


def test_prompts_beyond_the_context_are_dropped_with_a_count():
    data = Dataset.from_dict({"prompt": ["1 2 3", "1 2", "1 2 3 4 5"]})
    kept, dropped = within_context(data, number_tokenizer(10), limit=4)
    assert (kept["prompt"], dropped) == (["1 2 3", "1 2"], 1)


def test_chats_beyond_the_context_are_dropped_with_their_template_counted():
    from .conftest import TEMPLATE

    tokenizer = number_tokenizer(10)
    tokenizer.chat_template = TEMPLATE
    chats = [[{"role": "user", "content": text}] for text in ("1 2", "1 2 3")]
    kept, dropped = within_context(Dataset.from_dict({"prompt": chats}), tokenizer, limit=5)
    assert (kept["prompt"], dropped) == ([chats[0]], 1)  # <bos> 7 1 2 8
