"""Runs on disk: all or nothing, and one tidy table."""

import json

import pandas as pd
import pytest

from pkpo_sandbox.runs import folder as runs
from pkpo_sandbox.runs import tables


def summary(k: int = 1, seed: int = 0, **config) -> dict:
    return {"config": {"objective": {"k": k}, "seed": seed, **config}, "final": {"x": k + seed}}


def write(folder, **kwargs):
    folder.mkdir(parents=True)
    runs.write_summary(folder, summary(**kwargs))


def test_equal_configs_share_a_hash_and_a_changed_value_changes_it():
    config = {"a": 1, "b": {"c": [1, 2]}}
    assert runs.config_hash(config) == runs.config_hash({"b": {"c": [1, 2]}, "a": 1})
    assert runs.config_hash(config) != runs.config_hash({"a": 1, "b": {"c": [1, 3]}})


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    runs.write_atomically(path, "old")

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        runs.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_summary_with_a_number_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.write_summary(tmp_path, {"x": float("nan")})
    assert runs.read_summary(tmp_path) is None


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


def test_the_summary_is_plain_json(tmp_path):
    write(tmp_path / "a", k=2)
    assert json.loads((tmp_path / "a" / "summary.json").read_text()) == summary(2)
