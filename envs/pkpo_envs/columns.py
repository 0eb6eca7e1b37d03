"""Make the columns that play groups from an env id, or explain why an env cannot be vectorised.

Imports NumPy and Gymnasium only, no torch.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, _find_spec, load_env_creator
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from pkpo_envs.conventions import problems_of
from pkpo_envs.env_columns import EnvColumns
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.seeded_problems import SeededProblems

VECTORIZATIONS = ("native", "sync", "async")

NO_SINGLE_ENV = (
    "it is registered with a vector entry point only, and there is no single env to put in "
    "columns: register an entry_point too"
)

#: takes an env and returns a wrapped env
EnvWrapper = Callable[[gymnasium.Env], gymnasium.Env]


class ColumnProblem(gymnasium.Wrapper):
    """Picks one column's entry from ``reset(options={"problem": array})``.

    For Gymnasium's vector envs, which pass the same options to every env.
    """

    def __init__(self, env: gymnasium.Env, column: int) -> None:
        super().__init__(env)
        self.column = column

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if options and "problem" in options:
            problem = np.asarray(options["problem"])
            options = {**options, "problem": int(problem[self.column] if problem.ndim else problem)}
        return self.env.reset(seed=seed, options=options)


def make_columns(
    env_id: str,
    n_attempts: int,
    env_kwargs: dict[str, Any],
    *,
    vectorization: str | None = None,
    num_envs: int | None = None,
    seeded_problems: int | None = None,
    wrappers: Sequence[EnvWrapper] = (),
) -> VectorEnv:
    """Make the vector env that plays ``n_attempts`` per iteration. See ``make_group_env``.

    :raises ValueError: if an argument is out of range, or the env cannot be vectorised this way
    """
    if vectorization not in (None, *VECTORIZATIONS):
        choices = ", ".join(VECTORIZATIONS)
        raise ValueError(
            f"vectorization must be one of {choices}, or None to choose, got {vectorization!r}"
        )
    steps = env_kwargs.get("max_episode_steps")
    for name, value in (("num_envs", num_envs), ("max_episode_steps", steps)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if value is not None and not (whole and value >= 1):
            raise ValueError(f"{name} must be an integer of at least 1, or None, got {value!r}")
    check_wrappers(wrappers)
    spec = find_spec(env_id)
    if num_envs is None:
        num_envs = min(n_attempts, usable_cores()) if vectorization == "async" else n_attempts
    if vectorization in (None, "native"):
        found = _native(spec, num_envs, n_attempts, env_kwargs, seeded_problems, wrappers)
        if isinstance(found, VectorEnv):
            return found
        if vectorization == "native" or spec.entry_point is None:
            cure = "Use vectorization='sync' or 'async'" if spec.entry_point else NO_SINGLE_ENV
            raise ValueError(f"vectorization='native' cannot play {env_id}: {found}. {cure}")
    if spec.entry_point is None:
        raise ValueError(f"vectorization={vectorization!r} cannot play {env_id}: {NO_SINGLE_ENV}")
    # Pass the registration itself: an id that was registered here may be unknown in a process.
    maker = partial(make_column, spec, env_kwargs, seeded_problems, tuple(wrappers))
    return EnvColumns([maker] * num_envs, processes=vectorization == "async")


def make_column(
    spec: EnvSpec,
    env_kwargs: dict[str, Any],
    seeded_problems: int | None = None,
    wrappers: Sequence[EnvWrapper] = (),
) -> gymnasium.Env:
    """Make the env of one column as registered, then apply ``wrappers`` from first to last."""
    env: gymnasium.Env = gymnasium.make(spec, **env_kwargs)
    for wrapper in wrappers:
        env = wrapper(env)
        if not isinstance(env, gymnasium.Env):
            raise ValueError(
                f"the wrapper {wrapper} made a {type(env).__name__} of the env: it must return a "
                "Gymnasium env"
            )
    return env if seeded_problems is None else SeededProblems(env, seeded_problems)


def make_world(
    env_id: str, env_kwargs: dict[str, Any], wrappers: Sequence[EnvWrapper] = ()
) -> gymnasium.Env | None:
    """Make one env as in the columns. Return None if only a vector env is registered."""
    check_wrappers(wrappers)
    spec = find_spec(env_id)
    if spec.entry_point is not None:
        return make_column(spec, env_kwargs, wrappers=wrappers)
    if wrappers:
        raise ValueError(f"wrappers cannot be put around {env_id}: {NO_SINGLE_ENV}")
    creator: Any = _vector_creator(spec)
    if not (isinstance(creator, type) and issubclass(creator, ProblemVectorEnv)):
        return None
    kwargs = {**spec.kwargs, **env_kwargs}
    world = creator(**kwargs).world
    world.spec = copy(spec)
    world.spec.kwargs = kwargs
    return world


def find_spec(env_id: str) -> EnvSpec:
    """Find the registration of an id, with the same warnings as ``gymnasium.make``.

    :param env_id: may have the form "module:id", and may lack a version
    """
    return _find_spec(env_id)  # private: a public function would have to make the env


def check_wrappers(wrappers: Sequence[EnvWrapper]) -> None:
    """Raise a ValueError unless ``wrappers`` is a list of callables."""
    if isinstance(wrappers, str) or not isinstance(wrappers, Sequence):
        raise ValueError(f"wrappers must be a list of functions of an env, got {wrappers!r}")
    for wrapper in wrappers:
        if not callable(wrapper):
            raise ValueError(
                f"wrappers has {wrapper!r}, which cannot be called: give a wrapper class, or a "
                "functools.partial with its arguments"
            )


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _native(
    spec: EnvSpec,
    num_envs: int,
    n_attempts: int,
    env_kwargs: dict[str, Any],
    seeded_problems: int | None,
    wrappers: Sequence[EnvWrapper],
) -> VectorEnv | str:
    """Make the env by its own vector entry point, or return the reason why it cannot be used."""
    if spec.vector_entry_point is None:
        return "it has no vector entry point"
    if seeded_problems is not None:
        return f"seeded_problems={seeded_problems} wraps single envs"
    if wrappers:
        return "wrappers are for single envs"
    if spec.additional_wrappers:
        return "its registration wraps single envs"
    creator: Any = _vector_creator(spec)
    make = partial(gymnasium.make_vec, spec, num_envs, "vector_entry_point", **env_kwargs)
    venv = None
    if "autoreset_mode" in signature(creator).parameters:
        # The env may not support DISABLED. Any other error is raised again below.
        with suppress(Exception):
            venv = make(autoreset_mode=AutoresetMode.DISABLED)
    if venv is None:
        try:
            venv = make()
        except TypeError as error:
            return f"its vector entry point does not take these arguments ({error})"
    obstacle = restart_obstacle(venv, n_attempts, problems_of(venv))
    if obstacle is None:
        return venv
    venv.close()
    return obstacle


def _vector_creator(spec: EnvSpec) -> Any:
    """Return the function or class that makes the vector env of a registration, or None."""
    entry_point = spec.vector_entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def restart_obstacle(venv: VectorEnv, n_attempts: int, n_problems: int | None) -> str | None:
    """Return why the autoreset mode of ``venv`` does not suit groups, or None if it does.

    With NEXT_STEP a column restarts by itself and spends a step on it. So it needs an env with one
    problem and one column per attempt. A column is idle after its attempt.
    """
    mode = venv.metadata.get("autoreset_mode")
    if mode is AutoresetMode.DISABLED:
        return None
    if mode is not AutoresetMode.NEXT_STEP:
        return f"{venv} has autoreset_mode {mode}, but groups decide what a column plays next"
    if n_problems is not None and n_problems > 1:
        return (
            f"{venv} has autoreset_mode {mode}, but groups decide which of {n_problems} problems "
            "a column starts"
        )
    if n_attempts > venv.num_envs:
        return (
            f"{venv} has autoreset_mode {mode}, so that a column can play one attempt an iteration,"
            f" and there are {venv.num_envs} columns for {n_attempts} attempts"
        )
    return None


def adopted(venv: VectorEnv) -> VectorEnv:
    """Put the envs of a ``SyncVectorEnv`` with disabled autoreset into :class:`EnvColumns`.

    Gymnasium would batch their infos. Every other vector env is returned unchanged.
    """
    plain = type(venv) is SyncVectorEnv
    if not plain or venv.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        return venv
    return EnvColumns([partial(_itself, env) for env in venv.envs])


def _itself(env: gymnasium.Env) -> gymnasium.Env:
    return env
