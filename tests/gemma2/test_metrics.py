"""Metrics against enumeration, and the log as a table."""

import math
from itertools import combinations

import pytest

pytest.importorskip("trl", reason="the Gemma-2 room needs the extra gemma2")

import pandas as pd
import torch
from transformers import TrainerControl, TrainerState

from pkpo_sandbox.gemma2.metrics import (
    ProgressLog,
    SolvedProblems,
    evaluated_at,
    group_metrics,
    progress,
    standard_error,
)
from pkpo_sandbox.runs.tables import final_values

NAN = float("nan")


def test_pass_and_max_at_k_are_means_over_subsets_of_the_scorable_attempts():
    rewards = torch.tensor([[0.0, 0.25, 1.0, 0.5], [1.0, NAN, 0.0, NAN], [NAN, NAN, NAN, NAN]])
    metrics = group_metrics(rewards, solved_at=0.5, ks=[1, 2, 4])
    assert set(metrics) == {f"{kind}_at_{k}" for kind in ("pass", "max") for k in (1, 2, 4)}
    for k in (1, 2, 4):
        for group, row in enumerate(rewards.tolist()):
            scored = [g for g in row if g == g]
            subsets = list(combinations(scored, k))
            best = [max(subset) for subset in subsets]
            count = len(best) or NAN
            expected = [sum(best) / count, sum(b >= 0.5 for b in best) / count]
            for kind, value in zip(("max", "pass"), expected, strict=True):
                found = metrics[f"{kind}_at_{k}"][group]
                assert found == pytest.approx(value, abs=1e-6, nan_ok=True)


def test_an_evaluation_has_the_k_of_the_paper():
    assert evaluated_at(16) == [1, 2, 4, 8, 12, 16]
    assert evaluated_at(8) == [1, 2, 4, 8]


def test_a_standard_error_is_of_what_is_known():
    assert standard_error([0.0, 1.0, NAN, 1.0, 0.0]) == pytest.approx((1 / 3) ** 0.5 / 2)
    assert standard_error([1.0, NAN]) != standard_error([1.0, NAN])  # NaN


def test_the_solve_rate_never_falls_and_survives_a_checkpoint():
    solved = SolvedProblems(4)
    problems = ([2], [], [2, 0])
    rates = [solved.add(numbers, update) for update, numbers in enumerate(problems, start=1)]
    assert rates == [0.25, 0.25, 0.5]
    again = SolvedProblems.from_state(solved.state())
    assert again.add([], 4) == 0.5
    assert again.solved == [0, 2]
    assert again.risen == 3


def test_a_log_becomes_one_row_an_update_under_the_sandboxs_names():
    log = [
        {"step": 0, "exact/max_at_1": 0.3},
        {"loss": 1.0, "entropy": 0.5, "k": 8, "rollout/solved": 0.2, "step_time": 0.1, "step": 10},
        {"eval_pass_at_8": 0.4, "step": 10},
        {"train_runtime": 5.0, "train_loss": 0.7, "step": 10},
    ]
    table = progress(log)
    assert table["train/n_updates"].tolist() == [0, 10]
    row = table.iloc[1].dropna().to_dict()
    assert row == {
        "train/n_updates": 10,
        "train/loss": 1.0,
        "train/entropy": 0.5,
        "train/k": 8,
        "rollout/solved": 0.2,
        "time/step_time": 0.1,
        "eval/pass_at_8": 0.4,
        "time/runtime": 5.0,
    }


def test_a_log_keeps_what_is_no_finite_number(tmp_path):
    logged = {"exact/a": torch.tensor(0.1), "exact/b": "won", "exact/c": None, "loss": math.nan}
    log = [{"step": 0, "exact/c": math.inf, "loss": 1.0}, {"step": 10, **logged}]
    progress(log).to_csv(tmp_path / "progress.csv", index=False)
    assert final_values(tmp_path, of_each=True) == {
        "exact/a": 0.10000000149011612,
        "exact/b": "won",
        "exact/c": math.inf,
        "train/loss": "nan",
        "train/n_updates": 10,
    }


@pytest.mark.parametrize("main", [True, False])
def test_every_process_asks_for_exact_values_and_only_the_main_one_writes(main, tmp_path):
    """A model that is sharded runs on all processes or hangs."""
    state, control = TrainerState(is_world_process_zero=main), TrainerControl()
    asked = iter([0.25, 0.5])
    log = ProgressLog(tmp_path, lambda: {"exact/max_at_1": next(asked)})
    log.on_train_begin(None, state, control)
    state.log_history.append({"loss": 1.0, "step": 1})
    log.on_log(None, state, control)
    assert next(asked, None) is None
    files = list(tmp_path.iterdir())
    assert len(files) == main
    if main:
        assert pd.read_csv(files[0])["exact/max_at_1"].tolist() == [0.25, 0.5]
