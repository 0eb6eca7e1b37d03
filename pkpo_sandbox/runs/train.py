"""``pkpo-train``: a config becomes an env and an algorithm, learns, and leaves a run on disk.

Importing this module loads neither torch nor Stable-Baselines3, so that ``--help`` is quick.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from pkpo_sandbox.runs import command as sweeps
from pkpo_sandbox.runs.config import checked, readable, resolved, task_overrides, versions
from pkpo_sandbox.runs.job import perform

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3.common.callbacks import BaseCallback

    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
    from pkpo_sandbox.algorithm.groups import GroupVecEnv
    from pkpo_sandbox.runs.checkpoints import Checkpoint

PACKAGES = ("pkpo-sandbox", "torch", "stable-baselines3", "gymnasium", "numpy", "hydra-core")


@dataclass
class EnvConfig:
    """What to play: a Gymnasium id, with the module to import before a colon.

    The rest is as in ``pkpo_sandbox.algorithm.groups.make_group_env``.
    """

    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    vectorization: str | None = None  # native, sync or async; None: native where it can be
    num_envs: int | None = None  # None: one for each attempt
    max_episode_steps: int | None = None  # None: the env's own limit
    seeded_problems: int | None = None  # starts that groups share, of an env without problems

    def __post_init__(self) -> None:
        if self.vectorization == "async" and self.num_envs is None:
            raise ValueError(
                "env.vectorization=async needs env.num_envs, how many processes: results depend on "
                "it, and a default by the number of cores would differ from machine to machine"
            )


@dataclass
class AlgorithmConfig:
    """Arguments of ``pkpo_sandbox.GroupPolicyGradient``, under their names there."""

    policy: str | None = None  # None: by the observations, Mlp-, Cnn- or MultiInputPolicy
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
    exact_ks: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])  # where there are any
    eval_groups: int = 0  # fresh groups that max@k is estimated on; 0 for none
    solve_threshold: float | None = None  # of a solved problem; None: the env's reward_threshold

    def __post_init__(self) -> None:
        for name, bound in (("eval_freq", 1), ("eval_groups", 0)):
            if getattr(self, name) < bound:
                raise ValueError(f"metrics.{name}={getattr(self, name)} must be at least {bound}")
        if self.solve_threshold is not None and math.isnan(self.solve_threshold):
            raise ValueError("metrics.solve_threshold=nan is reached by no return: give a number")


@dataclass
class TrainConfig:
    """One run. ``objective`` names a transform and its arguments, ``callbacks`` SB3 callbacks.

    ``measure``, if given, names a function of :mod:`pkpo_sandbox.metrics.estimators` to call
    instead of training; it returns rows.
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
    checkpoint_every: int | None = None  # timesteps; None: a stopped run starts anew
    score: str | None = None  # an entry of the summary, for a search to maximise
    measure: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        bounds = {"total_timesteps": 1, "seed": 0, "log_interval": 1, "checkpoint_every": 1}
        for name, bound in bounds.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name}={value} must be at least {bound}")
            if value is not None and value > 2**53:  # a float has every integer up to here
                raise ValueError(f"{name}={value} must be at most 2**53")
        if "csv" not in self.log_formats:
            raise ValueError(
                f"log_formats={list(self.log_formats)} must contain csv, which a run is read from"
            )


def build(config: TrainConfig) -> "GroupPolicyGradient":
    """Make the env and the algorithm that a config describes."""
    from hydra.utils import instantiate

    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
    from pkpo_sandbox.algorithm.pkpo import PKPO
    from pkpo_sandbox.algorithm.spaces import policy_for
    from pkpo_sandbox.transforms import pkpo

    check_device(config.algorithm.device)
    arguments = instantiate(dataclasses.asdict(config.algorithm), _convert_="all")
    env = group_env(config, config.algorithm.n_groups)
    arguments["policy"] = arguments["policy"] or policy_for(env.observation_space)
    objective = dict(config.objective)
    transform = transform_of(objective)
    del objective["_target_"]
    coefficients = instantiate(check_arguments(transform, objective), _convert_="all")
    common = {"env": env, "seed": config.seed, **arguments}
    if transform is pkpo:
        return PKPO(**coefficients, **common)
    return GroupPolicyGradient(transform=transform, transform_kwargs=coefficients, **common)


