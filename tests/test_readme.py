"""The README's training commands and Python snippets run, and what it names is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pkpo_sandbox.figures import command as figures
from pkpo_sandbox.figures.gallery import gradient_variance, risk_bandit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# The sections about what is the reader's own need the files that they show: test_docs.py does them.
OWN = re.compile(
    r"^## (?:Your own|The transform in your own)\b.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL
)
REST = OWN.sub("", README)


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
    assert not re.search(r"@@|\?\?|\bT[BO]DO?\b|\| [A-Z]{4,} \|", README)


def test_the_makefile_runs_every_experiment():
    makefile = (ROOT / "Makefile").read_text()
    lists = re.findall(r"^(?:SHARING|OTHERS|LAST) := (.*)$", makefile, flags=re.MULTILINE)
    experiments = [path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")]
    assert sorted(" ".join(lists).split()) == sorted(experiments)


def listed(values, digits: int = 3) -> str:
    """``.250, 1.000``: as the README's table gives numbers."""
    return ", ".join(f"{value:.{digits}f}".removeprefix("0") for value in values)


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "figures" / f"{name}.csv")


def claims() -> dict[str, str]:
    """The numbers of the table, from the committed CSVs."""
    risk = committed("risk_1d").groupby("k").mean()
    curves = {name: committed(name) for name in ("unblock", "anneal")}
    last = {name: table[table["update"] == 3000] for name, table in curves.items()}
    unblock = last["unblock"].groupby("k").mean()
    half = curves["unblock"].query("update == 2000").groupby("k").mean()
    anneal = last["anneal"].groupby("schedule").mean(numeric_only=True)
    digits = committed("digit_sum").query("update == 600 and target.isna()")
    digits = digits.groupby("schedule").mean(numeric_only=True)
    pairs = {
        name: listed(digits.loc[name, ["pass_at_1", "pass_at_8"]])
        for name in ("k = 1", "k = 4", "k = 8", "8 then 1")
    }
    objectives = committed("objectives").groupby("objective")
    rivals = objectives["pass_at_1"].mean()
    variance = committed("gradient_variance")
    slopes = [
        [gradient_variance.slope(variance, theta, k) for k in (2, 4, 8)] for theta in (0.8, 1)
    ]
    slopes = [", ".join(f"−{-value:.2f}" for value in row) for row in slopes]
    none = variance.pivot(index=["k", "theta", "n"], columns="baseline", values="variance")
    none = (none["none"] / none["loo_minus_one"]).groupby("k").agg(["min", "max"])
    return {
        "optimal": f"at least {floor(bandit())} % of the best possible max@k on the bandit and "
        f"{floor(cliff())} % on the cliff",
        "none_1": f"{none['min'][1]:.1f} to {none['max'][1]:.0f} times that of `loo_minus_one`",
        "none_2_4": f"{none['min'][2]:.0f} to {round(none['max'][4], -1):.0f} times for\nk = 2",
        "none_8_16": f"{none.loc[[8, 16], 'min'].min() // 100 * 100:.0f} times or more for k = 8",
        "solved_1": f"has solved {listed([objectives['solved'].mean()['rloo']], 2)} of the",
        "theta": f"θ = {listed(risk['theta'])} for k = 1, 2, 4, 8, 16",
        "theta_star": f"exact optima {listed(risk['theta_star'])}",
        "slopes": f"{slopes[0]} at θ = 0.8; {slopes[1]} at θ = 1",
        "means": f"of {len(variance)}\nmeasured means",
        "unblock": f"pass@8 {listed(unblock['pass_at_8'])} for k = 1, 2, 4, 8",
        "hard": f"(hard problems {listed(unblock['hard_pass_at_8'])})",
        "solved": f"ever solved {listed(unblock['solved'], 2)}",
        "entropy": f"entropy {listed(half['entropy'], 2)} nats",
        "entropy_3000": f"{listed(unblock['entropy'], 2)} after 3,000",
        "anneal": f"8 then 1 {listed(anneal.loc['8 then 1', ['pass_at_1']], 4)}",
        "linear": f"8 to 1 linearly {listed(anneal.loc['8 to 1 linearly', ['pass_at_1']], 4)}",
        "digit_sum": "; ".join(f"{name} {values}" for name, values in pairs.items()),
        "bonus": f"entropy bonus {listed([rivals['entropy_bonus']], 4)}",
        "passk": f"Pass@k Training {listed([rivals['passk_training']])}",
        "pkpo": f"PKPO with k = 4 {listed([rivals['pkpo']])}",
        "max_rl": f"MaxRL and TailRL {listed([rivals['max_rl']])}",
        "rs_grpo": f"RS-GRPO {listed([rivals['rs_grpo']])}",
    }


def cliff() -> pd.Series:
    """The share of the best possible max@k that each policy of risk_1d has."""
    table = committed("risk_1d")
    return table["max_at_k"] / table["max_at_k_star"]


def bandit() -> pd.Series:
    """The same of risk_bandit."""
    table = committed("risk_bandit")
    learned, best = (
        risk_bandit.values(table, column)["max_at_k"]
        for column in ("probability", "probability_star")
    )
    return learned / best


def floor(shares: pd.Series) -> str:
    """The least share in per cent, rounded down: what all have at least."""
    return f"{np.floor(1e4 * shares.min()) / 100:.2f}"


@pytest.mark.parametrize("claim", claims().values(), ids=claims())
def test_the_numbers_of_the_readme_are_those_of_the_figures(claim):
    assert claim in README
