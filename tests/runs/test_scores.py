"""scores.csv: one row for each run with a score, the best first."""

import math

import pytest

from pkpo_sandbox.runs.scores import write_scores


def entry(folder: str, value: float, *overrides: str, metric: str = "m") -> dict:
    return {"folder": folder, "score": value, "overrides": overrides, "metric": metric}


def test_scores_of_earlier_sweeps_are_kept(tmp_path):
    write_scores(tmp_path, [entry("a", 0.5, "k=1", "score=m"), entry("b", 0.75, "+k=2", "lr=0.1")])
    write_scores(tmp_path, [entry("a", 0.875, "k=1"), entry("a", 3.0, "k=1", metric="other")])
    write_scores(tmp_path, [])
    assert (tmp_path / "scores.csv").read_text() == (
        "k,lr,metric,score,folder\n1,,m,0.875,a\n2,0.1,m,0.75,b\n1,,other,3.0,a\n"
    )


def test_the_best_are_printed(tmp_path, capsys):
    write_scores(tmp_path, [entry(f"run-{i}", i, f"x={'[a,b]' * i}") for i in range(7)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"the best of {tmp_path / 'scores.csv'}:"
    assert [line.split()[-1] for line in lines[3:]] == [f"run-{i}" for i in (6, 5, 4, 3, 2)]
    assert lines[3].startswith("[a,b]" * 6)


def test_a_score_may_be_infinite(tmp_path):
    write_scores(tmp_path, [entry("a", 1.0), entry("b", math.inf), entry("c", -math.inf)])
    write_scores(tmp_path, [entry("d", 2.0, "k='1,2'")])
    rows = (tmp_path / "scores.csv").read_text().splitlines()[1:]
    assert [row.rpartition(",")[2] for row in rows] == ["b", "d", "a", "c"]


@pytest.mark.parametrize(
    "content",
    ["metric,score,folder\nm,high,a\n", "a,b\n1,2\n", "metric,score,folder\nm,1,a,9\n", "m,1\xff"],
)
def test_a_file_that_is_no_more_what_it_was_is_named(content, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"scores\.csv is damaged .*: move it away"):
        write_scores(tmp_path, [entry("a", 1.0)])
    assert path.read_bytes() == content.encode("latin-1")
