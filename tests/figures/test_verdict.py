"""The verdict: committed figures meet their claims, and a table that does not is named."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pkpo_sandbox.figures import command, verdict
from pkpo_sandbox.figures.claims import Claim
from pkpo_sandbox.figures.gallery import figure_module, figure_names
from pkpo_sandbox.figures.verdict import Verdict, compare

GALLERY = Path(__file__).parents[2] / "figures"
#: tables that another kind of processor than the committed one made; the updates that claims need
ELSEWHERE = Path(__file__).parent / "data" / "another_processor"


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(GALLERY / f"{name}.csv")


@pytest.mark.parametrize("name", figure_names())
def test_the_committed_figures_bear_out_their_own_claims(name):
    table = committed(name)
    verdicts = compare(name, table, table)
    assert len(verdicts) >= 1
    assert verdict.all_hold(verdicts)
    for one in verdicts:
        assert one.here == one.claim.values


@pytest.mark.parametrize("name", figure_names())
def test_no_claim_rests_on_seeds_that_disagree(name):
    """A mean that another set of seeds may put a third of its scale elsewhere says nothing."""
    for claim in figure_module(name).claims(committed(name)):
        if claim.relation == "within":
            assert max(claim.bounds) <= max(map(abs, claim.values)) / 3 + 1e-9, claim.sentence


@pytest.mark.parametrize("name", [path.stem for path in sorted(ELSEWHERE.glob("*.csv"))])
def test_the_claims_hold_of_what_another_processor_made(name):
    here = pd.read_csv(ELSEWHERE / f"{name}.csv")
    verdicts = compare(name, committed(name), here)
    assert verdict.all_hold(verdicts)
    differ = [one for one in verdicts if one.here != one.claim.values]
    assert len(differ) >= 3  # it is another processor indeed


def test_the_seeds_of_k_2_differ_from_processor_to_processor_and_claim_nothing():
    here = pd.read_csv(ELSEWHERE / "unblock.csv")
    (shown,) = (v for v in compare("unblock", committed("unblock"), here) if v.holds is None)
    assert np.abs(np.subtract(shown.here, shown.claim.values)).max() > 0.3


def test_a_mean_over_seeds_that_moved_is_told():
    here = committed("unblock")
    here.loc[here["k"] == 8, "pass_at_8"] -= 0.002
    failed = [
        one.claim.title for one in compare("unblock", committed("unblock"), here) if not one.holds
    ]
    assert "pass@8 …, …, … for k = 1, 4, 8" in failed
    assert "Training for pass@1 stalls, training for pass@k does not" not in failed


def test_an_ordering_that_turned_is_told():
    here = committed("unblock")
    here["k"] = here["k"].map({1: 8, 2: 2, 4: 4, 8: 1})
    failed = [one for one in compare("unblock", committed("unblock"), here) if one.holds is False]
    (order,) = (one for one in failed if one.claim.title.startswith("Training for pass@1 stalls"))
    assert (order.claim.relation, order.here[1] < 0) == ("above", True)


def test_a_table_without_a_setting_is_refused():
    here = committed("unblock").query("k != 8")
    with pytest.raises(ValueError, match="a table of unblock lacks what its claims need"):
        compare("unblock", committed("unblock"), here)


def test_the_verdict_is_printed_and_written(tmp_path, capsys):
    fails = Claim("a is {}", (0.25,), "within", (0.001,), paper="says so")
    verdicts = [
        Verdict("one", fails, (float("nan"),)),
        Verdict("one", Claim("b", (1.0,), "above", (0.5,)), (0.75,)),
        Verdict("two", Claim("c {}", (1.0,), "shown"), (2.0,)),
    ]
    verdict.print_table(verdicts)
    printed = capsys.readouterr().out
    for text in ("one: a is …", "says so", "± .001", "at least .5", "NO", "yes", "shown"):
        assert text in printed
    assert printed.rstrip().endswith("1 of 2 claims hold")
    verdict.write_json(verdicts, tmp_path / "claims.json")
    stored = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert stored["holds"] is False
    assert stored["claims"][0] == {
        "figure": "one",
        "claim": "a is …",
        "paper": "says so",
        "committed": [0.25],
        "here": [None],
        "relation": "within",
        "tolerance": [0.001],
        "holds": False,
    }
    assert [claim["holds"] for claim in stored["claims"]] == [False, True, None]


def judge(monkeypatch, names: list[str], here: Path) -> object:
    """What the command exits with, where the tables have been drawn already."""
    monkeypatch.setattr(command, "run_folders", lambda name, runs, overrides: [here])
    monkeypatch.setattr(command, "read_runs", lambda folders: None)
    monkeypatch.setattr(command, "draw_figure", lambda name, runs, output: [output / f"{name}.csv"])
    arguments = ["pkpo-figures", *names, "--output", str(here), "--verdict", str(GALLERY)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code


def test_the_command_exits_with_1_if_a_claim_fails(tmp_path, monkeypatch, capsys):
    shutil.copy(GALLERY / "tuning.csv", tmp_path)
    assert judge(monkeypatch, ["tuning"], tmp_path) == 0
    assert json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))["holds"] is True
    committed("tuning").assign(score=1.0).to_csv(tmp_path / "tuning.csv", index=False)
    assert judge(monkeypatch, ["tuning"], tmp_path) == 1
    assert "0 of 1 claims hold" in capsys.readouterr().out
    assert json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))["holds"] is False


def test_a_missing_table_is_told_in_one_line(tmp_path, monkeypatch):
    said = judge(monkeypatch, ["tuning"], tmp_path)
    assert str(said).startswith("pkpo-figures --verdict: ")
    assert "tuning.csv is missing or damaged" in str(said)
    assert "\n" not in str(said)


def test_the_committed_figures_are_not_drawn_over_before_they_are_compared(monkeypatch):
    assert "choose another --output" in str(judge(monkeypatch, ["tuning"], GALLERY))
