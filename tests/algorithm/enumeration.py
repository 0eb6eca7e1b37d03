"""All outcomes of an attempt at the default bandit, and the exact gradient of max@k."""

import pytest
import torch

from pkpo_envs.bandit import BanditEnv

LOGITS = torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64)
#: arm, reward, chance of that reward: the five outcomes of an attempt at the default bandit
OUTCOMES = [(0, 0.5, 1.0), (1, 0.8, 0.4), (1, 0.0, 0.6), (2, 1.0, 0.1), (2, 0.0, 0.9)]


def true_gradient(k: int) -> torch.Tensor:
    """∂max@k/∂logits by autograd: E max = ∫ (1 − P(g ≤ v)^k) dv, over the gaps between outcomes."""
    logits = LOGITS.clone().requires_grad_()
    p = torch.softmax(logits, 0)
    # P(g < 0.5), P(g < 0.8), P(g < 1): what misses, then the safe arm, then the risky one.
    below = torch.stack(
        [0.6 * p[1] + 0.9 * p[2], p[0] + 0.6 * p[1] + 0.9 * p[2], p[0] + p[1] + 0.9 * p[2]]
    )
    value = (torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64) * (1 - below**k)).sum()
    assert value.item() == pytest.approx(BanditEnv().max_at_k(p.tolist(), k), abs=1e-12)
    return torch.autograd.grad(value, logits)[0]
