"""Transforms against known values, brute force over subsets and exact enumeration of groups."""

from __future__ import annotations

import itertools
import json
import math
import weakref
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pkpo_sandbox import transforms
from pkpo_sandbox.transforms import (
    BASELINES,
    dr_grpo,
    grpo,
    max_at_k,
    max_rl,
    pass_at_k,
    passk_training,
    pkpo,
    powers_of_two,
    reinforce,
    rloo,
    rs_grpo,
    tail_rl,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "transforms.json").read_text())

EVERY_TRANSFORM: dict[str, Callable[[Tensor], Tensor]] = {
    **{f"pkpo_{baseline}": partial(pkpo, k=2, baseline=baseline) for baseline in BASELINES},
    "max_at_k": partial(max_at_k, k=2),
    "reinforce": reinforce,
    "rloo": rloo,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "passk_training": partial(passk_training, k=2),
    "max_rl": max_rl,
    "rs_grpo": partial(rs_grpo, beta=2.0),
    "tail_rl": tail_rl,
}
each_transform = pytest.mark.parametrize(
    "transform", EVERY_TRANSFORM.values(), ids=EVERY_TRANSFORM.keys()
)


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_close(actual: Tensor, expected: Tensor, rtol: float = 1e-12) -> None:
    """Equal within rtol times the largest expected magnitude, or 1 if that is larger."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=rtol * scale)


# Golden values and ties


@pytest.mark.parametrize("kind", sorted({case["kind"] for case in GOLDEN}))
def test_golden(kind: str) -> None:
    for case in (case for case in GOLDEN if case["kind"] == kind):
        g, n, k = f64(case["rewards"]), case["n"], case["k"]
        scale = max(1.0, g.abs().max().item())
        for baseline in set(BASELINES) & set(case):
            # loo_minus_one is exact even beside an offset of 1e6; the others are as large as it.
            unit = 1.0 if baseline == "loo_minus_one" else scale
            assert_close(pkpo(g, k, baseline) / unit, f64(case[baseline]) / unit)
        assert_close(max_at_k(g, k) / scale, f64(case["max_at_k"]) / scale)
        if "pass_at_k" in case:
            c = int(g.sum())
            assert_close(pass_at_k(n, c, k), f64(case["pass_at_k"]))
            assert_close(pkpo(g, k, "none"), f64(case["binary_gradient_rewards"]))


@pytest.mark.parametrize("baseline", BASELINES)
def test_equal_rewards_have_equal_weights(baseline: str) -> None:
    for case in GOLDEN:
        g, k = f64(case["rewards"]), case["k"]
        if baseline in case:
            w = pkpo(g, k, baseline)
            for value in g.unique():
                assert w[g == value].unique().numel() == 1


# Brute force over subsets


def brute_max(g: list[Fraction], k: int) -> Fraction:
    subsets = list(itertools.combinations(g, k))
    return sum(map(max, subsets), Fraction(0)) / len(subsets)


def brute_s(g: list[Fraction], k: int, i: int) -> Fraction:
    others = g[:i] + g[i + 1 :]
    best = (max(g[i], *rest) if rest else g[i] for rest in itertools.combinations(others, k - 1))
    return sum(best, Fraction(0)) / math.comb(len(g), k)


def brute_loo(g: list[Fraction], k: int, i: int) -> Fraction:
    others = g[:i] + g[i + 1 :]
    baseline = sum((brute_s(others, k, j) for j in range(len(others))), Fraction(0)) / len(others)
    return brute_s(g, k, i) - baseline


def brute_loo_minus_one(g: list[Fraction], k: int, i: int) -> Fraction:
    others = g[:i] + g[i + 1 :]
    if k == 1:  # RLOO
        return (g[i] - sum(others, Fraction(0)) / len(others)) / len(g)
    gain = (max(Fraction(0), g[i] - max(rest)) for rest in itertools.combinations(others, k - 1))
    return sum(gain, Fraction(0)) / math.comb(len(g), k)


BRUTE = {"none": brute_s, "loo": brute_loo, "loo_minus_one": brute_loo_minus_one}


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("n", range(2, 9))
def test_pkpo_is_its_definition_over_subsets(n: int, baseline: str) -> None:
    generator = torch.Generator().manual_seed(n)
    distinct = torch.randperm(64, generator=generator)[:n] / 16 - 2
    tied = torch.randint(-1, 3, (n,), generator=generator) / 4
    for rewards, k in itertools.product((distinct, tied), range(1, n + 1)):
        if baseline == "loo" and k == n:
            continue
        exact = [Fraction(r) for r in rewards.tolist()]
        expected = [float(BRUTE[baseline](exact, k, i)) for i in range(n)]
        assert_close(pkpo(rewards.double(), k, baseline), f64(expected))
        assert_close(max_at_k(rewards.double(), k), f64(float(brute_max(exact, k))))


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64])
def test_pass_at_k_is_its_formula(n: int) -> None:
    c = torch.arange(n + 1)
    for k in range(1, n + 1):
        expected = [1 - Fraction(math.comb(n - i, k), math.comb(n, k)) for i in range(n + 1)]
        rho = pass_at_k(n, c, k)
        torch.testing.assert_close(rho, f64([float(e) for e in expected]), rtol=1e-13, atol=0)
        assert rho[0] == 0
        assert (rho[n - k + 1 :] == 1).all()


def test_pass_at_k_shapes_and_sizes() -> None:
    # 1 − C(3,2)/C(4,2) = 1 − 3/6
    assert pass_at_k(4, 1, 2).item() == pytest.approx(0.5, abs=1e-15)
    counts: Any = np.array([4, 1, 2])  # np.int64, not int
    assert torch.equal(pass_at_k(*counts), pass_at_k(4, 1, 2))
    assert pass_at_k(4, 1, 2).shape == ()
    assert pass_at_k(4, torch.tensor([[1, 2, 3]], dtype=torch.int32), 2).shape == (1, 3)
    assert pass_at_k(4, torch.tensor([], dtype=torch.int64), 2).shape == (0,)
    # one correct of n: k/n, for any n
    assert pass_at_k(10**6, 1, 3).item() == pytest.approx(3e-6, rel=1e-14, abs=0)
    assert pass_at_k(10**6, 10, 5 * 10**5).item() == pytest.approx(
        1 - math.prod((5 * 10**5 - j) / (10**6 - j) for j in range(10)), rel=1e-14, abs=0
    )


def test_binary_rewards_give_the_binary_estimators() -> None:
    # k/n if correct, (k/n)·ρ(n−1, c, k−1) if wrong; ρ(n, c, k) for the value
    n = 7
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        g = f64([1.0] * c + [0.0] * (n - c))
        wrong = k / n * (1 - math.comb(n - 1 - c, k - 1) / math.comb(n - 1, k - 1)) if c < n else 0
        assert_close(pkpo(g, k, "none"), f64([k / n] * c + [wrong] * (n - c)))
        assert_close(max_at_k(g, k), pass_at_k(n, c, k))


def test_k_equal_to_n_gives_the_best_its_lead() -> None:
    w = pkpo(f64([[0.25, 3.0, -1.0, 1.0], [2.0, 2.0, 0.0, 1.0]]), k=4)
    assert w.tolist() == [[0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_lowest_ranks_get_exactly_nothing() -> None:
    w = pkpo(torch.linspace(-5, 5, 12), k=5)
    assert (w[:4] == 0).all()
    assert (w[4:] > 0).all()


@pytest.mark.parametrize("limit", range(1, 18))
def test_powers_of_two_go_up_to_the_limit(limit: int) -> None:
    assert powers_of_two(limit) == [2**i for i in range(10) if 2**i <= limit]


# Unbiasedness by exact enumeration: every group of n attempts among three arms

P = f64([0.5, 0.3, 0.2])
ARMS = f64([[-0.5, 0.75, 1.25], [1.0, 0.25, 1.0], [0.0, 1.0, 0.0]])
N = 4


def expected_gradient(
    transform: Callable[[Tensor], Tensor], values: Tensor, p: Tensor = P, n: int = N
) -> Tensor:
    """E Σ_i w_i ∇log p(x_i) in the logits of p, the sum over all groups of n."""
    arms = torch.tensor(list(itertools.product(range(len(p)), repeat=n)))
    scores = torch.eye(len(p), dtype=torch.float64)[arms] - p
    return torch.einsum("b,bi,bia->a", p[arms].prod(-1), transform(values[arms]), scores)


def true_gradient(objective: Callable[[Tensor], Tensor], p: Tensor = P) -> Tensor:
    """The gradient of an objective of the probabilities, in their logits."""
    logits = p.log().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(logits.softmax(-1)), logits)
    return gradient


def max_of(k: int, values: Tensor) -> Callable[[Tensor], Tensor]:
    """E max of k attempts, the sum over all k-tuples of arms."""

    def objective(p: Tensor) -> Tensor:
        arms = torch.tensor(list(itertools.product(range(len(p)), repeat=k)))
        return (p[arms].prod(-1) * values[arms].amax(-1)).sum()

    return objective


def truncated_likelihood(values: Tensor) -> Callable[[Tensor], Tensor]:
    """Σ_{t=1}^{N−1} max@t / t; on 0/1 values Σ pass@t / t."""
    return lambda p: torch.stack([max_of(t, values)(p) / t for t in range(1, N)]).sum()


@pytest.mark.parametrize("values", ARMS, ids=str)
@pytest.mark.parametrize(
    ("baseline", "k"),
    [(b, k) for b in BASELINES for k in range(1, N + 1) if b != "loo" or k < N],
)
def test_pkpo_is_unbiased(baseline: str, k: int, values: Tensor) -> None:
    estimate = expected_gradient(partial(pkpo, k=k, baseline=baseline), values)
    assert_close(estimate, true_gradient(max_of(k, values)))


@pytest.mark.parametrize("values", ARMS, ids=str)
@pytest.mark.parametrize("k", range(1, N + 1))
def test_estimates_of_max_at_k_are_unbiased(k: int, values: Tensor) -> None:
    arms = torch.tensor(list(itertools.product(range(3), repeat=N)))
    expected = (P[arms].prod(-1) * max_at_k(values[arms], k)).sum()
    assert_close(expected, max_of(k, values)(P))


@pytest.mark.parametrize("values", ARMS, ids=str)
def test_mean_reward_rivals_are_unbiased(values: Tensor) -> None:
    gradient = true_gradient(lambda p: (p * values).sum())
    assert_close(expected_gradient(reinforce, values), gradient)
    assert_close(expected_gradient(rloo, values), gradient)
    assert_close(expected_gradient(dr_grpo, values) * N / (N - 1), gradient)


@pytest.mark.parametrize("values", ARMS, ids=str)
def test_tail_rl_is_unbiased_for_its_truncated_objective(values: Tensor) -> None:
    assert_close(expected_gradient(tail_rl, values), true_gradient(truncated_likelihood(values)))


@pytest.mark.parametrize("values", [ARMS[-1], f64([1, 0, 0]), f64([1, 1, 0])], ids=str)
def test_max_rl_is_unbiased_for_its_truncated_objective(values: Tensor) -> None:
    assert_close(expected_gradient(max_rl, values), true_gradient(truncated_likelihood(values)))


def test_centring_pkpo_makes_it_biased() -> None:
    def centred(g: Tensor) -> Tensor:
        w = pkpo(g, 2, "none")
        return w - w.mean(-1, keepdim=True)

    # Each weight's own share 1/n leaves with the mean; the rest of it depends on the others.
    error = expected_gradient(centred, ARMS[0]) - true_gradient(max_of(2, ARMS[0]))
    assert error.abs().max() > 0.01


@pytest.mark.parametrize(("p", "ratio"), [(0.5, 1.3995), (0.1, 1.4638)])
def test_grpo_scales_with_the_sampled_deviation(p: float, ratio: float) -> None:
    # 0/1 rewards, c of n correct, std = √(c(n−c)/(n(n−1))):
    # E Σ w ∇log p = ∇p · Σ_c P(c) c(n−c)/n² / std / (p(1−p)),
    # p = 1/2: (2 · 1/4 · 3/16 / .5 + 3/8 · 1/4 / .57735) / .25 = 1.3995 times ∇p
    # p = .1:  (.2952 · 3/16 / .5 + .0486 · 1/4 / .57735) / .09 = 1.4638 times ∇p:
    # the rarer success weighs 1.046 times its share.
    policy, values = f64([1 - p, p]), f64([0.0, 1.0])
    gradient = true_gradient(lambda q: (q * values).sum(), policy)
    estimate = expected_gradient(partial(grpo, eps=1e-9), values, policy)
    torch.testing.assert_close(estimate / gradient, f64([ratio, ratio]), rtol=1e-4, atol=0)


def test_grpo_turns_the_gradient() -> None:
    # The mean reward is 0.13, so the arm of 0.1 loses under the gradient of the mean; GRPO, which
    # magnifies groups of 0 and 0.1 without the 1, pushes it up, 18.8 times as hard: 39.5° off.
    policy, values = f64([0.6, 0.3, 0.1]), f64([0.0, 0.1, 1.0])
    gradient = true_gradient(lambda q: (q * values).sum(), policy)
    estimate = expected_gradient(grpo, values, policy)
    assert (estimate / gradient)[1].item() == pytest.approx(-18.755, abs=1e-3)
    angle = torch.rad2deg(torch.acos(torch.cosine_similarity(estimate, gradient, dim=0)))
    assert angle.item() == pytest.approx(39.518, abs=1e-3)


def test_rs_grpo_falls_short_of_the_exponential_utility() -> None:
    # With 0/1 rewards, p = .1 and β = 2, ∇(1/β) log E e^{βg} = (e² − 1)/(2(1 + .1(e² − 1))) ∇p
    # = 1.9492 ∇p. n = 4: Σ_c P(c) c(n−c)/n² (e² − 1)/(2(1 + c/n (e² − 1))) / (p(1−p)) ∇p with
    # P = .2916, .0486, .0036 for c = 1, 2, 3 is 0.8542 ∇p.
    policy, values, beta = f64([0.9, 0.1]), f64([0.0, 1.0]), 2.0
    utility = true_gradient(lambda q: (q * (beta * values).exp()).sum().log() / beta, policy)
    ratio = expected_gradient(partial(rs_grpo, beta=beta), values, policy) / utility
    torch.testing.assert_close(ratio, f64([0.43821, 0.43821]), rtol=1e-4, atol=0)


# Rivals on literal rewards


def test_rivals_on_literal_rewards() -> None:
    g = f64([1.0, 2.0, 6.0])  # mean 3, deviations −2 −1 3, sample variance 14/2 = 7
    assert_close(reinforce(g), f64([1 / 3, 2 / 3, 2.0]))
    # (1 − 4)/3, (2 − 3.5)/3, (6 − 1.5)/3
    assert_close(rloo(g), f64([-1.0, -0.5, 1.5]))
    assert_close(dr_grpo(g), f64([-2 / 3, -1 / 3, 1.0]))
    assert_close(grpo(g, eps=0.5), f64([-2.0, -1.0, 3.0]) / (math.sqrt(7) + 0.5) / 3)
    # t = 0, 1/2, 1/2 + 4/1; mean 5/3
    assert_close(tail_rl(g), f64([-5 / 3, 0.5 - 5 / 3, 4.5 - 5 / 3]))
    # e^{βg} = 1, 3 at β = ln 3: mean 2, so (1/2 − 1)/β/2 and (3/2 − 1)/β/2
    w = 0.25 / math.log(3)
    assert_close(rs_grpo(f64([0.0, 1.0]), math.log(3)), f64([-w, w]))
    # mean 1/4: (4 − 1)/4 and −1/4
    assert_close(max_rl(f64([0.0, 1.0, 0.0, 0.0])), f64([-0.25, 0.75, -0.25, -0.25]))
    # ρ = σ = 1/2: (1 − 1/2)/σ = 1 and (1 − 1/2 − C(2,1)/C(3,1))/σ = −1/3, over n = 4
    assert_close(
        passk_training(f64([0.0, 1.0, 0.0, 0.0]), 2), f64([-1 / 12, 0.25, -1 / 12, -1 / 12])
    )


@pytest.mark.parametrize("n", range(2, 9))
def test_passk_training_is_its_formula(n: int) -> None:
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        q = Fraction(math.comb(n - c, k), math.comb(n, k))
        sigma = math.sqrt(q * (1 - q))
        right = wrong = 0.0
        if sigma > 0:
            right = q / sigma / n
            wrong = (q - Fraction(math.comb(n - c - 1, k - 1), math.comb(n - 1, k - 1))) / sigma / n
        g = f64([1.0] * c + [0.0] * (n - c))
        assert_close(passk_training(g, k), f64([right] * c + [wrong] * (n - c)))


@pytest.mark.parametrize("c", range(7))
def test_tail_rl_is_max_rl_on_binary_rewards(c: int) -> None:
    g = f64([0.0] * (6 - c) + [1.0] * c)
    assert_close(tail_rl(g), max_rl(g))


@pytest.mark.parametrize(
    "transform", [rloo, dr_grpo, grpo, tail_rl, partial(rs_grpo, beta=3.0), partial(pkpo, k=3)]
)
@pytest.mark.parametrize("value", [0.1, -7e8, 1 / 3])
def test_equal_rewards_teach_nothing(transform: Callable[[Tensor], Tensor], value: float) -> None:
    assert (transform(torch.full((2, 7), value)) == 0).all()


def test_the_best_of_equal_rewards_is_that_reward() -> None:
    values = torch.linspace(-1e4, 3e4, 50)
    assert torch.equal(max_at_k(values[:, None].expand(50, 99), 7), values)


def test_rs_grpo_at_extreme_beta() -> None:
    g = torch.tensor([0.0, 1.0, 3.0, 2.0])
    # β → ∞: the best has mean-relative weight n, so (n − 1)/(nβ); the others −1/(nβ)
    assert_close(rs_grpo(g, 1e4) * 1e4, f64([-0.25, -0.25, 0.75, -0.25]), rtol=1e-6)
    # β → −∞: the worst, with the sign of β
    assert_close(rs_grpo(g, -1e4) * -1e4, f64([0.75, -0.25, -0.25, -0.25]), rtol=1e-6)
    assert_close(rs_grpo(g, 1e-7), dr_grpo(g.double()), rtol=1e-6)


# Precision and size


@pytest.mark.parametrize(
    ("n", "ks"), [(8, (1, 2, 4, 7, 8)), (16, (1, 4, 8, 15)), (512, (1, 8, 500))]
)
@pytest.mark.parametrize("baseline", BASELINES)
def test_float32_beside_an_offset(baseline: str, n: int, ks: tuple[int, ...]) -> None:
    g = 1e4 + torch.rand(64, n, generator=torch.Generator().manual_seed(n))
    assert g.dtype == torch.float32
    for k in (k for k in ks if baseline != "loo" or k < n):
        w = pkpo(g, k, baseline)
        exact = pkpo(g.double(), k, baseline)
        assert w.dtype == torch.float32
        # none and loo are O(reward), so their last bit is: 1e-6 of the largest weight instead
        bound = 1e-6 * (1.0 if baseline == "loo_minus_one" else exact.abs().max().item())
        assert (w - exact).abs().max() <= bound
        assert ((max_at_k(g, k) - max_at_k(g.double(), k)).abs() <= 1e-6 * 1e4).all()
    assert ((rloo(g) - rloo(g.double())).abs() <= 1e-6).all()


def share(n: int, i: int, k: int) -> Fraction:
    """C(i, k)/C(n, k), as a product over whichever is shorter; 0 where it is far below 1e-300."""
    if k < 1000:
        return Fraction(math.comb(i, k), math.comb(n, k))
    if n - i > 2000:
        return Fraction(0)
    return Fraction(math.prod(range(i + 1 - k, n + 1 - k)), math.prod(range(i + 1, n + 1)))


@pytest.mark.parametrize("k", [8, 500_000])
def test_a_million_attempts(k: int) -> None:
    # Rewards 1..n, shuffled, so reward = rank and every gap is 1. With A_i = C(i, k)/C(n, k),
    # Σ_{m≤i} w_m = A_i (hockey stick), so s^(loo−1) = A_i; s = k − Σ_{i≤m<n} w_m, which is
    # k − (1 − k/n − A_{i−1}); ρ = k(n+1)/(k+1); and s^(loo) = s − k/(n−1) · (ρ − s) n/(n−k), from
    # C(n,k) ρ = C(n,k) s + C(n−1,k) ρ([n]∖i).
    n = 1_000_000
    g = torch.randperm(n, generator=torch.Generator().manual_seed(0)).double() + 1
    at = torch.argsort(g)
    rho = Fraction(k * (n + 1), k + 1)
    assert max_at_k(g, k).item() == pytest.approx(float(rho), rel=1e-13)
    weights = {baseline: pkpo(g, k, baseline) for baseline in BASELINES}
    for w in weights.values():
        assert w.isfinite().all()
    for i in (1, 7, 8, 9, 1000, 250_000, 654_321, n - 40, n - 3, n - 1, n):
        s = k - 1 + Fraction(k, n) + share(n, i - 1, k)
        loo = s - Fraction(k * n, (n - 1) * (n - k)) * (rho - s)
        for baseline, exact in {"none": s, "loo": loo, "loo_minus_one": share(n, i, k)}.items():
            w = weights[baseline][at[i - 1]].item()
            assert w == pytest.approx(float(exact), rel=1e-11, abs=1e-200), (baseline, i)


class PeakMemory(TorchDispatchMode):
    """The most bytes that results of tensor operations held at once, seen after each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.results: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.results += [weakref.ref(leaf) for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
        alive = (tensor.untyped_storage() for ref in self.results if (tensor := ref()) is not None)
        held = {storage.data_ptr(): storage.nbytes() for storage in alive}
        self.peak = max(self.peak, sum(held.values()))
        return result


@pytest.mark.parametrize(("baseline", "measured"), [("loo_minus_one", 8), ("none", 8), ("loo", 11)])
def test_memory_is_a_small_multiple_of_the_rewards(baseline: str, measured: int) -> None:
    # In sizes of the rewards, beside themselves, as measured: one more array at the peak fails.
    g = torch.randn(1, 1_000_000, dtype=torch.float64)
    with PeakMemory() as memory:
        pkpo(g, 8, baseline)
    assert memory.peak <= (measured + 0.5) * g.nbytes


def test_the_cache_is_bounded() -> None:
    limit = transforms._LARGEST_CACHED_GROUP
    transforms._vector.cache_clear()
    pkpo(torch.rand(limit + 1), 3)
    assert transforms._vector.cache_info().currsize == 0
    for k in range(2, 200):
        pkpo(torch.rand(200), k)
    info = transforms._vector.cache_info()
    assert info.currsize == info.maxsize == 64


def test_the_cache_is_never_written_to() -> None:
    g = torch.rand(3, 9, dtype=torch.float64)
    for call in (*(partial(pkpo, k=4, baseline=b) for b in BASELINES), partial(max_at_k, k=4)):
        assert torch.equal(call(g), call(g))


# Properties

rationals = st.integers(-64, 64).map(lambda i: i / 8)  # exact in binary, and so are their sums
groups = st.lists(rationals, min_size=2, max_size=10)
check = settings(derandomize=True, max_examples=60, deadline=None)


@st.composite
def group_and_k(draw: st.DrawFn) -> tuple[list[float], int, str]:
    g = draw(groups)
    baseline = draw(st.sampled_from(BASELINES))
    return g, draw(st.integers(1, len(g) - (baseline == "loo"))), baseline


@check
@given(group_and_k(), st.randoms(use_true_random=False))
def test_permuting_rewards_permutes_weights(
    case: tuple[list[float], int, str], random: Any
) -> None:
    g, k, baseline = case
    order = random.sample(range(len(g)), len(g))
    rewards = f64(g)
    torch.testing.assert_close(
        pkpo(rewards[order], k, baseline), pkpo(rewards, k, baseline)[order], rtol=0, atol=1e-13
    )
    for transform in (rloo, grpo, dr_grpo, tail_rl, partial(rs_grpo, beta=0.5)):
        torch.testing.assert_close(
            transform(rewards[order]), transform(rewards)[order], rtol=0, atol=1e-12
        )


@check
@given(group_and_k(), rationals)
def test_shifting_rewards(case: tuple[list[float], int, str], b: float) -> None:
    # s takes b k/n; its leave-one-out baseline (k/(n−1)) ρ takes b k/(n−1); the gaps take nothing.
    g, k, baseline = case
    n = len(g)
    moved = {"none": k / n, "loo": -k / (n * (n - 1)), "loo_minus_one": 0.0}[baseline]
    rewards = f64(g)
    shifted = pkpo(rewards + b, k, baseline)
    if baseline == "loo_minus_one":
        assert torch.equal(shifted, pkpo(rewards, k))
    torch.testing.assert_close(shifted, pkpo(rewards, k, baseline) + b * moved, rtol=0, atol=1e-13)
    torch.testing.assert_close(max_at_k(rewards + b, k), max_at_k(rewards, k) + b)
    for transform in (rloo, grpo, dr_grpo, tail_rl, partial(rs_grpo, beta=0.5)):
        assert torch.equal(transform(rewards + b), transform(rewards))


@check
@given(group_and_k(), st.integers(-20, 20))
def test_scaling_rewards_scales_weights(case: tuple[list[float], int, str], power: int) -> None:
    g, k, baseline = case
    rewards, scale = f64(g), 2.0**power
    assert torch.equal(pkpo(rewards * scale, k, baseline), pkpo(rewards, k, baseline) * scale)
    assert torch.equal(max_at_k(rewards * scale, k), max_at_k(rewards, k) * scale)
    for transform in (reinforce, rloo, dr_grpo, tail_rl):
        assert torch.equal(transform(rewards * scale), transform(rewards) * scale)


@each_transform
def test_groups_do_not_know_their_batch(transform: Callable[[Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    g = torch.randint(0, 2, (2, 3, 5), generator=generator).double()
    together = transform(g)
    for i, j in itertools.product(range(2), range(3)):
        torch.testing.assert_close(together[i, j], transform(g[i, j]), rtol=0, atol=1e-15)
    strided = g.transpose(0, 1)
    torch.testing.assert_close(transform(strided), together.transpose(0, 1), rtol=0, atol=1e-15)
    assert transform(g[:0]).shape == together[:0].shape


# Dtypes, devices, autograd


@each_transform
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_dtypes_come_back(
    transform: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    g = torch.tensor([[0, 1, 1, 0, 1, 0, 0]], dtype=dtype)
    result = transform(g)
    assert result.dtype == dtype
    reference = transform(g.float() if dtype.itemsize < 4 else g)
    assert torch.equal(result, reference.to(dtype))


@each_transform
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_integer_and_bool_rewards_are_floats(
    transform: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    g = torch.tensor([1, 0, 0, 1, 0], dtype=dtype)
    result = transform(g)
    assert result.dtype == torch.get_default_dtype()
    assert torch.equal(result, transform(g.double()).to(result.dtype))


def test_large_integers_keep_their_differences() -> None:
    # Beside 2^30, float32 holds multiples of 64 only. w = 0, 1/6, 2/6, 3/6 and every gap is 1.
    g = torch.tensor([2**30, 2**30 + 1, 2**30 + 2, 2**30 + 3])
    assert_close(pkpo(g, 2), f64([0, 1 / 6, 1 / 2, 1]), rtol=1e-7)
    assert_close(rloo(g), f64([-1 / 2, -1 / 6, 1 / 6, 1 / 2]), rtol=1e-7)


@each_transform
def test_weights_are_constants_and_rewards_are_kept(
    transform: Callable[[Tensor], Tensor],
) -> None:
    g = torch.tensor([0.0, 1.0, 1.0, 0.0], requires_grad=True)
    assert not transform(g).requires_grad
    assert g.tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    g = torch.randint(0, 2, (33, 16), generator=torch.Generator().manual_seed(0)).double()
    for transform in EVERY_TRANSFORM.values():
        result = transform(g.cuda())
        assert result.is_cuda
        torch.testing.assert_close(result.cpu(), transform(g), rtol=1e-13, atol=1e-13)


# Errors


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (5, r"k = 5 exceeds n = 4.*no unbiased estimator exists for n < k.*at most 4"),
        (0, r"k = 0 is below 1"),
        (-2, r"k = -2 is below 1"),
        (2.0, r"k = 2.0 is a float: pass an int"),
        (True, r"k = True is a bool: pass an int"),
        ("2", r"k = '2' is a str: pass an int"),
        (None, r"k = None is a NoneType: pass an int"),
    ],
)
def test_bad_k(k: Any, message: str) -> None:
    g = torch.tensor([0.0, 1.0, 0.0, 1.0])
    for call in (pkpo, max_at_k, passk_training):
        with pytest.raises(ValueError, match=message):
            call(g, k)
    with pytest.raises(ValueError, match=message):
        pass_at_k(4, 2, k)


def test_integers_of_other_libraries_are_a_k() -> None:
    g = torch.rand(4)
    others: tuple[Any, ...] = (np.int32(2), torch.tensor(2))
    for k in others:
        assert torch.equal(pkpo(g, k), pkpo(g, 2))


@each_transform
@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (
            torch.tensor([[0.0, math.nan, 1.0], [0.0, -math.inf, math.inf]]),
            r"3 of 6 rewards are nan",
        ),
        (torch.tensor(1.0), r"shape \(\) hold no group"),
        (torch.zeros(3, 0), r"shape \(3, 0\) hold no group"),
        (torch.zeros(3, dtype=torch.complex64), r"dtype torch.complex64"),
    ],
    ids=["not finite", "no axis", "empty", "complex"],
)
def test_bad_rewards(transform: Callable[[Tensor], Tensor], rewards: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(rewards)


@each_transform
def test_rewards_outside_a_tensor(transform: Callable[[Any], Tensor]) -> None:
    with pytest.raises(TypeError, match=r"rewards are a list: pass torch.as_tensor\(rewards\)"):
        transform([0.0, 1.0])


def test_finite_rewards_whose_sum_overflows_are_fine() -> None:
    g = torch.tensor([3e38, 3e38, 0.0])
    assert g.sum().isinf()
    # k = n: the best's lead, here nothing
    assert pkpo(g, 3).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "transform",
    [rloo, grpo, dr_grpo, max_rl, partial(rs_grpo, beta=2.0), tail_rl, partial(pkpo, k=1)],
)
def test_one_attempt_has_no_others(transform: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"n = 1 attempts a group.*n >= 2"):
        transform(torch.tensor([1.0]))


def test_one_attempt_without_a_baseline() -> None:
    assert pkpo(torch.tensor([3.0]), 1, "none").item() == 3.0
    assert max_at_k(torch.tensor([3.0]), 1).item() == 3.0


def test_bad_baselines() -> None:
    with pytest.raises(ValueError, match=r"'mean': choose one of loo_minus_one, loo, none"):
        pkpo(torch.rand(4), 2, "mean")
    with pytest.raises(ValueError, match=r"'loo' with k = 4 needs n > k, but n = 4"):
        pkpo(torch.rand(4), 4, "loo")


@pytest.mark.parametrize("transform", [max_rl, partial(passk_training, k=2)])
def test_binary_transforms_name_the_offender(transform: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"rewards of 0 and 1 only, got 0.25"):
        transform(torch.tensor([0.0, 1.0, 0.25]))


@pytest.mark.parametrize("beta", [0.0, math.nan, math.inf])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(ValueError, match=r"beta = .* must be finite and not 0"):
        rs_grpo(torch.rand(4), beta)


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_bad_eps(eps: float) -> None:
    with pytest.raises(ValueError, match=r"eps = .* must be finite and > 0"):
        grpo(torch.rand(4), eps)


@pytest.mark.parametrize(
    ("n", "c", "message"),
    [
        (4, 5, r"c = 5 is outside 0..n = 4"),
        (4, torch.tensor([2, -1]), r"c = -1 is outside 0..n = 4"),
        (4, torch.tensor([1.0]), r"c has dtype torch.float32"),
        (4, True, r"c = True is a bool"),
        (4.0, 2, r"n = 4.0 is a float"),
        (0, 0, r"k = 1 exceeds n = 0"),
    ],
)
def test_bad_counts(n: Any, c: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k(n, c, 1)
