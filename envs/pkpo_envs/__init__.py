"""Worlds of problems for Pass@K Policy Optimization, registered with Gymnasium on import.

Each world registers itself at the end of its own file. To add a world, add its file.
"""

from importlib import import_module
from pkgutil import iter_modules

from pkpo_envs.problem_env import ProblemEnv
from pkpo_envs.problem_vector_env import ProblemVectorEnv
from pkpo_envs.seeded_problems import SeededProblems

__all__ = ["ProblemEnv", "ProblemVectorEnv", "SeededProblems"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
