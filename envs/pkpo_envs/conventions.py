"""What an env may say of itself by attributes: how many problems it has, and its exact solution.

An env that was not written for groups may use the same names for something else. What does not
have the form described here is not meant for groups, and is left alone.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

#: wrappers that change nothing that an env does
CHECKERS = (OrderEnforcing, PassiveEnvChecker)


def problem_count(value: Any) -> int | None:
    """The number of problems that the value of an attribute ``n_problems`` stands for.

    :return: None if the value is not an integer: the attribute means something else
    :raises ValueError: for an integer below 1
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    if value < 1:
        raise ValueError(
            f"the env has n_problems={value}, but an env has at least 1 problem: set n_problems to "
            "how many there are, or give the attribute another name if it means something else"
        )
    return int(value)


def problems_of(env: gymnasium.Env | VectorEnv) -> int | None:
    """The number of problems that an env or a wrapper around it says that it has.

    :return: None if it says nothing of problems
    :raises ValueError: if it is below 1
    """
    if isinstance(env, VectorEnv):
        return problem_count(_attribute(env.unwrapped, "n_problems"))
    try:
        value = env.get_wrapper_attr("n_problems")
    except Exception:  # none, or a property of another meaning that fails
        return None
    return problem_count(value)


def exact_solution(world: gymnasium.Env) -> Callable[..., dict[str, Any]] | None:
    """The method ``exact`` of a world, if it is one that gives the exact values of a policy.

    :return: a function (k, probabilities) or (k, mean, std), None if there is none
    """
    exact: Any = _attribute(world.unwrapped, "exact")
    if not callable(exact):
        return None
    try:
        call = signature(exact)
    except (TypeError, ValueError):  # of some functions that are not Python's
        return None
    if next(iter(call.parameters), None) != "k":
        return None
    for names in (("probabilities",), ("mean", "std")):
        try:
            call.bind(1, **dict.fromkeys(names))
        except TypeError:
            continue
        return cast("Callable[..., dict[str, Any]]", exact)
    return None


def decision_observations(world: gymnasium.Env) -> Callable[[], Any] | None:
    """The method ``decision_observations`` of a world, None if there is none."""
    method = _attribute(world.unwrapped, "decision_observations")
    return method if callable(method) else None


def has_exact_solution(world: gymnasium.Env) -> bool:
    """Whether a world knows the exact values of a policy that plays in it.

    Not behind a wrapper: a time limit, a changed reward or other actions make another world.
    """
    env = world
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, CHECKERS):
            return False
        env = env.env
    return exact_solution(world) is not None


def _attribute(env: Any, name: str) -> Any:
    """An attribute, None if there is none or a property of that name fails."""
    try:
        return getattr(env, name, None)
    except Exception:
        return None
