"""Runs of ``pkpo-gemma2`` in the process of the test."""

from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from pkpo_sandbox.gemma2 import app
from pkpo_sandbox.runs import naming

SHORT = ("training.max_steps=2", "training.logging_steps=1", "task.warm_up_steps=2")
SHORT += ("training.per_device_train_batch_size=32",)


def composed(*overrides: str, **kwargs):
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return compose("gemma2", list(overrides), **kwargs)


def run_here(folder: Path, *overrides: str) -> Path:
    """Run the app's task in this process, in the folder that Hydra would give it."""
    config = composed(*overrides, return_hydra_config=True)
    folder = folder / naming.run_id(_root_=config)
    folder.mkdir(parents=True, exist_ok=True)
    config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    app.train(composed(*overrides))
    return folder
