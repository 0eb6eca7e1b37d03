"""``pkpo-train``: a config becomes an env and an algorithm, learns, and leaves a run on disk.

Importing this module loads neither torch nor Stable-Baselines3, so that ``--help`` is quick.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import MISSING, DictConfig, OmegaConf

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3.common.callbacks import BaseCallback

    from pkpo_sandbox.algorithm import GroupPolicyGradient

NOT_IN_HASH = ("name", "progress_bar")  # they change nothing in the results


@dataclass
class EnvConfig:
    """What to play: a Gymnasium id, with the module to import before a colon."""

    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class AlgorithmConfig:
    """Arguments of ``pkpo_sandbox.algorithm.GroupPolicyGradient``, under their names there."""

    policy: str = "MlpPolicy"
    group_size: int = 16
    n_groups: int = 16
    learning_rate: Any = 3e-3
    n_epochs: int = 1
    clip_range: Any = None
    ent_coef: Any = 0.0
    max_grad_norm: float = 0.5
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    stats_window_size: int = 100
    device: str = "cpu"


@dataclass
class MetricsConfig:
    """What is measured during training, by the callbacks of ``pkpo_sandbox.metrics``."""

    eval_freq: int = 10  # steps of the vectorised env between two measurements
    exact_ks: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])  # where there are any
    eval_groups: int = 0  # fresh groups that max@k is estimated on; 0 for none
    solve_threshold: float | None = None  # the return of a solved problem; None: not counted


@dataclass
class TrainConfig:
    """One run. ``objective`` names a transform and its arguments, ``callbacks`` SB3 callbacks.

    ``measure``, if given, names a function of :mod:`pkpo_sandbox.measure` to call instead of
    training; it returns rows.
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
    log_formats: list[str] = field(default_factory=lambda: ["csv"])
    progress_bar: bool = False
    measure: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, bound in (("total_timesteps", 1), ("seed", 0), ("log_interval", 1)):
            value = getattr(self, name)
            if value < bound:
                raise ValueError(f"{name}={value} must be at least {bound}")
        if "csv" not in self.log_formats:
            raise ValueError(
                f"log_formats={list(self.log_formats)} must contain csv, which a run is read from"
            )


class UnusableConfigError(CompactHydraException):
    """A mistake in what the user asked for; Hydra prints it as one line, without a traceback."""


@contextmanager
def readable(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line that the user can act on."""
    try:
        yield
    except kinds as error:
        message = " ".join(str(error).split())
        raise UnusableConfigError(f"{type(error).__name__}: {message}") from error


def resolved(config: DictConfig) -> dict[str, Any]:
    """The run's config as plain containers, every interpolation resolved."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


def run_id(*, _root_: DictConfig) -> str:
    """Name a run by what it does: ``pkpo-k=4-seed=0-1a2b3c4d5e``, ending in its config's hash."""
    from pkpo_sandbox.runs import config_hash

    keys = [str(key) for key in _root_ if key != "hydra"]
    config = resolved(OmegaConf.masked_copy(_root_, keys))
    objective = config["objective"]
    parts = [str(objective.get("_target_", "none")).rpartition(".")[2]]
    parts += [f"{key}={label}" for key, value in objective.items() if (label := short(value))]
    hashed = {key: value for key, value in config.items() if key not in NOT_IN_HASH}
    return "-".join([*parts, f"seed={config['seed']}", config_hash(hashed)])


def short(value: Any) -> str:
    """A coefficient in the name of a run: 4, or step-8-1-0.5 for a schedule; else nothing."""
    if isinstance(value, dict) and "_target_" in value:
        kind = str(value["_target_"]).rpartition(".")[2].lower()
        return "-".join([kind, *filter(None, map(short, value.values()))])
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def sweep_folders(experiment: str, overrides: Sequence[str] = (), app: str = "train") -> list[Path]:
    """Where in ``runs`` an experiment's runs lie, in the order of its sweep, finished or not.

    :param experiment: its name in ``conf/experiment/``
    :param overrides: what else was on the command line: ``["seed=range(4)"]``
    :param app: name of the primary config
    """
    from hydra import compose, initialize_config_module
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    chosen = [f"experiment={experiment}"]
    folders = []
    with initialize_config_module("pkpo_sandbox.conf", version_base="1.3"):
        sweeper = compose(app, chosen, return_hydra_config=True).hydra.sweeper
        swept = [f"{key}={values}" for key, values in (sweeper.params or {}).items()]
        parsed = OverridesParser.create().parse_overrides([*swept, *overrides])
        for job in BasicSweeper.split_arguments(parsed, None)[0]:
            config = compose(app, [*chosen, *job], return_hydra_config=True)
            folders.append(Path(config.name) / run_id(_root_=config))
    return folders


def checked(config: DictConfig) -> TrainConfig:
    """The config as its dataclass, ranges checked and unknown keys refused."""
    if unknown := unknown_keys(config, TrainConfig()):
        raise ValueError(f"unknown key {', '.join(unknown)}: see pkpo-train --cfg job for all keys")
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, TrainConfig)
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


