"""Builds what a config describes: the env, the algorithm and the callbacks of a run.

Importing this module loads neither torch nor Stable-Baselines3.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pkpo_sandbox.runs.config import TrainConfig, checked

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3.common.callbacks import BaseCallback

    from pkpo_envs.columns import EnvWrapper
    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
    from pkpo_sandbox.algorithm.groups import GroupVecEnv

#: entries of ``policy_kwargs`` that are classes; a config names them by their paths
CLASSES = ("activation_fn", "features_extractor_class", "optimizer_class")


def build(config: TrainConfig | DictConfig) -> "GroupPolicyGradient":
    """Make the env and the algorithm that a config describes.

    :param config: from Hydra's ``compose("train", [...])``, or a :class:`TrainConfig`
    :return: an untrained algorithm, with its env
    :raises ValueError: for an unknown key, or a value that is missing or out of range
    """
    from hydra.utils import instantiate

    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient
    from pkpo_sandbox.algorithm.pkpo import PKPO
    from pkpo_sandbox.algorithm.spaces import policy_for
    from pkpo_sandbox.transforms import pkpo

    config = checked(config, TrainConfig)
    check_device(config.algorithm.device)
    arguments = instantiate(dataclasses.asdict(config.algorithm), _convert_="all")
    arguments["policy_kwargs"] = with_classes(arguments["policy_kwargs"])
    transform, coefficients = objective_of(config.objective)
    algorithm: Any = PKPO
    if transform is not pkpo:
        algorithm = GroupPolicyGradient
        coefficients = {"transform": transform, "transform_kwargs": coefficients}
    env = group_env(config, config.algorithm.n_groups)
    try:
        arguments["policy"] = arguments["policy"] or policy_for(env.observation_space)
        return algorithm(env=env, seed=config.seed, **coefficients, **arguments)
    except BaseException:
        env.close()  # it may have started processes
        raise


def check_device(device: str) -> None:
    """Raise a ValueError for a GPU that is not there. SB3 would use the CPU without an error."""
    import torch

    if device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"algorithm.device={device}, but torch finds no GPU here: write cpu, or auto, which "
            "uses a GPU if there is one"
        )


def with_classes(policy_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Replace the paths in ``policy_kwargs``, such as "torch.nn.ReLU", by their classes.

    :raises ValueError: if a path names no class
    """
    from hydra.utils import get_class

    found = dict(policy_kwargs)
    for name in CLASSES:
        path = found.get(name)
        if not isinstance(path, str):
            continue
        try:
            found[name] = get_class(path)
        except Exception as error:  # Hydra and the imported module raise errors of many types
            reason = " ".join(str(error).split())
            raise ValueError(
                f"algorithm.policy_kwargs.{name}={path} names no class ({reason}): give the path "
                "of one, such as torch.nn.ReLU or my_module.MyClass"
            ) from error
    return found


