"""Films: pictures of a policy, captions, and playable files."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from matplotlib.animation import FFMpegWriter

from pkpo_envs import ProblemEnv
from pkpo_sandbox import PKPO, GroupPolicyGradient
from pkpo_sandbox.figures import film as filming
from pkpo_sandbox.figures.film import EpisodePicture, Film, Frame, GroupPicture, write
from pkpo_sandbox.schedules import Step
from tests.figures.ladder import frames_of, registered

CLIFF = "pkpo_envs:pkpo/Cliff1D-v0"


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
    with registered():
        yield


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
