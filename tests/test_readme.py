"""The README's training commands and Python snippets run, and what it names is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pkpo_sandbox import figures

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    inline = re.findall(r"`(pkpo-[^`]+)`", README)
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    parts = [part.strip() for line in [*inline, *lines] for part in line.split("&&")]
    return sorted({part for part in parts if part.startswith("pkpo-train ")})


def test_the_snippets_are_found():
    assert len(blocks("python")) >= 2
    assert len(commands()) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_training_command_runs(command, tmp_path):
    """As written but short: the last value of an override wins, so the budget goes last."""
    short = ["total_timesteps=512"] if "--help" not in command else []
    if "experiment=" in command:
        short.append("seed=0")
    script = Path(sys.executable).with_name("pkpo-train")
    result = subprocess.run(
        [script, *shlex.split(command)[1:], *short], cwd=tmp_path, capture_output=True, text=True
    )
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


def test_every_figure_stands_in_the_readme_with_its_command():
    for name in figures.names():
        app = getattr(figures.module(name), "APP", "train")
        assert f"(figures/{name}.png)" in README
        assert f"pkpo-{app} experiment={name} && pkpo-figures {name}" in README


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", "\n".join([*blocks("bash"), "make bench"])):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_no_number_was_left_to_fill_in():
    assert not re.search(r"\b[A-Z]{3,}_[A-Z]+\b|\| [A-Z]{4,} \|", README)


def test_the_makefile_runs_every_experiment():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^EXPERIMENTS := (.*)$", makefile, flags=re.MULTILINE)
    assert set(line.split()) == {path.stem for path in (ROOT / "conf/experiment").glob("*.yaml")}
