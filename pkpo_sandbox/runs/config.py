"""What a config is before it becomes a run: composed, checked, named by what it does.

Shared by the Hydra apps. Importing this module loads Hydra and OmegaConf, nothing heavier.
"""

import dataclasses
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
