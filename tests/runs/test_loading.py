"""An untrusted run folder: no code in it is executed, and damage is named."""

import base64
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from pkpo_sandbox import PKPO
from pkpo_sandbox.runs import train as app
from pkpo_sandbox.runs.folder import read_failures, read_summary
from pkpo_sandbox.runs.loading import load_model, texts
from pkpo_sandbox.runs.tables import read_progress


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    overrides = ["env=bandit", "schedule=linear", "total_timesteps=1024"]
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        app.run(compose("train", overrides))
    return folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def change(run: Path, key: str, value) -> None:
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run / "config.yaml")


def test_it_is_the_policy_that_was_saved_and_can_be_trained_further(run):
    loaded, saved = load_model(run), PKPO.load(run / "model.zip")
    for ours, theirs in zip(loaded.policy.parameters(), saved.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    ours, theirs = loaded.policy.optimizer.state_dict(), saved.policy.optimizer.state_dict()
    assert ours["state"].keys() == theirs["state"].keys() != set()
    actions, _ = loaded.predict(np.zeros(100, dtype=np.int64))
    assert set(actions) <= {0, 1, 2}
    loaded.learn(256)


class Planted:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_is_pickled_in_a_model_is_not_run(run, tmp_path):
    proof = tmp_path / "was-run"
    with zipfile.ZipFile(run / "model.zip") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    planted = base64.b64encode(pickle.dumps(Planted(proof))).decode()
    data = json.loads(parts["data"])
    data["policy_class"] = {":type:": "<class>", ":serialized:": planted}
    parts["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(run / "model.zip", "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    load_model(run)
    assert not proof.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011, whatever SB3 makes of it
        PKPO.load(run / "model.zip")
    assert proof.exists()  # the attack is real: SB3's own loading falls for it


def test_tensors_that_are_pickled_objects_are_refused(run, tmp_path):
    torch.save(Planted(tmp_path / "was-run"), tmp_path / "policy.pth")
    with zipfile.ZipFile(run / "model.zip", "w") as archive:
        archive.write(tmp_path / "policy.pth", "policy.pth")
    with pytest.raises(ValueError, match=r"model\.zip is missing, damaged"):
        load_model(run)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("objective._target_", "os.system", "os.system"),
        ("objective._target_", "pkpo_sandbox.runs.command.os.system", "command.os.system"),
        ("objective._target_", "pkpo_sandbox.transforms.torch.load", "transforms.torch.load"),
        ("objective.k._target_", "subprocess.run", "subprocess.run"),
        (
            "algorithm.policy_kwargs.activation_fn",
            {"_target_": "os.system", "_args_": ["true"]},
            "os.system",
        ),
        ("algorithm.policy_kwargs.activation_fn", "os.system", "os.system"),
        ("algorithm.policy_kwargs.activation_fn", "torch.nn.Module.eval", "Module.eval"),
        ("algorithm.policy_kwargs.optimizer_class", "their_module.Adam", "their_module.Adam"),
        ("env.wrappers", [{"_target_": "their_module.Wrapper"}], "their_module.Wrapper"),
        ("env.id", "antigravity:Fly-v0", "antigravity:Fly-v0"),
    ],
)
def test_a_config_that_names_other_code_is_refused_unless_trusted(key, value, named, run):
    change(run, key, value)
    with pytest.raises(ValueError, match=f"names .*{named}, code that is not this package's"):
        load_model(run)


def test_a_trusted_config_may_name_what_it_likes(run, tmp_path, monkeypatch):
    (tmp_path / "their_module.py").write_text("def centred(r):\n    return r - r.mean()\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = OmegaConf.load(run / "config.yaml")
    config.objective = {"_target_": "their_module.centred"}
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(ValueError, match=r"their_module\.centred"):
        load_model(run)
    assert load_model(run, trusted=True).transform.__name__ == "centred"


@pytest.mark.parametrize(
    "text",
    [
        "other: ${oc.env:HOME}",
        "other: '\\${oc.create:\"{_target_: pandas.read_pickle, _args_: [evil.pkl]}\"}'",
        'other: "\\x24{oc.env:HOME}"',
        "${oc.env:HOME}: 4",
    ],
)
def test_interpolations_are_refused_before_they_are_resolved(text, run):
    """Escaped once they are text to OmegaConf, and an interpolation to what builds the run."""
    config = (run / "config.yaml").read_text()
    line = next(line for line in config.splitlines() if line.strip().startswith("baseline:"))
    (run / "config.yaml").write_text(config.replace(line, f"{line}\n  {text}"))
    with pytest.raises(ValueError, match=r"names .*\$\{oc\..*, code that is not this package's"):
        load_model(run)


def test_texts_are_found_however_deep():
    nested = {"a": [{"_target_": "c", "d": {"e": 1}}], "f": None}
    found = texts(nested)
    assert {("_target_", "c"), ("e", "1"), ("f", "None"), ("", "d")} <= set(found)


@pytest.mark.parametrize(
    ("key", "value"),
    [("algorithm.policy_kwargs.bogus", 1), ("env.kwargs.bogus", 1), ("env.id", "Nowhere-v0")],
)
def test_a_config_that_describes_no_run_is_named(key, value, run):
    change(run, key, value)
    with pytest.raises(ValueError, match=r"run/config\.yaml describes no run"):
        load_model(run)


def test_the_runs_of_the_gallery_are_not_foreign(run):
    config = OmegaConf.load(run / "config.yaml")
    config.algorithm.learning_rate = {
        "_target_": "stable_baselines3.common.utils.LinearSchedule",
        "start": 0.01,
        "end": 0.0,
        "end_fraction": 1.0,
    }
    config.algorithm.policy_kwargs.activation_fn = "torch.nn.Tanh"  # which is the default
    OmegaConf.save(config, run / "config.yaml")
    assert load_model(run).lr_schedule(0.5) == pytest.approx(0.005)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 50, b"PK\x03\x04 cut off"])
def test_a_damaged_model_is_named(content, run):
    (run / "model.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"run/model\.zip is missing, damaged or of another"):
        load_model(run)


@pytest.mark.parametrize("content", [b"env: [", b"env: 3", b"\xff\xfe\xff", b"nonsense: 1"])
def test_a_damaged_config_is_named(content, run):
    (run / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"run/config\.yaml is missing or damaged"):
        load_model(run)


def test_a_model_of_another_config_is_refused(run):
    change(run, "algorithm.policy_kwargs", {"net_arch": [8]})
    with pytest.raises(ValueError, match=r"model\.zip is missing, damaged or of another config"):
        load_model(run)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'a,b\n"1'])
def test_a_damaged_log_is_named(content, run):
    (run / "progress.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"run/progress\.csv is missing or damaged"):
        read_progress(run)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"config": '])
def test_a_damaged_summary_is_named(content, run):
    (run / "summary.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run/summary\.json is damaged"):
        read_summary(run)


def test_a_damaged_failure_is_named(run):
    (run / "failure.json").write_text("{")
    with pytest.raises(ValueError, match=r"run/failure\.json is damaged"):
        read_failures(run)
