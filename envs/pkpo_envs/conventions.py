"""Optional attributes of an env: its number of problems, and its exact solution.

An env that was not written for groups may use the same names for something else. An attribute
that does not have the form described here is ignored.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

#: wrappers that do not change the behaviour of an env
CHECKERS = (OrderEnforcing, PassiveEnvChecker)


def problem_count(value: Any) -> int | None:
    """Read the number of problems from the value of an attribute ``n_problems``.

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
    """Return ``n_problems`` of an env or of a wrapper around it.

    :return: None if the env does not define it
    :raises ValueError: if it is below 1
    """
    if isinstance(env, VectorEnv):
        return problem_count(_attribute(env.unwrapped, "n_problems"))
    try:
        value = env.get_wrapper_attr("n_problems")
    except Exception:  # no such attribute, or an unrelated property that fails
        return None
    return problem_count(value)


def exact_solution(world: gymnasium.Env) -> Callable[..., dict[str, Any]] | None:
    """Return the method ``exact`` of a world, if it computes the exact values of a policy.

    :return: a function (k, probabilities) or (k, mean, std), None if there is none
    """
    exact: Any = _attribute(world.unwrapped, "exact")
    if not callable(exact):
        return None
    try:
        call = signature(exact)
    except (TypeError, ValueError):  # some built-in functions have no signature
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
    """Return the method ``decision_observations`` of a world, or None if there is none."""
    method = _attribute(world.unwrapped, "decision_observations")
    return method if callable(method) else None


def has_exact_solution(world: gymnasium.Env) -> bool:
    """Whether a world knows the exact values of a policy that plays in it.

    A wrapped world does not: a time limit, a changed reward or other actions change the solution.
    """
    env = world
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, CHECKERS):
            return False
        env = env.env
    return exact_solution(world) is not None


def _attribute(env: Any, name: str) -> Any:
    """Return an attribute, or None if it is missing or its property fails."""
    try:
        return getattr(env, name, None)
    except Exception:
        return None
