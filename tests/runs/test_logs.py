"""The logs of a run: CSV, JSON, TensorBoard, Weights & Biases."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import HParam, Image, Logger

from pkpo_sandbox.runs.logs import (
    METRIC,
    ProgressWriter,
    WandbWriter,
    hyperparameters,
    make_logger,
    rewind,
    rows_so_far,
)
from pkpo_sandbox.runs.tables import final_values, read_progress

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
    odd = {"y": {"inf": float("inf"), "huge": 10**400, "n": np.int64(3), "text": "\udc80"}}
    assert hyperparameters({**CONFIG, **odd}) == {
        "seed": 3,
        "objective.k": 4,
        "objective.baseline": "loo",
        "log_formats": "['csv']",
        "x": "None",
        "y.inf": "inf",
        "y.huge": str(10**400),
        "y.n": 3,
        "y.text": r"\udc80",
    }


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no text")


TOGETHER = "mine/" + "k" * 60  # more than a table of SB3's shows
#: what a callback logs, and what TensorBoard makes of it
ODD: dict[Any, tuple[Any, str]] = {
    "inf": (float("inf"), "scalar"),
    "nan": (float("nan"), "scalar"),
    "float32": (np.float32(0.1), "scalar"),
    "huge": (10**400, "text"),
    "giant": (1 << 20_000, "text"),
    "complex": (1j, "text"),
    "bytes": (b"x", "text"),
    "text": ('won, "x"\r\nnow\0\udc80', "text"),
    "list": ([1, float("inf")], "text"),
    "silent": (Silent(), "text"),
    "tensor": (torch.tensor(0.1), "histogram"),
    "array": (np.arange(3) / 2, "histogram"),
    "array_inf": (torch.tensor([1.0, float("inf")]), "text"),
    "array_complex": (np.array([1j, 2]), "text"),
    "array_empty": (np.zeros(0), "text"),
    "array_text": (np.array(["a", "b"]), "text"),
    "meta": (torch.zeros(3, device="meta"), "text"),
    "none": (None, ""),
    "image": (Image(np.zeros((0, 0, 3)), "HWC"), ""),
    "picture": (Image(np.zeros((2, 2, 3)), "HWC"), "image"),
    'a,b\n"c"\r': (1, "scalar"),
    "ü\udc80": (2, "scalar"),
    3: (4, "scalar"),
    f"{TOGETHER}a": (1, "scalar"),
    f"{TOGETHER}b": (2, "scalar"),
}


def test_what_users_log_is_kept_and_ends_no_run(tmp_path, fake_wandb, capsys):
    logger = make_logger(tmp_path, ["csv", "tensorboard", "json", "log", "stdout", "wandb"], CONFIG)
    for step in (1, 2):
        for name, (value, _) in ODD.items():
            logger.record(name, value)
        logger.record(f"only/{step}", step)
        logger.dump(step)
    logger.close()
    out, err = capsys.readouterr()
    assert out.count("won") == 2
    assert err.count("TensorBoard does not take image (ValueError: cannot write empty image)") == 1
    names = {as_name(name) for name in ODD} | {"only/1", "only/2"}
    log = read_progress(tmp_path)
    assert set(log) == names
    last = final_values(tmp_path)
    assert set(last) == names - {"none", "only/1"}
    expected = {"inf": math.inf, "nan": "nan", "float32": 0.1, "complex": "1j"}
    expected |= {"tensor": 0.10000000149011612, "array": "[0.0, 0.5, 1.0]", "3": 4, "only/2": 2}
    expected |= {"text": 'won, "x"\r\nnow\\x00\\udc80', "huge": str(10**400)}
    expected["giant"] = hex(1 << 20_000)
    assert {name: last[name] for name in expected} == expected
    lines = (tmp_path / "progress.json").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert (rows[1]["inf"], rows[1]["array_inf"], rows[1]["none"]) == ("inf", [1, "inf"], None)
    (run,) = fake_wandb
    assert (run["rows"][1][1]["float32"], run["rows"][1][1]["complex"]) == (np.float32(0.1), "1j")
    kinds = {"scalar": "scalars", "text": "tensors", "histogram": "histograms", "image": "images"}
    tags = events(tmp_path).Tags()
    for name, (_, kind) in ODD.items():
        tag = as_name(name) + ("/text_summary" if kind == "text" else "")
        assert [k for k, listed in kinds.items() if tag in tags[listed]] == ([kind] if kind else [])


def as_name(name: Any) -> str:
    return str(name).encode("utf-8", "backslashreplace").decode()


def test_logs_are_utf8_whatever_the_locale(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pkpo_sandbox.runs.logs import *\n"
        "logger = make_logger(Path(sys.argv[1]), ['csv', 'log', 'json'], {})\n"
        "logger.record('\\xfc', '\\u2603'); logger.dump(1)"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, env=ascii_only, check=True, capture_output=True)
    assert "| ü | ☃ |" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert (tmp_path / "progress.csv").read_text(encoding="utf-8") == "ü\n☃\n"


def test_a_format_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"log_formats has 'cvs': choose from csv, .*, monitor"):
        make_logger(tmp_path, ["cvs"], {})


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
