from .algorithm.group_policy_gradient import GroupPolicyGradient
from .algorithm.groups import GroupVecEnv, make_group_env
from .algorithm.pkpo import PKPO
from .figures import plotting
from .metrics.evaluation import evaluate_groups
from .runs.loading import load_model
from .runs.tables import load_runs
from .transforms import (
    dr_grpo,
    grpo,
    max_at_k,
    max_rl,
    pass_at_k,
    passk_training,
    pkpo,
    reinforce,
    rloo,
    rs_grpo,
    tail_rl,
)

__all__ = [
    "PKPO",
    "GroupPolicyGradient",
    "GroupVecEnv",
    "dr_grpo",
    "evaluate_groups",
    "grpo",
    "load_model",
    "load_runs",
    "make_group_env",
    "max_at_k",
    "max_rl",
    "pass_at_k",
    "passk_training",
    "pkpo",
    "plotting",
    "reinforce",
    "rloo",
    "rs_grpo",
    "tail_rl",
]
