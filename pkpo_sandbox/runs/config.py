"""The config schema of ``pkpo-train``, and the check of a config against a schema.

Importing this module loads only Hydra and OmegaConf.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from hydra.errors import CompactHydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from pkpo_sandbox.runs.values import text

Schema = TypeVar("Schema")

#: keys that do not change the results
NOT_IN_HASH = ("name", "progress_bar", "score", "if_code_changed")
LARGEST = 2**53  # a float represents every integer up to this one exactly


class UnusableConfigError(CompactHydraException):
    """A mistake in the user's config. Hydra prints it as one line, without a traceback."""


@contextmanager
def readable(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these types into an :class:`UnusableConfigError` of one line."""
    try:
        yield
    except kinds as error:
        raise UnusableConfigError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """An error on one line, such as "ValueError: k = 99 exceeds n = 16"."""
    message = " ".join(text(error).split())
    return (
        message if isinstance(error, UnusableConfigError) else f"{type(error).__name__}: {message}"
    )


@dataclass
class EnvConfig:
    """The env. ``id`` is a Gymnasium id: "module_to_import:Name-v0".

    The other keys are arguments of ``pkpo_sandbox.algorithm.groups.make_group_env``.
    """

    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    vectorization: str | None = None  # native, sync or async; None: native where possible
    num_envs: int | None = None  # columns; None: one per attempt
    max_episode_steps: int | None = None  # None: the env's own limit
    seeded_problems: int | None = None  # for an env without problems: how many seeded starts it has
    wrappers: list[Any] = field(default_factory=list)  # _target_s, applied in this order

    def __post_init__(self) -> None:
        if self.vectorization == "async" and self.num_envs is None:
            raise ValueError(
                "env.vectorization=async needs env.num_envs, the number of processes: the results "
                "depend on it, so there is no default by the number of cores"
            )


@dataclass
class AlgorithmConfig:
    """Arguments of ``GroupPolicyGradient`` in ``pkpo_sandbox.algorithm``, with the same names.

    ``policy_kwargs`` may name a class by its path: ``activation_fn: torch.nn.ReLU``.
    """

    policy: str | None = None  # None: Mlp-, Cnn- or MultiInputPolicy, by the observation space
    group_size: int = 16
    n_groups: int = 16
    learning_rate: Any = 3e-3
    gamma: float = 1.0
    n_epochs: int = 1
    clip_range: Any = None
    ent_coef: Any = 0.0
    max_grad_norm: float = 0.5
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    stats_window_size: int = 100
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.device.partition(":")[0] not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(f"device={self.device!r} must be auto, cpu, cuda, cuda:1... or mps")


@dataclass
class MetricsConfig:
    """What is measured during training, by the callbacks of ``pkpo_sandbox.metrics.callbacks``."""

    eval_freq: int = 10  # steps of the vectorised env between two measurements
    exact_ks: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])  # if the env is exact
    eval_groups: int = 0  # groups played to estimate max@k; 0: no estimate
    solve_threshold: float | None = None  # solved from this return; None: env's reward_threshold

    def __post_init__(self) -> None:
        at_least(1, **{"metrics.eval_freq": self.eval_freq})
        at_least(0, **{"metrics.eval_groups": self.eval_groups})
        if self.solve_threshold is not None and math.isnan(self.solve_threshold):
            raise ValueError("metrics.solve_threshold=nan: no return reaches nan, give a number")


@dataclass
class TrainConfig:
    """One run. ``objective`` names a transform and its arguments, ``callbacks`` SB3 callbacks.

    ``measure`` may name a function of :mod:`pkpo_sandbox.metrics.estimators`. The run then calls
    it instead of training, and stores the rows that it returns.
    """

    name: str = "train"
    env: EnvConfig = field(default_factory=EnvConfig)
    objective: dict[str, Any] = field(default_factory=dict)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    total_timesteps: int = 256_000
    seed: int = 0
    log_interval: int = 10
    # any of csv, tensorboard, wandb, stdout, log, json, monitor: see pkpo_sandbox/runs/logs.py
    log_formats: list[str] = field(default_factory=lambda: ["csv"])
    progress_bar: bool = False
    checkpoint_every: int | None = None  # timesteps; None: a stopped run starts from the beginning
    score: str | None = None  # the entry of the summary that a search maximises
    measure: dict[str, Any] | None = None
    if_code_changed: str | None = None  # finished by other code: keep or train; None: an error

    def __post_init__(self) -> None:
        at_least(1, total_timesteps=self.total_timesteps, log_interval=self.log_interval)
        at_least(0, seed=self.seed)
        if self.checkpoint_every is not None:
            at_least(1, checkpoint_every=self.checkpoint_every)
        check_choice(self.if_code_changed)
        if "csv" not in self.log_formats:
            raise ValueError(
                f"log_formats={list(self.log_formats)} must contain csv: results are read from it"
            )


def check_choice(if_code_changed: str | None) -> None:
    """Raise a ValueError unless the value is "keep", "train" or None."""
    if if_code_changed not in (None, "keep", "train"):
        raise ValueError(f"if_code_changed={if_code_changed} must be keep, train or null")


def store_schema(name: str, schema: type, free: Sequence[str] = ()) -> None:
    """Register a schema with Hydra, as the entry ``name`` of a primary config's defaults list.

    :param schema: a dataclass
    :param free: keys below which every key is allowed, without a ``+``. Their values are arguments
        of a function or class, which checks the names itself
    """
    node = OmegaConf.structured(schema)
    for key in free:
        OmegaConf.set_struct(OmegaConf.select(node, key), False)
    ConfigStore.instance().store(name=name, node=node)


def at_least(bound: int, **settings: int) -> None:
    """Raise a ValueError unless each setting is between ``bound`` and 2**53."""
    for name, value in settings.items():
        if value < bound:
            raise ValueError(f"{name}={value} must be at least {bound}")
        if value > LARGEST:
            raise ValueError(f"{name}={value} must be at most 2**53")


def checked(config: Any, schema: type[Schema], command: str = "pkpo-train") -> Schema:
    """Convert a config to its dataclass, which checks keys, types and ranges.

    :param config: a ``DictConfig``, which is resolved here, or nested containers
    :param schema: the dataclass; its ``__post_init__`` checks ranges
    :param command: the command that lists all keys, for the error message
    :raises ValueError: for an unknown key, a missing value, or a value of a wrong type or out of
        range
    """
    if isinstance(config, schema):
        refuse_missing(config)
        return config
    if OmegaConf.is_config(config):
        config = contents(config)
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), config))
    except ConfigKeyError as error:
        raise ValueError(
            f"unknown key {error.full_key}: see {command} --cfg job for all keys"
        ) from error
    except MissingMandatoryValue as error:
        raise ValueError(f"{missing(error)} is missing: give it a value") from error
    except OmegaConfBaseException as error:
        raise ValueError(" ".join(str(error).split())) from error
    assert isinstance(settings, schema)
    return settings


def refuse_missing(settings: Any, prefix: str = "") -> None:
    """Raise a ValueError for a dataclass that lacks a value."""
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if isinstance(value, str) and value == MISSING:
            raise ValueError(f"{prefix}{entry.name} is missing: give it a value")
        if is_dataclass(value):
            refuse_missing(value, f"{prefix}{entry.name}.")


def missing(error: OmegaConfBaseException) -> str:
    """The key that an error reports as missing."""
    return error.full_key or str(error).rpartition(" ")[2]


def contents(config: DictConfig) -> dict[str, Any]:
    """A config as plain containers, with interpolations resolved and without the key ``hydra``.

    :raises ValueError: if a value is missing
    """
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(f"{missing(error)} is missing: give it a value") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as it is stored: :func:`contents`, with text such as "inf" for infinite and NaN.

    JSON has no such numbers.
    """
    return {key: finite(value) for key, value in contents(config).items()}


def finite(value: Any) -> Any:
    """Replace the numbers inf, -inf and nan in nested containers by text."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
