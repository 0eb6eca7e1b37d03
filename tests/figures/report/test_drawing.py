"""The curves of a report."""

from pathlib import Path

import numpy as np

from pkpo_sandbox.figures import plotting
from pkpo_sandbox.figures.report import collect, drawing, page
from tests.figures.report.written import Page, config, finished, log


def drawn(folder: Path, metric: str) -> np.ndarray:
    _, axes = plotting.subplots()
    group = [run for run in collect.read(folder)[0] if run.state == "finished"]
    drawing.draw_line(axes, group, metric, color="k")
    return np.array(axes.lines[0].get_xydata())


def test_a_line_is_the_mean_of_the_seeds_where_all_of_them_logged(tmp_path):
    finished(tmp_path / "a", config("seed=0"), final=0.3)
    finished(tmp_path / "b", config("seed=1"), final=0.9)
    # 0.3 and 0.9 times 1/3, 2/3, 1 at updates 10, 20, 30
    expected = [[10, 0.2], [20, 0.4], [30, 0.6]]
    np.testing.assert_allclose(drawn(tmp_path, "exact/max_at_1"), expected)
    np.testing.assert_allclose(drawn(tmp_path, "exact/max_at_16"), [[30, 0.6]])
    log(0.9, rows=2).to_csv(tmp_path / "b" / "progress.csv", index=False)
    # its second row is now 0.9 at update 20, its first 0.45; the mean with 0.1 and 0.2
    expected = [[10, 0.275], [20, 0.55]]
    np.testing.assert_allclose(drawn(tmp_path, "exact/max_at_1"), expected)


def test_one_update_is_drawn_as_a_dot(tmp_path):
    finished(tmp_path / "a", config())
    group = collect.read(tmp_path)[0]
    _, axes = plotting.subplots()
    for metric in ("exact/max_at_1", "exact/max_at_16"):  # three rows, and one
        drawing.draw_line(axes, group, metric, color="k")
    assert [line.get_marker() for line in axes.lines] == ["", "o"]


def test_of_the_values_of_k_the_one_trained_for_is_shown(tmp_path):
    finished(tmp_path / "a", config("objective.k=8"))
    trained = collect.read(tmp_path)[0]
    assert drawing.spread([1, 2, 4, 8, 16], trained) == [1, 8, 16]
    assert drawing.spread([1, 2, 4, 16], trained) == [1, 4, 16]
    assert drawing.spread([8], trained) == [8]
    assert drawing.spread([], trained) == []


def test_of_many_settings_the_best_are_drawn_and_that_is_said(tmp_path):
    for k in range(1, 11):
        finished(tmp_path / f"k={k}", config(f"objective.k={k}"), final=k / 10)
    finished(tmp_path / "again", config("objective.k=10"), final=1.0)
    (plot,) = drawing.curves(collect.read(tmp_path)[0])
    for k in range(1, 11):
        assert (f">objective.k={k}<" in plot.svg) == (k > 3)
    assert "7 of 10 settings are drawn, those with the highest last exact/max_at_1" in plot.caption
    assert "1 runs of the same config and seed as another one are not drawn" in plot.caption


def test_each_world_has_its_own_curves(tmp_path):
    finished(tmp_path / "a", config("env=bandit"))
    finished(tmp_path / "b", config("env=cliff_1d"))
    plots = list(drawing.curves(collect.read(tmp_path)[0]))
    assert [plot.title for plot in plots] == [
        "pkpo_envs:pkpo/Bandit-v0",
        "pkpo_envs:pkpo/Cliff1D-v0",
    ]
    assert "One seed a setting" in plots[0].caption
    ids = [value for name, value in Page(page.render(tmp_path)).attributes if name == "id"]
    assert len(ids) == len(set(ids))
