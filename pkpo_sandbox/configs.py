"""What a config is before it becomes a run: composed, checked, named by what it does.

Shared by the Hydra apps. Importing this module loads Hydra and OmegaConf, nothing heavier.
"""

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

Schema = TypeVar("Schema")

NOT_IN_HASH = ("name", "progress_bar", "score")  # they change nothing in the results


class UnusableConfigError(CompactHydraException):
    """A mistake in what the user asked for; Hydra prints it as one line, without a traceback."""


@contextmanager
def readable(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line that the user can act on."""
    try:
        yield
    except kinds as error:
        raise UnusableConfigError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """An error as "ValueError: k = 99 exceeds n = 16", on one line."""
    message = " ".join(str(error).split())
    return (
        message if isinstance(error, UnusableConfigError) else f"{type(error).__name__}: {message}"
    )


def resolved(config: DictConfig) -> dict[str, Any]:
    """The run's config as plain containers, every interpolation resolved, without Hydra's own.

    Numbers that are not finite are text, such as "inf", for JSON has none of them.
    """
    keys = [str(key) for key in config if key != "hydra"]
    own = OmegaConf.masked_copy(config, keys)
    plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): finite(value) for key, value in plain.items()}


def finite(value: Any) -> Any:
    """Nested containers with "inf", "-inf" and "nan" in place of these numbers."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def run_id(*, _root_: DictConfig) -> str:
    """Name a run by what it does: ``pkpo-k=4-seed=0-1a2b3c4d5e``, ending in its config's hash."""
    from pkpo_sandbox.runs import config_hash

    config = resolved(_root_)
    objective = config["objective"]
    parts = [str(objective.get("_target_", "none")).rpartition(".")[2]]
    overrides = OmegaConf.select(_root_, "hydra.overrides.task") or []
    given = {override.lstrip("+~").partition("=")[0] for override in overrides}
    if "objective._target_" in given:  # the others may be those of another function's file
        objective = {key: objective[key] for key in objective if f"objective.{key}" in given}
    parts += [f"{key}={label}" for key, value in objective.items() if (label := short(value))]
    hashed = {key: value for key, value in config.items() if key not in NOT_IN_HASH}
    return "-".join([*parts, f"seed={config['seed']}", config_hash(hashed)])


def short(value: Any) -> str:
    """A coefficient in the name of a run: 4, or step-8-1-0.5 for a schedule; else nothing."""
    if isinstance(value, dict) and "_target_" in value:
        kind = str(value["_target_"]).rpartition(".")[2].lower()
        return "-".join([kind, *filter(None, map(short, value.values()))])
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def combinations(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a grid: ``["k=1,2", "seed=0"]`` is [k=1, seed=0] and [k=2, seed=0]."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def sweep_folders(experiment: str, overrides: Sequence[str] = (), app: str = "train") -> list[Path]:
    """Where in ``runs`` an experiment's runs lie, in the order of its sweep, finished or not.

    :param experiment: its name in ``conf/experiment/``
    :param overrides: what else was on the command line: ``["seed=range(4)"]``
    :param app: name of the primary config
    """
    from hydra import compose, initialize_config_module

    chosen = [f"experiment={experiment}"]
    folders = []
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        sweeper = compose(app, chosen, return_hydra_config=True).hydra.sweeper
        swept = [f"{key}={values}" for key, values in (sweeper.params or {}).items()]
        for job in combinations([*swept, *overrides]):
            config = compose(app, [*chosen, *job], return_hydra_config=True)
            folders.append(Path(config.name) / run_id(_root_=config))
    return folders


def checked(config: DictConfig, schema: Schema, command: str) -> Schema:
    """The config as its dataclass: ranges checked by ``__post_init__``, unknown keys refused.

    :param schema: an instance of the dataclass
    :param command: that shows all keys, for the error
    :raises ValueError: for keys that the dataclass lacks, or values out of range
    """
    if unknown := unknown_keys(config, schema):
        raise ValueError(f"unknown key {', '.join(unknown)}: see {command} --cfg job for all keys")
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, type(schema))
    return settings


def unknown_keys(config: Any, schema: Any, prefix: str = "") -> list[str]:
    """Keys of ``config`` that ``schema`` lacks; OmegaConf drops those added with ``+`` silently."""
    names = {f.name: f for f in dataclasses.fields(schema)}
    unknown = [f"{prefix}{key}" for key in config if key not in names]
    for name in names.keys() & set(config):
        value = getattr(schema, name, None)
        if dataclasses.is_dataclass(value):
            unknown += unknown_keys(config[name], value, f"{prefix}{name}.")
    return unknown


def task_overrides() -> list[str]:
    """What the command line says, outside of Hydra's own configuration."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    from importlib.metadata import version

    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


OmegaConf.register_new_resolver("run_id", run_id, replace=True)
