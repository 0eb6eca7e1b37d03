"""``pkpo-watch``: film how the policy of a finished run changed during training, as a GIF or MP4.

A run stores only its last policy. So the command trains it again from its config and seed, which
gives the same run. It compares the new weights with ``model.zip`` and reports the result. Training
imports and calls what the config names, so use this only for your own runs.
"""

import argparse
import os
import sys
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import gymnasium
import torch
from stable_baselines3.common.logger import Logger

from pkpo_envs import ProblemEnv
from pkpo_sandbox.figures.terminal import drawing_command
from pkpo_sandbox.runs import build as building
from pkpo_sandbox.runs import train
from pkpo_sandbox.runs.fingerprint import versions
from pkpo_sandbox.runs.folder import read_summary
from pkpo_sandbox.runs.loading import load_model, read_config

if TYPE_CHECKING:  # matplotlib is imported after drawing_command() has chosen its backend
    from pkpo_sandbox.figures.film import EpisodePicture, Frame, GroupPicture


def watch(folder: Path, n_frames: int) -> "tuple[list[Frame], float]":
    """Train a run again, and take frames of its policy.

    :param folder: of a finished run
    :param n_frames: at least 2; the film has fewer if training has fewer updates
    :return: the frames, and the largest difference between a weight of the new policy and
        ``model.zip``
    :raises ValueError: if there is no finished run, it is damaged or trained nothing, or its env
        cannot be drawn
    """
    from pkpo_sandbox.figures.film import Film

    if read_summary(folder) is None:
        raise ValueError(f"{folder} is not the folder of a finished run: train it with pkpo-train")
    config = read_config(folder / "config.yaml", trusted=True)
    if config.measure is not None:
        raise ValueError(f"{folder} holds measurements: it trained no policy to watch")
    world = building.world(config)
    if world is None:
        raise ValueError(
            f"{config.env.id} cannot be watched: it is registered with a vector entry point only"
        )
    draw = picture(world, config)
    saved, model = load_model(folder, trusted=True), train.build(config)
    objective = str(config.objective["_target_"]).rpartition(".")[2]
    film = Film(draw, world, n_frames, config.total_timesteps, objective)
    model.set_logger(Logger(None, []))
    watchers = train.callbacks(config)
    with TemporaryDirectory() as scratch:
        checkpoints = []  # a checkpoint reseeds the run
        if config.checkpoint_every is not None:
            checkpoints = [train.make_checkpoint(model, watchers, config, Path(scratch))]
        model.learn(config.total_timesteps, [*watchers, film, *checkpoints])
    for algorithm in (saved, model):
        if (env := algorithm.get_env()) is not None:
            env.close()
    return film.frames, largest_difference(saved.policy, model.policy)


def picture(world: gymnasium.Env, config: train.TrainConfig) -> "GroupPicture | EpisodePicture":
    """Choose how to draw a policy that acts in the world of this config.

    :raises ValueError: if the world cannot be drawn
    """
    from pkpo_sandbox.figures.film import EpisodePicture, GroupPicture

    if isinstance(world.unwrapped, ProblemEnv) and not config.env.wrappers:
        return GroupPicture(world, config.algorithm.group_size)
    if "rgb_array" not in (world.metadata.get("render_modes") or ()):
        raise ValueError(f"{config.env.id} cannot be watched: it has no render mode rgb_array")
    drawn = building.world(config, render_mode="rgb_array")
    assert drawn is not None  # because the world is not None
    return EpisodePicture(drawn)


def largest_difference(ours: torch.nn.Module, theirs: torch.nn.Module) -> float:
    """The largest absolute difference of a weight between two networks of one architecture."""
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return max((a.cpu() - b.cpu()).abs().max().item() for a, b in pairs)


def verdict(folder: Path, difference: float) -> str:
    """Report whether the filmed policy is equal to that of the run."""
    if difference == 0:
        return "the policy, trained again, is that of model.zip in every weight"
    then, now = (read_summary(folder) or {}).get("versions", {}), versions(*train.PACKAGES)
    changed = [
        f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]
    ]
    reason = ", ".join(changed) or "with the same versions: on another machine, or by changed code"
    return (
        f"warning: the policy, trained again, differs from model.zip by up to {difference:.2g} in a"
        f" weight ({reason}): the frames show the new training"
    )


@drawing_command()
def main() -> None:
    """The command ``pkpo-watch``."""
    from pkpo_sandbox.figures.film import make_writer, write

    parser = argparse.ArgumentParser(
        description="Train a finished run of your own again, and film how its policy changes."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="its folder, as pkpo-train left it")
    parser.add_argument(
        "--output",
        type=Path,
        help=".gif, or .mp4 where ffmpeg is installed (default: RUN/watch.gif)",
    )
    parser.add_argument("--frames", type=int, default=40, help="at least 2 (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=8, help="frames a second (default: %(default)s)")
    arguments = parser.parse_args()
    sys.path.insert(0, os.getcwd())  # for modules that the config names
    torch.set_num_threads(1)  # as in the run
    output = arguments.output or arguments.run / "watch.gif"
    try:
        for name, bound in (("frames", 2), ("fps", 1)):
            if (value := getattr(arguments, name)) < bound:
                raise ValueError(f"{name}={value} must be at least {bound}")
        make_writer(output, arguments.fps)  # refuses before training
        frames, difference = watch(arguments.run, arguments.frames)
        write(frames, output, arguments.fps)
    except (ValueError, ImportError, OSError, SubprocessError, gymnasium.error.Error) as error:
        sys.exit(f"pkpo-watch: {' '.join(str(error).split())}")
    print(verdict(arguments.run, difference), flush=True)
    print(f"{output}: {len(frames)} frames", flush=True)


if __name__ == "__main__":
    main()