def objective_of(objective: Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The transform that an objective names, and its coefficients.

    :raises ValueError: if it names no function, or the function does not take these coefficients
    """
    from hydra.utils import get_method, instantiate

    name = objective.get("_target_")
    if not isinstance(name, str):
        raise ValueError(
            f"objective._target_={name} names no transform: choose one of the objectives that "
            "pkpo-train --help lists, or name a function, objective._target_=my_module.my_function"
        )
    transform = get_method(name)
    coefficients = {key: value for key, value in objective.items() if key != "_target_"}
    try:
        parameters = signature(transform)
    except ValueError:  # some C functions have no signature; the algorithm tests it on a group
        return transform, instantiate(coefficients, _convert_="all")
    try:
        parameters.bind(None, **coefficients)
    except TypeError as error:
        own = getattr(transform, "__name__", type(transform).__name__)
        names = ", ".join(list(parameters.parameters)[1:]) or "none"
        raise ValueError(
            f"{own} does not take the arguments {coefficients}: {error}. It takes {names}. (Do not "
            "combine objective._target_ with objective=, which sets another function's arguments)"
        ) from None
    return transform, instantiate(coefficients, _convert_="all")


def callbacks(config: TrainConfig, given: Sequence[str] = ()) -> "list[BaseCallback]":
    """The callbacks of a run: its metrics, and the user's own callbacks.

    :param given: keys that the user set
    :raises ValueError: if the user set a metric that cannot be measured
    """
    from pkpo_envs.columns import find_spec
    from pkpo_envs.conventions import has_exact_solution
    from pkpo_sandbox.metrics.callbacks import ExactCallback, GroupEvalCallback, SolveRateCallback

    metrics, group_size = config.metrics, config.algorithm.group_size
    chosen: list[BaseCallback] = []
    alone = world(config)
    threshold = metrics.solve_threshold
    if threshold is None:
        threshold = find_spec(config.env.id).reward_threshold
    if threshold is not None:
        chosen.append(SolveRateCallback(threshold))
    is_exact = alone is not None and has_exact_solution(alone)
    refuse_unmeasured(config, given, is_exact)
    if metrics.exact_ks and alone is not None and is_exact:
        chosen.append(ExactCallback(alone, metrics.exact_ks, metrics.eval_freq))
    own = own_callbacks(config.callbacks)
    if metrics.eval_groups > 0:
        env = group_env(config, metrics.eval_groups)
        # Each run evaluates on its own problems. The error from the choice of problems then
        # differs between runs, so an interval over seeds includes it.
        chosen.append(
            GroupEvalCallback(
                env, metrics.eval_groups, group_size, metrics.eval_freq, seed=config.seed
            )
        )
    return [*chosen, *own]


def refuse_unmeasured(config: TrainConfig, given: Sequence[str], is_exact: bool) -> None:
    """Raise a ValueError if the user set a metric that would not be measured."""
    metrics = config.metrics
    if "metrics.exact_ks" in given and metrics.exact_ks and not is_exact:
        raise ValueError(
            f"metrics.exact_ks={metrics.exact_ks} would change nothing: {config.env.id} has no "
            "exact values here (with a time limit that cuts episodes short no env has them). Leave "
            "it out, or estimate max@k by metrics.eval_groups=64"
        )
    measured = metrics.eval_groups > 0 or (is_exact and metrics.exact_ks)
    if "metrics.eval_freq" in given and not measured:
        raise ValueError(
            f"metrics.eval_freq={metrics.eval_freq} would change nothing, because no metric here "
            "uses it: leave it out, or give metrics.eval_groups=64 to estimate max@k"
        )


def own_callbacks(named: dict[str, Any]) -> "list[BaseCallback]":
    """The user's callbacks: the node ``callbacks`` is one callback, or a mapping of several.

    :raises ValueError: if an entry is not a callback
    """
    from hydra.utils import instantiate
    from stable_baselines3.common.callbacks import BaseCallback

    own: Any = instantiate(named, _convert_="all")
    entries = own if isinstance(own, dict) else {"_target_": own}
    for name, callback in entries.items():
        if not isinstance(callback, BaseCallback):
            raise ValueError(
                f"callbacks.{name} is a {type(callback).__name__}: give it a _target_ that names a "
                "callback of Stable-Baselines3 or your own, as in callbacks.mine._target_=..."
            )
    return list(entries.values())


def group_env(config: TrainConfig, n_groups: int) -> "GroupVecEnv":
    """The config's env, for ``n_groups`` groups of attempts."""
    from pkpo_sandbox.algorithm.groups import make_group_env

    given = dataclasses.asdict(config.env)
    env_id, kwargs = given.pop("id"), given.pop("kwargs")
    arguments = {name: value for name, value in given.items() if value is not None}
    arguments["wrappers"] = wrappers(config)
    if taken := sorted({"env_id", "n_groups", "group_size", *given} & kwargs.keys()):
        raise ValueError(
            f"env.kwargs has {', '.join(taken)}, which is no argument of the env itself: set it in "
            "env, next to env.kwargs, or in algorithm"
        )
    return make_group_env(env_id, n_groups, config.algorithm.group_size, **arguments, **kwargs)


def wrappers(config: TrainConfig) -> "list[EnvWrapper]":
    """The wrappers of the config's env, as functions that take an env.

    :raises ValueError: if an entry of ``env.wrappers`` has no ``_target_``
    """
    from hydra.utils import instantiate

    for number, entry in enumerate(config.env.wrappers):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("_target_"), str):
            raise ValueError(
                f"env.wrappers[{number}] is {entry!r}: name a wrapper class by a _target_, as in "
                "env.wrappers=[{_target_: minigrid.wrappers.ImgObsWrapper}]"
            )
    return [instantiate(entry, _partial_=True, _convert_="all") for entry in config.env.wrappers]


def world(config: TrainConfig, **kwargs: Any) -> "gymnasium.Env | None":
    """One env of the config, with its wrappers. None if only a vector env is registered.

    :param kwargs: further arguments of its constructor
    """
    from pkpo_envs.columns import make_world

    kwargs = {**config.env.kwargs, **kwargs}
    if config.env.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.env.max_episode_steps
    return make_world(config.env.id, kwargs, wrappers(config))
