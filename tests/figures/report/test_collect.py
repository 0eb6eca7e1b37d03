"""A report reads a folder of runs, including damaged files."""

from pathlib import Path

import numpy as np

from pkpo_sandbox.figures.report import collect, page
from pkpo_sandbox.runs.tables import read_progress
from tests.figures.report.written import Page, config, finished


def damage(place: Path, name: str, content: str) -> str:
    (place / name).write_text(content)
    return str(place / name)


def test_what_is_logged_beside_numbers_spoils_no_curve(tmp_path):
    log = "a,b,c,d,train/n_updates\nwon,True,1,inf,1\n0.5,False,1"
    (tmp_path / "progress.csv").write_text(f"{log}{'0' * 400},2,2\n")
    table = collect.numbers(read_progress(tmp_path))
    expected = {"a": [None, 0.5], "b": [1, 0], "c": [1, None], "d": [None, 2]}
    for name, values in {**expected, "train/n_updates": [1, 2]}.items():
        np.testing.assert_array_equal(table[name], np.array(values, dtype=float))


def test_what_is_damaged_is_named_and_the_rest_is_reported(folder):
    broken = [
        damage(finished(folder / "d1", config("seed=4")), "summary.json", '{"config": '),
        damage(finished(folder / "d2", config("seed=4")), "summary.json", '{"config": 3}'),
        damage(finished(folder / "d3", config("seed=4")), "progress.csv", ""),
        damage(finished(folder / "d4", config("seed=4")), "progress.csv", "train/n_updates\nab\n"),
        damage(finished(folder / "d5", config("seed=4")), "progress.csv", "a,b\n1,2\n1,2,3\n"),
        damage(folder / "failed", "failure.json", '{"overrides": 3}'),
    ]
    (finished(folder / "d6", config("seed=4")) / "progress.csv").unlink()
    damage(finished(folder / "d7", config("seed=4")), "summary.json", "[" * 100_000)
    damage(folder / "begun", "config.yaml", "a: [")
    broken += [str(folder / name) for name in ("d6/progress.csv", "d7", "begun/config.yaml")]
    text = "\n".join(Page(page.render(folder)).texts)
    assert "8 finished · 0 failed · 0 unfinished · 9 could not be read" in text
    listed = text[text.rindex("Could not be read") : text.rindex("Versions")]
    for path in broken:
        assert path in listed
