"""The gradient of an iteration's loss, computed in parts of its rows."""

import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from pkpo_sandbox.algorithm import update
from pkpo_sandbox.algorithm.policies import score
from pkpo_sandbox.algorithm.rollouts import Rollout

ROWS_AT_ONCE = 4096  #: rows that are differentiated at once; this limits the memory


def backward(
    policy: ActorCriticPolicy,
    rollout: Rollout,
    weights: torch.Tensor,
    ent_coef: float = 0.0,
    clip_range: float | None = None,
    entropy_is_trained: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add the gradient of :func:`~pkpo_sandbox.algorithm.update.loss` to that of the parameters.

    :param rollout: if its ``log_prob`` has a graph, this graph is used; otherwise the policy
        evaluates the rows again
    :param weights: (n_groups, group_size), one for each attempt
    :return: the loss and the mean entropy, scalars
    """
    n_groups, n_rows = weights.shape[0], len(rollout.attempts)
    loss, entropy = torch.zeros((), device=policy.device), torch.zeros((), device=policy.device)
    acted = rollout.log_prob.requires_grad  # by the current policy
    for part in [rollout] if acted else rollout.parts(ROWS_AT_ONCE):
        log_prob, part_entropy = part.log_prob, part.entropy
        if not acted:
            distribution = policy.get_distribution(part.observations)
            log_prob, part_entropy = score(distribution, part.actions, entropy_is_trained)
        part_loss, part_entropy = update.loss(
            log_prob,
            part_entropy,
            update.row_weights(weights.to(log_prob), part.attempts),
            n_groups=n_groups,
            n_rows=n_rows,
            ent_coef=ent_coef,
            old_log_prob=part.log_prob,
            clip_range=clip_range,
        )
        part_loss.backward()
        loss, entropy = loss + part_loss.detach(), entropy + part_entropy.detach()
    return loss, entropy