def build(config: TrainConfig) -> "GroupPolicyGradient":
    """Make the env and the algorithm that a config describes."""
    from hydra.utils import get_method, instantiate

    from pkpo_sandbox.algorithm import PKPO, GroupPolicyGradient
    from pkpo_sandbox.groups import make_group_env
    from pkpo_sandbox.transforms import pkpo

    arguments = instantiate(dataclasses.asdict(config.algorithm), _convert_="all")
    n_groups, group_size = arguments["n_groups"], arguments["group_size"]
    env = make_group_env(config.env.id, n_groups, group_size, **config.env.kwargs)
    objective = dict(config.objective)
    if "_target_" not in objective:
        raise ValueError("objective has no _target_: name a transform, as conf/objective/ does")
    transform = get_method(objective.pop("_target_"))
    coefficients = instantiate(own_arguments(transform, objective), _convert_="all")
    common = {"env": env, "seed": config.seed, **arguments}
    if transform is pkpo:
        return PKPO(**coefficients, **common)
    return GroupPolicyGradient(transform=transform, transform_kwargs=coefficients, **common)


def own_arguments(transform: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The objective's arguments, for a function that may have been named in its place.

    With ``objective._target_=my_module.my_transform`` the objective's file is still another
    function's: those of its arguments that this one does not take are left out, and said to be.

    :raises ValueError: if the function does not take an argument that the user gave it
    """
    given = [override.lstrip("+~").partition("=")[0] for override in task_overrides()]
    if "objective._target_" in given:
        takes = signature(transform).parameters
        keywords = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        foreign = [
            name
            for name in arguments
            if not keywords and name not in takes and f"objective.{name}" not in given
        ]
        if foreign:
            print(f"{transform.__name__} takes no {', '.join(foreign)}: left out", flush=True)
        arguments = {name: value for name, value in arguments.items() if name not in foreign}
    try:
        signature(transform).bind(None, **arguments)
    except TypeError as error:
        raise ValueError(
            f"{transform.__name__} does not take the arguments {arguments}: {error}"
        ) from None
    return arguments


def task_overrides() -> list[str]:
    """What the command line says, outside of Hydra's own configuration."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def callbacks(config: TrainConfig) -> "list[BaseCallback]":
    """The metrics that a config asks for, and the user's own callbacks."""
    from hydra.utils import instantiate

    from pkpo_sandbox.groups import make_group_env
    from pkpo_sandbox.metrics import ExactCallback, GroupEvalCallback, SolveRateCallback

    metrics, group_size = config.metrics, config.algorithm.group_size
    chosen: list[BaseCallback] = []
    if metrics.solve_threshold is not None:
        chosen.append(SolveRateCallback(metrics.solve_threshold))
    if metrics.exact_ks and has_exact_solution(config):
        chosen.append(ExactCallback(world(config), metrics.exact_ks, metrics.eval_freq))
    if metrics.eval_groups > 0:
        env = make_group_env(config.env.id, metrics.eval_groups, group_size, **config.env.kwargs)
        chosen.append(GroupEvalCallback(env, metrics.eval_groups, group_size, metrics.eval_freq))
    return [*chosen, *instantiate(config.callbacks, _convert_="all").values()]


def world(config: TrainConfig) -> "gymnasium.Env":
    """One scalar env of the config's kind."""
    import gymnasium

    return gymnasium.make(config.env.id, **config.env.kwargs)


def has_exact_solution(config: TrainConfig) -> bool:
    return hasattr(world(config).unwrapped, "exact")


def exact(model: "GroupPolicyGradient", config: TrainConfig) -> dict[str, Any]:
    """What the policy learned, in exact values for each k, where the world knows them."""
    from pkpo_sandbox.algorithm import powers_of_two
    from pkpo_sandbox.metrics import exact_values

    if not has_exact_solution(config):
        return {}
    ks, k = set(powers_of_two(model.group_size)), config.objective.get("k")
    if isinstance(k, int):
        ks.add(k)
    values = exact_values(model, world(config), sorted(ks))
    return {"exact": {str(k): facts for k, facts in values.items()}}


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    from importlib.metadata import version

    packages = ("pkpo-sandbox", "torch", "stable-baselines3", "gymnasium", "numpy", "hydra-core")
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


def run(config: DictConfig) -> None:
    """Do one job, train or measure, and write its folder; the summary last."""
    import torch

    from pkpo_sandbox.runs import read_summary, write_atomically, write_summary

    folder = Path(HydraConfig.get().runtime.output_dir)
    with readable(ValueError):
        if read_summary(folder) is not None:
            print(f"finished before: {folder}", flush=True)
            return
    started = time.perf_counter()
    torch.set_num_threads(1)  # more threads make small networks slower, and runs share the cores
    with readable(Exception):  # before training, whatever goes wrong is in what the user wrote
        settings = checked(config)
        job = prepare(settings, folder)
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    with readable(ValueError):
        results = job()
    seconds = time.perf_counter() - started
    summary = {"config": resolved(config), "seed": settings.seed, **results}
    summary |= {"versions": versions(), "wall_time_seconds": round(seconds, 3)}
    write_summary(folder, summary)
    print(f"finished in {seconds:.1f} s: {folder}", flush=True)


def prepare(config: TrainConfig, folder: Path) -> Callable[[], dict[str, Any]]:
    """Build all that a job needs. What is returned does the job and returns its results."""
    from hydra.utils import instantiate

    if config.measure is not None:
        measure = instantiate(config.measure, _partial_=True, _convert_="all")
        return lambda: {"measurements": measure()}
    model, watchers = build(config), callbacks(config)
    return lambda: train(model, watchers, config, folder)


def train(
    model: "GroupPolicyGradient",
    watchers: "list[BaseCallback]",
    config: TrainConfig,
    folder: Path,
) -> dict[str, Any]:
    """Train, write progress and model, and return the final metrics and exact values."""
    from stable_baselines3.common.logger import configure

    from pkpo_sandbox.runs import read_progress

    model.set_logger(configure(str(folder), config.log_formats))
    model.learn(
        config.total_timesteps,
        watchers,
        log_interval=config.log_interval,
        progress_bar=config.progress_bar,
    )
    model.logger.close()
    model.save(folder / "model.zip")
    final = read_progress(folder).iloc[-1].dropna().to_dict()
    return {"final": final, **exact(model, config)}


ConfigStore.instance().store(name="schema", node=TrainConfig)
OmegaConf.register_new_resolver("run_id", run_id, replace=True)


def main() -> None:
    """The command ``pkpo-train``; modules in the working directory can be named in configs."""
    sys.path.insert(0, os.getcwd())
    decorate = hydra.main(
        version_base="1.3", config_path="pkg://pkpo_sandbox.conf", config_name="train"
    )
    decorate(run)()


if __name__ == "__main__":
    # Worker processes import the task by its module's name, which is not __main__.
    from pkpo_sandbox.train import main as imported_main

    imported_main()
