"""``pkpo-train`` in this process and in one of its own, for the tests of several modules."""

import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from pkpo_sandbox.runs import naming
from pkpo_sandbox.runs import train as app

CONF = Path(__file__).parents[2] / "conf"
SHORT = "total_timesteps=512"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def pkpo_train(*overrides: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pkpo_sandbox.runs.train", *overrides]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def run_here(folder: Path, *overrides: str) -> Path:
    """Run the app's task in this process, in the folder that Hydra would give it."""
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
        folder = folder / naming.run_id(_root_=config)
        folder.mkdir(parents=True, exist_ok=True)
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        app.run(compose("train", list(overrides)))
    return folder
