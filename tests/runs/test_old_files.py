"""What version 0.1.0 wrote is read: a model, the folder of a run, the checkpoint of a stopped one.

``tests/data/v0_1_0/finished`` is a run of the bandit with ``checkpoint_every=40``, and ``stopped``
the same run, stopped at 112 of its 128 timesteps.
"""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pkpo_sandbox import PKPO, load_model, load_runs
from pkpo_sandbox.runs.build import build, callbacks
from pkpo_sandbox.runs.loading import read_config
from pkpo_sandbox.runs.train import train

OLD = Path(__file__).parents[1] / "data" / "v0_1_0"


def weights() -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(OLD / "finished" / "model.zip") as archive:
        return torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)


def check_weights(policy: torch.nn.Module, tolerance: float = 0.0) -> None:
    for name, expected in weights().items():
        found = policy.state_dict()[name]
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, msg=name)


def test_a_model_is_loaded_and_trained_further():
    model = PKPO.load(OLD / "finished" / "model.zip", env="pkpo_envs:pkpo/Bandit-v0", device="cpu")
    check_weights(model.policy)
    assert (model.k, model.n_groups, model.group_size, model._n_updates) == (2, 2, 4, 16)
    model.learn(16, reset_num_timesteps=False)
    assert (model.num_timesteps, model._n_updates) == (144, 18)


def test_a_model_is_loaded_as_the_zoo_does():
    zeros = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}
    model = PKPO.load(OLD / "finished" / "model.zip", custom_objects=zeros, device="cpu")
    assert model.predict(np.array(0))[0] in (0, 1, 2)


def test_the_folder_of_a_run_is_loaded():
    check_weights(load_model(OLD / "finished").policy)
    runs = load_runs(OLD / "finished")
    assert runs["final.time/total_timesteps"].tolist() == [128]
    assert runs["config.objective.k"].tolist() == [2]


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(OLD / "stopped", folder)
    config = read_config(folder / "config.yaml")
    model = build(config)
    train(model, callbacks(config), config, folder)
    assert "continues at timestep 80" in capsys.readouterr().out
    assert (model.num_timesteps, model._n_updates) == (128, 16)
    check_weights(model.policy, 1e-5)  # another processor rounds otherwise
    logs = [path / "progress.csv" for path in (folder, OLD / "finished")]
    rows = [log.read_text().splitlines() for log in logs]
    assert rows[0][:6] == rows[1][:6]  # header and the rows until the checkpoint, untouched
    assert len(rows[0]) == len(rows[1])


def test_the_checkpoint_of_another_network_is_named(tmp_path):
    shutil.copytree(OLD / "stopped", tmp_path / "run")
    config = read_config(tmp_path / "run" / "config.yaml")
    config.algorithm.policy_kwargs = {"net_arch": [5]}
    with pytest.raises(ValueError, match="of another env or policy than the config now names"):
        train(build(config), [], config, tmp_path / "run")
