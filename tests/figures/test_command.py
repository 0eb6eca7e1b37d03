"""The command ``pkpo-figures``, and what the three commands that draw have in common."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pkpo_sandbox.figures import command
from pkpo_sandbox.runs.tables import read_runs

OWN_FIGURE = """
from pkpo_sandbox.figures.plotting import subplots


def table(runs):
    return runs[["value"]]


def draw(table):
    figure, axes = subplots()
    axes.plot(table["value"])
    return figure
"""


@pytest.fixture
def own(tmp_path):
    """A figure of one's own, my.figure, and one finished run for it in a folder behind a link."""
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "figure.py").write_text(OWN_FIGURE)
    run = tmp_path / "elsewhere" / "ü"
    run.mkdir(parents=True)
    (run / "summary.json").write_text('{"value": 3, "config": {"seed": 0}}')
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "figure").symlink_to(tmp_path / "elsewhere")
    return tmp_path


def test_a_figure_of_ones_own_is_a_module_anywhere(own, monkeypatch):
    monkeypatch.chdir(own)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "argv", ["pkpo-figures", "my.figure"])
    command.main()
    written = sorted(path.name for path in Path("runs", "figures").iterdir())
    assert written == ["figure.csv", "figure.pdf", "figure.png"]
    assert Path("runs", "figures", "figure.csv").read_text() == "value\n3\n"


@pytest.mark.parametrize(
    ("module", "arguments", "status", "said"),
    [
        ("command", ["my.figure", "--output", "ü"], 0, r"\xfc/figure.png"),
        ("report", ["runs", "--output", "ü.html"], 0, r"\xfc.html"),
        ("watch", ["elsewhere/ü"], 1, r"elsewhere/\xfc/config.yaml is missing or damaged"),
    ],
)
def test_neither_a_notebooks_backend_nor_an_old_terminal_fails_a_command(
    module, arguments, status, said, own
):
    code = f"from pkpo_sandbox.figures.{module} import main; main()"
    environment = {
        **os.environ,
        "MPLBACKEND": "module://not_installed.backend_inline",
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": str(own),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=own,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in result.stderr
    assert said in result.stdout + result.stderr
    assert result.returncode == status


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
