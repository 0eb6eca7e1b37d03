"""The README's training commands and Python snippets run, and the names in it exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pkpo_sandbox.figures.claims import Claim
from pkpo_sandbox.figures.gallery import figure_module, figure_names, primary_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# The sections about what is the reader's own need the files that they show: test_docs.py does them.
OWN = re.compile(
    r"^## (?:Your own|The transform in your own)\b.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL
)
REST = OWN.sub("", README)

#: what a text about figures may name beside what it claims: settings, and what the paper reports
SETTINGS = {
    *("0.5", "0.8", "95 %", "99.9", "0.001", "0.003", "0.01", "0.03", "0.1", "2505.15201"),
    *("24.7", "84.1"),  # per cent solved, in the paper
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", REST, flags=re.DOTALL)


def commands() -> list[str]:
    inline = re.findall(r"`(pkpo-[^`]+)`", REST)
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    parts = [part.strip() for line in [*inline, *lines] for part in line.split("&&")]
    return sorted({part for part in parts if part.startswith("pkpo-train ")})


def test_the_snippets_are_found():
    assert len(blocks("python")) >= 1
    assert len(commands()) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_training_command_runs(command, tmp_path):
    """As written but short: the last value of an override wins, so the budget goes last."""
    short = ["total_timesteps=512"] if "--help" not in command else []
    if "experiment=" in command:
        short.append("seed=0")
    script = Path(sys.executable).with_name("pkpo-train")
    words = [str(script), *shlex.split(command, comments=True)[1:], *short]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_a_python_snippet_runs(number, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", blocks("python")[number]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_film_and_the_report_of_a_run(tmp_path):
    (script,) = (block for block in blocks("bash") if "pkpo-watch" in block)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True
    )
    assert len(list(tmp_path.glob("runs/film/*/watch.gif"))) == 1
    assert (tmp_path / "runs" / "film" / "report.html").exists()


def test_every_figure_stands_in_the_readme_with_its_command():
    for name in figure_names():
        app = primary_config(name)
        assert f"(figures/{name}.png)" in README
        assert f"pkpo-{app} experiment={name} && pkpo-figures {name}" in README


def dry_run(target: str) -> str:
    """The commands that make would run."""
    command = ["make", "-n", "--no-print-directory", target]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_make_targets_exist():
    for target in re.findall(r"make (\w+)", "\n".join([*blocks("bash"), "make bench"])):
        assert dry_run(target), target


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_trains_every_experiment_and_writes_no_tracked_file():
    reproduced = dry_run("reproduce")
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"pkpo-train experiment={path.stem}\n" in reproduced
        assert f"pkpo-figures {path.stem} --verdict" in dry_run(path.stem)
    assert "pkpo-gemma2 experiment=gemma2_factor" in reproduced
    assert "paper_math" not in reproduced
    assert "pkpo-figures --verdict" in reproduced
    assert "--output" not in reproduced  # which would be figures/, below runs/ by default
    assert "pkpo-figures --output figures" in dry_run("gallery")


def test_the_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_no_number_was_left_to_fill_in():
    assert not re.search(r"@@|\?\?|\bT[BO]DO?\b|\| [A-Z]{4,} \|", README)


def words(text: str) -> str:
    """Text on one line, so that a sentence is found wherever its lines break."""
    return " ".join(text.split())


def committed_claims() -> dict[str, Claim]:
    """The claims of all figures, made from the committed tables."""
    return {
        f"{name}-{number}": claim
        for name in figure_names()
        for number, claim in enumerate(
            figure_module(name).claims(pd.read_csv(ROOT / "figures" / f"{name}.csv"))
        )
    }


CLAIMS = committed_claims()


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_readme_says_what_the_committed_figures_claim(claim):
    assert claim.sentence in words(README)


def test_every_number_about_the_figures_is_claimed():
    """A number that no claim holds would never be compared with what a user has made."""
    (section,) = re.findall(r"^## What it shows\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    (table,) = re.findall(r"^(\| mean of 3 seeds after .*?)\n\n", README, re.MULTILINE | re.DOTALL)
    text = words(section + table)
    for claim in sorted(CLAIMS.values(), key=lambda claim: -len(claim.sentence)):
        text = text.replace(claim.sentence, "")
    left = re.findall(r"(?<![\w.])−?\d*\.\d+|\d+ %|\b\d+ times", text)
    assert [number for number in left if number not in SETTINGS] == []
