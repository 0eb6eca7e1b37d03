"""Films of training: the run's own policy, seen at the right times, in files that can be played."""

import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from matplotlib.animation import FFMpegWriter
from omegaconf import OmegaConf
from PIL import Image

from pkpo_envs import ProblemEnv
from pkpo_sandbox import PKPO, GroupPolicyGradient
from pkpo_sandbox.figures import film as filming
from pkpo_sandbox.figures import watch
from pkpo_sandbox.figures.film import EpisodePicture, Film, Frame, GroupPicture, write
from pkpo_sandbox.runs import train as app
from pkpo_sandbox.schedules import Step

CLIFF = "pkpo_envs:pkpo/Cliff1D-v0"


class Ladder(gym.Env):
    """Up by 1 with action 1; eight steps, a picture that brightens on the way up."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(9)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.rung = self.steps = 0
        return self.rung, {}

    def step(self, action):
        self.rung, self.steps = self.rung + int(action), self.steps + 1
        return self.rung, float(action), self.steps == 8, False, {}

    def render(self):
        return np.full((30, 40, 3), 25 * self.rung, np.uint8)


class Unseen(Ladder):
    metadata = {"render_modes": []}  # noqa: RUF012


class Uneven(ProblemEnv):
    """Problem i takes i + 1 steps, each worth 1; the picture's bars are the returns."""

    n_problems = 3
    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(2)

    def start(self, problems):
        return problems + 1

    def advance(self, state, actions):
        return state - 1, np.ones(len(state)), state == 1


@pytest.fixture(scope="module", autouse=True)
def envs():
    ids = {"Ladder-v0": Ladder, "Unseen-v0": Unseen}
    for env_id, env in ids.items():
        gym.register(env_id, entry_point=env)
    yield
    for env_id in ids:
        del gym.registry[env_id]


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


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        frames = []
        for index in range(film.n_frames):
            film.seek(index)
            frames.append(np.array(film.convert("RGB")))
        return frames


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


def test_filming_changes_nothing_in_training():
    def weights(*callbacks: Any) -> list[torch.Tensor]:
        model = PKPO("MlpPolicy", CLIFF, k=4, group_size=4, n_groups=4, seed=0)
        model.learn(320, list(callbacks))
        return list(model.policy.parameters())

    world = gym.make(CLIFF)
    film = Film(GroupPicture(world, 4), world, 4, 320, "pkpo")
    for alone, filmed in zip(weights(), weights(film), strict=True):
        assert torch.equal(alone, filmed)
    assert len(film.frames) == 4


def test_captions_follow_the_schedule_of_k_and_name_other_objectives():
    world = gym.make("pkpo_envs:pkpo/Bandit-v0")
    arguments: Any = {"group_size": 8, "n_groups": 2, "seed": 0}
    model = PKPO("MlpPolicy", "pkpo_envs:pkpo/Bandit-v0", k=Step(8, 1, at=0.5), **arguments)
    film = Film(lambda model: np.zeros((2, 2, 3), np.uint8), world, 3, 64, "pkpo")
    model.learn(64, film)
    assert [frame.caption.split("   ")[1] for frame in film.frames] == [
        "trained for k = 8",
        "trained for k = 1",
        "trained for k = 1",
    ]
    film = Film(lambda model: np.zeros((2, 2, 3), np.uint8), world, 2, 16, "rloo")
    GroupPolicyGradient("MlpPolicy", "pkpo_envs:pkpo/Bandit-v0", **arguments).learn(16, film)
    assert all("   rloo   max@1 = " in frame.caption for frame in film.frames)
    assert all(" (best 0.500)   max@8 = " in frame.caption for frame in film.frames)


def test_a_group_is_drawn_at_every_problem_until_all_attempts_have_ended():
    picture = GroupPicture(Uneven(), 2)
    model = PKPO("MlpPolicy", picture._venv.world, k=1, group_size=2, n_groups=1, seed=0)
    frame = picture(model)
    assert (frame.dtype, frame.shape) == (np.uint8, (400, 640, 3))
    shown = picture._venv._renderer._rounds[-1]
    assert shown.problems.tolist() == [0, 0, 1, 1, 2, 2]
    assert shown.returns.tolist() == [1, 1, 2, 2, 3, 3]
    assert shown.ended.all()


def test_of_many_problems_some_are_drawn(monkeypatch):
    monkeypatch.setattr(filming, "MOST_PROBLEMS", 5)
    world = gym.make("pkpo_envs:pkpo/ProblemSet-v0", n_problems=101)
    picture = GroupPicture(world, 2)
    assert picture._problems.tolist() == [0, 0, 25, 25, 50, 50, 75, 75, 100, 100]
    assert picture._venv.n_problems == 101  # the run's world, not the default one


def test_an_episode_of_any_env_is_shown_in_moments(monkeypatch):
    class Climber:
        def predict(self, observation):
            return np.array(1), None

    env = gym.make("Ladder-v0", render_mode="rgb_array")
    picture = EpisodePicture(env)
    moments, n_steps, total = picture._play(Climber())
    assert [step for step, _ in moments] == list(range(9))
    assert [frame[0, 0, 0] for _, frame in moments] == [25 * rung for rung in range(9)]
    assert (n_steps, total) == (8, 8.0)
    assert picture(Climber()).shape == (400, 640, 3)
    monkeypatch.setattr(filming, "MOST_MOMENTS", 4)
    steps = [step for step, _ in picture._play(Climber())[0]]
    assert (steps[0], steps[-1]) == (0, 8)
    assert len(steps) <= 5


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


def test_a_film_is_whole_or_not_there(tmp_path):
    frames = [Frame(np.full((100, 200, 3), shade, np.uint8), f"{shade}") for shade in (0, 200)]
    path = tmp_path / "film.gif"
    write(frames, path, 5)
    dark, light = frames_of(path)
    assert dark.shape == (130, 200, 3)
    assert (dark[:100].max(), light[:100].min()) == (0, 200)
    assert dark[105:].min() < 100 < dark[105:].max()  # the caption: dark on light
    with pytest.raises(TypeError):
        write([frames[0], Frame(None, "")], path, 5)  # type: ignore[arg-type]
    assert [name.name for name in tmp_path.iterdir()] == ["film.gif"]
    assert len(frames_of(path)) == 2


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_an_mp4_is_written_where_ffmpeg_is(tmp_path):
    frames = [Frame(np.full((101, 201, 3), shade, np.uint8), "") for shade in (0, 200)]
    write(frames, tmp_path / "film.mp4", 5)
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
