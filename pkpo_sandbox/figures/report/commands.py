"""The command that trains a run again, found from its config and checked by composing it."""

import json
import re
import shlex
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import pkpo_sandbox.gemma2.app
import pkpo_sandbox.runs.train  # noqa: F401  (both register the schemas of their configs)
from pkpo_sandbox.runs.config import resolved

#: By primary config: the command, and the groups whose options a run may have been made from.
APPS = {
    "train": ("pkpo-train", "pkpo_sandbox.conf", ("env", "objective")),
    "gemma2": ("pkpo-gemma2", "pkpo_sandbox.conf.gemma2", ("model", "task")),
}


def command(config: dict[str, Any]) -> str | None:
    """The shell command that gives exactly this resolved config.

    A run that measures starts from its experiment, for no override can set ``measure``.

    :return: None if none was found: the config is of another version, or names what cannot be
        written on a command line
    """
    app = "gemma2" if "training" in config else "train"
    name, package, groups = APPS[app]
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        chosen: tuple[str, ...] = ()
        for group in ("experiment", *groups) if config.get("measure") else groups:
            candidates = [chosen, *((*chosen, *option) for option in options(package, group))]
            chosen = min(candidates, key=lambda one: len(" ".join(completed(app, one, config))))
        overrides = completed(app, chosen, config)
        try:
            same = equal(resolved(compose(app, overrides)), config)
        except (HydraException, OmegaConfBaseException, AttributeError, TypeError, ValueError):
            return None  # Hydra's errors for what it cannot compose are of many kinds
    return shlex.join([name, *overrides]) if same else None


def completed(app: str, chosen: tuple[str, ...], config: dict[str, Any]) -> list[str]:
    """The choices, and the overrides that are left to do."""
    return [*chosen, *changes(base(app, chosen), config)]


@cache
def options(package: str, group: str) -> list[tuple[str, ...]]:
    """What can be chosen of a group: [("env=bandit",), ("env=cliff_1d",)]."""
    names = sorted(path.name for path in (files(package) / group).iterdir())
    single = ("hydra.mode=RUN",) if group == "experiment" else ()  # one run, not its sweep
    return [(f"{group}={name[:-5]}", *single) for name in names if name.endswith(".yaml")]


@cache
def base(app: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """The config that these choices alone give; what is still missing in it is "???"."""
    config = compose(app, list(overrides))
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def changes(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """The overrides that turn one config into another."""
    overrides = [f"~{prefix}{key}" for key in before if key not in after]
    for key, value in after.items():
        if key not in before:
            overrides.append(f"+{prefix}{key}={literal(value)}")
        elif isinstance(value, dict) and isinstance(before[key], dict):
            overrides += changes(before[key], value, f"{prefix}{key}.")
        elif not equal(before[key], value):
            overrides.append(f"{prefix}{key}={literal(value)}")
    return overrides


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same and of the same types."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def literal(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, str):
        word = re.fullmatch(r"[A-Za-z_][\w.:/-]*", value)
        if word and value.lower() not in ("null", "true", "false", "nan", "inf"):
            return value
        escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", r"\'")
        return "'" + escaped.replace("${", r"\${") + "'"
    return json.dumps(value)
