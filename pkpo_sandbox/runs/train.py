"""``pkpo-train``: builds the env and the algorithm of a config, trains, and writes a run to disk.

Importing this module loads neither torch nor Stable-Baselines3, so ``--help`` is fast.
"""

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pkpo_sandbox.runs import command
from pkpo_sandbox.runs.build import build, callbacks
from pkpo_sandbox.runs.config import TrainConfig
from pkpo_sandbox.runs.job import App, perform
from pkpo_sandbox.runs.layers import given_keys
from pkpo_sandbox.runs.naming import register
from pkpo_sandbox.runs.outcome import outcome

if TYPE_CHECKING:
    from stable_baselines3.common.callbacks import BaseCallback

    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
    from pkpo_sandbox.runs.checkpoints import Checkpoint

PACKAGES = ("pkpo-sandbox", "torch", "stable-baselines3", "gymnasium", "numpy", "hydra-core")


def prepare(config: TrainConfig, folder: Path) -> Callable[[], dict[str, Any]]:
    """Build all that a job needs. Returns a function that does the job and returns its results."""
    import torch
    from hydra.utils import instantiate

    torch.set_num_threads(1)  # small networks are slower with more threads; runs share the cores
    if config.measure is not None:
        measure = instantiate(config.measure, _partial_=True, _convert_="all")
        return lambda: {"measurements": measure()}
    model = build(config)
    with ExitStack() as stack:
        stack.callback(close, model.env)
        watchers = callbacks(config, given_keys())
        stack.callback(close, *(getattr(watcher, "eval_env", None) for watcher in watchers))
        opened = stack.pop_all()

    def job() -> dict[str, Any]:
        with opened:  # the processes of an async env end with the job
            return train(model, watchers, config, folder)

    return job


def close(*envs: Any) -> None:
    """Close the envs that are not None."""
    for env in envs:
        if env is not None:
            env.close()


def train(
    model: "GroupPolicyGradient",
    watchers: "list[BaseCallback]",
    config: TrainConfig,
    folder: Path,
) -> dict[str, Any]:
    """Train, write the log and the model, and return the log's last row and the outcome."""
    from pkpo_sandbox.runs.logs import make_logger
    from pkpo_sandbox.runs.monitor import MonitorFile
    from pkpo_sandbox.runs.tables import final_values

    model.set_logger(make_logger(folder, config.log_formats, dataclasses.asdict(config)))
    if "monitor" in config.log_formats:
        watchers = [*watchers, MonitorFile(folder, config.env.id)]
    resumed = False
    if config.checkpoint_every is not None:
        checkpoint = make_checkpoint(model, watchers, config, folder)
        resumed = checkpoint.restore(model)
        if resumed:
            print(f"continues at timestep {model.num_timesteps}: {folder}", flush=True)
        watchers = [*watchers, checkpoint]
    model.learn(
        config.total_timesteps - model.num_timesteps,
        watchers,
        log_interval=config.log_interval,
        reset_num_timesteps=not resumed,
        progress_bar=config.progress_bar,
    )
    model.logger.close()
    model.save(folder / "model.zip")
    return {"final": final_values(folder), **outcome(model, config)}


def make_checkpoint(
    model: "GroupPolicyGradient",
    watchers: "list[BaseCallback]",
    config: TrainConfig,
    folder: Path,
) -> "Checkpoint":
    """The callback that lets a stopped run continue."""
    from pkpo_sandbox.runs.checkpoints import Checkpoint
    from pkpo_sandbox.runs.folder import CHECKPOINT

    assert config.checkpoint_every is not None
    return Checkpoint(folder / CHECKPOINT, config.checkpoint_every, config.seed, watchers)


register()  # for config trees that Hydra does not load through the package pkpo_sandbox.conf
APP = App("pkpo-train", TrainConfig, prepare, PACKAGES)


def run(config: DictConfig | TrainConfig, folder: str | Path | None = None) -> float | None:
    """Train or measure, and write a summary to a folder. Does nothing if the run is finished.

    :param config: from Hydra's ``compose("train", [...])``, or a :class:`TrainConfig`
    :param folder: the run's folder. None: Hydra's output folder, or ``runs/<name>/<run>`` without
        Hydra
    :return: the entry of the summary that ``score`` names, or None without ``score``
    :raises UnusableConfigError: if the config cannot be used, or the folder holds another run
    """
    return perform(config, APP, folder)


def main() -> None:
    """The command ``pkpo-train``."""
    command.main(run, "train")


if __name__ == "__main__":
    # Worker processes import the task by its module's name, which must not be __main__.
    from pkpo_sandbox.runs.train import main as imported_main

    imported_main()
