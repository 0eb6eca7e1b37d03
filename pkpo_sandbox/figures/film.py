"""Films of a policy during training: a callback takes pictures of what the policy does.

A :class:`Film` takes the pictures with a :class:`GroupPicture`, for worlds of problems, or an
:class:`EpisodePicture`, for any other env that can be drawn. :func:`write` makes a GIF or MP4 of
them. Filming does not change the training.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pkpo_envs import ProblemEnv, ProblemVectorEnv
from pkpo_envs.column import Column
from pkpo_envs.conventions import has_exact_solution
from pkpo_sandbox.figures import plotting
from pkpo_sandbox.metrics.evaluation import own_randomness
from pkpo_sandbox.metrics.exact import exact_values

DPI = 100
CAPTION = 30  # height in pixels of the line below a picture
MOST_PROBLEMS = 256  # in a picture; if there are more, it shows evenly spread ones
TILES = (2, 3)  # rows and columns of the moments of an episode
MOST_MOMENTS = 48  # of an episode, kept as candidates
SEED = 0  # the same for every picture, so that only the policy differs


class Frame(NamedTuple):
    """A picture of the policy at one time, and its caption."""

    picture: np.ndarray  #: (height, width, 3) uint8
    caption: str


class GroupPicture:
    """Draws attempts of a policy at every problem of a world, by the world's own render method.

    :param world: a scalar env, a ``ProblemEnv``
    :param group_size: attempts at each problem
    """

    def __init__(self, world: gymnasium.Env, group_size: int) -> None:
        inner = world.unwrapped
        assert isinstance(inner, ProblemEnv)
        shown = np.linspace(0, inner.n_problems - 1, min(inner.n_problems, MOST_PROBLEMS))
        self._problems = np.repeat(shown.round().astype(int), group_size)
        columns = type("Columns", (ProblemVectorEnv,), {"world_class": type(inner)})
        kwargs: Any = {} if world.spec is None else {**world.spec.kwargs}
        kwargs |= {"render_mode": "rgb_array", "autoreset_mode": AutoresetMode.DISABLED}
        self._venv = columns(len(self._problems), **kwargs)

    def __call__(self, model: BaseAlgorithm) -> np.ndarray:
        observations, _ = self._venv.reset(seed=SEED, options={"problem": self._problems})
        played = np.zeros(self._venv.num_envs, dtype=bool)
        while True:
            actions, _ = model.predict(observations)
            observations, _, ended, _, _ = self._venv.step(actions)
            played |= ended
            if played.all():
                frames = self._venv.render()
                assert frames is not None
                return frames[0]
            if ended.any():  # finished attempts stay in the picture
                options = {"problem": self._problems, "reset_mask": ended}
                observations, _ = self._venv.reset(options=options)


class EpisodePicture:
    """Shows evenly spread moments of one episode of a policy.

    :param env: with ``render_mode="rgb_array"``
    """

    def __init__(self, env: gymnasium.Env) -> None:
        self._env, self._column = env, Column(env)
        env.reset(seed=SEED)
        env.render()  # raises before training if the env cannot be drawn

    def __call__(self, model: BaseAlgorithm) -> np.ndarray:
        moments, n_steps, total = self._play(model)
        figure = Figure(figsize=(6.4, 4.0), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        with plotting.style():
            shown = np.linspace(0, len(moments) - 1, TILES[0] * TILES[1]).round().astype(int)
            for tile, index in zip(figure.subplots(*TILES).flat, shown, strict=True):
                step, picture = moments[index]
                tile.imshow(picture)
                tile.set(title=f"step {step}", xticks=[], yticks=[])
            figure.suptitle(f"an episode of {n_steps} steps: return {total:.2f}", fontsize=10)
            figure.tight_layout()
            canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _play(self, model: BaseAlgorithm) -> tuple[list[tuple[int, Any]], int, float]:
        """The moments (step, picture) of an episode in order, its length and its return."""
        moments, stride, steps, total, over = [], 1, 0, 0.0, False
        observation, _ = self._column.reset({"seed": SEED})
        while not over:
            if steps % stride == 0:
                moments.append((steps, self._env.render()))
            if len(moments) == MOST_MOMENTS:  # in a long episode, keep every second one
                moments, stride = moments[::2], 2 * stride
            action, _ = model.predict(observation)
            observation, reward, terminated, truncated, _ = self._column.step(action)
            steps, total = steps + 1, total + reward
            over = terminated or truncated
        return [*moments, (steps, self._env.render())], steps, total


class Film(BaseCallback):
    """Takes frames at times evenly spread over training, and does not change the training.

    :ivar frames: the frames taken: before the first update, after the last one, and between; fewer
        than ``n_frames`` if there are fewer updates
    :param draw: makes a picture (height, width, 3) of an algorithm's current policy
    :param world: a scalar env; the captions give its exact solution if it has one
    :param n_frames: at least 2
    :param total_timesteps: of the training
    :param objective: its name, for the captions of an algorithm without k
    """

    def __init__(
        self,
        draw: Callable[[BaseAlgorithm], np.ndarray],
        world: gymnasium.Env,
        n_frames: int,
        total_timesteps: int,
        objective: str,
    ) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self._draw, self._world, self._objective = draw, world, objective
        self._moments = np.linspace(0, total_timesteps, n_frames)[:-1]

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        due = self._moments <= self.num_timesteps
        if due.any():
            self._moments = self._moments[~due]
            self._take()

    def _on_training_end(self) -> None:
        self._take()

    def _take(self) -> None:
        with own_randomness(self.model, SEED):
            self.frames.append(Frame(self._draw(self.model), self._caption()))

    def _caption(self) -> str:
        model: Any = self.model
        parts, ks = [f"{model.num_timesteps:,} timesteps"], [1, model.group_size]
        if hasattr(model, "k"):
            k = model.objective.at(model._current_progress_remaining)["k"]
            parts, ks = [*parts, f"trained for k = {k}"], [k]
        else:
            parts.append(self._objective)
        if has_exact_solution(self._world):
            for k, facts in exact_values(model, self._world, ks).items():
                best = facts.get("max_at_k_star")
                possible = "" if best is None else f" (best {best:.3f})"
                parts.append(f"max@{k} = {facts['max_at_k']:.3f}{possible}")
        return "   ".join(parts)


def write(frames: Sequence[Frame], path: Path, fps: int) -> None:
    """Write frames of one size as a GIF or, if the name ends in .mp4, an MP4. The write is atomic.

    :raises ValueError: see :func:`make_writer`
    """
    writer = make_writer(path, fps)
    height, width, _ = frames[0].picture.shape
    figure = Figure(figsize=(width / DPI, (height + CAPTION) / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    middle = {"x": 0.5, "y": CAPTION / 2 / (height + CAPTION), "ha": "center", "va": "center"}
    try:
        with plotting.style(), writer.saving(figure, str(temporary), DPI):
            for frame in frames:
                figure.clear()
                figure.figimage(frame.picture, yo=CAPTION, origin="upper")
                figure.text(s=frame.caption, fontsize=9, **middle)
                writer.grab_frame()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_writer(path: Path, fps: int) -> AbstractMovieWriter:
    """Choose the writer for the suffix of this path.

    :raises ValueError: if the suffix is neither .gif nor .mp4, or for .mp4 without ffmpeg
    """
    if path.suffix == ".gif":
        return PillowWriter(fps)
    if path.suffix != ".mp4":
        raise ValueError(f"cannot write {path}: its name must end in .gif or .mp4")
    if not FFMpegWriter.isAvailable():
        raise ValueError(f"cannot write {path} without ffmpeg: install it, or write a .gif")
    return FFMpegWriter(fps, codec="h264")
