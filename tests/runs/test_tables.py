"""Finished runs as one tidy table."""

import math
import os

import pandas as pd
import pytest

from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs import tables


def summary(k: int = 1, seed: int = 0, **config) -> dict:
    return {"config": {"objective": {"k": k}, "seed": seed, **config}, "final": {"x": k + seed}}


def write(folder, **kwargs):
    folder.mkdir(parents=True)
    runs.write_summary(folder, summary(**kwargs))


def test_a_damaged_summary_is_named(tmp_path):
    (tmp_path / "summary.json").write_text('{"config": ')
    with pytest.raises(ValueError, match=r"summary\.json is damaged .* delete it"):
        tables.load_runs(tmp_path)


def test_finished_runs_load_as_one_row_each(tmp_path):
    write(tmp_path / "a", k=2, seed=1)
    write(tmp_path / "deep" / "b", k=4, seed=0)
    (tmp_path / "unfinished").mkdir()
    table = tables.load_runs(tmp_path)
    assert table["config.objective.k"].tolist() == [2, 4]
    assert table["final.x"].tolist() == [3, 4]
    assert table["folder"].tolist() == [str(tmp_path / "a"), str(tmp_path / "deep" / "b")]


def test_no_finished_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"no finished run below .* pkpo-train"):
        tables.load_runs(tmp_path)


def test_a_complete_sweep_comes_back_sorted():
    table = pd.json_normalize([summary(k, seed) for k in (4, 1) for seed in (1, 0)])
    sorted_runs = tables.complete_sweep(table, "objective.k")
    keys = sorted_runs[["config.objective.k", "config.seed"]].to_numpy().tolist()
    assert keys == [[1, 0], [1, 1], [4, 0], [4, 1]]


def objectives(*q_seeds: int) -> pd.DataFrame:
    """Runs of one objective with k and two seeds, and of another one with q and these seeds."""
    others = [{"config": {"objective": {"q": 0.9}, "seed": seed}} for seed in q_seeds]
    return pd.json_normalize([summary(4, 1), summary(4, 0), *others])


def test_objectives_with_arguments_of_their_own_are_one_sweep():
    keys = ["objective.k", "objective.q"]
    found = tables.complete_sweep(objectives(1, 0), *keys)
    assert found["config.seed"].tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"0 runs of .*0\.9\), seed = 1"):
        tables.complete_sweep(objectives(0), *keys)
    with pytest.raises(ValueError, match=r"differ in objective\.q \(nan, 0\.9\): name it as swept"):
        tables.complete_sweep(objectives(1, 0), "objective.k")


@pytest.mark.parametrize(
    ("summaries", "message"),
    [
        ([summary(1, 0), summary(1, 0)], "2 runs of objective.k = 1, seed = 0"),
        ([summary(1, 0), summary(1, 1), summary(2, 0)], "0 runs of objective.k = 2, seed = 1"),
        ([summary(1, 0, lr=0.1), summary(2, 0, lr=0.2)], r"differ in lr \(0.1, 0.2\)"),
    ],
)
def test_runs_that_are_not_one_sweep_are_refused(summaries, message):
    with pytest.raises(ValueError, match=message):
        tables.complete_sweep(pd.json_normalize(summaries), "objective.k")


@pytest.mark.skipif(os.name != "posix", reason="Windows asks for a privilege to make links")
def test_runs_behind_a_link_load_once(tmp_path):
    write(tmp_path / "disk" / "a", k=2)
    (tmp_path / "runs").mkdir()
    for name in ("train", "same"):
        (tmp_path / "runs" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "runs")
    table = tables.load_runs(tmp_path / "runs")
    assert table["folder"].tolist() == [str(tmp_path / "runs" / "same" / "a")]


def test_numbers_that_are_not_finite_load_as_numbers(tmp_path):
    folders = [tmp_path / f"{beta}" for beta in (2.0, math.inf)]
    for folder, beta in zip(folders, (2.0, math.inf), strict=True):
        folder.mkdir()
        final = {"x": -beta, "y": "won"}
        config = {"objective": {"beta": beta}, "seed": 0}
        runs.write_summary(folder, {"config": config, "final": final})
    table = tables.complete_sweep(tables.load_runs(tmp_path), "objective.beta")
    assert table["config.objective.beta"].tolist() == [2, math.inf]
    assert table["final.x"].tolist() == [-2, -math.inf]
    assert table["final.y"].tolist() == ["won", "won"]


LOG = """a,b,c,d,e,f
1,inf,won,,True,7
2,nan,0.5,-inf,,1_000
3,-inf,lost,nan,False,
"""


def test_a_log_may_hold_text_and_numbers_that_are_not_finite(tmp_path):
    (tmp_path / "progress.csv").write_text(LOG)
    log = tables.read_progress(tmp_path)
    assert log["b"].tolist() == [math.inf, pytest.approx(math.nan, nan_ok=True), -math.inf]
    assert log["c"].tolist() == ["won", 0.5, "lost"]
    assert log["e"].dropna().tolist() == [True, False]
    assert log["f"].dropna().tolist() == [7, "1_000"]
    assert tables.final_values(tmp_path) == {
        "a": 3,
        "b": -math.inf,
        "c": "lost",
        "d": "nan",
        "e": False,
    }
    of_each = tables.final_values(tmp_path, of_each=True)
    assert of_each == {**tables.final_values(tmp_path), "f": "1_000"}
