"""What the final policy of a run achieves: in exact values, or on episodes of its own."""

import math
from typing import TYPE_CHECKING, Any

from pkpo_sandbox.runs.build import world
from pkpo_sandbox.runs.config import TrainConfig, one_line
from pkpo_sandbox.runs.console import say

if TYPE_CHECKING:
    from pkpo_sandbox.algorithm.group_policy_gradient import GroupPolicyGradient

EPISODES = 64  #: at least so many are played, in whole iterations


def outcome(model: "GroupPolicyGradient", config: TrainConfig) -> dict[str, Any]:
    """What the policy learned: "exact" where the world has exact values, else "evaluation"."""
    from pkpo_envs.conventions import has_exact_solution

    alone = world(config)
    if alone is not None and has_exact_solution(alone):
        return {"exact": exact(model, config)}
    try:
        values = evaluation(model, config.seed, ks_of(model, config))
    except Exception as error:  # of the env: what was learned is worth more than an evaluation
        say(f"the final policy could not be evaluated: {one_line(error)}", error=True)
        return {"evaluation": {"error": one_line(error)}}
    say(
        f"final policy: mean return {values['mean_return']:.6g}, standard error "
        f"{values['standard_error']:.2g}, of {values['episodes']} episodes"
    )
    return {"evaluation": values}


def exact(model: "GroupPolicyGradient", config: TrainConfig) -> dict[str, Any]:
    """The exact values of the policy for each k: {"8": {"max_at_k": 0.94, ...}}."""
    from pkpo_sandbox.metrics.exact import exact_values

    alone = world(config)
    assert alone is not None
    values = exact_values(model, alone, ks_of(model, config))
    return {str(k): facts for k, facts in values.items()}


def evaluation(model: "GroupPolicyGradient", seed: int, ks: list[int]) -> dict[str, Any]:
    """What the policy earns on fresh groups, with actions drawn as in training.

    It plays whole iterations of ``n_groups`` groups until there are at least 64 episodes and two
    groups. The env is that of the training, which is over.

    :return: "episodes", their number; "mean_return", undiscounted, with its "standard_error" over
        groups; "max_at_{k}", estimated, for each k
    """
    import torch

    from pkpo_sandbox.algorithm.streams import stream_seed
    from pkpo_sandbox.metrics.evaluation import evaluate_groups
    from pkpo_sandbox.transforms import max_at_k

    env = model.get_env()
    assert env is not None
    iterations = math.ceil(EPISODES / (model.n_groups * model.group_size))
    iterations = max(iterations, math.ceil(2 / model.n_groups))  # one group has no standard error
    played = [
        evaluate_groups(
            model, env, model.n_groups, model.group_size, seed=stream_seed(seed, "outcome", number)
        )
        for number in range(iterations)
    ]
    returns = torch.cat(played)
    means = returns.mean(-1)
    return {
        "episodes": returns.numel(),
        "mean_return": returns.mean().item(),
        "standard_error": means.std().item() / math.sqrt(len(means)),
        **{f"max_at_{k}": max_at_k(returns, k).mean().item() for k in ks},
    }


def ks_of(model: "GroupPolicyGradient", config: TrainConfig) -> list[int]:
    """Powers of two up to the size of a group, and the k of the objective."""
    from pkpo_sandbox.transforms import powers_of_two

    k = config.objective.get("k")
    return sorted({*powers_of_two(model.group_size), *([k] if isinstance(k, int) else [])})
