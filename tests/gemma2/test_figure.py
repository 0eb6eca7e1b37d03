"""The figure of the demonstration: its committed numbers, and the refusal of other runs."""

from pathlib import Path

import pandas as pd
import pytest

from pkpo_sandbox.figures.gallery import gemma2_factor

CSV = Path(__file__).parents[2] / "figures" / "gemma2_factor.csv"
COLUMNS = ["k", "schedule", "seed", "update", "all_at_1", "hard_at_1", "hard_at_8"]
COLUMNS += ["solved", "entropy"]


@pytest.fixture
def finals() -> pd.DataFrame:
    """Seed means after the last update, by setting."""
    table = pd.read_csv(CSV)
    assert table.columns.tolist() == COLUMNS
    assert not table.isna().any().any()
    last = table[table["update"] == table["update"].max()]
    setting = last["k"].astype(str).where(last["schedule"] == "constant", last["schedule"])
    assert last.groupby(setting)["seed"].apply(list).to_dict() == {
        name: [0, 1, 2] for name in ("1", "4", "8", "8 then 1")
    }
    return last.groupby(setting)[COLUMNS[4:]].mean()


def test_one_attempt_stalls_and_more_do_not(finals):
    assert finals.loc["1", "hard_at_8"] <= 0.05
    assert finals.loc["4", "hard_at_8"] >= 0.90
    assert finals.loc["8", "hard_at_8"] >= 0.90
    assert finals.loc["1", "solved"] < 0.95 < finals.loc["8", "solved"]


def test_annealing_ends_with_the_best_single_attempt(finals):
    assert finals.loc["8 then 1", "all_at_1"] >= 0.90
    assert finals["all_at_1"].idxmax() == "8 then 1"


def test_larger_k_keeps_more_entropy(finals):
    assert finals["entropy"].loc[["1", "4", "8"]].is_monotonic_increasing


def test_all_settings_start_from_the_same_warm_up_and_the_solve_rate_never_falls():
    table = pd.read_csv(CSV)
    start = table[table["update"] == 0]
    assert start.groupby("seed")["hard_at_8"].nunique().eq(1).all()
    for _, run in table.groupby(
        ["schedule", "seed", table["k"].where(table["update"] == 0).ffill()]
    ):
        assert run["solved"].is_monotonic_increasing


def test_another_schedule_is_refused():
    runs = pd.DataFrame(
        {
            "config.objective.k": [1.0, None],
            "config.objective.k.start": [None, 16.0],
            "config.objective.k.end": [None, 1.0],
            "config.seed": [0, 0],
        }
    )
    with pytest.raises(ValueError, match="constant k and 8 then 1, but the runs have more"):
        gemma2_factor.table(runs)
