"""SB3's loggers: your own logger is kept, TensorBoard runs have names, values have formats."""

import json

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import (
    Figure,
    HParam,
    Image,
    Logger,
    Video,
    configure,
    make_output_format,
)

from .conftest import Rows, small, vec_env


def test_a_logger_of_ones_own_is_kept_and_replaces_tensorboard(tmp_path, logger, rows: Rows):
    model = small(vec_env("discrete", 2), tensorboard_log=str(tmp_path / "boards"))
    model.set_logger(logger)
    for number in (1, 2):
        model.learn(20, log_interval=1, reset_num_timesteps=False)
        assert model.logger is logger
        assert len(rows.rows) == number
    assert not (tmp_path / "boards").exists()


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_run_of_tensorboard_may_have_a_name(name, tmp_path):
    model = small(vec_env("discrete", 2), tensorboard_log=str(tmp_path))
    named = {} if name is None else {"tb_log_name": name}
    for _ in range(2):
        model.learn(20, log_interval=1, **named)
    model.learn(20, log_interval=1, reset_num_timesteps=False, **named)
    base = name or "PKPO"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{base}_1", f"{base}_2"]


@pytest.mark.parametrize(
    ("interval", "iterations"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])]
)
def test_a_row_is_written_every_so_many_iterations_and_at_the_end(
    interval, iterations, logger, rows: Rows
):
    model = small(vec_env("discrete", 4))  # an iteration is one episode of five steps in each env
    model.set_logger(logger)
    model.learn(100, log_interval=interval)
    assert rows.column("time/iterations") == iterations
    assert rows.steps == [20 * iteration for iteration in iterations]


def test_values_of_a_callback_go_to_the_formats_that_can_show_them(tmp_path):
    """A picture is no number: formats that cannot hold it are excluded where it is recorded."""
    import matplotlib.figure
    import numpy as np
    import torch

    class Record(BaseCallback):
        def _on_training_start(self):
            parameters = HParam({"k": self.model.k}, {"train/loss": 0.0})
            self.logger.record("hparams", parameters, exclude=("log", "json", "csv"))

        def _on_step(self):
            self.logger.record_mean("mine/mean", float(self.n_calls))
            return True

        def _on_rollout_end(self):
            for key, value in (
                ("figure", Figure(matplotlib.figure.Figure(), close=True)),
                ("image", Image(np.zeros((3, 4, 4), np.uint8), "CHW")),
                ("video", Video(torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), fps=4)),
            ):
                self.logger.record(f"mine/{key}", value, exclude=("log", "json", "csv", "stdout"))
            self.logger.record("mine/text", "words", exclude="csv")
            self.logger.record("mine/hidden", 1.0, exclude=("json", "csv"))

    model = small(vec_env("discrete", 4))
    formats = [make_output_format(name, str(tmp_path)) for name in ("json", "csv", "log")]
    model.set_logger(Logger(str(tmp_path), formats))
    model.learn(20, callback=Record(), log_interval=1)
    model.logger.close()
    (row,) = map(json.loads, (tmp_path / "progress.json").read_text().splitlines())
    assert row["mine/mean"] == 3  # of 1 to 5
    assert row["mine/text"] == "words"
    assert {"mine/hidden", "mine/figure", "hparams"}.isdisjoint(row)
    assert "mine/text" not in (tmp_path / "progress.csv").read_text()
    assert "hidden" in (tmp_path / "log.txt").read_text()


def test_a_format_that_cannot_show_a_value_says_so(tmp_path):
    from stable_baselines3.common.logger import FormatUnsupportedError

    class Draw(BaseCallback):
        def _on_step(self):
            self.logger.record("mine/image", Image(None, "CHW"))  # type: ignore[arg-type]
            return True

    model = small(vec_env("discrete", 4))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    with pytest.raises(FormatUnsupportedError, match="image"):
        model.learn(20, callback=Draw(), log_interval=1)
    model.logger.close()
