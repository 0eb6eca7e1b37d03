"""``pkpo-watch`` shows the run's own policy at the right times."""

import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from matplotlib.animation import FFMpegWriter
from omegaconf import OmegaConf
from PIL import Image

from pkpo_sandbox import PKPO, GroupPolicyGradient
from pkpo_sandbox.figures import watch
from pkpo_sandbox.runs import train as app
from tests.figures.ladder import frames_of, registered

CLIFF = "pkpo_envs:pkpo/Cliff1D-v0"


@pytest.fixture(scope="module", autouse=True)
def envs():
    with registered():
        yield


def trained(folder: Path, *overrides: str) -> Path:
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        app.run(compose("train", list(overrides)))
        HydraConfig.instance().cfg = None
    return folder


@pytest.fixture(scope="module")
def cliff(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cliff")
    return trained(folder, "env=cliff_1d", "objective.k=8", "total_timesteps=5120")


@pytest.fixture
def run(cliff, tmp_path) -> Path:
    return shutil.copytree(cliff, tmp_path / "run")


def pkpo_watch(monkeypatch, *arguments: Any) -> str | None:
    """Run the command; returns what it exits with."""
    monkeypatch.setattr(sys, "argv", ["pkpo-watch", *map(str, arguments)])
    try:
        return watch.main()
    except SystemExit as stop:
        return str(stop.code)


def test_films_a_run_and_says_that_it_is_the_run(run, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert pkpo_watch(monkeypatch, run, "--frames", 5, "--fps", 10) is None
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "the policy, trained again, is that of model.zip in every weight",
        f"{run / 'watch.gif'}: 5 frames",
    ]
    frames = frames_of(run / "watch.gif")
    assert [frame.shape for frame in frames] == [(430, 640, 3)] * 5
    for earlier, later in pairwise(frames):
        assert (earlier[:400] != later[:400]).mean() > 0.001  # the picture, not only the caption
    with Image.open(run / "watch.gif") as film:
        assert film.info["duration"] == 100  # milliseconds
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.keys() == before.keys() | {"watch.gif"}
    assert all(after[name] == before[name] for name in before)


def test_checkpoints_which_seed_a_run_anew_are_made_again(tmp_path, monkeypatch, capsys):
    run = trained(tmp_path, "env=bandit", "total_timesteps=2048", "checkpoint_every=600")
    assert pkpo_watch(monkeypatch, run, "--frames", 2) is None
    assert "in every weight" in capsys.readouterr().out
    assert not (run / "checkpoint.pt").exists()


def test_frames_are_evenly_spread_from_the_first_policy_to_the_last(run):
    frames, difference = watch.watch(run, 5)
    assert difference == 0
    times = [frame.caption.split(" ")[0] for frame in frames]
    assert times == ["0", "1,280", "2,560", "3,840", "5,120"]
    values = [float(frame.caption.split("max@8 = ")[1].split(" ")[0]) for frame in frames]
    assert all("trained for k = 8" in frame.caption for frame in frames)
    assert all("(best 0.944)" in frame.caption for frame in frames)
    final = PKPO.load(run / "model.zip").policy.get_distribution(torch.tensor([0])).distribution
    exact = gym.make(CLIFF).unwrapped.max_at_k(0.5 + final.mean.item(), 8, std=0.1)
    assert values[0] < values[-1] == pytest.approx(exact, abs=5.1e-4)  # three digits are shown


def test_there_are_not_more_frames_than_policies(run):
    frames, _ = watch.watch(run, 1000)
    assert len(frames) == 1 + 5120 // 256


def test_an_env_of_others_is_filmed(tmp_path, monkeypatch, capsys):
    overrides = ["env.id=Ladder-v0", "objective.k=1", "total_timesteps=1024", "env.kwargs={}"]
    overrides += ["algorithm.group_size=4", "algorithm.n_groups=4", "algorithm.learning_rate=0.05"]
    run = trained(tmp_path / "run", *overrides, "metrics.solve_threshold=null")
    output = tmp_path / "new" / "ladder.gif"
    assert pkpo_watch(monkeypatch, run, "--frames", 3, "--output", output) is None
    assert "in every weight" in capsys.readouterr().out
    first, _, last = frames_of(output)
    assert first[:400].mean() < last[:400].mean()  # it has learned to climb


def test_an_env_without_pictures_is_refused_in_one_line(run, monkeypatch):
    change(run, "env.id", "Unseen-v0")
    said = pkpo_watch(monkeypatch, run)
    assert said == "pkpo-watch: Unseen-v0 cannot be watched: it has no render mode rgb_array"


def change(run: Path, key: str, value: Any) -> None:
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run / "config.yaml")


def test_another_policy_than_the_run_has_is_warned_of(run, monkeypatch, capsys):
    change(run, "seed", 1)
    assert pkpo_watch(monkeypatch, run, "--frames", 2) is None
    warned = capsys.readouterr().out.splitlines()[0]
    assert warned.startswith("warning: the policy, trained again, differs from model.zip by up to ")
    assert "with the same versions: on another machine, or by changed code" in warned
    summary = (run / "summary.json").read_text()
    (run / "summary.json").write_text(
        summary.replace(f'"torch": "{torch.__version__}', '"torch": "0.1')
    )
    assert "torch 0.1" in watch.verdict(run, 0.5)
    assert f"-> {torch.__version__}" in watch.verdict(run, 0.5)
    assert "up to 0.5 in a weight" in watch.verdict(run, 0.5)


def test_what_is_no_run_is_refused_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "build", lambda config: pytest.fail("it trains"))
    for arguments, message in (
        ([tmp_path], f"{tmp_path} is not the folder of a finished run: train it with pkpo-train"),
        ([run, "--frames", 1], "frames=1 must be at least 2"),
        ([run, "--fps", 0], "fps=0 must be at least 1"),
        ([run, "--output", "film.avi"], "cannot write film.avi: its name must end in .gif or .mp4"),
    ):
        assert pkpo_watch(monkeypatch, *arguments) == f"pkpo-watch: {message}"
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    said = pkpo_watch(monkeypatch, run, "--output", "film.mp4")
    assert said == "pkpo-watch: cannot write film.mp4 without ffmpeg: install it, or write a .gif"
    change(run, "measure", {"_target_": "math.sqrt"})
    assert "holds measurements: it trained no policy" in str(pkpo_watch(monkeypatch, run))


def test_a_damaged_model_is_refused_before_training(run, monkeypatch):
    (run / "model.zip").write_bytes(b"no zip")
    monkeypatch.setattr(GroupPolicyGradient, "learn", lambda *_: pytest.fail("it trains"))
    assert "model.zip is missing, damaged" in str(pkpo_watch(monkeypatch, run))
