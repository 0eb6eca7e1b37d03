"""One job: the files that remain after a failure, and its score."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox.runs import folder as files
from pkpo_sandbox.runs.folder import read_failure, read_summary
from pkpo_sandbox.runs.job import App, perform, score
from tests.runs.training import SHORT


@dataclass
class Settings:
    seed: int = 0
    x: float = 0.0
    score: str | None = None


def config(**changes: Any) -> DictConfig:
    return OmegaConf.create({"seed": 0, "x": 0.0, **changes})


def app(learn: Any) -> App:
    return App("test", Settings, lambda settings, folder: learn, ())


def test_results_that_json_lacks_are_stored(tmp_path):
    results = {"final": {"a": math.inf, "b": {1, 2}}, "measurements": [{"x": math.nan}]}
    perform(config(x=-math.inf), app(lambda: results), tmp_path)
    summary = read_summary(tmp_path) or {}
    assert summary["final"] == {"a": "inf", "b": [1, 2]}
    assert summary["measurements"] == [{"x": "nan"}]
    assert summary["config"]["x"] == "-inf"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (Mute(), "Mute: <Mute>"),
        (RuntimeError("half \udc80"), "RuntimeError: half \udc80"),
        (SystemExit(3), "RuntimeError: the job called sys.exit(3)"),
    ],
)
def test_a_job_that_fails_leaves_its_failure(error, told, tmp_path):
    def learn():
        raise error

    with pytest.raises((KeyError, Mute, RuntimeError)):
        perform(config(), app(learn), tmp_path)
    failure = read_failure(tmp_path)
    assert failure["error"] == told
    assert failure["config"]["seed"] == 0
    assert "Traceback" in failure["traceback"]


def test_a_config_that_cannot_be_resolved_leaves_a_failure(tmp_path):
    with pytest.raises(Exception, match="InterpolationKeyError"):
        perform(config(x="${nowhere}"), app(dict), tmp_path)
    failure = read_failure(tmp_path)
    assert "InterpolationKeyError" in failure["error"]
    assert "config" not in failure


def test_the_error_is_that_of_the_job_also_where_nothing_can_be_written(
    tmp_path, monkeypatch, capsys
):
    def learn():
        monkeypatch.setattr(files.os, "fsync", refuse)
        raise KeyError("x")

    def refuse(_):
        raise OSError(30, "Read-only file system")

    with pytest.raises(KeyError, match="x"):
        perform(config(), app(learn), tmp_path)
    said = capsys.readouterr().err
    assert "Read-only file system" in said
    assert "KeyError: 'x'" in said


def test_a_score_is_a_number_of_the_summary():
    summary = {
        "exact": {"8": {"max_at_k": 0.5, "ok": True}},
        "seed": 3,
        "best": "inf",
        "bad": "nan",
    }
    named = {"exact.8.max_at_k": 0.5, "seed": 3, "best": math.inf, None: None}
    for name, value in named.items():
        assert score(summary, OmegaConf.create({"score": name})) == value
    for name, message in {
        "exact.4": "no '4' there, but 8",
        "exact.8.max_at_k.x": "no 'x' there, but none",
        "exact.8": "not a number",
        "exact.8.ok": "not a number",
        "bad": "bad is nan in this run",
    }.items():
        with pytest.raises(ValueError, match=message):
            score(summary, OmegaConf.create({"score": name}))


def test_a_score_that_a_run_lacks_is_an_error_but_the_run_is_kept(train_here, tmp_path):
    with pytest.raises(
        HydraException, match=r"score=exact\.8\.nope: the summary has no 'nope' there"
    ):
        train_here(SHORT, "score=exact.8.nope")
    folder = train_here(SHORT)  # the score does not rename a run
    assert (folder / "summary.json").exists()
