"""Loads a trained policy from a run's folder without running foreign code.

Stable-Baselines3's ``PKPO.load("model.zip")`` unpickles, and unpickling can run any code. Use it
only on your own files. :func:`load_model` builds the algorithm from ``config.yaml`` and reads only
tensors from ``model.zip``.
"""

import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pkpo_sandbox.runs.build import CLASSES, build
from pkpo_sandbox.runs.config import TrainConfig, checked

if TYPE_CHECKING:
    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient

WORLDS = "pkpo_envs:pkpo/"
KNOWN = ("torch.nn", "torch.optim", "stable_baselines3.common.torch_layers")


def load_model(
    folder: str | Path, trusted: bool = False, device: str = "cpu"
) -> "GroupPolicyGradient":
    """The algorithm of a finished run, with its trained policy and the env of its config.

    Its counters start at zero: ``learn`` starts a new training, with the run's first problems. To
    continue a training, save and load the model with SB3's methods.

    :param folder: the run's folder
    :param trusted: whether the config may name functions, classes and env modules from outside this
        package; they are then imported and called
    :param device: the device to load to; the training may have used another one
    :raises ValueError: if a file is missing or damaged, or the config names code that is not
        allowed
    """
    folder = Path(folder)
    config = read_config(folder / "config.yaml", trusted)
    config.algorithm.device = device
    try:
        model = build(config)
    except Exception as error:  # envs and libraries raise errors of many types
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder / 'config.yaml'} describes no run ({type(error).__name__}: {reason}): it was "
            "changed, or written by another version"
        ) from error
    path = folder / "model.zip"
    try:
        tensors = read_tensors(path)
        model.policy.load_state_dict(tensors["policy"])
        model.policy.optimizer.load_state_dict(tensors["policy.optimizer"])
    except Exception as error:  # zipfile, torch and pickle raise errors of many types
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} is missing, damaged or of another config ({type(error).__name__}: {reason}): "
            "train the run again"
        ) from error
    return model


def read_config(path: Path, trusted: bool = False) -> TrainConfig:
    """A run's config. It is checked before anything in it is resolved.

    :raises ValueError: if the file is missing or damaged, or names code that is not allowed
    """
    try:
        loaded = OmegaConf.load(path)
        if not trusted:
            refuse_foreign(OmegaConf.to_container(loaded, resolve=False), path)
        return checked(loaded, TrainConfig)
    except ForeignCodeError:
        raise
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is missing or damaged ({reason}): train the run again") from error


class ForeignCodeError(ValueError):
    """A config names code that is not this package's."""


def read_tensors(path: Path) -> dict[str, Any]:
    """The states of the policy and its optimizer in an SB3 file, without unpickling objects."""
    import torch

    with zipfile.ZipFile(path) as archive:
        tensors = {}
        for name in ("policy", "policy.optimizer"):
            with archive.open(f"{name}.pth") as file:
                tensors[name] = torch.load(file, map_location="cpu", weights_only=True)
        return tensors


def refuse_foreign(config: Any, path: Path) -> None:
    """Raise a ForeignCodeError if a config names code outside this package.

    :param config: in plain containers
    :param path: of its file, for the error

    An interpolation counts as code, because its resolver may be any function. The configs of runs
    are stored without interpolations.
    """
    from pkpo_sandbox import schedules, transforms

    known = {f"stable_baselines3.common.utils.{kind}Schedule" for kind in ("Constant", "Linear")}
    known |= {
        f"{room.__name__}.{name}"
        for room in (transforms, schedules)
        for name, value in vars(room).items()
        if getattr(value, "__module__", "") == room.__name__ and not name.startswith("_")
    }
    foreign = [
        text
        for key, text in texts(config)
        if (key == "_target_" and text not in known)
        or (key == "id" and ":" in text and not text.startswith(WORLDS))
        or (key in CLASSES and not is_known_class(text))
        or "${" in text
    ]
    if foreign:
        raise ForeignCodeError(
            f"{path} names {', '.join(foreign)}, code that is not this package's and would be run: "
            "if you trust its author, pass trusted=True"
        )


def is_known_class(path: str) -> bool:
    """Whether a path names one of the networks' parts or optimizers of torch and of SB3."""
    module, _, name = path.rpartition(".")
    return module in KNOWN and isinstance(getattr(import_module(module), name, None), type)


def texts(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Every value in nested containers as text, with its key; and every key, with key ""."""
    if isinstance(value, dict):
        inner = [pair for name, entry in value.items() for pair in texts(entry, str(name))]
        return [("", str(name)) for name in value] + inner
    if isinstance(value, list):
        return [pair for entry in value for pair in texts(entry, key)]
    return [(key, str(value))]
