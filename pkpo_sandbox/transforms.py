"""Reward transforms: from the rewards of a group to the weights of its policy gradient.

A group is n i.i.d. attempts x_1..x_n at one problem, with rewards g_i = g(x_i). Rewards and weights
have shape (..., n): the group is the last axis. Weights are in the sum convention: the gradient
estimate of one problem is Σ_i w_i ∇log p(x_i|θ), a sum over its group, not a mean (a loss that
averages over the group needs n·w_i). Weights are constants: no gradient flows through them.

Notation, after arXiv 2505.15201: g_(1) ≤ ... ≤ g_(n) are the sorted rewards, d_m = g_(m) − g_(m−1)
their gaps, with d_1 = 0, and

    w_m = C(m−1, k−1) / C(n, k),        w_n = k/n,        w_{m−1} = w_m (m−k)/(m−1),

the chance that rank m is the best of k attempts drawn from the group without replacement.

Weights have the floating dtype of the rewards (float16 and bfloat16 are computed in float32).
Integer and bool rewards are computed in float64 and give the default dtype. In float32,
shift-invariant weights (`loo_minus_one`, `rloo` and the like) stay accurate under any reward
offset. `none`, `loo`, `reinforce` and `max_at_k` are as large as the rewards, so they have the
relative precision of float32.

Equation numbers are those of arXiv 2505.15201 v5.

Every function raises ValueError for rewards that are not finite, an empty group, k outside 1..n or
too few attempts, and TypeError for rewards that are not a tensor.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import SupportsIndex

import torch
from torch import Tensor

BASELINES = ("loo_minus_one", "loo", "none")

_LARGEST_CACHED_GROUP = 65_536  # 64 vectors of at most 512 KiB; above, O(n) is cheap next to a sort


def pass_at_k(n: int, c: int | Tensor, k: int) -> Tensor:
    """Unbiased estimate of pass@k, the chance that at least one of k attempts is correct.

        ρ(n, c, k) = 1 − C(n−c, k)/C(n, k) = 1 − Π_{j<c} (1 − k/(n−j))    eq 2, arXiv 2505.15201

    It is unbiased (Theorem 1). The product is computed as a sum of logarithms, so ρ keeps its
    relative precision from k/n up to 1.

    Args:
        n: attempts at the problem.
        c: how many of them are correct, 0 ≤ c ≤ n, an int or an integer tensor (...).
        k: attempts allowed, 1 ≤ k ≤ n.

    Returns:
        (...) float64, on c's device.

    Raises:
        ValueError: n, c or k is not an integer or is out of bounds.
    """
    n = _integer("n", n)
    k = _target(k, n)
    c = c if isinstance(c, Tensor) else torch.tensor(_integer("c", c))
    if c.is_floating_point() or c.is_complex() or c.dtype == torch.bool:
        raise ValueError(f"c has dtype {c.dtype}, but it counts correct attempts: pass integers.")
    for extreme in (c.min(), c.max()) if c.numel() else ():
        if not 0 <= extreme <= n:
            raise ValueError(f"c = {int(extreme)} is outside 0..n = {n}: count c within one group.")
    return _cached(_log_miss, n, k, torch.float64, c.device)[c.long()].expm1().abs()


def max_at_k(rewards: Tensor, k: int) -> Tensor:
    """Unbiased estimate of max_g@k, the expected best reward of k attempts.

        ρ^(g) = Σ_m w_m g_(m)                                     eqs 12-13, arXiv 2505.15201

    It is unbiased (Theorem 3). On 0/1 rewards it is `pass_at_k`. It sums differences from the best
    reward, so a common offset of all rewards costs no precision. Takes (..., n) and 1 ≤ k ≤ n,
    returns (...).
    """
    g, k = _group(rewards, k)
    g = g.sort(dim=-1).values
    top = g[..., -1:]
    w = _cached(_best_of_k, g.shape[-1], k, g.dtype, g.device)
    return _as_given((g - top).mul_(w).sum(-1) + top.squeeze(-1), rewards)


def powers_of_two(limit: int) -> list[int]:
    """1, 2, 4, ... up to and including ``limit``: the k at which results are reported."""
    return [2**i for i in range(limit.bit_length())]


def pkpo(rewards: Tensor, k: int, baseline: str = "loo_minus_one") -> Tensor:
    """PKPO: an unbiased gradient of max_g@k, which on 0/1 rewards is pass@k (arXiv 2505.15201).

    With I over the k-subsets of the group that contain i, and ρ^(g)(A, k) = `max_at_k` of the
    rewards in A, the weight of attempt i is, by baseline,

        none            s_i            = (1/C(n,k)) Σ_I max_I g                        eqs 19, 27
        loo             s_i^(loo)      = s_i − (k/(n−1)) ρ^(g)([n]∖i, k)       eq 29, k < n
        loo_minus_one   s_i^(loo−1)    = (1/C(n,k)) Σ_I (max_I g − max_{I∖i} g)        eqs 33-34

    `none` is unbiased (Theorem 4), and no baseline changes the mean. The paper measures the least
    variance for `loo_minus_one` and recommends it. Do not centre or scale the weights afterwards:
    that makes them biased. At k = 1 the baseline of `loo_minus_one` is a maximum over the empty
    set. There the weights are those of `rloo`, also unbiased, so a schedule can anneal k to 1.
    Adding b to all rewards adds bk/n, −bk/(n(n−1)) and 0 to the weights.

    The gap identity: for the attempt of rank i and k ≥ 2,

        s^(loo−1) = Σ_{m≤i} w_m d_m

    Proof. max_I g − max_{I∖i} g is 0 unless i is the best of I; then it is g_(i) − g_(j) with j < i
    the runner-up, and the other k−2 members rank below j, in C(j−1, k−2) ways. Hence
        C(n,k) s^(loo−1) = Σ_{j<i} C(j−1, k−2) (g_(i) − g_(j))
                         = Σ_{j<i} C(j−1, k−2) Σ_{j<m≤i} d_m
                         = Σ_{m≤i} d_m Σ_{j<m} C(j−1, k−2)  =  Σ_{m≤i} d_m C(m−1, k−1),
    the last step being the hockey-stick identity. Ties have d = 0: their order does not matter. ∎
    So every term is ≥ 0, ranks below k get exactly 0, and an offset of g costs no precision.
    (The identity and its proof are this project's own, not the paper's.)

    The other two climb down from the best, by e_m = g_(m) − g_(m+1) ≤ 0 from rank m+1 to rank m.
    Exchanging these two in a subset that has one of them moves its best, by e_m, iff the other k−1
    members rank below m, in C(m−1, k−1) ways. So the weight moves by w_m e_m for `none`, and by
    (1 + kn/((n−1)(n−k))) w_m e_m for `loo`, whose baseline moves the other way. The best has
        s       = (k/n) g_(n)
        s^(loo) = (k/n) g_(n) − (k/(n−1)) (g_(n) + Σ_{m<n} e_m C(m, k)/C(n−1, k)).

    Args:
        rewards: (..., n).
        k: the k of max_g@k, 1 ≤ k ≤ n.
        baseline: "loo_minus_one", "loo" or "none".

    Returns:
        (..., n), for a sort and O(n) more.

    Raises:
        ValueError: unknown baseline; `loo` with k = n; `loo_minus_one` with n = 1; see the module.
    """
    if baseline not in BASELINES:
        raise ValueError(f"unknown baseline {baseline!r}: choose one of {', '.join(BASELINES)}.")
    g, k = _group(rewards, k)
    n = g.shape[-1]
    if baseline == "loo" and k == n:
        raise ValueError(
            f"baseline 'loo' with k = {k} needs n > k, but n = {n}: it draws k attempts without i."
            " Sample larger groups, lower k, or use 'loo_minus_one'."
        )
    if baseline == "loo_minus_one" and k == 1:
        return rloo(rewards)

    # Up from the lowest rank, where w_1 = 0, or down from the best, which adds up from 0 itself.
    g, order = g.sort(dim=-1, descending=baseline != "loo_minus_one")
    d = g.diff(dim=-1, prepend=torch.zeros_like(g[..., :1]))
    steps = _cached(_STEPS[baseline], n, k, g.dtype, g.device)
    s = d * steps
    if baseline == "loo":
        s[..., 0] = d.mul_(_cached(_loo_best, n, k, g.dtype, g.device)).sum(-1)
    return _as_given(_unsort(s.cumsum(-1), order), rewards)


def reinforce(rewards: Tensor) -> Tensor:
    """REINFORCE without a baseline (Williams 1992): w_i = g_i/n. Shape (..., n).

    Unbiased for the gradient of the mean reward; the same as `pkpo` with k = 1, baseline "none".
    """
    g, _ = _group(rewards)
    return _as_given(g / g.shape[-1], rewards)


def rloo(rewards: Tensor) -> Tensor:
    """REINFORCE leave-one-out (arXiv 2402.14740). Shape (..., n), n ≥ 2.

        w_i = (g_i − mean_{j≠i} g_j)/n = (g_i − mean g)/(n−1)

    Unbiased for the gradient of the mean reward: the baseline of i does not depend on x_i.
    """
    g, _ = _group(rewards, least=2)
    return _as_given(_centred(g) / (g.shape[-1] - 1), rewards)


def grpo(rewards: Tensor, eps: float = 1e-4) -> Tensor:
    """GRPO (arXiv 2402.03300): w_i = (g_i − mean g)/(std g + ε)/n. Shape (..., n), n ≥ 2.

    std is the sample standard deviation (divisor n−1) and ε, a small reward > 0, keeps groups of
    equal rewards at 0: both as in TRL. Biased: the scale depends on the sampled rewards, so that
    groups which vary little weigh more than their share of the gradient of the mean.
    """
    if not 0 < eps < math.inf:
        raise ValueError(f"eps = {eps} must be finite and > 0, such as 1e-4: std g can be 0.")
    g, _ = _group(rewards, least=2)
    n = g.shape[-1]
    a = _centred(g)
    std = a.square().sum(-1, keepdim=True).div_(n - 1).sqrt_()
    return _as_given(a / (std + eps) / n, rewards)


def dr_grpo(rewards: Tensor) -> Tensor:
    """Dr. GRPO (arXiv 2503.20783): w_i = (g_i − mean g)/n. Shape (..., n), n ≥ 2.

    `rloo` times (n−1)/n, so unbiased for (n−1)/n times the gradient of the mean reward.
    """
    g, _ = _group(rewards, least=2)
    return _as_given(_centred(g) / g.shape[-1], rewards)


def passk_training(rewards: Tensor, k: int) -> Tensor:
    """Pass@k Training (arXiv 2508.10751), for 0/1 rewards only. Shape (..., n), 1 ≤ k ≤ n.

    With c correct of n, ρ = ρ(n, c, k) = 1 − q and σ = √(ρq),

        n w_i = (1 − ρ)/σ                                 = √(q/ρ)                     if correct
        n w_i = (1 − ρ − C(n−c−1, k−1)/C(n−1, k−1))/σ     = −√(q/ρ) · c/(n−c)          if wrong

    and 0 if σ = 0; the right-hand side because C(n−c−1, k−1)/C(n−1, k−1) = q·n/(n−c). So a group's
    weights add up to 0. Biased: σ, the scale of the group, depends on the sampled rewards.
    """
    g, k = _group(rewards, k, binary="passk_training")
    n = g.shape[-1]
    c = g.sum(-1, keepdim=True)
    log_q = _cached(_log_miss, n, k, g.dtype, g.device)[c.long()]
    odds = torch.where(c > 0, log_q.exp() / log_q.expm1().neg(), 0.0).sqrt()
    return _as_given(odds * torch.where(g == 1, 1.0, c / (c - n).clamp(max=-1)) / n, rewards)


def max_rl(rewards: Tensor) -> Tensor:
    """MaxRL (arXiv 2602.02710), for 0/1 rewards only. Shape (..., n), n ≥ 2.

        w_i = (g_i − mean g)/(mean g)/n,        0 if mean g = 0

    Unbiased for the gradient of Σ_{t=1}^{n−1} pass@t/t − H_{n−1}, H the harmonic number: the first
    n−1 terms of log pass@1 = −Σ_t (1 − pass@1)^t/t.
    """
    g, _ = _group(rewards, least=2, binary="max_rl")
    mean = g.mean(-1, keepdim=True)
    return _as_given(torch.where(mean > 0, g / mean - 1, 0.0) / g.shape[-1], rewards)


def rs_grpo(rewards: Tensor, beta: float) -> Tensor:
    """RS-GRPO (arXiv 2509.24261). Shape (..., n), n ≥ 2.

        w_i = (1/β)(e^{βg_i}/mean_j e^{βg_j} − 1)/n

    Aims at the gradient of (1/β) log E e^{βg}: risk-seeking for β > 0, averse for β < 0, near
    `dr_grpo` for small β; β is finite, not 0, and per unit of reward. Biased: the group's own mean
    of e^{βg} is in the denominator. Computed from expm1(β(g − g*)) ≤ 0, with g* the reward of the
    largest exponent: a large β does not overflow, a small one does not cancel.
    """
    if not math.isfinite(beta) or beta == 0:
        raise ValueError(f"beta = {beta} must be finite and not 0; its limit at 0 is dr_grpo.")
    g, _ = _group(rewards, least=2)
    best = g.amax(-1, keepdim=True) if beta > 0 else g.amin(-1, keepdim=True)
    e = (g - best).mul_(beta).expm1_()
    total = g.shape[-1] + e.sum(-1, keepdim=True)
    return _as_given((e - e.mean(-1, keepdim=True)) / (beta * total), rewards)


def tail_rl(rewards: Tensor) -> Tensor:
    """TailRL (arXiv 2609.02987). Shape (..., n), n ≥ 2.

        w_i = t_i − mean t,        t of rank i = Σ_{m≤i} d_m/(n−m+1)

    Unbiased for the gradient of Σ_{t=1}^{n−1} max_g@t/t, which is MaxRL's objective for {g > τ},
    integrated over thresholds τ; on 0/1 rewards it is `max_rl`. The paper starts from g_(0) = 0;
    its first term, g_(1)/n, is common to the group and leaves with the mean.
    """
    g, _ = _group(rewards, least=2)
    g, order = g.sort(dim=-1)
    d = g.diff(dim=-1, prepend=g[..., :1])
    at_or_above = torch.arange(g.shape[-1], 0, -1, dtype=g.dtype, device=g.device)
    t = d.div_(at_or_above).cumsum(-1)
    return _as_given(_unsort(t.sub_(t.mean(-1, keepdim=True)), order), rewards)


def _group(
    rewards: Tensor, k: int = 1, *, least: int = 1, binary: str | None = None
) -> tuple[Tensor, int]:
    """The rewards as a checked constant (..., n) of at least float32, and k as a checked int.

    Integers become float64, as float32 merges those above 2^24 that differ by 1.
    """
    if not isinstance(rewards, Tensor):
        raise TypeError(f"rewards are a {type(rewards).__name__}: pass torch.as_tensor(rewards).")
    if rewards.is_complex():
        raise ValueError(f"rewards have dtype {rewards.dtype}, which has no order: pass reals.")
    if rewards.ndim == 0 or rewards.shape[-1] == 0:
        shape = tuple(rewards.shape)
        raise ValueError(f"rewards of shape {shape} hold no group: pass (..., n) with n >= 1.")
    n = rewards.shape[-1]
    k = _target(k, n)
    if n < least:
        raise ValueError(
            f"n = {n} attempts a group, but weights relative to the group need n >= {least}:"
            " sample larger groups, or use reinforce."
        )
    g = rewards.detach()
    if not g.is_floating_point():
        g = g.double()
    if torch.finfo(g.dtype).bits < 32:
        g = g.float()
    # One reduction clears the usual case; a sum of finite rewards can overflow, hence the count.
    if not math.isfinite(g.sum().item()) and (bad := g.numel() - int(g.isfinite().sum())):
        raise ValueError(
            f"{bad} of {g.numel()} rewards are nan or infinite, but all must be finite:"
            " fix the reward function, or drop those groups."
        )
    if binary and not torch.equal(g * g, g):
        other = g[g * g != g][0].item()
        raise ValueError(
            f"{binary} takes rewards of 0 and 1 only, got {other:g}: threshold the rewards,"
            " or use a transform of real rewards such as pkpo."
        )
    return g, k


def _target(k: int, n: int) -> int:
    """k as an int with 1 ≤ k ≤ n."""
    k = _integer("k", k)
    if k < 1:
        raise ValueError(f"k = {k} is below 1: choose the best of at least 1 attempt.")
    if k > n:
        raise ValueError(
            f"k = {k} exceeds n = {n}, and no unbiased estimator exists for n < k: sample at least"
            f" {k} attempts a group, or lower k to at most {n}."
        )
    return k


def _integer(name: str, value: SupportsIndex) -> int:
    """Any integer type but bool, as an int."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise ValueError(f"{name} = {value!r} is a {kind}: pass an int.") from None