def check_device(device: str) -> None:
    """Refuse a GPU that is not there: SB3 would take the CPU, and the config say otherwise."""
    import torch

    if device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"algorithm.device={device}, but torch finds no GPU here: write cpu, or auto for a GPU "
            "where there is one"
        )


def transform_of(objective: Mapping[Any, Any]) -> Callable[..., Any]:
    """The function that an objective's ``_target_`` names."""
    from hydra.utils import get_method

    name = objective.get("_target_")
    if not isinstance(name, str):
        raise ValueError(
            f"objective._target_={name} names no transform: write one's name, as conf/objective/ "
            "does"
        )
    return get_method(name)


def check_arguments(transform: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, if the transform takes them; else a ValueError."""
    try:
        signature(transform).bind(None, **arguments)
    except TypeError as error:
        raise ValueError(
            f"{name_of(transform)} does not take the arguments {arguments}: {error}"
        ) from None
    return arguments


def name_of(transform: Callable[..., Any]) -> str:
    """Its name; a partial or another object that can be called has none, but a class."""
    return getattr(transform, "__name__", type(transform).__name__)


def own_objective(config: DictConfig) -> DictConfig:
    """The config without arguments of an objective whose function was named in another's place.

    With ``objective._target_=my_module.my_transform`` the objective's file is still another
    function's: those of its arguments that this one does not take, and that the user did not give,
    are left out, and said to be.
    """
    given = [override.lstrip("+~").partition("=")[0] for override in task_overrides()]
    if "objective._target_" not in given:
        return config
    transform = transform_of(config.objective)
    takes = signature(transform).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return config
    known = {*takes, "_target_", *(name.removeprefix("objective.") for name in given)}
    if foreign := [str(name) for name in config.objective if name not in known]:
        print(f"{name_of(transform)} takes no {', '.join(foreign)}: left out", flush=True)
    config = copy.deepcopy(config)
    with open_dict(config):
        for name in foreign:
            del config.objective[name]
    return config


def callbacks(config: TrainConfig) -> "list[BaseCallback]":
    """The metrics that a config asks for, and the user's own callbacks."""
    from hydra.utils import instantiate
    from stable_baselines3.common.callbacks import BaseCallback

    from pkpo_sandbox.metrics.callbacks import ExactCallback, GroupEvalCallback, SolveRateCallback

    metrics, group_size = config.metrics, config.algorithm.group_size
    chosen: list[BaseCallback] = []
    alone = world(config)
    threshold = metrics.solve_threshold
    if threshold is None and alone.spec is not None:
        threshold = alone.spec.reward_threshold
    if threshold is not None:
        chosen.append(SolveRateCallback(threshold))
    if metrics.exact_ks and has_exact_solution(alone):
        chosen.append(ExactCallback(alone, metrics.exact_ks, metrics.eval_freq))
    if metrics.eval_groups > 0:
        env = group_env(config, metrics.eval_groups)
        # By the run's seed: the same problems and noise in all runs would hide their error, for
        # an interval over seeds shows only what differs between them.
        chosen.append(
            GroupEvalCallback(
                env, metrics.eval_groups, group_size, metrics.eval_freq, seed=config.seed
            )
        )
    own: Any = instantiate(config.callbacks, _convert_="all")
    for name, callback in own.items() if isinstance(own, dict) else [("_target_", own)]:
        if not isinstance(callback, BaseCallback):
            raise ValueError(
                f"callbacks.{name} is a {type(callback).__name__}: give it a _target_ that names a "
                "callback of Stable-Baselines3 or your own, as in +callbacks.mine._target_=..."
            )
    return [*chosen, *own.values()]


def group_env(config: TrainConfig, n_groups: int) -> "GroupVecEnv":
    """The config's env, for so many groups of attempts."""
    from pkpo_sandbox.algorithm.groups import make_group_env

    given = dataclasses.asdict(config.env)
    env_id, kwargs = given.pop("id"), given.pop("kwargs")
    arguments = {name: value for name, value in given.items() if value is not None}
    if taken := sorted({"env_id", "n_groups", "group_size", *given} & kwargs.keys()):
        raise ValueError(
            f"env.kwargs has {', '.join(taken)}, which is not for the env itself: set it beside "
            "env.kwargs, or in algorithm"
        )
    return make_group_env(env_id, n_groups, config.algorithm.group_size, **arguments, **kwargs)


def world(config: TrainConfig) -> "gymnasium.Env":
    """One scalar env of the config's kind."""
    import gymnasium

    limit = config.env.max_episode_steps
    limited = {} if limit is None else {"max_episode_steps": limit}
    return gymnasium.make(config.env.id, **limited, **config.env.kwargs)


def has_exact_solution(env: "gymnasium.Env") -> bool:
    """Whether a world knows exact values, of episodes that no time limit cuts short."""
    limited = env.spec is not None and env.spec.max_episode_steps is not None
    return hasattr(env.unwrapped, "exact") and not limited


def exact(model: "GroupPolicyGradient", config: TrainConfig) -> dict[str, Any]:
    """What the policy learned, in exact values for each k, where the world knows them."""
    from pkpo_sandbox.metrics.exact import exact_values
    from pkpo_sandbox.transforms import powers_of_two

    alone = world(config)
    if not has_exact_solution(alone):
        return {}
    ks, k = set(powers_of_two(model.group_size)), config.objective.get("k")
    if isinstance(k, int):
        ks.add(k)
    values = exact_values(model, alone, sorted(ks))
    return {"exact": {str(k): facts for k, facts in values.items()}}


def run(config: DictConfig) -> float | None:
    """Do one job, train or measure; returns the score, if one is named."""
    return perform(config, work)


def work(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Train or measure, and return what the summary says of it."""
    import torch

    from pkpo_sandbox.runs.folder import write_atomically

    torch.set_num_threads(1)  # more threads make small networks slower, and runs share the cores
    with readable(Exception):  # before training, whatever goes wrong is in what the user wrote
        config = own_objective(config)
        job = prepare(checked(config, TrainConfig(), "pkpo-train"), folder)
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    with readable(ValueError, ImportError, OSError, MemoryError):
        return {"config": resolved(config), **job(), "versions": versions(*PACKAGES)}


def prepare(config: TrainConfig, folder: Path) -> Callable[[], dict[str, Any]]:
    """Build all that a job needs. What is returned does the job and returns its results."""
    from hydra.utils import instantiate

    if config.measure is not None:
        measure = instantiate(config.measure, _partial_=True, _convert_="all")
        return lambda: {"measurements": measure()}
    model, watchers = build(config), callbacks(config)

    def job() -> dict[str, Any]:
        with ExitStack() as stack:  # the processes of an async env end with the job
            for env in (model.env, *(getattr(watcher, "eval_env", None) for watcher in watchers)):
                if env is not None:
                    stack.callback(env.close)
            return train(model, watchers, config, folder)

    return job


def train(
    model: "GroupPolicyGradient",
    watchers: "list[BaseCallback]",
    config: TrainConfig,
    folder: Path,
) -> dict[str, Any]:
    """Train, write progress and model, and return the final metrics and exact values."""
    from pkpo_sandbox.runs.logs import make_logger
    from pkpo_sandbox.runs.tables import read_progress

    model.set_logger(make_logger(folder, config.log_formats, dataclasses.asdict(config)))
    resumed = False
    if config.checkpoint_every is not None:
        checkpoint = make_checkpoint(model, watchers, config, folder)
        resumed = checkpoint.restore(model)
        if resumed:
            print(f"continues at timestep {model.num_timesteps}: {folder}", flush=True)
        watchers = [*watchers, checkpoint]
    model.learn(
        config.total_timesteps - model.num_timesteps,
        watchers,
        log_interval=config.log_interval,
        reset_num_timesteps=not resumed,
        progress_bar=config.progress_bar,
    )
    model.logger.close()
    model.save(folder / "model.zip")
    final = read_progress(folder).iloc[-1].dropna().to_dict()
    return {"final": final, **exact(model, config)}


def make_checkpoint(
    model: "GroupPolicyGradient",
    watchers: "list[BaseCallback]",
    config: TrainConfig,
    folder: Path,
) -> "Checkpoint":
    """The callback that lets a stopped run continue."""
    from pkpo_sandbox.runs.checkpoints import Checkpoint
    from pkpo_sandbox.runs.folder import CHECKPOINT

    assert config.checkpoint_every is not None
    return Checkpoint(folder / CHECKPOINT, config.checkpoint_every, config.seed, watchers)


ConfigStore.instance().store(name="schema", node=TrainConfig)


def main() -> None:
    """The command ``pkpo-train``."""
    sweeps.main(run, "train")


if __name__ == "__main__":
    # Worker processes import the task by its module's name, which is not __main__.
    from pkpo_sandbox.runs.train import main as imported_main

    imported_main()
