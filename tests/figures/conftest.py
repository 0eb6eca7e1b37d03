"""A user's own figure, with a run for it."""

import pytest

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
