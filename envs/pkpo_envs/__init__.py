"""Worlds of problems for Pass@K Policy Optimization, registered with Gymnasium on import."""

import gymnasium

from pkpo_envs.problem_env import ProblemEnv, ProblemVectorEnv

__all__ = ["ProblemEnv", "ProblemVectorEnv"]

gymnasium.register(
    id="pkpo/Bandit-v0",
    entry_point="pkpo_envs.bandit:BanditEnv",
    vector_entry_point="pkpo_envs.bandit:BanditVectorEnv",
)
gymnasium.register(
    id="pkpo/Cliff1D-v0",
    entry_point="pkpo_envs.cliff_1d:Cliff1DEnv",
    vector_entry_point="pkpo_envs.cliff_1d:Cliff1DVectorEnv",
)
gymnasium.register(
    id="pkpo/ProblemSet-v0",
    entry_point="pkpo_envs.problem_set:ProblemSetEnv",
    vector_entry_point="pkpo_envs.problem_set:ProblemSetVectorEnv",
)
