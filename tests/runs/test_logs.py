"""What a run logs, and where: CSV, JSON, TensorBoard, Weights & Biases."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from stable_baselines3.common.logger import HParam, Logger

from pkpo_sandbox.runs.logs import (
    METRIC,
    ProgressWriter,
    WandbWriter,
    hyperparameters,
    make_logger,
    rewind,
    rows_so_far,
)

CONFIG = {"seed": 3, "objective": {"k": 4, "baseline": "loo"}, "log_formats": ["csv"], "x": None}


def test_columns_are_in_order_and_a_new_one_keeps_the_rows(tmp_path):
    writer = ProgressWriter(tmp_path / "progress.csv")
    writer.write({"b": 1, "time/fps": 7}, {})
    writer.write({"b": 2, "a": 0.5}, {"a": ("stdout",)})
    writer.write({"b": 3, "c": 1}, {"c": ("csv",)})
    assert writer.text() == "a,b\n,1\n0.5,2\n,3\n"
    writer.replace("a,b\n,1\n")
    writer.write({"a": 9}, {})
    assert writer.text() == "a,b\n,1\n9,\n"


def test_a_full_disk_does_not_lose_the_rows_so_far(tmp_path, monkeypatch):
    writer = ProgressWriter(tmp_path / "progress.csv")
    writer.write({"b": 1}, {})

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        writer.write({"a": 1, "b": 2}, {})
    assert writer.text() == "b\n1\n"


def test_hyperparameters_are_flat_and_of_plain_types():
    assert hyperparameters(CONFIG) == {
        "seed": 3,
        "objective.k": 4,
        "objective.baseline": "loo",
        "log_formats": "['csv']",
        "x": "None",
    }


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def hparams_of(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The hyperparameters and the names of the metrics that TensorBoard's HParams tab reads."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    found, metrics = {}, []
    for tag, content in events(folder).summary_metadata.items():
        if content.plugin_data.plugin_name != "hparams":
            continue
        data = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
        if tag == "_hparams_/session_start_info":
            for name, value in data.session_start_info.hparams.items():
                found[name] = getattr(value, value.WhichOneof("kind"))
        if tag == "_hparams_/experiment":
            metrics = [metric.name.tag for metric in data.experiment.metric_infos]
    return found, metrics


def test_tensorboard_gets_the_hyperparameters(tmp_path):
    logger = make_logger(tmp_path, ["csv", "tensorboard", "json", "log"], CONFIG)
    logger.record(METRIC, 0.5)
    logger.dump(16)
    logger.close()
    assert hparams_of(tmp_path) == (hyperparameters(CONFIG), [METRIC])
    (scalar,) = events(tmp_path).Scalars(METRIC)
    assert (scalar.step, scalar.value) == (16, 0.5)
    assert (tmp_path / "progress.csv").read_text() == f"{METRIC}\n0.5\n"
    assert json.loads((tmp_path / "progress.json").read_text()) == {METRIC: 0.5}


@pytest.mark.slow
def test_the_runs_of_a_sweep_compare_in_tensorboard(tmp_path):
    command = [sys.executable, "-m", "pkpo_sandbox.runs.train", "-m", "objective.k=1,2", "seed=5"]
    options = ["total_timesteps=512", "log_interval=1", "log_formats=[csv,tensorboard]"]
    subprocess.run([*command, *options], cwd=tmp_path, check=True, capture_output=True)
    folders = sorted(path.parent for path in tmp_path.glob("runs/*/*/summary.json"))
    for k, folder in enumerate(folders, start=1):
        found, metrics = hparams_of(folder)
        assert (found["objective.k"], found["seed"]) == (k, 5)
        (metric,) = metrics
        assert [event.step for event in events(folder).Scalars(metric)] == [256, 512]


def test_a_log_that_goes_on_has_every_row_once(tmp_path):
    formats = ["csv", "tensorboard", "json", "log"]

    def log(logger: Logger, *steps: int) -> None:
        for step in steps:
            logger.record(METRIC, step / 10)
            logger.dump(step)

    first = make_logger(tmp_path, formats, CONFIG)
    log(first, 1, 2)
    rows = rows_so_far(first)
    (tmp_path / "checkpoint.pt").touch()
    log(first, 3, 4)  # after the checkpoint; then the process is killed
    first.close()
    second = make_logger(tmp_path, formats, CONFIG)
    rewind(second, rows, 2)
    log(second, 3, 4, 5)
    second.close()
    assert [event.step for event in events(tmp_path).Scalars(METRIC)] == [1, 2, 3, 4, 5]
    lines = (tmp_path / "progress.json").read_text().splitlines()
    assert [json.loads(line)[METRIC] for line in lines] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert (tmp_path / "progress.csv").read_text() == f"{METRIC}\n0.1\n0.2\n0.3\n0.4\n0.5\n"
    assert (tmp_path / "log.txt").read_text().count("ep_rew_mean") == 5


def test_a_run_that_begins_anew_has_no_events_of_the_last_try(tmp_path):
    for value in (0.1, 0.2):
        logger = make_logger(tmp_path, ["csv", "tensorboard"], CONFIG)
        logger.record(METRIC, value)
        logger.dump(1)
        logger.close()
    (scalar,) = events(tmp_path).Scalars(METRIC)
    assert scalar.value == pytest.approx(0.2)


class FakeWandb(SimpleNamespace):
    """Stands in for the module: notes what it is given, and has no network."""

    runs: ClassVar[list[dict[str, Any]]] = []

    @classmethod
    def init(cls, **arguments: Any) -> SimpleNamespace:
        rows: list[tuple[int, dict[str, float]]] = []
        ended: list[bool] = []
        cls.runs.append({**arguments, "rows": rows, "ended": ended})
        return SimpleNamespace(
            id=arguments["id"] or "new",
            log=lambda numbers, step: rows.append((step, numbers)),
            finish=lambda: ended.append(True),
        )


@pytest.fixture
def fake_wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb)
    monkeypatch.setattr(FakeWandb, "runs", [])
    return FakeWandb.runs


def test_wandb_gets_the_config_and_every_number(tmp_path, fake_wandb):
    folder = tmp_path / "sweep" / "run"
    folder.mkdir(parents=True)
    logger = make_logger(folder, ["csv", "tensorboard", "wandb"], CONFIG)
    logger.record("a", 0.5)
    logger.record("b", 1, exclude="wandb")
    logger.dump(16)
    logger.close()
    (run,) = fake_wandb
    assert (run["name"], run["group"], run["config"]) == ("run", "sweep", CONFIG)
    assert run["rows"] == [(16, {"a": 0.5})]
    assert run["ended"] == [True]


def test_a_run_that_goes_on_is_the_same_one_in_wandb(tmp_path, fake_wandb):
    first = make_logger(tmp_path, ["wandb"], CONFIG)
    assert rows_so_far(first) == {}
    first.dump(1)
    second = make_logger(tmp_path, ["wandb"], CONFIG)
    rewind(second, rows_so_far(first), 1)
    second.dump(2)
    assert [(run["id"], run["resume"]) for run in fake_wandb] == [(None, "allow"), ("new", "allow")]


def test_wandb_is_not_asked_for_unless_it_is_named(tmp_path, fake_wandb):
    make_logger(tmp_path, ["csv"], CONFIG).dump(1)
    assert fake_wandb == []


def test_without_wandb_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install 'pkpo-sandbox\[wandb\]'"):
        WandbWriter(tmp_path, {})


@pytest.mark.skipif(find_spec("wandb") is None, reason="the extra wandb is not installed")
@pytest.mark.slow
def test_wandb_itself_logs_a_run_offline(tmp_path):
    command = [sys.executable, "-m", "pkpo_sandbox.runs.train", "total_timesteps=512"]
    offline = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    result = subprocess.run(
        [*command, "log_interval=1", "log_formats=[csv,wandb]"],
        cwd=tmp_path,
        env=offline,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (file,) = tmp_path.glob("runs/*/*/wandb/offline-run-*/run-*.wandb")
    assert file.stat().st_size > 0


def test_the_metric_of_the_hparams_tab_is_one_that_is_logged():
    assert isinstance(HParam({}, {METRIC: 0.0}).metric_dict[METRIC], float)
    assert METRIC.startswith("rollout/")
