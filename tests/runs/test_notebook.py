"""Configs that are composed, built and run from Python."""

import json
import subprocess
import sys
from typing import Any

import gymnasium
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from pkpo_sandbox import PKPO
from pkpo_sandbox.runs import config as configs
from pkpo_sandbox.runs import train as app
from pkpo_sandbox.runs.loading import load_model
from tests.runs.training import SHORT


def composed(*overrides: str, **kwargs) -> DictConfig:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        return compose("train", list(overrides), **kwargs)


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A process in which no command of Hydra's runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


def test_a_config_tree_can_be_composed_without_importing_anything_of_ours():
    code = "from hydra import compose, initialize_config_module as i\n"
    code += (
        "with i('pkpo_sandbox.conf', version_base='1.3'): c = compose('train', ['env=bandit'])\n"
    )
    code += "import sys; print(c.env.id, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["pkpo_envs:pkpo/Bandit-v0", "False"], done.stderr


@pytest.mark.parametrize("kind", ["composed", "with hydra", "settings"])
def test_a_notebook_builds_and_runs_what_it_composes(kind, notebook, tmp_path):
    config: Any = composed("env=bandit", "objective.k=2", SHORT)
    if kind == "with hydra":
        config = composed("env=bandit", "objective.k=2", SHORT, return_hydra_config=True)
    if kind == "settings":
        config = configs.checked(config, configs.TrainConfig)
    model = app.build(config)
    assert isinstance(model, PKPO)
    assert model.k == 2
    model.learn(256)
    assert app.run(config) is None
    (folder,) = (tmp_path / "runs" / "train").glob("pkpo-k=2-seed=0-*")
    assert json.loads((folder / "summary.json").read_text())["final"]["train/k"] == 2
    app.run(config, "out")
    assert load_model("out").env is not None


def test_a_notebook_gets_readable_errors(notebook, tmp_path):
    for wrong, message in (
        (composed("env.id=Nope-v0"), "Nope"),
        (composed("+foo=1"), "unknown key foo"),
        (composed("seed=-1"), "seed=-1 must be at least 0"),
        (OmegaConf.create({"seed": 1}), "env.id is missing"),
        (configs.TrainConfig(), "env.id is missing"),
    ):
        with pytest.raises((ValueError, HydraException, gymnasium.error.Error), match=message):
            app.build(wrong)
        with pytest.raises((ValueError, HydraException), match=message):
            app.run(wrong, "wrong")
    lost = composed("schedule=step", "objective.k=8", return_hydra_config=True)
    with (
        initialize_config_module("pkpo_sandbox.conf", version_base="1.3"),
        pytest.raises(HydraException, match=r"objective\.k\.start=8"),
    ):
        app.run(lost, "lost")
    assert not list(tmp_path.rglob("summary.json"))
