"""The columns of a vector env: how any Gymnasium env is made into them, and what they report.

Knows NumPy and Gymnasium only: each process of an async vector env imports this, and no torch.
"""

import multiprocessing
import os
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from pkpo_envs.seeded_problems import SeededProblems

VECTORIZATIONS = ("native", "sync", "async")


class ColumnProblem(gymnasium.Wrapper):
    """Picks one column's entry from ``reset(options={"problem": array})``.

    ``SyncVectorEnv`` hands the same options to every env; this gives each its own problem.
    """

    def __init__(self, env: gymnasium.Env, column: int) -> None:
        super().__init__(env)
        self.column = column

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if options and "problem" in options:
            options = {**options, "problem": int(np.asarray(options["problem"])[self.column])}
        return self.env.reset(seed=seed, options=options)


def make_columns(
    env_id: str,
    n_attempts: int,
    env_kwargs: dict[str, Any],
    *,
    vectorization: str | None = None,
    num_envs: int | None = None,
    seeded_problems: int | None = None,
) -> VectorEnv:
    """Make the vector env that plays ``n_attempts`` an iteration; see ``make_group_env``.

    :raises ValueError: if an argument is out of range, or the env cannot be vectorised so
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
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    spec = gymnasium.spec(name)
    if num_envs is None:
        num_envs = min(n_attempts, usable_cores()) if vectorization == "async" else n_attempts
    if vectorization in (None, "native"):
        found = _native(spec, num_envs, n_attempts, env_kwargs, seeded_problems)
        if isinstance(found, VectorEnv):
            return found
        if vectorization == "native":
            raise ValueError(
                f"vectorization='native' cannot play {env_id}: {found}. Use vectorization='sync' "
                "or 'async'"
            )
    # Processes get the registration itself: theirs may lack an id that was registered here.
    makers = [
        partial(make_column, spec, column, env_kwargs, seeded_problems)
        for column in range(num_envs)
    ]
    if vectorization == "async":
        # A fork of a process in which torch has threads may hang.
        known = multiprocessing.get_all_start_methods()
        context = "forkserver" if "forkserver" in known else "spawn"
        return AsyncVectorEnv(makers, context=context, autoreset_mode=AutoresetMode.DISABLED)
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)


def make_column(
    spec: EnvSpec, column: int, env_kwargs: dict[str, Any], seeded_problems: int | None
) -> gymnasium.Env:
    """Make the env of one column."""
    env = gymnasium.make(spec, **env_kwargs)
    if seeded_problems is not None:
        env = SeededProblems(env, seeded_problems)
    return ColumnProblem(env, column)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _native(
    spec: EnvSpec,
    num_envs: int,
    n_attempts: int,
    env_kwargs: dict[str, Any],
    seeded_problems: int | None,
) -> VectorEnv | str:
    """Make the env by its own vector entry point, or say why that cannot be."""
    if spec.vector_entry_point is None:
        return "it has no vector entry point"
    if seeded_problems is not None:
        return f"seeded_problems={seeded_problems} wraps single envs"
    if spec.additional_wrappers:
        return "its registration wraps single envs"
    entry_point = spec.vector_entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    make = partial(gymnasium.make_vec, spec, num_envs, "vector_entry_point", **env_kwargs)
    venv = None
    if "autoreset_mode" in signature(creator).parameters:
        # It may know other modes only; what else is wrong shows without this argument too.
        with suppress(Exception):
            venv = make(autoreset_mode=AutoresetMode.DISABLED)
    if venv is None:
        try:
            venv = make()
        except TypeError as error:
            return f"its vector entry point does not take these arguments ({error})"
    obstacle = restart_obstacle(venv, n_attempts, getattr(venv.unwrapped, "n_problems", None))
    if obstacle is None:
        return venv
    venv.close()
    return obstacle


def restart_obstacle(venv: VectorEnv, n_attempts: int, n_problems: int | None) -> str | None:
    """Say why groups cannot be played with the way in which ``venv`` restarts its columns.

    A column that restarts by itself, after a step of its own for that (NEXT_STEP), can play one
    attempt an iteration at the only problem, and is idle from then on.
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