def _as_given(result: Tensor, rewards: Tensor) -> Tensor:
    """The result in the dtype of the rewards, or in the default one if those are integers."""
    return result.to(rewards.dtype if rewards.is_floating_point() else torch.get_default_dtype())


def _centred(g: Tensor) -> Tensor:
    """g − mean g by way of g − min g: offsets cost no precision, equal rewards give exactly 0."""
    g = g - g.amin(-1, keepdim=True)
    return g.sub_(g.mean(-1, keepdim=True))


def _unsort(by_rank: Tensor, order: Tensor) -> Tensor:
    """Values by rank, back in the order of the attempts."""
    return torch.empty_like(by_rank).scatter_(-1, order, by_rank)


def _cached(
    build: Callable[[int, int], Tensor], n: int, k: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """build(n, k) from the cache, which huge groups bypass; not to be written to."""
    make = _vector if n <= _LARGEST_CACHED_GROUP else _vector.__wrapped__
    return make(build, n, k, dtype, device)


@functools.lru_cache(maxsize=64)
def _vector(
    build: Callable[[int, int], Tensor], n: int, k: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return build(n, k).to(device=device, dtype=dtype)


def _best_of_k(n: int, k: int) -> Tensor:
    """w_m for m = 1..n, by its ratio from the top: no factorial, no overflow."""
    m = torch.arange(n, k, -1, dtype=torch.float64, device="cpu")
    w = torch.zeros(n, dtype=torch.float64, device="cpu")
    w[n - 1] = k / n
    w[k - 1 : n - 1] = ((m - k) / (m - 1)).cumprod(0).mul_(k / n).flip(0)
    return w


def _best_of_k_down(n: int, k: int) -> Tensor:
    """w_m for m = n..1."""
    return _best_of_k(n, k).flip(0)


def _loo_down(n: int, k: int) -> Tensor:
    """(1 + kn/((n−1)(n−k))) w_m for m = n..1, the steps of s^(loo)."""
    return _best_of_k_down(n, k).mul_(1 + k * n / ((n - 1) * (n - k)))


def _loo_best(n: int, k: int) -> Tensor:
    """The best attempt's s^(loo) as coefficients of g_(n) and its steps e_(n−1)..e_1.

    k/n − k/(n−1) = −k/(n(n−1)), then −k/(n−1) · C(m, k)/C(n−1, k) = −w_m mn/((n−1)(n−k)).
    """
    m = torch.arange(n, 0, -1, dtype=torch.float64, device="cpu")
    x = _best_of_k_down(n, k).mul_(m).mul_(-n / ((n - 1) * (n - k)))
    x[0] = -k / (n * (n - 1))
    return x


def _log_miss(n: int, k: int) -> Tensor:
    """log C(n−c, k)/C(n, k), all k attempts wrong, for c = 0..n correct: −inf where n−c < k."""
    left = torch.arange(n, 0, -1, dtype=torch.float64, device="cpu")
    log_q = torch.zeros(n + 1, dtype=torch.float64, device="cpu")
    log_q[1:] = (-k / left).clamp_(min=-1).log1p_().cumsum(0)
    return log_q


_STEPS = {"loo_minus_one": _best_of_k, "loo": _loo_down, "none": _best_of_k_down}
