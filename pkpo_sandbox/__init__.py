"""Pass@K Policy Optimization in toy worlds (arXiv 2505.15201).

The public names load on first use, so that ``import pkpo_sandbox`` costs nothing:
the transforms need torch alone, the algorithms Stable-Baselines3 as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pkpo_sandbox.algorithm import PKPO as PKPO
    from pkpo_sandbox.algorithm import GroupPolicyGradient as GroupPolicyGradient
    from pkpo_sandbox.groups import GroupVecEnv as GroupVecEnv
    from pkpo_sandbox.groups import make_group_env as make_group_env
    from pkpo_sandbox.transforms import max_at_k as max_at_k
    from pkpo_sandbox.transforms import pass_at_k as pass_at_k
    from pkpo_sandbox.transforms import pkpo as pkpo
    from pkpo_sandbox.transforms import rloo as rloo

_HOME = {
    "GroupPolicyGradient": "algorithm",
    "PKPO": "algorithm",
    "GroupVecEnv": "groups",
    "make_group_env": "groups",
    "max_at_k": "transforms",
    "pass_at_k": "transforms",
    "pkpo": "transforms",
    "rloo": "transforms",
}
__all__ = [
    "PKPO",
    "GroupPolicyGradient",
    "GroupVecEnv",
    "make_group_env",
    "max_at_k",
    "pass_at_k",
    "pkpo",
    "rloo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
