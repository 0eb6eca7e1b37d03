"""The command ``pkpo-figures``."""

import sys
from pathlib import Path

import pytest

from pkpo_sandbox.figures import command
from pkpo_sandbox.runs.tables import read_runs


def test_a_figure_of_ones_own_is_a_module_anywhere(own, monkeypatch):
    monkeypatch.chdir(own)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "argv", ["pkpo-figures", "my.figure"])
    command.main()
    written = sorted(path.name for path in Path("runs", "figures").iterdir())
    assert written == ["figure.csv", "figure.pdf", "figure.png"]
    assert Path("runs", "figures", "figure.csv").read_text() == "value\n3\n"


def test_a_figure_takes_exactly_the_runs_of_its_experiment(tmp_path):
    lie = command.run_folders("unblock", tmp_path)
    assert len(set(lie)) == 32
    fewer = command.run_folders("unblock", tmp_path, ["seed=0,1", "objective.k=2"])
    assert [lie.index(folder) for folder in fewer] == [8, 9]
    with pytest.raises(ValueError, match=r"32 of 32 runs are not finished, such as .*pkpo-k=1"):
        read_runs(lie)


def test_without_names_what_has_not_been_run_is_named_and_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pkpo-figures", "--runs", str(tmp_path)])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(command, "figure_names", lambda: ["risk_1d", "sample_weights"])
    command.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "risk_1d: its experiment has not been run",
        "sample_weights: its experiment has not been run",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no figure 'nothing': choose from"),
        (["risk_1d"], "40 of 40 runs are not finished"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pkpo-figures", *arguments, "--runs", str(tmp_path)])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(SystemExit, match=message):
        command.main()
